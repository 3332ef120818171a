use std::time::Duration;

use serde_json::{Value, json};

use crate::operations::testing::World;
use crate::reconcilers::{ServiceScheduler, ServiceSchedulerLimits, run_once};

async fn world(desired: i32) -> World {
    let world = World::with_default_cluster().await;
    world.family("web", 10, 16, json!({"portMappings": [{"containerPort": 80}]})).await;
    world.instance(1000, 1000, &[]).await;
    let controller = json!({"type": "EXTERNAL"});
    let input = json!({"serviceName": "web", "deploymentController": controller, "desiredCount": desired});
    world.ok("CreateService", input).await;
    world
}

fn named(own: Value) -> Value {
    let mut input = json!({"cluster": "default", "service": "web"});
    input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    input
}

async fn create(world: &World, percent: f64, own: Value) -> Value {
    let mut input = named(json!({"taskDefinition": "web", "scale": {"value": percent, "unit": "PERCENT"}}));
    input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    world.ok("CreateTaskSet", input).await["taskSet"].clone()
}

async fn described(world: &World) -> Vec<Value> {
    world.ok("DescribeTaskSets", named(json!({}))).await["taskSets"].as_array().unwrap().clone()
}

async fn service(world: &World) -> Value {
    world.ok("DescribeServices", json!({"services": ["web"]})).await["services"][0].clone()
}

async fn reconcile(world: &World) {
    run_once(&ServiceScheduler::new(world.engine().clone(), ServiceSchedulerLimits::default())).await.unwrap();
}

/// Tasks that are to run, of one task set.
async fn tasks(world: &World, set: &Value) -> usize {
    let input = json!({"startedBy": set["id"]});
    world.ok("ListTasks", input).await["taskArns"].as_array().unwrap().len()
}

/// What is pending runs, and what is to stop has stopped.
async fn agents_act(world: &World) {
    for (desired, status) in [("RUNNING", "RUNNING"), ("STOPPED", "STOPPED")] {
        let arns =
            world.ok("ListTasks", json!({"serviceName": "web", "desiredStatus": desired})).await["taskArns"].clone();
        for arn in arns.as_array().unwrap() {
            if world.task(arn).await["lastStatus"] != status {
                world.report(arn, status, None).await;
            }
        }
    }
}

// spec: 16-043, 16-044
#[tokio::test]
async fn a_task_set_is_answered_as_it_was_asked_for() {
    let world = world(3).await;
    let made = create(&world, 50.0, json!({"externalId": "blue", "tags": [{"key": "a", "value": "1"}]})).await;
    let id = made["id"].as_str().unwrap();
    assert_eq!(made["taskSetArn"], world.arn(&format!("task-set/default/web/{id}")));
    assert_eq!((&made["status"], &made["externalId"]), (&json!("ACTIVE"), &json!("blue")));
    assert_eq!(
        (&made["computedDesiredCount"], &made["scale"]),
        (&json!(2), &json!({"value": 50.0, "unit": "PERCENT"}))
    );
    assert_eq!((&made["launchType"], &made["stabilityStatus"]), (&json!("EC2"), &json!("STABILIZING")));
    assert_eq!(made["taskDefinition"], world.arn("task-definition/web:1"));
    let answer = world.ok("DescribeTaskSets", named(json!({"taskSets": [id], "include": ["TAGS"]}))).await;
    assert_eq!(answer["taskSets"], json!([made]));
    assert!(described(&world).await[0].get("tags").is_none());
    let world = world.restarted().await;
    assert_eq!(described(&world).await[0]["id"], made["id"]);
}

// spec: 16-043
#[tokio::test]
async fn a_task_set_answers_its_network_its_balancers_and_its_registries() {
    let world = world(1).await;
    world.fargate_family("far", "256", "512").await;
    let main = json!({"name": "main", "image": "busybox", "portMappings": [{"containerPort": 80}]});
    let definition = json!({
        "family": "far", "containerDefinitions": [main], "networkMode": "awsvpc", "cpu": "256", "memory": "512",
        "requiresCompatibilities": ["FARGATE"],
    });
    world.ok("RegisterTaskDefinition", definition).await;
    let balancers = json!([{"targetGroupArn": "arn:g", "containerName": "main", "containerPort": 80}]);
    let registries = json!([{"registryArn": "arn:aws:servicediscovery:eu-west-1:123456789012:service/srv-1"}]);
    let vpc = json!({"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"], "assignPublicIp": "ENABLED"}});
    let own = json!({
        "taskDefinition": "far:2", "launchType": "FARGATE", "loadBalancers": balancers, "networkConfiguration": vpc,
        "serviceRegistries": registries, "clientToken": "once",
    });
    let made = create(&world, 50.0, own.clone()).await;
    assert_eq!(made["taskDefinition"], world.arn("task-definition/far:2"));
    for (member, value) in [
        ("launchType", json!("FARGATE")),
        ("loadBalancers", balancers),
        ("networkConfiguration", vpc),
        ("serviceRegistries", registries),
        ("platformVersion", json!("1.4.0")),
    ] {
        assert_eq!(made[member], value, "{member}");
    }
    let shown = world.ok("DescribeTaskSets", named(json!({"include": ["TAGS"]}))).await;
    assert_eq!(shown["taskSets"], json!([made]));
    assert_eq!(create(&world, 50.0, own).await["id"], made["id"]);
    assert_eq!(described(&world).await.len(), 1);
}

// spec: 16-043, 16-044
#[tokio::test]
async fn what_no_task_set_may_be_is_refused() {
    let world = world(1).await;
    let both = json!({"launchType": "EC2", "capacityProviderStrategy": [{"capacityProvider": "FARGATE"}]});
    let classic = json!({"loadBalancers": [{"loadBalancerName": "lb", "containerName": "main", "containerPort": 80}]});
    for own in [
        json!({"scale": {"value": 101.0, "unit": "PERCENT"}}),
        json!({"scale": {"value": 1.0, "unit": "COUNT"}}),
        json!({"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}}),
        json!({"platformVersion": "LATEST"}),
        json!({"clientToken": "x".repeat(37)}),
        both,
        classic,
    ] {
        let mut input = named(json!({"taskDefinition": "web"}));
        input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        let (code, message) = world.refused("CreateTaskSet", input).await;
        assert_eq!(code, "InvalidParameterException", "{own}: {message}");
    }
    for number in 0..10 {
        create(&world, 0.0, json!({"externalId": number.to_string()})).await;
    }
    let (code, _) = world.refused("CreateTaskSet", named(json!({"taskDefinition": "web"}))).await;
    assert_eq!(code, "LimitExceededException");
}

#[tokio::test]
async fn the_same_client_token_makes_one_task_set() {
    let world = world(1).await;
    let first = create(&world, 100.0, json!({"clientToken": "once"})).await;
    assert_eq!(create(&world, 100.0, json!({"clientToken": "once"})).await["id"], first["id"]);
    assert_ne!(create(&world, 100.0, json!({"clientToken": "twice"})).await["id"], first["id"]);
}

#[tokio::test]
async fn task_sets_belong_to_the_external_controller() {
    let world = world(1).await;
    world.ok("CreateService", json!({"serviceName": "ecs", "taskDefinition": "web", "desiredCount": 1})).await;
    let mut input = named(json!({"service": "ecs", "taskDefinition": "web"}));
    let (code, message) = world.refused("CreateTaskSet", input.clone()).await;
    assert_eq!(code, "InvalidParameterException", "{message}");
    input["service"] = json!("none");
    assert_eq!(world.refused("CreateTaskSet", input).await.0, "ServiceNotFoundException");
    world.ok("DeleteService", json!({"service": "web", "force": true})).await;
    let (code, _) = world.refused("CreateTaskSet", named(json!({"taskDefinition": "web"}))).await;
    assert_eq!(code, "ServiceNotActiveException");
}

// spec: 16-038, 16-045
#[tokio::test]
async fn two_task_sets_run_side_by_side_until_one_is_scaled_down() {
    let world = world(2).await;
    let (a, b) = (create(&world, 100.0, json!({})).await, create(&world, 100.0, json!({})).await);
    reconcile(&world).await;
    agents_act(&world).await;
    reconcile(&world).await;
    assert_eq!((tasks(&world, &a).await, tasks(&world, &b).await), (2, 2));
    assert_eq!(service(&world).await["runningCount"], 4);
    let steady = described(&world).await;
    assert_eq!((&steady[0]["stabilityStatus"], &steady[0]["runningCount"]), (&json!("STEADY_STATE"), &json!(2)));
    let down = named(json!({"taskSet": a["id"], "scale": {"value": 0.0, "unit": "PERCENT"}}));
    let answer = world.ok("UpdateTaskSet", down).await;
    assert_eq!(answer["taskSet"]["computedDesiredCount"], 0);
    reconcile(&world).await;
    assert_eq!((tasks(&world, &a).await, tasks(&world, &b).await), (0, 2));
}

#[tokio::test]
async fn a_task_of_a_task_set_that_ends_is_replaced_there() {
    let world = world(1).await;
    let set = create(&world, 100.0, json!({})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    let task = world.ok("ListTasks", json!({"startedBy": set["id"]})).await["taskArns"][0].clone();
    world.report(&task, "STOPPED", Some(1)).await;
    reconcile(&world).await;
    assert_eq!((tasks(&world, &set).await, &described(&world).await[0]["stabilityStatus"]), (1, &json!("STABILIZING")));
}

// spec: 16-037
#[tokio::test]
async fn the_desired_count_of_the_service_scales_its_task_sets() {
    let world = world(2).await;
    create(&world, 50.0, json!({})).await;
    world.ok("UpdateService", json!({"service": "web", "desiredCount": 7})).await;
    assert_eq!(described(&world).await[0]["computedDesiredCount"], 4);
    for own in [
        json!({"taskDefinition": "web"}),
        json!({"forceNewDeployment": true}),
        json!({"platformVersion": "LATEST"}),
        json!({"loadBalancers": []}),
        json!({"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}}),
    ] {
        let mut input = json!({"service": "web"});
        input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        assert_eq!(world.refused("UpdateService", input).await.0, "InvalidParameterException");
    }
    world.ok("UpdateService", json!({"service": "web", "healthCheckGracePeriodSeconds": 30})).await;
}

// spec: 16-036, 16-039
#[tokio::test]
async fn the_service_shows_its_primary_task_set() {
    let world = world(1).await;
    world.family("web", 20, 20, json!({"portMappings": [{"containerPort": 80}]})).await;
    let a = create(&world, 100.0, json!({"taskDefinition": "web:1"})).await;
    let b = create(&world, 0.0, json!({"taskDefinition": "web:2"})).await;
    let before = service(&world).await;
    assert!(before.get("taskDefinition").is_none() && before.get("launchType").is_none(), "{before}");
    let promote = |set: &Value| named(json!({"primaryTaskSet": set["taskSetArn"]}));
    let promoted = world.ok("UpdateServicePrimaryTaskSet", promote(&a)).await;
    assert_eq!(promoted["taskSet"]["status"], "PRIMARY");
    let shown = service(&world).await;
    assert_eq!(
        (&shown["taskDefinition"], &shown["launchType"]),
        (&json!(world.arn("task-definition/web:1")), &json!("EC2"))
    );
    assert_eq!((&shown["taskSets"][0]["status"], &shown["deployments"]), (&json!("PRIMARY"), &json!([])));
    world.ok("UpdateServicePrimaryTaskSet", promote(&b)).await;
    let statuses: Vec<Value> = described(&world).await.iter().map(|set| set["status"].clone()).collect();
    assert_eq!(statuses, ["ACTIVE", "PRIMARY"]);
    assert_eq!(service(&world).await["taskDefinition"], world.arn("task-definition/web:2"));
}

// spec: 16-036
#[tokio::test]
async fn a_task_set_that_wants_tasks_is_deleted_only_by_force_and_is_gone_with_them() {
    let world = world(1).await;
    let set = create(&world, 100.0, json!({})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    let input = named(json!({"taskSet": set["id"]}));
    assert_eq!(world.refused("DeleteTaskSet", input.clone()).await.0, "InvalidParameterException");
    let forced = named(json!({"taskSet": set["id"], "force": true}));
    assert_eq!(world.ok("DeleteTaskSet", forced).await["taskSet"]["status"], "DRAINING");
    let scale = named(json!({"taskSet": set["id"], "scale": {"value": 100.0, "unit": "PERCENT"}}));
    assert_eq!(world.refused("UpdateTaskSet", scale).await.0, "InvalidParameterException");
    reconcile(&world).await;
    assert_eq!((tasks(&world, &set).await, described(&world).await.len()), (0, 1));
    agents_act(&world).await;
    reconcile(&world).await;
    assert_eq!(described(&world).await.len(), 0);
    let (code, message) = world.refused("DeleteTaskSet", input).await;
    assert_eq!(code, "TaskSetNotFoundException");
    assert!(message.contains(set["id"].as_str().unwrap()), "{message}");
    let answer = world.ok("DescribeTaskSets", named(json!({"taskSets": [set["id"]]}))).await;
    assert_eq!(answer["failures"], json!([{"arn": set["taskSetArn"], "reason": "MISSING"}]));
}

#[tokio::test]
async fn a_deleted_service_takes_its_task_sets_along() {
    let world = world(1).await;
    let set = create(&world, 100.0, json!({})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    assert_eq!(world.refused("DeleteService", json!({"service": "web"})).await.0, "InvalidParameterException");
    world.ok("DeleteService", json!({"service": "web", "force": true})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    reconcile(&world).await;
    assert_eq!((tasks(&world, &set).await, &service(&world).await["status"]), (0, &json!("INACTIVE")));
}

#[tokio::test]
async fn a_task_set_whose_tasks_never_run_waits_longer_and_longer() {
    let world = world(1).await;
    let set = create(&world, 100.0, json!({})).await;
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(1));
        reconcile(&world).await;
        let task = world.ok("ListTasks", json!({"startedBy": set["id"]})).await["taskArns"][0].clone();
        world.report(&task, "STOPPED", None).await;
    }
    reconcile(&world).await;
    assert_eq!(tasks(&world, &set).await, 0);
    let said = service(&world).await["events"][0]["message"].clone();
    let id = set["id"].as_str().unwrap();
    assert_eq!(said, format!("(service web, taskSet {id}) is unable to consistently start tasks successfully."));
}

// spec: 15-034, 15-070, 16-016, 23-032
#[tokio::test]
async fn a_code_deploy_service_begins_with_one_primary_task_set() {
    let world = world(1).await;
    let group = json!({"targetGroupArn": "arn:g", "containerName": "main", "containerPort": 80});
    let classic = json!({"loadBalancerName": "lb", "containerName": "main", "containerPort": 80});
    let request = |balancers: Value| {
        json!({
            "serviceName": "blue", "taskDefinition": "web", "desiredCount": 2, "loadBalancers": balancers,
            "deploymentController": {"type": "CODE_DEPLOY"}, "deploymentConfiguration": {"maximumPercent": 150},
        })
    };
    for balancers in [json!([]), json!([classic])] {
        assert_eq!(world.refused("CreateService", request(balancers)).await.0, "InvalidParameterException");
    }
    let made = world.ok("CreateService", request(json!([group]))).await["service"].clone();
    assert_eq!((made["taskSets"].as_array().unwrap().len(), &made["deployments"]), (1, &json!([])));
    let set = &made["taskSets"][0];
    assert_eq!(
        (&set["status"], &set["scale"]["value"], &set["computedDesiredCount"]),
        (&json!("PRIMARY"), &json!(100.0), &json!(2))
    );
    let percents = &made["deploymentConfiguration"];
    assert_eq!((&percents["maximumPercent"], &percents["minimumHealthyPercent"]), (&json!(200), &json!(100)));
    reconcile(&world).await;
    assert_eq!(tasks(&world, set).await, 2);
    let update = json!({"service": "blue", "taskDefinition": "web"});
    let (code, message) = world.refused("UpdateService", update).await;
    assert_eq!(code, "InvalidParameterException");
    assert_eq!(
        message,
        "Unable to update task definition on services with a CODE_DEPLOY deployment controller. Use AWS CodeDeploy to trigger a new deployment."
    );
    let scaled = world.ok("UpdateService", json!({"service": "blue", "desiredCount": 3})).await;
    assert_eq!(scaled["service"]["taskSets"][0]["computedDesiredCount"], 3);
}

// spec: 15-034
#[tokio::test]
async fn the_percentages_of_somebody_elses_deployments_are_the_defaults_and_bound_what_leaves_a_draining_instance() {
    let world = world(1).await;
    let percents = json!({"maximumPercent": 150, "minimumHealthyPercent": 0});
    let input = json!({
        "serviceName": "ext", "deploymentController": {"type": "EXTERNAL"}, "deploymentConfiguration": percents,
    });
    let shown = world.ok("CreateService", input).await["service"]["deploymentConfiguration"].clone();
    assert_eq!((&shown["maximumPercent"], &shown["minimumHealthyPercent"]), (&json!(200), &json!(100)));
    world.ok("UpdateService", json!({"service": "web", "desiredCount": 2})).await;
    let set = create(&world, 100.0, json!({})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    reconcile(&world).await;
    let instance = world.ok("ListContainerInstances", json!({})).await["containerInstanceArns"][0].clone();
    let other = world.instance(1000, 1000, &[]).await;
    world.ok("UpdateContainerInstancesState", json!({"containerInstances": [instance], "status": "DRAINING"})).await;
    world.clock.advance(Duration::from_secs(60));
    reconcile(&world).await;
    assert_eq!(tasks(&world, &set).await, 4, "twice as many as wanted, and none of them stops");
    agents_act(&world).await;
    world.clock.advance(Duration::from_secs(60));
    reconcile(&world).await;
    assert_eq!(tasks(&world, &set).await, 2);
    let left = world.ok("ListTasks", json!({"containerInstance": other})).await["taskArns"].clone();
    assert_eq!(left.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_task_set_that_is_scaled_is_to_become_stable_anew() {
    let world = world(2).await;
    let made = create(&world, 0.0, json!({})).await;
    reconcile(&world).await;
    assert_eq!(described(&world).await[0]["stabilityStatus"], "STEADY_STATE");
    let scale = json!({"taskSet": made["id"], "scale": {"value": 100, "unit": "PERCENT"}});
    let scaled = world.ok("UpdateTaskSet", named(scale)).await["taskSet"].clone();
    assert_eq!((&scaled["computedDesiredCount"], &scaled["stabilityStatus"]), (&json!(2), &json!("STABILIZING")));
}
