//! DescribeExpressGatewayService.

use longshore_api::ServiceError;
use longshore_api::ecs::{
    DescribeExpressGatewayServiceRequest, DescribeExpressGatewayServiceResponse, ECSExpressGatewayService,
    ExpressGatewayServiceConfiguration, ExpressGatewayServiceInclude, error,
};
use longshore_model::arn::InCluster;
use longshore_model::express::{self, ExpressRecord};
use longshore_model::service::{DeploymentRecord, ServiceRecord, ServiceStatus};
use longshore_model::{Scope, tags};
use longshore_wire::RequestContext;

use crate::engine::Engine;
use crate::operations::cluster_not_found;
use crate::service::scope_of;
use crate::state::{ClusterState, ScopeState};

/// Where a service's ARN says that it is; the short format names no cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub cluster: Option<&'a str>,
    pub name: &'a str,
}

impl<'a> Place<'a> {
    /// # Errors
    /// `InvalidParameterException` for what is no ARN of a service.
    pub fn parse(scope: &Scope, arn: &'a str) -> Result<Self, ServiceError> {
        match scope.in_cluster("service", arn) {
            InCluster::Qualified(cluster, name) => Ok(Self { cluster: Some(cluster), name }),
            InCluster::Bare(name) if arn.starts_with("arn:") => Ok(Self { cluster: None, name }),
            _ => Err(error::invalid_parameter_exception(format!(
                "Invalid identifier: {arn} is no ARN of a service of this account and region."
            ))),
        }
    }
}

/// An Express gateway service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub cluster: &'a ClusterState,
    pub service: &'a ServiceRecord,
    pub express: &'a ExpressRecord,
}

/// The Express gateway service that is there.
pub(super) fn find<'a>(state: &'a ScopeState, place: Place<'_>) -> Option<Found<'a>> {
    let at = |cluster: &'a ClusterState| {
        let service = cluster.services.get(place.name)?;
        Some(Found { cluster, service, express: service.express.as_deref()? })
    };
    match place.cluster {
        Some(cluster) => at(state.active_cluster(cluster)?),
        None => state.clusters_by_name().find_map(|(_, cluster)| at(cluster)),
    }
}

/// One that can be changed.
///
/// # Errors
/// `ClusterNotFoundException`, `ServiceNotFoundException`, `ServiceNotActiveException`.
pub(super) fn find_active<'a>(state: &'a ScopeState, place: Place<'_>, arn: &str) -> Result<Found<'a>, ServiceError> {
    check_cluster(state, place)?;
    let found = find(state, place).ok_or_else(|| {
        error::service_not_found_exception(format!("Service not found: no Express gateway service is {arn}."))
    })?;
    if found.service.status == ServiceStatus::Active {
        return Ok(found);
    }
    Err(error::service_not_active_exception("Service was not ACTIVE."))
}

fn check_cluster(state: &ScopeState, place: Place<'_>) -> Result<(), ServiceError> {
    match place.cluster {
        Some(cluster) if state.active_cluster(cluster).is_none() => Err(cluster_not_found()),
        _ => Ok(()),
    }
}

/// Describes an Express gateway service, also one that is DRAINING or INACTIVE.
///
/// # Errors
/// `ClusterNotFoundException`, `ResourceNotFoundException`, `InvalidParameterException`.
pub async fn describe(
    engine: &Engine,
    context: &RequestContext,
    input: DescribeExpressGatewayServiceRequest,
) -> Result<DescribeExpressGatewayServiceResponse, ServiceError> {
    let scope = scope_of(context);
    let arn = input.service_arn.unwrap_or_default();
    let place = Place::parse(&scope, &arn)?;
    let with_tags = input.include.iter().flatten().any(|field| *field == ExpressGatewayServiceInclude::Tags);
    engine
        .read(|state| {
            let records = state.scope(&scope);
            check_cluster(records, place)?;
            let found = find(records, place).ok_or_else(|| {
                error::resource_not_found_exception(format!("No Express gateway service was found: {arn}"))
            })?;
            Ok(DescribeExpressGatewayServiceResponse { service: Some(view(&scope, found, with_tags)) })
        })
        .await
}

/// As answers show it; tags only when asked for.
pub(super) fn view(scope: &Scope, found: Found<'_>, with_tags: bool) -> ECSExpressGatewayService {
    let Found { cluster, service, express } = found;
    let name = &cluster.record.name;
    let deployment = service.service_deployment.as_deref();
    let configurations = service.deployments.iter().map(|deployment| configuration(scope, found, deployment));
    ECSExpressGatewayService {
        cluster: Some(name.clone()),
        service_name: Some(service.name.clone()),
        service_arn: Some(service.arn(scope, name)),
        infrastructure_role_arn: Some(express.infrastructure_role_arn.clone()),
        status: Some(express::status(service.status.as_str())),
        current_deployment: deployment.map(|id| scope.service_deployment_arn(name, &service.name, id)),
        active_configurations: Some(configurations.collect()),
        tags: with_tags.then(|| tags::to_list(&service.tags)),
        created_at: Some(service.created_at),
        updated_at: Some(express.updated_at),
    }
}

/// What a deployment that runs is made of. UpdateService may have begun one of another task definition.
fn configuration(
    scope: &Scope,
    Found { cluster, service, express }: Found<'_>,
    deployment: &DeploymentRecord,
) -> ExpressGatewayServiceConfiguration {
    let known = express.of(&deployment.family, deployment.revision).map(|it| it.settings.clone());
    ExpressGatewayServiceConfiguration {
        service_revision_arn: Some(scope.service_revision_arn(
            &cluster.record.name,
            &service.name,
            deployment.number(),
        )),
        task_definition_arn: Some(scope.task_definition_arn(&deployment.family, deployment.revision)),
        ingress_paths: Some(express::ingress_paths(scope, &service.name, &cluster.record.id.to_string())),
        created_at: Some(deployment.created_at),
        ..known.unwrap_or_default()
    }
}
