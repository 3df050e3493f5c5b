//! To the hub of a room: messages of our users, and commits.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tracing::info;

use super::{
    Destination, Payload, Step,
    commits::{is_up_to_date, user_of},
};
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
#[derive(Clone, Serialize, Deserialize)]
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

/// Messages of one turn: so many, and about so many octets, are encrypted in one transaction and settled in another.
const MESSAGES: usize = 64;
const OCTETS: usize = 1 << 18;

/// The head of a hub's queue, ready to go: one thing, or several messages in their order.
struct Taken {
    room: Room,
    group: RoomGroup,
    items: Vec<Item>,
}

#[derive(Clone)]
struct Item {
    row: Row,
    prepared: Prepared,
}

impl Item {
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

/// What became of the items of a turn.
struct Sent {
    taken: Taken,
    /// When the hub accepted the first of them.
    accepted: Vec<u64>,
    /// What it said about the one after those, if that is not in the room's order, or not yet.
    answer: Option<Result<Bytes, CallError>>,
}

/// Where the other one of a direct room is.
enum OtherEnd {
    There,
    Coming,
    Unreachable(String),
}

/// What encrypting the head of the queue came to.
enum Encrypted {
    Messages(Vec<Item>),
    CommitFirst(Prepared),
    NoMember,
}

enum Encryption {
    /// The request to the hub.
    Message(Vec<u8>),
    CommitFirst(Prepared),
    NoMember,
}

/// What taking came to.
enum Take {
    Nothing,
    /// The row was settled without the hub.
    Done,
    Ready(Box<Taken>),
}

/// The message is in the room's order.
fn accepted(tx: &mut Tx, room: &RoomUri, item: &Item, at: u64) -> Result<(), Fault> {
    if let Payload::Submit { sender, message, .. } = Payload::decode(&item.row.payload)?
        && let Ok(id) = MessageId::new(message)
    {
        tx.add_message(room, id, &sender, at);
    }
    tx.remove_outbox_row(item.row.id);
    Ok(())
}

fn stored(prepared: &[u8]) -> Result<Prepared, Fault> {
    postcard::from_bytes(prepared).map_err(|e| Fault::broken(format!("a prepared row: {e}")))
}

impl Core {
    pub(super) async fn step_hub(self: &Arc<Self>, room: &RoomUri, progress: &mut bool) -> Result<Step, Fault> {
        let of = room.clone();
        if *room.domain() == self.domain {
            return self
                .write(move |core, tx| {
                    Box::pin(async move {
                        match core.take_hub(tx, &of, 0).await? {
                            Take::Nothing => Ok(Step::Idle),
                            Take::Done => Ok(Step::Settled),
                            Take::Ready(taken) => core.order(tx, *taken).await,
                        }
                    })
                })
                .await;
        }
        let mut taken = self.write(move |core, tx| Box::pin(async move { core.take_hub(tx, &of, 0).await })).await?;
        loop {
            let batch = match taken {
                Take::Nothing => return Ok(Step::Idle),
                Take::Done => return Ok(Step::Settled),
                Take::Ready(batch) => batch,
            };
            mimi_adapter::failpoint!("outbox.hub.taken");
            let sent = Arc::new(self.submit_all(room, *batch).await);
            if self.dispatcher.stopping() {
                return self.settle_alone(sent).await;
            }
            let then = sent.clone();
            let settled = self.write(move |core, tx| {
                Box::pin(async move {
                    Ok(match core.settle_sent(tx, &then).await? {
                        Step::Settled => {
                            let (of, done) = (&then.taken.room.room, then.taken.items.len());
                            (Step::Settled, Some(core.take_hub(tx, of, done).await?))
                        }
                        step => (step, None),
                    })
                })
            });
            taken = match settled.await {
                Ok((_, Some(next))) => {
                    *progress = true;
                    next
                }
                Ok((step, None)) => return Ok(step),
                // What is next must not hold up the settling of what has been sent.
                Err(_) => return self.settle_alone(sent).await,
            };
        }
    }

    /// Where the hub is ourselves: no network to wait for, so the order is given in the very same transaction.
    async fn order(&self, tx: &mut Tx, taken: Taken) -> Result<Step, Fault> {
        let Taken { room, group, items } = taken;
        for item in &items {
            let answer: Bytes = match &item.prepared {
                Prepared::Message { request } => {
                    let request = SubmitMessageRequest::decode(request).map_err(|e| Fault::later(e.to_string()))?;
                    self.hub_order(tx, &self.domain, &room.room, &request).await?.encode().into()
                }
                _ => self.hub_update(tx, &self.domain, &room.room, item.request()).await?.into(),
            };
            mimi_adapter::failpoint!("outbox.hub.own.ordered");
            match self.settle_hub(tx, &room, &group, item, &[], &answer).await? {
                Step::Settled => {}
                step => return Ok(step),
            }
        }
        Ok(Step::Settled)
    }

    /// Sends one after the other, each when the one before is in the room's order, until one is not.
    async fn submit_all(&self, room: &RoomUri, taken: Taken) -> Sent {
        let hub = room.domain();
        let mut accepted = Vec::new();
        for item in &taken.items {
            let request = Bytes::copy_from_slice(item.request());
            let (endpoint, size) = (item.endpoint(), request.len());
            let answer = self.peers.call(hub, endpoint, room.as_str(), request).await;
            mimi_adapter::failpoint!("outbox.hub.answered");
            let words = answer.as_ref().map_or_else(ToString::to_string, |body| format!("200, {} octets", body.len()));
            self.trace.request(&self.domain, hub, endpoint.name(), size, &words, &self.about(item, taken.group.epoch));
            match (&item.prepared, answer.as_ref().map(|body| SubmitMessageResponse::decode(body))) {
                (Prepared::Message { .. }, Ok(Ok(SubmitMessageResponse::Accepted { accepted_timestamp, .. }))) => {
                    accepted.push(accepted_timestamp)
                }
                _ => return Sent { taken, accepted, answer: Some(answer) },
            }
        }
        Sent { taken, accepted, answer: None }
    }

    async fn settle_alone(self: &Arc<Self>, sent: Arc<Sent>) -> Result<Step, Fault> {
        self.write(move |core, tx| Box::pin(async move { core.settle_sent(tx, &sent).await })).await
    }

    async fn settle_sent(&self, tx: &mut Tx, sent: &Sent) -> Result<Step, Fault> {
        let Taken { room, group, items } = &sent.taken;
        for (item, &at) in items.iter().zip(&sent.accepted) {
            accepted(tx, &room.room, item, at)?;
        }
        let (Some((item, rest)), Some(answer)) = (items[sent.accepted.len()..].split_first(), &sent.answer) else {
            return Ok(Step::Settled);
        };
        match answer {
            Ok(body) => self.settle_hub(tx, room, group, item, rest, body).await,
            Err(CallError::Later { after, unsure, reason }) => {
                Ok(Step::Later { problem: reason.clone(), after: *after, unsure: *unsure })
            }
            Err(CallError::Never { reason, .. }) => self.refused(tx, &room.room, item, reason).await,
        }
    }

    fn about(&self, item: &Item, epoch: u64) -> String {
        match (&item.prepared, Payload::decode(&item.row.payload)) {
            (Prepared::Message { .. }, Ok(Payload::Submit { message, .. })) => {
                format!("epoch {epoch}  message {}", hex::encode(&message[..8]))
            }
            _ => format!("commit of epoch {epoch}"),
        }
    }

    /// [`prepare`](Self::prepare), where what can never be prepared is given up: it must not stop the rest.
    async fn take_hub(&self, tx: &mut Tx, room: &RoomUri, done: usize) -> Result<Take, Fault> {
        match self.prepare(tx, room, done).await {
            Err(Fault::Never(reason)) => {
                let to = Destination::Hub(room.clone());
                let head = tx.outbox_left(&to.to_string(), 1, done).await?;
                self.bury(tx, &to, &head, &Reason::refused(&reason)).await?;
                Ok(Take::Done)
            }
            taken => taken,
        }
    }

    /// Take: the head of the queue but for the `done` that have just been settled, encrypted or made a commit, saved
    /// before a byte leaves.
    async fn prepare(&self, tx: &mut Tx, room: &RoomUri, done: usize) -> Result<Take, Fault> {
        let to = Destination::Hub(room.clone());
        let queue = to.to_string();
        let mut rows = tx.outbox_left(&queue, MESSAGES as i64, done).await?;
        let Some(state) = tx.room(room).await? else { return Ok(Take::Nothing) };
        let adds = |row: &Row| matches!(Payload::decode(&row.payload), Ok(Payload::Add { .. }));
        if state.direct || rows.first().is_some_and(adds) {
            rows = tx.outbox_left(&queue, ADDS, done).await?;
        }
        if state.direct {
            match self.other_end(tx, room).await? {
                OtherEnd::There => {}
                // Whoever joins later can't read what was said before, so in a conversation of two it waits.
                OtherEnd::Coming => rows.retain(adds),
                OtherEnd::Unreachable(reason) => {
                    let Some(row) = rows.first() else { return Ok(Take::Nothing) };
                    self.bury(tx, &to, std::slice::from_ref(row), &Reason::refused(&reason)).await?;
                    return Ok(Take::Done);
                }
            }
        }
        let Some(row) = rows.first().cloned() else { return Ok(Take::Nothing) };
        let group = match (&state.group, state.state) {
            (Some(group), RoomState::Open) => group.clone(),
            (_, RoomState::Left) => {
                let reason = Reason::refused("we are no longer in the room");
                self.bury(tx, &to, &[row], &reason).await?;
                return Ok(Take::Done);
            }
            _ => return Ok(Take::Nothing),
        };
        if let Some(prepared) = &row.prepared {
            let prepared = stored(prepared)?;
            if !matches!(prepared, Prepared::Message { .. }) {
                return Ok(Take::Ready(Box::new(Taken { room: state, group, items: vec![Item { row, prepared }] })));
            }
        }
        let prepared = match Payload::decode(&row.payload)? {
            Payload::Submit { .. } | Payload::Report { .. } => {
                match self.encrypt_all(tx, &state, &group, rows).await? {
                    Encrypted::Messages(items) => {
                        return Ok(Take::Ready(Box::new(Taken { room: state, group, items })));
                    }
                    Encrypted::CommitFirst(prepared) => prepared,
                    Encrypted::NoMember => {
                        let reason = Reason::refused("you are not a member of the room");
                        self.bury(tx, &to, &[row], &reason).await?;
                        return Ok(Take::Done);
                    }
                }
            }
            Payload::Add { .. } => match self.make_adds(tx, &state, &group, &rows).await? {
                Some(prepared) => prepared,
                None => return Ok(Take::Done),
            },
            Payload::Remove { user } => match self.make_removal(tx, room, &group, &user, row.id).await? {
                Some(prepared) => prepared,
                None => {
                    tx.remove_outbox_row(row.id);
                    return Ok(Take::Done);
                }
            },
            Payload::Describe { user, matter, text } => {
                match self.make_description(tx, &state, &group, row.id, (&user, matter, &text)).await? {
                    Some(prepared) => prepared,
                    // It may be written in another way there.
                    None => {
                        tx.remove_outbox_row(row.id);
                        self.described(tx, &state, None, &[matter]).await?;
                        return Ok(Take::Done);
                    }
                }
            }
            Payload::Oust { by, user, banned } => {
                match self.make_ousting(tx, &state, &group, row.id, (&by, &user, banned)).await? {
                    Some(prepared) => prepared,
                    None => {
                        tx.remove_outbox_row(row.id);
                        return Ok(Take::Done);
                    }
                }
            }
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
                    tx.remove_outbox_row(row.id);
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
        tx.prepare_outbox_row(row.id, Some(&octets));
        mimi_adapter::failpoint!("outbox.hub.prepared");
        Ok(Take::Ready(Box::new(Taken { room: state, group, items: vec![Item { row, prepared }] })))
    }

    /// The messages at the head of the queue, up to the first that is none, or can't be encrypted now.
    async fn encrypt_all(
        &self,
        tx: &mut Tx,
        room: &Room,
        group: &RoomGroup,
        rows: Vec<Row>,
    ) -> Result<Encrypted, Fault> {
        let ours = *room.room.domain() == self.domain;
        let (mut items, mut octets) = (Vec::new(), 0);
        for row in rows.into_iter().take(MESSAGES) {
            let before = match &row.prepared {
                Some(prepared) => Some(stored(prepared)?),
                None => None,
            };
            let prepared = match (before, Payload::decode(&row.payload)?) {
                (Some(prepared @ Prepared::Message { .. }), _) => prepared,
                (None, Payload::Submit { sender, content, .. } | Payload::Report { sender, content }) => {
                    let first = items.is_empty();
                    match self.encrypt_one(tx, &room.room, group, sender, &content).await {
                        Ok(Encryption::Message(request)) => {
                            let prepared = Prepared::Message { request };
                            if !ours {
                                let octets = postcard::to_stdvec(&prepared).map_err(|e| Fault::later(e.to_string()))?;
                                tx.prepare_outbox_row(row.id, Some(&octets));
                            }
                            prepared
                        }
                        // What stops this one is dealt with when it is the first.
                        Ok(_) | Err(_) if !first => break,
                        Ok(Encryption::CommitFirst(prepared)) => return Ok(Encrypted::CommitFirst(prepared)),
                        Ok(Encryption::NoMember) => return Ok(Encrypted::NoMember),
                        Err(fault) => return Err(fault),
                    }
                }
                _ => break,
            };
            let item = Item { row, prepared };
            octets += item.request().len();
            items.push(item);
            if octets >= OCTETS {
                break;
            }
        }
        mimi_adapter::failpoint!("outbox.hub.encrypted");
        Ok(Encrypted::Messages(items))
    }

    async fn encrypt_one(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        group: &RoomGroup,
        sender: UserUri,
        content: &[u8],
    ) -> Result<Encryption, Fault> {
        let Some(leaf) = self.leaf_of(tx, room, &sender).await? else { return Ok(Encryption::NoMember) };
        self.catch_up(tx, room, &group.group_id, &leaf).await?;
        let client = self.client(tx, &sender).await?;
        let pending = self
            .groups
            .member(tx, leaf.owner, &group.group_id, |member| {
                is_up_to_date(member, group, leaf.owner)?;
                Ok::<_, Fault>(member.has_pending_proposals())
            })
            .await?;
        if pending {
            // C-45: what others have proposed is committed before anything is said.
            let material = self.make_commit(tx, group, &leaf, &sender, Change::default()).await?;
            let commit = self.prepared_commit(material, leaf.owner, Vec::new(), Vec::new());
            return Ok(Encryption::CommitFirst(commit));
        }
        let message = self.encrypt(tx, group, &leaf, &client, content).await?;
        if *room.domain() != self.domain {
            // The hub may send it back to us.
            tx.see(room, hash(message.as_bytes()), self.now());
        }
        let request = SubmitMessageRequest { protocol: Protocol::Mls10, app_message: message, sending_uri: sender };
        Ok(Encryption::Message(request.encode()))
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
    async fn settle_hub(
        &self,
        tx: &mut Tx,
        state: &Room,
        group: &RoomGroup,
        item: &Item,
        rest: &[Item],
        answer: &[u8],
    ) -> Result<Step, Fault> {
        let room = state.room.clone();
        match &item.prepared {
            Prepared::Message { .. } => match SubmitMessageResponse::decode(answer) {
                Ok(SubmitMessageResponse::Accepted { accepted_timestamp, .. }) => {
                    accepted(tx, &room, item, accepted_timestamp)?;
                    Ok(Step::Settled)
                }
                // The commit that began the new epoch is on its way to us; then it is encrypted again.
                Ok(SubmitMessageResponse::EpochTooOld { current_epoch }) => {
                    self.take_again(tx, &room, group, item, rest, current_epoch).await
                }
                Ok(SubmitMessageResponse::NotAllowed | SubmitMessageResponse::Unknown(_)) => {
                    self.refused(tx, &room, item, "the room does not allow it").await
                }
                Err(e) => Ok(Step::Later { problem: format!("the hub's answer: {e}"), after: None, unsure: true }),
            },
            Prepared::Leave { .. } => match UpdateRoomResponse::decode(answer).map(|it| it.outcome) {
                Ok(UpdateOutcome::WrongEpoch { current_epoch }) => {
                    self.take_again(tx, &room, group, item, rest, current_epoch).await
                }
                // Accepted, or refused for good: nothing is left to be done from here.
                Ok(outcome) => {
                    info!(%room, ?outcome, "Our last user there proposed to leave.");
                    tx.remove_outbox_row(item.row.id);
                    Ok(Step::Settled)
                }
                Err(e) => Ok(Step::Later { problem: format!("the hub's answer: {e}"), after: None, unsure: true }),
            },
            Prepared::Commit { commit, welcome, rows, added, .. } => {
                match UpdateRoomResponse::decode(answer).map(|it| (it.outcome, it.error_description)) {
                    Ok((UpdateOutcome::Success { .. }, _)) => {
                        // The reader follows it like any other; a committer that is not the reader has it
                        // pending and merges it when it catches up.
                        let commit = MlsMessage::decode(commit).map_err(|e| Fault::later(e.to_string()))?;
                        self.advance(tx, &room, &commit).await?;
                        if let Some((welcome, tree)) = welcome {
                            let welcome = Welcome::decode(welcome).map_err(|e| Fault::later(e.to_string()))?;
                            let tree = RatchetTree::decode(tree).map_err(|e| Fault::later(e.to_string()))?;
                            self.welcomed(tx, &room, &welcome, Some(&tree)).await?;
                        }
                        for row in rows {
                            tx.remove_outbox_row(*row);
                        }
                        for user in added {
                            tx.remove_invite(&room, user).await?;
                        }
                        if rows.is_empty() {
                            tx.prepare_outbox_row(item.row.id, None);
                        }
                        Ok(Step::Settled)
                    }
                    Ok((UpdateOutcome::WrongEpoch { current_epoch }, _)) => {
                        self.take_again(tx, &room, group, item, rest, current_epoch).await
                    }
                    // D59: an outcome we don't know is a failure too.
                    Ok((_, description)) => {
                        let reason = format!("the room does not allow it ({description})");
                        self.refused(tx, &room, item, &reason).await
                    }
                    Err(e) => Ok(Step::Later { problem: format!("the hub's answer: {e}"), after: None, unsure: true }),
                }
            }
        }
    }

    /// What was prepared is for an epoch that is over: it is made anew once we are in the next one. So is what this
    /// turn has encrypted after it, for nobody has seen that: each is sent only when the one before is in the room's
    /// order. What was encrypted before this turn may have left, and is sent once more as it is.
    async fn take_again(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        group: &RoomGroup,
        item: &Item,
        rest: &[Item],
        current_epoch: u64,
    ) -> Result<Step, Fault> {
        self.abandon(tx, group, item).await?;
        let fresh = rest.iter().filter(|item| item.row.prepared.is_none());
        for item in std::iter::once(item).chain(fresh) {
            tx.prepare_outbox_row(item.row.id, None);
        }
        if group.epoch >= current_epoch {
            return Ok(Step::Settled);
        }
        let problem = format!("the room is in epoch {current_epoch} and we are in {}", group.epoch);
        self.behind(tx, room, &problem).await?;
        Ok(Step::later(problem))
    }

    /// A commit of ours that won't be: its committer waits for it no longer.
    async fn abandon(&self, tx: &mut Tx, group: &RoomGroup, item: &Item) -> Result<(), Fault> {
        if let Prepared::Commit { committer, .. } = &item.prepared
            && tx.leaf(*committer).await?.is_some()
        {
            let abandon = |member: &mut Member| Ok::<_, Fault>(member.abandon_pending()?);
            self.groups.member(tx, *committer, &group.group_id, abandon).await?;
        }
        Ok(())
    }

    /// The hub will never take it.
    async fn refused(&self, tx: &mut Tx, room: &RoomUri, item: &Item, reason: &str) -> Result<Step, Fault> {
        let to = Destination::Hub(room.clone());
        let refused = match &item.prepared {
            Prepared::Commit { rows, .. } => {
                let head = tx.outbox_head(&to.to_string(), ADDS).await?;
                head.into_iter().filter(|row| rows.contains(&row.id) || row.id == item.row.id).collect()
            }
            // The row as it stood when it was taken had nothing prepared.
            _ => tx.outbox_row(item.row.id).await?.into_iter().collect::<Vec<_>>(),
        };
        self.bury(tx, &to, &refused, &Reason::refused(reason)).await?;
        Ok(Step::Settled)
    }
}
