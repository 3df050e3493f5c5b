//! What was said so long ago that its name is forgotten.

use std::time::Duration;

use mimi_gateway::janitor::{NAMED, forget_old, shorten_logs};

use crate::world::{World, tea};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn an_answer_to_what_was_said_long_ago_is_a_message_and_the_rest_is_refused() {
    let world = World::of_two().await;
    let forget = async || {
        for provider in ["a.example", "b.example"] {
            forget_old(world.core(provider)).await.unwrap();
        }
    };
    world.alice.says("Tea?").await;
    world.bob.reads("alice (a.example): Tea?").await;
    world.bob.replies_to("Tea?", "Please.").await;
    world.alice.reads("bob (b.example) answers \"Tea?\": Please.").await;

    world.clock.moves(NAMED - DAY);
    forget().await;
    world.bob.replies_to("Tea?", "As a year ago.").await;
    world.alice.reads("bob (b.example) answers \"Tea?\": As a year ago.").await;
    world.alice.reacts_to("Please.", "🫖").await;
    world.bob.reads("alice (a.example) reacts to \"Please.\": 🫖").await;

    world.clock.moves(2 * DAY);
    forget().await;
    world.bob.replies_to("Tea?", "Is there any left?").await;
    world.alice.reads("bob (b.example): Is there any left?").await;
    world.alice.replies_to("Please.", "It is cold by now.").await;
    world.bob.reads("alice (a.example): It is cold by now.").await;
    for refusal in [
        world.alice.tries_to_edit("Tea?", "Coffee?").await,
        world.alice.tries_to_delete("Tea?").await,
        world.bob.tries_to_edit("Please.", "No, thanks.").await,
        world.bob.tries_to_react_to_id(world.bob.find("Tea?"), "👍").await,
    ] {
        assert!(refusal.unwrap_err().contains("more than 400 days ago"));
    }
    // What is not so old is where it was.
    world.bob.edits("As a year ago.", "As every year.").await;
    world.alice.reads("bob (b.example) changes \"As a year ago.\": As every year.").await;
}

#[tokio::test]
async fn a_change_to_what_only_the_other_side_still_knows_is_not_shown_and_the_conversation_goes_on() {
    let world = World::of_two().await;
    world.alice.says("Tea?").await;
    world.bob.reads("alice (a.example): Tea?").await;
    world.clock.moves(NAMED + DAY);
    forget_old(world.core("b.example")).await.unwrap();
    world.alice.edits("Tea?", "Coffee?").await;
    world.alice.deletes("Tea?").await;
    world.still_talk().await;
    assert!(!world.bob.transcript().iter().any(|line| line.contains("Coffee?") || line.contains("takes back")));
}

#[tokio::test]
async fn who_only_reads_does_not_keep_every_commit_of_the_room() {
    let mut world = World::of_two().await;
    // Ben and Anna are in the room and say nothing, while others come and go.
    let (ben, anna) = (world.person("ben", "b.example"), world.person("anna", "a.example"));
    ben.joins().await;
    anna.joins().await;
    for n in 0..6 {
        let guest = world.person(&format!("guest{n}"), "b.example");
        guest.joins().await;
        guest.says("Hello.").await;
        world.alice.reads(&format!("guest{n} (b.example): Hello.")).await;
        guest.leaves().await;
    }
    world.alice.is_with(&["ben (b.example)", "bob (b.example)"]).await;
    world.still_talk().await;
    for provider in ["a.example", "b.example"] {
        let log = async || {
            let count =
                world.core(provider).write(|_, tx| Box::pin(async move { Ok(tx.count_handshakes(&tea()).await?) }));
            count.await.unwrap()
        };
        assert!(log().await > 8, "{provider} keeps {}", log().await);
        shorten_logs(world.core(provider), 8).await.unwrap();
        assert!(log().await <= 8, "{provider} keeps {}", log().await);
        shorten_logs(world.core(provider), 0).await.unwrap();
        assert_eq!(log().await, 0);
    }
    for provider in ["a.example", "b.example"] {
        world.kill(provider).await;
        world.start(provider).await;
    }
    ben.says("I have heard it all.").await;
    world.alice.reads("ben (b.example): I have heard it all.").await;
    anna.says("And I.").await;
    world.bob.reads("anna (a.example): And I.").await;
    world.bob.leaves().await;
    world.alice.is_with(&["ben (b.example)"]).await;
    ben.says("Only the two of us?").await;
    anna.reads("ben (b.example): Only the two of us?").await;
}
