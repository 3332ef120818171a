//! PutClusterCapacityProviders.

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    Attachment, KeyValuePair, PutClusterCapacityProvidersRequest, PutClusterCapacityProvidersResponse,
};
use longshore_model::records::ClusterRecord;
use longshore_wire::RequestContext;

use super::{Field, view};
use crate::changes::Change;
use crate::engine::Engine;
use crate::operations::capacity_providers::{check_associable, check_removable, strategy};
use crate::operations::resolve_cluster;
use crate::service::scope_of;
use crate::state::ScopeState;

/// Detail of an attachment that names its capacity provider.
const PROVIDER: &str = "capacityProviderName";

/// Replaces a cluster's capacity providers and its default strategy; its managed instances stay.
///
/// # Errors
/// `ClusterNotFoundException`; `InvalidParameterException` for unknown providers or a strategy out of its rules;
/// `ResourceInUseException` for the removal of a provider that something uses.
pub async fn put_capacity_providers(
    engine: &Engine,
    context: &RequestContext,
    input: PutClusterCapacityProvidersRequest,
) -> Result<PutClusterCapacityProvidersResponse, ServiceError> {
    let scope = scope_of(context);
    let given = input.capacity_providers.unwrap_or_default();
    let wanted = input.default_capacity_provider_strategy.unwrap_or_default();
    let cluster = engine
        .write(|state, changes| {
            let state = state.scope(&scope);
            let cluster = resolve_cluster(state, &scope, input.cluster.as_deref())?;
            let capacity_providers = check_associable(state, &scope, &cluster.record.name, &given)?;
            let default_strategy = strategy(state, &scope, wanted, &capacity_providers)?;
            check_removable(cluster, &scope, &capacity_providers)?;
            let known = ClusterRecord::clone(&cluster.record);
            let mut record = ClusterRecord { capacity_providers, default_strategy, ..known };
            record.attachments = attachments(engine, state, &record);
            let record = Arc::new(record);
            if record != cluster.record {
                changes.push(Change::PutCluster(scope.clone(), record.clone()));
            }
            let mut include = Field::of_changes();
            include.insert(Field::Attachments);
            Ok::<_, ServiceError>(view(&scope, cluster, &record, &include))
        })
        .await?;
    Ok(PutClusterCapacityProvidersResponse { cluster: Some(cluster) })
}

/// The scaling policies of the cluster's providers with managed scaling; those that it has stay as they are.
pub(super) fn attachments(engine: &Engine, state: &ScopeState, record: &ClusterRecord) -> Vec<Attachment> {
    let is_scaled = |name: &&String| state.capacity_providers.get(*name).is_some_and(|known| known.is_scaled());
    let attachment = |name: &String| {
        let known = record.attachments.iter().find(|known| provider_of(known) == Some(name));
        known.cloned().unwrap_or_else(|| scaling_policy(engine, name))
    };
    record.capacity_providers.iter().filter(is_scaled).map(attachment).collect()
}

fn provider_of(attachment: &Attachment) -> Option<&String> {
    let mut details = attachment.details.iter().flatten();
    details.find(|detail| detail.name.as_deref() == Some(PROVIDER))?.value.as_ref()
}

fn scaling_policy(engine: &Engine, provider: &str) -> Attachment {
    let random = &engine.seams().random;
    let detail = |name: &str, value: String| KeyValuePair { name: Some(name.to_owned()), value: Some(value) };
    Attachment {
        id: Some(random.uuid()),
        r#type: Some("as_policy".to_owned()),
        status: Some("CREATED".to_owned()),
        details: Some(vec![
            detail(PROVIDER, provider.to_owned()),
            detail("scalingPolicyName", format!("ECSManagedAutoScalingPolicy-{}", random.uuid())),
        ]),
    }
}
