//! The rules as tables: a definition that is right, what is changed in it, what ECS says.

mod container;
mod launch_types;
mod logging;
mod network;
mod normal_form;
mod properties;
mod relations;
mod task;
mod volumes;

use longshore_api::ServiceError;
use longshore_api::ecs::TaskDefinition;
use serde_json::{Value, json};

use super::{Limits, validate_and_normalise};

/// One container that is right on EC2.
fn base() -> Value {
    json!({"family": "web", "containerDefinitions": [{"name": "app", "image": "busybox", "memory": 128}]})
}

/// The same, right on Fargate.
fn fargate() -> Value {
    with(
        base(),
        json!({"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256", "memory": "512"}),
    )
}

/// `document` with the members of `change`; `null` removes one.
fn with(mut document: Value, change: Value) -> Value {
    let (Value::Object(members), Value::Object(change)) = (&mut document, change) else { panic!("objects only") };
    for (name, value) in change {
        match value {
            Value::Null => members.remove(&name),
            value => members.insert(name, value),
        };
    }
    document
}

/// `document` with the members of `change` in its first container.
fn with_container(mut document: Value, change: Value) -> Value {
    let container = document["containerDefinitions"][0].take();
    document["containerDefinitions"][0] = with(container, change);
    document
}

/// `document` with another container behind the others.
fn and_container(mut document: Value, container: Value) -> Value {
    let second = with(json!({"image": "busybox", "memory": 64}), container);
    document["containerDefinitions"].as_array_mut().unwrap().push(second);
    document
}

fn register(document: &Value) -> Result<TaskDefinition, ServiceError> {
    let request = longshore_api::from_json(document.to_string().as_bytes()).unwrap();
    validate_and_normalise(request, &Limits::default())
}

/// The normalised definition as JSON.
fn registered(document: &Value) -> Value {
    let definition = register(document).unwrap_or_else(|refused| panic!("{document}: {refused}"));
    serde_json::from_slice(&longshore_api::to_json(&definition)).unwrap()
}

/// The `ClientException`'s message.
fn refusal(document: &Value) -> String {
    let refused = register(document).expect_err(&document.to_string());
    assert_eq!(refused.code, "ClientException");
    refused.message
}

/// Each change of the container alone is refused with a message that contains the text.
fn refuses_container(document: &Value, table: &[(Value, &str)]) {
    for (change, message) in table {
        let refused = refusal(&with_container(document.clone(), change.clone()));
        assert!(refused.contains(message), "{change}: {refused}");
    }
}

/// Each change of the task alone is refused with a message that contains the text.
fn refuses_task(document: &Value, table: &[(Value, &str)]) {
    for (change, message) in table {
        let refused = refusal(&with(document.clone(), change.clone()));
        assert!(refused.contains(message), "{change}: {refused}");
    }
}

fn accepts_container(document: &Value, changes: &[Value]) {
    for change in changes {
        registered(&with_container(document.clone(), change.clone()));
    }
}
