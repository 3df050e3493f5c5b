//! Two `mimi-gateway run`, and what the kernel says they use.

use std::{
    fmt::Write as _,
    fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    net::UnixStream,
    process::{Child, Command},
    time::{Instant, sleep},
};

use crate::BoxError;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mimi-gateway");
const DOMAINS: [&str; 2] = ["a.example", "b.example"];

/// A gateway that is not up after this long has a problem.
const PATIENCE: Duration = Duration::from_secs(20);

/// a.example, the hub of every room, and b.example. They end when this is dropped.
pub struct Gateways {
    pub both: [Gateway; 2],
    directory: TempDir,
}

pub struct Gateway {
    pub domain: &'static str,
    process: Child,
    pid: u32,
    files: PathBuf,
}

impl Gateways {
    /// Room n is joined to the conversation `n` on both sides, and bob of b.example invited into it.
    pub async fn start(rooms: usize) -> Result<Self, BoxError> {
        let directory = directory_with_certificates().await?;
        let path = directory.path();
        let ports = free_ports()?;
        for us in [0, 1] {
            fs::write(path.join(format!("{}.toml", DOMAINS[us])), config(us, ports, rooms)?)?;
        }
        let [a, b] = DOMAINS.map(|domain| Gateway::start(path, domain));
        let gateways = Self { both: [a?, b?], directory };
        Ok(gateways)
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// CPU seconds that a.example, b.example and this process have used so far.
    pub fn cpu_seconds(&self) -> io::Result<[f64; 3]> {
        Ok([cpu_seconds(self.both[0].pid)?, cpu_seconds(self.both[1].pid)?, cpu_seconds(std::process::id())?])
    }
}

/// a.example with nobody to talk to, and room n joined to the conversation `n`.
pub struct Alone {
    directory: TempDir,
}

impl Alone {
    pub async fn new(rooms: usize) -> Result<Self, BoxError> {
        let directory = directory_with_certificates().await?;
        let text = config(0, free_ports()?, rooms)?.replace(INVITE, "");
        fs::write(directory.path().join(format!("{}.toml", DOMAINS[0])), text)?;
        Ok(Self { directory })
    }

    /// Answers, with the gateway, how long it took until an admin could speak to it.
    pub async fn start(&self) -> Result<(Gateway, Duration), BoxError> {
        let begun = Instant::now();
        let gateway = Gateway::start(self.directory.path(), DOMAINS[0])?;
        let socket = self.directory.path().join(format!("{}.admin.sock", DOMAINS[0]));
        while UnixStream::connect(&socket).await.is_err() {
            // The first start has every room to link.
            if begun.elapsed() > 10 * PATIENCE {
                return Err(gateway.trouble("is not up"));
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok((gateway, begun.elapsed()))
    }
}

async fn directory_with_certificates() -> Result<TempDir, BoxError> {
    let directory = tempfile::tempdir()?;
    let mut issue = Command::new(PROGRAM);
    issue.args(["ca", "issue", "--out"]).arg(directory.path());
    for domain in DOMAINS {
        issue.args(["--domain", domain]);
    }
    let issued = issue.output().await?;
    if !issued.status.success() {
        return Err(format!("ca issue: {}", String::from_utf8_lossy(&issued.stderr)).into());
    }
    Ok(directory)
}

const INVITE: &str = r#"invite = ["mimi://b.example/u/bob"]"#;

fn free_ports() -> io::Result<[u16; 2]> {
    let listeners = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    Ok([listeners[0].local_addr()?.port(), listeners[1].local_addr()?.port()])
}

fn config(us: usize, ports: [u16; 2], rooms: usize) -> Result<String, std::fmt::Error> {
    let (domain, peer) = (DOMAINS[us], DOMAINS[1 - us]);
    let (port, peer_port) = (ports[us], ports[1 - us]);
    let mut text = format!(
        r#"
        provider.domain = "{domain}"
        provider.listen = "127.0.0.1:{port}"
        provider.certificate_file = "{domain}.crt"
        provider.key_file = "{domain}.key"
        provider.authorities_file = "authority.crt"
        store.path = "{domain}.sqlite"
        admin.socket = "{domain}.admin.sock"
        peers."{peer}" = "127.0.0.1:{peer_port}"
        consent.allow = ["{peer}"]
        adapters.loopback = {{ kind = "loopback", socket = "{domain}.sock" }}
        "#
    );
    let invite = if us == 0 { INVITE } else { "" };
    for room in 0..rooms {
        write!(
            text,
            r#"
            [[portals]]
            room = "mimi://a.example/r/{room}"
            adapter = "loopback"
            conversation = "{room}"
            {invite}
            "#
        )?;
    }
    Ok(text)
}

impl Gateway {
    fn start(files: &Path, domain: &'static str) -> Result<Self, BoxError> {
        let process = Command::new(PROGRAM)
            .args(["run", "--config"])
            .arg(files.join(format!("{domain}.toml")))
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(files.join(format!("{domain}.log")))?)
            .kill_on_drop(true)
            .spawn()?;
        let pid = process.id().ok_or("the gateway ended at once")?;
        Ok(Self { domain, process, pid, files: files.to_owned() })
    }

    /// As a power cut would end it.
    pub async fn kill(mut self) -> io::Result<()> {
        self.process.kill().await
    }

    /// Connects as the people of this provider.
    pub async fn connect(&self) -> Result<UnixStream, BoxError> {
        let socket = self.files.join(format!("{}.sock", self.domain));
        let deadline = Instant::now() + PATIENCE;
        loop {
            match UnixStream::connect(&socket).await {
                Ok(stream) => return Ok(stream),
                Err(_) if Instant::now() < deadline => sleep(Duration::from_millis(20)).await,
                Err(_) => return Err(self.trouble("does not listen")),
            }
        }
    }

    /// An error with the end of the gateway's log.
    pub fn trouble(&self, what: &str) -> BoxError {
        let log = fs::read_to_string(self.files.join(format!("{}.log", self.domain))).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(20)..].join("\n");
        format!("{} {what}. The end of its log:\n{end}", self.domain).into()
    }

    /// Resident memory now and at its highest, in MiB.
    pub fn memory(&self) -> Result<(f64, f64), BoxError> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let mib = |name: &str| -> Option<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
        };
        mib("VmRSS:").zip(mib("VmHWM:")).ok_or_else(|| self.trouble("has no memory any more"))
    }
}

/// User and system time of a process. Linux counts it in hundredths of a second for whoever reads /proc
/// (USER_HZ, on every architecture we know of).
fn cpu_seconds(pid: u32) -> io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in brackets, which may itself hold spaces and brackets.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / 100.0)
}
