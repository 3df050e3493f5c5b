//! `abuse`: what is reported to us, and what we report.

use std::{
    io::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand};
use mimi_adapter::UserUri;

use super::{
    Connection, Failure,
    operate::{Answer, Nothing},
    table,
};
use crate::{
    admin::{AbuseSummary, KeptMessage, Operator, ReportAbuse},
    mimi::uri::RoomUri,
};

#[derive(Debug, Args)]
pub(super) struct AbuseArgs {
    #[command(subcommand)]
    pub(super) act: AbuseAct,
    #[command(flatten)]
    pub(super) at: Connection,
}

pub(super) const EXAMPLES: &str = "\
Reports come to the hub of a room. The messages in one are proven: this hub has seen them, by this sender, at this time.
Who is taken out of a room for that, and by whom, is for people to decide.

Examples:
  What is reported to us, and what does it say?
    mimi-gateway abuse list
    mimi-gateway abuse show 5 --content

  Report somebody to the hub of the room, with what they have written (for that, set evidence_days in [abuse]):
    mimi-gateway abuse kept mimi://b.example/r/tea
    mimi-gateway abuse report mimi://b.example/r/tea mimi://c.example/u/cathy --message 01ab… --note 'Sells gold.'";

#[derive(Debug, Subcommand)]
pub(super) enum AbuseAct {
    /// What others have reported to us. Reports are kept for 90 days.
    List,
    /// One report.
    Show {
        id: i64,
        /// What its messages say, too. The log notes that you have read it.
        #[arg(long)]
        content: bool,
    },
    /// Throw a report away.
    Drop { id: i64 },
    /// The latest messages of a room that can be reported with proof.
    Kept { room: RoomUri },
    /// Report somebody to the hub of a room.
    Report {
        room: RoomUri,
        user: UserUri,
        /// One of their messages, by the ID that `kept` shows. May be given several times.
        #[arg(long, value_name = "ID")]
        message: Vec<String>,
        /// What the hub's people should know.
        #[arg(long, default_value = "", hide_default_value = true)]
        note: String,
        /// Who of ours reports it. Default: the hub is not told.
        #[arg(long, value_name = "USER")]
        by: Option<UserUri>,
    },
}

pub(super) async fn abuse(AbuseArgs { act, at }: AbuseArgs, out: &mut impl Write) -> Result<(), Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Answer { json: at.json, out }.abuse(&at.open()?, act, now).await
}

impl<W: Write> Answer<'_, W> {
    pub(super) async fn abuse(mut self, gateway: &impl Operator, act: AbuseAct, now: u64) -> Result<(), Failure> {
        let ago = |at: u64| format!("{} ago", table::duration(now.saturating_sub(at)));
        match act {
            AbuseAct::List => {
                let reports = gateway.abuse_reports().await?;
                if self.json {
                    return self.json(&reports);
                }
                let row = |it: &AbuseSummary| {
                    let by = it.reporter.clone().unwrap_or_else(|| it.provider.clone());
                    [
                        it.id.to_string(),
                        it.user.clone(),
                        it.room.to_string(),
                        by,
                        it.messages.to_string(),
                        ago(it.since),
                    ]
                };
                let head = ["ID", "WHO", "ROOM", "REPORTED BY", "MESSAGES", "SINCE"];
                Ok(table::print(self.out, head, reports.iter().map(row).collect())?)
            }
            AbuseAct::Show { id, content } => {
                let report = gateway.abuse_report(id, content).await?;
                if self.json {
                    return self.json(&report);
                }
                let it = &report.summary;
                writeln!(self.out, "{}: {} in {}", it.id, it.user, it.room)?;
                let by = it.reporter.as_deref().unwrap_or("somebody who is not named");
                writeln!(self.out, "reported {} by {} for {by}", ago(it.since), it.provider)?;
                if !report.note.is_empty() {
                    writeln!(self.out, "\n{}", report.note)?;
                }
                for message in &report.messages {
                    writeln!(self.out, "\nproven, sent {}", ago(message.accepted))?;
                    if let Some(content) = &message.content {
                        writeln!(self.out, "{content}")?;
                    }
                }
                Ok(())
            }
            AbuseAct::Drop { id } => {
                gateway.drop_abuse_report(id).await?;
                self.done(&Nothing {}, format_args!("Report {id} is gone."))
            }
            AbuseAct::Kept { room } => {
                let kept = gateway.kept_messages(&room).await?;
                if self.json {
                    return self.json(&kept);
                }
                let row = |it: &KeptMessage| [it.message.clone(), it.sender.to_string(), ago(it.accepted)];
                Ok(table::print(self.out, ["MESSAGE", "BY", "SENT"], kept.iter().map(row).collect())?)
            }
            AbuseAct::Report { room, user, message, note, by } => {
                let new = ReportAbuse { room: room.clone(), user: user.clone(), messages: message, note, reporter: by };
                gateway.report_abuse(new).await?;
                let hub = room.domain();
                self.done(
                    &Nothing {},
                    format_args!("{user} is being reported to {hub}; `outbox list` shows if that fails."),
                )
            }
        }
    }
}
