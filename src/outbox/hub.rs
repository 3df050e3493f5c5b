//! To the hub of a room: messages of our users, and commits.

use std::sync::Arc;

use bytes::Bytes;
use mimi_adapter::Domain;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::{Destination, Payload, Step};
use crate::{
    core::{Core, Fault, hash},
    mimi::{
        component,
        content::{MessageId, MimiContent},
        directory::Endpoint,
        framing::ApplicationFraming,
        franking,
        participants::{ParticipantListData, ParticipantListUpdate, UserRolePair},
        tls::Tls,
        uri::{ClientUri, RoomUri, UserUri},
        wire::{
            GroupInfoOption, HandshakeBundle, Protocol, RatchetTreeOption, SubmitMessageRequest, SubmitMessageResponse,
            UpdateOutcome, UpdateRoomResponse,
        },
    },
    mls::{
        Change, CommitMaterial,
        codec::{KeyPackage, MlsMessage, RatchetTree, Welcome},
    },
    provider::CallError,
    store::{
        Tx,
        invites::InviteState,
        leaves::Leaf,
        outbox::Row,
        rooms::{Room, RoomGroup, RoomState},
    },
};

/// At most this many people come in one commit.
const ADDS: i64 = 256;

/// What a row was made into, kept on it until the hub has answered.
#[derive(Serialize, Deserialize)]
enum Prepared {
    Message {
        request: Vec<u8>,
    },
    Commit {
        request: Vec<u8>,
        commit: Vec<u8>,
        committer: i64,
        welcome: Option<(Vec<u8>, Vec<u8>)>,
        /// The rows it carries out; empty if it only clears the way for the row it stands on.
        rows: Vec<i64>,
    },
}

/// The head of a hub's queue, ready to go.
struct Taken {
    room: Room,
    group: RoomGroup,
    row: Row,
    prepared: Prepared,
}

impl Taken {
    fn endpoint(&self) -> Endpoint {
        match self.prepared {
            Prepared::Message { .. } => Endpoint::SubmitMessage,
            Prepared::Commit { .. } => Endpoint::Update,
        }
    }

    fn request(&self) -> &[u8] {
        match &self.prepared {
            Prepared::Message { request } | Prepared::Commit { request, .. } => request,
        }
    }
}

/// What taking came to.
enum Take {
    Nothing,
    /// The row was settled without the hub.
    Done,
    Ready(Box<Taken>),
}

impl Core {
    pub(super) async fn step_hub(self: &Arc<Self>, room: &RoomUri) -> Result<Step, Fault> {
        let of = room.clone();
        if *room.domain() == self.domain {
            return self
                .write(move |core, tx| {
                    Box::pin(async move {
                        let taken = match core.take_hub(tx, &of).await? {
                            Take::Nothing => return Ok(Step::Idle),
                            Take::Done => return Ok(Step::Settled),
                            Take::Ready(taken) => taken,
                        };
                        let request = taken.request().to_vec();
                        let answer = match taken.endpoint() {
                            Endpoint::Update => core.hub_update(tx, &core.domain, &of, &request).await?,
                            _ => core.hub_submit(tx, &core.domain, &of, &request).await?,
                        };
                        core.settle_hub(tx, *taken, &answer).await
                    })
                })
                .await;
        }
        let taken = match self.write(move |core, tx| Box::pin(async move { core.take_hub(tx, &of).await })).await? {
            Take::Nothing => return Ok(Step::Idle),
            Take::Done => return Ok(Step::Settled),
            Take::Ready(taken) => taken,
        };
        let hub: Domain = room.domain().clone();
        let request = Bytes::copy_from_slice(taken.request());
        let (endpoint, size, epoch) = (taken.endpoint(), request.len(), taken.group.epoch);
        let answer = self.peers.call(&hub, endpoint, room.as_str(), request).await;
        let words = answer.as_ref().map_or_else(ToString::to_string, |body| format!("200, {} octets", body.len()));
        self.trace.request(&self.domain, &hub, endpoint.name(), size, &words, &self.about(&taken, epoch));
        match answer {
            Ok(body) => {
                self.write(move |core, tx| Box::pin(async move { core.settle_hub(tx, *taken, &body).await })).await
            }
            Err(CallError::Later { after, .. }) => self.postpone(taken.row.id, words, after).await,
            Err(CallError::Never { .. }) => {
                self.write(move |core, tx| Box::pin(async move { core.refused(tx, *taken, &words).await })).await
            }
        }
    }

    fn about(&self, taken: &Taken, epoch: u64) -> String {
        match (&taken.prepared, Payload::decode(&taken.row.payload)) {
            (Prepared::Message { .. }, Ok(Payload::Submit { message, .. })) => {
                format!("epoch {epoch}  message {}", hex::encode(&message[..8]))
            }
            _ => format!("commit of epoch {epoch}"),
        }
    }

    /// Take: the head of the queue, encrypted or made a commit, saved before a byte leaves.
    async fn take_hub(&self, tx: &mut Tx, room: &RoomUri) -> Result<Take, Fault> {
        let to = Destination::Hub(room.clone()).to_string();
        let rows = tx.outbox_head(&to, ADDS).await?;
        let Some(row) = rows.first().cloned() else { return Ok(Take::Nothing) };
        let Some(state) = tx.room(room).await? else { return Ok(Take::Nothing) };
        let group = match (&state.group, state.state) {
            (Some(group), RoomState::Open) => group.clone(),
            (_, RoomState::Left) => {
                self.give_up(tx, &row, room, "we are no longer in the room").await?;
                return Ok(Take::Done);
            }
            _ => return Ok(Take::Nothing),
        };
        if let Some(prepared) = &row.prepared {
            let prepared = postcard::from_bytes(prepared).map_err(|e| Fault::later(format!("a prepared row: {e}")))?;
            return Ok(Take::Ready(Box::new(Taken { room: state, group, row, prepared })));
        }
        let prepared = match Payload::decode(&row.payload)? {
            Payload::Submit { sender, content, .. } => {
                let Some(leaf) = self.leaf_of(tx, room, &sender).await? else {
                    self.give_up(tx, &row, room, "you are not a member of the room").await?;
                    return Ok(Take::Done);
                };
                self.catch_up(tx, room, &group.group_id, &leaf).await?;
                let client = self.client(tx, &sender).await?;
                let pending = self
                    .groups
                    .member(tx, leaf.owner, &group.group_id, |member| Ok::<_, Fault>(member.has_pending_proposals()))
                    .await?;
                if pending {
                    // C-45: what others have proposed is committed before anything is said.
                    let material = self.make_commit(tx, &group, &leaf, &sender, Change::default()).await?;
                    self.prepared_commit(material, leaf.owner, Vec::new())
                } else {
                    let message = self.encrypt(tx, &group, &leaf, &client, &content).await?;
                    tx.see(room, &hash(message.as_bytes()), self.now()).await?;
                    let request =
                        SubmitMessageRequest { protocol: Protocol::Mls10, app_message: message, sending_uri: sender };
                    Prepared::Message { request: request.encode() }
                }
            }
            Payload::Add { .. } => match self.make_adds(tx, &state, &group, &rows).await? {
                Some(prepared) => prepared,
                None => return Ok(Take::Done),
            },
            Payload::Remove { user } => match self.make_removal(tx, room, &group, &user, row.id).await? {
                Some(prepared) => prepared,
                None => {
                    tx.remove_outbox_row(row.id).await?;
                    return Ok(Take::Done);
                }
            },
            Payload::CommitPending => {
                let leaf = self.reader(tx, &group).await?;
                let user = user_of(&leaf.client)?;
                let pending = self
                    .groups
                    .member(tx, leaf.owner, &group.group_id, |member| Ok::<_, Fault>(member.has_pending_proposals()))
                    .await?;
                if !pending {
                    tx.remove_outbox_row(row.id).await?;
                    return Ok(Take::Done);
                }
                let material = self.make_commit(tx, &group, &leaf, &user, Change::default()).await?;
                self.prepared_commit(material, leaf.owner, vec![row.id])
            }
            other => return Err(Fault::later(format!("a {} row in a hub's queue", other.kind()))),
        };
        let octets = postcard::to_stdvec(&prepared).map_err(|e| Fault::later(e.to_string()))?;
        tx.prepare_outbox_row(row.id, Some(&octets)).await?;
        Ok(Take::Ready(Box::new(Taken { room: state, group, row, prepared })))
    }

    /// The content as application data of the current epoch, with its franking tag (P§5.4.1).
    async fn encrypt(
        &self,
        tx: &mut Tx,
        group: &RoomGroup,
        leaf: &Leaf,
        client: &crate::mls::Client,
        content: &[u8],
    ) -> Result<MlsMessage, Fault> {
        let salt = MimiContent::decode(content).map_err(|e| Fault::later(format!("a stored content: {e}")))?.salt;
        let data = ApplicationFraming::mimi_content(content.to_vec()).encode();
        let tag = franking::franking_tag(&salt, &data);
        self.groups
            .member(tx, leaf.owner, &group.group_id, |member| Ok::<_, Fault>(member.encrypt(client, &tag, &data)?))
            .await
    }

    /// One commit for the Add rows at the head of the queue. `None` if they were all done already.
    async fn make_adds(
        &self,
        tx: &mut Tx,
        room: &Room,
        group: &RoomGroup,
        rows: &[Row],
    ) -> Result<Option<Prepared>, Fault> {
        let reader = self.reader(tx, group).await?;
        let user = user_of(&reader.client)?;
        let mut change = Change::default();
        let mut added = Vec::new();
        let mut carried = Vec::new();
        for row in rows {
            let Payload::Add { user, role, key_package } = Payload::decode(&row.payload)? else { break };
            carried.push(row.id);
            let present = tx.participant_role(&room.room, &user).await?.is_some();
            let leaf = self.leaf_of(tx, &room.room, &user).await?.is_some();
            // Somebody else may have added them meanwhile; their key material then waits for nothing.
            if self.is_ours(&user) && present && leaf {
                continue;
            }
            let key_package = match key_package {
                Some(octets) => KeyPackage::decode(&octets).map_err(|e| Fault::later(e.to_string()))?,
                None => self.make_key_package(tx, &user).await?,
            };
            change.add.push(key_package);
            if !present {
                added.push(UserRolePair { user, role_index: role });
            }
        }
        if change.add.is_empty() {
            for row in carried {
                tx.remove_outbox_row(row).await?;
            }
            return Ok(None);
        }
        if !added.is_empty() {
            let update = ParticipantListUpdate { added_participants: added, ..Default::default() };
            change.update.push((component::PARTICIPANT_LIST, update.encode()));
        }
        let material = self.make_commit(tx, group, &reader, &user, change).await?;
        Ok(Some(self.prepared_commit(material, reader.owner, carried)))
    }

    /// Takes one of our users out by a commit of another of ours. `None` if there is nothing to do, or
    /// nobody else of ours to do it.
    async fn make_removal(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        group: &RoomGroup,
        user: &UserUri,
        row: i64,
    ) -> Result<Option<Prepared>, Fault> {
        let Some(leaf) = self.leaf_of(tx, room, user).await? else { return Ok(None) };
        let Some(committer) = self.other_leaf(tx, room, group, &leaf).await? else { return Ok(None) };
        let list =
            self.groups.member(tx, group.reader, &group.group_id, |member| Ok::<_, Fault>(member.dictionary())).await?;
        let list = ParticipantListData::decode(list.get(&component::PARTICIPANT_LIST).map_or(&[0][..], Vec::as_slice))
            .map_err(|e| Fault::later(e.to_string()))?;
        let mut change = Change { remove: vec![leaf.client.as_str().to_owned()], ..Change::default() };
        if let Some(index) = list.index(user) {
            let update = ParticipantListUpdate { removed_indices: vec![index], ..Default::default() };
            change.update.push((component::PARTICIPANT_LIST, update.encode()));
        }
        self.catch_up(tx, room, &group.group_id, &committer).await?;
        let by = user_of(&committer.client)?;
        let material = self.make_commit(tx, group, &committer, &by, change).await?;
        Ok(Some(self.prepared_commit(material, committer.owner, vec![row])))
    }

    async fn make_commit(
        &self,
        tx: &mut Tx,
        group: &RoomGroup,
        leaf: &Leaf,
        user: &UserUri,
        change: Change,
    ) -> Result<CommitMaterial, Fault> {
        let client = self.client(tx, user).await?;
        self.groups
            .member(tx, leaf.owner, &group.group_id, |member| {
                if member.has_pending_commit() {
                    member.abandon_pending()?;
                }
                Ok::<_, Fault>(member.commit(&client, change)?)
            })
            .await
    }

    fn prepared_commit(&self, material: CommitMaterial, committer: i64, rows: Vec<i64>) -> Prepared {
        let welcome =
            material.welcome.as_ref().map(|welcome| (welcome.as_bytes().to_vec(), material.tree.as_bytes().to_vec()));
        let commit = material.commit.as_bytes().to_vec();
        let bundle = HandshakeBundle::Commit {
            commit: material.commit,
            welcome: material.welcome,
            group_info: GroupInfoOption::Full(material.group_info),
            ratchet_tree: RatchetTreeOption::Full(material.tree),
        };
        Prepared::Commit { request: bundle.encode(), commit, committer, welcome, rows }
    }

    /// Settle: what the hub said.
    async fn settle_hub(&self, tx: &mut Tx, taken: Taken, answer: &[u8]) -> Result<Step, Fault> {
        let room = taken.room.room.clone();
        match &taken.prepared {
            Prepared::Message { .. } => match SubmitMessageResponse::decode(answer) {
                Ok(SubmitMessageResponse::Accepted { accepted_timestamp, .. }) => {
                    if let Payload::Submit { message, .. } = Payload::decode(&taken.row.payload)?
                        && let Ok(id) = MessageId::new(message)
                    {
                        tx.message_accepted(&room, &id, accepted_timestamp).await?;
                    }
                    tx.remove_outbox_row(taken.row.id).await?;
                    Ok(Step::Settled)
                }
                // The commit that began the new epoch is on its way to us; then it is encrypted again.
                Ok(SubmitMessageResponse::EpochTooOld { current_epoch }) => {
                    self.take_again(tx, &taken, current_epoch).await
                }
                Ok(SubmitMessageResponse::NotAllowed | SubmitMessageResponse::Unknown(_)) => {
                    self.refused(tx, taken, "the room does not allow it").await
                }
                Err(e) => Ok(Step::Later { problem: format!("the hub's answer: {e}"), after: None }),
            },
            Prepared::Commit { commit, welcome, rows, .. } => {
                match UpdateRoomResponse::decode(answer).map(|it| (it.outcome, it.error_description)) {
                    Ok((UpdateOutcome::Success { .. }, _)) => {
                        let commit = MlsMessage::decode(commit).map_err(|e| Fault::later(e.to_string()))?;
                        self.committed(tx, &taken, &commit).await?;
                        if let Some((welcome, tree)) = welcome {
                            let welcome = Welcome::decode(welcome).map_err(|e| Fault::later(e.to_string()))?;
                            let tree = RatchetTree::decode(tree).map_err(|e| Fault::later(e.to_string()))?;
                            self.welcomed(tx, &room, &welcome, Some(&tree)).await?;
                        }
                        for row in rows {
                            tx.remove_outbox_row(*row).await?;
                        }
                        if rows.is_empty() {
                            tx.prepare_outbox_row(taken.row.id, None).await?;
                        }
                        Ok(Step::Settled)
                    }
                    Ok((UpdateOutcome::WrongEpoch { current_epoch }, _)) => {
                        self.take_again(tx, &taken, current_epoch).await
                    }
                    // D59: an outcome we don't know is a failure too.
                    Ok((_, description)) => {
                        self.refused(tx, taken, &format!("the room does not allow it ({description})")).await
                    }
                    Err(e) => Ok(Step::Later { problem: format!("the hub's answer: {e}"), after: None }),
                }
            }
        }
    }

    /// Our commit is the room's. The reader follows it like any other; a committer that is not the reader
    /// has it pending and merges it when it catches up.
    async fn committed(&self, tx: &mut Tx, taken: &Taken, commit: &MlsMessage) -> Result<(), Fault> {
        self.advance(tx, &taken.room.room, commit).await
    }

    /// What was prepared is for an epoch that is over: it is made anew once we are in the next one.
    async fn take_again(&self, tx: &mut Tx, taken: &Taken, current_epoch: u64) -> Result<Step, Fault> {
        if let Prepared::Commit { committer, .. } = &taken.prepared
            && tx.leaf(*committer).await?.is_some()
        {
            self.groups
                .member(tx, *committer, &taken.group.group_id, |member| Ok::<_, Fault>(member.abandon_pending()?))
                .await?;
        }
        tx.prepare_outbox_row(taken.row.id, None).await?;
        if taken.group.epoch >= current_epoch {
            return Ok(Step::Settled);
        }
        let problem = format!("the room is in epoch {current_epoch} and we are in {}", taken.group.epoch);
        tx.outbox_attempt_failed(taken.row.id, &problem).await?;
        Ok(Step::Later { problem, after: None })
    }

    /// The hub will never take it.
    async fn refused(&self, tx: &mut Tx, taken: Taken, reason: &str) -> Result<Step, Fault> {
        let room = taken.room.room.clone();
        if let Prepared::Commit { committer, rows, .. } = &taken.prepared {
            if tx.leaf(*committer).await?.is_some() {
                self.groups
                    .member(tx, *committer, &taken.group.group_id, |member| Ok::<_, Fault>(member.abandon_pending()?))
                    .await?;
            }
            let head = tx.outbox_head(&Destination::Hub(room.clone()).to_string(), ADDS).await?;
            let refused = head.into_iter().filter(|row| rows.contains(&row.id) || row.id == taken.row.id);
            for row in refused {
                self.give_up(tx, &row, &room, reason).await?;
            }
        } else {
            self.give_up(tx, &taken.row, &room, reason).await?;
        }
        Ok(Step::Settled)
    }

    /// The row is given up, and whoever waits for it is told why.
    async fn give_up(&self, tx: &mut Tx, row: &Row, room: &RoomUri, reason: &str) -> Result<(), Fault> {
        tx.remove_outbox_row(row.id).await?;
        match Payload::decode(&row.payload)? {
            Payload::Submit { sender, message, .. } => {
                warn!(%room, %sender, message = hex::encode(message), reason, "A message was refused.");
                let text = format!("Your message was not delivered: {reason}.");
                let notice = Payload::Notice { text, about: Some(message), to: Some(sender.native()) };
                self.enqueue(tx, &Destination::Portal(room.clone()), &notice).await?;
            }
            Payload::Add { user, .. } => {
                warn!(%room, %user, reason, "Somebody could not be added to the room.");
                if let Some(mut invite) = tx.invite(room, &user).await? {
                    invite.state = InviteState::Failed;
                    invite.problem = Some(reason.to_owned());
                    tx.save_invite(&invite, self.now()).await?;
                }
            }
            other => info!(%room, kind = other.kind(), reason, "Given up."),
        }
        Ok(())
    }

    /// The leaf of a user of ours in a room.
    pub async fn leaf_of(&self, tx: &mut Tx, room: &RoomUri, user: &UserUri) -> Result<Option<Leaf>, Fault> {
        match tx.client_of(user).await? {
            Some(client) => Ok(tx.leaf_in_room(room, &client.uri).await?),
            None => Ok(None),
        }
    }

    async fn reader(&self, tx: &mut Tx, group: &RoomGroup) -> Result<Leaf, Fault> {
        tx.leaf(group.reader).await?.ok_or_else(|| Fault::later("the room's reader is missing"))
    }

    /// A leaf of ours other than `leaf`, the reader if possible.
    async fn other_leaf(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        group: &RoomGroup,
        leaf: &Leaf,
    ) -> Result<Option<Leaf>, Fault> {
        if group.reader != leaf.owner {
            return Ok(tx.leaf(group.reader).await?);
        }
        Ok(tx.leaf_beside(room, leaf.owner).await?)
    }

    /// A KeyPackage for a user of ours, its keys in the database.
    pub async fn make_key_package(&self, tx: &mut Tx, user: &UserUri) -> Result<KeyPackage, Fault> {
        let client = self.client(tx, user).await?;
        let material = client.key_package()?;
        let owner = tx.new_mls_owner("leaf").await?;
        tx.save_mls_rows(owner, material.rows.into_iter().map(|(key, value)| (key, Some(value))).collect()).await?;
        tx.add_key_package(owner, client.uri(), &material.reference, material.not_after as i64).await?;
        Ok(material.key_package)
    }
}

fn user_of(client: &ClientUri) -> Result<UserUri, Fault> {
    client.user().ok_or_else(|| Fault::later("a client of ours has no user"))
}
