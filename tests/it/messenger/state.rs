//! What a messenger remembers.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mimi_adapter::{ConversationId, DeliveryKey, Ghost, NativeMessageId};
use mimi_loopback::frame::{Act, AdapterFrame, ClientFrame, Deliver, Person, Received, Shown};
use tokio::sync::mpsc;

#[derive(Default)]
pub struct State {
    conversations: BTreeMap<ConversationId, Vec<Line>>,
    /// Ghosts that are in a conversation, by name.
    pub ghosts: BTreeSet<(ConversationId, String)>,
    /// Who of ours is where, said anew on each connection.
    here: Vec<Act>,
    /// What conversations are called, and are about.
    described: BTreeMap<(ConversationId, &'static str), String>,
    acts: u64,
    pub unanswered: BTreeMap<u64, ClientFrame>,
    answered: HashMap<u64, ClientFrame>,
    /// Acts the gateway won't take, and its words.
    pub refused: HashMap<u64, String>,
    shown: HashMap<DeliveryKey, Option<NativeMessageId>>,
    /// Every attempt to deliver, in order: its words and its key.
    pub attempts: Vec<(String, DeliveryKey)>,
    pub moods: HashMap<String, Mood>,
    held: HashMap<String, Deliver>,
    receipts: Vec<Received<Person>>,
    pub line: Option<mpsc::UnboundedSender<ClientFrame>>,
}

/// How the messenger takes a delivery of certain words.
#[derive(Clone, Debug)]
pub enum Mood {
    /// Not this time, nor the next ones.
    NotNow(usize),
    Never(&'static str),
    /// It shows the words, and its confirmation is lost, once.
    Mute,
    /// It shows the words, and confirms them only when `lets_pass`.
    Late,
    /// It neither shows nor answers until `lets_pass`.
    Held,
}

/// One thing in a conversation.
#[derive(Clone, Debug)]
struct Line {
    id: NativeMessageId,
    who: String,
    what: Shown,
    /// What the thread began with in which it stands.
    thread: Option<NativeMessageId>,
}

impl State {
    /// A gateway is there: who is where, and what nobody has answered, is said to it.
    pub fn connect(&mut self, line: mpsc::UnboundedSender<ClientFrame>) {
        for here in &self.here {
            let _ = line.send(ClientFrame::Join(here.clone()));
        }
        for frame in self.unanswered.values() {
            let _ = line.send(frame.clone());
        }
        self.line = Some(line);
    }

    pub fn act(&mut self, act: Act, frame: impl FnOnce(Act) -> ClientFrame) -> u64 {
        self.acts += 1;
        let n = self.acts;
        let act = Act { id: NativeMessageId::new(format!("m{n}")), ..act };
        let frame = frame(act.clone());
        match shown(&frame) {
            Some(what) => {
                if let Some((matter, text)) = described(&what) {
                    self.described.insert((act.conversation.clone(), matter), text.to_owned());
                }
                let line = Line { id: act.id.clone(), who: act.from.to_string(), what, thread: act.thread };
                self.conversations.entry(act.conversation).or_default().push(line);
            }
            None => match &frame {
                // The messenger's own people are not shown it.
                ClientFrame::Ask { .. } => {}
                ClientFrame::Oust { user, .. } => {
                    self.ghosts.remove(&(act.conversation, Ghost::new(user.clone()).name));
                }
                frame => {
                    self.here.retain(|here| (&here.from, &here.conversation) != (&act.from, &act.conversation));
                    if matches!(frame, ClientFrame::Join(_)) {
                        self.here.push(act);
                    }
                }
            },
        }
        self.say(n, frame);
        n
    }

    pub fn repeat(&mut self, act: u64) {
        let frame = self.answered[&act].clone();
        self.say(act, frame);
    }

    fn say(&mut self, n: u64, frame: ClientFrame) {
        if let Some(line) = &self.line {
            let _ = line.send(frame.clone());
        }
        self.unanswered.insert(n, frame);
    }

    pub fn say_aside(&self, frame: ClientFrame) {
        if let Some(line) = &self.line {
            let _ = line.send(frame);
        }
    }

    /// Who has got or read what, in words.
    pub fn receipts(&self, conversation: &ConversationId) -> Vec<String> {
        let lines = self.conversations.get(conversation).map_or(&[][..], Vec::as_slice);
        let here = self.receipts.iter().filter(|receipt| receipt.conversation == *conversation);
        here.map(|Received { from, up_to, read, .. }| {
            let line = lines.iter().find(|line| line.id == *up_to).and_then(|line| said(&line.what));
            let has = if *read { "has read" } else { "has got" };
            format!("{} {has} {:?}", from.name, line.unwrap_or("something nobody has said here"))
        })
        .collect()
    }

    pub fn hear(&mut self, frame: AdapterFrame) {
        match frame {
            AdapterFrame::Accepted { id, .. } => {
                if let Some(frame) = self.unanswered.remove(&number(&id)) {
                    self.answered.insert(number(&id), frame);
                }
            }
            AdapterFrame::Refused { retry: true, .. } => {}
            AdapterFrame::Refused { id, reason, .. } => {
                if self.unanswered.remove(&number(&id)).is_some() {
                    self.refused.insert(number(&id), reason);
                }
            }
            AdapterFrame::Unreadable { reason } => panic!("{reason}"),
            // Nobody is asked in one process.
            AdapterFrame::Ping {} => {}
            AdapterFrame::Receipt(receipt) => self.receipts.push(receipt),
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
                        self.show(*deliver, false);
                    }
                    Some(Mood::Late) => {
                        self.held.insert(words, *deliver.clone());
                        self.show(*deliver, false);
                    }
                    Some(Mood::Held) => drop(self.held.insert(words, *deliver)),
                    _ => self.show(*deliver, true),
                }
            }
        }
    }

    fn show(&mut self, Deliver { key, conversation, from, event, thread }: Deliver, confirm: bool) {
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
                    what if self.is_so_already(&conversation, &what) => None,
                    what => {
                        let line = Line { id: id.clone(), who, what, thread };
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

    /// As a network does it: what a conversation is called already is no news.
    fn is_so_already(&mut self, conversation: &ConversationId, what: &Shown) -> bool {
        let Some((matter, text)) = described(what) else { return false };
        self.described.insert((conversation.clone(), matter), text.to_owned()).as_deref() == Some(text)
    }

    pub fn description(&self, conversation: &ConversationId, matter: &'static str) -> Option<String> {
        self.described.get(&(conversation.clone(), matter)).cloned()
    }

    fn answer(&self, frame: ClientFrame) {
        if let Some(line) = &self.line {
            let _ = line.send(frame);
        }
    }

    pub fn transcript(&self, conversation: &ConversationId) -> Vec<String> {
        let lines = self.conversations.get(conversation).map_or(&[][..], Vec::as_slice);
        let of = |id: &NativeMessageId| {
            let line = lines.iter().find(|line| line.id == *id);
            line.and_then(|line| said(&line.what)).unwrap_or("something nobody has said here")
        };
        let line = |Line { who, what, thread, .. }: &Line| {
            let who = match thread {
                Some(root) => format!("{who} under {:?}", of(root)),
                None => who.clone(),
            };
            match what {
                Shown::Message { text, reply_to: None } => format!("{who}: {}", text.text),
                Shown::Message { text, reply_to: Some(id) } => format!("{who} answers {:?}: {}", of(id), text.text),
                Shown::File { file, caption, reply_to } => {
                    let to = reply_to.as_ref().map_or(String::new(), |id| format!(" in answer to {:?}", of(id)));
                    let caption = caption.as_ref().map_or(String::new(), |caption| format!(": {caption}"));
                    format!("{who} shares {} ({}){to}{caption}", file.name, file.media_type)
                }
                Shown::Edit { replaces, text } => format!("{who} changes {:?}: {}", of(replaces), text.text),
                Shown::Delete { replaces } => format!("{who} takes back {:?}", of(replaces)),
                Shown::Reaction { reply_to, emoji } => format!("{who} reacts to {:?}: {emoji}", of(reply_to)),
                Shown::Unlike { replaces } => format!("{who} takes back {}", of(replaces)),
                Shown::Notice { text, about, to } => {
                    let to = to.as_ref().map_or(String::new(), |to| format!(" to {to}"));
                    let about = about.as_ref().map_or(String::new(), |id| format!(" about {:?}", of(id)));
                    format!("{who}{to}{about}: {text}")
                }
                Shown::Name { name } => format!("{who} calls it {name}"),
                Shown::Topic { topic } => format!("{who} sets the topic: {topic}"),
                Shown::Join | Shown::Leave => unreachable!("who comes and goes is not said"),
            }
        };
        lines.iter().map(line).collect()
    }

    /// What a file is called in the shared directory.
    pub fn place_of(&self, conversation: &ConversationId, name: &str) -> Option<String> {
        let lines = self.conversations.get(conversation)?;
        lines.iter().rev().find_map(|line| match &line.what {
            Shown::File { file, .. } if file.name == name => Some(file.at.clone()),
            _ => None,
        })
    }

    pub fn let_pass(&mut self, words: &str) {
        self.moods.remove(words);
        let deliver = self.held.remove(words).expect("it is held");
        self.show(deliver, true);
    }

    /// The last thing with these words.
    pub fn find(&self, conversation: &ConversationId, words: &str) -> Option<NativeMessageId> {
        let lines = self.conversations.get(conversation)?;
        lines.iter().rev().find(|line| said(&line.what) == Some(words)).map(|line| line.id.clone())
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
        ClientFrame::Share { file, caption, reply_to, .. } => Shown::File { file, caption, reply_to },
        ClientFrame::Edit { replaces, text, .. } => Shown::Edit { replaces, text },
        ClientFrame::Delete { replaces, .. } => Shown::Delete { replaces },
        ClientFrame::React { reply_to, emoji, .. } => Shown::Reaction { reply_to, emoji },
        ClientFrame::Unlike { replaces, .. } => Shown::Unlike { replaces },
        ClientFrame::Name { name, .. } => Shown::Name { name },
        ClientFrame::Topic { topic, .. } => Shown::Topic { topic },
        _ => return None,
    })
}

fn described(what: &Shown) -> Option<(&'static str, &str)> {
    match what {
        Shown::Name { name } => Some(("name", name)),
        Shown::Topic { topic } => Some(("topic", topic)),
        _ => None,
    }
}

/// The words by which people point at it.
fn said(what: &Shown) -> Option<&str> {
    match what {
        Shown::Message { text, .. } => Some(&text.text),
        Shown::File { file, .. } => Some(&file.name),
        Shown::Reaction { emoji, .. } => Some(emoji),
        _ => None,
    }
}

/// The words by which a scene names a delivery.
fn words(what: &Shown) -> &str {
    match what {
        Shown::Edit { text, .. } => &text.text,
        Shown::Notice { text, .. } => text,
        Shown::Name { name } => name,
        Shown::Topic { topic } => topic,
        Shown::Join => "is here",
        Shown::Leave => "has left",
        what => said(what).unwrap_or_default(),
    }
}
