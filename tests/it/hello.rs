//! People talk, and everybody reads who said what.

use crate::world::World;

#[tokio::test]
async fn alice_and_bob_say_hello() {
    let world = World::of_two().await;
    world.alice.says("Is the tea ready?").await;
    world.bob.reads("alice (a.example): Is the tea ready?").await;
    world.bob.says("Five more minutes.").await;
    world.alice.sees(&["alice: Is the tea ready?", "bob (b.example): Five more minutes."]).await;
    world.bob.sees(&["alice (a.example): Is the tea ready?", "bob: Five more minutes."]).await;
}

#[tokio::test]
async fn several_people_of_each_side_speak_under_their_own_names() {
    let world = World::of_two().await;
    let (alan, ben) = (world.person("alan", "a.example"), world.person("ben", "b.example"));
    alan.joins().await;
    ben.joins().await;
    world.bob.is_with(&["alan (a.example)", "alice (a.example)"]).await;
    world.alice.is_with(&["ben (b.example)", "bob (b.example)"]).await;
    for (speaker, listener, text, line) in [
        (&world.alice, &ben, "One.", "alice (a.example): One."),
        (&alan, &ben, "Two.", "alan (a.example): Two."),
        (&world.bob, &alan, "Three.", "bob (b.example): Three."),
        (&ben, &alan, "Four.", "ben (b.example): Four."),
    ] {
        speaker.says(text).await;
        listener.reads(line).await;
    }
    let at_a = ["alice: One.", "alan: Two.", "bob (b.example): Three.", "ben (b.example): Four."];
    let at_b = ["alice (a.example): One.", "alan (a.example): Two.", "bob: Three.", "ben: Four."];
    world.alice.sees(&at_a).await;
    world.bob.sees(&at_b).await;
}

#[tokio::test]
async fn a_text_arrives_letter_for_letter() {
    let world = World::of_two().await;
    let long = "tea ".repeat(5_000);
    let texts =
        ["  two\n\nlines \u{1F375} e\u{301} <b>&amp;</b> \u{202e}\u{200f} \u{0} *", "mimi://a.example/u/alice", &long];
    for text in texts {
        world.alice.says(text).await;
        world.bob.reads(&format!("alice (a.example): {text}")).await;
        world.bob.says(text).await;
        world.alice.reads(&format!("bob (b.example): {text}")).await;
    }
}

#[tokio::test]
async fn a_text_that_is_too_long_to_be_carried_is_refused_in_words_and_a_shorter_one_arrives() {
    let world = World::of_two().await;
    let (long, longest) = ("x".repeat(1 << 20), "x".repeat((1 << 20) - 5000));
    for (author, reader, name) in
        [(&world.alice, &world.bob, "alice (a.example)"), (&world.bob, &world.alice, "bob (b.example)")]
    {
        let refusal = author.tries_to_say(&long).await.unwrap_err();
        assert!(refusal.contains("1044480 are the most that is carried"), "{refusal}");
        author.says(&longest).await;
        reader.reads(&format!("{name}: {longest}")).await;
    }
    assert_eq!((world.alice.transcript().len(), world.bob.transcript().len()), (3, 3));
}
