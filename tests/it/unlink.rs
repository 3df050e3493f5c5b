//! A link is taken away, and that is taken back.

use std::time::Duration;

use mimi_gateway::{
    admin::{Operator, Unlink},
    janitor::clear_away,
};

use crate::world::{World, tea};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn an_unlink_can_be_taken_back_with_what_came_meanwhile() {
    let mut world = World::of_two().await;
    world.alice.says("One.").await;
    world.bob.reads("alice (a.example): One.").await;
    world.desk("b.example").unlink(&tea(), Unlink::default()).await.unwrap();
    assert_eq!(world.bob.tries_to_say("Hello?").await.unwrap_err(), "this conversation is not linked to a MIMI room");
    world.alice.says("Two.").await;
    // Nobody is left in the dark.
    world
        .alice
        .reads("the gateway to alice about \"Two.\": b.example could not show your message to its people.")
        .await;
    world.alice.is_with(&["bob (b.example)"]).await;
    assert_eq!(world.desk("b.example").room(&tea()).await.unwrap().summary.state, "unlinked");
    world.forgets_tea("b.example");
    world.stop("b.example").await;
    world.start("b.example").await;
    world.alice.says("Three.").await;
    world
        .alice
        .reads("the gateway to alice about \"Three.\": b.example could not show your message to its people.")
        .await;

    world.clock.moves(6 * DAY);
    clear_away(world.core("b.example")).await.unwrap();
    world.desk("b.example").relink(&tea()).await.unwrap();
    world.bob.reads("alice (a.example): Three.").await;
    let heard: Vec<_> = world.bob.transcript().into_iter().filter(|line| line.starts_with("alice")).collect();
    assert_eq!(heard, ["alice (a.example): One.", "alice (a.example): Two.", "alice (a.example): Three."]);
    world.bob.is_with(&["alice (a.example)"]).await;
    // Names from before the unlink are still known.
    world.bob.replies_to("One.", "And I'm back.").await;
    world.alice.reads("bob (b.example) answers \"One.\": And I'm back.").await;
    assert_eq!(world.desk("b.example").outbox(None).await.unwrap().dead, []);
}

#[tokio::test]
async fn after_a_week_an_unlink_is_final() {
    let world = World::of_two().await;
    world.desk("b.example").unlink(&tea(), Unlink::default()).await.unwrap();
    world.clock.moves(6 * DAY);
    clear_away(world.core("b.example")).await.unwrap();
    world.alice.is_with(&["bob (b.example)"]).await;
    world.clock.moves(DAY);
    clear_away(world.core("b.example")).await.unwrap();
    world.alice.is_with(&[]).await;
    let refusal = world.desk("b.example").relink(&tea()).await.unwrap_err();
    assert!(refusal.message.contains("was not unlinked within the last week"), "{refusal}");
}
