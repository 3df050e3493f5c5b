//! The shape of a database, brought up to date, and whose database it is. The same on both backends, migration
//! by migration, under the same numbers.

use sqlx::{
    AnyConnection,
    migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator},
};

use super::{Place, StoreError};

/// One step of the schema: its number, what it is for, and its SQL for SQLite and for PostgreSQL.
type Step = (i64, &'static str, &'static str, &'static str);

/// In order, never changed once released. Each file's head says what it is for.
const MIGRATIONS: &[Step] = &[
    (
        1,
        "the first shape",
        include_str!("migrations/sqlite/0001_first.sql"),
        include_str!("migrations/postgres/0001_first.sql"),
    ),
    (
        2,
        "dead letters",
        include_str!("migrations/sqlite/0002_dead_letters.sql"),
        include_str!("migrations/postgres/0002_dead_letters.sql"),
    ),
    (
        3,
        "endpoints",
        include_str!("migrations/sqlite/0003_endpoints.sql"),
        include_str!("migrations/postgres/0003_endpoints.sql"),
    ),
    (
        4,
        "threads, topics and versions",
        include_str!("migrations/sqlite/0004_conversation.sql"),
        include_str!("migrations/postgres/0004_conversation.sql"),
    ),
    (5, "hops", include_str!("migrations/sqlite/0005_hops.sql"), include_str!("migrations/postgres/0005_hops.sql")),
    (
        6,
        "joining codes",
        include_str!("migrations/sqlite/0006_joining_codes.sql"),
        include_str!("migrations/postgres/0006_joining_codes.sql"),
    ),
];

/// The database has been copied to another, and must never be started again.
pub(super) const MOVED_TO: &str = "moved to";
/// The database is a copy in the making.
pub(super) const ARRIVING_FROM: &str = "arriving from";

/// Brings the schema up to date. Answers the steps that were taken.
pub(super) async fn migrate(connection: &mut AnyConnection, place: &Place) -> Result<Vec<Applied>, StoreError> {
    let migration = |&(version, description, sqlite, postgres): &Step| {
        let sql = match place {
            Place::File(_) => sqlite,
            Place::Server(_) => postgres,
        };
        Migration::new(version, description.into(), MigrationType::Simple, sqlx::SqlStr::from_static(sql), false)
    };
    let migrator = Migrator::with_migrations(MIGRATIONS.iter().map(migration).collect());
    let done = async {
        // Processes that start together bring a new database up to date one after the other.
        connection.lock().await?;
        let before = applied(connection).await?;
        migrator.run_direct(None, connection, false).await?;
        connection.unlock().await?;
        Ok(before)
    };
    let before = done.await.map_err(|e: MigrateError| {
        let problem = match e {
            MigrateError::VersionMissing(version) => format!(
                "was written by a newer mimi-gateway (its schema {version} is unknown here): run that version, or \
                 restore a backup"
            ),
            MigrateError::Dirty(version) => format!(
                "was left half-way by an upgrade that did not finish (its schema {version}): restore the backup made \
                 before it, and upgrade again"
            ),
            MigrateError::VersionMismatch(version) => format!(
                "has a schema {version} that is not the one of this mimi-gateway: run the version that wrote it, or \
                 restore a backup"
            ),
            MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _) => {
                return StoreError::open(place, super::words(place, &e));
            }
            e => format!("can't be brought to the current schema: {e}"),
        };
        StoreError::open(place, problem)
    })?;
    let new = MIGRATIONS.iter().filter(|(version, ..)| !before.contains(version));
    Ok(new.map(|&(version, description, ..)| Applied { version, description }).collect())
}

/// A step of the schema that has been taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    pub version: i64,
    pub description: &'static str,
}

/// The version that this program brings a database to.
pub fn current() -> i64 {
    MIGRATIONS.iter().map(|(version, ..)| *version).max().unwrap_or_default()
}

async fn applied(connection: &mut AnyConnection) -> Result<Vec<i64>, MigrateError> {
    connection.ensure_migrations_table(TABLE).await?;
    Ok(connection.list_applied_migrations(TABLE).await?.into_iter().map(|it| it.version).collect())
}

/// Where sqlx keeps what it has done.
const TABLE: &str = "_sqlx_migrations";

pub(super) async fn note(connection: &mut AnyConnection, key: &str) -> Result<Option<String>, sqlx::Error> {
    let row = sqlx::query_as::<_, (String,)>("SELECT value FROM meta WHERE key = $1")
        .bind(key)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|(value,)| value))
}

pub(super) async fn remember(connection: &mut AnyConnection, key: &str, value: &str) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO meta (key, value) VALUES ($1, $2)").bind(key).bind(value).execute(connection).await?;
    Ok(())
}

pub(super) async fn forget(connection: &mut AnyConnection, key: &str) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM meta WHERE key = $1").bind(key).execute(connection).await?;
    Ok(())
}

/// A database belongs to one provider domain for ever: its users, rooms and keys carry that name.
pub(super) async fn claim(connection: &mut AnyConnection, place: &Place, domain: &str) -> Result<(), StoreError> {
    let failed = |e: sqlx::Error| StoreError::open(place, super::words(place, &e));
    if let Some(to) = note(connection, MOVED_TO).await.map_err(failed)? {
        let problem = format!(
            "was moved to {to}, and whoever starts it again uses keys twice (name {to} in [store]; if that copy was \
             never started and is gone, restore the backup that was made before)"
        );
        return Err(StoreError::open(place, problem));
    }
    if let Some(from) = note(connection, ARRIVING_FROM).await.map_err(failed)? {
        let problem = format!("is a copy of {from} that was not finished (run `mimi-gateway db copy` again)");
        return Err(StoreError::open(place, problem));
    }
    sqlx::query("INSERT INTO meta (key, value) VALUES ('domain', $1) ON CONFLICT DO NOTHING")
        .bind(domain)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let (owner,): (String,) = sqlx::query_as("SELECT value FROM meta WHERE key = 'domain'")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if owner == domain {
        return Ok(());
    }
    let problem = format!("belongs to the provider {owner}, not to {domain} (change [provider] domain or [store])");
    Err(StoreError::open(place, problem))
}

impl super::Tx {
    /// Writes a row for no other reason than to see whether one can be written.
    pub async fn was_ready(&mut self, now: u64) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO meta (key, value) VALUES ('was ready', $1)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )
        .bind(now.to_string())
        .execute(self.connection())
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The SQL of a step in SQLite's words and without what is a matter of one backend.
    fn plain(sql: &str) -> String {
        let lines = sql.lines().map(|line| line.split("--").next().unwrap_or_default());
        let mut sql = lines.collect::<Vec<_>>().join(" ");
        for (theirs, ours) in [
            ("BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY", "INTEGER PRIMARY KEY AUTOINCREMENT"),
            ("TEXT COLLATE \"C\"", "TEXT"),
            ("BIGINT", "INTEGER"),
            ("BYTEA", "BLOB"),
            (" WITH (fillfactor = 70)", ""),
            (" STRICT, WITHOUT ROWID", ""),
            (" STRICT", ""),
        ] {
            sql = sql.replace(theirs, ours);
        }
        sql.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_step_makes_the_same_on_both_backends() {
        for (version, _, sqlite, postgres) in MIGRATIONS {
            assert_eq!(plain(sqlite), plain(postgres), "schema {version}");
        }
    }
}
