//! XML documents: answers of query services.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use longshore_seams::Timestamp;

use crate::{Operation, Output, ServiceError, ServiceModel, Writer, time};

/// Writes a structure's members as XML elements.
#[derive(Debug, Default)]
pub struct XmlWriter {
    text: String,
    open: Vec<Frame>,
    /// Element of the value that comes next; `None` for the outermost structure, whose members
    /// stand in whatever surrounds it.
    name: Option<String>,
}

#[derive(Debug)]
enum Frame {
    Structure { element: Option<String> },
    List { element: Option<String>, item: String },
    Map { element: Option<String>, entry: String, key: &'static str, value: &'static str, in_entry: bool },
}

impl XmlWriter {
    /// Begins an empty document.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What was written.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }

    /// Opens `<element>` with literal text inside.
    pub fn element(&mut self, element: &str, text: &str) {
        self.start(element);
        self.escaped(text);
        self.finish(element);
    }

    /// Writes `<element>`.
    pub fn start(&mut self, element: &str) {
        self.text.push('<');
        self.text.push_str(element);
        self.text.push('>');
    }

    /// Writes `</element>`.
    pub fn finish(&mut self, element: &str) {
        self.text.push_str("</");
        self.text.push_str(element);
        self.text.push('>');
    }

    fn escaped(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '<' => self.text.push_str("&lt;"),
                '>' => self.text.push_str("&gt;"),
                '&' => self.text.push_str("&amp;"),
                '"' => self.text.push_str("&quot;"),
                // A parser would make a line feed of it.
                '\r' => self.text.push_str("&#13;"),
                // XML 1.0 has no way to write these.
                '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                    self.text.push('\u{fffd}');
                }
                other => self.text.push(other),
            }
        }
    }

    /// The element of the value that is written next.
    fn element_name(&mut self) -> Option<String> {
        match self.open.last() {
            Some(Frame::List { item, .. }) => Some(item.clone()),
            _ => self.name.take(),
        }
    }

    fn scalar(&mut self, text: &str) {
        match self.element_name() {
            Some(element) => self.element(&element, text),
            None => self.escaped(text),
        }
        self.after_value();
    }

    /// Ends a map's entry once its value is written.
    fn after_value(&mut self) {
        if let Some(Frame::Map { entry, in_entry, .. }) = self.open.last_mut()
            && std::mem::take(in_entry)
        {
            let entry = entry.clone();
            self.finish(&entry);
        }
    }

    /// Opens a container; a flattened one (`inner` empty) has no element: its items bear its name.
    fn container(&mut self, inner: &str) -> (Option<String>, String) {
        let element = self.element_name();
        if inner.is_empty() {
            return (None, element.unwrap_or_default());
        }
        if let Some(element) = &element {
            self.start(element);
        }
        (element, inner.to_owned())
    }

    fn end(&mut self) {
        let element = match self.open.pop() {
            Some(Frame::Structure { element } | Frame::List { element, .. } | Frame::Map { element, .. }) => element,
            None => None,
        };
        if let Some(element) = element {
            self.finish(&element);
        }
        self.after_value();
    }
}

impl Writer for XmlWriter {
    fn begin_structure(&mut self) {
        let element = self.element_name();
        if let Some(element) = &element {
            self.start(element);
        }
        self.open.push(Frame::Structure { element });
    }

    fn member(&mut self, _: &'static str, location: &'static str) {
        self.name = Some(location.to_owned());
    }

    fn end_structure(&mut self) {
        self.end();
    }

    fn begin_list(&mut self, item: &'static str) {
        let (element, item) = self.container(item);
        self.open.push(Frame::List { element, item });
    }

    fn end_list(&mut self) {
        self.end();
    }

    fn begin_map(&mut self, entry: &'static str, key: &'static str, value: &'static str) {
        let (element, entry) = self.container(entry);
        self.open.push(Frame::Map { element, entry, key, value, in_entry: false });
    }

    fn key(&mut self, text: &str) {
        if let Some(Frame::Map { entry, key, value, in_entry, .. }) = self.open.last_mut() {
            *in_entry = true;
            let (entry, key, value) = (entry.clone(), *key, *value);
            self.start(&entry);
            self.element(key, text);
            self.name = Some(value.to_owned());
        }
    }

    fn end_map(&mut self) {
        self.end();
    }

    fn null(&mut self) {
        self.scalar("");
    }

    fn boolean(&mut self, value: bool) {
        self.scalar(if value { "true" } else { "false" });
    }

    fn integer(&mut self, value: i64) {
        self.scalar(&value.to_string());
    }

    fn float(&mut self, value: f64) {
        match value {
            value if value.is_finite() => self.scalar(&format!("{value:?}")),
            value if value.is_nan() => self.scalar("NaN"),
            value => self.scalar(if value > 0.0 { "Infinity" } else { "-Infinity" }),
        }
    }

    fn string(&mut self, value: &str) {
        self.scalar(value);
    }

    fn timestamp(&mut self, value: Timestamp) {
        self.scalar(&time::iso8601(value));
    }

    fn blob(&mut self, value: &[u8]) {
        self.scalar(&STANDARD.encode(value));
    }
}

/// A whole answer of `operation`: `<OpResponse><OpResult>…</OpResult><ResponseMetadata>…`, or the
/// `ec2` protocol's `<OpResponse><requestId/>…`.
#[must_use]
pub fn xml_answer(model: &ServiceModel, operation: &Operation, request_id: &str, output: &dyn Output) -> Vec<u8> {
    let response = format!("{}Response", operation.name);
    let mut writer = XmlWriter::new();
    writer.start(&with_namespace(&response, model));
    if model.protocol == "ec2" {
        writer.element("requestId", request_id);
        output.write(&mut writer);
    } else {
        if let Some(wrapper) = operation.result_wrapper {
            writer.start(wrapper);
            output.write(&mut writer);
            writer.finish(wrapper);
        } else {
            output.write(&mut writer);
        }
        writer.start("ResponseMetadata");
        writer.element("RequestId", request_id);
        writer.finish("ResponseMetadata");
    }
    writer.finish(&response);
    writer.into_text().into_bytes()
}

/// A whole error answer of a query or `ec2` service.
#[must_use]
pub fn xml_error(model: &ServiceModel, request_id: &str, error: &ServiceError) -> Vec<u8> {
    let mut writer = XmlWriter::new();
    if model.protocol == "ec2" {
        writer.start("Response");
        writer.start("Errors");
        writer.start("Error");
        writer.element("Code", error.query_code);
        writer.element("Message", &error.message);
        writer.finish("Error");
        writer.finish("Errors");
        writer.element("RequestID", request_id);
        writer.finish("Response");
    } else {
        writer.start(&with_namespace("ErrorResponse", model));
        writer.start("Error");
        writer.element("Type", if error.status < 500 { "Sender" } else { "Receiver" });
        writer.element("Code", error.query_code);
        writer.element("Message", &error.message);
        writer.finish("Error");
        writer.element("RequestId", request_id);
        writer.finish("ErrorResponse");
    }
    writer.into_text().into_bytes()
}

fn with_namespace(element: &str, model: &ServiceModel) -> String {
    match model.xml_namespace {
        Some(namespace) => format!("{element} xmlns=\"{namespace}\""),
        None => element.to_owned(),
    }
}
