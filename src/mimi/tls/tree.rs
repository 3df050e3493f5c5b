//! A struct of the wire as people write it down, with the names of the drafts; and reading one.

use bytes::Bytes;

use super::{Names, WireError};

/// A struct of the wire, in no particular notation.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Tree {
    /// An `optional` that isn't there.
    #[default]
    Absent,
    Bool(bool),
    Number(u64),
    /// A UTF-8 string or the name of an enum's value. When read: octets too, in hex.
    Text(String),
    Octets {
        octets: Bytes,
        /// The struct in them, if the draft says that there is one.
        what: Option<&'static str>,
        /// For people: what somebody who knows more sees in them.
        about: Vec<(String, Tree)>,
    },
    List(Vec<Tree>),
    /// Names that start with `_` are for people: nobody reads them back.
    Struct(Vec<(String, Tree)>),
}

impl Tree {
    pub fn octets(octets: &[u8]) -> Self {
        Self::Octets { octets: Bytes::copy_from_slice(octets), what: None, about: Vec::new() }
    }

    /// A field of a struct.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Struct(fields) => fields.iter().find(|(known, _)| known == name).map(|(_, tree)| tree),
            _ => None,
        }
    }

    /// What it is, for those who expected something else.
    fn kind(&self) -> String {
        match self {
            Self::Absent => "nothing (null)".into(),
            Self::Bool(value) => value.to_string(),
            Self::Number(value) => value.to_string(),
            Self::Text(text) if text.chars().count() <= 40 => format!("{text:?}"),
            Self::Text(_) => "a longer text".into(),
            Self::Octets { .. } => "octets".into(),
            Self::List(_) => "a list".into(),
            Self::Struct(_) => "a struct".into(),
        }
    }
}

/// The field of an object that has octets and something to say about them.
pub(super) const OCTETS: &str = "octets";

/// A tree, and how much of it has been read.
pub(super) struct Branch<'a> {
    tree: &'a Tree,
    /// The fields that have been read.
    fields: Vec<&'static str>,
    /// How many elements have been read.
    elements: usize,
    all_read: bool,
}

impl<'a> Branch<'a> {
    pub fn new(tree: &'a Tree) -> Self {
        Self { tree, fields: Vec::new(), elements: 0, all_read: false }
    }

    pub fn all(&mut self) -> &'a Tree {
        self.all_read = true;
        self.tree
    }

    pub fn finish(&self) -> Result<(), WireError> {
        let Tree::Struct(fields) = self.tree else { return Ok(()) };
        let unknown = fields.iter().map(|(name, _)| name.as_str()).find(|name| {
            // An object of octets has been read as a whole.
            !self.all_read && !name.starts_with('_') && !self.fields.contains(name) && *name != OCTETS
        });
        match unknown {
            None => Ok(()),
            Some(name) if self.fields.is_empty() => Err(WireError::Tree(format!("there is no field {name:?} here"))),
            Some(name) => {
                let known = self.fields.join(", ");
                Err(WireError::Tree(format!("there is no field {name:?} here; there are: {known}")))
            }
        }
    }

    pub fn field(&mut self, name: &'static str) -> Result<Self, WireError> {
        self.fields.push(name);
        match self.tree {
            Tree::Struct(_) => match self.tree.get(name) {
                Some(tree) => Ok(Self::new(tree)),
                None => Err(WireError::Tree("this field is missing".into())),
            },
            _ => Err(self.instead_of("a struct")),
        }
    }

    pub fn elements(&self) -> Result<Self, WireError> {
        match self.tree {
            Tree::List(_) => Ok(Self::new(self.tree)),
            _ => Err(self.instead_of("a list")),
        }
    }

    pub fn has_more(&self) -> bool {
        matches!(self.tree, Tree::List(elements) if self.elements < elements.len())
    }

    pub fn element(&mut self) -> Result<Self, WireError> {
        let Tree::List(elements) = self.tree else { return Err(self.instead_of("a list")) };
        let tree = elements.get(self.elements);
        self.elements += 1;
        tree.map(Self::new).ok_or_else(|| WireError::Tree("one element is needed".into()))
    }

    pub fn is_present(&self) -> bool {
        !matches!(self.tree, Tree::Absent)
    }

    pub fn bool(&self) -> Result<bool, WireError> {
        match self.tree {
            Tree::Bool(value) => Ok(*value),
            _ => Err(self.instead_of("true or false")),
        }
    }

    pub fn number(&self, width: usize) -> Result<u64, WireError> {
        let most = u64::MAX >> (64 - 8 * width);
        match self.tree {
            Tree::Number(value) if *value <= most => Ok(*value),
            _ => Err(self.instead_of(&format!("a number of at most {most}"))),
        }
    }

    pub fn code(&self, names: Names, width: usize) -> Result<u64, WireError> {
        let Tree::Text(text) = self.tree else { return self.number(width) };
        match names.iter().find(|(_, name)| name == text) {
            Some((value, _)) => Ok((*value).into()),
            None => Err(self.instead_of(&format!("{} (or another number)", one_of(names)))),
        }
    }

    pub fn text(&self) -> Result<&'a str, WireError> {
        match self.tree {
            Tree::Text(text) => Ok(text),
            _ => Err(self.instead_of("a text")),
        }
    }

    pub fn octets(&self) -> Result<Bytes, WireError> {
        let hex = match self.tree {
            Tree::Octets { octets, .. } => return Ok(octets.clone()),
            Tree::Struct(_) => self.tree.get(OCTETS).unwrap_or(self.tree),
            tree => tree,
        };
        match hex {
            Tree::Text(hex) => match hex::decode(hex) {
                Ok(octets) => Ok(octets.into()),
                Err(error) => Err(WireError::Tree(format!("octets are written in hex: {error}"))),
            },
            _ => Err(self.instead_of("octets in hex")),
        }
    }

    pub fn array<const N: usize>(&self) -> Result<[u8; N], WireError> {
        let octets = self.octets()?;
        let length = octets.len();
        (&*octets).try_into().map_err(|_| WireError::Tree(format!("{N} octets were expected, these are {length}")))
    }

    pub fn value<T>(&self, decode: impl FnOnce(&[u8]) -> Result<(T, usize), WireError>) -> Result<T, WireError> {
        let octets = self.octets()?;
        match decode(&octets)? {
            (value, length) if length == octets.len() => Ok(value),
            (_, length) => Err(WireError::Trailing(octets.len() - length)),
        }
    }

    fn instead_of(&self, expected: &str) -> WireError {
        WireError::Tree(format!("{expected} was expected, this is {}", self.tree.kind()))
    }
}

/// The names to choose from.
pub(super) fn one_of(names: Names) -> String {
    match names {
        [(value, name)] => format!("{name} ({value})"),
        // Nobody reads all capabilities.
        [first, .., last] if names.len() > 12 => format!("one of {} ({}) to {} ({})", first.1, first.0, last.1, last.0),
        _ => {
            let all: Vec<_> = names.iter().map(|(value, name)| format!("{name} ({value})")).collect();
            format!("one of {}", all.join(", "))
        }
    }
}
