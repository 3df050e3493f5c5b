//! What became of messages at the one who reports it: `application/mimi-message-status`
//! (draft-mahy-mimi-message-status-01), carried as the one part of a MIMI content (D38).
//!
//! We send and read `error`: this client could not show the message; and `delivered` and `read`.

use minicbor::{Decoder, Encoder};

use super::{
    cbor,
    content::{ContentError, Disposition, MessageId, MimiContent, NestedPart, Part},
};

pub const MEDIA_TYPE: &str = "application/mimi-message-status";

/// A client of the reporter has the message.
pub const DELIVERED: u64 = 1;
/// The reporter has read it.
pub const READ: u64 = 2;

/// The client could not do with the message what it should have done.
pub const ERROR: u64 = 6;

/// At most this many in one report: ours, and those of others that are read.
pub const MOST: usize = 256;

/// A report that says the same of all of `messages`.
pub fn report(messages: &[MessageId], status: u64) -> NestedPart {
    let statuses: Vec<_> =
        messages.iter().map(|message| PerMessageStatus { message_id: *message.as_bytes(), status }).collect();
    NestedPart::single(Disposition::UNSPECIFIED, MEDIA_TYPE, encode(&statuses))
}

/// What became of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerMessageStatus {
    /// By whatever hash algorithm.
    pub message_id: [u8; 32],
    /// At most 255; 7 and above have no meaning yet.
    pub status: u64,
}

/// Writes a MessageStatusReport.
pub fn encode(statuses: &[PerMessageStatus]) -> Vec<u8> {
    let mut e = Encoder::new(Vec::new());
    let mut write = || {
        e.array(statuses.len() as u64)?;
        for it in statuses {
            e.array(2)?.bytes(&it.message_id)?.u64(it.status)?;
        }
        Ok::<_, minicbor::encode::Error<std::convert::Infallible>>(())
    };
    write().expect("writing to a vector never fails");
    e.into_writer()
}

/// Reads a MessageStatusReport that is all of `octets`; an error comes with the offset of the item that is wrong.
pub fn decode(octets: &[u8]) -> Result<Vec<PerMessageStatus>, (usize, ContentError)> {
    cbor::check_at(octets).map_err(|(at, error)| (at, error.into()))?;
    let mut d = Decoder::new(octets);
    let statuses =
        decode_from(&mut d).ok_or(ContentError::Shape("a report is an array of pairs of an ID and a status"));
    statuses.map_err(|error| (cbor::last_item(octets, d.position()), error))
}

fn decode_from(d: &mut Decoder<'_>) -> Option<Vec<PerMessageStatus>> {
    let count = d.array().ok()??;
    let mut statuses = Vec::new();
    for _ in 0..count {
        if d.array().ok()?? != 2 {
            return None;
        }
        let message_id = d.bytes().ok()?.try_into().ok()?;
        statuses.push(PerMessageStatus { message_id, status: d.u8().ok()?.into() });
    }
    Some(statuses)
}

/// What a content reports. `None` if it is no report; one that can't be read reports nothing.
pub fn reported(content: &MimiContent) -> Option<Vec<(MessageId, u64)>> {
    let Part::Single { content_type, content } = &content.nested_part.part else { return None };
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(MEDIA_TYPE).then(|| read(content).unwrap_or_default())
}

fn read(octets: &[u8]) -> Option<Vec<(MessageId, u64)>> {
    let statuses = decode(octets).ok()?.into_iter().take(MOST);
    // An ID by an algorithm we don't know is of no message we have sent.
    Some(statuses.filter_map(|it| Some((MessageId::new(it.message_id).ok()?, it.status))).collect())
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
