//! `[ip, user, ..., status = 4*, bytes > 1000]`: messages cut at spaces, with `"…"` and `[…]` held
//! together.

use super::condition::{self, Comparison};
use super::{MAX_DEPTH, Reader};

/// Most fields in a pattern.
const MAX_FIELDS: usize = 128;

/// A space-delimited pattern.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    fields: Vec<Field>,
}

#[derive(Clone, Debug)]
enum Field {
    /// `...`: any number of fields.
    Rest,
    One(Option<Expression>),
}

/// A condition on one field.
#[derive(Clone, Debug)]
enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Compare(Comparison),
}

pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Fields, String> {
    reader.expect("[")?;
    let mut fields = Vec::new();
    if !reader.accept("]") {
        loop {
            if fields.len() >= MAX_FIELDS {
                return Err(format!("more than {MAX_FIELDS} fields"));
            }
            fields.push(field(reader)?);
            if reader.accept("]") {
                break;
            }
            reader.expect(",")?;
        }
    }
    if fields.iter().filter(|field| matches!(field, Field::Rest)).count() > 1 {
        return Err("... may be there once only".to_owned());
    }
    reader.skip_spaces();
    if reader.rest.is_empty() { Ok(Fields { fields }) } else { Err("something follows the closing bracket".to_owned()) }
}

fn field(reader: &mut Reader<'_>) -> Result<Field, String> {
    if reader.accept("...") {
        return Ok(Field::Rest);
    }
    // A bare name, or a condition that repeats one name.
    let before = reader.rest;
    let name = name(reader)?;
    reader.skip_spaces();
    if matches!(reader.peek(), Some(',' | ']')) {
        return Ok(Field::One(None));
    }
    reader.rest = before;
    Ok(Field::One(Some(any(reader, &name, 0)?)))
}

/// The first name in a field, past opening parentheses.
fn name(reader: &mut Reader<'_>) -> Result<String, String> {
    while reader.accept("(") {}
    reader.skip_spaces();
    let name = reader.take_while(|next| next.is_alphanumeric() || "_-".contains(next));
    if name.is_empty() { Err("expected a field's name".to_owned()) } else { Ok(name.to_owned()) }
}

fn any(reader: &mut Reader<'_>, name: &str, depth: usize) -> Result<Expression, String> {
    let mut alternatives = vec![all(reader, name, depth)?];
    while reader.accept("||") {
        alternatives.push(all(reader, name, depth)?);
    }
    Ok(Expression::Any(alternatives))
}

fn all(reader: &mut Reader<'_>, name: &str, depth: usize) -> Result<Expression, String> {
    let mut parts = vec![one(reader, name, depth)?];
    while reader.accept("&&") {
        parts.push(one(reader, name, depth)?);
    }
    Ok(Expression::All(parts))
}

fn one(reader: &mut Reader<'_>, name: &str, depth: usize) -> Result<Expression, String> {
    if depth > MAX_DEPTH {
        return Err(format!("more than {MAX_DEPTH} nested parentheses"));
    }
    if reader.accept("(") {
        let expression = any(reader, name, depth + 1)?;
        reader.expect(")")?;
        return Ok(expression);
    }
    let compared = self::name(reader)?;
    if compared != name {
        return Err(format!("a condition on {compared:?} stands in the field {name:?}"));
    }
    condition::parse(reader, "&|(),]").map(Expression::Compare)
}

impl Expression {
    fn matches(&self, field: &str) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(field)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(field)),
            Self::Compare(comparison) => comparison.holds_for_text(field),
        }
    }
}

impl Field {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Rest | Self::One(None) => true,
            Self::One(Some(expression)) => expression.matches(text),
        }
    }
}

impl Fields {
    pub(super) fn matches(&self, message: &str) -> bool {
        let texts = split(message);
        let rest = self.fields.iter().position(|field| matches!(field, Field::Rest));
        let all = |fields: &[Field], texts: &[&str]| fields.iter().zip(texts).all(|(field, text)| field.matches(text));
        match rest {
            None => texts.len() == self.fields.len() && all(&self.fields, &texts),
            Some(at) => {
                let (before, after) = (&self.fields[..at], &self.fields[at + 1..]);
                texts.len() >= before.len() + after.len()
                    && all(before, &texts[..before.len()])
                    && all(after, &texts[texts.len() - after.len()..])
            }
        }
    }
}

/// Cuts a message into fields, without the quotes and brackets around them.
fn split(message: &str) -> Vec<&str> {
    let mut fields = Vec::new();
    let mut rest = message.trim_start();
    while let Some(first) = rest.chars().next() {
        let enclosed = match first {
            '"' => rest[1..].find('"').map(|end| (1, end + 1)),
            '[' => rest[1..].find(']').map(|end| (1, end + 1)),
            _ => None,
        };
        let (start, end) = enclosed.unwrap_or((0, rest.find(char::is_whitespace).unwrap_or(rest.len())));
        fields.push(&rest[start..end]);
        rest = rest[end + start..].trim_start();
    }
    fields
}
