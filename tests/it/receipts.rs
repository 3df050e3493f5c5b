//! Who has got and read what.

use mimi_gateway::mimi::component;

use crate::world::World;

#[tokio::test]
async fn what_bob_has_got_and_read_alice_sees_and_nobody_reads_it_as_a_message() {
    let world = World::of_three().await;
    for text in ["One.", "Two.", "Three."] {
        world.alice.says(text).await;
        world.bob.reads(&format!("alice (a.example): {text}")).await;
    }
    world.bob.got_up_to("Two.");
    world.alice.sees_receipts(&["bob (b.example) has got \"Two.\""]).await;
    world.bob.reads_up_to("Three.");
    world.alice.sees_receipts(&["bob (b.example) has got \"Two.\"", "bob (b.example) has read \"Three.\""]).await;
    world.cathy.reads("alice (a.example): Three.").await;
    world.cathy.reads_up_to("One.");
    world
        .alice
        .sees_receipts(&[
            "bob (b.example) has got \"Two.\"",
            "bob (b.example) has read \"Three.\"",
            "cathy (c.example) has read \"One.\"",
        ])
        .await;
    world.still_talk().await;
    assert_eq!(world.bob.transcript().len(), 5);
}

#[tokio::test]
async fn nobodys_reading_goes_backward_and_what_is_read_was_delivered() {
    let world = World::of_two().await;
    for text in ["One.", "Two."] {
        world.alice.says(text).await;
        world.bob.reads(&format!("alice (a.example): {text}")).await;
    }
    world.bob.reads_up_to("Two.");
    world.alice.sees_receipts(&["bob (b.example) has read \"Two.\""]).await;
    world.bob.reads_up_to("One.");
    world.bob.got_up_to("Two.");
    world.alice.says("Three.").await;
    world.bob.reads("alice (a.example): Three.").await;
    world.bob.reads_up_to("Three.");
    world.alice.sees_receipts(&["bob (b.example) has read \"Two.\"", "bob (b.example) has read \"Three.\""]).await;
}

#[tokio::test]
async fn many_messages_are_one_report() {
    let world = World::of_two().await;
    let texts: Vec<_> = (1..=40).map(|n| format!("Cup {n}.")).collect();
    for text in &texts {
        world.alice.posts(text);
    }
    world.bob.reads("alice (a.example): Cup 40.").await;
    let before = world.crossed("b.example", "a.example", "submitMessage").len();
    for text in &texts {
        world.bob.reads_up_to(text);
    }
    world.alice.sees_receipts(&["bob (b.example) has read \"Cup 40.\""]).await;
    assert_eq!(world.crossed("b.example", "a.example", "submitMessage").len(), before + 1);
}

#[tokio::test]
async fn who_has_read_before_a_restart_is_not_forgotten_by_the_next_receipt() {
    let mut world = World::of_two().await;
    world.alice.says("One.").await;
    world.bob.reads("alice (a.example): One.").await;
    world.stop("b.example").await;
    world.start("b.example").await;
    world.bob.reads_up_to("One.");
    world.alice.sees_receipts(&["bob (b.example) has read \"One.\""]).await;
}

#[tokio::test]
async fn a_receipt_waits_for_messages_and_not_they_for_it() {
    let mut world = World::of_two().await;
    world.alice.says("One.").await;
    world.bob.reads("alice (a.example): One.").await;
    world.stop("a.example").await;
    world.bob.says("Two.").await;
    world.bob.reads_up_to("One.");
    world.start("a.example").await;
    world.alice.reads("bob (b.example): Two.").await;
    world.alice.sees_receipts(&["bob (b.example) has read \"One.\""]).await;
}

#[tokio::test]
async fn a_room_that_forbids_it_hears_nothing_of_who_has_read_what() {
    let world = World::of_two().await;
    // Delivery notifications are forbidden, read receipts are optional.
    world.turncoat(&world.alice).sets_policy(component::STATUS_NOTIFICATION_POLICY, &[2, 0]).await;
    world.alice.says("One.").await;
    world.bob.reads("alice (a.example): One.").await;
    world.bob.got_up_to("One.");
    world.alice.says("Two.").await;
    world.bob.reads("alice (a.example): Two.").await;
    world.bob.reads_up_to("Two.");
    world.alice.sees_receipts(&["bob (b.example) has read \"Two.\""]).await;
}
