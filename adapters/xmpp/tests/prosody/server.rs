//! A Prosody of our own: in a temporary directory, on free ports, gone with the test.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

pub const SECRET: &str = "s3cret";

pub struct Prosody {
    directory: TempDir,
    process: Option<Child>,
    pub clients: u16,
    pub components: u16,
}

impl Prosody {
    /// Alice, Bob and Cathy have accounts at b.example. Rooms are at muc.b.example (with an archive, everybody
    /// sees real addresses), anon.b.example (with an archive, nobody does) and plain.b.example (no archive).
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [clients, components, http] = free_ports();
        fs::write(directory.path().join("prosody.cfg.lua"), configuration(directory.path(), clients, components, http))
            .unwrap();
        let accounts = directory.path().join("data/b%2eexample/accounts");
        fs::create_dir_all(&accounts).unwrap();
        for name in ["alice", "bob", "cathy"] {
            fs::write(accounts.join(format!("{name}.dat")), "return { [\"password\"] = \"pw\" };").unwrap();
        }
        let mut prosody = Self { directory, process: None, clients, components };
        prosody.up();
        prosody
    }

    pub fn up(&mut self) {
        let configuration = self.directory.path().join("prosody.cfg.lua");
        let started = Command::new("prosody")
            .arg("--config")
            .arg(configuration)
            .arg("-F")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = started.unwrap_or_else(|error| {
            panic!(
                "these tests run against a real Prosody, and it can't be started: {error}. \
                 Install it: apt-get install -y --no-install-recommends prosody lua-dbi-sqlite3"
            )
        });
        self.process = Some(process);
        let deadline = Instant::now() + Duration::from_secs(60);
        for port in [self.clients, self.components] {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                let exited = self.process.as_mut().unwrap().try_wait().unwrap();
                assert!(exited.is_none() && Instant::now() < deadline, "Prosody does not come up:\n{}", self.log());
                thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Stops it as an admin would.
    pub fn down(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let terminated = Command::new("kill").arg(process.id().to_string()).status();
        assert!(terminated.unwrap().success());
        let deadline = Instant::now() + Duration::from_secs(10);
        while process.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                process.kill().unwrap();
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it as a power cut would.
    pub fn crash(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        process.kill().unwrap();
        process.wait().unwrap();
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("prosody.log")).unwrap_or_default()
    }
}

impl Drop for Prosody {
    fn drop(&mut self) {
        self.crash();
        if thread::panicking() && std::env::var_os("PROSODY_LOG").is_some() {
            eprintln!("{}", self.log());
        }
    }
}

fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    std::array::from_fn(|at| listeners[at].local_addr().unwrap().port())
}

fn configuration(directory: &Path, clients: u16, components: u16, http: u16) -> String {
    let directory = directory.display();
    format!(
        r#"
run_as_root = true
pidfile = "{directory}/prosody.pid"
data_path = "{directory}/data"
log = {{ debug = "{directory}/prosody.log" }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {clients} }}
component_ports = {{ {components} }}
component_interfaces = {{ "127.0.0.1" }}
s2s_ports = {{}}
http_ports = {{ {http} }}
http_interfaces = {{ "127.0.0.1" }}
http_external_url = "http://127.0.0.1:{http}/"
http_default_host = "upload.b.example"
https_ports = {{}}
modules_enabled = {{ "roster", "saslauth", "disco", "ping", "offline", "blocklist" }}
modules_disabled = {{ "s2s", "tls" }}
authentication = "internal_plain"
allow_unencrypted_plain_auth = true
c2s_require_encryption = false
storage = "internal"
storage_archive_item_limit = 100000
muc_room_locking = false
muc_room_default_persistent = true
muc_room_default_change_subject = true

VirtualHost "b.example"

Component "muc.b.example" "muc"
  modules_enabled = {{ "muc_mam" }}
  muc_room_default_public_jids = true

Component "anon.b.example" "muc"
  modules_enabled = {{ "muc_mam" }}

Component "plain.b.example" "muc"
  muc_room_default_public_jids = true

Component "upload.b.example" "http_file_share"
  http_file_share_size_limit = 1000000

Component "mimi.b.example"
  component_secret = "{SECRET}"
"#
    )
}
