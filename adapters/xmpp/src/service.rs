//! What anybody may ask of the component and its ghosts, and what they answer. Pure.

use mimi_adapter::{Ghost, UserUri};
use minidom::Element;
use xmpp_parsers::jid::{BareJid, Jid};

use crate::{
    id::ghost_user,
    stanza::{self, ElementExt, ns},
};

/// Whom a stanza is for.
enum Addressee {
    Gateway,
    Ghost(UserUri),
    Nobody,
}

impl Addressee {
    fn of(stanza: &Element, component: &BareJid) -> Self {
        match stanza.jid("to") {
            Some(to) if to.to_bare() == *component => Self::Gateway,
            Some(to) => ghost_user(&to).map_or(Self::Nobody, Self::Ghost),
            None => Self::Nobody,
        }
    }
}

/// The answer to an `<iq/>` of type get or set.
pub fn answer(iq: &Element, component: &BareJid) -> Element {
    let question = iq.children().next();
    let asks = |name, namespace| {
        iq.attr("type") == Some("get") && question.is_some_and(|question| question.is(name, namespace))
    };
    let result = || stanza::reply(iq).attribute("type", "result");
    let addressee = Addressee::of(iq, component);
    if matches!(addressee, Addressee::Nobody) {
        return stanza::error_reply(iq, "cancel", "item-not-found", "");
    }
    if asks("ping", ns::PING) {
        return result();
    }
    let node = question.and_then(|question| question.attr("node")).unwrap_or_default();
    if asks("query", ns::DISCO_INFO) && node.is_empty() {
        return result().child(info(&addressee));
    }
    if asks("query", ns::DISCO_ITEMS) && node.is_empty() {
        return result().child(stanza::element("query", ns::DISCO_ITEMS));
    }
    match addressee {
        Addressee::Ghost(user) if asks("vCard", ns::VCARD) => {
            let name = stanza::element("FN", ns::VCARD).says(&Ghost::new(user).name);
            result().child(stanza::element("vCard", ns::VCARD).child(name))
        }
        _ => stanza::error_reply(iq, "cancel", "service-unavailable", ""),
    }
}

fn info(addressee: &Addressee) -> Element {
    const COMMON: [&str; 4] = [ns::DISCO_INFO, ns::DISCO_ITEMS, ns::PING, ns::VCARD];
    // What can be said to a ghost and is carried.
    const GHOST: [&str; 7] =
        [ns::RECEIPTS, ns::MARKERS, ns::MESSAGE_CORRECT, ns::REACTIONS, ns::RETRACT, ns::REPLY, ns::FALLBACK];
    let (category, kind, name, features) = match addressee {
        Addressee::Ghost(user) => ("account", "registered", Ghost::new(user.clone()).name, &GHOST[..]),
        _ => ("gateway", "mimi", "MIMI gateway".to_owned(), &GHOST[..0]),
    };
    let identity = stanza::element("identity", ns::DISCO_INFO).attribute("category", category).attribute("type", kind);
    let query = stanza::element("query", ns::DISCO_INFO).child(identity.attribute("name", &name));
    let feature = |query: Element, feature: &&str| {
        query.child(stanza::element("feature", ns::DISCO_INFO).attribute("var", feature))
    };
    COMMON.iter().chain(features).fold(query, feature)
}

/// What a ghost answers to presence: it agrees to be on everybody's list, and is always there.
pub fn presence(presence: &Element, component: &BareJid) -> Vec<Element> {
    let (Some(from), Some(to)) = (presence.jid("from"), presence.jid("to")) else { return Vec::new() };
    let reply = |kind: Option<&str>, ghost: &Jid| {
        let reply = stanza::stanza("presence", ghost, &from.to_bare());
        match kind {
            Some(kind) => reply.attribute("type", kind),
            None => reply,
        }
    };
    let bare = Jid::from(to.to_bare());
    let exists = !matches!(Addressee::of(presence, component), Addressee::Nobody);
    match presence.attr("type") {
        Some("subscribe") if exists => vec![reply(Some("subscribed"), &bare), reply(None, &present(&to))],
        Some("subscribe") => vec![reply(Some("unsubscribed"), &bare)],
        Some("probe") if exists => vec![reply(None, &present(&to))],
        Some("probe") => vec![reply(Some("unsubscribed"), &bare)],
        Some("unsubscribe") => vec![reply(Some("unsubscribed"), &bare)],
        _ => Vec::new(),
    }
}

/// Where a ghost is available: its one resource.
fn present(ghost: &Jid) -> Jid {
    ghost.to_bare().with_resource_str("mimi").expect("the resource is a constant").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = r"alice\40a.example@mimi.b.example";

    fn component() -> BareJid {
        BareJid::new("mimi.b.example").unwrap()
    }

    fn ask(to: &str, kind: &str, question: &str) -> String {
        let iq = format!(
            "<iq xmlns='jabber:component:accept' type='{kind}' id='7' from='bob@b.example/x' to='{to}'>{question}</iq>"
        );
        let answer = answer(&iq.parse().unwrap(), &component());
        assert_eq!(
            (answer.attr("from"), answer.attr("to"), answer.attr("id")),
            (Some(to), Some("bob@b.example/x"), Some("7"))
        );
        let condition = stanza::StanzaError::of(&answer).condition;
        match answer.attr("type").unwrap() {
            "error" => condition,
            _ => answer.children().next().map(String::from).unwrap_or_default(),
        }
    }

    #[test]
    fn the_component_and_its_ghosts_say_what_they_are() {
        let info = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
        assert!(ask("mimi.b.example", "get", info).contains("category='gateway'"));
        let ghost = ask(ALICE, "get", info);
        assert!(ghost.contains("category='account'") && ghost.contains("urn:xmpp:receipts"), "{ghost}");
        assert_eq!(ask(ALICE, "get", "<ping xmlns='urn:xmpp:ping'/>"), "");
        assert_eq!(
            ask(ALICE, "get", "<vCard xmlns='vcard-temp'/>"),
            "<vCard xmlns='vcard-temp'><FN>alice (a.example)</FN></vCard>"
        );
        assert!(
            ask("mimi.b.example", "get", "<query xmlns='http://jabber.org/protocol/disco#items'/>")
                .contains("disco#items")
        );
    }

    #[test]
    fn what_nobody_answers_has_an_error() {
        for (to, kind, question, condition) in [
            (ALICE, "set", "<vCard xmlns='vcard-temp'/>", "service-unavailable"),
            (ALICE, "get", "<x xmlns='urn:y'/>", "service-unavailable"),
            (ALICE, "get", "", "service-unavailable"),
            ("mimi.b.example", "get", "<vCard xmlns='vcard-temp'/>", "service-unavailable"),
            ("nobody@mimi.b.example", "get", "<ping xmlns='urn:xmpp:ping'/>", "item-not-found"),
        ] {
            assert_eq!(ask(to, kind, question), condition, "{to} {question}");
        }
    }

    #[test]
    fn a_ghost_is_on_everybodys_list_who_wants_it_there() {
        let answers = |to: &str, kind: &str| {
            let stanza =
                format!("<presence xmlns='jabber:component:accept' from='bob@b.example/x' to='{to}' type='{kind}'/>");
            let answers = presence(&stanza.parse().unwrap(), &component());
            let each = |answer: &Element| {
                (answer.attr("type").unwrap_or("available").to_owned(), answer.attr("from").unwrap().to_owned())
            };
            answers.iter().map(each).collect::<Vec<_>>()
        };
        let there = |kind: &str, from: &str| (kind.to_owned(), from.to_owned());
        let available = there("available", &format!("{ALICE}/mimi"));
        assert_eq!(answers(ALICE, "subscribe"), [there("subscribed", ALICE), available.clone()]);
        assert_eq!(answers(ALICE, "probe"), [available]);
        assert_eq!(answers(ALICE, "unsubscribe"), [there("unsubscribed", ALICE)]);
        assert_eq!(answers("nobody@mimi.b.example", "subscribe"), [there("unsubscribed", "nobody@mimi.b.example")]);
        assert_eq!(answers(ALICE, "unavailable"), []);
    }
}
