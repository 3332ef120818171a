//! Tags on everything that has them: at creation, afterwards, propagated, and gone with their resource.

use serde_json::{Value, json};

use super::testing::World;
use super::testing_instances::registration;
use crate::reconcilers::{ServiceScheduler, ServiceSchedulerLimits, run_once};

fn tag(key: &str, value: &str) -> Value {
    json!({"key": key, "value": value})
}

async fn world() -> World {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    world
}

async fn listed(world: &World, arn: &Value) -> Value {
    world.ok("ListTagsForResource", json!({"resourceArn": arn})).await["tags"].clone()
}

/// Tags of the one task that the service `web` runs.
async fn tags_of_its_task(world: &World) -> Value {
    run_once(&ServiceScheduler::new(world.engine().clone(), ServiceSchedulerLimits::default())).await.unwrap();
    let tasks = world.ok("ListTasks", json!({"serviceName": "web"})).await["taskArns"].clone();
    world.task(&tasks[0]).await["tags"].clone()
}

// spec: 18-022, 18-009
#[tokio::test]
async fn everything_is_tagged_when_it_is_made() {
    let world = world().await;
    let tags = json!([tag("team", "devs")]);
    let cluster = world.ok("CreateCluster", json!({"clusterName": "devcluster", "tags": tags})).await;
    assert_eq!(cluster["cluster"]["tags"], tags);
    let main = json!({"name": "main", "image": "busybox", "memory": 4});
    let definition = json!({"family": "tagged", "containerDefinitions": [main], "tags": tags});
    let definition = world.ok("RegisterTaskDefinition", definition).await;
    assert_eq!(definition["tags"], tags);
    let task = world.ok("RunTask", json!({"taskDefinition": "web", "tags": tags})).await["tasks"][0].clone();
    assert_eq!(task["tags"], tags);
    let service = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 0, "tags": tags});
    let service = world.ok("CreateService", service).await["service"].clone();
    assert_eq!(service["tags"], tags);
    let mut instance = registration(100, 100, &[]);
    instance["tags"] = tags.clone();
    let instance = world.ok("RegisterContainerInstance", instance).await["containerInstance"].clone();
    assert_eq!(instance["tags"], tags);
    for arn in [
        &cluster["cluster"]["clusterArn"],
        &definition["taskDefinition"]["taskDefinitionArn"],
        &task["taskArn"],
        &service["serviceArn"],
        &instance["containerInstanceArn"],
    ] {
        assert_eq!(listed(&world, arn).await, tags, "{arn}");
    }
}

// spec: 18-006
#[tokio::test]
async fn tags_go_with_their_resource() {
    let world = world().await;
    let tags = json!([tag("a", "b")]);
    let arn =
        world.ok("CreateCluster", json!({"clusterName": "gone", "tags": tags})).await["cluster"]["clusterArn"].clone();
    world.ok("DeleteCluster", json!({"cluster": "gone"})).await;
    world.ok("CreateCluster", json!({"clusterName": "gone"})).await;
    assert_eq!(listed(&world, &arn).await, json!([]));
}

// spec: 18-014
#[tokio::test]
async fn keys_and_values_have_letters_digits_spaces_and_some_signs() {
    let world = world().await;
    let arn = world.arn("cluster/default");
    let call = |key: &str, value: &str| json!({"resourceArn": arn, "tags": [tag(key, value)]});
    for (key, value) in [("a b", "c d"), ("äöü", "日本"), ("+-=._:/@", "+-=._:/@"), ("Key", ""), ("key", "")] {
        world.ok("TagResource", call(key, value)).await;
    }
    for (key, value) in [("*", ""), ("a", "*"), ("a#b", ""), ("a", "b|c"), ("", "a")] {
        let (code, _) = world.refused("TagResource", call(key, value)).await;
        assert_eq!(code, "InvalidParameterException", "{key} {value}");
    }
    assert_eq!(listed(&world, &json!(arn)).await.as_array().unwrap().len(), 5);
}

// spec: 18-023, 18-016
#[tokio::test]
async fn a_service_passes_its_tags_on_and_marks_its_tasks() {
    let world = world().await;
    let service = json!({
        "serviceName": "web", "taskDefinition": "web", "desiredCount": 1, "tags": [tag("stack", "dev")],
        "propagateTags": "SERVICE", "enableECSManagedTags": true,
    });
    world.ok("CreateService", service).await;
    let expected =
        json!([tag("stack", "dev"), tag("aws:ecs:clusterName", "default"), tag("aws:ecs:serviceName", "web")]);
    assert_eq!(tags_of_its_task(&world).await, expected);
    let run = json!({"taskDefinition": "web", "enableECSManagedTags": true});
    let alone = world.ok("RunTask", run).await["tasks"][0]["tags"].clone();
    assert_eq!(alone, json!([tag("aws:ecs:clusterName", "default")]));
}

// spec: 18-009, 15-045, 15-046
#[tokio::test]
async fn a_service_passes_its_definitions_tags_on_when_told_and_none_otherwise() {
    for (propagate, expected) in
        [(json!("TASK_DEFINITION"), json!([tag("of", "definition")])), (json!(null), json!([]))]
    {
        let world = world().await;
        let main = json!({"name": "main", "image": "busybox", "memory": 4});
        let definition = json!({"family": "web", "containerDefinitions": [main], "tags": [tag("of", "definition")]});
        world.ok("RegisterTaskDefinition", definition).await;
        let service = json!({
            "serviceName": "web", "taskDefinition": "web", "desiredCount": 1, "tags": [tag("of", "service")],
            "propagateTags": propagate,
        });
        world.ok("CreateService", service).await;
        assert_eq!(tags_of_its_task(&world).await, expected);
    }
}

#[tokio::test]
async fn managed_tags_cannot_be_changed_by_users() {
    let world = world().await;
    let run = json!({"taskDefinition": "web", "enableECSManagedTags": true});
    let arn = world.ok("RunTask", run).await["tasks"][0]["taskArn"].clone();
    let message = "aws: prefixed tag key names are not allowed for external use.";
    let untag = json!({"resourceArn": arn, "tagKeys": ["aws:ecs:clusterName"]});
    assert_eq!(world.refused("UntagResource", untag).await, ("InvalidParameterException", message.to_owned()));
    let change = json!({"resourceArn": arn, "tags": [tag("aws:ecs:clusterName", "other")]});
    assert_eq!(world.refused("TagResource", change).await, ("InvalidParameterException", message.to_owned()));
}

// spec: 18-001, 18-009, 18-022
#[tokio::test]
async fn task_sets_and_their_services_are_tagged_apart() {
    let world = world().await;
    let service = json!({"serviceName": "ext", "deploymentController": {"type": "EXTERNAL"}, "desiredCount": 1});
    let service = world.ok("CreateService", service).await["service"]["serviceArn"].clone();
    let input = json!({
        "cluster": "default", "service": "ext", "taskDefinition": "web", "tags": [tag("made", "with")],
    });
    let set = world.ok("CreateTaskSet", input).await["taskSet"]["taskSetArn"].clone();
    for (arn, of) in [(&set, "set"), (&service, "service")] {
        world.ok("TagResource", json!({"resourceArn": arn, "tags": [tag("of", of)]})).await;
    }
    assert_eq!(listed(&world, &set).await, json!([tag("made", "with"), tag("of", "set")]));
    assert_eq!(listed(&world, &service).await, json!([tag("of", "service")]));
    world.ok("UntagResource", json!({"resourceArn": set, "tagKeys": ["of"]})).await;
    let world = world.restarted().await;
    assert_eq!(listed(&world, &set).await, json!([tag("made", "with")]));
    let missing = json!({"resourceArn": format!("{}9", set.as_str().unwrap()), "tags": [tag("a", "b")]});
    assert_eq!(world.refused("TagResource", missing).await.0, "ResourceNotFoundException");
}
