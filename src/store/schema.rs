//! Opening the database file: the pragmas the promise rests on, the migrations, and whose database it is.

use std::path::Path;

use sqlx::{
    AnyConnection, Connection,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use super::{StoreError, wal};

/// In order, never changed once released. Each file's head says what it is for.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "the first shape", include_str!("migrations/0001_first.sql")),
    (2, "dead letters", include_str!("migrations/0002_dead_letters.sql")),
];

pub(super) async fn open(path: &Path, domain: &str) -> Result<AnyConnection, StoreError> {
    let failed = |problem: String| StoreError::Open { path: path.to_owned(), problem };
    sqlx::any::install_default_drivers();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|e| failed(format!("its folder can't be made: {e} (create it, or change [store] path)")))?;
    }
    if let Some(damage) = wal::damage(path).map_err(|e| failed(format!("its write-ahead log can't be read: {e}")))? {
        return Err(failed(format!(
            "{damage}: commits that were promised can't be read any more, and going on without them would use keys twice \
             (look at the disk, then restore the latest backup)"
        )));
    }
    let url = format!("sqlite://{}?mode=rwc", path.display());
    let mut connection = AnyConnection::connect(&url)
        .await
        .map_err(|e| failed(format!("can't be opened: {e} (is the folder writable for this user?)")))?;
    // synchronous=FULL: with NORMAL a power cut may take back the last commits, and those were promised.
    // EXCLUSIVE: a second gateway on the same file would be a second writer; it is refused here.
    for pragma in [
        "PRAGMA locking_mode = EXCLUSIVE",
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "PRAGMA foreign_keys = ON",
        "PRAGMA cache_size = -16384",
    ] {
        sqlx::query(pragma).execute(&mut connection).await.map_err(|e| {
            failed(if e.to_string().contains("locked") {
                "is in use by another process (is a gateway running on it already?)".into()
            } else {
                format!("is not a usable SQLite database: {e}")
            })
        })?;
    }
    let migrator = Migrator::with_migrations(
        MIGRATIONS
            .iter()
            .map(|&(version, description, sql)| {
                Migration::new(
                    version,
                    description.into(),
                    MigrationType::Simple,
                    sqlx::SqlStr::from_static(sql),
                    false,
                )
            })
            .collect(),
    );
    migrator.run(&mut connection).await.map_err(|e| {
        failed(match e {
            MigrateError::VersionMissing(version) => {
                format!("was written by a newer mimi-gateway (its schema {version} is unknown here): run that version, or restore a backup")
            }
            e => format!("can't be brought to the current schema: {e}"),
        })
    })?;
    claim(&mut connection, domain).await?.map_err(failed)?;
    Ok(connection)
}

/// A database belongs to one provider domain for ever: its users, rooms and keys carry that name.
async fn claim(connection: &mut AnyConnection, domain: &str) -> Result<Result<(), String>, StoreError> {
    sqlx::query("INSERT INTO meta (key, value) VALUES ('domain', $1) ON CONFLICT DO NOTHING")
        .bind(domain)
        .execute(&mut *connection)
        .await?;
    let (owner,): (String,) =
        sqlx::query_as("SELECT value FROM meta WHERE key = 'domain'").fetch_one(&mut *connection).await?;
    Ok(if owner == domain {
        Ok(())
    } else {
        Err(format!("belongs to the provider {owner}, not to {domain} (change [provider] domain or [store] path)"))
    })
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
