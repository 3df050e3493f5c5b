//! The body of a message: one part, or several nested ones (C§4.4).

use std::convert::Infallible;

use minicbor::{Decoder, Encoder, encode};

use super::{ContentError, MAX_DEPTH, MAX_PARTS};

pub(super) type Encode = Encoder<Vec<u8>>;
pub(super) type Encoded = Result<(), encode::Error<Infallible>>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NestedPart {
    pub disposition: Disposition,
    /// Language tags, separated by commas; empty if unknown.
    pub language: String,
    pub part: Part,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Nothing: what was here is deleted or taken back.
    Null,
    Single {
        content_type: String,
        content: Vec<u8>,
    },
    /// Content that is elsewhere.
    External(Box<ExternalPart>),
    /// At least two.
    Multi {
        semantics: PartSemantics,
        parts: Vec<NestedPart>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalPart {
    pub content_type: String,
    pub url: String,
    /// Seconds since the start of the UNIX epoch; 0 is never.
    pub expires: u32,
    /// In octets; 0 is unknown.
    pub size: u64,
    /// The number of an AEAD algorithm; 0 is none, 1 is AES-128-GCM.
    pub enc_alg: u16,
    pub key: Vec<u8>,
    pub nonce: Vec<u8>,
    pub aad: Vec<u8>,
    /// The number of a Named Information hash algorithm; 0 is none, 1 is SHA-256.
    pub hash_alg: u8,
    /// Of what is downloaded, before decryption (D40).
    pub content_hash: Vec<u8>,
    pub description: String,
    pub filename: String,
}

/// What a part is meant for. An unknown one is kept and shown as if it were [`RENDER`](Self::RENDER).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disposition(pub u8);

impl Disposition {
    pub const UNSPECIFIED: Self = Self(0);
    pub const RENDER: Self = Self(1);
    pub const REACTION: Self = Self(2);
    pub const PROFILE: Self = Self(3);
    pub const INLINE: Self = Self(4);
    pub const ICON: Self = Self(5);
    pub const ATTACHMENT: Self = Self(6);
    pub const SESSION: Self = Self(7);
    pub const PREVIEW: Self = Self(8);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartSemantics {
    /// Alternatives, of which the receiver picks one.
    ChooseOne,
    /// All or nothing.
    SingleUnit,
    /// As many as possible.
    ProcessAll,
}

impl NestedPart {
    pub fn single(disposition: Disposition, content_type: &str, content: impl Into<Vec<u8>>) -> Self {
        let part = Part::Single { content_type: content_type.into(), content: content.into() };
        Self { disposition, language: String::new(), part }
    }

    pub fn null(disposition: Disposition) -> Self {
        Self { disposition, language: String::new(), part: Part::Null }
    }

    /// Is this very file in it?
    pub fn contains(&self, file: &ExternalPart) -> bool {
        match &self.part {
            Part::External(part) => std::ptr::eq(file, &**part),
            Part::Multi { parts, .. } => parts.iter().any(|part| part.contains(file)),
            _ => false,
        }
    }

    /// The part with this index, counting depth-first from `next`.
    pub(super) fn find(&self, index: usize, next: &mut usize) -> Option<&Self> {
        if *next == index {
            return Some(self);
        }
        *next += 1;
        match &self.part {
            Part::Multi { parts, .. } => parts.iter().find_map(|part| part.find(index, next)),
            _ => None,
        }
    }

    pub(super) fn encode_to(&self, e: &mut Encode) -> Encoded {
        e.array(self.part.array_length())?.u8(self.disposition.0)?.str(&self.language)?;
        match &self.part {
            Part::Null => e.u8(0)?,
            Part::Single { content_type, content } => e.u8(1)?.str(content_type)?.bytes(content)?,
            Part::External(it) => e
                .u8(2)?
                .str(&it.content_type)?
                .str(&it.url)?
                .u32(it.expires)?
                .u64(it.size)?
                .u16(it.enc_alg)?
                .bytes(&it.key)?
                .bytes(&it.nonce)?
                .bytes(&it.aad)?
                .u8(it.hash_alg)?
                .bytes(&it.content_hash)?
                .str(&it.description)?
                .str(&it.filename)?,
            Part::Multi { semantics, parts } => {
                e.u8(3)?.u8(*semantics as u8)?.array(parts.len() as u64)?;
                return parts.iter().try_for_each(|part| part.encode_to(e));
            }
        };
        Ok(())
    }

    pub(super) fn decode(d: &mut Decoder<'_>) -> Result<Self, ContentError> {
        decode(d, 1, &mut 0)
    }
}

impl Part {
    fn array_length(&self) -> u64 {
        match self {
            Self::Null => 3,
            Self::Single { .. } | Self::Multi { .. } => 5,
            Self::External(_) => 15,
        }
    }
}

fn decode(d: &mut Decoder<'_>, depth: usize, parts_so_far: &mut usize) -> Result<NestedPart, ContentError> {
    const SHAPE: ContentError = ContentError::Shape("a NestedPart is an array of 3, 5 or 15, by its cardinality");
    if depth > MAX_DEPTH {
        return Err(ContentError::PartsTooDeep);
    }
    *parts_so_far += 1;
    if *parts_so_far > MAX_PARTS {
        return Err(ContentError::TooManyParts);
    }
    let length = d.array().ok().flatten().ok_or(SHAPE)?;
    let disposition = Disposition(d.u8().map_err(|_| ContentError::Shape("a disposition is one octet"))?);
    let language = text(d)?;
    let part = match d.u8().map_err(|_| SHAPE)? {
        0 => Part::Null,
        1 => Part::Single { content_type: text(d)?, content: octets(d)? },
        2 => Part::External(Box::new(decode_external(d)?)),
        3 => {
            let semantics = match d.u64().map_err(|_| SHAPE)? {
                0 => PartSemantics::ChooseOne,
                1 => PartSemantics::SingleUnit,
                2 => PartSemantics::ProcessAll,
                unknown => return Err(ContentError::PartSemantics(unknown)),
            };
            let mut parts = Vec::new();
            for _ in 0..d.array().ok().flatten().ok_or(SHAPE)? {
                parts.push(decode(d, depth + 1, parts_so_far)?);
            }
            if parts.len() < 2 {
                return Err(ContentError::Shape("a MultiPart has at least two parts"));
            }
            Part::Multi { semantics, parts }
        }
        _ => return Err(SHAPE),
    };
    if length == part.array_length() { Ok(NestedPart { disposition, language, part }) } else { Err(SHAPE) }
}

fn decode_external(d: &mut Decoder<'_>) -> Result<ExternalPart, ContentError> {
    fn number<T>(number: Result<T, minicbor::decode::Error>) -> Result<T, ContentError> {
        number.map_err(|_| ContentError::Shape("a number of an ExternalPart is missing or too big"))
    }
    Ok(ExternalPart {
        content_type: text(d)?,
        url: text(d)?,
        expires: number(d.u32())?,
        size: number(d.u64())?,
        enc_alg: number(d.u16())?,
        key: octets(d)?,
        nonce: octets(d)?,
        aad: octets(d)?,
        hash_alg: number(d.u8())?,
        content_hash: octets(d)?,
        description: text(d)?,
        filename: text(d)?,
    })
}

fn text(d: &mut Decoder<'_>) -> Result<String, ContentError> {
    d.str().map(str::to_owned).map_err(|_| ContentError::Shape("a text of a part is missing"))
}

fn octets(d: &mut Decoder<'_>) -> Result<Vec<u8>, ContentError> {
    d.bytes().map(<[u8]>::to_vec).map_err(|_| ContentError::Shape("octets of a part are missing"))
}
