//! Nothing is lost, nothing comes twice, nothing overtakes.

use std::time::Duration;

use mimi_adapter::Ghost;

use crate::{person::Person, world::World};

/// What stands in `person`'s conversation of those who are called so there.
fn lines_of(person: &Person, names: &[&str]) -> Vec<String> {
    let of = |line: &&String| names.iter().any(|name| line.starts_with(&format!("{name}: ")));
    person.transcript().iter().filter(of).cloned().collect()
}

fn numbered(name: &str, from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| format!("{name}: {n}")).collect()
}

/// Waits until `person` has read this line of each of those.
async fn reads_of_each(person: &Person, names: &[&str], text: &str) {
    for name in names {
        person.reads(&format!("{name}: {text}")).await;
    }
}

#[tokio::test]
async fn two_hundred_messages_each_way_at_once_arrive_once_and_in_order() {
    let world = World::of_two().await;
    let (alan, ben) = (world.person("alan", "a.example"), world.person("ben", "b.example"));
    alan.joins().await;
    ben.joins().await;
    for n in 0..100 {
        for person in [&world.alice, &world.bob, &alan, &ben] {
            person.posts(&n.to_string());
        }
    }
    let (of_a, of_b) = (["alice (a.example)", "alan (a.example)"], ["bob (b.example)", "ben (b.example)"]);
    reads_of_each(&world.bob, &of_a, "99").await;
    reads_of_each(&world.alice, &of_b, "99").await;
    for (reader, names) in [(&world.bob, of_a), (&world.alice, of_b)] {
        for name in names {
            assert_eq!(lines_of(reader, &[name]), numbered(name, 0, 100));
        }
        assert_eq!(reader.messenger.attempts("7"), 2, "each was delivered at the first attempt");
    }
    // The two of one side wrote into one conversation, and the other side reads it in that order.
    let strip = |lines: Vec<String>, provider: &str| -> Vec<String> {
        lines.iter().map(|line| line.replace(&format!(" ({provider})"), "")).collect()
    };
    assert_eq!(strip(lines_of(&world.bob, &of_a), "a.example"), lines_of(&world.alice, &["alice", "alan"]));
    assert_eq!(strip(lines_of(&world.alice, &of_b), "b.example"), lines_of(&world.bob, &["bob", "ben"]));
}

#[tokio::test]
async fn what_three_write_at_once_reaches_the_others_in_the_hubs_order() {
    let mut world = World::of_three().await;
    for n in 0..50 {
        for person in [&world.alice, &world.bob, &world.cathy] {
            person.posts(&n.to_string());
        }
    }
    let (alice, bob, cathy) = ("alice (a.example)", "bob (b.example)", "cathy (c.example)");
    reads_of_each(&world.alice, &[bob, cathy], "49").await;
    reads_of_each(&world.bob, &[alice, cathy], "49").await;
    reads_of_each(&world.cathy, &[alice, bob], "49").await;
    let order: Vec<_> = world.hubs_order().await.into_iter().map(|user| Ghost::new(user).name).collect();
    assert_eq!(order.len(), 150);
    for (reader, others) in [(&world.alice, [bob, cathy]), (&world.bob, [alice, cathy]), (&world.cathy, [alice, bob])] {
        for name in others {
            assert_eq!(lines_of(reader, &[name]), numbered(name, 0, 50));
        }
        let lines = lines_of(reader, &others);
        let authors: Vec<_> = lines.iter().map(|line| line.split(": ").next().unwrap()).collect();
        let expected: Vec<_> = order.iter().map(String::as_str).filter(|author| others.contains(author)).collect();
        assert_eq!(authors, expected);
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_holds_nothing_up_and_the_hubs_timestamps_still_rise() {
    let mut world = World::of_two().await;
    let hour = Duration::from_secs(3600);
    let mut expected = Vec::new();
    for n in 0..10 {
        world.alice.says(&n.to_string()).await;
        world.bob.reads(&format!("alice (a.example): {n}")).await;
        world.clock.is_set_back(hour);
        world.bob.says(&n.to_string()).await;
        world.alice.reads(&format!("bob (b.example): {n}")).await;
        world.clock.moves(hour / 2);
        expected.extend([world.alice.uri().clone(), world.bob.uri().clone()]);
    }
    assert_eq!(world.hubs_order().await, expected);
}
