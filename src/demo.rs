//! Two whole gateways in one terminal: Alice at a.example, Bob at b.example, and MIMI between them.
//!
//! Nothing is simulated but the people: two providers on loopback with certificates of a throwaway
//! authority, two databases, MLS, a hub and a follower. What crosses the wire is printed beside what is said.

use std::{
    collections::BTreeMap,
    error::Error,
    io::IsTerminal,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mimi_adapter::{Domain, NativeMessageId};
use mimi_loopback::{
    Loopback,
    frame::{Act, AdapterFrame, ClientFrame, Shown, Written},
    network::Client,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::mpsc,
};

use crate::{
    assets::Settings,
    config::Portal,
    core::system_clock,
    gateway::{self, Parts},
    lifecycle::Lifecycle,
    mimi::uri::RoomUri,
    provider::{
        authority::Authority,
        tls::{Identity, Trust},
    },
    store::Store,
    trace::Trace,
};

type BoxError = Box<dyn Error + Send + Sync>;

/// In a script, a message that has not arrived after this long has not arrived.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub struct DemoOptions {
    /// Don't print what crosses the wire.
    #[arg(long)]
    quiet: bool,

    /// Keep the two databases in this directory instead of a temporary one.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// One of the two ends.
struct End {
    person: &'static str,
    client: Client,
}

/// Reads `alice: …` and `bob: …` from standard input until it ends. With a pipe it is a script: every line
/// has to arrive at the other side, or the result is an error.
pub async fn run(options: DemoOptions) -> Result<(), BoxError> {
    let scratch = Scratch::new(options.keep)?;
    let lifecycle = Lifecycle::default();
    let (said, mut lines) = mpsc::unbounded_channel();
    let trace = if options.quiet {
        Trace::default()
    } else {
        Trace::to(move |line| {
            let _ = said.send(line);
        })
    };
    let printer = tokio::spawn(async move {
        while let Some(line) = lines.recv().await {
            println!("      ~ {line}");
        }
    });
    println!("Starting a.example (hub) and b.example (follower) on loopback …");
    let mut ends = start(&scratch.path, trace, &lifecycle).await?;
    for end in &mut ends {
        end.client.send(ClientFrame::Join(act(end.person, "here"))).await;
    }
    for end in &mut ends {
        wait_for_ghost(end).await?;
    }
    println!("Alice and Bob are in one end-to-end encrypted MIMI room; encryption ends at their gateways.");
    println!("Say something as `alice: …` or `bob: …`; end with Ctrl-D.");

    let done = converse(&mut ends).await;
    lifecycle.stop().ask();
    drop(ends);
    let stopped = lifecycle.finished(Duration::from_secs(5)).await;
    printer.abort();
    done?;
    Ok(stopped?)
}

async fn converse(ends: &mut [End; 2]) -> Result<(), BoxError> {
    let interactive = std::io::stdin().is_terminal();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut count = 0;
    while let Some(line) = lines.next_line().await? {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let speaker = match line.split_once(':') {
            Some((name, text)) if !text.trim().is_empty() => {
                ends.iter().position(|end| end.person.eq_ignore_ascii_case(name.trim())).map(|at| (at, text.trim()))
            }
            _ => None,
        };
        let Some((from, text)) = speaker else {
            let words = format!("{line:?} is neither `alice: …` nor `bob: …`");
            if interactive {
                println!("{words}");
                continue;
            }
            return Err(words.into());
        };
        count += 1;
        let id = format!("m{count}");
        let written = Written { text: text.to_owned(), markdown: false };
        ends[from]
            .client
            .send(ClientFrame::Say { act: act(ends[from].person, &id), text: written, reply_to: None })
            .await;
        tokio::time::timeout(PATIENCE, arrives(ends, from, &id, text))
            .await
            .map_err(|_| format!("{text:?} has not arrived after {} seconds", PATIENCE.as_secs()))??;
    }
    println!("{count} message(s), each shown once on the other side.");
    Ok(())
}

/// Waits until what was said on one end has been accepted there and shown on the other.
async fn arrives(ends: &mut [End; 2], from: usize, id: &str, text: &str) -> Result<(), BoxError> {
    loop {
        match ends[from].client.recv().await {
            Some(AdapterFrame::Accepted { id: accepted, .. }) if accepted.as_str() == id => break,
            Some(AdapterFrame::Refused { reason, .. }) => return Err(format!("refused: {reason}").into()),
            Some(frame) => confirm(&mut ends[from], frame).await.map(drop)?,
            None => return Err("the gateway is gone".into()),
        }
    }
    let to = &mut ends[1 - from];
    loop {
        let frame = to.client.recv().await.ok_or("the gateway is gone")?;
        if confirm(to, frame).await? == Some(text.to_owned()) {
            return Ok(());
        }
    }
}

/// Shows a delivery and confirms it. Answers the text of a message.
async fn confirm(end: &mut End, frame: AdapterFrame) -> Result<Option<String>, BoxError> {
    let AdapterFrame::Deliver(deliver) = frame else { return Ok(None) };
    let who = deliver.from.as_ref().map_or("the gateway", |person| &person.name);
    let (words, text) = match &deliver.event {
        Shown::Message { text, .. } => (format!("{who}: {}", text.text), Some(text.text.clone())),
        Shown::Join => (format!("({who} is here)"), None),
        Shown::Leave => (format!("({who} has left)"), None),
        Shown::Notice { text, .. } => (format!("{who}: {text}"), None),
        other => (format!("{who}: {other:?}"), None),
    };
    println!("[{} sees] {words}", end.person);
    let id = text.is_some().then(|| NativeMessageId::new(deliver.key.as_str()));
    end.client.send(ClientFrame::Delivered { key: deliver.key, id }).await;
    Ok(text)
}

/// Both ghosts are shown before anything is said, so the room stands.
async fn wait_for_ghost(end: &mut End) -> Result<(), BoxError> {
    let waiting = async {
        loop {
            let frame = end.client.recv().await.ok_or("the gateway is gone")?;
            let joined = matches!(&frame, AdapterFrame::Deliver(deliver) if deliver.event == Shown::Join);
            confirm(end, frame).await?;
            if joined {
                return Ok::<_, BoxError>(());
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.map_err(|_| "the room did not come about in time")?
}

async fn start(scratch: &Path, trace: Trace, lifecycle: &Lifecycle) -> Result<[End; 2], BoxError> {
    let authority = Authority::new();
    let trust = Trust::from_pem(authority.pem().as_bytes())?;
    let room = RoomUri::parse("mimi://a.example/r/tea")?;
    let names = ["a.example", "b.example"];
    let mut listeners = Vec::new();
    let mut addresses = BTreeMap::new();
    for name in names {
        let listener = gateway::listen(([127, 0, 0, 1], 0).into())?;
        addresses.insert(Domain::parse(name)?, listener.local_addr()?.to_string());
        listeners.push(listener);
    }
    let mut ends = Vec::new();
    for ((name, person), listener) in names.into_iter().zip(["alice", "bob"]).zip(listeners) {
        let domain = Domain::parse(name)?;
        let (certificate, key) = authority.issue(&domain);
        let (loopback, network) = Loopback::new();
        let port = listener.local_addr()?.port();
        let parts = Parts {
            give_up_after: crate::config::Delivery::default().give_up_after,
            keep_evidence: Duration::ZERO,
            identity: Identity::from_pem(&domain, certificate.as_bytes(), key.as_bytes())?,
            trust: trust.clone(),
            listener,
            public_port: Some(port),
            store: Store::open(&scratch.join(format!("{name}.sqlite")), name).await?,
            assets: Settings::of(scratch.join(format!("{name}.assets"))),
            addresses: addresses.clone(),
            adapters: vec![("loopback".into(), "loopback".into(), Arc::new(loopback))],
            findable: Vec::new(),
            allow: names.iter().map(|name| name.parse()).collect::<Result<_, String>>()?,
            disclosure: Vec::new(),
            portals: vec![Portal {
                room: room.clone(),
                adapter: "loopback".into(),
                conversation: mimi_adapter::ConversationId::new("tea"),
                name: Some("Tea".into()),
                invite: if person == "alice" { vec!["mimi://b.example/u/bob".parse()?] } else { Vec::new() },
            }],
            clock: system_clock(),
            trace: trace.clone(),
        };
        gateway::start(parts, lifecycle).await?;
        ends.push(End { person, client: network.connect() });
    }
    <[End; 2]>::try_from(ends).map_err(|_| "two names make two ends".into())
}

fn act(person: &str, id: &str) -> Act {
    Act {
        id: NativeMessageId::new(id),
        conversation: mimi_adapter::ConversationId::new("tea"),
        from: mimi_adapter::NativeUserId::new(person),
        direct: None,
        thread: None,
    }
}

/// A directory that goes when the demo does, unless somebody wants to keep it.
struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    fn new(keep: Option<PathBuf>) -> Result<Self, BoxError> {
        let path = match &keep {
            Some(path) => path.clone(),
            None => std::env::temp_dir().join(format!("mimi-gateway-demo-{}", uuid::Uuid::new_v4())),
        };
        std::fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self { path, keep: keep.is_some() })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
