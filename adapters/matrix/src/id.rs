//! Names: which of the homeserver's are ours, and whom they stand for.
//!
//! Invariant: [`Namespace::ghost`] and [`Namespace::user`] undo each other, octet for octet, so a ghost's
//! name alone says which MIMI user it is; no table could be lost or disagree. A room or a person of the
//! network needs no such translation: the core knows them as the homeserver names them. (Room ids have no
//! domain since room version 12. Nothing here looks for one.)

use std::fmt::Write;

use matrix_sdk::ruma::{OwnedServerName, OwnedUserId, UserId};
use mimi_adapter::UserUri;
use sha2::{Digest, Sha256};

/// The whole of a user id, `@` and server name included (appendices, "User Identifiers").
const MAX_USER_ID: usize = 255;

/// The part of the homeserver's users and aliases that the registration gives to us alone.
#[derive(Clone, Debug)]
pub struct Namespace {
    server: OwnedServerName,
    prefix: String,
    bot: OwnedUserId,
}

/// The MIMI user's address, escaped, doesn't fit into a Matrix user id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the address {0} is too long for a Matrix user id")]
pub struct TooLong(UserUri);

impl Namespace {
    /// Expects localparts that [`is_localpart`] accepts, the bot's not starting with the prefix.
    pub fn new(server: OwnedServerName, prefix: String, bot: &str) -> Self {
        let bot = UserId::parse(format!("@{bot}:{server}")).expect("the localpart was checked");
        Self { server, prefix, bot }
    }

    pub fn server(&self) -> &str {
        self.server.as_str()
    }

    pub fn bot(&self) -> &UserId {
        &self.bot
    }

    /// The ghost of a MIMI user: `mimi://b.example/u/bob` is `@mimi_b.example_bob:matrix.a.example`.
    pub fn ghost(&self, user: &UserUri) -> Result<OwnedUserId, TooLong> {
        let rest = user.as_str().strip_prefix("mimi://").expect("a user URI has this scheme");
        let (domain, segment) = rest.split_once("/u/").expect("a user URI has this path");
        let mut id = format!("@{}", self.prefix);
        escape(domain, &mut id);
        // A domain has no underscore, so the first one ends it.
        id.push('_');
        escape(segment, &mut id);
        write!(id, ":{}", self.server).expect("writing to a string never fails");
        let too_long = || TooLong(user.clone());
        if id.len() > MAX_USER_ID { Err(too_long()) } else { UserId::parse(id).map_err(|_| too_long()) }
    }

    /// Whom a ghost stands for. `None` for a name we never give, though it may lie in our namespace.
    pub fn user(&self, ghost: &UserId) -> Option<UserUri> {
        let name = ghost.localpart().strip_prefix(self.prefix.as_str())?;
        let (domain, segment) = name.split_once('_')?;
        let user = UserUri::parse(&format!("mimi://{}/u/{}", unescape(domain)?, unescape(segment)?)).ok()?;
        // One spelling per ghost: what we would have written differently is somebody else.
        (self.ghost(&user).ok()? == ghost).then_some(user)
    }

    /// The bot, or anybody in the namespace: never a person of this network.
    pub fn is_ours(&self, user: &UserId) -> bool {
        user == self.bot || (user.server_name() == self.server && user.localpart().starts_with(&self.prefix))
    }

    /// A person of our homeserver, as far as the name can tell.
    pub fn is_local_person(&self, user: &UserId) -> bool {
        user.server_name() == self.server && !self.is_ours(user)
    }

    /// The local part of the alias of the one-to-one room of these two. It is a function of the two, because
    /// `createRoom` has no transaction id: the alias is what the second attempt runs into.
    pub fn direct_alias(&self, person: &UserId, ghost: &UserId) -> String {
        let hash = Sha256::digest(format!("{person} {ghost}"));
        format!("{}direct_{}", self.prefix, hex::encode(&hash[..16]))
    }

    /// For the registration: the users in the namespace, as a regular expression.
    pub fn users(&self) -> String {
        format!("^@{}.*:{}$", quote(&self.prefix), quote(self.server.as_str()))
    }

    /// The same for the aliases.
    pub fn aliases(&self) -> String {
        format!("^#{}.*:{}$", quote(&self.prefix), quote(self.server.as_str()))
    }
}

/// The characters that a user id's localpart may have (appendices, "User Identifiers").
pub fn is_localpart(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| plain(b) || b"=/+".contains(&b))
}

/// What stands for itself in a ghost's name. `/` and `+` are legal too, but not on every homeserver.
fn plain(b: u8) -> bool {
    matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-')
}

/// Everything else becomes `=` and two lower-case hexadecimal digits, as the specification recommends
/// ("Mapping from other character sets").
fn escape(text: &str, into: &mut String) {
    for b in text.bytes() {
        if plain(b) {
            into.push(b.into());
        } else {
            write!(into, "={b:02x}").expect("writing to a string never fails");
        }
    }
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&b, after)) = rest.split_first() {
        if b == b'=' {
            let (digits, after) = after.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(b);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

/// Lets a regular expression take `text` at its word.
fn quote(text: &str) -> String {
    text.chars().flat_map(|c| (!c.is_ascii_alphanumeric() && c != '_').then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use matrix_sdk::ruma::{server_name, user_id};

    use super::*;

    fn namespace() -> Namespace {
        Namespace::new(server_name!("matrix.a.example").to_owned(), "mimi_".into(), "mimi")
    }

    fn uri(uri: &str) -> UserUri {
        UserUri::parse(uri).unwrap()
    }

    #[test]
    fn a_ghost_is_named_after_its_user_and_its_user_after_it() {
        for (user, ghost) in [
            ("mimi://b.example/u/bob", "@mimi_b.example_bob:matrix.a.example"),
            ("mimi://b-c.example/u/bob_the_2nd", "@mimi_b-c.example_bob_the_2nd:matrix.a.example"),
            ("mimi://b.example/u/@bob:hs.b.example", "@mimi_b.example_=40bob=3ahs.b.example:matrix.a.example"),
            ("mimi://b.example/u/Bob", "@mimi_b.example_=42ob:matrix.a.example"),
            ("mimi://b.example/u/B%c3%B6b", "@mimi_b.example_=42=25c3=25=426b:matrix.a.example"),
            ("mimi://b.example/u/a=b+c~d", "@mimi_b.example_a=3db=2bc=7ed:matrix.a.example"),
            // The URI is an identity octet for octet (D5), a domain in capitals included.
            ("mimi://B.example/u/bob", "@mimi_=42.example_bob:matrix.a.example"),
        ] {
            let id = namespace().ghost(&uri(user)).unwrap();
            assert_eq!(id, ghost);
            assert_eq!(namespace().user(&id), Some(uri(user)), "{ghost}");
        }
    }

    #[test]
    fn a_name_that_we_would_write_otherwise_is_nobodys_ghost() {
        for id in [
            "@mimi:matrix.a.example",
            "@mimi_:matrix.a.example",
            "@mimi_bob:matrix.a.example",
            "@mimi_b.example_:matrix.a.example",
            "@mimi__bob:matrix.a.example",
            "@mimi_b.example_=62ob:matrix.a.example",
            "@mimi_b.example_=2Fbob:matrix.a.example",
            "@mimi_b.example_=2fbob:matrix.a.example",
            "@mimi_b.example_bob=4:matrix.a.example",
            "@mimi_b.example_bob=zz:matrix.a.example",
            "@mimi_b.example_=+4:matrix.a.example",
            "@mimi_b.example_=ff:matrix.a.example",
            "@mimi_b.example_bob:matrix.b.example",
            "@other_b.example_bob:matrix.a.example",
        ] {
            assert_eq!(namespace().user(&UserId::parse(id).unwrap()), None, "{id}");
        }
    }

    #[test]
    fn an_address_that_does_not_fit_is_said_to_be_too_long() {
        let fits = 255 - "@mimi_b.example_:matrix.a.example".len();
        let named = |length| uri(&format!("mimi://b.example/u/{}", "x".repeat(length)));
        assert_eq!(namespace().ghost(&named(fits)).unwrap().as_str().len(), 255);
        assert_eq!(namespace().ghost(&named(fits + 1)), Err(TooLong(named(fits + 1))));
    }

    #[test]
    fn the_bot_and_the_namespace_are_ours_and_nobody_else() {
        let ours = |id: &str| namespace().is_ours(&UserId::parse(id).unwrap());
        assert!(ours("@mimi:matrix.a.example"));
        assert!(ours("@mimi_b.example_bob:matrix.a.example"));
        assert!(ours("@mimi_whatever:matrix.a.example"));
        assert!(!ours("@alice:matrix.a.example"));
        assert!(!ours("@mimi_b.example_bob:elsewhere.example"));
        assert!(!ours("@mimi:elsewhere.example"));
    }

    #[test]
    fn a_person_of_the_homeserver_is_local_and_a_federated_one_is_not() {
        assert!(namespace().is_local_person(user_id!("@alice:matrix.a.example")));
        assert!(!namespace().is_local_person(user_id!("@alice:matrix.b.example")));
        assert!(!namespace().is_local_person(user_id!("@mimi:matrix.a.example")));
    }

    #[test]
    fn two_people_have_one_alias_and_others_have_others() {
        let bob = namespace().ghost(&uri("mimi://b.example/u/bob")).unwrap();
        let alias = |person| namespace().direct_alias(UserId::parse(person).as_deref().unwrap(), &bob);
        // printf '@alice:matrix.a.example @mimi_b.example_bob:matrix.a.example' | sha256sum
        assert_eq!(alias("@alice:matrix.a.example"), "mimi_direct_d45277d82e0faf2b7abca79743eabcf7");
        assert_ne!(alias("@alice:matrix.a.example"), alias("@cathy:matrix.a.example"));
    }

    #[test]
    fn the_registration_claims_exactly_the_namespace() {
        assert_eq!(namespace().users(), r"^@mimi_.*:matrix\.a\.example$");
        assert_eq!(namespace().aliases(), r"^#mimi_.*:matrix\.a\.example$");
    }
}
