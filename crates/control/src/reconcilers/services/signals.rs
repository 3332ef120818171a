//! What other rooms know of a service: its load balancers' health checks, and its alarms.

use std::fmt::Debug;

use longshore_api::ecs::LoadBalancer;
use longshore_model::Scope;
use longshore_model::records::TaskRecord;

/// What a load balancer says of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetHealth {
    /// It has not decided yet.
    Initial,
    /// It sends traffic there.
    Healthy,
    /// It sends none, for this reason.
    Unhealthy(String),
}

/// Asked by the service scheduler at each step; must not block.
pub trait ServiceSignals: Debug + Send + Sync {
    /// What the load balancer of a service says of one of its tasks; none when nobody checks it.
    fn target_health(&self, scope: &Scope, balancer: &LoadBalancer, task: &TaskRecord) -> Option<TargetHealth>;

    /// Which of these CloudWatch alarms are in the state ALARM.
    fn in_alarm(&self, scope: &Scope, names: &[String]) -> Vec<String>;
}

/// No load balancer and no alarm is watched.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSignals;

impl ServiceSignals for NoSignals {
    fn target_health(&self, _: &Scope, _: &LoadBalancer, _: &TaskRecord) -> Option<TargetHealth> {
        None
    }

    fn in_alarm(&self, _: &Scope, _: &[String]) -> Vec<String> {
        Vec::new()
    }
}
