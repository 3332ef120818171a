//! JSON documents.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use longshore_seams::Timestamp;

use crate::{Writer, time};

/// Writes one JSON document.
#[derive(Debug, Default)]
pub struct JsonWriter {
    bytes: Vec<u8>,
    /// Whether the next member, item or key is the first in its container.
    first: bool,
    /// For each open container: whether it is a list.
    lists: Vec<bool>,
    /// Times are text.
    text_times: bool,
}

impl JsonWriter {
    /// Begins an empty document.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins an empty document in which times are text with milliseconds, as in events.
    #[must_use]
    pub fn of_event() -> Self {
        Self { text_times: true, ..Self::default() }
    }

    /// The finished document.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The finished document as text.
    ///
    /// # Panics
    /// Never: all that is written is text.
    #[must_use]
    pub fn into_text(self) -> String {
        String::from_utf8(self.bytes).expect("names, strings and numbers are UTF-8")
    }

    /// A comma where one is due before a list's item. Members and keys place their own.
    fn item(&mut self) {
        if self.lists.last() == Some(&true) {
            self.comma();
        }
    }

    fn comma(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.bytes.push(b',');
        }
    }

    fn begin(&mut self, bracket: u8, list: bool) {
        self.item();
        self.bytes.push(bracket);
        self.first = true;
        self.lists.push(list);
    }

    fn end(&mut self, bracket: u8) {
        self.bytes.push(bracket);
        self.first = false;
        self.lists.pop();
    }

    fn quoted(&mut self, text: &str) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        self.bytes.push(b'"');
        let mut rest = text.as_bytes();
        while let Some(at) = rest.iter().position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\') {
            let byte = rest[at];
            self.bytes.extend_from_slice(&rest[..at]);
            match byte {
                b'"' | b'\\' => self.bytes.extend_from_slice(&[b'\\', byte]),
                b'\n' => self.bytes.extend_from_slice(b"\\n"),
                b'\r' => self.bytes.extend_from_slice(b"\\r"),
                b'\t' => self.bytes.extend_from_slice(b"\\t"),
                _ => self.bytes.extend_from_slice(&[
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    HEX[usize::from(byte >> 4)],
                    HEX[usize::from(byte & 15)],
                ]),
            }
            rest = &rest[at + 1..];
        }
        self.bytes.extend_from_slice(rest);
        self.bytes.push(b'"');
    }

    fn name(&mut self, name: &str) {
        self.comma();
        self.quoted(name);
        self.bytes.push(b':');
    }
}

impl Writer for JsonWriter {
    fn begin_structure(&mut self) {
        self.begin(b'{', false);
    }

    fn member(&mut self, name: &'static str, _: &'static str) {
        self.name(name);
    }

    fn end_structure(&mut self) {
        self.end(b'}');
    }

    fn begin_list(&mut self, _: &'static str) {
        self.begin(b'[', true);
    }

    fn end_list(&mut self) {
        self.end(b']');
    }

    fn begin_map(&mut self, _: &'static str, _: &'static str, _: &'static str) {
        self.begin(b'{', false);
    }

    fn key(&mut self, key: &str) {
        self.name(key);
    }

    fn end_map(&mut self) {
        self.end(b'}');
    }

    fn null(&mut self) {
        self.item();
        self.bytes.extend_from_slice(b"null");
    }

    fn boolean(&mut self, value: bool) {
        self.item();
        self.bytes.extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn integer(&mut self, value: i64) {
        self.item();
        self.bytes.extend_from_slice(value.to_string().as_bytes());
    }

    fn float(&mut self, value: f64) {
        self.item();
        match value {
            // `Debug` is the shortest text that reads back as the same number, with an exponent for
            // the very large and small; both are JSON.
            value if value.is_finite() => self.bytes.extend_from_slice(format!("{value:?}").as_bytes()),
            value if value.is_nan() => self.quoted("NaN"),
            value => self.quoted(if value > 0.0 { "Infinity" } else { "-Infinity" }),
        }
    }

    fn string(&mut self, value: &str) {
        self.item();
        self.quoted(value);
    }

    fn timestamp(&mut self, value: Timestamp) {
        self.item();
        if self.text_times {
            self.quoted(&time::iso8601_millis(value));
        } else {
            self.bytes.extend_from_slice(time::seconds(value).as_bytes());
        }
    }

    fn blob(&mut self, value: &[u8]) {
        self.item();
        self.quoted(&STANDARD.encode(value));
    }
}
