//! Names on both sides: people, conversations, messages, and how far we have read.
//!
//! | the core's name | here |
//! |---|---|
//! | `NativeUserId` | a bare JID; in an anonymous room the occupant JID `room@muc.b.example/nick` |
//! | `ConversationId` | a room's bare JID; `bob@b.example alice\40a.example@mimi.b.example` one-to-one |
//! | `NativeMessageId` | see [`MessageId`] |
//! | `Cursor` | see [`ReadUpTo`] |
//! | `UserUri` of a ghost | `mimi://a.example/u/alice` is `alice\40a.example@mimi.b.example` ([`ghost_jid`]) |
//!
//! JIDs are normalised by `jid` (nodeprep, nameprep, resourceprep) before they become names.

use std::fmt::Write;

use mimi_adapter::{ConversationId, Cursor, DeliveryKey, NativeMessageId, UserUri};
use xmpp_parsers::jid::{BareJid, DomainRef, Jid, NodePart};

/// The JID a MIMI user writes from. `None` if the address is too long for a JID (RFC 7622 §3.3).
///
/// The localpart is XEP-0106's escaping of `name@provider`, and escapes capital letters too: nodeprep
/// would fold them, and two MIMI users would share a ghost.
pub fn ghost_jid(user: &UserUri, component: &DomainRef) -> Option<BareJid> {
    let (provider, name) = user.as_str().strip_prefix("mimi://")?.split_once("/u/")?;
    let mut local = String::new();
    for c in name.chars().chain(['@']).chain(provider.chars()) {
        match c {
            'A'..='Z' | '@' | ' ' | '"' | '&' | '\'' | '/' | ':' | '<' | '>' | '\\' => {
                write!(local, "\\{:02x}", c as u32).expect("writing to a string never fails");
            }
            _ => local.push(c),
        }
    }
    let local = NodePart::new(&local).ok()?;
    Some(BareJid::from_parts(Some(&local), component))
}

/// The other way round. `None` for a JID that [`ghost_jid`] does not make.
pub fn ghost_user(jid: &Jid) -> Option<UserUri> {
    let mut rest = jid.node()?.as_str();
    let mut address = String::new();
    while let Some((before, after)) = rest.split_once('\\') {
        address.push_str(before);
        address.push(char::from(u8::from_str_radix(after.get(..2)?, 16).ok()?));
        rest = &after[2..];
    }
    address.push_str(rest);
    let (name, provider) = address.rsplit_once('@')?;
    let user = UserUri::parse(&format!("mimi://{provider}/u/{name}")).ok()?;
    let same = ghost_jid(&user, jid.domain()).is_some_and(|again| again.node() == jid.node());
    same.then_some(user)
}

/// What a conversation is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Room(BareJid),
    Direct { user: BareJid, ghost: BareJid },
}

impl Place {
    /// `None` for what neither an admin could have meant nor we have made.
    pub fn of(conversation: &ConversationId) -> Option<Self> {
        let place = match conversation.as_str().split_once(' ') {
            Some((user, ghost)) => Self::Direct { user: BareJid::new(user).ok()?, ghost: BareJid::new(ghost).ok()? },
            None => Self::Room(BareJid::new(conversation.as_str()).ok().filter(|room| room.node().is_some())?),
        };
        (place.conversation() == *conversation).then_some(place)
    }

    pub fn conversation(&self) -> ConversationId {
        match self {
            Self::Room(room) => ConversationId::new(room.as_str()),
            Self::Direct { user, ghost } => ConversationId::new(format!("{user} {ghost}")),
        }
    }
}

/// What a [`NativeMessageId`] of ours says.
///
/// XMPP names one message twice: replies, reactions and retractions in a room point at the id the room gave
/// it, corrections at the id its sender gave it (XEP-0461 §3.1, XEP-0444 §4.2, XEP-0424 §3, XEP-0308 §3).
/// What ghosts send is therefore remembered by the core under both, which survives our restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageId {
    /// A ghost's message in a room.
    Ghost { key: DeliveryKey, stanza_id: String },
    /// A ghost's reaction. To take it back is to send the ghost's other reactions, so nothing is pointed at.
    Reaction { key: DeliveryKey, target: NativeMessageId, emoji: String },
    /// A person's message whose id others may use as well, or the same person again; `unique` tells them apart.
    Sent { unique: String, id: String },
    /// Everything else: an id as the network has it.
    Native(String),
}

impl MessageId {
    pub fn of(id: &NativeMessageId) -> Self {
        let ours = |prefix| id.as_str().strip_prefix(prefix)?.split_once(':');
        if let Some((key, stanza_id)) = ours("ghost:") {
            Self::Ghost { key: DeliveryKey::new(key), stanza_id: stanza_id.into() }
        } else if let Some((key, rest)) = ours("reaction:")
            && let Some((target, emoji)) = rest.split_once('\n')
        {
            Self::Reaction { key: DeliveryKey::new(key), target: NativeMessageId::new(target), emoji: emoji.into() }
        } else if let Some((unique, id)) = id.as_str().strip_prefix("sent:").and_then(|id| id.split_once('\n')) {
            Self::Sent { unique: unique.into(), id: id.into() }
        } else {
            Self::Native(id.as_str().into())
        }
    }

    pub fn native(&self) -> NativeMessageId {
        NativeMessageId::new(match self {
            Self::Ghost { key, stanza_id } => format!("ghost:{key}:{stanza_id}"),
            Self::Reaction { key, target, emoji } => format!("reaction:{key}:{target}\n{emoji}"),
            Self::Sent { unique, id } => format!("sent:{unique}\n{id}"),
            Self::Native(id) => id.clone(),
        })
    }

    /// What a reply, a reaction or a retraction points at.
    pub fn stanza_id(&self) -> &str {
        match self {
            Self::Ghost { stanza_id, .. } => stanza_id,
            Self::Native(id) | Self::Sent { id, .. } => id,
            Self::Reaction { key, .. } => key.as_str(),
        }
    }

    /// What a correction points at.
    pub fn sender_id(&self) -> &str {
        match self {
            Self::Ghost { key, .. } | Self::Reaction { key, .. } => key.as_str(),
            Self::Native(id) | Self::Sent { id, .. } => id,
        }
    }
}

/// The last message of a room that has been dealt with, written `2026-02-28T23:59:59Z archive-id`. The time
/// is for rooms without an archive, and for archives that have forgotten the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadUpTo {
    pub stamp: String,
    pub archive_id: Option<String>,
}

impl ReadUpTo {
    pub fn of(cursor: &Cursor) -> Self {
        match cursor.as_str().split_once(' ') {
            Some((stamp, id)) => Self { stamp: stamp.into(), archive_id: Some(id.into()) },
            None => Self { stamp: cursor.as_str().into(), archive_id: None },
        }
    }

    pub fn cursor(&self) -> Cursor {
        match &self.archive_id {
            Some(id) => Cursor::new(format!("{} {id}", self.stamp)),
            None => Cursor::new(self.stamp.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn component() -> BareJid {
        BareJid::new("mimi.b.example").unwrap()
    }

    #[test]
    fn a_mimi_user_has_a_jid_and_back() {
        for (uri, jid) in [
            ("mimi://a.example/u/alice", r"alice\40a.example@mimi.b.example"),
            ("mimi://a.example/u/Alice", r"\41lice\40a.example@mimi.b.example"),
            ("mimi://A.example/u/alice", r"alice\40\41.example@mimi.b.example"),
            ("mimi://m.a.example/u/@alice:hs.example", r"\40alice\3ahs.example\40m.a.example@mimi.b.example"),
            ("mimi://a.example/u/o'hara&co", r"o\27hara\26co\40a.example@mimi.b.example"),
            ("mimi://a.example/u/%C3%9C", r"%\433%9\43\40a.example@mimi.b.example"),
        ] {
            let user = UserUri::parse(uri).unwrap();
            let ghost = ghost_jid(&user, component().domain()).unwrap();
            assert_eq!(ghost.as_str(), jid);
            assert_eq!(ghost_user(&Jid::new(jid).unwrap()), Some(user));
        }
    }

    #[test]
    fn a_jid_that_is_nobodys_is_nobodys() {
        for jid in [
            "mimi.b.example",
            "alice@mimi.b.example",
            r"alice\40a.example\2f@mimi.b.example",
            r"\61lice\40a.example@mimi.b.example",
            r"alice\40@mimi.b.example",
            r"\40a.example@mimi.b.example",
            r"alice\4@mimi.b.example",
            r"alice\@mimi.b.example",
            r"al\c3\bcce\40a.example@mimi.b.example",
        ] {
            assert_eq!(ghost_user(&Jid::new(jid).unwrap()), None, "{jid}");
        }
        let long = UserUri::parse(&format!("mimi://a.example/u/{}", "x".repeat(1020))).unwrap();
        assert_eq!(ghost_jid(&long, component().domain()), None);
    }

    #[test]
    fn a_conversation_is_a_room_or_two_people() {
        let bob = BareJid::new("bob@b.example").unwrap();
        let ghost = BareJid::new(r"alice\40a.example@mimi.b.example").unwrap();
        for (conversation, place) in [
            ("tea@muc.b.example", Some(Place::Room(BareJid::new("tea@muc.b.example").unwrap()))),
            (r"bob@b.example alice\40a.example@mimi.b.example", Some(Place::Direct { user: bob, ghost })),
            ("muc.b.example", None),
            ("Tea@muc.b.example", None),
            ("tea@muc.b.example/nick", None),
            ("", None),
            ("bob@b.example ", None),
        ] {
            assert_eq!(Place::of(&ConversationId::new(conversation)), place, "{conversation}");
        }
    }

    #[test]
    fn message_ids_keep_both_names_of_a_ghosts_message() {
        let ghost = MessageId::of(&NativeMessageId::new("ghost:key-1:archive:77"));
        assert_eq!((ghost.sender_id(), ghost.stanza_id()), ("key-1", "archive:77"));
        assert_eq!(ghost.native().as_str(), "ghost:key-1:archive:77");
        for id in ["77", "sent:tea@muc.b.example/A: B\n77"] {
            let native = MessageId::of(&NativeMessageId::new(id));
            assert_eq!((native.sender_id(), native.stanza_id()), ("77", "77"));
        }
    }

    proptest! {
        #[test]
        fn every_mimi_user_that_fits_comes_back(name in "[A-Za-z0-9._~!$&'()*+,;=:@%-]{1,80}", domain in "[a-cA-C]{1,5}\\.[a-z]{2,5}") {
            let user = UserUri::parse(&format!("mimi://{domain}/u/{name}")).unwrap();
            let ghost = ghost_jid(&user, component().domain()).unwrap();
            // What the server sends back has been through its own nodeprep.
            prop_assert_eq!(BareJid::new(&ghost.as_str().to_lowercase()).unwrap(), ghost.clone());
            prop_assert_eq!(ghost_user(&ghost.into()), Some(user));
        }

        #[test]
        fn any_string_is_a_name_or_is_not(text in any::<String>()) {
            if let Ok(jid) = Jid::new(&format!("{text}@mimi.b.example"))
                && let Some(user) = ghost_user(&jid)
            {
                prop_assert_eq!(ghost_jid(&user, jid.domain()), Some(jid.to_bare()));
            }
            if let Some(place) = Place::of(&ConversationId::new(text.clone())) {
                prop_assert_eq!(place.conversation(), ConversationId::new(text.clone()));
            }
            let id = NativeMessageId::new(text.clone());
            prop_assert_eq!(MessageId::of(&id).native(), id);
            let cursor = Cursor::new(text);
            prop_assert_eq!(ReadUpTo::of(&cursor).cursor(), cursor);
        }

        #[test]
        fn a_reaction_remembers_what_it_was(key in "[A-Za-z0-9_-]{1,64}", target in "[^\n]{1,30}", emoji in any::<String>()) {
            let reaction = MessageId::Reaction { key: DeliveryKey::new(key), target: NativeMessageId::new(target), emoji };
            prop_assert_eq!(MessageId::of(&reaction.native()), reaction);
        }
    }
}
