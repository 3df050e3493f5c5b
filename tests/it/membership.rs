//! People come and go.

use mimi_adapter::ConversationId;
use mimi_gateway::admin::{CreateRoom, Link, Operator, Unlink};

use crate::world::{World, tea};

/// For good.
const AT_ONCE: Unlink = Unlink { yes: false, now: true };

#[tokio::test]
async fn who_joins_later_reads_from_then_on_and_speaks() {
    let world = World::of_two().await;
    world.alice.says("Before.").await;
    world.bob.reads("alice (a.example): Before.").await;
    let (alan, ben) = (world.person("alan", "a.example"), world.person("ben", "b.example"));
    ben.joins().await;
    world.alice.is_with(&["ben (b.example)", "bob (b.example)"]).await;
    ben.says("Hello, I'm new.").await;
    world.alice.reads("ben (b.example): Hello, I'm new.").await;
    // Without a word about it: who writes is there.
    alan.says("So am I.").await;
    ben.reads("alan (a.example): So am I.").await;
    world.bob.is_with(&["alan (a.example)", "alice (a.example)"]).await;
    ben.says("Welcome.").await;
    alan.sees(&["alice: Before.", "ben (b.example): Hello, I'm new.", "alan: So am I.", "ben (b.example): Welcome."])
        .await;
}

#[tokio::test]
async fn many_who_join_at_once_on_both_sides_are_all_there_and_speak() {
    let world = World::of_two().await;
    let names = ["ann", "bea", "cem", "dan", "eva", "fay", "gus", "hal"];
    let ghosts = |domain: &str, one: &str| {
        let mut ghosts: Vec<_> = names.iter().chain([&one]).map(|name| format!("{name} ({domain})")).collect();
        ghosts.sort();
        ghosts
    };
    for name in names {
        for provider in ["a.example", "b.example"] {
            let person = world.person(name, provider);
            person.is_here();
            person.posts(&format!("{name} is here."));
        }
    }
    let (at_b, at_a) = (ghosts("a.example", "alice"), ghosts("b.example", "bob"));
    world.bob.is_with(&at_b.iter().map(String::as_str).collect::<Vec<_>>()).await;
    world.alice.is_with(&at_a.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for name in names {
        world.bob.reads(&format!("{name} (a.example): {name} is here.")).await;
        world.alice.reads(&format!("{name} (b.example): {name} is here.")).await;
    }
    world.alice.says("Full house.").await;
    world.bob.says("Indeed.").await;
    world.bob.reads("alice (a.example): Full house.").await;
    world.alice.reads("bob (b.example): Indeed.").await;
    assert_eq!((world.alice.transcript().len(), world.bob.transcript().len()), (18, 18));
}

#[tokio::test]
async fn who_leaves_is_gone_on_the_other_side_and_can_come_back() {
    let world = World::of_two().await;
    let (alan, ben) = (world.person("alan", "a.example"), world.person("ben", "b.example"));
    alan.joins().await;
    ben.joins().await;
    world.bob.is_with(&["alan (a.example)", "alice (a.example)"]).await;
    world.alice.is_with(&["ben (b.example)", "bob (b.example)"]).await;
    world.bob.leaves().await;
    alan.leaves().await;
    world.alice.is_with(&["ben (b.example)"]).await;
    ben.is_with(&["alice (a.example)"]).await;
    ben.says("Just us?").await;
    world.alice.reads("ben (b.example): Just us?").await;
    world.alice.says("Just us.").await;
    ben.reads("alice (a.example): Just us.").await;
    world.bob.joins().await;
    alan.says("Back again.").await;
    world.alice.is_with(&["ben (b.example)", "bob (b.example)"]).await;
    ben.reads("alan (a.example): Back again.").await;
    world.bob.says("So am I.").await;
    alan.reads("bob (b.example): So am I.").await;
}

#[tokio::test]
async fn who_has_founded_the_room_can_leave_it() {
    let world = World::of_two().await;
    let alan = world.person("alan", "a.example");
    alan.joins().await;
    world.bob.is_with(&["alan (a.example)", "alice (a.example)"]).await;
    world.alice.leaves().await;
    world.bob.is_with(&["alan (a.example)"]).await;
    world.bob.says("Just us?").await;
    alan.reads("bob (b.example): Just us?").await;
    alan.says("Just us.").await;
    world.bob.reads("alan (a.example): Just us.").await;
    world.alice.says("Back again.").await;
    world.bob.reads("alice (a.example): Back again.").await;
    world.bob.is_with(&["alan (a.example)", "alice (a.example)"]).await;
}

#[tokio::test]
async fn the_last_of_a_follower_stays_in_the_room_until_it_is_unlinked() {
    let world = World::of_three().await;
    world.cathy.leaves().await;
    world.alice.says("Has she left?").await;
    world.bob.reads("alice (a.example): Has she left?").await;
    world.cathy.says("Nobody else is here, so no.").await;
    world.alice.reads("cathy (c.example): Nobody else is here, so no.").await;

    world.desk("c.example").unlink(&tea(), AT_ONCE).await.unwrap();
    world.alice.is_with(&["bob (b.example)"]).await;
    world.bob.is_with(&["alice (a.example)"]).await;
    world.alice.says("Now she has.").await;
    world.bob.reads("alice (a.example): Now she has.").await;
    world.bob.says("So she has.").await;
    world.alice.reads("bob (b.example): So she has.").await;
    let refusal = world.cathy.tries_to_say("I'm still here!").await.unwrap_err();
    assert_eq!(refusal, "this conversation is not linked to a MIMI room");
    assert_eq!(world.cathy.transcript().len(), 3);
    assert_eq!(world.desk("a.example").room(&tea()).await.unwrap().participants.len(), 2);
}

#[tokio::test]
async fn a_linked_room_of_another_hub_is_listened_to_once_its_welcome_has_come() {
    let mut world = World::before_tea(2).await;
    let tea_at = |world: &World| {
        world.core("b.example").adapters["loopback"].links.borrow().contains(&ConversationId::new("tea"))
    };
    assert!(!tea_at(&world));
    let refusal = world.bob.tries_to_join().await.unwrap_err();
    assert_eq!(refusal, "the MIMI room is not connected yet");
    assert_eq!(world.bob.tries_to_say("Hello?").await.unwrap_err(), refusal);
    // That survives a restart.
    world.stop("b.example").await;
    world.start("b.example").await;
    assert!(!tea_at(&world));
    world.alice.joins().await;
    world.bob.is_with(&["alice (a.example)"]).await;
    assert!(tea_at(&world));
    world.bob.says("Hello!").await;
    world.alice.sees(&["bob (b.example): Hello!"]).await;
}

#[tokio::test]
async fn a_room_made_and_linked_by_the_admins_works_like_one_from_the_configuration() {
    let world = World::of_two().await;
    let (alice, bob) = (world.alice.at("coffee"), world.bob.at("coffee"));
    let coffee = ConversationId::new("coffee");
    let room = world
        .desk("a.example")
        .create_room(CreateRoom {
            adapter: "loopback".into(),
            conversation: coffee.clone(),
            name: Some("Coffee".into()),
            room: None,
        })
        .await
        .unwrap();
    world.desk("b.example").link(&room, Link { adapter: "loopback".into(), conversation: coffee }).await.unwrap();
    bob.is_here();
    alice.joins().await;
    world.desk("a.example").invite(&room, world.bob.uri()).await.unwrap();
    alice.is_with(&["bob (b.example)"]).await;
    alice.says("With milk?").await;
    bob.reads("alice (a.example): With milk?").await;
    bob.says("Black.").await;
    alice.sees(&["alice: With milk?", "bob (b.example): Black."]).await;
    assert_eq!((world.alice.transcript().len(), world.bob.transcript().len()), (0, 0));
    assert_eq!(world.desk("b.example").room(&room).await.unwrap().name.as_deref(), Some("Coffee"));
}

#[tokio::test]
async fn a_room_that_was_unlinked_can_be_linked_again() {
    let world = World::of_two().await;
    world.alice.says("One.").await;
    world.bob.reads("alice (a.example): One.").await;
    world.desk("b.example").unlink(&tea(), AT_ONCE).await.unwrap();
    world.alice.is_with(&[]).await;
    world.alice.says("Two.").await;
    let link = Link { adapter: "loopback".into(), conversation: ConversationId::new("tea") };
    world.desk("b.example").link(&tea(), link).await.unwrap();
    world.desk("a.example").invite(&tea(), world.bob.uri()).await.unwrap();
    world.alice.is_with(&["bob (b.example)"]).await;
    world.alice.says("Three.").await;
    world.bob.sees(&["alice (a.example): One.", "alice (a.example): Three."]).await;
    world.still_talk().await;
}

#[tokio::test]
async fn a_hub_without_users_of_its_own_serves_the_others() {
    let mut world = World::of_three().await;
    world.desk("a.example").unlink(&tea(), AT_ONCE).await.unwrap();
    world.bob.is_with(&["cathy (c.example)"]).await;
    world.cathy.is_with(&["bob (b.example)"]).await;
    for _ in 0..2 {
        world.bob.says("Is it only us?").await;
        world.cathy.reads("bob (b.example): Is it only us?").await;
        world.cathy.says("Only us.").await;
        world.bob.reads("cathy (c.example): Only us.").await;
        let ben = world.person("ben", "b.example");
        ben.joins().await;
        world.cathy.is_with(&["ben (b.example)", "bob (b.example)"]).await;
        ben.leaves().await;
        world.cathy.is_with(&["bob (b.example)"]).await;
        world.stop("a.example").await;
        // Its configuration still has the room; without that it would be linked again.
        world.forgets_tea("a.example");
        world.start("a.example").await;
    }
    assert_eq!(world.alice.transcript(), [""; 0]);
}
