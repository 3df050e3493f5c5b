//! Files between providers: where ours are, and how those of others are fetched without being led astray.
//!
//! A message names any URL it likes, and whoever fetches it stands inside our network. So a file is fetched only by
//! https, from a host that the caller has found to be a provider's for files, at the port at which that provider
//! is anyway, and never at an address that is not of the internet (D34), wherever the DNS points. The exception is a
//! host to which our own admin has given an address (`[peers]`). Redirects are not followed.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::TryStreamExt;
use http::{
    Method, StatusCode,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE},
};
use mimi_adapter::{Domain, Opened};
use reqwest::{
    Client, Response, Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use tokio_util::io::StreamReader;

use super::{
    client::{CallError, Peers, accepted, look_up, read},
    ohttp,
};
use crate::mimi::directory::{Directory, Endpoint};

/// What the path of a file of ours begins with; its name follows.
pub const ASSETS: &str = "/mimi/v1/assets/";

/// One file. A line on which nothing moves is given up long before.
const DOWNLOAD_TIME: Duration = Duration::from_secs(3600);
/// The same for one that comes in one piece, with the time that the gateway may take for it ([`ohttp::TIME`]).
const OHTTP_TIME: Duration = Duration::from_secs(120);

/// The name of a file of ours: 64 hexadecimal digits that nobody can guess.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssetName(String);

impl AssetName {
    pub fn random() -> Self {
        Self(hex::encode(rand::random::<[u8; 32]>()))
    }

    pub fn parse(name: &str) -> Option<Self> {
        let digits = name.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'));
        (digits && name.len() == 64).then(|| Self(name.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a file of another provider is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssetUrl {
    url: Url,
    host: Domain,
}

impl AssetUrl {
    /// `Err` says what is wrong with it, after "it".
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "is no URL")?;
        let host = url.domain().and_then(|host| Domain::parse(host).ok());
        match host {
            _ if url.scheme() != "https" => Err("is not an https URL"),
            _ if !url.username().is_empty() || url.password().is_some() => Err("has an account in it"),
            Some(host) => Ok(Self { url, host }),
            None => Err("does not name a host"),
        }
    }

    pub fn host(&self) -> &Domain {
        &self.host
    }

    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// As in a request: host and port, path and query.
    pub fn authority_and_path(&self) -> (&str, &str) {
        let rest = self.as_str().strip_prefix("https://").expect("that is the scheme of every one");
        rest.split_at(self.url.authority().len())
    }
}

impl Peers {
    /// A file of `owner`, from its host: what a hub does for others, and for its own people.
    pub async fn fetch(&self, owner: &Domain, from: &AssetUrl) -> Result<Opened, CallError> {
        if let Some(port) = from.url.port().filter(|_| !self.addresses.contains_key(from.host.as_str())) {
            let directory = self.directory(owner).await?;
            if !directory.templates().any(|template| is_at(template, &from.host, port)) {
                let reason = format!("{} is asked for files at port {port}, where {owner} is not", from.host);
                return Err(CallError::Never { status: None, reason });
            }
        }
        self.get(&self.guarded, owner, from.url.clone()).await
    }

    /// The file at `url`, through a room's hub.
    pub async fn proxy_download(&self, hub: &Domain, url: &str) -> Result<Opened, CallError> {
        let directory = self.directory(hub).await?;
        let proxy = match self.url(&directory, hub, Endpoint::ProxyDownload, url) {
            Ok(proxy) => proxy,
            // It may have learned it since.
            Err(_) => self.url(&*self.fetch_directory(hub).await?, hub, Endpoint::ProxyDownload, url)?,
        };
        self.get(&self.http, hub, proxy).await
    }

    /// The file at `url`, through the OHTTP gateway of a room's hub (P§5.10.3). `None` if the hub has no such gateway.
    ///
    /// The gateway's keys are asked for each time: they are the hub's own word, and never old.
    pub async fn oblivious_download(&self, hub: &Domain, url: &AssetUrl) -> Result<Option<Opened>, CallError> {
        let never = |problem: ohttp::Malformed| CallError::Never {
            status: None,
            reason: format!("{hub} can't be asked by OHTTP: {problem}"),
        };
        let mut gateway = Url::parse(&format!("https://{hub}{}", ohttp::WELL_KNOWN)).map_err(|problem| {
            CallError::Never { status: None, reason: format!("{hub} can't be in a URL: {problem}") }
        })?;
        self.drop_port(&mut gateway);
        let keys = self.http.get(gateway.clone()).header(ACCEPT, ohttp::KEYS);
        let keys = match accepted(hub, self.answered(hub, keys, false).await?, false).await {
            Ok(keys) => read(hub, keys, ohttp::KEYS_LIMIT).await?,
            Err(CallError::Never { status: Some(_), .. }) => return Ok(None),
            Err(problem) => return Err(problem),
        };
        let (request, opening) = ohttp::enclose(&keys, url).map_err(never)?;
        let request = self.http.post(gateway).header(CONTENT_TYPE, ohttp::REQUEST).body(request).timeout(OHTTP_TIME);
        let response = accepted(hub, self.answered(hub, request, false).await?, false).await?;
        let response = read(hub, response, ohttp::RESPONSE_LIMIT).await?;
        let (status, content) = opening.open(&response).map_err(never)?;
        let reason = || format!("{hub} answered {status}, by OHTTP");
        match status {
            _ if status.is_success() => {
                let size = Some(content.len() as u64);
                Ok(Some(Opened { size, octets: Box::pin(io::Cursor::new(content)) }))
            }
            _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Err(CallError::Later { after: None, unsure: false, reason: reason() })
            }
            _ => Err(CallError::Never { status: Some(status), reason: reason() }),
        }
    }

    async fn get(&self, client: &Client, peer: &Domain, mut url: Url) -> Result<Opened, CallError> {
        self.drop_port(&mut url);
        let request = client.request(Method::GET, url).timeout(DOWNLOAD_TIME);
        let response = self.answered(peer, request, false).await?;
        if response.status().is_redirection() {
            let reason = format!("{peer} answered {}, and redirects are not followed", response.status());
            return Err(CallError::Never { status: None, reason });
        }
        Ok(opened(accepted(peer, response, false).await?))
    }
}

fn opened(response: Response) -> Opened {
    let length = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let octets = response.bytes_stream().map_err(|problem| io::Error::other(problem.without_url()));
    Opened { size: length, octets: Box::pin(StreamReader::<_, Bytes>::new(octets)) }
}

fn is_at(template: &str, host: &Domain, port: u16) -> bool {
    // A template has braces in its path only, and there a URL may have anything.
    Url::parse(template).is_ok_and(|url| url.domain() == Some(host.as_str()) && url.port() == Some(port))
}

impl Directory {
    fn templates(&self) -> impl Iterator<Item = &str> {
        self.endpoints().map(|(_, template)| template)
    }
}

/// The DNS, as far as it points into the internet, and what the admin has listed.
pub(super) struct Guarded(pub Arc<BTreeMap<String, String>>);

/// Nobody from outside may have us ask somebody inside.
#[derive(Debug, thiserror::Error)]
#[error("it has no address on the internet (if it is meant to be in a network of your own, name it in [peers])")]
pub(super) struct NotPublic;

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let (looking, listed) = (look_up(&self.0, &name), self.0.contains_key(name.as_str()));
        Box::pin(async move {
            let found: Vec<_> = looking.await?.filter(|address| listed || is_public(address.ip())).collect();
            if found.is_empty() {
                return Err(NotPublic.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// As the registries of special-purpose addresses have it (RFC 6890 and later).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = matches!(
        address.octets(),
        [0 | 10 | 127 | 224..=255, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 168, ..]
            | [198, 18..=19, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
    );
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    match address.segments() {
        // NAT64 says an IPv4 address, which is the one that is asked.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        // Teredo, benchmarks, ORCHID and the like, documentation, 6to4.
        [0x2001, 0..=0x01ff | 0x0db8, ..] | [0x2002, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "172.32.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "2606:4700::1111",
            "64:ff9b::101:101",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for inside in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
    }

    #[tokio::test]
    async fn a_name_that_points_inside_is_not_asked_unless_the_admin_has_listed_it() {
        let listed = BTreeMap::from([("b.example".to_owned(), "127.0.0.1:8443".to_owned())]);
        let guarded = Guarded(Arc::new(listed));
        let look_up = async |name: &str| {
            let found = guarded.resolve(name.parse().unwrap()).await;
            found.map(|found| found.map(|address| address.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(look_up("b.example").await.unwrap(), ["127.0.0.1:8443"]);
        assert!(look_up("localhost").await.unwrap_err().is::<NotPublic>());
    }

    #[test]
    fn a_file_is_at_an_https_url_of_a_host() {
        let parsed = AssetUrl::parse("https://b.example:8443/x?y=z").unwrap();
        assert_eq!((parsed.host().as_str(), parsed.as_str()), ("b.example", "https://b.example:8443/x?y=z"));
        for bad in [
            "",
            "b.example/x",
            "http://b.example/x",
            "ftp://b.example/x",
            "file:///etc/passwd",
            "https://",
            "https://127.0.0.1/x",
            "https://[::1]/x",
            "https://2130706433/x",
            "https://0x7f.1/x",
            "https://bob@b.example/x",
            "https://bob:x@b.example/x",
            "https://b_example/x",
            "mimi://b.example/u/bob",
        ] {
            assert!(AssetUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_is_64_digits() {
        let name = AssetName::random();
        assert_eq!(AssetName::parse(name.as_str()), Some(name));
        for bad in [
            "",
            "..",
            &"0".repeat(63),
            &"0".repeat(65),
            &"g".repeat(64),
            &"A".repeat(64),
            &format!("../{}", "0".repeat(61)),
        ] {
            assert_eq!(AssetName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_port_is_the_providers_if_its_directory_says_so() {
        let host = Domain::parse("b.example").unwrap();
        assert!(is_at("https://b.example:8443/mimi/v1/notify/{roomId}", &host, 8443));
        for other in ["https://b.example:8444/{x}", "https://c.example:8443/{x}", "https://b.example/{x}", "nonsense"] {
            assert!(!is_at(other, &host, 8443), "{other}");
        }
    }
}
