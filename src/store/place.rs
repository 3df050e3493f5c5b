//! Where a database is: an SQLite file, or a PostgreSQL server.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use sqlx::{any::AnyConnectOptions, postgres::PgConnectOptions};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    File(PathBuf),
    Server(Server),
}

impl From<&Path> for Place {
    fn from(file: &Path) -> Self {
        Self::File(file.to_owned())
    }
}

impl From<&PathBuf> for Place {
    fn from(file: &PathBuf) -> Self {
        Self::File(file.clone())
    }
}

impl From<&Place> for Place {
    fn from(place: &Place) -> Self {
        place.clone()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.display().fmt(f),
            Self::Server(server) => server.fmt(f),
        }
    }
}

/// A database on a PostgreSQL server, by its URL. Shown without the password, which may be in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    url: String,
    shown: String,
    password: bool,
}

/// What the URL of a server looks like.
const LOOKS_LIKE: &str = "it looks like \"postgres://mimi@db.a.example/mimi\"";

impl Server {
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn has_password(&self) -> bool {
        self.password
    }
}

impl FromStr for Server {
    type Err = String;

    /// The errors don't repeat the URL: it may have a password in it.
    fn from_str(url: &str) -> Result<Self, String> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(format!("is not the URL of a PostgreSQL database ({LOOKS_LIKE})"));
        }
        let options = PgConnectOptions::from_str(url)
            .map_err(|e| format!("is not a URL that can be used: {e} ({LOOKS_LIKE})"))?;
        if options.get_database().is_none_or(str::is_empty) {
            return Err(format!("names no database ({LOOKS_LIKE})"));
        }
        let parsed = AnyConnectOptions::from_str(url).map_err(|e| format!("is not a URL: {e}"))?.database_url;
        let password = parsed.password().is_some() || parsed.query_pairs().any(|(key, _)| key == "password");
        let mut shown = parsed;
        shown.set_query(None);
        // Only a URL without a host has no place for a password, and that needs none taken out.
        let _ = shown.set_password(None);
        Ok(Self { url: url.to_owned(), shown: shown.to_string(), password })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_shown_without_its_password() {
        for url in
            ["postgres://mimi:secret@db.a.example:5433/mimi", "postgres://mimi@db.a.example:5433/mimi?password=secret"]
        {
            let server: Server = url.parse().unwrap();
            assert!(server.has_password());
            assert_eq!(format!("{server} {server:?}"), ["postgres://mimi@db.a.example:5433/mimi"; 2].join(" "));
        }
        assert!(!Server::from_str("postgres://mimi@db.a.example/mimi").unwrap().has_password());
    }

    #[test]
    fn what_is_no_url_of_a_database_is_refused_without_repeating_it() {
        for (url, why) in [
            ("mysql://mimi:secret@db.a.example/mimi", "is not the URL of a PostgreSQL database"),
            ("/var/lib/mimi-gateway", "is not the URL of a PostgreSQL database"),
            ("postgres://mimi:secret@db.a.example", "names no database"),
            ("postgres://mimi:secret@db.a.example:port/mimi", "is not a URL that can be used"),
            ("postgres://mimi:secret@db.a.example/mimi?sslmode=maybe", "is not a URL that can be used"),
        ] {
            let refused = Server::from_str(url).unwrap_err();
            assert!(refused.starts_with(why) && !refused.contains("secret"), "{refused}");
        }
    }
}
