//! Scenes with a real homeserver, in one sitting since it takes a few seconds to start.

use mimi_adapter::{
    ConversationId, Event, NativeMessageId, NativeUserId, Refusal, SenderProof, Text, conformance::message, toml,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    gateway::{Gateway, context, free_port, ghost},
    person::saying,
    synapse::{SERVER, Synapse},
};

#[tokio::test]
async fn people_talk_through_a_real_homeserver() {
    let directory = tempfile::tempdir().unwrap();
    let (hs_port, as_port) = (free_port(), free_port());
    let config = format!(
        "homeserver = \"http://127.0.0.1:{hs_port}\"\nserver_name = \"{SERVER}\"\nlisten = \"127.0.0.1:{as_port}\"\n\
         as_token = \"as-secret\"\nhs_token = \"hs-secret\"\n"
    );
    let registration = mimi_matrix::registration(config.parse::<toml::Table>().unwrap(), &context("matrix")).unwrap();
    let mut synapse = Synapse::new(directory.path(), hs_port, &[registration]);

    // The gateway is up before its homeserver, and says so.
    let mut gateway = Gateway::start(&config);
    let problems = gateway.adapter.probe().await;
    assert!(problems[0].what.contains("can't be reached"), "{problems:?}");
    synapse.start();
    let bob = ghost("mimi://b.example/u/bob");
    let bob_id = format!("@mimi_b.example_bob:{SERVER}");
    let bot = format!("@mimi:{SERVER}");
    assert_eq!(gateway.adapter.probe().await, []);

    // Alice invites the bot to a room, and it tells her what the admin needs to know.
    let mut alice = synapse.person("alice").await;
    let room = alice.makes_room(json!({ "preset": "private_chat", "name": "Tea" })).await;
    alice.invites(&room, &bot).await;
    let told = alice.sees(&room, saying("needs its id")).await;
    assert!(told["content"]["body"].as_str().unwrap().ends_with(&room), "{told}");
    assert_eq!((told["sender"].as_str(), told["content"]["msgtype"].as_str()), (Some(&*bot), Some("m.notice")));

    // Nothing of a room that isn't linked reaches the core. (When the bot answers in another room, it has
    // heard what was said here.) Once it is, Alice is reported, and Bob comes.
    alice.says(&room, "Before the link").await;
    let other = alice.makes_room(json!({ "invite": [bot] })).await;
    alice.sees(&other, saying("needs its id")).await;
    gateway.core.set_ghosts(ConversationId::new(&room), vec![bob.clone()]);
    gateway.core.link(ConversationId::new(&room));
    let present = gateway.reported().await;
    assert_eq!((present.conversation.as_str(), present.sender.as_str()), (&*room, &*alice.id));
    assert_eq!((present.event, present.direct, present.proof), (Event::Join, None, SenderProof::Verified));
    let came =
        alice.sees(&room, |event| event["state_key"] == *bob_id && event["content"]["membership"] == "join").await;
    assert_eq!(came["content"]["displayname"], "bob (b.example)");

    // They talk.
    let hello = alice.says(&room, "Hello").await;
    let said = gateway.accepted().await;
    assert_eq!((said.id.as_str(), &said.event), (&*hello, &message("Hello")));
    let answer = Event::Message { text: Text::Markdown("**Hi**".into()), in_reply_to: Some(said.id.clone()) };
    let delivered = gateway.deliver("k1", &room, &bob, answer.clone()).await.unwrap();
    let seen = alice.sees(&room, saying("Hi")).await;
    assert_eq!(seen["event_id"], delivered.ids[0].as_str());
    assert_eq!(seen["sender"], *bob_id);
    assert_eq!(seen["content"]["formatted_body"], "<p><strong>Hi</strong></p>");
    assert_eq!(seen["content"]["m.relates_to"]["m.in_reply_to"]["event_id"], *hello);

    // Somebody whom the room has never seen speaks at once.
    let dave = ghost("mimi://d.example/u/Dave");
    gateway.deliver("k2", &room, &dave, message("Dave here")).await.unwrap();
    let seen = alice.sees(&room, saying("Dave here")).await;
    assert_eq!(seen["sender"], format!("@mimi_d.example_=44ave:{SERVER}"));

    // Edits, reactions and deletions, both ways.
    let edit = json!({ "msgtype": "m.text", "body": "* Hullo", "m.new_content": { "msgtype": "m.text", "body": "Hullo" },
        "m.relates_to": { "rel_type": "m.replace", "event_id": hello } });
    alice.sends(&room, "m.room.message", edit).await;
    let hello = NativeMessageId::new(hello);
    let edited = Event::Edit { replaces: hello.clone(), text: Text::Plain("Hullo".into()) };
    assert_eq!(gateway.accepted().await.event, edited);
    let relation = json!({ "rel_type": "m.annotation", "event_id": delivered.ids[0].as_str(), "key": "👍" });
    let like = alice.sends(&room, "m.reaction", json!({ "m.relates_to": relation })).await;
    let reaction = Event::Reaction { in_reply_to: delivered.ids[0].clone(), emoji: "👍".into() };
    assert_eq!(gateway.accepted().await.event, reaction);
    alice.redacts(&room, &like).await;
    assert_eq!(gateway.accepted().await.event, Event::Unlike { replaces: NativeMessageId::new(like) });
    alice.redacts(&room, hello.as_str()).await;
    assert_eq!(gateway.accepted().await.event, Event::Delete { replaces: hello });
    alice.redacts(&room, delivered.ids[0].as_str()).await;
    alice.sees(&room, saying("Only its author")).await;

    let oops = gateway.deliver("k3", &room, &bob, message("Oops")).await.unwrap().ids.remove(0);
    let edit = Event::Edit { replaces: oops.clone(), text: Text::Plain("Good".into()) };
    gateway.deliver("k4", &room, &bob, edit).await.unwrap();
    let seen = alice.sees(&room, |event| event["content"]["m.new_content"]["body"] == "Good").await;
    assert_eq!(seen["content"]["m.relates_to"]["event_id"], oops.as_str());
    let heart = Event::Reaction { in_reply_to: oops.clone(), emoji: "❤".into() };
    let heart_id = gateway.deliver("k5", &room, &bob, heart.clone()).await.unwrap().ids.remove(0);
    alice.sees(&room, |event| event["content"]["m.relates_to"]["key"] == "❤").await;
    assert_eq!(gateway.deliver("k5b", &room, &bob, heart).await.unwrap().ids, [], "the same emoji twice is there once");
    gateway.deliver("k6", &room, &bob, Event::Unlike { replaces: heart_id.clone() }).await.unwrap();
    alice
        .sees(&room, |event| event["redacts"] == heart_id.as_str() || event["content"]["redacts"] == heart_id.as_str())
        .await;
    gateway.deliver("k7", &room, &bob, Event::Delete { replaces: oops.clone() }).await.unwrap();
    alice.sees(&room, |event| event["redacts"] == oops.as_str() || event["content"]["redacts"] == oops.as_str()).await;

    // What can't be carried, and what the core refuses, its sender is told.
    let image = alice
        .sends(
            &room,
            "m.room.message",
            json!({ "msgtype": "m.image", "body": "cat.png", "url": format!("mxc://{SERVER}/cat") }),
        )
        .await;
    let told = alice.sees(&room, saying("the file could not be read: Not found")).await;
    assert_eq!(told["content"]["m.relates_to"]["m.in_reply_to"]["event_id"], *image);
    assert_eq!(told["content"]["m.mentions"]["user_ids"], json!([alice.id]));
    let elsewhere = json!({ "msgtype": "m.image", "body": "dog.png", "url": "mxc://c.example/dog" });
    let image = alice.sends(&room, "m.room.message", elsewhere).await;
    let about = |event: &Value| event["content"]["m.relates_to"]["m.in_reply_to"]["event_id"] == *image;
    let told = alice.sees(&room, about).await;
    let words = told["content"]["body"].as_str().unwrap();
    assert!(words.starts_with("Not delivered to people elsewhere: the file could not be read"), "{words}");
    gateway.core.refuse_next(Refusal::reject("the room does not let you post"));
    alice.says(&room, "May I?").await;
    alice.sees(&room, saying("the room does not let you post")).await;

    // When the core is busy the homeserver keeps what is said, in order.
    gateway.core.refuse_next(Refusal::retry("the disk is busy"));
    alice.says(&room, "One").await;
    alice.says(&room, "Two").await;
    assert_eq!(gateway.accepted().await.event, message("One"));
    assert_eq!(gateway.accepted().await.event, message("Two"));
    gateway.notifies("k8", &room, "A notice").await;
    alice.sees(&room, saying("A notice")).await;

    // The homeserver dies after it took a message and before we knew. It is there once all the same.
    let sent = gateway.deliver("k9", &room, &bob, message("Once only")).await.unwrap();
    synapse.kill();
    assert!(matches!(gateway.deliver("k10", &room, &bob, message("Later")).await, Err(Refusal::Retry { .. })));
    synapse.start();
    gateway.restart(&config).await;
    assert_eq!(gateway.deliver("k9", &room, &bob, message("Once only")).await.unwrap(), sent);
    gateway.deliver("k10", &room, &bob, message("Later")).await.unwrap();
    alice.sees(&room, saying("Later")).await;
    let history = alice.history(&room).await;
    assert_eq!(history.iter().filter(|event| saying("Once only")(event)).count(), 1);

    // Cathy comes and goes; a ghost leaves.
    let cathy = synapse.person("cathy").await;
    alice.invites(&room, &cathy.id).await;
    cathy.joins(&room).await;
    let came = gateway.accepted().await;
    assert_eq!((came.sender.as_str(), came.event), (&*cathy.id, Event::Join));
    cathy.ask(Method::POST, &format!("rooms/{room}/leave"), json!({})).await;
    let left = gateway.accepted().await;
    assert_eq!((left.sender.as_str(), left.event), (&*cathy.id, Event::Leave));
    gateway.deliver("k11", &room, &dave, Event::Leave).await.unwrap();
    alice
        .sees(&room, |event| {
            event["sender"] == format!("@mimi_d.example_=44ave:{SERVER}") && event["content"]["membership"] == "leave"
        })
        .await;

    // Who is banned stays out.
    alice.ask(Method::POST, &format!("rooms/{room}/ban"), json!({ "user_id": bob_id })).await;
    let ousted = gateway.accepted().await;
    let event = Event::Oust { user: bob.user.clone(), banned: true };
    assert_eq!((ousted.sender.as_str(), ousted.event), (&*alice.id, event));
    let Err(Refusal::Reject { reason }) = gateway.deliver("k12", &room, &bob, message("Me again")).await else {
        panic!("banned")
    };
    assert!(reason.contains("can't join the room"), "{reason}");

    // Bob writes to Alice alone: however often we try, it is one room.
    let person = NativeUserId::new(alice.id.clone());
    let direct = gateway.adapter.open_direct(&person, &bob).await.unwrap();
    assert_eq!(gateway.adapter.open_direct(&person, &bob).await.unwrap(), direct);
    gateway.deliver("k13", direct.as_str(), &bob, message("Between us")).await.unwrap();
    alice.joins(direct.as_str()).await;
    alice.sees(direct.as_str(), saying("Between us")).await;
    alice.says(direct.as_str(), "Yes?").await;
    let said = gateway.accepted().await;
    assert_eq!((&said.conversation, &said.event), (&direct, &message("Yes?")));
    assert_eq!(said.direct.as_ref(), Some(&bob.user));
    let nobody = gateway.adapter.open_direct(&NativeUserId::new(format!("@nobody:{SERVER}")), &bob).await;
    assert!(matches!(nobody, Err(Refusal::Reject { .. })));

    // Bob leaves for good, and writes again: that is another room.
    gateway.deliver("k13b", direct.as_str(), &bob, Event::Leave).await.unwrap();
    let another = gateway.adapter.open_direct(&person, &bob).await.unwrap();
    assert_ne!(another, direct);

    // Alice writes to somebody whom nobody here has met. The gateway may restart in between.
    let eve_id = format!("@mimi_e.example_eve:{SERVER}");
    let eve =
        alice.makes_room(json!({ "preset": "trusted_private_chat", "is_direct": true, "invite": [eve_id] })).await;
    alice.sees(&eve, |event| event["state_key"] == *eve_id && event["content"]["membership"] == "join").await;
    gateway.restart(&config).await;
    alice.says(&eve, "Are you there?").await;
    let said = gateway.accepted().await;
    assert_eq!((said.conversation.as_str(), &said.event), (&*eve, &message("Are you there?")));
    assert_eq!(said.direct, Some(ghost("mimi://e.example/u/eve").user));
    gateway.core.refuse_next(Refusal::reject("there is no such person"));
    alice.says(&eve, "Hello?").await;
    let told = alice.sees(&eve, saying("there is no such person")).await;
    assert_eq!(told["sender"], *eve_id);

    // With a third person in it before anything was said, it is nobody's, and people are told.
    let frank_id = format!("@mimi_f.example_frank:{SERVER}");
    let frank = alice.makes_room(json!({ "is_direct": true, "invite": [frank_id] })).await;
    alice.sees(&frank, |event| event["state_key"] == *frank_id && event["content"]["membership"] == "join").await;
    alice.invites(&frank, &cathy.id).await;
    cathy.joins(&frank).await;
    alice.says(&frank, "All three of us").await;
    alice.sees(&frank, saying("no longer between two people")).await;

    // Into an encrypted room nothing is written, and people are told.
    alice
        .ask(
            Method::PUT,
            &format!("rooms/{room}/state/m.room.encryption"),
            json!({ "algorithm": "m.megolm.v1.aes-sha2" }),
        )
        .await;
    alice.sees(&room, saying("This room is encrypted")).await;
    let refused = gateway.deliver("k14", &room, &dave, message("In clear")).await;
    assert!(matches!(refused, Err(Refusal::Reject { .. })));
    gateway.restart(&config).await;
    assert!(matches!(gateway.deliver("k14", &room, &dave, message("In clear")).await, Err(Refusal::Reject { .. })));

    // Of all that, nothing else has reached the core.
    assert_eq!(gateway.accepted_so_far().await, None);
    assert_eq!(gateway.adapter.probe().await, []);
    gateway.stop().await;
}
