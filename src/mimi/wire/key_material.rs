//! Asking for KeyPackages (P§5.2).

use bytes::Bytes;

use super::{Capabilities, CipherSuite, Credential, KeyPackage, Protocol, RequiredCapabilities};
use crate::mimi::{
    tls::{Reader, Tls, WireError, Writer, tls_struct},
    uri::{IdentifierUri, RoomUri, UserUri},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMaterialRequest {
    pub tbs: KeyMaterialRequestTbs,
    /// SignWithLabel(requesterSignatureKey, "KeyMaterialRequestTBS", the octets of `tbs`), with the scheme
    /// of one of the acceptable suites, ours with the first one's (D13).
    pub signature: Bytes,
}

impl Tls for KeyMaterialRequest {
    fn write(&self, out: &mut Writer) {
        self.tbs.write(out);
        self.signature.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { tbs: Tls::read(from)?, signature: from.field("key_material_request_signature")? })
    }
}

/// Everything in the request but its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMaterialRequestTbs {
    pub protocol: Protocol,
    pub requesting_user: UserUri,
    pub target_user: UserUri,
    /// Empty on the wire if the request is for no room in particular (D12).
    pub room_id: Option<RoomUri>,
    /// Not empty, best first.
    pub acceptable_ciphersuites: Vec<CipherSuite>,
    pub required_capabilities: RequiredCapabilities,
    pub requester_signature_key: Bytes,
    pub requester_credential: Credential,
}

impl KeyMaterialRequestTbs {
    /// For SignWithLabel.
    pub const LABEL: &str = "KeyMaterialRequestTBS";
}

impl Tls for KeyMaterialRequestTbs {
    fn write(&self, out: &mut Writer) {
        self.protocol.write(out);
        self.requesting_user.write(out);
        self.target_user.write(out);
        match &self.room_id {
            Some(room) => room.write(out),
            None => out.vector(&[]),
        }
        self.acceptable_ciphersuites.write(out);
        self.required_capabilities.write(out);
        self.requester_signature_key.write(out);
        self.requester_credential.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let request = Self {
            protocol: from.field("protocol")?,
            requesting_user: from.field("requestingUser")?,
            target_user: from.field("targetUser")?,
            room_id: from.field_with("roomId", |from| match from.text()? {
                "" => Ok(None),
                room => Ok(Some(RoomUri::parse(room)?)),
            })?,
            acceptable_ciphersuites: from.field("acceptableCiphersuites")?,
            required_capabilities: from.field("requiredCapabilities")?,
            requester_signature_key: from.field("requesterSignatureKey")?,
            requester_credential: from.field("requesterCredential")?,
        };
        if request.acceptable_ciphersuites.is_empty() {
            return Err(WireError::Invalid("a KeyMaterialRequest accepts at least one cipher suite"));
        }
        Ok(request)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMaterialResponse {
    pub protocol: Protocol,
    pub user_status: KeyMaterialUserCode,
    pub user_uri: UserUri,
    /// Empty for every failure, but perhaps for `NoCompatibleMaterial`.
    pub clients: Vec<ClientKeyMaterial>,
}
tls_struct!(KeyMaterialResponse { protocol, user_status = "userStatus", user_uri = "userUri", clients });

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyMaterialUserCode {
    /// There is key material for every client.
    Success,
    /// There is key material for at least one client.
    PartialSuccess,
    IncompatibleProtocol,
    NoCompatibleMaterial,
    UserUnknown,
    /// Also said where another answer would tell too much.
    NoConsent,
    NoConsentForThisRoom,
    UserDeleted,
    /// A failure of a kind we don't know (D59).
    Unknown(u8),
}

impl Tls for KeyMaterialUserCode {
    fn write(&self, out: &mut Writer) {
        out.u8(match *self {
            Self::Success => 0,
            Self::PartialSuccess => 1,
            Self::IncompatibleProtocol => 2,
            Self::NoCompatibleMaterial => 3,
            Self::UserUnknown => 4,
            Self::NoConsent => 5,
            Self::NoConsentForThisRoom => 6,
            Self::UserDeleted => 7,
            Self::Unknown(code) => code,
        });
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let code = from.code(&[
            (0, "success"),
            (1, "partialSuccess"),
            (2, "incompatibleProtocol"),
            (3, "noCompatibleMaterial"),
            (4, "userUnknown"),
            (5, "noConsent"),
            (6, "noConsentForThisRoom"),
            (7, "userDeleted"),
        ])?;
        Ok(match code {
            0 => Self::Success,
            1 => Self::PartialSuccess,
            2 => Self::IncompatibleProtocol,
            3 => Self::NoCompatibleMaterial,
            4 => Self::UserUnknown,
            5 => Self::NoConsent,
            6 => Self::NoConsentForThisRoom,
            7 => Self::UserDeleted,
            code => Self::Unknown(code),
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientKeyMaterial {
    /// A client URI, or from some providers the user's (D29 a).
    pub client_uri: IdentifierUri,
    pub material: ClientMaterial,
}

/// `clientStatus` and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMaterial {
    Success(KeyPackage),
    KeyMaterialExhausted,
    NothingCompatible(Option<Capabilities>),
    /// A failure of a kind we don't know, taken to have nothing behind it (D59).
    Unknown(u8),
}

impl Tls for ClientKeyMaterial {
    fn write(&self, out: &mut Writer) {
        out.u8(match self.material {
            ClientMaterial::Success(_) => 0,
            ClientMaterial::KeyMaterialExhausted => 1,
            ClientMaterial::NothingCompatible(_) => 2,
            ClientMaterial::Unknown(code) => code,
        });
        self.client_uri.write(out);
        match &self.material {
            ClientMaterial::Success(key_package) => key_package.write(out),
            ClientMaterial::NothingCompatible(capabilities) => capabilities.write(out),
            ClientMaterial::KeyMaterialExhausted | ClientMaterial::Unknown(_) => {}
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let status = from.field_with("clientStatus", |from| {
            from.code(&[(0, "success"), (1, "keyMaterialExhausted"), (2, "nothingCompatible")])
        })?;
        let client_uri = from.field("clientUri")?;
        let material = match status {
            0 => ClientMaterial::Success(from.field("keyPackage")?),
            1 => ClientMaterial::KeyMaterialExhausted,
            2 => ClientMaterial::NothingCompatible(from.field("clientCapabilities")?),
            code => ClientMaterial::Unknown(code),
        };
        Ok(Self { client_uri, material })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::wire::samples::{self, hold, uri};

    fn request(room: Option<&str>) -> KeyMaterialRequest {
        let tbs = KeyMaterialRequestTbs {
            protocol: Protocol::Mls10,
            requesting_user: "mimi://a.example/u/alice".parse().unwrap(),
            target_user: "mimi://b.example/u/bob".parse().unwrap(),
            room_id: room.map(|it| it.parse().unwrap()),
            acceptable_ciphersuites: vec![1, 3],
            required_capabilities: RequiredCapabilities {
                extension_types: vec![6],
                proposal_types: vec![8, 10],
                credential_types: vec![1],
            },
            requester_signature_key: Bytes::from_static(&[0x11; 4]),
            requester_credential: Credential::basic("mimi://a.example/d/alice/1"),
        };
        KeyMaterialRequest { tbs, signature: Bytes::from_static(&[0x22; 3]) }
    }

    fn request_octets(room: &str) -> Vec<u8> {
        let parts = [
            "01".into(),
            uri("mimi://a.example/u/alice"),
            uri("mimi://b.example/u/bob"),
            uri(room),
            "0400010003".into(),
            "020006 0400080 00a 020001".into(),
            "0411111111".into(),
            "0001".into(),
            uri("mimi://a.example/d/alice/1"),
            "03222222".into(),
        ];
        samples::octets(&parts.concat())
    }

    #[test]
    fn a_request_for_a_room() {
        hold(&request(Some("mimi://a.example/r/clubhouse")), &request_octets("mimi://a.example/r/clubhouse"));
    }

    #[test]
    fn a_request_for_no_room() {
        hold(&request(None), &request_octets(""));
    }

    #[test]
    fn what_is_signed_is_everything_but_the_signature() {
        let request = request(None);
        let octets = request.encode();
        assert_eq!(request.tbs.encode(), octets[..octets.len() - 4]);
    }

    #[test]
    fn a_request_that_accepts_no_suite_or_speaks_another_protocol_is_malformed() {
        let mut no_suite = request(None);
        no_suite.tbs.acceptable_ciphersuites.clear();
        assert!(KeyMaterialRequest::decode(&no_suite.encode()).is_err());
        let mut octets = request_octets("");
        octets[0] = 2;
        assert_eq!(KeyMaterialRequest::decode(&octets), Err(WireError::Enum { what: "protocol", value: 2 }));
    }

    #[test]
    fn a_response_for_three_clients() {
        let client = |uri: &str, material| ClientKeyMaterial { client_uri: uri.parse().unwrap(), material };
        let capabilities = Capabilities { versions: vec![1], cipher_suites: vec![2], ..Capabilities::default() };
        let response = KeyMaterialResponse {
            protocol: Protocol::Mls10,
            user_status: KeyMaterialUserCode::PartialSuccess,
            user_uri: "mimi://b.example/u/bob".parse().unwrap(),
            clients: vec![
                client("mimi://b.example/d/bob/1", ClientMaterial::Success(samples::key_package())),
                client("mimi://b.example/d/ClientB2", ClientMaterial::KeyMaterialExhausted),
                client("mimi://b.example/d/bob/3", ClientMaterial::NothingCompatible(Some(capabilities))),
            ],
        };
        let clients = [
            "00".into(),
            uri("mimi://b.example/d/bob/1"),
            samples::KEY_PACKAGE.into(),
            "01".into(),
            uri("mimi://b.example/d/ClientB2"),
            "02".into(),
            uri("mimi://b.example/d/bob/3"),
            "01 020001 020002 00 00 00".into(),
        ];
        let octets = ["0101".into(), uri("mimi://b.example/u/bob"), samples::vector(&clients.concat())];
        hold(&response, &samples::octets(&octets.concat()));
    }

    #[test]
    fn an_unknown_answer_is_a_failure() {
        let octets = samples::octets(&["0109", &uri("mimi://b.example/u/bob"), "00"].concat());
        let response = KeyMaterialResponse::decode(&octets).unwrap();
        assert_eq!(response.user_status, KeyMaterialUserCode::Unknown(9));
    }
}
