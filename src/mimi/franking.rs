//! Franking: how a receiver can prove later what was sent, by whom and when (P§5.4.1).
//!
//! The sender commits to the content with a [`franking_tag`], which travels as authenticated data. The hub
//! binds the tag to sender, room and time with a MAC only it can check ([`server_frank`]), and signs that so
//! that followers can't change it ([`FrankingIntegrityTbs`]). The receiver checks everything but the MAC.
//!
//! Pure functions; whoever holds the key signs.

use bytes::Bytes;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::mimi::{
    component,
    tls::{Tls, WireError, tls_struct},
    uri::{RoomUri, UserUri},
    wire::{AppDataDictionary, CipherSuite, Credential, Frank},
};

/// The `frank_aad` item of the SafeAAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrankAad {
    pub franking_tag: [u8; 32],
}
tls_struct!(FrankAad { franking_tag });

impl FrankAad {
    /// The item in a message's `authenticated_data`, if it is there. In a room whose group has safe_aad, the
    /// whole of authenticated_data is a SafeAAD, with nothing behind it (D50); its items are sorted and
    /// unique, and look like a dictionary's.
    pub fn find(authenticated_data: &[u8]) -> Result<Option<Self>, WireError> {
        let items = AppDataDictionary::decode(authenticated_data)?;
        items.0.get(&component::FRANK_AAD).map(|item| Self::decode(item)).transpose()
    }
}

/// The `franking_agent` component: with which key the hub signs (D31).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrankingAgentData {
    pub franking_signature_key: Bytes,
    pub credential: Credential,
}
tls_struct!(FrankingAgentData { franking_signature_key, credential });

/// What the hub vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFrankingContext {
    pub sender_uri: UserUri,
    pub room_uri: RoomUri,
    /// In milliseconds since the start of the UNIX epoch.
    pub accepted_timestamp: u64,
}
tls_struct!(ServerFrankingContext { sender_uri, room_uri, accepted_timestamp });

/// What the hub signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrankingIntegrityTbs {
    pub server_frank: [u8; 32],
    /// The group's at the time.
    pub franking_signature_ciphersuite: CipherSuite,
    pub context: ServerFrankingContext,
}
tls_struct!(FrankingIntegrityTbs { server_frank, franking_signature_ciphersuite, context });

impl FrankingIntegrityTbs {
    /// For SignWithLabel.
    pub const LABEL: &str = "FrankingIntegrityTBS";
}

/// The sender's commitment to a message: over the application data of the MLS message as it is, framed or
/// not (D32), with the salt of the content in it as the key.
pub fn franking_tag(salt: &[u8; 16], application_data: &[u8]) -> [u8; 32] {
    hmac_sha256(salt, &[application_data])
}

/// The hub's MAC over a tag and its context.
pub fn server_frank(hub_key: &[u8; 32], franking_tag: &[u8; 32], context: &ServerFrankingContext) -> [u8; 32] {
    hmac_sha256(hub_key, &[franking_tag, &context.encode()])
}

/// Stamps a message. `sign` is SignWithLabel with the franking key and [`FrankingIntegrityTbs::LABEL`].
pub fn frank<E>(
    hub_key: &[u8; 32],
    franking_tag: &[u8; 32],
    context: ServerFrankingContext,
    cipher_suite: CipherSuite,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<Frank, E> {
    let server_frank = server_frank(hub_key, franking_tag, &context);
    let tbs = FrankingIntegrityTbs { server_frank, franking_signature_ciphersuite: cipher_suite, context };
    Ok(Frank {
        server_frank,
        franking_signature_ciphersuite: cipher_suite,
        franking_integrity_signature: sign(&tbs.encode())?.into(),
    })
}

fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::mimi::{
        content::{Disposition, Extensions, MimiContent, NestedPart},
        framing::{ApplicationFraming, MediaType},
        tls::Writer,
        wire::samples::octets,
    };

    // Everything here is reference vector §5.4, computed independently of this code: the content draft's
    // original message, accepted at the time it names, hub_key 00..1f.

    fn context() -> ServerFrankingContext {
        ServerFrankingContext {
            sender_uri: "mimi://example.com/u/alice-smith".parse().unwrap(),
            room_uri: "mimi://example.com/r/engineering_team".parse().unwrap(),
            accepted_timestamp: 1_644_387_225_019,
        }
    }

    fn content() -> MimiContent {
        let text = "Hi everyone, we just shipped release 2.0. __Good  work__!";
        let context = context();
        MimiContent {
            salt: array("5eed9406c2545547ab6f09f20a18b003"),
            replaces: None,
            topic_id: Vec::new(),
            expires: None,
            in_reply_to: None,
            extensions: Extensions::new(&context.sender_uri, &context.room_uri),
            nested_part: NestedPart::single(Disposition::RENDER, "text/markdown;variant=GFM-MIMI", text),
        }
    }

    fn array<const N: usize>(hex: &str) -> [u8; N] {
        octets(hex).try_into().unwrap()
    }

    fn hub_key() -> [u8; 32] {
        std::array::from_fn(|at| at as u8)
    }

    const TAG_BARE: &str = "a9a69f1d2fe6f37984190c093ecb8a10d647093db735fb7ba926bfdccff4c2bf";
    const TAG_FRAMED: &str = "cac50818a758d500a44109d35073e0ce59d35c81f68eaf911c5b930d014034d0";
    const TAG_FRAMED_WITH_EMPTY_TYPE: &str = "728037c40a60ea96a1d2b15c43fca2415728e15f9f9a8114c52660c287688813";
    const FRANK_OF_FRAMED: &str = "be7478355d4b9b8077360e58123a7a8eecfa72c78abe5707aa64be06d9986bc2";
    const FRANK_OF_BARE: &str = "395d272f8a11846200e6c5cece361210556ac6981b2f6462c29ad92bbcba8609";

    #[test]
    fn a_tag_commits_to_the_application_data_as_it_is() {
        let (content, salt) = (content().encode(), content().salt);
        assert_eq!(content.len(), 193);
        assert_eq!(hex::encode(franking_tag(&salt, &content)), TAG_BARE);
        let framed = ApplicationFraming::mimi_content(content);
        assert_eq!(hex::encode(franking_tag(&salt, &framed.encode())), TAG_FRAMED);
        let untyped = ApplicationFraming { media_type: MediaType::new(""), ..framed };
        assert_eq!(hex::encode(franking_tag(&salt, &untyped.encode())), TAG_FRAMED_WITH_EMPTY_TYPE);
    }

    #[test]
    fn the_context_has_these_octets() {
        let sender = hex::encode("mimi://example.com/u/alice-smith");
        let room = hex::encode("mimi://example.com/r/engineering_team");
        assert_eq!(context().encode(), octets(&format!("20 {sender} 25 {room} 0000017edd1dcdbb")));
    }

    #[test]
    fn the_hub_binds_the_tag_to_its_context() {
        let frank = |tag| hex::encode(server_frank(&hub_key(), &array(tag), &context()));
        assert_eq!(frank(TAG_FRAMED), FRANK_OF_FRAMED);
        assert_eq!(frank(TAG_BARE), FRANK_OF_BARE);
    }

    #[test]
    fn what_the_hub_signs_has_these_octets() {
        let context_hex = hex::encode(context().encode());
        let frank = frank(&hub_key(), &array(TAG_FRAMED), context(), 1, |tbs| {
            assert_eq!(tbs.len(), 113);
            assert_eq!(hex::encode(tbs), [FRANK_OF_FRAMED, "0001", &context_hex].concat());
            Ok::<_, Infallible>(vec![0xaa])
        });
        let frank = frank.unwrap();
        assert_eq!(hex::encode(frank.server_frank), FRANK_OF_FRAMED);
        assert_eq!(frank.franking_signature_ciphersuite, 1);
        assert_eq!(frank.franking_integrity_signature, &[0xaa][..]);
    }

    // SignContent of RFC 9420 §5.1.2, signed by the Ed25519 key pair whose private half is 32 octets of 07.
    #[test]
    fn the_signature_of_the_hub_is_this_one() {
        use openmls_basic_credential::SignatureKeyPair;
        use openmls_traits::{signatures::Signer, types::SignatureScheme};
        use sha2::Digest;

        let public = octets("ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c");
        let key_pair = SignatureKeyPair::from_raw(SignatureScheme::ED25519, vec![7; 32], public);
        let frank = frank(&hub_key(), &array(TAG_FRAMED), context(), 1, |tbs| {
            let mut sign_content = Writer::default();
            sign_content.vector(format!("MLS 1.0 {}", FrankingIntegrityTbs::LABEL).as_bytes());
            sign_content.vector(tbs);
            let sign_content = sign_content.into_octets();
            let digest = Sha256::digest(&sign_content);
            assert_eq!(hex::encode(digest), "94aa4e2bc0ad253962a2b87887c62045e2b3eb16674460c1a4609f323067db23");
            key_pair.sign(&sign_content)
        });
        assert_eq!(
            hex::encode(frank.unwrap().franking_integrity_signature),
            "f55ac95f5d5d67b7437dc5ed71cb4d15fb1f1139876c5bef976c7302f2f0c14fbd502b869db351f21a001045db7c8c265bbde5237e4a25ae29b4bcd91d5fc600"
        );
    }

    // Reference vector §5.4 as well: one item of the SafeAAD, with the tag as its data.
    #[test]
    fn the_tag_is_the_whole_of_the_aad_item() {
        let item = FrankAad { franking_tag: array(TAG_FRAMED) };
        assert_eq!(hex::encode(item.encode()), TAG_FRAMED);
        assert_eq!(FrankAad::decode(&octets(TAG_FRAMED)), Ok(item));
        assert!(FrankAad::decode(&[0; 31]).is_err());
        assert!(FrankAad::decode(&[0; 33]).is_err());
    }

    #[test]
    fn the_hub_finds_the_tag_in_the_authenticated_data() {
        let item = FrankAad { franking_tag: array(TAG_FRAMED) };
        assert_eq!(FrankAad::find(&octets(&format!("23 0020 20 {TAG_FRAMED}"))), Ok(Some(item)));
        assert_eq!(FrankAad::find(&octets("00")), Ok(None));
        assert!(FrankAad::find(&[]).is_err());
        assert!(FrankAad::find(&octets(&format!("23 0020 20 {TAG_FRAMED} 00"))).is_err(), "a tail");
        assert!(FrankAad::find(&octets("04 0020 01 00")).is_err(), "a tag of one octet");
    }

    #[test]
    fn the_agent_is_a_key_and_who_holds_it() {
        let agent = FrankingAgentData {
            franking_signature_key: Bytes::from_static(&[1, 2]),
            credential: Credential::basic("mimi://a.example"),
        };
        let expected = format!("020102 0001 10 {}", hex::encode("mimi://a.example"));
        crate::mimi::wire::samples::hold(&agent, &octets(&expected));
    }
}
