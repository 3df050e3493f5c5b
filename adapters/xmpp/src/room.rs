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
    time::Duration,
};

use mimi_adapter::{
    CancellationToken, ConversationId, Delivered, Delivery, DeliveryKey, Event, Ghost, NativeMessageId, NativeUserId,
    Refusal, Speaker,
};
use minidom::Element;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::timeout,
};
use tracing::{debug, info, warn};
use xmpp_parsers::jid::{BareJid, FullJid, Jid, ResourcePart};

use crate::{
    component::{Failure, Link, PATIENCE},
    from_native,
    id::{self, ReadUpTo},
    memory::{Memory, Voice},
    occupants::{Change, Marks, Occupants, Person, status},
    stanza::{self, ElementExt, StanzaError, ns},
    to_native::{self, Route},
};

/// The resource of all our occupants.
const RESOURCE: &str = "mimi";
const LISTENER: &str = "mimi-gateway";
/// How many messages are remembered, for what points at them.
const MEMORY: usize = 2_000;
/// How many messages may wait for the core where an archive keeps the rest.
const QUEUE: usize = 1_000;
/// How many other nicknames are tried when somebody has ours.
const NICKNAMES: usize = 9;
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
    /// One of ours is out and should be in.
    unseated: Notify,
    /// One enters at a time, so that a ghost is not sent in twice.
    entering: tokio::sync::Mutex<()>,
    news: mpsc::UnboundedSender<News>,
    waiting: AtomicUsize,
    /// Messages were left to the archive.
    behind: AtomicBool,
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
            unseated: Notify::new(),
            entering: tokio::sync::Mutex::new(()),
            news,
            waiting: AtomicUsize::new(0),
            behind: AtomicBool::new(false),
        };
        (room, receiver)
    }

    pub fn conversation(&self) -> ConversationId {
        id::Place::Room(self.jid.clone()).conversation()
    }

    // ---- Being in the room ----

    /// Where reading goes on if nothing has been read in this process. Called before the listener enters, since
    /// a room without an archive is asked at the door to repeat what was missed.
    pub fn resume(&self, read: Option<ReadUpTo>) {
        let mut memory = self.memory();
        memory.read = memory.read.take().or(read);
    }

    /// Sees to it that the listener is in, and then `ghosts`. Errors leave the rest to the next try.
    pub async fn settle_in(&self, link: &Link, ghosts: &[Ghost]) -> Result<(), Failure> {
        // Our nicknames are ours before the first presence is read: in an anonymous room nothing else tells a
        // ghost that an earlier connection has left behind.
        for (jid, ghost) in ghosts.iter().filter_map(|ghost| Some((self.ghost_jid(ghost)?, ghost))) {
            let seat = Seat { nick: nickname(&ghost.name, &jid, 1), taken: false, waiting: None };
            self.state().seats.entry(jid.to_bare()).or_insert(seat);
        }
        if !self.is_in(&self.listener.to_bare()) {
            self.leave_live();
            let features = self.features(link).await?;
            self.state().features = features;
            self.enter(link, &self.listener, LISTENER).await?;
            info!(room = %self.jid, ?features, "In the room.");
        }
        let mut failed = None;
        for ghost in ghosts {
            if let Some(jid) = self.ghost_jid(ghost)
                && let Err(failure) = self.enter(link, &jid, &ghost.name).await
            {
                warn!(room = %self.jid, ghost = %jid, %failure, "A ghost is not let in.");
                failed = Some(failure);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Returns when one of ours is out, or after `at_most`.
    pub async fn until_unseated(&self, at_most: Duration) {
        let _ = timeout(at_most, self.unseated.notified()).await;
    }

    /// XEP-0410: are we still in? A room that restarted says nothing to its former occupants.
    pub async fn check_seat(&self, link: &Link) {
        let Some(nick) = self.state().seats.get(&self.listener.to_bare()).map(|seat| seat.nick.clone()) else { return };
        let Some(occupant) = self.occupant(&nick) else { return };
        let ping = stanza::element("ping", ns::PING);
        match link.ask("get", &self.listener, &occupant, ping).await {
            Err(Failure::Refused { error, .. })
                if !["service-unavailable", "feature-not-implemented", "item-not-found"]
                    .contains(&error.condition.as_str())
                    && !error.wait =>
            {
                warn!(room = %self.jid, %error, "The room does not know us any more.");
                self.unseat(&self.listener.to_bare());
            }
            _ => {}
        }
    }

    /// The room is not linked any more.
    pub fn depart(&self, link: &Link) {
        let seats: Vec<_> = self.state().seats.drain().collect();
        for (jid, seat) in seats {
            if let (Some(occupant), Ok(from)) = (self.occupant(&seat.nick), jid.with_resource_str(RESOURCE)) {
                link.send(stanza::stanza("presence", &from, &occupant).attribute("type", "unavailable"));
            }
        }
    }

    /// The connection is lost: what was known of it is void.
    pub fn reset(&self) {
        self.leave_live();
        let mut state = self.state();
        state.occupants.lose_sight();
        state.expected.clear();
        state.unresolved.clear();
        for seat in state.seats.values_mut() {
            seat.taken = false;
            seat.waiting = None;
        }
    }

    async fn features(&self, link: &Link) -> Result<Features, Failure> {
        let room = Jid::from(self.jid.clone());
        let answer = link.ask("get", &self.listener, &room, stanza::element("query", ns::DISCO_INFO)).await?;
        let info = answer.get_child("query", ns::DISCO_INFO);
        let has = |feature| {
            let mut children = info.into_iter().flat_map(Element::children);
            children.any(|child| child.name() == "feature" && child.attr("var") == Some(feature))
        };
        let marks = Marks { occupant_ids: has(ns::OCCUPANT_ID), non_anonymous: has("muc_nonanonymous") };
        Ok(Features { archive: has(ns::MAM), stanza_ids: has(ns::SID), marks })
    }

    /// Takes a seat, under another nickname if somebody has this one.
    async fn enter(&self, link: &Link, who: &FullJid, name: &str) -> Result<(), Failure> {
        let _one_at_a_time = self.entering.lock().await;
        let bare = who.to_bare();
        if self.is_in(&bare) {
            return Ok(());
        }
        let mut attempt = 1;
        loop {
            let nick = nickname(name, who, attempt);
            let occupant = self.occupant(&nick).ok_or(Failure::Lost)?;
            let (let_in, answer) = oneshot::channel();
            self.state().seats.insert(bare.clone(), Seat { nick: nick.clone(), taken: false, waiting: Some(let_in) });
            let muc = stanza::element("x", ns::MUC).child(self.history(&bare));
            link.send(stanza::stanza("presence", who, &occupant).child(muc));
            let answer = timeout(PATIENCE, answer).await;
            match answer.map_err(|_| Failure::Timeout(occupant.clone()))?.map_err(|_| Failure::Lost)? {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let change = self.vacate(&bare, &nick);
                    self.tell_person(change);
                    if !error.is("conflict") || attempt > NICKNAMES {
                        return Err(Failure::Refused { from: occupant, error });
                    }
                    attempt += 1;
                }
            }
        }
    }

    /// How much the room is asked to repeat. Where there is an archive, nothing; else to the listener what
    /// it has missed.
    fn history(&self, who: &BareJid) -> Element {
        let history = stanza::element("history", ns::MUC);
        let read = self.memory().read.clone();
        match read {
            Some(read) if *who == self.listener.to_bare() && !self.state().features.archive => {
                history.attribute("since", &read.stamp)
            }
            _ => history.attribute("maxstanzas", "0"),
        }
    }

    // ---- What comes in ----

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
        let change = if listener {
            let State { occupants, seats, .. } = &mut *state;
            occupants.see(presence, |nick| seats.values().any(|seat| seat.nick == nick))
        } else {
            None
        };
        let was_in = state.seats.get(&self.listener.to_bare()).is_some_and(|seat| seat.taken);
        let nick = from.resource().map(|nick| nick.as_str().to_owned()).unwrap_or_default();
        let about_us = status(presence, "110") || state.seats.get(&who).is_some_and(|seat| seat.nick == nick);
        let Some(seat) = state.seats.get_mut(&who).filter(|_| about_us) else {
            drop(state);
            // Before the listener is in, people are counted all at once.
            return self.tell_person(change.filter(|_| was_in));
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
                drop(state);
                self.unseat(&who);
            }
        }
    }

    /// A groupchat message to one of ours. Only the listener's copy counts.
    pub fn heard(&self, message: Element) {
        let (Some(to), Some(from)) = (message.jid("to"), message.jid("from")) else { return };
        let Some(nick) = from.resource().filter(|_| to == self.listener) else { return };
        let state = self.state();
        let person = match message.get_child("delay", ns::DELAY) {
            Some(_) => state.occupants.writer_of_archived(&from, &message, state.features.marks),
            None => state.occupants.writer(&from),
        };
        // Nor is what it hears: without us in the room it would overtake what has been missed.
        if !state.seats.get(&self.listener.to_bare()).is_some_and(|seat| seat.taken) {
            return;
        }
        let ours = state.seats.values().any(|seat| seat.taken && seat.nick == nick.as_str());
        let archive = state.features.archive;
        drop(state);
        if let Some((key, ghost)) = from_native::carried_by_us(&message, &self.listener.to_bare()) {
            let read = self.said(&message, key, &ghost, None);
            return self.tell(News::Ours { read });
        }
        if ours {
            return;
        }
        let full = archive && self.waiting.load(Ordering::Relaxed) >= QUEUE;
        if archive && (self.behind.load(Ordering::Relaxed) || full) {
            self.behind.store(true, Ordering::Relaxed);
            return;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.tell(News::Message { message, person });
    }

    /// A ghost's message is in the room: `message` is the listener's copy or the archive's.
    pub fn said(&self, message: &Element, key: DeliveryKey, ghost: &BareJid, archived: Option<ReadUpTo>) -> ReadUpTo {
        let read = archived.unwrap_or_else(|| self.read_with(message));
        let own_id = read.archive_id.clone();
        let from = message.attr("from").unwrap_or_default();
        let name = from.split_once('/').map_or("", |(_, nick)| nick);
        let id = NativeMessageId::new(own_id.as_deref().unwrap_or(key.as_str()));
        let mut memory = self.memory();
        memory.remember(message, &id, &to_native::ghost_voice(ghost, from, name));
        memory.set_delivered(key.clone(), own_id);
        drop(memory);
        let mut state = self.state();
        state.unresolved.remove(&key);
        if let Some(waiting) = state.expected.remove(&key) {
            let _ = waiting.send(());
        }
        read
    }

    /// Where reading goes on after a live message.
    pub fn read_with(&self, message: &Element) -> ReadUpTo {
        let stanza_ids = self.state().features.stanza_ids;
        let given =
            |child: &&Element| child.is("stanza-id", ns::SID) && child.jid("by").is_some_and(|by| by == self.jid);
        let archive_id = message.children().find(given).filter(|_| stanza_ids).and_then(|given| given.attr("id"));
        let delay = message.get_child("delay", ns::DELAY).and_then(|delay| delay.attr("stamp"));
        // Our clock may be ahead of the room's. What comes twice is recognised.
        let now = || stanza::stamp(std::time::SystemTime::now() - Duration::from_secs(60));
        let stamp = delay.map_or_else(now, str::to_owned);
        // But not before the room was linked.
        let before = self.memory().read.as_ref().map_or(String::new(), |read| read.stamp.clone());
        ReadUpTo { stamp: stamp.max(before), archive_id: archive_id.map(str::to_owned) }
    }

    // ---- What the worker needs ----

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

    /// A private word from the gateway to somebody in the room: where it went, if they are here.
    pub fn whisper(&self, link: &Link, to: &NativeUserId, id: &str, text: &str) -> Option<Jid> {
        let nick = self.state().occupants.nick_of(to).map(str::to_owned)?;
        let occupant = self.occupant(&nick)?;
        let listener = Jid::from(self.listener.clone());
        link.send(to_native::notice(&listener, &occupant, "chat", id, text).child(stanza::element("x", ns::MUC_USER)));
        Some(occupant)
    }

    // ---- What goes out ----

    pub async fn deliver(&self, link: &Link, delivery: &Delivery) -> Result<Delivered, Refusal> {
        let mut live = self.live.subscribe();
        let here = live.wait_for(|live| *live == Some(link.number()));
        if timeout(CATCHING_UP, here).await.is_err() {
            return Err(Refusal::retry(format!("the gateway is not in {} at the moment", self.jid)));
        }
        let ghost = match (&delivery.speaker, &delivery.event) {
            (_, Event::Notice { text, to, .. }) => return self.notice(link, &delivery.key, text, to.as_ref()).await,
            (Speaker::Ghost(ghost), _) => ghost,
            (Speaker::Gateway, _) => return Err(Refusal::reject("only people can say that")),
        };
        let Some(jid) = self.ghost_jid(ghost) else {
            return Err(Refusal::reject(format!("the address {} is too long for XMPP", ghost.user)));
        };
        if delivery.event == Event::Leave {
            self.send_off(link, &jid, ghost);
            link.settle(&jid, &self.jid).await?;
            return Ok(Delivered::default());
        }
        self.enter(link, &jid, &ghost.name).await.map_err(|failure| self.not_let_in(failure, ghost))?;
        if delivery.event == Event::Join {
            return Ok(Delivered::default());
        }
        self.say(link, delivery, &jid).await
    }

    /// Says it unless it has been said, and returns when the room has repeated it.
    async fn say(&self, link: &Link, delivery: &Delivery, ghost: &FullJid) -> Result<Delivered, Refusal> {
        let key = &delivery.key;
        let before = self.state().unresolved.contains(key);
        if before {
            link.settle(ghost, &self.jid).await?;
        }
        if let Some(stanza_id) = self.memory().delivered(key) {
            return Ok(to_native::delivered(delivery, stanza_id.as_deref()));
        }
        let route = Route { from: ghost, to: &self.jid, kind: "groupchat" };
        let message = to_native::message(delivery, &route, &self.memory())?;
        let copy = self.expect_copy(key);
        let error = link.expect("message", key.as_str(), &self.jid.clone().into());
        link.send(message);
        tokio::select! {
            biased;
            copy = copy => copy.map_err(|_| Failure::Lost)?,
            Ok(error) = error => return Err(self.not_said(StanzaError::of(&error), key, ghost)),
            () = tokio::time::sleep(PATIENCE) => return Err(Failure::Timeout(self.jid.clone().into()).into()),
        }
        let stanza_id = self.memory().delivered(key).cloned().flatten();
        Ok(to_native::delivered(delivery, stanza_id.as_deref()))
    }

    /// Resolves when the listener's copy of the delivery is seen.
    fn expect_copy(&self, key: &DeliveryKey) -> oneshot::Receiver<()> {
        let (said, copy) = oneshot::channel();
        let mut state = self.state();
        state.expected.insert(key.clone(), said);
        state.unresolved.insert(key.clone());
        copy
    }

    fn not_said(&self, error: StanzaError, key: &DeliveryKey, ghost: &FullJid) -> Refusal {
        let mut state = self.state();
        state.unresolved.remove(key);
        state.expected.remove(key);
        drop(state);
        // XEP-0045 §7.4: it is not in the room although it was: the room restarted, or threw it out.
        if error.is("not-acceptable") {
            self.unseat(&ghost.to_bare());
            return Refusal::retry(error);
        }
        Failure::Refused { from: self.jid.clone().into(), error }.into()
    }

    fn not_let_in(&self, failure: Failure, ghost: &Ghost) -> Refusal {
        let why = |words: &str| Refusal::reject(format!("{} {words} {}", ghost.name, self.jid));
        match failure {
            Failure::Refused { error, .. } if error.is("registration-required") => why("is not a member of"),
            Failure::Refused { error, .. } if error.is("forbidden") => why("is banned from"),
            // Full, locked, not there any more: an admin of the room can mend that, and the message waits.
            Failure::Refused { error, .. } if !error.is("not-authorized") => Refusal::retry(error),
            other => other.into(),
        }
    }

    fn send_off(&self, link: &Link, ghost: &FullJid, who: &Ghost) {
        let seat = self.state().seats.remove(&ghost.to_bare());
        let nick = seat.map_or_else(|| nickname(&who.name, ghost, 1), |seat| seat.nick);
        if let Some(occupant) = self.occupant(&nick) {
            link.send(stanza::stanza("presence", ghost, &occupant).attribute("type", "unavailable"));
        }
    }

    /// To the person alone where they are here, else to the room.
    async fn notice(
        &self,
        link: &Link,
        key: &DeliveryKey,
        text: &str,
        to: Option<&NativeUserId>,
    ) -> Result<Delivered, Refusal> {
        let whispered = to.and_then(|to| self.whisper(link, to, key.as_str(), text));
        if whispered.is_none() {
            let (listener, room) = (Jid::from(self.listener.clone()), Jid::from(self.jid.clone()));
            link.send(to_native::notice(&listener, &room, "groupchat", key.as_str(), text));
        }
        link.settle(&self.listener, &self.jid).await?;
        Ok(Delivered::default())
    }

    // ---- Small things ----

    pub fn ghost_jid(&self, ghost: &Ghost) -> Option<FullJid> {
        id::ghost_jid(&ghost.user, self.listener.domain())?.with_resource_str(RESOURCE).ok()
    }

    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_in(&self, who: &BareJid) -> bool {
        self.state().seats.get(who).is_some_and(|seat| seat.taken)
    }

    fn leave_live(&self) {
        self.live.send_replace(None);
    }

    fn unseat(&self, who: &BareJid) {
        let mut state = self.state();
        let Some(seat) = state.seats.get_mut(who) else { return };
        seat.taken = false;
        if *who == self.listener.to_bare() {
            state.occupants.lose_sight();
            drop(state);
            self.leave_live();
        }
        self.unseated.notify_one();
    }

    /// The nickname was not ours after all: whoever has it is a person.
    fn vacate(&self, who: &BareJid, nick: &str) -> Option<Change> {
        let mut state = self.state();
        state.seats.remove(who);
        let entered = state.seats.get(&self.listener.to_bare()).is_some_and(|seat| seat.taken);
        let State { occupants, seats, .. } = &mut *state;
        entered.then(|| occupants.appeared(nick, |nick| seats.values().any(|seat| seat.nick == nick))).flatten()
    }

    fn tell_person(&self, change: Option<Change>) {
        if let Some(change) = change {
            self.tell(News::Person(change));
        }
    }

    fn tell(&self, news: News) {
        // Without a worker the gateway is stopping, and the archive keeps the rest.
        let _ = self.news.send(news);
    }

    fn occupant(&self, nick: &str) -> Option<Jid> {
        self.jid.with_resource_str(nick).ok().map(Jid::from)
    }
}

/// The nickname to try: the name, and then with a number. A name that can't be one is replaced by the address.
fn nickname(name: &str, jid: &FullJid, attempt: usize) -> String {
    let number = if attempt > 1 { format!(" {attempt}") } else { String::new() };
    let usable = |name: &str| ResourcePart::new(&format!("{name}{number}")).map(|nick| nick.as_str().to_owned());
    usable(name).unwrap_or_else(|_: xmpp_parsers::jid::Error| jid.to_bare().to_string())
}

pub fn voice(person: &Person, from: &Jid) -> Voice {
    let name = from.resource().map(|nick| nick.as_str().to_owned()).unwrap_or_default();
    Voice { author: person.user.to_string(), jid: from.to_string(), name }
}
