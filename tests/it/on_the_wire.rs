//! What crosses between providers, and what does not.

use mimi_gateway::{
    core::Fault,
    mimi::{
        component,
        content::message_id,
        participants::{ParticipantListUpdate, UserIndexRolePair},
        tls::Tls,
        wire::{Fanout, FanoutMessage, HandshakeBundle},
    },
    mls::Change,
    outbox::{Destination, Payload},
};

use crate::{
    peer::Said,
    turncoat::{bundle, framed, one_less, text},
    world::{World, domain, tea},
};

const TEA: &str = "mimi://a.example/r/tea";

#[tokio::test]
async fn what_is_fanned_out_does_not_say_who_has_written_it() {
    let mut world = World::of_two().await;
    world.stop("b.example").await;
    world.alice.says("It was me.").await;
    let body = world.waiting_for_b().await;
    let says = |words: &str| body.windows(words.len()).any(|window| window == words.as_bytes());
    assert!(says("mimi://a.example/g/"), "it is a message of the room's group");
    for words in ["alice", "It was me.", "application/mimi-content"] {
        assert!(!says(words), "{words}");
    }
    world.start("b.example").await;
    world.bob.reads("alice (a.example): It was me.").await;
}

#[tokio::test]
async fn the_proposals_of_a_bundle_are_fanned_out_as_they_came() {
    let world = World::of_three().await;
    let cathys = world.turncoat(&world.cathy);
    let [leave, update] = cathys.proposes(one_less(cathys.index_of(world.cathy.uri()).await).1).await;
    let came = HandshakeBundle::Proposal { proposal: leave.clone(), more_proposals: vec![update.clone()] }.encode();
    // In one transaction, or it would have been sent.
    let waits = world.core("a.example").write(move |core, tx| {
        Box::pin(async move {
            core.hub_update(tx, &domain("c.example"), &tea(), &came).await?;
            Ok::<_, Fault>(tx.outbox_head(&format!("follower {TEA} b.example"), 9).await?)
        })
    });
    let waits = waits.await.unwrap();
    let [row] = &waits[..] else { panic!("{} rows", waits.len()) };
    let Ok(Payload::Fanout { message }) = postcard::from_bytes(&row.payload) else { panic!("it is for a follower") };
    let Fanout::Proposal { message, more_proposals } = FanoutMessage::decode(&message).unwrap().fanout else {
        panic!("it is a proposal")
    };
    assert_eq!((message, more_proposals), (leave, vec![update]));
}

#[tokio::test]
async fn one_welcome_reaches_everybody_whom_it_is_for() {
    let world = World::of_three().await;
    let (ben, carl) = (world.person("ben", "b.example"), world.person("carl", "c.example"));
    let mut adds = Vec::new();
    for (person, other) in [(&ben, &world.bob), (&carl, &world.cathy)] {
        let key_package = world.turncoat(other).key_package(person.uri()).await.as_bytes().to_vec();
        adds.push(Payload::Add { user: person.uri().clone(), role: 2, key_package: Some(key_package) });
    }
    let epoch = world.turncoat(&world.alice).epoch().await;
    let added = world.core("a.example").write(move |core, tx| {
        Box::pin(async move {
            for add in &adds {
                core.enqueue(tx, &Destination::Hub(tea()), add).await?;
            }
            Ok::<_, Fault>(())
        })
    });
    added.await.unwrap();
    world.alice.is_with(&["ben (b.example)", "bob (b.example)", "carl (c.example)", "cathy (c.example)"]).await;
    assert_eq!(world.turncoat(&world.alice).epoch().await, epoch + 1, "one commit and one Welcome");
    ben.says("Hello from b.").await;
    carl.says("Hello from c.").await;
    carl.reads("ben (b.example): Hello from b.").await;
    ben.reads("carl (c.example): Hello from c.").await;
}

#[tokio::test]
async fn what_waits_is_committed_before_anything_is_said() {
    let world = World::of_three().await;
    let cathys = world.turncoat(&world.cathy);
    let epoch = cathys.epoch().await;
    let [leave, goes] = cathys.proposes(one_less(cathys.index_of(world.cathy.uri()).await).1).await;
    let came = HandshakeBundle::Proposal { proposal: leave.clone(), more_proposals: vec![goes.clone()] }.encode();
    let alice = world.alice.uri().clone();
    let content = text("After her.", &alice, &tea());
    // The message is in the queue already when the proposals come, and so before the row that is to commit them.
    let said = world.core("a.example").write(move |core, tx| {
        Box::pin(async move {
            let octets = content.encode();
            let message = *message_id(&alice, &tea(), &octets, &content.salt).as_bytes();
            let submit = Payload::Submit { sender: alice, message, content: octets };
            core.enqueue(tx, &Destination::Hub(tea()), &submit).await?;
            core.hub_update(tx, &domain("c.example"), &tea(), &came).await?;
            core.advance(tx, &tea(), &leave).await?;
            core.advance(tx, &tea(), &goes).await
        })
    });
    said.await.unwrap();
    world.bob.sees(&["alice (a.example): After her."]).await;
    world.alice.is_with(&["bob (b.example)"]).await;
    assert_eq!(world.turncoat(&world.alice).epoch().await, epoch + 1, "one commit, before the message");
    assert_eq!(world.cathy.transcript(), [""; 0]);
    world.still_talk().await;
}

#[tokio::test]
async fn the_same_words_twice_are_two_messages() {
    let world = World::of_two().await;
    // Without an unguessable salt in it, the second would have the first one's ID and be taken for it.
    for _ in 0..3 {
        world.alice.says("Tea!").await;
    }
    world.alice.says("That was thrice.").await;
    let line = "alice (a.example): Tea!";
    world.bob.sees(&[line, line, line, "alice (a.example): That was thrice."]).await;
}

#[tokio::test]
async fn who_is_banned_is_out_and_does_not_come_back() {
    let world = World::of_three().await;
    let (alices, bobs) = (world.turncoat(&world.alice), world.turncoat(&world.bob));
    let early = bobs.submits(&framed(&text("Wait!", &bobs.user, &tea()))).await;
    let banned = UserIndexRolePair { user_index: alices.index_of(world.bob.uri()).await, role_index: 1 };
    let update = ParticipantListUpdate { changed_role_participants: vec![banned], ..Default::default() };
    let change = Change { update: vec![(component::PARTICIPANT_LIST, update.encode())], ..Change::default() };
    // With his client still in the group he would be no more than called so.
    let halfway = alices.commits(change, false).await;
    let change = Change {
        remove: vec!["mimi://b.example/d/bob/1".into()],
        update: vec![(component::PARTICIPANT_LIST, update.encode())],
        ..Change::default()
    };
    let material = alices.commits(change, true).await;
    let commit = material.commit.clone();
    let (halfway, update) = (bundle(halfway).encode(), bundle(material).encode());
    let done = world.core("a.example").write(move |core, tx| {
        Box::pin(async move {
            let refused = core.hub_update(tx, &domain("a.example"), &tea(), &halfway).await?;
            let taken = core.hub_update(tx, &domain("a.example"), &tea(), &update).await?;
            core.advance(tx, &tea(), &commit).await?;
            Ok::<_, Fault>((refused[0], taken[0]))
        })
    });
    assert_eq!(done.await.unwrap(), (2, 0));
    world.bob.is_with(&[]).await;
    world.cathy.is_with(&["alice (a.example)"]).await;
    world.alice.is_with(&["cathy (c.example)"]).await;
    let peer = world.peer("b.example");
    assert_ne!(peer.posts("a.example", "submitMessage", TEA, &early).await.body[1], 0);
    let request = bobs.asks(|_| {}).await.0.encode();
    // version mls10, the room, notAuthorized.
    let not_authorized = Said::ok([&[1, TEA.len() as u8], TEA.as_bytes(), &[2]].concat());
    assert_eq!(peer.posts("a.example", "groupInfo", TEA, &request).await, not_authorized);
    world.alice.says("He's gone.").await;
    world.cathy.sees(&["alice (a.example): He's gone."]).await;
    let told = "the gateway to bob: mimi://a.example/u/alice has banned you from the room: people elsewhere no longer read \
                what you write here.";
    assert_eq!(world.bob.transcript(), [told]);
}
