//! base_room_policy: what kind of room it is (R§5).

use crate::mimi::{component::ComponentId, tls::tls_struct, uri::RoomUri};

/// The `base_room_policy` component; an update is the whole of it anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseRoomPolicy {
    /// Nobody comes and nobody goes: a conversation between given people.
    pub fixed_membership: bool,
    /// The draft's spelling in the struct (D26).
    pub parent_dependant: bool,
    /// One, or none (D26).
    pub parent_room: Vec<RoomUri>,
    /// May a user have several clients in the group?
    pub multi_device: bool,
    pub max_clients: Option<u32>,
    /// Of participants who are not banned.
    pub max_users: Option<u32>,
    pub pseudonyms_allowed: bool,
    pub persistent_room: bool,
    pub discoverable: bool,
    /// Every other policy component of the room.
    pub policy_component_ids: Vec<ComponentId>,
}
tls_struct!(BaseRoomPolicy {
    fixed_membership,
    parent_dependant,
    parent_room,
    multi_device,
    max_clients,
    max_users,
    pseudonyms_allowed,
    persistent_room,
    discoverable,
    policy_component_ids,
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::{
        component,
        tls::Tls,
        wire::samples::{hold, octets, uri, vector},
    };

    #[test]
    fn a_policy_has_these_octets() {
        let policy = BaseRoomPolicy {
            fixed_membership: true,
            parent_dependant: false,
            parent_room: Vec::new(),
            multi_device: true,
            max_clients: None,
            max_users: Some(2),
            pseudonyms_allowed: false,
            persistent_room: true,
            discoverable: false,
            policy_component_ids: vec![component::ROLES_LIST, component::PREAUTH_LIST],
        };
        hold(&policy, &octets("01 00 00 01 00 01 00000002 00 01 00 04 0025 0026"));
        let parent = "mimi://a.example/r/clubhouse";
        let dependant = BaseRoomPolicy { parent_dependant: true, parent_room: vec![parent.parse().unwrap()], ..policy };
        let parts = ["01 01", &vector(&uri(parent)), "01 00 01 00000002 00 01 00 04 0025 0026"];
        hold(&dependant, &octets(&parts.concat()));
        assert!(BaseRoomPolicy::decode(&octets("02 00 00 01 00 00 00 01 00 00")).is_err());
    }
}
