//! TLS presentation language as RFC 9420 §2.1 profiles it, read exactly.
//!
//! The same structs can be read from a [`Tree`], which is how people and their tools write them down.
//!
//! Invariant: any octets give a value or a [`WireError`], never a panic, and what is allocated is bounded
//! by what was received. A value's encoding is unique: lengths must be minimal, and [`Tls::decode`] takes
//! all of the octets or none.
//!
//! Why not derive tls_codec's traits? Its vectors are unbounded in number, its errors don't tell what was
//! wrong in which field, one of its two decoders asserts on truncated input in debug builds, and URIs,
//! MLS values and the tolerances of D10 need hand-written code anyway.

mod notes;
mod octets;
mod tree;

use bytes::Bytes;
pub use notes::Notes;
pub use tree::Tree;

use self::{notes::Step, octets::Octets, tree::Branch};
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
    /// Of a [`Tree`]: what somebody wrote down is not such a struct.
    #[error("{0}")]
    Tree(String),
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

/// What is still to be read: octets, or the same struct as a [`Tree`].
///
/// Structs say what they read in the order of the wire, and by the names of the drafts. So one description
/// of a struct serves octets, trees and whoever takes [`Notes`].
pub struct Reader<'a> {
    source: Source<'a>,
    notes: Option<&'a Notes>,
}

enum Source<'a> {
    Octets(Octets<'a>),
    Tree(Branch<'a>),
}

/// The names of an enum's values.
pub type Names = &'static [(u16, &'static str)];

impl<'a> Reader<'a> {
    pub fn new(octets: &'a [u8]) -> Self {
        Self { source: Source::Octets(Octets::new(octets)), notes: None }
    }

    /// Reads octets, and has it written down what was read where.
    pub fn noted(octets: &'a [u8], notes: &'a Notes) -> Self {
        Self { source: Source::Octets(Octets::new(octets)), notes: Some(notes) }
    }

    /// Reads what `octets` would say from a tree.
    pub fn of_tree(tree: &'a Tree, notes: &'a Notes) -> Self {
        Self { source: Source::Tree(Branch::new(tree)), notes: Some(notes) }
    }

    /// Nothing may be left: no octet, and no field of a tree that the struct doesn't have.
    pub fn finish(&self) -> Result<(), WireError> {
        match &self.source {
            Source::Octets(octets) => octets.finish(self.notes),
            Source::Tree(branch) => branch.finish(),
        }
    }

    pub fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.number::<1>()? as u8)
    }

    pub fn u16(&mut self) -> Result<u16, WireError> {
        Ok(self.number::<2>()? as u16)
    }

    pub fn u32(&mut self) -> Result<u32, WireError> {
        Ok(self.number::<4>()? as u32)
    }

    pub fn u64(&mut self) -> Result<u64, WireError> {
        self.number::<8>()
    }

    fn number<const WIDTH: usize>(&mut self) -> Result<u64, WireError> {
        let value = match &mut self.source {
            Source::Octets(octets) => octets.number::<WIDTH>(self.notes, || format!("a uint{}", 8 * WIDTH))?,
            Source::Tree(branch) => branch.number(WIDTH)?,
        };
        self.note(|| Tree::Number(value));
        Ok(value)
    }

    /// An enum of one octet. Which values there may be is for the caller to say.
    pub fn code(&mut self, names: Names) -> Result<u8, WireError> {
        Ok(self.named::<1>(names)? as u8)
    }

    /// An enum of two octets.
    pub fn code16(&mut self, names: Names) -> Result<u16, WireError> {
        Ok(self.named::<2>(names)? as u16)
    }

    fn named<const WIDTH: usize>(&mut self, names: Names) -> Result<u64, WireError> {
        let value = match &mut self.source {
            Source::Octets(octets) => octets.number::<WIDTH>(self.notes, || tree::one_of(names))?,
            Source::Tree(branch) => branch.code(names, WIDTH)?,
        };
        self.note(|| match names.iter().find(|(known, _)| u64::from(*known) == value) {
            Some((_, name)) => Tree::Text((*name).into()),
            None => Tree::Number(value),
        });
        Ok(value)
    }

    /// `bool`, which is also the presence octet of an `optional`: anything but 0 and 1 is malformed.
    pub fn bool(&mut self) -> Result<bool, WireError> {
        let value = match &mut self.source {
            Source::Octets(octets) => octets.bool(self.notes)?,
            Source::Tree(branch) => branch.bool()?,
        };
        self.note(|| Tree::Bool(value));
        Ok(value)
    }

    /// `opaque x[N]`
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let array: [u8; N] = match &mut self.source {
            Source::Octets(octets) => octets.array(self.notes, || format!("{N} octets"))?,
            Source::Tree(branch) => branch.array()?,
        };
        self.note(|| Tree::octets(&array));
        Ok(array)
    }

    /// `opaque x<V>` (RFC 9420 §2.1.2)
    pub fn vector(&mut self) -> Result<Bytes, WireError> {
        let vector = match &mut self.source {
            Source::Octets(octets) => Bytes::copy_from_slice(octets.vector(self.notes)?.rest()),
            Source::Tree(branch) => branch.octets()?,
        };
        self.note(|| Tree::octets(&vector));
        Ok(vector)
    }

    /// `opaque x<V>` that is UTF-8.
    pub fn text(&mut self) -> Result<&'a str, WireError> {
        let text = match &mut self.source {
            Source::Octets(octets) => octets.text(self.notes)?,
            Source::Tree(branch) => branch.text()?,
        };
        self.note(|| Tree::Text(text.into()));
        Ok(text)
    }

    /// A value that has no length in front, so that only its own decoder knows where it ends. `decode` gets
    /// all that is left and says how much it took.
    pub fn value<T>(
        &mut self,
        what: &'static str,
        decode: impl FnOnce(&[u8]) -> Result<(T, usize), WireError>,
    ) -> Result<T, WireError> {
        match &mut self.source {
            Source::Octets(octets) => {
                let (value, octets) = octets.value(what, decode, self.notes)?;
                self.note(|| Tree::Octets {
                    octets: Bytes::copy_from_slice(octets),
                    what: Some(what),
                    about: Vec::new(),
                });
                Ok(value)
            }
            Source::Tree(branch) => branch.value(decode),
        }
    }

    /// `T x<V>`
    pub fn list<T>(&mut self, read: impl Fn(&mut Self) -> Result<T, WireError>) -> Result<Vec<T>, WireError> {
        let elements = match &mut self.source {
            Source::Octets(octets) => Source::Octets(octets.vector(self.notes)?),
            Source::Tree(branch) => Source::Tree(branch.elements()?),
        };
        self.note(|| Tree::List(Vec::new()));
        let mut from = Self { source: elements, notes: self.notes };
        let mut list = Vec::new();
        while from.has_more() {
            list.push(from.element(list.len(), &read)?);
        }
        Ok(list)
    }

    /// One `T` or several, one after the other, to the end of the octets.
    pub fn row<T>(&mut self, read: impl Fn(&mut Self) -> Result<T, WireError>) -> Result<Vec<T>, WireError> {
        if let Source::Tree(branch) = &self.source {
            self.source = Source::Tree(branch.elements()?);
        }
        self.note(|| Tree::List(Vec::new()));
        let mut row = vec![self.element(0, &read)?];
        while self.has_more() {
            row.push(self.element(row.len(), &read)?);
        }
        Ok(row)
    }

    fn has_more(&self) -> bool {
        match &self.source {
            Source::Octets(octets) => !octets.rest().is_empty(),
            Source::Tree(branch) => branch.has_more(),
        }
    }

    fn element<T>(
        &mut self,
        index: usize,
        read: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<T, WireError> {
        if index == MAX_ELEMENTS {
            return Err(WireError::TooMany);
        }
        self.inside(Step::Element(index), Branch::element, read)
    }

    /// `optional<T>`, written with and without the brackets in the drafts (D8).
    pub fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<Option<T>, WireError> {
        let present = match &mut self.source {
            Source::Octets(octets) => octets.bool(self.notes)?,
            Source::Tree(branch) => branch.is_present(),
        };
        if !present {
            self.note(|| Tree::Absent);
            return Ok(None);
        }
        read(self).map(Some)
    }

    /// The next field of a struct, as the drafts name it.
    pub fn field<T: Tls>(&mut self, name: &'static str) -> Result<T, WireError> {
        self.field_with(name, T::read)
    }

    pub fn field_with<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<T, WireError> {
        self.inside(Step::Field(name), |branch| branch.field(name), read)
    }

    fn inside<T>(
        &mut self,
        step: Step,
        branch: impl FnOnce(&mut Branch<'a>) -> Result<Branch<'a>, WireError>,
        read: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<T, WireError> {
        if let Some(notes) = self.notes {
            notes.enter(step);
        }
        let value = if let Source::Tree(tree) = &mut self.source {
            let mut from = Self { source: Source::Tree(branch(tree)?), notes: self.notes };
            let value = read(&mut from)?;
            from.finish()?;
            value
        } else {
            read(self)?
        };
        if let Some(notes) = self.notes {
            notes.leave();
        }
        Ok(value)
    }

    /// All of a tree, for what has names of its own. `None` if it is octets that are read.
    pub fn tree(&mut self) -> Option<&'a Tree> {
        match &mut self.source {
            Source::Octets(_) => None,
            Source::Tree(branch) => Some(branch.all()),
        }
    }

    /// How many octets are left.
    pub fn left(&self) -> usize {
        match &self.source {
            Source::Octets(octets) => octets.rest().len(),
            Source::Tree(_) => 0,
        }
    }

    /// Leaves what is behind an answer we don't know (D59).
    pub fn skip_rest(&mut self) {
        if let Source::Octets(octets) = &mut self.source {
            let skipped = octets.skip_rest();
            if let Some(notes) = self.notes.filter(|_| !skipped.is_empty()) {
                notes.enter(Step::Field("_skipped"));
                notes.leaf(Tree::octets(skipped));
                notes.leave();
            }
        }
    }

    fn note(&self, leaf: impl FnOnce() -> Tree) {
        if let Some(notes) = self.notes {
            notes.leaf(leaf());
        }
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

impl Tls for bool {
    fn write(&self, out: &mut Writer) {
        out.u8((*self).into());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.bool()
    }
}

/// `opaque x<V>`
impl Tls for Bytes {
    fn write(&self, out: &mut Writer) {
        out.vector(self);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.vector()
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
        from.list(T::read)
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
        from.optional(T::read)
    }
}

/// A `UTF8String`.
impl Tls for String {
    fn write(&self, out: &mut Writer) {
        out.vector(self.as_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.text().map(str::to_owned)
    }
}

/// An enum of one octet, with the names of its values. For requests, where an unknown value is malformed (D59).
macro_rules! tls_enum {
    ($(#[$doc:meta])* $name:ident: $what:literal {
        $($(#[$variant_doc:meta])* $variant:ident = $value:literal $word:literal),* $(,)?
    }) => {
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
                match from.code(&[$(($value, $word)),*])? {
                    $($value => Ok(Self::$variant),)*
                    value => Err($crate::mimi::tls::WireError::Enum { what: $what, value: value.into() }),
                }
            }
        }
    };
}
pub(crate) use tls_enum;

/// Names a struct's fields once, in the order of the wire; `field = "name"` where the draft calls one otherwise
/// than Rust would.
macro_rules! tls_struct {
    ($struct:ident { $($field:ident $(= $name:literal)?),* $(,)? }) => {
        impl $crate::mimi::tls::Tls for $struct {
            fn write(&self, out: &mut $crate::mimi::tls::Writer) {
                $($crate::mimi::tls::Tls::write(&self.$field, out);)*
            }

            fn read(from: &mut $crate::mimi::tls::Reader<'_>) -> Result<Self, $crate::mimi::tls::WireError> {
                Ok(Self { $($field: from.field($crate::mimi::tls::tls_struct!(@ $field $($name)?))?),* })
            }
        }
    };
    (@ $field:ident $name:literal) => { $name };
    (@ $field:ident) => { stringify!($field) };
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
                Ok(Self::parse(from.text()?)?)
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
