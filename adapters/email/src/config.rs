//! The `[adapters.<name>]` table of kind `email`, checked: every problem at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::PathBuf,
};

use mimi_adapter::{ConfigError, NativeUserId, toml};

use crate::{
    dkim::Signer,
    id::{self, Addresses},
};

pub struct Config {
    pub addresses: Addresses,
    pub listen: Listen,
    pub people: People,
    pub submission: Submission,
    /// With which what we send is signed, if the server does not do it.
    pub dkim: Option<Signer>,
    /// Whose `Authentication-Results` are believed.
    pub authserv_id: Option<String>,
    /// Whose ARC seals are believed.
    pub sealers: Vec<String>,
    /// The DNS server to ask instead of the system's.
    pub dns: Option<SocketAddr>,
    /// Octets of the largest mail, in both directions.
    pub max_mail: usize,
    pub lists: BTreeMap<String, List>,
}

/// Where the MTA hands over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    Tcp(String),
    Unix(PathBuf),
}

/// Whose addresses are this network's.
pub struct People {
    domains: BTreeSet<String>,
    anybody: bool,
}

impl People {
    pub fn has(&self, person: &NativeUserId) -> bool {
        let domain = person.as_str().rsplit_once('@').map(|(_, domain)| domain);
        self.anybody || domain.is_some_and(|domain| self.domains.contains(domain))
    }

    /// For a sentence that begins with "mail of".
    pub fn in_words(&self) -> String {
        match self.anybody {
            true => "everybody".to_owned(),
            false => self.domains.iter().cloned().collect::<Vec<_>>().join(", "),
        }
    }
}

/// The server that carries what we send.
pub struct Submission {
    pub host: String,
    pub port: u16,
    pub tls: Tls,
    pub credentials: Option<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    None,
    /// From the first octet (RFC 8314 §3.3).
    Implicit,
    /// After STARTTLS (RFC 3207).
    Upgraded,
}

/// Several people with one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// What people read.
    pub title: String,
    pub members: BTreeSet<NativeUserId>,
}

const MIB: i64 = 1 << 20;
const KEYS: &str = "address, listen, people, secret_file, server, tls, user, password_file, dkim_selector, dkim_key_file, authserv_id, trusted_sealers, \
                    dns, max_mail_mib, lists";

impl Config {
    pub fn parse(table: toml::Table) -> Result<Self, Vec<ConfigError>> {
        let mut fields = Fields { table, problems: Vec::new() };
        let address = fields.string(
            "address",
            "a mail domain of the gateway's own: \"mimi.c.example\"; or a mailbox: \"mimi@c.example\"",
        );
        let secret =
            fields.secret("secret_file", "a file with 32 random octets or more: head -c 32 /dev/urandom | base64");
        let addresses = match (address, secret) {
            (Some(address), Some(secret)) => {
                let addresses = Addresses::parse(&address, secret.into_bytes());
                if addresses.is_none() {
                    fields.problem("address", format!("{address:?} is neither a domain nor an address (write it like \"mimi.c.example\" or \"mimi@c.example\")"));
                }
                addresses
            }
            _ => None,
        };
        let listen = fields.listen();
        let people = fields.people();
        let submission = fields.submission();
        let dkim = fields.dkim(addresses.as_ref().map(Addresses::domain));
        let authserv_id = fields.optional("authserv_id");
        let sealers = fields.strings("trusted_sealers").unwrap_or_default();
        let dns = fields.optional("dns").and_then(|text| {
            let address = text.parse().ok();
            if address.is_none() {
                fields
                    .problem("dns", format!("{text:?} is not an address and a port (write it like \"127.0.0.1:53\")"));
            }
            address
        });
        let max_mail = match fields.table.remove("max_mail_mib") {
            None => 25,
            Some(toml::Value::Integer(mib @ 1..=200)) => mib,
            Some(_) => {
                fields.problem("max_mail_mib", "should be a number from 1 to 200");
                1
            }
        };
        let lists = fields.lists();
        let unknown: Vec<_> = fields.table.keys().cloned().collect();
        for key in unknown {
            fields.problem(&key, format!("there is no such key (there are: {KEYS})"));
        }
        match (addresses, listen, people, submission) {
            (Some(addresses), Some(listen), Some(people), Some(submission)) if fields.problems.is_empty() => Ok(Self {
                addresses,
                listen,
                people,
                submission,
                dkim,
                authserv_id,
                sealers,
                dns,
                max_mail: (max_mail * MIB) as usize,
                lists,
            }),
            _ => Err(fields.problems),
        }
    }
}

/// What has not been read of the table, and what was wrong with the rest.
struct Fields {
    table: toml::Table,
    problems: Vec<ConfigError>,
}

impl Fields {
    fn problem(&mut self, key: &str, problem: impl Into<String>) {
        self.problems.push(ConfigError::new(key, problem));
    }

    fn optional(&mut self, key: &str) -> Option<String> {
        match self.table.remove(key) {
            Some(toml::Value::String(text)) => return Some(text),
            Some(other) => self.problem(key, format!("this is {}, not a string", other.type_str())),
            None => {}
        }
        None
    }

    fn string(&mut self, key: &str, hint: &str) -> Option<String> {
        if !self.table.contains_key(key) {
            self.problem(key, format!("is missing ({hint})"));
        }
        self.optional(key)
    }

    fn strings(&mut self, key: &str) -> Option<Vec<String>> {
        let list = match self.table.remove(key)? {
            toml::Value::Array(list) => list,
            other => {
                self.problem(key, format!("this is {}, not a list of strings", other.type_str()));
                return None;
            }
        };
        let mut strings = Vec::new();
        for value in list {
            match value {
                toml::Value::String(text) => strings.push(text),
                other => self.problem(key, format!("{other} is not a string")),
            }
        }
        Some(strings)
    }

    /// What a file says, without the white space around it.
    fn secret(&mut self, key: &str, hint: &str) -> Option<String> {
        let path = self.string(key, hint)?;
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => return Some(text.trim().to_owned()),
            Ok(_) => self.problem(key, format!("{path} is empty ({hint})")),
            Err(error) => {
                self.problem(key, format!("cannot read {path}: {error} (may the gateway's account read it?)"));
            }
        }
        None
    }

    fn listen(&mut self) -> Option<Listen> {
        const HINT: &str = "where the MTA delivers by LMTP: \"127.0.0.1:2424\", or \"unix:/run/mimi-gateway/lmtp\"";
        let text = self.string("listen", HINT)?;
        match text.strip_prefix("unix:") {
            Some(path) => Some(Listen::Unix(path.into())),
            None if host_and_port(&text).is_some() => Some(Listen::Tcp(text)),
            None => {
                self.problem("listen", format!("{text:?} is not host:port ({HINT})"));
                None
            }
        }
    }

    fn people(&mut self) -> Option<People> {
        const HINT: &str = "the domains whose addresses take part: [\"c.example\"]; or [\"*\"] for anybody";
        if !self.table.contains_key("people") {
            self.problem("people", format!("is missing ({HINT})"));
        }
        let (anybody, domains): (Vec<_>, Vec<_>) =
            self.strings("people")?.into_iter().partition(|domain| domain == "*");
        for domain in &domains {
            if mimi_adapter::Domain::parse(domain).is_err() {
                self.problem("people", format!("{domain:?} is not a domain ({HINT})"));
            }
        }
        if anybody.is_empty() && domains.is_empty() {
            self.problem("people", format!("is empty ({HINT})"));
        }
        let domains = domains.into_iter().map(|domain| domain.to_ascii_lowercase()).collect();
        Some(People { domains, anybody: !anybody.is_empty() })
    }

    fn submission(&mut self) -> Option<Submission> {
        const HINT: &str = "the server that carries our mail: \"mail.c.example:587\"";
        let server = self.string("server", HINT);
        let tls = match self.optional("tls").as_deref() {
            None | Some("starttls") => Tls::Upgraded,
            Some("implicit") => Tls::Implicit,
            Some("none") => Tls::None,
            Some(other) => {
                self.problem(
                    "tls",
                    format!("{other:?} is not a way of encryption (there are: starttls, implicit, none)"),
                );
                return None;
            }
        };
        let user = self.optional("user");
        let password = match self.table.contains_key("password_file") {
            true => self.secret("password_file", "a file with the password of user"),
            false => None,
        };
        let credentials = match (user, password) {
            (Some(user), Some(password)) => Some((user, password)),
            (Some(_), None) => {
                self.problem("password_file", "is missing (a file with the password of user)");
                None
            }
            (None, Some(_)) => {
                self.problem("user", "is missing (whose password is in password_file)");
                None
            }
            (None, None) => None,
        };
        let server = server?;
        let Some((host, port)) = host_and_port(&server) else {
            self.problem("server", format!("{server:?} is not host:port ({HINT})"));
            return None;
        };
        let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if tls == Tls::None && !local {
            self.problem(
                "tls",
                format!(
                    "without encryption everybody between here and {host} reads along (choose starttls or implicit)"
                ),
            );
        }
        Some(Submission { host: host.to_owned(), port, tls, credentials })
    }

    fn dkim(&mut self, domain: Option<&str>) -> Option<Signer> {
        let selector = self.optional("dkim_selector");
        let key = match self.table.contains_key("dkim_key_file") {
            true => self.secret("dkim_key_file", "a file with an RSA key in PEM: openssl genrsa 2048"),
            false => None,
        };
        match (selector, key, domain) {
            (Some(selector), Some(key), Some(domain)) => match Signer::new(&key, domain, &selector) {
                Ok(signer) => return Some(signer),
                Err(problem) => self.problem("dkim_key_file", format!("{problem} (make one: openssl genrsa 2048)")),
            },
            (Some(_), None, _) => {
                self.problem("dkim_key_file", "is missing (the key that dkim_selector is the name of)")
            }
            (None, Some(_), _) => {
                self.problem("dkim_selector", "is missing (where the key is in DNS: <selector>._domainkey)")
            }
            _ => {}
        }
        None
    }

    fn lists(&mut self) -> BTreeMap<String, List> {
        let table = match self.table.remove("lists") {
            None => return BTreeMap::new(),
            Some(toml::Value::Table(table)) => table,
            Some(other) => {
                self.problem("lists", format!("this is {}, not a table", other.type_str()));
                return BTreeMap::new();
            }
        };
        let mut lists = BTreeMap::new();
        for (name, value) in table {
            let key = |inner: &str| format!("lists.{name}{inner}");
            if !id::is_list_name(&name) {
                self.problem(
                    &key(""),
                    "is not a name for a list (up to 40 of: lower-case letters, digits, '-', '_', '.')",
                );
                continue;
            }
            let toml::Value::Table(table) = value else {
                self.problem(&key(""), "should be a table with title and members");
                continue;
            };
            let mut inner = Fields { table, problems: Vec::new() };
            let title = inner.optional("title").unwrap_or_else(|| name.clone());
            let mut members = BTreeSet::new();
            for member in inner.strings("members").unwrap_or_default() {
                match id::person(&member) {
                    Some(person) => drop(members.insert(person)),
                    None => inner.problem("members", format!("{member:?} is not a mail address")),
                }
            }
            let unknown: Vec<_> = inner.table.keys().cloned().collect();
            for key in unknown {
                inner.problem(&key, "there is no such key (there are: title, members)");
            }
            let problems = inner.problems.into_iter();
            self.problems.extend(problems.map(|it| ConfigError::new(key(&format!(".{}", it.key)), it.problem)));
            lists.insert(name, List { title, members });
        }
        lists
    }
}

fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((host, port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(table: &str) -> Vec<String> {
        let problems = Config::parse(toml::from_str(table).unwrap()).err().expect("it has problems");
        problems.into_iter().map(|problem| format!("{}: {}", problem.key, problem.problem)).collect()
    }

    #[test]
    fn the_example_is_complete() {
        let directory = tempfile::tempdir().unwrap();
        let mut example: toml::Table = toml::from_str(crate::KIND.example).unwrap();
        let table = example["adapters"]["email"].as_table_mut().unwrap();
        table.remove("kind");
        for key in ["secret_file", "password_file"] {
            let path = directory.path().join(key);
            fs::write(&path, "s3cret\n").unwrap();
            table.insert(key.into(), path.to_str().unwrap().into());
        }
        let config = Config::parse(table.clone()).map_err(|problems| format!("{problems:?}")).unwrap();
        assert_eq!(config.addresses.domain(), "mimi.c.example");
        assert_eq!(config.listen, Listen::Tcp("127.0.0.1:2424".into()));
        assert_eq!(config.submission.credentials, Some(("mimi-gateway".into(), "s3cret".into())));
        assert!(config.people.has(&id::person("bob@c.example").unwrap()));
        assert!(!config.people.has(&id::person("mallory@evil.example").unwrap()));
        assert_eq!(config.lists["tea"].members.len(), 2);
    }

    #[test]
    fn every_problem_is_told_at_once_with_what_to_do() {
        assert_eq!(
            problems(
                "address = \"mimi\"\nsecret_file = \"/nowhere\"\nlisten = \"2424\"\npeople = [\"c_example\"]\nserver = \"mail\"\nport = 1"
            ),
            [
                "secret_file: cannot read /nowhere: No such file or directory (os error 2) (may the gateway's account read it?)",
                "listen: \"2424\" is not host:port (where the MTA delivers by LMTP: \"127.0.0.1:2424\", or \"unix:/run/mimi-gateway/lmtp\")",
                "people: \"c_example\" is not a domain (the domains whose addresses take part: [\"c.example\"]; or [\"*\"] for anybody)",
                "server: \"mail\" is not host:port (the server that carries our mail: \"mail.c.example:587\")",
                "port: there is no such key (there are: address, listen, people, secret_file, server, tls, user, password_file, dkim_selector, dkim_key_file, \
                 authserv_id, trusted_sealers, dns, max_mail_mib, lists)",
            ]
        );
    }

    #[test]
    fn mail_does_not_go_over_the_network_in_the_clear() {
        let said = problems("server = \"mail.c.example:25\"\ntls = \"none\"");
        assert!(said.iter().any(|problem| problem.starts_with("tls: without encryption")), "{said:?}");
        let said = problems("server = \"127.0.0.1:25\"\ntls = \"none\"");
        assert!(!said.iter().any(|problem| problem.starts_with("tls")), "{said:?}");
    }

    #[test]
    fn a_list_has_a_name_and_members_with_addresses() {
        let said = problems("[lists.Tea]\nmembers = []\n[lists.tea]\nmembers = [\"bob\"]\ncolour = 1");
        for problem in [
            "lists.Tea: is not a name for a list",
            "lists.tea.members: \"bob\" is not a mail address",
            "lists.tea.colour: there is no such key",
        ] {
            assert!(said.iter().any(|it| it.starts_with(problem)), "{problem}: {said:?}");
        }
    }
}
