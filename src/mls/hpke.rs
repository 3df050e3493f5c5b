//! EncryptWithLabel and DecryptWithLabel (RFC 9420 §5.1.3), which openmls keeps to itself: for what a hub hands to
//! one client alone.

use openmls_rust_crypto::RustCrypto;
use openmls_traits::{
    crypto::OpenMlsCrypto,
    types::{Ciphersuite, HpkeCiphertext as OpenMlsCiphertext},
};

use super::MlsError;
use crate::mimi::{tls::Writer, wire::HpkeCiphertext};

/// A key pair for one answer. Its private half is kept nowhere.
pub struct HpkeKey {
    suite: Ciphersuite,
    private: Vec<u8>,
    public: Vec<u8>,
}

impl HpkeKey {
    pub fn generate(suite: u16) -> Result<Self, MlsError> {
        let suite = known(suite)?;
        // RFC 9180 §7.1.3: key material as long as the private key is of suites 1 and 3.
        let material: [u8; 32] = rand::random();
        let pair =
            RustCrypto::default().derive_hpke_keypair(suite.hpke_config(), &material).map_err(MlsError::state)?;
        Ok(Self { suite, private: pair.private.to_vec(), public: pair.public })
    }

    pub fn public(&self) -> &[u8] {
        &self.public
    }

    pub fn decrypt_with_label(
        &self,
        label: &str,
        context: &[u8],
        ciphertext: &HpkeCiphertext,
    ) -> Result<Vec<u8>, MlsError> {
        let ciphertext = OpenMlsCiphertext {
            kem_output: ciphertext.kem_output.to_vec().into(),
            ciphertext: ciphertext.ciphertext.to_vec().into(),
        };
        RustCrypto::default()
            .hpke_open(self.suite.hpke_config(), &ciphertext, &self.private, &info(label, context), &[])
            .map_err(|_| MlsError::invalid("it is not encrypted for this key and purpose"))
    }
}

/// For whoever has the private half of `public_key`.
pub fn encrypt_with_label(
    suite: u16,
    public_key: &[u8],
    label: &str,
    context: &[u8],
    plaintext: &[u8],
) -> Result<HpkeCiphertext, MlsError> {
    let ciphertext = RustCrypto::default()
        .hpke_seal(known(suite)?.hpke_config(), public_key, &info(label, context), &[], plaintext)
        .map_err(|_| MlsError::invalid("nothing can be encrypted for this public key"))?;
    Ok(HpkeCiphertext {
        kem_output: ciphertext.kem_output.as_slice().to_vec().into(),
        ciphertext: ciphertext.ciphertext.as_slice().to_vec().into(),
    })
}

/// The suites whose signatures are those of our groups (D16): others could not be checked by a member.
fn known(suite: u16) -> Result<Ciphersuite, MlsError> {
    match Ciphersuite::try_from(suite) {
        Ok(
            suite @ (Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519
            | Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519),
        ) => Ok(suite),
        _ => Err(MlsError::invalid(format!("cipher suite {suite:#06x} is not one for this"))),
    }
}

/// EncryptContext, as `info`.
fn info(label: &str, context: &[u8]) -> Vec<u8> {
    let mut info = Writer::default();
    info.vector(format!("MLS 1.0 {label}").as_bytes());
    info.vector(context);
    info.into_octets()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::wire::samples::octets;

    fn vector(suite: u16, private: &str, kem_output: &str, ciphertext: &str, context: &str, plaintext: &str) {
        // The vectors write keys with the length of an `opaque<V>` in front.
        let private = octets(private)[1..].to_vec();
        let key = HpkeKey { suite: known(suite).unwrap(), private, public: Vec::new() };
        let ciphertext =
            HpkeCiphertext { kem_output: octets(kem_output).into(), ciphertext: octets(ciphertext).into() };
        let opened = key.decrypt_with_label("EncryptWithLabel", &octets(context), &ciphertext);
        assert_eq!(hex::encode(opened.unwrap()), plaintext);
        assert!(key.decrypt_with_label("EncryptWithLabe1", &octets(context), &ciphertext).is_err());
        assert!(key.decrypt_with_label("EncryptWithLabel", b"", &ciphertext).is_err());
    }

    // `encrypt_with_label` of the MLS working group's crypto-basics.json (github.com/mlswg/mls-implementations,
    // test-vectors, commit 78a6cfc9), for the two suites.
    #[test]
    fn what_others_have_encrypted_is_read() {
        vector(
            1,
            "20aa986a7941001bf2f509c54d8f61a5b419c8a0ff02634cf1ccea35b56c8fb002",
            "fde840e33c794491db60c2c20e26738b8756b045b33f44bf93b5551fdffbdc5c",
            "9fa3af0beaef151947d8af1a45cbc940181cc901d1437d7fc85e4dcb38a3273e730d414abee7eba789a5a55dbbce4cc7",
            "86a8fab1597b2d3fc1498464259eb50852a36f5554589c747f2d6c1fbc67c3d4",
            "dce54bc43e1bee8c4a9f6224ee9959d171c379c43d05383861307d3e52469a3f",
        );
        vector(
            3,
            "20a4583e93da26fbed2aefa063952c791925a868944314ea99542b58a1b72c5fe2",
            "8ab65d6b6311b64b850bad990e50763083c5b9f45ea3de2d97a0defd0799f61f",
            "9bc51f706abe79109fcf89e9b6fb3d44222b07509a105e4f2740bfeeee01f3b16d3f5b8cd8e38925335ea12ec99348ca",
            "12b0c535b1e5f4f40fabf70c1bd780080a2223d9d090be9bdeca1935497e489d",
            "0eb9423b4c8e4b6b31c8987be66d7af96458e93d8539150d093b750dfeab7058",
        );
    }

    #[test]
    fn what_is_encrypted_for_a_key_is_read_with_it_and_no_other() {
        for suite in [1, 3] {
            let (key, other) = (HpkeKey::generate(suite).unwrap(), HpkeKey::generate(suite).unwrap());
            let ciphertext = encrypt_with_label(suite, key.public(), "label", b"context", b"tea").unwrap();
            assert_eq!(key.decrypt_with_label("label", b"context", &ciphertext).unwrap(), b"tea");
            assert!(other.decrypt_with_label("label", b"context", &ciphertext).is_err());
        }
    }

    #[test]
    fn strange_suites_and_keys_are_refused() {
        for suite in [0, 2, 4, 0x0a0a, 0xffff] {
            assert!(HpkeKey::generate(suite).is_err(), "{suite}");
            assert!(encrypt_with_label(suite, &[9; 32], "label", b"", b"tea").is_err(), "{suite}");
        }
        for key in [&[][..], &[9; 31], &[9; 33]] {
            assert!(encrypt_with_label(1, key, "label", b"", b"tea").is_err(), "{} octets", key.len());
        }
        let key = HpkeKey::generate(1).unwrap();
        for (kem_output, ciphertext) in [(&[][..], &[][..]), (&[1; 32], &[0; 15]), (&[1; 31], &[0; 48])] {
            let ciphertext =
                HpkeCiphertext { kem_output: kem_output.to_vec().into(), ciphertext: ciphertext.to_vec().into() };
            assert!(key.decrypt_with_label("label", b"", &ciphertext).is_err());
        }
    }
}
