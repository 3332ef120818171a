//! Unstructured patterns: `ERROR "exact phrase" -DEBUG`, `?ERROR ?WARN`, `%regular expression%`.

use super::Reader;

/// Terms of an unstructured pattern.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    required: Vec<Term>,
    excluded: Vec<Term>,
    /// One of these must be there, when nothing is required.
    optional: Vec<Term>,
}

#[derive(Clone, Debug)]
enum Term {
    Text(String),
    Regex(regex::Regex),
}

impl Term {
    fn is_in(&self, message: &str) -> bool {
        match self {
            Self::Text(text) => message.contains(text.as_str()),
            Self::Regex(regex) => regex.is_match(message),
        }
    }
}

pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Terms, String> {
    let mut terms = Terms::default();
    loop {
        reader.skip_spaces();
        let Some(next) = reader.peek() else { return Ok(terms) };
        let list = match next {
            '?' => &mut terms.optional,
            '-' => &mut terms.excluded,
            _ => &mut terms.required,
        };
        if matches!(next, '?' | '-') {
            reader.rest = &reader.rest[1..];
        }
        let term = match reader.peek() {
            Some('"') => Term::Text(reader.quoted()?),
            Some('%') => Term::Regex(reader.regex()?),
            _ => Term::Text(reader.take_while(|next| !next.is_whitespace() && next != '"').to_owned()),
        };
        if matches!(&term, Term::Text(text) if text.is_empty()) {
            return Err("a term is empty".to_owned());
        }
        list.push(term);
    }
}

impl Terms {
    pub(super) fn matches(&self, message: &str) -> bool {
        let found = |term: &Term| term.is_in(message);
        !self.excluded.iter().any(found)
            && self.required.iter().all(found)
            && (!self.required.is_empty() || self.optional.is_empty() || self.optional.iter().any(found))
    }
}
