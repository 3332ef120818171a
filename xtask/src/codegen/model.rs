//! A service model: the part of botocore's format that remains when its prose is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use heck::{ToSnakeCase, ToUpperCamelCase};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, de};

use crate::Result;

/// One service.
#[derive(Debug, Deserialize)]
pub(crate) struct Model {
    pub metadata: Metadata,
    pub operations: Ordered<Operation>,
    pub shapes: Ordered<Shape>,
    #[serde(default)]
    pub pagination: BTreeMap<String, Pagination>,
    /// File name without extension, e.g. `ecs-2014-11-13`.
    #[serde(skip)]
    pub file: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub api_version: String,
    pub endpoint_prefix: String,
    pub protocol: String,
    #[serde(default)]
    pub protocols: Vec<String>,
    pub json_version: Option<String>,
    pub target_prefix: Option<String>,
    pub signing_name: Option<String>,
    pub service_id: String,
    pub xml_namespace: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Operation {
    pub input: Option<Reference>,
    pub output: Option<Reference>,
    #[serde(default)]
    pub errors: Vec<Reference>,
    pub authtype: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reference {
    pub shape: String,
    pub location_name: Option<String>,
    pub query_name: Option<String>,
    pub result_wrapper: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shape {
    #[serde(rename = "type")]
    pub kind: Kind,
    #[serde(default)]
    pub members: Ordered<Reference>,
    #[serde(default)]
    pub required: Vec<String>,
    pub member: Option<Reference>,
    pub key: Option<Reference>,
    pub value: Option<Reference>,
    #[serde(default, rename = "enum")]
    pub values: Vec<String>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub pattern: Option<String>,
    #[serde(default)]
    pub sensitive: bool,
    #[serde(default)]
    pub document: bool,
    #[serde(default)]
    pub flattened: bool,
    #[serde(default)]
    pub exception: bool,
    #[serde(default)]
    pub fault: bool,
    pub error: Option<ErrorTrait>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Blob,
    Boolean,
    Double,
    Float,
    Integer,
    List,
    Long,
    Map,
    String,
    Structure,
    Timestamp,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorTrait {
    pub code: Option<String>,
    pub http_status_code: Option<u16>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Pagination {
    #[serde(default)]
    pub input_token: OneOrMany,
    #[serde(default)]
    pub output_token: OneOrMany,
    pub limit_key: Option<String>,
    #[serde(default)]
    pub result_key: OneOrMany,
    pub more_results: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl OneOrMany {
    pub(crate) fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// A JSON object whose order is the file's.
#[derive(Debug)]
pub(crate) struct Ordered<T>(pub Vec<(String, T)>);

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Ordered<T> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&T> {
        self.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Ordered<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
                let mut entries: Vec<(String, T)> = Vec::new();
                let mut seen = BTreeSet::new();
                while let Some((key, value)) = map.next_entry::<String, T>()? {
                    if !seen.insert(key.clone()) {
                        return Err(de::Error::custom(format_args!("`{key}` is there twice")));
                    }
                    entries.push((key, value));
                }
                Ok(Ordered(entries))
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

impl Model {
    /// Reads `SERVICE-VERSION.json`.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut model: Self = serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        model.file = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        model.operations.0.sort_by(|(one, _), (other, _)| one.cmp(other));
        model.resolve().map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(model)
    }

    /// Every reference names a shape.
    fn resolve(&self) -> std::result::Result<(), String> {
        let shapes: BTreeSet<&str> = self.shapes.iter().map(|(name, _)| name).collect();
        let references =
            self.shapes
                .iter()
                .flat_map(|(_, shape)| {
                    let members = shape.members.iter().map(|(_, reference)| reference);
                    members.chain(&shape.member).chain(&shape.key).chain(&shape.value)
                })
                .chain(self.operations.iter().flat_map(|(_, operation)| {
                    operation.input.iter().chain(&operation.output).chain(&operation.errors)
                }));
        for reference in references {
            if !shapes.contains(reference.shape.as_str()) {
                return Err(format!("no shape `{}`", reference.shape));
            }
        }
        Ok(())
    }

    /// The shape called `name`.
    pub(crate) fn shape(&self, name: &str) -> &Shape {
        self.shapes.get(name).unwrap_or_else(|| unreachable!("{name}: every reference was resolved on reading"))
    }

    /// The service's name in the file's name: `ecs`, `application-autoscaling`.
    fn service(&self) -> &str {
        self.file.strip_suffix(&format!("-{}", self.metadata.api_version)).unwrap_or(&self.file)
    }

    /// The Rust module: `application_autoscaling`.
    pub(crate) fn module(&self) -> String {
        self.service().to_snake_case()
    }

    /// The Rust trait: `ApplicationAutoscaling`, unless a shape has that name.
    pub(crate) fn interface(&self) -> String {
        let name = self.service().to_upper_camel_case();
        if self.shapes.get(&name).is_some() { format!("{name}Service") } else { name }
    }

    /// Whether names in requests and answers differ from the members' (`ec2` only).
    pub(crate) fn is_ec2(&self) -> bool {
        self.metadata.protocol == "ec2"
    }

    /// Whether requests of the service come as forms.
    pub(crate) fn is_query(&self) -> bool {
        self.metadata.protocol == "query" || self.is_ec2()
    }

    /// Shapes that some operation's input or output holds.
    pub(crate) fn reachable(&self) -> BTreeSet<&str> {
        let mut shapes = self.reachable_from(|operation| operation.input.as_ref());
        shapes.append(&mut self.reachable_from(|operation| operation.output.as_ref()));
        shapes
    }

    /// Shapes that are held by what `root` picks of each operation.
    pub(crate) fn reachable_from(&self, root: fn(&Operation) -> Option<&Reference>) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        let mut pending: Vec<&str> = self
            .operations
            .iter()
            .filter_map(|(_, operation)| root(operation))
            .map(|root| root.shape.as_str())
            .collect();
        while let Some(name) = pending.pop() {
            if found.insert(name) {
                pending.extend(self.inside(name));
            }
        }
        found
    }

    /// The shapes that a shape holds directly.
    pub(crate) fn inside<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let shape = self.shape(name);
        let members = shape.members.iter().map(|(_, reference)| reference);
        members.chain(&shape.member).chain(&shape.key).chain(&shape.value).map(|reference| reference.shape.as_str())
    }

    /// Whether a structure holds itself through members that are structures: such members are boxed.
    pub(crate) fn is_recursive(&self, from: &str, to: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut pending = vec![to];
        while let Some(name) = pending.pop() {
            if name == from {
                return true;
            }
            let shape = self.shape(name);
            if shape.kind == Kind::Structure && !shape.document && seen.insert(name) {
                pending.extend(self.inside(name));
            }
        }
        false
    }
}
