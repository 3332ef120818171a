//! The API model, read as a client would read it: inputs that keep it, and inputs that break it.

use longshore_seams::Random;
use serde_json::{Map, Value as Json, json};

/// Deeper structures are left out of what is made up.
const DEPTH: usize = 7;

/// How an input breaks the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// A member has another type.
    Type,
    /// A member is missing, or breaks a declared bound.
    Constraint,
}

/// One input and what is wrong with it.
#[derive(Debug)]
pub struct Broken {
    pub how: Break,
    pub what: String,
    pub input: Json,
}

/// A model of `crates/api/models`.
pub struct Model(Json);

/// Values that name what the test's world holds, or look like it.
const NAMES: &[&str] = &[
    "default",
    "web",
    "web:1",
    "web:99",
    "nothing",
    "FARGATE",
    "FARGATE_SPOT",
    "enabled",
    "disabled",
    "ACTIVE",
    "awsvpc",
    "256",
    "0.5 vCPU",
    "1GB",
    "arn:aws:ecs:eu-west-1:123456789012:cluster/default",
    "arn:aws:ecs:eu-west-1:123456789012:task-definition/web:1",
    "arn:aws:ecs:eu-west-1:123456789012:task/default/00000000000000000000000000000000",
    "arn:aws:ecs:eu-west-1:123456789012:container-instance/default/00000000000000000000000000000000",
    "arn:aws:ecs:eu-west-1:123456789012:service/default/web",
    "arn:aws:ecs:eu-west-1:123456789012:capacity-provider/group",
    "arn:aws:iam::123456789012:role/role",
    "arn:aws:iam::123456789012:user/user",
    "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:a:autoScalingGroupName/group",
    "arn:aws:ecs:us-east-1:210987654321:cluster/default",
    "arn:",
    "arn:aws:ecs:::",
    "a b",
    "",
    "ä\u{0}\u{10ffff}",
    "attribute:ecs.os-type == linux and not task:group == x",
    "((((",
    "1:",
    "9223372036854775808",
    "-1",
];

impl Model {
    /// # Panics
    /// `text` is no JSON.
    pub fn parse(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap())
    }

    /// Operations with their input shapes and modelled errors.
    pub fn operations(&self) -> Vec<(String, String, Vec<String>)> {
        let text = |value: &Json| value.as_str().unwrap().to_owned();
        let operation = |(name, operation): (&String, &Json)| {
            let errors = operation["errors"].as_array().into_iter().flatten().map(|error| text(&error["shape"]));
            (name.clone(), text(&operation["input"]["shape"]), errors.collect())
        };
        self.0["operations"].as_object().unwrap().iter().map(operation).collect()
    }

    fn shape(&self, name: &str) -> &Json {
        &self.0["shapes"][name]
    }

    fn target<'a>(&self, reference: &'a Json) -> &'a str {
        reference["shape"].as_str().unwrap()
    }

    fn required(shape: &Json) -> Vec<&str> {
        shape["required"].as_array().into_iter().flatten().filter_map(Json::as_str).collect()
    }

    /// The smallest input of `shape` that keeps the model.
    pub fn least(&self, shape: &str) -> Json {
        let shape = self.shape(shape);
        match shape["type"].as_str().unwrap() {
            "structure" => {
                let members = Self::required(shape).into_iter();
                let member = |name: &str| (name.to_owned(), self.least(self.target(&shape["members"][name])));
                Json::Object(members.map(member).collect())
            }
            "list" => {
                let item = self.target(&shape["member"]);
                let count = shape["min"].as_u64().unwrap_or(0);
                (0..count).map(|_| self.least(item)).collect()
            }
            "map" => json!({}),
            "string" => match shape["enum"][0].as_str() {
                Some(value) => json!(value),
                None => json!("a".repeat(usize::try_from(shape["min"].as_u64().unwrap_or(1).max(1)).unwrap())),
            },
            "boolean" => json!(false),
            "double" | "float" | "timestamp" => json!(shape["min"].as_f64().unwrap_or(1.0)),
            _ => json!(shape["min"].as_i64().unwrap_or(1)),
        }
    }

    /// Inputs of `shape`, each with one thing wrong, at any depth.
    pub fn broken(&self, shape: &str) -> Vec<Broken> {
        let mut found = Vec::new();
        self.break_value(shape, String::new(), &mut Vec::new(), &mut |broken| found.push(broken));
        found
    }

    fn break_value<'a>(&'a self, name: &'a str, at: String, above: &mut Vec<&'a str>, out: &mut dyn FnMut(Broken)) {
        if above.contains(&name) {
            return;
        }
        above.push(name);
        let shape = self.shape(name);
        let kind = shape["type"].as_str().unwrap();
        if shape["document"] != json!(true) {
            let wrong = if matches!(kind, "structure" | "map") { json!(7) } else { json!({"a": {}}) };
            out(Broken { how: Break::Type, what: format!("{at} is no {kind}"), input: wrong });
        }
        Self::break_bounds(shape, kind, self.bounds_item(shape), &at, out);
        match kind {
            "structure" if shape["document"] != json!(true) => self.break_members(name, &at, above, out),
            "list" => {
                let item = self.target(&shape["member"]);
                self.break_value(item, format!("{at}[0]"), above, &mut |broken| {
                    out(Broken { input: json!([broken.input]), ..broken });
                });
            }
            "map" => {
                let value = self.target(&shape["value"]);
                self.break_value(value, format!("{at}[key]"), above, &mut |broken| {
                    out(Broken { input: json!({"key": broken.input}), ..broken });
                });
            }
            _ => {}
        }
        above.pop();
    }

    fn bounds_item(&self, shape: &Json) -> Json {
        shape["member"]["shape"].as_str().map_or(Json::Null, |item| self.least(item))
    }

    fn break_bounds(shape: &Json, kind: &str, item: Json, at: &str, out: &mut dyn FnMut(Broken)) {
        let mut constraint =
            |what: &str, input: Json| out(Broken { how: Break::Constraint, what: format!("{at} {what}"), input });
        match kind {
            "string" => {
                if let Some(min) = shape["min"].as_u64().filter(|min| *min > 0) {
                    constraint("is too short", json!("a".repeat(usize::try_from(min).unwrap() - 1)));
                }
                if let Some(max) = shape["max"].as_u64() {
                    constraint("is too long", json!("a".repeat(usize::try_from(max).unwrap() + 1)));
                }
                if shape["pattern"].is_string() {
                    constraint("is against the pattern", json!("a!"));
                }
            }
            "list" => {
                if let Some(min) = shape["min"].as_u64().filter(|min| *min > 0) {
                    constraint("has too few items", json!(vec![item.clone(); usize::try_from(min).unwrap() - 1]));
                }
                if let Some(max) = shape["max"].as_u64() {
                    constraint("has too many items", json!(vec![item; usize::try_from(max).unwrap() + 1]));
                }
            }
            "integer" | "long" | "double" => {
                if let Some(min) = shape["min"].as_f64() {
                    constraint("is too small", whole(kind, min - 1.0));
                }
                if let Some(max) = shape["max"].as_f64().filter(|max| *max < f64::from(i32::MAX)) {
                    constraint("is too large", whole(kind, max + 1.0));
                }
            }
            _ => {}
        }
    }

    fn break_members<'a>(&'a self, name: &str, at: &str, above: &mut Vec<&'a str>, out: &mut dyn FnMut(Broken)) {
        let shape = self.shape(name);
        let least = self.least(name);
        let with = |member: &str, value: Json| {
            let mut members = least.as_object().cloned().unwrap_or_default();
            members.insert(member.to_owned(), value);
            Json::Object(members)
        };
        for member in Self::required(shape) {
            let what = format!("{at}.{member} is missing");
            out(Broken { how: Break::Constraint, what, input: with(member, Json::Null) });
        }
        for (member, reference) in shape["members"].as_object().unwrap() {
            self.break_value(reference["shape"].as_str().unwrap(), format!("{at}.{member}"), above, &mut |broken| {
                out(Broken { input: with(member, broken.input), ..broken });
            });
        }
    }

    /// An input of `shape` that keeps the model, made up.
    pub fn random(&self, shape: &str, random: &dyn Random, depth: usize) -> Json {
        let shape = self.shape(shape);
        match shape["type"].as_str().unwrap() {
            "structure" if shape["document"] == json!(true) => json!({"any": [1, "thing"]}),
            "structure" => self.random_structure(shape, random, depth),
            "list" => {
                let min = shape["min"].as_u64().unwrap_or(0);
                let more =
                    if depth > DEPTH { 0 } else { random.below(3).min(shape["max"].as_u64().unwrap_or(3) - min) };
                let item = self.target(&shape["member"]);
                (0..min + more).map(|_| self.random(item, random, depth + 1)).collect()
            }
            "map" => {
                let value = self.target(&shape["value"]);
                let entry = |number: u64| (format!("key{number}"), self.random(value, random, depth + 1));
                Json::Object((0..random.below(3)).map(entry).collect())
            }
            "string" => random_string(shape, random),
            "boolean" => json!(random.below(2) == 1),
            "timestamp" => json!(1_700_000_000 + random.below(1_000_000)),
            kind => {
                let low = shape["min"].as_i64().unwrap_or_else(|| [0, -1, i64::from(i32::MIN)][pick(random, 3)]);
                let high = shape["max"].as_i64().unwrap_or_else(|| [9, 5000, i64::from(i32::MAX)][pick(random, 3)]);
                let value = low + i64::try_from(random.below(u64::try_from(high - low).unwrap() + 1)).unwrap();
                if kind == "double" { json!(f64::from(i32::try_from(value).unwrap())) } else { json!(value) }
            }
        }
    }

    fn random_structure(&self, shape: &Json, random: &dyn Random, depth: usize) -> Json {
        let required = Self::required(shape);
        let mut members = Map::new();
        for (name, reference) in shape["members"].as_object().unwrap() {
            let wanted = depth < DEPTH && random.below(if depth == 0 { 2 } else { 4 }) == 0;
            if required.contains(&name.as_str()) || wanted {
                members.insert(name.clone(), self.random(self.target(reference), random, depth + 1));
            }
        }
        Json::Object(members)
    }
}

/// `value` as its type is written.
fn whole(kind: &str, value: f64) -> Json {
    if kind == "double" { json!(value) } else { serde_json::from_str(&format!("{value:.0}")).unwrap() }
}

fn pick(random: &dyn Random, count: usize) -> usize {
    usize::try_from(random.below(u64::try_from(count).unwrap())).unwrap()
}

fn random_string(shape: &Json, random: &dyn Random) -> Json {
    if let Some(values) = shape["enum"].as_array() {
        return values[pick(random, values.len())].clone();
    }
    let length = usize::try_from(random.below(300)).unwrap();
    if !shape["pattern"].is_string() && !shape["min"].is_u64() {
        return if random.below(20) == 0 { json!("x".repeat(length)) } else { json!(NAMES[pick(random, NAMES.len())]) };
    }
    let bound = |name: &str, default: usize| shape[name].as_u64().map_or(default, |it| usize::try_from(it).unwrap());
    json!("k".repeat(length.clamp(bound("min", 0), bound("max", 300))))
}
