//! Speaks to other providers, at the URLs their directories give.
//!
//! Invariant: the octets of a request go to nobody but a provider that has proved its domain. The
//! directory is fetched from the provider domain itself; where it names another host, that host's
//! certificate has to be valid for that name (D53), so the chain of proof has no gap.
//!
//! One try per call. When to try again is the outbox's to decide, with what [`CallError`] tells it; a
//! second clock in here would only hide the first.

use std::{
    collections::{BTreeMap, HashMap},
    error::Error,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, FROM, RETRY_AFTER},
};
use mimi_adapter::Domain;
use reqwest::{
    Client, RequestBuilder, Response, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use rustls::CertificateError;
use tokio::time::Instant;
use tracing::debug;

use super::{
    PASSED_ON,
    assets::{Guarded, NotPublic},
    method,
    tls::{Identity, TlsError, Trust, client_config},
};
use crate::mimi::directory::{Directory, Endpoint, WELL_KNOWN};

const CONNECT_TIME: Duration = Duration::from_secs(10);
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// Below the half minute after which servers close idle connections, so that we seldom meet a closed one.
const IDLE_TIME: Duration = Duration::from_secs(20);
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// The largest response is a GroupInfo with its ratchet tree.
const RESPONSE_LIMIT: usize = 8 * 1024 * 1024;
const DIRECTORY_LIMIT: usize = 64 * 1024;
const DIRECTORY_AGE: Duration = Duration::from_secs(3600);
/// No peer makes us wait, or believe what it once said, for longer than this.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Why a call has no answer, and whether trying again will help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The network, or the peer for now. `after` is what the peer has asked for; `unsure`: the request may have
    /// arrived, and what became of it is not known.
    #[error("{reason}")]
    Later { after: Option<Duration>, unsure: bool, reason: String },
    /// The peer won't have this request; `status` is its answer, if it gave one.
    #[error("{reason}")]
    Never { status: Option<StatusCode>, reason: String },
}

/// All other providers, as one provider of ours sees them. Keeps connections and directories.
pub struct Peers {
    pub(super) http: Client,
    /// For addresses that somebody else has named.
    pub(super) guarded: Client,
    pub(super) addresses: Arc<BTreeMap<String, String>>,
    directories: Mutex<HashMap<Domain, Known>>,
}

/// A directory we have fetched, and how long we go by it.
#[derive(Clone)]
struct Known {
    directory: Arc<Directory>,
    until: Instant,
}

impl Peers {
    /// `addresses` says where to connect (`host:port`) for names that the DNS doesn't know; what is
    /// checked and sent is the name all the same.
    pub fn new(identity: &Identity, trust: &Trust, addresses: BTreeMap<Domain, String>) -> Result<Self, TlsError> {
        let addresses: Arc<BTreeMap<_, _>> =
            Arc::new(addresses.into_iter().map(|(name, address)| (name.into(), address)).collect());
        let http = client(identity, trust, Addresses(addresses.clone()))?;
        let guarded = client(identity, trust, Guarded(addresses.clone()))?;
        Ok(Self { http, guarded, addresses, directories: Mutex::default() })
    }

    /// One request. `about` is a room URI, a domain, and for key material and consent the
    /// user's URI, whichever of user and domain the peer's directory asks for (D4). Any 2xx is success.
    pub async fn call(&self, peer: &Domain, endpoint: Endpoint, about: &str, body: Bytes) -> Result<Bytes, CallError> {
        self.ask(peer, None, endpoint, about, body).await
    }

    /// To another process of our own provider: what `from` has asked us.
    pub async fn pass_on(
        &self,
        ourselves: &Domain,
        from: &Domain,
        endpoint: Endpoint,
        about: &str,
        body: Bytes,
    ) -> Result<Bytes, CallError> {
        self.ask(ourselves, Some(from), endpoint, about, body).await
    }

    async fn ask(
        &self,
        peer: &Domain,
        from: Option<&Domain>,
        endpoint: Endpoint,
        about: &str,
        body: Bytes,
    ) -> Result<Bytes, CallError> {
        let Some(known) = self.known(peer) else {
            let directory = self.fetch_directory(peer).await?;
            return self.call_by(&directory, peer, from, endpoint, about, body).await;
        };
        let answer = self.call_by(&known, peer, from, endpoint, about, body.clone()).await;
        if !answer.as_ref().is_err_and(may_have_moved) {
            return answer;
        }
        let directory = self.fetch_directory(peer).await?;
        if directory == known { answer } else { self.call_by(&directory, peer, from, endpoint, about, body).await }
    }

    async fn call_by(
        &self,
        directory: &Directory,
        peer: &Domain,
        from: Option<&Domain>,
        endpoint: Endpoint,
        about: &str,
        body: Bytes,
    ) -> Result<Bytes, CallError> {
        let url = self.url(directory, peer, endpoint, about)?;
        let response = self.send(peer, from, method(endpoint), url, body).await?;
        read(peer, response, RESPONSE_LIMIT).await
    }

    pub(super) fn url(
        &self,
        directory: &Directory,
        peer: &Domain,
        endpoint: Endpoint,
        about: &str,
    ) -> Result<Url, CallError> {
        let never = |problem: &dyn std::fmt::Display| CallError::Never {
            status: None,
            reason: format!("{peer} can't be asked: {problem}"),
        };
        let url = directory.url(endpoint, about).map_err(|problem| never(&problem))?;
        Url::parse(&url)
            .ok()
            .filter(|url| url.scheme() == "https" && url.domain().is_some())
            .filter(|url| url.username().is_empty() && url.password().is_none())
            .ok_or_else(|| never(&format_args!("the URL in its directory for {} won't do", endpoint.name())))
    }

    pub(super) async fn directory(&self, peer: &Domain) -> Result<Arc<Directory>, CallError> {
        match self.known(peer) {
            Some(known) => Ok(known),
            None => self.fetch_directory(peer).await,
        }
    }

    fn known(&self, peer: &Domain) -> Option<Arc<Directory>> {
        let directories = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        directories.get(peer).filter(|known| Instant::now() < known.until).map(|known| known.directory.clone())
    }

    pub(super) async fn fetch_directory(&self, peer: &Domain) -> Result<Arc<Directory>, CallError> {
        let later =
            |problem: String| CallError::Later { after: None, unsure: false, reason: format!("{peer}: {problem}") };
        let url = Url::parse(&format!("https://{peer}{WELL_KNOWN}"))
            .map_err(|problem| later(format!("its domain can't be in a URL: {problem}")))?;
        let response = self.send(peer, None, Method::GET, url, Bytes::new()).await?;
        let age = max_age(response.headers());
        let json = read(peer, response, DIRECTORY_LIMIT).await?;
        // Whatever page this is, it isn't the peer's last word.
        let directory = Directory::parse(&json).map_err(|problem| later(problem.to_string()))?;
        let directory = Arc::new(directory);
        debug!(%peer, age = age.as_secs(), "Fetched a directory.");
        let known = Known { directory: directory.clone(), until: Instant::now() + age };
        self.directories.lock().unwrap_or_else(PoisonError::into_inner).insert(peer.clone(), known);
        Ok(directory)
    }

    async fn send(
        &self,
        peer: &Domain,
        from: Option<&Domain>,
        method: Method,
        mut url: Url,
        body: Bytes,
    ) -> Result<Response, CallError> {
        self.drop_port(&mut url);
        // A directory is only read.
        let changes = method == Method::POST;
        let mut request = self.http.request(method, url);
        if changes {
            request = request.header(CONTENT_TYPE, "application/octet-stream").body(body);
        }
        if let Some(from) = from {
            request = request.header(PASSED_ON, from.as_str());
        }
        let response = self.answered(peer, request, changes).await?;
        accepted(peer, response, changes).await
    }

    /// An address that the admin has given has a port of its own, and an explicit one in the URL would win over it.
    pub(super) fn drop_port(&self, url: &mut Url) {
        if url.domain().is_some_and(|host| self.addresses.contains_key(host)) {
            url.set_port(None).expect("an https URL can have no port");
        }
    }

    /// Whatever the peer answers. `changes`: it is more than a question.
    pub(super) async fn answered(
        &self,
        peer: &Domain,
        request: RequestBuilder,
        changes: bool,
    ) -> Result<Response, CallError> {
        let response = request.send().await.map_err(|problem| {
            let sent = changes && !problem.is_connect();
            unreachable(peer, &problem.without_url(), sent)
        })?;
        mimi_adapter::failpoint!("provider.answered");
        Ok(response)
    }
}

/// A 2xx, its body unread.
pub(super) async fn accepted(peer: &Domain, response: Response, changes: bool) -> Result<Response, CallError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let after = response.headers().get(RETRY_AFTER).and_then(|after| wait(after, SystemTime::now()));
    let reason = format!("{peer} answered {status}{}", said(response).await);
    // A redirect is no answer of MIMI's: something in front of the peer is in the way.
    let for_now = [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY];
    match status.is_client_error() && !for_now.contains(&status) {
        true => Err(CallError::Never { status: Some(status), reason }),
        // Who says "not now" has not done it; who fails may have.
        false => {
            let not_done = for_now.contains(&status) || status == StatusCode::SERVICE_UNAVAILABLE;
            Err(CallError::Later { after, unsure: changes && !not_done, reason })
        }
    }
}

fn client(identity: &Identity, trust: &Trust, resolver: impl Resolve + 'static) -> Result<Client, TlsError> {
    let from = HeaderValue::from_str(&format!("mimi@{}", identity.domain())).expect("a domain is ASCII");
    Client::builder()
        .tls_backend_preconfigured(client_config(identity, trust)?)
        .default_headers(HeaderMap::from_iter([(FROM, from)]))
        .dns_resolver(resolver)
        // A proxy would look names up for itself, and a redirect would leave the directory's word.
        .no_proxy()
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIME)
        .timeout(REQUEST_TIME)
        .read_timeout(REQUEST_TIME)
        .pool_idle_timeout(IDLE_TIME)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .http2_keep_alive_timeout(KEEP_ALIVE)
        .build()
        .map_err(|problem| TlsError::Setup(problem.to_string()))
}

/// Whether a newer directory could give another answer. A 404 can be about the room as well.
fn may_have_moved(problem: &CallError) -> bool {
    const MOVED: [StatusCode; 3] = [StatusCode::NOT_FOUND, StatusCode::GONE, StatusCode::MISDIRECTED_REQUEST];
    match problem {
        CallError::Later { .. } => false,
        CallError::Never { status, .. } => status.is_none_or(|status| MOVED.contains(&status)),
    }
}

pub(super) async fn read(peer: &Domain, mut response: Response, limit: usize) -> Result<Bytes, CallError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|problem| unreachable(peer, &problem.without_url(), true))? {
        if body.len() + chunk.len() > limit {
            let reason = format!("{peer} answered with more than {limit} octets");
            return Err(CallError::Never { status: None, reason });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// What a refusal says for itself, if it is a line of text: for the log, so short and without controls.
async fn said(mut response: Response) -> String {
    let text = |value: &HeaderValue| value.as_bytes().starts_with(b"text/plain");
    if !response.headers().get(CONTENT_TYPE).is_some_and(text) {
        return String::new();
    }
    let Ok(Some(chunk)) = response.chunk().await else { return String::new() };
    let line = String::from_utf8_lossy(&chunk);
    let line: String = line.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    format!(": {line}")
}

fn unreachable(peer: &Domain, problem: &reqwest::Error, unsure: bool) -> CallError {
    let mut reason = format!("{peer} can't be reached");
    let mut cause = Some(problem as &dyn Error);
    while let Some(problem) = cause {
        reason = format!("{reason}: {problem}");
        if is_for_another_domain(problem) || problem.is::<NotPublic>() {
            return CallError::Never { status: None, reason };
        }
        cause = problem.source();
    }
    CallError::Later { after: None, unsure, reason }
}

fn is_for_another_domain(problem: &(dyn Error + 'static)) -> bool {
    // What an io::Error wraps is not its source, and one can wrap another.
    if let Some(wrapped) = problem.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        return is_for_another_domain(wrapped);
    }
    matches!(
        problem.downcast_ref(),
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        ))
    )
}

/// RFC 9110 §10.2.3: seconds, or a date.
fn wait(after: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let after = after.to_str().ok()?.trim();
    let wait = match after.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(after).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(DAY))
}

/// RFC 9111 §5.2.2, as far as a private cache with one kind of resource needs it.
fn max_age(headers: &HeaderMap) -> Duration {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut age = DIRECTORY_AGE;
    for directive in values.flat_map(|value| value.split(',')).map(|directive| directive.trim().to_ascii_lowercase()) {
        match directive.split_once('=') {
            None if directive == "no-store" || directive == "no-cache" => return Duration::ZERO,
            Some(("max-age", seconds)) => {
                age = seconds.trim_matches('"').parse().map_or(DIRECTORY_AGE, Duration::from_secs);
            }
            _ => {}
        }
    }
    age.min(DAY)
}

/// The DNS, with the exceptions that the admin has listed.
struct Addresses(Arc<BTreeMap<String, String>>);

impl Resolve for Addresses {
    fn resolve(&self, name: Name) -> Resolving {
        let looking = look_up(&self.0, &name);
        Box::pin(async move { Ok(Box::new(looking.await?) as Addrs) })
    }
}

pub(super) fn look_up(
    addresses: &BTreeMap<String, String>,
    name: &Name,
) -> impl Future<Output = io::Result<std::vec::IntoIter<SocketAddr>>> + use<> {
    // Port 0 stands for the URL's.
    let target = addresses.get(name.as_str()).cloned().unwrap_or_else(|| format!("{}:0", name.as_str()));
    async move { Ok(tokio::net::lookup_host(target).await?.collect::<Vec<_>>().into_iter()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        // Sun, 06 Nov 1994 08:49:37 GMT, RFC 9110's own example date.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let wait = |after: &'static str| wait(&HeaderValue::from_static(after), now);
        assert_eq!(wait("0"), Some(Duration::ZERO));
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:07 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:07 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("99999999999999"), Some(Duration::from_secs(86_400)));
        for unreadable in ["", "-1", "1.5", "soon", "99999999999999999999999"] {
            assert_eq!(wait(unreadable), None, "{unreadable}");
        }
    }

    #[test]
    fn a_directory_is_kept_as_long_as_its_provider_says_and_else_an_hour() {
        let age = |values: &[&'static str]| {
            max_age(&values.iter().map(|value| (CACHE_CONTROL, HeaderValue::from_static(value))).collect()).as_secs()
        };
        assert_eq!(age(&[]), 3600);
        assert_eq!(age(&["public"]), 3600);
        assert_eq!(age(&["max-age=60"]), 60);
        assert_eq!(age(&["public, Max-Age=\"60\""]), 60);
        assert_eq!(age(&["public", "max-age=60"]), 60);
        assert_eq!(age(&["max-age=0"]), 0);
        assert_eq!(age(&["max-age=31536000"]), 86_400);
        assert_eq!(age(&["max-age=soon"]), 3600);
        assert_eq!(age(&["max-age=60, no-store"]), 0);
        assert_eq!(age(&["no-cache"]), 0);
    }
}
