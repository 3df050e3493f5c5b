//! The writer: takes the jobs of the queue in groups, commits each group, and says so to everybody in it.
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
//! What was learned in memory is another matter: every cache is emptied ([`Store::when_lost`](super::Store::when_lost)), and what a commit
//! would have woken is looked for in the tables once the server is back ([`Store::restored`](super::Store::restored)).

use std::{sync::Arc, time::Duration};

use sqlx::Connection;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tracing::{error, info, warn};

use super::{Answer, Backend, Failure, Job, Session, StoreError, Tx, Watchers, lease, lease::Leases, postgres};

/// At most this many pieces of work share one commit: beyond it the first caller waits longer than an fsync.
const GROUP: usize = 128;

/// The pause after a failed attempt to reach the server again doubles from the first to the second of these.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The one task that writes.
pub(super) struct Writer {
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
    pub fn new(backend: Backend, session: Session, watchers: Arc<Watchers>, leases: Arc<Leases>) -> Self {
        let Session { connection, known, queues } = session;
        let state = State::Connected(Box::new(Connected { tx: Tx::new(connection, queues), known }));
        Self { backend, state, watchers, leases, patience: 0 }
    }

    pub async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
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
            Ok(Session { connection, known, queues }) => {
                info!(place = %self.backend.place, "The database is back.");
                self.state = State::Connected(Box::new(Connected { tx: Tx::new(connection, queues), known }));
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
        let sought = group.iter_mut().flat_map(|job| std::mem::take(&mut job.sought)).collect();
        let mut committed = self.tx.look_ahead(sought).await;
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
        let finished = (job.work)(&mut self.tx).await;
        if finished.succeeded {
            self.tx.release().await?;
        } else {
            self.tx.rollback_to_savepoint().await?;
        }
        Ok(finished.answer)
    }
}
