//! Another provider, or somebody who would like to be taken for one: any octets, over real TLS.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc};

use mimi_gateway::provider::Authority;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::world::{World, domain};

/// Its certificate, and what it says in the two headers that name the providers.
pub struct Peer {
    tls: Arc<ClientConfig>,
    from: String,
    host: Option<&'static str>,
    addresses: BTreeMap<String, SocketAddr>,
}

/// An HTTP response.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Said {
    /// 200, with this body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: body.into() }
    }
}

impl World {
    /// The provider `name` as the others know it.
    pub fn peer(&self, name: &str) -> Peer {
        let (certificate, key) = self.authority.issue(&domain(name));
        self.peer_with(name, Some((&certificate, &key)))
    }

    /// Somebody with a certificate for `name` that an authority of their own has signed.
    pub fn impostor(&self, name: &str) -> Peer {
        let (certificate, key) = Authority::new().issue(&domain(name));
        self.peer_with(name, Some((&certificate, &key)))
    }

    /// Somebody with a certificate for `name` that nobody else has signed.
    pub fn self_signed(&self, name: &str) -> Peer {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
        self.peer_with(name, Some((&certificate.pem(), &key.serialize_pem())))
    }

    /// Somebody without a certificate.
    pub fn nobody(&self, name: &str) -> Peer {
        self.peer_with(name, None)
    }

    fn peer_with(&self, name: &str, pem: Option<(&str, &str)>) -> Peer {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match pem {
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        let addresses = ["a.example", "b.example", "c.example"].map(|name| (name.to_owned(), self.address(name)));
        Peer { tls: Arc::new(config), from: format!("From: mimi@{name}\r\n"), host: None, addresses: addresses.into() }
    }
}

impl Peer {
    /// Says this instead of its own From line.
    pub fn with_from(self, from: &str) -> Self {
        Self { from: from.to_owned(), ..self }
    }

    /// Says that it wants somebody else than whom it has called.
    pub fn with_host(self, host: &'static str) -> Self {
        Self { host: Some(host), ..self }
    }

    /// Posts to an endpoint about a room or a user, and has to be answered.
    pub async fn posts(&self, to: &str, endpoint: &str, about: &str, body: &[u8]) -> Said {
        self.tries_to_post(to, endpoint, about, body).await.unwrap()
    }

    pub async fn tries_to_post(&self, to: &str, endpoint: &str, about: &str, body: &[u8]) -> io::Result<Said> {
        self.says(to, &format!("POST /mimi/v1/{endpoint}/{}", encoded(about)), "application/octet-stream", body).await
    }

    /// Any method and path, and a body of any type.
    pub async fn says(&self, to: &str, request: &str, media_type: &str, body: &[u8]) -> io::Result<Said> {
        let head = format!(
            "{request} HTTP/1.1\r\nHost: {}\r\n{}Content-Type: {media_type}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            self.host.unwrap_or(to),
            self.from,
            body.len()
        );
        let tcp = TcpStream::connect(self.addresses[to]).await?;
        let name = ServerName::try_from(to.to_owned()).unwrap();
        let mut tls = TlsConnector::from(self.tls.clone()).connect(name, tcp).await?;
        // Who has heard enough to refuse may close before the last octet.
        let _ = tls.write_all(&[head.as_bytes(), body].concat()).await;
        let _ = tls.flush().await;
        let mut answer = Vec::new();
        let ended = tls.read_to_end(&mut answer).await;
        let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Err(ended.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()));
        };
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        Ok(Said { status: head.split(' ').nth(1).unwrap().parse().unwrap(), body: answer[end + 4..].to_vec() })
    }
}

/// RFC 6570 simple expansion: everything but unreserved characters is escaped.
fn encoded(variable: &str) -> String {
    let octet = |octet: u8| match octet {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(octet).to_string(),
        _ => format!("%{octet:02X}"),
    };
    variable.bytes().map(octet).collect()
}
