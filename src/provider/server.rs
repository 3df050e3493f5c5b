//! Hears other providers: HTTP/1.1 and HTTP/2 over mutual TLS, and everything about them, so that what is
//! behind the [`Doors`] never sees a header.
//!
//! Invariant: a door that was opened is walked through. Once a request is whole, its door runs to its end
//! on a task of its own, whether the peer still waits or has gone, and whether or not we are stopping.
//! What is not whole is forgotten without a trace.
//!
//! A peer can be slow, broken or hostile, and must not cost the others anything: every wait for it has a
//! limit, and so has what one certificate can hold at once. A connection is closed after some minutes
//! however busy it is, since a certificate is looked at only when a connection opens.
//!
//! Why not axum here? The certificate belongs to the connection and the limits to the certificate, so the
//! accept loop is ours anyway, and one path shape needs no router.

use std::{
    collections::HashMap,
    convert::Infallible,
    io::Cursor,
    pin::pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
    request::Parts,
};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use mimi_adapter::{CancellationToken, Domain, Opened, file};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{io::ReaderStream, task::TaskTracker};
use tracing::{debug, error, info, warn};

use super::{
    PASSED_ON,
    assets::{ASSETS, AssetName},
    method, ohttp,
    request::{self, Refusal},
    tls::{Identity, PeerCertificate, TlsError, Trust, server_config},
};
use crate::mimi::directory::{Directory, Endpoint, WELL_KNOWN};

/// Connections at once, over all peers and those that have yet to show a certificate.
const CONNECTIONS: usize = 512;
/// Connections at once of one certificate, and requests in hand over all of them.
const CONNECTIONS_PER_PEER: usize = 16;
const REQUESTS_PER_PEER: usize = 16;
/// Oblivious requests at once, of one certificate and over all: each has a file in memory, some four times.
const OHTTP_PER_PEER: usize = 2;
const OHTTP: usize = 4;
/// When to come again if there are too many.
const OHTTP_AGAIN: Duration = Duration::from_secs(2);
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// From the end of one request to the end of the next one's headers.
const HEADER_TIME: Duration = Duration::from_secs(30);
const CONNECTION_AGE: Duration = Duration::from_secs(600);
/// For the requests in hand once a connection is to close.
const LAST_REQUEST_TIME: Duration = Duration::from_secs(60);

/// What is behind the endpoints.
#[async_trait]
pub trait Doors: Send + Sync + 'static {
    /// A whole request. `from` has proved its domain; `about` is the decoded path variable, of the kind
    /// the endpoint is about ([`Endpoint::read_variable`]); `body` is within the endpoint's size limit.
    ///
    /// Always runs to its end. A panic is answered with 500 and harms nobody else.
    async fn knock(&self, from: &Domain, endpoint: Endpoint, about: String, body: Bytes) -> Answer;

    /// The same, passed on by another process of ours. It is not passed on again.
    async fn passed_on(&self, from: &Domain, endpoint: Endpoint, about: String, body: Bytes) -> Answer {
        self.knock(from, endpoint, about, body).await
    }

    /// A file, as it lies where it is kept. There is nothing to be walked through: who has gone gets no more of it.
    async fn download(&self, _from: &Domain, _wanted: Wanted) -> Result<Opened, Answer> {
        Err(StatusCode::NOT_FOUND.into())
    }

    /// The keys for [`Doors::ohttp`] (RFC 9540 §5).
    async fn ohttp_keys(&self) -> Answer {
        StatusCode::NOT_FOUND.into()
    }

    /// A request that nobody could read on its way here (RFC 9458). `Err` says in the clear why it was not opened.
    async fn ohttp(&self, _from: &Domain, _request: Bytes) -> Result<Vec<u8>, Answer> {
        Err(StatusCode::NOT_FOUND.into())
    }
}

/// A file that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    Ours(AssetName),
    /// At this URL, of another provider (P§5.10.2).
    Proxied(String),
}

/// What a door answers. `retry_after` is for 429 and 503.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
    pub retry_after: Option<Duration>,
}

impl Answer {
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, body: body.into(), retry_after: None }
    }
}

impl From<StatusCode> for Answer {
    fn from(status: StatusCode) -> Self {
        Self { status, body: Bytes::new(), retry_after: None }
    }
}

impl From<Answer> for Response<Full<Bytes>> {
    fn from(answer: Answer) -> Self {
        let mut response = Response::new(Full::from(answer.body.clone()));
        *response.status_mut() = answer.status;
        if !answer.body.is_empty() {
            // D3: no media type is registered for these structures.
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        }
        if let Some(after) = answer.retry_after {
            // Rounded up: a peer that comes back too early is turned away again.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

fn whole(response: Response<Full<Bytes>>) -> Response<Body> {
    response.map(|body| body.map_err(|never| match never {}).boxed_unsync())
}

/// What our addresses begin with. `public_port` is the port by which other providers reach us, where that isn't 443.
pub fn base_url(domain: &Domain, public_port: Option<u16>) -> String {
    match public_port.filter(|&port| port != 443) {
        Some(port) => format!("https://{domain}:{port}"),
        None => format!("https://{domain}"),
    }
}

/// One provider domain of ours, ready to be served.
pub struct Server {
    domain: Domain,
    tls: TlsAcceptor,
    directory: Directory,
    doors: Arc<dyn Doors>,
    knocking: TaskTracker,
    quotas: Mutex<HashMap<Vec<String>, Weak<Quota>>>,
    ohttp: Arc<Semaphore>,
}

impl Server {
    /// Offers `endpoints`, and no others. `public_port` is as in [`base_url`].
    pub fn new(
        identity: &Identity,
        trust: &Trust,
        public_port: Option<u16>,
        endpoints: &[Endpoint],
        doors: Arc<dyn Doors>,
    ) -> Result<Self, TlsError> {
        let domain = identity.domain().clone();
        let base = base_url(&domain, public_port);
        Ok(Self {
            tls: TlsAcceptor::from(Arc::new(server_config(identity, trust)?)),
            directory: Directory::ours(&base, endpoints),
            domain,
            doors,
            knocking: TaskTracker::new(),
            quotas: Mutex::default(),
            ohttp: Arc::new(Semaphore::new(OHTTP)),
        })
    }

    /// Serves until told to stop, and answers the requests in hand before it returns.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let server = Arc::new(self);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                    Ok((tcp, address)) => {
                        let (server, stop) = (server.clone(), stop.clone());
                        connections.spawn(async move {
                            if let Err(problem) = server.connection(tcp, stop).await {
                                debug!(%address, %problem, "A connection ended early.");
                            }
                        });
                    }
                    Err(problem) => {
                        // Out of file descriptors, most likely: what is open has to end first.
                        warn!(%problem, "No connection can be accepted for now.");
                        sleep(Duration::from_secs(1)).await;
                    }
                },
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
        server.knocking.close();
        server.knocking.wait().await;
    }

    async fn connection(self: Arc<Self>, tcp: TcpStream, stop: CancellationToken) -> Result<(), BoxError> {
        tcp.set_nodelay(true)?;
        let tls = timeout(HANDSHAKE_TIME, self.tls.accept(tcp)).await??;
        let peer = Arc::new(self.admit(PeerCertificate::of(tls.get_ref().1)?)?);
        let http = http_for(&tls);
        let service = service_fn(move |request| {
            let (server, peer) = (self.clone(), peer.clone());
            async move { Ok::<_, Infallible>(server.hear(&peer, request).await) }
        });
        let mut connection = pin!(http.serve_connection(TokioIo::new(tls), service));
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = stop.cancelled() => {}
            () = sleep(CONNECTION_AGE) => {}
        }
        connection.as_mut().graceful_shutdown();
        timeout(LAST_REQUEST_TIME, connection).await?
    }

    /// Whose connection it is, unless that peer has enough of them.
    fn admit(&self, certificate: PeerCertificate) -> Result<Peer, TooManyConnections> {
        let mut quotas = self.quotas.lock().unwrap_or_else(PoisonError::into_inner);
        quotas.retain(|_, quota| quota.strong_count() > 0);
        let quota = match quotas.get(&certificate.names).and_then(Weak::upgrade) {
            Some(quota) => quota,
            None => {
                let quota = Arc::new(Quota::default());
                quotas.insert(certificate.names.clone(), Arc::downgrade(&quota));
                quota
            }
        };
        // Each connection holds its quota once, so the count is the number of connections, this one included.
        if Arc::strong_count(&quota) > CONNECTIONS_PER_PEER {
            return Err(TooManyConnections(certificate.names));
        }
        Ok(Peer { certificate, quota })
    }

    async fn hear(&self, peer: &Peer, request: Request<Incoming>) -> Response<Body> {
        self.answer(peer, request).await.unwrap_or_else(|refusal| {
            info!(names = ?peer.certificate.names, status = refusal.status.as_u16(), reason = refusal.reason, "Refused a request.");
            whole(refusal.into())
        })
    }

    async fn answer(&self, peer: &Peer, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let (head, body) = request.into_parts();
        request::check_target(&head, &self.domain)?;
        let from = request::sender(&head.headers)?;
        if !peer.certificate.proves(&from) {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "the client certificate is not for the domain in From"));
        }
        let (from, passed_on) = match head.headers.get(PASSED_ON) {
            Some(by) if from == self.domain => {
                let by = by.to_str().ok().and_then(|by| Domain::parse(by).ok());
                (by.ok_or(Refusal::new(StatusCode::BAD_REQUEST, "who it is passed on for is not a domain"))?, true)
            }
            _ => (from, false),
        };
        let path = head.uri.path();
        if path == WELL_KNOWN {
            return allow(&head.method, Method::GET).map(|()| whole(self.directory()));
        }
        if let Some(name) = path.strip_prefix(ASSETS) {
            allow(&head.method, Method::GET)?;
            let name =
                AssetName::parse(name).ok_or(Refusal::new(StatusCode::NOT_FOUND, "there is no such file here"))?;
            return Ok(self.download(peer, &from, Wanted::Ours(name)).await);
        }
        if path == ohttp::WELL_KNOWN {
            return self.ohttp(peer, &from, &head, body).await;
        }
        let (endpoint, variable) = Endpoint::of_path(path)
            .filter(|(endpoint, _)| self.directory.offers(*endpoint))
            .ok_or(Refusal::new(StatusCode::NOT_FOUND, "there is no such endpoint here"))?;
        allow(&head.method, method(endpoint))?;
        let about = endpoint.read_variable(variable, &self.domain).map_err(|_| {
            Refusal::new(StatusCode::BAD_REQUEST, "the path doesn't end in what this endpoint is about")
        })?;
        if endpoint == Endpoint::ProxyDownload {
            return Ok(self.download(peer, &from, Wanted::Proxied(about)).await);
        }
        let place = peer.quota.place().await;
        let body = request::read(body, request::limit(endpoint)).await?;

        let doors = self.doors.clone();
        let source = from.clone();
        let knock = self.knocking.spawn(async move {
            let _place = place;
            match passed_on {
                true => doors.passed_on(&source, endpoint, about, body).await,
                false => doors.knock(&source, endpoint, about, body).await,
            }
        });
        let answer = knock.await.unwrap_or_else(|_| {
            error!(%from, endpoint = endpoint.name(), "A door panicked. This is a bug; the peer was told 500.");
            StatusCode::INTERNAL_SERVER_ERROR.into()
        });
        debug!(%from, endpoint = endpoint.name(), status = answer.status.as_u16(), "Answered.");
        Ok(whole(answer.into()))
    }

    async fn download(&self, peer: &Peer, from: &Domain, wanted: Wanted) -> Response<Body> {
        let place = peer.quota.place().await;
        let opened = match self.doors.download(from, wanted).await {
            Ok(opened) => opened,
            Err(answer) => return whole(answer.into()),
        };
        debug!(%from, size = opened.size, "A file is being sent.");
        sent(opened, "application/octet-stream", place)
    }

    async fn ohttp(&self, peer: &Peer, from: &Domain, head: &Parts, body: Incoming) -> Result<Response<Body>, Refusal> {
        if head.method == Method::GET {
            let keys = self.doors.ohttp_keys().await;
            return Ok(whole(typed(keys, ohttp::KEYS)));
        }
        allow(&head.method, Method::POST)?;
        if head.headers.get(CONTENT_TYPE).is_none_or(|of| of.as_bytes() != ohttp::REQUEST.as_bytes()) {
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "this is not message/ohttp-req"));
        }
        // A file is in memory as a whole, so nobody waits here with one.
        let places = (peer.quota.ohttp.clone().try_acquire_owned(), self.ohttp.clone().try_acquire_owned());
        let (Ok(of_peer), Ok(of_all)) = places else {
            let busy = Answer { retry_after: Some(OHTTP_AGAIN), ..StatusCode::SERVICE_UNAVAILABLE.into() };
            return Ok(whole(busy.into()));
        };
        let request = request::read(body, ohttp::REQUEST_LIMIT).await?;
        Ok(match self.doors.ohttp(from, request).await {
            Ok(response) => {
                debug!(%from, size = response.len(), "An oblivious request was answered.");
                let (size, octets) = (Some(response.len() as u64), Cursor::new(response));
                sent(Opened { size, octets: Box::pin(octets) }, ohttp::RESPONSE, (of_peer, of_all))
            }
            Err(answer) => whole(typed(answer, "application/problem+json")),
        })
    }

    fn directory(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(self.directory.to_json()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// A request is in hand until its last octet has left, so `place` is kept until then.
fn sent(opened: Opened, media_type: &'static str, place: impl Send + 'static) -> Response<Body> {
    let octets = ReaderStream::with_capacity(opened.octets, file::CHUNK).map(move |chunk| {
        let _place = &place;
        chunk.map(Frame::data)
    });
    let mut response = Response::new(StreamBody::new(octets).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    if let Some(size) = opened.size {
        response.headers_mut().insert(CONTENT_LENGTH, size.into());
    }
    response
}

/// An answer whose body, if it has one, is of a registered type.
fn typed(answer: Answer, media_type: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::from(answer);
    if let Some(of) = response.headers_mut().get_mut(CONTENT_TYPE) {
        *of = HeaderValue::from_static(media_type);
    }
    response
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
#[error("the holder of the certificate for {0:?} has too many connections")]
struct TooManyConnections(Vec<String>);

/// Who is at the other end of a connection.
struct Peer {
    certificate: PeerCertificate,
    quota: Arc<Quota>,
}

/// What the holder of one certificate can have at once.
struct Quota {
    requests: Arc<Semaphore>,
    ohttp: Arc<Semaphore>,
}

impl Default for Quota {
    fn default() -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self { requests: places(REQUESTS_PER_PEER), ohttp: places(OHTTP_PER_PEER) }
    }
}

impl Quota {
    async fn place(&self) -> OwnedSemaphorePermit {
        self.requests.clone().acquire_owned().await.expect("the semaphore is never closed")
    }
}

fn http_for(tls: &TlsStream<TcpStream>) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(REQUESTS_PER_PEER as u32)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    // ALPN has said which, so nobody waits for a preface that doesn't come.
    if tls.get_ref().1.alpn_protocol() == Some(b"h2") { http.http2_only() } else { http.http1_only() }
}

fn allow(used: &Method, allowed: Method) -> Result<(), Refusal> {
    if *used == allowed {
        return Ok(());
    }
    let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this endpoint has another method");
    Err(Refusal { allow: Some(allowed), ..refusal })
}
