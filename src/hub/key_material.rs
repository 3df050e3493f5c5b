//! Key material for a room of ours goes through us (P§5.2, D35): so the hub knows whose KeyPackages are used in it.
//!
//! A follower's request for somebody at a third provider is passed on as it is, and so is the answer; what is noted is
//! which KeyPackage came from where. A commit of the follower may then add it. Nothing else would tell whose client it
//! is: a basic credential proves nothing.

use std::sync::Arc;

use bytes::Bytes;
use mimi_adapter::{Domain, UserUri};
use tracing::info;

use super::HubError;
use crate::{
    core::{Core, Fault},
    mimi::{
        directory::Endpoint,
        policy::role,
        tls::Tls,
        uri::RoomUri,
        wire::{ClientMaterial, KeyMaterialRequest, KeyMaterialResponse, KeyMaterialUserCode, KeyPackage, Protocol},
    },
    provider::CallError,
    store::Tx,
};

/// What is noted of a KeyPackage is forgotten after this many milliseconds: longer than any may be valid.
const NOTED: u64 = 90 * 24 * 3600 * 1000;

impl Core {
    /// `POST /keyMaterial/{targetUser}` for somebody who is not ours.
    pub async fn route_key_material(
        self: &Arc<Self>,
        from: &Domain,
        target: UserUri,
        body: Bytes,
    ) -> Result<Bytes, HubError> {
        let request = KeyMaterialRequest::decode(&body).map_err(|e| HubError::Malformed(e.to_string()))?;
        self.check_requester(from, target.as_str(), &request)?;
        let (requester, room) = (request.tbs.requesting_user.clone(), request.tbs.room_id.clone());
        let allowed = self.write(move |core, tx| {
            Box::pin(async move {
                match room {
                    Some(room) => core.may_bring_somebody(tx, &room, &requester).await,
                    None => Ok(false),
                }
            })
        });
        if !allowed.await? {
            return Ok(no_consent(&target).encode().into());
        }
        let provider = target.domain().clone();
        let size = body.len();
        let answer = self.peers.call(&provider, Endpoint::KeyMaterial, target.as_str(), body).await;
        let words = answer.as_ref().map_or_else(ToString::to_string, |body| format!("200, {} octets", body.len()));
        self.trace.request(&self.domain, &provider, "keyMaterial", size, &words, &format!("for {from}"));
        let answer = match answer {
            Ok(answer) => answer,
            Err(CallError::Later { after, reason, .. }) => {
                return Err(Fault::Later { problem: reason, after }.into());
            }
            // It won't be got from there, and why is not the follower's business.
            Err(CallError::Never { .. }) => return Ok(no_consent(&target).encode().into()),
        };
        let response = KeyMaterialResponse::decode(&answer)
            .map_err(|e| Fault::later(format!("{provider}'s answer is malformed: {e}")))?;
        let material = response.clients.into_iter().filter_map(|client| match client.material {
            ClientMaterial::Success(key_package) => Some(key_package),
            _ => None,
        });
        let material: Vec<_> = material.collect();
        info!(%from, %target, key_packages = material.len(), "Key material went through us.");
        let noted = self.write(move |core, tx| {
            Box::pin(async move {
                for key_package in &material {
                    core.went_through_us(tx, &provider, key_package).await?;
                }
                Ok(())
            })
        });
        noted.await?;
        mimi_adapter::failpoint!("hub.key_material.noted");
        Ok(answer)
    }

    /// A commit to a room of ours may add it, whoever makes that.
    pub(crate) async fn went_through_us(
        &self,
        tx: &mut Tx,
        provider: &Domain,
        key_package: &KeyPackage,
    ) -> Result<(), Fault> {
        match key_package.reference() {
            Some(reference) => Ok(tx.note_key_package(&reference, provider.as_str(), self.now() + NOTED).await?),
            None => Ok(()),
        }
    }

    /// A participant of a room of ours.
    async fn may_bring_somebody(&self, tx: &mut Tx, room: &RoomUri, requester: &UserUri) -> Result<bool, Fault> {
        let Some(hub) = tx.hub_room(room).await? else { return Ok(false) };
        self.must_have(tx, room).await?;
        let (_, state, _) = self.hub_state(tx, &hub).await?;
        Ok(state.participants.role(requester).is_some_and(|role| role != role::BANNED))
    }
}

fn no_consent(target: &UserUri) -> KeyMaterialResponse {
    KeyMaterialResponse {
        protocol: Protocol::Mls10,
        user_status: KeyMaterialUserCode::NoConsent,
        user_uri: target.clone(),
        clients: Vec::new(),
    }
}
