//! The plug: what the core asks of an adapter, and what an adapter may ask of the core.

use std::{
    collections::BTreeSet,
    error::Error,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    Capabilities, ConversationId, Cursor, DeliveryKey, Event, InThread, NativeMessageId, NativeUserId, Octets, Receipt,
    Session, Thread, UserUri,
};

pub type BoxError = Box<dyn Error + Send + Sync>;

/// A messenger, seen from the core.
///
/// One adapter value serves one configured `[adapters.<name>]` table for the life of the process. All
/// methods may be called at the same time from several tasks, except that deliveries of one conversation
/// come one after the other, in order.
#[async_trait]
pub trait Adapter: Send + Sync {
    /// Listens to the network until `stop` is cancelled, and hands what happens to `inbox`.
    ///
    /// Called once. Acknowledge an event to the network (answer the HTTP request, move the read marker)
    /// only after [`Inbox::accept`] has said yes to it: until then it exists nowhere else. Reconnect for as
    /// long as it takes; return an error only for what an admin must mend, since it stops the gateway.
    async fn run(&self, inbox: Inbox, stop: CancellationToken) -> Result<(), BoxError>;

    /// Carries one event into the network, speaking as `delivery.speaker`.
    ///
    /// Called again with the same [`DeliveryKey`] when an earlier attempt was cut short: the people in the
    /// conversation should then see it once. Returns when the network has confirmed it. May wait for
    /// the network, for half a minute at most; with a file for its [`patience`](crate::File::patience). What is said
    /// when [`Octets::open`](crate::Octets::open) or the stream fails is the core's own, to be answered as it is.
    async fn deliver(&self, delivery: &Delivery) -> Result<Delivered, Refusal>;

    /// Shows how far a ghost has got, where [`Capabilities::receipts`] says so. Nobody waits for it: it is tried once,
    /// and a later one stands for all before it.
    async fn receipt(&self, _receipt: &Receipt<Ghost>) -> Result<(), Refusal> {
        Ok(())
    }

    /// Could `user` be somebody of this network? Decided by the look of the address alone: the core asks it
    /// to find the adapter for an invited user, and lets nothing of the answer out.
    fn serves(&self, user: &NativeUserId) -> bool;

    /// What people in this conversation can be shown. The core lowers the rest before it calls `deliver`.
    fn capabilities(&self, _conversation: &ConversationId) -> Capabilities {
        Capabilities::PLAIN_TEXT
    }

    /// Opens (or finds again) the one-to-one conversation between `user` and `ghost`. Called again with the
    /// same arguments after a crash, and has to answer with the same conversation.
    async fn open_direct(&self, _user: &NativeUserId, _ghost: &Ghost) -> Result<ConversationId, Refusal> {
        Err(Refusal::reject("this network has no one-to-one conversations"))
    }

    /// Is the network there at this moment, and do we hear it? Keep a [`Pulse`](crate::Pulse) and answer with
    /// [`Pulse::watch`](crate::Pulse::watch): `status`, `/ready` and `/metrics` look at it, and a change is logged.
    ///
    /// The default says [`Session::Up`] for ever. That is only true where nothing can come between the network and the
    /// adapter, as in one process; anywhere else the conformance suite finds out.
    fn session(&self) -> watch::Receiver<Session> {
        watch::Sender::new(Session::Up).subscribe()
    }

    /// `doctor` asks: can you reach your network and sign in? Each problem with its next step.
    async fn probe(&self) -> Vec<Problem> {
        Vec::new()
    }
}

/// From the native network, on its way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound<Asset = Octets> {
    pub conversation: ConversationId,
    /// `Some` if the conversation is one-to-one with this ghost: the first message of such a conversation
    /// starts a direct room. `None` for everything with room for more people; those are linked by an admin.
    pub direct: Option<UserUri>,
    /// A second event with this id in this conversation is a duplicate and is accepted as such. For a
    /// `Join` or `Leave`, which have no id in most networks, any string; it is not remembered.
    pub id: NativeMessageId,
    pub sender: NativeUserId,
    pub proof: SenderProof,
    pub event: Event<NativeMessageId, Asset>,
    /// The thread in which a message or file is said; nothing else is in one.
    pub thread: Option<Thread>,
    /// Where to resume reading after this event; the core keeps the latest (see [`Inbox::cursor`]).
    pub cursor: Option<Cursor>,
}

/// Who says that the sender is the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenderProof {
    /// The network authenticated the account.
    Verified,
    /// Only the event itself says so, like a nickname in an anonymous room. Can write; can't edit or delete.
    Claimed,
}

/// To the native network, on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub key: DeliveryKey,
    pub conversation: ConversationId,
    pub speaker: Speaker,
    /// When the room's hub accepted it.
    pub accepted: SystemTime,
    /// References are resolved and features lowered to [`Adapter::capabilities`].
    pub event: Event<NativeMessageId>,
    /// The thread in which a message or file is said, where the conversation has threads.
    pub thread: Option<InThread>,
}

/// Who speaks in a [`Delivery`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speaker {
    Ghost(Ghost),
    /// The gateway itself: for [`Event::Notice`], and for a name or topic that somebody of this network has set. Those
    /// come back so that conversations that were changed on both sides at once end with the same.
    Gateway,
}

/// The native account that stands for a MIMI user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ghost {
    pub user: UserUri,
    /// What people should read as the name. It names the provider, so that a ghost can't pass for a local
    /// person: `alice (a.example)`.
    pub name: String,
}

impl Ghost {
    pub fn new(user: UserUri) -> Self {
        let name = format!("{} ({})", user.short_name(), user.domain());
        Self { user, name }
    }
}

/// The network has it. A text may have become several native messages; the first is the one that edits
/// and replies will point at. Empty for what leaves no message (a join).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    pub ids: Vec<NativeMessageId>,
}

/// The ways of not saying yes, in both directions. Each answers: whose turn is it now?
#[derive(Debug)]
pub enum Refusal {
    /// Nothing is wrong with the event: later, and not before `after` if that is given. SMTP 451, HTTP 503,
    /// XMPP `wait`. The conversation's queue waits with it.
    Retry { after: Option<Duration>, source: BoxError },
    /// It will never be taken, and trying again won't help. `reason` is a sentence for the person who sent
    /// it. SMTP 550, HTTP 403, XMPP `cancel`.
    Reject { reason: String },
}

impl Refusal {
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject { reason: reason.into() }
    }

    pub fn retry(source: impl Into<BoxError>) -> Self {
        Self::Retry { after: None, source: source.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry { source, .. } => write!(f, "not now: {source}"),
            Self::Reject { reason } => write!(f, "never: {reason}"),
        }
    }
}

impl Error for Refusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Retry { source, .. } => Some(source.as_ref()),
            Self::Reject { .. } => None,
        }
    }
}

/// Both mean: it is safe, acknowledge it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    New,
    Duplicate,
}

/// Something `doctor` found, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub what: String,
    pub next_step: String,
}

/// The conversations an admin has linked to MIMI rooms, and the one-to-one conversations that exist.
pub type Links = Arc<BTreeSet<ConversationId>>;

/// The core, seen from an adapter: where accepted events go.
#[derive(Clone)]
pub struct Inbox(Arc<dyn Core>);

/// What stands behind an [`Inbox`]. The gateway implements it, and so does the conformance suite.
#[async_trait]
pub trait Core: Send + Sync {
    async fn accept(&self, inbound: Inbound) -> Result<Accepted, Refusal>;
    fn links(&self) -> watch::Receiver<Links>;
    async fn ghosts(&self, conversation: &ConversationId) -> Result<Vec<Ghost>, Refusal>;
    async fn cursor(&self, conversation: &ConversationId) -> Result<Option<Cursor>, Refusal>;
    fn receipt(&self, receipt: Receipt<NativeUserId>);
    async fn members(&self, conversation: &ConversationId) -> Result<Vec<NativeUserId>, Refusal>;
    async fn not_delivered(
        &self,
        conversation: &ConversationId,
        message: &NativeMessageId,
        reason: &str,
    ) -> Result<(), Refusal>;
}

impl Inbox {
    pub fn new(core: Arc<dyn Core>) -> Self {
        Self(core)
    }

    /// Takes responsibility for the event. When it answers yes, the event is on disk and will reach the
    /// room, or its sender will be told why not. `Retry`: keep it and offer it again. `Reject`: tell the
    /// sender the reason.
    ///
    /// The octets of a file are read meanwhile, so it takes as long as they do.
    ///
    /// An event of a conversation that is not linked is rejected; look at [`links`](Self::links) first and
    /// don't offer those.
    pub async fn accept(&self, inbound: Inbound) -> Result<Accepted, Refusal> {
        self.0.accept(inbound).await
    }

    /// The conversations to listen to, now and whenever that changes. For each new one, report everybody
    /// who is in it with [`Event::Join`]. (A first event with `direct` set may come from a conversation that
    /// is not in here.)
    pub fn links(&self) -> watch::Receiver<Links> {
        self.0.links()
    }

    /// Who is in the room from elsewhere: the ghosts that should be present in the conversation. Each change
    /// also comes as a delivery of `Join` or `Leave`; this is for (re)connecting.
    pub async fn ghosts(&self, conversation: &ConversationId) -> Result<Vec<Ghost>, Refusal> {
        self.0.ghosts(conversation).await
    }

    /// Somebody has got so far. Answers at once, and remembers the latest of each person.
    pub fn receipt(&self, receipt: Receipt<NativeUserId>) {
        self.0.receipt(receipt);
    }

    /// The cursor of the last accepted event of this conversation that had one.
    pub async fn cursor(&self, conversation: &ConversationId) -> Result<Option<Cursor>, Refusal> {
        self.0.cursor(conversation).await
    }

    /// Who of the adapter's people is in the room: whom to show what is delivered, where the network has no list of its
    /// own. A [`Join`](Event::Join) that has just been accepted may not be in it yet.
    pub async fn members(&self, conversation: &ConversationId) -> Result<Vec<NativeUserId>, Refusal> {
        self.0.members(conversation).await
    }

    /// The network reports, after it had confirmed it, that somebody has not got what was delivered under this id. Its
    /// author is told, each time this is called. `reason` is a sentence as in [`Refusal::Reject`].
    pub async fn not_delivered(
        &self,
        conversation: &ConversationId,
        message: &NativeMessageId,
        reason: &str,
    ) -> Result<(), Refusal> {
        self.0.not_delivered(conversation, message, reason).await
    }
}
