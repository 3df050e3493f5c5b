//! What comes again is answered again and done once; what comes too late is made anew.

use mimi_gateway::{
    admin::Operator,
    mimi::{tls::Tls, wire::SubmitMessageResponse},
    mls::Change,
    outbox::Payload,
};

use crate::{
    turncoat::{bundle, framed, one_more, text},
    world::{World, tea},
};

const TEA: &str = "mimi://a.example/r/tea";

impl World {
    /// What waits at a.example to be told to b.example, as one body for `/notify`.
    pub async fn waiting_for_b(&self) -> Vec<u8> {
        let rows = self.core("a.example").write(|_, tx| {
            Box::pin(async move { Ok(tx.outbox_head(&format!("follower {TEA} b.example"), 100).await?) })
        });
        let fanout = |payload: &[u8]| match postcard::from_bytes(payload) {
            Ok(Payload::Fanout { message }) => message,
            other => panic!("{other:?} waits for a follower"),
        };
        rows.await.unwrap().iter().flat_map(|row| fanout(&row.payload)).collect()
    }
}

#[tokio::test]
async fn the_same_notify_twice_is_delivered_once() {
    let mut world = World::of_two().await;
    world.stop("b.example").await;
    world.alice.says("One.").await;
    world.alice.says("Two.").await;
    let body = world.waiting_for_b().await;
    world.start("b.example").await;
    let hub = world.peer("a.example");
    // Twice by this hand, and once more by the hub's own, since it knows of neither.
    assert_eq!(hub.posts("b.example", "notify", TEA, &body).await.status, 201);
    assert_eq!(hub.posts("b.example", "notify", TEA, &body).await.status, 201);
    world.alice.says("Three.").await;
    let lines = ["alice (a.example): One.", "alice (a.example): Two.", "alice (a.example): Three."];
    world.bob.sees(&lines).await;
    world.bob.says("Once each.").await;
    world.alice.reads("bob (b.example): Once each.").await;
    assert_eq!(world.bob.messenger.attempts("One."), 1);
}

#[tokio::test]
async fn a_notify_that_comes_again_after_a_restart_is_still_known() {
    let mut world = World::of_two().await;
    world.stop("b.example").await;
    world.alice.says("One.").await;
    let body = world.waiting_for_b().await;
    world.start("b.example").await;
    world.bob.reads("alice (a.example): One.").await;
    world.stop("b.example").await;
    world.start("b.example").await;
    assert_eq!(world.peer("a.example").posts("b.example", "notify", TEA, &body).await.status, 201);
    world.alice.says("Two.").await;
    world.bob.sees(&["alice (a.example): One.", "alice (a.example): Two."]).await;
}

#[tokio::test]
async fn the_same_submit_twice_has_the_same_answer_and_is_fanned_out_once() {
    let world = World::of_three().await;
    let cathys = world.turncoat(&world.cathy);
    let request = cathys.submits(&framed(&text("Once.", &cathys.user, &tea()))).await;
    let peer = world.peer("c.example");
    let first = peer.posts("a.example", "submitMessage", TEA, &request).await;
    let answer = SubmitMessageResponse::decode(&first.body).unwrap();
    assert!(matches!(answer, SubmitMessageResponse::Accepted { frank: Some(_), .. }), "{answer:?}");
    assert_eq!(peer.posts("a.example", "submitMessage", TEA, &request).await, first);
    world.cathy.says("Twice.").await;
    for reader in [&world.alice, &world.bob] {
        reader.sees(&["cathy (c.example): Once.", "cathy (c.example): Twice."]).await;
        assert_eq!(reader.messenger.attempts("Once."), 1);
    }
}

#[tokio::test]
async fn the_same_update_twice_has_the_same_answer_and_begins_one_epoch() {
    let world = World::of_three().await;
    let (cathys, carl) = (world.turncoat(&world.cathy), world.person("carl", "c.example"));
    let epoch = cathys.epoch().await;
    let change = Change {
        add: vec![cathys.key_package(carl.uri()).await],
        update: vec![one_more(carl.uri(), 2)],
        ..Change::default()
    };
    let request = bundle(cathys.commits(change, true).await).encode();
    let peer = world.peer("c.example");
    let first = peer.posts("a.example", "update", TEA, &request).await;
    assert_eq!((first.status, first.body[0]), (200, 0));
    assert_eq!(peer.posts("a.example", "update", TEA, &request).await, first);
    world.bob.is_with(&["alice (a.example)", "carl (c.example)", "cathy (c.example)"]).await;
    assert_eq!(world.desk("b.example").room(&tea()).await.unwrap().summary.epoch, epoch + 1);
    // Cathy's gateway did not make this commit, and must not make another before it knows of it.
    let there = async || world.desk("c.example").room(&tea()).await.unwrap().summary.epoch == epoch + 1;
    world.eventually("c.example is in the new epoch too", there).await;
    carl.says("Here I am.").await;
    world.bob.sees(&["carl (c.example): Here I am."]).await;
    world.alice.sees(&["carl (c.example): Here I am."]).await;
}

#[tokio::test]
async fn what_a_network_hands_in_twice_is_carried_once() {
    let mut world = World::of_two().await;
    for (speaker, name, reader) in
        [(&world.alice, "alice (a.example)", &world.bob), (&world.bob, "bob (b.example)", &world.alice)]
    {
        let act = speaker.posts("Once.");
        speaker.messenger.answered(act).await.unwrap();
        speaker.messenger.repeats(act);
        speaker.messenger.answered(act).await.unwrap();
        speaker.says("Twice.").await;
        reader.reads(&format!("{name}: Twice.")).await;
        assert_eq!(reader.messenger.attempts("Once."), 1);
    }
    world.stop("b.example").await;
    world.start("b.example").await;
    let act = world.bob.posts("Thrice.");
    world.bob.messenger.answered(act).await.unwrap();
    world.stop("b.example").await;
    world.bob.messenger.repeats(act);
    world.start("b.example").await;
    world.bob.messenger.answered(act).await.unwrap();
    world.bob.says("That's it.").await;
    world.alice.reads("bob (b.example): That's it.").await;
    assert_eq!((world.alice.transcript().len(), world.bob.transcript().len()), (6, 6));
}

#[tokio::test]
async fn a_commit_overtakes_a_waiting_message_and_the_message_is_encrypted_anew() {
    let mut world = World::of_three().await;
    world.stop("a.example").await;
    world.cathy.says("Late.").await;
    world.cathy.says("Later.").await;
    // Encrypted for this epoch, and tried.
    world
        .eventually("it was tried", async || !world.crossed("c.example", "a.example", "submitMessage").is_empty())
        .await;
    world.stop("c.example").await;
    world.start("a.example").await;
    let alan = world.person("alan", "a.example");
    alan.joins().await;
    world.bob.is_with(&["alan (a.example)", "alice (a.example)", "cathy (c.example)"]).await;
    world.start("c.example").await;
    for reader in [&world.alice, &world.bob] {
        reader.sees(&["cathy (c.example): Late.", "cathy (c.example): Later."]).await;
    }
    // accepted is longer than epochTooOld, which is ten octets: protocol, status, epoch.
    let answers = || -> Vec<String> {
        let lines = world.crossed("c.example", "a.example", "submitMessage");
        lines.iter().filter_map(|line| line.split("⇒ 200, ").nth(1).map(str::to_owned)).collect()
    };
    let too_old = |answer: &String| answer == "10 octets";
    world.eventually("both were accepted", async || answers().iter().filter(|it| !too_old(it)).count() == 2).await;
    assert!(too_old(&answers()[0]), "{:?}", answers());
    alan.says("You're early.").await;
    world.cathy.reads("alan (a.example): You're early.").await;
}
