use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_api::ecs::{HealthStatus, LoadBalancer};
use longshore_model::Scope;
use longshore_model::records::TaskRecord;
use serde_json::{Value, json};

use super::tests::{agents_act, create, says, service, tasks, update, world};
use super::{ServiceScheduler, ServiceSchedulerLimits, ServiceSignals, TargetHealth};
use crate::operations::testing::World;
use crate::reconcilers::run_once;

/// What load balancers and alarms say, set by the test.
#[derive(Debug, Default)]
struct Said {
    /// By task id; every other task is said to be `otherwise`.
    targets: Mutex<BTreeMap<String, TargetHealth>>,
    otherwise: Mutex<Option<TargetHealth>>,
    alarms: Mutex<Vec<String>>,
}

impl ServiceSignals for Said {
    fn target_health(&self, _: &Scope, _: &LoadBalancer, task: &TaskRecord) -> Option<TargetHealth> {
        let known = self.targets.lock().unwrap().get(&task.id.to_string()).cloned();
        known.or_else(|| self.otherwise.lock().unwrap().clone())
    }

    fn in_alarm(&self, _: &Scope, names: &[String]) -> Vec<String> {
        let alarms = self.alarms.lock().unwrap();
        names.iter().filter(|name| alarms.contains(name)).cloned().collect()
    }
}

impl Said {
    fn of(&self, task: &Value, health: TargetHealth) {
        let id = task["taskArn"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        self.targets.lock().unwrap().insert(id, health);
    }
}

async fn reconcile(world: &World, said: &Arc<Said>) {
    let scheduler = ServiceScheduler::new(world.engine().clone(), ServiceSchedulerLimits::default());
    run_once(&scheduler.with_signals(said.clone())).await.unwrap();
}

async fn balanced(own: Value) -> (World, Arc<Said>) {
    let (world, _) = world(2).await;
    world.family("web", 100, 64, json!({"portMappings": [{"containerPort": 80}]})).await;
    let group = json!({"targetGroupArn": "arn:g", "containerName": "main", "containerPort": 80});
    let mut input = json!({"loadBalancers": [group]});
    input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    create(&world, input).await;
    let said = Arc::new(Said::default());
    *said.otherwise.lock().unwrap() = Some(TargetHealth::Healthy);
    reconcile(&world, &said).await;
    agents_act(&world).await;
    reconcile(&world, &said).await;
    (world, said)
}

async fn newest(world: &World) -> Value {
    let arn = service(world).await["currentServiceDeployment"].clone();
    let answer = world.ok("DescribeServiceDeployments", json!({"serviceDeploymentArns": [arn]})).await;
    answer["serviceDeployments"][0].clone()
}

/// The health checks of the containers of these tasks find this; answers how many tasks they are.
async fn check_finds(world: &World, status: HealthStatus, of: impl Fn(&TaskRecord) -> bool) -> usize {
    let records: Vec<_> = world.engine().peek(|state| {
        let cluster = state.scope(&world.scope()).active_cluster("default").unwrap();
        cluster.tasks.values().filter(|task| of(task)).cloned().collect()
    });
    for record in &records {
        let news = [("main".to_owned(), status.clone())].into();
        let found = Arc::new(longshore_model::task::health(record, &news).unwrap());
        world.change(|changes| changes.push(crate::changes::Change::PutTask(world.scope(), found))).await;
    }
    records.len()
}

fn of_revision(tasks: &[Value], world: &World, revision: u32) -> usize {
    tasks.iter().filter(|it| it["taskDefinitionArn"] == world.arn(&format!("task-definition/web:{revision}"))).count()
}

// spec: 15-038
#[tokio::test]
async fn a_new_task_counts_when_its_load_balancer_says_that_it_is_healthy() {
    let (world, said) = balanced(json!({})).await;
    *said.otherwise.lock().unwrap() = Some(TargetHealth::Initial);
    for task in tasks(&world).await {
        said.of(&task, TargetHealth::Healthy);
    }
    world.family("web", 50, 64, json!({"portMappings": [{"containerPort": 80}]})).await;
    update(&world, json!({"taskDefinition": "web"})).await;
    reconcile(&world, &said).await;
    agents_act(&world).await;
    world.clock.advance(Duration::from_secs(600));
    reconcile(&world, &said).await;
    assert_eq!(of_revision(&tasks(&world).await, &world, 2), 2, "the old ones stay");
    *said.otherwise.lock().unwrap() = Some(TargetHealth::Healthy);
    world.clock.advance(Duration::from_secs(10));
    reconcile(&world, &said).await;
    assert_eq!(of_revision(&tasks(&world).await, &world, 2), 0);
}

// spec: 15-037, 15-039
#[tokio::test]
async fn a_task_with_a_health_check_and_a_load_balancer_needs_both_to_be_well() {
    let (world, said) = balanced(json!({})).await;
    let check = json!({"command": ["CMD", "true"]});
    world.family("web", 50, 64, json!({"portMappings": [{"containerPort": 80}], "healthCheck": check})).await;
    update(&world, json!({"taskDefinition": "web"})).await;
    reconcile(&world, &said).await;
    agents_act(&world).await;
    world.clock.advance(Duration::from_secs(600));
    reconcile(&world, &said).await;
    assert_eq!(of_revision(&tasks(&world).await, &world, 2), 2, "the balancer alone is not enough");
    for task in tasks(&world).await {
        said.of(&task, TargetHealth::Initial);
    }
    check_finds(&world, HealthStatus::Healthy, |task| task.revision == 3).await;
    reconcile(&world, &said).await;
    assert_eq!(of_revision(&tasks(&world).await, &world, 2), 2, "the container alone is not enough");
    for task in tasks(&world).await {
        said.of(&task, TargetHealth::Healthy);
    }
    world.clock.advance(Duration::from_secs(10));
    reconcile(&world, &said).await;
    assert_eq!(of_revision(&tasks(&world).await, &world, 2), 0);
}

// spec: 10-063
#[tokio::test]
async fn tasks_leave_a_draining_instance_when_their_successors_are_healthy_behind_the_load_balancer() {
    let (world, said) = balanced(json!({"availabilityZoneRebalancing": "DISABLED"})).await;
    let old = tasks(&world).await;
    for task in &old {
        said.of(task, TargetHealth::Healthy);
    }
    *said.otherwise.lock().unwrap() = Some(TargetHealth::Initial);
    let home = &old[0]["containerInstanceArn"];
    let leaving = old.iter().filter(|task| task["containerInstanceArn"] == *home).count();
    let drain = json!({"containerInstances": [home], "status": "DRAINING"});
    world.ok("UpdateContainerInstancesState", drain).await;
    reconcile(&world, &said).await;
    agents_act(&world).await;
    world.clock.advance(Duration::from_secs(600));
    reconcile(&world, &said).await;
    assert_eq!(tasks(&world).await.len(), old.len() + leaving, "those that leave wait for their successors");
    *said.otherwise.lock().unwrap() = Some(TargetHealth::Healthy);
    world.clock.advance(Duration::from_secs(10));
    reconcile(&world, &said).await;
    let now = tasks(&world).await;
    assert_eq!((now.len(), now.iter().any(|task| task["containerInstanceArn"] == *home)), (old.len(), false));
}

// spec: 15-051, 24-026
#[tokio::test]
async fn a_task_that_fails_its_load_balancer_is_replaced_after_the_grace_period() {
    let own = json!({"healthCheckGracePeriodSeconds": 60, "availabilityZoneRebalancing": "DISABLED"});
    let (world, said) = balanced(own).await;
    let bad = tasks(&world).await[0].clone();
    said.of(&bad, TargetHealth::Unhealthy("Health checks failed".to_owned()));
    world.clock.advance(Duration::from_secs(59));
    reconcile(&world, &said).await;
    assert_eq!(world.task(&bad["taskArn"]).await["desiredStatus"], "RUNNING");
    world.clock.advance(Duration::from_secs(1));
    reconcile(&world, &said).await;
    assert_eq!(tasks(&world).await.len(), 3, "the one in its place comes first");
    agents_act(&world).await;
    reconcile(&world, &said).await;
    let stopped = world.task(&bad["taskArn"]).await;
    assert_eq!(stopped["stoppedReason"], "Task failed ELB health checks in (target-group arn:g)");
    let text = "(service web) (port 80) is unhealthy in (target-group arn:g) due to (reason Health checks failed).";
    assert!(says(&service(&world).await, text));
    assert_eq!(tasks(&world).await.len(), 2);
}

// spec: 15-051
#[tokio::test]
async fn a_container_that_fails_its_check_is_replaced_after_the_grace_period() {
    for grace in [json!(60), json!(null)] {
        let (world, _) = world(1).await;
        world.family("web", 1, 4, json!({"healthCheck": {"command": ["CMD", "true"]}})).await;
        create(&world, json!({"desiredCount": 1, "healthCheckGracePeriodSeconds": grace})).await;
        let said = Arc::new(Said::default());
        reconcile(&world, &said).await;
        agents_act(&world).await;
        let sick = tasks(&world).await[0]["taskArn"].clone();
        check_finds(&world, HealthStatus::Unhealthy, |_| true).await;
        if grace == 60 {
            world.clock.advance(Duration::from_secs(59));
            reconcile(&world, &said).await;
            assert_eq!(world.task(&sick).await["desiredStatus"], "RUNNING");
            world.clock.advance(Duration::from_secs(1));
        }
        reconcile(&world, &said).await;
        assert_eq!(world.task(&sick).await["stoppedReason"], "Task failed container health checks", "{grace}");
    }
}

// spec: 17-064
#[tokio::test]
async fn tasks_that_fail_their_load_balancer_are_no_reason_to_wait() {
    let (world, said) = balanced(json!({"desiredCount": 1, "availabilityZoneRebalancing": "DISABLED"})).await;
    let unhealthy = TargetHealth::Unhealthy("Health checks failed".to_owned());
    for _ in 0..5 {
        let bad = tasks(&world).await[0].clone();
        said.of(&bad, unhealthy.clone());
        for _ in 0..3 {
            world.clock.advance(Duration::from_secs(1));
            reconcile(&world, &said).await;
            agents_act(&world).await;
        }
        let ended = world.task(&bad["taskArn"]).await;
        assert_eq!(ended["stoppedReason"], "Task failed ELB health checks in (target-group arn:g)");
        assert_eq!(tasks(&world).await.len(), 1, "its successor is there without a pause");
    }
    assert!(!says(&service(&world).await, "unable to consistently start tasks"));
}

#[tokio::test]
async fn failed_health_checks_count_for_the_circuit_breaker() {
    let (world, said) = balanced(json!({})).await;
    let breaker = json!({"deploymentCircuitBreaker": {"enable": true, "rollback": true}});
    for task in tasks(&world).await {
        said.of(&task, TargetHealth::Healthy);
    }
    *said.otherwise.lock().unwrap() = Some(TargetHealth::Unhealthy("Health checks failed".to_owned()));
    world.family("web", 50, 64, json!({"portMappings": [{"containerPort": 80}]})).await;
    update(&world, json!({"taskDefinition": "web", "deploymentConfiguration": breaker})).await;
    for _ in 0..10 {
        world.clock.advance(Duration::from_secs(1));
        reconcile(&world, &said).await;
        agents_act(&world).await;
    }
    let done = newest(&world).await;
    assert_eq!(
        (&done["status"], &done["deploymentCircuitBreaker"]["status"]),
        (&json!("ROLLBACK_SUCCESSFUL"), &json!("TRIGGERED")),
        "{done}"
    );
    let left = tasks(&world).await;
    assert_eq!((of_revision(&left, &world, 2), left.len()), (2, 2));
}

#[tokio::test]
async fn an_alarm_rolls_a_deployment_back() {
    for rollback in [true, false] {
        let (world, said) = balanced(json!({})).await;
        let alarms = json!({"alarmNames": ["errors", "latency"], "enable": true, "rollback": rollback});
        world.family("web", 50, 64, json!({"portMappings": [{"containerPort": 80}]})).await;
        update(&world, json!({"taskDefinition": "web", "deploymentConfiguration": {"alarms": alarms}})).await;
        reconcile(&world, &said).await;
        let expected = json!({"status": "MONITORING", "alarmNames": ["errors", "latency"], "triggeredAlarmNames": []});
        assert_eq!(newest(&world).await["alarms"], expected);
        said.alarms.lock().unwrap().push("latency".to_owned());
        reconcile(&world, &said).await;
        agents_act(&world).await;
        reconcile(&world, &said).await;
        let done = newest(&world).await;
        let expected = if rollback { "ROLLBACK_SUCCESSFUL" } else { "STOPPED" };
        assert_eq!((&done["status"], &done["alarms"]["status"]), (&json!(expected), &json!("TRIGGERED")));
        assert_eq!(done["alarms"]["triggeredAlarmNames"], json!(["latency"]));
    }
}

#[tokio::test]
async fn a_deployment_that_an_alarm_stopped_replaces_nothing_more() {
    let (world, said) = balanced(json!({})).await;
    let alarms = json!({"alarmNames": ["errors"], "enable": true, "rollback": false});
    world.family("web", 50, 64, json!({"portMappings": [{"containerPort": 80}]})).await;
    *said.otherwise.lock().unwrap() = Some(TargetHealth::Healthy);
    update(&world, json!({"taskDefinition": "web", "deploymentConfiguration": {"alarms": alarms}})).await;
    reconcile(&world, &said).await;
    said.alarms.lock().unwrap().push("errors".to_owned());
    agents_act(&world).await;
    reconcile(&world, &said).await;
    said.alarms.lock().unwrap().clear();
    world.clock.advance(Duration::from_secs(600));
    reconcile(&world, &said).await;
    assert_eq!(newest(&world).await["status"], "STOPPED");
    let left = tasks(&world).await;
    assert_eq!((of_revision(&left, &world, 2), of_revision(&left, &world, 3)), (2, 2), "the old ones stay");
}

// spec: 05-048
#[tokio::test]
async fn a_standalone_task_goes_on_whatever_its_health() {
    let (world, _) = world(1).await;
    world.family("web", 1, 4, json!({"healthCheck": {"command": ["CMD", "true"]}})).await;
    create(&world, json!({"desiredCount": 1})).await;
    let said = Arc::new(Said::default());
    reconcile(&world, &said).await;
    let alone = world.run("web").await["taskArn"].clone();
    world.report(&alone, "RUNNING", None).await;
    agents_act(&world).await;
    assert_eq!(check_finds(&world, HealthStatus::Unhealthy, |_| true).await, 2);
    let served = tasks(&world).await[0]["taskArn"].clone();
    reconcile(&world, &said).await;
    assert_eq!(world.task(&alone).await["desiredStatus"], "RUNNING");
    assert_eq!(world.task(&served).await["stoppedReason"], "Task failed container health checks");
    assert_eq!(tasks(&world).await.len(), 1);
}

#[tokio::test]
async fn a_deployment_can_succeed_before_all_its_tasks_run() {
    for (cleanup, early) in [("DEFERRED", true), ("BLOCKING", false)] {
        let (world, said) =
            balanced(json!({"desiredCount": 4, "deploymentConfiguration": {"maximumPercent": 150}})).await;
        let criteria = json!({"enable": true, "healthyPercent": 50, "sourceServiceRevisionCleanup": cleanup});
        let configuration = json!({"minimumHealthyPercent": 50, "earlySuccessCriteria": criteria});
        world.family("web", 50, 64, json!({"portMappings": [{"containerPort": 80}]})).await;
        update(&world, json!({"taskDefinition": "web", "deploymentConfiguration": configuration})).await;
        reconcile(&world, &said).await;
        for task in tasks(&world).await.iter().filter(|task| task["lastStatus"] == "PENDING").take(2) {
            world.report(&task["taskArn"], "RUNNING", None).await;
        }
        // What is to stop takes its time.
        reconcile(&world, &said).await;
        let expected = if early { "SUCCESSFUL" } else { "IN_PROGRESS" };
        assert_eq!(newest(&world).await["status"], expected, "{cleanup}");
    }
}
