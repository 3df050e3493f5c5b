//! `breaker`: what would take too much from too many at once, and waits for a word.

use std::{
    io::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand};

use super::{Connection, Failure, operate::Answer, table};
use crate::admin::{Operator, TripStatus};

#[derive(Debug, Args)]
pub(super) struct BreakerArgs {
    #[command(subcommand)]
    pub(super) act: BreakerAct,
    #[command(flatten)]
    pub(super) at: Connection,
}

pub(super) const EXAMPLES: &str = "\
Within ten minutes, more than 10 people (or a quarter) leaving a room, more than 50 (or a tenth) leaving the rooms of
one adapter, as many taken out on the other side, or 30 deletions by one person: the further ones are held, and
everything else goes on. People who come back are no longer held.

Examples:
  What is held?
    mimi-gateway breaker list

  They have really gone. (What follows within ten minutes is carried out as well.)
    mimi-gateway breaker allow 3

  The homeserver was wrong: nobody has left.
    mimi-gateway breaker refuse 3";

#[derive(Debug, Subcommand)]
pub(super) enum BreakerAct {
    /// What is held, and since when.
    List,
    /// Carry it out, in order.
    Allow { id: i64 },
    /// Forget it: who was to leave stays, what was to be deleted stands.
    Refuse { id: i64 },
}

pub(super) async fn breaker(BreakerArgs { act, at }: BreakerArgs, out: &mut impl Write) -> Result<(), Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Answer { json: at.json, out }.breaker(&at.open()?, act, now).await
}

impl<W: Write> Answer<'_, W> {
    pub(super) async fn breaker(mut self, gateway: &impl Operator, act: BreakerAct, now: u64) -> Result<(), Failure> {
        match act {
            BreakerAct::List => {
                let trips = gateway.trips().await?;
                if self.json {
                    return self.json(&trips);
                }
                let row = |it: &TripStatus| {
                    let since = format!("{} ago", table::duration(now.saturating_sub(it.since)));
                    [it.id.to_string(), it.what.clone(), it.held.to_string(), it.scope.clone(), since]
                };
                let head = ["ID", "WHAT", "HELD", "WHERE", "SINCE"];
                Ok(table::print(self.out, head, trips.iter().map(row).collect())?)
            }
            BreakerAct::Allow { id } => self.decide(gateway, id, true).await,
            BreakerAct::Refuse { id } => self.decide(gateway, id, false).await,
        }
    }

    async fn decide(&mut self, gateway: &impl Operator, id: i64, allow: bool) -> Result<(), Failure> {
        let held = gateway.decide_trip(id, allow).await?;
        let what = if allow { "carried out" } else { "forgotten" };
        self.done(&serde_json::json!({ "held": held }), format_args!("{held} held thing(s) are {what}."))
    }
}
