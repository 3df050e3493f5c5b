//! The message secrets of a group, as two rows.
//!
//! openmls hands out everything it needs to read messages as one value: the secrets of this epoch, and beside them
//! those of the epochs before, each with a list of who was a member then. Of that a message in this epoch moves one
//! ratchet. In a room of a thousand the rest is a hundred times as much, and it was most of what a message cost. So
//! what is past has a row of its own, which is written when it may have changed.

use postcard::Error;
use serde::{
    Serialize,
    de::DeserializeOwned,
    ser::{self, Impossible, SerializeStruct, Serializer},
};

use super::storage::{POSTCARD, RowError, append, decode};

/// The last field of the value that is about the past. In postcard a struct is its fields, one after the other, and so
/// the two parts, put together, are the value.
const LAST_OF_PAST: &str = "past_epoch_trees";

pub(super) struct Parts {
    /// If it was asked for.
    pub past: Option<Vec<u8>>,
    pub current: Vec<u8>,
}

/// Takes `secrets` apart; what is past only if `with_past`.
pub(super) fn parts(secrets: &impl Serialize, with_past: bool) -> Result<Parts, RowError> {
    let parts = Parts { past: with_past.then(|| vec![POSTCARD]), current: vec![POSTCARD] };
    secrets.serialize(Split { parts, past_is_over: false }).map_err(|e| RowError::Encode(e.to_string()))
}

/// Puts the two rows together.
pub(super) fn whole<T: DeserializeOwned>(past: &[u8], current: &[u8]) -> Result<T, RowError> {
    match current.split_first() {
        Some((&POSTCARD, current)) => decode(&[past, current].concat()),
        _ => Err(RowError::Decode("message secrets of this epoch in an unknown encoding".into())),
    }
}

struct Split {
    parts: Parts,
    past_is_over: bool,
}

impl SerializeStruct for Split {
    type Ok = Parts;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        if self.past_is_over {
            append(value, &mut self.parts.current)?;
        } else if let Some(past) = &mut self.parts.past {
            append(value, past)?;
        }
        self.past_is_over |= name == LAST_OF_PAST;
        Ok(())
    }

    fn end(self) -> Result<Parts, Error> {
        if self.past_is_over { Ok(self.parts) } else { Err(unlike()) }
    }
}

/// Another version of openmls keeps them in another way.
fn unlike() -> Error {
    ser::Error::custom("message secrets are not the struct they were")
}

/// Nothing but a struct has parts.
macro_rules! refuse {
    ($($method:ident($($of:ty),*) $(<$t:ident>)? -> $ok:ty;)*) => {$(
        fn $method$(<$t: Serialize + ?Sized>)?(self, $(_: $of),*) -> Result<$ok, Error> {
            Err(unlike())
        }
    )*};
}

type No = Impossible<Parts, Error>;

impl Serializer for Split {
    type Ok = Parts;
    type Error = Error;
    type SerializeSeq = No;
    type SerializeTuple = No;
    type SerializeTupleStruct = No;
    type SerializeTupleVariant = No;
    type SerializeMap = No;
    type SerializeStruct = Self;
    type SerializeStructVariant = No;

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    refuse! {
        serialize_bool(bool) -> Parts;
        serialize_i8(i8) -> Parts;
        serialize_i16(i16) -> Parts;
        serialize_i32(i32) -> Parts;
        serialize_i64(i64) -> Parts;
        serialize_u8(u8) -> Parts;
        serialize_u16(u16) -> Parts;
        serialize_u32(u32) -> Parts;
        serialize_u64(u64) -> Parts;
        serialize_f32(f32) -> Parts;
        serialize_f64(f64) -> Parts;
        serialize_char(char) -> Parts;
        serialize_str(&str) -> Parts;
        serialize_bytes(&[u8]) -> Parts;
        serialize_none() -> Parts;
        serialize_some(&T) <T> -> Parts;
        serialize_unit() -> Parts;
        serialize_unit_struct(&'static str) -> Parts;
        serialize_unit_variant(&'static str, u32, &'static str) -> Parts;
        serialize_newtype_struct(&'static str, &T) <T> -> Parts;
        serialize_newtype_variant(&'static str, u32, &'static str, &T) <T> -> Parts;
        serialize_seq(Option<usize>) -> No;
        serialize_tuple(usize) -> No;
        serialize_tuple_struct(&'static str, usize) -> No;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> No;
        serialize_map(Option<usize>) -> No;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> No;
    }
}
