//! A provider's own messenger: conversations, the people in them, and what they have been shown.
//!
//! It stands where a Matrix or XMPP server would, and like one it outlives the gateway: what the gateway has not
//! answered is said again on the next connection, in order, and a delivery that comes twice is confirmed twice
//! and shown once. So what a conversation looks like here is what people really got.

mod state;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use mimi_adapter::{ConversationId, NativeMessageId, UserUri};
use mimi_loopback::{
    frame::{Act, ClientFrame},
    network::{Client, Network},
};
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

pub use self::state::Mood;
use self::state::State;

/// What has not happened after this long will not happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub struct Messenger(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Something is new for those who wait.
    changed: watch::Sender<()>,
    /// What people share lies here.
    files: TempDir,
}

impl Messenger {
    pub fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        Self(Arc::new(Inner { state: Mutex::default(), changed: watch::Sender::new(()), files }))
    }

    pub fn files(&self) -> &Path {
        self.0.files.path()
    }

    /// The octets of the file that is called so in a conversation.
    pub fn octets(&self, conversation: &ConversationId, name: &str) -> Vec<u8> {
        let at = self.look(|state| state.place_of(conversation, name));
        std::fs::read(self.files().join(at.unwrap_or_else(|| panic!("nobody has shared {name}")))).unwrap()
    }

    /// Connects to a gateway that has just started. The task ends with the gateway.
    pub fn connect(&self, network: &Network) -> JoinHandle<()> {
        let Client { to_adapter, mut from_adapter } = network.connect();
        let (line, mut frames) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(frame) = frames.recv().await {
                if !to_adapter.send(frame).await {
                    return;
                }
            }
        });
        self.change(|state| state.connect(line));
        let messenger = self.clone();
        tokio::spawn(async move {
            while let Some(frame) = from_adapter.recv().await {
                messenger.change(|state| state.hear(frame));
            }
            messenger.change(|state| state.line = None);
        })
    }

    /// Somebody does something. Answers the act's number.
    pub fn act(&self, act: Act, frame: impl FnOnce(Act) -> ClientFrame) -> u64 {
        self.change(|state| state.act(act, frame))
    }

    /// The messenger has lost the gateway's answer to an act, and hands it in again.
    pub fn repeats(&self, act: u64) {
        self.change(|state| state.repeat(act));
    }

    /// Waits until the gateway has taken responsibility for an act, or has refused it in words.
    pub async fn answered(&self, act: u64) -> Result<(), String> {
        let answer = self.until(
            |state| (!state.unanswered.contains_key(&act)).then(|| state.refused.get(&act).cloned()),
            |state| format!("the gateway has not answered {:?}", state.unanswered.get(&act)),
        );
        answer.await.map_or(Ok(()), Err)
    }

    /// What a message, or a reaction, with these words is called.
    pub fn find(&self, conversation: &ConversationId, words: &str) -> NativeMessageId {
        let found = self.look(|state| state.find(conversation, words));
        found.unwrap_or_else(|| panic!("nobody has said {words:?} in {conversation}:\n{}", self.page(conversation)))
    }

    /// The conversation as people read it, one line for each thing somebody has done in it.
    pub fn transcript(&self, conversation: &ConversationId) -> Vec<String> {
        self.look(|state| state.transcript(conversation))
    }

    /// Waits until a conversation looks as `check` wants it, which is called `wanted` if that doesn't happen.
    pub async fn shows<T>(
        &self,
        conversation: &ConversationId,
        wanted: &str,
        check: impl Fn(&[String]) -> Option<T>,
    ) -> T {
        let all = |state: &State| state.transcript(conversation);
        self.until(
            |state| check(&all(state)),
            |state| format!("wanted in {conversation}: {wanted}\nthere is:\n{}", all(state).join("\n")),
        )
        .await
    }

    /// Waits until these ghosts, and no others, are in a conversation.
    pub async fn has_ghosts(&self, conversation: &ConversationId, names: &[&str]) {
        let names: BTreeSet<_> = names.iter().map(|name| (conversation.clone(), (*name).to_owned())).collect();
        let there = |state: &State| -> BTreeSet<_> {
            state.ghosts.iter().filter(|(of, _)| of == conversation).cloned().collect()
        };
        self.until(
            |state| (names == there(state)).then_some(()),
            |state| format!("{names:?} should be there, and there are {:?}", there(state)),
        )
        .await;
    }

    /// Says what nobody answers.
    pub fn says_aside(&self, frame: ClientFrame) {
        self.change(|state| state.say_aside(frame));
    }

    /// Waits until as many receipts as these have come to a conversation, and they have to be these.
    pub async fn has_receipts(&self, conversation: &ConversationId, wanted: &[&str]) {
        let there = |state: &State| state.receipts(conversation);
        let enough = |state: &State| (there(state).len() >= wanted.len()).then(|| there(state));
        let have = self.until(enough, |state| format!("wanted {wanted:?}, and there are {:?}", there(state))).await;
        assert_eq!(have, wanted);
    }

    /// Waits until a conversation has this `name` or `topic`.
    pub async fn is_described(&self, conversation: &ConversationId, matter: &'static str, text: &str) {
        self.until(
            |state| (state.description(conversation, matter).as_deref() == Some(text)).then_some(()),
            |state| format!("the {matter} should be {text:?}, and is {:?}", state.description(conversation, matter)),
        )
        .await;
    }

    /// From now on deliveries of these words are taken so.
    pub fn when(&self, words: &str, mood: Mood) {
        self.change(|state| state.moods.insert(words.to_owned(), mood));
    }

    /// How often the gateway has tried to deliver these words.
    pub fn attempts(&self, words: &str) -> usize {
        self.look(|state| state.attempts.iter().filter(|(of, _)| of == words).count())
    }

    /// Waits for the first attempt to deliver these words.
    pub async fn is_offered(&self, words: &str) {
        self.until(
            |state| state.attempts.iter().any(|(of, _)| of == words).then_some(()),
            |_| format!("{words:?} is not delivered"),
        )
        .await;
    }

    /// What was held is shown and confirmed now.
    pub fn lets_pass(&self, words: &str) {
        self.change(|state| state.let_pass(words));
    }

    fn page(&self, conversation: &ConversationId) -> String {
        self.transcript(conversation).join("\n")
    }

    fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.state.lock().unwrap())
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let done = change(&mut self.0.state.lock().unwrap());
        self.0.changed.send_replace(());
        done
    }

    /// Waits until `check` finds what it looks for, and panics with `otherwise` when patience ends.
    async fn until<T>(&self, check: impl Fn(&State) -> Option<T>, otherwise: impl FnOnce(&State) -> String) -> T {
        let mut changed = self.0.changed.subscribe();
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(found) = self.look(&check) {
                    return found;
                }
                changed.changed().await.expect("the messenger is still there");
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => panic!("{}", self.look(otherwise)),
        }
    }
}

/// The one-to-one conversation of one of ours with somebody from elsewhere.
pub fn direct(name: &str, with: &UserUri) -> ConversationId {
    ConversationId::new(format!("{name}+{with}"))
}
