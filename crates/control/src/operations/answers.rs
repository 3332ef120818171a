//! What the API model says about an answer: used by tests, through which every answer of the suite passes.

use std::sync::OnceLock;

use longshore_api::ServiceError;
use serde_json::Value as Json;

const MODEL: &str = include_str!("../../../api/models/ecs-2014-11-13.json");

/// Errors that any operation may answer though no model lists them.
const COMMON: &[&str] = &["SerializationException", "ThrottlingException"];

fn model() -> &'static Json {
    static PARSED: OnceLock<Json> = OnceLock::new();
    PARSED.get_or_init(|| serde_json::from_str(MODEL).unwrap())
}

/// Fails the test when `answer` is not what the model of `operation` allows: an unknown member, a missing
/// required one, another type, a value that is not in the enum, a time that is no time in seconds.
pub(crate) fn check_answer(operation: &str, answer: &Json) {
    let mut wrong = Vec::new();
    let shape = model()["operations"][operation]["output"]["shape"].as_str().unwrap();
    check(shape, answer, operation.to_owned(), &mut wrong);
    assert!(wrong.is_empty(), "{operation} answers what its model does not allow: {wrong:#?}\n{answer}");
}

/// Fails the test when the model of `operation` does not have the error, or the error says nothing.
pub(crate) fn check_error(operation: &str, error: &ServiceError) {
    let listed = model()["operations"][operation]["errors"].as_array().unwrap();
    let listed = listed.iter().any(|it| it["shape"] == error.code) || COMMON.contains(&error.code);
    assert!(listed, "{operation} answers {}, which its model does not have: {}", error.code, error.message);
    assert_eq!(error.status, 400, "{operation}: {error}");
    assert!(!error.message.trim().is_empty(), "{operation}: {} says nothing", error.code);
    for (member, _) in &error.details {
        let known = model()["shapes"][error.code]["members"].get(member).is_some();
        assert!(known, "{operation}: {} has no member {member}", error.code);
    }
}

fn check(shape: &str, value: &Json, at: String, wrong: &mut Vec<String>) {
    let shape = &model()["shapes"][shape];
    let target = |reference: &Json| reference["shape"].as_str().unwrap().to_owned();
    let right = match shape["type"].as_str().unwrap() {
        "structure" => {
            if let Some(members) = value.as_object().filter(|_| shape["document"] != true) {
                for name in shape["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
                    if !members.contains_key(name) {
                        wrong.push(format!("{at}.{name} is missing"));
                    }
                }
                for (name, value) in members {
                    match shape["members"].get(name) {
                        Some(member) => check(&target(member), value, format!("{at}.{name}"), wrong),
                        None => wrong.push(format!("{at}.{name} is no member")),
                    }
                }
            }
            value.is_object() || shape["document"] == true
        }
        "list" => {
            for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                check(&target(&shape["member"]), item, format!("{at}[{index}]"), wrong);
            }
            value.is_array()
        }
        "map" => {
            for (key, value) in value.as_object().into_iter().flatten() {
                check(&target(&shape["value"]), value, format!("{at}[{key}]"), wrong);
            }
            value.is_object()
        }
        "string" => {
            let known = |text: &str| shape["enum"].as_array().is_none_or(|values| values.iter().any(|it| it == text));
            value.as_str().is_some_and(known)
        }
        "boolean" => value.is_boolean(),
        "integer" => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        "long" => value.is_i64(),
        "double" | "float" => value.is_number(),
        // Seconds since 1970, with milliseconds behind the point: neither milliseconds nor text.
        "timestamp" => value.as_f64().is_some_and(|seconds| (1e9..1e10).contains(&seconds)),
        "blob" => value.is_string(),
        other => panic!("the model has a type {other}"),
    };
    if !right {
        wrong.push(format!("{at} is {value}, no {shape}"));
    }
}
