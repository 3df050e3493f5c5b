//! Our signature on what we send (RFC 6376), where the submission server does not sign.

use mail_auth::{
    common::{
        crypto::{RsaKey, Sha256},
        headers::HeaderWriter,
    },
    dkim::{DkimSigner, Done},
};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};

/// What a signature speaks for. Without `Reply-To` an answer could be led elsewhere.
const FIELDS: [&str; 12] = [
    "From",
    "To",
    "Reply-To",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "List-Id",
    "List-Unsubscribe",
    "MIME-Version",
    "Content-Type",
];

pub struct Signer(DkimSigner<RsaKey<Sha256>, Done>);

impl Signer {
    /// `key` is an RSA key in PEM; the DNS record with its other half is at `selector._domainkey.domain`.
    pub fn new(key: &str, domain: &str, selector: &str) -> Result<Self, String> {
        let key =
            PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| format!("is not a key in PEM: {error}"))?;
        let key = RsaKey::from_key_der(key).map_err(|error| format!("is not an RSA key: {error}"))?;
        Ok(Self(DkimSigner::from_key(key).domain(domain).selector(selector).headers(FIELDS)))
    }

    /// The mail with the signature before it.
    pub fn sign(&self, mail: &[u8]) -> Result<Vec<u8>, mail_auth::Error> {
        let signature = self.0.sign(mail)?.to_header();
        Ok([signature.as_bytes(), mail].concat())
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_none_is_told() {
        assert!(Signer::new("tea", "mimi.c.example", "s1").unwrap_err().starts_with("is not a key in PEM"));
        let certificate = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n";
        assert!(Signer::new(certificate, "mimi.c.example", "s1").unwrap_err().starts_with("is not an RSA key"));
    }
}
