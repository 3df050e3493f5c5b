//! The outbox's rows. What they mean is the business of `crate::outbox`.

use sqlx::{Any, AssertSqlSafe, any::AnyArguments, query::QueryAs};
use tracing::error;

use super::{StoreError, Tx, behind::NewRow, queues::AHEAD, seal};

/// One accepted and undelivered thing.
#[derive(Clone, Debug)]
pub struct Row {
    pub id: i64,
    /// Nothing, if the disk has changed it: nobody can read that, and it leaves the queue as what is broken does.
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

type Columns = (i64, String, String, Vec<u8>, Option<Vec<u8>>, Option<i64>, i64, i64);

/// What [`Columns`] are called.
const COLUMNS: &str = "id, destination, kind, payload, prepared, batch, attempts, unsure";

impl Tx {
    pub fn add_to_outbox(&mut self, destination: String, kind: &'static str, payload: Vec<u8>, created: u64) {
        let id = self.queues.as_mut().map(|queues| {
            let id = queues.next_id();
            let row = Row { id, payload: payload.clone(), prepared: None, batch: None, attempts: 0, unsure: false };
            queues.add(&destination, row);
            id
        });
        self.behind.outbox.push(NewRow { id, destination, kind, payload, created });
    }

    /// The first rows of a destination's queue, in order.
    pub async fn outbox_head(&mut self, destination: &str, limit: i64) -> Result<Vec<Row>, StoreError> {
        match self.queues {
            Some(_) => self.kept(destination, limit as usize).await,
            None => self.read_head(destination, limit).await,
        }
    }

    /// For the destination's worker: the first rows of its queue but for the `done` that it has settled in this very
    /// job. What the commit under way adds is not among them; the worker is woken for it.
    pub async fn outbox_left(&mut self, destination: &str, limit: i64, done: usize) -> Result<Vec<Row>, StoreError> {
        if self.queues.is_some() {
            return self.kept(destination, limit as usize).await;
        }
        if self.behind.changes_the_outbox() {
            return self.read_head(destination, limit).await;
        }
        let mut rows = head(destination, limit + done as i64).fetch_all(self.reading()).await?;
        let found = rows.len();
        rows.retain(|(id, ..)| self.behind.settled.get(id).is_none());
        if found - rows.len() > done {
            return self.read_head(destination, limit).await;
        }
        rows.truncate(limit as usize);
        Ok(rows.into_iter().map(row).collect())
    }

    /// The first rows of a queue, from memory if they are there.
    async fn kept(&mut self, destination: &str, limit: usize) -> Result<Vec<Row>, StoreError> {
        if let Some(rows) = self.queues.as_mut().and_then(|queues| queues.look(destination, limit)) {
            return Ok(rows);
        }
        let most = limit.max(AHEAD);
        let mut rows = self.read_head(destination, most as i64).await?;
        if let Some(queues) = &mut self.queues {
            queues.keep(destination, rows.clone(), rows.len() < most);
        }
        rows.truncate(limit);
        Ok(rows)
    }

    /// The first rows of a queue, from the table as it will be.
    async fn read_head(&mut self, destination: &str, limit: i64) -> Result<Vec<Row>, StoreError> {
        let rows = head(destination, limit).fetch_all(self.connection()).await?;
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
        let rows = sqlx::query_as::<_, Columns>(AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM outbox WHERE destination = $1 AND id > $2 AND created <= $3 ORDER BY id LIMIT $4"
        )))
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
        let sql = format!("SELECT {COLUMNS} FROM outbox WHERE destination = $1 AND kind = $2 ORDER BY id");
        let rows = sqlx::query_as::<_, Columns>(AssertSqlSafe(sql))
            .bind(destination)
            .bind(kind)
            .fetch_all(self.connection())
            .await?;
        Ok(rows.into_iter().map(row).map(|row| (row.id, row.payload)).collect())
    }

    /// Keeps what was made of a row, or forgets it.
    pub fn prepare_outbox_row(&mut self, id: i64, prepared: Option<&[u8]>) {
        if let Some(queues) = &mut self.queues {
            queues.prepare(id, prepared);
        }
        self.behind.prepared.put(id, prepared.map(<[u8]>::to_vec));
    }

    /// Ties the rows from `first` to `last` of one destination together.
    pub fn batch_outbox_rows(&mut self, destination: &str, first: i64, last: i64) {
        if let Some(queues) = &mut self.queues {
            queues.batch(destination, first, last);
        }
        self.behind.batches.put(first, (destination.to_owned(), last));
    }

    /// An attempt for the row and those that leave with it has failed. `unsure`: it may have arrived.
    pub async fn outbox_attempt_failed(
        &mut self,
        destination: &str,
        id: i64,
        problem: &str,
        unsure: bool,
    ) -> Result<(), StoreError> {
        if let Some(queues) = &mut self.queues {
            queues.forget(destination);
        }
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
        self.forget();
        sqlx::query(
            "UPDATE outbox SET unsure = 1 WHERE unsure = 0 AND (prepared IS NOT NULL OR batch IS NOT NULL
                 OR id IN (SELECT MIN(id) FROM outbox WHERE destination LIKE 'portal %' GROUP BY destination))",
        )
        .execute(self.connection())
        .await?;
        Ok(())
    }

    pub fn remove_outbox_row(&mut self, id: i64) {
        if let Some(queues) = &mut self.queues {
            queues.remove(id);
        }
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
        let sql = format!("SELECT {COLUMNS} FROM outbox WHERE id = $1");
        let found = sqlx::query_as::<_, Columns>(AssertSqlSafe(sql)).bind(id).fetch_optional(self.connection()).await?;
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
            payload: payload_of(id, &destination, &kind, payload),
            destination,
            kind,
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

fn head(destination: &str, limit: i64) -> QueryAs<'static, Any, Columns, AnyArguments> {
    let sql = format!("SELECT {COLUMNS} FROM outbox WHERE destination = $1 ORDER BY id LIMIT $2");
    sqlx::query_as(AssertSqlSafe(sql)).bind(destination.to_owned()).bind(limit)
}

fn row((id, destination, kind, payload, prepared, batch, attempts, unsure): Columns) -> Row {
    // What was prepared can be made again, and the message keeps its ID.
    let prepared = prepared.and_then(|octets| {
        let opened = seal::open("outbox", &[&id.to_be_bytes()], octets);
        opened.inspect_err(|damage| error!(id, destination, %damage, "What was prepared is made again.")).ok()
    });
    let payload = payload_of(id, &destination, &kind, payload);
    Row { id, payload, prepared, batch, attempts, unsure: unsure != 0 }
}

/// A row that can't be read must not keep the others from being read.
pub(super) fn payload_of(id: i64, destination: &str, kind: &str, sealed: Vec<u8>) -> Vec<u8> {
    seal::open("outbox", &[destination.as_bytes(), kind.as_bytes()], sealed).unwrap_or_else(|damage| {
        error!(id, destination, kind, %damage, "What was accepted can't be read any more.");
        Vec::new()
    })
}
