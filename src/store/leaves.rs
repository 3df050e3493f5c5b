//! From KeyPackage to leaf: which client has a place in which room, and how far it has read.

use sqlx::any::AnyRow;

use super::{StoreError, Tx, tx::column};
use crate::{
    mimi::uri::{ClientUri, RoomUri},
    mls::{Owner, codec::KeyPackageRef},
};

/// A client's place in a room's group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    pub owner: Owner,
    pub client: ClientUri,
    pub room: Option<RoomUri>,
    /// The Welcome to read before anything else.
    pub welcome: Option<i64>,
    /// Handshakes up to here have been read.
    pub position: i64,
}

impl Tx {
    /// A KeyPackage nobody has used yet. `expires` in seconds since the epoch.
    pub async fn add_key_package(
        &mut self,
        owner: Owner,
        client: &ClientUri,
        reference: &KeyPackageRef,
        expires: i64,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO leaf (owner, client, key_package_ref, expires) VALUES ($1, $2, $3, $4)")
            .bind(owner)
            .bind(client.as_str())
            .bind(reference.as_bytes())
            .bind(expires)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// The leaf of a group we founded.
    pub async fn add_leaf(&mut self, owner: Owner, client: &ClientUri, room: &RoomUri) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO leaf (owner, client, expires, room) VALUES ($1, $2, 0, $3)")
            .bind(owner)
            .bind(client.as_str())
            .bind(room.as_str())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    pub async fn leaf_of_key_package(&mut self, reference: &KeyPackageRef) -> Result<Option<Leaf>, StoreError> {
        let row = sqlx::query("SELECT owner, client, room, welcome, position FROM leaf WHERE key_package_ref = $1")
            .bind(reference.as_bytes())
            .fetch_optional(self.connection())
            .await?;
        row.map(|row| leaf(&row)).transpose()
    }

    pub async fn leaf_in_room(&mut self, room: &RoomUri, client: &ClientUri) -> Result<Option<Leaf>, StoreError> {
        let name = (room.clone(), client.clone());
        if let Some(known) = self.known.leaves.get(&name) {
            return Ok(Some(known));
        }
        let row =
            sqlx::query("SELECT owner, client, room, welcome, position FROM leaf WHERE room = $1 AND client = $2")
                .bind(room.as_str())
                .bind(client.as_str())
                .fetch_optional(self.connection())
                .await?;
        let Some(row) = row else { return Ok(None) };
        let leaf = leaf(&row)?;
        self.known.leaves.keep(name, leaf.clone());
        Ok(Some(leaf))
    }

    pub async fn leaf(&mut self, owner: Owner) -> Result<Option<Leaf>, StoreError> {
        let row = sqlx::query("SELECT owner, client, room, welcome, position FROM leaf WHERE owner = $1")
            .bind(owner)
            .fetch_optional(self.connection())
            .await?;
        row.map(|row| leaf(&row)).transpose()
    }

    /// Any leaf of ours in the room: who may take over as reader.
    pub async fn some_leaf(&mut self, room: &RoomUri) -> Result<Option<Leaf>, StoreError> {
        let row = sqlx::query(
            "SELECT owner, client, room, welcome, position FROM leaf WHERE room = $1 ORDER BY owner LIMIT 1",
        )
        .bind(room.as_str())
        .fetch_optional(self.connection())
        .await?;
        row.map(|row| leaf(&row)).transpose()
    }

    /// The leaf of ours that has read least of the room's log.
    pub async fn slowest_leaf(&mut self, room: &RoomUri) -> Result<Option<Leaf>, StoreError> {
        let row = sqlx::query(
            "SELECT owner, client, room, welcome, position FROM leaf WHERE room = $1 ORDER BY position, owner LIMIT 1",
        )
        .bind(room.as_str())
        .fetch_optional(self.connection())
        .await?;
        row.map(|row| leaf(&row)).transpose()
    }

    /// Any leaf of ours in the room but this one.
    pub async fn leaf_beside(&mut self, room: &RoomUri, owner: Owner) -> Result<Option<Leaf>, StoreError> {
        let row = sqlx::query(
            "SELECT owner, client, room, welcome, position FROM leaf WHERE room = $1 AND owner <> $2 ORDER BY owner LIMIT 1",
        )
        .bind(room.as_str())
        .bind(owner)
        .fetch_optional(self.connection())
        .await?;
        row.map(|row| leaf(&row)).transpose()
    }

    /// The next leaf of ours in the room behind this one, but for another.
    pub async fn leaf_after(&mut self, room: &RoomUri, owner: Owner, but: Owner) -> Result<Option<Leaf>, StoreError> {
        let row = sqlx::query(
            "SELECT owner, client, room, welcome, position FROM leaf
             WHERE room = $1 AND owner > $2 AND owner <> $3 ORDER BY owner LIMIT 1",
        )
        .bind(room.as_str())
        .bind(owner)
        .bind(but)
        .fetch_optional(self.connection())
        .await?;
        row.map(|row| leaf(&row)).transpose()
    }

    /// KeyPackages that nobody used in their time, `before` in seconds since the epoch.
    pub async fn forget_key_packages(&mut self, before: u64) -> Result<(), StoreError> {
        for sql in [
            "DELETE FROM mls_row WHERE owner IN (SELECT owner FROM leaf WHERE room IS NULL AND expires < $1)",
            "DELETE FROM mls_owner WHERE id IN (SELECT owner FROM leaf WHERE room IS NULL AND expires < $1)",
            "DELETE FROM leaf WHERE room IS NULL AND expires < $1",
        ] {
            sqlx::query(sql).bind(before as i64).execute(self.connection()).await?;
        }
        Ok(())
    }

    /// A Welcome gave the KeyPackage its room.
    pub async fn place_leaf(
        &mut self,
        owner: Owner,
        room: &RoomUri,
        welcome: Option<i64>,
        position: i64,
    ) -> Result<(), StoreError> {
        self.known.leaves.forget_where(|leaf| leaf.owner == owner);
        sqlx::query("UPDATE leaf SET room = $2, welcome = $3, position = $4 WHERE owner = $1")
            .bind(owner)
            .bind(room.as_str())
            .bind(welcome)
            .bind(position)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    pub async fn leaf_has_read(&mut self, owner: Owner, position: i64) -> Result<(), StoreError> {
        self.known.leaves.forget_where(|leaf| leaf.owner == owner);
        sqlx::query("UPDATE leaf SET welcome = NULL, position = $2 WHERE owner = $1")
            .bind(owner)
            .bind(position)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// The leaf is out of the room; its keys go with it.
    pub async fn remove_leaf(&mut self, owner: Owner) -> Result<(), StoreError> {
        self.known.leaves.forget_where(|leaf| leaf.owner == owner);
        for sql in [
            "DELETE FROM leaf WHERE owner = $1",
            "DELETE FROM mls_row WHERE owner = $1",
            "DELETE FROM mls_owner WHERE id = $1",
        ] {
            sqlx::query(sql).bind(owner).execute(self.connection()).await?;
        }
        Ok(())
    }
}

fn leaf(row: &AnyRow) -> Result<Leaf, StoreError> {
    let corrupt = |e| StoreError::corrupt("leaf", e);
    Ok(Leaf {
        owner: column(row, 0)?,
        client: ClientUri::parse(&column::<String>(row, 1)?).map_err(corrupt)?,
        room: column::<Option<String>>(row, 2)?.map(|room| RoomUri::parse(&room)).transpose().map_err(corrupt)?,
        welcome: column(row, 3)?,
        position: column(row, 4)?,
    })
}
