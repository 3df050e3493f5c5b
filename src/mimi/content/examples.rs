//! The fourteen examples of the content draft, built from the field values printed there. The expected
//! message IDs are the draft's own.

use super::*;
use crate::{inspect, mimi::tls::Tree};

const ORIGINAL: &str = "017ce54837404c3696e0c747b985cb172716d0ed0a3d249ca63ace7d82a096f4";
const REPLY: &str = "015354973c2b65ca937bf1e035ae53a5ab80e947afa43d46920d4202e5cc0b27";
const REACTION: &str = "0158c4288911e50a8f6be3f47746b6682f10fd91bc8c05557aa589a3157aff68";

const ALICE: &str = "mimi://example.com/u/alice-smith";
const BOB: &str = "mimi://example.com/u/bob-jones";
const CATHY: &str = "mimi://example.com/u/cathy-washington";
const ROOM: &str = "mimi://example.com/r/engineering_team";

const GFM: &str = "text/markdown;variant=GFM-MIMI";
const PLAIN: &str = "text/plain;charset=utf-8";
const HTML: &str = "text/html;charset=utf-8";

fn message(sender: &str, salt: &str, nested_part: NestedPart) -> MimiContent {
    let (sender, room) = (UserUri::parse(sender).unwrap(), RoomUri::parse(ROOM).unwrap());
    MimiContent {
        salt: octets(salt).try_into().unwrap(),
        replaces: None,
        topic_id: Vec::new(),
        expires: None,
        in_reply_to: None,
        extensions: Extensions::new(&sender, &room),
        nested_part,
    }
}

fn octets(hex: &str) -> Vec<u8> {
    hex::decode(hex).unwrap()
}

fn id(hex: &str) -> Option<MessageId> {
    Some(hex.parse().unwrap())
}

fn part(disposition: u8, language: &str, content_type: &str, content: impl Into<Vec<u8>>) -> NestedPart {
    let part = Part::Single { content_type: content_type.into(), content: content.into() };
    NestedPart { disposition: Disposition(disposition), language: language.into(), part }
}

fn multi(disposition: u8, semantics: PartSemantics, parts: Vec<NestedPart>) -> NestedPart {
    NestedPart {
        disposition: Disposition(disposition),
        language: String::new(),
        part: Part::Multi { semantics, parts },
    }
}

/// Encodes, compares the ID with the draft's, and reads the message back.
#[track_caller]
fn is_called(content: MimiContent, expected: &str) {
    let octets = content.encode();
    let sender = UserUri::parse(content.extensions.sender_uri().unwrap()).unwrap();
    let room = RoomUri::parse(content.extensions.room_uri().unwrap()).unwrap();
    assert_eq!(message_id(&sender, &room, &octets, &content.salt).to_string(), expected);
    assert_eq!(MimiContent::decode(&octets), Ok(content));
    let kind = inspect::kind("mimi-content").unwrap();
    let inspected = kind.read(&octets, &inspect::Origin::default()).unwrap();
    assert_eq!(inspected.tree.get("_messageId"), Some(&Tree::Text(expected.into())));
    inspect::tests::there_and_back(&octets, |octets| kind.read(octets, &Default::default()), |tree| kind.write(tree));
}

pub(super) fn original() -> MimiContent {
    let text = "Hi everyone, we just shipped release 2.0. __Good  work__!";
    message(ALICE, "5eed9406c2545547ab6f09f20a18b003", part(1, "", GFM, text))
}

#[test]
fn the_original() {
    is_called(original(), ORIGINAL);
}

#[test]
fn the_reply() {
    let text = "Right on! _Congratulations_ 'all!";
    let reply = message(BOB, "11a458c73b8dd2cf404db4b378b8fe4d", part(1, "", GFM, text));
    is_called(MimiContent { in_reply_to: id(ORIGINAL), ..reply }, REPLY);
}

// The draft's prose says U+2665, its octets are U+2764.
#[test]
fn the_reaction() {
    let heart = part(2, "", PLAIN, "\u{2764}");
    let reaction = message(CATHY, "d37bc0e6a8b4f04e9e6382375f587bf6", heart);
    is_called(MimiContent { in_reply_to: id(ORIGINAL), ..reaction }, REACTION);
}

#[test]
fn the_mention() {
    let text = "Kudos to [@Alice Smith](mimi://example.com/u/alice-smith) for making the release happen!";
    let mention = message(CATHY, "04f290e215d0f82d1750bfa8b7dc089d", part(1, "", GFM, text));
    is_called(
        MimiContent { in_reply_to: id(ORIGINAL), ..mention },
        "018d825adf9f6be00dcafc5704c4102f5022e74219d0b603e4ba7622654042af",
    );
}

#[test]
fn the_mention_in_html() {
    let text =
        r#"<p>Kudos to <a href="mimi://example.com/u/alice-smith">@Alice Smith</a> for making the release happen!</p>"#;
    let mention = message(CATHY, "15d9705fd5bf5e02b0af47c85f8b98fe", part(1, "", HTML, text));
    is_called(
        MimiContent { in_reply_to: id(ORIGINAL), ..mention },
        "01967ff8e9a66819738ad5cf26d2e0388a3b81d86b0f61d129c077d043ee2a4e",
    );
}

#[test]
fn the_edit() {
    let text = "Right on! _Congratulations_ y'all!";
    let edit = message(BOB, "b8c2e6d8800ecf45df39be6c45f4c042", part(1, "", GFM, text));
    is_called(
        MimiContent { replaces: id(REPLY), in_reply_to: id(ORIGINAL), ..edit },
        "014028c0deddbdea56bec26172f6ede953d11024cb82b8192b5e2aea62d7fb47",
    );
}

#[test]
fn the_deletion() {
    let delete = message(BOB, "0a590d73b2c7761c39168be5ebf7f2e6", NestedPart::null(Disposition::RENDER));
    is_called(
        MimiContent { replaces: id(REPLY), in_reply_to: id(ORIGINAL), ..delete },
        "011d9efc78d04d4dcf4d82b07d5199bbef37011c1f0c7e004b6111c6dda504b4",
    );
}

#[test]
fn the_unlike() {
    let unlike = message(CATHY, "c5ba86dc9fd272e58ca52ec805b79199", NestedPart::null(Disposition::REACTION));
    is_called(
        MimiContent { replaces: id(REACTION), in_reply_to: id(ORIGINAL), ..unlike },
        "013aadbb8f313253c8930f4e93c6ca54b2ed06d258185bdcec3870534c8a4ec4",
    );
}

#[test]
fn the_expiring_message() {
    let text = "__*VPN GOING DOWN*__ I'm rebooting the VPN in ten minutes unless anyone objects.";
    let expiring = message(ALICE, "33be993eb39f418f9295afc2ae160d2d", part(1, "", GFM, text));
    is_called(
        MimiContent { expires: Some(Expiration::Absolute(1_644_390_004)), ..expiring },
        "01e59db8173939facc2c8a4a0f0ae8d0c7a11a81239626630c9464a8d6717a03",
    );
}

#[test]
fn the_attachment() {
    let video = ExternalPart {
        content_type: "video/mp4".into(),
        url: "https://example.com/storage/8ksB4bSrrRE.mp4".into(),
        expires: 0,
        size: 708_234_961,
        enc_alg: 1,
        key: octets("21399320958a6f4c745dde670d95e0d8"),
        nonce: octets("c86cf2c33f21527d1dd76f5b"),
        aad: Vec::new(),
        hash_alg: 1,
        content_hash: octets("9ab17a8cf0890baaae7ee016c7312fcc080ba46498389458ee44f0276e783163"),
        description: "2 hours of key signing video".into(),
        filename: "bigfile.mp4".into(),
    };
    let part = Part::External(Box::new(video));
    let part = NestedPart { disposition: Disposition::ATTACHMENT, language: "en".into(), part };
    is_called(
        message(BOB, "18fac6371e4e53f1aeaf8a013155c166", part),
        "0176180c7d19a925021fe446d241134d05c38e0d999cdc0f39c391d2377ed9d1",
    );
}

#[test]
fn the_conference() {
    let call = ExternalPart {
        content_type: String::new(),
        url: "https://example.com/join/12345".into(),
        expires: 0,
        size: 0,
        enc_alg: 0,
        key: Vec::new(),
        nonce: Vec::new(),
        aad: Vec::new(),
        hash_alg: 0,
        content_hash: Vec::new(),
        description: "Join the Foo 118 conference".into(),
        filename: String::new(),
    };
    let part = Part::External(Box::new(call));
    let part = NestedPart { disposition: Disposition::SESSION, language: String::new(), part };
    let conference = message(ALICE, "678ac6cd54de049c3e9665cd212470fa", part);
    is_called(
        MimiContent { topic_id: b"Foo 118".to_vec(), ..conference },
        "01496d15a8dba28d7397f9868b70768e4a67f765d5b5b1ae9e03848c5fdeb0ba",
    );
}

#[test]
fn the_alternatives() {
    let fancy = "application/vnd.examplevendor-fancy-im-message";
    let parts = vec![part(1, "", GFM, "# Welcome!"), part(1, "", fancy, octets("dc861ebaa718fd7c3ca159f71a2001"))];
    is_called(
        message(ALICE, "261c953e178af653fe3d42641b91d814", multi(1, PartSemantics::ChooseOne, parts)),
        "01da5a515ec5db42cc4dcc19b90c3c31245d8a1cfcce11318f24eb11dce0990e",
    );
}

#[test]
fn the_three_reactions() {
    let parts = ["e29da4", "f09fa5b3", "f09fa49e"].map(|emoji| part(2, "", PLAIN, octets(emoji)));
    is_called(
        message(ALICE, "8528dc2d92e4f1944d62042907ab94d0", multi(2, PartSemantics::ProcessAll, parts.into())),
        "01d65918c6c51c8e76546337276ae6f4bfd873d867d5cb57c76bcdca3d999dd7",
    );
}

/// In two languages, with one of two images.
pub(super) fn nested() -> MimiContent {
    let page = |title: &str, alt: &str, image: usize| {
        format!("<html><body><h1>{title}</h1>\n<img src=\"cid:{image}@local.invalid\" alt=\"{alt}\"/>\n</body></html>")
    };
    let version = |image_index: usize, image_type: &str, image: &str| {
        let english = part(1, "en", HTML, page("Welcome!", "Welcome image", image_index));
        let french = part(1, "fr", HTML, page("Bienvenue!", "Image bienvenue", image_index));
        let pages = multi(1, PartSemantics::ChooseOne, vec![english, french]);
        multi(1, PartSemantics::ProcessAll, vec![pages, part(4, "", image_type, octets(image))])
    };
    let gif = version(5, "image/gif", "dc861ebaa718fd7c3ca159f71a2001a7");
    let png = version(10, "image/png", "fa444237451a05a72bb0f67037cc1669");
    let body = multi(1, PartSemantics::ChooseOne, vec![gif, png]);
    message(ALICE, "b8362793168d18c049b882d4642a2274", body)
}

#[test]
fn the_nested_one() {
    is_called(nested(), "01cfebeadbdb83c1eefb6403ba4852daf8bbbf9cd53bf5035a74d5d741950c9f");
}
