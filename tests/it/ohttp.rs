//! Files by oblivious HTTP: where a room wants it, and against whoever wants something else of a hub's gateway.

use std::{fs, path::Path, time::Duration};

use mimi_gateway::{
    mimi::{
        component,
        policy::{AssetPolicy, DownloadPrivacy, DownloadPrivacyType},
        tls::Tls,
    },
    mls::Change,
    provider::{AssetUrl, ohttp},
};

use crate::{
    assets::{kept, picture},
    peer::Peer,
    world::{World, domain},
};

const GATEWAY: &str = "/.well-known/ohttp-gateway";

/// From now on files are fetched in this way in the room, and in no other.
async fn only_by(world: &World, way: DownloadPrivacyType) {
    let download_privacy = DownloadPrivacy {
        allowed_download_types: vec![way],
        forbidden_download_types: Vec::new(),
        default_download_type: way,
    };
    let policy = AssetPolicy { download_privacy, ..AssetPolicy::ours(&domain("a.example"), 1 << 30) };
    let change = Change { update: vec![(component::ASSET_POLICY, policy.encode())], ..Change::default() };
    world.turncoat(&world.alice).carries_out(world, change).await;
}

/// Where what Bob's provider keeps at `path` can be had.
fn url_of(world: &World, path: &Path) -> String {
    let name = path.file_name().unwrap().to_str().unwrap();
    format!("https://b.example:{}/mimi/v1/assets/{name}", world.address("b.example").port())
}

async fn keys(peer: &Peer) -> Vec<u8> {
    let said = peer.says("a.example", &format!("GET {GATEWAY}"), "x/y", b"").await.unwrap();
    assert_eq!(said.status, 200);
    said.body
}

/// What is in the answer to a GET of `url`.
async fn gets(peer: &Peer, keys: &[u8], url: &str) -> (u16, Vec<u8>) {
    let (request, opening) = ohttp::enclose(keys, &AssetUrl::parse(url).unwrap()).unwrap();
    let said = peer.says("a.example", &format!("POST {GATEWAY}"), ohttp::REQUEST, &request).await.unwrap();
    assert_eq!(said.status, 200);
    let (status, content) = opening.open(&said.body).unwrap();
    (status.as_u16(), content)
}

#[tokio::test]
async fn where_a_room_has_files_fetched_by_ohttp_they_are() {
    let world = World::of_three().await;
    only_by(&world, DownloadPrivacyType::Ohttp).await;
    let (his, hers) = (picture(70_000), picture(300));
    world.bob.shares("pot.jpg", &his, None).await;
    for reader in [&world.alice, &world.cathy] {
        reader.reads("bob (b.example) shares pot.jpg (image/jpeg)").await;
        assert!(reader.octets("pot.jpg") == his);
    }
    // What the hub keeps itself is no different.
    world.alice.shares("cup.jpg", &hers, None).await;
    world.cathy.reads("alice (a.example) shares cup.jpg (image/jpeg)").await;
    assert!(world.cathy.octets("cup.jpg") == hers);
}

#[tokio::test]
async fn a_file_that_is_too_large_for_one_piece_is_not_passed_on() {
    let world = World::of_two().await;
    world.bob.shares("cup.jpg", &picture(10), None).await;
    world.alice.reads("bob (b.example) shares cup.jpg (image/jpeg)").await;
    let peer = world.peer("b.example");
    let keys = keys(&peer).await;
    let path = kept(&world, "b.example");
    fs::write(&path, vec![0; ohttp::WHOLE + 1]).unwrap();
    assert_eq!(gets(&peer, &keys, &url_of(&world, &path)).await, (413, Vec::new()));
}

#[tokio::test]
async fn the_gateway_fetches_only_what_the_proxy_would() {
    let world = World::of_two().await;
    world.bob.shares("pot.jpg", &picture(50), None).await;
    world.alice.reads("bob (b.example) shares pot.jpg (image/jpeg)").await;
    let path = kept(&world, "b.example");
    let good = url_of(&world, &path);
    let (name, port) = (path.file_name().unwrap().to_str().unwrap(), world.address("b.example").port());
    let (bobs, cathys) = (world.peer("b.example"), world.peer("c.example"));
    let keys = keys(&bobs).await;
    assert_eq!(gets(&bobs, &keys, &good).await, (200, fs::read(&path).unwrap()));
    for (url, status) in [
        (format!("https://b.example:{port}/mimi/v1/assets/{}", "0".repeat(64)), 404),
        (format!("https://c.example:{port}/mimi/v1/assets/{name}"), 403),
        (format!("https://localhost:{port}/"), 403),
        ("https://a.example/.well-known/mimi-protocol-directory".into(), 404),
    ] {
        assert_eq!(gets(&bobs, &keys, &url).await.0, status, "{url}");
    }
    // Who is in no room with Bob's provider gets nothing of it.
    assert_eq!(gets(&cathys, &keys, &good).await.0, 403);
}

#[tokio::test]
async fn what_is_no_request_for_the_gateway_is_refused_in_the_clear() {
    let world = World::of_two().await;
    let peer = world.peer("b.example");
    let keys = keys(&peer).await;
    let url = AssetUrl::parse("https://b.example/x").unwrap();
    let (request, _) = ohttp::enclose(&keys, &url).unwrap();
    let post = format!("POST {GATEWAY}");
    let asks = async |what: &str, of: &str, body: &[u8]| peer.says("a.example", what, of, body).await.unwrap();
    let key_problem = |status, body: Vec<u8>| status == 400 && body.windows(9).any(|it| it == b"ohttp-key");
    for body in [&b""[..], b"x", &request[..request.len() - 1], &[0xff; 200], &[&[9][..], &request[1..]].concat()] {
        let said = asks(&post, ohttp::REQUEST, body).await;
        assert!(key_problem(said.status, said.body), "{body:?}");
    }
    assert_eq!(asks(&post, "application/octet-stream", &request).await.status, 415);
    assert_eq!(asks(&format!("PUT {GATEWAY}"), ohttp::REQUEST, &request).await.status, 405);
    assert_eq!(asks(&post, ohttp::REQUEST, &vec![0; ohttp::REQUEST_LIMIT + 1]).await.status, 413);
    let nobodys = world.nobody("b.example").says("a.example", &post, ohttp::REQUEST, &request).await;
    assert!(nobodys.is_err());
    assert_eq!(asks(&post, ohttp::REQUEST, &request).await.status, 200);
}

#[tokio::test]
async fn a_key_outlives_a_restart_and_its_week_and_then_it_is_gone() {
    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
    let mut world = World::of_two().await;
    let peer = world.peer("b.example");
    let first = keys(&peer).await;
    assert_eq!(keys(&peer).await, first);
    world.stop("a.example").await;
    world.start("a.example").await;
    assert_eq!(keys(&peer).await, first);

    world.clock.moves(WEEK);
    let second = keys(&peer).await;
    assert_ne!(second, first);
    let url = AssetUrl::parse("https://b.example/x").unwrap();
    let asks = async |keys: &[u8]| {
        let (request, _) = ohttp::enclose(keys, &url).unwrap();
        peer.says("a.example", &format!("POST {GATEWAY}"), ohttp::REQUEST, &request).await.unwrap().status
    };
    assert_eq!((asks(&first).await, asks(&second).await), (200, 200));
    world.clock.moves(WEEK);
    assert_eq!((asks(&first).await, asks(&second).await), (400, 200));
}
