//! What a hub tells its followers (P§5.5).

use super::{Frank, MlsKind, MlsMessage, RatchetTreeOption, update::read_proposals};
use crate::mimi::tls::{Reader, Tls, WireError, Writer};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FanoutMessage {
    /// When the hub accepted it, in milliseconds since the start of the UNIX epoch.
    pub timestamp: u64,
    pub fanout: Fanout,
}

/// An MLSMessage and what belongs to it. The draft selects on the wire format and labels the arms with
/// content types; both together decide (D9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fanout {
    Application {
        message: MlsMessage,
        frank: Option<Frank>,
    },
    Welcome {
        message: MlsMessage,
        ratchet_tree: RatchetTreeOption,
    },
    Proposal {
        message: MlsMessage,
        more_proposals: Vec<MlsMessage>,
    },
    /// After an external commit the hub's own proposals are invalid; here they are anew.
    Commit {
        message: MlsMessage,
        external_proposals: Vec<MlsMessage>,
    },
}

impl FanoutMessage {
    /// Reads the body of `/notify`: one message or several, one after the other.
    pub fn decode_all(body: &[u8]) -> Result<Vec<Self>, WireError> {
        let mut from = Reader::new(body);
        from.row(Self::read)
    }

    pub fn message(&self) -> &MlsMessage {
        match &self.fanout {
            Fanout::Application { message, .. }
            | Fanout::Welcome { message, .. }
            | Fanout::Proposal { message, .. }
            | Fanout::Commit { message, .. } => message,
        }
    }
}

impl FanoutMessage {
    /// When the hub accepted what is in these octets, which begin with that.
    pub fn timestamp_of(octets: &[u8]) -> Option<u64> {
        octets.first_chunk().map(|first| u64::from_be_bytes(*first))
    }
}

impl Tls for FanoutMessage {
    fn write(&self, out: &mut Writer) {
        out.u64(self.timestamp);
        self.message().write(out);
        match &self.fanout {
            Fanout::Application { frank, .. } => frank.write(out),
            Fanout::Welcome { ratchet_tree, .. } => ratchet_tree.write(out),
            Fanout::Proposal { more_proposals: proposals, .. }
            | Fanout::Commit { external_proposals: proposals, .. } => {
                proposals.write(out);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let timestamp = from.field("timestamp")?;
        let message: MlsMessage = from.field("message")?;
        let fanout = match message.kind() {
            MlsKind::Application => Fanout::Application { message, frank: from.field("frank")? },
            MlsKind::Welcome => Fanout::Welcome { message, ratchet_tree: from.field("ratchetTreeOption")? },
            MlsKind::Proposal => {
                Fanout::Proposal { message, more_proposals: from.field_with("moreProposals", read_proposals)? }
            }
            MlsKind::Commit => {
                Fanout::Commit { message, external_proposals: from.field_with("externalProposals", read_proposals)? }
            }
            MlsKind::GroupInfo | MlsKind::KeyPackage | MlsKind::Misframed => {
                return Err(WireError::Invalid("this kind of MLSMessage is not fanned out"));
            }
        };
        Ok(Self { timestamp, fanout })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::mimi::wire::samples::{self, hold, octets, vector};

    const TIMESTAMP: u64 = 1_644_387_225_019;
    const TIMESTAMP_HEX: &str = "0000017edd1dcdbb";

    fn fanned_out(fanout: Fanout) -> FanoutMessage {
        FanoutMessage { timestamp: TIMESTAMP, fanout }
    }

    #[test]
    fn a_message_with_a_frank() {
        let frank = Frank {
            server_frank: [0x77; 32],
            franking_signature_ciphersuite: 1,
            franking_integrity_signature: Bytes::from_static(&[0x88]),
        };
        let message = fanned_out(Fanout::Application { message: samples::application(), frank: Some(frank) });
        let frank = format!("01 {} 0001 0188", "77".repeat(32));
        hold(&message, &octets(&[TIMESTAMP_HEX, samples::APPLICATION, &frank].concat()));
    }

    #[test]
    fn a_welcome_comes_as_an_mls_message_with_its_tree() {
        let ratchet_tree = RatchetTreeOption::Full(samples::ratchet_tree());
        let message = fanned_out(Fanout::Welcome { message: samples::welcome().to_message(), ratchet_tree });
        let parts = [TIMESTAMP_HEX, "00010003", samples::WELCOME, "01", &samples::ratchet_tree_hex()];
        hold(&message, &octets(&parts.concat()));
        assert_eq!(message.message().key_package_refs()[0].as_bytes(), [0xa1; 32]);
    }

    #[test]
    fn a_commit_with_the_hubs_proposals_anew() {
        let external_proposals = vec![samples::proposal()];
        let message = fanned_out(Fanout::Commit { message: samples::commit(), external_proposals });
        hold(&message, &octets(&[TIMESTAMP_HEX, samples::COMMIT, &vector(samples::PROPOSAL)].concat()));
    }

    #[test]
    fn a_proposal_alone() {
        let message = fanned_out(Fanout::Proposal { message: samples::proposal(), more_proposals: Vec::new() });
        hold(&message, &octets(&[TIMESTAMP_HEX, samples::PROPOSAL, "00"].concat()));
    }

    #[test]
    fn a_body_has_one_message_or_more_in_order() {
        let proposal = fanned_out(Fanout::Proposal { message: samples::proposal(), more_proposals: Vec::new() });
        let commit = fanned_out(Fanout::Commit { message: samples::commit(), external_proposals: Vec::new() });
        let body = [proposal.encode(), commit.encode()].concat();
        assert_eq!(FanoutMessage::decode_all(&body), Ok(vec![proposal.clone(), commit]));
        assert_eq!(FanoutMessage::decode_all(&proposal.encode()), Ok(vec![proposal.clone()]));
        assert!(FanoutMessage::decode_all(&[]).is_err());
        for end in (1..body.len()).filter(|end| *end != proposal.encode().len()) {
            assert!(FanoutMessage::decode_all(&body[..end]).is_err(), "{end} octets were accepted");
        }
    }

    #[test]
    fn what_is_not_fanned_out_is_refused() {
        let key_package = ["00010005", samples::KEY_PACKAGE].concat();
        let group_info = ["00010004", samples::GROUP_INFO].concat();
        for message in [samples::PRIVATE_PROPOSAL, samples::PUBLIC_APPLICATION, &key_package, &group_info] {
            let octets = octets(&[TIMESTAMP_HEX, message, "00"].concat());
            assert!(FanoutMessage::decode_all(&octets).is_err(), "{message}");
        }
    }

    #[test]
    fn what_comes_along_are_proposals() {
        for message in [samples::PROPOSAL, samples::COMMIT] {
            let octets = octets(&[TIMESTAMP_HEX, message, &vector(samples::APPLICATION)].concat());
            assert!(FanoutMessage::decode_all(&octets).is_err(), "{message}");
        }
    }

    proptest! {
        /// Real messages with a few octets changed go deeper than noise does.
        #[test]
        fn a_damaged_body_is_read_or_refused(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
            let parts = [
                TIMESTAMP_HEX, "00010003", samples::WELCOME, "01", &samples::ratchet_tree_hex(),
                TIMESTAMP_HEX, samples::COMMIT, &vector(samples::PROPOSAL),
                TIMESTAMP_HEX, samples::APPLICATION, "00",
            ];
            let mut body = octets(&parts.concat());
            for (at, octet) in changes {
                let at = at.index(body.len());
                body[at] = octet;
            }
            if let Ok(messages) = FanoutMessage::decode_all(&body) {
                let again: Vec<u8> = messages.iter().flat_map(|it| it.encode()).collect();
                prop_assert_eq!(again, body);
            }
        }
    }
}
