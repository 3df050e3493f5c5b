//! What AppDataUpdate proposals make of a group's dictionary. Hub and members call the same function, or
//! their groups would part ways (D20).

use std::collections::BTreeMap;

use openmls::{
    component::ComponentData,
    group::AppDataUpdates,
    prelude::{AppDataDictionaryUpdater, AppDataUpdateOperation, AppDataUpdateProposal},
};

use super::MlsError;
use crate::mimi::{
    component,
    participants::{self, ParticipantListData, ParticipantListUpdate},
    tls::Tls,
};

/// The components we understand. An update of any other makes a commit invalid (X§4.7, D60), so all those of
/// MIMI are here: what is not enforced yet is carried.
pub(super) const SUPPORTED: &[u16] = &[
    component::PARTICIPANT_LIST,
    component::ROOM_METADATA,
    component::FRANKING_AGENT,
    component::MLS_OPERATIONAL_POLICY,
    component::ROLES_LIST,
    component::PREAUTH_LIST,
    component::BASE_ROOM_POLICY,
    component::STATUS_NOTIFICATION_POLICY,
    component::JOIN_LINK_POLICY,
    component::LINK_PREVIEW_POLICY,
    component::ASSET_POLICY,
    component::LOGGING_POLICY,
    component::CHAT_HISTORY_POLICY,
    component::BOT_POLICY,
    component::MESSAGE_EXPIRATION_POLICY,
];

/// X§4.7: per component one `remove` or at least one `update`. The participant list is updated by
/// difference (P§7.5), every other component of ours by replacement.
pub(super) fn apply<'a>(
    mut updater: AppDataDictionaryUpdater<'_>,
    proposals: impl Iterator<Item = &'a AppDataUpdateProposal>,
) -> Result<Option<AppDataUpdates>, MlsError> {
    let mut by_component: BTreeMap<u16, (Vec<&[u8]>, usize)> = BTreeMap::new();
    for proposal in proposals {
        let (updates, removes) = by_component.entry(proposal.component_id()).or_default();
        match proposal.operation() {
            AppDataUpdateOperation::Update(data) => updates.push(data.as_slice()),
            AppDataUpdateOperation::Remove => *removes += 1,
        }
    }
    for (id, (updates, removes)) in by_component {
        let old = updater.old_value(id);
        if !SUPPORTED.contains(&id) {
            return Err(MlsError::invalid(format!("component {id:#06x} is not one we know (X§4.7)")));
        }
        match (updates.as_slice(), removes) {
            ([], 1) if old.is_some() => updater.remove(&id),
            ([], _) | (_, 1..) => return Err(MlsError::invalid(format!("component {id:#06x}: invalid removal"))),
            (updates, 0) if id == component::PARTICIPANT_LIST => {
                let list = ParticipantListData::decode(old.unwrap_or(&[0])).map_err(MlsError::state)?;
                let updates = updates
                    .iter()
                    .map(|octets| ParticipantListUpdate::decode(octets))
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(MlsError::invalid)?;
                let list = participants::apply(&list, &updates).map_err(MlsError::invalid)?;
                updater.set(ComponentData::from_parts(id, list.encode().into()));
            }
            ([value], 0) => updater.set(ComponentData::from_parts(id, value.to_vec().into())),
            _ => return Err(MlsError::invalid(format!("component {id:#06x} is replaced twice in one commit"))),
        }
    }
    Ok(updater.changes())
}
