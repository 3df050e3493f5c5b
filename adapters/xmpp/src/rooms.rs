//! The linked rooms: which there are, and a keeper for each, who sees to it that we are in.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mimi_adapter::{BoxError, CancellationToken, Inbox, Links};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;
use xmpp_parsers::jid::BareJid;

use crate::{
    component::{Backoff, Link},
    files::Files,
    id::{Place, ReadUpTo},
    listener::Listener,
    room::Room,
};

/// How often a quiet room is asked whether we are still in it (XEP-0410), and how far apart the questions to all the
/// rooms are: with many rooms it takes longer until it is a room's turn again.
const SELF_PING: Duration = Duration::from_secs(60);
const BETWEEN_PINGS: Duration = Duration::from_millis(50);

#[derive(Default)]
pub struct Rooms(Mutex<HashMap<BareJid, Arc<Room>>>);

impl Rooms {
    pub fn get(&self, room: &BareJid) -> Option<Arc<Room>> {
        self.rooms().get(room).cloned()
    }

    /// Follows the links and the connection until `stop`, and then lets the workers finish what they hold.
    pub async fn run(
        &self,
        component: &BareJid,
        inbox: Inbox,
        mut link: watch::Receiver<Option<Link>>,
        files: Arc<Files>,
        stop: CancellationToken,
    ) -> Result<(), BoxError> {
        let mut links = inbox.links();
        let mut workers = JoinSet::new();
        let mut keepers: HashMap<BareJid, AbortOnDropHandle<()>> = HashMap::new();
        loop {
            let linked = wanted(&links.borrow_and_update());
            let connected = link.borrow().clone();
            for gone in self.without(&linked) {
                keepers.remove(&gone.jid);
                gone.unlinked.cancel();
                if let Some(link) = &connected {
                    gone.depart(link);
                }
            }
            for jid in linked.into_iter().filter(|jid| self.get(jid).is_none()) {
                let (room, news) = Room::new(jid.clone(), component, stop.child_token());
                let room = Arc::new(room);
                self.rooms().insert(jid, room.clone());
                workers.spawn(Listener::new(room, inbox.clone(), link.clone(), files.clone()).run(news));
            }
            if let Some(link) = &connected {
                let rooms = self.rooms();
                let turn = SELF_PING.max(BETWEEN_PINGS * rooms.len().try_into().unwrap_or(u32::MAX));
                for (jid, room) in rooms.iter() {
                    let keeping = || keep(room.clone(), link.clone(), inbox.clone(), turn);
                    let keeper = || AbortOnDropHandle::new(tokio::spawn(keeping()));
                    keepers.entry(jid.clone()).or_insert_with(keeper);
                }
            }
            tokio::select! {
                () = stop.cancelled() => break,
                // It has ended because its room is not linked any more; or else nobody would read that room.
                Some(ended) = workers.join_next() => ended?,
                changed = links.changed() => if changed.is_err() { break },
                changed = link.changed() => {
                    if changed.is_err() { break }
                    // Each connection has its own keepers, also when one has followed the other at once.
                    keepers.clear();
                }
            }
        }
        drop(keepers);
        stop.cancelled().await;
        while let Some(ended) = workers.join_next().await {
            ended?;
        }
        Ok(())
    }

    /// The connection is lost: what it told is void.
    pub fn reset(&self) {
        self.rooms().values().for_each(|room| room.reset());
    }

    /// Takes out the rooms that are not linked any more.
    fn without(&self, linked: &[BareJid]) -> Vec<Arc<Room>> {
        self.rooms().extract_if(|jid, _| !linked.contains(jid)).map(|(_, room)| room).collect()
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<BareJid, Arc<Room>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wanted(links: &Links) -> Vec<BareJid> {
    let room = |conversation: &_| match Place::of(conversation) {
        Some(Place::Room(room)) => Some(room),
        Some(Place::Direct { .. }) => None,
        None => {
            warn!(%conversation, "This linked conversation is not the address of a room (like tea@muc.b.example).");
            None
        }
    };
    links.iter().filter_map(room).collect()
}

/// Keeps the listener and the ghosts in one room for as long as the connection lasts. Every `turn` the room is asked
/// whether we are in it.
async fn keep(room: Arc<Room>, link: Link, inbox: Inbox, turn: Duration) {
    let mut backoff = Backoff::new();
    // All rooms are entered at about the same time, and should not all be asked at once.
    let mut pause = turn.mul_f64(share(&room.jid));
    loop {
        match settle(&room, &link, &inbox).await {
            Ok(()) => {
                backoff.reset();
                room.until_unseated(pause).await;
                room.check_seat(&link).await;
                pause = turn;
            }
            Err(reason) => {
                let again = backoff.next();
                warn!(room = %room.jid, %reason, ?again, "Not everybody is in the room yet.");
                tokio::time::sleep(again).await;
            }
        }
    }
}

async fn settle(room: &Room, link: &Link, inbox: &Inbox) -> Result<(), BoxError> {
    let conversation = room.conversation();
    room.resume(inbox.cursor(&conversation).await?.as_ref().map(ReadUpTo::of));
    let ghosts = inbox.ghosts(&conversation).await?;
    Ok(room.settle_in(link, &ghosts).await?)
}

/// A number from 0 to 1 that is the room's own.
fn share(room: &BareJid) -> f64 {
    let mut hasher = DefaultHasher::new();
    room.hash(&mut hasher);
    f64::from(u16::try_from(hasher.finish() % 1000).unwrap_or_default()) / 1000.0
}
