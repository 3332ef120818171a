//! The constraints that models declare, worded as AWS words them.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use regex::Regex;

use crate::{Path, ServiceError, Shape, Value, Violation};

/// Longest value that a message repeats, in bytes.
const VALUE_LIMIT: usize = 1024;

/// A value in a message; `None` leaves it out.
type Shown = Option<String>;

fn add(violations: &mut Vec<Violation>, at: &Path, value: Shown, constraint: String) {
    violations.push(Violation { path: at.to_string(), value, constraint });
}

fn shown(value: &str) -> Shown {
    (value.len() <= VALUE_LIMIT).then(|| format!("'{value}'"))
}

/// A member that must be there.
pub(crate) fn required<T>(value: &Option<T>, name: &'static str, at: &mut Path, violations: &mut Vec<Violation>) {
    if value.is_none() {
        at.push(name);
        add(violations, at, Some("null".to_owned()), "Member must not be null".to_owned());
        at.pop();
    }
}

/// What checks one value.
pub(crate) type Check<T> = fn(&T, &mut Path, &mut Vec<Violation>);

/// Checks a member if it is there.
pub(crate) fn member<T>(
    value: &Option<T>,
    name: &'static str,
    check: Check<T>,
    at: &mut Path,
    violations: &mut Vec<Violation>,
) {
    if let Some(value) = value {
        at.push(name);
        check(value, at, violations);
        at.pop();
    }
}

/// Checks each item.
pub(crate) fn items<T>(items: &[T], check: Check<T>, at: &mut Path, violations: &mut Vec<Violation>) {
    for (index, item) in items.iter().enumerate() {
        at.index(index, |at| check(item, at, violations));
    }
}

/// Checks each entry's value.
pub(crate) fn values<T>(map: &BTreeMap<String, T>, check: Check<T>, at: &mut Path, violations: &mut Vec<Violation>) {
    for (key, value) in map {
        at.key(key, |at| check(value, at, violations));
    }
}

/// Checks each entry's key.
pub(crate) fn keys<T>(map: &BTreeMap<String, T>, check: Check<String>, at: &mut Path, violations: &mut Vec<Violation>) {
    for key in map.keys() {
        at.key(key, |at| check(key, at, violations));
    }
}

/// A structure's own constraints.
pub(crate) fn structure<T: Shape>(value: &T, at: &mut Path, violations: &mut Vec<Violation>) {
    value.validate(at, violations);
}

/// Bounds on a length (characters, items, entries, bytes), both inclusive.
pub(crate) fn length(
    length: usize,
    min: Option<usize>,
    max: Option<usize>,
    value: impl Fn() -> Shown,
    at: &Path,
    violations: &mut Vec<Violation>,
) {
    if let Some(min) = min.filter(|min| length < *min) {
        add(violations, at, value(), format!("Member must have length greater than or equal to {min}"));
    }
    if let Some(max) = max.filter(|max| length > *max) {
        add(violations, at, value(), format!("Member must have length less than or equal to {max}"));
    }
}

/// Bounds on a string's length in characters.
pub(crate) fn text_length(
    value: &str,
    min: Option<usize>,
    max: Option<usize>,
    sensitive: bool,
    at: &Path,
    violations: &mut Vec<Violation>,
) {
    length(value.chars().count(), min, max, || shown(value).filter(|_| !sensitive), at, violations);
}

/// Bounds on a number, both inclusive.
pub(crate) fn range<N: PartialOrd + Copy + std::fmt::Display>(
    value: N,
    min: Option<N>,
    max: Option<N>,
    at: &Path,
    violations: &mut Vec<Violation>,
) {
    if let Some(min) = min.filter(|min| value < *min) {
        add(
            violations,
            at,
            shown(&value.to_string()),
            format!("Member must have value greater than or equal to {min}"),
        );
    }
    if let Some(max) = max.filter(|max| value > *max) {
        add(violations, at, shown(&value.to_string()), format!("Member must have value less than or equal to {max}"));
    }
}

/// A generated enum: open, because clients may know values that the model does not.
pub trait Enumeration {
    /// Every value of the model.
    const VALUES: &'static [&'static str];

    /// The value as it stands on the wire.
    fn as_str(&self) -> &str;

    /// Whether the model has it.
    fn is_known(&self) -> bool;
}

/// A value of the model's set.
pub(crate) fn enumeration<E: Enumeration>(value: &E, at: &mut Path, violations: &mut Vec<Violation>) {
    if !value.is_known() {
        one_of(value.as_str(), E::VALUES, at, violations);
    }
}

/// A value of the set.
pub(crate) fn one_of(value: &str, values: &[&str], at: &Path, violations: &mut Vec<Violation>) {
    if !values.contains(&value) {
        let constraint = format!("Member must satisfy enum value set: [{}]", values.join(", "));
        add(violations, at, shown(value), constraint);
    }
}

/// A model's pattern, compiled when it is first needed.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// As the model has it, for messages.
    source: &'static str,
    /// The same, anchored, in the `regex` crate's syntax. The generator has compiled it.
    expression: &'static str,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    pub(crate) const fn new(source: &'static str, expression: &'static str) -> Self {
        Self { source, expression, compiled: OnceLock::new() }
    }

    pub(crate) fn check(&self, value: &str, sensitive: bool, at: &Path, violations: &mut Vec<Violation>) {
        let compiled = self.compiled.get_or_init(|| Regex::new(self.expression).ok());
        if compiled.as_ref().is_some_and(|pattern| !pattern.is_match(value)) {
            let value = shown(value).filter(|_| !sensitive);
            add(violations, at, value, format!("Member must satisfy regular expression pattern: {}", self.source));
        }
    }
}

/// Reads an operation's input and checks its constraints; `refuse` makes the service's error of the
/// message that lists what is wrong.
///
/// # Errors
/// `SerializationException` for a member of another type; `refuse`'s for broken constraints.
pub(crate) fn input<T: Shape>(value: &Value, refuse: fn(String) -> ServiceError) -> Result<T, ServiceError> {
    let mut at = Path::default();
    let shape = T::read(value, &mut at).map_err(|error| ServiceError {
        query_code: "MalformedInput",
        ..ServiceError::client("SerializationException", error.to_string())
    })?;
    let mut violations = Vec::new();
    shape.validate(&mut Path::default(), &mut violations);
    if violations.is_empty() { Ok(shape) } else { Err(refuse(summary(&violations))) }
}

/// `2 validation errors detected: Value … at … failed to satisfy constraint: …; Value …`
#[must_use]
pub fn summary(violations: &[Violation]) -> String {
    /// More than these help nobody.
    const LISTED: usize = 20;
    let listed: Vec<String> = violations.iter().take(LISTED).map(ToString::to_string).collect();
    let plural = if violations.len() == 1 { "" } else { "s" };
    format!("{} validation error{plural} detected: {}", violations.len(), listed.join("; "))
}

/// An operation's answer, its type forgotten.
pub(crate) fn answer<T: Shape + Send + 'static>(
    result: Result<T, ServiceError>,
) -> Result<Box<dyn crate::Output>, ServiceError> {
    result.map(|output| Box::new(output) as Box<dyn crate::Output>)
}

/// An operation that the model does not have.
pub(crate) fn unknown_operation(name: &str) -> ServiceError {
    ServiceError {
        query_code: "InvalidAction",
        ..ServiceError::client("UnknownOperationException", format!("There is no operation {name}."))
    }
}
