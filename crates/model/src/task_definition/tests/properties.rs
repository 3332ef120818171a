//! Any request is answered, and a normal form is its own normal form.

use longshore_api::ecs::{RegisterTaskDefinitionRequest, TaskDefinition};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::task_definition::{Limits, validate_and_normalise};

/// The request that would register `definition` again.
fn again(definition: &TaskDefinition) -> RegisterTaskDefinitionRequest {
    longshore_api::from_json(&longshore_api::to_json(definition)).unwrap()
}

fn one_of(values: Vec<Value>) -> impl Strategy<Value = Value> {
    prop::sample::select(values)
}

/// A member that is there or not, with values of which most are right.
fn member(name: &'static str, values: Vec<Value>) -> impl Strategy<Value = Option<(String, Value)>> {
    prop::option::of(one_of(values).prop_map(move |value| (name.to_owned(), value)))
}

fn object(members: Vec<BoxedStrategy<Option<(String, Value)>>>) -> impl Strategy<Value = Value> {
    members.prop_map(|members| Value::Object(members.into_iter().flatten().collect::<Map<_, _>>()))
}

fn container() -> impl Strategy<Value = Value> {
    let names = || vec![json!("a"), json!("b"), json!("c"), json!("d")];
    object(vec![
        one_of(names()).prop_map(|name| Some(("name".to_owned(), name))).boxed(),
        one_of(vec![json!("busybox"), json!("123456789012.dkr.ecr.r.amazonaws.com/a"), json!("a/b:c@sha256:d")])
            .prop_map(|image| Some(("image".to_owned(), image)))
            .boxed(),
        member("memory", vec![json!(4), json!(128), json!(i32::MAX), json!(-1)]).boxed(),
        member("memoryReservation", vec![json!(4), json!(64), json!(i32::MIN)]).boxed(),
        member("cpu", vec![json!(0), json!(100), json!(i32::MAX)]).boxed(),
        member("essential", vec![json!(true), json!(false)]).boxed(),
        member(
            "portMappings",
            vec![
                json!([{"containerPort": 80}]),
                json!([{"containerPort": 80, "hostPort": 80, "protocol": "udp"}]),
                json!([{"containerPortRange": "1-65535"}]),
                json!([{"containerPort": 1, "hostPort": 2, "name": "x"}]),
            ],
        )
        .boxed(),
        member("links", vec![json!(["a"]), json!(["b:x", "c"]), json!([":"])]).boxed(),
        member(
            "dependsOn",
            vec![
                json!([{"containerName": "a", "condition": "START"}]),
                json!([{"containerName": "b", "condition": "SUCCESS"}, {"containerName": "c", "condition": "HEALTHY"}]),
            ],
        )
        .boxed(),
        member("healthCheck", vec![json!({"command": ["CMD", "x"]}), json!({"command": ["x"], "startPeriod": 5})])
            .boxed(),
        member("volumesFrom", vec![json!([{"sourceContainer": "a"}]), json!([])]).boxed(),
        member("mountPoints", vec![json!([{"sourceVolume": "v", "containerPath": "/v"}])]).boxed(),
        member(
            "logConfiguration",
            vec![
                json!({"logDriver": "awslogs", "options": {"awslogs-region": "r", "awslogs-group": "g"}}),
                json!({"logDriver": "awsfirelens"}),
                json!({"logDriver": "json-file"}),
                json!({"logDriver": "none-such"}),
            ],
        )
        .boxed(),
        member("firelensConfiguration", vec![json!({"type": "fluentd"})]).boxed(),
        member("restartPolicy", vec![json!({"enabled": true})]).boxed(),
        member("systemControls", vec![json!([{"namespace": "net.x", "value": "1"}]), json!([{}])]).boxed(),
        member("user", vec![json!("0"), json!("-"), json!(":")]).boxed(),
    ])
}

fn request() -> impl Strategy<Value = Value> {
    let task = object(vec![
        member("networkMode", vec![json!("bridge"), json!("host"), json!("awsvpc"), json!("none"), json!("x")]).boxed(),
        member(
            "requiresCompatibilities",
            vec![json!([]), json!(["EC2"]), json!(["FARGATE"]), json!(["EXTERNAL", "EC2"])],
        )
        .boxed(),
        member("cpu", vec![json!("256"), json!(".25 vCPU"), json!("1vcpu"), json!("99999")]).boxed(),
        member("memory", vec![json!("512"), json!("0.5GB"), json!("4096"), json!("99999999999")]).boxed(),
        member("pidMode", vec![json!("task"), json!("host")]).boxed(),
        member("taskRoleArn", vec![json!("r"), json!("")]).boxed(),
        member("executionRoleArn", vec![json!("arn:aws:iam::123456789012:role/r")]).boxed(),
        member(
            "volumes",
            vec![
                json!([{"name": "v"}]),
                json!([{"name": "v", "host": {}, "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]),
                json!([{"name": "v", "dockerVolumeConfiguration": {}}]),
                json!([{"name": "v", "configuredAtLaunch": true, "host": {}}]),
            ],
        )
        .boxed(),
    ]);
    (task, prop::collection::vec(container(), 0..4)).prop_map(|(task, containers)| {
        let Value::Object(mut task) = task else { unreachable!("object() makes objects") };
        task.insert("family".to_owned(), json!("f"));
        task.insert("containerDefinitions".to_owned(), Value::Array(containers));
        Value::Object(task)
    })
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[ -~]{0,20}", "arn:[a-z:/0-9]{0,20}", "[0-9]{0,12}(\\.[0-9]{0,12})?( ?vCPU| ?GB)?"]
}

proptest! {
    #[test]
    fn a_normal_form_is_its_own_normal_form(document in request()) {
        let request: RegisterTaskDefinitionRequest = longshore_api::from_json(document.to_string().as_bytes()).unwrap();
        if let Ok(definition) = validate_and_normalise(request, &Limits::default()) {
            prop_assert_eq!(validate_and_normalise(again(&definition), &Limits::default()), Ok(definition));
        }
    }

    #[test]
    fn any_text_anywhere_is_answered(texts in prop::collection::vec(any_text(), 16), number in any::<i32>()) {
        let text = |at: usize| texts[at].clone();
        let document = json!({
            "family": text(0), "cpu": text(1), "memory": text(2), "taskRoleArn": text(3),
            "containerDefinitions": [{
                "name": text(4), "image": text(5), "cpu": number, "memory": number, "user": text(6), "links": [text(7)],
                "environment": [{"name": text(8), "value": text(8)}], "secrets": [{"name": text(9), "valueFrom": text(10)}],
                "environmentFiles": [{"value": text(11), "type": "s3"}], "dnsSearchDomains": [text(12)],
                "portMappings": [{"containerPort": number, "hostPort": number}, {"containerPortRange": text(13)}],
                "extraHosts": [{"hostname": text(14), "ipAddress": text(15)}], "startTimeout": number,
                "healthCheck": {"command": [text(6)], "interval": number},
            }],
            "ephemeralStorage": {"sizeInGiB": number},
        });
        let request: RegisterTaskDefinitionRequest = longshore_api::from_json(document.to_string().as_bytes()).unwrap();
        let _ = validate_and_normalise(request, &Limits::default());
    }

    #[test]
    fn any_text_is_a_size_or_not(text in any_text()) {
        let _ = (super::super::parse_cpu(&text), super::super::parse_memory(&text));
        let _ = (crate::names::is_role(&text), crate::names::is_name(&text));
    }
}
