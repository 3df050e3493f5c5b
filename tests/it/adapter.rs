//! What the native side says to a delivery, and what becomes of it.

use mimi_adapter::{ConversationId, Core, NativeMessageId};
use mimi_gateway::inbox::AdapterDoor;

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

#[tokio::test]
async fn what_a_network_reports_later_is_told_to_the_author_and_nobody_else() {
    let world = World::of_two().await;
    world.alice.says("Hello?").await;
    world.bob.reads("alice (a.example): Hello?").await;
    let b = AdapterDoor { core: world.core("b.example").clone(), adapter: "loopback".into() };
    let id = world.bob.messenger.find(world.bob.conversation(), "Hello?");
    b.not_delivered(world.bob.conversation(), &id, "the mailbox is full").await.unwrap();
    let told = "the gateway to alice about \"Hello?\": b.example could not show your message to its people.";
    world.alice.reads(told).await;

    // Of ours, with the reason; and nothing of what was never carried.
    world.bob.says("Here I am.").await;
    world.alice.reads("bob (b.example): Here I am.").await;
    let id = world.bob.messenger.find(world.bob.conversation(), "Here I am.");
    b.not_delivered(world.bob.conversation(), &NativeMessageId::new("nothing"), "?").await.unwrap();
    b.not_delivered(world.bob.conversation(), &id, "cathy@b.example: the mailbox is full").await.unwrap();
    let told = "the gateway to bob about \"Here I am.\": Your message has not reached everybody: cathy@b.example: the mailbox is full.";
    world.bob.reads(told).await;
}

#[tokio::test]
async fn an_adapter_can_ask_who_of_its_people_is_in_a_room() {
    let world = World::of_two().await;
    let core = world.core("b.example").clone();
    let door = AdapterDoor { core, adapter: "loopback".into() };
    assert_eq!(door.members(world.bob.conversation()).await.unwrap(), [world.bob.uri().native()]);
    assert_eq!(door.members(&ConversationId::new("nowhere")).await.unwrap(), []);
}
