//! From lines to events.

use std::sync::Arc;

use longshore_runtime::{LogCursor, LogLine};
use longshore_seams::Timestamp;
use regex::Regex;

use crate::plane::LogEvent;

/// Most bytes of one event's message: what the log service takes, without its overhead.
const LARGEST_EVENT: usize = 262_144 - 26;

/// An event, and the cursor after the last line in it; a long line's first pieces have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assembled {
    pub event: LogEvent,
    pub after: Option<LogCursor>,
}

#[derive(Debug)]
struct Pending {
    at: Timestamp,
    text: String,
    after: LogCursor,
}

/// Joins lines into events: with a pattern, a line that matches begins one and the others continue it.
#[derive(Debug)]
pub(crate) struct Assembler {
    pattern: Option<Arc<Regex>>,
    pending: Option<Pending>,
}

impl Assembler {
    pub fn new(pattern: Option<Arc<Regex>>) -> Self {
        Self { pattern, pending: None }
    }

    /// Whether an event waits for further lines.
    pub fn is_waiting(&self) -> bool {
        self.pending.is_some()
    }

    /// Takes a line in; gives the events that are complete. An empty line is no event, but its cursor counts.
    pub fn push(&mut self, line: &LogLine, out: &mut Vec<Assembled>) {
        let text = String::from_utf8_lossy(&line.line);
        let Some(pattern) = self.pattern.clone() else {
            split(line.at, &text, line.next, out);
            return;
        };
        let begins = pattern.is_match(&text);
        match &mut self.pending {
            Some(pending) if !begins && pending.text.len() + text.len() < LARGEST_EVENT => {
                pending.text.push('\n');
                pending.text.push_str(&text);
                pending.after = line.next;
            }
            _ => {
                self.flush(out);
                self.pending = Some(Pending { at: line.at, text: text.into_owned(), after: line.next });
            }
        }
    }

    /// Gives the event that waits for further lines.
    pub fn flush(&mut self, out: &mut Vec<Assembled>) {
        if let Some(pending) = self.pending.take() {
            split(pending.at, &pending.text, pending.after, out);
        }
    }
}

fn split(at: Timestamp, text: &str, after: LogCursor, out: &mut Vec<Assembled>) {
    let mut rest = text;
    while rest.len() > LARGEST_EVENT {
        let end = (0..=LARGEST_EVENT).rev().find(|end| rest.is_char_boundary(*end)).unwrap_or(rest.len());
        let event = LogEvent { timestamp: at, message: rest[..end].to_owned() };
        out.push(Assembled { event, after: None });
        rest = &rest[end..];
    }
    out.push(Assembled { event: LogEvent { timestamp: at, message: rest.to_owned() }, after: Some(after) });
}

/// The regular expression for a strftime format; other text stands for itself.
pub(crate) fn pattern_of(format: &str) -> String {
    let mut pattern = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            pattern.push_str(&regex::escape(letter.encode_utf8(&mut [0; 4])));
            continue;
        }
        let Some(directive) = letters.next() else {
            pattern.push('%');
            break;
        };
        pattern.push_str(match directive {
            'a' => "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)",
            'A' => "(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)",
            'b' | 'h' => "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)",
            'B' => "(?:January|February|March|April|May|June|July|August|September|October|November|December)",
            'w' => r"\d",
            'd' | 'm' | 'y' | 'H' | 'I' | 'M' | 'S' | 'U' | 'W' => r"\d{2}",
            'j' => r"\d{3}",
            'L' => r"\d{3}",
            'f' => r"\d{1,9}",
            'Y' => r"\d{4}",
            'p' => "(?:[AaPp][Mm])",
            'z' => r"(?:[+-]\d{2}:?\d{2}|Z)",
            'Z' => "[A-Z]{1,5}",
            'F' => r"\d{4}-\d{2}-\d{2}",
            'T' => r"\d{2}:\d{2}:\d{2}",
            '%' => "%",
            _ => ".",
        });
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_runtime::OutputStream;

    fn line(number: u64, text: &str) -> LogLine {
        let at = Timestamp::from_secs(i64::try_from(number).unwrap());
        LogLine { next: LogCursor(number), stream: OutputStream::Stdout, at, line: text.as_bytes().to_vec() }
    }

    fn assemble(pattern: Option<&str>, lines: &[&str]) -> Vec<(String, Option<LogCursor>)> {
        let mut assembler = Assembler::new(pattern.map(|pattern| Arc::new(Regex::new(pattern).unwrap())));
        let mut out = Vec::new();
        for (number, text) in lines.iter().enumerate() {
            assembler.push(&line(number as u64 + 1, text), &mut out);
        }
        assembler.flush(&mut out);
        out.into_iter().map(|assembled| (assembled.event.message, assembled.after)).collect()
    }

    // spec: 07-017
    #[test]
    fn a_line_with_a_date_begins_an_event_and_the_others_continue_it() {
        let pattern = pattern_of("[%Y-%m-%d %H:%M:%S]");
        let lines = ["[2026-11-22 04:05:06] boom", "  at a", "  at b", "[2026-11-22 04:05:07] next"];
        let events = assemble(Some(&pattern), &lines);
        assert_eq!(events[0], ("[2026-11-22 04:05:06] boom\n  at a\n  at b".to_owned(), Some(LogCursor(3))));
        assert_eq!(events[1], ("[2026-11-22 04:05:07] next".to_owned(), Some(LogCursor(4))));
    }

    // spec: 07-018
    #[test]
    fn a_pattern_groups_lines_the_same_way() {
        assert_eq!(assemble(Some("^INFO"), &["INFO a", "b", "INFO c"]).len(), 2);
    }

    #[test]
    fn without_a_pattern_every_line_is_an_event() {
        assert_eq!(
            assemble(None, &["a", "b"]),
            [("a".to_owned(), Some(LogCursor(1))), ("b".to_owned(), Some(LogCursor(2)))]
        );
    }

    #[test]
    fn a_long_line_is_split_and_its_cursor_is_the_last_pieces() {
        let long = "é".repeat(LARGEST_EVENT);
        let events = assemble(None, &[&long]);
        assert!(events.len() > 1 && events.iter().all(|(text, _)| text.len() <= LARGEST_EVENT));
        assert_eq!(events.iter().map(|(text, _)| text.as_str()).collect::<String>(), long);
        assert!(events[..events.len() - 1].iter().all(|(_, after)| after.is_none()));
        assert_eq!(events.last().unwrap().1, Some(LogCursor(1)));
    }
}
