//! One gateway, several processes: whose is a room, and how what comes to another process gets there.
//!
//! An adapter, its session and the rooms linked to its conversations are in the hands of one process, by a lease
//! ([`crate::store::lease`]); rooms linked to none, and consent, are in those of whoever has the lease on the rest.
//! Other providers and the load balancer before us need not know: any process takes any request and passes it on,
//! once, over the same mutual TLS by which providers talk. What was put into the outbox for another process wakes it
//! there. Key material and consent belong to people, not rooms; they are rows, and any process answers.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::StatusCode;
use mimi_adapter::Domain;
use tracing::debug;

use crate::{
    core::{Core, Fault},
    mimi::{directory::Endpoint, uri::RoomUri},
    outbox::Destination,
    provider::{Answer, CallError, Identity, Peers, TlsError, Trust},
    store::{Tx, lease::REST},
};

/// In whose hands something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    Ours,
    /// Those of the process at this address.
    Anothers(String),
    /// Its process has ended and no other has taken over yet.
    Nobodys,
}

/// The other processes of this gateway, as those who want to pass something on see them.
pub struct Colleagues {
    identity: Identity,
    trust: Trust,
    known: Mutex<HashMap<String, Arc<Peers>>>,
    /// Rooms that are in our hands by an adapter of ours. They stay there while we have the adapter, unless we
    /// ourselves take the link away.
    ours: Mutex<HashSet<RoomUri>>,
}

impl Colleagues {
    pub fn new(identity: Identity, trust: Trust) -> Self {
        Self { identity, trust, known: Mutex::default(), ours: Mutex::default() }
    }

    /// What was known about our own hands.
    pub fn forget(&self) {
        self.ours().clear();
    }

    fn ours(&self) -> std::sync::MutexGuard<'_, HashSet<RoomUri>> {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self, address: &str) -> Result<Arc<Peers>, TlsError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peers) = known.get(address) {
            return Ok(peers.clone());
        }
        let addresses = BTreeMap::from([(self.identity.domain().clone(), address.to_owned())]);
        let peers = Arc::new(Peers::new(&self.identity, &self.trust, addresses)?);
        known.insert(address.to_owned(), peers.clone());
        Ok(peers)
    }

    /// Asks another process what `from` has asked us, and answers what it answers.
    pub async fn pass_on(
        &self,
        address: &str,
        from: &Domain,
        endpoint: Endpoint,
        about: &str,
        body: Bytes,
    ) -> Result<Answer, Fault> {
        let peers = self.at(address).map_err(Fault::later)?;
        debug!(%from, endpoint = endpoint.name(), about, address, "Passed on.");
        match peers.pass_on(self.identity.domain(), from, endpoint, about, body).await {
            // Which of the two it is is a matter of the endpoint (D2).
            Ok(body) if matches!(endpoint, Endpoint::Notify | Endpoint::ReportAbuse) && body.is_empty() => {
                Ok(StatusCode::CREATED.into())
            }
            Ok(body) => Ok(Answer::ok(body)),
            Err(CallError::Never { status: Some(status), .. }) => Ok(status.into()),
            Err(CallError::Never { reason, .. }) => Err(Fault::later(reason)),
            Err(CallError::Later { after, reason, .. }) => Err(Fault::Later { problem: reason, after }),
        }
    }
}

impl Core {
    pub async fn whose_room(self: &Arc<Self>, room: &RoomUri) -> Result<Whose, Fault> {
        if self.store.leases().is_alone() {
            return Ok(Whose::Ours);
        }
        let of = room.clone();
        self.write(move |core, tx| Box::pin(async move { core.whose(tx, &of).await })).await
    }

    async fn whose(&self, tx: &mut Tx, room: &RoomUri) -> Result<Whose, Fault> {
        if self.colleagues.ours().contains(room) {
            return Ok(Whose::Ours);
        }
        let adapter = tx.adapter_of_room(room.as_str()).await?;
        // An adapter that was taken out of the configuration leaves rooms behind.
        let resource = adapter.filter(|it| self.adapters.contains_key(it)).unwrap_or_else(|| REST.to_owned());
        let leases = self.store.leases();
        Ok(match leases.holds(&resource) {
            true => {
                // Until now it was in other hands, or it may go into other hands at any time.
                tx.forget();
                self.groups.forget();
                if resource != REST {
                    self.colleagues.ours().insert(room.clone());
                }
                Whose::Ours
            }
            false => leases.holder(&resource).map_or(Whose::Nobodys, Whose::Anothers),
        })
    }

    /// Work on a room is for the process that has it in hand. Checked in the very transaction.
    pub async fn must_have(&self, tx: &mut Tx, room: &RoomUri) -> Result<(), Fault> {
        if self.store.leases().is_alone() {
            return Ok(());
        }
        match self.whose(tx, room).await? {
            Whose::Ours => Ok(()),
            Whose::Anothers(address) => {
                Err(Fault::later(format!("{room} is in the hands of the process at {address}")))
            }
            Whose::Nobodys => Err(Fault::later(format!("no process has taken over {room} yet"))),
        }
    }

    /// What an admin does to the links of an adapter is done where it runs.
    pub fn must_run(&self, adapter: &str) -> Result<(), Fault> {
        let leases = self.store.leases();
        if leases.holds(adapter) || !self.adapters.contains_key(adapter) {
            return Ok(());
        }
        Err(match leases.holder(adapter) {
            Some(address) => Fault::never(format!("the adapter {adapter} runs in the process at {address}: ask there")),
            None => Fault::later(format!("no process has taken over the adapter {adapter} yet")),
        })
    }

    /// A room changes hands by what is done here: once that is on disk, nothing that is remembered of it counts.
    pub fn forget_if_shared(&self, tx: &mut Tx) {
        if !self.store.leases().is_alone() {
            let groups = self.groups.clone();
            tx.forget();
            self.colleagues.forget();
            tx.on_commit(move || groups.forget());
        }
    }

    /// Is a destination served here?
    pub async fn serves(self: &Arc<Self>, to: &Destination) -> Result<bool, Fault> {
        if self.store.leases().is_alone() {
            return Ok(true);
        }
        Ok(match to.room() {
            Some(room) => self.whose_room(room).await? == Whose::Ours,
            None => self.store.leases().holds(REST),
        })
    }

    /// Something has come for a destination that another process serves.
    pub async fn pass_on_wake(self: &Arc<Self>, to: &Destination) -> Result<(), Fault> {
        let to = to.to_string();
        self.write(move |_, tx| Box::pin(async move { Ok(tx.pass_on_wake(&to).await?) })).await
    }
}
