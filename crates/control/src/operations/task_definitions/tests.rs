use std::sync::Arc;
use std::time::Duration;

use longshore_model::Scope;
use longshore_model::records::{FamilyRecord, TaskStatus};
use serde_json::{Value, json};

use super::register::MAX_REVISIONS;
use super::{Reference, finish_deletions, resolve_active};
use crate::changes::Change;
use crate::operations::testing::{ACCOUNT, REGION, World};

const MINUTE: Duration = Duration::from_secs(60);

fn definition(family: &str) -> Value {
    json!({"family": family, "containerDefinitions": [{"name": "app", "image": "busybox", "memory": 64}]})
}

async fn register(world: &World, family: &str) -> i64 {
    world.ok("RegisterTaskDefinition", definition(family)).await["taskDefinition"]["revision"].as_i64().unwrap()
}

async fn deregister(world: &World, name: &str) -> Value {
    world.ok("DeregisterTaskDefinition", json!({"taskDefinition": name})).await["taskDefinition"].clone()
}

async fn describe(world: &World, name: &str) -> Value {
    world.ok("DescribeTaskDefinition", json!({"taskDefinition": name})).await["taskDefinition"].clone()
}

async fn listed(world: &World, input: Value) -> Vec<String> {
    let answer = world.ok("ListTaskDefinitions", input).await;
    let arns = answer["taskDefinitionArns"].as_array().unwrap().iter();
    arns.map(|arn| arn.as_str().unwrap().rsplit_once('/').unwrap().1.to_owned()).collect()
}

// spec: 03-073, 23-012
#[tokio::test]
async fn a_registered_definition_has_arn_revision_and_who_registered_it() {
    let world = World::new().await;
    let answer = world.ok("RegisterTaskDefinition", definition("web")).await;
    let registered = &answer["taskDefinition"];
    assert_eq!(registered["taskDefinitionArn"], world.arn("task-definition/web:1"));
    assert_eq!((&registered["revision"], &registered["status"]), (&json!(1), &json!("ACTIVE")));
    assert_eq!(registered["registeredBy"], format!("arn:aws:iam::{ACCOUNT}:root"));
    assert_eq!(registered["registeredAt"], 1_700_000_000);
    assert_eq!(registered["compatibilities"], json!(["EXTERNAL", "EC2"]));
    assert_eq!(answer.get("tags"), None);
    assert_eq!(describe(&world, "web").await, *registered);
}

#[tokio::test]
async fn a_definition_out_of_its_rules_is_not_registered() {
    let world = World::new().await;
    let mut bad = definition("web");
    bad["containerDefinitions"][0]["memory"] = json!(1);
    assert_eq!(world.refused("RegisterTaskDefinition", bad).await.0, "ClientException");
    assert_eq!(register(&world, "web").await, 1);
}

// spec: 05-042, 05-166
#[tokio::test]
async fn values_that_the_api_does_not_know_are_refused_like_everything_else() {
    let world = World::new().await;
    let task = |member: &str, value: Value| {
        let mut document = definition("web");
        document[member] = value;
        document
    };
    let container = |member: &str, value: Value| {
        let mut document = definition("web");
        document["containerDefinitions"][0][member] = value;
        document
    };
    for document in [
        json!({"containerDefinitions": definition("web")["containerDefinitions"]}),
        json!({"family": "web"}),
        task("networkMode", json!("foo")),
        task("requiresCompatibilities", json!(["LAMBDA"])),
        task("proxyConfiguration", json!({"type": "FOO", "containerName": "app"})),
        task("placementConstraints", json!([{"type": "distinctInstance"}])),
        container("portMappings", json!([{"containerPort": 80, "protocol": "sctp"}])),
        container("logConfiguration", json!({"logDriver": "foo"})),
        container("environmentFiles", json!([{"value": "arn:aws:s3:::b/a.env", "type": "http"}])),
        container("ulimits", json!([{"name": "nofile", "softLimit": 1}])),
    ] {
        let refused = world.refused("RegisterTaskDefinition", document.clone()).await;
        assert_eq!(refused.0, "ClientException", "{document}");
        assert!(refused.1.contains("failed to satisfy constraint"), "{}", refused.1);
    }
    let tagged = task("tags", json!([{"key": ""}]));
    assert_eq!(world.refused("RegisterTaskDefinition", tagged).await.0, "InvalidParameterException");
    let typed = container("memory", json!("64"));
    assert_eq!(world.refused("RegisterTaskDefinition", typed).await.0, "SerializationException");
}

// spec: 05-002, 22-011
#[tokio::test]
async fn a_revision_number_is_never_given_twice() {
    let mut world = World::new().await;
    for expected in 1..=3 {
        assert_eq!(register(&world, "web").await, expected);
    }
    deregister(&world, "web:3").await;
    assert_eq!(register(&world, "web").await, 4);
    for name in ["web:1", "web:2", "web:4"] {
        deregister(&world, name).await;
    }
    world.ok("DeleteTaskDefinitions", json!({"taskDefinitions": ["web:1", "web:2", "web:3", "web:4"]})).await;
    world.clock.advance(MINUTE);
    assert_eq!(finish_deletions(world.engine()).await, Ok(4));
    world = world.restarted().await;
    assert_eq!(register(&world, "web").await, 5);
    assert_eq!(register(&world, "other").await, 1);
    let last = FamilyRecord { family: "other".to_owned(), last_revision: MAX_REVISIONS - 1 };
    world.change(|changes| changes.push(Change::PutFamily(world.scope(), Arc::new(last)))).await;
    assert_eq!(register(&world, "other").await, 1_000_000);
    let refused = world.refused("RegisterTaskDefinition", definition("other")).await;
    assert_eq!(refused.0, "LimitExceededException");
}

#[tokio::test]
async fn a_definition_is_named_by_family_revision_or_arn() {
    let world = World::new().await;
    register(&world, "web").await;
    register(&world, "web").await;
    for (name, revision) in
        [("web", 2), ("web:1", 1), (&world.arn("task-definition/web:1"), 1), (&world.arn("task-definition/web"), 2)]
    {
        assert_eq!(describe(&world, name).await["revision"], revision, "{name}");
    }
    for name in
        ["no", "web:3", "", &world.arn("cluster/web"), "arn:aws:ecs:us-east-1:123456789012:task-definition/web:1"]
    {
        let refused = world.refused("DescribeTaskDefinition", json!({"taskDefinition": name})).await;
        assert_eq!(refused, ("ClientException", "Unable to describe task definition.".to_owned()), "{name}");
    }
    let (_, message) = world.refused("DescribeTaskDefinition", json!({"taskDefinition": "web:x"})).await;
    assert_eq!(message, "Invalid revision number. Number: x");
}

// spec: 08-061, 08-064
#[tokio::test]
async fn a_deregistered_revision_is_inactive_and_describable() {
    let world = World::new().await;
    register(&world, "web").await;
    register(&world, "web").await;
    let inactive = deregister(&world, "web:2").await;
    assert_eq!(inactive["status"], "INACTIVE");
    assert_eq!(inactive["deregisteredAt"], 1_700_000_000);
    assert_eq!(deregister(&world, "web:2").await, inactive);
    assert_eq!(describe(&world, "web:2").await["status"], "INACTIVE");
    assert_eq!(describe(&world, "web").await["revision"], 1);
    assert_eq!(listed(&world, json!({})).await, ["web:1"]);
    assert_eq!(listed(&world, json!({"status": "INACTIVE"})).await, ["web:2"]);
    deregister(&world, "web:1").await;
    let refused = world.refused("DescribeTaskDefinition", json!({"taskDefinition": "web"})).await;
    assert_eq!(refused.1, "Unable to describe task definition.");
}

#[tokio::test]
async fn only_a_named_revision_that_exists_is_deregistered() {
    let world = World::new().await;
    register(&world, "web").await;
    for name in ["web", "web:9", "no:1"] {
        let refused = world.refused("DeregisterTaskDefinition", json!({"taskDefinition": name})).await;
        assert_eq!(refused.0, "ClientException", "{name}");
        assert_eq!(refused.1 == "Revision is missing.", name == "web", "{name}: {}", refused.1);
    }
}

// spec: 08-063, 14-007
#[tokio::test]
async fn the_newest_or_an_earlier_active_revision_runs_and_an_inactive_one_does_not() {
    let world = World::new().await;
    let scope = Scope::new(ACCOUNT, REGION);
    register(&world, "web").await;
    register(&world, "web").await;
    let resolved = |name: &'static str| {
        let resolved =
            world.engine().peek(|state| resolve_active(state.scope(&scope), &scope, name).map(|found| found.revision));
        resolved.map_err(|refused| refused.message)
    };
    assert_eq!((resolved("web"), resolved("web:1")), (Ok(2), Ok(1)));
    deregister(&world, "web:2").await;
    assert_eq!(resolved("web:2"), Err("TaskDefinition is inactive".to_owned()));
    assert_eq!(resolved("web"), Ok(1));
    deregister(&world, "web:1").await;
    assert_eq!(resolved("web"), Err("TaskDefinition not found.".to_owned()));
}

// spec: 23-013
#[tokio::test]
async fn definitions_are_listed_by_family_and_revision_in_pages() {
    let world = World::new().await;
    for family in ["b", "a", "b", "c", "a-b", "b"] {
        register(&world, family).await;
    }
    deregister(&world, "b:2").await;
    let ascending = ["a:1", "a-b:1", "b:1", "b:3", "c:1"];
    let mut sorted = listed(&world, json!({})).await;
    assert_eq!(sorted, ascending);
    sorted.reverse();
    assert_eq!(listed(&world, json!({"sort": "DESC"})).await, sorted);
    assert_eq!(listed(&world, json!({"familyPrefix": "b"})).await, ["b:1", "b:3"]);
    assert_eq!(listed(&world, json!({"familyPrefix": "no"})).await, Vec::<String>::new());
    for sort in ["ASC", "DESC"] {
        let (mut pages, mut token) = (Vec::new(), json!(null));
        loop {
            let input = json!({"maxResults": 2, "sort": sort, "nextToken": token});
            let answer = world.ok("ListTaskDefinitions", input.clone()).await;
            pages.extend(listed(&world, input).await);
            match answer.get("nextToken") {
                Some(next) => token = next.clone(),
                None => break,
            }
        }
        assert_eq!(pages, listed(&world, json!({"sort": sort})).await);
    }
    assert_eq!(world.refused("ListTaskDefinitions", json!({"nextToken": "x"})).await.0, "InvalidParameterException");
}

#[tokio::test]
async fn paging_through_one_family_ends_with_it() {
    let world = World::new().await;
    for family in ["a", "b", "b", "c"] {
        register(&world, family).await;
    }
    for sort in ["ASC", "DESC"] {
        let first = world.ok("ListTaskDefinitions", json!({"familyPrefix": "b", "maxResults": 1, "sort": sort})).await;
        let second = json!({"familyPrefix": "b", "maxResults": 1, "sort": sort, "nextToken": first["nextToken"]});
        let second = world.ok("ListTaskDefinitions", second).await;
        assert_eq!(second["taskDefinitionArns"].as_array().unwrap().len(), 1, "{sort}");
        assert_eq!(second.get("nextToken"), None, "{sort}");
    }
}

#[tokio::test]
async fn families_are_listed_by_prefix_and_by_whether_they_have_an_active_revision() {
    let world = World::new().await;
    for family in ["web", "web-old", "batch", "gone"] {
        register(&world, family).await;
    }
    deregister(&world, "web-old:1").await;
    deregister(&world, "gone:1").await;
    world.ok("DeleteTaskDefinitions", json!({"taskDefinitions": ["gone:1"]})).await;
    world.clock.advance(MINUTE);
    finish_deletions(world.engine()).await.unwrap();
    for (input, expected) in [
        (json!({}), json!(["batch", "web", "web-old"])),
        (json!({"status": "ALL"}), json!(["batch", "web", "web-old"])),
        (json!({"status": "ACTIVE"}), json!(["batch", "web"])),
        (json!({"status": "INACTIVE"}), json!(["web-old"])),
        (json!({"familyPrefix": "we"}), json!(["web", "web-old"])),
        (json!({"familyPrefix": "web-"}), json!(["web-old"])),
        (json!({"familyPrefix": "x"}), json!([])),
    ] {
        assert_eq!(world.ok("ListTaskDefinitionFamilies", input.clone()).await["families"], expected, "{input}");
    }
    let first = world.ok("ListTaskDefinitionFamilies", json!({"familyPrefix": "web", "maxResults": 1})).await;
    let rest = json!({"familyPrefix": "web", "nextToken": first["nextToken"]});
    assert_eq!(world.ok("ListTaskDefinitionFamilies", rest).await, json!({"families": ["web-old"]}));
}

#[tokio::test]
async fn only_inactive_revisions_are_deleted() {
    let world = World::new().await;
    for _ in 0..2 {
        register(&world, "web").await;
    }
    deregister(&world, "web:2").await;
    let arn = |revision: u32| world.arn(&format!("task-definition/web:{revision}"));
    let answer = world.ok("DeleteTaskDefinitions", json!({"taskDefinitions": ["web:1", arn(2), "web:3"]})).await;
    assert_eq!(answer["taskDefinitions"][0]["taskDefinitionArn"], arn(2));
    assert_eq!(answer["taskDefinitions"][0]["status"], "DELETE_IN_PROGRESS");
    assert_eq!(answer["taskDefinitions"][0]["deleteRequestedAt"], 1_700_000_000);
    assert_eq!(
        answer["failures"],
        json!([
            {"arn": arn(1), "reason": "The specified task definition is still in ACTIVE status. Please deregister the target and try again."},
            {"arn": arn(3), "reason": "The specified task definition does not exist. Specify a valid account, family, revision and try again."},
        ])
    );
    assert_eq!(listed(&world, json!({"status": "DELETE_IN_PROGRESS"})).await, ["web:2"]);
    assert_eq!(
        world.refused("DeregisterTaskDefinition", json!({"taskDefinition": "web:2"})).await.0,
        "ClientException"
    );
    for names in [json!([]), json!(vec!["web:2"; 11])] {
        let refused = world.refused("DeleteTaskDefinitions", json!({"taskDefinitions": names})).await;
        assert_eq!(refused.0, "InvalidParameterException");
    }
    assert_eq!(world.refused("DeleteTaskDefinitions", json!({"taskDefinitions": ["web"]})).await.0, "ClientException");
}

#[tokio::test]
async fn a_deletion_ends_when_no_task_uses_the_revision() {
    let world = World::new().await;
    register(&world, "web").await;
    world.ok("CreateCluster", json!({})).await;
    let task = world.put_task("default", "web", 1, TaskStatus::Running).await;
    deregister(&world, "web:1").await;
    world.ok("DeleteTaskDefinitions", json!({"taskDefinitions": ["web:1"]})).await;
    assert_eq!(finish_deletions(world.engine()).await, Ok(0));
    assert_eq!(describe(&world, "web:1").await["status"], "DELETE_IN_PROGRESS");
    world.clock.advance(MINUTE);
    assert_eq!(finish_deletions(world.engine()).await, Ok(0));
    world.move_task(&task, TaskStatus::Stopped).await;
    assert_eq!(finish_deletions(world.engine()).await, Ok(1));
    let refused = world.refused("DescribeTaskDefinition", json!({"taskDefinition": "web:1"})).await;
    assert_eq!(refused.1, "Unable to describe task definition.");
}

#[tokio::test]
async fn a_deletion_can_be_seen_for_a_minute() {
    let world = World::new().await;
    register(&world, "web").await;
    deregister(&world, "web:1").await;
    world.ok("DeleteTaskDefinitions", json!({"taskDefinitions": ["web:1"]})).await;
    for (wait, left) in [(Duration::ZERO, 1), (MINUTE - Duration::from_secs(1), 1), (Duration::from_secs(1), 0)] {
        world.clock.advance(wait);
        finish_deletions(world.engine()).await.unwrap();
        assert_eq!(listed(&world, json!({"status": "DELETE_IN_PROGRESS"})).await.len(), left, "{wait:?}");
    }
}

// spec: 04-018
#[tokio::test]
async fn tags_are_described_when_asked_for() {
    let world = World::new().await;
    let mut tagged = definition("web");
    tagged["tags"] = json!([{"key": "team", "value": "web"}, {"key": "empty"}]);
    let expected = json!([{"key": "team", "value": "web"}, {"key": "empty", "value": ""}]);
    assert_eq!(world.ok("RegisterTaskDefinition", tagged).await["tags"], expected);
    let describe =
        |include: Value| world.ok("DescribeTaskDefinition", json!({"taskDefinition": "web", "include": include}));
    assert_eq!(describe(json!(["TAGS"])).await["tags"], expected);
    assert_eq!(describe(json!([])).await.get("tags"), None);
}

#[test]
fn references_are_read_strictly() {
    let scope = Scope::new(ACCOUNT, REGION);
    let parse = |text: &'static str| Reference::parse(&scope, text);
    assert_eq!(parse("web:7"), Ok(Some(Reference { family: "web", revision: Some(7) })));
    for text in ["web:", "web:+1", "web:-1", "web:1:2", "web:99999999999"] {
        assert_eq!(parse(text).unwrap_err().code, "ClientException", "{text}");
    }
}
