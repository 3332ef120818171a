//! UpdateDaemon.

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{DaemonDeploymentStatus, UpdateDaemonRequest, UpdateDaemonResponse};
use longshore_model::daemon::{self, DaemonRecord, Target};
use longshore_wire::RequestContext;

use super::{
    Wishes, api_status, capacity_providers, current_deployment_arn, deployment, live_revisions, resolve_active,
};
use crate::changes::Change;
use crate::engine::Engine;
use crate::operations::daemon_task_definitions;
use crate::service::scope_of;

/// Begins a deployment; one that is under way is stopped. Tasks are replaced only when they would
/// be different ones.
///
/// # Errors
/// `ClusterNotFoundException`, `DaemonNotFoundException`, `DaemonNotActiveException`, `ClientException`
/// (no such daemon task definition), `InvalidParameterException`, `UnsupportedFeatureException`.
pub async fn update(
    engine: &Engine,
    context: &RequestContext,
    input: UpdateDaemonRequest,
) -> Result<UpdateDaemonResponse, ServiceError> {
    let scope = scope_of(context);
    let arn = input.daemon_arn.unwrap_or_default();
    let configuration = input.deployment_configuration.map(|it| daemon::configuration(Some(it))).transpose()?;
    let wishes = Wishes {
        propagate_tags: input.propagate_tags,
        managed_tags: input.enable_ecs_managed_tags,
        execute_command: input.enable_execute_command,
        critical: input.critical,
    };
    let named = input.daemon_task_definition_arn.unwrap_or_default();
    let providers = input.capacity_provider_arns.unwrap_or_default();
    let (now, random) = (engine.seams().clock.now(), &*engine.seams().random);
    engine
        .write(|state, changes| {
            let records = state.scope(&scope);
            let (cluster, before) = resolve_active(records, &scope, &arn)?;
            let definition = daemon_task_definitions::resolve_active(records, &scope, &named)?;
            let providers = capacity_providers(records, &scope, cluster, &providers)?;
            let mut record = DaemonRecord::clone(before);
            let current = before.current();
            let latest = current.and_then(|it| before.revision(&it.wanted.revision));
            let revision = wishes.revision(definition, latest, now, random)?;
            let configuration = match configuration {
                Some(given) => given,
                None => daemon::configuration(current.map(|it| it.configuration.clone()))?,
            };
            // A revision that is like an earlier one is that one: its tasks may run on.
            let known = before.revisions.iter().find(|known| known.is_like(&revision)).map(|known| known.id.clone());
            let target = known.unwrap_or_else(|| {
                let id = revision.id.clone();
                record.revisions.insert(0, revision);
                id
            });
            let live = live_revisions(cluster, before);
            let sources = live.iter().filter(|id| **id != target).cloned().collect();
            let wanted = Target { revision: target, capacity_providers: providers };
            let new = deployment(wanted, sources, configuration, now, random);
            if let Some(open) = record.deployments.first_mut().filter(|it| it.is_open()) {
                let reason = format!("Stopped by the later deployment {}.", new.id);
                open.finish(DaemonDeploymentStatus::Stopped, now, Some(reason));
            }
            record.deploy(new, &live);
            record.updated_at = now;
            let answer = UpdateDaemonResponse {
                daemon_arn: Some(arn.clone()),
                status: api_status(&record),
                created_at: Some(record.created_at),
                updated_at: Some(now),
                deployment_arn: current_deployment_arn(&scope, cluster, &record),
            };
            changes.push(Change::PutDaemon(scope.clone(), Arc::new(record)));
            Ok::<_, ServiceError>(answer)
        })
        .await
}
