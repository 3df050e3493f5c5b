//! A real Synapse on loopback, with people on it. It is installed once, by pip, where `MIMI_LAB_CACHE` says
//! or in `target/lab`.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{gateway::PATIENCE, person::Person};

pub const SERVER: &str = "matrix.a.example";

pub struct Synapse {
    directory: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl Synapse {
    pub fn new(directory: &Path, port: u16, registrations: &[String]) -> Self {
        let name = |n: usize| directory.join(format!("registration{n}.yaml"));
        for (n, registration) in registrations.iter().enumerate() {
            fs::write(name(n), registration).unwrap();
        }
        let registrations: Vec<_> = (0..registrations.len()).map(name).collect();
        // JSON is YAML.
        fs::write(directory.join("homeserver.yaml"), config(directory, port, &registrations).to_string()).unwrap();
        let logging = json!({
            "version": 1,
            "disable_existing_loggers": false,
            "formatters": { "plain": { "format": "%(asctime)s %(name)s %(message)s" } },
            "handlers": { "console": { "class": "logging.StreamHandler", "formatter": "plain" } },
            "root": { "level": "WARNING", "handlers": ["console"] },
        });
        fs::write(directory.join("log.yaml"), logging.to_string()).unwrap();
        let made = synapse(directory).arg("--generate-keys").status().unwrap();
        assert!(made.success());
        Self { directory: directory.into(), port, process: None }
    }

    /// It ends with this process, however that ends: the shell around it waits for its input to be closed.
    pub fn start(&mut self) {
        let log = File::options().append(true).create(true).open(self.directory.join("synapse.log")).unwrap();
        let server = synapse(&self.directory);
        let mut shell = Command::new("sh");
        shell.args(["-c", r#""$@" & read _; kill -9 $!"#, "sh"]).arg(server.get_program()).args(server.get_args());
        // Synapse looks for a proxy in the environment, and its application service is on loopback.
        shell.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
        shell.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(shell.spawn().unwrap());
        let started = Instant::now();
        while !self.is_up() {
            assert!(started.elapsed() < PATIENCE, "Synapse does not come up, see {:?}", self.directory);
            sleep(Duration::from_millis(100));
        }
    }

    fn is_up(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let mut answer = String::new();
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").and_then(|()| stream.read_to_string(&mut answer)).is_ok()
            && answer.contains(" 200 ")
    }

    /// As by `kill -9`.
    pub fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        drop(process.stdin.take());
        process.wait().unwrap();
    }

    pub async fn person(&self, name: &str) -> Person {
        Person::registers(&format!("http://127.0.0.1:{}", self.port), name).await
    }
}

fn synapse(directory: &Path) -> Command {
    let mut command = Command::new(python());
    command.args(["-m", "synapse.app.homeserver", "-c"]).arg(directory.join("homeserver.yaml"));
    command
}

/// The Python that has Synapse.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(install)
}

fn install() -> PathBuf {
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

fn config(directory: &Path, port: u16, registrations: &[PathBuf]) -> Value {
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
        "app_service_config_files": registrations,
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
