//! Does mail reach us? Nobody would notice otherwise: an MTA that has lost its way to us looks like a quiet evening.
//!
//! The canary is a mail to ourselves. It goes out as people's mails do and comes back as theirs do, through the submission
//! server, its queue, DNS, and the MTA that hands over here. One every few minutes is enough, since the MTA's queue loses nothing
//! meanwhile, and more would fill its log.

use std::time::{Duration, SystemTime};

use mimi_adapter::{Canary, CancellationToken, Pulse};
use tokio::sync::watch;
use tracing::debug;

use crate::postman::Postman;

pub const RHYTHM: Canary = Canary { every: Duration::from_secs(300), patience: Duration::from_secs(60) };

/// Until `stop`. `heard` has the number of the last canary that came back.
pub async fn run(
    postman: &Postman,
    pulse: &Pulse,
    mut heard: watch::Receiver<u64>,
    rhythm: Canary,
    stop: &CancellationToken,
) {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // Other than those before a restart, which may still be on their way.
    let mut number = since_epoch.as_millis() as u64;
    let singing = async {
        loop {
            number += 1;
            let wait = match postman.canary(number).await {
                Err(problem) => {
                    pulse.down(problem.to_string());
                    rhythm.patience.min(rhythm.every)
                }
                Ok(()) => match tokio::time::timeout(rhythm.patience, heard.wait_for(|heard| *heard >= number)).await {
                    Ok(Ok(_)) => rhythm.every,
                    Ok(Err(_)) => return,
                    Err(_) => {
                        debug!(number, "A canary has not come back yet.");
                        pulse.deaf(format!(
                            "a mail that the gateway has sent to itself has not arrived within {} s",
                            rhythm.patience.as_secs_f32()
                        ));
                        rhythm.patience.min(rhythm.every)
                    }
                },
            };
            tokio::time::sleep(wait).await;
        }
    };
    stop.run_until_cancelled(singing).await;
}
