//! The files that `[provider]` names, looked at before anything starts: a certificate that can't be read
//! should be found by `check`, not by a peer.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject};

use super::{Lines, Problem, Provider};

pub(super) fn check(provider: &Provider, lines: &Lines) -> Vec<Problem> {
    let authorities = provider.authorities_file.iter().map(|file| ("provider.authorities_file", certificates(file)));
    [
        ("provider.certificate_file", certificates(&provider.certificate_file)),
        ("provider.key_file", key(&provider.key_file)),
    ]
    .into_iter()
    .chain(authorities)
    .filter_map(|(path, looked)| Some(lines.problem(path, looked.err()?)))
    .collect()
}

fn certificates(file: &Path) -> Result<(), String> {
    let unreadable = |e| format!("{}: {e} ({TRY_OUT})", file.display());
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).map_err(unreadable)?.collect();
    match found.map_err(unreadable)?.len() {
        0 => Err(format!("{} has no certificate in it: it should have a PEM block \"CERTIFICATE\"", file.display())),
        _ => Ok(()),
    }
}

fn key(file: &Path) -> Result<(), String> {
    PrivateKeyDer::from_pem_file(file).map_err(|e| match e {
        pem::Error::NoItemsFound => {
            format!("{} has no key in it: it should have a PEM block \"PRIVATE KEY\"", file.display())
        }
        e => format!("{}: {e} ({TRY_OUT})", file.display()),
    })?;
    // Whoever has the key is this provider, to everybody.
    let mode = fs::metadata(file).map_err(|e| format!("{}: {e}", file.display()))?.permissions().mode();
    match mode & 0o007 {
        0 => Ok(()),
        _ => Err(format!("every user of this machine can reach {0} (run: chmod o= {0})", file.display())),
    }
}

const TRY_OUT: &str = "to try things out, `mimi-gateway ca issue` makes a certificate and its key";
