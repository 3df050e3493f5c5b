//! Asking the hub for what an external commit needs (P§5.6).

use bytes::Bytes;

use super::{CipherSuite, Credential, GroupInfo, MlsMessage, Protocol, RatchetTreeOption};
use crate::mimi::{
    tls::{Reader, Tls, WireError, Writer, tls_struct},
    uri::RoomUri,
};

/// The body of `/groupInfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfoRequest {
    pub protocol: Protocol,
    /// Fixes HPKE and the signature scheme (D16).
    pub cipher_suite: CipherSuite,
    pub requesting_signature_key: Bytes,
    pub requesting_credential: Credential,
    pub group_info_public_key: Bytes,
    /// Empty if there is none (D14).
    pub joining_code: Bytes,
    /// SignWithLabel(requestingSignatureKey, "GroupInfoRequestTBS", the octets of a [`GroupInfoRequestTbs`]).
    pub signature: Bytes,
}
tls_struct!(GroupInfoRequest {
    protocol,
    cipher_suite,
    requesting_signature_key = "requestingSignatureKey",
    requesting_credential = "requestingCredential",
    group_info_public_key = "groupInfoPublicKey",
    joining_code = "joiningCode",
    signature,
});

/// What the one who asks signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfoRequestTbs {
    pub protocol: Protocol,
    pub cipher_suite: CipherSuite,
    pub requesting_signature_key: Bytes,
    pub requesting_credential: Credential,
    pub group_info_public_key: Bytes,
    /// Here an absent one is absent, and not empty (D14).
    pub joining_code: Option<Bytes>,
}
tls_struct!(GroupInfoRequestTbs {
    protocol,
    cipher_suite,
    requesting_signature_key = "requestingSignatureKey",
    requesting_credential = "requestingCredential",
    group_info_public_key = "groupInfoPublicKey",
    joining_code = "joiningCode",
});

impl GroupInfoRequestTbs {
    /// For SignWithLabel.
    pub const LABEL: &str = "GroupInfoRequestTBS";
}

impl GroupInfoRequest {
    pub fn signed(tbs: GroupInfoRequestTbs, signature: Bytes) -> Self {
        Self {
            protocol: tbs.protocol,
            cipher_suite: tbs.cipher_suite,
            requesting_signature_key: tbs.requesting_signature_key,
            requesting_credential: tbs.requesting_credential,
            group_info_public_key: tbs.group_info_public_key,
            joining_code: tbs.joining_code.unwrap_or_default(),
            signature,
        }
    }

    /// The octets that may have been signed, likeliest first. The draft says in two ways how a code stands there, and
    /// others may have read it in a third: as in the request itself (D14).
    pub fn readings(&self) -> Vec<Vec<u8>> {
        let tbs = |joining_code| {
            GroupInfoRequestTbs {
                protocol: self.protocol,
                cipher_suite: self.cipher_suite,
                requesting_signature_key: self.requesting_signature_key.clone(),
                requesting_credential: self.requesting_credential.clone(),
                group_info_public_key: self.group_info_public_key.clone(),
                joining_code,
            }
            .encode()
        };
        let (absent, present) = (tbs(None), tbs(Some(self.joining_code.clone())));
        let mut bare = Writer::default();
        bare.octets(&absent[..absent.len() - 1]);
        bare.vector(&self.joining_code);
        match self.joining_code.is_empty() {
            true => vec![absent, present, bare.into_octets()],
            false => vec![present, bare.into_octets()],
        }
    }
}

/// What `/groupInfo` answers. `version` is the protocol (D7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfoResponse {
    pub room_id: RoomUri,
    pub outcome: GroupInfoOutcome,
}

/// `status` and what belongs to it. A failure has no signature (D15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupInfoOutcome {
    Success {
        answer: GroupInfoAnswer,
        /// SignWithLabel(hub_sender.signature_key, "GroupInfoResponseTBS", the octets of a [`GroupInfoResponseTbs`]).
        signature: Bytes,
    },
    NotAuthorized,
    NoSuchRoom,
    /// A failure of a kind we don't know; what stands behind it is not looked at (D59).
    Unknown(u8),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfoAnswer {
    pub cipher_suite: CipherSuite,
    pub hub_sender: ExternalSender,
    /// A [`GroupInfoRatchetTreeTbe`], for groupInfoPublicKey.
    pub encrypted_groupinfo_and_tree: HpkeCiphertext,
}
tls_struct!(GroupInfoAnswer { cipher_suite, hub_sender, encrypted_groupinfo_and_tree });

const SUCCESS: u8 = 1;
const NOT_AUTHORIZED: u8 = 2;
const NO_SUCH_ROOM: u8 = 3;

fn read_status(from: &mut Reader<'_>) -> Result<u8, WireError> {
    from.field_with("status", |from| from.code(&[(1, "success"), (2, "notAuthorized"), (3, "noSuchRoom")]))
}

impl Tls for GroupInfoResponse {
    fn write(&self, out: &mut Writer) {
        Protocol::Mls10.write(out);
        self.room_id.write(out);
        match &self.outcome {
            GroupInfoOutcome::Success { answer, signature } => {
                out.u8(SUCCESS);
                answer.write(out);
                signature.write(out);
            }
            GroupInfoOutcome::NotAuthorized => out.u8(NOT_AUTHORIZED),
            GroupInfoOutcome::NoSuchRoom => out.u8(NO_SUCH_ROOM),
            GroupInfoOutcome::Unknown(status) => out.u8(*status),
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.field::<Protocol>("version")?;
        let room_id = from.field("room_id")?;
        let outcome = match read_status(from)? {
            SUCCESS => GroupInfoOutcome::Success { answer: Tls::read(from)?, signature: from.field("signature")? },
            NOT_AUTHORIZED => GroupInfoOutcome::NotAuthorized,
            NO_SUCH_ROOM => GroupInfoOutcome::NoSuchRoom,
            status => {
                from.skip_rest();
                GroupInfoOutcome::Unknown(status)
            }
        };
        Ok(Self { room_id, outcome })
    }
}

/// What the hub signs: the response but for the signature, so it is always of a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfoResponseTbs {
    pub room_id: RoomUri,
    pub answer: GroupInfoAnswer,
}

impl Tls for GroupInfoResponseTbs {
    fn write(&self, out: &mut Writer) {
        Protocol::Mls10.write(out);
        self.room_id.write(out);
        out.u8(SUCCESS);
        self.answer.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.field::<Protocol>("version")?;
        let room_id = from.field("room_id")?;
        match read_status(from)? {
            SUCCESS => Ok(Self { room_id, answer: Tls::read(from)? }),
            _ => Err(WireError::Invalid("only a success is signed")),
        }
    }
}

impl GroupInfoResponseTbs {
    /// For SignWithLabel.
    pub const LABEL: &str = "GroupInfoResponseTBS";
}

impl GroupInfoRatchetTreeTbe {
    /// For EncryptWithLabel.
    pub const LABEL: &str = "GroupInfo and ratchet_tree encryption";
}

/// What is encrypted with EncryptWithLabel, "GroupInfo and ratchet_tree encryption" and the room_id as its context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfoRatchetTreeTbe {
    /// Without ratchet_tree.
    pub group_info: GroupInfo,
    pub ratchet_tree_option: RatchetTreeOption,
    pub pending_proposals: Vec<PendingProposal>,
}
tls_struct!(GroupInfoRatchetTreeTbe {
    group_info = "groupInfo",
    ratchet_tree_option = "ratchetTreeOption",
    pending_proposals,
});

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingProposal {
    pub proposal: MlsMessage,
    /// In milliseconds since the start of the UNIX epoch.
    pub hub_accepted_time: u64,
}
tls_struct!(PendingProposal { proposal, hub_accepted_time });

/// RFC 9420 §12.1.8.1
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalSender {
    pub signature_key: Bytes,
    pub credential: Credential,
}
tls_struct!(ExternalSender { signature_key, credential });

/// RFC 9420 §7.6
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HpkeCiphertext {
    pub kem_output: Bytes,
    pub ciphertext: Bytes,
}
tls_struct!(HpkeCiphertext { kem_output, ciphertext });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::wire::samples::{self, hold, octets, uri, vector};

    const ROOM: &str = "mimi://a.example/r/clubhouse";

    fn request(joining_code: &'static [u8]) -> GroupInfoRequest {
        GroupInfoRequest {
            protocol: Protocol::Mls10,
            cipher_suite: 1,
            requesting_signature_key: Bytes::from_static(&[0x11; 2]),
            requesting_credential: Credential::basic("b"),
            group_info_public_key: Bytes::from_static(&[0x22; 2]),
            joining_code: Bytes::from_static(joining_code),
            signature: Bytes::from_static(&[0x33]),
        }
    }

    fn answer() -> GroupInfoAnswer {
        GroupInfoAnswer {
            cipher_suite: 1,
            hub_sender: ExternalSender {
                signature_key: Bytes::from_static(&[0x44]),
                credential: Credential::basic("h"),
            },
            encrypted_groupinfo_and_tree: HpkeCiphertext {
                kem_output: Bytes::from_static(&[0x55; 2]),
                ciphertext: Bytes::from_static(&[0x66; 3]),
            },
        }
    }

    #[test]
    fn a_request_with_and_without_a_code() {
        hold(&request(b""), &octets("01 0001 021111 0001 0162 022222 00 0133"));
        hold(&request(b"Q"), &octets("01 0001 021111 0001 0162 022222 0151 0133"));
    }

    #[test]
    fn what_is_signed_says_whether_there_is_a_code() {
        let tbs = |joining_code| GroupInfoRequestTbs {
            protocol: Protocol::Mls10,
            cipher_suite: 1,
            requesting_signature_key: Bytes::from_static(&[0x11; 2]),
            requesting_credential: Credential::basic("b"),
            group_info_public_key: Bytes::from_static(&[0x22; 2]),
            joining_code,
        };
        hold(&tbs(None), &octets("01 0001 021111 0001 0162 022222 00"));
        hold(&tbs(Some(Bytes::from_static(b"Q"))), &octets("01 0001 021111 0001 0162 022222 01 0151"));
    }

    #[test]
    fn what_may_have_been_signed() {
        let before = "01 0001 021111 0001 0162 022222";
        let readings = |code, tails: &[&str]| {
            let expected: Vec<_> = tails.iter().map(|tail| octets(&[before, tail].concat())).collect();
            assert_eq!(request(code).readings(), expected);
        };
        readings(b"", &["00", "01 00", "00"]);
        readings(b"Q", &["01 0151", "0151"]);
    }

    #[test]
    fn every_answer() {
        let response = |outcome| GroupInfoResponse { room_id: ROOM.parse().unwrap(), outcome };
        let success = GroupInfoOutcome::Success { answer: answer(), signature: Bytes::from_static(&[0x77]) };
        let signed = ["01", &uri(ROOM), "01 0001 0144 0001 0168 025555 03666666"].concat();
        hold(&response(success), &octets(&[&signed, "0177"].concat()));
        hold(&GroupInfoResponseTbs { room_id: ROOM.parse().unwrap(), answer: answer() }, &octets(&signed));
        hold(&response(GroupInfoOutcome::NotAuthorized), &octets(&["01", &uri(ROOM), "02"].concat()));
        hold(&response(GroupInfoOutcome::NoSuchRoom), &octets(&["01", &uri(ROOM), "03"].concat()));
        let unknown = GroupInfoResponse::decode(&octets(&["01", &uri(ROOM), "00 ffff"].concat()));
        assert_eq!(unknown, Ok(response(GroupInfoOutcome::Unknown(0))));
    }

    #[test]
    fn what_is_encrypted() {
        let tbe = GroupInfoRatchetTreeTbe {
            group_info: samples::group_info(),
            ratchet_tree_option: RatchetTreeOption::OutOfBand,
            pending_proposals: vec![PendingProposal { proposal: samples::proposal(), hub_accepted_time: 258 }],
        };
        let pending = vector(&[samples::PROPOSAL, "0000000000000102"].concat());
        hold(&tbe, &octets(&[samples::GROUP_INFO, "03", &pending].concat()));
    }
}
