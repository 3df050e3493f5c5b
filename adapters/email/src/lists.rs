//! Who is on a list: told to the core when the list is linked with a room.
//!
//! From then on the room knows who is in it, also those whom somebody has invited there, and without those who have left or were
//! taken out; what is said is sent to [`Inbox::members`]. Which members of the configuration have been reported is
//! kept in the conversation's cursor, so that whoever has left is not brought back by a restart, and whoever is new is.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use mimi_adapter::{
    BoxError, CancellationToken, ConversationId, Cursor, Event, Inbound, Inbox, Links, NativeMessageId, NativeUserId,
    Refusal, SenderProof,
};
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use crate::{config::Config, id::Place};

/// Until `stop`. `told` hears when everybody of what is linked at the start has been reported.
pub async fn run(
    config: &Config,
    inbox: &Inbox,
    told: oneshot::Sender<()>,
    stop: &CancellationToken,
) -> Result<(), BoxError> {
    let mut links: watch::Receiver<Links> = inbox.links();
    let (mut known, mut told) = (Arc::new(BTreeSet::new()), Some(told));
    loop {
        let now = links.borrow_and_update().clone();
        for conversation in now.difference(&known) {
            if stop.run_until_cancelled(report(config, inbox, conversation)).await.is_none() {
                return Ok(());
            }
        }
        known = now;
        if let Some(told) = told.take() {
            let _ = told.send(());
        }
        match stop.run_until_cancelled(links.changed()).await {
            Some(Ok(())) => {}
            Some(Err(_)) | None => return Ok(()),
        }
    }
}

/// Until the core has taken it.
async fn report(config: &Config, inbox: &Inbox, conversation: &ConversationId) {
    let Some(Place::List(name)) = Place::of(conversation) else { return };
    let Some(list) = config.lists.get(&name) else {
        info!(%conversation, "A list is linked that is not in the configuration: its members are those who are invited.");
        return;
    };
    while let Err(problem) = report_once(&list.members, inbox, conversation).await {
        warn!(%conversation, %problem, "The members of a list could not be reported yet.");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn report_once(
    members: &BTreeSet<NativeUserId>,
    inbox: &Inbox,
    conversation: &ConversationId,
) -> Result<(), Refusal> {
    let cursor = inbox.cursor(conversation).await?;
    let mut reported: BTreeSet<_> =
        cursor.iter().flat_map(|cursor| cursor.as_str().split_whitespace()).map(NativeUserId::new).collect();
    for member in members {
        if !reported.insert(member.clone()) {
            continue;
        }
        let names: Vec<_> = reported.iter().map(NativeUserId::as_str).collect();
        let accepted = inbox.accept(Inbound {
            conversation: conversation.clone(),
            direct: None,
            id: NativeMessageId::new(format!("join {member}")),
            sender: member.clone(),
            proof: SenderProof::Verified,
            thread: None,
            event: Event::Join,
            cursor: Some(Cursor::new(names.join(" "))),
        });
        match accepted.await {
            // Nothing that waiting would change.
            Err(Refusal::Reject { reason }) => warn!(%conversation, %member, reason, "A member was not let in."),
            Err(retry) => return Err(retry),
            Ok(_) => {}
        }
    }
    Ok(())
}
