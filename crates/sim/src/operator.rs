//! The operator: makes the story's calls, one after the other, each until it is answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use longshore_api::{ServiceError, Value};
use longshore_control::changes::Change;
use longshore_model::records::GrantRecord;
use longshore_model::service::TaskSetStatus;
use longshore_model::{Id, Scope};
use longshore_seams::{Clock, Random, SeededRandom};
use longshore_wire::Principal;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use crate::checks::Checks;
use crate::executor::{Executor, locked};
use crate::functions::arn;
use crate::machine::{Ended, SCALED, grant_of};
use crate::network::{ACCOUNT, Network, NoAnswer, REGION};
use crate::server::Server;
use crate::story::{OnAlarm, Rollout, Shift, Step};
use crate::trace::Trace;

/// The operator's own machine.
pub(crate) const OPERATOR: &str = "operator";
/// Between two tries of a call that was not answered.
const AGAIN: Duration = Duration::from_secs(1);
/// Until tasks that found no room are tried again.
const ROOM: Duration = Duration::from_secs(5);
/// The port on which containers listen, if they do.
const PORT: u16 = 80;
/// Tries to run tasks that find no room.
const TRIES: u32 = 100;

/// The operator's desk: where steps are put, and how many are not done.
#[derive(Clone)]
pub(crate) struct Desk {
    steps: mpsc::UnboundedSender<Step>,
    open: Arc<AtomicUsize>,
}

impl Desk {
    pub fn put(&self, step: Step) {
        self.open.fetch_add(1, Ordering::Relaxed);
        // The operator lives as long as the world.
        let _ = self.steps.send(step);
    }

    pub fn is_empty(&self) -> bool {
        self.open.load(Ordering::Relaxed) == 0
    }
}

/// The operator.
pub(crate) struct Operator {
    pub executor: Executor,
    pub network: Network,
    pub server: Server,
    pub checks: Checks,
    pub trace: Trace,
    pub random: Arc<SeededRandom>,
    /// Machines that may start their agents: told as those that ended.
    pub joined: Ended,
    pub revisions: BTreeMap<String, u32>,
    pub tasks: Vec<Id>,
}

impl Operator {
    /// Begins its work.
    pub fn begin(mut self) -> Desk {
        let (steps, mut queue) = mpsc::unbounded_channel();
        let open = Arc::new(AtomicUsize::new(0));
        let (executor, left) = (self.executor.clone(), open.clone());
        let work = async move {
            let providers = json!({"capacityProviders": ["FARGATE", "FARGATE_SPOT"]});
            self.call("CreateCluster", &providers).await.ok();
            while let Some(step) = queue.recv().await {
                self.perform(step).await;
                left.fetch_sub(1, Ordering::Relaxed);
            }
        };
        executor.spawn(executor.process(), "operator", Box::pin(work));
        Desk { steps, open }
    }

    async fn once(&self, operation: &'static str, input: &Json) -> Result<Result<Json, ServiceError>, NoAnswer> {
        let input = Value::from_json(input.to_string().as_bytes()).unwrap_or(Value::Null);
        let root = Principal::Root { account: ACCOUNT.to_owned() };
        let answer = self.network.call(OPERATOR, &root, operation, input).await?;
        Ok(answer.map(|answer| serde_json::from_slice(&answer.to_json()).unwrap_or_default()))
    }

    /// Calls until there is an answer.
    async fn call(&self, operation: &'static str, input: &Json) -> Result<Json, ServiceError> {
        loop {
            match self.once(operation, input).await {
                Ok(Err(error)) if error.status >= 500 => self.executor.sleep(AGAIN).await,
                Err(NoAnswer) => self.executor.sleep(AGAIN).await,
                Ok(answer) => {
                    let said = match &answer {
                        Ok(_) => "OK".to_owned(),
                        Err(error) => error.to_string(),
                    };
                    self.trace.say(&self.executor, format!("{operation}: {said}"));
                    return answer;
                }
            }
        }
    }

    async fn perform(&mut self, step: Step) {
        match step {
            Step::Machine { name, scaled, .. } => {
                if scaled {
                    self.provide().await;
                }
                self.join(name).await;
            }
            Step::Register { family, image, cpu, memory, port, fargate } => {
                let mut main = json!({"name": "main", "image": image, "cpu": cpu, "memory": memory, "essential": true});
                if let Some(port) = port {
                    main["portMappings"] = json!([{"containerPort": PORT, "hostPort": port}]);
                }
                let mut request = json!({"family": family, "containerDefinitions": [main]});
                if fargate {
                    request["requiresCompatibilities"] = json!(["FARGATE"]);
                    request["networkMode"] = json!("awsvpc");
                    request["cpu"] = json!(cpu.to_string());
                    request["memory"] = json!(memory.to_string());
                }
                self.register(&family, &request).await;
            }
            Step::Service { ref name, desired, .. } => {
                let request = service_request(&step, self.random.uuid());
                self.create_service(name, Some(desired), &request).await;
            }
            Step::External { name, desired } => {
                let request = json!({
                    "serviceName": name, "desiredCount": desired, "deploymentController": {"type": "EXTERNAL"},
                    "clientToken": self.random.uuid(),
                });
                self.create_service(&name, Some(desired), &request).await;
            }
            Step::TaskSet { .. } | Step::ScaleTaskSet { .. } | Step::Promote { .. } | Step::Retire { .. } => {
                self.task_set(step).await;
            }
            Step::Continue { name, back } => self.resolve_hook(&name, back).await,
            Step::RollBack { name } => self.roll_back(&name).await,
            Step::Daemon { name, definition } => {
                let token = self.random.uuid();
                let request = json!({
                    "serviceName": name, "taskDefinition": definition, "schedulingStrategy": "DAEMON",
                    "clientToken": token,
                });
                self.create_service(&name, None, &request).await;
            }
            Step::Update { name, definition, desired } => self.update(&name, definition, desired).await,
            Step::Delete { name } => {
                // A deleted service wants no tasks.
                self.checks.promise(|promises| {
                    promises.desired.remove(&name);
                });
                let deleted = self.call("DeleteService", &json!({"service": name, "force": true})).await;
                // One that was deleted by a call whose answer was lost is not found any more.
                if deleted.is_ok() {
                    self.checks.promise(|promises| {
                        promises.deleted.insert(name);
                    });
                }
            }
            Step::Run { definition, count, fargate, scaled } => {
                let kind = if scaled {
                    On::Scaled
                } else if fargate {
                    On::Fargate
                } else {
                    On::Instances
                };
                self.run(&definition, count, kind).await;
            }
            Step::StopAny => self.stop_any().await,
            Step::Reclaim { count } => self.reclaim(count).await,
            Step::Drain { name } => self.set_state(&name, "DRAINING").await,
            Step::Activate { name } => self.set_state(&name, "ACTIVE").await,
            _ => {}
        }
    }

    /// Gives a machine's agent the right to speak for a container instance of its own.
    async fn join(&self, name: String) {
        let scope = Scope::new(ACCOUNT, REGION);
        loop {
            let record = GrantRecord {
                id: grant_of(&name),
                scope: scope.clone(),
                cluster: "default".to_owned(),
                container_instance: None,
                created_at: self.server.clock().now(),
            };
            let granted = self.server.ask(move |open| {
                Box::pin(async move {
                    open.ecs
                        .engine
                        .write(|state, changes| {
                            if !state.grants.contains_key(&record.id) {
                                changes.push(Change::PutGrant(Arc::new(record)));
                            }
                            Ok::<_, ServiceError>(())
                        })
                        .await
                        .is_ok()
                })
            });
            let granted = match granted {
                Some(granted) => granted.await.unwrap_or(false),
                None => false,
            };
            if granted {
                return locked(&self.joined).push((name, String::new()));
            }
            self.executor.sleep(AGAIN).await;
        }
    }

    /// Registers, and finds out whether an unanswered call has done it already.
    async fn register(&mut self, family: &str, request: &Json) {
        let revision = self.revisions.get(family).copied().unwrap_or(0) + 1;
        let expected = json!({"taskDefinition": format!("{family}:{revision}")});
        loop {
            match self.once("RegisterTaskDefinition", request).await {
                Ok(Ok(_)) => break,
                Ok(Err(error)) if error.status < 500 => {
                    return self.trace.say(&self.executor, format!("RegisterTaskDefinition: {error}"));
                }
                Ok(Err(_)) | Err(NoAnswer) => self.executor.sleep(AGAIN).await,
            }
            if self.call("DescribeTaskDefinition", &expected).await.is_ok() {
                break;
            }
        }
        self.revisions.insert(family.to_owned(), revision);
        self.checks.promise(|promises| {
            promises.definitions.insert((family.to_owned(), revision));
        });
        self.trace.say(&self.executor, format!("registered {family}:{revision}"));
    }

    async fn create_service(&self, name: &str, desired: Option<u32>, request: &Json) {
        if self.call("CreateService", request).await.is_ok() {
            self.checks.promise(|promises| {
                promises.services.insert(name.to_owned());
                if let Some(desired) = desired {
                    promises.desired.insert(name.to_owned(), vec![i32::try_from(desired).unwrap_or(i32::MAX)]);
                }
            });
        }
    }

    async fn update(&self, name: &str, definition: Option<String>, desired: Option<u32>) {
        let mut request = json!({"service": name});
        if let Some(definition) = definition {
            request["taskDefinition"] = json!(definition);
        }
        let wanted = desired.map(|desired| i32::try_from(desired).unwrap_or(i32::MAX));
        if let Some(wanted) = wanted {
            request["desiredCount"] = json!(wanted);
            self.checks.promise(|promises| promises.desired.entry(name.to_owned()).or_default().push(wanted));
        }
        if self.call("UpdateService", &request).await.is_ok()
            && let Some(wanted) = wanted
        {
            self.checks.promise(|promises| {
                promises.desired.insert(name.to_owned(), vec![wanted]);
            });
        }
    }

    /// The cluster gets the capacity provider with managed scaling, unless it has it.
    async fn provide(&self) {
        let group = json!({"autoScalingGroupArn": SCALED, "managedScaling": {"status": "ENABLED"}});
        self.call("CreateCapacityProvider", &json!({"name": SCALED, "autoScalingGroupProvider": group})).await.ok();
        let input = json!({
            "cluster": "default", "capacityProviders": ["FARGATE", "FARGATE_SPOT", SCALED],
            "defaultCapacityProviderStrategy": [],
        });
        self.call("PutClusterCapacityProviders", &input).await.ok();
    }

    async fn run(&mut self, definition: &str, count: u32, on: On) {
        if on == On::Scaled {
            self.provide().await;
        }
        let mut left = count as usize;
        for _ in 0..TRIES {
            let token = self.random.uuid();
            let mut request = json!({"taskDefinition": definition, "count": left.min(10), "clientToken": token});
            match on {
                On::Instances => {}
                On::Fargate => on_fargate(&mut request, false),
                On::Scaled => request["capacityProviderStrategy"] = json!([{"capacityProvider": SCALED, "weight": 1}]),
            }
            let Ok(answer) = self.call("RunTask", &request).await else { return };
            let tasks = answer["tasks"].as_array().cloned().unwrap_or_default();
            let ids = tasks.iter().filter_map(|task| task["taskArn"].as_str()?.rsplit('/').next()?.parse::<Id>().ok());
            let ids: Vec<Id> = ids.collect();
            left = left.saturating_sub(ids.len());
            self.checks.promise(|promises| promises.tasks.extend(&ids));
            self.tasks.extend(ids);
            if left == 0 {
                return;
            }
            self.executor.sleep(ROOM).await;
        }
    }

    /// What is asked of an external service's task sets: of the newest one, or of the oldest.
    async fn task_set(&self, step: Step) {
        let sets = |service: &str| {
            let sets = self.checks.look(|model| {
                let found = model.services.get(service)?;
                let live = found.task_sets.iter().filter(|set| set.status != TaskSetStatus::Draining);
                Some(live.map(|set| (set.deployment.created_at, set.deployment.id.clone())).collect::<Vec<_>>())
            });
            let mut sets = sets.unwrap_or_default();
            sets.sort();
            sets.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
        };
        let percent = |value: u32| json!({"unit": "PERCENT", "value": value});
        match step {
            Step::TaskSet { name, definition, scale } => {
                let token = self.random.uuid();
                let request = json!({
                    "cluster": "default", "service": name, "taskDefinition": definition, "scale": percent(scale),
                    "clientToken": token,
                });
                let Ok(made) = self.call("CreateTaskSet", &request).await else { return };
                let id = made["taskSet"]["id"].as_str().unwrap_or_default().to_owned();
                self.checks.promise(|promises| {
                    promises.task_sets.insert((name, id));
                });
            }
            Step::ScaleTaskSet { name, scale } => {
                let Some(newest) = sets(&name).pop() else { return };
                let request =
                    json!({"cluster": "default", "service": name, "taskSet": newest, "scale": percent(scale)});
                self.call("UpdateTaskSet", &request).await.ok();
            }
            Step::Promote { name } => {
                let Some(newest) = sets(&name).pop() else { return };
                let request = json!({"cluster": "default", "service": name, "primaryTaskSet": newest});
                self.call("UpdateServicePrimaryTaskSet", &request).await.ok();
            }
            Step::Retire { name } => {
                let sets = sets(&name);
                let Some(oldest) = sets.first().filter(|_| sets.len() > 1) else { return };
                let request = json!({"cluster": "default", "service": name, "taskSet": oldest, "force": true});
                let set = (name, oldest.clone());
                self.checks.promise(|promises| {
                    promises.task_sets.remove(&set);
                });
                if self.call("DeleteTaskSet", &request).await.is_ok() {
                    self.checks.promise(|promises| {
                        promises.retired.insert(set);
                    });
                }
            }
            _ => {}
        }
    }

    /// The service deployment of a service that came last, as the API tells of it.
    async fn deployment(&self, service: &str) -> Option<Json> {
        let listed = self.call("ListServiceDeployments", &json!({"service": service})).await.ok()?;
        let arn = listed["serviceDeployments"].as_array()?.first()?["serviceDeploymentArn"].clone();
        let asked = json!({"serviceDeploymentArns": [arn]});
        let described = self.call("DescribeServiceDeployments", &asked).await.ok()?;
        described["serviceDeployments"].as_array()?.first().cloned()
    }

    async fn resolve_hook(&self, service: &str, back: bool) {
        let Some(deployment) = self.deployment(service).await else { return };
        let hooks = deployment["lifecycleHookDetails"].as_array().cloned().unwrap_or_default();
        let Some(hook) = hooks.into_iter().find(|hook| hook["status"] == "AWAITING_ACTION") else { return };
        let request = json!({
            "serviceDeploymentArn": deployment["serviceDeploymentArn"], "hookId": hook["hookId"],
            "action": if back { "ROLLBACK" } else { "CONTINUE" },
        });
        if self.call("ContinueServiceDeployment", &request).await.is_ok() {
            let id = hook["hookId"].as_str().unwrap_or_default().to_owned();
            self.checks.promise(|promises| {
                promises.hooks.insert(id);
            });
        }
    }

    async fn roll_back(&self, service: &str) {
        let Some(deployment) = self.deployment(service).await else { return };
        let request = json!({"serviceDeploymentArn": deployment["serviceDeploymentArn"], "stopType": "ROLLBACK"});
        if self.call("StopServiceDeployment", &request).await.is_ok() {
            let arn = deployment["serviceDeploymentArn"].as_str().unwrap_or_default();
            let id = arn.rsplit('/').next().unwrap_or_default().to_owned();
            self.checks.promise(|promises| {
                promises.rolled_back.insert(id);
            });
        }
    }

    async fn stop_any(&self) {
        if self.tasks.is_empty() {
            return;
        }
        let chosen = usize::try_from(self.random.below(self.tasks.len() as u64)).unwrap_or(0);
        let id = self.tasks[chosen];
        let request = json!({"task": id.to_string(), "reason": "the story wants it"});
        if self.call("StopTask", &request).await.is_ok() {
            self.checks.promise(|promises| {
                promises.stopped.insert(id);
            });
        }
    }

    /// Takes capacity of FARGATE_SPOT back, as the operator of the machines may.
    async fn reclaim(&self, count: u32) {
        let token = self.random.uuid();
        let request = json!({"interruption": "SPOT_INTERRUPTION", "count": count, "clientToken": token});
        let Ok(answer) = self.call("InterruptFargateTasks", &request).await else { return };
        let arns = answer["taskArns"].as_array().cloned().unwrap_or_default();
        let ids = arns.iter().filter_map(|arn| arn.as_str()?.rsplit('/').next()?.parse::<Id>().ok());
        self.checks.promise(|promises| promises.reclaimed.extend(ids));
    }

    async fn set_state(&self, machine: &str, status: &str) {
        let grant = grant_of(machine);
        let known = self.checks.look(|model| {
            let mut instances = model.instances.values();
            instances.find(|it| it.grant.as_deref() == Some(&grant)).map(|it| it.id.to_string())
        });
        let Some(id) = known else { return };
        let request = json!({"containerInstances": [id], "status": status});
        self.call("UpdateContainerInstancesState", &request).await.ok();
    }
}

/// CreateService as a story's service wants it.
fn service_request(step: &Step, token: String) -> Json {
    let Step::Service { name, definition, desired, minimum, maximum, breaker, alarm, grace, fargate, spot, rollout } =
        step
    else {
        return Json::Null;
    };
    let mut configuration = json!({"minimumHealthyPercent": minimum, "maximumPercent": maximum});
    configuration["deploymentCircuitBreaker"] = json!({"enable": breaker, "rollback": breaker});
    if let Some(rollout) = rollout {
        add_rollout(&mut configuration, rollout);
    }
    if let Some(alarm) = alarm {
        let rollback = *alarm == OnAlarm::RollsBack;
        configuration["alarms"] = json!({"alarmNames": [name], "enable": true, "rollback": rollback});
    }
    let mut request = json!({
        "serviceName": name, "taskDefinition": definition, "desiredCount": desired,
        "deploymentConfiguration": configuration, "clientToken": token,
    });
    if let Some(grace) = grace {
        request["healthCheckGracePeriodSeconds"] = json!(grace.as_secs());
        let group = format!("arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup/{name}/0123456789abcdef");
        request["loadBalancers"] = json!([{"targetGroupArn": group, "containerName": "main", "containerPort": PORT}]);
    }
    if *fargate {
        on_fargate(&mut request, *spot);
    }
    request
}

/// Where standalone tasks run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Instances,
    Fargate,
    Scaled,
}

/// Makes a call's tasks Fargate's, or FARGATE_SPOT's.
fn on_fargate(request: &mut Json, spot: bool) {
    if spot {
        request["capacityProviderStrategy"] = json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]);
    } else {
        request["launchType"] = json!("FARGATE");
    }
    request["networkConfiguration"] = json!({"awsvpcConfiguration": {"subnets": ["subnet-1"]}});
}

fn add_rollout(configuration: &mut Json, rollout: &Rollout) {
    let minutes = |time: &Duration| time.as_secs() / 60;
    configuration["bakeTimeInMinutes"] = json!(minutes(&rollout.bake));
    configuration["strategy"] = match &rollout.shift {
        Shift::BlueGreen => json!("BLUE_GREEN"),
        Shift::Canary(percent, every) => {
            configuration["canaryConfiguration"] =
                json!({"canaryPercent": percent, "canaryBakeTimeInMinutes": minutes(every)});
            json!("CANARY")
        }
        Shift::Linear(percent, every) => {
            configuration["linearConfiguration"] =
                json!({"stepPercent": percent, "stepBakeTimeInMinutes": minutes(every)});
            json!("LINEAR")
        }
    };
    let pause = rollout.pause.as_ref().map(|pause| {
        let action = if pause.goes_on { "CONTINUE" } else { "ROLLBACK" };
        json!({
            "targetType": "PAUSE", "lifecycleStages": [pause.stage],
            "timeoutConfiguration": {"timeoutInMinutes": minutes(&pause.most), "action": action},
        })
    });
    let function = rollout.function.as_ref().map(|asked| {
        let role = format!("arn:aws:iam::{ACCOUNT}:role/hooks");
        json!({"hookTargetArn": arn(asked.verdict), "roleArn": role, "lifecycleStages": [asked.stage]})
    });
    let hooks: Vec<Json> = pause.into_iter().chain(function).collect();
    if !hooks.is_empty() {
        configuration["lifecycleHooks"] = json!(hooks);
    }
}
