//! Tasks that wait for capacity of their capacity provider.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::events::tests::{of_type, told};
use crate::operations::testing::World;
use crate::quotas::Quotas;
use crate::reconcilers::{Reconcilers, TaskDeadlines, TaskDeadlinesLimits, WaitingTasks, WaitingTasksLimits, run_once};

const OF_PROVIDER: &str = "ecs.longshore.capacity-provider";

impl World {
    /// A cluster whose default strategy is `burst`, a capacity provider with managed scaling, and a family `sleep`.
    async fn with_scaling() -> Self {
        let world = Self::with_default_cluster().await;
        world.provider("burst", "ENABLED").await;
        world.strategy(json!([{"capacityProvider": "burst", "weight": 1}])).await;
        world.family("sleep", 100, 20, json!({})).await;
        world
    }

    async fn provider(&self, name: &str, scaling: &str) {
        let group = json!({"autoScalingGroupArn": name, "managedScaling": {"status": scaling}});
        self.ok("CreateCapacityProvider", json!({"name": name, "autoScalingGroupProvider": group})).await;
    }

    async fn strategy(&self, strategy: Json) {
        let names: Vec<&Json> = strategy.as_array().unwrap().iter().map(|item| &item["capacityProvider"]).collect();
        let input =
            json!({"cluster": "default", "capacityProviders": names, "defaultCapacityProviderStrategy": strategy});
        self.ok("PutClusterCapacityProviders", input).await;
    }

    /// Runs tasks, none of which is a failure; answers their ARNs.
    async fn accepted(&self, input: Json) -> Vec<Json> {
        let answer = self.ok("RunTask", input).await;
        assert_eq!(answer["failures"], json!([]), "{answer}");
        answer["tasks"].as_array().unwrap().iter().map(|task| task["taskArn"].clone()).collect()
    }

    async fn machine(&self, provider: &str, cpu: i64, more: &[(&str, &str)]) -> Json {
        let mut own = vec![(OF_PROVIDER, provider)];
        own.extend(more);
        self.instance(cpu, 4000, &own).await
    }

    /// Lets the loop run.
    async fn placed(&self) {
        let waiting = WaitingTasks::new(self.engine().clone(), WaitingTasksLimits::default());
        run_once(&waiting).await.unwrap();
    }

    async fn status(&self, task: &Json) -> String {
        self.task(task).await["lastStatus"].as_str().unwrap().to_owned()
    }

    async fn statuses(&self, tasks: &[Json]) -> Vec<String> {
        let mut statuses = Vec::new();
        for task in tasks {
            statuses.push(self.status(task).await);
        }
        statuses
    }

    async fn stop(&self, task: &Json) {
        self.ok("StopTask", json!({"task": task})).await;
        self.report(task, "STOPPED", Some(0)).await;
    }
}

// spec: 03-075, 03-076
#[tokio::test]
async fn tasks_of_an_empty_scaled_provider_are_accepted_and_run_once_an_instance_registers() {
    let world = World::with_scaling().await;
    world.provider("plain", "ENABLED").await;
    world
        .strategy(json!([{"capacityProvider": "plain", "weight": 1}, {"capacityProvider": "burst", "weight": 1}]))
        .await;
    let answer = world.ok("RunTask", json!({"taskDefinition": "sleep", "count": 5})).await;
    assert_eq!(answer["failures"], json!([]));
    let tasks = answer["tasks"].as_array().unwrap();
    let of = |name: &str| tasks.iter().filter(|task| task["capacityProviderName"] == name).count();
    assert_eq!((tasks.len(), of("plain"), of("burst")), (5, 3, 2));
    for task in tasks {
        for (member, value) in [
            ("lastStatus", json!("PROVISIONING")),
            ("desiredStatus", json!("RUNNING")),
            ("clusterArn", json!(world.arn("cluster/default"))),
            ("taskDefinitionArn", json!(world.arn("task-definition/sleep:1"))),
            ("overrides", json!({"containerOverrides": [], "inferenceAcceleratorOverrides": []})),
            ("cpu", json!("100")),
            ("memory", json!("20")),
            ("containers", json!([])),
            ("version", json!(1)),
            ("group", json!("family:sleep")),
            ("launchType", json!("EC2")),
            ("attachments", json!([])),
            ("tags", json!([])),
            ("containerInstanceArn", Json::Null),
            ("connectivity", Json::Null),
        ] {
            assert_eq!(task[member], value, "{member}");
        }
        assert!(task["createdAt"].is_number());
        let (_, id) = task["taskArn"].as_str().unwrap().rsplit_once("task/default/").unwrap();
        assert_eq!(id.len(), 32);
    }
    world.placed().await;
    let described = world.task(&tasks[0]["taskArn"]).await;
    assert_eq!((&described["lastStatus"], &described["version"]), (&json!("PROVISIONING"), &json!(1)));
    let plain = world.machine("plain", 4000, &[]).await;
    world.placed().await;
    for task in tasks {
        let now = world.task(&task["taskArn"]).await;
        if task["capacityProviderName"] == "burst" {
            assert_eq!(now["lastStatus"], "PROVISIONING");
            continue;
        }
        assert_eq!((&now["lastStatus"], &now["containerInstanceArn"]), (&json!("PENDING"), &plain));
        assert_eq!((&now["version"], &now["connectivity"]), (&json!(2), &json!("CONNECTED")));
        assert_eq!(now["containers"][0]["name"], "main");
        world.report(&task["taskArn"], "RUNNING", None).await;
        assert_eq!(world.status(&task["taskArn"]).await, "RUNNING");
    }
    assert_eq!(world.described(&plain).await["remainingResources"][0]["integerValue"], 3700);
}

// spec: 03-076
#[tokio::test]
async fn without_managed_scaling_nothing_waits() {
    let world = World::with_scaling().await;
    world.provider("fixed", "DISABLED").await;
    world.strategy(json!([{"capacityProvider": "fixed", "weight": 1}])).await;
    let (code, message) = world.refused("RunTask", json!({"taskDefinition": "sleep"})).await;
    assert_eq!(code, "InvalidParameterException");
    assert_eq!(message, "No Container Instances were found in your capacity provider.");
    world.machine("fixed", 50, &[]).await;
    let answer = world.ok("RunTask", json!({"taskDefinition": "sleep"})).await;
    assert_eq!((&answer["tasks"], &answer["failures"][0]["reason"]), (&json!([]), &json!("RESOURCE:CPU")));
    let (code, _) = world.refused("RunTask", json!({"taskDefinition": "sleep", "launchType": "FARGATE"})).await;
    assert_eq!(code, "InvalidParameterException");
}

// spec: 03-076
#[tokio::test]
async fn what_does_not_fit_on_a_full_instance_waits_until_a_task_stops() {
    let world = World::with_scaling().await;
    world.machine("burst", 250, &[]).await;
    let tasks = world.accepted(json!({"taskDefinition": "sleep", "count": 4})).await;
    assert_eq!(world.statuses(&tasks).await, ["PENDING", "PENDING", "PROVISIONING", "PROVISIONING"]);
    let world = world.restarted().await;
    world.connect(&world.task(&tasks[0]).await["containerInstanceArn"], true).await;
    world.placed().await;
    assert_eq!(world.status(&tasks[2]).await, "PROVISIONING");
    world.stop(&tasks[0]).await;
    world.placed().await;
    assert_eq!(world.statuses(&tasks[1..]).await, ["PENDING", "PENDING", "PROVISIONING"]);
}

#[tokio::test]
async fn managed_instances_are_waited_for() {
    let world = World::with_default_cluster().await;
    let managed = json!({
        "infrastructureRoleArn": "arn:aws:iam::123456789012:role/ecsInfrastructureRole",
        "instanceLaunchTemplate": {
            "ec2InstanceProfileArn": "arn:aws:iam::123456789012:instance-profile/ecsInstanceRole",
            "networkConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"]},
        },
    });
    let input = json!({"name": "mine", "cluster": "default", "managedInstancesProvider": managed});
    world.ok("CreateCapacityProvider", input).await;
    let main = json!({"name": "main", "image": "busybox", "cpu": 100, "memory": 20});
    let input = json!({"family": "sleep", "networkMode": "host", "containerDefinitions": [main]});
    world.ok("RegisterTaskDefinition", input).await;
    let input = json!({"taskDefinition": "sleep", "capacityProviderStrategy": [{"capacityProvider": "mine"}]});
    let tasks = world.accepted(input).await;
    let task = world.task(&tasks[0]).await;
    assert_eq!((&task["lastStatus"], &task["launchType"]), (&json!("PROVISIONING"), &json!("MANAGED_INSTANCES")));
    world.machine("mine", 1000, &[]).await;
    world.placed().await;
    assert_eq!(world.status(&tasks[0]).await, "PENDING");
}

#[tokio::test]
async fn constraints_overrides_and_tags_of_the_call_hold_when_the_task_is_placed() {
    let world = World::with_scaling().await;
    let environment = json!([{"name": "A", "value": "b"}]);
    let tasks = world
        .accepted(json!({
            "taskDefinition": "sleep", "count": 2, "startedBy": "me", "tags": [{"key": "k", "value": "v"}],
            "placementConstraints": [
                {"type": "memberOf", "expression": "attribute:stack == prod"}, {"type": "distinctInstance"},
            ],
            "overrides": {"containerOverrides": [{"name": "main", "cpu": 300, "environment": environment}]},
        }))
        .await;
    world.machine("burst", 4000, &[]).await;
    world.machine("burst", 200, &[("stack", "prod")]).await;
    world.placed().await;
    assert_eq!(world.statuses(&tasks).await, ["PROVISIONING", "PROVISIONING"]);
    let fits = world.machine("burst", 4000, &[("stack", "prod")]).await;
    world.placed().await;
    assert_eq!(world.statuses(&tasks).await, ["PENDING", "PROVISIONING"]);
    let task = world.task(&tasks[0]).await;
    assert_eq!((&task["containerInstanceArn"], &task["startedBy"]), (&fits, &json!("me")));
    assert_eq!(task["tags"], json!([{"key": "k", "value": "v"}]));
    let given = &task["overrides"]["containerOverrides"][0];
    assert_eq!((&given["cpu"], &given["environment"]), (&json!(300), &environment));
    assert_eq!(world.described(&fits).await["remainingResources"][0]["integerValue"], 3700);
    world.machine("burst", 4000, &[("stack", "prod")]).await;
    world.placed().await;
    assert_eq!(world.status(&tasks[1]).await, "PENDING");
}

#[tokio::test]
async fn the_network_interface_of_a_waiting_task_is_made_when_it_is_placed() {
    let world = World::with_scaling().await;
    let main = json!({"name": "main", "image": "busybox", "memory": 10});
    let input = json!({"family": "own", "networkMode": "awsvpc", "containerDefinitions": [main]});
    world.ok("RegisterTaskDefinition", input).await;
    let network = json!({"awsvpcConfiguration": {"subnets": ["subnet-1"]}});
    let tasks = world.accepted(json!({"taskDefinition": "own", "networkConfiguration": network})).await;
    world.clock.advance(Duration::from_secs(25 * 60));
    world.machine("burst", 4000, &[("ecs.capability.task-eni", "")]).await;
    world.placed().await;
    let task = world.task(&tasks[0]).await;
    assert_eq!(
        (&task["lastStatus"], &task["attachments"][0]["status"]),
        (&json!("PROVISIONING"), &json!("PRECREATED"))
    );
    // The time that its interface may take begins now.
    world.deadlines().await;
    assert_eq!(world.status(&tasks[0]).await, "PROVISIONING");
}

impl World {
    async fn deadlines(&self) {
        let (engine, gateway) = (self.engine().clone(), self.service.gateway.clone());
        run_once(&TaskDeadlines::new(engine, gateway, TaskDeadlinesLimits::default())).await.unwrap();
    }
}

#[tokio::test]
async fn tasks_are_placed_in_the_order_in_which_they_were_accepted() {
    let world = World::with_scaling().await;
    let mut tasks = Vec::new();
    for group in ["a", "b", "a", "b", "a"] {
        tasks.extend(world.accepted(json!({"taskDefinition": "sleep", "group": group})).await);
    }
    world.machine("burst", 300, &[]).await;
    world.placed().await;
    assert_eq!(world.statuses(&tasks).await, ["PENDING", "PENDING", "PENDING", "PROVISIONING", "PROVISIONING"]);
}

#[tokio::test]
async fn a_large_task_lets_small_ones_pass_for_a_while_and_then_holds_them_up_for_a_while() {
    let world = World::with_scaling().await;
    world.family("large", 300, 20, json!({})).await;
    world.machine("burst", 350, &[]).await;
    let first = world.accepted(json!({"taskDefinition": "sleep", "count": 2})).await;
    let large = world.accepted(json!({"taskDefinition": "large"})).await.remove(0);
    let passing = world.accepted(json!({"taskDefinition": "sleep"})).await.remove(0);
    assert_eq!(world.status(&passing).await, "PENDING");
    world.clock.advance(Duration::from_secs(301));
    let held = world.accepted(json!({"taskDefinition": "sleep"})).await.remove(0);
    world.stop(&first[0]).await;
    world.placed().await;
    assert_eq!(world.statuses(&[large.clone(), held.clone()]).await, ["PROVISIONING", "PROVISIONING"]);
    world.clock.advance(Duration::from_secs(300));
    world.placed().await;
    assert_eq!(world.statuses(&[large.clone(), held.clone()]).await, ["PROVISIONING", "PENDING"]);
    for task in [&first[1], &passing, &held] {
        world.stop(task).await;
    }
    world.placed().await;
    assert_eq!(world.status(&large).await, "PENDING");
}

#[tokio::test]
async fn a_task_that_no_instance_could_ever_take_holds_nobody_up() {
    let world = World::with_scaling().await;
    world.family("huge", 9000, 20, json!({})).await;
    world.machine("burst", 350, &[]).await;
    world.accepted(json!({"taskDefinition": "huge"})).await;
    world.clock.advance(Duration::from_secs(301));
    let small = world.accepted(json!({"taskDefinition": "sleep"})).await;
    assert_eq!(world.status(&small[0]).await, "PENDING");
}

#[tokio::test]
async fn a_waiting_task_is_stopped_at_once() {
    let world = World::with_scaling().await;
    let task = world.accepted(json!({"taskDefinition": "sleep"})).await.remove(0);
    let stopped = world.ok("StopTask", json!({"task": task, "reason": "enough"})).await["task"].clone();
    assert_eq!((&stopped["lastStatus"], &stopped["desiredStatus"]), (&json!("STOPPED"), &json!("STOPPED")));
    assert_eq!((&stopped["stopCode"], &stopped["stoppedReason"]), (&json!("UserInitiated"), &json!("enough")));
    world.machine("burst", 4000, &[]).await;
    world.placed().await;
    assert_eq!(world.status(&task).await, "STOPPED");
    let world = world.restarted().await;
    assert_eq!(world.status(&task).await, "STOPPED");
    world.engine().peek(|state| {
        let cluster = state.scope(&world.scope()).active_cluster("default").unwrap();
        assert_eq!(cluster.index.waiting_count(), 0);
    });
}

#[tokio::test]
async fn a_waiting_task_is_listed_and_counted_and_keeps_cluster_and_provider() {
    let world = World::with_scaling().await;
    let task = world.accepted(json!({"taskDefinition": "sleep", "startedBy": "me"})).await.remove(0);
    for filter in
        [json!({}), json!({"family": "sleep"}), json!({"startedBy": "me"}), json!({"desiredStatus": "RUNNING"})]
    {
        assert_eq!(world.ok("ListTasks", filter.clone()).await["taskArns"], json!([task]), "{filter}");
    }
    let counted = world.ok("DescribeClusters", json!({"clusters": ["default"]})).await["clusters"][0].clone();
    assert_eq!((&counted["pendingTasksCount"], &counted["runningTasksCount"]), (&json!(1), &json!(0)));
    let (code, _) = world.refused("DeleteCluster", json!({"cluster": "default"})).await;
    assert_eq!(code, "ClusterContainsTasksException");
    let none = json!({"cluster": "default", "capacityProviders": [], "defaultCapacityProviderStrategy": []});
    let (code, message) = world.refused("PutClusterCapacityProviders", none.clone()).await;
    assert_eq!(code, "ResourceInUseException", "{message}");
    world.ok("StopTask", json!({"task": task})).await;
    world.ok("PutClusterCapacityProviders", none).await;
    world.ok("DeleteCluster", json!({"cluster": "default"})).await;
}

#[tokio::test]
async fn a_call_that_is_repeated_with_its_client_token_waits_once() {
    let world = World::with_scaling().await;
    let input = json!({"taskDefinition": "sleep", "count": 2, "clientToken": "once"});
    let first = world.accepted(input.clone()).await;
    assert_eq!(world.accepted(input.clone()).await, first);
    world.machine("burst", 4000, &[]).await;
    world.placed().await;
    assert_eq!(world.accepted(input).await, first);
    assert_eq!(world.ok("ListTasks", json!({})).await["taskArns"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_task_that_has_waited_too_long_stops_and_says_what_was_lacking() {
    let world = World::with_scaling().await;
    world.provider("full", "ENABLED").await;
    world.strategy(json!([{"capacityProvider": "burst", "weight": 1}, {"capacityProvider": "full"}])).await;
    world.machine("full", 50, &[]).await;
    let empty = world.accepted(json!({"taskDefinition": "sleep"})).await.remove(0);
    let input = json!({"taskDefinition": "sleep", "capacityProviderStrategy": [{"capacityProvider": "full"}]});
    let full = world.accepted(input).await.remove(0);
    world.clock.advance(Duration::from_secs(30 * 60));
    world.deadlines().await;
    assert_eq!(world.status(&empty).await, "PROVISIONING");
    world.clock.advance(Duration::from_secs(1));
    world.deadlines().await;
    for (task, reason) in [
        (
            empty,
            "EMPTY CAPACITY PROVIDER: the capacity provider burst had no capacity for the task within 1800 seconds",
        ),
        (full, "RESOURCE:CPU: the capacity provider full had no capacity for the task within 1800 seconds"),
    ] {
        let task = world.task(&task).await;
        assert_eq!((&task["lastStatus"], &task["stopCode"]), (&json!("STOPPED"), &json!("TaskFailedToStart")));
        assert_eq!(task["stoppedReason"], reason);
    }
}

#[tokio::test]
async fn beyond_the_quota_of_waiting_tasks_a_task_is_a_failure() {
    let world = World::with_scaling().await;
    let world = world.with_quotas(Quotas { provisioning_tasks_per_cluster: 3, ..Quotas::default() });
    world.accepted(json!({"taskDefinition": "sleep", "count": 2})).await;
    let answer = world.ok("RunTask", json!({"taskDefinition": "sleep", "count": 3})).await;
    let reason = "You've reached the limit on the number of tasks that can wait for capacity in a cluster";
    assert_eq!(answer["tasks"].as_array().unwrap().len(), 1);
    assert_eq!(answer["failures"], json!([{"reason": reason}, {"reason": reason}]));
}

#[tokio::test]
async fn more_tasks_than_a_transaction_holds_are_placed_step_by_step() {
    let world = World::with_scaling().await;
    for _ in 0..25 {
        world.accepted(json!({"taskDefinition": "sleep", "count": 10})).await;
    }
    world.machine("burst", 24_000, &[]).await;
    world.change(|_| {}).await;
    world.placed().await;
    let left = world
        .engine()
        .peek(|state| state.scope(&world.scope()).active_cluster("default").unwrap().index.waiting_count());
    // Its memory is enough for 200 tasks.
    assert_eq!(left, 50);
}

#[tokio::test]
async fn nobody_reports_of_a_task_that_waits() {
    let world = World::with_scaling().await;
    let task = world.accepted(json!({"taskDefinition": "sleep"})).await.remove(0);
    for status in ["RUNNING", "STOPPED"] {
        world.report(&task, status, None).await;
        assert_eq!(world.status(&task).await, "PROVISIONING");
    }
}

#[tokio::test]
async fn a_task_like_one_that_waits_comes_after_it() {
    let world = World::with_scaling().await;
    world.machine("burst", 250, &[]).await;
    let tasks = world.accepted(json!({"taskDefinition": "sleep", "count": 3})).await;
    world.stop(&tasks[0]).await;
    let last = world.accepted(json!({"taskDefinition": "sleep"})).await.remove(0);
    assert_eq!(world.status(&last).await, "PROVISIONING");
    world.placed().await;
    assert_eq!(world.statuses(&[tasks[2].clone(), last]).await, ["PENDING", "PROVISIONING"]);
}

#[tokio::test]
async fn the_way_of_a_waiting_task_is_told() {
    let world = World::with_scaling().await;
    let task = world.accepted(json!({"taskDefinition": "sleep"})).await.remove(0);
    let instance = world.machine("burst", 1000, &[]).await;
    world.placed().await;
    world.report(&task, "RUNNING", None).await;
    let events = told(&world).await;
    let of_task = of_type(&events, "ECS Task State Change");
    let seen: Vec<_> = of_task.iter().map(|it| (&it["detail"]["lastStatus"], &it["detail"]["version"])).collect();
    let (provisioning, pending, running) = (json!("PROVISIONING"), json!("PENDING"), json!("RUNNING"));
    assert_eq!(seen, [(&provisioning, &json!(1)), (&pending, &json!(2)), (&running, &json!(3))]);
    assert_eq!(of_task[0]["detail"].get("containerInstanceArn"), None);
    assert_eq!(of_task[1]["detail"]["containerInstanceArn"], instance);
    let of_instance = of_type(&events, "ECS Container Instance State Change");
    let left = of_instance.last().unwrap()["detail"]["remainingResources"].as_array().unwrap();
    assert_eq!(left.iter().find(|it| it["name"] == "CPU").unwrap()["integerValue"], 900);
}

#[tokio::test]
async fn explain_says_what_a_task_waits_for_and_plan_that_it_would_wait() {
    let world = World::with_scaling().await;
    let first = world.accepted(json!({"taskDefinition": "sleep"})).await.remove(0);
    let explained = world.explained(&first).await;
    assert_eq!(explained.status.as_deref(), Some("PROVISIONING"));
    assert_eq!(
        explained.summary.as_deref(),
        Some(
            "The task is PROVISIONING: for 0 s it has been waiting for capacity of the capacity provider burst. It has no container instance."
        )
    );
    assert!(explained.smallest_change.unwrap().contains("longshore agent --capacity-provider burst"));
    let instance = world.machine("burst", 50, &[]).await;
    let second = world.accepted(json!({"taskDefinition": "sleep"})).await.remove(0);
    let explained = world.explained(&second).await;
    let summary = explained.summary.unwrap();
    assert!(summary.contains("None of its container instances (1) takes the task now."), "{summary}");
    assert!(summary.ends_with("Tasks that were accepted earlier and wait for it, too: 1."), "{summary}");
    let refusal = &explained.refusals.unwrap()[0];
    assert_eq!(refusal.container_instance_arn.as_deref(), instance.as_str());
    assert_eq!(refusal.reasons.as_ref().unwrap()[0].reason.as_deref(), Some("RESOURCE:CPU"));
    let plan = world.plan(json!({"taskDefinition": "sleep", "count": 2})).await;
    assert_eq!(
        plan.summary.as_deref(),
        Some("0 of 2 tasks would be placed. 2 would wait, PROVISIONING, for capacity of the capacity provider burst.")
    );
    assert_eq!(world.ok("ListTasks", json!({})).await["taskArns"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_loop_is_woken_when_an_instance_comes_and_when_a_task_stops() {
    let world = World::with_scaling().await;
    let loops = Reconcilers::new(world.engine().seams().clone());
    let waiting = WaitingTasks::new(world.engine().clone(), WaitingTasksLimits::default());
    world.engine().observe(Arc::new(waiting.waker(loops.clone())));
    loops.start(Arc::new(waiting));
    let tasks = world.accepted(json!({"taskDefinition": "sleep", "count": 2})).await;
    // Nobody moves the clock: what happens now happens because somebody said so.
    world.machine("burst", 150, &[]).await;
    world.until(&tasks[0], "PENDING").await;
    world.stop(&tasks[0]).await;
    world.until(&tasks[1], "PENDING").await;
}

impl World {
    async fn until(&self, task: &Json, status: &str) {
        for _ in 0..10_000 {
            if self.status(task).await == status {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("{task} does not become {status}");
    }
}
