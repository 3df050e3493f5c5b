//! Starting and stopping: the gateway's tasks, and the signals that end them.
//!
//! Stopping has two steps. The first SIGTERM or SIGINT asks: doors close, the deliveries in hand are finished
//! and settled ([`Stop::asked`]). A second signal, or [`GRACE`] running out, forces: whoever still waits for a
//! network gives up ([`Stop::forced`]). Nothing accepted is lost either way, it is on disk; the first step only
//! spares the network a repetition.
//!
//! A task that ends with an error asks all others to stop, so that the supervisor starts the process afresh: a
//! gateway with one adapter dead and the rest alive looks well and is not.

use std::{error::Error, os::unix::net::UnixDatagram, time::Duration};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

type BoxError = Box<dyn Error + Send + Sync>;

/// How long the first step may take. Shorter than systemd's patience (`TimeoutStopSec`), so that we say
/// ourselves what we left.
pub const GRACE: Duration = Duration::from_secs(30);

/// What a task sees of the stopping.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Stop {
    pub fn asked(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Waits for the first step.
    pub async fn wait(&self) {
        self.soft.cancelled().await;
    }

    /// Waits for the second.
    pub async fn forced(&self) {
        self.hard.cancelled().await;
    }

    /// The first step, for those who know nothing of the second: an adapter's `run`, a server.
    pub fn token(&self) -> CancellationToken {
        self.soft.clone()
    }

    pub fn ask(&self) {
        self.soft.cancel();
    }

    pub fn force(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }
}

/// The tasks of one gateway.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    tasks: TaskTracker,
    stop: Stop,
    failed: CancellationToken,
}

impl Lifecycle {
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Runs `task` until it ends by itself, or is dropped when stopping is forced.
    pub fn spawn<E: Into<BoxError> + Send>(
        &self,
        name: impl Into<String>,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let (name, stop, failed) = (name.into(), self.stop.clone(), self.failed.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = stop.forced() => warn!(task = name, "Cut short."),
                result = task => if let Err(e) = result.map_err(Into::into) {
                    error!(task = name, error = %e, "Failed, so the gateway stops.");
                    failed.cancel();
                    stop.ask();
                },
            }
        });
    }

    /// Waits until every task has ended, after the stop has been asked for. `grace` is how long that may take.
    /// `Err`: one of them had failed.
    pub async fn finished(&self, grace: Duration) -> Result<(), Failed> {
        self.stop.wait().await;
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            warn!(tasks = self.tasks.len(), "Not everything has ended in time.");
            self.stop.force();
            self.tasks.wait().await;
        }
        if self.failed.is_cancelled() { Err(Failed) } else { Ok(()) }
    }

    /// [`finished`](Self::finished), with the stop asked for and forced by signals, and systemd informed.
    pub async fn run(&self) -> Result<(), BoxError> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = self.stop();
        tell_systemd("READY=1");
        let signals = async {
            for step in [Stop::ask, Stop::force] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                step(&stop);
                info!(forced = stop.hard.is_cancelled(), "Asked to stop by a signal.");
            }
            std::future::pending().await
        };
        let stopping = async {
            self.stop.wait().await;
            tell_systemd("STOPPING=1");
            self.finished(GRACE).await
        };
        tokio::select! {
            result = stopping => Ok(result?),
            never = signals => never,
        }
    }
}

/// A task has ended with an error, which is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a part of the gateway has failed, so all of it stopped")]
pub struct Failed;

/// sd_notify(3) is one datagram to the socket in `NOTIFY_SOCKET`. Without systemd there is none.
fn tell_systemd(state: &str) {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(e) = notify(&socket, state)
    {
        warn!(error = %e, state, "systemd could not be told.");
    }
}

fn notify(socket: &std::ffi::OsStr, state: &str) -> std::io::Result<()> {
    use std::os::{
        linux::net::SocketAddrExt,
        unix::{ffi::OsStrExt, net::SocketAddr},
    };
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{convert::Infallible, future::pending};
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn a_stop_that_is_asked_for_lets_tasks_finish() {
        let (lifecycle, (done, finished)) = (Lifecycle::default(), oneshot::channel());
        let stop = lifecycle.stop();
        lifecycle.spawn("worker", async move {
            stop.wait().await;
            assert!(stop.asked());
            done.send("settled").unwrap();
            Ok::<_, Infallible>(())
        });
        lifecycle.stop().ask();
        assert_eq!(lifecycle.finished(GRACE).await, Ok(()));
        assert_eq!(finished.await, Ok("settled"));
    }

    #[tokio::test]
    async fn a_task_that_fails_stops_the_others_and_is_told() {
        let lifecycle = Lifecycle::default();
        let stop = lifecycle.stop();
        lifecycle.spawn("server", async move {
            stop.wait().await;
            Ok::<_, Infallible>(())
        });
        lifecycle.spawn("adapter", async { Err("the homeserver does not know us") });
        assert_eq!(lifecycle.finished(GRACE).await, Err(Failed));
    }

    #[tokio::test]
    async fn a_task_that_ends_well_stops_nobody() {
        let lifecycle = Lifecycle::default();
        let (done, ended) = oneshot::channel();
        lifecycle.spawn("once", async move {
            done.send(()).unwrap();
            Ok::<_, Infallible>(())
        });
        ended.await.unwrap();
        assert!(!lifecycle.stop().asked());
    }

    #[tokio::test]
    async fn force_cuts_a_task_short() {
        let lifecycle = Lifecycle::default();
        lifecycle.spawn("stuck", pending::<Result<(), Infallible>>());
        lifecycle.stop().force();
        assert_eq!(lifecycle.finished(GRACE).await, Ok(()));
    }

    #[tokio::test]
    async fn patience_ends() {
        let lifecycle = Lifecycle::default();
        lifecycle.spawn("stuck", pending::<Result<(), Infallible>>());
        lifecycle.stop().ask();
        assert_eq!(lifecycle.finished(Duration::ZERO).await, Ok(()));
    }

    #[tokio::test]
    async fn the_first_signal_asks_and_the_second_forces() {
        let terminate = || {
            let kill = std::process::Command::new("kill").arg("-TERM").arg(std::process::id().to_string()).status();
            assert!(kill.unwrap().success());
        };
        let lifecycle = Lifecycle::default();
        lifecycle.spawn("stuck", pending::<Result<(), Infallible>>());
        let stop = lifecycle.stop();
        let mut run = std::pin::pin!(lifecycle.run());
        assert!(futures::poll!(&mut run).is_pending());
        terminate();
        tokio::select! {
            () = stop.wait() => {}
            _ = &mut run => panic!("a task is still there"),
        }
        assert!(!stop.hard.is_cancelled());
        terminate();
        assert!(run.await.is_ok());
        assert!(stop.hard.is_cancelled());
    }

    #[test]
    fn systemd_is_told_at_a_path_and_at_an_abstract_name() {
        use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("mimi-gateway-test-{}", std::process::id());
        let sockets = [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (
                UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap(),
                format!("@{name}").into(),
            ),
        ];
        for (systemd, address) in sockets {
            notify(&address, "READY=1").unwrap();
            let mut heard = [0; 16];
            let length = systemd.recv(&mut heard).unwrap();
            assert_eq!(&heard[..length], b"READY=1");
        }
    }
}
