//! A gateway with one room, that writes down what it was asked to do.

use std::sync::Mutex;

use super::*;

pub(crate) fn user(uri: &str) -> UserUri {
    UserUri::parse(uri).unwrap()
}

pub(crate) fn clubhouse() -> RoomUri {
    RoomUri::parse("mimi://a.example/r/clubhouse").unwrap()
}

pub(crate) fn summary(participants: u64) -> RoomSummary {
    RoomSummary {
        room: clubhouse(),
        hub: Domain::parse("a.example").unwrap(),
        adapter: Some("matrix".into()),
        session: Some(AdapterState::Up),
        conversation: Some(ConversationId::new("!abc:matrix.a.example")),
        state: "active".into(),
        participants,
        epoch: 7,
        queued: 2,
    }
}

pub(crate) fn scope() -> ConsentScope {
    ConsentScope {
        requester: user("mimi://b.example/u/bob"),
        target: user("mimi://a.example/u/@alice:matrix.a.example"),
        room: Some(clubhouse()),
    }
}

pub(crate) fn dead_letter() -> Delivery {
    Delivery {
        id: 12,
        destination: "portal mimi://a.example/r/clubhouse".into(),
        kind: "content".into(),
        from: Some(user("mimi://b.example/u/bob")),
        accepted: 1_700_000_000,
        died: Some(1_700_000_300),
        attempts: 2,
        cause: Some("refused".into()),
        reason: Some("no shouting here".into()),
        certain: true,
        content: None,
    }
}

pub(crate) fn abuse() -> AbuseSummary {
    AbuseSummary {
        id: 5,
        room: clubhouse(),
        provider: "b.example".into(),
        reporter: None,
        user: "mimi://c.example/u/cathy".into(),
        messages: 1,
        since: 1_700_000_000,
    }
}

#[derive(Default)]
pub(crate) struct Stub {
    pub asked: Mutex<Vec<String>>,
    pub participants: u64,
    pub not_ready: Vec<String>,
}

impl Stub {
    fn note(&self, what: String) {
        self.asked.lock().unwrap().push(what);
    }
}

#[async_trait]
impl Operator for Stub {
    async fn status(&self) -> Result<Status, OperatorError> {
        Ok(Status {
            version: "0.1.0".into(),
            domain: Domain::parse("a.example").unwrap(),
            adapters: vec![AdapterStatus::of("work", "matrix", &Session::Up)],
            outbox: OutboxStatus {
                queued: 3,
                oldest_age_s: Some(12),
                failing: 1,
                dead: vec![DeadStatus { cause: "refused".into(), count: 2, oldest_age_s: 3600 }],
            },
            breaker: BreakerStatus { trips: 1, held: 40 },
        })
    }

    async fn not_ready(&self) -> Vec<String> {
        self.not_ready.clone()
    }

    async fn rooms(&self) -> Result<Vec<RoomSummary>, OperatorError> {
        Ok(vec![summary(self.participants)])
    }

    async fn room(&self, room: &RoomUri) -> Result<RoomDetail, OperatorError> {
        if *room != clubhouse() {
            return Err(OperatorError::new(ErrorKind::NotFound, format!("there is no room {room}"), "try `room list`"));
        }
        Ok(RoomDetail {
            summary: summary(self.participants),
            name: Some("Clubhouse".into()),
            participants: vec![Participant { user: user("mimi://b.example/u/bob"), role: "ordinary_user".into() }],
            invites: vec![Invite { user: user("mimi://c.example/u/cathy"), state: "waits for consent".into() }],
        })
    }

    async fn create_room(&self, new: CreateRoom) -> Result<RoomUri, OperatorError> {
        self.note(format!("create {} {} {:?} {:?}", new.adapter, new.conversation, new.name, new.room));
        Ok(clubhouse())
    }

    async fn direct(&self, new: CreateDirect) -> Result<RoomUri, OperatorError> {
        self.note(format!("direct {} {}", new.user, new.with));
        Ok(clubhouse())
    }

    async fn invite(&self, room: &RoomUri, user: &UserUri) -> Result<(), OperatorError> {
        self.note(format!("invite {room} {user}"));
        Ok(())
    }

    async fn link(&self, room: &RoomUri, link: Link) -> Result<(), OperatorError> {
        self.note(format!("link {room} {} {}", link.adapter, link.conversation));
        Ok(())
    }

    async fn join(&self, new: Join) -> Result<(), OperatorError> {
        self.note(format!("join {} {} {} {}", new.link, new.user, new.to.adapter, new.to.conversation));
        Ok(())
    }

    async fn make_code(&self, room: &RoomUri, new: NewCode) -> Result<String, OperatorError> {
        self.note(format!("code {room} {} {}", new.uses, new.days));
        Ok(format!("{room}#3f6c"))
    }

    async fn codes(&self, room: &RoomUri) -> Result<Vec<CodeSummary>, OperatorError> {
        self.note(format!("codes {room}"));
        Ok(vec![CodeSummary { id: "0badcafe".into(), uses: 2, expires: 4_000_000_000 }])
    }

    async fn withdraw_code(&self, room: &RoomUri, id: &str) -> Result<(), OperatorError> {
        self.note(format!("withdraw {room} {id}"));
        Ok(())
    }

    async fn unlink(&self, room: &RoomUri, how: Unlink) -> Result<(), OperatorError> {
        ask_before_unlink(room, self.participants, how)?;
        self.note(format!("unlink {room}{}", if how.now { " now" } else { "" }));
        Ok(())
    }

    async fn relink(&self, room: &RoomUri) -> Result<(), OperatorError> {
        self.note(format!("relink {room}"));
        Ok(())
    }

    async fn outbox(&self, room: Option<&RoomUri>) -> Result<Outbox, OperatorError> {
        self.note(format!("outbox {:?}", room.map(ToString::to_string)));
        Ok(Outbox {
            queues: vec![QueueStatus {
                destination: "hub mimi://b.example/r/tea".into(),
                head: 17,
                waiting: 3,
                oldest_age_s: 7200,
                attempts: 64,
                failing_s: 7000,
                problem: Some("b.example can't be reached".into()),
                next_try_s: Some(90),
            }],
            dead: vec![dead_letter()],
        })
    }

    async fn delivery(&self, id: i64, content: bool) -> Result<Delivery, OperatorError> {
        Ok(Delivery { id, content: content.then(|| "Shh!".into()), ..dead_letter() })
    }

    async fn trace(&self, id: &str) -> Result<Vec<Traced>, OperatorError> {
        if id == "$never" {
            return Err(never_came(id));
        }
        let hop = |place: &str, state: &str, at| Hop::new(place.into(), state, Some(at));
        let written = hop("matrix !abc:matrix.a.example", "written", 1_760_000_000_000);
        let taken = hop("provider b.example", "taken", 1_760_000_000_400);
        let dead = hop("provider c.example", "dead letter", 1_760_600_000_000);
        Ok(vec![Traced {
            message: format!("01{}", "ab".repeat(31)),
            author: user("mimi://a.example/u/alice"),
            room: clubhouse(),
            hops: vec![
                Hop { native: vec![id.to_owned()], ..written },
                hop("hub a.example", "accepted", 1_760_000_000_100),
                Hop { attempts: Some(2), ..taken },
                Hop {
                    attempts: Some(64),
                    problem: Some("expired: it could not be reached for 7 days".into()),
                    letter: Some(17),
                    ..dead
                },
            ],
        }])
    }

    async fn retry(&self, which: Letters) -> Result<u64, OperatorError> {
        self.note(format!("retry {:?} {:?}", which.id, which.room.map(|room| room.to_string())));
        Ok(1)
    }

    async fn redirect(&self, id: i64, room: &RoomUri) -> Result<(), OperatorError> {
        self.note(format!("redirect {id} {room}"));
        Ok(())
    }

    async fn drop_letter(&self, id: i64) -> Result<(), OperatorError> {
        self.note(format!("drop {id}"));
        Ok(())
    }

    async fn trips(&self) -> Result<Vec<TripStatus>, OperatorError> {
        let scope = clubhouse().to_string();
        Ok(vec![TripStatus { id: 3, what: "leaves".into(), scope, since: 1_700_000_000, held: 40 }])
    }

    async fn decide_trip(&self, id: i64, allow: bool) -> Result<u64, OperatorError> {
        self.note(format!("breaker {id} {allow}"));
        Ok(40)
    }

    async fn abuse_reports(&self) -> Result<Vec<AbuseSummary>, OperatorError> {
        Ok(vec![abuse()])
    }

    async fn abuse_report(&self, id: i64, content: bool) -> Result<AbuseDetail, OperatorError> {
        let message = ReportedMessage { accepted: 1_699_999_000, content: content.then(|| "Buy gold!".into()) };
        Ok(AbuseDetail { summary: AbuseSummary { id, ..abuse() }, note: "Spam.".into(), messages: vec![message] })
    }

    async fn drop_abuse_report(&self, id: i64) -> Result<(), OperatorError> {
        self.note(format!("drop report {id}"));
        Ok(())
    }

    async fn kept_messages(&self, _: &RoomUri) -> Result<Vec<KeptMessage>, OperatorError> {
        let (message, sender) = ("01".repeat(32), user("mimi://b.example/u/bob"));
        Ok(vec![KeptMessage { message, sender, accepted: 1_700_000_000 }])
    }

    async fn report_abuse(&self, new: ReportAbuse) -> Result<(), OperatorError> {
        let by = new.reporter.map(|reporter| reporter.to_string());
        self.note(format!("report {} {} {:?} {:?} {by:?}", new.room, new.user, new.messages, new.note));
        Ok(())
    }

    async fn find(&self, find: Find) -> Result<Vec<UserUri>, OperatorError> {
        self.note(format!("find {} {:?} {:?} {:?}", find.provider, find.handle, find.nick, find.email));
        Ok(if find.nick.as_deref() == Some("bob") { vec![user("mimi://b.example/u/bob")] } else { Vec::new() })
    }

    async fn consents(&self) -> Result<Vec<ConsentRequest>, OperatorError> {
        Ok(vec![ConsentRequest { scope: scope(), state: "requested".into(), since: 1_700_000_000 }])
    }

    async fn grant(&self, scope: ConsentScope) -> Result<(), OperatorError> {
        self.note(format!("grant {} {} {:?}", scope.requester, scope.target, scope.room.map(|room| room.to_string())));
        Ok(())
    }

    async fn revoke(&self, scope: ConsentScope) -> Result<(), OperatorError> {
        self.note(format!("revoke {} {} {:?}", scope.requester, scope.target, scope.room.map(|room| room.to_string())));
        Ok(())
    }
}
