//! Files cross, and of those that don't, people read that there was one and why they can't see it.

use std::{fs, time::Duration};

use mimi_adapter::{Event, File};
use mimi_gateway::{admin::Operator, assets::Asset, event};

use crate::{
    turncoat::framed,
    world::{World, domain, tea},
};

const TEA: &str = "mimi://a.example/r/tea";

const DAY: Duration = Duration::from_secs(24 * 3600);

pub fn picture(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * n / 7) as u8).collect()
}

/// The only file that a provider keeps.
pub fn kept(world: &World, provider: &str) -> std::path::PathBuf {
    let mut all = fs::read_dir(world.assets(provider)).unwrap().map(|entry| entry.unwrap().path());
    let one = all.next().expect("a file is kept");
    assert_eq!(all.next(), None, "another is kept");
    one
}

#[tokio::test]
async fn files_cross_both_ways_octet_for_octet() {
    let world = World::of_two().await;
    let (hers, his) = (picture(300_000), picture(1));
    world.alice.shares("pot.jpg", &hers, Some("The new pot.")).await;
    world.bob.reads("alice (a.example) shares pot.jpg (image/jpeg): The new pot.").await;
    assert!(world.bob.octets("pot.jpg") == hers);
    world.bob.shares("bill.pdf", &his, None).await;
    world.alice.reads("bob (b.example) shares bill.pdf (application/pdf)").await;
    assert!(world.alice.octets("bill.pdf") == his);
    // What is in the message about it can be said about it, too.
    world.alice.replies_to("bill.pdf", "That much?").await;
    world.bob.reads("alice (a.example) answers \"bill.pdf\": That much?").await;
    // What lies there for others says nothing to who finds it.
    let ciphertext = fs::read(kept(&world, "a.example")).unwrap();
    assert_eq!(ciphertext.len(), hers.len() + 16);
    assert!(!ciphertext.windows(64).any(|it| it == &hers[1000..1064]));
}

#[tokio::test]
async fn a_third_provider_gets_a_file_through_the_hub() {
    let world = World::of_three().await;
    let his = picture(70_000);
    world.bob.shares("pot.jpg", &his, None).await;
    for reader in [&world.alice, &world.cathy] {
        reader.reads("bob (b.example) shares pot.jpg (image/jpeg)").await;
        assert!(reader.octets("pot.jpg") == his);
    }
}

#[tokio::test]
async fn nobody_goes_to_the_provider_of_a_file_but_the_hub() {
    let mut world = World::of_three().await;
    world.stop("c.example").await;
    world.knows_only("c.example", &["a.example"]);
    world.start("c.example").await;
    let his = picture(500);
    world.bob.shares("pot.jpg", &his, None).await;
    world.cathy.reads("bob (b.example) shares pot.jpg (image/jpeg)").await;
    assert!(world.cathy.octets("pot.jpg") == his);
}

#[tokio::test]
async fn a_file_that_is_too_large_is_refused_with_the_limit_before_it_is_read() {
    let mut world = World::of_two().await;
    world.stop("a.example").await;
    world.takes_at_most("a.example", 100_000);
    world.start("a.example").await;
    let refusal = world.alice.tries_to_share("pot.jpg", &picture(100_001), None).await.unwrap_err();
    assert_eq!(refusal, "the file is larger than the 97.6 KiB that the gateway takes");
    assert_eq!(fs::read_dir(world.assets("a.example")).unwrap().count(), 0);
    world.alice.shares("cup.jpg", &picture(100_000), None).await;
    world.bob.sees(&["alice (a.example) shares cup.jpg (image/jpeg)"]).await;
}

#[tokio::test]
async fn a_file_that_is_too_large_for_the_other_side_is_named_there_and_its_sender_is_told() {
    let mut world = World::of_two().await;
    world.stop("b.example").await;
    world.takes_at_most("b.example", 1000);
    world.start("b.example").await;
    world.alice.shares("pot.jpg", &picture(2048), Some("The pot.")).await;
    world.alice.says("Nice, isn't it?").await;
    world
        .bob
        .sees(&[
            "alice (a.example): The pot.\n[pot.jpg (image/jpeg, 2 KiB) was sent and is not shown: \
             it is larger than the 1000 octets that can be shown there]",
            "alice (a.example): Nice, isn't it?",
        ])
        .await;
    world
        .alice
        .reads("the gateway to alice about \"pot.jpg\": b.example could not show your message to its people.")
        .await;
}

#[tokio::test]
async fn a_file_whose_octets_were_changed_is_not_shown() {
    let mut world = World::of_two().await;
    world.stop("b.example").await;
    world.alice.shares("pot.jpg", &picture(70_000), None).await;
    let path = kept(&world, "a.example");
    let mut ciphertext = fs::read(&path).unwrap();
    ciphertext[35_000] ^= 1;
    fs::write(&path, ciphertext).unwrap();
    world.start("b.example").await;
    world
        .bob
        .reads(
            "alice (a.example): [pot.jpg (image/jpeg, 68.3 KiB) was sent and is not shown: \
             its octets are not the ones that were sent]",
        )
        .await;
    world
        .alice
        .reads("the gateway to alice about \"pot.jpg\": b.example could not show your message to its people.")
        .await;
    world.still_talk().await;
}

#[tokio::test]
async fn a_file_that_is_gone_or_has_expired_is_not_shown() {
    let mut world = World::of_two().await;
    world.stop("b.example").await;
    world.alice.shares("pot.jpg", &picture(10), None).await;
    fs::remove_file(kept(&world, "a.example")).unwrap();
    world.start("b.example").await;
    let gone =
        |why: &str| format!("alice (a.example): [pot.jpg (image/jpeg, 10 octets) was sent and is not shown: {why}]");
    world.bob.reads(&gone("it is no longer there")).await;

    world.bob.messenger.when("pot.jpg", crate::messenger::Mood::NotNow(1));
    world.clock.moves(DAY);
    world.stop("b.example").await;
    world.alice.shares("pot.jpg", &picture(10), None).await;
    world.clock.moves(31 * DAY);
    world.start("b.example").await;
    world.bob.reads(&gone("it has expired")).await;
}

#[tokio::test]
async fn what_was_kept_before_a_crash_is_kept_again_and_shown_once() {
    let mut world = World::of_two().await;
    let hers = picture(70_000);
    let act = world.alice.posts_file("pot.jpg", &hers, None);
    // It is on the disk, and its message may be accepted or not.
    world.eventually("the file is kept", async || fs::read_dir(world.assets("a.example")).unwrap().count() > 0).await;
    world.kill("a.example").await;
    world.start("a.example").await;
    world.alice.messenger.answered(act).await.unwrap();
    world.bob.reads("alice (a.example) shares pot.jpg (image/jpeg)").await;
    world.alice.messenger.repeats(act);
    world.alice.messenger.answered(act).await.unwrap();
    world.still_talk().await;
    let files = world.bob.transcript().into_iter().filter(|line| line.contains("shares")).count();
    assert_eq!(files, 1);
    assert!(world.bob.octets("pot.jpg") == hers);
}

#[tokio::test]
async fn a_file_whose_provider_is_away_comes_later_and_nothing_overtakes_it() {
    let mut world = World::of_three().await;
    world.stop("c.example").await;
    let his = picture(50);
    world.bob.shares("pot.jpg", &his, None).await;
    world.bob.says("Well?").await;
    world.alice.reads("bob (b.example): Well?").await;
    world.stop("b.example").await;
    // The messages come from the hub, and the hub can't fetch the file.
    world.start("c.example").await;
    let waits = async || {
        let queues = world.desk("c.example").outbox(None).await.unwrap().queues;
        queues.iter().any(|queue| queue.waiting == 2 && queue.problem.as_ref().is_some_and(|it| it.contains("502")))
    };
    world.eventually("the file is asked for in vain", waits).await;
    assert_eq!(world.cathy.transcript(), [""; 0]);
    world.start("b.example").await;
    world.cathy.sees(&["bob (b.example) shares pot.jpg (image/jpeg)", "bob (b.example): Well?"]).await;
    assert!(world.cathy.octets("pot.jpg") == his);
}

#[tokio::test]
async fn the_hub_fetches_only_what_a_provider_of_the_same_room_has() {
    let world = World::of_two().await;
    world.bob.shares("pot.jpg", &picture(50), None).await;
    world.alice.reads("bob (b.example) shares pot.jpg (image/jpeg)").await;
    let name = kept(&world, "b.example").file_name().unwrap().to_str().unwrap().to_owned();
    let port = world.address("b.example").port();
    let asks = async |url: &str| {
        let asked = world.core("b.example").peers.proxy_download(&domain("a.example"), url).await;
        asked.map(drop).map_err(|refusal| refusal.to_string())
    };
    assert_eq!(asks(&format!("https://b.example:{port}/mimi/v1/assets/{name}")).await, Ok(()));
    for (url, status) in [
        (format!("https://b.example:{port}/mimi/v1/assets/{}", "0".repeat(64)), "404"),
        (format!("https://c.example:{port}/mimi/v1/assets/{name}"), "403"),
        (format!("https://localhost:{port}/"), "403"),
        // Nor is it a way to anything else of the hub's.
        ("https://a.example/.well-known/mimi-protocol-directory".into(), "404"),
        (format!("https://127.0.0.1:{port}/mimi/v1/assets/{name}"), "400"),
        (format!("http://b.example:{port}/mimi/v1/assets/{name}"), "400"),
        (format!("https://x:y@b.example:{port}/mimi/v1/assets/{name}"), "400"),
        ("file:///etc/passwd".into(), "400"),
        ("x".into(), "400"),
    ] {
        let refusal = asks(&url).await.unwrap_err();
        assert!(refusal.contains(status), "{url}: {refusal}");
    }
}

#[tokio::test]
async fn a_file_that_a_bad_member_makes_up_is_not_fetched_and_holds_nobody_up() {
    let world = World::of_three().await;
    let (cathys, peer) = (world.turncoat(&world.cathy), world.peer("c.example"));
    world.cathy.shares("pot.jpg", &picture(5), None).await;
    world.bob.reads("cathy (c.example) shares pot.jpg (image/jpeg)").await;
    let kept = kept(&world, "c.example").file_name().unwrap().to_str().unwrap().to_owned();
    let at = |provider: &str| format!("https://{provider}:{}/mimi/v1/assets/{kept}", world.address(provider).port());
    let asset = |url: String| {
        let (key, nonce, enc_alg) = (vec![0; 16], vec![0; 12], 1);
        Asset { url, key, nonce, enc_alg, ..Asset::default() }
    };
    let there = || asset(at("c.example"));
    let url = "its address is not an https URL";
    for (number, (asset, why)) in [
        (asset("http://c.example/x".into()), url),
        (asset("file:///etc/passwd".into()), url),
        (asset(String::new()), url),
        (asset("https://127.0.0.1/x".into()), "its address does not name a host"),
        (asset("https://a:b@c.example/x".into()), "its address has an account in it"),
        (asset(at("b.example")), "it is at b.example, and the room takes no files of c.example from there"),
        (
            asset("https://localhost/x".into()),
            "it is at localhost, and the room takes no files of c.example from there",
        ),
        (Asset { key: vec![0; 32], ..there() }, "its key or its nonce has the wrong length"),
        (Asset { enc_alg: 99, ..there() }, "it is encrypted by the AEAD algorithm 99, which is not known here"),
        (Asset { hash_alg: 99, ..there() }, "its hash is of the kind 99, which is not known here"),
        (there(), "its octets are not the ones that were sent"),
        (Asset { hash_alg: 1, enc_alg: 0, ..there() }, "its octets are not the ones that were sent"),
        (Asset { expires: 1, ..there() }, "it has expired"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("{number}.jpg");
        let file = File { name, media_type: "image/jpeg".into(), size: None, attachment: false, octets: asset };
        let shared = Event::File { file, caption: None, in_reply_to: None };
        let content = event::to_content(&shared, &cathys.user, &tea(), [number as u8; 16]).unwrap();
        let request = cathys.submits(&framed(&content)).await;
        assert_eq!(peer.posts("a.example", "submitMessage", TEA, &request).await.status, 200);
        let line = format!("cathy (c.example): [{number}.jpg (image/jpeg) was sent and is not shown: {why}]");
        for reader in [&world.alice, &world.bob] {
            reader.reads(&line).await;
        }
    }
    world.still_talk().await;
}
