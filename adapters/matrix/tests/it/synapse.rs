//! A real Synapse on loopback, with people on it. It is installed once, by pip, where `MIMI_LAB_CACHE` says
//! or in `target/lab`.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    process,
    time::{Instant, sleep},
};

use crate::core::PATIENCE;

pub const SERVER: &str = "matrix.a.example";

pub struct Synapse {
    directory: PathBuf,
    pub url: String,
    process: Option<process::Child>,
}

impl Synapse {
    pub fn new(directory: &Path, port: u16, registration: &str) -> Self {
        fs::write(directory.join("registration.yaml"), registration).unwrap();
        // JSON is YAML.
        fs::write(directory.join("homeserver.yaml"), config(directory, port).to_string()).unwrap();
        let logging = json!({ "version": 1, "disable_existing_loggers": false,
            "handlers": { "console": { "class": "logging.StreamHandler" } },
            "root": { "level": "WARNING", "handlers": ["console"] } });
        fs::write(directory.join("log.yaml"), logging.to_string()).unwrap();
        let made = synapse(directory).arg("--generate-keys").status().unwrap();
        assert!(made.success());
        Self { directory: directory.into(), url: format!("http://127.0.0.1:{port}"), process: None }
    }

    pub async fn start(&mut self) {
        let log = File::options().append(true).create(true).open(self.directory.join("synapse.log")).unwrap();
        let mut command = process::Command::from(synapse(&self.directory));
        command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null()).kill_on_drop(true);
        self.process = Some(command.spawn().unwrap());
        let started = Instant::now();
        let client = Client::builder().no_proxy().build().unwrap();
        while client.get(format!("{}/health", self.url)).send().await.is_err() {
            assert!(started.elapsed() < PATIENCE, "Synapse does not come up, see {:?}", self.directory);
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// As by `kill -9`.
    pub async fn kill(&mut self) {
        self.process.take().unwrap().kill().await.unwrap();
    }

    pub async fn person(&self, name: &str) -> Person {
        let client = Client::builder().no_proxy().build().unwrap();
        let mut person = Person { client, url: self.url.clone(), token: None, since: None, id: String::new(), txn: 0 };
        let account = json!({ "username": name, "password": "pw", "auth": { "type": "m.login.dummy" } });
        let made = person.ask(Method::POST, "register", account).await;
        person.token = made["access_token"].as_str().map(str::to_owned);
        person.id = made["user_id"].as_str().unwrap().into();
        person
    }
}

fn synapse(directory: &Path) -> Command {
    let mut command = Command::new(python());
    command.args(["-m", "synapse.app.homeserver", "-c"]).arg(directory.join("homeserver.yaml"));
    // Synapse looks for a proxy in the environment, and its application service is on loopback.
    command.current_dir(directory).env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
    command
}

/// The Python that has Synapse.
fn python() -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/lab");
    let cache = std::env::var_os("MIMI_LAB_CACHE").map_or(target, PathBuf::from);
    // The lab of the whole gateway has one too.
    if cache.join("venv/requirements.txt").exists() {
        return cache.join("venv/bin/python");
    }
    let venv = cache.join("synapse");
    let python = venv.join("bin/python");
    if !venv.join("complete").exists() {
        // Debian's interpreter: one that a version manager has built is often half as fast.
        fs::create_dir_all(&cache).unwrap();
        let run = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
        run(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&venv));
        run(Command::new(&python).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "matrix-synapse>=1.141",
        ]));
        File::create(venv.join("complete")).unwrap();
    }
    python
}

fn config(directory: &Path, port: u16) -> Value {
    let limits = ["rc_message", "rc_registration", "rc_joins_per_room", "rc_room_creation", "rc_admin_redaction"];
    let nested = [
        ("rc_login", vec!["address", "account"]),
        ("rc_joins", vec!["local", "remote"]),
        ("rc_invites", vec!["per_room", "per_user", "per_issuer"]),
    ];
    let none = json!({ "per_second": 100_000, "burst_count": 100_000 });
    let mut config = json!({
        "server_name": SERVER,
        "report_stats": false,
        "listeners": [{ "port": port, "type": "http", "bind_addresses": ["127.0.0.1"], "resources": [{ "names": ["client"] }] }],
        "database": { "name": "sqlite3", "args": { "database": directory.join("homeserver.db") } },
        "media_store_path": directory.join("media"),
        "signing_key_path": directory.join("signing.key"),
        "pid_file": directory.join("synapse.pid"),
        "log_config": directory.join("log.yaml"),
        "enable_registration": true,
        "enable_registration_without_verification": true,
        "macaroon_secret_key": "only for this test",
        "form_secret": "only for this test",
        "bcrypt_rounds": 4,
        "app_service_config_files": [directory.join("registration.yaml")],
        "federation_domain_whitelist": [],
        "trusted_key_servers": [],
        "suppress_key_server_warning": true,
        "presence": { "enabled": false },
    });
    for limit in limits {
        config[limit] = none.clone();
    }
    for (limit, kinds) in nested {
        for kind in kinds {
            config[limit][kind] = none.clone();
        }
    }
    config
}

/// Somebody with a Matrix client.
pub struct Person {
    client: Client,
    url: String,
    token: Option<String>,
    since: Option<String>,
    pub id: String,
    txn: u32,
}

impl Person {
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
            let since = self.since.as_ref().map(|since| format!("&since={since}")).unwrap_or_default();
            let synced = self.ask(Method::GET, &format!("sync?timeout=1000{since}"), Value::Null).await;
            let events = synced["rooms"]["join"][room]["timeline"]["events"].as_array().cloned().unwrap_or_default();
            // Only what comes after it is left for the next look, so a test looks in the order of things.
            match events.into_iter().find(|event| like(event)) {
                Some(found) => return found,
                None => self.since = Some(synced["next_batch"].as_str().unwrap().into()),
            }
        }
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
