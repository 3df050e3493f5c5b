//! An authority that lives as long as the process, for a demo or a test: it signs the certificates by
//! which a few providers on one machine believe each other.
//!
//! Not for anything else. Its key is in memory only and its certificates don't expire, so nobody outside
//! has a reason to believe them.

use mimi_adapter::Domain;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    #[expect(clippy::new_without_default, reason = "a new one is another one, never the default")]
    pub fn new() -> Self {
        let key = key();
        let mut params = CertificateParams::default();
        params.distinguished_name = called("MIMI demo authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).expect("our own parameters can be signed").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// The authority's own certificate: what those who should believe it need.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A provider's certificate and its key, both as PEM.
    pub fn issue(&self, domain: &Domain) -> (String, String) {
        self.issue_with(
            &[domain.as_str()],
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        )
    }

    fn issue_with(&self, names: &[&str], usages: Vec<ExtendedKeyUsagePurpose>) -> (String, String) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("a domain is a DNS name");
        params.distinguished_name = called("MIMI provider");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        params.use_authority_key_identifier_extension = true;
        let key = key();
        let certificate = params.signed_by(&key, &self.issuer).expect("our own parameters can be signed");
        (certificate.pem(), key.serialize_pem())
    }
}

#[cfg(test)]
impl Authority {
    pub fn issue_for(&self, names: &[&str]) -> (String, String) {
        self.issue_with(names, vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth])
    }

    pub fn issue_for_servers_only(&self, domain: &Domain) -> (String, String) {
        self.issue_with(&[domain.as_str()], vec![ExtendedKeyUsagePurpose::ServerAuth])
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a P-256 key can always be made")
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}
