//! Scenes in the rooms of our default policies. Who may do what to whom is copied by hand from the
//! draft's table (R§A.1) and the mended places (D27), not computed from the roles.

use super::{
    role::{BANNED, GROUP_ADMIN, ORDINARY_USER, PEER, READ_ONLY, SUPER_ADMIN},
    *,
};
use crate::mimi::{
    component,
    metadata::RoomMetaData,
    participants::{ParticipantListData, RoleIndex, UserRolePair},
    uri::UserUri,
    wire::Credential,
};

fn user(name: &str) -> UserUri {
    format!("mimi://a.example/u/{name}").parse().unwrap()
}

fn actor(name: &str) -> Actor {
    Actor::User(user(name))
}

fn hub() -> Actor {
    Actor::ExternalSender(Credential::basic("mimi://a.example"))
}

fn state(policy: Policy, people: &[(&str, RoleIndex)], clients: &[(u32, &str)]) -> RoomState {
    let pair = |(name, role_index): &(&str, RoleIndex)| UserRolePair { user: user(name), role_index: *role_index };
    let client = |(leaf, name): &(u32, &str)| {
        let credential = Credential::basic(format!("mimi://a.example/d/{name}/{leaf}"));
        (*leaf, Client { user: user(name), credential })
    };
    RoomState {
        participants: ParticipantListData::new(people.iter().map(pair).collect()).unwrap(),
        metadata: RoomMetaData::named("mimi://a.example/r/clubhouse".parse().unwrap(), "Clubhouse"),
        policy,
        clients: clients.iter().map(client).collect(),
    }
}

fn clubhouse(people: &[(&str, RoleIndex)], clients: &[(u32, &str)]) -> RoomState {
    state(group_policy(&"a.example".parse().unwrap(), 1 << 20), people, clients)
}

fn direct(people: &[(&str, RoleIndex)], clients: &[(u32, &str)]) -> RoomState {
    state(direct_policy(2, &"a.example".parse().unwrap(), 1 << 20), people, clients)
}

/// Judges all that happened between two states, as the hub does.
fn judge(before: &RoomState, after: &RoomState, actor: &Actor) -> Result<(), Denied> {
    changes(before, after, actor).iter().try_for_each(|change| authorise(before, after, actor, change))
}

fn missing(capability: Capability) -> Result<(), Denied> {
    Err(Denied::Capability(capability))
}

#[test]
fn who_may_add_whom() {
    for (role, may_add) in [
        (BANNED, &[][..]),
        (ORDINARY_USER, &[2]),
        (GROUP_ADMIN, &[1, 2, 3, 6]),
        (SUPER_ADMIN, &[1, 2, 3, 4, 6]),
        (READ_ONLY, &[]),
    ] {
        let before = clubhouse(&[("alice", role)], &[]);
        for target in 1..=6 {
            let after = clubhouse(&[("alice", role), ("bob", target)], &[]);
            let verdict = judge(&before, &after, &actor("alice"));
            assert_eq!(verdict.is_ok(), may_add.contains(&target), "role {role} adds role {target}: {verdict:?}");
        }
    }
}

#[test]
fn who_may_remove_whom() {
    for (role, may_remove) in [
        (BANNED, &[][..]),
        (ORDINARY_USER, &[2]),
        (GROUP_ADMIN, &[1, 2, 3, 6]),
        (SUPER_ADMIN, &[1, 2, 3, 4, 6]),
        (READ_ONLY, &[]),
    ] {
        for target in 1..=6 {
            // Dave keeps the minimum of one group_admin.
            let before = clubhouse(&[("alice", role), ("bob", target), ("dave", GROUP_ADMIN)], &[]);
            let after = clubhouse(&[("alice", role), ("dave", GROUP_ADMIN)], &[]);
            let verdict = judge(&before, &after, &actor("alice"));
            assert_eq!(verdict.is_ok(), may_remove.contains(&target), "role {role} removes role {target}: {verdict:?}");
        }
    }
}

#[test]
fn the_hub_removes_and_another_outsider_does_not() {
    let before = clubhouse(&[("alice", SUPER_ADMIN), ("bob", ORDINARY_USER)], &[(0, "alice"), (1, "bob")]);
    let after = clubhouse(&[("alice", SUPER_ADMIN)], &[(0, "alice")]);
    assert_eq!(judge(&before, &after, &hub()), Ok(()));
    let stranger = Actor::ExternalSender(Credential::basic("mimi://c.example"));
    assert_eq!(judge(&before, &after, &stranger), Err(Denied::NoRole));
}

#[test]
fn the_hub_adds_nobody() {
    let before = clubhouse(&[("alice", SUPER_ADMIN)], &[]);
    let after = clubhouse(&[("alice", SUPER_ADMIN), ("bob", ORDINARY_USER)], &[]);
    assert_eq!(judge(&before, &after, &hub()), missing(Capability::CAN_ADD_PARTICIPANT));
}

#[test]
fn everybody_but_the_banned_may_leave() {
    for (role, may) in [(BANNED, false), (ORDINARY_USER, true), (SUPER_ADMIN, true), (READ_ONLY, true)] {
        let before = clubhouse(&[("alice", SUPER_ADMIN), ("bob", role)], &[(0, "alice")]);
        let after = clubhouse(&[("alice", SUPER_ADMIN)], &[(0, "alice")]);
        assert_eq!(judge(&before, &after, &actor("bob")).is_ok(), may, "role {role}");
    }
}

#[test]
fn whoever_leaves_takes_all_their_clients_along() {
    let people = &[("alice", SUPER_ADMIN), ("bob", ORDINARY_USER)];
    let before = clubhouse(people, &[(0, "alice"), (1, "bob"), (2, "bob")]);
    let halfway = clubhouse(&[("alice", SUPER_ADMIN)], &[(0, "alice"), (2, "bob")]);
    assert_eq!(judge(&before, &halfway, &actor("bob")), Err(Denied::ClientWithoutParticipant));
    assert_eq!(judge(&before, &halfway, &actor("alice")), Err(Denied::ClientWithoutParticipant));
    let gone = clubhouse(&[("alice", SUPER_ADMIN)], &[(0, "alice")]);
    assert_eq!(judge(&before, &gone, &actor("bob")), Ok(()));
    assert_eq!(judge(&before, &gone, &actor("alice")), Ok(()));
}

#[test]
fn a_client_comes_with_its_user_or_after_but_not_before() {
    let before = clubhouse(&[("alice", ORDINARY_USER)], &[(0, "alice")]);
    let people = &[("alice", ORDINARY_USER), ("bob", ORDINARY_USER)];
    let together = clubhouse(people, &[(0, "alice"), (1, "bob"), (2, "bob")]);
    assert_eq!(judge(&before, &together, &actor("alice")), Ok(()));
    let listed = clubhouse(people, &[(0, "alice")]);
    assert_eq!(judge(&before, &listed, &actor("alice")), Ok(()));
    assert_eq!(judge(&listed, &together, &actor("alice")), Ok(()));
    let unlisted = clubhouse(&[("alice", ORDINARY_USER)], &[(0, "alice"), (1, "bob")]);
    assert!(judge(&before, &unlisted, &actor("alice")).is_err());
    assert_eq!(judge(&before, &unlisted, &actor("bob")), Err(Denied::NotParticipant));
}

#[test]
fn the_banned_have_no_clients() {
    let people = &[("alice", SUPER_ADMIN), ("bob", BANNED)];
    let before = clubhouse(people, &[(0, "alice")]);
    let after = clubhouse(people, &[(0, "alice"), (1, "bob")]);
    assert_eq!(judge(&before, &after, &actor("bob")), Err(Denied::NotParticipant));
    assert_eq!(judge(&before, &after, &actor("alice")), Err(Denied::ClientWithoutParticipant));
}

#[test]
fn ones_own_clients_come_and_go() {
    let people = &[("alice", ORDINARY_USER), ("bob", READ_ONLY)];
    let one = clubhouse(people, &[(0, "alice"), (1, "bob")]);
    let two = clubhouse(people, &[(0, "alice"), (1, "bob"), (2, "bob")]);
    assert_eq!(judge(&one, &two, &actor("bob")), Ok(()));
    assert_eq!(judge(&two, &one, &actor("bob")), Ok(()));
    assert_eq!(judge(&two, &one, &actor("alice")), missing(Capability::CAN_KICK));
}

#[test]
fn an_admin_kicks_and_the_list_stays() {
    let people = &[("alice", GROUP_ADMIN), ("bob", ORDINARY_USER)];
    let before = clubhouse(people, &[(0, "alice"), (1, "bob")]);
    let after = clubhouse(people, &[(0, "alice")]);
    assert_eq!(judge(&before, &after, &actor("alice")), Ok(()));
    assert_eq!(changes(&before, &after, &actor("alice")), [Change::Kick(user("bob"))]);
}

#[test]
fn a_client_that_takes_anothers_place_is_seen() {
    let people = &[("alice", ORDINARY_USER), ("bob", ORDINARY_USER)];
    let before = clubhouse(people, &[(0, "alice"), (1, "bob")]);
    let mut after = before.clone();
    after.clients.get_mut(&1).unwrap().credential = Credential::basic("mimi://a.example/d/bob/9");
    let done = changes(&before, &after, &actor("alice"));
    assert_eq!(done, [Change::Kick(user("bob")), Change::AddClient(user("bob"))]);
    assert_eq!(judge(&before, &after, &actor("alice")), missing(Capability::CAN_KICK));
    assert_eq!(judge(&before, &after, &actor("bob")), Ok(()));
}

#[test]
fn somebody_removed_may_still_take_their_clients_away() {
    // The pending view of a removal whose commit is not there yet.
    let before = clubhouse(&[("alice", ORDINARY_USER)], &[(0, "alice"), (1, "bob")]);
    let after = clubhouse(&[("alice", ORDINARY_USER)], &[(0, "alice")]);
    assert_eq!(changes(&before, &after, &actor("bob")), [Change::RemoveOwnClient]);
    assert_eq!(judge(&before, &after, &actor("bob")), Ok(()));
    assert_eq!(judge(&before, &after, &actor("alice")), missing(Capability::CAN_KICK));
    let message = authorise(&before, &before, &actor("bob"), &Change::SendMessage);
    assert_eq!(message, Err(Denied::NotParticipant));
}

#[test]
fn each_field_of_the_metadata_needs_its_own_capability() {
    let before = clubhouse(&[("alice", GROUP_ADMIN), ("bob", ORDINARY_USER), ("cathy", READ_ONLY)], &[]);
    let with = |change: fn(&mut RoomMetaData)| {
        let mut after = before.clone();
        change(&mut after.metadata);
        after
    };
    let renamed = with(|it| it.room_name = "Tea room".into());
    assert_eq!(judge(&before, &renamed, &actor("bob")), Ok(()));
    assert_eq!(judge(&before, &renamed, &actor("cathy")), missing(Capability::CAN_CHANGE_ROOM_NAME));
    let described = with(|it| {
        it.room_descriptions.push(crate::mimi::metadata::RichDescription {
            media_type: String::new(),
            language_tag: String::new(),
            description_content: "Tea".into(),
        });
    });
    assert_eq!(judge(&before, &described, &actor("alice")), Ok(()));
    assert_eq!(judge(&before, &described, &actor("bob")), missing(Capability::CAN_CHANGE_ROOM_DESCRIPTION));
    let moved = with(|it| it.room_uri = "mimi://a.example/r/elsewhere".parse().unwrap());
    assert_eq!(judge(&before, &moved, &actor("alice")), Err(Denied::RoomUri));
}

#[test]
fn a_message_needs_the_capability_and_a_client() {
    let people = &[("alice", ORDINARY_USER), ("bob", ORDINARY_USER), ("cathy", READ_ONLY), ("mallory", BANNED)];
    let room = clubhouse(people, &[(0, "alice"), (1, "cathy")]);
    let send = |name| authorise(&room, &room, &actor(name), &Change::SendMessage);
    assert_eq!(send("alice"), Ok(()));
    assert_eq!(send("bob"), Err(Denied::NotActive));
    assert_eq!(send("cathy"), missing(Capability::CAN_SEND_MESSAGE));
    assert_eq!(send("mallory"), Err(Denied::NotParticipant));
    assert_eq!(send("nobody"), Err(Denied::NotParticipant));
    assert_eq!(authorise(&room, &room, &hub(), &Change::SendMessage), Err(Denied::NotParticipant));
}

#[test]
fn where_membership_is_fixed_only_clients_come_and_go() {
    let people = &[("alice", PEER), ("bob", PEER)];
    let alone = direct(people, &[(0, "alice")]);
    let both = direct(people, &[(0, "alice"), (1, "bob")]);
    assert_eq!(judge(&alone, &both, &actor("alice")), Ok(()), "alice brings bob's client in");
    assert_eq!(judge(&alone, &both, &actor("bob")), Ok(()), "bob brings his own");
    assert_eq!(judge(&both, &alone, &actor("bob")), Ok(()), "bob leaves with his clients");
    assert_eq!(judge(&both, &alone, &actor("alice")), missing(Capability::CAN_KICK));
    let three = direct(&[("alice", PEER), ("bob", PEER), ("cathy", PEER)], &[(0, "alice"), (1, "bob")]);
    assert_eq!(judge(&both, &three, &actor("alice")), Err(Denied::FixedMembership));
    let one = direct(&[("alice", PEER)], &[(0, "alice")]);
    for name in ["alice", "bob"] {
        assert_eq!(judge(&both, &one, &actor(name)), Err(Denied::FixedMembership), "{name}");
    }
}

#[test]
fn the_last_group_admin_is_not_removed() {
    let before = clubhouse(&[("alice", SUPER_ADMIN), ("bob", GROUP_ADMIN)], &[]);
    let after = clubhouse(&[("alice", SUPER_ADMIN)], &[]);
    assert_eq!(judge(&before, &after, &actor("alice")), Err(Denied::TooFew(GROUP_ADMIN)));
    // D28: a room that never had one is no worse for it.
    let without = clubhouse(&[("alice", SUPER_ADMIN), ("bob", ORDINARY_USER)], &[]);
    assert_eq!(judge(&without, &after, &actor("alice")), Ok(()));
}

#[test]
fn limits_of_the_room_bind_whoever_goes_over_them() {
    let limited = |people: &[(&str, RoleIndex)], clients: &[(u32, &str)], limit: fn(&mut BaseRoomPolicy)| {
        let mut room = clubhouse(people, clients);
        limit(&mut room.policy.base);
        room
    };
    let (one, two) = (&[("alice", SUPER_ADMIN)][..], &[("alice", SUPER_ADMIN), ("bob", ORDINARY_USER)][..]);
    let users = |people| limited(people, &[], |it| it.max_users = Some(1));
    assert_eq!(judge(&users(one), &users(two), &actor("alice")), Err(Denied::MaxUsers));
    assert_eq!(judge(&users(two), &users(one), &actor("alice")), Ok(()));
    assert_eq!(judge(&users(one), &users(&[("alice", SUPER_ADMIN), ("bob", BANNED)]), &actor("alice")), Ok(()));

    let clients = |clients| limited(two, clients, |it| it.max_clients = Some(2));
    let full = clients(&[(0, "alice"), (1, "bob")]);
    assert_eq!(judge(&clients(&[(0, "alice")]), &full, &actor("bob")), Ok(()));
    assert_eq!(judge(&full, &clients(&[(0, "alice"), (1, "bob"), (2, "bob")]), &actor("bob")), Err(Denied::MaxClients));

    let single = |clients| limited(two, clients, |it| it.multi_device = false);
    let each = single(&[(0, "alice"), (1, "bob")]);
    assert_eq!(judge(&single(&[(0, "alice")]), &each, &actor("bob")), Ok(()));
    assert_eq!(judge(&each, &single(&[(0, "alice"), (1, "bob"), (2, "bob")]), &actor("bob")), Err(Denied::MultiDevice));
}

#[test]
fn a_role_nobody_defined_is_not_given() {
    let before = clubhouse(&[("alice", SUPER_ADMIN), ("bob", ORDINARY_USER)], &[]);
    let after = clubhouse(&[("alice", SUPER_ADMIN), ("bob", 77)], &[]);
    assert!(judge(&before, &after, &actor("alice")).is_err());
    let unchanged = authorise(&before, &after, &actor("alice"), &Change::ChangeMetadata);
    assert_eq!(unchanged, Err(Denied::UndefinedRole(77)));
}

/// A room in which one role is other than the draft's example has it.
fn with_role(room: &RoomState, index: RoleIndex, change: impl FnOnce(&mut Role)) -> RoomState {
    let mut roles: Vec<Role> = room.policy.roles.iter().cloned().collect();
    change(roles.iter_mut().find(|role| role.role_index == index).unwrap());
    let mut room = room.clone();
    room.policy.roles = RoleData::new(roles).unwrap();
    room
}

/// The same room with other people in it.
fn with_people(room: &RoomState, people: &[(&str, RoleIndex)], clients: &[(u32, &str)]) -> RoomState {
    RoomState { policy: room.policy.clone(), ..clubhouse(people, clients) }
}

fn preauthorised(room: &RoomState, entries: &[(&str, RoleIndex)]) -> RoomState {
    let entry = |(identity, index): &(&str, RoleIndex)| PreAuthRoleEntry {
        claimset: vec![Claim::basic(identity)],
        target_role: room.policy.roles.role(*index).unwrap().clone(),
    };
    let mut room = room.clone();
    room.policy.preauth = PreAuthData { preauthorized_entries: entries.iter().map(entry).collect() };
    room
}

#[test]
fn who_may_change_whose_role() {
    type Changes<'a> = &'a [(RoleIndex, &'a [RoleIndex])];
    let (nobody, admin): (Changes, Changes) =
        (&[], &[(1, &[2, 3, 6]), (2, &[1, 3, 6]), (3, &[1, 2, 6]), (6, &[1, 2, 3])]);
    let super_admin: Changes =
        &[(1, &[2, 3, 4, 6]), (2, &[1, 3, 4, 6]), (3, &[1, 2, 4, 6]), (4, &[1, 2, 3, 6]), (6, &[1, 2, 3, 4])];
    let enforcer: Changes = &[(2, &[1]), (3, &[1]), (4, &[1]), (6, &[1])];
    let alice = |role| (role, actor("alice"));
    for ((role, by), may) in [
        (alice(BANNED), nobody),
        (alice(ORDINARY_USER), nobody),
        (alice(GROUP_ADMIN), admin),
        (alice(SUPER_ADMIN), super_admin),
        (alice(READ_ONLY), nobody),
        ((ORDINARY_USER, hub()), enforcer),
    ] {
        for (from, to) in [1, 2, 3, 4, 6].into_iter().flat_map(|from| [1, 2, 3, 4, 6].map(|to| (from, to))) {
            // Dave keeps the minimum of one group_admin.
            let with = |bob| clubhouse(&[("alice", role), ("bob", bob), ("dave", GROUP_ADMIN)], &[]);
            let allowed = from == to || may.iter().any(|(of, targets)| *of == from && targets.contains(&to));
            let verdict = judge(&with(from), &with(to), &by);
            assert_eq!(verdict.is_ok(), allowed, "role {role}, {from} to {to}: {verdict:?}");
        }
    }
}

#[test]
fn whoever_is_banned_loses_all_clients_and_gets_none_with_the_pardon() {
    let people = |bob| [("alice", GROUP_ADMIN), ("bob", bob)];
    let (both, alone) = ([(0, "alice"), (1, "bob"), (2, "bob")], [(0, "alice")]);
    // To ban is not to kick: one of the two capabilities is enough for it.
    let room = with_role(&clubhouse(&[], &[]), GROUP_ADMIN, |it| {
        it.role_capabilities.retain(|it| ![Capability::CAN_KICK, Capability::CAN_CHANGE_USER_ROLE].contains(it));
    });
    let before = with_people(&room, &people(ORDINARY_USER), &both);
    let banned = with_people(&room, &people(BANNED), &alone);
    assert_eq!(changes(&before, &banned, &actor("alice")), [Change::ChangeRole(user("bob"))]);
    assert_eq!(judge(&before, &banned, &actor("alice")), Ok(()));
    let halfway = with_people(&room, &people(BANNED), &both[..2]);
    assert_eq!(judge(&before, &halfway, &actor("alice")), Err(Denied::ClientWithoutParticipant));
    let pardoned = with_people(&room, &people(ORDINARY_USER), &alone);
    assert_eq!(judge(&banned, &pardoned, &actor("alice")), Ok(()));
    assert_eq!(judge(&banned, &before, &actor("alice")), Err(Denied::UnbannedWithClients));
    assert_eq!(judge(&banned, &pardoned, &actor("bob")), Err(Denied::NotParticipant));
    assert_eq!(
        judge(&before, &with_people(&room, &people(READ_ONLY), &both), &actor("alice")),
        missing(Capability::CAN_CHANGE_USER_ROLE)
    );
    let renamed = |room| with_role(room, BANNED, |it| it.role_name = "bad".into());
    assert_eq!(judge(&renamed(&before), &renamed(&banned), &actor("alice")), Err(Denied::NoBannedRole));
    assert_eq!(judge(&renamed(&banned), &renamed(&pardoned), &actor("alice")), Err(Denied::NoBannedRole));
}

#[test]
fn ones_own_role_changes_to_the_preauthorised_one() {
    let with = |alice| clubhouse(&[("alice", alice), ("dave", GROUP_ADMIN)], &[(0, "alice"), (1, "dave")]);
    assert_eq!(changes(&with(SUPER_ADMIN), &with(READ_ONLY), &actor("alice")), [Change::ChangeOwnRole]);
    assert_eq!(judge(&with(SUPER_ADMIN), &with(READ_ONLY), &actor("alice")), missing(Capability::CAN_CHANGE_OWN_ROLE));
    let entries = [
        ("mimi://a.example/d/dave/1", READ_ONLY),
        ("mimi://a.example/d/alice/0", GROUP_ADMIN),
        ("mimi://a.example/d/alice/0", SUPER_ADMIN),
    ];
    let room = |alice| {
        let may = |it: &mut Role| it.role_capabilities.push(Capability::CAN_CHANGE_OWN_ROLE);
        preauthorised(&with_role(&with(alice), ORDINARY_USER, may), &entries)
    };
    // From 2 to 3 there is no entry in the changes list of role 2.
    assert_eq!(judge(&room(ORDINARY_USER), &room(GROUP_ADMIN), &actor("alice")), Ok(()));
    for other in [SUPER_ADMIN, READ_ONLY, BANNED] {
        let after = room(other);
        assert_eq!(judge(&room(ORDINARY_USER), &after, &actor("alice")), Err(Denied::NotPreauthorised), "{other}");
    }
    let full = |alice| with_role(&room(alice), GROUP_ADMIN, |it| it.maximum_participants_constraint = Some(1));
    assert_eq!(judge(&full(ORDINARY_USER), &full(GROUP_ADMIN), &actor("alice")), Err(Denied::TooMany(GROUP_ADMIN)));
    let needed = |alice| with_role(&room(alice), ORDINARY_USER, |it| it.minimum_participants_constraint = 1);
    assert_eq!(
        judge(&needed(ORDINARY_USER), &needed(GROUP_ADMIN), &actor("alice")),
        Err(Denied::TooFew(ORDINARY_USER))
    );
}

#[test]
fn anybody_joins_an_open_room_and_no_other() {
    let people = [("alice", SUPER_ADMIN), ("mallory", BANNED)];
    let closed = with_role(&clubhouse(&people, &[(0, "alice")]), role::NO_ROLE, |it| it.role_capabilities.clear());
    let open = with_role(&closed, role::NO_ROLE, |it| {
        it.role_capabilities = vec![Capability::CAN_OPEN_JOIN];
        it.authorized_role_changes = vec![RoleChangeTargets { from_role_index: 0, target_role_indexes: vec![1, 2] }];
    });
    let joined = |room: &RoomState, as_role| {
        let people = [people[0], people[1], ("cathy", as_role)];
        with_people(room, &people, &[(0, "alice"), (1, "cathy")])
    };
    let cathy = Credential::basic("mimi://a.example/d/cathy/1");
    assert_eq!(changes(&open, &joined(&open, ORDINARY_USER), &actor("cathy")), [Change::Join]);
    assert_eq!(judge(&open, &joined(&open, ORDINARY_USER), &actor("cathy")), Ok(()));
    assert_eq!(may_join(&open, &user("cathy"), &cathy, false), Some(ORDINARY_USER));
    assert_eq!(judge(&closed, &joined(&closed, ORDINARY_USER), &actor("cathy")), Err(Denied::Uninvited));
    assert_eq!(may_join(&closed, &user("cathy"), &cathy, false), None);
    for other in [BANNED, GROUP_ADMIN, SUPER_ADMIN] {
        assert_eq!(judge(&open, &joined(&open, other), &actor("cathy")), Err(Denied::Uninvited), "{other}");
    }
    let without_client = with_people(&open, &[people[0], people[1], ("cathy", ORDINARY_USER)], &[(0, "alice")]);
    assert_eq!(judge(&open, &without_client, &actor("cathy")), Err(Denied::NotActive));
    let full = with_role(&open, ORDINARY_USER, |it| it.maximum_active_participants_constraint = Some(0));
    assert_eq!(judge(&full, &joined(&full, ORDINARY_USER), &actor("cathy")), Err(Denied::TooMany(ORDINARY_USER)));
    // Who is banned stands in the list, so that the open door is none for them.
    let back = with_people(&open, &[people[0], ("mallory", ORDINARY_USER)], &[(0, "alice"), (1, "mallory")]);
    assert_eq!(judge(&open, &back, &actor("mallory")), Err(Denied::NotParticipant));
    let mallorys = Credential::basic("mimi://a.example/d/mallory/1");
    assert_eq!(may_join(&open, &user("mallory"), &mallorys, true), None);
    let mut fixed = open.clone();
    fixed.policy.base.fixed_membership = true;
    assert_eq!(judge(&fixed, &joined(&fixed, ORDINARY_USER), &actor("cathy")), Err(Denied::FixedMembership));
    assert_eq!(may_join(&fixed, &user("cathy"), &cathy, true), None);
}

#[test]
fn by_a_code_somebody_comes_as_the_role_that_the_room_gives_to_them() {
    let people = [("alice", SUPER_ADMIN), ("mallory", BANNED)];
    // Of the room policy that we give to our rooms.
    let room = clubhouse(&people, &[(0, "alice")]);
    let without = with_role(&room, role::NO_ROLE, |it| it.role_capabilities.clear());
    let cathy = Credential::basic("mimi://a.example/d/cathy/1");
    assert_eq!(role_by_code(&room), Some(ORDINARY_USER));
    assert_eq!(role_by_code(&without), None);
    assert_eq!(may_join(&room, &user("cathy"), &cathy, true), Some(ORDINARY_USER));
    assert_eq!(may_join(&room, &user("cathy"), &cathy, false), None);
    assert_eq!(may_join(&without, &user("cathy"), &cathy, true), None);
    assert!(!joins_without_code(&room, &cathy, ORDINARY_USER));
    let joined = |room: &RoomState, as_role| {
        with_people(room, &[people[0], people[1], ("cathy", as_role)], &[(0, "alice"), (1, "cathy")])
    };
    assert_eq!(judge(&room, &joined(&room, ORDINARY_USER), &actor("cathy")), Ok(()));
    assert_eq!(judge(&without, &joined(&without, ORDINARY_USER), &actor("cathy")), Err(Denied::Uninvited));
    for other in [BANNED, GROUP_ADMIN, SUPER_ADMIN] {
        assert_eq!(judge(&room, &joined(&room, other), &actor("cathy")), Err(Denied::Uninvited), "{other}");
    }
    let full = with_role(&room, ORDINARY_USER, |it| it.maximum_participants_constraint = Some(0));
    assert_eq!(judge(&full, &joined(&full, ORDINARY_USER), &actor("cathy")), Err(Denied::TooMany(ORDINARY_USER)));
    // A code opens nothing to who is banned, and nobody else comes by it but who uses it.
    let back = with_people(&room, &[people[0], ("mallory", ORDINARY_USER)], &[(0, "alice"), (1, "mallory")]);
    assert_eq!(judge(&room, &back, &actor("mallory")), Err(Denied::NotParticipant));
    let with_dave = with_people(
        &room,
        &[people[0], people[1], ("cathy", ORDINARY_USER), ("dave", ORDINARY_USER)],
        &[(0, "alice"), (1, "cathy"), (2, "dave")],
    );
    assert!(judge(&room, &with_dave, &actor("cathy")).is_err());
}

#[test]
fn who_is_preauthorised_joins_in_the_role_of_the_first_match() {
    let people = [("alice", SUPER_ADMIN), ("mallory", BANNED)];
    let may = |it: &mut Role| it.role_capabilities.push(Capability::CAN_JOIN_IF_PREAUTHORIZED);
    let closed = with_role(&clubhouse(&people, &[(0, "alice")]), role::NO_ROLE, |it| it.role_capabilities.clear());
    let room = with_role(&with_role(&closed, GROUP_ADMIN, may), SUPER_ADMIN, may);
    let (cathys, mallorys) = ("mimi://a.example/d/cathy/1", "mimi://a.example/d/mallory/1");
    let room = preauthorised(&room, &[(cathys, GROUP_ADMIN), (cathys, SUPER_ADMIN), (mallorys, GROUP_ADMIN)]);
    let joined = |room: &RoomState, name, as_role| {
        with_people(room, &[people[0], people[1], (name, as_role)], &[(0, "alice"), (1, name)])
    };
    assert_eq!(judge(&room, &joined(&room, "cathy", GROUP_ADMIN), &actor("cathy")), Ok(()));
    assert_eq!(may_join(&room, &user("cathy"), &Credential::basic(cathys), false), Some(GROUP_ADMIN));
    for other in [ORDINARY_USER, SUPER_ADMIN] {
        let after = joined(&room, "cathy", other);
        assert_eq!(judge(&room, &after, &actor("cathy")), Err(Denied::Uninvited), "{other}");
    }
    assert_eq!(judge(&room, &joined(&room, "dave", GROUP_ADMIN), &actor("dave")), Err(Denied::Uninvited));
    // The list of the preauthorised is no way out of a ban.
    let back = with_people(&room, &[people[0], ("mallory", GROUP_ADMIN)], &[(0, "alice"), (1, "mallory")]);
    assert_eq!(judge(&room, &back, &actor("mallory")), Err(Denied::NotParticipant));
    let full = with_role(&room, GROUP_ADMIN, |it| it.maximum_participants_constraint = Some(0));
    assert_eq!(judge(&full, &joined(&full, "cathy", GROUP_ADMIN), &actor("cathy")), Err(Denied::TooMany(GROUP_ADMIN)));
    let role_may_not = preauthorised(&closed, &[(cathys, ORDINARY_USER)]);
    let after = joined(&role_may_not, "cathy", ORDINARY_USER);
    assert_eq!(judge(&role_may_not, &after, &actor("cathy")), Err(Denied::Uninvited));
}

#[test]
fn a_role_has_as_many_as_it_may_have_and_as_many_as_it_must() {
    let limited = |limit: fn(&mut Role), people: &[(&str, RoleIndex)], clients: &[(u32, &str)]| {
        with_role(&clubhouse(people, clients), ORDINARY_USER, limit)
    };
    let people = [("alice", GROUP_ADMIN), ("bob", ORDINARY_USER), ("cathy", ORDINARY_USER)];
    let (two, three) = ([(0, "alice"), (1, "bob")], [(0, "alice"), (1, "bob"), (2, "cathy")]);
    let most: fn(&mut Role) = |it| it.maximum_participants_constraint = Some(1);
    let before = limited(most, &people[..2], &two);
    assert_eq!(judge(&before, &limited(most, &people, &two), &actor("alice")), Err(Denied::TooMany(ORDINARY_USER)));
    let most: fn(&mut Role) = |it| it.maximum_active_participants_constraint = Some(1);
    assert_eq!(judge(&limited(most, &people[..2], &two), &limited(most, &people, &two), &actor("alice")), Ok(()));
    let after = limited(most, &people, &three);
    assert_eq!(judge(&limited(most, &people, &two), &after, &actor("cathy")), Err(Denied::TooMany(ORDINARY_USER)));
    let least: fn(&mut Role) = |it| it.minimum_active_participants_constraint = 2;
    let (before, after) = (limited(least, &people, &three), limited(least, &people, &two));
    for (name, what) in [("alice", "kicks"), ("cathy", "takes her client away")] {
        assert_eq!(judge(&before, &after, &actor(name)), Err(Denied::TooFew(ORDINARY_USER)), "{name} {what}");
    }
    let gone = limited(least, &people[..2], &two);
    for (name, what) in [("alice", "removes"), ("cathy", "leaves")] {
        assert_eq!(judge(&before, &gone, &actor(name)), Err(Denied::TooFew(ORDINARY_USER)), "{name} {what}");
    }
}

#[test]
fn the_definitions_of_roles_change_alone() {
    let people = &[("alice", SUPER_ADMIN), ("bob", ORDINARY_USER)];
    let before = clubhouse(people, &[]);
    let muted = |room: &RoomState| with_role(room, READ_ONLY, |it| it.role_name = "visitor".into());
    assert_eq!(changes(&before, &muted(&before), &actor("alice")), [Change::ChangeComponent(component::ROLES_LIST)]);
    assert_eq!(judge(&before, &muted(&before), &actor("alice")), Ok(()));
    assert_eq!(judge(&before, &muted(&before), &actor("bob")), missing(Capability::CAN_CHANGE_ROLE_DEFINITIONS));
    for people in [&people[..1], &[people[0], ("bob", READ_ONLY)], &[people[0], people[1], ("cathy", ORDINARY_USER)]] {
        let after = muted(&clubhouse(people, &[]));
        let roles = authorise(&before, &after, &actor("alice"), &Change::ChangeComponent(component::ROLES_LIST));
        assert_eq!(roles, Err(Denied::RolesWithList), "{people:?}");
    }
    // A role that somebody has does not go.
    let mut undefined = before.clone();
    let roles = before.policy.roles.iter().filter(|role| role.role_index != ORDINARY_USER).cloned().collect();
    undefined.policy.roles = RoleData::new(roles).unwrap();
    assert_eq!(judge(&before, &undefined, &actor("alice")), Err(Denied::UndefinedRole(ORDINARY_USER)));
}

#[test]
fn with_the_list_of_the_preauthorised_people_only_go() {
    let people = [("alice", SUPER_ADMIN), ("bob", ORDINARY_USER)];
    let before = clubhouse(&people, &[]);
    let entries = [("mimi://a.example/d/dave/1", GROUP_ADMIN)];
    let after = |people: &[(&str, RoleIndex)]| preauthorised(&clubhouse(people, &[]), &entries);
    let change = Change::ChangeComponent(component::PREAUTH_LIST);
    assert_eq!(changes(&before, &after(&people), &actor("alice")), [change]);
    assert_eq!(judge(&before, &after(&people), &actor("alice")), Ok(()));
    assert_eq!(judge(&before, &after(&people[..1]), &actor("alice")), Ok(()), "and Bob is removed");
    let unlisted = judge(&before, &after(&people), &actor("bob"));
    assert_eq!(unlisted, missing(Capability::CAN_CHANGE_PREAUTHORIZED_USER_LIST));
    for more in [&[people[0], people[1], ("cathy", ORDINARY_USER)][..], &[people[0], ("bob", READ_ONLY)]] {
        let verdict =
            authorise(&before, &after(more), &actor("alice"), &Change::ChangeComponent(component::PREAUTH_LIST));
        assert_eq!(verdict, Err(Denied::PreauthWithMore), "{more:?}");
    }
    let mut undefined = after(&people);
    undefined.policy.preauth.preauthorized_entries[0].target_role.role_index = 77;
    assert!(matches!(judge(&before, &undefined, &actor("alice")), Err(Denied::Component(_))));
}

#[test]
fn the_kind_of_room_changes_and_what_it_would_not_be_does_not() {
    let before = clubhouse(&[("alice", SUPER_ADMIN), ("bob", GROUP_ADMIN)], &[]);
    let with = |change: fn(&mut BaseRoomPolicy)| {
        let mut after = before.clone();
        change(&mut after.policy.base);
        after
    };
    let found = with(|it| it.discoverable = true);
    assert_eq!(judge(&before, &found, &actor("alice")), Ok(()));
    assert_eq!(judge(&before, &found, &actor("bob")), missing(Capability::CAN_CHANGE_ROOM_MEMBERSHIP_STYLE));
    let dependent = with(|it| it.parent_dependant = true);
    assert!(matches!(judge(&before, &dependent, &actor("alice")), Err(Denied::Unsupported(_))));
    for (what, after) in [
        ("a parent without need", with(|it| it.parent_room = vec!["mimi://a.example/r/club".parse().unwrap()])),
        ("somebody adds where membership is fixed", with(|it| it.fixed_membership = true)),
        ("a component is not listed", with(|it| it.policy_component_ids = vec![component::ROLES_LIST])),
    ] {
        assert!(matches!(judge(&before, &after, &actor("alice")), Err(Denied::Component(_))), "{what}");
    }
}

#[test]
fn every_other_component_is_valid_or_does_not_change() {
    let before = clubhouse(&[("alice", SUPER_ADMIN), ("bob", GROUP_ADMIN)], &[]);
    let with = |id: u16, octets: &[u8]| {
        let mut after = before.clone();
        after.policy.base.policy_component_ids.push(id);
        after.policy.others.insert(id, octets.to_vec().into());
        after
    };
    let a = |name: &str| crate::mimi::wire::samples::uri(name);
    let (logs, more) = (a("mimi://a.example/d/log/1"), a("mimi://a.example/d/log/2"));
    let two = crate::mimi::wire::samples::vector(&[logs.as_str(), more.as_str()].concat());
    let one = crate::mimi::wire::samples::vector(&logs);
    let asset = |provider: &str, location: &str| {
        let domains = crate::mimi::wire::samples::vector(&[&crate::mimi::wire::samples::uri(provider), "00"].concat());
        [location, &domains, "00 00 01", &"00".repeat(32), "00 00"].concat()
    };
    for (id, octets, is_valid) in [
        (component::STATUS_NOTIFICATION_POLICY, "00 01".into(), true),
        (component::STATUS_NOTIFICATION_POLICY, "00".into(), false),
        (component::JOIN_LINK_POLICY, "01 016c 00 00000102".into(), true),
        (component::LINK_PREVIEW_POLICY, "00 01 02 02".into(), true),
        (component::LINK_PREVIEW_POLICY, "01 01 02 02".to_owned(), false),
        (component::LINK_PREVIEW_POLICY, "00 01 02 01 02 0170".into(), true),
        (component::LINK_PREVIEW_POLICY, "00 01 02 01 00".into(), false),
        (component::LINK_PREVIEW_POLICY, "00 01 02 00 00".into(), false),
        (component::ASSET_POLICY, asset("a.example", "02"), true),
        (component::ASSET_POLICY, asset("b.example", "02"), false),
        (component::ASSET_POLICY, asset("b.example", "01"), true),
        (component::LOGGING_POLICY, "02".into(), true),
        (component::LOGGING_POLICY, "02 00 00 00".into(), false),
        (component::LOGGING_POLICY, ["01", &one, "00 00"].concat(), true),
        (component::LOGGING_POLICY, "01 00 00 00".into(), false),
        (component::LOGGING_POLICY, "00 00 00 00".into(), true),
        (component::LOGGING_POLICY, ["00", &two, "00 00"].concat(), false),
        (component::CHAT_HISTORY_POLICY, "00 08 00000003 00000004 01 00000102".into(), true),
        (component::CHAT_HISTORY_POLICY, "00 04 00000000 01 00000102".into(), false),
        (component::CHAT_HISTORY_POLICY, "00 04 00000001 01 00000102".into(), false),
        (component::CHAT_HISTORY_POLICY, "00 04 00000005 01 00000102".into(), false),
        (component::CHAT_HISTORY_POLICY, "00 04 00000077 01 00000102".into(), false),
        (component::BOT_POLICY, "0d 016e 0164 0168 01 00000000 00 01".into(), true),
        (component::BOT_POLICY, "0d 016e 0164 0168 01 00000002 00 01".into(), false),
        (component::BOT_POLICY, "0d 016e 0164 0168 00 00000002 00 01".into(), true),
        (component::MESSAGE_EXPIRATION_POLICY, "02".into(), true),
        (component::MESSAGE_EXPIRATION_POLICY, "02 00000000".into(), false),
        (component::MESSAGE_EXPIRATION_POLICY, "01 00000001 00000102 01 00000003".into(), true),
        (component::MESSAGE_EXPIRATION_POLICY, "01 00000001 00000102 01 00000103".into(), false),
        (component::MESSAGE_EXPIRATION_POLICY, "01 00000004 00000102 01 00000003".into(), false),
        (component::MESSAGE_EXPIRATION_POLICY, "00 00000003 00000002 00".into(), false),
    ] {
        let after = with(id, &crate::mimi::wire::samples::octets(&octets));
        let verdict = judge(&before, &after, &actor("alice"));
        assert_eq!(verdict.is_ok(), is_valid, "{id:#06x} {octets}: {verdict:?}");
    }
    let after = with(component::MESSAGE_EXPIRATION_POLICY, &[2]);
    let mut unlisted = after.clone();
    unlisted.policy.base = before.policy.base.clone();
    assert!(matches!(judge(&before, &unlisted, &actor("alice")), Err(Denied::Component(_))));
    let change = |id| Change::ChangeComponent(id);
    let expiration = authorise(&before, &after, &actor("bob"), &change(component::MESSAGE_EXPIRATION_POLICY));
    assert_eq!(expiration, missing(Capability::CAN_CHANGE_OTHER_POLICY_ATTRIBUTE));
    let operation = authorise(&before, &after, &actor("bob"), &change(component::MLS_OPERATIONAL_POLICY));
    assert_eq!(operation, missing(Capability::CAN_CHANGE_MLS_OPERATIONAL_POLICIES));
    // And out again.
    let gone = RoomState { policy: before.policy.clone(), ..after.clone() };
    assert_eq!(judge(&after, &gone, &actor("alice")), Ok(()));
}

#[test]
fn a_denial_names_nobody() {
    let before = clubhouse(&[("alice", READ_ONLY)], &[]);
    let after = clubhouse(&[("alice", READ_ONLY), ("bob", ORDINARY_USER)], &[]);
    let denied = judge(&before, &after, &actor("alice")).unwrap_err();
    assert_eq!(denied.to_string(), "canAddParticipant is needed");
}
