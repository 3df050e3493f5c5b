//! Accept: two doors, one promise.
//!
//! From an adapter comes what a native person did; from a hub comes what the room received. Either way one
//! transaction decides whether we have it already, understands it, remembers its name and puts what follows
//! from it into the outbox. Only after that has reached the disk does anybody get a yes.

mod fanout;
mod files;

use std::sync::Arc;

use mimi_adapter::{
    Accepted, ConversationId, Core as AdapterCore, Cursor, Event, Ghost, Inbound, Links, NativeMessageId, NativeUserId,
    Receipt, Refusal, SenderProof, Thread, async_trait,
};
use tokio::sync::watch;
use tracing::{debug, info};

use crate::{
    assets::Asset,
    breaker::Deed,
    core::{Core, Fault},
    description::Matter,
    event::{self, MimiEvent},
    janitor::NAMED_DAYS,
    mimi::{
        content::{MessageId, MimiContent, message_id},
        uri::{RoomUri, UserUri},
    },
    outbox::{Destination, Payload},
    store::{Sought, Tx, hops::Named, portals::Portal},
    threads,
};

/// The largest content we carry, in octets: with what MLS and HTTP put around it, below the 1 MiB that a hub has to
/// take (D54). Our own hub would take more, and then the followers could not be told.
const MAX_CONTENT: usize = (1 << 20) - 4096;

/// The longest native id, in octets. Those of Matrix have up to 255, and nobody's should have more than a few dozen.
const MAX_NATIVE_ID: usize = 1024;

/// The inbox as one adapter sees it.
pub struct AdapterDoor {
    pub core: Arc<Core>,
    pub adapter: String,
}

#[async_trait]
impl AdapterCore for AdapterDoor {
    async fn accept(&self, inbound: Inbound) -> Result<Accepted, Refusal> {
        mimi_adapter::failpoint!("accept.native");
        let (kind, conversation, id) = (inbound.event.kind(), inbound.conversation.clone(), inbound.id.clone());
        let accepted = match self.keep(inbound).await {
            Ok(Some(inbound)) => self.take(inbound).await,
            Ok(None) => Ok(Accepted::Duplicate),
            Err(fault) => Err(fault),
        };
        mimi_adapter::failpoint!("accept.native.committed");
        match &accepted {
            Ok(accepted) => debug!(adapter = %self.adapter, %conversation, %id, kind, ?accepted, "Accepted."),
            Err(fault) => info!(adapter = %self.adapter, %conversation, %id, kind, %fault, "Not accepted."),
        }
        accepted.map_err(Refusal::from)
    }

    fn links(&self) -> watch::Receiver<Links> {
        self.core.adapters.get(&self.adapter).expect("an adapter's door has its adapter's name").links.subscribe()
    }

    fn receipt(&self, receipt: Receipt<NativeUserId>) {
        self.core.receipts.told(&self.adapter, receipt);
    }

    async fn ghosts(&self, conversation: &ConversationId) -> Result<Vec<Ghost>, Refusal> {
        let participants = self.participants(conversation).await?;
        Ok(participants.into_iter().filter(|user| !self.core.is_ours(user)).map(Ghost::new).collect())
    }

    async fn cursor(&self, conversation: &ConversationId) -> Result<Option<Cursor>, Refusal> {
        let (adapter, conversation) = (self.adapter.clone(), conversation.clone());
        let cursor = self.core.write(move |_, tx| {
            Box::pin(async move {
                match tx.portal_of_conversation(&adapter, &conversation).await? {
                    Some(portal) => Ok(tx.cursor(portal.id).await?),
                    None => Ok(None),
                }
            })
        });
        cursor.await.map_err(Refusal::from)
    }

    async fn members(&self, conversation: &ConversationId) -> Result<Vec<NativeUserId>, Refusal> {
        let participants = self.participants(conversation).await?;
        let members = participants.into_iter().filter(|user| self.core.is_ours(user)).map(|user| user.native());
        let serves = &self.core.adapters.get(&self.adapter).expect("an adapter's door has its adapter's name").adapter;
        Ok(members.filter(|member| serves.serves(member)).collect())
    }

    async fn not_delivered(
        &self,
        conversation: &ConversationId,
        message: &NativeMessageId,
        reason: &str,
    ) -> Result<(), Refusal> {
        info!(adapter = %self.adapter, %conversation, id = %message, reason, "Not delivered, says the network.");
        let told = match self.tell_author(conversation, message, reason, Patience::First).await {
            Ok(Some(Offer::Unnamed { room, row })) => {
                self.core.dispatcher.until_settled(&self.core, &room, row).await;
                self.tell_author(conversation, message, reason, Patience::Last).await
            }
            told => told,
        };
        told.map(drop).map_err(Refusal::from)
    }
}

impl AdapterDoor {
    /// Of the room that a conversation is linked to.
    async fn participants(&self, conversation: &ConversationId) -> Result<Vec<UserUri>, Refusal> {
        let (adapter, conversation) = (self.adapter.clone(), conversation.clone());
        let participants = self.core.write(move |_, tx| {
            Box::pin(async move {
                match tx.portal_of_conversation(&adapter, &conversation).await? {
                    Some(portal) => Ok(tx.participants(&portal.room).await?),
                    None => Ok(Vec::new()),
                }
            })
        });
        Ok(participants.await.map_err(Refusal::from)?.into_iter().map(|(user, _)| user).collect())
    }

    /// Answers what to wait for if the message has no name yet: the report may be faster than the delivery.
    async fn tell_author(
        &self,
        conversation: &ConversationId,
        native: &NativeMessageId,
        reason: &str,
        patience: Patience,
    ) -> Result<Option<Offer>, Fault> {
        let (adapter, conversation, native) = (self.adapter.clone(), conversation.clone(), native.clone());
        let reason = reason.to_owned();
        let told = self.core.write(move |core, tx| {
            Box::pin(async move {
                let Some(portal) = tx.portal_of_conversation(&adapter, &conversation).await? else { return Ok(None) };
                let Some(message) = tx.message_of_native(portal.id, &native).await? else {
                    if patience == Patience::Last {
                        return Ok(None);
                    }
                    let to = Destination::Portal(portal.room.clone()).to_string();
                    let head = tx.outbox_head(&to, 1).await?.pop();
                    return Ok(head.map(|head| Offer::Unnamed { room: portal.room, row: head.id }));
                };
                match tx.author(&portal.room, &message).await? {
                    Some(author) if core.is_ours(&author) => {
                        let text = format!("Your message has not reached everybody: {reason}.");
                        core.notice(tx, &portal.room, text, Some(*message.as_bytes()), Some(&author)).await?;
                    }
                    _ => core.report_not_shown(tx, &portal.room, &[*message.as_bytes()]).await?,
                }
                Ok(None)
            })
        });
        told.await
    }

    async fn take(&self, inbound: Inbound<Asset>) -> Result<Accepted, Fault> {
        let mut accepted = self.offer(inbound.clone(), Patience::First).await;
        if let Ok(Offer::Unnamed { room, row }) = &accepted {
            self.core.dispatcher.until_settled(&self.core, room, *row).await;
            accepted = self.offer(inbound, Patience::Last).await;
        }
        match accepted? {
            Offer::Taken(accepted) => Ok(accepted),
            Offer::Unnamed { .. } => Err(Fault::later("a message it may be about is being delivered")),
        }
    }

    async fn offer(&self, inbound: Inbound<Asset>, patience: Patience) -> Result<Offer, Fault> {
        let adapter = self.adapter.clone();
        let sought = can_be_kept(&inbound.id).then(|| Sought::Native {
            adapter: adapter.clone(),
            conversation: inbound.conversation.clone(),
            id: inbound.id.clone(),
        });
        let offer = self.core.write_seeking(sought.into_iter().collect(), move |core, tx| {
            Box::pin(async move {
                if let (Patience::First, Some(waits)) = (patience, core.unnamed(tx, &adapter, &inbound).await?) {
                    return Ok(waits);
                }
                core.accept_native(tx, &adapter, inbound).await.map(Offer::Taken)
            })
        });
        offer.await
    }
}

/// An index has to hold it, on every database, and PostgreSQL no NUL.
fn can_be_kept(id: &NativeMessageId) -> bool {
    id.as_str().len() <= MAX_NATIVE_ID && !id.as_str().contains('\0')
}

/// Whether what an event is about may still be waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    First,
    Last,
}

enum Offer {
    Taken(Accepted),
    /// It is about a message we don't know by that name, and a delivery into the conversation is under way: people
    /// see a message before we have heard what it is called there, and some answer at once.
    Unnamed {
        room: RoomUri,
        row: i64,
    },
}

impl Core {
    /// The delivery that may give a name to what `inbound` is about.
    async fn unnamed(&self, tx: &mut Tx, adapter: &str, inbound: &Inbound<Asset>) -> Result<Option<Offer>, Fault> {
        let root = inbound.thread.as_ref().and_then(Thread::root);
        let about: Vec<_> = inbound.event.refers_to().into_iter().chain(root).collect();
        if about.is_empty() {
            return Ok(None);
        }
        let Some(portal) = tx.portal_of_conversation(adapter, &inbound.conversation).await? else { return Ok(None) };
        let mut unknown = false;
        for native in about {
            unknown |= tx.message_of_native(portal.id, native).await?.is_none()
                && (Some(native) != root || tx.topic_of_thread(portal.id, native.as_str()).await?.is_none());
        }
        if !unknown {
            return Ok(None);
        }
        let head = tx.outbox_head(&Destination::Portal(portal.room.clone()).to_string(), 1).await?.pop();
        Ok(head.map(|head| Offer::Unnamed { room: portal.room, row: head.id }))
    }

    /// The first door.
    pub async fn accept_native(&self, tx: &mut Tx, adapter: &str, inbound: Inbound<Asset>) -> Result<Accepted, Fault> {
        let sender = UserUri::for_native(&self.domain, &inbound.sender);
        // Too long, or empty: nobody else could read the name.
        UserUri::parse(sender.as_str()).map_err(|e| Fault::never(format!("your address can't be carried: {e}")))?;
        if !can_be_kept(&inbound.id) {
            return Err(Fault::never("the network's name for it can't be kept: it is too long or has a NUL in it"));
        }
        let portal = match tx.portal_of_conversation(adapter, &inbound.conversation).await? {
            Some(portal) => portal,
            None => match &inbound.direct {
                Some(ghost) if begins_with(&inbound.event) => {
                    self.begin_direct(tx, adapter, &inbound.conversation, &sender, ghost).await?
                }
                _ => return Err(not_linked()),
            },
        };
        let Some(mut room) = tx.room(&portal.room).await? else {
            return Err(Fault::later("the portal's room is missing"));
        };
        if let Some(cursor) = &inbound.cursor {
            tx.set_cursor(portal.id, cursor);
        }
        match inbound.event {
            Event::Join => {
                self.is_back(tx, Deed::Leave, &sender, &Destination::Hub(portal.room.clone())).await?;
                self.come_back(tx, &mut room, &sender).await?;
                Ok(Accepted::New)
            }
            Event::Leave => {
                self.leave(tx, &room, &sender).await?;
                Ok(Accepted::New)
            }
            event => {
                if tx.message_of_native(portal.id, &inbound.id).await?.is_some() {
                    return Ok(Accepted::Duplicate);
                }
                if let Event::Command { words, manages } = &event {
                    let (words, manages) = (words.clone(), *manages);
                    self.command(tx, &portal, &room, &sender, (&inbound.id, inbound.proof), (&words, manages)).await?;
                    return Ok(Accepted::New);
                }
                self.ensure_member(tx, &mut room, &sender).await?;
                if let Event::Oust { user, banned } = &event {
                    let (user, banned) = (user.clone(), *banned);
                    self.oust(tx, &portal, &sender, (&inbound.id, inbound.proof), (&user, banned)).await?;
                    return Ok(Accepted::New);
                }
                let described = match &event {
                    Event::Name { name } => Some((Matter::Name, &**name)),
                    Event::Topic { topic } => Some((Matter::Topic, &**topic)),
                    _ => None,
                };
                if let Some(described) = described {
                    self.describe(tx, &portal, &sender, (&inbound.id, inbound.proof), described).await?;
                    return Ok(Accepted::New);
                }
                let event = self.to_mimi(tx, &portal, &sender, inbound.proof, event).await?;
                let topic = match &event {
                    Event::Edit { replaces, .. } | Event::Delete { replaces } => {
                        tx.topic(&portal.room, replaces).await?
                    }
                    _ => self.topic_of(tx, &portal, inbound.thread.as_ref()).await?,
                };
                self.submit(tx, &portal, &sender, &inbound.id, &event, topic).await?;
                Ok(Accepted::New)
            }
        }
    }

    /// Replaces native references by message IDs, and refuses what would touch another person's words.
    async fn to_mimi(
        &self,
        tx: &mut Tx,
        portal: &Portal,
        sender: &UserUri,
        proof: SenderProof,
        event: Event<NativeMessageId, Asset>,
    ) -> Result<MimiEvent, Fault> {
        Ok(match event {
            Event::Message { text, in_reply_to } => Event::Message {
                text,
                // A reply to something we never carried, or long ago, goes as a plain message.
                in_reply_to: match in_reply_to {
                    Some(id) => self.answered(tx, portal, &id).await?,
                    None => None,
                },
            },
            Event::File { file, caption, in_reply_to } => Event::File {
                file,
                caption,
                in_reply_to: match in_reply_to {
                    Some(id) => self.answered(tx, portal, &id).await?,
                    None => None,
                },
            },
            Event::Edit { replaces, text } => {
                Event::Edit { replaces: self.own_message(tx, portal, sender, proof, &replaces).await?, text }
            }
            Event::Delete { replaces } => {
                Event::Delete { replaces: self.own_message(tx, portal, sender, proof, &replaces).await? }
            }
            Event::Unlike { replaces } => {
                Event::Unlike { replaces: self.own_message(tx, portal, sender, proof, &replaces).await? }
            }
            Event::Reaction { in_reply_to, emoji } => match self.answered(tx, portal, &in_reply_to).await? {
                Some(in_reply_to) => Event::Reaction { in_reply_to, emoji },
                None => return Err(unknown("the reaction is to")),
            },
            _ => return Err(Fault::never("this kind of event can't be carried")),
        })
    }

    /// C§4.1: what is answered is the newest version of it, which is what people see.
    async fn answered(
        &self,
        tx: &mut Tx,
        portal: &Portal,
        native: &NativeMessageId,
    ) -> Result<Option<MessageId>, Fault> {
        Ok(match tx.message_of_native(portal.id, native).await? {
            Some(id) => Some(tx.newest_version(&portal.room, &id).await?),
            None => None,
        })
    }

    /// C§9.3: only the author edits and deletes, and only who is proven to be the author.
    async fn own_message(
        &self,
        tx: &mut Tx,
        portal: &Portal,
        sender: &UserUri,
        proof: SenderProof,
        native: &NativeMessageId,
    ) -> Result<MessageId, Fault> {
        let id = tx.message_of_native(portal.id, native).await?.ok_or_else(|| unknown("it changes"))?;
        let id = tx.first_version(&portal.room, &id).await?;
        let author = tx.author(&portal.room, &id).await?;
        match proof {
            SenderProof::Verified if author.as_ref() == Some(sender) => Ok(id),
            SenderProof::Verified => Err(Fault::never("only the author of a message can change it")),
            SenderProof::Claimed => {
                Err(Fault::never("the network does not say for sure who you are, so you can't change messages"))
            }
        }
    }

    /// Names the message and queues it for the hub.
    async fn submit(
        &self,
        tx: &mut Tx,
        portal: &Portal,
        sender: &UserUri,
        native: &NativeMessageId,
        event: &MimiEvent,
        topic: Vec<u8>,
    ) -> Result<(), Fault> {
        // C§4.1: unguessable. The message is remembered by its native id in this very transaction, so a repeated
        // attempt never gets a second salt.
        let salt: [u8; 16] = rand::random();
        let content = event::to_content(event, sender, &portal.room, salt)
            .ok_or_else(|| Fault::never("this kind of event can't be carried"))?;
        let content = MimiContent { topic_id: topic.clone(), ..content }.encode();
        if content.len() > MAX_CONTENT {
            let problem =
                format!("it is {} octets long, and {MAX_CONTENT} are the most that is carried", content.len());
            return Err(Fault::never(problem));
        }
        let id = message_id(sender, &portal.room, &content, &salt);
        tx.add_message(&portal.room, id, sender, self.now());
        let named = Named { at: self.now(), attempts: 1, loss: None };
        tx.name_message(portal.id, id, std::slice::from_ref(native), &named);
        match event {
            Event::Edit { replaces, .. } => tx.add_version(&portal.room, id, *replaces, self.now()),
            event if threads::may_be_in_one(event) => self.said_in(tx, portal, &topic, id).await?,
            _ => {}
        }
        let to = Destination::Hub(portal.room.clone());
        let payload = Payload::Submit { sender: sender.clone(), message: *id.as_bytes(), content };
        match event {
            Event::Delete { .. } => {
                self.enqueue_destructive(tx, Deed::Deletion, &portal.room, sender, &to, &payload).await
            }
            _ => self.enqueue(tx, &to, &payload).await,
        }
    }
}

/// Whether a one-to-one conversation can begin with it: with something said.
fn begins_with(event: &Event<NativeMessageId, Asset>) -> bool {
    !matches!(event, Event::Name { .. } | Event::Topic { .. } | Event::Oust { .. } | Event::Command { .. })
}

fn not_linked() -> Fault {
    Fault::never("this conversation is not linked to a MIMI room")
}

/// What `does` something to a message that has no name here.
fn unknown(does: &str) -> Fault {
    Fault::never(format!("{does} a message that was never carried, or more than {NAMED_DAYS} days ago"))
}
