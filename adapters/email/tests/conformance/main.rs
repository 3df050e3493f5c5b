//! The checks every adapter has to pass, with a post office of our own. There Alice has a mailbox, and is on the list tea.
//! Real servers are in tests/real/test_mail.py.

#![allow(clippy::unwrap_used)] // The helpers of tests are tests as well.

mod office;
mod scenes;

use std::{sync::Arc, time::Duration};

use mail_parser::{Message, MessageParser, MimeHeaders, PartType};
use mimi_adapter::{
    Adapter, Canary, Context, ConversationId, Domain, Event, File, Ghost, NativeMessageId, NativeUserId, Octets, Text,
    async_trait,
    conformance::{Harness, Seen},
    file::Reader,
    toml,
};
use tempfile::TempDir;
use tokio::{io::AsyncReadExt, net::TcpStream};

use office::{Office, base64};

mimi_adapter::conformance!(Mailboxes::open().await);

const OFTEN: Canary = Canary { every: Duration::from_millis(300), patience: Duration::from_millis(700) };
const ALICE: &str = "alice@c.example";

struct Mailboxes {
    office: Office,
    directory: TempDir,
    members: Vec<String>,
    written: usize,
    seen: Vec<Seen>,
    told: Vec<String>,
}

impl Mailboxes {
    async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("secret"), "only for the test").unwrap();
        Self {
            office: Office::open().await,
            directory,
            members: vec![ALICE.to_owned()],
            written: 0,
            seen: Vec::new(),
            told: Vec::new(),
        }
    }

    /// Alice writes a mail, and her MTA has seen that it is she.
    fn writes(&mut self, to: &str, fields: &str, body: &str) -> NativeMessageId {
        self.written += 1;
        let id = format!("alice-{}@c.example", self.written);
        self.office.hand_in(
            ALICE,
            to,
            format!(
                "Authentication-Results: mail.c.example; dmarc=pass header.from=c.example\r\nFrom: Alice <{ALICE}>\r\n\
                 To: <{to}>\r\nMessage-ID: <{id}>\r\nMIME-Version: 1.0\r\n{fields}\r\n{body}"
            )
            .into_bytes(),
        );
        NativeMessageId::new(id)
    }

    /// Sorts the next mail in her mailbox, or the next bounce.
    async fn looks(&mut self) {
        let mail = self.office.next_for(ALICE).await;
        let mail = MessageParser::default().parse(&mail).unwrap();
        match mail.header("Auto-Submitted").is_some() {
            true => self.told.push(words(&mail)),
            false => self.seen.push(seen(&mail)),
        }
    }
}

fn seen(mail: &Message<'_>) -> Seen {
    let from = mail.from().unwrap().first().unwrap();
    let in_reply_to = mail.in_reply_to().as_text().map(NativeMessageId::new);
    let text = words(mail);
    let event = match mail.attachment(0) {
        Some(part) => {
            let media_type = part.content_type().unwrap();
            let octets = part.contents().to_vec();
            let file = File {
                name: part.attachment_name().unwrap().into(),
                media_type: format!("{}/{}", media_type.ctype(), media_type.subtype().unwrap()),
                size: Some(octets.len() as u64),
                attachment: false,
                octets: Octets::new(octets),
            };
            Event::File { file, caption: Some(text).filter(|text| !text.is_empty()), in_reply_to }
        }
        None => Event::Message { text: formatted(mail).unwrap_or(Text::Plain(text)), in_reply_to },
    };
    Seen {
        id: NativeMessageId::new(mail.message_id().unwrap()),
        name: from.name().unwrap().into(),
        event,
        thread: None,
    }
}

/// What is above the signature, with lines that flow (RFC 3676).
fn words(mail: &Message<'_>) -> String {
    let PartType::Text(text) = &mail.text_part(0).unwrap().body else { panic!("it has no plain text") };
    let text = text.replace("\r\n", "\n");
    let text = text.split("-- \n").next().unwrap();
    let mut words = String::new();
    for line in text.lines() {
        let line = line.strip_prefix(' ').unwrap_or(line);
        words.push_str(line);
        if !line.ends_with(' ') {
            words.push('\n');
        }
    }
    words.trim().to_owned()
}

/// The two kinds of formatting that the checks know.
fn formatted(mail: &Message<'_>) -> Option<Text> {
    let PartType::Html(html) = &mail.html_part(0)?.body else { return None };
    let (_, words) = html.split_once("<body>").unwrap();
    let words = words.split("<p style=\"color").next().unwrap();
    if !words.contains("<strong>") {
        return None;
    }
    let mut text =
        words.replace("<strong>", "**").replace("</strong>", "**").replace("<code>", "`").replace("</code>", "`");
    while let Some((before, rest)) = text.clone().split_once('<') {
        text = format!("{before}{}", rest.split_once('>').unwrap().1);
    }
    Some(Text::Markdown(text.trim().to_owned()))
}

async fn read(octets: &Octets) -> Vec<u8> {
    let mut reader: Reader = octets.open().await.unwrap().octets;
    let mut all = Vec::new();
    reader.read_to_end(&mut all).await.unwrap();
    all
}

#[async_trait]
impl Harness for Mailboxes {
    async fn adapter(&mut self) -> Arc<dyn Adapter> {
        let secret = self.directory.path().join("secret");
        let table = toml::from_str(&format!(
            "address = 'mimi.c.example'\nlisten = '{}'\npeople = ['c.example']\nsecret_file = '{}'\n\
             server = '{}'\ntls = 'none'\nauthserv_id = 'mail.c.example'\ndns = '127.0.0.1:1'\nmax_mail_mib = 1\n\
             [lists.tea]\ntitle = 'Tea'\nmembers = {:?}\n",
            self.office.lmtp,
            secret.display(),
            self.office.submission,
            self.members,
        ));
        let context = Context { name: "email".into(), domain: Domain::parse("c.example").unwrap() };
        mimi_email::build_with(table.unwrap(), &context, OFTEN).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    async fn connected(&mut self) {
        let mut greeting = [0; 3];
        loop {
            if let Ok(mut stream) = TcpStream::connect(self.office.lmtp).await
                && stream.read_exact(&mut greeting).await.is_ok()
            {
                assert_eq!(&greeting, b"220");
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn conversation(&self) -> ConversationId {
        ConversationId::new("tea")
    }

    fn alice(&self) -> NativeUserId {
        NativeUserId::new(ALICE)
    }

    async fn alice_does(&mut self, event: Event<NativeMessageId>) -> NativeMessageId {
        let tea = "tea@mimi.c.example";
        let answers = |to: Option<NativeMessageId>| to.map_or(String::new(), |id| format!("In-Reply-To: <{id}>\r\n"));
        match event {
            Event::Message { text: Text::Plain(text), in_reply_to } => {
                self.writes(tea, &answers(in_reply_to), &format!("{text}\r\n"))
            }
            Event::Message { text: Text::Markdown(text), in_reply_to } => {
                assert_eq!(text, "**strong** and `code`");
                let fields = format!("{}Content-Type: text/html\r\n", answers(in_reply_to));
                self.writes(tea, &fields, "<p><b>strong</b> and <code>code</code></p>\r\n")
            }
            Event::File { file, caption: None, in_reply_to } => {
                let fields = format!(
                    "{}Content-Type: {}\r\nContent-Disposition: attachment; filename=\"{}\"\r\nContent-Transfer-Encoding: base64\r\n",
                    answers(in_reply_to),
                    file.media_type,
                    file.name
                );
                let octets = read(&file.octets).await;
                self.writes(tea, &fields, &base64(&octets))
            }
            other => panic!("nobody does a {} by mail", other.kind()),
        }
    }

    async fn alice_writes_to(&mut self, ghost: &Ghost, _: &ConversationId, text: &str) -> NativeMessageId {
        assert_eq!(ghost.user.as_str(), "mimi://b.example/u/bob");
        self.writes("bob=b.example@mimi.c.example", "", &format!("{text}\r\n"))
    }

    async fn sees(&mut self) -> Seen {
        while self.seen.is_empty() {
            self.looks().await;
        }
        self.seen.remove(0)
    }

    async fn told(&mut self) -> String {
        while self.told.is_empty() {
            self.looks().await;
        }
        self.told.remove(0)
    }

    async fn is_present(&mut self, _: &Ghost) -> bool {
        unreachable!("nobody sees that")
    }

    fn shows_who_is_there(&self) -> bool {
        false
    }

    async fn goes_away(&mut self) {
        self.office.closes().await;
    }

    async fn comes_back(&mut self) {
        self.office.opens().await;
    }

    async fn falls_silent(&mut self) {
        self.office.forgets_the_gateway();
    }

    fn at_least_once(&self) -> bool {
        true
    }
}
