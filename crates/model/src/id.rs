//! Ids of tasks, container instances and cluster incarnations.

use std::fmt;
use std::str::FromStr;

use longshore_seams::Random;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// 128 random bits, written as 32 lower-case hexadecimal digits: the form of ECS's own task and
/// container-instance ids. Orders as its text does.
///
/// Resources made by somebody who opted out of the long ARN format have ids in the form of a UUID, and ARNs
/// without their cluster, for ever. Such an id says so itself (see [`Id::is_short_format`]), so that no record has to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u128);

/// Version and variant of a random UUID, and where they stand.
const UUID_BITS: u128 = 0x4000_8000_0000_0000_0000;
const UUID_MASK: u128 = 0xf000_c000_0000_0000_0000;
/// The last digits of an id in the short format follow from those before.
const CHECK_MASK: u128 = 0xffff_ffff;

impl Id {
    /// A new id.
    #[must_use]
    pub fn random(random: &dyn Random) -> Self {
        let mut bytes = [0; 16];
        random.fill(&mut bytes);
        Self(u128::from_be_bytes(bytes))
    }

    /// A new id of a resource whose ARN has the short format.
    #[must_use]
    pub fn random_short(random: &dyn Random) -> Self {
        let bits = (Self::random(random).0 & !UUID_MASK & !CHECK_MASK) | UUID_BITS;
        Self(bits | check(bits))
    }

    /// Whether the id was made by [`Id::random_short`]. Of the other ids one in 2^38 looks the same.
    #[must_use]
    pub fn is_short_format(self) -> bool {
        self.0 & UUID_MASK == UUID_BITS && self.0 & CHECK_MASK == check(self.0 & !CHECK_MASK)
    }

    /// The id as it stands in ARNs: a UUID in the short format, 32 digits in the long one.
    #[must_use]
    pub fn in_arn(self) -> String {
        let digits = self.to_string();
        if !self.is_short_format() {
            return digits;
        }
        let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
        parts.join("-")
    }
}

/// Mixes the bits of a UUID into 32 (the finalizer of MurmurHash3, twice).
fn check(bits: u128) -> u128 {
    let mixed = bits.to_be_bytes().chunks(8).fold(0_u64, |mixed, chunk| {
        let part = chunk.iter().fold(0_u64, |part, byte| (part << 8) | u64::from(*byte));
        let mixed = (mixed ^ part).wrapping_mul(0xff51_afd7_ed55_8ccd);
        (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53)
    });
    u128::from(mixed >> 32)
}

/// The 32 digits of a UUID written with its hyphens; none when it is none.
fn without_hyphens(text: &str) -> Option<String> {
    let hyphens = [8, 13, 18, 23];
    let right = text.len() == 36 && text.bytes().enumerate().all(|(at, byte)| (byte == b'-') == hyphens.contains(&at));
    right.then(|| text.replace('-', ""))
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 32 lower-case hexadecimal digits, or a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id has 32 lower-case hexadecimal digits, with or without the hyphens of a UUID")]
pub struct InvalidId;

impl FromStr for Id {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if let Some(plain) = without_hyphens(text) {
            return plain.parse();
        }
        if text.len() != 32 || !text.bytes().all(digits) {
            return Err(InvalidId);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| InvalidId)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_seams::SeededRandom;

    #[test]
    fn text_and_back() {
        let id = Id::random(&SeededRandom::new(3));
        assert_eq!(id.to_string().parse::<Id>(), Ok(id));
        assert_eq!(id.to_string().len(), 32);
    }

    // spec: 09-019
    #[test]
    fn an_id_of_the_short_format_is_a_uuid_and_known_as_such() {
        let random = SeededRandom::new(3);
        for _ in 0..1000 {
            let (long, short) = (Id::random(&random), Id::random_short(&random));
            assert!(!long.is_short_format() && short.is_short_format());
            assert_eq!((long.in_arn().len(), short.in_arn().len()), (32, 36));
            assert_eq!((long.in_arn().parse(), short.in_arn().parse()), (Ok(long), Ok(short)));
            assert_eq!(short.to_string().parse(), Ok(short));
        }
    }

    #[test]
    fn only_the_canonical_text_is_an_id() {
        for text in [
            "",
            "12",
            "G0000000000000000000000000000000",
            "ABCDEF00000000000000000000000000",
            "+0000000000000000000000000000000",
            "0-00000000000000000000000000000000-0",
            "00000000-0000-0000-00000000000000000",
        ] {
            assert_eq!(text.parse::<Id>(), Err(InvalidId), "{text}");
        }
    }
}
