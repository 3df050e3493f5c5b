//! Files of the network: they lie in a directory that the gateway and the people share, and a frame names one in it.

use std::{
    io,
    path::{Path, PathBuf},
};

use mimi_adapter::{DeliveryKey, File, Octets, Opened, Refusal, Source, async_trait, file};
use tokio::io::AsyncReadExt;

use crate::frame::Shared;

/// A file that somebody here shares, to be read by the core.
pub(crate) fn shared(directory: Option<&Path>, shared: Shared) -> File {
    let Shared { at, name, media_type, size, attachment } = shared;
    // Nobody reads the rest of the machine through us.
    let plain = !at.is_empty() && !at.starts_with('.') && !at.contains(['/', '\\', '\0']);
    let path = directory.filter(|_| plain).map(|directory| directory.join(at));
    File { name, media_type, size, attachment, octets: Octets::new(OnDisk(path)) }
}

struct OnDisk(Option<PathBuf>);

#[async_trait]
impl Source for OnDisk {
    async fn open(&self) -> Result<Opened, Refusal> {
        let gone = || Refusal::reject("there is no such file in the shared directory");
        let opened = tokio::fs::File::open(self.0.as_ref().ok_or_else(gone)?).await;
        let disk = opened.map_err(|e| if e.kind() == io::ErrorKind::NotFound { gone() } else { Refusal::retry(e) })?;
        let size = disk.metadata().await.map_err(Refusal::retry)?.len();
        Ok(Opened { size: Some(size), octets: Box::pin(disk) })
    }
}

/// Puts a delivery's file where the people find it. Under the delivery's key, so that a second attempt changes nothing.
pub(crate) async fn share(directory: &Path, key: &DeliveryKey, file: &File) -> Result<(), Refusal> {
    let (path, part) = (directory.join(key.as_str()), directory.join(format!("{key}.part")));
    if tokio::fs::try_exists(&path).await.map_err(Refusal::retry)? {
        return Ok(());
    }
    let mut octets = file.octets.open().await?.octets;
    let mut disk = tokio::fs::File::create(&part).await.map_err(Refusal::retry)?;
    let mut chunk = vec![0; file::CHUNK];
    loop {
        let read = octets.read(&mut chunk).await.map_err(file::broken_off)?;
        if read == 0 {
            break;
        }
        tokio::io::AsyncWriteExt::write_all(&mut disk, &chunk[..read]).await.map_err(Refusal::retry)?;
    }
    disk.sync_all().await.map_err(Refusal::retry)?;
    tokio::fs::rename(part, path).await.map_err(Refusal::retry)
}
