//! Somebody writes what they should not, and the room's hub hears of it, with proof.

use std::time::Duration;

use mimi_adapter::UserUri;
use mimi_gateway::{
    admin::{Operator, ReportAbuse},
    core::Fault,
    janitor::clear_away,
    mimi::{
        tls::Tls,
        wire::{AbuseReport, AbusiveMessage, AppDataDictionary, Fanout, FanoutMessage, Protocol, SubmitMessageRequest},
    },
};

use crate::{
    turncoat::{framed, text},
    world::{World, domain, tea},
};

const TEA: &str = "mimi://a.example/r/tea";
const CATHY: &str = "mimi://c.example/u/cathy";

fn user(uri: &str) -> UserUri {
    uri.parse().unwrap()
}

/// A report of somebody, in nobody's name.
pub fn report(who: &str, messages: Vec<AbusiveMessage>) -> AbuseReport {
    AbuseReport {
        reporting_user: None,
        alleged_abuser_uri: who.parse().unwrap(),
        reason_code: 0,
        note: String::new(),
        messages,
        abuse_extensions: AppDataDictionary::default(),
    }
}

impl World {
    /// The IDs of the messages that a provider could report of the room `tea`, and by whom they are.
    async fn kept(&self, provider: &str) -> Vec<(String, String)> {
        let kept = self.desk(provider).kept_messages(&tea()).await.unwrap();
        kept.into_iter().map(|it| (it.message, it.sender.to_string())).collect()
    }

    /// What Cathy said first, as Bob's provider has it.
    async fn proof(&self) -> AbusiveMessage {
        self.cathy.says("Buy gold!").await;
        self.bob.reads("cathy (c.example): Buy gold!").await;
        let evidence = self.core("b.example").write(|_, tx| Box::pin(async move { Ok(tx.evidence(&tea(), 1).await?) }));
        evidence.await.unwrap().remove(0).message
    }
}

#[tokio::test]
async fn what_somebody_has_written_is_reported_to_the_hub_and_proven() {
    let world = World::of_three().await;
    world.cathy.says("Buy gold!").await;
    world.cathy.says("Buy silver!").await;
    world.bob.reads("cathy (c.example): Buy silver!").await;
    let kept = world.kept("b.example").await;
    assert_eq!(kept.iter().map(|(_, by)| by.as_str()).collect::<Vec<_>>(), [CATHY, CATHY]);
    let new = ReportAbuse {
        room: tea(),
        user: user(CATHY),
        messages: kept.into_iter().map(|(id, _)| id).collect(),
        note: "She goes on and on.".into(),
        reporter: Some(world.bob.uri().clone()),
    };
    world.desk("b.example").report_abuse(new.clone()).await.unwrap();
    let hub = world.desk("a.example");
    world.eventually("it is reported", async || !hub.abuse_reports().await.unwrap().is_empty()).await;
    let reports = hub.abuse_reports().await.unwrap();
    let [it] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!((it.provider.as_str(), it.reporter.as_deref()), ("b.example", Some("mimi://b.example/u/bob")));
    assert_eq!((it.user.as_str(), it.messages), (CATHY, 2));
    let detail = hub.abuse_report(it.id, false).await.unwrap();
    assert_eq!(detail.note, "She goes on and on.");
    assert!(detail.messages.iter().all(|message| message.content.is_none()));
    let detail = hub.abuse_report(it.id, true).await.unwrap();
    let mut words: Vec<_> = detail.messages.into_iter().filter_map(|message| message.content).collect();
    words.sort();
    assert_eq!(words, ["Buy gold!", "Buy silver!"]);
    // The same from the hub's own side.
    let own = world.kept("a.example").await.into_iter().map(|(id, _)| id).collect();
    let new = ReportAbuse { messages: own, reporter: None, ..new };
    hub.report_abuse(new).await.unwrap();
    assert_eq!(hub.abuse_reports().await.unwrap().len(), 2);
    hub.drop_abuse_report(it.id).await.unwrap();
    assert_eq!(hub.abuse_reports().await.unwrap().len(), 1);
    assert_eq!(hub.abuse_report(it.id, false).await.unwrap_err().message, "there is no such report");
}

#[tokio::test]
async fn only_what_is_kept_and_theirs_can_be_reported() {
    let world = World::of_three().await;
    world.cathy.says("Buy gold!").await;
    world.bob.reads("cathy (c.example): Buy gold!").await;
    let (id, _) = world.kept("b.example").await.remove(0);
    let desk = world.desk("b.example");
    let new = |user: &str, message: &str, reporter: Option<&str>| ReportAbuse {
        room: tea(),
        user: self::user(user),
        messages: vec![message.into()],
        note: String::new(),
        reporter: reporter.map(self::user),
    };
    let unknown = "01".repeat(32);
    for (new, problem) in [
        (new(CATHY, &unknown, None), format!("the message {unknown} is not kept (`abuse kept {TEA}`)")),
        (new(CATHY, "gold", None), format!("the message gold is not kept (`abuse kept {TEA}`)")),
        (new("mimi://a.example/u/alice", &id, None), format!("the message {id} is by {CATHY}")),
        (new(CATHY, &id, Some("mimi://a.example/u/alice")), "the reporter is not one of our users".into()),
    ] {
        assert_eq!(desk.report_abuse(new).await.unwrap_err().message, problem);
    }
    // After some days it is gone.
    world.clock.moves(Duration::from_secs(8 * 24 * 3600));
    clear_away(world.core("b.example")).await.unwrap();
    assert_eq!(world.kept("b.example").await, []);
}

#[tokio::test]
async fn a_report_of_what_the_hub_has_never_seen_is_refused() {
    let world = World::of_three().await;
    let (proof, peer) = (world.proof().await, world.peer("b.example"));
    let mut words = proof.clone();
    words.message_content = framed(&text("Kill them!", &user(CATHY), &tea())).into();
    let mut octets = proof.message_content.to_vec();
    *octets.last_mut().unwrap() ^= 1;
    let mut changed = proof.clone();
    changed.message_content = octets.into();
    let mut later = proof.clone();
    later.accepted_timestamp += 1;
    let mut frank = proof.clone();
    frank.frank.server_frank[0] ^= 1;
    let mut signature = proof.clone();
    signature.frank.franking_integrity_signature = vec![7; 64].into();
    let mut suite = proof.clone();
    suite.frank.franking_signature_ciphersuite = 3;
    let reports =
        async |report: AbuseReport| peer.posts("a.example", "reportAbuse", TEA, &report.encode()).await.status;
    for (what, message) in [
        ("other words", words),
        ("other octets", changed),
        ("another time", later),
        ("another frank", frank.clone()),
        ("another signature", signature),
        ("another suite", suite),
    ] {
        assert_eq!(reports(report(CATHY, vec![message])).await, 403, "{what}");
    }
    assert_eq!(reports(report("mimi://a.example/u/alice", vec![proof.clone()])).await, 403, "Alice's");
    let by_alice = AbuseReport {
        reporting_user: Some("mimi://a.example/u/alice".parse().unwrap()),
        ..report(CATHY, vec![proof.clone()])
    };
    assert_eq!(reports(by_alice).await, 403, "in Alice's name");
    assert_eq!(reports(report("mimi://c.example", Vec::new())).await, 403, "of a provider");
    assert_eq!(reports(report(CATHY, vec![proof.clone(); 33])).await, 400, "too many");
    let long = AbuseReport { note: "x".repeat(300_000), ..report(CATHY, Vec::new()) };
    assert_eq!(reports(long).await, 400, "too long");
    assert_eq!(world.desk("a.example").abuse_reports().await.unwrap(), []);
    // Of several, those are kept that are proven; and the same report twice is one.
    let some = report(CATHY, vec![frank, proof]);
    assert_eq!((reports(some.clone()).await, reports(some).await), (201, 201));
    let kept = world.desk("a.example").abuse_reports().await.unwrap();
    assert_eq!(kept.iter().map(|it| it.messages).collect::<Vec<_>>(), [1]);
    world.still_talk().await;
}

#[tokio::test]
async fn who_was_never_in_the_room_learns_nothing_and_who_was_is_heard() {
    let world = World::of_three().await;
    let proof = world.proof().await;
    let empty = report(CATHY, Vec::new()).encode();
    // A provider that has nobody in the room, and a room that is not there.
    let stranger = World::of_two().await;
    let peer = stranger.peer("c.example");
    for room in [TEA, "mimi://a.example/r/coffee"] {
        assert_eq!(peer.posts("a.example", "reportAbuse", room, &empty).await.status, 404, "{room}");
        let forged = report(CATHY, vec![proof.clone()]).encode();
        assert_eq!(peer.posts("a.example", "reportAbuse", room, &forged).await.status, 404, "{room}");
    }
    // Bob has left the room, and what he has of it is proof enough.
    world.person("ben", "b.example").joins().await;
    world.bob.leaves().await;
    world.alice.is_with(&["ben (b.example)", "cathy (c.example)"]).await;
    let peer = world.peer("b.example");
    let said = peer.posts("a.example", "reportAbuse", TEA, &report(CATHY, vec![proof]).encode()).await;
    assert_eq!((said.status, said.body.len()), (201, 0));
}

#[tokio::test]
async fn a_provider_that_reports_without_end_drives_out_its_own_reports() {
    let world = World::of_three().await;
    let core = world.core("a.example");
    for (provider, many) in [("c.example", 1), ("b.example", 70)] {
        for n in 0..many {
            let body = AbuseReport { note: format!("{n}"), ..report(CATHY, Vec::new()) }.encode();
            let done = core.write(move |core, tx| {
                Box::pin(
                    async move { Ok::<_, Fault>(core.abuse_reported(tx, &domain(provider), &tea(), &body).await?) },
                )
            });
            done.await.unwrap();
        }
    }
    let reports = world.desk("a.example").abuse_reports().await.unwrap();
    assert_eq!(reports.iter().filter(|it| it.provider == "c.example").count(), 1);
    assert_eq!(reports.iter().filter(|it| it.provider == "b.example").count(), 64);
    assert_eq!(world.desk("a.example").abuse_report(71, false).await.unwrap().note, "69");
    world.clock.moves(Duration::from_secs(91 * 24 * 3600));
    clear_away(core).await.unwrap();
    assert_eq!(world.desk("a.example").abuse_reports().await.unwrap(), []);
}

#[tokio::test]
async fn who_says_what_nobody_could_prove_is_not_heard() {
    let world = World::of_three().await;
    let (cathys, peer) = (world.turncoat(&world.cathy), world.peer("c.example"));
    let data = framed(&text("I never said that.", &cathys.user, &tea()));
    let app_message = cathys.encrypts_with([7; 32], &data).await;
    let request =
        SubmitMessageRequest { protocol: Protocol::Mls10, app_message, sending_uri: cathys.user.clone() }.encode();
    // The hub franks what it can't read.
    assert_eq!(peer.posts("a.example", "submitMessage", TEA, &request).await.body[..2], [1, 0]);
    world.cathy.says("But that.").await;
    world.alice.sees(&["cathy (c.example): But that."]).await;
    world.bob.sees(&["cathy (c.example): But that."]).await;
    world.still_talk().await;
}

#[tokio::test]
async fn a_false_frank_is_not_believed_and_the_message_is_its_senders_all_the_same() {
    let mut world = World::of_two().await;
    world.stop("b.example").await;
    world.alice.says("One.").await;
    let body = world.waiting_for_b().await;
    world.stop("a.example").await;
    world.start("b.example").await;
    let mut fanned_out = FanoutMessage::decode_all(&body).unwrap().remove(0);
    let Fanout::Application { frank: Some(frank), .. } = &mut fanned_out.fanout else { panic!("it is franked") };
    frank.server_frank[0] ^= 1;
    let said = world.peer("a.example").posts("b.example", "notify", TEA, &fanned_out.encode()).await;
    assert_eq!(said.status, 201);
    world.bob.sees(&["alice (a.example): One."]).await;
    assert_eq!(world.kept("b.example").await, []);
    // What the hub sends by itself is a second copy.
    world.start("a.example").await;
    world.still_talk().await;
    assert_eq!(world.kept("b.example").await.len(), 1);
}
