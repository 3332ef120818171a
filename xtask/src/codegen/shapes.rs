//! Structures, enums, and the names inside lists and maps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::constraints::Constraints;
use super::emit::{header, imports, literal, strings};
use super::model::{Kind, Model, Reference, Shape};
use super::naming::{distinct, snake, type_name, variants};
use super::{File, naming};

/// The Rust type of a shape.
pub(crate) fn rust_type(model: &Model, name: &str) -> String {
    let shape = model.shape(name);
    match shape.kind {
        Kind::Blob => "Vec<u8>".to_owned(),
        Kind::Boolean => "bool".to_owned(),
        Kind::Double | Kind::Float => "f64".to_owned(),
        Kind::Integer => "i32".to_owned(),
        Kind::Long => "i64".to_owned(),
        Kind::Timestamp => "Timestamp".to_owned(),
        Kind::String if shape.values.is_empty() => "String".to_owned(),
        Kind::Structure if shape.document => "Value".to_owned(),
        Kind::String | Kind::Structure => type_name(name),
        Kind::List => format!("Vec<{}>", rust_type(model, inner(shape))),
        Kind::Map => format!("BTreeMap<String, {}>", rust_type(model, inner(shape))),
    }
}

/// The shape inside a list or map.
pub(crate) fn inner(shape: &Shape) -> &str {
    let reference = shape.member.as_ref().or(shape.value.as_ref());
    reference.map_or_else(|| unreachable!("lists have a member, maps a value"), |reference| &reference.shape)
}

/// Whether values of the shape must not be shown.
fn is_sensitive(model: &Model, name: &str) -> bool {
    let shape = model.shape(name);
    shape.sensitive || (matches!(shape.kind, Kind::List | Kind::Map) && is_sensitive(model, inner(shape)))
}

/// Paths of a shape's sensitive members: `containers[].environment`, `secrets{}.value`.
pub(crate) fn sensitive_paths(model: &Model, name: &str) -> Vec<String> {
    fn walk<'a>(model: &'a Model, name: &'a str, path: &str, open: &mut Vec<&'a str>, found: &mut Vec<String>) {
        let shape = model.shape(name);
        if shape.sensitive {
            found.push(path.to_owned());
            return;
        }
        if open.contains(&name) {
            return;
        }
        open.push(name);
        match shape.kind {
            Kind::Structure => {
                for (member, reference) in shape.members.iter() {
                    let dot = if path.is_empty() { "" } else { "." };
                    let member = reference.location_name.as_deref().filter(|_| !model.is_ec2()).unwrap_or(member);
                    walk(model, &reference.shape, &format!("{path}{dot}{member}"), open, found);
                }
            }
            Kind::List => walk(model, inner(shape), &format!("{path}[]"), open, found),
            Kind::Map => walk(model, inner(shape), &format!("{path}{{}}"), open, found),
            _ => {}
        }
        open.pop();
    }
    let mut found = Vec::new();
    walk(model, name, "", &mut Vec::new(), &mut found);
    found
}

fn location(reference: &Option<Reference>) -> Option<&str> {
    reference.as_ref().and_then(|reference| reference.location_name.as_deref())
}

/// Names of a list or map on query and XML protocols; `None` where they are the default ones.
struct Layouts<'a> {
    model: &'a Model,
    names: BTreeMap<&'a str, String>,
}

impl<'a> Layouts<'a> {
    fn new(model: &'a Model, reachable: &BTreeSet<&'a str>) -> Self {
        let names = distinct(reachable.iter().copied());
        Self {
            model,
            names: names
                .into_iter()
                .map(|(shape, name)| (shape, name.trim_start_matches("r#").to_uppercase()))
                .collect(),
        }
    }

    /// Element of a list's item.
    fn item<'s>(&self, shape: &'s Shape) -> &'s str {
        let default = if self.model.is_ec2() { "item" } else { "member" };
        if shape.flattened { "" } else { location(&shape.member).unwrap_or(default) }
    }

    fn is_default(&self, name: &str) -> bool {
        let shape = self.model.shape(name);
        match shape.kind {
            Kind::List => self.item(shape) == "member" && self.is_default(inner(shape)),
            Kind::Map => {
                !shape.flattened
                    && location(&shape.key).is_none_or(|name| name == "key")
                    && location(&shape.value).is_none_or(|name| name == "value")
                    && self.is_default(inner(shape))
            }
            _ => true,
        }
    }

    /// An expression for the layout of a member's shape.
    fn expression(&self, name: &str) -> String {
        if self.is_default(name) { "Layout::DEFAULT".to_owned() } else { format!("layouts::{}", self.names[name]) }
    }

    fn emit(&self) -> String {
        let mut body = String::new();
        for (shape_name, constant) in &self.names {
            if self.is_default(shape_name) {
                continue;
            }
            let shape = self.model.shape(shape_name);
            let item = literal(if shape.kind == Kind::List { self.item(shape) } else { "member" });
            let entry = literal(if shape.flattened { "" } else { "entry" });
            let nested = inner(shape);
            let inner =
                if self.is_default(nested) { "None".to_owned() } else { format!("Some(&{})", self.names[nested]) };
            body.push_str(&format!(
                "pub(super) static {constant}: Layout = Layout {{ item: {item}, entry: {entry}, key: {}, value: {}, inner: {inner} }};\n",
                literal(location(&shape.key).unwrap_or("key")),
                literal(location(&shape.value).unwrap_or("value")),
            ));
        }
        body
    }
}

/// `enums.rs`, `layouts.rs`, `shapes/….rs`.
pub(crate) fn emit(model: &Model, constraints: &Constraints<'_>) -> Vec<File> {
    let reachable = model.reachable();
    let layouts = Layouts::new(model, &reachable);
    let mut files = Vec::new();
    files.extend(enums(model, &reachable).map(|text| (PathBuf::from("enums.rs"), text)));
    let layout_constants = layouts.emit();
    if !layout_constants.is_empty() {
        let head = header("Names inside lists and maps on query and XML protocols.");
        files.push((PathBuf::from("layouts.rs"), format!("{head}use crate::Layout;\n\n{layout_constants}")));
    }
    let mut letters: BTreeMap<char, Vec<&str>> = BTreeMap::new();
    for name in &reachable {
        let shape = model.shape(name);
        if shape.kind == Kind::Structure && !shape.document {
            letters
                .entry(type_name(name).chars().next().map_or('x', |first| first.to_ascii_lowercase()))
                .or_default()
                .push(name);
        }
    }
    let mut index = header("Structures, by first letter.");
    for (letter, names) in &letters {
        index.push_str(&format!("mod {letter};\n"));
        let mut body = String::new();
        for name in names {
            body.push_str(&structure(model, name, constraints, &layouts));
        }
        let types: Vec<String> = names.iter().map(|name| type_name(name)).collect();
        body.push_str(&format!("\nstructures! {{\n    {},\n}}\n", types.join(",\n    ")));
        files.push((PathBuf::from(format!("shapes/{letter}.rs")), structures_file(model, *letter, names, &body)));
    }
    index.push('\n');
    for letter in letters.keys() {
        index.push_str(&format!("pub use {letter}::*;\n"));
    }
    files.push((PathBuf::from("shapes/mod.rs"), index));
    files
}

/// Adds the `use` lines that a file of structures needs.
fn structures_file(model: &Model, letter: char, names: &[&str], body: &str) -> String {
    let here: BTreeSet<String> = names.iter().map(|name| type_name(name)).collect();
    let mut other = BTreeSet::new();
    for name in names {
        for mut held in model.inside(name) {
            while matches!(model.shape(held).kind, Kind::List | Kind::Map) {
                held = inner(model.shape(held));
            }
            let shape = model.shape(held);
            let is_type = match shape.kind {
                Kind::Structure => !shape.document,
                _ => !shape.values.is_empty(),
            };
            if is_type && !here.contains(&type_name(held)) {
                other.insert(type_name(held));
            }
        }
    }
    let mut text = header(&format!("Structures in {}.", letter.to_ascii_uppercase()));
    text.push_str(&imports(body, "std::collections", &["BTreeMap"]));
    text.push_str(&imports(body, "longshore_seams", &["Timestamp"]));
    text.push('\n');
    text.push_str(&imports(body, "crate::member", &["hidden", "put", "put_as", "structures"]));
    let ours = ["Layout", "Members", "Path", "ReadError", "Shape", "Value", "Violation", "Writer", "check"];
    text.push_str(&imports(body, "crate", &ours));
    text.push_str(&imports(body, "super::super", &["constraints", "layouts"]));
    if !other.is_empty() {
        let other: Vec<String> = other.into_iter().collect();
        text.push_str(&format!("use super::super::{{{}}};\n", other.join(", ")));
    }
    text.push('\n');
    text.push_str(body);
    text
}

/// Enums that are read in any case: AWS's own samples write `"monitoring": "basic"`, and ECS takes it.
const IN_ANY_CASE: &[&str] = &["ManagedInstancesMonitoringOptions"];

fn enums(model: &Model, reachable: &BTreeSet<&str>) -> Option<String> {
    let mut body = String::new();
    let mut names = Vec::new();
    for shape_name in reachable {
        let shape = model.shape(shape_name);
        if shape.kind != Kind::String || shape.values.is_empty() {
            continue;
        }
        let name = type_name(shape_name);
        let variants = variants(&shape.values);
        let declared: String = variants.iter().map(|(variant, _)| format!("    {variant},\n")).collect();
        let texts: String = variants
            .iter()
            .map(|(variant, value)| format!("            Self::{variant} => {},\n", literal(value)))
            .collect();
        let parsed: String = variants
            .iter()
            .map(|(variant, value)| format!("            {} => Self::{variant},\n", literal(value)))
            .collect();
        let any_case = IN_ANY_CASE.contains(shape_name);
        let read = if any_case { "text.to_ascii_uppercase().as_str()" } else { "text" };
        let other = if any_case {
            "_ => Self::UnknownVariant(text.to_owned())"
        } else {
            "other => Self::UnknownVariant(other.to_owned())"
        };
        body.push_str(&format!(
            "
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum {name} {{
{declared}    /// A value that the model does not have.
    UnknownVariant(String),
}}

impl {name} {{
    /// Every value of the model.
    pub const VALUES: &'static [&'static str] = {values};

    /// The value as it stands on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {{
        match self {{
{texts}            Self::UnknownVariant(text) => text,
        }}
    }}

    fn parse(text: &str) -> Self {{
        match {read} {{
{parsed}            {other},
        }}
    }}
}}
",
            values = strings(&shape.values),
        ));
        names.push(name);
    }
    if names.is_empty() {
        return None;
    }
    let names = names.join(",\n    ");
    Some(format!("{}use crate::member::enumerations;\n{body}\nenumerations! {{\n    {names},\n}}\n", header("Enums.")))
}

/// How one member is declared, read and written.
struct Field<'a> {
    rust: String,
    of: String,
    reference: &'a Reference,
    member: &'a str,
    /// Name in JSON and in requests of query services.
    name: String,
    /// Name in XML answers, or of a query request where that differs.
    location: String,
    boxed: bool,
    sensitive: bool,
}

fn fields<'a>(model: &'a Model, name: &'a str) -> Vec<Field<'a>> {
    let shape = model.shape(name);
    let rust_names = naming::distinct(shape.members.iter().map(|(member, _)| member));
    shape
        .members
        .iter()
        .map(|(member, reference)| {
            let inner = model.shape(&reference.shape);
            let location = reference.location_name.clone().unwrap_or_else(|| member.to_owned());
            let name_in = match &reference.query_name {
                Some(name) => name.clone(),
                None if model.is_ec2() => capitalized(&location),
                None => location.clone(),
            };
            let is_structure = inner.kind == Kind::Structure && !inner.document;
            Field {
                rust: rust_names[member].clone(),
                of: rust_type(model, &reference.shape),
                reference,
                member,
                name: name_in,
                location,
                boxed: is_structure && model.is_recursive(name, &reference.shape),
                sensitive: shape.sensitive || is_sensitive(model, &reference.shape),
            }
        })
        .collect()
}

fn capitalized(name: &str) -> String {
    let mut characters = name.chars();
    characters.next().into_iter().flat_map(char::to_uppercase).chain(characters).collect()
}

fn structure(model: &Model, name: &str, constraints: &Constraints<'_>, layouts: &Layouts<'_>) -> String {
    let rust = type_name(name);
    let fields = fields(model, name);
    let hides = fields.iter().any(|field| field.sensitive);
    let derives = if hides { "Clone, Default, PartialEq" } else { "Clone, Debug, Default, PartialEq" };
    let mut out = format!("\n#[derive({derives})]\npub struct {rust} {{\n");
    for field in &fields {
        let of = if field.boxed { format!("Box<{}>", field.of) } else { field.of.clone() };
        out.push_str(&format!("    pub {}: Option<{of}>,\n", field.rust));
    }
    out.push_str("}\n");
    if hides {
        out.push_str(&debug(&rust, &fields));
    }
    out.push_str(&format!("\nimpl Shape for {rust} {{\n"));
    out.push_str(&read(&fields, layouts));
    out.push_str(&validate(model, name, &fields, constraints));
    out.push_str(&write(&fields, layouts));
    out.push_str("}\n");
    out
}

fn debug(rust: &str, fields: &[Field<'_>]) -> String {
    let mut out = format!(
        "
impl std::fmt::Debug for {rust} {{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {{
        f.debug_struct({})
",
        literal(rust)
    );
    for field in fields {
        let label = literal(field.rust.trim_start_matches("r#"));
        let value =
            if field.sensitive { format!("hidden(&self.{})", field.rust) } else { format!("self.{}", field.rust) };
        out.push_str(&format!("            .field({label}, &{value})\n"));
    }
    out.push_str("            .finish()\n    }\n}\n");
    out
}

fn read(fields: &[Field<'_>], layouts: &Layouts<'_>) -> String {
    if fields.is_empty() {
        return "    fn read(value: &Value, at: &mut Path) -> Result<Self, ReadError> {\n        Members::of(value, at).map(|_| Self {})\n    }\n".to_owned();
    }
    let mut out = String::from(
        "    fn read(value: &Value, at: &mut Path) -> Result<Self, ReadError> {\n        let members = Members::of(value, at)?;\n        Ok(Self {\n",
    );
    for field in fields {
        let name = literal(&field.name);
        let plain = field.name == field.location && layouts.is_default(&field.reference.shape);
        let read = if plain {
            format!("members.get({name}, at)?")
        } else {
            let layout = layouts.expression(&field.reference.shape);
            format!("members.get_as({name}, {}, &{layout}, at)?", literal(&field.location))
        };
        out.push_str(&format!("            {}: {read},\n", field.rust));
    }
    out.push_str("        })\n    }\n");
    out
}

fn validate(model: &Model, name: &str, fields: &[Field<'_>], constraints: &Constraints<'_>) -> String {
    let shape = model.shape(name);
    let mut body = String::new();
    for field in fields {
        let label = literal(&field.name);
        if shape.required.iter().any(|required| required == field.member) {
            body.push_str(&format!("        check::required(&self.{}, {label}, at, violations);\n", field.rust));
        }
        if let Some(check) = constraints.check(&field.reference.shape) {
            body.push_str(&format!("        check::member(&self.{}, {label}, {check}, at, violations);\n", field.rust));
        }
    }
    if body.is_empty() {
        return body;
    }
    format!("\n    fn validate(&self, at: &mut Path, violations: &mut Vec<Violation>) {{\n{body}    }}\n")
}

fn write(fields: &[Field<'_>], layouts: &Layouts<'_>) -> String {
    let mut out = String::from("\n    fn write(&self, writer: &mut dyn Writer) {\n        writer.begin_structure();\n");
    for field in fields {
        let name = literal(&field.name);
        let plain = field.name == field.location && layouts.is_default(&field.reference.shape);
        if plain {
            out.push_str(&format!("        put(writer, {name}, &self.{});\n", field.rust));
        } else {
            let layout = layouts.expression(&field.reference.shape);
            out.push_str(&format!(
                "        put_as(writer, {name}, {}, &{layout}, &self.{});\n",
                literal(&field.location),
                field.rust
            ));
        }
    }
    out.push_str("        writer.end_structure();\n    }\n");
    out
}

/// A function's name for an operation.
pub(crate) fn method(operation: &str) -> String {
    snake(operation)
}
