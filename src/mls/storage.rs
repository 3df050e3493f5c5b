//! What openmls keeps, as rows that the caller's transaction writes.
//!
//! openmls has a storage interface but no notion of a transaction, and its own SQLite storages know one
//! local client per group. So each leaf (and each group we are the hub of) has a [`Rows`] of its own: a map
//! in memory, loaded from the rows of its owner, that remembers what changed. The change is written in the
//! same transaction as the message it belongs to: a ratchet that advanced without its plaintext being kept
//! would lose the message, and one that did not advance after bytes were sent would be used twice.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
};

use openmls_rust_crypto::RustCrypto;
use openmls_traits::{
    OpenMlsProvider,
    storage::{CURRENT_VERSION, StorageProvider, traits},
};
use serde::{Serialize, de::DeserializeOwned};

use super::secrets;

/// The rows of one owner. Not shared: whoever holds it is the only one who works with that group.
#[derive(Default)]
pub(super) struct Rows {
    inner: RefCell<Inner>,
    /// What is done at the moment leaves the secrets of past epochs as they are.
    past_rests: Cell<bool>,
}

#[derive(Default)]
struct Inner {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    changed: BTreeSet<Vec<u8>>,
}

/// A row that can't be written or read. Ours to mend: the file is damaged or from another version.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    #[error("an MLS row can't be encoded: {0}")]
    Encode(String),
    #[error("an MLS row can't be decoded: {0}")]
    Decode(String),
}

impl Rows {
    pub fn load(rows: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Self {
        let inner = Inner { rows: rows.into_iter().collect(), changed: BTreeSet::new() };
        Self { inner: RefCell::new(inner), past_rests: Cell::new(false) }
    }

    /// Does `work` that is of this epoch and does not end it, if `rests`: then the secrets of past epochs stay as they
    /// are, and are not written.
    pub fn while_past_rests<T>(&self, rests: bool, work: impl FnOnce() -> T) -> T {
        self.past_rests.set(rests);
        let done = work();
        self.past_rests.set(false);
        done
    }

    pub fn is_empty(&self) -> bool {
        self.inner.borrow().rows.is_empty()
    }

    /// What changed since the last call: the key, and the value or `None` where the row is gone.
    pub fn drain(&self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let inner = &mut *self.inner.borrow_mut();
        std::mem::take(&mut inner.changed).into_iter().map(|key| (key.clone(), inner.rows.get(&key).cloned())).collect()
    }

    fn put<T: Serialize>(&self, key: Vec<u8>, value: &T) -> Result<(), RowError> {
        self.put_octets(key, encode(value)?);
        Ok(())
    }

    fn put_octets(&self, key: Vec<u8>, value: Vec<u8>) {
        let inner = &mut *self.inner.borrow_mut();
        inner.changed.insert(key.clone());
        inner.rows.insert(key, value);
    }

    fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, RowError> {
        self.inner.borrow().rows.get(key).map(|value| decode(value)).transpose()
    }

    fn remove(&self, key: Vec<u8>) {
        let inner = &mut *self.inner.borrow_mut();
        if inner.rows.remove(&key).is_some() {
            inner.changed.insert(key);
        }
    }

    /// Appends to a list that is one row.
    fn append<T: Serialize>(&self, key: Vec<u8>, value: &T) -> Result<(), RowError> {
        let mut list: Vec<Vec<u8>> = self.get(&key)?.unwrap_or_default();
        list.push(encode(value)?);
        self.put(key, &list)
    }

    fn list<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Vec<T>, RowError> {
        let list: Vec<Vec<u8>> = self.get(key)?.unwrap_or_default();
        list.iter().map(|value| decode(value)).collect()
    }
}

// The first octet of a value names its encoding, so that the next version can tell. Postcard is three times
// smaller and five times faster than a self-describing format here (openmls' octet strings are sequences of
// u8 to serde), but can't do the one untagged enum that openmls has, in its join configuration.
pub(super) const POSTCARD: u8 = 1;
const JSON: u8 = 2;

fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, RowError> {
    let mut octets = vec![POSTCARD];
    append(value, &mut octets).map_err(|e| RowError::Encode(e.to_string()))?;
    Ok(octets)
}

/// Appends the encoding of `value`, without the octet that names it.
pub(super) fn append<T: Serialize + ?Sized>(value: &T, octets: &mut Vec<u8>) -> Result<(), postcard::Error> {
    postcard::serialize_with_flavor(value, Appending(octets))
}

/// Appends to a Vec. What postcard has for that goes through `Extend`, which for single octets, and openmls' octet
/// strings are single octets to serde, is several times slower than a push.
struct Appending<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Appending<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, octet: u8) -> Result<(), postcard::Error> {
        self.0.push(octet);
        Ok(())
    }

    fn try_extend(&mut self, octets: &[u8]) -> Result<(), postcard::Error> {
        self.0.extend_from_slice(octets);
        Ok(())
    }

    fn finalize(self) -> Result<(), postcard::Error> {
        Ok(())
    }
}

fn encode_json<T: Serialize>(value: &T) -> Result<Vec<u8>, RowError> {
    let mut octets = vec![JSON];
    serde_json::to_writer(&mut octets, value).map_err(|e| RowError::Encode(e.to_string()))?;
    Ok(octets)
}

pub(super) fn decode<T: DeserializeOwned>(octets: &[u8]) -> Result<T, RowError> {
    match octets.split_first() {
        Some((&POSTCARD, value)) => postcard::from_bytes(value).map_err(|e| RowError::Decode(e.to_string())),
        Some((&JSON, value)) => serde_json::from_slice(value).map_err(|e| RowError::Decode(e.to_string())),
        Some((other, _)) => Err(RowError::Decode(format!("unknown encoding {other} (a newer version wrote it)"))),
        None => Err(RowError::Decode("empty".into())),
    }
}

/// The first octet of a key says what the row is.
#[derive(Clone, Copy)]
#[repr(u8)]
#[allow(clippy::enum_variant_names)] // The confirmation tag is called that.
enum Tag {
    JoinConfig = 1,
    OwnLeafNodes,
    ProposalRefs,
    Proposal,
    Tree,
    InterimTranscriptHash,
    Context,
    ConfirmationTag,
    GroupState,
    MessageSecrets,
    ResumptionPsks,
    OwnLeafIndex,
    EpochSecrets,
    ExportTree,
    SignatureKeyPair,
    EncryptionKeyPair,
    EpochKeyPairs,
    KeyPackage,
    Psk,
    PastSecrets,
    /// The hub's: the GroupInfo of the epoch.
    GroupInfo,
    /// The hub's: proposals that wait for a commit, as they came.
    Waiting,
}

/// What a hub keeps of a group beside what openmls does: what it hands to who joins by an external commit.
impl Rows {
    pub fn put_group_info(&self, octets: &[u8]) {
        self.put_octets(vec![Tag::GroupInfo as u8], octets.to_vec());
    }

    pub fn group_info(&self) -> Option<Vec<u8>> {
        self.inner.borrow().rows.get(&[Tag::GroupInfo as u8][..]).cloned()
    }

    /// MLSMessages, and when the hub accepted them.
    pub fn put_waiting(&self, proposals: &[(Vec<u8>, u64)]) -> Result<(), RowError> {
        let name = vec![Tag::Waiting as u8];
        match proposals {
            [] => self.remove(name),
            proposals => self.put_octets(name, encode(proposals)?),
        }
        Ok(())
    }

    pub fn waiting(&self) -> Result<Vec<(Vec<u8>, u64)>, RowError> {
        Ok(self.get(&[Tag::Waiting as u8])?.unwrap_or_default())
    }
}

fn key(tag: Tag, name: &impl Serialize) -> Result<Vec<u8>, RowError> {
    postcard::to_extend(name, vec![tag as u8]).map_err(|e| RowError::Encode(e.to_string()))
}

fn epoch_key(group_id: &impl Serialize, epoch: &impl Serialize, leaf_index: u32) -> Result<Vec<u8>, RowError> {
    key(Tag::EpochKeyPairs, &(group_id, epoch, leaf_index))
}

/// One value per group: write, read and delete.
macro_rules! group_rows {
    ($($tag:ident: $kind:ident, $write:ident, $read:ident, $delete:ident;)*) => {$(
        fn $write<G: traits::GroupId<CURRENT_VERSION>, T: traits::$kind<CURRENT_VERSION>>(
            &self, group_id: &G, value: &T,
        ) -> Result<(), RowError> {
            self.put(key(Tag::$tag, group_id)?, value)
        }

        fn $read<G: traits::GroupId<CURRENT_VERSION>, T: traits::$kind<CURRENT_VERSION>>(
            &self, group_id: &G,
        ) -> Result<Option<T>, RowError> {
            self.get(&key(Tag::$tag, group_id)?)
        }

        fn $delete<G: traits::GroupId<CURRENT_VERSION>>(&self, group_id: &G) -> Result<(), RowError> {
            self.remove(key(Tag::$tag, group_id)?);
            Ok(())
        }
    )*};
}

/// One value per name of its own.
macro_rules! named_rows {
    ($($tag:ident: $name:ident, $kind:ident, $write:ident, $read:ident, $delete:ident;)*) => {$(
        fn $write<N: traits::$name<CURRENT_VERSION>, T: traits::$kind<CURRENT_VERSION>>(
            &self, name: &N, value: &T,
        ) -> Result<(), RowError> {
            self.put(key(Tag::$tag, name)?, value)
        }

        named_rows!(@read $tag, $name, $kind, $read);

        fn $delete<N: traits::$name<CURRENT_VERSION>>(&self, name: &N) -> Result<(), RowError> {
            self.remove(key(Tag::$tag, name)?);
            Ok(())
        }
    )*};
    // The interface is not of one mind about the order of the type parameters.
    (@read EncryptionKeyPair, $name:ident, $kind:ident, $read:ident) => {
        fn $read<T: traits::$kind<CURRENT_VERSION>, N: traits::$name<CURRENT_VERSION>>(
            &self, name: &N,
        ) -> Result<Option<T>, RowError> {
            self.get(&key(Tag::EncryptionKeyPair, name)?)
        }
    };
    (@read Psk, $name:ident, $kind:ident, $read:ident) => {
        fn $read<T: traits::$kind<CURRENT_VERSION>, N: traits::$name<CURRENT_VERSION>>(
            &self, name: &N,
        ) -> Result<Option<T>, RowError> {
            self.get(&key(Tag::Psk, name)?)
        }
    };
    (@read $tag:ident, $name:ident, $kind:ident, $read:ident) => {
        fn $read<N: traits::$name<CURRENT_VERSION>, T: traits::$kind<CURRENT_VERSION>>(
            &self, name: &N,
        ) -> Result<Option<T>, RowError> {
            self.get(&key(Tag::$tag, name)?)
        }
    };
}

impl StorageProvider<CURRENT_VERSION> for Rows {
    type Error = RowError;

    group_rows! {
        Tree: TreeSync, write_tree, tree, delete_tree;
        InterimTranscriptHash: InterimTranscriptHash,
            write_interim_transcript_hash, interim_transcript_hash, delete_interim_transcript_hash;
        Context: GroupContext, write_context, group_context, delete_context;
        ConfirmationTag: ConfirmationTag, write_confirmation_tag, confirmation_tag, delete_confirmation_tag;
        ResumptionPsks: ResumptionPskStore,
            write_resumption_psk_store, resumption_psk_store, delete_all_resumption_psk_secrets;
        OwnLeafIndex: LeafNodeIndex, write_own_leaf_index, own_leaf_index, delete_own_leaf_index;
        EpochSecrets: GroupEpochSecrets, write_group_epoch_secrets, group_epoch_secrets, delete_group_epoch_secrets;
    }

    fn write_message_secrets<G: traits::GroupId<CURRENT_VERSION>, T: traits::MessageSecrets<CURRENT_VERSION>>(
        &self,
        group_id: &G,
        secrets: &T,
    ) -> Result<(), RowError> {
        let parts = secrets::parts(secrets, !self.past_rests.get())?;
        if let Some(past) = parts.past {
            self.put_octets(key(Tag::PastSecrets, group_id)?, past);
        }
        self.put_octets(key(Tag::MessageSecrets, group_id)?, parts.current);
        Ok(())
    }

    fn message_secrets<G: traits::GroupId<CURRENT_VERSION>, T: traits::MessageSecrets<CURRENT_VERSION>>(
        &self,
        group_id: &G,
    ) -> Result<Option<T>, RowError> {
        let inner = self.inner.borrow();
        let past = inner.rows.get(&key(Tag::PastSecrets, group_id)?);
        let current = inner.rows.get(&key(Tag::MessageSecrets, group_id)?);
        match (past, current) {
            (None, None) => Ok(None),
            (Some(past), Some(current)) => secrets::whole(past, current).map(Some),
            _ => Err(RowError::Decode("half of the message secrets is missing".into())),
        }
    }

    fn delete_message_secrets<G: traits::GroupId<CURRENT_VERSION>>(&self, group_id: &G) -> Result<(), RowError> {
        self.remove(key(Tag::PastSecrets, group_id)?);
        self.remove(key(Tag::MessageSecrets, group_id)?);
        Ok(())
    }

    fn write_application_export_tree<
        G: traits::GroupId<CURRENT_VERSION>,
        T: traits::ApplicationExportTree<CURRENT_VERSION>,
    >(
        &self,
        group_id: &G,
        tree: &T,
    ) -> Result<(), RowError> {
        self.put(key(Tag::ExportTree, group_id)?, tree)
    }

    fn application_export_tree<
        G: traits::GroupId<CURRENT_VERSION>,
        T: traits::ApplicationExportTree<CURRENT_VERSION>,
    >(
        &self,
        group_id: &G,
    ) -> Result<Option<T>, RowError> {
        self.get(&key(Tag::ExportTree, group_id)?)
    }

    fn delete_application_export_tree<
        G: traits::GroupId<CURRENT_VERSION>,
        T: traits::ApplicationExportTree<CURRENT_VERSION>,
    >(
        &self,
        group_id: &G,
    ) -> Result<(), RowError> {
        self.remove(key(Tag::ExportTree, group_id)?);
        Ok(())
    }

    named_rows! {
        SignatureKeyPair: SignaturePublicKey, SignatureKeyPair,
            write_signature_key_pair, signature_key_pair, delete_signature_key_pair;
        EncryptionKeyPair: EncryptionKey, HpkeKeyPair,
            write_encryption_key_pair, encryption_key_pair, delete_encryption_key_pair;
        KeyPackage: HashReference, KeyPackage, write_key_package, key_package, delete_key_package;
        Psk: PskId, PskBundle, write_psk, psk, delete_psk;
    }

    fn write_mls_join_config<G: traits::GroupId<CURRENT_VERSION>, T: traits::MlsGroupJoinConfig<CURRENT_VERSION>>(
        &self,
        group_id: &G,
        config: &T,
    ) -> Result<(), RowError> {
        self.put_octets(key(Tag::JoinConfig, group_id)?, encode_json(config)?);
        Ok(())
    }

    fn mls_group_join_config<G: traits::GroupId<CURRENT_VERSION>, T: traits::MlsGroupJoinConfig<CURRENT_VERSION>>(
        &self,
        group_id: &G,
    ) -> Result<Option<T>, RowError> {
        self.get(&key(Tag::JoinConfig, group_id)?)
    }

    fn delete_group_config<G: traits::GroupId<CURRENT_VERSION>>(&self, group_id: &G) -> Result<(), RowError> {
        self.remove(key(Tag::JoinConfig, group_id)?);
        Ok(())
    }

    fn write_group_state<T: traits::GroupState<CURRENT_VERSION>, G: traits::GroupId<CURRENT_VERSION>>(
        &self,
        group_id: &G,
        state: &T,
    ) -> Result<(), RowError> {
        self.put(key(Tag::GroupState, group_id)?, state)
    }

    fn group_state<T: traits::GroupState<CURRENT_VERSION>, G: traits::GroupId<CURRENT_VERSION>>(
        &self,
        group_id: &G,
    ) -> Result<Option<T>, RowError> {
        self.get(&key(Tag::GroupState, group_id)?)
    }

    fn delete_group_state<G: traits::GroupId<CURRENT_VERSION>>(&self, group_id: &G) -> Result<(), RowError> {
        self.remove(key(Tag::GroupState, group_id)?);
        Ok(())
    }

    fn append_own_leaf_node<G: traits::GroupId<CURRENT_VERSION>, T: traits::LeafNode<CURRENT_VERSION>>(
        &self,
        group_id: &G,
        leaf_node: &T,
    ) -> Result<(), RowError> {
        self.append(key(Tag::OwnLeafNodes, group_id)?, leaf_node)
    }

    fn own_leaf_nodes<G: traits::GroupId<CURRENT_VERSION>, T: traits::LeafNode<CURRENT_VERSION>>(
        &self,
        group_id: &G,
    ) -> Result<Vec<T>, RowError> {
        self.list(&key(Tag::OwnLeafNodes, group_id)?)
    }

    fn delete_own_leaf_nodes<G: traits::GroupId<CURRENT_VERSION>>(&self, group_id: &G) -> Result<(), RowError> {
        self.remove(key(Tag::OwnLeafNodes, group_id)?);
        Ok(())
    }

    fn queue_proposal<
        G: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
        P: traits::QueuedProposal<CURRENT_VERSION>,
    >(
        &self,
        group_id: &G,
        proposal_ref: &R,
        proposal: &P,
    ) -> Result<(), RowError> {
        let queued = key(Tag::Proposal, &(group_id, proposal_ref))?;
        if self.get::<P>(&queued)?.is_none() {
            self.append(key(Tag::ProposalRefs, group_id)?, proposal_ref)?;
        }
        self.put(queued, proposal)
    }

    fn queued_proposal_refs<G: traits::GroupId<CURRENT_VERSION>, R: traits::ProposalRef<CURRENT_VERSION>>(
        &self,
        group_id: &G,
    ) -> Result<Vec<R>, RowError> {
        self.list(&key(Tag::ProposalRefs, group_id)?)
    }

    fn queued_proposals<
        G: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
        P: traits::QueuedProposal<CURRENT_VERSION>,
    >(
        &self,
        group_id: &G,
    ) -> Result<Vec<(R, P)>, RowError> {
        let mut proposals = Vec::new();
        for proposal_ref in self.queued_proposal_refs::<G, R>(group_id)? {
            let proposal = self
                .get(&key(Tag::Proposal, &(group_id, &proposal_ref))?)?
                .ok_or_else(|| RowError::Decode("a queued proposal is missing".into()))?;
            proposals.push((proposal_ref, proposal));
        }
        Ok(proposals)
    }

    fn remove_proposal<G: traits::GroupId<CURRENT_VERSION>, R: traits::ProposalRef<CURRENT_VERSION>>(
        &self,
        group_id: &G,
        proposal_ref: &R,
    ) -> Result<(), RowError> {
        let gone = encode(proposal_ref)?;
        let refs_key = key(Tag::ProposalRefs, group_id)?;
        let mut refs: Vec<Vec<u8>> = self.get(&refs_key)?.unwrap_or_default();
        refs.retain(|r| *r != gone);
        self.put(refs_key, &refs)?;
        self.remove(key(Tag::Proposal, &(group_id, proposal_ref))?);
        Ok(())
    }

    fn clear_proposal_queue<G: traits::GroupId<CURRENT_VERSION>, R: traits::ProposalRef<CURRENT_VERSION>>(
        &self,
        group_id: &G,
    ) -> Result<(), RowError> {
        for proposal_ref in self.queued_proposal_refs::<G, R>(group_id)? {
            self.remove(key(Tag::Proposal, &(group_id, &proposal_ref))?);
        }
        self.remove(key(Tag::ProposalRefs, group_id)?);
        Ok(())
    }

    fn write_encryption_epoch_key_pairs<
        G: traits::GroupId<CURRENT_VERSION>,
        E: traits::EpochKey<CURRENT_VERSION>,
        K: traits::HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        group_id: &G,
        epoch: &E,
        leaf_index: u32,
        key_pairs: &[K],
    ) -> Result<(), RowError> {
        self.put_octets(epoch_key(group_id, epoch, leaf_index)?, encode(key_pairs)?);
        Ok(())
    }

    fn encryption_epoch_key_pairs<
        G: traits::GroupId<CURRENT_VERSION>,
        E: traits::EpochKey<CURRENT_VERSION>,
        K: traits::HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        group_id: &G,
        epoch: &E,
        leaf_index: u32,
    ) -> Result<Vec<K>, RowError> {
        Ok(self.get(&epoch_key(group_id, epoch, leaf_index)?)?.unwrap_or_default())
    }

    fn delete_encryption_epoch_key_pairs<G: traits::GroupId<CURRENT_VERSION>, E: traits::EpochKey<CURRENT_VERSION>>(
        &self,
        group_id: &G,
        epoch: &E,
        leaf_index: u32,
    ) -> Result<(), RowError> {
        self.remove(epoch_key(group_id, epoch, leaf_index)?);
        Ok(())
    }
}

/// What openmls asks for beside storage: RustCrypto, which is also its source of randomness.
pub(super) struct Provider {
    pub rows: Rows,
    crypto: RustCrypto,
}

impl Provider {
    pub fn new(rows: Rows) -> Self {
        Self { rows, crypto: RustCrypto::default() }
    }
}

impl OpenMlsProvider for Provider {
    type CryptoProvider = RustCrypto;
    type RandProvider = RustCrypto;
    type StorageProvider = Rows;

    fn storage(&self) -> &Rows {
        &self.rows
    }
    fn crypto(&self) -> &RustCrypto {
        &self.crypto
    }
    fn rand(&self) -> &RustCrypto {
        &self.crypto
    }
}
