//! The parser: recursive descent over the characters.
//!
//! ```text
//! expr    = and , { ( "||" | "or" ) , and } ;
//! and     = unary , { ( "&&" | "and" ) , unary } ;
//! unary   = ( "!" | "not" ) , unary | "(" , expr , ")" | simple ;
//! simple  = subject , ( "exists" | "!exists" | "not_exists" )
//!         | subject , comparison , literal | subject , ( "in" | "!in" | "not_in" ) , list ;
//! list    = "[" , literal , { "," , literal } , "]" ;
//! ```

use regex::{Regex, RegexBuilder};

use super::value::{Version, read_date};
use super::{Expr, MAX_EXPRESSION, Relation, Test, TextTest};

/// Deepest nesting of parentheses and negations.
const MAX_DEPTH: usize = 50;

/// Most bytes that one compiled pattern may take.
const MAX_PATTERN_BYTES: usize = 1 << 18;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Relation(Relation),
    Exists(bool),
    In(bool),
    Matches(bool),
}

/// Operators in the order in which they are tried: longer spellings first.
const SYMBOLS: [(&str, Operator); 11] = [
    ("!exists", Operator::Exists(false)),
    ("!in", Operator::In(false)),
    ("==", Operator::Relation(Relation::Equal)),
    ("!=", Operator::Relation(Relation::NotEqual)),
    (">=", Operator::Relation(Relation::GreaterOrEqual)),
    ("<=", Operator::Relation(Relation::LessOrEqual)),
    ("=~", Operator::Matches(true)),
    ("!~", Operator::Matches(false)),
    (">", Operator::Relation(Relation::Greater)),
    ("<", Operator::Relation(Relation::Less)),
    ("=", Operator::Relation(Relation::Equal)),
];

const WORDS: [(&str, Operator); 12] = [
    ("equals", Operator::Relation(Relation::Equal)),
    ("not_equals", Operator::Relation(Relation::NotEqual)),
    ("greater_than", Operator::Relation(Relation::Greater)),
    ("greater_than_equal", Operator::Relation(Relation::GreaterOrEqual)),
    ("less_than", Operator::Relation(Relation::Less)),
    ("less_than_equal", Operator::Relation(Relation::LessOrEqual)),
    ("exists", Operator::Exists(true)),
    ("not_exists", Operator::Exists(false)),
    ("in", Operator::In(true)),
    ("not_in", Operator::In(false)),
    ("matches", Operator::Matches(true)),
    ("not_matches", Operator::Matches(false)),
];

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

pub(super) fn parse(text: &str) -> Result<Expr, String> {
    let length = text.chars().count();
    if length > MAX_EXPRESSION {
        return Err(format!("it has {length} characters, at most {MAX_EXPRESSION} are allowed"));
    }
    let mut parser = Parser { text, at: 0, depth: 0 };
    let expr = parser.or()?;
    parser.skip_blanks();
    if parser.at < text.len() { Err(parser.unexpected("the end, 'and' or 'or'")) } else { Ok(expr) }
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn unexpected(&self, expected: &str) -> String {
        let found: String = self.rest().chars().take(20).collect();
        if found.is_empty() {
            format!("expected {expected} at its end")
        } else {
            format!("expected {expected} at character {}, found '{found}'", self.text[..self.at].chars().count() + 1)
        }
    }

    /// Passes over `symbol` when it comes next.
    fn symbol(&mut self, symbol: &str) -> bool {
        self.skip_blanks();
        let found = self.rest().starts_with(symbol);
        if found {
            self.at += symbol.len();
        }
        found
    }

    /// The word that comes next, without passing over it.
    fn peek_word(&mut self) -> &'a str {
        self.skip_blanks();
        let rest = self.rest();
        &rest[..rest.find(|character: char| !is_name(character)).unwrap_or(rest.len())]
    }

    /// Passes over the word `word` when it comes next.
    fn word(&mut self, word: &str) -> bool {
        let found = self.peek_word().eq_ignore_ascii_case(word);
        if found {
            self.at += word.len();
        }
        found
    }

    fn or(&mut self) -> Result<Expr, String> {
        let mut terms = vec![self.and()?];
        while self.symbol("||") || self.word("or") {
            terms.push(self.and()?);
        }
        Ok(if terms.len() == 1 { terms.remove(0) } else { Expr::Or(terms) })
    }

    fn and(&mut self) -> Result<Expr, String> {
        let mut terms = vec![self.unary()?];
        while self.symbol("&&") || self.word("and") {
            terms.push(self.unary()?);
        }
        Ok(if terms.len() == 1 { terms.remove(0) } else { Expr::And(terms) })
    }

    fn unary(&mut self) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("it nests more than {MAX_DEPTH} parentheses and negations"));
        }
        let expr = if self.symbol("!") || self.word("not") {
            Expr::Not(Box::new(self.unary()?))
        } else if self.symbol("(") {
            let inner = self.or()?;
            if !self.symbol(")") {
                return Err(self.unexpected("')'"));
            }
            inner
        } else {
            Expr::Test(self.simple()?)
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn simple(&mut self) -> Result<Test, String> {
        let subject = self.peek_word();
        if subject.is_empty() {
            return Err(self.unexpected("a subject"));
        }
        let start = self.at;
        self.at += subject.len();
        if let Some(name) = subject.strip_prefix("attribute:") {
            if name.is_empty() {
                return Err("'attribute:' needs the name of an attribute".to_owned());
            }
            return Ok(Test::Attribute(name.to_owned(), self.text_test(subject, Operators::All)?));
        }
        match subject {
            "agentConnected" => Ok(Test::AgentConnected(self.text_test(subject, Operators::Text)?)),
            "ec2InstanceId" => Ok(Test::Ec2InstanceId(self.text_test(subject, Operators::Text)?)),
            "task:group" => Ok(Test::TaskGroup(self.text_test(subject, Operators::All)?)),
            "agentVersion" => {
                let (relation, literal) = self.relation(subject)?;
                let version = Version::read(&literal)
                    .ok_or_else(|| format!("'{literal}' is no version: write it as numbers with dots, e.g. 1.14.5"))?;
                Ok(Test::AgentVersion(relation, version))
            }
            "registeredAt" => {
                let (relation, literal) = self.relation(subject)?;
                let seconds = read_date(&literal).ok_or_else(|| {
                    format!(
                        "'{literal}' is no date: write 2018-06-18, 2018-06-18T22:28:28 or 2018-06-18T22:28:28+00:00"
                    )
                })?;
                Ok(Test::RegisteredAt(relation, seconds))
            }
            "runningTasksCount" => {
                let (relation, literal) = self.relation(subject)?;
                let count = literal.parse().map_err(|_| format!("'{literal}' is no whole number"))?;
                Ok(Test::RunningTasksCount(relation, count))
            }
            _ => {
                self.at = start;
                Err(self.unexpected(
                    "a subject (agentConnected, agentVersion, attribute:NAME, ec2InstanceId, registeredAt, runningTasksCount, task:group)",
                ))
            }
        }
    }

    fn operator(&mut self) -> Result<Operator, String> {
        self.skip_blanks();
        if let Some((symbol, operator)) = SYMBOLS.iter().find(|(symbol, _)| self.rest().starts_with(symbol)) {
            self.at += symbol.len();
            return Ok(*operator);
        }
        let word = self.peek_word();
        let Some((_, operator)) = WORDS.iter().find(|(name, _)| *name == word) else {
            return Err(self.unexpected("an operator"));
        };
        self.at += word.len();
        Ok(*operator)
    }

    /// An operator that orders, with its literal; for subjects that have no other.
    fn relation(&mut self, subject: &str) -> Result<(Relation, String), String> {
        match self.operator()? {
            Operator::Relation(relation) => Ok((relation, self.literal(false)?)),
            other => Err(unsupported(other, subject)),
        }
    }

    fn text_test(&mut self, subject: &str, operators: Operators) -> Result<TextTest, String> {
        let operator = self.operator()?;
        match operator {
            Operator::Exists(_) if operators == Operators::Text => Err(unsupported(operator, subject)),
            Operator::Relation(relation)
                if operators == Operators::Text && !matches!(relation, Relation::Equal | Relation::NotEqual) =>
            {
                Err(unsupported(operator, subject))
            }
            Operator::Exists(wanted) => Ok(TextTest::Exists(wanted)),
            Operator::Relation(relation) => Ok(TextTest::Compare(relation, self.literal(false)?)),
            Operator::In(wanted) => Ok(TextTest::In(wanted, self.list()?)),
            Operator::Matches(wanted) => {
                let literal = self.literal(true)?;
                Ok(TextTest::Matches(wanted, pattern(&literal)?))
            }
        }
    }

    fn list(&mut self) -> Result<Vec<String>, String> {
        if !self.symbol("[") {
            return Err(self.unexpected("a list such as [a, b]"));
        }
        let mut items = vec![self.literal(false)?];
        while self.symbol(",") {
            items.push(self.literal(false)?);
        }
        if self.symbol("]") { Ok(items) } else { Err(self.unexpected("',' or ']'")) }
    }

    fn literal(&mut self, is_pattern: bool) -> Result<String, String> {
        self.skip_blanks();
        let rest = self.rest();
        if let Some(quote) = rest.chars().next().filter(|character| matches!(character, '\'' | '"')) {
            let Some(length) = rest[1..].find(quote) else {
                return Err(self.unexpected(&format!("text that ends with {quote}")));
            };
            self.at += length + 2;
            return Ok(rest[1..=length].to_owned());
        }
        let allowed = if is_pattern { is_bare_pattern } else { is_bare };
        let mut length = rest.find(|character: char| !allowed(character)).unwrap_or(rest.len());
        if let Some(or) = rest[..length].find("||") {
            length = or;
        }
        if length == 0 {
            return Err(self.unexpected("a value"));
        }
        self.at += length;
        Ok(rest[..length].to_owned())
    }
}

/// Which operators a subject with text has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operators {
    /// Every one.
    All,
    /// `==`, `!=`, `in`, `!in`, `=~`, `!~`.
    Text,
}

fn unsupported(operator: Operator, subject: &str) -> String {
    let symbol = SYMBOLS.iter().chain(&WORDS).find(|(_, known)| *known == operator).map_or("", |(symbol, _)| symbol);
    format!("operator '{symbol}' is not supported for {subject}")
}

fn pattern(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(&format!("^(?:{text})$"))
        .size_limit(MAX_PATTERN_BYTES)
        .build()
        .map_err(|error| format!("'{text}' is no usable pattern: {error}"))
}

/// Characters of subjects and keywords.
fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.' | '/' | '\\' | ':' | '@')
}

/// Characters of a literal without quotes.
fn is_bare(character: char) -> bool {
    !character.is_whitespace()
        && !matches!(character, '(' | ')' | '[' | ']' | ',' | '\'' | '"' | '&' | '|' | '!' | '=' | '<' | '>')
}

/// Characters of a pattern without quotes: parentheses would end the expression around it.
fn is_bare_pattern(character: char) -> bool {
    !character.is_whitespace() && !matches!(character, '(' | ')' | '\'' | '"' | '&')
}
