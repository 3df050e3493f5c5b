//! Sending a message (P§5.4).

use bytes::Bytes;

use super::{CipherSuite, MlsKind, MlsMessage, Protocol};
use crate::mimi::{
    tls::{Reader, Tls, WireError, Writer, tls_struct},
    uri::UserUri,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmitMessageRequest {
    pub protocol: Protocol,
    /// Application data in a PrivateMessage.
    pub app_message: MlsMessage,
    /// The participant who sends it. The hub forwards it to nobody.
    pub sending_uri: UserUri,
}

impl Tls for SubmitMessageRequest {
    fn write(&self, out: &mut Writer) {
        self.protocol.write(out);
        self.app_message.write(out);
        self.sending_uri.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let protocol = from.field("protocol")?;
        let app_message: MlsMessage = from.field("appMessage")?;
        if app_message.kind() != MlsKind::Application {
            return Err(WireError::Invalid("what is submitted is application data in a PrivateMessage"));
        }
        Ok(Self { protocol, app_message, sending_uri: from.field("sendingUri")? })
    }
}

/// What `/submitMessage` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmitMessageResponse {
    /// Will be distributed; called `success` as well in the draft (D18). In milliseconds since the start of
    /// the UNIX epoch.
    Accepted {
        accepted_timestamp: u64,
        frank: Option<Frank>,
    },
    NotAllowed,
    EpochTooOld {
        current_epoch: u64,
    },
    /// A failure of a kind we don't know; what stands behind it is not looked at (D59).
    Unknown(u8),
}

impl Tls for SubmitMessageResponse {
    fn write(&self, out: &mut Writer) {
        Protocol::Mls10.write(out);
        match self {
            Self::Accepted { accepted_timestamp, frank } => {
                out.u8(0);
                out.u64(*accepted_timestamp);
                frank.write(out);
            }
            Self::NotAllowed => out.u8(1),
            Self::EpochTooOld { current_epoch } => {
                out.u8(2);
                out.u64(*current_epoch);
            }
            Self::Unknown(code) => out.u8(*code),
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.field::<Protocol>("protocol")?;
        let status =
            from.field_with("statusCode", |from| from.code(&[(0, "accepted"), (1, "notAllowed"), (2, "epochTooOld")]))?;
        Ok(match status {
            0 => Self::Accepted { accepted_timestamp: from.field("accepted_timestamp")?, frank: from.field("frank")? },
            1 => Self::NotAllowed,
            2 => Self::EpochTooOld { current_epoch: from.field("currentEpoch")? },
            code => {
                from.skip_rest();
                Self::Unknown(code)
            }
        })
    }
}

/// The hub's stamp on a message (P§5.4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frank {
    pub server_frank: [u8; 32],
    pub franking_signature_ciphersuite: CipherSuite,
    pub franking_integrity_signature: Bytes,
}
tls_struct!(Frank { server_frank, franking_signature_ciphersuite, franking_integrity_signature });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::wire::samples::{self, hold, octets, uri};

    #[test]
    fn a_message_and_who_sends_it() {
        let request = SubmitMessageRequest {
            protocol: Protocol::Mls10,
            app_message: samples::application(),
            sending_uri: "mimi://a.example/u/alice".parse().unwrap(),
        };
        hold(&request, &octets(&["01", samples::APPLICATION, &uri("mimi://a.example/u/alice")].concat()));
    }

    #[test]
    fn only_application_data_is_submitted() {
        for message in [samples::PROPOSAL, samples::COMMIT, samples::PRIVATE_PROPOSAL, samples::PUBLIC_APPLICATION] {
            let request = octets(&["01", message, &uri("mimi://a.example/u/alice")].concat());
            assert!(SubmitMessageRequest::decode(&request).is_err(), "{message}");
        }
    }

    #[test]
    fn every_answer_to_a_message() {
        let accepted = |frank| SubmitMessageResponse::Accepted { accepted_timestamp: 1_644_387_225_019, frank };
        hold(&accepted(None), &octets("01 00 0000017edd1dcdbb 00"));
        let frank = Frank {
            server_frank: [0x77; 32],
            franking_signature_ciphersuite: 1,
            franking_integrity_signature: Bytes::from_static(&[0x88, 0x99]),
        };
        let stamped = format!("01 00 0000017edd1dcdbb 01 {} 0001 028899", "77".repeat(32));
        hold(&accepted(Some(frank)), &octets(&stamped));
        hold(&SubmitMessageResponse::NotAllowed, &octets("01 01"));
        hold(&SubmitMessageResponse::EpochTooOld { current_epoch: 258 }, &octets("01 02 0000000000000102"));
    }

    #[test]
    fn an_unknown_answer_is_a_failure_whatever_comes_with_it() {
        assert_eq!(SubmitMessageResponse::decode(&octets("01 07 0102")), Ok(SubmitMessageResponse::Unknown(7)));
    }
}
