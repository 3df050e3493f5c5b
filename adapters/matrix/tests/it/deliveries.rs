//! The way out, past a homeserver that fails at the worst moment.

use std::time::Duration;

use mimi_adapter::{
    Event, NativeMessageId, Refusal,
    conformance::{bob, message},
};

use crate::{
    fake::{BOT, Fake, ROOM},
    gateway::{Gateway, ghost},
};

const BOB: &str = "@mimi_b.example_bob:a.example";

/// The requests that were made as Bob or to get him in.
fn about_bob(fake: &Fake) -> Vec<String> {
    fake.rooms(|rooms| {
        rooms.requests.iter().filter(|line| line.ends_with(BOB) || line.contains("invite")).cloned().collect()
    })
}

#[tokio::test]
async fn a_ghost_is_introduced_when_it_first_speaks_and_then_just_speaks() {
    let fake = Fake::start().await;
    let gateway = fake.gateway().await;
    let first = gateway.deliver("k1", ROOM, &bob(), message("Hello")).await.unwrap();
    assert_eq!(first.ids, [NativeMessageId::new("$sent1")]);
    assert_eq!(
        about_bob(&fake),
        [
            "GET /rooms/!tea/messages as @mimi_b.example_bob:a.example",
            "PUT /rooms/!tea/send/m.room.message/k1 as @mimi_b.example_bob:a.example",
            "GET /profile/@mimi_b.example_bob:a.example/displayname as @mimi_b.example_bob:a.example",
            "PUT /profile/@mimi_b.example_bob:a.example/displayname as @mimi_b.example_bob:a.example",
            "POST /rooms/!tea/join as @mimi_b.example_bob:a.example",
            "POST /rooms/!tea/invite as @mimi:a.example",
            "POST /rooms/!tea/join as @mimi_b.example_bob:a.example",
            "PUT /rooms/!tea/send/m.room.message/k1 as @mimi_b.example_bob:a.example",
        ]
    );
    fake.rooms(|rooms| rooms.requests.clear());
    gateway.deliver("k2", ROOM, &bob(), message("World")).await.unwrap();
    assert_eq!(about_bob(&fake), ["PUT /rooms/!tea/send/m.room.message/k2 as @mimi_b.example_bob:a.example"]);
    assert_eq!(fake.texts(), [(BOB.into(), "Hello".into()), (BOB.into(), "World".into())]);
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_is_in_the_room_once() {
    let fake = Fake::start().await;
    let gateway = fake.gateway().await;
    gateway.deliver("k1", ROOM, &bob(), message("One")).await.unwrap();
    fake.loses_the_answer_at("/send/");
    assert!(matches!(gateway.deliver("k2", ROOM, &bob(), message("Two")).await, Err(Refusal::Retry { .. })));
    // Not even the transaction id helps now.
    fake.restarts();
    let sent = gateway.deliver("k2", ROOM, &bob(), message("Two")).await.unwrap();
    assert_eq!(sent.ids, [NativeMessageId::new("$sent2")]);
    gateway.deliver("k3", ROOM, &bob(), message("Three")).await.unwrap();
    assert_eq!(fake.texts().into_iter().map(|(_, text)| text).collect::<Vec<_>>(), ["One", "Two", "Three"]);
}

#[tokio::test]
async fn a_message_that_a_dead_process_had_sent_is_found_by_the_next() {
    let fake = Fake::start().await;
    let mut gateway = fake.gateway().await;
    let sent = gateway.deliver("k1", ROOM, &bob(), message("One")).await.unwrap();
    gateway.restart(&fake.config).await;
    fake.restarts();
    assert_eq!(gateway.deliver("k1", ROOM, &bob(), message("One")).await.unwrap(), sent);
    assert_eq!(fake.texts().len(), 1);
}

#[tokio::test]
async fn a_homeserver_that_can_not_now_is_asked_later() {
    let fake = Fake::start().await;
    let gateway = fake.gateway().await;
    gateway.deliver("k0", ROOM, &bob(), message("Zero")).await.unwrap();
    let after = async |key: &str| match gateway.deliver(key, ROOM, &bob(), message("One")).await {
        Err(Refusal::Retry { after, .. }) => after,
        other => panic!("{other:?}"),
    };
    fake.fails_at("/send/", 429, r#"{"errcode":"M_LIMIT_EXCEEDED","error":"slow down","retry_after_ms":1500}"#);
    assert_eq!(after("k1").await, Some(Duration::from_millis(1500)));
    fake.asks_to_wait_at("/send/", "7");
    assert_eq!(after("k1").await, Some(Duration::from_secs(7)));
    fake.fails_at("/send/", 401, r#"{"errcode":"M_UNKNOWN_TOKEN","error":"Unrecognised access token"}"#);
    assert_eq!(after("k1").await, None);
    fake.fails_at("/send/", 404, "<h1>nginx</h1>");
    assert_eq!(after("k1").await, None);
    gateway.deliver("k1", ROOM, &bob(), message("One")).await.unwrap();
    assert_eq!(fake.texts().len(), 2);
}

#[tokio::test]
async fn whom_the_room_does_not_let_in_reads_why() {
    let fake = Fake::start().await;
    let mut gateway = fake.gateway().await;
    let reason = async |gateway: &Gateway| match gateway.deliver("k1", ROOM, &bob(), message("Hello")).await {
        Err(Refusal::Reject { reason }) => reason,
        other => panic!("{other:?}"),
    };
    fake.rooms(|rooms| rooms.nobody_invites = true);
    let reading = "mimi://b.example/u/bob can't join the room, since @mimi:a.example can't invite (is it in the room, and \
                   may it invite?): You may not";
    assert_eq!(reason(&gateway).await, reading);
    // Not even the bot is there, and nothing of the room is known any more.
    fake.rooms(|rooms| rooms.members.get_mut(ROOM).unwrap().remove(BOT));
    gateway.restart(&fake.config).await;
    assert_eq!(reason(&gateway).await, "the gateway has no part in the room (has its bot been invited?): You may not");
    assert_eq!(fake.texts(), []);
}

#[tokio::test]
async fn an_encrypted_room_gets_nothing_in_clear() {
    let fake = Fake::start().await;
    fake.rooms(|rooms| rooms.encrypted.insert(ROOM.into()));
    let gateway = fake.gateway().await;
    let refused = gateway.deliver("k1", ROOM, &bob(), message("Hello")).await;
    assert!(matches!(refused, Err(Refusal::Reject { .. })));
    assert_eq!(fake.texts(), []);
    // What the gateway itself has to say is no secret.
    gateway.notifies("k2", ROOM, "Not delivered").await;
    assert_eq!(fake.texts(), [(BOT.into(), "Not delivered".into())]);
}

#[tokio::test]
async fn a_ghost_comes_and_goes_as_often_as_it_is_told() {
    let fake = Fake::start().await;
    let gateway = fake.gateway().await;
    for key in ["k1", "k2"] {
        assert_eq!(gateway.deliver(key, ROOM, &bob(), Event::Join).await.unwrap().ids, []);
        assert!(fake.rooms(|rooms| rooms.members[ROOM].contains(BOB)));
    }
    for key in ["k3", "k4"] {
        assert_eq!(gateway.deliver(key, ROOM, &bob(), Event::Leave).await.unwrap().ids, []);
        assert!(!fake.rooms(|rooms| rooms.members[ROOM].contains(BOB)));
    }
}

#[tokio::test]
async fn an_address_or_a_conversation_that_can_not_be_is_refused() {
    let fake = Fake::start().await;
    let gateway = Gateway::start(&fake.config);
    let long = ghost(&format!("mimi://b.example/u/{}", "b".repeat(300)));
    for (room, ghost) in [(ROOM, &long), ("tea@muc.a.example", &bob()), ("#tea:a.example", &bob())] {
        let refused = gateway.deliver("k1", room, ghost, message("Hello")).await;
        assert!(matches!(refused, Err(Refusal::Reject { .. })), "{room}");
    }
}
