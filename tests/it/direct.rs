//! Two people alone.

use mimi_gateway::admin::{CreateDirect, Operator};

use crate::world::World;

#[tokio::test]
async fn bob_writes_to_alices_ghost_and_they_have_one_room_for_the_two_of_them() {
    let world = World::of_two().await;
    let (alice, bob) = (world.alice.with(&world.bob), world.bob.with(&world.alice));
    bob.says("A word in private?").await;
    bob.says("If you have a moment.").await;
    alice.reads("bob (b.example): If you have a moment.").await;
    alice.says("Go on.").await;
    bob.reads("alice (a.example): Go on.").await;
    bob.replies_to("Go on.", "The tea is cold.").await;
    alice
        .sees(&[
            "bob (b.example): A word in private?",
            "bob (b.example): If you have a moment.",
            "alice: Go on.",
            "bob (b.example) answers \"Go on.\": The tea is cold.",
        ])
        .await;
    assert_eq!((world.alice.transcript().len(), world.bob.transcript().len()), (0, 0));
    for provider in ["a.example", "b.example"] {
        let rooms = world.desk(provider).rooms().await.unwrap();
        let direct: Vec<_> = rooms.iter().filter(|room| room.hub.as_str() == "b.example").collect();
        assert_eq!((rooms.len(), direct.len(), direct[0].participants), (2, 1, 2));
    }
    // Whoever asks for it by other ways is given the room there is.
    let room = world.desk("b.example").rooms().await.unwrap().pop().unwrap().room;
    let (user, with) = (world.bob.uri().clone(), world.alice.uri().clone());
    assert_eq!(world.desk("b.example").direct(CreateDirect { user, with }).await.unwrap(), room);
    let (user, with) = (world.alice.uri().clone(), world.bob.uri().clone());
    assert_eq!(world.desk("a.example").direct(CreateDirect { user, with }).await.unwrap(), room);
}

#[tokio::test]
async fn a_direct_conversation_survives_restarts_of_both_sides() {
    let mut world = World::of_two().await;
    let (alice, bob) = (world.alice.with(&world.bob), world.bob.with(&world.alice));
    bob.says("One.").await;
    alice.reads("bob (b.example): One.").await;
    for provider in ["a.example", "b.example"] {
        world.stop(provider).await;
        world.start(provider).await;
    }
    alice.says("Two.").await;
    bob.says("Three.").await;
    bob.reads("alice (a.example): Two.").await;
    alice.reads("bob (b.example): Three.").await;
    assert_eq!((alice.transcript().len(), bob.transcript().len()), (3, 3));
}

#[tokio::test]
async fn what_is_written_before_the_other_side_is_there_waits_for_it() {
    let mut world = World::of_two().await;
    let (alice, bob) = (world.alice.with(&world.bob), world.bob.with(&world.alice));
    world.stop("a.example").await;
    bob.says("Are you there?").await;
    bob.says("Never mind.").await;
    world.start("a.example").await;
    alice.sees(&["bob (b.example): Are you there?", "bob (b.example): Never mind."]).await;
}

#[tokio::test]
async fn two_who_write_to_each_other_at_the_same_moment_read_each_other() {
    let world = World::of_two().await;
    let (alice, bob) = (world.alice.with(&world.bob), world.bob.with(&world.alice));
    alice.posts("Bob?");
    bob.posts("Alice?");
    alice.reads("bob (b.example): Alice?").await;
    bob.reads("alice (a.example): Bob?").await;
    alice.says("You first.").await;
    bob.reads("alice (a.example): You first.").await;
    bob.says("No, you.").await;
    alice.reads("bob (b.example): No, you.").await;
    assert_eq!((alice.transcript().len(), bob.transcript().len()), (4, 4));
}

#[tokio::test]
async fn nobody_else_speaks_in_a_conversation_of_two() {
    let world = World::of_two().await;
    let (alice, bob) = (world.alice.with(&world.bob), world.bob.with(&world.alice));
    bob.says("Just us.").await;
    alice.reads("bob (b.example): Just us.").await;
    // Ben has got hold of the conversation's name.
    let ben = world.person("ben", "b.example").at(bob.conversation().as_str());
    assert_eq!(ben.tries_to_say("Hi!").await.unwrap_err(), "this is a conversation between two others");
    let local = world.alice.with(&world.person("alan", "a.example"));
    assert!(local.tries_to_say("Hi!").await.unwrap_err().contains("write to each other directly"));
    alice.says("Just us.").await;
    bob.reads("alice (a.example): Just us.").await;
    assert_eq!(alice.transcript().len(), 2);
}

#[tokio::test]
async fn an_admin_brings_two_people_together() {
    let world = World::of_two().await;
    let (alice, bob) = (world.alice.with(&world.bob), world.bob.with(&world.alice));
    let (user, with) = (world.alice.uri().clone(), world.bob.uri().clone());
    let room = world.desk("a.example").direct(CreateDirect { user, with }).await.unwrap();
    alice.is_with(&["bob (b.example)"]).await;
    bob.is_with(&["alice (a.example)"]).await;
    bob.says("We're to talk, I hear.").await;
    alice.reads("bob (b.example): We're to talk, I hear.").await;
    alice.says("So we are.").await;
    bob.reads("alice (a.example): So we are.").await;
    assert_eq!(world.desk("b.example").room(&room).await.unwrap().participants.len(), 2);
}

#[tokio::test]
async fn nobody_is_invited_to_a_conversation_of_two() {
    let world = World::of_three().await;
    let (alice, bob) = (world.alice.with(&world.bob), world.bob.with(&world.alice));
    bob.says("Just us.").await;
    alice.reads("bob (b.example): Just us.").await;
    let rooms = world.desk("b.example").rooms().await.unwrap();
    let direct = rooms.into_iter().find(|room| room.hub.as_str() == "b.example").unwrap().room;
    let refusal = world.desk("b.example").invite(&direct, world.cathy.uri()).await.unwrap_err();
    assert_eq!(refusal.message, "a conversation of two has no place for anybody else");
    alice.says("Just us.").await;
    bob.reads("alice (a.example): Just us.").await;
    bob.says("Good.").await;
    alice.reads("bob (b.example): Good.").await;
}

#[tokio::test]
async fn what_is_written_to_somebody_who_has_not_agreed_to_it_waits_for_their_word() {
    let world = World::of_strangers().await;
    let (alice, bob) = (world.alice.with(&world.bob), world.bob.with(&world.alice));
    bob.says("You don't know me.").await;
    let desk = world.desk("a.example");
    world.eventually("it is asked for", async || desk.consents().await.unwrap().len() == 1).await;
    assert_eq!(alice.transcript(), [""; 0]);
    let request = desk.consents().await.unwrap().remove(0);
    desk.grant(request.scope).await.unwrap();
    alice.sees(&["bob (b.example): You don't know me."]).await;
    alice.says("But now I do.").await;
    bob.reads("alice (a.example): But now I do.").await;
}
