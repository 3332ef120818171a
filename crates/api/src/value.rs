//! A parsed request, whatever protocol it came in.

use std::collections::BTreeMap;

/// A tree of what the client sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// JSON `null`: the same as absent.
    #[default]
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number with a fraction, or one out of `i64`'s range.
    Float(f64),
    /// A string (blobs and timestamps may be in it, by shape).
    String(String),
    /// A scalar from a form or from XML, whose type only the shape knows.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// A structure or map.
    Map(BTreeMap<String, Value>),
}
