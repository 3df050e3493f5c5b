//! The gateway's core as the adapter sees it, recording, and the adapter running against it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use mimi_adapter::{
    Accepted, Adapter, Canary, CancellationToken, Context, ConversationId, Core, Cursor, Delivered, Delivery,
    DeliveryKey, Domain, Event, Ghost, Inbound, Inbox, Links, NativeMessageId, NativeUserId, Receipt, Refusal, Speaker,
    Text, UserUri, async_trait, toml,
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::server::{Prosody, SECRET};

const PATIENCE: Duration = Duration::from_secs(60);

/// Outlives the adapters that run against it, like a database.
pub struct Recorder {
    links: watch::Sender<Links>,
    ghosts: Mutex<Vec<Ghost>>,
    accepted: watch::Sender<Vec<Inbound>>,
    cursors: Mutex<BTreeMap<ConversationId, Cursor>>,
    /// What to answer instead of yes, to events other than joins and leaves.
    answers: Mutex<VecDeque<Refusal>>,
    pub offers: watch::Sender<usize>,
    pub receipts: watch::Sender<Vec<Receipt<NativeUserId>>>,
}

#[async_trait]
impl Core for Recorder {
    async fn accept(&self, inbound: Inbound) -> Result<Accepted, Refusal> {
        let person = matches!(inbound.event, Event::Join | Event::Leave);
        if !person {
            self.offers.send_modify(|offers| *offers += 1);
            if let Some(answer) = self.answers.lock().unwrap().pop_front() {
                return Err(answer);
            }
        }
        if let Some(cursor) = &inbound.cursor {
            self.cursors.lock().unwrap().insert(inbound.conversation.clone(), cursor.clone());
        }
        let same = |other: &Inbound| other.conversation == inbound.conversation && other.id == inbound.id;
        if !person && self.accepted.borrow().iter().any(same) {
            return Ok(Accepted::Duplicate);
        }
        self.accepted.send_modify(|accepted| accepted.push(inbound));
        Ok(Accepted::New)
    }

    fn links(&self) -> watch::Receiver<Links> {
        self.links.subscribe()
    }

    async fn ghosts(&self, _: &ConversationId) -> Result<Vec<Ghost>, Refusal> {
        Ok(self.ghosts.lock().unwrap().clone())
    }

    async fn cursor(&self, conversation: &ConversationId) -> Result<Option<Cursor>, Refusal> {
        Ok(self.cursors.lock().unwrap().get(conversation).cloned())
    }

    fn receipt(&self, receipt: Receipt<NativeUserId>) {
        self.receipts.send_modify(|receipts| receipts.push(receipt));
    }

    async fn members(&self, _: &ConversationId) -> Result<Vec<NativeUserId>, Refusal> {
        unreachable!("the server knows who is there")
    }

    async fn not_delivered(&self, _: &ConversationId, _: &NativeMessageId, _: &str) -> Result<(), Refusal> {
        unreachable!("the server confirms what it has shown")
    }
}

impl Recorder {
    pub fn linking(rooms: &[&str]) -> Arc<Self> {
        let links: BTreeSet<_> = rooms.iter().map(|room| ConversationId::new(*room)).collect();
        Arc::new(Self {
            links: watch::Sender::new(Arc::new(links)),
            ghosts: Mutex::new(vec![alice()]),
            accepted: watch::Sender::new(Vec::new()),
            cursors: Mutex::default(),
            answers: Mutex::default(),
            offers: watch::Sender::new(0),
            receipts: watch::Sender::default(),
        })
    }

    pub fn link(&self, rooms: &[&str]) {
        self.links.send_replace(Arc::new(rooms.iter().map(|room| ConversationId::new(*room)).collect()));
    }

    pub fn will_answer(&self, answers: impl IntoIterator<Item = Refusal>) {
        self.answers.lock().unwrap().extend(answers);
    }

    /// The accepted events for which `is` holds, when there are `count` of them.
    pub async fn accepts(&self, count: usize, is: impl Fn(&Inbound) -> bool) -> Vec<Inbound> {
        let mut accepted = self.accepted.subscribe();
        let enough = accepted.wait_for(|all| all.iter().filter(|inbound| is(inbound)).count() >= count);
        match timeout(PATIENCE, enough).await {
            Ok(all) => all.unwrap().iter().filter(|inbound| is(inbound)).cloned().collect(),
            Err(_) => panic!("the core has accepted only {:#?}", *self.accepted.borrow()),
        }
    }

    /// The accepted message with this text.
    pub async fn accepts_text(&self, text: &str) -> Inbound {
        let mut found = self.accepts(1, |inbound| said(inbound) == Some(text)).await;
        assert_eq!(found.len(), 1, "{text:?} was accepted more than once");
        found.remove(0)
    }

    /// The texts of all messages so far, in the order they were accepted.
    pub fn texts(&self) -> Vec<String> {
        self.accepted.borrow().iter().filter_map(|inbound| said(inbound).map(str::to_owned)).collect()
    }

    pub async fn is_offered(&self, times: usize) {
        let mut offers = self.offers.subscribe();
        timeout(PATIENCE, offers.wait_for(|offers| *offers >= times)).await.expect("the event is not offered").unwrap();
    }
}

pub fn said(inbound: &Inbound) -> Option<&str> {
    match &inbound.event {
        Event::Message { text, .. } => Some(text.as_str()),
        _ => None,
    }
}

/// An adapter, running.
pub struct Gateway {
    pub adapter: Arc<dyn Adapter>,
    stop: CancellationToken,
    running: Option<JoinHandle<()>>,
}

impl Gateway {
    pub fn start(prosody: &Prosody, core: &Arc<Recorder>) -> Self {
        Self::start_at(prosody.components, core)
    }

    pub fn start_at(port: u16, core: &Arc<Recorder>) -> Self {
        let adapter = adapter(port, SECRET);
        let stop = CancellationToken::new();
        let (running, inbox, stopped) = (adapter.clone(), Inbox::new(core.clone()), stop.clone());
        let running = tokio::spawn(async move { running.run(inbox, stopped).await.unwrap() });
        Self { adapter, stop, running: Some(running) }
    }

    pub async fn stop(mut self) {
        self.stop.cancel();
        let running = self.running.take().unwrap();
        timeout(Duration::from_secs(20), running).await.expect("the adapter does not stop").unwrap();
    }

    /// Ends it in the middle of whatever it does, as a power cut would.
    pub async fn crash(mut self) {
        let running = self.running.take().unwrap();
        running.abort();
        let _ = running.await;
    }

    /// Delivers as the core does: again, while the answer is "not now".
    pub async fn delivers(&self, delivery: &Delivery) -> Result<Delivered, String> {
        let trying = async {
            loop {
                match self.adapter.deliver(delivery).await {
                    Ok(delivered) => return Ok(delivered),
                    Err(Refusal::Reject { reason }) => return Err(reason),
                    Err(Refusal::Retry { .. }) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        };
        timeout(PATIENCE, trying).await.expect("the adapter always says: not now")
    }

    /// Alice says `text`, and the adapter says that it has arrived.
    pub async fn alice_says(&self, conversation: &str, key: &str, text: &str) -> Delivered {
        self.delivers(&by_alice(conversation, key, message(text))).await.unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }
}

/// A rhythm for tests: whoever waits for a canary to stay out should not wait long.
const OFTEN: Canary = Canary { every: Duration::from_secs(1), patience: Duration::from_secs(5) };

/// Waits until the adapter says this of its session.
pub async fn is(adapter: &dyn Adapter, word: &str) {
    let mut session = adapter.session();
    let there = session.wait_for(|session| session.word() == word);
    let there = timeout(PATIENCE, there).await;
    there.unwrap_or_else(|_| panic!("the adapter is {}, not {word}", *adapter.session().borrow())).unwrap();
}

pub fn adapter(port: u16, secret: &str) -> Arc<dyn Adapter> {
    let table = format!(
        "component = \"mimi.b.example\"\nserver = \"127.0.0.1:{port}\"\nsecret = \"{secret}\"\ndomains = [\"b.example\"]"
    );
    let context = Context { name: "xmpp".into(), domain: Domain::parse("b.example").unwrap() };
    let table: toml::Table = table.parse().unwrap();
    mimi_xmpp::build_with(table, &context, OFTEN).unwrap_or_else(|problems| panic!("{problems:?}"))
}

pub fn alice() -> Ghost {
    Ghost::new(UserUri::parse("mimi://a.example/u/alice").unwrap())
}

pub fn by_alice(conversation: &str, key: &str, event: Event<NativeMessageId>) -> Delivery {
    Delivery {
        key: DeliveryKey::new(key),
        conversation: ConversationId::new(conversation),
        speaker: Speaker::Ghost(alice()),
        accepted: SystemTime::now(),
        event,
        thread: None,
    }
}

pub fn message(text: &str) -> Event<NativeMessageId> {
    Event::Message { text: Text::Plain(text.into()), in_reply_to: None }
}
