//! What happens in a conversation, in MIMI's words.
//!
//! `Ref` is how an event points at an earlier message: a [`NativeMessageId`](crate::NativeMessageId) on
//! the adapter's side of the line, a MIMI message ID inside the core. An adapter never sees the latter. `Asset` is
//! the same for the octets of a [`File`].

use crate::{File, Octets, UserUri};

/// Something a person did. The person is the `sender` of the [`Inbound`](crate::Inbound) or the
/// `speaker` of the [`Delivery`](crate::Delivery) around it.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<Ref, Asset = Octets> {
    /// Wrote something, perhaps in answer to something.
    Message { text: Text, in_reply_to: Option<Ref> },
    /// Shared a file, perhaps with some words to it (never empty), perhaps in answer to something.
    File { file: File<Asset>, caption: Option<String>, in_reply_to: Option<Ref> },
    /// Replaced what they had written. Points at the first version (D39).
    Edit { replaces: Ref, text: Text },
    /// Took back what they had written.
    Delete { replaces: Ref },
    /// Reacted with one emoji; two reactions are two events (C§5.3).
    Reaction { in_reply_to: Ref, emoji: String },
    /// Took back a reaction, which is a message of its own and is what `replaces` points at.
    Unlike { replaces: Ref },
    /// Has given the conversation this name; an empty one takes it away. What it is called so already changes nothing.
    Name { name: String },
    /// Has said what the conversation is about, in a line or a few; with nothing, that it is about nothing special.
    Topic { topic: String },
    /// Is now in the conversation. Said of somebody who is there already, it changes nothing.
    Join,
    /// Is no longer in the conversation.
    Leave,
    /// Inbound only: has taken the ghost of `user` out of the conversation, and if they are `banned`, for good.
    Oust { user: UserUri, banned: bool },
    /// Inbound only: has asked the gateway itself for something, and this is not for the others: `who`, `invite …`.
    /// `manages`: the network lets them do that, since they may change the conversation itself, as its moderators may.
    Command { words: String, manages: bool },
    /// Outbound only: the gateway itself has something to tell the people here, such as why a message
    /// was not carried. `about` is that message, `to` the person it is meant for: show it to that person
    /// alone if the network can.
    Notice { text: String, about: Option<Ref>, to: Option<crate::NativeUserId> },
}

/// What a person wrote. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// Exactly these characters (`text/plain;charset=utf-8`).
    Plain(String),
    /// GitHub-flavoured Markdown without raw HTML (`text/markdown;variant=GFM-MIMI`, C§7.1.1).
    Markdown(String),
}

impl Text {
    /// The characters, markup and all: what to show where there is no formatting.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Markdown(text) => text,
        }
    }
}

impl<Ref, Asset> Event<Ref, Asset> {
    /// The earlier message it is about, if it is about one.
    pub fn refers_to(&self) -> Option<&Ref> {
        match self {
            Self::Message { in_reply_to, .. } | Self::File { in_reply_to, .. } => in_reply_to.as_ref(),
            Self::Edit { replaces, .. } | Self::Delete { replaces } | Self::Unlike { replaces } => Some(replaces),
            Self::Reaction { in_reply_to, .. } => Some(in_reply_to),
            Self::Notice { about, .. } => about.as_ref(),
            Self::Name { .. }
            | Self::Topic { .. }
            | Self::Join
            | Self::Leave
            | Self::Oust { .. }
            | Self::Command { .. } => None,
        }
    }

    /// The same with the octets of its file elsewhere, if it has one.
    pub fn with_file<Other>(self, elsewhere: impl FnOnce(File<Asset>) -> File<Other>) -> Event<Ref, Other> {
        match self {
            Self::Message { text, in_reply_to } => Event::Message { text, in_reply_to },
            Self::File { file, caption, in_reply_to } => Event::File { file: elsewhere(file), caption, in_reply_to },
            Self::Edit { replaces, text } => Event::Edit { replaces, text },
            Self::Delete { replaces } => Event::Delete { replaces },
            Self::Reaction { in_reply_to, emoji } => Event::Reaction { in_reply_to, emoji },
            Self::Unlike { replaces } => Event::Unlike { replaces },
            Self::Name { name } => Event::Name { name },
            Self::Topic { topic } => Event::Topic { topic },
            Self::Join => Event::Join,
            Self::Leave => Event::Leave,
            Self::Oust { user, banned } => Event::Oust { user, banned },
            Self::Command { words, manages } => Event::Command { words, manages },
            Self::Notice { text, about, to } => Event::Notice { text, about, to },
        }
    }

    /// A word for logs, without content.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Message { .. } => "message",
            Self::File { .. } => "file",
            Self::Edit { .. } => "edit",
            Self::Delete { .. } => "delete",
            Self::Reaction { .. } => "reaction",
            Self::Unlike { .. } => "unlike",
            Self::Name { .. } => "name",
            Self::Topic { .. } => "topic",
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Oust { .. } => "removal",
            Self::Command { .. } => "command",
            Self::Notice { .. } => "notice",
        }
    }
}
