//! TLS presentation language as RFC 9420 §2.1 profiles it, read exactly.
//!
//! Invariant: any octets give a value or a [`WireError`], never a panic, and what is allocated is bounded
//! by what was received. A value's encoding is unique: lengths must be minimal, and [`Tls::decode`] takes
//! all of the octets or none.
//!
//! Why not derive tls_codec's traits? Its vectors are unbounded in number, its errors don't tell what was
//! wrong in which field, one of its two decoders asserts on truncated input in debug builds, and URIs,
//! MLS values and the tolerances of D10 need hand-written code anyway.

use bytes::Bytes;

use crate::{
    mimi::uri::{IdentifierUri, RoomUri, UriError, UserUri},
    mls::codec::CodecError,
};

/// Octets from the wire that are not what they should be. Their sender's fault; the same octets again
/// won't help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("the octets end too early")]
    Truncated,
    #[error("{0} octets too many")]
    Trailing(usize),
    #[error("a vector length that is not minimal, or longer than four octets")]
    Length,
    #[error("more than {MAX_ELEMENTS} elements in one vector")]
    TooMany,
    #[error("{value} is not a {what}")]
    Enum { what: &'static str, value: u64 },
    #[error("a string that is not UTF-8")]
    Utf8,
    #[error(transparent)]
    Uri(#[from] UriError),
    #[error(transparent)]
    Mls(#[from] CodecError),
    #[error("{0}")]
    Invalid(&'static str),
}

/// The most elements a vector may have (D54). The largest honest one is the participant list.
pub const MAX_ELEMENTS: usize = 65_536;

/// A struct of the wire.
pub trait Tls: Sized {
    fn write(&self, out: &mut Writer);
    fn read(from: &mut Reader<'_>) -> Result<Self, WireError>;

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        self.write(&mut out);
        out.0
    }

    /// Reads a value that is all of `octets`.
    fn decode(octets: &[u8]) -> Result<Self, WireError> {
        let mut from = Reader::new(octets);
        let value = Self::read(&mut from)?;
        from.finish()?;
        Ok(value)
    }
}

/// What is still to be read.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Leaves what is behind an answer we don't know (D59).
    pub fn skip_rest(&mut self) {
        self.0 = &[];
    }

    pub fn finish(&self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError::Trailing(self.0.len())) }
    }

    pub fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    /// `opaque x[N]`
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub fn u8(&mut self) -> Result<u8, WireError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// `opaque x<V>` (RFC 9420 §2.1.2)
    pub fn vector(&mut self) -> Result<&'a [u8], WireError> {
        let first = self.u8()?;
        let mut length = usize::from(first & 0x3f);
        let (more, least) = match first >> 6 {
            0 => (0, 0),
            1 => (1, 1 << 6),
            2 => (3, 1 << 14),
            _ => return Err(WireError::Length),
        };
        for _ in 0..more {
            length = length << 8 | usize::from(self.u8()?);
        }
        if length < least {
            return Err(WireError::Length);
        }
        self.take(length)
    }
}

/// What has been written.
#[derive(Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    pub fn octets(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }

    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub fn u16(&mut self, value: u16) {
        self.octets(&value.to_be_bytes());
    }

    pub fn u32(&mut self, value: u32) {
        self.octets(&value.to_be_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.octets(&value.to_be_bytes());
    }

    pub fn vector(&mut self, octets: &[u8]) {
        match octets.len() {
            length @ 0..0x40 => self.u8(length as u8),
            length @ 0x40..0x4000 => self.u16(length as u16 | 0x4000),
            length => {
                assert!(length < 1 << 30, "everything we send is bounded far below a gibibyte");
                self.u32(length as u32 | 0x8000_0000);
            }
        }
        self.octets(octets);
    }

    pub fn into_octets(self) -> Vec<u8> {
        self.0
    }
}

macro_rules! integers {
    ($($int:ident),*) => {$(
        impl Tls for $int {
            fn write(&self, out: &mut Writer) { out.$int(*self) }
            fn read(from: &mut Reader<'_>) -> Result<Self, WireError> { from.$int() }
        }
    )*};
}
integers!(u8, u16, u32, u64);

/// Also the presence octet of an `optional`: anything but 0 and 1 is malformed.
impl Tls for bool {
    fn write(&self, out: &mut Writer) {
        out.u8((*self).into());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        match from.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(WireError::Enum { what: "presence octet or bool", value: value.into() }),
        }
    }
}

/// `opaque x<V>`
impl Tls for Bytes {
    fn write(&self, out: &mut Writer) {
        out.vector(self);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self::copy_from_slice(from.vector()?))
    }
}

/// `opaque x[N]`
impl<const N: usize> Tls for [u8; N] {
    fn write(&self, out: &mut Writer) {
        out.octets(self);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.array()
    }
}

/// `T x<V>`
impl<T: Tls> Tls for Vec<T> {
    fn write(&self, out: &mut Writer) {
        let mut inner = Writer::default();
        self.iter().for_each(|it| it.write(&mut inner));
        out.vector(&inner.0);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut from = Reader(from.vector()?);
        let mut list = Vec::new();
        while !from.is_empty() {
            if list.len() == MAX_ELEMENTS {
                return Err(WireError::TooMany);
            }
            list.push(T::read(&mut from)?);
        }
        Ok(list)
    }
}

/// `optional<T>`, written with and without the brackets in the drafts (D8).
impl<T: Tls> Tls for Option<T> {
    fn write(&self, out: &mut Writer) {
        out.u8(self.is_some().into());
        if let Some(value) = self {
            value.write(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(if bool::read(from)? { Some(T::read(from)?) } else { None })
    }
}

/// A `UTF8String`.
impl Tls for String {
    fn write(&self, out: &mut Writer) {
        out.vector(self.as_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let octets = from.vector()?;
        Ok(std::str::from_utf8(octets).map_err(|_| WireError::Utf8)?.to_owned())
    }
}

/// An enum of one octet. For requests, where an unknown value is malformed (D59).
macro_rules! tls_enum {
    ($(#[$doc:meta])* $name:ident: $what:literal { $($(#[$variant_doc:meta])* $variant:ident = $value:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),*
        }

        impl $crate::mimi::tls::Tls for $name {
            fn write(&self, out: &mut $crate::mimi::tls::Writer) {
                out.u8(match self { $(Self::$variant => $value),* });
            }

            fn read(from: &mut $crate::mimi::tls::Reader<'_>) -> Result<Self, $crate::mimi::tls::WireError> {
                match from.u8()? {
                    $($value => Ok(Self::$variant),)*
                    value => Err($crate::mimi::tls::WireError::Enum { what: $what, value: value.into() }),
                }
            }
        }
    };
}
pub(crate) use tls_enum;

/// Names a struct's fields once, in the order of the wire.
macro_rules! tls_struct {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::mimi::tls::Tls for $name {
            fn write(&self, out: &mut $crate::mimi::tls::Writer) {
                $($crate::mimi::tls::Tls::write(&self.$field, out);)*
            }

            fn read(from: &mut $crate::mimi::tls::Reader<'_>) -> Result<Self, $crate::mimi::tls::WireError> {
                Ok(Self { $($field: $crate::mimi::tls::Tls::read(from)?),* })
            }
        }
    };
}
pub(crate) use tls_struct;

/// `struct { opaque uri<V>; } IdentifierUri`, and `Uri` in the policy components.
macro_rules! tls_uri {
    ($($name:ty),*) => {$(
        impl Tls for $name {
            fn write(&self, out: &mut Writer) {
                out.vector(self.as_str().as_bytes());
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
                let octets = from.vector()?;
                Ok(Self::parse(std::str::from_utf8(octets).map_err(|_| WireError::Utf8)?)?)
            }
        }
    )*};
}
tls_uri!(UserUri, RoomUri, IdentifierUri);

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(octets: &[u8]) -> Result<Bytes, WireError> {
        Bytes::decode(octets)
    }

    // RFC 9000 §16 has the encoding, RFC 9420 §2.1.2 the prohibitions.
    #[test]
    fn a_length_takes_one_two_or_four_octets() {
        for (length, head) in [(0usize, "00"), (63, "3f"), (64, "4040"), (16_383, "7fff"), (16_384, "80004000")] {
            let mut octets = hex::decode(head).unwrap();
            octets.resize(octets.len() + length, 7);
            assert_eq!(vector(&octets).unwrap().len(), length);
            assert_eq!(Bytes::from(vec![7; length]).encode(), octets);
        }
    }

    #[test]
    fn a_length_that_is_not_minimal_is_malformed() {
        for octets in ["4000", "403f", "80000000", "80003fff", "c000000000000000", "ff"] {
            assert_eq!(vector(&hex::decode(octets).unwrap()), Err(WireError::Length), "{octets}");
        }
    }

    #[test]
    fn a_huge_length_allocates_nothing() {
        assert_eq!(vector(&[0xbf, 0xff, 0xff, 0xff]), Err(WireError::Truncated));
    }

    #[test]
    fn an_optional_is_present_with_one_absent_with_zero_and_nothing_else() {
        assert_eq!(Option::<u16>::decode(&[0]), Ok(None));
        assert_eq!(Option::<u16>::decode(&[1, 0, 9]), Ok(Some(9)));
        assert!(Option::<u16>::decode(&[2, 0, 9]).is_err());
    }

    #[test]
    fn elements_fill_their_vector_exactly() {
        assert_eq!(Vec::<u16>::decode(&[4, 0, 1, 0, 2]), Ok(vec![1, 2]));
        assert_eq!(Vec::<u16>::decode(&[3, 0, 1, 0]), Err(WireError::Truncated));
        assert_eq!(Vec::<u16>::decode(&[2, 0, 1, 0]), Err(WireError::Trailing(1)));
    }

    #[test]
    fn elements_are_counted_before_they_are_kept() {
        let octets = Bytes::from(vec![0; MAX_ELEMENTS + 1]).encode();
        assert_eq!(Vec::<Bytes>::decode(&octets), Err(WireError::TooMany));
    }
}
