//! What every part of the gateway shares: state, groups, adapters, peers, and the two ways of going wrong.
//!
//! The parts are `impl Core` blocks, each in the file named after its verb: `inbox`, `outbox`, `members`,
//! `hub`, `consent`, `rooms`. Functions that take a [`Tx`] happen in their caller's transaction.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::future::BoxFuture;
use mimi_adapter::{Adapter, Domain, Links, Refusal};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tracing::error;

use crate::{
    assets::Assets,
    cluster::Colleagues,
    config::Allow,
    discovery::Findable,
    hub::HubKeys,
    limits::Limits,
    mimi::{
        policy::RoomState,
        uri::{RoomUri, UserUri},
    },
    mls::{Client, Groups, MlsError},
    outbox::Dispatcher,
    provider::Peers,
    receipts::Receipts,
    rejoin::Astray,
    store::{Sought, Store, StoreError, Tx, clients::ClientRow},
    trace::Trace,
};

/// The ways of not working, for whoever asked.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Nothing is wrong with what was asked; later.
    #[error("not now: {problem}")]
    Later { problem: String, after: Option<Duration> },
    /// It will never be done; the words are for whoever asked.
    #[error("{0}")]
    Never(String),
    /// The fault is ours: a bug, or something of our own that can't be read. Who asked did nothing wrong and may
    /// try again; what waits in a queue must not stop it for ever by that.
    #[error("a fault of the gateway itself: {0}")]
    Broken(String),
    /// A client of ours has lost its place in a room and has to join anew. Who asked may try again, and meanwhile
    /// [`write`](Core::write) sees to it.
    #[error("{0}")]
    Astray(Astray),
}

impl Fault {
    pub fn never(reason: impl Into<String>) -> Self {
        Self::Never(reason.into())
    }

    pub fn later(problem: impl std::fmt::Display) -> Self {
        Self::Later { problem: problem.to_string(), after: None }
    }

    pub fn broken(problem: impl std::fmt::Display) -> Self {
        Self::Broken(problem.to_string())
    }
}

impl From<StoreError> for Fault {
    fn from(e: StoreError) -> Self {
        match e {
            StoreError::Panicked => Self::broken(e),
            StoreError::Corrupt { .. } => {
                error!(damage = %e, "The database is damaged; look at its disk, and restore a backup.");
                Self::later(e)
            }
            e => Self::later(e),
        }
    }
}

impl From<MlsError> for Fault {
    fn from(e: MlsError) -> Self {
        match e {
            MlsError::Invalid(problem) => Self::Never(problem),
            // Damaged state is an admin's to mend; until then nothing of it is lost.
            MlsError::State(_) | MlsError::Epoch { .. } => Self::later(e),
            MlsError::Lost { owner, problem } => Self::Astray(Astray::Lost { owner, problem }),
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Retry { after, source } => Self::Later { problem: source.to_string(), after },
            Refusal::Reject { reason } => Self::Never(reason),
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Later { problem, after } => Self::Retry { after, source: problem.into() },
            Fault::Never(reason) => Self::Reject { reason },
            fault @ (Fault::Broken(_) | Fault::Astray(_)) => {
                Self::Retry { after: None, source: fault.to_string().into() }
            }
        }
    }
}

/// Milliseconds since the epoch. A parameter, so that tests of expiry don't wait.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

pub fn system_clock() -> Clock {
    Arc::new(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
}

pub fn at(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}

/// The state of a room, and the confirmed transcript hash at which it was that.
pub type StateAt = (Vec<u8>, Arc<RoomState>);

pub struct Core {
    pub domain: Domain,
    pub store: Store,
    pub groups: Groups,
    pub clock: Clock,
    pub adapters: BTreeMap<String, AdapterSeat>,
    pub peers: Peers,
    pub assets: Assets,
    pub allow: Vec<Allow>,
    pub findable: Vec<Findable>,
    /// Component 0xF4B0 of every leaf of ours.
    pub disclosure: Vec<u8>,
    pub hub_keys: HubKeys,
    /// The state of rooms we are the hub of, as of the transcript it was read at.
    pub hub_states: Mutex<HashMap<RoomUri, StateAt>>,
    pub dispatcher: Dispatcher,
    pub limits: Limits,
    /// The other processes of this gateway.
    pub colleagues: Colleagues,
    /// How long a destination may take nothing, in milliseconds, before what waits for it is given up.
    pub give_up_after: u64,
    /// How long messages from elsewhere are kept so that they can be reported, in milliseconds. 0 is not at all.
    pub keep_evidence: u64,
    pub receipts: Receipts,
    pub trace: Trace,
}

/// An adapter and what it is told.
pub struct AdapterSeat {
    pub kind: String,
    pub adapter: Arc<dyn Adapter>,
    pub links: watch::Sender<Links>,
}

impl AdapterSeat {
    pub fn new(kind: &str, adapter: Arc<dyn Adapter>) -> Self {
        Self { kind: kind.to_owned(), adapter, links: watch::Sender::new(Arc::new(BTreeSet::new())) }
    }
}

impl Core {
    /// Runs `work` in a transaction of its own.
    pub async fn write<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl for<'t> FnOnce(&'t Arc<Core>, &'t mut Tx) -> BoxFuture<'t, Result<T, Fault>> + Send + 'static,
    ) -> Result<T, Fault> {
        self.write_seeking(Vec::new(), work).await
    }

    /// The same for work that will look for what is likely not there.
    pub async fn write_seeking<T: Send + 'static>(
        self: &Arc<Self>,
        sought: Vec<Sought>,
        work: impl for<'t> FnOnce(&'t Arc<Core>, &'t mut Tx) -> BoxFuture<'t, Result<T, Fault>> + Send + 'static,
    ) -> Result<T, Fault> {
        match self.transact(sought, work).await {
            Err(Fault::Astray(astray)) => Err(self.went_astray(astray).await),
            done => done,
        }
    }

    pub(crate) async fn transact<T: Send + 'static>(
        self: &Arc<Self>,
        sought: Vec<Sought>,
        work: impl for<'t> FnOnce(&'t Arc<Core>, &'t mut Tx) -> BoxFuture<'t, Result<T, Fault>> + Send + 'static,
    ) -> Result<T, Fault> {
        let core = self.clone();
        self.store
            .write_seeking(sought, move |tx| {
                Box::pin(async move {
                    let core = core;
                    work(&core, tx).await
                })
            })
            .await
    }

    /// Forgets what is only a copy of the database: it may be wrong. The store forgets its own.
    pub fn forget_all(&self) {
        self.groups.forget();
        self.colleagues.forget();
        self.hub_states.lock().expect("no panic happens while the states are locked").clear();
    }

    pub fn now(&self) -> u64 {
        (self.clock)()
    }

    pub fn is_ours(&self, user: &UserUri) -> bool {
        *user.domain() == self.domain
    }

    /// The client of a user of ours, made when it is first needed.
    pub async fn client(&self, tx: &mut Tx, user: &UserUri) -> Result<Client, Fault> {
        use crate::mimi::uri::ClientUri;
        if let Some(row) = tx.client_of(user).await? {
            return Ok(Client::from_keys(row.uri, row.private_key, row.public_key, self.disclosure.clone()));
        }
        let client = Client::generate(ClientUri::new(user, 1), self.disclosure.clone())?;
        let row = ClientRow {
            uri: client.uri().clone(),
            public_key: client.public_key().to_vec(),
            private_key: client.private_key().to_vec(),
        };
        tx.add_client(user, &row).await?;
        Ok(client)
    }

    /// The adapter that serves a user of ours.
    pub fn adapter_of(&self, user: &UserUri) -> Option<&str> {
        let native = user.native();
        self.adapters.iter().find(|(_, seat)| seat.adapter.serves(&native)).map(|(name, _)| name.as_str())
    }
}

pub fn hash(octets: &[u8]) -> [u8; 32] {
    Sha256::digest(octets).into()
}
