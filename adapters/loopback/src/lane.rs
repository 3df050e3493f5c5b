//! The way in: each conversation of a client is a lane in which one act after the other is offered to the core.
//!
//! Invariant: within a conversation nothing overtakes, also not what the core takes only at the second try.
//! Conversations don't wait for each other. A client is told `accepted` when the core has said yes, never before.

use std::{
    collections::{BTreeMap, HashMap},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use mimi_adapter::{Canary, CancellationToken, Event, Inbox, NativeMessageId, Pulse, Refusal, Session};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::debug;

use crate::{
    frame::{self, Act, AdapterFrame},
    network::{Connection, Said},
};

/// Acts of one client that the core has not answered yet. More wait in the client's channel.
const IN_FLIGHT: usize = 1024;
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

struct Queued {
    act: Act,
    event: Event<NativeMessageId>,
    /// Somebody waits for the answer. Nobody does if the adapter itself reports who is there.
    asked: Option<OwnedSemaphorePermit>,
}

/// Serves a client until it disconnects or the adapter stops. What it said before it disconnected is still offered.
pub(crate) async fn serve(
    connection: Connection,
    inbox: Inbox,
    stop: CancellationToken,
    pulse: Arc<Pulse>,
    canary: Canary,
) {
    let Connection { mut acts, answers, present, heard } = connection;
    let silent = async {
        match &heard {
            Some(heard) => until_silent(heard, &answers, &pulse, canary).await,
            None => std::future::pending().await,
        }
    };
    let mut silent = pin!(silent);
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT));
    let next = async |acts: &mut mpsc::Receiver<_>| {
        let permit = in_flight.clone().acquire_owned().await.expect("the semaphore is never closed");
        acts.recv().await.map(|act| (act, permit))
    };

    let mut links = inbox.links();
    let mut linked = links.borrow_and_update().clone();
    let mut here = BTreeMap::new();
    let mut lanes = HashMap::new();
    let mut running = JoinSet::new();
    let mut enter = |queued: Queued| {
        let lane = lanes.entry(queued.act.conversation.clone()).or_insert_with(|| {
            let (lane, queue) = mpsc::unbounded_channel();
            running.spawn(offer_in_order(queue, answers.clone(), inbox.clone(), stop.clone()));
            lane
        });
        let _ = lane.send(queued);
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = &mut silent => {
                // It connects again, and says again what has not been answered.
                pulse.deaf("a client does not answer");
                break;
            }
            said = next(&mut acts) => {
                let Some((said, permit)) = said else { break };
                let (act, event) = match said {
                    Said::Act(act, event) => (act, event),
                    Said::Receipt(receipt) => {
                        inbox.receipt(receipt);
                        continue;
                    }
                };
                let person = (act.conversation.clone(), act.from.clone());
                match event {
                    Event::Join => drop(here.insert(person, act.clone())),
                    Event::Leave => drop(here.remove(&person)),
                    _ => {}
                }
                enter(Queued { act, event, asked: Some(permit) });
            }
            Ok(()) = links.changed() => {
                let now = links.borrow_and_update().clone();
                let newly = |act: &&Act| now.contains(&act.conversation) && !linked.contains(&act.conversation);
                for act in here.values().filter(newly) {
                    enter(Queued { act: act.clone(), event: Event::Join, asked: None });
                }
                linked = now;
            }
        }
    }
    drop((lanes, present));
    while running.join_next().await.is_some() {}
    while let Ok(said) = acts.try_recv() {
        if let Said::Act(act, _) = said {
            let _ = answers.try_send(not_now(act.id));
        }
    }
}

/// Returns when the client, asked for a sign of life, has not given one in time.
async fn until_silent(heard: &Notify, answers: &mpsc::Sender<AdapterFrame>, pulse: &Pulse, canary: Canary) {
    let mut pause = if *pulse.watch().borrow() == Session::Up { canary.every } else { Duration::ZERO };
    loop {
        sleep(pause).await;
        pause = canary.every;
        // Who has said something meanwhile need not be asked.
        if timeout(Duration::ZERO, heard.notified()).await.is_err() {
            // A client whose queue is full does not read, so it will not answer either.
            let _ = answers.try_send(AdapterFrame::Ping {});
            if timeout(canary.patience, heard.notified()).await.is_err() {
                return;
            }
        }
        pulse.up();
    }
}

async fn offer_in_order(
    mut queue: mpsc::UnboundedReceiver<Queued>,
    answers: mpsc::Sender<AdapterFrame>,
    inbox: Inbox,
    stop: CancellationToken,
) {
    while let Some(Queued { act, event, asked }) = queue.recv().await {
        let answer = offer(act, event, &inbox, &stop).await;
        mimi_adapter::failpoint!("loopback.accepted");
        if asked.is_some() {
            // An error means that the client has gone. It will ask again, and hear that this is a duplicate.
            let _ = answers.send(answer).await;
        }
    }
}

/// What is not linked is offered as well: whoever types it here should read why it goes nowhere. (In a network
/// with conversations that nobody thinks of bridging, look at the links first.)
async fn offer(act: Act, event: Event<NativeMessageId>, inbox: &Inbox, stop: &CancellationToken) -> AdapterFrame {
    let id = act.id.clone();
    let inbound = match frame::to_inbound(act, event) {
        Ok(inbound) => inbound,
        Err(reason) => return AdapterFrame::Refused { id, reason, retry: false },
    };
    let mut wait = FIRST_WAIT;
    while !stop.is_cancelled() {
        match inbox.accept(inbound.clone()).await {
            Ok(accepted) => return AdapterFrame::accepted(id, accepted),
            Err(Refusal::Reject { reason }) => return AdapterFrame::Refused { id, reason, retry: false },
            Err(Refusal::Retry { after, source }) => {
                debug!(conversation = %inbound.conversation, %id, error = %source, "The core can't accept this now.");
                stop.run_until_cancelled(sleep(after.unwrap_or(wait))).await;
                wait = LONGEST_WAIT.min(wait * 2);
            }
        }
    }
    not_now(id)
}

fn not_now(id: NativeMessageId) -> AdapterFrame {
    AdapterFrame::Refused { id, reason: "the gateway is stopping".into(), retry: true }
}
