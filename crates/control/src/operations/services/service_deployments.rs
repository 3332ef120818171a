//! ListServiceDeployments, DescribeServiceDeployments, StopServiceDeployment and ContinueServiceDeployment.

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    ContinueServiceDeploymentRequest, ContinueServiceDeploymentResponse, DeploymentLifecycleHookAction as HookAction,
    DescribeServiceDeploymentsRequest, DescribeServiceDeploymentsResponse, Failure, ListServiceDeploymentsRequest,
    ListServiceDeploymentsResponse, Rollback, ServiceDeployment, ServiceDeploymentBrief,
    ServiceDeploymentStatus as Status, ServiceRevisionSummary, StopServiceDeploymentRequest,
    StopServiceDeploymentResponse, StopServiceDeploymentStopType as StopType, error,
};
use longshore_model::Scope;
use longshore_model::service::{Progress, RevisionCounts, ServiceDeploymentRecord, ServiceRecord};
use longshore_seams::Timestamp;
use longshore_wire::RequestContext;

use super::resolve_service;
use super::view::counts;
use crate::changes::Change;
use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::pagination::PageRequest;
use crate::service::scope_of;
use crate::state::{ClusterState, ScopeState};

/// Most service deployments or revisions of one description.
const MOST: usize = 20;
/// Most service deployments of one page, and how many it has when the request does not say.
const PAGE: (usize, i64) = (100, 20);

pub(super) fn check_arns(member: &str, arns: &[String]) -> Result<(), ServiceError> {
    match arns.len() {
        0 => Err(error::invalid_parameter_exception(format!("{member} cannot be empty."))),
        1..=MOST => Ok(()),
        many => Err(error::invalid_parameter_exception(format!(
            "{member} can have at most {MOST} items; {many} were given."
        ))),
    }
}

fn foreign(arn: &str) -> ServiceError {
    error::invalid_parameter_exception(format!(
        "Invalid identifier: {arn} is not a service deployment of this account and region."
    ))
}

/// The service deployment that `arn` names, with its cluster.
fn find<'a>(
    state: &'a ScopeState,
    scope: &Scope,
    arn: &str,
) -> Result<Option<(&'a ClusterState, &'a Arc<ServiceDeploymentRecord>)>, ServiceError> {
    let (cluster, service, id) = scope.in_service("service-deployment", arn).ok_or_else(|| foreign(arn))?;
    let Some(cluster) = state.cluster_named(cluster) else { return Ok(None) };
    let history = cluster.service_history.get(service);
    Ok(history.and_then(|history| history.deployments.get(id)).map(|found| (cluster, found)))
}

/// Writes the tasks of its revisions, as they are now, into a service deployment that ends.
pub(crate) fn freeze_counts(cluster: &ClusterState, service: &ServiceRecord, deployment: &mut ServiceDeploymentRecord) {
    for revision in deployment.sources.iter_mut().chain([&mut deployment.target]) {
        let of = service.deployments.iter().find(|it| it.number() == revision.number);
        (revision.pending, revision.running) = of.map_or((0, 0), |it| counts(cluster, &it.id));
        revision.requested = of.map_or(0, |it| it.desired_count);
    }
}

/// Lists service deployments of a service, the newest first.
///
/// # Errors
/// `ClusterNotFoundException`, `ServiceNotFoundException`, `InvalidParameterException`.
pub async fn list_service_deployments(
    engine: &Engine,
    context: &RequestContext,
    input: ListServiceDeploymentsRequest,
) -> Result<ListServiceDeploymentsResponse, ServiceError> {
    let scope = scope_of(context);
    let wanted = input.max_results.map_or(PAGE.1, i64::from);
    let page = PageRequest::parse("ListServiceDeployments", Some(wanted), input.next_token.as_deref(), PAGE.0)?;
    let statuses = input.status.unwrap_or_default();
    if let Some(unknown) = statuses.iter().find(|it| matches!(it, Status::UnknownVariant(_))) {
        let message = format!("status '{}' is not that of a service deployment.", unknown.as_str());
        return Err(error::invalid_parameter_exception(message));
    }
    let created = input.created_at.unwrap_or_default();
    engine
        .read(|state| {
            let cluster = resolve_cluster(state.scope(&scope), &scope, input.cluster.as_deref())?;
            let service = resolve_service(cluster, &scope, input.service.as_deref())?;
            let all = cluster.service_history.get(&service.name).into_iter().flat_map(|it| it.deployments.values());
            // Those of an earlier service of this name are not its own.
            let matching = all.filter(|it| {
                it.created_at >= service.created_at
                    && (statuses.is_empty() || statuses.contains(&it.status))
                    && created.after.is_none_or(|after| it.created_at >= after)
                    && created.before.is_none_or(|before| it.created_at <= before)
            });
            let mut keyed: Vec<_> = matching.map(|it| (newest_first(it), it)).collect();
            keyed.sort_unstable_by(|one, other| one.0.cmp(&other.0));
            let rest = keyed.into_iter().filter(|(key, _)| page.after.as_ref().is_none_or(|after| key > after));
            let (service_deployments, next_token) =
                page.take(rest.map(|(key, it)| (key, brief(&scope, &cluster.record.name, it))));
            Ok(ListServiceDeploymentsResponse { service_deployments: Some(service_deployments), next_token })
        })
        .await
}

/// A key by which newer ones come first.
fn newest_first(record: &ServiceDeploymentRecord) -> String {
    format!("{:020}-{}", i64::MAX.saturating_sub(record.created_at.as_millis()), record.id)
}

fn brief(scope: &Scope, cluster: &str, record: &ServiceDeploymentRecord) -> ServiceDeploymentBrief {
    ServiceDeploymentBrief {
        service_deployment_arn: Some(scope.service_deployment_arn(cluster, &record.service, &record.id)),
        service_arn: Some(scope.service_arn(cluster, &record.service)),
        cluster_arn: Some(scope.cluster_arn(cluster)),
        started_at: record.started_at,
        created_at: Some(record.created_at),
        finished_at: record.finished_at,
        target_service_revision_arn: Some(scope.service_revision_arn(cluster, &record.service, &record.target.number)),
        status: Some(record.status.clone()),
        status_reason: record.status_reason.clone(),
    }
}

/// Describes service deployments.
///
/// # Errors
/// `InvalidParameterException` for too many ARNs or one of something else.
pub async fn describe_service_deployments(
    engine: &Engine,
    context: &RequestContext,
    input: DescribeServiceDeploymentsRequest,
) -> Result<DescribeServiceDeploymentsResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.service_deployment_arns.unwrap_or_default();
    check_arns("serviceDeploymentArns", &named)?;
    engine
        .read(|state| {
            let (mut service_deployments, mut failures) = (Vec::new(), Vec::new());
            for arn in &named {
                match find(state.scope(&scope), &scope, arn)? {
                    Some((cluster, record)) => service_deployments.push(view(&scope, cluster, record)),
                    None => failures.push(Failure {
                        arn: Some(arn.clone()),
                        reason: Some("MISSING".to_owned()),
                        detail: None,
                    }),
                }
            }
            let service_deployments = Some(service_deployments);
            Ok(DescribeServiceDeploymentsResponse { service_deployments, failures: Some(failures) })
        })
        .await
}

fn view(scope: &Scope, cluster: &ClusterState, record: &ServiceDeploymentRecord) -> ServiceDeployment {
    let name = &cluster.record.name;
    let mut now = record.clone();
    if let Some(service) = cluster.services.get(&record.service).filter(|_| record.is_ongoing()) {
        freeze_counts(cluster, service, &mut now);
    }
    // The first source has what the target has not.
    let first = record.sources.first().map(|it| it.number.clone());
    let weight = |of: &RevisionCounts, share: fn(&Progress) -> f64| {
        let share = record.progress.as_ref().filter(|_| record.is_staged()).map(share)?;
        Some(match &of.number {
            number if *number == record.target.number => share,
            number if Some(number) == first.as_ref() => 100.0 - share,
            _ => 0.0,
        })
    };
    let revision = |of: &RevisionCounts| ServiceRevisionSummary {
        arn: Some(scope.service_revision_arn(name, &record.service, &of.number)),
        requested_task_count: Some(of.requested),
        running_task_count: Some(of.running),
        pending_task_count: Some(of.pending),
        requested_test_traffic_weight: weight(of, |progress| progress.test_weight),
        requested_production_traffic_weight: weight(of, |progress| progress.weight),
    };
    ServiceDeployment {
        service_deployment_arn: Some(scope.service_deployment_arn(name, &record.service, &record.id)),
        service_arn: Some(scope.service_arn(name, &record.service)),
        cluster_arn: Some(scope.cluster_arn(name)),
        created_at: Some(record.created_at),
        started_at: record.started_at,
        finished_at: record.finished_at,
        stopped_at: record.stopped_at,
        updated_at: Some(record.updated_at),
        source_service_revisions: Some(now.sources.iter().map(revision).collect()),
        target_service_revision: Some(revision(&now.target)),
        status: Some(record.status.clone()),
        status_reason: record.status_reason.clone(),
        lifecycle_stage: record.progress.as_ref().filter(|_| record.is_ongoing()).map(|it| it.stage.shown()),
        lifecycle_hook_details: record.hook_details(),
        deployment_configuration: Some(record.configuration.clone()),
        rollback: record.rollback.as_ref().map(|it| Rollback {
            reason: Some(it.reason.clone()),
            started_at: Some(it.started_at),
            service_revision_arn: Some(scope.service_revision_arn(name, &record.service, &it.number)),
        }),
        deployment_circuit_breaker: Some(record.circuit_breaker()),
        alarms: record.alarms(),
    }
}

/// The service deployment that `arn` names, if it goes on, with its service.
fn ongoing<'a>(
    state: &'a ScopeState,
    scope: &Scope,
    arn: &str,
    verb: &str,
) -> Result<(&'a Arc<ServiceDeploymentRecord>, &'a Arc<ServiceRecord>), ServiceError> {
    let (cluster, record) = find(state, scope, arn)?.ok_or_else(|| not_found(arn))?;
    let service = cluster.services.get(&record.service).filter(|_| record.is_ongoing());
    let service = service.ok_or_else(|| {
        error::conflict_exception(format!(
            "Service deployment {arn} is {} and cannot be {verb}: it has ended.",
            record.status.as_str()
        ))
    })?;
    Ok((record, service))
}

/// Stops a service deployment: by going back to the revision before (ROLLBACK, the default), or by
/// leaving the service as it is (ABORT). The loop does it.
///
/// # Errors
/// `ServiceDeploymentNotFoundException`, `ConflictException` for one that has ended,
/// `InvalidParameterException` when there is nothing to go back to.
pub async fn stop_service_deployment(
    engine: &Engine,
    context: &RequestContext,
    input: StopServiceDeploymentRequest,
) -> Result<StopServiceDeploymentResponse, ServiceError> {
    let scope = scope_of(context);
    let now = engine.seams().clock.now();
    let arn = input.service_deployment_arn.unwrap_or_default();
    let how = input.stop_type.unwrap_or(StopType::Rollback);
    engine
        .write(|state, changes| {
            let (before, service) = ongoing(state.scope(&scope), &scope, &arn, "stopped")?;
            if let Some(stopped) = stopped(before, service, &how, &arn, now)? {
                changes.push(Change::PutServiceDeployment(scope.clone(), Arc::new(stopped)));
            }
            Ok(StopServiceDeploymentResponse { service_deployment_arn: Some(arn.clone()) })
        })
        .await
}

/// The service deployment with the wish to stop it; none when it is being stopped already.
fn stopped(
    before: &ServiceDeploymentRecord,
    service: &ServiceRecord,
    how: &StopType,
    arn: &str,
    now: Timestamp,
) -> Result<Option<ServiceDeploymentRecord>, ServiceError> {
    if !matches!(before.status, Status::Pending | Status::InProgress) {
        return Ok(None);
    }
    let mut after = before.clone();
    match how {
        StopType::Abort => {
            after.become_status(
                Status::StopRequested,
                Some("Service deployment stop requested by user.".to_owned()),
                now,
            );
        }
        StopType::Rollback => {
            let good = service.last_completed.as_deref().filter(|good| good.number() != before.target.number);
            if good.is_none() {
                return Err(error::invalid_parameter_exception(format!(
                    "Service deployment {arn} cannot be rolled back: no earlier deployment of the service has completed. Use stopType ABORT, or update the service."
                )));
            }
            after.become_status(
                Status::RollbackRequested,
                Some("Service deployment rollback requested by user.".to_owned()),
                now,
            );
        }
        StopType::UnknownVariant(other) => {
            let message = format!("stopType '{other}' is not valid: use ROLLBACK or ABORT.");
            return Err(error::invalid_parameter_exception(message));
        }
    }
    Ok(Some(after))
}

/// Lets a service deployment that waits at a lifecycle hook go on, or back.
///
/// # Errors
/// `ServiceDeploymentNotFoundException`, `InvalidParameterException` when it waits at no such hook.
pub async fn continue_service_deployment(
    engine: &Engine,
    context: &RequestContext,
    input: ContinueServiceDeploymentRequest,
) -> Result<ContinueServiceDeploymentResponse, ServiceError> {
    let scope = scope_of(context);
    let now = engine.seams().clock.now();
    let arn = input.service_deployment_arn.unwrap_or_default();
    let hook = input.hook_id.unwrap_or_default();
    let action = input.action.unwrap_or(HookAction::Continue);
    if let HookAction::UnknownVariant(other) = &action {
        let message = format!("action '{other}' is not valid: use CONTINUE or ROLLBACK.");
        return Err(error::invalid_parameter_exception(message));
    }
    engine
        .write(|state, changes| {
            let (_, before) = find(state.scope(&scope), &scope, &arn)?.ok_or_else(|| not_found(&arn))?;
            let mut after = ServiceDeploymentRecord::clone(before);
            if before.status != Status::InProgress || !after.resolve_hook(&hook, &action, now) {
                return Err(error::invalid_parameter_exception(format!(
                    "Service deployment {arn} is {} and does not wait at the lifecycle hook {hook}.",
                    before.status.as_str()
                )));
            }
            if action == HookAction::Rollback {
                let reason = format!("Service deployment rollback requested by user at the lifecycle hook {hook}.");
                after.become_status(Status::RollbackRequested, Some(reason), now);
            }
            changes.push(Change::PutServiceDeployment(scope.clone(), Arc::new(after)));
            Ok(ContinueServiceDeploymentResponse { service_deployment_arn: Some(arn.clone()) })
        })
        .await
}

fn not_found(arn: &str) -> ServiceError {
    error::service_deployment_not_found_exception(format!("Service deployment not found: {arn}."))
}
