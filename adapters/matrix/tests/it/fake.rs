//! A homeserver of a few rooms, for what a real one can't be brought to do at the right moment: fail.
//!
//! It knows accounts, membership and what was sent; it recognises transaction ids until it "restarts". It
//! is no reference for what homeservers do: where it matters, the scenes with Synapse have shown it first.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Query, State},
    http::{HeaderMap, Method, StatusCode, Uri, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use mimi_adapter::ConversationId;
use serde_json::{Value, json};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::gateway::{Gateway, PATIENCE, free_port};

pub const ROOM: &str = "!tea";
pub const BOT: &str = "@mimi:a.example";

#[derive(Default)]
pub struct Rooms {
    pub registered: BTreeSet<String>,
    pub members: BTreeMap<String, BTreeSet<String>>,
    pub invited: BTreeSet<(String, String)>,
    pub encrypted: BTreeSet<String>,
    pub nobody_invites: bool,
    /// What was sent: who, where, what kind, the content, the id.
    pub sent: Vec<(String, String, String, Value, String)>,
    /// What `GET /event` answers.
    pub events: BTreeMap<String, Value>,
    /// What the room's timeline shows to the bot, newest first.
    pub timeline: Vec<Value>,
    /// Each request as "PUT /rooms/… as @user".
    pub requests: Vec<String>,
    notes: BTreeMap<String, Value>,
    txns: BTreeMap<String, String>,
    fault: Option<Fault>,
}

/// What goes wrong with the next request whose path has `at` in it.
struct Fault {
    at: &'static str,
    status: u16,
    body: &'static str,
    retry_after: Option<&'static str>,
    /// The homeserver has done it all the same.
    done: bool,
}

#[derive(Clone)]
pub struct Fake {
    rooms: Arc<Mutex<Rooms>>,
    pub config: String,
    listen: String,
}

impl Fake {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let homeserver = listener.local_addr().unwrap();
        let listen = format!("127.0.0.1:{}", free_port());
        let config = format!(
            "homeserver = \"http://{homeserver}\"\nserver_name = \"a.example\"\nlisten = \"{listen}\"\n\
             as_token = \"as-secret\"\nhs_token = \"hs-secret\"\n"
        );
        let rooms = Rooms {
            members: [(ROOM.into(), [BOT.into(), "@alice:a.example".into()].into())].into(),
            ..Default::default()
        };
        let fake = Self { rooms: Arc::new(Mutex::new(rooms)), config, listen };
        let router = Router::new().fallback(answer).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        fake
    }

    /// A gateway that is in the room [`ROOM`] and has nothing left to do there.
    pub async fn gateway(&self) -> Gateway {
        let gateway = Gateway::start(&self.config);
        gateway.core.link(ConversationId::new(ROOM));
        assert_eq!(gateway.reported().await.sender.as_str(), "@alice:a.example");
        gateway
    }

    pub fn rooms<T>(&self, with: impl FnOnce(&mut Rooms) -> T) -> T {
        with(&mut self.rooms.lock().unwrap())
    }

    pub fn fails_at(&self, at: &'static str, status: u16, body: &'static str) {
        self.rooms(|rooms| rooms.fault = Some(Fault { at, status, body, retry_after: None, done: false }));
    }

    pub fn asks_to_wait_at(&self, at: &'static str, seconds: &'static str) {
        self.rooms(|rooms| {
            rooms.fault = Some(Fault { at, status: 503, body: "busy", retry_after: Some(seconds), done: false })
        });
    }

    /// It does what it is asked, and the answer gets lost.
    pub fn loses_the_answer_at(&self, at: &'static str) {
        self.rooms(|rooms| {
            rooms.fault = Some(Fault { at, status: 502, body: "<h1>Bad Gateway</h1>", retry_after: None, done: true })
        });
    }

    pub fn restarts(&self) {
        self.rooms(|rooms| rooms.txns.clear());
    }

    /// The texts in the room, each with who sent it.
    pub fn texts(&self) -> Vec<(String, String)> {
        let text = |(sender, _, _, content, _): &(String, _, _, Value, _)| {
            (sender.clone(), content["body"].as_str().unwrap_or_default().to_owned())
        };
        self.rooms(|rooms| rooms.sent.iter().map(text).collect())
    }

    /// Calls the gateway as the homeserver does.
    pub async fn calls(&self, method: Method, path: &str, token: Option<&str>, body: String) -> (u16, Value) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}/_matrix/app/v1/{path}", self.listen);
        let started = Instant::now();
        let answer = loop {
            let mut request = client.request(method.clone(), &url).body(body.clone());
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            match request.send().await {
                // It does not listen yet.
                Err(error) if error.is_connect() && started.elapsed() < PATIENCE => {
                    sleep(Duration::from_millis(10)).await
                }
                answer => break answer.unwrap(),
            }
        };
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Brings the gateway these events in one transaction.
    pub async fn brings(&self, events: &[Value]) -> u16 {
        let body = json!({ "events": events }).to_string();
        self.calls(Method::PUT, "transactions/1", Some("hs-secret"), body).await.0
    }
}

/// A transaction under way.
pub struct Hanging(TcpStream);

impl Fake {
    pub async fn begins(&self, events: &[Value]) -> Hanging {
        let body = json!({ "events": events }).to_string();
        let mut stream = TcpStream::connect(&self.listen).await.unwrap();
        let head = format!(
            "PUT /_matrix/app/v1/transactions/1 HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer hs-secret\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        Hanging(stream)
    }
}

impl Hanging {
    /// Without an answer. When this returns, the gateway has noticed.
    pub async fn hangs_up(mut self) {
        self.0.shutdown().await.unwrap();
        let mut answer = Vec::new();
        self.0.read_to_end(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8(answer).unwrap(), "");
    }
}

/// An event of Alice's in the room.
pub fn event(id: &str, kind: &str, content: Value) -> Value {
    json!({ "type": kind, "event_id": id, "room_id": ROOM, "sender": "@alice:a.example", "origin_server_ts": 1, "content": content })
}

pub fn message(id: &str, text: &str) -> Value {
    event(id, "m.room.message", json!({ "msgtype": "m.text", "body": text }))
}

type Refusal = (StatusCode, Value);

async fn answer(
    State(fake): State<Fake>,
    method: Method,
    uri: Uri,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    assert_eq!(headers["authorization"], "Bearer as-secret");
    let user = query.get("user_id").map_or(BOT, String::as_str);
    let path = uri.path().strip_prefix("/_matrix/client/").unwrap_or(uri.path());
    let path = path.replace("%40", "@").replace("%3A", ":").replace("%21", "!").replace("%24", "$").replace("%3D", "=");
    let path = path.strip_prefix("v3").or(path.strip_prefix("v1")).unwrap_or(&path).to_owned();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    fake.rooms(|rooms| {
        rooms.requests.push(format!("{method} {path} as {user}"));
        let fault = rooms.fault.take_if(|fault| path.contains(fault.at));
        if let Some(fault) = &fault
            && !fault.done
        {
            let after = fault.retry_after.map(|after| [(RETRY_AFTER, after)]);
            return (StatusCode::from_u16(fault.status).unwrap(), after.unwrap_or([(RETRY_AFTER, "")]), fault.body)
                .into_response();
        }
        let answered = rooms.answer(&method, &path, user, body);
        match (fault, answered) {
            (Some(fault), _) => (StatusCode::from_u16(fault.status).unwrap(), fault.body).into_response(),
            (None, Ok(answer)) => axum::Json(answer).into_response(),
            (None, Err((status, error))) => (status, axum::Json(error)).into_response(),
        }
    })
}

fn forbidden() -> Refusal {
    (StatusCode::FORBIDDEN, json!({ "errcode": "M_FORBIDDEN", "error": "You may not" }))
}

fn not_found() -> Refusal {
    (StatusCode::NOT_FOUND, json!({ "errcode": "M_NOT_FOUND", "error": "Not found" }))
}

impl Rooms {
    fn answer(&mut self, method: &Method, path: &str, user: &str, body: Value) -> Result<Value, Refusal> {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let is_member = |room: &str| self.members.get(room).is_some_and(|members| members.contains(user));
        match (method.as_str(), &parts[..]) {
            ("POST", ["register"]) => {
                let user = format!("@{}:a.example", body["username"].as_str().unwrap());
                if !self.registered.insert(user.clone()) {
                    return Err((StatusCode::BAD_REQUEST, json!({ "errcode": "M_USER_IN_USE", "error": "taken" })));
                }
                Ok(json!({ "user_id": user }))
            }
            ("POST", ["appservice", ..]) => Ok(json!({ "duration_ms": 1 })),
            ("GET", ["profile", _, "displayname"]) => Err(not_found()),
            ("PUT", ["profile", ..]) => Ok(json!({})),
            ("GET", ["user", _, "rooms", room, "account_data", _]) => {
                self.notes.get(*room).cloned().ok_or_else(not_found)
            }
            ("PUT", ["user", _, "rooms", room, "account_data", _]) => {
                self.notes.insert((*room).into(), body);
                Ok(json!({}))
            }
            ("POST", ["rooms", room, "join"]) => {
                if user != BOT && !self.registered.contains(user) {
                    return Err(forbidden());
                }
                if !is_member(room) && !self.invited.remove(&((*room).into(), user.into())) {
                    return Err(forbidden());
                }
                self.members.entry((*room).into()).or_default().insert(user.into());
                Ok(json!({ "room_id": room }))
            }
            _ if parts[0] == "rooms" && !is_member(parts[1]) => Err(forbidden()),
            ("POST", ["rooms", _, "invite"]) if self.nobody_invites => Err(forbidden()),
            ("POST", ["rooms", room, "invite"]) => {
                self.invited.insert(((*room).into(), body["user_id"].as_str().unwrap().into()));
                Ok(json!({}))
            }
            ("POST", ["rooms", room, "leave"]) => {
                self.members.get_mut(*room).unwrap().remove(user);
                Ok(json!({}))
            }
            ("GET", ["rooms", room, "joined_members"]) => {
                let joined: BTreeMap<_, _> = self.members[*room].iter().map(|member| (member, json!({}))).collect();
                Ok(json!({ "joined": joined }))
            }
            ("GET", ["rooms", room, "state", "m.room.encryption", ..]) => {
                if self.encrypted.contains(*room) {
                    Ok(json!({ "algorithm": "m.megolm.v1.aes-sha2" }))
                } else {
                    Err(not_found())
                }
            }
            ("GET", ["media", "config"]) => Ok(json!({ "m.upload.size": 1_000_000 })),
            ("GET", ["rooms", _, "event", id]) => self.events.get(*id).cloned().ok_or_else(not_found),
            ("GET", ["rooms", _, "messages"]) if user == BOT => Ok(json!({ "start": "s", "chunk": self.timeline })),
            ("GET", ["rooms", room, "messages"]) => {
                let mine = self.sent.iter().rev().filter(|(sender, there, ..)| sender == user && there == room);
                let chunk: Vec<_> = mine
                    .map(|(_, _, kind, content, id)| json!({ "type": kind, "event_id": id, "content": content }))
                    .collect();
                Ok(json!({ "start": "s", "chunk": chunk }))
            }
            ("PUT", ["rooms", room, "send" | "redact", kind, _]) => {
                if let Some(known) = self.txns.get(path) {
                    return Ok(json!({ "event_id": known }));
                }
                let id = format!("$sent{}", self.sent.len() + 1);
                self.sent.push((user.into(), (*room).into(), (*kind).into(), body, id.clone()));
                self.txns.insert(path.into(), id.clone());
                Ok(json!({ "event_id": id }))
            }
            _ => panic!("the fake homeserver does not know {method} {path}"),
        }
    }
}
