//! What can't be delivered: kept, told to whoever wrote it, and delivered when the cause is mended.

use std::time::Duration;

use mimi_adapter::ConversationId;
use mimi_gateway::{
    admin::{CreateRoom, Letters, Operator},
    janitor::clear_away,
    mimi::uri::RoomUri,
    outbox::Destination,
};

use crate::{
    messenger::Mood,
    world::{World, domain, tea},
};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const ALL: Letters = Letters { id: None, room: None };

/// So often has a destination failed since it last worked.
async fn attempts(world: &World, name: &str, to: &Destination) -> u64 {
    let queues = world.desk(name).outbox(None).await.unwrap().queues;
    // A queue that is empty has been seen to.
    queues.iter().find(|queue| queue.destination == to.to_string()).map_or(u64::MAX, |queue| queue.attempts)
}

/// For so many seconds it has failed.
async fn failing(world: &World, name: &str, to: &Destination) -> u64 {
    let queues = world.desk(name).outbox(None).await.unwrap().queues;
    queues.iter().find(|queue| queue.destination == to.to_string()).map_or(u64::MAX, |queue| queue.failing_s)
}

/// Time passes, and the destination is tried again and fails.
async fn is_tried_after(world: &World, time: Duration, name: &str, to: &Destination) {
    // An attempt from before that fails only now has not seen the time pass, so attempts say nothing.
    let so_far = failing(world, name, to).await;
    world.clock.moves(time);
    let tried = async || {
        world.core(name).dispatcher.nudge(to.clone());
        failing(world, name, to).await >= so_far.saturating_add(time.min(DAY).as_secs())
    };
    world.eventually("another attempt has failed", tried).await;
}

async fn has_failed_once(world: &World, name: &str, to: &Destination) {
    world.eventually("an attempt has failed", async || attempts(world, name, to).await > 0).await;
}

#[tokio::test]
async fn what_is_refused_for_good_is_kept_and_told_and_arrives_once_the_cause_is_mended() {
    let world = World::of_two().await;
    world.bob.messenger.when("Shh!", Mood::Never("no shouting here"));
    world.alice.says("Shh!").await;
    world.alice.says("Two.").await;
    world.bob.reads("alice (a.example): Two.").await;
    // The other provider says so, and that is all it says.
    world
        .alice
        .reads("the gateway to alice about \"Shh!\": b.example could not show your message to its people.")
        .await;

    let desk = world.desk("b.example");
    let dead = desk.outbox(Some(&tea())).await.unwrap().dead;
    let [letter] = &dead[..] else { panic!("{dead:?}") };
    assert_eq!((letter.kind.as_str(), letter.cause.as_deref()), ("content", Some("refused")));
    assert_eq!((letter.reason.as_deref(), letter.certain), (Some("no shouting here"), true));
    assert_eq!(letter.from.as_ref(), Some(world.alice.uri()));
    assert_eq!(letter.content, None);
    assert_eq!(desk.delivery(letter.id, true).await.unwrap().content.as_deref(), Some("Shh!"));
    assert_eq!(desk.status().await.unwrap().outbox.dead[0].count, 1);

    // Still refused: it dies again under the same number, and nobody is told twice.
    assert_eq!(desk.retry(ALL).await, Ok(1));
    let ids = async || desk.outbox(None).await.unwrap().dead.iter().map(|it| it.id).collect::<Vec<_>>();
    world.eventually("it is dead again", async || ids().await == [letter.id]).await;
    world.still_talk().await;
    let told = |line: &&String| line.contains("could not show");
    assert_eq!(world.alice.transcript().iter().filter(told).count(), 1);

    world.bob.messenger.when("Shh!", Mood::NotNow(0));
    assert_eq!(desk.retry(Letters { id: Some(letter.id), room: None }).await, Ok(1));
    world.bob.reads("alice (a.example): Shh!").await;
    assert_eq!(world.bob.messenger.attempts("Shh!"), 3);
    assert_eq!(desk.outbox(None).await.unwrap().dead, []);
    world.alice.replies_to("Shh!", "At last.").await;
    world.bob.reads("alice (a.example) answers \"Shh!\": At last.").await;
}

#[tokio::test]
async fn what_is_retried_takes_its_old_place() {
    let world = World::of_two().await;
    world.bob.messenger.when("One.", Mood::Never("not today"));
    world.bob.messenger.when("Two.", Mood::NotNow(1000));
    for text in ["One.", "Two.", "Three."] {
        world.alice.says(text).await;
    }
    let desk = world.desk("b.example");
    world.eventually("the first is dead", async || desk.outbox(None).await.unwrap().dead.len() == 1).await;
    world.bob.messenger.when("One.", Mood::NotNow(0));
    assert_eq!(desk.retry(ALL).await, Ok(1));
    world.bob.reads("alice (a.example): One.").await;
    world.bob.messenger.when("Two.", Mood::NotNow(0));
    world.bob.sees(&["alice (a.example): One.", "alice (a.example): Two.", "alice (a.example): Three."]).await;
}

#[tokio::test]
async fn a_provider_that_is_away_for_a_week_misses_what_waited_for_a_week_and_no_more() {
    let mut world = World::of_two().await;
    let to = Destination::Follower(tea(), domain("b.example"));
    world.stop("b.example").await;
    for text in ["0", "1", "2"] {
        world.alice.says(text).await;
    }
    has_failed_once(&world, "a.example", &to).await;
    is_tried_after(&world, 5 * HOUR, "a.example", &to).await;
    world
        .alice
        .reads(
            "the gateway: Not yet delivered to b.example, which can't be reached: its people don't read what is \
             written here. It is tried again for 7 days in all.",
        )
        .await;
    for _ in 0..6 {
        is_tried_after(&world, DAY, "a.example", &to).await;
    }
    world.alice.says("3").await;
    assert_eq!(world.desk("a.example").outbox(None).await.unwrap().dead, []);
    is_tried_after(&world, DAY, "a.example", &to).await;
    world
        .alice
        .reads(
            "the gateway: What was written here has not reached the people of b.example: b.example could not be \
             reached for 7 days. They have missed 3 message(s) or changes of the room.",
        )
        .await;
    let desk = world.desk("a.example");
    let dead = desk.outbox(None).await.unwrap().dead;
    assert!(dead.iter().all(|it| it.cause.as_deref() == Some("expired") && it.certain), "{dead:?}");
    assert!(dead.len() == 3 && dead.is_sorted_by_key(|it| it.id), "{dead:?}");
    assert!(attempts(&world, "a.example", &to).await > 7);
    assert_eq!(world.alice.transcript().iter().filter(|line| line.starts_with("the gateway")).count(), 2);

    // What is younger waits on, and the queue goes on when the provider is back.
    world.start("b.example").await;
    world.core("a.example").dispatcher.nudge(to.clone());
    world.bob.sees(&["alice (a.example): 3"]).await;
    assert_eq!(world.desk("a.example").retry(ALL).await, Ok(3));
    let lines = ["alice (a.example): 3", "alice (a.example): 0", "alice (a.example): 1", "alice (a.example): 2"];
    world.bob.sees(&lines).await;
    world.still_talk().await;
    let desk = world.desk("a.example");
    world.eventually("nothing fails any more", async || desk.status().await.unwrap().outbox.failing == 0).await;
}

#[tokio::test]
async fn whoever_writes_to_a_hub_that_is_away_is_warned_and_then_told() {
    let mut world = World::of_two().await;
    let to = Destination::Hub(tea());
    world.stop("a.example").await;
    world.bob.says("Hello?").await;
    has_failed_once(&world, "b.example", &to).await;
    is_tried_after(&world, 5 * HOUR, "b.example", &to).await;
    is_tried_after(&world, 5 * HOUR, "b.example", &to).await;
    for _ in 0..7 {
        is_tried_after(&world, DAY, "b.example", &to).await;
    }
    let lines = [
        "bob: Hello?",
        "the gateway to bob: Not yet delivered: what you have written here waits, because a.example can't be reached. \
         It is tried again for 7 days in all; you needn't write it again.",
        "the gateway to bob about \"Hello?\": Your message was not delivered: a.example could not be reached for 7 days.",
    ];
    world.bob.sees(&lines).await;
    world.start("a.example").await;
    assert_eq!(world.desk("b.example").retry(ALL).await, Ok(1));
    world.alice.sees(&["bob (b.example): Hello?"]).await;
    world.still_talk().await;
}

#[tokio::test]
async fn a_clock_that_jumps_gives_nothing_up() {
    let mut world = World::of_two().await;
    let to = Destination::Follower(tea(), domain("b.example"));
    world.stop("b.example").await;
    world.alice.says("Patience.").await;
    has_failed_once(&world, "a.example", &to).await;
    is_tried_after(&world, 400 * DAY, "a.example", &to).await;
    assert_eq!(world.desk("a.example").outbox(None).await.unwrap().dead, []);
    world.start("b.example").await;
    world.core("a.example").dispatcher.nudge(to);
    world.bob.reads("alice (a.example): Patience.").await;
}

#[tokio::test]
async fn a_row_that_nobody_can_read_does_not_stop_its_queue() {
    let world = World::of_two().await;
    let to = Destination::Portal(tea());
    let name = to.to_string();
    let poison = world.core("b.example").write(move |core, tx| {
        Box::pin(async move {
            tx.add_to_outbox(name.clone(), "content", b"\xff\xff\xff".to_vec(), core.now());
            Ok(tx.outbox_head(&name, 1).await?.remove(0).id)
        })
    });
    let poison = poison.await.unwrap();
    world.alice.says("After it.").await;
    let desk = world.desk("b.example");
    let is_dead = async || {
        world.core("b.example").dispatcher.nudge(to.clone());
        !desk.outbox(None).await.unwrap().dead.is_empty()
    };
    world.eventually("the row is out of the way", is_dead).await;
    world.bob.reads("alice (a.example): After it.").await;
    let dead = desk.delivery(poison, true).await.unwrap();
    assert_eq!((dead.cause.as_deref(), dead.content), (Some("broken"), None));
    assert!(dead.reason.unwrap().starts_with("the gateway has failed on it (an outbox row can't be read"));
    assert!(desk.retry(Letters { id: Some(poison), room: None }).await.is_err());
    assert_eq!(desk.retry(ALL).await, Ok(0));
    desk.drop_letter(poison).await.unwrap();
    assert_eq!(desk.outbox(None).await.unwrap().dead, []);
}

#[tokio::test]
async fn a_message_that_brings_an_adapter_down_does_not_stop_its_queue() {
    let world = World::of_two().await;
    world.alice.says("Boom!").await;
    world.alice.says("After it.").await;
    let desk = world.desk("b.example");
    let is_dead = async || {
        world.core("b.example").dispatcher.nudge(Destination::Portal(tea()));
        !desk.outbox(None).await.unwrap().dead.is_empty()
    };
    world.eventually("the message is out of the way", is_dead).await;
    world.bob.sees(&["alice (a.example): After it."]).await;
    let dead = desk.outbox(None).await.unwrap().dead;
    // What an adapter has done before it fell is not known.
    assert_eq!((dead[0].cause.as_deref(), dead[0].certain, dead[0].attempts), (Some("broken"), false, 4));
    world
        .alice
        .reads("the gateway to alice about \"Boom!\": b.example could not show your message to its people.")
        .await;
}

#[tokio::test]
async fn whoever_waits_for_consent_does_not_wait_for_ever() {
    let world = World::of_strangers().await;
    let psst = world.alice.with(&world.bob);
    psst.says("Psst.").await;
    for _ in 0..8 {
        world.clock.moves(DAY);
        clear_away(world.core("a.example")).await.unwrap();
    }
    let lines = [
        "alice: Psst.",
        "the gateway to alice: Not yet delivered: what you have written here waits, because it can't be sent yet. \
         It is tried again for 7 days in all; you needn't write it again.",
        "the gateway to alice about \"Psst.\": Your message was not delivered: it could not be sent for 7 days.",
    ];
    psst.sees(&lines).await;
    // And after a month it is gone for good.
    assert_eq!(world.desk("a.example").outbox(None).await.unwrap().dead.len(), 1);
    world.clock.moves(31 * DAY);
    clear_away(world.core("a.example")).await.unwrap();
    assert_eq!(world.desk("a.example").outbox(None).await.unwrap().dead, []);
}

#[tokio::test]
async fn a_dead_message_can_go_elsewhere() {
    let world = World::of_two().await;
    let coffee = RoomUri::parse("mimi://b.example/r/coffee").unwrap();
    let new = CreateRoom {
        adapter: "loopback".into(),
        conversation: ConversationId::new("coffee"),
        name: None,
        room: Some(coffee.clone()),
    };
    world.desk("b.example").create_room(new).await.unwrap();
    world.bob.messenger.when("Shh!", Mood::Never("no shouting here"));
    world.alice.says("Shh!").await;
    let desk = world.desk("b.example");
    let dead = async || desk.outbox(None).await.unwrap().dead;
    world.eventually("it is dead", async || dead().await.len() == 1).await;
    desk.redirect(dead().await[0].id, &coffee).await.unwrap();
    let coffee_bob = world.bob.at("coffee");
    coffee_bob
        .reads(
            "the gateway: mimi://a.example/u/alice wrote in mimi://a.example/r/tea, where it could not be shown: Shh!",
        )
        .await;
    assert_eq!(dead().await, []);
    let refusal = desk.redirect(1, &coffee).await.unwrap_err();
    assert!(refusal.message.starts_with("there is no such dead letter"), "{refusal}");
}
