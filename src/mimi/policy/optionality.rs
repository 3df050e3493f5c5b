//! What a room asks for, leaves open, or forbids (R§6).

use crate::mimi::tls::{Reader, Tls, WireError, Writer, tls_enum};

tls_enum! {
    /// `Optionality`. The selects of the draft call a required one mandatory (D26).
    Optionality: "Optionality" { Optional = 0 "optional", Required = 1 "required", Forbidden = 2 "forbidden" }
}

/// An Optionality with what belongs to it where it is not forbidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unless<T> {
    Forbidden,
    Optional(T),
    Required(T),
}

impl<T: Tls> Unless<T> {
    pub(super) fn write(&self, out: &mut Writer) {
        let (optionality, allowed) = match self {
            Self::Forbidden => (Optionality::Forbidden, None),
            Self::Optional(allowed) => (Optionality::Optional, Some(allowed)),
            Self::Required(allowed) => (Optionality::Required, Some(allowed)),
        };
        optionality.write(out);
        if let Some(allowed) = allowed {
            allowed.write(out);
        }
    }

    /// `name` is what the Optionality is called; the rest stands beside it.
    pub(super) fn read(name: &'static str, from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match from.field(name)? {
            Optionality::Forbidden => Self::Forbidden,
            Optionality::Optional => Self::Optional(T::read(from)?),
            Optionality::Required => Self::Required(T::read(from)?),
        })
    }
}
