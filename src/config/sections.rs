//! Each section of the file: its keys, their types and defaults, and what has to fit together.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use mimi_adapter::{ConversationId, Domain, UserUri};
use toml::de::{DeTable, DeValue};

use super::{
    Abuse, AdapterTable, Admin, Allow, Cluster, Config, Delivery, Portal, Provider, Store,
    problem::{Lines, Problem, did_you_mean, join},
    reader::{Notes, Reader, kind, port, text},
};
use crate::{
    adapters,
    assets::Settings,
    discovery::Findable,
    mimi::{
        disclosure::{BridgeDisclosure, Security},
        uri::RoomUri,
    },
    store::Server,
};

/// What could be read, also if not all of it could: the files and adapters of a half-right configuration
/// are looked at all the same, so that their problems are in the list too.
pub(super) struct Draft {
    pub provider: Option<Provider>,
    pub adapters: BTreeMap<String, AdapterTable>,
    pub lines: Lines,
    pub store: Store,
    delivery: Delivery,
    assets: Settings,
    abuse: Abuse,
    cluster: Option<Cluster>,
    admin: Admin,
    peers: BTreeMap<Domain, String>,
    consent: Vec<Allow>,
    findable: Vec<Findable>,
    disclosure: Option<BridgeDisclosure>,
    portals: Vec<Portal>,
    #[cfg(test)]
    pub asked: BTreeSet<String>,
}

impl Draft {
    pub fn config(self) -> Option<Config> {
        Some(Config {
            provider: self.provider?,
            store: self.store,
            delivery: self.delivery,
            assets: self.assets,
            abuse: self.abuse,
            cluster: self.cluster,
            admin: self.admin,
            peers: self.peers,
            consent: self.consent,
            findable: self.findable,
            disclosure: self.disclosure?,
            adapters: self.adapters,
            portals: self.portals,
        })
    }
}

/// `values` is the same document as `table`. `directory` is where relative paths start.
pub(super) fn check(
    source: &str,
    table: &DeTable<'_>,
    mut values: toml::Table,
    directory: &Path,
) -> (Draft, Vec<Problem>) {
    let notes = Notes::new(Lines::of(source, table));
    let mut root = Reader::new(&notes, "", Some(table));
    let path = file(directory);

    let provider = provider(root.table("provider"), &path);
    let store = store(root.table("store"), &path);
    let delivery = delivery(root.table("delivery"));
    let abuse = abuse(root.table("abuse"));
    let cluster = cluster(root.table("cluster"), &store);
    let assets = assets(root.table("assets"), &store, cluster.is_some(), &path);
    let admin = admin(root.table("admin"), &path);
    let peers = peers(&mut root, &notes);
    let consent = consent(root.table("consent"));
    let findable = findable(root.tables("findable"), provider.as_ref());
    let adapters = adapter_tables(&mut root, &notes, &mut values, directory);
    let disclosure = disclosure(root.table("disclosure"), provider.as_ref(), &adapters);
    let portals = portals(root.tables("portals"), provider.as_ref(), &adapters);
    root.finish();

    let draft = Draft {
        provider,
        adapters,
        lines: notes.lines.clone(),
        store,
        delivery,
        assets,
        abuse,
        cluster,
        admin,
        peers,
        consent,
        findable,
        disclosure,
        portals,
        #[cfg(test)]
        asked: notes.asked.borrow().clone(),
    };
    (draft, notes.into_problems())
}

fn provider(mut at: Reader<'_>, path: impl Fn(&DeValue<'_>) -> Result<PathBuf, String>) -> Option<Provider> {
    let domain = at.required("domain", text(Domain::parse));
    let listen = at.optional("listen", text(address)).unwrap_or(SocketAddr::from(([0, 0, 0, 0], 8443)));
    let public_port = at.optional("public_port", port).unwrap_or(listen.port());
    let certificate_file = at.required("certificate_file", &path);
    let key_file = at.required("key_file", &path);
    let authorities_file = at.optional("authorities_file", &path);
    at.finish();
    Some(Provider {
        domain: domain?,
        listen,
        public_port,
        certificate_file: certificate_file?,
        key_file: key_file?,
        authorities_file,
    })
}

fn store(mut at: Reader<'_>, path: impl Fn(&DeValue<'_>) -> Result<PathBuf, String>) -> Store {
    let file = at.optional("path", &path);
    let url = at.optional(
        "url",
        text(|url| {
            let server: Server = url.parse()?;
            if server.has_password() {
                return Err(
                    "has a password in it (put it into a file of its own, and name that as url_file)".to_owned()
                );
            }
            Ok(server)
        }),
    );
    let url_file = at.optional("url_file", &path);
    let named = [("path", file.is_some()), ("url", url.is_some()), ("url_file", url_file.is_some())];
    if let [(first, _), (second, _), ..] = named.iter().filter(|(_, named)| *named).collect::<Vec<_>>()[..] {
        at.note(second, format!("is another database than {first} (name one of path, url and url_file)"));
    }
    at.finish();
    match (url, url_file, file) {
        (Some(server), ..) => Store::Url(server),
        (_, Some(file), _) => Store::UrlFile(file),
        (.., file) => Store::Path(file.unwrap_or("/var/lib/mimi-gateway/gateway.sqlite".into())),
    }
}

fn delivery(mut at: Reader<'_>) -> Delivery {
    // Beyond 28 days a peer may have forgotten what it has already, and would take it twice.
    let give_up = at.optional("give_up_after_days", days(1..=28, "7 is what mail servers do, too"));
    at.finish();
    give_up.map_or_else(Delivery::default, |give_up_after| Delivery { give_up_after })
}

fn abuse(mut at: Reader<'_>) -> Abuse {
    let keep = at.optional("evidence_days", days(0..=90, "0 keeps nothing"));
    at.finish();
    Abuse { keep_evidence: keep.unwrap_or_default() }
}

fn days(within: RangeInclusive<u64>, hint: &str) -> impl Fn(&DeValue<'_>) -> Result<Duration, String> {
    move |value| {
        let days = value.as_integer().and_then(|it| i64::from_str_radix(it.as_str(), it.radix()).ok());
        let days = days.ok_or_else(|| format!("is {}, but should be a number of days", kind(value)))?;
        let (least, most) = (within.start(), within.end());
        u64::try_from(days)
            .ok()
            .filter(|days| within.contains(days))
            .map(|days| Duration::from_secs(days * 24 * 3600))
            .ok_or_else(|| format!("{days} is not between {least} and {most} ({hint})"))
    }
}

/// What fits into memory as a number of octets, and into one encrypted file.
const LARGEST_MIB: u64 = 65_535;

fn assets(
    mut at: Reader<'_>,
    store: &Store,
    shared: bool,
    path: impl Fn(&DeValue<'_>) -> Result<PathBuf, String>,
) -> Settings {
    let number = |most: u64| {
        move |value: &DeValue<'_>| {
            let number = value.as_integer().and_then(|it| u64::from_str_radix(it.as_str(), it.radix()).ok());
            number
                .filter(|number| (1..=most).contains(number))
                .ok_or_else(|| format!("is not a number between 1 and {most}"))
        }
    };
    let directory = at.optional("directory", path);
    if shared && directory.is_none() && !matches!(store, Store::Path(_)) {
        at.note(
            "directory",
            "is missing (what one process keeps, others are asked for: name a directory that all share)",
        );
    }
    let directory = directory.unwrap_or_else(|| match store {
        Store::Path(file) => file.with_extension("assets"),
        Store::Url(_) | Store::UrlFile(_) => "/var/lib/mimi-gateway/assets".into(),
    });
    let max_size = at.optional("max_size_mib", number(LARGEST_MIB)).map_or(Settings::MAX_SIZE, |mib| mib << 20);
    let keep_days = at.optional("keep_days", number(3650)).unwrap_or(Settings::KEEP_DAYS);
    at.finish();
    Settings { directory, max_size, keep_days }
}

/// PostgreSQL shows 63 octets of a session's name, and ours begins with `mimi-gateway `.
const LONGEST_ADDRESS: usize = 50;

fn cluster(mut at: Reader<'_>, store: &Store) -> Option<Cluster> {
    let address = at.optional("address", |value| {
        let address = text(host_and_port)(value)?;
        match address.len() {
            ..=LONGEST_ADDRESS => Ok(address),
            length => Err(format!("has {length} octets, and {LONGEST_ADDRESS} are the most (use an IP address)")),
        }
    });
    if address.is_some() && matches!(store, Store::Path(_)) {
        at.note("address", "several processes can't share an SQLite file (set url in [store], or drop this)");
    }
    at.finish();
    address.map(|address| Cluster { address })
}

/// The longest path that a Unix socket address holds on Linux is 107 octets (unix(7)); we bind beside the
/// final name first, which takes four more.
const LONGEST_SOCKET: usize = 103;

fn admin(mut at: Reader<'_>, path: impl Fn(&DeValue<'_>) -> Result<PathBuf, String>) -> Admin {
    let socket = at.optional("socket", |value| {
        let socket = path(value)?;
        let length = socket.as_os_str().len();
        if length <= LONGEST_SOCKET {
            Ok(socket)
        } else {
            Err(format!(
                "the path has {length} octets, and {LONGEST_SOCKET} fit into a socket address (use a shorter one)"
            ))
        }
    });
    let listen = at.optional("listen", text(address));
    at.finish();
    Admin { socket: socket.unwrap_or("/run/mimi-gateway/admin.sock".into()), listen }
}

fn peers(root: &mut Reader<'_>, notes: &Notes) -> BTreeMap<Domain, String> {
    let mut peers = BTreeMap::new();
    for (domain, value) in root.names("peers") {
        match (Domain::parse(domain), text(host_and_port)(value)) {
            (Ok(domain), Ok(address)) => drop(peers.insert(domain, address)),
            (domain_or, address_or) => {
                for what in [domain_or.err().map(|e| e.to_string()), address_or.err()].into_iter().flatten() {
                    notes.note(join("peers", domain), what);
                }
            }
        }
    }
    peers
}

fn consent(mut at: Reader<'_>) -> Vec<Allow> {
    let allow = at.list("allow", text(str::parse));
    at.finish();
    allow
}

fn findable(tables: Vec<Reader<'_>>, provider: Option<&Provider>) -> Vec<Findable> {
    let mut listed = BTreeMap::new();
    let person = |(index, mut at): (usize, Reader<'_>)| {
        let user = at.required("user", text(UserUri::parse));
        let handles = at.list("handles", text(some));
        let nicks = at.list("nicks", text(some));
        let emails = at.list("emails", text(email));
        if let (Some(user), Some(provider)) = (&user, provider)
            && user.domain() != &provider.domain
        {
            at.note("user", format!("{user} is not one of ours: their own provider says how they are found"));
        }
        if let Some(user) = &user
            && let Some(first) = listed.insert(user.clone(), index)
        {
            at.note("user", format!("is in findable[{first}] already: put all names of one person into one table"));
        }
        at.finish();
        Some(Findable { user: user?, handles, nicks, emails })
    };
    tables.into_iter().enumerate().filter_map(person).collect()
}

fn email(address: &str) -> Result<String, String> {
    match address.rsplit_once('@') {
        Some((local, domain)) if !local.is_empty() && Domain::parse(domain).is_ok() => Ok(address.to_owned()),
        _ => Err(format!("{address:?} is not an email address")),
    }
}

fn disclosure(
    mut at: Reader<'_>,
    provider: Option<&Provider>,
    adapters: &BTreeMap<String, AdapterTable>,
) -> Option<BridgeDisclosure> {
    let network = at.optional("network", text(some));
    let security = at.optional("security", text(security)).unwrap_or(Security::Unknown);
    let operator = at.optional("operator", text(Domain::parse));
    let policy = at.optional(
        "policy",
        text(|url| match url.strip_prefix("https://") {
            Some(rest) if !rest.is_empty() => Ok(url.to_owned()),
            _ => Err(format!("{url:?} is not an https address")),
        }),
    );
    at.finish();
    let kinds: BTreeSet<_> = adapters.values().map(|adapter| adapter.kind.as_str()).collect();
    Some(BridgeDisclosure {
        network: network.unwrap_or_else(|| kinds.into_iter().collect::<Vec<_>>().join("+")),
        security,
        operator: operator.or_else(|| provider.map(|provider| provider.domain.clone()))?,
        policy: policy.unwrap_or_default(),
    })
}

fn security(word: &str) -> Result<Security, String> {
    match word {
        "unknown" => Ok(Security::Unknown),
        "plaintext" => Ok(Security::Plaintext),
        "transport" => Ok(Security::TransportEncrypted),
        "reencrypted" => Ok(Security::Reencrypted),
        other => {
            let words = ["unknown", "plaintext", "transport", "reencrypted"];
            Err(format!("{other:?} is none of {}{}", words.join(", "), did_you_mean(other, words)))
        }
    }
}

/// The tables as their adapters get them: without `kind`, and with the paths that they name made absolute or
/// relative to where the gateway runs, since an adapter doesn't know where the file is.
fn adapter_tables(
    root: &mut Reader<'_>,
    notes: &Notes,
    values: &mut toml::Table,
    directory: &Path,
) -> BTreeMap<String, AdapterTable> {
    let mut tables = BTreeMap::new();
    for (name, value) in root.names("adapters") {
        let path = join("adapters", name);
        let DeValue::Table(table) = value else {
            notes.note(path, format!("is {}, but should be a table", kind(value)));
            continue;
        };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            notes.note(&path, "is not a name for an adapter: use letters, digits, - and _");
        }
        let Some(kind) = Reader::new(notes, path, Some(table)).required("kind", text(adapters::known)) else {
            continue;
        };
        let value = values.get_mut("adapters").and_then(|adapters| adapters.get_mut(name));
        let mut table = value.and_then(toml::Value::as_table_mut).map(std::mem::take).unwrap_or_default();
        table.remove("kind");
        resolve_paths(&mut table, directory);
        tables.insert(name.to_owned(), AdapterTable { kind, table });
    }
    tables
}

fn resolve_paths(table: &mut toml::Table, directory: &Path) {
    for (key, value) in table {
        match value {
            toml::Value::String(path) if key.ends_with("_file") || key == "socket" => {
                *path = directory.join(&*path).to_string_lossy().into_owned();
            }
            toml::Value::Table(table) => resolve_paths(table, directory),
            _ => {}
        }
    }
}

fn portals(
    tables: Vec<Reader<'_>>,
    provider: Option<&Provider>,
    adapters: &BTreeMap<String, AdapterTable>,
) -> Vec<Portal> {
    let mut linked = BTreeMap::new();
    tables.into_iter().enumerate().filter_map(|(i, at)| portal(at, i, provider, adapters, &mut linked)).collect()
}

/// `linked` has the conversations of the portals before this one.
fn portal(
    mut at: Reader<'_>,
    index: usize,
    provider: Option<&Provider>,
    adapters: &BTreeMap<String, AdapterTable>,
    linked: &mut BTreeMap<(String, ConversationId), usize>,
) -> Option<Portal> {
    let room = at.required("room", text(RoomUri::parse));
    let adapter = at.required(
        "adapter",
        text(|name| {
            if adapters.contains_key(name) {
                return Ok(name.to_owned());
            }
            let hint = did_you_mean(name, adapters.keys().map(String::as_str));
            let there = adapters.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let there = if there.is_empty() { "none".into() } else { there };
            Err(format!("no adapter is called {name:?}{hint}; there are: {there}"))
        }),
    );
    let conversation = at.required("conversation", text(some)).map(ConversationId::new);
    let name = at.optional("name", text(some));
    let invite = at.list("invite", text(UserUri::parse));
    if let (Some(room), Some(provider)) = (&room, provider)
        && room.domain() != &provider.domain
        && !invite.is_empty()
    {
        let hub = room.domain();
        at.note("invite", format!("the room is not ours: somebody at {hub} has to invite (remove this key)"));
    }
    // A conversation in two rooms would carry each room's messages into the other behind the hubs' backs.
    if let (Some(adapter), Some(conversation)) = (&adapter, &conversation)
        && let Some(first) = linked.insert((adapter.clone(), conversation.clone()), index)
    {
        at.note("conversation", format!("is already linked by portals[{first}]: a conversation has one room"));
    }
    at.finish();
    Some(Portal { room: room?, adapter: adapter?, conversation: conversation?, name, invite })
}

fn file(directory: &Path) -> impl Fn(&DeValue<'_>) -> Result<PathBuf, String> {
    text(|path| some(path).map(|path| directory.join(path)))
}

fn some(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("is empty".into()) } else { Ok(text.to_owned()) }
}

fn address(address: &str) -> Result<SocketAddr, String> {
    address.parse().map_err(|_| {
        let hint = match address.parse::<u16>() {
            Ok(port) => format!("did you mean \"0.0.0.0:{port}\"?"),
            Err(_) if address.starts_with(':') => format!("did you mean \"0.0.0.0{address}\"?"),
            Err(_) => "it looks like \"127.0.0.1:8443\" or \"[::1]:8443\"".into(),
        };
        format!("{address:?} is not an IP address with a port ({hint})")
    })
}

fn host_and_port(address: &str) -> Result<String, String> {
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse().is_ok_and(|port: u16| port > 0) => {
            Ok(address.to_owned())
        }
        _ => Err(format!(
            "{address:?} is not a host with a port (it looks like \"127.0.0.1:8443\" or \"gateway.b.example:8443\")"
        )),
    }
}
