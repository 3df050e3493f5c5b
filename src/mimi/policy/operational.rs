//! mls_operational_policy: the parameters that RFC 9750 §7 leaves to those who run MLS (R§7).

use crate::mimi::{
    component::ComponentId,
    framing::MediaType,
    tls::{Reader, Tls, WireError, Writer, tls_enum, tls_struct},
    wire::CipherSuite,
};

/// The `mls_operational_policy` component; an update is the whole of it anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationalParameters {
    pub mandatory_capabilities: ExtendedCapabilities,
    pub default_capabilities: ExtendedCapabilities,
    pub forbidden_capabilities: ExtendedCapabilities,
    /// A vector of wire formats (D26).
    pub handshake_formats: Vec<u16>,
    pub external_proposal_allowed: bool,
    pub external_commit_allowed: bool,
    pub pending_proposal_policy: PendingProposalPolicy,
    pub leaf_node_update_time: MinDefaultMaxTime,
    pub app_message_policy: AppMessagePolicy,
    pub max_kp_lifetime: u64,
    pub max_credential_lifetime: u64,
    pub resumption_psk_lifetime: u64,
    pub sender_nonce_keypair_lifetime: MinDefaultMaxTime,
    pub max_keypairs: u32,
    pub buffer_incoming_message_time: MinDefaultMaxTime,
    pub max_buffered_messages: u32,
}
tls_struct!(OperationalParameters {
    mandatory_capabilities,
    default_capabilities,
    forbidden_capabilities,
    handshake_formats,
    external_proposal_allowed,
    external_commit_allowed,
    pending_proposal_policy,
    leaf_node_update_time = "LeafNode_update_time",
    app_message_policy,
    max_kp_lifetime,
    max_credential_lifetime,
    resumption_psk_lifetime,
    sender_nonce_keypair_lifetime,
    max_keypairs,
    buffer_incoming_message_time,
    max_buffered_messages,
});

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtendedCapabilities {
    pub versions: Vec<u16>,
    pub cipher_suites: Vec<CipherSuite>,
    pub extensions: Vec<u16>,
    pub proposals: Vec<u16>,
    pub credentials: Vec<u16>,
    pub wire_formats: Vec<u16>,
    pub component_ids: Vec<ComponentId>,
    pub safe_aad_types: Vec<ComponentId>,
    pub media_types: Vec<MediaType>,
    pub content_types: Vec<u8>,
}
tls_struct!(ExtendedCapabilities {
    versions,
    cipher_suites,
    extensions,
    proposals,
    credentials,
    wire_formats,
    component_ids,
    safe_aad_types,
    media_types,
    content_types,
});

/// `pending_proposal_strategy` and what belongs to it. The strategy `extension` has no number (D26).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PendingProposalPolicy {
    Unspecified,
    ImmediateCommit,
    /// In milliseconds.
    RandomDelay {
        minimum_delay_ms: u64,
        maximum_delay_ms: u64,
    },
}

tls_enum! {
    PendingProposalStrategy: "PendingProposalStrategy" {
        Unspecified = 0 "unspecified",
        ImmediateCommit = 1 "immediate_commit",
        RandomDelay = 2 "random_delay",
    }
}

impl Tls for PendingProposalPolicy {
    fn write(&self, out: &mut Writer) {
        match self {
            Self::Unspecified => PendingProposalStrategy::Unspecified.write(out),
            Self::ImmediateCommit => PendingProposalStrategy::ImmediateCommit.write(out),
            Self::RandomDelay { minimum_delay_ms, maximum_delay_ms } => {
                PendingProposalStrategy::RandomDelay.write(out);
                out.u64(*minimum_delay_ms);
                out.u64(*maximum_delay_ms);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match from.field("pending_proposal_strategy")? {
            PendingProposalStrategy::Unspecified => Self::Unspecified,
            PendingProposalStrategy::ImmediateCommit => Self::ImmediateCommit,
            PendingProposalStrategy::RandomDelay => Self::RandomDelay {
                minimum_delay_ms: from.field("minimum_delay_ms")?,
                maximum_delay_ms: from.field("maximum_delay_ms")?,
            },
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinDefaultMaxTime {
    pub minimum_time: u64,
    pub default_time: u64,
    pub maximum_time: u64,
}
tls_struct!(MinDefaultMaxTime { minimum_time, default_time, maximum_time });

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppMessagePolicy {
    /// How many epochs late a message may be (D19a).
    pub epoch_tolerance: u8,
    /// In octets.
    pub pad_to_size: u16,
    pub max_generations_skipahead: u32,
}
tls_struct!(AppMessagePolicy { epoch_tolerance, pad_to_size, max_generations_skipahead });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::wire::samples::{hold, octets};

    #[test]
    fn a_policy_has_these_octets() {
        let time = |first| MinDefaultMaxTime { minimum_time: first, default_time: first + 1, maximum_time: first + 2 };
        let policy = OperationalParameters {
            mandatory_capabilities: ExtendedCapabilities {
                versions: vec![1],
                cipher_suites: vec![2],
                extensions: vec![6],
                proposals: vec![8],
                credentials: vec![1],
                wire_formats: vec![1],
                component_ids: vec![0x22],
                safe_aad_types: vec![0x20],
                media_types: vec![MediaType::new("x/y")],
                content_types: vec![1, 2],
            },
            default_capabilities: ExtendedCapabilities::default(),
            forbidden_capabilities: ExtendedCapabilities::default(),
            handshake_formats: vec![1],
            external_proposal_allowed: true,
            external_commit_allowed: false,
            pending_proposal_policy: PendingProposalPolicy::RandomDelay { minimum_delay_ms: 5, maximum_delay_ms: 6 },
            leaf_node_update_time: time(1),
            app_message_policy: AppMessagePolicy { epoch_tolerance: 1, pad_to_size: 2, max_generations_skipahead: 3 },
            max_kp_lifetime: 7,
            max_credential_lifetime: 8,
            resumption_psk_lifetime: 9,
            sender_nonce_keypair_lifetime: time(2),
            max_keypairs: 10,
            buffer_incoming_message_time: time(3),
            max_buffered_messages: 11,
        };
        let parts = [
            "020001 020002 020006 020008 020001 020001 020022 020020 05 03782f79 00 02 01 02",
            &"00".repeat(20),
            "020001 01 00",
            "02 0000000000000005 0000000000000006",
            "0000000000000001 0000000000000002 0000000000000003",
            "01 0002 00000003",
            "0000000000000007 0000000000000008 0000000000000009",
            "0000000000000002 0000000000000003 0000000000000004",
            "0000000a",
            "0000000000000003 0000000000000004 0000000000000005",
            "0000000b",
        ];
        hold(&policy, &octets(&parts.concat()));
    }

    #[test]
    fn the_other_strategies_have_nothing_behind_them() {
        hold(&PendingProposalPolicy::Unspecified, &octets("00"));
        hold(&PendingProposalPolicy::ImmediateCommit, &octets("01"));
        assert!(PendingProposalPolicy::decode(&octets("03")).is_err());
    }
}
