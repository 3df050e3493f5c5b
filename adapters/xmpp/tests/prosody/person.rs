//! Somebody with an XMPP app: a small raw client that remembers what it was shown.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{SinkExt, StreamExt};
use minidom::Element;
use tokio::{io::BufStream, net::TcpStream, sync::mpsc, task::JoinHandle, time::timeout};
use tokio_xmpp::xmlstream::{StreamHeader, Timeouts, XmlStream, initiate_stream};
use xmpp_parsers::sasl;

type Stream = XmlStream<BufStream<TcpStream>, Element>;

const PATIENCE: Duration = Duration::from_secs(40);

pub struct Person {
    pub jid: String,
    outgoing: mpsc::UnboundedSender<Element>,
    incoming: mpsc::UnboundedReceiver<Element>,
    /// Shown already, but not looked at yet.
    seen: VecDeque<Element>,
    /// The nicknames in the room.
    here: Arc<Mutex<BTreeSet<String>>>,
    connection: JoinHandle<()>,
}

impl Person {
    pub async fn connect(port: u16, name: &str) -> Self {
        let io = BufStream::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        let header = || StreamHeader { from: None, to: Some("b.example".into()), id: None };
        let pending = initiate_stream(io, "jabber:client", header(), Timeouts::default()).await.unwrap();
        let (_, mut stream): (_, Stream) = pending.recv_features().await.unwrap();
        let data = format!("\0{name}\0pw").into_bytes();
        let auth = sasl::Auth { mechanism: sasl::Mechanism::Plain, data };
        stream.send(&Element::from(auth)).await.unwrap();
        let answer = stream.next().await.unwrap().unwrap();
        assert_eq!(answer.name(), "success", "{name} may not sign in: {}", String::from(&answer));
        let pending = stream.initiate_reset().send_header(header()).await.unwrap();
        let (_, mut stream): (_, Stream) = pending.recv_features().await.unwrap();
        let bind = "<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>app</resource></bind></iq>";
        stream.send(&bind.parse::<Element>().unwrap()).await.unwrap();
        while stream.next().await.unwrap().unwrap().attr("id") != Some("bind") {}
        let (outgoing, mut to_send) = mpsc::unbounded_channel::<Element>();
        let (shown, incoming) = mpsc::unbounded_channel();
        let here = Arc::new(Mutex::new(BTreeSet::new()));
        let occupants = here.clone();
        let connection = tokio::spawn(async move {
            loop {
                tokio::select! {
                    stanza = stream.next() => match stanza {
                        Some(Ok(stanza)) => {
                            if stanza.name() == "presence" {
                                let mut here = occupants.lock().unwrap();
                                match stanza.attr("type") {
                                    None => here.insert(from_nick(&stanza)),
                                    Some(_) => here.remove(&from_nick(&stanza)),
                                };
                            }
                            let _ = shown.send(stanza);
                        }
                        _ => return,
                    },
                    stanza = to_send.recv() => match stanza {
                        Some(stanza) => if stream.send(&stanza).await.is_err() { return },
                        None => return,
                    },
                }
            }
        });
        let mut person =
            Self { jid: format!("{name}@b.example"), outgoing, incoming, seen: VecDeque::new(), here, connection };
        person.send("<presence xmlns='jabber:client'/>");
        person.sees("their own presence", |stanza| stanza.is("presence", "jabber:client")).await;
        person
    }

    pub fn send(&self, xml: &str) {
        let _ = self.outgoing.send(xml.parse().unwrap_or_else(|error| panic!("{xml}: {error}")));
    }

    /// The next stanza that `is` it; what came before it is forgotten.
    pub async fn sees(&mut self, what: &str, is: impl Fn(&Element) -> bool) -> Element {
        let mut passed = Vec::new();
        let waiting = async {
            loop {
                let stanza = match self.seen.pop_front() {
                    Some(stanza) => stanza,
                    None => self.incoming.recv().await?,
                };
                if is(&stanza) {
                    return Some(stanza);
                }
                passed.push(String::from(&stanza));
            }
        };
        match timeout(PATIENCE, waiting).await {
            Ok(Some(stanza)) => stanza,
            Ok(None) => panic!("{} was disconnected before seeing {what}; saw {passed:#?}", self.jid),
            Err(_) => panic!("{} does not see {what}; saw {passed:#?}", self.jid),
        }
    }

    /// The next stanza that `is` it; everything else can still be seen after it.
    pub async fn notices(&mut self, what: &str, is: impl Fn(&Element) -> bool) -> Element {
        if let Some(at) = self.seen.iter().position(&is) {
            return self.seen.remove(at).unwrap();
        }
        let noticing = async {
            loop {
                let stanza = self.incoming.recv().await?;
                if is(&stanza) {
                    return Some(stanza);
                }
                self.seen.push_back(stanza);
            }
        };
        match timeout(PATIENCE, noticing).await {
            Ok(Some(stanza)) => stanza,
            _ => panic!(
                "{} does not notice {what}; saw {:#?}",
                self.jid,
                self.seen.iter().map(String::from).collect::<Vec<_>>()
            ),
        }
    }

    /// The nicknames in the room they are in.
    pub async fn occupants(&mut self, room: &str) -> BTreeSet<String> {
        // An answer of the room comes after all presence before it.
        let asks = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
        self.send(&format!("<iq xmlns='jabber:client' type='get' to='{room}' id='who'>{asks}</iq>"));
        self.notices("the room's answer", |stanza| stanza.attr("id") == Some("who")).await;
        self.here.lock().unwrap().clone()
    }

    pub async fn joins(&mut self, room: &str, nick: &str) {
        self.send(&format!(
            "<presence xmlns='jabber:client' to='{room}/{nick}'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>"
        ));
        let in_it = |stanza: &Element| stanza.attr("type").is_none() && String::from(stanza).contains("code='110'");
        self.sees("the room", |stanza| stanza.name() == "presence" && in_it(stanza)).await;
    }

    /// Says `inside` in a room and sees it there. Answers the id the room gave it, if any.
    pub async fn says(&mut self, room: &str, id: &str, inside: &str) -> String {
        self.send(&format!("<message xmlns='jabber:client' to='{room}' type='groupchat' id='{id}'>{inside}</message>"));
        let copy =
            self.sees("their own message", |stanza| stanza.name() == "message" && stanza.attr("id") == Some(id)).await;
        stanza_id(&copy)
    }

    /// Puts a file where the server keeps files, and answers its address.
    pub async fn uploads(&mut self, name: &str, media_type: &str, octets: Vec<u8>) -> String {
        self.send(&format!(
            "<iq xmlns='jabber:client' type='get' to='upload.b.example' id='slot'><request xmlns='urn:xmpp:http:upload:0' \
             filename='{name}' size='{}' content-type='{media_type}'/></iq>",
            octets.len()
        ));
        let answer = self.notices("a slot", |stanza| stanza.attr("id") == Some("slot")).await;
        let ns = "urn:xmpp:http:upload:0";
        let slot = answer.get_child("slot", ns).unwrap_or_else(|| panic!("{}", String::from(&answer)));
        let (put, get) = (slot.get_child("put", ns).unwrap(), slot.get_child("get", ns).unwrap());
        let mut request = http().put(put.attr("url").unwrap()).header("content-type", media_type).body(octets);
        for header in put.children() {
            request = request.header(header.attr("name").unwrap(), header.text());
        }
        request.send().await.unwrap().error_for_status().unwrap();
        get.attr("url").unwrap().to_owned()
    }

    pub fn writes(&self, to: &str, id: &str, inside: &str) {
        self.send(&format!("<message xmlns='jabber:client' to='{to}' type='chat' id='{id}'>{inside}</message>"));
    }

    /// The next message with this text in it.
    pub async fn reads(&mut self, text: &str) -> Element {
        self.sees(&format!("{text:?}"), |stanza| body(stanza).is_some_and(|body| body.contains(text))).await
    }

    /// The next `count` texts of groupchat messages from nicknames that start so.
    pub async fn reads_from(&mut self, nick: &str, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.len() < count {
            let message = self.sees(nick, |stanza| body(stanza).is_some() && from_nick(stanza).starts_with(nick)).await;
            texts.push(body(&message).unwrap());
        }
        texts
    }

    /// What the archive of the room holds: nickname and text of every message, oldest first.
    pub async fn reads_archive(&mut self, room: &str) -> Vec<(String, String)> {
        let mut after = String::new();
        let mut found = Vec::new();
        loop {
            self.send(&format!(
                "<iq xmlns='jabber:client' type='set' to='{room}' id='mam'><query xmlns='urn:xmpp:mam:2' queryid='q'>\
                 <set xmlns='http://jabber.org/protocol/rsm'><max>50</max>{after}</set></query></iq>"
            ));
            let fin = loop {
                let stanza = self
                    .sees("the archive", |stanza| {
                        stanza.attr("id") == Some("mam") || stanza.has_child("result", "urn:xmpp:mam:2")
                    })
                    .await;
                let Some(result) = stanza.get_child("result", "urn:xmpp:mam:2") else { break stanza };
                let forwarded = result.get_child("forwarded", "urn:xmpp:forward:0").unwrap();
                let message = forwarded.get_child("message", "jabber:client").unwrap();
                if let Some(body) = body(message) {
                    found.push((from_nick(message), body));
                }
            };
            let fin = fin.get_child("fin", "urn:xmpp:mam:2").unwrap();
            if fin.attr("complete") == Some("true") {
                return found;
            }
            let rsm = "http://jabber.org/protocol/rsm";
            let last = fin.get_child("set", rsm).unwrap().get_child("last", rsm).unwrap().text();
            after = format!("<after>{last}</after>");
        }
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// What somebody gets who opens the address.
pub async fn download(url: &str) -> Vec<u8> {
    http().get(url).send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap().into()
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

pub fn body(message: &Element) -> Option<String> {
    message.get_child("body", "jabber:client").map(Element::text).filter(|_| message.name() == "message")
}

pub fn from_nick(stanza: &Element) -> String {
    stanza.attr("from").and_then(|from| from.split_once('/')).map_or(String::new(), |(_, nick)| nick.to_owned())
}

pub fn stanza_id(message: &Element) -> String {
    message.get_child("stanza-id", "urn:xmpp:sid:0").and_then(|id| id.attr("id")).unwrap_or_default().to_owned()
}
