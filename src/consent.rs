//! Who may reach our users, and the doors that ask (P§5.2, P§5.7, P§8).
//!
//! Default deny. A KeyPackage leaves only for a requester whom the configuration lets in or a stored grant
//! names, and whether the target exists makes no difference to the answer. KeyPackages are made just in
//! time: the gateway is always there, so there is no stock to run out of or to be hoarded.

use mimi_adapter::Domain;
use tracing::info;

use crate::{
    core::{Core, Fault},
    hub::HubError,
    mimi::{
        tls::Tls,
        uri::{IdentifierUri, RoomUri, UserUri},
        wire::{
            AppDataDictionary, ClientKeyMaterial, ClientMaterial, ConsentEntry, ConsentOperation, KeyMaterialRequest,
            KeyMaterialResponse, KeyMaterialUserCode, Protocol,
        },
    },
    mls::{CIPHER_SUITE, verify_with_label},
    outbox::{Destination, Payload},
    store::{Tx, consents::ConsentState, invites::InviteState},
};

impl Core {
    /// May `requester` have a KeyPackage of `target` for this room? The most specific word counts (D45).
    async fn may_reach(
        &self,
        tx: &mut Tx,
        requester: &UserUri,
        target: &UserUri,
        room: Option<&RoomUri>,
    ) -> Result<bool, Fault> {
        if let Some(room) = room
            && let Some(state) = tx.consent(requester, target, Some(room)).await?
            && state != ConsentState::Requested
        {
            return Ok(state == ConsentState::Granted);
        }
        match tx.consent(requester, target, None).await? {
            Some(ConsentState::Granted) => Ok(true),
            Some(ConsentState::Revoked) => Ok(false),
            _ => Ok(self.allow.iter().any(|allow| allow.matches(requester))),
        }
    }

    /// `POST /keyMaterial/{targetUser}`.
    pub async fn key_material(
        &self,
        tx: &mut Tx,
        from: &Domain,
        target: &str,
        body: &[u8],
    ) -> Result<Vec<u8>, HubError> {
        let request = KeyMaterialRequest::decode(body).map_err(|e| HubError::Malformed(e.to_string()))?;
        self.check_requester(from, target, &request)?;
        let tbs = &request.tbs;
        let allowed = self.may_reach(tx, &tbs.requesting_user, &tbs.target_user, tbs.room_id.as_ref()).await?;
        // Somebody unknown and somebody unwilling look the same from outside.
        let known = self.is_ours(&tbs.target_user) && self.adapter_of(&tbs.target_user).is_some();
        let (user_status, clients) = match (allowed && known, tbs.acceptable_ciphersuites.iter().any(is_ours_suite)) {
            (false, _) => (KeyMaterialUserCode::NoConsent, Vec::new()),
            (true, false) => (KeyMaterialUserCode::NoCompatibleMaterial, Vec::new()),
            (true, true) => {
                let key_package = self.make_key_package(tx, &tbs.target_user).await?;
                // To ourselves as the hub, one of ours is one of any provider's.
                if tbs.room_id.as_ref().is_some_and(|room| *room.domain() == self.domain) {
                    self.went_through_us(tx, &self.domain, &key_package).await?;
                }
                let client = self.client(tx, &tbs.target_user).await?;
                let client_uri =
                    IdentifierUri::parse(client.uri().as_str()).map_err(|e| Fault::later(e.to_string()))?;
                (
                    KeyMaterialUserCode::Success,
                    vec![ClientKeyMaterial { client_uri, material: ClientMaterial::Success(key_package) }],
                )
            }
        };
        info!(requester = %tbs.requesting_user, target = %tbs.target_user, status = ?user_status, "Key material was asked for.");
        let response =
            KeyMaterialResponse { protocol: Protocol::Mls10, user_status, user_uri: tbs.target_user.clone(), clients };
        Ok(response.encode())
    }

    /// Who asks for key material is whom the request says, and for whom the path says.
    pub(crate) fn check_requester(
        &self,
        from: &Domain,
        target: &str,
        request: &KeyMaterialRequest,
    ) -> Result<(), HubError> {
        let tbs = &request.tbs;
        if tbs.target_user.as_str() != target {
            return Err(HubError::Malformed("the path names another user than the body".into()));
        }
        // D35: the requester's own provider, or the hub of the room it is for.
        let via_hub = tbs.room_id.as_ref().is_some_and(|room| room.domain() == from);
        if tbs.requesting_user.domain() != from && !via_hub {
            return Err(HubError::Fault(Fault::never("the requesting user is of another provider")));
        }
        // D13: the key signs for itself, and the credential names the requester.
        verify_with_label(&tbs.requester_signature_key, "KeyMaterialRequestTBS", &tbs.encode(), &request.signature)
            .map_err(|e| HubError::Fault(Fault::never(e.to_string())))?;
        if !names(tbs.requester_credential.identity(), &tbs.requesting_user) {
            return Err(HubError::Fault(Fault::never("the credential is not the requesting user's")));
        }
        Ok(())
    }

    /// `POST /requestConsent/{targetDomain}`: request or cancel.
    pub async fn request_consent(&self, tx: &mut Tx, from: &Domain, body: &[u8]) -> Result<(), HubError> {
        let entry = ConsentEntry::decode(body).map_err(|e| HubError::Malformed(e.to_string()))?;
        let (requester, target, room) = (&entry.requester_uri, &entry.target_uri, entry.room_id.as_ref());
        if requester.domain() != from || !self.is_ours(target) {
            return Err(HubError::Fault(Fault::never("a request comes from the requester's provider to the target's")));
        }
        match entry.consent_operation {
            ConsentOperation::Cancel => tx.cancel_consent_request(requester, target, room).await?,
            ConsentOperation::Request if self.may_reach(tx, requester, target, room).await? => {
                self.answer_consent(tx, requester, target, room, true).await?;
            }
            ConsentOperation::Request => {
                // A word that was given stays; a request is noted once.
                if tx.consent(requester, target, room).await?.is_none() {
                    info!(%requester, %target, "Consent is asked for.");
                    tx.set_consent(requester, target, room, ConsentState::Requested, self.now()).await?;
                }
            }
            _ => return Err(HubError::Malformed("requestConsent carries requests and cancels".into())),
        }
        Ok(())
    }

    /// `POST /updateConsent/{requesterDomain}`: grant or revoke.
    pub async fn update_consent(&self, tx: &mut Tx, from: &Domain, body: &[u8]) -> Result<(), HubError> {
        let entry = ConsentEntry::decode(body).map_err(|e| HubError::Malformed(e.to_string()))?;
        if entry.target_uri.domain() != from || !self.is_ours(&entry.requester_uri) {
            return Err(HubError::Fault(Fault::never("an update comes from the target's provider to the requester's")));
        }
        let granted = match entry.consent_operation {
            // The KeyPackages in a grant are not needed: with consent we can ask for fresh ones.
            ConsentOperation::Grant(_) => true,
            ConsentOperation::Revoke => false,
            _ => return Err(HubError::Malformed("updateConsent carries grants and revokes".into())),
        };
        for mut invite in tx.invites_of_user(&entry.target_uri).await? {
            if invite.state != InviteState::Asked || entry.room_id.as_ref().is_some_and(|room| *room != invite.room) {
                continue;
            }
            if granted {
                invite.state = InviteState::Wanted;
                let to = Destination::Invite(invite.room.clone(), invite.user.clone());
                self.enqueue(tx, &to, &Payload::Invite).await?;
            } else {
                invite.state = InviteState::Failed;
                invite.problem = Some("consent was refused".into());
            }
            tx.save_invite(&invite, self.now()).await?;
        }
        Ok(())
    }

    /// An admin's word, kept and told to the requester's provider.
    pub async fn decide_consent(
        &self,
        tx: &mut Tx,
        requester: &UserUri,
        target: &UserUri,
        room: Option<&RoomUri>,
        granted: bool,
    ) -> Result<(), Fault> {
        let before = tx.consent(requester, target, room).await?;
        let state = if granted { ConsentState::Granted } else { ConsentState::Revoked };
        tx.set_consent(requester, target, room, state, self.now()).await?;
        // A grant answers a request; a refusal is silence (privacy), unless a grant is taken back.
        if granted || before == Some(ConsentState::Granted) {
            self.answer_consent(tx, requester, target, room, granted).await?;
        }
        Ok(())
    }

    async fn answer_consent(
        &self,
        tx: &mut Tx,
        requester: &UserUri,
        target: &UserUri,
        room: Option<&RoomUri>,
        granted: bool,
    ) -> Result<(), Fault> {
        let operation = if granted { ConsentOperation::Grant(Vec::new()) } else { ConsentOperation::Revoke };
        let entry = self.consent_entry(operation, requester, target, room).encode();
        self.enqueue(tx, &Destination::Peer(requester.domain().clone()), &Payload::UpdateConsent { entry }).await
    }

    /// A ConsentEntry with our disclosure in its extensions.
    pub fn consent_entry(
        &self,
        consent_operation: ConsentOperation,
        requester: &UserUri,
        target: &UserUri,
        room: Option<&RoomUri>,
    ) -> ConsentEntry {
        let disclosure = (crate::mimi::component::BRIDGE_DISCLOSURE, self.disclosure.clone().into());
        ConsentEntry {
            consent_operation,
            requester_uri: requester.clone(),
            target_uri: target.clone(),
            room_id: room.cloned(),
            consent_extensions: AppDataDictionary([disclosure].into()),
        }
    }
}

/// D29: an identity is the user's URI or that of one of the user's clients.
fn names(identity: Option<&[u8]>, user: &UserUri) -> bool {
    use crate::mimi::uri::ClientUri;
    let Some(identity) = identity.and_then(|octets| std::str::from_utf8(octets).ok()) else { return false };
    identity == user.as_str() || ClientUri::parse(identity).is_ok_and(|client| client.user().as_ref() == Some(user))
}

fn is_ours_suite(suite: &crate::mimi::wire::CipherSuite) -> bool {
    *suite == CIPHER_SUITE
}
