//! Forms: requests to query services.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use longshore_seams::Timestamp;

use crate::{Writer, time};

/// Writes a structure as form fields, `Tags.member.1.Key=a`.
#[derive(Debug, Default)]
pub struct FormWriter {
    fields: Vec<(String, String)>,
    /// Parts of the name of the value that comes next.
    name: Vec<String>,
    open: Vec<Frame>,
}

#[derive(Debug)]
enum Frame {
    Structure,
    List { count: usize },
    Map { count: usize, key: &'static str, value: &'static str },
}

impl FormWriter {
    /// Begins an empty form.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The fields, in the order written.
    #[must_use]
    pub fn into_fields(self) -> Vec<(String, String)> {
        self.fields
    }

    /// The form, encoded.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(self.fields);
        form.finish().into_bytes()
    }

    /// Numbers the value that comes next, when it is a list's item.
    fn begin_value(&mut self) {
        if let Some(Frame::List { count }) = self.open.last_mut() {
            *count += 1;
            let number = count.to_string();
            self.name.push(number);
        }
    }

    /// Drops the last part of the name: the member's, the item's number, the entry's value and number.
    fn end_value(&mut self) {
        match self.open.last() {
            Some(Frame::Structure | Frame::List { .. }) => {
                self.name.pop();
            }
            Some(Frame::Map { .. }) => {
                self.name.pop();
                self.name.pop();
            }
            None => {}
        }
    }

    fn scalar(&mut self, text: String) {
        self.begin_value();
        self.field(text);
        self.end_value();
    }

    /// Ends a list or map, whose elements stood under one more part (`member`, `entry`).
    fn end_container(&mut self) {
        let empty = matches!(self.open.pop(), Some(Frame::List { count: 0 } | Frame::Map { count: 0, .. }));
        self.name.pop();
        if empty {
            self.field(String::new());
        }
        self.end_value();
    }

    /// Adds a field under the current name; a flattened list's or map's part is empty.
    fn field(&mut self, text: String) {
        let name: Vec<&str> = self.name.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        self.fields.push((name.join("."), text));
    }

    fn push_part(&mut self, part: &str) {
        self.name.push(part.to_owned());
    }
}

impl Writer for FormWriter {
    fn begin_structure(&mut self) {
        self.begin_value();
        self.open.push(Frame::Structure);
    }

    fn member(&mut self, _: &'static str, location: &'static str) {
        self.push_part(location);
    }

    fn end_structure(&mut self) {
        self.open.pop();
        self.end_value();
    }

    fn begin_list(&mut self, item: &'static str) {
        self.begin_value();
        self.push_part(item);
        self.open.push(Frame::List { count: 0 });
    }

    fn end_list(&mut self) {
        self.end_container();
    }

    fn begin_map(&mut self, entry: &'static str, key: &'static str, value: &'static str) {
        self.begin_value();
        self.push_part(entry);
        self.open.push(Frame::Map { count: 0, key, value });
    }

    fn key(&mut self, text: &str) {
        if let Some(Frame::Map { count, key, value }) = self.open.last_mut() {
            *count += 1;
            let (number, key, value) = (count.to_string(), *key, *value);
            self.name.push(number);
            self.name.push(key.to_owned());
            self.field(text.to_owned());
            self.name.pop();
            self.name.push(value.to_owned());
        }
    }

    fn end_map(&mut self) {
        self.end_container();
    }

    fn null(&mut self) {
        self.scalar(String::new());
    }

    fn boolean(&mut self, value: bool) {
        self.scalar(value.to_string());
    }

    fn integer(&mut self, value: i64) {
        self.scalar(value.to_string());
    }

    fn float(&mut self, value: f64) {
        self.scalar(format!("{value:?}"));
    }

    fn string(&mut self, value: &str) {
        self.scalar(value.to_owned());
    }

    fn timestamp(&mut self, value: Timestamp) {
        self.scalar(time::iso8601(value));
    }

    fn blob(&mut self, value: &[u8]) {
        self.scalar(STANDARD.encode(value));
    }
}
