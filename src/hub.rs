//! The hub: the one order of a room's events, and their way to everybody.
//!
//! The hub sees what a hub may see. It works on the public half of the group and on the octets that came;
//! it never asks the clients that the same process runs, not even where it could. What it answers with
//! success is on disk, together with a row for each follower (H-29): from then on it will arrive.

pub mod codes;
mod group_info;
mod key_material;

use std::sync::Arc;

use mimi_adapter::Domain;
use tracing::{debug, info};

use crate::{
    core::{Core, Fault, hash},
    mimi::{
        component,
        franking::{self, FrankAad, FrankingAgentData, FrankingIntegrityTbs, ServerFrankingContext},
        policy::{self, Actor, Change, RoomState},
        tls::Tls,
        uri::{ClientUri, ProviderUri, RoomUri},
        wire::{
            Credential, Fanout, FanoutMessage, Frank, HandshakeBundle, ProposalRef, RatchetTreeOption,
            SubmitMessageRequest, SubmitMessageResponse, UpdateOutcome, UpdateRequest, UpdateRoomResponse,
        },
    },
    mls::{
        CIPHER_SUITE, HubChange, HubGroup, MlsError, Signer,
        codec::{GroupInfo, MlsMessage, RatchetTree},
    },
    outbox::{Destination, Payload},
    room_state,
    store::{Tx, hub::HubRoom},
};

/// What the hub signs and franks with. Made once per installation.
pub struct HubKeys {
    /// external_senders[0] of our rooms (P§7.4).
    sender: Signer,
    /// The franking agent (D31: not the same key).
    franking: Signer,
    /// Known to nobody else (P§5.4.1).
    frank: [u8; 32],
}

impl HubKeys {
    pub async fn load(tx: &mut Tx) -> Result<Self, Fault> {
        let mut keys = Vec::new();
        for purpose in ["sender", "franking", "frank"] {
            keys.push(match tx.hub_key(purpose).await? {
                Some(key) => key,
                None => {
                    let key = match purpose {
                        "frank" => (rand::random::<[u8; 32]>().to_vec(), Vec::new()),
                        _ => Signer::generate()?.into_keys(),
                    };
                    tx.add_hub_key(purpose, &key.0, &key.1).await?;
                    key
                }
            });
        }
        let [sender, franking, frank] =
            <[_; 3]>::try_from(keys).unwrap_or_else(|_| unreachable!("one key was pushed for each of three purposes"));
        Ok(Self {
            sender: Signer::from_keys(sender.0, sender.1),
            franking: Signer::from_keys(franking.0, franking.1),
            frank: frank.0.try_into().map_err(|_| Fault::later("the hub's franking key is damaged"))?,
        })
    }

    pub fn sender_public(&self) -> &[u8] {
        self.sender.public()
    }

    pub fn franking_public(&self) -> &[u8] {
        self.franking.public()
    }

    /// For nobody outside.
    pub(crate) fn frank(&self) -> &[u8; 32] {
        &self.frank
    }

    /// Component 0x0021 of our rooms.
    pub fn franking_agent(&self, domain: &Domain) -> Vec<u8> {
        FrankingAgentData {
            franking_signature_key: self.franking.public().to_vec().into(),
            credential: Credential::basic(ProviderUri::new(domain).as_str()),
        }
        .encode()
    }
}

/// Not every request can be answered with a struct (D2).
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error("{0}")]
    Malformed(String),
    #[error("no such room")]
    NoSuchRoom,
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<HubError> for Fault {
    fn from(e: HubError) -> Self {
        match e {
            HubError::Fault(fault) => fault,
            e => Self::Never(e.to_string()),
        }
    }
}

impl From<crate::store::StoreError> for HubError {
    fn from(e: crate::store::StoreError) -> Self {
        Self::Fault(e.into())
    }
}

impl Core {
    /// Begins to be the hub of a room whose group has just been founded.
    pub async fn become_hub(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        group_info: &GroupInfo,
        tree: &RatchetTree,
    ) -> Result<(), Fault> {
        let group = HubGroup::follow(group_info, tree)?;
        let group_id = group.group_id().to_vec();
        let owner = self.groups.follow::<Fault>(tx, group).await?;
        tx.add_hub_room(&HubRoom { room: room.clone(), owner, group_id, last_timestamp: 0 }).await?;
        Ok(())
    }

    /// `POST /submitMessage` (P§5.4). `name` is the hash of the message, by which it is recognised when it comes again.
    pub async fn hub_submit(
        &self,
        tx: &mut Tx,
        from: &Domain,
        room: &RoomUri,
        name: [u8; 32],
        request: &SubmitMessageRequest,
    ) -> Result<Vec<u8>, HubError> {
        if let Some(answer) = tx.hub_answer(room, &name).await? {
            return Ok(answer);
        }
        let response = self.hub_order(tx, from, room, request).await?;
        let answer = response.encode();
        if let SubmitMessageResponse::Accepted { accepted_timestamp, .. } = response {
            tx.hub_accepted(room, name, accepted_timestamp, &answer);
            mimi_adapter::failpoint!("hub.submit.ordered");
        }
        Ok(answer)
    }

    /// Gives a message that is not in the room's order yet its place there, and tells the followers.
    pub async fn hub_order(
        &self,
        tx: &mut Tx,
        from: &Domain,
        room: &RoomUri,
        request: &SubmitMessageRequest,
    ) -> Result<SubmitMessageResponse, HubError> {
        let mut hub = tx.hub_room(room).await?.ok_or(HubError::NoSuchRoom)?;
        let message = &request.app_message;
        let (epoch, state, franked) = self.hub_state(tx, &hub).await?;
        Ok(match self.judge_message(from, request, epoch, &state, &hub.group_id) {
            Verdict::Accept => {
                let timestamp = tx.next_timestamp(&mut hub, self.now());
                let frank = self.frank(request, room, timestamp, franked)?;
                let fanout = FanoutMessage {
                    timestamp,
                    fanout: Fanout::Application { message: message.clone(), frank: frank.clone() },
                };
                // Our own follower half knows what it sent: it has no use for an echo.
                let local = *from == self.domain;
                let followers = receivers(&state).into_iter().filter(|to| !(local && *to == self.domain));
                self.fan_out(tx, room, followers, &fanout).await?;
                debug!(%room, %from, epoch, timestamp, "A message is in the room's order.");
                SubmitMessageResponse::Accepted { accepted_timestamp: timestamp, frank }
            }
            Verdict::TooOld => SubmitMessageResponse::EpochTooOld { current_epoch: epoch },
            Verdict::Deny(reason) => {
                info!(%room, %from, sender = %request.sending_uri, reason, "A message is not allowed.");
                SubmitMessageResponse::NotAllowed
            }
        })
    }

    fn judge_message(
        &self,
        from: &Domain,
        request: &SubmitMessageRequest,
        epoch: u64,
        state: &RoomState,
        group_id: &[u8],
    ) -> Verdict {
        let message = &request.app_message;
        if request.sending_uri.domain() != from {
            return Verdict::Deny("the sender is a user of another provider".into());
        }
        if message.group_id() != Some(group_id) {
            return Verdict::Deny("the message is of another group".into());
        }
        match message.epoch() {
            Some(of) if of < epoch => return Verdict::TooOld,
            Some(of) if of > epoch => return Verdict::Deny("the message is of an epoch that has not begun".into()),
            _ => {}
        }
        let actor = Actor::User(request.sending_uri.clone());
        match policy::authorise(state, state, &actor, &Change::SendMessage) {
            Ok(()) => Verdict::Accept,
            Err(denied) => Verdict::Deny(denied.to_string()),
        }
    }

    /// The hub's testimony that this message came by it (P§5.4.1). None without a franking tag (D32).
    fn frank(
        &self,
        request: &SubmitMessageRequest,
        room: &RoomUri,
        timestamp: u64,
        franked: bool,
    ) -> Result<Option<Frank>, Fault> {
        // D32: without a tag, or an agent in the room, the message is accepted unfranked. Malformed
        // authenticated data fails at every member; it is not the hub's to mend.
        let tag = FrankAad::find(request.app_message.authenticated_data().unwrap_or_default()).ok().flatten();
        let (Some(tag), true) = (tag, franked) else { return Ok(None) };
        let context = ServerFrankingContext {
            sender_uri: request.sending_uri.clone(),
            room_uri: room.clone(),
            accepted_timestamp: timestamp,
        };
        let sign = |tbs: &[u8]| self.hub_keys.franking.sign_with_label(FrankingIntegrityTbs::LABEL, tbs);
        Ok(Some(franking::frank(&self.hub_keys.frank, &tag.franking_tag, context, CIPHER_SUITE, sign)?))
    }

    /// `POST /update` (P§5.3).
    pub async fn hub_update(
        &self,
        tx: &mut Tx,
        from: &Domain,
        room: &RoomUri,
        body: &[u8],
    ) -> Result<Vec<u8>, HubError> {
        let bundle = UpdateRequest::decode(body).map_err(|e| HubError::Malformed(e.to_string()))?;
        let mut hub = tx.hub_room(room).await?.ok_or(HubError::NoSuchRoom)?;
        let name = hash(bundle.proposal_or_commit().as_bytes());
        if let Some(answer) = tx.hub_answer(room, &name).await? {
            return Ok(answer);
        }
        let at = self.now().max(hub.last_timestamp + 1);
        let outcome = match self.judge_update(tx, from, &hub, &bundle, at).await {
            Ok(fanout) => {
                let timestamp = tx.next_timestamp(&mut hub, self.now());
                for (followers, fanout) in fanout {
                    self.fan_out(tx, room, followers.into_iter(), &FanoutMessage { timestamp, fanout }).await?;
                }
                let response = success(timestamp).encode();
                tx.hub_accepted(room, name, timestamp, &response);
                mimi_adapter::failpoint!("hub.update.ordered");
                return Ok(response);
            }
            Err(Judgement::Epoch(current_epoch)) => UpdateRoomResponse {
                error_description: String::new(),
                outcome: UpdateOutcome::WrongEpoch { current_epoch },
            },
            Err(Judgement::Deny(reason)) => {
                info!(%room, %from, reason, "An update is not allowed.");
                UpdateRoomResponse { error_description: reason, outcome: UpdateOutcome::NotAllowed }
            }
            Err(Judgement::Proposals(unknown, reason)) => {
                info!(%room, %from, reason, proposals = unknown.len(), "An update names proposals that don't wait.");
                UpdateRoomResponse { error_description: reason, outcome: UpdateOutcome::InvalidProposal(unknown) }
            }
            Err(Judgement::Error(e)) => return Err(e),
        };
        Ok(outcome.encode())
    }

    /// Carries an update out if it is valid MLS and the policy allows it, and says what to tell whom.
    async fn judge_update(
        &self,
        tx: &mut Tx,
        from: &Domain,
        hub: &HubRoom,
        bundle: &HandshakeBundle,
        at: u64,
    ) -> Result<Vec<(Vec<Domain>, Fanout)>, Judgement> {
        match bundle {
            HandshakeBundle::Commit { commit, welcome, group_info, ratchet_tree } => {
                let (change, before) = self.examine(tx, from, hub, commit).await?;
                let joiner = room_state::user(&change.sender).map_err(Judgement::Deny)?;
                if change.joins {
                    self.must_be_admitted(tx, hub, &before, &change, &joiner).await?;
                }
                let added: Vec<_> = change.added.iter().map(|leaf| leaf.key_package_ref.clone()).collect();
                let welcomed = welcome.as_ref().map_or(&[][..], |welcome| welcome.key_package_refs());
                if welcomed.len() != added.len() || !added.iter().all(|reference| welcomed.contains(reference)) {
                    return Err(Judgement::Deny("the Welcome is not for exactly those who are added".into()));
                }
                // D35: a Welcome goes where the credentials it adds come from.
                let mut joining = Vec::new();
                for leaf in &change.added {
                    let client = client(&leaf.identity)?;
                    // A basic credential proves nothing. Whose client it is we know from who brings it: its own
                    // provider, or we, who have it from there, for ourselves or for who asked through us.
                    let brought = *client.domain() == *from || *from == self.domain;
                    if !brought && !tx.key_package_is_from(&leaf.key_package_ref, client.domain().as_str()).await? {
                        return Err(Judgement::Deny(
                            "the KeyPackage of an added client did not come through us".into(),
                        ));
                    }
                    joining.push(client.domain().clone());
                }
                joining.sort();
                joining.dedup();
                let tree = match (ratchet_tree, welcome) {
                    (RatchetTreeOption::Full(tree), _) => Some(tree.clone()),
                    _ => None,
                };
                // Who had members before hears of the commit, even if it removes the last (H-26). A provider that
                // only now gets its first member learns the room from the Welcome. Whoever joins by an external commit
                // may be behind what is in its own queue, so there the commit has to take the same way.
                let local = *from == self.domain && !change.joins;
                let joins = change.joins;
                let (epoch_tree, external_proposals) = self
                    .groups
                    .hub(tx, hub.owner, &hub.group_id, |group| {
                        let left_over = group.accept_commit(change, group_info)?;
                        let mut again = Vec::new();
                        if !left_over.is_empty() {
                            // Whoever has left can't propose it any more, so we do (D23).
                            let state =
                                room_state::read(&group.dictionary(), &group.leaves()?).map_err(Fault::never)?;
                            for leaf in left_over.into_iter().filter(|leaf| room_state::hub_may_remove(&state, *leaf)) {
                                again.push(group.propose_removal(&self.hub_keys.sender, leaf, at)?);
                            }
                        }
                        Ok::<_, Fault>((group.tree()?, again))
                    })
                    .await
                    .map_err(Judgement::from)?;
                if joins {
                    tx.end_admission(&hub.room, &joiner).await?;
                }
                let mut followers = providers(&before);
                // Whoever sent it from here has it: our own follower half needs no echo.
                followers.retain(|to| !(local && *to == self.domain));
                joining.retain(|to| !(local && *to == self.domain));
                let mut fanout = vec![(followers, Fanout::Commit { message: commit.clone(), external_proposals })];
                if let Some(welcome) = welcome {
                    fanout.push((
                        joining,
                        Fanout::Welcome {
                            message: welcome.to_message(),
                            ratchet_tree: RatchetTreeOption::Full(tree.unwrap_or(epoch_tree)),
                        },
                    ));
                }
                Ok(fanout)
            }
            HandshakeBundle::Proposal { proposal, more_proposals } => {
                let mut changes = Vec::new();
                for message in std::iter::once(proposal).chain(more_proposals) {
                    changes.push(self.examine(tx, from, hub, message).await?.0);
                }
                let (_, state, _) = self.hub_state(tx, hub).await.map_err(Judgement::Error)?;
                let wait = |group: &mut HubGroup| {
                    let Some(HubChange { sender, .. }) = changes.first() else { return Ok(()) };
                    if group.has_proposal_of(sender)? {
                        return Err(Fault::never("proposals of this member are waiting already"));
                    }
                    room_state::judge_leave(&state, &changes).map_err(Fault::never)?;
                    let messages = std::iter::once(proposal).chain(more_proposals);
                    for (change, message) in changes.into_iter().zip(messages) {
                        group.accept_proposal(change, message, at)?;
                    }
                    Ok(())
                };
                self.groups.hub(tx, hub.owner, &hub.group_id, wait).await.map_err(Judgement::from)?;
                let followers = providers(&state);
                let fanout = Fanout::Proposal { message: proposal.clone(), more_proposals: more_proposals.clone() };
                Ok(vec![(followers, fanout)])
            }
        }
    }

    /// Is it valid MLS, from somebody the sending provider may speak for, and allowed?
    async fn examine(
        &self,
        tx: &mut Tx,
        from: &Domain,
        hub: &HubRoom,
        message: &MlsMessage,
    ) -> Result<(HubChange, RoomState), Judgement> {
        let examined = self
            .groups
            .hub(tx, hub.owner, &hub.group_id, |group| {
                let unknown = group.unknown_proposals(message)?;
                Ok::<_, Fault>((group.examine(message), unknown, group.dictionary(), group.leaves()?))
            })
            .await
            .map_err(Judgement::from)?;
        let (change, unknown, dictionary, leaves) = examined;
        let change = change.map_err(|e| match Judgement::from(e) {
            Judgement::Deny(reason) if !unknown.is_empty() => Judgement::Proposals(unknown, reason),
            other => other,
        })?;
        let sender = client(&change.sender)?;
        if sender.domain() != from {
            return Err(Judgement::Deny("the sender is a client of another provider".into()));
        }
        let before = room_state::read(&dictionary, &leaves).map_err(|e| Judgement::Error(Fault::later(e).into()))?;
        let after = room_state::read(&change.after, &change.leaves).map_err(Judgement::Deny)?;
        room_state::unjudged(&dictionary, &change.after).map_err(Judgement::Deny)?;
        let actor = room_state::user(&change.sender).map_err(Judgement::Deny)?;
        room_state::judge(&before, &after, actor, &change.leaving, &change.removed_by_hub).map_err(Judgement::Deny)?;
        Ok((change, before))
    }

    /// Epoch and state of a room, read from its group once per epoch, and whether it has a franking agent.
    pub(crate) async fn hub_state(&self, tx: &mut Tx, hub: &HubRoom) -> Result<(u64, Arc<RoomState>, bool), HubError> {
        let known =
            self.hub_states.lock().expect("no panic happens while the states are locked").get(&hub.room).cloned();
        let read = self
            .groups
            .hub(tx, hub.owner, &hub.group_id, |group| {
                let transcript = group.transcript().to_vec();
                // A rolled back commit leaves another transcript behind than the one that comes instead.
                let state = match known {
                    Some((of, state)) if of == transcript => state,
                    _ => {
                        let state = room_state::read(&group.dictionary(), &group.leaves()?);
                        Arc::new(state.map_err(|e| Fault::later(format!("the room's state: {e}")))?)
                    }
                };
                let franked = group.has_component(component::FRANKING_AGENT);
                Ok::<_, Fault>((group.epoch(), transcript, state, franked))
            })
            .await?;
        let (epoch, transcript, state, franked) = read;
        self.hub_states
            .lock()
            .expect("no panic happens while the states are locked")
            .insert(hub.room.clone(), (transcript, state.clone()));
        Ok((epoch, state, franked))
    }

    /// Whether a provider has people in the room.
    pub(crate) async fn has_participants(
        &self,
        tx: &mut Tx,
        hub: &HubRoom,
        provider: &Domain,
    ) -> Result<bool, HubError> {
        let (_, state, _) = self.hub_state(tx, hub).await?;
        Ok(providers(&state).contains(provider))
    }

    async fn fan_out(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        followers: impl Iterator<Item = Domain>,
        message: &FanoutMessage,
    ) -> Result<(), Fault> {
        let payload = Payload::Fanout { message: message.encode() };
        for follower in followers {
            self.enqueue(tx, &Destination::Follower(room.clone(), follower), &payload).await?;
        }
        Ok(())
    }
}

enum Verdict {
    Accept,
    TooOld,
    Deny(String),
}

enum Judgement {
    Epoch(u64),
    Deny(String),
    /// These, which it names, are none that could be committed.
    Proposals(Vec<ProposalRef>, String),
    Error(HubError),
}

impl From<MlsError> for Judgement {
    fn from(e: MlsError) -> Self {
        match e {
            MlsError::Epoch { current, .. } => Self::Epoch(current),
            MlsError::Invalid(reason) => Self::Deny(reason),
            e => Self::Error(Fault::from(e).into()),
        }
    }
}

impl From<crate::store::StoreError> for Judgement {
    fn from(e: crate::store::StoreError) -> Self {
        Self::Error(e.into())
    }
}

impl From<Fault> for Judgement {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Never(reason) => Self::Deny(reason),
            later => Self::Error(later.into()),
        }
    }
}

/// The providers with participants who are not banned.
pub(crate) fn providers(state: &RoomState) -> Vec<Domain> {
    providers_of(state, |_| true)
}

/// Of these the ones with somebody who has canReceiveMessage. Which of a provider's people that is, is for the
/// provider to keep to: it has one copy of a message, whoever of its people reads it.
fn receivers(state: &RoomState) -> Vec<Domain> {
    let hears =
        |role| state.policy.roles.role(role).is_some_and(|role| role.has(policy::Capability::CAN_RECEIVE_MESSAGE));
    providers_of(state, hears)
}

fn providers_of(state: &RoomState, role: impl Fn(u32) -> bool) -> Vec<Domain> {
    let listed = state.participants.iter().filter(|it| it.role_index != policy::role::BANNED && role(it.role_index));
    let mut providers: Vec<Domain> = listed.map(|it| it.user.domain().clone()).collect();
    providers.sort();
    providers.dedup();
    providers
}

fn success(accepted_timestamp: u64) -> UpdateRoomResponse {
    UpdateRoomResponse { error_description: String::new(), outcome: UpdateOutcome::Success { accepted_timestamp } }
}

fn client(identity: &str) -> Result<ClientUri, Judgement> {
    ClientUri::parse(identity).map_err(|e| Judgement::Deny(format!("a leaf's credential: {e}")))
}
