//! The outbox: what has been accepted and not yet delivered. Take, send, settle.
//!
//! Invariant: a destination's rows leave in the order they came. Replies and reactions rely on it: by the
//! time one is taken, the message it points at has a native id.
//!
//! What was prepared for sending (a ciphertext, a commit, a batch of fan-out) stays on its row, so a second
//! attempt sends the very same octets, and whoever has them already can tell. Where the hub is ourselves,
//! take, send and settle are one transaction: there is no network to wait for.
//!
//! A turn goes on while all goes well: what is next is taken in the transaction that settles what was, and a hub's
//! queue encrypts up to 64 messages at a time. They are sent one after the other all the same, each when the one
//! before is in the room's order. So whatever becomes of one of them, those behind it have not left the process, and
//! after a crash the hub answers for those it has (D43).
//!
//! Why not a channel? A channel forgets on restart, and its length is nobody's business until it blocks.

pub(crate) mod commits;
mod dispatcher;
mod follower;
pub(crate) mod hub;
mod peer;
mod portal;
pub(crate) mod rejoin;

use std::{fmt, sync::Arc, time::Duration};

use mimi_adapter::{Domain, NativeUserId};
use serde::{Deserialize, Serialize};

pub use dispatcher::Dispatcher;

use crate::{
    core::{Core, Fault},
    description::Matter,
    mimi::uri::{RoomUri, UserUri},
    store::Tx,
};

/// Where something goes. Each destination is a queue of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// The native conversation of a room.
    Portal(RoomUri),
    /// The hub of a room, be it another provider or ourselves.
    Hub(RoomUri),
    /// A provider with participants in a room we are the hub of.
    Follower(RoomUri, Domain),
    /// Somebody's provider, for a KeyPackage to invite them with.
    Invite(RoomUri, UserUri),
    /// A provider, about consent.
    Peer(Domain),
    /// The hub of a room, for the way back into it of somebody of ours.
    Rejoin(RoomUri, UserUri),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Portal(room) => write!(f, "portal {room}"),
            Self::Hub(room) => write!(f, "hub {room}"),
            Self::Follower(room, provider) => write!(f, "follower {room} {provider}"),
            Self::Invite(room, user) => write!(f, "invite {room} {user}"),
            Self::Peer(provider) => write!(f, "peer {provider}"),
            Self::Rejoin(room, user) => write!(f, "rejoin {room} {user}"),
        }
    }
}

impl Destination {
    pub fn room(&self) -> Option<&RoomUri> {
        match self {
            Self::Portal(room)
            | Self::Hub(room)
            | Self::Follower(room, _)
            | Self::Invite(room, _)
            | Self::Rejoin(room, _) => Some(room),
            Self::Peer(_) => None,
        }
    }

    /// Reads what `Display` wrote; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let kind = words.next()?;
        let first = words.next()?;
        let second = words.next();
        Some(match (kind, second) {
            ("portal", None) => Self::Portal(RoomUri::parse(first).ok()?),
            ("hub", None) => Self::Hub(RoomUri::parse(first).ok()?),
            ("follower", Some(provider)) => Self::Follower(RoomUri::parse(first).ok()?, Domain::parse(provider).ok()?),
            ("invite", Some(user)) => Self::Invite(RoomUri::parse(first).ok()?, UserUri::parse(user).ok()?),
            ("peer", None) => Self::Peer(Domain::parse(first).ok()?),
            ("rejoin", Some(user)) => Self::Rejoin(RoomUri::parse(first).ok()?, UserUri::parse(user).ok()?),
            _ => return None,
        })
    }
}

/// What waits in the outbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Payload {
    /// To the hub: MIMI content of one of our users.
    Submit { sender: UserUri, message: [u8; 32], content: Vec<u8> },
    /// To the hub: a commit that makes somebody a participant. Without a KeyPackage it is one of our users,
    /// whose KeyPackage is made when the commit is.
    Add { user: UserUri, role: u32, key_package: Option<Vec<u8>> },
    /// To the hub: a commit that takes one of our users out.
    Remove { user: UserUri },
    /// To the hub: a commit of what others have proposed.
    CommitPending,
    /// To the portal: a message from elsewhere.
    Content { sender: UserUri, message: [u8; 32], accepted: u64, content: Vec<u8> },
    /// To the portal: somebody from elsewhere came or went.
    Presence { user: UserUri, joined: bool },
    /// To the portal: words of the gateway, `about` a message, for one person or all.
    Notice { text: String, about: Option<[u8; 32]>, to: Option<NativeUserId> },
    /// To a follower: one encoded FanoutMessage.
    Fanout { message: Vec<u8> },
    /// To the provider of an invited user.
    Invite,
    /// To a peer: a ConsentEntry for its requestConsent.
    RequestConsent { entry: Vec<u8> },
    /// To a peer: a ConsentEntry for its updateConsent.
    UpdateConsent { entry: Vec<u8> },
    /// To the hub of a room in which a client has lost its place.
    Rejoin,
    /// To the hub of a room: an AbuseReport.
    ReportAbuse { room: RoomUri, report: Vec<u8> },
    /// To the hub of a room into which a user of ours wants to come, with the code of a link.
    Join { code: String },
    /// To the hub: how it stands with messages, by one of our users. Lost rather than late.
    Report { sender: UserUri, content: Vec<u8> },
    /// To the hub: a commit of what one of our users has named the room, or said it is about.
    Describe { user: UserUri, matter: Matter, text: String },
    /// To the hub: a commit by which one of our users takes somebody from elsewhere out.
    Oust { by: UserUri, user: UserUri, banned: bool },
    /// To the portal: somebody from elsewhere has changed that, or one of ours. What it is by then is read in the room.
    Described { by: Option<UserUri>, matter: Matter },
}

impl Payload {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Submit { .. } => "submit",
            Self::Add { .. } => "add",
            Self::Remove { .. } => "remove",
            Self::CommitPending => "commit",
            Self::Content { .. } => "content",
            Self::Presence { .. } => "presence",
            Self::Notice { .. } => "notice",
            Self::Fanout { .. } => "fanout",
            Self::Invite => "invite",
            Self::RequestConsent { .. } => "request consent",
            Self::UpdateConsent { .. } => "update consent",
            Self::Rejoin => "rejoin",
            Self::ReportAbuse { .. } => "report abuse",
            Self::Join { .. } => "join",
            Self::Report { .. } => "report",
            Self::Describe { matter, .. } => matter.kind(),
            Self::Oust { .. } => "oust",
            Self::Described { .. } => "described",
        }
    }

    pub fn decode(octets: &[u8]) -> Result<Self, Fault> {
        postcard::from_bytes(octets).map_err(|e| Fault::broken(format!("an outbox row can't be read: {e}")))
    }

    pub fn encode(&self) -> Result<Vec<u8>, Fault> {
        postcard::to_stdvec(self).map_err(|e| Fault::broken(format!("an outbox row can't be written: {e}")))
    }
}

/// What became of one turn of a worker.
pub(super) enum Step {
    /// Something is settled; look at the queue again.
    Settled,
    /// Nothing is in the queue, or nothing that could go now: somebody will wake us.
    Idle,
    /// Not now. `unsure`: what was tried may have arrived.
    Later { problem: String, after: Option<Duration>, unsure: bool },
    /// The row at the head, or what we do with it, is at fault. It may not stop the queue for ever.
    Broken(String),
}

impl Step {
    pub fn later(problem: impl Into<String>) -> Self {
        Self::Later { problem: problem.into(), after: None, unsure: false }
    }
}

impl From<Fault> for Step {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Later { problem, after } => Self::Later { problem, after, unsure: false },
            Fault::Never(problem) | Fault::Broken(problem) => Self::Broken(problem),
            Fault::Astray(astray) => Self::later(astray.to_string()),
        }
    }
}

impl Core {
    /// Puts something into the outbox, and wakes its worker once it is on disk.
    pub async fn enqueue(&self, tx: &mut Tx, to: &Destination, payload: &Payload) -> Result<(), Fault> {
        tx.add_to_outbox(to.to_string(), payload.kind(), payload.encode()?, self.now());
        let (dispatcher, to) = (self.dispatcher.clone(), to.clone());
        tx.on_commit(move || {
            mimi_adapter::failpoint!("outbox.enqueued");
            dispatcher.wake(to);
        });
        Ok(())
    }

    /// What a destination waited for may have come: let it try again at once.
    pub fn nudge(&self, tx: &mut Tx, to: Destination) {
        let dispatcher = self.dispatcher.clone();
        tx.on_commit(move || dispatcher.nudge(to));
    }

    /// One turn of a destination's worker: take, send, settle, and so on while all goes well. `progress` says whether
    /// anything was settled before it did not.
    pub(super) async fn step(self: &Arc<Self>, to: &Destination, progress: &mut bool) -> Step {
        match self.serves(to).await {
            Ok(true) => {}
            Ok(false) => return self.pass_on_wake(to).await.map_or_else(Step::from, |()| Step::Idle),
            Err(fault) => return fault.into(),
        }
        let step = match to {
            Destination::Portal(room) => self.step_portal(room, progress).await,
            Destination::Hub(room) => self.step_hub(room, progress).await,
            Destination::Follower(room, provider) => self.step_follower(room, provider, progress).await,
            Destination::Invite(room, user) => self.step_invite(room, user).await,
            Destination::Peer(provider) => self.step_peer(provider).await,
            Destination::Rejoin(room, user) => self.step_rejoin(room, user).await,
        };
        mimi_adapter::failpoint!("outbox.stepped");
        step.unwrap_or_else(Step::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_read_as_it_was_written() {
        let room = RoomUri::parse("mimi://a.example/r/tea").unwrap();
        let bob = UserUri::parse("mimi://b.example/u/bob").unwrap();
        for (destination, text) in [
            (Destination::Portal(room.clone()), "portal mimi://a.example/r/tea"),
            (Destination::Hub(room.clone()), "hub mimi://a.example/r/tea"),
            (
                Destination::Follower(room.clone(), Domain::parse("b.example").unwrap()),
                "follower mimi://a.example/r/tea b.example",
            ),
            (Destination::Invite(room.clone(), bob.clone()), "invite mimi://a.example/r/tea mimi://b.example/u/bob"),
            (Destination::Rejoin(room, bob), "rejoin mimi://a.example/r/tea mimi://b.example/u/bob"),
            (Destination::Peer(Domain::parse("b.example").unwrap()), "peer b.example"),
        ] {
            assert_eq!(destination.to_string(), text);
            assert_eq!(Destination::parse(text), Some(destination));
        }
        for text in ["", "hub", "hub b.example", "portal mimi://a.example/r/tea b.example", "elsewhere b.example"] {
            assert_eq!(Destination::parse(text), None, "{text}");
        }
    }
}
