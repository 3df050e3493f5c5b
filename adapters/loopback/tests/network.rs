//! What the suite does not ask: the lines themselves, and what clients of this network do to each other.

#![allow(clippy::unwrap_used)] // The helpers of tests are tests as well.

use std::{path::Path, sync::Arc, time::Duration};

use mimi_adapter::{
    Adapter, BoxError, CancellationToken, ConversationId, Delivered, DeliveryKey, NativeMessageId, NativeUserId,
    Refusal,
    conformance::{Recorder, bob, delivery, message},
};
use mimi_loopback::{
    Loopback,
    frame::{Act, AdapterFrame, ClientFrame, Written},
    network::{Client, Network},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    task::JoinHandle,
};

struct Gateway {
    core: Arc<Recorder>,
    adapter: Arc<Loopback>,
    stop: CancellationToken,
    run: JoinHandle<Result<(), BoxError>>,
}

impl Gateway {
    fn start() -> (Self, Network) {
        let (adapter, network) = Loopback::new();
        (Self::with(adapter), network)
    }

    fn with(adapter: Loopback) -> Self {
        let core = Recorder::new([ConversationId::new("tea"), ConversationId::new("coffee")]);
        let (adapter, stop) = (Arc::new(adapter), CancellationToken::new());
        let (running, inbox, stopping) = (adapter.clone(), core.inbox(), stop.clone());
        let run = tokio::spawn(async move { running.run(inbox, stopping).await });
        Self { core, adapter, stop, run }
    }

    fn deliver(&self) -> JoinHandle<Result<Delivered, Refusal>> {
        let adapter = self.adapter.clone();
        let delivery = delivery("k1", &ConversationId::new("tea"), &bob(), message("Yes."));
        tokio::spawn(async move { adapter.deliver(&delivery).await })
    }
}

fn say(conversation: &str, id: &str) -> ClientFrame {
    let conversation = ConversationId::new(conversation);
    let act = Act {
        id: NativeMessageId::new(id),
        conversation,
        from: NativeUserId::new("alice"),
        direct: None,
        thread: None,
    };
    ClientFrame::Say { act, text: Written { text: id.into(), markdown: false }, reply_to: None }
}

/// Waits to be shown a delivery, and answers it.
async fn answer(client: &mut Client, answer: impl FnOnce(DeliveryKey) -> ClientFrame) {
    match client.recv().await.unwrap() {
        AdapterFrame::Deliver(deliver) => client.send(answer(deliver.key)).await,
        other => panic!("{other:?}"),
    };
}

#[tokio::test]
async fn the_networks_answer_is_the_deliverys_answer() {
    let (gateway, network) = Gateway::start();
    let mut client = network.connect();
    let n1 = NativeMessageId::new("n1");

    let delivered = gateway.deliver();
    answer(&mut client, |key| ClientFrame::Delivered { key, id: Some(n1.clone()) }).await;
    assert_eq!(delivered.await.unwrap().unwrap().ids, [n1]);

    let delivered = gateway.deliver();
    answer(&mut client, |key| ClientFrame::NotNow { key }).await;
    assert!(matches!(delivered.await.unwrap(), Err(Refusal::Retry { .. })));

    let delivered = gateway.deliver();
    answer(&mut client, |key| ClientFrame::Never { key, reason: "Shh.".into() }).await;
    assert!(matches!(delivered.await.unwrap(), Err(Refusal::Reject { reason }) if reason == "Shh."));
}

#[tokio::test(start_paused = true)]
async fn a_network_that_says_nothing_means_retry() {
    let (gateway, network) = Gateway::start();
    let _silent = network.connect();
    assert!(matches!(gateway.deliver().await.unwrap(), Err(Refusal::Retry { .. })));
}

#[tokio::test]
async fn a_client_that_leaves_without_an_answer_means_retry_at_once() {
    let (gateway, network) = Gateway::start();
    let mut client = network.connect();
    let delivered = gateway.deliver();
    client.recv().await.unwrap();
    let _came_too_late = network.connect();
    drop(client);
    let soon = tokio::time::timeout(Duration::from_secs(20), delivered).await.unwrap();
    assert!(matches!(soon.unwrap(), Err(Refusal::Retry { .. })));
}

#[tokio::test]
async fn conversations_do_not_wait_for_each_other() {
    let (gateway, network) = Gateway::start();
    let mut client = network.connect();
    gateway.core.refuse_next(Refusal::Retry { after: Some(Duration::from_secs(3600)), source: "busy".into() });
    client.send(say("tea", "m1")).await;
    gateway.core.offered(1).await;
    client.send(say("coffee", "m2")).await;
    let accepted = AdapterFrame::Accepted { id: NativeMessageId::new("m2"), duplicate: false };
    assert_eq!(client.recv().await, Some(accepted));
}

#[tokio::test]
async fn a_confirmation_does_not_queue_behind_what_the_core_can_not_take() {
    let (gateway, network) = Gateway::start();
    let mut client = network.connect();
    gateway.core.hold();
    // As much as fits in everything that could queue.
    let (said, speech) = (tokio::sync::oneshot::channel(), client.to_adapter.clone());
    tokio::spawn(async move {
        for n in 0..2048 {
            speech.send(say("tea", &format!("m{n}"))).await;
        }
        said.0.send(()).unwrap();
        speech.send(say("tea", "m2048")).await;
    });
    said.1.await.unwrap();
    let delivered = gateway.deliver();
    answer(&mut client, |key| ClientFrame::Delivered { key, id: None }).await;
    assert!(delivered.await.unwrap().is_ok());
}

#[tokio::test]
async fn what_the_core_has_not_taken_when_it_stops_is_given_back() {
    let (gateway, network) = Gateway::start();
    let mut client = network.connect();
    gateway.core.hold();
    for id in ["m1", "m2"] {
        client.send(say("tea", id)).await;
    }
    gateway.core.offered(1).await;
    gateway.stop.cancel();
    gateway.core.release();
    let accepted = AdapterFrame::Accepted { id: NativeMessageId::new("m1"), duplicate: false };
    assert_eq!(client.recv().await, Some(accepted));
    let refused = client.recv().await;
    assert!(matches!(refused, Some(AdapterFrame::Refused { id, retry: true, .. }) if id.as_str() == "m2"));
    assert_eq!(client.recv().await, None);
    gateway.run.await.unwrap().unwrap();
    assert!(!network.connect().send(say("tea", "m2")).await, "nobody is there to hear it");
}

async fn connect(path: &Path) -> UnixStream {
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return stream,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn a_pipe_hears_its_answers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("loopback.sock");
    let _gateway = Gateway::with(Loopback::listening(&path));
    let mut stream = connect(&path).await;
    let lines = concat!(
        r#"{"say":{"id":"m1","conversation":"tea","from":"alice","text":"Is the tea ready?"}}"#,
        "\n",
        r#"{"say":{"id":"m1","conversation":"tea","from":"alice","text":"Is the tea ready?"}}"#,
        "\n",
        r#"{"say":{"id":"m2","conversation":"pub","from":"alice","text":"Anybody?"}}"#,
        "\n",
    );
    stream.write_all(lines.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    let mut answers: Vec<_> = answers.lines().collect();
    answers.sort_unstable(); // Two conversations, so no order between them.
    assert_eq!(
        answers,
        [
            r#"{"accepted":{"id":"m1","duplicate":false}}"#,
            r#"{"accepted":{"id":"m1","duplicate":true}}"#,
            r#"{"refused":{"id":"m2","reason":"this conversation is not linked to a room","retry":false}}"#,
        ]
    );
}

#[tokio::test]
async fn a_line_that_is_no_frame_is_answered_and_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("loopback.sock");
    let gateway = Gateway::with(Loopback::listening(&path));
    let mut stream = connect(&path).await;
    stream.write_all(b"hello?\n\xff\n").await.unwrap();
    let say = serde_json::to_string(&say("tea", "m1")).unwrap();
    stream.write_all(format!("{say}\n").as_bytes()).await.unwrap();
    assert_eq!(gateway.core.accepted().await.event, message("m1"));
    stream.shutdown().await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches(r#"{"unreadable":{"#).count(), 2, "{answers}");
}

#[tokio::test]
async fn a_socket_is_taken_over_from_the_dead_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("loopback.sock");
    // Whoever made this file is gone.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let alive = Gateway::with(Loopback::listening(&path));
    let mode = {
        connect(&path).await;
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions())
    };
    assert_eq!(mode & 0o777, 0o600);

    let refused = Gateway::with(Loopback::listening(&path)).run.await.unwrap().unwrap_err().to_string();
    assert!(refused.starts_with(&format!("cannot listen on the socket {}:", path.display())), "{refused}");
    assert!(!alive.run.is_finished());
}
