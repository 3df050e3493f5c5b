//! preauth_list: who has a role by virtue of a credential, without being in the list (R§4).
//!
//! It is asked when somebody joins from outside, when somebody changes their own role, and for external
//! senders such as the hub; never for anybody who is in the list, or the banned would come back.

use bytes::Bytes;

use super::Role;
use crate::mimi::{
    participants::RoleIndex,
    tls::{Reader, Tls, WireError, Writer, tls_struct},
    wire::Credential,
};

/// The `preauth_list` component; an update is the whole of it anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PreAuthData {
    pub preauthorized_entries: Vec<PreAuthRoleEntry>,
}
tls_struct!(PreAuthData { preauthorized_entries });

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreAuthRoleEntry {
    /// All of them have to match.
    pub claimset: Vec<Claim>,
    /// Only its index counts; what the role may do stands in roles_list (D25).
    pub target_role: Role,
}
tls_struct!(PreAuthRoleEntry { claimset, target_role });

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub credential_type: u16,
    pub id: Bytes,
    pub claim_value: Bytes,
}

impl Tls for Claim {
    fn write(&self, out: &mut Writer) {
        out.u16(self.credential_type);
        self.id.write(out);
        self.claim_value.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let claim_id = |from: &mut Reader<'_>| Ok((from.field("credential_type")?, from.field("id")?));
        let (credential_type, id) = from.field_with("claim_id", claim_id)?;
        Ok(Self { credential_type, id, claim_value: from.field("claim_value")? })
    }
}

impl Claim {
    /// A basic credential has nothing but its identity to claim: the ID is empty (D25).
    pub fn basic(identity: impl AsRef<[u8]>) -> Self {
        let Credential { credential_type, data } = Credential::basic(identity);
        Self { credential_type, id: Bytes::new(), claim_value: data }
    }

    /// Claims of X.509 are not looked into yet, so they match nobody.
    fn matches(&self, credential: &Credential) -> bool {
        self.id.is_empty()
            && credential.credential_type == self.credential_type
            && credential.identity() == Some(&self.claim_value)
    }
}

impl PreAuthData {
    /// The role of the first entry that matches.
    pub fn role(&self, credential: &Credential) -> Option<RoleIndex> {
        let matches = |entry: &&PreAuthRoleEntry| entry.claimset.iter().all(|claim| claim.matches(credential));
        self.preauthorized_entries.iter().find(matches).map(|entry| entry.target_role.role_index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::{
        policy::{group_policy, role},
        wire::samples::{hold, octets, uri, vector},
    };

    #[test]
    fn the_first_entry_that_matches_counts() {
        let roles = group_policy(&"a.example".parse().unwrap(), 1 << 20).roles;
        let entry = |identity: &str, index| PreAuthRoleEntry {
            claimset: vec![Claim::basic(identity)],
            target_role: roles.role(index).unwrap().clone(),
        };
        let list = PreAuthData {
            preauthorized_entries: vec![
                entry("mimi://a.example", role::POLICY_ENFORCER),
                entry("mimi://a.example", role::SUPER_ADMIN),
            ],
        };
        assert_eq!(list.role(&Credential::basic("mimi://a.example")), Some(role::POLICY_ENFORCER));
        assert_eq!(list.role(&Credential::basic("mimi://b.example")), None);
        let certificate = Credential { credential_type: 2, data: Bytes::from_static(b"mimi://a.example") };
        assert_eq!(list.role(&certificate), None);
    }

    #[test]
    fn a_list_has_these_octets() {
        let target_role = Role {
            role_index: 5,
            role_name: "p".into(),
            role_description: String::new(),
            role_capabilities: Vec::new(),
            minimum_participants_constraint: 0,
            maximum_participants_constraint: None,
            minimum_active_participants_constraint: 0,
            maximum_active_participants_constraint: Some(0),
            authorized_role_changes: Vec::new(),
        };
        let list = PreAuthData {
            preauthorized_entries: vec![PreAuthRoleEntry {
                claimset: vec![Claim::basic("mimi://a.example")],
                target_role,
            }],
        };
        let claim = ["0001 00", &uri("mimi://a.example")].concat();
        let entry = [&vector(&claim), "00000005 01 70 00 00 00000000 00 00000000 01 00000000 00"].concat();
        hold(&list, &octets(&vector(&entry)));
    }
}
