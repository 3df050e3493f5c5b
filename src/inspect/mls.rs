//! What is inside an MLS value, as far as nobody needs a key for it (RFC 9420 §6 to §12).
//!
//! The gateway leaves that to openmls, and what is here is not its codec: a second reading of the same octets, put
//! beside them for people. It is kept to what openmls has read before, so a value it can't follow gets no more than
//! its octets.

use bytes::Bytes;

use super::{Malformed, about};
use crate::mimi::{
    tls::{Names, Notes, Reader, Tls, Tree, WireError},
    wire::{
        AppDataDictionary, AppDataUpdate, AppEphemeral, Capabilities, Credential, Extension, ExternalSender, GroupInfo,
        HpkeCiphertext, KeyPackage, MlsMessage, RatchetTree, RequiredCapabilities, Welcome,
    },
};

/// Reading is for the notes it leaves.
type Noted = Result<(), WireError>;

const VERSIONS: Names = &[(1, "mls10")];
const WIRE_FORMATS: Names = &[
    (1, "mls_public_message"),
    (2, "mls_private_message"),
    (3, "mls_welcome"),
    (4, "mls_group_info"),
    (5, "mls_key_package"),
];
const CONTENT_TYPES: Names = &[(1, "application"), (2, "proposal"), (3, "commit")];
const PROPOSAL_TYPES: Names = &[
    (1, "add"),
    (2, "update"),
    (3, "remove"),
    (4, "psk"),
    (5, "reinit"),
    (6, "external_init"),
    (7, "group_context_extensions"),
    (8, "app_data_update"),
    (9, "app_ephemeral"),
    (10, "self_remove"),
];

/// The fields of the struct in the octets; none if it can't be followed.
pub(super) fn fields(what: &str, octets: &[u8]) -> Vec<(String, Tree)> {
    let mut fields = match reading(what).and_then(|read| see(read, octets)) {
        Some(Tree::Struct(fields)) => fields,
        _ => Vec::new(),
    };
    let reference = (what == KeyPackage::WHAT).then(|| KeyPackage::decode(octets).ok()?.reference()).flatten();
    fields.extend(reference.map(|it| ("KeyPackageRef".into(), Tree::octets(it.as_bytes()))));
    fields
}

/// Where the struct that starts at `at` is malformed; openmls says no more than that it is. `None` if it can be
/// followed, or has around it what D10 tolerates.
pub(super) fn malformed(what: &str, at: usize, octets: &[u8]) -> Option<Malformed> {
    let octets = octets.get(at..)?;
    let tolerated = match what {
        Welcome::WHAT => octets.starts_with(&[0, 1, 0, 3]),
        GroupInfo::WHAT => octets.first().is_some_and(|first| *first != 0),
        _ => false,
    };
    let read = reading(what).filter(|_| !tolerated)?;
    let notes = Notes::default();
    let error = read(&mut Reader::noted(octets, &notes)).err()?;
    let problem = format!("malformed {what}: {error}");
    Some(Malformed { offset: Some(at + notes.at()), path: notes.path(), expected: notes.expected(), problem })
}

fn reading(what: &str) -> Option<fn(&mut Reader<'_>) -> Noted> {
    Some(match what {
        MlsMessage::WHAT => mls_message,
        Welcome::WHAT => welcome,
        KeyPackage::WHAT => key_package,
        GroupInfo::WHAT => group_info,
        RatchetTree::WHAT => |from| from.field_with("nodes", ratchet_tree),
        _ => return None,
    })
}

/// The data of an extension, and what the extension is called.
pub(super) fn extension(extension_type: u64, data: &[u8]) -> Option<(String, Tree)> {
    let (name, read): (_, fn(&mut Reader<'_>) -> Noted) = match extension_type {
        0x0002 => ("ratchet_tree", ratchet_tree),
        0x0003 => ("required_capabilities", |from| noted::<RequiredCapabilities>(from)),
        0x0004 => ("external_pub", |from| all::<Bytes>(from, &["external_pub"])),
        0x0005 => ("external_senders", |from| noted::<Vec<ExternalSender>>(from)),
        0x0006 => ("app_data_dictionary", |from| noted::<AppDataDictionary>(from)),
        _ => return None,
    };
    Some((name.into(), see(read, data)?))
}

fn see(read: impl FnOnce(&mut Reader<'_>) -> Noted, octets: &[u8]) -> Option<Tree> {
    let notes = Notes::default();
    let mut from = Reader::noted(octets, &notes);
    read(&mut from).and_then(|()| from.finish()).ok()?;
    Some(about::add(notes.into_tree()))
}

fn noted<T: Tls>(from: &mut Reader<'_>) -> Noted {
    T::read(from).map(drop)
}

/// Fields of the same type.
fn all<T: Tls>(from: &mut Reader<'_>, names: &[&'static str]) -> Noted {
    names.iter().try_for_each(|name| from.field::<T>(name).map(drop))
}

/// An enum with these values and no others.
fn known(from: &mut Reader<'_>, field: &'static str, what: &'static str, names: Names) -> Result<u8, WireError> {
    from.field_with(field, |from| {
        let value = from.code(names)?;
        check(what, names, value.into()).map(|()| value)
    })
}

fn check(what: &'static str, names: Names, value: u16) -> Noted {
    let known = names.iter().any(|(known, _)| *known == value);
    if known { Ok(()) } else { Err(WireError::Enum { what, value: value.into() }) }
}

fn mls_message(from: &mut Reader<'_>) -> Noted {
    from.field_with("version", |from| from.code16(VERSIONS))?;
    let wire_format = from.field_with("wire_format", |from| {
        let value = from.code16(WIRE_FORMATS)?;
        check("WireFormat", WIRE_FORMATS, value).map(|()| value)
    })?;
    match wire_format {
        1 => from.field_with("public_message", public_message),
        2 => from.field_with("private_message", private_message),
        3 => from.field_with("welcome", welcome),
        4 => from.field_with("group_info", group_info),
        _ => from.field_with("key_package", key_package),
    }
}

fn public_message(from: &mut Reader<'_>) -> Noted {
    let (sender_type, content_type) = from.field_with("content", framed_content)?;
    from.field_with("auth", |from| {
        all::<Bytes>(from, &["signature"])?;
        if content_type == 3 { all::<Bytes>(from, &["confirmation_tag"]) } else { Ok(()) }
    })?;
    if sender_type == 1 { all::<Bytes>(from, &["membership_tag"]) } else { Ok(()) }
}

fn framed_content(from: &mut Reader<'_>) -> Result<(u8, u8), WireError> {
    all::<Bytes>(from, &["group_id"])?;
    all::<u64>(from, &["epoch"])?;
    let sender_type = from.field_with("sender", sender)?;
    all::<Bytes>(from, &["authenticated_data"])?;
    let content_type = content_type(from)?;
    match content_type {
        1 => all::<Bytes>(from, &["application_data"])?,
        2 => from.field_with("proposal", proposal)?,
        _ => from.field_with("commit", commit)?,
    }
    Ok((sender_type, content_type))
}

fn content_type(from: &mut Reader<'_>) -> Result<u8, WireError> {
    known(from, "content_type", "ContentType", CONTENT_TYPES)
}

fn sender(from: &mut Reader<'_>) -> Result<u8, WireError> {
    let types: Names = &[(1, "member"), (2, "external"), (3, "new_member_proposal"), (4, "new_member_commit")];
    let sender_type = known(from, "sender_type", "SenderType", types)?;
    match sender_type {
        1 => all::<u32>(from, &["leaf_index"])?,
        2 => all::<u32>(from, &["sender_index"])?,
        _ => {}
    }
    Ok(sender_type)
}

fn private_message(from: &mut Reader<'_>) -> Noted {
    all::<Bytes>(from, &["group_id"])?;
    all::<u64>(from, &["epoch"])?;
    content_type(from)?;
    all::<Bytes>(from, &["authenticated_data", "encrypted_sender_data", "ciphertext"])
}

fn proposal(from: &mut Reader<'_>) -> Noted {
    match from.field_with("proposal_type", |from| from.code16(PROPOSAL_TYPES))? {
        1 => from.field_with("key_package", key_package),
        2 => from.field_with("leaf_node", leaf_node),
        3 => all::<u32>(from, &["removed"]),
        4 => from.field_with("psk", psk),
        5 => {
            all::<Bytes>(from, &["group_id"])?;
            from.field_with("version", |from| from.code16(VERSIONS))?;
            all::<u16>(from, &["cipher_suite"])?;
            extensions(from)
        }
        6 => all::<Bytes>(from, &["kem_output"]),
        7 => extensions(from),
        8 => noted::<AppDataUpdate>(from),
        9 => noted::<AppEphemeral>(from),
        10 => Ok(()),
        // MLS has no length here; openmls takes one for granted.
        _ => all::<Bytes>(from, &["data"]),
    }
}

fn psk(from: &mut Reader<'_>) -> Noted {
    let types: Names = &[(1, "external"), (2, "resumption"), (3, "application")];
    match known(from, "psktype", "PSKType", types)? {
        1 => all::<Bytes>(from, &["psk_id"])?,
        2 => {
            known(from, "usage", "ResumptionPSKUsage", &[(1, "application"), (2, "reinit"), (3, "branch")])?;
            all::<Bytes>(from, &["psk_group_id"])?;
            all::<u64>(from, &["psk_epoch"])?;
        }
        _ => {
            all::<u16>(from, &["component_id"])?;
            all::<Bytes>(from, &["psk_id"])?;
        }
    }
    all::<Bytes>(from, &["psk_nonce"])
}

fn commit(from: &mut Reader<'_>) -> Noted {
    from.field_with("proposals", |from| from.list(proposal_or_ref))?;
    from.field_with("path", |from| from.optional(update_path)).map(drop)
}

fn proposal_or_ref(from: &mut Reader<'_>) -> Noted {
    match known(from, "type", "ProposalOrRefType", &[(1, "proposal"), (2, "reference")])? {
        1 => from.field_with("proposal", proposal),
        _ => all::<Bytes>(from, &["reference"]),
    }
}

fn update_path(from: &mut Reader<'_>) -> Noted {
    from.field_with("leaf_node", leaf_node)?;
    let node = |from: &mut Reader<'_>| {
        all::<Bytes>(from, &["encryption_key"])?;
        all::<Vec<HpkeCiphertext>>(from, &["encrypted_path_secret"])
    };
    from.field_with("nodes", |from| from.list(node)).map(drop)
}

fn leaf_node(from: &mut Reader<'_>) -> Noted {
    all::<Bytes>(from, &["encryption_key", "signature_key"])?;
    all::<Credential>(from, &["credential"])?;
    all::<Capabilities>(from, &["capabilities"])?;
    let sources: Names = &[(1, "key_package"), (2, "update"), (3, "commit")];
    match known(from, "leaf_node_source", "LeafNodeSource", sources)? {
        1 => from.field_with("lifetime", |from| all::<u64>(from, &["not_before", "not_after"]))?,
        3 => all::<Bytes>(from, &["parent_hash"])?,
        _ => {}
    }
    extensions(from)?;
    all::<Bytes>(from, &["signature"])
}

fn extensions(from: &mut Reader<'_>) -> Noted {
    all::<Vec<Extension>>(from, &["extensions"])
}

fn key_package(from: &mut Reader<'_>) -> Noted {
    from.field_with("version", |from| from.code16(VERSIONS))?;
    all::<u16>(from, &["cipher_suite"])?;
    all::<Bytes>(from, &["init_key"])?;
    from.field_with("leaf_node", leaf_node)?;
    extensions(from)?;
    all::<Bytes>(from, &["signature"])
}

fn group_info(from: &mut Reader<'_>) -> Noted {
    from.field_with("group_context", |from| {
        from.field_with("version", |from| from.code16(VERSIONS))?;
        all::<u16>(from, &["cipher_suite"])?;
        all::<Bytes>(from, &["group_id"])?;
        all::<u64>(from, &["epoch"])?;
        all::<Bytes>(from, &["tree_hash", "confirmed_transcript_hash"])?;
        extensions(from)
    })?;
    extensions(from)?;
    all::<Bytes>(from, &["confirmation_tag"])?;
    all::<u32>(from, &["signer"])?;
    all::<Bytes>(from, &["signature"])
}

fn welcome(from: &mut Reader<'_>) -> Noted {
    all::<u16>(from, &["cipher_suite"])?;
    let secret = |from: &mut Reader<'_>| {
        all::<Bytes>(from, &["new_member"])?;
        all::<HpkeCiphertext>(from, &["encrypted_group_secrets"])
    };
    from.field_with("secrets", |from| from.list(secret))?;
    all::<Bytes>(from, &["encrypted_group_info"])
}

fn ratchet_tree(from: &mut Reader<'_>) -> Noted {
    from.list(|from| from.optional(node)).map(drop)
}

fn node(from: &mut Reader<'_>) -> Noted {
    match known(from, "node_type", "NodeType", &[(1, "leaf"), (2, "parent")])? {
        1 => from.field_with("leaf_node", leaf_node),
        _ => from.field_with("parent_node", |from| {
            all::<Bytes>(from, &["encryption_key", "parent_hash"])?;
            all::<Vec<u32>>(from, &["unmerged_leaves"])
        }),
    }
}
