//! A member of the room whose gateway has gone bad: the hub stops what it can see, the others what it can't, and
//! nobody else is held up.

use mimi_gateway::{
    admin::Operator,
    mimi::{
        component,
        content::MimiContent,
        framing::{ApplicationFraming, MediaType},
        participants::{ParticipantListUpdate, UserIndexRolePair},
        policy::{RoleData, group_policy, role},
        tls::Tls,
        uri::UserUri,
        wire::{Fanout, FanoutMessage, HandshakeBundle, MlsMessage},
    },
    mls::Change,
};

use crate::{
    peer::Said,
    turncoat::{bundle, framed, key_package_of, one_less, one_more, text},
    world::{World, domain, tea},
};

const TEA: &str = "mimi://a.example/r/tea";

fn user(uri: &str) -> UserUri {
    uri.parse().unwrap()
}

/// SubmitMessageResponse: protocol mls10, notAllowed.
fn not_allowed() -> Said {
    Said::ok([1, 1])
}

#[tokio::test]
async fn nobody_speaks_for_somebody_else() {
    let world = World::of_three().await;
    let (cathys, peer) = (world.turncoat(&world.cathy), world.peer("c.example"));
    let data = framed(&text("It was me!", &cathys.user, &tea()));
    for sender in ["mimi://a.example/u/alice", "mimi://b.example/u/bob", "mimi://c.example/u/carl"] {
        let request = cathys.submits_as(&data, &user(sender)).await;
        assert_eq!(peer.posts("a.example", "submitMessage", TEA, &request).await, not_allowed(), "{sender}");
    }
    assert_eq!((world.alice.transcript().len(), world.bob.transcript().len()), (0, 0));
    world.still_talk().await;
}

#[tokio::test]
async fn a_message_of_an_epoch_that_is_over_is_too_old_and_one_of_the_next_is_not_allowed() {
    let world = World::of_three().await;
    let (cathys, peer) = (world.turncoat(&world.cathy), world.peer("c.example"));
    let (old, epoch) = (cathys.submits(&framed(&text("Old.", &cathys.user, &tea()))).await, cathys.epoch().await);
    world.person("alan", "a.example").joins().await;
    world.cathy.is_with(&["alan (a.example)", "alice (a.example)", "bob (b.example)"]).await;
    // protocol mls10, epochTooOld, the current epoch.
    let too_old = Said::ok([&[1, 2], &(epoch + 1).to_be_bytes()[..]].concat());
    assert_eq!(peer.posts("a.example", "submitMessage", TEA, &old).await, too_old);

    let message = cathys.encrypts(&framed(&text("New.", &cathys.user, &tea()))).await;
    let mut octets = message.as_bytes().to_vec();
    let number = epoch + 1;
    let at = octets.windows(8).position(|window| window == number.to_be_bytes()).unwrap();
    octets[at..at + 8].copy_from_slice(&(number + 1).to_be_bytes());
    let request = [&[1], &octets[..], &[24], b"mimi://c.example/u/cathy"].concat();
    assert_eq!(peer.posts("a.example", "submitMessage", TEA, &request).await, not_allowed());
    assert_eq!((world.alice.transcript().len(), world.bob.transcript().len()), (0, 0));
    world.still_talk().await;
}

#[tokio::test]
async fn a_message_of_another_group_is_not_allowed() {
    let world = World::of_three().await;
    let (alice, bob) = (world.alice.with(&world.bob), world.bob.with(&world.alice));
    bob.says("Psst.").await;
    alice.reads("bob (b.example): Psst.").await;
    let (cathys, peer) = (world.turncoat(&world.cathy), world.peer("c.example"));
    // A room that Cathy is not in, with a message of one that she is in, and the other way round.
    let rooms = world.desk("b.example").rooms().await.unwrap();
    let direct = rooms.into_iter().find(|room| room.hub.as_str() == "b.example").unwrap().room;
    let request = cathys.submits(&framed(&text("Hello, you two.", &cathys.user, &tea()))).await;
    assert_eq!(peer.posts("b.example", "submitMessage", direct.as_str(), &request).await, not_allowed());
    let mut bobs = world.turncoat(&world.bob);
    bobs.room = direct;
    let request = bobs.submits(&framed(&text("Hello, all.", &bobs.user, &tea()))).await;
    assert_eq!(world.peer("b.example").posts("a.example", "submitMessage", TEA, &request).await, not_allowed());
    assert_eq!(world.alice.transcript(), [""; 0]);
    world.still_talk().await;
}

#[tokio::test]
async fn what_a_member_says_wrongly_is_discarded_and_holds_nobody_up() {
    let world = World::of_three().await;
    let (cathys, peer) = (world.turncoat(&world.cathy), world.peer("c.example"));
    world.alice.says("The tea is ready.").await;
    world.cathy.reads("alice (a.example): The tea is ready.").await;
    let alice = world.alice.uri();
    let good = text("Good.", &cathys.user, &tea());
    let alices = cathys.name_of(&world.cathy, "The tea is ready.").await;
    let of_type = |media_type: &str, octets: Vec<u8>| {
        let framing =
            ApplicationFraming { media_type: MediaType::new(media_type), inner_application_content: octets.into() };
        framing.encode()
    };
    let content = |octets: Vec<u8>| ApplicationFraming::mimi_content(octets).encode();
    let mut trailing = good.encode();
    trailing.push(0xf6);
    for (what, data) in [
        ("nothing", Vec::new()),
        ("no framing", vec![0xff; 40]),
        ("another media type", of_type("text/html", b"<script>".to_vec())),
        ("no CBOR", content(vec![0xff; 40])),
        ("CBOR that is no content", content(vec![0x80])),
        ("content that goes on", content(trailing)),
        ("in Alice's name", framed(&text("I'm Alice.", alice, &tea()))),
        ("for another room", framed(&text("Elsewhere.", &cathys.user, &"mimi://a.example/r/coffee".parse().unwrap()))),
        (
            "an edit of Alice's",
            framed(&MimiContent { replaces: Some(alices), ..text("The tea is cold.", &cathys.user, &tea()) }),
        ),
    ] {
        let request = cathys.submits(&data).await;
        let said = peer.posts("a.example", "submitMessage", TEA, &request).await;
        assert_eq!((said.status, &said.body[..2]), (200, &[1, 0][..]), "{what}: the hub can't see it");
    }
    // The same content twice, in two ciphertexts, is one message.
    for _ in 0..2 {
        let request = cathys.submits(&framed(&good)).await;
        assert_eq!(peer.posts("a.example", "submitMessage", TEA, &request).await.body[..2], [1, 0]);
    }
    world.cathy.says("And that was all.").await;
    let lines = |alice: &str| {
        [
            format!("{alice}: The tea is ready."),
            "cathy (c.example): Good.".into(),
            "cathy (c.example): And that was all.".into(),
        ]
    };
    for (reader, alice) in [(&world.alice, "alice"), (&world.bob, "alice (a.example)")] {
        reader.sees(&lines(alice).each_ref().map(String::as_str)).await;
    }
    world.still_talk().await;
}

#[tokio::test]
async fn a_commit_against_the_policy_is_not_allowed_and_changes_nothing() {
    let world = World::of_three().await;
    let (cathys, peer) = (world.turncoat(&world.cathy), world.peer("c.example"));
    let epoch = cathys.epoch().await;
    let carl = user("mimi://c.example/u/carl");
    let add = || vec![key_package_of(&carl)];
    let bobs = user("mimi://b.example/u/bob");
    for (what, change) in [
        ("a client whose user is no participant", Change { add: add(), ..Change::default() }),
        ("an admin", Change { add: add(), update: vec![one_more(&carl, 3)], ..Change::default() }),
        ("a role that is not defined", Change { add: add(), update: vec![one_more(&carl, 77)], ..Change::default() }),
        ("a second client of Bob's", Change { add: vec![key_package_of(&bobs)], ..Change::default() }),
        (
            "Alice removed, who is above her",
            Change { remove: vec!["mimi://a.example/d/alice/1".into()], ..Change::default() },
        ),
        ("no roles", Change { update: vec![(component::ROLES_LIST, vec![0])], ..Change::default() }),
        (
            "another hub's franking agent",
            Change { update: vec![(component::FRANKING_AGENT, vec![1, 0, 0, 1, 0])], ..Change::default() },
        ),
    ] {
        let material = cathys.commits(change, false).await;
        let said = peer.posts("a.example", "update", TEA, &bundle(material).encode()).await;
        // notAllowed, and why.
        assert_eq!((said.status, said.body[0]), (200, 2), "{what}");
        assert!(said.body[1] > 0, "{what}: no reason is given");
    }
    world.still_talk().await;
    assert_eq!(cathys.epoch().await, epoch);
}

#[tokio::test]
async fn a_commit_whose_parts_do_not_fit_is_not_allowed() {
    let world = World::of_three().await;
    let (cathys, peer) = (world.turncoat(&world.cathy), world.peer("c.example"));
    let (carl, carol) = (user("mimi://c.example/u/carl"), user("mimi://c.example/u/carol"));
    let adding = async |user: &UserUri| {
        let change = Change { add: vec![key_package_of(user)], update: vec![one_more(user, 2)], ..Change::default() };
        cathys.commits(change, false).await
    };
    let (with_carl, with_carol, plain) =
        (adding(&carl).await, adding(&carol).await, cathys.commits(Change::default(), false).await);
    let parts = |bundle: HandshakeBundle| match bundle {
        HandshakeBundle::Commit { commit, welcome, group_info, ratchet_tree } => {
            (commit, welcome, group_info, ratchet_tree)
        }
        HandshakeBundle::Proposal { .. } => unreachable!(),
    };
    let (carl_commit, carl_welcome, info, tree) = parts(bundle(with_carl));
    let (_, carol_welcome, ..) = parts(bundle(with_carol));
    let (plain_commit, ..) = parts(bundle(plain));
    let with = |commit: &_, welcome: &Option<_>| HandshakeBundle::Commit {
        commit: Clone::clone(commit),
        welcome: Clone::clone(welcome),
        group_info: info.clone(),
        ratchet_tree: tree.clone(),
    };
    for (what, bundle) in [
        ("no Welcome for who is added", with(&carl_commit, &None)),
        ("a Welcome for somebody else", with(&carl_commit, &carol_welcome)),
        ("a Welcome though nobody is added", with(&plain_commit, &carl_welcome)),
    ] {
        let said = peer.posts("a.example", "update", TEA, &bundle.encode()).await;
        assert_eq!((said.status, said.body[0]), (200, 2), "{what}");
    }
    world.still_talk().await;
}

#[tokio::test]
async fn a_commit_of_another_epoch_is_told_the_current_one() {
    let world = World::of_three().await;
    let (cathys, peer) = (world.turncoat(&world.cathy), world.peer("c.example"));
    let (old, epoch) = (bundle(cathys.commits(Change::default(), false).await).encode(), cathys.epoch().await);
    world.person("alan", "a.example").joins().await;
    world.cathy.is_with(&["alan (a.example)", "alice (a.example)", "bob (b.example)"]).await;
    // wrongEpoch, no description, the current epoch.
    let wrong_epoch = Said::ok([&[1, 0], &(epoch + 1).to_be_bytes()[..]].concat());
    assert_eq!(peer.posts("a.example", "update", TEA, &old).await, wrong_epoch);
    world.still_talk().await;
}

#[tokio::test]
async fn a_commit_in_another_providers_name_or_with_a_broken_signature_is_not_allowed() {
    let world = World::of_three().await;
    let (cathys, bobs) = (world.turncoat(&world.cathy), world.turncoat(&world.bob));
    let bobs_commit = bundle(bobs.commits(Change::default(), false).await).encode();
    let said = world.peer("c.example").posts("a.example", "update", TEA, &bobs_commit).await;
    assert_eq!((said.status, said.body[0]), (200, 2));
    let material = cathys.commits(Change::default(), false).await;
    let commit = material.commit.as_bytes().len();
    let mut broken = bundle(material).encode();
    // At the end of a PublicMessage stand signature, confirmation_tag and membership_tag, of 64, 32 and 32 octets.
    broken[commit - 80] ^= 1;
    let said = world.peer("c.example").posts("a.example", "update", TEA, &broken).await;
    assert_eq!((said.status, said.body[0]), (200, 2));
    world.still_talk().await;
}

/// Cathy's gateway takes Bob out of the room. She may.
async fn removes_bob(world: &World) {
    let cathys = world.turncoat(&world.cathy);
    let change = Change {
        remove: vec!["mimi://b.example/d/bob/1".into()],
        update: vec![one_less(cathys.index_of(world.bob.uri()).await)],
        ..Change::default()
    };
    let update = bundle(cathys.commits(change, true).await).encode();
    let said = world.peer("c.example").posts("a.example", "update", TEA, &update).await;
    assert_eq!((said.status, said.body[0]), (200, 0));
}

#[tokio::test]
async fn who_may_receive_nothing_is_sent_nothing() {
    let world = World::of_three().await;
    let alices = world.turncoat(&world.alice);
    let mut roles: Vec<_> = group_policy(&domain("a.example"), 1).roles.iter().cloned().collect();
    roles.iter_mut().find(|it| it.role_index == role::READ_ONLY).unwrap().role_capabilities.clear();
    let update = vec![(component::ROLES_LIST, RoleData::new(roles).unwrap().encode())];
    alices.carries_out(&world, Change { update, ..Change::default() }).await;
    let cathys_role = async |role_index| {
        let user_index = alices.index_of(world.cathy.uri()).await;
        let changed_role_participants = vec![UserIndexRolePair { user_index, role_index }];
        let update = ParticipantListUpdate { changed_role_participants, ..Default::default() }.encode();
        let update = vec![(component::PARTICIPANT_LIST, update)];
        alices.carries_out(&world, Change { update, ..Change::default() }).await;
    };
    cathys_role(role::READ_ONLY).await;
    world.still_talk().await;
    // What changes the room she is told all the same, so that she can hear again.
    cathys_role(role::ORDINARY_USER).await;
    world.alice.says("Do you hear me?").await;
    world.cathy.sees(&["alice (a.example): Do you hear me?"]).await;
}

#[tokio::test]
async fn who_has_been_removed_is_not_heard_any_more_and_hears_no_more() {
    let world = World::of_three().await;
    let (bobs, peer) = (world.turncoat(&world.bob), world.peer("b.example"));
    let (early, late) = (text("Wait!", &bobs.user, &tea()), text("No!", &bobs.user, &tea()));
    let request = bobs.submits(&framed(&early)).await;
    let commit = bundle(bobs.commits(Change::default(), false).await).encode();
    let mut changed = bobs.encrypts(&framed(&late)).await.as_bytes().to_vec();
    removes_bob(&world).await;
    world.alice.is_with(&["cathy (c.example)"]).await;
    world.cathy.is_with(&["alice (a.example)"]).await;

    assert_ne!(peer.posts("a.example", "submitMessage", TEA, &request).await.body[1], 0);
    assert_ne!(peer.posts("a.example", "update", TEA, &commit).await.body[0], 0);
    // As if it were of the new epoch.
    let epoch = world.turncoat(&world.cathy).epoch().await;
    let at = changed.windows(8).position(|window| window == (epoch - 1).to_be_bytes()).unwrap();
    changed[at..at + 8].copy_from_slice(&epoch.to_be_bytes());
    let request = [&[1], &changed[..], &[22], b"mimi://b.example/u/bob"].concat();
    assert_eq!(peer.posts("a.example", "submitMessage", TEA, &request).await, not_allowed());

    world.alice.says("He's gone.").await;
    world.cathy.sees(&["alice (a.example): He's gone."]).await;
    world.cathy.says("So he is.").await;
    world.alice.sees(&["alice: He's gone.", "cathy (c.example): So he is."]).await;
    let told = "the gateway to bob: mimi://c.example/u/cathy has taken you out of the room. What you write from now on \
                reaches people elsewhere only if the room lets you in again.";
    assert_eq!(world.bob.transcript(), [told]);
}

#[tokio::test]
async fn who_has_been_removed_is_told_so_and_sees_nobody_and_can_be_invited_again() {
    let world = World::of_three().await;
    removes_bob(&world).await;
    world.bob.is_with(&[]).await;
    assert_eq!(world.bob.tries_to_say("Hello?").await.unwrap_err(), "this conversation has left its MIMI room");
    world.alice.is_with(&["cathy (c.example)"]).await;
    world.desk("a.example").invite(&tea(), world.bob.uri()).await.unwrap();
    world.bob.is_with(&["alice (a.example)", "cathy (c.example)"]).await;
    world.still_talk().await;
    world.bob.says("Hello again.").await;
    world.cathy.reads("bob (b.example): Hello again.").await;
}

#[tokio::test]
async fn a_message_that_comes_before_its_epoch_is_asked_for_again() {
    let mut world = World::of_two().await;
    let epoch = world.turncoat(&world.bob).epoch().await;
    world.stop("b.example").await;
    world.alice.says("One.").await;
    let mut body = world.waiting_for_b().await;
    world.start("b.example").await;
    world.bob.reads("alice (a.example): One.").await;
    let at = body.windows(8).position(|window| window == epoch.to_be_bytes()).unwrap();
    body[at..at + 8].copy_from_slice(&(epoch + 1).to_be_bytes());
    assert_eq!(world.peer("a.example").posts("b.example", "notify", TEA, &body).await.status, 503);
    world.still_talk().await;
}

#[tokio::test]
async fn a_hub_that_tells_nonsense_is_answered_and_the_room_goes_on() {
    let mut world = World::of_two().await;
    world.stop("b.example").await;
    world.alice.says("One.").await;
    let body = world.waiting_for_b().await;
    world.start("b.example").await;
    let hub = world.peer("a.example");
    // A ciphertext that was changed on the way, and one of an epoch long gone.
    let fanned_out = FanoutMessage::decode_all(&body).unwrap().remove(0);
    let Fanout::Application { message, frank } = fanned_out.fanout else { panic!("it is a message") };
    let mut octets = message.as_bytes().to_vec();
    *octets.last_mut().unwrap() ^= 1;
    let changed = MlsMessage::decode(&octets).unwrap();
    let fanout = Fanout::Application { message: changed, frank };
    let changed = FanoutMessage { timestamp: fanned_out.timestamp, fanout }.encode();
    // What is right behind it in the same body is delivered.
    let both = [changed, body].concat();
    assert_eq!(hub.posts("b.example", "notify", TEA, &both).await.status, 201);
    world.bob.sees(&["alice (a.example): One."]).await;
    world.still_talk().await;
}
