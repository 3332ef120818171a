//! CreateDaemon.

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{CreateDaemonRequest, CreateDaemonResponse};
use longshore_model::daemon::{self, DaemonRecord, DaemonStatus, Target};
use longshore_model::{Scope, tags};
use longshore_wire::RequestContext;

use super::{Wishes, api_status, capacity_providers, current_deployment_arn, deployment, invalid};
use crate::changes::Change;
use crate::engine::Engine;
use crate::operations::{daemon_task_definitions, resolve_cluster};
use crate::service::scope_of;
use crate::state::ClusterState;

/// Most characters of a client token.
const MAX_TOKEN: usize = 36;

/// Makes a daemon; its tasks follow.
///
/// # Errors
/// `ClusterNotFoundException`, `ClientException` (no such daemon task definition),
/// `InvalidParameterException`, `UnsupportedFeatureException`.
pub async fn create(
    engine: &Engine,
    context: &RequestContext,
    input: CreateDaemonRequest,
) -> Result<CreateDaemonResponse, ServiceError> {
    let scope = scope_of(context);
    let name = input.daemon_name.clone().unwrap_or_default();
    daemon::check_name(&name)?;
    let token = input.client_token.filter(|token| !token.is_empty());
    if token
        .as_ref()
        .is_some_and(|token| token.len() > MAX_TOKEN || !token.bytes().all(|byte| (33..=126).contains(&byte)))
    {
        return Err(invalid(format!(
            "clientToken is not valid: it may have at most {MAX_TOKEN} characters in the range of 33 to 126."
        )));
    }
    let configuration = daemon::configuration(input.deployment_configuration)?;
    let tags = tags::on_creation(input.tags.as_deref())?;
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
            let cluster = resolve_cluster(records, &scope, input.cluster_arn.as_deref())?;
            let definition = daemon_task_definitions::resolve_active(records, &scope, &named)?;
            let providers = capacity_providers(records, &scope, cluster, &providers)?;
            let revision = wishes.revision(definition, None, now, random)?;
            let wanted = Target { revision: revision.id.clone(), capacity_providers: providers };
            let record = DaemonRecord {
                cluster: cluster.record.id,
                name,
                status: DaemonStatus::Active,
                created_at: now,
                updated_at: now,
                client_token: token,
                revisions: vec![revision],
                deployments: vec![deployment(wanted, Vec::new(), configuration, now, random)],
                completed: None,
                tags,
            };
            if let Some(existing) = known(cluster, &record)? {
                return Ok(answer(&scope, cluster, existing));
            }
            let answer = answer(&scope, cluster, &record);
            changes.push(Change::PutDaemon(scope.clone(), Arc::new(record)));
            Ok::<_, ServiceError>(answer)
        })
        .await
}

/// The daemon that an earlier call with the same arguments and token made.
fn known<'a>(cluster: &'a ClusterState, wanted: &DaemonRecord) -> Result<Option<&'a DaemonRecord>, ServiceError> {
    let Some(existing) = cluster.daemons.get(&wanted.name) else { return Ok(None) };
    if existing.status == DaemonStatus::DeleteInProgress {
        return Err(invalid(format!(
            "The daemon {} is being deleted: wait until it is gone, or use another name.",
            wanted.name
        )));
    }
    if existing.client_token.is_none() || existing.client_token != wanted.client_token {
        return Err(invalid(format!(
            "The daemon {} already exists in the cluster {}. To change it, update it.",
            wanted.name, cluster.record.name
        )));
    }
    if is_same(existing, wanted) {
        return Ok(Some(existing));
    }
    Err(invalid(format!(
        "Creation of daemon was not idempotent: the clientToken was used for the daemon {} with other arguments.",
        wanted.name
    )))
}

fn is_same(existing: &DaemonRecord, wanted: &DaemonRecord) -> bool {
    let (Some(first), Some(new)) = (existing.deployments.last(), wanted.deployments.last()) else { return false };
    let like = match (existing.revision(&first.wanted.revision), wanted.revision(&new.wanted.revision)) {
        (Some(first), Some(new)) => first.is_like(new),
        _ => false,
    };
    like && first.wanted.capacity_providers == new.wanted.capacity_providers
        && first.configuration == new.configuration
        && existing.tags == wanted.tags
}

fn answer(scope: &Scope, cluster: &ClusterState, record: &DaemonRecord) -> CreateDaemonResponse {
    CreateDaemonResponse {
        daemon_arn: Some(record.arn(scope, &cluster.record.name)),
        status: api_status(record),
        created_at: Some(record.created_at),
        deployment_arn: current_deployment_arn(scope, cluster, record),
    }
}
