//! Container instances and task definitions for tests of what runs on them.

use longshore_model::Id;
use serde_json::{Value as Json, json};

use super::testing::World;
use crate::changes::Change;

/// Attributes with which agents say what they can do, and what machine they are.
fn capabilities() -> Vec<Json> {
    let names = [
        "com.amazonaws.ecs.capability.docker-remote-api.1.17",
        "com.amazonaws.ecs.capability.docker-remote-api.1.18",
        "com.amazonaws.ecs.capability.docker-remote-api.1.19",
        "com.amazonaws.ecs.capability.docker-remote-api.1.21",
        "com.amazonaws.ecs.capability.docker-remote-api.1.24",
        "com.amazonaws.ecs.capability.docker-remote-api.1.25",
        "com.amazonaws.ecs.capability.docker-remote-api.1.29",
        "com.amazonaws.ecs.capability.logging-driver.json-file",
        "ecs.capability.container-health-check",
        "ecs.capability.task-cpu-mem-limit",
    ];
    let mut attributes: Vec<Json> = names.iter().map(|name| json!({ "name": name })).collect();
    attributes.push(json!({"name": "ecs.os-type", "value": "linux"}));
    attributes.push(json!({"name": "ecs.cpu-architecture", "value": "x86_64"}));
    attributes
}

/// What an agent on a machine of this size registers, with attributes of its own.
pub(crate) fn registration(cpu: i64, memory: i64, own: &[(&str, &str)]) -> Json {
    let mut attributes = capabilities();
    attributes.extend(own.iter().map(|(name, value)| json!({"name": name, "value": value})));
    json!({
        "cluster": "default",
        "attributes": attributes,
        "totalResources": [
            {"name": "CPU", "type": "INTEGER", "integerValue": cpu},
            {"name": "MEMORY", "type": "INTEGER", "integerValue": memory},
            {"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22", "2375", "2376", "51678", "51679"]},
            {"name": "PORTS_UDP", "type": "STRINGSET", "stringSetValue": []},
        ],
    })
}

/// The id at the end of an ARN.
pub(crate) fn id_of(arn: &Json) -> Id {
    arn.as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap()
}

impl World {
    /// A control plane with the cluster `default`.
    pub(crate) async fn with_default_cluster() -> Self {
        let world = Self::new().await;
        world.ok("CreateCluster", json!({})).await;
        world
    }

    /// Registers an instance in `default`; answers its ARN.
    pub(crate) async fn registered(&self, cpu: i64, memory: i64, own: &[(&str, &str)]) -> Json {
        let answer = self.ok("RegisterContainerInstance", registration(cpu, memory, own)).await;
        answer["containerInstance"]["containerInstanceArn"].clone()
    }

    /// Registers an instance in `default` whose agent is connected; answers its ARN.
    pub(crate) async fn instance(&self, cpu: i64, memory: i64, own: &[(&str, &str)]) -> Json {
        let arn = self.registered(cpu, memory, own).await;
        self.connect(&arn, true).await;
        arn
    }

    /// Says whether the agent of an instance in `default` is connected.
    pub(crate) async fn connect(&self, arn: &Json, connected: bool) {
        let change = Change::AgentConnected(self.scope(), self.cluster_id("default"), id_of(arn), connected);
        self.change(|changes| changes.push(change)).await;
    }

    /// Registers `family` with one container, `main`.
    pub(crate) async fn family(&self, family: &str, cpu: i64, memory: i64, container: Json) -> Json {
        let mut main = json!({"name": "main", "image": "busybox", "cpu": cpu, "memory": memory});
        main.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        let input = json!({"family": family, "containerDefinitions": [main]});
        self.ok("RegisterTaskDefinition", input).await["taskDefinition"]["taskDefinitionArn"].clone()
    }

    /// Runs one task of `family` and answers it.
    pub(crate) async fn run(&self, family: &str) -> Json {
        let answer = self.ok("RunTask", json!({"taskDefinition": family})).await;
        assert_eq!(answer["failures"], json!([]), "{answer}");
        answer["tasks"][0].clone()
    }

    /// The task as described now.
    pub(crate) async fn task(&self, arn: &Json) -> Json {
        let answer = self.ok("DescribeTasks", json!({"tasks": [arn], "include": ["TAGS"]})).await;
        assert_eq!(answer["failures"], json!([]), "{answer}");
        answer["tasks"][0].clone()
    }

    /// The container instance as described now.
    pub(crate) async fn described(&self, arn: &Json) -> Json {
        let input = json!({"containerInstances": [arn], "include": ["TAGS", "CONTAINER_INSTANCE_HEALTH"]});
        let answer = self.ok("DescribeContainerInstances", input).await;
        assert_eq!(answer["failures"], json!([]), "{answer}");
        answer["containerInstances"][0].clone()
    }

    /// Reports a task's status as its agent would, with its container `main`.
    pub(crate) async fn report(&self, task: &Json, status: &str, exit_code: Option<i64>) {
        let main = json!({"containerName": "main", "status": status, "exitCode": exit_code, "runtimeId": "r"});
        let input = json!({"cluster": "default", "task": task, "status": status, "reason": "", "containers": [main]});
        self.ok("SubmitTaskStateChange", input).await;
    }
}
