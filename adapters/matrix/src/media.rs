//! Files at the homeserver: read from its media repository, and put there.
//!
//! The homeserver is asked and nobody else: what is at another server it fetches itself. A file is put there by the
//! bot, before the event that shows it; if we end between the two it lies there and nobody sees it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use matrix_sdk::ruma::{
    MxcUri, OwnedMxcUri,
    api::{client::authenticated_media::get_media_config, error::ErrorKind},
};
use mimi_adapter::{File, Octets, Opened, Refusal, Source, async_trait, file::size_in_words};
use tracing::debug;

use crate::{client::Failure, homeserver::Homeserver};

/// What is at another server may come at the second try. More would hold up everything that is said here.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_secs(2);

/// For so long the homeserver's limit is believed.
const LIMIT_AGE: Duration = Duration::from_secs(3600);

/// The largest file that the homeserver takes, in octets, and when it has said so.
#[derive(Default)]
pub struct Limit(Mutex<Option<(u64, Instant)>>);

impl Limit {
    /// What it said last, or what it may say.
    pub fn known(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map_or(u64::MAX, |(limit, _)| limit)
    }
}

/// A file in the homeserver's media repository.
struct Stored {
    homeserver: Arc<Homeserver>,
    at: OwnedMxcUri,
}

/// The file, to be read by the core.
pub fn stored(homeserver: &Arc<Homeserver>, file: File<OwnedMxcUri>) -> File {
    let octets = Octets::new(Stored { homeserver: homeserver.clone(), at: file.octets.clone() });
    file.at(octets)
}

#[async_trait]
impl Source for Stored {
    async fn open(&self) -> Result<Opened, Refusal> {
        let elsewhere = self.at.server_name().is_ok_and(|server| server != self.homeserver.names.bot().server_name());
        let mut tries = if elsewhere { TRIES } else { 1 };
        loop {
            tries -= 1;
            let failure = match self.homeserver.client.download(&self.at).await {
                Ok(opened) => return Ok(opened),
                Err(failure) => failure,
            };
            debug!(at = %self.at, %failure, "A file could not be read.");
            match failure {
                Failure::Refused { .. } if elsewhere && !failure.is_final() && tries > 0 => {
                    tokio::time::sleep(PAUSE).await;
                }
                Failure::Refused { status, .. } if elsewhere && status.is_server_error() => {
                    return Err(Refusal::reject(format!("the file could not be read from its server: {failure}")));
                }
                failure => return Err(failure.refusal("the file could not be read")),
            }
        }
    }
}

impl Homeserver {
    /// Puts a delivery's file into the media repository.
    pub async fn store(&self, file: &File) -> Result<File<OwnedMxcUri>, Refusal> {
        let limit = self.upload_limit().await?;
        let fits = |size: u64| match size > limit {
            true => Err(Refusal::reject(format!(
                "it is larger than the {} that the homeserver takes",
                size_in_words(limit)
            ))),
            false => Ok(()),
        };
        // What its sender says, before it is fetched; and what it is.
        fits(file.size.unwrap_or_default())?;
        let opened = file.octets.open().await?;
        let size = opened.size.unwrap_or_default();
        fits(size)?;
        mimi_adapter::failpoint!("matrix.upload");
        let at = self.client.upload(&file.name, &file.media_type, opened, file.patience()).await;
        let at = at.map_err(|failure| failure.refusal("the homeserver doesn't take the file"))?;
        mimi_adapter::failpoint!("matrix.uploaded");
        Ok(File { size: Some(size), ..file.clone().at(at) })
    }

    async fn upload_limit(&self) -> Result<u64, Refusal> {
        let known = *self.upload_limit.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((limit, _)) = known.filter(|(_, said)| said.elapsed() < LIMIT_AGE) {
            return Ok(limit);
        }
        let limit = match self.client.ask(self.names.bot(), get_media_config::v1::Request::new()).await {
            Ok(config) => u64::from(config.upload_size),
            // Before Matrix 1.11; it will say so itself.
            Err(failure) if matches!(failure.kind(), Some(ErrorKind::Unrecognized)) => u64::MAX,
            Err(failure) => return Err(failure.refusal("the homeserver does not say how large a file may be")),
        };
        *self.upload_limit.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((limit, Instant::now()));
        Ok(limit)
    }

    /// Learns how large a file may be before one comes.
    pub async fn learn_upload_limit(&self) {
        if let Err(refusal) = self.upload_limit().await {
            debug!(%refusal, "The limit for files is asked for later.");
        }
    }
}

/// The path of a file in a media repository, below `/_matrix/client/v1/media/download/`.
pub fn path(at: &MxcUri) -> Option<String> {
    let (server, id) = at.parts().ok()?;
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-');
    (!id.is_empty() && id.bytes().all(plain)).then(|| format!("{server}/{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_below_the_media() {
        let path = |uri: &str| path(&OwnedMxcUri::from(uri));
        assert_eq!(
            path("mxc://a.example:8448/GCmhgzMPRjqgpODLsNQzVuHZ"),
            Some("a.example:8448/GCmhgzMPRjqgpODLsNQzVuHZ".into())
        );
        for bad in [
            "",
            "mxc://",
            "mxc://a.example/",
            "mxc://a.example/../../x",
            "https://a.example/x",
            "mxc://a.example/x?y",
            "mxc:///x",
        ] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }
}
