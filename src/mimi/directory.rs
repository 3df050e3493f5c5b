//! The endpoints of a provider and where they are: `/.well-known/mimi-protocol-directory` (P§5.1).
//!
//! A directory is a flat JSON object from endpoint name to RFC 6570 level-1 template. The draft's text
//! and examples disagree about some variables (D4), so both directions live here side by side: how we
//! expand whatever a peer's template names, and how we read the paths that peers make of ours.
//!
//! Invariant: a peer's URL is never made up. What its directory lacks, or names in a way we can't fill
//! in, is an endpoint it doesn't have for us (T-08).

use std::collections::BTreeMap;

use mimi_adapter::{Domain, UserUri};
use serde::Serialize;
use serde_json::Value;

use super::uri::{RoomUri, decode_variable, encode_variable};

pub const WELL_KNOWN: &str = "/.well-known/mimi-protocol-directory";

/// What our own endpoints start with, before the endpoint's name.
const PREFIX: &str = "/mimi/v1/";

/// One endpoint of the protocol, in the directory's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Endpoint {
    KeyMaterial,
    Update,
    Notify,
    SubmitMessage,
    GroupInfo,
    RequestConsent,
    UpdateConsent,
    IdentifierQuery,
    ReportAbuse,
    ProxyDownload,
}

impl Endpoint {
    pub const ALL: [Self; 10] = [
        Self::KeyMaterial,
        Self::Update,
        Self::Notify,
        Self::SubmitMessage,
        Self::GroupInfo,
        Self::RequestConsent,
        Self::UpdateConsent,
        Self::IdentifierQuery,
        Self::ReportAbuse,
        Self::ProxyDownload,
    ];

    /// Its key in a directory and its segment in our paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::KeyMaterial => "keyMaterial",
            Self::Update => "update",
            Self::Notify => "notify",
            Self::SubmitMessage => "submitMessage",
            Self::GroupInfo => "groupInfo",
            Self::RequestConsent => "requestConsent",
            Self::UpdateConsent => "updateConsent",
            Self::IdentifierQuery => "identifierQuery",
            Self::ReportAbuse => "reportAbuse",
            Self::ProxyDownload => "proxyDownload",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.name() == name)
    }

    /// The variable in the template that we publish.
    fn variable(self) -> &'static str {
        match self {
            Self::KeyMaterial => "targetUser",
            Self::Update | Self::Notify | Self::SubmitMessage | Self::GroupInfo | Self::ReportAbuse => "roomId",
            Self::RequestConsent => "targetDomain",
            Self::UpdateConsent => "requesterDomain",
            Self::IdentifierQuery => "domain",
            Self::ProxyDownload => "downloadUrl",
        }
    }

    /// The endpoint a path of ours means, and its variable as the path has it.
    pub fn of_path(path: &str) -> Option<(Self, &str)> {
        let (name, variable) = path.strip_prefix(PREFIX)?.split_once('/')?;
        // The figures of P§5.4 say /submit.
        let name = if name == "submit" { "submitMessage" } else { name };
        Some((Self::named(name)?, variable))
    }

    /// The value of a path variable: a room or user URI, an asset's URL, or for the endpoints that are
    /// about a domain, that domain, which is `us`.
    ///
    /// Beside whole URIs it takes the shortened forms of the draft's figures, `a.example/r/clubhouse`
    /// and `a.example/clubhouse` (D4).
    pub fn read_variable(self, variable: &str, us: &Domain) -> Result<String, BadVariable> {
        let value = decode_variable(variable).map_err(|_| BadVariable)?;
        match self {
            Self::Update | Self::Notify | Self::SubmitMessage | Self::GroupInfo | Self::ReportAbuse => {
                let uri = whole_uri(value, 'r');
                RoomUri::parse(&uri).map(|_| uri).map_err(|_| BadVariable)
            }
            Self::KeyMaterial => {
                let uri = whole_uri(value, 'u');
                UserUri::parse(&uri).map(|_| uri).map_err(|_| BadVariable)
            }
            Self::RequestConsent | Self::UpdateConsent | Self::IdentifierQuery => {
                let domain = if value.contains('/') { domain_of(&whole_uri(value, 'u')) } else { domain_of(&value) };
                domain.filter(|domain| domain == us).map(String::from).ok_or(BadVariable)
            }
            Self::ProxyDownload if value.is_empty() => Err(BadVariable),
            Self::ProxyDownload => Ok(value),
        }
    }
}

/// A path variable is not what its endpoint is about. The caller's fault; trying again won't help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path does not end in what this endpoint is about")]
pub struct BadVariable;

fn whole_uri(value: String, kind: char) -> String {
    if value.starts_with("mimi://") {
        return value;
    }
    match value.split_once('/') {
        Some((host, name)) if !name.contains('/') => format!("mimi://{host}/{kind}/{name}"),
        _ => format!("mimi://{value}"),
    }
}

fn domain_of(domain_or_user: &str) -> Option<Domain> {
    Domain::parse(domain_or_user).ok().or_else(|| Some(UserUri::parse(domain_or_user).ok()?.domain().clone()))
}

/// The endpoints a provider offers, each with its template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Directory(BTreeMap<Endpoint, String>);

/// A peer's directory can't be read at all.
#[derive(Debug, thiserror::Error)]
#[error("the directory is not a JSON object")]
pub struct NotADirectory;

/// A peer has no such endpoint for us. Trying again helps only after the peer has changed its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("it does not offer {}", .0.name())]
    Missing(Endpoint),
    #[error("its directory has a template for {} that can't be filled in", .0.name())]
    Template(Endpoint),
}

impl Directory {
    /// What we publish; `base` is `https://a.example`, with a port where it isn't 443.
    pub fn ours(base: &str, endpoints: &[Endpoint]) -> Self {
        let template = |endpoint: Endpoint| format!("{base}{PREFIX}{}/{{{}}}", endpoint.name(), endpoint.variable());
        Self(endpoints.iter().map(|&endpoint| (endpoint, template(endpoint))).collect())
    }

    /// Unknown keys are ignored, and so are values that are not strings.
    pub fn parse(json: &[u8]) -> Result<Self, NotADirectory> {
        let object: BTreeMap<String, Value> = serde_json::from_slice(json).map_err(|_| NotADirectory)?;
        let known = |(name, template): (String, Value)| match template {
            Value::String(template) => Some((Endpoint::named(&name)?, template)),
            _ => None,
        };
        Ok(Self(object.into_iter().filter_map(known).collect()))
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings are JSON")
    }

    pub fn endpoints(&self) -> impl Iterator<Item = (Endpoint, &str)> {
        self.0.iter().map(|(endpoint, template)| (*endpoint, template.as_str()))
    }

    pub fn offers(&self, endpoint: Endpoint) -> bool {
        self.0.contains_key(&endpoint)
    }

    /// Where to send a request that is about `subject`: a room URI, a domain, an asset's URL, and for
    /// key material and consent the user's URI.
    pub fn url(&self, endpoint: Endpoint, subject: &str) -> Result<String, Unusable> {
        let template = self.0.get(&endpoint).ok_or(Unusable::Missing(endpoint))?;
        expand(template, |variable| value(endpoint, variable, subject)).ok_or(Unusable::Template(endpoint))
    }
}

/// RFC 6570 level 1, and nothing above it: an operator or a list is not a variable we know.
fn expand(template: &str, value: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut url = String::with_capacity(template.len() + 64);
    let mut rest = template;
    while let Some(open) = rest.find(['{', '}']) {
        let (literal, expression) = rest.split_at(open);
        let (variable, after) = expression.strip_prefix('{')?.split_once('}')?;
        url.push_str(literal);
        url.push_str(&encode_variable(&value(variable)?));
        rest = after;
    }
    url.push_str(rest);
    Some(url)
}

/// What a template's variable stands for (D4). The consent endpoints have a user in the draft's example
/// and a domain in its text; which one a peer means, its template says.
fn value(endpoint: Endpoint, variable: &str, subject: &str) -> Option<String> {
    let user = || UserUri::parse(subject).ok().map(String::from);
    let domain = || domain_of(subject).map(String::from);
    match (endpoint, variable) {
        (Endpoint::RequestConsent, "targetUser") | (Endpoint::UpdateConsent, "requesterUser") => user(),
        (Endpoint::RequestConsent, "targetDomain")
        | (Endpoint::UpdateConsent, "requesterDomain")
        | (Endpoint::IdentifierQuery, "domain") => domain(),
        _ if variable == endpoint.variable() => Some(subject.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: &str = "mimi://a.example/r/clubhouse";
    const BOB: &str = "mimi://b.example/u/bob";

    // The column "we publish" of the reference, §2.4.
    #[test]
    fn our_directory_is_this() {
        let golden = concat!(
            r#"{"keyMaterial":"https://a.example:8443/mimi/v1/keyMaterial/{targetUser}","#,
            r#""update":"https://a.example:8443/mimi/v1/update/{roomId}","#,
            r#""notify":"https://a.example:8443/mimi/v1/notify/{roomId}","#,
            r#""submitMessage":"https://a.example:8443/mimi/v1/submitMessage/{roomId}","#,
            r#""groupInfo":"https://a.example:8443/mimi/v1/groupInfo/{roomId}","#,
            r#""requestConsent":"https://a.example:8443/mimi/v1/requestConsent/{targetDomain}","#,
            r#""updateConsent":"https://a.example:8443/mimi/v1/updateConsent/{requesterDomain}","#,
            r#""identifierQuery":"https://a.example:8443/mimi/v1/identifierQuery/{domain}","#,
            r#""reportAbuse":"https://a.example:8443/mimi/v1/reportAbuse/{roomId}","#,
            r#""proxyDownload":"https://a.example:8443/mimi/v1/proxyDownload/{downloadUrl}"}"#,
        );
        let ours = Directory::ours("https://a.example:8443", &Endpoint::ALL);
        assert_eq!(ours.to_json(), golden);
        assert_eq!(Directory::parse(golden.as_bytes()).unwrap(), ours);
    }

    #[test]
    fn a_directory_lists_what_is_offered_and_nothing_else() {
        let ours = Directory::ours("https://a.example", &[Endpoint::Notify]);
        assert_eq!(ours.to_json(), r#"{"notify":"https://a.example/mimi/v1/notify/{roomId}"}"#);
        assert!(ours.offers(Endpoint::Notify));
        assert_eq!(ours.url(Endpoint::Update, ROOM), Err(Unusable::Missing(Endpoint::Update)));
    }

    // The directory of P§5.1, with its slips: no "/" before {roomId}, no ":" after https.
    #[test]
    fn the_templates_of_the_draft_are_expanded_as_they_stand() {
        let directory = Directory::parse(
            br#"{
              "keyMaterial": "https://mimi.example.com/v1/keyMaterial/{targetUser}",
              "update": "https://mimi.example.com/v1/update{roomId}",
              "requestConsent": "https://mimi.example.com/v1/requestConsent/{targetUser}",
              "updateConsent": "https://mimi.example.com/v1/updateConsent/{requesterUser}",
              "identifierQuery": "https://mimi.example.com/v1/idQuery/{domain}",
              "proxyDownload": "https//mimi.example.com/v1/proxyDownload/{downloadUrl}",
              "notInTheDraft": {"any": ["thing"]},
              "notify": 7
            }"#,
        )
        .unwrap();
        let url = |endpoint, subject| directory.url(endpoint, subject).unwrap();
        assert_eq!(
            url(Endpoint::KeyMaterial, BOB),
            "https://mimi.example.com/v1/keyMaterial/mimi%3A%2F%2Fb.example%2Fu%2Fbob"
        );
        assert_eq!(
            url(Endpoint::Update, ROOM),
            "https://mimi.example.com/v1/updatemimi%3A%2F%2Fa.example%2Fr%2Fclubhouse"
        );
        assert_eq!(
            url(Endpoint::RequestConsent, BOB),
            "https://mimi.example.com/v1/requestConsent/mimi%3A%2F%2Fb.example%2Fu%2Fbob"
        );
        assert_eq!(
            url(Endpoint::UpdateConsent, BOB),
            "https://mimi.example.com/v1/updateConsent/mimi%3A%2F%2Fb.example%2Fu%2Fbob"
        );
        assert_eq!(url(Endpoint::IdentifierQuery, "b.example"), "https://mimi.example.com/v1/idQuery/b.example");
        assert_eq!(
            url(Endpoint::ProxyDownload, "https://cdn.example/a b"),
            "https//mimi.example.com/v1/proxyDownload/https%3A%2F%2Fcdn.example%2Fa%20b"
        );
        assert_eq!(directory.url(Endpoint::Notify, ROOM), Err(Unusable::Missing(Endpoint::Notify)));
    }

    #[test]
    fn the_same_user_fills_in_a_domain_where_the_template_names_one() {
        let ours = Directory::ours("https://b.example", &Endpoint::ALL);
        assert_eq!(
            ours.url(Endpoint::RequestConsent, BOB).unwrap(),
            "https://b.example/mimi/v1/requestConsent/b.example"
        );
        assert_eq!(
            ours.url(Endpoint::UpdateConsent, BOB).unwrap(),
            "https://b.example/mimi/v1/updateConsent/b.example"
        );
    }

    #[test]
    fn a_template_we_cannot_fill_in_is_an_endpoint_we_cannot_use() {
        for template in
            ["/{room}", "/{+roomId}", "/{roomId,roomId}", "/{roomId:3}", "/{?roomId}", "/{roomId", "/roomId}", "/{}"]
        {
            let json = format!(r#"{{"notify":"https://b.example{template}"}}"#);
            let directory = Directory::parse(json.as_bytes()).unwrap();
            assert_eq!(
                directory.url(Endpoint::Notify, ROOM),
                Err(Unusable::Template(Endpoint::Notify)),
                "{template:?} was used"
            );
        }
    }

    #[test]
    fn what_is_not_an_object_is_not_a_directory() {
        for json in ["", "[]", "null", "\"x\"", "{", "<html>"] {
            assert!(Directory::parse(json.as_bytes()).is_err(), "{json:?} was read");
        }
        assert_eq!(Directory::parse(b"{}").unwrap(), Directory(BTreeMap::new()));
    }

    #[test]
    fn a_path_is_read_in_its_whole_and_in_its_shortened_forms() {
        let us = Domain::parse("a.example").unwrap();
        for (path, endpoint, value) in [
            ("/mimi/v1/update/mimi%3A%2F%2Fa.example%2Fr%2Fclubhouse", Endpoint::Update, ROOM),
            ("/mimi/v1/update/mimi%3a%2f%2fa.example%2fr%2fclubhouse", Endpoint::Update, ROOM),
            ("/mimi/v1/update/mimi://a.example/r/clubhouse", Endpoint::Update, ROOM),
            ("/mimi/v1/update/a.example/r/clubhouse", Endpoint::Update, ROOM),
            ("/mimi/v1/groupInfo/a.example/clubhouse", Endpoint::GroupInfo, ROOM),
            ("/mimi/v1/submit/a.example/r/clubhouse", Endpoint::SubmitMessage, ROOM),
            ("/mimi/v1/notify/a.example%2Fr%2Fclubhouse", Endpoint::Notify, ROOM),
            ("/mimi/v1/keyMaterial/mimi%3A%2F%2Fb.example%2Fu%2Fbob", Endpoint::KeyMaterial, BOB),
            ("/mimi/v1/keyMaterial/b.example/u/bob", Endpoint::KeyMaterial, BOB),
            // An escape inside the URI stays: one decoding, not two.
            (
                "/mimi/v1/keyMaterial/mimi%3A%2F%2Fb.example%2Fu%2Fb%252Fb",
                Endpoint::KeyMaterial,
                "mimi://b.example/u/b%2Fb",
            ),
            ("/mimi/v1/requestConsent/a.example", Endpoint::RequestConsent, "a.example"),
            ("/mimi/v1/requestConsent/A.Example", Endpoint::RequestConsent, "a.example"),
            ("/mimi/v1/requestConsent/mimi%3A%2F%2Fa.example%2Fu%2Falice", Endpoint::RequestConsent, "a.example"),
            ("/mimi/v1/updateConsent/a.example/u/alice", Endpoint::UpdateConsent, "a.example"),
            ("/mimi/v1/identifierQuery/a.example", Endpoint::IdentifierQuery, "a.example"),
            ("/mimi/v1/proxyDownload/https%3A%2F%2Fcdn.example%2Fx", Endpoint::ProxyDownload, "https://cdn.example/x"),
        ] {
            let (read, variable) = Endpoint::of_path(path).unwrap();
            assert_eq!((read, read.read_variable(variable, &us)), (endpoint, Ok(value.to_owned())), "{path}");
        }
    }

    #[test]
    fn a_path_that_is_about_something_else_is_refused() {
        let us = Domain::parse("a.example").unwrap();
        for path in
            ["/", "/mimi/v1/", "/mimi/v1/update", "/mimi/v1/Update/x", "/mimi/v2/update/x", "/x/mimi/v1/update/x"]
        {
            assert_eq!(Endpoint::of_path(path), None, "{path}");
        }
        for path in [
            "/mimi/v1/update/",
            "/mimi/v1/update/%zz",
            "/mimi/v1/update/%FF",
            "/mimi/v1/update/a.example",
            "/mimi/v1/update/mimi%3A%2F%2Fa.example%2Fu%2Falice",
            "/mimi/v1/update/mimi%253A%252F%252Fa.example%252Fr%252Fclubhouse",
            "/mimi/v1/keyMaterial/mimi%3A%2F%2Fa.example%2Fr%2Fclubhouse",
            "/mimi/v1/requestConsent/b.example",
            "/mimi/v1/requestConsent/mimi%3A%2F%2Fb.example%2Fu%2Fbob",
            "/mimi/v1/updateConsent/",
            "/mimi/v1/identifierQuery/b.example",
            "/mimi/v1/proxyDownload/",
        ] {
            let (endpoint, variable) = Endpoint::of_path(path).unwrap();
            assert_eq!(endpoint.read_variable(variable, &us), Err(BadVariable), "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, text in ".*", path in "/mimi/v1/[a-zA-Z]{0,16}/.*") {
            let _ = Directory::parse(&bytes);
            let _ = expand(&text, |_| Some(String::new()));
            let us = Domain::parse("a.example").unwrap();
            if let Some((endpoint, variable)) = Endpoint::of_path(&path) {
                let _ = endpoint.read_variable(variable, &us);
            }
            for endpoint in Endpoint::ALL {
                let _ = endpoint.read_variable(&text, &us);
            }
        }
    }
}
