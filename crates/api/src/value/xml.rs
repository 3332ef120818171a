//! Values from XML.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::{DEPTH_LIMIT, SyntaxError, Value};

impl Value {
    /// Parses an XML document into what its root element holds: elements become members, repeated
    /// ones lists, text [`Value::Text`]. Attributes and namespaces are dropped.
    ///
    /// # Errors
    /// Bytes that are no well-formed XML, or nesting deeper than [`DEPTH_LIMIT`].
    pub fn from_xml(bytes: &[u8]) -> Result<Self, SyntaxError> {
        let text = std::str::from_utf8(bytes).map_err(|_| SyntaxError("not UTF-8".to_owned()))?;
        let mut reader = Reader::from_str(text);
        let mut open: Vec<(String, Element)> = Vec::new();
        loop {
            let event = reader
                .read_event()
                .map_err(|error| SyntaxError(format!("{error} at byte {}", reader.error_position())))?;
            match event {
                Event::Start(start) => {
                    if open.len() >= DEPTH_LIMIT {
                        return Err(SyntaxError(format!("nested deeper than {DEPTH_LIMIT} levels")));
                    }
                    open.push((start.local_name().as_ref().to_owned(), Element::default()));
                }
                Event::Empty(start) => match open.last_mut() {
                    Some((_, parent)) => parent.add(start.local_name().as_ref().to_owned(), Value::Text(String::new())),
                    None => return Ok(Self::Text(String::new())),
                },
                Event::End(_) => {
                    let Some((name, element)) = open.pop() else { continue };
                    let value = element.finish();
                    match open.last_mut() {
                        Some((_, parent)) => parent.add(name, value),
                        None => return Ok(value),
                    }
                }
                Event::Text(text) => append(&mut open, &text.xml10_content()),
                Event::CData(data) => append(&mut open, &data.xml10_content()),
                Event::GeneralRef(reference) => append(&mut open, &resolve(&reference)?),
                Event::Eof => return Err(SyntaxError("the document ends before its root element does".to_owned())),
                Event::Decl(_) | Event::PI(_) | Event::DocType(_) | Event::Comment(_) => {}
            }
        }
    }
}

fn append(open: &mut [(String, Element)], text: &str) {
    if let Some((_, element)) = open.last_mut() {
        element.text.push_str(text);
    }
}

/// A character reference or one of XML's five entities; documents cannot define their own.
fn resolve(reference: &quick_xml::events::BytesRef<'_>) -> Result<String, SyntaxError> {
    let error = || SyntaxError("unknown entity".to_owned());
    if let Some(character) = reference.resolve_char_ref().map_err(|_| error())? {
        return Ok(character.to_string());
    }
    quick_xml::escape::resolve_predefined_entity(reference).map(str::to_owned).ok_or_else(error)
}

#[derive(Default)]
struct Element {
    text: String,
    children: BTreeMap<String, Value>,
}

impl Element {
    fn add(&mut self, name: String, value: Value) {
        match self.children.remove(&name) {
            None => self.children.insert(name, value),
            Some(Value::List(mut items)) => {
                items.push(value);
                self.children.insert(name, Value::List(items))
            }
            Some(first) => self.children.insert(name, Value::List(vec![first, value])),
        };
    }

    fn finish(self) -> Value {
        if self.children.is_empty() { Value::Text(self.text) } else { Value::Map(self.children) }
    }
}
