//! MIMI content, with the names of its CDDL (C§6).

use std::{fmt::Display, str::FromStr};

use bytes::Bytes;

use super::{Inspected, Malformed, Origin, about, of_tree, unreadable};
use crate::mimi::{
    content::{
        ContentError, Disposition, Expiration, ExtensionKey, Extensions, ExternalPart, MessageId, MimiContent,
        NestedPart, Part, PartSemantics, message_id,
    },
    message_status::{self, PerMessageStatus},
    tls::{Names, Notes, Reader, Tree, WireError},
};

const DISPOSITIONS: Names = &[
    (0, "unspecified"),
    (1, "render"),
    (2, "reaction"),
    (3, "profile"),
    (4, "inline"),
    (5, "icon"),
    (6, "attachment"),
    (7, "session"),
    (8, "preview"),
];
const CARDINALITIES: Names = &[(0, "nullpart"), (1, "single"), (2, "external"), (3, "multi")];
const SEMANTICS: Names = &[(0, "chooseOne"), (1, "singleUnit"), (2, "processAll")];
const STATUSES: Names =
    &[(0, "unread"), (1, "delivered"), (2, "read"), (3, "expired"), (4, "deleted"), (5, "hidden"), (6, "error")];

/// Extensions that have a name; the others are called by their key: `-1`, `"a text"`.
const SENDER_URI: &str = "senderUri";
const ROOM_URI: &str = "roomUri";

/// Reads a content, and computes its message ID if it is known who sent it where.
pub(super) fn read(octets: &[u8], origin: &Origin) -> Result<Inspected, Malformed> {
    let content = MimiContent::decode_at(octets).map_err(malformed)?;
    let mut remarks = Vec::new();
    let sender = known("sender", &origin.sender, content.extensions.sender_uri(), &mut remarks);
    let room = known("room", &origin.room, content.extensions.room_uri(), &mut remarks);
    let mut fields = write_content(&content);
    match (sender, room) {
        (Some(sender), Some(room)) => {
            let id = message_id(&sender, &room, octets, &content.salt);
            fields.insert(0, ("_messageId".into(), Tree::Text(id.to_string())));
        }
        _ => remarks.push("no message ID: it needs the sender and the room".into()),
    }
    Ok(Inspected { tree: about::add(Tree::Struct(fields)), remarks })
}

/// The sender or the room: the one that was given, else the one that the content names.
fn known<U>(what: &str, given: &Option<U>, named: Option<&str>, remarks: &mut Vec<String>) -> Option<U>
where
    U: Clone + Display + FromStr<Err: Display>,
{
    match (given, named) {
        (Some(given), Some(named)) if given.to_string() != named => {
            remarks.push(format!("the content names another {what}, {named}, and is discarded for that (D36)"));
            Some(given.clone())
        }
        (Some(given), _) => Some(given.clone()),
        (None, Some(named)) => named.parse().map_err(|error| remarks.push(format!("{what}: {error}"))).ok(),
        (None, None) => None,
    }
}

pub(super) fn write(tree: &Tree) -> Result<Vec<u8>, Malformed> {
    let octets = of_tree(tree, read_content)?.encode();
    MimiContent::decode_at(&octets).map_err(malformed).map_err(unreadable)?;
    Ok(octets)
}

pub(super) fn read_report(octets: &[u8], _: &Origin) -> Result<Inspected, Malformed> {
    let statuses = message_status::decode(octets).map_err(malformed)?;
    let statuses = statuses.iter().map(|it| {
        Tree::Struct(vec![field("messageId", Tree::octets(&it.message_id)), field("status", code(STATUSES, it.status))])
    });
    Ok(Inspected { tree: Tree::List(statuses.collect()), remarks: Vec::new() })
}

pub(super) fn write_report(tree: &Tree) -> Result<Vec<u8>, Malformed> {
    let statuses = of_tree(tree, |from| {
        from.list(|from| {
            let message_id = from.field("messageId")?;
            let status = from.field_with("status", |from| from.code(STATUSES))?.into();
            Ok(PerMessageStatus { message_id, status })
        })
    })?;
    Ok(message_status::encode(&statuses))
}

fn malformed((offset, error): (usize, ContentError)) -> Malformed {
    Malformed { offset: Some(offset), path: String::new(), expected: String::new(), problem: error.to_string() }
}

fn write_content(content: &MimiContent) -> Vec<(String, Tree)> {
    let reference = |id: &Option<MessageId>| id.map_or(Tree::Absent, |id| Tree::octets(id.as_bytes()));
    let expires = |(relative, time): (bool, u32)| {
        Tree::Struct(vec![field("relative", Tree::Bool(relative)), field("time", number(time))])
    };
    let expires = content.expires.map(|it| match it {
        Expiration::Relative(seconds) => expires((true, seconds)),
        Expiration::Absolute(seconds) => expires((false, seconds)),
    });
    vec![
        field("salt", Tree::octets(&content.salt)),
        field("replaces", reference(&content.replaces)),
        field("topicId", Tree::octets(&content.topic_id)),
        field("expires", expires.unwrap_or_default()),
        field("inReplyTo", reference(&content.in_reply_to)),
        field("mimiExtensions", write_extensions(&content.extensions)),
        field("nestedPart", write_part(&content.nested_part)),
    ]
}

fn write_extensions(extensions: &Extensions) -> Tree {
    let entry = |(key, value): (ExtensionKey, &[u8])| match (key, text(value)) {
        (ExtensionKey::SENDER_URI, Some(uri)) => field(SENDER_URI, Tree::Text(uri)),
        (ExtensionKey::ROOM_URI, Some(uri)) => field(ROOM_URI, Tree::Text(uri)),
        (key, text) => {
            let about = text.map(|text| ("text".into(), Tree::Text(text)));
            let octets = Bytes::copy_from_slice(value);
            (write_key(&key), Tree::Octets { octets, what: None, about: about.into_iter().collect() })
        }
    };
    Tree::Struct(extensions.iter().map(entry).collect())
}

/// A value that is a text.
fn text(cbor: &[u8]) -> Option<String> {
    minicbor::decode::<&str>(cbor).ok().map(str::to_owned)
}

/// The diagnostic notation of CBOR: texts have quotes (RFC 8949 §8).
fn write_key(key: &ExtensionKey) -> String {
    match key {
        ExtensionKey::Int(int) => int.to_string(),
        ExtensionKey::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
    }
}

fn write_part(part: &NestedPart) -> Tree {
    let mut fields = vec![
        field("disposition", code(DISPOSITIONS, part.disposition.0.into())),
        field("language", Tree::Text(part.language.clone())),
    ];
    let cardinality = |cardinality| field("cardinality", code(CARDINALITIES, cardinality));
    fields.extend(match &part.part {
        Part::Null => vec![cardinality(0)],
        Part::Single { content_type, content } => vec![
            cardinality(1),
            field("contentType", Tree::Text(content_type.clone())),
            field("content", Tree::octets(content)),
        ],
        Part::External(it) => vec![
            cardinality(2),
            field("contentType", Tree::Text(it.content_type.clone())),
            field("url", Tree::Text(it.url.clone())),
            field("expires", number(it.expires)),
            field("size", number(it.size)),
            field("encAlg", number(it.enc_alg)),
            field("key", Tree::octets(&it.key)),
            field("nonce", Tree::octets(&it.nonce)),
            field("aad", Tree::octets(&it.aad)),
            field("hashAlg", number(it.hash_alg)),
            field("contentHash", Tree::octets(&it.content_hash)),
            field("description", Tree::Text(it.description.clone())),
            field("filename", Tree::Text(it.filename.clone())),
        ],
        Part::Multi { semantics, parts } => vec![
            cardinality(3),
            field("partSemantics", code(SEMANTICS, *semantics as u64)),
            field("parts", Tree::List(parts.iter().map(write_part).collect())),
        ],
    });
    Tree::Struct(fields)
}

fn field(name: &str, tree: Tree) -> (String, Tree) {
    (name.into(), tree)
}

fn number(number: impl Into<u64>) -> Tree {
    Tree::Number(number.into())
}

fn code(names: Names, value: u64) -> Tree {
    let name = names.iter().find(|(known, _)| u64::from(*known) == value);
    name.map_or(Tree::Number(value), |(_, name)| Tree::Text((*name).into()))
}

fn read_content(from: &mut Reader<'_>) -> Result<MimiContent, WireError> {
    let reference = |from: &mut Reader<'_>| from.optional(|from| MessageId::new(from.array()?).map_err(refused));
    Ok(MimiContent {
        salt: from.field("salt")?,
        replaces: from.field_with("replaces", reference)?,
        topic_id: octets(from, "topicId")?,
        expires: from.field_with("expires", |from| from.optional(read_expiration))?,
        in_reply_to: from.field_with("inReplyTo", reference)?,
        extensions: from.field_with("mimiExtensions", read_extensions)?,
        nested_part: from.field_with("nestedPart", read_part)?,
    })
}

fn read_expiration(from: &mut Reader<'_>) -> Result<Expiration, WireError> {
    Ok(match from.field("relative")? {
        true => Expiration::Relative(from.field("time")?),
        false => Expiration::Absolute(from.field("time")?),
    })
}

fn read_extensions(from: &mut Reader<'_>) -> Result<Extensions, WireError> {
    let Some(Tree::Struct(fields)) = from.tree() else { return Err(WireError::Tree("a struct was expected".into())) };
    let notes = Notes::default();
    let entries = fields.iter().filter(|(name, _)| !name.starts_with('_')).map(|(name, tree)| {
        let mut from = Reader::of_tree(tree, &notes);
        let (key, value) = match name.as_str() {
            SENDER_URI => (ExtensionKey::SENDER_URI, cbor_text(from.text()?)),
            ROOM_URI => (ExtensionKey::ROOM_URI, cbor_text(from.text()?)),
            key => (read_key(key)?, from.vector()?.to_vec()),
        };
        from.finish()?;
        Ok((key, value))
    });
    Extensions::of(entries.collect::<Result<Vec<_>, WireError>>()?).map_err(refused)
}

fn cbor_text(text: &str) -> Vec<u8> {
    minicbor::to_vec(text).expect("writing to a vector never fails")
}

fn read_key(key: &str) -> Result<ExtensionKey, WireError> {
    let key = match key.starts_with('"') {
        true => serde_json::from_str(key).map(ExtensionKey::Text).ok(),
        false => key.parse().map(ExtensionKey::Int).ok(),
    };
    key.ok_or_else(|| {
        let expected = format!("{SENDER_URI}, {ROOM_URI}, a number, or a text in quotes of its own");
        WireError::Tree(format!("the key of an extension is {expected}"))
    })
}

fn read_part(from: &mut Reader<'_>) -> Result<NestedPart, WireError> {
    let disposition = Disposition(from.field_with("disposition", |from| from.code(DISPOSITIONS))?);
    let language = from.field("language")?;
    let part = match from.field_with("cardinality", |from| from.code(CARDINALITIES))? {
        0 => Part::Null,
        1 => Part::Single { content_type: from.field("contentType")?, content: octets(from, "content")? },
        2 => Part::External(Box::new(ExternalPart {
            content_type: from.field("contentType")?,
            url: from.field("url")?,
            expires: from.field("expires")?,
            size: from.field("size")?,
            enc_alg: from.field("encAlg")?,
            key: octets(from, "key")?,
            nonce: octets(from, "nonce")?,
            aad: octets(from, "aad")?,
            hash_alg: from.field("hashAlg")?,
            content_hash: octets(from, "contentHash")?,
            description: from.field("description")?,
            filename: from.field("filename")?,
        })),
        3 => {
            let semantics = match from.field_with("partSemantics", |from| from.code(SEMANTICS))? {
                0 => PartSemantics::ChooseOne,
                1 => PartSemantics::SingleUnit,
                2 => PartSemantics::ProcessAll,
                unknown => return Err(refused(ContentError::PartSemantics(unknown.into()))),
            };
            Part::Multi { semantics, parts: from.field_with("parts", |from| from.list(read_part))? }
        }
        unknown => return Err(WireError::Enum { what: "cardinality", value: unknown.into() }),
    };
    Ok(NestedPart { disposition, language, part })
}

fn octets(from: &mut Reader<'_>, name: &'static str) -> Result<Vec<u8>, WireError> {
    Ok(from.field::<Bytes>(name)?.to_vec())
}

fn refused(error: ContentError) -> WireError {
    WireError::Tree(error.to_string())
}
