//! The codec against what openmls itself sends.

use openmls::prelude::*;
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use proptest::prelude::*;

use super::{GroupInfo, KeyPackage, KeyPackageRef, MlsMessage, RatchetTree, Welcome, *};
use crate::{inspect, mimi::tls::Tree};

/// What openmls itself sends when Alice brings Bob into a group and both talk.
struct Scene {
    key_package: openmls::prelude::KeyPackage,
    add: MlsMessageOut,
    commit: MlsMessageOut,
    welcome: OpenMlsWelcome,
    group_info: openmls::messages::group_info::GroupInfo,
    tree: openmls::treesync::RatchetTree,
    application: MlsMessageOut,
}

fn scene() -> Scene {
    let suite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;
    let provider = &OpenMlsRustCrypto::default();
    let person = |name: &str| {
        let keys = SignatureKeyPair::new(SignatureScheme::ED25519).unwrap();
        let credential = BasicCredential::new(name.into()).into();
        let public = CredentialWithKey { credential, signature_key: keys.public().into() };
        (keys, public)
    };
    let (alice, alice_credential) = person("mimi://a.example/d/alice/1");
    let (bob, bob_credential) = person("mimi://b.example/d/bob/1");
    let bundle = openmls::prelude::KeyPackage::builder().build(suite, provider, &bob, bob_credential).unwrap();
    let config = MlsGroupCreateConfig::builder()
        .ciphersuite(suite)
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .build();
    let id = GroupId::from_slice(b"mimi://a.example/g/clubhouse");
    let mut group = MlsGroup::new_with_group_id(provider, &alice, &config, id, alice_credential).unwrap();
    let (add, _) = group.propose_add_member(provider, &alice, bundle.key_package()).unwrap();
    let (commit, welcome, _) = group.commit_to_pending_proposals(provider, &alice).unwrap();
    let MlsMessageBodyOut::Welcome(welcome) = welcome.unwrap().body().clone() else { panic!("not a Welcome") };
    group.merge_pending_commit(provider).unwrap();
    let group_info = group.export_group_info(provider.crypto(), &alice, false).unwrap();
    let MlsMessageBodyOut::GroupInfo(group_info) = group_info.body().clone() else { panic!("not a GroupInfo") };
    group.set_aad(b"aad".to_vec());
    let application = group.create_message(provider, &alice, b"Is the tea ready?").unwrap();
    let (key_package, tree) = (bundle.key_package().clone(), group.export_ratchet_tree());
    Scene { key_package, add, commit, welcome, group_info, tree, application }
}

#[test]
fn a_message_says_what_it_is() {
    let scene = scene();
    for (message, kind, epoch) in [
        (&scene.add, MlsKind::Proposal, 0),
        (&scene.commit, MlsKind::Commit, 0),
        (&scene.application, MlsKind::Application, 1),
    ] {
        let octets = message.tls_serialize_detached().unwrap();
        let message = MlsMessage::from_openmls(message).unwrap();
        assert_eq!(message.as_bytes(), &octets);
        assert_eq!(message.kind(), kind);
        assert_eq!(message.group_id(), Some(&b"mimi://a.example/g/clubhouse"[..]));
        assert_eq!(message.epoch(), Some(epoch));
        assert_eq!(message.to_openmls().tls_serialize_detached().unwrap(), octets);
    }
}

#[test]
fn only_application_data_shows_its_authenticated_data() {
    let scene = scene();
    let application = MlsMessage::from_openmls(&scene.application).unwrap();
    assert_eq!(application.authenticated_data(), Some(&b"aad"[..]));
    assert_eq!(MlsMessage::from_openmls(&scene.commit).unwrap().authenticated_data(), None);
}

#[test]
fn a_welcome_names_the_key_package_it_is_for() {
    let scene = scene();
    let key_package = KeyPackage::from_openmls(&scene.key_package).unwrap();
    let expected = scene.key_package.hash_ref(&RustCrypto::default()).unwrap();
    assert_eq!(key_package.reference(), Some(KeyPackageRef::new(expected.as_slice())));
    assert_eq!(key_package.cipher_suite(), 1);
    let welcome = Welcome::from_openmls(&scene.welcome).unwrap();
    assert_eq!(welcome.key_package_refs(), [key_package.reference().unwrap()]);
    assert_eq!(welcome.to_openmls(), scene.welcome);
}

#[test]
fn a_welcome_gets_its_header_and_loses_it() {
    let welcome = Welcome::from_openmls(&scene().welcome).unwrap();
    let message = welcome.to_message();
    assert_eq!(MlsMessage::decode(message.as_bytes()).as_ref(), Ok(&message));
    assert_eq!(message.kind(), MlsKind::Welcome);
    assert_eq!(message.to_welcome(), Some(welcome));
}

#[test]
fn the_other_values_keep_their_octets() {
    let scene = scene();
    let info = GroupInfo::from_openmls(&scene.group_info).unwrap();
    assert_eq!((info.group_id(), info.epoch()), (&b"mimi://a.example/g/clubhouse"[..], 1));
    assert!(!info.embeds_ratchet_tree());
    assert_eq!(info.to_openmls().tls_serialize_detached().unwrap(), info.as_bytes()[..]);
    let tree = RatchetTree::from_openmls(&scene.tree).unwrap();
    assert_eq!(tree.to_openmls().tls_serialize_detached().unwrap(), tree.as_bytes()[..]);
    let key_package = KeyPackage::from_openmls(&scene.key_package).unwrap();
    assert_eq!(key_package.to_openmls().tls_serialize_detached().unwrap(), key_package.as_bytes()[..]);
}

#[test]
fn one_value_ends_where_the_next_begins() {
    let scene = scene();
    let first = scene.commit.tls_serialize_detached().unwrap();
    let both = [first.clone(), scene.application.tls_serialize_detached().unwrap()].concat();
    let (commit, length) = MlsMessage::decode_prefix(&both).unwrap();
    assert_eq!((commit.kind(), length), (MlsKind::Commit, first.len()));
    assert_eq!(MlsMessage::decode(&both[length..]).unwrap().kind(), MlsKind::Application);
    assert!(MlsMessage::decode(&both).is_err());
}

#[test]
fn a_part_of_a_value_is_not_a_value() {
    let scene = scene();
    let commit = scene.commit.tls_serialize_detached().unwrap();
    assert!((0..commit.len()).all(|end| MlsMessage::decode(&commit[..end]).is_err()));
    let welcome = scene.welcome.tls_serialize_detached().unwrap();
    assert!((0..welcome.len()).all(|end| Welcome::decode(&welcome[..end]).is_err()));
    let tree = scene.tree.tls_serialize_detached().unwrap();
    assert!((0..tree.len()).all(|end| RatchetTree::decode(&tree[..end]).is_err()));
}

#[test]
fn whoever_inspects_can_follow_what_openmls_sends() {
    let scene = scene();
    for (kind, octets) in [
        ("MLSMessage", scene.add.tls_serialize_detached()),
        ("MLSMessage", scene.commit.tls_serialize_detached()),
        ("MLSMessage", scene.application.tls_serialize_detached()),
        ("Welcome", scene.welcome.tls_serialize_detached()),
        ("KeyPackage", scene.key_package.tls_serialize_detached()),
        ("GroupInfo", scene.group_info.tls_serialize_detached()),
        ("ratchet_tree", scene.tree.tls_serialize_detached()),
    ] {
        let inspected = inspect::kind(kind).unwrap().read(&octets.unwrap(), &Default::default()).unwrap();
        let Tree::Octets { about, .. } = inspected.tree else { panic!("{kind} is not octets") };
        // A KeyPackage has its reference in any case.
        assert!(about.iter().any(|(name, _)| name != "KeyPackageRef"), "{kind} was not followed");
    }
}

proptest! {
    #[test]
    fn any_octets_are_read_or_refused(octets: Vec<u8>) {
        let _ = MlsMessage::decode_prefix(&octets);
        let _ = Welcome::decode_prefix(&octets);
        let _ = KeyPackage::decode_prefix(&octets);
        let _ = GroupInfo::decode_prefix(&octets);
        let _ = RatchetTree::decode_prefix(&octets);
    }
}
