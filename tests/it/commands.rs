//! What people ask the gateway itself.

use mimi_gateway::admin::Operator;

use crate::world::{World, tea};

/// What the gateway has said to somebody, as they read it.
fn told(name: &str, text: &str) -> String {
    format!("the gateway to {name} about \"something nobody has said here\": {text}")
}

#[tokio::test]
async fn who_asks_is_told_who_reads_along_and_nobody_else_is() {
    let world = World::of_three().await;
    world.alice.asks("who").await;
    let answer = told("alice", "From elsewhere read along:\nb.example: bob\nc.example: cathy");
    world.alice.reads(&answer).await;
    world.alice.says("That was for me alone.").await;
    world.bob.sees(&["alice (a.example): That was for me alone."]).await;
    assert_eq!(world.alice.transcript(), [&answer, "alice: That was for me alone."]);
}

#[tokio::test]
async fn a_command_that_is_offered_twice_is_answered_once() {
    let world = World::of_two().await;
    let asked = world.alice.asks_unanswered("who");
    world.alice.messenger.answered(asked).await.unwrap();
    world.alice.messenger.repeats(asked);
    world.alice.messenger.answered(asked).await.unwrap();
    world.still_talk().await;
    let answers = world.alice.transcript().iter().filter(|line| line.contains("read along")).count();
    assert_eq!(answers, 1);
}

#[tokio::test]
async fn who_may_change_the_conversation_brings_somebody_in() {
    let world = World::of_two().await;
    let ben = world.person("ben", "b.example");
    let uri = ben.uri();
    world.alice.asks(&format!("invite {uri}")).await;
    world.alice.reads(&told("alice", "Only those who may change this conversation itself can ask me that.")).await;
    world.alice.is_with(&["bob (b.example)"]).await;
    world.alice.demands(&format!("invite {uri}")).await;
    world.alice.is_with(&["ben (b.example)", "bob (b.example)"]).await;
    world.alice.demands(&format!("invite {uri}")).await;
    world.alice.reads(&told("alice", "mimi://b.example/u/ben is here already.")).await;
    ben.says("Thank you.").await;
    world.alice.reads("ben (b.example): Thank you.").await;
}

#[tokio::test]
async fn whom_consent_does_not_let_in_does_not_come() {
    let world = World::of_two().await;
    world.alice.demands("invite mimi://c.example/u/cathy").await;
    world.alice.asks("who").await;
    let asked = |line: &String| line.contains("mimi://c.example/u/cathy – invited, not here");
    world.eventually("Alice reads how it stands", async || world.alice.transcript().iter().any(asked)).await;
    world.still_talk().await;
    world.alice.is_with(&["bob (b.example)"]).await;
}

#[tokio::test]
async fn what_is_not_understood_is_answered_with_what_would_be() {
    let world = World::of_two().await;
    world.alice.asks("dance").await;
    let answer = |line: &String| line.contains("I don't know “dance”.") && line.contains("invite mimi://");
    world.eventually("Alice reads what she can say", async || world.alice.transcript().iter().any(answer)).await;
    world.alice.asks("about").await;
    let about = |line: &String| line.contains("End-to-end encryption ends at this gateway");
    world.eventually("Alice reads who can read this", async || world.alice.transcript().iter().any(about)).await;
}

#[tokio::test]
async fn a_conversation_is_taken_out_by_who_may_change_it_and_an_admin_can_undo_that() {
    let world = World::of_two().await;
    world.bob.asks("leave").await;
    world.still_talk().await;
    world.bob.demands("leave").await;
    let refusal = world.bob.tries_to_say("Anybody?").await.unwrap_err();
    assert_eq!(refusal, "this conversation is not linked to a MIMI room");
    world.desk("b.example").relink(&tea()).await.unwrap();
    world.still_talk().await;
}
