//! Daemons, their revisions and their deployments.

mod create;
mod delete;
mod deployments;
mod describe;
mod revisions;
#[cfg(test)]
pub(crate) mod tests;
mod update;

pub use create::create;
pub use delete::delete;
pub use deployments::{describe_deployments, list_deployments};
pub use describe::{describe, list};
pub use revisions::describe_revisions;
pub use update::update;

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    DaemonDeploymentConfiguration, DaemonDeploymentStatus, DaemonPropagateTags, DaemonStatus as ApiStatus, error,
};
use longshore_model::capacity_provider::{self, BUILT_IN};
use longshore_model::daemon::{
    DaemonDeploymentRecord, DaemonRecord, DaemonRevisionRecord, DaemonStatus, Target, check_runnable,
};
use longshore_model::records::{TaskDefinitionRecord, TaskRecord, TaskStatus};
use longshore_model::{Arn, Id, Scope};
use longshore_seams::{Random, Timestamp};

use crate::operations::cluster_not_found;
use crate::state::{ClusterState, ScopeState};

/// Most capacity providers of a daemon: as of a cluster.
const MAX_PROVIDERS: usize = 20;

fn invalid(message: impl Into<String>) -> ServiceError {
    error::invalid_parameter_exception(message)
}

/// A daemon's cluster and name in its ARN, with the id of one of its revisions or deployments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named<'a> {
    pub cluster: &'a str,
    pub name: &'a str,
    pub id: Option<&'a str>,
}

impl<'a> Named<'a> {
    /// Reads the ARN of a `kind`: `daemon`, `daemon-revision` or `daemon-deployment`.
    ///
    /// # Errors
    /// `InvalidParameterException` for anything else.
    pub fn parse(scope: &Scope, kind: &str, text: &'a str) -> Result<Self, ServiceError> {
        let parsed = Arn::parse(text).filter(|arn| arn.is_ecs_in(scope)).and_then(|arn| arn.resource_of(kind));
        let named = parsed.and_then(|rest| {
            let mut parts = rest.split('/');
            let (cluster, name, id) = (parts.next()?, parts.next()?, parts.next());
            let whole = parts.next().is_none() && id.is_some() == (kind != "daemon");
            whole.then_some(Self { cluster, name, id })
        });
        named.ok_or_else(|| {
            invalid(format!("Invalid identifier: {text} is no ARN of a {kind} of this account and region."))
        })
    }

    /// The daemon that it names; `None` when there is none in the cluster.
    ///
    /// # Errors
    /// `ClusterNotFoundException`.
    pub fn find<'s>(
        &self,
        state: &'s ScopeState,
    ) -> Result<(&'s ClusterState, Option<&'s Arc<DaemonRecord>>), ServiceError> {
        let cluster = state.active_cluster(self.cluster).ok_or_else(cluster_not_found)?;
        Ok((cluster, cluster.daemons.get(self.name)))
    }
}

/// The daemon whose ARN is `arn`.
fn resolve<'a>(
    state: &'a ScopeState,
    scope: &Scope,
    arn: &str,
) -> Result<(&'a ClusterState, &'a Arc<DaemonRecord>), ServiceError> {
    let (cluster, found) = Named::parse(scope, "daemon", arn)?.find(state)?;
    match found {
        Some(record) => Ok((cluster, record)),
        None => Err(error::daemon_not_found_exception(format!("Daemon not found: {arn}"))),
    }
}

/// A daemon that can be changed.
fn resolve_active<'a>(
    state: &'a ScopeState,
    scope: &Scope,
    arn: &str,
) -> Result<(&'a ClusterState, &'a Arc<DaemonRecord>), ServiceError> {
    let (cluster, record) = resolve(state, scope, arn)?;
    if record.status == DaemonStatus::Active {
        return Ok((cluster, record));
    }
    Err(error::daemon_not_active_exception(format!("Daemon is not ACTIVE, it is being deleted: {arn}")))
}

/// The names of the capacity providers on whose instances a daemon is wanted, in the request's order.
fn capacity_providers(
    state: &ScopeState,
    scope: &Scope,
    cluster: &ClusterState,
    given: &[String],
) -> Result<Vec<String>, ServiceError> {
    if given.is_empty() || given.len() > MAX_PROVIDERS {
        let message = format!("capacityProviderArns must have 1 to {MAX_PROVIDERS} items; {} were given.", given.len());
        return Err(invalid(message));
    }
    let mut names: Vec<String> = Vec::new();
    for named in given {
        let name = capacity_provider::name_of(scope, named).unwrap_or("");
        if BUILT_IN.contains(&name) {
            return Err(invalid(format!(
                "The capacity provider {name} has no container instances: a daemon needs others."
            )));
        }
        if !state.capacity_providers.get(name).is_some_and(|known| known.is_active()) {
            return Err(invalid(format!(
                "The specified capacity provider '{named}' was not found. Specify a valid ARN and try again."
            )));
        }
        if !cluster.record.capacity_providers.iter().any(|known| known == name) {
            return Err(invalid(format!(
                "The specified capacity provider '{name}' is not associated with the cluster {}.",
                cluster.record.name
            )));
        }
        if names.iter().any(|known| known == name) {
            return Err(invalid(format!("The capacity provider '{name}' is given more than once.")));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// Nineteen digits, as the ids of service revisions.
fn new_id(random: &dyn Random) -> String {
    format!("{:019}", random.below(10_000_000_000_000_000_000))
}

/// What a request says about the tasks of a daemon.
struct Wishes {
    propagate_tags: Option<DaemonPropagateTags>,
    managed_tags: Option<bool>,
    execute_command: Option<bool>,
    critical: Option<bool>,
}

impl Wishes {
    /// The revision that they make of `definition`; what they leave out is as `before`.
    fn revision(
        &self,
        definition: &TaskDefinitionRecord,
        before: Option<&DaemonRevisionRecord>,
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<DaemonRevisionRecord, ServiceError> {
        check_runnable(definition)?;
        let kept = |member: fn(&DaemonRevisionRecord) -> bool| before.is_some_and(member);
        let propagate = self.propagate_tags.clone().or_else(|| before.map(|it| it.propagate_tags.clone()));
        Ok(DaemonRevisionRecord {
            id: new_id(random),
            family: definition.family.clone(),
            revision: definition.revision,
            propagate_tags: propagate.unwrap_or(DaemonPropagateTags::None),
            enable_ecs_managed_tags: self.managed_tags.unwrap_or_else(|| kept(|it| it.enable_ecs_managed_tags)),
            enable_execute_command: self.execute_command.unwrap_or_else(|| kept(|it| it.enable_execute_command)),
            // A daemon is critical unless it says that it is not.
            critical: self.critical.unwrap_or_else(|| before.is_none_or(|it| it.critical)),
            created_at: now,
        })
    }
}

/// A deployment that has yet to begin.
fn deployment(
    wanted: Target,
    sources: Vec<String>,
    configuration: DaemonDeploymentConfiguration,
    now: Timestamp,
    random: &dyn Random,
) -> DaemonDeploymentRecord {
    DaemonDeploymentRecord {
        id: new_id(random),
        status: DaemonDeploymentStatus::Pending,
        status_reason: None,
        wanted,
        sources,
        configuration,
        created_at: now,
        started_at: None,
        stopped_at: None,
        finished_at: None,
        baking_since: None,
        failed_tasks: 0,
        broken: false,
        failures_in_a_row: 0,
        // Only what stops from now on counts.
        counted: (now, Id::random(random)),
        retry_at: None,
        rollback: None,
    }
}

/// Tasks of the daemon called `name` that have not ended.
pub(crate) fn live_tasks<'a>(cluster: &'a ClusterState, name: &str) -> impl Iterator<Item = &'a Arc<TaskRecord>> {
    let ids = cluster.index.group.get(&DaemonRecord::group_of(name)).into_iter().flatten();
    let tasks = ids.filter_map(|id| cluster.tasks.get(id));
    let name = name.to_owned();
    // A user may call a group of tasks of their own the same.
    tasks.filter(move |task| task.daemon.as_deref() == Some(&name) && task.last_status != TaskStatus::Stopped)
}

/// Ids of the revisions of which tasks are live.
fn live_revisions(cluster: &ClusterState, record: &DaemonRecord) -> Vec<String> {
    let started: Vec<&str> = live_tasks(cluster, &record.name).filter_map(|task| task.started_by.as_deref()).collect();
    let live = record.revisions.iter().filter(|revision| started.contains(&revision.started_by().as_str()));
    live.map(|revision| revision.id.clone()).collect()
}

fn api_status(record: &DaemonRecord) -> Option<ApiStatus> {
    Some(record.status.into())
}

fn current_deployment_arn(scope: &Scope, cluster: &ClusterState, record: &DaemonRecord) -> Option<String> {
    record.current().map(|it| record.deployment_arn(scope, &cluster.record.name, &it.id))
}

fn number(count: usize) -> Option<i32> {
    Some(i32::try_from(count).unwrap_or(i32::MAX))
}
