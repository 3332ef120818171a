//! Every operation of the ECS model, called with what its model allows and with what it forbids.

#[path = "../../src/operations/answers.rs"]
mod answers;
mod fuzz;
mod shapes;

use std::sync::Arc;
use std::time::Duration;

use longshore_api::{JsonWriter, ServiceError, Value, ecs};
use longshore_control::engine::Engine;
use longshore_control::service::EcsService;
use longshore_seams::{Clock, ManualClock, Random, Seams, SeededRandom, SystemDisk, Timestamp, TokioSpawner};
use longshore_store::memory::{Memory, MemoryOptions};
use longshore_wire::{Principal, RequestContext, Service};
use serde_json::{Value as Json, json};
use shapes::{Break, Model};

const MODEL: &str = include_str!("../../../api/models/ecs-2014-11-13.json");
/// Made-up inputs of each operation.
const RANDOM_INPUTS: usize = 60;
/// Longest time that a call may take: far more than any needs.
const HANG: Duration = Duration::from_secs(20);

struct World {
    service: EcsService,
    context: RequestContext,
}

impl World {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_700_000_000)));
        let seams = Seams {
            clock: clock.clone(),
            random: Arc::new(SeededRandom::new(1)),
            spawner: Arc::new(TokioSpawner),
            disk: Arc::new(SystemDisk),
        };
        let store = Arc::new(Memory::new(MemoryOptions::default()));
        let engine = Engine::open(store, seams, Arc::new(|error| panic!("{error}"))).await.unwrap();
        let account = "123456789012".to_owned();
        let context = RequestContext {
            request_id: "00000000-0000-4000-8000-000000000000".to_owned(),
            principal: Principal::Root { account: account.clone() },
            access_key_id: "AKIATEST".to_owned(),
            account,
            region: "eu-west-1".to_owned(),
            source_ip: std::net::Ipv4Addr::LOCALHOST.into(),
            user_agent: String::new(),
            base_url: "http://127.0.0.1:4747".to_owned(),
            received_at: clock.now(),
        };
        Self { service: EcsService::new(engine), context }
    }

    async fn call(&self, operation: &str, input: &Json) -> Result<(), ServiceError> {
        self.call_with(operation, &Value::from_json(input.to_string().as_bytes()).unwrap()).await
    }

    async fn call_with(&self, operation: &str, input: &Value) -> Result<(), ServiceError> {
        let called = ecs::MODEL.operation(operation).unwrap();
        let call = Service::call(&self.service, &self.context, called, input);
        let answer = tokio::time::timeout(HANG, call).await;
        let answer = answer.unwrap_or_else(|_| panic!("{operation} {input:?} hangs"));
        let mut writer = JsonWriter::new();
        let checked = |error: &ServiceError| {
            if !is_not_built(error) {
                answers::check_error(operation, error);
            }
        };
        answer.inspect_err(checked)?.write(&mut writer);
        let answer = serde_json::from_slice(&writer.into_bytes()).unwrap();
        answers::check_answer(operation, &answer);
        Ok(())
    }

    /// Puts in what the made-up names mean.
    async fn furnish(&self) {
        let definition =
            json!({"family": "web", "containerDefinitions": [{"name": "web", "image": "web", "memory": 4}]});
        let instance = json!({"cluster": "default", "totalResources": [
            {"name": "CPU", "type": "INTEGER", "integerValue": 4096},
            {"name": "MEMORY", "type": "INTEGER", "integerValue": 4096},
        ]});
        let group = "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:a:autoScalingGroupName/group";
        let provider = json!({"name": "group", "autoScalingGroupProvider": {"autoScalingGroupArn": group}});
        for (operation, input) in [
            ("CreateCluster", json!({})),
            ("CreateCluster", json!({"clusterName": "web"})),
            ("RegisterTaskDefinition", definition),
            ("RegisterContainerInstance", instance),
            ("CreateCapacityProvider", provider),
            ("CreateService", json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 2})),
            ("CreateService", json!({"serviceName": "default", "deploymentController": {"type": "EXTERNAL"}})),
            ("CreateTaskSet", json!({"cluster": "default", "service": "default", "taskDefinition": "web"})),
            ("RunTask", json!({"taskDefinition": "web"})),
        ] {
            self.call(operation, &input).await.unwrap();
        }
    }
}

fn is_not_built(error: &ServiceError) -> bool {
    error.code == "UnsupportedFeatureException"
}

/// A refusal must be one that the operation's model lists, or that of an operation which is not built.
fn check_refusal(operation: &str, modelled: &[String], input: &dyn std::fmt::Display, error: &ServiceError) {
    assert_eq!(error.status, 400, "{operation} {input}: {error}");
    assert!(!["ServerException", "InternalFailure"].contains(&error.code), "{operation} {input}: {error}");
    let listed = modelled.iter().any(|code| code == error.code);
    assert!(listed || is_not_built(error), "{operation} {input}: {} is not in its model: {error}", error.code);
    assert!(!error.message.is_empty(), "{operation} {input}: {} says nothing", error.code);
}

#[tokio::test]
async fn an_empty_input_is_answered_or_refused_as_the_model_says() {
    let (model, world) = (Model::parse(MODEL), World::new().await);
    for (operation, _, errors) in model.operations() {
        if let Err(error) = world.call(&operation, &json!({})).await {
            check_refusal(&operation, &errors, &json!({}), &error);
        }
    }
}

#[tokio::test]
async fn a_member_of_another_type_is_a_serialization_exception() {
    let (model, world) = (Model::parse(MODEL), World::new().await);
    for (operation, shape, _) in model.operations() {
        for broken in model.broken(&shape).into_iter().filter(|broken| broken.how == Break::Type) {
            let answer = world.call(&operation, &broken.input).await;
            let code = answer.as_ref().map_err(|error| error.code);
            assert_eq!(code, Err("SerializationException"), "{operation} where {}: {answer:?}", broken.what);
        }
    }
}

#[tokio::test]
async fn a_missing_member_or_a_broken_bound_is_refused_before_anything_else() {
    let (model, world) = (Model::parse(MODEL), World::new().await);
    world.furnish().await;
    for (operation, shape, _) in model.operations() {
        for broken in model.broken(&shape).into_iter().filter(|broken| broken.how == Break::Constraint) {
            let error = world.call(&operation, &broken.input).await;
            let error = error.expect_err(&format!("{operation} where {}: {}", broken.what, broken.input));
            let right = ["InvalidParameterException", "ClientException"].contains(&error.code);
            assert!(right && error.status == 400, "{operation} where {}: {error}", broken.what);
        }
    }
}

#[tokio::test]
async fn inputs_that_keep_the_model_never_fail_inside() {
    let (model, world) = (Model::parse(MODEL), World::new().await);
    world.furnish().await;
    let random: &dyn Random = &SeededRandom::new(20_141_113);
    for _ in 0..RANDOM_INPUTS {
        for (operation, shape, errors) in model.operations() {
            let input = model.random(&shape, random, 0);
            if let Err(error) = world.call(&operation, &input).await {
                check_refusal(&operation, &errors, &input, &error);
            }
        }
    }
}
