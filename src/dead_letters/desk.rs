//! What the admin does with dead letters: look, send again, send elsewhere, throw away.

use std::sync::Arc;

use tracing::info;

use super::text_content;
use crate::{
    admin::{DeadStatus, Delivery, Letters, Outbox, QueueStatus},
    core::{Core, Fault},
    event,
    mimi::{
        content::{MimiContent, message_id},
        uri::{RoomUri, UserUri},
    },
    outbox::{Destination, Payload},
    store::{Tx, dead_letters::DeadRow, invites::InviteState},
};
use mimi_adapter::{Event, Text};

impl Core {
    /// What waits and what is dead, of one room or of all.
    pub async fn outbox_report(&self, tx: &mut Tx, room: Option<&RoomUri>) -> Result<Outbox, Fault> {
        let asked =
            |destination: &str| room.is_none() || Destination::parse(destination).is_some_and(|to| to.room() == room);
        let mut queues = Vec::new();
        for queue in tx.outbox_queues().await?.into_iter().filter(|queue| asked(&queue.destination)) {
            let outage = tx.outage(&queue.destination).await?;
            let next_try = Destination::parse(&queue.destination).and_then(|to| self.dispatcher.next_try(&to));
            queues.push(QueueStatus {
                head: queue.head,
                waiting: queue.waiting,
                oldest_age_s: self.now().saturating_sub(queue.oldest) / 1000,
                attempts: outage.as_ref().map_or(0, |outage| outage.attempts),
                failing_s: outage.as_ref().map_or(0, |outage| outage.failing / 1000),
                problem: outage.map(|outage| outage.problem),
                next_try_s: next_try.map(|at| at.saturating_sub(self.now()) / 1000),
                destination: queue.destination,
            });
        }
        let dead = tx.dead_letters("").await?.into_iter().filter(|row| asked(&row.destination));
        Ok(Outbox { queues, dead: dead.map(|row| dead_letter(row, false)).collect() })
    }

    pub async fn dead_status(&self, tx: &mut Tx) -> Result<Vec<DeadStatus>, Fault> {
        let age = |oldest: u64| self.now().saturating_sub(oldest) / 1000;
        let counts = tx.dead_counts().await?.into_iter();
        Ok(counts.map(|it| DeadStatus { cause: it.cause, count: it.count, oldest_age_s: age(it.oldest) }).collect())
    }

    /// One delivery, dead or waiting. With its content only if that is asked for, and that is logged.
    pub async fn delivery(&self, tx: &mut Tx, id: i64, content: bool) -> Result<Option<Delivery>, Fault> {
        if content {
            info!(id, "An admin reads the content of a delivery.");
        }
        if let Some(row) = tx.dead_letter(id).await? {
            return Ok(Some(dead_letter(row, content)));
        }
        let Some(row) = tx.waiting(id).await? else { return Ok(None) };
        let payload = Payload::decode(&row.payload).ok();
        Ok(Some(Delivery {
            id,
            destination: row.destination,
            kind: row.kind,
            from: payload.as_ref().and_then(author),
            accepted: row.created / 1000,
            died: None,
            attempts: row.attempts as u64,
            cause: None,
            reason: row.problem,
            certain: !row.unsure,
            content: payload.filter(|_| content).and_then(|payload| words(&payload)),
        }))
    }

    /// Puts dead letters back where they were. Answers how many.
    pub async fn retry(&self, tx: &mut Tx, which: &Letters) -> Result<u64, Fault> {
        let rows = match which.id {
            Some(id) => vec![tx.dead_letter(id).await?.ok_or_else(no_such_letter)?],
            None => tx.dead_letters("").await?,
        };
        let mut count = 0;
        for row in rows {
            let to = Destination::parse(&row.destination);
            if which.room.is_some() && to.as_ref().and_then(Destination::room) != which.room.as_ref() {
                continue;
            }
            match self.revive(tx, &row, to).await {
                Ok(()) => count += 1,
                // Of many, what can be tried again is.
                Err(Fault::Never(reason)) if which.id.is_none() => info!(id = row.id, reason, "Stays where it is."),
                Err(fault) => return Err(fault),
            }
        }
        Ok(count)
    }

    pub(crate) async fn revive(&self, tx: &mut Tx, row: &DeadRow, to: Option<Destination>) -> Result<(), Fault> {
        let to = to.ok_or_else(|| Fault::never("its destination can't be read: it can only be dropped"))?;
        let payload =
            Payload::decode(&row.payload).map_err(|e| Fault::never(format!("{e}: it can only be dropped")))?;
        if let Destination::Portal(room) = &to
            && tx.portal_of_room(room).await?.is_none()
        {
            return Err(Fault::never(format!(
                "{room} is linked with no conversation (room relink, or outbox redirect)"
            )));
        }
        let wanted = match (&payload, &to) {
            (Payload::Add { user, .. }, Destination::Hub(room)) => Some((room, user, InviteState::Adding)),
            (Payload::Invite, Destination::Invite(room, user)) => Some((room, user, InviteState::Wanted)),
            _ => None,
        };
        if let Some((room, user, state)) = wanted
            && let Some(mut invite) = tx.invite(room, user).await?
        {
            (invite.state, invite.problem) = (state, None);
            tx.save_invite(&invite, self.now()).await?;
        }
        tx.revive_dead_letter(row.id, self.now()).await?;
        info!(id = row.id, %to, "Is tried again.");
        self.nudge(tx, to);
        Ok(())
    }

    /// Shows a dead message in another conversation, or sends it to another room as a new message of its author.
    pub async fn redirect(&self, tx: &mut Tx, id: i64, room: &RoomUri) -> Result<(), Fault> {
        let row = tx.dead_letter(id).await?.ok_or_else(no_such_letter)?;
        let no_message = || Fault::never("only messages can go elsewhere: it can be retried or dropped");
        let payload = Payload::decode(&row.payload).map_err(|_| no_message())?;
        let text = text(&payload).ok_or_else(no_message)?;
        let portal = tx.portal_of_room(room).await?;
        match payload {
            Payload::Content { sender, .. } => {
                if portal.is_none() {
                    return Err(Fault::never(format!("{room} is linked with no conversation here")));
                }
                let from = Destination::parse(&row.destination);
                let from = from.as_ref().and_then(Destination::room).map_or("another room", RoomUri::as_str);
                let text = format!("{sender} wrote in {from}, where it could not be shown: {}", text.as_str());
                self.notice(tx, room, text, None, None).await?;
            }
            Payload::Submit { sender, .. } => {
                if tx.participant_role(room, &sender).await?.is_none() {
                    return Err(Fault::never(format!("{sender} is not in {room}, and a message has one author")));
                }
                let salt: [u8; 16] = rand::random();
                let content = text_content(&text, &sender, room, salt).ok_or_else(no_message)?;
                let message = message_id(&sender, room, &content, &salt);
                tx.add_message(room, message, &sender, self.now());
                let payload = Payload::Submit { sender, message: *message.as_bytes(), content };
                self.enqueue(tx, &Destination::Hub(room.clone()), &payload).await?;
            }
            _ => return Err(no_message()),
        }
        tx.remove_dead_letter(id).await?;
        info!(id, %room, "A dead letter went elsewhere.");
        Ok(())
    }

    pub async fn drop_letter(&self, tx: &mut Tx, id: i64) -> Result<(), Fault> {
        let row = tx.dead_letter(id).await?.ok_or_else(no_such_letter)?;
        tx.remove_dead_letter(id).await?;
        info!(id, destination = row.destination, kind = row.kind, "An admin has dropped a dead letter.");
        Ok(())
    }

    /// The janitor's part: what has lain here too long goes.
    pub async fn forget_dead_letters(self: &Arc<Self>) -> Result<(), Fault> {
        let before = self.now().saturating_sub(super::KEEP);
        let gone = self.write(move |_, tx| Box::pin(async move { Ok(tx.forget_dead_letters(before).await?) })).await?;
        if gone > 0 {
            info!(count = gone, "Dead letters that nobody wanted for 30 days are gone.");
        }
        Ok(())
    }
}

fn no_such_letter() -> Fault {
    Fault::never("there is no such dead letter (`mimi-gateway outbox list --dead` shows those there are)")
}

fn dead_letter(row: DeadRow, content: bool) -> Delivery {
    let payload = Payload::decode(&row.payload).ok();
    Delivery {
        id: row.id,
        destination: row.destination,
        kind: row.kind,
        from: payload.as_ref().and_then(author),
        accepted: row.created / 1000,
        died: Some(row.died / 1000),
        attempts: row.attempts as u64,
        cause: Some(row.cause),
        reason: Some(row.reason),
        certain: row.certain,
        content: payload.filter(|_| content).and_then(|payload| words(&payload)),
    }
}

/// Whose it is, as far as we can read that.
fn author(payload: &Payload) -> Option<UserUri> {
    match payload {
        Payload::Submit { sender, .. } | Payload::Content { sender, .. } => Some(sender.clone()),
        Payload::Add { user, .. }
        | Payload::Remove { user }
        | Payload::Presence { user, .. }
        | Payload::Describe { user, .. }
        | Payload::Oust { by: user, .. } => Some(user.clone()),
        _ => None,
    }
}

fn text(payload: &Payload) -> Option<Text> {
    let (Payload::Submit { content, .. } | Payload::Content { content, .. }) = payload else { return None };
    match event::from_content(&MimiContent::decode(content).ok()?)? {
        Event::Message { text, .. } | Event::Edit { text, .. } => Some(text),
        // Its octets stay where they are.
        Event::File { file, caption, .. } => {
            Some(Text::Plain(event::describe(&file, caption.as_deref(), "it was sent in another conversation")))
        }
        _ => None,
    }
}

fn words(payload: &Payload) -> Option<String> {
    match payload {
        Payload::Notice { text, .. } => Some(text.clone()),
        Payload::Submit { content, .. } | Payload::Content { content, .. } => event::words(content),
        _ => None,
    }
}
