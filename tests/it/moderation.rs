//! Somebody is shown the door.

use mimi_gateway::admin::Operator;

use crate::world::{World, tea};

#[tokio::test]
async fn who_is_taken_out_here_is_out_of_the_room_and_is_told() {
    let world = World::of_three().await;
    world.alice.ousts(&world.bob, false).await;
    world
        .bob
        .reads(
            "the gateway to bob: mimi://a.example/u/alice has taken you out of the room. What you write from now on reaches people elsewhere only if the room lets you in again.",
        )
        .await;
    world.bob.is_with(&[]).await;
    world.cathy.is_with(&["alice (a.example)"]).await;
    world.alice.says("That was Bob.").await;
    world.cathy.reads("alice (a.example): That was Bob.").await;
    assert!(!world.bob.transcript().iter().any(|line| line.contains("That was Bob")));
}

#[tokio::test]
async fn who_is_banned_does_not_come_back() {
    let world = World::of_three().await;
    world.alice.ousts(&world.bob, true).await;
    world
        .bob
        .reads(
            "the gateway to bob: mimi://a.example/u/alice has banned you from the room: people elsewhere no longer read what you write here.",
        )
        .await;
    let _ = world.bob.tries_to_say("Let me in!").await;
    world.alice.is_with(&["cathy (c.example)"]).await;
    world.alice.says("He's gone.").await;
    world.cathy.sees(&["alice (a.example): He's gone."]).await;
    assert!(!world.alice.transcript().iter().any(|line| line.contains("Let me in")));
}

#[tokio::test]
async fn where_the_room_does_not_allow_it_the_ghost_comes_back() {
    let world = World::of_three().await;
    // She has founded the room, and he is nobody there.
    world.bob.ousts(&world.alice, false).await;
    let told = |line: &String| {
        line.starts_with("the gateway to bob: mimi://a.example/u/alice is still in the room and reads what is written here: the room does not allow it")
    };
    world.eventually("Bob reads that she is still there", async || world.bob.transcript().iter().any(told)).await;
    world.bob.is_with(&["alice (a.example)", "cathy (c.example)"]).await;
    world.still_talk().await;
    assert_eq!(world.desk("a.example").room(&tea()).await.unwrap().participants.len(), 3);
}

#[tokio::test]
async fn in_a_conversation_of_two_nobody_is_taken_out() {
    let world = World::of_two().await;
    let (alice, bob) = (world.alice.with(&world.bob), world.bob.with(&world.alice));
    alice.says("Tea?").await;
    bob.reads("alice (a.example): Tea?").await;
    alice.ousts(&world.bob, false).await;
    let told = |line: &String| line.contains("mimi://b.example/u/bob is still in the room");
    world.eventually("Alice reads that he is still there", async || alice.transcript().iter().any(told)).await;
    bob.says("Yes.").await;
    alice.reads("bob (b.example): Yes.").await;
}
