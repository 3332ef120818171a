//! What a structure's members can be, and how each is read and written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use longshore_seams::Timestamp;

use crate::{Path, ReadError, Value, Writer, time};

/// Names inside a list or map on query and XML protocols; JSON has none.
#[derive(Debug)]
pub struct Layout {
    /// Element of a list's item; empty for a flattened list.
    pub item: &'static str,
    /// Element of a map's entry; empty for a flattened map.
    pub entry: &'static str,
    /// Element of an entry's key.
    pub key: &'static str,
    /// Element of an entry's value.
    pub value: &'static str,
    /// Layout of what is inside, where that is a list or a map again.
    pub inner: Option<&'static Layout>,
}

impl Layout {
    /// What a model without any `locationName` means.
    pub const DEFAULT: Self = Self { item: "member", entry: "entry", key: "key", value: "value", inner: None };

    fn inner(&self) -> &'static Self {
        static DEFAULT: Layout = Layout::DEFAULT;
        self.inner.unwrap_or(&DEFAULT)
    }
}

/// The type of a member, list item or map value.
pub trait Member: Sized {
    /// Reads it; `value` is never [`Value::Null`] except for documents.
    ///
    /// # Errors
    /// A value of another type.
    fn read_member(value: &Value, at: &mut Path, layout: &Layout) -> Result<Self, ReadError>;

    /// Writes it.
    fn write_member(&self, writer: &mut dyn Writer, layout: &Layout);
}

fn mismatch<T>(expected: &'static str, value: &Value, at: &Path) -> Result<T, ReadError> {
    Err(ReadError { path: at.to_string(), expected, found: value.kind() })
}

impl Member for String {
    fn read_member(value: &Value, at: &mut Path, _: &Layout) -> Result<Self, ReadError> {
        match value {
            Value::String(text) | Value::Text(text) => Ok(text.clone()),
            other => mismatch("a string", other, at),
        }
    }

    fn write_member(&self, writer: &mut dyn Writer, _: &Layout) {
        writer.string(self);
    }
}

impl Member for bool {
    fn read_member(value: &Value, at: &mut Path, _: &Layout) -> Result<Self, ReadError> {
        match value {
            Value::Bool(value) => Ok(*value),
            Value::Text(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Value::Text(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            other => mismatch("a boolean", other, at),
        }
    }

    fn write_member(&self, writer: &mut dyn Writer, _: &Layout) {
        writer.boolean(*self);
    }
}

/// The integer in `value`, if it is one: `256.0` is, `"256"` is not unless it came from a form.
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(value) => Some(*value),
        Value::Float(value) => whole(*value),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn whole(value: f64) -> Option<i64> {
    const LIMIT: f64 = 9_007_199_254_740_992.0; // 2^53: above it a double no longer names one integer
    #[expect(clippy::cast_possible_truncation, reason = "whole and within range")]
    (value.fract() == 0.0 && value.abs() <= LIMIT).then_some(value as i64)
}

impl Member for i32 {
    fn read_member(value: &Value, at: &mut Path, _: &Layout) -> Result<Self, ReadError> {
        match integer(value).and_then(|value| Self::try_from(value).ok()) {
            Some(value) => Ok(value),
            None => mismatch("a 32-bit integer", value, at),
        }
    }

    fn write_member(&self, writer: &mut dyn Writer, _: &Layout) {
        writer.integer(i64::from(*self));
    }
}

impl Member for i64 {
    fn read_member(value: &Value, at: &mut Path, _: &Layout) -> Result<Self, ReadError> {
        match integer(value) {
            Some(value) => Ok(value),
            None => mismatch("a 64-bit integer", value, at),
        }
    }

    fn write_member(&self, writer: &mut dyn Writer, _: &Layout) {
        writer.integer(*self);
    }
}

impl Member for f64 {
    fn read_member(value: &Value, at: &mut Path, _: &Layout) -> Result<Self, ReadError> {
        #[expect(clippy::cast_precision_loss, reason = "the model asks for a double")]
        let number = match value {
            Value::Int(value) => Some(*value as Self),
            Value::Float(value) => Some(*value),
            // The only strings that a JSON number may be.
            Value::String(text) => match text.as_str() {
                "NaN" => Some(Self::NAN),
                "Infinity" => Some(Self::INFINITY),
                "-Infinity" => Some(Self::NEG_INFINITY),
                _ => None,
            },
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number {
            Some(number) => Ok(number),
            None => mismatch("a number", value, at),
        }
    }

    fn write_member(&self, writer: &mut dyn Writer, _: &Layout) {
        writer.float(*self);
    }
}

impl Member for Timestamp {
    fn read_member(value: &Value, at: &mut Path, _: &Layout) -> Result<Self, ReadError> {
        let time = match value {
            Value::Int(secs) => Some(Self::from_secs(*secs)),
            Value::Float(secs) => time::from_float(*secs),
            Value::String(text) | Value::Text(text) => time::parse(text),
            _ => None,
        };
        match time {
            Some(time) => Ok(time),
            None => mismatch("a timestamp", value, at),
        }
    }

    fn write_member(&self, writer: &mut dyn Writer, _: &Layout) {
        writer.timestamp(*self);
    }
}

impl Member for Vec<u8> {
    fn read_member(value: &Value, at: &mut Path, _: &Layout) -> Result<Self, ReadError> {
        match value {
            Value::String(text) | Value::Text(text) => match STANDARD.decode(text.as_bytes()) {
                Ok(bytes) => Ok(bytes),
                Err(_) => mismatch("a blob in base64", value, at),
            },
            other => mismatch("a blob in base64", other, at),
        }
    }

    fn write_member(&self, writer: &mut dyn Writer, _: &Layout) {
        writer.blob(self);
    }
}

impl Member for Value {
    fn read_member(value: &Value, _: &mut Path, _: &Layout) -> Result<Self, ReadError> {
        Ok(value.clone())
    }

    fn write_member(&self, writer: &mut dyn Writer, layout: &Layout) {
        match self {
            Self::Null => writer.null(),
            Self::Bool(value) => writer.boolean(*value),
            Self::Int(value) => writer.integer(*value),
            Self::Float(value) => writer.float(*value),
            Self::String(text) | Self::Text(text) => writer.string(text),
            Self::List(items) => {
                writer.begin_list(layout.item);
                items.iter().for_each(|item| item.write_member(writer, layout));
                writer.end_list();
            }
            Self::Map(entries) => {
                writer.begin_map(layout.entry, layout.key, layout.value);
                for (key, value) in entries {
                    writer.key(key);
                    value.write_member(writer, layout);
                }
                writer.end_map();
            }
        }
    }
}

impl<T: Member> Member for Box<T> {
    fn read_member(value: &Value, at: &mut Path, layout: &Layout) -> Result<Self, ReadError> {
        T::read_member(value, at, layout).map(Self::new)
    }

    fn write_member(&self, writer: &mut dyn Writer, layout: &Layout) {
        T::write_member(self, writer, layout);
    }
}

impl<T: Member> Member for Vec<T> {
    fn read_member(value: &Value, at: &mut Path, layout: &Layout) -> Result<Self, ReadError> {
        let Some(items) = list_items(value, layout) else { return mismatch("a list", value, at) };
        let mut list = Self::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            if matches!(item, Value::Null) {
                continue;
            }
            list.push(at.index(index, |at| T::read_member(item, at, layout.inner()))?);
        }
        Ok(list)
    }

    fn write_member(&self, writer: &mut dyn Writer, layout: &Layout) {
        writer.begin_list(layout.item);
        for item in self {
            item.write_member(writer, layout.inner());
        }
        writer.end_list();
    }
}

impl<T: Member> Member for BTreeMap<String, T> {
    fn read_member(value: &Value, at: &mut Path, layout: &Layout) -> Result<Self, ReadError> {
        let Some(entries) = map_entries(value, layout) else { return mismatch("a map", value, at) };
        let mut map = Self::new();
        for (key, value) in entries {
            if matches!(value, Value::Null) {
                continue;
            }
            let read = at.key(&key, |at| T::read_member(value, at, layout.inner()))?;
            map.insert(key.into_owned(), read);
        }
        Ok(map)
    }

    fn write_member(&self, writer: &mut dyn Writer, layout: &Layout) {
        writer.begin_map(layout.entry, layout.key, layout.value);
        for (key, value) in self {
            writer.key(key);
            value.write_member(writer, layout.inner());
        }
        writer.end_map();
    }
}

/// Whether `value` came from a form or from XML: its first scalar has no type. JSON never spells a
/// list as a map, so only these may.
fn is_untyped(value: &Value) -> bool {
    match value {
        Value::Text(_) => true,
        Value::List(items) => items.first().is_some_and(is_untyped),
        Value::Map(entries) => entries.values().next().is_some_and(is_untyped),
        _ => false,
    }
}

/// The items of a list: a JSON list; `x.member.1`, `x.1` in a form; repeated elements in XML.
fn list_items<'a>(value: &'a Value, layout: &Layout) -> Option<Vec<&'a Value>> {
    match value {
        Value::List(items) => Some(items.iter().collect()),
        Value::Text(text) if text.is_empty() => Some(Vec::new()),
        _ if !is_untyped(value) => None,
        Value::Map(entries) => {
            if let Some(numbered) = numbered(entries) {
                return Some(numbered);
            }
            if entries.len() == 1
                && let Some(inner) = [layout.item, "member"].iter().find_map(|name| entries.get(*name))
            {
                return match inner {
                    Value::List(items) => Some(items.iter().collect()),
                    Value::Map(entries) => Some(numbered(entries).unwrap_or_else(|| vec![inner])),
                    single => Some(vec![single]),
                };
            }
            layout.item.is_empty().then(|| vec![value])
        }
        single => layout.item.is_empty().then(|| vec![single]),
    }
}

/// The values of `{"1": …, "2": …}` in numeric order.
fn numbered(entries: &BTreeMap<String, Value>) -> Option<Vec<&Value>> {
    let mut items = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        items.push((key.parse::<u32>().ok()?, value));
    }
    items.sort_by_key(|(number, _)| *number);
    Some(items.into_iter().map(|(_, value)| value).collect())
}

type Entries<'a> = Vec<(Cow<'a, str>, &'a Value)>;

/// The entries of a map: a JSON object; `x.entry.1.key` and `.value` in a form and in XML.
fn map_entries<'a>(value: &'a Value, layout: &Layout) -> Option<Entries<'a>> {
    let untyped = is_untyped(value);
    match value {
        Value::Map(entries) if !untyped => Some(entries.iter().map(|(key, value)| (key.into(), value)).collect()),
        Value::Text(text) if text.is_empty() => Some(Vec::new()),
        Value::Map(_) | Value::List(_) if untyped => {
            let name = if layout.entry.is_empty() { "entry" } else { layout.entry };
            let pairs = match value {
                Value::List(items) => items.iter().collect(),
                Value::Map(entries) => match entries.get(name) {
                    Some(Value::List(items)) if entries.len() == 1 => items.iter().collect(),
                    Some(inner @ Value::Map(entries)) => numbered(entries).unwrap_or_else(|| vec![inner]),
                    _ => numbered(entries).unwrap_or_else(|| vec![value]),
                },
                _ => return None,
            };
            pairs
                .into_iter()
                .map(|pair| {
                    let key = pair.get(layout.key)?.as_str()?;
                    static EMPTY: Value = Value::Text(String::new());
                    Some((Cow::from(key), pair.get(layout.value).unwrap_or(&EMPTY)))
                })
                .collect()
        }
        _ => None,
    }
}

/// The members of a structure that is being read.
#[derive(Clone, Copy, Debug)]
pub struct Members<'a>(&'a BTreeMap<String, Value>);

impl<'a> Members<'a> {
    /// Opens `value`; nothing at all is an empty structure.
    ///
    /// # Errors
    /// Something that is no structure.
    pub fn of(value: &'a Value, at: &Path) -> Result<Self, ReadError> {
        static EMPTY: LazyLock<BTreeMap<String, Value>> = LazyLock::new(BTreeMap::new);
        match value {
            Value::Map(entries) => Ok(Self(entries)),
            Value::Null => Ok(Self(&EMPTY)),
            Value::Text(text) if text.trim().is_empty() => Ok(Self(&EMPTY)),
            other => mismatch("a structure", other, at),
        }
    }

    /// The member `name`, if it is there.
    ///
    /// # Errors
    /// A value of another type.
    pub fn get<T: Member>(&self, name: &'static str, at: &mut Path) -> Result<Option<T>, ReadError> {
        self.get_as(name, name, &Layout::DEFAULT, at)
    }

    /// The member `name`, also under the name that query requests or XML answers use.
    ///
    /// # Errors
    /// A value of another type.
    pub fn get_as<T: Member>(
        &self,
        name: &'static str,
        other: &'static str,
        layout: &Layout,
        at: &mut Path,
    ) -> Result<Option<T>, ReadError> {
        let Some(value) = self.0.get(name).or_else(|| self.0.get(other)) else { return Ok(None) };
        if matches!(value, Value::Null) {
            return Ok(None);
        }
        at.push(name);
        let read = T::read_member(value, at, layout)?;
        at.pop();
        Ok(Some(read))
    }
}

/// Writes the member `name` if it is there.
pub fn put<T: Member>(writer: &mut dyn Writer, name: &'static str, value: &Option<T>) {
    put_as(writer, name, name, &Layout::DEFAULT, value);
}

/// Writes the member `name` if it is there; `location` and `layout` are its names outside JSON.
pub fn put_as<T: Member>(
    writer: &mut dyn Writer,
    name: &'static str,
    location: &'static str,
    layout: &Layout,
    value: &Option<T>,
) {
    if let Some(value) = value {
        writer.member(name, location);
        value.write_member(writer, layout);
    }
}

/// What [`Debug`](std::fmt::Debug) shows of a sensitive member: whether it is there.
pub fn hidden<T>(value: &Option<T>) -> Option<Hidden> {
    value.as_ref().map(|_| Hidden)
}

/// Prints as `***`.
pub struct Hidden;

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Implements [`Member`] and serde's traits for generated structures.
macro_rules! structures {
    ($($name:ident),* $(,)?) => {$(
        impl crate::Member for $name {
            fn read_member(value: &crate::Value, at: &mut crate::Path, _: &crate::Layout) -> Result<Self, crate::ReadError> {
                crate::Shape::read(value, at)
            }

            fn write_member(&self, writer: &mut dyn crate::Writer, _: &crate::Layout) {
                crate::Shape::write(self, writer);
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                crate::to_value(self).serialize(serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = <crate::Value as serde::Deserialize>::deserialize(deserializer)?;
                crate::from_value(&value).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

/// Implements the conversions of generated enums.
macro_rules! enumerations {
    ($($name:ident),* $(,)?) => {$(
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::parse(text)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::parse(&text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl crate::Enumeration for $name {
            const VALUES: &'static [&'static str] = Self::VALUES;

            fn as_str(&self) -> &str {
                self.as_str()
            }

            fn is_known(&self) -> bool {
                !matches!(self, Self::UnknownVariant(_))
            }
        }

        impl crate::Member for $name {
            fn read_member(value: &crate::Value, at: &mut crate::Path, layout: &crate::Layout) -> Result<Self, crate::ReadError> {
                String::read_member(value, at, layout).map(Self::from)
            }

            fn write_member(&self, writer: &mut dyn crate::Writer, _: &crate::Layout) {
                writer.string(self.as_str());
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(Self::from)
            }
        }
    )*};
}

pub(crate) use {enumerations, structures};
