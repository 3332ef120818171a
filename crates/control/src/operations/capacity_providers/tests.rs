use std::sync::Arc;

use longshore_model::records::{TaskRecord, TaskStatus};
use serde_json::{Value as Json, json};

use crate::changes::Change;
use crate::operations::testing::World;

fn group_arn(name: &str) -> String {
    format!("arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:uuid:autoScalingGroupName/{name}")
}

fn provider(name: &str, more: Json) -> Json {
    let mut group = json!({"autoScalingGroupArn": group_arn(name)});
    group.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"name": name, "autoScalingGroupProvider": group})
}

async fn made(world: &World, name: &str) -> Json {
    world.ok("CreateCapacityProvider", provider(name, json!({}))).await["capacityProvider"].clone()
}

async fn put(world: &World, providers: Json, strategy: Json) -> Result<Json, (&'static str, String)> {
    let input = json!({
        "cluster": "default", "capacityProviders": providers, "defaultCapacityProviderStrategy": strategy,
    });
    let answer = world.call("PutClusterCapacityProviders", input).await;
    answer.map(|answer| answer["cluster"].clone()).map_err(|refused| (refused.code, refused.message))
}

// spec: 03-026
#[tokio::test]
async fn every_account_has_the_two_fargate_providers() {
    let world = World::new().await;
    let answer = world.ok("DescribeCapacityProviders", json!({})).await;
    let built_in = |name: &str| {
        json!({
            "capacityProviderArn": world.arn(&format!("capacity-provider/{name}")), "name": name, "status": "ACTIVE",
            "tags": [], "type": name,
        })
    };
    let expected = json!([built_in("FARGATE"), built_in("FARGATE_SPOT")]);
    assert_eq!(answer, json!({"capacityProviders": expected, "failures": []}));
    for operation in ["DeleteCapacityProvider", "UpdateCapacityProvider"] {
        let input = json!({"capacityProvider": "FARGATE", "name": "FARGATE"});
        assert_eq!(world.refused(operation, input).await.0, "InvalidParameterException");
    }
}

// spec: 03-027, 03-056
#[tokio::test]
async fn a_provider_has_its_group_with_all_settings() {
    let world = World::new().await;
    let settings = json!({
        "managedScaling": {
            "status": "ENABLED", "targetCapacity": 80, "minimumScalingStepSize": 2, "maximumScalingStepSize": 50,
            "instanceWarmupPeriod": 60,
        },
        "managedTerminationProtection": "ENABLED", "managedDraining": "DISABLED",
    });
    let mut input = provider("group", settings.clone());
    input["tags"] = json!([{"key": "a", "value": "b"}]);
    let made = world.ok("CreateCapacityProvider", input).await["capacityProvider"].clone();
    let arn = world.arn("capacity-provider/group");
    let mut expected = settings;
    expected["autoScalingGroupArn"] = json!(group_arn("group"));
    assert_eq!(made["autoScalingGroupProvider"], expected);
    assert_eq!((&made["capacityProviderArn"], &made["status"]), (&json!(arn), &json!("ACTIVE")));
    let world = world.restarted().await;
    let described = json!({"capacityProviders": [arn, "nothing"], "include": ["TAGS"]});
    let answer = world.ok("DescribeCapacityProviders", described).await;
    assert_eq!(answer["capacityProviders"], json!([made]));
    let missing = json!({"arn": world.arn("capacity-provider/nothing"), "reason": "MISSING"});
    assert_eq!(answer["failures"], json!([missing]));
    let plain = world.ok("DescribeCapacityProviders", json!({"capacityProviders": ["group"]})).await;
    assert_eq!(plain["capacityProviders"][0]["tags"], json!([]));
}

// spec: 31-011
#[tokio::test]
async fn what_is_not_asked_for_has_the_defaults_of_the_api() {
    let world = World::new().await;
    let group = made(&world, "plain").await["autoScalingGroupProvider"].clone();
    let scaling = |status: &str| {
        json!({
            "status": status, "targetCapacity": 100, "minimumScalingStepSize": 1, "maximumScalingStepSize": 10000,
            "instanceWarmupPeriod": 300,
        })
    };
    assert_eq!(group["managedScaling"], scaling("DISABLED"));
    assert_eq!(
        (&group["managedTerminationProtection"], &group["managedDraining"]),
        (&json!("DISABLED"), &json!("ENABLED"))
    );
    let update = json!({"name": "plain", "autoScalingGroupProvider": {"managedScaling": {"status": "ENABLED"}}});
    let updated = world.ok("UpdateCapacityProvider", update).await["capacityProvider"].clone();
    assert_eq!(updated["autoScalingGroupProvider"]["managedScaling"], scaling("ENABLED"));
    assert_eq!(updated["updateStatus"], "UPDATE_COMPLETE");
}

// spec: 03-036
#[tokio::test]
async fn termination_protection_needs_managed_scaling() {
    let world = World::new().await;
    let protected = |status: &str| {
        provider("group", json!({"managedScaling": {"status": status}, "managedTerminationProtection": "ENABLED"}))
    };
    assert_eq!(world.refused("CreateCapacityProvider", protected("DISABLED")).await.0, "ClientException");
    world.ok("CreateCapacityProvider", protected("ENABLED")).await;
    let off = json!({"name": "group", "autoScalingGroupProvider": {"managedScaling": {"status": "DISABLED"}}});
    assert_eq!(world.refused("UpdateCapacityProvider", off).await.0, "ClientException");
}

// spec: 03-072
#[tokio::test]
async fn names_and_groups_belong_to_one_provider_until_it_is_deleted() {
    let world = World::new().await;
    made(&world, "one").await;
    let (code, message) = world.refused("CreateCapacityProvider", provider("one", json!({}))).await;
    assert_eq!(code, "ClientException");
    assert!(message.starts_with("The specified capacity provider already exists."), "{message}");
    let mut same_group = provider("one", json!({}));
    same_group["name"] = json!("two");
    let (code, message) = world.refused("CreateCapacityProvider", same_group.clone()).await;
    assert_eq!(code, "ClientException");
    assert!(message.contains("Auto Scaling group ARN is already being used"), "{message}");
    world.ok("DeleteCapacityProvider", json!({"capacityProvider": "one"})).await;
    world.ok("CreateCapacityProvider", same_group).await;
}

// spec: 03-054
#[tokio::test]
async fn the_target_of_managed_scaling_is_1_to_100() {
    let world = World::new().await;
    let targeted = |name: &str, target: i64| provider(name, json!({"managedScaling": {"targetCapacity": target}}));
    for (name, target) in [("low", 1), ("high", 100)] {
        let made = world.ok("CreateCapacityProvider", targeted(name, target)).await["capacityProvider"].clone();
        assert_eq!(made["autoScalingGroupProvider"]["managedScaling"]["targetCapacity"], target);
    }
    for target in [0, 101] {
        let (code, message) = world.refused("CreateCapacityProvider", targeted("none", target)).await;
        assert_eq!(code, "InvalidParameterException", "{message}");
    }
}

#[tokio::test]
async fn bad_names_groups_and_members_are_refused() {
    let world = World::new().await;
    let refused = async |input: Json| world.refused("CreateCapacityProvider", input).await.0;
    for name in ["aws-x", "FargateMine", "a b", ""] {
        assert_eq!(refused(provider(name, json!({}))).await, "ClientException", "{name}");
    }
    for arn in [
        "arn:aws:ec2:eu-west-1:123456789012:vpc/v",
        "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:u:autoScalingGroupName/g",
        "",
    ] {
        let input = json!({"name": "p", "autoScalingGroupProvider": {"autoScalingGroupArn": arn}});
        assert_eq!(refused(input).await, "ClientException", "{arn}");
    }
    for settings in [
        json!({"managedScaling": {"minimumScalingStepSize": 5, "maximumScalingStepSize": 4}}),
        json!({"managedScaling": {"status": "ON"}}),
        json!({"managedDraining": "YES"}),
    ] {
        assert_eq!(refused(provider("p", settings.clone())).await, "InvalidParameterException", "{settings}");
    }
    assert_eq!(refused(json!({"name": "p"})).await, "InvalidParameterException");
}

// spec: 31-010
#[tokio::test]
async fn a_deleted_provider_is_inactive_and_no_longer_listed() {
    let world = World::with_default_cluster().await;
    made(&world, "group").await;
    put(&world, json!(["group"]), json!([])).await.unwrap();
    let delete = json!({"capacityProvider": world.arn("capacity-provider/group")});
    let (code, message) = world.refused("DeleteCapacityProvider", delete.clone()).await;
    assert_eq!(code, "ClientException");
    assert!(message.contains("associated with cluster: default"), "{message}");
    put(&world, json!([]), json!([])).await.unwrap();
    let deleted = world.ok("DeleteCapacityProvider", delete.clone()).await["capacityProvider"].clone();
    assert_eq!((&deleted["status"], &deleted["updateStatus"]), (&json!("INACTIVE"), &json!("DELETE_COMPLETE")));
    assert_eq!(world.refused("DeleteCapacityProvider", delete).await.0, "InvalidParameterException");
    let all = world.ok("DescribeCapacityProviders", json!({})).await;
    assert_eq!(all["capacityProviders"].as_array().unwrap().len(), 2);
    let named = world.ok("DescribeCapacityProviders", json!({"capacityProviders": ["group"]})).await;
    assert_eq!(named["capacityProviders"][0]["status"], "INACTIVE");
    assert_eq!(put(&world, json!(["group"]), json!([])).await.unwrap_err().0, "InvalidParameterException");
}

#[tokio::test]
async fn providers_are_described_in_pages_by_name() {
    let world = World::new().await;
    for name in ["a", "b", "c"] {
        made(&world, name).await;
    }
    let (mut names, mut token) = (Vec::new(), Json::Null);
    loop {
        let page = world.ok("DescribeCapacityProviders", json!({"maxResults": 2, "nextToken": token})).await;
        names.extend(page["capacityProviders"].as_array().unwrap().iter().map(|it| it["name"].clone()));
        token = page["nextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(names, ["FARGATE", "FARGATE_SPOT", "a", "b", "c"]);
    assert_eq!(
        world.refused("DescribeCapacityProviders", json!({"maxResults": 11})).await.0,
        "InvalidParameterException"
    );
}

// spec: 03-010, 03-030
#[tokio::test]
async fn a_default_strategy_names_the_clusters_providers_of_one_kind_and_one_base() {
    let world = World::with_default_cluster().await;
    made(&world, "one").await;
    made(&world, "two").await;
    let item = |name: &str, base: i64| json!({"capacityProvider": name, "base": base, "weight": 1});
    let cluster = put(&world, json!(["one", "FARGATE"]), json!([item("one", 3)])).await.unwrap();
    assert_eq!(cluster["capacityProviders"], json!(["one", "FARGATE"]));
    assert_eq!(cluster["defaultCapacityProviderStrategy"], json!([item("one", 3)]));
    for (providers, strategy) in [
        (json!(["one", "FARGATE"]), json!([item("one", 0), item("FARGATE", 0)])),
        (json!(["one", "two"]), json!([item("one", 1), item("two", 1)])),
        (json!(["one"]), json!([item("two", 0)])),
        (json!(["one"]), json!([item("one", 0), item("one", 0)])),
        (json!(["one", "one"]), json!([])),
        (json!(["nothing"]), json!([])),
    ] {
        let refused = put(&world, providers.clone(), strategy.clone()).await.unwrap_err();
        assert_eq!(refused.0, "InvalidParameterException", "{providers} {strategy}");
    }
    let by_arn = json!([world.arn("capacity-provider/two")]);
    assert_eq!(put(&world, by_arn, json!([])).await.unwrap()["capacityProviders"], json!(["two"]));
}

// spec: 03-093
#[tokio::test]
async fn a_provider_that_a_task_uses_stays_with_the_cluster() {
    let world = World::with_default_cluster().await;
    made(&world, "group").await;
    put(&world, json!(["group", "FARGATE"]), json!([])).await.unwrap();
    let task = world.put_task("default", "web", 1, TaskStatus::Running).await;
    let task = TaskRecord { capacity_provider: Some("group".to_owned()), ..task };
    world.change(|changes| changes.push(Change::PutTask(world.scope(), Arc::new(task.clone())))).await;
    let (code, message) = put(&world, json!(["FARGATE"]), json!([])).await.unwrap_err();
    assert_eq!(code, "ResourceInUseException");
    assert!(message.starts_with("The specified capacity provider is in use and cannot be removed"), "{message}");
    put(&world, json!(["group"]), json!([])).await.unwrap();
    world.move_task(&task, TaskStatus::Stopped).await;
    put(&world, json!([]), json!([])).await.unwrap();
}

#[tokio::test]
async fn a_scaled_provider_is_attached_to_its_cluster_once() {
    let world = World::with_default_cluster().await;
    world.ok("CreateCapacityProvider", provider("scaled", json!({"managedScaling": {"status": "ENABLED"}}))).await;
    made(&world, "plain").await;
    let put_both = put(&world, json!(["scaled", "plain", "FARGATE"]), json!([])).await.unwrap();
    let attachments = put_both["attachments"].as_array().unwrap();
    assert_eq!(attachments.len(), 1, "{attachments:?}");
    assert_eq!(attachments[0]["type"], "as_policy");
    assert_eq!(attachments[0]["details"][0], json!({"name": "capacityProviderName", "value": "scaled"}));
    put(&world, json!(["FARGATE", "scaled"]), json!([])).await.unwrap();
    let described = |include: Json| json!({"clusters": ["default"], "include": include});
    let cluster = world.ok("DescribeClusters", described(json!(["ATTACHMENTS"]))).await["clusters"][0].clone();
    assert_eq!(cluster["attachments"], json!(attachments));
    assert_eq!(cluster["attachmentsStatus"], "UPDATE_COMPLETE");
    let cluster = world.ok("DescribeClusters", described(json!([]))).await["clusters"][0].clone();
    assert_eq!((cluster.get("attachments"), cluster.get("attachmentsStatus")), (None, None));
    assert_eq!(put(&world, json!(["FARGATE"]), json!([])).await.unwrap()["attachments"], json!([]));
}

#[tokio::test]
async fn a_group_may_be_given_by_its_name_and_is_still_one() {
    let world = World::new().await;
    let named =
        |name: &str, group: &str| json!({"name": name, "autoScalingGroupProvider": {"autoScalingGroupArn": group}});
    let made = world.ok("CreateCapacityProvider", named("one", "workers")).await["capacityProvider"].clone();
    assert_eq!(made["autoScalingGroupProvider"]["autoScalingGroupArn"], "workers");
    let (_, message) = world.refused("CreateCapacityProvider", named("two", &group_arn("workers"))).await;
    assert!(message.contains("already being used by the capacity provider one"), "{message}");
}
