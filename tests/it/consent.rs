//! Nobody is reached who has not been asked.

use mimi_adapter::ConversationId;
use mimi_gateway::{
    admin::{ConsentScope, CreateRoom, Link, Operator},
    mimi::uri::RoomUri,
};

use crate::world::World;

/// Alice makes a room for a conversation, and Bob's gateway is linked to it.
async fn room_of(world: &World, conversation: &str) -> RoomUri {
    let (adapter, conversation) = ("loopback".to_owned(), ConversationId::new(conversation));
    let new = CreateRoom { adapter: adapter.clone(), conversation: conversation.clone(), name: None, room: None };
    let room = world.desk("a.example").create_room(new).await.unwrap();
    world.alice.at(conversation.as_str()).joins().await;
    world.desk("b.example").link(&room, Link { adapter, conversation }).await.unwrap();
    room
}

/// The invitations of a room, as Alice's admin sees them.
async fn invites(world: &World, room: &RoomUri) -> Vec<String> {
    let invites = world.desk("a.example").room(room).await.unwrap().invites;
    invites.into_iter().map(|invite| format!("{}: {}", invite.user, invite.state)).collect()
}

async fn consents(world: &World) -> Vec<(ConsentScope, String)> {
    world.desk("b.example").consents().await.unwrap().into_iter().map(|it| (it.scope, it.state)).collect()
}

#[tokio::test]
async fn who_is_not_let_in_asks_and_comes_when_the_admin_says_yes() {
    let world = World::of_strangers().await;
    let room = room_of(&world, "tea").await;
    world.bob.is_here();
    world.desk("a.example").invite(&room, world.bob.uri()).await.unwrap();
    let scope = ConsentScope {
        requester: world.alice.uri().clone(),
        target: world.bob.uri().clone(),
        room: Some(room.clone()),
    };
    world
        .eventually("the request is there", async || consents(&world).await == [(scope.clone(), "requested".into())])
        .await;
    assert_eq!(invites(&world, &room).await, ["mimi://b.example/u/bob: asked for consent"]);
    world.alice.says("Bob isn't here yet.").await;

    world.desk("b.example").grant(scope.clone()).await.unwrap();
    world.alice.is_with(&["bob (b.example)"]).await;
    assert_eq!(consents(&world).await, [(scope, "granted".into())]);
    world.alice.says("Now he is.").await;
    world.bob.sees(&["alice (a.example): Now he is."]).await;
    assert_eq!(invites(&world, &room).await, [""; 0]);
}

#[tokio::test]
async fn a_grant_for_one_room_is_none_for_another_and_a_revoked_one_is_none_at_all() {
    let world = World::of_strangers().await;
    let (tea, coffee, milk) =
        (room_of(&world, "tea").await, room_of(&world, "coffee").await, room_of(&world, "milk").await);
    let scope = |room: Option<&RoomUri>| ConsentScope {
        requester: world.alice.uri().clone(),
        target: world.bob.uri().clone(),
        room: room.cloned(),
    };
    world.desk("b.example").grant(scope(Some(&tea))).await.unwrap();
    world.desk("a.example").invite(&tea, world.bob.uri()).await.unwrap();
    world.alice.at("tea").is_with(&["bob (b.example)"]).await;
    world.desk("a.example").invite(&coffee, world.bob.uri()).await.unwrap();
    let asked = ["mimi://b.example/u/bob: asked for consent"];
    world.eventually("coffee is asked for", async || invites(&world, &coffee).await == asked).await;

    // A general grant lets Bob in everywhere, but where it was refused.
    world.desk("b.example").revoke(scope(Some(&milk))).await.unwrap();
    world.desk("b.example").grant(scope(None)).await.unwrap();
    world.alice.at("coffee").is_with(&["bob (b.example)"]).await;
    world.desk("a.example").invite(&milk, world.bob.uri()).await.unwrap();
    world.eventually("milk is asked for", async || invites(&world, &milk).await == asked).await;
    world.alice.at("milk").is_with(&[]).await;

    // Taken back, it counts for what comes, and Bob stays where he is.
    world.desk("b.example").revoke(scope(None)).await.unwrap();
    let sugar = room_of(&world, "sugar").await;
    world.desk("a.example").invite(&sugar, world.bob.uri()).await.unwrap();
    world.eventually("sugar is asked for", async || invites(&world, &sugar).await == asked).await;
    world.alice.at("coffee").says("Still there?").await;
    world.bob.at("coffee").reads("alice (a.example): Still there?").await;
}

#[tokio::test]
async fn a_request_is_noted_once_and_a_refusal_is_silence() {
    let world = World::of_strangers().await;
    let room = room_of(&world, "tea").await;
    for _ in 0..3 {
        world.desk("a.example").invite(&room, world.bob.uri()).await.unwrap();
        world
            .eventually("it is asked for", async || {
                invites(&world, &room).await == ["mimi://b.example/u/bob: asked for consent"]
            })
            .await;
    }
    let [(scope, _)] = &consents(&world).await[..] else { panic!("one request was noted") };
    world.desk("b.example").revoke(scope.clone()).await.unwrap();
    assert_eq!(consents(&world).await, [(scope.clone(), "revoked".into())]);
    assert_eq!(world.crossed("b.example", "a.example", "updateConsent"), [""; 0]);
    assert_eq!(world.desk("b.example").status().await.unwrap().outbox.queued, 0);
}

#[tokio::test]
async fn a_user_who_does_not_exist_looks_like_one_who_does_not_want_to() {
    let world = World::of_strangers().await;
    let room = room_of(&world, "tea").await;
    let nobody = "mimi://b.example/u/no@body".parse().unwrap();
    world.desk("a.example").invite(&room, &nobody).await.unwrap();
    world
        .eventually("it is asked for", async || {
            invites(&world, &room).await == ["mimi://b.example/u/no@body: asked for consent"]
        })
        .await;
}
