//! One writer for each kind of document.

mod form;
mod json;
mod value;
mod xml;

pub use form::FormWriter;
pub use json::JsonWriter;
pub(crate) use value::ValueWriter;
pub use xml::{XmlWriter, xml_answer, xml_error};

use crate::{Path, ReadError, Shape, SyntaxError, Value, Writer};

/// A document that is not what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No JSON.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// JSON of another shape.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Writes a shape as JSON.
#[must_use]
pub fn to_json(shape: &impl Shape) -> Vec<u8> {
    let mut writer = JsonWriter::new();
    shape.write(&mut writer);
    writer.into_bytes()
}

/// Writes a shape as JSON with times as text, as events carry them.
#[must_use]
pub fn to_event_json(shape: &impl Shape) -> String {
    let mut writer = JsonWriter::of_event();
    shape.write(&mut writer);
    writer.into_text()
}

/// Writes shapes as a JSON list.
#[must_use]
pub fn to_json_list<T: Shape>(shapes: &[T]) -> String {
    let mut writer = JsonWriter::new();
    writer.begin_list("");
    shapes.iter().for_each(|shape| shape.write(&mut writer));
    writer.end_list();
    writer.into_text()
}

/// Reads a shape from JSON. Constraints are not checked.
///
/// # Errors
/// Bytes that are no JSON, or a member of another type than the model's.
pub fn from_json<T: Shape>(bytes: &[u8]) -> Result<T, DecodeError> {
    Ok(from_value(&Value::from_json(bytes)?)?)
}

/// Writes a shape as a value.
#[must_use]
pub fn to_value(shape: &impl Shape) -> Value {
    let mut writer = ValueWriter::default();
    shape.write(&mut writer);
    writer.into_value()
}

/// Reads a shape from a value. Constraints are not checked.
///
/// # Errors
/// A member of another type than the model's.
pub fn from_value<T: Shape>(value: &Value) -> Result<T, ReadError> {
    T::read(value, &mut Path::default())
}
