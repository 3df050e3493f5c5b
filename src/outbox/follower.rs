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
    store::Tx,
};

/// D43: at most this much in one request.
const BATCH_ROWS: i64 = 256;
const BATCH_OCTETS: usize = 1 << 20;

impl Core {
    pub(super) async fn step_follower(self: &Arc<Self>, room: &RoomUri, provider: &Domain) -> Result<Step, Fault> {
        let to = Destination::Follower(room.clone(), provider.clone()).to_string();
        if *provider == self.domain {
            // Our own follower half: the same octets through the same door, in one transaction.
            let room = room.clone();
            return self
                .write(move |core, tx| {
                    Box::pin(async move {
                        let Some((rows, body)) = take(tx, &to).await? else { return Ok(Step::Idle) };
                        let messages = FanoutMessage::decode_all(&body).map_err(|e| Fault::later(e.to_string()))?;
                        core.accept_fanout(tx, &room, &messages).await?;
                        mimi_adapter::failpoint!("outbox.follower.own.accepted");
                        settle(tx, &rows).await?;
                        Ok(Step::Settled)
                    })
                })
                .await;
        }
        let taken = self.write(move |_, tx| Box::pin(async move { take(tx, &to).await })).await?;
        let Some((rows, body)) = taken else { return Ok(Step::Idle) };
        mimi_adapter::failpoint!("outbox.follower.taken");
        let size = body.len();
        let answer = self.peers.call(provider, Endpoint::Notify, room.as_str(), Bytes::from(body)).await;
        mimi_adapter::failpoint!("outbox.follower.answered");
        let words = answer.as_ref().map_or_else(ToString::to_string, |_| "201".into());
        self.trace.request(&self.domain, provider, "notify", size, &words, &format!("{} message(s)", rows.len()));
        match answer {
            Ok(_) => {}
            // Nobody of theirs is in the room any more.
            Err(CallError::Never { status: Some(status), .. }) if status.as_u16() == 404 => {
                warn!(%room, %provider, messages = rows.len(), "The provider has nobody in the room.");
            }
            Err(CallError::Later { after, unsure, .. }) => return Ok(Step::Later { problem: words, after, unsure }),
            // A peer that refuses what it must take has a fault of its own; the room waits for it.
            Err(_) => return Ok(Step::later(words)),
        }
        self.write(move |_, tx| Box::pin(async move { settle(tx, &rows).await })).await?;
        mimi_adapter::failpoint!("outbox.follower.settled");
        Ok(Step::Settled)
    }
}

/// The next batch: the one begun before, or as many rows as fit.
async fn take(tx: &mut Tx, to: &str) -> Result<Option<(Vec<i64>, Vec<u8>)>, Fault> {
    let rows = tx.outbox_head(to, BATCH_ROWS).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let (first, begun) = (first.id, first.batch);
    let mut body = Vec::new();
    let mut ids = Vec::new();
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
        body.extend(message);
        ids.push(row.id);
    }
    if begun.is_none() {
        tx.batch_outbox_rows(to, first, *ids.last().expect("the first row always fits")).await?;
    }
    Ok(Some((ids, body)))
}

async fn settle(tx: &mut Tx, rows: &[i64]) -> Result<(), Fault> {
    for row in rows {
        tx.remove_outbox_row(*row).await?;
    }
    Ok(())
}
