//! A group as the room policy sees it: from the GroupContext's dictionary and the leaves' credentials.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::{
    mimi::{
        component,
        participants::{self, ParticipantListData, ParticipantListUpdate},
        policy::{self, Actor, AssetPolicy, Change, Client, Policy, PreAuthData, RoomState},
        tls::Tls,
        uri::{IdentifierUri, ProviderUri, UserUri},
        wire::Credential,
    },
    mls::{Dictionary, HubChange, Leaves, Proposed},
};

/// What the policy judges. `Err` says what of the room's state is missing or malformed.
pub fn read(dictionary: &Dictionary, leaves: &Leaves) -> Result<RoomState, String> {
    fn component<T: Tls>(dictionary: &Dictionary, id: u16, name: &str) -> Result<T, String> {
        let octets = dictionary.get(&id).ok_or_else(|| format!("the room has no {name}"))?;
        T::decode(octets).map_err(|e| format!("the room's {name}: {e}"))
    }
    let preauth = match dictionary.get(&component::PREAUTH_LIST) {
        Some(octets) => PreAuthData::decode(octets).map_err(|e| format!("the room's preauth_list: {e}"))?,
        None => PreAuthData::default(),
    };
    // One that can't be read is no reason to understand nothing of the room: it says nothing about who may do what.
    let assets = dictionary.get(&component::ASSET_POLICY).and_then(|octets| AssetPolicy::decode(octets).ok());
    let clients = leaves
        .iter()
        .map(|(leaf, identity)| Ok((*leaf, Client { user: user(identity)?, credential: Credential::basic(identity) })))
        .collect::<Result<_, String>>()?;
    Ok(RoomState {
        participants: component(dictionary, component::PARTICIPANT_LIST, "participant_list")?,
        metadata: component(dictionary, component::ROOM_METADATA, "room_metadata")?,
        policy: Policy {
            roles: component(dictionary, component::ROLES_LIST, "roles_list")?,
            preauth,
            base: component(dictionary, component::BASE_ROOM_POLICY, "base_room_policy")?,
            assets,
            others: policy::OTHERS
                .into_iter()
                .filter_map(|id| Some((id, Bytes::copy_from_slice(dictionary.get(&id)?))))
                .collect(),
        },
        clients,
    })
}

/// Does the policy allow what a commit makes of a room? Who leaves by a SelfRemove is judged as leaving, whoever
/// committed it (D23), and a leaf that goes by a proposal of the hub's is the hub's doing; everything else is the
/// committer's.
pub fn judge(
    before: &RoomState,
    after: &RoomState,
    committer: UserUri,
    leaving: &[String],
    by_hub: &BTreeSet<u32>,
) -> Result<(), String> {
    let leaving: Vec<UserUri> = leaving.iter().map(|identity| user(identity)).collect::<Result<_, _>>()?;
    let committer = Actor::User(committer);
    for change in policy::changes(before, after, &committer) {
        let judged = match &change {
            Change::RemoveParticipant(user) if leaving.contains(user) => {
                policy::authorise(before, after, &Actor::User(user.clone()), &Change::Leave)
            }
            Change::Kick(user) if leaving.contains(user) => {
                policy::authorise(before, after, &Actor::User(user.clone()), &Change::RemoveOwnClient)
            }
            Change::Kick(user) if all_by_hub(before, after, user, by_hub) => {
                policy::authorise(before, after, &hub(before), &change)
            }
            change => policy::authorise(before, after, &committer, change),
        };
        judged.map_err(|denied| denied.to_string())?;
    }
    Ok(())
}

/// The hub as the external sender it is.
fn hub(room: &RoomState) -> Actor {
    Actor::ExternalSender(Credential::basic(ProviderUri::new(room.metadata.room_uri.domain()).as_str()))
}

/// Do clients of a user go, and all of them by the hub's word?
fn all_by_hub(before: &RoomState, after: &RoomState, user: &UserUri, by_hub: &BTreeSet<u32>) -> bool {
    let mut gone = before.clients.iter().filter(|(leaf, it)| it.user == *user && !after.clients.contains_key(leaf));
    !by_hub.is_empty() && gone.all(|(leaf, _)| by_hub.contains(leaf))
}

/// May the hub take a leaf out, and is nothing else in the way of that?
pub fn hub_may_remove(room: &RoomState, leaf: u32) -> bool {
    let mut after = room.clone();
    match after.clients.remove(&leaf) {
        Some(client) => policy::authorise(room, &after, &hub(room), &Change::Kick(client.user)).is_ok(),
        None => false,
    }
}

/// What no rule of ours decides about stays as it is; the franking agent in any case (H-45).
pub fn unjudged(before: &Dictionary, after: &Dictionary) -> Result<(), String> {
    const JUDGED: [u16; 5] = [
        component::PARTICIPANT_LIST,
        component::ROOM_METADATA,
        component::ROLES_LIST,
        component::PREAUTH_LIST,
        component::BASE_ROOM_POLICY,
    ];
    let mut changed = before.keys().chain(after.keys()).filter(|id| before.get(id) != after.get(id));
    match changed.find(|id| !JUDGED.contains(id) && !policy::OTHERS.contains(id)) {
        Some(id) => Err(format!("changing component {id:#06x} is not supported here")),
        None => Ok(()),
    }
}

/// Proposals wait for whoever commits next, with that member's rights and whether or not the policy allows it: one that
/// nobody may commit would keep the room from ever committing again. So the only ones taken are those that no commit
/// can stand in for, to leave (D23), and they are judged together as what the sender does.
pub fn judge_leave(before: &RoomState, proposals: &[HubChange]) -> Result<(), String> {
    let Some(sender) = proposals.first().map(|change| &change.sender) else { return Ok(()) };
    let actor = Actor::User(user(sender)?);
    let mut after = before.clone();
    let mut updates = Vec::new();
    for change in proposals {
        match &change.proposed {
            _ if change.sender != *sender => return Err("the proposals are of several members".into()),
            Some(Proposed::Removal(leaf)) => {
                after.clients.remove(leaf).ok_or("a leaf is removed that isn't there, or twice")?;
            }
            Some(Proposed::ParticipantList(octets)) => {
                updates.push(ParticipantListUpdate::decode(octets).map_err(|e| e.to_string())?);
            }
            _ => return Err("only leaving can be proposed".into()),
        }
    }
    after.participants = participants::apply(&before.participants, &updates).map_err(|e| e.to_string())?;
    let changes = policy::changes(before, &after, &actor);
    if changes.is_empty() {
        return Err("nothing is proposed".into());
    }
    changes.iter().try_for_each(|change| match change {
        Change::Leave | Change::RemoveOwnClient => {
            policy::authorise(before, &after, &actor, change).map_err(|denied| denied.to_string())
        }
        _ => Err("only leaving can be proposed".into()),
    })
}

/// Could `by` take somebody else out of the room, with all their clients?
pub fn may_remove(room: &RoomState, by: UserUri, user: &UserUri) -> bool {
    let others = room.participants.iter().filter(|it| it.user != *user).cloned().collect();
    let Ok(participants) = ParticipantListData::new(others) else { return false };
    let mut after = RoomState { participants, ..room.clone() };
    after.clients.retain(|_, client| client.user != *user);
    policy::authorise(room, &after, &Actor::User(by), &Change::RemoveParticipant(user.clone())).is_ok()
}

/// D29: the user a credential names. A leaf whose user can't be told has no place in a room.
pub fn user(identity: &str) -> Result<UserUri, String> {
    IdentifierUri::parse(identity)
        .ok()
        .and_then(|identity| identity.user())
        .ok_or_else(|| format!("the credential {identity:?} names no user"))
}
