//! Which destinations take nothing at the moment, since when, and who has been told.

use super::{StoreError, Tx};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    pub destination: String,
    /// The first and the last attempt that failed.
    pub since: u64,
    pub failed: u64,
    /// How long it has not worked, in milliseconds.
    pub failing: u64,
    pub attempts: u64,
    pub problem: String,
    /// Who has been warned, in one line, and up to which row that was looked at.
    pub warned: String,
    pub warned_to: i64,
}

type Columns = (String, i64, i64, i64, i64, String, String, i64);

impl Tx {
    pub async fn outage(&mut self, destination: &str) -> Result<Option<Outage>, StoreError> {
        let row = sqlx::query_as::<_, Columns>(
            "SELECT destination, since, failed, failing, attempts, problem, warned, warned_to FROM outage
             WHERE destination = $1",
        )
        .bind(destination)
        .fetch_optional(self.connection())
        .await?;
        Ok(row.map(parse))
    }

    pub async fn outages(&mut self) -> Result<Vec<Outage>, StoreError> {
        let rows = sqlx::query_as::<_, Columns>(
            "SELECT destination, since, failed, failing, attempts, problem, warned, warned_to FROM outage
             ORDER BY since, destination",
        )
        .fetch_all(self.connection())
        .await?;
        Ok(rows.into_iter().map(parse).collect())
    }

    pub async fn save_outage(&mut self, outage: &Outage) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO outage (destination, since, failed, failing, attempts, problem, warned, warned_to)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (destination) DO UPDATE SET failed = excluded.failed, failing = excluded.failing,
                 attempts = excluded.attempts, problem = excluded.problem, warned = excluded.warned,
                 warned_to = excluded.warned_to",
        )
        .bind(outage.destination.as_str())
        .bind(outage.since as i64)
        .bind(outage.failed as i64)
        .bind(outage.failing as i64)
        .bind(outage.attempts as i64)
        .bind(super::tx::text(&outage.problem))
        .bind(outage.warned.as_str())
        .bind(outage.warned_to)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    pub async fn end_outage(&mut self, destination: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM outage WHERE destination = $1").bind(destination).execute(self.connection()).await?;
        Ok(())
    }
}

fn parse((destination, since, failed, failing, attempts, problem, warned, warned_to): Columns) -> Outage {
    let count = |n: i64| n.max(0) as u64;
    Outage {
        destination,
        since: count(since),
        failed: count(failed),
        failing: count(failing),
        attempts: count(attempts),
        problem,
        warned,
        warned_to,
    }
}
