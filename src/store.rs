//! The only door to state.
//!
//! Everything the gateway promises is a row in here, so the one rule is: **what is not committed has not
//! happened**. Work that changes something is a closure handed to [`Store::write`]. It gets a [`Tx`] and
//! nothing that can reach a network, so no transaction ever waits for one, and it either happens whole or
//! not at all.
//!
//! There is one writer task and it commits in groups: what several accepts, takes and settles want to write
//! shares one transaction and one fsync, each behind a savepoint of its own, and every caller is answered
//! only after that commit. Why a task and not a lock? A caller may be dropped at any await (an HTTP client
//! hangs up); its work must not be torn in half by that.
//!
//! The SQL is plain text with `$1` parameters, 64-bit integers, text and blobs, over sqlx's `Any` driver, and the
//! same for SQLite and PostgreSQL; each has its own migrations and its own `open`.

pub mod abuse;
mod ahead;
mod behind;
mod copy;
mod known;
mod place;
mod postgres;
mod queues;
mod schema;
mod script;
mod seal;
mod sqlite;
#[cfg(test)]
mod tests;
mod tx;
mod wal;
mod writer;

pub mod aging;
pub mod breaker;
pub mod clients;
pub mod codes;
pub mod consents;
pub mod dead_letters;
pub mod handshakes;
pub mod hops;
pub mod hub;
pub mod invites;
pub mod lease;
pub mod leaves;
pub mod messages;
pub mod outages;
pub mod outbox;
pub mod portals;
pub mod rooms;
pub mod threads;
pub mod versions;

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{FutureExt, future::BoxFuture};
use sqlx::{AnyConnection, Connection};
use tokio::sync::{mpsc, oneshot, watch};

pub use ahead::Sought;
pub use copy::{Copied, copy};
pub use lease::{Leases, Membership};
pub use place::{Place, Server};
pub use schema::{Applied, current as current_schema};
pub use tx::Tx;

use queues::Queues;
use writer::Writer;

/// What went wrong with the database. None of it is the fault of whoever sent the message: they are told
/// to come back later.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database refused: {0}")]
    Sql(#[from] sqlx::Error),
    #[error("the commit failed, so nothing of it happened: {0}")]
    Commit(Arc<sqlx::Error>),
    #[error("the connection to the database was lost, so take it that nothing of it happened: {0}")]
    Lost(Arc<sqlx::Error>),
    #[error("{place}: {problem}")]
    Open { place: Place, problem: String },
    #[error("a row of {table} can't be read: {problem}")]
    Corrupt { table: &'static str, problem: String },
    #[error("the work panicked and was rolled back")]
    Panicked,
    #[error(
        "the database takes no work now: it can't be reached, no transaction can be begun, or the gateway is stopping"
    )]
    Unavailable,
}

impl StoreError {
    fn open(place: &Place, problem: impl Into<String>) -> Self {
        Self::Open { place: place.clone(), problem: problem.into() }
    }

    pub(crate) fn corrupt(table: &'static str, problem: impl ToString) -> Self {
        Self::Corrupt { table, problem: problem.to_string() }
    }
}

/// Writes wait here while a commit is on its way.
const QUEUE: usize = 1024;

#[derive(Clone)]
pub struct Store {
    jobs: mpsc::Sender<Job>,
    watchers: Arc<Watchers>,
    leases: Arc<Leases>,
    place: Place,
}

/// Who wants to know that the server went away or came back.
struct Watchers {
    lost: Mutex<Vec<Box<dyn Fn() + Send>>>,
    restored: watch::Sender<u64>,
}

/// One caller's work.
struct Job {
    /// What it will look for, as far as that can be said beforehand.
    sought: Vec<Sought>,
    work: Work,
}

/// Answers with how to tell the caller once the fate of its transaction is known.
type Work = Box<dyn for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Finished> + Send>;

struct Finished {
    succeeded: bool,
    answer: Answer,
}

type Answer = Box<dyn FnOnce(Result<(), Failure>) + Send>;

/// Why the group that a job was in was not committed.
#[derive(Clone)]
enum Failure {
    Refused(Arc<sqlx::Error>),
    Lost(Arc<sqlx::Error>),
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(e) => Self::Commit(e),
            Failure::Lost(e) => Self::Lost(e),
        }
    }
}

impl Store {
    /// Opens the database, creates or migrates its schema, and checks that it belongs to `domain`.
    pub async fn open(place: impl Into<Place>, domain: &str) -> Result<Self, StoreError> {
        Self::open_as(place.into(), domain, None).await
    }

    /// The same as one process among others. Needs a server.
    pub async fn open_shared(place: impl Into<Place>, domain: &str, us: Membership) -> Result<Self, StoreError> {
        let place = place.into();
        if matches!(place, Place::File(_)) {
            let problem =
                "is a file, and only a PostgreSQL server can be shared (set url in [store], or drop [cluster])";
            return Err(StoreError::open(&place, problem));
        }
        Self::open_as(place, domain, Some(us)).await
    }

    async fn open_as(place: Place, domain: &str, us: Option<Membership>) -> Result<Self, StoreError> {
        let address = us.as_ref().map(|us| us.address.clone());
        let backend = Backend { place: place.clone(), domain: domain.to_owned(), address };
        let session = backend.open(None).await?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        let watchers = Arc::new(Watchers { lost: Mutex::default(), restored: watch::Sender::new(0) });
        let leases = Arc::new(Leases::new(us));
        let writer = Writer::new(backend, session, watchers.clone(), leases.clone());
        // Much of what a statement costs is the way to the database's thread and back. From a thread of our own that
        // is one futex each way; a worker of the runtime looks for other work, and for sockets, before it sleeps.
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name("store".into())
            .spawn(move || runtime.block_on(writer.run(queue)))
            .map_err(|e| StoreError::open(&place, format!("its thread can't be started: {e}")))?;
        Ok(Self { jobs, watchers, leases, place })
    }

    /// What this process holds.
    pub fn leases(&self) -> &Arc<Leases> {
        &self.leases
    }

    /// Calls `wake` with each destination that another process has put something in for us. Ends never.
    pub async fn hear_others(&self, wake: impl Fn(String) + Send) {
        match &self.place {
            Place::Server(server) if !self.leases.is_alone() => lease::listen(server.url().to_owned(), wake).await,
            _ => std::future::pending().await,
        }
    }

    /// `forget` runs when the connection is lost, before anything else is written: what is remembered of the
    /// database may be wrong.
    pub fn when_lost(&self, forget: impl Fn() + Send + 'static) {
        self.watchers.lost().push(Box::new(forget));
    }

    /// Changes each time that a lost connection has been made again.
    pub fn restored(&self) -> watch::Receiver<u64> {
        self.watchers.restored.subscribe()
    }

    /// Runs `work` in a transaction. When this answers `Ok`, its effects are on disk.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    {
        self.write_seeking(Vec::new(), work).await
    }

    /// [`write`](Self::write) for work that will look for what is likely not there.
    pub async fn write_seeking<T, E, F>(&self, sought: Vec<Sought>, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel::<Result<T, E>>();
        let work: Work = Box::new(move |tx| {
            Box::pin(async move {
                let outcome = match AssertUnwindSafe(work(tx)).catch_unwind().await {
                    Ok(outcome) => outcome,
                    Err(_) => Err(StoreError::Panicked.into()),
                };
                Finished {
                    succeeded: outcome.is_ok(),
                    answer: Box::new(move |committed| {
                        let outcome = match committed {
                            Ok(()) => outcome,
                            Err(failure) => outcome.and(Err(StoreError::from(failure).into())),
                        };
                        // The caller may have gone away; its work stands.
                        let _ = answer.send(outcome);
                    }),
                }
            })
        });
        self.jobs.send(Job { sought, work }).await.map_err(|_| StoreError::Unavailable)?;
        answered.await.unwrap_or_else(|_| Err(StoreError::Unavailable.into()))
    }
}

impl Watchers {
    fn forget(&self) {
        self.lost().iter().for_each(|forget| forget());
    }

    fn lost(&self) -> std::sync::MutexGuard<'_, Vec<Box<dyn Fn() + Send>>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What it takes to open the database, the first time and again.
struct Backend {
    place: Place,
    domain: String,
    /// Of a process among others.
    address: Option<String>,
}

/// A connection that is ours alone, and how a server knows it.
struct Session {
    connection: AnyConnection,
    known: Option<postgres::Session>,
    /// Of a file, which nobody else writes.
    queues: Option<Queues>,
}

impl Backend {
    /// The database with its schema up to date, whoever's it is.
    async fn migrated(&self, before: Option<postgres::Session>) -> Result<(Session, Vec<Applied>), StoreError> {
        let mut session = connect(&self.place, before, self.address.as_deref()).await?;
        let applied = schema::migrate(&mut session.connection, &self.place).await?;
        Ok((session, applied))
    }

    /// `before` is the session we had.
    fn open(&self, before: Option<postgres::Session>) -> BoxFuture<'_, Result<Session, StoreError>> {
        Box::pin(async move {
            let (mut session, _) = self.migrated(before).await?;
            schema::claim(&mut session.connection, &self.place, &self.domain).await?;
            match &session.known {
                Some(_) => postgres::limit(&mut session.connection).await?,
                None => session.queues = Some(sqlite::queues(&mut session.connection).await?),
            }
            Ok(session)
        })
    }
}

/// Brings a database to the schema of this program, and answers the steps that took.
pub async fn migrate(place: &Place, domain: &str) -> Result<Vec<Applied>, StoreError> {
    let backend = Backend { place: place.clone(), domain: domain.to_owned(), address: None };
    let (mut session, applied) = backend.migrated(None).await?;
    schema::claim(&mut session.connection, place, domain).await?;
    session.connection.close().await?;
    Ok(applied)
}

async fn connect(
    place: &Place,
    before: Option<postgres::Session>,
    address: Option<&str>,
) -> Result<Session, StoreError> {
    sqlx::any::install_default_drivers();
    Ok(match place {
        Place::File(file) => Session { connection: sqlite::open(file).await?, known: None, queues: None },
        Place::Server(server) => {
            let (connection, known) = postgres::open(server, before, address).await?;
            Session { connection, known: Some(known), queues: None }
        }
    })
}

/// What an error of the database means for the admin, and what to do.
fn words(place: &Place, e: &sqlx::Error) -> String {
    match place {
        Place::File(_) => sqlite::words(e),
        Place::Server(_) => postgres::words(e),
    }
}
