//! What mail has that other networks have not: forgeries, machines, bounces, and lists whose members we send to.

use std::sync::Arc;

use mimi_adapter::{
    Adapter, CancellationToken, Delivered, Event, Inbound, NativeMessageId, NativeUserId, Refusal, SenderProof, Text,
    conformance::{BOUND, Harness, Recorder, Seen, bob, delivery, message},
};

use super::{ALICE, Mailboxes};

const TEA: &str = "tea@mimi.c.example";
const ANN: &str = "ann@c.example";

struct Scene {
    mailboxes: Mailboxes,
    core: Arc<Recorder>,
    adapter: Arc<dyn Adapter>,
    stop: CancellationToken,
}

impl Scene {
    /// Alice, and whoever else is named, are on the list.
    async fn with(others: &[&str]) -> Self {
        let mut mailboxes = Mailboxes::open().await;
        mailboxes.members.extend(others.iter().map(|other| other.to_string()));
        let core = Recorder::new([mailboxes.conversation()]);
        let (adapter, stop) = (mailboxes.adapter().await, CancellationToken::new());
        let (running, inbox, until) = (adapter.clone(), core.inbox(), stop.clone());
        tokio::spawn(async move { running.run(inbox, until).await });
        mailboxes.connected().await;
        Self { mailboxes, core, adapter, stop }
    }

    /// The next thing that is no coming or going.
    async fn hears(&self) -> Inbound {
        loop {
            let inbound = self.core.accepted().await;
            if !matches!(inbound.event, Event::Join | Event::Leave) {
                return inbound;
            }
        }
    }

    /// Nothing that came before this is heard.
    async fn hears_nothing_before(&mut self, text: &str) {
        self.mailboxes.alice_does(message(text)).await;
        assert_eq!(self.hears().await.event, message(text));
    }

    async fn bob_says(&self, key: &str, text: &str) -> Result<Delivered, Refusal> {
        self.adapter.deliver(&delivery(key, &self.mailboxes.conversation(), &bob(), message(text))).await
    }

    async fn mail_of(&self, address: &str) -> String {
        let mail = tokio::time::timeout(BOUND, self.mailboxes.office.next_for(address)).await.expect("a mail comes");
        String::from_utf8(mail).unwrap()
    }

    fn hand_in(&self, from: &str, to: &str, mail: &str) {
        self.mailboxes.office.hand_in(from, to, mail.replace('\n', "\r\n").into_bytes());
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A field of a mail, unfolded.
fn field(mail: &str, name: &str) -> String {
    let header = mail.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
    let line = header.lines().find(|line| line.starts_with(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("there is no {name} in {header}")).split_once(": ").unwrap().1.to_owned()
}

fn address_in(field: &str) -> String {
    field.rsplit_once('<').unwrap().1.trim_end_matches('>').trim_start_matches("mailto:").to_owned()
}

fn checked(result: &str) -> String {
    format!("Authentication-Results: mail.c.example; {result} header.from=c.example\nFrom: <{ALICE}>\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_only_says_that_they_are_alice_is_refused_and_told() {
    let mut scene = Scene::with(&[]).await;
    let forged = checked("dmarc=fail (p=reject)");
    scene.hand_in(ANN, TEA, &format!("{forged}To: {TEA}\n\nI am Alice.\n"));
    assert!(scene.mail_of(ANN).await.contains("c.example asks to refuse mail that is not provably from it"));
    let unproven = checked("dmarc=fail (p=none)");
    scene.hand_in(ANN, TEA, &format!("{unproven}To: {TEA}\n\nI am Alice, too.\n"));
    assert!(scene.mail_of(ANN).await.contains("nothing proves that your mail is from c.example"));
    // Signed, and sent on to somebody else by whoever had it.
    let true_mail = checked("dmarc=pass");
    scene.hand_in(ANN, TEA, &format!("{true_mail}To: <bob=b.example@mimi.c.example>\n\nBetween us.\n"));
    assert!(scene.mail_of(ANN).await.contains("neither in To nor in Cc"));
    scene.hand_in(ANN, TEA, &format!("{true_mail}From: <{ANN}>\nTo: {TEA}\n\nBoth of us.\n"));
    assert!(scene.mail_of(ANN).await.contains("several people"));
    scene.hears_nothing_before("Here I am.").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reply_address_speaks_for_whom_nothing_else_does_but_does_not_let_them_change_things() {
    let scene = Scene::with(&[ANN]).await;
    scene.bob_says("k1", "Is the tea ready?").await.unwrap();
    let reply = address_in(&field(&scene.mail_of(ALICE).await, "Reply-To"));
    let unproven = checked("dmarc=fail (p=none)");
    scene.hand_in(
        ALICE,
        &reply,
        &format!("{unproven}To: {reply}\nMessage-ID: <a@c.example>\nIn-Reply-To: <k1@mimi.c.example>\n\nYes.\n"),
    );
    let inbound = scene.hears().await;
    let in_reply_to = Some(NativeMessageId::new("k1@mimi.c.example"));
    assert_eq!(inbound.event, Event::Message { text: Text::Plain("Yes.".into()), in_reply_to });
    assert_eq!((inbound.sender, inbound.proof), (NativeUserId::new(ALICE), SenderProof::Claimed));
    // It is Alice's, not Ann's.
    let ann = unproven.replace(ALICE, ANN);
    scene.hand_in(ANN, &reply, &format!("{ann}To: {reply}\n\nNo.\n"));
    while !scene.mail_of(ANN).await.contains("nothing proves that your mail is from c.example") {}
    // And it does not help against a domain that says otherwise.
    let forged = checked("dmarc=fail (p=reject)");
    scene.hand_in(ALICE, &reply, &format!("{forged}To: {reply}\n\nNo.\n"));
    while !scene.mail_of(ALICE).await.contains("asks to refuse mail") {}
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_lists_and_our_own_mail_are_not_heard() {
    let mut scene = Scene::with(&[]).await;
    let alice = format!("{}To: {TEA}\n", checked("dmarc=pass"));
    scene.hand_in(ALICE, TEA, &format!("{alice}Auto-Submitted: auto-replied\n\nI am on holiday.\n"));
    scene.hand_in(ALICE, TEA, &format!("{alice}X-Mimi-Gateway: mimi.c.example\n\nRound and round.\n"));
    scene.hand_in(ALICE, TEA, &format!("{alice}Message-ID: <k1@mimi.c.example>\n\nRound and round.\n"));
    scene.hand_in("", TEA, &format!("{alice}\n\nFrom nobody.\n"));
    scene.hand_in(ANN, TEA, &format!("{alice}List-Id: <news.c.example>\n\nNews!\n"));
    assert!(scene.mail_of(ANN).await.contains("what a mailing list passes on is not carried"));
    scene.hears_nothing_before("Only me.").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_carried_is_told() {
    let mut scene = Scene::with(&[]).await;
    let alice = format!("{}To: {TEA}\n", checked("dmarc=pass"));
    for (to, mail, reason) in [
        ("coffee@mimi.c.example", alice.clone() + "\nx\n", "nobody reads what is written to this address"),
        (TEA, alice.clone(), "there is nothing in your mail"),
        (TEA, format!("{alice}\n{}\n", "x".repeat(1 << 20)), "552 5.3.4 1 MiB is the most"),
        (TEA, alice.replace(ALICE, ANN) + "\nx\n", "only members can write to this list"),
        (TEA, format!("{alice}Content-Type: multipart/encrypted; boundary=b\n\n--b\n\nx\n--b--\n"), "encrypted"),
    ] {
        scene.hand_in(ANN, to, &mail);
        let bounce = scene.mail_of(ANN).await;
        assert!(bounce.contains(reason), "{reason}: {bounce}");
    }
    let to = "bob=b.example@mimi.c.example";
    let stranger = "Authentication-Results: mail.c.example; dmarc=pass header.from=d.example\nFrom: <dora@d.example>\n";
    scene.hand_in(ANN, to, &format!("{stranger}To: {to}\n\nx\n"));
    assert!(scene.mail_of(ANN).await.contains("this gateway carries mail of c.example only"));
    scene.hears_nothing_before("But this can.").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_member_writes_the_others_get_once() {
    let mut scene = Scene::with(&[ANN]).await;
    let id = scene.mailboxes.alice_does(message("Is the tea ready?")).await;
    assert_eq!(scene.hears().await.event, message("Is the tea ready?"));
    let copy = scene.mail_of(ANN).await;
    assert_eq!(field(&copy, "Message-ID"), format!("<{id}>"));
    assert_eq!(field(&copy, "From"), format!("=?utf-8?b?QWxpY2UgKGMuZXhhbXBsZSk=?= <{TEA}>"), "Alice (c.example)");
    assert_ne!(address_in(&field(&copy, "Reply-To")), TEA);
    // The MTA offers the mail once more: its answer was lost.
    let again = format!("{}To: {TEA}\nMessage-ID: <{id}>\n\nIs the tea ready?\n", checked("dmarc=pass"));
    scene.hand_in(ALICE, TEA, &again);
    scene.mailboxes.alice_does(message("Now?")).await;
    assert_eq!(scene.hears().await.event, message("Now?"));
    assert!(scene.mail_of(ANN).await.contains("Now?"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_for_one_the_others_get_and_the_author_learns() {
    let scene = Scene::with(&[ANN, "dora@c.example"]).await;
    scene.mailboxes.office.refuses("dora@c.example");
    let delivered = scene.bob_says("k1", "Is the tea ready?").await.unwrap();
    assert!(scene.mail_of(ALICE).await.contains("Is the tea ready?"));
    assert!(scene.mail_of(ANN).await.contains("Is the tea ready?"));
    let (conversation, id, reason) = scene.reported().await;
    assert_eq!((conversation, Some(&id)), (scene.mailboxes.conversation(), delivered.ids.first()));
    assert!(reason.starts_with("dora@c.example: ") && reason.contains("no such mailbox"), "{reason}");
    // Where it is for nobody else, the core tells.
    let alone = Scene::with(&[]).await;
    alone.mailboxes.office.refuses(ALICE);
    let Err(Refusal::Reject { reason }) = alone.bob_says("k1", "Hello?").await else { panic!("nobody has it") };
    assert!(reason.contains("no such mailbox"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bounce_is_about_the_message_that_it_names_and_counts_only_at_an_address_that_was_told() {
    let mut scene = Scene::with(&[]).await;
    scene.bob_says("k1", "Is the tea ready?").await.unwrap();
    let reply = address_in(&field(&scene.mail_of(ALICE).await, "Reply-To"));
    let bounce = |to: &str| {
        format!(
            "From: MAILER-DAEMON@c.example\nTo: {to}\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n\
             --b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mail.c.example\n\nFinal-Recipient: rfc822; {ALICE}\n\
             Action: failed\nStatus: 5.2.2\nDiagnostic-Code: smtp; 552 5.2.2 mailbox full\n\n\
             --b\nContent-Type: text/rfc822-headers\n\nMessage-ID: <k1@mimi.c.example>\n\n--b--\n"
        )
    };
    scene.hand_in("", TEA, &bounce(TEA));
    scene.hears_nothing_before("That was somebody's joke.").await;
    assert_eq!(scene.core.not_delivered_so_far(), []);
    scene.hand_in("", &reply, &bounce(&reply));
    let (conversation, id, reason) = scene.reported().await;
    assert_eq!((conversation, id.as_str()), (scene.mailboxes.conversation(), "k1@mimi.c.example"));
    assert!(reason.starts_with(&format!("{ALICE}: ")), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_gets_no_more_and_is_not_brought_back_by_a_restart() {
    let mut scene = Scene::with(&[ANN]).await;
    scene.bob_says("k1", "Is the tea ready?").await.unwrap();
    let mail = scene.mail_of(ANN).await;
    let leave = address_in(&field(&mail, "List-Unsubscribe"));
    let guessed = format!("{}-0123456789abcdef@mimi.c.example", leave.split('-').next().unwrap());
    scene.hand_in(ALICE, &guessed, &format!("From: {ALICE}\n\n"));
    while !scene.mail_of(ALICE).await.contains("this address for leaving is not valid") {}
    // A mail program may send it by itself, empty and from wherever.
    scene.hand_in(ANN, &leave, "Auto-Submitted: auto-generated\n\n");
    loop {
        let inbound = scene.core.accepted().await;
        if inbound.event == Event::Leave {
            assert_eq!(inbound.sender, NativeUserId::new(ANN));
            break;
        }
    }
    scene.stop.cancel();
    scene.adapter = scene.mailboxes.adapter().await;
    scene.stop = CancellationToken::new();
    let (running, inbox, until) = (scene.adapter.clone(), scene.core.inbox(), scene.stop.clone());
    tokio::spawn(async move {
        // The place is free when the first has ended.
        while running.run(inbox.clone(), until.clone()).await.is_err() {
            tokio::task::yield_now().await;
        }
    });
    scene.mailboxes.connected().await;
    scene.bob_says("k2", "Where is Ann?").await.unwrap();
    while !scene.mail_of(ALICE).await.contains("Where is Ann?") {}
    scene.hears_nothing_before("She has left.").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_files_of_a_mail_follow_its_words() {
    let mut scene = Scene::with(&[]).await;
    let mail = format!(
        "{}To: {TEA}\nMessage-ID: <a@c.example>\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nTwo pots.\n\
         --b\nContent-Disposition: attachment; filename=one.txt\n\n1\n--b\nContent-Disposition: attachment; filename=two.txt\n\n2\n--b--\n",
        checked("dmarc=pass")
    );
    scene.hand_in(ALICE, TEA, &mail);
    let mut heard = Vec::new();
    for _ in 0..3 {
        let inbound = scene.hears().await;
        heard.push((inbound.id.as_str().to_owned(), inbound.event.kind()));
    }
    let expected = [("a@c.example", "message"), ("a@c.example#1", "file"), ("a@c.example#2", "file")];
    assert_eq!(heard, expected.map(|(id, kind)| (id.to_owned(), kind)));
    scene.hears_nothing_before("That is all.").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_attempt_is_the_same_mail() {
    let scene = Scene::with(&[]).await;
    scene.bob_says("k1", "One cup.").await.unwrap();
    let first = scene.mail_of(ALICE).await;
    // Another process, that has forgotten whom it has sent what.
    let mut again = Scene::with(&[]).await;
    again.bob_says("k1", "One cup.").await.unwrap();
    assert_eq!(again.mail_of(ALICE).await, first);
    assert_eq!(field(&first, "Message-ID"), "<k1@mimi.c.example>");
    let Seen { name, .. } = {
        again.bob_says("k2", "Another cup.").await.unwrap();
        again.mailboxes.sees().await
    };
    assert_eq!(name, "bob (b.example)");
}

impl Scene {
    /// The first report of a message that was not delivered.
    async fn reported(&self) -> (mimi_adapter::ConversationId, NativeMessageId, String) {
        let waiting = async {
            loop {
                if let Some(first) = self.core.not_delivered_so_far().first() {
                    return first.clone();
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(BOUND, waiting).await.expect("it is reported")
    }
}
