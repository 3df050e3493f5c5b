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

mod message;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use bytes::Bytes;
pub use message::{MlsKind, MlsMessage};
use openmls::{
    ciphersuite::hash_ref::make_key_package_ref,
    messages::group_info::VerifiableGroupInfo,
    prelude::{BasicCredential, Extension, ExternalSender, KeyPackageIn, RatchetTreeIn, Welcome as OpenMlsWelcome},
};
use openmls_rust_crypto::RustCrypto;
use openmls_traits::types::Ciphersuite;
use tls_codec::{Deserialize, Serialize};

/// The octets are not the MLS value they should be. Their sender's fault; trying again won't help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}: {reason}")]
pub struct CodecError {
    pub what: &'static str,
    /// How many of the octets its decoder took before it gave up.
    pub at: usize,
    reason: String,
}

/// A Welcome without the header of an MLSMessage (RFC 9420 §12.4.3.1).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Welcome {
    octets: Bytes,
    references: Vec<KeyPackageRef>,
}

impl Welcome {
    pub const WHAT: &str = "Welcome";

    pub fn decode_prefix(octets: &[u8]) -> Result<(Self, usize), CodecError> {
        let (welcome, length) = decode_prefix::<OpenMlsWelcome>(Self::WHAT, octets)?;
        let octets = Bytes::copy_from_slice(&octets[..length]);
        Ok((Self { octets, references: references(&welcome) }, length))
    }

    /// Whom it is for.
    pub fn key_package_refs(&self) -> &[KeyPackageRef] {
        &self.references
    }

    /// With the header, as a fan-out carries it (D10).
    pub fn to_message(&self) -> MlsMessage {
        MlsMessage::from_welcome(self)
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
    pub const WHAT: &str = "KeyPackage";

    pub fn decode_prefix(octets: &[u8]) -> Result<(Self, usize), CodecError> {
        let (_, length) = decode_prefix::<KeyPackageIn>(Self::WHAT, octets)?;
        Ok((Self { octets: Bytes::copy_from_slice(&octets[..length]) }, length))
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
    pub const WHAT: &str = "GroupInfo";

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

    /// The app_data_dictionary of its GroupContext. Nothing is verified.
    pub fn dictionary(&self) -> crate::mls::Dictionary {
        crate::mls::member::dictionary(self.to_openmls().group_context().extensions())
    }

    /// Whether the group has this external sender, with a basic credential (RFC 9420 §12.1.8.1). Nothing is verified.
    pub fn has_external_sender(&self, signature_key: &[u8], identity: &[u8]) -> bool {
        let sender = ExternalSender::new(signature_key.into(), BasicCredential::new(identity.to_vec()).into());
        let info = self.to_openmls();
        info.group_context().extensions().external_senders().is_some_and(|senders| senders.contains(&sender))
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
    pub const WHAT: &str = "ratchet_tree";

    pub fn decode_prefix(octets: &[u8]) -> Result<(Self, usize), CodecError> {
        let (_, length) = decode_prefix::<RatchetTreeIn>(Self::WHAT, octets)?;
        Ok((Self { octets: Bytes::copy_from_slice(&octets[..length]) }, length))
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

macro_rules! all_of_the_octets {
    ($($name:ident),*) => {$(
        impl $name {
            /// Reads a value that is all of `octets`.
            pub fn decode(octets: &[u8]) -> Result<Self, CodecError> {
                match Self::decode_prefix(octets)? {
                    (value, length) if length == octets.len() => Ok(value),
                    (_, length) => {
                        let reason = format!("{} octets too many", octets.len() - length);
                        Err(CodecError { what: Self::WHAT, at: length, reason })
                    }
                }
            }

            /// Exactly what was received, or made.
            pub fn as_bytes(&self) -> &Bytes {
                &self.octets
            }
        }
    )*};
}
all_of_the_octets!(MlsMessage, Welcome, KeyPackage, GroupInfo, RatchetTree);

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

fn references(welcome: &OpenMlsWelcome) -> Vec<KeyPackageRef> {
    welcome.secrets().iter().map(|secret| KeyPackageRef::new(secret.new_member().as_slice())).collect()
}

fn decode_prefix<T: Deserialize>(what: &'static str, octets: &[u8]) -> Result<(T, usize), CodecError> {
    let mut rest = octets;
    // The decoder owns all it touches, so nothing half-changed outlives a panic.
    match catch_unwind(AssertUnwindSafe(|| T::tls_deserialize(&mut rest))) {
        Ok(Ok(value)) => Ok((value, octets.len() - rest.len())),
        Ok(Err(error)) => {
            let reason = match error {
                tls_codec::Error::EndOfStream => "the octets end too early".into(),
                error => error.to_string(),
            };
            Err(CodecError { what, at: octets.len() - rest.len(), reason })
        }
        Err(_) => Err(CodecError { what, at: octets.len() - rest.len(), reason: "the decoder panicked".into() }),
    }
}

fn decode_again<T: Deserialize>(octets: &Bytes) -> T {
    T::tls_deserialize(&mut octets.as_ref()).expect("these octets were decoded when the value was made")
}

fn encode(what: &'static str, value: &impl Serialize) -> Result<Vec<u8>, CodecError> {
    value.tls_serialize_detached().map_err(|error| CodecError { what, at: 0, reason: error.to_string() })
}
