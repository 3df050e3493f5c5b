//! Checksums on what must not be wrong in silence.
//!
//! SQLite checks the shape of its file and not what is in it, and PostgreSQL checks pages only where somebody asked
//! for it at `initdb`. So a byte that flips on a disk in the middle of a message, a ratchet or a name would be read
//! as if somebody had written it: a wrong word in a conversation, an edit in another's name. What carries content,
//! keys or attribution is therefore kept with a checksum over it *and over the name it is kept under*, so that a row
//! that is found under another name is as wrong as one with other octets.
//!
//! A CRC-32 is enough: it finds every flip of up to three bits, and any burst up to 32 bits. It is no defence
//! against somebody who means harm; whoever can write to the database holds the keys in it anyway.

use super::StoreError;

const LENGTH: usize = 4;

/// The octets with their checksum behind them.
pub(super) fn seal(name: &[&[u8]], mut octets: Vec<u8>) -> Vec<u8> {
    let sum = checksum(name, &octets);
    octets.extend(sum.to_be_bytes());
    octets
}

/// The octets without it, if it is right.
pub(super) fn open(table: &'static str, name: &[&[u8]], mut octets: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    let sealed = octets.split_last_chunk::<LENGTH>();
    match sealed {
        Some((content, sum)) if checksum(name, content).to_be_bytes() == *sum => {
            octets.truncate(octets.len() - LENGTH);
            Ok(octets)
        }
        _ => Err(wrong(table)),
    }
}

/// For rows that are names and numbers: what stands in their column `sum`.
pub(super) fn sum(columns: &[&[u8]]) -> i64 {
    checksum(columns, b"").into()
}

/// Is this the row that was written?
pub(super) fn check(table: &'static str, columns: &[&[u8]], stored: i64) -> Result<(), StoreError> {
    if sum(columns) == stored { Ok(()) } else { Err(wrong(table)) }
}

fn wrong(table: &'static str) -> StoreError {
    StoreError::corrupt(table, "its checksum is wrong: the disk has changed it")
}

/// Each part is preceded by its length, so that nothing can move from one into the next.
fn checksum(name: &[&[u8]], octets: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in name {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.update(octets);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_opened_and_any_flipped_bit_is_found() {
        let name: &[&[u8]] = &[b"hub mimi://a.example/r/tea", b"submit"];
        let sealed = seal(name, b"Is the tea ready?".to_vec());
        assert_eq!(open("outbox", name, sealed.clone()).unwrap(), b"Is the tea ready?");
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let found = open("outbox", name, flipped).unwrap_err().to_string();
            assert_eq!(
                found, "a row of outbox can't be read: its checksum is wrong: the disk has changed it",
                "bit {bit}"
            );
        }
        for length in 0..sealed.len() {
            assert!(open("outbox", name, sealed[..length].to_vec()).is_err(), "cut to {length} octets");
        }
    }

    #[test]
    fn under_another_name_it_is_wrong_too() {
        let sealed = seal(&[b"ab", b"c"], b"tea".to_vec());
        assert!(open("outbox", &[b"a", b"bc"], sealed.clone()).is_err());
        assert!(open("outbox", &[b"ab"], sealed).is_err());
        assert!(check("message", &[b"tea", b"alice"], sum(&[b"tea", b"alice"])).is_ok());
        assert!(check("message", &[b"tea", b"blice"], sum(&[b"tea", b"alice"])).is_err());
    }

    #[test]
    fn the_checksum_is_the_one_of_zip_and_png() {
        // The check value of CRC-32/ISO-HDLC.
        assert_eq!(checksum(&[], b"123456789"), 0xcbf4_3926);
    }
}
