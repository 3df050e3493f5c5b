//! Reading octets.

use super::{Notes, WireError};

/// What is left of the octets, and where in the whole of them that starts.
pub(super) struct Octets<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Octets<'a> {
    pub fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets, at: 0 }
    }

    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn skip_rest(&mut self) -> &'a [u8] {
        self.at += self.rest.len();
        std::mem::take(&mut self.rest)
    }

    pub fn finish(&self, notes: Option<&Notes>) -> Result<(), WireError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        self.expect(notes, || "the end".into());
        Err(WireError::Trailing(self.rest.len()))
    }

    pub fn number<const WIDTH: usize>(
        &mut self,
        notes: Option<&Notes>,
        expected: impl FnOnce() -> String,
    ) -> Result<u64, WireError> {
        let octets = self.array::<WIDTH>(notes, expected)?;
        Ok(octets.iter().fold(0, |sum, octet| sum << 8 | u64::from(*octet)))
    }

    pub fn bool(&mut self, notes: Option<&Notes>) -> Result<bool, WireError> {
        match self.number::<1>(notes, || "0 or 1".into())? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(WireError::Enum { what: "presence octet or bool", value }),
        }
    }

    pub fn array<const N: usize>(
        &mut self,
        notes: Option<&Notes>,
        expected: impl FnOnce() -> String,
    ) -> Result<[u8; N], WireError> {
        self.expect(notes, expected);
        let (taken, rest) = self.rest.split_first_chunk().ok_or(WireError::Truncated)?;
        self.rest = rest;
        self.at += N;
        Ok(*taken)
    }

    /// What is in a vector (RFC 9420 §2.1.2).
    pub fn vector(&mut self, notes: Option<&Notes>) -> Result<Self, WireError> {
        const LENGTH: &str = "the length of a vector, in as few octets as can be";
        let start = self.at;
        let first = self.number::<1>(notes, || LENGTH.into())?;
        let (length, least) = match first >> 6 {
            0 => (first, 0),
            1 => ((first & 0x3f) << 8 | self.number::<1>(notes, || LENGTH.into())?, 1 << 6),
            2 => ((first & 0x3f) << 24 | self.number::<3>(notes, || LENGTH.into())?, 1 << 14),
            _ => (0, 1),
        };
        if length < least {
            expect(notes, start, || LENGTH.into());
            return Err(WireError::Length);
        }
        // At most 30 bits.
        let length = length as usize;
        self.expect(notes, || format!("a vector of {length} octets"));
        let (vector, rest) = self.rest.split_at_checked(length).ok_or(WireError::Truncated)?;
        let vector = Self { rest: vector, at: self.at };
        self.rest = rest;
        self.at += length;
        Ok(vector)
    }

    pub fn text(&mut self, notes: Option<&Notes>) -> Result<&'a str, WireError> {
        let vector = self.vector(notes)?;
        std::str::from_utf8(vector.rest).map_err(|error| {
            expect(notes, vector.at + error.valid_up_to(), || "UTF-8".into());
            WireError::Utf8
        })
    }

    pub fn value<T>(
        &mut self,
        what: &'static str,
        decode: impl FnOnce(&[u8]) -> Result<(T, usize), WireError>,
        notes: Option<&Notes>,
    ) -> Result<(T, &'a [u8]), WireError> {
        if let Some(notes) = notes {
            notes.expect_value(self.at, what);
        }
        let (value, length) = decode(self.rest).inspect_err(|error| {
            if let WireError::Mls(error) = error {
                expect(notes, self.at + error.at, || format!("the rest of the {what} that starts at {}", self.at));
            }
        })?;
        let (octets, rest) = self.rest.split_at_checked(length).ok_or(WireError::Truncated)?;
        self.rest = rest;
        self.at += length;
        Ok((value, octets))
    }

    fn expect(&self, notes: Option<&Notes>, expected: impl FnOnce() -> String) {
        expect(notes, self.at, expected);
    }
}

fn expect(notes: Option<&Notes>, at: usize, expected: impl FnOnce() -> String) {
    if let Some(notes) = notes {
        notes.expect(at, expected());
    }
}
