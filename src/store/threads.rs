//! Threads of native conversations, and the topics they are in MIMI. Names only, as of messages.

use super::{StoreError, Tx, portals::PortalId};
use crate::{
    core::hash,
    mimi::{content::MessageId, uri::RoomUri},
};

/// What is known of a topic in one conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadRow {
    pub topic: Vec<u8>,
    /// What the conversation calls it.
    pub native: Option<String>,
    /// What was said last in it.
    pub last: Option<MessageId>,
}

type Columns = (Vec<u8>, Option<String>, Option<Vec<u8>>);

impl Tx {
    pub async fn thread(&mut self, portal: PortalId, topic: &[u8]) -> Result<Option<ThreadRow>, StoreError> {
        let hash = hash(topic);
        if let Some((row, _)) = self.behind.threads.get(&(portal, hash)) {
            return Ok(Some(row.clone()));
        }
        let row =
            sqlx::query_as::<_, Columns>("SELECT topic, native, last FROM thread WHERE portal = $1 AND hash = $2")
                .bind(portal)
                .bind(hash.as_slice())
                .fetch_optional(self.reading())
                .await?;
        row.map(parse).transpose()
    }

    /// The topic that a thread of the conversation is.
    pub async fn topic_of_thread(&mut self, portal: PortalId, native: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let called = |row: &ThreadRow| row.native.as_deref() == Some(native);
        let waiting = self.behind.threads.iter().find(|((of, _), (row, _))| *of == portal && called(row));
        if let Some((_, (row, _))) = waiting {
            return Ok(Some(row.topic.clone()));
        }
        let row = sqlx::query_as::<_, (Vec<u8>,)>("SELECT topic FROM thread WHERE portal = $1 AND native = $2 LIMIT 1")
            .bind(portal)
            .bind(native)
            .fetch_optional(self.reading())
            .await?;
        Ok(row.map(|(topic,)| topic))
    }

    /// Writes the row of a topic, new or not.
    pub fn keep_thread(&mut self, portal: PortalId, row: ThreadRow, at: u64) {
        self.behind.threads.put((portal, hash(&row.topic)), (row, at));
    }

    /// Forgets threads in which nothing has been said since.
    pub async fn forget_threads(&mut self, before: u64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM thread WHERE at < $1").bind(before as i64).execute(self.connection()).await?;
        Ok(())
    }

    /// A message of ours is in a topic.
    pub fn set_topic(&mut self, room: &RoomUri, id: MessageId, topic: &[u8]) {
        self.behind.topics.put((room.clone(), id), topic.to_vec());
    }

    /// The topic of a message of ours; none is empty.
    pub async fn topic(&mut self, room: &RoomUri, id: &MessageId) -> Result<Vec<u8>, StoreError> {
        if let Some(topic) = self.behind.topics.get(&(room.clone(), *id)) {
            return Ok(topic.clone());
        }
        let row = sqlx::query_as::<_, (Vec<u8>,)>("SELECT topic FROM topic WHERE room = $1 AND message_id = $2")
            .bind(room.as_str())
            .bind(id.as_bytes().as_slice())
            .fetch_optional(self.reading())
            .await?;
        Ok(row.map_or_else(Vec::new, |(topic,)| topic))
    }
}

fn parse((topic, native, last): Columns) -> Result<ThreadRow, StoreError> {
    let last = last.map(|id| {
        let id = <[u8; 32]>::try_from(id).map_err(|_| StoreError::corrupt("thread", "not a message ID"))?;
        MessageId::new(id).map_err(|e| StoreError::corrupt("thread", e))
    });
    Ok(ThreadRow { topic, native, last: last.transpose()? })
}
