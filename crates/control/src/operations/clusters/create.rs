//! CreateCluster.

use std::sync::Arc;
use std::time::Duration;

use longshore_api::ServiceError;
use longshore_api::ecs::{CreateClusterRequest, CreateClusterResponse, error};
use longshore_model::records::{ClusterRecord, ClusterStatus};
use longshore_model::{Id, Scope, tags};
use longshore_wire::RequestContext;

use super::{Field, rules, view};
use crate::changes::Change;
use crate::engine::Engine;
use crate::operations::{DEFAULT_CLUSTER, account_settings, capacity_providers};
use crate::service::scope_of;
use crate::state::{ClusterState, ScopeState};

/// The setting that new clusters take over from their maker.
const INSIGHTS: &str = "containerInsights";

/// Makes a cluster; answers the one that there is when its name is taken and nothing else was asked for.
///
/// # Errors
/// `InvalidParameterException` for a member out of its rules, or one that the existing cluster has
/// otherwise; `ClientException` when the account has all clusters it may have.
pub async fn create(
    engine: &Engine,
    context: &RequestContext,
    input: CreateClusterRequest,
) -> Result<CreateClusterResponse, ServiceError> {
    let scope = scope_of(context);
    let wanted = wanted(engine, &scope, &input)?;
    let providers = input.capacity_providers.clone().unwrap_or_default();
    let strategy = input.default_capacity_provider_strategy.clone().unwrap_or_default();
    let cluster = engine
        .write(|state, changes| {
            let state = state.scope(&scope);
            let mut wanted = wanted;
            wanted.capacity_providers = capacity_providers::check_associable(state, &scope, &wanted.name, &providers)?;
            wanted.default_strategy =
                capacity_providers::strategy(state, &scope, strategy, &wanted.capacity_providers)?;
            wanted.attachments = super::providers::attachments(engine, state, &wanted);
            if wanted.settings.is_empty() {
                wanted.settings = rules::account_default(account_settings::effective_for(state, context, INSIGHTS));
            }
            if let Some(existing) = state.active_cluster(&wanted.name) {
                same_arguments(&existing.record, &wanted, &input)?;
                return Ok(view(&scope, existing, &existing.record, &Field::of_changes()));
            }
            let active = |cluster: &ClusterState| cluster.record.status == ClusterStatus::Active;
            let active = state.clusters_by_name().filter(|(_, cluster)| active(cluster)).count();
            engine.quotas().check_clusters(active)?;
            let record = Arc::new(after_predecessor(wanted, state));
            changes.push(Change::PutCluster(scope.clone(), record.clone()));
            Ok::<_, ServiceError>(view(&scope, &ClusterState::new(record.clone()), &record, &Field::of_changes()))
        })
        .await?;
    Ok(CreateClusterResponse { cluster: Some(cluster) })
}

/// The cluster that `input` asks for, without what depends on others.
fn wanted(engine: &Engine, scope: &Scope, input: &CreateClusterRequest) -> Result<ClusterRecord, ServiceError> {
    let name = input.cluster_name.clone().unwrap_or_else(|| DEFAULT_CLUSTER.to_owned());
    rules::name(&name)?;
    let settings = input.settings.clone().unwrap_or_default();
    rules::settings(&settings)?;
    if let Some(configuration) = &input.configuration {
        rules::configuration(configuration)?;
    }
    rules::namespace(scope, input.service_connect_defaults.as_ref())?;
    Ok(ClusterRecord {
        id: Id::random(&*engine.seams().random),
        name,
        status: ClusterStatus::Active,
        created_at: engine.seams().clock.now(),
        deleted_at: None,
        settings,
        configuration: input.configuration.clone(),
        capacity_providers: Vec::new(),
        attachments: Vec::new(),
        default_strategy: Vec::new(),
        service_connect_namespace: input
            .service_connect_defaults
            .as_ref()
            .and_then(|defaults| defaults.namespace.clone())
            .filter(|namespace| !namespace.is_empty()),
        tags: tags::on_creation(input.tags.as_deref())?,
    })
}

/// Whether what `input` gives is what the cluster was made with.
fn same_arguments(
    existing: &ClusterRecord,
    wanted: &ClusterRecord,
    input: &CreateClusterRequest,
) -> Result<(), ServiceError> {
    let same = (input.settings.is_none() || rules::effective_settings(existing) == rules::effective_settings(wanted))
        && (input.configuration.is_none() || existing.configuration == wanted.configuration)
        && (input.capacity_providers.is_none() || existing.capacity_providers == wanted.capacity_providers)
        && (input.default_capacity_provider_strategy.is_none() || existing.default_strategy == wanted.default_strategy)
        && (input.service_connect_defaults.is_none()
            || existing.service_connect_namespace == wanted.service_connect_namespace)
        && (input.tags.is_none() || existing.tags == wanted.tags);
    if same {
        return Ok(());
    }
    Err(error::invalid_parameter_exception(
        "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
    ))
}

/// The newest incarnation of a name is the one made last, also when the clock stood still or went back.
fn after_predecessor(mut record: ClusterRecord, state: &ScopeState) -> ClusterRecord {
    if let Some(predecessor) = state.cluster_named(&record.name) {
        let earliest = predecessor.record.created_at.plus(Duration::from_millis(1));
        record.created_at = record.created_at.max(earliest);
    }
    record
}
