//! A provider's own messenger: conversations, the people in them, and what they have been shown.
//!
//! It stands where a Matrix or XMPP server would, and like one it outlives the gateway: what the gateway has not
//! answered is said again on the next connection, in order, and a delivery that comes twice is confirmed twice
//! and shown once. So what a conversation looks like here is what people really got.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use mimi_adapter::{ConversationId, DeliveryKey, NativeMessageId, UserUri};
use mimi_loopback::{
    frame::{Act, AdapterFrame, ClientFrame, Deliver, Shown},
    network::{Client, Network},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// What has not happened after this long will not happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub struct Messenger(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Something is new for those who wait.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    conversations: BTreeMap<ConversationId, Vec<Line>>,
    /// Ghosts that are in a conversation, by name.
    ghosts: BTreeSet<(ConversationId, String)>,
    /// Who of ours is where, said anew on each connection.
    here: Vec<Act>,
    acts: u64,
    unanswered: BTreeMap<u64, ClientFrame>,
    /// Acts the gateway won't take, and its words.
    refused: HashMap<u64, String>,
    shown: HashMap<DeliveryKey, Option<NativeMessageId>>,
    /// Every attempt to deliver, in order: its words and its key.
    attempts: Vec<(String, DeliveryKey)>,
    moods: HashMap<String, Mood>,
    held: HashMap<String, Deliver>,
    line: Option<mpsc::UnboundedSender<ClientFrame>>,
}

/// How the messenger takes a delivery of certain words.
#[derive(Clone, Debug)]
pub enum Mood {
    /// Not this time, nor the next ones.
    NotNow(usize),
    Never(&'static str),
    /// It shows the words, and its confirmation is lost, once.
    Mute,
    /// It neither shows nor answers until [`Messenger::lets_pass`].
    Held,
}

/// One thing in a conversation.
#[derive(Clone, Debug)]
struct Line {
    id: NativeMessageId,
    who: String,
    what: Shown,
}

impl Messenger {
    pub fn new() -> Self {
        Self(Arc::new(Inner { state: Mutex::default(), changed: watch::Sender::new(()) }))
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
        self.change(|state| {
            for here in &state.here {
                let _ = line.send(ClientFrame::Join(here.clone()));
            }
            for frame in state.unanswered.values() {
                let _ = line.send(frame.clone());
            }
            state.line = Some(line);
        });
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
        self.change(|state| {
            state.acts += 1;
            let n = state.acts;
            let act = Act { id: NativeMessageId::new(format!("m{n}")), ..act };
            let frame = frame(act.clone());
            match shown(&frame) {
                Some(what) => {
                    let line = Line { id: act.id.clone(), who: act.from.to_string(), what };
                    state.conversations.entry(act.conversation).or_default().push(line);
                }
                None => {
                    state.here.retain(|here| (&here.from, &here.conversation) != (&act.from, &act.conversation));
                    if matches!(frame, ClientFrame::Join(_)) {
                        state.here.push(act);
                    }
                }
            }
            if let Some(line) = &state.line {
                let _ = line.send(frame.clone());
            }
            state.unanswered.insert(n, frame);
            n
        })
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
        let found = self.look(|state| {
            let lines = state.conversations.get(conversation)?;
            lines.iter().rev().find(|line| said(&line.what) == Some(words)).map(|line| line.id.clone())
        });
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
        self.change(|state| {
            state.moods.remove(words);
            let deliver = state.held.remove(words).expect("it is held");
            state.show(deliver, true);
        });
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

impl State {
    fn hear(&mut self, frame: AdapterFrame) {
        match frame {
            AdapterFrame::Accepted { id, .. } => drop(self.unanswered.remove(&number(&id))),
            AdapterFrame::Refused { retry: true, .. } => {}
            AdapterFrame::Refused { id, reason, .. } => {
                if self.unanswered.remove(&number(&id)).is_some() {
                    self.refused.insert(number(&id), reason);
                }
            }
            AdapterFrame::Unreadable { reason } => panic!("{reason}"),
            AdapterFrame::Deliver(deliver) => {
                let words = words(&deliver.event).to_owned();
                self.attempts.push((words.clone(), deliver.key.clone()));
                match self.moods.get_mut(&words) {
                    Some(Mood::NotNow(times)) if *times > 0 => {
                        *times -= 1;
                        self.answer(ClientFrame::NotNow { key: deliver.key });
                    }
                    Some(Mood::Never(reason)) => {
                        let reason = (*reason).to_owned();
                        self.answer(ClientFrame::Never { key: deliver.key, reason });
                    }
                    Some(Mood::Mute) => {
                        self.moods.remove(&words);
                        self.show(deliver, false);
                    }
                    Some(Mood::Held) => drop(self.held.insert(words, deliver)),
                    _ => self.show(deliver, true),
                }
            }
        }
    }

    fn show(&mut self, Deliver { key, conversation, from, event }: Deliver, confirm: bool) {
        let id = match self.shown.get(&key) {
            Some(id) => id.clone(),
            None => {
                let id = NativeMessageId::new(format!("n{}", self.shown.len()));
                let who = from.as_ref().map_or("the gateway", |person| &person.name).to_owned();
                let id = match event {
                    Shown::Join => {
                        self.ghosts.insert((conversation, who));
                        None
                    }
                    Shown::Leave => {
                        self.ghosts.remove(&(conversation, who));
                        None
                    }
                    what => {
                        let line = Line { id: id.clone(), who, what };
                        self.conversations.entry(conversation).or_default().push(line);
                        Some(id)
                    }
                };
                self.shown.insert(key.clone(), id.clone());
                id
            }
        };
        if confirm {
            self.answer(ClientFrame::Delivered { key, id });
        }
    }

    fn answer(&self, frame: ClientFrame) {
        if let Some(line) = &self.line {
            let _ = line.send(frame);
        }
    }

    fn transcript(&self, conversation: &ConversationId) -> Vec<String> {
        let lines = self.conversations.get(conversation).map_or(&[][..], Vec::as_slice);
        let of = |id: &NativeMessageId| {
            let line = lines.iter().find(|line| line.id == *id);
            line.and_then(|line| said(&line.what)).unwrap_or("something nobody has said here")
        };
        lines
            .iter()
            .map(|Line { who, what, .. }| match what {
                Shown::Message { text, reply_to: None } => format!("{who}: {}", text.text),
                Shown::Message { text, reply_to: Some(id) } => format!("{who} answers {:?}: {}", of(id), text.text),
                Shown::Edit { replaces, text } => format!("{who} changes {:?}: {}", of(replaces), text.text),
                Shown::Delete { replaces } => format!("{who} takes back {:?}", of(replaces)),
                Shown::Reaction { reply_to, emoji } => format!("{who} reacts to {:?}: {emoji}", of(reply_to)),
                Shown::Unlike { replaces } => format!("{who} takes back {}", of(replaces)),
                Shown::Notice { text, about, to } => {
                    let to = to.as_ref().map_or(String::new(), |to| format!(" to {to}"));
                    let about = about.as_ref().map_or(String::new(), |id| format!(" about {:?}", of(id)));
                    format!("{who}{to}{about}: {text}")
                }
                Shown::Join | Shown::Leave => unreachable!("who comes and goes is not said"),
            })
            .collect()
    }
}

/// The number in an act's name. What the adapter says by itself has none.
fn number(id: &NativeMessageId) -> u64 {
    id.as_str().trim_start_matches('m').parse().unwrap()
}

/// What an act looks like in the conversation in which it was done.
fn shown(frame: &ClientFrame) -> Option<Shown> {
    Some(match frame.clone() {
        ClientFrame::Say { text, reply_to, .. } => Shown::Message { text, reply_to },
        ClientFrame::Edit { replaces, text, .. } => Shown::Edit { replaces, text },
        ClientFrame::Delete { replaces, .. } => Shown::Delete { replaces },
        ClientFrame::React { reply_to, emoji, .. } => Shown::Reaction { reply_to, emoji },
        ClientFrame::Unlike { replaces, .. } => Shown::Unlike { replaces },
        _ => return None,
    })
}

/// The words by which people point at it.
fn said(what: &Shown) -> Option<&str> {
    match what {
        Shown::Message { text, .. } => Some(&text.text),
        Shown::Reaction { emoji, .. } => Some(emoji),
        _ => None,
    }
}

/// The words by which a scene names a delivery.
fn words(what: &Shown) -> &str {
    match what {
        Shown::Edit { text, .. } => &text.text,
        Shown::Notice { text, .. } => text,
        Shown::Join => "is here",
        Shown::Leave => "has left",
        what => said(what).unwrap_or_default(),
    }
}

/// The one-to-one conversation of one of ours with somebody from elsewhere.
pub fn direct(name: &str, with: &UserUri) -> ConversationId {
    ConversationId::new(format!("{name}+{with}"))
}
