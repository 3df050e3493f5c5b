//! The one place where MLS values on MIMI's wire meet openmls.
//!
//! A bundle or a fan-out is a row of MLS values without lengths in between, so only an MLS decoder can
//! tell where one ends. These types ask openmls for that, keep **exactly the octets received**, and say
//! of them what the protocol layer needs: what it is, which group, which epoch. Everything cryptographic
//! stays with the siblings of this module, who get openmls' own types back by decoding once more.
//!
//! Invariant: a value of these types is well-formed, so that the second decoding can't fail, and what is
//! sent on is octet for octet what came (signatures, duplicate detection and ProposalRefs need that).
//!
//! Traps: tls_codec's `DeserializeBytes` asserts on truncated vectors in debug builds, and openmls'
//! decoders have panicked on crafted input before (GHSA-rrmv-c79f-cf5r). So only the `Read` decoders are
//! used, which also bound what they allocate, and a panic in them is one more way of being malformed.

#[cfg(test)]
mod tests;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use bytes::Bytes;
use openmls::messages::group_info::VerifiableGroupInfo;
use openmls::{
    ciphersuite::hash_ref::make_key_package_ref,
    prelude::{
        ContentType, Extension, KeyPackageIn, MlsMessageBodyIn, MlsMessageIn, RatchetTreeIn, Welcome as OpenMlsWelcome,
    },
};
use openmls_rust_crypto::RustCrypto;
use openmls_traits::types::Ciphersuite;
use tls_codec::{Deserialize, Serialize};

/// The octets are not the MLS value they should be. Their sender's fault; trying again won't help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}: {reason}")]
pub struct CodecError {
    pub what: &'static str,
    reason: String,
}

/// What an [`MlsMessage`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MlsKind {
    /// A PublicMessage with a proposal.
    Proposal,
    /// A PublicMessage with a commit.
    Commit,
    /// A PrivateMessage with application data.
    Application,
    Welcome,
    GroupInfo,
    KeyPackage,
    /// An encrypted handshake or unencrypted application data: MLS allows them, MIMI does not (D9).
    Misframed,
}

/// An MLSMessage (RFC 9420 §6), header and all.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MlsMessage {
    octets: Bytes,
    about: About,
}

/// What of a message can be read without keys.
#[derive(Clone, PartialEq, Eq, Hash)]
enum About {
    Framed { kind: Framed, group_id: Bytes, epoch: u64, authenticated_data: Bytes },
    Welcome(Vec<KeyPackageRef>),
    GroupInfo { group_id: Bytes, epoch: u64 },
    KeyPackage,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Framed {
    PublicProposal,
    PublicCommit,
    PrivateApplication,
    Misframed,
}

/// `version mls10`, `wire_format mls_welcome`: what a Welcome has in front as an MLSMessage.
const WELCOME_HEADER: [u8; 4] = [0, 1, 0, 3];

impl MlsMessage {
    const WHAT: &str = "MLSMessage";

    /// Reads one message from the front of `octets` and says how many octets it took.
    pub fn decode_prefix(octets: &[u8]) -> Result<(Self, usize), CodecError> {
        let (message, length) = decode_prefix::<MlsMessageIn>(Self::WHAT, octets)?;
        let about = match message.extract() {
            MlsMessageBodyIn::PublicMessage(message) => About::Framed {
                kind: match message.content_type() {
                    ContentType::Proposal => Framed::PublicProposal,
                    ContentType::Commit => Framed::PublicCommit,
                    ContentType::Application => Framed::Misframed,
                },
                group_id: Bytes::copy_from_slice(message.group_id().as_slice()),
                epoch: message.epoch().as_u64(),
                authenticated_data: Bytes::new(),
            },
            MlsMessageBodyIn::PrivateMessage(message) => About::Framed {
                kind: match message.content_type() {
                    ContentType::Application => Framed::PrivateApplication,
                    ContentType::Proposal | ContentType::Commit => Framed::Misframed,
                },
                group_id: Bytes::copy_from_slice(message.group_id().as_slice()),
                epoch: message.epoch().as_u64(),
                authenticated_data: Bytes::copy_from_slice(message.aad()),
            },
            MlsMessageBodyIn::Welcome(welcome) => About::Welcome(references(&welcome)),
            MlsMessageBodyIn::GroupInfo(info) => About::GroupInfo {
                group_id: Bytes::copy_from_slice(info.group_id().as_slice()),
                epoch: info.epoch().as_u64(),
            },
            MlsMessageBodyIn::KeyPackage(_) => About::KeyPackage,
        };
        Ok((Self { octets: Bytes::copy_from_slice(&octets[..length]), about }, length))
    }

    /// Reads a message that is all of `octets`.
    pub fn decode(octets: &[u8]) -> Result<Self, CodecError> {
        exact(Self::WHAT, octets, Self::decode_prefix(octets)?)
    }

    pub fn as_bytes(&self) -> &Bytes {
        &self.octets
    }

    pub fn kind(&self) -> MlsKind {
        match &self.about {
            About::Framed { kind: Framed::PublicProposal, .. } => MlsKind::Proposal,
            About::Framed { kind: Framed::PublicCommit, .. } => MlsKind::Commit,
            About::Framed { kind: Framed::PrivateApplication, .. } => MlsKind::Application,
            About::Framed { kind: Framed::Misframed, .. } => MlsKind::Misframed,
            About::Welcome(_) => MlsKind::Welcome,
            About::GroupInfo { .. } => MlsKind::GroupInfo,
            About::KeyPackage => MlsKind::KeyPackage,
        }
    }

    /// The group the message says it is for; a Welcome and a KeyPackage don't say.
    pub fn group_id(&self) -> Option<&[u8]> {
        match &self.about {
            About::Framed { group_id, .. } | About::GroupInfo { group_id, .. } => Some(group_id),
            About::Welcome(_) | About::KeyPackage => None,
        }
    }

    pub fn epoch(&self) -> Option<u64> {
        match &self.about {
            About::Framed { epoch, .. } | About::GroupInfo { epoch, .. } => Some(*epoch),
            About::Welcome(_) | About::KeyPackage => None,
        }
    }

    /// The `authenticated_data` of an application message, which nobody without the group's keys can verify.
    pub fn authenticated_data(&self) -> Option<&[u8]> {
        match &self.about {
            About::Framed { kind: Framed::PrivateApplication, authenticated_data, .. } => Some(authenticated_data),
            _ => None,
        }
    }

    /// Whom a Welcome is for; empty for everything else.
    pub fn key_package_refs(&self) -> &[KeyPackageRef] {
        match &self.about {
            About::Welcome(references) => references,
            _ => &[],
        }
    }

    /// The bare Welcome inside, as a HandshakeBundle carries it (D10).
    pub fn to_welcome(&self) -> Option<Welcome> {
        match &self.about {
            About::Welcome(references) => {
                Some(Welcome { octets: self.octets.slice(WELCOME_HEADER.len()..), references: references.clone() })
            }
            _ => None,
        }
    }

    /// For the siblings: openmls' own type, with which to process the message.
    pub(in crate::mls) fn to_openmls(&self) -> MlsMessageIn {
        decode_again(&self.octets)
    }

    /// For the siblings: what openmls made, ready for the wire.
    pub(in crate::mls) fn from_openmls(message: &impl Serialize) -> Result<Self, CodecError> {
        Self::decode(&encode(Self::WHAT, message)?)
    }
}

/// A Welcome without the header of an MLSMessage (RFC 9420 §12.4.3.1).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Welcome {
    octets: Bytes,
    references: Vec<KeyPackageRef>,
}

impl Welcome {
    const WHAT: &str = "Welcome";

    pub fn decode_prefix(octets: &[u8]) -> Result<(Self, usize), CodecError> {
        let (welcome, length) = decode_prefix::<OpenMlsWelcome>(Self::WHAT, octets)?;
        let octets = Bytes::copy_from_slice(&octets[..length]);
        Ok((Self { octets, references: references(&welcome) }, length))
    }

    pub fn decode(octets: &[u8]) -> Result<Self, CodecError> {
        exact(Self::WHAT, octets, Self::decode_prefix(octets)?)
    }

    pub fn as_bytes(&self) -> &Bytes {
        &self.octets
    }

    /// Whom it is for.
    pub fn key_package_refs(&self) -> &[KeyPackageRef] {
        &self.references
    }

    /// With the header, as a fan-out carries it (D10).
    pub fn to_message(&self) -> MlsMessage {
        let octets = [&WELCOME_HEADER, self.octets.as_ref()].concat();
        MlsMessage { octets: octets.into(), about: About::Welcome(self.references.clone()) }
    }

    pub(in crate::mls) fn to_openmls(&self) -> OpenMlsWelcome {
        decode_again(&self.octets)
    }

    pub(in crate::mls) fn from_openmls(welcome: &OpenMlsWelcome) -> Result<Self, CodecError> {
        Self::decode(&encode(Self::WHAT, welcome)?)
    }
}

/// A KeyPackage without the header of an MLSMessage. Well-formed, not yet validated: its signature and
/// lifetime are the business of whoever adds it to a group.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyPackage {
    octets: Bytes,
}

impl KeyPackage {
    const WHAT: &str = "KeyPackage";

    pub fn decode_prefix(octets: &[u8]) -> Result<(Self, usize), CodecError> {
        let (_, length) = decode_prefix::<KeyPackageIn>(Self::WHAT, octets)?;
        Ok((Self { octets: Bytes::copy_from_slice(&octets[..length]) }, length))
    }

    pub fn decode(octets: &[u8]) -> Result<Self, CodecError> {
        exact(Self::WHAT, octets, Self::decode_prefix(octets)?)
    }

    pub fn as_bytes(&self) -> &Bytes {
        &self.octets
    }

    /// The suite it is for: the two octets after the version.
    pub fn cipher_suite(&self) -> u16 {
        u16::from_be_bytes([self.octets[2], self.octets[3]])
    }

    /// The KeyPackageRef (RFC 9420 §5.2), by which a Welcome will name it. `None` if the suite's hash is
    /// not one we can compute.
    pub fn reference(&self) -> Option<KeyPackageRef> {
        let suite = Ciphersuite::try_from(self.cipher_suite()).ok()?;
        let reference = make_key_package_ref(&self.octets, suite, &RustCrypto::default()).ok()?;
        Some(KeyPackageRef(Bytes::copy_from_slice(reference.as_slice())))
    }

    pub(in crate::mls) fn to_openmls(&self) -> KeyPackageIn {
        decode_again(&self.octets)
    }

    pub(in crate::mls) fn from_openmls(key_package: &openmls::prelude::KeyPackage) -> Result<Self, CodecError> {
        Self::decode(&encode(Self::WHAT, key_package)?)
    }
}

/// A GroupInfo without the header of an MLSMessage (RFC 9420 §12.4.3). Its signature is not yet verified.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct GroupInfo {
    octets: Bytes,
    group_id: Bytes,
    epoch: u64,
    embeds_ratchet_tree: bool,
}

impl GroupInfo {
    const WHAT: &str = "GroupInfo";

    pub fn decode_prefix(octets: &[u8]) -> Result<(Self, usize), CodecError> {
        let (info, length) = decode_prefix::<VerifiableGroupInfo>(Self::WHAT, octets)?;
        let info = Self {
            octets: Bytes::copy_from_slice(&octets[..length]),
            group_id: Bytes::copy_from_slice(info.group_id().as_slice()),
            epoch: info.epoch().as_u64(),
            embeds_ratchet_tree: info.extensions().iter().any(|it| matches!(it, Extension::RatchetTree(_))),
        };
        Ok((info, length))
    }

    pub fn decode(octets: &[u8]) -> Result<Self, CodecError> {
        exact(Self::WHAT, octets, Self::decode_prefix(octets)?)
    }

    pub fn as_bytes(&self) -> &Bytes {
        &self.octets
    }

    pub fn group_id(&self) -> &[u8] {
        &self.group_id
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// MIMI carries the tree beside the GroupInfo, never inside (H-11).
    pub fn embeds_ratchet_tree(&self) -> bool {
        self.embeds_ratchet_tree
    }

    pub(in crate::mls) fn to_openmls(&self) -> VerifiableGroupInfo {
        decode_again(&self.octets)
    }

    pub(in crate::mls) fn from_openmls(info: &openmls::messages::group_info::GroupInfo) -> Result<Self, CodecError> {
        Self::decode(&encode(Self::WHAT, info)?)
    }
}

/// `optional<Node> ratchet_tree<V>` (RFC 9420 §12.4.3.3), the length included.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RatchetTree {
    octets: Bytes,
}

impl RatchetTree {
    const WHAT: &str = "ratchet_tree";

    pub fn decode_prefix(octets: &[u8]) -> Result<(Self, usize), CodecError> {
        let (_, length) = decode_prefix::<RatchetTreeIn>(Self::WHAT, octets)?;
        Ok((Self { octets: Bytes::copy_from_slice(&octets[..length]) }, length))
    }

    pub fn decode(octets: &[u8]) -> Result<Self, CodecError> {
        exact(Self::WHAT, octets, Self::decode_prefix(octets)?)
    }

    pub fn as_bytes(&self) -> &Bytes {
        &self.octets
    }

    pub(in crate::mls) fn to_openmls(&self) -> RatchetTreeIn {
        decode_again(&self.octets)
    }

    pub(in crate::mls) fn from_openmls(tree: &openmls::treesync::RatchetTree) -> Result<Self, CodecError> {
        Self::decode(&encode(Self::WHAT, tree)?)
    }
}

/// The hash that names a KeyPackage (RFC 9420 §5.2).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPackageRef(Bytes);

impl KeyPackageRef {
    pub fn new(octets: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(octets))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for KeyPackageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

// Nobody reads a kilobyte of MLS in a log, so `Debug` says what it is and how long.
macro_rules! short_debug {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({} octets)"), self.octets.len())
            }
        }
    )*};
}
short_debug!(Welcome, KeyPackage, GroupInfo, RatchetTree);

impl fmt::Debug for MlsMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MlsMessage({:?}, {} octets)", self.kind(), self.octets.len())
    }
}

fn references(welcome: &OpenMlsWelcome) -> Vec<KeyPackageRef> {
    welcome.secrets().iter().map(|secret| KeyPackageRef::new(secret.new_member().as_slice())).collect()
}

fn decode_prefix<T: Deserialize>(what: &'static str, octets: &[u8]) -> Result<(T, usize), CodecError> {
    let mut rest = octets;
    // The decoder owns all it touches, so nothing half-changed outlives a panic.
    match catch_unwind(AssertUnwindSafe(|| T::tls_deserialize(&mut rest))) {
        Ok(Ok(value)) => Ok((value, octets.len() - rest.len())),
        Ok(Err(error)) => Err(CodecError { what, reason: error.to_string() }),
        Err(_) => Err(CodecError { what, reason: "the decoder panicked".into() }),
    }
}

fn exact<T>(what: &'static str, octets: &[u8], (value, length): (T, usize)) -> Result<T, CodecError> {
    match octets.len() - length {
        0 => Ok(value),
        more => Err(CodecError { what, reason: format!("{more} octets too many") }),
    }
}

fn decode_again<T: Deserialize>(octets: &Bytes) -> T {
    T::tls_deserialize(&mut octets.as_ref()).expect("these octets were decoded when the value was made")
}

fn encode(what: &'static str, value: &impl Serialize) -> Result<Vec<u8>, CodecError> {
    value.tls_serialize_detached().map_err(|error| CodecError { what, reason: error.to_string() })
}
