//! The two MIMI names an adapter meets: a provider's [`Domain`] and a person's [`UserUri`].
//!
//! A URI is hashed into every message ID and frank, so it is never rewritten: it is canonicalised once,
//! where we create it, checked once, where it arrives, and compared octet by octet ever after (D5).

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::id::NativeUserId;

/// The longest URI we accept, in octets (D5).
pub const MAX_URI: usize = 2048;

/// Why a string is not the MIMI name it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    #[error("{0:?} is not a domain name (lower-case letters, digits, hyphens and dots)")]
    Domain(String),
    #[error("a MIMI URI starts with \"mimi://\"; this is {0:?}")]
    Scheme(String),
    #[error("{uri:?} is not a {kind} URI: it should look like {example}")]
    Kind { uri: String, kind: &'static str, example: &'static str },
    #[error("the URI has a character, an empty segment, a query or a fragment that MIMI URIs can't have: {0:?}")]
    Path(String),
    #[error("the URI is longer than {MAX_URI} octets")]
    TooLong,
}

/// A provider's domain, lower case, without port. Minted by the DNS; unique in the world.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(Arc<str>);

impl Domain {
    /// Accepts any case and answers in lower case.
    pub fn parse(domain: &str) -> Result<Self, UriError> {
        let lower = domain.to_ascii_lowercase();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if lower.len() <= 253 && lower.split('.').all(label) {
            Ok(Self(lower.into()))
        } else {
            Err(UriError::Domain(domain.into()))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A person: `mimi://b.example/u/bob`. Minted by the person's provider; unique in the world.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserUri {
    uri: Arc<str>,
    domain: Domain,
}

impl UserUri {
    const EXAMPLE: &str = "mimi://b.example/u/bob";

    pub fn parse(uri: &str) -> Result<Self, UriError> {
        let (domain, path) = split(uri)?;
        match path.strip_prefix("u/") {
            Some(name) if !name.is_empty() && !name.contains('/') => Ok(Self { uri: uri.into(), domain }),
            _ => Err(UriError::Kind { uri: uri.into(), kind: "user", example: Self::EXAMPLE }),
        }
    }

    /// The URI of somebody of a native network who is bridged by the provider `domain`:
    /// the native address with everything but unreserved characters, `@` and `:` percent-encoded.
    pub fn for_native(domain: &Domain, user: &NativeUserId) -> Self {
        let mut uri = format!("mimi://{domain}/u/");
        encode_segment(user.as_str(), &mut uri);
        Self { uri: uri.into(), domain: domain.clone() }
    }

    /// The other way round. Meaningful only where `domain()` is the gateway's own.
    pub fn native(&self) -> NativeUserId {
        NativeUserId::new(decode_segment(self.segment()))
    }

    /// The provider that vouches for this person.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The last path segment, still percent-encoded.
    pub fn segment(&self) -> &str {
        self.uri.rsplit('/').next().expect("a user URI has slashes")
    }

    /// What to call this person where nothing better is known: `@alice:matrix.a.example` is `alice`. Without what could
    /// pass for the provider that is named behind it: nobody is `alice (a.example) (evil.example)`.
    pub fn short_name(&self) -> String {
        let native = decode_segment(self.segment());
        let name = native.trim_start_matches('@').split(['@', ':']).next().unwrap_or_default();
        let name: String = name.chars().filter(|c| !is_invisible(*c) && !is_bracket(*c)).take(64).collect();
        let name = name.trim();
        if name.is_empty() { self.segment().to_owned() } else { name.to_owned() }
    }

    pub fn as_str(&self) -> &str {
        &self.uri
    }
}

impl fmt::Display for UserUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

/// Control and format characters: what could make one name look like another, or turn a line around.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn is_bracket(c: char) -> bool {
    matches!(
        c,
        '(' | ')'
            | '（'
            | '）'
            | '﹙'
            | '﹚'
            | '❨'
            | '❩'
            | '❪'
            | '❫'
            | '⁽'
            | '⁾'
            | '₍'
            | '₎'
            | '⦅'
            | '⦆'
            | '｟'
            | '｠'
    )
}

/// Takes `mimi://domain/path` apart and checks both halves (D5). For the URI kinds of the core; an
/// adapter uses [`UserUri::parse`].
pub fn split(uri: &str) -> Result<(Domain, &str), UriError> {
    if uri.len() > MAX_URI {
        return Err(UriError::TooLong);
    }
    let rest = uri.strip_prefix("mimi://").ok_or_else(|| UriError::Scheme(uri.into()))?;
    let (domain, path) = rest.split_once('/').unwrap_or((rest, ""));
    let parsed = Domain::parse(domain)?;
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%/".contains(&b);
    if !path.bytes().all(legal) || (!path.is_empty() && path.split('/').any(str::is_empty)) {
        return Err(UriError::Path(uri.into()));
    }
    Ok((parsed, path))
}

/// Appends `text` as one URI path segment: unreserved characters, `@` and `:` stay, the rest is `%XX`.
pub fn encode_segment(text: &str, into: &mut String) {
    use fmt::Write;
    for b in text.bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' | b':' => into.push(b as char),
            _ => write!(into, "%{b:02X}").expect("writing to a string never fails"),
        }
    }
}

/// Undoes [`encode_segment`]; a stray `%` stays as it is, and what is not UTF-8 becomes U+FFFD.
pub fn decode_segment(segment: &str) -> String {
    let bytes = segment.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = |b: u8| (b as char).to_digit(16);
        match (bytes[i], bytes.get(i + 1).copied().and_then(hex), bytes.get(i + 2).copied().and_then(hex)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                i += 3;
            }
            (b, ..) => {
                out.push(b);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

macro_rules! string_conversions {
    ($($name:ty),*) => {$(
        impl FromStr for $name {
            type Err = UriError;
            fn from_str(s: &str) -> Result<Self, UriError> { Self::parse(s) }
        }
        impl TryFrom<String> for $name {
            type Error = UriError;
            fn try_from(s: String) -> Result<Self, UriError> { Self::parse(&s) }
        }
        impl From<$name> for String {
            fn from(it: $name) -> String { it.as_str().to_owned() }
        }
    )*};
}
string_conversions!(Domain, UserUri);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_native_address_becomes_a_user_uri_and_back() {
        let domain = Domain::parse("matrix.gw.example").unwrap();
        for (native, uri) in [
            ("@alice:hs.example", "mimi://matrix.gw.example/u/@alice:hs.example"),
            ("juliet@capulet.example", "mimi://matrix.gw.example/u/juliet@capulet.example"),
            ("room@muc.example/Bob Ü", "mimi://matrix.gw.example/u/room@muc.example%2FBob%20%C3%9C"),
        ] {
            let native = NativeUserId::new(native);
            let user = UserUri::for_native(&domain, &native);
            assert_eq!(user.as_str(), uri);
            assert_eq!(UserUri::parse(uri), Ok(user.clone()));
            assert_eq!(user.native(), native);
        }
    }

    #[test]
    fn a_person_is_called_by_the_short_name() {
        let name = |uri: &str| UserUri::parse(uri).unwrap().short_name();
        assert_eq!(name("mimi://a.example/u/alice"), "alice");
        assert_eq!(name("mimi://a.example/u/@alice:hs.example"), "alice");
        assert_eq!(name("mimi://a.example/u/bob@xmpp.b.example"), "bob");
        // U+202E turns the rest of a line around.
        assert_eq!(name("mimi://a.example/u/%E2%80%AEalice"), "alice");
        // Who says they are of another provider is not believed.
        assert_eq!(name("mimi://evil.example/u/alice%20(a.example)"), "alice a.example");
    }

    #[test]
    fn a_uri_keeps_its_octets_and_its_domain_is_lower_case() {
        let bob = UserUri::parse("mimi://B.Example/u/bob").unwrap();
        assert_eq!(bob.as_str(), "mimi://B.Example/u/bob");
        assert_eq!(bob.domain().as_str(), "b.example");
    }

    #[test]
    fn what_is_not_a_user_uri_is_refused() {
        for uri in [
            "",
            "mimi://",
            "mimi://a.example",
            "mimi://a.example/u/",
            "mimi://a.example/r/room",
            "https://a.example/u/bob",
            "mimi://a.example:8443/u/bob",
            "mimi://bob@a.example/u/bob",
            "mimi://a.example/u/bob?x",
            "mimi://a.example/u/bob#x",
            "mimi://a.example//u/bob",
            "mimi://a.example/u/bob/",
            "mimi://a.example/u/b ob",
            "mimi://-a.example/u/bob",
            "mimi://a..example/u/bob",
        ] {
            assert!(UserUri::parse(uri).is_err(), "{uri:?} was accepted");
        }
        assert_eq!(UserUri::parse(&format!("mimi://a.example/u/{}", "x".repeat(2048))), Err(UriError::TooLong));
    }

    proptest! {
        #[test]
        fn whatever_a_native_address_is_it_comes_back(native in "\\PC{1,60}") {
            let native = NativeUserId::new(native);
            let user = UserUri::for_native(&Domain::parse("a.example").unwrap(), &native);
            prop_assert_eq!(UserUri::parse(user.as_str()).unwrap().native(), native);
        }

        #[test]
        fn whatever_arrives_is_a_uri_or_an_error(uri in "(mimi://)?(a.example/u/)?.*") {
            if let Ok(user) = UserUri::parse(&uri) {
                prop_assert_eq!(user.as_str(), uri);
                user.native();
                prop_assert_ne!(user.short_name(), "");
            }
        }
    }
}
