//! The files that `[provider]` and `[store]` name: a certificate that no peer will believe should be found by
//! `check`, not by the peers.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use mimi_adapter::ConfigError;

use super::{Provider, Store};
use crate::{
    provider::tls::{Identity, TlsError, Trust},
    store::Place,
};

impl Provider {
    /// Who we are and whom we believe. Read anew at every call, as a certificate is renewed in its place.
    pub fn credentials(&self) -> Result<(Identity, Trust), Vec<ConfigError>> {
        let (certificate, key) = (read("certificate_file", &self.certificate_file), self.key());
        let trust = match &self.authorities_file {
            Some(file) => read("authorities_file", file)
                .and_then(|pem| Trust::from_pem(&pem).map_err(|e| wrong("authorities_file", file, &e))),
            None => Trust::system().map_err(|e| ConfigError::new("authorities_file", e.to_string())),
        };
        let identity = match (certificate, key) {
            (Ok(certificate), Ok(key)) => Identity::from_pem(&self.domain, &certificate, &key).map_err(|e| match e {
                TlsError::NoKey | TlsError::Key(_) => vec![wrong("key_file", &self.key_file, &e)],
                e => vec![wrong("certificate_file", &self.certificate_file, &e)],
            }),
            (certificate, key) => Err([certificate.err(), key.err()].into_iter().flatten().collect()),
        };
        match (identity, trust) {
            (Ok(identity), Ok(trust)) => Ok((identity, trust)),
            (identity, trust) => Err(identity.err().into_iter().flatten().chain(trust.err()).collect()),
        }
    }

    fn key(&self) -> Result<Vec<u8>, ConfigError> {
        let pem = read("key_file", &self.key_file)?;
        // Whoever has the key is this provider, to everybody.
        closed("key_file", &self.key_file).map(|()| pem)
    }
}

impl Store {
    /// Where the database is, with the URL read from its file.
    pub fn place(&self) -> Result<Place, ConfigError> {
        match self {
            Self::Path(path) => Ok(Place::File(path.clone())),
            Self::Url(server) => Ok(Place::Server(server.clone())),
            Self::UrlFile(file) => {
                let problem = |what: String| ConfigError::new("url_file", format!("{}: {what}", file.display()));
                let text = fs::read_to_string(file).map_err(|e| problem(format!("{e} (write the URL into it)")))?;
                closed("url_file", file)?;
                text.trim().parse().map(Place::Server).map_err(problem)
            }
        }
    }
}

fn read(key: &str, file: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(file).map_err(|e| {
        let hint = "to try things out, `mimi-gateway ca issue` makes certificates and keys";
        ConfigError::new(key, format!("{}: {e} ({hint})", file.display()))
    })
}

/// A secret is not for every user of the machine.
fn closed(key: &str, file: &Path) -> Result<(), ConfigError> {
    let mode = fs::metadata(file).map(|found| found.permissions().mode()).unwrap_or_default();
    if mode & 0o007 == 0 {
        return Ok(());
    }
    let file = file.display();
    Err(ConfigError::new(key, format!("every user of this machine can reach {file} (run: chmod o= {file})")))
}

fn wrong(key: &str, file: &Path, error: &TlsError) -> ConfigError {
    ConfigError::new(key, format!("{}: {error}", file.display()))
}
