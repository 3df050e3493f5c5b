//! The connection: one stream to the server for as long as it lasts, and again after that.
//!
//! A component has no stream management (XEP-0198), so a stanza that was written may or may not have
//! arrived when the connection breaks. Nothing here tries to find out: whoever sends waits for what proves
//! that it arrived ([`Link::expect`], a room's copy, an answer behind it), and a lost connection ends the
//! waiting with [`Failure::Lost`].

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mimi_adapter::{Canary, CancellationToken, Pulse, Refusal};
use minidom::Element;
use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};
use uuid::Uuid;
use xmpp_parsers::jid::{BareJid, Jid};

use crate::{
    config::Config,
    stanza::{self, ElementExt, StanzaError, ns},
    stream::{self, Reader, Writer},
};

/// How long others have to answer us. `deliver` may take half a minute in all.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long the rest of a closing stream may take.
const GOODBYE: Duration = Duration::from_secs(3);

/// Why something that was sent has come to nothing.
#[derive(Debug, Error)]
pub enum Failure {
    #[error("the connection to the XMPP server was lost")]
    Lost,
    #[error("{0} has not answered in time")]
    Timeout(Jid),
    #[error("{from} answers {error}")]
    Refused { from: Jid, error: StanzaError },
}

/// A live connection.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    number: u64,
    outgoing: mpsc::UnboundedSender<Element>,
    /// `None` once the connection is lost.
    waiting: Mutex<Option<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    /// By stanza name and id: from whom the answer has to come, and who waits for it.
    answers: HashMap<(&'static str, String), (Jid, oneshot::Sender<Element>)>,
    /// The results of archive queries that are running, by query id.
    results: HashMap<String, (Jid, Vec<Element>)>,
}

impl Link {
    fn new() -> (Self, mpsc::UnboundedReceiver<Element>) {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let (outgoing, to_write) = mpsc::unbounded_channel();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        (Self(Arc::new(Inner { number, outgoing, waiting: Mutex::new(Some(Waiting::default())) })), to_write)
    }

    /// Tells one connection of this process from the next.
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// Puts a stanza in line. If the connection breaks before it is written, it goes nowhere.
    pub fn send(&self, stanza: Element) {
        let _ = self.0.outgoing.send(stanza);
    }

    /// Asks with an `<iq/>` and waits for the result.
    pub async fn ask(&self, kind: &'static str, from: &Jid, to: &Jid, question: Element) -> Result<Element, Failure> {
        let id = Uuid::new_v4().to_string();
        let answer = self.expect("iq", &id, to);
        self.send(stanza::stanza("iq", from, to).attribute("type", kind).attribute("id", &id).child(question));
        let answer = timeout(PATIENCE, answer).await;
        let answer = answer.map_err(|_| Failure::Timeout(to.clone()))?.map_err(|_| Failure::Lost)?;
        match answer.attr("type") {
            Some("result") => Ok(answer),
            _ => Err(Failure::Refused { from: to.clone(), error: StanzaError::of(&answer) }),
        }
    }

    /// Waits until everything sent to `to` before has been dealt with there: stanzas between two addresses
    /// stay in order (RFC 6120 §10.1), so any answer to a later one is proof.
    pub async fn settle(&self, from: &Jid, to: &Jid) -> Result<(), Failure> {
        match self.ask("get", from, to, stanza::element("query", ns::DISCO_INFO)).await {
            Ok(_) | Err(Failure::Refused { .. }) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// The stanza of this name and id that comes back from `from`: an answer, or for a message its error.
    pub fn expect(&self, name: &'static str, id: &str, from: &Jid) -> oneshot::Receiver<Element> {
        let (answered, answer) = oneshot::channel();
        if let Some(waiting) = self.waiting().as_mut() {
            waiting.answers.retain(|_, (_, waiter)| !waiter.is_closed());
            waiting.answers.insert((name, id.to_owned()), (from.clone(), answered));
        }
        answer
    }

    /// Asks an archive and waits for the results and the `<fin/>` after them.
    pub async fn query(
        &self,
        from: &Jid,
        archive: &Jid,
        id: &str,
        question: Element,
    ) -> Result<(Vec<Element>, Element), Failure> {
        if let Some(waiting) = self.waiting().as_mut() {
            waiting.results.insert(id.to_owned(), (archive.clone(), Vec::new()));
        }
        let fin = self.ask("set", from, archive, question).await;
        let results = self.waiting().as_mut().and_then(|waiting| waiting.results.remove(id));
        Ok((results.ok_or(Failure::Lost)?.1, fin?))
    }

    /// Gives a stanza to whoever waits for it, or gives it back.
    fn answer(&self, stanza: Element) -> Option<Element> {
        let mut waiting = self.waiting();
        let (Some(waiting), Some(from)) = (waiting.as_mut(), stanza.jid("from")) else { return Some(stanza) };
        if let Some(result) = stanza.get_child("result", ns::MAM) {
            let running = result.attr("queryid").and_then(|id| waiting.results.get_mut(id));
            if let Some((_, results)) = running.filter(|(archive, _)| *archive == from) {
                results.push(result.clone());
            }
            return None;
        }
        let name = match (stanza.name(), stanza.attr("type")) {
            ("iq", Some("result" | "error")) => "iq",
            ("message", Some("error")) => "message",
            _ => return Some(stanza),
        };
        let key = (name, stanza.attr("id").unwrap_or_default().to_owned());
        match waiting.answers.remove(&key) {
            Some((expected, waiter)) if expected == from => drop(waiter.send(stanza)),
            Some(other) => drop(waiting.answers.insert(key, other)),
            None => debug!(%from, name, "An answer nobody waits for."),
        }
        None
    }

    fn lose(&self) {
        *self.waiting() = None;
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stays connected until `stop`, and hands over what comes in, in order; `lost` is called between one
/// connection and the next. After `stop` the stream stays open until `rest` is done, so that those who are
/// still at work can answer.
pub async fn run(
    config: &Config,
    links: &watch::Sender<Option<Link>>,
    pulse: &Pulse,
    handle: impl Fn(&Link, Element),
    lost: impl Fn(),
    stop: &CancellationToken,
    rest: impl Future<Output = ()>,
) {
    let mut rest = std::pin::pin!(rest);
    let mut backoff = Backoff::new();
    loop {
        let connecting = stream::connect(&config.server, config.component.as_str(), &config.secret);
        match stop.run_until_cancelled(connecting).await {
            None => return rest.await,
            Some(Ok((reader, writer))) => {
                info!(server = %config.server, component = %config.component, "Connected to the XMPP server.");
                let (link, to_write) = Link::new();
                links.send_replace(Some(link.clone()));
                let end = tokio::select! {
                    end = converse(reader, writer, &link, to_write, &handle, &mut backoff, stop, rest.as_mut()) => end,
                    () = until_deaf(&link, &config.component, pulse, config.canary) => End::Deaf,
                };
                links.send_replace(None);
                link.lose();
                lost();
                match end {
                    End::Stopped => return,
                    End::Lost(reason) => {
                        warn!(server = %config.server, reason, "Lost the XMPP server.");
                        pulse.down(format!("the connection to {} was lost: {reason}", config.server));
                    }
                    // The rooms are entered anew on the next connection, and what was missed is read in their archives.
                    End::Deaf => {
                        pulse.deaf("a ping of the gateway to itself does not come back: the stream is opened anew")
                    }
                }
            }
            Some(Err(error)) => {
                warn!(%error, "No connection to the XMPP server.");
                pulse.down(error.to_string());
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(backoff.next())).await.is_none() {
            return rest.await;
        }
    }
}

enum End {
    Stopped,
    Lost(String),
    Deaf,
}

/// The canary (XEP-0199): the gateway pings itself through the server. The question has to be read there and brought
/// back to us, and so has the answer, which proves the stream in both directions, whatever else it brings or doesn't.
/// Returns when that has taken too long. An error is an answer.
async fn until_deaf(link: &Link, component: &BareJid, pulse: &Pulse, canary: Canary) {
    let itself = Jid::from(component.clone());
    loop {
        match timeout(canary.patience, link.ask("get", &itself, &itself, stanza::element("ping", ns::PING))).await {
            Err(_) | Ok(Err(Failure::Timeout(_))) => return,
            // `converse` says why.
            Ok(Err(Failure::Lost)) => std::future::pending().await,
            Ok(Ok(_) | Err(Failure::Refused { .. })) => pulse.up(),
        }
        tokio::time::sleep(canary.every).await;
    }
}

#[allow(clippy::too_many_arguments)] // One caller; a struct for them would be named "arguments".
async fn converse(
    mut reader: Reader,
    writer: Writer,
    link: &Link,
    to_write: mpsc::UnboundedReceiver<Element>,
    handle: &impl Fn(&Link, Element),
    backoff: &mut Backoff,
    stop: &CancellationToken,
    mut rest: std::pin::Pin<&mut impl Future<Output = ()>>,
) -> End {
    let closing = CancellationToken::new();
    // Writing has a task of its own: two sides that both write and neither reads would wait for ever.
    let mut writing = AbortOnDropHandle::new(tokio::spawn(write(writer, to_write, closing.clone())));
    let lost = loop {
        tokio::select! {
            stanza = reader.stanza() => match stanza {
                Ok(Some(stanza)) => {
                    backoff.reset();
                    if let Some(reason) = receive(link, stanza, handle) { break reason; }
                }
                Ok(None) => break "the server has closed the stream".into(),
                Err(error) => break error.to_string(),
            },
            written = &mut writing => {
                break written.map_or_else(|panic| panic.to_string(), |result| result.map_or_else(|e| e.to_string(), |()| "closed".into()));
            }
            () = async { stop.cancelled().await; rest.as_mut().await } => {
                closing.cancel();
                let goodbye = async {
                    while let Ok(Some(stanza)) = reader.stanza().await { receive(link, stanza, handle); }
                };
                let _ = timeout(GOODBYE, goodbye).await;
                return End::Stopped;
            }
        }
    };
    End::Lost(lost)
}

/// Writes until `closing`, then what is still in line and the end of the stream.
async fn write(
    mut writer: Writer,
    mut to_write: mpsc::UnboundedReceiver<Element>,
    closing: CancellationToken,
) -> std::io::Result<()> {
    while let Some(Some(stanza)) = closing.run_until_cancelled(to_write.recv()).await {
        writer.write(&stanza).await?;
        mimi_adapter::failpoint!("xmpp.written");
    }
    while let Ok(stanza) = to_write.try_recv() {
        writer.write(&stanza).await?;
    }
    writer.close().await
}

/// Hands one stanza on. A stream error is the reason why the stream ends.
fn receive(link: &Link, stanza: Element, handle: &impl Fn(&Link, Element)) -> Option<String> {
    if stanza.name() == "error" && !stanza.has_ns(ns::STANZA) {
        return Some(stanza.children().next().map_or("a stream error", Element::name).to_owned());
    }
    if let Some(stanza) = link.answer(stanza) {
        handle(link, stanza);
    }
    None
}

/// The network's refusal, in the core's words. What only says that a server or room is away is waited for,
/// whatever its `type` claims: its queue waits, and nobody is told that a message is lost when it isn't.
impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        const AWAY: [&str; 5] = [
            "remote-server-timeout",
            "remote-server-not-found",
            "internal-server-error",
            "resource-constraint",
            "recipient-unavailable",
        ];
        match failure {
            Failure::Refused { from, error } if !error.wait && !AWAY.contains(&error.condition.as_str()) => {
                Self::reject(format!("{from} did not take it: {}", error.words()))
            }
            later => Self::retry(later),
        }
    }
}

/// 1, 2, 4 … 60 seconds.
pub struct Backoff(Duration);

impl Backoff {
    pub fn new() -> Self {
        Self(Duration::from_secs(1))
    }

    pub fn next(&mut self) -> Duration {
        let now = self.0;
        self.0 = (now * 2).min(Duration::from_secs(60));
        now
    }

    pub fn reset(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iq(kind: &str, from: &str) -> Element {
        format!("<iq xmlns='jabber:component:accept' type='{kind}' id='7' from='{from}'/>").parse().unwrap()
    }

    #[test]
    fn the_pause_between_attempts_grows_to_a_minute() {
        let mut backoff = Backoff::new();
        let pauses: Vec<u64> = (0..8).map(|_| backoff.next().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        backoff.reset();
        assert_eq!(backoff.next().as_secs(), 1);
    }

    #[tokio::test]
    async fn an_answer_counts_only_from_whom_it_was_asked() {
        let (link, _to_write) = Link::new();
        let mut answer = link.expect("iq", "7", &Jid::new("muc.b.example").unwrap());
        assert_eq!(link.answer(iq("result", "evil.example")), None);
        assert!(answer.try_recv().is_err());
        assert_eq!(link.answer(iq("result", "muc.b.example")), None);
        assert_eq!(answer.await.unwrap().attr("from"), Some("muc.b.example"));
        assert!(link.answer(iq("get", "muc.b.example")).is_some());
    }

    #[tokio::test]
    async fn a_lost_connection_ends_the_waiting() {
        let (link, _to_write) = Link::new();
        let room = Jid::new("tea@muc.b.example").unwrap();
        let before = link.expect("message", "key-1", &room);
        link.lose();
        assert!(before.await.is_err());
        assert!(link.expect("message", "key-2", &room).await.is_err());
    }

    #[test]
    fn a_refusal_says_whether_to_try_again() {
        let refused = |wait, condition: &str| {
            let error = StanzaError { wait, condition: condition.into(), text: String::new() };
            Refusal::from(Failure::Refused { from: Jid::new("bob@b.example").unwrap(), error })
        };
        assert!(matches!(refused(true, "policy-violation"), Refusal::Retry { .. }));
        assert!(matches!(refused(false, "remote-server-not-found"), Refusal::Retry { .. }));
        assert!(matches!(Refusal::from(Failure::Lost), Refusal::Retry { .. }));
        let Refusal::Reject { reason } = refused(false, "service-unavailable") else { panic!("should be final") };
        assert_eq!(reason, "bob@b.example did not take it: service unavailable");
    }
}
