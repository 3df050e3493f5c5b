//! What a room is called and what it is about.

use mimi_gateway::{
    admin::Operator,
    core::Fault,
    mimi::{
        component,
        participants::{ParticipantListUpdate, UserIndexRolePair},
        policy::role,
        tls::Tls,
    },
    mls::Change,
};

use crate::{
    messenger::Mood,
    turncoat::bundle,
    world::{World, domain, tea},
};

#[tokio::test]
async fn a_room_is_called_the_same_on_both_sides() {
    let world = World::of_two().await;
    world.alice.names_it("Tea house").await;
    world.bob.reads("alice (a.example) calls it Tea house").await;
    world.bob.sets_topic("Milk\nor lemon?").await;
    world.alice.reads("bob (b.example) sets the topic: Milk\nor lemon?").await;
    world.bob.names_it("Coffee house").await;
    world.alice.reads("bob (b.example) calls it Coffee house").await;
    assert_eq!(world.desk("b.example").room(&tea()).await.unwrap().name.as_deref(), Some("Coffee house"));
    world.alice.names_it("").await;
    world.bob.reads("alice (a.example) calls it ").await;
    world.still_talk().await;
    assert_eq!((world.alice.transcript().len(), world.bob.transcript().len()), (6, 6), "nothing has come back");
}

#[tokio::test]
async fn what_is_so_already_makes_no_commit() {
    let world = World::of_two().await;
    world.alice.names_it("Tea house").await;
    world.bob.reads("alice (a.example) calls it Tea house").await;
    let epoch = world.desk("a.example").room(&tea()).await.unwrap().summary.epoch;
    world.bob.names_it("Tea house").await;
    world.alice.names_it("Tea\nhouse\u{202e}").await;
    world.still_talk().await;
    assert_eq!(world.desk("a.example").room(&tea()).await.unwrap().summary.epoch, epoch);
    world.alice.finds_it_called("Tea house").await;
}

#[tokio::test]
async fn changes_that_cross_end_the_same_on_both_sides() {
    let mut world = World::of_two().await;
    // Neither hears of the other's before both have set it.
    world.stop("b.example").await;
    world.alice.names_it("Tea house").await;
    let coffee = world.bob.names_it_offline("Coffee house");
    world.start("b.example").await;
    world.bob.messenger.answered(coffee).await.unwrap();
    world.alice.reads("bob (b.example) calls it Coffee house").await;
    world.still_talk().await;
    world.alice.finds_it_called("Coffee house").await;
    world.bob.finds_it_called("Coffee house").await;
}

#[tokio::test]
async fn a_change_is_not_lost_when_the_gateway_is_killed() {
    let mut world = World::of_two().await;
    world.stop("b.example").await;
    world.alice.names_it("Tea house").await;
    world.kill("a.example").await;
    world.start("a.example").await;
    world.start("b.example").await;
    world.bob.reads("alice (a.example) calls it Tea house").await;
    world.still_talk().await;
}

#[tokio::test]
async fn where_the_network_does_not_let_us_it_is_said_in_words() {
    let world = World::of_two().await;
    world.bob.messenger.when("Tea house", Mood::Never("the gateway may not change the room's name"));
    world.alice.names_it("Tea house").await;
    world
        .bob
        .reads(
            "alice (a.example): (named the room “Tea house”; here it stays as it is: the gateway may not change the room's name)",
        )
        .await;
    world.still_talk().await;
}

#[tokio::test]
async fn what_the_room_does_not_allow_is_told_and_set_back() {
    let world = World::of_two().await;
    world.alice.names_it("Tea house").await;
    world.bob.reads("alice (a.example) calls it Tea house").await;
    bob_may_only_read(&world).await;
    world.bob.names_it("Coffee house").await;
    world
        .bob
        .reads(
            "the gateway to bob: The name you have set was not carried to the other providers: the room does not allow it (canChangeRoomName is needed).",
        )
        .await;
    world.bob.finds_it_called("Tea house").await;
    world.alice.finds_it_called("Tea house").await;
    assert_eq!(world.alice.transcript(), ["alice calls it Tea house"]);
}

/// Alice gives Bob the role of that name.
async fn bob_may_only_read(world: &World) {
    let alices = world.turncoat(&world.alice);
    let (user_index, role_index) = (alices.index_of(world.bob.uri()).await, role::READ_ONLY);
    let changed_role_participants = vec![UserIndexRolePair { user_index, role_index }];
    let update = ParticipantListUpdate { changed_role_participants, ..Default::default() };
    let change = Change { update: vec![(component::PARTICIPANT_LIST, update.encode())], ..Change::default() };
    let material = alices.commits(change, true).await;
    let (commit, update) = (material.commit.clone(), bundle(material).encode());
    let done = world.core("a.example").write(move |core, tx| {
        Box::pin(async move {
            let answer = core.hub_update(tx, &domain("a.example"), &tea(), &update).await?;
            core.advance(tx, &tea(), &commit).await?;
            Ok::<_, Fault>(answer[0])
        })
    });
    assert_eq!(done.await.unwrap(), 0);
    let bobs = world.core("b.example");
    let read_only = async || {
        let roles = bobs.write(|_, tx| Box::pin(async move { Ok(tx.participants(&tea()).await?) })).await.unwrap();
        roles.contains(&(world.bob.uri().clone(), role::READ_ONLY))
    };
    world.eventually("b.example knows of Bob's new role", read_only).await;
}
