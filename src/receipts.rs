//! Receipts: who has got and read what, across the bridge (`application/mimi-message-status`, C-42).
//!
//! Not messages: nothing waits for one, and nobody misses one that is lost. So they don't go through the accept and the
//! outbox of a message. What comes is kept in memory, the latest of each person, and now and then a round is made: one
//! transaction, and for each person one report of all the messages they have read since. A hub whose queue is not empty
//! gets none until it is. A crash forgets what was not sent yet; the next receipt of a person says it anyway.
//!
//! What was read before what is read is read as well, as in the networks we know. Nobody's reading goes backward.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use mimi_adapter::{ConversationId, Ghost, NativeMessageId, NativeUserId, Receipt, ReceiptKind};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tracing::debug;

use crate::{
    core::{Core, Fault},
    lifecycle::Lifecycle,
    mimi::{
        component,
        content::{Extensions, MessageId, MimiContent},
        message_status,
        policy::{Optionality, StatusNotificationPolicy},
        tls::Tls,
        uri::{RoomUri, UserUri},
    },
    outbox::{Destination, Payload},
    store::{
        Tx,
        rooms::{Room, RoomGroup, RoomState},
    },
};

/// So long receipts are collected.
const ROUND: Duration = Duration::from_secs(1);

/// How long a network may take to show one.
const PATIENCE: Duration = Duration::from_secs(10);

/// In a room with more people than this ours send no receipts: everybody's reading would be told to everybody, and
/// be most of what the room says (R§6.1).
pub const LARGEST_ROOM: usize = 50;

/// The last messages from elsewhere that are remembered of a room, and of how many rooms and people.
const MESSAGES: usize = 64;
const ROOMS: usize = 1024;
const PEOPLE: usize = 16_384;

#[derive(Default)]
pub struct Receipts {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    /// Messages from elsewhere that people of ours have been shown, by the hub's time.
    shown: HashMap<RoomUri, VecDeque<(u64, MessageId)>>,
    /// What ours have got or read since the last round.
    ours: HashMap<(String, ConversationId, NativeUserId, ReceiptKind), NativeMessageId>,
    /// What others have, by the hub's time.
    theirs: HashMap<(RoomUri, UserUri, ReceiptKind), (u64, MessageId)>,
    /// How far anybody is known to have got.
    reached: HashMap<(RoomUri, UserUri), [u64; 2]>,
}

impl Receipts {
    /// People of ours have been shown a message from elsewhere.
    pub fn shown(&self, room: &RoomUri, message: MessageId, accepted: u64) {
        let mut state = self.state();
        if state.shown.len() >= ROOMS && !state.shown.contains_key(room) {
            state.shown.clear();
        }
        let messages = state.shown.entry(room.clone()).or_default();
        messages.push_back((accepted, message));
        if messages.len() > MESSAGES {
            messages.pop_front();
        }
    }

    /// Somebody of ours has got so far.
    pub fn told(&self, adapter: &str, receipt: Receipt<NativeUserId>) {
        let Receipt { conversation, by, kind, up_to } = receipt;
        let mut state = self.state();
        if state.ours.len() < PEOPLE {
            state.ours.insert((adapter.to_owned(), conversation, by, kind), up_to);
        }
        drop(state);
        self.news.notify_one();
    }

    fn reported(&self, room: &RoomUri, by: &UserUri, kind: ReceiptKind, accepted: u64, message: MessageId) {
        let mut state = self.state();
        if state.theirs.len() < PEOPLE {
            let latest = state.theirs.entry((room.clone(), by.clone(), kind)).or_insert((accepted, message));
            *latest = (*latest).max((accepted, message));
        }
        drop(state);
        self.news.notify_one();
    }

    /// The messages that somebody has not yet been known to have got so far, up to a time. From now on they have.
    fn advance(&self, room: &RoomUri, by: &UserUri, kind: ReceiptKind, to: u64) -> Option<Vec<MessageId>> {
        let mut state = self.state();
        if state.reached.len() >= PEOPLE {
            state.reached.clear();
        }
        let reached = state.reached.entry((room.clone(), by.clone())).or_default();
        // What is read has been delivered.
        let from = reached[kind as usize].max(reached[ReceiptKind::Read as usize]);
        if to <= from {
            return None;
        }
        reached[kind as usize] = to;
        let shown = state.shown.get(room).into_iter().flatten();
        Some(shown.filter(|(accepted, _)| from < *accepted && *accepted <= to).map(|(_, message)| *message).collect())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens while receipts are counted")
    }
}

/// Makes rounds, for as long as the gateway runs.
pub(crate) fn start(core: &Arc<Core>, lifecycle: &Lifecycle) {
    let (core, stop) = (core.clone(), lifecycle.stop().token());
    lifecycle.spawn("receipts", async move {
        let rounds = async {
            loop {
                core.receipts.news.notified().await;
                sleep(ROUND).await;
                core.report_ours().await;
                core.show_theirs().await;
            }
        };
        stop.run_until_cancelled(rounds).await;
        Ok::<_, Fault>(())
    });
}

impl Core {
    /// Somebody's client reports how it stands with messages of ours.
    pub(crate) async fn receipted(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        by: &UserUri,
        statuses: &[(MessageId, u64)],
    ) -> Result<(), Fault> {
        for kind in [ReceiptKind::Delivered, ReceiptKind::Read] {
            let mut last = None;
            for (message, _) in statuses.iter().filter(|(_, status)| *status == status_of(kind)) {
                let known = tx.message(room, message).await?.filter(|(author, _)| self.is_ours(author));
                last = last.max(known.map(|(_, accepted)| (accepted, *message)));
            }
            if let Some((accepted, message)) = last {
                self.receipts.reported(room, by, kind, accepted, message);
            }
        }
        Ok(())
    }

    /// What the room's policy says about reports; one that can't be read forbids them.
    pub(crate) async fn notifications(
        &self,
        tx: &mut Tx,
        group: &RoomGroup,
    ) -> Result<Option<StatusNotificationPolicy>, Fault> {
        let policy = |member: &mut crate::mls::Member| {
            Ok::<_, Fault>(member.dictionary().get(&component::STATUS_NOTIFICATION_POLICY).cloned())
        };
        let octets = self.groups.member(tx, group.reader, &group.group_id, policy).await?;
        Ok(octets.map(|octets| {
            StatusNotificationPolicy::decode(&octets).unwrap_or(StatusNotificationPolicy {
                delivery_notifications: Optionality::Forbidden,
                read_receipts: Optionality::Forbidden,
            })
        }))
    }

    /// A round: what ours have read, to the hubs.
    async fn report_ours(self: &Arc<Self>) {
        let told = std::mem::take(&mut self.receipts.state().ours);
        if told.is_empty() {
            return;
        }
        let round = self.write(move |core, tx| {
            Box::pin(async move {
                for ((adapter, conversation, by, kind), up_to) in told {
                    let receipt = Receipt { conversation, by, kind, up_to };
                    match core.report_one(tx, &adapter, &receipt).await {
                        Err(fault @ Fault::Later { .. }) => return Err(fault),
                        Err(fault) => debug!(%fault, "A receipt is left out."),
                        Ok(true) => {}
                        Ok(false) => core.receipts.told(&adapter, receipt),
                    }
                }
                Ok(())
            })
        });
        if let Err(fault) = round.await {
            debug!(%fault, "Receipts were lost.");
        }
    }

    /// `false` if the hub has other things to do.
    async fn report_one(&self, tx: &mut Tx, adapter: &str, receipt: &Receipt<NativeUserId>) -> Result<bool, Fault> {
        let Some(portal) = tx.portal_of_conversation(adapter, &receipt.conversation).await? else { return Ok(true) };
        let Some(message) = tx.message_of_native(portal.id, &receipt.up_to).await? else { return Ok(true) };
        let room = &portal.room;
        let Some((author, at)) = tx.message(room, &message).await? else { return Ok(true) };
        let by = UserUri::for_native(&self.domain, &receipt.by);
        let participants = tx.participants(room).await?;
        if participants.len() > LARGEST_ROOM || !participants.iter().any(|(user, _)| *user == by) {
            return Ok(true);
        }
        let Some(Room { group: Some(group), state: RoomState::Open, .. }) = tx.room(room).await? else {
            return Ok(true);
        };
        let policy = self.notifications(tx, &group).await?;
        let asked = policy.map_or(Optionality::Optional, |policy| match receipt.kind {
            ReceiptKind::Delivered => policy.delivery_notifications,
            ReceiptKind::Read => policy.read_receipts,
        });
        if asked == Optionality::Forbidden {
            return Ok(true);
        }
        let to = Destination::Hub(room.clone());
        if !tx.outbox_head(&to.to_string(), 1).await?.is_empty() {
            return Ok(false);
        }
        let Some(mut messages) = self.receipts.advance(room, &by, receipt.kind, at) else { return Ok(true) };
        // After a restart nothing is known but the message itself.
        if messages.is_empty() && !self.is_ours(&author) {
            messages.push(message);
        }
        if messages.is_empty() {
            return Ok(true);
        }
        let content = MimiContent {
            salt: rand::random(),
            replaces: None,
            topic_id: Vec::new(),
            expires: None,
            in_reply_to: None,
            extensions: Extensions::new(&by, room),
            nested_part: message_status::report(&messages, status_of(receipt.kind)),
        };
        self.enqueue(tx, &to, &Payload::Report { sender: by, content: content.encode() }).await?;
        Ok(true)
    }

    /// A round: what others have read, to the networks.
    async fn show_theirs(self: &Arc<Self>) {
        let reported = std::mem::take(&mut self.receipts.state().theirs);
        for ((room, by, kind), (at, message)) in reported {
            if self.receipts.advance(&room, &by, kind, at).is_none() {
                continue;
            }
            let found = self.write(move |_, tx| {
                Box::pin(async move {
                    let Some(portal) = tx.portal_of_room(&room).await? else { return Ok(None) };
                    let native = tx.native_of_message(portal.id, &message).await?;
                    Ok(portal.conversation.zip(native).map(|it| (portal.adapter, it)))
                })
            });
            let Ok(Some((adapter, (conversation, up_to)))) = found.await else { continue };
            let Some(seat) = self.adapters.get(&adapter) else { continue };
            if !seat.adapter.capabilities(&conversation).receipts {
                continue;
            }
            let receipt = Receipt { conversation, by: Ghost::new(by), kind, up_to };
            match timeout(PATIENCE, seat.adapter.receipt(&receipt)).await {
                Ok(Ok(())) => {}
                Ok(Err(refusal)) => debug!(adapter, %refusal, "A receipt is not shown."),
                Err(_) => debug!(adapter, "A receipt is not shown in time."),
            }
        }
    }
}

fn status_of(kind: ReceiptKind) -> u64 {
    match kind {
        ReceiptKind::Delivered => message_status::DELIVERED,
        ReceiptKind::Read => message_status::READ,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> MessageId {
        let mut octets = [n; 32];
        octets[0] = 1;
        MessageId::new(octets).unwrap()
    }

    #[test]
    fn a_receipt_is_for_what_came_since_the_last_and_never_goes_backward() {
        let room = RoomUri::parse("mimi://a.example/r/tea").unwrap();
        let bob = UserUri::parse("mimi://b.example/u/bob").unwrap();
        let receipts = Receipts::default();
        for n in 1..=4 {
            receipts.shown(&room, id(n), 10 * u64::from(n));
        }
        let advance = |kind, to| receipts.advance(&room, &bob, kind, to);
        assert_eq!(advance(ReceiptKind::Delivered, 30), Some(vec![id(1), id(2), id(3)]));
        assert_eq!(advance(ReceiptKind::Read, 20), Some(vec![id(1), id(2)]));
        assert_eq!(advance(ReceiptKind::Read, 20), None);
        assert_eq!(advance(ReceiptKind::Read, 10), None);
        assert_eq!(advance(ReceiptKind::Read, 40), Some(vec![id(3), id(4)]));
        // Read, so it was delivered.
        assert_eq!(advance(ReceiptKind::Delivered, 40), None);
        let cathy = UserUri::parse("mimi://c.example/u/cathy").unwrap();
        assert_eq!(receipts.advance(&room, &cathy, ReceiptKind::Read, 10), Some(vec![id(1)]));
    }

    #[test]
    fn no_more_is_remembered_than_is_good() {
        let receipts = Receipts::default();
        let room = RoomUri::parse("mimi://a.example/r/tea").unwrap();
        for n in 0..=MESSAGES as u64 {
            receipts.shown(&room, id(7), n);
        }
        assert_eq!(receipts.state().shown[&room].len(), MESSAGES);
        for n in 0..=ROOMS {
            receipts.shown(&RoomUri::parse(&format!("mimi://a.example/r/{n}")).unwrap(), id(7), 1);
        }
        assert!(receipts.state().shown.len() <= ROOMS);
    }
}
