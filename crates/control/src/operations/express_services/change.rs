//! CreateExpressGatewayService, UpdateExpressGatewayService and DeleteExpressGatewayService.

use longshore_api::ServiceError;
use longshore_api::ecs::{
    CreateExpressGatewayServiceRequest, CreateExpressGatewayServiceResponse, CreateServiceRequest,
    DeleteExpressGatewayServiceRequest, DeleteExpressGatewayServiceResponse, DeleteServiceRequest,
    ExpressGatewayServiceConfiguration, LaunchType, UpdateExpressGatewayServiceRequest,
    UpdateExpressGatewayServiceResponse, UpdateServiceRequest, UpdatedExpressGatewayService, error,
};
use longshore_model::express::{self, ExpressConfiguration, ExpressRecord, Wishes};
use longshore_model::gateway::check_infrastructure_role;
use longshore_model::service::ServiceStatus;
use longshore_model::{Scope, names};
use longshore_wire::RequestContext;

use super::describe::{Place, find, find_active, view};
use crate::engine::Engine;
use crate::operations::task_definitions::{self, resolve_active};
use crate::operations::{resolve_cluster, services};
use crate::service::scope_of;
use crate::state::State;

/// Makes a task definition, unless one is named, and a Fargate service of it.
///
/// # Errors
/// `ClusterNotFoundException`, `ClientException` (a container or size out of its rules, no such task definition),
/// `InvalidParameterException`; what CreateService refuses.
pub async fn create(
    engine: &Engine,
    context: &RequestContext,
    input: CreateExpressGatewayServiceRequest,
) -> Result<CreateExpressGatewayServiceResponse, ServiceError> {
    let scope = scope_of(context);
    let role = input.infrastructure_role_arn.clone().unwrap_or_default();
    check_infrastructure_role(&role)?;
    let random = &*engine.seams().random;
    let given = input.service_name.clone().filter(|name| !name.is_empty());
    let name = given.unwrap_or_else(|| format!("express-{}", &random.hex32()[..12]));
    if !names::is_name(&name) {
        return Err(error::invalid_parameter_exception(format!(
            "Service name '{name}' is not valid: use 1 to {} letters, digits, hyphens and underscores.",
            names::MAX_NAME
        )));
    }
    let cluster = engine.read(|state| vacant(state, &scope, input.cluster.as_deref(), &name)).await?;
    let wishes = Wishes {
        execution_role_arn: input.execution_role_arn,
        task_role_arn: input.task_role_arn,
        task_definition_arn: input.task_definition_arn,
        health_check_path: input.health_check_path,
        primary_container: input.primary_container,
        network_configuration: input.network_configuration,
        cpu: input.cpu,
        memory: input.memory,
        cpu_architecture: input.cpu_architecture,
        scaling_target: input.scaling_target,
    };
    let settings = wishes.settle(&scope, None, &format!("/aws/ecs/{cluster}/{name}"))?;
    let configuration = configured(engine, context, &cluster, &name, settings).await?;
    let now = engine.seams().clock.now();
    let service = CreateServiceRequest {
        cluster: Some(cluster.clone()),
        service_name: Some(name.clone()),
        task_definition: Some(named(&configuration)),
        desired_count: Some(express::desired_count(&configuration.settings, None)),
        launch_type: Some(LaunchType::Fargate),
        network_configuration: Some(express::network_configuration(&configuration.settings)),
        tags: input.tags,
        ..CreateServiceRequest::default()
    };
    let record = ExpressRecord { infrastructure_role_arn: role, configurations: vec![configuration], updated_at: now };
    services::create(engine, context, service, Some(Box::new(record))).await?;
    let place = Place { cluster: Some(&cluster), name: &name };
    let service = engine.read(|state| find(state.scope(&scope), place).map(|it| view(&scope, it, true))).await;
    Ok(CreateExpressGatewayServiceResponse { service })
}

/// The name of the cluster, in which nothing is called `name` yet: so that nothing is registered in vain.
fn vacant(state: &State, scope: &Scope, cluster: Option<&str>, name: &str) -> Result<String, ServiceError> {
    let cluster = resolve_cluster(state.scope(scope), scope, cluster)?;
    match cluster.services.get(name).map(|service| service.status) {
        None | Some(ServiceStatus::Inactive) => Ok(cluster.record.name.clone()),
        Some(_) => Err(error::invalid_parameter_exception(format!(
            "The service {name} already exists in the cluster {}. To change it, update it.",
            cluster.record.name
        ))),
    }
}

fn named(configuration: &ExpressConfiguration) -> String {
    let (family, revision) = &configuration.definition;
    format!("{family}:{revision}")
}

/// The configuration with the task definition that it names, or that is registered for it.
async fn configured(
    engine: &Engine,
    context: &RequestContext,
    cluster: &str,
    service: &str,
    settings: ExpressGatewayServiceConfiguration,
) -> Result<ExpressConfiguration, ServiceError> {
    let scope = scope_of(context);
    if let Some(named) = &settings.task_definition_arn {
        let found = |state: &State| {
            let found = resolve_active(state.scope(&scope), &scope, named)?;
            express::check_own_definition(named, &found.definition)?;
            Ok::<_, ServiceError>((found.family.clone(), found.revision))
        };
        let definition = engine.read(found).await?;
        return Ok(ExpressConfiguration { definition, settings });
    }
    let family: String = format!("{cluster}-{service}").chars().take(names::MAX_NAME).collect();
    let request = express::definition(&scope, &family, &settings);
    let registered =
        task_definitions::register(engine, context, request).await.map_err(|refused| match refused.code {
            // The model lists no LimitExceededException here.
            "LimitExceededException" => error::client_exception(refused.message),
            _ => refused,
        })?;
    let revision = registered.task_definition.and_then(|it| it.revision).and_then(|it| u32::try_from(it).ok());
    Ok(ExpressConfiguration { definition: (family, revision.unwrap_or_default()), settings })
}

/// Changes an Express gateway service; what is not given stays. A change of the container begins a deployment.
///
/// # Errors
/// `ClusterNotFoundException`, `ServiceNotFoundException`, `ServiceNotActiveException`, `ClientException`,
/// `InvalidParameterException`; what UpdateService refuses.
pub async fn update(
    engine: &Engine,
    context: &RequestContext,
    input: UpdateExpressGatewayServiceRequest,
) -> Result<UpdateExpressGatewayServiceResponse, ServiceError> {
    let scope = scope_of(context);
    let arn = input.service_arn.unwrap_or_default();
    let place = Place::parse(&scope, &arn)?;
    let before = engine.read(|state| {
        let found = find_active(state.scope(&scope), place, &arn)?;
        let cluster = found.cluster.record.name.clone();
        Ok::<_, ServiceError>((cluster, found.service.name.clone(), found.service.desired_count, found.express.clone()))
    });
    let (cluster, name, desired, mut record) = before.await?;
    let wishes = Wishes {
        execution_role_arn: input.execution_role_arn,
        task_role_arn: input.task_role_arn,
        task_definition_arn: input.task_definition_arn,
        health_check_path: input.health_check_path,
        primary_container: input.primary_container,
        network_configuration: input.network_configuration,
        cpu: input.cpu,
        memory: input.memory,
        cpu_architecture: input.cpu_architecture,
        scaling_target: input.scaling_target,
    };
    let known = record.current();
    let settings = wishes.settle(&scope, Some(&known), &format!("/aws/ecs/{cluster}/{name}"))?;
    let same = record.configurations.first().filter(|_| express::is_same_task(&known, &settings));
    let configuration = match same.map(|it| it.definition.clone()) {
        Some(definition) => ExpressConfiguration { definition, settings },
        None => configured(engine, context, &cluster, &name, settings).await?,
    };
    let change = UpdateServiceRequest {
        cluster: Some(cluster),
        service: Some(name),
        task_definition: Some(named(&configuration)).filter(|_| is_another(&record, &configuration)),
        desired_count: Some(express::desired_count(&configuration.settings, Some(desired))),
        network_configuration: Some(express::network_configuration(&configuration.settings)),
        ..UpdateServiceRequest::default()
    };
    record.put(configuration, engine.seams().clock.now());
    services::update(engine, context, change, Some(Box::new(record))).await?;
    let service = engine.read(|state| {
        let found = find(state.scope(&scope), place)?;
        let shown = view(&scope, found, true);
        Some(UpdatedExpressGatewayService {
            service_arn: shown.service_arn,
            cluster: shown.cluster,
            service_name: shown.service_name,
            status: shown.status,
            target_configuration: shown.active_configurations.and_then(|all| all.into_iter().next()),
            created_at: shown.created_at,
            updated_at: shown.updated_at,
        })
    });
    Ok(UpdateExpressGatewayServiceResponse { service: service.await })
}

/// Whether the service has to be told of another task definition: the one that runs may have been deregistered.
fn is_another(record: &ExpressRecord, new: &ExpressConfiguration) -> bool {
    record.configurations.first().is_none_or(|known| known.definition != new.definition)
}

/// Makes an Express gateway service DRAINING; it is INACTIVE once none of its tasks runs any more.
///
/// # Errors
/// `ClusterNotFoundException`, `ServiceNotFoundException`, `ServiceNotActiveException`, `InvalidParameterException`.
pub async fn delete(
    engine: &Engine,
    context: &RequestContext,
    input: DeleteExpressGatewayServiceRequest,
) -> Result<DeleteExpressGatewayServiceResponse, ServiceError> {
    let scope = scope_of(context);
    let arn = input.service_arn.unwrap_or_default();
    let place = Place::parse(&scope, &arn)?;
    let found = engine.read(|state| {
        let found = find_active(state.scope(&scope), place, &arn)?;
        Ok::<_, ServiceError>((found.cluster.record.name.clone(), found.service.name.clone()))
    });
    let (cluster, service) = found.await?;
    let request = DeleteServiceRequest { cluster: Some(cluster), service: Some(service), force: Some(true) };
    services::delete_service(engine, context, request).await?;
    let service = engine.read(|state| find(state.scope(&scope), place).map(|it| view(&scope, it, true))).await;
    Ok(DeleteExpressGatewayServiceResponse { service })
}
