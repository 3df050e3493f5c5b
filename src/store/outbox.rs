//! The outbox's rows. What they mean is the business of `crate::outbox`.

use sqlx::{Any, AssertSqlSafe, any::AnyArguments, query::QueryAs};

use super::{
    StoreError, Tx,
    behind::{self, NewRow},
};

/// One accepted and undelivered thing.
#[derive(Clone, Debug)]
pub struct Row {
    pub id: i64,
    pub payload: Vec<u8>,
    /// What was made of it for sending, byte for byte what a repeated attempt sends.
    pub prepared: Option<Vec<u8>>,
    /// Rows that leave together carry the id of the first.
    pub batch: Option<i64>,
    pub attempts: i64,
}

impl Tx {
    pub fn add_to_outbox(&mut self, destination: String, kind: &'static str, payload: Vec<u8>, created: u64) {
        self.behind.outbox.push(NewRow { destination, kind, payload, created });
    }

    /// The first rows of a destination's queue, in order. What waits behind them in the commit under way is not
    /// among them: whoever put it there wakes the worker.
    pub async fn outbox_head(&mut self, destination: &str, limit: i64) -> Result<Vec<Row>, StoreError> {
        self.outbox_after(destination, i64::MIN, limit).await
    }

    /// The first rows behind `last`, which has been settled and may still wait to be removed.
    pub async fn outbox_after(&mut self, destination: &str, last: i64, limit: i64) -> Result<Vec<Row>, StoreError> {
        let mut rows = head(destination, last, limit).fetch_all(self.reading()).await?;
        if rows.iter().any(|(id, ..)| self.behind.settled.get(id).is_some()) {
            rows = head(destination, last, limit).fetch_all(self.connection()).await?;
        }
        Ok(rows
            .into_iter()
            .map(|(id, payload, prepared, batch, attempts)| Row { id, payload, prepared, batch, attempts })
            .collect())
    }

    /// The rows of one kind in a destination's queue, in order: id and payload.
    pub async fn outbox_rows_of_kind(
        &mut self,
        destination: &str,
        kind: &'static str,
    ) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
        Ok(sqlx::query_as::<_, (i64, Vec<u8>)>(
            "SELECT id, payload FROM outbox WHERE destination = $1 AND kind = $2 ORDER BY id",
        )
        .bind(destination)
        .bind(kind)
        .fetch_all(self.connection())
        .await?)
    }

    pub async fn prepare_outbox_row(&mut self, id: i64, prepared: Option<&[u8]>) -> Result<(), StoreError> {
        sqlx::query("UPDATE outbox SET prepared = $2 WHERE id = $1")
            .bind(id)
            .bind(prepared)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Keeps what was made of several rows.
    pub async fn prepare_outbox_rows(&mut self, rows: Vec<(i64, Vec<u8>)>) -> Result<(), StoreError> {
        for rows in behind::chunks(rows) {
            let sql = behind::many(
                "UPDATE outbox SET prepared = made.column2 FROM (VALUES ",
                2,
                rows.len(),
                ") AS made WHERE outbox.id = made.column1",
            );
            let query = sqlx::query(AssertSqlSafe(sql));
            let query = rows.into_iter().fold(query, |query, (id, prepared)| query.bind(id).bind(prepared));
            query.execute(self.connection()).await?;
        }
        Ok(())
    }

    /// Drops what was made of the rows of a destination from `first` on.
    pub async fn unprepare_outbox_from(&mut self, destination: &str, first: i64) -> Result<(), StoreError> {
        sqlx::query("UPDATE outbox SET prepared = NULL WHERE destination = $1 AND id >= $2 AND prepared IS NOT NULL")
            .bind(destination)
            .bind(first)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Ties the rows from `first` to `last` of one destination together.
    pub async fn batch_outbox_rows(&mut self, destination: &str, first: i64, last: i64) -> Result<(), StoreError> {
        sqlx::query("UPDATE outbox SET batch = $2 WHERE destination = $1 AND id BETWEEN $2 AND $3")
            .bind(destination)
            .bind(first)
            .bind(last)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    pub async fn outbox_attempt_failed(&mut self, id: i64, problem: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE outbox SET attempts = attempts + 1, problem = $2 WHERE id = $1")
            .bind(id)
            .bind(problem)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    pub fn remove_outbox_row(&mut self, id: i64) {
        self.behind.settled.put(id, ());
    }

    pub async fn remove_outbox_of(&mut self, destination: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM outbox WHERE destination = $1").bind(destination).execute(self.connection()).await?;
        Ok(())
    }

    pub async fn outbox_destinations(&mut self) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query_as::<_, (String,)>("SELECT DISTINCT destination FROM outbox")
            .fetch_all(self.connection())
            .await?;
        Ok(rows.into_iter().map(|(destination,)| destination).collect())
    }

    /// How many rows a destination has.
    pub async fn outbox_length(&mut self, destination: &str) -> Result<i64, StoreError> {
        let (count,) = sqlx::query_as::<_, (i64,)>("SELECT COUNT(*) FROM outbox WHERE destination = $1")
            .bind(destination)
            .fetch_one(self.connection())
            .await?;
        Ok(count)
    }

    /// How many rows there are and when the oldest was accepted.
    pub async fn outbox_totals(&mut self) -> Result<(i64, Option<i64>), StoreError> {
        Ok(sqlx::query_as::<_, (i64, Option<i64>)>("SELECT COUNT(*), MIN(created) FROM outbox")
            .fetch_one(self.connection())
            .await?)
    }
}

type Head = (i64, Vec<u8>, Option<Vec<u8>>, Option<i64>, i64);

fn head(destination: &str, last: i64, limit: i64) -> QueryAs<'static, Any, Head, AnyArguments> {
    sqlx::query_as(
        "SELECT id, payload, prepared, batch, attempts FROM outbox WHERE destination = $1 AND id > $2
         ORDER BY id LIMIT $3",
    )
    .bind(destination.to_owned())
    .bind(last)
    .bind(limit)
}
