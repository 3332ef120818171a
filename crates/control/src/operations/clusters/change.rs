//! UpdateCluster and UpdateClusterSettings.

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    Cluster, ClusterSetting, UpdateClusterRequest, UpdateClusterResponse, UpdateClusterSettingsRequest,
    UpdateClusterSettingsResponse,
};
use longshore_model::records::ClusterRecord;
use longshore_wire::RequestContext;

use super::{Field, rules, view};
use crate::changes::Change;
use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::service::scope_of;

/// Changes settings, configuration and Service Connect namespace; what is not given stays.
///
/// # Errors
/// `ClusterNotFoundException`; `InvalidParameterException` for a member out of its rules.
pub async fn update(
    engine: &Engine,
    context: &RequestContext,
    input: UpdateClusterRequest,
) -> Result<UpdateClusterResponse, ServiceError> {
    let settings = input.settings.unwrap_or_default();
    rules::settings(&settings)?;
    if let Some(configuration) = &input.configuration {
        rules::configuration(configuration)?;
    }
    rules::namespace(&scope_of(context), input.service_connect_defaults.as_ref())?;
    let namespace = input.service_connect_defaults.and_then(|defaults| defaults.namespace);
    let cluster = change(engine, context, input.cluster.as_deref(), |record| {
        set(&mut record.settings, settings);
        if input.configuration.is_some() {
            record.configuration = input.configuration;
        }
        if let Some(namespace) = namespace {
            // The empty name takes the default away.
            record.service_connect_namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
        }
        Ok(())
    })
    .await?;
    Ok(UpdateClusterResponse { cluster: Some(cluster) })
}

/// Changes settings.
///
/// # Errors
/// `ClusterNotFoundException`; `InvalidParameterException` for unknown settings or values.
pub async fn update_settings(
    engine: &Engine,
    context: &RequestContext,
    input: UpdateClusterSettingsRequest,
) -> Result<UpdateClusterSettingsResponse, ServiceError> {
    let settings = input.settings.unwrap_or_default();
    rules::settings(&settings)?;
    let cluster = change(engine, context, input.cluster.as_deref(), |record| {
        set(&mut record.settings, settings);
        Ok(())
    })
    .await?;
    Ok(UpdateClusterSettingsResponse { cluster: Some(cluster) })
}

fn set(settings: &mut Vec<ClusterSetting>, changed: Vec<ClusterSetting>) {
    for setting in changed {
        settings.retain(|known| known.name != setting.name);
        settings.push(setting);
    }
}

/// Changes the record of the ACTIVE cluster `named` and answers how it then looks.
pub(super) async fn change(
    engine: &Engine,
    context: &RequestContext,
    named: Option<&str>,
    change: impl FnOnce(&mut ClusterRecord) -> Result<(), ServiceError>,
) -> Result<Cluster, ServiceError> {
    let scope = scope_of(context);
    engine
        .write(|state, changes| {
            let cluster = resolve_cluster(state.scope(&scope), &scope, named)?;
            let mut record = ClusterRecord::clone(&cluster.record);
            change(&mut record)?;
            let record = Arc::new(record);
            if record != cluster.record {
                changes.push(Change::PutCluster(scope.clone(), record.clone()));
            }
            Ok(view(&scope, cluster, &record, &Field::of_changes()))
        })
        .await
}
