//! Proposals wait for the next commit, whoever makes it. So one that nobody may commit would end the room, and one
//! that only others may make would make them its tool.

use mimi_gateway::mimi::{
    tls::Tls,
    uri::UserUri,
    wire::{HandshakeBundle, MlsMessage, UpdateOutcome, UpdateRoomResponse},
};

use crate::{
    peer::Said,
    turncoat::{bundle, one_less, one_more},
    world::World,
};

const TEA: &str = "mimi://a.example/r/tea";

/// Cathy's provider posts these as one bundle.
async fn posts(world: &World, proposals: &[&MlsMessage]) -> Said {
    let mut proposals = proposals.iter().map(|proposal| (*proposal).clone());
    let bundle = HandshakeBundle::Proposal { proposal: proposals.next().unwrap(), more_proposals: proposals.collect() };
    world.peer("c.example").posts("a.example", "update", TEA, &bundle.encode()).await
}

#[tokio::test]
async fn no_proposal_is_accepted_that_does_what_only_others_may_or_nobody() {
    let world = World::of_three().await;
    let cathys = world.turncoat(&world.cathy);
    let epoch = cathys.epoch().await;
    let carl: UserUri = "mimi://c.example/u/carl".parse().unwrap();
    let (alice, bob) = (cathys.index_of(world.alice.uri()).await, cathys.index_of(world.bob.uri()).await);
    for (what, update) in [
        ("a super admin", one_more(&carl, 4).1),
        ("a role that is not defined", one_more(&carl, 77).1),
        ("somebody who is there already", one_more(world.bob.uri(), 2).1),
        ("Alice off the list", one_less(alice).1),
        ("Bob off the list", one_less(bob).1),
        ("nobody off the list", one_less(77).1),
        ("noise", vec![0xff; 20]),
    ] {
        let [leave, update] = cathys.proposes(update).await;
        for bundle in [&[&update][..], &[&leave, &update]] {
            let said = posts(&world, bundle).await;
            assert_eq!((said.status, said.body[0]), (200, 2), "{what}");
        }
    }
    world.still_talk().await;
    assert_eq!(cathys.epoch().await, epoch);
    // The room can still commit.
    world.person("alan", "a.example").joins().await;
    world.cathy.is_with(&["alan (a.example)", "alice (a.example)", "bob (b.example)"]).await;
    world.bob.is_with(&["alan (a.example)", "alice (a.example)", "cathy (c.example)"]).await;
}

#[tokio::test]
async fn a_commit_of_proposals_that_nobody_has_made_here_is_told_which() {
    let world = World::of_three().await;
    let (bobs, cathys) = (world.turncoat(&world.bob), world.turncoat(&world.cathy));
    let update = one_less(cathys.index_of(world.cathy.uri()).await).1;
    // Cathy has told Bob, and not the hub.
    let told = cathys.proposes(update).await;
    let material = bobs.commits_what_it_was_told(&told).await;
    let named = material.commit.proposal_refs();
    assert_eq!(named.len(), 2);
    let said = world.peer("b.example").posts("a.example", "update", TEA, &bundle(material).encode()).await;
    let response = UpdateRoomResponse::decode(&said.body).unwrap();
    assert_eq!(response.outcome, UpdateOutcome::InvalidProposal(named));
    world.still_talk().await;
}

#[tokio::test]
async fn who_wants_to_leave_says_so_once() {
    let world = World::of_three().await;
    let cathys = world.turncoat(&world.cathy);
    let update = one_less(cathys.index_of(world.cathy.uri()).await).1;
    let [leave, goes] = cathys.proposes(update.clone()).await;
    let [leave_again, goes_again] = cathys.proposes(update).await;
    // Off the list with the client still there; twice; and in Bob's name.
    for bundle in [&[&goes][..], &[&leave, &goes, &leave_again, &goes_again], &[&leave, &goes, &goes_again]] {
        let said = posts(&world, bundle).await;
        assert_eq!((said.status, said.body[0]), (200, 2));
    }
    let bobs = world.turncoat(&world.bob);
    let [bob_leaves, bob_goes] = bobs.proposes(one_less(bobs.index_of(world.bob.uri()).await).1).await;
    let said = posts(&world, &[&bob_leaves, &bob_goes]).await;
    assert_eq!((said.status, said.body[0]), (200, 2));
    world.still_talk().await;

    let said = posts(&world, &[&leave, &goes]).await;
    assert_eq!((said.status, said.body[0]), (200, 0));
    world.alice.is_with(&["bob (b.example)"]).await;
    world.bob.is_with(&["alice (a.example)"]).await;
    world.still_talk().await;
}
