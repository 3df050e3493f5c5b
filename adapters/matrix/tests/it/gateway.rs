//! The adapter, built from a configuration and running, with the suite's recording core behind it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use mimi_adapter::{
    Adapter, Canary, CancellationToken, Context, ConversationId, Delivered, Delivery, Domain, Event, Ghost, Inbound,
    NativeMessageId, Refusal, Speaker, UserUri,
    conformance::{Recorder, delivery},
};
use tokio::{task::JoinHandle, time::timeout};

/// Longer than anything here takes, so that a test which waits in vain fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Gateway {
    pub adapter: Arc<dyn Adapter>,
    pub core: Arc<Recorder>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Gateway {
    pub fn start(config: &str) -> Self {
        let (adapter, core, stop) = (build("matrix", config), Recorder::new([]), CancellationToken::new());
        let running = spawn(&adapter, &core, &stop);
        Self { adapter, core, stop, running }
    }

    /// Stops, and starts anew with nothing remembered but what the core knows.
    pub async fn restart(&mut self, config: &str) {
        self.stop().await;
        self.adapter = build("matrix", config);
        self.stop = CancellationToken::new();
        self.running = spawn(&self.adapter, &self.core, &self.stop);
    }

    pub async fn stop(&mut self) {
        self.stop.cancel();
        timeout(PATIENCE, &mut self.running).await.expect("the adapter stops").unwrap();
    }

    /// The next event that the core has accepted, but for who was there already.
    pub async fn accepted(&self) -> Inbound {
        loop {
            let inbound = self.core.accepted().await;
            if !is_report(&inbound) {
                return inbound;
            }
        }
    }

    /// Who was there already.
    pub async fn reported(&self) -> Inbound {
        let inbound = self.core.accepted().await;
        assert!(is_report(&inbound), "{inbound:?}");
        inbound
    }

    /// The next accepted event, if there is one by now.
    pub async fn accepted_so_far(&self) -> Option<Inbound> {
        tokio::select! {
            biased;
            inbound = self.accepted() => Some(inbound),
            () = std::future::ready(()) => None,
        }
    }

    pub async fn deliver(
        &self,
        key: &str,
        room: &str,
        ghost: &Ghost,
        event: Event<NativeMessageId>,
    ) -> Result<Delivered, Refusal> {
        self.adapter.deliver(&delivery(key, &ConversationId::new(room), ghost, event)).await
    }

    /// The gateway itself tells people something.
    pub async fn notifies(&self, key: &str, room: &str, text: &str) -> Delivered {
        let notice = Event::Notice { text: text.into(), about: None, to: None };
        let by_bob = delivery(key, &ConversationId::new(room), &ghost("mimi://b.example/u/bob"), notice);
        self.adapter.deliver(&Delivery { speaker: Speaker::Gateway, ..by_bob }).await.unwrap()
    }
}

fn is_report(inbound: &Inbound) -> bool {
    inbound.event == Event::Join && inbound.id.as_str().starts_with("present ")
}

pub fn context(name: &str) -> Context {
    Context { name: name.into(), domain: Domain::parse("a.example").unwrap() }
}

/// A rhythm for tests: whoever waits for a canary to stay out should not wait long.
const OFTEN: Canary = Canary { every: Duration::from_secs(1), patience: Duration::from_secs(5) };

pub fn build(name: &str, config: &str) -> Arc<dyn Adapter> {
    mimi_matrix::build_with(config.parse().unwrap(), &context(name), OFTEN).unwrap()
}

/// Waits until the adapter says one of these of its session.
pub async fn is(adapter: &dyn Adapter, words: &[&str]) {
    let mut session = adapter.session();
    let there = session.wait_for(|session| words.contains(&session.word()));
    let there = timeout(PATIENCE, there).await;
    there.unwrap_or_else(|_| panic!("the adapter is {}, not {words:?}", *adapter.session().borrow())).unwrap();
}

fn spawn(adapter: &Arc<dyn Adapter>, core: &Arc<Recorder>, stop: &CancellationToken) -> JoinHandle<()> {
    let (adapter, inbox, stop) = (adapter.clone(), core.inbox(), stop.clone());
    tokio::spawn(async move { adapter.run(inbox, stop).await.unwrap() })
}

pub fn ghost(uri: &str) -> Ghost {
    Ghost::new(UserUri::parse(uri).unwrap())
}

/// A port of this machine that nobody listens on, and that none is given who asks for any: a scene may come back to
/// it, and in between it must not have become the near end of somebody's connection.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() as u16;
    loop {
        let port = 10_000 + first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 22_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
