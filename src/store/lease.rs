//! Several gateway processes on one PostgreSQL database: who holds what.
//!
//! **A lease is an advisory lock of the session that its holder writes in.** What one gets by a lease is a whole
//! adapter, its network session and every room linked to a conversation of it, and, once per installation,
//! everything that belongs to none ([`REST`]). So a message never changes processes between its being accepted and
//! its being sent, and nothing that is cached of a room can be written by another.
//!
//! Why a session's lock, and no row with a number to compare? The server keeps lock and session together: who has
//! lost the session has lost the lock and can't write either, in one and the same moment and by no clock. A process
//! that was stopped, slept or was cut off finds, when it wakes, that its session is gone; what it wanted to write is
//! refused. With a row, every write would have to compare, and whoever forgets to is a bug that shows once a year.
//!
//! Clocks (the server's, nobody else's) only decide when to stop waiting: a session that has said nothing for
//! five seconds is ended by the others, which frees what it held. The death of a process is noticed at once, since the
//! kernel closes its connection.
//!
//! A lease is kept until its holder ends. Nothing is moved between processes that are alive and well: an adapter
//! that is signed in stays so. A process that joins gets what becomes free.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{PoisonError, RwLock},
    time::Duration,
};

use sha2::{Digest, Sha256};
use sqlx::AnyConnection;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{StoreError, Tx, postgres};

/// How often a process looks who is there. Each look is also its sign of life.
pub(super) const TICK: Duration = Duration::from_millis(500);

/// A session that has been idle for so long belongs to a process that is not well.
const STALE: i64 = 5_000;
/// The same for one that is in the middle of a statement; the server cancels those after a minute.
const STUCK: i64 = 65_000;

/// How long a session that is told to end may take.
const OLD_SESSION: Duration = Duration::from_secs(10);

/// So many looks a process leaves free what it should leave to others, by their number.
const POLITE: u32 = 4;

/// The lease on what belongs to no adapter: rooms that are linked to nothing, and words about consent.
pub const REST: &str = "";

/// Where wakes are passed on.
const CHANNEL: &str = "mimi_gateway";

/// A process among others.
#[derive(Clone, Debug)]
pub struct Membership {
    /// Where the others reach it. Its name, too.
    pub address: String,
    /// What it can hold: the names of its adapters.
    pub adapters: Vec<String>,
}

/// What a process holds, and what others do.
pub struct Leases {
    pub(super) membership: Option<Membership>,
    held: watch::Sender<BTreeSet<String>>,
    others: RwLock<BTreeMap<String, String>>,
    processes: RwLock<Vec<String>>,
    evicted: CancellationToken,
}

impl Leases {
    pub(super) fn new(membership: Option<Membership>) -> Self {
        Self {
            membership,
            held: watch::Sender::new(BTreeSet::new()),
            others: RwLock::default(),
            processes: RwLock::default(),
            evicted: CancellationToken::new(),
        }
    }

    /// Is there nobody else, by right?
    pub fn is_alone(&self) -> bool {
        self.membership.is_none()
    }

    pub fn holds(&self, resource: &str) -> bool {
        self.is_alone() || self.held.borrow().contains(resource)
    }

    /// Changes when something is gained. Nothing is ever lost but by [`evicted`](Self::evicted).
    pub fn held(&self) -> watch::Receiver<BTreeSet<String>> {
        self.held.subscribe()
    }

    /// The address of the other process that holds it, as far as is known.
    pub fn holder(&self, resource: &str) -> Option<String> {
        self.others.read().unwrap_or_else(PoisonError::into_inner).get(resource).cloned()
    }

    /// The addresses of all processes there are.
    pub fn processes(&self) -> Vec<String> {
        self.processes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends when others have taken over what this process held: it can't go on.
    pub fn evicted(&self) -> &CancellationToken {
        &self.evicted
    }

    fn resources(&self) -> impl Iterator<Item = &str> {
        let adapters = self.membership.iter().flat_map(|it| it.adapters.iter().map(String::as_str));
        std::iter::once(REST).chain(adapters)
    }

    /// One look: says that we live, ends who does not, and takes what is free. `gaining` runs before anything that
    /// was gained is used. Answers whether anything was.
    pub(super) async fn look(
        &self,
        connection: &mut AnyConnection,
        patience: &mut u32,
        gaining: impl Fn() + Send,
    ) -> Result<bool, sqlx::Error> {
        let members = members(connection).await?;
        for member in members.iter().filter(|it| it.age > if it.active { STUCK } else { STALE }) {
            warn!(process = %member.address, silent_ms = member.age, "A process says nothing any more; it is ended.");
            postgres::end(connection, &member.session).await?;
        }
        let locks = locks(connection).await?;
        let us = self.membership.as_ref().map(|it| it.address.as_str()).unwrap_or_default();
        let owner = |resource: &str| locks.get(&number(resource)).cloned();
        let others = self.resources().filter_map(|it| Some((it.to_owned(), owner(it)?)));
        let others: BTreeMap<_, _> = others.filter(|(_, owner)| owner != us).collect();
        *self.others.write().unwrap_or_else(PoisonError::into_inner) = others;
        let mut processes: Vec<_> = members.iter().map(|it| it.address.clone()).collect();
        processes.sort();
        *self.processes.write().unwrap_or_else(PoisonError::into_inner) = processes;

        let free: Vec<_> = self.resources().filter(|it| owner(it).is_none()).map(str::to_owned).collect();
        let is_adapter = |resource: &&String| resource.as_str() != REST;
        let adapters = self.resources().count() - 1;
        let mine = self.held.borrow().iter().filter(is_adapter).count();
        let share = adapters.div_ceil(members.len().max(1)).saturating_sub(mine);
        let waits_for_others = share == 0 && free.iter().any(|it| is_adapter(&it));
        *patience = if waits_for_others { *patience + 1 } else { 0 };
        let wanted = if *patience > POLITE { 1 } else { share };
        let mut gained = Vec::new();
        for resource in free {
            // The rest is little work, and no reason to have fewer adapters.
            let wants = !is_adapter(&&resource) || gained.iter().filter(is_adapter).count() < wanted;
            if wants && lock(connection, &resource).await? {
                gained.push(resource);
            }
        }
        if gained.is_empty() {
            return Ok(false);
        }
        *patience = 0;
        gaining();
        info!(?gained, "Took over.");
        self.held.send_modify(|held| held.extend(gained));
        Ok(true)
    }

    /// In a new session: everything that was held in the one before. Answers what others have taken meanwhile.
    pub(super) async fn take_again(&self, connection: &mut AnyConnection) -> Result<Option<String>, sqlx::Error> {
        let held = self.held.borrow().clone();
        let us = self.membership.as_ref().map(|it| it.address.clone());
        let deadline = Instant::now() + OLD_SESSION;
        for resource in held {
            while !lock(connection, &resource).await? {
                // The session we had is told to end, and takes a moment for that.
                let holder = locks(connection).await?.remove(&number(&resource));
                let is_ours = holder.is_none() || holder == us;
                if !is_ours || Instant::now() > deadline {
                    self.evicted.cancel();
                    return Ok(Some(resource));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(None)
    }
}

impl Tx {
    /// Wakes, once this is committed, whoever serves this in another process.
    pub async fn pass_on_wake(&mut self, destination: &str) -> Result<(), StoreError> {
        sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(destination).execute(self.connection()).await?;
        Ok(())
    }

    /// The adapter whose conversation a room is linked to, also while the link is being taken away.
    pub async fn adapter_of_room(&mut self, room: &str) -> Result<Option<String>, StoreError> {
        let row = sqlx::query_as::<_, (String,)>("SELECT adapter FROM portal WHERE room = $1")
            .bind(room)
            .fetch_optional(self.reading())
            .await?;
        Ok(row.map(|(adapter,)| adapter))
    }
}

/// Hears the wakes of other processes, and calls `wake` with each destination. Ends never.
pub(super) async fn listen(url: String, wake: impl Fn(String) + Send) {
    loop {
        let heard = async {
            let mut listener = sqlx::postgres::PgListener::connect(&url).await?;
            listener.listen(CHANNEL).await?;
            loop {
                wake(listener.recv().await?.payload().to_owned());
            }
        };
        let heard: Result<(), sqlx::Error> = heard.await;
        if let Err(e) = heard {
            warn!(error = %e, "Nothing is heard from other processes for a moment.");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The number of a resource's lock. Number 0 is the database as a whole.
pub(super) fn number(resource: &str) -> i64 {
    let [a, b, c, d, ..] = Sha256::digest(resource.as_bytes())[..] else { unreachable!("it has 32 octets") };
    i64::from((u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff).max(1))
}

struct Member {
    session: postgres::Session,
    address: String,
    active: bool,
    /// Milliseconds since it last said anything.
    age: i64,
}

/// The address that a session is named after (`postgres::open`).
fn address(name: String) -> String {
    name.strip_prefix("mimi-gateway ").unwrap_or(&name).to_owned()
}

/// Every session that shares the database.
async fn members(connection: &mut AnyConnection) -> Result<Vec<Member>, sqlx::Error> {
    let rows = sqlx::query_as::<_, (i32, String, String, bool, i64)>(
        "SELECT a.pid, a.backend_start::text, a.application_name, COALESCE(a.state = 'active', FALSE),
                COALESCE((EXTRACT(EPOCH FROM clock_timestamp() - GREATEST(a.query_start, a.state_change)) * 1000)::int8, 0)
         FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
         WHERE l.locktype = 'advisory' AND l.classid = 1296649545 AND l.objid = 0 AND l.objsubid = 2 AND l.granted
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .fetch_all(connection)
    .await?;
    let member = |(pid, begun, name, active, age): (i32, String, String, bool, i64)| Member {
        session: postgres::Session { pid, begun },
        address: address(name),
        active,
        age,
    };
    Ok(rows.into_iter().map(member).collect())
}

/// Who holds which lock.
async fn locks(connection: &mut AnyConnection) -> Result<BTreeMap<i64, String>, sqlx::Error> {
    let rows = sqlx::query_as::<_, (i64, String)>(
        "SELECT l.objid::int8, a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
         WHERE l.locktype = 'advisory' AND l.classid = 1296649545 AND l.objid <> 0 AND l.objsubid = 2 AND l.granted
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(number, name)| (number, address(name))).collect())
}

async fn lock(connection: &mut AnyConnection, resource: &str) -> Result<bool, sqlx::Error> {
    let row = sqlx::query_as::<_, (bool,)>("SELECT pg_try_advisory_lock(1296649545, $1)")
        .bind(number(resource) as i32)
        .fetch_one(connection)
        .await?;
    Ok(row.0)
}
