//! AES-128-GCM of one long message, a piece at a time.
//!
//! The content draft has one key, one nonce and one tag for a whole file (C§4.5), and the AEAD libraries in the tree want
//! the whole message in memory for that. Its parts (AES in counter mode and GHASH, those that `aes-gcm` itself is
//! made of) take a piece after the other, and put together as NIST SP 800-38D says they are the same octets: the
//! ciphertext, as long as the text, and behind it the tag of 16 octets (RFC 5116 §5.1).
//!
//! What was received may not be shown before its tag is known to be right, which it is only at the end. GHASH is of the
//! ciphertext, so [`Check`] finds that out while it arrives, and [`keystream`] decrypts what has been found right.

use aes::{
    Aes128, Block,
    cipher::{BlockEncrypt, KeyInit, KeyIvInit, StreamCipher},
};
use ctr::Ctr32BE;
use ghash::{GHash, universal_hash::UniversalHash};

pub const KEY: usize = 16;
pub const NONCE: usize = 12;
pub const TAG: usize = 16;
const BLOCK: usize = 16;

/// The longest text, in octets (NIST SP 800-38D §5.2.1.1): then the counter would begin anew.
pub const MAX_TEXT: u64 = (1 << 36) - 32;

pub type Key = [u8; KEY];
pub type Nonce = [u8; NONCE];
pub type Keystream = Ctr32BE<Aes128>;

/// Turns text into ciphertext or back, from the first octet on.
pub fn keystream(key: &Key, nonce: &Nonce) -> Keystream {
    // The first block of the counter hides the tag.
    Keystream::new(key.into(), &counter(nonce, 2).into())
}

/// Encrypts a message. The additional data is empty, as the draft has it by default.
pub struct Seal {
    stream: Keystream,
    check: Check,
}

impl Seal {
    pub fn new(key: &Key, nonce: &Nonce) -> Self {
        Self { stream: keystream(key, nonce), check: Check::new(key, nonce, &[]) }
    }

    /// The next piece, of any length, in place.
    pub fn seal(&mut self, piece: &mut [u8]) {
        self.stream.apply_keystream(piece);
        self.check.update(piece);
    }

    pub fn tag(self) -> [u8; TAG] {
        self.check.tag()
    }
}

/// Computes the tag of a ciphertext.
pub struct Check {
    hash: GHash,
    /// What is not a whole block yet.
    rest: [u8; BLOCK],
    rest_length: usize,
    aad_length: u64,
    length: u64,
    mask: Block,
}

impl Check {
    pub fn new(key: &Key, nonce: &Nonce, aad: &[u8]) -> Self {
        let cipher = Aes128::new(key.into());
        let mut subkey = Block::default();
        cipher.encrypt_block(&mut subkey);
        let mut mask = Block::from(counter(nonce, 1));
        cipher.encrypt_block(&mut mask);
        let mut hash = GHash::new(&subkey);
        hash.update_padded(aad);
        Self { hash, rest: [0; BLOCK], rest_length: 0, aad_length: aad.len() as u64, length: 0, mask }
    }

    /// The next piece of the ciphertext, of any length.
    pub fn update(&mut self, mut piece: &[u8]) {
        self.length += piece.len() as u64;
        if self.rest_length > 0 {
            let taken = piece.len().min(BLOCK - self.rest_length);
            self.rest[self.rest_length..][..taken].copy_from_slice(&piece[..taken]);
            self.rest_length += taken;
            piece = &piece[taken..];
            if self.rest_length < BLOCK {
                return;
            }
            self.hash.update_padded(&self.rest);
        }
        let (whole, rest) = piece.split_at(piece.len() - piece.len() % BLOCK);
        self.hash.update_padded(whole);
        self.rest[..rest.len()].copy_from_slice(rest);
        self.rest_length = rest.len();
    }

    pub fn tag(mut self) -> [u8; TAG] {
        self.hash.update_padded(&self.rest[..self.rest_length]);
        let mut lengths = [0; BLOCK];
        lengths[..8].copy_from_slice(&(self.aad_length * 8).to_be_bytes());
        lengths[8..].copy_from_slice(&(self.length * 8).to_be_bytes());
        self.hash.update_padded(&lengths);
        let mut tag: [u8; TAG] = self.hash.finalize().into();
        tag.iter_mut().zip(self.mask).for_each(|(octet, mask)| *octet ^= mask);
        tag
    }
}

fn counter(nonce: &Nonce, count: u32) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..NONCE].copy_from_slice(nonce);
    block[NONCE..].copy_from_slice(&count.to_be_bytes());
    block
}

#[cfg(test)]
mod tests {
    use aes_gcm::{
        Aes128Gcm,
        aead::{Aead, Payload},
    };

    use super::*;

    fn sealed(key: &Key, nonce: &Nonce, text: &[u8], pieces: impl Iterator<Item = usize>) -> Vec<u8> {
        let mut seal = Seal::new(key, nonce);
        let mut octets = text.to_vec();
        let mut rest = &mut octets[..];
        for length in pieces {
            let (piece, after) = rest.split_at_mut(length.min(rest.len()));
            seal.seal(piece);
            rest = after;
        }
        seal.seal(rest);
        octets.extend(seal.tag());
        octets
    }

    fn octets<const N: usize>(hex: &str) -> [u8; N] {
        hex::decode(hex).unwrap().try_into().unwrap()
    }

    /// Test cases 1 to 3 of the GCM specification (McGrew and Viega), which NIST SP 800-38D took over.
    #[test]
    fn the_known_vectors_come_out() {
        let text = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                    1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255";
        for (key, nonce, text, expected) in [
            (&"00".repeat(16), &"00".repeat(12), "", "58e2fccefa7e3061367f1d57a4e7455a"),
            (
                &"00".repeat(16),
                &"00".repeat(12),
                "00000000000000000000000000000000",
                "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf",
            ),
            (
                &"feffe9928665731c6d6a8f9467308308".to_owned(),
                &"cafebabefacedbaddecaf888".to_owned(),
                text,
                "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
                 21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985\
                 4d5c2af327cd64a62cf35abd2ba6fab4",
            ),
        ] {
            let text = hex::decode(text).unwrap();
            let expected = hex::decode(expected).unwrap();
            for piece in [1, 15, 16, 17, 64] {
                let pieces = std::iter::repeat_n(piece, text.len() / piece);
                assert_eq!(sealed(&octets(key), &octets(nonce), &text, pieces), expected, "{piece}");
            }
        }
    }

    #[test]
    fn additional_data_is_in_the_tag() {
        let (key, nonce) = ([7; KEY], [9; NONCE]);
        for aad in [&b""[..], b"a", b"sixteen octets..", b"and some more than a block"] {
            let whole = Aes128Gcm::new(&key.into()).encrypt(&nonce.into(), Payload { msg: b"Tea.", aad }).unwrap();
            let (ciphertext, tag) = whole.split_at(4);
            let mut check = Check::new(&key, &nonce, aad);
            check.update(ciphertext);
            assert_eq!(check.tag(), tag);
        }
    }

    proptest::proptest! {
        #[test]
        fn in_pieces_it_is_what_it_is_at_once(
            key: Key,
            nonce: Nonce,
            text in proptest::collection::vec(proptest::num::u8::ANY, 0..1000),
            pieces in proptest::collection::vec(0..70_usize, 0..40),
        ) {
            let whole = Aes128Gcm::new(&key.into()).encrypt(&nonce.into(), &text[..]).unwrap();
            let ours = sealed(&key, &nonce, &text, pieces.into_iter());
            proptest::prop_assert_eq!(&ours, &whole);
            let mut back = ours[..text.len()].to_vec();
            keystream(&key, &nonce).apply_keystream(&mut back);
            proptest::prop_assert_eq!(back, text);
        }
    }
}
