//! The people of both sides: they talk, they are shown what the others say, and they keep the books.
//!
//! One task does it all, so a figure is never the scheduling of its own load generator. In a flood each room
//! has a fixed number of messages under way: more would only measure how long a queue is. At an even pace
//! people talk by the clock whether or not anything arrives, and a message is as old as the moment it was due.

use std::{
    collections::VecDeque,
    fmt,
    ops::Range,
    time::{Duration, Instant},
};

use mimi_adapter::{ConversationId, NativeMessageId, NativeUserId};
use mimi_loopback::frame::{Act, AdapterFrame, ClientFrame, Deliver, Shown, Written};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::mpsc,
    time::timeout,
};

use crate::{
    BoxError, WINDOW,
    gateways::{Gateway, Gateways},
};

/// What hasn't been shown when nothing has happened for this long is lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to listen for second copies when everything has been shown.
const QUIET: Duration = Duration::from_secs(1);

/// A message is a number, and this behind it.
const WORDS: &str =
    "is on its way from the dispatcher to the ambulance, and whoever counts them wants to see each one once.";

/// Who talks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    FromHub,
    FromFollower,
}

impl Way {
    pub const BOTH: [Self; 2] = [Self::FromHub, Self::FromFollower];
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FromHub => "a.example (hub) to b.example",
            Self::FromFollower => "b.example to a.example (hub)",
        })
    }
}

#[derive(Clone, Copy)]
pub enum Pace {
    /// In each room the next message as soon as one has been shown.
    Flood,
    /// So many messages per second, in one room after the other.
    Even(u32),
}

/// What one run came to.
pub struct Carried {
    pub messages: usize,
    /// From the first word to the last message shown.
    pub took: Duration,
    /// Of each message, ascending.
    pub latencies: Vec<Duration>,
    /// CPU seconds of a.example, b.example and the load generator.
    pub cpu: [f64; 3],
}

/// The books at the end.
#[derive(Default)]
pub struct Verdict {
    pub said: usize,
    pub lost: usize,
    pub doubled: usize,
    pub disordered: usize,
    pub refused: usize,
}

pub struct Conversation<'g> {
    gateways: &'g Gateways,
    /// Alice and Bob.
    sides: [Side<'g>; 2],
    /// By who talks, then by room.
    books: [Vec<Book>; 2],
    refused: usize,
}

/// One way of one room.
#[derive(Clone, Default)]
struct Book {
    /// When each message was said, or was due.
    said: Vec<Instant>,
    shown: Vec<bool>,
    highest: usize,
    doubled: usize,
    disordered: usize,
}

impl<'g> Conversation<'g> {
    /// Everybody has joined every room, and has seen the other one's ghost there.
    pub async fn begin(gateways: &'g Gateways, rooms: usize) -> Result<Self, BoxError> {
        let [a, b] = &gateways.both;
        let sides = [Side::connect(a, "alice").await?, Side::connect(b, "bob").await?];
        let books = [vec![Book::default(); rooms], vec![Book::default(); rooms]];
        let mut talk = Self { gateways, sides, books, refused: 0 };
        for side in &mut talk.sides {
            for room in 0..rooms {
                side.write(ClientFrame::Join(side.act(room, format!("join {room}"))));
            }
        }
        let mut ghosts = [0; 2];
        while ghosts.iter().any(|there| *there < rooms) {
            // Both are listened to, since who does not answer a ping is hung up on.
            let [alice, bob] = &mut talk.sides;
            let either = async {
                tokio::select! {
                    frame = alice.hear() => (0, frame),
                    frame = bob.hear() => (1, frame),
                }
            };
            let heard = timeout(PATIENCE, either).await;
            let slow = &gateways.both[usize::from(ghosts[0] >= rooms)];
            let (at, frame) = heard.map_err(|_| slow.trouble("does not open the rooms"))?;
            // What is refused here is Bob's joining before he has been invited. His adapter remembers it.
            if let AdapterFrame::Deliver(deliver) = frame? {
                ghosts[at] += usize::from(deliver.event == Shown::Join);
                talk.sides[at].confirm(*deliver);
            }
        }
        Ok(talk)
    }

    /// So many more people of a.example come into a room, and Bob sees them all there.
    pub async fn crowd(&mut self, room: usize, people: usize) -> Result<(), BoxError> {
        let [alice, bob] = &mut self.sides;
        for n in 0..people {
            let act = Act { from: NativeUserId::new(format!("guest{n}")), ..alice.act(room, format!("guest {n}")) };
            alice.write(ClientFrame::Join(act));
        }
        let mut ghosts = 0;
        while ghosts < people {
            let (gateway, frame) = tokio::select! {
                frame = alice.hear() => (alice.gateway, frame?),
                frame = timeout(PATIENCE, bob.hear()) => {
                    (bob.gateway, frame.map_err(|_| bob.gateway.trouble("does not show who has come"))??)
                }
            };
            match frame {
                AdapterFrame::Deliver(deliver) => {
                    ghosts += usize::from(deliver.event == Shown::Join);
                    bob.confirm(*deliver);
                }
                AdapterFrame::Refused { reason, .. } => return Err(gateway.trouble(&reason)),
                _ => {}
            }
        }
        Ok(())
    }

    /// One side talks for `span` in some rooms, until the other has been shown everything.
    pub async fn carry(
        &mut self,
        way: Way,
        rooms: Range<usize>,
        span: Duration,
        pace: Pace,
    ) -> Result<Carried, BoxError> {
        let (first, rooms) = (rooms.start, rooms.len());
        let cpu = self.gateways.cpu_seconds()?;
        let mut latencies = Vec::new();
        let mut said = 0;
        let mut free: VecDeque<usize> = (0..rooms * WINDOW).map(|n| first + n % rooms).collect();
        let begun = Instant::now();
        let took = loop {
            let mut wait = PATIENCE;
            let mut talking = begun.elapsed() < span;
            while talking {
                let now = Instant::now();
                let (room, due) = match pace {
                    Pace::Flood => (free.pop_front(), now),
                    Pace::Even(rate) => (Some(first + said % rooms), begun + Duration::from_secs(said as u64) / rate),
                };
                match room {
                    Some(room) if due <= now => self.say(way, room, due),
                    Some(_) => {
                        wait = due - now;
                        break;
                    }
                    None => break,
                }
                said += 1;
                talking = begun.elapsed() < span;
            }
            if !talking && latencies.len() >= said {
                break begun.elapsed();
            }
            match timeout(wait, self.hear()).await {
                Ok(shown) => {
                    if let Some((room, latency)) = shown? {
                        latencies.push(latency);
                        free.push_back(room);
                    }
                }
                Err(_) if wait == PATIENCE => break begun.elapsed() - PATIENCE,
                Err(_) => {}
            }
        };
        let after = self.gateways.cpu_seconds()?;
        latencies.sort_unstable();
        Ok(Carried { messages: latencies.len(), took, latencies, cpu: [0, 1, 2].map(|who| after[who] - cpu[who]) })
    }

    fn say(&mut self, way: Way, room: usize, due: Instant) {
        let side = &self.sides[way as usize];
        let book = &mut self.books[way as usize][room];
        let number = book.said.len();
        let text = Written { text: format!("{number} {WORDS}"), markdown: false };
        side.write(ClientFrame::Say { act: side.act(room, format!("{room}-{number}")), text, reply_to: None });
        book.said.push(due);
        book.shown.push(false);
    }

    /// The next frame on either side. Answers room and latency of a message that is shown for the first time.
    async fn hear(&mut self) -> Result<Option<(usize, Duration)>, BoxError> {
        let [alice, bob] = &mut self.sides;
        let (listener, frame) = tokio::select! {
            frame = alice.hear() => (Way::FromHub, frame?),
            frame = bob.hear() => (Way::FromFollower, frame?),
        };
        let side = &self.sides[listener as usize];
        let deliver = match frame {
            AdapterFrame::Accepted { .. } => return Ok(None),
            AdapterFrame::Refused { .. } => {
                self.refused += 1;
                return Ok(None);
            }
            AdapterFrame::Unreadable { reason } => return Err(reason.into()),
            AdapterFrame::Ping {} | AdapterFrame::Receipt(_) => return Ok(None),
            AdapterFrame::Deliver(deliver) => deliver,
        };
        let room = deliver.conversation.as_str().parse::<usize>()?;
        let shown = match &deliver.event {
            Shown::Message { text, .. } => self.books[1 - listener as usize][room].enter(&text.text)?,
            // Taken and then given up.
            Shown::Notice { .. } => {
                self.refused += 1;
                None
            }
            _ => None,
        };
        side.confirm(*deliver);
        Ok(shown.map(|latency| (room, latency)))
    }

    /// A second copy would come now, if there were one.
    pub async fn wait_for_echoes(&mut self) -> Result<(), BoxError> {
        while let Ok(heard) = timeout(QUIET, self.hear()).await {
            heard?;
        }
        Ok(())
    }

    pub fn verdict(&self) -> Verdict {
        let mut verdict = Verdict { refused: self.refused, ..Verdict::default() };
        for book in self.books.iter().flatten() {
            verdict.said += book.said.len();
            verdict.lost += book.shown.iter().filter(|shown| !**shown).count();
            verdict.doubled += book.doubled;
            verdict.disordered += book.disordered;
        }
        verdict
    }
}

impl Book {
    /// How old a message is that is shown for the first time.
    fn enter(&mut self, text: &str) -> Result<Option<Duration>, BoxError> {
        let number =
            text.split_once(' ').filter(|(_, words)| *words == WORDS).and_then(|(n, _)| n.parse::<usize>().ok());
        let number = number.filter(|number| *number < self.said.len());
        let number = number.ok_or_else(|| format!("{text:?} was shown, and nobody said it"))?;
        if std::mem::replace(&mut self.shown[number], true) {
            self.doubled += 1;
            return Ok(None);
        }
        self.disordered += usize::from(number < self.highest);
        self.highest = self.highest.max(number);
        Ok(Some(self.said[number].elapsed()))
    }
}

/// A connection to a gateway's loopback socket.
struct Side<'g> {
    gateway: &'g Gateway,
    person: &'static str,
    lines: Lines<BufReader<OwnedReadHalf>>,
    /// Unbounded, so that whoever writes never stops reading.
    frames: mpsc::UnboundedSender<ClientFrame>,
}

impl<'g> Side<'g> {
    async fn connect(gateway: &'g Gateway, person: &'static str) -> Result<Self, BoxError> {
        let (reading, writing) = gateway.connect().await?.into_split();
        let (frames, queue) = mpsc::unbounded_channel();
        tokio::spawn(write(writing, queue));
        Ok(Self { gateway, person, lines: BufReader::new(reading).lines(), frames })
    }

    fn act(&self, room: usize, id: String) -> Act {
        Act {
            id: NativeMessageId::new(id),
            conversation: ConversationId::new(room.to_string()),
            from: NativeUserId::new(self.person),
            direct: None,
            thread: None,
        }
    }

    fn write(&self, frame: ClientFrame) {
        // An error means that the gateway has gone, which `hear` is about to say.
        let _ = self.frames.send(frame);
    }

    async fn hear(&mut self) -> Result<AdapterFrame, BoxError> {
        match self.lines.next_line().await {
            Ok(Some(line)) => {
                let frame: AdapterFrame = serde_json::from_str(&line)?;
                if frame == (AdapterFrame::Ping {}) {
                    self.write(ClientFrame::Pong {});
                }
                Ok(frame)
            }
            _ => Err(self.gateway.trouble("hung up")),
        }
    }

    /// What is shown gets the delivery's key as its name, if it is a message.
    fn confirm(&self, Deliver { key, event, .. }: Deliver) {
        let id = matches!(event, Shown::Message { .. }).then(|| NativeMessageId::new(key.as_str()));
        self.write(ClientFrame::Delivered { key, id });
    }
}

/// Flushes when there is no more to write, so that the load generator makes few system calls.
async fn write(mut stream: OwnedWriteHalf, mut queue: mpsc::UnboundedReceiver<ClientFrame>) -> Result<(), BoxError> {
    let mut octets = Vec::new();
    while let Some(frame) = queue.recv().await {
        octets.clear();
        for frame in std::iter::once(frame).chain(std::iter::from_fn(|| queue.try_recv().ok())) {
            serde_json::to_writer(&mut octets, &frame)?;
            octets.push(b'\n');
        }
        stream.write_all(&octets).await?;
    }
    Ok(())
}
