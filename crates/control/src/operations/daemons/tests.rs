use serde_json::{Value, json};

use crate::operations::testing::World;

/// A world with the cluster `default`, the capacity provider `group` in it, and the daemon task
/// definition `agent:1`.
pub(crate) async fn world() -> World {
    let world = World::with_default_cluster().await;
    for name in ["group", "other"] {
        let group =
            format!("arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:u:autoScalingGroupName/{name}");
        let input = json!({"name": name, "autoScalingGroupProvider": {"autoScalingGroupArn": group}});
        world.ok("CreateCapacityProvider", input).await;
    }
    associate(&world, &["group"]).await;
    definition(&world).await;
    world
}

async fn associate(world: &World, providers: &[&str]) {
    let input = json!({"cluster": "default", "capacityProviders": providers, "defaultCapacityProviderStrategy": []});
    world.ok("PutClusterCapacityProviders", input).await;
}

/// Registers the next revision of `agent`.
pub(crate) async fn definition(world: &World) -> Value {
    let container = json!({"name": "main", "image": "busybox", "cpu": 10, "memory": 64});
    let input = json!({"family": "agent", "containerDefinitions": [container]});
    world.ok("RegisterDaemonTaskDefinition", input).await["daemonTaskDefinitionArn"].clone()
}

/// What CreateDaemon is called with, and `own` besides or instead.
pub(crate) fn input(own: Value) -> Value {
    let mut input =
        json!({"daemonName": "agent", "daemonTaskDefinitionArn": "agent", "capacityProviderArns": ["group"]});
    input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    input
}

pub(crate) async fn create(world: &World, own: Value) -> Value {
    world.ok("CreateDaemon", input(own)).await
}

/// What UpdateDaemon is called with, and `own` besides or instead.
fn update_input(world: &World, own: Value) -> Value {
    let mut input = input(own);
    let members = input.as_object_mut().unwrap();
    members.remove("daemonName");
    members.insert("daemonArn".to_owned(), json!(world.arn("daemon/default/agent")));
    input
}

pub(crate) async fn update(world: &World, own: Value) -> Value {
    world.ok("UpdateDaemon", update_input(world, own)).await
}

pub(crate) async fn describe(world: &World) -> Value {
    world.ok("DescribeDaemon", json!({"daemonArn": world.arn("daemon/default/agent")})).await["daemon"].clone()
}

/// The deployments of the daemon, the newest first.
pub(crate) async fn deployments(world: &World) -> Vec<Value> {
    let listed = world.ok("ListDaemonDeployments", json!({"daemonArn": world.arn("daemon/default/agent")})).await;
    let mut found = Vec::new();
    for summary in listed["daemonDeployments"].as_array().unwrap() {
        let input = json!({"daemonDeploymentArns": [summary["daemonDeploymentArn"]]});
        found.push(world.ok("DescribeDaemonDeployments", input).await["daemonDeployments"][0].clone());
    }
    found
}

async fn revision(world: &World, arn: &Value) -> Value {
    world.ok("DescribeDaemonRevisions", json!({"daemonRevisionArns": [arn]})).await["daemonRevisions"][0].clone()
}

#[tokio::test]
async fn a_daemon_has_a_revision_and_a_deployment() {
    let world = world().await;
    let made = create(&world, json!({"propagateTags": "DAEMON", "enableECSManagedTags": true})).await;
    let arn = world.arn("daemon/default/agent");
    assert_eq!((&made["daemonArn"], &made["status"]), (&json!(arn), &json!("ACTIVE")));
    assert_eq!(made["createdAt"], 1_700_000_000);
    let daemon = describe(&world).await;
    assert_eq!(daemon["clusterArn"], world.arn("cluster/default"));
    assert_eq!(daemon["deploymentArn"], made["deploymentArn"]);
    let current = &daemon["currentRevisions"][0];
    assert_eq!((&current["totalRunningCount"], &current["totalWithoutDaemonCount"]), (&json!(0), &json!(0)));
    assert_eq!(current["capacityProviders"][0]["arn"], world.arn("capacity-provider/group"));
    let deployment = &deployments(&world).await[0];
    assert_eq!(deployment["daemonDeploymentArn"], made["deploymentArn"]);
    assert_eq!(deployment["status"], "PENDING");
    assert_eq!(deployment["targetDaemonRevision"]["arn"], current["arn"]);
    assert_eq!(deployment["deploymentConfiguration"], json!({"drainPercent": 25.0, "bakeTimeInMinutes": 0}));
    let revision = revision(&world, &current["arn"]).await;
    assert_eq!(revision["daemonArn"], arn);
    assert_eq!(revision["daemonTaskDefinitionArn"], world.arn("daemon-task-definition/agent:1"));
    assert_eq!(revision["containerImages"], json!([{"containerName": "main", "image": "busybox"}]));
    assert_eq!((&revision["critical"], &revision["propagateTags"]), (&json!(true), &json!("DAEMON")));
    assert_eq!((&revision["enableECSManagedTags"], &revision["enableExecuteCommand"]), (&json!(true), &json!(false)));
    let world = world.restarted().await;
    assert_eq!(describe(&world).await, daemon);
}

#[tokio::test]
async fn a_daemon_out_of_its_rules_is_refused() {
    let world = world().await;
    let invalid = "InvalidParameterException";
    for (own, code) in [
        (json!({"daemonName": "a b"}), invalid),
        (json!({"daemonName": ""}), invalid),
        (json!({"capacityProviderArns": []}), invalid),
        (json!({"capacityProviderArns": ["no"]}), invalid),
        (json!({"capacityProviderArns": ["other"]}), invalid),
        (json!({"capacityProviderArns": ["FARGATE"]}), invalid),
        (json!({"capacityProviderArns": ["group", world.arn("capacity-provider/group")]}), invalid),
        (json!({"clientToken": "x".repeat(37)}), invalid),
        (json!({"clientToken": "a b"}), invalid),
        (json!({"tags": [{"key": "aws:x", "value": ""}]}), invalid),
        (json!({"deploymentConfiguration": {"drainPercent": 101.0}}), invalid),
        (json!({"deploymentConfiguration": {"bakeTimeInMinutes": -1}}), invalid),
        (json!({"propagateTags": "SERVICE"}), invalid),
        (json!({"daemonTaskDefinitionArn": "no"}), "ClientException"),
        (json!({"daemonTaskDefinitionArn": "agent:2"}), "ClientException"),
        (json!({"clusterArn": "no"}), "ClusterNotFoundException"),
    ] {
        assert_eq!(world.refused("CreateDaemon", input(own.clone())).await.0, code, "{own}");
    }
    assert_eq!(world.ok("ListDaemons", json!({})).await["daemonSummariesList"], json!([]));
}

#[tokio::test]
async fn a_log_driver_s_volume_is_refused_when_a_daemon_is_to_have_it() {
    let world = world().await;
    let container = json!({"name": "main", "image": "busybox", "memory": 64});
    let volume = json!({"name": "logs", "logDriverVolumeConfiguration": {"driver": "fluentd"}});
    let definition = json!({"family": "logs", "containerDefinitions": [container], "volumes": [volume]});
    world.ok("RegisterDaemonTaskDefinition", definition).await;
    let (code, message) = world.refused("CreateDaemon", input(json!({"daemonTaskDefinitionArn": "logs"}))).await;
    assert_eq!(code, "UnsupportedFeatureException");
    assert!(message.contains("logs"), "{message}");
}

#[tokio::test]
async fn the_same_call_with_the_same_token_makes_one_daemon() {
    let world = world().await;
    let first = create(&world, json!({"clientToken": "t"})).await;
    assert_eq!(create(&world, json!({"clientToken": "t"})).await, first);
    for own in [json!({}), json!({"clientToken": "u"}), json!({"clientToken": "t", "critical": false})] {
        let refused = world.refused("CreateDaemon", input(own.clone())).await;
        assert_eq!(refused.0, "InvalidParameterException", "{own}");
    }
    assert_eq!(deployments(&world).await.len(), 1);
}

#[tokio::test]
async fn an_update_begins_a_deployment_and_stops_the_one_before() {
    let world = world().await;
    create(&world, json!({"enableExecuteCommand": true})).await;
    let first = deployments(&world).await[0].clone();
    definition(&world).await;
    let updated = update(&world, json!({"deploymentConfiguration": {"bakeTimeInMinutes": 5}})).await;
    assert_eq!(updated["status"], "ACTIVE");
    let both = deployments(&world).await;
    assert_eq!((&both[0]["daemonDeploymentArn"], both.len()), (&updated["deploymentArn"], 2));
    assert_eq!((&both[0]["status"], &both[1]["status"]), (&json!("PENDING"), &json!("STOPPED")));
    assert_eq!(both[1]["daemonDeploymentArn"], first["daemonDeploymentArn"]);
    assert!(both[1]["statusReason"].as_str().unwrap().contains("later deployment"));
    let target = revision(&world, &both[0]["targetDaemonRevision"]["arn"]).await;
    assert_eq!(target["daemonTaskDefinitionArn"], world.arn("daemon-task-definition/agent:2"));
    // What an update does not say stays.
    assert_eq!(target["enableExecuteCommand"], true);
    update(&world, json!({"enableExecuteCommand": false})).await;
    let newest = &deployments(&world).await[0];
    assert_eq!(newest["deploymentConfiguration"]["bakeTimeInMinutes"], 5);
    assert_eq!(revision(&world, &newest["targetDaemonRevision"]["arn"]).await["enableExecuteCommand"], false);
}

#[tokio::test]
async fn an_update_to_what_a_revision_is_like_goes_back_to_it() {
    let world = world().await;
    create(&world, json!({})).await;
    let first = deployments(&world).await[0]["targetDaemonRevision"]["arn"].clone();
    definition(&world).await;
    update(&world, json!({})).await;
    assert_ne!(deployments(&world).await[0]["targetDaemonRevision"]["arn"], first);
    update(&world, json!({"daemonTaskDefinitionArn": "agent:1"})).await;
    assert_eq!(deployments(&world).await[0]["targetDaemonRevision"]["arn"], first);
}

#[tokio::test]
async fn what_is_no_daemon_is_neither_described_nor_changed() {
    let world = world().await;
    let arn = |resource: &str| world.arn(resource);
    for (daemon, code) in [
        (arn("daemon/default/no"), "DaemonNotFoundException"),
        (arn("daemon/no/agent"), "ClusterNotFoundException"),
        (arn("service/default/agent"), "InvalidParameterException"),
        (arn("daemon/agent"), "InvalidParameterException"),
        ("agent".to_owned(), "InvalidParameterException"),
    ] {
        let mut changed = update_input(&world, json!({}));
        changed["daemonArn"] = json!(daemon);
        assert_eq!(world.refused("UpdateDaemon", changed).await.0, code, "{daemon}");
        for operation in ["DescribeDaemon", "DeleteDaemon"] {
            assert_eq!(world.refused(operation, json!({"daemonArn": daemon})).await.0, code, "{operation} {daemon}");
        }
    }
    let (code, message) = world.refused("ListDaemonDeployments", json!({"daemonArn": arn("daemon/default/no")})).await;
    assert_eq!(code, "ClientException");
    assert!(message.contains("daemon/default/no"), "{message}");
}

#[tokio::test]
async fn a_daemon_that_is_being_deleted_is_not_active() {
    let world = world().await;
    create(&world, json!({})).await;
    let input_of = json!({"daemonArn": world.arn("daemon/default/agent")});
    let deleted = world.ok("DeleteDaemon", input_of.clone()).await;
    assert_eq!(deleted["status"], "DELETE_IN_PROGRESS");
    assert_eq!(describe(&world).await["status"], "DELETE_IN_PROGRESS");
    assert_eq!(deployments(&world).await[0]["status"], "STOPPED");
    assert_eq!(world.refused("DeleteDaemon", input_of).await.0, "DaemonNotActiveException");
    let changed = update_input(&world, json!({}));
    assert_eq!(world.refused("UpdateDaemon", changed).await.0, "DaemonNotActiveException");
    assert_eq!(world.refused("CreateDaemon", input(json!({}))).await.0, "InvalidParameterException");
}

#[tokio::test]
async fn daemons_are_listed_by_name_and_capacity_provider_in_pages() {
    let world = world().await;
    associate(&world, &["group", "other"]).await;
    for name in ["c", "a", "b"] {
        let provider = if name == "b" { "other" } else { "group" };
        create(&world, json!({"daemonName": name, "capacityProviderArns": [provider]})).await;
    }
    let listed = async |input: Value| -> Vec<String> {
        let answer = world.ok("ListDaemons", input).await;
        let summaries = answer["daemonSummariesList"].as_array().unwrap().iter();
        summaries.map(|it| it["daemonArn"].as_str().unwrap().rsplit_once('/').unwrap().1.to_owned()).collect()
    };
    assert_eq!(listed(json!({"clusterArn": world.arn("cluster/default")})).await, ["a", "b", "c"]);
    assert_eq!(listed(json!({"capacityProviderArns": [world.arn("capacity-provider/other")]})).await, ["b"]);
    let first = world.ok("ListDaemons", json!({"maxResults": 2})).await;
    assert_eq!(listed(json!({"maxResults": 2, "nextToken": first["nextToken"]})).await, ["c"]);
    assert_eq!(world.refused("ListDaemons", json!({"clusterArn": "no"})).await.0, "ClusterNotFoundException");
    assert_eq!(world.refused("ListDaemons", json!({"maxResults": 0})).await.0, "InvalidParameterException");
}

#[tokio::test]
async fn deployments_are_listed_newest_first_by_status_and_age() {
    let world = world().await;
    create(&world, json!({})).await;
    world.clock.advance(std::time::Duration::from_secs(10));
    for _ in 0..2 {
        update(&world, json!({})).await;
    }
    let daemon = world.arn("daemon/default/agent");
    let listed = async |own: Value| -> Vec<Value> {
        let mut input = json!({"daemonArn": daemon});
        input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        world.ok("ListDaemonDeployments", input).await["daemonDeployments"].as_array().unwrap().clone()
    };
    let all = listed(json!({})).await;
    let statuses: Vec<&Value> = all.iter().map(|it| &it["status"]).collect();
    assert_eq!(statuses, ["PENDING", "STOPPED", "STOPPED"]);
    assert_eq!(all[0]["daemonArn"], daemon);
    assert_eq!(listed(json!({"status": ["PENDING"]})).await, all[..1]);
    assert_eq!(listed(json!({"createdAt": {"before": 1_700_000_005}})).await, all[2..]);
    assert_eq!(listed(json!({"createdAt": {"after": 1_700_000_005}})).await, all[..2]);
    let first = world.ok("ListDaemonDeployments", json!({"daemonArn": daemon, "maxResults": 2})).await;
    assert_eq!(first["daemonDeployments"], json!(all[..2]));
    assert_eq!(listed(json!({"nextToken": first["nextToken"]})).await, all[2..]);
}

#[tokio::test]
async fn deployments_are_listed_by_twenty_unless_told_otherwise() {
    let world = world().await;
    create(&world, json!({})).await;
    for _ in 0..20 {
        update(&world, json!({})).await;
    }
    let listed = async |size: Value| {
        let input = json!({"daemonArn": world.arn("daemon/default/agent"), "maxResults": size});
        world.ok("ListDaemonDeployments", input).await["daemonDeployments"].as_array().unwrap().len()
    };
    assert_eq!((listed(Value::Null).await, listed(json!(100)).await), (20, 21));
}

#[tokio::test]
async fn deployments_and_revisions_that_are_not_there_are_failures() {
    let world = world().await;
    create(&world, json!({})).await;
    for (operation, member, kind) in [
        ("DescribeDaemonDeployments", "daemonDeploymentArns", "daemon-deployment"),
        ("DescribeDaemonRevisions", "daemonRevisionArns", "daemon-revision"),
    ] {
        let missing = world.arn(&format!("{kind}/default/agent/0"));
        let answer = world.ok(operation, json!({member: [missing]})).await;
        assert_eq!(answer["failures"], json!([{"arn": missing, "reason": "MISSING"}]), "{operation}");
        for arns in [json!([]), json!(vec![missing; 21]), json!([world.arn("daemon/default/agent")])] {
            let refused = world.refused(operation, json!({member: arns})).await;
            assert_eq!(refused.0, "InvalidParameterException", "{operation} {arns}");
        }
    }
}

#[tokio::test]
async fn what_a_daemon_needs_is_in_use() {
    let world = world().await;
    create(&world, json!({})).await;
    let none = json!({"cluster": "default", "capacityProviders": [], "defaultCapacityProviderStrategy": []});
    let refused = world.refused("PutClusterCapacityProviders", none).await;
    assert_eq!(refused.0, "ResourceInUseException");
    assert!(refused.1.contains("daemon/default/agent"), "{}", refused.1);
    let refused = world.refused("DeleteCluster", json!({"cluster": "default"})).await;
    assert_eq!(refused.0, "ClusterContainsServicesException");
    world.ok("DeleteDaemonTaskDefinition", json!({"daemonTaskDefinition": "agent:1"})).await;
    crate::operations::daemon_task_definitions::finish_deletions(world.engine()).await.unwrap();
    let described = world.ok("DescribeDaemonTaskDefinition", json!({"daemonTaskDefinition": "agent:1"})).await;
    assert_eq!(described["daemonTaskDefinition"]["status"], "DELETE_IN_PROGRESS");
    let refused =
        world.refused("UpdateDaemon", update_input(&world, json!({"daemonTaskDefinitionArn": "agent:1"}))).await;
    assert_eq!(refused.0, "ClientException");
}
