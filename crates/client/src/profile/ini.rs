//! The dialect of INI that AWS's tools read.

use std::collections::BTreeMap;

/// A file's sections. Of two sections with one name the later one's settings win, as botocore has it.
#[derive(Clone, Debug, Default)]
pub(super) struct Ini {
    sections: BTreeMap<String, BTreeMap<String, String>>,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Section(&'a str),
    Setting(&'a str, &'a str),
    /// Blank, a comment, or an indented line that belongs to the setting above.
    Other,
}

impl Line<'_> {
    pub(super) fn of(line: &str) -> Line<'_> {
        let text = line.trim_end();
        if text.is_empty() || text.starts_with(['#', ';', ' ', '\t']) {
            return Line::Other;
        }
        if let Some(rest) = text.strip_prefix('[') {
            return rest.split_once(']').map_or(Line::Other, |(name, _)| Line::Section(name.trim()));
        }
        let Some((key, value)) = text.split_once('=') else { return Line::Other };
        // A comment on a setting's line must stand apart from the value, which may hold these characters.
        let comment = [" #", " ;", "\t#", "\t;"].iter().filter_map(|mark| value.find(mark)).min();
        Line::Setting(key.trim(), value[..comment.unwrap_or(value.len())].trim())
    }
}

/// A section's name as it is compared: words apart by one space, without quotes.
pub(super) fn normal(name: &str) -> String {
    name.replace('"', "").split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Ini {
    pub(super) fn parse(text: &str) -> Self {
        let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let mut current = None;
        for line in text.lines() {
            match Line::of(line) {
                Line::Section(name) => current = Some(sections.entry(normal(name)).or_default()),
                Line::Setting(key, value) => {
                    if let Some(section) = &mut current {
                        section.insert(key.to_ascii_lowercase(), value.to_owned());
                    }
                }
                Line::Other => {}
            }
        }
        Self { sections }
    }

    /// A section's settings, keys in lower case.
    pub(super) fn section(&self, name: &str) -> Option<BTreeMap<String, String>> {
        self.sections.get(&normal(name)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_settings_and_comments_are_told_apart() {
        let text = "stray = 1\n# c\n[ profile  \"a\" ] # c\nRegion = x ; c\nkey=a#b;c=\ns3 =\n  nested = 1\nbroken\n[profile b]\n";
        let ini = Ini::parse(text);
        let a = ini.section("profile a").unwrap();
        assert_eq!(a.get("region").map(String::as_str), Some("x"));
        assert_eq!(a.get("key").map(String::as_str), Some("a#b;c="));
        assert!(!a.contains_key("nested"));
        assert_eq!(ini.section("profile b"), Some(BTreeMap::new()));
        assert_eq!(ini.section("profile c"), None);
    }
}
