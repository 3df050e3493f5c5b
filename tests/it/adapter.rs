//! What the native side says to a delivery, and what becomes of it.

use crate::{messenger::Mood, world::World};

#[tokio::test]
async fn what_the_network_will_never_take_is_not_tried_again_and_holds_nothing_up() {
    let world = World::of_two().await;
    world.bob.messenger.when("Shh!", Mood::Never("no shouting here"));
    for text in ["One.", "Shh!", "Two."] {
        world.alice.says(text).await;
    }
    world.bob.sees(&["alice (a.example): One.", "alice (a.example): Two."]).await;
    // What it was about can't be found there either, and the rest can.
    world.alice.replies_to("Shh!", "Three.").await;
    world.bob.reads("alice (a.example): Three.").await;
    assert_eq!(world.bob.messenger.attempts("Shh!"), 1);
}

#[tokio::test]
async fn what_the_network_takes_only_later_is_tried_again_and_nothing_overtakes_it() {
    let world = World::of_two().await;
    world.bob.messenger.when("Two.", Mood::NotNow(2));
    for text in ["One.", "Two.", "Three."] {
        world.alice.says(text).await;
    }
    world.bob.sees(&["alice (a.example): One.", "alice (a.example): Two.", "alice (a.example): Three."]).await;
    assert_eq!((world.bob.messenger.attempts("Two."), world.bob.messenger.attempts("Three.")), (3, 1));
}

#[tokio::test]
async fn a_network_that_is_slow_in_one_room_holds_up_no_other() {
    let world = World::of_two().await;
    let (psst, alices) = (world.bob.with(&world.alice), world.alice.with(&world.bob));
    psst.says("Psst.").await;
    alices.reads("bob (b.example): Psst.").await;
    world.bob.messenger.when("Slow.", Mood::Held);
    world.alice.says("Slow.").await;
    world.bob.messenger.is_offered("Slow.").await;
    alices.says("What?").await;
    psst.reads("alice (a.example): What?").await;
    assert_eq!(world.bob.transcript().len(), 0);
    world.bob.messenger.lets_pass("Slow.");
    world.bob.reads("alice (a.example): Slow.").await;
}

#[tokio::test]
async fn a_confirmation_that_is_lost_makes_the_message_come_again_under_the_same_key() {
    let mut world = World::of_two().await;
    world.bob.messenger.when("Once.", Mood::Mute);
    world.alice.says("Once.").await;
    // It stands in the conversation, and the gateway doesn't know.
    world.bob.reads("alice (a.example): Once.").await;
    world.kill("b.example").await;
    world.start("b.example").await;
    world.alice.says("Twice?").await;
    world.bob.sees(&["alice (a.example): Once.", "alice (a.example): Twice?"]).await;
    assert_eq!(world.bob.messenger.attempts("Once."), 2);
    // Its native name is known all the same.
    world.alice.replies_to("Once.", "No, once.").await;
    world.bob.reads("alice (a.example) answers \"Once.\": No, once.").await;
}

#[tokio::test]
async fn a_stop_settles_what_is_in_hand() {
    let mut world = World::of_two().await;
    world.bob.messenger.when("In hand.", Mood::Held);
    world.alice.says("In hand.").await;
    world.alice.says("After it.").await;
    world.bob.messenger.is_offered("In hand.").await;
    let messenger = world.bob.messenger.clone();
    world.lifecycle("b.example").stop().ask();
    tokio::task::yield_now().await;
    messenger.lets_pass("In hand.");
    world.stop("b.example").await;
    assert_eq!(world.bob.transcript(), ["alice (a.example): In hand."]);
    world.start("b.example").await;
    world.bob.sees(&["alice (a.example): In hand.", "alice (a.example): After it."]).await;
    assert_eq!((messenger.attempts("In hand."), messenger.attempts("After it.")), (1, 1));
}
