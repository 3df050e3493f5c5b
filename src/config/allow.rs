//! Who may reach our users without asking first: the patterns of `[consent] allow`.

use std::{fmt, str::FromStr};

use mimi_adapter::{Domain, UserUri};

/// One pattern. What no pattern matches has to ask, and is refused until somebody says yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allow {
    /// `b.example`: everybody of this provider, and of no subdomain.
    Provider(Domain),
    /// `*.gov.example`: every provider below this domain, at any depth, but not the domain itself, as in a
    /// wildcard certificate. A provider at `gov.example` is named beside it.
    Below(Domain),
    /// `mimi://c.example/u/cathy`: this one person.
    User(UserUri),
}

impl Allow {
    pub fn matches(&self, user: &UserUri) -> bool {
        match self {
            Self::Provider(domain) => user.domain() == domain,
            Self::Below(domain) => {
                let above = user.domain().as_str().strip_suffix(domain.as_str());
                above.is_some_and(|above| above.ends_with('.'))
            }
            Self::User(allowed) => user == allowed,
        }
    }
}

impl FromStr for Allow {
    type Err = String;

    fn from_str(pattern: &str) -> Result<Self, String> {
        let parsed = if pattern.starts_with("mimi:") {
            UserUri::parse(pattern).map(Self::User)
        } else if let Some(domain) = pattern.strip_prefix("*.") {
            Domain::parse(domain).map(Self::Below)
        } else {
            Domain::parse(pattern).map(Self::Provider)
        };
        parsed.map_err(|_| {
            format!(
                "{pattern:?} is not a pattern: name a provider (\"b.example\"), the providers below a domain \
                 (\"*.gov.example\") or a person (\"mimi://c.example/u/cathy\")"
            )
        })
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provider(domain) => write!(f, "{domain}"),
            Self::Below(domain) => write!(f, "*.{domain}"),
            Self::User(user) => write!(f, "{user}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_lets_in_whom_it_names_and_nobody_else() {
        for (pattern, user, expected) in [
            ("b.example", "mimi://b.example/u/bob", true),
            ("B.example", "mimi://b.Example/u/bob", true),
            ("b.example", "mimi://sub.b.example/u/bob", false),
            ("b.example", "mimi://evilb.example/u/bob", false),
            ("*.gov.example", "mimi://police.gov.example/u/bob", true),
            ("*.gov.example", "mimi://a.police.gov.example/u/bob", true),
            ("*.gov.example", "mimi://gov.example/u/bob", false),
            ("*.gov.example", "mimi://evilgov.example/u/bob", false),
            ("mimi://c.example/u/cathy", "mimi://c.example/u/cathy", true),
            ("mimi://c.example/u/cathy", "mimi://c.example/u/cathy2", false),
            ("mimi://c.example/u/cathy", "mimi://c.example/u/Cathy", false),
        ] {
            let matches = pattern.parse::<Allow>().unwrap().matches(&UserUri::parse(user).unwrap());
            assert_eq!(matches, expected, "{pattern} and {user}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_examples() {
        for pattern in ["", "*", "*.", "**.example", "b.*", "mimi://c.example", "mimi://c.example/r/room", "b example"]
        {
            let problem = pattern.parse::<Allow>().unwrap_err();
            assert!(problem.contains("is not a pattern") && problem.contains("*.gov.example"), "{problem}");
        }
    }
}
