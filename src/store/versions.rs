//! Versions of messages: an edit is a message of its own, and all edits of a message are of its first version (D39).

use super::{StoreError, Tx};
use crate::mimi::{content::MessageId, uri::RoomUri};

impl Tx {
    /// A message is a version of another.
    pub fn add_version(&mut self, room: &RoomUri, id: MessageId, first: MessageId, accepted: u64) {
        self.behind.versions.put((room.clone(), id), (first, accepted));
    }

    /// The first version of a message; itself if it is no edit.
    pub async fn first_version(&mut self, room: &RoomUri, id: &MessageId) -> Result<MessageId, StoreError> {
        if let Some((first, _)) = self.behind.versions.get(&(room.clone(), *id)) {
            return Ok(*first);
        }
        let row = sqlx::query_as::<_, (Vec<u8>,)>("SELECT first FROM version WHERE room = $1 AND message_id = $2")
            .bind(room.as_str())
            .bind(id.as_bytes().as_slice())
            .fetch_optional(self.reading())
            .await?;
        row.map_or(Ok(*id), parse)
    }

    /// The newest version of a message of which this is one.
    pub async fn newest_version(&mut self, room: &RoomUri, id: &MessageId) -> Result<MessageId, StoreError> {
        let first = self.first_version(room, id).await?;
        let of_it =
            |((of, _), (of_first, _)): &&((RoomUri, MessageId), (MessageId, u64))| of == room && *of_first == first;
        let waiting = self.behind.versions.iter().rev().find(of_it).map(|((_, id), _)| *id);
        if let Some(id) = waiting {
            return Ok(id);
        }
        let sql = "SELECT message_id FROM version WHERE room = $1 AND first = $2 ORDER BY accepted DESC LIMIT 1";
        let row = sqlx::query_as::<_, (Vec<u8>,)>(sql)
            .bind(room.as_str())
            .bind(first.as_bytes().as_slice())
            .fetch_optional(self.reading())
            .await?;
        row.map_or(Ok(first), parse)
    }
}

fn parse((id,): (Vec<u8>,)) -> Result<MessageId, StoreError> {
    let id = <[u8; 32]>::try_from(id).map_err(|_| StoreError::corrupt("version", "not a message ID"))?;
    MessageId::new(id).map_err(|e| StoreError::corrupt("version", e))
}
