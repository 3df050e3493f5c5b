//! Finding people: `identifierQuery`, as it is asked of us and as we ask it (P§5.8).
//!
//! Only who has opted in can be found (`[[findable]]`), and only by an exact name that stands there: what is typed
//! whole is known already. For all others the answer is the one for somebody who does not exist, and nothing is looked
//! up to give it. How often a provider may ask is limited at the door.

use std::sync::Arc;

use bytes::Bytes;
use mimi_adapter::{Domain, UserUri};
use tracing::info;

use crate::{
    admin::Find,
    core::{Core, Fault},
    hub::HubError,
    mimi::{
        component,
        directory::Endpoint,
        tls::Tls,
        uri::IdentifierUri,
        wire::{AppDataDictionary, IdentifierQueryCode, IdentifierRequest, IdentifierResponse, QueryElement, Search},
    },
    provider::CallError,
};

/// Somebody of ours who can be found, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findable {
    pub user: UserUri,
    /// Whole URIs, such as `im:alice@a.example`.
    pub handles: Vec<String>,
    pub nicks: Vec<String>,
    /// addr-specs (RFC 5322 §3.4.1).
    pub emails: Vec<String>,
}

/// More elements than there are fields say nothing more.
const ELEMENTS: usize = 16;

impl Core {
    /// `POST /identifierQuery/{domain}`. Every element has to be true of the same person.
    pub fn identifier_query(&self, from: &Domain, body: &[u8]) -> Result<Vec<u8>, HubError> {
        let request = IdentifierRequest::decode(body).map_err(|e| HubError::Malformed(e.to_string()))?;
        let (response_code, found) = self.find_here(&request.query_elements);
        // Whom they look for is nobody else's business, and stands in no log.
        info!(%from, code = response_code.0, found = found.len(), "Somebody was looked for.");
        let uri = found.iter().map(|user| IdentifierUri::parse(user.as_str()));
        let uri = uri.collect::<Result<_, _>>().map_err(Fault::broken)?;
        let disclosure = (component::BRIDGE_DISCLOSURE, self.disclosure.clone().into());
        let response = IdentifierResponse {
            response_code,
            uri,
            found_profiles: Vec::new(),
            id_response_extensions: AppDataDictionary([disclosure].into()),
        };
        Ok(response.encode())
    }

    fn find_here(&self, query: &[QueryElement]) -> (IdentifierQueryCode, Vec<UserUri>) {
        for element in query {
            match element.search {
                Search::Handle | Search::Nick | Search::Email => {}
                Search::PartialName | Search::WholeProfile => return (IdentifierQueryCode::FORBIDDEN, Vec::new()),
                Search::Phone | Search::OidcStdClaim(_) | Search::VcardField(_) => {
                    return (IdentifierQueryCode::UNSUPPORTED_FIELD, Vec::new());
                }
            }
        }
        // "Everybody" is not a name.
        if query.is_empty() || query.len() > ELEMENTS {
            return (IdentifierQueryCode::FORBIDDEN, Vec::new());
        }
        let all_true = |findable: &&Findable| query.iter().all(|element| findable.is(element));
        let found: Vec<_> = self.findable.iter().filter(all_true).map(|it| it.user.clone()).collect();
        match found.is_empty() {
            true => (IdentifierQueryCode::NOT_FOUND, found),
            false => (IdentifierQueryCode::SUCCESS, found),
        }
    }

    /// Asks another provider, or ourselves, for an admin.
    pub async fn find(self: &Arc<Self>, find: Find) -> Result<Vec<UserUri>, Fault> {
        let element = |search, value: &Option<String>| {
            value.as_ref().map(|value| QueryElement { search, search_value: value.clone() })
        };
        let elements = [(Search::Handle, &find.handle), (Search::Nick, &find.nick), (Search::Email, &find.email)];
        let query_elements: Vec<_> =
            elements.into_iter().filter_map(|(search, value)| element(search, value)).collect();
        if query_elements.is_empty() {
            return Err(Fault::never("name a handle, a nick or an email address"));
        }
        let provider = &find.provider;
        let request = IdentifierRequest { query_elements, id_request_extensions: AppDataDictionary::default() };
        let answer = if *provider == self.domain {
            self.identifier_query(provider, &request.encode())?.into()
        } else {
            let body = Bytes::from(request.encode());
            let size = body.len();
            let answer = self.peers.call(provider, Endpoint::IdentifierQuery, provider.as_str(), body).await;
            let words = answer.as_ref().map_or_else(ToString::to_string, |body| format!("200, {} octets", body.len()));
            self.trace.request(&self.domain, provider, "identifierQuery", size, &words, "");
            answer.map_err(|e| match e {
                CallError::Later { .. } => Fault::later(e),
                CallError::Never { .. } => Fault::never(e.to_string()),
            })?
        };
        let response = IdentifierResponse::decode(&answer)
            .map_err(|e| Fault::never(format!("{provider}'s answer is malformed: {e}")))?;
        match response.response_code {
            // A provider speaks for its own people.
            IdentifierQueryCode::SUCCESS | IdentifierQueryCode::AMBIGUOUS => Ok(response
                .uri
                .iter()
                .filter_map(|uri| UserUri::parse(uri.as_str()).ok())
                .filter(|user| user.domain() == provider)
                .collect()),
            IdentifierQueryCode::NOT_FOUND => Ok(Vec::new()),
            IdentifierQueryCode::FORBIDDEN => Err(Fault::never(format!("{provider} does not answer such a question"))),
            IdentifierQueryCode::UNSUPPORTED_FIELD => Err(Fault::never(format!("{provider} can't search by that"))),
            IdentifierQueryCode(code) => Err(Fault::never(format!("{provider} answered with the unknown code {code}"))),
        }
    }
}

impl Findable {
    fn is(&self, element: &QueryElement) -> bool {
        let value = &element.search_value;
        match element.search {
            Search::Handle => self.handles.contains(value),
            Search::Nick => self.nicks.contains(value),
            Search::Email => self.emails.iter().any(|email| same_mailbox(email, value)),
            _ => false,
        }
    }
}

/// A domain has no case, and what stands before the @ is the mail server's business (RFC 5321 §2.4).
fn same_mailbox(one: &str, other: &str) -> bool {
    match (one.rsplit_once('@'), other.rsplit_once('@')) {
        (Some((local, domain)), Some((other_local, other_domain))) => {
            local == other_local && domain.eq_ignore_ascii_case(other_domain)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_is_the_same_whatever_the_case_of_its_domain() {
        assert!(same_mailbox("Alice@a.example", "Alice@A.Example"));
        assert!(!same_mailbox("Alice@a.example", "alice@a.example"));
        assert!(!same_mailbox("alice@a.example", "alice@b.example"));
        assert!(!same_mailbox("alice", "alice"));
        assert!(!same_mailbox("", ""));
    }
}
