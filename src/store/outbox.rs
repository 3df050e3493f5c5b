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
    /// An attempt may have arrived and nobody has heard so.
    pub unsure: bool,
}

/// A destination's queue, from outside.
#[derive(Clone, Debug)]
pub struct Queue {
    pub destination: String,
    pub waiting: u64,
    /// The id of its head, and when the oldest was accepted.
    pub head: i64,
    pub oldest: u64,
}

/// One row, from outside.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub destination: String,
    pub kind: String,
    pub payload: Vec<u8>,
    pub attempts: i64,
    pub created: u64,
    pub problem: Option<String>,
    pub unsure: bool,
}

type Columns = (i64, Vec<u8>, Option<Vec<u8>>, Option<i64>, i64, i64);

impl Tx {
    pub fn add_to_outbox(&mut self, destination: String, kind: &'static str, payload: Vec<u8>, created: u64) {
        self.behind.outbox.push(NewRow { destination, kind, payload, created });
    }

    /// The first rows of a destination's queue, in order.
    pub async fn outbox_head(&mut self, destination: &str, limit: i64) -> Result<Vec<Row>, StoreError> {
        if self.behind.outbox.iter().any(|(_, row)| row.destination == destination) {
            let rows = head(destination, i64::MIN, limit).fetch_all(self.connection()).await?;
            return Ok(rows.into_iter().map(row).collect());
        }
        self.outbox_after(destination, i64::MIN, limit).await
    }

    /// For the destination's worker: the first rows behind `last`, which has been settled and may still wait to be
    /// removed. What the commit under way adds is not among them; the worker is woken for it.
    pub async fn outbox_after(&mut self, destination: &str, last: i64, limit: i64) -> Result<Vec<Row>, StoreError> {
        let mut rows = head(destination, last, limit).fetch_all(self.reading()).await?;
        if rows.iter().any(|(id, ..)| self.behind.settled.get(id).is_some()) {
            rows = head(destination, last, limit).fetch_all(self.connection()).await?;
        }
        Ok(rows.into_iter().map(row).collect())
    }

    /// Rows of a destination that follow the row `after` and were accepted before `before`, in order.
    pub async fn outbox_before(
        &mut self,
        destination: &str,
        after: i64,
        before: u64,
        limit: i64,
    ) -> Result<Vec<Row>, StoreError> {
        let rows = sqlx::query_as::<_, Columns>(
            "SELECT id, payload, prepared, batch, attempts, unsure FROM outbox
             WHERE destination = $1 AND id > $2 AND created <= $3 ORDER BY id LIMIT $4",
        )
        .bind(destination)
        .bind(after)
        .bind(before as i64)
        .bind(limit)
        .fetch_all(self.connection())
        .await?;
        Ok(rows.into_iter().map(row).collect())
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

    /// An attempt for the row and those that leave with it has failed. `unsure`: it may have arrived.
    pub async fn outbox_attempt_failed(
        &mut self,
        destination: &str,
        id: i64,
        problem: &str,
        unsure: bool,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE outbox SET attempts = attempts + 1, problem = $3, unsure = CASE WHEN $4 = 1 THEN 1 ELSE unsure END
             WHERE destination = $1 AND (id = $2 OR batch = $2)",
        )
        .bind(destination)
        .bind(id)
        .bind(super::tx::text(problem))
        .bind(i64::from(unsure))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// After a start: what was in hand when the process ended may have arrived.
    pub async fn doubt_outbox(&mut self) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE outbox SET unsure = 1 WHERE unsure = 0 AND (prepared IS NOT NULL OR batch IS NOT NULL
                 OR id IN (SELECT MIN(id) FROM outbox WHERE destination LIKE 'portal %' GROUP BY destination))",
        )
        .execute(self.connection())
        .await?;
        Ok(())
    }

    pub fn remove_outbox_row(&mut self, id: i64) {
        self.behind.settled.put(id, ());
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

    pub async fn outbox_queues(&mut self) -> Result<Vec<Queue>, StoreError> {
        let rows = sqlx::query_as::<_, (String, i64, i64, i64)>(
            "SELECT destination, COUNT(*), MIN(id), MIN(created) FROM outbox GROUP BY destination ORDER BY MIN(created)",
        )
        .fetch_all(self.connection())
        .await?;
        let queue = |(destination, waiting, head, oldest): (String, i64, i64, i64)| Queue {
            destination,
            waiting: waiting as u64,
            head,
            oldest: oldest as u64,
        };
        Ok(rows.into_iter().map(queue).collect())
    }

    pub async fn outbox_row(&mut self, id: i64) -> Result<Option<Row>, StoreError> {
        let sql = "SELECT id, payload, prepared, batch, attempts, unsure FROM outbox WHERE id = $1";
        let found = sqlx::query_as::<_, Columns>(sql).bind(id).fetch_optional(self.connection()).await?;
        Ok(found.map(row))
    }

    pub async fn waiting(&mut self, id: i64) -> Result<Option<Waiting>, StoreError> {
        let row = sqlx::query_as::<_, (String, String, Vec<u8>, i64, i64, Option<String>, i64)>(
            "SELECT destination, kind, payload, attempts, created, problem, unsure FROM outbox WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(self.connection())
        .await?;
        Ok(row.map(|(destination, kind, payload, attempts, created, problem, unsure)| Waiting {
            destination,
            kind,
            payload,
            attempts,
            created: created as u64,
            problem,
            unsure: unsure != 0,
        }))
    }

    /// How many rows there are and when the oldest was accepted.
    pub async fn outbox_totals(&mut self) -> Result<(i64, Option<i64>), StoreError> {
        Ok(sqlx::query_as::<_, (i64, Option<i64>)>("SELECT COUNT(*), MIN(created) FROM outbox")
            .fetch_one(self.connection())
            .await?)
    }
}

fn head(destination: &str, last: i64, limit: i64) -> QueryAs<'static, Any, Columns, AnyArguments> {
    sqlx::query_as(
        "SELECT id, payload, prepared, batch, attempts, unsure FROM outbox WHERE destination = $1 AND id > $2
         ORDER BY id LIMIT $3",
    )
    .bind(destination.to_owned())
    .bind(last)
    .bind(limit)
}

fn row((id, payload, prepared, batch, attempts, unsure): Columns) -> Row {
    Row { id, payload, prepared, batch, attempts, unsure: unsure != 0 }
}
