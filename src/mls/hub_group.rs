//! A room's group as its hub sees it: the public half, and nothing that could decrypt.

use openmls::{
    group::{GroupId, PublicGroup, StagedCommit},
    prelude::{
        AppDataUpdateOperation, OpenMlsProvider, ProcessedMessageContent, Proposal, ProposalStore, QueuedProposal,
        Sender,
    },
};

use super::{
    MlsError, app_data,
    codec::{GroupInfo, KeyPackageRef, MlsMessage, RatchetTree},
    member::{Dictionary, Leaves, dictionary, identity, leaves, leaves_after, leaving, protocol_message},
    storage::{Provider, Rows},
};
use crate::mimi::component;

pub struct HubGroup {
    pub(super) provider: Provider,
    group: PublicGroup,
}

/// A handshake that is valid MLS, as far as a hub can see: what it changes, for the policy to judge.
pub struct HubChange {
    /// Identity of the member who sent it; a joiner's own for an external commit.
    pub sender: String,
    pub added: Vec<AddedLeaf>,
    /// The leaves as they will be. New ones have numbers of our own choosing.
    pub leaves: Leaves,
    pub after: Dictionary,
    /// Identities that leave by their own SelfRemove.
    pub leaving: Vec<String>,
    /// What it proposes; `None` for a commit.
    pub proposed: Option<Proposed>,
    /// `None` for a proposal.
    commit: Option<Box<StagedCommit>>,
    proposal: Option<Box<QueuedProposal>>,
}

/// What is in a proposal.
pub enum Proposed {
    /// That this leaf goes: the sender's own by SelfRemove, any by Remove.
    Removal(u32),
    /// An update of the participant list.
    ParticipantList(Vec<u8>),
    Other,
}

/// A leaf that a commit adds.
pub struct AddedLeaf {
    pub identity: String,
    pub key_package_ref: KeyPackageRef,
}

impl HubChange {}

impl HubGroup {
    /// Begins to follow a group from its GroupInfo and ratchet tree.
    pub fn follow(group_info: &GroupInfo, tree: &RatchetTree) -> Result<Self, MlsError> {
        let provider = Provider::new(Rows::default());
        let (group, _) = PublicGroup::from_external(
            provider.crypto(),
            provider.storage(),
            tree.to_openmls(),
            group_info.to_openmls(),
            ProposalStore::new(),
        )
        .map_err(MlsError::invalid)?;
        Ok(Self { provider, group })
    }

    pub(super) fn load(rows: Rows, group_id: &[u8]) -> Result<Self, MlsError> {
        let provider = Provider::new(rows);
        let group = PublicGroup::load(provider.storage(), &GroupId::from_slice(group_id))
            .map_err(MlsError::state)?
            .ok_or_else(|| MlsError::state("the hub's group is missing"))?;
        Ok(Self { provider, group })
    }

    pub fn epoch(&self) -> u64 {
        self.group.group_context().epoch().as_u64()
    }

    pub fn group_id(&self) -> &[u8] {
        self.group.group_id().as_slice()
    }

    pub fn dictionary(&self) -> Dictionary {
        dictionary(self.group.group_context().extensions())
    }

    pub fn leaves(&self) -> Result<Leaves, MlsError> {
        leaves(self.group.members())
    }

    pub fn has_component(&self, id: u16) -> bool {
        let dictionary = self.group.group_context().extensions().app_data_dictionary();
        dictionary.is_some_and(|extension| extension.dictionary().contains(&id))
    }

    /// Names this state of the group and no other.
    pub fn transcript(&self) -> &[u8] {
        self.group.group_context().confirmed_transcript_hash()
    }

    pub fn tree(&self) -> Result<RatchetTree, MlsError> {
        RatchetTree::from_openmls(&self.group.export_ratchet_tree()).map_err(MlsError::state)
    }

    /// Checks signature and structure of a proposal or commit (PublicMessage). Changes nothing.
    pub fn examine(&self, message: &MlsMessage) -> Result<HubChange, MlsError> {
        let message = protocol_message(message)?;
        let (current, of) = (self.epoch(), message.epoch().as_u64());
        if message.group_id() != self.group.group_id() {
            return Err(MlsError::invalid("the message is of another group"));
        }
        if of != current {
            return Err(MlsError::Epoch { current, message: of });
        }
        let crypto = self.provider.crypto();
        let processed = self.group.process_message(crypto, message).map_err(MlsError::invalid)?;
        let sender = match processed.sender() {
            Sender::Member(_) | Sender::NewMemberCommit | Sender::NewMemberProposal => {
                identity(processed.credential())?
            }
            Sender::External(_) => {
                return Err(MlsError::invalid("an external sender does not come through a provider"));
            }
        };
        match processed.into_content() {
            ProcessedMessageContent::StagedCommitMessage(staged) => self.change(sender, *staged),
            ProcessedMessageContent::UnresolvedAppDataCommit(commit) => {
                let changes =
                    app_data::apply(self.group.app_data_dictionary_updater(), commit.app_data_update_proposals())?;
                let staged = self.group.stage_app_data_commit(crypto, *commit, changes).map_err(MlsError::invalid)?;
                self.change(sender, staged)
            }
            ProcessedMessageContent::ProposalMessage(proposal) => Ok(HubChange {
                sender,
                proposed: Some(proposed(&proposal)),
                added: Vec::new(),
                leaves: self.leaves()?,
                leaving: Vec::new(),
                after: self.dictionary(),
                commit: None,
                proposal: Some(proposal),
            }),
            _ => Err(MlsError::invalid("neither a commit nor a member's proposal")),
        }
    }

    fn change(&self, sender: String, staged: StagedCommit) -> Result<HubChange, MlsError> {
        let added = staged
            .add_proposals()
            .map(|add| {
                let key_package = add.add_proposal().key_package();
                Ok(AddedLeaf {
                    identity: identity(key_package.leaf_node().credential())?,
                    key_package_ref: KeyPackageRef::new(
                        key_package.hash_ref(self.provider.crypto()).map_err(MlsError::state)?.as_slice(),
                    ),
                })
            })
            .collect::<Result<_, MlsError>>()?;
        Ok(HubChange {
            sender,
            added,
            proposed: None,
            leaving: leaving(&self.leaves()?, &staged),
            leaves: leaves_after(self.leaves()?, &staged)?,
            after: dictionary(staged.group_context().extensions()),
            commit: Some(Box::new(staged)),
            proposal: None,
        })
    }

    /// Whether a proposal of this member waits for the next commit.
    pub fn has_proposal_of(&self, member: &str) -> Result<bool, MlsError> {
        let leaves = self.leaves()?;
        let waiting = self.group.queued_proposals(self.provider.storage()).map_err(MlsError::state)?;
        Ok(waiting.iter().any(|(_, queued)| match queued.sender() {
            Sender::Member(leaf) => leaves.get(&leaf.u32()).is_some_and(|identity| identity == member),
            _ => false,
        }))
    }

    /// The policy allows it: a commit begins the next epoch, a proposal waits for one.
    pub fn accept(&mut self, change: HubChange) -> Result<(), MlsError> {
        if let Some(staged) = change.commit {
            self.group.merge_commit(self.provider.storage(), *staged).map_err(MlsError::state)?;
        }
        if let Some(proposal) = change.proposal {
            self.group.add_proposal(self.provider.storage(), *proposal).map_err(MlsError::state)?;
        }
        Ok(())
    }
}

fn proposed(queued: &QueuedProposal) -> Proposed {
    match (queued.proposal(), queued.sender()) {
        (Proposal::SelfRemove, Sender::Member(leaf)) => Proposed::Removal(leaf.u32()),
        (Proposal::Remove(remove), _) => Proposed::Removal(remove.removed().u32()),
        (Proposal::AppDataUpdate(update), _) if update.component_id() == component::PARTICIPANT_LIST => {
            match update.operation() {
                AppDataUpdateOperation::Update(data) => Proposed::ParticipantList(data.as_slice().to_vec()),
                AppDataUpdateOperation::Remove => Proposed::Other,
            }
        }
        _ => Proposed::Other,
    }
}
