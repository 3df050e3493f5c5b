//! Oblivious HTTP (RFC 9458): requests that a gateway opens without learning which client made them, in the binary
//! form of RFC 9292.
//!
//! The client of ours that asks and the relay that RFC 9458 puts between it and a gateway are one process here: what
//! leaves it has nothing in it of who asked, and the room's hub sees our provider and no more (D33).
//!
//! A message is encrypted in one piece, so a file that comes this way is in memory as a whole, at both ends and a few
//! times over. That is why it has a limit of its own ([`WHOLE`]); RFC 9458 knows no stream.

use std::{io::Cursor, time::Duration};

use bhttp::{Message, Mode, StatusCode as BinaryStatus};
use http::StatusCode;
use ohttp::{
    ClientRequest, ClientResponse, KeyConfig, Server, ServerResponse, SymmetricSuite,
    hpke::{Aead, Kdf, Kem},
};

use super::AssetUrl;

/// Where a gateway is on its host (RFC 9540 §4).
pub const WELL_KNOWN: &str = "/.well-known/ohttp-gateway";

/// RFC 9458 §9.
pub const KEYS: &str = "application/ohttp-keys";
pub const REQUEST: &str = "message/ohttp-req";
pub const RESPONSE: &str = "message/ohttp-res";

/// The largest file that comes in one piece, in octets.
pub const WHOLE: usize = 16 << 20;
/// The largest request: a URL, and some room for header fields that we don't read.
pub const REQUEST_LIMIT: usize = 16 << 10;
/// What a file grows by: the response's status and lengths, the nonce, the tag.
pub const RESPONSE_LIMIT: usize = WHOLE + 1024;
pub const KEYS_LIMIT: usize = 16 << 10;
/// How long a gateway tries to have a file whole.
pub const TIME: Duration = Duration::from_secs(60);

/// The body by which a client knows that it has an old key (RFC 9458 §5.3).
pub const KEY_PROBLEM: &str =
    r#"{"type":"https://iana.org/assignments/http-problem-types#ohttp-key","title":"this key is not known here"}"#;

const SUITES: [SymmetricSuite; 2] = [
    SymmetricSuite::new(Kdf::HkdfSha256, Aead::Aes128Gcm),
    SymmetricSuite::new(Kdf::HkdfSha256, Aead::ChaCha20Poly1305),
];

/// What is not what it should be. Whoever made it is at fault, and trying again does not help.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(&'static str);

/// A key of our gateway, and what it encrypts with.
pub struct GatewayKey(Server);

impl GatewayKey {
    /// The same for the same `material` (RFC 9180 §7.1.3), of which 32 octets of chance are needed.
    pub fn derive(id: u8, material: &[u8; 32]) -> Self {
        let config = KeyConfig::derive(id, Kem::X25519Sha256, SUITES.to_vec(), material)
            .and_then(Server::new)
            .expect("X25519 takes any key material, and both suites");
        Self(config)
    }

    /// `application/ohttp-keys`, with this key alone.
    pub fn config(&self) -> Vec<u8> {
        KeyConfig::encode_list(&[self.0.config()]).expect("a public key of X25519 can be encoded")
    }

    /// What is asked for, and how to answer.
    pub fn open(&self, request: &[u8]) -> Result<(Asked, Sealing), Malformed> {
        let (request, sealing) =
            self.0.decapsulate(request).map_err(|_| Malformed("it is not encrypted for this key"))?;
        Ok((Asked::read(&request), Sealing(sealing)))
    }
}

/// The number of the key that a request is for.
pub fn key_id(request: &[u8]) -> Option<u8> {
    request.first().copied()
}

/// What was inside.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    File(AssetUrl),
    /// Something else, which is answered with this.
    Not(StatusCode),
}

impl Asked {
    fn read(request: &[u8]) -> Self {
        let Ok(request) = Message::read_bhttp(&mut Cursor::new(request)) else {
            return Self::Not(StatusCode::BAD_REQUEST);
        };
        let control = request.control();
        let text = |part: Option<&[u8]>| part.and_then(|part| String::from_utf8(part.to_vec()).ok());
        let (Some(method), Some(scheme), Some(authority), Some(path)) =
            (text(control.method()), text(control.scheme()), text(control.authority()), text(control.path()))
        else {
            return Self::Not(StatusCode::BAD_REQUEST);
        };
        if method != "GET" {
            return Self::Not(StatusCode::METHOD_NOT_ALLOWED);
        }
        // RFC 9292 §3.4: without an authority it would be in a Host field, which clients of ours never do.
        match AssetUrl::parse(&format!("{scheme}://{authority}{path}")) {
            Ok(url) if path.starts_with('/') => Self::File(url),
            _ => Self::Not(StatusCode::BAD_REQUEST),
        }
    }
}

/// Encrypts one answer for whoever has asked.
pub struct Sealing(ServerResponse);

impl Sealing {
    /// `message/ohttp-res`. `content` is within [`WHOLE`].
    pub fn seal(self, status: StatusCode, content: &[u8]) -> Vec<u8> {
        let status = BinaryStatus::try_from(status.as_u16()).expect("it is an HTTP status of three digits");
        let mut response = Message::response(status);
        response.write_content(content);
        self.0.encapsulate(&binary(&response)).expect("one message is within what a key can encrypt")
    }
}

/// A GET of `url` for the gateway with these keys (`application/ohttp-keys`), and what opens the answer.
pub fn enclose(keys: &[u8], url: &AssetUrl) -> Result<(Vec<u8>, Opening), Malformed> {
    let keys = KeyConfig::decode_list(keys).map_err(|_| Malformed("its key configurations can't be read"))?;
    // The gateway's order is its preference.
    let mut key = keys.into_iter().next().ok_or(Malformed("it has no key that is known here"))?;
    let (authority, path) = url.authority_and_path();
    let request = Message::request(b"GET".to_vec(), b"https".to_vec(), authority.into(), path.into());
    let enclosed = ClientRequest::from_config(&mut key).and_then(|client| client.encapsulate(&binary(&request)));
    let (request, opening) = enclosed.map_err(|_| Malformed("nothing can be encrypted for its key"))?;
    Ok((request, Opening(opening)))
}

/// Opens the one answer to a request.
pub struct Opening(ClientResponse);

impl Opening {
    pub fn open(self, response: &[u8]) -> Result<(StatusCode, Vec<u8>), Malformed> {
        let response = self.0.decapsulate(response).map_err(|_| Malformed("its answer can't be decrypted"))?;
        let unreadable = Malformed("its answer is not a response");
        let Ok(response) = Message::read_bhttp(&mut Cursor::new(response)) else { return Err(unreadable) };
        let status = response.control().status().and_then(|status| StatusCode::from_u16(status.code()).ok());
        Ok((status.ok_or(unreadable)?, response.content().to_vec()))
    }
}

fn binary(message: &Message) -> Vec<u8> {
    let mut octets = Vec::with_capacity(message.content().len() + 256);
    message.write_bhttp(Mode::KnownLength, &mut octets).expect("a Vec takes everything");
    octets
}

#[cfg(test)]
mod tests {
    use aes_gcm::{
        Aes128Gcm, KeyInit,
        aead::{Aead as _, Payload},
    };
    use hkdf::Hkdf;
    use hpke_rs::{
        Hpke, HpkePrivateKey, HpkePublicKey, Mode as HpkeMode,
        hpke_types::{AeadAlgorithm, KdfAlgorithm, KemAlgorithm},
    };
    use hpke_rs_rust_crypto::HpkeRustCrypto;
    use sha2::Sha256;

    use super::*;

    /// RFC 9458, by its text and another HPKE.
    struct Stranger(hpke_rs::Context<HpkeRustCrypto>, Vec<u8>);

    fn hpke() -> Hpke<HpkeRustCrypto> {
        Hpke::new(HpkeMode::Base, KemAlgorithm::DhKem25519, KdfAlgorithm::HkdfSha256, AeadAlgorithm::Aes128Gcm)
    }

    fn info(header: &[u8]) -> Vec<u8> {
        [b"message/bhttp request\0", header].concat()
    }

    impl Stranger {
        /// §4.3, as a gateway.
        fn opens(private: &[u8], request: &[u8]) -> (Self, Vec<u8>) {
            let (header, rest) = request.split_at(7);
            let (encapsulated, ciphertext) = rest.split_at(32);
            let private = HpkePrivateKey::new(private.to_vec());
            let mut context = hpke().setup_receiver(encapsulated, &private, &info(header), None, None, None).unwrap();
            let request = context.open(&[], ciphertext).unwrap();
            (Self(context, encapsulated.to_vec()), request)
        }

        /// §4.3, as a client that has read a key configuration: id, KEM, key, suites.
        fn encloses(config: &[u8], request: &[u8]) -> (Self, Vec<u8>) {
            let header = [&config[..3], &[0, 1, 0, 1]].concat();
            let public = HpkePublicKey::new(config[3..35].to_vec());
            let (encapsulated, mut context) = hpke().setup_sender(&public, &info(&header), None, None, None).unwrap();
            let ciphertext = context.seal(&[], request).unwrap();
            let request = [&header[..], &encapsulated[..], &ciphertext[..]].concat();
            (Self(context, encapsulated), request)
        }

        /// §4.4: key and nonce of an answer.
        fn keys(&self, nonce: &[u8]) -> (Aes128Gcm, [u8; 12]) {
            let secret = self.0.export(b"message/bhttp response", 16).unwrap();
            let hkdf = Hkdf::<Sha256>::new(Some(&[&self.1[..], nonce].concat()), &secret);
            let (mut key, mut iv) = ([0; 16], [0; 12]);
            hkdf.expand(b"key", &mut key).unwrap();
            hkdf.expand(b"nonce", &mut iv).unwrap();
            (Aes128Gcm::new_from_slice(&key).unwrap(), iv)
        }

        fn answers(&self, nonce: &[u8; 16], response: &[u8]) -> Vec<u8> {
            let (cipher, iv) = self.keys(nonce);
            [&nonce[..], &cipher.encrypt(&iv.into(), Payload { msg: response, aad: b"" }).unwrap()].concat()
        }

        fn hears(&self, response: &[u8]) -> Vec<u8> {
            let (nonce, ciphertext) = response.split_at(16);
            let (cipher, iv) = self.keys(nonce);
            cipher.decrypt(&iv.into(), Payload { msg: ciphertext, aad: b"" }).unwrap()
        }
    }

    fn octets(hex: &str) -> Vec<u8> {
        hex::decode(hex).unwrap()
    }

    fn url(url: &str) -> AssetUrl {
        AssetUrl::parse(url).unwrap()
    }

    // RFC 9458, appendix A.
    const PRIVATE: &str = "3c168975674b2fa8e465970b79c8dcf09f1c741626480bd4c6162fc5b6a98e1a";
    const CONFIG: &str = "01002031e1f05a740102115220e9af918f738674aec95f54db6e04eb705aae8e79815500080001000100010003";
    const ASKED: &str = "00034745540568747470730b6578616d706c652e636f6d012f";
    const ENCLOSED: &str = "010020000100014b28f881333e7c164ffc499ad9796f877f4e1051ee6d31bad19dec96c208b4726374e46913590\
        6992e1268c594d2a10c695d858c40a026e7965e7d86b83dd440b2c0185204b4d63525";
    const ANSWER: &str = "0140c8";
    const SEALED: &str = "c789e7151fcba46158ca84b04464910d86f9013e404feea014e7be4a441f234f857fbd";

    #[test]
    fn the_stranger_has_the_example_of_the_rfc() {
        let (stranger, request) = Stranger::opens(&octets(PRIVATE), &octets(ENCLOSED));
        assert_eq!(hex::encode(request), ASKED);
        let nonce = octets(&SEALED[..32]).try_into().unwrap();
        assert_eq!(hex::encode(stranger.answers(&nonce, &octets(ANSWER))), SEALED);
    }

    #[test]
    fn what_we_enclose_a_stranger_opens_and_what_they_answer_we_open() {
        let list = [&[0, 45][..], &octets(CONFIG)].concat();
        let (request, opening) = enclose(&list, &url("https://example.com/")).unwrap();
        let (stranger, asked) = Stranger::opens(&octets(PRIVATE), &request);
        // RFC 9292 §3.8: empty sections at the end may be left out, as the example does.
        assert_eq!(hex::encode(asked), format!("{ASKED}000000"));
        let answer = stranger.answers(&[7; 16], &octets("0140c8 00 05 5465612e21".replace(' ', "").as_str()));
        assert_eq!(opening.open(&answer).unwrap(), (StatusCode::OK, b"Tea.!".to_vec()));
    }

    #[test]
    fn what_a_stranger_encloses_we_open_and_what_we_answer_they_open() {
        let key = GatewayKey::derive(200, &[3; 32]);
        let list = key.config();
        // The length of the only one, which has the shape of the example's.
        assert_eq!((&list[..2], list.len()), (&[0, 45][..], 47));
        assert_eq!((&list[2..5], &list[37..]), (&[200, 0, 0x20][..], &octets(CONFIG)[35..]));
        let (stranger, request) = Stranger::encloses(&list[2..], &octets(ASKED));
        assert_eq!(key_id(&request), Some(200));
        let (asked, sealing) = key.open(&request).unwrap();
        assert_eq!(asked, Asked::File(url("https://example.com/")));
        let answer = sealing.seal(StatusCode::NOT_FOUND, b"No.");
        assert_eq!(hex::encode(stranger.hears(&answer)), "014194 00 03 4e6f2e 00".replace(' ', ""));
    }

    #[test]
    fn the_whole_url_crosses() {
        let key = GatewayKey::derive(1, &[3; 32]);
        for text in ["https://b.example:8443/x/y?z=%2F", "https://b.example/", "https://b.example/a%20b"] {
            let (request, _) = enclose(&key.config(), &url(text)).unwrap();
            assert_eq!(key.open(&request).unwrap().0, Asked::File(url(text)), "{text}");
        }
    }

    #[test]
    fn what_is_no_get_of_a_file_is_not_asked_for() {
        let asked = |method: &str, scheme: &str, authority: &str, path: &str| {
            let [method, scheme, authority, path] = [method, scheme, authority, path].map(|it| it.as_bytes().to_vec());
            Asked::read(&binary(&Message::request(method, scheme, authority, path)))
        };
        assert_eq!(asked("GET", "https", "b.example", "/x"), Asked::File(url("https://b.example/x")));
        assert_eq!(asked("POST", "https", "b.example", "/x"), Asked::Not(StatusCode::METHOD_NOT_ALLOWED));
        assert_eq!(asked("HEAD", "https", "b.example", "/x"), Asked::Not(StatusCode::METHOD_NOT_ALLOWED));
        for (scheme, authority, path) in [
            ("http", "b.example", "/x"),
            ("file", "", "/etc/passwd"),
            ("https", "", "/x"),
            ("https", "127.0.0.1", "/x"),
            ("https", "a:b@c.example", "/x"),
            // The host would be another one than the authority's.
            ("https", "b.example", ".evil.example/x"),
            ("https", "b.example", "@evil.example/x"),
            ("https", "b.example", ""),
        ] {
            let refused = Asked::Not(StatusCode::BAD_REQUEST);
            assert_eq!(asked("GET", scheme, authority, path), refused, "{scheme} {authority} {path}");
        }
        for octets in [&b""[..], b"\0", b"\x01\x40\xc8", b"\x00\xff\xff\xff\xff\xff\xff\xff\xff"] {
            assert_eq!(Asked::read(octets), Asked::Not(StatusCode::BAD_REQUEST), "{octets:?}");
        }
    }

    #[test]
    fn what_is_for_another_key_or_was_changed_is_malformed() {
        let (key, other) = (GatewayKey::derive(1, &[3; 32]), GatewayKey::derive(1, &[4; 32]));
        let (request, opening) = enclose(&key.config(), &url("https://b.example/x")).unwrap();
        assert!(other.open(&request).is_err());
        for at in 0..request.len() {
            let mut changed = request.clone();
            changed[at] ^= 1;
            assert!(key.open(&changed).is_err(), "octet {at}");
        }
        let mut answer = key.open(&request).unwrap().1.seal(StatusCode::OK, b"x");
        *answer.last_mut().unwrap() ^= 1;
        assert!(opening.open(&answer).is_err());
    }

    #[test]
    fn of_several_keys_the_first_that_is_known_is_taken() {
        let key = GatewayKey::derive(7, &[3; 32]);
        // DHKEM(P-384) is not known here.
        let unknown =
            [&[0, 5, 9, 0, 0x11, 0, 0][..], &key.config(), &GatewayKey::derive(8, &[4; 32]).config()].concat();
        let (request, _) = enclose(&unknown, &url("https://b.example/x")).unwrap();
        assert!(key.open(&request).is_ok());
        assert!(enclose(b"", &url("https://b.example/x")).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_opened_or_refused(octets: Vec<u8>) {
            let _ = Asked::read(&octets);
            let key = GatewayKey::derive(1, &[3; 32]);
            let _ = key.open(&octets);
            let _ = enclose(&octets, &url("https://b.example/x"));
            let (_, opening) = enclose(&key.config(), &url("https://b.example/x")).unwrap();
            let _ = opening.open(&octets);
        }
    }
}
