//! Names of messages, never their text: native id ⇄ MIMI message ID, author, and what has been seen.

use std::collections::HashSet;

use mimi_adapter::NativeMessageId;
use sqlx::AssertSqlSafe;

use super::{StoreError, Tx, behind, hops::Named, portals::PortalId, seal};
use crate::mimi::{
    content::MessageId,
    uri::{RoomUri, UserUri},
};

impl Tx {
    /// Remembers a message that the room does not have yet, or when the hub has accepted it.
    pub fn add_message(&mut self, room: &RoomUri, id: MessageId, sender: &UserUri, accepted: u64) {
        self.behind.messages.put((room.clone(), id), (sender.clone(), accepted));
    }

    pub async fn author(&mut self, room: &RoomUri, id: &MessageId) -> Result<Option<UserUri>, StoreError> {
        Ok(self.message(room, id).await?.map(|(author, _)| author))
    }

    /// Who wrote a message, and when its hub accepted it; of one of ours that the hub has not, when we did.
    pub async fn message(&mut self, room: &RoomUri, id: &MessageId) -> Result<Option<(UserUri, u64)>, StoreError> {
        if let Some(row) = self.behind.messages.get(&(room.clone(), *id)) {
            return Ok(Some(row.clone()));
        }
        let sql = "SELECT sender, accepted, sum FROM message WHERE room = $1 AND message_id = $2";
        let row = sqlx::query_as::<_, (String, i64, i64)>(sql)
            .bind(room.as_str())
            .bind(id.as_bytes().as_slice())
            .fetch_optional(self.reading())
            .await?;
        row.map(|(sender, accepted, sum)| {
            seal::check("message", &[room.as_str().as_bytes(), id.as_bytes(), sender.as_bytes()], sum)?;
            let sender = UserUri::parse(&sender).map_err(|e| StoreError::corrupt("message", e))?;
            Ok((sender, accepted as u64))
        })
        .transpose()
    }

    /// Ties native ids to a message; the first is the one others will point at.
    pub fn name_message(&mut self, portal: PortalId, id: MessageId, native: &[NativeMessageId], named: &Named) {
        for (index, native) in native.iter().enumerate() {
            let name = (portal, native.clone());
            // What has a meaning keeps it.
            if self.behind.natives.get(&name).is_none() {
                self.behind.natives.put(name, (id, index == 0, named.clone()));
            }
        }
    }

    pub async fn message_of_native(
        &mut self,
        portal: PortalId,
        native: &NativeMessageId,
    ) -> Result<Option<MessageId>, StoreError> {
        if let Some((id, ..)) = self.behind.natives.get(&(portal, native.clone())) {
            return Ok(Some(*id));
        }
        if self.ahead.natives.contains(&(portal, native.clone())) {
            return Ok(None);
        }
        let row = sqlx::query_as::<_, (Vec<u8>, i64)>(
            "SELECT message_id, sum FROM native_message WHERE portal = $1 AND native_id = $2",
        )
        .bind(portal)
        .bind(native.as_str())
        .fetch_optional(self.reading())
        .await?;
        row.map(|(id, sum)| {
            seal::check("native_message", &[&portal.to_be_bytes(), native.as_str().as_bytes(), &id], sum)?;
            let id = <[u8; 32]>::try_from(id).map_err(|_| StoreError::corrupt("native_message", "not a message ID"))?;
            MessageId::new(id).map_err(|e| StoreError::corrupt("native_message", e))
        })
        .transpose()
    }

    pub async fn native_of_message(
        &mut self,
        portal: PortalId,
        id: &MessageId,
    ) -> Result<Option<NativeMessageId>, StoreError> {
        let waiting = self.behind.natives.iter().filter(|((of, _), (named, ..))| *of == portal && named == id);
        if let Some(((_, native), _)) = waiting.max_by_key(|(_, (_, first, _))| *first) {
            return Ok(Some(native.clone()));
        }
        let row = sqlx::query_as::<_, (String, i64)>(
            "SELECT native_id, sum FROM native_message WHERE portal = $1 AND message_id = $2
             ORDER BY first DESC LIMIT 1",
        )
        .bind(portal)
        .bind(id.as_bytes().as_slice())
        .fetch_optional(self.reading())
        .await?;
        row.map(|(native, sum)| {
            seal::check("native_message", &[&portal.to_be_bytes(), native.as_bytes(), id.as_bytes()], sum)?;
            Ok(NativeMessageId::new(native))
        })
        .transpose()
    }

    /// Which of these octets have been seen in the room, by their hashes.
    pub async fn seen(&mut self, room: &RoomUri, hashes: &[[u8; 32]]) -> Result<HashSet<[u8; 32]>, StoreError> {
        let waiting = |hash: &[u8; 32]| self.behind.seen.get(&(room.clone(), *hash)).is_some();
        let (seen, mut rest): (Vec<[u8; 32]>, Vec<_>) = hashes.iter().copied().partition(waiting);
        rest.retain(|hash| !self.ahead.seen.contains(&(room.clone(), *hash)));
        let mut all = self.which("SELECT hash FROM seen WHERE room = $1 AND hash IN ", room, rest).await?;
        all.extend(seen);
        Ok(all)
    }

    /// Remembers octets that have been seen in the room.
    pub fn see(&mut self, room: &RoomUri, hash: [u8; 32], at: u64) {
        self.behind.seen.put((room.clone(), hash), at);
    }

    /// Which of these messages the room has.
    pub async fn have(&mut self, room: &RoomUri, ids: &[MessageId]) -> Result<HashSet<[u8; 32]>, StoreError> {
        let waiting = |id: &MessageId| self.behind.messages.get(&(room.clone(), *id)).is_some();
        let (here, rest): (Vec<MessageId>, Vec<_>) = ids.iter().copied().partition(waiting);
        let rest = rest.iter().map(|id| *id.as_bytes()).collect();
        let mut all =
            self.which("SELECT message_id FROM message WHERE room = $1 AND message_id IN ", room, rest).await?;
        all.extend(here.iter().map(|id| *id.as_bytes()));
        Ok(all)
    }

    async fn which(
        &mut self,
        head: &'static str,
        room: &RoomUri,
        names: Vec<[u8; 32]>,
    ) -> Result<HashSet<[u8; 32]>, StoreError> {
        let mut found = HashSet::new();
        for names in behind::padded(names) {
            let query = sqlx::query_as::<_, (Vec<u8>,)>(AssertSqlSafe(behind::listed(head, 2, names.len())));
            let query = names.into_iter().fold(query.bind(room.as_str()), |query, name| query.bind(name.to_vec()));
            for (name,) in query.fetch_all(self.reading()).await? {
                found.insert(name.try_into().map_err(|_| StoreError::corrupt("message", "a name of another length"))?);
            }
        }
        Ok(found)
    }
}
