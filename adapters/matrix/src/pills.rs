//! Mentions: a link to a person, as Matrix's clients write it ("pill") and as MIMI does (C§4.4). Other links stay.

use matrix_sdk::ruma::{MatrixToUri, MatrixUri, OwnedUserId, UserId, matrix_uri::MatrixId};
use mimi_adapter::{Domain, NativeUserId, UserUri};

use crate::id::Namespace;

pub struct Pills {
    names: Namespace,
    domain: Domain,
}

impl Pills {
    /// `domain` is the provider that vouches for the people of this network.
    pub fn new(names: Namespace, domain: Domain) -> Self {
        Self { names, domain }
    }

    /// Where a link that somebody here wrote leads for people elsewhere. `None` if nowhere, as one to the bot.
    pub fn to_mimi(&self, target: &str) -> Option<String> {
        let Some(user) = user(target) else { return Some(target.to_owned()) };
        let uri = if self.names.is_ours(&user) {
            self.names.user(&user)?
        } else {
            UserUri::for_native(&self.domain, &NativeUserId::new(user))
        };
        Some(uri.to_string())
    }

    /// Where a link that somebody elsewhere wrote leads here.
    pub fn to_matrix(&self, target: &str) -> Option<String> {
        match UserUri::parse(target) {
            Ok(user) => Some(self.account(&user)?.matrix_to_uri().to_string()),
            Err(_) => Some(target.to_owned()),
        }
    }

    /// Whom a link is about, if about anybody here.
    pub fn mentioned(&self, target: &str) -> Option<OwnedUserId> {
        self.account(&UserUri::parse(target).ok()?)
    }

    fn account(&self, user: &UserUri) -> Option<OwnedUserId> {
        if *user.domain() == self.domain {
            UserId::parse(user.native().as_str()).ok()
        } else {
            self.names.ghost(user).ok()
        }
    }
}

fn user(target: &str) -> Option<OwnedUserId> {
    let id = match MatrixToUri::parse(target) {
        Ok(uri) => uri.id().clone(),
        Err(_) => MatrixUri::parse(target).ok()?.id().clone(),
    };
    match id {
        MatrixId::User(user) => Some(user),
        _ => None,
    }
}

#[cfg(test)]
pub mod tests {
    use matrix_sdk::ruma::server_name;

    use super::*;

    pub fn pills() -> Pills {
        let names = Namespace::new(server_name!("matrix.a.example").to_owned(), "mimi_".into(), "mimi");
        Pills::new(names, Domain::parse("a.example").unwrap())
    }

    #[test]
    fn a_pill_is_a_mention_and_back() {
        for (pill, mention) in [
            ("https://matrix.to/#/@alice:matrix.a.example", "mimi://a.example/u/@alice:matrix.a.example"),
            ("https://matrix.to/#/@mimi_b.example_bob:matrix.a.example", "mimi://b.example/u/bob"),
        ] {
            assert_eq!(pills().to_mimi(pill).as_deref(), Some(mention));
            assert_eq!(pills().to_matrix(mention).as_deref(), Some(pill));
        }
        let by_scheme = pills().to_mimi("matrix:u/alice:matrix.a.example");
        assert_eq!(by_scheme.as_deref(), Some("mimi://a.example/u/@alice:matrix.a.example"));
        assert_eq!(pills().to_mimi("https://matrix.to/#/@mimi:matrix.a.example"), None);
        for link in ["https://a.example/", "https://matrix.to/#/!room:a.example", "mimi://b.example/r/tea"] {
            assert_eq!(pills().to_mimi(link).as_deref(), Some(link));
            assert_eq!(pills().to_matrix(link).as_deref(), Some(link));
        }
    }
}
