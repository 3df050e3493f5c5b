//! The `[adapters.<name>]` table: every key parsed here, once, and every problem told at once.
//!
//! The keys are documented in `example.toml`, for the person who sets them.

use std::{fmt, fs, net::SocketAddr};

use matrix_sdk::ruma::{OwnedServerName, ServerName};
use mimi_adapter::{ConfigError, Context, toml};
use reqwest::Url;

use crate::id::{Namespace, is_localpart};

/// What the admin wrote, checked.
#[derive(Debug)]
pub struct Config {
    /// The id of the application service: the homeserver wants to see it in `ping`.
    pub id: String,
    pub homeserver: String,
    pub namespace: Namespace,
    pub listen: SocketAddr,
    /// Where the homeserver reaches `listen`.
    pub url: String,
    pub as_token: Secret,
    pub hs_token: Secret,
}

const KEYS: [&str; 10] = [
    "homeserver",
    "server_name",
    "listen",
    "url",
    "as_token",
    "as_token_file",
    "hs_token",
    "hs_token_file",
    "bot",
    "ghost_prefix",
];

impl Config {
    pub fn parse(table: toml::Table, context: &Context) -> Result<Self, Vec<ConfigError>> {
        let mut table = Reader { table, problems: Vec::new() };
        let homeserver = table.required("homeserver", "where is the homeserver? \"http://127.0.0.1:8008\"", base_url);
        let server =
            table.required("server_name", "what follows the colon in the user ids? \"a.example\"", server_name);
        let listen = table.required("listen", "where should the homeserver find us? \"127.0.0.1:9008\"", |text| {
            text.parse().map_err(|_| format!("{text:?} is not an address and a port (like \"127.0.0.1:9008\")"))
        });
        let url = table.optional("url", base_url).or_else(|| table.url_of(listen?));
        let as_token = table.secret("as_token");
        let hs_token = table.secret("hs_token");
        let bot = table.optional("bot", localpart).unwrap_or_else(|| "mimi".into());
        let prefix = table.optional("ghost_prefix", localpart).unwrap_or_else(|| "mimi_".into());
        if bot.starts_with(&prefix) {
            table.problem(
                "bot",
                format!("{bot:?} starts with the ghosts' prefix {prefix:?} (choose a name that doesn't)"),
            );
        }
        table.unknown_keys();
        match (homeserver, server, listen, url, as_token, hs_token) {
            (Some(homeserver), Some(server), Some(listen), Some(url), Some(as_token), Some(hs_token))
                if table.problems.is_empty() =>
            {
                let namespace = Namespace::new(server, prefix, &bot);
                Ok(Self {
                    id: format!("mimi-{}", context.name),
                    homeserver,
                    namespace,
                    listen,
                    url,
                    as_token,
                    hs_token,
                })
            }
            _ => Err(table.problems),
        }
    }
}

fn base_url(text: &str) -> Result<String, String> {
    match Url::parse(text) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() => {
            Err(format!("{text:?} is not an http URL (did you mean \"https://{}\"?)", text.trim_start_matches('/')))
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            Err(format!("{text:?} has a query or a fragment (leave out everything from the {:?})", "?"))
        }
        Ok(url) => Ok(url.as_str().trim_end_matches('/').to_owned()),
        Err(_) => Err(format!("{text:?} is not a URL (did you mean \"https://{text}\"?)")),
    }
}

fn server_name(text: &str) -> Result<OwnedServerName, String> {
    ServerName::parse(text).map_err(|_| {
        format!("{text:?} is not a server name (it is what follows the colon in @alice:a.example, not a URL)")
    })
}

fn localpart(text: &str) -> Result<String, String> {
    if is_localpart(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} can't stand in a user id (use a-z, 0-9 and . _ - only)"))
    }
}

/// Takes the table apart key by key, and gathers what is wrong with it.
struct Reader {
    table: toml::Table,
    problems: Vec<ConfigError>,
}

impl Reader {
    fn problem(&mut self, key: &str, problem: impl Into<String>) {
        self.problems.push(ConfigError::new(key, problem));
    }

    fn text(&mut self, key: &str) -> Option<String> {
        match self.table.remove(key)? {
            toml::Value::String(text) => Some(text),
            other => {
                self.problem(key, format!("this is {}, not a string (put it in quotes)", other.type_str()));
                None
            }
        }
    }

    fn optional<T>(&mut self, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        parse(&self.text(key)?).map_err(|problem| self.problem(key, problem)).ok()
    }

    fn required<T>(&mut self, key: &str, hint: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        if !self.table.contains_key(key) {
            self.problem(key, format!("is missing ({hint})"));
        }
        self.optional(key, parse)
    }

    /// The URL that goes without saying.
    fn url_of(&mut self, listen: SocketAddr) -> Option<String> {
        if listen.ip().is_unspecified() {
            let hint = format!("at which address does the homeserver reach us? \"http://gateway:{}\"", listen.port());
            self.problem("url", format!("is missing, and \"listen\" names every address of this machine ({hint})"));
            return None;
        }
        Some(format!("http://{listen}"))
    }

    /// A token: in the table or, better, in a file of its own.
    fn secret(&mut self, key: &str) -> Option<Secret> {
        let file_key = format!("{key}_file");
        let (asked, both) = match (self.table.contains_key(key), self.table.contains_key(&file_key)) {
            (true, false) => (key, false),
            (false, true) => (file_key.as_str(), false),
            (asked, both) => {
                let which = if asked { "are both there: keep one" } else { "are both missing: one is needed" };
                self.problem(
                    key,
                    format!("{key:?} and {file_key:?} {which} (`openssl rand -hex 32 > {key}` makes a token)"),
                );
                (key, both)
            }
        };
        let value = self.text(key);
        let file = self.text(&file_key);
        if both {
            return None;
        }
        let token = match (value, file) {
            (Some(token), _) => token,
            (None, Some(path)) => match fs::read_to_string(&path) {
                Ok(token) => token.trim_end().to_owned(),
                Err(error) => {
                    self.problem(asked, format!("cannot read {path:?}: {error} (may the gateway's account read it?)"));
                    return None;
                }
            },
            (None, None) => return None,
        };
        // It travels in an HTTP header.
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            self.problem(asked, format!("is empty or has blanks in it (`openssl rand -hex 32 > {key}` makes a token)"));
            return None;
        }
        Some(Secret(token))
    }

    /// What nobody asked for.
    fn unknown_keys(&mut self) {
        for key in std::mem::take(&mut self.table).keys() {
            let hint = match KEYS.iter().min_by_key(|known| distance(known, key)) {
                Some(known) if distance(known, key) <= 2 => format!("did you mean {known:?}?"),
                _ => format!("there are: {}", KEYS.join(", ")),
            };
            self.problem(key, format!("there is no such key ({hint})"));
        }
    }
}

/// How many letters to change, add or leave out to get from one word to the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.chars().enumerate() {
            let changed = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.chars().count()]
}

/// A token, which must not get into a log by `{:?}`.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use mimi_adapter::Domain;

    use super::*;

    fn parse(table: &str) -> Result<Config, Vec<ConfigError>> {
        let context = Context { name: "matrix".into(), domain: Domain::parse("a.example").unwrap() };
        Config::parse(table.parse().unwrap(), &context)
    }

    /// The problems, one a line, as an admin reads them.
    fn problems(table: &str) -> Vec<String> {
        parse(table).unwrap_err().into_iter().map(|error| format!("{}: {}", error.key, error.problem)).collect()
    }

    const MINIMAL: &str = r#"
        homeserver = "http://127.0.0.1:8008/"
        server_name = "matrix.a.example"
        listen = "127.0.0.1:9008"
        as_token = "says-who"
        hs_token = "says-the-homeserver"
    "#;

    #[test]
    fn the_rest_goes_without_saying() {
        let config = parse(MINIMAL).unwrap();
        assert_eq!(config.id, "mimi-matrix");
        assert_eq!(config.homeserver, "http://127.0.0.1:8008");
        assert_eq!(config.listen, "127.0.0.1:9008".parse().unwrap());
        assert_eq!(config.url, "http://127.0.0.1:9008");
        assert_eq!(config.namespace.bot(), "@mimi:matrix.a.example");
        assert_eq!(config.namespace.users(), r"^@mimi_.*:matrix\.a\.example$");
    }

    #[test]
    fn a_token_can_be_in_a_file_and_ends_before_the_line_break() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "from-a-file\n").unwrap();
        let table = MINIMAL.replace("as_token = \"says-who\"", &format!("as_token_file = {:?}", file.path()));
        assert_eq!(parse(&table).unwrap().as_token.expose(), "from-a-file");
    }

    #[test]
    fn a_token_is_not_shown_by_accident() {
        assert!(!format!("{:?}", parse(MINIMAL).unwrap()).contains("says"));
    }

    #[test]
    fn every_problem_is_told_at_once_with_a_way_out() {
        assert_eq!(
            problems(
                r#"
                homeserver = "matrix.a.example"
                server_name = "https://a.example"
                listen = 9008
                as_token = "one"
                as_token_file = "/another"
                bot = "mimi_bot"
                homesever = "x"
                colour = "red"
                "#
            ),
            [
                r#"homeserver: "matrix.a.example" is not a URL (did you mean "https://matrix.a.example"?)"#,
                r#"server_name: "https://a.example" is not a server name (it is what follows the colon in @alice:a.example, not a URL)"#,
                "listen: this is integer, not a string (put it in quotes)",
                r#"as_token: "as_token" and "as_token_file" are both there: keep one (`openssl rand -hex 32 > as_token` makes a token)"#,
                r#"hs_token: "hs_token" and "hs_token_file" are both missing: one is needed (`openssl rand -hex 32 > hs_token` makes a token)"#,
                r#"bot: "mimi_bot" starts with the ghosts' prefix "mimi_" (choose a name that doesn't)"#,
                "colour: there is no such key (there are: homeserver, server_name, listen, url, as_token, as_token_file, hs_token, hs_token_file, bot, ghost_prefix)",
                r#"homesever: there is no such key (did you mean "homeserver"?)"#,
            ]
        );
    }

    #[test]
    fn an_empty_table_is_told_what_it_lacks() {
        assert_eq!(
            problems("")
                .into_iter()
                .map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" "))
                .collect::<Vec<_>>(),
            [
                "homeserver: is missing",
                "server_name: is missing",
                "listen: is missing",
                "as_token: \"as_token\" and",
                "hs_token: \"hs_token\" and"
            ]
        );
    }

    #[test]
    fn listening_on_every_address_needs_the_url() {
        let table = MINIMAL.replace("127.0.0.1:9008", "0.0.0.0:9008");
        assert_eq!(
            problems(&table),
            [
                r#"url: is missing, and "listen" names every address of this machine (at which address does the homeserver reach us? "http://gateway:9008")"#
            ]
        );
        let config = parse(&format!("url = \"http://gateway.internal:9008\"\n{table}")).unwrap();
        assert_eq!(config.url, "http://gateway.internal:9008");
    }

    #[test]
    fn what_can_not_be_is_refused() {
        for (key, value) in [
            ("homeserver", "ftp://a.example"),
            ("homeserver", "https://a.example/?x"),
            ("homeserver", "localhost:8008"),
            ("as_token", ""),
            ("as_token", "two words"),
            ("hs_token", "line\\nbreak"),
            ("server_name", "a example"),
            ("listen", "localhost"),
        ] {
            let lines = MINIMAL.lines().filter(|line| !line.trim().starts_with(&format!("{key} =")));
            let table = lines.chain([&*format!("{key} = \"{value}\"")]).collect::<Vec<_>>().join("\n");
            assert_eq!(problems(&table).len(), 1, "{table}");
        }
        assert_eq!(problems(&format!("bot = \"Mimi!\"\n{MINIMAL}")).len(), 1);
        assert_eq!(problems(&format!("as_token_file = \"/nowhere\"\n{}", MINIMAL.replace("as_token =", "#"))).len(), 1);
    }

    #[test]
    fn the_example_is_complete_and_right() {
        let example: toml::Table = crate::KIND.example.parse().unwrap();
        let mut table = example["adapters"]["matrix"].as_table().unwrap().clone();
        assert_eq!(table.remove("kind").unwrap().as_str(), Some("matrix"));
        let directory = tempfile::tempdir().unwrap();
        for key in ["as_token", "hs_token"] {
            let file = directory.path().join(key);
            fs::write(&file, "secret").unwrap();
            table.insert(format!("{key}_file"), file.to_str().unwrap().into());
        }
        assert!(parse(&table.to_string()).is_ok());
        for key in KEYS {
            assert!(crate::KIND.example.contains(key), "the example doesn't show {key}");
        }
    }
}
