//! Dead letters: what can't be delivered leaves its queue, is kept for the admin, and is told to whoever wrote it.
//!
//! Nothing is retried for ever in silence. A row of the outbox is buried when its destination refuses it for good,
//! when the destination has taken nothing for a lifetime (`outage`), when it can't be read or trips a bug of
//! ours, or when its conversation is unlinked. Burying is one transaction: the row leaves the outbox, the dead
//! letter is there, and the words for its author are in the outbox.
//!
//! A dead letter keeps the id it had in the outbox, and goes back under it. So a delivery has one number for life,
//! which its delivery key is made of: a network that has seen it before shows it once. And it goes back to its
//! old place, before what was accepted later: a provider that missed a commit gets it before the messages that
//! can't be read without it. (A worker that is going through its queue at that moment finds it when it is through;
//! one that waits for its next try begins with it.)
//!
//! What we tell is what we know. "Was not delivered" is said if it was refused, or if no attempt can have arrived;
//! otherwise "may not have been delivered" ([`Row::unsure`]). To an author at another provider says it the status
//! `error` of the MIMI message status, in the name of the client that could not show the message.

mod desk;
pub(crate) mod outage;

use std::{collections::BTreeMap, fmt, sync::Arc};

use mimi_adapter::Domain;
use tracing::{info, warn};

use crate::{
    core::{Core, Fault, hash},
    event,
    mimi::{
        content::{Extensions, MessageId, MimiContent, message_id},
        message_status,
        policy::Optionality,
        uri::{RoomUri, UserUri},
    },
    outbox::{Destination, Payload, commits::user_of, hub::Prepared},
    store::{
        Tx,
        invites::InviteState,
        outbox::Row,
        rooms::{Room, RoomState},
    },
};

/// For this long dead letters are kept, in milliseconds. There is content in them.
pub const KEEP: u64 = 30 * 24 * 3600 * 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Whoever should have taken it will never do so.
    Refused,
    /// It has waited for a lifetime.
    Expired,
    /// It can't be read, or we fail on it.
    Broken,
    /// Its conversation is no longer linked.
    Unlinked,
}

impl Cause {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Broken => "broken",
            Self::Unlinked => "unlinked",
        }
    }
}

/// Why something died: the words for its author, and what only helps an admin.
pub struct Reason<'a> {
    pub cause: Cause,
    pub words: &'a str,
    pub detail: &'a str,
}

impl<'a> Reason<'a> {
    pub fn refused(words: &'a str) -> Self {
        Self { cause: Cause::Refused, words, detail: "" }
    }

    pub fn broken(detail: &'a str) -> Self {
        Self { cause: Cause::Broken, words: "the gateway has failed on it", detail }
    }

    pub const UNLINKED: Reason<'static> =
        Reason { cause: Cause::Unlinked, words: "the conversation is no longer linked", detail: "" };
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}

impl Core {
    /// Takes rows of one destination out of its queue for good, and tells whoever waits for them.
    pub async fn bury(&self, tx: &mut Tx, to: &Destination, rows: &[Row], reason: &Reason<'_>) -> Result<(), Fault> {
        let mut buried = Vec::new();
        for row in rows {
            let payload = Payload::decode(&row.payload).ok();
            if let Some(Payload::Report { .. }) = payload {
                // Nobody waits for one.
                tx.remove_outbox_row(row.id);
                continue;
            }
            let kept = self.forget_prepared(tx, to, row).await?;
            // A refusal is an answer, and the answer to every attempt under the same name.
            let certain = reason.cause == Cause::Refused || !row.unsure;
            tx.bury_outbox_row(row.id, reason.cause.as_str(), &reason.to_string(), certain, kept, self.now()).await?;
            let kind = payload.as_ref().map_or("unreadable", Payload::kind);
            warn!(id = row.id, %to, kind, %reason, certain, attempts = row.attempts, "Could not be delivered.");
            buried.extend(payload.map(|payload| (payload, certain)));
        }
        self.tell(tx, to, buried, reason).await
    }

    /// [`bury`](Self::bury), for one row that may be gone already.
    pub async fn bury_id(&self, tx: &mut Tx, to: &Destination, id: i64, reason: &Reason<'_>) -> Result<(), Fault> {
        match tx.outbox_row(id).await? {
            Some(row) => self.bury(tx, to, &[row], reason).await,
            None => Ok(()),
        }
    }

    /// What was prepared for sending, if it is of no use any more; a message stays as it was, so that a hub that
    /// has it already recognises it. A commit that nobody will hear of must not wait to be merged.
    async fn forget_prepared(&self, tx: &mut Tx, to: &Destination, row: &Row) -> Result<bool, Fault> {
        if let (Destination::Rejoin(..), Some(joining)) = (to, row.prepared.as_deref().and_then(Payload::joining)) {
            tx.remove_leaf(joining.owner).await?;
        }
        let (Destination::Hub(room), Some(octets)) = (to, &row.prepared) else { return Ok(false) };
        match postcard::from_bytes(octets) {
            Ok(Prepared::Message { .. }) => Ok(true),
            Ok(Prepared::Commit { committer, .. }) => {
                if let (Some(_), Some(group)) =
                    (tx.leaf(committer).await?, tx.room(room).await?.and_then(|room| room.group))
                {
                    let abandon = |member: &mut crate::mls::Member| Ok::<_, Fault>(member.abandon_pending()?);
                    self.groups.member(tx, committer, &group.group_id, abandon).await?;
                }
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    /// Whoever waits for what was buried reads why, where they wrote it.
    async fn tell(
        &self,
        tx: &mut Tx,
        to: &Destination,
        buried: Vec<(Payload, bool)>,
        reason: &Reason<'_>,
    ) -> Result<(), Fault> {
        let mut submits: BTreeMap<UserUri, Vec<([u8; 32], bool)>> = BTreeMap::new();
        let mut contents = Vec::new();
        let mut fanouts = 0;
        for (payload, certain) in buried {
            match (payload, to) {
                (Payload::Submit { sender, message, content }, _) if is_seen(&content) => {
                    submits.entry(sender).or_default().push((message, certain));
                }
                (Payload::Content { message, content, .. }, _) if is_seen(&content) => contents.push(message),
                (Payload::Fanout { .. }, _) => fanouts += 1,
                (Payload::Add { user, .. }, Destination::Hub(room)) => {
                    self.not_added(tx, room, &user, reason).await?;
                }
                (Payload::Describe { user, matter, .. }, Destination::Hub(room)) => {
                    self.not_described(tx, room, &user, matter, reason.words).await?;
                }
                (Payload::Oust { by, user, .. }, Destination::Hub(room)) => {
                    self.not_ousted(tx, room, &by, &user, reason.words).await?;
                }
                (Payload::Invite, Destination::Invite(room, user)) => {
                    if let Some(invite) = tx.invite(room, user).await? {
                        self.fail_invite(tx, invite, reason.words).await?;
                    }
                }
                (Payload::Rejoin, Destination::Rejoin(room, user)) => {
                    self.cut_off(tx, room, user, reason.words).await?;
                }
                (Payload::Join { .. }, Destination::Rejoin(room, user)) => {
                    self.not_let_in(tx, room, user, reason.words).await?;
                }
                (Payload::RequestConsent { .. }, Destination::Peer(provider)) => {
                    self.not_asked(tx, provider, reason).await?;
                }
                _ => {}
            }
        }
        let Some(room) = to.room() else { return Ok(()) };
        for (sender, messages) in submits {
            let text = not_delivered(&messages, reason.words);
            let about = if let [(message, _)] = messages[..] { Some(message) } else { None };
            self.notice(tx, room, text, about, Some(&sender)).await?;
        }
        if let (Destination::Follower(_, provider), true) = (to, fanouts > 0) {
            let text = format!(
                "What was written here has not reached the people of {provider}: {}. They have missed {fanouts} \
                 message(s) or changes of the room.",
                reason.words
            );
            self.notice(tx, room, text, None, None).await?;
        }
        self.report_not_shown(tx, room, &contents).await
    }

    /// Words of the gateway in the conversation of a room, if it has one.
    pub(crate) async fn notice(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        text: String,
        about: Option<[u8; 32]>,
        to: Option<&UserUri>,
    ) -> Result<(), Fault> {
        if tx.portal_of_room(room).await?.is_none() {
            return Ok(());
        }
        let notice = Payload::Notice { text, about, to: to.map(UserUri::native) };
        self.enqueue(tx, &Destination::Portal(room.clone()), &notice).await
    }

    async fn not_added(&self, tx: &mut Tx, room: &RoomUri, user: &UserUri, reason: &Reason<'_>) -> Result<(), Fault> {
        let Some(mut invite) = tx.invite(room, user).await? else { return Ok(()) };
        if !self.is_ours(user) {
            return self.fail_invite(tx, invite, reason.words).await;
        }
        invite.state = InviteState::Failed;
        invite.problem = Some(reason.words.to_owned());
        tx.save_invite(&invite, self.now()).await?;
        Ok(())
    }

    async fn not_asked(&self, tx: &mut Tx, provider: &Domain, reason: &Reason<'_>) -> Result<(), Fault> {
        for room in tx.rooms().await? {
            for invite in tx.invites_of_room(&room.room).await? {
                if invite.state == InviteState::Asked && invite.user.domain() == provider {
                    let problem = format!("their provider could not be asked for consent: {}", reason.words);
                    self.fail_invite(tx, invite, &problem).await?;
                }
            }
        }
        Ok(())
    }

    /// Tells the authors of messages from elsewhere that our side could not show them: a report by the client that
    /// reads for all of ours, which is the one that failed. A room can forbid such reports (D38).
    pub(crate) async fn report_not_shown(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        messages: &[[u8; 32]],
    ) -> Result<(), Fault> {
        let messages: Vec<_> = messages.iter().filter_map(|id| MessageId::new(*id).ok()).collect();
        if messages.is_empty() {
            return Ok(());
        }
        let Some(Room { group: Some(group), state: RoomState::Open, .. }) = tx.room(room).await? else { return Ok(()) };
        let policy = self.notifications(tx, &group).await?;
        if policy.is_some_and(|policy| policy.delivery_notifications == Optionality::Forbidden) {
            info!(%room, "The room wants no reports about messages, so their authors are not told.");
            return Ok(());
        }
        let sender = user_of(&self.reader(tx, &group).await?.client)?;
        for messages in messages.chunks(message_status::MOST) {
            let salt: [u8; 16] = rand::random();
            let content = MimiContent {
                salt,
                replaces: None,
                topic_id: Vec::new(),
                expires: None,
                in_reply_to: None,
                extensions: Extensions::new(&sender, room),
                nested_part: message_status::report(messages, message_status::ERROR),
            }
            .encode();
            let id = message_id(&sender, room, &content, &salt);
            tx.add_message(room, id, &sender, self.now());
            let payload = Payload::Submit { sender: sender.clone(), message: *id.as_bytes(), content };
            self.enqueue(tx, &Destination::Hub(room.clone()), &payload).await?;
        }
        Ok(())
    }

    /// Somebody's client reports what became of messages. Our authors of those that could not be shown read it, once
    /// for each message and provider.
    pub async fn reported(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        by: &UserUri,
        statuses: Vec<(MessageId, u64)>,
    ) -> Result<(), Fault> {
        self.receipted(tx, room, by, &statuses).await?;
        let mut of: BTreeMap<UserUri, Vec<MessageId>> = BTreeMap::new();
        for (message, _) in statuses.into_iter().filter(|(_, status)| *status == message_status::ERROR) {
            let Some(author) = tx.author(room, &message).await?.filter(|author| self.is_ours(author)) else { continue };
            let once = hash(format!("not shown by {} {message}", by.domain()).as_bytes());
            if tx.seen(room, &[once]).await?.is_empty() {
                tx.see(room, once, self.now());
                of.entry(author).or_default().push(message);
            }
        }
        for (author, messages) in of {
            let provider = by.domain();
            let (text, about) = match messages[..] {
                [message] => {
                    (format!("{provider} could not show your message to its people."), Some(*message.as_bytes()))
                }
                _ => (format!("{provider} could not show {} of your messages to its people.", messages.len()), None),
            };
            self.notice(tx, room, text, about, Some(&author)).await?;
        }
        Ok(())
    }

    /// The head of a destination's queue has been tried often enough and is at fault itself.
    pub(crate) async fn bury_head(self: &Arc<Self>, to: &Destination, problem: String) -> Result<(), Fault> {
        let to = to.clone();
        self.write(move |core, tx| {
            Box::pin(async move {
                let head = tx.outbox_head(&to.to_string(), 1).await?;
                core.bury(tx, &to, &head, &Reason::broken(&problem)).await
            })
        })
        .await
    }
}

/// Has it something a person would see, and miss?
fn is_seen(content: &[u8]) -> bool {
    MimiContent::decode(content).is_ok_and(|content| event::from_content(&content).is_some())
}

fn not_delivered(messages: &[([u8; 32], bool)], why: &str) -> String {
    let unsure = messages.iter().filter(|(_, certain)| !certain).count();
    match (messages.len(), unsure) {
        (1, 0) => format!("Your message was not delivered: {why}."),
        (1, _) => format!("Your message may not have been delivered: {why}."),
        (all, 0) => format!("{all} of your messages were not delivered: {why}."),
        (all, _) => format!("{all} of your messages were not delivered, or perhaps {unsure} of them were: {why}."),
    }
}

/// A content with a text of somebody of ours.
pub(crate) fn text_content(
    text: &mimi_adapter::Text,
    sender: &UserUri,
    room: &RoomUri,
    salt: [u8; 16],
) -> Option<Vec<u8>> {
    let event = mimi_adapter::Event::Message { text: text.clone(), in_reply_to: None };
    event::to_content(&event, sender, room, salt).map(|content| content.encode())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_what_is_known() {
        let (sure, unsure) = (([1; 32], true), ([1; 32], false));
        let why = "b.example could not be reached for 7 days";
        assert_eq!(
            not_delivered(&[sure], why),
            "Your message was not delivered: b.example could not be reached for 7 days."
        );
        assert_eq!(
            not_delivered(&[unsure], why),
            "Your message may not have been delivered: b.example could not be reached for 7 days."
        );
        assert_eq!(not_delivered(&[sure, sure], "no"), "2 of your messages were not delivered: no.");
        assert_eq!(
            not_delivered(&[sure, unsure, sure], "no"),
            "3 of your messages were not delivered, or perhaps 1 of them were: no."
        );
    }

    #[test]
    fn an_admin_reads_more_than_an_author() {
        let reason = Reason::broken("an outbox row can't be read: Hit the end of buffer");
        assert_eq!(
            reason.to_string(),
            "the gateway has failed on it (an outbox row can't be read: Hit the end of buffer)"
        );
        assert_eq!(Reason::refused("no shouting here").to_string(), "no shouting here");
    }
}
