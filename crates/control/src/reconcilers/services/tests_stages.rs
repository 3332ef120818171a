use std::time::Duration;

use serde_json::{Value, json};

use super::tests::{agents_act, create, reconcile, service, tasks, update, world};
use crate::operations::testing::World;

async fn newest(world: &World) -> Value {
    let arn = service(world).await["currentServiceDeployment"].clone();
    let answer = world.ok("DescribeServiceDeployments", json!({"serviceDeploymentArns": [arn]})).await;
    answer["serviceDeployments"][0].clone()
}

/// A service whose first deployment has completed, with a second one under way.
async fn updating(configuration: Value) -> World {
    let (world, _) = world(2).await;
    create(&world, json!({})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    world.clock.advance(Duration::from_secs(41));
    reconcile(&world).await;
    world.family("web", 50, 64, json!({"image": "busybox:2"})).await;
    update(&world, json!({"taskDefinition": "web", "deploymentConfiguration": configuration})).await;
    reconcile(&world).await;
    world
}

/// Tasks of the first and of the second revision that are to run.
async fn counts(world: &World) -> (usize, usize) {
    let now = tasks(world).await;
    let of = |revision: u32| {
        now.iter().filter(|it| it["taskDefinitionArn"] == world.arn(&format!("task-definition/web:{revision}"))).count()
    };
    (of(1), of(2))
}

async fn settle(world: &World) {
    agents_act(world).await;
    world.clock.advance(Duration::from_secs(41));
    reconcile(world).await;
}

fn weights(deployment: &Value) -> (f64, f64) {
    let of = |revision: &Value| revision["requestedProductionTrafficWeight"].as_f64().unwrap();
    (of(&deployment["sourceServiceRevisions"][0]), of(&deployment["targetServiceRevision"]))
}

#[tokio::test]
async fn blue_and_green_run_side_by_side_until_the_bake_time_is_over() {
    let world = updating(json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 5})).await;
    assert_eq!((counts(&world).await, &newest(&world).await["lifecycleStage"]), ((2, 2), &json!("SCALE_UP")));
    settle(&world).await;
    let baking = newest(&world).await;
    assert_eq!((&baking["status"], &baking["lifecycleStage"]), (&json!("IN_PROGRESS"), &json!("BAKE_TIME")));
    assert_eq!((weights(&baking), counts(&world).await), ((0.0, 100.0), (2, 2)));
    world.clock.advance(Duration::from_secs(299));
    reconcile(&world).await;
    assert_eq!(counts(&world).await, (2, 2));
    world.clock.advance(Duration::from_secs(1));
    reconcile(&world).await;
    assert_eq!(counts(&world).await, (0, 2));
    agents_act(&world).await;
    reconcile(&world).await;
    assert_eq!(newest(&world).await["status"], "SUCCESSFUL");
    let done = service(&world).await;
    assert_eq!((done["deployments"].as_array().unwrap().len(), &done["runningCount"]), (1, &json!(2)));
}

#[tokio::test]
async fn a_blue_task_that_ends_is_replaced_while_green_is_tried() {
    let world = updating(json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 5})).await;
    settle(&world).await;
    let blue = tasks(&world).await.into_iter().find(|it| it["taskDefinitionArn"] == world.arn("task-definition/web:1"));
    world.report(&blue.unwrap()["taskArn"], "STOPPED", Some(1)).await;
    reconcile(&world).await;
    assert_eq!(counts(&world).await, (2, 2));
}

#[tokio::test]
async fn a_rollback_during_the_bake_time_keeps_the_blue_tasks_as_they_are() {
    let world = updating(json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 5})).await;
    let before: Vec<Value> = tasks(&world).await.into_iter().filter(|it| it["lastStatus"] == "RUNNING").collect();
    settle(&world).await;
    let arn = newest(&world).await["serviceDeploymentArn"].clone();
    world.ok("StopServiceDeployment", json!({"serviceDeploymentArn": arn})).await;
    reconcile(&world).await;
    agents_act(&world).await;
    reconcile(&world).await;
    let back = newest(&world).await;
    assert_eq!((&back["status"], weights(&back)), (&json!("ROLLBACK_SUCCESSFUL"), (100.0, 0.0)));
    assert_eq!(tasks(&world).await, before);
}

#[tokio::test]
async fn canary_watches_a_part_of_the_traffic_first() {
    let own = json!({"canaryPercent": 10.0, "canaryBakeTimeInMinutes": 2});
    let world = updating(json!({"strategy": "CANARY", "canaryConfiguration": own, "bakeTimeInMinutes": 1})).await;
    settle(&world).await;
    let first = newest(&world).await;
    assert_eq!((&first["lifecycleStage"], weights(&first)), (&json!("PRODUCTION_TRAFFIC_SHIFT"), (90.0, 10.0)));
    world.clock.advance(Duration::from_secs(120));
    reconcile(&world).await;
    let second = newest(&world).await;
    assert_eq!((&second["lifecycleStage"], weights(&second)), (&json!("BAKE_TIME"), (0.0, 100.0)));
}

#[tokio::test]
async fn a_pause_hook_waits_for_a_user_who_lets_it_continue() {
    let hook = json!({"targetType": "PAUSE", "lifecycleStages": ["PRE_SCALE_UP", "POST_SCALE_UP"]});
    let world = updating(json!({"strategy": "BLUE_GREEN", "lifecycleHooks": [hook]})).await;
    assert_eq!(counts(&world).await, (2, 0));
    for expected in [(2, 2), (0, 2)] {
        let paused = newest(&world).await;
        let details = paused["lifecycleHookDetails"].as_array().unwrap();
        let hook = details.last().unwrap();
        assert_eq!((&hook["status"], &hook["timeoutAction"]), (&json!("AWAITING_ACTION"), &json!("ROLLBACK")));
        let input = json!({"serviceDeploymentArn": paused["serviceDeploymentArn"], "hookId": hook["hookId"]});
        let answer = world.ok("ContinueServiceDeployment", input.clone()).await;
        assert_eq!(answer["serviceDeploymentArn"], paused["serviceDeploymentArn"]);
        assert_eq!(world.refused("ContinueServiceDeployment", input).await.0, "InvalidParameterException");
        reconcile(&world).await;
        settle(&world).await;
        assert_eq!(counts(&world).await, expected);
    }
}

#[tokio::test]
async fn a_pause_hook_rolls_back_when_the_user_says_so_or_nobody_says_anything() {
    for by_user in [true, false] {
        let timeout = json!({"timeoutInMinutes": 1});
        let hook = json!({"targetType": "PAUSE", "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"], "timeoutConfiguration": timeout});
        let world = updating(json!({"strategy": "BLUE_GREEN", "lifecycleHooks": [hook]})).await;
        settle(&world).await;
        let paused = newest(&world).await;
        assert_eq!(paused["lifecycleStage"], "POST_TEST_TRAFFIC_SHIFT");
        if by_user {
            let hook = &paused["lifecycleHookDetails"][0]["hookId"];
            let arn = &paused["serviceDeploymentArn"];
            let input = json!({"serviceDeploymentArn": arn, "hookId": hook, "action": "ROLLBACK"});
            world.ok("ContinueServiceDeployment", input).await;
        } else {
            world.clock.advance(Duration::from_secs(60));
        }
        reconcile(&world).await;
        agents_act(&world).await;
        reconcile(&world).await;
        let back = newest(&world).await;
        assert_eq!((&back["status"], counts(&world).await), (&json!("ROLLBACK_SUCCESSFUL"), (2, 0)), "{back}");
        let expected = if by_user { "FAILED" } else { "TIMED_OUT" };
        assert_eq!(back["lifecycleHookDetails"][0]["status"], expected);
    }
}

#[tokio::test]
async fn an_update_during_a_blue_green_deployment_returns_to_the_revision_that_worked_first() {
    let world = updating(json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 5})).await;
    settle(&world).await;
    update(&world, json!({"forceNewDeployment": true})).await;
    reconcile(&world).await;
    let next = newest(&world).await;
    assert_eq!(next["lifecycleStage"], "RECONCILE_SERVICE");
    assert_eq!(counts(&world).await, (2, 0));
    agents_act(&world).await;
    reconcile(&world).await;
    assert_eq!((counts(&world).await, &newest(&world).await["lifecycleStage"]), ((2, 2), &json!("SCALE_UP")));
}

#[tokio::test]
async fn a_restart_in_the_middle_changes_nothing() {
    let world = updating(json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 5})).await;
    settle(&world).await;
    let before = newest(&world).await;
    let world = world.restarted().await;
    reconcile(&world).await;
    assert_eq!(newest(&world).await["lifecycleStage"], before["lifecycleStage"]);
    world.clock.advance(Duration::from_secs(300));
    reconcile(&world).await;
    assert_eq!(counts(&world).await, (0, 2));
}

#[tokio::test]
async fn a_rolling_update_with_a_bake_time_is_watched_before_it_is_successful() {
    let world = updating(json!({"bakeTimeInMinutes": 1})).await;
    settle(&world).await;
    settle(&world).await;
    let baking = newest(&world).await;
    assert_eq!((&baking["status"], &baking["lifecycleStage"]), (&json!("IN_PROGRESS"), &json!("BAKE_TIME")));
    world.clock.advance(Duration::from_secs(60));
    reconcile(&world).await;
    assert_eq!(newest(&world).await["status"], "SUCCESSFUL");
}

#[tokio::test]
async fn an_update_keeps_what_it_does_not_name_as_long_as_the_strategy_stays() {
    let world = updating(json!({"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 20.0}})).await;
    update(&world, json!({"deploymentConfiguration": {"bakeTimeInMinutes": 3}})).await;
    let configuration = service(&world).await["deploymentConfiguration"].clone();
    assert_eq!(
        (&configuration["strategy"], &configuration["canaryConfiguration"]["canaryPercent"]),
        (&json!("CANARY"), &json!(20.0))
    );
    update(&world, json!({"deploymentConfiguration": {"strategy": "ROLLING"}})).await;
    let configuration = service(&world).await["deploymentConfiguration"].clone();
    assert!(configuration.get("canaryConfiguration").is_none(), "{configuration}");
    assert_eq!(configuration["bakeTimeInMinutes"], 3);
}

#[tokio::test]
async fn deployment_configurations_that_cannot_be_are_refused() {
    let (world, _) = world(1).await;
    let hook = |own: Value| {
        let mut hook = json!({"targetType": "PAUSE", "lifecycleStages": ["PRE_SCALE_UP"]});
        hook.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        json!({"strategy": "BLUE_GREEN", "lifecycleHooks": [hook]})
    };
    for configuration in [
        json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 1441}),
        json!({"strategy": "BLUE_GREEN", "canaryConfiguration": {"canaryPercent": 5.0}}),
        json!({"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 0.05}}),
        json!({"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 12.34}}),
        json!({"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 2.9}}),
        json!({"strategy": "LINEAR", "linearConfiguration": {"stepBakeTimeInMinutes": -1}}),
        json!({"lifecycleHooks": [{"targetType": "PAUSE", "lifecycleStages": ["PRE_SCALE_UP"]}]}),
        hook(json!({"lifecycleStages": []})),
        hook(json!({"lifecycleStages": ["TEST_TRAFFIC_SHIFT"]})),
        hook(json!({"hookTargetArn": "arn:aws:lambda:eu-west-1:123456789012:function:f"})),
        json!({"strategy": "BLUE_GREEN", "earlySuccessCriteria": {"enable": true, "healthyPercent": 100, "sourceServiceRevisionCleanup": "DEFERRED"}}),
        json!({"earlySuccessCriteria": {"enable": true}}),
        json!({"alarms": {"enable": true, "rollback": false, "alarmNames": []}}),
    ] {
        let input = json!({"serviceName": "no", "taskDefinition": "web", "desiredCount": 1, "deploymentConfiguration": configuration});
        let (code, message) = world.refused("CreateService", input.clone()).await;
        assert_eq!(code, "InvalidParameterException", "{input}: {message}");
    }
}
