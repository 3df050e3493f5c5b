//! MLS values put together by hand from RFC 9420's structs, for the vectors of this module. Well-formed,
//! though no key in them is one.

use proptest::prelude::*;

use super::*;
use crate::mimi::tls::{Reader, Writer};

/// A PrivateMessage: group_id "g", epoch 5, content_type application, authenticated_data, encrypted_sender_data, ciphertext.
pub const APPLICATION: &str = "0001 0002 0167 0000000000000005 01 0100 02dddd 03cccccc";

/// A PrivateMessage, but with a proposal inside.
pub const PRIVATE_PROPOSAL: &str = "0001 0002 0167 0000000000000005 02 0100 02dddd 03cccccc";

/// A PublicMessage of external sender 0: authenticated_data, content_type proposal, Remove of leaf 3,
/// signature; such a sender has no membership tag.
pub const PROPOSAL: &str = "0001 0001 0167 0000000000000005 02 00000000 0100 02 0003 00000003 025151";

/// A PublicMessage of a new member: authenticated_data, content_type commit, proposals (an ExternalInit by
/// value), no path, signature, confirmation_tag.
pub const COMMIT: &str = "0001 0001 0167 0000000000000005 04 0100 03 06 01 0006 02 eeee 00 025252 025353";

/// A PublicMessage of external sender 0, but with application data inside.
pub const PUBLIC_APPLICATION: &str = "0001 0001 0167 0000000000000005 02 00000000 00 01 0261 61 025151";

/// Suite 1, one secret (KeyPackageRef, kem_output, ciphertext), encrypted_group_info.
pub const WELCOME: &str =
    "0001 27 20 a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1 02b2b2 02b3b3 03c1c1c1";

/// GroupContext (version, suite 1, group_id, epoch 6, tree_hash, confirmed_transcript_hash, extensions),
/// extensions, confirmation_tag, signer 0, signature.
pub const GROUP_INFO: &str = "0001 0001 0167 0000000000000006 01d1 01d2 00 00 02d3d3 00000000 02d4d4";

/// Version, suite 1, init_key, a LeafNode, extensions, signature. The LeafNode: encryption_key,
/// signature_key, a basic credential "b", capabilities (mls10, suite 1, none, none, basic), source
/// key_package with its lifetime, extensions, signature.
pub const KEY_PACKAGE: &str = "0001 0001 02e1e1 02e2e2 02e3e3 0001 0162 020001 020001 00 00 020001 01 0000000000000001 0000000000000002 00 02e4e4 00 02e5e5";

const LEAF_NODE: &str =
    "02e2e2 02e3e3 0001 0162 020001 020001 00 00 020001 01 0000000000000001 0000000000000002 00 02e4e4";

/// A tree of one leaf: an optional that is present, node_type leaf.
pub fn ratchet_tree_hex() -> String {
    vector(&["01 01", LEAF_NODE].concat())
}

/// As [`GROUP_INFO`], with a ratchet_tree (0x0002) among its extensions.
pub fn group_info_with_tree() -> String {
    let extension = ["0002", &vector(&ratchet_tree_hex())].concat();
    ["0001 0001 0167 0000000000000006 01d1 01d2 00", &vector(&extension), "02d3d3 00000000 02d4d4"].concat()
}

macro_rules! values {
    ($($name:ident: $type:ident = $hex:expr;)*) => {$(
        pub fn $name() -> $type {
            $type::decode(&octets($hex)).unwrap()
        }
    )*};
}
values! {
    application: MlsMessage = APPLICATION;
    proposal: MlsMessage = PROPOSAL;
    commit: MlsMessage = COMMIT;
    welcome: Welcome = WELCOME;
    group_info: GroupInfo = GROUP_INFO;
    key_package: KeyPackage = KEY_PACKAGE;
    ratchet_tree: RatchetTree = &ratchet_tree_hex();
}

/// Hex, with spaces for the reader.
pub fn octets(hex: &str) -> Vec<u8> {
    hex::decode(hex.replace(' ', "")).unwrap()
}

/// A vector in hex: lengths below 64 in one octet, below 16384 in two.
pub fn vector(hex: &str) -> String {
    match octets(hex).len() {
        length @ 0..64 => format!("{length:02x}{hex}"),
        length => format!("{:04x}{hex}", length | 0x4000),
    }
}

/// An IdentifierUri in hex.
pub fn uri(uri: &str) -> String {
    vector(&hex::encode(uri))
}

/// The value has exactly these octets, and nothing shorter, longer or damaged is taken for it unnoticed. So it is
/// when people write it down.
#[track_caller]
pub fn hold<T: Tls + PartialEq + std::fmt::Debug>(value: &T, octets: &[u8]) {
    assert_eq!(hex::encode(value.encode()), hex::encode(octets));
    assert_eq!(T::decode(octets).as_ref(), Ok(value));
    for end in 0..octets.len() {
        assert!(T::decode(&octets[..end]).is_err(), "{end} of {} octets were accepted", octets.len());
    }
    assert!(T::decode(&[octets, &[0]].concat()).is_err(), "an octet too many was accepted");
    crate::inspect::tests::hold::<T>(octets);
}

fn read_all_kinds(octets: &[u8]) {
    fn read<T: Tls>(octets: &[u8]) {
        let mut from = Reader::new(octets);
        if let Ok(value) = T::read(&mut from) {
            value.write(&mut Writer::default());
        }
    }
    read::<KeyMaterialRequest>(octets);
    read::<KeyMaterialResponse>(octets);
    read::<HandshakeBundle>(octets);
    read::<UpdateRoomResponse>(octets);
    read::<SubmitMessageRequest>(octets);
    read::<SubmitMessageResponse>(octets);
    read::<ConsentEntry>(octets);
    read::<RatchetTreeOption>(octets);
    read::<GroupInfoOption>(octets);
    read::<KeyPackage>(octets);
    let _ = FanoutMessage::decode_all(octets);
}

proptest! {
    #[test]
    fn any_octets_are_read_or_refused(octets: Vec<u8>) {
        read_all_kinds(&octets);
    }

    /// With a plausible start, to get past the first decision.
    #[test]
    fn any_octets_after_a_good_start_are_read_or_refused(kind in 0usize..8, rest: Vec<u8>) {
        let start = ["00010001", "00010002", "00010003", "00010004", "00010005", "01", COMMIT, PROPOSAL][kind];
        read_all_kinds(&[octets(start), rest.clone()].concat());
        read_all_kinds(&[octets("0000017edd1dcdbb"), octets(start), rest].concat());
    }
}
