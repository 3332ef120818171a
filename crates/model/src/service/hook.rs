//! Lifecycle hooks: what holds a service deployment at a stage until a user or a Lambda function has had a say.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_api::Value;
use longshore_api::ecs::{
    self, DeploymentLifecycleHook, DeploymentLifecycleHookAction as HookAction,
    DeploymentLifecycleHookStatus as HookStatus, DeploymentLifecycleHookTargetType as HookTarget,
};
use longshore_seams::{Random, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Advance, ServiceDeploymentRecord, Stage};

/// Minutes that a lifecycle hook is waited for when it does not say.
const HOOK_MINUTES: i32 = 1440;
/// Characters of the id of a PAUSE hook after its prefix.
const HOOK_ID_LENGTH: usize = 43;
/// Most bytes of a hook's `hookDetails`, as JSON. Its service, revision and service deployment are kept in one transaction.
pub(super) const MAX_DETAILS: usize = 8 * 1024;
/// Until a function that is IN_PROGRESS is asked again, unless it says.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// The shortest and the longest time until a function is asked again.
const ASKED_AGAIN: (f64, f64) = (1.0, 86_400.0);
/// Until a function that could not be reached is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// How long a function is tried that cannot be reached.
const REACH: Duration = Duration::from_secs(60);

/// A lifecycle hook that was reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HookRecord {
    /// Its id: for ContinueServiceDeployment, and the `executionId` that its function is told.
    pub id: String,
    /// Where it was reached. None for what was reached before stages were kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Where it is.
    pub status: HookStatus,
    /// When it is waited for no longer.
    pub expires_at: Timestamp,
    /// What is done then.
    pub timeout_action: HookAction,
    /// The function that has a say; none when a user has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<Box<HookFunction>>,
}

/// The Lambda function of a hook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HookFunction {
    /// Its ARN.
    pub arn: String,
    /// What it is told besides: the hook's `hookDetails`, and what it answered itself. Forgotten in the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    /// When it is invoked next.
    pub invoke_at: Timestamp,
    /// Invocations of which something came: says of which one an answer is.
    #[serde(default)]
    pub answers: u32,
    /// Since when it cannot be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable_since: Option<Timestamp>,
    /// Why the hook failed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// What came of an invocation of a hook's function.
#[derive(Clone, Debug, PartialEq)]
pub enum HookAnswer {
    /// SUCCEEDED.
    Succeeded,
    /// FAILED, or nothing that is an answer: why.
    Failed(String),
    /// IN_PROGRESS.
    AskAgain {
        /// Until it is asked again.
        after: Duration,
        /// What it wants to be told then.
        details: BTreeMap<String, Value>,
    },
    /// Nobody was there: why. It is tried again for a minute.
    Unreachable(String),
}

impl HookAnswer {
    /// Reads what a function returned: `{"hookStatus": …, "callBackDelay": SECONDS, "hookDetails": {…}}`.
    #[must_use]
    pub fn read(payload: &[u8]) -> Self {
        let answer = match Value::from_json(payload) {
            Ok(answer) if answer.as_map().is_some() => answer,
            _ => return Self::Failed("it did not return a JSON object with a hookStatus".to_owned()),
        };
        match answer.get("hookStatus").and_then(Value::as_str) {
            Some("SUCCEEDED") => Self::Succeeded,
            Some("FAILED") => Self::Failed("it returned the hookStatus FAILED".to_owned()),
            Some("IN_PROGRESS") => {
                let delay = match answer.get("callBackDelay") {
                    #[expect(clippy::cast_precision_loss, reason = "it is cut to a day anyway")]
                    Some(Value::Int(seconds)) => Some(*seconds as f64),
                    Some(Value::Float(seconds)) => Some(*seconds),
                    _ => None,
                };
                let seconds = delay.filter(|it| it.is_finite()).map(|it| it.clamp(ASKED_AGAIN.0, ASKED_AGAIN.1));
                let details = answer.get("hookDetails").and_then(Value::as_map).cloned().unwrap_or_default();
                Self::AskAgain { after: seconds.map_or(ASK_AGAIN, Duration::from_secs_f64), details }
            }
            Some(other) => {
                let other: String = other.chars().take(64).collect();
                Self::Failed(format!(
                    "it returned the hookStatus '{other}', which is none of SUCCEEDED, FAILED and IN_PROGRESS"
                ))
            }
            None => Self::Failed("it did not return a hookStatus".to_owned()),
        }
    }
}

impl HookRecord {
    /// The hook that is reached with this stage.
    pub(super) fn reached(hook: &DeploymentLifecycleHook, stage: Stage, now: Timestamp, random: &dyn Random) -> Self {
        let timeout = hook.timeout_configuration.clone().unwrap_or_default();
        let minutes = u64::try_from(timeout.timeout_in_minutes.unwrap_or(HOOK_MINUTES)).unwrap_or(0);
        let function = (hook.target_type != Some(HookTarget::Pause)).then(|| {
            Box::new(HookFunction {
                arn: hook.hook_target_arn.clone().unwrap_or_default(),
                details: hook.hook_details.clone(),
                invoke_at: now,
                answers: 0,
                unreachable_since: None,
                failure: None,
            })
        });
        let (id, status) = match function {
            Some(_) => (random.uuid(), HookStatus::InProgress),
            None => {
                let id = super::service_deployment::url_safe::<HOOK_ID_LENGTH>(random);
                (format!("ecs-pause-{id}"), HookStatus::AwaitingAction)
            }
        };
        let timeout_action = timeout.action.unwrap_or(HookAction::Rollback);
        let expires_at = now.plus(Duration::from_secs(minutes * 60));
        Self { id, stage: Some(stage), status, expires_at, timeout_action, function }
    }

    /// Whether it is waited for.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.status, HookStatus::AwaitingAction | HookStatus::InProgress)
    }

    /// The stage as ECS calls it.
    #[must_use]
    pub fn stage_name(&self) -> Option<&'static str> {
        self.stage.and_then(Stage::hook_name)
    }

    /// What it is, for messages.
    fn named(&self) -> String {
        let (id, stage) = (&self.id, self.stage_name());
        let at = stage.map(|stage| format!(" at the stage {stage}")).unwrap_or_default();
        match &self.function {
            Some(function) => format!("Lifecycle hook {id}{at}, which invokes {},", function.arn),
            None => format!("Lifecycle hook {id}"),
        }
    }

    fn close(&mut self, status: HookStatus) {
        self.status = status;
        if let Some(function) = &mut self.function {
            (function.details, function.unreachable_since) = (None, None);
        }
    }

    fn fail(&mut self, why: String) {
        self.close(HookStatus::Failed);
        if let Some(function) = &mut self.function {
            function.failure = Some(why);
        }
    }

    /// Takes what came of its function's invocation.
    fn take(&mut self, answer: HookAnswer, now: Timestamp) {
        let Some(function) = &mut self.function else { return };
        function.answers = function.answers.saturating_add(1);
        match answer {
            HookAnswer::Succeeded => self.close(HookStatus::Succeeded),
            HookAnswer::Failed(why) => self.fail(why),
            HookAnswer::AskAgain { after, details } => {
                (function.invoke_at, function.unreachable_since) = (now.plus(after), None);
                if details.is_empty() {
                    return;
                }
                let mut merged = function.details.as_ref().and_then(Value::as_map).cloned().unwrap_or_default();
                merged.extend(details);
                let merged = Value::Map(merged);
                if size_of_details(&merged) > MAX_DETAILS {
                    return self.fail(format!("its hookDetails are longer than {MAX_DETAILS} bytes"));
                }
                function.details = Some(merged);
            }
            HookAnswer::Unreachable(why) => {
                let since = *function.unreachable_since.get_or_insert(now);
                function.invoke_at = now.plus(TRY_AGAIN);
                if since.plus(REACH) <= now {
                    self.fail(format!("it could not be reached for {} seconds: {why}", REACH.as_secs()));
                }
            }
        }
    }
}

/// Bytes of `hookDetails` as JSON.
pub(super) fn size_of_details(details: &Value) -> usize {
    serde_json::to_vec(details).map_or(usize::MAX, |json| json.len())
}

impl ServiceDeploymentRecord {
    /// Whether hooks hold the stage, or send the service back.
    pub(super) fn held(&mut self, now: Timestamp) -> Option<Advance> {
        let progress = self.progress.as_mut()?;
        let failure = |hook: &HookRecord| {
            let why = hook.function.as_ref()?.failure.as_ref()?;
            Some(format!("{} failed: {why}.", hook.named()))
        };
        if let Some(reason) = progress.hooks.iter().find_map(failure) {
            return Some(Advance::Back(reason));
        }
        let mut until = None;
        for hook in progress.hooks.iter_mut().filter(|hook| hook.is_open()) {
            if hook.expires_at > now {
                until = Some(until.map_or(hook.expires_at, |it: Timestamp| it.min(hook.expires_at)));
                continue;
            }
            hook.close(HookStatus::TimedOut);
            self.updated_at = now;
            if hook.timeout_action != HookAction::Continue {
                return Some(Advance::Back(format!("{} timed out.", hook.named())));
            }
        }
        until.map(|until| Advance::Wait(Some(until)))
    }

    /// Until when the functions are waited for that were told of a rollback; none when there are none left. What they
    /// answer changes nothing any more.
    pub fn rollback_held(&mut self, now: Timestamp) -> Option<Timestamp> {
        let mut until = None;
        let mut late = false;
        for hook in
            self.progress.iter_mut().flat_map(|it| &mut it.hooks).filter(|it| it.status == HookStatus::InProgress)
        {
            if hook.expires_at > now {
                until = Some(until.map_or(hook.expires_at, |it: Timestamp| it.min(hook.expires_at)));
            } else {
                hook.close(HookStatus::TimedOut);
                late = true;
            }
        }
        if late {
            self.updated_at = now;
        }
        until
    }

    /// No function is asked any more, for this reason.
    pub(super) fn forget_functions(&mut self, why: &str) {
        let hooks = self.progress.iter_mut().flat_map(|it| &mut it.hooks);
        for hook in hooks.filter(|hook| hook.status == HookStatus::InProgress) {
            hook.fail(why.to_owned());
        }
    }

    /// Hooks whose functions have still to say something.
    pub fn open_functions(&self) -> impl Iterator<Item = (&HookRecord, &HookFunction)> {
        let hooks = self.progress.iter().flat_map(|it| &it.hooks);
        let open = hooks.filter(|hook| self.is_ongoing() && hook.status == HookStatus::InProgress);
        open.filter_map(|hook| Some((hook, &**hook.function.as_ref()?)))
    }

    /// Takes what came of the `invocation`th invocation of a hook's function, counted from 0. Answers whether it was
    /// waited for.
    pub fn answer_hook(&mut self, id: &str, invocation: u32, answer: HookAnswer, now: Timestamp) -> bool {
        if !self.is_ongoing() {
            return false;
        }
        let waits = |hook: &&mut HookRecord| {
            let asked = hook.function.as_ref().map(|function| function.answers);
            hook.id == id && hook.status == HookStatus::InProgress && asked == Some(invocation)
        };
        let Some(hook) = self.progress.iter_mut().flat_map(|it| &mut it.hooks).find(waits) else { return false };
        hook.take(answer, now);
        self.updated_at = now;
        true
    }

    /// Lets a hook that waits for a user go on, or the service back. Answers whether there is such a hook.
    pub fn resolve_hook(&mut self, id: &str, action: &HookAction, now: Timestamp) -> bool {
        let hooks = self.progress.as_mut().map(|progress| &mut progress.hooks);
        let waits = |hook: &&mut HookRecord| hook.id == id && hook.status == HookStatus::AwaitingAction;
        let Some(hook) = hooks.into_iter().flatten().find(waits) else { return false };
        let goes_on = *action == HookAction::Continue;
        hook.status = if goes_on { HookStatus::Succeeded } else { HookStatus::Failed };
        self.updated_at = now;
        true
    }

    /// Its hooks as DescribeServiceDeployments shows them; none before it reached one.
    #[must_use]
    pub fn hook_details(&self) -> Option<Vec<ecs::DeploymentLifecycleHookDetail>> {
        let hooks = &self.progress.as_ref()?.hooks;
        let detail = |hook: &HookRecord| ecs::DeploymentLifecycleHookDetail {
            hook_id: Some(hook.id.clone()),
            target_type: Some(if hook.function.is_some() { HookTarget::AwsLambda } else { HookTarget::Pause }),
            target_arn: hook.function.as_ref().map(|function| function.arn.clone()),
            status: Some(hook.status.clone()),
            expires_at: Some(hook.expires_at),
            timeout_action: Some(hook.timeout_action.clone()),
        };
        (!hooks.is_empty()).then(|| hooks.iter().map(detail).collect())
    }
}

#[cfg(test)]
#[path = "hook_tests.rs"]
mod tests;
