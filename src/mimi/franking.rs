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
    content::MimiContent,
    framing::ApplicationFraming,
    tls::{Tls, WireError, tls_struct},
    uri::{ProviderUri, RoomUri, UserUri},
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

/// A message as a receiver has it, once it is decrypted and known to be of `sender`.
pub struct Received<'a> {
    pub room: &'a RoomUri,
    /// Whose client the leaf is that has sent it.
    pub sender: &'a UserUri,
    /// The fan-out's.
    pub timestamp: u64,
    pub authenticated_data: &'a [u8],
    pub application_data: &'a [u8],
    pub content: &'a MimiContent,
    pub frank: Option<&'a Frank>,
}

/// Why a message can't be reported with proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// The sender's doing: what they commit to is not what they say, so that nobody could ever prove it.
    #[error("its franking tag is of another content")]
    Tag,
    /// The hub's doing.
    #[error("its frank is false: {0}")]
    Frank(&'static str),
}

impl<'a> Received<'a> {
    /// The frank, if there is one and everything but the hub's MAC holds, in the order of P§5.4.1. `agent` is the room's
    /// franking_agent, and `verify` checks a signature with [`FrankingIntegrityTbs::LABEL`]: key, content, signature.
    pub fn check(
        &self,
        agent: &[u8],
        cipher_suite: CipherSuite,
        verify: impl FnOnce(&[u8], &[u8], &[u8]) -> bool,
    ) -> Result<Option<&'a Frank>, Unproven> {
        // A room can have an agent and no SafeAAD; then nobody there can commit to anything.
        let tag = match self.authenticated_data {
            [] => None,
            octets => FrankAad::find(octets).map_err(|_| Unproven::Tag)?,
        };
        let Some(tag) = tag else { return Ok(None) };
        // Without the hub's word there is nothing else to check, but a tag that is there has to be right.
        // Over the framed data as it is; others may have read the draft so that it is over what is in it (D32).
        let is = |data: &[u8]| tag.franking_tag == franking_tag(&self.content.salt, data);
        if !is(self.application_data) && !is(inner(self.application_data).as_ref()) {
            return Err(Unproven::Tag);
        }
        let Some(frank) = self.frank else { return Ok(None) };
        if frank.franking_signature_ciphersuite != cipher_suite {
            return Err(Unproven::Frank("it is of another cipher suite than the group"));
        }
        let agent = FrankingAgentData::decode(agent).map_err(|_| Unproven::Frank("the franking_agent is malformed"))?;
        if agent.credential.identity() != Some(ProviderUri::new(self.room.domain()).as_str().as_bytes()) {
            return Err(Unproven::Frank("the franking_agent is not the room's hub"));
        }
        let extensions = &self.content.extensions;
        if extensions.sender_uri() != Some(self.sender.as_str()) || extensions.room_uri() != Some(self.room.as_str()) {
            return Err(Unproven::Frank("the content does not name its sender and its room"));
        }
        let context = ServerFrankingContext {
            sender_uri: self.sender.clone(),
            room_uri: self.room.clone(),
            accepted_timestamp: self.timestamp,
        };
        let tbs = FrankingIntegrityTbs {
            server_frank: frank.server_frank,
            franking_signature_ciphersuite: frank.franking_signature_ciphersuite,
            context,
        };
        match verify(&agent.franking_signature_key, &tbs.encode(), &frank.franking_integrity_signature) {
            true => Ok(Some(frank)),
            false => Err(Unproven::Frank("its signature is not the franking_agent's")),
        }
    }
}

/// The hub's check of what is reported: is this what it has franked? `message_content` is the application data, framed
/// as it was or bare (D32).
pub fn is_genuine(
    hub_key: &[u8; 32],
    message_content: &[u8],
    frank: &Frank,
    context: &ServerFrankingContext,
) -> Option<MimiContent> {
    let inner = inner(message_content);
    let content = MimiContent::decode(&inner).ok()?;
    let named = (content.extensions.sender_uri(), content.extensions.room_uri());
    if named != (Some(context.sender_uri.as_str()), Some(context.room_uri.as_str())) {
        return None;
    }
    let is = |data: &[u8]| server_frank(hub_key, &franking_tag(&content.salt, data), context) == frank.server_frank;
    let genuine = is(message_content) || is(&inner) || is(&ApplicationFraming::mimi_content(inner.to_vec()).encode());
    genuine.then_some(content)
}

/// What is in the frame, if there is one.
fn inner(data: &[u8]) -> Bytes {
    match ApplicationFraming::decode(data) {
        Ok(framed) => framed.inner_application_content,
        Err(_) => Bytes::copy_from_slice(data),
    }
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
        content::{Disposition, Extensions, NestedPart},
        framing::MediaType,
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

    // The same vector from the receiver's side: the frank of the framed content, and everything that can be wrong.
    #[test]
    fn a_receiver_believes_a_frank_only_if_all_of_it_fits() {
        let (content, context) = (content(), context());
        let data = ApplicationFraming::mimi_content(content.encode()).encode();
        let aad = octets(&format!("23 0020 20 {TAG_FRAMED}"));
        let frank = frank(&hub_key(), &array(TAG_FRAMED), context.clone(), 1, |_| Ok::<_, Infallible>(vec![0xaa]));
        let frank = frank.unwrap();
        let agent = FrankingAgentData {
            franking_signature_key: Bytes::from_static(&[7]),
            credential: Credential::basic("mimi://example.com"),
        };
        let received = || Received {
            room: &context.room_uri,
            sender: &context.sender_uri,
            timestamp: context.accepted_timestamp,
            authenticated_data: &aad,
            application_data: &data,
            content: &content,
            frank: Some(&frank),
        };
        let signed = [FRANK_OF_FRAMED, "0001", &hex::encode(context.encode())].concat();
        let verify =
            |key: &[u8], tbs: &[u8], signature: &[u8]| key == [7] && hex::encode(tbs) == signed && signature == [0xaa];
        let agents = agent.encode();
        assert_eq!(received().check(&agents, 1, verify), Ok(Some(&frank)));
        assert_eq!(Received { frank: None, ..received() }.check(&agents, 1, verify), Ok(None));
        for without in [&[][..], &[0]] {
            let received = Received { authenticated_data: without, ..received() };
            assert_eq!(received.check(&agents, 1, verify), Ok(None));
        }

        // The tag of what is in the frame is one, too; one of another framing is not.
        let bare = octets(&format!("23 0020 20 {TAG_BARE}"));
        assert_eq!(
            Received { authenticated_data: &bare, frank: None, ..received() }.check(&agents, 1, verify),
            Ok(None)
        );
        let of_another = octets(&format!("23 0020 20 {TAG_FRAMED_WITH_EMPTY_TYPE}"));
        assert_eq!(
            Received { authenticated_data: &of_another, ..received() }.check(&agents, 1, verify),
            Err(Unproven::Tag)
        );
        assert_eq!(
            Received { authenticated_data: &[1], ..received() }.check(&agents, 1, verify),
            Err(Unproven::Tag),
            "no SafeAAD"
        );
        assert_eq!(
            Received { application_data: &data[1..], ..received() }.check(&agents, 1, verify),
            Err(Unproven::Tag)
        );

        let is_false = |found: Result<_, _>| matches!(found, Err(Unproven::Frank(_)));
        let somebody = "mimi://example.com/u/bob".parse().unwrap();
        let elsewhere = "mimi://example.com/r/tea".parse().unwrap();
        let anothers = FrankingAgentData { credential: Credential::basic("mimi://b.example"), ..agent };
        let another = Frank { server_frank: [0; 32], ..frank.clone() };
        assert!(is_false(received().check(&agents, 2, verify)), "suite");
        assert!(is_false(received().check(&anothers.encode(), 1, verify)), "agent");
        assert!(is_false(received().check(&[0], 1, verify)), "no agent");
        assert!(is_false(Received { timestamp: 1, ..received() }.check(&agents, 1, verify)), "time");
        assert!(is_false(Received { sender: &somebody, ..received() }.check(&agents, 1, verify)), "sender");
        assert!(is_false(Received { room: &elsewhere, ..received() }.check(&agents, 1, verify)), "room");
        assert!(is_false(Received { frank: Some(&another), ..received() }.check(&agents, 1, verify)), "frank");
    }

    #[test]
    fn a_hub_knows_what_it_has_franked_framed_or_bare() {
        let (content, context) = (content(), context());
        let bare = content.encode();
        let framed = ApplicationFraming::mimi_content(bare.clone()).encode();
        let of = |server_frank: &str| Frank {
            server_frank: array(server_frank),
            franking_signature_ciphersuite: 1,
            franking_integrity_signature: Bytes::new(),
        };
        for (data, frank) in
            [(&framed, FRANK_OF_FRAMED), (&bare, FRANK_OF_FRAMED), (&bare, FRANK_OF_BARE), (&framed, FRANK_OF_BARE)]
        {
            assert_eq!(is_genuine(&hub_key(), data, &of(frank), &context).as_ref(), Some(&content));
        }
        let later = ServerFrankingContext { accepted_timestamp: 1_644_387_225_020, ..context.clone() };
        let by_bob =
            ServerFrankingContext { sender_uri: "mimi://example.com/u/bob".parse().unwrap(), ..context.clone() };
        let mut changed = bare.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(is_genuine(&[0; 32], &framed, &of(FRANK_OF_FRAMED), &context), None, "another hub's");
        let another = "00".repeat(32);
        assert_eq!(is_genuine(&hub_key(), &framed, &of(&another), &context), None, "another frank");
        assert_eq!(is_genuine(&hub_key(), &framed, &of(FRANK_OF_FRAMED), &later), None, "another time");
        assert_eq!(is_genuine(&hub_key(), &framed, &of(FRANK_OF_FRAMED), &by_bob), None, "another sender");
        assert_eq!(is_genuine(&hub_key(), &changed, &of(FRANK_OF_FRAMED), &context), None, "other words");
        for length in 0..framed.len() {
            assert_eq!(is_genuine(&hub_key(), &framed[..length], &of(FRANK_OF_FRAMED), &context), None, "{length}");
        }
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
