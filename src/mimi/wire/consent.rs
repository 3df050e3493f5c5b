//! Asking whether somebody may be reached, and saying so (P§5.7).

use super::{AppDataDictionary, KeyPackage};
use crate::mimi::{
    tls::{Reader, Tls, WireError, Writer, tls_enum},
    uri::{RoomUri, UserUri},
};

/// The body of `/requestConsent` and `/updateConsent`. Requester, target and room are its scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentEntry {
    pub consent_operation: ConsentOperation,
    pub requester_uri: UserUri,
    pub target_uri: UserUri,
    /// `None` is any room.
    pub room_id: Option<RoomUri>,
    pub consent_extensions: AppDataDictionary,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsentOperation {
    Cancel,
    Request,
    /// KeyPackages of the target may come with it, to be used once.
    Grant(Vec<KeyPackage>),
    Revoke,
}

tls_enum! {
    Operation: "ConsentOperation" { Cancel = 0 "cancel", Request = 1 "request", Grant = 2 "grant", Revoke = 3 "revoke" }
}

impl Tls for ConsentEntry {
    fn write(&self, out: &mut Writer) {
        let operation = match self.consent_operation {
            ConsentOperation::Cancel => Operation::Cancel,
            ConsentOperation::Request => Operation::Request,
            ConsentOperation::Grant(_) => Operation::Grant,
            ConsentOperation::Revoke => Operation::Revoke,
        };
        operation.write(out);
        self.requester_uri.write(out);
        self.target_uri.write(out);
        self.room_id.write(out);
        if let ConsentOperation::Grant(key_packages) = &self.consent_operation {
            key_packages.write(out);
        }
        self.consent_extensions.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let operation = from.field("consentOperation")?;
        let requester_uri = from.field("requesterUri")?;
        let target_uri = from.field("targetUri")?;
        let room_id = from.field("roomId")?;
        let consent_operation = match operation {
            Operation::Cancel => ConsentOperation::Cancel,
            Operation::Request => ConsentOperation::Request,
            Operation::Grant => ConsentOperation::Grant(from.field("clientKeyPackages")?),
            Operation::Revoke => ConsentOperation::Revoke,
        };
        let consent_extensions = from.field("consent_extensions")?;
        Ok(Self { consent_operation, requester_uri, target_uri, room_id, consent_extensions })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::mimi::wire::samples::{self, hold, octets, uri, vector};

    fn entry(consent_operation: ConsentOperation, room: Option<&str>) -> ConsentEntry {
        ConsentEntry {
            consent_operation,
            requester_uri: "mimi://a.example/u/alice".parse().unwrap(),
            target_uri: "mimi://b.example/u/bob".parse().unwrap(),
            room_id: room.map(|it| it.parse().unwrap()),
            consent_extensions: AppDataDictionary::default(),
        }
    }

    fn users() -> String {
        [uri("mimi://a.example/u/alice"), uri("mimi://b.example/u/bob")].concat()
    }

    #[test]
    fn every_operation() {
        hold(&entry(ConsentOperation::Cancel, None), &octets(&["00", &users(), "00", "00"].concat()));
        hold(&entry(ConsentOperation::Request, None), &octets(&["01", &users(), "00", "00"].concat()));
        hold(&entry(ConsentOperation::Revoke, None), &octets(&["03", &users(), "00", "00"].concat()));
        assert!(ConsentEntry::decode(&octets(&["04", &users(), "00", "00"].concat())).is_err());
    }

    #[test]
    fn a_grant_for_one_room_with_a_key_package_and_an_extension() {
        let room = "mimi://a.example/r/clubhouse";
        let mut grant = entry(ConsentOperation::Grant(vec![samples::key_package()]), Some(room));
        grant.consent_extensions.0.insert(0xf4b0, Bytes::from_static(&[1]));
        let key_packages = vector(samples::KEY_PACKAGE);
        hold(&grant, &octets(&["02", &users(), "01", &uri(room), &key_packages, "04 f4b0 0101"].concat()));
    }

    #[test]
    fn a_grant_without_key_packages() {
        hold(&entry(ConsentOperation::Grant(Vec::new()), None), &octets(&["02", &users(), "00", "00", "00"].concat()));
    }
}
