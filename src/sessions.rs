//! The adapters' sessions with their networks: what is said in the log when one changes.
//!
//! Once when trouble begins and once when it is over, however long it lasts and however many ways an adapter finds to
//! describe it: whoever reads the log at night should find the beginning and the end, and nothing between.

use std::time::SystemTime;

use mimi_adapter::{CancellationToken, Session};
use tokio::sync::watch;
use tracing::{info, warn};

/// Follows one adapter's session until `stop`, or until the adapter has nothing more to say.
pub async fn tell(adapter: String, mut session: watch::Receiver<Session>, stop: CancellationToken) {
    let mut before = Session::Starting;
    loop {
        let now = session.borrow_and_update().clone();
        if now.word() != before.word() {
            match &now {
                Session::Deaf { reason, .. } => {
                    warn!(%adapter, reason, "The network is there, but nothing of it reaches us. Reading what is missed by other ways.");
                }
                Session::Down { reason, .. } => warn!(%adapter, reason, "The network is not there."),
                Session::Up => {
                    let seconds = before.trouble().map(|(since, _)| seconds_since(since));
                    info!(%adapter, was = before.word(), seconds, "The network is there, and we hear it.");
                }
                Session::Starting => {}
            }
            before = now;
        }
        if !matches!(stop.run_until_cancelled(session.changed()).await, Some(Ok(()))) {
            return;
        }
    }
}

fn seconds_since(then: SystemTime) -> u64 {
    then.elapsed().map_or(0, |elapsed| elapsed.as_secs())
}
