//! The configuration file: TOML in, a typed [`Config`] out, or every problem at once.
//!
//! Three steps, each a function. *Parse* finds the keys and their lines (`reader`, `problem`). *Check* is
//! pure: it gives each value its type and compares the sections with each other (`sections`); whoever only
//! wants the admin socket's path stops here ([`Config::parse`]). *Build* reads the files that are named (keys,
//! certificates, secrets) and makes the adapters ([`load`]). Problems of all three come together, each with
//! its line, its path and what to do; after a parse error alone the other two would only guess.
//!
//! A key that nobody knows is a problem: a misspelt `allow` must not silently mean "nobody", nor a misspelt
//! limit "no limit". There are no environment variables and no merging of files: what runs is what the file
//! says. Secrets are files of their own (`…_file`), so that this file can be shown to a colleague; relative
//! paths start at the directory of the configuration file.

mod allow;
mod files;
mod problem;
mod reader;
mod sections;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt, fs,
    net::SocketAddr,
    path::{self, Path, PathBuf},
    time::Duration,
};

use mimi_adapter::{ConfigError, ConversationId, Domain, UserUri};
use toml::de::DeTable;

pub use self::{
    allow::Allow,
    problem::{Lines, Problem, Problems, did_you_mean},
};
use crate::{
    adapters::{self, Adapters},
    assets,
    config::sections::Draft,
    discovery::Findable,
    mimi::{disclosure::BridgeDisclosure, uri::RoomUri},
    store,
};

/// The file, checked: whatever is in here makes sense by itself.
#[derive(Clone, Debug)]
pub struct Config {
    pub provider: Provider,
    pub store: Store,
    pub delivery: Delivery,
    pub assets: assets::Settings,
    pub abuse: Abuse,
    /// Only for a process among others.
    pub cluster: Option<Cluster>,
    pub admin: Admin,
    /// Where to connect (`host:port`) for a provider instead of asking the DNS.
    pub peers: BTreeMap<Domain, String>,
    /// Who may reach our users unasked. Empty is nobody.
    pub consent: Vec<Allow>,
    /// Who of ours can be found by other providers. Empty is nobody.
    pub findable: Vec<Findable>,
    pub disclosure: BridgeDisclosure,
    pub adapters: BTreeMap<String, AdapterTable>,
    pub portals: Vec<Portal>,
}

/// Who we are to other MIMI providers.
#[derive(Clone, Debug)]
pub struct Provider {
    pub domain: Domain,
    pub listen: SocketAddr,
    /// What peers read in our directory.
    pub public_port: u16,
    /// PEM: our certificate, followed by those between it and the authority.
    pub certificate_file: PathBuf,
    /// PEM: the certificate's private key.
    pub key_file: PathBuf,
    /// PEM: the authorities that vouch for peers; none means those of the system.
    pub authorities_file: Option<PathBuf>,
}

/// Where the database is.
#[derive(Clone, Debug)]
pub enum Store {
    /// An SQLite file.
    Path(PathBuf),
    /// A PostgreSQL server.
    Url(store::Server),
    /// The same, with the URL in a file of its own because of the password in it.
    UrlFile(PathBuf),
}

#[derive(Clone, Debug)]
pub struct Delivery {
    /// How long a destination may take nothing before what waits for it is given up.
    pub give_up_after: Duration,
}

impl Default for Delivery {
    fn default() -> Self {
        Self { give_up_after: Duration::from_secs(7 * 24 * 3600) }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Abuse {
    /// How long messages from elsewhere are kept so that they can be reported. Zero is not at all.
    pub keep_evidence: Duration,
}

/// This process among others of the same gateway.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// `host:port` by which the others reach this one.
    pub address: String,
}

#[derive(Clone, Debug)]
pub struct Admin {
    /// The command line talks to the running gateway here. Whoever can open it is an admin.
    pub socket: PathBuf,
    /// `/health`, `/ready` and `/metrics` for machines that can't reach the socket.
    pub listen: Option<SocketAddr>,
}

/// `[adapters.<name>]`, before its adapter has looked at it.
#[derive(Clone)]
pub struct AdapterTable {
    pub kind: String,
    /// The table without `kind`. May hold secrets.
    pub table: toml::Table,
}

impl fmt::Debug for AdapterTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.table.keys().collect();
        f.debug_struct("AdapterTable").field("kind", &self.kind).field("keys", &keys).finish_non_exhaustive()
    }
}

/// A MIMI room joined to a native conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portal {
    pub room: RoomUri,
    pub adapter: String,
    pub conversation: ConversationId,
    pub name: Option<String>,
    /// Whom to invite into the room. Only where the room is ours.
    pub invite: Vec<UserUri>,
}

impl Config {
    /// Reads no other file than this one, and builds nothing.
    pub fn parse(file: &Path) -> Result<Self, Problems> {
        let text = read(file)?;
        let (draft, problems) = check(file, &text)?;
        match draft.config() {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(Problems::new(file, problems)),
        }
    }
}

/// The whole way: the configuration, its files looked at, its adapters built.
pub fn load(file: &Path) -> Result<(Config, Adapters), Problems> {
    let text = read(file)?;
    let (draft, mut problems) = check(file, &text)?;
    if let Some(Err(found)) = draft.provider.as_ref().map(Provider::credentials) {
        let path = |error: &ConfigError| format!("provider.{}", error.key);
        problems.extend(found.into_iter().map(|error| draft.lines.problem(path(&error), error.problem)));
    }
    if let Err(error) = draft.store.place() {
        problems.push(draft.lines.problem(format!("store.{}", error.key), error.problem));
    }
    let domain = draft.provider.as_ref().map(|provider| &provider.domain);
    let (adapters, found) = adapters::build(&draft.adapters, domain, &draft.lines);
    problems.extend(found);
    match draft.config() {
        Some(config) if problems.is_empty() => Ok((config, adapters)),
        _ => Err(Problems::new(file, problems)),
    }
}

fn read(file: &Path) -> Result<String, Problems> {
    fs::read_to_string(file).map_err(|e| {
        let what =
            format!("can't be read: {e} (name the file with --config; `mimi-gateway config example` prints one)");
        Problems::new(file, vec![Problem { line: None, path: String::new(), what }])
    })
}

/// Everything that can be said from the text alone.
fn check(file: &Path, text: &str) -> Result<(Draft, Vec<Problem>), Problems> {
    let syntax = |error: &toml::de::Error| Problem {
        line: error.span().map(|span| problem::line_of(text, span)),
        path: String::new(),
        what: error.message().into(),
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(Problems::new(file, errors.iter().map(syntax).collect()));
    }
    // The same once more as plain values: the form in which adapters get their tables.
    let values = toml::from_str(text).map_err(|e| Problems::new(file, vec![syntax(&e)]))?;
    let absolute = path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let directory = absolute.parent().unwrap_or(Path::new("/"));
    Ok(sections::check(text, document.get_ref(), values, directory))
}
