//! What the client says to peers of every kind, and what it makes of their answers.

use std::{convert::Infallible, time::Duration};

use http::{Request, Response, StatusCode, Version, request::Parts};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::provider::{CallError, tls::server_config};

type Heard = Arc<Mutex<Vec<(Parts, Bytes)>>>;

/// A provider with ways of its own: the scene is its whole server. Keeps what it was sent.
async fn odd_provider(
    world: &mut World,
    name: &str,
    answer: impl Fn(&str) -> http::response::Builder + Send + Sync + 'static,
    body: impl Fn(&str) -> String + Send + Sync + 'static,
) -> Heard {
    let tls = TlsAcceptor::from(Arc::new(server_config(&world.identity(name), &world.trust()).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.found_at(name, listener.local_addr().unwrap());
    let heard = Heard::default();
    let (answer, body) = (Arc::new(answer), Arc::new(body));
    tokio::spawn({
        let heard = heard.clone();
        async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (tls, heard, answer, body) = (tls.clone(), heard.clone(), answer.clone(), body.clone());
                tokio::spawn(async move {
                    let Ok(tls) = tls.accept(tcp).await else { return };
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (heard, answer, body) = (heard.clone(), answer.clone(), body.clone());
                        async move {
                            let (parts, sent) = request.into_parts();
                            let path = parts.uri.path().to_owned();
                            let sent = sent.collect().await.unwrap().to_bytes();
                            heard.lock().unwrap().push((parts, sent));
                            Ok::<Response<Full<Bytes>>, Infallible>(answer(&path).body(body(&path).into()).unwrap())
                        }
                    });
                    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(tls), service).await;
                });
            }
        }
    });
    heard
}

fn paths(heard: &Heard) -> Vec<String> {
    heard.lock().unwrap().iter().map(|(parts, _)| parts.uri.path().to_owned()).collect()
}

fn ok(_: &str) -> http::response::Builder {
    Response::builder()
}

const DIRECTORY: &str = "/.well-known/mimi-protocol-directory";

/// A provider whose directory is this, and which answers everything else with that.
async fn provider(
    world: &mut World,
    directory: &'static str,
    answer: impl Fn() -> http::response::Builder + Send + Sync + 'static,
) -> Heard {
    odd_provider(
        world,
        "b.example",
        move |path| if path == DIRECTORY { Response::builder() } else { answer() },
        move |path| if path == DIRECTORY { directory.into() } else { String::new() },
    )
    .await
}

async fn notify(peers: &Peers) -> Result<Bytes, CallError> {
    peers.call(&domain("b.example"), Endpoint::Notify, ROOM, Bytes::from("fanout")).await
}

#[tokio::test]
async fn a_request_goes_where_the_directory_says_with_who_we_are_and_whom_we_want() {
    let mut world = World::new();
    let directory = r#"{"notify": "https://b.example:7777/deep/{roomId}/in?here=yes", "extra": "https://x/"}"#;
    let heard = odd_provider(
        &mut world,
        "b.example",
        |path| Response::builder().status(if path == DIRECTORY { 200 } else { 202 }),
        move |path| if path == DIRECTORY { directory.into() } else { "fine".into() },
    )
    .await;
    let peers = world.peers_of("a.example");
    assert_eq!(notify(&peers).await.unwrap(), "fine");
    assert_eq!(notify(&peers).await.unwrap(), "fine");

    let heard = heard.lock().unwrap();
    let uris: Vec<_> = heard.iter().map(|(parts, _)| parts.uri.to_string()).collect();
    let endpoint = "https://b.example/deep/mimi%3A%2F%2Fb.example%2Fr%2Fclubhouse/in?here=yes";
    assert_eq!(uris, ["https://b.example/.well-known/mimi-protocol-directory", endpoint, endpoint]);
    for (parts, _) in heard.iter() {
        assert_eq!(parts.headers["from"], "mimi@a.example");
        assert_eq!(parts.version, Version::HTTP_2);
    }
    let (parts, body) = &heard[1];
    assert_eq!((parts.method.as_str(), body.as_ref()), ("POST", &b"fanout"[..]));
    assert_eq!(parts.headers["content-type"], "application/octet-stream");
    assert_eq!(heard[0].0.method.as_str(), "GET");
}

#[tokio::test]
async fn requests_share_a_connection() {
    let mut world = World::new();
    let bob = world.serve("b.example", Noted::ok()).await;
    // A stretch of wire that counts who goes over it.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.found_at("b.example", listener.local_addr().unwrap());
    let connections = Arc::new(Mutex::new(0));
    tokio::spawn({
        let connections = connections.clone();
        async move {
            while let Ok((mut near, _)) = listener.accept().await {
                *connections.lock().unwrap() += 1;
                let mut far = TcpStream::connect(bob.address).await.unwrap();
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
            }
        }
    });
    let peers = world.peers_of("a.example");
    for _ in 0..5 {
        notify(&peers).await.unwrap();
    }
    assert_eq!(*connections.lock().unwrap(), 1);
}

#[tokio::test]
async fn a_server_with_the_certificate_of_another_domain_is_told_nothing() {
    let mut world = World::new();
    let doors = Noted::ok();
    let cathy = world.serve("c.example", doors.clone()).await;
    world.found_at("b.example", cathy.address);
    let error = notify(&world.peers_of("a.example")).await.unwrap_err();
    assert!(matches!(error, CallError::Never { status: None, .. }), "{error}");
    assert!(error.to_string().starts_with("b.example can't be reached: "), "{error}");
    assert!(doors.knocks().is_empty());
}

#[tokio::test]
async fn a_server_that_nobody_we_believe_vouches_for_is_tried_again_later() {
    let mut world = World::new();
    let mut elsewhere = World::new();
    let bob = elsewhere.serve("b.example", Noted::ok()).await;
    world.found_at("b.example", bob.address);
    let error = notify(&world.peers_of("a.example")).await.unwrap_err();
    assert!(matches!(error, CallError::Later { after: None, .. }), "{error}");
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
}

#[tokio::test]
async fn a_directory_may_name_another_host_that_proves_its_own_name() {
    let mut world = World::new();
    let heard = odd_provider(&mut world, "mimi.b.example", ok, |_| "delegated".into()).await;
    provider(&mut world, r#"{"notify": "https://mimi.b.example/n/{roomId}"}"#, Response::builder).await;
    assert_eq!(notify(&world.peers_of("a.example")).await.unwrap(), "delegated");
    assert_eq!(paths(&heard), ["/n/mimi%3A%2F%2Fb.example%2Fr%2Fclubhouse"]);

    // The same host, taken over by somebody with a certificate of their own.
    let heard = odd_provider(&mut world, "c.example", ok, |_| "mine".into()).await;
    let address = world.addresses[&domain("c.example")].clone();
    world.addresses.insert(domain("mimi.b.example"), address);
    let error = notify(&world.peers_of("a.example")).await.unwrap_err();
    assert!(matches!(error, CallError::Never { status: None, .. }), "{error}");
    assert!(paths(&heard).is_empty());
}

#[tokio::test]
async fn a_url_that_could_not_be_believed_is_not_used() {
    for directory in [
        r#"{"notify": "http://b.example/{roomId}"}"#,
        r#"{"notify": "/mimi/v1/notify/{roomId}"}"#,
        r#"{"notify": "https//b.example/{roomId}"}"#,
        r#"{"notify": "https://127.0.0.1/{roomId}"}"#,
        r#"{"notify": "https://[::1]/{roomId}"}"#,
        r#"{"notify": "https://mimi:secret@b.example/{roomId}"}"#,
        r#"{"notify": "https://b.example/{user}"}"#,
        r#"{"update": "https://b.example/{roomId}"}"#,
    ] {
        let mut world = World::new();
        let heard = provider(&mut world, directory, Response::builder).await;
        let error = notify(&world.peers_of("a.example")).await.unwrap_err();
        assert!(matches!(error, CallError::Never { status: None, .. }), "{directory}: {error}");
        assert_eq!(paths(&heard), [DIRECTORY], "{directory}");
    }
}

#[tokio::test]
async fn a_refusal_says_whether_trying_again_helps() {
    const LATER: Option<Option<u64>> = Some(None);
    for (status, retry_after, later) in [
        (400, "", None),
        (401, "", None),
        (403, "7", None),
        (413, "", None),
        (408, "", LATER),
        (429, "", LATER),
        (429, "7", Some(Some(7))),
        (503, "120", Some(Some(120))),
        (503, "soon", LATER),
        (500, "", LATER),
        (502, "3", Some(Some(3))),
        (504, "", LATER),
        (302, "", LATER),
    ] {
        let mut world = World::new();
        let heard = provider(&mut world, r#"{"notify": "https://b.example/{roomId}"}"#, move || {
            let response = Response::builder().status(status).header("Location", "https://b.example/elsewhere");
            if retry_after.is_empty() { response } else { response.header("Retry-After", retry_after) }
        })
        .await;
        let error = notify(&world.peers_of("a.example")).await.unwrap_err();
        match (&error, later) {
            (CallError::Never { status: Some(given), .. }, None) => assert_eq!(given.as_u16(), status),
            (CallError::Later { after, .. }, Some(seconds)) => assert_eq!(*after, seconds.map(Duration::from_secs)),
            _ => panic!("{status} {retry_after}: {error:?}"),
        }
        assert_eq!(paths(&heard).len(), 2, "{status}: one try and no more");
    }
}

#[tokio::test]
async fn our_server_and_our_client_agree_on_when_to_come_back() {
    let mut world = World::new();
    let busy = Answer { retry_after: Some(Duration::from_millis(1500)), ..StatusCode::SERVICE_UNAVAILABLE.into() };
    world.serve("b.example", Noted::answering(move |_| std::future::ready(busy.clone()))).await;
    let error = notify(&world.peers_of("a.example")).await.unwrap_err();
    assert_eq!(
        error,
        CallError::Later {
            after: Some(Duration::from_secs(2)),
            unsure: false,
            reason: "b.example answered 503 Service Unavailable".into()
        }
    );
}

#[tokio::test]
async fn an_endpoint_that_has_moved_is_found_again() {
    for gone in [404, 410, 421] {
        let mut world = World::new();
        let fetched = Arc::new(Mutex::new(0));
        let heard = odd_provider(
            &mut world,
            "b.example",
            move |path| Response::builder().status(if path.starts_with("/old/") { gone } else { 200 }),
            move |path| {
                if path != DIRECTORY {
                    return "found".into();
                }
                *fetched.lock().unwrap() += 1;
                let place = if *fetched.lock().unwrap() == 1 { "old" } else { "new" };
                format!(r#"{{"notify": "https://b.example/{place}/{{roomId}}", "groupInfo": "https://b.example/new/{{roomId}}"}}"#)
            },
        )
        .await;
        let peers = world.peers_of("a.example");
        // Fetches the directory, in which notify is still at the old place.
        peers.call(&domain("b.example"), Endpoint::GroupInfo, ROOM, Bytes::new()).await.unwrap();
        assert_eq!(notify(&peers).await.unwrap(), "found");
        let room = "mimi%3A%2F%2Fb.example%2Fr%2Fclubhouse";
        let (old, new) = (format!("/old/{room}"), format!("/new/{room}"));
        assert_eq!(paths(&heard), [DIRECTORY, &new, &old, DIRECTORY, &new]);
    }
}

#[tokio::test]
async fn a_404_that_is_about_the_room_is_believed() {
    let mut world = World::new();
    let heard =
        provider(&mut world, r#"{"notify": "https://b.example/{roomId}"}"#, || Response::builder().status(404)).await;
    let peers = world.peers_of("a.example");
    for _ in 0..2 {
        let error = notify(&peers).await.unwrap_err();
        assert!(matches!(error, CallError::Never { status: Some(StatusCode::NOT_FOUND), .. }), "{error}");
    }
    let room = "/mimi%3A%2F%2Fb.example%2Fr%2Fclubhouse";
    assert_eq!(paths(&heard), [DIRECTORY, room, room, DIRECTORY]);
}

#[tokio::test]
async fn a_directory_is_fetched_again_when_its_time_is_over() {
    for (cache, expected) in [("max-age=3600", 1), ("max-age=0", 3), ("no-store", 3)] {
        let mut world = World::new();
        let heard = odd_provider(
            &mut world,
            "b.example",
            move |_| Response::builder().header("Cache-Control", cache),
            |path| if path == DIRECTORY { r#"{"notify":"https://b.example/{roomId}"}"#.into() } else { String::new() },
        )
        .await;
        let peers = world.peers_of("a.example");
        for _ in 0..3 {
            notify(&peers).await.unwrap();
        }
        assert_eq!(paths(&heard).iter().filter(|path| *path == DIRECTORY).count(), expected, "{cache}");
    }
}

#[tokio::test]
async fn a_peer_that_is_down_or_talks_nonsense_is_tried_again_later() {
    let mut world = World::new();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    world.found_at("b.example", closed);
    let error = notify(&world.peers_of("a.example")).await.unwrap_err();
    assert!(matches!(error, CallError::Later { after: None, .. }), "{error}");

    provider(&mut world, "<html>We'll be back soon!</html>", Response::builder).await;
    let error = notify(&world.peers_of("a.example")).await.unwrap_err();
    assert_eq!(
        error,
        CallError::Later { after: None, unsure: false, reason: "b.example: the directory is not a JSON object".into() }
    );
}

#[tokio::test]
async fn the_reason_of_a_refusal_is_kept_and_short() {
    let mut world = World::new();
    odd_provider(
        &mut world,
        "b.example",
        |_| Response::builder().status(400).header("Content-Type", "text/plain"),
        |_| format!("line\none {}", "x".repeat(1000)),
    )
    .await;
    let error = notify(&world.peers_of("a.example")).await.unwrap_err();
    assert_eq!(error.to_string(), format!("b.example answered 400 Bad Request: line one {}", "x".repeat(191)));
}
