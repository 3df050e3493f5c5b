//! `trace`: where a message has been.

use std::{
    io::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Args;

use super::{Connection, Failure, operate::Answer, table};
use crate::admin::{Hop, Operator};

#[derive(Debug, Args)]
pub(super) struct TraceArgs {
    /// A MIMI message ID (64 hexadecimal digits), or what a network calls it: a Matrix event id, an XMPP stanza id.
    id: String,
    #[command(flatten)]
    at: Connection,
}

pub(super) const EXAMPLES: &str = "\
A message of ours is written in a conversation, accepted by the hub of its room, and taken by the other providers in the
room (which is known where we are the hub). One from elsewhere is accepted by the hub and delivered to a conversation
here. Each line says how long ago that was and how long after the first, by which attempt, and what went wrong or was not
shown. What a message says is not in it.
Names are kept for 400 days.

Examples:
  Did what Alice wrote arrive? Her client shows the event id (\"View source\"):
    mimi-gateway trace '$Wm5oYXQgbm93'

  Another provider names a message by its ID:
    mimi-gateway trace 01c9d1c5b6a0e2f4…

  Something waits, or is dead: what to do about it
    mimi-gateway outbox list";

pub(super) async fn trace(TraceArgs { id, at }: TraceArgs, out: &mut impl Write) -> Result<(), Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    Answer { json: at.json, out }.trace(&at.open()?, &id, now).await
}

impl<W: Write> Answer<'_, W> {
    pub(super) async fn trace(mut self, gateway: &impl Operator, id: &str, now: u64) -> Result<(), Failure> {
        let traced = gateway.trace(id).await?;
        if self.json {
            return self.json(&traced);
        }
        for (nth, it) in traced.iter().enumerate() {
            if nth > 0 {
                writeln!(self.out)?;
            }
            writeln!(self.out, "message {}\nof {}\nin {}\n", it.message, it.author, it.room)?;
            let head = ["AGO", "AFTER", "WHERE", "STATE", "ATTEMPTS", "CALLED", "PROBLEM"];
            let first = it.hops.iter().find_map(|hop| hop.at);
            table::print(self.out, head, it.hops.iter().map(|hop| row(hop, first, now)).collect())?;
        }
        Ok(())
    }
}

fn row(hop: &Hop, first: Option<u64>, now: u64) -> [String; 7] {
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let letter = hop.letter.map_or(String::new(), |letter| format!(" {letter}"));
    let after = hop.at.zip(first).map(|(at, first)| at.saturating_sub(first));
    [
        hop.at.map_or("-".into(), |at| table::duration(now.saturating_sub(at) / 1000)),
        after.map_or("-".into(), |after| match after {
            0..60_000 => format!("{}.{:03} s", after / 1000, after % 1000),
            _ => table::duration(after / 1000),
        }),
        hop.place.clone(),
        format!("{}{letter}", hop.state),
        hop.attempts.map_or("-".into(), |attempts| attempts.to_string()),
        or_dash(hop.native.join(" ")),
        or_dash(hop.problem.clone().unwrap_or_default()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::stub::Stub;

    async fn said(id: &str, json: bool) -> Result<String, Failure> {
        let mut out = Vec::new();
        Answer { json, out: &mut out }.trace(&Stub::default(), id, 1_760_700_000_000).await?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[tokio::test]
    async fn each_hop_is_a_line() {
        let lines = said("$abc", false).await.unwrap();
        assert_eq!(
            lines,
            format!(
                "message 01{}\nof mimi://a.example/u/alice\nin mimi://a.example/r/clubhouse\n\n\
                 AGO     AFTER    WHERE                         STATE           ATTEMPTS  CALLED  PROBLEM\n\
                 8 days  0.000 s  matrix !abc:matrix.a.example  written         -         $abc    -\n\
                 8 days  0.100 s  hub a.example                 accepted        -         -       -\n\
                 8 days  0.400 s  provider b.example            taken           2         -       -\n\
                 27 h    6 days   provider c.example            dead letter 17  64        -       expired: it could not be reached for 7 days\n",
                "ab".repeat(31)
            )
        );
        assert!(said("$abc", true).await.unwrap().contains("\"state\": \"dead letter\""));
    }

    #[tokio::test]
    async fn what_never_came_is_said_so() {
        let Err(Failure::Failed(words)) = said("$never", false).await else { panic!("it never came") };
        assert!(words.starts_with("no message is called $never here: it never came"), "{words}");
    }
}
