//! Bytes to stanzas and back: the XML stream to the server, signed in as a component (XEP-0114).
//!
//! Strangers write into this stream, through rooms and through other servers, and it is the one line
//! everybody's messages come through. So nothing that is well-formed ends it. `tokio-xmpp`'s component
//! was turned down for that: it disconnects at the first stanza it cannot parse or attribute longer than
//! 8 KiB, and a room's archive would hand it the same one again after every reconnect; and it builds
//! elements recursively, however deep. We take XML events from `rxml` and build the tree, and we look up
//! namespaces: `rxml` does that in time that is quadratic in the depth, which a stranger chooses.
//!
//! Archived stanzas come in `jabber:client`, live ones in the component's namespace (a quirk of XEP-0114).
//! In here there is only the latter.

use std::{io, time::Duration};

use minidom::Element;
use rxml::{AsyncRawReader, AttrMap, Namespace, Options, RawEvent, RawParser, RawQName, WithOptions};
use thiserror::Error;
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tracing::error;
use xmpp_parsers::component::Handshake;

use crate::stanza::ns;

const STREAMS: &str = "http://etherx.jabber.org/streams";
/// How long the server has for the connection and the handshake.
const PATIENCE: Duration = Duration::from_secs(15);
/// Children deeper than this are cut off: they would cost stack where the element is walked or dropped.
const MAX_DEPTH: usize = 64;
/// The longest attribute. Servers limit whole stanzas to less.
const MAX_TOKEN: usize = 4 << 20;

/// Why there is no stream.
#[derive(Debug, Error)]
pub enum ConnectError {
    #[error("cannot connect to {server}: {source}")]
    Unreachable { server: String, source: io::Error },
    /// The server's answer is a stream error (RFC 6120 §4.9.3).
    #[error("the server refuses the component: {condition}")]
    Refused { condition: String },
    #[error("the server does not speak XEP-0114 here: {0}")]
    NotXmpp(io::Error),
    #[error("the server has not answered within {} seconds", PATIENCE.as_secs())]
    Timeout,
}

/// Connects and signs in.
pub async fn connect(server: &str, component: &str, secret: &str) -> Result<(Reader, Writer), ConnectError> {
    tokio::time::timeout(PATIENCE, sign_in(server, component, secret)).await.map_err(|_| ConnectError::Timeout)?
}

async fn sign_in(server: &str, component: &str, secret: &str) -> Result<(Reader, Writer), ConnectError> {
    let unreachable = |source| ConnectError::Unreachable { server: server.into(), source };
    let tcp = TcpStream::connect(server).await.map_err(unreachable)?;
    tcp.set_nodelay(true).map_err(unreachable)?;
    let (read, write) = tcp.into_split();
    let (mut reader, mut writer) = (Reader::new(read), Writer(write));
    // The domain has been through `BareJid`, so that it has no character to escape.
    let header = format!(
        "<?xml version='1.0'?><stream:stream xmlns='{}' xmlns:stream='{STREAMS}' to='{component}'>",
        ns::STANZA
    );
    writer.0.write_all(header.as_bytes()).await.map_err(unreachable)?;
    let id = reader.header().await.map_err(ConnectError::NotXmpp)?;
    let handshake = Handshake::from_stream_id_and_password(id, secret);
    writer.write(&handshake.into()).await.map_err(unreachable)?;
    match reader.stanza().await.map_err(ConnectError::NotXmpp)? {
        Some(answer) if answer.is("handshake", ns::STANZA) => Ok((reader, writer)),
        Some(error) if error.is("error", STREAMS) => {
            let condition = error.children().next().map_or("no reason given", Element::name).to_owned();
            Err(ConnectError::Refused { condition })
        }
        // Some servers say what is wrong by hanging up.
        _ => Err(ConnectError::Refused { condition: "the stream was closed during the handshake".into() }),
    }
}

pub struct Reader {
    events: AsyncRawReader<BufReader<OwnedReadHalf>>,
    /// The element whose attributes are being read.
    head: Option<Head>,
    /// The namespaces declared by the stream and by each open element.
    scopes: Vec<Scope>,
    /// The stanza being read, outermost element first. Kept here so that a cut-off `stanza()` loses nothing.
    open: Vec<Element>,
    /// How many elements below [`MAX_DEPTH`] are open.
    cut: usize,
}

struct Head {
    name: RawQName,
    attributes: Vec<(RawQName, String)>,
}

/// Prefixes and their namespaces; the empty prefix is the default.
type Scope = Vec<(String, String)>;

impl Reader {
    fn new(read: OwnedReadHalf) -> Self {
        let parser = RawParser::with_options(Options { max_token_length: MAX_TOKEN, ..Options::default() });
        let events = AsyncRawReader::wrap(BufReader::new(read), parser);
        Self { events, head: None, scopes: Vec::new(), open: Vec::new(), cut: 0 }
    }

    /// The server's `<stream:stream>` and its id.
    async fn header(&mut self) -> io::Result<String> {
        let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        while let Some(event) = self.event().await? {
            match event {
                RawEvent::ElementHeadOpen(_, name) => self.head = Some(Head { name, attributes: Vec::new() }),
                RawEvent::Attribute(_, name, value) => self.attribute(name, value),
                RawEvent::ElementHeadClose(_) => {
                    let stream = self.head.take().map(|head| self.element(head));
                    let stream = stream.filter(|element| element.is("stream", STREAMS));
                    let id = stream.as_ref().and_then(|stream| stream.attr("id"));
                    return id.map(str::to_owned).ok_or_else(|| invalid("no stream header with an id"));
                }
                _ => {}
            }
        }
        Err(invalid("the stream ended before it began"))
    }

    /// The next stanza; `None` when the server has closed the stream. May be cancelled and called again.
    pub async fn stanza(&mut self) -> io::Result<Option<Element>> {
        while let Some(event) = self.event().await? {
            match event {
                RawEvent::XmlDeclaration(..) => {}
                RawEvent::ElementHeadOpen(..) if self.open.len() == MAX_DEPTH => self.cut += 1,
                RawEvent::ElementHeadOpen(_, name) => self.head = Some(Head { name, attributes: Vec::new() }),
                RawEvent::Attribute(_, name, value) => self.attribute(name, value),
                RawEvent::ElementHeadClose(_) => {
                    if let Some(head) = self.head.take() {
                        let element = self.element(head);
                        self.open.push(element);
                    }
                }
                RawEvent::Text(_, text) => {
                    if let (Some(element), 0) = (self.open.last_mut(), self.cut) {
                        element.append_text_node(text);
                    }
                }
                RawEvent::ElementFoot(_) if self.cut > 0 => self.cut -= 1,
                RawEvent::ElementFoot(_) => {
                    self.scopes.pop();
                    let Some(element) = self.open.pop() else { return Ok(None) };
                    match self.open.last_mut() {
                        Some(parent) => drop(parent.append_child(element)),
                        None => return Ok(Some(element)),
                    }
                }
            }
        }
        Ok(None)
    }

    /// A server that is gone without a word has closed the stream, too.
    async fn event(&mut self) -> io::Result<Option<RawEvent>> {
        let cut_off = |error: &io::Error| {
            let error = error.get_ref().and_then(|error| error.downcast_ref::<rxml::Error>());
            matches!(error, Some(rxml::Error::InvalidEof(_)))
        };
        match self.events.read().await {
            Err(error) if cut_off(&error) => Ok(None),
            event => event,
        }
    }

    fn attribute(&mut self, name: RawQName, value: String) {
        if let Some(head) = &mut self.head {
            head.attributes.push((name, value));
        }
    }

    /// Opens the element's scope and gives names their namespaces. One that is not declared is none: a
    /// stanza more that nobody understands.
    fn element(&mut self, head: Head) -> Element {
        let mut scope = Scope::new();
        let mut attributes = AttrMap::new();
        for ((prefix, name), value) in head.attributes {
            match prefix.as_deref().map(|prefix| prefix.as_str()) {
                None if name == "xmlns" => scope.push((String::new(), value)),
                None => drop(attributes.insert(Namespace::NONE, name, value)),
                Some("xmlns") => scope.push((name.to_string(), value)),
                Some("xml") => drop(attributes.insert(Namespace::XML, name, value)),
                Some(_) => {} // No XEP we know has attributes in a namespace.
            }
        }
        self.scopes.push(scope);
        let (prefix, name) = head.name;
        let prefix = prefix.as_deref().map_or("", |prefix| prefix.as_str());
        let mut declared = self.scopes.iter().rev().flatten();
        let namespace = declared.find(|(declared, _)| declared == prefix).map_or("", |(_, namespace)| namespace);
        let namespace = match namespace {
            "jabber:client" | "jabber:server" => ns::STANZA,
            other => other,
        };
        let mut element = Element::bare(name.as_str(), namespace);
        *element.attrs_mut() = attributes;
        element
    }
}

pub struct Writer(OwnedWriteHalf);

impl Writer {
    pub async fn write(&mut self, stanza: &Element) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(512);
        match stanza.write_to(&mut bytes) {
            Ok(()) => self.0.write_all(&bytes).await,
            // A mistake of ours. Whoever sent it waits in vain, but the others' stanzas go through.
            Err(error) => {
                error!(stanza = stanza.name(), %error, "A stanza cannot be written.");
                Ok(())
            }
        }
    }

    /// Says that we have nothing more to say. The server answers with its own end.
    pub async fn close(&mut self) -> io::Result<()> {
        self.0.write_all(b"</stream:stream>").await
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What a reader makes of a server that says `bytes` after its header.
    async fn read(bytes: &str) -> Vec<Element> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, served) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let header = format!("<stream:stream xmlns='jabber:component:accept' xmlns:stream='{STREAMS}' id='7'>");
        let bytes = format!("{header}{bytes}</stream:stream>");
        let (_keep, mut write) = served.unwrap().0.into_split();
        let writing = tokio::spawn(async move { write.write_all(bytes.as_bytes()).await });
        let (read, _write) = client.unwrap().into_split();
        let mut reader = Reader::new(read);
        assert_eq!(reader.header().await.unwrap(), "7");
        let mut stanzas = Vec::new();
        while let Some(stanza) = reader.stanza().await.unwrap() {
            stanzas.push(stanza);
        }
        writing.await.unwrap().unwrap();
        stanzas
    }

    #[tokio::test]
    async fn no_well_formed_stanza_ends_the_stream() {
        let deep = 100_000;
        let nested = format!("<message>{}x{}<body>deep</body></message>", "<a>".repeat(deep), "</a>".repeat(deep));
        let wide =
            format!("<message type='no such type' from='@@' id='{}'><body>wide</body></message>", "x".repeat(1 << 20));
        let strange = "<x xmlns='urn:strange'/> <presence type='?' y:z='1'/>";
        let stanzas = read(&format!("{nested}{wide}{strange}<message><body>last</body></message>")).await;
        let bodies: Vec<_> = stanzas.iter().filter_map(crate::stanza::body).collect();
        assert_eq!(bodies, ["deep", "wide", "last"]);
        assert_eq!(stanzas.len(), 5);
    }

    #[tokio::test]
    async fn names_have_the_namespace_that_is_declared_nearest() {
        let stanzas = read(
            "<message xml:lang='en' xmlns:r='urn:a'><r:a><b xmlns='urn:b' xmlns:r='urn:c'><r:c/><d/></b><r:a/></r:a><body>x</body></message>",
        )
        .await;
        let written = String::from(&stanzas[0]);
        assert_eq!(
            stanzas[0],
            "<message xmlns='jabber:component:accept' xml:lang='en'><a xmlns='urn:a'><b xmlns='urn:b'><c xmlns='urn:c'/><d/></b><a/></a>\
             <body>x</body></message>"
                .parse::<Element>()
                .unwrap(),
            "{written}"
        );
    }

    #[tokio::test]
    async fn archived_and_live_stanzas_have_the_same_namespace() {
        let stanzas = read("<message><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>then</body></message></forwarded></message>").await;
        let archived =
            stanzas[0].get_child("forwarded", ns::FORWARD).unwrap().get_child("message", ns::STANZA).unwrap();
        assert_eq!(crate::stanza::body(archived).as_deref(), Some("then"));
    }
}
