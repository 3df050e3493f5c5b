//! Changing a room (P§5.3).

use bytes::Bytes;

use super::{Extension, GroupInfo, MlsKind, MlsMessage, RatchetTree, Welcome};
use crate::mimi::tls::{Reader, Tls, WireError, Writer, tls_enum, tls_struct};

/// The body of `/update`. The room's protocol selects, and is not on the wire (D6).
pub type UpdateRequest = HandshakeBundle;

/// A commit with what a new member and the hub need, or proposals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeBundle {
    Commit {
        commit: MlsMessage,
        welcome: Option<Welcome>,
        group_info: GroupInfoOption,
        ratchet_tree: RatchetTreeOption,
    },
    Proposal {
        proposal: MlsMessage,
        more_proposals: Vec<MlsMessage>,
    },
}

impl HandshakeBundle {
    /// The commit, or the first of the proposals.
    pub fn proposal_or_commit(&self) -> &MlsMessage {
        match self {
            Self::Commit { commit, .. } => commit,
            Self::Proposal { proposal, .. } => proposal,
        }
    }
}

impl Tls for HandshakeBundle {
    fn write(&self, out: &mut Writer) {
        match self {
            Self::Commit { commit, welcome, group_info, ratchet_tree } => {
                commit.write(out);
                welcome.write(out);
                group_info.write(out);
                ratchet_tree.write(out);
            }
            Self::Proposal { proposal, more_proposals } => {
                proposal.write(out);
                more_proposals.write(out);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let message: MlsMessage = from.field("proposalOrCommit")?;
        match message.kind() {
            MlsKind::Commit => Ok(Self::Commit {
                commit: message,
                welcome: from.field_with("welcome", |from| from.optional(read_welcome))?,
                group_info: from.field("groupInfoOption")?,
                ratchet_tree: from.field("ratchetTreeOption")?,
            }),
            MlsKind::Proposal => Ok(Self::Proposal {
                proposal: message,
                more_proposals: from.field_with("moreProposals", read_proposals)?,
            }),
            _ => Err(WireError::Invalid("an update starts with a proposal or commit in a PublicMessage")),
        }
    }
}

/// A bare Welcome, or one with the header of an MLSMessage in front, which others send. A bare one can't
/// start like that header: it would be of suite 1 and have no secrets (D10).
fn read_welcome(from: &mut Reader<'_>) -> Result<Welcome, WireError> {
    from.value(Welcome::WHAT, |octets| {
        if !octets.starts_with(&[0, 1, 0, 3]) {
            return Ok(Welcome::decode_prefix(octets)?);
        }
        let (message, length) = MlsMessage::decode_prefix(octets)?;
        Ok((message.to_welcome().ok_or(WireError::Invalid("a welcome is a Welcome"))?, length))
    })
}

/// `MLSMessage moreProposals<V>`
pub(super) fn read_proposals(from: &mut Reader<'_>) -> Result<Vec<MlsMessage>, WireError> {
    let proposals = Vec::<MlsMessage>::read(from)?;
    if proposals.iter().all(|it| it.kind() == MlsKind::Proposal) {
        Ok(proposals)
    } else {
        Err(WireError::Invalid("a list of proposals has proposals in PublicMessages"))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupInfoOption {
    Full(GroupInfo),
    Partial(PartialGroupInfo),
}

tls_enum! {
    GroupInfoRepresentation: "GroupInfoRepresentation" { Full = 1 "full", Partial = 2 "partial" }
}

impl Tls for GroupInfoOption {
    fn write(&self, out: &mut Writer) {
        match self {
            Self::Full(group_info) => {
                GroupInfoRepresentation::Full.write(out);
                group_info.write(out);
            }
            Self::Partial(partial) => {
                GroupInfoRepresentation::Partial.write(out);
                partial.write(out);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match from.field("representation")? {
            GroupInfoRepresentation::Full => Self::Full(from.field_with("groupInfo", read_group_info)?),
            GroupInfoRepresentation::Partial => Self::Partial(from.field("partialGroupInfo")?),
        })
    }
}

/// A GroupInfo, or one with a length in front, which others send. A GroupInfo itself starts with the version
/// 0001 (D10).
fn read_group_info(from: &mut Reader<'_>) -> Result<GroupInfo, WireError> {
    from.value(GroupInfo::WHAT, |octets| {
        let (group_info, length) = match octets.first() {
            None | Some(0) => GroupInfo::decode_prefix(octets)?,
            Some(_) => {
                let mut from = Reader::new(octets);
                let group_info = GroupInfo::decode(&from.vector()?)?;
                (group_info, octets.len() - from.left())
            }
        };
        if group_info.embeds_ratchet_tree() {
            return Err(WireError::Invalid("a GroupInfo omits the ratchet_tree"));
        }
        Ok((group_info, length))
    })
}

/// What a hub that follows the group can't compute of a GroupInfo (T§4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialGroupInfo {
    pub ratchet_tree_presence: RatchetTreePresence,
    /// Without ratchet_tree; usually external_pub alone.
    pub group_info_extensions: Vec<Extension>,
    /// The committer's, over the whole GroupInfoTBS.
    pub signature: Bytes,
}
tls_struct!(PartialGroupInfo { ratchet_tree_presence, group_info_extensions, signature });

tls_enum! {
    RatchetTreePresence: "ratchet_tree_presence" {
        NoRatchetTree = 0 "no_ratchet_tree",
        Present = 1 "present",
        Removed = 2 "removed",
        Added = 3 "added",
    }
}

/// Where the ratchet tree is (T§3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RatchetTreeOption {
    Full(RatchetTree),
    /// To be fetched, and only from where the group allows (D11).
    HttpsUri(String),
    OutOfBand,
    /// The hub has it.
    DistributionService,
}

tls_enum! {
    RatchetTreeRepresentation: "RatchetTreeRepresentation" {
        Full = 1 "full",
        HttpsUri = 2 "httpsUri",
        OutOfBand = 3 "outOfBand",
        DistributionService = 4 "distributionService",
    }
}

impl Tls for RatchetTreeOption {
    fn write(&self, out: &mut Writer) {
        match self {
            Self::Full(tree) => {
                RatchetTreeRepresentation::Full.write(out);
                tree.write(out);
            }
            Self::HttpsUri(uri) => {
                RatchetTreeRepresentation::HttpsUri.write(out);
                uri.write(out);
            }
            Self::OutOfBand => RatchetTreeRepresentation::OutOfBand.write(out),
            Self::DistributionService => RatchetTreeRepresentation::DistributionService.write(out),
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match from.field("representation")? {
            RatchetTreeRepresentation::Full => Self::Full(from.field("ratchet_tree")?),
            RatchetTreeRepresentation::HttpsUri => Self::HttpsUri(from.field("ratchet_tree_url")?),
            RatchetTreeRepresentation::OutOfBand => Self::OutOfBand,
            RatchetTreeRepresentation::DistributionService => Self::DistributionService,
        })
    }
}

/// What `/update` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateRoomResponse {
    /// For whoever looks into it; empty on success, and without personal data (D17).
    pub error_description: String,
    pub outcome: UpdateOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateOutcome {
    /// Will be distributed. In milliseconds since the start of the UNIX epoch.
    Success {
        accepted_timestamp: u64,
    },
    WrongEpoch {
        current_epoch: u64,
    },
    NotAllowed,
    /// Those of the invalid proposals that came by reference (D19).
    InvalidProposal(Vec<ProposalRef>),
    /// A failure of a kind we don't know; what stands behind it is not looked at (D59).
    Unknown(u8),
}

/// The hash that names a proposal (RFC 9420 §5.2).
pub type ProposalRef = Bytes;

impl Tls for UpdateRoomResponse {
    fn write(&self, out: &mut Writer) {
        out.u8(match self.outcome {
            UpdateOutcome::Success { .. } => 0,
            UpdateOutcome::WrongEpoch { .. } => 1,
            UpdateOutcome::NotAllowed => 2,
            UpdateOutcome::InvalidProposal(_) => 3,
            UpdateOutcome::Unknown(code) => code,
        });
        self.error_description.write(out);
        match &self.outcome {
            UpdateOutcome::Success { accepted_timestamp: number }
            | UpdateOutcome::WrongEpoch { current_epoch: number } => {
                out.u64(*number);
            }
            UpdateOutcome::InvalidProposal(references) => references.write(out),
            UpdateOutcome::NotAllowed | UpdateOutcome::Unknown(_) => {}
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let code = from.field_with("responseCode", |from| {
            from.code(&[(0, "success"), (1, "wrongEpoch"), (2, "notAllowed"), (3, "invalidProposal")])
        })?;
        let error_description = from.field("errorDescription")?;
        let outcome = match code {
            0 => UpdateOutcome::Success { accepted_timestamp: from.field("accepted_timestamp")? },
            1 => UpdateOutcome::WrongEpoch { current_epoch: from.field("currentEpoch")? },
            2 => UpdateOutcome::NotAllowed,
            3 => UpdateOutcome::InvalidProposal(from.field("invalidProposals")?),
            code => {
                from.skip_rest();
                UpdateOutcome::Unknown(code)
            }
        };
        Ok(Self { error_description, outcome })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::wire::samples::{self, hold, octets, vector};

    fn commit(
        welcome: Option<Welcome>,
        group_info: GroupInfoOption,
        ratchet_tree: RatchetTreeOption,
    ) -> HandshakeBundle {
        HandshakeBundle::Commit { commit: samples::commit(), welcome, group_info, ratchet_tree }
    }

    #[test]
    fn a_commit_that_adds_somebody() {
        let bundle = commit(
            Some(samples::welcome()),
            GroupInfoOption::Full(samples::group_info()),
            RatchetTreeOption::Full(samples::ratchet_tree()),
        );
        let parts =
            [samples::COMMIT, "01", samples::WELCOME, "01", samples::GROUP_INFO, "01", &samples::ratchet_tree_hex()];
        hold(&bundle, &octets(&parts.concat()));
    }

    #[test]
    fn a_commit_whose_group_info_the_hub_completes() {
        let partial = PartialGroupInfo {
            ratchet_tree_presence: RatchetTreePresence::Present,
            group_info_extensions: vec![Extension {
                extension_type: 4,
                extension_data: Bytes::from_static(&[1, 0xee]),
            }],
            signature: Bytes::from_static(&[0x55; 2]),
        };
        let bundle = commit(None, GroupInfoOption::Partial(partial), RatchetTreeOption::DistributionService);
        hold(&bundle, &octets(&[samples::COMMIT, "00", "02", "01 05 0004 02 01ee 025555", "04"].concat()));
    }

    // D10: what Haven sends.
    #[test]
    fn a_welcome_may_have_a_header_and_a_group_info_a_length() {
        let lenient = [samples::COMMIT, "01", "00010003", samples::WELCOME, "01", &vector(samples::GROUP_INFO), "03"];
        let bundle = commit(
            Some(samples::welcome()),
            GroupInfoOption::Full(samples::group_info()),
            RatchetTreeOption::OutOfBand,
        );
        assert_eq!(HandshakeBundle::decode(&octets(&lenient.concat())), Ok(bundle));
    }

    #[test]
    fn several_proposals() {
        let bundle = HandshakeBundle::Proposal {
            proposal: samples::proposal(),
            more_proposals: vec![samples::proposal(), samples::proposal()],
        };
        let more = vector(&[samples::PROPOSAL, samples::PROPOSAL].concat());
        hold(&bundle, &octets(&[samples::PROPOSAL, &more].concat()));
    }

    #[test]
    fn an_update_is_a_handshake() {
        assert!(HandshakeBundle::decode(&octets(&[samples::APPLICATION, "00"].concat())).is_err());
        let more = vector(samples::APPLICATION);
        assert!(HandshakeBundle::decode(&octets(&[samples::PROPOSAL, &more].concat())).is_err());
    }

    #[test]
    fn a_group_info_with_the_tree_inside_is_malformed() {
        let parts = [samples::COMMIT, "00", "01", &samples::group_info_with_tree(), "04"];
        let error = HandshakeBundle::decode(&octets(&parts.concat()));
        assert_eq!(error, Err(WireError::Invalid("a GroupInfo omits the ratchet_tree")));
    }

    #[test]
    fn a_tree_by_uri() {
        let uri = "https://a.example/tree/7";
        hold(&RatchetTreeOption::HttpsUri(uri.into()), &octets(&["02", &samples::uri(uri)].concat()));
        assert!(RatchetTreeOption::decode(&[0]).is_err());
        assert!(RatchetTreeOption::decode(&[5]).is_err());
    }

    #[test]
    fn every_answer_to_an_update() {
        let answer = |error_description: &str, outcome| UpdateRoomResponse {
            error_description: error_description.into(),
            outcome,
        };
        hold(
            &answer("", UpdateOutcome::Success { accepted_timestamp: 1_644_387_225_019 }),
            &octets("00 00 0000017edd1dcdbb"),
        );
        hold(
            &answer("late", UpdateOutcome::WrongEpoch { current_epoch: 7 }),
            &octets("01 046c617465 0000000000000007"),
        );
        hold(&answer("no", UpdateOutcome::NotAllowed), &octets("02 026e6f"));
        let references = vec![Bytes::from_static(&[0xab, 0xcd]), Bytes::from_static(&[0xef])];
        hold(&answer("", UpdateOutcome::InvalidProposal(references)), &octets("03 00 05 02abcd 01ef"));
    }

    #[test]
    fn an_unknown_answer_is_a_failure_whatever_comes_with_it() {
        let response = UpdateRoomResponse::decode(&octets("09 026e6f ffffff")).unwrap();
        assert_eq!(response.outcome, UpdateOutcome::Unknown(9));
    }
}
