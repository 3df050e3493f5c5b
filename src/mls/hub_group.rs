//! A room's group as its hub sees it: the public half, and nothing that could decrypt.

use std::collections::BTreeSet;

use bytes::Bytes;
use openmls::{
    group::{GroupId, PublicGroup, StagedCommit},
    prelude::{
        AppDataUpdateOperation, LeafNodeIndex, OpenMlsProvider, ProcessedMessageContent, Proposal, ProposalStore,
        QueuedProposal, Sender,
    },
};
use tls_codec::Serialize;

use super::{
    MlsError, app_data,
    client::{Signer, verify_with_label},
    codec::{GroupInfo, KeyPackageRef, MlsMessage, RatchetTree},
    member::{
        Dictionary, Leaves, dictionary, identity, leaves, leaves_after, leaving, protocol_message, removed_by_hub,
    },
    storage::{Provider, Rows},
};
use crate::mimi::{
    component,
    tls::{Reader, Tls, WireError, Writer},
    wire::{GroupInfoOption, PartialGroupInfo, RatchetTreePresence},
};

pub struct HubGroup {
    pub(super) provider: Provider,
    group: PublicGroup,
}

/// A handshake that is valid MLS, as far as a hub can see: what it changes, for the policy to judge.
pub struct HubChange {
    /// Identity of the member who sent it; a joiner's own for an external commit.
    pub sender: String,
    pub added: Vec<AddedLeaf>,
    /// Whether the sender joins by it.
    pub joins: bool,
    /// The leaves as they will be. New ones have numbers of our own choosing.
    pub leaves: Leaves,
    pub after: Dictionary,
    /// Identities that leave by their own SelfRemove.
    pub leaving: Vec<String>,
    /// Leaves that go because we have proposed it.
    pub removed_by_hub: BTreeSet<u32>,
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
        provider.rows.put_group_info(group_info.as_bytes());
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
        let joins = matches!(processed.sender(), Sender::NewMemberCommit);
        let sender = match processed.sender() {
            Sender::Member(_) | Sender::NewMemberCommit | Sender::NewMemberProposal => {
                identity(processed.credential())?
            }
            Sender::External(_) => {
                return Err(MlsError::invalid("an external sender does not come through a provider"));
            }
        };
        match processed.into_content() {
            ProcessedMessageContent::StagedCommitMessage(staged) => self.change(sender, joins, *staged),
            ProcessedMessageContent::UnresolvedAppDataCommit(commit) => {
                let changes =
                    app_data::apply(self.group.app_data_dictionary_updater(), commit.app_data_update_proposals())?;
                let staged = self.group.stage_app_data_commit(crypto, *commit, changes).map_err(MlsError::invalid)?;
                self.change(sender, joins, staged)
            }
            ProcessedMessageContent::ProposalMessage(proposal) => Ok(HubChange {
                sender,
                joins: false,
                proposed: Some(proposed(&proposal)),
                added: Vec::new(),
                leaves: self.leaves()?,
                leaving: Vec::new(),
                removed_by_hub: BTreeSet::new(),
                after: self.dictionary(),
                commit: None,
                proposal: Some(proposal),
            }),
            _ => Err(MlsError::invalid("neither a commit nor a member's proposal")),
        }
    }

    /// The proposals that a commit names and that don't wait here: nobody has shown them to us, or they were not allowed.
    pub fn unknown_proposals(&self, commit: &MlsMessage) -> Result<Vec<Bytes>, MlsError> {
        let waiting = self.waiting()?;
        let waits =
            |named: &Bytes| waiting.iter().any(|queued| queued.proposal_reference_ref().as_slice() == &named[..]);
        Ok(commit.proposal_refs().into_iter().filter(|named| !waits(named)).collect())
    }

    fn change(&self, sender: String, joins: bool, staged: StagedCommit) -> Result<HubChange, MlsError> {
        if joins && self.leavers(staged.queued_proposals()) < self.leavers(self.waiting()?.iter()) {
            // H-14: or who has left would be in the next epoch all the same.
            return Err(MlsError::invalid("an external commit takes along who leaves"));
        }
        // What a policy can judge is in the tree and in the dictionary. The rest of the GroupContext stays as it was made,
        // external_senders with the hub in it among it (H-39), and a group is not left for another one.
        if let Some(queued) = staged.queued_proposals().find(|queued| !can_be_judged(queued.proposal())) {
            return Err(MlsError::invalid(format!(
                "a {:?} proposal is not supported here",
                queued.proposal().proposal_type()
            )));
        }
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
        let leaving = leaving(&self.leaves()?, &staged);
        Ok(HubChange {
            added,
            proposed: None,
            leaving,
            removed_by_hub: removed_by_hub(&staged),
            leaves: leaves_after(self.leaves()?, &staged, joins.then_some(&sender))?,
            joins,
            after: dictionary(staged.group_context().extensions()),
            commit: Some(Box::new(staged)),
            proposal: None,
            sender,
        })
    }

    fn waiting(&self) -> Result<Vec<QueuedProposal>, MlsError> {
        let waiting = self.group.queued_proposals(self.provider.storage()).map_err(MlsError::state)?;
        Ok(waiting.into_iter().map(|(_, queued)| queued).collect())
    }

    fn leavers<'q>(&self, proposals: impl Iterator<Item = &'q QueuedProposal>) -> usize {
        proposals.filter(|queued| matches!(queued.proposal(), Proposal::SelfRemove)).count()
    }

    /// Whether a proposal of this member waits for the next commit.
    pub fn has_proposal_of(&self, member: &str) -> Result<bool, MlsError> {
        let leaves = self.leaves()?;
        Ok(self.waiting()?.iter().any(|queued| match queued.sender() {
            Sender::Member(leaf) => leaves.get(&leaf.u32()).is_some_and(|identity| identity == member),
            _ => false,
        }))
    }

    /// The policy allows a commit: it begins the next epoch, unless its GroupInfo is not of that. Answers the leaves that
    /// were to go by a proposal, and are there all the same: an external commit takes along nothing but SelfRemoves.
    pub fn accept_commit(&mut self, change: HubChange, info: &GroupInfoOption) -> Result<Vec<u32>, MlsError> {
        let staged = change.commit.ok_or_else(|| MlsError::invalid("not a commit"))?;
        let (before, waiting) = (self.leaves()?, self.waiting()?);
        self.group.merge_commit(self.provider.storage(), *staged).map_err(MlsError::state)?;
        let info = match info {
            GroupInfoOption::Full(info) => {
                self.check_group_info(info, &change.sender)?;
                info.clone()
            }
            GroupInfoOption::Partial(partial) => self.complete(partial, &change.sender)?,
        };
        self.provider.rows.put_group_info(info.as_bytes());
        self.provider.rows.put_waiting(&[])?;
        let after = self.leaves()?;
        let left_over = |leaf: &u32| before.get(leaf).is_some_and(|identity| after.get(leaf) == Some(identity));
        let to_go = waiting.iter().filter_map(|queued| match queued.proposal() {
            Proposal::Remove(remove) => Some(remove.removed().u32()),
            _ => None,
        });
        Ok(to_go.filter(left_over).collect())
    }

    /// Proposes as the hub that a leaf goes, and waits for the next commit with it. Built here and not by openmls, whose
    /// external proposals have no SafeAAD, which every message in a group with safe_aad has (X§4.9).
    pub fn propose_removal(&mut self, hub: &Signer, leaf: u32, at: u64) -> Result<MlsMessage, MlsError> {
        const MLS10: u16 = 1;
        const PUBLIC_MESSAGE: u16 = 1;
        const EXTERNAL: u8 = 2;
        const PROPOSAL: u8 = 2;
        const REMOVE: u16 = 3;
        let mut message = Writer::default();
        message.u16(MLS10);
        message.u16(PUBLIC_MESSAGE);
        message.vector(self.group_id());
        message.u64(self.epoch());
        message.u8(EXTERNAL);
        message.u32(0);
        message.vector(if self.has_component(component::SAFE_AAD) { &[0] } else { &[] });
        message.u8(PROPOSAL);
        message.u16(REMOVE);
        message.u32(leaf);
        // Of an external sender FramedContentTBS is this and nothing more (RFC 9420 §6.1).
        let content = message.into_octets();
        let signature = hub.sign_with_label("FramedContentTBS", &content)?;
        let message = MlsMessage::decode(&[content, vector(&signature)].concat()).map_err(MlsError::state)?;
        let processed = self.group.process_message(self.provider.crypto(), protocol_message(&message)?);
        match processed.map_err(MlsError::state)?.into_content() {
            ProcessedMessageContent::ProposalMessage(proposal) => self.wait_with(*proposal, &message, at)?,
            _ => return Err(MlsError::state("our own proposal is none")),
        }
        Ok(message)
    }

    /// The policy allows a proposal: it waits for the next commit.
    pub fn accept_proposal(&mut self, change: HubChange, message: &MlsMessage, at: u64) -> Result<(), MlsError> {
        let proposal = change.proposal.ok_or_else(|| MlsError::invalid("not a proposal"))?;
        self.wait_with(*proposal, message, at)
    }

    fn wait_with(&mut self, proposal: QueuedProposal, message: &MlsMessage, at: u64) -> Result<(), MlsError> {
        self.group.add_proposal(self.provider.storage(), proposal).map_err(MlsError::state)?;
        let mut waiting = self.provider.rows.waiting()?;
        waiting.push((message.as_bytes().to_vec(), at));
        Ok(self.provider.rows.put_waiting(&waiting)?)
    }

    /// What who joins by an external commit needs: the GroupInfo of this epoch, without ratchet_tree, and the proposals
    /// that wait, with the time of their acceptance.
    pub fn offer(&self) -> Result<(GroupInfo, Vec<(MlsMessage, u64)>), MlsError> {
        let info = self.provider.rows.group_info().ok_or_else(|| MlsError::state("the hub has no GroupInfo"))?;
        let waiting = self.provider.rows.waiting()?.into_iter();
        let waiting = waiting.map(|(octets, at)| Ok((MlsMessage::decode(&octets).map_err(MlsError::state)?, at)));
        Ok((GroupInfo::decode(&info).map_err(MlsError::state)?, waiting.collect::<Result<_, MlsError>>()?))
    }

    /// H-10: of the epoch the group is in, by the client whose commit began it, and fit for an external commit. All of
    /// it is in the octets and in the public half of the group.
    fn check_group_info(&self, info: &GroupInfo, committer: &str) -> Result<(), MlsError> {
        let octets = info.as_bytes();
        let context = self.context()?;
        let of_another = || MlsError::invalid("the GroupInfo is not of the epoch the commit begins");
        let mut from = Reader::new(octets.strip_prefix(&context[..]).ok_or_else(of_another)?);
        let mut parts =
            || Ok::<_, WireError>((from.vector()?, from.vector()?, from.u32()?, from.left(), from.vector()?));
        let (_, tag, signer, left, signature) = parts().map_err(MlsError::invalid)?;
        if self.tag()? != vector(&tag) || info.embeds_ratchet_tree() {
            return Err(of_another());
        }
        if info.to_openmls().extensions().external_pub().is_none() {
            return Err(MlsError::invalid("the GroupInfo has no external_pub"));
        }
        let leaf = self.group.leaf(LeafNodeIndex::new(signer));
        let leaf = leaf.filter(|leaf| identity(leaf.credential()).is_ok_and(|identity| identity == committer));
        let leaf = leaf.ok_or_else(|| MlsError::invalid("the GroupInfo is not signed by the committer"))?;
        let signed = &octets[..octets.len() - left];
        verify_with_label(leaf.signature_key().as_slice(), "GroupInfoTBS", signed, &signature)
    }

    /// Puts what the hub knows anyway to what only the committer could say (T§4).
    fn complete(&self, partial: &PartialGroupInfo, committer: &str) -> Result<GroupInfo, MlsError> {
        if partial.ratchet_tree_presence != RatchetTreePresence::NoRatchetTree {
            return Err(MlsError::invalid("a GroupInfo omits the ratchet_tree"));
        }
        let mut whole = Writer::default();
        whole.octets(&self.context()?);
        partial.group_info_extensions.write(&mut whole);
        whole.octets(&self.tag()?);
        let before = whole.into_octets();
        let is_committer = |(_, name): &(u32, String)| name == committer;
        for (leaf, _) in self.leaves()?.into_iter().filter(is_committer) {
            let octets = [&before[..], &leaf.to_be_bytes(), &vector(&partial.signature)].concat();
            let info = GroupInfo::decode(&octets).map_err(MlsError::invalid)?;
            if self.check_group_info(&info, committer).is_ok() {
                return Ok(info);
            }
        }
        Err(MlsError::invalid("the partial GroupInfo is not of the epoch the commit begins, or not by the committer"))
    }

    fn context(&self) -> Result<Vec<u8>, MlsError> {
        self.group.group_context().tls_serialize_detached().map_err(MlsError::state)
    }

    /// The confirmation_tag, with its length.
    fn tag(&self) -> Result<Vec<u8>, MlsError> {
        self.group.confirmation_tag().tls_serialize_detached().map_err(MlsError::state)
    }
}

fn can_be_judged(proposal: &Proposal) -> bool {
    matches!(
        proposal,
        Proposal::Add(_)
            | Proposal::Update(_)
            | Proposal::Remove(_)
            | Proposal::SelfRemove
            | Proposal::ExternalInit(_)
            | Proposal::AppDataUpdate(_)
            | Proposal::AppEphemeral(_)
    )
}

fn vector(octets: &[u8]) -> Vec<u8> {
    let mut vector = Writer::default();
    vector.vector(octets);
    vector.into_octets()
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
