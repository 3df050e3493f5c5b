//! What takes too much from too many at once is held, and an admin decides.

use mimi_gateway::{admin::Operator, breaker::Deed};

use crate::{person::Person, world::World};

/// Alice's twelve friends are in the room too.
async fn a_party(world: &World) -> Vec<Person> {
    let friends: Vec<_> = (10..22).map(|n| world.person(&format!("friend{n}"), "a.example")).collect();
    for friend in &friends {
        friend.joins().await;
    }
    let mut all: Vec<String> = (10..22).map(|n| format!("friend{n} (a.example)")).collect();
    all.insert(0, "alice (a.example)".into());
    world.bob.is_with(&all.iter().map(String::as_str).collect::<Vec<_>>()).await;
    friends
}

#[tokio::test]
async fn when_everybody_leaves_at_once_the_rest_waits_for_the_admin() {
    let mut world = World::of_two().await;
    let friends = a_party(&world).await;
    for friend in &friends {
        friend.leaves().await;
    }
    // The network has its yes to all of them, and two are still there.
    let there = ["alice (a.example)", "friend20 (a.example)", "friend21 (a.example)"];
    world.bob.is_with(&there).await;
    let notice = "the gateway: Many people have left within a few minutes. The gateway waits for its admin's word \
                  before it lets more of them leave on the other side.";
    world.alice.reads(notice).await;
    world.still_talk().await;
    world.bob.is_with(&there).await;
    assert_eq!(world.alice.transcript().iter().filter(|line| line.starts_with("the gateway")).count(), 1);

    // It is still so after a restart, and who comes back is no longer held.
    world.stop("a.example").await;
    world.start("a.example").await;
    let trips = world.desk("a.example").trips().await.unwrap();
    let [trip] = &trips[..] else { panic!("{trips:?}") };
    assert_eq!((trip.what.as_str(), trip.scope.as_str(), trip.held), ("leaves", "mimi://a.example/r/tea", 2));
    friends[10].joins().await;
    assert_eq!(world.desk("a.example").status().await.unwrap().breaker.held, 1);

    assert_eq!(world.desk("a.example").decide_trip(trip.id, true).await, Ok(1));
    assert_eq!(world.desk("a.example").trips().await.unwrap(), []);
    // For the other side that is the eleventh within ten minutes, and it has a breaker of its own.
    let bobs = world.desk("b.example");
    world.eventually("the other breaker trips", async || bobs.trips().await.unwrap().len() == 1).await;
    let trip = bobs.trips().await.unwrap().remove(0);
    assert_eq!((trip.what.as_str(), trip.held), ("removals", 1));
    world.bob.is_with(&there).await;
    assert_eq!(bobs.decide_trip(trip.id, true).await, Ok(1));
    world.bob.is_with(&there[..2]).await;
    world.still_talk().await;
}

#[tokio::test]
async fn somebody_who_deletes_everything_is_stopped_and_the_rest_stands_if_the_admin_says_so() {
    let world = World::of_two().await;
    for n in 0..32 {
        world.alice.says(&format!("Word {n}")).await;
    }
    for n in 0..32 {
        world.alice.deletes(&format!("Word {n}")).await;
    }
    world.still_talk().await;
    let deleted = || world.bob.transcript().iter().filter(|line| line.contains("takes back")).count();
    assert_eq!(deleted(), 30);
    let desk = world.desk("a.example");
    let trips = desk.trips().await.unwrap();
    assert_eq!((trips[0].what.as_str(), trips[0].held), ("deletions", 2));
    assert_eq!(trips[0].scope, "mimi://a.example/u/alice in mimi://a.example/r/tea");
    assert_eq!(desk.decide_trip(trips[0].id, false).await, Ok(2));
    assert!(desk.decide_trip(trips[0].id, true).await.is_err());
    world.still_talk().await;
    assert_eq!(deleted(), 30);
}

#[tokio::test]
async fn leaves_over_all_rooms_of_an_adapter_add_up() {
    let world = World::of_two().await;
    let alan = world.person("alan", "a.example");
    alan.joins().await;
    world.bob.is_with(&["alan (a.example)", "alice (a.example)"]).await;
    let elsewhere = world.core("a.example").write(|core, tx| {
        Box::pin(async move {
            for n in 0..50 {
                let room = format!("mimi://a.example/r/{}", n / 9);
                let who = format!("mimi://a.example/u/{n}");
                tx.note_destructive(Deed::Leave.as_str(), &room, "loopback", &who, core.now()).await?;
            }
            Ok(())
        })
    });
    elsewhere.await.unwrap();
    alan.leaves().await;
    let trips = world.desk("a.example").trips().await.unwrap();
    assert_eq!((trips[0].scope.as_str(), trips[0].held), ("adapter loopback", 1));
    world.still_talk().await;
    world.bob.is_with(&["alan (a.example)", "alice (a.example)"]).await;
}

#[tokio::test]
async fn what_is_long_ago_does_not_count() {
    let world = World::of_two().await;
    let friends = a_party(&world).await;
    for (n, friend) in friends.iter().enumerate() {
        if n == 10 {
            world.clock.moves(std::time::Duration::from_secs(601));
        }
        friend.leaves().await;
    }
    world.bob.is_with(&["alice (a.example)"]).await;
    assert_eq!(world.desk("a.example").trips().await.unwrap(), []);
}
