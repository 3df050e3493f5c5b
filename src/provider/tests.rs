//! Providers on loopback, with real certificates and real octets between them.

mod hearing;
mod speaking;

use std::{
    collections::BTreeMap,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use mimi_adapter::{CancellationToken, Domain};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Answer, Authority, Doors, Identity, Peers, Server, Trust, tls::client_config};
use crate::mimi::directory::Endpoint;

const ROOM: &str = "mimi://b.example/r/clubhouse";
const NOTIFY: &str = "/mimi/v1/notify/mimi%3A%2F%2Fb.example%2Fr%2Fclubhouse";

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

/// One authority that everybody believes, and who can be found where.
struct World {
    authority: Authority,
    addresses: BTreeMap<Domain, String>,
}

impl World {
    fn new() -> Self {
        Self { authority: Authority::new(), addresses: BTreeMap::new() }
    }

    fn trust(&self) -> Trust {
        Trust::from_pem(self.authority.pem().as_bytes()).unwrap()
    }

    fn identity(&self, name: &str) -> Identity {
        self.identity_with(name, &[name])
    }

    /// A certificate for more than one name.
    fn identity_with(&self, name: &str, names: &[&str]) -> Identity {
        let (certificate, key) = self.authority.issue_for(names);
        Identity::from_pem(&domain(name), certificate.as_bytes(), key.as_bytes()).unwrap()
    }

    fn found_at(&mut self, name: &str, address: SocketAddr) {
        self.addresses.insert(domain(name), address.to_string());
    }

    /// How `name` sees the others.
    fn peers_of(&self, name: &str) -> Peers {
        Peers::new(&self.identity(name), &self.trust(), self.addresses.clone()).unwrap()
    }

    async fn serve(&mut self, name: &str, doors: impl Doors) -> Running {
        let identity = self.identity(name);
        self.serve_as(name, identity, doors).await
    }

    async fn serve_as(&mut self, name: &str, identity: Identity, doors: impl Doors) -> Running {
        let server = Server::new(&identity, &self.trust(), Some(8443), &Endpoint::ALL, Arc::new(doors)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        self.found_at(name, address);
        let stop = CancellationToken::new();
        Running { address, stop: stop.clone(), task: tokio::spawn(server.serve(listener, stop)) }
    }

    /// A TLS connection from `from` to `b.example`, for what no proper client would say.
    async fn connect(&self, from: &str, to: &Running) -> TlsStream<TcpStream> {
        let mut config = client_config(&self.identity(from), &self.trust()).unwrap();
        config.alpn_protocols.clear();
        let tcp = TcpStream::connect(to.address).await.unwrap();
        let name = ServerName::try_from("b.example").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
    }

    /// What the server at `b.example` answers to these very octets.
    async fn say(&self, from: &str, to: &Running, octets: &str) -> Said {
        let mut tls = self.connect(from, to).await;
        // Who has heard enough to refuse may close before the last octet.
        let _ = tls.write_all(octets.as_bytes()).await;
        let _ = tls.flush().await;
        hear(&mut tls).await
    }
}

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Said {
    status: u16,
    head: String,
    body: String,
}

/// Reads a response up to the end of the connection.
async fn hear(tls: &mut TlsStream<TcpStream>) -> Said {
    let mut answer = Vec::new();
    // A server that has said no may close without waiting for the rest of the body.
    let _ = tls.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("not a response: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Said { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

type Knock = (Domain, Endpoint, String, Bytes);
type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Doors that note who knocked, and answer what the scene says.
#[derive(Clone)]
struct Noted {
    knocks: Arc<Mutex<Vec<Knock>>>,
    answer: Arc<dyn Fn(Knock) -> Answering + Send + Sync>,
}

impl Noted {
    fn answering<F: Future<Output = Answer> + Send + 'static>(
        answer: impl Fn(Knock) -> F + Send + Sync + 'static,
    ) -> Self {
        Self { knocks: Arc::default(), answer: Arc::new(move |knock| Box::pin(answer(knock))) }
    }

    fn ok() -> Self {
        Self::answering(|_| async { Answer::ok("") })
    }

    fn knocks(&self) -> Vec<Knock> {
        self.knocks.lock().unwrap().clone()
    }
}

#[async_trait]
impl Doors for Noted {
    async fn knock(&self, from: &Domain, endpoint: Endpoint, about: String, body: Bytes) -> Answer {
        let knock = (from.clone(), endpoint, about, body);
        self.knocks.lock().unwrap().push(knock.clone());
        (self.answer)(knock).await
    }
}
