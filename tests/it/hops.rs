//! An admin asks where a message has been.

use mimi_gateway::admin::{Hop, Operator};

use crate::{messenger::Mood, world::World};

/// In words, without the times, which have to be there.
async fn trace(world: &World, provider: &str, id: &str) -> Vec<String> {
    let traced = world.desk(provider).trace(id).await.unwrap();
    let [it] = &traced[..] else { panic!("{} messages", traced.len()) };
    let times: Vec<_> = it.hops.iter().map(|hop| hop.at.expect("the time of each is known")).collect();
    assert!(times.iter().all(|time| *time >= times[0]), "{times:?}");
    let words = |Hop { place, state, attempts, problem, native, letter, .. }: &Hop| {
        let attempts = attempts.map_or(String::new(), |attempts| format!(" by {attempts}"));
        let letter = letter.map_or(String::new(), |_| " with a number".into());
        let problem = problem.as_ref().map_or(String::new(), |problem| format!(": {problem}"));
        let native = if native.is_empty() { String::new() } else { format!(" as {}", native.join(" ")) };
        format!("{place} {state}{letter}{attempts}{native}{problem}")
    };
    it.hops.iter().map(words).collect()
}

#[tokio::test]
async fn a_message_is_followed_from_the_conversation_to_everybody_who_has_it() {
    let mut world = World::of_three().await;
    world.stop("c.example").await;
    world.bob.messenger.when("Tea?", Mood::NotNow(2));
    world.alice.says("Tea?").await;
    world.bob.reads("alice (a.example): Tea?").await;
    let (native, id) = (world.alice.find("Tea?"), world.turncoat(&world.alice).name_of(&world.alice, "Tea?").await);
    world
        .eventually("b.example has taken it", async || {
            trace(&world, "a.example", native.as_str()).await.contains(&"provider b.example taken by 1".to_owned())
        })
        .await;
    let at_a = trace(&world, "a.example", native.as_str()).await;
    assert_eq!(
        at_a[..3],
        [
            format!("loopback tea written as {native}"),
            "hub a.example accepted".to_owned(),
            "provider b.example taken by 1".to_owned(),
        ]
    );
    assert!(at_a[3].starts_with("provider c.example waiting"), "{at_a:?}");
    assert_eq!(trace(&world, "a.example", &id.to_string()).await, at_a);
    // At the other side it has another name, and the same ID.
    let native = world.bob.find("Tea?");
    let at_b = ["hub a.example accepted".to_owned(), format!("loopback tea delivered by 3 as {native}")];
    assert_eq!(trace(&world, "b.example", native.as_str()).await, at_b);
    assert_eq!(trace(&world, "b.example", &id.to_string()).await, at_b);
}

#[tokio::test]
async fn what_was_refused_is_a_dead_letter_with_its_reason() {
    let world = World::of_two().await;
    world.bob.messenger.when("Shh!", Mood::Never("no shouting here"));
    world.alice.says("Shh!").await;
    let id = world.turncoat(&world.alice).name_of(&world.alice, "Shh!").await.to_string();
    let dead = "loopback tea dead letter with a number by 0: refused: no shouting here".to_owned();
    world
        .eventually("it is dead", async || {
            let traced = world.desk("b.example").trace(&id).await;
            traced.is_ok_and(|traced| traced[0].hops.iter().any(|hop| hop.letter.is_some()))
        })
        .await;
    assert_eq!(trace(&world, "b.example", &id).await, ["hub a.example accepted".to_owned(), dead]);
}

#[tokio::test]
async fn what_never_came_is_said_to_have_never_come() {
    let world = World::of_two().await;
    for id in ["nothing", &"01".repeat(32), "%00"] {
        let refusal = world.desk("a.example").trace(id).await.unwrap_err();
        assert!(refusal.message.contains("it never came, or more than 400 days ago"), "{refusal}");
    }
}
