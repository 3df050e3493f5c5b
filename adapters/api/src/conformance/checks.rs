//! The checks, one promise each. Run them with [`conformance!`](crate::conformance!).

use std::{
    io::{self, Cursor},
    pin::Pin,
    task::{Context, Poll},
};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use super::{Harness, Seen, bob, cathy, delivery, formatted, message, picture, scene, scene::Scene};
use crate::{
    Delivery, Event, File, InThread, NativeMessageId, NativeUserId, Octets, Opened, Receipt, ReceiptKind, Refusal,
    Source, Speaker, Support, Text, Thread, Threads,
};

pub async fn hello_goes_both_ways(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    let alice = scene.network.alice();
    assert!(scene.adapter.serves(&alice), "the adapter does not serve {alice}");
    let uri = bob().user.to_string();
    assert!(!scene.adapter.serves(&NativeUserId::new(&uri)), "{uri} is no native address");

    let id = scene.alice_does(message("Is the tea ready?")).await;
    let inbound = scene.comes_in().await;
    assert_eq!(inbound.event, message("Is the tea ready?"));
    assert_eq!(inbound.id, id);
    assert_eq!(inbound.direct, None, "the conversation has room for more people");

    let id = scene.deliver_message("k1", &bob(), message("Yes, come in.")).await;
    let seen = scene.alice_sees().await;
    assert_eq!((seen.event, seen.id), (message("Yes, come in."), id));
    assert!(seen.name.contains("b.example"), "{:?} could pass for a local person: name the provider", seen.name);

    scene.cathy_joins().await;
    scene.deliver("k2", &cathy(), message("I am Cathy.")).await;
    assert!(scene.alice_sees().await.name.contains("c.example"), "Bob and Cathy are two people");
}

pub async fn fifty_messages_come_in_in_order(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    for n in 1..=50 {
        scene.alice_does(message(format!("cup {n}"))).await;
    }
    for n in 1..=50 {
        assert_eq!(scene.comes_in().await.event, message(format!("cup {n}")));
    }
}

pub async fn fifty_messages_go_out_in_order(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    scene.cathy_joins().await;
    for n in 1..=50 {
        // Two speakers: a network that orders per sender only shows it here.
        let speaker = if n % 3 == 0 { cathy() } else { bob() };
        scene.deliver(&format!("k{n}"), &speaker, message(format!("cup {n}"))).await;
    }
    for n in 1..=50 {
        assert_eq!(scene.alice_sees().await.event, message(format!("cup {n}")));
    }
}

pub async fn the_same_key_is_seen_once(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    let first = scene.deliver("k1", &bob(), message("One cup.")).await;
    let again = scene.deliver("k1", &bob(), message("One cup.")).await;
    assert_eq!(first, again, "replies to it have to find it, whichever attempt the core knows of");
    scene.deliver("k2", &bob(), message("Another cup.")).await;
    sees_one_cup_then_another(&mut scene).await;
}

pub async fn the_same_key_is_seen_once_across_a_restart(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    scene.deliver("k1", &bob(), message("One cup.")).await;
    scene.crash_and_restart().await;
    scene.deliver("k1", &bob(), message("One cup.")).await;
    scene.deliver("k2", &bob(), message("Another cup.")).await;
    sees_one_cup_then_another(&mut scene).await;
}

async fn sees_one_cup_then_another(scene: &mut Scene<impl Harness>) {
    assert_eq!(scene.alice_sees().await.event, message("One cup."));
    let mut next = scene.alice_sees().await;
    if scene.network.at_least_once() && next.event == message("One cup.") {
        next = scene.alice_sees().await;
    }
    assert_eq!(next.event, message("Another cup."));
}

pub async fn what_is_answered_retry_is_offered_again_in_order(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    for _ in 0..3 {
        scene
            .core
            .refuse_next(Refusal::Retry { after: Some(std::time::Duration::ZERO), source: "the disk is busy".into() });
    }
    for text in ["one", "two", "three"] {
        scene.alice_does(message(text)).await;
    }
    for text in ["one", "two", "three"] {
        assert_eq!(scene.comes_in().await.event, message(text));
    }
}

pub async fn what_is_rejected_is_told_to_the_sender(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    scene.core.refuse_next(Refusal::reject("the tea house is closed"));
    scene.alice_does(message("Is the tea ready?")).await;
    let told = scene.alice_is_told().await;
    assert!(told.contains("the tea house is closed"), "Alice was told {told:?}");

    scene.alice_does(message("Tomorrow, then.")).await;
    assert_eq!(scene.comes_in().await.event, message("Tomorrow, then."));
}

pub async fn a_notice_reaches_the_person_it_is_for(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    let about = scene.alice_does(message("Is the tea ready?")).await;
    scene.comes_in().await;
    let event = Event::Notice {
        text: "Your message was not delivered to b.example.".into(),
        about: Some(about),
        to: Some(scene.network.alice()),
    };
    let notice = delivery("k1", &scene.network.conversation(), &bob(), event);
    scene::deliver(&*scene.adapter, &Delivery { speaker: Speaker::Gateway, ..notice }).await;
    let told = scene.alice_is_told().await;
    assert!(told.contains("Your message was not delivered to b.example."), "Alice was told {told:?}");
}

pub async fn ghosts_are_not_echoed(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    scene.cathy_joins().await;
    scene.deliver("k1", &cathy(), message("I am Cathy.")).await;
    scene.alice_sees().await;
    scene.deliver("k2", &cathy(), Event::Leave).await;
    scene.alice_does(message("Hello, Cathy.")).await;
    // `comes_in` fails on anything that is not Alice's, also on a join.
    assert_eq!(scene.comes_in().await.event, message("Hello, Cathy."));
}

pub async fn formatting_stays_formatting(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    if scene.capabilities().formatting != Support::Full {
        return;
    }
    scene.alice_does(formatted()).await;
    assert_eq!(scene.comes_in().await.event, formatted());
    scene.deliver("k1", &bob(), formatted()).await;
    assert_eq!(scene.alice_sees().await.event, formatted());

    // What only looks like it is not.
    for (key, text) in [("k2", "*stars* and _lines_"), ("k3", "<b>tags</b> &amp; `ticks`")] {
        scene.deliver(key, &bob(), message(text)).await;
        assert_eq!(scene.alice_sees().await.event, message(text));
    }
}

pub async fn a_reply_points_at_its_message(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    if scene.capabilities().reply != Support::Full {
        return;
    }
    let answer = |text: &str, to: &NativeMessageId| Event::Message {
        text: Text::Plain(text.into()),
        in_reply_to: Some(to.clone()),
    };
    let (from_alice, from_bob) = both_say_something(&mut scene).await;

    scene.alice_does(answer("I can smell it.", &from_bob)).await;
    assert_eq!(scene.comes_in().await.event, answer("I can smell it.", &from_bob));

    scene.deliver("k2", &bob(), answer("It is.", &from_alice)).await;
    assert_eq!(scene.alice_sees().await.event, answer("It is.", &from_alice));
    scene.cathy_joins().await;
    scene.deliver("k3", &cathy(), answer("No, it is not.", &from_bob)).await;
    assert_eq!(scene.alice_sees().await.event, answer("No, it is not.", &from_bob));
}

pub async fn an_edit_points_at_its_message(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    if scene.capabilities().edit != Support::Full {
        return;
    }
    let edit = |replaces: &NativeMessageId, text: &str| Event::Edit {
        replaces: replaces.clone(),
        text: Text::Plain(text.into()),
    };
    let (from_alice, from_bob) = both_say_something(&mut scene).await;

    // The second edit points at the first version as well (D39).
    for text in ["Is the coffee ready?", "Is the cocoa ready?"] {
        scene.alice_does(edit(&from_alice, text)).await;
        assert_eq!(scene.comes_in().await.event, edit(&from_alice, text));
    }
    for (key, text) in [("k2", "Here is the coffee."), ("k3", "Here is the cocoa.")] {
        scene.deliver(key, &bob(), edit(&from_bob, text)).await;
        let Seen { event, name, .. } = scene.alice_sees().await;
        assert_eq!(event, edit(&from_bob, text));
        assert!(name.contains("b.example"), "the edit was made by {name:?}");
    }
}

pub async fn a_delete_points_at_its_message(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    if scene.capabilities().delete != Support::Full {
        return;
    }
    let (from_alice, from_bob) = both_say_something(&mut scene).await;

    scene.alice_does(Event::Delete { replaces: from_alice.clone() }).await;
    assert_eq!(scene.comes_in().await.event, Event::Delete { replaces: from_alice });

    scene.deliver("k2", &bob(), Event::Delete { replaces: from_bob.clone() }).await;
    assert_eq!(scene.alice_sees().await.event, Event::Delete { replaces: from_bob });
}

pub async fn a_reaction_comes_and_goes(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    if scene.capabilities().reaction != Support::Full {
        return;
    }
    let like = |to: &NativeMessageId| Event::Reaction { in_reply_to: to.clone(), emoji: "👍".into() };
    let (from_alice, from_bob) = both_say_something(&mut scene).await;

    scene.alice_does(like(&from_bob)).await;
    let liked = scene.comes_in().await;
    assert_eq!(liked.event, like(&from_bob));
    scene.alice_does(Event::Unlike { replaces: liked.id.clone() }).await;
    assert_eq!(scene.comes_in().await.event, Event::Unlike { replaces: liked.id });

    let liked = scene.deliver_message("k2", &bob(), like(&from_alice)).await;
    assert_eq!(scene.alice_sees().await.event, like(&from_alice));
    scene.deliver("k3", &bob(), Event::Unlike { replaces: liked }).await;
    // What a network shows is that the reaction is gone; few say which event it was.
    assert_eq!(scene.alice_sees().await.event.kind(), "unlike");
}

pub async fn what_is_said_in_a_thread_stays_in_it(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    let threads = scene.capabilities().thread;
    let (from_alice, from_bob) = both_say_something(&mut scene).await;
    let thread = match threads {
        Threads::AsReplies => return,
        Threads::Under => Thread::Under(from_bob.clone()),
        Threads::Named => Thread::Named(format!("{}tea", Thread::MINTED)),
    };
    let answer = Event::Message { text: Text::Plain("The white pot.".into()), in_reply_to: Some(from_alice.clone()) };

    scene.alice_says_in(&thread, message("Which pot?")).await;
    let asked = scene.comes_in().await;
    assert_eq!((asked.event, asked.thread.as_ref()), (message("Which pot?"), Some(&thread)));
    scene.alice_says_in(&thread, answer.clone()).await;
    let answered = scene.comes_in().await;
    assert_eq!((answered.event, answered.thread.as_ref()), (answer.clone(), Some(&thread)));
    scene.alice_does(message("Elsewhere, then.")).await;
    assert_eq!(scene.comes_in().await.thread, None);

    let said = |key: &str, event| Delivery {
        thread: Some(InThread { thread: thread.clone(), after: Some(asked.id.clone()) }),
        ..delivery(key, &scene.network.conversation(), &bob(), event)
    };
    for delivery in [said("k2", message("In the cupboard.")), said("k3", answer.clone())] {
        scene::deliver(&*scene.adapter, &delivery).await;
    }
    let seen = scene.alice_sees().await;
    assert_eq!(seen.thread.as_ref(), Some(&thread));
    // An app without threads may show it as an answer to what was said before it.
    let after = Event::Message { text: Text::Plain("In the cupboard.".into()), in_reply_to: Some(asked.id.clone()) };
    assert!([message("In the cupboard."), after].contains(&seen.event), "Alice sees {:?}", seen.event);
    let seen = scene.alice_sees().await;
    assert_eq!((seen.event, seen.thread.as_ref()), (answer, Some(&thread)));
}

pub async fn who_has_read_a_message_is_seen(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    let alice = scene.network.alice();
    let conversation = scene.network.conversation();
    let (conversation, from_alice, from_bob) = if scene.adapter.capabilities(&conversation).receipts {
        let (from_alice, from_bob) = both_say_something(&mut scene).await;
        (conversation, from_alice, from_bob)
    } else {
        // Some networks have them between two people only.
        let Ok(direct) = scene.adapter.open_direct(&alice, &bob()).await else { return };
        if !scene.adapter.capabilities(&direct).receipts {
            return;
        }
        let from_alice = scene.network.alice_writes_to(&bob(), &direct, "Just the two of us?").await;
        scene.core.accepted().await;
        let delivered = scene::deliver(&*scene.adapter, &delivery("k1", &direct, &bob(), message("Yes."))).await;
        (direct, from_alice, delivered.ids.into_iter().next().expect("what leaves a message has an id"))
    };
    let receipt = |up_to: &NativeMessageId| Receipt {
        conversation: conversation.clone(),
        by: bob(),
        kind: ReceiptKind::Read,
        up_to: up_to.clone(),
    };
    super::within("Alice reads it", scene.network.alice_reads(&receipt(&from_bob))).await;
    let Receipt { conversation, kind, up_to, .. } = receipt(&from_bob);
    scene.core.received(&Receipt { conversation, by: alice, kind, up_to }).await;

    scene.adapter.receipt(&receipt(&from_alice)).await.expect("the network is there");
    super::within("Alice sees that Bob has read it", scene.network.sees_read(&receipt(&from_alice))).await;
}

pub async fn a_name_is_the_conversations(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    if scene.capabilities().name != Support::Full {
        return;
    }
    let name = |name: &str| Event::Name { name: name.into() };
    is_set_by_both(&mut scene, name("Tea"), name("Cocoa")).await;
}

pub async fn a_topic_is_the_conversations(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    if scene.capabilities().topic != Support::Full {
        return;
    }
    let topic = |topic: &str| Event::Topic { topic: topic.into() };
    is_set_by_both(&mut scene, topic("Which tea?"), topic("Why not cocoa?")).await;
}

async fn is_set_by_both(scene: &mut Scene<impl Harness>, hers: Event<NativeMessageId>, his: Event<NativeMessageId>) {
    both_say_something(scene).await;
    scene.alice_does(hers.clone()).await;
    assert_eq!(scene.comes_in().await.event, hers);
    // It comes back, and is so already.
    let conversation = scene.network.conversation();
    let back = delivery("k2", &conversation, &bob(), hers);
    scene::deliver(&*scene.adapter, &crate::Delivery { speaker: Speaker::Gateway, ..back }).await;
    for key in ["k3", "k3", "k4"] {
        scene.deliver(key, &bob(), his.clone()).await;
    }
    assert_eq!(scene.alice_sees().await.event, his);
    scene.deliver("k5", &bob(), message("Is it called so now?")).await;
    assert_eq!(scene.alice_sees().await.event, message("Is it called so now?"), "what is so already is not set again");
    // Nor does it come in again as if a person had set it.
    scene.alice_does(message("It is.")).await;
    assert_eq!(scene.comes_in().await.event, message("It is."));
}

pub async fn the_longest_text_is_shown(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    let longest = "tea ".repeat(scene.capabilities().max_text / 4);
    let longest = message(longest.trim_end());
    scene.deliver("k1", &bob(), longest.clone()).await;
    assert!(scene.alice_sees().await.event == longest, "the longest text that is declared is not shown as it is");
}

pub async fn a_file_goes_both_ways(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    if scene.capabilities().file != Support::Full {
        return;
    }
    let (hers, his) = (noise(200_000, 1), noise(150_001, 2));
    let (from_alice, _) = both_say_something(&mut scene).await;

    scene.alice_does(Event::File { file: picture(hers.clone()), caption: None, in_reply_to: None }).await;
    let Event::File { file, caption: None, in_reply_to: None } = scene.comes_in().await.event else {
        panic!("Alice has shared a file without a word");
    };
    assert_eq!((&*file.name, &*file.media_type), ("pot.png", "image/png"));
    assert!(read(&file).await == hers, "these are not the octets of the file that Alice has shared");

    let shared = Event::File { file: picture(his.clone()), caption: None, in_reply_to: None };
    let id = scene.deliver_message("k2", &bob(), shared).await;
    let Seen { id: seen, event: Event::File { file, .. }, name, .. } = scene.alice_sees().await else {
        panic!("Bob has shared a file");
    };
    assert_eq!((seen, &*file.name, &*file.media_type), (id, "pot.png", "image/png"));
    assert!(name.contains("b.example"), "the file was shared by {name:?}");
    assert!(read(&file).await == his, "these are not the octets of the file that Bob has shared");

    if scene.capabilities().reply == Support::Full {
        let caption = Some("The *pot*, at last.".to_owned());
        let answer = Event::File { file: picture(his), caption, in_reply_to: Some(from_alice.clone()) };
        scene.deliver("k3", &bob(), answer).await;
        let Seen { event, .. } = scene.alice_sees().await;
        let Event::File { caption: Some(caption), in_reply_to, .. } = event else { panic!("what came is {event:?}") };
        assert_eq!((&*caption, in_reply_to), ("The *pot*, at last.", Some(from_alice)));
    }
}

pub async fn half_a_file_is_not_shown(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    if scene.capabilities().file != Support::Full {
        return;
    }
    let whole = noise(150_000, 3);
    let half = File { octets: Octets::new(BreaksOff(whole[..75_000].to_vec())), ..picture(whole.clone()) };
    let shared = |file| Event::File { file, caption: None, in_reply_to: None };
    match scene.try_deliver("k1", &bob(), shared(half)).await {
        Err(Refusal::Retry { .. }) => {}
        Err(Refusal::Reject { reason }) => panic!("the rest may come yet, but it was rejected: {reason}"),
        Ok(_) => panic!("only half of it was there"),
    }
    scene.deliver("k1", &bob(), shared(picture(whole.clone()))).await;
    let Seen { event: Event::File { file, .. }, .. } = scene.alice_sees().await else {
        panic!("Bob has shared a file")
    };
    assert!(read(&file).await == whole, "these are not the octets of the file that Bob has shared");
}

async fn read(file: &File) -> Vec<u8> {
    let reading = async {
        let (mut octets, opened) = (Vec::new(), file.octets.open().await.expect("the file is there"));
        let mut reader = opened.octets;
        reader.read_to_end(&mut octets).await.expect("the file is whole");
        octets
    };
    super::within("a file is read", reading).await
}

/// Octets that look like nothing in particular.
fn noise(length: usize, seed: u32) -> Vec<u8> {
    let next = |state: &mut u32| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((*state >> 24) as u8)
    };
    std::iter::repeat_n((), length).scan(seed, |state, ()| next(state)).collect()
}

struct BreaksOff(Vec<u8>);

#[async_trait]
impl Source for BreaksOff {
    async fn open(&self) -> Result<Opened, Refusal> {
        let half = Cursor::new(self.0.clone());
        Ok(Opened { size: Some(self.0.len() as u64 * 2), octets: Box::pin(half.chain(Broken)) })
    }
}

struct Broken;

impl AsyncRead for Broken {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }
}

async fn both_say_something(scene: &mut Scene<impl Harness>) -> (NativeMessageId, NativeMessageId) {
    let from_alice = scene.alice_does(message("Is the tea ready?")).await;
    scene.comes_in().await;
    let from_bob = scene.deliver_message("k1", &bob(), message("Here is the tea.")).await;
    assert_eq!(scene.alice_sees().await.id, from_bob);
    (from_alice, from_bob)
}

pub async fn a_join_makes_the_ghost_present(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    if !scene.network.shows_who_is_there() {
        scene.deliver("k1", &cathy(), Event::Join).await;
        scene.deliver("k2", &cathy(), Event::Leave).await;
        scene.deliver("k3", &bob(), message("Who was that?")).await;
        assert_eq!(scene.alice_sees().await.event, message("Who was that?"));
        return;
    }
    assert!(!scene.network.is_present(&cathy()).await, "Cathy has not joined yet");
    scene.deliver("k1", &cathy(), Event::Join).await;
    assert!(scene.network.is_present(&cathy()).await, "Cathy has joined");
    scene.deliver("k2", &cathy(), Event::Join).await;
    assert!(scene.network.is_present(&cathy()).await, "a second join changes nothing");
    scene.deliver("k3", &cathy(), Event::Leave).await;
    assert!(!scene.network.is_present(&cathy()).await, "Cathy has left");
}

pub async fn who_is_there_is_reported_when_a_conversation_is_linked(network: impl Harness) {
    let scene = Scene::start_with(network, []).await;
    scene.core.link(scene.network.conversation());
    let inbound = scene.core.accepted().await;
    assert_eq!((inbound.sender, inbound.event), (scene.network.alice(), Event::Join));
    assert_eq!(inbound.conversation, scene.network.conversation());
}

pub async fn a_direct_conversation_is_found_again_and_says_with_whom(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    let alice = scene.network.alice();
    let with_bob = match scene.adapter.open_direct(&alice, &bob()).await {
        Ok(conversation) => conversation,
        Err(Refusal::Reject { .. }) => return, // This network has none.
        Err(refusal) => panic!("the network is there, and still: {refusal}"),
    };
    let with_cathy = scene.adapter.open_direct(&alice, &cathy()).await.expect("there was one with Bob");
    assert_ne!(with_bob, with_cathy);

    scene.crash_and_restart().await;
    assert_eq!(scene.adapter.open_direct(&alice, &bob()).await.expect("there was one before"), with_bob);

    let id = scene.network.alice_writes_to(&bob(), &with_bob, "Just the two of us?").await;
    let inbound = loop {
        let inbound = scene.core.accepted().await;
        if inbound.event != Event::Join {
            break inbound;
        }
    };
    assert_eq!((inbound.conversation, inbound.id, inbound.sender), (with_bob, id, alice));
    assert_eq!((inbound.direct, inbound.event), (Some(bob().user), message("Just the two of us?")));
}

pub async fn stopping_loses_nothing(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    scene.core.hold();
    scene.alice_does(message("one")).await;
    scene.alice_does(message("two")).await;
    scene.core.offered(1).await;
    scene.ask_to_stop();
    scene.core.release();
    scene.has_stopped().await;

    scene.restart().await;
    scene.alice_does(message("three")).await;
    for text in ["one", "two", "three"] {
        assert_eq!(scene.comes_in().await.event, message(text));
    }
}

pub async fn a_network_that_is_away_means_retry(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    scene.network.goes_away().await;
    match scene.try_deliver("k1", &bob(), message("Is anybody there?")).await {
        Err(Refusal::Retry { .. }) => {}
        Err(Refusal::Reject { reason }) => panic!("nothing is wrong with the message, but it was rejected: {reason}"),
        Ok(_) => panic!("nobody was there to confirm it"),
    }
    scene.network.comes_back().await;
    super::within("the adapter connects again", scene.network.connected()).await;
    scene.deliver("k1", &bob(), message("Is anybody there?")).await;
    scene.deliver("k2", &bob(), message("Good.")).await;
    assert_eq!(scene.alice_sees().await.event, message("Is anybody there?"));
    let mut next = scene.alice_sees().await;
    if scene.network.at_least_once() && next.event == message("Is anybody there?") {
        next = scene.alice_sees().await;
    }
    assert_eq!(next.event, message("Good."));

    scene.alice_does(message("I was out.")).await;
    assert_eq!(scene.comes_in().await.event, message("I was out."));
}

pub async fn silence_is_noticed_and_made_up_for(network: impl Harness) {
    let mut scene = Scene::start(network).await;
    scene.alice_does(message("Can you hear me?")).await;
    assert_eq!(scene.comes_in().await.event, message("Can you hear me?"));
    scene.adapter_is("up").await;

    scene.network.falls_silent().await;
    for text in ["one", "two", "three"] {
        scene.alice_does(message(text)).await;
    }
    scene.adapter_is("deaf").await;

    scene.network.comes_back().await;
    super::within("the adapter connects again", scene.network.connected()).await;
    for text in ["one", "two", "three"] {
        assert_eq!(scene.comes_in().await.event, message(text));
    }
    scene.alice_does(message("four")).await;
    assert_eq!(scene.comes_in().await.event, message("four"));
    scene.adapter_is("up").await;
    scene.deliver("k1", &bob(), message("Loud and clear.")).await;
    assert_eq!(scene.alice_sees().await.event, message("Loud and clear."));
}
