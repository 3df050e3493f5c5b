//! What comes out, what goes back, and what is said of octets that are malformed.

use proptest::prelude::*;

use super::*;
use crate::mimi::wire::samples::{self, octets, uri, vector};

/// Through JSON and back the octets are the same; cut off anywhere they are malformed, at an offset that they have.
#[track_caller]
pub(crate) fn hold<T: Tls>(octets: &[u8]) {
    there_and_back(octets, read::<T>, write::<T>);
}

#[track_caller]
pub(crate) fn there_and_back(
    octets: &[u8],
    read: impl Fn(&[u8]) -> Result<Inspected, Malformed>,
    write: impl Fn(&Tree) -> Result<Vec<u8>, Malformed>,
) {
    let inspected = read(octets).unwrap();
    assert_eq!(inspected.remarks, [""; 0]);
    let json = to_json(&inspected.tree);
    let again = write(&from_json(json.as_bytes()).unwrap()).unwrap_or_else(|why| panic!("{why}\n{json}"));
    assert_eq!(hex::encode(again), hex::encode(octets), "{json}");
    for end in 0..octets.len() {
        let offset = read(&octets[..end]).unwrap_err().offset;
        assert!(offset.is_some_and(|offset| offset <= end), "{offset:?} in {end} octets of {json}");
    }
}

const ALICE: &str = "mimi://a.example/u/alice";
const BOB: &str = "mimi://b.example/u/bob";
const ROOM: &str = "mimi://a.example/r/clubhouse";

/// At least one of every kind, put together by hand.
fn of_every_kind() -> Vec<(&'static str, String)> {
    let (alice, bob, room) = (uri(ALICE), uri(BOB), uri(ROOM));
    let frank = format!("{} 0001 0188", "77".repeat(32));
    let context = [&alice, &room, "0000017edd1dcdbb"].concat();
    let tbs = ["01", &alice, &bob, "00 020001 020006 04 0008 000a 020001 0411111111 0001", &alice].concat();
    let client = ["02", &uri("mimi://b.example/d/bob/1"), "01 020001 020002 00 00 00"].concat();
    let key_package = ["00", &uri("mimi://b.example/d/bob/1"), samples::KEY_PACKAGE].concat();
    let group_info_request = "01 0001 021111 0001 0162 022222";
    let answer = ["01", &room, "01 0001 0144 0001 0168 025555 03666666"].concat();
    let handshake = [samples::COMMIT, "01", samples::WELCOME, "01", samples::GROUP_INFO, "04"].concat();
    let proposals = [samples::PROPOSAL, &vector(samples::PROPOSAL)].concat();
    let commit = ["0000017edd1dcdbb", samples::COMMIT, "00"].concat();
    let application = ["0000017edd1dcdbb", samples::APPLICATION, "01", &frank].concat();
    let welcome = ["0000017edd1dcdbb 00010003", samples::WELCOME, "01", &samples::ratchet_tree_hex()].concat();
    let abusive = ["02aaaa", &frank, "0000000000000102"].concat();
    let profile = [&bob, "08 08 02464e 03426f62"].concat();
    let pair = [&alice, "00000004"].concat();
    let metadata = [&room, "09 436c7562686f757365 07 00 02 656e 02 4869 00 03 746561 00"].concat();
    let role = "00000007 05 6775657374 00 04 0100 f123 00000000 01 00000003 00000001 00 09 00000000 04 00000007";
    let preauth = [&vector(&["0001 00", &uri("mimi://a.example")].concat()), role].concat();
    let dictionary = ["0022", &vector(&vector(&pair)), "f4b0 01bb"].concat();
    let capabilities = ["020001 020002 020006 020008 020001 020001 020022 020020 05 03782f79 00 02 01 02"];
    let operational = [capabilities[0], &"00".repeat(23), "01", &"00".repeat(111)].concat();
    let deletion = format!("8750{}f640f6f6a083016000", "00".repeat(16));
    let report = format!("81825820{}02", "01".repeat(32));
    vec![
        ("KeyMaterialRequest", [&tbs, "03222222"].concat()),
        ("KeyMaterialRequestTBS", tbs),
        ("KeyMaterialResponse", ["0101", &bob, &vector(&[&*key_package, &client].concat())].concat()),
        ("KeyMaterialResponse", ["01fe", &bob, "00"].concat()),
        ("ClientKeyMaterial", client),
        ("UpdateRequest", handshake.clone()),
        ("UpdateRequest", proposals.clone()),
        ("HandshakeBundle", handshake),
        ("UpdateRoomResponse", "03 026e6f 05 02abcd 01ef".into()),
        ("UpdateRoomResponse", "00 00 0000017edd1dcdbb".into()),
        ("UpdateRoomResponse", "fe 00".into()),
        ("GroupInfoOption", ["01", samples::GROUP_INFO].concat()),
        ("GroupInfoOption", "02 01 05 0004 02 01ee 025555".into()),
        ("PartialGroupInfo", "01 05 0004 02 01ee 025555".into()),
        ("RatchetTreeOption", ["02", &uri("https://a.example/tree")].concat()),
        ("DomainList", "0c 09 612e6578616d706c65 0162".into()),
        ("SubmitMessageRequest", ["01", samples::APPLICATION, &alice].concat()),
        ("SubmitMessageResponse", ["01 00 0000017edd1dcdbb 01", &frank].concat()),
        ("SubmitMessageResponse", "01 02 ffffffffffffffff".into()),
        ("Frank", frank.clone()),
        ("FrankAAD", "77".repeat(32)),
        ("FrankingAgentData", ["020102 0001", &uri("mimi://a.example")].concat()),
        ("ServerFrankingContext", context.clone()),
        ("FrankingIntegrityTBS", ["77".repeat(32).as_str(), "0001", &context].concat()),
        ("notify", commit),
        ("FanoutMessage", application),
        ("FanoutMessage", welcome),
        ("GroupInfoRequest", [group_info_request, "00 0133"].concat()),
        ("GroupInfoRequestTBS", [group_info_request, "01 0151"].concat()),
        ("GroupInfoResponse", [&answer, "0177"].concat()),
        ("GroupInfoResponse", ["01", &room, "03"].concat()),
        ("GroupInfoResponseTBS", answer),
        ("GroupInfoRatchetTreeTBE", [samples::GROUP_INFO, "03 00"].concat()),
        ("PendingProposal", [samples::PROPOSAL, "0000000000000102"].concat()),
        ("ConsentEntry", ["02", &alice, &bob, "01", &room, &vector(samples::KEY_PACKAGE), "04 f4b0 0101"].concat()),
        ("IdentifierRequest", "0c 02 03626f62 08 034f5247 0143 00".into()),
        ("QueryElement", "07 046e616d65 0142".into()),
        ("IdentifierResponse", ["00", &vector(&bob), &vector(&profile), "00"].concat()),
        ("UserProfile", profile),
        ("AbuseReport", ["00", &bob, "00 047370616d", &vector(&abusive), "00"].concat()),
        ("AbusiveMessage", abusive),
        ("MLSMessage", samples::APPLICATION.into()),
        ("MLSMessage", samples::PRIVATE_PROPOSAL.into()),
        ("MLSMessage", ["00010005", samples::KEY_PACKAGE].concat()),
        ("Welcome", samples::WELCOME.into()),
        ("KeyPackage", samples::KEY_PACKAGE.into()),
        ("GroupInfo", samples::GROUP_INFO.into()),
        ("ratchet_tree", samples::ratchet_tree_hex()),
        ("Credential", ["0001", &alice].concat()),
        ("Credential", "0002 03 02aabb".into()),
        ("Capabilities", "020001 020002 00 00 00".into()),
        ("RequiredCapabilities", "020006 0400080 00a 020001".into()),
        ("Extension", ["0006", &vector(&vector(&dictionary))].concat()),
        ("ExternalSender", ["0144 0001", &alice].concat()),
        ("HPKECiphertext", "025555 03666666".into()),
        ("AppDataDictionary", vector(&dictionary)),
        ("AppDataUpdate", ["0022 01", &vector(&["00 00", &vector(&pair)].concat())].concat()),
        ("AppDataUpdate", "0022 02".into()),
        ("AppEphemeral", "0005 01aa".into()),
        ("SafeAAD", format!("23 0020 20 {}", "77".repeat(32))),
        ("ComponentsList", "04 0020 0022".into()),
        ("AppAck", "0c 00000001 00000002 00000003".into()),
        ("MediaTypeList", "1a 0a 746578742f706c61696e 0e 07 63686172736574 05 7574662d38".into()),
        ("ApplicationFraming", ["00 00", &vector(&deletion)].concat()),
        ("ParticipantListData", vector(&pair)),
        ("ParticipantListUpdate", ["08 00000001 00000003 04 00000007", &vector(&pair)].concat()),
        ("RoomMetaData", metadata),
        ("OperationalParameters", operational),
        ("RoleData", vector(role)),
        ("PreAuthData", vector(&preauth)),
        ("BaseRoomPolicy", ["01 01", &vector(&room), "01 00 01 00000002 00 01 00 04 0025 0026"].concat()),
        ("StatusNotificationPolicy", "01 02".into()),
        ("JoinLinkPolicy", "01 016c 00 00000102".into()),
        ("JoinLinksData", "04 016c 016c".into()),
        ("JoinLinksUpdate", "04 00000007 02 016c".into()),
        ("LinkPreviewPolicy", "00 01 02 01 02 0170".into()),
        ("AssetPolicy", ["01 05 0161 02 0163 02 01 02 01 00 01", &"00".repeat(32), "05 03782f79 00 01 00"].concat()),
        ("LoggingPolicy", "01 02 0163 016d 0168".into()),
        ("ChatHistoryPolicy", "00 08 00000003 00000004 01 00000102".into()),
        ("BotPolicy", "0d 016e 0164 0168 01 00000007 00 01".into()),
        ("MessageExpirationPolicy", "01 00000001 00000102 01 00000003".into()),
        ("bridge_disclosure", "01 04 786d7070 02 09 612e6578616d706c65 00".into()),
        ("mimiContent", content("a3 01 6161 02 6162 20 f6", "83016000")),
        ("MessageStatusReport", report),
    ]
}

/// A content with salt 0, these extensions and this body.
fn content(extensions: &str, body: &str) -> String {
    format!("87 50 {} f6 40 f6 f6 {extensions} {body}", "00".repeat(16))
}

#[test]
fn every_kind_goes_there_and_back() {
    for (name, hex) in of_every_kind() {
        let kind = kind(name).unwrap();
        // A content whose sender and room are no URIs has no ID, which is remarked upon.
        let read = |octets: &[u8]| {
            let inspected = kind.read(octets, &Origin::default())?;
            Ok(if name == "mimiContent" { Inspected { remarks: Vec::new(), ..inspected } } else { inspected })
        };
        there_and_back(&octets(&hex), read, |tree| kind.write(tree));
    }
}

// Wherever one message ends, the body may end.
#[test]
fn a_body_of_several_messages_goes_there_and_back() {
    let samples = of_every_kind();
    let messages = samples.iter().filter(|(name, _)| *name == "FanoutMessage").map(|(_, hex)| octets(hex));
    let body: Vec<u8> = messages.flatten().collect();
    let inspected = kind("notify").unwrap().read(&body, &Origin::default()).unwrap();
    assert!(matches!(&inspected.tree, Tree::List(messages) if messages.len() == 2));
    assert_eq!(kind("notify").unwrap().write(&inspected.tree), Ok(body));
}

#[test]
fn there_is_a_sample_of_every_kind_and_every_kind_is_found_by_its_name() {
    let mut sampled: Vec<_> = of_every_kind().into_iter().map(|(name, _)| name).collect();
    sampled.dedup();
    let listed: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
    assert_eq!(sampled, listed);
    for listed in KINDS {
        assert!(std::ptr::eq(kind(listed.name).unwrap(), listed), "{} is there twice", listed.name);
    }
}

// The structs of the reference, §2, in its order.
#[test]
fn what_the_drafts_have_is_here_or_there_is_a_reason() {
    for name in [
        "KeyMaterialRequest KeyMaterialRequestTBS KeyMaterialResponse ClientKeyMaterial",
        "UpdateRequest HandshakeBundle GroupInfoOption UpdateRoomResponse RatchetTreeOption PartialGroupInfo",
        "SubmitMessageRequest SubmitMessageResponse Frank FrankAAD FrankingAgentData ServerFrankingContext",
        "FrankingIntegrityTBS FanoutMessage GroupInfoRequest GroupInfoRequestTBS GroupInfoResponse PendingProposal",
        "ExternalSender HPKECiphertext ConsentEntry IdentifierRequest QueryElement IdentifierResponse UserProfile",
        "AbuseReport AbusiveMessage AppDataDictionary AppDataUpdate AppEphemeral ComponentsList SafeAAD MediaTypeList",
        "ApplicationFraming AppAck ParticipantListData ParticipantListUpdate RoomMetaData RoleData PreAuthData",
        "mimi-content MLSMessage Welcome KeyPackage GroupInfo ratchet-tree",
    ]
    .iter()
    .flat_map(|names| names.split(' '))
    {
        assert!(kind(name).is_ok(), "{name}");
    }
    for (name, why) in MISSING {
        assert_eq!(kind(name).unwrap_err(), format!("{name} can't be inspected: {why}"));
    }
    let typo = kind("FanoutMesage").unwrap_err();
    assert!(typo.contains("did you mean FanoutMessage?"), "{typo}");
}

#[test]
fn a_fanout_reads_like_the_draft() {
    let safe_aad = vector(&format!("23 0020 20 {}", "77".repeat(32)));
    let message = ["0001 0002 0167 0000000000000005 01", &safe_aad, "02dddd 03cccccc"].concat();
    let body = octets(&["0000017edd1dcdbb", &message, "01", &"88".repeat(32), "0001 0199"].concat());
    let json = to_json(&kind("notify").unwrap().read(&body, &Origin::default()).unwrap().tree);
    let message = message.replace(' ', "");
    let (tag, frank) = ("77".repeat(32), "88".repeat(32));
    let expected = format!(
        r#"[
  {{
    "timestamp": 1644387225019,
    "message": {{
      "octets": "{message}",
      "_version": "mls10",
      "_wire_format": "mls_private_message",
      "_private_message": {{
        "group_id": {{
          "octets": "67",
          "_text": "g"
        }},
        "epoch": 5,
        "content_type": "application",
        "authenticated_data": {{
          "octets": "23002020{tag}",
          "_SafeAAD": {{
            "aad_items": [
              {{
                "component_id": 32,
                "aad_item_data": {{
                  "octets": "{tag}",
                  "_frank_aad": {{
                    "franking_tag": "{tag}"
                  }}
                }}
              }}
            ]
          }}
        }},
        "encrypted_sender_data": "dddd",
        "ciphertext": "cccccc"
      }}
    }},
    "frank": {{
      "server_frank": "{frank}",
      "franking_signature_ciphersuite": 1,
      "franking_integrity_signature": "99"
    }}
  }}
]"#
    );
    assert_eq!(json, expected);
}

#[test]
fn an_mls_message_is_followed_as_far_as_nobody_needs_a_key() {
    let inspected = kind("MLSMessage").unwrap().read(&octets(samples::COMMIT), &Origin::default()).unwrap();
    let Tree::Octets { about, .. } = inspected.tree else { panic!() };
    let expected = r#"{
  "version": "mls10",
  "wire_format": "mls_public_message",
  "public_message": {
    "content": {
      "group_id": {
        "octets": "67",
        "_text": "g"
      },
      "epoch": 5,
      "sender": {
        "sender_type": "new_member_commit"
      },
      "authenticated_data": {
        "octets": "00",
        "_SafeAAD": {
          "aad_items": []
        }
      },
      "content_type": "commit",
      "commit": {
        "proposals": [
          {
            "type": "proposal",
            "proposal": {
              "proposal_type": "external_init",
              "kem_output": "eeee"
            }
          }
        ],
        "path": null
      }
    },
    "auth": {
      "signature": "5252",
      "confirmation_tag": "5353"
    }
  }
}"#;
    assert_eq!(to_json(&Tree::Struct(about)), expected);
}

fn json_of(kind: &str, hex: &str) -> String {
    to_json(&self::kind(kind).unwrap().read(&octets(hex), &Origin::default()).unwrap().tree)
}

// The reference is SHA-256 over the label and the KeyPackage, each with its length (RFC 9420 §5.2), computed with
// another program.
#[test]
fn a_key_package_has_its_reference() {
    let json = json_of("KeyPackage", samples::KEY_PACKAGE);
    let reference = r#""_KeyPackageRef": "a696d89db339174d14016d394f1e9779ab1da67451377c54a6ae8f9716fd4328""#;
    assert!(json.contains(reference), "{json}");
}

#[test]
fn a_leaf_says_what_its_components_say() {
    let disclosure = format!("01 04 786d7070 02 09 {} 00", hex::encode("a.example"));
    let component = ["f4b0", &vector(&disclosure)].concat();
    let extension = ["0006", &vector(&vector(&component))].concat();
    let lifetime = "01 0000000000000001 0000000000000002";
    let no_extensions = format!("{lifetime} 00");
    assert!(samples::KEY_PACKAGE.contains(&no_extensions));
    let bridged = samples::KEY_PACKAGE.replace(&no_extensions, &[lifetime, &vector(&extension)].concat());
    let json = json_of("KeyPackage", &bridged);
    let expected = r#"
                  "_bridge_disclosure": {
                    "version": 1,
                    "network": "xmpp",
                    "security": "transport_encrypted",
                    "operator": "a.example",
                    "policy": ""
                  }
"#;
    assert!(json.contains(expected), "{json}");
}

fn why(kind: &str, hex: &str) -> String {
    self::kind(kind).unwrap().read(&octets(hex), &Origin::default()).unwrap_err().to_string()
}

#[test]
fn malformed_octets_are_malformed_somewhere_for_a_reason() {
    let users = [uri(ALICE), uri(BOB)].concat();
    for (kind, hex, expected) in [
        (
            "ConsentEntry",
            "",
            "at offset 0 (0x0), in consentOperation: the octets end too early; expected here: one of cancel (0), request (1), grant (2), revoke (3)",
        ),
        (
            "ConsentEntry",
            &["04", &users].concat(),
            "at offset 0 (0x0), in consentOperation: 4 is not a ConsentOperation; expected here: one of cancel (0), request (1), grant (2), revoke (3)",
        ),
        (
            "ConsentEntry",
            "00 18 6d696d69",
            "at offset 2 (0x2), in requesterUri: the octets end too early; expected here: a vector of 24 octets",
        ),
        (
            "ConsentEntry",
            "00 4018",
            "at offset 1 (0x1), in requesterUri: a vector length that is not minimal, or longer than four octets; expected here: the length of a vector, in as few octets as can be",
        ),
        (
            "ConsentEntry",
            &["00", &users, "02"].concat(),
            "at offset 49 (0x31), in roomId: 2 is not a presence octet or bool; expected here: 0 or 1",
        ),
        (
            "ConsentEntry",
            &["00", &users, "00 00 ffff"].concat(),
            "at offset 51 (0x33): 2 octets too many; expected here: the end",
        ),
        (
            "ParticipantListData",
            &vector(&[&uri(ALICE), "00000004", &uri(BOB), "0000"].concat()),
            "at offset 53 (0x35), in participants[1].role_index: the octets end too early; expected here: a uint32",
        ),
        (
            "ParticipantListData",
            &vector(&[&uri("mimi://a.example/r/tea"), "00000004"].concat()),
            r#"at offset 2 (0x2), in participants[0].user: "mimi://a.example/r/tea" is not a user URI: it should look like mimi://b.example/u/bob"#,
        ),
        (
            "SubmitMessageRequest",
            &["01", samples::PROPOSAL, "00"].concat(),
            "at offset 1 (0x1): what is submitted is application data in a PrivateMessage",
        ),
        (
            "HandshakeBundle",
            &[samples::COMMIT, "01 0001 27 20"].concat(),
            "at offset 36 (0x24), in welcome.secrets: malformed Welcome: the octets end too early; expected here: a vector of 39 octets",
        ),
        (
            "MLSMessage",
            "0001 0009 00",
            "at offset 2 (0x2), in wire_format: malformed MLSMessage: 9 is not a WireFormat; expected here: one of mls_public_message (1), mls_private_message (2), mls_welcome (3), mls_group_info (4), mls_key_package (5)",
        ),
        (
            "BotPolicy",
            "04 0161 01ff",
            "at offset 4 (0x4), in allowed_bots[0].description: a string that is not UTF-8; expected here: UTF-8",
        ),
        (
            "SubmitMessageRequest",
            "01 0001 0002 0167 00000000",
            "at offset 7 (0x7), in appMessage.private_message.epoch: malformed MLSMessage: the octets end too early; expected here: a uint64",
        ),
    ] {
        assert_eq!(why(kind, hex), expected);
    }
}

#[test]
fn malformed_content_is_malformed_at_an_item() {
    for (extensions, body, expected) in [
        (
            "a0",
            "8318016000",
            "at offset 24 (0x18): not deterministic CBOR: a number or length that is not in its shortest form, or of indefinite length",
        ),
        ("a0", "83190100 6000", "at offset 24 (0x18): not MIMI content: a disposition is one octet"),
        (
            "a1 60 6161",
            "83016000",
            "at offset 24 (0x18): not MIMI content: a text key of an extension has 1 to 255 octets",
        ),
        ("a0", "83016000 00", "at offset 27 (0x1b): not deterministic CBOR: octets after the item"),
    ] {
        assert_eq!(why("mimi-content", &content(extensions, body)), expected);
    }
}

fn why_not(kind: &str, json: &str) -> String {
    self::kind(kind).unwrap().write(&from_json(json.as_bytes()).unwrap()).unwrap_err().to_string()
}

#[test]
fn json_that_is_no_such_struct_is_told_so() {
    let profile = |field: &str| format!(r#"{{"stableUri": "{BOB}", "fields": [{field}]}}"#);
    for (kind, json, expected) in [
        ("RatchetTreeOption", "{}", "in representation: this field is missing"),
        ("RatchetTreeOption", "7", "in representation: a struct was expected, this is 7"),
        (
            "RatchetTreeOption",
            r#"{"representation": "fool"}"#,
            r#"in representation: one of full (1), httpsUri (2), outOfBand (3), distributionService (4) (or another number) was expected, this is "fool""#,
        ),
        (
            "RatchetTreeOption",
            r#"{"representation": "outOfBand", "tree": 1}"#,
            r#"there is no field "tree" here; there are: representation"#,
        ),
        (
            "RatchetTreeOption",
            r#"{"representation": 300}"#,
            "in representation: a number of at most 255 was expected, this is 300",
        ),
        (
            "UserProfile",
            &profile(r#"{"fieldSource": "vcardField", "fieldName": null, "fieldValue": ""}"#),
            "in fields[0].fieldName: a text was expected, this is nothing (null)",
        ),
        (
            "UserProfile",
            &profile(r#"{"fieldSource": "vcardField", "fieldName": "", "fieldValue": "0"}"#),
            "in fields[0].fieldValue: octets are written in hex: Odd number of digits",
        ),
        ("FrankAAD", r#"{"franking_tag": "00"}"#, "in franking_tag: 32 octets were expected, these are 1"),
        ("notify", "[]", "in [0]: one element is needed"),
        ("mimi-content", r#"{"salt": "00"}"#, "in salt: 16 octets were expected, these are 1"),
        (
            "UpdateRoomResponse",
            r#"{"responseCode": 2, "errorDescription": "", "currentEpoch": 1}"#,
            r#"there is no field "currentEpoch" here; there are: responseCode, errorDescription"#,
        ),
    ] {
        assert_eq!(why_not(kind, json), expected);
    }
    for json in ["-1", "1.5", r#"{"a": 1, "a": 1}"#, "", "[1", "1e3"] {
        assert!(from_json(json.as_bytes()).is_err(), "{json}");
    }
}

#[test]
fn what_we_only_tolerate_is_remarked_upon() {
    let wrapped = octets(&["01", &vector(samples::GROUP_INFO)].concat());
    let inspected = read::<crate::mimi::wire::GroupInfoOption>(&wrapped).unwrap();
    let expected = format!(
        "we tolerate this (D10, D59), but would write it otherwise from offset 1 (0x1) on: {}",
        hex::encode(octets(&["01", samples::GROUP_INFO].concat()))
    );
    assert_eq!(inspected.remarks, [expected]);
    let unknown = read::<crate::mimi::wire::UpdateRoomResponse>(&octets("09 00 abcd")).unwrap();
    assert_eq!(unknown.tree.get("_skipped"), Some(&Tree::octets(&[0xab, 0xcd])));
    assert_eq!(unknown.remarks.len(), 1);
}

#[test]
fn a_content_has_the_id_of_whoever_sent_it() {
    let octets = octets(&content("a0", "83016000"));
    let kind = kind("mimi-content").unwrap();
    let anonymous = kind.read(&octets, &Origin::default()).unwrap();
    assert_eq!(anonymous.tree.get("_messageId"), None);
    assert_eq!(anonymous.remarks, ["no message ID: it needs the sender and the room"]);
    let origin = Origin { sender: Some(ALICE.parse().unwrap()), room: Some(ROOM.parse().unwrap()) };
    let known = kind.read(&octets, &origin).unwrap();
    // SHA-256 over the lengths, the URIs, the octets and the salt, computed with another program.
    let id = "019d7155080dafed6db6c2017fadc7d640edd53e9e72fa3ecff8746bd35d230b";
    assert_eq!(known.tree.get("_messageId"), Some(&Tree::Text(id.into())));
    assert_eq!(known.remarks, [""; 0]);
}

#[test]
fn a_content_that_names_another_sender_is_remarked_upon() {
    let named = format!("a1 01 78 18 {}", hex::encode(ALICE));
    let origin = Origin { sender: Some(BOB.parse().unwrap()), room: Some(ROOM.parse().unwrap()) };
    let inspected = kind("mimi-content").unwrap().read(&octets(&content(&named, "83016000")), &origin).unwrap();
    assert!(inspected.tree.get("_messageId").is_some());
    assert_eq!(
        inspected.remarks,
        ["the content names another sender, mimi://a.example/u/alice, and is discarded for that (D36)"]
    );
}

#[test]
fn extensions_are_called_by_their_keys() {
    let extensions = "a5 01 6161 18 18 f6 20 00 61 62 6163 63 22 0a 5f 80";
    let inspected = kind("mimi-content").unwrap().read(&octets(&content(extensions, "83016000")), &Origin::default());
    let json = to_json(inspected.unwrap().tree.get("mimiExtensions").unwrap());
    let expected = r#"{
  "senderUri": "a",
  "24": "f6",
  "-1": "00",
  "\"b\"": {
    "octets": "6163",
    "_text": "c"
  },
  "\"\\\"\\n_\"": "80"
}"#;
    assert_eq!(json, expected);
}

/// What has D10, D59 or a component of ours in it; and a content may have no message ID. Nothing else may be read that
/// we would write otherwise.
const TOLERANT: [&str; 8] = [
    "UpdateRequest",
    "HandshakeBundle",
    "GroupInfoOption",
    "UpdateRoomResponse",
    "SubmitMessageResponse",
    "GroupInfoResponse",
    "bridge_disclosure",
    "mimiContent",
];

proptest! {
    #[test]
    fn any_octets_are_read_or_malformed_within(which in 0..KINDS.len(), octets: Vec<u8>) {
        match KINDS[which].read(&octets, &Origin::default()) {
            Ok(inspected) => { to_json(&inspected.tree); }
            Err(why) => prop_assert!(why.offset.is_some_and(|offset| offset <= octets.len()), "{}", why),
        }
    }

    /// Real octets with a few changed go deeper than noise does.
    #[test]
    fn damaged_octets_are_read_and_written_or_malformed_within(
        sample: prop::sample::Index,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let samples = of_every_kind();
        let (name, hex) = sample.get(&samples);
        let kind = kind(name).unwrap();
        let mut octets = octets(hex);
        for (at, octet) in changes {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        match kind.read(&octets, &Origin::default()) {
            Ok(Inspected { tree, remarks }) => {
                let tolerant = TOLERANT.contains(name);
                prop_assert!(tolerant || remarks.is_empty(), "{} {:?}", name, remarks);
                let again = kind.write(&from_json(to_json(&tree).as_bytes()).unwrap());
                prop_assert!(!remarks.is_empty() || again.as_ref() == Ok(&octets), "{} {:?}", name, again);
            }
            Err(why) => prop_assert!(why.offset.is_some_and(|offset| offset <= octets.len()), "{}", why),
        }
    }

    /// Two decoders of MLS agree on what is well-formed.
    #[test]
    fn what_openmls_reads_can_be_followed(
        sample in 0usize..8,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let tree = samples::ratchet_tree_hex();
        let (kind, hex) = [
            ("MLSMessage", samples::PROPOSAL),
            ("MLSMessage", samples::COMMIT),
            ("MLSMessage", samples::APPLICATION),
            ("MLSMessage", samples::PUBLIC_APPLICATION),
            ("Welcome", samples::WELCOME),
            ("GroupInfo", samples::GROUP_INFO),
            ("KeyPackage", samples::KEY_PACKAGE),
            ("ratchet_tree", tree.as_str()),
        ][sample];
        let mut octets = octets(hex);
        for (at, octet) in changes {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        if let Ok(Inspected { tree: Tree::Octets { about, .. }, .. }) =
            self::kind(kind).unwrap().read(&octets, &Origin::default())
        {
            let followed = about.iter().any(|(name, _)| name != "KeyPackageRef");
            prop_assert!(followed, "{} {}", kind, hex::encode(octets));
        }
    }

    #[test]
    fn any_json_is_written_or_refused(which in 0..KINDS.len(), json in ".*") {
        if let Ok(tree) = from_json(json.as_bytes()) {
            let _ = KINDS[which].write(&tree);
        }
    }
}
