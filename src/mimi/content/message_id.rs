//! The name of a message (C§3.3).

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};

use super::ContentError;
use crate::mimi::uri::{RoomUri, UserUri};

/// SHA-256 in the IANA Named Information registry.
const SHA_256: u8 = 1;

/// A message as everybody in its room names it. Minted by nobody: it is a hash, so it is unique in the
/// world and the same for all who saw the same octets from the same person in the same room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId([u8; 32]);

impl MessageId {
    /// Refuses hash algorithms nobody could have used (C§9.1).
    pub fn new(octets: [u8; 32]) -> Result<Self, ContentError> {
        match octets[0] {
            SHA_256 => Ok(Self(octets)),
            unknown => Err(ContentError::HashAlgorithm(unknown)),
        }
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Computes the ID of a message from its sender, its room, the octets of its container as received
/// (without ApplicationFraming, D36) and the salt in them.
pub fn message_id(sender: &UserUri, room: &RoomUri, octets: &[u8], salt: &[u8; 16]) -> MessageId {
    let mut hash = Sha256::new();
    for uri in [sender.as_str(), room.as_str()] {
        // A URI has at most 2048 octets (D5).
        hash.update((uri.len() as u16).to_be_bytes());
        hash.update(uri);
    }
    hash.update(octets);
    // The salt is hashed twice, against length extension.
    hash.update(salt);
    let mut id = [SHA_256; 32];
    id[1..].copy_from_slice(&hash.finalize()[..31]);
    MessageId(id)
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MessageId {
    type Err = ContentError;

    fn from_str(text: &str) -> Result<Self, ContentError> {
        let mut octets = [0; 32];
        hex::decode_to_slice(text, &mut octets).map_err(|_| ContentError::Shape("a message ID is 64 hex digits"))?;
        Self::new(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_in_hex_and_read_again() {
        let text = "017ce54837404c3696e0c747b985cb172716d0ed0a3d249ca63ace7d82a096f4";
        assert_eq!(text.parse::<MessageId>().unwrap().to_string(), text);
    }

    #[test]
    fn an_id_of_an_unknown_hash_algorithm_is_refused() {
        let text = "027ce54837404c3696e0c747b985cb172716d0ed0a3d249ca63ace7d82a096f4";
        assert_eq!(text.parse::<MessageId>(), Err(ContentError::HashAlgorithm(2)));
        assert!("017ce5".parse::<MessageId>().is_err());
    }
}
