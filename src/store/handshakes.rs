//! Commits and proposals in the hub's order, and Welcomes, for the leaves that read them later.

use super::{StoreError, Tx, seal};
use crate::{
    mimi::uri::RoomUri,
    mls::codec::{MlsMessage, RatchetTree, Welcome},
};

impl Tx {
    /// Appends to the room's log. `None` if it is there already.
    pub async fn add_handshake(
        &mut self,
        room: &RoomUri,
        hash: &[u8],
        message: &MlsMessage,
    ) -> Result<Option<i64>, StoreError> {
        self.known.handshakes.forget(room);
        let row = sqlx::query_as::<_, (i64,)>(
            "INSERT INTO handshake (room, epoch, hash, message) VALUES ($1, $2, $3, $4)
             ON CONFLICT (room, hash) DO NOTHING RETURNING position",
        )
        .bind(room.as_str())
        .bind(message.epoch().unwrap_or_default() as i64)
        .bind(hash)
        .bind(seal::seal(&[room.as_str().as_bytes()], message.as_bytes().to_vec()))
        .fetch_optional(self.connection())
        .await?;
        Ok(row.map(|(position,)| position))
    }

    /// Takes back what turned out to be invalid.
    pub async fn remove_handshake(&mut self, position: i64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM handshake WHERE position = $1").bind(position).execute(self.connection()).await?;
        Ok(())
    }

    /// The next handshakes of a room, `most` of them at most.
    pub async fn handshakes_after(
        &mut self,
        room: &RoomUri,
        position: i64,
        most: i64,
    ) -> Result<Vec<(i64, MlsMessage)>, StoreError> {
        if self.known.handshakes.get(room).is_some_and(|last| last <= position) {
            return Ok(Vec::new());
        }
        let rows = sqlx::query_as::<_, (i64, Vec<u8>)>(
            "SELECT position, message FROM handshake WHERE room = $1 AND position > $2 ORDER BY position LIMIT $3",
        )
        .bind(room.as_str())
        .bind(position)
        .bind(most)
        .fetch_all(self.connection())
        .await?;
        if (rows.len() as i64) < most {
            let last = rows.last().map_or(position, |(position, _)| *position);
            self.known.handshakes.keep(room.clone(), last);
        }
        rows.into_iter()
            .map(|(position, message)| {
                let message = seal::open("handshake", &[room.as_str().as_bytes()], message)?;
                Ok((position, MlsMessage::decode(&message).map_err(|e| StoreError::corrupt("handshake", e))?))
            })
            .collect()
    }

    pub async fn count_handshakes(&mut self, room: &RoomUri) -> Result<i64, StoreError> {
        let (count,) = sqlx::query_as::<_, (i64,)>("SELECT COUNT(*) FROM handshake WHERE room = $1")
            .bind(room.as_str())
            .fetch_one(self.connection())
            .await?;
        Ok(count)
    }

    pub async fn last_handshake(&mut self, room: &RoomUri) -> Result<i64, StoreError> {
        let (position,) = sqlx::query_as::<_, (Option<i64>,)>("SELECT MAX(position) FROM handshake WHERE room = $1")
            .bind(room.as_str())
            .fetch_one(self.connection())
            .await?;
        Ok(position.unwrap_or_default())
    }

    pub async fn add_welcome(
        &mut self,
        room: &RoomUri,
        welcome: &Welcome,
        tree: &RatchetTree,
        position: i64,
    ) -> Result<i64, StoreError> {
        let (id,) = sqlx::query_as::<_, (i64,)>(
            "INSERT INTO welcome (room, welcome, tree, position) VALUES ($1, $2, $3, $4) RETURNING id",
        )
        .bind(room.as_str())
        .bind(seal::seal(&[room.as_str().as_bytes(), b"welcome"], welcome.as_bytes().to_vec()))
        .bind(seal::seal(&[room.as_str().as_bytes(), b"tree"], tree.as_bytes().to_vec()))
        .bind(position)
        .fetch_one(self.connection())
        .await?;
        Ok(id)
    }

    pub async fn welcome(&mut self, id: i64) -> Result<(Welcome, RatchetTree), StoreError> {
        let (room, welcome, tree) =
            sqlx::query_as::<_, (String, Vec<u8>, Vec<u8>)>("SELECT room, welcome, tree FROM welcome WHERE id = $1")
                .bind(id)
                .fetch_one(self.connection())
                .await?;
        let welcome = seal::open("welcome", &[room.as_bytes(), b"welcome"], welcome)?;
        let tree = seal::open("welcome", &[room.as_bytes(), b"tree"], tree)?;
        let corrupt = |e| StoreError::corrupt("welcome", e);
        Ok((Welcome::decode(&welcome).map_err(corrupt)?, RatchetTree::decode(&tree).map_err(corrupt)?))
    }

    /// Drops what every leaf of the room has read.
    pub async fn trim_handshakes(&mut self, room: &RoomUri) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM handshake WHERE room = $1 AND position <= (SELECT MIN(position) FROM leaf WHERE room = $1)",
        )
        .bind(room.as_str())
        .execute(self.connection())
        .await?;
        sqlx::query(
            "DELETE FROM welcome WHERE room = $1 AND id NOT IN (SELECT welcome FROM leaf WHERE welcome IS NOT NULL)",
        )
        .bind(room.as_str())
        .execute(self.connection())
        .await?;
        Ok(())
    }
}
