//! Scenes in the rooms of our default policies. Who may do what to whom is copied by hand from the
//! draft's table (R§A.1) and the mended places (D27), not computed from the roles.

use super::{
    role::{BANNED, GROUP_ADMIN, ORDINARY_USER, PEER, READ_ONLY, SUPER_ADMIN},
    *,
};
use crate::mimi::{
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

#[test]
fn what_is_not_decided_yet_is_seen_and_refused() {
    let before = clubhouse(&[("alice", SUPER_ADMIN), ("bob", ORDINARY_USER)], &[]);
    let joined = clubhouse(&[("alice", SUPER_ADMIN), ("bob", ORDINARY_USER), ("cathy", ORDINARY_USER)], &[]);
    assert_eq!(changes(&before, &joined, &actor("cathy")), [Change::Join]);
    let promoted = clubhouse(&[("alice", SUPER_ADMIN), ("bob", GROUP_ADMIN)], &[]);
    assert_eq!(changes(&before, &promoted, &actor("alice")), [Change::ChangeRole(user("bob"))]);
    let mut opened = before.clone();
    opened.policy.base.discoverable = true;
    assert_eq!(changes(&before, &opened, &actor("alice")), [Change::ChangePolicy]);
    for (after, name) in [(joined, "cathy"), (promoted, "alice"), (opened, "alice")] {
        assert!(matches!(judge(&before, &after, &actor(name)), Err(Denied::Unsupported(_))), "{name}");
    }
}

#[test]
fn a_denial_names_nobody() {
    let before = clubhouse(&[("alice", READ_ONLY)], &[]);
    let after = clubhouse(&[("alice", READ_ONLY), ("bob", ORDINARY_USER)], &[]);
    let denied = judge(&before, &after, &actor("alice")).unwrap_err();
    assert_eq!(denied.to_string(), "canAddParticipant is needed");
}
