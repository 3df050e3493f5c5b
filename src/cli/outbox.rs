//! `outbox`: what waits, what could not be delivered, and what the admin does about it.

use std::{
    io::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand};

use super::{
    Connection, Failure,
    operate::{Answer, Nothing},
    table,
};
use crate::{
    admin::{Delivery, Letters, Operator},
    mimi::uri::RoomUri,
};

#[derive(Debug, Args)]
pub(super) struct OutboxArgs {
    #[command(subcommand)]
    pub(super) act: OutboxAct,
    #[command(flatten)]
    pub(super) at: Connection,
}

pub(super) const EXAMPLES: &str = "\
What is accepted waits in a queue for its destination: a conversation here (portal), the hub of a room (hub), a
provider with people in a room of ours (follower), or one that is asked for something (invite, peer). What a
destination refuses for good, or does not take within [delivery] give_up_after_days, becomes a dead letter: out of
the queue, told to whoever wrote it, and kept for 30 days. A delivery has one number, waiting and dead.

Examples:
  What waits, for how long, and why?
    mimi-gateway outbox list

  What could not be delivered? And what does number 17 say (this is written to the log)?
    mimi-gateway outbox list --dead
    mimi-gateway outbox show 17 --content

  The cause is mended: send it again, each to its old place in its queue.
    mimi-gateway outbox retry --all

  Its conversation is gone for good: show it in another.
    mimi-gateway outbox redirect 17 --to mimi://a.example/r/clubhouse";

#[derive(Debug, Subcommand)]
pub(super) enum OutboxAct {
    /// The queues, the longest-waiting first; or the dead letters.
    List {
        /// What could not be delivered, one line each, instead of the queues.
        #[arg(long)]
        dead: bool,
        /// Of this room only.
        #[arg(long, value_name = "URI")]
        room: Option<RoomUri>,
    },
    /// One delivery, waiting or dead. Says nothing of its content unless that is asked for.
    Show {
        id: i64,
        /// What it says as well. That you have read it is written to the log.
        #[arg(long)]
        content: bool,
    },
    /// Put dead letters back to their old place in their queue. Whoever has one already recognises it.
    Retry {
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<i64>,
        /// Every dead letter that can be tried again.
        #[arg(long)]
        all: bool,
        /// With --all: of this room only.
        #[arg(long, value_name = "URI", conflicts_with = "id")]
        room: Option<RoomUri>,
    },
    /// Show a dead message of somebody else's in another room's conversation, marked as what it is; or send one of
    /// ours to another room its author is in, as a new message.
    Redirect {
        id: i64,
        #[arg(long, value_name = "URI")]
        to: RoomUri,
    },
    /// Throw a dead letter away. There is no way back.
    Drop {
        id: i64,
        /// Yes, it may be lost.
        #[arg(long)]
        yes: bool,
    },
}

pub(super) async fn outbox(OutboxArgs { act, at }: OutboxArgs, out: &mut impl Write) -> Result<(), Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Answer { json: at.json, out }.outbox(&at.open()?, act, now).await
}

impl<W: Write> Answer<'_, W> {
    pub(super) async fn outbox(mut self, gateway: &impl Operator, act: OutboxAct, now: u64) -> Result<(), Failure> {
        match act {
            OutboxAct::List { dead: false, room } => self.queues(gateway, room).await,
            OutboxAct::List { dead: true, room } => self.dead(gateway, room, now).await,
            OutboxAct::Show { id, content } => self.delivery(gateway.delivery(id, content).await?, now),
            OutboxAct::Retry { id, room, .. } => {
                let count = gateway.retry(Letters { id, room }).await?;
                self.done(&Count { count }, format_args!("{count} back in the queues; `outbox list` says how they do."))
            }
            OutboxAct::Redirect { id, to } => {
                gateway.redirect(id, &to).await?;
                self.done(&Nothing {}, format_args!("{id} goes to {to}."))
            }
            OutboxAct::Drop { id, yes: false } => {
                let it = gateway.delivery(id, false).await?;
                let from = it.from.map(|user| format!(" of {user}")).unwrap_or_default();
                let why = format!(
                    "{id} is a {}{from} for {}, and dropping it loses it for good (say it again with --yes)",
                    it.kind, it.destination
                );
                Err(Failure::Failed(why))
            }
            OutboxAct::Drop { id, yes: true } => {
                gateway.drop_letter(id).await?;
                self.done(&Nothing {}, format_args!("{id} is gone."))
            }
        }
    }

    async fn queues(&mut self, gateway: &impl Operator, room: Option<RoomUri>) -> Result<(), Failure> {
        let outbox = gateway.outbox(room.as_ref()).await?;
        if self.json {
            return self.json(&outbox);
        }
        let rows = outbox.queues.iter().map(|queue| {
            [
                queue.destination.clone(),
                queue.head.to_string(),
                queue.waiting.to_string(),
                table::duration(queue.oldest_age_s),
                queue.attempts.to_string(),
                queue.next_try_s.map_or("-".into(), |s| format!("in {}", table::duration(s))),
                queue.problem.clone().unwrap_or("-".into()),
            ]
        });
        let head = ["DESTINATION", "HEAD", "WAITING", "OLDEST", "ATTEMPTS", "NEXT TRY", "PROBLEM"];
        table::print(self.out, head, rows.collect())?;
        if !outbox.dead.is_empty() {
            let count = outbox.dead.len();
            writeln!(self.out, "\n{count} could not be delivered: `mimi-gateway outbox list --dead`")?;
        }
        Ok(())
    }

    async fn dead(&mut self, gateway: &impl Operator, room: Option<RoomUri>, now: u64) -> Result<(), Failure> {
        let outbox = gateway.outbox(room.as_ref()).await?;
        if self.json {
            return self.json(&outbox.dead);
        }
        let rows = outbox.dead.iter().map(|it| {
            [
                it.id.to_string(),
                it.kind.clone(),
                it.from.as_ref().map_or("-".into(), ToString::to_string),
                it.destination.clone(),
                table::duration(now.saturating_sub(it.accepted)),
                it.cause.clone().unwrap_or_default(),
                if it.certain { "no" } else { "perhaps" }.into(),
                it.reason.clone().unwrap_or_default(),
            ]
        });
        let head = ["ID", "KIND", "OF", "FOR", "AGE", "CAUSE", "ARRIVED", "REASON"];
        Ok(table::print(self.out, head, rows.collect())?)
    }

    fn delivery(&mut self, it: Delivery, now: u64) -> Result<(), Failure> {
        if self.json {
            return self.json(&it);
        }
        let ago = |at: u64| format!("{} ago", table::duration(now.saturating_sub(at)));
        let from = it.from.map(|user| format!(" of {user}")).unwrap_or_default();
        writeln!(self.out, "{}: a {}{from}\nfor {}", it.id, it.kind, it.destination)?;
        writeln!(self.out, "accepted {}, {} attempt(s)", ago(it.accepted), it.attempts)?;
        match (it.died, it.certain) {
            (None, _) => writeln!(self.out, "waiting")?,
            (Some(died), true) => writeln!(self.out, "given up {}; it was not delivered", ago(died))?,
            (Some(died), false) => writeln!(self.out, "given up {}; it may have been delivered", ago(died))?,
        }
        if let Some(reason) = it.reason {
            let cause = it.cause.unwrap_or("last problem".into());
            writeln!(self.out, "{cause}: {reason}")?;
        }
        if let Some(content) = it.content {
            writeln!(self.out, "\n{content}")?;
        }
        Ok(())
    }
}

#[derive(serde::Serialize)]
struct Count {
    count: u64,
}
