//! Opening an SQLite file: the pragmas the promise rests on, and the lock that keeps a second gateway out.

use std::path::Path;

use sqlx::{AnyConnection, Connection};

use super::{Place, StoreError, queues::Queues, wal};

/// A file up to this size, in octets, is read through at each start, which takes less than a second. Damage in a
/// larger one is found where it is used.
const CHECKED: u64 = 256 << 20;

pub(super) async fn open(file: &Path) -> Result<AnyConnection, StoreError> {
    let place = Place::from(file);
    let failed = |problem: String| StoreError::open(&place, problem);
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|e| failed(format!("its folder can't be made: {e} (create it, or change [store] path)")))?;
    }
    if let Some(damage) = wal::damage(file).map_err(|e| failed(format!("its write-ahead log can't be read: {e}")))? {
        return Err(failed(format!(
            "{damage}: commits that were promised can't be read any more, and going on without them would use keys twice \
             (look at the disk, then restore the latest backup)"
        )));
    }
    let url = format!("sqlite://{}?mode=rwc", file.display());
    let mut connection = AnyConnection::connect(&url).await.map_err(|e| failed(words(&e)))?;
    // synchronous=FULL: with NORMAL a power cut may take back the last commits, and those were promised.
    // EXCLUSIVE: a second gateway on the same file would be a second writer; it is refused here.
    for pragma in [
        "PRAGMA locking_mode = EXCLUSIVE",
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "PRAGMA foreign_keys = ON",
        "PRAGMA cache_size = -16384",
        // In pages of 4 KiB: what every message writes is in the same few pages, and the longer the log, the fewer of
        // them are written twice.
        "PRAGMA wal_autocheckpoint = 2048",
    ] {
        sqlx::query(pragma).execute(&mut connection).await.map_err(|e| failed(words(&e)))?;
    }
    if std::fs::metadata(file).is_ok_and(|file| file.len() <= CHECKED) {
        let (verdict,) = sqlx::query_as::<_, (String,)>("PRAGMA quick_check(1)")
            .fetch_one(&mut connection)
            .await
            .map_err(|e| failed(words(&e)))?;
        if verdict != "ok" {
            return Err(failed(format!("is damaged: {verdict} (look at the disk, then restore the latest backup)")));
        }
    }
    Ok(connection)
}

/// The ids of the outbox's rows are given by us, after all that there ever were.
pub(super) async fn queues(connection: &mut AnyConnection) -> Result<Queues, StoreError> {
    let (last,) =
        sqlx::query_as::<_, (i64,)>("SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'outbox'")
            .fetch_one(connection)
            .await?;
    Ok(Queues::after(last))
}

/// What an error means for the admin, and what to do. The numbers are SQLite's primary result codes.
pub(super) fn words(e: &sqlx::Error) -> String {
    let code = e.as_database_error().and_then(|e| e.code()).and_then(|code| code.parse::<u32>().ok());
    match code.map(|code| code & 0xff) {
        Some(5 | 6) => "is in use by another process (is a gateway running on it already?)".into(),
        Some(8) => format!("can only be read: {e} (make the file and its folder writable for the gateway's user)"),
        Some(13) => format!("does not fit on its disk any more: {e} (free some space)"),
        Some(14) => format!("can't be opened: {e} (is the folder writable for this user?)"),
        _ => format!("is not a usable SQLite database: {e}"),
    }
}
