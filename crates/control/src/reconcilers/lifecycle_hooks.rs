//! Invokes the Lambda functions of lifecycle hooks that a service deployment has reached.
//!
//! The record of the hook says when its function is invoked next and how often it has answered. The invocations under
//! way are known to this process only: after a crash they are made again, with the same `executionId`. What comes of
//! one is written into the record; the service scheduler goes on from there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longshore_api::ServiceError;
use longshore_model::service::{HookAnswer, HookFunction, HookRecord, ServiceDeploymentRecord, ServiceStatus, Stage};
use longshore_seams::{BoxFuture, Timestamp};
use serde_json::{Value, json};

use super::agenda::{Agenda, Key};
use super::{Reconciler, Reconcilers, Round};
use crate::changes::Change;
use crate::engine::{CommitObserver, Engine};
use crate::state::{ClusterState, State};

/// Most services of one round.
const BATCH: usize = 64;
/// Most invocations under way.
const MOST_RUNNING: usize = 256;
/// Until a hook is looked at again for which there were too many.
const CROWDED: Duration = Duration::from_secs(1);
/// Between two looks at every service.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How long a function may take: as long as Lambda lets one run.
const LONGEST: Duration = Duration::from_secs(900);

/// Why an invocation brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvocationError {
    /// Nobody was there, or too busy: the same may succeed a moment later.
    #[error("{0}")]
    Unreachable(String),
    /// The function failed, or there is none.
    #[error("{0}")]
    Failed(String),
}

/// Where the functions of lifecycle hooks are.
pub trait HookFunctions: Debug + Send + Sync {
    /// Whether functions can be invoked at all.
    fn are_there(&self) -> bool;

    /// Invokes the function with this ARN; answers what it returned.
    fn invoke<'a>(&'a self, function: &'a str, event: Vec<u8>) -> BoxFuture<'a, Result<Vec<u8>, InvocationError>>;
}

/// No function can be invoked.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFunctions;

/// What an operator can do about that.
pub(crate) const NO_ENDPOINT: &str =
    "this server knows no Lambda endpoint. Start it with --lambda-endpoint URL (or LONGSHORE_LAMBDA_ENDPOINT)";

impl HookFunctions for NoFunctions {
    fn are_there(&self) -> bool {
        false
    }

    fn invoke<'a>(&'a self, _: &'a str, _: Vec<u8>) -> BoxFuture<'a, Result<Vec<u8>, InvocationError>> {
        Box::pin(std::future::ready(Err(InvocationError::Failed(NO_ENDPOINT.to_owned()))))
    }
}

/// The loop.
#[derive(Debug)]
pub struct LifecycleHooks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Engine,
    functions: Arc<dyn HookFunctions>,
    agenda: Arc<Agenda>,
    /// Hooks whose functions are being invoked, by id.
    running: Mutex<BTreeSet<String>>,
}

/// An invocation.
#[derive(Clone, Debug)]
struct Invocation {
    key: Key,
    deployment: String,
    hook: String,
    function: String,
    /// Which one it is, from 0.
    number: u32,
    event: Vec<u8>,
}

impl LifecycleHooks {
    /// The loop's name.
    pub const NAME: &'static str = "lifecycle-hooks";

    /// The loop that finds functions in `functions`.
    #[must_use]
    pub fn new(engine: Engine, functions: Arc<dyn HookFunctions>) -> Self {
        Self(Arc::new(Inner { engine, functions, agenda: Arc::default(), running: Mutex::default() }))
    }

    /// What tells the loop about commits.
    #[must_use]
    pub fn waker(&self, reconcilers: Arc<Reconcilers>) -> HookWaker {
        HookWaker { agenda: self.0.agenda.clone(), reconcilers }
    }

    /// Whether no invocation is under way.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.0.running().is_empty()
    }
}

impl Inner {
    fn running(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the invocations of a service that are due, and notes when the next one is.
    fn look(self: &Arc<Self>, key: &Key) {
        let now = self.engine.seams().clock.now();
        let (mut due, mut next) = (Vec::new(), None);
        self.engine.peek(|state| {
            let Some((cluster, deployment)) = ongoing(state, key) else { return };
            let running = self.running();
            for (hook, function) in deployment.open_functions().filter(|(hook, _)| !running.contains(&hook.id)) {
                if function.invoke_at <= now {
                    due.push(invocation(key, &cluster.record.name, deployment, hook, function));
                } else {
                    next = Some(next.map_or(function.invoke_at, |at: Timestamp| at.min(function.invoke_at)));
                }
            }
        });
        for invocation in due {
            if self.running().len() >= MOST_RUNNING {
                next = Some(now.plus(CROWDED));
                break;
            }
            self.running().insert(invocation.hook.clone());
            let work = self.clone().run(invocation);
            self.engine.seams().spawner.spawn("lifecycle hook", Box::pin(work));
        }
        self.agenda.wait(key, next);
    }

    async fn run(self: Arc<Self>, invocation: Invocation) {
        let answer = self.invoke(&invocation).await;
        tracing::debug!(
            hook = invocation.hook,
            function = invocation.function,
            ?answer,
            "a lifecycle hook's function was invoked"
        );
        if let Err(error) = self.note(&invocation, &answer).await {
            tracing::warn!(hook = invocation.hook, %error, "what came of a lifecycle hook could not be written; its function is invoked again");
        }
        self.running().remove(&invocation.hook);
        self.agenda.add([invocation.key]);
    }

    async fn invoke(&self, invocation: &Invocation) -> HookAnswer {
        if !self.functions.are_there() {
            return HookAnswer::Failed(NO_ENDPOINT.to_owned());
        }
        let answered = tokio::select! {
            biased;
            answered = self.functions.invoke(&invocation.function, invocation.event.clone()) => answered,
            () = self.engine.seams().clock.sleep(LONGEST) => {
                return HookAnswer::Failed(format!("it did not return within {} seconds", LONGEST.as_secs()));
            }
        };
        match answered {
            Ok(payload) => HookAnswer::read(&payload),
            Err(InvocationError::Unreachable(why)) => HookAnswer::Unreachable(why),
            Err(InvocationError::Failed(why)) => HookAnswer::Failed(why),
        }
    }

    async fn note(&self, invocation: &Invocation, answer: &HookAnswer) -> Result<(), ServiceError> {
        let (scope, id, name) = &invocation.key;
        let now = self.engine.seams().clock.now();
        self.engine
            .write(|state, changes| {
                let history = state.scope(scope).clusters.get(id).and_then(|it| it.service_history.get(name));
                let known = history.and_then(|it| it.deployments.get(&invocation.deployment));
                let Some(known) = known else { return Ok(()) };
                let mut after = ServiceDeploymentRecord::clone(known);
                if after.answer_hook(&invocation.hook, invocation.number, answer.clone(), now) {
                    changes.push(Change::PutServiceDeployment(scope.clone(), Arc::new(after)));
                }
                Ok(())
            })
            .await
    }
}

/// The service deployment of a service that goes on.
fn ongoing<'a>(
    state: &'a State,
    (scope, cluster, name): &Key,
) -> Option<(&'a ClusterState, &'a ServiceDeploymentRecord)> {
    let cluster = state.scope(scope).clusters.get(cluster)?;
    let service = cluster.services.get(name).filter(|it| it.status == ServiceStatus::Active)?;
    let deployment = cluster.service_deployment(service).filter(|it| it.is_ongoing())?;
    Some((cluster, deployment))
}

/// Services whose deployments wait for functions.
fn waiting(cluster: &ClusterState) -> Vec<String> {
    let waits = |name: &&String| {
        let service = cluster.services.get(*name);
        let deployment = service.and_then(|service| cluster.service_deployment(service));
        deployment.is_some_and(|deployment| deployment.open_functions().next().is_some())
    };
    cluster.services.keys().filter(waits).cloned().collect()
}

fn invocation(
    key: &Key,
    cluster: &str,
    deployment: &ServiceDeploymentRecord,
    hook: &HookRecord,
    function: &HookFunction,
) -> Invocation {
    Invocation {
        key: key.clone(),
        deployment: deployment.id.clone(),
        hook: hook.id.clone(),
        function: function.arn.clone(),
        number: function.answers,
        event: event(key, cluster, deployment, hook, function).to_string().into_bytes(),
    }
}

/// What a function is told, in ECS's form.
fn event(
    (scope, _, service): &Key,
    cluster: &str,
    deployment: &ServiceDeploymentRecord,
    hook: &HookRecord,
    function: &HookFunction,
) -> Value {
    let (weight, test_weight) = deployment.progress.as_ref().map_or((0.0, 0.0), |it| (it.weight, it.test_weight));
    let revision = |number: &str| scope.service_revision_arn(cluster, service, number);
    let shares = |share: f64| -> BTreeMap<String, Value> {
        let source = deployment.sources.first().map(|it| (revision(&it.number), percent(100.0 - share)));
        source.into_iter().chain([(revision(&deployment.target.number), percent(share))]).collect()
    };
    let (test, production) = match hook.stage {
        Some(Stage::TestTrafficShift) => (shares(test_weight), BTreeMap::new()),
        Some(Stage::PreProductionTrafficShift | Stage::ProductionTrafficShift) => (BTreeMap::new(), shares(weight)),
        _ => (BTreeMap::new(), BTreeMap::new()),
    };
    let mut event = json!({
        "executionId": hook.id,
        "lifecycleStage": hook.stage_name(),
        "resourceArn": scope.service_deployment_arn(cluster, service, &deployment.id),
        "executionDetails": {
            "serviceArn": scope.service_arn(cluster, service),
            "targetServiceRevisionArn": revision(&deployment.target.number),
            "testTrafficWeights": test,
            "productionTrafficWeights": production,
        },
    });
    if let Some(details) = &function.details {
        event["hookDetails"] = serde_json::to_value(details).unwrap_or_default();
    }
    event
}

/// A percentage: without a fraction when it has none.
fn percent(share: f64) -> Value {
    let tenths = (share * 10.0).round() / 10.0;
    #[expect(clippy::cast_possible_truncation, reason = "it is between 0 and 100")]
    if tenths.fract() == 0.0 { json!(tenths as i64) } else { json!(tenths) }
}

/// Puts services whose deployments have changed on the loop's agenda, and wakes it when a function is waited for.
#[derive(Debug)]
pub struct HookWaker {
    agenda: Arc<Agenda>,
    reconcilers: Arc<Reconcilers>,
}

impl CommitObserver for HookWaker {
    fn committed(&self, changes: &[Change]) {
        let mut wakes = false;
        for change in changes {
            if let Change::PutServiceDeployment(scope, record) = change
                && record.open_functions().next().is_some()
            {
                self.agenda.add([(scope.clone(), record.cluster, record.service.clone())]);
                wakes = true;
            }
        }
        if wakes {
            self.reconcilers.wake(LifecycleHooks::NAME);
        }
    }
}

impl Reconciler for LifecycleHooks {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn period(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn round(&self) -> BoxFuture<'_, Result<Round, String>> {
        Box::pin(async move {
            let inner = &self.0;
            let batch = inner.agenda.next(&inner.engine, LOOK_AGAIN, BATCH, waiting);
            batch.iter().for_each(|key| inner.look(key));
            Ok(if batch.is_empty() { Round::Done } else { Round::More })
        })
    }
}
