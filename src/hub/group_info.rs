//! `groupInfo`: what a client needs to join by an external commit, for those who may (P§5.6).
//!
//! The answer is of no use to anybody but the holder of the key it is encrypted for, so a request that is sent again
//! does no harm; how many are answered is limited at the door. Whether a room exists is not told to who may not join
//! it: both are notAuthorized (H-32), after the same checks.

use mimi_adapter::Domain;
use tracing::{debug, info};

use super::HubError;
use crate::{
    core::{Core, Fault},
    mimi::{
        policy::{self, Actor, Change},
        tls::Tls,
        uri::{ProviderUri, RoomUri, UserUri},
        wire::{
            Credential, ExternalSender, GroupInfoAnswer, GroupInfoOutcome, GroupInfoRatchetTreeTbe, GroupInfoRequest,
            GroupInfoRequestTbs, GroupInfoResponse, GroupInfoResponseTbs, PendingProposal, RatchetTreeOption,
        },
    },
    mls::{HubGroup, MlsError, encrypt_with_label, verify_with_label},
    room_state,
    store::Tx,
};

impl Core {
    /// `POST /groupInfo/{roomId}`.
    pub async fn hub_group_info(
        &self,
        tx: &mut Tx,
        from: &Domain,
        room: &RoomUri,
        body: &[u8],
    ) -> Result<Vec<u8>, HubError> {
        let request = GroupInfoRequest::decode(body).map_err(|e| HubError::Malformed(e.to_string()))?;
        let never = |reason: &str| HubError::Fault(Fault::never(reason));
        let user = user(&request.requesting_credential).ok_or_else(|| never("the credential names no user"))?;
        if user.domain() != from {
            return Err(never("the requesting client is of another provider"));
        }
        if !is_signed(&request) {
            return Err(never("the request is not signed by the key in it"));
        }
        let outcome = match self.offer(tx, room, &user, &request).await? {
            Ok((answer, signature)) => {
                info!(%room, %user, "A GroupInfo is given.");
                GroupInfoOutcome::Success { answer, signature: signature.into() }
            }
            Err(reason) => {
                info!(%room, %user, reason, "No GroupInfo is given.");
                GroupInfoOutcome::NotAuthorized
            }
        };
        Ok(GroupInfoResponse { room_id: room.clone(), outcome }.encode())
    }

    /// The answer and its signature, or why there is none: that is for the log.
    async fn offer(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        user: &UserUri,
        request: &GroupInfoRequest,
    ) -> Result<Result<(GroupInfoAnswer, Vec<u8>), String>, HubError> {
        let Some(hub) = tx.hub_room(room).await? else { return Ok(Err("there is no such room".into())) };
        let (epoch, state, _) = self.hub_state(tx, &hub).await?;
        // A participant's client that is not in the group yet, or not any more; or somebody who may come uninvited.
        let actor = Actor::User(user.clone());
        if let Err(denied) = policy::authorise(&state, &state, &actor, &Change::AddOwnClient)
            && policy::may_join(&state, user, &request.requesting_credential, false).is_none()
        {
            let by_code = policy::may_join(&state, user, &request.requesting_credential, true).is_some()
                && self.admit(tx, &hub, &state, user, &request.joining_code).await?;
            if !by_code {
                return Ok(Err(denied.to_string()));
            }
        }
        let offer = |group: &mut HubGroup| Ok::<_, Fault>((group.offer()?, group.tree()?));
        let ((group_info, waiting), tree) = self.groups.hub(tx, hub.owner, &hub.group_id, offer).await?;
        debug!(%room, epoch, proposals = waiting.len(), "A GroupInfo is encrypted.");
        let pending_proposals = waiting
            .into_iter()
            .map(|(proposal, hub_accepted_time)| PendingProposal { proposal, hub_accepted_time })
            .collect();
        let tbe = GroupInfoRatchetTreeTbe {
            group_info,
            ratchet_tree_option: RatchetTreeOption::Full(tree),
            pending_proposals,
        };
        let encrypted = encrypt_with_label(
            request.cipher_suite,
            &request.group_info_public_key,
            GroupInfoRatchetTreeTbe::LABEL,
            room.as_str().as_bytes(),
            &tbe.encode(),
        );
        let encrypted_groupinfo_and_tree = match encrypted {
            Ok(encrypted) => encrypted,
            // D16: of another suite hub_sender could not be the one in the group.
            Err(MlsError::Invalid(reason)) => return Ok(Err(reason)),
            Err(e) => return Err(Fault::from(e).into()),
        };
        let hub_sender = ExternalSender {
            signature_key: self.hub_keys.sender_public().to_vec().into(),
            credential: Credential::basic(ProviderUri::new(&self.domain).as_str()),
        };
        let answer = GroupInfoAnswer { cipher_suite: request.cipher_suite, hub_sender, encrypted_groupinfo_and_tree };
        let tbs = GroupInfoResponseTbs { room_id: room.clone(), answer };
        let signature = self.hub_keys.sender.sign_with_label(GroupInfoResponseTbs::LABEL, &tbs.encode());
        Ok(Ok((tbs.answer, signature.map_err(Fault::from)?)))
    }
}

/// D29.
fn user(credential: &Credential) -> Option<UserUri> {
    let identity = std::str::from_utf8(credential.identity()?).ok()?;
    room_state::user(identity).ok()
}

/// By the key in it, over any of the readings of an absent joining code (D14).
fn is_signed(request: &GroupInfoRequest) -> bool {
    let verify = |tbs: &[u8]| {
        verify_with_label(&request.requesting_signature_key, GroupInfoRequestTbs::LABEL, tbs, &request.signature)
            .is_ok()
    };
    request.readings().iter().any(|tbs| verify(tbs))
}
