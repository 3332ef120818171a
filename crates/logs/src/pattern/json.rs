//! `{ $.status = 500 && ($.path = "/api/*" || $.slow IS TRUE) }`.

use serde_json::Value;

use super::condition::{self, Comparison};
use super::{MAX_DEPTH, Reader};

/// A condition on a JSON document.
#[derive(Clone, Debug)]
pub(super) enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Condition(Vec<Step>, Condition),
}

/// One step from a value to one in it.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Member(String),
    Item(usize),
    /// Any item.
    Items,
}

#[derive(Clone, Debug)]
pub(super) enum Condition {
    Compare(Comparison),
    IsNull,
    IsTrue,
    IsFalse,
    Exists,
    NotExists,
}

pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Expression, String> {
    reader.expect("{")?;
    let expression = any(reader, 0)?;
    reader.expect("}")?;
    reader.skip_spaces();
    if reader.rest.is_empty() { Ok(expression) } else { Err("something follows the closing brace".to_owned()) }
}

fn any(reader: &mut Reader<'_>, depth: usize) -> Result<Expression, String> {
    let mut alternatives = vec![all(reader, depth)?];
    while reader.accept("||") {
        alternatives.push(all(reader, depth)?);
    }
    Ok(Expression::Any(alternatives))
}

fn all(reader: &mut Reader<'_>, depth: usize) -> Result<Expression, String> {
    let mut parts = vec![one(reader, depth)?];
    while reader.accept("&&") {
        parts.push(one(reader, depth)?);
    }
    Ok(Expression::All(parts))
}

fn one(reader: &mut Reader<'_>, depth: usize) -> Result<Expression, String> {
    if depth > MAX_DEPTH {
        return Err(format!("more than {MAX_DEPTH} nested parentheses"));
    }
    if reader.accept("(") {
        let expression = any(reader, depth + 1)?;
        reader.expect(")")?;
        return Ok(expression);
    }
    let path = selector(reader)?;
    let condition = if reader.accept_word("IS") {
        if reader.accept_word("NULL") {
            Condition::IsNull
        } else if reader.accept_word("TRUE") {
            Condition::IsTrue
        } else if reader.accept_word("FALSE") {
            Condition::IsFalse
        } else {
            return Err("expected NULL, TRUE or FALSE after IS".to_owned());
        }
    } else if reader.accept_word("NOT") {
        if !reader.accept_word("EXISTS") {
            return Err("expected EXISTS after NOT".to_owned());
        }
        Condition::NotExists
    } else if reader.accept_word("EXISTS") {
        Condition::Exists
    } else {
        Condition::Compare(condition::parse(reader, "&|(){}")?)
    };
    Ok(Expression::Condition(path, condition))
}

fn selector(reader: &mut Reader<'_>) -> Result<Vec<Step>, String> {
    reader.expect("$")?;
    let mut path = Vec::new();
    loop {
        match reader.peek() {
            Some('.') => {
                reader.rest = &reader.rest[1..];
                if reader.peek() == Some('[') {
                    continue;
                }
                let name = reader.take_while(|next| next.is_alphanumeric() || "_-@:/".contains(next));
                if name.is_empty() {
                    return Err("expected a member's name".to_owned());
                }
                path.push(Step::Member(name.to_owned()));
            }
            Some('[') => {
                reader.rest = &reader.rest[1..];
                path.push(bracketed(reader)?);
                reader.expect("]")?;
            }
            _ if path.is_empty() => return Err("expected . or [ after $".to_owned()),
            _ => return Ok(path),
        }
    }
}

fn bracketed(reader: &mut Reader<'_>) -> Result<Step, String> {
    reader.skip_spaces();
    match reader.peek() {
        Some('"') => Ok(Step::Member(reader.quoted()?)),
        Some('\'') => {
            reader.rest = &reader.rest[1..];
            let name = reader.take_while(|next| next != '\'').to_owned();
            reader.expect("'")?;
            Ok(Step::Member(name))
        }
        Some('*') => {
            reader.rest = &reader.rest[1..];
            Ok(Step::Items)
        }
        _ => {
            let digits = reader.take_while(|next| next.is_ascii_digit());
            digits.parse().map(Step::Item).map_err(|_| "expected an index, * or a quoted name".to_owned())
        }
    }
}

impl Expression {
    pub(super) fn matches(&self, document: &Value) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(document)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(document)),
            Self::Condition(path, condition) => {
                let mut found = Vec::new();
                select(document, path, &mut found);
                match condition {
                    Condition::NotExists => found.is_empty(),
                    condition => found.into_iter().any(|value| condition.holds(value)),
                }
            }
        }
    }
}

fn select<'a>(value: &'a Value, path: &[Step], found: &mut Vec<&'a Value>) {
    let Some((step, rest)) = path.split_first() else {
        found.push(value);
        return;
    };
    match step {
        Step::Member(name) => value.get(name).into_iter().for_each(|value| select(value, rest, found)),
        Step::Item(index) => value.get(index).into_iter().for_each(|value| select(value, rest, found)),
        Step::Items => value.as_array().into_iter().flatten().for_each(|value| select(value, rest, found)),
    }
}

impl Condition {
    fn holds(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Compare(comparison), Value::String(text)) => comparison.holds_for_text(text),
            (Self::Compare(comparison), Value::Number(number)) => {
                comparison.holds_for_number(number.as_f64().unwrap_or(f64::NAN), &number.to_string())
            }
            (Self::Compare(comparison), Value::Bool(value)) => comparison.holds_for_text(&value.to_string()),
            (Self::Compare(_), _) => false,
            (Self::IsNull, value) => value.is_null(),
            (Self::IsTrue, value) => value == &Value::Bool(true),
            (Self::IsFalse, value) => value == &Value::Bool(false),
            (Self::Exists, _) => true,
            (Self::NotExists, _) => false,
        }
    }
}
