//! What is no longer needed goes, so that a database stops growing when its traffic does.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    breaker::WINDOW,
    core::{Core, Fault},
    store::{
        aging::{Aging, Walked},
        lease::REST,
    },
};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What a second copy of a fan-out or a submitted message is recognised by is kept for this long: longer than any peer
/// goes on trying.
const REMEMBER: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long a message is known by its names, so that it can be answered, changed, taken back and reacted to across
/// the bridge, and is recognised when it is handed in again. Without a limit every message would cost its names for
/// ever. People point at what was said in the last hours; this is longer by far, and has room for somebody who looks
/// at the same day of last year. What is lost: an answer to an older message is shown without what it answers, and who
/// wants to change or take back an older one is told that it can't be done. It stays where it was shown.
pub const NAMED: Duration = Duration::from_secs(400 * 24 * 3600);

/// How often what is no longer needed is cleared away.
const EVERY: Duration = Duration::from_secs(3600);

/// A walk rests so many times as long as its last piece took, so that it never has more than a tenth of the writer's
/// time, whatever the database and its disk are.
const RESTS: u32 = 9;

/// Clears away what lies in small tables.
pub(crate) async fn clear(core: Arc<Core>, stop: CancellationToken) -> Result<(), Fault> {
    loop {
        // A full disk is no reason to stop: what is left lying is cleared next time.
        if let Err(fault) = clear_away(&core).await {
            warn!(%fault, "Not everything was cleared away.");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// One round of that.
pub async fn clear_away(core: &Arc<Core>) -> Result<(), Fault> {
    let now = core.now();
    core.write(move |_, tx| {
        Box::pin(async move {
            tx.forget_destructive(now.saturating_sub(WINDOW)).await?;
            Ok(tx.forget_key_packages(now / 1000).await?)
        })
    })
    .await?;
    core.look_after_the_waiting().await?;
    core.forget_unlinked().await?;
    core.forget_dead_letters().await
}

/// Walks through the tables that grow with every message, once a day.
pub(crate) async fn walk(core: Arc<Core>, stop: CancellationToken) -> Result<(), Fault> {
    let mut held = core.store.leases().held();
    let walk = async {
        // Of several processes, one does it for all.
        if !core.store.leases().is_alone() && held.wait_for(|held| held.contains(REST)).await.is_err() {
            return;
        }
        loop {
            if let Err(fault) = forget_old(&core).await {
                warn!(%fault, "Not everything that is old was forgotten.");
            }
            tokio::time::sleep(DAY).await;
        }
    };
    tokio::select! {
        () = walk => {}
        () = stop.cancelled() => {}
    }
    Ok(())
}

/// One walk through each of them.
pub async fn forget_old(core: &Arc<Core>) -> Result<(), Fault> {
    for (table, keep) in [(Aging::Names, NAMED), (Aging::Seen, REMEMBER), (Aging::Answers, REMEMBER)] {
        let before = core.now().saturating_sub(keep.as_millis() as u64);
        let mut next = Some(Walked::default());
        while let Some(walked) = next {
            let begun = Instant::now();
            let piece =
                core.write(move |_, tx| Box::pin(async move { Ok(tx.forget_old(table, before, &walked).await?) }));
            next = piece.await?;
            tokio::time::sleep(begun.elapsed() * RESTS).await;
        }
    }
    Ok(())
}
