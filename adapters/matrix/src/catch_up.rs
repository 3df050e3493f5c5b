//! Reading a room's own timeline, where transactions alone can't be trusted.
//!
//! A homeserver that could not reach us, or was told "not now", recovers; and Synapse (1.163) has two gaps
//! there. A transaction made in the moment in which the recovery ends is kept and not sent until the next
//! recovery, which may be days away; and after a refusal the next transaction may overtake the refused one.
//! Both showed when a core said "not now" fifty times in a thousand messages: in one run a message was not
//! brought at all, in the next one came after the forty-three that followed it.
//!
//! And one that can't reach us at all brings nothing for as long as that lasts, while its timelines can be read.
//!
//! So for a while after trouble a transaction only says in which rooms there is something to read: what is
//! missing before its events is taken from the timeline, in order. And now and then every linked room is
//! looked through, which bounds how long anything can be stuck. What was taken already is known here by its
//! event id, and to the core too.

use std::{collections::VecDeque, time::Instant};

use matrix_sdk::ruma::{EventId, OwnedEventId, RoomId, events::AnyTimelineEvent, serde::Raw};
use mimi_adapter::{ConversationId, Refusal};
use tracing::{debug, warn};

use crate::transactions::{Transactions, unless_final};

/// How many events one look sees, and how many looks there are at most until something known is met.
const SIGHT: u32 = 100;
const LOOKS: usize = 20;
/// More than one look sees.
const REMEMBERED: usize = 200;

/// The events of a linked room that have been taken in.
#[derive(Default)]
pub struct Followed {
    taken: VecDeque<OwnedEventId>,
    /// Where we began: the last event that the core had accepted then, or the first of `taken`.
    start: Option<OwnedEventId>,
}

impl Followed {
    pub fn takes(&mut self, event: OwnedEventId) {
        self.start.get_or_insert_with(|| event.clone());
        self.taken.push_back(event);
        if self.taken.len() > REMEMBERED {
            self.taken.pop_front();
        }
    }

    pub fn has(&self, event: &EventId) -> bool {
        // What is asked for is mostly recent.
        self.taken.iter().rev().any(|taken| taken == event)
    }

    /// Something of this page is known. What is older than that is, too, or is none of our business.
    fn meets(&self, page: &[Raw<AnyTimelineEvent>]) -> bool {
        let known = |id: &OwnedEventId| self.start.as_ref() == Some(id) || self.has(id);
        page.iter().any(|event| event.get_field("event_id").ok().flatten().as_ref().is_some_and(known))
    }

    /// What of the timeline (newest first) is still to be taken, oldest first. What lies before everything we
    /// know is left to the transactions: it is a backlog that they have yet to bring, or older than the link.
    fn missing(&self, timeline: Vec<Raw<AnyTimelineEvent>>) -> Vec<Raw<AnyTimelineEvent>> {
        let (mut missing, mut connected) = (Vec::new(), 0);
        for event in timeline {
            let Some(id) = event.get_field::<OwnedEventId>("event_id").ok().flatten() else { continue };
            let is_start = self.start.as_ref() == Some(&id);
            if is_start || self.has(&id) {
                connected = missing.len();
            } else {
                missing.push(event);
            }
            if is_start {
                break;
            }
        }
        missing.truncate(connected);
        missing.reverse();
        missing
    }
}

impl Transactions {
    /// Takes what the room's timeline has and we have not, and answers how much that was. The caller has the turn.
    pub async fn catch_up(&self, room: &RoomId) -> Result<usize, Refusal> {
        if self.homeserver.room(room, |room| room.followed.start.is_none()) {
            let cursor = self.inbox.cursor(&ConversationId::new(room.as_str())).await?;
            let start = cursor.and_then(|cursor| EventId::parse(cursor.as_str()).ok());
            if start.is_none() {
                // Nothing of this room has ever been accepted: there is no telling where to begin.
                return Ok(0);
            }
            self.homeserver.room(room, |room| room.followed.start = start);
        }
        // A look goes back until it meets something known; what it can't see from there is left to the transactions.
        let (mut timeline, mut before) = (Vec::new(), None);
        for _ in 0..LOOKS {
            let page = unless_final(self.homeserver.timeline(room, SIGHT, before).await)?;
            let Some((page, end)) = page else { return Ok(0) };
            let met = self.homeserver.room(room, |room| room.followed.meets(&page));
            timeline.extend(page);
            before = end;
            if met || before.is_none() {
                break;
            }
        }
        let missing = self.homeserver.room(room, |room| room.followed.missing(timeline));
        for event in &missing {
            self.take(event).await?;
        }
        Ok(missing.len())
    }

    /// Looks through every linked room. Answers how many events were found and taken in.
    pub async fn look_through(&self) -> usize {
        let mut found = 0;
        let links = self.inbox.links().borrow().clone();
        for conversation in links.iter() {
            let Ok(room) = RoomId::parse(conversation.as_str()) else { continue };
            let _turn = self.pause().await;
            let begun = Instant::now();
            match self.catch_up(&room).await {
                Ok(0) => {}
                Ok(events) => {
                    // Their transaction is still to come, if transactions come at all.
                    self.homeserver.owes(begun);
                    found += events;
                }
                Err(refusal) => warn!(%room, %refusal, "A room could not be looked through."),
            }
        }
        debug!(rooms = links.len(), found, "Looked through the linked rooms.");
        found
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A timeline as the homeserver tells it, newest first.
    fn timeline(ids: &[&str]) -> Vec<Raw<AnyTimelineEvent>> {
        ids.iter().rev().map(|id| Raw::new(&json!({ "event_id": id })).unwrap().cast_unchecked()).collect()
    }

    fn missing(followed: &Followed, ids: &[&str]) -> Vec<String> {
        followed.missing(timeline(ids)).iter().map(|event| event.get_field("event_id").unwrap().unwrap()).collect()
    }

    fn followed(start: &str, taken: &[&str]) -> Followed {
        let mut followed = Followed { start: EventId::parse(start).ok(), ..Default::default() };
        taken.iter().for_each(|id| followed.takes(EventId::parse(*id).unwrap()));
        followed
    }

    #[test]
    fn what_is_stuck_between_others_is_missing() {
        assert_eq!(missing(&followed("$1", &["$2", "$4"]), &["$0", "$1", "$2", "$3", "$4", "$5"]), ["$3", "$5"]);
    }

    #[test]
    fn what_was_before_we_came_is_not() {
        let mut new = Followed::default();
        new.takes(EventId::parse("$2").unwrap());
        assert_eq!(missing(&new, &["$0", "$1", "$2", "$3"]), ["$3"]);
    }

    #[test]
    fn a_backlog_is_left_to_the_transactions() {
        assert_eq!(missing(&followed("$1", &[]), &["$7", "$8", "$9"]), [""; 0]);
        assert_eq!(missing(&followed("$1", &["$2", "$3"]), &["$7", "$8", "$9"]), [""; 0]);
        // It comes into sight.
        assert_eq!(missing(&followed("$1", &["$6", "$7"]), &["$5", "$6", "$7", "$8", "$9"]), ["$8", "$9"]);
    }

    #[test]
    fn a_look_sees_no_further_than_we_remember() {
        let ids: Vec<String> = (0..250).map(|n| format!("${n}")).collect();
        let mut followed = Followed::default();
        ids.iter().filter(|id| *id != "$200").for_each(|id| followed.takes(EventId::parse(id).unwrap()));
        let seen: Vec<&str> = ids[150..].iter().map(String::as_str).collect();
        assert_eq!(seen.len(), SIGHT as usize);
        assert_eq!(missing(&followed, &seen), ["$200"]);
    }
}
