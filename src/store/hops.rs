//! Where messages have been: what the store keeps of it beside their names.

use mimi_adapter::{Domain, NativeMessageId};

use super::{StoreError, Tx, portals::PortalId};
use crate::mimi::{content::MessageId, uri::RoomUri};

/// How a message got its native names, or they it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub at: u64,
    pub attempts: u64,
    /// What people were not shown of it.
    pub loss: Option<String>,
}

/// A request that a provider has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FannedOut {
    /// The hub's timestamp of the first in it.
    pub since: u64,
    pub at: u64,
    pub attempts: u64,
}

impl Tx {
    /// Remembers that a provider has taken everything from `row.since` up to a timestamp of the hub's.
    pub fn has_taken(&mut self, room: &RoomUri, provider: &Domain, up_to: u64, row: FannedOut) {
        self.behind.fanned_out.put((room.clone(), name(provider, up_to)), row);
    }

    /// The request in which a provider has taken what the hub accepted at a time.
    pub async fn taken_by(
        &mut self,
        room: &RoomUri,
        provider: &Domain,
        accepted: u64,
    ) -> Result<Option<FannedOut>, StoreError> {
        let (from, to) = (name(provider, accepted), name(provider, i64::MAX as u64));
        let row = sqlx::query_as::<_, (i64, i64, i64)>(
            "SELECT since, at, attempts FROM fanned_out WHERE room = $1 AND name BETWEEN $2 AND $3 ORDER BY name LIMIT 1",
        )
        .bind(room.as_str())
        .bind(from)
        .bind(to)
        .fetch_optional(self.connection())
        .await?;
        let row = row.map(|(since, at, attempts)| FannedOut {
            since: since as u64,
            at: at as u64,
            attempts: attempts as u64,
        });
        Ok(row.filter(|row| row.since <= accepted))
    }

    /// The providers that have taken anything of a room.
    pub async fn takers(&mut self, room: &RoomUri) -> Result<Vec<Domain>, StoreError> {
        let mut takers = Vec::new();
        let mut after = Vec::new();
        loop {
            let row = sqlx::query_as::<_, (Vec<u8>,)>(
                "SELECT name FROM fanned_out WHERE room = $1 AND name > $2 ORDER BY name LIMIT 1",
            )
            .bind(room.as_str())
            .bind(after)
            .fetch_optional(self.connection())
            .await?;
            let Some((found,)) = row else { return Ok(takers) };
            let provider = found.split(|octet| *octet == 0).next().unwrap_or_default();
            let provider = std::str::from_utf8(provider).ok().and_then(|provider| Domain::parse(provider).ok());
            let provider = provider.ok_or_else(|| StoreError::corrupt("fanned_out", "not a provider"))?;
            after = name(&provider, u64::MAX);
            takers.push(provider);
        }
    }

    /// The rooms that have a message of this ID.
    pub async fn rooms_with(&mut self, id: &MessageId) -> Result<Vec<RoomUri>, StoreError> {
        let rows = sqlx::query_as::<_, (String,)>(
            "SELECT room.room FROM room JOIN message ON message.room = room.room AND message.message_id = $1",
        )
        .bind(id.as_bytes().as_slice())
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(|(room,)| RoomUri::parse(room).map_err(|e| StoreError::corrupt("room", e))).collect()
    }

    /// The rooms in whose conversation something is called so, each with the message that it is.
    pub async fn messages_called(&mut self, native: &str) -> Result<Vec<(RoomUri, MessageId)>, StoreError> {
        let rows = sqlx::query_as::<_, (String, Vec<u8>)>(
            "SELECT portal.room, it.message_id FROM portal
             JOIN native_message AS it ON it.portal = portal.id AND it.native_id = $1",
        )
        .bind(native)
        .fetch_all(self.connection())
        .await?;
        let corrupt = |problem: String| StoreError::corrupt("native_message", problem);
        let found = rows.into_iter().map(|(room, id)| {
            let id = <[u8; 32]>::try_from(id).map_err(|_| corrupt("not a message ID".into()))?;
            let id = MessageId::new(id).map_err(|e| corrupt(e.to_string()))?;
            Ok((RoomUri::parse(&room).map_err(|e| corrupt(e.to_string()))?, id))
        });
        found.collect()
    }

    /// What a message is called in a conversation, and how that came about.
    pub async fn names_of(
        &mut self,
        portal: PortalId,
        id: &MessageId,
    ) -> Result<Vec<(NativeMessageId, Option<Named>)>, StoreError> {
        type Columns = (String, Option<i64>, Option<i64>, Option<String>);
        let rows = sqlx::query_as::<_, Columns>(
            "SELECT native_id, at, attempts, loss FROM native_message WHERE portal = $1 AND message_id = $2
             ORDER BY first DESC, native_id",
        )
        .bind(portal)
        .bind(id.as_bytes().as_slice())
        .fetch_all(self.connection())
        .await?;
        let named = |(native, at, attempts, loss): Columns| {
            let attempts = attempts.unwrap_or_default() as u64;
            (NativeMessageId::new(native), at.map(|at| Named { at: at as u64, attempts, loss }))
        };
        Ok(rows.into_iter().map(named).collect())
    }
}

/// Ordered by provider, and then by time.
fn name(provider: &Domain, up_to: u64) -> Vec<u8> {
    [provider.as_str().as_bytes(), &[0], &up_to.to_be_bytes()].concat()
}
