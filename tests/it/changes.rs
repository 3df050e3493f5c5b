//! What people do to messages, and what it is about on the other side.

use mimi_adapter::NativeMessageId;
use mimi_gateway::{
    core::Fault,
    mimi::content::MimiContent,
    outbox::{Destination, Payload},
};

use crate::{
    messenger::Mood,
    world::{World, tea},
};

#[tokio::test]
async fn replies_edits_deletions_and_reactions_are_about_the_right_message_on_both_sides() {
    let world = World::of_two().await;
    let (alice, bob) = (&world.alice, &world.bob);
    alice.says("Is the tee ready?").await;
    bob.reads("alice (a.example): Is the tee ready?").await;
    bob.replies_to("Is the tee ready?", "Five minutes.").await;
    alice.reads("bob (b.example) answers \"Is the tee ready?\": Five minutes.").await;
    alice.edits("Is the tee ready?", "Is the tea ready?").await;
    bob.reads("alice (a.example) changes \"Is the tee ready?\": Is the tea ready?").await;
    alice.reacts_to("Five minutes.", "👍").await;
    bob.reads("alice (a.example) reacts to \"Five minutes.\": 👍").await;
    bob.reacts_to("Is the tee ready?", "🫖").await;
    alice.reads("bob (b.example) reacts to \"Is the tee ready?\": 🫖").await;
    alice.unlikes("👍").await;
    bob.reads("alice (a.example) takes back 👍").await;
    bob.unlikes("🫖").await;
    alice.reads("bob (b.example) takes back 🫖").await;
    bob.edits("Five minutes.", "Ten minutes.").await;
    alice.reads("bob (b.example) changes \"Five minutes.\": Ten minutes.").await;
    bob.deletes("Five minutes.").await;
    alice.reads("bob (b.example) takes back \"Five minutes.\"").await;
    alice.replies_to("Is the tee ready?", "Well?").await;
    bob.reads("alice (a.example) answers \"Is the tee ready?\": Well?").await;
    alice.deletes("Is the tee ready?").await;
    let at_bob = [
        "alice (a.example): Is the tee ready?",
        "bob answers \"Is the tee ready?\": Five minutes.",
        "alice (a.example) changes \"Is the tee ready?\": Is the tea ready?",
        "alice (a.example) reacts to \"Five minutes.\": 👍",
        "bob reacts to \"Is the tee ready?\": 🫖",
        "alice (a.example) takes back 👍",
        "bob takes back 🫖",
        "bob changes \"Five minutes.\": Ten minutes.",
        "bob takes back \"Five minutes.\"",
        "alice (a.example) answers \"Is the tee ready?\": Well?",
        "alice (a.example) takes back \"Is the tee ready?\"",
    ];
    let elsewhere = |line: &str| match line.strip_prefix("alice (a.example)") {
        Some(rest) => format!("alice{rest}"),
        None => format!("bob (b.example){}", line.strip_prefix("bob").unwrap()),
    };
    let at_alice: Vec<_> = at_bob.iter().map(|line| elsewhere(line)).collect();
    bob.sees(&at_bob).await;
    alice.sees(&at_alice.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn what_is_said_at_once_about_a_message_just_sent_finds_it() {
    let world = World::of_two().await;
    // Nobody waits for anything, so all of it is on its way at the same time.
    let said = world.alice.posts("Is the tea ready?");
    world.alice.replies_to("Is the tea ready?", "Anybody?").await;
    world.alice.edits("Anybody?", "Bob?").await;
    world.alice.reacts_to("Anybody?", "🫖").await;
    world.alice.messenger.answered(said).await.unwrap();
    world
        .bob
        .sees(&[
            "alice (a.example): Is the tea ready?",
            "alice (a.example) answers \"Is the tea ready?\": Anybody?",
            "alice (a.example) changes \"Anybody?\": Bob?",
            "alice (a.example) reacts to \"Anybody?\": 🫖",
        ])
        .await;
}

#[tokio::test]
async fn only_the_author_changes_a_message() {
    let world = World::of_two().await;
    let ben = world.person("ben", "b.example");
    ben.joins().await;
    world.alice.says("Tea.").await;
    world.bob.reads("alice (a.example): Tea.").await;
    world.bob.says("Coffee.").await;
    world.alice.reads("bob (b.example): Coffee.").await;
    let words = Err("only the author of a message can change it".to_owned());
    assert_eq!(world.bob.tries_to_edit("Tea.", "Coffee!").await, words);
    assert_eq!(world.bob.tries_to_delete("Tea.").await, words);
    assert_eq!(ben.tries_to_edit("Coffee.", "Milk.").await, words);
    assert_eq!(world.alice.tries_to_delete("Coffee.").await, words);
    world.bob.says("Well.").await;
    world
        .alice
        .sees(&["alice: Tea.", "bob (b.example): Coffee.", "alice takes back \"Coffee.\"", "bob (b.example): Well."])
        .await;
}

#[tokio::test]
async fn a_reply_to_what_was_never_carried_is_a_message_and_the_rest_is_refused() {
    let world = World::of_two().await;
    let before = || NativeMessageId::new("before the gateway");
    for (speaker, name, reader) in
        [(&world.alice, "alice (a.example)", &world.bob), (&world.bob, "bob (b.example)", &world.alice)]
    {
        speaker.replies_to_id(before(), "Indeed.").await;
        reader.reads(&format!("{name}: Indeed.")).await;
        for refusal in [
            speaker.tries_to_edit_id(before(), "Sooner.").await,
            speaker.tries_to_delete_id(before()).await,
            speaker.tries_to_react_to_id(before(), "👍").await,
        ] {
            assert!(refusal.unwrap_err().contains("never carried"));
        }
        speaker.says("And now?").await;
        reader.reads(&format!("{name}: And now?")).await;
    }
    assert_eq!(world.bob.transcript().iter().filter(|line| line.starts_with("alice")).count(), 2);
}

#[tokio::test]
async fn a_reply_names_the_newest_version_and_is_shown_at_the_first() {
    let world = World::of_two().await;
    let (alice, bob) = (&world.alice, &world.bob);
    alice.says("Is the tee ready?").await;
    bob.reads("alice (a.example): Is the tee ready?").await;
    alice.edits("Is the tee ready?", "Is the tea ready?").await;
    bob.reads("alice (a.example) changes \"Is the tee ready?\": Is the tea ready?").await;
    bob.replies_to("Is the tee ready?", "Yes.").await;
    bob.reacts_to("Is the tee ready?", "🫖").await;
    alice.reads("bob (b.example) answers \"Is the tee ready?\": Yes.").await;
    alice.reads("bob (b.example) reacts to \"Is the tee ready?\": 🫖").await;
    // And on the wire it is the edit that was answered.
    alice.messenger.when("Still?", Mood::Held);
    bob.replies_to("Is the tee ready?", "Still?").await;
    alice.messenger.is_offered("Still?").await;
    let answered = waiting(&world, "a.example").await.in_reply_to;
    let first = world.turncoat(alice).name_of(alice, "Is the tee ready?").await;
    assert!(answered.is_some() && answered != Some(first), "it names the first version");
    alice.messenger.lets_pass("Still?");
    alice.reads("bob (b.example) answers \"Is the tee ready?\": Still?").await;
    // What changes it later changes the first all the same.
    alice.edits("Is the tee ready?", "Is the tea cold?").await;
    bob.reads("alice (a.example) changes \"Is the tee ready?\": Is the tea cold?").await;
    alice.deletes("Is the tee ready?").await;
    bob.reads("alice (a.example) takes back \"Is the tee ready?\"").await;
}

/// The message that waits to be shown at a provider.
pub async fn waiting(world: &World, provider: &str) -> MimiContent {
    let head = world.core(provider).write(move |_, tx| {
        Box::pin(async move {
            let queue = Destination::Portal(tea()).to_string();
            Ok::<_, Fault>(tx.outbox_head(&queue, 1).await?.pop())
        })
    });
    let row = head.await.unwrap().unwrap();
    let Ok(Payload::Content { content, .. }) = Payload::decode(&row.payload) else { panic!("it is a message") };
    MimiContent::decode(&content).unwrap()
}
