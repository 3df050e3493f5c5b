//! Scenes with a real Prosody: Bob and Cathy use XMPP at b.example, Alice is a MIMI user of a.example.

#![allow(clippy::unwrap_used)] // The helpers are tests too.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use mimi_adapter::{
    CancellationToken, ConversationId, Event, File, NativeMessageId, NativeUserId, Refusal, SenderProof, Speaker, Text,
    conformance::picture,
};
use tokio::{sync::watch, task::JoinHandle};

#[path = "prosody/cable.rs"]
mod cable;
#[path = "prosody/conformance.rs"]
mod conformance;
#[path = "prosody/gateway.rs"]
mod gateway;
#[path = "prosody/person.rs"]
mod person;
#[path = "prosody/server.rs"]
mod server;

use cable::Cable;
use gateway::{Gateway, Recorder, adapter, alice, by_alice, message};
use person::{Person, body, from_nick, stanza_id};
use server::{Prosody, SECRET};

const TEA: &str = "tea@muc.b.example";
const ALICE: &str = r"alice\40a.example@mimi.b.example";

/// Bob sits in the tea room, and the gateway has come in.
async fn tea() -> (Prosody, Person, Arc<Recorder>, Gateway) {
    logged();
    let prosody = Prosody::start();
    let mut bob = Person::connect(prosody.clients, "bob").await;
    bob.joins(TEA, "Bob").await;
    let core = Recorder::linking(&[TEA]);
    let gateway = Gateway::start(&prosody, &core);
    sees_alice(&mut bob).await;
    (prosody, bob, core, gateway)
}

async fn sees_alice(person: &mut Person) {
    person
        .sees("Alice in the room", |stanza| stanza.name() == "presence" && from_nick(stanza) == "alice (a.example)")
        .await;
}

fn logged() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}

/// Rooms without an archive repeat what is as old as a whole second.
async fn the_second_is_over() {
    let seconds = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let then = seconds();
    while seconds() == then {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn native(id: &str) -> NativeMessageId {
    NativeMessageId::new(id)
}

fn text(text: &str) -> Text {
    Text::Plain(text.into())
}

#[tokio::test]
async fn a_room_and_a_mimi_user_talk() {
    let (_prosody, mut bob, core, gateway) = tea().await;
    let joined = core.accepts(1, |inbound| inbound.event == Event::Join).await;
    assert_eq!((joined[0].sender.as_str(), joined[0].proof), ("bob@b.example", SenderProof::Verified));

    let id = bob.says(TEA, "b1", "<body>Is the tea ready?</body>").await;
    let question = core.accepts_text("Is the tea ready?").await;
    assert_eq!(question.conversation, ConversationId::new(TEA));
    assert_eq!((question.sender.as_str(), question.proof), ("bob@b.example", SenderProof::Verified));
    assert_eq!((question.id, question.direct), (native(&id), None));

    let event = Event::Message { text: text("Almost."), in_reply_to: Some(native(&id)) };
    let delivered = gateway.delivers(&by_alice(TEA, "key-1", event)).await.unwrap();
    let answer = bob.reads("Almost.").await;
    assert_eq!(from_nick(&answer), "alice (a.example)");
    assert_eq!(body(&answer).unwrap(), "> Bob: Is the tea ready?\nAlmost.");
    assert_eq!(answer.get_child("reply", "urn:xmpp:reply:0").unwrap().attr("id"), Some(id.as_str()));
    let answer_id = stanza_id(&answer);
    assert_eq!(delivered.ids, [native(&format!("ghost:key-1:{answer_id}")), native(&answer_id)]);

    bob.says(TEA, "b2", &format!("<body>Thanks!</body><reply xmlns='urn:xmpp:reply:0' id='{answer_id}'/>")).await;
    let thanks = core.accepts_text("Thanks!").await;
    assert_eq!(thanks.event, Event::Message { text: text("Thanks!"), in_reply_to: Some(delivered.ids[0].clone()) });
    // Nothing that Alice said came back.
    assert_eq!(core.texts(), ["Is the tea ready?", "Thanks!"]);
    gateway.stop().await;
}

#[tokio::test]
async fn corrections_retractions_and_reactions_go_both_ways() {
    let (_prosody, mut bob, core, gateway) = tea().await;
    let id = bob.says(TEA, "b1", "<body>tee?</body>").await;
    bob.says(TEA, "b2", "<body>tea?</body><replace xmlns='urn:xmpp:message-correct:0' id='b1'/>").await;
    let reactions =
        |emojis: &str, id: &str| format!("<reactions xmlns='urn:xmpp:reactions:0' id='{id}'>{emojis}</reactions>");
    bob.says(TEA, "b3", &reactions("<reaction>👍</reaction><reaction>🍵</reaction>", &id)).await;
    bob.says(TEA, "b4", &reactions("<reaction>🍵</reaction>", &id)).await;
    bob.says(TEA, "b5", &format!("<retract xmlns='urn:xmpp:message-retract:1' id='{id}'/><body>gone</body>")).await;
    let accepted = core.accepts(6, |inbound| inbound.event != Event::Join).await;
    let events: Vec<_> = accepted.iter().map(|inbound| inbound.event.clone()).collect();
    assert_eq!(
        events,
        [
            message("tee?"),
            Event::Edit { replaces: native(&id), text: text("tea?") },
            Event::Reaction { in_reply_to: native(&id), emoji: "👍".into() },
            Event::Reaction { in_reply_to: native(&id), emoji: "🍵".into() },
            Event::Unlike { replaces: accepted[2].id.clone() },
            Event::Delete { replaces: native(&id) },
        ]
    );

    let said = gateway.alice_says(TEA, "key-1", "coffe").await;
    let first = stanza_id(&bob.reads("coffe").await);
    gateway
        .delivers(&by_alice(TEA, "key-2", Event::Edit { replaces: said.ids[0].clone(), text: text("coffee") }))
        .await
        .unwrap();
    let edit = bob.reads("coffee").await;
    assert_eq!(edit.get_child("replace", "urn:xmpp:message-correct:0").unwrap().attr("id"), Some("key-1"));
    let react =
        |key: &str, emoji: &str| by_alice(TEA, key, Event::Reaction { in_reply_to: native(&id), emoji: emoji.into() });
    let shown = |stanza: &minidom::Element| {
        let reactions = stanza.get_child("reactions", "urn:xmpp:reactions:0")?;
        Some(reactions.children().map(minidom::Element::text).collect::<Vec<_>>())
    };
    let liked = gateway.delivers(&react("key-3", "👍")).await.unwrap();
    gateway.delivers(&react("key-4", "🎉")).await.unwrap();
    gateway.delivers(&by_alice(TEA, "key-5", Event::Unlike { replaces: liked.ids[0].clone() })).await.unwrap();
    for expected in [vec!["👍"], vec!["👍", "🎉"], vec!["🎉"]] {
        let stanza = bob.sees("reactions", |stanza| shown(stanza).is_some()).await;
        assert_eq!(shown(&stanza).unwrap(), expected);
    }
    gateway.delivers(&by_alice(TEA, "key-6", Event::Delete { replaces: said.ids[0].clone() })).await.unwrap();
    let retraction = bob.sees("a retraction", |stanza| stanza.has_child("retract", "urn:xmpp:message-retract:1")).await;
    assert_eq!(retraction.get_child("retract", "urn:xmpp:message-retract:1").unwrap().attr("id"), Some(first.as_str()));
}

#[tokio::test]
async fn what_was_said_while_the_gateway_was_away_comes_in_order_and_once() {
    let (prosody, mut bob, core, gateway) = tea().await;
    bob.says(TEA, "b0", "<body>0</body>").await;
    core.accepts_text("0").await;
    gateway.stop().await;
    for number in 1..=120 {
        bob.says(TEA, &format!("b{number}"), &format!("<body>{number}</body>")).await;
    }
    let gateway = Gateway::start(&prosody, &core);
    for number in 121..=150 {
        bob.says(TEA, &format!("b{number}"), &format!("<body>{number}</body>")).await;
    }
    core.accepts_text("150").await;
    let expected: Vec<_> = (0..=150).map(|number| number.to_string()).collect();
    assert_eq!(core.texts(), expected);
    // A correction finds what was said before the gateway started, and an answer quotes it.
    bob.says(TEA, "c", "<body>hundred</body><replace xmlns='urn:xmpp:message-correct:0' id='b100'/>").await;
    let edit = core.accepts(1, |inbound| matches!(inbound.event, Event::Edit { .. })).await.remove(0);
    let hundred = core.accepts_text("100").await.id;
    assert_eq!(edit.event, Event::Edit { replaces: hundred, text: text("hundred") });
    gateway.stop().await;
}

#[tokio::test]
async fn the_past_of_a_newly_linked_room_stays_there() {
    logged();
    let prosody = Prosody::start();
    let mut bob = Person::connect(prosody.clients, "bob").await;
    bob.joins(TEA, "Bob").await;
    bob.says(TEA, "b1", "<body>secret</body>").await;
    let core = Recorder::linking(&[TEA]);
    let gateway = Gateway::start(&prosody, &core);
    sees_alice(&mut bob).await;
    // Bob's presence was accepted with a cursor, so what is said while we are away now is not missed.
    core.accepts(1, |inbound| inbound.event == Event::Join && inbound.cursor.is_some()).await;
    gateway.stop().await;
    bob.says(TEA, "b2", "<body>hello</body>").await;
    let gateway = Gateway::start(&prosody, &core);
    core.accepts_text("hello").await;
    assert_eq!(core.texts(), ["hello"]);
    gateway.stop().await;
}

/// Alice, who speaks until she is told to stop.
struct Talk {
    said: watch::Receiver<usize>,
    enough: CancellationToken,
    talking: JoinHandle<Gateway>,
}

impl Talk {
    fn start(gateway: Gateway, conversation: impl Into<String>) -> Self {
        let conversation = conversation.into();
        let (saying, said) = watch::channel(0);
        let enough = CancellationToken::new();
        let stop = enough.clone();
        let talking = tokio::spawn(async move {
            for number in 0.. {
                if stop.is_cancelled() {
                    break;
                }
                gateway.alice_says(&conversation, &format!("key-{number}"), &format!("a{number}")).await;
                saying.send_replace(number + 1);
            }
            gateway
        });
        Self { said, enough, talking }
    }

    /// Until she has said a few more things.
    async fn goes_on(&mut self) {
        let now = *self.said.borrow();
        let more = self.said.wait_for(|said| *said >= now + 10);
        tokio::time::timeout(Duration::from_secs(60), more).await.expect("Alice gets nothing through").unwrap();
    }

    /// The gateway back, and how often she has spoken.
    async fn end(self) -> (Gateway, usize) {
        self.enough.cancel();
        let gateway = self.talking.await.unwrap();
        (gateway, *self.said.borrow())
    }
}

/// Bob says the numbers, and sees each in the room: then it was said.
async fn bob_says(bob: &mut Person, numbers: std::ops::Range<usize>) {
    for number in numbers {
        bob.says(TEA, &format!("b{number}"), &format!("<body>b{number}</body>")).await;
    }
}

/// Everything that Bob and Alice have said arrived once and in order.
async fn nothing_is_lost_doubled_or_reordered(core: &Recorder, bob: &mut Person, by_bob: usize, by_alice: usize) {
    let numbers = |who: &str, count| (0..count).map(|number| format!("{who}{number}")).collect::<Vec<_>>();
    core.accepts_text(&format!("b{}", by_bob - 1)).await;
    assert_eq!(core.texts(), numbers("b", by_bob));
    let archive = bob.reads_archive(TEA).await;
    let alices: Vec<_> =
        archive.into_iter().filter(|(nick, _)| nick.starts_with("alice")).map(|(_, text)| text).collect();
    assert_eq!(alices, numbers("a", by_alice));
}

#[tokio::test]
async fn restarts_and_crashes_of_prosody_lose_double_and_reorder_nothing() {
    let (mut prosody, mut bob, core, gateway) = tea().await;
    let mut talk = Talk::start(gateway, TEA);
    for round in 0..4 {
        talk.goes_on().await;
        bob_says(&mut bob, round * 20..round * 20 + 20).await;
        let restart = move || {
            if round % 2 == 0 {
                prosody.down()
            } else {
                prosody.crash()
            }
            prosody.up();
            prosody
        };
        prosody = tokio::task::spawn_blocking(restart).await.unwrap();
        bob = Person::connect(prosody.clients, "bob").await;
        bob.joins(TEA, "Bob").await;
    }
    talk.goes_on().await;
    bob_says(&mut bob, 80..100).await;
    let (_gateway, by_alice) = talk.end().await;
    nothing_is_lost_doubled_or_reordered(&core, &mut bob, 100, by_alice).await;
}

#[tokio::test]
async fn a_cable_that_breaks_loses_doubles_and_reorders_nothing() {
    logged();
    let prosody = Prosody::start();
    let mut bob = Person::connect(prosody.clients, "bob").await;
    bob.joins(TEA, "Bob").await;
    let core = Recorder::linking(&[TEA]);
    let cable = Cable::to(prosody.components).await;
    let mut talk = Talk::start(Gateway::start_at(cable.port, &core), TEA);
    for round in 0..10 {
        talk.goes_on().await;
        bob_says(&mut bob, round * 20..round * 20 + 10).await;
        cable.cut();
        bob_says(&mut bob, round * 20 + 10..round * 20 + 20).await;
    }
    let (_gateway, by_alice) = talk.end().await;
    nothing_is_lost_doubled_or_reordered(&core, &mut bob, 200, by_alice).await;
}

#[tokio::test]
async fn a_delivery_that_arrived_before_a_crash_is_not_shown_twice() {
    let (prosody, mut bob, core, gateway) = tea().await;
    gateway.alice_says(TEA, "key-1", "only once").await;
    bob.reads("only once").await;
    bob.says(TEA, "b1", "<body>yes</body>").await;
    core.accepts_text("yes").await;
    // The core has not heard of the delivery, and begins again.
    gateway.crash().await;
    let gateway = Gateway::start(&prosody, &core);
    let again = gateway.alice_says(TEA, "key-1", "only once").await;
    assert_eq!(again.ids.len(), 2);
    gateway.alice_says(TEA, "key-2", "and then").await;
    assert_eq!(bob.reads_from("alice", 1).await, ["and then"]);
}

#[tokio::test]
async fn not_now_holds_the_room_in_order_and_no_other_and_never_is_told_once() {
    let (prosody, mut bob, core, gateway) = tea().await;
    bob.joins("cake@muc.b.example", "Bob").await;
    core.link(&[TEA, "cake@muc.b.example"]);
    sees_alice(&mut bob).await;
    let later = || Refusal::Retry { after: Some(Duration::from_secs(3)), source: "busy".into() };
    core.will_answer([later()]);
    bob.says(TEA, "b1", "<body>first</body>").await;
    core.is_offered(1).await;
    bob.says(TEA, "b2", "<body>second</body>").await;
    bob.says("cake@muc.b.example", "b3", "<body>cake</body>").await;
    core.accepts_text("second").await;
    assert_eq!(core.texts(), ["cake", "first", "second"]);

    core.will_answer([Refusal::reject("the room is closed")]);
    bob.says(TEA, "b4", "<body>third</body>").await;
    let told = bob.reads("the room is closed").await;
    assert_eq!((told.attr("type"), from_nick(&told)), (Some("chat"), "mimi-gateway".to_owned()));
    assert_eq!(body(&told).unwrap(), "Your message was not delivered: the room is closed");
    // An encrypted message can't be carried, and a restart of the gateway does not bring old refusals back.
    bob.says(TEA, "b5", "<body>OMEMO</body><encrypted xmlns='eu.siacs.conversations.axolotl'/>").await;
    bob.reads("Your message was not carried").await;
    // What is at another server is carried as the link that it is.
    bob.says(TEA, "b5b", "<body>https://x/y</body><x xmlns='jabber:x:oob'><url>https://x/y</url></x>").await;
    core.accepts_text("https://x/y").await;
    bob.says(TEA, "b6", "<body>fourth</body>").await;
    core.accepts_text("fourth").await;
    gateway.stop().await;
    let gateway = Gateway::start(&prosody, &core);
    bob.says(TEA, "b7", "<body>fifth</body>").await;
    core.accepts_text("fifth").await;
    gateway.alice_says(TEA, "key-1", "end").await;
    let private = |stanza: &minidom::Element| stanza.name() == "message" && stanza.attr("type") == Some("chat");
    let next = bob.sees("the end", |stanza| private(stanza) || body(stanza).as_deref() == Some("end")).await;
    assert_eq!(body(&next).unwrap(), "end");
}

#[tokio::test]
async fn who_pretends_to_be_a_ghost_is_heard_as_who_they_are() {
    let (prosody, mut bob, core, gateway) = tea().await;
    let mark = format!("<carried xmlns='urn:mimi-gateway:carried:0' by='{ALICE}'/>");
    bob.says(TEA, "key-1", &format!("<body>I am Alice</body>{mark}")).await;
    assert_eq!(core.accepts_text("I am Alice").await.sender.as_str(), "bob@b.example");
    gateway.alice_says(TEA, "key-1", "No, I am").await;
    assert_eq!(from_nick(&bob.reads("No, I am").await), "alice (a.example)");
    gateway.stop().await;
    bob.says(TEA, "key-2", &format!("<body>Still Alice</body>{mark}")).await;
    let gateway = Gateway::start(&prosody, &core);
    assert_eq!(core.accepts_text("Still Alice").await.sender.as_str(), "bob@b.example");
    gateway.alice_says(TEA, "key-2", "Nonsense").await;
    bob.reads("Nonsense").await;
}

#[tokio::test]
async fn a_long_line_is_left_to_the_archive_and_still_comes_in_order() {
    let (_prosody, mut bob, core, gateway) = tea().await;
    let (held, busy) = (Duration::from_secs(6), "busy".into());
    core.will_answer([Refusal::Retry { after: Some(held), source: busy }]);
    for number in 0..1_300 {
        bob.send(&format!(
            "<message xmlns='jabber:client' to='{TEA}' type='groupchat' id='b{number}'><body>b{number}</body></message>"
        ));
    }
    bob.reads("b1299").await;
    // What Alice says meanwhile does not wait, and does not make the archive's part of the line forgotten.
    gateway.alice_says(TEA, "key-1", "So much to say!").await;
    core.accepts(1_300, |inbound| inbound.event != Event::Join).await;
    let expected: Vec<_> = (0..1_300).map(|number| format!("b{number}")).collect();
    assert_eq!(core.texts(), expected);
}

#[tokio::test]
async fn the_gateway_waits_for_a_room_to_be_made_and_goes_when_it_is_not_linked_any_more() {
    logged();
    let prosody = Prosody::start();
    let core = Recorder::linking(&[TEA, "not a room"]);
    let gateway = Gateway::start(&prosody, &core);
    let not_yet = gateway.adapter.deliver(&by_alice(TEA, "key-1", message("hello?"))).await;
    assert!(matches!(not_yet, Err(Refusal::Retry { .. })), "{not_yet:?}");
    let mut bob = Person::connect(prosody.clients, "bob").await;
    bob.joins(TEA, "Bob").await;
    sees_alice(&mut bob).await;
    gateway.alice_says(TEA, "key-1", "hello!").await;
    core.link(&[]);
    let left = |nick: &'static str| {
        move |stanza: &minidom::Element| stanza.attr("type") == Some("unavailable") && from_nick(stanza) == nick
    };
    let gone =
        bob.sees("somebody leave", |stanza| left("mimi-gateway")(stanza) || left("alice (a.example)")(stanza)).await;
    let other = if from_nick(&gone) == "mimi-gateway" { "alice (a.example)" } else { "mimi-gateway" };
    bob.sees("the other leave", left(other)).await;
    bob.says(TEA, "b1", "<body>alone</body>").await;
    core.link(&[TEA]);
    sees_alice(&mut bob).await;
    gateway.alice_says(TEA, "key-2", "back").await;
}

#[tokio::test]
async fn a_room_that_does_not_want_a_ghost_says_so_to_its_person() {
    let (_prosody, mut bob, _core, gateway) = tea().await;
    let set = |bob: &Person, what: &str| {
        bob.send(&format!(
            "<iq xmlns='jabber:client' type='set' to='{TEA}' id='set'><query xmlns='http://jabber.org/protocol/muc#admin'>{what}</query></iq>"
        ));
    };
    let done = |stanza: &minidom::Element| stanza.attr("id") == Some("set");
    set(&bob, "<item nick='alice (a.example)' role='visitor'/>");
    bob.sees("the answer", done).await;
    let silenced = gateway.delivers(&by_alice(TEA, "key-1", message("may I?"))).await.unwrap_err();
    assert_eq!(
        silenced,
        "tea@muc.b.example did not take it: You do not currently have permission to speak in this chat"
    );
    set(&bob, &format!(r"<item jid='{ALICE}' affiliation='outcast'/>"));
    bob.sees("the answer", done).await;
    let banned = gateway.delivers(&by_alice(TEA, "key-2", message("hello?"))).await.unwrap_err();
    assert_eq!(banned, "alice (a.example) is banned from tea@muc.b.example");
}

#[tokio::test]
async fn two_people_talk_alone() {
    logged();
    let prosody = Prosody::start();
    let core = Recorder::linking(&[]);
    let gateway = Gateway::start(&prosody, &core);
    let mut bob = Person::connect(prosody.clients, "bob").await;
    let conversation = gateway.adapter.open_direct(&NativeUserId::new("bob@b.example"), &alice()).await.unwrap();
    assert_eq!(conversation.as_str(), format!("bob@b.example {ALICE}"));
    let hello = gateway.alice_says(conversation.as_str(), "key-1", "Hello Bob").await;
    assert_eq!(hello.ids, [native("key-1")]);
    let message = bob.reads("Hello Bob").await;
    assert_eq!((message.attr("from"), message.attr("id")), (Some(format!("{ALICE}/mimi").as_str()), Some("key-1")));

    let answer =
        "<body>Hello Alice</body><request xmlns='urn:xmpp:receipts'/><reply xmlns='urn:xmpp:reply:0' id='key-1'/>";
    bob.writes(ALICE, "0b6c9a52-3c1e-4c58", answer);
    let accepted = core.accepts_text("Hello Alice").await;
    assert_eq!((accepted.conversation, accepted.direct), (conversation.clone(), Some(alice().user)));
    assert_eq!((accepted.sender.as_str(), accepted.proof), ("bob@b.example", SenderProof::Verified));
    assert_eq!(accepted.id, native("0b6c9a52-3c1e-4c58"));
    assert_eq!(accepted.event, Event::Message { text: text("Hello Alice"), in_reply_to: Some(native("key-1")) });
    let receipt = bob.sees("a receipt", |stanza| stanza.has_child("received", "urn:xmpp:receipts")).await;
    assert_eq!(receipt.get_child("received", "urn:xmpp:receipts").unwrap().attr("id"), Some("0b6c9a52-3c1e-4c58"));

    // An app that counts its messages: what points at one finds it all the same, in both directions.
    bob.writes(ALICE, "aab1a", "<body>One lump?</body>");
    let lump = core.accepts_text("One lump?").await.id;
    bob.writes(ALICE, "aab2a", "<body>Two?</body><replace xmlns='urn:xmpp:message-correct:0' id='aab1a'/>");
    let edit = core.accepts(1, |inbound| matches!(inbound.event, Event::Edit { .. })).await.remove(0);
    assert_eq!(edit.event, Event::Edit { replaces: lump.clone(), text: text("Two?") });
    let two = Event::Message { text: text("Two."), in_reply_to: Some(lump) };
    gateway.delivers(&by_alice(conversation.as_str(), "key-1b", two)).await.unwrap();
    let two = bob.reads("Two.").await;
    assert_eq!(two.get_child("reply", "urn:xmpp:reply:0").unwrap().attr("id"), Some("aab1a"));
    let said_before = core.texts().len();

    for number in 0..50 {
        bob.writes(ALICE, &format!("m{number}"), &format!("<body>m{number}</body>"));
        gateway.alice_says(conversation.as_str(), &format!("k{number}"), &format!("a{number}")).await;
    }
    core.accepts_text("m49").await;
    let expected: Vec<_> = (0..50).map(|number| format!("m{number}")).collect();
    assert_eq!(core.texts()[said_before..], expected);
    for number in 0..50 {
        assert_eq!(body(&bob.sees("Alice", |stanza| body(stanza).is_some()).await).unwrap(), format!("a{number}"));
    }
    // An offline account keeps its messages, one that does not exist has none.
    gateway.alice_says(&format!("cathy@b.example {ALICE}"), "key-2", "For later").await;
    Person::connect(prosody.clients, "cathy").await.reads("For later").await;
    let nobody = by_alice(&format!("nobody@b.example {ALICE}"), "key-3", gateway::message("?"));
    let reason = gateway.delivers(&nobody).await.unwrap_err();
    assert!(reason.starts_with("nobody@b.example did not take it"), "{reason}");
    gateway.stop().await;
}

/// Between two people there is no archive to look into after a cut. What can be promised: nothing is lost or
/// reordered; what Alice says may come again under the same id; and what Bob's app shows as received was.
#[tokio::test]
async fn a_cable_that_breaks_between_two_people_loses_and_reorders_nothing_that_was_confirmed() {
    logged();
    let prosody = Prosody::start();
    let core = Recorder::linking(&[]);
    let cable = Cable::to(prosody.components).await;
    let mut bob = Person::connect(prosody.clients, "bob").await;
    let conversation = format!("bob@b.example {ALICE}");
    let mut talk = Talk::start(Gateway::start_at(cable.port, &core), conversation);
    let receipt = |stanza: &minidom::Element| stanza.has_child("received", "urn:xmpp:receipts");
    let write = |bob: &Person, number: usize| {
        let message = format!("<body>b{number}</body><request xmlns='urn:xmpp:receipts'/>");
        bob.writes(ALICE, &format!("the-message-number-{number}"), &message);
    };
    let mut received = Vec::new();
    for round in 0..5 {
        talk.goes_on().await;
        for number in round * 20..round * 20 + 10 {
            write(&bob, number);
            let receipt = bob.notices("a receipt", receipt).await;
            received.push(String::from(&receipt));
        }
        // Nobody knows how far the others get.
        (round * 20 + 10..round * 20 + 20).for_each(|number| write(&bob, number));
        bob.notices("the last receipt but nine", receipt).await;
        cable.cut();
    }
    talk.goes_on().await;
    let (gateway, by_alice) = talk.end().await;
    gateway.alice_says(&format!("bob@b.example {ALICE}"), "end", "the end").await;

    let mut shown = Vec::<(String, String)>::new();
    loop {
        let message = bob.sees("the end", |stanza| stanza.name() == "message").await;
        if receipt(&message) {
            received.push(String::from(&message));
        }
        match body(&message).filter(|_| message.attr("type") == Some("chat")) {
            Some(text) if text == "the end" => break,
            Some(text) => shown.push((message.attr("id").unwrap().into(), text)),
            None => {}
        }
    }
    let numbers: Vec<usize> = core.texts().iter().map(|text| text[1..].parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|two| two[0] < two[1]), "{numbers:?}");
    let arrived =
        |receipt: &String| numbers.iter().any(|number| receipt.contains(&format!("the-message-number-{number}'")));
    assert!(received.len() >= 50 && received.iter().all(arrived), "{received:?} {numbers:?}");
    shown.dedup();
    let first = shown[0].1[1..].parse().unwrap();
    let expected: Vec<_> = (first..by_alice).map(|number| format!("a{number}")).collect();
    assert_eq!(shown.into_iter().map(|(_, text)| text).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_message_that_is_not_taken_goes_back_to_its_sender() {
    logged();
    let prosody = Prosody::start();
    let core = Recorder::linking(&[]);
    let gateway = Gateway::start(&prosody, &core);
    let mut bob = Person::connect(prosody.clients, "bob").await;
    gateway.alice_says(&format!("bob@b.example {ALICE}"), "key-1", "ready").await;
    let refused = async |bob: &mut Person, id: &str| {
        let error = bob.sees("an error", |stanza| stanza.attr("type") == Some("error")).await;
        assert_eq!(error.attr("id"), Some(id));
        let error = error.get_child("error", "jabber:client").unwrap();
        let text = error.get_child("text", "urn:ietf:params:xml:ns:xmpp-stanzas").unwrap().text();
        (error.attr("type").unwrap().to_owned(), text)
    };
    core.will_answer([Refusal::reject("she has blocked you")]);
    bob.writes(ALICE, "m1", "<body>hello?</body>");
    assert_eq!(
        refused(&mut bob, "m1").await,
        ("cancel".into(), "Your message was not delivered: she has blocked you".into())
    );
    bob.writes(ALICE, "m2", "<body>x</body><encrypted xmlns='eu.siacs.conversations.axolotl'/>");
    assert_eq!(refused(&mut bob, "m2").await.0, "modify");
    bob.writes("nobody@mimi.b.example", "m3", "<body>hello?</body>");
    assert_eq!(
        refused(&mut bob, "m3").await,
        ("cancel".into(), "Nobody reads what is written to this address.".into())
    );
    // Held while the core says "not now", and given back when the gateway stops.
    let later = || Refusal::Retry { after: Some(Duration::from_secs(600)), source: "busy".into() };
    core.will_answer([later()]);
    bob.writes(ALICE, "m4", "<body>now?</body>");
    core.is_offered(2).await;
    gateway.stop().await;
    let (kind, reason) = refused(&mut bob, "m4").await;
    assert_eq!(kind, "wait");
    assert!(reason.contains("Please send it again"), "{reason}");
    assert_eq!(core.texts(), Vec::<String>::new());
}

#[tokio::test]
async fn who_is_thrown_out_comes_back_and_people_leave() {
    let (_prosody, mut bob, core, gateway) = tea().await;
    let mut cathy = Person::connect(_prosody.clients, "cathy").await;
    cathy.joins(TEA, "Cathy").await;
    let cathys = |event: Event<NativeMessageId>| {
        move |inbound: &mimi_adapter::Inbound| inbound.sender.as_str() == "cathy@b.example" && inbound.event == event
    };
    core.accepts(1, cathys(Event::Join)).await;
    // Who goes off line is still one of the room, who is put out of it is not.
    cathy.send(&format!("<presence xmlns='jabber:client' to='{TEA}/Cathy' type='unavailable'/>"));
    bob.sees("Cathy go", |stanza| stanza.attr("type") == Some("unavailable") && from_nick(stanza) == "Cathy").await;
    cathy.joins(TEA, "Cathy").await;
    for nick in ["Cathy", "mimi-gateway", "alice (a.example)"] {
        bob.send(&format!(
            "<iq xmlns='jabber:client' type='set' to='{TEA}' id='kick'><query xmlns='http://jabber.org/protocol/muc#admin'>\
             <item nick='{nick}' role='none'/></query></iq>"
        ));
        let present = |stanza: &minidom::Element| stanza.name() == "presence" && from_nick(stanza) == nick;
        bob.sees("a kick", |stanza| present(stanza) && stanza.attr("type") == Some("unavailable")).await;
        if nick == "Cathy" {
            core.accepts(1, cathys(Event::Leave)).await;
            assert_eq!(core.accepts(1, cathys(Event::Join)).await.len(), 1);
            continue;
        }
        if nick != "mimi-gateway" {
            // Whether she is out is for her room to say, and it does not let Bob do that.
            let ousted = Event::Oust { user: alice().user, banned: false };
            core.accepts(1, move |inbound| inbound.sender.as_str() == "bob@b.example" && inbound.event == ousted).await;
            gateway.delivers(&by_alice(TEA, "key-0", Event::Join)).await.unwrap();
        }
        bob.sees("the return", |stanza| present(stanza) && stanza.attr("type").is_none()).await;
    }
    bob.says(TEA, "b1", "<body>still there?</body>").await;
    core.accepts_text("still there?").await;
    gateway.alice_says(TEA, "key-1", "yes").await;
    bob.reads("yes").await;
    // Alice goes, and somebody takes her name before she is back.
    gateway.delivers(&by_alice(TEA, "key-2", Event::Leave)).await.unwrap();
    bob.sees("Alice leave", |stanza| stanza.attr("type") == Some("unavailable")).await;
    cathy.joins(TEA, "alice (a.example)").await;
    core.accepts(2, cathys(Event::Join)).await;
    gateway.delivers(&by_alice(TEA, "key-3", Event::Join)).await.unwrap();
    gateway.alice_says(TEA, "key-4", "it is me").await;
    assert_eq!(from_nick(&bob.reads("it is me").await), "alice (a.example) 2");
    cathy.says(TEA, "c1", "<body>no, me</body>").await;
    assert_eq!(core.accepts_text("no, me").await.sender.as_str(), "cathy@b.example");
}

#[tokio::test]
async fn in_an_anonymous_room_people_are_their_nicknames() {
    logged();
    const ANON: &str = "masks@anon.b.example";
    let prosody = Prosody::start();
    let mut bob = Person::connect(prosody.clients, "bob").await;
    bob.joins(ANON, "Zorro").await;
    let core = Recorder::linking(&[ANON]);
    let gateway = Gateway::start(&prosody, &core);
    sees_alice(&mut bob).await;
    bob.says(ANON, "b1", "<body>en garde</body>").await;
    let first = core.accepts_text("en garde").await;
    assert_eq!((first.sender.as_str(), first.proof), ("masks@anon.b.example/Zorro", SenderProof::Claimed));
    gateway.alice_says(ANON, "key-1", "touché").await;
    gateway.stop().await;
    bob.says(ANON, "b2", "<body>gone?</body>").await;
    // Alice is recognised in the archive of a room that shows nobody's address.
    let gateway = Gateway::start(&prosody, &core);
    let second = core.accepts_text("gone?").await;
    assert_eq!((second.sender, second.proof), (first.sender, SenderProof::Claimed));
    gateway.alice_says(ANON, "key-2", "no").await;
    assert_eq!(core.texts(), ["en garde", "gone?"]);
    let only_bob = core.accepts(1, |inbound| inbound.event == Event::Join).await;
    assert!(only_bob.iter().all(|inbound| inbound.sender.as_str() == "masks@anon.b.example/Zorro"), "{only_bob:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_room_without_an_archive_repeats_what_it_remembers() {
    logged();
    const PLAIN: &str = "plain@plain.b.example";
    let prosody = Prosody::start();
    let mut bob = Person::connect(prosody.clients, "bob").await;
    bob.joins(PLAIN, "Bob").await;
    bob.says(PLAIN, "b0", "<body>before</body>").await;
    the_second_is_over().await;
    let core = Recorder::linking(&[PLAIN]);
    let gateway = Gateway::start(&prosody, &core);
    sees_alice(&mut bob).await;
    bob.says(PLAIN, "b1", "<body>one</body>").await;
    assert_eq!(core.accepts_text("one").await.id, native("sent:bob@b.example\nb1"));
    let hello = Event::Message { text: text("hello"), in_reply_to: Some(native("sent:bob@b.example\nb1")) };
    let delivered = gateway.delivers(&by_alice(PLAIN, "key-1", hello)).await.unwrap();
    let hello = bob.reads("hello").await;
    assert_eq!(hello.get_child("reply", "urn:xmpp:reply:0").unwrap().attr("id"), Some("b1"));
    assert_eq!(delivered.ids, [native("key-1")]);
    bob.says(PLAIN, "b2", "<body>yes</body><reply xmlns='urn:xmpp:reply:0' id='key-1'/>").await;
    let reply = core.accepts_text("yes").await;
    assert_eq!(reply.event, Event::Message { text: text("yes"), in_reply_to: Some(native("key-1")) });
    gateway.stop().await;
    bob.says(PLAIN, "b3", "<body>three</body>").await;
    let gateway = Gateway::start(&prosody, &core);
    bob.says(PLAIN, "b4", "<body>four</body>").await;
    core.accepts_text("four").await;
    assert_eq!(core.texts(), ["one", "yes", "three", "four"]);
    gateway.stop().await;
}

#[tokio::test]
async fn the_gateway_has_a_word_with_one_person_or_with_the_room() {
    let (prosody, mut bob, core, gateway) = tea().await;
    let notice = |key: &str, conversation: &str, to: Option<&str>| {
        let event = Event::Notice { text: "not carried".into(), about: None, to: to.map(NativeUserId::new) };
        mimi_adapter::Delivery { speaker: Speaker::Gateway, ..by_alice(conversation, key, event) }
    };
    gateway.delivers(&notice("key-1", TEA, Some("bob@b.example"))).await.unwrap();
    let private = bob.reads("not carried").await;
    assert_eq!((private.attr("type"), from_nick(&private)), (Some("chat"), "mimi-gateway".to_owned()));
    gateway.delivers(&notice("key-2", TEA, Some("gone@b.example"))).await.unwrap();
    assert_eq!(bob.reads("not carried").await.attr("type"), Some("groupchat"));
    gateway.delivers(&notice("key-3", &format!("bob@b.example {ALICE}"), None)).await.unwrap();
    let alone = bob.reads("not carried").await;
    assert_eq!((alone.attr("type"), alone.attr("from")), (Some("chat"), Some("mimi.b.example")));
    // The archive does not make a person of the gateway.
    gateway.crash().await;
    let gateway = Gateway::start(&prosody, &core);
    bob.says(TEA, "b1", "<body>I see</body>").await;
    core.accepts_text("I see").await;
    assert_eq!(core.texts(), ["I see"]);
    gateway.stop().await;
}

#[tokio::test]
async fn a_ghost_is_on_the_contact_list_of_who_wants_it() {
    logged();
    let prosody = Prosody::start();
    let core = Recorder::linking(&[]);
    let gateway = Gateway::start(&prosody, &core);
    let mut bob = Person::connect(prosody.clients, "bob").await;
    gateway.alice_says(&format!("bob@b.example {ALICE}"), "key-1", "ready").await;
    bob.send(&format!("<presence xmlns='jabber:client' to='{ALICE}' type='subscribe'/>"));
    bob.sees("Alice available", |stanza| {
        stanza.name() == "presence"
            && stanza.attr("type").is_none()
            && stanza.attr("from") == Some(&format!("{ALICE}/mimi"))
    })
    .await;
    bob.send(&format!("<iq xmlns='jabber:client' to='{ALICE}' type='get' id='v'><vCard xmlns='vcard-temp'/></iq>"));
    let card = bob.sees("a card", |stanza| stanza.attr("id") == Some("v")).await;
    assert_eq!(
        card.get_child("vCard", "vcard-temp").unwrap().get_child("FN", "vcard-temp").unwrap().text(),
        "alice (a.example)"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn doctor_says_what_is_wrong_and_what_to_do() {
    let prosody = Prosody::start();
    assert_eq!(adapter(prosody.components, SECRET).probe().await, []);
    let secret = adapter(prosody.components, "wrong").probe().await;
    assert_eq!(secret[0].what, "the server refuses the component: not-authorized");
    assert_eq!(
        secret[0].next_step,
        "make secret_file and component_secret of \"mimi.b.example\" on the server the same"
    );
    let port = adapter(prosody.clients, SECRET).probe().await;
    assert!(port[0].next_step.contains("component"), "{port:?}");
    let closed = adapter(1, SECRET).probe().await;
    assert!(closed[0].what.starts_with("cannot connect to 127.0.0.1:1: "), "{closed:?}");
    // With the gateway connected, the secret is right all the same.
    let core = Recorder::linking(&[]);
    let gateway = Gateway::start(&prosody, &core);
    gateway.alice_says(&format!("bob@b.example {ALICE}"), "key-1", "ready").await;
    assert_eq!(adapter(prosody.components, SECRET).probe().await, []);
}

#[tokio::test]
async fn only_accounts_of_the_served_domains_are_people() {
    let adapter = adapter(1, SECRET);
    for (user, serves) in [
        ("bob@b.example", true),
        ("Bob@b.example", false),
        ("bob@b.example/phone", false),
        ("b.example", false),
        ("bob@c.example", false),
        ("@bob:b.example", false),
        (ALICE, false),
        ("", false),
    ] {
        assert_eq!(adapter.serves(&NativeUserId::new(user)), serves, "{user}");
    }
    let nowhere = adapter.deliver(&by_alice(TEA, "key-1", message("x"))).await;
    assert!(matches!(nowhere, Err(Refusal::Retry { .. })));
}

#[tokio::test]
async fn two_people_share_files_as_a_room_does() {
    let (prosody, core) = (Prosody::start(), Recorder::linking(&[]));
    let mut bob = Person::connect(prosody.clients, "bob").await;
    let gateway = Gateway::start(&prosody, &core);
    let direct = format!("bob@b.example {ALICE}");

    let file = picture(vec![7; 100_000]);
    let caption = Some("For you.".to_owned());
    let shared = by_alice(&direct, "key-1", Event::File { file, caption, in_reply_to: None });
    gateway.delivers(&shared).await.unwrap();
    let shown = body(&bob.reads("For you.").await).unwrap();
    let url = shown.strip_prefix("For you.\n").unwrap();
    assert_eq!(person::download(url).await, vec![7; 100_000]);

    let url = bob.uploads("cup.png", "image/png", vec![8; 5]).await;
    bob.writes(
        ALICE,
        "a-message-with-a-file",
        &format!("<body>{url}</body><x xmlns='jabber:x:oob'><url>{url}</url></x>"),
    );
    let is_file = |inbound: &mimi_adapter::Inbound| inbound.event.kind() == "file";
    let Event::File { file, .. } = core.accepts(1, is_file).await.remove(0).event else { panic!("it is a file") };
    assert_eq!((&*file.name, &*file.media_type, file.size), ("cup.png", "image/png", Some(5)));

    // What is larger than the server takes is refused before it is read, and what is not there any more to who sent it.
    let too_large = File { size: Some(2 << 20), ..picture(Vec::new()) };
    let shared = by_alice(&direct, "key-2", Event::File { file: too_large, caption: None, in_reply_to: None });
    assert_eq!(
        gateway.delivers(&shared).await.unwrap_err(),
        "it is larger than the 976.5 KiB that the XMPP server takes"
    );
    let gone = url.replace("cup.png", "x").replace("/file_share/", "/file_share/nothing");
    bob.writes(
        ALICE,
        "a-message-without-a-file",
        &format!("<body>{gone}</body><x xmlns='jabber:x:oob'><url>{gone}</url></x>"),
    );
    bob.sees("a refusal", |stanza| {
        let words = String::from(stanza);
        stanza.attr("type") == Some("error") && words.contains("the file is not there (any more)")
    })
    .await;
}
