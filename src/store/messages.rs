//! Names of messages, never their text: native id ⇄ MIMI message ID, author, and what has been seen.

use mimi_adapter::NativeMessageId;

use super::{StoreError, Tx, portals::PortalId};
use crate::mimi::{
    content::MessageId,
    uri::{RoomUri, UserUri},
};

impl Tx {
    /// Remembers a message. `false` if the room has it already.
    pub async fn add_message(
        &mut self,
        room: &RoomUri,
        id: &MessageId,
        sender: &UserUri,
        accepted: u64,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO message (room, message_id, sender, accepted) VALUES ($1, $2, $3, $4)
             ON CONFLICT (room, message_id) DO NOTHING",
        )
        .bind(room.as_str())
        .bind(id.as_bytes().as_slice())
        .bind(sender.as_str())
        .bind(accepted as i64)
        .execute(self.connection())
        .await?;
        Ok(done.rows_affected() > 0)
    }

    pub async fn message_accepted(&mut self, room: &RoomUri, id: &MessageId, at: u64) -> Result<(), StoreError> {
        sqlx::query("UPDATE message SET accepted = $3 WHERE room = $1 AND message_id = $2")
            .bind(room.as_str())
            .bind(id.as_bytes().as_slice())
            .bind(at as i64)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    pub async fn author(&mut self, room: &RoomUri, id: &MessageId) -> Result<Option<UserUri>, StoreError> {
        let row = sqlx::query_as::<_, (String,)>("SELECT sender FROM message WHERE room = $1 AND message_id = $2")
            .bind(room.as_str())
            .bind(id.as_bytes().as_slice())
            .fetch_optional(self.connection())
            .await?;
        row.map(|(sender,)| UserUri::parse(&sender).map_err(|e| StoreError::corrupt("message", e))).transpose()
    }

    /// Ties native ids to a message; the first is the one others will point at.
    pub async fn name_message(
        &mut self,
        portal: PortalId,
        id: &MessageId,
        native: &[NativeMessageId],
    ) -> Result<(), StoreError> {
        for (index, native) in native.iter().enumerate() {
            sqlx::query(
                "INSERT INTO native_message (portal, native_id, message_id, first) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (portal, native_id) DO NOTHING",
            )
            .bind(portal)
            .bind(native.as_str())
            .bind(id.as_bytes().as_slice())
            .bind(i64::from(index == 0))
            .execute(self.connection())
            .await?;
        }
        Ok(())
    }

    pub async fn message_of_native(
        &mut self,
        portal: PortalId,
        native: &NativeMessageId,
    ) -> Result<Option<MessageId>, StoreError> {
        let row = sqlx::query_as::<_, (Vec<u8>,)>(
            "SELECT message_id FROM native_message WHERE portal = $1 AND native_id = $2",
        )
        .bind(portal)
        .bind(native.as_str())
        .fetch_optional(self.connection())
        .await?;
        row.map(|(id,)| {
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
        let row = sqlx::query_as::<_, (String,)>(
            "SELECT native_id FROM native_message WHERE portal = $1 AND message_id = $2 ORDER BY first DESC LIMIT 1",
        )
        .bind(portal)
        .bind(id.as_bytes().as_slice())
        .fetch_optional(self.connection())
        .await?;
        Ok(row.map(|(native,)| NativeMessageId::new(native)))
    }

    /// `true` the first time these octets are seen in the room.
    pub async fn see(&mut self, room: &RoomUri, hash: &[u8], at: u64) -> Result<bool, StoreError> {
        let done =
            sqlx::query("INSERT INTO seen (room, hash, at) VALUES ($1, $2, $3) ON CONFLICT (room, hash) DO NOTHING")
                .bind(room.as_str())
                .bind(hash)
                .bind(at as i64)
                .execute(self.connection())
                .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Forgets what nobody repeats any more.
    pub async fn forget_seen_before(&mut self, at: u64) -> Result<(), StoreError> {
        for sql in ["DELETE FROM seen WHERE at < $1", "DELETE FROM hub_accepted WHERE timestamp < $1"] {
            sqlx::query(sql).bind(at as i64).execute(self.connection()).await?;
        }
        Ok(())
    }
}
