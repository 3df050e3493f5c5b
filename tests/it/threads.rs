//! What belongs together within a conversation.

use mimi_adapter::{NativeMessageId, Threads};

use crate::{changes::waiting, messenger::Mood, world::World};

#[tokio::test]
async fn a_thread_is_under_the_same_message_on_both_sides() {
    let world = World::of_three().await;
    let (alice, bob, cathy) = (&world.alice, &world.bob, &world.cathy);
    alice.says("Tea or coffee?").await;
    bob.reads("alice (a.example): Tea or coffee?").await;
    bob.under("Tea or coffee?").says("Tea.").await;
    alice.reads("bob (b.example) under \"Tea or coffee?\": Tea.").await;
    alice.under("Tea or coffee?").says("Which?").await;
    bob.reads("alice (a.example) under \"Tea or coffee?\": Which?").await;
    bob.under("Tea or coffee?").replies_to("Which?", "Green.").await;
    alice.reads("bob (b.example) under \"Tea or coffee?\" answers \"Which?\": Green.").await;
    bob.says("Back to work.").await;
    cathy
        .sees(&[
            "alice (a.example): Tea or coffee?",
            "bob (b.example) under \"Tea or coffee?\": Tea.",
            "alice (a.example) under \"Tea or coffee?\": Which?",
            "bob (b.example) under \"Tea or coffee?\" answers \"Which?\": Green.",
            "bob (b.example): Back to work.",
        ])
        .await;
    cathy.under("Tea or coffee?").shares("pot.jpg", b"a pot", None).await;
    alice.reads("cathy (c.example) under \"Tea or coffee?\" shares pot.jpg (image/jpeg)").await;
}

#[tokio::test]
async fn a_thread_whose_beginning_was_never_carried_begins_with_its_first_message() {
    let mut world = World::of_two().await;
    let in_thread = world.alice.under_id(NativeMessageId::new("before the gateway"));
    in_thread.says("As I said:").await;
    world.bob.reads("alice (a.example): As I said:").await;
    in_thread.says("Tea.").await;
    world.bob.reads("alice (a.example) under \"As I said:\": Tea.").await;
    for provider in ["a.example", "b.example"] {
        world.stop(provider).await;
        world.start(provider).await;
    }
    world.bob.under("As I said:").says("Yes.").await;
    world.alice.reads("bob (b.example) under \"something nobody has said here\": Yes.").await;
    in_thread.says("So?").await;
    world.bob.reads("alice (a.example) under \"As I said:\": So?").await;
}

#[tokio::test]
async fn a_first_message_that_is_refused_begins_no_thread() {
    let world = World::of_two().await;
    let in_thread = world.alice.under_id(NativeMessageId::new("before the gateway"));
    world.bob.messenger.when("Shh!", Mood::Never("no shouting here"));
    for text in ["Shh!", "Tea.", "Milk."] {
        in_thread.says(text).await;
    }
    world.bob.sees(&["alice (a.example): Tea.", "alice (a.example) under \"Tea.\": Milk."]).await;
}

#[tokio::test]
async fn who_answers_in_a_thread_at_once_is_in_it() {
    let world = World::of_two().await;
    // Bob's messenger shows it, and the gateway has not heard yet what it is called there.
    world.bob.messenger.when("Tea?", Mood::Late);
    world.alice.says("Tea?").await;
    world.bob.reads("alice (a.example): Tea?").await;
    let answer = world.bob.under("Tea?").posts("Yes.");
    world.bob.messenger.lets_pass("Tea?");
    world.bob.messenger.answered(answer).await.unwrap();
    world.alice.reads("bob (b.example) under \"Tea?\": Yes.").await;
}

#[tokio::test]
async fn where_there_are_no_threads_it_is_an_answer_to_what_was_said_last_in_it() {
    let mut world = World::of_two().await;
    world.stop("b.example").await;
    world.has_threads("b.example", Threads::AsReplies);
    world.start("b.example").await;
    world.alice.says("Tea or coffee?").await;
    let in_thread = world.alice.under("Tea or coffee?");
    for text in ["Tea.", "Green, I mean."] {
        in_thread.says(text).await;
    }
    in_thread.replies_to("Tea or coffee?", "Or cocoa.").await;
    world
        .bob
        .sees(&[
            "alice (a.example): Tea or coffee?",
            "alice (a.example) answers \"Tea or coffee?\": Tea.",
            "alice (a.example) answers \"Tea.\": Green, I mean.",
            "alice (a.example) answers \"Tea or coffee?\": Or cocoa.",
        ])
        .await;
}

#[tokio::test]
async fn an_edit_says_the_topic_of_what_it_changes() {
    let world = World::of_two().await;
    world.alice.says("Tea?").await;
    world.alice.under("Tea?").says("Grean.").await;
    world.bob.reads("alice (a.example) under \"Tea?\": Grean.").await;
    world.bob.messenger.when("Green.", Mood::Held);
    world.alice.edits("Grean.", "Green.").await;
    world.bob.messenger.is_offered("Green.").await;
    let root = world.turncoat(&world.alice).name_of(&world.alice, "Tea?").await;
    assert_eq!(waiting(&world, "b.example").await.topic_id, root.as_bytes());
    world.bob.messenger.lets_pass("Green.");
    world.bob.reads("alice (a.example) changes \"Grean.\": Green.").await;
}
