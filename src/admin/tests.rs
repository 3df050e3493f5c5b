use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc};

use super::{
    stub::{Stub, clubhouse, scope, user},
    *,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A stub behind a real socket.
struct Served {
    stub: Arc<Stub>,
    client: Client,
    socket: PathBuf,
    stop: CancellationToken,
    _directory: TempDir,
}

impl Served {
    fn new(stub: Stub) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("run/admin.sock");
        let (stub, stop) = (Arc::new(stub), CancellationToken::new());
        let listener = bind(&socket).unwrap();
        tokio::spawn(serve(listener, router(stub.clone()), stop.clone()));
        Self { stub, client: Client::new(&socket).unwrap(), socket, stop, _directory: directory }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let http = reqwest::Client::builder().unix_socket(self.socket.clone()).build().unwrap();
        let response = http.get(format!("http://mimi-gateway{path}")).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }
}

#[tokio::test]
async fn what_the_gateway_says_arrives_at_the_command_line_as_it_was() {
    let it = Served::new(Stub { participants: 2, ..Stub::default() });
    assert_eq!(it.client.status().await, it.stub.status().await);
    assert_eq!(it.client.rooms().await, it.stub.rooms().await);
    assert_eq!(it.client.room(&clubhouse()).await, it.stub.room(&clubhouse()).await);
    assert_eq!(it.client.consents().await, it.stub.consents().await);
    assert_eq!(it.client.outbox(None).await, it.stub.outbox(None).await);
    assert_eq!(it.client.outbox(Some(&clubhouse())).await, it.stub.outbox(Some(&clubhouse())).await);
    assert_eq!(it.client.delivery(12, false).await.unwrap().content, None);
    assert_eq!(it.client.delivery(12, true).await.unwrap().content.as_deref(), Some("Shh!"));
    for id in ["$Wm/+&=%20 x", "$never"] {
        assert_eq!(it.client.trace(id).await, it.stub.trace(id).await);
    }
    assert_eq!(it.client.trips().await, it.stub.trips().await);
    assert_eq!(it.client.not_ready().await, Vec::<String>::new());
}

#[tokio::test]
async fn what_the_admin_wants_arrives_at_the_gateway_as_it_was() {
    let it = Served::new(Stub::default());
    let alice = user("mimi://a.example/u/@alice:matrix.a.example");
    let alice_too = alice.clone();
    let bob = user("mimi://b.example/u/bob%2Fwork");
    let create = CreateRoom {
        adapter: "matrix".into(),
        conversation: ConversationId::new("!abc:matrix.a.example"),
        name: Some("Tea & biscuits".into()),
        room: None,
    };
    let link = Link { adapter: "xmpp".into(), conversation: ConversationId::new("tea@muc.a.example") };
    assert_eq!(it.client.create_room(create).await, Ok(clubhouse()));
    assert_eq!(it.client.direct(CreateDirect { user: alice, with: bob.clone() }).await, Ok(clubhouse()));
    it.client.invite(&clubhouse(), &bob).await.unwrap();
    it.client.link(&RoomUri::parse("mimi://b.example/r/a%20b/c").unwrap(), link).await.unwrap();
    let to = Link { adapter: "xmpp".into(), conversation: ConversationId::new("tea@muc.a.example") };
    it.client.join(Join { link: "mimi://b.example/r/tea#3f6c".into(), user: alice_too, to }).await.unwrap();
    let link = it.client.make_code(&clubhouse(), NewCode { uses: 3, days: 2 }).await.unwrap();
    assert_eq!(link, "mimi://a.example/r/clubhouse#3f6c");
    let codes = it.client.codes(&clubhouse()).await.unwrap();
    assert_eq!(codes, [CodeSummary { id: "0badcafe".into(), uses: 2, expires: 4_000_000_000 }]);
    it.client.withdraw_code(&clubhouse(), "0badcafe").await.unwrap();
    it.client.unlink(&clubhouse(), Unlink::default()).await.unwrap();
    it.client.unlink(&clubhouse(), Unlink { now: true, yes: false }).await.unwrap();
    it.client.relink(&clubhouse()).await.unwrap();
    assert_eq!(it.client.retry(Letters { id: Some(12), room: None }).await, Ok(1));
    assert_eq!(it.client.retry(Letters { id: None, room: Some(clubhouse()) }).await, Ok(1));
    it.client.redirect(12, &clubhouse()).await.unwrap();
    it.client.drop_letter(12).await.unwrap();
    assert_eq!(it.client.decide_trip(3, true).await, Ok(40));
    assert_eq!(it.client.decide_trip(3, false).await, Ok(40));
    it.client.grant(scope()).await.unwrap();
    it.client.revoke(ConsentScope { room: None, ..scope() }).await.unwrap();
    let expected = [
        r#"create matrix !abc:matrix.a.example Some("Tea & biscuits") None"#,
        "direct mimi://a.example/u/@alice:matrix.a.example mimi://b.example/u/bob%2Fwork",
        "invite mimi://a.example/r/clubhouse mimi://b.example/u/bob%2Fwork",
        "link mimi://b.example/r/a%20b/c xmpp tea@muc.a.example",
        "join mimi://b.example/r/tea#3f6c mimi://a.example/u/@alice:matrix.a.example xmpp tea@muc.a.example",
        "code mimi://a.example/r/clubhouse 3 2",
        "codes mimi://a.example/r/clubhouse",
        "withdraw mimi://a.example/r/clubhouse 0badcafe",
        "unlink mimi://a.example/r/clubhouse",
        "unlink mimi://a.example/r/clubhouse now",
        "relink mimi://a.example/r/clubhouse",
        "retry Some(12) None",
        r#"retry None Some("mimi://a.example/r/clubhouse")"#,
        "redirect 12 mimi://a.example/r/clubhouse",
        "drop 12",
        "breaker 3 true",
        "breaker 3 false",
        r#"grant mimi://b.example/u/bob mimi://a.example/u/@alice:matrix.a.example Some("mimi://a.example/r/clubhouse")"#,
        "revoke mimi://b.example/u/bob mimi://a.example/u/@alice:matrix.a.example None",
    ];
    assert_eq!(*it.stub.asked.lock().unwrap(), expected);
}

#[tokio::test]
async fn an_error_keeps_its_kind_and_its_next_step() {
    let it = Served::new(Stub::default());
    let attic = RoomUri::parse("mimi://a.example/r/attic").unwrap();
    let error = it.client.room(&attic).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert_eq!(error.to_string(), "there is no room mimi://a.example/r/attic (try `room list`)");
}

#[tokio::test]
async fn unlinking_many_people_asks_first() {
    let it = Served::new(Stub { participants: 11, ..Stub::default() });
    let error = it.client.unlink(&clubhouse(), Unlink::default()).await.unwrap_err();
    assert_eq!((error.kind, it.stub.asked.lock().unwrap().len()), (ErrorKind::Conflict, 0));
    assert!(error.next_step.contains("--yes"), "{error}");
    it.client.unlink(&clubhouse(), Unlink { yes: true, now: false }).await.unwrap();
    assert_eq!(it.stub.asked.lock().unwrap().len(), 1);
    assert!(ask_before_unlink(&clubhouse(), 10, Unlink::default()).is_ok());
}

#[tokio::test]
async fn health_ready_and_metrics_say_how_it_is() {
    let it = Served::new(Stub::default());
    assert_eq!(it.get("/health").await, (200, "ok\n".into()));
    assert_eq!(it.get("/ready").await, (200, r#"{"ready":true,"reasons":[]}"#.into()));
    let expected = r#"# HELP mimi_gateway_info Which gateway this is.
# TYPE mimi_gateway_info gauge
mimi_gateway_info{version="0.1.0",domain="a.example"} 1
# HELP mimi_gateway_ready 1 if the gateway can do its work.
# TYPE mimi_gateway_ready gauge
mimi_gateway_ready 1
# HELP mimi_gateway_adapter 1 for the state in which the adapter's session with its network is.
# TYPE mimi_gateway_adapter gauge
mimi_gateway_adapter{adapter="work",kind="matrix",state="starting"} 0
mimi_gateway_adapter{adapter="work",kind="matrix",state="up"} 1
mimi_gateway_adapter{adapter="work",kind="matrix",state="deaf"} 0
mimi_gateway_adapter{adapter="work",kind="matrix",state="down"} 0
# HELP mimi_gateway_outbox_queued Deliveries accepted and not yet settled.
# TYPE mimi_gateway_outbox_queued gauge
mimi_gateway_outbox_queued 3
# HELP mimi_gateway_outbox_oldest_age_seconds How long the oldest of them has waited.
# TYPE mimi_gateway_outbox_oldest_age_seconds gauge
mimi_gateway_outbox_oldest_age_seconds 12
# HELP mimi_gateway_outbox_failing Destinations that take nothing at the moment.
# TYPE mimi_gateway_outbox_failing gauge
mimi_gateway_outbox_failing 1
# HELP mimi_gateway_dead_letters What could not be delivered and is kept, by cause.
# TYPE mimi_gateway_dead_letters gauge
mimi_gateway_dead_letters{cause="refused"} 2
# HELP mimi_gateway_dead_letters_oldest_age_seconds How long ago the oldest of them was given up.
# TYPE mimi_gateway_dead_letters_oldest_age_seconds gauge
mimi_gateway_dead_letters_oldest_age_seconds{cause="refused"} 3600
# HELP mimi_gateway_breaker_held Leaves, removals and deletions that wait for an admin.
# TYPE mimi_gateway_breaker_held gauge
mimi_gateway_breaker_held 40
"#;
    assert_eq!(it.get("/metrics").await, (200, expected.into()));

    let it = Served::new(Stub { not_ready: vec!["adapter work: signed out".into()], ..Stub::default() });
    assert_eq!(it.get("/ready").await, (503, r#"{"ready":false,"reasons":["adapter work: signed out"]}"#.into()));
    assert_eq!(it.client.not_ready().await, ["adapter work: signed out"]);
}

#[tokio::test]
async fn the_public_address_has_no_acts_and_no_names() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, public_router(Arc::new(Stub::default())), CancellationToken::new()));
    for (path, code) in [("/health", 200), ("/ready", 200), ("/metrics", 200), ("/rooms", 404), ("/status", 404)] {
        let response = reqwest::get(format!("http://{address}{path}")).await.unwrap();
        assert_eq!(response.status().as_u16(), code, "{path}");
    }
}

#[tokio::test]
async fn only_the_owner_can_open_the_socket_and_only_one_gateway_has_it() {
    let it = Served::new(Stub::default());
    assert_eq!(fs::metadata(&it.socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(bind(&it.socket).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_socket_that_a_dead_gateway_left_behind_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    tokio::spawn(serve(bind(&socket).unwrap(), router(Arc::new(Stub::default())), CancellationToken::new()));
    assert!(Client::new(&socket).unwrap().status().await.is_ok());
}

#[tokio::test]
async fn without_a_gateway_the_admin_is_told_to_start_it() {
    let error = Client::new(std::path::Path::new("/nowhere/admin.sock")).unwrap().status().await.unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::Unavailable, "no gateway is listening at /nowhere/admin.sock")
    );
    assert!(error.next_step.contains("mimi-gateway run"), "{error}");
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_refused() {
    let it = Served::new(Stub::default());
    let (code, _) = it.get("/rooms/not-a-room").await;
    assert_eq!(code, 400);
}

#[tokio::test]
async fn stopping_ends_the_service() {
    let it = Served::new(Stub::default());
    it.client.status().await.unwrap();
    it.stop.cancel();
    // The connection that was kept alive is closed and no new one is taken, sooner or later.
    while it.client.status().await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn an_adapter_in_trouble_says_since_when_and_why() {
    let since = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_760_000_000);
    let deaf = Session::Deaf { since, reason: "its pings do not come back".into() };
    let status = AdapterStatus::of("work", "matrix", &deaf);
    assert_eq!(
        serde_json::to_string(&status).unwrap(),
        r#"{"name":"work","kind":"matrix","state":"deaf","since":1760000000,"reason":"its pings do not come back"}"#
    );
    assert_eq!(AdapterStatus::of("work", "matrix", &Session::Starting).since, None);
}
