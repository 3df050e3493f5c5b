//! Files of others: fetched from where they are, found right, and only then shown.

use std::{
    io::{self, SeekFrom},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use aes::cipher::StreamCipher;
use http::StatusCode;
use mimi_adapter::{BoxError, Domain, File, Octets, Opened, Refusal, Source, async_trait, file};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWriteExt, ReadBuf, Take};
use tracing::{debug, info};

use super::{AES_128_GCM, Asset, Assets, SHA_256, UntilStop, gcm};
use crate::{
    core::{Core, Fault, hash},
    hub::HubError,
    mimi::{
        component,
        policy::{AssetAsked, AssetPolicy, DownloadPrivacyType},
        tls::Tls,
        uri::{RoomUri, UserUri},
    },
    provider::{AssetName, AssetUrl, CallError},
    store::{Tx, rooms::RoomGroup},
};

/// What comes after a file waits for it. When it can't be fetched for so long, people are shown that there was one.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A file to be fetched when it is opened.
struct Fetched {
    core: Arc<Core>,
    room: RoomUri,
    owner: Domain,
    ways: Vec<DownloadPrivacyType>,
    url: AssetUrl,
    asset: Asset,
    opening: Opening,
    /// The largest file that can be shown, in octets.
    most: u64,
}

/// How what lies at the URL is to be read.
enum Opening {
    Plain,
    Aes128Gcm { key: gcm::Key, nonce: gcm::Nonce },
}

impl Core {
    /// The policy of a room about files, if it has one.
    pub async fn asset_policy(&self, tx: &mut Tx, group: &RoomGroup) -> Result<Option<AssetPolicy>, Fault> {
        let policy = |member: &mut crate::mls::Member| {
            Ok::<_, Fault>(member.dictionary().get(&component::ASSET_POLICY).cloned())
        };
        let octets = self.groups.member(tx, group.reader, &group.group_id, policy).await?;
        Ok(octets.and_then(|octets| AssetPolicy::decode(&octets).ok()))
    }

    /// The file of a message, to be fetched when it is opened. `Err` says why it never will be.
    pub async fn file_of(
        self: &Arc<Self>,
        tx: &mut Tx,
        room: &RoomUri,
        sender: &UserUri,
        file: File<Asset>,
        most: u64,
    ) -> Result<Result<File<Octets>, String>, Fault> {
        let url = match AssetUrl::parse(&file.octets.url) {
            Ok(url) => url,
            Err(problem) => return Ok(Err(format!("its address {problem}"))),
        };
        let opening = match opening(&file.octets) {
            Ok(opening) => opening,
            Err(problem) => return Ok(Err(problem)),
        };
        let mut ways = vec![DownloadPrivacyType::HubProxy];
        let group = tx.room(room).await?.and_then(|room| room.group);
        if let Some(group) = group
            && let Some(policy) = self.asset_policy(tx, &group).await?
        {
            let (provider, media_type) = (sender.domain(), file.media_type.as_str());
            let asked = AssetAsked { provider, host: url.host(), media_type, size: file.size };
            if let Err(problem) = policy.check(asked) {
                return Ok(Err(problem));
            }
            ways = policy.ways();
            if ways.is_empty() {
                return Ok(Err("the room does not allow to fetch files through its hub".into()));
            }
        }
        let fetched = Fetched {
            core: self.clone(),
            room: room.clone(),
            owner: sender.domain().clone(),
            ways,
            url,
            asset: file.octets.clone(),
            opening,
            most: most.min(self.assets.max_size()),
        };
        Ok(Ok(file.at(Octets::new(fetched))))
    }

    /// `GET /proxyDownload/…` (P§5.10.2): a file of a provider that is in a room of ours together with the one that asks.
    pub async fn proxied(self: &Arc<Self>, from: &Domain, url: &str) -> Result<Opened, ProxyError> {
        let url = AssetUrl::parse(url).map_err(|problem| ProxyError::Malformed(format!("the URL {problem}")))?;
        if let Some(name) = self.assets.ours(url.as_str()) {
            return self.assets.read(&name, self.now()).await?.ok_or(ProxyError::Missing);
        }
        if *url.host() == self.domain {
            return Err(ProxyError::Missing);
        }
        let (asking, host) = (from.clone(), url.host().clone());
        let owner = self.write(move |core, tx| {
            Box::pin(async move { core.owner_of_host(tx, &asking, &host).await.map_err(Fault::from) })
        });
        let owner = owner.await?.ok_or_else(|| {
            ProxyError::Fault(Fault::never(format!("{} has no files for anybody in a room with {from}", url.host())))
        })?;
        debug!(%from, %owner, "A file is fetched for another provider.");
        let opened = self.peers.fetch(&owner, &url).await.map_err(|problem| match problem {
            CallError::Never { status: Some(status), .. } if matches!(status.as_u16(), 404 | 410) => {
                ProxyError::Missing
            }
            CallError::Never { reason, .. } => ProxyError::Fault(Fault::never(reason)),
            CallError::Later { reason, .. } => ProxyError::Unreachable(reason),
        })?;
        let most = self.assets.max_size() + gcm::TAG as u64;
        if opened.size.is_some_and(|size| size > most) {
            return Err(ProxyError::Fault(Fault::never(format!(
                "the file is larger than the {most} octets we pass on"
            ))));
        }
        let octets = file::AtMost::new(opened.octets, most, "the file is too large");
        Ok(Opened { size: opened.size, octets: Box::pin(octets) })
    }

    /// The provider that has files at `host` and is in a room of ours together with `from`. The participants that our
    /// own clients know say where to look; what is believed is what the hub knows.
    async fn owner_of_host(&self, tx: &mut Tx, from: &Domain, host: &Domain) -> Result<Option<Domain>, HubError> {
        for other in [Some(host), None] {
            for room in tx.hub_rooms_with(from, other).await? {
                let Some(hub) = tx.hub_room(&room).await? else { continue };
                let (_, state, _) = self.hub_state(tx, &hub).await?;
                let providers = crate::hub::providers(&state);
                if !providers.contains(from) {
                    continue;
                }
                let has = |provider: &&Domain| match &state.policy.assets {
                    Some(policy) => policy.has_assets_at(provider, host),
                    None => *provider == host,
                };
                if let Some(owner) = providers.iter().find(has) {
                    return Ok(Some(owner.clone()));
                }
            }
        }
        Ok(None)
    }

    /// Where a file can be had: from us, from the hub, or by us as the hub.
    async fn ask_for(
        &self,
        room: &RoomUri,
        owner: &Domain,
        ways: &[DownloadPrivacyType],
        url: &AssetUrl,
    ) -> Result<Opened, Refusal> {
        if let Some(name) = self.assets.ours(url.as_str()) {
            let kept = self.assets.read(&name, self.now()).await?;
            return kept.ok_or_else(|| Refusal::reject("it is no longer there"));
        }
        let hub = room.domain();
        let asked = if *hub == self.domain {
            self.peers.fetch(owner, url).await
        } else {
            self.through_hub(hub, ways, url).await
        };
        asked.map_err(|problem| {
            info!(%room, %owner, %problem, "A file could not be fetched.");
            match problem {
                CallError::Never { status: Some(status), .. } if matches!(status.as_u16(), 404 | 410) => {
                    Refusal::reject("it is no longer there")
                }
                CallError::Never { reason, .. } => Refusal::reject(format!("it could not be fetched: {reason}")),
                CallError::Later { after, reason, .. } => Refusal::Retry { after, source: reason.into() },
            }
        })
    }

    /// By the first way that the hub has, and that is wide enough for the file.
    async fn through_hub(
        &self,
        hub: &Domain,
        ways: &[DownloadPrivacyType],
        url: &AssetUrl,
    ) -> Result<Opened, CallError> {
        let no_way = format!("{hub} has no OHTTP gateway, and the room allows no other way");
        let mut problem = CallError::Never { status: None, reason: no_way };
        for way in ways {
            let asked = match way {
                DownloadPrivacyType::Ohttp => self.peers.oblivious_download(hub, url).await,
                _ => self.peers.proxy_download(hub, url.as_str()).await.map(Some),
            };
            match asked {
                Ok(Some(opened)) => return Ok(opened),
                Ok(None) => {}
                Err(CallError::Never { status: Some(StatusCode::PAYLOAD_TOO_LARGE), .. }) => {
                    let reason = format!("{hub} does not pass on a file as large as this");
                    problem = CallError::Never { status: None, reason };
                }
                Err(problem) => return Err(problem),
            }
        }
        Err(problem)
    }
}

/// Why a file is not passed on.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("{0}")]
    Malformed(String),
    #[error("there is no such file")]
    Missing,
    #[error("{0}")]
    Unreachable(String),
    #[error(transparent)]
    Fault(#[from] Fault),
}

fn opening(asset: &Asset) -> Result<Opening, String> {
    match asset.enc_alg {
        0 => Ok(Opening::Plain),
        AES_128_GCM => {
            let (key, nonce) = (asset.key[..].try_into(), asset.nonce[..].try_into());
            match (key, nonce) {
                (Ok(key), Ok(nonce)) => Ok(Opening::Aes128Gcm { key, nonce }),
                _ => Err("its key or its nonce has the wrong length".into()),
            }
        }
        other => Err(format!("it is encrypted by the AEAD algorithm {other}, which is not known here")),
    }
}

#[async_trait]
impl Source for Fetched {
    async fn open(&self) -> Result<Opened, Refusal> {
        let opened = self.fetch().await;
        let (core, troubles) = (&self.core, &self.core.assets.troubles);
        match opened {
            Err(Refusal::Retry { source, .. }) if troubles.last(self.url.as_str(), core.now()) > PATIENCE => {
                Err(Refusal::reject(format!("it could not be fetched: {source}")))
            }
            Err(later @ Refusal::Retry { .. }) => Err(later),
            other => {
                troubles.end(self.url.as_str());
                other
            }
        }
    }
}

impl Fetched {
    async fn fetch(&self) -> Result<Opened, Refusal> {
        if self.asset.expires > 0 && u64::from(self.asset.expires) * 1000 < self.core.now() {
            return Err(Refusal::reject("it has expired"));
        }
        let extra = match self.opening {
            Opening::Plain => 0,
            Opening::Aes128Gcm { .. } => gcm::TAG as u64,
        };
        let too_large = || format!("it is larger than the {} that can be shown there", file::size_in_words(self.most));
        let opened = self.core.ask_for(&self.room, &self.owner, &self.ways, &self.url).await?;
        if opened.size.is_some_and(|size| size > self.most + extra) {
            return Err(Refusal::reject(too_large()));
        }
        let octets = file::AtMost::new(opened.octets, self.most + extra, too_large());
        let octets = UntilStop { octets, core: self.core.clone() };
        let (disk, length) = self.save(octets, opened.size).await?;
        let shown = length.saturating_sub(extra);
        mimi_adapter::failpoint!("assets.fetched");
        let octets = match &self.opening {
            Opening::Plain => Box::pin(disk.take(shown)) as file::Reader,
            Opening::Aes128Gcm { key, nonce } => {
                Box::pin(Decrypting { disk: disk.take(shown), stream: gcm::keystream(key, nonce) })
            }
        };
        Ok(Opened { size: Some(shown), octets: Box::pin(UntilStop { octets, core: self.core.clone() }) })
    }

    /// Has it on our disk, and found right. Answers its length there.
    async fn save(
        &self,
        mut octets: impl AsyncRead + Unpin,
        promised: Option<u64>,
    ) -> Result<(tokio::fs::File, u64), Refusal> {
        let mut disk = self.core.assets.nameless().await.map_err(unwritable)?;
        let mut sum = Sha256::new();
        let mut check = match &self.opening {
            Opening::Plain => None,
            Opening::Aes128Gcm { key, nonce } => Some(gcm::Check::new(key, nonce, &self.asset.aad)),
        };
        // What may be the tag is held back.
        let mut tail = Vec::with_capacity(file::CHUNK + gcm::TAG);
        let (mut chunk, mut length) = (vec![0; file::CHUNK], 0);
        loop {
            let read = octets.read(&mut chunk).await.map_err(file::broken_off)?;
            if read == 0 {
                break;
            }
            let piece = &chunk[..read];
            length += read as u64;
            sum.update(piece);
            disk.write_all(piece).await.map_err(unwritable)?;
            if let Some(check) = &mut check {
                tail.extend_from_slice(piece);
                let text = tail.len().saturating_sub(gcm::TAG);
                check.update(&tail[..text]);
                tail.drain(..text);
            }
        }
        if promised.is_some_and(|promised| promised != length) {
            return Err(Refusal::retry("the file broke off"));
        }
        let right = match self.asset.hash_alg {
            SHA_256 => sum.finalize()[..] == self.asset.content_hash,
            0 => true,
            other => return Err(Refusal::reject(format!("its hash is of the kind {other}, which is not known here"))),
        };
        // Neither is a secret, so it may take any time to compare them.
        let right = right && check.is_none_or(|check| check.tag()[..] == tail[..]);
        if !right {
            info!(room = %self.room, owner = %self.owner, url = hex::encode(hash(self.url.as_str().as_bytes())), "A file is not what its message says.");
            return Err(Refusal::reject("its octets are not the ones that were sent"));
        }
        disk.flush().await.map_err(unwritable)?;
        disk.seek(SeekFrom::Start(0)).await.map_err(unwritable)?;
        Ok((disk, length))
    }
}

impl Assets {
    /// A file that is gone when it is closed, or the process ends.
    async fn nameless(&self) -> io::Result<tokio::fs::File> {
        let path = self.settings.directory.join(format!("{}.part", AssetName::random().as_str()));
        let mut options = tokio::fs::OpenOptions::new();
        let disk = options.read(true).write(true).create_new(true).open(&path).await?;
        tokio::fs::remove_file(&path).await?;
        Ok(disk)
    }
}

fn unwritable(e: io::Error) -> Refusal {
    Refusal::retry(BoxError::from(format!("the gateway can't write a file to its disk: {e}")))
}

/// What has been found right, in the clear.
struct Decrypting {
    disk: Take<tokio::fs::File>,
    stream: gcm::Keystream,
}

impl AsyncRead for Decrypting {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.disk).poll_read(cx, buf))?;
        self.stream.apply_keystream(&mut buf.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}
