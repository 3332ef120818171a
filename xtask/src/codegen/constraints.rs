//! Functions that check the constraints of shapes that are no structures.

use std::collections::{BTreeMap, BTreeSet};

use super::emit::{header, imports, literal};
use super::model::{Kind, Model, Shape};
use super::naming::distinct;
use super::pattern;
use super::shapes::{inner, rust_type};

/// Which shapes of a service's requests have constraints, in themselves or inside.
pub(crate) struct Constraints<'a> {
    model: &'a Model,
    constrained: BTreeSet<&'a str>,
    functions: BTreeMap<&'a str, String>,
    /// Patterns that cannot be checked, by shape.
    pub unchecked: Vec<String>,
}

impl<'a> Constraints<'a> {
    pub(crate) fn new(model: &'a Model) -> Self {
        // Answers are ours: only what a client sends is checked.
        let reachable = model.reachable_from(|operation| operation.input.as_ref());
        let mut unchecked = Vec::new();
        let mut constrained: BTreeSet<&str> = BTreeSet::new();
        for name in &reachable {
            let shape = model.shape(name);
            let translated = shape.pattern.as_deref().is_some_and(|pattern| pattern::translate(pattern).is_some());
            if let Some(pattern) = shape.pattern.as_deref().filter(|_| !translated) {
                unchecked.push(format!("{name}: {pattern}"));
            }
            if has_own(shape, translated) {
                constrained.insert(name);
            }
        }
        // What holds something constrained is constrained.
        loop {
            let more: Vec<&str> = reachable
                .iter()
                .copied()
                .filter(|name| !constrained.contains(name) && !model.shape(name).document)
                .filter(|name| model.inside(name).any(|inside| constrained.contains(inside)))
                .collect();
            if more.is_empty() {
                break;
            }
            constrained.extend(more);
        }
        let functions = distinct(constrained.iter().copied());
        Self { model, constrained, functions, unchecked }
    }

    /// An expression for the function that checks the shape, seen from outside `constraints.rs`;
    /// `None` when there is nothing to check.
    pub(crate) fn check(&self, name: &str) -> Option<String> {
        let check = self.local_check(name)?;
        Some(if check.starts_with("check::") { check } else { format!("constraints::{check}") })
    }

    fn local_check(&self, name: &str) -> Option<String> {
        let shape = self.model.shape(name);
        if !self.constrained.contains(name) {
            return None;
        }
        Some(match shape.kind {
            Kind::Structure => "check::structure".to_owned(),
            Kind::String if !shape.values.is_empty() => "check::enumeration".to_owned(),
            _ => self.functions[name].clone(),
        })
    }

    /// `constraints.rs`; empty when no shape needs a function.
    pub(crate) fn emit(&self) -> String {
        let mut body = String::new();
        for name in &self.constrained {
            let shape = self.model.shape(name);
            let checks = match shape.kind {
                Kind::Structure => continue,
                Kind::String if !shape.values.is_empty() => continue,
                Kind::String => self.text(shape),
                Kind::List | Kind::Map => self.container(shape),
                Kind::Blob => length(shape),
                _ => range(shape),
            };
            let value = rust_type(self.model, name);
            body.push_str(&format!(
                "\npub(super) fn {}(value: &{value}, at: &mut Path, violations: &mut Vec<Violation>) {{\n{checks}}}\n",
                self.functions[name]
            ));
        }
        // The keys of maps are strings even where the model has an enum.
        body.push_str(&self.enum_keys());
        if body.is_empty() {
            return body;
        }
        let mut types = BTreeSet::new();
        for name in &self.constrained {
            let shape = self.model.shape(name);
            if !matches!(shape.kind, Kind::List | Kind::Map) {
                continue;
            }
            let mut held = inner(shape);
            while matches!(self.model.shape(held).kind, Kind::List | Kind::Map) {
                held = inner(self.model.shape(held));
            }
            let of = rust_type(self.model, held);
            let shape = self.model.shape(held);
            if (shape.kind == Kind::Structure && !shape.document) || !shape.values.is_empty() {
                types.insert(of);
            }
        }
        let mut text = header("Constraints of strings, numbers, lists and maps.");
        text.push_str(&imports(&body, "std::collections", &["BTreeMap"]));
        text.push_str(&imports(&body, "longshore_seams", &["Timestamp"]));
        text.push_str("\nuse crate::check");
        text.push_str(if body.contains("Pattern::new") { "::{self, Pattern};\n" } else { ";\n" });
        text.push_str(&imports(&body, "crate", &["Path", "Value", "Violation"]));
        if !types.is_empty() {
            let types: Vec<String> = types.into_iter().collect();
            text.push_str(&format!("use super::{{{}}};\n", types.join(", ")));
        }
        text.push_str(&body);
        text
    }

    fn text(&self, shape: &Shape) -> String {
        let mut checks = String::new();
        let (min, max) = bounds(shape);
        if min != "None" || max != "None" {
            checks.push_str(&format!(
                "    check::text_length(value, {min}, {max}, {}, at, violations);\n",
                shape.sensitive
            ));
        }
        if let Some(source) = &shape.pattern
            && let Some(expression) = pattern::translate(source)
        {
            checks.push_str(&format!(
                "    static PATTERN: Pattern = Pattern::new({}, {});\n    PATTERN.check(value, {}, at, violations);\n",
                literal(source),
                literal(&expression),
                shape.sensitive
            ));
        }
        checks
    }

    fn container(&self, shape: &Shape) -> String {
        let mut checks = length(shape);
        if let Some(check) = self.local_check(inner(shape)) {
            let function = if shape.kind == Kind::List { "items" } else { "values" };
            checks.push_str(&format!("    check::{function}(value, {check}, at, violations);\n"));
        }
        if let Some(key) = &shape.key
            && let Some(check) = self.local_check(&key.shape)
        {
            let check = if check == "check::enumeration" { self.key_function(&key.shape) } else { check };
            checks.push_str(&format!("    check::keys(value, {check}, at, violations);\n"));
        }
        checks
    }

    fn key_function(&self, name: &str) -> String {
        format!("{}_key", self.functions[name].trim_start_matches("r#"))
    }

    fn enum_keys(&self) -> String {
        let keys: BTreeSet<&str> = self
            .constrained
            .iter()
            .filter_map(|name| self.model.shape(name).key.as_ref())
            .map(|key| key.shape.as_str())
            .filter(|key| !self.model.shape(key).values.is_empty())
            .collect();
        keys.into_iter()
            .map(|key| {
                format!(
                    "\nfn {}(value: &String, at: &mut Path, violations: &mut Vec<Violation>) {{\n    check::one_of(value, super::{}::VALUES, at, violations);\n}}\n",
                    self.key_function(key),
                    super::naming::type_name(key)
                )
            })
            .collect()
    }
}

/// Whether a shape itself can be wrong.
fn has_own(shape: &Shape, translated: bool) -> bool {
    let (min, max) = bounds(shape);
    let bounded = min != "None" || max != "None";
    match shape.kind {
        Kind::Structure => !shape.required.is_empty() && !shape.document,
        Kind::String => bounded || translated || !shape.values.is_empty(),
        Kind::Boolean | Kind::Timestamp => false,
        _ => bounded,
    }
}

/// The bounds as `Some(…)`; a length's lower bound of zero binds nothing.
fn bounds(shape: &Shape) -> (String, String) {
    let number = |value: f64| match shape.kind {
        Kind::Double | Kind::Float => format!("Some({value:?})"),
        _ => format!("Some({value:.0})"),
    };
    let is_number = matches!(shape.kind, Kind::Integer | Kind::Long | Kind::Double | Kind::Float);
    let min = shape.min.filter(|min| is_number || *min > 0.0).map_or_else(|| "None".to_owned(), number);
    let max = shape.max.filter(|max| !is_type_limit(shape.kind, *max)).map_or_else(|| "None".to_owned(), number);
    (min, max)
}

/// A bound that the type itself keeps.
fn is_type_limit(kind: Kind, max: f64) -> bool {
    kind == Kind::Integer && max >= f64::from(i32::MAX)
}

fn length(shape: &Shape) -> String {
    let (min, max) = bounds(shape);
    if min == "None" && max == "None" {
        return String::new();
    }
    format!("    check::length(value.len(), {min}, {max}, || None, at, violations);\n")
}

fn range(shape: &Shape) -> String {
    let (min, max) = bounds(shape);
    format!("    check::range(*value, {min}, {max}, at, violations);\n")
}
