//! What every operation of every model promises, proven against the models themselves: a minimal
//! input passes, a missing required member is named, a member of another type is refused, and
//! every shape survives its round trip.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use crate::support::Model;
use longshore_api::{Output, ServiceError, ServiceModel, Value, ecs, logs, longshore, sts};

struct NothingBuilt;

impl ecs::Ecs for NothingBuilt {
    type Context = ();
}

impl logs::Logs for NothingBuilt {
    type Context = ();
}

impl longshore::Longshore for NothingBuilt {
    type Context = ();
}

impl sts::Sts for NothingBuilt {
    type Context = ();
}

type Answer = Result<Box<dyn Output>, ServiceError>;

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("nothing here waits"),
    }
}

/// Dispatches to a service that has built nothing.
fn call(service: &str, operation: &str, input: &Value) -> Answer {
    match service {
        "ecs-2014-11-13" => now(ecs::dispatch(&NothingBuilt, &(), operation, input)),
        "logs-2014-03-28" => now(logs::dispatch(&NothingBuilt, &(), operation, input)),
        "longshore-2026-11-22" => now(longshore::dispatch(&NothingBuilt, &(), operation, input)),
        "sts-2011-06-15" => now(sts::dispatch(&NothingBuilt, &(), operation, input)),
        other => panic!("no service {other}"),
    }
}

fn refusal(service: &str, operation: &str, input: &Value) -> ServiceError {
    match call(service, operation, input) {
        Ok(_) => panic!("{operation} is not built"),
        Err(error) => error,
    }
}

const SERVICES: &[(&str, &ServiceModel)] = &[
    ("ecs-2014-11-13", &ecs::MODEL),
    ("logs-2014-03-28", &logs::MODEL),
    ("longshore-2026-11-22", &longshore::MODEL),
    ("sts-2011-06-15", &sts::MODEL),
];

#[test]
fn every_model_is_served_with_all_its_operations() {
    for (name, service) in SERVICES {
        let model = Model::read(name);
        let names: Vec<&str> = service.operations.iter().map(|operation| operation.name).collect();
        assert_eq!(names, model.operations(), "{name}");
        for operation in names {
            assert!(service.operation(operation).is_some(), "{name} {operation}");
        }
    }
    assert_eq!(ecs::MODEL.operations.len(), 88);
}

// spec: 31-052
#[test]
fn an_operation_that_is_not_built_says_so_when_its_input_is_right() {
    for (name, service) in SERVICES {
        let model = Model::read(name);
        for operation in service.operations {
            let input = model.minimal(operation.input);
            let error = refusal(name, operation.name, &input);
            assert_eq!(
                error.message,
                format!("{} is not built in this version of Longshore.", operation.name),
                "{name} {} {input:?}",
                operation.name
            );
        }
    }
    assert_eq!(refusal("ecs-2014-11-13", "ListClusters", &Value::map()).code, "UnsupportedFeatureException");
}

#[test]
fn every_missing_required_member_is_named() {
    for (name, service) in SERVICES {
        let model = Model::read(name);
        for operation in service.operations {
            let required = model.required(operation.input);
            if required.is_empty() {
                continue;
            }
            let error = refusal(name, operation.name, &Value::map());
            let plural = if required.len() == 1 { "" } else { "s" };
            assert!(
                error.message.starts_with(&format!("{} validation error{plural} detected: ", required.len())),
                "{error}"
            );
            for member in required {
                let violation =
                    format!("Value null at '{member}' failed to satisfy constraint: Member must not be null");
                assert!(error.message.contains(&violation), "{name} {}: {error}", operation.name);
            }
        }
    }
}

#[test]
fn a_member_of_another_type_is_refused_wherever_it_is() {
    for (name, service) in SERVICES {
        let model = Model::read(name);
        for operation in service.operations {
            for (member, wrong) in model.wrong_types(operation.input) {
                let input: Value = [(member.clone(), wrong)].into_iter().collect();
                let error = refusal(name, operation.name, &input);
                assert_eq!(error.code, "SerializationException", "{name} {} {member}", operation.name);
                assert!(error.message.starts_with(&format!("{member}: expected ")), "{error}");
            }
        }
    }
}

// spec: 01-003
#[test]
fn a_container_s_cpu_and_memory_are_numbers() {
    for member in ["cpu", "memory"] {
        let container: Value = [("name", "app"), ("image", "httpd:2.4"), (member, "10")].into_iter().collect();
        let input: Value = [("family", Value::from("sample")), ("containerDefinitions", Value::List(vec![container]))]
            .into_iter()
            .collect();
        let error = refusal("ecs-2014-11-13", "RegisterTaskDefinition", &input);
        assert_eq!((error.code, error.status), ("SerializationException", 400));
        let place = format!("containerDefinitions.1.member.{member}: expected a 32-bit integer, found a string");
        assert_eq!(error.message, place);
    }
}

#[test]
fn an_operation_of_no_model_is_unknown() {
    let error = refusal("ecs-2014-11-13", "MakeCoffee", &Value::map());
    assert_eq!((error.code, error.query_code, error.status), ("UnknownOperationException", "InvalidAction", 400));
}

#[test]
fn errors_carry_their_status_and_query_code() {
    let status = |error: ServiceError| (error.code, error.query_code, error.status);
    assert_eq!(
        status(ecs::error::cluster_not_found_exception("x")),
        ("ClusterNotFoundException", "ClusterNotFoundException", 400)
    );
    assert_eq!(status(ecs::error::server_exception("x")).2, 500);
    assert_eq!(
        status(sts::error::packed_policy_too_large_exception("x")),
        ("PackedPolicyTooLargeException", "PackedPolicyTooLarge", 400)
    );
    assert_eq!(status(sts::error::region_disabled_exception("x")).2, 403);
}

#[test]
fn operations_tell_what_is_sensitive_unsigned_and_paged() {
    let operation = |model: &'static ServiceModel, name| model.operation(name).expect("it is in the model");
    let register = operation(&ecs::MODEL, "RegisterTaskDefinition");
    assert!(register.sensitive.contains(&"containerDefinitions[].environment"), "{:?}", register.sensitive);
    assert!(!register.read_only);
    let join = operation(&longshore::MODEL, "JoinAgent");
    assert_eq!((join.sensitive, join.unsigned), (&["token"][..], true));
    assert!(operation(&sts::MODEL, "AssumeRoleWithWebIdentity").unsigned);
    assert_eq!(operation(&sts::MODEL, "GetCallerIdentity").result_wrapper, Some("GetCallerIdentityResult"));
    let list = operation(&ecs::MODEL, "ListTasks");
    assert!(list.read_only);
    let pagination = list.pagination.as_ref().expect("it pages");
    assert_eq!(
        (pagination.input_token, pagination.limit_key, pagination.result_key),
        (&["nextToken"][..], Some("maxResults"), &["taskArns"][..])
    );
}
