//! The registration file: what an admin gives to the homeserver, so that it knows us.
//!
//! It says nothing that the configuration doesn't, so it is generated and the two can't disagree. It is
//! YAML by way of JSON strings, which YAML contains.

use mimi_adapter::{ConfigError, Context, toml};

use crate::config::{Config, Secret};

/// The registration file for the adapter's table (without `kind`).
pub fn registration(table: toml::Table, context: &Context) -> Result<String, Vec<ConfigError>> {
    Config::parse(table, context).map(|config| yaml(&config))
}

fn yaml(config: &Config) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let secret = |secret: &Secret| quoted(secret.expose());
    format!(
        "# The registration of mimi-gateway with its homeserver. It holds both tokens: keep it from other eyes.\n\
         id: {id}\n\
         url: {url}\n\
         as_token: {as_token}\n\
         hs_token: {hs_token}\n\
         sender_localpart: {bot}\n\
         # The gateway answers for order and speed itself; a rate limit would only make people wait.\n\
         rate_limited: false\n\
         # Who has read what; without it the receipts of people here are not carried.\n\
         receive_ephemeral: true\n\
         namespaces:\n\
         \x20 users:\n\
         \x20   - exclusive: true\n\
         \x20     regex: {users}\n\
         \x20 aliases:\n\
         \x20   - exclusive: true\n\
         \x20     regex: {aliases}\n\
         \x20 rooms: []\n",
        id = quoted(&config.id),
        url = quoted(&config.url),
        as_token = secret(&config.as_token),
        hs_token = secret(&config.hs_token),
        bot = quoted(config.namespace.bot().localpart()),
        users = quoted(&config.namespace.users()),
        aliases = quoted(&config.namespace.aliases()),
    )
}

#[cfg(test)]
mod tests {
    use mimi_adapter::Domain;

    use super::*;

    #[test]
    fn the_registration_says_what_the_configuration_says() {
        let table = r#"
            homeserver = "http://127.0.0.1:8008"
            server_name = "matrix.a.example"
            listen = "127.0.0.1:9008"
            as_token = "says-\"who\""
            hs_token = "says-the-homeserver"
        "#;
        let context = Context { name: "work".into(), domain: Domain::parse("a.example").unwrap() };
        assert_eq!(
            registration(table.parse().unwrap(), &context).unwrap(),
            r##"# The registration of mimi-gateway with its homeserver. It holds both tokens: keep it from other eyes.
id: "mimi-work"
url: "http://127.0.0.1:9008"
as_token: "says-\"who\""
hs_token: "says-the-homeserver"
sender_localpart: "mimi"
# The gateway answers for order and speed itself; a rate limit would only make people wait.
rate_limited: false
# Who has read what; without it the receipts of people here are not carried.
receive_ephemeral: true
namespaces:
  users:
    - exclusive: true
      regex: "^@mimi_.*:matrix\\.a\\.example$"
  aliases:
    - exclusive: true
      regex: "^#mimi_.*:matrix\\.a\\.example$"
  rooms: []
"##
        );
    }
}
