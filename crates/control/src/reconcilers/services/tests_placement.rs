use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::tests::{agents_act, create, reconcile, says, service, tasks, update, world};
use crate::operations::testing::World;

fn id(arn: &Value) -> &str {
    arn.as_str().unwrap().rsplit('/').next().unwrap()
}

/// The event about the closest container instance.
fn closest(instance: &Value, what: &str) -> String {
    format!(
        "(service web) was unable to place a task because no container instance met all of its requirements. The closest matching (container-instance {}) {what}",
        id(instance)
    )
}

/// A service of one more task than there is room for.
async fn crowded(instance: (i64, i64), task: (i64, i64), container: Value, desired: i32) -> (Value, Value) {
    let world = World::with_default_cluster().await;
    let arn = world.instance(instance.0, instance.1, &[]).await;
    world.family("web", task.0, task.1, container).await;
    create(&world, json!({"desiredCount": desired})).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), usize::try_from(desired - 1).unwrap());
    (service(&world).await, arn)
}

// spec: 24-020, 24-021, 24-024, 17-063
#[tokio::test]
async fn one_task_of_1000_cpu_units_or_mib_fits_on_an_instance_of_1024() {
    let (full, instance) = crowded((1024, 4096), (1000, 64), json!({}), 2).await;
    assert!(says(&full, &closest(&instance, "has insufficient CPU units available.")), "{full}");
    let (full, instance) = crowded((4096, 1024), (10, 1000), json!({}), 2).await;
    assert!(says(&full, &closest(&instance, "has insufficient memory available.")), "{full}");
}

// spec: 24-018, 15-068
#[tokio::test]
async fn a_fixed_host_port_is_used_once_on_an_instance() {
    let ports = json!({"portMappings": [{"containerPort": 80, "hostPort": 80}]});
    let (full, instance) = crowded((1024, 1024), (10, 64), ports, 2).await;
    assert!(says(&full, &closest(&instance, "is already using a port required by your task.")), "{full}");
}

// spec: 15-068
#[tokio::test]
async fn dynamic_host_ports_let_an_instance_run_many_tasks() {
    let world = World::with_default_cluster().await;
    world.instance(1024, 1024, &[]).await;
    world.family("web", 10, 64, json!({"portMappings": [{"containerPort": 80, "hostPort": 0}]})).await;
    create(&world, json!({"desiredCount": 3})).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 3);
}

// spec: 24-023
#[tokio::test]
async fn an_instance_that_lacks_an_attribute_takes_no_task() {
    let log = json!({"logConfiguration": {"logDriver": "fluentd"}});
    let (full, instance) = crowded((1024, 1024), (10, 64), log, 1).await;
    assert!(says(&full, &closest(&instance, "is missing an attribute required by your task.")), "{full}");
}

// spec: 24-025
#[tokio::test]
async fn an_instance_whose_agent_is_away_takes_no_task() {
    let (world, instances) = world(1).await;
    world.connect(&instances[0], false).await;
    create(&world, json!({"desiredCount": 1})).await;
    reconcile(&world).await;
    let waiting = service(&world).await;
    assert!(says(&waiting, &closest(&instances[0], "encountered error \"AGENT\".")), "{waiting}");
}

// spec: 24-014, 24-017
#[tokio::test]
async fn the_same_refusal_is_said_again_after_six_hours() {
    let (world, _) = world(0).await;
    create(&world, json!({"desiredCount": 1})).await;
    let mut count = Vec::new();
    for hours in [0, 5, 2] {
        world.clock.advance(Duration::from_secs(hours * 3600));
        reconcile(&world).await;
        reconcile(&world).await;
        count.push(service(&world).await["events"].as_array().unwrap().len());
    }
    assert_eq!(count, [1, 1, 2]);
}

// spec: 23-015
#[tokio::test]
async fn events_come_newest_first_and_a_hundred_of_them_are_kept() {
    let (world, _) = world(1).await;
    create(&world, json!({"desiredCount": 1})).await;
    for _ in 0..60 {
        world.clock.advance(Duration::from_secs(1));
        reconcile(&world).await;
        agents_act(&world).await;
        reconcile(&world).await;
        for task in tasks(&world).await {
            world.report(&task["taskArn"], "STOPPED", Some(0)).await;
        }
    }
    let described = service(&world).await;
    let events = described["events"].as_array().unwrap();
    let times: Vec<f64> = events.iter().map(|event| event["createdAt"].as_f64().unwrap()).collect();
    assert_eq!(events.len(), 100);
    assert!(times.windows(2).all(|pair| pair[0] >= pair[1]) && events[0]["id"].is_string());
}

async fn drain(world: &World, instance: &Value) {
    let input = json!({"containerInstances": [instance], "status": "DRAINING"});
    world.ok("UpdateContainerInstancesState", input).await;
    reconcile(world).await;
}

/// Tasks that are to run: on `instance`, and elsewhere.
async fn split(world: &World, instance: &Value) -> (usize, usize) {
    let now = tasks(world).await;
    let there = now.iter().filter(|task| task["containerInstanceArn"] == *instance).count();
    (there, now.len() - there)
}

// spec: 10-060, 10-065
#[tokio::test]
async fn a_pending_task_leaves_a_draining_instance_at_once_and_a_standalone_one_stays() {
    let (world, instances) = world(2).await;
    create(&world, json!({})).await;
    reconcile(&world).await;
    let alone = world.run("web").await;
    let home = alone["containerInstanceArn"].clone();
    assert!(instances.contains(&home));
    drain(&world, &home).await;
    assert_eq!(split(&world, &home).await, (0, 2));
    assert_eq!(world.task(&alone["taskArn"]).await["desiredStatus"], "RUNNING");
}

/// A service of four tasks on one instance, settled, with an empty instance beside it.
async fn four(configuration: Value) -> (World, Value) {
    let (world, instances) = world(1).await;
    create(&world, json!({"desiredCount": 4, "deploymentConfiguration": configuration})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    world.clock.advance(Duration::from_secs(41));
    reconcile(&world).await;
    world.instance(1000, 1000, &[("ecs.availability-zone", "a")]).await;
    (world, instances[0].clone())
}

// spec: 10-061, 10-062
#[tokio::test]
async fn half_of_the_tasks_may_leave_a_draining_instance_before_others_start() {
    let (world, old) = four(json!({"minimumHealthyPercent": 50, "maximumPercent": 100})).await;
    drain(&world, &old).await;
    assert_eq!(split(&world, &old).await, (2, 0));
    agents_act(&world).await;
    reconcile(&world).await;
    assert_eq!(split(&world, &old).await, (2, 2));
}

// spec: 10-063, 10-064
#[tokio::test]
async fn all_tasks_are_started_elsewhere_before_one_leaves_a_draining_instance() {
    let (world, old) = four(json!({"minimumHealthyPercent": 100, "maximumPercent": 200})).await;
    drain(&world, &old).await;
    assert_eq!(split(&world, &old).await, (4, 4));
    agents_act(&world).await;
    reconcile(&world).await;
    assert_eq!(split(&world, &old).await, (4, 4));
    world.clock.advance(Duration::from_secs(41));
    reconcile(&world).await;
    assert_eq!(split(&world, &old).await, (0, 4));
}

// spec: 10-064
#[tokio::test]
async fn bounds_that_allow_no_move_keep_the_tasks_on_a_draining_instance() {
    let (world, old) = four(json!({"minimumHealthyPercent": 100, "maximumPercent": 100})).await;
    drain(&world, &old).await;
    assert_eq!(split(&world, &old).await, (4, 0));
    assert!(says(&service(&world).await, "because of the service deployment configuration."));
}

// spec: 10-080
#[tokio::test]
async fn a_task_that_was_orphaned_is_replaced_elsewhere() {
    let (world, instances) = world(1).await;
    create(&world, json!({"desiredCount": 1})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    world.instance(1000, 1000, &[]).await;
    world.ok("DeregisterContainerInstance", json!({"containerInstance": instances[0], "force": true})).await;
    reconcile(&world).await;
    assert_eq!(split(&world, &instances[0]).await, (0, 1));
}

// spec: 17-061
#[tokio::test]
async fn a_service_never_gives_up_starting_its_tasks() {
    let (world, _) = world(1).await;
    create(&world, json!({"desiredCount": 1})).await;
    let mut waited = Vec::new();
    let mut last = 0;
    for second in (0..7200).step_by(10) {
        reconcile(&world).await;
        if let Some(task) = tasks(&world).await.first() {
            world.report(&task["taskArn"], "STOPPED", None).await;
            waited.push(second - last);
            last = second;
        }
        world.clock.advance(Duration::from_secs(10));
    }
    assert!(waited.len() > 10 && waited.iter().all(|seconds| *seconds <= 920), "{waited:?}");
    assert!(waited.last().unwrap() >= &890, "{waited:?}");
}

#[tokio::test]
async fn tasks_move_to_a_zone_that_came_later_one_after_the_other() {
    let (world, instances) = world(1).await;
    create(&world, json!({"desiredCount": 4})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    world.clock.advance(Duration::from_secs(41));
    reconcile(&world).await;
    world.instance(1000, 1000, &[("ecs.availability-zone", "b")]).await;
    for _ in 0..4 {
        reconcile(&world).await;
        assert!(tasks(&world).await.len() <= 5);
        agents_act(&world).await;
        world.clock.advance(Duration::from_secs(41));
        reconcile(&world).await;
        let healthy = tasks(&world).await.iter().filter(|it| it["lastStatus"] == "RUNNING").count();
        assert!(healthy >= 4, "{healthy}");
        agents_act(&world).await;
    }
    assert_eq!(split(&world, &instances[0]).await, (2, 2));
    let done = service(&world).await;
    assert!(says(&done, "is not AZ balanced with 4 tasks in a, 0 tasks in b. AZ Rebalancing in progress."), "{done}");
    assert!(says(&done, "is AZ balanced with 2 tasks in a, 2 tasks in b."), "{done}");
    let settled = tasks(&world).await;
    world.clock.advance(Duration::from_secs(60));
    reconcile(&world).await;
    assert_eq!(tasks(&world).await, settled);
}

/// Tasks that are to run by zone.
async fn by_zone(world: &World) -> BTreeMap<String, usize> {
    let mut zones = BTreeMap::new();
    for task in tasks(world).await {
        *zones.entry(task["availabilityZone"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    zones
}

/// Lets the service come to rest, with never fewer than `desired` healthy tasks nor more than one besides.
async fn rebalanced(world: &World, desired: usize) {
    for _ in 0..2 * desired {
        reconcile(world).await;
        assert!(tasks(world).await.len() <= desired + 1);
        agents_act(world).await;
        world.clock.advance(Duration::from_secs(41));
        reconcile(world).await;
        agents_act(world).await;
    }
}

#[tokio::test]
async fn tasks_of_capacity_providers_move_to_a_zone_in_which_theirs_have_instances() {
    let (world, _) = world(0).await;
    for name in ["mine", "other"] {
        let group = format!(
            "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:11111111-2222-4333-8444-555555555555:autoScalingGroupName/{name}"
        );
        let input = json!({"name": name, "autoScalingGroupProvider": {"autoScalingGroupArn": group}});
        world.ok("CreateCapacityProvider", input).await;
    }
    let input =
        json!({"cluster": "default", "capacityProviders": ["mine", "other"], "defaultCapacityProviderStrategy": []});
    world.ok("PutClusterCapacityProviders", input).await;
    let instance = async |zone: &str, provider: &str| {
        let attributes = [("ecs.availability-zone", zone), ("ecs.longshore.capacity-provider", provider)];
        world.instance(1000, 1000, &attributes).await
    };
    instance("a", "mine").await;
    instance("c", "other").await;
    let strategy = json!([{"capacityProvider": "mine", "weight": 1}]);
    let made = create(&world, json!({"desiredCount": 4, "capacityProviderStrategy": strategy})).await;
    assert_eq!(made["availabilityZoneRebalancing"], "ENABLED");
    rebalanced(&world, 4).await;
    assert_eq!(by_zone(&world).await, [("a".to_owned(), 4)].into(), "the instance in c is another provider's");
    instance("b", "mine").await;
    rebalanced(&world, 4).await;
    assert_eq!(by_zone(&world).await, [("a".to_owned(), 2), ("b".to_owned(), 2)].into());
    assert!(says(&service(&world).await, "is AZ balanced with 2 tasks in a, 2 tasks in b."));
}

#[tokio::test]
async fn fargate_tasks_move_to_the_zone_that_lost_its_own() {
    let (world, _) = world(0).await;
    let main = json!({"name": "main", "image": "busybox"});
    let input = json!({
        "family": "web", "containerDefinitions": [main], "networkMode": "awsvpc", "cpu": "256", "memory": "512",
        "requiresCompatibilities": ["FARGATE"],
    });
    world.ok("RegisterTaskDefinition", input).await;
    world.instance(8192, 16384, &[("ecs.longshore.fargate", "only")]).await;
    let subnets = longshore_model::vpc::default_subnets(&world.scope());
    let network = |count: usize| {
        let ids: Vec<&String> = subnets.iter().take(count).map(|subnet| &subnet.id).collect();
        json!({"awsvpcConfiguration": {"subnets": ids}})
    };
    create(&world, json!({"desiredCount": 4, "launchType": "FARGATE", "networkConfiguration": network(1)})).await;
    rebalanced(&world, 4).await;
    assert_eq!(by_zone(&world).await.len(), 1);
    // The new tasks avoid the zone of the old ones, which then go.
    update(&world, json!({"networkConfiguration": network(2)})).await;
    for _ in 0..20 {
        reconcile(&world).await;
        agents_act(&world).await;
        world.clock.advance(Duration::from_secs(41));
    }
    assert_eq!(by_zone(&world).await.into_values().collect::<Vec<_>>(), [2, 2]);
    assert!(says(&service(&world).await, "is AZ balanced with 2 tasks in eu-west-1a, 2 tasks in eu-west-1b."));
}

#[tokio::test]
async fn tasks_stay_where_they_are_when_rebalancing_is_disabled() {
    let (world, instances) = world(1).await;
    let made = create(&world, json!({"desiredCount": 4, "availabilityZoneRebalancing": "DISABLED"})).await;
    assert_eq!(made["availabilityZoneRebalancing"], "DISABLED");
    reconcile(&world).await;
    agents_act(&world).await;
    world.clock.advance(Duration::from_secs(41));
    world.instance(1000, 1000, &[("ecs.availability-zone", "b")]).await;
    reconcile(&world).await;
    assert_eq!(split(&world, &instances[0]).await, (4, 0));
}

#[tokio::test]
async fn rebalancing_is_on_where_it_can_be() {
    let (world, _) = world(1).await;
    let binpack = json!([{"type": "binpack", "field": "cpu"}]);
    let impossible = [
        json!({"schedulingStrategy": "DAEMON", "desiredCount": null}),
        json!({"deploymentConfiguration": {"maximumPercent": 100, "minimumHealthyPercent": 0}}),
        json!({"placementStrategy": binpack}),
    ];
    for (number, own) in impossible.into_iter().enumerate() {
        let mut own = own;
        own["serviceName"] = json!(format!("no{number}"));
        assert_eq!(create(&world, own.clone()).await["availabilityZoneRebalancing"], "DISABLED");
        own["serviceName"] = json!("refused");
        own["availabilityZoneRebalancing"] = json!("ENABLED");
        let mut input = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 2});
        input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        assert_eq!(world.refused("CreateService", input).await.0, "InvalidParameterException");
    }
    assert_eq!(create(&world, json!({})).await["availabilityZoneRebalancing"], "ENABLED");
    update(&world, json!({"availabilityZoneRebalancing": "DISABLED"})).await;
    assert_eq!(service(&world).await["availabilityZoneRebalancing"], "DISABLED");
}
