//! To the hub of a room: messages of our users, and commits.

use std::sync::Arc;

use bytes::Bytes;
use mimi_adapter::Domain;
use serde::{Deserialize, Serialize};
use tracing::info;

use super::{Destination, Payload, Step, commits::user_of};
use crate::{
    core::{Core, Fault, hash},
    dead_letters::Reason,
    mimi::{
        content::{MessageId, MimiContent},
        directory::Endpoint,
        framing::ApplicationFraming,
        franking,
        tls::Tls,
        uri::{RoomUri, UserUri},
        wire::{Protocol, SubmitMessageRequest, SubmitMessageResponse, UpdateOutcome, UpdateRoomResponse},
    },
    mls::{
        Change, Member,
        codec::{MlsMessage, RatchetTree, Welcome},
    },
    provider::CallError,
    store::{
        Tx,
        invites::{Invite, InviteState},
        leaves::Leaf,
        outbox::Row,
        rooms::{Room, RoomGroup, RoomState},
    },
};

/// At most this many people come in one commit.
const ADDS: i64 = 256;

/// What a row was made into, kept on it until the hub has answered.
#[derive(Serialize, Deserialize)]
pub(crate) enum Prepared {
    Message {
        request: Vec<u8>,
    },
    /// Proposals to leave: the rest is up to whoever commits them.
    Leave {
        request: Vec<u8>,
    },
    Commit {
        request: Vec<u8>,
        commit: Vec<u8>,
        committer: i64,
        welcome: Option<(Vec<u8>, Vec<u8>)>,
        /// The rows it carries out; empty if it only clears the way for the row it stands on.
        rows: Vec<i64>,
        /// Who is in the room with it.
        added: Vec<UserUri>,
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
            Prepared::Leave { .. } | Prepared::Commit { .. } => Endpoint::Update,
        }
    }

    fn request(&self) -> &[u8] {
        match &self.prepared {
            Prepared::Message { request } | Prepared::Leave { request } | Prepared::Commit { request, .. } => request,
        }
    }
}

/// Where the other one of a direct room is.
enum OtherEnd {
    There,
    Coming,
    Unreachable(String),
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
                        mimi_adapter::failpoint!("outbox.hub.own.ordered");
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
        mimi_adapter::failpoint!("outbox.hub.taken");
        let hub: Domain = room.domain().clone();
        let request = Bytes::copy_from_slice(taken.request());
        let (endpoint, size, epoch) = (taken.endpoint(), request.len(), taken.group.epoch);
        let answer = self.peers.call(&hub, endpoint, room.as_str(), request).await;
        mimi_adapter::failpoint!("outbox.hub.answered");
        let words = answer.as_ref().map_or_else(ToString::to_string, |body| format!("200, {} octets", body.len()));
        self.trace.request(&self.domain, &hub, endpoint.name(), size, &words, &self.about(&taken, epoch));
        match answer {
            Ok(body) => {
                self.write(move |core, tx| Box::pin(async move { core.settle_hub(tx, *taken, &body).await })).await
            }
            Err(CallError::Later { after, unsure, .. }) => Ok(Step::Later { problem: words, after, unsure }),
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

    /// [`prepare`](Self::prepare), where what can never be prepared is given up: it must not stop the rest.
    async fn take_hub(&self, tx: &mut Tx, room: &RoomUri) -> Result<Take, Fault> {
        match self.prepare(tx, room).await {
            Err(Fault::Never(reason)) => {
                let to = Destination::Hub(room.clone());
                let head = tx.outbox_head(&to.to_string(), 1).await?;
                self.bury(tx, &to, &head, &Reason::refused(&reason)).await?;
                Ok(Take::Done)
            }
            taken => taken,
        }
    }

    /// Take: the head of the queue, encrypted or made a commit, saved before a byte leaves.
    async fn prepare(&self, tx: &mut Tx, room: &RoomUri) -> Result<Take, Fault> {
        let to = Destination::Hub(room.clone()).to_string();
        let mut rows = tx.outbox_head(&to, ADDS).await?;
        let Some(state) = tx.room(room).await? else { return Ok(Take::Nothing) };
        if state.direct {
            match self.other_end(tx, room).await? {
                OtherEnd::There => {}
                // Whoever joins later can't read what was said before, so in a conversation of two it waits.
                OtherEnd::Coming => rows.retain(|row| matches!(Payload::decode(&row.payload), Ok(Payload::Add { .. }))),
                OtherEnd::Unreachable(reason) => {
                    let Some(row) = rows.first() else { return Ok(Take::Nothing) };
                    self.bury(tx, &Destination::Hub(room.clone()), &[row.clone()], &Reason::refused(&reason)).await?;
                    return Ok(Take::Done);
                }
            }
        }
        let Some(row) = rows.first().cloned() else { return Ok(Take::Nothing) };
        let group = match (&state.group, state.state) {
            (Some(group), RoomState::Open) => group.clone(),
            (_, RoomState::Left) => {
                let reason = Reason::refused("we are no longer in the room");
                self.bury(tx, &Destination::Hub(room.clone()), &[row], &reason).await?;
                return Ok(Take::Done);
            }
            _ => return Ok(Take::Nothing),
        };
        if let Some(prepared) = &row.prepared {
            let prepared = postcard::from_bytes(prepared).map_err(|e| Fault::broken(format!("a prepared row: {e}")))?;
            return Ok(Take::Ready(Box::new(Taken { room: state, group, row, prepared })));
        }
        let prepared = match Payload::decode(&row.payload)? {
            Payload::Submit { sender, content, .. } => {
                let Some(leaf) = self.leaf_of(tx, room, &sender).await? else {
                    let reason = Reason::refused("you are not a member of the room");
                    self.bury(tx, &Destination::Hub(room.clone()), &[row], &reason).await?;
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
                    self.prepared_commit(material, leaf.owner, Vec::new(), Vec::new())
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
                let reader = self.reader(tx, &group).await?;
                let look = |member: &mut Member| Ok::<_, Fault>((member.has_pending_proposals(), member.is_leaving()));
                let committer = match self.groups.member(tx, reader.owner, &group.group_id, look).await? {
                    (false, _) => None,
                    (true, false) => Some(reader),
                    // If nobody else of ours is there, another provider commits it.
                    (true, true) => self.other_leaf(tx, room, &group, &reader).await?,
                };
                let Some(leaf) = committer else {
                    tx.remove_outbox_row(row.id).await?;
                    return Ok(Take::Done);
                };
                self.catch_up(tx, room, &group.group_id, &leaf).await?;
                let user = user_of(&leaf.client)?;
                let material = self.make_commit(tx, &group, &leaf, &user, Change::default()).await?;
                self.prepared_commit(material, leaf.owner, vec![row.id], Vec::new())
            }
            other => return Err(Fault::broken(format!("a {} row in a hub's queue", other.kind()))),
        };
        let octets = postcard::to_stdvec(&prepared).map_err(|e| Fault::later(e.to_string()))?;
        tx.prepare_outbox_row(row.id, Some(&octets)).await?;
        mimi_adapter::failpoint!("outbox.hub.prepared");
        Ok(Take::Ready(Box::new(Taken { room: state, group, row, prepared })))
    }

    /// In a direct room: is the one who was invited in it?
    async fn other_end(&self, tx: &mut Tx, room: &RoomUri) -> Result<OtherEnd, Fault> {
        Ok(match tx.invites_of_room(room).await?.into_iter().find(|invite| !self.is_ours(&invite.user)) {
            None => OtherEnd::There,
            Some(Invite { state: InviteState::Failed, problem, user, .. }) => {
                OtherEnd::Unreachable(format!("{user} can't be reached: {}", problem.unwrap_or_default()))
            }
            Some(_) => OtherEnd::Coming,
        })
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
        let salt = MimiContent::decode(content).map_err(|e| Fault::broken(format!("a stored content: {e}")))?.salt;
        let data = ApplicationFraming::mimi_content(content.to_vec()).encode();
        let tag = franking::franking_tag(&salt, &data);
        self.groups
            .member(tx, leaf.owner, &group.group_id, |member| Ok::<_, Fault>(member.encrypt(client, &tag, &data)?))
            .await
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
                Err(e) => Ok(Step::Later { problem: format!("the hub's answer: {e}"), after: None, unsure: true }),
            },
            Prepared::Leave { .. } => match UpdateRoomResponse::decode(answer).map(|it| it.outcome) {
                Ok(UpdateOutcome::WrongEpoch { current_epoch }) => self.take_again(tx, &taken, current_epoch).await,
                // Accepted, or refused for good: nothing is left to be done from here.
                Ok(outcome) => {
                    info!(%room, ?outcome, "Our last user there proposed to leave.");
                    tx.remove_outbox_row(taken.row.id).await?;
                    Ok(Step::Settled)
                }
                Err(e) => Ok(Step::Later { problem: format!("the hub's answer: {e}"), after: None, unsure: true }),
            },
            Prepared::Commit { commit, welcome, rows, added, .. } => {
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
                        for user in added {
                            tx.remove_invite(&room, user).await?;
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
                    Err(e) => Ok(Step::Later { problem: format!("the hub's answer: {e}"), after: None, unsure: true }),
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
        Ok(Step::later(format!("the room is in epoch {current_epoch} and we are in {}", taken.group.epoch)))
    }

    /// The hub will never take it.
    async fn refused(&self, tx: &mut Tx, taken: Taken, reason: &str) -> Result<Step, Fault> {
        let to = Destination::Hub(taken.room.room.clone());
        let refused = match &taken.prepared {
            Prepared::Commit { rows, .. } => {
                let head = tx.outbox_head(&to.to_string(), ADDS).await?;
                head.into_iter().filter(|row| rows.contains(&row.id) || row.id == taken.row.id).collect()
            }
            // The row as it stood when it was taken had nothing prepared.
            _ => tx.outbox_row(taken.row.id).await?.into_iter().collect::<Vec<_>>(),
        };
        self.bury(tx, &to, &refused, &Reason::refused(reason)).await?;
        Ok(Step::Settled)
    }
}
