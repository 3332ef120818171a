//! Rust names for a model's names.

use std::collections::{BTreeMap, BTreeSet};

use heck::{ToSnakeCase, ToUpperCamelCase};

/// Names that generated files use themselves.
const RESERVED: &[&str] = &[
    "BTreeMap",
    "Box",
    "Clone",
    "Debug",
    "Default",
    "Err",
    "Formatter",
    "Layout",
    "Member",
    "Members",
    "None",
    "Ok",
    "Option",
    "Output",
    "PartialEq",
    "Path",
    "ReadError",
    "Result",
    "Self",
    "ServiceError",
    "Shape",
    "Some",
    "String",
    "Timestamp",
    "Value",
    "Vec",
    "Violation",
    "Writer",
];

/// A structure's or enum's type name.
pub(crate) fn type_name(shape: &str) -> String {
    let mut characters = shape.chars();
    let name: String = characters.next().into_iter().flat_map(char::to_uppercase).chain(characters).collect();
    if RESERVED.contains(&name.as_str()) { format!("{name}Shape") } else { name }
}

/// A member's, operation's or function's name.
pub(crate) fn snake(name: &str) -> String {
    // Brands that are one word.
    let words = name.replace("FSx", "Fsx").replace("fSx", "fsx").replace("IPv", "Ipv");
    let snake = words.to_snake_case();
    match snake.as_str() {
        "self" | "super" | "crate" | "Self" => format!("{snake}_"),
        _ if is_keyword(&snake) => format!("r#{snake}"),
        _ => snake,
    }
}

fn is_keyword(name: &str) -> bool {
    const KEYWORDS: &[&str] = &[
        "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn", "else", "enum",
        "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
        "move", "mut", "override", "priv", "pub", "ref", "return", "static", "struct", "trait", "true", "try", "type",
        "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
    ];
    KEYWORDS.contains(&name)
}

/// The variants of an enum, in the model's order: (variant, value).
pub(crate) fn variants(values: &[String]) -> Vec<(String, &str)> {
    let mut taken = BTreeSet::from(["UnknownVariant".to_owned()]);
    values
        .iter()
        .map(|value| {
            let words: String =
                value.chars().map(|character| if character.is_alphanumeric() { character } else { '_' }).collect();
            let mut variant = words.to_upper_camel_case();
            if variant.is_empty() {
                variant = if value.is_empty() { "Empty".to_owned() } else { "Symbol".to_owned() };
            }
            if variant.starts_with(|first: char| first.is_ascii_digit()) {
                variant.insert(0, 'V');
            }
            if variant == "Self" {
                variant.push_str("Value");
            }
            let plain = variant.clone();
            let mut number = 2;
            while !taken.insert(variant.clone()) {
                variant = format!("{plain}{number}");
                number += 1;
            }
            (variant, value.as_str())
        })
        .collect()
}

/// Gives each name of a scope its own Rust name.
pub(crate) fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, String> {
    let mut taken = BTreeSet::new();
    let mut map = BTreeMap::new();
    for name in names {
        let plain = snake(name);
        let mut rust = plain.clone();
        let mut number = 2;
        while !taken.insert(rust.clone()) {
            rust = format!("{}_{number}", plain.trim_start_matches("r#"));
            number += 1;
        }
        map.insert(name, rust);
    }
    map
}
