//! Joining by an external commit (RFC 9420 §12.4.3.2): how a client comes uninvited, or back when its state is lost.

use std::collections::BTreeSet;

use openmls::{
    group::{MlsGroup, PublicGroup},
    prelude::{
        AppDataUpdateOperation, AppDataUpdateProposal, LeafNodeParameters, MlsMessageBodyIn, OpenMlsProvider,
        ProcessedMessageContent, Proposal, ProposalStore, PublicMessageIn, Sender,
    },
};

use super::{
    Client, CommitMaterial, MlsError, SUITE, app_data,
    client::capabilities,
    codec::{GroupInfo, MlsMessage, RatchetTree},
    member::{Member, join_config, protocol_message},
    storage::{Provider, Rows},
};

/// What a hub gives to who wants to join.
pub struct Offered<'a> {
    pub group_info: &'a GroupInfo,
    pub tree: &'a RatchetTree,
    /// The proposals that wait for the next commit. Of them an external commit takes SelfRemoves along (X§6.3).
    pub proposals: &'a [MlsMessage],
}

impl Member {
    /// Makes a leaf for `client`, and the commit that puts it into the group and takes out the one that the same
    /// signature key has there. The group is in the new epoch already: if the hub does not take the commit, the rows
    /// are of no use. `updates` are the components it changes, to put its user into the participant list.
    pub fn join_externally(
        client: &Client,
        offered: &Offered<'_>,
        updates: Vec<(u16, Vec<u8>)>,
    ) -> Result<(Self, CommitMaterial), MlsError> {
        let info = offered.group_info.to_openmls();
        if info.ciphersuite() != SUITE {
            return Err(MlsError::invalid("the group is of another cipher suite"));
        }
        let provider = Provider::new(Rows::default());
        let mut initial = MlsGroup::external_commit_builder()
            .with_proposals(offered.proposals.iter().filter_map(public_message).collect())
            .with_ratchet_tree(offered.tree.to_openmls())
            .with_config(join_config())
            // As in a Welcome: members that have not committed for long are members.
            .skip_lifetime_validation()
            .build_group(&provider, info, client.credential_with_key())
            .map_err(MlsError::invalid)?;
        let own = updates.into_iter().map(|(id, update)| AppDataUpdateProposal::update(id, update));
        for update in leavers_updates(offered)?.into_iter().chain(own) {
            initial = initial.add_app_data_update_proposal(update);
        }
        let leaf = LeafNodeParameters::builder()
            .with_capabilities(capabilities())
            .with_extensions(client.leaf_extensions()?)
            .build();
        let mut stage = initial
            .leaf_node_parameters(leaf)
            .load_psks(provider.storage())
            .map_err(MlsError::invalid)?
            .create_group_info(true);
        let changes = app_data::apply(stage.app_data_dictionary_updater(), stage.app_data_update_proposals())?;
        stage.with_app_data_dictionary_updates(changes);
        let (group, bundle) = stage
            .build(provider.rand(), provider.crypto(), &client.keys, |_| true)
            .map_err(MlsError::invalid)?
            .finalize(&provider)
            .map_err(MlsError::state)?;
        let (commit, _, group_info) = bundle.into_contents();
        let group_info =
            group_info.ok_or_else(|| MlsError::state("the commit came without the GroupInfo it was asked for"))?;
        let material = CommitMaterial {
            commit: MlsMessage::from_openmls(&commit).map_err(MlsError::state)?,
            welcome: None,
            group_info: GroupInfo::from_openmls(&group_info).map_err(MlsError::state)?,
            tree: RatchetTree::from_openmls(&group.export_ratchet_tree()).map_err(MlsError::state)?,
        };
        Ok((Self::with(provider, group), material))
    }
}

fn public_message(message: &MlsMessage) -> Option<PublicMessageIn> {
    match message.to_openmls().extract() {
        MlsMessageBodyIn::PublicMessage(message) => Some(message),
        _ => None,
    }
}

/// Who leaves has also proposed to be taken from the participant list, and an external commit takes no such proposal
/// along by reference (D23). So what they wanted is said in it again: nobody would be left to propose it once they are
/// out.
fn leavers_updates(offered: &Offered<'_>) -> Result<Vec<AppDataUpdateProposal>, MlsError> {
    if offered.proposals.is_empty() {
        return Ok(Vec::new());
    }
    let provider = Provider::new(Rows::default());
    let (group, info, tree) = (PublicGroup::from_external, offered.group_info.to_openmls(), offered.tree.to_openmls());
    // openmls judges every leaf's lifetime here. Where one has run out, the list keeps who has left until somebody
    // takes them from it.
    let Ok((group, _)) = group(provider.crypto(), provider.storage(), tree, info, ProposalStore::new()) else {
        return Ok(Vec::new());
    };
    let (mut leavers, mut staying, mut updates) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for message in offered.proposals {
        let Ok(processed) = group.process_message(provider.crypto(), protocol_message(message)?) else { continue };
        let ProcessedMessageContent::ProposalMessage(queued) = processed.into_content() else { continue };
        let Sender::Member(leaf) = *queued.sender() else { continue };
        match queued.proposal() {
            Proposal::SelfRemove => drop(leavers.insert(leaf)),
            Proposal::Remove(_) => drop(staying.insert(leaf)),
            Proposal::AppDataUpdate(update) => updates.push((leaf, update.clone())),
            _ => {}
        }
    }
    // Who leaves with several clients still has those in the group that an external commit can't take out.
    let theirs = updates.into_iter().filter(|(leaf, _)| leavers.contains(leaf) && !staying.contains(leaf));
    Ok(theirs
        .filter_map(|(_, update)| match update.operation() {
            AppDataUpdateOperation::Update(data) => {
                Some(AppDataUpdateProposal::update(update.component_id(), data.as_slice().to_vec()))
            }
            AppDataUpdateOperation::Remove => None,
        })
        .collect())
}
