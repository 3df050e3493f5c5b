//! To a native conversation.

use std::sync::Arc;

use mimi_adapter::{Delivery, DeliveryKey, Event, Ghost, NativeMessageId, NativeUserId, Refusal, Speaker};
use tracing::info;

use super::{Destination, Payload, Step};
use crate::{
    core::{Core, Fault, at, hash},
    dead_letters::Reason,
    event,
    lower::lower,
    mimi::{
        content::{MessageId, MimiContent},
        uri::RoomUri,
    },
    store::{
        Tx,
        portals::{Portal, PortalId},
    },
};

/// What the head of a portal's queue needs from the adapter.
enum Act {
    /// The one-to-one conversation has to be opened first.
    Open {
        user: NativeUserId,
        ghost: Ghost,
    },
    Deliver {
        row: i64,
        message: Option<MessageId>,
        delivery: Box<Delivery>,
    },
}

/// A delivery that the network has confirmed, or will never take.
struct Done {
    portal: PortalId,
    row: i64,
    message: Option<MessageId>,
    ids: Vec<NativeMessageId>,
}

impl Done {
    fn settle(&self, tx: &mut Tx) {
        if let Some(message) = self.message {
            tx.name_message(self.portal, message, &self.ids);
        }
        tx.remove_outbox_row(self.row);
    }
}

impl Core {
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
                Act::Deliver { row, message, delivery } => match seat.adapter.deliver(&delivery).await {
                    Ok(delivered) => {
                        mimi_adapter::failpoint!("outbox.portal.delivered");
                        Arc::new(Done { portal: portal.id, row, message, ids: delivered.ids })
                    }
                    Err(Refusal::Retry { after, source }) => {
                        return Ok(Step::Later { problem: source.to_string(), after, unsure: true });
                    }
                    Err(Refusal::Reject { reason }) => {
                        self.write(move |core, tx| {
                            Box::pin(async move { core.bury_id(tx, &to, row, &Reason::refused(&reason)).await })
                        })
                        .await?;
                        return Ok(Step::Settled);
                    }
                },
            };
            // What is next is taken in the transaction that settles what was, so each costs one fsync.
            let (of, was, stopping) = (room.clone(), done.clone(), self.dispatcher.stopping());
            let next = self.write(move |core, tx| {
                Box::pin(async move {
                    was.settle(tx);
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
                    self.write(move |_, tx| {
                        Box::pin(async move {
                            done.settle(tx);
                            Ok::<_, Fault>(())
                        })
                    })
                    .await?;
                    return Ok(Step::Settled);
                }
            };
        }
    }

    /// The head of the queue but for the `done` that have just been settled, as the conversation can show it. `None` if
    /// there is nothing, or no portal yet; without an act if it is nothing to be shown, and gone.
    async fn take_portal(
        &self,
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
                Ok(Payload::Presence { .. } | Payload::Notice { .. }) => tx.remove_outbox_row(row.id),
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
        let (speaker, accepted, event, message, key) = match Payload::decode(&row.payload)? {
            Payload::Content { sender, message, accepted, content } => {
                let content =
                    MimiContent::decode(&content).map_err(|e| Fault::broken(format!("a stored content: {e}")))?;
                let native = match event::from_content(&content) {
                    Some(event) => self.to_native(tx, &portal, event).await?,
                    None => Err("there is nothing in it that could be shown".to_owned()),
                };
                let id = MessageId::new(message).map_err(Fault::broken)?;
                (Speaker::Ghost(Ghost::new(sender)), accepted, native, Some(id), key(&message))
            }
            Payload::Presence { user, joined } => {
                let event = if joined { Event::Join } else { Event::Leave };
                (Speaker::Ghost(Ghost::new(user)), self.now(), Ok(event), None, row_key())
            }
            Payload::Notice { text, about, to } => {
                let about = match about.map(MessageId::new) {
                    Some(Ok(id)) => tx.native_of_message(portal.id, &id).await?,
                    _ => None,
                };
                (Speaker::Gateway, self.now(), Ok(Event::Notice { text, about, to }), None, row_key())
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
        let lowered = match self.adapters.get(&portal.adapter) {
            Some(seat) => lower(event, &seat.adapter.capabilities(&conversation)),
            None => Ok(event),
        };
        match lowered {
            Ok(event) => {
                let delivery = Box::new(Delivery { key, conversation, speaker, accepted: at(accepted), event });
                Ok(Some((portal, Some(Act::Deliver { row: row.id, message, delivery }))))
            }
            Err(reason) => {
                self.bury(tx, &to, &[row], &Reason::refused(&reason)).await?;
                Ok(Some((portal, None)))
            }
        }
    }

    /// Replaces message IDs by native ones. A reply to something never carried goes as a plain message;
    /// what would change such a thing has nothing to change.
    async fn to_native(
        &self,
        tx: &mut Tx,
        portal: &Portal,
        event: Event<MessageId>,
    ) -> Result<Result<Event<NativeMessageId>, String>, Fault> {
        let unknown = || "it refers to a message that was never carried here".to_owned();
        Ok(match event {
            Event::Message { text, in_reply_to } => {
                let in_reply_to = match in_reply_to {
                    Some(id) => tx.native_of_message(portal.id, &id).await?,
                    None => None,
                };
                Ok(Event::Message { text, in_reply_to })
            }
            Event::Edit { replaces, text } => {
                let native = tx.native_of_message(portal.id, &replaces).await?;
                native.map(|replaces| Event::Edit { replaces, text }).ok_or_else(unknown)
            }
            Event::Delete { replaces } => {
                let native = tx.native_of_message(portal.id, &replaces).await?;
                native.map(|replaces| Event::Delete { replaces }).ok_or_else(unknown)
            }
            Event::Reaction { in_reply_to, emoji } => {
                let native = tx.native_of_message(portal.id, &in_reply_to).await?;
                native.map(|in_reply_to| Event::Reaction { in_reply_to, emoji }).ok_or_else(unknown)
            }
            Event::Unlike { replaces } => {
                let native = tx.native_of_message(portal.id, &replaces).await?;
                native.map(|replaces| Event::Unlike { replaces }).ok_or_else(unknown)
            }
            other => Err(format!("a {} is no content", other.kind())),
        })
    }
}
