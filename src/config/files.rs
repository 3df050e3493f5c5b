//! The files that `[provider]` names: a certificate that no peer will believe should be found by `check`,
//! not by the peers.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use mimi_adapter::ConfigError;

use super::Provider;
use crate::provider::tls::{Identity, TlsError, Trust};

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
        let mode = fs::metadata(&self.key_file).map(|found| found.permissions().mode()).unwrap_or_default();
        if mode & 0o007 == 0 {
            return Ok(pem);
        }
        let file = self.key_file.display();
        Err(ConfigError::new("key_file", format!("every user of this machine can reach {file} (run: chmod o= {file})")))
    }
}

fn read(key: &str, file: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(file).map_err(|e| {
        let hint = "to try things out, `mimi-gateway ca issue` makes certificates and keys";
        ConfigError::new(key, format!("{}: {e} ({hint})", file.display()))
    })
}

fn wrong(key: &str, file: &Path, error: &TlsError) -> ConfigError {
    ConfigError::new(key, format!("{}: {error}", file.display()))
}
