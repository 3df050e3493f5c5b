//! Who we are to other providers, and whose word on who they are we take.
//!
//! A provider is its domain, and a domain is proved by a certificate with a matching SAN dNSName
//! (P§4.1, RFC 6125), in both directions. We check our own certificate when it is loaded, as strictly as
//! a peer will: a mistake in it should be read by an admin at start, not by every peer at the handshake.
//!
//! Neither key nor certificate implements `Debug`; a key is never printed.

use std::sync::Arc;

use mimi_adapter::Domain;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, ServerConnection,
    client::verify_server_name,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{ParsedCertificate, WebPkiClientVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, DnsName, PrivateKeyDer, ServerName, pem::PemObject};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
};

/// What is wrong with the certificates we were given. Always for the admin to mend.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("no certificate in the PEM file (expected -----BEGIN CERTIFICATE-----, our own first, then the chain)")]
    NoCertificate,
    #[error("no private key in the PEM file (expected -----BEGIN PRIVATE KEY-----, not encrypted)")]
    NoKey,
    #[error("the certificate can't be read: {0}")]
    Certificate(String),
    #[error("certificate and private key can't be used together: {0}")]
    Key(rustls::Error),
    #[error("the certificate is for {names:?}, not for {domain} (it needs {domain} as a subject alternative name)")]
    Domain { domain: Domain, names: Vec<String> },
    #[error(
        "the certificate is not for both TLS servers and TLS clients, and providers use it as both \
         (its extended key usage needs serverAuth and clientAuth)"
    )]
    Usage,
    #[error("no trust anchor could be read: {0}")]
    Anchors(String),
    #[error("TLS can't be set up: {0}")]
    Setup(String),
}

/// One provider domain of ours, with the certificate chain and key that prove it.
#[derive(Clone)]
pub struct Identity {
    domain: Domain,
    key: Arc<CertifiedKey>,
}

impl Identity {
    pub fn from_pem(domain: &Domain, certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<_, _>>()
            .map_err(|problem| TlsError::Certificate(problem.to_string()))?;
        let certificate = PeerCertificate::parse(chain.first().ok_or(TlsError::NoCertificate)?)?;
        if !certificate.proves(domain) {
            return Err(TlsError::Domain { domain: domain.clone(), names: certificate.names });
        }
        if !usable_both_ways(&certificate.der)? {
            return Err(TlsError::Usage);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey)?;
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(TlsError::Key)?;
        Ok(Self { domain: domain.clone(), key: Arc::new(key) })
    }

    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(self.key.clone()))
    }
}

/// The authorities whose word we take on who a provider is.
#[derive(Clone)]
pub struct Trust(Arc<RootCertStore>);

impl Trust {
    /// The authorities in a PEM bundle, and no others.
    pub fn from_pem(bundle: &[u8]) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for anchor in CertificateDer::pem_slice_iter(bundle) {
            let anchor = anchor.map_err(|problem| TlsError::Anchors(problem.to_string()))?;
            roots.add(anchor).map_err(|problem| TlsError::Anchors(problem.to_string()))?;
        }
        Self::not_empty(roots, "the bundle has no certificate")
    }

    /// The authorities this machine trusts. Anybody with a certificate from one of them is a provider to us.
    pub fn system() -> Result<Self, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        let problem = found.errors.first().map(ToString::to_string);
        Self::not_empty(roots, problem.as_deref().unwrap_or("the system has none (install ca-certificates)"))
    }

    fn not_empty(roots: RootCertStore, otherwise: &str) -> Result<Self, TlsError> {
        if roots.is_empty() { Err(TlsError::Anchors(otherwise.into())) } else { Ok(Self(Arc::new(roots))) }
    }
}

/// Named, because a default for the process belongs to `main` and a second library may disagree.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A peer without a certificate we believe doesn't get past the handshake.
pub(super) fn server_config(identity: &Identity, trust: &Trust) -> Result<ServerConfig, TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(trust.0.clone(), provider())
        .build()
        .map_err(|problem| TlsError::Setup(problem.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|problem| TlsError::Setup(problem.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(identity.resolver());
    config.alpn_protocols = vec![b"h2".into(), b"http/1.1".into()];
    Ok(config)
}

pub(super) fn client_config(identity: &Identity, trust: &Trust) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|problem| TlsError::Setup(problem.to_string()))?
        .with_root_certificates(trust.0.clone())
        .with_client_cert_resolver(identity.resolver());
    config.alpn_protocols = vec![b"h2".into(), b"http/1.1".into()];
    Ok(config)
}

/// A certificate somebody holds: at a server, one whose chain the handshake has verified.
pub(super) struct PeerCertificate {
    der: CertificateDer<'static>,
    /// Its SAN dNSNames, as they stand.
    pub names: Vec<String>,
}

impl PeerCertificate {
    pub fn of(connection: &ServerConnection) -> Result<Self, TlsError> {
        Self::parse(connection.peer_certificates().and_then(<[_]>::first).ok_or(TlsError::NoCertificate)?)
    }

    fn parse(der: &CertificateDer<'_>) -> Result<Self, TlsError> {
        let mut names = Vec::new();
        if let Some(alternatives) = x509(der)?.subject_alternative_name().map_err(unreadable)? {
            for name in &alternatives.value.general_names {
                if let GeneralName::DNSName(name) = name {
                    names.push((*name).to_owned());
                }
            }
        }
        Ok(Self { der: der.clone().into_owned(), names })
    }

    /// Whether it speaks for this provider, by the rules of RFC 6125 (wildcards included).
    pub fn proves(&self, domain: &Domain) -> bool {
        let name = DnsName::try_from(domain.as_str()).map(ServerName::DnsName);
        let certificate = ParsedCertificate::try_from(&self.der);
        matches!((certificate, name), (Ok(certificate), Ok(name)) if verify_server_name(&certificate, &name).is_ok())
    }
}

/// A certificate without an extended key usage may be used for anything.
fn usable_both_ways(der: &CertificateDer<'_>) -> Result<bool, TlsError> {
    let certificate = x509(der)?;
    let usage = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::ExtendedKeyUsage(usage) => Some(usage),
        _ => None,
    });
    Ok(usage.is_none_or(|usage| usage.server_auth && usage.client_auth))
}

fn x509<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, TlsError> {
    X509Certificate::from_der(der).map(|(_, certificate)| certificate).map_err(unreadable)
}

fn unreadable(problem: impl std::fmt::Display) -> TlsError {
    TlsError::Certificate(problem.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Authority;

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    #[test]
    fn an_identity_proves_its_domain_and_no_other() {
        let (certificate, key) = Authority::new().issue(&domain("a.example"));
        let identity = |name| Identity::from_pem(&domain(name), certificate.as_bytes(), key.as_bytes());
        assert_eq!(identity("a.example").ok().unwrap().domain().as_str(), "a.example");
        let refused = identity("b.example").err().unwrap().to_string();
        assert_eq!(
            refused,
            "the certificate is for [\"a.example\"], not for b.example \
             (it needs b.example as a subject alternative name)"
        );
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let (certificate, _) = Authority::new().issue_for(&["*.gw.example"]);
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let certificate = PeerCertificate::parse(&der).unwrap();
        assert!(certificate.proves(&domain("xmpp.gw.example")));
        assert!(!certificate.proves(&domain("gw.example")));
        assert!(!certificate.proves(&domain("a.xmpp.gw.example")));
    }

    #[test]
    fn mistakes_in_the_files_are_told_apart() {
        let authority = Authority::new();
        let (certificate, key) = authority.issue(&domain("a.example"));
        let (_, other_key) = authority.issue(&domain("a.example"));
        let problem = |certificate: &str, key: &str| {
            Identity::from_pem(&domain("a.example"), certificate.as_bytes(), key.as_bytes()).err().unwrap()
        };
        assert!(matches!(problem("", &key), TlsError::NoCertificate));
        assert!(matches!(problem(&key, &key), TlsError::NoCertificate));
        assert!(matches!(problem(&certificate, &certificate), TlsError::NoKey));
        assert!(matches!(problem(&certificate, &other_key), TlsError::Key(_)));
        assert!(matches!(
            problem("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key),
            TlsError::Certificate(_)
        ));
        assert!(matches!(Trust::from_pem(key.as_bytes()), Err(TlsError::Anchors(_))));
        assert!(matches!(Trust::from_pem(b"not PEM"), Err(TlsError::Anchors(_))));
    }

    #[test]
    fn a_certificate_for_servers_only_is_refused_at_once() {
        let (certificate, key) = Authority::new().issue_for_servers_only(&domain("a.example"));
        let problem = Identity::from_pem(&domain("a.example"), certificate.as_bytes(), key.as_bytes()).err().unwrap();
        assert!(matches!(problem, TlsError::Usage), "{problem}");
    }
}
