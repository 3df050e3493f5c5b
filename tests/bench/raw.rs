//! What MLS alone would allow: one member of a group of two encrypts, the other decrypts.
//!
//! openmls as it comes, with its own storage in memory, the suite our rooms have, private application
//! messages with as much authenticated data as a franking tag makes, and octets in between.

use std::time::{Duration, Instant};

use openmls::prelude::{
    BasicCredential, Ciphersuite, CredentialWithKey, KeyPackage, MlsGroup, MlsGroupJoinConfig, MlsMessageBodyIn,
    MlsMessageIn, PURE_PLAINTEXT_WIRE_FORMAT_POLICY, ProcessedMessageContent, ProtocolMessage, StagedWelcome,
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use tls_codec::{Deserialize, Serialize};

use crate::BoxError;

const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;
const MESSAGE: [u8; 200] = [b'x'; 200];
const AUTHENTICATED: [u8; 40] = [0; 40];

struct Person {
    provider: OpenMlsRustCrypto,
    keys: SignatureKeyPair,
    credential: CredentialWithKey,
}

impl Person {
    fn new(name: &str) -> Result<Self, BoxError> {
        let keys = SignatureKeyPair::new(SUITE.signature_algorithm())?;
        let credential = CredentialWithKey {
            credential: BasicCredential::new(name.into()).into(),
            signature_key: keys.public().into(),
        };
        Ok(Self { provider: OpenMlsRustCrypto::default(), keys, credential })
    }
}

/// Messages encrypted and decrypted per second, by one thread.
pub fn messages_per_second(span: Duration) -> Result<f64, BoxError> {
    let (alice, bob) = (Person::new("alice")?, Person::new("bob")?);
    let (mut hers, mut his) = tea(&alice, &bob)?;
    let begun = Instant::now();
    let mut messages = 0;
    while begun.elapsed() < span {
        hers.set_aad(AUTHENTICATED.to_vec());
        let octets = hers.create_message(&alice.provider, &alice.keys, &MESSAGE)?.tls_serialize_detached()?;
        let message: ProtocolMessage = match MlsMessageIn::tls_deserialize_exact(&octets)?.extract() {
            MlsMessageBodyIn::PrivateMessage(message) => message.into(),
            _ => return Err("openmls encrypted to something that is no private message".into()),
        };
        let read = match his.process_message(&bob.provider, message)?.into_content() {
            ProcessedMessageContent::ApplicationMessage(read) => read.into_bytes(),
            _ => return Err("openmls decrypted to something that is no application message".into()),
        };
        if read != MESSAGE {
            return Err("openmls did not read what it wrote".into());
        }
        messages += 1;
    }
    Ok(f64::from(messages) / begun.elapsed().as_secs_f64())
}

/// The two ends of a group.
fn tea(alice: &Person, bob: &Person) -> Result<(MlsGroup, MlsGroup), BoxError> {
    let mut hers = MlsGroup::builder()
        .ciphersuite(SUITE)
        .with_wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .build(&alice.provider, &alice.keys, alice.credential.clone())?;
    let key_package = KeyPackage::builder().build(SUITE, &bob.provider, &bob.keys, bob.credential.clone())?;
    let (_, welcome, _) = hers.add_members(&alice.provider, &alice.keys, &[key_package.key_package().clone()])?;
    hers.merge_pending_commit(&alice.provider)?;
    let welcome = match MlsMessageIn::tls_deserialize_exact(welcome.tls_serialize_detached()?)?.extract() {
        MlsMessageBodyIn::Welcome(welcome) => welcome,
        _ => return Err("adding somebody made no Welcome".into()),
    };
    let config = MlsGroupJoinConfig::builder().wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY).build();
    let tree = Some(hers.export_ratchet_tree().into());
    let his = StagedWelcome::new_from_welcome(&bob.provider, &config, welcome, tree)?.into_group(&bob.provider)?;
    Ok((hers, his))
}
