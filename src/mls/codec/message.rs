//! An MLSMessage: what it is, without any keys.

use std::fmt;

use bytes::Bytes;
use openmls::prelude::{ContentType, MlsMessageBodyIn, MlsMessageIn, ProposalOrRefIn};
use tls_codec::Serialize;

use super::{CodecError, KeyPackageRef, Welcome, decode_again, decode_prefix, encode, references};
use crate::mimi::tls::Reader;

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
    pub(super) octets: Bytes,
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
    pub const WHAT: &str = "MLSMessage";

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

    /// The proposals that a commit names and does not contain; empty for everything else.
    pub fn proposal_refs(&self) -> Vec<Bytes> {
        self.committed_refs().unwrap_or_default()
    }

    /// RFC 9420 §6: the fields of a PublicMessage that stand before a Commit's proposals.
    fn committed_refs(&self) -> Option<Vec<Bytes>> {
        const MEMBER: u8 = 1;
        if self.kind() != MlsKind::Commit {
            return None;
        }
        let mut from = Reader::new(self.octets.get(4..)?);
        from.vector().ok()?;
        from.u64().ok()?;
        if from.u8().ok()? == MEMBER {
            from.u32().ok()?;
        }
        from.vector().ok()?;
        from.u8().ok()?;
        let proposals = &self.octets[self.octets.len() - from.left()..];
        let (proposals, _) = decode_prefix::<Vec<ProposalOrRefIn>>("proposals", proposals).ok()?;
        let named = |proposal| match proposal {
            ProposalOrRefIn::Reference(reference) => Some(Bytes::copy_from_slice(reference.as_slice())),
            ProposalOrRefIn::Proposal(_) => None,
        };
        Some(proposals.into_iter().filter_map(named).collect())
    }

    pub(super) fn from_welcome(welcome: &Welcome) -> Self {
        let octets = [&WELCOME_HEADER, welcome.octets.as_ref()].concat();
        Self { octets: octets.into(), about: About::Welcome(welcome.references.clone()) }
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

impl fmt::Debug for MlsMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MlsMessage({:?}, {} octets)", self.kind(), self.octets.len())
    }
}
