//! Joining by an external commit: who may, and what everybody else is told.

use mimi_gateway::{
    core::Fault,
    mimi::{
        tls::Tls,
        uri::{ClientUri, UserUri},
        wire::{
            Credential, Fanout, FanoutMessage, GroupInfoOption, GroupInfoOutcome, GroupInfoRatchetTreeTbe,
            GroupInfoRequest, GroupInfoRequestTbs, GroupInfoResponse, HandshakeBundle, PartialGroupInfo, Protocol,
            RatchetTreeOption, RatchetTreePresence,
        },
    },
    mls::{Change, Client, HpkeKey, Member, Offered},
    outbox::Payload,
};

use crate::{
    peer::Said,
    turncoat::{Turncoat, bundle},
    world::World,
};

const TEA: &str = "mimi://a.example/r/tea";

impl Turncoat {
    /// A request for the GroupInfo of `tea`, signed by the user's client, and the key that opens the answer.
    pub async fn asks(&self, change: impl FnOnce(&mut GroupInfoRequestTbs)) -> (GroupInfoRequest, HpkeKey) {
        let client = self.client().await;
        asks(&client, change)
    }

    async fn client(&self) -> Client {
        let user = self.user.clone();
        self.core.write(move |core, tx| Box::pin(async move { core.client(tx, &user).await })).await.unwrap()
    }
}

pub fn asks(client: &Client, change: impl FnOnce(&mut GroupInfoRequestTbs)) -> (GroupInfoRequest, HpkeKey) {
    let key = HpkeKey::generate(1).unwrap();
    let mut tbs = GroupInfoRequestTbs {
        protocol: Protocol::Mls10,
        cipher_suite: 1,
        requesting_signature_key: client.public_key().to_vec().into(),
        requesting_credential: Credential::basic(client.uri().as_str()),
        group_info_public_key: key.public().to_vec().into(),
        joining_code: None,
    };
    change(&mut tbs);
    let signature = client.sign_with_label("GroupInfoRequestTBS", &tbs.encode()).unwrap();
    (GroupInfoRequest::signed(tbs, signature.into()), key)
}

/// Somebody's client, whose keys nobody else has.
pub fn client_of(user: &str) -> Client {
    let user: UserUri = user.parse().unwrap();
    Client::generate(ClientUri::new(&user, 1), Vec::new()).unwrap()
}

/// version mls10, the room, notAuthorized.
pub fn not_authorized(room: &str) -> Said {
    Said::ok([&[1, room.len() as u8], room.as_bytes(), &[2]].concat())
}

pub fn opened(said: &Said, key: &HpkeKey) -> GroupInfoRatchetTreeTbe {
    let response = GroupInfoResponse::decode(&said.body).unwrap();
    let GroupInfoOutcome::Success { answer, .. } = response.outcome else { panic!("{:?}", response.outcome) };
    let ciphertext = &answer.encrypted_groupinfo_and_tree;
    let octets = key.decrypt_with_label("GroupInfo and ratchet_tree encryption", TEA.as_bytes(), ciphertext).unwrap();
    GroupInfoRatchetTreeTbe::decode(&octets).unwrap()
}

/// The octets of an update by which `client` would join.
fn joins(client: &Client, offered: &GroupInfoRatchetTreeTbe) -> Vec<u8> {
    joins_with(client, offered, Vec::new())
}

/// The same with updates of components.
pub fn joins_with(client: &Client, offered: &GroupInfoRatchetTreeTbe, updates: Vec<(u16, Vec<u8>)>) -> Vec<u8> {
    let RatchetTreeOption::Full(tree) = &offered.ratchet_tree_option else { panic!("it has its tree") };
    let offered = Offered { group_info: &offered.group_info, tree, proposals: &[] };
    bundle(Member::join_externally(client, &offered, updates).unwrap().1).encode()
}

#[tokio::test]
async fn a_participants_provider_gets_the_group_info_and_nobody_else_learns_anything() {
    let world = World::of_two().await;
    let (cathy, peer) = (client_of("mimi://c.example/u/cathy"), world.peer("c.example"));
    // Who is not in the room can't tell whether there is one.
    for room in [TEA, "mimi://a.example/r/coffee", "mimi://b.example/r/tea"] {
        let request = asks(&cathy, |_| {}).0.encode();
        assert_eq!(peer.posts("a.example", "groupInfo", room, &request).await, not_authorized(room));
    }
    // Nor can somebody at a provider that has others in it.
    let ben = client_of("mimi://b.example/u/ben");
    let (request, peer) = (asks(&ben, |_| {}).0.encode(), world.peer("b.example"));
    assert_eq!(peer.posts("a.example", "groupInfo", TEA, &request).await, not_authorized(TEA));

    let (request, key) = world.turncoat(&world.bob).asks(|_| {}).await;
    let said = peer.posts("a.example", "groupInfo", TEA, &request.encode()).await;
    let offered = opened(&said, &key);
    assert_eq!(offered.group_info.epoch(), 1);
    assert_eq!(offered.pending_proposals, []);
    // The same request again is answered again, for the same key, which whoever only heard it does not have.
    let again = peer.posts("a.example", "groupInfo", TEA, &request.encode()).await;
    assert_ne!(again, said);
    assert_eq!(opened(&again, &key), offered);
    world.still_talk().await;
}

#[tokio::test]
async fn who_asks_signs_for_it_and_is_a_client_of_who_brings_it() {
    let world = World::of_two().await;
    let (bobs, peer) = (world.turncoat(&world.bob), world.peer("b.example"));
    let mut forged = bobs.asks(|_| {}).await.0;
    let mut signature = forged.signature.to_vec();
    signature[0] ^= 1;
    forged.signature = signature.into();
    // The same 403 for a room that is there and one that is not.
    for room in [TEA, "mimi://a.example/r/coffee"] {
        assert_eq!(peer.posts("a.example", "groupInfo", room, &forged.encode()).await.status, 403, "forged");
        let bobs = bobs.asks(|_| {}).await.0.encode();
        let said = world.peer("c.example").posts("a.example", "groupInfo", room, &bobs).await;
        assert_eq!(said.status, 403, "Bob's, by c.example");
        for identity in ["mimi://a.example/d/alice/1", "mimi://b.example", "bob", ""] {
            let request = self::asks(&bobs_client(&world).await, |tbs| {
                tbs.requesting_credential = Credential::basic(identity);
            });
            let said = peer.posts("a.example", "groupInfo", room, &request.0.encode()).await;
            assert_eq!(said.status, 403, "{identity:?}");
        }
    }
    for suite in [0, 2, 7, 0xf042] {
        let request = bobs.asks(|tbs| tbs.cipher_suite = suite).await.0.encode();
        assert_eq!(peer.posts("a.example", "groupInfo", TEA, &request).await, not_authorized(TEA), "suite {suite}");
    }
    for key in [&[][..], &[7; 31], &[7; 65]] {
        let request = bobs.asks(|tbs| tbs.group_info_public_key = key.to_vec().into()).await.0.encode();
        let said = peer.posts("a.example", "groupInfo", TEA, &request).await;
        assert_eq!(said, not_authorized(TEA), "a key of {} octets", key.len());
    }
    // D14: an absent code may have been signed as one that is there and empty.
    let request = bobs.asks(|tbs| tbs.joining_code = Some(Default::default())).await.0.encode();
    assert_ne!(peer.posts("a.example", "groupInfo", TEA, &request).await, not_authorized(TEA));
    world.still_talk().await;
}

async fn bobs_client(world: &World) -> Client {
    world.turncoat(&world.bob).client().await
}

#[tokio::test]
async fn nobody_joins_by_themselves_who_is_not_in_the_list() {
    let world = World::of_two().await;
    let (request, key) = world.turncoat(&world.bob).asks(|_| {}).await;
    let offered = opened(&world.peer("b.example").posts("a.example", "groupInfo", TEA, &request.encode()).await, &key);
    for (client, by) in [
        (client_of("mimi://c.example/u/cathy"), "c.example"),
        (client_of("mimi://b.example/u/ben"), "b.example"),
        // In the list, and of another provider.
        (client_of("mimi://b.example/u/bob"), "c.example"),
    ] {
        let body = joins(&client, &offered);
        let said = world.peer(by).posts("a.example", "update", TEA, &body).await;
        assert_eq!((said.status, said.body[0]), (200, 2), "{} by {by}", client.uri());
    }
    // The hub has none of it, and neither have the others.
    assert_eq!(world.turncoat(&world.alice).epoch().await, 1);
    world.still_talk().await;
}

#[tokio::test]
async fn who_is_in_the_list_joins_once_and_all_follow() {
    let world = World::of_three().await;
    let epoch = world.turncoat(&world.alice).epoch().await;
    let (bobs, peer) = (world.turncoat(&world.bob), world.peer("b.example"));
    let (request, key) = bobs.asks(|_| {}).await;
    let offered = opened(&peer.posts("a.example", "groupInfo", TEA, &request.encode()).await, &key);
    let (first, second) = (joins(&bobs.client().await, &offered), joins(&bobs.client().await, &offered));
    let said = peer.posts("a.example", "update", TEA, &first).await;
    assert_eq!((said.status, said.body[0]), (200, 0));
    // The same octets have the same answer, others are of an epoch that is over.
    assert_eq!(peer.posts("a.example", "update", TEA, &first).await, said);
    let wrong_epoch = Said::ok([&[1, 0], &(epoch + 1).to_be_bytes()[..]].concat());
    assert_eq!(peer.posts("a.example", "update", TEA, &second).await, wrong_epoch);
    world.eventually("Cathy's client follows", async || world.turncoat(&world.cathy).epoch().await == epoch + 1).await;
    world.alice.says("Who was that?").await;
    world.cathy.reads("alice (a.example): Who was that?").await;
    // It was not Bob's gateway: somebody else has his keys, so it stays out.
    world.bob.is_with(&[]).await;
    assert_eq!(world.bob.tries_to_say("Not me.").await.unwrap_err(), "this conversation has left its MIMI room");
}

#[tokio::test]
async fn a_commit_needs_the_group_info_of_its_own_epoch() {
    let world = World::of_three().await;
    let (cathys, bobs, peer) = (world.turncoat(&world.cathy), world.turncoat(&world.bob), world.peer("c.example"));
    let epoch = cathys.epoch().await;
    let (one, other) = (cathys.commits(Change::default(), false).await, cathys.commits(Change::default(), false).await);
    let bobs = bobs.commits(Change::default(), false).await;
    let mut broken = one.group_info.as_bytes().to_vec();
    *broken.last_mut().unwrap() ^= 1;
    let broken = mimi_gateway::mimi::wire::GroupInfo::decode(&broken).unwrap();
    for (what, group_info) in [
        ("of another commit", other.group_info.clone()),
        ("of somebody else's commit", bobs.group_info),
        ("with a broken signature", broken),
    ] {
        let update = HandshakeBundle::Commit {
            commit: one.commit.clone(),
            welcome: None,
            group_info: GroupInfoOption::Full(group_info),
            ratchet_tree: RatchetTreeOption::DistributionService,
        };
        let said = peer.posts("a.example", "update", TEA, &update.encode()).await;
        assert_eq!((said.status, said.body[0]), (200, 2), "{what}");
    }
    assert_eq!(cathys.epoch().await, epoch);
    world.still_talk().await;
}

#[tokio::test]
async fn a_hub_completes_a_partial_group_info_and_gives_it_to_who_joins() {
    let world = World::of_three().await;
    let (cathys, peer) = (world.turncoat(&world.cathy), world.peer("c.example"));
    let material = cathys.commits(Change::default(), true).await;
    let whole = material.group_info.as_bytes().clone();
    // external_pub: `x<V>` of one extension of type 4, with a key of 32 octets.
    let head = [0x24, 0, 4, 0x21, 0x20];
    let at = whole.windows(5).rposition(|window| window == head).unwrap();
    let external_pub = PartialGroupInfo::decode(&[&[0][..], &whole[at..at + 0x25], &[0]].concat()).unwrap();
    let signature = whole.slice(whole.len() - 64..);
    let partial = |presence, signature: &[u8]| HandshakeBundle::Commit {
        commit: material.commit.clone(),
        welcome: None,
        group_info: GroupInfoOption::Partial(PartialGroupInfo {
            ratchet_tree_presence: presence,
            signature: signature.to_vec().into(),
            ..external_pub.clone()
        }),
        ratchet_tree: RatchetTreeOption::DistributionService,
    };
    for (what, update) in [
        ("an embedded tree", partial(RatchetTreePresence::Present, &signature)),
        ("another signature", partial(RatchetTreePresence::NoRatchetTree, &[7; 64])),
    ] {
        let said = peer.posts("a.example", "update", TEA, &update.encode()).await;
        assert_eq!((said.status, said.body[0]), (200, 2), "{what}");
    }
    let update = partial(RatchetTreePresence::NoRatchetTree, &signature).encode();
    let said = peer.posts("a.example", "update", TEA, &update).await;
    assert_eq!((said.status, said.body[0]), (200, 0));
    let (request, key) = cathys.asks(|_| {}).await;
    let offered = opened(&peer.posts("a.example", "groupInfo", TEA, &request.encode()).await, &key);
    assert_eq!(offered.group_info.as_bytes(), &whole);
    world.still_talk().await;
}

#[tokio::test]
async fn what_waits_for_a_commit_is_given_along() {
    let world = World::of_two().await;
    let core = world.core("a.example").clone();
    let bobs = world.turncoat(&world.bob);
    let [leave, update] = bobs.proposes(crate::turncoat::one_less(bobs.index_of(world.bob.uri()).await).1).await;
    let proposals = HandshakeBundle::Proposal { proposal: leave.clone(), more_proposals: vec![update.clone()] };
    let (request, body) = (bobs.asks(|_| {}).await, proposals.encode());
    let request_octets = request.0.encode();
    // In one transaction, or somebody would have committed them.
    let answer = core.write(move |core, tx| {
        Box::pin(async move {
            let (from, room) = (crate::world::domain("b.example"), crate::world::tea());
            core.hub_update(tx, &from, &room, &body).await?;
            Ok::<_, Fault>(core.hub_group_info(tx, &from, &room, &request_octets).await?)
        })
    });
    let offered = opened(&Said::ok(answer.await.unwrap()), &request.1);
    let waiting: Vec<_> = offered.pending_proposals.iter().map(|it| it.proposal.clone()).collect();
    assert_eq!(waiting, [leave, update]);
    // Whoever of the room joins now takes both along: Bob is out of the group and of the list.
    let RatchetTreeOption::Full(tree) = &offered.ratchet_tree_option else { panic!("it has its tree") };
    let alice = world.turncoat(&world.alice).client().await;
    let with = Offered { group_info: &offered.group_info, tree, proposals: &waiting };
    let (member, _) = Member::join_externally(&alice, &with, Vec::new()).unwrap();
    assert_eq!(member.leaves().unwrap().into_values().collect::<Vec<_>>(), ["mimi://a.example/d/alice/1"]);
    let list = &member.dictionary()[&mimi_gateway::mimi::component::PARTICIPANT_LIST];
    let list = mimi_gateway::mimi::participants::ParticipantListData::decode(list).unwrap();
    assert_eq!(list.iter().map(|it| it.user.as_str()).collect::<Vec<_>>(), ["mimi://a.example/u/alice"]);
}

#[tokio::test]
async fn an_external_commit_without_who_leaves_is_not_allowed() {
    let world = World::of_three().await;
    let core = world.core("a.example").clone();
    let (bobs, cathys) = (world.turncoat(&world.bob), world.turncoat(&world.cathy));
    let [leave, update] = bobs.proposes(crate::turncoat::one_less(bobs.index_of(world.bob.uri()).await).1).await;
    let body = HandshakeBundle::Proposal { proposal: leave, more_proposals: vec![update] }.encode();
    let ((request, key), client) = (cathys.asks(|_| {}).await, cathys.client().await);
    // In one transaction, or somebody would have committed it.
    let answers = core.write(move |core, tx| {
        Box::pin(async move {
            let (b, c, room) =
                (crate::world::domain("b.example"), crate::world::domain("c.example"), crate::world::tea());
            core.hub_update(tx, &b, &room, &body).await?;
            let offered = core.hub_group_info(tx, &c, &room, &request.encode()).await?;
            let offered = opened(&Said::ok(offered), &key);
            let without = core.hub_update(tx, &c, &room, &joins(&client, &offered)).await?;
            let RatchetTreeOption::Full(tree) = &offered.ratchet_tree_option else { panic!("it has its tree") };
            let waiting: Vec<_> = offered.pending_proposals.iter().map(|it| it.proposal.clone()).collect();
            let with = Offered { group_info: &offered.group_info, tree, proposals: &waiting };
            let with = bundle(Member::join_externally(&client, &with, Vec::new()).unwrap().1).encode();
            let with = core.hub_update(tx, &c, &room, &with).await?;
            Ok::<_, Fault>((without[0], with[0]))
        })
    });
    assert_eq!(answers.await.unwrap(), (2, 0));
}

#[tokio::test]
async fn what_an_external_commit_leaves_behind_the_hub_proposes_again() {
    let world = World::of_three().await;
    let (cathys, peer) = (world.turncoat(&world.cathy), world.peer("c.example"));
    // Cathy has a second client.
    let second = Client::generate(ClientUri::new(world.cathy.uri(), 2), Vec::new()).unwrap();
    let change = Change { add: vec![second.key_package().unwrap().key_package], ..Change::default() };
    let update = bundle(cathys.commits(change, true).await).encode();
    assert_eq!(peer.posts("a.example", "update", TEA, &update).await.body[0], 0);
    let alan = world.person("alan", "a.example");
    alan.joins().await;
    world.bob.is_with(&["alan (a.example)", "alice (a.example)", "cathy (c.example)"]).await;
    world.cathy.is_with(&["alan (a.example)", "alice (a.example)", "bob (b.example)"]).await;

    // She leaves with both, and before anybody has committed that Alan's client joins anew.
    let index = cathys.index_of(world.cathy.uri()).await;
    let proposals = cathys.leaves(&["mimi://c.example/d/cathy/2"], crate::turncoat::one_less(index).1).await;
    assert_eq!(proposals.len(), 3);
    let [leave, remove, list] = <[_; 3]>::try_from(proposals).unwrap();
    let proposals = HandshakeBundle::Proposal { proposal: leave, more_proposals: vec![remove, list] }.encode();
    let alans = world.turncoat(&alan);
    let (client, (request, key)) = (alans.client().await, alans.asks(|_| {}).await);
    let request = request.encode();
    let fanned_out = world.core("a.example").write(move |core, tx| {
        Box::pin(async move {
            let (from, us, room) = (crate::world::domain("c.example"), core.domain.clone(), crate::world::tea());
            core.hub_update(tx, &from, &room, &proposals).await?;
            let answer = Said::ok(core.hub_group_info(tx, &us, &room, &request).await?);
            let offered = opened(&answer, &key);
            let waiting: Vec<_> = offered.pending_proposals.iter().map(|it| it.proposal.clone()).collect();
            let RatchetTreeOption::Full(tree) = &offered.ratchet_tree_option else { panic!("it has its tree") };
            let with = Offered { group_info: &offered.group_info, tree, proposals: &waiting };
            let commit = bundle(Member::join_externally(&client, &with, Vec::new()).unwrap().1).encode();
            let answer = core.hub_update(tx, &us, &room, &commit).await?;
            assert_eq!(answer[0], 0);
            let rows = tx.outbox_head("follower mimi://a.example/r/tea b.example", 64).await?;
            Ok::<_, Fault>(rows.into_iter().map(|row| row.payload).collect::<Vec<_>>())
        })
    });
    let last = Payload::decode(fanned_out.await.unwrap().last().unwrap()).unwrap();
    let Payload::Fanout { message } = last else { panic!("it is a fan-out") };
    let Fanout::Commit { external_proposals, .. } = FanoutMessage::decode(&message).unwrap().fanout else {
        panic!("it is a commit")
    };
    assert_eq!(external_proposals.len(), 1);
    // Everybody takes it up, and the second client is out after the first.
    world
        .eventually("nobody of Cathy's is left", async || {
            let bobs = world.turncoat(&world.bob).identities().await;
            !bobs.iter().any(|identity| identity.starts_with("mimi://c.example/"))
        })
        .await;
    world.still_talk().await;
    // She stays in the list: members with openmls take no such proposal from a hub.
    world.alice.is_with(&["bob (b.example)", "cathy (c.example)"]).await;
}
