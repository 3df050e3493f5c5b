//! To a native conversation.

use std::sync::Arc;

use mimi_adapter::{
    Capabilities, Delivery, DeliveryKey, Event, File, Ghost, NativeMessageId, NativeUserId, Octets, Refusal, Speaker,
    Support, Threads,
};
use tracing::{info, warn};

use super::{Destination, Payload, Step};
use crate::{
    assets::Asset,
    core::{Core, Fault, at, hash},
    dead_letters::Reason,
    event::{self, MimiEvent},
    lower::{Lowered, as_reply, lower},
    mimi::{
        content::{MessageId, MimiContent},
        uri::RoomUri,
    },
    store::{
        Tx,
        hops::Named,
        portals::{Portal, PortalId},
    },
    threads::{self, Placed},
};

/// What the head of a portal's queue needs from the adapter.
enum Act {
    /// The one-to-one conversation has to be opened first.
    Open { user: NativeUserId, ghost: Ghost },
    Deliver {
        row: i64,
        message: Option<MessageId>,
        delivery: Box<Delivery>,
        accepted: u64,
        attempts: u64,
        placed: Placed,
        loss: Option<String>,
    },
}

/// A delivery that the network has confirmed, or will never take.
struct Done {
    portal: PortalId,
    row: i64,
    message: Option<MessageId>,
    ids: Vec<NativeMessageId>,
    placed: Placed,
    /// When the hub accepted it.
    accepted: u64,
    attempts: u64,
    /// What people were not shown of it, and its author is told of.
    loss: Option<String>,
}

impl Core {
    async fn settle_portal(&self, tx: &mut Tx, room: &RoomUri, done: &Done) -> Result<(), Fault> {
        if let Some(message) = done.message {
            let named = Named { at: self.now(), attempts: done.attempts, loss: done.loss.clone() };
            tx.name_message(done.portal, message, &done.ids, &named);
            self.is_placed(tx, done.portal, &done.placed, message, &done.ids);
            self.receipts.shown(room, message, done.accepted);
            if let Some(loss) = &done.loss {
                info!(%room, %message, loss, "Not all of it is shown.");
                match self.report_not_shown(tx, room, &[*message.as_bytes()]).await {
                    Err(later @ Fault::Later { .. }) => return Err(later),
                    // It has been delivered, whoever can't be told.
                    Err(fault) => warn!(%room, %message, %fault, "Its author could not be told."),
                    Ok(()) => {}
                }
            }
        }
        tx.remove_outbox_row(done.row);
        Ok(())
    }

    pub(super) async fn step_portal(self: &Arc<Self>, room: &RoomUri, progress: &mut bool) -> Result<Step, Fault> {
        let (of, to) = (room.clone(), Destination::Portal(room.clone()));
        let mut taken = self.write(move |core, tx| Box::pin(async move { core.take_portal(tx, &of, 0).await })).await?;
        loop {
            let Some((portal, act)) = taken else { return Ok(Step::Idle) };
            let Some(act) = act else { return Ok(Step::Settled) };
            let Some(seat) = self.adapters.get(&portal.adapter) else {
                return Ok(Step::later(format!("no adapter is called {}", portal.adapter)));
            };
            mimi_adapter::failpoint!("outbox.portal.taken");
            let done = match act {
                Act::Open { user, ghost } => match seat.adapter.open_direct(&user, &ghost).await {
                    Ok(conversation) => {
                        mimi_adapter::failpoint!("outbox.portal.opened");
                        info!(%room, %conversation, "A one-to-one conversation is open.");
                        self.write(move |core, tx| {
                            Box::pin(async move {
                                tx.portal_is_open(portal.id, &conversation).await?;
                                core.refresh_links(tx).await
                            })
                        })
                        .await?;
                        return Ok(Step::Settled);
                    }
                    Err(refusal) => return Ok(Step::later(refusal.to_string())),
                },
                Act::Deliver { row, message, delivery, accepted, attempts, placed, loss } => {
                    match seat.adapter.deliver(&delivery).await {
                        Ok(delivered) => {
                            mimi_adapter::failpoint!("outbox.portal.delivered");
                            Arc::new(Done {
                                portal: portal.id,
                                row,
                                message,
                                ids: delivered.ids,
                                placed,
                                accepted,
                                attempts,
                                loss,
                            })
                        }
                        Err(Refusal::Retry { after, source }) => {
                            return Ok(Step::Later { problem: source.to_string(), after, unsure: true });
                        }
                        // The people are told in words.
                        Err(Refusal::Reject { reason })
                            if matches!(
                                delivery.event,
                                Event::File { .. } | Event::Name { .. } | Event::Topic { .. }
                            ) =>
                        {
                            self.write(move |_, tx| {
                                Box::pin(async move {
                                    tx.prepare_outbox_row(row, Some(reason.as_bytes()));
                                    Ok::<_, Fault>(())
                                })
                            })
                            .await?;
                            return Ok(Step::Settled);
                        }
                        Err(Refusal::Reject { reason }) => {
                            self.write(move |core, tx| {
                                Box::pin(async move { core.bury_id(tx, &to, row, &Reason::refused(&reason)).await })
                            })
                            .await?;
                            return Ok(Step::Settled);
                        }
                    }
                }
            };
            // What is next is taken in the transaction that settles what was, so each costs one fsync.
            let (of, was, stopping) = (room.clone(), done.clone(), self.dispatcher.stopping());
            let next = self.write(move |core, tx| {
                Box::pin(async move {
                    core.settle_portal(tx, &of, &was).await?;
                    if stopping { Ok(None) } else { core.take_portal(tx, &of, 1).await }
                })
            });
            taken = match next.await {
                Ok(next) => {
                    mimi_adapter::failpoint!("outbox.portal.settled");
                    *progress = true;
                    self.dispatcher.has_settled(&to);
                    next
                }
                // What is next must not hold up the settling of what has been delivered.
                Err(_) => {
                    let of = room.clone();
                    self.write(move |core, tx| Box::pin(async move { core.settle_portal(tx, &of, &done).await }))
                        .await?;
                    return Ok(Step::Settled);
                }
            };
        }
    }

    /// The head of the queue but for the `done` that have just been settled, as the conversation can show it. `None` if
    /// there is nothing, or no portal yet; without an act if it is nothing to be shown, and gone.
    async fn take_portal(
        self: &Arc<Self>,
        tx: &mut Tx,
        room: &RoomUri,
        done: usize,
    ) -> Result<Option<(Portal, Option<Act>)>, Fault> {
        let to = Destination::Portal(room.clone());
        let Some(row) = tx.outbox_left(&to.to_string(), 1, done).await?.pop() else { return Ok(None) };
        let Some(portal) = tx.portal_of_room(room).await? else {
            let Some(portal) = tx.unlinked_portal(room).await? else { return Ok(None) };
            // What comes after an unlink is shown if that is undone; who came and went is asked for then.
            match Payload::decode(&row.payload) {
                Ok(Payload::Presence { .. } | Payload::Notice { .. } | Payload::Described { .. }) => {
                    tx.remove_outbox_row(row.id)
                }
                _ => self.bury(tx, &to, &[row], &Reason::UNLINKED).await?,
            }
            return Ok(Some((portal, None)));
        };
        let Some(conversation) = portal.conversation.clone() else {
            let (user, ghost) =
                portal.direct.clone().ok_or_else(|| Fault::broken("a portal without a conversation"))?;
            return Ok(Some((portal, Some(Act::Open { user, ghost: Ghost::new(ghost) }))));
        };
        let key = |name: &[u8]| DeliveryKey::new(hex::encode(hash(&[room.as_str().as_bytes(), b" ", name].concat())));
        let row_key = || key(format!("row {}", row.id).as_bytes());
        let (speaker, accepted, event, topic, message, key) = match Payload::decode(&row.payload)? {
            Payload::Content { sender, message, accepted, content } => {
                let content =
                    MimiContent::decode(&content).map_err(|e| Fault::broken(format!("a stored content: {e}")))?;
                let native = match event::from_content(&content) {
                    Some(event) => self.to_native(tx, &portal, event).await?,
                    None => Err("there is nothing in it that could be shown".to_owned()),
                };
                let id = MessageId::new(message).map_err(Fault::broken)?;
                let speaker = Speaker::Ghost(Ghost::new(sender));
                (speaker, accepted, native, content.topic_id, Some(id), key(&message))
            }
            Payload::Presence { user, joined } => {
                let event = if joined { Event::Join } else { Event::Leave };
                (Speaker::Ghost(Ghost::new(user)), self.now(), Ok(event), Vec::new(), None, row_key())
            }
            Payload::Notice { text, about, to } => {
                let about = match about.map(MessageId::new) {
                    Some(Ok(id)) => tx.native_of_message(portal.id, &id).await?,
                    _ => None,
                };
                (Speaker::Gateway, self.now(), Ok(Event::Notice { text, about, to }), Vec::new(), None, row_key())
            }
            Payload::Described { by, matter } => {
                let event = match self.description(tx, room, matter).await? {
                    Some(text) => Ok(matter.event(text)),
                    None => Err("somebody here has changed it once more".to_owned()),
                };
                let speaker = by.map_or(Speaker::Gateway, |by| Speaker::Ghost(Ghost::new(by)));
                (speaker, self.now(), event, Vec::new(), None, row_key())
            }
            other => return Err(Fault::broken(format!("a {} row in a portal's queue", other.kind()))),
        };
        let event = match event {
            Ok(event) => event,
            Err(reason) => {
                info!(%room, %key, reason, "Not shown.");
                tx.remove_outbox_row(row.id);
                return Ok(Some((portal, None)));
            }
        };
        let seat = self.adapters.get(&portal.adapter);
        let can = seat.map_or(Capabilities::PLAIN_TEXT, |seat| seat.adapter.capabilities(&conversation));
        let topic = if threads::may_be_in_one(&event) { topic } else { Vec::new() };
        let placed = self.placed(tx, &portal, topic, can.thread).await?;
        let event = match (can.thread, &placed.after) {
            (Threads::AsReplies, Some(after)) => as_reply(event, after),
            _ => event,
        };
        // A file, name or topic that was refused before is shown as a text that says so.
        let refused = row.prepared.as_ref().map(|words| String::from_utf8_lossy(words).into_owned());
        // People here have set it themselves: it need not be said to them.
        let set_here = match (&speaker, &event) {
            (Speaker::Gateway, Event::Name { .. }) => Some(can.name),
            (Speaker::Gateway, Event::Topic { .. }) => Some(can.topic),
            _ => None,
        };
        if set_here.is_some_and(|can| can != Support::Full || refused.is_some()) {
            tx.remove_outbox_row(row.id);
            return Ok(Some((portal, None)));
        }
        let lowered = match lower(event, &can, refused) {
            Ok(lowered) => self.with_file(tx, room, &speaker, lowered, &can).await?,
            Err(reason) => Err(reason),
        };
        match lowered {
            Ok((event, loss)) => {
                let (thread, attempts) = (placed.thread.clone(), row.attempts as u64 + 1);
                let delivery = Delivery { key, conversation, speaker, accepted: at(accepted), event, thread };
                let delivery = Box::new(delivery);
                Ok(Some((
                    portal,
                    Some(Act::Deliver { row: row.id, message, delivery, accepted, attempts, placed, loss }),
                )))
            }
            Err(reason) => {
                self.bury(tx, &to, &[row], &Reason::refused(&reason)).await?;
                Ok(Some((portal, None)))
            }
        }
    }

    /// Gives a file its octets; one that will never have any becomes a text.
    async fn with_file(
        self: &Arc<Self>,
        tx: &mut Tx,
        room: &RoomUri,
        speaker: &Speaker,
        Lowered { event, loss }: Lowered,
        can: &Capabilities,
    ) -> Result<Result<(Event<NativeMessageId>, Option<String>), String>, Fault> {
        let (Event::File { file, .. }, Speaker::Ghost(Ghost { user: sender, .. })) = (&event, speaker) else {
            let none = |file: File<Asset>| file.at(Octets::new(Vec::new()));
            return Ok(Ok((event.with_file(none), loss)));
        };
        Ok(match self.file_of(tx, room, sender, file.clone(), can.max_file).await? {
            Ok(file) => Ok((event.with_file(|_| file), loss)),
            Err(why) => lower(event, can, Some(why)).map(|Lowered { event, loss }| {
                let none = |file: File<Asset>| file.at(Octets::new(Vec::new()));
                (event.with_file(none), loss)
            }),
        })
    }

    /// What people call the message of which this is a version: what was shown first, whatever it says now.
    async fn named(&self, tx: &mut Tx, portal: &Portal, id: &MessageId) -> Result<Option<NativeMessageId>, Fault> {
        let first = tx.first_version(&portal.room, id).await?;
        Ok(tx.native_of_message(portal.id, &first).await?)
    }

    /// Replaces message IDs by native ones. A reply to something never carried goes as a plain message;
    /// what would change such a thing has nothing to change.
    async fn to_native(
        &self,
        tx: &mut Tx,
        portal: &Portal,
        event: MimiEvent,
    ) -> Result<Result<Event<NativeMessageId, Asset>, String>, Fault> {
        let unknown = || "it refers to a message that was never carried here".to_owned();
        Ok(match event {
            Event::Message { text, in_reply_to } => {
                let in_reply_to = match in_reply_to {
                    Some(id) => self.named(tx, portal, &id).await?,
                    None => None,
                };
                Ok(Event::Message { text, in_reply_to })
            }
            Event::File { file, caption, in_reply_to } => {
                let in_reply_to = match in_reply_to {
                    Some(id) => self.named(tx, portal, &id).await?,
                    None => None,
                };
                Ok(Event::File { file, caption, in_reply_to })
            }
            Event::Edit { replaces, text } => {
                let native = self.named(tx, portal, &replaces).await?;
                native.map(|replaces| Event::Edit { replaces, text }).ok_or_else(unknown)
            }
            Event::Delete { replaces } => {
                let native = self.named(tx, portal, &replaces).await?;
                native.map(|replaces| Event::Delete { replaces }).ok_or_else(unknown)
            }
            Event::Reaction { in_reply_to, emoji } => {
                let native = self.named(tx, portal, &in_reply_to).await?;
                native.map(|in_reply_to| Event::Reaction { in_reply_to, emoji }).ok_or_else(unknown)
            }
            Event::Unlike { replaces } => {
                let native = self.named(tx, portal, &replaces).await?;
                native.map(|replaces| Event::Unlike { replaces }).ok_or_else(unknown)
            }
            other => Err(format!("a {} is no content", other.kind())),
        })
    }
}
