//! The shape of a database, brought up to date, and whose database it is. The same on both backends, migration
//! by migration, under the same numbers.

use sqlx::{
    AnyConnection,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use super::{Place, StoreError};

/// One step of the schema: its number, what it is for, and its SQL for SQLite and for PostgreSQL.
type Step = (i64, &'static str, &'static str, &'static str);

/// In order, never changed once released. Each file's head says what it is for.
const MIGRATIONS: &[Step] = &[(
    1,
    "the first shape",
    include_str!("migrations/sqlite/0001_first.sql"),
    include_str!("migrations/postgres/0001_first.sql"),
)];

/// Brings the schema up to date.
pub(super) async fn migrate(connection: &mut AnyConnection, place: &Place) -> Result<(), StoreError> {
    let migration = |&(version, description, sqlite, postgres): &Step| {
        let sql = match place {
            Place::File(_) => sqlite,
            Place::Server(_) => postgres,
        };
        Migration::new(version, description.into(), MigrationType::Simple, sqlx::SqlStr::from_static(sql), false)
    };
    let migrator = Migrator::with_migrations(MIGRATIONS.iter().map(migration).collect());
    migrator.run_direct(None, connection, false).await.map_err(|e| {
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
    })
}

/// A database belongs to one provider domain for ever: its users, rooms and keys carry that name.
pub(super) async fn claim(connection: &mut AnyConnection, place: &Place, domain: &str) -> Result<(), StoreError> {
    let failed = |e: sqlx::Error| StoreError::open(place, super::words(place, &e));
    sqlx::query("INSERT INTO meta (key, value) VALUES ('domain', $1) ON CONFLICT DO NOTHING")
        .bind(domain)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let (owner,): (String,) =
        sqlx::query_as("SELECT value FROM meta WHERE key = 'domain'").fetch_one(&mut *connection).await.map_err(failed)?;
    if owner == domain {
        return Ok(());
    }
    let problem = format!("belongs to the provider {owner}, not to {domain} (change [provider] domain or [store])");
    Err(StoreError::open(place, problem))
}
