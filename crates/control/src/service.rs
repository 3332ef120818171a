//! The ECS service: one line an operation, each handing over to the file of its resource.

use std::sync::Arc;

use longshore_api::{Operation, ServiceError, ServiceModel, Value, ecs};
use longshore_model::Scope;
use longshore_seams::BoxFuture;
use longshore_wire::{Output, RequestContext, Service, Upgrade};

use crate::admin::ReconcilerStatus;
use crate::engine::Engine;
use crate::gateway::Gateway;
use crate::history::History;
use crate::operations::{
    DEFAULT_CLUSTER, account_settings, capacity_providers, clusters, container_instances, daemon_task_definitions,
    daemons, express_services, gateways, poll, services, submit, tags, task_definitions, task_sets, tasks,
};
use crate::reconcilers::{
    Archiver, ArchiverLimits, CapacityProviderExpiry, ClientTokenExpiry, ClusterExpiry, ContainerInstanceExpiry,
    DaemonScheduler, DaemonSchedulerLimits, DaemonTaskDefinitionDeletion, EventDelivery, GatewayExpiry, HookFunctions,
    LifecycleHooks, NoFunctions, NoSignals, Reconciler, Reconcilers, ServiceExpiry, ServiceExpiryLimits,
    ServiceScheduler, ServiceSchedulerLimits, ServiceSignals, TaskDeadlines, TaskDeadlinesLimits,
    TaskDefinitionDeletion, WaitingTasks, WaitingTasksLimits,
};

/// The ECS API (2014-11-13) over an [`Engine`], with the gateway and the loops that belong to it.
#[derive(Clone, Debug)]
pub struct EcsService {
    /// The working set.
    pub engine: Engine,
    /// Where agents connect.
    pub gateway: Gateway,
    reconcilers: Arc<Reconcilers>,
}

impl EcsService {
    /// The service over `engine`, without any loop running.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        let reconcilers = Reconcilers::new(engine.seams().clone());
        Self { gateway: Gateway::new(engine.clone()), reconcilers, engine }
    }

    /// The service over `engine` with its loops running; stopped tasks go to `history`.
    #[must_use]
    pub fn open(engine: Engine, history: History) -> Self {
        Self::open_with(engine, history, Arc::new(NoSignals), Arc::new(NoFunctions))
    }

    /// As [`EcsService::open`], with what load balancers and alarms say, and the functions of lifecycle hooks.
    #[must_use]
    pub fn open_with(
        engine: Engine,
        history: History,
        signals: Arc<dyn ServiceSignals>,
        functions: Arc<dyn HookFunctions>,
    ) -> Self {
        let service = Self::new(engine);
        let (engine, gateway) = (&service.engine, &service.gateway);
        let scheduler = ServiceScheduler::new(engine.clone(), ServiceSchedulerLimits::default());
        let scheduler = scheduler.with_signals(signals).with_functions(functions.are_there());
        let hooks = LifecycleHooks::new(engine.clone(), functions);
        engine.observe(Arc::new(hooks.waker(service.reconcilers.clone())));
        engine.observe(Arc::new(scheduler.waker(service.reconcilers.clone())));
        let daemons = DaemonScheduler::new(engine.clone(), DaemonSchedulerLimits::default());
        engine.observe(Arc::new(daemons.waker(service.reconcilers.clone())));
        let waiting = WaitingTasks::new(engine.clone(), WaitingTasksLimits::default());
        engine.observe(Arc::new(waiting.waker(service.reconcilers.clone())));
        let loops: [Arc<dyn Reconciler>; 15] = [
            Arc::new(EventDelivery::new(engine.clone(), history.events().clone())),
            Arc::new(scheduler),
            Arc::new(hooks),
            Arc::new(daemons),
            Arc::new(waiting),
            Arc::new(TaskDeadlines::new(engine.clone(), gateway.clone(), TaskDeadlinesLimits::default())),
            Arc::new(Archiver::new(engine.clone(), history.stopped_tasks().clone(), ArchiverLimits::default())),
            Arc::new(ClientTokenExpiry(engine.clone())),
            Arc::new(ContainerInstanceExpiry(engine.clone())),
            Arc::new(ClusterExpiry(engine.clone())),
            Arc::new(CapacityProviderExpiry(engine.clone())),
            Arc::new(TaskDefinitionDeletion(engine.clone())),
            Arc::new(ServiceExpiry::new(engine.clone(), ServiceExpiryLimits::default())),
            Arc::new(DaemonTaskDefinitionDeletion(engine.clone())),
            Arc::new(GatewayExpiry(engine.clone())),
        ];
        for reconciler in loops {
            service.reconcilers.start(reconciler);
        }
        service
    }

    /// How the loops are doing.
    #[must_use]
    pub fn reconcilers(&self) -> Arc<dyn ReconcilerStatus> {
        self.reconcilers.clone()
    }

    /// The paths on which agents connect.
    #[must_use]
    pub fn upgrades(&self) -> Vec<Arc<dyn Upgrade>> {
        self.gateway.upgrades()
    }
}

/// Account and region of a request.
#[must_use]
pub fn scope_of(context: &RequestContext) -> Scope {
    Scope::new(&context.account, &context.region)
}

impl Service for EcsService {
    fn model(&self) -> &'static ServiceModel {
        &ecs::MODEL
    }

    fn resources(
        &self,
        context: &RequestContext,
        operation: &'static Operation,
        input: &Value,
    ) -> (Vec<String>, Vec<(String, Vec<String>)>) {
        named_resources(&scope_of(context), operation.name, input)
    }

    fn call<'a>(
        &'a self,
        context: &'a RequestContext,
        operation: &'static Operation,
        input: &'a Value,
    ) -> BoxFuture<'a, Result<Box<dyn Output>, ServiceError>> {
        Box::pin(async move {
            if operation.name == "RegisterTaskDefinition" {
                task_definitions::check_constraints(input)?;
            }
            ecs::dispatch(self, context, operation.name, input).await
        })
    }
}

impl ecs::Ecs for EcsService {
    type Context = RequestContext;

    async fn list_account_settings(
        &self,
        context: &RequestContext,
        input: ecs::ListAccountSettingsRequest,
    ) -> Result<ecs::ListAccountSettingsResponse, ServiceError> {
        account_settings::list(&self.engine, context, input).await
    }

    async fn put_account_setting(
        &self,
        context: &RequestContext,
        input: ecs::PutAccountSettingRequest,
    ) -> Result<ecs::PutAccountSettingResponse, ServiceError> {
        account_settings::put(&self.engine, context, input).await
    }

    async fn put_account_setting_default(
        &self,
        context: &RequestContext,
        input: ecs::PutAccountSettingDefaultRequest,
    ) -> Result<ecs::PutAccountSettingDefaultResponse, ServiceError> {
        account_settings::put_default(&self.engine, context, input).await
    }

    async fn delete_account_setting(
        &self,
        context: &RequestContext,
        input: ecs::DeleteAccountSettingRequest,
    ) -> Result<ecs::DeleteAccountSettingResponse, ServiceError> {
        account_settings::delete(&self.engine, context, input).await
    }

    async fn create_capacity_provider(
        &self,
        context: &RequestContext,
        input: ecs::CreateCapacityProviderRequest,
    ) -> Result<ecs::CreateCapacityProviderResponse, ServiceError> {
        capacity_providers::create(&self.engine, context, input).await
    }

    async fn update_capacity_provider(
        &self,
        context: &RequestContext,
        input: ecs::UpdateCapacityProviderRequest,
    ) -> Result<ecs::UpdateCapacityProviderResponse, ServiceError> {
        capacity_providers::update(&self.engine, context, input).await
    }

    async fn delete_capacity_provider(
        &self,
        context: &RequestContext,
        input: ecs::DeleteCapacityProviderRequest,
    ) -> Result<ecs::DeleteCapacityProviderResponse, ServiceError> {
        capacity_providers::delete(&self.engine, context, input).await
    }

    async fn describe_capacity_providers(
        &self,
        context: &RequestContext,
        input: ecs::DescribeCapacityProvidersRequest,
    ) -> Result<ecs::DescribeCapacityProvidersResponse, ServiceError> {
        capacity_providers::describe(&self.engine, context, input).await
    }

    async fn execute_command(
        &self,
        context: &RequestContext,
        input: ecs::ExecuteCommandRequest,
    ) -> Result<ecs::ExecuteCommandResponse, ServiceError> {
        tasks::execute_command(&self.engine, context, input).await
    }

    async fn get_task_protection(
        &self,
        context: &RequestContext,
        input: ecs::GetTaskProtectionRequest,
    ) -> Result<ecs::GetTaskProtectionResponse, ServiceError> {
        tasks::get_task_protection(&self.engine, context, input).await
    }

    async fn update_task_protection(
        &self,
        context: &RequestContext,
        input: ecs::UpdateTaskProtectionRequest,
    ) -> Result<ecs::UpdateTaskProtectionResponse, ServiceError> {
        tasks::update_task_protection(&self.engine, context, input).await
    }

    async fn update_container_agent(
        &self,
        context: &RequestContext,
        input: ecs::UpdateContainerAgentRequest,
    ) -> Result<ecs::UpdateContainerAgentResponse, ServiceError> {
        container_instances::update_container_agent(&self.engine, context, input).await
    }

    async fn delete_attributes(
        &self,
        context: &RequestContext,
        input: ecs::DeleteAttributesRequest,
    ) -> Result<ecs::DeleteAttributesResponse, ServiceError> {
        container_instances::delete_attributes(&self.engine, context, input).await
    }

    async fn deregister_container_instance(
        &self,
        context: &RequestContext,
        input: ecs::DeregisterContainerInstanceRequest,
    ) -> Result<ecs::DeregisterContainerInstanceResponse, ServiceError> {
        container_instances::deregister_container_instance(&self.engine, context, input).await
    }

    async fn describe_container_instances(
        &self,
        context: &RequestContext,
        input: ecs::DescribeContainerInstancesRequest,
    ) -> Result<ecs::DescribeContainerInstancesResponse, ServiceError> {
        container_instances::describe_container_instances(&self.engine, context, input).await
    }

    async fn describe_tasks(
        &self,
        context: &RequestContext,
        input: ecs::DescribeTasksRequest,
    ) -> Result<ecs::DescribeTasksResponse, ServiceError> {
        tasks::describe_tasks(&self.engine, context, input).await
    }

    async fn discover_poll_endpoint(
        &self,
        context: &RequestContext,
        input: ecs::DiscoverPollEndpointRequest,
    ) -> Result<ecs::DiscoverPollEndpointResponse, ServiceError> {
        poll::discover_poll_endpoint(&self.engine, context, input).await
    }

    async fn list_attributes(
        &self,
        context: &RequestContext,
        input: ecs::ListAttributesRequest,
    ) -> Result<ecs::ListAttributesResponse, ServiceError> {
        container_instances::list_attributes(&self.engine, context, input).await
    }

    async fn list_container_instances(
        &self,
        context: &RequestContext,
        input: ecs::ListContainerInstancesRequest,
    ) -> Result<ecs::ListContainerInstancesResponse, ServiceError> {
        container_instances::list_container_instances(&self.engine, context, input).await
    }

    async fn list_tasks(
        &self,
        context: &RequestContext,
        input: ecs::ListTasksRequest,
    ) -> Result<ecs::ListTasksResponse, ServiceError> {
        tasks::list_tasks(&self.engine, context, input).await
    }

    async fn put_attributes(
        &self,
        context: &RequestContext,
        input: ecs::PutAttributesRequest,
    ) -> Result<ecs::PutAttributesResponse, ServiceError> {
        container_instances::put_attributes(&self.engine, context, input).await
    }

    async fn register_container_instance(
        &self,
        context: &RequestContext,
        input: ecs::RegisterContainerInstanceRequest,
    ) -> Result<ecs::RegisterContainerInstanceResponse, ServiceError> {
        container_instances::register_container_instance(&self.engine, context, input).await
    }

    async fn run_task(
        &self,
        context: &RequestContext,
        input: ecs::RunTaskRequest,
    ) -> Result<ecs::RunTaskResponse, ServiceError> {
        tasks::run_task(&self.engine, context, input).await
    }

    async fn create_service(
        &self,
        context: &RequestContext,
        input: ecs::CreateServiceRequest,
    ) -> Result<ecs::CreateServiceResponse, ServiceError> {
        services::create_service(&self.engine, context, input).await
    }

    async fn delete_service(
        &self,
        context: &RequestContext,
        input: ecs::DeleteServiceRequest,
    ) -> Result<ecs::DeleteServiceResponse, ServiceError> {
        services::delete_service(&self.engine, context, input).await
    }

    async fn describe_services(
        &self,
        context: &RequestContext,
        input: ecs::DescribeServicesRequest,
    ) -> Result<ecs::DescribeServicesResponse, ServiceError> {
        services::describe_services(&self.engine, context, input).await
    }

    async fn list_services(
        &self,
        context: &RequestContext,
        input: ecs::ListServicesRequest,
    ) -> Result<ecs::ListServicesResponse, ServiceError> {
        services::list_services(&self.engine, context, input).await
    }

    async fn list_services_by_namespace(
        &self,
        context: &RequestContext,
        input: ecs::ListServicesByNamespaceRequest,
    ) -> Result<ecs::ListServicesByNamespaceResponse, ServiceError> {
        services::list_services_by_namespace(&self.engine, context, input).await
    }

    async fn update_service(
        &self,
        context: &RequestContext,
        input: ecs::UpdateServiceRequest,
    ) -> Result<ecs::UpdateServiceResponse, ServiceError> {
        services::update_service(&self.engine, context, input).await
    }

    async fn create_task_set(
        &self,
        context: &RequestContext,
        input: ecs::CreateTaskSetRequest,
    ) -> Result<ecs::CreateTaskSetResponse, ServiceError> {
        task_sets::create_task_set(&self.engine, context, input).await
    }

    async fn describe_task_sets(
        &self,
        context: &RequestContext,
        input: ecs::DescribeTaskSetsRequest,
    ) -> Result<ecs::DescribeTaskSetsResponse, ServiceError> {
        task_sets::describe_task_sets(&self.engine, context, input).await
    }

    async fn update_task_set(
        &self,
        context: &RequestContext,
        input: ecs::UpdateTaskSetRequest,
    ) -> Result<ecs::UpdateTaskSetResponse, ServiceError> {
        task_sets::update_task_set(&self.engine, context, input).await
    }

    async fn update_service_primary_task_set(
        &self,
        context: &RequestContext,
        input: ecs::UpdateServicePrimaryTaskSetRequest,
    ) -> Result<ecs::UpdateServicePrimaryTaskSetResponse, ServiceError> {
        task_sets::update_service_primary_task_set(&self.engine, context, input).await
    }

    async fn delete_task_set(
        &self,
        context: &RequestContext,
        input: ecs::DeleteTaskSetRequest,
    ) -> Result<ecs::DeleteTaskSetResponse, ServiceError> {
        task_sets::delete_task_set(&self.engine, context, input).await
    }

    async fn list_service_deployments(
        &self,
        context: &RequestContext,
        input: ecs::ListServiceDeploymentsRequest,
    ) -> Result<ecs::ListServiceDeploymentsResponse, ServiceError> {
        services::list_service_deployments(&self.engine, context, input).await
    }

    async fn describe_service_deployments(
        &self,
        context: &RequestContext,
        input: ecs::DescribeServiceDeploymentsRequest,
    ) -> Result<ecs::DescribeServiceDeploymentsResponse, ServiceError> {
        services::describe_service_deployments(&self.engine, context, input).await
    }

    async fn describe_service_revisions(
        &self,
        context: &RequestContext,
        input: ecs::DescribeServiceRevisionsRequest,
    ) -> Result<ecs::DescribeServiceRevisionsResponse, ServiceError> {
        services::describe_service_revisions(&self.engine, context, input).await
    }

    async fn stop_service_deployment(
        &self,
        context: &RequestContext,
        input: ecs::StopServiceDeploymentRequest,
    ) -> Result<ecs::StopServiceDeploymentResponse, ServiceError> {
        services::stop_service_deployment(&self.engine, context, input).await
    }

    async fn continue_service_deployment(
        &self,
        context: &RequestContext,
        input: ecs::ContinueServiceDeploymentRequest,
    ) -> Result<ecs::ContinueServiceDeploymentResponse, ServiceError> {
        services::continue_service_deployment(&self.engine, context, input).await
    }

    async fn start_task(
        &self,
        context: &RequestContext,
        input: ecs::StartTaskRequest,
    ) -> Result<ecs::StartTaskResponse, ServiceError> {
        tasks::start_task(&self.engine, context, input).await
    }

    async fn stop_task(
        &self,
        context: &RequestContext,
        input: ecs::StopTaskRequest,
    ) -> Result<ecs::StopTaskResponse, ServiceError> {
        tasks::stop_task(&self.engine, context, input).await
    }

    async fn submit_attachment_state_changes(
        &self,
        context: &RequestContext,
        input: ecs::SubmitAttachmentStateChangesRequest,
    ) -> Result<ecs::SubmitAttachmentStateChangesResponse, ServiceError> {
        submit::submit_attachment_state_changes(&self.engine, context, input).await
    }

    async fn submit_container_state_change(
        &self,
        context: &RequestContext,
        input: ecs::SubmitContainerStateChangeRequest,
    ) -> Result<ecs::SubmitContainerStateChangeResponse, ServiceError> {
        submit::submit_container_state_change(&self.engine, context, input).await
    }

    async fn submit_task_state_change(
        &self,
        context: &RequestContext,
        input: ecs::SubmitTaskStateChangeRequest,
    ) -> Result<ecs::SubmitTaskStateChangeResponse, ServiceError> {
        submit::submit_task_state_change(&self.engine, context, input).await
    }

    async fn update_container_instances_state(
        &self,
        context: &RequestContext,
        input: ecs::UpdateContainerInstancesStateRequest,
    ) -> Result<ecs::UpdateContainerInstancesStateResponse, ServiceError> {
        container_instances::update_container_instances_state(&self.engine, context, input).await
    }

    async fn create_cluster(
        &self,
        context: &RequestContext,
        input: ecs::CreateClusterRequest,
    ) -> Result<ecs::CreateClusterResponse, ServiceError> {
        clusters::create(&self.engine, context, input).await
    }

    async fn delete_cluster(
        &self,
        context: &RequestContext,
        input: ecs::DeleteClusterRequest,
    ) -> Result<ecs::DeleteClusterResponse, ServiceError> {
        clusters::delete(&self.engine, context, input).await
    }

    async fn describe_clusters(
        &self,
        context: &RequestContext,
        input: ecs::DescribeClustersRequest,
    ) -> Result<ecs::DescribeClustersResponse, ServiceError> {
        clusters::describe(&self.engine, context, input).await
    }

    async fn list_clusters(
        &self,
        context: &RequestContext,
        input: ecs::ListClustersRequest,
    ) -> Result<ecs::ListClustersResponse, ServiceError> {
        clusters::list(&self.engine, context, input).await
    }

    async fn put_cluster_capacity_providers(
        &self,
        context: &RequestContext,
        input: ecs::PutClusterCapacityProvidersRequest,
    ) -> Result<ecs::PutClusterCapacityProvidersResponse, ServiceError> {
        clusters::put_capacity_providers(&self.engine, context, input).await
    }

    async fn update_cluster(
        &self,
        context: &RequestContext,
        input: ecs::UpdateClusterRequest,
    ) -> Result<ecs::UpdateClusterResponse, ServiceError> {
        clusters::update(&self.engine, context, input).await
    }

    async fn update_cluster_settings(
        &self,
        context: &RequestContext,
        input: ecs::UpdateClusterSettingsRequest,
    ) -> Result<ecs::UpdateClusterSettingsResponse, ServiceError> {
        clusters::update_settings(&self.engine, context, input).await
    }

    async fn delete_task_definitions(
        &self,
        context: &RequestContext,
        input: ecs::DeleteTaskDefinitionsRequest,
    ) -> Result<ecs::DeleteTaskDefinitionsResponse, ServiceError> {
        task_definitions::delete(&self.engine, context, input).await
    }

    async fn deregister_task_definition(
        &self,
        context: &RequestContext,
        input: ecs::DeregisterTaskDefinitionRequest,
    ) -> Result<ecs::DeregisterTaskDefinitionResponse, ServiceError> {
        task_definitions::deregister(&self.engine, context, input).await
    }

    async fn describe_task_definition(
        &self,
        context: &RequestContext,
        input: ecs::DescribeTaskDefinitionRequest,
    ) -> Result<ecs::DescribeTaskDefinitionResponse, ServiceError> {
        task_definitions::describe(&self.engine, context, input).await
    }

    async fn list_task_definition_families(
        &self,
        context: &RequestContext,
        input: ecs::ListTaskDefinitionFamiliesRequest,
    ) -> Result<ecs::ListTaskDefinitionFamiliesResponse, ServiceError> {
        task_definitions::list_families(&self.engine, context, input).await
    }

    async fn list_task_definitions(
        &self,
        context: &RequestContext,
        input: ecs::ListTaskDefinitionsRequest,
    ) -> Result<ecs::ListTaskDefinitionsResponse, ServiceError> {
        task_definitions::list(&self.engine, context, input).await
    }

    async fn register_task_definition(
        &self,
        context: &RequestContext,
        input: ecs::RegisterTaskDefinitionRequest,
    ) -> Result<ecs::RegisterTaskDefinitionResponse, ServiceError> {
        task_definitions::register(&self.engine, context, input).await
    }

    async fn register_daemon_task_definition(
        &self,
        context: &RequestContext,
        input: ecs::RegisterDaemonTaskDefinitionRequest,
    ) -> Result<ecs::RegisterDaemonTaskDefinitionResponse, ServiceError> {
        daemon_task_definitions::register(&self.engine, context, input).await
    }

    async fn describe_daemon_task_definition(
        &self,
        context: &RequestContext,
        input: ecs::DescribeDaemonTaskDefinitionRequest,
    ) -> Result<ecs::DescribeDaemonTaskDefinitionResponse, ServiceError> {
        daemon_task_definitions::describe(&self.engine, context, input).await
    }

    async fn list_daemon_task_definitions(
        &self,
        context: &RequestContext,
        input: ecs::ListDaemonTaskDefinitionsRequest,
    ) -> Result<ecs::ListDaemonTaskDefinitionsResponse, ServiceError> {
        daemon_task_definitions::list(&self.engine, context, input).await
    }

    async fn delete_daemon_task_definition(
        &self,
        context: &RequestContext,
        input: ecs::DeleteDaemonTaskDefinitionRequest,
    ) -> Result<ecs::DeleteDaemonTaskDefinitionResponse, ServiceError> {
        daemon_task_definitions::delete(&self.engine, context, input).await
    }

    async fn create_daemon(
        &self,
        context: &RequestContext,
        input: ecs::CreateDaemonRequest,
    ) -> Result<ecs::CreateDaemonResponse, ServiceError> {
        daemons::create(&self.engine, context, input).await
    }

    async fn update_daemon(
        &self,
        context: &RequestContext,
        input: ecs::UpdateDaemonRequest,
    ) -> Result<ecs::UpdateDaemonResponse, ServiceError> {
        daemons::update(&self.engine, context, input).await
    }

    async fn delete_daemon(
        &self,
        context: &RequestContext,
        input: ecs::DeleteDaemonRequest,
    ) -> Result<ecs::DeleteDaemonResponse, ServiceError> {
        daemons::delete(&self.engine, context, input).await
    }

    async fn describe_daemon(
        &self,
        context: &RequestContext,
        input: ecs::DescribeDaemonRequest,
    ) -> Result<ecs::DescribeDaemonResponse, ServiceError> {
        daemons::describe(&self.engine, context, input).await
    }

    async fn list_daemons(
        &self,
        context: &RequestContext,
        input: ecs::ListDaemonsRequest,
    ) -> Result<ecs::ListDaemonsResponse, ServiceError> {
        daemons::list(&self.engine, context, input).await
    }

    async fn list_daemon_deployments(
        &self,
        context: &RequestContext,
        input: ecs::ListDaemonDeploymentsRequest,
    ) -> Result<ecs::ListDaemonDeploymentsResponse, ServiceError> {
        daemons::list_deployments(&self.engine, context, input).await
    }

    async fn describe_daemon_deployments(
        &self,
        context: &RequestContext,
        input: ecs::DescribeDaemonDeploymentsRequest,
    ) -> Result<ecs::DescribeDaemonDeploymentsResponse, ServiceError> {
        daemons::describe_deployments(&self.engine, context, input).await
    }

    async fn describe_daemon_revisions(
        &self,
        context: &RequestContext,
        input: ecs::DescribeDaemonRevisionsRequest,
    ) -> Result<ecs::DescribeDaemonRevisionsResponse, ServiceError> {
        daemons::describe_revisions(&self.engine, context, input).await
    }

    async fn create_gateway(
        &self,
        context: &RequestContext,
        input: ecs::CreateGatewayRequest,
    ) -> Result<ecs::CreateGatewayResponse, ServiceError> {
        gateways::create(&self.engine, context, input).await
    }

    async fn describe_gateway(
        &self,
        context: &RequestContext,
        input: ecs::DescribeGatewayRequest,
    ) -> Result<ecs::DescribeGatewayResponse, ServiceError> {
        gateways::describe(&self.engine, context, input).await
    }

    async fn update_gateway(
        &self,
        context: &RequestContext,
        input: ecs::UpdateGatewayRequest,
    ) -> Result<ecs::UpdateGatewayResponse, ServiceError> {
        gateways::update(&self.engine, context, input).await
    }

    async fn delete_gateway(
        &self,
        context: &RequestContext,
        input: ecs::DeleteGatewayRequest,
    ) -> Result<ecs::DeleteGatewayResponse, ServiceError> {
        gateways::delete(&self.engine, context, input).await
    }

    async fn list_gateways(
        &self,
        context: &RequestContext,
        input: ecs::ListGatewaysRequest,
    ) -> Result<ecs::ListGatewaysResponse, ServiceError> {
        gateways::list(&self.engine, context, input).await
    }

    async fn associate_gateway_with_cluster(
        &self,
        context: &RequestContext,
        input: ecs::AssociateGatewayWithClusterRequest,
    ) -> Result<ecs::AssociateGatewayWithClusterResponse, ServiceError> {
        gateways::associate(&self.engine, context, input).await
    }

    async fn disassociate_gateway_from_cluster(
        &self,
        context: &RequestContext,
        input: ecs::DisassociateGatewayFromClusterRequest,
    ) -> Result<ecs::DisassociateGatewayFromClusterResponse, ServiceError> {
        gateways::disassociate(&self.engine, context, input).await
    }

    async fn list_gateway_cluster_associations(
        &self,
        context: &RequestContext,
        input: ecs::ListGatewayClusterAssociationsRequest,
    ) -> Result<ecs::ListGatewayClusterAssociationsResponse, ServiceError> {
        gateways::list_associations(&self.engine, context, input).await
    }

    async fn describe_gateway_resources(
        &self,
        context: &RequestContext,
        input: ecs::DescribeGatewayResourcesRequest,
    ) -> Result<ecs::DescribeGatewayResourcesResponse, ServiceError> {
        gateways::describe_resources(&self.engine, context, input).await
    }

    async fn describe_gateway_route(
        &self,
        context: &RequestContext,
        input: ecs::DescribeGatewayRouteRequest,
    ) -> Result<ecs::DescribeGatewayRouteResponse, ServiceError> {
        gateways::describe_route(&self.engine, context, input).await
    }

    async fn list_gateway_routes(
        &self,
        context: &RequestContext,
        input: ecs::ListGatewayRoutesRequest,
    ) -> Result<ecs::ListGatewayRoutesResponse, ServiceError> {
        gateways::list_routes(&self.engine, context, input).await
    }

    async fn create_express_gateway_service(
        &self,
        context: &RequestContext,
        input: ecs::CreateExpressGatewayServiceRequest,
    ) -> Result<ecs::CreateExpressGatewayServiceResponse, ServiceError> {
        express_services::create(&self.engine, context, input).await
    }

    async fn describe_express_gateway_service(
        &self,
        context: &RequestContext,
        input: ecs::DescribeExpressGatewayServiceRequest,
    ) -> Result<ecs::DescribeExpressGatewayServiceResponse, ServiceError> {
        express_services::describe(&self.engine, context, input).await
    }

    async fn update_express_gateway_service(
        &self,
        context: &RequestContext,
        input: ecs::UpdateExpressGatewayServiceRequest,
    ) -> Result<ecs::UpdateExpressGatewayServiceResponse, ServiceError> {
        express_services::update(&self.engine, context, input).await
    }

    async fn delete_express_gateway_service(
        &self,
        context: &RequestContext,
        input: ecs::DeleteExpressGatewayServiceRequest,
    ) -> Result<ecs::DeleteExpressGatewayServiceResponse, ServiceError> {
        express_services::delete(&self.engine, context, input).await
    }

    async fn list_tags_for_resource(
        &self,
        context: &RequestContext,
        input: ecs::ListTagsForResourceRequest,
    ) -> Result<ecs::ListTagsForResourceResponse, ServiceError> {
        tags::list(&self.engine, context, input).await
    }

    async fn tag_resource(
        &self,
        context: &RequestContext,
        input: ecs::TagResourceRequest,
    ) -> Result<ecs::TagResourceResponse, ServiceError> {
        tags::tag(&self.engine, context, input).await
    }

    async fn untag_resource(
        &self,
        context: &RequestContext,
        input: ecs::UntagResourceRequest,
    ) -> Result<ecs::UntagResourceResponse, ServiceError> {
        tags::untag(&self.engine, context, input).await
    }
}

/// Operations that policies can name no resource for.
const WITHOUT_RESOURCE: &[&str] = &["CreateCapacityProvider", "DescribeCapacityProviders"];

/// Members that name another type of resource in one operation than elsewhere.
const OWN_RESOURCE_MEMBERS: &[(&str, &str, Naming)] = &[
    ("UpdateCapacityProvider", "name", Naming::Global("capacity-provider")),
    ("CreateGateway", "name", Naming::Global("gateway")),
    ("ListGateways", "names", Naming::Global("gateway")),
    ("RegisterDaemonTaskDefinition", "family", Naming::Global("daemon-task-definition")),
    ("ListDaemonTaskDefinitions", "family", Naming::Global("daemon-task-definition")),
];

/// Members that name the resource of a call, the most specific first, with the resource type of a bare name.
const RESOURCE_MEMBERS: &[(&str, Naming)] = &[
    ("resourceArn", Naming::Global("")),
    ("serviceDeploymentArn", Naming::Global("service-deployment")),
    ("serviceDeploymentArns", Naming::Global("service-deployment")),
    ("serviceRevisionArns", Naming::Global("service-revision")),
    ("task", Naming::InCluster("task")),
    ("tasks", Naming::InCluster("task")),
    ("containerInstance", Naming::InCluster("container-instance")),
    ("containerInstances", Naming::InCluster("container-instance")),
    ("containerInstanceArn", Naming::InCluster("container-instance")),
    ("service", Naming::InCluster("service")),
    ("services", Naming::InCluster("service")),
    ("serviceName", Naming::InCluster("service")),
    ("gateway", Naming::Global("gateway")),
    ("gatewayRouteArn", Naming::Global("gateway-route")),
    ("serviceArn", Naming::InCluster("service")),
    ("daemonArn", Naming::Global("daemon")),
    ("daemonName", Naming::InCluster("daemon")),
    ("daemonDeploymentArns", Naming::Global("daemon-deployment")),
    ("daemonRevisionArns", Naming::Global("daemon-revision")),
    ("daemonTaskDefinition", Naming::Global("daemon-task-definition")),
    ("taskDefinition", Naming::Global("task-definition")),
    ("taskDefinitions", Naming::Global("task-definition")),
    ("family", Naming::Global("task-definition")),
    ("capacityProvider", Naming::Global("capacity-provider")),
    ("clusters", Naming::Global("cluster")),
    ("cluster", Naming::Global("cluster")),
    ("clusterArn", Naming::Global("cluster")),
    ("clusterName", Naming::Global("cluster")),
];

#[derive(Clone, Copy)]
enum Naming {
    /// `TYPE/CLUSTER/NAME`.
    InCluster(&'static str),
    /// `TYPE/NAME`.
    Global(&'static str),
}

/// Long ARNs of what a request names, and its condition values: what the authorizer decides by.
fn named_resources(scope: &Scope, operation: &str, input: &Value) -> (Vec<String>, Vec<(String, Vec<String>)>) {
    let Value::Map(members) = input else { return (vec!["*".to_owned()], Vec::new()) };
    let texts = |member: &str| -> Vec<&str> {
        match members.get(member) {
            Some(Value::String(text)) => vec![text.as_str()],
            Some(Value::List(items)) => items.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    };
    let given = texts("cluster").first().or(texts("clusterArn").first()).copied();
    let cluster = given.unwrap_or(DEFAULT_CLUSTER);
    let cluster = scope.cluster_name(cluster).unwrap_or(cluster);
    let arn = |naming: Naming, name: &str| match naming {
        _ if name.starts_with("arn:") => name.to_owned(),
        Naming::InCluster(kind) => scope.ecs_arn(format_args!("{kind}/{cluster}/{name}")),
        Naming::Global(kind) => scope.ecs_arn(format_args!("{kind}/{name}")),
    };
    let own =
        OWN_RESOURCE_MEMBERS.iter().filter(|(of, ..)| *of == operation).map(|(_, member, naming)| (*member, *naming));
    let named = own.chain(RESOURCE_MEMBERS.iter().copied()).find_map(|(member, naming)| {
        let names = texts(member);
        (!names.is_empty()).then(|| names.iter().map(|name| arn(naming, name)).collect::<Vec<_>>())
    });
    let mut conditions = Vec::new();
    if given.is_some() {
        conditions.push(("ecs:cluster".to_owned(), vec![scope.cluster_arn(cluster)]));
    }
    if let Some(Value::List(tags)) = members.get("tags") {
        let mut keys = Vec::new();
        for tag in tags {
            let Value::Map(tag) = tag else { continue };
            let (Some(Value::String(key)), value) = (tag.get("key"), tag.get("value")) else { continue };
            let value = if let Some(Value::String(value)) = value { value.clone() } else { String::new() };
            conditions.push((format!("aws:RequestTag/{key}"), vec![value]));
            keys.push(key.clone());
        }
        conditions.push(("aws:TagKeys".to_owned(), keys));
    }
    let named = named.filter(|_| !WITHOUT_RESOURCE.contains(&operation));
    (named.unwrap_or_else(|| vec!["*".to_owned()]), conditions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn named(members: &[(&str, Value)]) -> Vec<String> {
        named_by("", members)
    }

    fn named_by(operation: &str, members: &[(&str, Value)]) -> Vec<String> {
        let members: BTreeMap<_, _> = members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        named_resources(&Scope::new("123456789012", "eu-west-1"), operation, &Value::Map(members)).0
    }

    fn text(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    #[test]
    fn a_call_names_its_most_specific_resource_by_long_arn() {
        let arn = |resource: &str| vec![format!("arn:aws:ecs:eu-west-1:123456789012:{resource}")];
        assert_eq!(named(&[("task", text("abc")), ("cluster", text("c"))]), arn("task/c/abc"));
        assert_eq!(named(&[("tasks", Value::List(vec![text("abc")]))]), arn("task/default/abc"));
        assert_eq!(named(&[("taskDefinition", text("web:3")), ("cluster", text("c"))]), arn("task-definition/web:3"));
        assert_eq!(named(&[("cluster", text("c"))]), arn("cluster/c"));
        assert_eq!(named(&[("daemonName", text("d")), ("clusterArn", text("c"))]), arn("daemon/c/d"));
        let family = [("family", text("f"))];
        assert_eq!(named_by("RegisterDaemonTaskDefinition", &family), arn("daemon-task-definition/f"));
        assert_eq!(named(&[("gateway", text("g")), ("cluster", text("c"))]), arn("gateway/g"));
        assert_eq!(named_by("CreateGateway", &[("name", text("g"))]), arn("gateway/g"));
        assert_eq!(named_by("RegisterTaskDefinition", &family), arn("task-definition/f"));
        let of_cluster = [("name", text("p")), ("cluster", text("c"))];
        assert_eq!(named_by("UpdateCapacityProvider", &of_cluster), arn("capacity-provider/p"));
        assert_eq!(named_by("CreateCapacityProvider", &of_cluster), ["*"]);
        assert_eq!(named(&[]), ["*"]);
    }
}
