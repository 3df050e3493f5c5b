//! One worker per destination that has work, and none for those that have not.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, Weak},
    time::Duration,
};

use rand::Rng;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::{Destination, Step};
use crate::{
    core::{Core, Fault},
    lifecycle::{Lifecycle, Stop},
};

/// The pause after a failure doubles from the first to the second of these.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

#[derive(Clone, Default)]
pub struct Dispatcher(Arc<Inner>);

#[derive(Default)]
struct Inner {
    running: Mutex<HashMap<Destination, Worker>>,
    /// The workers that deliver through an adapter.
    deliveries: TaskTracker,
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
}

impl Dispatcher {
    /// From now on destinations are served, beginning with those that have rows. When the stop is asked for,
    /// each worker finishes the delivery in hand and no more.
    pub async fn start(&self, core: &Arc<Core>, lifecycle: &Lifecycle) -> Result<(), Fault> {
        let started = Started { core: Arc::downgrade(core), lifecycle: lifecycle.clone() };
        if self.0.started.set(started).is_err() {
            return Ok(());
        }
        self.look(core).await
    }

    /// Wakes whoever has rows.
    pub async fn look(&self, core: &Arc<Core>) -> Result<(), Fault> {
        let waiting = core.write(|_, tx| Box::pin(async move { Ok(tx.outbox_destinations().await?) })).await?;
        for destination in waiting {
            match Destination::parse(&destination) {
                Some(destination) => self.wake(destination),
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
        running.insert(to.clone(), Worker { again: false, nudged: nudged.clone() });
        drop(running);
        let name = to.to_string();
        let through_an_adapter = matches!(to, Destination::Portal(_));
        let worker = self.clone().serve(core, to, nudged, stop);
        match through_an_adapter {
            true => started.lifecycle.spawn(name, self.0.deliveries.track_future(worker)),
            false => started.lifecycle.spawn(name, worker),
        }
    }

    /// Waits, once the stop has been asked for, until no delivery is in the hands of an adapter any more.
    pub async fn has_delivered(&self) {
        self.0.deliveries.close();
        self.0.deliveries.wait().await;
    }

    /// What a waiting destination needed may be there: no more pause.
    pub fn nudge(&self, to: Destination) {
        let nudged = self.lock().get(&to).map(|worker| worker.nudged.clone());
        match nudged {
            Some(nudged) => nudged.notify_one(),
            None => self.wake(to),
        }
    }

    async fn serve(self, core: Arc<Core>, to: Destination, nudged: Arc<Notify>, stop: Stop) -> Result<(), Fault> {
        let mut pause = FIRST_PAUSE;
        while !stop.asked() {
            match core.step(&to).await {
                Step::Settled => pause = FIRST_PAUSE,
                Step::Idle => {
                    let mut running = self.lock();
                    match running.get_mut(&to) {
                        Some(worker) if worker.again => worker.again = false,
                        _ => {
                            running.remove(&to);
                            return Ok(());
                        }
                    }
                }
                Step::Later { problem, after } => {
                    // A little chance keeps a thousand rooms from knocking at one peer at once.
                    let wait = after.unwrap_or(pause).mul_f64(rand::rng().random_range(0.8..1.2));
                    if pause < LONGEST_PAUSE {
                        debug!(destination = %to, problem, wait = ?wait, "Postponed.");
                    } else {
                        warn!(destination = %to, problem, wait = ?wait, "Still postponed.");
                    }
                    tokio::select! {
                        () = tokio::time::sleep(wait) => pause = (pause * 2).min(LONGEST_PAUSE),
                        () = nudged.notified() => {}
                        () = stop.wait() => {}
                    }
                }
            }
        }
        self.lock().remove(&to);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Destination, Worker>> {
        self.0.running.lock().expect("no panic happens while the workers are listed")
    }
}
