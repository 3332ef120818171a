//! The cluster query language: which container instances an expression selects.
//!
//! Used by `memberOf` placement constraints and by the `filter` of `ListContainerInstances`
//! (guide chapter 14, "Cluster Query Language"). What the guide leaves open is decided here:
//!
//! * a comparison never holds for an instance that lacks the subject, `!=`, `!in` and `!~`
//!   included; `not(…)` turns that round;
//! * `task:group` has many values: the positive operators hold when one of them matches, the
//!   negative ones when there are some and none matches;
//! * patterns match the whole value, as `java.util.regex.Matcher.matches` does;
//! * `>` and its kin compare attributes as numbers when both sides are, else as text;
//! * a date without a zone is in UTC, and comparisons are exact to the second.

mod parse;
mod value;

use regex::Regex;

use crate::Node;
use value::{Version, compare_text};

/// Most characters in an expression.
pub const MAX_EXPRESSION: usize = 2000;

/// A parsed expression.
#[derive(Clone, Debug)]
pub struct Query {
    text: String,
    expr: Expr,
}

/// Why an expression can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid expression '{expression}': {reason}")]
pub struct QueryError {
    /// The expression, cut at 200 characters.
    pub expression: String,
    /// What is wrong, and where.
    pub reason: String,
}

#[derive(Clone, Debug)]
enum Expr {
    Or(Vec<Expr>),
    And(Vec<Expr>),
    Not(Box<Expr>),
    Test(Test),
}

#[derive(Clone, Debug)]
enum Test {
    AgentConnected(TextTest),
    Ec2InstanceId(TextTest),
    AgentVersion(Relation, Version),
    /// Seconds since the epoch.
    RegisteredAt(Relation, i64),
    RunningTasksCount(Relation, i64),
    Attribute(String, TextTest),
    TaskGroup(TextTest),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

#[derive(Clone, Debug)]
enum TextTest {
    Exists(bool),
    Compare(Relation, String),
    In(bool, Vec<String>),
    Matches(bool, Regex),
}

impl Query {
    /// Parses `expression`.
    ///
    /// # Errors
    /// Bad syntax, an unknown subject, an operator that the subject does not have (guide chapter
    /// 14 lists them), a date, number or pattern that can't be read, more than
    /// [`MAX_EXPRESSION`] characters.
    pub fn parse(expression: &str) -> Result<Self, QueryError> {
        parse::parse(expression)
            .map(|expr| Self { text: expression.to_owned(), expr })
            .map_err(|reason| QueryError { expression: expression.chars().take(200).collect(), reason })
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it asks only what instances of one [`Index`](crate::Index) class have in common: attributes,
    /// connection and version of the agent.
    #[must_use]
    pub fn is_about_class(&self) -> bool {
        self.expr.is_about_class()
    }

    /// Whether the expression selects `node`.
    #[must_use]
    pub fn matches(&self, node: &Node) -> bool {
        self.expr.matches(node)
    }
}

impl Expr {
    fn is_about_class(&self) -> bool {
        match self {
            Self::Or(terms) | Self::And(terms) => terms.iter().all(Self::is_about_class),
            Self::Not(inner) => inner.is_about_class(),
            Self::Test(test) => {
                matches!(test, Test::AgentConnected(_) | Test::AgentVersion(..) | Test::Attribute(..))
            }
        }
    }

    fn matches(&self, node: &Node) -> bool {
        match self {
            Self::Or(terms) => terms.iter().any(|term| term.matches(node)),
            Self::And(terms) => terms.iter().all(|term| term.matches(node)),
            Self::Not(inner) => !inner.matches(node),
            Self::Test(test) => test.matches(node),
        }
    }
}

impl Test {
    fn matches(&self, node: &Node) -> bool {
        match self {
            Self::AgentConnected(test) => {
                test.matches([if node.agent_connected { "true" } else { "false" }].into_iter())
            }
            Self::Ec2InstanceId(test) => test.matches(node.ec2_instance_id.as_deref().into_iter()),
            Self::AgentVersion(relation, wanted) => node
                .agent_version
                .as_deref()
                .and_then(Version::read)
                .is_some_and(|version| relation.holds(&version, wanted)),
            Self::RegisteredAt(relation, seconds) => relation.holds(&node.registered_at.as_secs(), seconds),
            Self::RunningTasksCount(relation, count) => relation.holds(&i64::from(node.running_tasks), count),
            Self::Attribute(name, test) => {
                test.matches(node.attributes.get(name).map(|value| value.as_deref().unwrap_or("")).into_iter())
            }
            Self::TaskGroup(test) => test.matches(node.groups.keys().map(String::as_str)),
        }
    }
}

impl Relation {
    fn holds<T: Ord>(self, left: &T, right: &T) -> bool {
        self.accepts(left.cmp(right))
    }

    fn accepts(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
        }
    }
}

impl TextTest {
    fn matches<'a>(&self, mut values: impl Iterator<Item = &'a str> + Clone) -> bool {
        let some_and_all = |test: &dyn Fn(&str) -> bool| values.clone().next().is_some() && values.clone().all(test);
        match self {
            Self::Exists(wanted) => values.next().is_some() == *wanted,
            Self::Compare(Relation::Equal, wanted) => values.any(|value| value == wanted),
            Self::Compare(Relation::NotEqual, wanted) => some_and_all(&|value| value != wanted),
            Self::Compare(relation, wanted) => values.any(|value| relation.accepts(compare_text(value, wanted))),
            Self::In(true, list) => values.any(|value| list.iter().any(|item| item == value)),
            Self::In(false, list) => some_and_all(&|value| list.iter().all(|item| item != value)),
            Self::Matches(true, pattern) => values.any(|value| pattern.is_match(value)),
            Self::Matches(false, pattern) => some_and_all(&|value| !pattern.is_match(value)),
        }
    }
}

#[cfg(test)]
mod tests;
