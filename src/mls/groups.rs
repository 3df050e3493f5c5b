//! Loaded groups, and how they stay in step with the database.
//!
//! Work on a group takes it out of the cache, runs, writes the changed rows into the caller's transaction
//! and puts it back. If the work fails it is not put back; if the transaction fails later, a hook makes the
//! cache forget it. Either way the next use reads the rows again, so memory is never ahead of the disk.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use super::{
    HubGroup, Member, MlsError,
    codec::{RatchetTree, Welcome},
    storage::Rows,
};
use crate::store::{StoreError, Tx};

/// Whose rows: a leaf's or a hub group's. Minted by the database.
pub type Owner = i64;

/// Loaded groups beyond this many are dropped, oldest use first. A group of two is 3 kB, of a thousand 400 kB.
const CAPACITY: usize = 512;

#[derive(Clone, Default)]
pub struct Groups {
    loaded: Arc<Mutex<Loaded>>,
}

#[derive(Default)]
struct Loaded {
    members: HashMap<Owner, (u64, Member)>,
    hubs: HashMap<Owner, (u64, HubGroup)>,
    clock: u64,
}

impl Groups {
    /// Keeps a new group: its rows go into this transaction under a new owner.
    pub async fn found<E: From<StoreError> + From<MlsError>>(&self, tx: &mut Tx, member: Member) -> Result<Owner, E> {
        let owner = tx.new_mls_owner("leaf").await?;
        self.keep_member(tx, owner, member);
        Ok(owner)
    }

    /// Keeps a group we become the hub of.
    pub async fn follow<E: From<StoreError> + From<MlsError>>(&self, tx: &mut Tx, hub: HubGroup) -> Result<Owner, E> {
        let owner = tx.new_mls_owner("hub").await?;
        self.keep_hub(tx, owner, hub);
        Ok(owner)
    }

    /// Turns a KeyPackage's rows into a leaf's by the Welcome that was made for it.
    pub async fn join<E: From<StoreError> + From<MlsError>>(
        &self,
        tx: &mut Tx,
        owner: Owner,
        welcome: &Welcome,
        tree: &RatchetTree,
    ) -> Result<(), E> {
        let rows = rows::<E>(tx, owner).await?;
        if rows.is_empty() {
            return Err(MlsError::Lost { owner, problem: "the KeyPackage's keys are gone".into() }.into());
        }
        let member = Member::join(rows, welcome, tree)?;
        self.keep_member(tx, owner, member);
        Ok(())
    }

    /// Works on one leaf. What `work` changes is part of `tx`.
    pub async fn member<T, E: From<StoreError> + From<MlsError>>(
        &self,
        tx: &mut Tx,
        owner: Owner,
        group_id: &[u8],
        work: impl FnOnce(&mut Member) -> Result<T, E> + Send,
    ) -> Result<T, E> {
        let cached = self.lock().members.remove(&owner);
        let mut member = match cached {
            Some((_, member)) => member,
            None => {
                let rows = rows::<E>(tx, owner).await?;
                Member::load(rows, group_id).map_err(|e| MlsError::Lost { owner, problem: e.to_string() })?
            }
        };
        let done = work(&mut member)?;
        self.keep_member(tx, owner, member);
        Ok(done)
    }

    /// Works on one group we are the hub of.
    pub async fn hub<T, E: From<StoreError> + From<MlsError>>(
        &self,
        tx: &mut Tx,
        owner: Owner,
        group_id: &[u8],
        work: impl FnOnce(&mut HubGroup) -> Result<T, E> + Send,
    ) -> Result<T, E> {
        let cached = self.lock().hubs.remove(&owner);
        let mut hub = match cached {
            Some((_, hub)) => hub,
            None => HubGroup::load(Rows::load(tx.mls_rows(owner).await?), group_id)?,
        };
        let done = work(&mut hub)?;
        self.keep_hub(tx, owner, hub);
        Ok(done)
    }

    /// Everything is read again. For when another process may have worked with a group.
    pub fn forget(&self) {
        let mut loaded = self.lock();
        loaded.members.clear();
        loaded.hubs.clear();
    }

    fn keep_member(&self, tx: &mut Tx, owner: Owner, member: Member) {
        tx.save_mls_rows(owner, member.provider.rows.drain());
        self.forget_on_rollback(tx, owner);
        let mut loaded = self.lock();
        let now = loaded.tick();
        loaded.members.insert(owner, (now, member));
        trim(&mut loaded.members);
    }

    fn keep_hub(&self, tx: &mut Tx, owner: Owner, hub: HubGroup) {
        tx.save_mls_rows(owner, hub.provider.rows.drain());
        self.forget_on_rollback(tx, owner);
        let mut loaded = self.lock();
        let now = loaded.tick();
        loaded.hubs.insert(owner, (now, hub));
        trim(&mut loaded.hubs);
    }

    fn forget_on_rollback(&self, tx: &mut Tx, owner: Owner) {
        let groups = self.clone();
        tx.on_rollback(move || {
            let mut loaded = groups.lock();
            loaded.members.remove(&owner);
            loaded.hubs.remove(&owner);
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Loaded> {
        self.loaded.lock().expect("no panic happens while the cache is locked")
    }
}

impl Loaded {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

/// The rows of a leaf. What the disk has changed in them can't be mended here, so they are as good as gone.
async fn rows<E: From<StoreError> + From<MlsError>>(tx: &mut Tx, owner: Owner) -> Result<Rows, E> {
    match tx.mls_rows(owner).await {
        Ok(rows) => Ok(Rows::load(rows)),
        Err(damage @ StoreError::Corrupt { .. }) => Err(MlsError::Lost { owner, problem: damage.to_string() }.into()),
        Err(e) => Err(e.into()),
    }
}

/// Drops the less recently used half when there are too many, so that the search for the oldest is rare.
fn trim<T>(loaded: &mut HashMap<Owner, (u64, T)>) {
    if loaded.len() <= CAPACITY {
        return;
    }
    let mut used: Vec<u64> = loaded.values().map(|(used, _)| *used).collect();
    used.sort_unstable();
    let median = used[used.len() / 2];
    loaded.retain(|_, (used, _)| *used >= median);
}
