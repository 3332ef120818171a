use std::time::Duration;

use serde_json::{Value, json};

use super::finish_deletions;
use crate::operations::testing::{ACCOUNT, World};

fn definition(family: &str) -> Value {
    json!({"family": family, "containerDefinitions": [{"name": "agent", "image": "busybox", "memory": 64}]})
}

async fn register(world: &World, family: &str) -> Value {
    world.ok("RegisterDaemonTaskDefinition", definition(family)).await["daemonTaskDefinitionArn"].clone()
}

async fn describe(world: &World, name: &str) -> Value {
    let answer = world.ok("DescribeDaemonTaskDefinition", json!({"daemonTaskDefinition": name})).await;
    answer["daemonTaskDefinition"].clone()
}

async fn delete(world: &World, name: &str) -> Value {
    world.ok("DeleteDaemonTaskDefinition", json!({"daemonTaskDefinition": name})).await
}

async fn listed(world: &World, input: Value) -> Vec<String> {
    let answer = world.ok("ListDaemonTaskDefinitions", input).await;
    let summaries = answer["daemonTaskDefinitions"].as_array().unwrap().iter();
    summaries.map(|it| it["arn"].as_str().unwrap().rsplit_once('/').unwrap().1.to_owned()).collect()
}

#[tokio::test]
async fn a_registered_definition_is_described_with_its_defaults() {
    let world = World::new().await;
    let mut given = definition("agent");
    given["containerDefinitions"][0]["linuxParameters"] = json!({"initProcessEnabled": true});
    given["pidMode"] = json!("shared");
    given["volumes"] = json!([{"name": "logs", "host": {"sourcePath": "/var/log"}}]);
    let arn = world.arn("daemon-task-definition/agent:1");
    let answer = world.ok("RegisterDaemonTaskDefinition", given).await;
    assert_eq!(answer, json!({"daemonTaskDefinitionArn": arn}));
    let described = describe(&world, "agent").await;
    assert_eq!(described["daemonTaskDefinitionArn"], arn);
    assert_eq!((&described["family"], &described["revision"]), (&json!("agent"), &json!(1)));
    assert_eq!((&described["status"], &described["pidMode"]), (&json!("ACTIVE"), &json!("shared")));
    assert_eq!(described["registeredBy"], format!("arn:aws:iam::{ACCOUNT}:root"));
    assert_eq!(described["volumes"], json!([{"name": "logs", "host": {"sourcePath": "/var/log"}}]));
    let container = &described["containerDefinitions"][0];
    assert_eq!((&container["essential"], &container["cpu"]), (&json!(true), &json!(0)));
    assert_eq!(container["linuxParameters"]["initProcessEnabled"], true);
    let world = world.restarted().await;
    assert_eq!(describe(&world, "agent:1").await, described);
}

#[tokio::test]
async fn families_of_daemons_and_of_tasks_are_apart() {
    let world = World::new().await;
    register(&world, "agent").await;
    let refused = world.refused("DescribeTaskDefinition", json!({"taskDefinition": "agent"})).await;
    assert_eq!(refused.0, "ClientException");
    let answer = world.ok("RegisterTaskDefinition", definition("agent")).await;
    assert_eq!(answer["taskDefinition"]["revision"], 1);
    assert_eq!(register(&world, "agent").await, world.arn("daemon-task-definition/agent:2"));
}

#[tokio::test]
async fn a_definition_out_of_the_rules_of_task_definitions_is_refused() {
    let world = World::new().await;
    let changed = |member: &str, value: Value| {
        let mut document = definition("agent");
        document["containerDefinitions"][0][member] = value;
        document
    };
    for document in [
        json!({"family": "agent", "containerDefinitions": []}),
        json!({"family": "a b", "containerDefinitions": definition("agent")["containerDefinitions"]}),
        changed("memory", json!(1)),
        changed("name", json!("a b")),
        changed("dependsOn", json!([{"containerName": "no", "condition": "START"}])),
        changed("mountPoints", json!([{"sourceVolume": "no", "containerPath": "/a"}])),
    ] {
        let refused = world.refused("RegisterDaemonTaskDefinition", document.clone()).await;
        assert_eq!(refused.0, "ClientException", "{document}");
    }
    let refused = world.refused("RegisterDaemonTaskDefinition", json!({"family": "agent"})).await;
    assert_eq!(refused.0, "InvalidParameterException");
    let mut tagged = definition("agent");
    tagged["tags"] = json!([{"key": "aws:x", "value": ""}]);
    assert_eq!(world.refused("RegisterDaemonTaskDefinition", tagged).await.0, "InvalidParameterException");
}

#[tokio::test]
async fn definitions_are_named_by_family_revision_or_arn() {
    let world = World::new().await;
    register(&world, "agent").await;
    register(&world, "agent").await;
    let (one, two) = (world.arn("daemon-task-definition/agent:1"), world.arn("daemon-task-definition/agent"));
    for (name, revision) in [("agent", 2), ("agent:1", 1), (&one, 1), (&two, 2)] {
        assert_eq!(describe(&world, name).await["revision"], revision, "{name}");
    }
    for name in ["no", "agent:3", "", "agent:x", &world.arn("task-definition/agent:1")] {
        let refused = world.refused("DescribeDaemonTaskDefinition", json!({"daemonTaskDefinition": name})).await;
        assert_eq!(refused.0, "ClientException", "{name}");
    }
}

#[tokio::test]
async fn definitions_are_listed_by_family_status_and_revision_in_pages() {
    let world = World::new().await;
    for family in ["b", "a", "b", "ab"] {
        register(&world, family).await;
    }
    delete(&world, "b:1").await;
    assert_eq!(listed(&world, json!({})).await, ["a:1", "ab:1", "b:2"]);
    assert_eq!(listed(&world, json!({"status": "DELETE_IN_PROGRESS"})).await, ["b:1"]);
    assert_eq!(listed(&world, json!({"status": "ALL", "sort": "DESC"})).await, ["b:2", "b:1", "ab:1", "a:1"]);
    assert_eq!(listed(&world, json!({"familyPrefix": "a"})).await, ["a:1", "ab:1"]);
    assert_eq!(listed(&world, json!({"family": "a"})).await, ["a:1"]);
    assert_eq!(listed(&world, json!({"revision": "LAST_REGISTERED", "status": "ALL"})).await, ["a:1", "ab:1", "b:2"]);
    for sort in ["ASC", "DESC"] {
        let (mut all, mut token) = (Vec::new(), json!(null));
        loop {
            let input = json!({"maxResults": 1, "status": "ALL", "sort": sort, "nextToken": token});
            all.extend(listed(&world, input.clone()).await);
            match world.ok("ListDaemonTaskDefinitions", input).await.get("nextToken") {
                Some(next) => token = next.clone(),
                None => break,
            }
        }
        assert_eq!(all, listed(&world, json!({"status": "ALL", "sort": sort})).await);
    }
    for input in [json!({"maxResults": 101}), json!({"nextToken": "x"}), json!({"family": "a", "familyPrefix": "a"})] {
        let refused = world.refused("ListDaemonTaskDefinitions", input.clone()).await;
        assert_eq!(refused.0, "InvalidParameterException", "{input}");
    }
}

#[tokio::test]
async fn a_deleted_definition_is_described_for_an_hour() {
    let world = World::new().await;
    let arn = register(&world, "agent").await;
    assert_eq!(delete(&world, "agent:1").await["daemonTaskDefinitionArn"], arn);
    let described = describe(&world, "agent:1").await;
    assert_eq!(described["status"], "DELETE_IN_PROGRESS");
    assert_eq!(described["deleteRequestedAt"], 1_700_000_000);
    let refused = world.refused("DeleteDaemonTaskDefinition", json!({"daemonTaskDefinition": "agent:1"})).await;
    assert_eq!(refused.0, "ClientException");
    assert_eq!(finish_deletions(world.engine()).await, Ok(1));
    assert_eq!(describe(&world, "agent:1").await["status"], "DELETED");
    let refused = world.refused("DeleteDaemonTaskDefinition", json!({"daemonTaskDefinition": "agent:1"})).await;
    assert_eq!(refused.0, "ClientException");
    world.clock.advance(Duration::from_secs(3601));
    assert_eq!(finish_deletions(world.engine()).await, Ok(1));
    let refused = world.refused("DescribeDaemonTaskDefinition", json!({"daemonTaskDefinition": "agent:1"})).await;
    assert!(refused.1.contains("agent:1"), "{}", refused.1);
    assert_eq!(register(&world, "agent").await, world.arn("daemon-task-definition/agent:2"));
}

#[tokio::test]
async fn only_a_named_revision_is_deleted() {
    let world = World::new().await;
    register(&world, "agent").await;
    for name in ["agent", "agent:2", "no:1"] {
        let refused = world.refused("DeleteDaemonTaskDefinition", json!({"daemonTaskDefinition": name})).await;
        assert_eq!(refused.0, "ClientException", "{name}");
    }
}
