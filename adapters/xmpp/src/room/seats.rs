//! Being in the room: the listener and the ghosts take their seats, and keep them.

use std::{sync::atomic::Ordering, time::Duration};

use mimi_adapter::Ghost;
use minidom::Element;
use tokio::{sync::oneshot, time::timeout};
use tracing::{info, warn};
use xmpp_parsers::jid::{BareJid, FullJid, Jid, ResourcePart};

use super::{Features, News, RESOURCE, Room, Seat, State};
use crate::{
    component::{Failure, Link, PATIENCE},
    id::ReadUpTo,
    occupants::{Change, Marks},
    stanza::{self, ElementExt, ns},
};

const LISTENER: &str = "mimi-gateway";
/// How many other nicknames are tried when somebody has ours.
const NICKNAMES: usize = 9;

impl Room {
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

    /// XEP-0410: are we still in? A room that restarted says nothing to its former occupants, and one whose server is
    /// out of reach says nothing at all. In either case the room is entered anew, as soon as that can be done, and what
    /// was said meanwhile is read in its archive. A room that has just said something need not be asked.
    pub async fn check_seat(&self, link: &Link) {
        if self.spoken.swap(false, Ordering::Relaxed) {
            return;
        }
        let seat = self.state().seats.get(&self.listener.to_bare()).map(|seat| (seat.taken, seat.nick.clone()));
        let Some((true, nick)) = seat else { return };
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
            Err(failure @ Failure::Timeout(_)) => {
                warn!(room = %self.jid, %failure, "The room has fallen silent.");
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
    pub(super) async fn enter(&self, link: &Link, who: &FullJid, name: &str) -> Result<(), Failure> {
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
                    if let Some(person) = self.vacate(&bare, &nick) {
                        self.tell(News::Person(person));
                    }
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

    /// A ghost leaves.
    pub(super) fn send_off(&self, link: &Link, ghost: &FullJid, who: &Ghost) {
        let seat = self.state().seats.remove(&ghost.to_bare());
        let nick = seat.map_or_else(|| nickname(&who.name, ghost, 1), |seat| seat.nick);
        if let Some(occupant) = self.occupant(&nick) {
            link.send(stanza::stanza("presence", ghost, &occupant).attribute("type", "unavailable"));
        }
    }

    fn is_in(&self, who: &BareJid) -> bool {
        self.state().seats.get(who).is_some_and(|seat| seat.taken)
    }

    /// One of ours is out and should be in.
    pub(super) fn unseat(&self, who: &BareJid) {
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
}

/// The nickname to try: the name, and then with a number. A name that can't be one is replaced by the address.
fn nickname(name: &str, jid: &FullJid, attempt: usize) -> String {
    let number = if attempt > 1 { format!(" {attempt}") } else { String::new() };
    let usable = |name: &str| ResourcePart::new(&format!("{name}{number}")).map(|nick| nick.as_str().to_owned());
    usable(name).unwrap_or_else(|_: xmpp_parsers::jid::Error| jid.to_bare().to_string())
}
