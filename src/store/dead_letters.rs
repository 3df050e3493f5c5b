//! Dead letters: what has left the outbox without having been delivered. Why and when is the business of
//! `crate::dead_letters`.

use sqlx::any::AnyRow;

use super::{StoreError, Tx, outbox::payload_of, tx::column};

#[derive(Clone, Debug)]
pub struct DeadRow {
    /// The one it had in the outbox.
    pub id: i64,
    pub destination: String,
    pub kind: String,
    pub payload: Vec<u8>,
    pub cause: String,
    pub reason: String,
    /// It has not been delivered, for sure.
    pub certain: bool,
    pub attempts: i64,
    /// When it was accepted, and when it was given up.
    pub created: u64,
    pub died: u64,
}

/// How many there are of a cause, and since when the oldest lies here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadCount {
    pub cause: String,
    pub count: u64,
    pub oldest: u64,
}

const COLUMNS: &str = "id, destination, kind, payload, cause, reason, certain, attempts, created, died";

impl Tx {
    /// Moves a row from the outbox to the dead letters. What was prepared is kept only if `keep_prepared`.
    pub async fn bury_outbox_row(
        &mut self,
        id: i64,
        cause: &str,
        reason: &str,
        certain: bool,
        keep_prepared: bool,
        now: u64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO dead_letter
                 (id, destination, kind, payload, prepared, cause, reason, certain, attempts, created, died)
             SELECT id, destination, kind, payload, CASE WHEN $5 = 1 THEN prepared END, $2, $3, $4, attempts, created, $6
             FROM outbox WHERE id = $1",
        )
        .bind(id)
        .bind(cause)
        .bind(super::tx::text(reason))
        .bind(i64::from(certain))
        .bind(i64::from(keep_prepared))
        .bind(now as i64)
        .execute(self.connection())
        .await?;
        self.remove_outbox_row(id);
        Ok(())
    }

    /// Back into the outbox, at its old place and with a life before it.
    pub async fn revive_dead_letter(&mut self, id: i64, now: u64) -> Result<(), StoreError> {
        self.forget();
        sqlx::query(
            "INSERT INTO outbox (id, destination, kind, payload, prepared, created, unsure)
             SELECT id, destination, kind, payload, prepared, $2, 1 - certain FROM dead_letter WHERE id = $1",
        )
        .bind(id)
        .bind(now as i64)
        .execute(self.connection())
        .await?;
        self.remove_dead_letter(id).await
    }

    pub async fn remove_dead_letter(&mut self, id: i64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM dead_letter WHERE id = $1").bind(id).execute(self.connection()).await?;
        Ok(())
    }

    pub async fn dead_letter(&mut self, id: i64) -> Result<Option<DeadRow>, StoreError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM dead_letter WHERE id = $1")))
            .bind(id)
            .fetch_optional(self.connection())
            .await?;
        row.map(|row| parse(&row)).transpose()
    }

    /// All of a destination, or of all if it is empty, in the order in which they were accepted.
    pub async fn dead_letters(&mut self, destination: &str) -> Result<Vec<DeadRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM dead_letter WHERE $1 = '' OR destination = $1 ORDER BY id");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(destination).fetch_all(self.connection()).await?;
        rows.iter().map(parse).collect()
    }

    pub async fn dead_counts(&mut self) -> Result<Vec<DeadCount>, StoreError> {
        let rows = sqlx::query_as::<_, (String, i64, i64)>(
            "SELECT cause, COUNT(*), MIN(died) FROM dead_letter GROUP BY cause ORDER BY cause",
        )
        .fetch_all(self.connection())
        .await?;
        Ok(rows
            .into_iter()
            .map(|(cause, count, oldest)| DeadCount { cause, count: count as u64, oldest: oldest as u64 })
            .collect())
    }

    /// Forgets what was given up before `at`, and says how many that were.
    pub async fn forget_dead_letters(&mut self, at: u64) -> Result<u64, StoreError> {
        let done = sqlx::query("DELETE FROM dead_letter WHERE died < $1").bind(at as i64);
        Ok(done.execute(self.connection()).await?.rows_affected())
    }
}

fn parse(row: &AnyRow) -> Result<DeadRow, StoreError> {
    let (id, destination, kind) = (column(row, 0)?, column::<String>(row, 1)?, column::<String>(row, 2)?);
    Ok(DeadRow {
        id,
        payload: payload_of(id, &destination, &kind, column(row, 3)?),
        destination,
        kind,
        cause: column(row, 4)?,
        reason: column(row, 5)?,
        certain: column::<i64>(row, 6)? != 0,
        attempts: column(row, 7)?,
        created: column::<i64>(row, 8)? as u64,
        died: column::<i64>(row, 9)? as u64,
    })
}
