//! Rules of the guide's chapters on scheduling and services that are about where tasks go, and when.

use std::time::Duration;

use serde_json::{Value, json};

use super::tests::{agents_act, create, reconcile, says, service, tasks, update, world};
use crate::operations::testing::World;

const SYSLOG: &str = "com.amazonaws.ecs.capability.logging-driver.syslog";

fn on(tasks: &[Value], instance: &Value) -> usize {
    tasks.iter().filter(|task| task["containerInstanceArn"] == *instance).count()
}

/// The service's tasks run and count as healthy.
async fn settle(world: &World) {
    agents_act(world).await;
    world.clock.advance(Duration::from_secs(41));
    reconcile(world).await;
}

// spec: 14-034, 14-025
#[tokio::test]
async fn a_binpacked_service_gives_up_the_instance_that_is_almost_empty() {
    let world = World::with_default_cluster().await;
    let instances = [world.instance(300, 1000, &[]).await, world.instance(300, 1000, &[]).await];
    world.family("web", 100, 64, json!({})).await;
    create(&world, json!({"desiredCount": 4, "placementStrategy": [{"type": "binpack", "field": "cpu"}]})).await;
    reconcile(&world).await;
    settle(&world).await;
    let before = tasks(&world).await;
    let full = instances.iter().find(|instance| on(&before, instance) == 3).expect("one is packed");
    update(&world, json!({"desiredCount": 3})).await;
    reconcile(&world).await;
    assert_eq!(on(&tasks(&world).await, full), 3);
}

// spec: 14-038
#[tokio::test]
async fn a_spread_service_stops_its_newest_task_first() {
    let (world, _) = world(1).await;
    create(&world, json!({"desiredCount": 0, "placementStrategy": [{"type": "spread", "field": "instanceId"}]})).await;
    let mut order = Vec::new();
    for desired in 1..=3 {
        update(&world, json!({"desiredCount": desired})).await;
        reconcile(&world).await;
        settle(&world).await;
        let arns = tasks(&world).await.into_iter().map(|task| task["taskArn"].clone());
        order.extend(arns.filter(|arn| !order.contains(arn)).collect::<Vec<_>>());
    }
    update(&world, json!({"desiredCount": 2})).await;
    reconcile(&world).await;
    let left: Vec<Value> = tasks(&world).await.into_iter().map(|task| task["taskArn"].clone()).collect();
    assert!(left.len() == 2 && !left.contains(&order[2]), "{order:?} {left:?}");
}

// spec: 15-010, 14-042
#[tokio::test]
async fn tasks_go_where_their_attributes_and_then_their_constraints_are_met() {
    let (world, _) = world(2).await;
    let able = [world.instance(1000, 1000, &[(SYSLOG, "")]).await, world.instance(1000, 1000, &[(SYSLOG, "")]).await];
    world.family("web", 100, 64, json!({"logConfiguration": {"logDriver": "syslog"}})).await;
    create(&world, json!({"desiredCount": 4})).await;
    reconcile(&world).await;
    let placed = tasks(&world).await;
    assert_eq!((on(&placed, &able[0]), on(&placed, &able[1])), (2, 2));
    let attribute = json!({"name": "stack", "value": "prod", "targetType": "container-instance", "targetId": able[1]});
    world.ok("PutAttributes", json!({"attributes": [attribute]})).await;
    let only = json!([{"type": "memberOf", "expression": "attribute:stack == prod"}]);
    update(&world, json!({"desiredCount": 6, "placementConstraints": only})).await;
    reconcile(&world).await;
    let placed = tasks(&world).await;
    assert_eq!((on(&placed, &able[0]), on(&placed, &able[1])), (2, 4));
}

// spec: 15-012
#[tokio::test]
async fn a_strategy_takes_the_place_of_the_balance_of_zones() {
    let (world, _) = world(2).await;
    create(&world, json!({"desiredCount": 4, "placementStrategy": [{"type": "binpack", "field": "memory"}]})).await;
    reconcile(&world).await;
    let placed = tasks(&world).await;
    let first = placed[0]["availabilityZone"].clone();
    assert!(placed.len() == 4 && placed.iter().all(|task| task["availabilityZone"] == first), "{placed:?}");
}

// spec: 24-019
#[tokio::test]
async fn no_more_than_a_hundred_host_ports_are_reserved_on_one_instance() {
    let (world, instances) = world(1).await;
    let ports = |from: u16, count: u16| -> Value {
        (from..from + count).map(|port| json!({"containerPort": port, "hostPort": port})).collect()
    };
    world.family("many", 10, 10, json!({"portMappings": ports(5000, 94)})).await;
    world.ok("RunTask", json!({"taskDefinition": "many"})).await;
    // With the five that the agent keeps for itself that is 99.
    world.family("web", 10, 10, json!({"portMappings": ports(6000, 2)})).await;
    create(&world, json!({"desiredCount": 1})).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 0);
    let id = instances[0].as_str().unwrap().rsplit('/').next().unwrap();
    let text = format!("The closest matching (container-instance {id}) is already using a port required by your task.");
    assert!(says(&service(&world).await, &text));
    world.family("web", 10, 10, json!({"portMappings": ports(6000, 1)})).await;
    update(&world, json!({"taskDefinition": "web"})).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 1);
}

// spec: 24-022, 10-055, 26-018, 24-060
#[tokio::test]
async fn an_awsvpc_task_needs_a_free_network_interface() {
    let world = World::with_default_cluster().await;
    let attributes = [("ecs.capability.task-eni", ""), ("ecs.instance-type", "m5.large")];
    let instance = world.instance(4096, 4096, &attributes).await;
    let main = json!({"name": "main", "image": "busybox", "memory": 10});
    let input = json!({"family": "web", "containerDefinitions": [main], "networkMode": "awsvpc"});
    world.ok("RegisterTaskDefinition", input).await;
    let network = json!({"awsvpcConfiguration": {"subnets": ["subnet-1"]}});
    create(&world, json!({"desiredCount": 3, "networkConfiguration": network})).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 2, "an m5.large has room for two");
    let id = instance.as_str().unwrap().rsplit('/').next().unwrap();
    let text = format!("The closest matching (container-instance {id}) encountered error \"RESOURCE:ENI\".");
    assert!(says(&service(&world).await, &text), "{}", service(&world).await);
    let run = json!({"taskDefinition": "web", "networkConfiguration": network});
    assert_eq!(world.ok("RunTask", run.clone()).await["failures"][0]["reason"], "RESOURCE:ENI");
    let setting = json!({"name": "awsvpcTrunking", "value": "enabled"});
    world.ok("PutAccountSetting", setting).await;
    assert_eq!(world.ok("RunTask", run.clone()).await["failures"][0]["reason"], "RESOURCE:ENI", "it was there before");
    let trunked = world.instance(4096, 4096, &attributes).await;
    let query = json!({"targetType": "container-instance", "attributeName": "ecs.awsvpc-trunk-id"});
    let listed = world.ok("ListAttributes", query).await["attributes"].clone();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["targetId"]), (1, &trunked));
    reconcile(&world).await;
    let mut many = run;
    many["count"] = json!(10);
    let answer = world.ok("RunTask", many).await;
    assert_eq!((answer["tasks"].as_array().unwrap().len(), on(&tasks(&world).await, &trunked)), (9, 1));
}

// spec: 17-063
#[tokio::test]
async fn what_throttles_a_service_is_on_its_stopped_tasks_and_in_its_events() {
    for reason in [
        "CannotPullContainerError: pull access denied for nothing, repository does not exist",
        "CannotCreateContainerError: no space left on device",
    ] {
        let (world, _) = world(1).await;
        create(&world, json!({"desiredCount": 1})).await;
        let mut last = Value::Null;
        for _ in 0..3 {
            world.clock.advance(Duration::from_secs(1));
            reconcile(&world).await;
            last = tasks(&world).await[0]["taskArn"].clone();
            let main = json!({"containerName": "main", "status": "STOPPED", "reason": reason});
            let input = json!({"task": last, "status": "STOPPED", "reason": reason, "containers": [main]});
            world.ok("SubmitTaskStateChange", input).await;
        }
        reconcile(&world).await;
        let stopped = world.task(&last).await;
        assert_eq!((&stopped["stoppedReason"], &stopped["containers"][0]["reason"]), (&json!(reason), &json!(reason)));
        assert!(says(&service(&world).await, "(service web) is unable to consistently start tasks successfully."));
    }
}

#[tokio::test]
async fn a_task_that_reached_running_is_replaced_at_once_however_often_it_exits() {
    let (world, _) = world(1).await;
    create(&world, json!({"desiredCount": 1})).await;
    for _ in 0..10 {
        reconcile(&world).await;
        let now = tasks(&world).await;
        assert_eq!(now.len(), 1, "its successor is there without a pause");
        world.report(&now[0]["taskArn"], "RUNNING", None).await;
        world.report(&now[0]["taskArn"], "STOPPED", Some(1)).await;
    }
    reconcile(&world).await;
    assert!(!says(&service(&world).await, "unable to consistently start tasks"));
}

// spec: 31-049
#[tokio::test]
async fn a_service_that_cannot_scale_in_for_protected_tasks_says_so() {
    let (world, _) = world(1).await;
    let made = create(&world, json!({})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    let all: Vec<Value> = tasks(&world).await.into_iter().map(|task| task["taskArn"].clone()).collect();
    let protect = json!({"cluster": "default", "tasks": all, "protectionEnabled": true, "expiresInMinutes": 5});
    world.ok("UpdateTaskProtection", protect).await;
    update(&world, json!({"desiredCount": 1})).await;
    reconcile(&world).await;
    let id = made["deployments"][0]["id"].as_str().unwrap();
    let text = format!(
        "(service web) was unable to reach steady state because task set ({id}) was unable to scale in. Reason: The number of protected tasks are more than the desired count of tasks."
    );
    assert!(says(&service(&world).await, &text), "{}", service(&world).await);
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 2);
}

// spec: 10-066
#[tokio::test]
async fn an_instance_is_drained_when_none_of_its_tasks_runs_and_stays_draining() {
    let (world, instances) = world(1).await;
    create(&world, json!({"desiredCount": 2})).await;
    reconcile(&world).await;
    settle(&world).await;
    world.instance(1000, 1000, &[]).await;
    let drain = json!({"containerInstances": [instances[0]], "status": "DRAINING"});
    world.ok("UpdateContainerInstancesState", drain).await;
    let there = || world.ok("ListTasks", json!({"containerInstance": instances[0]}));
    assert_eq!(there().await["taskArns"].as_array().unwrap().len(), 2);
    for _ in 0..3 {
        reconcile(&world).await;
        settle(&world).await;
    }
    agents_act(&world).await;
    assert_eq!(there().await["taskArns"], json!([]));
    let drained = world.described(&instances[0]).await;
    assert_eq!((&drained["status"], &drained["runningTasksCount"]), (&json!("DRAINING"), &json!(0)));
}

// spec: 15-020, 15-021
#[tokio::test]
async fn a_service_without_launch_type_or_strategy_takes_the_clusters_default() {
    let (world, _) = world(1).await;
    assert_eq!(create(&world, json!({"serviceName": "plain"})).await["launchType"], "EC2");
    let group = json!({"autoScalingGroupArn": "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:11111111-2222-4333-8444-555555555555:autoScalingGroupName/g"});
    world.ok("CreateCapacityProvider", json!({"name": "mine", "autoScalingGroupProvider": group})).await;
    let default = json!([{"capacityProvider": "mine", "weight": 1, "base": 0}]);
    let input =
        json!({"cluster": "default", "capacityProviders": ["mine"], "defaultCapacityProviderStrategy": default});
    world.ok("PutClusterCapacityProviders", input).await;
    let made = create(&world, json!({"desiredCount": 1})).await;
    assert_eq!((made.get("launchType"), &made["capacityProviderStrategy"]), (None, &default));
    let named = world.arn("capacity-provider/mine");
    let by_arn = json!([{"capacityProvider": named, "weight": 1}]);
    let made =
        create(&world, json!({"serviceName": "arn", "desiredCount": 1, "capacityProviderStrategy": by_arn})).await;
    assert_eq!(made["capacityProviderStrategy"].as_array().unwrap().len(), 1);
    world.instance(1000, 1000, &[("ecs.longshore.capacity-provider", "mine")]).await;
    reconcile(&world).await;
    for name in ["web", "arn"] {
        let listed = world.ok("ListTasks", json!({"serviceName": name})).await["taskArns"].clone();
        assert_eq!(world.task(&listed[0]).await["capacityProviderName"], "mine");
    }
    let unknown = json!([{"capacityProvider": "nobody", "weight": 1}]);
    let input =
        json!({"serviceName": "no", "taskDefinition": "web", "desiredCount": 1, "capacityProviderStrategy": unknown});
    assert_eq!(world.refused("CreateService", input).await.0, "InvalidParameterException");
}

// spec: 03-035
#[tokio::test]
async fn a_service_s_strategy_may_have_a_base_which_its_first_tasks_fill() {
    let (world, _) = world(0).await;
    for name in ["one", "two"] {
        let group = format!(
            "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:11111111-2222-4333-8444-555555555555:autoScalingGroupName/{name}"
        );
        let input = json!({"name": name, "autoScalingGroupProvider": {"autoScalingGroupArn": group}});
        world.ok("CreateCapacityProvider", input).await;
        world.instance(1000, 1000, &[("ecs.longshore.capacity-provider", name)]).await;
    }
    let input =
        json!({"cluster": "default", "capacityProviders": ["one", "two"], "defaultCapacityProviderStrategy": []});
    world.ok("PutClusterCapacityProviders", input).await;
    let items = |base: i32| json!([{"capacityProvider": "one", "weight": 0, "base": base}, {"capacityProvider": "two", "weight": 1}]);
    create(&world, json!({"serviceName": "none", "desiredCount": 0, "capacityProviderStrategy": items(0)})).await;
    create(&world, json!({"desiredCount": 5, "capacityProviderStrategy": items(2)})).await;
    reconcile(&world).await;
    let placed = tasks(&world).await;
    let of = |name: &str| placed.iter().filter(|task| task["capacityProviderName"] == name).count();
    assert_eq!((of("one"), of("two")), (2, 3));
}

// spec: 03-037, 16-022
#[tokio::test]
async fn a_code_deploy_service_takes_no_capacity_provider() {
    let (world, _) = world(1).await;
    world.family("web", 100, 64, json!({"portMappings": [{"containerPort": 80}]})).await;
    let items = json!([{"capacityProvider": "mine", "weight": 1}]);
    let group = json!({"autoScalingGroupArn": "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:11111111-2222-4333-8444-555555555555:autoScalingGroupName/g"});
    world.ok("CreateCapacityProvider", json!({"name": "mine", "autoScalingGroupProvider": group})).await;
    let input = json!({"cluster": "default", "capacityProviders": ["mine"], "defaultCapacityProviderStrategy": []});
    world.ok("PutClusterCapacityProviders", input).await;
    let group = json!({"targetGroupArn": "arn:g", "containerName": "main", "containerPort": 80});
    let mut input = json!({
        "serviceName": "web", "taskDefinition": "web", "desiredCount": 1, "loadBalancers": [group],
        "deploymentController": {"type": "CODE_DEPLOY"},
    });
    let mut with_strategy = input.clone();
    with_strategy["capacityProviderStrategy"] = items;
    let (code, message) = world.refused("CreateService", with_strategy).await;
    assert_eq!(code, "InvalidParameterException");
    assert!(message.to_lowercase().contains("capacity provider"), "{message}");
    input["launchType"] = json!("EC2");
    world.ok("CreateService", input).await;
}

// spec: 14-041
#[tokio::test]
async fn tasks_of_a_service_that_wants_distinct_instances_have_one_each() {
    let (world, instances) = world(2).await;
    let distinct = json!([{"type": "distinctInstance"}]);
    create(&world, json!({"desiredCount": 3, "placementConstraints": distinct})).await;
    reconcile(&world).await;
    let places = |tasks: Vec<Value>| {
        let mut places: Vec<String> =
            tasks.iter().map(|task| task["containerInstanceArn"].as_str().unwrap().to_owned()).collect();
        places.sort();
        places
    };
    let mut expected: Vec<String> = instances.iter().map(|it| it.as_str().unwrap().to_owned()).collect();
    expected.sort();
    assert_eq!(places(tasks(&world).await), expected);
    update(&world, json!({"placementConstraints": []})).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 3);
}

#[tokio::test]
async fn a_service_is_deleted_by_its_arn_whose_cluster_counts() {
    let (world, _) = world(1).await;
    world.ok("CreateCluster", json!({"clusterName": "other"})).await;
    let input = json!({"cluster": "other", "serviceName": "web", "taskDefinition": "web", "desiredCount": 0});
    let arn = world.ok("CreateService", input).await["service"]["serviceArn"].clone();
    let short = world.arn("service/web");
    assert_eq!(world.refused("DeleteService", json!({"service": short})).await.0, "ServiceNotFoundException");
    let deleted = world.ok("DeleteService", json!({"cluster": "other", "service": arn})).await;
    assert_eq!(deleted["service"]["serviceArn"], arn);
}

// spec: 31-049
#[tokio::test]
async fn a_deployment_says_when_its_bounds_or_its_ports_hold_it_up() {
    let (world, instances) = world(1).await;
    world.family("web", 10, 10, json!({"portMappings": [{"containerPort": 80, "hostPort": 80}]})).await;
    let bounds = |least: i32, most: i32| json!({"minimumHealthyPercent": least, "maximumPercent": most});
    create(&world, json!({"desiredCount": 1, "deploymentConfiguration": bounds(100, 100)})).await;
    reconcile(&world).await;
    settle(&world).await;
    update(&world, json!({"forceNewDeployment": true})).await;
    reconcile(&world).await;
    let text = "(service web) was unable to stop or start tasks during a deployment because of the service deployment configuration. Update the minimumHealthyPercent or maximumPercent value and try again.";
    assert!(says(&service(&world).await, text));
    update(&world, json!({"deploymentConfiguration": bounds(100, 200)})).await;
    reconcile(&world).await;
    let id = instances[0].as_str().unwrap().rsplit('/').next().unwrap();
    let text = format!("The closest matching (container-instance {id}) is already using a port required by your task.");
    assert!(says(&service(&world).await, &text));
    update(&world, json!({"deploymentConfiguration": bounds(0, 100)})).await;
    for _ in 0..3 {
        reconcile(&world).await;
        settle(&world).await;
    }
    let done = service(&world).await;
    assert_eq!((done["deployments"].as_array().unwrap().len(), &done["runningCount"]), (1, &json!(1)));
}
