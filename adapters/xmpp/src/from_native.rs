//! A message of the network, in MIMI's words. Pure: what was said before comes in as [`Memory`].

use mimi_adapter::{DeliveryKey, Event, File, NativeMessageId, ReceiptKind, Text, Thread};
use minidom::Element;
use uuid::Uuid;
use xmpp_parsers::jid::{BareJid, Jid};

use crate::{
    id::MessageId,
    memory::Memory,
    stanza::{self, ElementExt, ns},
    styling,
};

/// What a message means.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Usually one event; a change of reactions may be several. Each has an id of its own.
    Events(Vec<(NativeMessageId, Event<NativeMessageId, Shared>)>),
    /// Nothing to carry: typing, read markers.
    Nothing,
    /// Something was said that we can't carry. The sentence is for who said it.
    CannotCarry(&'static str),
}

/// The address of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared(pub String);

pub const ENCRYPTED: &str = "Your message was not carried to the other providers, because it is encrypted for XMPP. Please switch off OMEMO or OpenPGP here.";
pub const FILE: &str =
    "Your file was not carried to the other providers: its address is not one that the gateway can read it at.";
pub const OLD_REACTION: &str = "Your reaction was not taken back at the other providers: it is too long ago.";

/// The room's new subject. One beside a body, or in a thread, is only a heading (XEP-0045 §8.1).
pub fn subject(message: &Element) -> Option<String> {
    let heading = message.has_child("body", ns::STANZA) || message.has_child("thread", ns::STANZA);
    message.get_child("subject", ns::STANZA).filter(|_| !heading).map(Element::text)
}

/// The moderator by whom the room says that a message has been taken back (XEP-0425): an occupant.
pub fn moderated_by(message: &Element) -> Option<Jid> {
    let moderated = message.get_child("retract", ns::RETRACT)?.get_child("moderated", ns::MODERATE)?;
    moderated.jid("by").filter(|by| by.resource().is_some())
}

/// What `message` means, said by `author` under the id `id`.
pub fn understand(message: &Element, id: &NativeMessageId, author: &str, memory: &Memory) -> Meaning {
    if let Some(topic) = subject(message).filter(|_| message.attr("type") == Some("groupchat")) {
        return one(id, Event::Topic { topic });
    }
    if let Some(retract) = message.get_child("retract", ns::RETRACT) {
        // A moderator's retraction (XEP-0425) is of somebody else's message and would be refused anyway.
        let of = retract.attr("id").filter(|_| retract.children().all(|child| child.name() != "moderated"));
        return of.map_or(Meaning::Nothing, |of| one(id, Event::Delete { replaces: referred(of, memory) }));
    }
    if let Some((target, emojis)) = reactions(message) {
        return changed_reactions(id, author, &target, &emojis, memory);
    }
    let encrypted = |child: &Element| child.has_ns(ns::ENCRYPTION) || matches!(child.name(), "encrypted" | "openpgp");
    if message.children().any(encrypted) {
        return Meaning::CannotCarry(ENCRYPTED);
    }
    match file(message) {
        Some(Ok((file, caption))) => {
            let to = message.get_child("reply", ns::REPLY).and_then(|reply| reply.attr("id"));
            return one(id, Event::File { file, caption, in_reply_to: to.map(|of| referred(of, memory)) });
        }
        Some(Err(())) => return Meaning::CannotCarry(FILE),
        None => {}
    }
    let Some(text) = text(message) else { return Meaning::Nothing };
    let text = if message.has_child("unstyled", ns::STYLING) { Text::Plain(text) } else { styling::read(&text) };
    let event = match (corrects(message), message.get_child("reply", ns::REPLY).and_then(|reply| reply.attr("id"))) {
        (Some(corrected), _) => Event::Edit { replaces: corrected_message(corrected, author, memory), text },
        (None, Some(of)) => Event::Message { text, in_reply_to: Some(referred(of, memory)) },
        (None, None) => Event::Message { text, in_reply_to: None },
    };
    one(id, event)
}

/// The thread a message is in (XEP-0201). In conversations of two many apps put one into every message (RFC 6121 §5.2.5
/// calls that a chat session), so there only those count that began elsewhere.
pub fn thread(message: &Element, group: bool) -> Option<Thread> {
    let name = message.get_child("thread", ns::STANZA)?.text();
    let name = name.trim();
    let counts = !name.is_empty() && (group || name.starts_with(Thread::MINTED));
    counts.then(|| Thread::Named(name.to_owned()))
}

/// What somebody has got (XEP-0184) or read (XEP-0333), of what a ghost wrote to them.
pub fn receipt(message: &Element) -> Option<(ReceiptKind, NativeMessageId)> {
    let (kind, mark) = match message.get_child("displayed", ns::MARKERS) {
        Some(displayed) => (ReceiptKind::Read, displayed),
        None => (ReceiptKind::Delivered, message.get_child("received", ns::RECEIPTS)?),
    };
    Some((kind, NativeMessageId::new(mark.attr("id")?)))
}

fn one(id: &NativeMessageId, event: Event<NativeMessageId, Shared>) -> Meaning {
    Meaning::Events(vec![(id.clone(), event)])
}

/// A reply, reaction or retraction points at the id the room gave a message, or in a one-to-one
/// conversation at the sender's. Clients mix the two up, so both are looked for.
fn referred(of: &str, memory: &Memory) -> NativeMessageId {
    let by_room = NativeMessageId::new(of);
    match memory.named_by_anybody(of) {
        Some(by_sender) if !memory.knows(&by_room) => by_sender.clone(),
        _ => by_room,
    }
}

/// A correction points at the id its sender gave the message (XEP-0308). Where that is forgotten, the core is
/// asked for a message of this id and sender, which it knows only outside rooms with ids of their own.
fn corrected_message(corrected: &str, author: &str, memory: &Memory) -> NativeMessageId {
    memory.named_by(corrected, author).cloned().unwrap_or_else(|| NativeMessageId::new(corrected))
}

/// XEP-0444: a message has somebody's whole set of reactions to another, in MIMI each is a message (C§5.3).
fn changed_reactions(id: &NativeMessageId, author: &str, target: &str, emojis: &[String], memory: &Memory) -> Meaning {
    let known = memory.reactions(author, target);
    if emojis.is_empty() && known.is_none() {
        return Meaning::CannotCarry(OLD_REACTION);
    }
    let gone = known.into_iter().flatten().filter(|(emoji, _)| !emojis.contains(emoji));
    let gone = gone.map(|(emoji, reaction)| {
        let id = NativeMessageId::new(format!("{id} -{emoji}"));
        (id, Event::Unlike { replaces: reaction.clone() })
    });
    let new = emojis.iter().filter(|emoji| known.is_none_or(|known| !known.contains_key(*emoji)));
    let new = new.map(|emoji| {
        let event = Event::Reaction { in_reply_to: referred(target, memory), emoji: emoji.clone() };
        (reaction_id(id, emoji), event)
    });
    let events: Vec<_> = gone.chain(new).collect();
    if events.is_empty() { Meaning::Nothing } else { Meaning::Events(events) }
}

/// The id of one of the reactions in message `id`.
pub fn reaction_id(id: &NativeMessageId, emoji: &str) -> NativeMessageId {
    NativeMessageId::new(format!("{id} {emoji}"))
}

/// What a message reacts to, and the sender's reactions to that from now on, without repetitions.
pub fn reactions(message: &Element) -> Option<(String, Vec<String>)> {
    let reactions = message.get_child("reactions", ns::REACTIONS)?;
    let target = reactions.attr("id")?.to_owned();
    let mut emojis = Vec::new();
    for reaction in reactions.children().filter(|child| child.is("reaction", ns::REACTIONS)) {
        let emoji = reaction.text().trim().to_owned();
        if !emoji.is_empty() && !emojis.contains(&emoji) {
            emojis.push(emoji);
        }
    }
    Some((target, emojis))
}

/// The id a correction points at.
pub fn corrects(message: &Element) -> Option<&str> {
    message.get_child("replace", ns::MESSAGE_CORRECT)?.attr("id")
}

/// XEP-0447, or the older habit of an address that is both the body and out of band data (XEP-0066). With what was
/// written beside it; `Err` if the file has no address.
#[allow(clippy::type_complexity)] // One caller.
fn file(message: &Element) -> Option<Result<(File<Shared>, Option<String>), ()>> {
    let oob = message.get_child("x", ns::OOB).and_then(|oob| oob.get_child("url", ns::OOB)).map(Element::text);
    let sharing = message.get_child("file-sharing", ns::FILE_SHARING);
    let sources = sharing.and_then(|sharing| sharing.get_child("sources", ns::FILE_SHARING));
    let source = sources.and_then(|sources| sources.get_child("url-data", ns::URL_DATA)?.attr("target"));
    // Where it is said how to get it, the habit says nothing more: it may be the address of a ciphertext (XEP-0448).
    let url = if sharing.is_some() { source.map(str::to_owned) } else { oob };
    let url = url.map(|url| url.trim().to_owned()).filter(|url| !url.is_empty());
    let body = text(message).unwrap_or_default();
    let Some(url) = url else { return sharing.map(|_| Err(())) };
    if sharing.is_none() && !body.trim().is_empty() && body.trim() != url {
        return None;
    }
    let metadata = sharing.and_then(|sharing| sharing.get_child("file", ns::FILE_METADATA));
    let said = |name: &str| {
        let said = metadata?.get_child(name, ns::FILE_METADATA)?.text();
        (!said.trim().is_empty()).then(|| said.trim().to_owned())
    };
    let caption = body.trim().strip_suffix(&*url).unwrap_or(&body).trim().to_owned();
    let file = File {
        name: said("name").unwrap_or_else(|| name_in(&url)),
        // Where nobody says it, the server does.
        media_type: said("media-type").unwrap_or_default(),
        size: said("size").and_then(|size| size.parse().ok()),
        attachment: sharing.is_some_and(|sharing| sharing.attr("disposition") == Some("attachment")),
        octets: Shared(url),
    };
    Some(Ok((file, Some(caption).filter(|caption| !caption.is_empty()))))
}

/// What the last segment of an address says.
fn name_in(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default().as_bytes();
    let mut name = Vec::with_capacity(last.len());
    let mut at = 0;
    while at < last.len() {
        let digits = (last[at] == b'%').then(|| last.get(at + 1..at + 3)).flatten();
        let octet = digits.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        name.push(octet.unwrap_or(last[at]));
        at += if octet.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&name).into_owned()
}

/// What the sender wrote: the body without the parts that repeat in words what is said in elements.
pub fn text(message: &Element) -> Option<String> {
    let body = stanza::body(message)?;
    let mut written: Vec<Option<char>> = body.chars().map(Some).collect();
    let fallbacks = message.children().filter(|child| child.is("fallback", ns::FALLBACK));
    let repeats = |fallback: &&Element| matches!(fallback.attr("for"), Some(ns::REPLY | ns::FILE_SHARING));
    for fallback in fallbacks.filter(repeats) {
        for part in fallback.children().filter(|part| part.is("body", ns::FALLBACK)) {
            // XEP-0428 counts code points. A part without an end goes to the end.
            let position = |name| part.attr(name).and_then(|number| number.parse::<usize>().ok());
            let end = position("end").unwrap_or(usize::MAX).min(written.len());
            let start = position("start").unwrap_or(0).min(end);
            written[start..end].fill(None);
        }
    }
    let text: String = written.into_iter().flatten().collect();
    (!text.trim().is_empty()).then_some(text)
}

/// The id of a message in a room. With an archive the room's own (XEP-0359), the same live and archived;
/// a `<stanza-id/>` counts only where the room says that it weeds out forged ones.
pub fn room_message_id(message: &Element, room: &BareJid, room_gives_ids: bool, author: &str) -> NativeMessageId {
    if let Some(id) = stanza_id(message, room).filter(|_| room_gives_ids) {
        return NativeMessageId::new(id);
    }
    let id = sender_id(message).map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
    MessageId::Sent { unique: author.into(), id }.native()
}

/// The id that `room` has given the message, if that is to be believed.
pub fn stanza_id<'a>(message: &'a Element, room: &BareJid) -> Option<&'a str> {
    let given = |child: &&Element| child.is("stanza-id", ns::SID) && child.jid("by").is_some_and(|by| by == *room);
    message.children().find(given)?.attr("id")
}

/// The id of a one-to-one message: the sender's. RFC 6120 §8.1.3 wants ids to be unique within one stream only
/// and some apps count from the same number in every session, so what doesn't look random and isn't
/// an origin-id is made unique. When the sender refers to it, it is known by the short id until we restart.
pub fn direct_message_id(message: &Element) -> NativeMessageId {
    let origin = message.get_child("origin-id", ns::SID).and_then(|origin| origin.attr("id"));
    match (origin, message.attr("id")) {
        (Some(id), _) => NativeMessageId::new(id),
        (None, Some(id)) if id.len() >= 16 => NativeMessageId::new(id),
        (None, id) => {
            let (unique, id) = (Uuid::new_v4().to_string(), id.unwrap_or_default().to_owned());
            MessageId::Sent { unique, id }.native()
        }
    }
}

fn sender_id(message: &Element) -> Option<&str> {
    message.get_child("origin-id", ns::SID).and_then(|origin| origin.attr("id")).or(message.attr("id"))
}

/// The delivery that `message` is and the ghost that said it, if it is one of this component's. A stranger who
/// puts our mark on a message only keeps it from being carried.
pub fn carried_by_us(message: &Element, component: &BareJid) -> Option<(DeliveryKey, BareJid)> {
    let ghost = message.get_child("carried", ns::CARRIED)?.jid("by")?.into_bare();
    let key = DeliveryKey::new(sender_id(message)?);
    (ghost.domain() == component.domain()).then_some((key, ghost))
}

/// The real account of an occupant, where the room shows it.
pub fn real_jid(stanza: &Element) -> Option<BareJid> {
    // The last one is the room's: a sender could have put another in front.
    let user = stanza.children().filter(|child| child.is("x", ns::MUC_USER)).last()?;
    let jid = user.get_child("item", ns::MUC_USER)?.jid("jid").as_ref().map(Jid::to_bare);
    jid.filter(|jid| jid.node().is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::memory::Voice;

    const BOB: &str = "bob@b.example";

    fn parse(inside: &str) -> Element {
        format!("<message xmlns='jabber:component:accept' id='bobs-own-id'>{inside}</message>").parse().unwrap()
    }

    fn native(id: &str) -> NativeMessageId {
        NativeMessageId::new(id)
    }

    fn message(text: &str, in_reply_to: Option<&str>) -> Event<NativeMessageId, Shared> {
        Event::Message { text: Text::Plain(text.into()), in_reply_to: in_reply_to.map(native) }
    }

    /// Bob says `inside` as message 9, after `earlier` messages of his, which were 1, 2, ….
    fn said(earlier: &[&str], inside: &str) -> Meaning {
        let mut memory = Memory::new(10);
        let voice = Voice { author: BOB.into(), jid: "tea@muc.b.example/Bob".into(), name: "Bob".into() };
        for (at, inside) in earlier.iter().enumerate() {
            let message: Element =
                format!("<message xmlns='jabber:component:accept' id='own-{}'>{inside}</message>", at + 1)
                    .parse()
                    .unwrap();
            memory.remember(&message, &native(&(at + 1).to_string()), &voice);
        }
        understand(&parse(inside), &native("9"), BOB, &memory)
    }

    fn one(event: Event<NativeMessageId, Shared>) -> Meaning {
        Meaning::Events(vec![(native("9"), event)])
    }

    #[test]
    fn a_mark_says_what_was_got_or_read() {
        let received = parse("<received xmlns='urn:xmpp:receipts' id='key-1'/>");
        assert_eq!(receipt(&received), Some((ReceiptKind::Delivered, native("key-1"))));
        let displayed = parse("<displayed xmlns='urn:xmpp:chat-markers:0' id='key-1'/>");
        assert_eq!(receipt(&displayed), Some((ReceiptKind::Read, native("key-1"))));
        assert_eq!(receipt(&parse("<displayed xmlns='urn:xmpp:chat-markers:0'/>")), None);
        assert_eq!(receipt(&parse("<body>Tea?</body><markable xmlns='urn:xmpp:chat-markers:0'/>")), None);
    }

    #[test]
    fn a_session_of_two_is_no_thread() {
        let message = parse("<body>Tea?</body><thread>0e3141cd</thread>");
        assert_eq!(thread(&message, true), Some(Thread::Named("0e3141cd".into())));
        assert_eq!(thread(&message, false), None);
        assert_eq!(thread(&parse("<body>Tea?</body><thread> </thread>"), true), None);
    }

    #[test]
    fn a_body_is_a_message() {
        assert_eq!(said(&[], "<body>Is the tea ready?</body>"), one(message("Is the tea ready?", None)));
        assert_eq!(said(&[], "<body>*x*</body><unstyled xmlns='urn:xmpp:styling:0'/>"), one(message("*x*", None)));
        assert_eq!(
            said(&[], "<body>&lt;b&gt; *x*</body><html xmlns='http://jabber.org/protocol/xhtml-im'/>"),
            one(Event::Message { text: Text::Markdown("&lt;b> **x**".into()), in_reply_to: None })
        );
    }

    #[test]
    fn what_says_nothing_is_nothing() {
        for inside in [
            "",
            "<body/>",
            "<body> \n </body>",
            "<subject>Tea</subject>",
            "<composing xmlns='http://jabber.org/protocol/chatstates'/>",
            "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>",
            "<received xmlns='urn:xmpp:receipts' id='1'/>",
            "<retract xmlns='urn:xmpp:message-retract:1' id='1'><moderated xmlns='urn:xmpp:message-moderate:1'/></retract>",
            "<reactions xmlns='urn:xmpp:reactions:0'/>",
            "<retract xmlns='urn:xmpp:message-retract:1'/>",
        ] {
            assert!(matches!(said(&[], inside), Meaning::Nothing), "{inside}");
        }
    }

    #[test]
    fn the_room_says_who_moderates() {
        let message = |by: &str| {
            let moderated = format!("<moderated {by} xmlns='urn:xmpp:message-moderate:1'/><reason>No.</reason>");
            parse(&format!("<retract id='77' xmlns='urn:xmpp:message-retract:1'>{moderated}</retract>"))
        };
        let alice = Jid::new("tea@muc.b.example/Alice").unwrap();
        assert_eq!(moderated_by(&message("by='tea@muc.b.example/Alice'")), Some(alice));
        assert_eq!(moderated_by(&message("by='tea@muc.b.example'")), None);
        assert_eq!(moderated_by(&message("")), None);
        assert_eq!(moderated_by(&parse("<retract id='77' xmlns='urn:xmpp:message-retract:1'/>")), None);
    }

    #[test]
    fn a_subject_alone_is_the_rooms_topic() {
        let said = |inside: &str| {
            let message = format!("<message xmlns='jabber:component:accept' type='groupchat'>{inside}</message>");
            understand(&message.parse().unwrap(), &native("9"), BOB, &Memory::new(1))
        };
        let topic = |topic: &str| one(Event::Topic { topic: topic.into() });
        assert_eq!(said("<subject>Which\ntea?</subject>"), topic("Which\ntea?"));
        assert_eq!(said("<subject/>"), topic(""));
        assert_eq!(said("<subject>Tea</subject><body>Which?</body>"), one(message("Which?", None)));
        assert_eq!(said("<subject>Tea</subject><thread>1</thread>"), Meaning::Nothing);
    }

    #[test]
    fn a_reply_loses_its_quotation() {
        let quoting = "<body>&gt; Ünal: tea?\nyes</body><reply xmlns='urn:xmpp:reply:0' to='tea@muc.b.example/A' id='77'/>\
            <fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='13'/></fallback>";
        assert_eq!(said(&[], quoting), one(message("yes", Some("77"))));
        // Without an explanation the quotation is Bob's own.
        let plain = "<body>&gt; tea?\nyes</body><reply xmlns='urn:xmpp:reply:0' id='77'/>";
        let text = Text::Markdown("> tea?\n\nyes".into());
        assert_eq!(said(&[], plain), one(Event::Message { text, in_reply_to: Some(native("77")) }));
        // A fallback for something else, and numbers that can't be.
        let other = "<body>hello</body><fallback xmlns='urn:xmpp:fallback:0' for='urn:other'><body/></fallback>\
            <fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='9' end='3'/></fallback>";
        assert_eq!(said(&[], other), one(message("hello", None)));
    }

    #[test]
    fn a_reply_may_name_the_senders_id_instead_of_the_rooms() {
        let reply = "<body>yes</body><reply xmlns='urn:xmpp:reply:0' id='own-1'/>";
        assert_eq!(said(&["<body>tea?</body>"], reply), one(message("yes", Some("1"))));
    }

    #[test]
    fn a_correction_finds_the_first_version_by_the_senders_id() {
        let edit =
            |text: &str, replaces: &str| Event::Edit { replaces: native(replaces), text: Text::Plain(text.into()) };
        let replace = |id: &str| format!("<body>tea!</body><replace xmlns='urn:xmpp:message-correct:0' id='{id}'/>");
        assert_eq!(said(&["<body>tee?</body>"], &replace("own-1")), one(edit("tea!", "1")));
        // A correction of the correction, which some clients point at the latest version.
        assert_eq!(said(&["<body>te</body>", &replace("own-1")], &replace("own-2")), one(edit("tea!", "1")));
        assert_eq!(
            said(&["<body>tee?</body><origin-id xmlns='urn:xmpp:sid:0' id='o1'/>"], &replace("o1")),
            one(edit("tea!", "1"))
        );
        assert_eq!(said(&[], &replace("forgotten")), one(edit("tea!", "forgotten")));
    }

    #[test]
    fn a_retraction_is_a_deletion_and_its_fallback_is_not_a_message() {
        let retract = "<retract xmlns='urn:xmpp:message-retract:1' id='1'/><body>Bob retracted a message</body>\
            <fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:message-retract:1'/>";
        assert_eq!(said(&["<body>tea</body>"], retract), one(Event::Delete { replaces: native("1") }));
    }

    #[test]
    fn a_set_of_reactions_becomes_what_changed() {
        let reactions = |emojis: &[&str]| {
            let emojis: String = emojis.iter().map(|emoji| format!("<reaction>{emoji}</reaction>")).collect();
            format!("<reactions xmlns='urn:xmpp:reactions:0' id='77'>{emojis}</reactions>")
        };
        let add =
            |id: &str, emoji: &str| (native(id), Event::Reaction { in_reply_to: native("77"), emoji: emoji.into() });
        let remove = |id: &str, replaces: &str| (native(id), Event::Unlike { replaces: native(replaces) });
        let (none, thumb) = (reactions(&[]), reactions(&["👍"]));
        assert_eq!(
            said(&[], &reactions(&["👍", "👍", " 🍵 "])),
            Meaning::Events(vec![add("9 👍", "👍"), add("9 🍵", "🍵")])
        );
        assert_eq!(said(&[&thumb], &reactions(&["👍", "🍵"])), Meaning::Events(vec![add("9 🍵", "🍵")]));
        assert_eq!(
            said(&[&thumb], &reactions(&["🍵"])),
            Meaning::Events(vec![remove("9 -👍", "1 👍"), add("9 🍵", "🍵")])
        );
        assert_eq!(
            said(&[&thumb, &reactions(&["👍", "🍵"])], &none),
            Meaning::Events(vec![remove("9 -🍵", "2 🍵"), remove("9 -👍", "1 👍")])
        );
        assert_eq!(said(&[&thumb], &thumb), Meaning::Nothing);
        assert_eq!(said(&[&thumb, &none], &thumb), Meaning::Events(vec![add("9 👍", "👍")]));
        assert_eq!(said(&[], &none), Meaning::CannotCarry(OLD_REACTION));
    }

    #[test]
    fn what_cannot_be_carried_has_a_sentence_for_its_sender() {
        for (inside, sentence) in [
            ("<encrypted xmlns='eu.siacs.conversations.axolotl'/><body>I sent you an OMEMO message</body>", ENCRYPTED),
            ("<encrypted xmlns='urn:xmpp:omemo:2'/>", ENCRYPTED),
            ("<encryption xmlns='urn:xmpp:eme:0' namespace='urn:x'/><body>x</body>", ENCRYPTED),
            ("<file-sharing xmlns='urn:xmpp:sfs:0'/><body>https://b.example/cat.jpg</body>", FILE),
            (
                "<file-sharing xmlns='urn:xmpp:sfs:0'><sources><encrypted xmlns='urn:xmpp:esfs:0'/></sources></file-sharing>\
                 <x xmlns='jabber:x:oob'><url>https://b.example/cat.jpg</url></x>",
                FILE,
            ),
        ] {
            assert_eq!(said(&[], inside), Meaning::CannotCarry(sentence), "{inside}");
        }
        let link = "<body>look at https://b.example</body><x xmlns='jabber:x:oob'><url>https://b.example</url></x>";
        assert_eq!(said(&[], link), one(message("look at https://b.example", None)));
    }

    #[test]
    fn an_address_that_is_all_there_is_to_say_is_a_file() {
        const URL: &str = "https://up.b.example/1/T%C3%A4sse%20%F0%9F%AB%96.jpg?x#y";
        let oob = format!("<x xmlns='jabber:x:oob'><url>{URL}</url></x>");
        let file = File {
            name: "Tässe 🫖.jpg".into(),
            media_type: String::new(),
            size: None,
            attachment: false,
            octets: Shared(URL.into()),
        };
        let event = |file: &File<Shared>, caption: Option<&str>, to: Option<&str>| {
            let (caption, in_reply_to) = (caption.map(str::to_owned), to.map(native));
            one(Event::File { file: file.clone(), caption, in_reply_to })
        };
        assert_eq!(said(&[], &format!("<body>{URL}</body>{oob}")), event(&file, None, None));
        assert_eq!(said(&[], &oob), event(&file, None, None));
        let reply = "<reply xmlns='urn:xmpp:reply:0' id='77'/>\
            <fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='7'/></fallback>";
        let answer = format!("<body>&gt; tea?\n{URL}</body>{oob}{reply}");
        assert_eq!(said(&[], &answer), event(&file, None, Some("77")));

        let sharing = format!(
            "<file-sharing xmlns='urn:xmpp:sfs:0' disposition='attachment'><file xmlns='urn:xmpp:file:metadata:0'>\
             <name>pot.jpg</name><media-type>image/jpeg</media-type><size>5</size></file>\
             <sources><url-data xmlns='http://jabber.org/protocol/url-data' target='{URL}'/></sources></file-sharing>"
        );
        let media_type = "image/jpeg".into();
        let file = File { name: "pot.jpg".into(), media_type, size: Some(5), attachment: true, ..file };
        assert_eq!(said(&[], &format!("<body>{URL}</body>{oob}{sharing}")), event(&file, None, None));
        let captioned = format!("<body>The pot.\n{URL}</body>{oob}{sharing}");
        assert_eq!(said(&[], &captioned), event(&file, Some("The pot."), None));
        let fallback =
            "<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:sfs:0'><body start='9' end='99'/></fallback>";
        assert_eq!(said(&[], &format!("{captioned}{fallback}")), event(&file, Some("The pot."), None));
    }

    #[test]
    fn a_message_has_the_id_the_room_gave_it() {
        let room = BareJid::new("tea@muc.b.example").unwrap();
        let given = parse(
            "<stanza-id xmlns='urn:xmpp:sid:0' by='bob@b.example' id='no'/><stanza-id xmlns='urn:xmpp:sid:0' by='Tea@MUC.b.example' id='77'/>",
        );
        assert_eq!(room_message_id(&given, &room, true, BOB), native("77"));
        assert_eq!(room_message_id(&given, &room, false, BOB), native("sent:bob@b.example\nbobs-own-id"));
        assert_eq!(
            room_message_id(&parse("<origin-id xmlns='urn:xmpp:sid:0' id='o'/>"), &room, true, BOB),
            native("sent:bob@b.example\no")
        );
    }

    #[test]
    fn a_one_to_one_message_has_the_senders_id_unless_it_may_come_again() {
        let message = |id: &str| format!("<message xmlns='jabber:component:accept' id='{id}'/>").parse().unwrap();
        assert_eq!(direct_message_id(&message("0f3b1c2d-aaaa-4bbb")), native("0f3b1c2d-aaaa-4bbb"));
        let (first, second) = (direct_message_id(&message("aab1a")), direct_message_id(&message("aab1a")));
        assert_ne!(first, second);
        assert_eq!(MessageId::of(&first).stanza_id(), "aab1a");
        assert_eq!(direct_message_id(&parse("<origin-id xmlns='urn:xmpp:sid:0' id='o'/>")), native("o"));
    }

    #[test]
    fn only_the_mark_of_this_component_says_that_a_message_is_ours() {
        let message = parse(r"<carried xmlns='urn:mimi-gateway:carried:0' by='alice\40a.example@mimi.b.example'/>");
        let component = |domain| BareJid::new(domain).unwrap();
        let alice = BareJid::new(r"alice\40a.example@mimi.b.example").unwrap();
        assert_eq!(
            carried_by_us(&message, &component("mimi.b.example")),
            Some((DeliveryKey::new("bobs-own-id"), alice))
        );
        assert_eq!(carried_by_us(&message, &component("mimi.c.example")), None);
    }

    #[test]
    fn the_real_address_is_the_one_the_room_added() {
        let forged = "<x xmlns='http://jabber.org/protocol/muc#user'><item jid='boss@b.example'/></x>";
        let added =
            "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' jid='bob@b.example/phone'/></x>";
        assert_eq!(real_jid(&parse(&format!("{forged}{added}"))), BareJid::new(BOB).ok());
        assert_eq!(real_jid(&parse("<x xmlns='http://jabber.org/protocol/muc#user'><item role='none'/></x>")), None);
    }

    proptest! {
        #[test]
        fn any_body_and_any_fallback_are_survived(body in any::<String>(), start in any::<String>(), end in 0usize..40) {
            let fallback = stanza::element("fallback", ns::FALLBACK).attribute("for", ns::REPLY).child(
                stanza::element("body", ns::FALLBACK).attribute("start", &start).attribute("end", &end.to_string()),
            );
            let message = stanza::element("message", ns::STANZA)
                .child(stanza::element("body", ns::STANZA).says(&body))
                .child(fallback);
            if let Some(text) = text(&message) {
                prop_assert!(!text.trim().is_empty());
            }
        }
    }
}
