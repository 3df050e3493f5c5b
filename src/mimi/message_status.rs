//! What became of messages at the one who reports it: `application/mimi-message-status`
//! (draft-mahy-mimi-message-status-01), carried as the one part of a MIMI content (D38).
//!
//! We send and read `error`: this client could not show the message. Receipts for what went well are not sent.

use minicbor::{Decoder, Encoder};

use super::{
    cbor,
    content::{Disposition, MessageId, MimiContent, NestedPart, Part},
};

pub const MEDIA_TYPE: &str = "application/mimi-message-status";

/// The client could not do with the message what it should have done.
pub const ERROR: u64 = 6;

/// At most this many in one report: ours, and those of others that are read.
pub const MOST: usize = 256;

/// A report that says the same of all of `messages`.
pub fn report(messages: &[MessageId], status: u64) -> NestedPart {
    let mut e = Encoder::new(Vec::new());
    let mut write = || {
        e.array(messages.len() as u64)?;
        for message in messages {
            e.array(2)?.bytes(message.as_bytes())?.u64(status)?;
        }
        Ok::<_, minicbor::encode::Error<std::convert::Infallible>>(())
    };
    write().expect("writing to a vector never fails");
    NestedPart::single(Disposition::UNSPECIFIED, MEDIA_TYPE, e.into_writer())
}

/// What a content reports. `None` if it is no report; one that can't be read reports nothing.
pub fn reported(content: &MimiContent) -> Option<Vec<(MessageId, u64)>> {
    let Part::Single { content_type, content } = &content.nested_part.part else { return None };
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(MEDIA_TYPE).then(|| read(content).unwrap_or_default())
}

fn read(octets: &[u8]) -> Option<Vec<(MessageId, u64)>> {
    cbor::check(octets).ok()?;
    let d = &mut Decoder::new(octets);
    let count = d.array().ok()??;
    let mut read = Vec::new();
    for _ in 0..count.min(MOST as u64) {
        if d.array().ok()?? != 2 {
            return None;
        }
        let id = <[u8; 32]>::try_from(d.bytes().ok()?).ok()?;
        let status = d.u64().ok()?;
        // An ID by an algorithm we don't know is of no message we have sent.
        if let Ok(id) = MessageId::new(id) {
            read.push((id, status));
        }
    }
    Some(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::{
        content::Extensions,
        uri::{RoomUri, UserUri},
    };

    fn content(part: NestedPart) -> MimiContent {
        let bob = UserUri::parse("mimi://b.example/u/bob").unwrap();
        let tea = RoomUri::parse("mimi://a.example/r/tea").unwrap();
        MimiContent {
            salt: [7; 16],
            replaces: None,
            topic_id: Vec::new(),
            expires: None,
            in_reply_to: None,
            extensions: Extensions::new(&bob, &tea),
            nested_part: part,
        }
    }

    #[test]
    fn a_report_is_an_array_of_pairs() {
        let mut id = [0xee; 32];
        id[0] = 1;
        let message = MessageId::new(id).unwrap();
        let report = report(&[message], ERROR);
        let Part::Single { content, .. } = &report.part else { panic!() };
        let mut octets = vec![0x81, 0x82, 0x58, 32];
        octets.extend(id);
        octets.push(6);
        assert_eq!(*content, octets);
        let sent = MimiContent::decode(&self::content(report).encode()).unwrap();
        assert_eq!(reported(&sent), Some(vec![(message, ERROR)]));
    }

    #[test]
    fn what_is_no_report_reports_nothing() {
        let text = NestedPart::single(Disposition::RENDER, "text/plain", "hello");
        assert_eq!(reported(&content(text)), None);
        for broken in [&b""[..], b"\x81", b"\x81\x82\x41\x01\x06", b"\x81\x81\x06", b"\xff"] {
            let part = NestedPart::single(Disposition::UNSPECIFIED, MEDIA_TYPE, broken);
            assert_eq!(reported(&content(part)), Some(Vec::new()), "{broken:?}");
        }
    }
}
