//! Is it CBOR as MIMI content wants it? (RFC 8949 §4.2.1, C§6)
//!
//! minicbor reads whatever can be read: over-long integers, indefinite lengths, duplicate keys. A sender
//! could hide a second meaning in those, and two receivers would disagree about what was said. So content
//! is walked once with [`check`] before minicbor sees it, and what does not have the one deterministic
//! encoding is not content (D37).

use std::ops::Range;

/// Why octets are not the deterministic encoding of one CBOR item. Their sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    #[error("the item ends too early")]
    Truncated,
    #[error("octets after the item")]
    Trailing,
    #[error("a number or length that is not in its shortest form, or of indefinite length")]
    NotShortest,
    #[error("a reserved or indefinite-length head")]
    Head,
    #[error("map keys that are not sorted, or not unique")]
    KeyOrder,
    #[error("a map key that is not an integer within ±(2^53−1), a text or a byte string")]
    Key,
    #[error("a text string that is not UTF-8")]
    Utf8,
    #[error("a NaN other than f97e00")]
    NaN,
    #[error("more than {MAX_LEVELS} levels of arrays, maps and tags")]
    TooDeep,
}

/// More than any content needs: four levels of parts take eight, extensions five (C§6.3).
const MAX_LEVELS: usize = 16;

/// The largest integer key: what a double can count to (C§6.2).
const MAX_KEY: u64 = (1 << 53) - 1;

/// Checks that `octets` are one item in deterministic encoding, and says how many levels of arrays, maps
/// and tags it has.
pub fn check(octets: &[u8]) -> Result<usize, CborError> {
    check_at(octets).map_err(|(_, error)| error)
}

/// As [`check`]; an error comes with the offset at which the item starts that is wrong.
pub fn check_at(octets: &[u8]) -> Result<usize, (usize, CborError)> {
    let mut walk = Walk { octets, at: 0, before: usize::MAX, item: 0 };
    let levels = walk.item(0).map_err(|error| (walk.item, error))?;
    if walk.at == octets.len() { Ok(levels) } else { Err((walk.at, CborError::Trailing)) }
}

/// The offset of the last item that starts before `end`.
pub fn last_item(octets: &[u8], end: usize) -> usize {
    let mut walk = Walk { octets, at: 0, before: end, item: 0 };
    // What is wrong with the octets is another question.
    let _ = walk.item(0);
    walk.item
}

struct Walk<'a> {
    octets: &'a [u8],
    at: usize,
    /// Items that start here or later are not kept in `item`.
    before: usize,
    /// The offset of the last item.
    item: usize,
}

impl Walk<'_> {
    /// Walks over one item that has `above` levels around it, and says how many it has itself.
    fn item(&mut self, above: usize) -> Result<usize, CborError> {
        self.begin();
        let (major, info, argument) = self.head()?;
        if (4..=6).contains(&major) && above == MAX_LEVELS {
            return Err(CborError::TooDeep);
        }
        match major {
            0 | 1 => Ok(0),
            2 => self.skip(argument).map(|_| 0),
            3 => {
                let text = self.skip(argument)?;
                std::str::from_utf8(&self.octets[text]).map(|_| 0).map_err(|_| CborError::Utf8)
            }
            4 => {
                let mut levels = 0;
                for _ in 0..argument {
                    levels = levels.max(self.item(above + 1)?);
                }
                Ok(levels + 1)
            }
            5 => self.map(argument, above),
            6 => self.tagged(argument, above),
            _ => self.simple(info, argument),
        }
    }

    fn map(&mut self, pairs: u64, above: usize) -> Result<usize, CborError> {
        let mut levels = 0;
        let mut last: Option<Range<usize>> = None;
        for _ in 0..pairs {
            let key = self.key(above)?;
            if last.is_some_and(|last| self.octets[last] >= self.octets[key.clone()]) {
                return Err(CborError::KeyOrder);
            }
            last = Some(key);
            levels = levels.max(self.item(above + 1)?);
        }
        Ok(levels + 1)
    }

    fn key(&mut self, above: usize) -> Result<Range<usize>, CborError> {
        let start = self.at;
        self.begin();
        let (major, _, argument) = self.head()?;
        // A negative integer is −1−argument.
        let fits = match major {
            0 => argument <= MAX_KEY,
            1 => argument < MAX_KEY,
            2 | 3 => true,
            _ => false,
        };
        if !fits {
            return Err(CborError::Key);
        }
        self.at = start;
        self.item(above + 1)?;
        Ok(start..self.at)
    }

    fn tagged(&mut self, tag: u64, above: usize) -> Result<usize, CborError> {
        let start = self.at;
        let levels = self.item(above + 1)?;
        // A bignum is for what an integer can't hold, and has no leading zeros.
        if let 2 | 3 = tag {
            self.at = start;
            let (major, _, length) = self.head()?;
            let content = self.skip(if major == 2 { length } else { return Err(CborError::Head) })?;
            if length <= 8 || self.octets[content.start] == 0 {
                return Err(CborError::NotShortest);
            }
        }
        Ok(levels + 1)
    }

    fn simple(&self, info: u8, argument: u64) -> Result<usize, CborError> {
        let shortest = match info {
            24 => argument >= 32,
            // Any half is in its shortest form, but there are many NaNs.
            25 if argument & 0x7c00 == 0x7c00 && argument & 0x03ff != 0 => {
                return if argument == 0x7e00 { Ok(0) } else { Err(CborError::NaN) };
            }
            26 => !half_can_hold(f32::from_bits(argument as u32)),
            27 => !single_can_hold(f64::from_bits(argument)),
            _ => true,
        };
        if shortest { Ok(0) } else { Err(CborError::NotShortest) }
    }

    fn begin(&mut self) {
        if self.at < self.before {
            self.item = self.at;
        }
    }

    /// Major type, additional information, argument.
    fn head(&mut self) -> Result<(u8, u8, u64), CborError> {
        let initial = self.octets[self.skip(1)?][0];
        let (major, info) = (initial >> 5, initial & 0x1f);
        let width = match info {
            0..24 => return Ok((major, info, info.into())),
            24..28 => 1 << (info - 24),
            _ => return Err(CborError::Head),
        };
        let argument = self.skip(width)?;
        let argument = self.octets[argument].iter().fold(0, |sum, octet| sum << 8 | u64::from(*octet));
        let least = [24, 1 << 8, 1 << 16, 1 << 32][usize::from(info - 24)];
        if major != 7 && argument < least { Err(CborError::NotShortest) } else { Ok((major, info, argument)) }
    }

    fn skip(&mut self, length: u64) -> Result<Range<usize>, CborError> {
        let left = self.octets.len() - self.at;
        let length = usize::try_from(length).ok().filter(|it| *it <= left).ok_or(CborError::Truncated)?;
        let start = self.at;
        self.at += length;
        Ok(start..self.at)
    }
}

/// Could the double be written as a single? (A NaN could.)
fn single_can_hold(value: f64) -> bool {
    value.is_nan() || f64::from(value as f32) == value
}

/// Could the single be written as a half? Its ten bits of fraction reach from 2^−24 to 65504.
fn half_can_hold(value: f32) -> bool {
    let (bits, magnitude) = (value.to_bits(), value.abs());
    if value.is_nan() || value.is_infinite() || value == 0.0 {
        true
    } else if magnitude > 65504.0 {
        false
    } else if magnitude >= 2f32.powi(-14) {
        bits & 0x1fff == 0
    } else {
        // A subnormal half is a multiple of 2^−24.
        (magnitude * 2f32.powi(24)).fract() == 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(octets: &str) -> Result<usize, CborError> {
        check(&hex::decode(octets).unwrap())
    }

    // RFC 8949 Appendix A, the ones in preferred serialization.
    #[test]
    fn the_examples_of_rfc_8949_are_deterministic() {
        for (octets, levels) in [
            ("00", 0),
            ("17", 0),
            ("1818", 0),
            ("1903e8", 0),
            ("1a000f4240", 0),
            ("1b000000e8d4a51000", 0),
            ("1bffffffffffffffff", 0),
            ("c249010000000000000000", 1),
            ("3bffffffffffffffff", 0),
            ("c349010000000000000000", 1),
            ("20", 0),
            ("3863", 0),
            ("f90000", 0),
            ("f98000", 0),
            ("f93c00", 0),
            ("fb3ff199999999999a", 0),
            ("f93e00", 0),
            ("f97bff", 0),
            ("fa47c35000", 0),
            ("fa7f7fffff", 0),
            ("fb7e37e43c8800759c", 0),
            ("f90001", 0),
            ("f90400", 0),
            ("f9c400", 0),
            ("f97c00", 0),
            ("f97e00", 0),
            ("f9fc00", 0),
            ("f4", 0),
            ("f6", 0),
            ("f7", 0),
            ("f0", 0),
            ("f8ff", 0),
            ("c11a514b67b0", 1),
            ("d82076687474703a2f2f7777772e6578616d706c652e636f6d", 1),
            ("4401020304", 0),
            ("62c3bc", 0),
            ("80", 1),
            ("8301820203820405", 2),
            ("a201020304", 1),
            ("a26161016162820203", 2),
            ("826161a161626163", 2),
        ] {
            assert_eq!(checked(octets), Ok(levels), "{octets}");
        }
    }

    #[test]
    fn what_has_a_shorter_form_is_refused() {
        for octets in [
            "1800",
            "1817",
            "190018",
            "1900ff",
            "1a0000ffff",
            "1b00000000ffffffff",
            "3817",
            "5801ff",
            "7801ff61",
            "9801f6",
            "b8010000",
            "d80500",
            "f800",
            "f81f",
            "fa00000000",
            "fa3f800000",
            "fa33800000",
            "fa7f800000",
            "fa7fc00000",
            "fb0000000000000000",
            "fb3ff0000000000000",
            "fb40f86a0000000000",
            "fb7ff8000000000000",
            "c24101",
            "c2480101010101010101",
            "c249000101010101010101ff",
        ] {
            assert_eq!(checked(octets), Err(CborError::NotShortest), "{octets}");
        }
    }

    #[test]
    fn only_one_nan_exists() {
        assert_eq!(checked("f97e00"), Ok(0));
        for octets in ["f97e01", "f97c01", "f9fe00"] {
            assert_eq!(checked(octets), Err(CborError::NaN), "{octets}");
        }
    }

    #[test]
    fn indefinite_lengths_and_reserved_heads_are_refused() {
        for octets in ["5f4101ff", "7f6161ff", "9fff", "bfff", "ff", "1c", "fc"] {
            assert_eq!(checked(octets), Err(CborError::Head), "{octets}");
        }
    }

    // RFC 8949 §4.2.1's own example of the order: 10, 100, -1, "z", "aa", [100], [-1], false; the last
    // three are no keys here.
    #[test]
    fn keys_are_in_the_order_of_their_octets() {
        assert_eq!(checked("a50af61864f620f6617af6626161f6"), Ok(1));
        // The length-first order of RFC 7049 would have -1 (one octet) before 100 (two).
        assert_eq!(checked("a30af620f61864f6"), Err(CborError::KeyOrder));
        assert_eq!(checked("a201f601f6"), Err(CborError::KeyOrder));
        assert_eq!(checked("a202f601f6"), Err(CborError::KeyOrder));
    }

    #[test]
    fn keys_are_integers_of_53_bits_or_strings() {
        assert_eq!(checked("a21b001ffffffffffffff63b001ffffffffffffef6"), Ok(1));
        for octets in ["a11b0020000000000000f6", "a13b001ffffffffffffff6", "a180f6", "a1f4f6", "a1f93c00f6", "a1c101f6"]
        {
            assert_eq!(checked(octets), Err(CborError::Key), "{octets}");
        }
    }

    #[test]
    fn an_error_says_which_item_is_wrong() {
        let checked = |octets: &str| check_at(&hex::decode(octets).unwrap());
        assert_eq!(checked("8200821800f6"), Err((3, CborError::NotShortest)));
        assert_eq!(checked("820061"), Err((2, CborError::Truncated)));
        assert_eq!(checked("a202f601f6"), Err((3, CborError::KeyOrder)));
        assert_eq!(checked("8100ff"), Err((2, CborError::Trailing)));
        assert_eq!(last_item(&hex::decode("8300420102f6").unwrap(), 4), 2);
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |levels: usize| [vec![0x81; levels - 1], vec![0x80]].concat();
        assert_eq!(check(&nested(16)), Ok(16));
        assert_eq!(check(&nested(17)), Err(CborError::TooDeep));
        assert_eq!(check(&nested(1_000_000)), Err(CborError::TooDeep));
    }

    #[test]
    fn the_rest_is_refused_too() {
        assert_eq!(checked(""), Err(CborError::Truncated));
        assert_eq!(checked("0000"), Err(CborError::Trailing));
        assert_eq!(checked("61ff"), Err(CborError::Utf8));
        assert_eq!(checked("5bffffffffffffffff"), Err(CborError::Truncated));
        assert_eq!(checked("9bffffffffffffffff"), Err(CborError::Truncated));
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_checked(octets: Vec<u8>) {
            let _ = check(&octets);
        }
    }
}
