//! The other side of the plug: a core that remembers what it was offered and answers as it is told.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use mimi_adapter::{
    Accepted, Adapter, CancellationToken, Context, ConversationId, Core, Cursor, Delivered, Delivery, DeliveryKey,
    Domain, Event, Ghost, Inbound, Inbox, Links, NativeMessageId, Refusal, Speaker, Text, UserUri, async_trait,
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

/// Longer than anything here takes, so that a test which waits in vain fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What the core says to the next events.
#[derive(Clone, Debug)]
pub enum Answer {
    Yes,
    NotNow,
    Never(&'static str),
    /// Yes, as soon as there is a permit.
    Slowly(Arc<Semaphore>),
}

pub struct Recorder {
    links: watch::Sender<Links>,
    ghosts: Mutex<Vec<Ghost>>,
    answer: Mutex<Answer>,
    seen: Mutex<BTreeSet<(ConversationId, NativeMessageId)>>,
    accepted: mpsc::UnboundedSender<Inbound>,
}

#[async_trait]
impl Core for Recorder {
    async fn accept(&self, inbound: Inbound) -> Result<Accepted, Refusal> {
        let answer = self.answer.lock().unwrap().clone();
        match answer {
            Answer::Yes => {}
            Answer::Slowly(permits) => permits.acquire().await.unwrap().forget(),
            Answer::NotNow => return Err(Refusal::retry("the core is busy")),
            Answer::Never(reason) => return Err(Refusal::reject(reason)),
        }
        // Somebody's presence is reported again and again, and is not remembered.
        if !self.seen.lock().unwrap().insert((inbound.conversation.clone(), inbound.id.clone())) {
            return Ok(Accepted::Duplicate);
        }
        self.accepted.send(inbound).unwrap();
        Ok(Accepted::New)
    }

    fn links(&self) -> watch::Receiver<Links> {
        self.links.subscribe()
    }

    async fn ghosts(&self, _: &ConversationId) -> Result<Vec<Ghost>, Refusal> {
        Ok(self.ghosts.lock().unwrap().clone())
    }

    async fn cursor(&self, _: &ConversationId) -> Result<Option<Cursor>, Refusal> {
        Ok(None)
    }
}

impl Recorder {
    pub fn link(&self, room: &str) {
        self.links.send_modify(|links| Arc::make_mut(links).extend([ConversationId::new(room)]));
    }

    pub fn expects(&self, ghosts: &[Ghost]) {
        *self.ghosts.lock().unwrap() = ghosts.to_vec();
    }

    pub fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }
}

/// The adapter, built from a configuration and running.
pub struct Gateway {
    pub adapter: Arc<dyn Adapter>,
    pub core: Arc<Recorder>,
    accepted: mpsc::UnboundedReceiver<Inbound>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Gateway {
    pub fn start(config: &str) -> Self {
        let (accepted, receiver) = mpsc::unbounded_channel();
        let core = Arc::new(Recorder {
            links: watch::Sender::default(),
            ghosts: Mutex::default(),
            answer: Mutex::new(Answer::Yes),
            seen: Mutex::default(),
            accepted,
        });
        let context = Context { name: "matrix".into(), domain: Domain::parse("a.example").unwrap() };
        let adapter = (mimi_matrix::KIND.build)(config.parse().unwrap(), &context).unwrap();
        let stop = CancellationToken::new();
        let running = spawn(&adapter, &core, &stop);
        Self { adapter, core, accepted: receiver, stop, running }
    }

    /// Stops, and starts anew with nothing remembered but what the core knows.
    pub async fn restart(&mut self, config: &str) {
        self.stop().await;
        let context = Context { name: "matrix".into(), domain: Domain::parse("a.example").unwrap() };
        self.adapter = (mimi_matrix::KIND.build)(config.parse().unwrap(), &context).unwrap();
        self.stop = CancellationToken::new();
        self.running = spawn(&self.adapter, &self.core, &self.stop);
    }

    pub async fn stop(&mut self) {
        self.stop.cancel();
        timeout(PATIENCE, &mut self.running).await.expect("the adapter stops").unwrap();
    }

    /// The next event that the core has accepted.
    pub async fn accepted(&mut self) -> Inbound {
        timeout(PATIENCE, self.accepted.recv()).await.expect("an event is accepted").unwrap()
    }

    /// The same, if there is one already.
    pub fn accepted_so_far(&mut self) -> Option<Inbound> {
        self.accepted.try_recv().ok()
    }

    pub async fn deliver(
        &self,
        key: &str,
        room: &str,
        ghost: &Ghost,
        event: Event<NativeMessageId>,
    ) -> Result<Delivered, Refusal> {
        self.deliver_by(key, room, Speaker::Ghost(ghost.clone()), event).await
    }

    pub async fn deliver_by(
        &self,
        key: &str,
        room: &str,
        speaker: Speaker,
        event: Event<NativeMessageId>,
    ) -> Result<Delivered, Refusal> {
        let delivery = Delivery {
            key: DeliveryKey::new(key),
            conversation: ConversationId::new(room),
            speaker,
            accepted: std::time::SystemTime::UNIX_EPOCH,
            event,
        };
        self.adapter.deliver(&delivery).await
    }
}

fn spawn(adapter: &Arc<dyn Adapter>, core: &Arc<Recorder>, stop: &CancellationToken) -> JoinHandle<()> {
    let (adapter, inbox, stop) = (adapter.clone(), Inbox::new(core.clone()), stop.clone());
    tokio::spawn(async move { adapter.run(inbox, stop).await.unwrap() })
}

pub fn ghost(uri: &str) -> Ghost {
    Ghost::new(UserUri::parse(uri).unwrap())
}

pub fn text(text: &str) -> Event<NativeMessageId> {
    Event::Message { text: Text::Plain(text.into()), in_reply_to: None }
}

/// A port of this machine that nobody listens on.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
