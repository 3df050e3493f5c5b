//! The world of a scene: Alice at a.example, Bob at b.example, Cathy at c.example, and a whole gateway for each.
//!
//! Nothing in it is simulated but the messengers and the clock: every gateway is what `gateway::start` makes, with
//! a database in a file, certificates of a throwaway authority, and TCP between them. A provider keeps its address
//! and its database for the life of the world, so it can be stopped and started again.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use mimi_adapter::{ConversationId, Domain, Threads, UserUri};
use mimi_gateway::{
    assets::Settings,
    config::Portal,
    core::Core,
    desk::Desk,
    discovery::Findable,
    gateway::{self, Parts},
    lifecycle::Lifecycle,
    mimi::uri::RoomUri,
    provider::{Authority, Identity, Trust},
    store::{Place, Store},
    trace::Trace,
};
use mimi_loopback::Loopback;
use sqlx::Connection;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::{
    brittle::Brittle,
    database::Database,
    messenger::{Messenger, PATIENCE},
    person::Person,
};

pub struct World {
    pub alice: Person,
    pub bob: Person,
    pub cathy: Person,
    pub authority: Authority,
    pub clock: Clock,
    providers: BTreeMap<&'static str, Provider>,
    /// What has crossed the wire.
    wire: Arc<Mutex<Vec<String>>>,
}

struct Provider {
    messenger: Messenger,
    address: SocketAddr,
    /// Made when the gateway starts for the first time.
    database: Option<Database>,
    /// Where its files for others are.
    assets: TempDir,
    pub max_size: u64,
    /// The providers that it can connect to.
    knows: Vec<&'static str>,
    allow: Vec<&'static str>,
    findable: Vec<Findable>,
    portals: Vec<Portal>,
    threads: Threads,
    running: Option<Running>,
}

struct Running {
    core: Arc<Core>,
    lifecycle: Lifecycle,
    talk: JoinHandle<()>,
}

/// The wall clock of a scene: the real one, and what the scene has moved it by.
#[derive(Clone, Default)]
pub struct Clock(Arc<Mutex<i64>>);

impl Clock {
    pub fn moves(&self, by: Duration) {
        *self.0.lock().unwrap() += by.as_millis() as i64;
    }

    pub fn is_set_back(&self, by: Duration) {
        *self.0.lock().unwrap() -= by.as_millis() as i64;
    }

    pub fn now(&self) -> u64 {
        let real = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        (real as i64 + *self.0.lock().unwrap()) as u64
    }
}

const PROVIDERS: [&str; 3] = ["a.example", "b.example", "c.example"];

/// The room of the conversation `tea`; a.example is its hub.
pub fn tea() -> RoomUri {
    RoomUri::parse("mimi://a.example/r/tea").unwrap()
}

impl World {
    /// Alice and Bob are in the room `tea`.
    pub async fn of_two() -> Self {
        let world = Self::before_tea(2).await;
        world.alice.joins().await;
        // Refused until the Welcome has come, and then said again by the adapter.
        let _ = world.bob.tries_to_join().await;
        world.alice.is_with(&["bob (b.example)"]).await;
        world.bob.is_with(&["alice (a.example)"]).await;
        world.wire.lock().unwrap().clear();
        world
    }

    /// Alice, Bob and Cathy are in the room `tea`.
    pub async fn of_three() -> Self {
        let world = Self::before_tea(3).await;
        world.alice.joins().await;
        let _ = world.bob.tries_to_join().await;
        let _ = world.cathy.tries_to_join().await;
        world.alice.is_with(&["bob (b.example)", "cathy (c.example)"]).await;
        world.bob.is_with(&["alice (a.example)", "cathy (c.example)"]).await;
        world.cathy.is_with(&["alice (a.example)", "bob (b.example)"]).await;
        world.wire.lock().unwrap().clear();
        world
    }

    /// The providers know each other, their conversations called `tea` are linked to the room, and nobody has
    /// been there yet.
    pub async fn before_tea(providers: usize) -> Self {
        let providers = &PROVIDERS[..providers];
        let mut world = Self::new();
        for name in providers {
            let invite = ["mimi://b.example/u/bob", "mimi://c.example/u/cathy"].map(|user| user.parse().unwrap());
            let provider = world.provider_mut(name);
            provider.allow = providers.to_vec();
            provider.portals = vec![Portal {
                room: tea(),
                adapter: "loopback".into(),
                conversation: ConversationId::new("tea"),
                name: Some("Tea".into()),
                invite: if *name == "a.example" { invite[..providers.len() - 1].to_vec() } else { Vec::new() },
            }];
            world.start(name).await;
        }
        world
    }

    /// Two providers that nobody has told anything about each other.
    pub async fn of_strangers() -> Self {
        let mut world = Self::new();
        world.start("a.example").await;
        world.start("b.example").await;
        world
    }

    fn new() -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let ip = an_address_of_our_own();
        let providers: BTreeMap<_, _> = PROVIDERS
            .into_iter()
            // Ports that no connection is given for its near end. On this address nobody else wants them.
            .zip(20_000..)
            .map(|(name, port)| {
                let address = SocketAddr::from((ip, port));
                let (messenger, allow, portals, findable) = (Messenger::new(), Vec::new(), Vec::new(), Vec::new());
                let (assets, max_size, running) = (tempfile::tempdir().unwrap(), Settings::MAX_SIZE, None);
                let (database, threads, knows) = (None, Threads::Under, PROVIDERS.to_vec());
                let provider = Provider {
                    messenger,
                    address,
                    database,
                    assets,
                    max_size,
                    knows,
                    allow,
                    findable,
                    portals,
                    threads,
                    running,
                };
                (name, provider)
            })
            .collect();
        let person = |name, provider| Person::new(name, provider, &providers[provider].messenger);
        Self {
            alice: person("alice", "a.example"),
            bob: person("bob", "b.example"),
            cathy: person("cathy", "c.example"),
            authority: Authority::new(),
            clock: Clock::default(),
            providers,
            wire: Arc::default(),
        }
    }

    /// Somebody else at one of the providers, in the conversation `tea` or about to be.
    pub fn person(&self, name: &str, provider: &str) -> Person {
        Person::new(name, provider, self.messenger(provider))
    }

    pub fn messenger(&self, provider: &str) -> &Messenger {
        &self.providers[provider].messenger
    }

    pub fn address(&self, provider: &str) -> SocketAddr {
        self.providers[provider].address
    }

    /// The gateway of a provider, for what its admin or a bad one could do.
    pub fn core(&self, provider: &str) -> &Arc<Core> {
        &self.providers[provider].running.as_ref().expect("the gateway is running").core
    }

    pub fn desk(&self, provider: &str) -> Desk {
        Desk(self.core(provider).clone())
    }

    /// From its next start on, these can be found at a provider.
    pub fn can_be_found(&mut self, name: &str, findable: Vec<Findable>) {
        self.provider_mut(name).findable = findable;
    }

    /// The configuration of a provider no longer has the room `tea`.
    pub fn forgets_tea(&mut self, name: &str) {
        self.provider_mut(name).portals.clear();
    }

    /// The requests that one provider has sent to another, each with the answer's length.
    pub fn crossed(&self, from: &str, to: &str, endpoint: &str) -> Vec<String> {
        let (way, endpoint) = (format!("{from} → {to} "), format!(" POST {endpoint} "));
        let wire = self.wire.lock().unwrap();
        wire.iter().filter(|line| line.starts_with(&way) && line.contains(&endpoint)).cloned().collect()
    }

    /// Alice and Bob still understand each other, and everything they have said before has arrived, since this has.
    pub async fn still_talk(&self) {
        static TIMES: AtomicU64 = AtomicU64::new(0);
        let time = TIMES.fetch_add(1, Ordering::Relaxed);
        self.alice.says(&format!("Still there, for the {time}th time?")).await;
        self.bob.reads(&format!("alice (a.example): Still there, for the {time}th time?")).await;
        self.bob.says(&format!("Still here, for the {time}th time.")).await;
        self.alice.reads(&format!("bob (b.example): Still here, for the {time}th time.")).await;
    }

    /// Waits until something is so that nobody tells us of.
    pub async fn eventually(&self, what: &str, so: impl AsyncFn() -> bool) {
        let waiting = tokio::time::timeout(PATIENCE, async {
            while !so().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waiting.await.unwrap_or_else(|_| panic!("not so in time: {what}"));
    }

    /// Whose messages the room `tea` has, in the order of the hub's timestamps. Its gateway is stopped for that.
    pub async fn hubs_order(&mut self) -> Vec<UserUri> {
        self.stop("a.example").await;
        let database = self.providers["a.example"].database.as_ref().expect("it has run");
        let mut database = sqlx::AnyConnection::connect(&database.url()).await.unwrap();
        let senders = sqlx::query_as::<_, (String,)>("SELECT sender FROM message WHERE room = $1 ORDER BY accepted");
        let senders = senders.bind(tea().as_str().to_owned()).fetch_all(&mut database).await.unwrap();
        senders.into_iter().map(|(sender,)| sender.parse().unwrap()).collect()
    }

    /// Changes the database of a gateway that is not running. Answers how many rows that were.
    pub async fn changes_database(&self, name: &str, sql: &'static str, arguments: &[&str]) -> u64 {
        assert!(self.providers[name].running.is_none(), "{name} is running");
        let database = self.providers[name].database.as_ref().expect("it has run");
        let mut database = sqlx::AnyConnection::connect(&database.url()).await.unwrap();
        let query = arguments.iter().fold(sqlx::query(sql), |query, argument| query.bind((*argument).to_owned()));
        query.execute(&mut database).await.unwrap().rows_affected()
    }

    /// From its next start on a gateway has this database. Answers the one it had.
    pub fn takes_database(&mut self, name: &str, database: Database) -> Database {
        self.provider_mut(name).database.replace(database).expect("it has run")
    }

    pub async fn start(&mut self, name: &str) {
        let known = self.providers[name].knows.iter();
        let addresses: BTreeMap<Domain, String> =
            known.map(|name| (domain(name), self.address(name).to_string())).collect();
        let trust = self.trust();
        let identity = self.identity(name);
        let (clock, wire) = (self.clock.clone(), self.wire.clone());
        let provider = self.provider_mut(name);
        if provider.database.is_none() {
            provider.database = Some(Database::new().await);
        }
        let place = provider.database.as_ref().expect("it has just been made").place();
        assert!(provider.running.is_none(), "{name} is running already");
        let (loopback, network) = Loopback::new();
        let loopback = loopback.sharing_in(provider.messenger.files());
        let parts = Parts {
            identity,
            trust,
            listener: gateway::listen(provider.address).unwrap(),
            public_port: Some(provider.address.port()),
            store: Store::open(place, name).await.unwrap(),
            assets: Settings { max_size: provider.max_size, ..Settings::of(provider.assets.path()) },
            addresses,
            adapters: vec![(
                "loopback".into(),
                "loopback".into(),
                Arc::new(Brittle { honest: loopback, threads: provider.threads }),
            )],
            findable: provider.findable.clone(),
            allow: provider.allow.iter().map(|pattern| pattern.parse().unwrap()).collect(),
            disclosure: Vec::new(),
            portals: provider.portals.clone(),
            clock: Arc::new(move || clock.now()),
            give_up_after: Duration::from_secs(7 * 24 * 3600),
            keep_evidence: Duration::from_secs(7 * 24 * 3600),
            trace: Trace::to(move |line| wire.lock().unwrap().push(line)),
        };
        let lifecycle = Lifecycle::default();
        let core = gateway::start(parts, &lifecycle).await.unwrap();
        let talk = provider.messenger.connect(&network);
        provider.running = Some(Running { core, lifecycle, talk });
    }

    /// As after SIGTERM: what is in hand is settled.
    pub async fn stop(&mut self, name: &str) {
        let running = self.provider_mut(name).running.take().expect("it is running");
        running.lifecycle.stop().ask();
        running.end(name).await;
    }

    /// As after SIGKILL, as far as that goes inside one process: every task is dropped where it stands.
    pub async fn kill(&mut self, name: &str) {
        let running = self.provider_mut(name).running.take().expect("it is running");
        running.lifecycle.stop().force();
        running.end(name).await;
    }

    /// From its next start on, the conversations of a provider have such threads.
    pub fn has_threads(&mut self, name: &str, threads: Threads) {
        self.provider_mut(name).threads = threads;
    }

    /// From its next start on, a provider takes no larger files than this.
    pub fn takes_at_most(&mut self, name: &str, octets: u64) {
        self.provider_mut(name).max_size = octets;
    }

    /// From its next start on, a provider can't connect to any other than these.
    pub fn knows_only(&mut self, name: &str, others: &[&'static str]) {
        self.provider_mut(name).knows = others.to_vec();
    }

    /// The directory of the files that a provider keeps for others.
    pub fn assets(&self, provider: &str) -> &Path {
        self.providers[provider].assets.path()
    }

    pub fn lifecycle(&self, name: &str) -> &Lifecycle {
        &self.providers[name].running.as_ref().expect("it is running").lifecycle
    }

    pub fn identity(&self, name: &str) -> Identity {
        let (certificate, key) = self.authority.issue(&domain(name));
        Identity::from_pem(&domain(name), certificate.as_bytes(), key.as_bytes()).unwrap()
    }

    pub fn trust(&self) -> Trust {
        Trust::from_pem(self.authority.pem().as_bytes()).unwrap()
    }

    fn provider_mut(&mut self, name: &str) -> &mut Provider {
        self.providers.get_mut(name).expect("there are three providers")
    }
}

impl Database {
    pub fn place(&self) -> Place {
        match self {
            Self::File { path, .. } => Place::from(path),
            Self::Server { .. } => Place::Server(self.url().parse().unwrap()),
        }
    }
}

impl Running {
    async fn end(self, name: &str) {
        self.lifecycle.finished(PATIENCE).await.unwrap();
        self.talk.await.unwrap();
        let core = Arc::downgrade(&self.core);
        drop(self.core);
        let gone = tokio::time::timeout(PATIENCE, async {
            while core.strong_count() > 0 {
                tokio::task::yield_now().await;
            }
        });
        gone.await.unwrap_or_else(|_| panic!("{} holders keep {name} alive", core.strong_count()));
    }
}

pub fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

/// A loopback address that no other world uses: a port of it that is closed stays free until it is opened again.
fn an_address_of_our_own() -> Ipv4Addr {
    static WORLDS: AtomicU64 = AtomicU64::new(0);
    let [.., high, low] = std::process::id().to_be_bytes();
    let world = WORLDS.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::new(127, 1 + (high % 250), low, 1 + (world % 250) as u8)
}
