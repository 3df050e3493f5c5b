//! roles_list: what each role may do (R§3).

use std::collections::BTreeSet;

use super::Capability;
use crate::mimi::{
    participants::RoleIndex,
    tls::{Reader, Tls, WireError, Writer, tls_struct},
};

/// The `roles_list` component; an update is the whole of it anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleData {
    roles: Vec<Role>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub role_index: RoleIndex,
    pub role_name: String,
    pub role_description: String,
    pub role_capabilities: Vec<Capability>,
    pub minimum_participants_constraint: u32,
    pub maximum_participants_constraint: Option<u32>,
    /// Active is who has a client in the group.
    pub minimum_active_participants_constraint: u32,
    pub maximum_active_participants_constraint: Option<u32>,
    pub authorized_role_changes: Vec<RoleChangeTargets>,
}
tls_struct!(Role {
    role_index,
    role_name,
    role_description,
    role_capabilities,
    minimum_participants_constraint,
    maximum_participants_constraint,
    minimum_active_participants_constraint,
    maximum_active_participants_constraint,
    authorized_role_changes,
});

/// `SingleSourceRoleChangeTargets`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleChangeTargets {
    pub from_role_index: RoleIndex,
    pub target_role_indexes: Vec<RoleIndex>,
}
tls_struct!(RoleChangeTargets { from_role_index, target_role_indexes });

impl Role {
    pub fn has(&self, capability: Capability) -> bool {
        self.role_capabilities.contains(&capability)
    }

    /// May its holder move somebody from one role to another? 0 is "not in the list", on either side.
    pub fn may_change(&self, from: RoleIndex, to: RoleIndex) -> bool {
        let from_there = self.authorized_role_changes.iter().filter(|it| it.from_role_index == from);
        from_there.flat_map(|it| &it.target_role_indexes).any(|it| *it == to)
    }
}

/// Why these can't be the roles of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RolesError {
    #[error("role {0} is defined twice")]
    Twice(RoleIndex),
    #[error("role {0} has canOpenJoin, which only role 0 can have")]
    OpenJoin(RoleIndex),
    #[error("role {0} has canAddParticipant, which nobody has in a room of fixed membership")]
    FixedMembership(RoleIndex),
}

impl RoleData {
    pub const NO_ROLE: RoleIndex = 0;
    pub const BANNED: RoleIndex = 1;

    pub fn new(roles: Vec<Role>) -> Result<Self, RolesError> {
        let mut indices = BTreeSet::new();
        for role in &roles {
            if !indices.insert(role.role_index) {
                return Err(RolesError::Twice(role.role_index));
            }
            //
            if role.role_index != Self::NO_ROLE && role.has(Capability::CAN_OPEN_JOIN) {
                return Err(RolesError::OpenJoin(role.role_index));
            }
        }
        Ok(Self { roles })
    }

    /// What a room of fixed membership asks of its roles.
    pub fn check_fixed_membership(&self) -> Result<(), RolesError> {
        let adds = |role: &&Role| role.role_index > Self::BANNED && role.has(Capability::CAN_ADD_PARTICIPANT);
        self.iter().find(adds).map_or(Ok(()), |role| Err(RolesError::FixedMembership(role.role_index)))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Role> {
        self.roles.iter()
    }

    pub fn role(&self, index: RoleIndex) -> Option<&Role> {
        self.iter().find(|it| it.role_index == index)
    }
}

impl Tls for RoleData {
    fn write(&self, out: &mut Writer) {
        self.roles.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Self::new(from.field("roles")?).map_err(|error| match error {
            RolesError::Twice(_) => WireError::Invalid("a roles_list defines each role once"),
            _ => WireError::Invalid("only role 0 has canOpenJoin"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::wire::samples::{hold, octets, vector};

    fn guest() -> Role {
        Role {
            role_index: 7,
            role_name: "guest".into(),
            role_description: String::new(),
            role_capabilities: vec![Capability::CAN_SEND_MESSAGE, Capability(0xf123)],
            minimum_participants_constraint: 0,
            maximum_participants_constraint: Some(3),
            minimum_active_participants_constraint: 1,
            maximum_active_participants_constraint: None,
            authorized_role_changes: vec![
                RoleChangeTargets { from_role_index: 0, target_role_indexes: vec![7] },
                RoleChangeTargets { from_role_index: 7, target_role_indexes: vec![0, 1] },
            ],
        }
    }

    #[test]
    fn roles_have_these_octets() {
        let role = "00000007 05 6775657374 00 04 0100 f123 00000000 01 00000003 00000001 00 16 00000000 04 00000007 00000007 08 00000000 00000001";
        hold(&RoleData::new(vec![guest()]).unwrap(), &octets(&vector(role)));
    }

    #[test]
    fn a_transition_needs_its_own_entry() {
        let guest = guest();
        assert!(guest.may_change(0, 7) && guest.may_change(7, 0) && guest.may_change(7, 1));
        assert!(!guest.may_change(0, 1) && !guest.may_change(1, 7) && !guest.may_change(2, 0));
    }

    #[test]
    fn roles_that_can_not_be_are_refused() {
        assert_eq!(RoleData::new(vec![guest(), guest()]), Err(RolesError::Twice(7)));
        let open = Role { role_capabilities: vec![Capability::CAN_OPEN_JOIN], ..guest() };
        assert_eq!(RoleData::new(vec![open.clone()]), Err(RolesError::OpenJoin(7)));
        assert!(RoleData::new(vec![Role { role_index: 0, ..open }]).is_ok());
        let adds = Role { role_capabilities: vec![Capability::CAN_ADD_PARTICIPANT], ..guest() };
        assert_eq!(RoleData::new(vec![adds]).unwrap().check_fixed_membership(), Err(RolesError::FixedMembership(7)));
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_read_or_refused(octets: Vec<u8>) {
            let _ = RoleData::decode(&octets);
        }
    }
}
