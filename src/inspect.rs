//! `inspect`: octets of MIMI as JSON with the names of the drafts, and JSON as octets.
//!
//! It goes through the codecs that the gateway itself uses, so what it says is what a gateway makes of these
//! octets: engineers of two providers can compare, and outsiders can test us. There is no configuration, no
//! key and no network in it.
//!
//! Invariant: what is written down of octets is enough to write them again. D10 and D59 let us read some that we
//! would never write, and then a remark says so.

mod about;
mod content;
mod json;
mod kinds;
mod mls;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;

pub use json::{from_json, to_json};
pub use kinds::{KINDS, Kind, MISSING, kind};

use crate::mimi::{
    tls::{Notes, Reader, Tls, Tree, WireError},
    uri::{RoomUri, UserUri},
};

/// Octets that were read.
#[derive(Debug)]
pub struct Inspected {
    /// What they say. Fields whose name starts with `_` are ours, and say more about what is beside them.
    pub tree: Tree,
    /// What somebody who compares should know.
    pub remarks: Vec<String>,
}

/// Who sent a content, and to which room, for those who know better than its extensions.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    pub sender: Option<UserUri>,
    pub room: Option<RoomUri>,
}

/// Why octets are not what they should be, and where; or why a tree is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Of the octet that should have been another, counted from 0. A tree has none.
    pub offset: Option<usize>,
    /// Which field of which element: `clients[1].clientUri`. Empty for the whole.
    pub path: String,
    /// What should have been there, if the problem doesn't say it.
    pub expected: String,
    pub problem: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, path, expected, problem } = self;
        if let Some(offset) = offset {
            write!(f, "at offset {offset} ({offset:#x})")?;
            if !path.is_empty() {
                f.write_str(", ")?;
            }
        }
        if !path.is_empty() {
            write!(f, "in {path}")?;
        }
        if offset.is_some() || !path.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(problem)?;
        if expected.is_empty() { Ok(()) } else { write!(f, "; expected here: {expected}") }
    }
}

/// Reads octets as a `T`.
fn read<T: Tls>(octets: &[u8]) -> Result<Inspected, Malformed> {
    let notes = Notes::default();
    let mut from = Reader::noted(octets, &notes);
    let value = T::read(&mut from).and_then(|value| from.finish().map(|()| value));
    let value = value.map_err(|error| malformed(error, &notes, octets))?;
    let mut remarks = Vec::new();
    let again = value.encode();
    if again != octets {
        let same = again.iter().zip(octets).take_while(|(one, other)| one == other).count();
        remarks.push(format!(
            "we tolerate this (D10, D59), but would write it otherwise from offset {same} ({same:#x}) on: {}",
            hex::encode(&again)
        ));
    }
    Ok(Inspected { tree: about::add(notes.into_tree()), remarks })
}

fn malformed(error: WireError, notes: &Notes, octets: &[u8]) -> Malformed {
    let expected = match error {
        WireError::Mls(_) => match notes.value().and_then(|(what, at)| mls::malformed(what, at, octets)) {
            Some(inside) => {
                let path = [notes.path(), inside.path].into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>();
                return Malformed { path: path.join("."), ..inside };
            }
            None => notes.expected(),
        },
        // These are about what a value says, and tell by themselves what it should.
        WireError::Uri(_) | WireError::Invalid(_) => String::new(),
        _ => notes.expected(),
    };
    Malformed { offset: Some(notes.at()), path: notes.path(), expected, problem: error.to_string() }
}

/// Writes what a tree says as a `T`.
fn write<T: Tls>(tree: &Tree) -> Result<Vec<u8>, Malformed> {
    let octets = of_tree(tree, T::read)?.encode();
    // Nobody should be given octets to send that we could not read ourselves.
    read::<T>(&octets).map_err(unreadable)?;
    Ok(octets)
}

fn unreadable(why: Malformed) -> Malformed {
    Malformed { problem: format!("what was written can't be read again: {}", why.problem), ..why }
}

/// Reads a value from a tree.
fn of_tree<T>(tree: &Tree, read: impl FnOnce(&mut Reader<'_>) -> Result<T, WireError>) -> Result<T, Malformed> {
    let notes = Notes::default();
    let mut from = Reader::of_tree(tree, &notes);
    let value = read(&mut from).and_then(|value| from.finish().map(|()| value));
    value.map_err(|error| Malformed {
        offset: None,
        path: notes.path(),
        expected: String::new(),
        problem: error.to_string(),
    })
}
