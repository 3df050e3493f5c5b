//! The second door: what a room's hub has fanned out.

use mimi_adapter::Event;
use tracing::{debug, info, warn};

use crate::{
    breaker::Deed,
    core::{Core, Fault, at, hash},
    event,
    mimi::{
        content::{MessageId, MimiContent, message_id},
        framing::{ApplicationFraming, MIMI_CONTENT, MediaTypeList},
        franking::{FrankingIntegrityTbs, Received, Unproven},
        message_status,
        tls::Tls,
        uri::{RoomUri, UserUri},
        wire::{AbusiveMessage, Fanout, FanoutMessage, Frank, RatchetTreeOption},
    },
    mls::{CIPHER_SUITE, verify_with_label},
    outbox::{Destination, Payload},
    store::{Tx, rooms::RoomState},
};

impl Core {
    /// A `/notify` body. Each message on its own: one that can't be understood does not
    /// keep the others out.
    pub async fn accept_fanout(&self, tx: &mut Tx, room: &RoomUri, messages: &[FanoutMessage]) -> Result<(), Fault> {
        let mut read = Vec::new();
        for message in self.unseen(tx, room, messages).await? {
            if self.is_too_old(tx, room, message).await? {
                self.pass_on(tx, room, std::mem::take(&mut read)).await?;
                self.unread(tx, room).await?;
            }
            let accepted = match &message.fanout {
                Fanout::Application { .. } => self.read(tx, room, message).await.map(|message| read.extend(message)),
                _ => {
                    self.pass_on(tx, room, std::mem::take(&mut read)).await?;
                    self.accept_handshake(tx, room, message).await
                }
            };
            discard(accepted, room, message.timestamp)?;
        }
        self.pass_on(tx, room, read).await
    }

    /// Whether it is of a time that our reader, which came back without its keys, can't know, and the first such one.
    async fn is_too_old(&self, tx: &mut Tx, room: &RoomUri, message: &FanoutMessage) -> Result<bool, Fault> {
        let Fanout::Application { message, .. } = &message.fanout else { return Ok(false) };
        let unread = tx.room(room).await?.and_then(|room| room.group).and_then(|group| group.unread);
        Ok(message.epoch().zip(unread).is_some_and(|(of, unread)| of < unread))
    }

    /// Those of a `/notify` body that have not come before.
    async fn unseen<'m>(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        messages: &'m [FanoutMessage],
    ) -> Result<Vec<&'m FanoutMessage>, Fault> {
        // What our own hub has ordered comes from its queue, in the transaction that takes it out there.
        if *room.domain() == self.domain {
            return Ok(messages.iter().collect());
        }
        let hashes: Vec<_> = messages.iter().map(|message| hash(message.message().as_bytes())).collect();
        let mut seen = tx.seen(room, &hashes).await?;
        let mut unseen = Vec::new();
        for (message, hash) in messages.iter().zip(hashes) {
            if seen.insert(hash) {
                tx.see(room, hash, self.now());
                unseen.push(message);
            }
        }
        Ok(unseen)
    }

    async fn accept_handshake(&self, tx: &mut Tx, room: &RoomUri, fanout: &FanoutMessage) -> Result<(), Fault> {
        match &fanout.fanout {
            Fanout::Commit { message, external_proposals: more }
            | Fanout::Proposal { message, more_proposals: more } => {
                self.advance(tx, room, message).await?;
                for proposal in more {
                    self.advance(tx, room, proposal).await?;
                }
                Ok(())
            }
            Fanout::Welcome { message, ratchet_tree } => {
                let welcome = message.to_welcome().ok_or_else(|| Fault::never("not a Welcome"))?;
                let tree = match ratchet_tree {
                    RatchetTreeOption::Full(tree) => Some(tree),
                    _ => None,
                };
                if !self.welcomed(tx, room, &welcome, tree).await? {
                    debug!(%room, "A Welcome for none of our KeyPackages.");
                }
                Ok(())
            }
            Fanout::Application { .. } => Err(Fault::never("not a handshake")),
        }
    }

    /// Decrypts one message. `None` if one of ours has sent it.
    async fn read(&self, tx: &mut Tx, room: &RoomUri, fanout: &FanoutMessage) -> Result<Option<Read>, Fault> {
        let state = tx.room(room).await?.filter(|room| room.state == RoomState::Open).ok_or_else(not_here)?;
        let group = state.group.as_ref().ok_or_else(not_here)?;
        let Some((client, data, agent)) = self.decrypt(tx, room, group, fanout.message()).await? else {
            return Ok(None);
        };
        let sender = client.user().ok_or_else(|| Fault::never("the sender's client does not name its user"))?;
        if self.is_ours(&sender) {
            return Ok(None);
        }
        if tx.participant_role(room, &sender).await?.is_none() {
            return Err(Fault::never("the sender is not a participant"));
        }
        let framing = ApplicationFraming::decode(&data).map_err(|e| Fault::never(e.to_string()))?;
        if framing.media_type(&MediaTypeList::ours()).media_type != MIMI_CONTENT {
            return Err(Fault::never("application data of another type than MIMI content"));
        }
        let octets = framing.inner_application_content;
        let content = MimiContent::decode(&octets).map_err(|e| Fault::never(e.to_string()))?;
        content.check(&sender, room, at(fanout.timestamp)).map_err(|e| Fault::never(e.to_string()))?;
        let frank = match &agent {
            Some(agent) => self.franked(room, fanout, &sender, &data, &content, agent)?,
            None => None,
        };
        let id = message_id(&sender, room, &octets, &content.salt);
        let accepted = fanout.timestamp;
        let evidence = frank.filter(|_| self.keep_evidence > 0).map(|frank| AbusiveMessage {
            message_content: data.into(),
            frank,
            accepted_timestamp: accepted,
        });
        Ok(Some(Read { sender, id, accepted, content, octets: octets.to_vec(), evidence }))
    }

    /// The hub's word for this message, if it stands up. A message that its sender could deny is not shown.
    fn franked(
        &self,
        room: &RoomUri,
        fanout: &FanoutMessage,
        sender: &UserUri,
        data: &[u8],
        content: &MimiContent,
        agent: &[u8],
    ) -> Result<Option<Frank>, Fault> {
        let Fanout::Application { message, frank } = &fanout.fanout else { return Ok(None) };
        let received = Received {
            room,
            sender,
            timestamp: fanout.timestamp,
            authenticated_data: message.authenticated_data().unwrap_or_default(),
            application_data: data,
            content,
            frank: frank.as_ref(),
        };
        // What our own hub has signed comes from its queue, in the very same database.
        let ours = *room.domain() == self.domain;
        let verify = |key: &[u8], tbs: &[u8], signature: &[u8]| {
            ours || verify_with_label(key, FrankingIntegrityTbs::LABEL, tbs, signature).is_ok()
        };
        match received.check(agent, CIPHER_SUITE, verify) {
            Ok(frank) => Ok(frank.cloned()),
            Err(e @ Unproven::Tag) => Err(Fault::never(e.to_string())),
            // The message is its sender's all the same: only nobody can prove that to the hub.
            Err(e @ Unproven::Frank(_)) => {
                warn!(%room, %sender, problem = %e, "A message can't be reported with proof.");
                Ok(None)
            }
        }
    }

    /// Puts what has been read into the portal's queue, unless the room has it already.
    async fn pass_on(&self, tx: &mut Tx, room: &RoomUri, messages: Vec<Read>) -> Result<(), Fault> {
        let ids: Vec<_> = messages.iter().map(|message| message.id).collect();
        let mut have = tx.have(room, &ids).await?;
        for Read { sender, id, accepted, content, octets, evidence } in messages {
            if !have.insert(*id.as_bytes()) {
                continue;
            }
            if let Some(statuses) = message_status::reported(&content) {
                discard(self.reported(tx, room, &sender, statuses).await, room, accepted)?;
                continue;
            }
            tx.add_message(room, id, &sender, accepted);
            if let Some(evidence) = evidence {
                tx.keep_evidence(room, id, &sender, &evidence, self.now()).await?;
            }
            // C§9.3 again, on the receiving side.
            if let Some(replaced) = &content.replaces {
                match tx.author(room, replaced).await? {
                    Some(author) if author == sender => {}
                    Some(_) => {
                        discard(Err(Fault::never("only the author of a message can change it")), room, accepted)?;
                        continue;
                    }
                    None => {
                        info!(%room, message = %id, "Not shown: it changes a message that was never carried here, or long ago.");
                        continue;
                    }
                }
            }
            debug!(%room, message = %id, "Received.");
            let event = event::from_content(&content);
            if let Some(Event::Edit { replaces, .. }) = &event {
                let first = tx.first_version(room, replaces).await?;
                tx.add_version(room, id, first, accepted);
            }
            let deletes = matches!(event, Some(Event::Delete { .. }));
            let to = Destination::Portal(room.clone());
            let payload =
                Payload::Content { sender: sender.clone(), message: *id.as_bytes(), accepted, content: octets };
            let passed = match deletes {
                true => self.enqueue_destructive(tx, Deed::Deletion, room, &sender, &to, &payload).await,
                false => self.enqueue(tx, &to, &payload).await,
            };
            discard(passed, room, accepted)?;
        }
        Ok(())
    }
}

/// A message from elsewhere, decrypted and understood.
struct Read {
    sender: UserUri,
    id: MessageId,
    accepted: u64,
    content: MimiContent,
    octets: Vec<u8>,
    /// With which it could be reported, if that is kept.
    evidence: Option<AbusiveMessage>,
}

/// C§9.1: what a member sends wrongly is discarded, or one bad client would block the room.
fn discard(accepted: Result<(), Fault>, room: &RoomUri, timestamp: u64) -> Result<(), Fault> {
    match accepted {
        Err(Fault::Never(reason)) => {
            warn!(%room, timestamp, reason, "Discarded.");
            Ok(())
        }
        accepted => accepted,
    }
}

fn not_here() -> Fault {
    Fault::never("none of our users is in that room")
}
