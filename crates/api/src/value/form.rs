//! Values from forms: `Tags.member.1.Key=a&Tags.member.1.Value=b`.

use std::collections::BTreeMap;

use super::{DEPTH_LIMIT, SyntaxError, Value};

impl Value {
    /// Parses an `application/x-www-form-urlencoded` document, or a query string. Dots in names
    /// make maps; whether a map is a list (`.1`, `.member.1`) or a structure, the shape decides.
    ///
    /// # Errors
    /// A name that is there twice, that is both a scalar and a parent of others, or nested deeper
    /// than [`DEPTH_LIMIT`].
    pub fn from_form(bytes: &[u8]) -> Result<Self, SyntaxError> {
        let mut root = BTreeMap::new();
        for (name, text) in form_urlencoded::parse(bytes) {
            insert(&mut root, &name, text.into_owned())?;
        }
        Ok(Self::Map(root))
    }
}

fn insert(root: &mut BTreeMap<String, Value>, name: &str, text: String) -> Result<(), SyntaxError> {
    let mut map = root;
    let mut parts = name.split('.');
    let Some(last) = parts.next_back() else { return Ok(()) };
    for (depth, part) in parts.enumerate() {
        if depth >= DEPTH_LIMIT {
            return Err(SyntaxError(format!("`{name}`: nested deeper than {DEPTH_LIMIT} levels")));
        }
        map = match map.entry(part.to_owned()).or_insert_with(Value::map) {
            Value::Map(inner) => inner,
            _ => return Err(SyntaxError(format!("`{name}`: `{part}` has a value of its own"))),
        };
    }
    if map.insert(last.to_owned(), Value::Text(text)).is_some() {
        return Err(SyntaxError(format!("`{name}` is there twice")));
    }
    Ok(())
}
