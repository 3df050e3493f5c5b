//! A delivery, as a message of the network. Pure: what was said before comes in as [`Memory`].
//!
//! A ghost's message has its [`DeliveryKey`](mimi_adapter::DeliveryKey) as `id` and as origin-id, so that a
//! room's copy of it, live or archived, tells which delivery has arrived. What shows no text carries a
//! `<store/>` hint, because the archive is where we look for it after a lost connection.

use mimi_adapter::{Delivered, Delivery, Event, File, NativeMessageId, Refusal, Text, Thread};
use minidom::Element;
use xmpp_parsers::jid::{BareJid, FullJid, Jid};

use crate::{
    id::MessageId,
    memory::{Memory, Voice},
    stanza::{self, ElementExt, ns},
    styling,
};

/// From whom, to where.
pub struct Route<'a> {
    pub from: &'a FullJid,
    pub to: &'a BareJid,
    /// `groupchat` or `chat`.
    pub kind: &'static str,
}

/// The message that shows `delivery.event`. A file has been put at `file` before.
pub fn message(delivery: &Delivery, route: &Route, memory: &Memory, file: Option<&str>) -> Result<Element, Refusal> {
    let ghost = route.from.to_bare().to_string();
    let message = stanza::stanza("message", route.from, route.to)
        .attribute("type", route.kind)
        .attribute("id", delivery.key.as_str())
        .child(stanza::element("origin-id", ns::SID).attribute("id", delivery.key.as_str()))
        .child(carried(&ghost));
    let asks = route.kind == "chat" && matches!(delivery.event, Event::Message { .. } | Event::File { .. });
    let message = match asks {
        true => message.child(stanza::element("request", ns::RECEIPTS)).child(stanza::element("markable", ns::MARKERS)),
        false => message,
    };
    // For apps without threads, an answer to what was said last in it.
    let after = delivery.thread.as_ref().and_then(|it| it.after.as_ref());
    let message = match delivery.thread.as_ref().map(|it| &it.thread) {
        Some(Thread::Named(name)) => message.child(stanza::element("thread", ns::STANZA).says(name)),
        _ => message,
    };
    let reaction_to = |target: &NativeMessageId, change: &dyn Fn(&mut Vec<String>)| {
        let target = MessageId::of(target);
        let known = memory.reactions(&ghost, target.stanza_id());
        let mut emojis: Vec<String> = known.into_iter().flat_map(|known| known.keys().cloned()).collect();
        change(&mut emojis);
        let reactions = stanza::element("reactions", ns::REACTIONS).attribute("id", target.stanza_id());
        let each = |reactions: Element, emoji: String| {
            reactions.child(stanza::element("reaction", ns::REACTIONS).says(&emoji))
        };
        emojis.into_iter().fold(reactions, each)
    };
    let store = || stanza::element("store", ns::HINTS);
    Ok(match &delivery.event {
        Event::Message { text, in_reply_to } => match in_reply_to.as_ref().or(after) {
            None => says(message, "", text),
            Some(to) => reply(message, to, text, memory),
        },
        Event::File { file: about, caption, in_reply_to } => {
            let url = file.ok_or_else(|| Refusal::retry("the file has not been put anywhere"))?;
            let message = match in_reply_to.as_ref().or(after) {
                None => message,
                // Without a quotation: apps that know files by their address alone want that to be all there is.
                Some(to) => {
                    let reply = stanza::element("reply", ns::REPLY).attribute("id", MessageId::of(to).stanza_id());
                    message.child(match memory.quotable(to) {
                        Some(quotable) => reply.attribute("to", &quotable.voice.jid),
                        None => reply,
                    })
                }
            };
            sharing(message, about, caption.as_deref(), url)
        }
        Event::Edit { replaces, text } => {
            let replace = stanza::element("replace", ns::MESSAGE_CORRECT);
            says(message, "", text).child(replace.attribute("id", MessageId::of(replaces).sender_id()))
        }
        Event::Delete { replaces } => message
            .child(stanza::element("retract", ns::RETRACT).attribute("id", MessageId::of(replaces).stanza_id()))
            .child(body("I have retracted a message, but your app does not support that."))
            .child(stanza::element("fallback", ns::FALLBACK).attribute("for", ns::RETRACT))
            .child(store()),
        Event::Reaction { in_reply_to, emoji } => {
            let add = |emojis: &mut Vec<String>| {
                emojis.retain(|other| other != emoji);
                emojis.push(emoji.clone());
            };
            message.child(reaction_to(in_reply_to, &add)).child(store())
        }
        Event::Unlike { replaces } => {
            let MessageId::Reaction { target, emoji, .. } = MessageId::of(replaces) else {
                return Err(Refusal::reject("the reaction to take back was not found"));
            };
            let remove = |emojis: &mut Vec<String>| emojis.retain(|other| *other != emoji);
            message.child(reaction_to(&target, &remove)).child(store())
        }
        other => return Err(Refusal::reject(format!("the XMPP gateway cannot show a {}", other.kind()))),
    })
}

/// XEP-0461, and for apps without it a quotation that the others leave out (XEP-0428).
fn reply(message: Element, to: &NativeMessageId, text: &Text, memory: &Memory) -> Element {
    let id = MessageId::of(to);
    let reply = stanza::element("reply", ns::REPLY).attribute("id", id.stanza_id());
    match memory.quotable(to) {
        None => says(message.child(reply), "", text),
        Some(quotable) => {
            let quotation = format!("> {}: {}\n", quotable.voice.name, quotable.beginning);
            let end = quotation.chars().count().to_string();
            let part = stanza::element("body", ns::FALLBACK).attribute("start", "0").attribute("end", &end);
            says(message.child(reply.attribute("to", &quotable.voice.jid)), &quotation, text)
                .child(stanza::element("fallback", ns::FALLBACK).attribute("for", ns::REPLY).child(part))
        }
    }
}

/// XEP-0447; and for apps without it the address, which is both the body and out of band data (XEP-0066).
fn sharing(message: Element, file: &File, caption: Option<&str>, url: &str) -> Element {
    let metadata = |name, text: &str| stanza::element(name, ns::FILE_METADATA).says(text);
    let mut about = stanza::element("file", ns::FILE_METADATA).child(metadata("media-type", &file.media_type));
    if !file.name.is_empty() {
        about = about.child(metadata("name", &file.name));
    }
    if let Some(size) = file.size {
        about = about.child(metadata("size", &size.to_string()));
    }
    let source = stanza::element("url-data", ns::URL_DATA).attribute("target", url);
    let sharing = stanza::element("file-sharing", ns::FILE_SHARING)
        .attribute("disposition", if file.attachment { "attachment" } else { "inline" })
        .child(about)
        .child(stanza::element("sources", ns::FILE_SHARING).child(source));
    let beside = caption.map_or(String::new(), |caption| format!("{caption}\n"));
    let (start, end) = (beside.chars().count(), beside.chars().count() + url.chars().count());
    let repeated =
        stanza::element("body", ns::FALLBACK).attribute("start", &start.to_string()).attribute("end", &end.to_string());
    message
        .child(body(&format!("{beside}{url}")))
        .child(stanza::element("x", ns::OOB).child(stanza::element("url", ns::OOB).says(url)))
        .child(sharing)
        .child(stanza::element("fallback", ns::FALLBACK).attribute("for", ns::FILE_SHARING).child(repeated))
}

/// The text behind what quotes for it.
fn says(message: Element, quotation: &str, text: &Text) -> Element {
    let (said, looks_styled) = styling::write(text);
    let message = message.child(body(&format!("{quotation}{said}")));
    if looks_styled { message.child(stanza::element("unstyled", ns::STYLING)) } else { message }
}

pub fn body(text: &str) -> Element {
    stanza::element("body", ns::STANZA).says(text)
}

/// The names under which the delivered event will be spoken of: by us the first, by people here the second.
pub fn delivered(delivery: &Delivery, stanza_id: Option<&str>) -> Delivered {
    let key = delivery.key.clone();
    let ids = match (&delivery.event, stanza_id) {
        (Event::Message { .. } | Event::File { .. } | Event::Edit { .. }, Some(stanza_id)) => {
            vec![MessageId::Ghost { key, stanza_id: stanza_id.into() }.native(), NativeMessageId::new(stanza_id)]
        }
        (Event::Message { .. } | Event::File { .. } | Event::Edit { .. }, None) => {
            vec![NativeMessageId::new(key.as_str())]
        }
        (Event::Reaction { in_reply_to, emoji }, _) => {
            vec![MessageId::Reaction { key, target: in_reply_to.clone(), emoji: emoji.clone() }.native()]
        }
        _ => Vec::new(),
    };
    Delivered { ids }
}

/// The mark by which a copy of the message is known to be ours.
fn carried(by: &str) -> Element {
    stanza::element("carried", ns::CARRIED).attribute("by", by)
}

/// A ghost has read a message (XEP-0333).
pub fn displayed(from: &FullJid, to: &BareJid, up_to: &NativeMessageId) -> Element {
    let displayed = stanza::element("displayed", ns::MARKERS).attribute("id", MessageId::of(up_to).sender_id());
    let message = stanza::stanza("message", &from.clone().into(), &to.clone().into()).attribute("type", "chat");
    message.child(displayed).child(carried(from.to_bare().as_str()))
}

/// A word from the gateway itself. `kind` is `chat` for one person and `groupchat` for a room.
pub fn notice(from: &Jid, to: &Jid, kind: &'static str, id: &str, text: &str) -> Element {
    let message = stanza::stanza("message", from, to).attribute("type", kind).attribute("id", id).child(body(text));
    message.child(carried(from.to_bare().as_str()))
}

/// How people call a ghost, or a ghost's message is remembered.
pub fn ghost_voice(ghost: &BareJid, jid: &str, name: &str) -> Voice {
    Voice { author: ghost.to_string(), jid: jid.into(), name: name.into() }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use mimi_adapter::{ConversationId, DeliveryKey, Ghost, InThread, Speaker, UserUri};

    use super::*;
    use crate::from_native::{self, Meaning};

    const HEAD: &str = "<message xmlns='jabber:component:accept' from='alice\\40a.example@mimi.b.example/mimi' to='tea@muc.b.example' type='groupchat' id='key-1'>\
        <origin-id xmlns='urn:xmpp:sid:0' id='key-1'/><carried xmlns='urn:mimi-gateway:carried:0' by='alice\\40a.example@mimi.b.example'/>";

    fn alice() -> FullJid {
        FullJid::new(r"alice\40a.example@mimi.b.example/mimi").unwrap()
    }

    fn deliver(event: Event<NativeMessageId>) -> Delivery {
        Delivery {
            key: DeliveryKey::new("key-1"),
            conversation: ConversationId::new("tea@muc.b.example"),
            speaker: Speaker::Ghost(Ghost::new(UserUri::parse("mimi://a.example/u/alice").unwrap())),
            accepted: SystemTime::UNIX_EPOCH,
            event,
            thread: None,
        }
    }

    fn shown(event: Event<NativeMessageId>, memory: &Memory) -> Element {
        let room = BareJid::new("tea@muc.b.example").unwrap();
        let route = Route { from: &alice(), to: &room, kind: "groupchat" };
        message(&deliver(event), &route, memory, Some("https://up.b.example/1/pot.jpg")).unwrap()
    }

    fn element(inside: &str) -> Element {
        format!("{HEAD}{inside}</message>").parse().unwrap()
    }

    fn native(id: &str) -> NativeMessageId {
        NativeMessageId::new(id)
    }

    fn text(text: &str) -> Text {
        Text::Plain(text.into())
    }

    #[test]
    fn each_event_has_its_xep() {
        let memory = Memory::new(10);
        for (event, inside) in [
            (Event::Message { text: text("tea? <b>"), in_reply_to: None }, "<body>tea? &lt;b&gt;</body>"),
            (Event::Message { text: Text::Markdown("**tea**".into()), in_reply_to: None }, "<body>*tea*</body>"),
            (
                Event::Message { text: text("*tea*"), in_reply_to: None },
                "<body>*tea*</body><unstyled xmlns='urn:xmpp:styling:0'/>",
            ),
            (
                Event::Message { text: text("yes"), in_reply_to: Some(native("77")) },
                "<reply xmlns='urn:xmpp:reply:0' id='77'/><body>yes</body>",
            ),
            (
                Event::Message { text: text("yes"), in_reply_to: Some(native("ghost:key-0:77")) },
                "<reply xmlns='urn:xmpp:reply:0' id='77'/><body>yes</body>",
            ),
            (
                Event::Edit { replaces: native("ghost:key-0:77"), text: text("tea!") },
                "<body>tea!</body><replace xmlns='urn:xmpp:message-correct:0' id='key-0'/>",
            ),
            (
                Event::Delete { replaces: native("ghost:key-0:77") },
                "<retract xmlns='urn:xmpp:message-retract:1' id='77'/><body>I have retracted a message, but your app does not support that.</body>\
                 <fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:message-retract:1'/><store xmlns='urn:xmpp:hints'/>",
            ),
            (
                Event::Reaction { in_reply_to: native("77"), emoji: "👍".into() },
                "<reactions xmlns='urn:xmpp:reactions:0' id='77'><reaction>👍</reaction></reactions><store xmlns='urn:xmpp:hints'/>",
            ),
            (
                Event::Unlike { replaces: native("reaction:key-0:77\n👍") },
                "<reactions xmlns='urn:xmpp:reactions:0' id='77'/><store xmlns='urn:xmpp:hints'/>",
            ),
        ] {
            assert_eq!(shown(event, &memory), element(inside));
        }
    }

    #[test]
    fn what_is_said_in_a_thread_names_it_and_is_an_answer_for_apps_without_threads() {
        let memory = Memory::new(10);
        let room = BareJid::new("tea@muc.b.example").unwrap();
        let in_thread = |after: Option<&str>, in_reply_to: Option<&str>| {
            let event = Event::Message { text: text("Which pot?"), in_reply_to: in_reply_to.map(native) };
            let thread = Thread::Named("mimi-tea".into());
            let delivery = Delivery { thread: Some(InThread { thread, after: after.map(native) }), ..deliver(event) };
            let route = Route { from: &alice(), to: &room, kind: "groupchat" };
            message(&delivery, &route, &memory, None).unwrap()
        };
        let expected = |reply: &str| element(&format!("<thread>mimi-tea</thread>{reply}<body>Which pot?</body>"));
        assert_eq!(in_thread(None, None), expected(""));
        assert_eq!(in_thread(Some("77"), None), expected("<reply xmlns='urn:xmpp:reply:0' id='77'/>"));
        assert_eq!(in_thread(Some("77"), Some("78")), expected("<reply xmlns='urn:xmpp:reply:0' id='78'/>"));
        let thread = Some(Thread::Named("mimi-tea".into()));
        assert_eq!(from_native::thread(&in_thread(None, None), true), thread);
        assert_eq!(from_native::thread(&in_thread(None, None), false), thread);
    }

    #[test]
    fn a_file_is_there_for_every_app_and_read_as_it_was_meant() {
        let memory = Memory::new(10);
        let file = |caption: Option<&str>| {
            let (name, media_type) = ("pot.jpg".to_owned(), "image/jpeg".to_owned());
            let octets = mimi_adapter::Octets::new(Vec::new());
            let file = mimi_adapter::File { name, media_type, size: Some(5), attachment: false, octets };
            Event::File { file, caption: caption.map(str::to_owned), in_reply_to: Some(native("77")) }
        };
        let inside = |body: &str, start: u8, end: u8| {
            let url = "https://up.b.example/1/pot.jpg";
            format!(
                "<reply xmlns='urn:xmpp:reply:0' id='77'/><body>{body}</body><x xmlns='jabber:x:oob'><url>{url}</url></x>\
                 <file-sharing xmlns='urn:xmpp:sfs:0' disposition='inline'><file xmlns='urn:xmpp:file:metadata:0'>\
                 <media-type>image/jpeg</media-type><name>pot.jpg</name><size>5</size></file>\
                 <sources><url-data xmlns='http://jabber.org/protocol/url-data' target='{url}'/></sources></file-sharing>\
                 <fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:sfs:0'><body start='{start}' end='{end}'/></fallback>"
            )
        };
        let url = "https://up.b.example/1/pot.jpg";
        assert_eq!(shown(file(None), &memory), element(&inside(url, 0, 30)));
        let captioned = shown(file(Some("Der Pött.")), &memory);
        assert_eq!(captioned, element(&inside(&format!("Der Pött.\n{url}"), 10, 40)));
        let Meaning::Events(events) = from_native::understand(&captioned, &native("78"), "a", &memory) else {
            panic!("it is a file");
        };
        let event = file(Some("Der Pött.")).with_file(|file| file.at(from_native::Shared(url.into())));
        assert_eq!(events, [(native("78"), event)]);
    }

    #[test]
    fn a_quotation_is_there_for_old_apps_and_new_ones_leave_it_out() {
        let mut memory = Memory::new(10);
        let question: Element =
            "<message xmlns='jabber:component:accept'><body>Tee, Ünal?\nJa?</body></message>".parse().unwrap();
        let bob = Voice { author: "bob@b.example".into(), jid: "tea@muc.b.example/Bob".into(), name: "Bob".into() };
        memory.remember(&question, &native("77"), &bob);
        let reply = shown(Event::Message { text: text("yes"), in_reply_to: Some(native("77")) }, &memory);
        let expected = "<reply xmlns='urn:xmpp:reply:0' to='tea@muc.b.example/Bob' id='77'/><body>&gt; Bob: Tee, Ünal?\nyes</body>\
            <fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='18'/></fallback>";
        assert_eq!(reply, element(expected));
        let event = Event::Message { text: text("yes"), in_reply_to: Some(native("77")) };
        assert_eq!(
            from_native::understand(&reply, &native("78"), "a", &memory),
            Meaning::Events(vec![(native("78"), event)])
        );
    }

    #[test]
    fn a_second_reaction_keeps_the_first_and_taking_one_back_leaves_the_other() {
        let mut memory = Memory::new(10);
        let voice = ghost_voice(&alice().to_bare(), "tea@muc.b.example/alice", "alice");
        let first = shown(Event::Reaction { in_reply_to: native("77"), emoji: "👍".into() }, &memory);
        memory.remember(&first, &native("78"), &voice);
        let second = shown(Event::Reaction { in_reply_to: native("77"), emoji: "🍵".into() }, &memory);
        let emojis = |message: &Element| from_native::reactions(message).unwrap().1;
        assert_eq!(emojis(&second), ["👍", "🍵"]);
        memory.remember(&second, &native("79"), &voice);
        let back = shown(Event::Unlike { replaces: native("reaction:key-0:77\n👍") }, &memory);
        assert_eq!(emojis(&back), ["🍵"]);
    }

    #[test]
    fn a_delivered_message_is_known_by_both_its_names() {
        let message = deliver(Event::Message { text: text("tea"), in_reply_to: None });
        assert_eq!(delivered(&message, Some("77")).ids, [native("ghost:key-1:77"), native("77")]);
        assert_eq!(delivered(&message, None).ids, [native("key-1")]);
        let reaction = deliver(Event::Reaction { in_reply_to: native("ghost:key-0:77"), emoji: "👍".into() });
        assert_eq!(delivered(&reaction, Some("79")).ids, [native("reaction:key-1:ghost:key-0:77\n👍")]);
        assert_eq!(delivered(&deliver(Event::Unlike { replaces: native("x") }), Some("80")).ids, []);
    }
}
