//! Mails signed by dkimpy, and a real Knot DNS with the keys: who is believed, and who is not.
//!
//! The mails and the zone are made by `tests/lab/mail_fixtures.py`. a.example asks to reject what is not from it,
//! b.example has keys and SPF but no policy, c.example has nothing, d.example asks for nothing, and evil.example lets
//! everybody send in its name. broken.example is a zone that its server can't load.

#![allow(clippy::unwrap_used)] // The helpers are tests too.

use std::{
    fs,
    net::{SocketAddr, TcpListener, UdpSocket},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use mail_parser::MessageParser;
use mimi_email::trust::{Envelope, Trust, Verdict, author};
use tempfile::TempDir;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/trust");

/// The servers of a.example and b.example, and somebody else's.
const A: &str = "192.0.2.1";
const B: &str = "192.0.2.2";
const ELSEWHERE: &str = "192.0.2.99";

/// A Knot of our own: in a temporary directory, on a free port, gone with the test.
struct Knot {
    process: Child,
    at: SocketAddr,
    _directory: TempDir,
}

impl Knot {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = free.local_addr().unwrap();
        drop(free);
        let here = directory.path().display();
        // Resolvers go up to the root, and an answer from there is what says that there is nothing.
        fs::write(
            directory.path().join("root.zone"),
            ". 60 SOA ns.example. admin.example. 1 60 60 60 60\n. 60 NS ns.example.\n",
        )
        .unwrap();
        let configuration = format!(
            "server:\n  rundir: {here}\n  listen: {}@{}\ndatabase:\n  storage: {here}\nlog:\n  - target: stderr\n    any: warning\n\
             zone:\n  - domain: example.\n    file: {FIXTURES}/example.zone\n    zonefile-sync: -1\n    journal-content: none\n  \
             - domain: .\n    file: {here}/root.zone\n  - domain: broken.example.\n    file: {here}/there-is-none.zone\n",
            at.ip(),
            at.port(),
        );
        let file = directory.path().join("knot.conf");
        fs::write(&file, configuration).unwrap();
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let started =
            Command::new("knotd").arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let process = started.unwrap_or_else(|error| {
            panic!(
                "these tests run against a real Knot DNS, and it can't be started: {error}. \
                 Install it: apt-get install -y --no-install-recommends knot"
            )
        });
        let mut knot = Self { process, at, _directory: directory };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !knot.answers() {
            let log = fs::read_to_string(knot._directory.path().join("log")).unwrap();
            let exited = knot.process.try_wait().unwrap();
            assert!(exited.is_none() && Instant::now() < deadline, "Knot does not come up:\n{log}");
        }
        knot
    }

    /// Whether it has the zone: asks for the TXT records of a.example.
    fn answers(&self) -> bool {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let question = b"\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x00\x00\x10\x00\x01";
        let mut answer = [0; 512];
        socket.send_to(question, self.at).is_ok()
            && matches!(socket.recv(&mut answer), Ok(length) if length > 12 && answer[3] & 0x0f == 0 && answer[7] > 0)
    }

    fn trust(&self, authserv_id: Option<&str>, sealers: &[&str]) -> Trust {
        let sealers: Vec<String> = sealers.iter().map(|sealer| (*sealer).to_owned()).collect();
        Trust::new(Some(self.at), authserv_id, &sealers).unwrap()
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(format!("{FIXTURES}/{name}.eml")).unwrap()
}

async fn judged(trust: &Trust, mail: &[u8], client: Option<&str>, sender: &str) -> Verdict {
    let author = author(&MessageParser::default().parse_headers(mail).unwrap()).unwrap();
    let envelope = Envelope { client: client.map(|client| client.parse().unwrap()), helo: "mx.a.example", sender };
    trust.judge(mail, &author, &envelope).await
}

#[tokio::test]
async fn who_signs_or_sends_for_the_domain_is_believed_and_nobody_else() {
    let knot = Knot::start();
    let trust = knot.trust(None, &[]);
    for (name, client, sender, verdict) in [
        // DKIM for the domain in From is enough, wherever the mail comes from.
        ("signed", Some(A), "alice@a.example", Verdict::Aligned),
        ("signed", Some(ELSEWHERE), "bounces@evil.example", Verdict::Aligned),
        ("signed", None, "alice@a.example", Verdict::Aligned),
        ("signed-ed25519", Some(ELSEWHERE), "alice@a.example", Verdict::Aligned),
        // So is SPF, if it is for the domain in From.
        ("spoofed", Some(A), "alice@a.example", Verdict::Aligned),
        ("tampered", Some(A), "alice@a.example", Verdict::Aligned),
        ("spoofed", Some(ELSEWHERE), "alice@a.example", Verdict::Forged),
        ("spoofed", Some(ELSEWHERE), "alice@evil.example", Verdict::Forged),
        ("spoofed", None, "alice@a.example", Verdict::Forged),
        ("tampered", Some(ELSEWHERE), "alice@a.example", Verdict::Forged),
        ("signed-by-evil", Some(ELSEWHERE), "alice@evil.example", Verdict::Forged),
        // What a signature leaves out it says nothing about.
        ("signed-without-from", Some(ELSEWHERE), "alice@a.example", Verdict::Forged),
        ("signed-in-part", Some(ELSEWHERE), "alice@a.example", Verdict::Forged),
        // Without a policy the same proofs count, and nothing is forged.
        ("without-policy", Some(ELSEWHERE), "alice@evil.example", Verdict::Aligned),
        ("without-policy-from-below", Some(ELSEWHERE), "alice@evil.example", Verdict::Aligned),
        ("without-policy-from-above", Some(ELSEWHERE), "alice@evil.example", Verdict::Unproven),
        ("without-policy-unsigned", Some(B), "alice@b.example", Verdict::Aligned),
        ("without-policy-unsigned", Some(ELSEWHERE), "alice@b.example", Verdict::Unproven),
        ("without-policy-unsigned", Some(ELSEWHERE), "alice@evil.example", Verdict::Unproven),
        ("without-anything", Some(ELSEWHERE), "alice@c.example", Verdict::Unproven),
        ("policy-none-unsigned", Some(ELSEWHERE), "alice@d.example", Verdict::Unproven),
        // A server that knows a zone and can't read it.
        ("broken-dns", Some(ELSEWHERE), "alice@e.broken.example", Verdict::Later),
    ] {
        let said = judged(&trust, &fixture(name), client, sender).await;
        assert_eq!(said, verdict, "{name} from {client:?} as {sender}");
    }
}

#[tokio::test]
async fn mail_without_a_sender_is_judged_by_what_its_client_is_called() {
    let knot = Knot::start();
    let trust = knot.trust(None, &[]);
    let mail = fixture("without-policy-unsigned");
    let author = author(&MessageParser::default().parse_headers(&mail).unwrap()).unwrap();
    for (helo, verdict) in [("b.example", Verdict::Aligned), ("mx.evil.example", Verdict::Unproven)] {
        let envelope = Envelope { client: Some(B.parse().unwrap()), helo, sender: "" };
        assert_eq!(trust.judge(&mail, &author, &envelope).await, verdict, "{helo}");
    }
}

#[tokio::test]
async fn what_our_own_mta_found_out_about_spf_is_used() {
    let knot = Knot::start();
    let trust = knot.trust(Some("mx.gw.example"), &[]);
    for (field, verdict) in [
        ("Authentication-Results: mx.gw.example; spf=pass smtp.mailfrom=alice@b.example", Verdict::Aligned),
        ("Authentication-Results: mx.gw.example; spf=pass smtp.mailfrom=alice@evil.example", Verdict::Unproven),
        ("Authentication-Results: mx.gw.example; spf=fail smtp.mailfrom=alice@b.example", Verdict::Unproven),
        ("Authentication-Results: mx.evil.example; spf=pass smtp.mailfrom=alice@b.example", Verdict::Unproven),
    ] {
        let mail = [field.as_bytes(), b"\r\n", &fixture("without-policy-unsigned")].concat();
        assert_eq!(judged(&trust, &mail, None, "alice@b.example").await, verdict, "{field}");
    }
}

#[tokio::test]
async fn a_list_that_we_trust_may_vouch_for_what_it_changed() {
    let knot = Knot::start();
    for (sealers, name, verdict) in [
        (&["list.example"][..], "sealed-by-list", Verdict::Aligned),
        (&[], "sealed-by-list", Verdict::Forged),
        (&["list.example"], "sealed-by-evil", Verdict::Forged),
    ] {
        let trust = knot.trust(None, sealers);
        assert_eq!(
            judged(&trust, &fixture(name), Some(ELSEWHERE), "list@list.example").await,
            verdict,
            "{name} {sealers:?}"
        );
    }
    // Also where our own MTA has looked, and found nothing good.
    let field = b"Authentication-Results: mx.gw.example; dmarc=fail (p=reject) header.from=a.example\r\n";
    let mail = [&field[..], &fixture("sealed-by-list")].concat();
    for (sealers, verdict) in [(&["list.example"][..], Verdict::Aligned), (&[], Verdict::Forged)] {
        let trust = knot.trust(Some("mx.gw.example"), sealers);
        assert_eq!(judged(&trust, &mail, None, "list@list.example").await, verdict, "{sealers:?}");
    }
    // What was changed after the seal is not sealed.
    let changed = String::from_utf8(fixture("sealed-by-list")).unwrap().replace("ready", "poisoned");
    let trust = knot.trust(None, &["list.example"]);
    assert_eq!(judged(&trust, changed.as_bytes(), Some(ELSEWHERE), "list@list.example").await, Verdict::Forged);
}

#[tokio::test]
async fn a_second_from_field_is_nobody() {
    let mail = [b"From: Eve <eve@evil.example>\r\n", &fixture("signed")[..]].concat();
    assert!(author(&MessageParser::default().parse_headers(&mail).unwrap()).is_err());
}
