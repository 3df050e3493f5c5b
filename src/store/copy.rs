//! Moving an installation to another database, whole or not at all.
//!
//! MLS ratchets must not fork: of an installation there may be one database that can be started, never two. So the
//! copy is committed as one that is *arriving* and can't be started; then the old database is marked as moved, and
//! can't be started any more; then the copy is opened for use. Whoever is interrupted in between runs the same
//! command again.
//!
//! The tables are copied as the schema has them, not table by table in code. What they are is read from an empty
//! database of the same schema, so it makes no difference which backend is on which side. Each table is read back
//! and compared by its number of rows and a digest over all of them before anything is committed.

use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row, any::AnyRow};

use super::{Backend, Place, StoreError, behind, schema, words};

/// Rows that are written with one statement.
const BATCH: usize = 64;

/// A table that is in the new database as it was in the old one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    pub table: String,
    pub rows: u64,
    /// Over every row in the order of the primary key.
    pub digest: [u8; 32],
}

/// Moves everything of `domain` to a database with nothing in it. `told` hears of each table.
pub async fn copy(
    from: &Place,
    to: &Place,
    domain: &str,
    mut told: impl FnMut(&Copied),
) -> Result<Vec<Copied>, StoreError> {
    let problem = |place: &Place, problem: String| StoreError::Open { place: place.clone(), problem };
    if from == to {
        return Err(problem(to, "is the database that is to be copied (name another with --to)".into()));
    }
    let source_backend = Backend { place: from.clone(), domain: domain.to_owned(), address: None };
    let target_backend = Backend { place: to.clone(), domain: domain.to_owned(), address: None };
    let (mut source, _) = source_backend.migrated(None).await?;
    let (mut target, _) = target_backend.migrated(None).await?;
    let (source, target) = (&mut source.connection, &mut target.connection);
    let in_target = |e: sqlx::Error| StoreError::Open { place: to.clone(), problem: words(to, &e) };
    let in_source = |e: sqlx::Error| StoreError::Open { place: from.clone(), problem: words(from, &e) };
    let tables = tables().await?;

    let moved = schema::note(source, schema::MOVED_TO).await.map_err(in_source)?;
    let arriving = schema::note(target, schema::ARRIVING_FROM).await.map_err(in_target)?;
    match (moved, arriving) {
        // We were interrupted when everything but the last step was done.
        (Some(_), Some(arriving)) if arriving == from.to_string() => {
            schema::forget(target, schema::ARRIVING_FROM).await.map_err(in_target)?;
            return Ok(Vec::new());
        }
        (Some(moved), _) => {
            return Err(problem(from, format!("was moved to {moved} already: there is nothing to copy")));
        }
        _ => schema::claim(source, from, domain).await?,
    }
    for table in &tables {
        if table.name != "meta" && table.count(target).await.map_err(in_target)? > 0 {
            let what = format!("is not empty: there are rows in {} (name a new database with --to)", table.name);
            return Err(problem(to, what));
        }
    }

    sqlx::query("BEGIN").execute(&mut *target).await.map_err(in_target)?;
    sqlx::query("DELETE FROM meta").execute(&mut *target).await.map_err(in_target)?;
    let mut done = Vec::new();
    for table in &tables {
        let written = table.copy(source, from, target, to).await?;
        let read_back = table.digest(target).await.map_err(in_target)?;
        if written != read_back {
            let what = format!(
                "has other rows in {} than were copied ({} of {}): nothing was kept; this is a bug, please report it",
                table.name, read_back.rows, written.rows
            );
            return Err(problem(to, what));
        }
        table.continue_numbers(source, from, target, to).await?;
        told(&written);
        done.push(written);
    }
    schema::remember(target, schema::ARRIVING_FROM, &from.to_string()).await.map_err(in_target)?;
    sqlx::query("COMMIT").execute(&mut *target).await.map_err(in_target)?;
    schema::remember(source, schema::MOVED_TO, &to.to_string()).await.map_err(in_source)?;
    schema::forget(target, schema::ARRIVING_FROM).await.map_err(in_target)?;
    Ok(done)
}

#[derive(Clone, Copy)]
enum Kind {
    Integer,
    Text,
    Blob,
}

enum Value {
    Integer(Option<i64>),
    Text(Option<String>),
    Blob(Option<Vec<u8>>),
}

struct Table {
    name: String,
    columns: Vec<(String, Kind)>,
    /// The primary key, by which rows have one order everywhere.
    key: Vec<String>,
    /// The column that the database numbers.
    numbered: Option<String>,
}

/// Every table of the current schema.
async fn tables() -> Result<Vec<Table>, StoreError> {
    let nowhere = Place::File(":memory:".into());
    let mut model = AnyConnection::connect("sqlite::memory:").await?;
    schema::migrate(&mut model, &nowhere).await?;
    let names = sqlx::query_as::<_, (String, String)>(
        "SELECT name, sql FROM sqlite_master
         WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name NOT LIKE '!_sqlx!_%' ESCAPE '!'
         ORDER BY name",
    )
    .fetch_all(&mut model)
    .await?;
    let mut tables = Vec::new();
    for (name, sql) in names {
        let rows =
            sqlx::query_as::<_, (String, String, i64)>("SELECT name, type, pk FROM pragma_table_info($1) ORDER BY cid")
                .bind(name.as_str())
                .fetch_all(&mut model)
                .await?;
        let mut key: Vec<_> = rows.iter().filter(|(_, _, place)| *place > 0).collect();
        key.sort_by_key(|(_, _, place)| *place);
        let key: Vec<String> = key.into_iter().map(|(name, ..)| name.clone()).collect();
        let numbered = sql.contains("AUTOINCREMENT").then(|| key[0].clone());
        let columns = rows
            .into_iter()
            .map(|(name, kind, _)| {
                let kind = match kind.as_str() {
                    "INTEGER" => Kind::Integer,
                    "TEXT" => Kind::Text,
                    _ => Kind::Blob,
                };
                (name, kind)
            })
            .collect();
        tables.push(Table { name, columns, key, numbered });
    }
    Ok(tables)
}

impl Table {
    async fn count(&self, connection: &mut AnyConnection) -> Result<i64, sqlx::Error> {
        let sql = AssertSqlSafe(format!("SELECT COUNT(*) FROM {}", self.name));
        Ok(sqlx::query_as::<_, (i64,)>(sql).fetch_one(connection).await?.0)
    }

    fn columns(&self) -> String {
        self.columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn select(&self) -> AssertSqlSafe<String> {
        AssertSqlSafe(format!("SELECT {} FROM {} ORDER BY {}", self.columns(), self.name, self.key.join(", ")))
    }

    async fn copy(
        &self,
        source: &mut AnyConnection,
        from: &Place,
        target: &mut AnyConnection,
        to: &Place,
    ) -> Result<Copied, StoreError> {
        let in_source = |e: sqlx::Error| StoreError::Open { place: from.clone(), problem: words(from, &e) };
        let in_target = |e: sqlx::Error| StoreError::Open {
            place: to.clone(),
            problem: format!("{}: {}", self.name, words(to, &e)),
        };
        let mut digest = Rows::default();
        let mut waiting = Vec::new();
        let mut rows = sqlx::query(self.select()).fetch(source);
        while let Some(row) = rows.try_next().await.map_err(in_source)? {
            let row = self.read(&row).map_err(in_source)?;
            digest.add(&row);
            waiting.push(row);
            if waiting.len() == BATCH {
                self.write(target, std::mem::take(&mut waiting)).await.map_err(in_target)?;
            }
        }
        self.write(target, waiting).await.map_err(in_target)?;
        Ok(digest.of(&self.name))
    }

    async fn digest(&self, connection: &mut AnyConnection) -> Result<Copied, sqlx::Error> {
        let mut digest = Rows::default();
        let mut rows = sqlx::query(self.select()).fetch(connection);
        while let Some(row) = rows.try_next().await? {
            digest.add(&self.read(&row)?);
        }
        Ok(digest.of(&self.name))
    }

    fn read(&self, row: &AnyRow) -> Result<Vec<Value>, sqlx::Error> {
        let columns = self.columns.iter().enumerate();
        columns
            .map(|(at, (_, kind))| {
                Ok(match kind {
                    Kind::Integer => Value::Integer(row.try_get(at)?),
                    Kind::Text => Value::Text(row.try_get(at)?),
                    Kind::Blob => Value::Blob(row.try_get(at)?),
                })
            })
            .collect()
    }

    async fn write(&self, connection: &mut AnyConnection, rows: Vec<Vec<Value>>) -> Result<(), sqlx::Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let head = format!("INSERT INTO {} ({}) VALUES ", self.name, self.columns());
        let mut query = sqlx::query(AssertSqlSafe(behind::many(&head, self.columns.len(), rows.len(), "")));
        for value in rows.into_iter().flatten() {
            query = match value {
                Value::Integer(value) => query.bind(value),
                Value::Text(value) => query.bind(value),
                Value::Blob(value) => query.bind(value),
            };
        }
        query.execute(connection).await.map(|_| ())
    }

    /// A number that was given once is never given again, also where its row is gone: deliveries are known by it.
    async fn continue_numbers(
        &self,
        source: &mut AnyConnection,
        from: &Place,
        target: &mut AnyConnection,
        to: &Place,
    ) -> Result<(), StoreError> {
        let Some(column) = &self.numbered else { return Ok(()) };
        let last = match from {
            Place::File(_) => {
                sqlx::query_as::<_, (i64,)>("SELECT seq FROM sqlite_sequence WHERE name = $1")
                    .bind(self.name.as_str())
                    .fetch_optional(&mut *source)
                    .await?
            }
            Place::Server(_) => {
                let sql = "SELECT COALESCE(pg_sequence_last_value(pg_get_serial_sequence($1, $2)::regclass), 0)";
                sqlx::query_as(sql).bind(self.name.as_str()).bind(column.as_str()).fetch_optional(&mut *source).await?
            }
        };
        let Some((last @ 1..,)) = last else { return Ok(()) };
        match to {
            Place::File(_) => {
                for sql in [
                    "DELETE FROM sqlite_sequence WHERE name = $1",
                    "INSERT INTO sqlite_sequence (name, seq) VALUES ($1, $2)",
                ] {
                    sqlx::query(sql).bind(self.name.as_str()).bind(last).execute(&mut *target).await?;
                }
            }
            Place::Server(_) => {
                sqlx::query("SELECT setval(pg_get_serial_sequence($1, $2)::regclass, $3)")
                    .bind(self.name.as_str())
                    .bind(column.as_str())
                    .bind(last)
                    .execute(&mut *target)
                    .await?;
            }
        }
        Ok(())
    }
}

/// A digest in the making. Each value says what it is and how long, so that no two tables look alike.
#[derive(Default)]
struct Rows {
    count: u64,
    digest: Sha256,
}

impl Rows {
    fn add(&mut self, row: &[Value]) {
        self.count += 1;
        for value in row {
            match value {
                Value::Integer(Some(value)) => self.value(1, &value.to_be_bytes()),
                Value::Text(Some(value)) => self.value(2, value.as_bytes()),
                Value::Blob(Some(value)) => self.value(3, value),
                Value::Integer(None) | Value::Text(None) | Value::Blob(None) => self.value(0, &[]),
            }
        }
    }

    fn value(&mut self, kind: u8, octets: &[u8]) {
        self.digest.update([kind]);
        self.digest.update((octets.len() as u64).to_be_bytes());
        self.digest.update(octets);
    }

    fn of(self, table: &str) -> Copied {
        Copied { table: table.to_owned(), rows: self.count, digest: self.digest.finalize().into() }
    }
}
