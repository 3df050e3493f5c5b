//! One room: our occupants in it, and what they say.
//!
//! The gateway is in the room under two kinds of occupants. The *listener* is the gateway itself and the only
//! one whose copies are read. The *ghosts* speak, and the room's copy of what they said, seen by the
//! listener, is the proof that it was said. Nothing is said before the listener has caught up with the room
//! on the present connection ([`Room::live`]): until then nobody knows what the last connection got through.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use mimi_adapter::{CancellationToken, ConversationId, DeliveryKey, Ghost, NativeMessageId, UserUri};
use minidom::Element;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tracing::debug;
use xmpp_parsers::jid::{BareJid, FullJid, Jid};

use crate::{
    component::Link,
    from_native,
    id::{self, MessageId, Place, ReadUpTo, ghost_user},
    memory::{Memory, Voice},
    occupants::{Change, Marks, Occupants, Person, status},
    stanza::{self, ElementExt, StanzaError, ns},
    to_native,
};

mod seats;
mod speech;

/// The resource of all our occupants.
const RESOURCE: &str = "mimi";
/// How many messages are remembered, for what points at them.
const MEMORY: usize = 2_000;
/// How many messages may wait for the core where an archive keeps the rest.
const QUEUE: usize = 1_000;
/// How long a delivery waits for the listener to catch up before it is put off.
const CATCHING_UP: Duration = Duration::from_secs(5);

pub struct Room {
    pub jid: BareJid,
    pub listener: FullJid,
    /// Cancelled when the room is not linked any more, or the gateway stops.
    pub unlinked: CancellationToken,
    memory: Mutex<Memory>,
    state: Mutex<State>,
    /// The number of the link on which the listener has caught up.
    live: watch::Sender<Option<u64>>,
    /// The room's subject, once it has said it to the listener.
    subject: watch::Sender<Option<String>>,
    /// One of ours is out and should be in.
    unseated: Notify,
    /// One enters at a time, so that a ghost is not sent in twice.
    entering: tokio::sync::Mutex<()>,
    news: mpsc::UnboundedSender<News>,
    waiting: AtomicUsize,
    /// Messages were left to the archive.
    behind: AtomicBool,
    /// The listener has heard something since its seat was last in question.
    spoken: AtomicBool,
}

/// What the listener saw, in order, on its way to the core.
pub enum News {
    /// The listener is in. What came before is in the archive, what comes after follows.
    Entered {
        link: Link,
        people: Vec<Change>,
    },
    Person(Change),
    Message {
        message: Element,
        person: Person,
    },
    /// Somebody has taken a ghost out of the room.
    Ousted {
        ghost: UserUri,
        by: Person,
        banned: bool,
    },
    /// A moderator has taken back what somebody else had written (XEP-0425).
    Moderated {
        by: Person,
    },
    /// Somebody has written to the listener alone.
    Asked {
        message: Element,
        person: Person,
        manages: bool,
    },
    /// A ghost's own message went by.
    Ours {
        read: ReadUpTo,
    },
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Features {
    pub archive: bool,
    /// The room gives its messages ids and weeds out forged ones (XEP-0359).
    pub stanza_ids: bool,
    pub marks: Marks,
}

struct State {
    features: Features,
    occupants: Occupants,
    seats: HashMap<BareJid, Seat>,
    /// Who waits for the room's copy of a delivery.
    expected: HashMap<DeliveryKey, oneshot::Sender<()>>,
    /// Deliveries that were sent on this link and have neither come back nor been refused.
    unresolved: HashSet<DeliveryKey>,
}

/// The place of one of ours, under its nickname.
struct Seat {
    nick: String,
    taken: bool,
    /// Who waits to be let in.
    waiting: Option<oneshot::Sender<Result<(), StanzaError>>>,
}

impl Room {
    pub fn new(
        jid: BareJid,
        component: &BareJid,
        unlinked: CancellationToken,
    ) -> (Self, mpsc::UnboundedReceiver<News>) {
        let (news, receiver) = mpsc::unbounded_channel();
        let state = State {
            features: Features::default(),
            occupants: Occupants::new(component.clone()),
            seats: HashMap::new(),
            expected: HashMap::new(),
            unresolved: HashSet::new(),
        };
        let room = Self {
            jid,
            listener: component.with_resource_str(RESOURCE).expect("the resource is a constant"),
            unlinked,
            memory: Mutex::new(Memory::new(MEMORY)),
            state: Mutex::new(state),
            live: watch::Sender::new(None),
            subject: watch::Sender::new(None),
            unseated: Notify::new(),
            entering: tokio::sync::Mutex::new(()),
            news,
            waiting: AtomicUsize::new(0),
            behind: AtomicBool::new(false),
            spoken: AtomicBool::new(false),
        };
        (room, receiver)
    }

    pub fn conversation(&self) -> ConversationId {
        Place::Room(self.jid.clone()).conversation()
    }

    /// Presence from the room to one of ours.
    pub fn presence(&self, link: &Link, presence: &Element) {
        let (Some(to), Some(from)) = (presence.jid("to"), presence.jid("from")) else { return };
        let (who, kind) = (to.to_bare(), presence.attr("type"));
        let listener = who == self.listener.to_bare();
        if kind == Some("error") {
            if let Some(waiting) = self.state().seats.get_mut(&who).and_then(|seat| seat.waiting.take()) {
                let _ = waiting.send(Err(StanzaError::of(presence)));
            }
            return;
        }
        let mut state = self.state();
        let changes = if listener {
            let State { occupants, seats, .. } = &mut *state;
            occupants.see(presence, |nick| seats.values().any(|seat| seat.nick == nick))
        } else {
            Vec::new()
        };
        let was_in = state.seats.get(&self.listener.to_bare()).is_some_and(|seat| seat.taken);
        let nick = from.resource().map(|nick| nick.as_str().to_owned()).unwrap_or_default();
        let about_us = status(presence, "110") || state.seats.get(&who).is_some_and(|seat| seat.nick == nick);
        let Some(seat) = state.seats.get_mut(&who).filter(|_| about_us) else {
            drop(state);
            // Before the listener is in, people are counted all at once.
            if was_in {
                changes.into_iter().for_each(|change| self.tell(News::Person(change)));
            }
            return;
        };
        match kind {
            // An occupant that an earlier connection has left behind is not us.
            None if !seat.taken && seat.waiting.is_none() => {}
            None => {
                seat.nick = nick;
                seat.taken = true;
                let waiting = seat.waiting.take();
                if listener && !was_in {
                    let State { occupants, seats, .. } = &mut *state;
                    let people = occupants.settle(|nick| seats.values().any(|seat| seat.nick == nick));
                    self.tell(News::Entered { link: link.clone(), people });
                }
                if let Some(waiting) = waiting {
                    let _ = waiting.send(Ok(()));
                }
            }
            Some("unavailable") if status(presence, "303") => {} // A new nickname: presence under it follows.
            Some(_) => {
                debug!(room = %self.jid, %who, "Out of the room.");
                let by = ousted_by(presence).filter(|_| was_in && !listener).and_then(|nick| self.occupant(&nick));
                match (by, ghost_user(&to)) {
                    // The core decides whether the ghost comes back.
                    (Some(by), Some(ghost)) => {
                        seat.taken = false;
                        let (by, banned) = (state.occupants.writer(&by), status(presence, "301"));
                        self.tell(News::Ousted { ghost, by, banned });
                    }
                    _ => {
                        drop(state);
                        self.unseat(&who);
                    }
                }
            }
        }
    }

    /// A private message of an occupant: it is the gateway itself that they talk to.
    pub fn asked(&self, message: Element) {
        let Some(from) = message.jid("from") else { return };
        let Some(nick) = from.resource().filter(|_| stanza::body(&message).is_some()) else { return };
        let state = self.state();
        let (person, manages) = (state.occupants.writer(&from), state.occupants.moderates(nick.as_str()));
        drop(state);
        self.tell(News::Asked { message, person, manages });
    }

    /// A groupchat message to one of ours. Only the listener's copy counts, and only while it is in the room:
    /// what an occupant of an earlier connection is still told would overtake what has been missed.
    pub fn heard(&self, message: Element) {
        let (Some(to), Some(from)) = (message.jid("to"), message.jid("from")) else { return };
        if to == self.listener
            && from == self.jid
            && let Some(by) = from_native::moderated_by(&message)
        {
            let by = self.state().occupants.writer(&by);
            return self.tell(News::Moderated { by });
        }
        let state = self.state();
        if to != self.listener || !state.seats.get(&self.listener.to_bare()).is_some_and(|seat| seat.taken) {
            return;
        }
        self.spoken.store(true, Ordering::Relaxed);
        // The first is what the room has been about before we came (XEP-0045 §7.2.15), perhaps in the room's own name.
        if let Some(subject) = from_native::subject(&message)
            && self.subject.send_replace(Some(subject)).is_none()
        {
            return;
        }
        let Some(nick) = from.resource() else { return };
        let delayed = message.has_child("delay", ns::DELAY);
        let person = if delayed {
            state.occupants.writer_of_archived(&from, &message, state.features.marks)
        } else {
            state.occupants.writer(&from)
        };
        let mut seats = state.seats.iter();
        let ours = seats.find(|(_, seat)| seat.taken && seat.nick == nick.as_str()).map(|(jid, _)| jid.clone());
        let archive = state.features.archive;
        drop(state);
        let carried = from_native::carried_by_us(&message, &self.listener.to_bare());
        let carried = carried.filter(|(_, ghost)| ours.as_ref() == Some(ghost) || (delayed && person.may_be(ghost)));
        let read = self.read_with(&message);
        let stanza_id = self.stanza_id(&message);
        let in_archive = archive && stanza_id.is_some();
        if let Some((key, ghost)) = &carried {
            self.said(&message, key.clone(), ghost, stanza_id);
        }
        if archive && (self.behind.load(Ordering::Relaxed) || self.waiting.load(Ordering::Relaxed) >= QUEUE) {
            // The line is long, and the archive has what would join it now. Nothing may pass that.
            self.behind.store(true, Ordering::Relaxed);
        } else if carried.is_some() {
            if in_archive || !archive {
                self.tell(News::Ours { read });
            }
        } else if ours.is_none() {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            self.tell(News::Message { message, person });
        }
    }

    /// A ghost's message is in the room: `message` is the listener's copy or the archive's.
    pub fn said(&self, message: &Element, key: DeliveryKey, ghost: &BareJid, stanza_id: Option<String>) {
        let from = message.attr("from").unwrap_or_default();
        let name = from.split_once('/').map_or("", |(_, nick)| nick);
        let mut memory = self.memory();
        let id = match &stanza_id {
            Some(stanza_id) => MessageId::Ghost { key: key.clone(), stanza_id: stanza_id.clone() }.native(),
            None => NativeMessageId::new(key.as_str()),
        };
        memory.remember(message, &id, &to_native::ghost_voice(ghost, from, name));
        if let Some(stanza_id) = &stanza_id {
            memory.name(stanza_id, &id);
        }
        memory.set_delivered(key.clone(), stanza_id);
        drop(memory);
        let mut state = self.state();
        state.unresolved.remove(&key);
        if let Some(waiting) = state.expected.remove(&key) {
            let _ = waiting.send(());
        }
    }

    /// Where reading goes on after a live message. One that the archive does not have moves nothing there.
    pub fn read_with(&self, message: &Element) -> ReadUpTo {
        let delay = message.get_child("delay", ns::DELAY).and_then(|delay| delay.attr("stamp"));
        // Our clock may be ahead of the room's. What comes twice is recognised.
        let now = || stanza::stamp(SystemTime::now() - Duration::from_secs(60));
        let stamp = delay.map_or_else(now, str::to_owned);
        let archive_id = self.stanza_id(message);
        match self.memory().read.clone() {
            // Never before the room was linked.
            Some(before) => ReadUpTo { stamp: stamp.max(before.stamp), archive_id: archive_id.or(before.archive_id) },
            None => ReadUpTo { stamp, archive_id },
        }
    }

    fn stanza_id(&self, message: &Element) -> Option<String> {
        let gives_ids = self.state().features.stanza_ids;
        from_native::stanza_id(message, &self.jid).filter(|_| gives_ids).map(str::to_owned)
    }

    pub fn caught_up(&self, link: &Link) {
        self.live.send_replace(Some(link.number()));
    }

    pub fn message_done(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether messages were left to the archive. From now on they are not.
    pub fn was_behind(&self) -> bool {
        self.behind.swap(false, Ordering::Relaxed)
    }

    pub fn current_features(&self) -> Features {
        self.state().features
    }

    pub fn writer_of_archived(&self, from: &Jid, message: &Element) -> Person {
        let state = self.state();
        state.occupants.writer_of_archived(from, message, state.features.marks)
    }

    pub fn ghost_jid(&self, ghost: &Ghost) -> Option<FullJid> {
        id::ghost_jid(&ghost.user, self.listener.domain())?.with_resource_str(RESOURCE).ok()
    }

    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave_live(&self) {
        self.live.send_replace(None);
        self.subject.send_replace(None);
    }

    fn tell(&self, news: News) {
        // Without a worker the gateway is stopping, and the archive keeps the rest.
        let _ = self.news.send(news);
    }

    fn occupant(&self, nick: &str) -> Option<Jid> {
        self.jid.with_resource_str(nick).ok().map(Jid::from)
    }
}

/// Who has kicked or banned the occupant, as far as the room says that (XEP-0045 §8.2, §9.1).
fn ousted_by(presence: &Element) -> Option<String> {
    let ousted = status(presence, "307") || status(presence, "301");
    let item = presence.get_child("x", ns::MUC_USER).filter(|_| ousted)?.get_child("item", ns::MUC_USER)?;
    item.get_child("actor", ns::MUC_USER)?.attr("nick").map(str::to_owned)
}

pub fn voice(person: &Person, from: &Jid) -> Voice {
    let name = from.resource().map(|nick| nick.as_str().to_owned()).unwrap_or_default();
    Voice { author: person.user.to_string(), jid: from.to_string(), name }
}
