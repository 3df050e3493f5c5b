//! One-to-one conversations: a person and a ghost.
//!
//! XMPP has no archive for us here and a component has no acknowledgements, so both directions say as much
//! as can be known:
//!
//! - In: the sender's receipt (XEP-0184) is sent when the core has said yes, not before. What is still
//!   held when the gateway stops goes back as an error of type `wait`.
//! - Out: behind the message goes a question to the person's server. Stanzas of one stream are processed in
//!   order (RFC 6120 §10.1), so its answer proves that the message has reached the account (or its
//!   offline store), unless an error has come first. If the connection breaks between the two, nobody can
//!   know; the message is then sent again with the same id and origin-id, and an app that knows XEP-0359
//!   shows it once. Receipts from the person's app would only come when it is switched on.
//!
//! What remains: a message to a ghost that the server has written into a cable which breaks, or which swallows, is lost
//! between the two, for as long as the canary needs to notice (`Canary::USUAL`). While there is no stream at all
//! the server itself answers with an error. Nobody but the sender can tell: their app has no receipt. The archive of
//! the person's account (XEP-0313) would know, and is theirs: a component may read it only where an admin has granted it
//! to speak for every account (XEP-0356), which is more than a gateway should hold for that. Stream management (XEP-0198)
//! would close it; Prosody 0.12 offers it to clients and servers only.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mimi_adapter::{
    CancellationToken, ConversationId, Delivered, Delivery, DeliveryKey, Event, Ghost, Inbound, Inbox, NativeMessageId,
    NativeUserId, Receipt, ReceiptKind, Refusal, SenderProof, Speaker,
};
use minidom::Element;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;
use tracing::{debug, info};
use xmpp_parsers::jid::{BareJid, Jid};

use crate::{
    component::{Failure, Link},
    files::Files,
    from_native::{self, Meaning},
    id::{Place, ghost_user},
    listener::{Stopped, offer},
    memory::{Bounded, Memory, Voice},
    stanza::{self, ElementExt, StanzaError, ns},
    to_native::{self, Route},
};

/// How many messages of a conversation are remembered, for what points at them, and of how many conversations.
const MEMORY: usize = 200;
const CONVERSATIONS: usize = 5_000;
/// How many messages of a conversation may wait for the core.
const QUEUE: usize = 500;

/// What the gateway says to who writes to it: which room is meant, it can't know there.
const HELP: &str = "I carry messages between people here and people of other providers. In a group chat that is connected \
                    to them, write to me privately (I am its occupant mimi-gateway): help, who, about, or, if you \
                    moderate it, invite and leave.";

pub struct Direct {
    component: BareJid,
    domains: Vec<BareJid>,
    memories: Mutex<Bounded<ConversationId, Arc<Mutex<Memory>>>>,
    /// What waits for the core. A conversation is in here while its worker runs.
    lanes: Mutex<HashMap<ConversationId, mpsc::Sender<Element>>>,
    workers: TaskTracker,
    /// Messages whose fate was still open when `deliver` gave up waiting, and on which link they went.
    unresolved: Mutex<HashMap<DeliveryKey, (u64, oneshot::Receiver<Element>)>>,
}

/// What a worker needs.
#[derive(Clone)]
pub struct Way {
    pub inbox: Inbox,
    pub links: watch::Receiver<Option<Link>>,
    pub files: Arc<Files>,
    pub stop: CancellationToken,
}

impl Direct {
    pub fn new(component: BareJid, domains: Vec<BareJid>) -> Self {
        Self {
            component,
            domains,
            memories: Mutex::new(Bounded::new(CONVERSATIONS)),
            lanes: Mutex::default(),
            workers: TaskTracker::new(),
            unresolved: Mutex::default(),
        }
    }

    /// Whether an account is of this network.
    pub fn serves(&self, user: &BareJid) -> bool {
        user.node().is_some() && self.domains.iter().any(|domain| domain.domain() == user.domain())
    }

    // ---- In ----

    /// A message to a ghost or to the gateway. It goes to the core in its turn, or back with the reason.
    pub fn heard(self: &Arc<Self>, link: &Link, message: Element, way: &Way) {
        let (Some(from), Some(to)) = (message.jid("from"), message.jid("to")) else { return };
        if !matches!(message.attr("type"), None | Some("chat" | "normal")) {
            return;
        }
        let back = |kind, condition, text: &str| {
            // Nobody is told that their typing was not carried.
            if stanza::body(&message).is_some() {
                link.send(stanza::error_reply(&message, kind, condition, text));
            }
        };
        if message.has_child("x", ns::MUC_USER) {
            let text = "Private messages through a room are not carried. Write to the person directly.";
            return back("cancel", "feature-not-implemented", text);
        }
        if to.to_bare() == self.component && stanza::body(&message).is_some() && self.serves(&from.to_bare()) {
            let id = message.attr("id").unwrap_or_default();
            return link.send(to_native::notice(&to.to_bare().into(), &from, "chat", &format!("re-{id}"), HELP));
        }
        if ghost_user(&to).is_none() {
            return back("cancel", "item-not-found", "Nobody reads what is written to this address.");
        }
        if !self.serves(&from.to_bare()) {
            return back("auth", "forbidden", "This gateway carries messages for its own organisation only.");
        }
        let conversation = Place::Direct { user: from.to_bare(), ghost: to.to_bare() }.conversation();
        if let Some((kind, up_to)) = from_native::receipt(&message) {
            let by = NativeUserId::new(from.to_bare().as_str());
            way.inbox.receipt(Receipt { conversation: conversation.clone(), by, kind, up_to });
        }
        let mut lanes = lock(&self.lanes);
        let lane = lanes.entry(conversation.clone()).or_insert_with(|| {
            let (lane, messages) = mpsc::channel(QUEUE);
            self.workers.spawn(self.clone().work(conversation, messages, way.clone()));
            lane
        });
        if let Err(full) = lane.try_send(message) {
            let text = "Too many messages are waiting. Please send this one again later.";
            link.send(stanza::error_reply(&full.into_inner(), "wait", "resource-constraint", text));
        }
    }

    /// Waits until everything that was heard is with the core or back with its sender. For after `stop`.
    pub async fn finish(&self) {
        self.workers.close();
        self.workers.wait().await;
    }

    async fn work(self: Arc<Self>, conversation: ConversationId, mut messages: mpsc::Receiver<Element>, way: Way) {
        loop {
            let next = {
                let mut lanes = lock(&self.lanes);
                let Ok(next) = messages.try_recv() else {
                    lanes.remove(&conversation);
                    return;
                };
                next
            };
            if self.carry(&conversation, &next, &way).await == Err(Stopped) {
                let text = "Your message was not delivered, because the gateway is stopping. Please send it again.";
                self.reply(&way, stanza::error_reply(&next, "wait", "service-unavailable", text));
            }
        }
    }

    async fn carry(&self, conversation: &ConversationId, message: &Element, way: &Way) -> Result<(), Stopped> {
        let (Some(from), Some(to)) = (message.jid("from"), message.jid("to")) else { return Ok(()) };
        let (Some(ghost), user) = (ghost_user(&to), from.to_bare()) else { return Ok(()) };
        let memory = self.memory(conversation);
        let id = from_native::direct_message_id(message);
        let meaning = from_native::understand(message, &id, user.as_str(), &lock(&memory));
        let events = match meaning {
            Meaning::Nothing => return Ok(()),
            Meaning::CannotCarry(sentence) => {
                self.reply(way, stanza::error_reply(message, "modify", "not-acceptable", sentence));
                return Ok(());
            }
            Meaning::Events(events) => events,
        };
        for (id, event) in events {
            let link = way.links.borrow().clone();
            let offered = match way.files.look_at(link.as_ref(), event).await {
                Ok(event) => event,
                Err(reason) => {
                    let text = format!("Your message was not delivered: {reason}");
                    self.reply(way, stanza::error_reply(message, "cancel", "not-allowed", &text));
                    return Ok(());
                }
            };
            let inbound = Inbound {
                conversation: conversation.clone(),
                direct: Some(ghost.clone()),
                id,
                sender: NativeUserId::new(user.as_str()),
                proof: SenderProof::Verified,
                event: offered,
                thread: from_native::thread(message, false),
                cursor: None,
            };
            if let Some(reason) = offer(&way.inbox, inbound, &way.stop).await? {
                let text = format!("Your message was not delivered: {reason}");
                self.reply(way, stanza::error_reply(message, "cancel", "not-allowed", &text));
                return Ok(());
            }
        }
        let name = user.node().map_or(user.as_str(), |node| node.as_str()).to_owned();
        lock(&memory).remember(message, &id, &Voice { author: user.to_string(), jid: user.to_string(), name });
        mimi_adapter::failpoint!("xmpp.direct.accepted");
        if message.has_child("request", ns::RECEIPTS)
            && let Some(id) = message.attr("id")
        {
            let received = stanza::element("received", ns::RECEIPTS).attribute("id", id);
            self.reply(way, stanza::stanza("message", &to, &from).child(received));
        }
        Ok(())
    }

    fn reply(&self, way: &Way, stanza: Element) {
        match way.links.borrow().as_ref() {
            Some(link) => link.send(stanza),
            None => info!(to = ?stanza.attr("to"), "Nobody could be told about a message, for want of a connection."),
        }
    }

    // ---- Out ----

    pub async fn deliver(
        &self,
        link: &Link,
        delivery: &Delivery,
        user: &BareJid,
        ghost: &BareJid,
        files: &Files,
    ) -> Result<Delivered, Refusal> {
        let from = ghost.with_resource_str("mimi").expect("the resource is a constant");
        let key = &delivery.key;
        let memory = self.memory(&delivery.conversation);
        let sent = lock(&self.unresolved).remove(key).filter(|(number, _)| *number == link.number());
        let file = match &delivery.event {
            // What was sent names its file.
            Event::File { .. } if sent.is_some() => Some(String::new()),
            Event::File { file, .. } => Some(files.put(link, &from.clone().into(), file).await?),
            _ => None,
        };
        let (message, speaker) = match &delivery.event {
            Event::Join | Event::Leave => return Ok(Delivered::default()),
            Event::Notice { text, .. } => {
                let gateway = Jid::from(self.component.clone());
                (to_native::notice(&gateway, &user.clone().into(), "chat", key.as_str(), text), gateway)
            }
            _ => {
                let route = Route { from: &from, to: user, kind: "chat" };
                (to_native::message(delivery, &route, &lock(&memory), file.as_deref())?, Jid::from(from.clone()))
            }
        };
        let mut error = sent.map(|(_, error)| error).unwrap_or_else(|| {
            let error = link.expect("message", key.as_str(), &user.clone().into());
            link.send(message.clone());
            error
        });
        let server = Jid::from(BareJid::from_parts(None, user.domain()));
        let settled = link.settle(&speaker, &server).await;
        if let Ok(bounced) = error.try_recv() {
            return Err(Failure::Refused { from: user.clone().into(), error: StanzaError::of(&bounced) }.into());
        }
        if let Err(failure) = settled {
            // On this link the question alone will tell; the message is not sent twice.
            debug!(delivery = %key, %failure, "Not known whether it arrived.");
            lock(&self.unresolved).insert(key.clone(), (link.number(), error));
            return Err(failure.into());
        }
        mimi_adapter::failpoint!("xmpp.direct.delivered");
        let id = NativeMessageId::new(key.as_str());
        lock(&memory).remember(&message, &id, &to_native::ghost_voice(ghost, ghost.as_str(), &name(delivery)));
        Ok(to_native::delivered(delivery, None))
    }

    /// A ghost has read up to a message. That it has one is said when the core has.
    pub fn receipt(&self, link: &Link, receipt: &Receipt<Ghost>, user: &BareJid, ghost: &BareJid) {
        if receipt.kind == ReceiptKind::Read {
            let from = ghost.with_resource_str("mimi").expect("the resource is a constant");
            link.send(to_native::displayed(&from, user, &receipt.up_to));
        }
    }

    /// The connection is lost, and with it the order that would have told what arrived.
    pub fn reset(&self) {
        lock(&self.unresolved).clear();
    }

    fn memory(&self, conversation: &ConversationId) -> Arc<Mutex<Memory>> {
        let mut memories = lock(&self.memories);
        if let Some(memory) = memories.get(conversation) {
            return memory.clone();
        }
        let memory = Arc::new(Mutex::new(Memory::new(MEMORY)));
        memories.insert(conversation.clone(), memory.clone());
        memory
    }
}

fn name(delivery: &Delivery) -> String {
    match &delivery.speaker {
        Speaker::Ghost(ghost) => ghost.name.clone(),
        Speaker::Gateway => String::new(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
