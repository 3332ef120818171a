//! How generated shapes are read, checked and written.

use std::fmt;

use longshore_seams::Timestamp;

use crate::Value;

/// Where in a request something stands, for messages, as AWS spells it: `containerDefinitions.1.member.portMappings.2.member`.
#[derive(Clone, Debug, Default)]
pub struct Path(Vec<Segment>);

#[derive(Clone, Debug)]
enum Segment {
    Member(&'static str),
    Index(usize),
    Key(String),
}

impl Path {
    pub(crate) fn push(&mut self, name: &'static str) {
        self.0.push(Segment::Member(name));
    }

    pub(crate) fn pop(&mut self) {
        self.0.pop();
    }

    /// Descends into a member while `f` runs.
    pub fn member<T>(&mut self, name: &'static str, f: impl FnOnce(&mut Self) -> T) -> T {
        self.0.push(Segment::Member(name));
        let result = f(self);
        self.0.pop();
        result
    }

    /// Descends into a list item while `f` runs.
    pub fn index<T>(&mut self, index: usize, f: impl FnOnce(&mut Self) -> T) -> T {
        self.0.push(Segment::Index(index));
        let result = f(self);
        self.0.pop();
        result
    }

    /// Descends into a map's entry while `f` runs.
    pub fn key<T>(&mut self, key: &str, f: impl FnOnce(&mut Self) -> T) -> T {
        self.0.push(Segment::Key(key.to_owned()));
        let result = f(self);
        self.0.pop();
        result
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Member(name) if at == 0 => f.write_str(name)?,
                Segment::Member(name) => write!(f, ".{name}")?,
                Segment::Index(index) => write!(f, ".{}.member", index + 1)?,
                Segment::Key(key) => write!(f, ".{key}.member")?,
            }
        }
        Ok(())
    }
}

/// A member has a type that its shape does not allow: `SerializationException`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// Where.
    pub path: String,
    /// What the shape wants.
    pub expected: &'static str,
    /// What was there.
    pub found: &'static str,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.path, self.expected, self.found)
    }
}

impl std::error::Error for ReadError {}

/// A declared constraint (required, enum, length, range, pattern) that the input breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where.
    pub path: String,
    /// The offending value as AWS prints it: `'x'` in quotes, or `null`. `None` when it is
    /// sensitive or too large to print.
    pub value: Option<String>,
    /// `Member must not be null`, `Member must have length greater than or equal to 1`, …
    pub constraint: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Value ")?;
        if let Some(value) = &self.value {
            write!(f, "{value} ")?;
        }
        write!(f, "at '{}' failed to satisfy constraint: {}", self.path, self.constraint)
    }
}

/// A writer of one protocol's documents. Members that are absent are simply not written.
pub trait Writer {
    /// Begins a structure.
    fn begin_structure(&mut self);
    /// Names the member whose value is written next. `location` is its name in XML and query documents.
    fn member(&mut self, name: &'static str, location: &'static str);
    /// Ends a structure.
    fn end_structure(&mut self);
    /// Begins a list; `item` is the element name in XML, empty for a flattened list.
    fn begin_list(&mut self, item: &'static str);
    /// Ends a list.
    fn end_list(&mut self);
    /// Begins a map; element names in XML for entry, key and value.
    fn begin_map(&mut self, entry: &'static str, key: &'static str, value: &'static str);
    /// Names the entry whose value is written next.
    fn key(&mut self, key: &str);
    /// Ends a map.
    fn end_map(&mut self);
    /// Nothing: only inside documents.
    fn null(&mut self);
    /// A boolean.
    fn boolean(&mut self, value: bool);
    /// An integer.
    fn integer(&mut self, value: i64);
    /// A float or double.
    fn float(&mut self, value: f64);
    /// A string.
    fn string(&mut self, value: &str);
    /// A point in time.
    fn timestamp(&mut self, value: Timestamp);
    /// Bytes.
    fn blob(&mut self, value: &[u8]);
}

/// A generated structure.
pub trait Shape: Sized {
    /// Reads the shape; unknown members are ignored, `null` is absent.
    ///
    /// # Errors
    /// A member of another type than the model's.
    fn read(value: &Value, at: &mut Path) -> Result<Self, ReadError>;

    /// Adds every declared constraint that this value breaks to `violations`.
    fn validate(&self, at: &mut Path, violations: &mut Vec<Violation>) {
        let _ = (at, violations);
    }

    /// Writes the shape.
    fn write(&self, writer: &mut dyn Writer);
}

/// A modelled answer, to be written in the request's protocol: any [`Shape`], its type forgotten.
pub trait Output: Send {
    /// Writes the answer's shape.
    fn write(&self, writer: &mut dyn Writer);
}

impl<T: Shape + Send> Output for T {
    fn write(&self, writer: &mut dyn Writer) {
        Shape::write(self, writer);
    }
}

/// How an operation answers page by page.
#[derive(Debug, PartialEq, Eq)]
pub struct Pagination {
    /// Input members that carry the token.
    pub input_token: &'static [&'static str],
    /// Output members that carry the token.
    pub output_token: &'static [&'static str],
    /// Input member that bounds a page.
    pub limit_key: Option<&'static str>,
    /// Output members that hold the page's items.
    pub result_key: &'static [&'static str],
    /// Output member that says whether more follows.
    pub more_results: Option<&'static str>,
}

/// A modelled operation.
#[derive(Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its name, e.g. `RunTask`.
    pub name: &'static str,
    /// Name of its input shape; empty when it takes none.
    pub input: &'static str,
    /// Name of its output shape; empty when it answers nothing.
    pub output: &'static str,
    /// Whether it may be called without a signature (`authtype: none`).
    pub unsigned: bool,
    /// Whether it changes nothing, so needs no audit record (by name: Describe, List, Get, Filter, Discover).
    pub read_only: bool,
    /// Codes of its modelled errors.
    pub errors: &'static [&'static str],
    /// Paths (`a.b[].c`) of input members marked sensitive, for redaction.
    pub sensitive: &'static [&'static str],
    /// Name of the element around a query answer's result, if any.
    pub result_wrapper: Option<&'static str>,
    /// Paging, for operations that page.
    pub pagination: Option<Pagination>,
}

/// A service as its model describes it.
#[derive(Debug, PartialEq, Eq)]
pub struct ServiceModel {
    /// Scope name in signatures, e.g. `ecs`.
    pub signing_name: &'static str,
    /// Prefix of `X-Amz-Target`, for JSON services.
    pub target_prefix: Option<&'static str>,
    /// API version, e.g. `2014-11-13`.
    pub version: &'static str,
    /// `json`, `query`, `ec2`, …: the model's own protocol.
    pub protocol: &'static str,
    /// `1.0` or `1.1`.
    pub json_version: &'static str,
    /// Namespace of XML answers.
    pub xml_namespace: Option<&'static str>,
    /// IAM prefix of its actions, e.g. `ecs`.
    pub action_prefix: &'static str,
    /// All operations, by name.
    pub operations: &'static [Operation],
}

impl ServiceModel {
    /// The operation called `name`.
    #[must_use]
    pub fn operation(&self, name: &str) -> Option<&'static Operation> {
        self.operations.binary_search_by(|operation| operation.name.cmp(name)).ok().map(|at| &self.operations[at])
    }
}

impl<T: Shape> Shape for Box<T> {
    fn read(value: &Value, at: &mut Path) -> Result<Self, ReadError> {
        T::read(value, at).map(Self::new)
    }

    fn validate(&self, at: &mut Path, violations: &mut Vec<Violation>) {
        T::validate(self, at, violations);
    }

    fn write(&self, writer: &mut dyn Writer) {
        T::write(self, writer);
    }
}

/// Input of an operation that takes none, and output of one that answers nothing.
impl Shape for () {
    fn read(_: &Value, _: &mut Path) -> Result<Self, ReadError> {
        Ok(())
    }

    fn write(&self, writer: &mut dyn Writer) {
        writer.begin_structure();
        writer.end_structure();
    }
}
