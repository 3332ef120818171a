use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::tests::{agents_act, create, reconcile, says, service, tasks, update, world};
use super::{ServiceExpiry, ServiceExpiryLimits, ServiceScheduler, ServiceSchedulerLimits};
use crate::events::tests::{of_type, told};
use crate::operations::testing::World;
use crate::reconcilers::{Reconcilers, run_once};

/// The newest service deployment.
async fn newest(world: &World) -> Value {
    let arn = service(world).await["currentServiceDeployment"].clone();
    described(world, &arn).await
}

async fn described(world: &World, arn: &Value) -> Value {
    let answer = world.ok("DescribeServiceDeployments", json!({"serviceDeploymentArns": [arn]})).await;
    assert_eq!(answer["failures"], json!([]), "{answer}");
    answer["serviceDeployments"][0].clone()
}

async fn listed(world: &World, own: Value) -> Vec<Value> {
    let mut input = json!({"service": "web"});
    input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    world.ok("ListServiceDeployments", input).await["serviceDeployments"].as_array().unwrap().clone()
}

/// A service whose first deployment has completed, with a second one under way.
async fn updating(own: Value) -> World {
    let (world, _) = world(2).await;
    create(&world, own).await;
    reconcile(&world).await;
    agents_act(&world).await;
    world.clock.advance(Duration::from_secs(41));
    reconcile(&world).await;
    world.family("web", 50, 64, json!({"image": "busybox:2"})).await;
    update(&world, json!({"taskDefinition": "web"})).await;
    world
}

async fn expire(world: &World, limits: ServiceExpiryLimits) {
    run_once(&ServiceExpiry::new(world.engine().clone(), limits)).await.unwrap();
}

#[tokio::test]
async fn a_new_service_has_a_service_deployment_of_its_first_revision() {
    let (world, _) = world(1).await;
    let made = create(&world, json!({})).await;
    let first = newest(&world).await;
    assert_eq!((&first["status"], &first["startedAt"]), (&json!("PENDING"), &Value::Null));
    assert_eq!(first["serviceArn"], made["serviceArn"]);
    assert_eq!(first["sourceServiceRevisions"], json!([]));
    let number = made["deployments"][0]["id"].as_str().unwrap().strip_prefix("ecs-svc/").unwrap();
    let revision = world.arn(&format!("service-revision/default/web/{number}"));
    let counts = json!({"arn": revision, "requestedTaskCount": 2, "runningTaskCount": 0, "pendingTaskCount": 0});
    assert_eq!(first["targetServiceRevision"], counts);
    assert_eq!(made["currentServiceRevisions"], json!([counts]));
    let answer = world.ok("DescribeServiceRevisions", json!({"serviceRevisionArns": [revision]})).await;
    let described = &answer["serviceRevisions"][0];
    assert_eq!(described["taskDefinition"], world.arn("task-definition/web:1"));
    assert_eq!(described["containerImages"], json!([{"containerName": "main", "image": "busybox"}]));
    assert_eq!((&described["launchType"], &described["createdAt"]), (&json!("EC2"), &made["createdAt"]));
}

#[tokio::test]
async fn a_service_deployment_that_is_stopped_goes_back_at_once() {
    let world = updating(json!({})).await;
    let scheduler = ServiceScheduler::new(world.engine().clone(), ServiceSchedulerLimits::default());
    world.engine().observe(Arc::new(scheduler.waker(Reconcilers::new(world.engine().seams().clone()))));
    run_once(&scheduler).await.unwrap();
    let arn = service(&world).await["currentServiceDeployment"].clone();
    world.ok("StopServiceDeployment", json!({"serviceDeploymentArn": arn, "stopType": "ROLLBACK"})).await;
    // No time passes: nobody looks at every service meanwhile.
    run_once(&scheduler).await.unwrap();
    assert_eq!(described(&world, &arn).await["status"], "ROLLBACK_IN_PROGRESS");
    assert_eq!(service(&world).await["taskDefinition"], world.arn("task-definition/web:1"));
}

#[tokio::test]
async fn a_service_deployment_goes_on_as_its_tasks_do_and_keeps_their_counts() {
    let (world, _) = world(1).await;
    create(&world, json!({})).await;
    reconcile(&world).await;
    let under_way = newest(&world).await;
    assert_eq!(under_way["status"], "IN_PROGRESS");
    assert_eq!(under_way["targetServiceRevision"]["pendingTaskCount"], 2);
    agents_act(&world).await;
    reconcile(&world).await;
    let done = newest(&world).await;
    assert_eq!(
        (&done["status"], &done["targetServiceRevision"]["runningTaskCount"]),
        (&json!("SUCCESSFUL"), &json!(2))
    );
    assert!(done["finishedAt"].is_number() && done["stoppedAt"].is_null(), "{done}");
    update(&world, json!({"desiredCount": 0})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    assert_eq!(newest(&world).await, done);
    let world = world.restarted().await;
    assert_eq!(newest(&world).await, done);
}

#[tokio::test]
async fn an_update_names_what_it_replaces_and_stops_the_service_deployment_before() {
    let world = updating(json!({})).await;
    let first = listed(&world, json!({"status": ["SUCCESSFUL"]})).await[0].clone();
    let second = newest(&world).await;
    let source = &second["sourceServiceRevisions"][0];
    assert_eq!((&source["arn"], &source["runningTaskCount"]), (&first["targetServiceRevisionArn"], &json!(2)));
    update(&world, json!({"forceNewDeployment": true})).await;
    let stopped = described(&world, &second["serviceDeploymentArn"]).await;
    assert_eq!(
        (&stopped["status"], &stopped["statusReason"]),
        (&json!("STOPPED"), &json!("A new service deployment was started."))
    );
    assert!(stopped["stoppedAt"].is_number());
    assert_eq!(newest(&world).await["sourceServiceRevisions"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn only_what_changes_tasks_makes_a_service_deployment() {
    let world = updating(json!({})).await;
    assert_eq!(listed(&world, json!({})).await.len(), 2);
    let configuration = json!({"maximumPercent": 150});
    for own in [
        json!({"desiredCount": 1}),
        json!({"deploymentConfiguration": configuration}),
        json!({"enableExecuteCommand": true}),
        json!({"propagateTags": "SERVICE"}),
        json!({"placementStrategy": [{"type": "random"}]}),
    ] {
        update(&world, own).await;
    }
    assert_eq!(listed(&world, json!({})).await.len(), 2);
    update(&world, json!({"forceNewDeployment": true})).await;
    assert_eq!(listed(&world, json!({})).await.len(), 3);
}

#[tokio::test]
async fn a_rollback_brings_back_what_service_connect_was() {
    let connect = |namespace: &str| json!({"enabled": true, "namespace": namespace});
    let world = updating(json!({"serviceConnectConfiguration": connect("before")})).await;
    update(&world, json!({"serviceConnectConfiguration": connect("after")})).await;
    reconcile(&world).await;
    let services = |namespace: &str| world.call("ListServicesByNamespace", json!({"namespace": namespace}));
    assert!(services("before").await.is_err());
    let arn = newest(&world).await["serviceDeploymentArn"].clone();
    world.ok("StopServiceDeployment", json!({"serviceDeploymentArn": arn, "stopType": "ROLLBACK"})).await;
    reconcile(&world).await;
    let back = service(&world).await;
    assert_eq!(back["deployments"][0]["serviceConnectConfiguration"], connect("before"));
    assert_eq!(services("before").await.unwrap()["serviceArns"], json!([back["serviceArn"]]));
    assert_eq!(services("after").await.unwrap_err().code, "NamespaceNotFoundException");
    // What runs is what the service says that it wants: an update that says the same begins nothing.
    update(&world, json!({"serviceConnectConfiguration": connect("before")})).await;
    assert_eq!(service(&world).await["deployments"][0]["id"], back["deployments"][0]["id"]);
}

#[tokio::test]
async fn a_rollback_brings_back_load_balancers_and_registries() {
    let world = updating(json!({})).await;
    let before = service(&world).await;
    world.family("web", 50, 64, json!({"portMappings": [{"containerPort": 80}]})).await;
    let balancer = json!({"targetGroupArn": "arn:g", "containerName": "main", "containerPort": 80});
    let registry = json!({"registryArn": "arn:r", "containerName": "main", "containerPort": 80});
    let own = json!({
        "taskDefinition": "web", "loadBalancers": [balancer], "serviceRegistries": [registry],
        "healthCheckGracePeriodSeconds": 30,
    });
    update(&world, own.clone()).await;
    let arn = newest(&world).await["serviceDeploymentArn"].clone();
    world.ok("StopServiceDeployment", json!({"serviceDeploymentArn": arn, "stopType": "ROLLBACK"})).await;
    reconcile(&world).await;
    let back = service(&world).await;
    for member in ["loadBalancers", "serviceRegistries", "healthCheckGracePeriodSeconds", "launchType", "roleArn"] {
        assert_eq!(back.get(member), before.get(member), "{member}");
    }
    assert_eq!(back["taskDefinition"], world.arn("task-definition/web:1"));
    // What the deployment failed with is a change again.
    update(&world, json!({"desiredCount": 3})).await;
    update(&world, own).await;
    let again = service(&world).await;
    assert_eq!(again["loadBalancers"], json!([balancer]));
    assert_ne!(again["deployments"][0]["id"], back["deployments"][0]["id"]);
}

#[tokio::test]
async fn a_user_rolls_back_and_the_tasks_that_still_run_stay() {
    let world = updating(json!({})).await;
    let before = tasks(&world).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 4);
    let arn = newest(&world).await["serviceDeploymentArn"].clone();
    let answer = world.ok("StopServiceDeployment", json!({"serviceDeploymentArn": arn})).await;
    assert_eq!(answer["serviceDeploymentArn"], arn);
    assert_eq!(newest(&world).await["status"], "ROLLBACK_REQUESTED");
    world.ok("StopServiceDeployment", json!({"serviceDeploymentArn": arn, "stopType": "ROLLBACK"})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    reconcile(&world).await;
    let done = newest(&world).await;
    let first = listed(&world, json!({"status": ["SUCCESSFUL"]})).await[0].clone();
    assert_eq!(
        (&done["status"], &done["rollback"]["serviceRevisionArn"]),
        (&json!("ROLLBACK_SUCCESSFUL"), &first["targetServiceRevisionArn"])
    );
    assert!(done["rollback"]["reason"].as_str().unwrap().contains("requested by user"));
    assert_eq!(tasks(&world).await, before);
    let back = service(&world).await;
    assert_eq!(back["taskDefinition"], world.arn("task-definition/web:1"));
    assert_eq!(back["deployments"].as_array().unwrap().len(), 1);
    assert_eq!(
        world.refused("StopServiceDeployment", json!({"serviceDeploymentArn": arn})).await.0,
        "ConflictException"
    );
}

#[tokio::test]
async fn an_aborted_service_deployment_starts_and_replaces_no_more_tasks() {
    let world =
        updating(json!({"deploymentConfiguration": {"minimumHealthyPercent": 50, "maximumPercent": 100}})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    reconcile(&world).await;
    let arn = newest(&world).await["serviceDeploymentArn"].clone();
    world.ok("StopServiceDeployment", json!({"serviceDeploymentArn": arn, "stopType": "ABORT"})).await;
    assert_eq!(newest(&world).await["status"], "STOP_REQUESTED");
    reconcile(&world).await;
    let stopped = newest(&world).await;
    assert_eq!((&stopped["status"], &stopped["rollback"]), (&json!("STOPPED"), &Value::Null));
    agents_act(&world).await;
    world.clock.advance(Duration::from_secs(41));
    reconcile(&world).await;
    assert_eq!(service(&world).await["deployments"][0]["rolloutState"], "FAILED");
    let left: Vec<Value> = tasks(&world).await.iter().map(|it| it["taskDefinitionArn"].clone()).collect();
    let of =
        |revision: u32| left.iter().filter(|it| **it == world.arn(&format!("task-definition/web:{revision}"))).count();
    assert_eq!((of(1), of(2)), (1, 1), "{left:?}");
    update(&world, json!({"desiredCount": 0})).await;
    reconcile(&world).await;
    assert_eq!(tasks(&world).await.len(), 0);
}

#[tokio::test]
async fn the_first_service_deployment_has_nothing_to_roll_back_to() {
    let (world, _) = world(1).await;
    create(&world, json!({})).await;
    reconcile(&world).await;
    let arn = newest(&world).await["serviceDeploymentArn"].clone();
    let (code, message) = world.refused("StopServiceDeployment", json!({"serviceDeploymentArn": arn})).await;
    assert_eq!(code, "InvalidParameterException");
    assert!(message.contains(arn.as_str().unwrap()), "{message}");
}

#[tokio::test]
async fn a_broken_circuit_is_told_with_its_counts_and_the_way_back() {
    let breaker = json!({"deploymentCircuitBreaker": {"enable": true, "rollback": true}});
    let world = updating(json!({"deploymentConfiguration": breaker})).await;
    reconcile(&world).await;
    let monitoring = newest(&world).await["deploymentCircuitBreaker"].clone();
    assert_eq!(monitoring, json!({"status": "MONITORING", "failureCount": 0, "threshold": 3}));
    for _ in 0..2 {
        world.clock.advance(Duration::from_secs(1));
        for task in tasks(&world).await.iter().filter(|task| task["lastStatus"] == "PENDING") {
            world.report(&task["taskArn"], "STOPPED", None).await;
        }
        reconcile(&world).await;
    }
    let done = newest(&world).await;
    assert_eq!(done["status"], "ROLLBACK_SUCCESSFUL", "{done}");
    let broken = json!({"status": "TRIGGERED", "failureCount": 4, "threshold": 3});
    assert_eq!(done["deploymentCircuitBreaker"], broken);
    assert!(says(&service(&world).await, "rolling back to (deployment ecs-svc/"));
}

#[tokio::test]
async fn a_circuit_breaker_without_rollback_stops_the_service_deployment() {
    let breaker = json!({"deploymentCircuitBreaker": {"enable": true, "rollback": false}});
    let (world, _) = world(1).await;
    create(&world, json!({"desiredCount": 3, "deploymentConfiguration": breaker})).await;
    reconcile(&world).await;
    for task in tasks(&world).await {
        world.report(&task["taskArn"], "STOPPED", None).await;
    }
    reconcile(&world).await;
    let stopped = newest(&world).await;
    assert_eq!(
        (&stopped["status"], &stopped["deploymentCircuitBreaker"]["failureCount"]),
        (&json!("STOPPED"), &json!(3))
    );
    assert_eq!(tasks(&world).await.len(), 0);
    assert_eq!(service(&world).await["deployments"][0]["rolloutState"], "FAILED");
    let events = told(&world).await;
    let names = of_type(&events, "ECS Deployment State Change");
    assert_eq!(names.last().unwrap()["detail"]["eventName"], "SERVICE_DEPLOYMENT_FAILED");
}

#[tokio::test]
async fn a_healthy_task_takes_back_the_failures_before_it() {
    let breaker = json!({"enable": true, "rollback": false, "thresholdConfiguration": {"type": "COUNT", "value": 2}});
    let keeping = json!({"enable": true, "rollback": false, "resetOnHealthyTask": false, "thresholdConfiguration": {"type": "COUNT", "value": 2}});
    for (breaker, expected) in [(breaker, "IN_PROGRESS"), (keeping, "STOPPED")] {
        let (world, _) = world(1).await;
        create(&world, json!({"deploymentConfiguration": {"deploymentCircuitBreaker": breaker}})).await;
        for round in 0..2 {
            reconcile(&world).await;
            let now = tasks(&world).await;
            let pending = now.iter().find(|task| task["lastStatus"] == "PENDING").unwrap();
            world.clock.advance(Duration::from_secs(1));
            world.report(&pending["taskArn"], "STOPPED", None).await;
            reconcile(&world).await;
            if round == 0 {
                let now = tasks(&world).await;
                world.report(&now[0]["taskArn"], "RUNNING", None).await;
            }
        }
        assert_eq!(newest(&world).await["status"], expected);
    }
}

#[tokio::test]
async fn service_deployments_are_listed_newest_first_by_filter_and_page() {
    let (world, _) = world(1).await;
    create(&world, json!({})).await;
    let after = world.clock.clone();
    for _ in 0..3 {
        after.advance(Duration::from_secs(10));
        update(&world, json!({"forceNewDeployment": true})).await;
    }
    let all = listed(&world, json!({})).await;
    let created: Vec<f64> = all.iter().map(|it| it["createdAt"].as_f64().unwrap()).collect();
    assert!(created.len() == 4 && created.windows(2).all(|pair| pair[0] > pair[1]), "{created:?}");
    let page = world.ok("ListServiceDeployments", json!({"service": "web", "maxResults": 3})).await;
    let rest = listed(&world, json!({"nextToken": page["nextToken"]})).await;
    assert_eq!([page["serviceDeployments"].as_array().unwrap().clone(), rest].concat(), all);
    let between = json!({"createdAt": {"after": created[2], "before": created[1]}});
    assert_eq!(listed(&world, between).await, all[1..3]);
    assert_eq!(listed(&world, json!({"status": ["PENDING"]})).await, all[..1]);
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let (world, _) = world(1).await;
    create(&world, json!({})).await;
    let gone = world.arn("service-deployment/default/web/none");
    let answer = world.ok("DescribeServiceDeployments", json!({"serviceDeploymentArns": [gone]})).await;
    assert_eq!(answer["failures"], json!([{"arn": gone, "reason": "MISSING"}]));
    let revision = world.arn("service-revision/default/web/1");
    let answer = world.ok("DescribeServiceRevisions", json!({"serviceRevisionArns": [revision]})).await;
    assert_eq!(answer["failures"], json!([{"arn": revision, "reason": "MISSING"}]));
    for (operation, own) in
        [("StopServiceDeployment", json!({})), ("ContinueServiceDeployment", json!({"hookId": "h"}))]
    {
        let mut input = json!({"serviceDeploymentArn": gone});
        input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        let (code, message) = world.refused(operation, input).await;
        assert_eq!(code, "ServiceDeploymentNotFoundException");
        assert!(message.contains(&gone), "{message}");
    }
    let arn = newest(&world).await["serviceDeploymentArn"].clone();
    let waits_not = json!({"serviceDeploymentArn": arn, "hookId": "h"});
    assert_eq!(world.refused("ContinueServiceDeployment", waits_not).await.0, "InvalidParameterException");
    for arns in [json!([]), json!(vec![gone.clone(); 21]), json!(["web"])] {
        let refused = world.refused("DescribeServiceDeployments", json!({"serviceDeploymentArns": arns})).await;
        assert_eq!(refused.0, "InvalidParameterException");
    }
    assert_eq!(world.refused("ListServiceDeployments", json!({"service": "none"})).await.0, "ServiceNotFoundException");
}

#[tokio::test]
async fn old_service_deployments_are_forgotten_with_revisions_that_only_they_used() {
    let (world, _) = world(1).await;
    create(&world, json!({})).await;
    for _ in 0..5 {
        world.clock.advance(Duration::from_secs(10));
        update(&world, json!({"forceNewDeployment": true})).await;
    }
    reconcile(&world).await;
    let limits = ServiceExpiryLimits { service_deployment_count: 2, ..ServiceExpiryLimits::default() };
    let newest_two = listed(&world, json!({})).await[..2].to_vec();
    expire(&world, limits).await;
    assert_eq!(listed(&world, json!({})).await, newest_two);
    world.clock.advance(Duration::from_secs(91 * 24 * 3600));
    expire(&world, ServiceExpiryLimits::default()).await;
    assert_eq!(listed(&world, json!({})).await, newest_two[..1]);
    let kept = world.engine().peek(|state| {
        let cluster = state.scope(&world.scope()).active_cluster("default").unwrap();
        cluster.service_history["web"].revisions.len()
    });
    assert!(kept >= 1);
}

// spec: 15-017
#[tokio::test]
async fn a_deleted_service_takes_its_service_deployments_with_it() {
    let (world, _) = world(1).await;
    create(&world, json!({})).await;
    let arn = newest(&world).await["serviceDeploymentArn"].clone();
    world.ok("DeleteService", json!({"service": "web", "force": true})).await;
    assert_eq!(described(&world, &arn).await["status"], "STOPPED");
    reconcile(&world).await;
    expire(&world, ServiceExpiryLimits::default()).await;
    let answer = world.ok("DescribeServiceDeployments", json!({"serviceDeploymentArns": [arn]})).await;
    assert_eq!(answer["failures"][0]["reason"], "MISSING");
    let inactive = service(&world).await;
    assert_eq!(inactive["status"], "INACTIVE");
    assert_eq!(inactive["taskDefinition"], world.arn("task-definition/web:1"));
    world.clock.advance(Duration::from_secs(3601));
    expire(&world, ServiceExpiryLimits::default()).await;
    assert_eq!(world.ok("DescribeServices", json!({"services": ["web"]})).await["failures"][0]["reason"], "MISSING");
    let gone = world.refused("UpdateService", json!({"service": "web"})).await;
    assert_eq!(gone, ("ServiceNotFoundException", "Service not found.".to_owned()));
}
