//! What is discarded, and what is not (C§6, C§9.1).

use proptest::prelude::*;

use super::{
    examples::{nested, original},
    *,
};

fn alice() -> UserUri {
    UserUri::parse("mimi://example.com/u/alice-smith").unwrap()
}

fn engineering() -> RoomUri {
    RoomUri::parse("mimi://example.com/r/engineering_team").unwrap()
}

/// When the draft says the original was accepted.
fn accepted() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_644_387_225_019)
}

/// A message with an empty body and these extensions, in hex.
fn with_extensions(extensions: &str) -> Result<MimiContent, ContentError> {
    let octets = format!("8750{}f640f6f6{extensions}83016000", "00".repeat(16));
    MimiContent::decode(&hex::decode(octets).unwrap())
}

/// A message without extensions and with this body, in hex.
fn with_body(body: &str) -> Result<MimiContent, ContentError> {
    let octets = format!("8750{}f640f6f6a0{body}", "00".repeat(16));
    MimiContent::decode(&hex::decode(octets).unwrap())
}

#[test]
fn a_part_of_a_message_is_not_a_message() {
    for octets in [original().encode(), nested().encode()] {
        for end in 0..octets.len() {
            assert!(MimiContent::decode(&octets[..end]).is_err(), "{end} of {} octets were accepted", octets.len());
        }
        assert!(MimiContent::decode(&[&octets[..], &[0]].concat()).is_err());
    }
}

#[test]
fn another_encoding_of_the_same_message_is_discarded() {
    // The disposition 1 of the deletion in two octets.
    assert_eq!(with_body("8318016000"), Err(ContentError::Cbor(CborError::NotShortest)));
    assert_eq!(with_body("9f016000ff"), Err(ContentError::Cbor(CborError::Head)));
}

#[test]
fn extension_keys_are_sent_in_the_order_of_their_octets() {
    let mut extensions = Extensions::new(&alice(), &engineering());
    for key in [ExtensionKey::Text("a".into()), ExtensionKey::Int(-1), ExtensionKey::Int(24)] {
        extensions.insert(&key, vec![0xf6]).unwrap();
    }
    let octets = MimiContent { extensions, ..original() }.encode();
    // 24 before -1 before "a"; RFC 7049 would have had -1 first.
    let hex = hex::encode(&octets);
    assert!(hex.contains("1818f620f66161f6"), "{hex}");
    assert!(MimiContent::decode(&octets).is_ok());
}

#[test]
fn an_extension_key_is_an_integer_or_a_short_text() {
    assert!(with_extensions("a11863f6").is_ok());
    assert!(with_extensions("a120f6").is_ok());
    assert!(with_extensions("a16161f6").is_ok());
    assert!(with_extensions(&format!("a178ff{}f6", "61".repeat(255))).is_ok());
    for bad in ["a160f6", "a14161f6", "a180f6", &format!("a1790100{}f6", "61".repeat(256)), "a2616101616102"] {
        assert!(with_extensions(bad).is_err(), "{bad}");
    }
}

#[test]
fn sender_and_room_are_texts() {
    assert!(with_extensions("a1016161").is_ok());
    assert!(with_extensions("a1014161").is_err());
    assert!(with_extensions("a10200").is_err());
}

#[test]
fn extensions_have_four_levels() {
    // The draft's own example (C§6.3) has exactly four: map, array, array, tag.
    let four = "a2017818 6d696d693a2f2f612e6578616d706c652f752f616c696365 19010082 82421234d820 72 687474703a2f2f6578616d706c652e636f6d 82423456 19168b";
    assert!(with_extensions(&four.replace(' ', "")).is_ok());
    assert!(with_extensions("a1190100818180").is_ok());
    assert_eq!(with_extensions("a119010081818180"), Err(ContentError::ExtensionTooDeep));
}

#[test]
fn parts_have_four_levels() {
    let leaf = "83016000";
    let wrap = |inner: &str| format!("850160030082{inner}{leaf}");
    let four = wrap(&wrap(&wrap(leaf)));
    assert!(with_body(&four).is_ok());
    assert_eq!(with_body(&wrap(&four)), Err(ContentError::PartsTooDeep));
}

#[test]
fn a_message_has_1024_parts_at_most() {
    let parts = |n: usize| with_body(&format!("850160030099{n:04x}{}", "83016000".repeat(n)));
    assert!(parts(1023).is_ok());
    assert_eq!(parts(1024), Err(ContentError::TooManyParts));
}

#[test]
fn what_is_unknown_and_harmless_is_kept() {
    let message = with_body("8518ff66782d74657374 01 6b 782f78206e6f7468696e67 40".replace(' ', "").as_str()).unwrap();
    assert_eq!(message.nested_part.disposition, Disposition(255));
    assert_eq!(message.nested_part.language, "x-test");
    let unheard_of = "01".repeat(32).parse().unwrap();
    let reply = MimiContent { in_reply_to: Some(unheard_of), ..original() };
    assert_eq!(MimiContent::decode(&reply.encode()), Ok(reply));
}

#[test]
fn what_is_unknown_and_dangerous_is_discarded() {
    assert_eq!(with_body("8501600303828301600083016000"), Err(ContentError::PartSemantics(3)));
    assert!(with_body("83016004").is_err(), "cardinality 4");
    assert!(with_body("831901006000").is_err(), "disposition 256");
    assert!(with_body("85016003008183016000").is_err(), "a multipart of one");
    assert!(with_body("8401600000").is_err(), "a null part with something in it");
    let long = MimiContent { topic_id: vec![0; 4097], ..original() };
    assert_eq!(MimiContent::decode(&long.encode()), Err(ContentError::TopicId(4097)));
    let mut octets = MimiContent { replaces: Some("01".repeat(32).parse().unwrap()), ..original() }.encode();
    assert_eq!(octets[18..21], [0x58, 0x20, 0x01]);
    octets[20] = 9;
    assert_eq!(MimiContent::decode(&octets), Err(ContentError::HashAlgorithm(9)));
}

#[test]
fn a_message_that_names_another_sender_or_room_is_discarded() {
    let bob = UserUri::parse("mimi://example.com/u/bob-jones").unwrap();
    let elsewhere = RoomUri::parse("mimi://example.com/r/elsewhere").unwrap();
    let message = original();
    assert_eq!(message.check(&alice(), &engineering(), accepted()), Ok(()));
    assert_eq!(message.check(&bob, &engineering(), accepted()), Err(ContentError::Misattributed("sender")));
    assert_eq!(message.check(&alice(), &elsewhere, accepted()), Err(ContentError::Misattributed("room")));
    let anonymous = MimiContent { extensions: Extensions::default(), ..message };
    assert_eq!(anonymous.check(&bob, &elsewhere, accepted()), Ok(()));
}

#[test]
fn an_expiry_is_at_most_a_year_away() {
    const YEAR: u32 = 365 * 24 * 60 * 60;
    const ACCEPTED: u32 = 1_644_387_225;
    for (expires, fine) in [
        (Expiration::Relative(YEAR), true),
        (Expiration::Relative(YEAR * 2), false),
        (Expiration::Absolute(ACCEPTED + YEAR), true),
        (Expiration::Absolute(ACCEPTED + YEAR * 2), false),
        (Expiration::Absolute(ACCEPTED - YEAR), true),
        (Expiration::Absolute(ACCEPTED - YEAR * 2), false),
    ] {
        let message = MimiContent { expires: Some(expires), ..original() };
        assert_eq!(message.check(&alice(), &engineering(), accepted()).is_ok(), fine, "{expires:?}");
    }
}

// The indices are the ones the draft writes beside the parts of its nested example.
#[test]
fn a_cid_names_single_parts_only() {
    let message = nested();
    let content_type = |index| match &message.part(index)?.part {
        Part::Single { content_type, .. } => Some(content_type.as_str()),
        _ => None,
    };
    assert_eq!(content_type(4), Some("text/html;charset=utf-8"));
    assert_eq!(content_type(5), Some("image/gif"));
    assert_eq!(content_type(10), Some("image/png"));
    for index in [0, 1, 2, 6, 7, 11] {
        assert_eq!(content_type(index), None, "{index}");
    }
}

#[test]
fn an_extension_of_ours_is_small_and_well_formed() {
    let mut extensions = Extensions::default();
    let key = ExtensionKey::Text("xmpp.a.example/bridge".into());
    assert_eq!(extensions.insert(&key, vec![0x18, 0]), Err(ContentError::Cbor(CborError::NotShortest)));
    let long = [&[0x59, 0x10, 0x00][..], &[0; 4096]].concat();
    assert_eq!(extensions.insert(&key, long), Err(ContentError::ExtensionTooLong));
    assert_eq!(extensions.insert(&key, vec![0xf5]), Ok(()));
    assert_eq!(extensions.get(&key), Some(&[0xf5][..]));
}

proptest! {
    #[test]
    fn any_octets_are_read_or_refused(octets: Vec<u8>) {
        let _ = MimiContent::decode(&octets);
    }

    /// One octet of a real message changed: refused, or still the one encoding of what was read.
    #[test]
    fn what_is_read_is_written_the_same(at in 0usize..716, octet: u8) {
        let mut octets = nested().encode();
        octets[at] = octet;
        if let Ok(message) = MimiContent::decode(&octets) {
            prop_assert_eq!(message.encode(), octets);
        }
    }
}
