//! Stanzas as this adapter handles them: elements, read leniently and built without escaping mistakes.
//!
//! Why not the typed stanzas of `xmpp-parsers`? They refuse a whole stanza over one attribute they don't
//! know (an unheard-of status code, a bare JID where a full one is usual). Any stranger in a room could
//! make a message disappear with that, so we look for what we understand and pass over the rest.

use minidom::Element;
use rxml::{Namespace, NcName};
use xmpp_parsers::jid::Jid;

/// Namespaces. Ours are the ones of the XEPs named beside them.
pub mod ns {
    pub use xmpp_parsers::ns::{
        DELAY, DISCO_INFO, DISCO_ITEMS, FORWARD, MAM, MESSAGE_CORRECT, MUC, MUC_USER, PING, REACTIONS, RECEIPTS, RSM,
        SID, VCARD, XMPP_STANZAS,
    };
    /// Every stanza in here, also one that came out of an archive (see `stream`).
    pub const STANZA: &str = "jabber:component:accept";
    pub const DATA_FORMS: &str = "jabber:x:data";
    pub const OCCUPANT_ID: &str = "urn:xmpp:occupant-id:0"; // XEP-0421
    pub const REPLY: &str = "urn:xmpp:reply:0"; // XEP-0461
    pub const FALLBACK: &str = "urn:xmpp:fallback:0"; // XEP-0428
    pub const RETRACT: &str = "urn:xmpp:message-retract:1"; // XEP-0424
    pub const MODERATE: &str = "urn:xmpp:message-moderate:1"; // XEP-0425
    pub const HINTS: &str = "urn:xmpp:hints"; // XEP-0334
    pub const OOB: &str = "jabber:x:oob"; // XEP-0066
    pub const FILE_SHARING: &str = "urn:xmpp:sfs:0"; // XEP-0447
    pub const FILE_METADATA: &str = "urn:xmpp:file:metadata:0"; // XEP-0446
    pub const URL_DATA: &str = "http://jabber.org/protocol/url-data"; // XEP-0103
    pub const UPLOAD: &str = "urn:xmpp:http:upload:0"; // XEP-0363
    pub const MARKERS: &str = "urn:xmpp:chat-markers:0"; // XEP-0333
    pub const STYLING: &str = "urn:xmpp:styling:0"; // XEP-0393
    pub const ENCRYPTION: &str = "urn:xmpp:eme:0"; // XEP-0380
    /// On every message of a ghost: this is ours, and already in the MIMI room. It survives in the room's
    /// archive, where no occupant says whose a nickname was.
    pub const CARRIED: &str = "urn:mimi-gateway:carried:0";
}

/// A new element. The name and namespace are constants of ours.
pub fn element(name: &'static str, namespace: &'static str) -> Element {
    Element::bare(name, namespace)
}

/// `<message/>`, `<presence/>` or `<iq/>` with its addresses.
pub fn stanza(name: &'static str, from: &Jid, to: &Jid) -> Element {
    element(name, ns::STANZA).attribute("from", from.as_str()).attribute("to", to.as_str())
}

pub trait ElementExt: Sized {
    fn attribute(self, name: &'static str, value: &str) -> Self;
    fn child(self, child: Element) -> Self;
    /// Characters that XML can't have are replaced: one of them would end the whole stream.
    fn says(self, text: &str) -> Self;
    fn jid(&self, attribute: &str) -> Option<Jid>;
}

impl ElementExt for Element {
    fn attribute(mut self, name: &'static str, value: &str) -> Self {
        let name = NcName::try_from(name).expect("attribute names are constants of ours");
        self.set_attr(Namespace::NONE, name, xml_text(value));
        self
    }

    fn child(mut self, child: Element) -> Self {
        self.append_child(child);
        self
    }

    fn says(mut self, text: &str) -> Self {
        self.append_text_node(xml_text(text));
        self
    }

    fn jid(&self, attribute: &str) -> Option<Jid> {
        Jid::new(self.attr(attribute)?).ok()
    }
}

/// XML 1.0 §2.2.
fn xml_text(text: &str) -> String {
    let legal = |c: char| matches!(c, '\t' | '\n' | '\r') || (c >= ' ' && c != '\u{FFFE}' && c != '\u{FFFF}');
    text.chars().map(|c| if legal(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// Whose turn an error says it is (RFC 6120 §8.3.2), and the words in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{condition}: {text}")]
pub struct StanzaError {
    /// `type='wait'`: the same stanza may be taken later.
    pub wait: bool,
    pub condition: String,
    pub text: String,
}

impl StanzaError {
    /// The `<error/>` of a stanza of type `error`.
    pub fn of(stanza: &Element) -> Self {
        let error = stanza.get_child("error", ns::STANZA);
        let find = |text| {
            let mut children = error.into_iter().flat_map(Element::children);
            children.find(|child| child.has_ns(ns::XMPP_STANZAS) && (child.name() == "text") == text)
        };
        let (condition, text) = (find(false), find(true));
        Self {
            wait: error.and_then(|error| error.attr("type")) == Some("wait"),
            condition: condition.map_or("undefined-condition", Element::name).to_owned(),
            text: text.map(Element::text).unwrap_or_default(),
        }
    }

    pub fn is(&self, condition: &str) -> bool {
        self.condition == condition
    }

    /// For a person: what the server said, or else the condition.
    pub fn words(&self) -> String {
        if self.text.is_empty() { self.condition.replace('-', " ") } else { self.text.clone() }
    }
}

/// The error we send back for `stanza`, which keeps its id so that the sender's client finds the message.
pub fn error_reply(stanza: &Element, kind: &'static str, condition: &'static str, text: &str) -> Element {
    let mut reply = reply(stanza).attribute("type", "error");
    let mut error = element("error", ns::STANZA).attribute("type", kind).child(element(condition, ns::XMPP_STANZAS));
    if !text.is_empty() {
        error = error.child(element("text", ns::XMPP_STANZAS).says(text));
    }
    reply.append_child(error);
    reply
}

/// The same kind of stanza, the other way round.
pub fn reply(stanza: &Element) -> Element {
    let name = match stanza.name() {
        "iq" => "iq",
        "presence" => "presence",
        _ => "message",
    };
    let mut reply = element(name, ns::STANZA);
    for (ours, theirs) in [("from", "to"), ("to", "from"), ("id", "id")] {
        if let Some(value) = stanza.attr(theirs) {
            reply = reply.attribute(ours, value);
        }
    }
    reply
}

/// The body without `xml:lang`, or else the first.
pub fn body(message: &Element) -> Option<String> {
    let bodies: Vec<_> = message.children().filter(|child| child.is("body", ns::STANZA)).collect();
    let plain = bodies.iter().find(|body| body.attr_ns(&Namespace::XML, "lang").is_none());
    plain.or(bodies.first()).map(|body| body.text())
}

/// A moment in the words of XEP-0082, to the second.
pub fn stamp(time: std::time::SystemTime) -> String {
    let seconds = time.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, clock) = ((seconds / 86_400) as i64, seconds % 86_400);
    // Days to a civil date, counted in 400-year eras that begin on 1 March, so that a leap day comes last.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (clock / 3_600, clock / 60 % 60, clock % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn parse(xml: &str) -> Element {
        xml.parse().unwrap()
    }

    #[test]
    fn a_moment_is_written_as_xep_0082_wants_it() {
        for (seconds, written) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_772_323_199, "2026-02-28T23:59:59Z"),
            (1_772_323_200, "2026-03-01T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
        ] {
            assert_eq!(stamp(UNIX_EPOCH + Duration::from_secs(seconds)), written);
        }
    }

    #[test]
    fn an_error_says_whose_turn_it_is_and_why() {
        let error = parse(
            "<message xmlns='jabber:component:accept' type='error'><error type='wait'>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>Component unavailable</text>\
             <remote-server-timeout xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>",
        );
        let error = StanzaError::of(&error);
        assert_eq!((error.wait, error.condition.as_str()), (true, "remote-server-timeout"));
        assert_eq!(error.words(), "Component unavailable");
        let bare = StanzaError::of(&parse("<iq xmlns='jabber:component:accept' type='error'/>"));
        assert_eq!((bare.wait, bare.words().as_str()), (false, "undefined condition"));
    }

    #[test]
    fn characters_that_xml_cannot_have_do_not_reach_the_stream() {
        let body = element("body", ns::STANZA).says("a\u{0}b\u{1b}c\u{FFFF}d\te\n");
        assert_eq!(body.text(), "a\u{FFFD}b\u{FFFD}c\u{FFFD}d\te\n");
        let mut written = Vec::new();
        body.write_to(&mut written).unwrap();
    }

    #[test]
    fn the_body_without_a_language_is_the_one_to_carry() {
        let message = parse(
            "<message xmlns='jabber:component:accept'><body xml:lang='de'>Tee?</body><body>Tea?</body></message>",
        );
        assert_eq!(body(&message).as_deref(), Some("Tea?"));
        let german = parse("<message xmlns='jabber:component:accept'><body xml:lang='de'>Tee?</body></message>");
        assert_eq!(body(&german).as_deref(), Some("Tee?"));
    }
}
