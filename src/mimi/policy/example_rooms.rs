//! The other three example rooms of the draft (R§A.2 to A.4), mended where D27 says so: who may do what in them. The
//! roles are copied from the draft, without what we don't decide about. What is expected is written down by hand, from the
//! draft's words and its lists of transitions.

use std::collections::BTreeMap;

use super::{Capability as C, *};
use crate::mimi::{
    metadata::RoomMetaData,
    participants::{ParticipantListData, RoleIndex, UserRolePair},
    uri::UserUri,
    wire::Credential,
};

type Changes<'a> = &'a [(RoleIndex, &'a [RoleIndex])];

fn role(role_index: RoleIndex, name: &str, capabilities: &[C], changes: Changes) -> Role {
    let targets = |(from, to): &(RoleIndex, &[RoleIndex])| RoleChangeTargets {
        from_role_index: *from,
        target_role_indexes: to.to_vec(),
    };
    Role {
        role_index,
        role_name: name.into(),
        role_description: String::new(),
        role_capabilities: capabilities.to_vec(),
        minimum_participants_constraint: 0,
        maximum_participants_constraint: None,
        minimum_active_participants_constraint: 0,
        maximum_active_participants_constraint: None,
        authorized_role_changes: changes.iter().map(targets).collect(),
    }
}

fn all(of: &[&[C]]) -> Vec<C> {
    of.concat()
}

/// What the enforcer may, in each of the three rooms; one of them shows it.
const ENFORCING: &[C] = &[
    C::CAN_REMOVE_PARTICIPANT,
    C::CAN_CHANGE_USER_ROLE,
    C::CAN_BAN,
    C::CAN_UNBAN,
    C::CAN_CHANGE_ROLE_DEFINITIONS,
    C::CAN_CHANGE_PREAUTHORIZED_USER_LIST,
    C::CAN_CHANGE_MLS_OPERATIONAL_POLICIES,
    C::CAN_DESTROY_ROOM,
    C::CAN_SEND_MLS_REINIT_PROPOSAL,
];

/// What all three kinds of admins of people may.
const PEOPLE: &[C] =
    &[C::CAN_ADD_PARTICIPANT, C::CAN_REMOVE_PARTICIPANT, C::CAN_BAN, C::CAN_KICK, C::CAN_CHANGE_USER_ROLE];

const OWN_CLIENTS: &[C] = &[C::CAN_ADD_OWN_CLIENT, C::CAN_REMOVE_OWN_CLIENT];
const PREAUTHORISED: &[C] = &[C::CAN_JOIN_IF_PREAUTHORIZED, C::CAN_CHANGE_OWN_ROLE];
const RULES: &[C] = &[
    C::CAN_CHANGE_ROOM_MEMBERSHIP_STYLE,
    C::CAN_CHANGE_ROLE_DEFINITIONS,
    C::CAN_CHANGE_PREAUTHORIZED_USER_LIST,
    C::CAN_DESTROY_ROOM,
    C::CAN_SEND_MLS_REINIT_PROPOSAL,
];

/// R§A.2
fn strictly_administered() -> Vec<Role> {
    let talking = &[C::CAN_REMOVE_SELF, C::CAN_SEND_MESSAGE, C::CAN_RECEIVE_MESSAGE];
    let ordinary = all(&[OWN_CLIENTS, PREAUTHORISED, talking]);
    let naming =
        &[C::CAN_CHANGE_ROOM_NAME, C::CAN_CHANGE_ROOM_AVATAR, C::CAN_CHANGE_ROOM_SUBJECT, C::CAN_CHANGE_ROOM_MOOD];
    let admin = all(&[&ordinary, PEOPLE, &[C::CAN_UNBAN, C::CAN_CHANGE_ROOM_DESCRIPTION], naming]);
    let everything: Changes =
        &[(0, &[1, 2, 3, 4]), (1, &[0, 2, 3, 4]), (2, &[0, 1, 3, 4]), (3, &[0, 1, 2, 4]), (4, &[0, 1, 2, 3])];
    vec![
        role(0, "no_role", &[C::CAN_USE_JOIN_CODE], &[(0, &[2])]),
        role(1, "banned", &[], &[]),
        role(2, "ordinary_user", &ordinary, &[(0, &[2]), (2, &[0])]),
        role(3, "group_admin", &admin, &[(0, &[1, 2, 3]), (1, &[0, 2, 3]), (2, &[0, 1, 3]), (3, &[0, 1, 2])]),
        role(4, "super_admin", &all(&[&admin, RULES]), everything),
        role(5, "policy_enforcer", ENFORCING, &[(0, &[1]), (1, &[0]), (2, &[0, 1]), (3, &[0, 1]), (4, &[0, 1])]),
    ]
}

/// R§A.3, where a speaker includes an attendee and a moderator a speaker (D27).
fn moderated() -> Vec<Role> {
    let guest = [C::CAN_REMOVE_SELF, C::CAN_RECEIVE_MESSAGE, C::CAN_REACT_TO_MESSAGE, C::CAN_DELETE_OWN_REACTION];
    let attendee = all(&[&guest, OWN_CLIENTS, PREAUTHORISED, &[C::CAN_REPORT_ABUSE, C::CAN_REPLY_IN_TOPIC]]);
    let saying = &[C::CAN_SEND_MESSAGE, C::CAN_EDIT_OWN_MESSAGE, C::CAN_DELETE_OWN_MESSAGE, C::CAN_START_TOPIC];
    let speaker = all(&[&attendee, saying]);
    let moderator = all(&[&speaker, PEOPLE, &[C::CAN_UNBAN, C::CAN_CHANGE_ROOM_NAME]]);
    let moderating: Changes = &[
        (0, &[1, 2, 3, 4, 5]),
        (1, &[0, 2, 3, 4, 5]),
        (2, &[0, 1, 3, 4, 5]),
        (3, &[0, 1, 2, 4, 5]),
        (4, &[0, 1, 2, 3, 5]),
        (5, &[0, 1, 2, 3, 4]),
    ];
    let everything: Changes = &[
        (0, &[1, 2, 3, 4, 5, 6]),
        (1, &[0, 2, 3, 4, 5, 6]),
        (2, &[0, 1, 3, 4, 5, 6]),
        (3, &[0, 1, 2, 4, 5, 6]),
        (4, &[0, 1, 2, 3, 5, 6]),
        (5, &[0, 1, 2, 3, 4, 6]),
        (6, &[0, 1, 2, 3, 4, 5]),
    ];
    vec![
        role(0, "no_role", &[C::CAN_USE_JOIN_CODE], &[(0, &[2, 3])]),
        role(1, "banned", &[], &[]),
        role(2, "guest", &guest, &[(0, &[2]), (2, &[0])]),
        role(3, "attendee", &attendee, &[(0, &[3]), (3, &[0])]),
        role(4, "speaker", &speaker, &[(0, &[4]), (4, &[0])]),
        role(5, "moderator", &moderator, moderating),
        role(6, "super_admin", &all(&[&moderator, &[C::CAN_CHANGE_ROOM_DESCRIPTION], RULES]), everything),
    ]
}

/// R§A.4
fn of_several_organisations() -> Vec<Role> {
    let user_b = all(&[&[C::CAN_REMOVE_SELF, C::CAN_SEND_MESSAGE, C::CAN_RECEIVE_MESSAGE], OWN_CLIENTS]);
    let admin_b = all(&[&user_b, &[C::CAN_DELETE_OWN_MESSAGE, C::CAN_START_TOPIC], PEOPLE]);
    let admin_a = all(&[&admin_b, PREAUTHORISED]);
    let naming = &[C::CAN_CHANGE_ROOM_DESCRIPTION, C::CAN_CHANGE_ROOM_NAME];
    let of_another = |role: Role| Role {
        minimum_participants_constraint: 1,
        maximum_participants_constraint: Some(3),
        minimum_active_participants_constraint: 1,
        ..role
    };
    let everything: Changes = &[
        (0, &[1, 2, 3, 4, 5, 6, 7, 8]),
        (1, &[0, 2, 3, 4, 5, 6, 7, 8]),
        (2, &[0, 1, 5, 8]),
        (3, &[0, 1, 6]),
        (4, &[0, 1, 7]),
        (5, &[0, 1, 2, 8]),
        (6, &[0, 1, 3]),
        (7, &[0, 1, 4]),
        (8, &[0, 1, 2, 5]),
    ];
    let super_admin = role(8, "super_admin", &all(&[&admin_a, &[C::CAN_UNBAN], naming, RULES]), everything);
    vec![
        role(0, "no_role", &[], &[]),
        role(1, "banned", &[], &[]),
        role(2, "org_a_user", &all(&[&user_b, PREAUTHORISED]), &[(0, &[2]), (2, &[0])]),
        role(3, "org_b_user", &user_b, &[(0, &[3]), (3, &[0])]),
        role(4, "org_c_user", &user_b, &[(0, &[4]), (4, &[0])]),
        role(5, "org_a_admin", &admin_a, &[(0, &[2, 5]), (2, &[0, 1, 5]), (5, &[0, 1, 2])]),
        of_another(role(6, "org_b_admin", &admin_b, &[(0, &[3, 6]), (3, &[0, 1, 6]), (6, &[0, 1, 3])])),
        of_another(role(7, "org_c_admin", &admin_b, &[(0, &[4, 7]), (4, &[0, 1, 7]), (7, &[0, 1, 4])])),
        Role { minimum_participants_constraint: 1, minimum_active_participants_constraint: 1, ..super_admin },
    ]
}

fn user(name: &str) -> UserUri {
    format!("mimi://a.example/u/{name}").parse().unwrap()
}

/// These, and in every role somebody else with a client, so that no minimum is in the way.
fn room(roles: &[Role], people: &[(&str, RoleIndex)]) -> RoomState {
    let others = roles.iter().filter(|role| role.role_index > 1).map(|role| role.role_index);
    let others: Vec<_> = others.map(|index| (format!("other{index}"), index)).collect();
    let all = people.iter().map(|(name, index)| ((*name).to_owned(), *index)).chain(others.iter().cloned());
    let pair = |(name, role_index): (String, RoleIndex)| UserRolePair { user: user(&name), role_index };
    let client = |(leaf, (name, _)): (usize, &(String, RoleIndex))| {
        let credential = Credential::basic(format!("mimi://a.example/d/{name}/{leaf}"));
        (leaf as u32, Client { user: user(name), credential })
    };
    let policy =
        Policy { roles: RoleData::new(roles.to_vec()).unwrap(), ..group_policy(&"a.example".parse().unwrap(), 1) };
    RoomState {
        participants: ParticipantListData::new(all.map(pair).collect()).unwrap(),
        metadata: RoomMetaData::named("mimi://a.example/r/clubhouse".parse().unwrap(), "Clubhouse"),
        policy,
        clients: others.iter().enumerate().map(client).collect(),
    }
}

fn may(before: &RoomState, after: &RoomState, who: &str) -> bool {
    let actor = Actor::User(user(who));
    let done = changes(before, after, &actor);
    !done.is_empty() && done.iter().all(|change| authorise(before, after, &actor, change).is_ok())
}

/// What is expected of a room: by acting role, the roles in which it adds people, those whose people it removes, and
/// the changes of roles that it makes.
struct Expected {
    adds: &'static [(RoleIndex, &'static [RoleIndex])],
    removes: &'static [(RoleIndex, &'static [RoleIndex])],
    moves: &'static [(RoleIndex, &'static [(RoleIndex, RoleIndex)])],
    leaves: &'static [RoleIndex],
    speaks: &'static [RoleIndex],
    /// Brings another client of theirs.
    brings: &'static [RoleIndex],
    by_code: Option<RoleIndex>,
}

fn holds(roles: &[Role], expected: &Expected) {
    let indices = || roles.iter().map(|role| role.role_index).filter(|index| *index > 0);
    let of = |table: &[(RoleIndex, &'static [RoleIndex])], acting: RoleIndex| -> &'static [RoleIndex] {
        table.iter().find(|(role, _)| *role == acting).map_or(&[], |(_, targets)| targets)
    };
    let moves: BTreeMap<_, _> = expected.moves.iter().copied().collect();
    for acting in indices() {
        let alone = room(roles, &[("alice", acting)]);
        for target in indices() {
            let with = |role| room(roles, &[("alice", acting), ("bob", role)]);
            let adds = may(&alone, &with(target), "alice");
            assert_eq!(adds, of(expected.adds, acting).contains(&target), "role {acting} adds role {target}");
            let removes = may(&with(target), &alone, "alice");
            assert_eq!(removes, of(expected.removes, acting).contains(&target), "role {acting} removes role {target}");
            for to in indices().filter(|to| *to != target) {
                let moved = may(&with(target), &with(to), "alice");
                let wanted = moves.get(&acting).is_some_and(|pairs| pairs.contains(&(target, to)));
                assert_eq!(moved, wanted, "role {acting} moves role {target} to {to}");
            }
        }
        let leaves = may(&alone, &room(roles, &[]), "alice");
        assert_eq!(leaves, expected.leaves.contains(&acting), "role {acting} leaves");

        let client = |leaf| Client {
            user: user("alice"),
            credential: Credential::basic(format!("mimi://a.example/d/alice/{leaf}")),
        };
        let mut one = alone.clone();
        one.clients.insert(100, client(100));
        let mut two = one.clone();
        two.clients.insert(101, client(101));
        assert_eq!(may(&one, &two, "alice"), expected.brings.contains(&acting), "role {acting} brings a client");
        let speaks = authorise(&one, &one, &Actor::User(user("alice")), &Change::SendMessage).is_ok();
        assert_eq!(speaks, expected.speaks.contains(&acting), "role {acting} speaks");
    }
    assert_eq!(role_by_code(&room(roles, &[])), expected.by_code);
}

#[test]
fn who_may_do_what_in_a_strictly_administered_room() {
    holds(
        &strictly_administered(),
        &Expected {
            adds: &[(3, &[1, 2, 3]), (4, &[1, 2, 3, 4])],
            removes: &[(3, &[1, 2, 3]), (4, &[1, 2, 3, 4]), (5, &[1, 2, 3, 4])],
            moves: &[
                (3, &[(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)]),
                (4, &[(1, 2), (1, 3), (1, 4), (2, 1), (2, 3), (2, 4), (3, 1), (3, 2), (3, 4), (4, 1), (4, 2), (4, 3)]),
                // The draft's enforcer takes bans back to nothing and never to a role.
                (5, &[(2, 1), (3, 1), (4, 1)]),
            ],
            leaves: &[2, 3, 4],
            speaks: &[2, 3, 4],
            brings: &[2, 3, 4],
            by_code: Some(2),
        },
    );
}

#[test]
fn who_may_do_what_in_a_moderated_room() {
    holds(
        &moderated(),
        &Expected {
            adds: &[(5, &[1, 2, 3, 4, 5]), (6, &[1, 2, 3, 4, 5, 6])],
            removes: &[(5, &[1, 2, 3, 4, 5]), (6, &[1, 2, 3, 4, 5, 6])],
            moves: &[
                (
                    5,
                    &[
                        (1, 2),
                        (1, 3),
                        (1, 4),
                        (1, 5),
                        (2, 1),
                        (2, 3),
                        (2, 4),
                        (2, 5),
                        (3, 1),
                        (3, 2),
                        (3, 4),
                        (3, 5),
                        (4, 1),
                        (4, 2),
                        (4, 3),
                        (4, 5),
                        (5, 1),
                        (5, 2),
                        (5, 3),
                        (5, 4),
                    ],
                ),
                (
                    6,
                    &[
                        (1, 2),
                        (1, 3),
                        (1, 4),
                        (1, 5),
                        (1, 6),
                        (2, 1),
                        (2, 3),
                        (2, 4),
                        (2, 5),
                        (2, 6),
                        (3, 1),
                        (3, 2),
                        (3, 4),
                        (3, 5),
                        (3, 6),
                        (4, 1),
                        (4, 2),
                        (4, 3),
                        (4, 5),
                        (4, 6),
                        (5, 1),
                        (5, 2),
                        (5, 3),
                        (5, 4),
                        (5, 6),
                        (6, 1),
                        (6, 2),
                        (6, 3),
                        (6, 4),
                        (6, 5),
                    ],
                ),
            ],
            leaves: &[2, 3, 4, 5, 6],
            speaks: &[4, 5, 6],
            brings: &[3, 4, 5, 6],
            by_code: Some(2),
        },
    );
}

#[test]
fn who_may_do_what_in_a_room_of_several_organisations() {
    holds(
        &of_several_organisations(),
        &Expected {
            // Admins look after their own organisation, and nobody after another's but the super admin.
            adds: &[(5, &[2, 5]), (6, &[3, 6]), (7, &[4, 7]), (8, &[1, 2, 3, 4, 5, 6, 7, 8])],
            removes: &[(5, &[2, 5]), (6, &[3, 6]), (7, &[4, 7]), (8, &[1, 2, 3, 4, 5, 6, 7, 8])],
            moves: &[
                (5, &[(2, 1), (2, 5), (5, 1), (5, 2)]),
                (6, &[(3, 1), (3, 6), (6, 1), (6, 3)]),
                (7, &[(4, 1), (4, 7), (7, 1), (7, 4)]),
                (
                    8,
                    &[
                        (1, 2),
                        (1, 3),
                        (1, 4),
                        (1, 5),
                        (1, 6),
                        (1, 7),
                        (1, 8),
                        (2, 1),
                        (2, 5),
                        (2, 8),
                        (3, 1),
                        (3, 6),
                        (4, 1),
                        (4, 7),
                        (5, 1),
                        (5, 2),
                        (5, 8),
                        (6, 1),
                        (6, 3),
                        (7, 1),
                        (7, 4),
                        (8, 1),
                        (8, 2),
                        (8, 5),
                    ],
                ),
            ],
            leaves: &[2, 3, 4, 5, 6, 7, 8],
            speaks: &[2, 3, 4, 5, 6, 7, 8],
            brings: &[2, 3, 4, 5, 6, 7, 8],
            by_code: None,
        },
    );
}

#[test]
fn a_non_host_organisation_has_three_admins_at_most_and_one_at_least() {
    let roles = of_several_organisations();
    let b = |admins: &[&str]| {
        let people: Vec<_> = admins.iter().map(|name| (*name, 6)).collect();
        room(&roles, &people)
    };
    // Somebody in the role is there already.
    assert!(may(&b(&["alice"]), &b(&["alice", "bob"]), "alice"));
    assert!(!may(&b(&["alice", "bob"]), &b(&["alice", "bob", "carl"]), "alice"));
    let (mut before, mut after) = (b(&["alice"]), b(&[]));
    for state in [&mut before, &mut after] {
        let others = state.participants.iter().filter(|it| it.user != user("other6")).cloned().collect();
        state.participants = ParticipantListData::new(others).unwrap();
        state.clients.retain(|_, client| client.user != user("other6"));
    }
    assert!(!may(&before, &after, "alice"));
    assert!(!may(&before, &after, "other8"));
}
