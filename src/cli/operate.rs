//! `room`, `consent` and `status`: the running gateway, asked over its admin socket.

use std::{
    io::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand};
use mimi_adapter::{ConversationId, Domain, UserUri};
use serde::Serialize;

use super::{Connection, Failure, table};
use crate::{
    admin::{
        AdapterState, CodeSummary, ConsentScope, CreateDirect, CreateRoom, Find, Join, Link, NewCode, Operator, Unlink,
    },
    mimi::uri::RoomUri,
};

#[derive(Debug, Args)]
pub(super) struct RoomArgs {
    #[command(subcommand)]
    act: RoomAct,
    #[command(flatten)]
    at: Connection,
}

pub(super) const ROOM_EXAMPLES: &str = "\
Examples:
  Open a Matrix room to a provider's user, and look at what became of it:
    mimi-gateway room create --adapter matrix --conversation '!abc:matrix.a.example' --name Clubhouse
    mimi-gateway room invite mimi://a.example/r/… mimi://b.example/u/bob@xmpp.b.example
    mimi-gateway room show mimi://a.example/r/…

  Join a group chat of ours to another provider's room, then let somebody there invite us:
    mimi-gateway room link mimi://b.example/r/tea --adapter xmpp --conversation tea@muc.a.example

  Join one by a link from its admin, and give such a link away:
    mimi-gateway room join 'mimi://b.example/r/tea#3f6c…' --as mimi://a.example/u/alice@xmpp.a.example \
        --adapter xmpp --conversation tea@muc.a.example
    mimi-gateway room code make mimi://a.example/r/… --uses 5 --days 2

  Find somebody at another provider:
    mimi-gateway room find b.example --email bob@b.example

  Let two people talk alone:
    mimi-gateway room direct mimi://a.example/u/@alice:matrix.a.example mimi://b.example/u/bob@xmpp.b.example";

#[derive(Debug, Subcommand)]
enum RoomAct {
    /// Every room, and how it is.
    List,
    /// One room: who is in it, who is invited.
    Show { room: RoomUri },
    /// Make a room of ours for a conversation that has none, and let the people of the conversation into it.
    Create {
        /// The name of the adapter's table in the configuration.
        #[arg(long)]
        adapter: String,
        /// The conversation as its own network names it: a Matrix room id, the JID of a MUC.
        #[arg(long)]
        conversation: String,
        /// What the room is called. Default: what the conversation is called.
        #[arg(long)]
        name: Option<String>,
        /// Its URI. Default: a random one, which tells nobody anything.
        #[arg(long, value_name = "URI")]
        room: Option<RoomUri>,
    },
    /// Make (or find) the room in which two people talk alone.
    Direct {
        /// One of our users.
        user: UserUri,
        /// Whom they want to talk with.
        with: UserUri,
    },
    /// Ask a provider for somebody by a name they have there. Finds only who wants to be found.
    Find {
        provider: Domain,
        /// A whole URI, such as im:bob@b.example.
        #[arg(long, required_unless_present_any = ["nick", "email"])]
        handle: Option<String>,
        #[arg(long)]
        nick: Option<String>,
        #[arg(long)]
        email: Option<String>,
    },
    /// Invite somebody into a room.
    Invite { room: RoomUri, user: UserUri },
    /// Join another provider's room by a link that its admin has given away, and join the room to a conversation.
    Join {
        /// The room's URI, # and a code.
        link: String,
        /// The user of ours who comes by it. The others of the conversation follow when they write.
        #[arg(long = "as", value_name = "URI")]
        user: UserUri,
        #[arg(long)]
        adapter: String,
        #[arg(long)]
        conversation: String,
    },
    /// Joining codes of a room of ours: links by which people of other providers come uninvited.
    #[command(subcommand)]
    Code(CodeAct),
    /// Join a room to a conversation that has none.
    Link {
        room: RoomUri,
        #[arg(long)]
        adapter: String,
        #[arg(long)]
        conversation: String,
    },
    /// Take the link between a room and its conversation away. For a week `relink` takes that back; then our users
    /// leave the room. Until then messages from the other side are kept, and their authors are told that they can't
    /// be shown.
    Unlink {
        room: RoomUri,
        /// Don't ask back if it hits many people.
        #[arg(long)]
        yes: bool,
        /// Our users leave at once, and there is no way back.
        #[arg(long)]
        now: bool,
    },
    /// Take an unlink back: link, people and the messages that came meanwhile.
    Relink { room: RoomUri },
}

#[derive(Debug, Subcommand)]
enum CodeAct {
    /// Make a link. It is printed now and never again: we keep only what is needed to recognise it.
    Make {
        room: RoomUri,
        /// How many people may come by it.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        uses: u32,
        /// For how long it is good.
        #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=365))]
        days: u32,
    },
    /// The links of a room that are still good.
    List { room: RoomUri },
    /// Make a link useless. Who has come by it stays.
    Withdraw { room: RoomUri, id: String },
}

#[derive(Debug, Args)]
pub(super) struct ConsentArgs {
    #[command(subcommand)]
    act: ConsentAct,
    #[command(flatten)]
    at: Connection,
}

pub(super) const CONSENT_EXAMPLES: &str = "\
Examples:
  Who has asked, and has no answer yet?
    mimi-gateway consent list

  Let bob reach alice, in every room:
    mimi-gateway consent grant mimi://b.example/u/bob mimi://a.example/u/@alice:matrix.a.example

Whole providers are let in by [consent] allow in the configuration.";

#[derive(Debug, Subcommand)]
enum ConsentAct {
    /// Who has asked to reach whom, and what was answered.
    List,
    /// Let somebody reach one of our users. They need not have asked.
    Grant(Scope),
    /// Take that back. They are not told unless they ask again.
    Revoke(Scope),
}

#[derive(Debug, Args)]
struct Scope {
    /// Who wants to reach one of our users.
    requester: UserUri,
    /// Our user.
    target: UserUri,
    /// In this room only.
    #[arg(long, value_name = "URI")]
    room: Option<RoomUri>,
}

pub(super) async fn room(RoomArgs { act, at }: RoomArgs, out: &mut impl Write) -> Result<(), Failure> {
    Answer { json: at.json, out }.room(&at.open()?, act).await
}

pub(super) async fn consent(ConsentArgs { act, at }: ConsentArgs, out: &mut impl Write) -> Result<(), Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Answer { json: at.json, out }.consent(&at.open()?, act, now).await
}

pub(super) async fn status(at: &Connection, out: &mut impl Write) -> Result<(), Failure> {
    Answer { json: at.json, out }.status(&at.open()?).await
}

pub(super) struct Answer<'a, W> {
    pub(super) json: bool,
    pub(super) out: &'a mut W,
}

impl<W: Write> Answer<'_, W> {
    async fn room(mut self, gateway: &impl Operator, act: RoomAct) -> Result<(), Failure> {
        match act {
            RoomAct::List => self.rooms(gateway).await,
            RoomAct::Show { room } => self.show(gateway, &room).await,
            RoomAct::Create { adapter, conversation, name, room } => {
                let conversation = ConversationId::new(conversation);
                let room = gateway.create_room(CreateRoom { adapter, conversation, name, room }).await?;
                self.done(&Made { room: &room }, format_args!("{room}"))
            }
            RoomAct::Direct { user, with } => {
                let room = gateway.direct(CreateDirect { user, with }).await?;
                self.done(&Made { room: &room }, format_args!("{room}"))
            }
            RoomAct::Find { provider, handle, nick, email } => {
                let found = gateway.find(Find { provider: provider.clone(), handle, nick, email }).await?;
                if self.json {
                    return self.json(&found);
                }
                match found.as_slice() {
                    [] => writeln!(self.out, "{provider} knows nobody by that who wants to be found.")?,
                    found => found.iter().try_for_each(|user| writeln!(self.out, "{user}"))?,
                }
                Ok(())
            }
            RoomAct::Invite { room, user } => {
                gateway.invite(&room, &user).await?;
                self.done(&Nothing {}, format_args!("{user} is being invited; `room show` says what becomes of it."))
            }
            RoomAct::Link { room, adapter, conversation } => {
                let conversation = ConversationId::new(conversation);
                gateway.link(&room, Link { adapter, conversation: conversation.clone() }).await?;
                self.done(&Nothing {}, format_args!("{room} and {conversation} are linked."))
            }
            RoomAct::Join { link, user, adapter, conversation } => {
                let to = Link { adapter, conversation: ConversationId::new(conversation) };
                gateway.join(Join { link, user: user.clone(), to }).await?;
                self.done(&Nothing {}, format_args!("{user} is joining; `room list` says what becomes of it."))
            }
            RoomAct::Code(act) => self.code(gateway, act).await,
            RoomAct::Unlink { room, yes, now } => {
                gateway.unlink(&room, Unlink { yes, now }).await?;
                let undo = if now { "" } else { " For a week, `room relink` takes that back." };
                self.done(&Nothing {}, format_args!("{room} is no longer linked.{undo}"))
            }
            RoomAct::Relink { room } => {
                gateway.relink(&room).await?;
                self.done(&Nothing {}, format_args!("{room} is linked again, as it was."))
            }
        }
    }

    async fn code(mut self, gateway: &impl Operator, act: CodeAct) -> Result<(), Failure> {
        match act {
            CodeAct::Make { room, uses, days } => {
                let link = gateway.make_code(&room, NewCode { uses, days }).await?;
                self.done(&NewLink { link: &link }, format_args!("{link}"))
            }
            CodeAct::List { room } => {
                let codes = gateway.codes(&room).await?;
                if self.json {
                    return self.json(&codes);
                }
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                let row = |code: &CodeSummary| {
                    let left = table::duration(code.expires.saturating_sub(now));
                    [code.id.clone(), code.uses.to_string(), format!("in {left}")]
                };
                Ok(table::print(self.out, ["CODE", "USES LEFT", "EXPIRES"], codes.iter().map(row).collect())?)
            }
            CodeAct::Withdraw { room, id } => {
                gateway.withdraw_code(&room, &id).await?;
                self.done(&Nothing {}, format_args!("Nobody comes into {room} by {id} any more."))
            }
        }
    }

    async fn rooms(mut self, gateway: &impl Operator) -> Result<(), Failure> {
        let rooms = gateway.rooms().await?;
        if self.json {
            return self.json(&rooms);
        }
        // Where nothing comes from the network, that is what somebody who looks for a message wants to read.
        let adapter = |room: &crate::admin::RoomSummary| match (&room.adapter, room.session) {
            (Some(adapter), Some(AdapterState::Up) | None) => adapter.clone(),
            (Some(adapter), Some(state)) => format!("{adapter} ({})", state.word()),
            (None, _) => "-".into(),
        };
        let row = |room: &crate::admin::RoomSummary| {
            let conversation = room.conversation.as_ref().map_or("-", ConversationId::as_str).to_owned();
            [
                room.room.to_string(),
                room.state.clone(),
                room.participants.to_string(),
                room.epoch.to_string(),
                room.queued.to_string(),
                adapter(room),
                conversation,
            ]
        };
        let head = ["ROOM", "STATE", "PEOPLE", "EPOCH", "WAITING", "ADAPTER", "CONVERSATION"];
        Ok(table::print(self.out, head, rooms.iter().map(row).collect())?)
    }

    async fn show(mut self, gateway: &impl Operator, room: &RoomUri) -> Result<(), Failure> {
        let room = gateway.room(room).await?;
        if self.json {
            return self.json(&room);
        }
        let it = &room.summary;
        let name = room.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        writeln!(self.out, "{}{name}", it.room)?;
        writeln!(self.out, "{}, epoch {}, hub {}, {} waiting", it.state, it.epoch, it.hub, it.queued)?;
        if let (Some(adapter), Some(conversation)) = (&it.adapter, &it.conversation) {
            writeln!(self.out, "linked with {conversation} ({adapter})")?;
        }
        writeln!(self.out)?;
        let people = room.participants.iter().map(|it| [it.user.to_string(), it.role.clone()]).collect();
        table::print(self.out, ["PARTICIPANT", "ROLE"], people)?;
        if !room.invites.is_empty() {
            writeln!(self.out)?;
            let invited = room.invites.iter().map(|it| [it.user.to_string(), it.state.clone()]).collect();
            table::print(self.out, ["INVITED", "STATE"], invited)?;
        }
        Ok(())
    }

    async fn consent(mut self, gateway: &impl Operator, act: ConsentAct, now: u64) -> Result<(), Failure> {
        let scope = |Scope { requester, target, room }| ConsentScope { requester, target, room };
        match act {
            ConsentAct::List => {
                let requests = gateway.consents().await?;
                if self.json {
                    return self.json(&requests);
                }
                let row = |request: &crate::admin::ConsentRequest| {
                    [
                        request.scope.requester.to_string(),
                        request.scope.target.to_string(),
                        request.scope.room.as_ref().map_or("every room".into(), ToString::to_string),
                        request.state.clone(),
                        format!("{} ago", table::duration(now.saturating_sub(request.since))),
                    ]
                };
                let head = ["REQUESTER", "TARGET", "ROOM", "STATE", "SINCE"];
                Ok(table::print(self.out, head, requests.iter().map(row).collect())?)
            }
            ConsentAct::Grant(given) => {
                let scope = scope(given);
                gateway.grant(scope.clone()).await?;
                self.done(&Nothing {}, format_args!("{} may reach {}.", scope.requester, scope.target))
            }
            ConsentAct::Revoke(given) => {
                let scope = scope(given);
                gateway.revoke(scope.clone()).await?;
                self.done(&Nothing {}, format_args!("{} may no longer reach {}.", scope.requester, scope.target))
            }
        }
    }

    async fn status(mut self, gateway: &impl Operator) -> Result<(), Failure> {
        let (status, not_ready) = (gateway.status().await?, gateway.not_ready().await);
        if self.json {
            return self.json(&StatusAndReadiness { status: &status, not_ready: &not_ready });
        }
        let ready = if not_ready.is_empty() { "ready" } else { "NOT READY" };
        writeln!(self.out, "{}, mimi-gateway {}: {ready}", status.domain, status.version)?;
        for reason in &not_ready {
            writeln!(self.out, "  {reason}")?;
        }
        let oldest = status.outbox.oldest_age_s.map(table::duration);
        let oldest = oldest.map(|age| format!(", the oldest for {age}")).unwrap_or_default();
        writeln!(self.out, "{} deliveries waiting{oldest}", status.outbox.queued)?;
        let outbox = &status.outbox;
        if outbox.failing > 0 {
            writeln!(self.out, "{} destination(s) take nothing at the moment: `outbox list`", outbox.failing)?;
        }
        if !outbox.dead.is_empty() {
            let causes: Vec<_> = outbox.dead.iter().map(|it| format!("{} {}", it.count, it.cause)).collect();
            writeln!(self.out, "could not be delivered: {}: `outbox list --dead`", causes.join(", "))?;
        }
        if status.breaker.trips > 0 {
            writeln!(self.out, "THE BREAKER HOLDS {} thing(s): `breaker list`", status.breaker.held)?;
        }
        writeln!(self.out)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let row = |it: &crate::admin::AdapterStatus| {
            let lasts = it.since.map(|since| table::duration(now.saturating_sub(since))).unwrap_or_default();
            [it.name.clone(), it.kind.clone(), it.state.word().to_owned(), lasts]
        };
        // Why, the reasons above have said.
        let head = ["ADAPTER", "KIND", "STATE", "FOR"];
        Ok(table::print(self.out, head, status.adapters.iter().map(row).collect())?)
    }

    pub(super) fn done(&mut self, json: &impl Serialize, words: std::fmt::Arguments<'_>) -> Result<(), Failure> {
        if self.json { self.json(json) } else { Ok(writeln!(self.out, "{words}")?) }
    }

    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(Failure::failed)?;
        Ok(writeln!(self.out, "{text}")?)
    }
}

#[derive(Serialize)]
struct NewLink<'a> {
    link: &'a str,
}

#[derive(Serialize)]
struct Made<'a> {
    room: &'a RoomUri,
}

#[derive(Serialize)]
pub(super) struct Nothing {}

#[derive(Serialize)]
struct StatusAndReadiness<'a> {
    #[serde(flatten)]
    status: &'a crate::admin::Status,
    not_ready: &'a [String],
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        admin::stub::Stub,
        cli::{Cli, Command},
    };

    /// What is printed when `command` is typed.
    async fn printed(gateway: &Stub, command: &str) -> Result<String, Failure> {
        let typed = command.split(' ').filter(|word| !word.is_empty());
        let cli = Cli::try_parse_from(std::iter::once("mimi-gateway").chain(typed)).unwrap();
        let mut out = Vec::new();
        match cli.command {
            Command::Room(it) => Answer { json: it.at.json, out: &mut out }.room(gateway, it.act).await?,
            Command::Consent(it) => {
                Answer { json: it.at.json, out: &mut out }.consent(gateway, it.act, 1_700_000_600).await?
            }
            Command::Status(at) => Answer { json: at.json, out: &mut out }.status(gateway).await?,
            Command::Outbox(it) => {
                Answer { json: it.at.json, out: &mut out }.outbox(gateway, it.act, 1_700_000_600).await?
            }
            Command::Breaker(it) => {
                Answer { json: it.at.json, out: &mut out }.breaker(gateway, it.act, 1_700_000_600).await?
            }
            Command::Abuse(it) => {
                Answer { json: it.at.json, out: &mut out }.abuse(gateway, it.act, 1_700_000_600).await?
            }
            other => panic!("{other:?}"),
        }
        Ok(String::from_utf8(out).unwrap())
    }

    #[tokio::test]
    async fn people_read_tables() {
        let gateway = Stub { participants: 2, ..Stub::default() };
        let rooms = "\
ROOM                          STATE   PEOPLE  EPOCH  WAITING  ADAPTER  CONVERSATION
mimi://a.example/r/clubhouse  active  2       7      2        matrix   !abc:matrix.a.example
";
        let show = "\
mimi://a.example/r/clubhouse (Clubhouse)
active, epoch 7, hub a.example, 2 waiting
linked with !abc:matrix.a.example (matrix)

PARTICIPANT             ROLE
mimi://b.example/u/bob  ordinary_user

INVITED                   STATE
mimi://c.example/u/cathy  waits for consent
";
        let consents = "\
REQUESTER               TARGET                                      ROOM                          STATE      SINCE
mimi://b.example/u/bob  mimi://a.example/u/@alice:matrix.a.example  mimi://a.example/r/clubhouse  requested  10 min ago
";
        let status = "\
a.example, mimi-gateway 0.1.0: ready
3 deliveries waiting, the oldest for 12 s
1 destination(s) take nothing at the moment: `outbox list`
could not be delivered: 2 refused: `outbox list --dead`
THE BREAKER HOLDS 40 thing(s): `breaker list`

ADAPTER  KIND    STATE  FOR
work     matrix  up
";
        let queues = "\
DESTINATION                 HEAD  WAITING  OLDEST  ATTEMPTS  NEXT TRY  PROBLEM
hub mimi://b.example/r/tea  17    3        2 h     64        in 90 s   b.example can't be reached

1 could not be delivered: `mimi-gateway outbox list --dead`
";
        let dead = "\
ID  KIND     OF                      FOR                                  AGE     CAUSE    ARRIVED  REASON
12  content  mimi://b.example/u/bob  portal mimi://a.example/r/clubhouse  10 min  refused  no       no shouting here
";
        let letter = "\
12: a content of mimi://b.example/u/bob
for portal mimi://a.example/r/clubhouse
accepted 10 min ago, 2 attempt(s)
given up 5 min ago; it was not delivered
refused: no shouting here
";
        let held = "\
ID  WHAT    HELD  WHERE                         SINCE
3   leaves  40    mimi://a.example/r/clubhouse  10 min ago
";
        let reports = "\
ID  WHO                       ROOM                          REPORTED BY  MESSAGES  SINCE
5   mimi://c.example/u/cathy  mimi://a.example/r/clubhouse  b.example    1         10 min ago
";
        let report = "\
5: mimi://c.example/u/cathy in mimi://a.example/r/clubhouse
reported 10 min ago by b.example for somebody who is not named

Spam.

proven, sent 26 min ago
";
        let kept = format!(
            "\
MESSAGE                                                           BY                      SENT
{}  mimi://b.example/u/bob  10 min ago
",
            "01".repeat(32)
        );
        assert_eq!(printed(&gateway, "abuse list").await.unwrap(), reports);
        assert_eq!(printed(&gateway, "abuse show 5").await.unwrap(), report);
        assert_eq!(printed(&gateway, "abuse show 5 --content").await.unwrap(), format!("{report}Buy gold!\n"));
        assert_eq!(printed(&gateway, "abuse kept mimi://a.example/r/tea").await.unwrap(), kept);
        assert_eq!(printed(&gateway, "outbox list").await.unwrap(), queues);
        assert_eq!(printed(&gateway, "outbox list --dead").await.unwrap(), dead);
        assert_eq!(printed(&gateway, "outbox show 12").await.unwrap(), letter);
        assert_eq!(printed(&gateway, "outbox show 12 --content").await.unwrap(), format!("{letter}\nShh!\n"));
        assert_eq!(printed(&gateway, "room find b.example --nick bob").await.unwrap(), "mimi://b.example/u/bob\n");
        assert_eq!(
            printed(&gateway, "room find b.example --nick ben").await.unwrap(),
            "b.example knows nobody by that who wants to be found.\n"
        );
        assert_eq!(printed(&gateway, "breaker list").await.unwrap(), held);
        assert_eq!(printed(&gateway, "room list").await.unwrap(), rooms);
        assert_eq!(printed(&gateway, "room show mimi://a.example/r/clubhouse").await.unwrap(), show);
        assert_eq!(printed(&gateway, "consent list").await.unwrap(), consents);
        assert_eq!(printed(&gateway, "status").await.unwrap(), status);
    }

    #[tokio::test]
    async fn scripts_read_json() {
        let gateway = Stub { not_ready: vec!["adapter work: signed out".into()], ..Stub::default() };
        let json = async |command: &str| -> serde_json::Value {
            serde_json::from_str(&printed(&gateway, command).await.unwrap()).unwrap()
        };
        assert_eq!(json("room list --json").await[0]["room"], "mimi://a.example/r/clubhouse");
        assert_eq!(
            json("room show mimi://a.example/r/clubhouse --json").await["participants"][0]["role"],
            "ordinary_user"
        );
        assert_eq!(json("consent list --json").await[0]["requester"], "mimi://b.example/u/bob");
        let status = json("status --json").await;
        assert_eq!(
            (&status["outbox"]["queued"], &status["not_ready"][0]),
            (&3.into(), &"adapter work: signed out".into())
        );
        let created = json("room create --adapter matrix --conversation !abc --json").await;
        assert_eq!(created, serde_json::json!({ "room": "mimi://a.example/r/clubhouse" }));
        assert_eq!(json("room invite mimi://a.example/r/x mimi://b.example/u/bob --json").await, serde_json::json!({}));
    }

    #[tokio::test]
    async fn what_is_typed_is_what_is_asked_for() {
        let gateway = Stub::default();
        for command in [
            "room create --adapter matrix --conversation !abc --name Tea --room mimi://a.example/r/tea",
            "room direct mimi://a.example/u/alice mimi://b.example/u/bob",
            "room find b.example --nick bob --email bob@b.example",
            "room find b.example --handle im:bob@b.example",
            "room invite mimi://a.example/r/tea mimi://b.example/u/bob",
            "room link mimi://b.example/r/tea --adapter xmpp --conversation tea@muc.a.example",
            "room join mimi://b.example/r/tea#3f6c --as mimi://a.example/u/alice --adapter xmpp --conversation t@muc",
            "room code make mimi://a.example/r/tea",
            "room code make mimi://a.example/r/tea --uses 5 --days 2",
            "room code list mimi://a.example/r/tea",
            "room code withdraw mimi://a.example/r/tea 0badcafe",
            "room unlink mimi://a.example/r/tea",
            "room unlink mimi://a.example/r/tea --now",
            "room relink mimi://a.example/r/tea",
            "outbox retry 12",
            "outbox retry --all --room mimi://a.example/r/tea",
            "outbox redirect 12 --to mimi://a.example/r/tea",
            "outbox drop 12 --yes",
            "breaker allow 3",
            "breaker refuse 3",
            "abuse drop 5",
            "abuse report mimi://a.example/r/tea mimi://b.example/u/bob --message 01 --message 02 --by mimi://a.example/u/alice",
            "consent grant mimi://b.example/u/bob mimi://a.example/u/alice --room mimi://a.example/r/tea",
            "consent revoke mimi://b.example/u/bob mimi://a.example/u/alice",
        ] {
            printed(&gateway, command).await.unwrap();
        }
        let expected = [
            r#"create matrix !abc Some("Tea") Some(RoomUri { uri: "mimi://a.example/r/tea", domain: Domain("a.example") })"#,
            "direct mimi://a.example/u/alice mimi://b.example/u/bob",
            r#"find b.example None Some("bob") Some("bob@b.example")"#,
            r#"find b.example Some("im:bob@b.example") None None"#,
            "invite mimi://a.example/r/tea mimi://b.example/u/bob",
            "link mimi://b.example/r/tea xmpp tea@muc.a.example",
            "join mimi://b.example/r/tea#3f6c mimi://a.example/u/alice xmpp t@muc",
            "code mimi://a.example/r/tea 1 7",
            "code mimi://a.example/r/tea 5 2",
            "codes mimi://a.example/r/tea",
            "withdraw mimi://a.example/r/tea 0badcafe",
            "unlink mimi://a.example/r/tea",
            "unlink mimi://a.example/r/tea now",
            "relink mimi://a.example/r/tea",
            "retry Some(12) None",
            r#"retry None Some("mimi://a.example/r/tea")"#,
            "redirect 12 mimi://a.example/r/tea",
            "drop 12",
            "breaker 3 true",
            "breaker 3 false",
            "drop report 5",
            r#"report mimi://a.example/r/tea mimi://b.example/u/bob ["01", "02"] "" Some("mimi://a.example/u/alice")"#,
            r#"grant mimi://b.example/u/bob mimi://a.example/u/alice Some("mimi://a.example/r/tea")"#,
            "revoke mimi://b.example/u/bob mimi://a.example/u/alice None",
        ];
        assert_eq!(*gateway.asked.lock().unwrap(), expected);
    }

    #[tokio::test]
    async fn a_refusal_is_a_failure_with_the_next_step() {
        let gateway = Stub { participants: 11, ..Stub::default() };
        let Err(Failure::Failed(why)) = printed(&gateway, "room unlink mimi://a.example/r/tea").await else { panic!() };
        assert!(why.ends_with("(say it again with --yes if that is meant)"), "{why}");
        printed(&gateway, "room unlink mimi://a.example/r/tea --yes").await.unwrap();
        let Err(Failure::Failed(why)) = printed(&gateway, "outbox drop 12").await else { panic!() };
        assert_eq!(
            why,
            "12 is a content of mimi://b.example/u/bob for portal mimi://a.example/r/clubhouse, and dropping it \
             loses it for good (say it again with --yes)"
        );
    }
}
