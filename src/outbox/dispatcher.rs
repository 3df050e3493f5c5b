//! One worker per destination that has work, and none for those that have not.

use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, OnceLock, Weak},
    time::Duration,
};

use futures::FutureExt;
use rand::Rng;
use tokio::sync::{Notify, watch};
use tokio_util::task::TaskTracker;
use tracing::{debug, error, warn};

use super::{Destination, Step};
use crate::{
    core::{Core, Fault},
    lifecycle::{Lifecycle, Stop},
    mimi::uri::RoomUri,
};

/// The pause after a failure doubles from the first to the second of these.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// So often the same head may bring us down before it leaves the queue without having been delivered.
const POISON: u32 = 5;

/// How long what answers a message may wait for that message to be settled.
const NAMED_WITHIN: Duration = Duration::from_secs(10);

#[derive(Clone, Default)]
pub struct Dispatcher(Arc<Inner>);

#[derive(Default)]
struct Inner {
    running: Mutex<HashMap<Destination, Worker>>,
    /// Those that have failed since they last worked: there is a row about it.
    troubled: Mutex<HashSet<Destination>>,
    /// The workers that deliver through an adapter.
    deliveries: TaskTracker,
    /// Changes whenever one of them has settled something.
    settled: watch::Sender<()>,
    /// Set by `start`; until then what is woken is found by the first look at the database.
    started: OnceLock<Started>,
}

struct Started {
    core: Weak<Core>,
    lifecycle: Lifecycle,
}

struct Worker {
    /// New rows have come since the worker last looked.
    again: bool,
    nudged: Arc<Notify>,
    /// When it tries again, while it waits for that.
    next_try: Option<u64>,
}

impl Dispatcher {
    /// From now on destinations are served, beginning with those that have rows. When the stop is asked for,
    /// each worker finishes the delivery in hand and no more.
    pub async fn start(&self, core: &Arc<Core>, lifecycle: &Lifecycle) -> Result<(), Fault> {
        let started = Started { core: Arc::downgrade(core), lifecycle: lifecycle.clone() };
        if self.0.started.set(started).is_err() {
            return Ok(());
        }
        self.take_up(core).await
    }

    /// Serves what a process that has ended left behind: this one before, or another.
    pub async fn take_up(&self, core: &Arc<Core>) -> Result<(), Fault> {
        let found = core.write(|_, tx| {
            Box::pin(async move {
                tx.doubt_outbox().await?;
                Ok((tx.outages().await?, tx.outbox_destinations().await?))
            })
        });
        let (outages, waiting) = found.await?;
        self.troubled().extend(outages.iter().filter_map(|outage| Destination::parse(&outage.destination)));
        self.serve_all(core, waiting).await
    }

    /// Wakes whoever has rows.
    pub async fn look(&self, core: &Arc<Core>) -> Result<(), Fault> {
        let waiting = core.write(|_, tx| Box::pin(async move { Ok(tx.outbox_destinations().await?) })).await?;
        self.serve_all(core, waiting).await
    }

    async fn serve_all(&self, core: &Arc<Core>, waiting: Vec<String>) -> Result<(), Fault> {
        for destination in waiting {
            match Destination::parse(&destination) {
                // What another process serves it has seen itself.
                Some(destination) => {
                    if core.serves(&destination).await? {
                        self.wake(destination);
                    }
                }
                None => warn!(destination, "The outbox has rows for a destination that is none."),
            }
        }
        Ok(())
    }

    /// There is a new row.
    pub fn wake(&self, to: Destination) {
        let Some(started) = self.0.started.get() else { return };
        let stop = started.lifecycle.stop();
        if stop.asked() {
            return;
        }
        let Some(core) = started.core.upgrade() else { return };
        let mut running = self.lock();
        if let Some(worker) = running.get_mut(&to) {
            worker.again = true;
            return;
        }
        let nudged = Arc::new(Notify::new());
        running.insert(to.clone(), Worker { again: false, nudged: nudged.clone(), next_try: None });
        drop(running);
        let name = to.to_string();
        let through_an_adapter = matches!(to, Destination::Portal(_));
        let worker = self.clone().serve(core, to, nudged, stop);
        match through_an_adapter {
            true => started.lifecycle.spawn(name, self.0.deliveries.track_future(worker)),
            false => started.lifecycle.spawn(name, worker),
        }
    }

    /// Whether the stop has been asked for: no new delivery is begun.
    pub fn stopping(&self) -> bool {
        self.0.started.get().is_some_and(|started| started.lifecycle.stop().asked())
    }

    /// Is there a worker at it now, if only one that waits for its next try?
    pub fn is_serving(&self, to: &Destination) -> bool {
        self.lock().contains_key(to)
    }

    /// There will be a row about its outage.
    pub fn is_in_trouble(&self, to: &Destination) {
        self.troubled().insert(to.clone());
    }

    /// When a destination is tried again.
    pub fn next_try(&self, to: &Destination) -> Option<u64> {
        self.lock().get(to)?.next_try
    }

    /// Waits, once the stop has been asked for, until no delivery is in the hands of an adapter any more.
    pub async fn has_delivered(&self) {
        self.0.deliveries.close();
        self.0.deliveries.wait().await;
    }

    /// What a waiting destination needed may be there: no more pause.
    pub fn nudge(&self, to: Destination) {
        let nudged = self.lock().get_mut(&to).map(|worker| {
            // It may be past the look that would have found it, and about to go.
            worker.again = true;
            worker.nudged.clone()
        });
        match nudged {
            Some(nudged) => nudged.notify_one(),
            None => self.wake(to),
        }
    }

    /// A row of this destination is done.
    pub(super) fn has_settled(&self, to: &Destination) {
        if matches!(to, Destination::Portal(_)) {
            self.0.settled.send_replace(());
        }
    }

    /// Waits until a row is no longer the head of a portal's queue, but not for a network that takes nothing.
    pub async fn until_settled(&self, core: &Arc<Core>, room: &RoomUri, row: i64) {
        let to = Destination::Portal(room.clone()).to_string();
        let mut settled = self.0.settled.subscribe();
        let waiting = async {
            loop {
                let to = to.clone();
                let head = core.write(|_, tx| Box::pin(async move { Ok(tx.outbox_head(&to, 1).await?.pop()) })).await;
                if head.is_ok_and(|head| head.is_none_or(|head| head.id != row)) || settled.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(NAMED_WITHIN, waiting).await;
    }

    async fn serve(self, core: Arc<Core>, to: Destination, nudged: Arc<Notify>, stop: Stop) -> Result<(), Fault> {
        let mut pause = FIRST_PAUSE;
        let mut broken = 0;
        while !stop.asked() {
            let mut progress = false;
            // A panic in an adapter, or of ours, would leave the destination without a worker and nobody told.
            let step = AssertUnwindSafe(core.step(&to, &mut progress)).catch_unwind().await;
            let step = step.unwrap_or_else(|_| Step::Broken("a delivery panicked; the log says where".into()));
            if progress || matches!(step, Step::Settled) {
                (pause, broken) = (FIRST_PAUSE, 0);
                self.has_settled(&to);
                if self.troubled().contains(&to) && core.works_again(&to).await.is_ok() {
                    self.troubled().remove(&to);
                }
            }
            let (problem, after, unsure) = match step {
                Step::Settled => continue,
                Step::Idle => {
                    let mut running = self.lock();
                    match running.get_mut(&to) {
                        Some(worker) if worker.again => worker.again = false,
                        _ => {
                            running.remove(&to);
                            return Ok(());
                        }
                    }
                    continue;
                }
                Step::Later { problem, after, unsure } => (problem, after, unsure),
                Step::Broken(problem) => {
                    broken += 1;
                    if broken == POISON {
                        broken = 0;
                        error!(destination = %to, problem, "Failed on the same again and again; it is taken out.");
                        match core.bury_head(&to, problem.clone()).await {
                            Ok(()) => continue,
                            Err(fault) => warn!(destination = %to, %fault, "It could not be taken out."),
                        }
                    }
                    (problem, None, true)
                }
            };
            // A full disk is written to again at the next failure.
            if let Err(fault) = core.failing(&to, problem.clone(), unsure).await {
                warn!(destination = %to, %fault, "A failed attempt could not be noted.");
            }
            let wait = wait(after, pause, rand::rng().random_range(0.0..1.0));
            if pause < LONGEST_PAUSE {
                debug!(destination = %to, problem, wait = ?wait, "Postponed.");
            } else {
                warn!(destination = %to, problem, wait = ?wait, "Still postponed.");
            }
            self.tries_again(&to, Some(core.now() + wait.as_millis() as u64));
            tokio::select! {
                () = tokio::time::sleep(wait) => pause = (pause * 2).min(LONGEST_PAUSE),
                () = nudged.notified() => {}
                () = stop.wait() => {}
            }
            self.tries_again(&to, None);
        }
        self.lock().remove(&to);
        Ok(())
    }

    fn tries_again(&self, to: &Destination, at: Option<u64>) {
        if let Some(worker) = self.lock().get_mut(to) {
            worker.next_try = at;
        }
    }

    fn troubled(&self) -> std::sync::MutexGuard<'_, HashSet<Destination>> {
        self.0.troubled.lock().expect("no panic happens while the troubled are listed")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Destination, Worker>> {
        self.0.running.lock().expect("no panic happens while the workers are listed")
    }
}

/// How long to wait after a failure. A little chance keeps a thousand rooms from knocking at one peer at once; whoever
/// has said when to come again (T-13) is not asked before.
fn wait(after: Option<Duration>, pause: Duration, chance: f64) -> Duration {
    match after {
        Some(after) => after.mul_f64(1.0 + 0.2 * chance),
        None => pause.mul_f64(0.8 + 0.4 * chance),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_before_they_wanted_to_be() {
        let (pause, after) = (Duration::from_secs(10), Duration::from_secs(100));
        for (chance, at_will, as_asked) in [(0.0, 8, 100), (0.5, 10, 110), (1.0, 12, 120)] {
            assert_eq!(wait(None, pause, chance), Duration::from_secs(at_will));
            assert_eq!(wait(Some(after), pause, chance), Duration::from_secs(as_asked));
        }
    }
}
