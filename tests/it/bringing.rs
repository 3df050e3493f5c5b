//! Somebody brings somebody of a third provider into a room: the KeyPackage comes by way of the room's hub.

use mimi_gateway::{
    admin::Operator,
    mimi::{
        tls::Tls,
        uri::UserUri,
        wire::{ClientMaterial, KeyMaterialResponse, KeyPackage},
    },
    mls::Change,
};

use crate::{
    bad_asking::key_material_request,
    peer::Said,
    turncoat::{bundle, one_more},
    world::{World, tea},
};

const TEA: &str = "mimi://a.example/r/tea";
const BEN: &str = "mimi://b.example/u/ben";

fn user(uri: &str) -> UserUri {
    uri.parse().unwrap()
}

/// noConsent, and no clients.
fn no_consent(target: &str) -> Said {
    Said::ok([&[1, 5, target.len() as u8], target.as_bytes(), &[0]].concat())
}

#[tokio::test]
async fn a_follower_brings_somebody_of_a_third_provider() {
    let world = World::of_three().await;
    world.desk("b.example").invite(&tea(), &user("mimi://c.example/u/carl")).await.unwrap();
    world.alice.is_with(&["bob (b.example)", "carl (c.example)", "cathy (c.example)"]).await;
    world.bob.is_with(&["alice (a.example)", "carl (c.example)", "cathy (c.example)"]).await;
    assert_eq!(world.crossed("b.example", "a.example", "keyMaterial").len(), 1);
    assert_eq!(world.crossed("a.example", "c.example", "keyMaterial").len(), 1);
    assert_eq!(world.crossed("b.example", "c.example", "keyMaterial"), [""; 0]);
    let carl = world.person("carl", "c.example");
    carl.is_here();
    carl.says("Hello.").await;
    world.bob.reads("carl (c.example): Hello.").await;
    // And somebody of the hub's own.
    world.desk("b.example").invite(&tea(), &user("mimi://a.example/u/alan")).await.unwrap();
    world.bob.is_with(&["alan (a.example)", "alice (a.example)", "carl (c.example)", "cathy (c.example)"]).await;
    world.still_talk().await;
    // One of Bob's own comes by the conversation.
    let error = world.desk("b.example").invite(&tea(), &user(BEN)).await.unwrap_err();
    assert_eq!(error.message, "one of ours comes into another provider's room by its conversation");
}

#[tokio::test]
async fn only_participants_ask_through_a_hub_and_only_for_its_rooms() {
    let world = World::of_three().await;
    let peer = world.peer("c.example");
    for (what, room, target) in [
        ("no room", None, BEN),
        ("no such room", Some("mimi://a.example/r/coffee"), BEN),
        ("another hub's room", Some("mimi://b.example/r/tea"), BEN),
        ("nobody is there", Some(TEA), "mimi://nowhere.example/u/nobody"),
    ] {
        let request = key_material_request(target, |tbs| tbs.room_id = room.map(|room| room.parse().unwrap()));
        let said = peer.posts("a.example", "keyMaterial", target, &request.encode()).await;
        if target == BEN {
            assert_eq!(said, no_consent(BEN), "{what}");
        } else {
            assert_eq!(said.status, 503, "{what}");
        }
    }
    // Carl, who is not in the room.
    let request = key_material_request(BEN, |tbs| {
        tbs.room_id = Some(tea());
        tbs.requesting_user = user("mimi://c.example/u/carl");
        tbs.requester_credential = mimi_gateway::mimi::wire::Credential::basic("mimi://c.example/d/carl/1");
    });
    assert_eq!(peer.posts("a.example", "keyMaterial", BEN, &request.encode()).await, no_consent(BEN));
    // Forged, and in another provider's name.
    let good = key_material_request(BEN, |tbs| tbs.room_id = Some(tea()));
    let mut forged = good.clone();
    forged.signature = vec![7; 64].into();
    assert_eq!(peer.posts("a.example", "keyMaterial", BEN, &forged.encode()).await.status, 403);
    assert_eq!(world.peer("b.example").posts("a.example", "keyMaterial", BEN, &good.encode()).await.status, 403);
    assert_eq!(peer.posts("a.example", "keyMaterial", BEN, &good.encode()).await.status, 200);
    world.still_talk().await;
}

#[tokio::test]
async fn a_key_package_is_used_in_a_room_only_if_it_came_through_its_hub() {
    let world = World::of_three().await;
    let (cathys, peer) = (world.turncoat(&world.cathy), world.peer("c.example"));
    let of = |said: Said| -> KeyPackage {
        let mut response = KeyMaterialResponse::decode(&said.body).unwrap();
        let ClientMaterial::Success(key_package) = response.clients.remove(0).material else { panic!("it is there") };
        key_package
    };
    // Ben's own provider gives it to anybody who asks with consent.
    let direct = key_material_request(BEN, |_| {});
    let direct = of(peer.posts("b.example", "keyMaterial", BEN, &direct.encode()).await);
    let routed = key_material_request(BEN, |tbs| tbs.room_id = Some(tea()));
    let routed = of(peer.posts("a.example", "keyMaterial", BEN, &routed.encode()).await);
    for (key_package, outcome) in [(direct, 2), (routed, 0)] {
        let change = Change { add: vec![key_package], update: vec![one_more(&user(BEN), 2)], ..Change::default() };
        let update = bundle(cathys.commits(change, outcome == 0).await).encode();
        let said = peer.posts("a.example", "update", TEA, &update).await;
        assert_eq!((said.status, said.body[0]), (200, outcome));
    }
    world.alice.is_with(&["ben (b.example)", "bob (b.example)", "cathy (c.example)"]).await;
    world.still_talk().await;
}
