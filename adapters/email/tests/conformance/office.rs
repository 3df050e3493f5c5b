//! A post office: takes mail for a submission server, puts it into mailboxes, hands the gateway's over by LMTP, and sends
//! what the gateway refuses back as a bounce. A queue of its own, in order, so that the checks can ask for an order.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinHandle,
};

pub struct Office {
    /// Where mail is submitted, at an address of its own: a port that is closed for a while is nobody else's meanwhile.
    pub submission: SocketAddr,
    /// Where the gateway takes mail.
    pub lmtp: SocketAddr,
    rooms: Arc<Rooms>,
    counter: Option<JoinHandle<()>>,
    hands_over: watch::Sender<bool>,
    carrier: JoinHandle<()>,
}

#[derive(Default)]
struct Rooms {
    mailboxes: Mutex<HashMap<String, VecDeque<Vec<u8>>>>,
    for_the_gateway: Mutex<VecDeque<Envelope>>,
    news: Notify,
    refused: Mutex<HashSet<String>>,
    connections: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Clone)]
struct Envelope {
    from: String,
    to: String,
    mail: Vec<u8>,
}

impl Office {
    pub async fn open() -> Self {
        static OFFICES: AtomicU8 = AtomicU8::new(1);
        let process = std::process::id().to_be_bytes();
        let ip = Ipv4Addr::new(127, process[2] | 128, process[3], OFFICES.fetch_add(1, Ordering::Relaxed));
        let (submission, lmtp) = ((ip, 2525).into(), (ip, 2424).into());
        let (rooms, hands_over) = (Arc::<Rooms>::default(), watch::Sender::new(true));
        let carrier = tokio::spawn(carry(rooms.clone(), lmtp, hands_over.subscribe()));
        let mut office = Self { submission, lmtp, rooms, counter: None, hands_over, carrier };
        office.opens().await;
        office
    }

    pub fn hand_in(&self, from: &str, to: &str, mail: Vec<u8>) {
        self.rooms.sort(Envelope { from: from.into(), to: to.into(), mail });
    }

    pub async fn next_for(&self, address: &str) -> Vec<u8> {
        loop {
            let news = self.rooms.news.notified();
            if let Some(mail) = self.rooms.mailboxes.lock().unwrap().get_mut(address).and_then(VecDeque::pop_front) {
                return mail;
            }
            news.await;
        }
    }

    pub fn refuses(&self, address: &str) {
        self.rooms.refused.lock().unwrap().insert(address.to_owned());
    }

    /// Nobody answers, and nothing is carried.
    pub async fn closes(&mut self) {
        self.hands_over.send_replace(false);
        if let Some(counter) = self.counter.take() {
            counter.abort();
            let _ = counter.await;
        }
        self.rooms.connections.lock().unwrap().drain(..).for_each(|connection| connection.abort());
    }

    pub async fn opens(&mut self) {
        if self.counter.is_none() {
            let listener = TcpListener::bind(self.submission).await.unwrap();
            let rooms = self.rooms.clone();
            self.counter = Some(tokio::spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let serving = serve(stream, rooms.clone());
                    rooms.connections.lock().unwrap().push(tokio::spawn(async move { drop(serving.await) }));
                }
            }));
        }
        self.hands_over.send_replace(true);
    }

    /// It goes on taking mail, and keeps what is for the gateway to itself.
    pub fn forgets_the_gateway(&self) {
        self.hands_over.send_replace(false);
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        self.carrier.abort();
        if let Some(counter) = &self.counter {
            counter.abort();
        }
    }
}

impl Rooms {
    fn sort(&self, envelope: Envelope) {
        match envelope.to.ends_with("@mimi.c.example") {
            true => self.for_the_gateway.lock().unwrap().push_back(envelope),
            false => self.mailboxes.lock().unwrap().entry(envelope.to).or_default().push_back(envelope.mail),
        }
        self.news.notify_waiters();
    }
}

async fn carry(rooms: Arc<Rooms>, lmtp: SocketAddr, mut hands_over: watch::Receiver<bool>) {
    loop {
        hands_over.wait_for(|it| *it).await.unwrap();
        let news = rooms.news.notified();
        let first = rooms.for_the_gateway.lock().unwrap().front().cloned();
        let Some(envelope) = first else {
            news.await;
            continue;
        };
        let answer = hand_over(&envelope, lmtp).await.unwrap_or_else(|_| "4".into());
        if answer.starts_with('4') {
            tokio::time::sleep(Duration::from_millis(30)).await;
            continue;
        }
        rooms.for_the_gateway.lock().unwrap().pop_front();
        if answer.starts_with('5') && !envelope.from.is_empty() {
            let bounce = format!("From: MAILER-DAEMON@c.example\r\nAuto-Submitted: auto-replied\r\n\r\n{answer}\r\n");
            rooms.sort(Envelope { from: String::new(), to: envelope.from, mail: bounce.into_bytes() });
        }
    }
}

/// The answer to the mail, or the first that is no yes.
async fn hand_over(envelope: &Envelope, lmtp: SocketAddr) -> std::io::Result<String> {
    let mut stream = BufReader::new(TcpStream::connect(lmtp).await?);
    answer(&mut stream).await?;
    for command in [
        "LHLO mail.c.example",
        &format!("MAIL FROM:<{}>", envelope.from),
        &format!("RCPT TO:<{}>", envelope.to),
        "DATA",
    ] {
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        let answer = answer(&mut stream).await?;
        if !answer.starts_with(['2', '3']) {
            return Ok(answer);
        }
    }
    let mail = String::from_utf8(envelope.mail.clone()).unwrap().replace("\r\n.", "\r\n..");
    stream.write_all(format!("{mail}\r\n.\r\n").as_bytes()).await?;
    answer(&mut stream).await
}

async fn answer(stream: &mut (impl AsyncBufReadExt + Unpin)) -> std::io::Result<String> {
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(line.trim_end().to_owned());
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, rooms: Arc<Rooms>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 mail.c.example\r\n").await?;
    let (mut from, mut to) = (String::new(), Vec::new());
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let address = || line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        let said = match line.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" => "250-mail.c.example\r\n250 8BITMIME\r\n",
            "MAIL" => {
                (from, to) = (address(), Vec::new());
                "250 ok\r\n"
            }
            "RCPT" if rooms.refused.lock().unwrap().contains(&address()) => "550 5.1.1 no such mailbox\r\n",
            "RCPT" => {
                to.push(address());
                "250 ok\r\n"
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let mut mail = Vec::new();
                while !mail.ends_with(b"\r\n.\r\n") {
                    mail.push(stream.read_u8().await?);
                }
                mail.truncate(mail.len() - 3);
                let mail = String::from_utf8(mail).unwrap().replace("\r\n..", "\r\n.").into_bytes();
                to.iter()
                    .for_each(|to| rooms.sort(Envelope { from: from.clone(), to: to.clone(), mail: mail.clone() }));
                "250 taken\r\n"
            }
            "QUIT" => return stream.write_all(b"221 goodbye\r\n").await,
            _ => "250 ok\r\n",
        };
        stream.write_all(said.as_bytes()).await?;
    }
}

pub fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for (at, three) in octets.chunks(3).enumerate() {
        if at > 0 && at % 19 == 0 {
            text.push_str("\r\n");
        }
        let bits = three.iter().fold(0u32, |bits, octet| bits << 8 | u32::from(*octet)) << (8 * (3 - three.len()));
        for digit in 0..4 {
            match digit <= three.len() {
                true => text.push(char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize])),
                false => text.push('='),
            }
        }
    }
    text + "\r\n"
}
