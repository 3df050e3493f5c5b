//! What tells peers that end-to-end encryption ends at this gateway.
//!
//! MIMI has no word for a bridge, so this is a component from the private range, which peers who don't know
//! it ignore. It stands in every KeyPackage and leaf of a bridged user, signed with the rest, where it can
//! be read before the user is added; and the same octets stand in consent and identifier extensions, so that
//! they can be compared.

use crate::mimi::tls::{Reader, Tls, WireError, Writer};
use crate::mimi::uri::Domain;

/// The data of component 0xF4B0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeDisclosure {
    /// The kind of network behind the gateway: `matrix`, `xmpp`.
    pub network: String,
    pub security: Security,
    /// Who runs the gateway.
    pub operator: Domain,
    /// An https URI for people to read; empty if there is none.
    pub policy: String,
}

/// How a message travels beyond the gateway, where it is readable in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    Unknown,
    Plaintext,
    TransportEncrypted,
    /// Encrypted again, with the scheme of the other network.
    Reencrypted,
}

const VERSION: u8 = 1;

impl Tls for BridgeDisclosure {
    fn write(&self, out: &mut Writer) {
        out.u8(VERSION);
        self.network.write(out);
        out.u8(match self.security {
            Security::Unknown => 0,
            Security::Plaintext => 1,
            Security::TransportEncrypted => 2,
            Security::Reencrypted => 3,
        });
        out.vector(self.operator.as_str().as_bytes());
        self.policy.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        match from.field("version")? {
            VERSION => {}
            value => return Err(WireError::Enum { what: "version of bridge_disclosure", value: value.into() }),
        }
        let security = |from: &mut Reader<'_>| {
            from.code(&[(0, "unknown"), (1, "plaintext"), (2, "transport_encrypted"), (3, "reencrypted")])
        };
        Ok(Self {
            network: from.field("network")?,
            security: match from.field_with("security", security)? {
                1 => Security::Plaintext,
                2 => Security::TransportEncrypted,
                3 => Security::Reencrypted,
                // What we don't know promises nothing.
                _ => Security::Unknown,
            },
            operator: from.field_with("operator", |from| Ok(Domain::parse(from.text()?)?))?,
            policy: from.field("policy")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::wire::samples::{hold, octets};

    #[test]
    fn a_disclosure_has_these_octets() {
        let disclosure = BridgeDisclosure {
            network: "xmpp".into(),
            security: Security::TransportEncrypted,
            operator: Domain::parse("a.example").unwrap(),
            policy: "https://a.example/p".into(),
        };
        let policy = hex::encode("https://a.example/p");
        hold(&disclosure, &octets(&format!("01 04 786d7070 02 09 612e6578616d706c65 13 {policy}")));
    }

    #[test]
    fn security_of_an_unknown_kind_is_unknown_security() {
        let octets = octets("01 01 78 09 09 612e6578616d706c65 00");
        assert_eq!(BridgeDisclosure::decode(&octets).unwrap().security, Security::Unknown);
    }
}
