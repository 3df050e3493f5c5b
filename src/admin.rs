//! The admin's door into the running gateway: what can be asked of it, served as HTTP over a unix socket.
//!
//! [`Operator`] is both ends of the wire: the gateway implements it on its core, [`Client`] on a socket, and
//! the command line speaks to the trait, so nothing is said twice. Whoever can open the socket is an admin;
//! it is made for its owner alone (mode 0600) and there is no password to leak. What machines ask (`/health`,
//! `/ready`, `/metrics`) is served on a TCP address too, if one is configured; acts are not, ever.
//!
//! Why HTTP for a local socket? It is there already, `curl --unix-socket` is a debugger that every admin has,
//! and health checks speak it.

mod client;
mod metrics;
mod server;
#[cfg(test)]
pub(crate) mod stub;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use mimi_adapter::{ConversationId, Domain, Session, UserUri};
use serde::{Deserialize, Serialize};

pub use self::{
    client::Client,
    server::{bind, public_router, router, serve},
};
use crate::{janitor::NAMED_DAYS, mimi::uri::RoomUri};

/// What an admin can ask of a gateway.
#[async_trait]
pub trait Operator: Send + Sync {
    async fn status(&self) -> Result<Status, OperatorError>;

    /// Why the gateway can't do its work right now: the database is read-only, an adapter has lost its
    /// network. Empty means ready.
    async fn not_ready(&self) -> Vec<String>;

    async fn rooms(&self) -> Result<Vec<RoomSummary>, OperatorError>;
    async fn room(&self, room: &RoomUri) -> Result<RoomDetail, OperatorError>;

    /// Makes a room of ours for a conversation that has none yet.
    async fn create_room(&self, new: CreateRoom) -> Result<RoomUri, OperatorError>;

    /// Makes (or finds) the room in which two people talk alone.
    async fn direct(&self, new: CreateDirect) -> Result<RoomUri, OperatorError>;

    async fn invite(&self, room: &RoomUri, user: &UserUri) -> Result<(), OperatorError>;

    /// Joins a room to a conversation that has none yet.
    async fn link(&self, room: &RoomUri, link: Link) -> Result<(), OperatorError>;

    /// Lets a user of ours join another provider's room by a link.
    async fn join(&self, new: Join) -> Result<(), OperatorError>;

    /// Makes a joining code for a room of ours, and answers the link.
    async fn make_code(&self, room: &RoomUri, new: NewCode) -> Result<String, OperatorError>;

    /// The joining codes of a room that are still good. A code itself can't be said again.
    async fn codes(&self, room: &RoomUri) -> Result<Vec<CodeSummary>, OperatorError>;

    async fn withdraw_code(&self, room: &RoomUri, id: &str) -> Result<(), OperatorError>;

    /// Takes the link away; our users leave the room a week later. Asks back where that hits many: see
    /// [`ask_before_unlink`].
    async fn unlink(&self, room: &RoomUri, how: Unlink) -> Result<(), OperatorError>;

    /// Takes an unlink back.
    async fn relink(&self, room: &RoomUri) -> Result<(), OperatorError>;

    /// What waits and what could not be delivered, of one room or of all.
    async fn outbox(&self, room: Option<&RoomUri>) -> Result<Outbox, OperatorError>;

    /// One delivery, waiting or dead; what it says only if `content` asks for it.
    async fn delivery(&self, id: i64, content: bool) -> Result<Delivery, OperatorError>;

    /// Where a message has been, by its MIMI message ID or by what a network calls it. Several conversations may call
    /// something so. Not found if none does.
    async fn trace(&self, id: &str) -> Result<Vec<Traced>, OperatorError>;

    /// Puts dead letters back into their queues, and answers how many.
    async fn retry(&self, which: Letters) -> Result<u64, OperatorError>;

    /// Shows or sends a dead message in another room.
    async fn redirect(&self, id: i64, room: &RoomUri) -> Result<(), OperatorError>;

    /// Throws a dead letter away.
    async fn drop_letter(&self, id: i64) -> Result<(), OperatorError>;

    /// What the breaker holds back.
    async fn trips(&self) -> Result<Vec<TripStatus>, OperatorError>;

    /// Carries out what a trip holds, or forgets it. Answers how much that was.
    async fn decide_trip(&self, id: i64, allow: bool) -> Result<u64, OperatorError>;

    /// What others have reported to us about people in rooms of ours.
    async fn abuse_reports(&self) -> Result<Vec<AbuseSummary>, OperatorError>;

    /// One report; what its messages say only if `content` asks for it.
    async fn abuse_report(&self, id: i64, content: bool) -> Result<AbuseDetail, OperatorError>;

    /// Throws a report away.
    async fn drop_abuse_report(&self, id: i64) -> Result<(), OperatorError>;

    /// The messages of a room that are kept and can be reported.
    async fn kept_messages(&self, room: &RoomUri) -> Result<Vec<KeptMessage>, OperatorError>;

    /// Reports somebody to the hub of a room.
    async fn report_abuse(&self, new: ReportAbuse) -> Result<(), OperatorError>;

    /// Asks a provider for people by their names there.
    async fn find(&self, find: Find) -> Result<Vec<UserUri>, OperatorError>;

    async fn consents(&self) -> Result<Vec<ConsentRequest>, OperatorError>;
    async fn grant(&self, scope: ConsentScope) -> Result<(), OperatorError>;
    async fn revoke(&self, scope: ConsentScope) -> Result<(), OperatorError>;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub domain: Domain,
    pub adapters: Vec<AdapterStatus>,
    pub outbox: OutboxStatus,
    pub breaker: BreakerStatus,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterStatus {
    pub name: String,
    pub kind: String,
    pub state: AdapterState,
    /// Since when it is deaf or down, in seconds since 1970, and why.
    pub since: Option<u64>,
    pub reason: Option<String>,
}

/// How it stands between an adapter and its network: [`mimi_adapter::Session`], as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdapterState {
    Starting,
    Up,
    Deaf,
    Down,
}

impl AdapterState {
    pub const ALL: [Self; 4] = [Self::Starting, Self::Up, Self::Deaf, Self::Down];

    pub fn of(session: &Session) -> Self {
        match session {
            Session::Starting => Self::Starting,
            Session::Up => Self::Up,
            Session::Deaf { .. } => Self::Deaf,
            Session::Down { .. } => Self::Down,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Deaf => "deaf",
            Self::Down => "down",
        }
    }
}

impl AdapterStatus {
    pub fn of(name: &str, kind: &str, session: &Session) -> Self {
        let seconds = |since: SystemTime| since.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (since, reason) = session.trouble().map(|(since, why)| (seconds(since), why.to_owned())).unzip();
        Self { name: name.to_owned(), kind: kind.to_owned(), state: AdapterState::of(session), since, reason }
    }
}

/// What has been accepted and not yet delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxStatus {
    pub queued: u64,
    /// How long the oldest has waited.
    pub oldest_age_s: Option<u64>,
    /// Destinations that take nothing at the moment.
    pub failing: u64,
    /// What could not be delivered, by cause.
    pub dead: Vec<DeadStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadStatus {
    /// `refused`, `expired`, `broken`, `unlinked`.
    pub cause: String,
    pub count: u64,
    /// How long ago the first of them was given up.
    pub oldest_age_s: u64,
}

/// What the breaker has stopped, until an admin decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerStatus {
    pub trips: u64,
    pub held: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbox {
    pub queues: Vec<QueueStatus>,
    /// Dead letters, in the order in which they were accepted.
    pub dead: Vec<Delivery>,
}

/// One destination's queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStatus {
    pub destination: String,
    /// The number of the delivery at its head.
    pub head: i64,
    pub waiting: u64,
    pub oldest_age_s: u64,
    /// Since the destination last took something: attempts, and how long it has not.
    pub attempts: u64,
    pub failing_s: u64,
    pub problem: Option<String>,
    pub next_try_s: Option<u64>,
}

/// One thing on its way, or one that will not arrive (`died`). Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    pub id: i64,
    pub destination: String,
    pub kind: String,
    /// Whom it is by, or about.
    pub from: Option<UserUri>,
    pub accepted: u64,
    pub died: Option<u64>,
    pub attempts: u64,
    pub cause: Option<String>,
    pub reason: Option<String>,
    /// It has not been delivered, for sure.
    pub certain: bool,
    pub content: Option<String>,
}

/// A message, and the places where it has been. Without content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traced {
    /// Its MIMI message ID, in hexadecimal.
    pub message: String,
    pub author: UserUri,
    pub room: RoomUri,
    /// In the order in which it goes.
    pub hops: Vec<Hop>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// An adapter with its conversation, `hub` or `provider` with its domain.
    pub place: String,
    /// `written`, `accepted`, `taken`, `delivered`, `waiting`, `dead letter`, `nothing waits`.
    pub state: String,
    /// Since when, in milliseconds since 1970; without if it was before such times were kept.
    pub at: Option<u64>,
    /// So far.
    pub attempts: Option<u64>,
    /// Why it waits, or is dead; or what people were not shown of it.
    pub problem: Option<String>,
    /// What it is called there.
    pub native: Vec<String>,
    /// The number of a dead letter.
    pub letter: Option<i64>,
}

impl Hop {
    pub fn new(place: String, state: &str, at: Option<u64>) -> Self {
        let (state, native) = (state.to_owned(), Vec::new());
        Self { place, state, at, attempts: None, problem: None, native, letter: None }
    }
}

/// One dead letter, those of a room, or all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letters {
    pub id: Option<i64>,
    pub room: Option<RoomUri>,
}

/// Something that would hit too many at once, and waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TripStatus {
    pub id: i64,
    /// `leaves`, `removals`, `deletions`.
    pub what: String,
    /// The room, the adapter, or the person in a room.
    pub scope: String,
    /// Seconds since 1970.
    pub since: u64,
    pub held: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlink {
    /// Yes, though it hits many.
    #[serde(default)]
    pub yes: bool,
    /// At once and for good.
    #[serde(default)]
    pub now: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomSummary {
    pub room: RoomUri,
    pub hub: Domain,
    pub adapter: Option<String>,
    /// How the adapter's session is, if there is such an adapter.
    pub session: Option<AdapterState>,
    pub conversation: Option<ConversationId>,
    /// A word, as the core has it: `active`, `joining`, `left`.
    pub state: String,
    pub participants: u64,
    pub epoch: u64,
    /// How many deliveries of this room wait, in either direction.
    pub queued: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomDetail {
    pub summary: RoomSummary,
    pub name: Option<String>,
    pub participants: Vec<Participant>,
    pub invites: Vec<Invite>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participant {
    pub user: UserUri,
    pub role: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    pub user: UserUri,
    /// What it waits for, or why it failed.
    pub state: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateRoom {
    pub adapter: String,
    pub conversation: ConversationId,
    pub name: Option<String>,
    /// The URI, if it should not be a random one.
    pub room: Option<RoomUri>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateDirect {
    /// One of ours.
    pub user: UserUri,
    pub with: UserUri,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// A room's URI, `#` and a code.
    pub link: String,
    /// The user of ours who uses it.
    pub user: UserUri,
    pub to: Link,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewCode {
    /// How many people may come by it.
    pub uses: u32,
    pub days: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeSummary {
    pub id: String,
    /// How many more people may come by it.
    pub uses: u32,
    /// In seconds since 1970.
    pub expires: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub adapter: String,
    pub conversation: ConversationId,
}

/// A report that has come to us as the hub of a room. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbuseSummary {
    pub id: i64,
    pub room: RoomUri,
    /// Who has sent it, and for whom, if that is said.
    pub provider: String,
    pub reporter: Option<String>,
    /// Who is reported.
    pub user: String,
    /// Messages in it that we have franked, which proves them.
    pub messages: u64,
    pub since: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbuseDetail {
    pub summary: AbuseSummary,
    pub note: String,
    pub messages: Vec<ReportedMessage>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedMessage {
    pub accepted: u64,
    pub content: Option<String>,
}

/// A message that can be reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptMessage {
    /// Its MIMI message ID, in hexadecimal.
    pub message: String,
    pub sender: UserUri,
    pub accepted: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportAbuse {
    pub room: RoomUri,
    /// Who is reported.
    pub user: UserUri,
    /// Their messages, by ID.
    pub messages: Vec<String>,
    pub note: String,
    /// One of ours, if the hub may know who it is.
    pub reporter: Option<UserUri>,
}

/// Whom to look for: somebody of whom all of it is true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Find {
    pub provider: Domain,
    pub handle: Option<String>,
    pub nick: Option<String>,
    pub email: Option<String>,
}

/// `requester` wants to reach `target`: in one room, or (without `room`) in any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentScope {
    pub requester: UserUri,
    pub target: UserUri,
    pub room: Option<RoomUri>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentRequest {
    #[serde(flatten)]
    pub scope: ConsentScope,
    /// `requested`, `granted`, `revoked`, `cancelled`.
    pub state: String,
    /// Seconds since 1970.
    pub since: u64,
}

/// Whose fault it is, what happened, and what the admin can do now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct OperatorError {
    pub kind: ErrorKind,
    pub message: String,
    /// Empty if there is none.
    pub next_step: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// There is no such room, user or request.
    NotFound,
    /// It doesn't fit what is there already, or needs a "yes" first.
    Conflict,
    /// The request makes no sense; trying again won't help.
    Invalid,
    /// Not now; trying again may help.
    Unavailable,
}

impl OperatorError {
    pub fn new(kind: ErrorKind, message: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self { kind, message: message.into(), next_step: next_step.into() }
    }
}

impl fmt::Display for OperatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.next_step.is_empty() { Ok(()) } else { write!(f, " ({})", self.next_step) }
    }
}

/// Nothing is called so. What that means depends on who asks.
pub fn never_came(id: &str) -> OperatorError {
    OperatorError::new(
        ErrorKind::NotFound,
        format!("no message is called {id} here: it never came, or more than {NAMED_DAYS} days ago"),
        "if somebody says it was sent, ask their side first; here the log says what was not accepted, and why",
    )
}

/// Above this many participants, unlinking asks first.
pub const UNLINK_ASKS_ABOVE: u64 = 10;

/// The rule of [`Operator::unlink`]: taking a room away from many people by a typing error is what no backup
/// mends.
pub fn ask_before_unlink(room: &RoomUri, participants: u64, how: Unlink) -> Result<(), OperatorError> {
    if how.yes || participants <= UNLINK_ASKS_ABOVE {
        return Ok(());
    }
    Err(OperatorError::new(
        ErrorKind::Conflict,
        match how.now {
            true => format!("{room} has {participants} participants, and all of ours would leave it now and for good"),
            false => format!("{room} has {participants} participants, and all of ours would leave it in a week"),
        },
        "say it again with --yes if that is meant",
    ))
}
