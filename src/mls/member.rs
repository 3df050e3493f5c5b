//! One leaf of one of our clients in one room's group.

use std::collections::{BTreeMap, BTreeSet};

use openmls::{
    component::ComponentsList,
    group::{
        GroupId, MlsGroup, MlsGroupCreateConfig, MlsGroupJoinConfig, ProposalValidationError, StageCommitError,
        StagedCommit, StagedWelcome, ValidationError,
    },
    prelude::{
        AppDataDictionary, AppDataDictionaryExtension, AppDataUpdateOperation, AppDataUpdateProposal, BasicCredential,
        Credential, CredentialType, Extension, ExtensionType, Extensions, ExternalSender, GroupContext,
        KeyPackageVerifyError, LeafNodeIndex, MlsMessageBodyIn, OpenMlsProvider, PURE_PLAINTEXT_WIRE_FORMAT_POLICY,
        ProcessMessageError, ProcessedMessageContent, Proposal, ProposalType, ProtocolMessage, ProtocolVersion,
        RequiredCapabilitiesExtension, SafeAadItem, Sender, SenderExtensionIndex, SenderRatchetConfiguration,
    },
    treesync::errors::{LeafNodeValidationError, LifetimeError},
};
use tls_codec::Serialize;

use super::{
    Client, MlsError, RowError, SUITE, app_data,
    client::{capabilities, lifetime},
    codec::{GroupInfo, KeyPackage, MlsMessage, RatchetTree, Welcome},
    storage::{Provider, Rows},
};
use crate::mimi::{component, framing::MediaTypeList, tls::Tls};

/// The app_data_dictionary of a GroupContext, by component id.
pub type Dictionary = BTreeMap<u16, Vec<u8>>;

/// A message out of order by up to this many generations is still read.
const OUT_OF_ORDER: u32 = 32;

/// A sender's message this many generations ahead is still read. Not openmls' 1,000: our reader skips what
/// our own other clients send, and another one may take over as reader in mid-epoch.
const AHEAD: u32 = 50_000;

/// Epochs whose secrets are kept for messages that a hub let pass late.
const PAST_EPOCHS: usize = 2;

/// The identity of each leaf, by leaf index.
pub type Leaves = BTreeMap<u32, String>;

pub struct Member {
    pub(super) provider: Provider,
    group: MlsGroup,
}

/// The group a room begins with.
pub struct NewGroup<'a> {
    pub group_id: &'a [u8],
    /// Signature key and identity of the hub as external sender (P§7.4).
    pub hub_key: &'a [u8],
    pub hub_identity: &'a str,
    pub dictionary: Dictionary,
}

/// What a commit of ours should change.
#[derive(Default)]
pub struct Change {
    /// KeyPackages, each for one new leaf.
    pub add: Vec<KeyPackage>,
    /// Identities whose leaves go.
    pub remove: Vec<String>,
    /// AppDataUpdate: component and update octets.
    pub update: Vec<(u16, Vec<u8>)>,
}

/// A commit of ours, ready for the hub. The group waits in its pending state until `merge` or `abandon`.
pub struct CommitMaterial {
    pub commit: MlsMessage,
    pub welcome: Option<Welcome>,
    /// Without ratchet_tree.
    pub group_info: GroupInfo,
    /// Of the next epoch.
    pub tree: RatchetTree,
}

/// What an MLS message turned out to be.
pub enum Processed {
    Application {
        sender: String,
        data: Vec<u8>,
    },
    /// Verified and ready; look at it, then [`Member::merge`] or drop it.
    Commit(Staged),
    /// Verified and kept for the next commit.
    Proposal,
    /// The commit this very client has pending.
    OwnCommit,
    /// A private message of this very client.
    OwnMessage,
}

/// A commit that is valid MLS, and what the group would become.
pub struct Staged {
    staged: Box<StagedCommit>,
    /// Identity of the committer.
    pub committer: String,
    /// The leaves as they will be. New ones have numbers of our own choosing.
    pub leaves: Leaves,
    pub after: Dictionary,
    /// Identities that leave by their own SelfRemove, which somebody else had to commit.
    pub leaving: Vec<String>,
    /// Leaves that go because the hub has proposed it.
    pub removed_by_hub: BTreeSet<u32>,
    /// Whether it removes this very leaf.
    pub removes_us: bool,
}

impl Member {
    /// Founds a group with one leaf.
    pub fn found(client: &Client, new: NewGroup<'_>) -> Result<Self, MlsError> {
        let provider = Provider::new(Rows::default());
        let hub =
            ExternalSender::new(new.hub_key.into(), BasicCredential::new(new.hub_identity.as_bytes().to_vec()).into());
        let required = RequiredCapabilitiesExtension::new(
            &[ExtensionType::AppDataDictionary],
            &[ProposalType::AppDataUpdate, ProposalType::SelfRemove],
            &[CredentialType::Basic],
        );
        let mut dictionary = AppDataDictionary::new();
        for (id, data) in new.dictionary {
            dictionary.insert(id, data);
        }
        let components = ComponentsList::new(dictionary.entries().map(|entry| entry.id()).collect());
        dictionary.insert(component::APP_COMPONENTS, components.tls_serialize_detached().map_err(MlsError::state)?);
        let aad = ComponentsList::new(vec![component::FRANK_AAD]);
        dictionary.insert(component::SAFE_AAD, aad.tls_serialize_detached().map_err(MlsError::state)?);
        dictionary.insert(component::CONTENT_MEDIA_TYPES, MediaTypeList::ours().encode());
        let context: Extensions<GroupContext> = Extensions::from_vec(vec![
            Extension::RequiredCapabilities(required),
            Extension::ExternalSenders(vec![hub]),
            Extension::AppDataDictionary(AppDataDictionaryExtension::new(dictionary)),
        ])
        .map_err(MlsError::state)?;
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(SUITE)
            .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
            .max_past_epochs(PAST_EPOCHS)
            .sender_ratchet_configuration(SenderRatchetConfiguration::new(OUT_OF_ORDER, AHEAD))
            .capabilities(capabilities())
            .lifetime(lifetime())
            .with_leaf_node_extensions(client.leaf_extensions()?)
            .map_err(MlsError::state)?
            .with_group_context_extensions(context)
            .build();
        let group = MlsGroup::new_with_group_id(
            &provider,
            &client.keys,
            &config,
            GroupId::from_slice(new.group_id),
            client.credential_with_key(),
        )
        .map_err(MlsError::state)?;
        Ok(Self { provider, group })
    }

    /// Joins by a Welcome with the rows of the KeyPackage it was made for.
    pub(super) fn join(rows: Rows, welcome: &Welcome, tree: &RatchetTree) -> Result<Self, MlsError> {
        let provider = Provider::new(rows);
        // Members that have not committed for longer than their leaf's lifetime are still members.
        let staged = StagedWelcome::build_from_welcome(&provider, &join_config(), welcome.to_openmls())
            .map_err(MlsError::invalid)?
            .with_ratchet_tree(tree.to_openmls())
            .skip_lifetime_validation()
            .build()
            .map_err(MlsError::invalid)?;
        let group = staged.into_group(&provider).map_err(MlsError::invalid)?;
        Ok(Self { provider, group })
    }

    pub(super) fn load(rows: Rows, group_id: &[u8]) -> Result<Self, MlsError> {
        let provider = Provider::new(rows);
        let group = MlsGroup::load(provider.storage(), &GroupId::from_slice(group_id))
            .map_err(MlsError::state)?
            .ok_or_else(|| MlsError::state("the leaf has no group"))?;
        Ok(Self { provider, group })
    }

    pub(super) fn with(provider: Provider, group: MlsGroup) -> Self {
        Self { provider, group }
    }

    pub fn epoch(&self) -> u64 {
        self.group.epoch().as_u64()
    }

    pub fn group_id(&self) -> &[u8] {
        self.group.group_id().as_slice()
    }

    pub fn dictionary(&self) -> Dictionary {
        dictionary(self.group.extensions())
    }

    /// One component of the dictionary.
    pub fn component(&self, id: u16) -> Option<&[u8]> {
        self.group.extensions().app_data_dictionary()?.dictionary().get(&id)
    }

    pub fn has_pending_proposals(&self) -> bool {
        self.group.has_pending_proposals()
    }

    /// Whether this leaf has proposed to leave; then another one has to commit that.
    pub fn is_leaving(&self) -> bool {
        let own = Sender::Member(self.group.own_leaf_index());
        self.group
            .pending_proposals()
            .any(|queued| matches!(queued.proposal(), Proposal::SelfRemove) && *queued.sender() == own)
    }

    pub fn leaves(&self) -> Result<Leaves, MlsError> {
        leaves(self.group.members())
    }

    pub fn tree(&self) -> Result<RatchetTree, MlsError> {
        RatchetTree::from_openmls(&self.group.export_ratchet_tree()).map_err(MlsError::state)
    }

    /// GroupInfo of the current epoch, without ratchet_tree.
    pub fn group_info(&self, client: &Client) -> Result<GroupInfo, MlsError> {
        let message =
            self.group.export_group_info(self.provider.crypto(), &client.keys, false).map_err(MlsError::state)?;
        let octets = message.tls_serialize_detached().map_err(MlsError::state)?;
        // The bare GroupInfo follows the MLSMessage's version and wire format, two octets each.
        GroupInfo::decode(octets.get(4..).unwrap_or_default()).map_err(MlsError::state)
    }

    /// Encrypts for the current epoch, with the franking tag in the authenticated data (P§5.4.1). Answers
    /// the message. The ratchet has moved: save the rows before the octets leave.
    pub fn encrypt(&mut self, client: &Client, franking_tag: &[u8; 32], data: &[u8]) -> Result<MlsMessage, MlsError> {
        self.group
            .set_safe_aad(vec![SafeAadItem::new(component::FRANK_AAD, franking_tag.to_vec())])
            .map_err(MlsError::state)?;
        let message = self
            .provider
            .rows
            .while_past_rests(true, || self.group.create_message(&self.provider, &client.keys, data))
            .map_err(MlsError::state)?;
        MlsMessage::from_openmls(&message).map_err(MlsError::state)
    }

    /// Verifies and decrypts one message. `Invalid` means the sender's fault and changes nothing.
    pub fn process(&mut self, message: &MlsMessage) -> Result<Processed, MlsError> {
        let message = protocol_message(message)?;
        let (current, of) = (self.epoch(), message.epoch().as_u64());
        let past = PAST_EPOCHS as u64;
        let handshake = message.is_handshake_message();
        if message.group_id() != self.group.group_id() {
            return Err(MlsError::invalid("the message is of another group"));
        }
        if of > current || (handshake && of < current) || of + past < current {
            return Err(MlsError::Epoch { current, message: of });
        }
        // Reading a commit does not end the epoch yet; `merge` does.
        let read = || self.group.process_message(&self.provider, message);
        let processed = self.provider.rows.while_past_rests(of == current, read).map_err(|e| match e {
            ProcessMessageError::StorageError(e) => MlsError::from(e),
            ProcessMessageError::LibraryError(e) => MlsError::state(e),
            ProcessMessageError::InvalidCommit(e) => unstaged(e),
            ProcessMessageError::ValidationError(ValidationError::KeyPackageVerifyError(
                KeyPackageVerifyError::LifetimeError(e),
            )) => waits_for_the_clock(e),
            e => MlsError::invalid(e),
        })?;
        let sender = identity(processed.credential())?;
        let joins = matches!(processed.sender(), Sender::NewMemberCommit);
        match processed.into_content() {
            ProcessedMessageContent::ApplicationMessage(message) => {
                Ok(Processed::Application { sender, data: message.into_bytes() })
            }
            ProcessedMessageContent::OwnPrivateMessage => Ok(Processed::OwnMessage),
            ProcessedMessageContent::OwnPendingCommit => Ok(Processed::OwnCommit),
            ProcessedMessageContent::ProposalMessage(proposal)
            | ProcessedMessageContent::ExternalJoinProposalMessage(proposal) => {
                self.group.store_pending_proposal(self.provider.storage(), *proposal).map_err(MlsError::state)?;
                Ok(Processed::Proposal)
            }
            ProcessedMessageContent::StagedCommitMessage(staged) => {
                self.staged(sender, joins, *staged).map(Processed::Commit)
            }
            ProcessedMessageContent::UnresolvedAppDataCommit(commit) => {
                let changes =
                    app_data::apply(self.group.app_data_dictionary_updater(), commit.app_data_update_proposals())?;
                let staged = self.group.stage_app_data_commit(&self.provider, *commit, changes).map_err(unstaged)?;
                self.staged(sender, joins, staged).map(Processed::Commit)
            }
        }
    }

    fn staged(&self, committer: String, joins: bool, staged: StagedCommit) -> Result<Staged, MlsError> {
        let before = self.leaves()?;
        let leaving = leaving(&before, &staged);
        let leaves = leaves_after(before, &staged, joins.then_some(&committer))?;
        Ok(Staged {
            committer,
            leaves,
            leaving,
            removed_by_hub: removed_by_hub(&staged),
            after: dictionary(staged.group_context().extensions()),
            removes_us: staged.self_removed(),
            staged: Box::new(staged),
        })
    }

    pub fn merge(&mut self, staged: Staged) -> Result<(), MlsError> {
        self.group.merge_staged_commit(&self.provider, *staged.staged).map_err(MlsError::state)
    }

    /// Builds a commit with `change` and every pending proposal, and waits with it.
    pub fn commit(&mut self, client: &Client, change: Change) -> Result<CommitMaterial, MlsError> {
        let add = change
            .add
            .iter()
            .map(|key_package| {
                key_package
                    .to_openmls()
                    .validate(self.provider.crypto(), ProtocolVersion::Mls10)
                    .map_err(MlsError::invalid)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let remove: Vec<LeafNodeIndex> = self
            .group
            .members()
            .filter(|member| identity(&member.credential).is_ok_and(|id| change.remove.contains(&id)))
            .map(|member| member.index)
            .collect();
        let updates = change
            .update
            .into_iter()
            .map(|(id, data)| Proposal::AppDataUpdate(Box::new(AppDataUpdateProposal::update(id, data))));
        let mut stage = self
            .group
            .commit_builder()
            .add_proposals(updates)
            .propose_removals(remove)
            .propose_adds(add)
            .load_psks(self.provider.storage())
            .map_err(MlsError::state)?
            .create_group_info(true);
        let changes = app_data::apply(stage.app_data_dictionary_updater(), stage.app_data_update_proposals())?;
        stage.with_app_data_dictionary_updates(changes);
        let bundle = stage
            .build(self.provider.rand(), self.provider.crypto(), &client.keys, |_| true)
            .map_err(MlsError::invalid)?
            .stage_commit(&self.provider)
            .map_err(MlsError::state)?;
        let (commit, welcome, group_info) = bundle.into_contents();
        let pending = self.group.pending_commit().expect("a commit was just staged");
        let tree = pending
            .export_ratchet_tree(self.provider.crypto(), self.group.export_ratchet_tree())
            .map_err(MlsError::state)?
            .unwrap_or_else(|| self.group.export_ratchet_tree());
        let group_info =
            group_info.ok_or_else(|| MlsError::state("the commit came without the GroupInfo it was asked for"))?;
        Ok(CommitMaterial {
            commit: MlsMessage::from_openmls(&commit).map_err(MlsError::state)?,
            welcome: welcome.as_ref().map(Welcome::from_openmls).transpose().map_err(MlsError::state)?,
            group_info: GroupInfo::from_openmls(&group_info).map_err(MlsError::state)?,
            tree: RatchetTree::from_openmls(&tree).map_err(MlsError::state)?,
        })
    }

    /// A client can't remove itself: it proposes to go, with every other client of its user, and to be taken from the
    /// participant list, and somebody else commits that (D23).
    pub fn propose_leaving(
        &mut self,
        client: &Client,
        others: &[String],
        list_update: Vec<u8>,
    ) -> Result<Vec<MlsMessage>, MlsError> {
        let leave = self.group.leave_group_via_self_remove(&self.provider, &client.keys).map_err(MlsError::state)?;
        let own = self.group.own_leaf_index();
        let others: Vec<_> = self
            .group
            .members()
            .filter(|member| member.index != own)
            .filter(|member| identity(&member.credential).is_ok_and(|identity| others.contains(&identity)))
            .map(|member| member.index)
            .collect();
        let mut proposals = vec![leave];
        for leaf in others {
            let removed = self.group.propose_remove_member(&self.provider, &client.keys, leaf);
            proposals.push(removed.map_err(MlsError::state)?.0);
        }
        let (update, _) = self
            .group
            .propose_app_data_update(
                &self.provider,
                &client.keys,
                component::PARTICIPANT_LIST,
                AppDataUpdateOperation::Update(list_update.into()),
            )
            .map_err(MlsError::state)?;
        proposals.push(update);
        proposals.iter().map(|message| MlsMessage::from_openmls(message).map_err(MlsError::state)).collect()
    }

    pub fn has_pending_commit(&self) -> bool {
        self.group.pending_commit().is_some()
    }

    /// The hub took our commit.
    pub fn merge_pending(&mut self) -> Result<(), MlsError> {
        self.group.merge_pending_commit(&self.provider).map_err(MlsError::state)
    }

    /// The hub did not.
    pub fn abandon_pending(&mut self) -> Result<(), MlsError> {
        self.group.clear_pending_commit(self.provider.storage()).map_err(|e: RowError| e.into())
    }
}

/// A commit can't be staged.
fn unstaged(e: StageCommitError) -> MlsError {
    match e {
        StageCommitError::ProposalValidationError(ProposalValidationError::LeafNodeValidation(
            LeafNodeValidationError::Lifetime(e),
        ))
        | StageCommitError::LeafNodeValidation(LeafNodeValidationError::Lifetime(e)) => waits_for_the_clock(e),
        e => MlsError::invalid(e),
    }
}

/// openmls looks at the lifetime of who is added by our own clock, in up to three places, and also when the commit is
/// long accepted. If that is all that is wrong with it, the clock may be: nobody can go on without it.
fn waits_for_the_clock(e: LifetimeError) -> MlsError {
    MlsError::state(format!("a commit waits for the clock to be right: {e}"))
}

pub(super) fn join_config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        // Every leaf decides this for itself; a commit in ciphertext could not be read by the hub.
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .max_past_epochs(PAST_EPOCHS)
        .sender_ratchet_configuration(SenderRatchetConfiguration::new(OUT_OF_ORDER, AHEAD))
        .build()
}

pub(super) fn protocol_message(message: &MlsMessage) -> Result<ProtocolMessage, MlsError> {
    match message.to_openmls().extract() {
        MlsMessageBodyIn::PublicMessage(message) => Ok(message.into()),
        MlsMessageBodyIn::PrivateMessage(message) => Ok(message.into()),
        _ => Err(MlsError::invalid("neither a handshake nor an application message")),
    }
}

/// Our credentials are basic; what their octets say is a URI, which the caller parses.
pub(super) fn identity(credential: &Credential) -> Result<String, MlsError> {
    let basic = BasicCredential::try_from(credential.clone()).map_err(MlsError::invalid)?;
    String::from_utf8(basic.identity().to_vec()).map_err(MlsError::invalid)
}

pub(super) fn dictionary(extensions: &Extensions<GroupContext>) -> Dictionary {
    extensions
        .app_data_dictionary()
        .map(|extension| extension.dictionary().entries().map(|entry| (entry.id(), entry.data().to_vec())).collect())
        .unwrap_or_default()
}

pub(super) fn leaves(members: impl Iterator<Item = openmls::prelude::Member>) -> Result<Leaves, MlsError> {
    members.map(|member| Ok((member.index.u32(), identity(&member.credential)?))).collect()
}

/// What a commit makes of the leaves; `joiner` is who commits from outside. MLS decides where a new leaf goes; here it
/// only has to be a new one.
pub(super) fn leaves_after(
    mut leaves: Leaves,
    staged: &StagedCommit,
    joiner: Option<&str>,
) -> Result<Leaves, MlsError> {
    for leaf in removed_leaves(staged) {
        leaves.remove(&leaf.u32());
    }
    let first = leaves.keys().last().map_or(0, |last| last + 1).max(1 << 24);
    let added = staged.add_proposals().map(|add| identity(add.add_proposal().key_package().leaf_node().credential()));
    for (n, new) in (first..).zip(added.chain(joiner.map(|joiner| Ok(joiner.to_owned())))) {
        leaves.insert(n, new?);
    }
    Ok(leaves)
}

/// Who leaves by a SelfRemove in this commit.
pub(super) fn leaving(leaves: &Leaves, staged: &StagedCommit) -> Vec<String> {
    staged
        .queued_proposals()
        .filter_map(|queued| match (queued.proposal(), queued.sender()) {
            (Proposal::SelfRemove, Sender::Member(leaf)) => leaves.get(&leaf.u32()).cloned(),
            _ => None,
        })
        .collect()
}

/// The hub is the first of the external senders (P§7.4).
pub(super) fn removed_by_hub(staged: &StagedCommit) -> BTreeSet<u32> {
    let hub = Sender::External(SenderExtensionIndex::new(0));
    staged
        .queued_proposals()
        .filter_map(|queued| match queued.proposal() {
            Proposal::Remove(remove) if *queued.sender() == hub => Some(remove.removed().u32()),
            _ => None,
        })
        .collect()
}

/// Remove names its leaf, SelfRemove is about its sender.
fn removed_leaves(staged: &StagedCommit) -> impl Iterator<Item = LeafNodeIndex> + '_ {
    staged.queued_proposals().filter_map(|queued| match (queued.proposal(), queued.sender()) {
        (Proposal::Remove(remove), _) => Some(remove.removed()),
        (Proposal::SelfRemove, Sender::Member(leaf)) => Some(*leaf),
        _ => None,
    })
}
