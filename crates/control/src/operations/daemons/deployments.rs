//! ListDaemonDeployments and DescribeDaemonDeployments.

use longshore_api::ServiceError;
use longshore_api::ecs::{
    DaemonCircuitBreaker, DaemonDeployment, DaemonDeploymentAlarms, DaemonDeploymentCapacityProvider,
    DaemonDeploymentRevisionDetail, DaemonDeploymentRollbackMonitorsStatus as Monitors, DaemonDeploymentStatus,
    DaemonDeploymentSummary, DaemonRollback, DescribeDaemonDeploymentsRequest, DescribeDaemonDeploymentsResponse,
    Failure, ListDaemonDeploymentsRequest, ListDaemonDeploymentsResponse, error,
};
use longshore_model::daemon::{DaemonDeploymentRecord, DaemonRecord, failure_threshold};
use longshore_model::records::{DesiredStatus, TaskStatus};
use longshore_model::{Id, Scope, capacity_provider};
use longshore_wire::RequestContext;

use super::{Named, invalid, live_tasks, number};
use crate::engine::Engine;
use crate::operations::tasks::capacity::candidates;
use crate::pagination::PageRequest;
use crate::service::scope_of;
use crate::state::ClusterState;

/// Most deployments of one page, and when a call does not say.
const PAGE: (usize, i64) = (100, 20);
/// Most deployments or revisions of one description.
pub(super) const MOST_DESCRIBED: usize = 20;

/// Lists the deployments of a daemon that pass every filter, the newest first.
///
/// # Errors
/// `ClusterNotFoundException`, `ClientException` (no such daemon), `InvalidParameterException`.
pub async fn list_deployments(
    engine: &Engine,
    context: &RequestContext,
    input: ListDaemonDeploymentsRequest,
) -> Result<ListDaemonDeploymentsResponse, ServiceError> {
    let scope = scope_of(context);
    let wanted = input.max_results.map_or(PAGE.1, i64::from);
    let page = PageRequest::parse("ListDaemonDeployments", Some(wanted), input.next_token.as_deref(), PAGE.0)?;
    let arn = input.daemon_arn.unwrap_or_default();
    let named = Named::parse(&scope, "daemon", &arn)?;
    let statuses = input.status.unwrap_or_default();
    let created = input.created_at.unwrap_or_default();
    engine
        .read(|state| {
            let (cluster, record) = named.find(state.scope(&scope))?;
            // The model has no DaemonNotFoundException here.
            let record = record.ok_or_else(|| error::client_exception(format!("Daemon not found: {arn}")))?;
            let deployments = &record.deployments;
            let begin = page.after.as_deref().and_then(|id| deployments.iter().position(|it| it.id == id));
            let matching = deployments[begin.map_or(0, |at| at + 1)..].iter().filter(|it| {
                (statuses.is_empty() || statuses.contains(&it.status))
                    && created.before.is_none_or(|before| it.created_at < before)
                    && created.after.is_none_or(|after| it.created_at > after)
            });
            let (list, next_token) =
                page.take(matching.map(|it| (it.id.clone(), summary(&scope, cluster, record, it))));
            Ok(ListDaemonDeploymentsResponse { daemon_deployments: Some(list), next_token })
        })
        .await
}

fn summary(
    scope: &Scope,
    cluster: &ClusterState,
    record: &DaemonRecord,
    deployment: &DaemonDeploymentRecord,
) -> DaemonDeploymentSummary {
    let name = &cluster.record.name;
    DaemonDeploymentSummary {
        daemon_deployment_arn: Some(record.deployment_arn(scope, name, &deployment.id)),
        daemon_arn: Some(record.arn(scope, name)),
        cluster_arn: Some(scope.cluster_arn(name)),
        status: Some(deployment.status.clone()),
        status_reason: deployment.status_reason.clone(),
        target_daemon_revision_arn: Some(record.revision_arn(scope, name, &deployment.wanted.revision)),
        created_at: Some(deployment.created_at),
        started_at: deployment.started_at,
        stopped_at: deployment.stopped_at,
        finished_at: deployment.finished_at,
    }
}

/// Describes deployments of any daemons.
///
/// # Errors
/// `InvalidParameterException` for none, too many, or what is no ARN of one. One that is not there
/// is among the failures.
pub async fn describe_deployments(
    engine: &Engine,
    context: &RequestContext,
    input: DescribeDaemonDeploymentsRequest,
) -> Result<DescribeDaemonDeploymentsResponse, ServiceError> {
    let scope = scope_of(context);
    let arns = input.daemon_deployment_arns.unwrap_or_default();
    let named = all_named(&scope, "daemon-deployment", "daemonDeploymentArns", &arns)?;
    Ok(engine
        .read(|state| {
            let (mut found, mut failures) = (Vec::new(), Vec::new());
            for (arn, named) in arns.iter().zip(&named) {
                let known = state.scope(&scope).active_cluster(named.cluster).and_then(|cluster| {
                    let record = cluster.daemons.get(named.name)?;
                    let deployment = record.deployments.iter().find(|it| Some(it.id.as_str()) == named.id)?;
                    Some(view(&scope, cluster, record, deployment))
                });
                match known {
                    Some(deployment) => found.push(deployment),
                    None => failures.push(missing(arn)),
                }
            }
            DescribeDaemonDeploymentsResponse { failures: Some(failures), daemon_deployments: Some(found) }
        })
        .await)
}

/// What the ARNs of a description name.
pub(super) fn all_named<'a>(
    scope: &Scope,
    kind: &str,
    member: &str,
    arns: &'a [String],
) -> Result<Vec<Named<'a>>, ServiceError> {
    if arns.is_empty() || arns.len() > MOST_DESCRIBED {
        return Err(invalid(format!("{member} must have 1 to {MOST_DESCRIBED} items; {} were given.", arns.len())));
    }
    arns.iter().map(|arn| Named::parse(scope, kind, arn)).collect()
}

/// The failure of an ARN that names nothing.
pub(super) fn missing(arn: &str) -> Failure {
    Failure { arn: Some(arn.to_owned()), reason: Some("MISSING".to_owned()), detail: None }
}

fn view(
    scope: &Scope,
    cluster: &ClusterState,
    record: &DaemonRecord,
    deployment: &DaemonDeploymentRecord,
) -> DaemonDeployment {
    let name = &cluster.record.name;
    let detail = |revision: &str, target: bool| detail(scope, cluster, record, deployment, revision, target);
    let instances =
        deployment.wanted.capacity_providers.iter().map(|provider| candidates(cluster, Some(provider)).len()).sum();
    DaemonDeployment {
        daemon_deployment_arn: Some(record.deployment_arn(scope, name, &deployment.id)),
        cluster_arn: Some(scope.cluster_arn(name)),
        status: Some(deployment.status.clone()),
        status_reason: deployment.status_reason.clone(),
        target_daemon_revision: Some(detail(&deployment.wanted.revision, true)),
        source_daemon_revisions: Some(deployment.sources.iter().map(|id| detail(id, false)).collect()),
        circuit_breaker: Some(DaemonCircuitBreaker {
            failure_count: Some(deployment.failed_tasks),
            status: Some(breaker_status(deployment)),
            threshold: Some(failure_threshold(instances)),
        }),
        alarms: deployment.configuration.alarms.as_ref().map(|alarms| DaemonDeploymentAlarms {
            status: Some(match alarms.enable {
                Some(true) if deployment.is_open() => Monitors::Monitoring,
                Some(true) => Monitors::MonitoringComplete,
                _ => Monitors::Disabled,
            }),
            alarm_names: alarms.alarm_names.clone(),
            triggered_alarm_names: Some(Vec::new()),
        }),
        rollback: deployment.rollback.as_ref().map(|rollback| DaemonRollback {
            reason: Some(rollback.reason.clone()),
            started_at: Some(rollback.started_at),
            rollback_target_daemon_revision_arn: Some(record.revision_arn(scope, name, &rollback.target.revision)),
            rollback_capacity_providers: Some(
                rollback.target.capacity_providers.iter().map(|it| capacity_provider::arn(scope, it)).collect(),
            ),
        }),
        deployment_configuration: Some(deployment.configuration.clone()),
        created_at: Some(deployment.created_at),
        started_at: deployment.started_at,
        stopped_at: deployment.stopped_at,
        finished_at: deployment.finished_at,
    }
}

fn breaker_status(deployment: &DaemonDeploymentRecord) -> Monitors {
    match deployment.status {
        _ if deployment.broken => Monitors::Triggered,
        DaemonDeploymentStatus::Pending | DaemonDeploymentStatus::InProgress => Monitors::Monitoring,
        _ => Monitors::MonitoringComplete,
    }
}

/// Where the tasks of a revision are, counted by capacity provider.
fn detail(
    scope: &Scope,
    cluster: &ClusterState,
    record: &DaemonRecord,
    deployment: &DaemonDeploymentRecord,
    revision: &str,
    target: bool,
) -> DaemonDeploymentRevisionDetail {
    let started_by = record.revision(revision).map(|it| it.started_by());
    let (mut running, mut draining) = (Vec::new(), Vec::new());
    for task in live_tasks(cluster, &record.name).filter(|task| task.started_by == started_by) {
        match task.desired_status {
            DesiredStatus::Stopped => draining.extend(task.container_instance),
            DesiredStatus::Running if task.last_status == TaskStatus::Running => {
                running.extend(task.container_instance);
            }
            DesiredStatus::Running => {}
        }
    }
    let mut totals = [0; 3];
    let mut providers = Vec::new();
    for provider in &deployment.wanted.capacity_providers {
        let instances: Vec<Id> = candidates(cluster, Some(provider)).iter().map(|it| it.record.id).collect();
        let count = |among: &[Id]| instances.iter().filter(|id| among.contains(id)).count();
        let (with, leaving) = (count(&running), count(&draining));
        let without = if target { instances.len() - with } else { 0 };
        for (total, part) in totals.iter_mut().zip([with, without, leaving]) {
            *total += part;
        }
        providers.push(DaemonDeploymentCapacityProvider {
            arn: Some(capacity_provider::arn(scope, provider)),
            running_instance_count: number(with),
            without_daemon_instance_count: number(without),
            draining_instance_count: number(leaving),
        });
    }
    DaemonDeploymentRevisionDetail {
        arn: Some(record.revision_arn(scope, &cluster.record.name, revision)),
        capacity_providers: Some(providers),
        total_running_instance_count: number(totals[0]),
        total_without_daemon_instance_count: number(totals[1]),
        total_draining_instance_count: number(totals[2]),
    }
}
