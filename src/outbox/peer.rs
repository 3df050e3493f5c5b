//! To a provider outside of any room: key material for an invitation, consent, and reports of abuse.

use std::sync::Arc;

use bytes::Bytes;
use mimi_adapter::Domain;
use tracing::{info, warn};

use super::{Destination, Payload, Step};
use crate::{
    core::{Core, Fault},
    dead_letters::Reason,
    mimi::{
        directory::Endpoint,
        tls::Tls,
        uri::{RoomUri, UserUri},
        wire::{
            ClientMaterial, ConsentEntry, ConsentOperation, Credential, KeyMaterialRequest, KeyMaterialRequestTbs,
            KeyMaterialResponse, KeyMaterialUserCode, Protocol, RequiredCapabilities,
        },
    },
    mls::{CIPHER_SUITE, check_key_package},
    provider::CallError,
    room_state,
    store::{
        Tx,
        invites::{Invite, InviteState},
        rooms::RoomState,
    },
};

/// Required of every leaf in our groups.
fn required() -> RequiredCapabilities {
    RequiredCapabilities {
        extension_types: vec![0x0006],
        proposal_types: vec![0x0008, 0x000A],
        credential_types: vec![1],
    }
}

impl Core {
    /// Fetches a KeyPackage for somebody who is wanted in a room of ours.
    pub(super) async fn step_invite(self: &Arc<Self>, room: &RoomUri, user: &UserUri) -> Result<Step, Fault> {
        let (of, whom) = (room.clone(), user.clone());
        let taken = self.write(move |core, tx| Box::pin(async move { core.take_invite(tx, &of, &whom).await })).await?;
        let Some((row, request)) = taken else { return Ok(Step::Idle) };
        mimi_adapter::failpoint!("outbox.invite.taken");
        // For a room of another hub by way of that hub (D35).
        let provider = if *room.domain() == self.domain { user.domain() } else { room.domain() };
        let size = request.len();
        let answer = self.peers.call(provider, Endpoint::KeyMaterial, user.as_str(), Bytes::from(request)).await;
        mimi_adapter::failpoint!("outbox.invite.answered");
        let words = answer.as_ref().map_or_else(ToString::to_string, |body| format!("200, {} octets", body.len()));
        self.trace.request(&self.domain, provider, "keyMaterial", size, &words, &format!("for {user}"));
        let (room, user) = (room.clone(), user.clone());
        match answer {
            Ok(body) => {
                let response = KeyMaterialResponse::decode(&body);
                self.write(move |core, tx| {
                    Box::pin(async move {
                        let Some(invite) = tx.invite(&room, &user).await? else {
                            tx.remove_outbox_row(row);
                            return Ok(Step::Settled);
                        };
                        match response {
                            Ok(response) => core.settle_invite(tx, invite, response).await?,
                            Err(e) => {
                                core.fail_invite(tx, invite, &format!("the provider's answer is malformed: {e}"))
                                    .await?
                            }
                        }
                        tx.remove_outbox_row(row);
                        Ok(Step::Settled)
                    })
                })
                .await
            }
            Err(CallError::Later { after, unsure, .. }) => Ok(Step::Later { problem: words, after, unsure }),
            Err(CallError::Never { .. }) => {
                self.write(move |core, tx| {
                    Box::pin(async move {
                        if let Some(invite) = tx.invite(&room, &user).await? {
                            core.fail_invite(tx, invite, &words).await?;
                        }
                        tx.remove_outbox_row(row);
                        Ok(Step::Settled)
                    })
                })
                .await
            }
        }
    }

    /// The signed request. `None` while there is nothing to ask for.
    async fn take_invite(&self, tx: &mut Tx, room: &RoomUri, user: &UserUri) -> Result<Option<(i64, Vec<u8>)>, Fault> {
        let to = Destination::Invite(room.clone(), user.clone()).to_string();
        let Some(row) = tx.outbox_head(&to, 1).await?.pop() else { return Ok(None) };
        let state = tx.room(room).await?.filter(|room| room.state == RoomState::Open);
        let Some(group) = state.and_then(|room| room.group) else { return Ok(None) };
        let reader = tx.leaf(group.reader).await?.ok_or_else(|| Fault::later("the room's reader is missing"))?;
        let requester = reader.client.user().ok_or_else(|| Fault::later("a client of ours has no user"))?;
        let client = self.client(tx, &requester).await?;
        let tbs = KeyMaterialRequestTbs {
            protocol: Protocol::Mls10,
            requesting_user: requester,
            target_user: user.clone(),
            room_id: Some(room.clone()),
            acceptable_ciphersuites: vec![CIPHER_SUITE],
            required_capabilities: required(),
            requester_signature_key: Bytes::copy_from_slice(client.public_key()),
            requester_credential: Credential::basic(client.uri().as_str()),
        };
        let signature = client.sign_with_label("KeyMaterialRequestTBS", &tbs.encode())?.into();
        Ok(Some((row.id, KeyMaterialRequest { tbs, signature }.encode())))
    }

    async fn settle_invite(&self, tx: &mut Tx, mut invite: Invite, response: KeyMaterialResponse) -> Result<(), Fault> {
        match response.user_status {
            KeyMaterialUserCode::Success | KeyMaterialUserCode::PartialSuccess => {
                let packages: Vec<_> = response
                    .clients
                    .into_iter()
                    .filter_map(|client| match client.material {
                        ClientMaterial::Success(key_package) => Some(key_package),
                        _ => None,
                    })
                    .collect();
                if packages.is_empty() {
                    return self.fail_invite(tx, invite, "the provider gave no key material").await;
                }
                for key_package in &packages {
                    // What is added is who was asked for, by a client that can be a member (D29).
                    let usable = check_key_package(key_package)
                        .map_err(|e| e.to_string())
                        .and_then(|identity| room_state::user(&identity))
                        .and_then(|user| {
                            if user == invite.user { Ok(()) } else { Err(format!("the key material is {user}'s")) }
                        });
                    if let Err(problem) = usable {
                        return self.fail_invite(tx, invite, &problem).await;
                    }
                }
                for key_package in packages {
                    let payload = Payload::Add {
                        user: invite.user.clone(),
                        role: invite.role,
                        key_package: Some(key_package.as_bytes().to_vec()),
                    };
                    self.enqueue(tx, &Destination::Hub(invite.room.clone()), &payload).await?;
                }
                invite.state = InviteState::Adding;
                tx.save_invite(&invite, self.now()).await?;
                Ok(())
            }
            KeyMaterialUserCode::NoConsent | KeyMaterialUserCode::NoConsentForThisRoom => {
                info!(room = %invite.room, user = %invite.user, "Consent is needed; their provider is asked.");
                let requester = self.requester(tx, &invite.room).await?;
                let entry = self
                    .consent_entry(ConsentOperation::Request, &requester, &invite.user, Some(&invite.room))
                    .encode();
                let to = Destination::Peer(invite.user.domain().clone());
                self.enqueue(tx, &to, &Payload::RequestConsent { entry }).await?;
                invite.state = InviteState::Asked;
                tx.save_invite(&invite, self.now()).await?;
                Ok(())
            }
            other => {
                let reason = match other {
                    KeyMaterialUserCode::UserUnknown => "the provider does not know this user".to_owned(),
                    KeyMaterialUserCode::UserDeleted => "this user has been deleted".to_owned(),
                    KeyMaterialUserCode::NoCompatibleMaterial | KeyMaterialUserCode::IncompatibleProtocol => {
                        "no client of theirs has a cipher suite in common with the room".to_owned()
                    }
                    other => format!("the provider answered {other:?}"),
                };
                self.fail_invite(tx, invite, &reason).await
            }
        }
    }

    async fn requester(&self, tx: &mut Tx, room: &RoomUri) -> Result<UserUri, Fault> {
        let group =
            tx.room(room).await?.and_then(|room| room.group).ok_or_else(|| Fault::later("the room is not open"))?;
        let reader = tx.leaf(group.reader).await?.ok_or_else(|| Fault::later("the room's reader is missing"))?;
        reader.client.user().ok_or_else(|| Fault::later("a client of ours has no user"))
    }

    pub async fn fail_invite(&self, tx: &mut Tx, mut invite: Invite, problem: &str) -> Result<(), Fault> {
        warn!(room = %invite.room, user = %invite.user, problem, "The invitation failed.");
        invite.state = InviteState::Failed;
        invite.problem = Some(problem.to_owned());
        tx.save_invite(&invite, self.now()).await?;
        let text = format!("{} could not be invited: {problem}.", invite.user);
        let notice = Payload::Notice { text, about: None, to: None };
        self.enqueue(tx, &Destination::Portal(invite.room.clone()), &notice).await
    }

    /// Consent requests and answers, and reports of abuse, in order.
    pub(super) async fn step_peer(self: &Arc<Self>, provider: &Domain) -> Result<Step, Fault> {
        let to = Destination::Peer(provider.clone()).to_string();
        let head = self.write(move |_, tx| Box::pin(async move { Ok(tx.outbox_head(&to, 1).await?.pop()) })).await?;
        let Some(row) = head else { return Ok(Step::Idle) };
        // Of consent: the peer's directory decides whether its path names a domain or a user (D4).
        let entry = |octets: &[u8]| ConsentEntry::decode(octets).map_err(Fault::broken);
        let (endpoint, about, body) = match Payload::decode(&row.payload)? {
            Payload::RequestConsent { entry: it } => (Endpoint::RequestConsent, entry(&it)?.target_uri.to_string(), it),
            Payload::UpdateConsent { entry: it } => {
                (Endpoint::UpdateConsent, entry(&it)?.requester_uri.to_string(), it)
            }
            Payload::ReportAbuse { room, report } => (Endpoint::ReportAbuse, room.to_string(), report),
            other => return Err(Fault::broken(format!("a {} row in a peer's queue", other.kind()))),
        };
        mimi_adapter::failpoint!("outbox.peer.taken");
        let size = body.len();
        let answer = self.peers.call(provider, endpoint, &about, Bytes::from(body)).await;
        mimi_adapter::failpoint!("outbox.peer.answered");
        let words = answer.as_ref().map_or_else(ToString::to_string, |_| "201".into());
        self.trace.request(&self.domain, provider, endpoint.name(), size, &words, "");
        match answer {
            Err(CallError::Later { after, unsure, .. }) => return Ok(Step::Later { problem: words, after, unsure }),
            Err(CallError::Never { .. }) => {
                let to = Destination::Peer(provider.clone());
                self.write(move |core, tx| {
                    Box::pin(async move { core.bury(tx, &to, &[row], &Reason::refused(&words)).await })
                })
                .await?;
                return Ok(Step::Settled);
            }
            Ok(_) => {}
        }
        self.write(move |_, tx| {
            Box::pin(async move {
                tx.remove_outbox_row(row.id);
                Ok::<_, Fault>(())
            })
        })
        .await?;
        mimi_adapter::failpoint!("outbox.peer.settled");
        Ok(Step::Settled)
    }
}
