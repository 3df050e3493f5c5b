//! Who is connected, and which deliveries they have yet to confirm.
//!
//! A [`Client`] is one connection, in process; the socket is one more user of it. What people do waits in
//! the client's own channel until `lane` has offered it to the core. Confirmations don't queue behind it:
//! they go straight to the delivery that waits, so a core that is slow to accept can't hold up what it sends.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mimi_adapter::{DeliveryKey, Event, NativeMessageId, NativeUserId, Receipt};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::{
    files,
    frame::{Act, AdapterFrame, ClientFrame},
};

/// Frames on their way to or from one client. More make the writer wait.
const QUEUE: usize = 1024;
/// A client that does not read for so long, with its queue full, is disconnected: it would hold up the others.
const SLOWEST_READER: Duration = Duration::from_secs(10);

/// The loopback messenger: everybody who is connected. Clones are the same network.
#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

struct State {
    arrivals: mpsc::UnboundedSender<Connection>,
    clients: HashMap<u64, mpsc::Sender<AdapterFrame>>,
    next_client: u64,
    /// Where files are shared.
    files: Option<PathBuf>,
    waiting: HashMap<DeliveryKey, Waiting>,
}

/// A delivery that waits for the first answer of those who could give one.
struct Waiting {
    answer: oneshot::Sender<Answer>,
    shown_to: Vec<u64>,
}

/// One connection to the network. Dropping it disconnects.
pub struct Client {
    pub to_adapter: Speech,
    /// Ends when the adapter stops or hangs up.
    pub from_adapter: mpsc::Receiver<AdapterFrame>,
}

/// The speaking half of a [`Client`].
#[derive(Clone)]
pub struct Speech {
    network: Network,
    acts: mpsc::Sender<Said>,
    /// The client has said something.
    heard: Arc<Notify>,
}

/// The adapter's end of a [`Client`].
pub struct Connection {
    pub(crate) acts: mpsc::Receiver<Said>,
    pub(crate) answers: mpsc::Sender<AdapterFrame>,
    pub(crate) present: Present,
    /// Where something between the two can fail, the sign that the client has said something.
    pub(crate) heard: Option<Arc<Notify>>,
}

/// What comes from a client.
pub(crate) enum Said {
    Act(Act, Event<NativeMessageId>),
    Receipt(Receipt<NativeUserId>),
}

/// What the network says to a delivery.
pub(crate) enum Answer {
    Delivered(Option<NativeMessageId>),
    NotNow,
    Never(String),
}

impl Network {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Connection>) {
        let (arrivals, arrived) = mpsc::unbounded_channel();
        let state = State { arrivals, clients: HashMap::new(), next_client: 0, files: None, waiting: HashMap::new() };
        (Self(Arc::new(Mutex::new(state))), arrived)
    }

    pub(crate) fn share_in(&self, directory: PathBuf) {
        self.state().files = Some(directory);
    }

    pub(crate) fn files(&self) -> Option<PathBuf> {
        self.state().files.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection: from now on it is shown what is delivered. In one process a client is there until it is
    /// dropped, so it is not asked.
    pub fn connect(&self) -> Client {
        self.connected(false)
    }

    /// As [`connect`](Self::connect), over a wire that can fall silent: the client has to answer pings.
    pub fn connect_by_wire(&self) -> Client {
        self.connected(true)
    }

    fn connected(&self, by_wire: bool) -> Client {
        let (acts, acts_in) = mpsc::channel(QUEUE);
        let (answers, from_adapter) = mpsc::channel(QUEUE);
        let mut state = self.state();
        let id = state.next_client;
        state.next_client += 1;
        state.clients.insert(id, answers.clone());
        let heard = Arc::new(Notify::new());
        let present = Present { network: self.clone(), id };
        let connection = Connection { acts: acts_in, answers, present, heard: by_wire.then(|| heard.clone()) };
        let arrivals = state.arrivals.clone();
        drop(state);
        // An error means that the adapter has stopped. The connection is dropped, and the client notices.
        let _ = arrivals.send(connection);
        Client { to_adapter: Speech { network: self.clone(), acts, heard }, from_adapter }
    }

    /// Shows a delivery to everybody connected and waits for the first answer; `None` if nobody is there,
    /// or everybody has left without one.
    pub(crate) async fn show(&self, key: &DeliveryKey, frame: AdapterFrame) -> Option<Answer> {
        let (answer, answered) = oneshot::channel();
        let clients: Vec<_> = {
            let mut state = self.state();
            let clients: Vec<_> = state.clients.iter().map(|(id, client)| (*id, client.clone())).collect();
            state
                .waiting
                .insert(key.clone(), Waiting { answer, shown_to: clients.iter().map(|(id, _)| *id).collect() });
            clients
        };
        let _forget = Forget { network: self, key };
        if clients.is_empty() {
            return None;
        }
        for (id, client) in clients {
            if client.send_timeout(frame.clone(), SLOWEST_READER).await.is_err() {
                self.gone(id);
            }
        }
        mimi_adapter::failpoint!("loopback.shown");
        answered.await.ok()
    }

    /// Shows something that nobody confirms. Who does not read at the moment misses it.
    pub(crate) fn tell(&self, frame: &AdapterFrame) {
        for client in self.state().clients.values() {
            let _ = client.try_send(frame.clone());
        }
    }

    fn answer(&self, key: &DeliveryKey, answer: Answer) {
        if let Some(waiting) = self.state().waiting.remove(key) {
            let _ = waiting.answer.send(answer);
        }
    }

    fn gone(&self, client: u64) {
        let mut state = self.state();
        state.clients.remove(&client);
        state.waiting.retain(|_, waiting| {
            waiting.shown_to.retain(|id| *id != client);
            !waiting.shown_to.is_empty()
        });
    }
}

/// Takes a delivery off the list when it is answered or given up.
struct Forget<'a> {
    network: &'a Network,
    key: &'a DeliveryKey,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.network.state().waiting.remove(self.key);
    }
}

/// A client that is connected.
pub(crate) struct Present {
    network: Network,
    id: u64,
}

impl Drop for Present {
    fn drop(&mut self) {
        self.network.gone(self.id);
    }
}

impl Client {
    /// Says one thing; see [`Speech::send`].
    pub async fn send(&self, frame: ClientFrame) -> bool {
        self.to_adapter.send(frame).await
    }

    /// The next thing the adapter says, or `None` when it has hung up.
    pub async fn recv(&mut self) -> Option<AdapterFrame> {
        self.from_adapter.recv().await
    }
}

impl Speech {
    /// Hands a frame to the adapter; `false` if it has hung up. Waits while too much is unanswered, so
    /// whoever sends a lot has to receive at the same time.
    pub async fn send(&self, frame: ClientFrame) -> bool {
        self.heard.notify_one();
        let (act, event) = match frame {
            ClientFrame::Say { act, text, reply_to } => {
                (act, Event::Message { text: text.into(), in_reply_to: reply_to })
            }
            ClientFrame::Share { act, file, caption, reply_to } => {
                let file = files::shared(self.network.files().as_deref(), file);
                (act, Event::File { file, caption, in_reply_to: reply_to })
            }
            ClientFrame::Edit { act, replaces, text } => (act, Event::Edit { replaces, text: text.into() }),
            ClientFrame::Delete { act, replaces } => (act, Event::Delete { replaces }),
            ClientFrame::React { act, reply_to, emoji } => (act, Event::Reaction { in_reply_to: reply_to, emoji }),
            ClientFrame::Unlike { act, replaces } => (act, Event::Unlike { replaces }),
            ClientFrame::Name { act, name } => (act, Event::Name { name }),
            ClientFrame::Topic { act, topic } => (act, Event::Topic { topic }),
            ClientFrame::Oust { act, user, banned } => (act, Event::Oust { user, banned }),
            ClientFrame::Ask { act, words, manages } => (act, Event::Command { words, manages }),
            ClientFrame::Join(act) => (act, Event::Join),
            ClientFrame::Leave(act) => (act, Event::Leave),
            ClientFrame::Delivered { key, id } => return self.answer(&key, Answer::Delivered(id)),
            ClientFrame::NotNow { key } => return self.answer(&key, Answer::NotNow),
            ClientFrame::Never { key, reason } => return self.answer(&key, Answer::Never(reason)),
            ClientFrame::Receipt(receipt) => return self.acts.send(Said::Receipt(receipt.into())).await.is_ok(),
            ClientFrame::Pong {} => return !self.acts.is_closed(),
        };
        self.acts.send(Said::Act(act, event)).await.is_ok()
    }

    fn answer(&self, key: &DeliveryKey, answer: Answer) -> bool {
        self.network.answer(key, answer);
        !self.acts.is_closed()
    }
}
