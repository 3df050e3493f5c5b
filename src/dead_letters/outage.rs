//! A destination that takes nothing: how long, who hears of it, and when it is enough.
//!
//! What counts is how long the destination has not worked, added up between one failed attempt and the next and
//! never more than a day for one pair: a clock that jumps, or a gateway that was switched off for a month, is not
//! a peer that was away. After [`WARN_AFTER`] the people whose messages wait are told, each once. After a lifetime
//! ([`Core::give_up_after`]) every row that has itself waited for a lifetime is buried, head first; younger ones
//! stay, and are buried in their turn or delivered when the destination is back.
//!
//! A queue that nobody can try (a conversation of two whose other end has not consented, a room that is linked
//! with nothing here) counts as failing too: the janitor looks after those.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tracing::{info, warn};

use super::{Cause, Reason, is_seen};
use crate::{
    core::{Core, Fault},
    mimi::uri::UserUri,
    outbox::{Destination, Payload},
    store::{Tx, outages::Outage, outbox::Row},
};

/// Whose messages have waited for this long is told that they do.
pub const WARN_AFTER: Duration = Duration::from_secs(4 * 3600);

/// A queue that nobody tries is no outage before this.
const IDLE: Duration = Duration::from_secs(3600);

/// At most this much lies between two attempts, as far as giving up is concerned.
const GAP: u64 = 24 * 3600 * 1000;

/// At most so many rows are looked at in one transaction.
const MANY: i64 = 1000;

impl Core {
    /// An attempt has failed, or nothing could be tried.
    pub(crate) async fn failing(
        self: &Arc<Self>,
        to: &Destination,
        problem: String,
        unsure: bool,
    ) -> Result<(), Fault> {
        let to = to.clone();
        self.dispatcher.is_in_trouble(&to);
        let noted =
            self.write(move |core, tx| Box::pin(async move { core.note_failure(tx, &to, &problem, unsure).await }));
        let noted = noted.await;
        mimi_adapter::failpoint!("outbox.postponed");
        noted
    }

    async fn note_failure(&self, tx: &mut Tx, to: &Destination, problem: &str, unsure: bool) -> Result<(), Fault> {
        let (name, now) = (to.to_string(), self.now());
        let Some(head) = tx.outbox_head(&name, 1).await?.pop() else { return Ok(tx.end_outage(&name).await?) };
        tx.outbox_attempt_failed(&name, head.id, problem, unsure).await?;
        let mut outage = match tx.outage(&name).await? {
            Some(outage) => outage.goes_on(now, problem),
            None => Outage::begins(&name, now, problem),
        };
        if outage.failing >= WARN_AFTER.as_millis() as u64 {
            self.warn_of(tx, to, &mut outage).await?;
        }
        tx.save_outage(&outage).await?;
        if outage.failing >= self.give_up_after {
            self.give_up_on(tx, to, &outage).await?;
        }
        Ok(())
    }

    /// The destination works.
    pub(crate) async fn works_again(self: &Arc<Self>, to: &Destination) -> Result<(), Fault> {
        let name = to.to_string();
        info!(destination = name, "Works again.");
        self.write(move |_, tx| Box::pin(async move { Ok(tx.end_outage(&name).await?) })).await
    }

    /// Tells those whose messages have waited long enough, and who don't know yet.
    async fn warn_of(&self, tx: &mut Tx, to: &Destination, outage: &mut Outage) -> Result<(), Fault> {
        let before = self.now().saturating_sub(WARN_AFTER.as_millis() as u64);
        let rows = tx.outbox_before(&outage.destination, outage.warned_to, before, MANY).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        outage.warned_to = last.id;
        if outage.warned.is_empty() {
            warn!(destination = outage.destination, problem = outage.problem, "Nothing could be delivered for hours.");
        }
        let mut warned: BTreeSet<String> = outage.warned.split(' ').map(str::to_owned).collect();
        let Some(room) = to.room() else { return Ok(()) };
        let days = words(self.give_up_after);
        for row in rows {
            let Ok(payload) = Payload::decode(&row.payload) else { continue };
            let (who, text) = match (&payload, to) {
                (Payload::Submit { sender, content, .. }, Destination::Hub(hub)) if is_seen(content) => {
                    let cause = if self.domain == *hub.domain() {
                        "it can't be sent yet".to_owned()
                    } else {
                        format!("{} can't be reached", hub.domain())
                    };
                    let text = format!(
                        "Not yet delivered: what you have written here waits, because {cause}. \
                         It is tried again for {days} in all; you needn't write it again."
                    );
                    (Some(sender.clone()), text)
                }
                (Payload::Fanout { .. }, Destination::Follower(_, provider)) => {
                    let text = format!(
                        "Not yet delivered to {provider}, which can't be reached: its people don't read what is \
                         written here. It is tried again for {days} in all."
                    );
                    (None, text)
                }
                // The conversation itself is what can't be reached, or nobody waits for it.
                _ => continue,
            };
            if warned.insert(who.as_ref().map_or("all", UserUri::as_str).to_owned()) {
                self.notice(tx, room, text, None, who.as_ref()).await?;
            }
        }
        outage.warned = warned.into_iter().collect::<Vec<_>>().join(" ");
        Ok(())
    }

    /// Buries what has waited for a lifetime. The rest goes on.
    async fn give_up_on(&self, tx: &mut Tx, to: &Destination, outage: &Outage) -> Result<(), Fault> {
        let before = self.now().saturating_sub(self.give_up_after);
        let rows: Vec<Row> = tx.outbox_before(&outage.destination, 0, before, MANY).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let age = words(outage.failing);
        let why = match to {
            Destination::Hub(room) if *room.domain() == self.domain => format!("it could not be sent for {age}"),
            Destination::Hub(room) => format!("{} could not be reached for {age}", room.domain()),
            Destination::Rejoin(room, _) => format!("{} did not let them in for {age}", room.domain()),
            Destination::Follower(_, provider) | Destination::Peer(provider) => {
                format!("{provider} could not be reached for {age}")
            }
            Destination::Invite(_, user) => format!("{} could not be reached for {age}", user.domain()),
            Destination::Portal(_) => format!("the conversation could not be reached for {age}"),
        };
        let reason = Reason { cause: Cause::Expired, words: &why, detail: &outage.problem };
        self.bury(tx, to, &rows, &reason).await?;
        if tx.outbox_head(&outage.destination, 1).await?.is_empty() {
            tx.end_outage(&outage.destination).await?;
        }
        Ok(())
    }

    /// Queues that wait and have no worker: whatever they wait for, they don't do so for ever.
    pub async fn look_after_the_waiting(self: &Arc<Self>) -> Result<(), Fault> {
        let queues = self.write(|_, tx| Box::pin(async move { Ok(tx.outbox_queues().await?) })).await?;
        let before = self.now().saturating_sub(IDLE.as_millis() as u64);
        for queue in queues.into_iter().filter(|queue| queue.oldest <= before) {
            let Some(to) = Destination::parse(&queue.destination) else { continue };
            // An invitation to a room that nobody of ours has entered yet is in nobody's way.
            if self.dispatcher.is_serving(&to) || matches!(to, Destination::Invite(..)) || !self.serves(&to).await? {
                continue;
            }
            let problem = match to {
                Destination::Portal(_) => "the room is linked with no conversation here",
                _ => "who or what it is for is not there yet",
            };
            self.failing(&to, problem.into(), false).await?;
        }
        Ok(())
    }
}

impl Outage {
    fn begins(destination: &str, now: u64, problem: &str) -> Self {
        Self {
            destination: destination.to_owned(),
            since: now,
            failed: now,
            failing: 0,
            attempts: 1,
            problem: problem.to_owned(),
            warned: String::new(),
            warned_to: 0,
        }
    }

    fn goes_on(self, now: u64, problem: &str) -> Self {
        Self {
            failing: self.failing + now.saturating_sub(self.failed).min(GAP),
            failed: now,
            attempts: self.attempts + 1,
            problem: problem.to_owned(),
            ..self
        }
    }
}

/// A length of time as people say it.
fn words(milliseconds: u64) -> String {
    match milliseconds / 3_600_000 {
        0..=1 => format!("{} minutes", milliseconds / 60_000),
        hours @ 2..=47 => format!("{hours} hours"),
        hours => format!("{} days", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn an_outage_is_as_long_as_its_attempts_say() {
        let outage = Outage::begins("peer b.example", 10 * HOUR, "no route");
        assert_eq!((outage.failing, outage.attempts), (0, 1));
        let outage = outage.goes_on(11 * HOUR, "no route").goes_on(13 * HOUR, "refused");
        assert_eq!((outage.failing, outage.attempts, outage.problem.as_str()), (3 * HOUR, 3, "refused"));
        // A clock that jumps ahead by a year is worth a day, one that goes back nothing.
        let outage = outage.goes_on(9000 * HOUR, "refused");
        assert_eq!(outage.failing, 27 * HOUR);
        let outage = outage.goes_on(20 * HOUR, "refused");
        assert_eq!((outage.failing, outage.failed), (27 * HOUR, 20 * HOUR));
        assert_eq!(outage.goes_on(21 * HOUR, "refused").failing, 28 * HOUR);
    }

    #[test]
    fn time_is_told_in_the_largest_unit_that_says_something() {
        assert_eq!(words(90 * 60_000), "90 minutes");
        assert_eq!(words(4 * HOUR), "4 hours");
        assert_eq!(words(7 * 24 * HOUR), "7 days");
    }
}
