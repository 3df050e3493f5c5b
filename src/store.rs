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
//!
//! # A server that goes away
//!
//! The connection to a PostgreSQL server can be lost, and is made again by the writer. Until then every caller is
//! told "not now". One question stays open: a COMMIT was sent and its answer was lost, so nobody here knows whether
//! it happened. **It is treated as not having happened**, since every caller is one that asks again and whose second
//! asking is recognised:
//!
//! - An adapter's event is told "later" and comes again under its native id, which is a duplicate by then. Joining
//!   and leaving twice is joining and leaving once.
//! - A peer is told 503 and repeats. Fan-out is recognised by the hash of its octets (`seen`), a submission or an
//!   update by its own (`hub_accepted`, with the answer that was lost); consent is a state, not a count; a KeyPackage
//!   more than was needed expires.
//! - A worker looks at its queue again. What *take* prepared is on its row, so the very same octets are sent; what
//!   *settle* removed is gone; what it did not is delivered again under the same key.
//! - An admin reads that it failed, and at the next try that it is there already.
//!
//! What was learned in memory is another matter: every cache is emptied ([`Store::when_lost`]), and what a commit
//! would have woken is looked for in the tables once the server is back ([`Store::restored`]).

mod behind;
mod copy;
mod known;
mod place;
mod postgres;
mod schema;
mod seal;
mod sqlite;
#[cfg(test)]
mod tests;
mod tx;
mod wal;

pub mod breaker;
pub mod clients;
pub mod consents;
pub mod dead_letters;
pub mod handshakes;
pub mod hub;
pub mod invites;
pub mod lease;
pub mod leaves;
pub mod messages;
pub mod outages;
pub mod outbox;
pub mod portals;
pub mod rooms;

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use sqlx::{AnyConnection, Connection};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tracing::{error, info, warn};

pub use copy::{Copied, copy};
pub use lease::{Leases, Membership};
pub use place::{Place, Server};
pub use schema::{Applied, current as current_schema};
pub use tx::Tx;

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

/// At most this many pieces of work share one commit: beyond it the first caller waits longer than an fsync.
const GROUP: usize = 128;

/// Writes wait here while a commit is on its way.
const QUEUE: usize = 1024;

/// The pause after a failed attempt to reach the server again doubles from the first to the second of these.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

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

/// One caller's work, and how to answer it once the fate of its transaction is known.
type Job = Box<dyn for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Finished> + Send>;

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
        let connected = Connected { tx: Tx::new(session.connection), known: session.known };
        let state = State::Connected(Box::new(connected));
        let writer = Writer { backend, state, watchers: watchers.clone(), leases: leases.clone(), patience: 0 };
        tokio::spawn(writer.run(queue));
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
        let (answer, answered) = oneshot::channel::<Result<T, E>>();
        let job: Job = Box::new(move |tx| {
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
        self.jobs.send(job).await.map_err(|_| StoreError::Unavailable)?;
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
            if session.known.is_some() {
                postgres::limit(&mut session.connection).await?;
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
        Place::File(file) => Session { connection: sqlite::open(file).await?, known: None },
        Place::Server(server) => {
            let (connection, known) = postgres::open(server, before, address).await?;
            Session { connection, known: Some(known) }
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

struct Writer {
    backend: Backend,
    state: State,
    watchers: Arc<Watchers>,
    leases: Arc<Leases>,
    /// Looks for leases that have left something to others.
    patience: u32,
}

enum State {
    Connected(Box<Connected>),
    /// The server's session is gone, or as good as gone.
    Lost {
        known: Option<postgres::Session>,
        next: Instant,
        pause: Duration,
    },
}

struct Connected {
    tx: Tx,
    known: Option<postgres::Session>,
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut group = Vec::with_capacity(GROUP);
        let mut looks = tokio::time::interval(lease::TICK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.leases.evicted().is_cancelled() {
            match &self.state {
                State::Connected(_) => tokio::select! {
                    // First, or others believe that we are dead while we are busy.
                    biased;
                    _ = looks.tick(), if !self.leases.is_alone() => self.look().await,
                    taken = queue.recv_many(&mut group, GROUP) => match taken {
                        0 => break,
                        _ => self.commit(&mut group).await,
                    },
                },
                State::Lost { next, .. } => tokio::select! {
                    () = sleep_until(*next) => self.reconnect().await,
                    taken = queue.recv_many(&mut group, GROUP) => match taken {
                        0 => break,
                        // A job that is dropped answers `Unavailable`.
                        _ => group.clear(),
                    },
                },
            }
        }
        if let State::Connected(connected) = self.state
            && let Err(e) = connected.tx.into_connection().close().await
        {
            error!(error = %e, "The database did not close cleanly.");
        }
    }

    /// Who is there, and what is free?
    async fn look(&mut self) {
        let State::Connected(connected) = &mut self.state else { return };
        let watchers = self.watchers.clone();
        let looked = self.leases.look(connected.tx.reading(), &mut self.patience, move || watchers.forget()).await;
        // What was gained has been changed by others.
        if looked.as_ref().is_ok_and(|gained| *gained) {
            connected.tx.forget();
        }
        if let Err(e) = looked {
            error!(error = %e, "It can't be found out what other processes hold.");
            if postgres::is_lost(&e) {
                self.lost();
            }
        }
    }

    fn lost(&mut self) {
        let State::Connected(connected) = &mut self.state else { return };
        self.watchers.forget();
        self.state = State::Lost { known: connected.known.clone(), next: Instant::now(), pause: FIRST_PAUSE };
    }

    async fn reconnect(&mut self) {
        let State::Lost { known, pause, .. } = &self.state else { return };
        let (before, pause) = (known.clone(), (*pause * 2).min(LONGEST_PAUSE));
        let opened = match self.backend.open(before.clone()).await {
            Ok(mut session) => match self.leases.take_again(&mut session.connection).await {
                Ok(None) => Ok(session),
                Ok(Some(taken)) => {
                    let taken = if taken == lease::REST { "what belongs to no adapter" } else { &taken };
                    error!(
                        taken,
                        "We were away for too long and another process has taken over; nothing more is written."
                    );
                    return;
                }
                Err(e) => Err(StoreError::from(e)),
            },
            Err(e) => Err(e),
        };
        match opened {
            Ok(Session { connection, known }) => {
                info!(place = %self.backend.place, "The database is back.");
                self.state = State::Connected(Box::new(Connected { tx: Tx::new(connection), known }));
                self.watchers.restored.send_modify(|times| *times += 1);
            }
            Err(e) => {
                warn!(error = %e, again_in = ?pause, "The database is still away.");
                self.state = State::Lost { known: before, next: Instant::now() + pause, pause };
            }
        }
    }

    /// One transaction for a whole group of jobs.
    async fn commit(&mut self, group: &mut Vec<Job>) {
        let State::Connected(connected) = &mut self.state else { return };
        let (answers, committed) = connected.commit(group).await;
        let outcome = match committed {
            Ok(()) => Ok(()),
            Err(e) => {
                error!(error = %e, jobs = answers.len(), "A commit failed; nothing of it is taken to have happened.");
                let e = Arc::new(e);
                // What can't even be rolled back is in a session that has ended.
                let rolled_back = connected.tx.abandon().await;
                if connected.known.is_some() && (postgres::is_lost(&e) || rolled_back.is_err()) {
                    self.lost();
                    Err(Failure::Lost(e))
                } else {
                    Err(Failure::Refused(e))
                }
            }
        };
        mimi_adapter::failpoint!("store.committed");
        for answer in answers {
            answer(outcome.clone());
        }
    }
}

impl Connected {
    async fn commit(&mut self, group: &mut Vec<Job>) -> (Vec<Answer>, Result<(), sqlx::Error>) {
        let mut answers = Vec::with_capacity(group.len());
        mimi_adapter::failpoint!("store.begin");
        let mut committed = self.tx.begin().await;
        // If nothing can be written now, every job still has to be told: those that have not run answer by being
        // dropped.
        for job in group.drain(..) {
            if committed.is_ok() {
                match self.run_job(job).await {
                    Ok(answer) => answers.push(answer),
                    Err(e) => committed = Err(e),
                }
            }
        }
        if committed.is_ok() {
            committed = self.tx.commit().await;
        }
        (answers, committed)
    }

    async fn run_job(&mut self, job: Job) -> Result<Answer, sqlx::Error> {
        self.tx.savepoint();
        let finished = job(&mut self.tx).await;
        if finished.succeeded {
            self.tx.release().await?;
        } else {
            self.tx.rollback_to_savepoint().await?;
        }
        Ok(finished.answer)
    }
}
