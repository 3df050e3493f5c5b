//! The linked rooms: which there are, and a keeper for each, who sees to it that we are in.

use std::{
    collections::HashMap,
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
    id::{Place, ReadUpTo},
    listener::Listener,
    room::Room,
};

/// How often a quiet room is asked whether we are still in it (XEP-0410).
const SELF_PING: Duration = Duration::from_secs(60);

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
                workers.spawn(Listener::new(room, inbox.clone(), link.clone()).run(news));
            }
            if let Some(link) = &connected {
                for (jid, room) in self.rooms().iter() {
                    let keeper =
                        || AbortOnDropHandle::new(tokio::spawn(keep(room.clone(), link.clone(), inbox.clone())));
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

/// Keeps the listener and the ghosts in one room for as long as the connection lasts.
async fn keep(room: Arc<Room>, link: Link, inbox: Inbox) {
    let mut backoff = Backoff::new();
    loop {
        match settle(&room, &link, &inbox).await {
            Ok(()) => {
                backoff.reset();
                room.until_unseated(SELF_PING).await;
                room.check_seat(&link).await;
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
