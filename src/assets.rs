//! Files: ours, kept for others to fetch, and theirs, fetched for our people.
//!
//! A message has only the address of a file in it, and the key (C§4.5, ExternalPart). The octets are encrypted as they
//! come in and lie in a directory of ours under a name that nobody can guess, and whoever asks us for that name over
//! mutual TLS gets them. Who reads the message of another provider's person asks the room's hub to fetch the file
//! (P§5.10.2), so that the provider that has it learns nothing of who reads; for our own rooms that is us.
//!
//! Invariants: a message says nothing of a file before all of it is on the disk; nothing is shown of a file before its
//! hash and its tag are found to be right; nowhere is more than a chunk of it in memory.
//!
//! There is no table of what is kept: the directory is that. A file whose message was never accepted, because we ended
//! between the two, is as old one day as any other, and goes. What is fetched lies in a file without a name, which
//! goes with the process, whatever happens to that.

mod fetch;
mod gcm;
mod oblivious;

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, UNIX_EPOCH},
};

use mimi_adapter::{Opened, Reader, Refusal, file};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tracing::{info, warn};

use self::gcm::Seal;
use crate::{
    core::{Core, Fault},
    provider::{ASSETS, AssetName},
};

pub use fetch::ProxyError;

/// AES-128-GCM among the AEAD algorithms, SHA-256 among those of Named Information.
pub const AES_128_GCM: u16 = 1;
pub const SHA_256: u8 = 1;

/// Who writes a file writes often. What is half there and was not written to for this long is nobody's.
const ABANDONED: Duration = Duration::from_secs(3600);

/// `[assets]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub directory: PathBuf,
    /// The largest file, in octets, in both directions.
    pub max_size: u64,
    pub keep_days: u64,
}

impl Settings {
    pub const MAX_SIZE: u64 = 100 << 20;
    pub const KEEP_DAYS: u64 = 30;

    pub fn of(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), max_size: Self::MAX_SIZE, keep_days: Self::KEEP_DAYS }
    }

    /// What is wrong with the directory, and what to do. Makes it if it is not there.
    pub fn check(&self) -> Result<(), String> {
        let problem = |e: io::Error| {
            let directory = self.directory.display();
            format!("{directory} can't be used: {e} (make it, and let the gateway's account write there)")
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).map_err(problem)
    }
}

/// The files we keep for others.
pub struct Assets {
    settings: Settings,
    /// What the address of a file begins with: `https://a.example:8443`.
    base: String,
    pub troubles: Troubles,
}

/// Where the octets of a file are, and how they are read: what an ExternalPart says about that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asset {
    pub url: String,
    /// In seconds since the epoch; 0 is never.
    pub expires: u32,
    pub enc_alg: u16,
    pub key: Vec<u8>,
    pub nonce: Vec<u8>,
    pub aad: Vec<u8>,
    pub hash_alg: u8,
    pub content_hash: Vec<u8>,
}

impl Assets {
    pub fn open(settings: Settings, base: String) -> Result<Self, String> {
        settings.check()?;
        Ok(Self { settings, base, troubles: Troubles::default() })
    }

    pub fn max_size(&self) -> u64 {
        self.settings.max_size
    }

    fn path(&self, name: &AssetName) -> PathBuf {
        self.settings.directory.join(name.as_str())
    }

    /// The name of a file of ours, if this is its address.
    fn ours(&self, url: &str) -> Option<AssetName> {
        AssetName::parse(url.strip_prefix(&self.base)?.strip_prefix(ASSETS)?)
    }

    /// Encrypts what `octets` brings, and keeps it. When this returns, it is on the disk. Answers its size as well.
    pub async fn keep(&self, octets: Reader, now: u64) -> Result<(Asset, u64), NotKept> {
        let name = AssetName::random();
        let part = self.settings.directory.join(format!("{}.part", name.as_str()));
        let kept = self.write(octets, &name, &part, now).await;
        if kept.is_err() {
            let _ = tokio::fs::remove_file(&part).await;
        }
        kept
    }

    async fn write(
        &self,
        mut octets: Reader,
        name: &AssetName,
        part: &Path,
        now: u64,
    ) -> Result<(Asset, u64), NotKept> {
        let (key, nonce): (gcm::Key, gcm::Nonce) = (rand::random(), rand::random());
        let (mut seal, mut hash, mut size) = (Seal::new(&key, &nonce), Sha256::new(), 0);
        let mut disk = tokio::fs::File::create_new(part).await.map_err(unwritable)?;
        let mut chunk = vec![0; file::CHUNK];
        loop {
            let read = octets.read(&mut chunk).await.map_err(|e| NotKept::Theirs(file::broken_off(e)))?;
            if read == 0 {
                break;
            }
            size += read as u64;
            if size > gcm::MAX_TEXT {
                return Err(NotKept::Theirs(Refusal::reject("no file as large as that can be encrypted")));
            }
            seal.seal(&mut chunk[..read]);
            hash.update(&chunk[..read]);
            disk.write_all(&chunk[..read]).await.map_err(unwritable)?;
        }
        let tag = seal.tag();
        hash.update(tag);
        disk.write_all(&tag).await.map_err(unwritable)?;
        mimi_adapter::failpoint!("assets.written");
        disk.sync_all().await.map_err(unwritable)?;
        tokio::fs::rename(part, self.path(name)).await.map_err(unwritable)?;
        let directory = tokio::fs::File::open(&self.settings.directory).await.map_err(unwritable)?;
        directory.sync_all().await.map_err(unwritable)?;
        mimi_adapter::failpoint!("assets.kept");
        let asset = Asset {
            url: format!("{}{ASSETS}{}", self.base, name.as_str()),
            expires: u32::try_from(now / 1000 + self.settings.keep_days * 24 * 3600).unwrap_or_default(),
            enc_alg: AES_128_GCM,
            key: key.to_vec(),
            nonce: nonce.to_vec(),
            aad: Vec::new(),
            hash_alg: SHA_256,
            content_hash: hash.finalize().to_vec(),
        };
        Ok((asset, size))
    }

    /// A file of ours as it lies on the disk; `None` if there is none of that name, or no longer.
    pub async fn read(&self, name: &AssetName, now: u64) -> Result<Option<Opened>, Fault> {
        let disk = match tokio::fs::File::open(self.path(name)).await {
            Ok(disk) => disk,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Fault::later(e)),
        };
        let metadata = disk.metadata().await.map_err(Fault::later)?;
        if age(&metadata, now) > self.keep_for() {
            return Ok(None);
        }
        Ok(Some(Opened { size: Some(metadata.len()), octets: Box::pin(disk) }))
    }

    fn keep_for(&self) -> Duration {
        Duration::from_secs(self.settings.keep_days * 24 * 3600)
    }

    /// Removes what is too old, and what somebody has left half written.
    fn prune(&self, now: u64) -> io::Result<usize> {
        let mut gone = 0;
        for entry in fs::read_dir(&self.settings.directory)? {
            let (path, metadata) = match entry.and_then(|entry| Ok((entry.path(), entry.metadata()?))) {
                Ok(found) => found,
                // Another process has just removed it.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let keep = match name.strip_suffix(".part") {
                Some(name) if AssetName::parse(name).is_some() => ABANDONED,
                // A day more than was promised, for who has begun to read it, or has another clock.
                None if AssetName::parse(name).is_some() => self.keep_for() + Duration::from_secs(24 * 3600),
                _ => continue,
            };
            if age(&metadata, now) > keep {
                fs::remove_file(&path)?;
                gone += 1;
            }
        }
        Ok(gone)
    }
}

fn age(metadata: &fs::Metadata, now: u64) -> Duration {
    let written = metadata.modified().ok().and_then(|written| written.duration_since(UNIX_EPOCH).ok());
    Duration::from_millis(now).saturating_sub(written.unwrap_or_default())
}

/// The disk is full, or worse: somebody has to mend that, and the file waits with whoever has it.
fn unwritable(e: io::Error) -> NotKept {
    warn!(problem = %e, "A file can't be kept.");
    NotKept::Ours(Refusal::retry(format!("the gateway can't write a file to its disk: {e}")))
}

/// Whose fault it is that a file is not kept.
#[derive(Debug)]
pub enum NotKept {
    /// Its octets could not be had.
    Theirs(Refusal),
    Ours(Refusal),
}

/// Since when what can't be had is tried for, by its name. What waits behind it can't wait for ever. Losable.
#[derive(Default)]
pub struct Troubles(Mutex<HashMap<String, u64>>);

impl Troubles {
    /// Another attempt has failed. Answers how long ago the first one did.
    pub fn last(&self, name: &str, now: u64) -> Duration {
        let mut begun = self.begun();
        begun.retain(|_, since| now.saturating_sub(*since) < 24 * 3600 * 1000);
        let since = *begun.entry(name.to_owned()).or_insert(now);
        Duration::from_millis(now.saturating_sub(since))
    }

    pub fn end(&self, name: &str) {
        self.begun().remove(name);
    }

    fn begun(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Octets until the gateway is told to stop: a large file is begun anew at the next start rather than waited for.
pub struct UntilStop<R> {
    pub octets: R,
    pub core: Arc<Core>,
}

impl<R: AsyncRead + Unpin> AsyncRead for UntilStop<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.core.dispatcher.stopping() {
            true => Poll::Ready(Err(io::Error::other(Refusal::retry("the gateway is stopping")))),
            false => Pin::new(&mut self.octets).poll_read(cx, buf),
        }
    }
}

impl Core {
    /// Removes the files that nobody is promised any more.
    pub(crate) async fn forget_assets(self: &Arc<Self>) -> Result<(), Fault> {
        let (core, now) = (self.clone(), self.now());
        let pruned = tokio::task::spawn_blocking(move || core.assets.prune(now)).await.map_err(Fault::broken)?;
        match pruned.map_err(|e| Fault::later(format!("old files can't be removed: {e}")))? {
            0 => {}
            files => info!(files, "Old files are gone."),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use aes_gcm::{
        Aes128Gcm, KeyInit,
        aead::{Aead, Payload},
    };

    use super::*;

    const NOW: u64 = 1_790_000_000_000;

    fn assets(directory: &tempfile::TempDir) -> Assets {
        Assets::open(Settings::of(directory.path()), "https://a.example".into()).unwrap()
    }

    fn octets(octets: &[u8]) -> Reader {
        Box::pin(io::Cursor::new(octets.to_vec()))
    }

    fn real_time() -> u64 {
        crate::core::system_clock()()
    }

    #[tokio::test]
    async fn what_is_kept_is_what_the_draft_says_and_anybody_can_decrypt() {
        let directory = tempfile::tempdir().unwrap();
        let assets = assets(&directory);
        for length in [0, 1, 16, file::CHUNK, 3 * file::CHUNK + 5] {
            let text: Vec<u8> = (0..length).map(|n| (n * 7) as u8).collect();
            let (asset, size) = assets.keep(octets(&text), NOW).await.unwrap();
            assert_eq!(size, length as u64);
            assert_eq!((asset.enc_alg, asset.hash_alg, asset.expires), (1, 1, 1_792_592_000));
            let name = assets.ours(&asset.url).unwrap();
            let Opened { size, octets: mut kept } = assets.read(&name, real_time()).await.unwrap().unwrap();
            let mut ciphertext = Vec::new();
            kept.read_to_end(&mut ciphertext).await.unwrap();
            assert_eq!(size, Some(length as u64 + 16));
            assert_eq!(Sha256::digest(&ciphertext)[..], asset.content_hash);
            let cipher = Aes128Gcm::new_from_slice(&asset.key).unwrap();
            let payload = Payload { msg: &ciphertext, aad: b"" };
            assert_eq!(cipher.decrypt(asset.nonce[..].into(), payload).unwrap(), text);
        }
    }

    #[tokio::test]
    async fn a_file_that_breaks_off_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let assets = assets(&directory);
        let broken = octets(b"half").chain(file::AtMost::new(octets(b"and more"), 0, "it is too long"));
        let Err(NotKept::Theirs(Refusal::Reject { reason })) = assets.keep(Box::pin(broken), NOW).await else {
            panic!("it is whole")
        };
        assert_eq!(reason, "it is too long");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_is_old_is_not_given_out_and_then_removed() {
        let directory = tempfile::tempdir().unwrap();
        let assets = assets(&directory);
        let (asset, _) = assets.keep(octets(b"Tea."), NOW).await.unwrap();
        let name = assets.ours(&asset.url).unwrap();
        let half = directory.path().join(format!("{}.part", AssetName::random().as_str()));
        let not_ours = directory.path().join("README");
        fs::write(&half, "").unwrap();
        fs::write(&not_ours, "").unwrap();
        let after = |days: u64, hours: u64| real_time() + (days * 24 + hours) * 3_600_000;

        assert_eq!(assets.prune(after(0, 0)).unwrap(), 0, "somebody may be writing");
        assert_eq!(assets.prune(after(0, 2)).unwrap(), 1);
        assert!(!half.exists());
        assert!(assets.read(&name, after(29, 23)).await.unwrap().is_some());
        assert!(assets.read(&name, after(30, 1)).await.unwrap().is_none());
        assert_eq!(assets.prune(after(30, 1)).unwrap(), 0);
        assert_eq!(assets.prune(after(31, 1)).unwrap(), 1);
        assert!(not_ours.exists());
    }

    #[test]
    fn only_an_address_of_ours_is_ours() {
        let directory = tempfile::tempdir().unwrap();
        let assets = assets(&directory);
        let name = "0".repeat(64);
        assert!(assets.ours(&format!("https://a.example/mimi/v1/assets/{name}")).is_some());
        for other in [
            format!("https://b.example/mimi/v1/assets/{name}"),
            format!("https://a.example.evil.example/mimi/v1/assets/{name}"),
            format!("https://a.example/mimi/v1/assets/{name}?"),
            "https://a.example/mimi/v1/assets/../gateway.sqlite".into(),
        ] {
            assert_eq!(assets.ours(&other).map(|name| name.as_str().to_owned()), None, "{other}");
        }
    }
}
