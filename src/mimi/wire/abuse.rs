//! Reporting abuse to the hub (P§5.9).

use bytes::Bytes;

use super::{AppDataDictionary, Frank};
use crate::mimi::{
    tls::{Reader, Tls, WireError, Writer, tls_struct},
    uri::IdentifierUri,
};

/// The body of `/reportAbuse`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbuseReport {
    /// Empty on the wire if the report is anonymous (D47).
    pub reporting_user: Option<IdentifierUri>,
    pub alleged_abuser_uri: IdentifierUri,
    /// Any: the draft has no reasons yet (D47).
    pub reason_code: u8,
    /// For people; may be empty.
    pub note: String,
    pub messages: Vec<AbusiveMessage>,
    pub abuse_extensions: AppDataDictionary,
}

impl Tls for AbuseReport {
    fn write(&self, out: &mut Writer) {
        match &self.reporting_user {
            Some(user) => user.write(out),
            None => out.vector(&[]),
        }
        self.alleged_abuser_uri.write(out);
        out.u8(self.reason_code);
        self.note.write(out);
        self.messages.write(out);
        self.abuse_extensions.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            reporting_user: from.field_with("reportingUser", |from| match from.text()? {
                "" => Ok(None),
                user => Ok(Some(IdentifierUri::parse(user)?)),
            })?,
            alleged_abuser_uri: from.field("allegedAbuserUri")?,
            reason_code: from.field("reasonCode")?,
            note: from.field("note")?,
            messages: from.field("messages")?,
            abuse_extensions: from.field("abuse_extensions")?,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbusiveMessage {
    /// The application data of the MLS message as it was, framed or not (D32).
    pub message_content: Bytes,
    pub frank: Frank,
    /// In milliseconds since the start of the UNIX epoch.
    pub accepted_timestamp: u64,
}
tls_struct!(AbusiveMessage { message_content, frank, accepted_timestamp });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::wire::samples::{hold, octets, uri, vector};

    const ALICE: &str = "mimi://a.example/u/alice";
    const BOB: &str = "mimi://b.example/u/bob";

    fn report(reporting_user: Option<&str>, messages: Vec<AbusiveMessage>) -> AbuseReport {
        AbuseReport {
            reporting_user: reporting_user.map(|it| it.parse().unwrap()),
            alleged_abuser_uri: BOB.parse().unwrap(),
            reason_code: 0,
            note: "spam".into(),
            messages,
            abuse_extensions: AppDataDictionary::default(),
        }
    }

    #[test]
    fn a_report_with_a_message() {
        let message = AbusiveMessage {
            message_content: Bytes::from_static(&[0xaa; 2]),
            frank: Frank {
                server_frank: [0x77; 32],
                franking_signature_ciphersuite: 1,
                franking_integrity_signature: Bytes::from_static(&[0x88]),
            },
            accepted_timestamp: 258,
        };
        let message_hex = vector(&["02aaaa", &"77".repeat(32), "0001 0188 0000000000000102"].concat());
        let parts = [&uri(ALICE), &uri(BOB), "00 047370616d", &message_hex, "00"];
        hold(&report(Some(ALICE), vec![message]), &octets(&parts.concat()));
    }

    #[test]
    fn an_anonymous_report() {
        hold(&report(None, Vec::new()), &octets(&["00", &uri(BOB), "00 047370616d 00 00"].concat()));
    }
}
