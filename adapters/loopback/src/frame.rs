//! What is said on the line: one JSON object per line, one key, the verb.
//!
//! ```text
//! → {"say":{"id":"m1","conversation":"tea","from":"alice","text":"Is the tea ready?"}}
//! ← {"accepted":{"id":"m1","duplicate":false}}
//! ← {"deliver":{"key":"k1","conversation":"tea","from":{"user":"mimi://b.example/u/bob","name":"bob (b.example)"},
//!               "event":{"message":{"text":"Yes.","reply_to":"m1"}}}}
//! → {"delivered":{"key":"k1","id":"m2"}}
//! → {"share":{"id":"m3","conversation":"tea","from":"alice","file":{"at":"0001","name":"pot.jpg","media_type":"image/jpeg"}}}
//! ← {"ping":{}}
//! → {"pong":{}}
//! ```
//!
//! Nothing here does I/O, and everything an [`Inbound`] or [`Delivery`] says is in the frame.

use mimi_adapter::{
    Accepted, ConversationId, Delivery, DeliveryKey, Event, File, Ghost, Inbound, NativeMessageId, NativeUserId,
    Receipt, ReceiptKind, Refusal, SenderProof, Speaker, Text, Thread, UserUri,
};
use serde::{Deserialize, Serialize};

use crate::direct_conversation;

/// From the people to the adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientFrame {
    Say {
        #[serde(flatten)]
        act: Act,
        #[serde(flatten)]
        text: Written,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reply_to: Option<NativeMessageId>,
    },
    /// Shares a file that lies in the shared directory.
    Share {
        #[serde(flatten)]
        act: Act,
        file: Shared,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        caption: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reply_to: Option<NativeMessageId>,
    },
    Edit {
        #[serde(flatten)]
        act: Act,
        replaces: NativeMessageId,
        #[serde(flatten)]
        text: Written,
    },
    Delete {
        #[serde(flatten)]
        act: Act,
        replaces: NativeMessageId,
    },
    React {
        #[serde(flatten)]
        act: Act,
        reply_to: NativeMessageId,
        emoji: String,
    },
    Unlike {
        #[serde(flatten)]
        act: Act,
        replaces: NativeMessageId,
    },
    /// Gives the conversation a name.
    Name {
        #[serde(flatten)]
        act: Act,
        name: String,
    },
    /// Says what the conversation is about.
    Topic {
        #[serde(flatten)]
        act: Act,
        topic: String,
    },
    /// Takes somebody from elsewhere out of the conversation.
    Oust {
        #[serde(flatten)]
        act: Act,
        user: UserUri,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        banned: bool,
    },
    /// Asks the gateway itself for something.
    Ask {
        #[serde(flatten)]
        act: Act,
        words: String,
        /// May change the conversation itself.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        manages: bool,
    },
    /// Is here: said for each conversation again on each connection.
    Join(Act),
    Leave(Act),
    /// The network has shown it. `id` is what the new message is called here, absent if there is none.
    /// A key that comes again is confirmed again and shown only once. If several clients are connected,
    /// the first answer counts; those that must agree on the id use the key.
    Delivered {
        key: DeliveryKey,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<NativeMessageId>,
    },
    NotNow {
        key: DeliveryKey,
    },
    Never {
        key: DeliveryKey,
        reason: String,
    },
    /// Somebody has got, or read, everything up to a message. Nothing answers it.
    Receipt(Received<NativeUserId>),
    /// I am here. The answer to a ping; but whatever a client says is a sign of life.
    Pong {},
}

/// What every act of a person says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// Chosen by the client, and what the answer names: best unique for all its conversations.
    pub id: NativeMessageId,
    pub conversation: ConversationId,
    pub from: NativeUserId,
    /// The MIMI user with whom the conversation is one-to-one. It is then called `<from>+<direct>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<UserUri>,
    /// What the thread began with in which something is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<NativeMessageId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    pub text: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub markdown: bool,
}

/// A file in the shared directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// What it is called in the directory.
    pub at: String,
    /// What it is called by its owner.
    pub name: String,
    pub media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub attachment: bool,
}

/// From the adapter to the people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdapterFrame {
    /// The act is safe with the gateway: the client can forget it.
    Accepted { id: NativeMessageId, duplicate: bool },
    /// Not taken. With `retry` (the gateway is stopping) the client keeps it, and what it said after it,
    /// and says all that again on its next connection.
    Refused { id: NativeMessageId, reason: String, retry: bool },
    /// The line was no frame.
    Unreadable { reason: String },
    /// Are you there? Asked of who has said nothing for a while. Who does not answer is hung up on.
    Ping {},
    /// Show that somebody elsewhere has got so far. Needs no answer.
    Receipt(Received<Person>),
    /// Show this, and answer `delivered`, `not_now` or `never`.
    Deliver(Box<Deliver>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received<Who> {
    pub conversation: ConversationId,
    pub from: Who,
    pub up_to: NativeMessageId,
    /// And not only got.
    pub read: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliver {
    pub key: DeliveryKey,
    pub conversation: ConversationId,
    /// `None` is the gateway itself.
    pub from: Option<Person>,
    pub event: Shown,
    /// As in an act.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<NativeMessageId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    pub user: UserUri,
    pub name: String,
}

/// [`Event`], in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    Message {
        #[serde(flatten)]
        text: Written,
        reply_to: Option<NativeMessageId>,
    },
    File {
        file: Shared,
        caption: Option<String>,
        reply_to: Option<NativeMessageId>,
    },
    Edit {
        replaces: NativeMessageId,
        #[serde(flatten)]
        text: Written,
    },
    Delete {
        replaces: NativeMessageId,
    },
    Reaction {
        reply_to: NativeMessageId,
        emoji: String,
    },
    Unlike {
        replaces: NativeMessageId,
    },
    Name {
        name: String,
    },
    Topic {
        topic: String,
    },
    Join,
    Leave,
    Notice {
        text: String,
        about: Option<NativeMessageId>,
        to: Option<NativeUserId>,
    },
}

/// Could this be somebody here? Everything that looks like an address belongs to another network, and a
/// ghost (a URI) can't be spoken for.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || "@:/+".contains(c))
}

/// What a person did, as the core wants to hear it, or why it can't be.
pub fn to_inbound(act: Act, event: Event<NativeMessageId>) -> Result<Inbound, String> {
    let Act { id, conversation, from, direct, thread } = act;
    if !is_name(from.as_str()) {
        return Err(format!("{:?} is not a name here: use letters and digits", from.as_str()));
    }
    if let Some(direct) = &direct {
        let expected = direct_conversation(&from, direct);
        if conversation != expected {
            return Err(format!(
                "the conversation of {from} and {direct} is called {expected:?}",
                expected = expected.as_str()
            ));
        }
    }
    match &event {
        Event::Message { text, .. } | Event::Edit { text, .. } if text.as_str().is_empty() => {
            return Err("there is nothing to read in it".into());
        }
        Event::Reaction { emoji, .. } if emoji.is_empty() => return Err("a reaction is an emoji".into()),
        _ => {}
    }
    let (proof, thread) = (SenderProof::Verified, thread.map(Thread::Under));
    Ok(Inbound { conversation, direct, id, sender: from, proof, event, thread, cursor: None })
}

impl From<Received<NativeUserId>> for Receipt<NativeUserId> {
    fn from(Received { conversation, from, up_to, read }: Received<NativeUserId>) -> Self {
        let kind = if read { ReceiptKind::Read } else { ReceiptKind::Delivered };
        Self { conversation, by: from, kind, up_to }
    }
}

impl AdapterFrame {
    pub fn receipt(receipt: &Receipt<Ghost>) -> Self {
        let Receipt { conversation, by, kind, up_to } = receipt.clone();
        let from = Person { user: by.user, name: by.name };
        Self::Receipt(Received { conversation, from, up_to, read: kind == ReceiptKind::Read })
    }

    pub fn accepted(id: NativeMessageId, accepted: Accepted) -> Self {
        Self::Accepted { id, duplicate: accepted == Accepted::Duplicate }
    }

    pub fn deliver(delivery: &Delivery) -> Result<Self, Refusal> {
        let from = match &delivery.speaker {
            Speaker::Ghost(ghost) => Some(Person { user: ghost.user.clone(), name: ghost.name.clone() }),
            Speaker::Gateway => None,
        };
        let event = match delivery.event.clone() {
            Event::Message { text, in_reply_to } => Shown::Message { text: text.into(), reply_to: in_reply_to },
            // It has been put there before.
            Event::File { file, caption, in_reply_to } => {
                let File { name, media_type, size, attachment, .. } = file;
                let at = delivery.key.to_string();
                Shown::File { file: Shared { at, name, media_type, size, attachment }, caption, reply_to: in_reply_to }
            }
            Event::Edit { replaces, text } => Shown::Edit { replaces, text: text.into() },
            Event::Delete { replaces } => Shown::Delete { replaces },
            Event::Reaction { in_reply_to, emoji } => Shown::Reaction { reply_to: in_reply_to, emoji },
            Event::Unlike { replaces } => Shown::Unlike { replaces },
            Event::Name { name } => Shown::Name { name },
            Event::Topic { topic } => Shown::Topic { topic },
            Event::Join => Shown::Join,
            Event::Leave => Shown::Leave,
            Event::Notice { text, about, to } => Shown::Notice { text, about, to },
            // `Event` grows; what this network can't show yet, the sender is told.
            other => return Err(Refusal::reject(format!("this network can't show a {}", other.kind()))),
        };
        Ok(Self::Deliver(Box::new(Deliver {
            key: delivery.key.clone(),
            conversation: delivery.conversation.clone(),
            from,
            event,
            thread: delivery.thread.as_ref().and_then(|it| it.thread.root()).cloned(),
        })))
    }
}

impl From<Written> for Text {
    fn from(Written { text, markdown }: Written) -> Self {
        if markdown { Self::Markdown(text) } else { Self::Plain(text) }
    }
}

impl From<Text> for Written {
    fn from(text: Text) -> Self {
        match text {
            Text::Plain(text) => Self { text, markdown: false },
            Text::Markdown(text) => Self { text, markdown: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use mimi_adapter::Ghost;

    use super::*;

    fn act(direct: Option<UserUri>) -> Act {
        let conversation = ConversationId::new("tea");
        Act { id: NativeMessageId::new("m1"), conversation, from: NativeUserId::new("alice"), direct, thread: None }
    }

    fn bob() -> Ghost {
        Ghost::new(UserUri::parse("mimi://b.example/u/bob").unwrap())
    }

    #[test]
    fn what_people_type_is_a_frame() {
        let (m0, text) = (NativeMessageId::new("m0"), Written { text: "Tea?".into(), markdown: false });
        let key = DeliveryKey::new("k1");
        for (line, frame) in [
            (
                r#"{"say":{"id":"m1","conversation":"tea","from":"alice","text":"Tea?","reply_to":null,"direct":null}}"#,
                ClientFrame::Say { act: act(None), text: text.clone(), reply_to: None },
            ),
            (
                r#"{"say":{"id":"m1","conversation":"tea","from":"alice","text":"Tea?","reply_to":"m0","direct":"mimi://b.example/u/bob"}}"#,
                ClientFrame::Say { act: act(Some(bob().user)), text: text.clone(), reply_to: Some(m0.clone()) },
            ),
            (
                r#"{"say":{"id":"m1","conversation":"tea","from":"alice","text":"Tea?","thread":"m0"}}"#,
                ClientFrame::Say {
                    act: Act { thread: Some(m0.clone()), ..act(None) },
                    text: text.clone(),
                    reply_to: None,
                },
            ),
            (
                r#"{"edit":{"id":"m1","conversation":"tea","from":"alice","replaces":"m0","text":"Tea?"}}"#,
                ClientFrame::Edit { act: act(None), replaces: m0.clone(), text },
            ),
            (
                r#"{"delete":{"id":"m1","conversation":"tea","from":"alice","replaces":"m0"}}"#,
                ClientFrame::Delete { act: act(None), replaces: m0.clone() },
            ),
            (
                r#"{"react":{"id":"m1","conversation":"tea","from":"alice","reply_to":"m0","emoji":"👍"}}"#,
                ClientFrame::React { act: act(None), reply_to: m0.clone(), emoji: "👍".into() },
            ),
            (
                r#"{"unlike":{"id":"m1","conversation":"tea","from":"alice","replaces":"m0"}}"#,
                ClientFrame::Unlike { act: act(None), replaces: m0 },
            ),
            (r#"{"join":{"id":"m1","conversation":"tea","from":"alice"}}"#, ClientFrame::Join(act(None))),
            (
                r#"{"receipt":{"conversation":"tea","from":"alice","up_to":"m1","read":true}}"#,
                ClientFrame::Receipt(Received {
                    conversation: ConversationId::new("tea"),
                    from: NativeUserId::new("alice"),
                    up_to: NativeMessageId::new("m1"),
                    read: true,
                }),
            ),
            (r#"{"leave":{"id":"m1","conversation":"tea","from":"alice"}}"#, ClientFrame::Leave(act(None))),
            (
                r#"{"delivered":{"key":"k1","id":"m1"}}"#,
                ClientFrame::Delivered { key: key.clone(), id: Some(NativeMessageId::new("m1")) },
            ),
            (r#"{"delivered":{"key":"k1"}}"#, ClientFrame::Delivered { key: key.clone(), id: None }),
            (r#"{"not_now":{"key":"k1"}}"#, ClientFrame::NotNow { key: key.clone() }),
            (r#"{"never":{"key":"k1","reason":"Shh."}}"#, ClientFrame::Never { key, reason: "Shh.".into() }),
        ] {
            assert_eq!(serde_json::from_str::<ClientFrame>(line).unwrap(), frame, "{line}");
        }
    }

    #[test]
    fn what_people_are_shown_is_a_line() {
        let deliver = |speaker: Speaker, event| {
            let (key, conversation) = (DeliveryKey::new("k1"), ConversationId::new("tea"));
            let (accepted, thread) = (SystemTime::UNIX_EPOCH, None);
            let delivery = Delivery { key, conversation, speaker, accepted, event, thread };
            AdapterFrame::deliver(&delivery).unwrap()
        };
        let m0 = NativeMessageId::new("m0");
        for (frame, line) in [
            (
                AdapterFrame::accepted(NativeMessageId::new("m1"), Accepted::Duplicate),
                r#"{"accepted":{"id":"m1","duplicate":true}}"#,
            ),
            (
                AdapterFrame::Refused { id: NativeMessageId::new("m1"), reason: "Closed.".into(), retry: false },
                r#"{"refused":{"id":"m1","reason":"Closed.","retry":false}}"#,
            ),
            (
                deliver(
                    Speaker::Ghost(bob()),
                    Event::Message { text: Text::Markdown("*Yes.*".into()), in_reply_to: Some(m0.clone()) },
                ),
                r#"{"deliver":{"key":"k1","conversation":"tea","from":{"user":"mimi://b.example/u/bob","name":"bob (b.example)"},"event":{"message":{"text":"*Yes.*","markdown":true,"reply_to":"m0"}}}}"#,
            ),
            (
                deliver(Speaker::Ghost(bob()), Event::Join),
                r#"{"deliver":{"key":"k1","conversation":"tea","from":{"user":"mimi://b.example/u/bob","name":"bob (b.example)"},"event":"join"}}"#,
            ),
            (
                deliver(
                    Speaker::Gateway,
                    Event::Notice {
                        text: "Not delivered.".into(),
                        about: Some(m0),
                        to: Some(NativeUserId::new("alice")),
                    },
                ),
                r#"{"deliver":{"key":"k1","conversation":"tea","from":null,"event":{"notice":{"text":"Not delivered.","about":"m0","to":"alice"}}}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&frame).unwrap(), line);
        }
    }

    #[test]
    fn nobody_speaks_as_a_ghost() {
        for name in ["", "bob@b.example", "mimi://b.example/u/bob", "@bob:b.example", "alice+bob", "a b", "a\n"] {
            let ghost = Act { from: NativeUserId::new(name), ..act(None) };
            assert!(to_inbound(ghost, Event::Join).is_err(), "{name:?} was let in");
        }
    }

    #[test]
    fn a_direct_conversation_has_one_name() {
        let message = || Event::Message { text: Text::Plain("Tea?".into()), in_reply_to: None };
        assert_eq!(
            to_inbound(act(Some(bob().user)), message()),
            Err(r#"the conversation of alice and mimi://b.example/u/bob is called "alice+mimi://b.example/u/bob""#
                .into())
        );
        let conversation = ConversationId::new("alice+mimi://b.example/u/bob");
        let inbound = to_inbound(Act { conversation, ..act(Some(bob().user)) }, message()).unwrap();
        assert_eq!(inbound.direct, Some(bob().user));
    }

    #[test]
    fn what_says_nothing_is_refused() {
        let m0 = NativeMessageId::new("m0");
        let nothing = || Text::Plain(String::new());
        for event in [
            Event::Message { text: nothing(), in_reply_to: None },
            Event::Edit { replaces: m0.clone(), text: nothing() },
            Event::Reaction { in_reply_to: m0, emoji: String::new() },
        ] {
            assert!(to_inbound(act(None), event).is_err());
        }
    }
}
