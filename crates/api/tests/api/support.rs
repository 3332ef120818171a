//! Reads a service model and makes values of its shapes.

use std::path::Path;

use longshore_api::Value;

/// A service model, as data.
pub struct Model(Value);

impl Model {
    pub fn read(name: &str) -> Self {
        let path = Path::new("models").join(format!("{name}.json"));
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(Value::from_json(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    pub fn operations(&self) -> Vec<&str> {
        entries(self.0.get("operations")).map(|(name, _)| name).collect()
    }

    fn shape(&self, name: &str) -> &Value {
        self.0.get("shapes").and_then(|shapes| shapes.get(name)).unwrap_or_else(|| panic!("no shape {name}"))
    }

    pub fn required(&self, shape: &str) -> Vec<&str> {
        self.shape(shape)
            .get("required")
            .and_then(Value::as_list)
            .unwrap_or_default()
            .iter()
            .filter_map(Value::as_str)
            .collect()
    }

    fn members(&self, shape: &str) -> impl Iterator<Item = (&str, &str)> {
        entries(self.shape(shape).get("members")).map(|(name, member)| (name, reference(member)))
    }

    /// A value with the required members only, each as small as its constraints allow.
    pub fn minimal(&self, name: &str) -> Value {
        let shape = self.shape(name);
        let min = shape.get("min").and_then(Value::as_i64).unwrap_or(0);
        match text(shape, "type") {
            "structure" if shape.get("document").is_some() => Value::map(),
            "structure" => {
                let required = self.required(name);
                let members = self.members(name).filter(|(member, _)| required.contains(member));
                members.map(|(member, of)| (member, self.minimal(of))).collect()
            }
            "list" => {
                let item = self.minimal(reference(shape.get("member").expect("lists have a member")));
                Value::List(vec![item; usize::try_from(min).expect("lengths are positive")])
            }
            "map" => {
                let of = reference(shape.get("value").expect("maps have a value"));
                (0..min).map(|at| (format!("key{at}"), self.minimal(of))).collect()
            }
            "boolean" => Value::Bool(false),
            "integer" | "long" | "timestamp" => Value::Int(min),
            "double" => Value::Float(1.0),
            "blob" => Value::from(""),
            "string" => Value::from(self.string(shape, usize::try_from(min).expect("lengths are positive"))),
            other => panic!("no type {other}"),
        }
    }

    fn string(&self, shape: &Value, length: usize) -> String {
        if let Some(first) = shape.get("enum").and_then(Value::as_list).and_then(|values| values.first()) {
            return first.as_str().expect("enum values are strings").to_owned();
        }
        // Whatever the pattern: a digit, a letter, …
        let pattern = shape.get("pattern").and_then(Value::as_str).unwrap_or_default();
        match pattern {
            pattern if pattern.contains("h$") || pattern.contains("+h") => "1h".to_owned(),
            _ => "1".repeat(length.max(1)),
        }
    }

    /// For each member of a structure: a value of a type that it cannot have.
    pub fn wrong_types(&self, shape: &str) -> Vec<(String, Value)> {
        self.members(shape)
            .filter_map(|(member, of)| {
                let shape = self.shape(of);
                let wrong = match text(shape, "type") {
                    "structure" if shape.get("document").is_some() => return None,
                    "structure" | "map" | "boolean" => Value::from("x"),
                    "list" => [("1", Value::from("x"))].into_iter().collect(),
                    "integer" | "long" | "double" => Value::from("256"),
                    "string" | "blob" => Value::Int(256),
                    "timestamp" => Value::from("yesterday"),
                    other => panic!("no type {other}"),
                };
                Some((member.to_owned(), wrong))
            })
            .collect()
    }

    /// Some value of a shape, chosen by `choices`. `full` leaves no list, map or string empty.
    pub fn random(&self, name: &str, choices: &mut Choices, full: bool, depth: usize) -> Value {
        let shape = self.shape(name);
        match text(shape, "type") {
            "structure" if shape.get("document").is_some() => [("any", Value::from("thing"))].into_iter().collect(),
            "structure" => {
                let mut members: Vec<(&str, Value)> = Vec::new();
                for (member, of) in self.members(name) {
                    if depth < 6 && choices.below(3) > 0 {
                        members.push((member, self.random(of, choices, full, depth + 1)));
                    }
                }
                if full && members.is_empty() {
                    let first = self.members(name).next();
                    members.extend(first.map(|(member, of)| (member, self.random(of, choices, full, depth + 1))));
                }
                members.into_iter().collect()
            }
            "list" => {
                let of = reference(shape.get("member").expect("lists have a member"));
                let count = choices.below(3) + u64::from(full);
                Value::List((0..count).map(|_| self.random(of, choices, full, depth + 1)).collect())
            }
            "map" => {
                let of = reference(shape.get("value").expect("maps have a value"));
                let count = choices.below(3) + u64::from(full);
                (0..count).map(|at| (format!("key {at}"), self.random(of, choices, full, depth + 1))).collect()
            }
            "boolean" => Value::Bool(choices.below(2) == 0),
            "integer" => Value::Int(i64::from(choices.next() as i32)),
            "long" => Value::Int(choices.next() as i64),
            "double" => Value::Float(choices.below(1 << 20) as f64 / 1024.0),
            "timestamp" => match choices.below(2) {
                0 => Value::Int(choices.below(4_000_000_000) as i64),
                _ => Value::Float(
                    (choices.below(4_000_000_000) as f64 * 1000.0 + 1.0 + choices.below(999) as f64) / 1000.0,
                ),
            },
            "blob" => Value::from("AAEC/w=="),
            "string" => {
                const LETTERS: &[char] =
                    &['a', 'Z', '0', '"', '\\', '<', '&', '>', '\n', '\t', 'é', '木', '🦀', '=', '+', ' '];
                let length = choices.below(6) + u64::from(full);
                // An edge that is no space, so that no element of XML is blank.
                Value::from(
                    (0..length)
                        .map(|_| LETTERS[choices.below(LETTERS.len() as u64) as usize])
                        .chain(['.'])
                        .collect::<String>(),
                )
            }
            other => panic!("no type {other}"),
        }
    }
}

fn entries(value: Option<&Value>) -> impl Iterator<Item = (&str, &Value)> {
    value.and_then(Value::as_map).into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn reference(value: &Value) -> &str {
    text(value, "shape")
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value.get(member).and_then(Value::as_str).unwrap_or_else(|| panic!("no {member} in {value:?}"))
}

/// A sequence of choices that a seed decides (SplitMix64).
pub struct Choices(pub u64);

impl Choices {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
