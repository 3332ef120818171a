//! How structures and messages are read and written: one macro for structures, one for message sets.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Why a frame could not be read.
#[derive(Debug)]
pub enum FrameError {
    /// Not JSON, or a member has a wrong type.
    Json {
        /// The message's type, when it was known by then.
        kind: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A telemetry frame without the empty line that ends its headers.
    NoHeaderEnd,
    /// A telemetry header line without a colon.
    HeaderLine(String),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Json { kind, source } if kind.is_empty() => write!(f, "the frame is not a message: {source}"),
            Self::Json { kind, source } => write!(f, "the {kind} can not be read: {source}"),
            Self::NoHeaderEnd => f.write_str("the telemetry frame has no empty line after its headers"),
            Self::HeaderLine(line) => write!(f, "the telemetry frame has a header line without a colon: {line:?}"),
        }
    }
}

impl std::error::Error for FrameError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Json { source, .. } => Some(source),
            Self::NoHeaderEnd | Self::HeaderLine(_) => None,
        }
    }
}

/// JSON inside JSON: written as a string, read from a string or from the value itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JsonText(pub String);

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Self(text),
            other => Self(other.to_string()),
        })
    }
}

/// Whether a member with this value is left out when written.
pub(crate) trait Absent {
    fn absent(&self) -> bool;
}

impl<T> Absent for Option<T> {
    fn absent(&self) -> bool {
        self.is_none()
    }
}

impl<T> Absent for Vec<T> {
    fn absent(&self) -> bool {
        self.is_empty()
    }
}

impl<K, V> Absent for BTreeMap<K, V> {
    fn absent(&self) -> bool {
        self.is_empty()
    }
}

impl Absent for String {
    fn absent(&self) -> bool {
        self.is_empty()
    }
}

impl Absent for JsonText {
    fn absent(&self) -> bool {
        self.0.is_empty()
    }
}

macro_rules! absent_when_default {
    ($($t:ty)*) => {$(
        impl Absent for $t {
            fn absent(&self) -> bool {
                *self == <$t>::default()
            }
        }
    )*};
}
absent_when_default!(bool i32 i64 u16 u64 f64);

/// Serializes a message under its type.
pub(crate) fn envelope<T: Serialize>(kind: &str, message: &T) -> String {
    #[derive(Serialize)]
    struct Out<'a, T> {
        r#type: &'a str,
        message: &'a T,
    }
    serde_json::to_string(&Out { r#type: kind, message }).expect("messages have string keys and finite numbers")
}

macro_rules! wire_struct {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $( $(#[$field_meta:meta])* $wire:literal $([$always:ident])? $field:ident : $ty:ty, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Default)]
        $vis struct $name {
            $( $(#[$field_meta])* pub $field: $ty, )*
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serde::Serializer::serialize_map(serializer, None)?;
                $(
                    if wire_struct!(@written self.$field $(, $always)?) {
                        serde::ser::SerializeMap::serialize_entry(&mut map, $wire, &self.$field)?;
                    }
                )*
                serde::ser::SerializeMap::end(map)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Members;
                impl<'de> serde::de::Visitor<'de> for Members {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        let mut out = $name::default();
                        while let Some(name) = map.next_key::<std::borrow::Cow<'_, str>>()? {
                            $(
                                if name.eq_ignore_ascii_case($wire) {
                                    // `null` leaves what was there, as Go's reader does.
                                    if let Some(value) = map.next_value::<Option<$ty>>()? {
                                        out.$field = value;
                                    }
                                    continue;
                                }
                            )*
                            map.next_value::<serde::de::IgnoredAny>()?;
                        }
                        Ok(out)
                    }
                }
                deserializer.deserialize_map(Members)
            }
        }
    };
    (@written $field:expr) => { !$crate::wire::Absent::absent(&$field) };
    (@written $field:expr, always) => { true };
}

wire_struct! {
    /// The envelope of every message.
    pub(crate) struct Envelope {
        /// Message type.
        "type" kind: String,
        /// Its fields.
        "message" message: Option<Box<RawValue>>,
    }
}

macro_rules! message_set {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $( $(#[$variant_meta:meta])* $variant:ident($ty:ty) = $wire:literal, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $name {
            $( $(#[$variant_meta])* $variant($ty), )*
            /// A type that this side does not know: logged and dropped.
            Other {
                /// The type's name.
                kind: String,
                /// Its fields, as sent.
                message: String,
            },
        }

        impl $name {
            /// The type's name on the wire.
            #[must_use]
            pub fn kind(&self) -> &str {
                match self {
                    $( Self::$variant(_) => $wire, )*
                    Self::Other { kind, .. } => kind,
                }
            }

            /// The message as a text frame.
            #[must_use]
            pub fn to_json(&self) -> String {
                match self {
                    $( Self::$variant(message) => $crate::wire::envelope($wire, message), )*
                    Self::Other { kind, message } => {
                        let raw = serde_json::value::RawValue::from_string(message.clone()).unwrap_or_default();
                        $crate::wire::envelope(kind, &raw)
                    }
                }
            }

            /// Reads a text frame. A type that is not known is [`Self::Other`].
            ///
            /// # Errors
            /// [`FrameError::Json`] when it is not a message or a member has a wrong type.
            pub fn parse(frame: &str) -> Result<Self, $crate::FrameError> {
                let envelope: $crate::wire::Envelope = serde_json::from_str(frame)
                    .map_err(|source| $crate::FrameError::Json { kind: String::new(), source })?;
                let text = envelope.message.as_deref().map_or("{}", serde_json::value::RawValue::get);
                match envelope.kind.as_str() {
                    $(
                        $wire => serde_json::from_str(text).map(Self::$variant)
                            .map_err(|source| $crate::FrameError::Json { kind: $wire.to_owned(), source }),
                    )*
                    _ => Ok(Self::Other { kind: envelope.kind, message: text.to_owned() }),
                }
            }
        }
    };
}
