//! From the hub to a provider with participants: fan-out, in order, in batches, until it answers 201.

use std::sync::Arc;

use bytes::Bytes;
use mimi_adapter::Domain;
use tracing::warn;

use super::{Destination, Payload, Step};
use crate::{
    core::{Core, Fault},
    mimi::{directory::Endpoint, uri::RoomUri, wire::FanoutMessage},
    provider::CallError,
    store::{Tx, hops::FannedOut},
};

/// D43: at most this much in one request.
const BATCH_ROWS: i64 = 256;
const BATCH_OCTETS: usize = 1 << 20;

impl Core {
    pub(super) async fn step_follower(
        self: &Arc<Self>,
        room: &RoomUri,
        provider: &Domain,
        progress: &mut bool,
    ) -> Result<Step, Fault> {
        let to = Destination::Follower(room.clone(), provider.clone()).to_string();
        if *provider == self.domain {
            // Our own follower half: the same octets through the same door, in one transaction.
            let room = room.clone();
            return self
                .write(move |core, tx| {
                    Box::pin(async move {
                        let Some(Batch { rows, body, .. }) = pick(tx, &to, BATCH_ROWS, 0).await? else {
                            return Ok(Step::Idle);
                        };
                        let messages = FanoutMessage::decode_all(&body).map_err(|e| Fault::later(e.to_string()))?;
                        core.accept_fanout(tx, &room, &messages).await?;
                        mimi_adapter::failpoint!("outbox.follower.own.accepted");
                        settle(tx, &rows);
                        Ok(Step::Settled)
                    })
                })
                .await;
        }
        let queue = to.clone();
        let mut taken = self.write(move |_, tx| Box::pin(async move { take_again(tx, &queue).await })).await?;
        while let Some(batch) = taken {
            mimi_adapter::failpoint!("outbox.follower.taken");
            if let Some(step) = self.notify(room, provider, &batch).await? {
                return Ok(step);
            }
            let (queue, stopping) = (to.clone(), self.dispatcher.stopping());
            let (room, provider) = (room.clone(), provider.clone());
            taken = self
                .write(move |core, tx| {
                    Box::pin(async move {
                        settle(tx, &batch.rows);
                        if let Some((since, up_to)) = batch.times {
                            let row = FannedOut { since, at: core.now(), attempts: batch.attempts };
                            tx.has_taken(&room, &provider, up_to, row);
                        }
                        if stopping { Ok(None) } else { take(tx, &queue, batch.rows.len()).await }
                    })
                })
                .await?;
            mimi_adapter::failpoint!("outbox.follower.settled");
            *progress = true;
        }
        Ok(Step::Idle)
    }

    /// Sends a batch. `None` if it is where it should be.
    async fn notify(
        self: &Arc<Self>,
        room: &RoomUri,
        provider: &Domain,
        Batch { rows, body, .. }: &Batch,
    ) -> Result<Option<Step>, Fault> {
        let size = body.len();
        let answer = self.peers.call(provider, Endpoint::Notify, room.as_str(), body.clone()).await;
        mimi_adapter::failpoint!("outbox.follower.answered");
        let words = answer.as_ref().map_or_else(ToString::to_string, |_| "201".into());
        self.trace.request(&self.domain, provider, "notify", size, &words, &format!("{} message(s)", rows.len()));
        match answer {
            Ok(_) => {}
            // Nobody of theirs is in the room any more.
            Err(CallError::Never { status: Some(status), .. }) if status.as_u16() == 404 => {
                warn!(%room, %provider, messages = rows.len(), "The provider has nobody in the room.");
            }
            Err(CallError::Later { after, unsure, .. }) => {
                return Ok(Some(Step::Later { problem: words, after, unsure }));
            }
            // A peer that refuses what it must take has a fault of its own; the room waits for it.
            Err(_) => return Ok(Some(Step::later(words))),
        }
        Ok(None)
    }
}

/// What goes in one request.
struct Batch {
    rows: Vec<i64>,
    body: Bytes,
    /// The hub's timestamps of the first and the last in it.
    times: Option<(u64, u64)>,
    /// With this one.
    attempts: u64,
}

/// The first batch after a start or a failure, which the follower may have already: the one that was tied together,
/// or the first row, which then was sent alone if it was sent at all.
async fn take_again(tx: &mut Tx, to: &str) -> Result<Option<Batch>, Fault> {
    match tx.outbox_left(to, 1, 0).await?.first() {
        Some(row) if row.batch.is_none() => pick(tx, to, 1, 0).await,
        _ => pick(tx, to, BATCH_ROWS, 0).await,
    }
}

/// The next batch but for the `done` rows that have just been settled, tied together before it leaves.
async fn take(tx: &mut Tx, to: &str, done: usize) -> Result<Option<Batch>, Fault> {
    let batch = pick(tx, to, BATCH_ROWS, done).await?;
    if let Some(Batch { rows, .. }) = &batch
        && let [first, .., last] = rows[..]
    {
        tx.batch_outbox_rows(to, first, last);
    }
    Ok(batch)
}

/// The batch begun before, or as many rows as fit.
async fn pick(tx: &mut Tx, to: &str, most: i64, done: usize) -> Result<Option<Batch>, Fault> {
    let rows = tx.outbox_left(to, most, done).await?;
    let Some((begun, attempts)) = rows.first().map(|row| (row.batch, row.attempts as u64 + 1)) else { return Ok(None) };
    let mut body = Vec::new();
    let mut ids = Vec::new();
    let mut times = None;
    for row in rows {
        let message = match Payload::decode(&row.payload) {
            Ok(Payload::Fanout { message }) => message,
            // It is not the fault of those before it.
            _ if !ids.is_empty() => break,
            Ok(other) => return Err(Fault::broken(format!("a {} row in a follower's queue", other.kind()))),
            Err(fault) => return Err(fault),
        };
        let full = !ids.is_empty() && body.len() + message.len() > BATCH_OCTETS;
        // A batch that was sent before is sent again as it was: the follower may have it already.
        if row.batch != begun || (begun.is_none() && full) {
            break;
        }
        if let Some(at) = FanoutMessage::timestamp_of(&message) {
            times = Some((times.map_or(at, |(first, _)| first), at));
        }
        body.extend(message);
        ids.push(row.id);
    }
    Ok(Some(Batch { rows: ids, body: body.into(), times, attempts }))
}

fn settle(tx: &mut Tx, rows: &[i64]) {
    for row in rows {
        tx.remove_outbox_row(*row);
    }
}
