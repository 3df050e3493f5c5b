//! Key material and consent: who may ask for whom, and what others learn from the answer.

use mimi_gateway::{
    admin::Operator,
    mimi::{
        tls::Tls,
        uri::{ClientUri, RoomUri, UserUri},
        wire::{
            AppDataDictionary, ConsentEntry, ConsentOperation, Credential, KeyMaterialRequest, KeyMaterialRequestTbs,
            KeyMaterialResponse, KeyMaterialUserCode, Protocol, RequiredCapabilities,
        },
    },
    mls::Client,
};

use crate::{
    peer::Said,
    world::{World, tea},
};

const ALICE: &str = "mimi://a.example/u/alice";
const BOB: &str = "mimi://b.example/u/bob";

fn user(uri: &str) -> UserUri {
    uri.parse().unwrap()
}

/// Asks for key material of `target` in the name of Cathy, for no room.
pub fn key_material_request(target: &str, change: impl FnOnce(&mut KeyMaterialRequestTbs)) -> KeyMaterialRequest {
    let client = Client::generate(ClientUri::new(&user("mimi://c.example/u/cathy"), 9), Vec::new()).unwrap();
    let mut tbs = KeyMaterialRequestTbs {
        protocol: Protocol::Mls10,
        requesting_user: user("mimi://c.example/u/cathy"),
        target_user: user(target),
        room_id: None,
        acceptable_ciphersuites: vec![1],
        required_capabilities: RequiredCapabilities::default(),
        requester_signature_key: client.public_key().to_vec().into(),
        requester_credential: Credential::basic("mimi://c.example/d/cathy/9"),
    };
    change(&mut tbs);
    let signature = client.sign_with_label("KeyMaterialRequestTBS", &tbs.encode()).unwrap().into();
    KeyMaterialRequest { tbs, signature }
}

pub fn consent(operation: ConsentOperation, requester: &str, target: &str) -> ConsentEntry {
    ConsentEntry {
        consent_operation: operation,
        requester_uri: user(requester),
        target_uri: user(target),
        room_id: None,
        consent_extensions: AppDataDictionary::default(),
    }
}

#[tokio::test]
async fn key_material_is_for_who_signs_for_it_and_for_whom_the_path_names() {
    let world = World::of_three().await;
    let peer = world.peer("c.example");
    let ask = async |about: &str, body: &KeyMaterialRequest| {
        peer.posts("b.example", "keyMaterial", about, &body.encode()).await.status
    };
    let good = key_material_request(BOB, |_| {});
    assert_eq!(ask("mimi://b.example/u/ben", &good).await, 400);
    assert_eq!(ask("b.example", &good).await, 400);

    let mut forged = good.clone();
    let mut signature = forged.signature.to_vec();
    signature[0] ^= 1;
    forged.signature = signature.into();
    assert_eq!(ask(BOB, &forged).await, 403);
    let mut another_room = good.clone();
    another_room.tbs.room_id = Some(RoomUri::parse("mimi://c.example/r/tea").unwrap());
    assert_eq!(ask(BOB, &another_room).await, 403);
    let not_hers =
        key_material_request(BOB, |tbs| tbs.requester_credential = Credential::basic("mimi://c.example/d/carl/1"));
    assert_eq!(ask(BOB, &not_hers).await, 403);
    let not_theirs = key_material_request(BOB, |tbs| {
        tbs.requesting_user = user(ALICE);
        tbs.requester_credential = Credential::basic(ALICE);
    });
    assert_eq!(ask(BOB, &not_theirs).await, 403);
    // Nor for a room of another hub.
    let not_their_room = key_material_request(BOB, |tbs| {
        tbs.requesting_user = user(ALICE);
        tbs.requester_credential = Credential::basic(ALICE);
        tbs.room_id = Some(tea());
    });
    assert_eq!(ask(BOB, &not_their_room).await, 403);

    let said = peer.posts("b.example", "keyMaterial", BOB, &good.encode()).await;
    let response = KeyMaterialResponse::decode(&said.body).unwrap();
    assert_eq!((said.status, response.user_status, response.clients.len()), (200, KeyMaterialUserCode::Success, 1));
    let again = peer.posts("b.example", "keyMaterial", BOB, &good.encode()).await;
    assert_ne!(again.body, said.body, "a KeyPackage is handed out once");
    // Code 3 and no clients: none of the suites is ours.
    let strange = key_material_request(BOB, |tbs| tbs.acceptable_ciphersuites = vec![0x0007, 0xf042]);
    let said = peer.posts("b.example", "keyMaterial", BOB, &strange.encode()).await;
    let incompatible = Said::ok([&[1, 3, 22], BOB.as_bytes(), &[0]].concat());
    assert_eq!(said, incompatible);
    // Nor have our clients every capability there is; of those in no list, all have them.
    for (extension, proposal, credential, compatible) in
        [(6, 10, 1, true), (1, 7, 1, true), (0xf0f0, 10, 1, false), (6, 0xf0f0, 1, false), (6, 10, 0x0005, false)]
    {
        let required = RequiredCapabilities {
            extension_types: vec![extension],
            proposal_types: vec![8, proposal],
            credential_types: vec![credential],
        };
        let body = key_material_request(BOB, |tbs| tbs.required_capabilities = required).encode();
        let said = peer.posts("b.example", "keyMaterial", BOB, &body).await;
        assert_eq!(said != incompatible, compatible, "{extension:#x} {proposal:#x} {credential:#x}");
    }
    world.still_talk().await;
}

#[tokio::test]
async fn who_does_not_exist_and_who_does_not_want_to_be_reached_give_the_same_answer() {
    let world = World::of_strangers().await;
    let peer = world.peer("c.example");
    // Code 5, noConsent, and no clients.
    for target in [BOB, "mimi://b.example/u/b@b", "mimi://b.example/u/b%2Fb"] {
        let body = key_material_request(target, |_| {}).encode();
        let said = peer.posts("b.example", "keyMaterial", target, &body).await;
        assert_eq!(said, Said::ok([&[1, 5, target.len() as u8], target.as_bytes(), &[0]].concat()), "{target}");
        let body = consent(ConsentOperation::Request, "mimi://c.example/u/cathy", target).encode();
        let said = peer.posts("b.example", "requestConsent", "b.example", &body).await;
        assert_eq!(said, Said { status: 201, body: Vec::new() }, "{target}");
    }
}

#[tokio::test]
async fn consent_is_asked_and_given_by_those_whom_it_concerns() {
    let world = World::of_three().await;
    let peer = world.peer("c.example");
    let cathy = "mimi://c.example/u/cathy";
    let (request, cancel) = (|| ConsentOperation::Request, || ConsentOperation::Cancel);
    let (grant, revoke) = (|| ConsentOperation::Grant(Vec::new()), || ConsentOperation::Revoke);
    for (endpoint, operation, requester, target, status) in [
        ("requestConsent", request(), cathy, ALICE, 201),
        ("requestConsent", request(), cathy, ALICE, 201),
        ("requestConsent", cancel(), cathy, ALICE, 201),
        ("requestConsent", cancel(), cathy, ALICE, 201),
        ("requestConsent", request(), BOB, ALICE, 403),
        ("requestConsent", request(), ALICE, cathy, 403),
        ("requestConsent", request(), cathy, BOB, 403),
        ("requestConsent", grant(), cathy, ALICE, 400),
        ("requestConsent", revoke(), cathy, ALICE, 400),
        ("updateConsent", grant(), ALICE, cathy, 201),
        ("updateConsent", revoke(), ALICE, cathy, 201),
        ("updateConsent", grant(), ALICE, BOB, 403),
        ("updateConsent", grant(), cathy, ALICE, 403),
        ("updateConsent", grant(), BOB, cathy, 403),
        ("updateConsent", request(), ALICE, cathy, 400),
        ("updateConsent", cancel(), ALICE, cathy, 400),
    ] {
        let entry = consent(operation.clone(), requester, target);
        let said = peer.posts("a.example", endpoint, "a.example", &entry.encode()).await;
        assert_eq!(said, Said { status, body: Vec::new() }, "{endpoint} {operation:?} {requester} {target}");
    }
    // A grant that somebody sends us is no word of ours.
    assert!(world.desk("a.example").consents().await.unwrap().iter().all(|it| it.state != "granted"));
    world.still_talk().await;
}

#[tokio::test]
async fn a_cancel_takes_back_the_request_of_its_scope_and_no_other() {
    let world = World::of_strangers().await;
    let (peer, cathy) = (world.peer("c.example"), "mimi://c.example/u/cathy");
    let room = |name: &str| Some(RoomUri::parse(&format!("mimi://c.example/r/{name}")).unwrap());
    let says = async |operation, room_id| {
        let entry = ConsentEntry { room_id, ..consent(operation, cathy, BOB) };
        peer.posts("b.example", "requestConsent", "b.example", &entry.encode()).await.status
    };
    let asked = async || -> Vec<Option<RoomUri>> {
        let mut asked: Vec<_> =
            world.desk("b.example").consents().await.unwrap().into_iter().map(|it| it.scope.room).collect();
        asked.sort();
        asked
    };
    for scope in [None, room("tea")] {
        assert_eq!(says(ConsentOperation::Request, scope).await, 201);
    }
    assert_eq!(asked().await, [None, room("tea")]);
    // Of a room that nobody has asked for.
    assert_eq!(says(ConsentOperation::Cancel, room("milk")).await, 201);
    assert_eq!(asked().await, [None, room("tea")]);
    assert_eq!(says(ConsentOperation::Cancel, None).await, 201);
    assert_eq!(asked().await, [room("tea")]);
    assert_eq!(says(ConsentOperation::Cancel, room("tea")).await, 201);
    assert_eq!(asked().await, []);
}
