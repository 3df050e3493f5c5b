//! A [`Tree`] as JSON, and JSON as a [`Tree`].
//!
//! Octets are lowercase hex. Octets about which there is more to say are an object with `octets` and what is
//! said, each name with a `_` in front.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, SeqAccess, Visitor},
    ser::SerializeMap,
};

use crate::mimi::tls::Tree;

/// Ends without a newline.
pub fn to_json(tree: &Tree) -> String {
    serde_json::to_string_pretty(&Written(tree)).expect("a tree has nothing that JSON can't say")
}

/// Refuses what no struct can have: fractions, negative numbers, the same field twice. Depth is bounded by
/// serde_json.
pub fn from_json(json: &[u8]) -> Result<Tree, serde_json::Error> {
    serde_json::from_slice::<Read>(json).map(|Read(tree)| tree)
}

struct Written<'a>(&'a Tree);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Tree::Absent => to.serialize_none(),
            Tree::Bool(value) => to.serialize_bool(*value),
            Tree::Number(value) => to.serialize_u64(*value),
            Tree::Text(text) => to.serialize_str(text),
            Tree::Octets { octets, about, .. } if about.is_empty() => to.serialize_str(&hex::encode(octets)),
            Tree::Octets { octets, about, .. } => {
                let mut map = to.serialize_map(Some(about.len() + 1))?;
                map.serialize_entry("octets", &hex::encode(octets))?;
                about.iter().try_for_each(|(name, tree)| map.serialize_entry(&format!("_{name}"), &Written(tree)))?;
                map.end()
            }
            Tree::List(elements) => to.collect_seq(elements.iter().map(Written)),
            Tree::Struct(fields) => to.collect_map(fields.iter().map(|(name, tree)| (name, Written(tree)))),
        }
    }
}

struct Read(Tree);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ReadVisitor).map(Self)
    }
}

struct ReadVisitor;

impl<'de> Visitor<'de> for ReadVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, a list, a text, true, false, null, or a whole number that is not negative")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Tree, E> {
        Ok(Tree::Absent)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Tree, A::Error> {
        let mut elements = Vec::new();
        while let Some(Read(tree)) = from.next_element()? {
            elements.push(tree);
        }
        Ok(Tree::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Tree, A::Error> {
        let mut fields: Vec<(String, Tree)> = Vec::new();
        while let Some(name) = from.next_key::<String>()? {
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(de::Error::custom(format!("the field {name:?} is there twice")));
            }
            let Read(tree) = from.next_value()?;
            fields.push((name, tree));
        }
        Ok(Tree::Struct(fields))
    }
}
