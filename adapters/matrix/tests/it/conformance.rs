//! The suite that every adapter has to pass, on a real Synapse.
//!
//! One Synapse serves all the checks; each check has an application service, a namespace and an Alice of
//! its own there. The network goes away by cutting the wire between the adapter and the homeserver.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mimi_adapter::{
    Adapter, ConversationId, Event, File, Ghost, NativeMessageId, NativeUserId, Octets, Receipt, Text, Thread,
    async_trait,
    conformance::{Harness, Seen},
    toml,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use crate::{
    gateway::{build, context, free_port, is},
    person::Person,
    synapse::{SERVER, Synapse},
};

/// The tags that are sent for the formatting of the checks.
const TAGS: [(&str, &str); 6] =
    [("<p>", ""), ("</p>", ""), ("<strong>", "**"), ("</strong>", "**"), ("<code>", "`"), ("</code>", "`")];

mimi_adapter::conformance!(TeaHouse::open().await);

/// No more checks than this.
const PLACES: usize = 27;

struct House {
    url: String,
    synapse_port: u16,
    places: Vec<Place>,
    next: AtomicUsize,
    _synapse: Mutex<Synapse>,
}

/// What one check has on the homeserver.
struct Place {
    name: String,
    homeserver_port: u16,
    /// Where the homeserver finds the adapter, and where the adapter listens.
    url_port: u16,
    listen_port: u16,
    config: String,
}

fn house() -> &'static House {
    static HOUSE: OnceLock<House> = OnceLock::new();
    HOUSE.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("synapse");
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let places: Vec<_> = (0..PLACES).map(place).collect();
        let registration = |place: &Place| {
            mimi_matrix::registration(place.config.parse::<toml::Table>().unwrap(), &context(&place.name)).unwrap()
        };
        let registrations: Vec<_> = places.iter().map(registration).collect();
        let synapse_port = free_port();
        let mut synapse = Synapse::new(&directory, synapse_port, &registrations);
        synapse.start();
        let url = format!("http://127.0.0.1:{synapse_port}");
        House { url, synapse_port, places, next: AtomicUsize::new(0), _synapse: Mutex::new(synapse) }
    })
}

fn place(n: usize) -> Place {
    let [homeserver_port, url_port, listen_port] = [(); 3].map(|()| free_port());
    let config = format!(
        "homeserver = \"http://127.0.0.1:{homeserver_port}\"\nserver_name = \"{SERVER}\"\nlisten = \"127.0.0.1:{listen_port}\"\n\
         url = \"http://127.0.0.1:{url_port}\"\nas_token = \"as-secret-{n}\"\nhs_token = \"hs-secret-{n}\"\nbot = \"gateway{n}\"\nghost_prefix = \"mimi{n}_\"\n"
    );
    Place { name: format!("place{n}"), homeserver_port, url_port, listen_port, config }
}

struct TeaHouse {
    place: &'static Place,
    number: usize,
    /// To the homeserver, and back from it.
    wire: JoinSet<()>,
    way_back: JoinSet<()>,
    alice: Person,
    room: String,
    adapter: Option<Arc<dyn Adapter>>,
    /// What Alice has read and the check has not: what people said, and what the gateway told her.
    seen: std::collections::VecDeque<Seen>,
    told: std::collections::VecDeque<String>,
    reactions: BTreeSet<String>,
}

impl TeaHouse {
    async fn open() -> Self {
        let house = tokio::task::spawn_blocking(house).await.unwrap();
        let number = house.next.fetch_add(1, Ordering::Relaxed);
        let place = &house.places[number];
        let alice = Person::registers(&house.url, &format!("alice{number}")).await;
        let bot = format!("@gateway{number}:{SERVER}");
        let room = alice
            .makes_room(json!({
                "preset": "private_chat", "invite": [bot],
                // The bot may change what the room is called. Alice, who makes it, may anyway (since room version 12).
                "power_level_content_override": { "users": { bot.clone(): 50 } },
            }))
            .await;
        let (mut wire, mut way_back) = (JoinSet::new(), JoinSet::new());
        wire.spawn(carry(place.homeserver_port, house.synapse_port));
        way_back.spawn(carry(place.url_port, place.listen_port));
        let (seen, told, reactions) = Default::default();
        Self { place, number, wire, way_back, alice, room, adapter: None, seen, told, reactions }
    }

    async fn members(&self) -> Value {
        let path = format!("rooms/{}/joined_members", self.room);
        self.alice.ask(Method::GET, &path, Value::Null).await["joined"].clone()
    }

    async fn name_of(&self, user: &str) -> String {
        let path = format!("rooms/{}/state/m.room.member/{user}", self.room);
        let member = self.alice.ask(Method::GET, &path, Value::Null).await;
        member["displayname"].as_str().unwrap_or_default().to_owned()
    }

    async fn alice_sets(&self, kind: &str, content: Value) -> NativeMessageId {
        let path = format!("rooms/{}/state/{kind}", self.room);
        let answer = self.alice.ask(Method::PUT, &path, content).await;
        NativeMessageId::new(answer["event_id"].as_str().unwrap())
    }

    /// Alice reads what has come since she last looked.
    async fn look(&mut self) {
        for event in self.alice.looks(&self.room).await {
            let (sender, content) = (event["sender"].as_str().unwrap(), &event["content"]);
            if sender == self.alice.id {
                continue;
            }
            if content["msgtype"] == "m.notice" {
                self.told.push_back(content["body"].as_str().unwrap().to_owned());
                continue;
            }
            let id = event["event_id"].as_str().unwrap();
            let relation = &content["m.relates_to"];
            let to = |id: &Value| NativeMessageId::new(id.as_str().unwrap());
            let plain = |content: &Value| match content["formatted_body"].as_str() {
                Some(html) => {
                    Text::Markdown(TAGS.iter().fold(html.to_owned(), |html, (tag, mark)| html.replace(tag, mark)))
                }
                None => Text::Plain(content["body"].as_str().unwrap().to_owned()),
            };
            let said = match event["type"].as_str().unwrap() {
                "m.room.message" if relation["rel_type"] == "m.replace" => {
                    Event::Edit { replaces: to(&relation["event_id"]), text: plain(&content["m.new_content"]) }
                }
                "m.room.message" if content["msgtype"] == "m.image" => {
                    let word = |at: &Value| at.as_str().unwrap().to_owned();
                    let (name, body) = (word(&content["filename"]), word(&content["body"]));
                    let octets = self.alice.downloads(content["url"].as_str().unwrap()).await;
                    assert_eq!(content["info"]["size"], octets.len());
                    let media_type = word(&content["info"]["mimetype"]);
                    let caption = Some(body).filter(|body| *body != name);
                    let (size, octets) = (Some(octets.len() as u64), Octets::new(octets));
                    let file = File { name, media_type, size, attachment: false, octets };
                    Event::File { file, caption, in_reply_to: relation.pointer("/m.in_reply_to/event_id").map(to) }
                }
                "m.room.message" if content.get("body").is_some() => {
                    let in_reply_to = relation.pointer("/m.in_reply_to/event_id").map(to);
                    Event::Message { text: plain(content), in_reply_to }
                }
                "m.reaction" if relation.is_object() => {
                    self.reactions.insert(id.to_owned());
                    let emoji = relation["key"].as_str().unwrap().to_owned();
                    Event::Reaction { in_reply_to: to(&relation["event_id"]), emoji }
                }
                "m.room.redaction" => {
                    let target = content.get("redacts").or(event.get("redacts")).unwrap();
                    let was_reaction = self.reactions.contains(target.as_str().unwrap());
                    let replaces = to(target);
                    if was_reaction { Event::Unlike { replaces } } else { Event::Delete { replaces } }
                }
                "m.room.name" => Event::Name { name: content["name"].as_str().unwrap().to_owned() },
                "m.room.topic" => Event::Topic { topic: content["topic"].as_str().unwrap().to_owned() },
                _ => continue,
            };
            let name = self.name_of(sender).await;
            let thread = (relation["rel_type"] == "m.thread").then(|| Thread::Under(to(&relation["event_id"])));
            self.seen.push_back(Seen { id: NativeMessageId::new(id), name, event: said, thread });
        }
    }
}

#[async_trait]
impl Harness for TeaHouse {
    async fn adapter(&mut self) -> Arc<dyn Adapter> {
        let adapter = build(&self.place.name, &self.place.config);
        self.adapter = Some(adapter.clone());
        adapter
    }

    async fn connected(&mut self) {
        let bot = format!("@gateway{}:{SERVER}", self.number);
        is(&**self.adapter.as_ref().unwrap(), &["up", "deaf"]).await;
        while self.members().await.get(&bot).is_none() {
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn conversation(&self) -> ConversationId {
        ConversationId::new(&self.room)
    }

    fn alice(&self) -> NativeUserId {
        NativeUserId::new(&self.alice.id)
    }

    async fn alice_does(&mut self, event: Event<NativeMessageId>) -> NativeMessageId {
        let room = self.room.clone();
        let text = |text: &Text| match text {
            Text::Plain(text) => json!({ "msgtype": "m.text", "body": text }),
            // As the check has it; an editor sends what was typed and what it comes to.
            Text::Markdown(typed) => json!({
                "msgtype": "m.text", "body": typed, "format": "org.matrix.custom.html",
                "formatted_body": "<strong>strong</strong> and <code>code</code>",
            }),
        };
        let (kind, content) = match &event {
            Event::Message { text: words, in_reply_to } => {
                let mut content = text(words);
                if let Some(to) = in_reply_to {
                    content["m.relates_to"] = json!({ "m.in_reply_to": { "event_id": to } });
                }
                ("m.room.message", content)
            }
            Event::File { file, caption: None, in_reply_to: None } => {
                let mut octets = Vec::new();
                file.octets.open().await.unwrap().octets.read_to_end(&mut octets).await.unwrap();
                let url = self.alice.uploads(&file.media_type, octets).await;
                let info = json!({ "mimetype": file.media_type, "size": file.size });
                ("m.room.message", json!({ "msgtype": "m.image", "body": file.name, "url": url, "info": info }))
            }
            Event::Edit { replaces, text: words } => {
                let mut content = text(words);
                content["m.new_content"] = text(words);
                content["m.relates_to"] = json!({ "rel_type": "m.replace", "event_id": replaces });
                ("m.room.message", content)
            }
            Event::Reaction { in_reply_to, emoji } => {
                let relation = json!({ "rel_type": "m.annotation", "event_id": in_reply_to, "key": emoji });
                ("m.reaction", json!({ "m.relates_to": relation }))
            }
            Event::Delete { replaces } | Event::Unlike { replaces } => {
                return NativeMessageId::new(self.alice.redacts(&room, replaces.as_str()).await);
            }
            Event::Name { name } => return self.alice_sets("m.room.name", json!({ "name": name })).await,
            Event::Topic { topic } => return self.alice_sets("m.room.topic", json!({ "topic": topic })).await,
            other => panic!("Alice does not {}", other.kind()),
        };
        NativeMessageId::new(self.alice.sends(&room, kind, content).await)
    }

    async fn alice_says_in(&mut self, thread: &Thread, event: Event<NativeMessageId>) -> NativeMessageId {
        let Event::Message { text, in_reply_to } = event else { panic!("Alice has only words for a thread") };
        let root = thread.root().unwrap();
        let (answered, falling_back) = (in_reply_to.as_ref().unwrap_or(root), in_reply_to.is_none());
        let relation = json!({
            "rel_type": "m.thread", "event_id": root, "is_falling_back": falling_back,
            "m.in_reply_to": { "event_id": answered },
        });
        let content = json!({ "msgtype": "m.text", "body": text.as_str(), "m.relates_to": relation });
        NativeMessageId::new(self.alice.sends(&self.room, "m.room.message", content).await)
    }

    async fn alice_reads(&mut self, receipt: &Receipt<Ghost>) {
        let path = format!("rooms/{}/receipt/m.read/{}", receipt.conversation, receipt.up_to);
        self.alice.ask(Method::POST, &path, json!({})).await;
    }

    async fn sees_read(&mut self, receipt: &Receipt<Ghost>) {
        let (name, domain) = (receipt.by.user.segment(), receipt.by.user.domain());
        let id = format!("@mimi{}_{domain}_{name}:{SERVER}", self.number);
        while !self.alice.has_seen_read(receipt.conversation.as_str(), receipt.up_to.as_str(), &id).await {}
    }

    async fn alice_writes_to(&mut self, _: &Ghost, conversation: &ConversationId, text: &str) -> NativeMessageId {
        self.alice.joins(conversation.as_str()).await;
        NativeMessageId::new(self.alice.says(conversation.as_str(), text).await)
    }

    async fn sees(&mut self) -> Seen {
        loop {
            if let Some(seen) = self.seen.pop_front() {
                return seen;
            }
            self.look().await;
        }
    }

    async fn told(&mut self) -> String {
        loop {
            if let Some(told) = self.told.pop_front() {
                return told;
            }
            self.look().await;
        }
    }

    async fn is_present(&mut self, ghost: &Ghost) -> bool {
        let (name, domain) = (ghost.user.segment(), ghost.user.domain());
        let id = format!("@mimi{}_{domain}_{name}:{SERVER}", self.number);
        self.members().await.get(&id).is_some()
    }

    async fn goes_away(&mut self) {
        self.wire.shutdown().await;
    }

    async fn comes_back(&mut self) {
        if self.wire.is_empty() {
            self.wire.spawn(carry(self.place.homeserver_port, house().synapse_port));
        }
        self.way_back.shutdown().await;
        self.way_back.spawn(carry(self.place.url_port, self.place.listen_port));
    }

    async fn falls_silent(&mut self) {
        self.way_back.shutdown().await;
        self.way_back.spawn(swallow(self.place.url_port));
    }
}

/// Takes whatever comes, and never says a word.
async fn swallow(from: u16) {
    let listener = TcpListener::bind(("127.0.0.1", from)).await.unwrap();
    let mut connections = JoinSet::new();
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        connections.spawn(async move {
            let _ = tokio::io::copy(&mut near, &mut tokio::io::sink()).await;
        });
    }
}

/// The wire between the adapter and the homeserver. To drop this is to cut it.
async fn carry(from: u16, to: u16) {
    let listener = TcpListener::bind(("127.0.0.1", from)).await.unwrap();
    let mut connections = JoinSet::new();
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        connections.spawn(async move {
            let Ok(mut far) = TcpStream::connect(("127.0.0.1", to)).await else { return };
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
    }
}
