//! The way in: what the homeserver brings, what the core gets, and what people are told.

use std::sync::Arc;

use axum::http::Method;
use mimi_adapter::{Event, NativeMessageId};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::{
    core::{Answer, Gateway, text},
    fake::{BOT, Fake, ROOM, event, message},
};

#[tokio::test]
async fn a_stranger_can_not_speak_for_the_homeserver() {
    let fake = Fake::start().await;
    let mut gateway = fake.gateway().await;
    let body = || json!({ "events": [message("$1", "Hello")] }).to_string();
    for (token, status, errcode) in
        [(None, 401, "M_UNAUTHORIZED"), (Some("as-secret"), 403, "M_FORBIDDEN"), (Some("hs-secre"), 403, "M_FORBIDDEN")]
    {
        let (got, error) = fake.calls(Method::PUT, "transactions/1", token, body()).await;
        assert_eq!((got, error["errcode"].as_str()), (status, Some(errcode)));
    }
    assert_eq!(gateway.accepted_so_far(), None);
    assert_eq!(fake.calls(Method::PUT, "transactions/1", Some("hs-secret"), body()).await.0, 200);
    assert!(gateway.accepted_so_far().is_some());
}

#[tokio::test]
async fn a_transaction_is_accepted_in_order_and_a_broken_event_harms_no_other() {
    let fake = Fake::start().await;
    let mut gateway = fake.gateway().await;
    let broken = [json!(3), json!({}), json!({ "type": "m.room.message", "room_id": ROOM, "event_id": "$x" })];
    let [a, b, c] = broken;
    assert_eq!(fake.brings(&[a, message("$1", "One"), b, message("$2", "Two"), c]).await, 200);
    for (id, said) in [("$1", "One"), ("$2", "Two")] {
        let inbound = gateway.accepted_so_far().unwrap();
        assert_eq!((inbound.id.as_str(), inbound.event), (id, text(said)));
    }
    assert_eq!(gateway.accepted_so_far(), None);
    assert_eq!(fake.texts(), []);
}

#[tokio::test]
async fn the_homeserver_keeps_a_transaction_until_all_of_it_is_accepted() {
    let fake = Fake::start().await;
    let mut gateway = fake.gateway().await;
    assert_eq!(fake.brings(&[message("$1", "One")]).await, 200);
    gateway.core.answers(Answer::NotNow);
    let both = [message("$1", "One"), message("$2", "Two")];
    assert_eq!(fake.brings(&both).await, 503);
    gateway.core.answers(Answer::Yes);
    assert_eq!(fake.brings(&both).await, 200);
    assert_eq!(gateway.accepted_so_far().unwrap().event, text("One"));
    assert_eq!(gateway.accepted_so_far().unwrap().event, text("Two"));
    assert_eq!(gateway.accepted_so_far(), None);
}

#[tokio::test]
async fn what_is_in_hand_is_finished_though_the_homeserver_hangs_up() {
    let fake = Fake::start().await;
    let mut gateway = fake.gateway().await;
    let permits = Arc::new(Semaphore::new(1));
    gateway.core.answers(Answer::Slowly(permits.clone()));
    let both = [message("$1", "One"), message("$2", "Two")];
    let hanging = fake.begins(&both).await;
    assert_eq!(gateway.accepted().await.event, text("One"));
    hanging.hangs_up().await;
    // The second try waits for the first.
    permits.add_permits(10);
    assert_eq!(fake.brings(&both).await, 200);
    assert_eq!(gateway.accepted_so_far().unwrap().event, text("Two"));
    assert_eq!(gateway.accepted_so_far(), None);
    assert_eq!(permits.available_permits(), 10 - 3, "the first try has offered the rest, the second both again");
}

#[tokio::test]
async fn what_the_core_refuses_its_sender_is_told_and_the_next_event_follows() {
    let fake = Fake::start().await;
    let gateway = fake.gateway().await;
    gateway.core.answers(Answer::Never("the room does not let you post"));
    assert_eq!(fake.brings(&[message("$1", "One"), message("$2", "Two")]).await, 200);
    let notices = fake.rooms(|rooms| rooms.sent.clone());
    let (sender, room, _, content, _) = &notices[0];
    assert_eq!((sender.as_str(), room.as_str(), notices.len()), (BOT, ROOM, 2));
    assert_eq!(content["msgtype"], "m.notice");
    assert_eq!(content["body"], "Not delivered to people elsewhere: the room does not let you post");
    assert_eq!(content["m.relates_to"], json!({ "m.in_reply_to": { "event_id": "$1" } }));
    assert_eq!(content["m.mentions"], json!({ "user_ids": ["@alice:a.example"] }));
    // The homeserver did not hear our yes. Nobody is told twice.
    assert_eq!(fake.brings(&[message("$1", "One"), message("$2", "Two")]).await, 200);
    assert_eq!(fake.texts().len(), 2);
}

#[tokio::test]
async fn a_sender_who_can_not_be_told_now_is_told_later() {
    let fake = Fake::start().await;
    let gateway = fake.gateway().await;
    gateway.core.answers(Answer::Never("no"));
    fake.fails_at("/send/", 500, "");
    assert_eq!(fake.brings(&[message("$1", "One")]).await, 503);
    assert_eq!(fake.brings(&[message("$1", "One")]).await, 200);
    assert_eq!(fake.texts().len(), 1);
    // A room where the gateway may not speak holds nobody up.
    fake.fails_at("/send/", 403, r#"{"errcode":"M_FORBIDDEN","error":"muted"}"#);
    assert_eq!(fake.brings(&[message("$2", "Two")]).await, 200);
}

#[tokio::test]
async fn our_own_echo_and_other_rooms_are_nobodys_business() {
    let fake = Fake::start().await;
    let mut gateway = fake.gateway().await;
    let by = |sender: &str| {
        let mut event = message("$1", "Hello");
        event["sender"] = sender.into();
        event
    };
    let mut elsewhere = message("$2", "Psst");
    elsewhere["room_id"] = "!elsewhere".into();
    let events = [by(BOT), by("@mimi_b.example_bob:a.example"), by("@mimi_whoever:a.example"), elsewhere];
    assert_eq!(fake.brings(&events).await, 200);
    assert_eq!(gateway.accepted_so_far(), None);
    assert_eq!(fake.texts(), []);
    // A namesake of a ghost on another homeserver is a person.
    assert_eq!(fake.brings(&[by("@mimi_b.example_bob:elsewhere.example")]).await, 200);
    assert!(gateway.accepted_so_far().is_some());
}

#[tokio::test]
async fn a_redaction_means_what_its_target_was() {
    let fake = Fake::start().await;
    let mut gateway = fake.gateway().await;
    fake.rooms(|rooms| {
        let mut bobs = message("$bobs", "");
        bobs["sender"] = "@mimi_b.example_bob:a.example".into();
        let state = event("$topic", "m.room.topic", json!({}));
        let events = [message("$message", ""), event("$reaction", "m.reaction", json!({})), bobs, state];
        rooms.events = events.map(|event| (event["event_id"].as_str().unwrap().to_owned(), event)).into();
    });
    let redaction = |id: &str, of: &str| event(id, "m.room.redaction", json!({ "redacts": of }));
    let all = ["$message", "$reaction", "$bobs", "$topic", "$unknown"];
    let all: Vec<_> = all.iter().enumerate().map(|(i, of)| redaction(&format!("$r{i}"), of)).collect();
    assert_eq!(fake.brings(&all).await, 200);
    let id = NativeMessageId::new;
    assert_eq!(gateway.accepted_so_far().unwrap().event, Event::Delete { replaces: id("$message") });
    assert_eq!(gateway.accepted_so_far().unwrap().event, Event::Unlike { replaces: id("$reaction") });
    assert_eq!(gateway.accepted_so_far(), None);
    let told = fake.texts();
    assert_eq!(told.len(), 1);
    assert!(told[0].1.starts_with("Only its author"), "{told:?}");
    // What it was can't be known now, so the homeserver shall ask again.
    fake.fails_at("/event/", 500, "");
    assert_eq!(fake.brings(&[redaction("$r9", "$message")]).await, 503);
}

#[tokio::test]
async fn people_of_an_encrypted_room_are_told_once() {
    let fake = Fake::start().await;
    let mut gateway = fake.gateway().await;
    let encrypted = |id: &str| {
        event(
            id,
            "m.room.encrypted",
            json!({ "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "…", "session_id": "s" }),
        )
    };
    assert_eq!(fake.brings(&[encrypted("$1"), encrypted("$2")]).await, 200);
    assert_eq!(fake.brings(&[encrypted("$3")]).await, 200);
    assert_eq!(fake.texts().len(), 1);
    assert_eq!(gateway.accepted_so_far(), None);
}

#[tokio::test]
async fn the_homeserver_gets_the_ghosts_it_asks_for() {
    let fake = Fake::start().await;
    let _gateway = fake.gateway().await;
    let ask = async |path: &str| fake.calls(Method::GET, path, Some("hs-secret"), String::new()).await.0;
    assert_eq!(ask("users/@mimi_b.example_bob:a.example").await, 200);
    assert!(fake.rooms(|rooms| rooms.registered.contains("@mimi_b.example_bob:a.example")));
    assert_eq!(ask("users/@mimi_nonsense:a.example").await, 404);
    assert_eq!(ask("users/@alice:a.example").await, 404);
    assert_eq!(ask("users/nonsense").await, 404);
    assert_eq!(ask("rooms/%23mimi_direct_0:a.example").await, 404);
    assert_eq!(ask("thirdparty/protocol/x").await, 404);
    let ping = fake.calls(Method::POST, "ping", Some("hs-secret"), r#"{"transaction_id":"x"}"#.into()).await;
    assert_eq!(ping, (200, json!({})));
    let (status, error) = fake.calls(Method::PUT, "transactions/1", Some("hs-secret"), "not JSON".into()).await;
    assert_eq!((status, error["errcode"].as_str()), (400, Some("M_BAD_JSON")));
}

#[tokio::test]
async fn what_the_homeserver_never_answers_holds_nothing_up() {
    let fake = Fake::start().await;
    let mut gateway = Gateway::start(&fake.config);
    fake.fails_at("/account_data/", 400, r#"{"errcode":"M_INVALID_PARAM","error":"not a room id"}"#);
    assert_eq!(fake.brings(&[message("$1", "Hello")]).await, 200);
    gateway.core.link(ROOM);
    assert_eq!(gateway.accepted().await.event, Event::Join);
    // What it doesn't answer now, it is asked again.
    let mut elsewhere = message("$2", "Psst");
    elsewhere["room_id"] = "!elsewhere".into();
    fake.fails_at("/account_data/", 500, "");
    assert_eq!(fake.brings(std::slice::from_ref(&elsewhere)).await, 503);
    assert_eq!(fake.brings(&[elsewhere]).await, 200);
}

#[tokio::test]
async fn people_of_a_room_that_was_replaced_are_told_so() {
    let fake = Fake::start().await;
    let _gateway = fake.gateway().await;
    let mut tombstone = event("$1", "m.room.tombstone", json!({ "body": "", "replacement_room": "!next" }));
    tombstone["state_key"] = "".into();
    assert_eq!(fake.brings(&[tombstone]).await, 200);
    let told = fake.texts();
    assert!(told[0].1.ends_with("needs its id: !next"), "{told:?}");
}

#[tokio::test]
async fn the_bot_enters_a_linked_room_as_soon_as_it_is_invited() {
    let fake = Fake::start().await;
    fake.rooms(|rooms| rooms.members.get_mut(ROOM).unwrap().remove(BOT));
    let mut gateway = Gateway::start(&fake.config);
    gateway.core.link(ROOM);
    fake.rooms(|rooms| rooms.invited.insert((ROOM.into(), BOT.into())));
    let mut invitation = event("$1", "m.room.member", json!({ "membership": "invite" }));
    invitation["state_key"] = BOT.into();
    assert_eq!(fake.brings(&[invitation]).await, 200);
    let present = gateway.accepted().await;
    assert_eq!((present.sender.as_str(), present.event), ("@alice:a.example", Event::Join));
    assert_eq!(fake.texts(), []);
}
