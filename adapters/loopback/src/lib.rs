//! The reference adapter: a messenger that is a line-based socket.
//!
//! It carries tests, demos and load, and it is the worked example of the guide in `mimi_adapter`: a whole
//! adapter, every feature, nothing that a real network would make accidental. Read it top down: this file
//! is the plug, [`frame`] the translation (pure), [`network`] the people and what they have been shown,
//! `lane` the way in, `socket` the lines, `files` what people share.
//!
//! The messenger itself, its people and its memory, is whoever connects. That is deliberate: it outlives
//! the gateway, so a test that kills the gateway finds out what really was lost or doubled. The adapter
//! remembers nothing beyond a connection.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mimi_adapter::{
    Adapter, AdapterKind, BoxError, Built, Canary, CancellationToken, Capabilities, ConfigError, Context,
    ConversationId, Delivered, Delivery, Event, Ghost, Inbox, NativeUserId, Problem, Pulse, Receipt, Refusal, Session,
    Support, Threads, UserUri, async_trait, toml,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

mod files;
pub mod frame;
mod lane;
pub mod network;
mod socket;

use frame::AdapterFrame;
use network::{Answer, Connection, Network};

pub const KIND: AdapterKind =
    AdapterKind { name: "loopback", example: include_str!("../example.toml"), capabilities: CAPABILITIES, build };

/// Files only with a directory for them.
const CAPABILITIES: Capabilities = Capabilities {
    reply: Support::Full,
    edit: Support::Full,
    delete: Support::Full,
    reaction: Support::Full,
    thread: Threads::Under,
    receipts: true,
    file: Support::Full,
    max_file: u64::MAX,
    formatting: Support::Full,
    name: Support::Full,
    topic: Support::Full,
    max_text: 1 << 20,
};

/// How long a delivery waits for the network's confirmation.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long stopping waits for what is in hand.
const GRACE: Duration = Duration::from_secs(5);

pub struct Loopback {
    network: Network,
    /// Who has connected. `run` takes it.
    arrivals: Mutex<Option<mpsc::UnboundedReceiver<Connection>>>,
    socket: Option<PathBuf>,
    pulse: Arc<Pulse>,
    canary: Canary,
}

impl Loopback {
    /// An adapter without a socket, and the network to connect to it by [`Network::connect`].
    pub fn new() -> (Self, Network) {
        let (network, arrivals) = Network::new();
        let (pulse, canary) = (Arc::new(Pulse::new()), Canary::USUAL);
        (Self { network: network.clone(), arrivals: Mutex::new(Some(arrivals)), socket: None, pulse, canary }, network)
    }

    /// An adapter whose people connect to a unix socket.
    pub fn listening(socket: impl Into<PathBuf>) -> Self {
        Self { socket: Some(socket.into()), ..Self::new().0 }
    }

    /// Lets people share files, which lie in this directory.
    pub fn sharing_in(self, directory: impl Into<PathBuf>) -> Self {
        self.network.share_in(directory.into());
        self
    }

    /// Asks its clients at another rhythm whether they are there.
    pub fn asking(self, canary: Canary) -> Self {
        Self { canary, ..self }
    }
}

fn build(mut table: toml::Table, _: &Context) -> Built {
    let mut problems = Vec::new();
    let mut problem = |key: &str, problem: String| problems.push(ConfigError::new(key, problem));
    let socket = match table.remove("socket") {
        Some(toml::Value::String(path)) if Path::new(&path).is_absolute() => Some(path),
        Some(toml::Value::String(path)) => {
            problem("socket", format!("{path:?} is not an absolute path (write it from the root: \"/run/…\")"));
            None
        }
        Some(other) => {
            problem("socket", format!("this should be a path in quotes, and is of type {}", other.type_str()));
            None
        }
        None => {
            problem("socket", "is missing (where should people connect? \"/run/mimi-gateway/loopback.sock\")".into());
            None
        }
    };
    let files = match table.remove("files") {
        None => None,
        Some(toml::Value::String(path)) if Path::new(&path).is_dir() => Some(path),
        Some(other) => {
            problem("files", format!("{other} is not a directory (make it, and name it from the root: \"/run/…\")"));
            None
        }
    };
    for key in table.keys() {
        problem(key, "there is no such key (there are: socket, files)".into());
    }
    match (socket, files) {
        (Some(socket), None) if problems.is_empty() => Ok(Arc::new(Loopback::listening(socket))),
        (Some(socket), Some(files)) if problems.is_empty() => {
            Ok(Arc::new(Loopback::listening(socket).sharing_in(files)))
        }
        _ => Err(problems),
    }
}

#[async_trait]
impl Adapter for Loopback {
    async fn run(&self, inbox: Inbox, stop: CancellationToken) -> Result<(), BoxError> {
        let mut arrivals =
            self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or("run is called once")?;
        let mut running = JoinSet::new();
        if let Some(path) = &self.socket {
            let listener = socket::bind(path).await?;
            running.spawn(socket::listen(listener, self.network.clone(), stop.clone()));
        }
        // It is the clients who come, so the network is there as soon as they can.
        self.pulse.up();
        while let Some(Some(connection)) = stop.run_until_cancelled(arrivals.recv()).await {
            running.spawn(lane::serve(connection, inbox.clone(), stop.clone(), self.pulse.clone(), self.canary));
            while running.try_join_next().is_some() {}
        }
        // What the core is just accepting is still answered, unless a client does not listen.
        drop(arrivals);
        let _ = tokio::time::timeout(GRACE, async { while running.join_next().await.is_some() {} }).await;
        Ok(())
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<Delivered, Refusal> {
        if let Event::File { file, .. } = &delivery.event {
            let directory = self.network.files().ok_or_else(|| Refusal::reject("this network shares no files"))?;
            tokio::time::timeout(file.patience(), files::share(&directory, &delivery.key, file))
                .await
                .unwrap_or_else(|_| Err(Refusal::retry("the file has not been read in time")))?;
        }
        let answer = self.network.show(&delivery.key, AdapterFrame::deliver(delivery)?);
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Some(Answer::Delivered(id))) => Ok(Delivered { ids: id.into_iter().collect() }),
            Ok(Some(Answer::NotNow)) => Err(Refusal::retry("the network said: not now")),
            Ok(Some(Answer::Never(reason))) => Err(Refusal::reject(reason)),
            Ok(None) => Err(Refusal::retry("nobody is connected to the loopback network")),
            Err(_) => Err(Refusal::retry("the loopback network has not confirmed the delivery in time")),
        }
    }

    async fn receipt(&self, receipt: &Receipt<Ghost>) -> Result<(), Refusal> {
        self.network.tell(&AdapterFrame::receipt(receipt));
        Ok(())
    }

    /// Plain names: nothing that could be an address of another network.
    fn serves(&self, user: &NativeUserId) -> bool {
        frame::is_name(user.as_str())
    }

    fn capabilities(&self, _: &ConversationId) -> Capabilities {
        let file = if self.network.files().is_some() { Support::Full } else { Support::AsText };
        Capabilities { file, ..CAPABILITIES }
    }

    async fn open_direct(&self, user: &NativeUserId, ghost: &Ghost) -> Result<ConversationId, Refusal> {
        Ok(direct_conversation(user, &ghost.user))
    }

    fn session(&self) -> watch::Receiver<Session> {
        self.pulse.watch()
    }

    async fn probe(&self) -> Vec<Problem> {
        let directory = self.socket.as_deref().and_then(Path::parent);
        let missing = directory.filter(|directory| !directory.is_dir());
        let problem = |directory: &Path| Problem {
            what: format!("the socket's directory {} does not exist", directory.display()),
            next_step: format!("mkdir -p {}, and let the gateway's account write there", directory.display()),
        };
        missing.map(problem).into_iter().collect()
    }
}

/// The one-to-one conversation of a person and a ghost. It is a function of the two, so that it is found
/// again after a crash, whoever wrote first.
pub fn direct_conversation(user: &NativeUserId, ghost: &UserUri) -> ConversationId {
    ConversationId::new(format!("{user}+{ghost}"))
}

#[cfg(test)]
mod tests {
    use mimi_adapter::Domain;

    use super::*;

    fn problems(table: &str) -> Vec<String> {
        let context = Context { name: "loopback".into(), domain: Domain::parse("a.example").unwrap() };
        match build(toml::from_str(table).unwrap(), &context) {
            Ok(_) => Vec::new(),
            Err(problems) => {
                problems.into_iter().map(|ConfigError { key, problem }| format!("{key}: {problem}")).collect()
            }
        }
    }

    #[test]
    fn the_example_has_no_problems() {
        let mut example: toml::Table = toml::from_str(KIND.example).unwrap();
        let adapters = example.remove("adapters").unwrap().try_into::<toml::Table>().unwrap();
        let mut table = adapters["loopback"].clone().try_into::<toml::Table>().unwrap();
        assert_eq!(table.remove("kind"), Some(KIND.name.into()));
        assert_eq!(problems(&table.to_string()), [""; 0]);
    }

    #[test]
    fn an_admin_reads_every_problem_at_once() {
        assert_eq!(
            problems("socket = 'loopback.sock'\nlisten = true\nport = 1"),
            [
                r#"socket: "loopback.sock" is not an absolute path (write it from the root: "/run/…")"#,
                "listen: there is no such key (there are: socket, files)",
                "port: there is no such key (there are: socket, files)",
            ]
        );
        assert_eq!(problems("socket = 1"), ["socket: this should be a path in quotes, and is of type integer"]);
        assert_eq!(
            problems(""),
            [r#"socket: is missing (where should people connect? "/run/mimi-gateway/loopback.sock")"#]
        );
    }
}
