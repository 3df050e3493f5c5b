//! Who our leaves are: key, credential, what they can do, and KeyPackages made just in time.

use std::time::{SystemTime, UNIX_EPOCH};

use openmls::{
    component::ComponentsList,
    prelude::{
        AppDataDictionary, AppDataDictionaryExtension, BasicCredential, Capabilities, CredentialType,
        CredentialWithKey, Extension, ExtensionType, Extensions, KeyPackage, LeafNode, Lifetime, OpenMlsProvider,
        ProposalType, ProtocolVersion, SignatureScheme,
    },
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_traits::types::Ciphersuite;
use tls_codec::Serialize;

use super::{
    MlsError, SUITE,
    app_data::SUPPORTED,
    codec::KeyPackageRef,
    storage::{Provider, Rows},
};
use crate::mimi::{component, framing::MediaTypeList, tls::Tls, uri::ClientUri, wire::RequiredCapabilities};

/// How long a leaf made from a KeyPackage is valid, in seconds: 84 days in all, the most that some allow (openmls'
/// `has_acceptable_range`). Members that join later check it for every leaf that has not committed since, so it has
/// to outlast the quiet months of a room. It begins two weeks ago: openmls judges the leaves in a commit by the local
/// clock even when the hub has accepted it, and whoever's clock is behind ours by more than that margin stands still
/// until it is right.
const VALID_BEFORE: u64 = 14 * 24 * 3600;
const VALID_AFTER: u64 = 70 * 24 * 3600;

/// Of a leaf that is made now, by the clock of the machine: openmls looks at no other when it judges one.
pub(super) fn lifetime() -> Lifetime {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Lifetime::init(now.saturating_sub(VALID_BEFORE), now.saturating_add(VALID_AFTER))
}

/// The MLS client of one bridged user: one signature key, shared with nobody.
pub struct Client {
    uri: ClientUri,
    pub(super) keys: SignatureKeyPair,
    private: Vec<u8>,
    /// What the leaf says about the gateway (component 0xF4B0), the same octets everywhere.
    disclosure: Vec<u8>,
}

impl Client {
    pub fn generate(uri: ClientUri, disclosure: Vec<u8>) -> Result<Self, MlsError> {
        let (private, public) = new_keys()?;
        Ok(Self::from_keys(uri, private, public, disclosure))
    }

    pub fn from_keys(uri: ClientUri, private: Vec<u8>, public: Vec<u8>, disclosure: Vec<u8>) -> Self {
        let keys = SignatureKeyPair::from_raw(SignatureScheme::ED25519, private.clone(), public);
        Self { uri, keys, private, disclosure }
    }

    pub fn uri(&self) -> &ClientUri {
        &self.uri
    }

    pub fn public_key(&self) -> &[u8] {
        self.keys.public()
    }

    /// For the database and nothing else.
    pub fn private_key(&self) -> &[u8] {
        &self.private
    }

    /// The credential as it stands on the wire: basic, identity = client URI.
    pub fn credential(&self) -> Result<Vec<u8>, MlsError> {
        self.credential_with_key().credential.tls_serialize_detached().map_err(MlsError::state)
    }

    /// A signature with a label of RFC 9420 §5.1.2.
    pub fn sign_with_label(&self, label: &str, content: &[u8]) -> Result<Vec<u8>, MlsError> {
        sign_with_label(&self.keys, label, content)
    }

    /// A KeyPackage for one Welcome, with the rows that will become the leaf's state.
    pub fn key_package(&self) -> Result<KeyPackageMaterial, MlsError> {
        let provider = Provider::new(Rows::default());
        let bundle = KeyPackage::builder()
            .leaf_node_capabilities(capabilities())
            .leaf_node_extensions(self.leaf_extensions()?)
            .key_package_lifetime(lifetime())
            .build(SUITE, &provider, &self.keys, self.credential_with_key())
            .map_err(MlsError::state)?;
        let key_package = bundle.key_package();
        Ok(KeyPackageMaterial {
            key_package: super::codec::KeyPackage::from_openmls(key_package).map_err(MlsError::state)?,
            reference: KeyPackageRef::new(key_package.hash_ref(provider.crypto()).map_err(MlsError::state)?.as_slice()),
            not_after: key_package.life_time().not_after(),
            rows: provider.rows.drain().into_iter().filter_map(|(key, value)| Some((key, value?))).collect(),
        })
    }

    pub(super) fn credential_with_key(&self) -> CredentialWithKey {
        CredentialWithKey {
            credential: BasicCredential::new(self.uri.as_str().as_bytes().to_vec()).into(),
            signature_key: self.keys.public().into(),
        }
    }

    /// app_data_dictionary of our leaves (X§4.6, X§6.2).
    pub(super) fn leaf_extensions(&self) -> Result<Extensions<LeafNode>, MlsError> {
        let mut dictionary = AppDataDictionary::new();
        let mut supported = SUPPORTED.to_vec();
        supported.extend([component::FRANK_AAD, component::JOIN_LINKS, component::BRIDGE_DISCLOSURE]);
        supported.sort_unstable();
        let components = ComponentsList::new(supported);
        dictionary.insert(component::APP_COMPONENTS, components.tls_serialize_detached().map_err(MlsError::state)?);
        let aad = ComponentsList::new(vec![component::FRANK_AAD]);
        dictionary.insert(component::SAFE_AAD, aad.tls_serialize_detached().map_err(MlsError::state)?);
        dictionary.insert(component::CONTENT_MEDIA_TYPES, MediaTypeList::ours().encode());
        dictionary.insert(component::BRIDGE_DISCLOSURE, self.disclosure.clone());
        Extensions::single(Extension::AppDataDictionary(AppDataDictionaryExtension::new(dictionary)))
            .map_err(MlsError::state)
    }
}

/// A fresh KeyPackage. `rows` hold its private keys and go into the database before the octets go out.
pub struct KeyPackageMaterial {
    pub key_package: super::codec::KeyPackage,
    /// KeyPackageRef (RFC 9420 §5.2): by this name the Welcome will call it.
    pub reference: KeyPackageRef,
    /// Seconds since the epoch.
    pub not_after: u64,
    pub rows: Vec<(Vec<u8>, Vec<u8>)>,
}

pub(super) fn capabilities() -> Capabilities {
    Capabilities::new(
        None,
        Some(&[
            SUITE,
            Ciphersuite::MLS_128_DHKEMP256_AES128GCM_SHA256_P256,
            Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519,
        ]),
        Some(&[ExtensionType::AppDataDictionary]),
        Some(&[ProposalType::AppDataUpdate, ProposalType::AppEphemeral, ProposalType::SelfRemove]),
        None,
    )
    // What nobody knows, so that everybody has to cope with what they don't know (RFC 9420 §13.5).
    .with_grease(&openmls_rust_crypto::RustCrypto::default())
}

/// Whether our clients have these capabilities. What every client has stands in no list (RFC 9420 §7.2).
pub fn can_all(required: &RequiredCapabilities) -> bool {
    let ours = capabilities();
    let extension = |it: &u16| matches!(it, 1..=5) || ours.extensions().contains(&ExtensionType::from(*it));
    let proposal = |it: &u16| matches!(it, 1..=7) || ours.proposals().contains(&ProposalType::from(*it));
    let credential = |it: &u16| ours.credentials().contains(&CredentialType::from(*it));
    required.extension_types.iter().all(extension)
        && required.proposal_types.iter().all(proposal)
        && required.credential_types.iter().all(credential)
}

pub(super) fn sign_with_label(keys: &SignatureKeyPair, label: &str, content: &[u8]) -> Result<Vec<u8>, MlsError> {
    use openmls::prelude::SignContent;
    use openmls_traits::signatures::Signer;
    let content = SignContent::new(label, content.to_vec().into()).tls_serialize_detached().map_err(MlsError::state)?;
    keys.sign(&content).map_err(|e| MlsError::state(format!("{e:?}")))
}

/// Would this KeyPackage make a member our groups can have? Its signature, lifetime, suite and capabilities are
/// checked (X§4.7: every leaf must know
/// what commits may contain). Answers the identity in its credential.
pub fn check_key_package(key_package: &super::codec::KeyPackage) -> Result<String, MlsError> {
    let crypto = openmls_rust_crypto::RustCrypto::default();
    let valid = key_package.to_openmls().validate(&crypto, ProtocolVersion::Mls10).map_err(MlsError::invalid)?;
    if valid.ciphersuite() != SUITE {
        return Err(MlsError::invalid("the KeyPackage is of another cipher suite"));
    }
    let can = valid.leaf_node().capabilities();
    for proposal in [ProposalType::AppDataUpdate, ProposalType::SelfRemove] {
        if !can.proposals().contains(&proposal) {
            return Err(MlsError::invalid(format!("the client does not know {proposal:?} proposals")));
        }
    }
    if !can.extensions().contains(&ExtensionType::AppDataDictionary) {
        return Err(MlsError::invalid("the client does not know the app_data_dictionary extension"));
    }
    if !reads_content(valid.leaf_node()) {
        return Err(MlsError::invalid("the client does not read application/mimi-content"));
    }
    super::member::identity(valid.leaf_node().credential())
}

/// X§6.2: whether a leaf lists what our groups require. One that says nothing about media types says nothing against it.
fn reads_content(leaf: &LeafNode) -> bool {
    let dictionary = leaf.extensions().app_data_dictionary();
    let list = dictionary.and_then(|it| it.dictionary().get(&component::CONTENT_MEDIA_TYPES));
    let Some(list) = list.map(MediaTypeList::decode) else { return true };
    let required = MediaTypeList::ours().media_type_list;
    list.is_ok_and(|list| required.iter().all(|it| list.media_type_list.contains(it)))
}

/// A key that signs for the hub and is nobody's leaf.
pub struct Signer {
    keys: SignatureKeyPair,
    private: Vec<u8>,
}

impl Signer {
    pub fn generate() -> Result<Self, MlsError> {
        let (private, public) = new_keys()?;
        Ok(Self::from_keys(private, public))
    }

    pub fn from_keys(private: Vec<u8>, public: Vec<u8>) -> Self {
        Self { keys: SignatureKeyPair::from_raw(SignatureScheme::ED25519, private.clone(), public), private }
    }

    /// Private and public, for the database and nothing else.
    pub fn into_keys(self) -> (Vec<u8>, Vec<u8>) {
        let public = self.keys.to_public_vec();
        (self.private, public)
    }

    pub fn public(&self) -> &[u8] {
        self.keys.public()
    }

    /// A signature with a label of RFC 9420 §5.1.2.
    pub fn sign_with_label(&self, label: &str, content: &[u8]) -> Result<Vec<u8>, MlsError> {
        sign_with_label(&self.keys, label, content)
    }
}

fn new_keys() -> Result<(Vec<u8>, Vec<u8>), MlsError> {
    use openmls_traits::crypto::OpenMlsCrypto;
    openmls_rust_crypto::RustCrypto::default().signature_key_gen(SignatureScheme::ED25519).map_err(MlsError::state)
}

/// Checks a signature with a label, by a key of one of the schemes we know: Ed25519 or P-256 by its length.
pub fn verify_with_label(key: &[u8], label: &str, content: &[u8], signature: &[u8]) -> Result<(), MlsError> {
    use openmls::prelude::SignContent;
    use openmls_traits::crypto::OpenMlsCrypto;
    let scheme = match key.len() {
        32 => SignatureScheme::ED25519,
        65 => SignatureScheme::ECDSA_SECP256R1_SHA256,
        length => return Err(MlsError::invalid(format!("a signature key of {length} octets"))),
    };
    let content = SignContent::new(label, content.to_vec().into()).tls_serialize_detached().map_err(MlsError::state)?;
    openmls_rust_crypto::RustCrypto::default()
        .verify_signature(scheme, &content, key, signature)
        .map_err(|_| MlsError::invalid("the signature is not by this key"))
}
