//! Joining codes of rooms of ours, and who is on the way in by one.

use super::{StoreError, Tx};
use crate::mimi::{
    participants::RoleIndex,
    uri::{RoomUri, UserUri},
};

/// What is known of a code: everything but the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoiningCode {
    pub hash: [u8; 32],
    pub room: RoomUri,
    pub role: RoleIndex,
    /// How many more people may come by it.
    pub uses: u32,
    /// In milliseconds since the epoch.
    pub expires: u64,
}

/// Somebody has used a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    pub role: RoleIndex,
    pub code: [u8; 32],
    pub expires: u64,
}

type Row = (Vec<u8>, i64, i64, i64);

fn read(room: &RoomUri, (hash, role, uses, expires): Row) -> Result<JoiningCode, StoreError> {
    let hash = hash.try_into().map_err(|_| StoreError::corrupt("joining_code", "a hash has 32 octets"))?;
    Ok(JoiningCode { hash, room: room.clone(), role: role as u32, uses: uses as u32, expires: expires as u64 })
}

impl Tx {
    pub async fn add_joining_code(&mut self, code: &JoiningCode) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO joining_code (hash, room, role, uses, expires) VALUES ($1, $2, $3, $4, $5)")
            .bind(code.hash.as_slice())
            .bind(code.room.as_str())
            .bind(i64::from(code.role))
            .bind(i64::from(code.uses))
            .bind(code.expires as i64)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// The codes of a room, the first to expire first.
    pub async fn joining_codes(&mut self, room: &RoomUri) -> Result<Vec<JoiningCode>, StoreError> {
        let sql = "SELECT hash, role, uses, expires FROM joining_code WHERE room = $1 ORDER BY expires, hash";
        let rows = sqlx::query_as::<_, Row>(sql).bind(room.as_str()).fetch_all(self.connection()).await?;
        rows.into_iter().map(|row| read(room, row)).collect()
    }

    pub async fn joining_code(&mut self, room: &RoomUri, hash: &[u8; 32]) -> Result<Option<JoiningCode>, StoreError> {
        let sql = "SELECT hash, role, uses, expires FROM joining_code WHERE room = $1 AND hash = $2";
        let query = sqlx::query_as::<_, Row>(sql).bind(room.as_str()).bind(hash.as_slice());
        query.fetch_optional(self.connection()).await?.map(|row| read(room, row)).transpose()
    }

    /// Whoever has used it and is not in the room yet won't be let in either.
    pub async fn withdraw_joining_code(&mut self, hash: &[u8; 32]) -> Result<(), StoreError> {
        for sql in ["DELETE FROM joining_code WHERE hash = $1", "DELETE FROM admission WHERE code = $1"] {
            sqlx::query(sql).bind(hash.as_slice()).execute(self.connection()).await?;
        }
        Ok(())
    }

    /// One use less, for somebody who is on the way in.
    pub async fn admit(&mut self, user: &UserUri, code: &JoiningCode) -> Result<(), StoreError> {
        let sql = "UPDATE joining_code SET uses = uses - 1 WHERE hash = $1";
        sqlx::query(sql).bind(code.hash.as_slice()).execute(self.connection()).await?;
        let sql = "INSERT INTO admission (room, user_uri, role, code, expires) VALUES ($1, $2, $3, $4, $5)
                   ON CONFLICT (room, user_uri) DO UPDATE SET role = $3, code = $4, expires = $5";
        sqlx::query(sql)
            .bind(code.room.as_str())
            .bind(user.as_str())
            .bind(i64::from(code.role))
            .bind(code.hash.as_slice())
            .bind(code.expires as i64)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    pub async fn admission(&mut self, room: &RoomUri, user: &UserUri) -> Result<Option<Admission>, StoreError> {
        let sql = "SELECT role, code, expires FROM admission WHERE room = $1 AND user_uri = $2";
        let query = sqlx::query_as::<_, (i64, Vec<u8>, i64)>(sql).bind(room.as_str()).bind(user.as_str());
        let Some((role, code, expires)) = query.fetch_optional(self.connection()).await? else { return Ok(None) };
        let code = code.try_into().map_err(|_| StoreError::corrupt("admission", "a hash has 32 octets"))?;
        Ok(Some(Admission { role: role as u32, code, expires: expires as u64 }))
    }

    /// They have come.
    pub async fn end_admission(&mut self, room: &RoomUri, user: &UserUri) -> Result<(), StoreError> {
        let sql = "DELETE FROM admission WHERE room = $1 AND user_uri = $2";
        sqlx::query(sql).bind(room.as_str()).bind(user.as_str()).execute(self.connection()).await?;
        Ok(())
    }

    pub async fn forget_joining_codes(&mut self, now: u64) -> Result<(), StoreError> {
        for sql in ["DELETE FROM joining_code WHERE expires < $1", "DELETE FROM admission WHERE expires < $1"] {
            sqlx::query(sql).bind(now as i64).execute(self.connection()).await?;
        }
        Ok(())
    }
}
