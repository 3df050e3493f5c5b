//! MLS structs that MIMI's structs contain (RFC 9420, and AppDataDictionary of mls-extensions X§4.6).

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    mimi::tls::{Reader, Tls, WireError, Writer, tls_struct},
    mls::codec::{GroupInfo, KeyPackage, MlsMessage, RatchetTree, Welcome},
};

/// An MLS cipher suite as its registry numbers it.
pub type CipherSuite = u16;

// MLS values have no lengths in front: their own decoder finds where they end.
macro_rules! mls_values {
    ($($name:ident),*) => {$(
        impl Tls for $name {
            fn write(&self, out: &mut Writer) {
                out.octets(self.as_bytes());
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
                from.value(Self::WHAT, |octets| Ok(Self::decode_prefix(octets)?))
            }
        }
    )*};
}
mls_values!(MlsMessage, Welcome, KeyPackage, GroupInfo, RatchetTree);

/// RFC 9420 §5.3. What is inside an X.509 chain is not looked at here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    pub credential_type: u16,
    /// The identity of a basic credential, the certificates of an X.509 one. Every credential type that
    /// exists has one vector behind its number.
    pub data: Bytes,
}

impl Tls for Credential {
    fn write(&self, out: &mut Writer) {
        out.u16(self.credential_type);
        out.vector(&self.data);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let credential_type = from.field("credential_type")?;
        let data = match credential_type {
            Self::BASIC => "identity",
            Self::X509 => "certificates",
            _ => "data",
        };
        Ok(Self { credential_type, data: from.field(data)? })
    }
}

impl Credential {
    const BASIC: u16 = 1;
    const X509: u16 = 2;

    pub fn basic(identity: impl AsRef<[u8]>) -> Self {
        Self { credential_type: Self::BASIC, data: Bytes::copy_from_slice(identity.as_ref()) }
    }

    /// The identity, if the credential is a basic one.
    pub fn identity(&self) -> Option<&[u8]> {
        (self.credential_type == Self::BASIC).then_some(&self.data)
    }
}

/// RFC 9420 §11.1
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequiredCapabilities {
    pub extension_types: Vec<u16>,
    pub proposal_types: Vec<u16>,
    pub credential_types: Vec<u16>,
}
tls_struct!(RequiredCapabilities { extension_types, proposal_types, credential_types });

/// RFC 9420 §7.2
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    pub versions: Vec<u16>,
    pub cipher_suites: Vec<CipherSuite>,
    pub extensions: Vec<u16>,
    pub proposals: Vec<u16>,
    pub credentials: Vec<u16>,
}
tls_struct!(Capabilities { versions, cipher_suites, extensions, proposals, credentials });

/// RFC 9420 §13.4
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    pub extension_type: u16,
    pub extension_data: Bytes,
}
tls_struct!(Extension { extension_type, extension_data });

/// What components have to say: sorted by component ID, each once (X§4.6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppDataDictionary(pub BTreeMap<u16, Bytes>);

struct ComponentData {
    component_id: u16,
    data: Bytes,
}
tls_struct!(ComponentData { component_id, data });

impl Tls for AppDataDictionary {
    fn write(&self, out: &mut Writer) {
        let all = self.0.iter().map(|(&component_id, data)| ComponentData { component_id, data: data.clone() });
        all.collect::<Vec<_>>().write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let all = from.field::<Vec<ComponentData>>("component_data")?;
        if !all.is_sorted_by(|one, next| one.component_id < next.component_id) {
            return Err(WireError::Invalid("the components of a dictionary are sorted, each once"));
        }
        Ok(Self(all.into_iter().map(|it| (it.component_id, it.data)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_is_sorted_and_has_each_component_once() {
        let read = |hex: &str| AppDataDictionary::decode(&hex::decode(hex).unwrap());
        let two = read("080022 01aa f4b0 01bb".replace(' ', "").as_str()).unwrap();
        assert_eq!(
            two.0.into_iter().map(|(id, data)| (id, data[0])).collect::<Vec<_>>(),
            [(0x22, 0xaa), (0xf4b0, 0xbb)]
        );
        assert!(read("08f4b001bb002201aa").is_err());
        assert!(read("08002201aa002201aa").is_err());
    }
}
