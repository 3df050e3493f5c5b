//! One connection of the MTA: commands, answers, and the state between them (RFC 5321 §4, RFC 2033).

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use mimi_adapter::CancellationToken;
use smtp_proto::Request;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf, split};

use super::{
    Answer, Desk, Mail,
    data::{self, Data},
};

/// How long the MTA may be silent (RFC 5321 §4.5.3.2.7).
const PATIENCE: Duration = Duration::from_secs(300);
/// Octets of a command; extensions make them longer than the 512 of RFC 5321 §4.5.3.1.4.
const LONGEST: usize = 4096;
/// Recipients of a mail (RFC 5321 §4.5.3.1.8).
const MOST_RECIPIENTS: usize = 100;
/// Commands that make no sense, before it is enough.
const MOST_MISTAKES: usize = 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Lmtp,
    Smtp,
}

struct Session<'d, S, D: Desk> {
    reader: BufReader<ReadHalf<S>>,
    writer: WriteHalf<S>,
    desk: &'d D,
    protocol: Option<Protocol>,
    helo: String,
    forwarded: Forwarded,
    sender: Option<String>,
    recipients: Vec<D::Recipient>,
    mistakes: usize,
}

/// What the MTA says about the connection on which it got the mail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Forwarded {
    client: Option<IpAddr>,
    helo: Option<String>,
}

/// Whether the connection goes on.
enum Next {
    Command,
    End,
}

pub async fn serve<S, D>(stream: S, desk: &D, stop: &CancellationToken) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    D: Desk,
{
    let (reader, writer) = split(stream);
    let mut session = Session {
        reader: BufReader::new(reader),
        writer,
        desk,
        protocol: None,
        helo: String::new(),
        forwarded: Forwarded::default(),
        sender: None,
        recipients: Vec::new(),
        mistakes: 0,
    };
    session.say("220 mimi-gateway LMTP").await?;
    loop {
        let line = match stop.run_until_cancelled(tokio::time::timeout(PATIENCE, session.line())).await {
            None => return session.say("421 4.3.2 stopping").await,
            Some(Err(_)) => return session.say("421 4.4.2 you were silent for too long").await,
            Some(Ok(line)) => line?,
        };
        let next = match line {
            Line::End => return Ok(()),
            Line::TooLong => session.mistake("500 5.5.2 this line is too long").await?,
            Line::Command(line) => session.obey(&line).await?,
        };
        if let Next::End = next {
            return Ok(());
        }
    }
}

enum Line {
    Command(Vec<u8>),
    TooLong,
    End,
}

impl<S: AsyncRead + AsyncWrite + Unpin, D: Desk> Session<'_, S, D> {
    /// The next command, with its CRLF. Safe to be dropped only before the end of a connection.
    async fn line(&mut self) -> io::Result<Line> {
        let (mut line, mut too_long) = (Vec::new(), false);
        loop {
            let chunk = self.reader.fill_buf().await?;
            if chunk.is_empty() {
                return Ok(Line::End);
            }
            let end = chunk.iter().position(|octet| *octet == b'\n').map(|at| at + 1);
            let used = end.unwrap_or(chunk.len());
            line.extend_from_slice(&chunk[..used]);
            self.reader.consume(used);
            if line.len() > LONGEST {
                (too_long, line) = (true, Vec::new());
            }
            match (end, too_long) {
                (None, _) => {}
                (Some(_), true) => return Ok(Line::TooLong),
                (Some(_), false) => return Ok(Line::Command(line)),
            }
        }
    }

    async fn obey(&mut self, line: &[u8]) -> io::Result<Next> {
        if !line.ends_with(b"\r\n") {
            return self.mistake("500 5.5.2 a line ends with CR and LF").await;
        }
        if line.len() > 8 && line[..9].eq_ignore_ascii_case(b"XFORWARD ") {
            self.forwarded.read(&String::from_utf8_lossy(&line[9..]));
            return self.answer("250 2.0.0 noted").await;
        }
        let Ok(request) = Request::parse(&mut line.iter()) else {
            return self.mistake("500 5.5.1 this command is not known or not well-formed").await;
        };
        match request {
            Request::Lhlo { host } => self.hello(Protocol::Lmtp, &host).await,
            Request::Ehlo { host } => self.hello(Protocol::Smtp, &host).await,
            Request::Helo { host } => {
                self.greeted(Protocol::Smtp, &host);
                self.answer("250 mimi-gateway").await
            }
            Request::Mail { from } => {
                if self.protocol.is_none() {
                    return self.mistake("503 5.5.1 say LHLO first").await;
                }
                if self.sender.is_some() {
                    return self.mistake("503 5.5.1 there is a mail already").await;
                }
                if from.size > self.desk.max_mail() {
                    return self.answer(&self.too_large()).await;
                }
                self.sender = Some(from.address.into_owned());
                self.answer("250 2.1.0 go on").await
            }
            Request::Rcpt { to } => self.recipient(&to.address).await,
            Request::Data => self.data().await,
            Request::Rset => {
                self.reset();
                self.answer("250 2.0.0 forgotten").await
            }
            Request::Noop { .. } => self.answer("250 2.0.0 here").await,
            Request::Vrfy { .. } => self.answer("252 2.5.0 send a mail and see").await,
            Request::Quit => {
                self.say("221 2.0.0 goodbye").await?;
                Ok(Next::End)
            }
            _ => self.mistake("502 5.5.1 this command is not offered").await,
        }
    }

    fn greeted(&mut self, protocol: Protocol, host: &str) {
        self.reset();
        (self.protocol, self.helo) = (Some(protocol), host.to_owned());
    }

    async fn hello(&mut self, protocol: Protocol, host: &str) -> io::Result<Next> {
        self.greeted(protocol, host);
        let size = self.desk.max_mail();
        self.answer(&format!(
            "250-mimi-gateway\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n\
             250-XFORWARD NAME ADDR PROTO HELO SOURCE\r\n250 SIZE {size}"
        ))
        .await
    }

    async fn recipient(&mut self, address: &str) -> io::Result<Next> {
        if self.sender.is_none() {
            return self.mistake("503 5.5.1 say MAIL first").await;
        }
        let most = if self.protocol == Some(Protocol::Smtp) { 1 } else { MOST_RECIPIENTS };
        if self.recipients.len() >= most {
            return self.answer("452 4.5.3 send it to the others once more").await;
        }
        match self.desk.recipient(address) {
            Ok(recipient) => {
                self.recipients.push(recipient);
                self.answer("250 2.1.5 go on").await
            }
            Err(reason) => self.answer(&reply("550 5.1.1", &reason)).await,
        }
    }

    async fn data(&mut self) -> io::Result<Next> {
        let Some(sender) = self.sender.clone().filter(|_| !self.recipients.is_empty()) else {
            return self.mistake("503 5.5.1 there is nobody to give it to").await;
        };
        self.say("354 go on, and end with a dot").await?;
        let reading = data::read(&mut self.reader, self.desk.max_mail());
        // No stop here: what has begun may end. But a mail that trickles in does not keep us for ever.
        let data = tokio::time::timeout(PATIENCE * 2, reading)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let octets: Arc<[u8]> = match data {
            Data::Mail(octets) => octets.into(),
            Data::TooLarge => return self.answer_all(&self.too_large()).await,
            Data::Bare => return self.answer_all("550 5.6.0 a CR or LF stands alone in this mail").await,
        };
        let Forwarded { client, helo } = self.forwarded.clone();
        let mail = Mail { client, helo: helo.unwrap_or_else(|| self.helo.clone()), sender, octets };
        for recipient in std::mem::take(&mut self.recipients) {
            let answer = match self.desk.take(&mail, &recipient).await {
                Answer::Taken => "250 2.0.0 it is in the conversation".to_owned(),
                Answer::Later(reason) => reply("451 4.3.0", &reason),
                Answer::Never(reason) => reply("550 5.7.0", &reason),
            };
            self.say(&answer).await?;
        }
        self.reset();
        Ok(Next::Command)
    }

    async fn answer_all(&mut self, answer: &str) -> io::Result<Next> {
        for _ in std::mem::take(&mut self.recipients) {
            self.say(answer).await?;
        }
        self.reset();
        Ok(Next::Command)
    }

    fn too_large(&self) -> String {
        let most = mimi_adapter::file::size_in_words(self.desk.max_mail() as u64);
        format!("552 5.3.4 {most} is the most that a mail may have here")
    }

    fn reset(&mut self) {
        self.sender = None;
        self.recipients.clear();
        self.forwarded = Forwarded::default();
    }

    async fn answer(&mut self, answer: &str) -> io::Result<Next> {
        self.say(answer).await?;
        Ok(Next::Command)
    }

    async fn mistake(&mut self, answer: &str) -> io::Result<Next> {
        self.mistakes += 1;
        if self.mistakes > MOST_MISTAKES {
            self.say("421 4.7.0 too many mistakes").await?;
            return Ok(Next::End);
        }
        self.answer(answer).await
    }

    async fn say(&mut self, answer: &str) -> io::Result<()> {
        self.writer.write_all(format!("{answer}\r\n").as_bytes()).await?;
        self.writer.flush().await
    }
}

/// A reply line is ASCII, and has up to 512 octets (RFC 5321 §4.5.3.1.5).
fn reply(code: &str, reason: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let reason: String = reason.chars().map(plain).take(480).collect();
    format!("{code} {reason}")
}

impl Forwarded {
    /// `NAME=mx.a.example ADDR=192.0.2.1 HELO=mx.a.example`; values are xtext (RFC 3461 §4), `[UNAVAILABLE]` if not known.
    fn read(&mut self, attributes: &str) {
        for (name, value) in attributes.split_whitespace().filter_map(|attribute| attribute.split_once('=')) {
            let value = unxtext(value);
            let value = Some(value).filter(|value| value != "[UNAVAILABLE]");
            match name.to_ascii_uppercase().as_str() {
                "ADDR" => {
                    let address = value.as_deref().map(|value| value.strip_prefix("IPV6:").unwrap_or(value));
                    self.client = address.and_then(|address| address.parse().ok());
                }
                "HELO" => self.helo = value,
                // A mail that was written on the MTA's own machine has no client.
                "SOURCE" if value.as_deref() == Some("LOCAL") => self.client = None,
                _ => {}
            }
        }
    }
}

fn unxtext(text: &str) -> String {
    let mut parts = text.split('+');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(octet) => {
                plain.push(char::from(octet));
                plain.push_str(&part[2..]);
            }
            None => {
                plain.push('+');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use mimi_adapter::async_trait;
    use proptest::prelude::*;
    use tokio::{io::AsyncReadExt, sync::Mutex};

    use super::*;

    /// Takes what is for Alice, not yet what is for Bob, and never what is for Cathy.
    #[derive(Default)]
    struct Counter {
        taken: Mutex<Vec<Taken>>,
    }

    /// From whom, for whom, who connected to the MTA, and what.
    type Taken = (String, String, Option<IpAddr>, Vec<u8>);

    #[async_trait]
    impl Desk for Counter {
        type Recipient = String;

        fn max_mail(&self) -> usize {
            100
        }

        fn recipient(&self, address: &str) -> Result<String, String> {
            let name = address.strip_suffix("@c.example").ok_or_else(|| "nobody is at that address".to_owned())?;
            Ok(name.to_owned())
        }

        async fn take(&self, mail: &Mail, recipient: &String) -> Answer {
            match recipient.as_str() {
                "bob" => return Answer::Later("Bob is out".into()),
                "cathy" => return Answer::Never("Cathy wants\r\n250 no “mail”".into()),
                _ => {}
            }
            self.taken.lock().await.push((mail.sender.clone(), recipient.clone(), mail.client, mail.octets.to_vec()));
            Answer::Taken
        }
    }

    /// Says all of this at once, and hears the codes that come back.
    async fn codes(said: &[u8]) -> (Vec<String>, Counter) {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let desk = Counter::default();
        let (mut hears, mut says) = split(theirs);
        let mut heard = String::new();
        let stop = CancellationToken::new();
        let talk = async {
            says.write_all(said).await.unwrap();
            says.shutdown().await.unwrap();
            hears.read_to_string(&mut heard).await.unwrap();
        };
        let (served, ()) = tokio::join!(serve(ours, &desk, &stop), talk);
        drop(served);
        let codes = heard.lines().filter(|line| line.as_bytes().get(3) == Some(&b' ')).map(str::to_owned).collect();
        (codes, desk)
    }

    fn begin(codes: &[String]) -> Vec<&str> {
        codes.iter().map(|code| &code[..3]).collect()
    }

    #[tokio::test]
    async fn each_recipient_has_an_answer() {
        let (said, desk) = codes(
            b"LHLO mx.c.example\r\nXFORWARD NAME=mx.a.example ADDR=192.0.2.1 HELO=mx.a.example\r\n\
              MAIL FROM:<ann@a.example> BODY=8BITMIME SMTPUTF8 SIZE=20\r\n\
              RCPT TO:<alice@c.example>\r\nRCPT TO:<bob@c.example>\r\nRCPT TO:<x@d.example>\r\nRCPT TO:<cathy@c.example>\r\n\
              DATA\r\nTea?\r\n.\r\nQUIT\r\n",
        )
        .await;
        assert_eq!(
            begin(&said),
            ["220", "250", "250", "250", "250", "250", "550", "250", "354", "250", "451", "550", "221"]
        );
        assert_eq!(said[10], "451 4.3.0 Bob is out");
        assert_eq!(said[11], "550 5.7.0 Cathy wants??250 no ?mail?");
        let client = "192.0.2.1".parse().ok();
        assert_eq!(*desk.taken.lock().await, [("ann@a.example".into(), "alice".into(), client, b"Tea?\r\n".to_vec())]);
    }

    #[tokio::test]
    async fn in_smtp_a_mail_has_one_recipient_and_may_come_again() {
        let (said, desk) = codes(
            b"EHLO mx.c.example\r\nMAIL FROM:<>\r\nRCPT TO:<alice@c.example>\r\nRCPT TO:<ann@c.example>\r\nDATA\r\n.\r\n\
              MAIL FROM:<>\r\nRCPT TO:<ann@c.example>\r\nDATA\r\n.\r\n",
        )
        .await;
        assert_eq!(begin(&said), ["220", "250", "250", "250", "452", "354", "250", "250", "250", "354", "250"]);
        assert_eq!(desk.taken.lock().await.len(), 2);
    }

    #[tokio::test]
    async fn what_is_out_of_place_or_too_much_is_said() {
        for (said, code) in [
            (&b"MAIL FROM:<a@b.example>\r\n"[..], "503"),
            (b"LHLO x\r\nRCPT TO:<alice@c.example>\r\n", "503"),
            (b"LHLO x\r\nMAIL FROM:<>\r\nDATA\r\n", "503"),
            (b"LHLO x\r\nMAIL FROM:<> SIZE=101\r\n", "552"),
            (b"LHLO x\r\nSTARTTLS\r\n", "502"),
            (b"LHLO x\r\nBDAT 5 LAST\r\n", "502"),
            (b"TEA\r\n", "500"),
            (b"NOOP\n", "500"),
            (b"\xff\xfe\r\n", "500"),
            (b"\r\n", "500"),
        ] {
            let (heard, _) = codes(said).await;
            assert_eq!(begin(&heard).last(), Some(&code), "{:?}", String::from_utf8_lossy(said));
        }
        let long = [b"NOOP ".to_vec(), vec![b'x'; 1 << 15], b"\r\nQUIT\r\n".to_vec()].concat();
        assert_eq!(begin(&codes(&long).await.0), ["220", "500", "221"]);
        let (said, desk) = codes(
            &[
                &b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<alice@c.example>\r\nDATA\r\n"[..],
                &[b'x'; 200],
                b"\r\n.\r\nQUIT\r\n",
            ]
            .concat(),
        )
        .await;
        assert_eq!(begin(&said), ["220", "250", "250", "250", "354", "552", "221"]);
        assert!(desk.taken.lock().await.is_empty());
        let mistakes = b"TEA\r\n".repeat(30);
        assert_eq!(codes(&mistakes).await.0.last().unwrap(), "421 4.7.0 too many mistakes");
    }

    #[tokio::test]
    async fn a_mail_is_not_smuggled_in_another() {
        let (said, desk) = codes(
            b"LHLO x\r\nMAIL FROM:<a@a.example>\r\nRCPT TO:<alice@c.example>\r\nDATA\r\nx\n.\r\n\
              MAIL FROM:<ceo@c.example>\r\nRCPT TO:<alice@c.example>\r\nDATA\r\nforged\r\n.\r\nQUIT\r\n",
        )
        .await;
        assert_eq!(begin(&said), ["220", "250", "250", "250", "354", "550", "221"]);
        assert!(desk.taken.lock().await.is_empty());
    }

    #[test]
    fn what_the_mta_says_of_its_client_is_understood() {
        let read = |text: &str| {
            let mut forwarded = Forwarded::default();
            forwarded.read(text);
            (forwarded.client.map(|ip| ip.to_string()), forwarded.helo)
        };
        assert_eq!(read("ADDR=IPV6:2001:db8::1 HELO=a+2Bb"), (Some("2001:db8::1".into()), Some("a+b".into())));
        assert_eq!(read("ADDR=[UNAVAILABLE] HELO=[UNAVAILABLE]"), (None, None));
        assert_eq!(read("ADDR=127.0.0.1 SOURCE=LOCAL"), (None, None));
        assert_eq!(read("ADDR=x HELO=+ =+zz"), (None, Some("+".into())));
    }

    proptest! {
        #[test]
        fn any_octets_end_in_answers(pieces in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..12), Just(b"LHLO x\r\n".to_vec()), Just(b"MAIL FROM:<".to_vec()), Just(b"> SIZE=".to_vec()),
            Just(b"MAIL FROM:<>\r\n".to_vec()), Just(b"RCPT TO:<alice@c.example>\r\n".to_vec()), Just(b"DATA\r\n".to_vec()),
            Just(b"\r\n.\r\n".to_vec()), Just(b"XFORWARD ADDR=+".to_vec()), Just(b"\r\n".to_vec()), Just("é".as_bytes().to_vec()),
        ], 0..20)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(codes(&pieces.concat()));
        }
    }
}
