//! The way in: what the homeserver brings, what the core gets, and what people are told.

use axum::http::Method;
use mimi_adapter::{ConversationId, Event, NativeMessageId, Refusal, conformance::message as said};
use serde_json::{Value, json};

use crate::{
    fake::{BOT, Fake, ROOM, event, message},
    gateway::Gateway,
};

#[tokio::test]
async fn a_stranger_can_not_speak_for_the_homeserver() {
    let fake = Fake::start().await;
    let gateway = fake.gateway().await;
    let body = || json!({ "events": [message("$1", "Hello")] }).to_string();
    for (token, status, errcode) in
        [(None, 401, "M_UNAUTHORIZED"), (Some("as-secret"), 403, "M_FORBIDDEN"), (Some("hs-secre"), 403, "M_FORBIDDEN")]
    {
        let (got, error) = fake.calls(Method::PUT, "transactions/1", token, body()).await;
        assert_eq!((got, error["errcode"].as_str()), (status, Some(errcode)));
    }
    assert_eq!(gateway.accepted_so_far().await, None);
    assert_eq!(fake.calls(Method::PUT, "transactions/1", Some("hs-secret"), body()).await.0, 200);
    assert!(gateway.accepted_so_far().await.is_some());
}

#[tokio::test]
async fn a_transaction_is_accepted_in_order_and_a_broken_event_harms_no_other() {
    let fake = Fake::start().await;
    let gateway = fake.gateway().await;
    let broken = [json!(3), json!({}), json!({ "type": "m.room.message", "room_id": ROOM, "event_id": "$x" })];
    let [a, b, c] = broken;
    assert_eq!(fake.brings(&[a, message("$1", "One"), b, message("$2", "Two"), c]).await, 200);
    for (id, words) in [("$1", "One"), ("$2", "Two")] {
        let inbound = gateway.accepted_so_far().await.unwrap();
        assert_eq!((inbound.id.as_str(), inbound.event), (id, said(words)));
    }
    assert_eq!(gateway.accepted_so_far().await, None);
    assert_eq!(fake.texts(), []);
}

#[tokio::test]
async fn the_homeserver_keeps_a_transaction_until_all_of_it_is_accepted() {
    let fake = Fake::start().await;
    let gateway = fake.gateway().await;
    fake.rooms(|rooms| rooms.events = [("$0".to_owned(), message("$0", ""))].into());
    let both = [message("$1", "One"), event("$2", "m.room.redaction", json!({ "redacts": "$0" }))];
    gateway.core.refuse_next(Refusal::retry("the disk is busy"));
    assert_eq!(fake.brings(&both).await, 503);
    assert_eq!(gateway.accepted_so_far().await, None);
    fake.fails_at("/event/", 500, "");
    assert_eq!(fake.brings(&both).await, 503);
    assert_eq!(fake.brings(&both).await, 200);
    assert_eq!(gateway.accepted_so_far().await.unwrap().event, said("One"));
    let deleted = Event::Delete { replaces: NativeMessageId::new("$0") };
    assert_eq!(gateway.accepted_so_far().await.unwrap().event, deleted);
    assert_eq!(gateway.accepted_so_far().await, None);
}

#[tokio::test]
async fn what_overtakes_or_gets_stuck_is_put_in_order_from_the_timeline() {
    let fake = Fake::start().await;
    let mut gateway = fake.gateway().await;
    let [first, second, third, fourth] =
        [("$1", "One"), ("$2", "Two"), ("$3", "Three"), ("$4", "Four")].map(|(id, words)| message(id, words));
    // What was said before the link is in the timeline too.
    let before = message("$0", "Before");
    let timeline = |events: &[&Value]| events.iter().rev().map(|event| (*event).clone()).collect();
    fake.rooms(|rooms| rooms.timeline = timeline(&[&before, &first]));
    assert_eq!(fake.brings(std::slice::from_ref(&first)).await, 200);
    // The second is refused, and the third is on its way already.
    fake.rooms(|rooms| rooms.timeline = timeline(&[&before, &first, &second, &third]));
    gateway.core.refuse_next(Refusal::retry("the disk is busy"));
    assert_eq!(fake.brings(std::slice::from_ref(&second)).await, 503);
    assert_eq!(fake.brings(std::slice::from_ref(&third)).await, 200);
    assert_eq!(fake.brings(&[second.clone(), third.clone()]).await, 200);
    for words in ["One", "Two", "Three"] {
        assert_eq!(gateway.accepted_so_far().await.unwrap().event, said(words));
    }
    // After a restart too: the fourth is stuck, and the homeserver brings the fifth.
    let fifth = message("$5", "Five");
    fake.rooms(|rooms| rooms.timeline = timeline(&[&before, &first, &second, &third, &fourth, &fifth]));
    gateway.restart(&fake.config).await;
    assert_eq!(fake.brings(&[fifth]).await, 200);
    for words in ["Four", "Five"] {
        assert_eq!(gateway.accepted_so_far().await.unwrap().event, said(words));
    }
    assert_eq!(gateway.accepted_so_far().await, None);
}

#[tokio::test]
async fn what_is_in_hand_is_finished_though_the_homeserver_hangs_up() {
    let fake = Fake::start().await;
    let gateway = fake.gateway().await;
    let both = [message("$1", "One"), message("$2", "Two")];
    gateway.core.hold();
    let hanging = fake.begins(&both).await;
    gateway.core.offered(1).await;
    hanging.hangs_up().await;
    gateway.core.release();
    for words in ["One", "Two"] {
        assert_eq!(gateway.accepted().await.event, said(words));
    }
    assert_eq!(fake.brings(&both).await, 200);
    assert_eq!(gateway.accepted_so_far().await, None);
}

#[tokio::test]
async fn what_the_core_refuses_its_sender_is_told_and_the_next_event_follows() {
    let fake = Fake::start().await;
    let gateway = fake.gateway().await;
    gateway.core.refuse_next(Refusal::reject("the room does not let you post"));
    assert_eq!(fake.brings(&[message("$1", "One"), message("$2", "Two")]).await, 200);
    assert_eq!(gateway.accepted_so_far().await.unwrap().event, said("Two"));
    let notices = fake.rooms(|rooms| rooms.sent.clone());
    let (sender, room, _, content, _) = &notices[0];
    assert_eq!((sender.as_str(), room.as_str(), notices.len()), (BOT, ROOM, 1));
    assert_eq!(content["msgtype"], "m.notice");
    assert_eq!(content["body"], "Not delivered to people elsewhere: the room does not let you post");
    assert_eq!(content["m.relates_to"], json!({ "m.in_reply_to": { "event_id": "$1" } }));
    assert_eq!(content["m.mentions"], json!({ "user_ids": ["@alice:a.example"] }));
    // The homeserver did not hear our yes. Nobody is told twice.
    gateway.core.refuse_next(Refusal::reject("the room does not let you post"));
    assert_eq!(fake.brings(&[message("$1", "One"), message("$2", "Two")]).await, 200);
    assert_eq!(fake.texts().len(), 1);
    // Another refusal is another notice.
    gateway.core.refuse_next(Refusal::reject("no"));
    assert_eq!(fake.brings(&[message("$3", "Three")]).await, 200);
    assert_eq!(fake.texts().len(), 2);
}

#[tokio::test]
async fn a_sender_who_can_not_be_told_now_is_told_later() {
    let fake = Fake::start().await;
    let gateway = fake.gateway().await;
    gateway.core.refuse_next(Refusal::reject("no"));
    fake.fails_at("/send/", 500, "");
    assert_eq!(fake.brings(&[message("$1", "One")]).await, 503);
    gateway.core.refuse_next(Refusal::reject("no"));
    assert_eq!(fake.brings(&[message("$1", "One")]).await, 200);
    assert_eq!(fake.texts().len(), 1);
    // A room where the gateway may not speak holds nobody up.
    gateway.core.refuse_next(Refusal::reject("no"));
    fake.fails_at("/send/", 403, r#"{"errcode":"M_FORBIDDEN","error":"muted"}"#);
    assert_eq!(fake.brings(&[message("$2", "Two")]).await, 200);
}

#[tokio::test]
async fn our_own_echo_and_other_rooms_are_nobodys_business() {
    let fake = Fake::start().await;
    let gateway = fake.gateway().await;
    let by = |sender: &str| {
        let mut event = message(&format!("${}", sender.len()), "Hello");
        event["sender"] = sender.into();
        event
    };
    let mut elsewhere = message("$2", "Psst");
    elsewhere["room_id"] = "!elsewhere".into();
    let events = [by(BOT), by("@mimi_b.example_bob:a.example"), by("@mimi_whoever:a.example"), elsewhere];
    assert_eq!(fake.brings(&events).await, 200);
    assert_eq!(gateway.accepted_so_far().await, None);
    assert_eq!(fake.texts(), []);
    // A namesake of a ghost on another homeserver is a person.
    assert_eq!(fake.brings(&[by("@mimi_b.example_bob:elsewhere.example")]).await, 200);
    assert!(gateway.accepted_so_far().await.is_some());
}

#[tokio::test]
async fn a_redaction_means_what_its_target_was() {
    let fake = Fake::start().await;
    let gateway = fake.gateway().await;
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
    assert_eq!(gateway.accepted_so_far().await.unwrap().event, Event::Delete { replaces: id("$message") });
    assert_eq!(gateway.accepted_so_far().await.unwrap().event, Event::Unlike { replaces: id("$reaction") });
    assert_eq!(gateway.accepted_so_far().await, None);
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
    let gateway = fake.gateway().await;
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
    assert_eq!(gateway.accepted_so_far().await, None);
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
    let gateway = Gateway::start(&fake.config);
    fake.fails_at("/account_data/", 400, r#"{"errcode":"M_INVALID_PARAM","error":"not a room id"}"#);
    assert_eq!(fake.brings(&[message("$1", "Hello")]).await, 200);
    gateway.core.link(ConversationId::new(ROOM));
    gateway.reported().await;
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
    let gateway = Gateway::start(&fake.config);
    gateway.core.link(ConversationId::new(ROOM));
    fake.rooms(|rooms| rooms.invited.insert((ROOM.into(), BOT.into())));
    let mut invitation = event("$1", "m.room.member", json!({ "membership": "invite" }));
    invitation["state_key"] = BOT.into();
    assert_eq!(fake.brings(std::slice::from_ref(&invitation)).await, 200);
    assert_eq!(gateway.reported().await.sender.as_str(), "@alice:a.example");
    assert_eq!(fake.texts(), []);
    // Cathy comes while the bot has been sent away for a while.
    fake.rooms(|rooms| {
        let members = rooms.members.get_mut(ROOM).unwrap();
        members.remove(BOT);
        members.insert("@cathy:a.example".into());
        rooms.invited.insert((ROOM.into(), BOT.into()));
    });
    assert_eq!(fake.brings(&[invitation]).await, 200);
    assert_eq!(gateway.reported().await.sender.as_str(), "@alice:a.example");
    assert_eq!(gateway.reported().await.sender.as_str(), "@cathy:a.example");
}
