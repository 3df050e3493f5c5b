//! The `[adapters.<name>]` table of kind `xmpp`, checked: every problem at once.

use std::fs;

use mimi_adapter::{Canary, ConfigError, toml};
use xmpp_parsers::jid::BareJid;

pub struct Config {
    /// The domain of the component, at which the ghosts live.
    pub component: BareJid,
    /// Where the server listens for components, `host:port`.
    pub server: String,
    pub secret: String,
    /// The domains whose accounts are this network's people.
    pub domains: Vec<BareJid>,
    /// Not for the admin to choose.
    pub canary: Canary,
}

impl Config {
    pub fn parse(table: toml::Table) -> Result<Self, Vec<ConfigError>> {
        let mut fields = Fields { table, problems: Vec::new() };
        let component = fields.string("component", "the domain of the component: \"mimi.b.example\"");
        let component = component.and_then(|text| fields.domain("component", &text));
        let server = fields.string("server", "where the server listens for components: \"127.0.0.1:5347\"");
        let server = server.and_then(|text| fields.host_and_port(text));
        let secret = fields.secret();
        let domains = fields.domains();
        if let (Some(component), Some(domains)) = (&component, &domains)
            && domains.contains(component)
        {
            fields.problem("domains", format!("{component} is the component itself (name the domain of the accounts)"));
        }
        let unknown: Vec<_> = fields.table.keys().cloned().collect();
        for key in unknown {
            fields.problem(&key, "there is no such key (there are: component, server, secret, secret_file, domains)");
        }
        match (component, server, secret, domains) {
            (Some(component), Some(server), Some(secret), Some(domains)) if fields.problems.is_empty() => {
                Ok(Self { component, server, secret, domains, canary: Canary::USUAL })
            }
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

    fn string(&mut self, key: &str, hint: &str) -> Option<String> {
        match self.table.remove(key) {
            Some(toml::Value::String(text)) => return Some(text),
            Some(other) => self.problem(key, format!("this is {}, not a string ({hint})", other.type_str())),
            None => self.problem(key, format!("is missing ({hint})")),
        }
        None
    }

    fn domain(&mut self, key: &str, text: &str) -> Option<BareJid> {
        let domain = BareJid::new(text).ok().filter(|jid| jid.node().is_none());
        if domain.is_none() {
            self.problem(key, format!("{text:?} is not a domain (write it like \"b.example\")"));
        }
        domain
    }

    fn host_and_port(&mut self, text: String) -> Option<String> {
        let complete =
            text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if !complete {
            let host = text.split(':').next().filter(|host| !host.is_empty()).unwrap_or("127.0.0.1");
            self.problem("server", format!("{text:?} is not host:port (did you mean \"{host}:5347\"?)"));
        }
        complete.then_some(text)
    }

    /// `secret`, or the first line of `secret_file`.
    fn secret(&mut self) -> Option<String> {
        match (self.table.contains_key("secret"), self.table.contains_key("secret_file")) {
            (true, false) => {
                let secret = self.string("secret", "the component's secret, as the server has it")?;
                if secret.is_empty() {
                    self.problem("secret", "is empty (copy component_secret from the server)");
                }
                Some(secret)
            }
            (false, true) => {
                let path = self.string("secret_file", "the path of a file with the component's secret")?;
                match fs::read_to_string(&path) {
                    Ok(text) if !text.trim().is_empty() => return Some(text.trim().to_owned()),
                    Ok(_) => self.problem("secret_file", format!("{path} is empty (write component_secret into it)")),
                    Err(error) => {
                        self.problem(
                            "secret_file",
                            format!("cannot read {path}: {error} (may the gateway's account read it?)"),
                        );
                    }
                }
                None
            }
            (true, true) => {
                self.table.remove("secret");
                self.table.remove("secret_file");
                self.problem("secret", "there is a secret and a secret_file (keep one of them)");
                None
            }
            (false, false) => {
                self.problem(
                    "secret_file",
                    "is missing (a file with the component's secret; or give the secret itself as secret)",
                );
                None
            }
        }
    }

    fn domains(&mut self) -> Option<Vec<BareJid>> {
        const HINT: &str = "the domains whose accounts may be invited: [\"b.example\"]";
        match self.table.remove("domains") {
            Some(toml::Value::Array(list)) if !list.is_empty() => {
                let read = list.iter().map(|value| match value.as_str() {
                    Some(text) => self.domain("domains", text),
                    None => {
                        self.problem("domains", format!("{value} is not a string ({HINT})"));
                        None
                    }
                });
                read.collect::<Vec<_>>().into_iter().collect()
            }
            Some(toml::Value::Array(_)) => {
                self.problem("domains", format!("is empty ({HINT})"));
                None
            }
            Some(other) => {
                self.problem("domains", format!("this is {}, not a list ({HINT})", other.type_str()));
                None
            }
            None => {
                self.problem("domains", format!("is missing ({HINT})"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let problems = Config::parse(text.parse().unwrap()).err().unwrap_or_default();
        problems.into_iter().map(|problem| format!("{}: {}", problem.key, problem.problem)).collect()
    }

    #[test]
    fn the_example_loads() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "s3cret\n").unwrap();
        let example: toml::Table = include_str!("../example.toml").parse().unwrap();
        let mut table = example["adapters"]["xmpp"].as_table().unwrap().clone();
        assert_eq!(table.remove("kind").unwrap().as_str(), Some("xmpp"));
        table.insert("secret_file".into(), file.path().to_str().unwrap().into());
        let config = Config::parse(table).map_err(|problems| format!("{problems:?}")).unwrap();
        assert_eq!(config.component.as_str(), "mimi.b.example");
        assert_eq!(config.server, "127.0.0.1:5347");
        assert_eq!(config.secret, "s3cret");
        assert_eq!(config.domains, [BareJid::new("b.example").unwrap()]);
    }

    #[test]
    fn every_problem_is_told_at_once_with_what_to_do() {
        assert_eq!(
            problems(
                "component = \"a@b.example\"\nserver = \"localhost\"\nsecret = \"x\"\nsecret_file = \"/y\"\ndomains = []\nport = 1"
            ),
            [
                "component: \"a@b.example\" is not a domain (write it like \"b.example\")",
                "server: \"localhost\" is not host:port (did you mean \"localhost:5347\"?)",
                "secret: there is a secret and a secret_file (keep one of them)",
                "domains: is empty (the domains whose accounts may be invited: [\"b.example\"])",
                "port: there is no such key (there are: component, server, secret, secret_file, domains)",
            ]
        );
        assert_eq!(
            problems(""),
            [
                "component: is missing (the domain of the component: \"mimi.b.example\")",
                "server: is missing (where the server listens for components: \"127.0.0.1:5347\")",
                "secret_file: is missing (a file with the component's secret; or give the secret itself as secret)",
                "domains: is missing (the domains whose accounts may be invited: [\"b.example\"])",
            ]
        );
        assert_eq!(
            problems("component = \"m.example\"\nserver = 5347\nsecret = \"\"\ndomains = [\"m.example\", 3]"),
            [
                "server: this is integer, not a string (where the server listens for components: \"127.0.0.1:5347\")",
                "secret: is empty (copy component_secret from the server)",
                "domains: 3 is not a string (the domains whose accounts may be invited: [\"b.example\"])",
            ]
        );
        assert_eq!(
            problems("component = \"m.example\"\nserver = \"h:1\"\nsecret = \"s\"\ndomains = [\"m.example\"]"),
            ["domains: m.example is the component itself (name the domain of the accounts)"]
        );
    }
}
