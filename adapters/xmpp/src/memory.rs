//! What was said lately in one conversation: as much as XMPP's way of pointing at messages needs.
//!
//! Bounded and losable. What is forgotten costs a convenience: a correction of a message from before is
//! refused (XEP-0308 names it by an id that only its sender gave it), a quotation is missing, one of
//! somebody's two reactions goes when the other comes. In a room with an archive the last page is read back
//! at the start, so that a restart forgets nothing recent. Order and duplicates don't depend on it.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::Hash,
};

use mimi_adapter::{DeliveryKey, NativeMessageId};
use minidom::Element;

use crate::{from_native, id::ReadUpTo, stanza::ns};

/// A quotation is a hint, not a copy.
const QUOTATION: usize = 160;

pub struct Memory {
    /// Everything up to here has been dealt with, in this process or before.
    pub read: Option<ReadUpTo>,
    messages: Bounded<NativeMessageId, Quotable>,
    /// By the id the sender gave it; ids of different senders may be the same. A ghost's message in a room
    /// is also found by the id the room gave it.
    by_sender: Bounded<String, Vec<(String, NativeMessageId)>>,
    reactions: Bounded<(String, String), Reactions>,
    delivered: Bounded<DeliveryKey, Option<String>>,
    dealt_with: Bounded<NativeMessageId, ()>,
}

/// Somebody's reactions to one message, each with the id under which the core knows it.
pub type Reactions = BTreeMap<String, NativeMessageId>;

/// Who said something: `author` is what makes two people different, `jid` is where they said it from (the
/// occupant JID in a room), `name` is what people call them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voice {
    pub author: String,
    pub jid: String,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quotable {
    pub voice: Voice,
    pub beginning: String,
}

impl Memory {
    /// Remembers the last `limit` messages.
    pub fn new(limit: usize) -> Self {
        Self {
            read: None,
            messages: Bounded::new(limit),
            by_sender: Bounded::new(limit),
            reactions: Bounded::new(limit),
            delivered: Bounded::new(limit),
            dealt_with: Bounded::new(limit),
        }
    }

    /// The message is also called `name`, by everybody.
    pub fn name(&mut self, name: &str, id: &NativeMessageId) {
        self.by_sender.insert(name.into(), vec![(String::new(), id.clone())]);
    }

    /// Remembers a message that has been carried, whichever way.
    pub fn remember(&mut self, message: &Element, id: &NativeMessageId, voice: &Voice) {
        let author = voice.author.as_str();
        if let Some((target, emojis)) = from_native::reactions(message) {
            let before = self.reactions(author, &target).cloned().unwrap_or_default();
            let now = emojis.into_iter().map(|emoji| {
                let known = before.get(&emoji).cloned();
                let id = known.unwrap_or_else(|| from_native::reaction_id(id, &emoji));
                (emoji, id)
            });
            self.reactions.insert((author.into(), target), now.collect());
        }
        // The corrected message stays what it was for those who answer or correct it again.
        let first = from_native::corrects(message).map(|corrected| self.named_by(corrected, author).unwrap_or(id));
        let first = first.unwrap_or(id).clone();
        let origin = message.get_child("origin-id", ns::SID).and_then(|origin| origin.attr("id"));
        for sender_id in [message.attr("id"), origin].into_iter().flatten() {
            let mut authors = self.by_sender.get(&sender_id.to_owned()).cloned().unwrap_or_default();
            authors.retain(|(other, _)| other != author);
            authors.push((author.into(), first.clone()));
            self.by_sender.insert(sender_id.into(), authors);
        }
        let beginning = from_native::text(message).unwrap_or_default();
        let beginning = beginning.lines().next().unwrap_or_default().chars().take(QUOTATION).collect();
        self.messages.insert(id.clone(), Quotable { voice: voice.clone(), beginning });
    }

    pub fn knows(&self, id: &NativeMessageId) -> bool {
        self.messages.get(id).is_some()
    }

    /// What can be quoted of the message. Nothing if it had no text.
    pub fn quotable(&self, id: &NativeMessageId) -> Option<&Quotable> {
        self.messages.get(id).filter(|quotable| !quotable.beginning.is_empty())
    }

    /// The message its author has given this id.
    pub fn named_by(&self, sender_id: &str, author: &str) -> Option<&NativeMessageId> {
        let authors = self.by_sender.get(&sender_id.to_owned())?;
        authors.iter().find(|(of, _)| of == author).map(|(_, id)| id)
    }

    /// The message that somebody has given this id.
    pub fn named_by_anybody(&self, sender_id: &str) -> Option<&NativeMessageId> {
        self.by_sender.get(&sender_id.to_owned())?.last().map(|(_, id)| id)
    }

    pub fn reactions(&self, author: &str, target: &str) -> Option<&Reactions> {
        self.reactions.get(&(author.to_owned(), target.to_owned()))
    }

    /// Whether this process has offered the message to the core already, or knows that it need not.
    pub fn dealt_with(&self, id: &NativeMessageId) -> bool {
        self.dealt_with.get(id).is_some()
    }

    /// The message needs nothing more, and `read` says where to go on after it.
    pub fn deal_with(&mut self, id: &NativeMessageId, read: Option<ReadUpTo>) {
        self.dealt_with.insert(id.clone(), ());
        self.read = read.or(self.read.take());
    }

    /// Whether the network has shown us this delivery, and the id the room gave it, if it gives any.
    pub fn delivered(&self, key: &DeliveryKey) -> Option<&Option<String>> {
        self.delivered.get(key)
    }

    pub fn set_delivered(&mut self, key: DeliveryKey, stanza_id: Option<String>) {
        self.delivered.insert(key, stanza_id);
    }
}

/// A map that forgets the oldest.
pub struct Bounded<K, V> {
    map: HashMap<K, V>,
    order: VecDeque<K>,
    limit: usize,
}

impl<K: Clone + Eq + Hash, V> Bounded<K, V> {
    pub fn new(limit: usize) -> Self {
        Self { map: HashMap::new(), order: VecDeque::new(), limit }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }

    pub fn insert(&mut self, key: K, value: V) {
        if self.map.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.map.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut map = Bounded::new(2);
        for (key, value) in [("a", 1), ("b", 2), ("a", 3), ("c", 4)] {
            map.insert(key, value);
        }
        assert_eq!((map.get(&"a"), map.get(&"b"), map.get(&"c")), (None, Some(&2), Some(&4)));
    }
}
