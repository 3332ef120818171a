//! Comparisons, as JSON and space-delimited patterns share them.

use super::Reader;

/// `= 500`, `!= *timeout*`, `>= 1.5e3`.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    pub(crate) operator: Operator,
    pub(crate) test: Test,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// With what a value is compared.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    Number {
        value: f64,
        text: String,
    },
    /// Text in which `*` stands for anything.
    Text(String),
    Regex(regex::Regex),
}

/// Parses an operator and what follows it. `ends` are the characters that end a bare value.
pub(crate) fn parse(reader: &mut Reader<'_>, ends: &str) -> Result<Comparison, String> {
    const OPERATORS: [(&str, Operator); 6] = [
        ("!=", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("=", Operator::Equal),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ];
    let Some((_, operator)) = OPERATORS.into_iter().find(|(token, _)| reader.accept(token)) else {
        return Err("expected one of = != < <= > >=".to_owned());
    };
    reader.skip_spaces();
    let test = match reader.peek() {
        Some('"') => Test::Text(reader.quoted()?),
        Some('%') => Test::Regex(reader.regex()?),
        _ => {
            let text = reader.take_while(|next| !next.is_whitespace() && !ends.contains(next));
            match text.parse::<f64>() {
                _ if text.is_empty() => return Err("expected a value".to_owned()),
                Ok(value) if value.is_finite() => Test::Number { value, text: text.to_owned() },
                _ => Test::Text(text.to_owned()),
            }
        }
    };
    let ordered = !matches!(operator, Operator::Equal | Operator::NotEqual);
    if ordered && !matches!(test, Test::Number { .. }) {
        return Err("only numbers can be compared by size".to_owned());
    }
    Ok(Comparison { operator, test })
}

impl Operator {
    /// Whether the operator holds between two numbers.
    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

impl Comparison {
    /// Whether it holds for a number.
    pub(crate) fn holds_for_number(&self, number: f64, text: &str) -> bool {
        match &self.test {
            Test::Number { value, .. } => self.operator.holds(number, *value),
            Test::Text(_) | Test::Regex(_) => self.holds_for_text(text),
        }
    }

    /// Whether it holds for a text. A text is a number only where a size is asked for.
    pub(crate) fn holds_for_text(&self, text: &str) -> bool {
        let same = match &self.test {
            Test::Number { value, text: literal } => {
                return match (self.operator, text.parse::<f64>()) {
                    (operator, Ok(number)) => operator.holds(number, *value),
                    (Operator::NotEqual, Err(_)) => text != literal,
                    (_, Err(_)) => false,
                };
            }
            Test::Text(pattern) => wildcard(pattern, text),
            Test::Regex(regex) => regex.is_match(text),
        };
        same == (self.operator == Operator::Equal)
    }
}

/// Whether `text` is `pattern`, in which `*` stands for any characters.
fn wildcard(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::wildcard;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, same) in [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("*b*", "abc", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcd", false),
            ("*", "", true),
            ("a*a", "a", false),
            ("*ab*ab", "ab", false),
            ("**", "x", true),
        ] {
            assert_eq!(wildcard(pattern, text), same, "{pattern} {text}");
        }
    }
}
