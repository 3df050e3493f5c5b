//! The checks every adapter has to pass, in a room of a real Prosody. There Alice is the native person, and
//! Bob and Cathy are MIMI users.

use std::{collections::HashMap, sync::Arc, time::Duration};

use mimi_adapter::{
    Adapter, ConversationId, Event, File, Ghost, NativeMessageId, NativeUserId, Octets, Receipt, Text, Thread,
    async_trait,
    conformance::{Harness, Seen},
};
use minidom::Element;
use tokio::io::AsyncReadExt;

use crate::{
    cable::Cable,
    gateway,
    person::{Person, body, download, from_nick, stanza_id},
    server::{Prosody, SECRET},
};

const TEA: &str = "tea@muc.b.example";
const METADATA: &str = "urn:xmpp:file:metadata:0";
const REACTIONS: &str = "urn:xmpp:reactions:0";

mimi_adapter::conformance!(TeaRoom::open().await);

/// Alice in the tea room.
struct TeaRoom {
    prosody: Prosody,
    cable: Cable,
    alice: Person,
    adapter: Option<Arc<dyn Adapter>>,
    count: usize,
    /// Her own ids of her messages, by the ids the room gave them: corrections point at the former.
    own: HashMap<NativeMessageId, String>,
    /// What her reactions are to.
    reacted: HashMap<NativeMessageId, String>,
    /// Ghosts' messages as the adapter names them, by either of their ids.
    names: HashMap<String, NativeMessageId>,
    /// How many reactions a ghost has to a message.
    liked: HashMap<(String, String), usize>,
}

impl TeaRoom {
    async fn open() -> Self {
        let prosody = Prosody::start();
        let mut alice = Person::connect(prosody.clients, "alice").await;
        alice.joins(TEA, "Alice").await;
        let cable = Cable::to(prosody.components).await;
        Self {
            prosody,
            cable,
            alice,
            adapter: None,
            count: 0,
            own: HashMap::new(),
            reacted: HashMap::new(),
            names: HashMap::new(),
            liked: HashMap::new(),
        }
    }

    fn next_id(&mut self) -> String {
        self.count += 1;
        format!("alices-message-number-{}", self.count)
    }

    /// Alice does this, and her app says `beside` in the same message.
    async fn does(&mut self, event: Event<NativeMessageId>, beside: String) -> NativeMessageId {
        let own_id = self.next_id();
        let say = |text: &Text| format!("<body>{}</body>", text.as_str().replace("**", "*"));
        let shared = match &event {
            Event::File { file, .. } => {
                let mut octets = Vec::new();
                file.octets.open().await.unwrap().octets.read_to_end(&mut octets).await.unwrap();
                self.alice.uploads(&file.name, &file.media_type, octets).await
            }
            _ => String::new(),
        };
        if let Event::Topic { topic } = &event {
            let subject = format!("<subject>{topic}</subject>");
            self.alice.send(&format!("<message xmlns='jabber:client' to='{TEA}' type='groupchat'>{subject}</message>"));
            return NativeMessageId::new(own_id);
        }
        let inside = match &event {
            Event::File { caption: None, in_reply_to: None, .. } => {
                format!("<body>{shared}</body><x xmlns='jabber:x:oob'><url>{shared}</url></x>")
            }
            Event::Message { text, in_reply_to: None } => say(text),
            Event::Message { text, in_reply_to: Some(to) } => {
                format!("{}<reply xmlns='urn:xmpp:reply:0' id='{}'/>", say(text), rooms_id(to))
            }
            Event::Edit { replaces, text } => {
                let own = &self.own[replaces];
                format!("{}<replace xmlns='urn:xmpp:message-correct:0' id='{own}'/>", say(text))
            }
            Event::Delete { replaces } => {
                format!("<body>gone</body><retract xmlns='urn:xmpp:message-retract:1' id='{}'/>", rooms_id(replaces))
            }
            Event::Reaction { in_reply_to, emoji } => {
                let to = rooms_id(in_reply_to);
                format!(
                    "<reactions xmlns='{REACTIONS}' id='{to}'><reaction>{emoji}</reaction></reactions><store xmlns='urn:xmpp:hints'/>"
                )
            }
            Event::Unlike { replaces } => {
                let to = &self.reacted[replaces];
                format!("<reactions xmlns='{REACTIONS}' id='{to}'/><store xmlns='urn:xmpp:hints'/>")
            }
            other => panic!("Alice does not {}", other.kind()),
        };
        let id = NativeMessageId::new(self.alice.says(TEA, &own_id, &format!("{inside}{beside}")).await);
        self.own.insert(id.clone(), own_id);
        if let Event::Reaction { in_reply_to, emoji } = event {
            let reaction = NativeMessageId::new(format!("{id} {emoji}"));
            self.reacted.insert(reaction, rooms_id(&in_reply_to).to_owned());
        }
        id
    }

    /// What a ghost's message means to somebody who knows the XEPs.
    async fn read(&mut self, message: &Element) -> Option<Seen> {
        if let Some(subject) = message.get_child("subject", "jabber:client").filter(|_| body(message).is_none()) {
            let event = Event::Topic { topic: subject.text() };
            return Some(Seen {
                id: NativeMessageId::new("the subject"),
                name: from_nick(message),
                event,
                thread: None,
            });
        }
        let (key, id) = (message.attr("id")?.to_owned(), stanza_id(message));
        let of = |name: &str, ns: &str| message.get_child(name, ns)?.attr("id").map(str::to_owned);
        let refer = |id: String| self.names.get(&id).cloned().unwrap_or_else(|| NativeMessageId::new(id));
        let event = if let Some(to) = of("reactions", REACTIONS) {
            let emojis: Vec<_> = message.get_child("reactions", REACTIONS)?.children().map(Element::text).collect();
            let before = self.liked.insert((from_nick(message), to.clone()), emojis.len()).unwrap_or(0);
            match emojis.last() {
                Some(emoji) if emojis.len() > before => {
                    Event::Reaction { in_reply_to: refer(to), emoji: emoji.clone() }
                }
                _ => Event::Unlike { replaces: refer(to) },
            }
        } else if let Some(retracted) = of("retract", "urn:xmpp:message-retract:1") {
            Event::Delete { replaces: refer(retracted) }
        } else if let Some(sharing) = message.get_child("file-sharing", "urn:xmpp:sfs:0") {
            let (file, sources) =
                (sharing.get_child("file", METADATA).unwrap(), sharing.get_child("sources", "urn:xmpp:sfs:0").unwrap());
            let source = sources.get_child("url-data", "http://jabber.org/protocol/url-data").unwrap();
            let url = source.attr("target").unwrap();
            assert_eq!(
                message.get_child("x", "jabber:x:oob").unwrap().get_child("url", "jabber:x:oob").unwrap().text(),
                url
            );
            let said = |name: &str| file.get_child(name, METADATA).unwrap().text();
            let octets = download(url).await;
            assert_eq!(said("size"), octets.len().to_string());
            let body = body(message)?;
            let caption = body.strip_suffix(url).unwrap().trim_end().to_owned();
            let file = File {
                name: said("name"),
                media_type: said("media-type"),
                size: Some(octets.len() as u64),
                attachment: false,
                octets: Octets::new(octets),
            };
            let caption = Some(caption).filter(|caption| !caption.is_empty());
            Event::File { file, caption, in_reply_to: of("reply", "urn:xmpp:reply:0").map(refer) }
        } else {
            let quoted = message.get_child("fallback", "urn:xmpp:fallback:0").map_or(0, |fallback| {
                let part = fallback.get_child("body", "urn:xmpp:fallback:0").unwrap();
                part.attr("end").unwrap().parse().unwrap()
            });
            let said: String = body(message)?.chars().skip(quoted).collect();
            let unstyled = message.has_child("unstyled", "urn:xmpp:styling:0");
            let text = if said.contains('*') && !unstyled {
                Text::Markdown(said.replace('*', "**"))
            } else {
                Text::Plain(said)
            };
            match of("replace", "urn:xmpp:message-correct:0") {
                Some(corrected) => Event::Edit { replaces: refer(corrected), text },
                None => Event::Message { text, in_reply_to: of("reply", "urn:xmpp:reply:0").map(refer) },
            }
        };
        let name = NativeMessageId::new(format!("ghost:{key}:{id}"));
        self.names.insert(key, name.clone());
        self.names.insert(id, name.clone());
        let thread = message.get_child("thread", "jabber:client").map(|thread| Thread::Named(thread.text()));
        Some(Seen { id: name, name: from_nick(message), event, thread })
    }
}

/// The id the room gave a message, whoever's it is.
fn rooms_id(id: &NativeMessageId) -> &str {
    id.as_str().strip_prefix("ghost:").and_then(|id| id.split_once(':')).map_or(id.as_str(), |(_, id)| id)
}

#[async_trait]
impl Harness for TeaRoom {
    async fn adapter(&mut self) -> Arc<dyn Adapter> {
        let adapter = gateway::adapter(self.cable.port, SECRET);
        self.adapter = Some(adapter.clone());
        adapter
    }

    async fn connected(&mut self) {
        gateway::is(&**self.adapter.as_ref().unwrap(), "up").await;
        // What is said before the gateway has ever been in the room is the room's own. One check
        // links the room later only; there it is waited for in vain.
        let comes = self.alice.notices("the gateway in the room", |stanza| {
            stanza.name() == "presence" && stanza.attr("type").is_none() && from_nick(stanza) == "mimi-gateway"
        });
        let _ = tokio::time::timeout(Duration::from_secs(3), comes).await;
    }

    fn conversation(&self) -> ConversationId {
        ConversationId::new(TEA)
    }

    fn alice(&self) -> NativeUserId {
        NativeUserId::new("alice@b.example")
    }

    async fn alice_does(&mut self, event: Event<NativeMessageId>) -> NativeMessageId {
        self.does(event, String::new()).await
    }

    async fn alice_says_in(&mut self, thread: &Thread, event: Event<NativeMessageId>) -> NativeMessageId {
        let Thread::Named(name) = thread else { panic!("here threads have names") };
        self.does(event, format!("<thread>{name}</thread>")).await
    }

    async fn alice_reads(&mut self, receipt: &Receipt<Ghost>) {
        let ghost = receipt.conversation.as_str().split_once(' ').unwrap().1;
        let mark = format!("<displayed xmlns='urn:xmpp:chat-markers:0' id='{}'/>", receipt.up_to);
        let id = self.next_id();
        self.alice.writes(ghost, &id, &mark);
    }

    async fn sees_read(&mut self, receipt: &Receipt<Ghost>) {
        let read = |stanza: &Element| {
            let displayed = stanza.get_child("displayed", "urn:xmpp:chat-markers:0");
            displayed.and_then(|displayed| displayed.attr("id")) == Some(receipt.up_to.as_str())
        };
        self.alice.notices("that a ghost has read it", read).await;
    }

    async fn alice_writes_to(&mut self, _: &Ghost, conversation: &ConversationId, text: &str) -> NativeMessageId {
        let id = self.next_id();
        let ghost = conversation.as_str().split_once(' ').unwrap().1.to_owned();
        self.alice.writes(&ghost, &id, &format!("<body>{text}</body>"));
        NativeMessageId::new(id)
    }

    async fn sees(&mut self) -> Seen {
        loop {
            let ghosts = |stanza: &Element| {
                stanza.name() == "message"
                    && stanza.attr("type") == Some("groupchat")
                    && from_nick(stanza).ends_with(".example)")
            };
            let message = self.alice.notices("what a ghost says", ghosts).await;
            if let Some(seen) = self.read(&message).await {
                return seen;
            }
        }
    }

    async fn told(&mut self) -> String {
        let private = |stanza: &Element| {
            stanza.name() == "message" && stanza.attr("type") == Some("chat") && from_nick(stanza) == "mimi-gateway"
        };
        body(&self.alice.notices("a word from the gateway", private).await).unwrap()
    }

    async fn is_present(&mut self, ghost: &Ghost) -> bool {
        self.alice.occupants(TEA).await.contains(&ghost.name)
    }

    async fn goes_away(&mut self) {
        self.prosody.down();
    }

    async fn falls_silent(&mut self) {
        self.cable.falls_silent();
    }

    async fn comes_back(&mut self) {
        if self.cable.is_silent() {
            return self.cable.is_heard_again();
        }
        self.prosody.up();
        self.alice = Person::connect(self.prosody.clients, "alice").await;
        self.alice.joins(TEA, "Alice").await;
    }
}
