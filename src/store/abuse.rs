//! What could be reported, and what has been reported to us.

use sqlx::any::AnyRow;

use super::{StoreError, Tx, seal, tx::column};
use crate::mimi::{
    content::MessageId,
    tls::Tls,
    uri::{RoomUri, UserUri},
    wire::{AbuseReport, AbusiveMessage},
};

/// A message that is kept so that it can be reported.
#[derive(Clone, Debug)]
pub struct Evidence {
    pub id: MessageId,
    pub sender: UserUri,
    pub message: AbusiveMessage,
}

/// A report that has come to us as the hub of a room.
#[derive(Clone, Debug)]
pub struct Report {
    pub id: i64,
    pub room: RoomUri,
    pub provider: String,
    pub at: u64,
    pub report: AbuseReport,
}

impl Tx {
    pub async fn keep_evidence(
        &mut self,
        room: &RoomUri,
        id: MessageId,
        sender: &UserUri,
        message: &AbusiveMessage,
        now: u64,
    ) -> Result<(), StoreError> {
        let name = [room.as_str().as_bytes(), id.as_bytes(), sender.as_str().as_bytes()];
        sqlx::query(
            "INSERT INTO evidence (room, message_id, sender, kept, message) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (room, message_id) DO NOTHING",
        )
        .bind(room.as_str())
        .bind(id.as_bytes().to_vec())
        .bind(sender.as_str())
        .bind(now as i64)
        .bind(seal::seal(&name, message.encode()))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// What is kept of a room, latest first.
    pub async fn evidence(&mut self, room: &RoomUri, most: i64) -> Result<Vec<Evidence>, StoreError> {
        let rows = sqlx::query_as::<_, (Vec<u8>, String, Vec<u8>)>(
            "SELECT message_id, sender, message FROM evidence WHERE room = $1 ORDER BY kept DESC, message_id LIMIT $2",
        )
        .bind(room.as_str())
        .bind(most)
        .fetch_all(self.connection())
        .await?;
        rows.into_iter().map(|row| evidence(room, row)).collect()
    }

    pub async fn evidence_of(&mut self, room: &RoomUri, id: &MessageId) -> Result<Option<Evidence>, StoreError> {
        let row = sqlx::query_as::<_, (Vec<u8>, String, Vec<u8>)>(
            "SELECT message_id, sender, message FROM evidence WHERE room = $1 AND message_id = $2",
        )
        .bind(room.as_str())
        .bind(id.as_bytes().to_vec())
        .fetch_optional(self.connection())
        .await?;
        row.map(|row| evidence(room, row)).transpose()
    }

    pub async fn forget_evidence(&mut self, before: u64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM evidence WHERE kept < $1").bind(before as i64).execute(self.connection()).await?;
        Ok(())
    }

    /// Keeps a report, and of its provider's no more than `most`, the latest. The same octets are one report.
    pub async fn add_abuse_report(
        &mut self,
        room: &RoomUri,
        provider: &str,
        hash: &[u8],
        report: &AbuseReport,
        most: i64,
        now: u64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO abuse_report (room, provider, hash, at, report) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (provider, hash) DO NOTHING",
        )
        .bind(room.as_str())
        .bind(provider)
        .bind(hash)
        .bind(now as i64)
        .bind(seal::seal(&[room.as_str().as_bytes(), provider.as_bytes()], report.encode()))
        .execute(self.connection())
        .await?;
        sqlx::query(
            "DELETE FROM abuse_report WHERE provider = $1 AND id NOT IN
                 (SELECT id FROM abuse_report WHERE provider = $1 ORDER BY id DESC LIMIT $2)",
        )
        .bind(provider)
        .bind(most)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    pub async fn abuse_reports(&mut self) -> Result<Vec<Report>, StoreError> {
        let rows = sqlx::query("SELECT id, room, provider, at, report FROM abuse_report ORDER BY id")
            .fetch_all(self.connection())
            .await?;
        rows.iter().map(report).collect()
    }

    pub async fn abuse_report(&mut self, id: i64) -> Result<Option<Report>, StoreError> {
        let row = sqlx::query("SELECT id, room, provider, at, report FROM abuse_report WHERE id = $1")
            .bind(id)
            .fetch_optional(self.connection())
            .await?;
        row.map(|row| report(&row)).transpose()
    }

    /// `false` if there is none.
    pub async fn drop_abuse_report(&mut self, id: i64) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM abuse_report WHERE id = $1").bind(id).execute(self.connection()).await?;
        Ok(done.rows_affected() > 0)
    }

    pub async fn forget_abuse_reports(&mut self, before: u64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM abuse_report WHERE at < $1").bind(before as i64).execute(self.connection()).await?;
        Ok(())
    }
}

fn evidence(room: &RoomUri, (id, sender, message): (Vec<u8>, String, Vec<u8>)) -> Result<Evidence, StoreError> {
    let message = seal::open("evidence", &[room.as_str().as_bytes(), &id, sender.as_bytes()], message)?;
    let id = <[u8; 32]>::try_from(id).map_err(|_| StoreError::corrupt("evidence", "a message ID has 32 octets"))?;
    Ok(Evidence {
        id: MessageId::new(id).map_err(|e| StoreError::corrupt("evidence", e))?,
        sender: UserUri::parse(&sender).map_err(|e| StoreError::corrupt("evidence", e))?,
        message: AbusiveMessage::decode(&message).map_err(|e| StoreError::corrupt("evidence", e))?,
    })
}

fn report(row: &AnyRow) -> Result<Report, StoreError> {
    let (room, provider) = (column::<String>(row, 1)?, column::<String>(row, 2)?);
    let report = seal::open("abuse_report", &[room.as_bytes(), provider.as_bytes()], column(row, 4)?)?;
    Ok(Report {
        id: column(row, 0)?,
        room: RoomUri::parse(&room).map_err(|e| StoreError::corrupt("abuse_report", e))?,
        provider,
        at: column::<i64>(row, 3)? as u64,
        report: AbuseReport::decode(&report).map_err(|e| StoreError::corrupt("abuse_report", e))?,
    })
}
