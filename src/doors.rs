//! What other providers ask of us, and the HTTP answers (D2): a struct where the protocol has one, a status
//! where it has not.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use mimi_adapter::{Domain, Opened, UserUri, async_trait};
use tokio::io::AsyncReadExt;
use tracing::{error, info, warn};

use crate::{
    assets::ProxyError,
    cluster::Whose,
    core::{Core, Fault, hash},
    hub::HubError,
    mimi::{
        directory::Endpoint,
        tls::Tls,
        uri::RoomUri,
        wire::{FanoutMessage, SubmitMessageRequest},
    },
    provider::{
        Answer, AssetUrl, Doors, Wanted,
        ohttp::{self, Asked},
    },
    store::Sought,
};

/// What our directory offers.
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint::KeyMaterial,
    Endpoint::Update,
    Endpoint::Notify,
    Endpoint::SubmitMessage,
    Endpoint::GroupInfo,
    Endpoint::RequestConsent,
    Endpoint::UpdateConsent,
    Endpoint::ProxyDownload,
    Endpoint::IdentifierQuery,
    Endpoint::ReportAbuse,
];

/// How long a peer should wait when we can't take something now.
const RETRY_AFTER: Duration = Duration::from_secs(2);

pub struct ProviderDoors(pub Arc<Core>);

#[async_trait]
impl Doors for ProviderDoors {
    async fn knock(&self, from: &Domain, endpoint: Endpoint, about: String, body: Bytes) -> Answer {
        if let Err(wait) = self.0.limits.admit(from, endpoint, self.0.now()) {
            info!(%from, endpoint = endpoint.name(), ?wait, "Asked too often.");
            return Answer { retry_after: Some(wait), ..StatusCode::TOO_MANY_REQUESTS.into() };
        }
        let answer = match self.elsewhere(from, endpoint, &about, &body).await {
            Ok(None) => self.open(from.clone(), endpoint, about.clone(), body).await,
            Ok(Some(answer)) => Ok(answer),
            Err(fault) => Err(fault.into()),
        };
        said(from, endpoint, &about, answer)
    }

    async fn passed_on(&self, from: &Domain, endpoint: Endpoint, about: String, body: Bytes) -> Answer {
        let answer = self.open(from.clone(), endpoint, about.clone(), body).await;
        said(from, endpoint, &about, answer)
    }

    async fn download(&self, from: &Domain, wanted: Wanted) -> Result<Opened, Answer> {
        let core = &self.0;
        let opened = match &wanted {
            Wanted::Ours(name) => core
                .assets
                .read(name, core.now())
                .await
                .map_err(Into::into)
                .and_then(|it| it.ok_or(ProxyError::Missing)),
            Wanted::Proxied(url) => core.proxied(from, url).await,
        };
        opened.map_err(|problem| match problem {
            ProxyError::Missing => StatusCode::NOT_FOUND.into(),
            ProxyError::Unreachable(problem) => {
                info!(%from, problem, "A file could not be fetched for another provider.");
                StatusCode::BAD_GATEWAY.into()
            }
            // An address of a file is a secret.
            ProxyError::Malformed(reason) => said(from, Endpoint::ProxyDownload, "", Err(HubError::Malformed(reason))),
            ProxyError::Fault(fault) => said(from, Endpoint::ProxyDownload, "", Err(fault.into())),
        })
    }

    async fn ohttp_keys(&self) -> Answer {
        let keys = self.0.ohttp_keys().await.map(Answer::ok).map_err(HubError::from);
        said(&self.0.domain, Endpoint::ProxyDownload, "OHTTP keys", keys)
    }

    async fn ohttp(&self, from: &Domain, request: Bytes) -> Result<Vec<u8>, Answer> {
        let (asked, sealing) = match self.0.opened(&request).await {
            Ok(Some(opened)) => opened,
            // RFC 9458 §5.3: the client may have kept a key for too long.
            Ok(None) => {
                return Err(Answer { status: StatusCode::BAD_REQUEST, ..Answer::ok(ohttp::KEY_PROBLEM) });
            }
            Err(fault) => return Err(said(from, Endpoint::ProxyDownload, "OHTTP", Err(fault.into()))),
        };
        let answer = match asked {
            Asked::Not(status) => status.into(),
            Asked::File(url) => self.whole(from, url).await.unwrap_or_else(|answer| answer),
        };
        Ok(sealing.seal(answer.status, &answer.body))
    }
}

/// What the peer is told, and the log.
fn said(from: &Domain, endpoint: Endpoint, about: &str, answer: Result<Answer, HubError>) -> Answer {
    match answer {
        Ok(answer) => answer,
        Err(HubError::Malformed(reason)) => {
            info!(%from, endpoint = endpoint.name(), about, reason, "Malformed.");
            StatusCode::BAD_REQUEST.into()
        }
        Err(HubError::NoSuchRoom) => StatusCode::NOT_FOUND.into(),
        Err(HubError::Fault(Fault::Never(reason))) => {
            info!(%from, endpoint = endpoint.name(), about, reason, "Forbidden.");
            StatusCode::FORBIDDEN.into()
        }
        Err(HubError::Fault(Fault::Broken(problem))) => {
            error!(%from, endpoint = endpoint.name(), about, problem, "A fault of our own.");
            Answer { retry_after: Some(RETRY_AFTER), ..StatusCode::SERVICE_UNAVAILABLE.into() }
        }
        Err(HubError::Fault(Fault::Astray(astray))) => said(from, endpoint, about, Err(Fault::later(astray).into())),
        Err(HubError::Fault(Fault::Later { problem, after })) => {
            warn!(%from, endpoint = endpoint.name(), about, problem, "Not now.");
            Answer { retry_after: Some(after.unwrap_or(RETRY_AFTER)), ..StatusCode::SERVICE_UNAVAILABLE.into() }
        }
    }
}

impl ProviderDoors {
    /// The same file that `proxyDownload` would fetch, in one piece.
    async fn whole(&self, from: &Domain, url: AssetUrl) -> Result<Answer, Answer> {
        let fetching = async {
            let opened = self.download(from, Wanted::Proxied(url.as_str().to_owned())).await?;
            if opened.size.is_some_and(|size| size > ohttp::WHOLE as u64) {
                return Err(StatusCode::PAYLOAD_TOO_LARGE.into());
            }
            let mut whole = Vec::new();
            let most = ohttp::WHOLE as u64 + 1;
            opened
                .octets
                .take(most)
                .read_to_end(&mut whole)
                .await
                .map_err(|_| Answer::from(StatusCode::BAD_GATEWAY))?;
            match opened.size {
                _ if whole.len() > ohttp::WHOLE => Err(StatusCode::PAYLOAD_TOO_LARGE.into()),
                Some(size) if size != whole.len() as u64 => Err(StatusCode::BAD_GATEWAY.into()),
                _ => Ok(Answer::ok(whole)),
            }
        };
        tokio::time::timeout(ohttp::TIME, fetching).await.unwrap_or_else(|_| Err(StatusCode::GATEWAY_TIMEOUT.into()))
    }

    /// The answer of the process that has the room in hand, if that is not us.
    async fn elsewhere(
        &self,
        from: &Domain,
        endpoint: Endpoint,
        about: &str,
        body: &Bytes,
    ) -> Result<Option<Answer>, Fault> {
        const OF_ROOMS: [Endpoint; 5] =
            [Endpoint::Notify, Endpoint::Update, Endpoint::SubmitMessage, Endpoint::GroupInfo, Endpoint::ReportAbuse];
        if !OF_ROOMS.contains(&endpoint) {
            return Ok(None);
        }
        let Ok(room) = room(about) else { return Ok(None) };
        match self.0.whose_room(&room).await? {
            Whose::Ours => Ok(None),
            Whose::Anothers(address) => {
                self.0.colleagues.pass_on(&address, from, endpoint, about, body.clone()).await.map(Some)
            }
            Whose::Nobodys => Err(Fault::later(format!("no process has taken over {room} yet"))),
        }
    }

    async fn open(&self, from: Domain, endpoint: Endpoint, about: String, body: Bytes) -> Result<Answer, HubError> {
        let core = &self.0;
        match endpoint {
            Endpoint::Notify => {
                let room = room(&about)?;
                // F-15: only the hub speaks for a room, and a room's hub is the host of its URI.
                if *room.domain() != from {
                    return Err(Fault::never("a room's events come from its hub").into());
                }
                let messages = FanoutMessage::decode_all(&body).map_err(|e| HubError::Malformed(e.to_string()))?;
                mimi_adapter::failpoint!("accept.fanout");
                let seen = |message: &FanoutMessage| Sought::Seen {
                    room: room.clone(),
                    hash: hash(message.message().as_bytes()),
                };
                let sought = messages.iter().map(seen).collect();
                let known = core
                    .write_seeking(sought, move |core, tx| {
                        Box::pin(async move {
                            core.must_have(tx, &room).await?;
                            if !core.knows(tx, &room, &messages).await? {
                                return Ok(false);
                            }
                            core.accept_fanout(tx, &room, &messages).await?;
                            Ok(true)
                        })
                    })
                    .await?;
                mimi_adapter::failpoint!("accept.fanout.committed");
                Ok(if known { StatusCode::CREATED } else { StatusCode::NOT_FOUND }.into())
            }
            Endpoint::RequestConsent | Endpoint::UpdateConsent => {
                hub(core, Vec::new(), move |core, tx| {
                    Box::pin(async move {
                        match endpoint {
                            Endpoint::RequestConsent => core.request_consent(tx, &from, &body).await,
                            _ => core.update_consent(tx, &from, &body).await,
                        }
                    })
                })
                .await?;
                mimi_adapter::failpoint!("consent.heard");
                Ok(StatusCode::CREATED.into())
            }
            Endpoint::Update => {
                let room = room(&about)?;
                let answer = hub(core, Vec::new(), move |core, tx| {
                    Box::pin(async move {
                        core.must_have(tx, &room).await?;
                        core.hub_update(tx, &from, &room, &body).await
                    })
                })
                .await?;
                Ok(committed(answer))
            }
            Endpoint::SubmitMessage => {
                let room = room(&about)?;
                let request = SubmitMessageRequest::decode(&body).map_err(|e| HubError::Malformed(e.to_string()))?;
                let name = hash(request.app_message.as_bytes());
                let sought = Sought::Answer { room: room.clone(), hash: name };
                let answer = hub(core, vec![sought], move |core, tx| {
                    Box::pin(async move {
                        core.must_have(tx, &room).await?;
                        core.hub_submit(tx, &from, &room, name, &request).await
                    })
                })
                .await?;
                Ok(committed(answer))
            }
            Endpoint::GroupInfo => {
                let room = room(&about)?;
                let answer = hub(core, Vec::new(), move |core, tx| {
                    Box::pin(async move {
                        core.must_have(tx, &room).await?;
                        core.hub_group_info(tx, &from, &room, &body).await
                    })
                });
                Ok(Answer::ok(answer.await?))
            }
            Endpoint::ReportAbuse => {
                let room = room(&about)?;
                let done = hub(core, Vec::new(), move |core, tx| {
                    Box::pin(async move {
                        core.must_have(tx, &room).await?;
                        core.abuse_reported(tx, &from, &room, &body).await
                    })
                });
                done.await?;
                mimi_adapter::failpoint!("hub.abuse.committed");
                Ok(StatusCode::CREATED.into())
            }
            Endpoint::IdentifierQuery => Ok(Answer::ok(core.identifier_query(&from, &body)?)),
            // For a room of ours, of somebody at a third provider.
            Endpoint::KeyMaterial if UserUri::parse(&about).is_ok_and(|target| !core.is_ours(&target)) => {
                let target = UserUri::parse(&about).map_err(|e| HubError::Malformed(e.to_string()))?;
                Ok(Answer::ok(core.route_key_material(&from, target, body).await?))
            }
            Endpoint::KeyMaterial => {
                let answer = hub(core, Vec::new(), move |core, tx| {
                    Box::pin(async move { core.key_material(tx, &from, &about, &body).await })
                })
                .await?;
                mimi_adapter::failpoint!("consent.key_material.committed");
                Ok(Answer::ok(answer))
            }
            _ => Ok(StatusCode::NOT_FOUND.into()),
        }
    }
}

/// The hub's answer to something that is on the disk now.
fn committed(answer: Vec<u8>) -> Answer {
    mimi_adapter::failpoint!("hub.committed");
    Answer::ok(answer)
}

/// A transaction whose failure has an HTTP status of its own.
async fn hub<T: Send + 'static>(
    core: &Arc<Core>,
    sought: Vec<Sought>,
    work: impl for<'t> FnOnce(
        &'t Arc<Core>,
        &'t mut crate::store::Tx,
    ) -> futures::future::BoxFuture<'t, Result<T, HubError>>
    + Send
    + 'static,
) -> Result<T, HubError> {
    let inner = core.clone();
    core.store
        .write_seeking(sought, move |tx| {
            Box::pin(async move {
                let core = inner;
                work(&core, tx).await
            })
        })
        .await
}

fn room(about: &str) -> Result<RoomUri, HubError> {
    RoomUri::parse(about).map_err(|e| HubError::Malformed(e.to_string()))
}
