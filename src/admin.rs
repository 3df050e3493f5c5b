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
use crate::mimi::uri::RoomUri;

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

    /// Takes our users out of the room and forgets the link. Without `yes`, asks back where that hits many:
    /// see [`ask_before_unlink`].
    async fn unlink(&self, room: &RoomUri, yes: bool) -> Result<(), OperatorError>;

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
pub struct Link {
    pub adapter: String,
    pub conversation: ConversationId,
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

/// Above this many participants, unlinking asks first.
pub const UNLINK_ASKS_ABOVE: u64 = 10;

/// The rule of [`Operator::unlink`]: taking a room away from many people by a typing error is what no backup
/// mends.
pub fn ask_before_unlink(room: &RoomUri, participants: u64, yes: bool) -> Result<(), OperatorError> {
    if yes || participants <= UNLINK_ASKS_ABOVE {
        return Ok(());
    }
    Err(OperatorError::new(
        ErrorKind::Conflict,
        format!("{room} has {participants} participants, and all of ours would leave it"),
        "say it again with --yes if that is meant",
    ))
}
