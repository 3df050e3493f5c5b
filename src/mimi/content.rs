//! MIMI content: what a message says (draft-ietf-mimi-content).
//!
//! Invariant: what [`MimiContent::decode`] returns is in deterministic encoding and within the limits of
//! C§6, so `encode` gives back the octets it came from. A message that breaks them is malicious or broken
//! and is discarded whole (C§9.1); what is merely unknown (a disposition, a media type, a language, the
//! message a reply points at) is kept.
//!
//! A message has no ID inside: [`message_id`] computes it from the octets as received, who sent them and
//! where.

#[cfg(test)]
mod examples;
mod message_id;
mod part;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use minicbor::{Decoder, Encoder, data::Type};

pub use message_id::{MessageId, message_id};
pub use part::{Disposition, ExternalPart, NestedPart, Part, PartSemantics};

use crate::mimi::{
    cbor::{self, CborError},
    uri::{RoomUri, UserUri},
};

/// Why octets are not a message. Their sender's fault; it is logged without content and discarded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    #[error("not deterministic CBOR: {0}")]
    Cbor(#[from] CborError),
    #[error("not MIMI content: {0}")]
    Shape(&'static str),
    #[error("a reference to a message by an unknown hash algorithm ({0})")]
    HashAlgorithm(u8),
    #[error("a topicId of {0} octets; at most {MAX_TOPIC_ID} are allowed")]
    TopicId(usize),
    #[error("parts nested more than {MAX_DEPTH} levels deep")]
    PartsTooDeep,
    #[error("more than {MAX_PARTS} parts")]
    TooManyParts,
    #[error("{0} is not a partSemantics")]
    PartSemantics(u64),
    #[error("an extension nested more than {MAX_DEPTH} levels deep")]
    ExtensionTooDeep,
    #[error("an extension value of more than {MAX_EXTENSION} octets")]
    ExtensionTooLong,
    #[error("the {0} in the message is not the one it came from")]
    Misattributed(&'static str),
    #[error("an expiry more than a year away")]
    Expiry,
}

/// C§9.1
const MAX_TOPIC_ID: usize = 4096;
const MAX_PARTS: usize = 1024;
/// C§6.3, of parts and of extensions.
const MAX_DEPTH: usize = 4;
/// The limit of the inline CDDL, which we keep to and do not demand of others (D37).
const MAX_EXTENSION: usize = 4095;

/// `mimiContent`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MimiContent {
    /// Random for every message. Makes the message ID unguessable, and is the key of the franking tag.
    pub salt: [u8; 16],
    /// The message this one takes the place of: an edit, or with a [`Part::Null`] a deletion.
    pub replaces: Option<MessageId>,
    /// Empty if the message belongs to no topic.
    pub topic_id: Vec<u8>,
    pub expires: Option<Expiration>,
    pub in_reply_to: Option<MessageId>,
    pub extensions: Extensions,
    pub nested_part: NestedPart,
}

/// When to forget a message, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiration {
    /// After it has been read.
    Relative(u32),
    /// Since the start of the UNIX epoch.
    Absolute(u32),
}

impl MimiContent {
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::new(Vec::new());
        self.encode_to(&mut e).expect("writing to a vector never fails");
        e.into_writer()
    }

    fn encode_to(&self, e: &mut part::Encode) -> part::Encoded {
        e.array(7)?.bytes(&self.salt)?;
        encode_reference(&self.replaces, e)?;
        e.bytes(&self.topic_id)?;
        match self.expires {
            None => e.null()?,
            Some(Expiration::Relative(seconds)) => e.array(2)?.bool(true)?.u32(seconds)?,
            Some(Expiration::Absolute(seconds)) => e.array(2)?.bool(false)?.u32(seconds)?,
        };
        encode_reference(&self.in_reply_to, e)?;
        self.extensions.encode_to(e)?;
        self.nested_part.encode_to(e)
    }

    /// Reads a message that is all of `octets`.
    pub fn decode(octets: &[u8]) -> Result<Self, ContentError> {
        Self::decode_at(octets).map_err(|(_, error)| error)
    }

    /// As [`decode`](Self::decode); an error comes with the offset of the item that is wrong, or of the last one in
    /// the part or map that is.
    pub fn decode_at(octets: &[u8]) -> Result<Self, (usize, ContentError)> {
        cbor::check_at(octets).map_err(|(at, error)| (at, error.into()))?;
        let mut d = Decoder::new(octets);
        Self::decode_from(&mut d).map_err(|error| (cbor::last_item(octets, d.position()), error))
    }

    fn decode_from(d: &mut Decoder<'_>) -> Result<Self, ContentError> {
        if !matches!(d.array(), Ok(Some(7))) {
            return Err(ContentError::Shape("it is an array of seven"));
        }
        let salt = d.bytes().ok().and_then(|it| it.try_into().ok());
        let salt = salt.ok_or(ContentError::Shape("salt is 16 octets"))?;
        let replaces = decode_reference(d)?;
        let topic_id = d.bytes().map_err(|_| ContentError::Shape("topicId is octets"))?.to_vec();
        if topic_id.len() > MAX_TOPIC_ID {
            return Err(ContentError::TopicId(topic_id.len()));
        }
        Ok(Self {
            salt,
            replaces,
            topic_id,
            expires: decode_expiration(d)?,
            in_reply_to: decode_reference(d)?,
            extensions: Extensions::decode(d)?,
            nested_part: NestedPart::decode(d)?,
        })
    }

    /// What can only be judged by somebody who knows whom the message came from, to which room, and when
    /// the hub accepted it: it must not name another sender or room (D36), nor expire more than a year
    /// away (D41).
    pub fn check(&self, sender: &UserUri, room: &RoomUri, accepted: SystemTime) -> Result<(), ContentError> {
        if self.extensions.sender_uri().is_some_and(|named| named != sender.as_str()) {
            return Err(ContentError::Misattributed("sender"));
        }
        if self.extensions.room_uri().is_some_and(|named| named != room.as_str()) {
            return Err(ContentError::Misattributed("room"));
        }
        let away = match self.expires {
            None => Duration::ZERO,
            Some(Expiration::Relative(seconds)) => Duration::from_secs(seconds.into()),
            Some(Expiration::Absolute(seconds)) => {
                let accepted = accepted.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                accepted.abs_diff(Duration::from_secs(seconds.into()))
            }
        };
        if away > Duration::from_secs(366 * 24 * 60 * 60) { Err(ContentError::Expiry) } else { Ok(()) }
    }

    /// The single or external part that `cid:<index>@local.invalid` names. Other parts can't be named so
    /// (C§4.4).
    pub fn part(&self, index: usize) -> Option<&NestedPart> {
        let mut next = 0;
        let part = self.nested_part.find(index, &mut next)?;
        matches!(part.part, Part::Single { .. } | Part::External(_)).then_some(part)
    }
}

/// The extensions map. Values are kept as the CBOR they came as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// By encoded key, since that is the order they are sent in.
    by_key: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A key of the extensions map: a registered one (positive) or a private one (negative, or text).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExtensionKey {
    Int(i64),
    Text(String),
}

impl ExtensionKey {
    pub const SENDER_URI: Self = Self::Int(1);
    pub const ROOM_URI: Self = Self::Int(2);
}

impl Extensions {
    /// What every message of ours says of itself, so that its frank vouches for it (P§5.4.1).
    pub fn new(sender: &UserUri, room: &RoomUri) -> Self {
        let by_key = [(ExtensionKey::SENDER_URI, sender.as_str()), (ExtensionKey::ROOM_URI, room.as_str())];
        Self { by_key: by_key.into_iter().map(|(key, uri)| (encode_key(&key), encode_text(uri))).collect() }
    }

    pub fn sender_uri(&self) -> Option<&str> {
        self.text(&ExtensionKey::SENDER_URI)
    }

    pub fn room_uri(&self) -> Option<&str> {
        self.text(&ExtensionKey::ROOM_URI)
    }

    fn text(&self, key: &ExtensionKey) -> Option<&str> {
        Decoder::new(self.get(key)?).str().ok()
    }

    /// The CBOR of an extension.
    pub fn get(&self, key: &ExtensionKey) -> Option<&[u8]> {
        self.by_key.get(&encode_key(key)).map(Vec::as_slice)
    }

    /// Extensions of others, whose values may be longer than ours.
    pub fn of(entries: impl IntoIterator<Item = (ExtensionKey, Vec<u8>)>) -> Result<Self, ContentError> {
        let mut by_key = BTreeMap::new();
        for (key, value) in entries {
            let key = encode_key(&key);
            check_extension(&key, &value)?;
            by_key.insert(key, value);
        }
        Ok(Self { by_key })
    }

    /// All of them, each with its CBOR, in the order they are sent in.
    pub fn iter(&self) -> impl Iterator<Item = (ExtensionKey, &[u8])> {
        self.by_key.iter().map(|(key, value)| (decode_key(key), value.as_slice()))
    }

    /// Adds or replaces an extension; `value` is its CBOR.
    pub fn insert(&mut self, key: &ExtensionKey, value: Vec<u8>) -> Result<(), ContentError> {
        if value.len() > MAX_EXTENSION {
            return Err(ContentError::ExtensionTooLong);
        }
        let key = encode_key(key);
        check_extension(&key, &value)?;
        self.by_key.insert(key, value);
        Ok(())
    }

    fn encode_to(&self, e: &mut part::Encode) -> part::Encoded {
        e.map(self.by_key.len() as u64)?;
        for (key, value) in &self.by_key {
            e.writer_mut().extend_from_slice(key);
            e.writer_mut().extend_from_slice(value);
        }
        Ok(())
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, ContentError> {
        let pairs = d.map().ok().flatten().ok_or(ContentError::Shape("the extensions are a map"))?;
        let mut by_key = BTreeMap::new();
        for _ in 0..pairs {
            let (key, value) = (skip(d)?, skip(d)?);
            check_extension(key, value)?;
            by_key.insert(key.to_vec(), value.to_vec());
        }
        Ok(Self { by_key })
    }
}

/// The octets of the next item.
fn skip<'a>(d: &mut Decoder<'a>) -> Result<&'a [u8], ContentError> {
    let start = d.position();
    d.skip().map_err(|_| ContentError::Shape("an extension has a key and a value"))?;
    Ok(&d.input()[start..d.position()])
}

/// Checks one entry of the extensions map (C§4.3, C§6.2, C§6.3).
fn check_extension(key: &[u8], value: &[u8]) -> Result<(), ContentError> {
    cbor::check(key)?;
    // The map itself is the first level.
    if cbor::check(value)? >= MAX_DEPTH {
        return Err(ContentError::ExtensionTooDeep);
    }
    let mut d = Decoder::new(key);
    match d.datatype() {
        Ok(Type::String) => match d.str() {
            Ok(text) if (1..=255).contains(&text.len()) => Ok(()),
            _ => Err(ContentError::Shape("a text key of an extension has 1 to 255 octets")),
        },
        Ok(Type::Bytes) => Err(ContentError::Shape("an extension's key is an integer or a text")),
        _ if matches!(d.u8(), Ok(1 | 2)) && !matches!(Decoder::new(value).datatype(), Ok(Type::String)) => {
            Err(ContentError::Shape("senderUri and roomUri are texts"))
        }
        _ => Ok(()),
    }
}

fn encode_key(key: &ExtensionKey) -> Vec<u8> {
    match key {
        ExtensionKey::Int(int) => minicbor::to_vec(int).expect("writing to a vector never fails"),
        ExtensionKey::Text(text) => encode_text(text),
    }
}

fn decode_key(key: &[u8]) -> ExtensionKey {
    let mut d = Decoder::new(key);
    match d.datatype() {
        Ok(Type::String) => ExtensionKey::Text(d.str().expect("the key was checked").into()),
        _ => ExtensionKey::Int(d.i64().expect("the key was checked: its integers have 53 bits")),
    }
}

fn encode_text(text: &str) -> Vec<u8> {
    minicbor::to_vec(text).expect("writing to a vector never fails")
}

fn encode_reference(reference: &Option<MessageId>, e: &mut part::Encode) -> part::Encoded {
    match reference {
        None => e.null()?,
        Some(id) => e.bytes(id.as_bytes())?,
    };
    Ok(())
}

fn decode_reference(d: &mut Decoder<'_>) -> Result<Option<MessageId>, ContentError> {
    if matches!(d.datatype(), Ok(Type::Null)) {
        return d.null().map(|()| None).map_err(|_| ContentError::Shape("a reference is null or 32 octets"));
    }
    let octets = d.bytes().ok().and_then(|it| it.try_into().ok());
    let octets: [u8; 32] = octets.ok_or(ContentError::Shape("a reference is null or 32 octets"))?;
    MessageId::new(octets).map(Some)
}

fn decode_expiration(d: &mut Decoder<'_>) -> Result<Option<Expiration>, ContentError> {
    const SHAPE: ContentError = ContentError::Shape("expires is null or a bool and 32 bits");
    if matches!(d.datatype(), Ok(Type::Null)) {
        return d.null().map(|()| None).map_err(|_| SHAPE);
    }
    if !matches!(d.array(), Ok(Some(2))) {
        return Err(SHAPE);
    }
    match (d.bool(), d.u32()) {
        (Ok(true), Ok(seconds)) => Ok(Some(Expiration::Relative(seconds))),
        (Ok(false), Ok(seconds)) => Ok(Some(Expiration::Absolute(seconds))),
        _ => Err(SHAPE),
    }
}
