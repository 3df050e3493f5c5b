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
//! The SQL is plain text with `$1` parameters, 64-bit integers, text and blobs, over sqlx's `Any` driver:
//! what a second database needs is its own migrations and its own `open`.

mod behind;
mod known;
mod schema;
mod seal;
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
pub mod leaves;
pub mod messages;
pub mod outages;
pub mod outbox;
pub mod portals;
pub mod rooms;

use std::{
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::{FutureExt, future::BoxFuture};
use sqlx::Connection;
use tokio::sync::{mpsc, oneshot};
use tracing::error;

pub use tx::Tx;

/// What went wrong with the database. None of it is the fault of whoever sent the message: they are told
/// to come back later.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database refused: {0}")]
    Sql(#[from] sqlx::Error),
    #[error("the commit failed, so nothing of it happened: {0}")]
    Commit(Arc<sqlx::Error>),
    #[error("{path}: {problem}")]
    Open { path: PathBuf, problem: String },
    #[error("a row of {table} can't be read: {problem}")]
    Corrupt { table: &'static str, problem: String },
    #[error("the work panicked and was rolled back")]
    Panicked,
    #[error("the database takes no work now: the gateway is stopping, or no transaction can be begun")]
    Unavailable,
}

impl StoreError {
    pub(crate) fn corrupt(table: &'static str, problem: impl ToString) -> Self {
        Self::Corrupt { table, problem: problem.to_string() }
    }
}

/// At most this many pieces of work share one commit: beyond it the first caller waits longer than an fsync.
const GROUP: usize = 128;

/// Writes wait here while a commit is on its way.
const QUEUE: usize = 1024;

#[derive(Clone)]
pub struct Store {
    jobs: mpsc::Sender<Job>,
}

/// One caller's work, and how to answer it once the fate of its transaction is known.
type Job = Box<dyn for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Finished> + Send>;

struct Finished {
    succeeded: bool,
    answer: Box<dyn FnOnce(Result<(), Arc<sqlx::Error>>) + Send>,
}

impl Store {
    /// Opens the database file, creates or migrates it, and checks that it belongs to `domain`.
    pub async fn open(path: &Path, domain: &str) -> Result<Self, StoreError> {
        let connection = schema::open(path, domain).await?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        tokio::spawn(Writer { tx: Tx::new(connection) }.run(queue));
        Ok(Self { jobs })
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
                            Err(e) => outcome.and(Err(StoreError::Commit(e).into())),
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

struct Writer {
    tx: Tx,
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut group = Vec::with_capacity(GROUP);
        while queue.recv_many(&mut group, GROUP).await > 0 {
            self.commit(&mut group).await;
        }
        if let Err(e) = self.tx.into_connection().close().await {
            error!(error = %e, "The database did not close cleanly.");
        }
    }

    /// One transaction for a whole group of jobs.
    async fn commit(&mut self, group: &mut Vec<Job>) {
        let mut answers = Vec::with_capacity(group.len());
        mimi_adapter::failpoint!("store.begin");
        let mut committed = self.tx.begin().await.map_err(Arc::new);
        for job in group.drain(..) {
            match &committed {
                Ok(()) => {}
                // Nothing can be written now; every job still has to be told.
                Err(_) => {
                    drop(job);
                    continue;
                }
            }
            match self.run_job(job).await {
                Ok(answer) => answers.push(answer),
                Err(e) => committed = Err(Arc::new(e)),
            }
        }
        if committed.is_ok() {
            committed = self.tx.commit().await.map_err(Arc::new);
        }
        if let Err(e) = &committed {
            error!(error = %e, jobs = answers.len(), "A commit failed; nothing of it happened.");
            self.tx.abandon().await;
        }
        mimi_adapter::failpoint!("store.committed");
        for answer in answers {
            answer(committed.clone());
        }
    }

    async fn run_job(&mut self, job: Job) -> Result<Box<dyn FnOnce(Result<(), Arc<sqlx::Error>>) + Send>, sqlx::Error> {
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
