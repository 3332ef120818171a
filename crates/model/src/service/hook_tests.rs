use longshore_seams::SeededRandom;
use serde_json::json;

use super::*;
use crate::service::stage::tests::{READY, at, deployment};

#[test]
fn a_hook_holds_its_stage_until_it_is_resolved_or_times_out() {
    let hook = |action: &str| {
        let timeout = json!({"timeoutInMinutes": 5, "action": action});
        let stages = ["POST_SCALE_UP"];
        let hooks = [json!({"targetType": "PAUSE", "lifecycleStages": stages, "timeoutConfiguration": timeout})];
        deployment(json!({"strategy": "BLUE_GREEN", "lifecycleHooks": hooks}))
    };
    let random = SeededRandom::new(3);
    let reach = |deployment: &mut ServiceDeploymentRecord| {
        while deployment.advance(READY, at(0), &random) == Advance::Moved {}
        assert_eq!(deployment.progress.as_ref().unwrap().stage, Stage::PostScaleUp);
        deployment.progress.as_ref().unwrap().hooks[0].clone()
    };
    let mut resolved = hook("ROLLBACK");
    let reached = reach(&mut resolved);
    assert!(reached.id.len() == 53 && reached.expires_at == at(300), "{reached:?}");
    assert!(!resolved.resolve_hook("another", &HookAction::Continue, at(1)));
    assert!(resolved.resolve_hook(&reached.id, &HookAction::Continue, at(1)));
    assert!(!resolved.resolve_hook(&reached.id, &HookAction::Continue, at(1)));
    assert_eq!(resolved.advance(READY, at(1), &random), Advance::Moved);
    let mut back = hook("ROLLBACK");
    reach(&mut back);
    assert_eq!(back.advance(READY, at(299), &random), Advance::Wait(Some(at(300))));
    assert!(matches!(back.advance(READY, at(300), &random), Advance::Back(_)));
    let mut on = hook("CONTINUE");
    reach(&mut on);
    assert_eq!(on.advance(READY, at(300), &random), Advance::Moved);
    assert_eq!(on.hook_details().unwrap()[0].status, Some(HookStatus::TimedOut));
}

const FUNCTION: &str = "arn:aws:lambda:eu-west-1:123456789012:function:check";

/// A deployment that has reached a hook with a function; the hook as it is.
fn asked(own: serde_json::Value) -> ServiceDeploymentRecord {
    let mut hook = json!({"hookTargetArn": FUNCTION, "lifecycleStages": ["POST_SCALE_UP"]});
    hook.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    let mut deployment = deployment(json!({"strategy": "BLUE_GREEN", "lifecycleHooks": [hook]}));
    while deployment.advance(READY, at(0), &SeededRandom::new(3)) == Advance::Moved {}
    deployment
}

fn hook(deployment: &ServiceDeploymentRecord) -> HookRecord {
    deployment.progress.as_ref().unwrap().hooks[0].clone()
}

fn answer(deployment: &mut ServiceDeploymentRecord, invocation: u32, text: &str, seconds: i64) -> bool {
    let id = hook(deployment).id;
    deployment.answer_hook(&id, invocation, HookAnswer::read(text.as_bytes()), at(seconds))
}

#[test]
fn a_function_that_succeeds_lets_the_deployment_go_on() {
    let mut deployment = asked(json!({}));
    let reached = hook(&deployment);
    assert_eq!((reached.status, reached.id.len(), reached.expires_at), (HookStatus::InProgress, 36, at(86_400)));
    assert_eq!(deployment.open_functions().count(), 1);
    assert!(answer(&mut deployment, 0, r#"{"hookStatus": "SUCCEEDED"}"#, 1));
    assert_eq!(deployment.open_functions().count(), 0);
    assert_eq!(deployment.advance(READY, at(1), &SeededRandom::new(4)), Advance::Moved);
    assert_eq!(deployment.hook_details().unwrap()[0].target_arn.as_deref(), Some(FUNCTION));
}

#[test]
fn what_is_no_success_sends_the_deployment_back_and_says_why() {
    for (text, why) in [
        (r#"{"hookStatus": "FAILED"}"#, "it returned the hookStatus FAILED."),
        (r#"{"hookStatus": "DONE"}"#, "'DONE', which is none of"),
        ("{}", "it did not return a hookStatus."),
        ("null", "it did not return a JSON object"),
        ("[", "it did not return a JSON object"),
    ] {
        let mut deployment = asked(json!({}));
        assert!(answer(&mut deployment, 0, text, 1));
        let Advance::Back(reason) = deployment.advance(READY, at(1), &SeededRandom::new(4)) else { panic!("{text}") };
        assert!(reason.contains(FUNCTION) && reason.contains("POST_SCALE_UP") && reason.contains(why), "{reason}");
        assert_eq!(hook(&deployment).status, HookStatus::Failed);
    }
}

#[test]
fn a_function_in_progress_is_asked_again_with_what_it_said() {
    let mut deployment = asked(json!({"hookDetails": {"bucket": "b", "tries": 0}}));
    assert!(answer(&mut deployment, 0, r#"{"hookStatus": "IN_PROGRESS"}"#, 1));
    assert_eq!(deployment.open_functions().next().unwrap().1.invoke_at, at(31));
    // An answer of the first invocation that comes twice, or late, is not one of the second.
    assert!(!answer(&mut deployment, 0, r#"{"hookStatus": "SUCCEEDED"}"#, 2));
    let again = r#"{"hookStatus": "IN_PROGRESS", "callBackDelay": 60, "hookDetails": {"tries": 1}}"#;
    assert!(answer(&mut deployment, 1, again, 31));
    let (_, function) = deployment.open_functions().next().unwrap();
    assert_eq!(function.invoke_at, at(91));
    assert_eq!(serde_json::to_value(&function.details).unwrap(), json!({"bucket": "b", "tries": 1}));
    assert_eq!(deployment.advance(READY, at(91), &SeededRandom::new(4)), Advance::Wait(Some(at(86_400))));
}

#[test]
fn a_delay_is_kept_within_a_second_and_a_day() {
    for (delay, seconds) in [("0", 1), ("-5", 1), ("2.5", 2), ("1e300", 86_400), ("\"7\"", 30), ("null", 30)] {
        let text = format!(r#"{{"hookStatus": "IN_PROGRESS", "callBackDelay": {delay}}}"#);
        let HookAnswer::AskAgain { after, .. } = HookAnswer::read(text.as_bytes()) else { panic!("{text}") };
        assert_eq!(after.as_secs(), seconds, "{delay}");
    }
}

#[test]
fn details_that_grow_too_long_fail_the_hook() {
    let mut deployment = asked(json!({}));
    let text = format!(r#"{{"hookStatus": "IN_PROGRESS", "hookDetails": {{"x": "{}"}}}}"#, "x".repeat(MAX_DETAILS));
    assert!(answer(&mut deployment, 0, &text, 1));
    assert!(matches!(deployment.advance(READY, at(1), &SeededRandom::new(4)), Advance::Back(_)));
}

#[test]
fn a_function_that_cannot_be_reached_is_tried_for_a_minute() {
    let mut deployment = asked(json!({}));
    let id = hook(&deployment).id;
    let gone = || HookAnswer::Unreachable("connection refused".to_owned());
    for (invocation, second) in [(0, 0), (1, 5), (2, 59)] {
        assert!(deployment.answer_hook(&id, invocation, gone(), at(second)));
        assert_eq!(hook(&deployment).status, HookStatus::InProgress);
    }
    assert!(deployment.answer_hook(&id, 3, gone(), at(60)));
    let Advance::Back(reason) = deployment.advance(READY, at(60), &SeededRandom::new(4)) else { panic!() };
    assert!(reason.contains("could not be reached for 60 seconds: connection refused"), "{reason}");
}

#[test]
fn a_function_that_never_comes_to_an_end_times_out() {
    for (action, goes_on) in [("CONTINUE", true), ("ROLLBACK", false)] {
        let mut deployment = asked(json!({"timeoutConfiguration": {"timeoutInMinutes": 2, "action": action}}));
        assert_eq!(deployment.advance(READY, at(119), &SeededRandom::new(4)), Advance::Wait(Some(at(120))));
        let advanced = deployment.advance(READY, at(120), &SeededRandom::new(4));
        assert_eq!((advanced == Advance::Moved, hook(&deployment).status), (goes_on, HookStatus::TimedOut));
        assert!(!answer(&mut deployment, 0, r#"{"hookStatus": "SUCCEEDED"}"#, 121));
    }
}

#[test]
fn a_rollback_tells_the_functions_of_the_traffic_that_has_shifted() {
    let stages =
        json!(["POST_SCALE_UP", "TEST_TRAFFIC_SHIFT", "PRODUCTION_TRAFFIC_SHIFT", "POST_PRODUCTION_TRAFFIC_SHIFT"]);
    let hooks = json!([{"hookTargetArn": FUNCTION, "lifecycleStages": stages}]);
    let mut deployment = deployment(json!({"strategy": "BLUE_GREEN", "lifecycleHooks": hooks}));
    let random = SeededRandom::new(5);
    for told in 0..4 {
        while deployment.advance(READY, at(0), &random) == Advance::Moved {}
        let mut back = deployment.clone();
        back.roll_back("0", "why".to_owned(), at(1), &random);
        let open: Vec<_> = back.open_functions().filter_map(|(hook, _)| hook.stage_name()).collect();
        let expected: &[&str] = match told {
            0 => &[],
            1 => &["TEST_TRAFFIC_SHIFT"],
            _ => &["PRODUCTION_TRAFFIC_SHIFT", "TEST_TRAFFIC_SHIFT"],
        };
        assert_eq!(open, expected);
        assert_eq!(back.rollback_held(at(1)).is_some(), told > 0);
        assert_eq!(back.rollback_held(at(1 + 86_400)), None);
        let id = deployment.open_functions().next().unwrap().0.id.clone();
        assert!(deployment.answer_hook(&id, 0, HookAnswer::Succeeded, at(0)));
    }
}
