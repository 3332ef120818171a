//! Ids of tasks, container instances and cluster incarnations.

use std::fmt;
use std::str::FromStr;

use longshore_seams::Random;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// 128 random bits, written as 32 lower-case hexadecimal digits: the form of ECS's own task and
/// container-instance ids. Orders as its text does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u128);

impl Id {
    /// A new id.
    #[must_use]
    pub fn random(random: &dyn Random) -> Self {
        let mut bytes = [0; 16];
        random.fill(&mut bytes);
        Self(u128::from_be_bytes(bytes))
    }
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

/// The text is not 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id has 32 lower-case hexadecimal digits")]
pub struct InvalidId;

impl FromStr for Id {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
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

    #[test]
    fn only_the_canonical_text_is_an_id() {
        for text in [
            "",
            "12",
            "G0000000000000000000000000000000",
            "ABCDEF00000000000000000000000000",
            "+0000000000000000000000000000000",
        ] {
            assert_eq!(text.parse::<Id>(), Err(InvalidId), "{text}");
        }
    }
}
