//! A client of somebody's loses its place in the room, and comes back by an external commit.

use std::time::Duration;

use mimi_gateway::{admin::Operator, mimi::tls::Tls, mls::Change, rejoin::GAP};

use crate::{
    person::Person,
    turncoat::{bundle, one_less},
    world::{World, tea},
};

/// What the people read where messages could not be.
const UNREAD: &str = "the gateway: Some messages that others wrote here could not be read and are not shown: this \
                      side had lost its place in the room for a while.";

impl World {
    /// The state of somebody's leaf in the room `tea` is gone, as by a disk that has forgotten it. Their gateway is
    /// restarted for that.
    async fn loses_its_leaf(&mut self, person: &Person) {
        let provider = person.uri().domain().as_str().to_owned();
        self.stop(&provider).await;
        let client = format!("mimi://{provider}/d/{}/1", person.uri().native());
        let sql = "DELETE FROM mls_row WHERE owner = (SELECT owner FROM leaf WHERE room = $1 AND client = $2)";
        assert!(self.changes_database(&provider, sql, &[tea().as_str(), &client]).await > 0);
        self.start(&provider).await;
    }

    async fn epoch(&self, provider: &str) -> u64 {
        self.desk(provider).room(&tea()).await.unwrap().summary.epoch
    }
}

#[tokio::test]
async fn who_has_lost_their_keys_comes_back_and_hears_what_is_said_from_then_on() {
    let mut world = World::of_two().await;
    world.still_talk().await;
    let bob = world.bob.clone();
    world.loses_its_leaf(&bob).await;
    // To keys that nobody has any more.
    world.alice.says("Are you there?").await;
    bob.reads(UNREAD).await;
    world.still_talk().await;
    assert!(!bob.transcript().iter().any(|line| line.contains("Are you there?")));
    assert_eq!(bob.transcript().iter().filter(|line| *line == UNREAD).count(), 1);
    assert_eq!(world.epoch("a.example").await, world.epoch("b.example").await);
}

#[tokio::test]
async fn who_has_lost_their_keys_and_writes_first_misses_nothing() {
    let mut world = World::of_two().await;
    let bob = world.bob.clone();
    world.loses_its_leaf(&bob).await;
    bob.says("One.").await;
    bob.says("Two.").await;
    world.alice.sees(&["bob (b.example): One.", "bob (b.example): Two."]).await;
    world.still_talk().await;
    assert!(!bob.transcript().iter().any(|line| line == UNREAD));
}

#[tokio::test]
async fn one_of_the_hubs_own_who_has_lost_their_keys_comes_back_by_the_same_way() {
    let mut world = World::of_two().await;
    let alice = world.alice.clone();
    world.loses_its_leaf(&alice).await;
    alice.says("It was me who lost them.").await;
    world.bob.reads("alice (a.example): It was me who lost them.").await;
    world.still_talk().await;
    world.loses_its_leaf(&alice).await;
    world.bob.says("And again?").await;
    alice.reads(UNREAD).await;
    world.still_talk().await;
}

#[tokio::test]
async fn where_another_of_theirs_is_whole_nobody_misses_anything() {
    let mut world = World::of_two().await;
    let ben = world.person("ben", "b.example");
    ben.joins().await;
    ben.says("Hello.").await;
    world.alice.reads("ben (b.example): Hello.").await;
    let bob = world.bob.clone();
    world.loses_its_leaf(&bob).await;
    world.alice.says("Both of you?").await;
    bob.reads("alice (a.example): Both of you?").await;
    bob.says("Me too.").await;
    world.alice.reads("bob (b.example): Me too.").await;
    ben.says("And me.").await;
    world.alice.reads("ben (b.example): And me.").await;
    assert!(!bob.transcript().iter().any(|line| line == UNREAD));
}

#[tokio::test]
async fn all_of_a_provider_come_back_one_after_the_other() {
    let mut world = World::of_two().await;
    let ben = world.person("ben", "b.example");
    ben.joins().await;
    ben.says("Hello.").await;
    world.alice.reads("ben (b.example): Hello.").await;
    world.stop("b.example").await;
    assert!(world.changes_database("b.example", "DELETE FROM mls_row", &[]).await > 0);
    world.start("b.example").await;
    let bob = world.bob.clone();
    bob.says("One.").await;
    ben.says("Two.").await;
    bob.says("Three.").await;
    world.alice.reads("bob (b.example): Three.").await;
    let lines =
        ["ben (b.example): Hello.", "bob (b.example): One.", "ben (b.example): Two.", "bob (b.example): Three."];
    assert_eq!(world.alice.transcript(), lines);
    world.still_talk().await;
}

#[tokio::test]
async fn a_commit_that_never_came_is_got_over() {
    let mut world = World::of_three().await;
    world.stop("b.example").await;
    world.person("alan", "a.example").joins().await;
    world.cathy.is_with(&["alan (a.example)", "alice (a.example)", "bob (b.example)"]).await;
    world.stop("a.example").await;
    // As a hub does that has given up on b.example.
    let gone = "DELETE FROM outbox WHERE destination = $1";
    assert!(world.changes_database("a.example", gone, &["follower mimi://a.example/r/tea b.example"]).await > 0);
    world.start("a.example").await;
    world.start("b.example").await;
    world.alice.says("Where is Bob?").await;
    world.cathy.reads("alice (a.example): Where is Bob?").await;
    let bob = world.bob.clone();
    world.has_failed_at("a.example", "follower mimi://a.example/r/tea b.example", "503").await;
    world.clock.moves(Duration::from_millis(GAP));
    bob.reads(UNREAD).await;
    world.still_talk().await;
    bob.is_with(&["alan (a.example)", "alice (a.example)", "cathy (c.example)"]).await;
    bob.says("Here.").await;
    world.cathy.reads("bob (b.example): Here.").await;
    assert_eq!(bob.transcript().iter().filter(|line| *line == UNREAD).count(), 1);
}

#[tokio::test]
async fn who_only_writes_gets_over_it_too() {
    let mut world = World::of_two().await;
    world.stop("b.example").await;
    world.person("alan", "a.example").joins().await;
    world.eventually("Alan is in", async || world.epoch("a.example").await == 2).await;
    world.stop("a.example").await;
    let gone = "DELETE FROM outbox WHERE destination = $1";
    assert!(world.changes_database("a.example", gone, &["follower mimi://a.example/r/tea b.example"]).await > 0);
    world.start("a.example").await;
    world.start("b.example").await;
    world.bob.says("Hello?").await;
    world.has_failed_at("b.example", "hub mimi://a.example/r/tea", "we are in 1").await;
    world.clock.moves(Duration::from_millis(GAP));
    world.alice.reads("bob (b.example): Hello?").await;
    world.still_talk().await;
}

#[tokio::test]
async fn a_way_back_that_is_interrupted_goes_on() {
    let mut world = World::of_two().await;
    let bob = world.bob.clone();
    world.loses_its_leaf(&bob).await;
    world.stop("a.example").await;
    bob.says("One.").await;
    world.has_failed_at("b.example", "rejoin mimi://a.example/r/tea mimi://b.example/u/bob", "").await;
    for _ in 0..3 {
        world.kill("b.example").await;
        world.start("b.example").await;
    }
    world.start("a.example").await;
    world.alice.reads("bob (b.example): One.").await;
    world.still_talk().await;
}

impl World {
    /// A queue of a provider has been tried in vain, with this problem.
    async fn has_failed_at(&self, provider: &str, destination: &str, with: &str) {
        let failed = async || {
            let queues = self.desk(provider).outbox(None).await.unwrap().queues;
            let problem = queues.into_iter().find(|queue| queue.destination == destination).and_then(|it| it.problem);
            problem.is_some_and(|problem| problem.contains(with))
        };
        self.eventually("an attempt has failed", failed).await;
    }
}

#[tokio::test]
async fn who_has_been_taken_out_meanwhile_is_told_so() {
    let mut world = World::of_three().await;
    let bob = world.bob.clone();
    world.loses_its_leaf(&bob).await;
    world.stop("b.example").await;
    let cathys = world.turncoat(&world.cathy);
    let change = Change {
        remove: vec!["mimi://b.example/d/bob/1".into()],
        update: vec![one_less(cathys.index_of(bob.uri()).await)],
        ..Change::default()
    };
    let body = bundle(cathys.commits(change, true).await).encode();
    assert_eq!(world.peer("c.example").posts("a.example", "update", tea().as_str(), &body).await.body[0], 0);
    world.start("b.example").await;
    bob.reads("the gateway: mimi://b.example/u/bob is cut off from this conversation: the room's hub does not let them back in. Somebody in the room has to take them out of it and invite them again.").await;
    bob.is_with(&[]).await;
    // And that helps.
    world.desk("a.example").invite(&tea(), bob.uri()).await.unwrap();
    bob.is_with(&["alice (a.example)", "cathy (c.example)"]).await;
    world.still_talk().await;
}

#[tokio::test]
async fn who_leaves_while_somebody_comes_back_is_out() {
    let mut world = World::of_three().await;
    // Cathy's leaving waits for a commit, and Bob's way back is the next one.
    let bob = world.bob.clone();
    world.loses_its_leaf(&bob).await;
    world.cathy.leaves().await;
    bob.says("Goodbye, Cathy.").await;
    world.alice.reads("bob (b.example): Goodbye, Cathy.").await;
    world.still_talk().await;
}
