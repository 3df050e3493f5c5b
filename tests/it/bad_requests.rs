//! Requests that are wrong by themselves: each has its answer (D2), nothing comes of it, and the next good one is
//! served.

use mimi_gateway::{
    admin::Operator,
    mimi::{
        tls::Tls,
        uri::UserUri,
        wire::{ConsentOperation, Fanout, FanoutMessage, HandshakeBundle, RatchetTreeOption, Search, UpdateRequest},
    },
    mls::Change,
};

use crate::{
    abuse::report,
    bad_asking::{consent, key_material_request},
    finding::query,
    turncoat::{bundle, framed, key_package_of, one_more, text},
    world::{World, tea},
};

const TEA: &str = "mimi://a.example/r/tea";
const ALICE: &str = "mimi://a.example/u/alice";

fn user(uri: &str) -> UserUri {
    uri.parse().unwrap()
}

async fn good_submit(world: &World) -> Vec<u8> {
    let cathys = world.turncoat(&world.cathy);
    cathys.submits(&framed(&text("Good.", &cathys.user, &tea()))).await
}

/// A body for each endpoint that c.example can call at a.example, about what, and the status of a good answer.
/// They have to be posted in this order.
async fn good_requests(world: &World) -> Vec<(&'static str, &'static str, Vec<u8>, u16)> {
    let cathys = world.turncoat(&world.cathy);
    let request = consent(ConsentOperation::Request, "mimi://c.example/u/cathy", ALICE).encode();
    let revoke = consent(ConsentOperation::Revoke, ALICE, "mimi://c.example/u/cathy").encode();
    vec![
        ("submitMessage", TEA, good_submit(world).await, 200),
        ("update", TEA, bundle(cathys.commits(Change::default(), true).await).encode(), 200),
        ("keyMaterial", ALICE, key_material_request(ALICE, |_| {}).encode(), 200),
        ("groupInfo", TEA, cathys.asks(|_| {}).await.0.encode(), 200),
        ("requestConsent", "a.example", request, 201),
        ("updateConsent", "a.example", revoke, 201),
        ("identifierQuery", "a.example", query(&[(Search::Nick, "alice")]), 200),
        ("reportAbuse", TEA, report("mimi://b.example/u/bob", Vec::new()).encode(), 201),
    ]
}

#[tokio::test]
async fn who_cannot_prove_to_be_a_provider_is_not_heard() {
    let world = World::of_three().await;
    let body = good_submit(&world).await;
    for peer in [world.nobody("c.example"), world.impostor("c.example"), world.self_signed("c.example")] {
        let refused = peer.tries_to_post("a.example", "submitMessage", TEA, &body).await.unwrap_err();
        let alert = refused.get_ref().and_then(|problem| problem.downcast_ref());
        assert!(matches!(alert, Some(rustls::Error::AlertReceived(_))), "{refused}");
    }
    assert_eq!(world.peer("c.example").posts("a.example", "submitMessage", TEA, &body).await.status, 200);
    world.alice.sees(&["cathy (c.example): Good."]).await;
}

#[tokio::test]
async fn who_claims_to_be_another_provider_is_refused() {
    let world = World::of_three().await;
    let body = good_submit(&world).await;
    for (from, status) in [
        ("From: mimi@b.example\r\n", 403),
        ("From: mimi@a.example\r\n", 403),
        ("From: mimi@x.c.example\r\n", 403),
        ("From: cathy@c.example\r\n", 400),
        ("From: c.example\r\n", 400),
        ("From: mimi@c.example\r\nFrom: mimi@c.example\r\n", 400),
        ("", 400),
    ] {
        let said = world.peer("c.example").with_from(from).posts("a.example", "submitMessage", TEA, &body).await;
        assert_eq!(said.status, status, "{from:?}");
    }
    assert_eq!(world.peer("c.example").posts("a.example", "submitMessage", TEA, &body).await.status, 200);
    world.bob.sees(&["cathy (c.example): Good."]).await;
}

#[tokio::test]
async fn what_is_for_another_provider_is_misdirected() {
    let world = World::of_three().await;
    let body = good_submit(&world).await;
    for host in ["b.example", "x.a.example", "127.0.0.1"] {
        let said = world.peer("c.example").with_host(host).posts("a.example", "submitMessage", TEA, &body).await;
        assert_eq!(said.status, 421, "{host}");
    }
    let with_port = world.peer("c.example").with_host("a.example:443");
    assert_eq!(with_port.posts("a.example", "submitMessage", TEA, &body).await.status, 200);
    world.bob.sees(&["cathy (c.example): Good."]).await;
}

#[tokio::test]
async fn a_body_that_breaks_off_or_goes_on_is_malformed_at_every_endpoint() {
    let world = World::of_three().await;
    let peer = world.peer("c.example");
    for (endpoint, about, body, good) in good_requests(&world).await {
        let longer = [&body[..], &[0]].concat();
        let cut = &body[..body.len() - 1];
        for (what, bad) in [("empty", &[][..]), ("short", cut), ("long", &longer), ("noise", &[0xff; 300])] {
            assert_eq!(peer.posts("a.example", endpoint, about, bad).await.status, 400, "{endpoint}, {what}");
        }
        assert_eq!(peer.posts("a.example", endpoint, about, &body).await.status, good, "{endpoint}");
    }
    world.alice.sees(&["cathy (c.example): Good."]).await;
    world.still_talk().await;
}

#[tokio::test]
async fn a_notify_that_breaks_off_or_goes_on_is_malformed_and_nothing_of_it_is_delivered() {
    let mut world = World::of_two().await;
    world.stop("b.example").await;
    world.alice.says("One.").await;
    let body = world.waiting_for_b().await;
    world.start("b.example").await;
    let hub = world.peer("a.example");
    let longer = [&body[..], &[0]].concat();
    for bad in [&[][..], &body[..body.len() - 1], &longer, &[0xff; 300]] {
        assert_eq!(hub.posts("b.example", "notify", TEA, bad).await.status, 400);
    }
    world.bob.sees(&["alice (a.example): One."]).await;
    world.still_talk().await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_at_every_endpoint() {
    let world = World::of_three().await;
    let peer = world.peer("c.example");
    for (endpoint, about, limit) in [
        ("submitMessage", TEA, 1 << 20),
        ("keyMaterial", ALICE, 1 << 20),
        ("groupInfo", TEA, 1 << 20),
        ("requestConsent", "a.example", 1 << 20),
        ("updateConsent", "a.example", 1 << 20),
        ("identifierQuery", "a.example", 1 << 20),
        ("reportAbuse", TEA, 1 << 20),
        ("update", TEA, 4 << 20),
        ("notify", "mimi://c.example/r/tea", 8 << 20),
    ] {
        assert_eq!(peer.posts("a.example", endpoint, about, &vec![0; limit + 1]).await.status, 413, "{endpoint}");
        assert_eq!(peer.posts("a.example", endpoint, about, &vec![0; limit]).await.status, 400, "{endpoint}");
    }
    world.still_talk().await;
}

#[tokio::test]
async fn an_unknown_value_of_an_enum_is_malformed() {
    let world = World::of_three().await;
    let peer = world.peer("c.example");
    let mut good = good_requests(&world).await;
    // The protocol stands first in these, and the operation in a ConsentEntry.
    for (at, value) in [(0, 2), (2, 0), (2, 2), (3, 0), (3, 2), (4, 4), (4, 255)] {
        let (endpoint, about, body, _) = &mut good[at];
        let was = std::mem::replace(&mut body[0], value);
        assert_eq!(peer.posts("a.example", endpoint, about, body).await.status, 400, "{endpoint} with {value}");
        body[0] = was;
    }
    // A ratchet tree of a kind that doesn't exist, at the end of an update.
    let update = &good[1].2;
    let Ok(HandshakeBundle::Commit { ratchet_tree: RatchetTreeOption::Full(tree), .. }) = UpdateRequest::decode(update)
    else {
        panic!("it is a commit with its tree")
    };
    let kind = update.len() - tree.as_bytes().len() - 1;
    for value in [0, 5] {
        let mut update = update.clone();
        assert_eq!(std::mem::replace(&mut update[kind], value), 1);
        assert_eq!(peer.posts("a.example", "update", TEA, &update).await.status, 400, "{value}");
    }
    for (endpoint, about, body, status) in good {
        assert_eq!(peer.posts("a.example", endpoint, about, &body).await.status, status, "{endpoint}");
    }
    world.still_talk().await;
}

#[tokio::test]
async fn a_handshake_in_ciphertext_and_a_message_in_plain_are_malformed() {
    let world = World::of_three().await;
    let (cathys, peer) = (world.turncoat(&world.cathy), world.peer("c.example"));
    // In a PrivateMessage the content type follows version, wire format, group_id and epoch.
    let message = cathys.encrypts(b"as if it were a commit").await;
    let group_id = message.group_id().unwrap().len();
    let mut handshake = message.as_bytes().to_vec();
    let content_type = 4 + if group_id < 64 { 1 } else { 2 } + group_id + 8;
    assert_eq!(handshake[content_type], 1);
    for kind in [2, 3] {
        handshake[content_type] = kind;
        let update = [&handshake[..], &[0]].concat();
        assert_eq!(peer.posts("a.example", "update", TEA, &update).await.status, 400);
        let submit = [&[1], &handshake[..], &[24], b"mimi://c.example/u/cathy"].concat();
        assert_eq!(peer.posts("a.example", "submitMessage", TEA, &submit).await.status, 400);
    }
    let commit = cathys.commits(Change::default(), false).await.commit;
    let submit = [&[1], &commit.as_bytes()[..], &[24], b"mimi://c.example/u/cathy"].concat();
    assert_eq!(peer.posts("a.example", "submitMessage", TEA, &submit).await.status, 400);
    let application = [&cathys.encrypts(b"as if it were a handshake").await.as_bytes()[..], &[0]].concat();
    assert_eq!(peer.posts("a.example", "update", TEA, &application).await.status, 400);
    world.still_talk().await;
}

#[tokio::test]
async fn a_room_that_is_not_here_is_not_found() {
    let world = World::of_three().await;
    let peer = world.peer("c.example");
    let cathys = world.turncoat(&world.cathy);
    let (submit, update) = (good_submit(&world).await, bundle(cathys.commits(Change::default(), false).await).encode());
    for room in ["mimi://a.example/r/coffee", "mimi://c.example/r/tea", "mimi://nowhere.example/r/tea"] {
        assert_eq!(peer.posts("a.example", "submitMessage", room, &submit).await.status, 404, "{room}");
        assert_eq!(peer.posts("a.example", "update", room, &update).await.status, 404, "{room}");
    }
    // b.example is in the room and is not its hub.
    assert_eq!(peer.posts("b.example", "submitMessage", TEA, &submit).await.status, 404);
    for not_a_room in [ALICE, "mimi://a.example", "tea"] {
        assert_eq!(peer.posts("a.example", "submitMessage", not_a_room, &submit).await.status, 400, "{not_a_room:?}");
    }
    assert_eq!(peer.posts("a.example", "submitMessage", TEA, &submit).await.status, 200);
    world.still_talk().await;
}

#[tokio::test]
async fn only_its_hub_speaks_for_a_room() {
    let mut world = World::of_three().await;
    world.stop("b.example").await;
    world.alice.says("One.").await;
    let body = world.waiting_for_b().await;
    world.start("b.example").await;
    assert_eq!(world.peer("c.example").posts("b.example", "notify", TEA, &body).await.status, 403);
    assert_eq!(world.peer("b.example").posts("b.example", "notify", TEA, &body).await.status, 403);
    // Under the name of a room of its own that Bob is not in, it is for nobody.
    let own = "mimi://c.example/r/tea";
    assert_eq!(world.peer("c.example").posts("b.example", "notify", own, &body).await.status, 404);
    world.bob.sees(&["alice (a.example): One."]).await;
    world.still_talk().await;
}

#[tokio::test]
async fn a_welcome_for_nobody_here_is_not_found() {
    let world = World::of_three().await;
    let cathys = world.turncoat(&world.cathy);
    let stranger = user("mimi://b.example/u/stranger");
    let change =
        Change { add: vec![key_package_of(&stranger)], update: vec![one_more(&stranger, 2)], ..Change::default() };
    let material = cathys.commits(change, false).await;
    let message = material.welcome.unwrap().to_message();
    let ratchet_tree = RatchetTreeOption::Full(material.tree);
    let fanout = Fanout::Welcome { message, ratchet_tree };
    let body = FanoutMessage { timestamp: world.clock.now(), fanout }.encode();
    let room = "mimi://c.example/r/coffee";
    assert_eq!(world.peer("c.example").posts("b.example", "notify", room, &body).await.status, 404);
    assert_eq!(world.desk("b.example").rooms().await.unwrap().len(), 1);
    world.still_talk().await;
}
