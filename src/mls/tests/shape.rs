//! What a group and a leaf of ours are made of, and what they don't let themselves be made into.

use openmls::prelude::{
    AppDataDictionary, AppDataDictionaryExtension, AppDataUpdateProposal, BasicCredential, Capabilities, Extension,
    ExtensionType, Extensions, ExternalSender, GroupContext, KeyPackage, LeafNode, ProposalType,
};

use super::*;
use crate::{
    mimi::{
        framing::MediaTypeList,
        participants::{ParticipantListUpdate, UserRolePair},
    },
    mls::{app_data, client::capabilities, storage::Provider, storage::Rows},
};

const GROUP: &[u8] = b"mimi://a.example/g/tea";

/// A group of Alice's with an empty participant list, and the key of its hub.
fn founded(alice: &Client) -> (Member, Vec<u8>) {
    let hub = Signer::generate().unwrap().public().to_vec();
    let new = NewGroup {
        group_id: GROUP,
        hub_key: &hub,
        hub_identity: "mimi://a.example",
        dictionary: [(component::PARTICIPANT_LIST, ParticipantListData::default().encode())].into(),
    };
    (Member::found(alice, new).unwrap(), hub)
}

fn components(octets: &[u8]) -> Vec<u16> {
    Tls::decode(octets).unwrap()
}

#[test]
fn a_group_has_its_hub_as_external_sender_and_says_what_its_members_need() {
    let (group, hub) = founded(&client("alice"));
    let extensions = group.group.extensions();
    let identity = BasicCredential::new(b"mimi://a.example".to_vec()).into();
    let expected = ExternalSender::new(hub.as_slice().into(), identity);
    assert_eq!(extensions.external_senders(), Some(&vec![expected]));
    let required = extensions.required_capabilities().unwrap();
    assert_eq!(required.extension_types(), [ExtensionType::AppDataDictionary]);
    assert_eq!(required.proposal_types(), [ProposalType::AppDataUpdate, ProposalType::SelfRemove]);
    let dictionary = group.dictionary();
    assert_eq!(components(&dictionary[&component::SAFE_AAD]), [component::FRANK_AAD]);
    assert!(components(&dictionary[&component::APP_COMPONENTS]).contains(&component::PARTICIPANT_LIST));
    assert_eq!(dictionary[&component::CONTENT_MEDIA_TYPES], MediaTypeList::ours().encode());
}

#[test]
fn a_leaf_says_what_its_client_knows_and_things_that_nobody_knows() {
    let made = client("bob").key_package().unwrap().key_package.to_openmls();
    let crypto = openmls_rust_crypto::RustCrypto::default();
    let made = made.validate(&crypto, openmls::prelude::ProtocolVersion::Mls10).unwrap();
    let leaf = made.leaf_node();
    let dictionary = leaf.extensions().app_data_dictionary().unwrap().dictionary();
    let known = components(dictionary.get(&component::APP_COMPONENTS).unwrap());
    assert!(known.is_sorted_by(|one, next| one < next), "{known:?}");
    // All of MIMI: 0x0020 to 0x0030, and our own.
    assert_eq!(known, (0x20..=0x30).chain([component::BRIDGE_DISCLOSURE]).collect::<Vec<_>>());
    assert_eq!(components(dictionary.get(&component::SAFE_AAD).unwrap()), [component::FRANK_AAD]);
    assert_eq!(dictionary.get(&component::CONTENT_MEDIA_TYPES), Some(&MediaTypeList::ours().encode()[..]));
    assert_eq!(dictionary.get(&component::BRIDGE_DISCLOSURE), Some(&[1][..]));
    let can = leaf.capabilities();
    assert!(can.ciphersuites().iter().any(|it| it.is_grease()) && can.extensions().iter().any(|it| it.is_grease()));
    assert!(can.proposals().iter().any(|it| it.is_grease()) && can.credentials().iter().any(|it| it.is_grease()));
}

/// A KeyPackage of a client of another kind.
fn of_another_kind(capabilities: Capabilities, components: &[(u16, &[u8])]) -> codec::KeyPackage {
    let (provider, carl) = (Provider::new(Rows::default()), client("carl"));
    let mut dictionary = AppDataDictionary::new();
    for (id, data) in components {
        dictionary.insert(*id, data.to_vec());
    }
    let dictionary = Extension::AppDataDictionary(AppDataDictionaryExtension::new(dictionary));
    let made = KeyPackage::builder()
        .leaf_node_capabilities(capabilities)
        .leaf_node_extensions(Extensions::<LeafNode>::single(dictionary).unwrap())
        .build(SUITE, &provider, &carl.keys, carl.credential_with_key())
        .unwrap();
    codec::KeyPackage::from_openmls(made.key_package()).unwrap()
}

#[test]
fn who_knows_more_is_added_and_who_knows_less_is_not() {
    let ours = MediaTypeList::ours().encode();
    let identity = "mimi://a.example/d/carl/1";
    let media_types = [(component::CONTENT_MEDIA_TYPES, &ours[..])];
    // Components of GREASE, and of somebody else's own.
    let strange = [media_types[0], (0x2a2a, b"grease"), (0xf0f0, b"theirs")];
    assert_eq!(check_key_package(&of_another_kind(capabilities(), &strange)).unwrap(), identity);
    let other = [(component::CONTENT_MEDIA_TYPES, &b"\x0c\x0btext/plain\x00"[..])];
    assert!(check_key_package(&of_another_kind(capabilities(), &other)).is_err(), "reads no MIMI content");
    let extensions = [ExtensionType::AppDataDictionary];
    for proposals in [&[ProposalType::AppDataUpdate][..], &[ProposalType::SelfRemove]] {
        let less = Capabilities::new(None, None, Some(&extensions), Some(proposals), None);
        assert!(check_key_package(&of_another_kind(less, &media_types)).is_err(), "{proposals:?} alone");
    }
}

/// The GroupContext of a group, changed.
fn changed(group: &Member, extension: Extension) -> Extensions<GroupContext> {
    let mut extensions = group.group.extensions().clone();
    extensions.add_or_replace(extension).unwrap();
    extensions
}

#[test]
fn the_rest_of_the_group_context_stays_as_it_was_made() {
    let alice = client("alice");
    let (mut group, _) = founded(&alice);
    let hub = HubGroup::follow(&group.group_info(&alice).unwrap(), &group.tree().unwrap()).unwrap();
    let mallory =
        ExternalSender::new(alice.public_key().into(), BasicCredential::new(b"mimi://m.example".to_vec()).into());
    let with_mallory = changed(&group, Extension::ExternalSenders(vec![mallory]));
    let commit = group.group.update_group_context_extensions(&group.provider, with_mallory, &alice.keys).unwrap().0;
    let refused = hub.examine(&codec::MlsMessage::from_openmls(&commit).unwrap()).err().unwrap();
    assert_eq!(refused.to_string(), "invalid: a GroupContextExtensions proposal is not supported here");
    group.abandon_pending().unwrap();
    let plain = group.commit(&alice, Change::default()).unwrap().commit;
    assert!(hub.examine(&plain).is_ok());
}

#[test]
fn the_dictionary_changes_by_updates_and_by_nothing_else() {
    let alice = client("alice");
    let (mut group, _) = founded(&alice);
    let mut dictionary = AppDataDictionary::new();
    for (id, data) in group.dictionary() {
        dictionary.insert(id, data);
    }
    dictionary.insert(component::ROOM_METADATA, vec![0]);
    let dictionary = Extension::AppDataDictionary(AppDataDictionaryExtension::new(dictionary));
    let with_metadata = changed(&group, dictionary);
    assert!(group.group.update_group_context_extensions(&group.provider, with_metadata, &alice.keys).is_err());
}

#[test]
fn an_update_that_can_not_be_makes_a_commit_invalid() {
    let (group, _) = founded(&client("alice"));
    let update = |id, data: &[u8]| AppDataUpdateProposal::update(id, data.to_vec());
    let apply = |proposals: &[AppDataUpdateProposal]| {
        app_data::apply(group.group.app_data_dictionary_updater(), proposals.iter())
    };
    let list = component::PARTICIPANT_LIST;
    let bob = UserRolePair { user: "mimi://b.example/u/bob".parse().unwrap(), role_index: 2 };
    let with_bob = ParticipantListUpdate { added_participants: vec![bob], ..Default::default() }.encode();
    let without = ParticipantListUpdate { removed_indices: vec![7], ..Default::default() }.encode();
    for (what, proposals) in [
        ("noise", vec![update(list, &[0xff; 20])]),
        ("nobody is removed", vec![update(list, &without)]),
        ("Bob comes twice", vec![update(list, &with_bob), update(list, &with_bob)]),
        ("a component that nobody knows", vec![update(0xf0f0, b"theirs")]),
        ("metadata twice", vec![update(component::ROOM_METADATA, &[0]), update(component::ROOM_METADATA, &[0])]),
        ("what is not there is removed", vec![AppDataUpdateProposal::remove(component::ROOM_METADATA)]),
        ("removed and updated", vec![update(list, &with_bob), AppDataUpdateProposal::remove(list)]),
    ] {
        assert!(matches!(apply(&proposals), Err(MlsError::Invalid(_))), "{what}");
    }
    assert!(apply(&[update(list, &with_bob), update(component::ROOM_METADATA, &[0])]).is_ok());
}

// RFC 9420 §6: version and wire format, group_id, epoch, then the sender or the content_type, then authenticated_data.
#[test]
fn authenticated_data_is_a_safe_aad_in_every_message() {
    let alice = client("alice");
    let (mut group, _) = founded(&alice);
    let (after_epoch, member, content_type) = (4 + 1 + GROUP.len() + 8, 5, 1);
    let commit = group.commit(&alice, Change::default()).unwrap().commit;
    group.merge_pending().unwrap();
    assert_eq!(commit.as_bytes()[after_epoch + member..][..2], [1, 0], "one octet: no items");
    let tag = [7; 32];
    let message = group.encrypt(&alice, &tag, b"tea").unwrap();
    let with_tag = [&[0x24, 0x23, 0x00, 0x20, 0x20][..], &tag].concat();
    assert_eq!(message.as_bytes()[after_epoch + content_type..][..37], with_tag);
}
