//! A file somebody shares: what is known of it beforehand, and where its octets come from.
//!
//! Nobody holds a file in memory. In an [`Inbound`](crate::Inbound) the adapter says where the octets are to be had,
//! and the core reads them while it accepts; in a [`Delivery`](crate::Delivery) it is the other way round. Both are a
//! [`Source`], which can be opened again for another attempt: half a file is never sent on, an attempt begins anew.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use tokio::io::{AsyncRead, ReadBuf};

use crate::{BoxError, Refusal};

/// How many octets are read or written at a time.
pub const CHUNK: usize = 64 << 10;

/// `Asset` is how a file points at its octets: [`Octets`] on the adapter's side of the line, an address with a key
/// inside the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File<Asset = Octets> {
    /// As its owner calls it, without a path. May be empty.
    pub name: String,
    /// `image/jpeg`; `application/octet-stream` where nobody knows. Says what somebody claims, not what it is.
    pub media_type: String,
    /// In octets, as its owner says before anybody has read it. See [`Opened::size`] for what is so.
    pub size: Option<u64>,
    /// To be kept rather than to be shown between the messages (C§4.4, disposition `attachment`).
    pub attachment: bool,
    pub octets: Asset,
}

impl<Asset> File<Asset> {
    /// How long it may take to pass it on, for somebody who gives up a line on which nothing moves long before that:
    /// half a minute, and a second for each 128 KiB.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(30 + self.size.unwrap_or(100 << 20) / (128 << 10))
    }

    /// The same file, with its octets elsewhere.
    pub fn at<Other>(self, octets: Other) -> File<Other> {
        let Self { name, media_type, size, attachment, .. } = self;
        File { name, media_type, size, attachment, octets }
    }
}

/// Where the octets of a file come from.
#[async_trait]
pub trait Source: Send + Sync {
    /// Begins with the first octet, every time. `Reject` if they will never be had (the words are for whoever sent
    /// the file). A stream that breaks off ends with an error, which means `Retry`; without one it was whole.
    async fn open(&self) -> Result<Opened, Refusal>;
}

/// The octets of a file, as they come.
pub type Reader = Pin<Box<dyn AsyncRead + Send>>;

pub struct Opened {
    /// How many they are. Always known in a [`Delivery`](crate::Delivery), where all of them are on this machine.
    pub size: Option<u64>,
    pub octets: Reader,
}

/// A [`Source`] to hand on. Two are always equal: where octets come from says nothing about what they are.
#[derive(Clone)]
pub struct Octets(Arc<dyn Source>);

impl Octets {
    pub fn new(source: impl Source + 'static) -> Self {
        Self(Arc::new(source))
    }

    /// See [`Source::open`].
    pub async fn open(&self) -> Result<Opened, Refusal> {
        self.0.open().await
    }
}

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl PartialEq for Octets {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Octets {}

/// A small file that is in memory: for tests.
#[async_trait]
impl Source for Vec<u8> {
    async fn open(&self) -> Result<Opened, Refusal> {
        Ok(Opened { size: Some(self.len() as u64), octets: Box::pin(io::Cursor::new(self.clone())) })
    }
}

/// Why a stream of octets ended early: the words of a [`Refusal`], which says whose turn it is.
pub fn broken_off(error: io::Error) -> Refusal {
    match error.downcast::<Refusal>() {
        Ok(refusal) => refusal,
        Err(error) => Refusal::retry(BoxError::from(error)),
    }
}

/// Reads no more than `most` octets, and then ends with a `Reject` that says `words`.
pub struct AtMost<R> {
    inner: R,
    left: u64,
    words: String,
}

impl<R> AtMost<R> {
    pub fn new(inner: R, most: u64, words: impl Into<String>) -> Self {
        Self { inner, left: most, words: words.into() }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for AtMost<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        let read = (buf.filled().len() - before) as u64;
        match this.left.checked_sub(read) {
            Some(left) => {
                this.left = left;
                Poll::Ready(Ok(()))
            }
            None => {
                buf.set_filled(before);
                Poll::Ready(Err(io::Error::other(Refusal::reject(this.words.clone()))))
            }
        }
    }
}

/// `12.4 MiB`, for people.
pub fn size_in_words(octets: u64) -> String {
    match octets {
        0..1024 => format!("{octets} octets"),
        _ if octets < 1 << 20 => tenths(octets, 1 << 10, "KiB"),
        _ if octets < 1 << 30 => tenths(octets, 1 << 20, "MiB"),
        _ => tenths(octets, 1 << 30, "GiB"),
    }
}

fn tenths(octets: u64, unit: u64, name: &str) -> String {
    match (octets / unit, octets % unit * 10 / unit) {
        (whole, 0) => format!("{whole} {name}"),
        (whole, tenths) => format!("{whole}.{tenths} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn what_is_too_long_ends_with_the_words_for_its_sender() {
        let read = async |most| {
            let octets = Octets::new(b"0123456789".to_vec()).open().await.unwrap().octets;
            let mut all = Vec::new();
            AtMost::new(octets, most, "it is too long").read_to_end(&mut all).await.map(|_| all)
        };
        assert_eq!(read(10).await.unwrap(), b"0123456789");
        let Refusal::Reject { reason } = broken_off(read(9).await.unwrap_err()) else { panic!("that is final") };
        assert_eq!(reason, "it is too long");
    }

    #[test]
    fn a_line_that_breaks_is_no_fault_of_the_file() {
        assert!(matches!(broken_off(io::ErrorKind::ConnectionReset.into()), Refusal::Retry { .. }));
    }

    #[test]
    fn sizes_are_said_in_words() {
        for (octets, words) in [
            (0, "0 octets"),
            (1023, "1023 octets"),
            (1536, "1.5 KiB"),
            (100 << 20, "100 MiB"),
            ((100 << 20) - 1, "99.9 MiB"),
            (3 << 30, "3 GiB"),
        ] {
            assert_eq!(size_in_words(octets), words);
        }
    }
}
