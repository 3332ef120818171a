//! CloudWatch Logs filter patterns: terms, `{ $.json … }` and `[space, delimited]`. Pure.

mod condition;
mod fields;
mod json;
mod terms;
#[cfg(test)]
mod tests;

/// Deepest nesting of parentheses in a pattern.
pub(crate) const MAX_DEPTH: usize = 16;

/// A parsed filter pattern.
#[derive(Clone, Debug)]
pub struct Pattern(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Terms(terms::Terms),
    Json(json::Expression),
    Fields(fields::Fields),
}

/// Why a text is no filter pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid filter pattern: {reason} at character {at} of {pattern:?}")]
pub struct PatternError {
    /// The text.
    pub pattern: String,
    /// What is wrong.
    pub reason: String,
    /// Where, counted in characters from 1.
    pub at: usize,
}

impl Pattern {
    /// Parses a pattern; an empty one matches everything.
    ///
    /// # Errors
    /// [`PatternError`], which says what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let mut reader = Reader { rest: text };
        reader.skip_spaces();
        let parsed = match reader.peek() {
            Some('{') => json::parse(&mut reader).map(Kind::Json),
            Some('[') => fields::parse(&mut reader).map(Kind::Fields),
            _ => terms::parse(&mut reader).map(Kind::Terms),
        };
        parsed.map(Self).map_err(|reason| PatternError {
            pattern: text.to_owned(),
            reason,
            at: text[..text.len() - reader.rest.len()].chars().count() + 1,
        })
    }

    /// Whether `message` matches.
    #[must_use]
    pub fn matches(&self, message: &str) -> bool {
        match &self.0 {
            Kind::Terms(terms) => terms.matches(message),
            Kind::Json(expression) => serde_json::from_str(message).is_ok_and(|document| expression.matches(&document)),
            Kind::Fields(fields) => fields.matches(message),
        }
    }
}

/// What is left of the text.
pub(crate) struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Takes `token` after spaces, when it comes next.
    fn accept(&mut self, token: &str) -> bool {
        self.skip_spaces();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Takes a word of letters, in any case, when it comes next and ends there.
    fn accept_word(&mut self, word: &str) -> bool {
        self.skip_spaces();
        let Some((start, rest)) = self.rest.split_at_checked(word.len()) else { return false };
        if !start.eq_ignore_ascii_case(word) || rest.starts_with(|next: char| next.is_alphanumeric() || next == '_') {
            return false;
        }
        self.rest = rest;
        true
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.accept(token) { Ok(()) } else { Err(format!("expected {token:?}")) }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|next| !wanted(next)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// The text of a string that begins with a double quote; `\"` and `\\` stand for themselves.
    fn quoted(&mut self) -> Result<String, String> {
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, next)) = characters.next() {
            match next {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                '\\' => match characters.next() {
                    Some((_, escaped @ ('"' | '\\'))) => text.push(escaped),
                    Some((_, other)) => text.extend(['\\', other]),
                    None => break,
                },
                other => text.push(other),
            }
        }
        Err("a quote is not closed".to_owned())
    }

    /// The expression between two `%`.
    fn regex(&mut self) -> Result<regex::Regex, String> {
        let body = &self.rest[1..];
        let end = body.find('%').ok_or("a regular expression is not closed by %")?;
        let expression = regex::RegexBuilder::new(&body[..end])
            .size_limit(1 << 20)
            .build()
            .map_err(|_| format!("not a regular expression: {:?}", &body[..end]))?;
        self.rest = &body[end + 1..];
        Ok(expression)
    }
}
