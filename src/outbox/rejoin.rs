//! Into a room, by a link or back: GroupInfo from its hub, and an external commit to it (P§5.6).
//!
//! What comes of the GroupInfo is stored before the commit leaves, the new leaf with it, so that after a crash the same
//! octets go out again and the hub gives the same answer (D43). The key that the GroupInfo is encrypted for is kept
//! nowhere: whoever loses it asks again.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tracing::info;

use super::{Destination, Payload, Step};
use crate::{
    core::{Core, Fault},
    mimi::{
        component,
        directory::Endpoint,
        participants::{ParticipantListUpdate, UserRolePair},
        policy::{self, role},
        tls::Tls,
        uri::{ClientUri, ProviderUri, RoomUri, UserUri},
        wire::{
            Credential, GroupInfo, GroupInfoAnswer, GroupInfoOption, GroupInfoOutcome, GroupInfoRatchetTreeTbe,
            GroupInfoRequest, GroupInfoRequestTbs, GroupInfoResponse, GroupInfoResponseTbs, HandshakeBundle, Protocol,
            RatchetTreeOption, UpdateOutcome, UpdateRoomResponse,
        },
    },
    mls::{CIPHER_SUITE, HpkeKey, Leaves, Member, Offered, Owner, verify_with_label},
    provider::CallError,
    room_state,
    store::{
        Tx,
        rooms::{Room, RoomState},
    },
};

/// An external commit that is on its way to the hub, and the leaf it makes.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Joining {
    request: Vec<u8>,
    pub(crate) owner: Owner,
}

/// What has to be done next.
enum Turn {
    Nothing,
    Done,
    Ask { row: i64, request: Bytes, key: HpkeKey },
    Commit { row: i64, joining: Joining },
}

impl Core {
    pub(super) async fn step_rejoin(self: &Arc<Self>, room: &RoomUri, user: &UserUri) -> Result<Step, Fault> {
        let (of, who) = (room.clone(), user.clone());
        if *room.domain() == self.domain {
            return self.write(move |core, tx| Box::pin(async move { core.rejoin_own(tx, &of, &who).await })).await;
        }
        let turn = self.write(move |core, tx| Box::pin(async move { core.take_rejoin(tx, &of, &who).await })).await?;
        mimi_adapter::failpoint!("outbox.rejoin.taken");
        let (row, joining) = match turn {
            Turn::Nothing => return Ok(Step::Idle),
            Turn::Done => return Ok(Step::Settled),
            Turn::Commit { row, joining } => (row, joining),
            Turn::Ask { row, request, key } => {
                let answer = match self.ask_hub(room, Endpoint::GroupInfo, request).await {
                    Ok(answer) => answer,
                    Err(step) => return Ok(step),
                };
                let (of, who) = (room.clone(), user.clone());
                let prepared = self.write(move |core, tx| {
                    Box::pin(async move { core.prepare_rejoin(tx, row, &of, &who, &answer, &key).await })
                });
                match prepared.await? {
                    Some(joining) => (row, joining),
                    None => return Ok(Step::Settled),
                }
            }
        };
        mimi_adapter::failpoint!("outbox.rejoin.prepared");
        let answer = match self.ask_hub(room, Endpoint::Update, Bytes::from(joining.request.clone())).await {
            Ok(answer) => answer,
            Err(step) => return Ok(step),
        };
        let (of, who) = (room.clone(), user.clone());
        let step = self.write(move |core, tx| {
            Box::pin(async move { core.settle_rejoin(tx, row, &joining, &of, &who, &answer).await })
        });
        let step = step.await?;
        mimi_adapter::failpoint!("outbox.rejoin.settled");
        Ok(step)
    }

    /// Where the hub is ourselves there is no network to wait for: all of it is one transaction.
    async fn rejoin_own(&self, tx: &mut Tx, room: &RoomUri, user: &UserUri) -> Result<Step, Fault> {
        let (row, request, key) = match self.take_rejoin(tx, room, user).await? {
            Turn::Nothing => return Ok(Step::Idle),
            Turn::Done => return Ok(Step::Settled),
            Turn::Commit { .. } => return Err(Fault::broken("a commit to our own hub does not wait")),
            Turn::Ask { row, request, key } => (row, request, key),
        };
        let answer = self.hub_group_info(tx, &self.domain, room, &request).await?;
        let Some(joining) = self.prepare_rejoin(tx, row, room, user, &answer, &key).await? else {
            return Ok(Step::Settled);
        };
        let answer = self.hub_update(tx, &self.domain, room, &joining.request).await?;
        self.settle_rejoin(tx, row, &joining, room, user, &answer).await
    }

    async fn ask_hub(&self, room: &RoomUri, endpoint: Endpoint, request: Bytes) -> Result<Bytes, Step> {
        let (hub, size) = (room.domain(), request.len());
        let answer = self.peers.call(hub, endpoint, room.as_str(), request).await;
        mimi_adapter::failpoint!("outbox.rejoin.answered");
        let words = answer.as_ref().map_or_else(ToString::to_string, |body| format!("200, {} octets", body.len()));
        self.trace.request(&self.domain, hub, endpoint.name(), size, &words, "to join anew");
        answer.map_err(|e| match e {
            CallError::Later { after, unsure, .. } => Step::Later { problem: words, after, unsure },
            // A hub that has no such endpoint may have it tomorrow, and until the row expires nobody is cut off.
            CallError::Never { .. } => Step::later(words),
        })
    }

    async fn take_rejoin(&self, tx: &mut Tx, room: &RoomUri, user: &UserUri) -> Result<Turn, Fault> {
        let to = Destination::Rejoin(room.clone(), user.clone());
        let Some(row) = tx.outbox_head(&to.to_string(), 1).await?.pop() else { return Ok(Turn::Nothing) };
        if let Some(octets) = &row.prepared {
            let joining = postcard::from_bytes(octets).map_err(|e| Fault::broken(format!("a prepared row: {e}")))?;
            return Ok(Turn::Commit { row: row.id, joining });
        }
        let code = match Payload::decode(&row.payload)? {
            Payload::Join { code } => Some(Bytes::from(code)),
            _ => None,
        };
        let state = tx.room(room).await?;
        let needed = match (state, &code) {
            (Some(Room { state: RoomState::Waiting, .. }), Some(_)) => true,
            (Some(Room { state: RoomState::Open, group: Some(group), .. }), None) => {
                match self.leaf_of(tx, room, user).await? {
                    Some(leaf) => self.is_lost(tx, &group, &leaf).await?,
                    None => false,
                }
            }
            _ => false,
        };
        if !needed {
            info!(%room, %user, "The client is in the room again already, or has left it.");
            tx.remove_outbox_row(row.id);
            return Ok(Turn::Done);
        }
        let (client, key) = (self.client(tx, user).await?, HpkeKey::generate(CIPHER_SUITE)?);
        let tbs = GroupInfoRequestTbs {
            protocol: Protocol::Mls10,
            cipher_suite: CIPHER_SUITE,
            requesting_signature_key: Bytes::copy_from_slice(client.public_key()),
            requesting_credential: Credential::basic(client.uri().as_str()),
            group_info_public_key: Bytes::copy_from_slice(key.public()),
            joining_code: code,
        };
        let signature = client.sign_with_label(GroupInfoRequestTbs::LABEL, &tbs.encode())?;
        let request = GroupInfoRequest::signed(tbs, signature.into()).encode().into();
        Ok(Turn::Ask { row: row.id, request, key })
    }

    /// Makes the new leaf and its commit. `None` if the hub does not let the client in.
    async fn prepare_rejoin(
        &self,
        tx: &mut Tx,
        row: i64,
        room: &RoomUri,
        user: &UserUri,
        answer: &[u8],
        key: &HpkeKey,
    ) -> Result<Option<Joining>, Fault> {
        let Some(state) = tx.room(room).await? else { return Err(Fault::later("the room is not known any more")) };
        let response = GroupInfoResponse::decode(answer).map_err(|e| Fault::later(format!("the hub's answer: {e}")))?;
        if response.room_id != *room {
            return Err(Fault::later("the hub's answer is about another room"));
        }
        let (answer, signature) = match response.outcome {
            GroupInfoOutcome::Success { answer, signature } => (answer, signature),
            refused => {
                info!(%room, %user, ?refused, "No GroupInfo.");
                tx.remove_outbox_row(row);
                match state.state {
                    RoomState::Waiting => {
                        self.not_let_in(tx, room, user, "the room's hub does not take the code").await?
                    }
                    _ => self.cut_off(tx, room, user, "the room's hub does not let them back in").await?,
                }
                return Ok(None);
            }
        };
        let offered =
            read_answer(room, answer, &signature, key).map_err(|e| Fault::later(format!("the hub's answer: {e}")))?;
        let RatchetTreeOption::Full(tree) = &offered.ratchet_tree_option else {
            return Err(Fault::later("the hub's answer has no ratchet tree in it"));
        };
        // Another group, or one of an epoch that is over, would be no way forward.
        let info = &offered.group_info;
        if state.group.as_ref().is_some_and(|group| info.group_id() != group.group_id || info.epoch() < group.epoch) {
            return Err(Fault::later("the hub's answer is of another group or of an earlier epoch"));
        }
        let proposals: Vec<_> = offered.pending_proposals.into_iter().map(|waiting| waiting.proposal).collect();
        let offered = Offered { group_info: &offered.group_info, tree, proposals: &proposals };
        let client = self.client(tx, user).await?;
        let updates = match state.state {
            RoomState::Waiting => into_the_list(offered.group_info, user, client.uri()).map_err(Fault::later)?,
            _ => Vec::new(),
        };
        let (member, material) = Member::join_externally(&client, &offered, updates).map_err(Fault::later)?;
        let state = room_state::read(&member.dictionary(), &member.leaves()?).map_err(Fault::later)?;
        if state.metadata.room_uri != *room {
            return Err(Fault::later("the hub's answer is of the group of another room"));
        }
        if state.participants.role(user).is_none_or(|role| role == role::BANNED) {
            return Err(Fault::later("we would not be in the room's participant list"));
        }
        let owner = self.groups.found::<Fault>(tx, member).await?;
        let bundle = HandshakeBundle::Commit {
            commit: material.commit,
            welcome: None,
            group_info: GroupInfoOption::Full(material.group_info),
            ratchet_tree: RatchetTreeOption::Full(material.tree),
        };
        let joining = Joining { request: bundle.encode(), owner };
        let octets = postcard::to_stdvec(&joining).map_err(Fault::broken)?;
        tx.prepare_outbox_row(row, Some(&octets));
        Ok(Some(joining))
    }

    async fn settle_rejoin(
        &self,
        tx: &mut Tx,
        row: i64,
        joining: &Joining,
        room: &RoomUri,
        user: &UserUri,
        answer: &[u8],
    ) -> Result<Step, Fault> {
        let outcome = match UpdateRoomResponse::decode(answer) {
            Ok(response) => (response.outcome, response.error_description),
            Err(e) => return Ok(Step::Later { problem: format!("the hub's answer: {e}"), after: None, unsure: true }),
        };
        let problem = match outcome {
            (UpdateOutcome::Success { .. }, _) => {
                tx.remove_outbox_row(row);
                match tx.room(room).await? {
                    Some(state) if state.state == RoomState::Open => {
                        self.came_back(tx, state, user, joining.owner).await?;
                    }
                    Some(state) if state.state == RoomState::Waiting => {
                        let sent = HandshakeBundle::decode(&joining.request).map_err(Fault::broken)?;
                        let group_id = sent.proposal_or_commit().group_id().unwrap_or_default();
                        self.came_in(tx, room, user, joining.owner, group_id).await?;
                    }
                    _ => tx.remove_leaf(joining.owner).await?,
                }
                self.nudge(tx, Destination::Hub(room.clone()));
                return Ok(Step::Settled);
            }
            (UpdateOutcome::WrongEpoch { current_epoch }, _) => {
                format!("the room has moved on to epoch {current_epoch} meanwhile")
            }
            (_, description) => {
                let reason = format!("the room does not allow it ({description})");
                // Who comes for the first time may try again with another link, or be invited meanwhile.
                if tx.room(room).await?.is_some_and(|room| room.state == RoomState::Waiting) {
                    tx.remove_outbox_row(row);
                    tx.remove_leaf(joining.owner).await?;
                    self.not_let_in(tx, room, user, &reason).await?;
                    return Ok(Step::Settled);
                }
                reason
            }
        };
        tx.remove_leaf(joining.owner).await?;
        tx.prepare_outbox_row(row, None);
        Ok(Step::later(problem))
    }
}

/// Who comes uninvited says with the commit that they are in the list, and as what.
fn into_the_list(info: &GroupInfo, user: &UserUri, client: &ClientUri) -> Result<Vec<(u16, Vec<u8>)>, String> {
    let state = room_state::read(&info.dictionary(), &Leaves::new())?;
    if state.participants.role(user).is_some() {
        return Ok(Vec::new());
    }
    let role_index = policy::may_join(&state, user, &Credential::basic(client.as_str()), true)
        .ok_or("the room has no role for who comes by a link")?;
    let added_participants = vec![UserRolePair { user: user.clone(), role_index }];
    let update = ParticipantListUpdate { added_participants, ..ParticipantListUpdate::default() };
    Ok(vec![(component::PARTICIPANT_LIST, update.encode())])
}

/// Verifies and decrypts what the hub has answered (D15).
fn read_answer(
    room: &RoomUri,
    answer: GroupInfoAnswer,
    signature: &[u8],
    key: &HpkeKey,
) -> Result<GroupInfoRatchetTreeTbe, String> {
    let hub = ProviderUri::new(room.domain());
    let (sender, ciphertext) = (answer.hub_sender.clone(), answer.encrypted_groupinfo_and_tree.clone());
    if answer.cipher_suite != CIPHER_SUITE || sender.credential.identity() != Some(hub.as_str().as_bytes()) {
        return Err("it is of another suite than was asked for, or not by the room's hub".into());
    }
    let tbs = GroupInfoResponseTbs { room_id: room.clone(), answer };
    verify_with_label(&sender.signature_key, GroupInfoResponseTbs::LABEL, &tbs.encode(), signature)
        .map_err(|e| e.to_string())?;
    let octets = key
        .decrypt_with_label(GroupInfoRatchetTreeTbe::LABEL, room.as_str().as_bytes(), &ciphertext)
        .map_err(|e| e.to_string())?;
    let offered = GroupInfoRatchetTreeTbe::decode(&octets).map_err(|e| e.to_string())?;
    match offered.group_info.has_external_sender(&sender.signature_key, hub.as_str().as_bytes()) {
        true => Ok(offered),
        false => Err("whoever has signed it is not an external sender of the group".into()),
    }
}

impl Payload {
    /// What a row of a way back was made into.
    pub(crate) fn joining(prepared: &[u8]) -> Option<Joining> {
        postcard::from_bytes(prepared).ok()
    }
}
