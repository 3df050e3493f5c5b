//! The people of a loopback network: what a harness needs, and a model for any client.
//!
//! They outlive the gateway. What it has not answered is said again on the next connection, in order, and
//! what it delivers a second time is confirmed a second time and shown once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use mimi_adapter::{
    Adapter, Canary, ConversationId, DeliveryKey, Event, File, Ghost, NativeMessageId, NativeUserId, Octets, Receipt,
    Text, Thread, UserUri, async_trait,
    conformance::{Harness, Seen, message},
};
use mimi_loopback::{
    Loopback,
    frame::{Act, AdapterFrame, ClientFrame, Deliver, Person, Received, Shared, Shown, Written},
    network::Network,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::{mpsc, watch},
    task::JoinHandle,
};

const OFTEN: Canary = Canary { every: Duration::from_millis(200), patience: Duration::from_millis(500) };

pub struct People {
    place: Place,
    memory: Arc<Mutex<Memory>>,
    /// How many things Alice has done.
    done: watch::Sender<u64>,
    /// What she has read, said once each.
    read: watch::Sender<Option<Received<NativeUserId>>>,
    /// What others have read.
    receipts: watch::Sender<Vec<Received<Person>>>,
    talk: Option<JoinHandle<()>>,
    /// What they say gets lost on the way.
    silent: Arc<AtomicBool>,
    seen: mpsc::UnboundedReceiver<Seen>,
    told: mpsc::UnboundedReceiver<String>,
    show: (mpsc::UnboundedSender<Seen>, mpsc::UnboundedSender<String>),
    /// What people share lies here.
    files: TempDir,
}

enum Place {
    InProcess(Option<Network>),
    Socket(TempDir),
}

#[derive(Default)]
struct Memory {
    unanswered: BTreeMap<u64, ClientFrame>,
    shown: HashMap<DeliveryKey, Option<NativeMessageId>>,
    present: BTreeSet<UserUri>,
    name: Option<String>,
    topic: Option<String>,
}

impl People {
    pub fn in_process() -> Self {
        Self::at(Place::InProcess(None))
    }

    pub fn over_a_socket() -> Self {
        Self::at(Place::Socket(tempfile::tempdir().unwrap()))
    }

    fn at(place: Place) -> Self {
        let (show_seen, seen) = mpsc::unbounded_channel();
        let (show_told, told) = mpsc::unbounded_channel();
        let (memory, silent) = Default::default();
        Self {
            place,
            memory,
            silent,
            done: watch::Sender::new(0),
            read: watch::Sender::default(),
            receipts: watch::Sender::default(),
            talk: None,
            seen,
            told,
            show: (show_seen, show_told),
            files: tempfile::tempdir().unwrap(),
        }
    }

    fn does(
        &self,
        conversation: ConversationId,
        direct: Option<UserUri>,
        thread: Option<&Thread>,
        event: Event<NativeMessageId>,
    ) -> NativeMessageId {
        let n = *self.done.borrow() + 1;
        let id = NativeMessageId::new(format!("m{n}"));
        let thread = thread.and_then(Thread::root).cloned();
        let act = Act { id: id.clone(), conversation, from: self.alice(), direct, thread };
        let frame = match event {
            Event::Message { text, in_reply_to } => ClientFrame::Say { act, text: text.into(), reply_to: in_reply_to },
            Event::File { file: File { name, media_type, size, attachment, .. }, caption, in_reply_to } => {
                let file = Shared { at: format!("of-{id}"), name, media_type, size, attachment };
                ClientFrame::Share { act, file, caption, reply_to: in_reply_to }
            }
            Event::Edit { replaces, text } => ClientFrame::Edit { act, replaces, text: text.into() },
            Event::Delete { replaces } => ClientFrame::Delete { act, replaces },
            Event::Reaction { in_reply_to, emoji } => ClientFrame::React { act, reply_to: in_reply_to, emoji },
            Event::Unlike { replaces } => ClientFrame::Unlike { act, replaces },
            Event::Name { name } => ClientFrame::Name { act, name },
            Event::Topic { topic } => ClientFrame::Topic { act, topic },
            other => panic!("nobody does a {} here", other.kind()),
        };
        let mut memory = self.memory.lock().unwrap();
        match &frame {
            ClientFrame::Name { name, .. } => memory.name = Some(name.clone()),
            ClientFrame::Topic { topic, .. } => memory.topic = Some(topic.clone()),
            _ => {}
        }
        memory.unanswered.insert(n, frame);
        drop(memory);
        self.done.send_replace(n);
        id
    }

    fn socket(directory: &TempDir) -> PathBuf {
        directory.path().join("loopback.sock")
    }
}

#[async_trait]
impl Harness for People {
    async fn adapter(&mut self) -> Arc<dyn Adapter> {
        match &mut self.place {
            Place::InProcess(network) => {
                let (adapter, new) = Loopback::new();
                *network = Some(new);
                Arc::new(adapter.sharing_in(self.files.path()).asking(OFTEN))
            }
            Place::Socket(directory) => {
                // The one before was killed, but inside our process: wait until it is really gone.
                while UnixStream::connect(Self::socket(directory)).await.is_ok() {
                    tokio::task::yield_now().await;
                }
                Arc::new(Loopback::listening(Self::socket(directory)).sharing_in(self.files.path()).asking(OFTEN))
            }
        }
    }

    async fn connected(&mut self) {
        self.goes_away().await;
        let (to_adapter, from_adapter) = match &self.place {
            Place::InProcess(network) => {
                let client = network.as_ref().unwrap().connect_by_wire();
                let (to_adapter, mut frames) = mpsc::unbounded_channel();
                let silent = self.silent.clone();
                tokio::spawn(async move {
                    while let Some(frame) = frames.recv().await {
                        if !silent.load(Relaxed) && !client.to_adapter.send(frame).await {
                            return;
                        }
                    }
                });
                (to_adapter, client.from_adapter)
            }
            Place::Socket(directory) => over(connect(Self::socket(directory)).await, self.silent.clone()),
        };
        let (memory, show) = (self.memory.clone(), self.show.clone());
        let news = (self.done.subscribe(), self.read.subscribe());
        let receipts = self.receipts.clone();
        self.talk = Some(tokio::spawn(talk(memory, news, show, receipts, to_adapter, from_adapter)));
    }

    fn conversation(&self) -> ConversationId {
        ConversationId::new("tea")
    }

    fn alice(&self) -> NativeUserId {
        NativeUserId::new("alice")
    }

    async fn alice_does(&mut self, event: Event<NativeMessageId>) -> NativeMessageId {
        if let Event::File { file, .. } = &event {
            let mut octets = Vec::new();
            file.octets.open().await.unwrap().octets.read_to_end(&mut octets).await.unwrap();
            std::fs::write(self.files.path().join(format!("of-m{}", *self.done.borrow() + 1)), octets).unwrap();
        }
        self.does(self.conversation(), None, None, event)
    }

    async fn alice_says_in(&mut self, thread: &Thread, event: Event<NativeMessageId>) -> NativeMessageId {
        self.does(self.conversation(), None, Some(thread), event)
    }

    async fn alice_reads(&mut self, receipt: &Receipt<Ghost>) {
        let (conversation, up_to) = (receipt.conversation.clone(), receipt.up_to.clone());
        self.read.send_replace(Some(Received { conversation, from: self.alice(), up_to, read: true }));
    }

    async fn sees_read(&mut self, receipt: &Receipt<Ghost>) {
        let AdapterFrame::Receipt(wanted) = AdapterFrame::receipt(receipt) else { unreachable!() };
        self.receipts.subscribe().wait_for(|receipts| receipts.contains(&wanted)).await.unwrap();
    }

    async fn alice_writes_to(&mut self, ghost: &Ghost, conversation: &ConversationId, text: &str) -> NativeMessageId {
        self.does(conversation.clone(), Some(ghost.user.clone()), None, message(text))
    }

    async fn sees(&mut self) -> Seen {
        let mut seen = self.seen.recv().await.unwrap();
        if let Event::File { file, .. } = &mut seen.event {
            // Until now its octets are the name under which they lie.
            let mut at = String::new();
            file.octets.open().await.unwrap().octets.read_to_string(&mut at).await.unwrap();
            file.octets = Octets::new(std::fs::read(self.files.path().join(at)).unwrap());
        }
        seen
    }

    async fn told(&mut self) -> String {
        self.told.recv().await.unwrap()
    }

    async fn is_present(&mut self, ghost: &Ghost) -> bool {
        self.memory.lock().unwrap().present.contains(&ghost.user)
    }

    async fn goes_away(&mut self) {
        if let Some(talk) = self.talk.take() {
            talk.abort();
            let _ = talk.await;
        }
    }

    async fn comes_back(&mut self) {
        self.silent.store(false, Relaxed);
    }

    async fn falls_silent(&mut self) {
        self.silent.store(true, Relaxed);
    }
}

async fn talk(
    memory: Arc<Mutex<Memory>>,
    (mut done, mut read): (watch::Receiver<u64>, watch::Receiver<Option<Received<NativeUserId>>>),
    show: (mpsc::UnboundedSender<Seen>, mpsc::UnboundedSender<String>),
    receipts: watch::Sender<Vec<Received<Person>>>,
    to_adapter: mpsc::UnboundedSender<ClientFrame>,
    mut from_adapter: mpsc::Receiver<AdapterFrame>,
) {
    let (tea, alice) = (ConversationId::new("tea"), NativeUserId::new("alice"));
    let join = Act { id: NativeMessageId::new("here"), conversation: tea, from: alice, direct: None, thread: None };
    let _ = to_adapter.send(ClientFrame::Join(join));
    let mut said = 0;
    done.mark_changed();
    loop {
        tokio::select! {
            Ok(()) = done.changed() => {
                for (n, frame) in memory.lock().unwrap().unanswered.range(said + 1..) {
                    let _ = to_adapter.send(frame.clone());
                    said = *n;
                }
            }
            Ok(()) = read.changed() => {
                let read = read.borrow_and_update().clone();
                read.into_iter().for_each(|read| drop(to_adapter.send(ClientFrame::Receipt(read))));
            }
            Some(frame) = from_adapter.recv() => match frame {
                AdapterFrame::Accepted { id, .. } => memory.lock().unwrap().answered(&id),
                AdapterFrame::Refused { retry: true, .. } => {}
                AdapterFrame::Refused { id, .. } if id.as_str() == "here" => {}
                AdapterFrame::Refused { id, reason, retry: false } => {
                    memory.lock().unwrap().answered(&id);
                    show.1.send(reason).unwrap();
                }
                AdapterFrame::Unreadable { reason } => panic!("{reason}"),
                AdapterFrame::Receipt(receipt) => receipts.send_modify(|receipts| receipts.push(receipt)),
                AdapterFrame::Ping {} => drop(to_adapter.send(ClientFrame::Pong {})),
                AdapterFrame::Deliver(deliver) => {
                    let key = deliver.key.clone();
                    let id = memory.lock().unwrap().show(*deliver, &show);
                    let _ = to_adapter.send(ClientFrame::Delivered { key, id });
                }
            },
            else => return,
        }
    }
}

impl Memory {
    fn answered(&mut self, id: &NativeMessageId) {
        if let Some(n) = id.as_str().strip_prefix('m') {
            self.unanswered.remove(&n.parse().unwrap());
        }
    }

    fn show(
        &mut self,
        Deliver { key, from, event, thread, .. }: Deliver,
        show: &(mpsc::UnboundedSender<Seen>, mpsc::UnboundedSender<String>),
    ) -> Option<NativeMessageId> {
        if let Some(id) = self.shown.get(&key) {
            return id.clone();
        }
        let text = |Written { text, markdown }| if markdown { Text::Markdown(text) } else { Text::Plain(text) };
        let event = match (event, &from) {
            (Shown::Join, Some(person)) => {
                self.present.insert(person.user.clone());
                None
            }
            (Shown::Leave, Some(person)) => {
                self.present.remove(&person.user);
                None
            }
            (Shown::Notice { text, .. }, None) => {
                show.1.send(text).unwrap();
                None
            }
            (Shown::Message { text: written, reply_to }, Some(_)) => {
                Some(Event::Message { text: text(written), in_reply_to: reply_to })
            }
            (Shown::File { file: Shared { at, name, media_type, size, attachment }, caption, reply_to }, Some(_)) => {
                let file = File { name, media_type, size, attachment, octets: Octets::new(at.into_bytes()) };
                Some(Event::File { file, caption, in_reply_to: reply_to })
            }
            (Shown::Edit { replaces, text: written }, Some(_)) => Some(Event::Edit { replaces, text: text(written) }),
            (Shown::Delete { replaces }, Some(_)) => Some(Event::Delete { replaces }),
            (Shown::Reaction { reply_to, emoji }, Some(_)) => Some(Event::Reaction { in_reply_to: reply_to, emoji }),
            (Shown::Unlike { replaces }, Some(_)) => Some(Event::Unlike { replaces }),
            // What it is called already is no news here.
            (Shown::Name { name }, _) if self.name.replace(name.clone()).as_ref() == Some(&name) => None,
            (Shown::Topic { topic }, _) if self.topic.replace(topic.clone()).as_ref() == Some(&topic) => None,
            (Shown::Name { name }, Some(_)) => Some(Event::Name { name }),
            (Shown::Topic { topic }, Some(_)) => Some(Event::Topic { topic }),
            (event, from) => panic!("{event:?} from {from:?}"),
        };
        let id = event.map(|event| {
            let id = NativeMessageId::new(format!("n{}", self.shown.len()));
            let thread = thread.map(Thread::Under);
            show.0.send(Seen { id: id.clone(), name: from.unwrap().name, event, thread }).unwrap();
            id
        });
        self.shown.insert(key, id.clone());
        id
    }
}

async fn connect(path: PathBuf) -> UnixStream {
    loop {
        match UnixStream::connect(&path).await {
            Ok(stream) => return stream,
            // The adapter has only just started.
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Frames over a stream. It is closed when both channels are dropped.
fn over(
    stream: UnixStream,
    silent: Arc<AtomicBool>,
) -> (mpsc::UnboundedSender<ClientFrame>, mpsc::Receiver<AdapterFrame>) {
    let (reading, mut writing) = stream.into_split();
    let (to_adapter, mut frames) = mpsc::unbounded_channel();
    let (heard, from_adapter) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Some(frame) = frames.recv().await {
            let mut line = serde_json::to_vec(&frame).unwrap();
            line.push(b'\n');
            if silent.load(Relaxed) {
                continue;
            }
            if writing.write_all(&line).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        let mut lines = BufReader::new(reading).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if heard.send(serde_json::from_str(&line).unwrap()).await.is_err() {
                return;
            }
        }
    });
    (to_adapter, from_adapter)
}
