//! Tags: limits, the reserved prefix, merging (guide chapter 18).
//!
//! Lengths and characters are declared by the API model and checked before an operation runs.

use std::fmt;

use longshore_api::ServiceError;
use longshore_api::ecs::{Tag, error};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most tags of a resource; reserved ones don't count.
pub const MAX_TAGS: usize = 50;

/// Prefix, in any case, of what only the system may set.
const RESERVED: &str = "aws:";

/// Tags by key, in the order in which they were given. Equal are those with the same keys and values, in any order.
#[derive(Clone, Debug, Default)]
pub struct Tags(Vec<(String, String)>);

impl Tags {
    /// No tags.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&String> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// Whether there is one of `key`.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Sets the value of `key`; a new key comes last.
    pub fn insert(&mut self, key: String, value: String) {
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = value,
            None => self.0.push((key, value)),
        }
    }

    /// Keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|(key, _)| key)
    }
}

impl PartialEq for Tags {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(key, value)| other.get(key) == Some(value))
    }
}

impl Eq for Tags {}

impl Extend<(String, String)> for Tags {
    fn extend<I: IntoIterator<Item = (String, String)>>(&mut self, tags: I) {
        for (key, value) in tags {
            self.insert(key, value);
        }
    }
}

impl FromIterator<(String, String)> for Tags {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(tags: I) -> Self {
        let mut made = Self::new();
        made.extend(tags);
        made
    }
}

impl<const N: usize> From<[(String, String); N]> for Tags {
    fn from(tags: [(String, String); N]) -> Self {
        tags.into_iter().collect()
    }
}

impl IntoIterator for Tags {
    type Item = (String, String);
    type IntoIter = std::vec::IntoIter<(String, String)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Serialize for Tags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Tags;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map of tags")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tags, A::Error> {
                let mut tags = Tags::new();
                while let Some((key, value)) = map.next_entry()? {
                    tags.insert(key, value);
                }
                Ok(tags)
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

fn is_reserved(text: &str) -> bool {
    text.get(..RESERVED.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(RESERVED))
}

fn reserved() -> ServiceError {
    error::invalid_parameter_exception("aws: prefixed tag key names are not allowed for external use.")
}

/// The tags that a request gives a new resource. A tag without a value has the empty one.
///
/// # Errors
/// `InvalidParameterException` for reserved or repeated keys, reserved values, or more than [`MAX_TAGS`].
pub fn on_creation(given: Option<&[Tag]>) -> Result<Tags, ServiceError> {
    let mut tags = Tags::new();
    for tag in given.unwrap_or_default() {
        let key = tag.key.clone().unwrap_or_default();
        let value = tag.value.clone().unwrap_or_default();
        if key.is_empty() {
            return Err(error::invalid_parameter_exception("A tag needs a key of 1 to 128 characters."));
        }
        if is_reserved(&key) || is_reserved(&value) {
            return Err(reserved());
        }
        if tags.contains_key(&key) {
            let message = format!("Duplicate tag key '{key}': each key can be given once.");
            return Err(error::invalid_parameter_exception(message));
        }
        tags.insert(key, value);
    }
    if tags.len() > MAX_TAGS {
        let message = format!("{} tags are too many: a resource can have at most {MAX_TAGS}.", tags.len());
        return Err(error::invalid_parameter_exception(message));
    }
    Ok(tags)
}

/// `existing` with the tags of `given` added; a key that is there gets the new value.
///
/// # Errors
/// As [`on_creation`]; `LimitExceededException` when the resource would have more than [`MAX_TAGS`].
pub fn merge(existing: &Tags, given: &[Tag]) -> Result<Tags, ServiceError> {
    let mut tags = existing.clone();
    tags.extend(on_creation(Some(given))?);
    let counted = tags.keys().filter(|key| !is_reserved(key)).count();
    if counted > MAX_TAGS {
        let message =
            format!("The resource would have {counted} tags; at most {MAX_TAGS} are allowed. Remove some first.");
        return Err(error::limit_exceeded_exception(message));
    }
    Ok(tags)
}

/// `existing` without `keys`; a key that is not there is no error.
///
/// # Errors
/// `InvalidParameterException` for a reserved key.
pub fn without(existing: &Tags, keys: &[String]) -> Result<Tags, ServiceError> {
    if keys.iter().any(|key| is_reserved(key)) {
        return Err(reserved());
    }
    Ok(existing
        .iter()
        .filter(|(key, _)| !keys.contains(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect())
}

/// As answers show them: in the order in which they were given.
#[must_use]
pub fn to_list(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag { key: Some(key.clone()), value: Some(value.clone()) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str, value: Option<&str>) -> Tag {
        Tag { key: Some(key.to_owned()), value: value.map(str::to_owned) }
    }

    fn numbered(count: usize) -> Vec<Tag> {
        (0..count).map(|number| tag(&format!("k{number}"), Some("v"))).collect()
    }

    #[test]
    fn a_tag_without_a_value_has_the_empty_one() {
        let tags = on_creation(Some(&[tag("a", None), tag("b", Some(""))])).unwrap();
        assert_eq!(tags, Tags::from([("a".into(), "".into()), ("b".into(), "".into())]));
    }

    // spec: 18-015
    #[test]
    fn the_reserved_prefix_is_refused_in_any_case() {
        for (key, value) in [("aws:a", "v"), ("AWS:a", "v"), ("Aws:", "v"), ("a", "aws:b"), ("a", "AWS:b")] {
            let refused = on_creation(Some(&[tag(key, Some(value))])).unwrap_err();
            assert_eq!(refused.code, "InvalidParameterException", "{key}={value}");
        }
        assert!(on_creation(Some(&[tag("aws", None), tag("xaws:", None), tag("äws:", None)])).is_ok());
        assert!(without(&Tags::new(), &["aws:ecs:clusterName".into()]).is_err());
    }

    // spec: 18-010
    #[test]
    fn reserved_tags_do_not_count_towards_the_limit() {
        let mut existing = on_creation(Some(&numbered(49))).unwrap();
        existing.insert("aws:ecs:clusterName".into(), "c".into());
        let merged = merge(&existing, &[tag("one", None)]).unwrap();
        assert_eq!(merged.len(), 51);
        assert_eq!(merge(&merged, &[tag("more", None)]).unwrap_err().code, "LimitExceededException");
        assert!(merge(&merged, &[tag("one", Some("changed"))]).is_ok());
        assert!(on_creation(Some(&numbered(51))).is_err());
    }

    // spec: 18-005, 18-011
    #[test]
    fn keys_are_case_sensitive_and_a_known_key_gets_the_new_value() {
        let existing = on_creation(Some(&[tag("a", Some("1"))])).unwrap();
        let merged = merge(&existing, &[tag("a", Some("2")), tag("A", Some("3"))]).unwrap();
        assert_eq!(merged, Tags::from([("a".into(), "2".into()), ("A".into(), "3".into())]));
        assert!(on_creation(Some(&[tag("a", None), tag("a", None)])).is_err());
    }
}
