//! A model's patterns are Java's: made into the `regex` crate's.

use regex::Regex;

/// The pattern, anchored at both ends, in the `regex` crate's syntax; `None` when that cannot say it
/// (look-around) or when the text is no pattern at all.
pub(crate) fn translate(source: &str) -> Option<String> {
    let expression = format!(r"\A(?:{})\z", body(source)?);
    Regex::new(&expression).is_ok().then_some(expression)
}

fn body(source: &str) -> Option<String> {
    // UTF-16 spells everything beyond the basic plane with surrogates.
    let source = source
        .replace(r"\uD800\uDC00-\uDBFF\uDFFF", r"\x{10000}-\x{10FFFF}")
        .replace(r"\u10000-\u10FFFF", r"\x{10000}-\x{10FFFF}");
    let mut out = String::new();
    let mut in_class = false;
    let mut characters = source.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                let escaped = characters.next()?;
                let (inside, outside) = match escaped {
                    // ASCII only in Java.
                    'w' => ("0-9A-Za-z_", "[0-9A-Za-z_]"),
                    'd' => ("0-9", "[0-9]"),
                    's' => (r"\t\n\x0B\x0C\r ", r"[\t\n\x0B\x0C\r ]"),
                    'u' => {
                        let digits: String = characters.by_ref().take(4).collect();
                        u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4)?;
                        out.push_str(&format!(r"\x{{{digits}}}"));
                        continue;
                    }
                    'p' if characters.clone().take(7).collect::<String>() == "{Print}" => {
                        characters.by_ref().take(7).for_each(drop);
                        (r"\x20-\x7E", r"[\x20-\x7E]")
                    }
                    'p' if characters.clone().take(7).collect::<String>() == "{ASCII}" => {
                        characters.by_ref().take(7).for_each(drop);
                        (r"\x00-\x7F", r"[\x00-\x7F]")
                    }
                    // Escapes that Java allows and need none here.
                    '/' | '"' | '\'' | ':' | '@' | '=' | ',' | '!' | '_' | ' ' | '%' | ';' | '<' | '>' => {
                        out.push(escaped);
                        continue;
                    }
                    other => {
                        out.push('\\');
                        out.push(other);
                        continue;
                    }
                };
                out.push_str(if in_class { inside } else { outside });
            }
            '[' if in_class => out.push_str(r"\["),
            '[' => {
                in_class = true;
                out.push('[');
                if characters.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            ']' => {
                in_class = false;
                out.push(']');
            }
            // Set operators here, plain characters there.
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(character);
            }
            other => out.push(other),
        }
    }
    Some(out)
}
