//! Several messages of one turn: what becomes of the others when something happens to one of them.

use mimi_gateway::{
    mimi::{
        tls::Tls,
        uri::UserUri,
        wire::{SubmitMessageRequest, SubmitMessageResponse},
    },
    outbox::Destination,
    store::outbox::Row,
};

use crate::world::{World, tea};

const MESSAGES: usize = 12;

impl World {
    /// Bob has written while the hub was away, and it is all encrypted; then his gateway stops too.
    async fn with_a_batch() -> (Self, Vec<Row>) {
        let mut world = Self::of_two().await;
        world.stop("a.example").await;
        for n in 0..MESSAGES {
            world.bob.says(&n.to_string()).await;
        }
        let prepared = async || world.queue_of_b().await.iter().filter(|row| row.prepared.is_some()).count();
        world.eventually("all of them are encrypted", async || prepared().await == MESSAGES).await;
        let rows = world.queue_of_b().await;
        (world, rows)
    }

    async fn queue_of_b(&self) -> Vec<Row> {
        let hub = Destination::Hub(tea()).to_string();
        let rows = self
            .core("b.example")
            .write(move |_, tx| Box::pin(async move { Ok(tx.outbox_head(&hub, MESSAGES as i64).await?) }));
        rows.await.unwrap()
    }

    /// What Bob has said, as Alice reads it.
    async fn alice_reads(&self, numbers: impl Iterator<Item = usize>) {
        self.still_talk().await;
        let said: Vec<_> = self.alice.transcript().into_iter().filter(|line| line.starts_with("bob ")).collect();
        let numbers: Vec<_> = numbers.map(|n| format!("bob (b.example): {n}")).collect();
        assert_eq!(said[..numbers.len()], numbers);
        assert_eq!(said.len(), numbers.len() + 1, "{said:?}");
    }
}

/// The request that a row was made into.
fn request(row: &Row) -> SubmitMessageRequest {
    let (message, request): (u32, Vec<u8>) = postcard::from_bytes(row.prepared.as_ref().unwrap()).unwrap();
    assert_eq!(message, 0);
    SubmitMessageRequest::decode(&request).unwrap()
}

#[tokio::test]
async fn what_the_hub_has_of_a_batch_when_its_sender_is_killed_is_not_said_twice() {
    let (mut world, rows) = World::with_a_batch().await;
    world.kill("b.example").await;
    world.start("a.example").await;
    // As it was sent, and settled by nobody.
    let peer = world.peer("b.example");
    for row in &rows[..MESSAGES / 2] {
        let said = peer.posts("a.example", "submitMessage", tea().as_str(), &request(row).encode()).await;
        let answer = SubmitMessageResponse::decode(&said.body).unwrap();
        assert!(matches!(answer, SubmitMessageResponse::Accepted { .. }), "{answer:?}");
    }
    world.start("b.example").await;
    world.alice_reads(0..MESSAGES).await;
}

#[tokio::test]
async fn a_batch_whose_epoch_has_ended_is_encrypted_again_and_in_its_order() {
    let (mut world, rows) = World::with_a_batch().await;
    world.stop("b.example").await;
    world.start("a.example").await;
    // The hub has half of it, and then begins a new epoch.
    let peer = world.peer("b.example");
    for row in &rows[..MESSAGES / 2] {
        peer.posts("a.example", "submitMessage", tea().as_str(), &request(row).encode()).await;
    }
    let alan = world.person("alan", "a.example");
    alan.joins().await;
    alan.says("A new epoch.").await;
    world.start("b.example").await;
    world.alice_reads(0..MESSAGES).await;
}

#[tokio::test]
async fn one_of_a_batch_that_is_refused_is_told_to_its_sender_and_the_others_go_on() {
    let (mut world, rows) = World::with_a_batch().await;
    let (refused, mut bad) = (rows[5].id, request(&rows[5]));
    // What the hub can't allow: it speaks for somebody of another provider.
    bad.sending_uri = UserUri::parse("mimi://c.example/u/cathy").unwrap();
    let octets = postcard::to_stdvec(&(0_u32, bad.encode())).unwrap();
    let spoilt = world.core("b.example").write(move |_, tx| {
        Box::pin(async move {
            tx.prepare_outbox_row(refused, Some(&octets));
            Ok(())
        })
    });
    spoilt.await.unwrap();
    world.start("a.example").await;
    world.alice_reads((0..MESSAGES).filter(|n| *n != 5)).await;
    let notices = || world.bob.transcript().into_iter().filter(|line| line.contains("not delivered")).count();
    world.eventually("Bob is told", async || notices() == 1).await;
}
