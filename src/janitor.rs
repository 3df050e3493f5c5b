//! What is no longer needed goes, so that a database stops growing when its traffic does.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    abuse,
    breaker::WINDOW,
    core::{Core, Fault},
    lifecycle::Lifecycle,
    store::{
        aging::{Aging, Walked},
        lease::REST,
    },
};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What a second copy of a fan-out or a submitted message is recognised by is kept for this long: longer than any peer
/// goes on trying.
const REMEMBER: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long a message is known by its names, so that it can be answered, changed, taken back and reacted to across
/// the bridge, and is recognised when it is handed in again. Without a limit every message would cost its names for
/// ever. People point at what was said in the last hours; this is longer by far, and has room for somebody who looks
/// at the same day of last year. What is lost: an answer to an older message is shown without what it answers, and who
/// wants to change or take back an older one is told that it can't be done. It stays where it was shown.
pub const NAMED_DAYS: u64 = 400;
pub const NAMED: Duration = Duration::from_secs(NAMED_DAYS * 24 * 3600);

/// The handshakes of a room that are kept for who only reads. More than these at once nobody should have to read on
/// the day they write.
const LOG: i64 = 256;

/// A walk rests so many times as long as its last piece took, so that it never has more than a tenth of the writer's
/// time, whatever the database and its disk are.
const RESTS: u32 = 9;

/// Clears away, for as long as the gateway runs.
pub(crate) fn start(core: &Arc<Core>, lifecycle: &Lifecycle) {
    let stop = lifecycle.stop().token();
    let clear = again_and_again(core.clone(), HOUR, stop.clone(), |core| Box::pin(clear_away(core)));
    let shorten = again_and_again(core.clone(), HOUR, stop.clone(), |core| Box::pin(shorten_logs(core, LOG)));
    lifecycle.spawn("janitor", clear);
    lifecycle.spawn("logs", shorten);
    lifecycle.spawn("walk", walk(core.clone(), stop));
}

async fn again_and_again(
    core: Arc<Core>,
    every: Duration,
    stop: CancellationToken,
    round: impl Fn(&Arc<Core>) -> BoxFuture<'_, Result<(), Fault>>,
) -> Result<(), Fault> {
    let rounds = async {
        loop {
            // A full disk is no reason to stop: what is left lying is cleared next time.
            if let Err(fault) = round(&core).await {
                warn!(%fault, "Not everything was cleared away.");
            }
            tokio::time::sleep(every).await;
        }
    };
    tokio::select! {
        () = rounds => {}
        () = stop.cancelled() => {}
    }
    Ok(())
}

/// What lies in small tables.
pub async fn clear_away(core: &Arc<Core>) -> Result<(), Fault> {
    let now = core.now();
    core.write(move |core, tx| {
        Box::pin(async move {
            tx.forget_destructive(now.saturating_sub(WINDOW)).await?;
            tx.forget_evidence(now.saturating_sub(core.keep_evidence)).await?;
            tx.forget_routed_key_packages(now).await?;
            tx.forget_joining_codes(now).await?;
            tx.forget_abuse_reports(now.saturating_sub(abuse::KEEP)).await?;
            tx.forget_threads(now.saturating_sub(NAMED.as_millis() as u64)).await?;
            Ok(tx.forget_key_packages(now / 1000).await?)
        })
    })
    .await?;
    core.look_after_the_waiting().await?;
    core.forget_unlinked().await?;
    core.forget_assets().await?;
    core.forget_dead_letters().await
}

/// Walks through the tables that grow with every message, once a day.
async fn walk(core: Arc<Core>, stop: CancellationToken) -> Result<(), Fault> {
    // Of several processes, one does it for all.
    let mut held = core.store.leases().held();
    let ours = async { core.store.leases().is_alone() || held.wait_for(|held| held.contains(REST)).await.is_ok() };
    tokio::select! {
        true = ours => {}
        () = stop.cancelled() => return Ok(()),
    }
    again_and_again(core, DAY, stop, |core| Box::pin(forget_old(core))).await
}

/// One walk through each of them.
pub async fn forget_old(core: &Arc<Core>) -> Result<(), Fault> {
    let names = [(Aging::Names, NAMED), (Aging::FannedOut, NAMED)];
    for (table, keep) in names.into_iter().chain([(Aging::Seen, REMEMBER), (Aging::Answers, REMEMBER)]) {
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

/// Lets who only reads read on, in rooms whose log has become long.
pub async fn shorten_logs(core: &Arc<Core>, longest: i64) -> Result<(), Fault> {
    let mut last = None;
    loop {
        let next = core.write(move |_, tx| Box::pin(async move { Ok(tx.room_after(last.as_ref()).await?) }));
        let Some(room) = next.await? else { return Ok(()) };
        let mut longer = true;
        while longer {
            let (of, begun) = (room.clone(), Instant::now());
            let piece = core.write(move |core, tx| Box::pin(async move { core.shorten_log(tx, &of, longest).await }));
            longer = piece.await.unwrap_or_else(|fault| {
                warn!(%room, %fault, "Who only reads can't read on.");
                false
            });
            tokio::time::sleep(begun.elapsed() * RESTS).await;
        }
        last = Some(room);
    }
}
