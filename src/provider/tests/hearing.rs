//! What the server hears, and what it doesn't let itself be told.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use http::{StatusCode, Version};
use rustls::ClientConfig;
use tokio::sync::{Notify, Semaphore, mpsc};

use super::*;
use crate::provider::CallError;

#[tokio::test]
async fn a_request_is_answered_over_both_http_versions() {
    let mut world = World::new();
    let doors =
        Noted::answering(|(.., body)| async move { Answer::ok(body.iter().rev().copied().collect::<Vec<_>>()) });
    let bob = world.serve("b.example", doors.clone()).await;
    for (alpn, version) in [("h2", Version::HTTP_2), ("http/1.1", Version::HTTP_11)] {
        let mut config = client_config(&world.identity("a.example"), &world.trust()).unwrap();
        config.alpn_protocols = vec![alpn.into()];
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .resolve("b.example", bob.address)
            .build()
            .unwrap();
        let url = format!("https://b.example:{}{NOTIFY}", bob.address.port());
        let response = client.post(url).header("From", "mimi@a.example").body("abc").send().await.unwrap();
        assert_eq!((response.version(), response.status()), (version, StatusCode::OK));
        assert_eq!(response.headers()["content-type"], "application/octet-stream");
        assert_eq!(response.bytes().await.unwrap(), "cba");
    }
    let knock = (domain("a.example"), Endpoint::Notify, ROOM.to_owned(), Bytes::from("abc"));
    assert_eq!(doors.knocks(), [knock.clone(), knock]);
}

#[tokio::test]
async fn without_a_certificate_that_we_believe_there_is_no_connection() {
    let mut world = World::new();
    let doors = Noted::ok();
    let bob = world.serve("b.example", doors.clone()).await;
    let anonymous = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates({
            let mut roots = rustls::RootCertStore::empty();
            use rustls_pki_types::pem::PemObject;
            roots
                .add(rustls_pki_types::CertificateDer::from_pem_slice(world.authority.pem().as_bytes()).unwrap())
                .unwrap();
            roots
        })
        .with_no_client_auth();
    let stranger = client_config(&World::new().identity("a.example"), &world.trust()).unwrap();
    for config in [anonymous, stranger] {
        let tcp = TcpStream::connect(bob.address).await.unwrap();
        let name = ServerName::try_from("b.example").unwrap();
        // In TLS 1.3 the client believes the handshake is over before the server has judged it.
        let mut tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
        let request =
            format!("POST {NOTIFY} HTTP/1.1\r\nHost: b.example\r\nFrom: mimi@a.example\r\nContent-Length: 0\r\n\r\n");
        let _ = tls.write_all(request.as_bytes()).await;
        let _ = tls.flush().await;
        let mut answer = Vec::new();
        let refused = tls.read_to_end(&mut answer).await.unwrap_err();
        assert!(
            matches!(
                refused.get_ref().and_then(|problem| problem.downcast_ref()),
                Some(rustls::Error::AlertReceived(_))
            ),
            "{refused}"
        );
        assert!(answer.is_empty());
    }
    assert!(doors.knocks().is_empty());
}

#[tokio::test]
async fn who_says_to_be_somebody_else_is_refused_everywhere() {
    let mut world = World::new();
    let doors = Noted::ok();
    let bob = world.serve("b.example", doors.clone()).await;
    for (request, from, status) in [
        (format!("POST {NOTIFY}"), "From: mimi@c.example\r\n", 403),
        ("GET /.well-known/mimi-protocol-directory".into(), "From: mimi@c.example\r\n", 403),
        (format!("POST {NOTIFY}"), "From: mimi@x.a.example\r\n", 403),
        (format!("POST {NOTIFY}"), "From: bob@a.example\r\n", 400),
        (format!("POST {NOTIFY}"), "From: A <mimi@a.example>\r\n", 400),
        (format!("POST {NOTIFY}"), "From: mimi@a.example\r\nFrom: mimi@a.example\r\n", 400),
        (format!("POST {NOTIFY}"), "", 400),
        ("GET /.well-known/mimi-protocol-directory".into(), "", 400),
        ("GET /nowhere".into(), "", 400),
        ("GET /.well-known/mimi-protocol-directory".into(), "From:  mimi@A.example \r\n", 200),
    ] {
        let octets =
            format!("{request} HTTP/1.1\r\nHost: b.example\r\n{from}Content-Length: 0\r\nConnection: close\r\n\r\n");
        assert_eq!(world.say("a.example", &bob, &octets).await.status, status, "{octets}");
    }
    assert!(doors.knocks().is_empty());
}

#[tokio::test]
async fn a_certificate_for_several_domains_speaks_for_each() {
    let mut world = World::new();
    let doors = Noted::ok();
    world.serve("b.example", doors.clone()).await;
    let identity = world.identity_with("xmpp.a.example", &["matrix.a.example", "*.a.example"]);
    let peers = Peers::new(&identity, &world.trust(), world.addresses.clone()).unwrap();
    peers.call(&domain("b.example"), Endpoint::Notify, ROOM, Bytes::new()).await.unwrap();
    assert_eq!(doors.knocks()[0].0, domain("xmpp.a.example"));
}

#[tokio::test]
async fn what_is_meant_for_another_provider_is_misdirected() {
    let mut world = World::new();
    let doors = Noted::ok();
    let both = world.identity_with("b.example", &["b.example", "c.example"]);
    let bob = world.serve_as("b.example", both, doors.clone()).await;
    let request = |host: &str| {
        format!(
            "POST {NOTIFY} HTTP/1.1\r\n{host}From: mimi@a.example\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    };
    assert_eq!(world.say("a.example", &bob, &request("Host: c.example\r\n")).await.status, 421);
    assert_eq!(world.say("a.example", &bob, &request("")).await.status, 400);
    assert!(doors.knocks().is_empty());
    assert_eq!(world.say("a.example", &bob, &request("Host: B.example:9999\r\n")).await.status, 200);

    // The same over HTTP/2, where it is :authority.
    world.found_at("c.example", bob.address);
    let error = world.peers_of("a.example").call(&domain("c.example"), Endpoint::Notify, ROOM, Bytes::new()).await;
    assert!(matches!(error, Err(CallError::Never { status: Some(StatusCode::MISDIRECTED_REQUEST), .. })), "{error:?}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_too_large_and_one_at_the_limit_is_not() {
    let mut world = World::new();
    let doors = Noted::ok();
    let bob = world.serve("b.example", doors.clone()).await;
    let (peers, to) = (world.peers_of("a.example"), domain("b.example"));
    for (endpoint, about, limit) in [
        (Endpoint::SubmitMessage, ROOM, 1_048_576),
        (Endpoint::KeyMaterial, "mimi://b.example/u/bob", 1_048_576),
        (Endpoint::Update, ROOM, 4_194_304),
        (Endpoint::Notify, ROOM, 8_388_608),
    ] {
        let call = |octets| peers.call(&to, endpoint, about, Bytes::from(vec![0; octets]));
        call(limit).await.unwrap();
        assert_eq!(doors.knocks().pop().unwrap().3.len(), limit);
        let error = call(limit + 1).await.unwrap_err();
        assert!(matches!(error, CallError::Never { status: Some(StatusCode::PAYLOAD_TOO_LARGE), .. }), "{error}");
    }
    assert_eq!(doors.knocks().len(), 4);

    // HTTP/1.1, once with the length in front and once with none.
    let head = format!("POST {NOTIFY} HTTP/1.1\r\nHost: b.example\r\nFrom: mimi@a.example\r\nConnection: close\r\n");
    let announced = format!("{head}Content-Length: 8388609\r\n\r\n");
    assert_eq!(world.say("a.example", &bob, &announced).await.status, 413);
    let chunk = format!("800001\r\n{}\r\n0\r\n\r\n", "x".repeat(0x80_0001));
    let unannounced = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}");
    assert_eq!(world.say("a.example", &bob, &unannounced).await.status, 413);
    assert_eq!(doors.knocks().len(), 4);
}

#[tokio::test]
async fn paths_and_methods_that_are_not_ours_are_refused() {
    let mut world = World::new();
    let doors = Noted::ok();
    let bob = world.serve("b.example", doors.clone()).await;
    for (request, status, allow) in [
        ("POST /", 404, ""),
        ("GET /mimi/v1/nothing/x", 404, ""),
        ("POST /mimi/v1/notify", 404, ""),
        ("GET /mimi/v1/notify/b.example%2Fr%2Fx", 405, "allow: post"),
        ("DELETE /mimi/v1/notify/b.example%2Fr%2Fx", 405, "allow: post"),
        ("POST /.well-known/mimi-protocol-directory", 405, "allow: get"),
        ("POST /mimi/v1/proxyDownload/https%3A%2F%2Fcdn.example%2Fx", 405, "allow: get"),
        ("POST /mimi/v1/notify/b.example", 400, ""),
        ("POST /mimi/v1/notify/%zz", 400, ""),
        ("POST /mimi/v1/requestConsent/a.example", 400, ""),
    ] {
        let octets = format!(
            "{request} HTTP/1.1\r\nHost: b.example\r\nFrom: mimi@a.example\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let said = world.say("a.example", &bob, &octets).await;
        assert_eq!(said.status, status, "{request}");
        assert!(said.head.contains(allow), "{request}: {}", said.head);
        assert!(!said.body.is_empty(), "{request} was refused without a reason");
    }
    assert!(doors.knocks().is_empty());
}

#[tokio::test]
async fn our_directory_is_served_with_what_we_offer_and_no_more() {
    let mut world = World::new();
    let doors = Noted::ok();
    let identity = world.identity("b.example");
    for (port, golden) in [
        (None, r#"{"notify":"https://b.example/mimi/v1/notify/{roomId}"}"#),
        (Some(443), r#"{"notify":"https://b.example/mimi/v1/notify/{roomId}"}"#),
        (Some(8443), r#"{"notify":"https://b.example:8443/mimi/v1/notify/{roomId}"}"#),
    ] {
        let server =
            Server::new(&identity, &world.trust(), port, &[Endpoint::Notify], Arc::new(doors.clone())).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let bob = Running { address, stop: stop.clone(), task: tokio::spawn(server.serve(listener, stop)) };
        let tail = "HTTP/1.1\r\nHost: b.example\r\nFrom: mimi@a.example\r\nConnection: close\r\n\r\n";
        let said = world.say("a.example", &bob, &format!("GET /.well-known/mimi-protocol-directory {tail}")).await;
        assert_eq!((said.status, said.body.as_str()), (200, golden));
        assert!(said.head.contains("content-type: application/json"), "{}", said.head);
        let update = format!("POST /mimi/v1/update/b.example/r/clubhouse {tail}");
        assert_eq!(world.say("a.example", &bob, &update).await.status, 404);
        world.found_at("b.example", address);
    }
    let error =
        world.peers_of("a.example").call(&domain("b.example"), Endpoint::Update, ROOM, Bytes::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "b.example can't be asked: it does not offer update");
    assert!(matches!(error, CallError::Never { status: None, .. }));
}

#[tokio::test]
async fn a_panic_behind_a_door_is_500_and_the_next_request_is_served() {
    let mut world = World::new();
    let doors = Noted::answering(|(.., body)| async move {
        assert!(body != "boom", "the scene's panic");
        Answer::ok("still here")
    });
    world.serve("b.example", doors).await;
    let (peers, to) = (world.peers_of("a.example"), domain("b.example"));
    let call = |body: &'static str| peers.call(&to, Endpoint::Notify, ROOM, Bytes::from(body));
    assert_eq!(
        call("boom").await,
        Err(CallError::Later {
            after: None,
            unsure: true,
            reason: "b.example answered 500 Internal Server Error".into()
        })
    );
    assert_eq!(call("hello").await.unwrap(), "still here");
}

#[tokio::test]
async fn a_stop_answers_the_request_in_hand_first() {
    let mut world = World::new();
    let (inside, mut entered) = mpsc::unbounded_channel();
    let leave = Arc::new(Notify::new());
    let doors = Noted::answering({
        let leave = leave.clone();
        move |_| {
            let (inside, leave) = (inside.clone(), leave.clone());
            async move {
                inside.send(()).unwrap();
                leave.notified().await;
                Answer::ok("done")
            }
        }
    });
    let bob = world.serve("b.example", doors).await;
    let peers = Arc::new(world.peers_of("a.example"));
    let call = tokio::spawn({
        let peers = peers.clone();
        async move { peers.call(&domain("b.example"), Endpoint::Notify, ROOM, Bytes::new()).await }
    });
    entered.recv().await.unwrap();
    bob.stop.cancel();
    // The listener closes while the request is still in hand.
    while TcpStream::connect(bob.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!bob.task.is_finished());
    leave.notify_one();
    assert_eq!(call.await.unwrap().unwrap(), "done");
    bob.task.await.unwrap();
    let error = world.peers_of("a.example").call(&domain("b.example"), Endpoint::Notify, ROOM, Bytes::new()).await;
    assert!(matches!(error, Err(CallError::Later { after: None, .. })), "{error:?}");
}

#[tokio::test]
async fn a_door_runs_to_its_end_though_the_peer_has_gone() {
    let mut world = World::new();
    let (inside, mut entered) = mpsc::unbounded_channel();
    let leave = Arc::new(Notify::new());
    let doors = Noted::answering({
        let leave = leave.clone();
        move |_| {
            let (inside, leave) = (inside.clone(), leave.clone());
            async move {
                inside.send("in").unwrap();
                leave.notified().await;
                inside.send("through").unwrap();
                Answer::ok("")
            }
        }
    });
    let bob = world.serve("b.example", doors).await;
    let mut tls = world.connect("a.example", &bob).await;
    let request =
        format!("POST {NOTIFY} HTTP/1.1\r\nHost: b.example\r\nFrom: mimi@a.example\r\nContent-Length: 0\r\n\r\n");
    tls.write_all(request.as_bytes()).await.unwrap();
    tls.flush().await.unwrap();
    assert_eq!(entered.recv().await, Some("in"));
    drop(tls);
    bob.stop.cancel();
    // Time passes by itself, and the server is still there: it waits for the door and not for the peer.
    tokio::time::pause();
    let mut serving = bob.task;
    tokio::time::timeout(Duration::from_secs(300), &mut serving).await.unwrap_err();
    leave.notify_one();
    serving.await.unwrap();
    assert_eq!(entered.try_recv(), Ok("through"));
}

#[tokio::test]
async fn one_peer_cannot_take_the_place_of_another() {
    let mut world = World::new();
    let (inside, mut entered) = mpsc::unbounded_channel();
    let leave = Arc::new(Semaphore::new(0));
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let doors = Noted::answering({
        let (leave, now, most) = (leave.clone(), now.clone(), most.clone());
        move |(from, ..)| {
            let (inside, leave, now, most) = (inside.clone(), leave.clone(), now.clone(), most.clone());
            async move {
                if from == domain("a.example") {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    inside.send(()).unwrap();
                    leave.acquire().await.unwrap().forget();
                    now.fetch_sub(1, Ordering::SeqCst);
                }
                Answer::ok("")
            }
        }
    });
    world.serve("b.example", doors).await;
    // Two clients, so that it is not HTTP/2's own limit for one connection that holds.
    let (alice, alice_again) = (Arc::new(world.peers_of("a.example")), Arc::new(world.peers_of("a.example")));
    let calls: Vec<_> = (0..40)
        .map(|n| {
            let peers = if n % 2 == 0 { alice.clone() } else { alice_again.clone() };
            tokio::spawn(async move { peers.call(&domain("b.example"), Endpoint::Notify, ROOM, Bytes::new()).await })
        })
        .collect();
    for _ in 0..16 {
        entered.recv().await.unwrap();
    }
    world.peers_of("c.example").call(&domain("b.example"), Endpoint::Notify, ROOM, Bytes::new()).await.unwrap();
    leave.add_permits(40);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 16);
}

#[tokio::test]
async fn the_seventeenth_connection_of_a_peer_is_closed() {
    let mut world = World::new();
    let bob = world.serve("b.example", Noted::ok()).await;
    let request =
        format!("POST {NOTIFY} HTTP/1.1\r\nHost: b.example\r\nFrom: mimi@a.example\r\nContent-Length: 0\r\n\r\n");
    let mut open = Vec::new();
    for _ in 0..16 {
        let mut tls = world.connect("a.example", &bob).await;
        tls.write_all(request.as_bytes()).await.unwrap();
        tls.flush().await.unwrap();
        let mut answer = [0; 15];
        tls.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        open.push(tls);
    }
    let mut one_more = world.connect("a.example", &bob).await;
    let _ = one_more.write_all(request.as_bytes()).await;
    let _ = one_more.flush().await;
    let mut answer = Vec::new();
    let _ = one_more.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
    let octets = request.replace("From: mimi@a", "Connection: close\r\nFrom: mimi@c");
    assert_eq!(world.say("c.example", &bob, &octets).await.status, 200);
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_not_waited_for() {
    let mut world = World::new();
    let doors = Noted::ok();
    let bob = world.serve("b.example", doors.clone()).await;
    let mut before_hello = TcpStream::connect(bob.address).await.unwrap();
    let mut after_a_request = world.connect("a.example", &bob).await;
    let whole = "GET /nowhere HTTP/1.1\r\nHost: b.example\r\nFrom: mimi@a.example\r\n\r\n";
    after_a_request.write_all(whole.as_bytes()).await.unwrap();
    after_a_request.flush().await.unwrap();
    after_a_request.read_exact(&mut [0; 12]).await.unwrap();
    let mut within_head = world.connect("a.example", &bob).await;
    within_head.write_all(b"POST /mimi/v1/not").await.unwrap();
    within_head.flush().await.unwrap();
    let mut within_body = world.connect("a.example", &bob).await;
    let head =
        format!("POST {NOTIFY} HTTP/1.1\r\nHost: b.example\r\nFrom: mimi@a.example\r\nContent-Length: 9\r\n\r\n");
    within_body.write_all(format!("{head}tooshort").as_bytes()).await.unwrap();
    within_body.flush().await.unwrap();
    // From here on, time passes whenever nothing else happens.
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    assert_eq!(before_hello.read(&mut [0]).await.unwrap(), 0);
    assert!(start.elapsed() >= Duration::from_secs(9) && start.elapsed() < Duration::from_secs(20));
    assert_eq!(hear(&mut within_body).await.status, 408);
    let mut nothing = Vec::new();
    let _ = within_head.read_to_end(&mut nothing).await;
    let _ = after_a_request.read_to_end(&mut nothing).await;
    assert!(start.elapsed() < Duration::from_secs(60));
    assert!(doors.knocks().is_empty());
}
