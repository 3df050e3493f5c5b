//! The MIMI names of the core: rooms, groups, clients and providers, beside the [`UserUri`] and
//! [`Domain`] that adapters know too.
//!
//! The rule is the same for all (D5): canonicalised once, where we create it, checked once, where it
//! arrives, and compared octet by octet ever after. A URI is hashed into message IDs and franks, so
//! nobody may tidy it up on the way.

use std::{fmt, str::FromStr, sync::Arc};

use mimi_adapter::uri::{encode_segment, split};
pub use mimi_adapter::{Domain, UriError, UserUri};
use serde::{Deserialize, Serialize};

macro_rules! uri {
    ($($(#[$doc:meta])* $name:ident: $kind:literal, $example:literal, $shape:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name {
            uri: Arc<str>,
            domain: Domain,
        }

        impl $name {
            pub fn parse(uri: &str) -> Result<Self, UriError> {
                let (domain, path) = split(uri)?;
                let shape: fn(&str) -> bool = $shape;
                if shape(path) {
                    Ok(Self { uri: uri.into(), domain })
                } else {
                    Err(UriError::Kind { uri: uri.into(), kind: $kind, example: $example })
                }
            }

            /// The provider the URI belongs to: its host.
            pub fn domain(&self) -> &Domain {
                &self.domain
            }

            pub fn as_str(&self) -> &str {
                &self.uri
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.uri)
            }
        }

        impl FromStr for $name {
            type Err = UriError;
            fn from_str(s: &str) -> Result<Self, UriError> {
                Self::parse(s)
            }
        }

        impl TryFrom<String> for $name {
            type Error = UriError;
            fn try_from(s: String) -> Result<Self, UriError> {
                Self::parse(&s)
            }
        }

        impl From<$name> for String {
            fn from(it: $name) -> String {
                it.as_str().to_owned()
            }
        }
    )*};
}

uri! {
    /// A room: `mimi://a.example/r/clubhouse`. Minted by its hub, whose domain it carries; unique in the world.
    RoomUri: "room", "mimi://a.example/r/clubhouse", |path| path.starts_with("r/");

    /// The MLS group of a room we are the hub of: `mimi://a.example/g/clubhouse`; its octets are the
    /// `group_id`. The group ids of other hubs can be any octets (D52) and are not of this type.
    GroupUri: "group", "mimi://a.example/g/clubhouse", |path| path.starts_with("g/");

    /// One MLS client of a user: `mimi://a.example/d/alice/1`, or `mimi://a.example/d/ClientA1` from
    /// providers whose client names don't tell the user. Minted by the user's provider; unique in the world.
    ClientUri: "client", "mimi://a.example/d/alice/1", |path| {
        path.strip_prefix("d/").is_some_and(|client| client.split('/').count() <= 2)
    };

    /// A provider, where a URI is asked for: `mimi://a.example`.
    ProviderUri: "provider", "mimi://a.example", str::is_empty;

    /// Any of them, where a peer may choose: what a basic credential or a client is called.
    IdentifierUri: "MIMI", "mimi://a.example/d/alice/1", |_| true;
}

impl RoomUri {
    /// A room of ours. `name` should be random: a telling one would be in every hash and every log.
    pub fn new(hub: &Domain, name: &str) -> Self {
        let uri = with_segment(format!("mimi://{hub}/r/"), name);
        Self { uri, domain: hub.clone() }
    }
}

impl GroupUri {
    pub fn new(hub: &Domain, name: &str) -> Self {
        let uri = with_segment(format!("mimi://{hub}/g/"), name);
        Self { uri, domain: hub.clone() }
    }
}

impl ClientUri {
    /// The `n`th client of a user of ours; `n` grows when a client's MLS state was lost (D29).
    pub fn new(user: &UserUri, n: u32) -> Self {
        let uri = format!("mimi://{}/d/{}/{n}", user.domain(), user.segment());
        Self { uri: uri.into(), domain: user.domain().clone() }
    }

    /// Whose client this is, where the name tells it (D29 b).
    pub fn user(&self) -> Option<UserUri> {
        let (host, client) = self.uri.split_once("/d/")?;
        let (user, _) = client.split_once('/')?;
        UserUri::parse(&format!("{host}/u/{user}")).ok()
    }
}

impl IdentifierUri {
    /// The user this names, or whose client it names, where the name tells it (D29 a and b).
    pub fn user(&self) -> Option<UserUri> {
        let client = || ClientUri::parse(&self.uri).ok()?.user();
        UserUri::parse(&self.uri).ok().or_else(client)
    }
}

impl ProviderUri {
    pub fn new(domain: &Domain) -> Self {
        Self { uri: format!("mimi://{domain}").into(), domain: domain.clone() }
    }
}

fn with_segment(mut uri: String, name: &str) -> Arc<str> {
    encode_segment(name, &mut uri);
    uri.into()
}

/// A whole URI (or domain) as one variable of a directory template: RFC 6570 simple expansion, which
/// leaves nothing but unreserved characters.
pub fn encode_variable(value: &str) -> String {
    use fmt::Write;
    let mut out = String::with_capacity(value.len() * 2);
    for b in value.bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(b as char),
            _ => write!(out, "%{b:02X}").expect("writing to a string never fails"),
        }
    }
    out
}

/// Why a path variable can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path has an incomplete percent-escape, or one that is not UTF-8")]
pub struct VariableError;

/// Undoes [`encode_variable`], once: what was escaped inside the URI stays escaped.
pub fn decode_variable(variable: &str) -> Result<String, VariableError> {
    let mut out = Vec::with_capacity(variable.len());
    let mut bytes = variable.bytes();
    while let Some(b) = bytes.next() {
        out.push(match b {
            b'%' => {
                let mut digit = || bytes.next().and_then(|b| (b as char).to_digit(16)).ok_or(VariableError);
                (digit()? * 16 + digit()?) as u8
            }
            _ => b,
        });
    }
    String::from_utf8(out).map_err(|_| VariableError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_names_its_user() {
        let alice = UserUri::parse("mimi://matrix.a.example/u/@alice:hs.example").unwrap();
        let client = ClientUri::new(&alice, 1);
        assert_eq!(client.as_str(), "mimi://matrix.a.example/d/@alice:hs.example/1");
        assert_eq!(client.user(), Some(alice));
        assert_eq!(ClientUri::parse(client.as_str()), Ok(client));
    }

    #[test]
    fn a_client_of_one_segment_does_not_name_its_user() {
        let client = ClientUri::parse("mimi://a.example/d/ClientA1").unwrap();
        assert_eq!(client.user(), None);
        assert_eq!(client.domain().as_str(), "a.example");
    }

    #[test]
    fn a_credential_may_name_a_user_or_one_of_their_clients() {
        let user = |uri: &str| IdentifierUri::parse(uri).unwrap().user().map(String::from);
        assert_eq!(user("mimi://a.example/u/alice").as_deref(), Some("mimi://a.example/u/alice"));
        assert_eq!(user("mimi://a.example/d/alice/1").as_deref(), Some("mimi://a.example/u/alice"));
        assert_eq!(user("mimi://a.example/d/ClientA1"), None);
        assert_eq!(user("mimi://a.example"), None);
    }

    #[test]
    fn the_user_of_a_client_keeps_the_octets_of_the_host() {
        let client = ClientUri::parse("mimi://A.Example/d/alice/7").unwrap();
        assert_eq!(client.user().unwrap().as_str(), "mimi://A.Example/u/alice");
    }

    #[test]
    fn our_rooms_groups_and_providers_look_like_this() {
        let hub = Domain::parse("xmpp.a.example").unwrap();
        assert_eq!(RoomUri::new(&hub, "7f0c").as_str(), "mimi://xmpp.a.example/r/7f0c");
        assert_eq!(GroupUri::new(&hub, "7f 0c").as_str(), "mimi://xmpp.a.example/g/7f%200c");
        assert_eq!(ProviderUri::new(&hub).as_str(), "mimi://xmpp.a.example");
        assert_eq!(ProviderUri::parse("mimi://xmpp.a.example"), Ok(ProviderUri::new(&hub)));
    }

    #[test]
    fn one_kind_of_uri_is_not_another() {
        for uri in
            ["mimi://a.example/u/alice", "mimi://a.example", "mimi://a.example/r/", "mimi://a.example/r", "r/clubhouse"]
        {
            assert!(RoomUri::parse(uri).is_err(), "{uri:?} was taken for a room");
        }
        assert!(GroupUri::parse("mimi://a.example/r/clubhouse").is_err());
        assert!(ProviderUri::parse("mimi://a.example/u/alice").is_err());
        assert!(ClientUri::parse("mimi://a.example/d/alice/1/2").is_err());
        assert!(ClientUri::parse("mimi://a.example/d/").is_err());
        assert!(RoomUri::parse("mimi://a.example/r/clubhouse").is_ok());
    }

    // The escaped forms are the ones of reference vector §5.4, computed independently.
    #[test]
    fn a_uri_is_one_path_variable() {
        for (uri, variable) in [
            ("mimi://a.example/r/clubhouse", "mimi%3A%2F%2Fa.example%2Fr%2Fclubhouse"),
            (
                "mimi://xmpp.gw.example/u/juliet@capulet.example",
                "mimi%3A%2F%2Fxmpp.gw.example%2Fu%2Fjuliet%40capulet.example",
            ),
            (
                "mimi://matrix.gw.example/u/@alice:hs.example",
                "mimi%3A%2F%2Fmatrix.gw.example%2Fu%2F%40alice%3Ahs.example",
            ),
            ("mimi://a.example/u/a%2Fb", "mimi%3A%2F%2Fa.example%2Fu%2Fa%252Fb"),
        ] {
            assert_eq!(encode_variable(uri), variable);
            assert_eq!(decode_variable(variable).as_deref(), Ok(uri));
        }
    }

    #[test]
    fn a_broken_escape_is_refused() {
        for variable in ["%", "a%2", "%zz", "%FF", "%+1"] {
            assert_eq!(decode_variable(variable), Err(VariableError), "{variable:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_string_is_parsed_or_refused(text in ".*") {
            let _ = (RoomUri::parse(&text), GroupUri::parse(&text), ClientUri::parse(&text), ProviderUri::parse(&text));
            let _ = decode_variable(&text);
            proptest::prop_assert_eq!(decode_variable(&encode_variable(&text)), Ok(text));
        }
    }
}
