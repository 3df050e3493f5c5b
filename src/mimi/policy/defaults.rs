//! The policies of the rooms we create.
//!
//! A group is the draft's cooperatively administered room (R§A.1) with its slips mended (D27): anybody may
//! bring somebody along, admins moderate, and the hub enforces. A conversation between given people is a
//! room of fixed membership, with one role for all.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    AssetPolicy, BaseRoomPolicy, Capability, Claim, PreAuthData, PreAuthRoleEntry, Role, RoleChangeTargets, RoleData,
};
use crate::mimi::{
    component::{self, ComponentId},
    participants::RoleIndex,
    tls::Tls,
    uri::{Domain, ProviderUri},
};

/// The indices of our roles.
pub mod role {
    use super::{RoleData, RoleIndex};

    pub const NO_ROLE: RoleIndex = RoleData::NO_ROLE;
    pub const BANNED: RoleIndex = RoleData::BANNED;
    pub const ORDINARY_USER: RoleIndex = 2;
    /// In a room of fixed membership, the one role there is.
    pub const PEER: RoleIndex = 2;
    pub const GROUP_ADMIN: RoleIndex = 3;
    pub const SUPER_ADMIN: RoleIndex = 4;
    pub const POLICY_ENFORCER: RoleIndex = 5;
    pub const READ_ONLY: RoleIndex = 6;
}
use role::{BANNED, GROUP_ADMIN, NO_ROLE, ORDINARY_USER, PEER, POLICY_ENFORCER, READ_ONLY, SUPER_ADMIN};

/// The policy components of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub roles: RoleData,
    /// Empty if the room has no such component.
    pub preauth: PreAuthData,
    pub base: BaseRoomPolicy,
    /// If the room has one that can be read.
    pub assets: Option<AssetPolicy>,
    /// Every other component of a room as it stands, that one among them.
    pub others: BTreeMap<ComponentId, Bytes>,
}

impl Policy {
    /// What goes into the room's app_data_dictionary.
    pub fn components(&self) -> Vec<(ComponentId, Bytes)> {
        let mut components = vec![
            (component::ROLES_LIST, self.roles.encode().into()),
            (component::BASE_ROOM_POLICY, self.base.encode().into()),
        ];
        if !self.preauth.preauthorized_entries.is_empty() {
            components.insert(1, (component::PREAUTH_LIST, self.preauth.encode().into()));
        }
        if let Some(assets) = &self.assets {
            components.push((component::ASSET_POLICY, assets.encode().into()));
        }
        components.extend(self.others.iter().map(|(id, octets)| (*id, octets.clone())));
        components
    }
}

/// A room people come to and leave. Its creator is a [`role::SUPER_ADMIN`]. A limit on users or clients is
/// for the caller to set. Files have `most` octets at most.
pub fn group_policy(hub: &Domain, most: u64) -> Policy {
    let enforcer = policy_enforcer();
    let preauth = PreAuthData {
        preauthorized_entries: vec![PreAuthRoleEntry {
            claimset: vec![Claim::basic(ProviderUri::new(hub).as_str())],
            target_role: enforcer.clone(),
        }],
    };
    let roles =
        vec![no_role(), nobody(BANNED, "banned"), ordinary_user(), group_admin(), super_admin(), enforcer, read_only()];
    Policy {
        roles: RoleData::new(roles).expect("the indices differ"),
        preauth,
        base: base(false, None, vec![component::ROLES_LIST, component::PREAUTH_LIST, component::ASSET_POLICY]),
        assets: Some(AssetPolicy::ours(hub, most)),
        others: BTreeMap::new(),
    }
}

/// A conversation between `n` people, all of them in the role [`role::PEER`]. To leave is to take one's
/// clients away; nobody is added or removed.
pub fn direct_policy(n: u32, hub: &Domain, most: u64) -> Policy {
    let capabilities = [&[C::CAN_ADD_OWN_CLIENT, C::CAN_REMOVE_OWN_CLIENT], READING, WRITING].concat();
    let roles = vec![nobody(NO_ROLE, "no_role"), role(PEER, "peer", capabilities, &[])];
    Policy {
        roles: RoleData::new(roles).expect("the indices differ"),
        preauth: PreAuthData::default(),
        base: base(true, Some(n), vec![component::ROLES_LIST, component::ASSET_POLICY]),
        assets: Some(AssetPolicy::ours(hub, most)),
        others: BTreeMap::new(),
    }
}

use Capability as C;

const READING: &[C] = &[
    C::CAN_RECEIVE_MESSAGE,
    C::CAN_COPY_MESSAGE,
    C::CAN_REPORT_ABUSE,
    C::CAN_DOWNLOAD_IMAGE,
    C::CAN_DOWNLOAD_VIDEO,
    C::CAN_DOWNLOAD_AUDIO,
    C::CAN_DOWNLOAD_ATTACHMENT,
    C::CAN_FOLLOW_LINK,
    C::CAN_COPY_LINK,
];

const WRITING: &[C] = &[
    C::CAN_SEND_MESSAGE,
    C::CAN_REPLY_TO_MESSAGE,
    C::CAN_REACT_TO_MESSAGE,
    C::CAN_DELETE_OWN_REACTION,
    C::CAN_EDIT_OWN_MESSAGE,
    C::CAN_DELETE_OWN_MESSAGE,
    C::CAN_START_TOPIC,
    C::CAN_REPLY_IN_TOPIC,
    C::CAN_EDIT_OWN_TOPIC,
    C::CAN_UPLOAD_IMAGE,
    C::CAN_UPLOAD_VIDEO,
    C::CAN_UPLOAD_AUDIO,
    C::CAN_UPLOAD_ATTACHMENT,
    C::CAN_SEND_LINK,
    C::CAN_SEND_LINK_PREVIEW,
];

const OWN_MEMBERSHIP: &[C] = &[C::CAN_ADD_OWN_CLIENT, C::CAN_REMOVE_OWN_CLIENT, C::CAN_REMOVE_SELF];

const OWN_PROFILE: &[C] =
    &[C::CAN_CHANGE_OWN_NAME, C::CAN_CHANGE_OWN_PRESENCE, C::CAN_CHANGE_OWN_MOOD, C::CAN_CHANGE_OWN_AVATAR];

fn ordinary_capabilities() -> Vec<C> {
    let membership = &[C::CAN_ADD_PARTICIPANT, C::CAN_REMOVE_PARTICIPANT];
    let room =
        &[C::CAN_CHANGE_ROOM_NAME, C::CAN_CHANGE_ROOM_AVATAR, C::CAN_CHANGE_ROOM_SUBJECT, C::CAN_CHANGE_ROOM_MOOD];
    [membership, OWN_MEMBERSHIP, READING, WRITING, room, OWN_PROFILE].concat()
}

// canRevokeVoice and canGrantVoice of the example have no number; a change of role says the same (D24).
fn admin_capabilities() -> Vec<C> {
    let more = [
        C::CAN_BAN,
        C::CAN_UNBAN,
        C::CAN_KICK,
        C::CAN_CHANGE_USER_ROLE,
        C::CAN_DELETE_OTHER_MESSAGE,
        C::CAN_EDIT_OTHER_TOPIC,
        C::CAN_CHANGE_ROOM_DESCRIPTION,
    ];
    [ordinary_capabilities(), more.to_vec()].concat()
}

fn ordinary_user() -> Role {
    role(ORDINARY_USER, "ordinary_user", ordinary_capabilities(), &[(0, &[2]), (2, &[0])])
}

/// Where there is one group_admin, one stays; where nobody has been promoted, nobody needs to be (D28).
fn group_admin() -> Role {
    let changes: Changes =
        &[(0, &[1, 2, 3, 6]), (1, &[0, 2, 3, 6]), (2, &[0, 1, 3, 6]), (3, &[0, 1, 2, 6]), (6, &[0, 1, 2, 3])];
    let role = role(GROUP_ADMIN, "group_admin", admin_capabilities(), changes);
    Role { minimum_participants_constraint: 1, ..role }
}

// In the example super_admin can't change role definitions, though the enforcer can (D27).
fn super_admin() -> Role {
    let more = [
        C::CAN_CHANGE_ROOM_MEMBERSHIP_STYLE,
        C::CAN_CHANGE_ROLE_DEFINITIONS,
        C::CAN_CHANGE_PREAUTHORIZED_USER_LIST,
        C::CAN_CHANGE_OTHER_POLICY_ATTRIBUTE,
        C::CAN_CHANGE_MLS_OPERATIONAL_POLICIES,
        C::CAN_SEND_MLS_REINIT_PROPOSAL,
        C::CAN_DESTROY_ROOM,
    ];
    let changes: Changes = &[
        (0, &[1, 2, 3, 4, 6]),
        (1, &[0, 2, 3, 4, 6]),
        (2, &[0, 1, 3, 4, 6]),
        (3, &[0, 1, 2, 4, 6]),
        (4, &[0, 1, 2, 3, 6]),
        (6, &[0, 1, 2, 3, 4]),
    ];
    role(SUPER_ADMIN, "super_admin", [admin_capabilities(), more.to_vec()].concat(), changes)
}

/// The hub. It removes and bans, and restores nobody. The example wants one of them in the list at least,
/// which an external sender never is, so that minimum is 0 here.
fn policy_enforcer() -> Role {
    let capabilities = vec![
        C::CAN_REMOVE_PARTICIPANT,
        C::CAN_CHANGE_USER_ROLE,
        C::CAN_BAN,
        C::CAN_UNBAN,
        C::CAN_KICK,
        C::CAN_CHANGE_ROLE_DEFINITIONS,
        C::CAN_CHANGE_PREAUTHORIZED_USER_LIST,
        C::CAN_CHANGE_MLS_OPERATIONAL_POLICIES,
        C::CAN_DESTROY_ROOM,
        C::CAN_SEND_MLS_REINIT_PROPOSAL,
    ];
    let changes: Changes = &[(0, &[1]), (1, &[0]), (2, &[0, 1]), (3, &[0, 1]), (4, &[0, 1]), (6, &[0, 1])];
    Role {
        maximum_participants_constraint: Some(2),
        maximum_active_participants_constraint: Some(0),
        ..role(POLICY_ENFORCER, "policy_enforcer", capabilities, changes)
    }
}

/// Somebody who may listen: XMPP's visitor, a Matrix user below `events_default`. May leave, and does
/// nothing to others.
fn read_only() -> Role {
    role(READ_ONLY, "read_only", [OWN_MEMBERSHIP, READING, OWN_PROFILE].concat(), &[(6, &[0])])
}

/// Who is not in the room may come by a joining code, as in the example of a strictly administered room (R§A.2). Until
/// an admin makes one there is none.
fn no_role() -> Role {
    Role {
        maximum_active_participants_constraint: Some(0),
        ..role(NO_ROLE, "no_role", vec![C::CAN_USE_JOIN_CODE], &[(0, &[ORDINARY_USER])])
    }
}

fn nobody(index: RoleIndex, name: &str) -> Role {
    Role { maximum_active_participants_constraint: Some(0), ..role(index, name, Vec::new(), &[]) }
}

type Changes<'a> = &'a [(RoleIndex, &'a [RoleIndex])];

fn role(role_index: RoleIndex, role_name: &str, role_capabilities: Vec<C>, changes: Changes) -> Role {
    let targets = |(from, to): &(RoleIndex, &[RoleIndex])| RoleChangeTargets {
        from_role_index: *from,
        target_role_indexes: to.to_vec(),
    };
    Role {
        role_index,
        role_name: role_name.into(),
        role_description: String::new(),
        role_capabilities,
        minimum_participants_constraint: 0,
        maximum_participants_constraint: None,
        minimum_active_participants_constraint: 0,
        maximum_active_participants_constraint: None,
        authorized_role_changes: changes.iter().map(targets).collect(),
    }
}

fn base(fixed_membership: bool, max_users: Option<u32>, policy_component_ids: Vec<ComponentId>) -> BaseRoomPolicy {
    BaseRoomPolicy {
        fixed_membership,
        parent_dependant: false,
        parent_room: Vec::new(),
        multi_device: true,
        max_clients: None,
        max_users,
        pseudonyms_allowed: false,
        persistent_room: true,
        discoverable: false,
        policy_component_ids,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::tls::WireError;

    fn group() -> Policy {
        group_policy(&Domain::parse("a.example").unwrap(), 1 << 20)
    }

    fn direct() -> Policy {
        direct_policy(2, &Domain::parse("a.example").unwrap(), 1 << 20)
    }

    #[test]
    fn every_policy_component_of_a_room_is_listed() {
        for policy in [group(), direct()] {
            let components: Vec<ComponentId> = policy.components().into_iter().map(|(id, _)| id).collect();
            let mut listed = [policy.base.policy_component_ids.clone(), vec![component::BASE_ROOM_POLICY]].concat();
            listed.sort();
            assert_eq!(components, listed);
        }
    }

    #[test]
    fn the_components_are_read_as_they_were_written() {
        for policy in [group(), direct()] {
            assert_eq!(RoleData::decode(&policy.roles.encode()), Ok(policy.roles.clone()));
            assert_eq!(PreAuthData::decode(&policy.preauth.encode()), Ok(policy.preauth));
            assert_eq!(AssetPolicy::decode(&policy.assets.as_ref().unwrap().encode()).ok(), policy.assets);
            assert_eq!(BaseRoomPolicy::decode(&policy.base.encode()), Ok::<_, WireError>(policy.base));
        }
    }

    #[test]
    fn a_conversation_has_one_role_that_adds_and_removes_nobody() {
        let policy = direct();
        assert_eq!(policy.roles.check_fixed_membership(), Ok(()));
        let peer = policy.roles.role(PEER).unwrap();
        for forbidden in
            [C::CAN_ADD_PARTICIPANT, C::CAN_REMOVE_PARTICIPANT, C::CAN_REMOVE_SELF, C::CAN_BAN, C::CAN_KICK]
        {
            assert!(!peer.has(forbidden), "{forbidden}");
        }
        assert!(peer.has(C::CAN_SEND_MESSAGE) && peer.has(C::CAN_ADD_OWN_CLIENT) && peer.has(C::CAN_REMOVE_OWN_CLIENT));
        assert!(!peer.has(C::CAN_DELETE_OTHER_MESSAGE));
    }

    // What the draft's example prints for ordinary_user, counted there.
    #[test]
    fn an_ordinary_user_has_the_capabilities_of_the_example() {
        let user = ordinary_user();
        let mut capabilities = user.role_capabilities.clone();
        capabilities.sort();
        capabilities.dedup();
        assert_eq!(capabilities.len(), user.role_capabilities.len());
        assert_eq!(capabilities.len(), 37);
    }

    // D27: one line for each erratum of the example that touches us.
    #[test]
    fn the_slips_of_the_example_are_mended() {
        assert!(super_admin().has(C::CAN_CHANGE_ROLE_DEFINITIONS));
        assert_eq!(policy_enforcer().minimum_participants_constraint, 0);
        assert!(policy_enforcer().has(C::CAN_KICK));
    }

    #[test]
    fn the_hub_is_preauthorised_to_enforce() {
        let policy = group();
        let hub = crate::mimi::wire::Credential::basic("mimi://a.example");
        assert_eq!(policy.preauth.role(&hub), Some(POLICY_ENFORCER));
        let entry = &policy.preauth.preauthorized_entries[0];
        // D25: the embedded copy is the role itself.
        assert_eq!(Some(&entry.target_role), policy.roles.role(POLICY_ENFORCER));
    }
}
