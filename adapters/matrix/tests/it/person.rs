//! Somebody with a Matrix client.

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::gateway::PATIENCE;

/// All that happened since the last look.
const FILTER: &str = r#"{"room":{"timeline":{"limit":1000}}}"#;

pub struct Person {
    client: Client,
    url: String,
    token: Option<String>,
    since: Option<String>,
    pub id: String,
    txn: u32,
}

impl Person {
    pub async fn registers(homeserver: &str, name: &str) -> Self {
        let client = Client::builder().no_proxy().build().unwrap();
        let mut person = Self { client, url: homeserver.into(), token: None, since: None, id: String::new(), txn: 0 };
        let account = json!({ "username": name, "password": "pw", "auth": { "type": "m.login.dummy" } });
        let made = person.ask(Method::POST, "register", account).await;
        person.token = made["access_token"].as_str().map(str::to_owned);
        person.id = made["user_id"].as_str().unwrap().into();
        person
    }

    pub async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        let (status, answer) = self.try_to(method, path, body).await;
        assert!(status.is_success(), "{path}: {answer}");
        answer
    }

    pub async fn try_to(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let url = format!("{}/_matrix/client/v3/{path}", self.url);
        let mut request = self.client.request(method.clone(), url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if method != Method::GET {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    pub async fn makes_room(&self, options: Value) -> String {
        self.ask(Method::POST, "createRoom", options).await["room_id"].as_str().unwrap().into()
    }

    pub async fn invites(&self, room: &str, whom: &str) {
        self.ask(Method::POST, &format!("rooms/{room}/invite"), json!({ "user_id": whom })).await;
    }

    pub async fn joins(&self, room: &str) {
        self.ask(Method::POST, &format!("rooms/{room}/join"), json!({})).await;
    }

    /// Sends an event and answers with its id.
    pub async fn sends(&mut self, room: &str, kind: &str, content: Value) -> String {
        self.txn += 1;
        let path = format!("rooms/{room}/send/{kind}/{}", self.txn);
        self.ask(Method::PUT, &path, content).await["event_id"].as_str().unwrap().into()
    }

    pub async fn says(&mut self, room: &str, text: &str) -> String {
        self.sends(room, "m.room.message", json!({ "msgtype": "m.text", "body": text })).await
    }

    /// Puts octets into the media repository.
    pub async fn uploads(&self, media_type: &str, octets: Vec<u8>) -> String {
        let request = self.client.post(format!("{}/_matrix/media/v3/upload", self.url));
        let request = request.bearer_auth(self.token.as_ref().unwrap()).header("content-type", media_type).body(octets);
        let answer: Value = request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap();
        answer["content_uri"].as_str().unwrap().into()
    }

    /// The octets of an `mxc:` URI.
    pub async fn downloads(&self, at: &str) -> Vec<u8> {
        let path = at.strip_prefix("mxc://").unwrap();
        let request = self.client.get(format!("{}/_matrix/client/v1/media/download/{path}", self.url));
        let answer = request.bearer_auth(self.token.as_ref().unwrap()).send().await.unwrap();
        answer.error_for_status().unwrap().bytes().await.unwrap().into()
    }

    pub async fn redacts(&mut self, room: &str, event: &str) -> String {
        self.txn += 1;
        let path = format!("rooms/{room}/redact/{event}/{}", self.txn);
        self.ask(Method::PUT, &path, json!({})).await["event_id"].as_str().unwrap().into()
    }

    /// Waits for an event in the room that looks like this.
    pub async fn sees(&mut self, room: &str, like: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            assert!(started.elapsed() < PATIENCE, "{} does not see it", self.id);
            let (since, before) = (self.since.clone(), self.looks(room).await);
            if let Some(found) = before.into_iter().find(|event| like(event)) {
                // What came with it is left for the next look.
                self.since = since;
                return found;
            }
        }
    }

    /// What has come since the last look, or comes soon.
    pub async fn looks(&mut self, room: &str) -> Vec<Value> {
        let since = self.since.as_ref().map(|since| format!("&since={since}")).unwrap_or_default();
        let synced = self.ask(Method::GET, &format!("sync?timeout=1000&filter={FILTER}{since}"), Value::Null).await;
        self.since = Some(synced["next_batch"].as_str().unwrap().into());
        synced["rooms"]["join"][room]["timeline"]["events"].as_array().cloned().unwrap_or_default()
    }

    /// Whether the person is shown that `who` has read up to an event, as of now.
    pub async fn has_seen_read(&self, room: &str, event: &str, who: &str) -> bool {
        let synced = self.ask(Method::GET, &format!("sync?filter={FILTER}"), Value::Null).await;
        let ephemeral = synced["rooms"]["join"][room]["ephemeral"]["events"].as_array().cloned().unwrap_or_default();
        ephemeral.iter().any(|it| it["content"][event]["m.read"].get(who).is_some())
    }

    pub async fn history(&self, room: &str) -> Vec<Value> {
        let answer = self.ask(Method::GET, &format!("rooms/{room}/messages?dir=b&limit=100"), Value::Null).await;
        answer["chunk"].as_array().unwrap().clone()
    }
}

/// An event with this text.
pub fn saying(text: &str) -> impl Fn(&Value) -> bool {
    move |event| event["content"]["body"].as_str().is_some_and(|body| body.contains(text))
}
