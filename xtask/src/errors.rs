//! `cargo xtask errors`: the catalogue of errors, `docs/errors.md`.
//!
//! Exceptions, their status and the operations that answer them come from the API model; when they are answered
//! from `crates/api/errors`; the forms of their messages from the code that makes them.

mod forms;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use self::forms::Forms;
use crate::{Result, root};

/// Operations that are named one by one; more are counted.
const NAMED: usize = 8;

/// What the front door refuses before any operation runs: exception, HTTP status, when.
const FRONT_DOOR: &[(&str, u16, &str)] = &[
    ("AccessDeniedException", 400, "The authorizer does not allow the action on the resources that the request names."),
    ("ExpiredTokenException", 400, "The session token has expired."),
    ("IncompleteBody", 400, "The body ended early."),
    ("IncompleteSignatureException", 400, "The Authorization header lacks a part, or cannot be read."),
    ("InternalFailure", 500, "A fault of the server; the message names the request."),
    (
        "InvalidSignatureException",
        400,
        "The signature does not match, has expired, or is for another service than the one that is called.",
    ),
    ("MissingAuthenticationTokenException", 400, "The request is not signed."),
    ("RequestEntityTooLargeException", 413, "The body is longer than the server takes."),
    ("RequestTimeoutException", 408, "The body did not arrive in time."),
    ("SerializationException", 400, "The body is no JSON, or a member has another type than the model's."),
    ("ServiceUnavailableException", 503, "More connections are open than the server takes at once."),
    ("ThrottlingException", 400, "More requests are under way than the server takes at once."),
    ("UnknownOperationException", 400, "X-Amz-Target is missing, or names no operation."),
    ("UnrecognizedClientException", 400, "The access key does not exist, or its session token is wrong."),
    ("UnsupportedMediaTypeException", 415, "The body has a Content-Encoding other than gzip."),
];

/// Runs the task.
pub(crate) fn task(arguments: &[String]) -> Result {
    let check = match arguments {
        [] => false,
        [option] if option == "--check" => true,
        other => return Err(format!("no option `{}`; it takes --check", other.join(" ")).into()),
    };
    let path = root().join("docs/errors.md");
    let page = page(&root())?;
    if !check {
        return Ok(std::fs::write(&path, page)?);
    }
    if std::fs::read_to_string(&path).is_ok_and(|present| present == page) {
        Ok(())
    } else {
        Err("docs/errors.md is stale; run `cargo xtask errors`".into())
    }
}

/// An exception of the model.
#[derive(Debug, PartialEq)]
struct Exception {
    status: u16,
    /// Operations that may answer it.
    operations: Vec<String>,
    when: String,
}

/// The model's exceptions; fails when `catalogue` lacks one or has another.
fn exceptions(model: &Value, catalogue: &str) -> Result<BTreeMap<String, Exception>> {
    let mut when: BTreeMap<&str, &str> = catalogue.lines().filter_map(|line| line.split_once('\t')).collect();
    let mut found = BTreeMap::new();
    for (name, shape) in model["shapes"].as_object().into_iter().flatten() {
        if shape["exception"] != true {
            continue;
        }
        let when = when.remove(name.as_str()).ok_or_else(|| format!("crates/api/errors/ecs.tsv lacks {name}"))?;
        let status = shape["error"]["httpStatusCode"].as_u64().and_then(|status| u16::try_from(status).ok());
        let fault = if shape["fault"] == true { 500 } else { 400 };
        let answers =
            |operation: &Value| operation["errors"].as_array().into_iter().flatten().any(|it| it["shape"] == *name);
        let operations = model["operations"].as_object().into_iter().flatten();
        let operations = operations.filter(|(_, operation)| answers(operation)).map(|(name, _)| name.clone()).collect();
        found.insert(name.clone(), Exception { status: status.unwrap_or(fault), operations, when: when.to_owned() });
    }
    match when.keys().next() {
        Some(unknown) => Err(format!("crates/api/errors/ecs.tsv has {unknown}, which the model has not").into()),
        None => Ok(found),
    }
}

fn page(root: &Path) -> Result<String> {
    let model = std::fs::read_to_string(root.join("crates/api/models/ecs-2014-11-13.json"))?;
    let catalogue = std::fs::read_to_string(root.join("crates/api/errors/ecs.tsv"))?;
    let exceptions = exceptions(&serde_json::from_str(&model)?, &catalogue)?;
    let forms = Forms::read(root, &["crates/control/src", "crates/model/src"])?;
    let mut page = String::from(
        "\
<!-- Written by `cargo xtask errors`: do not edit. -->

# Errors

Every error that the ECS API answers, with the forms of its messages: what stands in braces, or as …, is filled in. An
answer that is an error has its HTTP status, the header `x-amzn-RequestId`, and a body with `__type` (the exception) and
`message`. SDKs raise it as the exception of that name.

A member that breaks a bound of the API model (missing, too long, too many, not in the enum, against its pattern) is
`InvalidParameterException`, in a task definition `ClientException`, with one message that lists all of them:
`2 validation errors detected: Value 'x' at 'family' failed to satisfy constraint: …; Value …`.

## Before an operation runs

| error | status | when |
|---|---:|---|
",
    );
    for (name, status, when) in FRONT_DOOR {
        page.push_str(&format!("| {name} | {status} | {when} |\n"));
    }
    page.push_str("\n## Exceptions of ECS\n");
    for (name, exception) in &exceptions {
        page.push_str(&format!("\n### {name}\n\nHTTP {}. {}\n\n", exception.status, exception.when));
        page.push_str(&format!("Answered by {}.\n", answered_by(&exception.operations)));
        for (at, form) in forms.of(name).enumerate() {
            page.push_str(if at == 0 { "\n" } else { "" });
            page.push_str(&format!("- {}\n", quoted(form)));
        }
    }
    Ok(page)
}

fn answered_by(operations: &[String]) -> String {
    match operations.len() {
        0 => "no operation".to_owned(),
        count if count > NAMED => format!("{count} operations"),
        _ => operations.join(", "),
    }
}

/// A message as Markdown's code.
fn quoted(form: &str) -> String {
    let fence = if form.contains('`') { "``" } else { "`" };
    format!("{fence}{form}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn model() -> Value {
        json!({
            "operations": {"RunTask": {"errors": [{"shape": "ClientException"}]}, "ListTasks": {}},
            "shapes": {
                "ClientException": {"exception": true}, "ServerException": {"exception": true, "fault": true},
                "Task": {"type": "structure"},
            },
        })
    }

    #[test]
    fn exceptions_have_status_operations_and_when() {
        let found = exceptions(&model(), "ClientException\tYours.\nServerException\tOurs.\n").unwrap();
        let yours = Exception { status: 400, operations: vec!["RunTask".to_owned()], when: "Yours.".to_owned() };
        assert_eq!(found["ClientException"], yours);
        assert_eq!((found["ServerException"].status, found.len()), (500, 2));
    }

    #[test]
    fn the_catalogue_has_the_models_exceptions_and_no_others() {
        let lacking = exceptions(&model(), "ClientException\tYours.\n").unwrap_err().to_string();
        assert!(lacking.contains("lacks ServerException"), "{lacking}");
        let all = "ClientException\tYours.\nServerException\tOurs.\nOther\tNobody's.\n";
        assert!(exceptions(&model(), all).unwrap_err().to_string().contains("has Other"));
    }
}
