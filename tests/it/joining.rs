//! Coming into a room by a link, or by an open door.

use std::time::Duration;

use mimi_adapter::ConversationId;
use mimi_gateway::{
    admin::{Join, Link, NewCode, Operator},
    mimi::{
        component,
        policy::{Capability, RoleChangeTargets, RoleData, group_policy},
        tls::Tls,
        wire::GroupInfoRatchetTreeTbe,
    },
    mls::{Change, Client},
};

use crate::{
    bad_joining::{asks, client_of, joins_with, not_authorized, opened},
    peer::Peer,
    person::Person,
    turncoat::one_more,
    world::{World, domain, tea},
};

const TEA: &str = "mimi://a.example/r/tea";

const DAY: Duration = Duration::from_secs(24 * 3600);

impl World {
    /// Alice and Bob are in the room `tea`, and c.example runs.
    async fn with_cathy_outside() -> Self {
        let mut world = Self::of_two().await;
        world.start("c.example").await;
        world
    }

    /// A link into `tea` for so many, good for a day.
    async fn link(&self, uses: u32) -> String {
        self.desk("a.example").make_code(&tea(), NewCode { uses, days: 1 }).await.unwrap()
    }
}

/// What the admin of c.example wants.
fn join(link: &str, user: &Person) -> Join {
    let to = Link { adapter: "loopback".into(), conversation: ConversationId::new("tea") };
    Join { link: link.to_owned(), user: user.uri().clone(), to }
}

fn code(link: &str) -> &str {
    link.split_once('#').unwrap().1
}

/// Asks for the GroupInfo with a code, or without. Answers what is in it if the hub lets the client in.
async fn knocks(peer: &Peer, client: &Client, code: &str) -> Option<GroupInfoRatchetTreeTbe> {
    let (request, key) = asks(client, |tbs| tbs.joining_code = (!code.is_empty()).then(|| code.to_owned().into()));
    let said = peer.posts("a.example", "groupInfo", TEA, &request.encode()).await;
    (said != not_authorized(TEA)).then(|| opened(&said, &key))
}

async fn updates(peer: &Peer, body: &[u8]) -> (u16, u8) {
    let said = peer.posts("a.example", "update", TEA, body).await;
    (said.status, said.body[0])
}

#[tokio::test]
async fn who_has_a_link_comes_into_the_room_and_talks() {
    let world = World::with_cathy_outside().await;
    let link = world.link(1).await;
    assert!(link.starts_with("mimi://a.example/r/tea#"), "{link}");
    world.desk("c.example").join(join(&link, &world.cathy)).await.unwrap();
    world.cathy.is_with(&["alice (a.example)", "bob (b.example)"]).await;
    world.alice.is_with(&["bob (b.example)", "cathy (c.example)"]).await;
    world.bob.is_with(&["alice (a.example)", "cathy (c.example)"]).await;
    world.cathy.says("I had a link.").await;
    world.alice.reads("cathy (c.example): I had a link.").await;
    world.bob.reads("cathy (c.example): I had a link.").await;
    world.alice.says("Welcome.").await;
    world.cathy.reads("alice (a.example): Welcome.").await;
    // Whoever else is in the conversation comes as always.
    let carl = world.person("carl", "c.example");
    carl.says("And me?").await;
    world.alice.reads("carl (c.example): And me?").await;
    world.still_talk().await;
    assert_eq!(world.desk("a.example").codes(&tea()).await.unwrap()[0].uses, 0);
}

#[tokio::test]
async fn who_is_on_the_way_in_when_their_gateway_dies_comes_in_once() {
    let mut world = World::with_cathy_outside().await;
    let link = world.link(1).await;
    world.stop("a.example").await;
    world.desk("c.example").join(join(&link, &world.cathy)).await.unwrap();
    world.kill("c.example").await;
    world.start("a.example").await;
    world.start("c.example").await;
    world.alice.is_with(&["bob (b.example)", "cathy (c.example)"]).await;
    world.alice.says("Welcome.").await;
    world.cathy.reads("alice (a.example): Welcome.").await;
}

#[tokio::test]
async fn a_link_that_is_no_good_is_told_to_the_admin() {
    let world = World::with_cathy_outside().await;
    let link = format!("{TEA}#{}", "0".repeat(32));
    world.desk("c.example").join(join(&link, &world.cathy)).await.unwrap();
    let failed = async || {
        let invites = world.desk("c.example").room(&tea()).await.unwrap().invites;
        invites.iter().any(|it| it.state == "failed: the room's hub does not take the code")
    };
    world.eventually("the admin can read why", failed).await;
    // And tries again with a better one.
    world.desk("c.example").join(join(&world.link(1).await, &world.cathy)).await.unwrap();
    world.cathy.is_with(&["alice (a.example)", "bob (b.example)"]).await;
    for bad in ["", TEA, "mimi://a.example/u/alice#1"] {
        assert!(world.desk("c.example").join(join(bad, &world.cathy)).await.is_err(), "{bad}");
    }
}

#[tokio::test]
async fn who_comes_by_a_good_link_into_a_full_room_is_told_so() {
    let world = World::with_cathy_outside().await;
    let mut roles: Vec<_> = group_policy(&domain("a.example"), 1).roles.iter().cloned().collect();
    // Bob is the one ordinary user that there may be.
    roles.iter_mut().find(|it| it.role_index == 2).unwrap().maximum_participants_constraint = Some(1);
    let update = vec![(component::ROLES_LIST, RoleData::new(roles).unwrap().encode())];
    world.turncoat(&world.alice).carries_out(&world, Change { update, ..Change::default() }).await;
    world.desk("c.example").join(join(&world.link(1).await, &world.cathy)).await.unwrap();
    let failed = async || {
        let invites = world.desk("c.example").room(&tea()).await.unwrap().invites;
        invites.iter().any(|it| it.state.starts_with("failed: the room does not allow it (role 2 "))
    };
    world.eventually("the admin can read why", failed).await;
    world.still_talk().await;
}

#[tokio::test]
async fn a_code_is_good_for_so_many_people_and_so_long_and_until_it_is_withdrawn() {
    let world = World::of_two().await;
    let (peer, desk) = (world.peer("c.example"), world.desk("a.example"));
    let [cathy, carl, cora] = ["cathy", "carl", "cora"].map(|it| client_of(&format!("mimi://c.example/u/{it}")));
    let link = world.link(2).await;
    let wrong = "0".repeat(32);
    for bad in ["", "0", &wrong, &code(&link)[..31], &code(&link).to_uppercase()] {
        assert!(knocks(&peer, &cathy, bad).await.is_none(), "{bad:?}");
    }
    // Whoever asks again has used it once.
    for client in [&cathy, &cathy, &carl, &cathy] {
        assert!(knocks(&peer, client, code(&link)).await.is_some(), "{}", client.uri());
    }
    assert!(knocks(&peer, &cora, code(&link)).await.is_none());

    let withdrawn = world.link(5).await;
    let offered = knocks(&peer, &cora, code(&withdrawn)).await;
    let codes = desk.codes(&tea()).await.unwrap();
    let id = &codes.iter().find(|it| it.uses == 4).unwrap().id;
    desk.withdraw_code(&tea(), id).await.unwrap();
    assert!(knocks(&peer, &cora, code(&withdrawn)).await.is_none());
    let late = joins_with(&cora, &offered.unwrap(), vec![one_more(&"mimi://c.example/u/cora".parse().unwrap(), 2)]);
    assert_eq!(updates(&peer, &late).await, (200, 2));

    let old = world.link(5).await;
    let offered = knocks(&peer, &cora, code(&old)).await;
    world.clock.moves(DAY + Duration::from_secs(1));
    assert!(knocks(&peer, &cora, code(&old)).await.is_none());
    let late = joins_with(&cora, &offered.unwrap(), vec![one_more(&"mimi://c.example/u/cora".parse().unwrap(), 2)]);
    assert_eq!(updates(&peer, &late).await, (200, 2));
    assert_eq!(desk.codes(&tea()).await.unwrap(), []);
    world.still_talk().await;
}

#[tokio::test]
async fn the_hub_lets_in_whom_it_has_seen_the_code_of_and_as_no_more() {
    let world = World::of_two().await;
    let peer = world.peer("c.example");
    let (cathy, carl) = (client_of("mimi://c.example/u/cathy"), client_of("mimi://c.example/u/carl"));
    let link = world.link(1).await;
    let offered = knocks(&peer, &cathy, code(&link)).await.unwrap();
    let listed = |client: &Client, role| vec![one_more(&client.uri().user().unwrap(), role)];
    // Carl has it from her; and she comes as ordinary user or not at all.
    assert_eq!(updates(&peer, &joins_with(&carl, &offered, listed(&carl, 2))).await, (200, 2));
    for role in [1, 3, 4, 6, 77] {
        assert_eq!(updates(&peer, &joins_with(&cathy, &offered, listed(&cathy, role))).await, (200, 2), "{role}");
    }
    assert_eq!(updates(&peer, &joins_with(&cathy, &offered, Vec::new())).await, (200, 2));
    let both = vec![one_more(&carl.uri().user().unwrap(), 2), one_more(&cathy.uri().user().unwrap(), 2)];
    assert_eq!(updates(&peer, &joins_with(&cathy, &offered, both)).await, (200, 2));
    world.still_talk().await;

    let joins = joins_with(&cathy, &offered, listed(&cathy, 2));
    assert_eq!(updates(&peer, &joins).await, (200, 0));
    // The same octets have the same answer.
    assert_eq!(updates(&peer, &joins).await, (200, 0));
    world.alice.is_with(&["bob (b.example)", "cathy (c.example)"]).await;
    world.bob.is_with(&["alice (a.example)", "cathy (c.example)"]).await;
    world.still_talk().await;
}

#[tokio::test]
async fn an_open_room_is_joined_without_a_code() {
    let world = World::of_two().await;
    let peer = world.peer("c.example");
    let cathy = client_of("mimi://c.example/u/cathy");
    assert!(knocks(&peer, &cathy, "").await.is_none());
    let mut roles: Vec<_> = group_policy(&domain("a.example"), 1).roles.iter().cloned().collect();
    roles[0].role_capabilities = vec![Capability::CAN_OPEN_JOIN];
    roles[0].authorized_role_changes = vec![RoleChangeTargets { from_role_index: 0, target_role_indexes: vec![6] }];
    let update = vec![(component::ROLES_LIST, RoleData::new(roles).unwrap().encode())];
    world.turncoat(&world.alice).carries_out(&world, Change { update, ..Change::default() }).await;
    // No code opens more than the door does, and none can be made.
    let made = world.desk("a.example").make_code(&tea(), NewCode { uses: 1, days: 1 }).await;
    assert!(made.unwrap_err().to_string().contains("canUseJoinCode"));

    let offered = knocks(&peer, &cathy, "").await.unwrap();
    let listed = |role| vec![one_more(&cathy.uri().user().unwrap(), role)];
    assert_eq!(updates(&peer, &joins_with(&cathy, &offered, listed(2))).await, (200, 2));
    assert_eq!(updates(&peer, &joins_with(&cathy, &offered, listed(6))).await, (200, 0));
    world.alice.is_with(&["bob (b.example)", "cathy (c.example)"]).await;
    world.bob.is_with(&["alice (a.example)", "cathy (c.example)"]).await;
    world.still_talk().await;
}
