use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_seams::BoxFuture;
use serde_json::{Value, json};

use super::tests::{agents_act, create, says, service, tasks, update, world};
use super::{ServiceScheduler, ServiceSchedulerLimits};
use crate::operations::testing::{World, detail};
use crate::reconcilers::{HookFunctions, InvocationError, LifecycleHooks, NoFunctions, Reconcilers, run_once};

const FUNCTION: &str = "arn:aws:lambda:eu-west-1:123456789012:function:check";
const ROLE: &str = "arn:aws:iam::123456789012:role/ecs-hooks";

/// Functions that return what the test says, one after the other; the last answer is for good.
#[derive(Debug, Default)]
struct Fake {
    /// None: it never returns.
    answers: Mutex<VecDeque<Option<Result<Value, InvocationError>>>>,
    told: Mutex<Vec<(String, Value)>>,
}

impl Fake {
    fn answering(answers: impl IntoIterator<Item = Value>) -> Arc<Self> {
        let answers = answers.into_iter().map(|it| Some(Ok(it))).collect();
        Arc::new(Self { answers: Mutex::new(answers), told: Mutex::default() })
    }

    fn statuses(answers: &[&str]) -> Arc<Self> {
        Self::answering(answers.iter().map(|it| json!({"hookStatus": it})))
    }

    fn failing(errors: impl IntoIterator<Item = Option<InvocationError>>) -> Arc<Self> {
        let answers = errors.into_iter().map(|it| it.map(Err)).collect();
        Arc::new(Self { answers: Mutex::new(answers), told: Mutex::default() })
    }

    fn told(&self) -> Vec<Value> {
        self.told.lock().unwrap().iter().map(|it| it.1.clone()).collect()
    }
}

impl HookFunctions for Fake {
    fn are_there(&self) -> bool {
        true
    }

    fn invoke<'a>(&'a self, function: &'a str, event: Vec<u8>) -> BoxFuture<'a, Result<Vec<u8>, InvocationError>> {
        self.told.lock().unwrap().push((function.to_owned(), serde_json::from_slice(&event).unwrap()));
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        match answer.flatten() {
            Some(answer) => Box::pin(std::future::ready(answer.map(|it| it.to_string().into_bytes()))),
            None => Box::pin(std::future::pending()),
        }
    }
}

/// The two loops of one control plane.
struct Loops {
    scheduler: ServiceScheduler,
    hooks: LifecycleHooks,
}

impl Loops {
    fn of(world: &World, functions: Arc<dyn HookFunctions>) -> Self {
        let limits = ServiceSchedulerLimits { prove: Duration::ZERO, ..ServiceSchedulerLimits::default() };
        let scheduler = ServiceScheduler::new(world.engine().clone(), limits).with_functions(functions.are_there());
        let hooks = LifecycleHooks::new(world.engine().clone(), functions);
        let reconcilers = Reconcilers::new(world.engine().seams().clone());
        world.engine().observe(Arc::new(scheduler.waker(reconcilers.clone())));
        world.engine().observe(Arc::new(hooks.waker(reconcilers)));
        Self { scheduler, hooks }
    }

    /// Begins what is due.
    async fn begin(&self) {
        run_once(&self.scheduler).await.unwrap();
        run_once(&self.hooks).await.unwrap();
    }

    /// Goes on until everything waits for tasks or for time.
    async fn go(&self) {
        for _ in 0..8 {
            self.begin().await;
            while !self.hooks.is_idle() {
                tokio::task::yield_now().await;
            }
        }
        run_once(&self.scheduler).await.unwrap();
    }

    /// The tasks do what they are to, and count as healthy.
    async fn settle(&self, world: &World) {
        agents_act(world).await;
        world.clock.advance(Duration::from_secs(41));
        self.go().await;
    }
}

fn hook(stages: &[&str], own: Value) -> Value {
    let mut hook = json!({"hookTargetArn": FUNCTION, "roleArn": ROLE, "lifecycleStages": stages});
    hook.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    hook
}

/// A service whose first deployment has completed, and that has just been updated to one with these hooks.
async fn updating(functions: Arc<dyn HookFunctions>, hooks: Value) -> (World, Loops) {
    let (world, _) = world(2).await;
    let loops = Loops::of(&world, functions);
    create(&world, json!({})).await;
    loops.go().await;
    loops.settle(&world).await;
    world.family("web", 50, 64, json!({"image": "busybox:2"})).await;
    let configuration = json!({"strategy": "BLUE_GREEN", "lifecycleHooks": hooks});
    update(&world, json!({"taskDefinition": "web", "deploymentConfiguration": configuration})).await;
    (world, loops)
}

async fn newest(world: &World) -> Value {
    let arn = service(world).await["currentServiceDeployment"].clone();
    let answer = world.ok("DescribeServiceDeployments", json!({"serviceDeploymentArns": [arn]})).await;
    answer["serviceDeployments"][0].clone()
}

/// Tasks of the first and of the second revision that are to run.
async fn counts(world: &World) -> (usize, usize) {
    let now = tasks(world).await;
    let of = |revision: u32| {
        now.iter().filter(|it| it["taskDefinitionArn"] == world.arn(&format!("task-definition/web:{revision}"))).count()
    };
    (of(1), of(2))
}

#[tokio::test]
async fn a_function_is_told_of_its_stage_and_lets_the_deployment_go_on() {
    let functions = Fake::statuses(&["SUCCEEDED"]);
    let stages = ["PRE_SCALE_UP", "TEST_TRAFFIC_SHIFT", "PRE_PRODUCTION_TRAFFIC_SHIFT", "PRODUCTION_TRAFFIC_SHIFT"];
    let hooks = json!([hook(&stages, json!({"hookDetails": {"bucket": "b"}}))]);
    let (world, loops) = updating(functions.clone(), hooks).await;
    loops.go().await;
    assert_eq!((counts(&world).await, functions.told().len()), ((2, 2), 1));
    loops.settle(&world).await;
    let told = functions.told();
    let deployment = newest(&world).await;
    let (blue, green) = (&deployment["sourceServiceRevisions"][0]["arn"], &deployment["targetServiceRevision"]["arn"]);
    let shares = |test: Value, production: Value| {
        json!({
            "serviceArn": deployment["serviceArn"], "targetServiceRevisionArn": green,
            "testTrafficWeights": test, "productionTrafficWeights": production,
        })
    };
    let of = |new: i32| json!({green.as_str().unwrap(): new, blue.as_str().unwrap(): 100 - new});
    let expected = [
        shares(json!({}), json!({})),
        shares(of(100), json!({})),
        shares(json!({}), of(0)),
        shares(json!({}), of(100)),
    ];
    let details = deployment["lifecycleHookDetails"].as_array().unwrap();
    assert_eq!((told.len(), details.len()), (4, 4));
    for (at, event) in told.iter().enumerate() {
        let hook = &details[at];
        assert_eq!(
            (&event["lifecycleStage"], &event["executionDetails"], &event["hookDetails"]),
            (&json!(stages[at]), &expected[at], &json!({"bucket": "b"}))
        );
        assert_eq!(
            (&event["executionId"], &event["resourceArn"]),
            (&hook["hookId"], &deployment["serviceDeploymentArn"])
        );
        assert_eq!(
            (&hook["targetType"], &hook["targetArn"], &hook["status"]),
            (&json!("AWS_LAMBDA"), &json!(FUNCTION), &json!("SUCCEEDED"))
        );
    }
    assert_eq!(functions.told.lock().unwrap()[0].0, FUNCTION);
    agents_act(&world).await;
    loops.go().await;
    assert_eq!((&newest(&world).await["status"], counts(&world).await), (&json!("SUCCESSFUL"), (0, 2)));
}

#[tokio::test]
async fn a_function_that_fails_rolls_the_deployment_back() {
    let (world, loops) = updating(Fake::statuses(&["FAILED"]), json!([hook(&["POST_SCALE_UP"], json!({}))])).await;
    loops.go().await;
    assert_eq!(counts(&world).await, (2, 2));
    loops.settle(&world).await;
    assert_eq!(counts(&world).await, (2, 0));
    agents_act(&world).await;
    loops.go().await;
    let back = newest(&world).await;
    assert_eq!(
        (&back["status"], &back["lifecycleHookDetails"][0]["status"]),
        (&json!("ROLLBACK_SUCCESSFUL"), &json!("FAILED"))
    );
    let reason = back["rollback"]["reason"].as_str().unwrap();
    assert!(reason.contains(FUNCTION) && reason.contains("POST_SCALE_UP"), "{reason}");
    assert!(says(&service(&world).await, "deployment failed: Lifecycle hook"));
}

#[tokio::test]
async fn the_first_deployment_of_a_service_has_nothing_to_go_back_to_when_its_function_fails() {
    let (world, _) = world(2).await;
    let loops = Loops::of(&world, Fake::statuses(&["FAILED"]));
    let hooks = [hook(&["PRE_SCALE_UP"], json!({}))];
    create(&world, json!({"deploymentConfiguration": {"strategy": "BLUE_GREEN", "lifecycleHooks": hooks}})).await;
    loops.go().await;
    assert_eq!(newest(&world).await["status"], "ROLLBACK_FAILED");
    assert_eq!(
        (tasks(&world).await.len(), &service(&world).await["deployments"][0]["rolloutState"]),
        (0, &json!("FAILED"))
    );
}

#[tokio::test]
async fn a_function_in_progress_is_asked_again_after_its_delay_with_what_it_said() {
    let functions = Fake::answering([
        json!({"hookStatus": "IN_PROGRESS"}),
        json!({"hookStatus": "IN_PROGRESS", "callBackDelay": 60, "hookDetails": {"tries": 1}}),
        json!({"hookStatus": "SUCCEEDED"}),
    ]);
    let (world, loops) = updating(functions.clone(), json!([hook(&["PRE_SCALE_UP"], json!({}))])).await;
    loops.go().await;
    for (wait, told) in [(29, 1), (1, 2), (59, 2), (1, 3)] {
        assert_eq!(counts(&world).await, (2, 0));
        world.clock.advance(Duration::from_secs(wait));
        loops.go().await;
        assert_eq!(functions.told().len(), told);
    }
    assert_eq!(counts(&world).await, (2, 2));
    let told = functions.told();
    assert!(told.iter().all(|event| event["executionId"] == told[0]["executionId"]));
    assert_eq!((told[1].get("hookDetails"), &told[2]["hookDetails"]), (None, &json!({"tries": 1})));
}

#[tokio::test]
async fn a_server_that_dies_during_an_invocation_makes_it_again_under_the_same_execution_id() {
    let silent = Fake::failing([None]);
    let (world, loops) = updating(silent.clone(), json!([hook(&["PRE_SCALE_UP"], json!({}))])).await;
    for _ in 0..3 {
        loops.begin().await;
    }
    while silent.told().is_empty() {
        tokio::task::yield_now().await;
    }
    let world = world.crashed().await;
    let functions = Fake::statuses(&["SUCCEEDED"]);
    Loops::of(&world, functions.clone()).go().await;
    assert_eq!(functions.told(), silent.told());
    assert_eq!(newest(&world).await["lifecycleHookDetails"][0]["status"], "SUCCEEDED");
}

#[tokio::test]
async fn without_a_lambda_endpoint_the_service_says_so_at_once_and_the_hook_fails() {
    let (world, loops) = updating(Arc::new(NoFunctions), json!([hook(&["POST_SCALE_UP"], json!({}))])).await;
    loops.begin().await;
    let warning = format!("has a lifecycle hook that cannot invoke {FUNCTION}: this server knows no Lambda endpoint.");
    assert!(says(&service(&world).await, &warning));
    loops.go().await;
    loops.settle(&world).await;
    agents_act(&world).await;
    loops.go().await;
    let back = newest(&world).await;
    assert_eq!((&back["status"], counts(&world).await), (&json!("ROLLBACK_SUCCESSFUL"), (2, 0)));
    let reason = back["rollback"]["reason"].as_str().unwrap();
    assert!(
        reason.contains(FUNCTION) && reason.contains("POST_SCALE_UP") && reason.contains("--lambda-endpoint"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_function_that_is_away_for_a_moment_is_tried_again() {
    let gone = || Some(Err(InvocationError::Unreachable("connection refused".to_owned())));
    let functions = Fake {
        answers: Mutex::new([gone(), gone(), Some(Ok(json!({"hookStatus": "SUCCEEDED"})))].into()),
        told: Mutex::default(),
    };
    let functions = Arc::new(functions);
    let (world, loops) = updating(functions.clone(), json!([hook(&["PRE_SCALE_UP"], json!({}))])).await;
    for told in 1..=3 {
        loops.go().await;
        assert_eq!(functions.told().len(), told);
        world.clock.advance(Duration::from_secs(5));
    }
    assert_eq!(counts(&world).await, (2, 2));
}

#[tokio::test]
async fn a_function_that_does_not_return_fails_the_hook_when_lambda_would_have_ended_it() {
    let functions = Fake::failing([None]);
    let (world, loops) = updating(functions.clone(), json!([hook(&["PRE_SCALE_UP"], json!({}))])).await;
    for _ in 0..3 {
        loops.begin().await;
    }
    while functions.told().is_empty() {
        tokio::task::yield_now().await;
    }
    world.clock.advance(Duration::from_secs(900));
    loops.go().await;
    let back = newest(&world).await;
    let reason = back["rollback"]["reason"].as_str().unwrap();
    assert!(reason.contains("it did not return within 900 seconds"), "{reason}");
}

#[tokio::test]
async fn a_stage_is_over_when_its_function_and_a_user_have_both_said_yes() {
    let pause = json!({"targetType": "PAUSE", "lifecycleStages": ["PRE_SCALE_UP"]});
    let hooks = json!([pause, hook(&["PRE_SCALE_UP"], json!({}))]);
    let functions = Fake::answering([
        json!({"hookStatus": "IN_PROGRESS", "callBackDelay": 10}),
        json!({"hookStatus": "SUCCEEDED"}),
    ]);
    let (world, loops) = updating(functions, hooks).await;
    loops.go().await;
    let waiting = newest(&world).await;
    let statuses: Vec<_> = waiting["lifecycleHookDetails"].as_array().unwrap().iter().map(|it| &it["status"]).collect();
    assert_eq!(statuses, ["AWAITING_ACTION", "IN_PROGRESS"]);
    world.clock.advance(Duration::from_secs(10));
    loops.go().await;
    assert_eq!(counts(&world).await, (2, 0));
    let continued = |at: usize| json!({"serviceDeploymentArn": waiting["serviceDeploymentArn"], "hookId": waiting["lifecycleHookDetails"][at]["hookId"]});
    assert_eq!(world.refused("ContinueServiceDeployment", continued(1)).await.0, "InvalidParameterException");
    world.ok("ContinueServiceDeployment", continued(0)).await;
    loops.go().await;
    assert_eq!(counts(&world).await, (2, 2));
}

#[tokio::test]
async fn a_rollback_after_the_shift_is_told_to_the_function_and_waits_for_it() {
    let functions = Fake::answering([
        json!({"hookStatus": "SUCCEEDED"}),
        json!({"hookStatus": "FAILED"}),
        json!({"hookStatus": "IN_PROGRESS", "callBackDelay": 20}),
        json!({"hookStatus": "SUCCEEDED"}),
    ]);
    let stages = ["PRODUCTION_TRAFFIC_SHIFT", "POST_PRODUCTION_TRAFFIC_SHIFT"];
    let (world, loops) = updating(functions.clone(), json!([hook(&stages, json!({}))])).await;
    loops.go().await;
    loops.settle(&world).await;
    agents_act(&world).await;
    loops.go().await;
    let back = newest(&world).await;
    assert_eq!((&back["status"], counts(&world).await), (&json!("ROLLBACK_IN_PROGRESS"), (2, 0)));
    let told = functions.told().pop().unwrap();
    assert_eq!(told["lifecycleStage"], "PRODUCTION_TRAFFIC_SHIFT");
    let target = &told["executionDetails"]["targetServiceRevisionArn"];
    assert_eq!(told["executionDetails"]["productionTrafficWeights"][target.as_str().unwrap()], 0);
    assert_eq!(*target, back["targetServiceRevision"]["arn"]);
    world.clock.advance(Duration::from_secs(20));
    loops.go().await;
    assert_eq!(newest(&world).await["status"], "ROLLBACK_SUCCESSFUL");
}

#[tokio::test]
async fn each_status_of_a_hook_is_told_as_an_event() {
    let pause = json!({"targetType": "PAUSE", "lifecycleStages": ["PRE_SCALE_UP"]});
    let hooks = json!([pause, hook(&["PRE_SCALE_UP"], json!({}))]);
    let (world, loops) = updating(Fake::statuses(&["FAILED"]), hooks).await;
    loops.go().await;
    let deployment = newest(&world).await;
    let told: Vec<Value> = world.engine().peek(|state| {
        let events = state.outbox.values().flat_map(|record| &record.events);
        let hooks = events.filter(|event| event.detail_type == "ECS Hook State Change");
        hooks
            .inspect(|event| assert_eq!(json!(event.resources), json!([deployment["serviceDeploymentArn"]])))
            .map(detail)
            .collect()
    });
    let names: Vec<_> =
        told.iter().map(|it| (it["hookType"].as_str().unwrap(), it["eventName"].as_str().unwrap())).collect();
    assert_eq!(
        names,
        [("PAUSE", "HOOK_AWAITING_ACTION"), ("AWS_LAMBDA", "HOOK_IN_PROGRESS"), ("AWS_LAMBDA", "HOOK_FAILED")]
    );
    for (event, at) in told.iter().zip([0, 1, 1]) {
        assert_eq!(event["hookId"], deployment["lifecycleHookDetails"][at]["hookId"]);
        assert_eq!(
            (&event["lifecycleStage"], &event["serviceArn"]),
            (&json!("PRE_SCALE_UP"), &deployment["serviceArn"])
        );
    }
    assert_eq!((&told[1]["eventType"], &told[2]["eventType"]), (&json!("INFO"), &json!("ERROR")));
}

#[tokio::test]
async fn hooks_with_functions_are_shown_as_they_were_given_and_checked() {
    let timeout = json!({"timeoutInMinutes": 1440, "action": "CONTINUE"});
    let given = json!([hook(
        &["POST_SCALE_UP"],
        json!({"targetType": "AWS_LAMBDA", "hookDetails": {"a": [1, "b"]}, "timeoutConfiguration": timeout})
    )]);
    let (world, _) = world(1).await;
    let configuration = json!({"strategy": "BLUE_GREEN", "lifecycleHooks": given});
    let made = create(&world, json!({"deploymentConfiguration": configuration})).await;
    assert_eq!(made["deploymentConfiguration"]["lifecycleHooks"], given);
    assert_eq!(service(&world).await["deploymentConfiguration"]["lifecycleHooks"], given);
    assert_eq!(newest(&world).await["deploymentConfiguration"]["lifecycleHooks"], given);
    let many = vec![hook(&["POST_SCALE_UP"], json!({})); 11];
    let wrong = |own: Value| vec![hook(&["POST_SCALE_UP"], own)];
    for (hooks, member) in [
        (wrong(json!({"hookTargetArn": null})), "hookTargetArn"),
        (wrong(json!({"hookTargetArn": "check"})), "hookTargetArn"),
        (wrong(json!({"hookTargetArn": "arn:aws:lambda:eu-west-1:1:function:check"})), "hookTargetArn"),
        (wrong(json!({"hookTargetArn": "arn:aws:sqs:eu-west-1:123456789012:check"})), "hookTargetArn"),
        (wrong(json!({"roleArn": null})), "roleArn"),
        (wrong(json!({"roleArn": "arn:aws:iam::123456789012:user/ecs"})), "roleArn"),
        (wrong(json!({"hookDetails": "text"})), "hookDetails"),
        (wrong(json!({"hookDetails": {"x": "x".repeat(9000)}})), "hookDetails"),
        (wrong(json!({"timeoutConfiguration": {"timeoutInMinutes": 1441}})), "timeoutInMinutes"),
        (wrong(json!({"timeoutConfiguration": {"timeoutInMinutes": 0}})), "timeoutInMinutes"),
        (wrong(json!({"timeoutConfiguration": {"action": "WAIT"}})), "action"),
        (wrong(json!({"targetType": "HTTP"})), "targetType"),
        (many, "at most 10 lifecycle hooks"),
    ] {
        let configuration = json!({"strategy": "BLUE_GREEN", "lifecycleHooks": hooks});
        let input = json!({"serviceName": "no", "taskDefinition": "web", "desiredCount": 1, "deploymentConfiguration": configuration});
        let (code, message) = world.refused("CreateService", input).await;
        assert!(code == "InvalidParameterException" && message.contains(member), "{member}: {code} {message}");
    }
    for arn in [
        "arn:aws:lambda:eu-west-1:123456789012:function:check:live",
        "arn:aws-cn:lambda:cn-north-1:123456789012:function:a_b:$LATEST",
    ] {
        let configuration = json!({"strategy": "BLUE_GREEN", "lifecycleHooks": wrong(json!({"hookTargetArn": arn}))});
        update(&world, json!({"deploymentConfiguration": configuration})).await;
    }
}
