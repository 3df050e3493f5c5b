//! Where the organisation's MTA hands over mail: LMTP (RFC 2033), or SMTP for an MTA that has nothing else.
//!
//! An answer is a promise, so there is one for each recipient, and a 250 only when the [`Desk`] has the mail. In SMTP, which has
//! one answer for all, a transaction has one recipient; the MTA sends the mail again for the next.
//!
//! What ends a mail is `<CRLF>.<CRLF>` and nothing else, and a mail in which a CR or LF stands alone is refused: some
//! systems take that for the end of a line, and what one of them passes on as one mail is two for another, the second with a forged
//! sender ("SMTP smuggling"). There is no CHUNKING, so no BINARYMIME: mail has lines.

mod data;
mod session;

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use mimi_adapter::{CancellationToken, async_trait};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
};
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

use crate::config::Listen;

/// Connections at a time. A mail is held in memory while it is worked on.
const CONNECTIONS: usize = 20;

/// Who takes the mail.
#[async_trait]
pub trait Desk: Send + Sync + 'static {
    type Recipient: Send + Sync;

    /// Octets of the largest mail.
    fn max_mail(&self) -> usize;

    /// Whether anybody is at this address; if not, why, as a sentence.
    fn recipient(&self, address: &str) -> Result<Self::Recipient, String>;

    /// Takes a mail for one of its recipients. May take minutes.
    async fn take(&self, mail: &Mail, recipient: &Self::Recipient) -> Answer;
}

/// What the MTA has handed over.
pub struct Mail {
    /// Who connected to the MTA, if it says so (Postfix' XFORWARD).
    pub client: Option<IpAddr>,
    /// What they called themselves.
    pub helo: String,
    /// `MAIL FROM`; empty in `<>`.
    pub sender: String,
    /// Header and body, with CRLF at the ends of lines.
    pub octets: Arc<[u8]>,
}

/// Whose turn is it now?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Ours (250).
    Taken,
    /// The MTA's; it is to try again (451). Why, as a sentence.
    Later(String),
    /// The sender's, who gets the sentence in a bounce of the MTA (550).
    Never(String),
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

pub struct Listener(Socket);

impl Listener {
    pub async fn bind(at: &Listen) -> io::Result<Self> {
        Ok(Self(match at {
            Listen::Tcp(address) => Socket::Tcp(TcpListener::bind(address).await?),
            Listen::Unix(path) => {
                // Left behind by a process that was killed.
                match std::fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                Socket::Unix(UnixListener::bind(path)?)
            }
        }))
    }

    /// Until `stop`; then what is in hand is finished.
    pub async fn serve<D: Desk>(&self, desk: Arc<D>, stop: CancellationToken) {
        let (tracker, room) = (TaskTracker::new(), Arc::new(Semaphore::new(CONNECTIONS)));
        loop {
            let Some(permit) = stop.run_until_cancelled(room.clone().acquire_owned()).await else { break };
            let accepted = match &self.0 {
                Socket::Tcp(listener) => {
                    stop.run_until_cancelled(listener.accept()).await.map(|it| it.map(|(stream, _)| boxed(stream)))
                }
                Socket::Unix(listener) => {
                    stop.run_until_cancelled(listener.accept()).await.map(|it| it.map(|(stream, _)| boxed(stream)))
                }
            };
            match accepted {
                None => break,
                Some(Ok(stream)) => {
                    let (desk, stop) = (desk.clone(), stop.clone());
                    tracker.spawn(async move {
                        let _permit = permit;
                        if let Err(problem) = session::serve(stream, &*desk, &stop).await {
                            debug!(%problem, "A connection of the MTA has ended.");
                        }
                    });
                }
                Some(Err(problem)) => {
                    // No file descriptors, most likely: what has them will give them back.
                    info!(%problem, "The MTA could not connect.");
                    stop.run_until_cancelled(tokio::time::sleep(Duration::from_millis(200))).await;
                }
            }
        }
        tracker.close();
        tracker.wait().await;
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

fn boxed(stream: impl Stream + 'static) -> Box<dyn Stream> {
    Box::new(stream)
}
