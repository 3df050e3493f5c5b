//! Opening a PostgreSQL database: the settings the promise rests on, and the lock that keeps a second gateway out.
//!
//! The lock is the session's (`pg_advisory_lock`), and everything is written in the session that holds it. So it
//! needs no clock to be safe: a gateway that was cut off, stopped or put to sleep has lost the lock exactly when
//! it has lost the connection it could have written through. A pooler that shares sessions between transactions
//! (PgBouncer in transaction mode) breaks that, and the prepared statements too: connect past it.

use std::time::Duration;

use sqlx::{AnyConnection, Connection};
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use super::{Place, StoreError, place::Server};

const CONNECT_TIME: Duration = Duration::from_secs(10);

/// How long the lock is waited for: a server notices within moments that a gateway is dead, but not at once.
const LOCK_TIME: Duration = Duration::from_secs(5);

/// Our corner of the numbers for advisory locks: `MIMI`. Number 0 in it is the database as a whole.
const LOCK: &str = "SELECT pg_try_advisory_lock(1296649545, 0)";
const SHARED_LOCK: &str = "SELECT pg_try_advisory_lock_shared(1296649545, 0)";

/// One session of ours, as the server knows it. A process id alone may be another's by now.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub pid: i32,
    pub begun: String,
}

/// A session that nobody else shares the database with, or, for a process among others, only its like.
pub(super) async fn open(
    server: &Server,
    before: Option<Session>,
    address: Option<&str>,
) -> Result<(AnyConnection, Session), StoreError> {
    let place = Place::Server(server.clone());
    let failed = |e: sqlx::Error| StoreError::open(&place, words(&e));
    let connecting = timeout(CONNECT_TIME, AnyConnection::connect(server.url()));
    let mut connection = match connecting.await {
        Ok(connected) => connected.map_err(failed)?,
        Err(_) => return Err(StoreError::open(&place, "does not answer (is the server reachable from here?)")),
    };
    if let Some(problem) = settle(&mut connection).await.map_err(failed)? {
        return Err(StoreError::open(&place, problem));
    }
    let (pid, begun) = sqlx::query_as::<_, (i32, String)>(
        "SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()",
    )
    .fetch_one(&mut connection)
    .await
    .map_err(failed)?;
    if let Some(before) = before {
        end(&mut connection, &before).await.map_err(failed)?;
    }
    let deadline = Instant::now() + LOCK_TIME;
    if let Some(address) = address {
        sqlx::query("SELECT set_config('application_name', $1, false)")
            .bind(format!("mimi-gateway {address}"))
            .execute(&mut connection)
            .await
            .map_err(failed)?;
    }
    while !lock(&mut connection, address.is_some()).await.map_err(failed)? {
        if Instant::now() > deadline {
            return Err(StoreError::open(
                &place,
                "is in use by another process (is a gateway running on it already? several need [cluster], each)",
            ));
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok((connection, Session { pid, begun }))
}

/// Settings of the session. Answers why the database can't be used, if so.
async fn settle(connection: &mut AnyConnection) -> Result<Option<String>, sqlx::Error> {
    for sql in [
        // What a database or a role was given as defaults may be right for others.
        "SET default_transaction_isolation = 'read committed'",
        // off may take back the last commits after a crash, and those were promised. What waits for a standby stays.
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
        "SELECT set_config('application_name', 'mimi-gateway', false) WHERE current_setting('application_name') = ''",
    ] {
        sqlx::query(sql).execute(&mut *connection).await?;
    }
    let (encoding, read_only, fsync) = sqlx::query_as::<_, (String, String, String)>(
        "SELECT current_setting('server_encoding'), current_setting('transaction_read_only'), current_setting('fsync')",
    )
    .fetch_one(&mut *connection)
    .await?;
    if encoding != "UTF8" {
        return Ok(Some(format!(
            "is encoded in {encoding}, which can't hold every name (create it with ENCODING 'UTF8' TEMPLATE template0)"
        )));
    }
    if read_only == "on" {
        return Ok(Some(READ_ONLY.into()));
    }
    if fsync == "off" {
        warn!("The PostgreSQL server runs with fsync = off: a power cut there will lose messages that were promised.");
    }
    Ok(None)
}

/// From now on nothing waits for ever. (A migration may take its time.)
pub(super) async fn limit(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    for sql in
        ["SET lock_timeout = '2s'", "SET statement_timeout = '60s'", "SET idle_in_transaction_session_timeout = '60s'"]
    {
        sqlx::query(sql).execute(&mut *connection).await?;
    }
    Ok(())
}

const READ_ONLY: &str = "can only be read: it is a standby, or set to default_transaction_read_only (name the primary \
                         server in [store], or make it writable)";

/// Ends a session of ours from before: the server may not have noticed that nobody is at its other end.
pub(super) async fn end(connection: &mut AnyConnection, session: &Session) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start::text = $2")
        .bind(session.pid)
        .bind(session.begun.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

async fn lock(connection: &mut AnyConnection, shared: bool) -> Result<bool, sqlx::Error> {
    let sql = if shared { SHARED_LOCK } else { LOCK };
    Ok(sqlx::query_as::<_, (bool,)>(sql).fetch_one(connection).await?.0)
}

/// Has the session ended, or is it as good as ended? What it was about to commit may have happened or not.
pub(super) fn is_lost(e: &sqlx::Error) -> bool {
    match e {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        // Class 57: ended by an operator, a crash, or starting up. 25006: the server has become a standby.
        _ => code(e).is_some_and(|code| code.starts_with("57P") || code.starts_with("08") || code == "25006"),
    }
}

/// What an error means for the admin, and what to do. The codes are SQLSTATEs.
pub(super) fn words(e: &sqlx::Error) -> String {
    match code(e).as_deref() {
        Some("28P01" | "28000") => {
            format!("lets us not in: {e} (look at user and password in [store], and at the server's pg_hba.conf)")
        }
        Some("3D000") => format!("can't be used: {e} (create it: createdb --encoding UTF8 --template template0 NAME)"),
        Some("42501") => {
            format!("does not let us do what we have to: {e} (make the role in [store] the owner of the database)")
        }
        Some("53300") => format!("takes no more connections: {e} (raise the server's max_connections)"),
        Some("25006") => READ_ONLY.into(),
        Some("57P03") => format!("is not ready yet: {e} (wait for the server to have started)"),
        Some("53100") => format!("does not fit on its disk any more: {e} (free some space on the server)"),
        Some(_) => format!("refused: {e}"),
        None => match e {
            sqlx::Error::Io(_) => format!("can't be reached: {e} (does the server run, and does it listen there?)"),
            sqlx::Error::Tls(_) => {
                format!("can't be reached securely: {e} (look at sslmode and sslrootcert in its URL)")
            }
            e => format!("can't be used: {e}"),
        },
    }
}

fn code(e: &sqlx::Error) -> Option<String> {
    Some(e.as_database_error()?.code()?.into_owned())
}
