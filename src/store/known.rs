//! Rows that have been read before: those that every message needs and that hardly ever change.
//!
//! Only a copy. There is one writer, so a row is as it was read until a statement of its own changes it, and
//! whoever writes such a row forgets it here. A job that fails may have read what never happened; then everything
//! is forgotten. So it is when another process may have written ([`Tx::forget`](super::Tx::forget)).

use std::{collections::HashMap, hash::Hash};

use mimi_adapter::ConversationId;

use super::{clients::ClientRow, hub::HubRoom, leaves::Leaf, portals::Portal, rooms::Room};
use crate::mimi::uri::{ClientUri, RoomUri, UserUri};

/// At most this many rows of each kind. Beyond it all of a kind are read again.
const MOST: usize = 8192;

#[derive(Default)]
pub(super) struct Known {
    pub rooms: Copies<RoomUri, Room>,
    pub portals: Copies<RoomUri, Portal>,
    pub portals_by_conversation: Copies<(String, ConversationId), Portal>,
    pub leaves: Copies<(RoomUri, ClientUri), Leaf>,
    pub clients: Copies<UserUri, ClientRow>,
    pub roles: Copies<(RoomUri, UserUri), u32>,
    pub hubs: Copies<RoomUri, HubRoom>,
    /// No handshake of the room is behind this position.
    pub handshakes: Copies<RoomUri, i64>,
}

impl Known {
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

pub(super) struct Copies<K, V>(HashMap<K, V>);

impl<K, V> Default for Copies<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash, V: Clone> Copies<K, V> {
    pub fn get(&self, name: &K) -> Option<V> {
        self.0.get(name).cloned()
    }

    pub fn keep(&mut self, name: K, row: V) {
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(name, row);
    }

    pub fn forget(&mut self, name: &K) {
        self.0.remove(name);
    }

    pub fn forget_where(&mut self, which: impl Fn(&V) -> bool) {
        self.0.retain(|_, row| !which(row));
    }
}
