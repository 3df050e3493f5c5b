//! A gateway stops, or is killed, and comes back: nobody notices more than a pause.

use crate::{messenger::Mood, person::Person, world::World};

/// The numbers that somebody from elsewhere has said in this conversation.
fn from_elsewhere(person: &Person) -> Vec<usize> {
    let number = |line: &String| line.split_once(".example): ")?.1.parse().ok();
    person.transcript().iter().filter_map(number).collect()
}

pub async fn have_read_it_all(world: &World, to: usize) {
    world.still_talk().await;
    assert_eq!(from_elsewhere(&world.alice), (0..to).collect::<Vec<_>>());
    assert_eq!(from_elsewhere(&world.bob), (0..to).collect::<Vec<_>>());
}

pub fn both_post(world: &World, numbers: std::ops::Range<usize>) {
    for n in numbers {
        world.alice.posts(&n.to_string());
        world.bob.posts(&n.to_string());
    }
}

#[tokio::test]
async fn either_gateway_is_restarted_at_rest() {
    let mut world = World::of_two().await;
    both_post(&world, 0..3);
    have_read_it_all(&world, 3).await;
    for (round, name) in ["a.example", "b.example"].into_iter().enumerate() {
        world.stop(name).await;
        world.start(name).await;
        let said = 3 + 3 * round;
        both_post(&world, said..said + 3);
        have_read_it_all(&world, said + 3).await;
    }
    // References across the restart, to what was said before it.
    world.alice.replies_to("0", "The first.").await;
    world.bob.reads("alice (a.example) answers \"0\": The first.").await;
}

#[tokio::test]
async fn a_hub_that_stops_while_messages_are_on_their_way_loses_none() {
    stops_in_mid_conversation("a.example", Stopping::Asked).await;
}

#[tokio::test]
async fn a_follower_that_stops_while_messages_are_on_their_way_loses_none() {
    stops_in_mid_conversation("b.example", Stopping::Asked).await;
}

#[tokio::test]
async fn a_hub_that_is_killed_while_messages_are_on_their_way_loses_none() {
    stops_in_mid_conversation("a.example", Stopping::Killed).await;
}

#[tokio::test]
async fn a_follower_that_is_killed_while_messages_are_on_their_way_loses_none() {
    stops_in_mid_conversation("b.example", Stopping::Killed).await;
}

enum Stopping {
    Asked,
    Killed,
}

async fn stops_in_mid_conversation(name: &str, how: Stopping) {
    let mut world = World::of_two().await;
    let mut said = 0;
    for _ in 0..4 {
        both_post(&world, said..said + 15);
        // In the middle of it, at a point that is another one each time.
        world.bob.reads(&format!("alice (a.example): {}", said + 5)).await;
        match how {
            Stopping::Asked => world.stop(name).await,
            Stopping::Killed => world.kill(name).await,
        }
        said += 15;
        both_post(&world, said..said + 5);
        said += 5;
        world.start(name).await;
    }
    have_read_it_all(&world, said).await;
}

#[tokio::test]
async fn both_gateways_are_killed_at_once_and_nothing_is_lost() {
    let mut world = World::of_two().await;
    both_post(&world, 0..30);
    world.alice.reads("bob (b.example): 3").await;
    world.kill("b.example").await;
    world.kill("a.example").await;
    both_post(&world, 30..40);
    world.start("a.example").await;
    world.start("b.example").await;
    have_read_it_all(&world, 40).await;
}

#[tokio::test]
async fn a_follower_that_was_away_gets_everything_in_order() {
    let mut world = World::of_three().await;
    world.stop("c.example").await;
    for n in 0..20 {
        world.alice.says(&n.to_string()).await;
        world.bob.reads(&format!("alice (a.example): {n}")).await;
    }
    // Somebody comes, somebody goes, and what they say is in epochs that Cathy's gateway has not seen.
    let ben = world.person("ben", "b.example");
    ben.joins().await;
    ben.says("20").await;
    world.alice.reads("ben (b.example): 20").await;
    world.bob.leaves().await;
    world.alice.is_with(&["ben (b.example)", "cathy (c.example)"]).await;
    ben.says("21").await;
    world.start("c.example").await;
    world.cathy.reads("ben (b.example): 21").await;
    assert_eq!(from_elsewhere(&world.cathy), (0..22).collect::<Vec<_>>());
    world.cathy.is_with(&["alice (a.example)", "ben (b.example)"]).await;
    world.cathy.says("What have I missed?").await;
    ben.reads("cathy (c.example): What have I missed?").await;
}

#[tokio::test]
async fn a_person_who_writes_while_the_gateway_is_away_is_heard_later() {
    let mut world = World::of_two().await;
    world.stop("a.example").await;
    world.alice.posts("Anybody?");
    world.bob.says("Where is everybody?").await;
    world.start("a.example").await;
    world.alice.reads("bob (b.example): Where is everybody?").await;
    world.bob.reads("alice (a.example): Anybody?").await;
}

#[tokio::test]
async fn gateways_are_killed_while_people_come_and_go_and_nothing_is_lost() {
    let mut world = World::of_three().await;
    let providers = ["a.example", "b.example", "c.example"];
    let mut said = 0;
    for round in 0..9 {
        for n in said..said + 5 {
            for person in [&world.alice, &world.bob, &world.cathy] {
                person.posts(&n.to_string());
            }
        }
        said += 5;
        // The guest's provider is another one than the one that is killed, and then it is the same.
        let guest = world.person(&format!("guest{round}"), providers[(round + round / 3) % 3]);
        guest.is_here();
        guest.posts("Hello.");
        if round % 2 == 0 {
            guest.goes();
        }
        world.kill(providers[round % 3]).await;
        world.start(providers[round % 3]).await;
    }
    let (alice, bob, cathy) = ("alice (a.example)", "bob (b.example)", "cathy (c.example)");
    for (reader, others) in [(&world.alice, [bob, cathy]), (&world.bob, [alice, cathy]), (&world.cathy, [alice, bob])] {
        for name in others {
            let last = format!("{name}: {}", said - 1);
            reader.reads(&last).await;
            let of = |line: &&String| line.starts_with(&format!("{name}: "));
            let lines: Vec<_> = reader.transcript().iter().filter(of).cloned().collect();
            assert_eq!(lines, (0..said).map(|n| format!("{name}: {n}")).collect::<Vec<_>>());
        }
        for round in 0..9 {
            let provider = providers[(round + round / 3) % 3];
            if !others.iter().any(|name| name.contains(provider)) {
                continue;
            }
            reader.reads(&format!("guest{round} ({provider}): Hello.")).await;
        }
    }
}

#[tokio::test]
async fn an_answer_to_what_was_shown_just_before_the_gateway_was_killed_is_an_answer() {
    let mut world = World::of_two().await;
    world.bob.messenger.when("Tea?", Mood::Mute);
    world.alice.says("Tea?").await;
    // He has it on his screen, and his gateway does not know yet what it is called there.
    world.bob.reads("alice (a.example): Tea?").await;
    world.kill("b.example").await;
    let bob = world.bob.clone();
    tokio::join!(bob.replies_to("Tea?", "Please."), world.start("b.example"));
    bob.reacts_to("Tea?", "🫖").await;
    world.alice.reads("bob (b.example) answers \"Tea?\": Please.").await;
    world.alice.reads("bob (b.example) reacts to \"Tea?\": 🫖").await;
}

#[tokio::test]
async fn who_leaves_and_comes_back_while_the_hub_is_away_is_in() {
    let mut world = World::of_two().await;
    let ben = world.person("ben", "b.example");
    ben.joins().await;
    world.alice.is_with(&["ben (b.example)", "bob (b.example)"]).await;
    world.kill("a.example").await;
    ben.leaves().await;
    ben.joins().await;
    ben.says("Did I miss anything?").await;
    world.start("a.example").await;
    world.alice.reads("ben (b.example): Did I miss anything?").await;
    world.alice.is_with(&["ben (b.example)", "bob (b.example)"]).await;
}
