//! The working set: every live record in memory, with the indexes that requests need.
//!
//! Changed only by [`State::apply`]; so the indexes can't disagree with the records.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use longshore_model::account_setting::AccountSettingRecord;
use longshore_model::capacity_provider::CapacityProviderRecord;
use longshore_model::daemon::DaemonRecord;
use longshore_model::gateway::{GatewayAssociationRecord, GatewayRecord};
use longshore_model::records::{
    AccessKeyRecord, AccountRecord, ClusterRecord, ClusterStatus, ContainerInstanceStatus, GrantRecord,
    IdempotencyRecord, JoinTokenRecord, OutboxRecord, TaskDefinitionRecord, TaskRecord, TaskStatus,
};
use longshore_model::service::{ServiceRecord, ServiceStatus};
use longshore_model::{Id, Scope};
use longshore_scheduler::Index;

use crate::changes::Change;

mod family;
mod instance;
mod loader;
mod service_history;
mod task_index;

pub use family::FamilyState;
pub(crate) use instance::is_lent;
pub use instance::{InstanceState, LENT_GROUP, version_of};
pub(crate) use loader::Loader;
pub use service_history::ServiceHistory;
pub use task_index::TaskIndex;

/// Everything the control plane knows.
#[derive(Debug, Default)]
pub struct State {
    scopes: BTreeMap<Scope, ScopeState>,
    /// Accounts by id.
    pub accounts: BTreeMap<String, Arc<AccountRecord>>,
    /// Access keys by id.
    pub access_keys: BTreeMap<String, Arc<AccessKeyRecord>>,
    /// Agent grants by id.
    pub grants: BTreeMap<String, Arc<GrantRecord>>,
    /// Join tokens by hash.
    pub join_tokens: BTreeMap<String, Arc<JoinTokenRecord>>,
    /// Events waiting to be delivered, by sequence.
    pub outbox: BTreeMap<u64, Arc<OutboxRecord>>,
    /// Whether everything is being stopped. Not stored: services go on at the next start.
    pub closing: bool,
    /// It is being read from the store: placement is told of everything at the end.
    loading: bool,
    /// The last sequence given to an event.
    pub last_event: u64,
}

/// The records of one account and region.
#[derive(Debug, Default)]
pub struct ScopeState {
    /// Cluster incarnations.
    pub clusters: BTreeMap<Id, ClusterState>,
    /// The newest incarnation of each name.
    names: BTreeMap<String, Id>,
    /// The cluster of each container instance.
    homes: BTreeMap<Id, Id>,
    /// Container instances that are lent to Fargate.
    lenders: BTreeSet<Id>,
    /// Task definition families by name.
    pub families: BTreeMap<String, FamilyState>,
    /// Daemon task definition families by name.
    pub daemon_families: BTreeMap<String, FamilyState>,
    /// Gateways by name, DELETED ones included.
    pub gateways: BTreeMap<String, Arc<GatewayRecord>>,
    /// Associations by gateway and cluster, INACTIVE ones included.
    pub gateway_associations: BTreeMap<Id, BTreeMap<Id, Arc<GatewayAssociationRecord>>>,
    /// Choices of account settings by name and principal.
    pub account_settings: BTreeMap<(String, String), Arc<AccountSettingRecord>>,
    /// Capacity providers by name, INACTIVE ones included.
    pub capacity_providers: BTreeMap<String, Arc<CapacityProviderRecord>>,
    /// Client tokens by operation and token.
    pub idempotency: BTreeMap<(String, String), Arc<IdempotencyRecord>>,
}

/// A cluster with what is in it.
#[derive(Debug)]
pub struct ClusterState {
    /// Its record.
    pub record: Arc<ClusterRecord>,
    /// Container instances, INACTIVE ones included.
    pub instances: BTreeMap<Id, InstanceState>,
    /// Tasks, STOPPED ones included until they go to history.
    pub tasks: BTreeMap<Id, Arc<TaskRecord>>,
    /// Services by name, DRAINING and INACTIVE ones included.
    pub services: BTreeMap<String, Arc<ServiceRecord>>,
    /// Service deployments and revisions, by service. Outlive the service by a while.
    pub service_history: BTreeMap<String, ServiceHistory>,
    /// Daemons by name.
    pub daemons: BTreeMap<String, Arc<DaemonRecord>>,
    /// Indexes of `tasks`.
    pub index: TaskIndex,
    /// The ACTIVE container instances that users see, arranged for placement.
    pub placement: Index<Id>,
}

impl ClusterState {
    /// A cluster with nothing in it.
    #[must_use]
    pub fn new(record: Arc<ClusterRecord>) -> Self {
        Self {
            record,
            instances: BTreeMap::new(),
            tasks: BTreeMap::new(),
            services: BTreeMap::new(),
            service_history: BTreeMap::new(),
            daemons: BTreeMap::new(),
            index: TaskIndex::default(),
            placement: Index::default(),
        }
    }

    /// Whether nothing is in it, not even what is over.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.instances.is_empty()
            && self.tasks.is_empty()
            && self.services.is_empty()
            && self.service_history.is_empty()
            && self.daemons.is_empty()
    }

    /// Services with this status.
    pub fn services_with(&self, status: ServiceStatus) -> impl Iterator<Item = &Arc<ServiceRecord>> {
        self.services.values().filter(move |service| service.status == status)
    }

    /// ACTIVE and DRAINING container instances: what `registeredContainerInstancesCount` counts.
    #[must_use]
    pub fn registered_instances(&self) -> usize {
        let registered = |instance: &&InstanceState| {
            matches!(
                instance.record.status,
                ContainerInstanceStatus::Active
                    | ContainerInstanceStatus::Draining
                    | ContainerInstanceStatus::Registering
            )
        };
        self.visible_instances().filter(registered).count()
    }

    /// Tells placement that a container instance has changed in more than its tasks.
    fn arrange(&mut self, id: Id) {
        let is_candidate = |it: &&InstanceState| it.record.status == ContainerInstanceStatus::Active && !it.is_hidden();
        match self.instances.get(&id).filter(is_candidate) {
            Some(instance) => self.placement.put(id, instance.node()),
            None => self.placement.remove(id),
        }
    }

    /// The container instances that belong to it as users see it: without those for Fargate only.
    pub fn visible_instances(&self) -> impl Iterator<Item = &InstanceState> {
        self.instances.values().filter(|instance| !instance.is_hidden())
    }
}

impl ScopeState {
    /// The newest incarnation called `name`, ACTIVE or not.
    #[must_use]
    pub fn cluster_named(&self, name: &str) -> Option<&ClusterState> {
        self.clusters.get(self.names.get(name)?)
    }

    /// The definition of a task, be it a task definition or a daemon's.
    #[must_use]
    pub fn definition_of(&self, task: &TaskRecord) -> Option<&Arc<TaskDefinitionRecord>> {
        let families = if task.daemon.is_some() { &self.daemon_families } else { &self.families };
        families.get(&task.family)?.revisions.get(&task.revision)
    }

    /// The ACTIVE cluster called `name`.
    #[must_use]
    pub fn active_cluster(&self, name: &str) -> Option<&ClusterState> {
        self.cluster_named(name).filter(|cluster| cluster.record.status == ClusterStatus::Active)
    }

    /// The container instance called `id`, with its cluster.
    #[must_use]
    pub fn instance(&self, id: Id) -> Option<(&ClusterState, &InstanceState)> {
        let cluster = self.clusters.get(self.homes.get(&id)?)?;
        Some((cluster, cluster.instances.get(&id)?))
    }

    /// The cluster that has a task called `id`.
    #[must_use]
    pub fn cluster_of_task(&self, id: Id) -> Option<&ClusterState> {
        self.clusters.values().find(|cluster| cluster.tasks.contains_key(&id))
    }

    /// Where `task` is placed, which on Fargate may be another cluster's container instance.
    #[must_use]
    pub fn host(&self, task: &TaskRecord) -> Option<&InstanceState> {
        self.instance(task.container_instance?).map(|(_, instance)| instance)
    }

    /// Whether the agent of the machine of `task` is connected.
    #[must_use]
    pub fn agent_connected(&self, task: &TaskRecord) -> bool {
        self.host(task).is_some_and(InstanceState::agent_connected)
    }

    /// The machines that are lent to Fargate.
    pub fn lenders(&self) -> impl Iterator<Item = &InstanceState> {
        self.lenders.iter().filter_map(|id| self.instance(*id)).map(|(_, instance)| instance)
    }

    /// The tasks on a container instance with the clusters that they are of, STOPPED ones included.
    pub fn tasks_on<'a>(
        &'a self,
        cluster: &'a ClusterState,
        instance: &'a InstanceState,
    ) -> impl Iterator<Item = (&'a ClusterState, &'a Arc<TaskRecord>)> {
        let own = instance.tasks.iter().filter_map(move |id| Some((cluster, cluster.tasks.get(id)?)));
        let lent = instance.lent.iter().filter_map(|(id, of)| {
            let cluster = self.clusters.get(of)?;
            Some((cluster, cluster.tasks.get(id)?))
        });
        own.chain(lent)
    }

    /// What the revisions of a task's family are counted in.
    fn family_of(&mut self, task: &TaskRecord) -> Option<&mut FamilyState> {
        let families = if task.daemon.is_some() { &mut self.daemon_families } else { &mut self.families };
        families.get_mut(&task.family)
    }

    /// Puts a task on its container instance, without telling placement.
    fn add_to_host(&mut self, task: &TaskRecord) {
        let Some(id) = task.container_instance else { return };
        let cluster = self.homes.get(&id).and_then(|home| self.clusters.get_mut(home));
        if let Some(instance) = cluster.and_then(|cluster| cluster.instances.get_mut(&id)) {
            instance.add_task(task);
        }
    }

    /// A task came to a container instance, changed there or left it.
    fn change_hosts(&mut self, old: Option<&TaskRecord>, new: Option<&TaskRecord>) {
        let host = |task: Option<&TaskRecord>| task.and_then(|task| task.container_instance);
        if host(old) == host(new) {
            return self.change_host(old, new);
        }
        self.change_host(old, None);
        self.change_host(None, new);
    }

    /// The same of one container instance, and what placement knows of it.
    fn change_host(&mut self, old: Option<&TaskRecord>, new: Option<&TaskRecord>) {
        let Some((task, id)) = new.or(old).and_then(|task| Some((task, task.container_instance?))) else { return };
        let Some(cluster) = self.homes.get(&id).and_then(|home| self.clusters.get_mut(home)) else { return };
        let Some(instance) = cluster.instances.get_mut(&id) else { return };
        if let Some(old) = old {
            instance.remove_task(old);
        }
        if let Some(new) = new {
            instance.add_task(new);
        }
        // What has stopped takes nothing.
        let takes = |task: &TaskRecord| task.last_status != TaskStatus::Stopped;
        if !(old.is_some_and(takes) || new.is_some_and(takes)) {
            return;
        }
        let (node, group) = (instance.node(), instance::group(task));
        cluster.placement.put_books(id, node);
        cluster.placement.put_group(id, group, node.tasks_in(group));
    }

    /// Newest incarnations of all names, by name.
    pub fn clusters_by_name(&self) -> impl Iterator<Item = (&str, &ClusterState)> {
        self.clusters_from(Bound::Unbounded)
    }

    /// Newest incarnations of the names from `start` on, by name.
    pub fn clusters_from<'a>(&'a self, start: Bound<&str>) -> impl Iterator<Item = (&'a str, &'a ClusterState)> {
        let names = self.names.range::<str, _>((start, Bound::Unbounded));
        names.filter_map(|(name, id)| Some((name.as_str(), self.clusters.get(id)?)))
    }
}

static EMPTY_SCOPE: ScopeState = ScopeState {
    clusters: BTreeMap::new(),
    names: BTreeMap::new(),
    homes: BTreeMap::new(),
    lenders: BTreeSet::new(),
    families: BTreeMap::new(),
    daemon_families: BTreeMap::new(),
    gateways: BTreeMap::new(),
    gateway_associations: BTreeMap::new(),
    account_settings: BTreeMap::new(),
    capacity_providers: BTreeMap::new(),
    idempotency: BTreeMap::new(),
};

impl State {
    /// The records of `scope`; an empty set when there are none.
    #[must_use]
    pub fn scope(&self, scope: &Scope) -> &ScopeState {
        self.scopes.get(scope).unwrap_or(&EMPTY_SCOPE)
    }

    /// All scopes that hold something.
    pub fn scopes(&self) -> impl Iterator<Item = (&Scope, &ScopeState)> {
        self.scopes.iter()
    }

    fn scope_mut(&mut self, scope: &Scope) -> &mut ScopeState {
        if !self.scopes.contains_key(scope) {
            self.scopes.insert(scope.clone(), ScopeState::default());
        }
        self.scopes.get_mut(scope).expect("was inserted above")
    }

    fn find_cluster(&mut self, scope: &Scope, cluster: Id) -> Option<&mut ClusterState> {
        self.scopes.get_mut(scope)?.clusters.get_mut(&cluster)
    }

    /// What agents tell of an instance may come after it was forgotten.
    fn find_instance(&mut self, scope: &Scope, cluster: Id, id: Id) -> Option<&mut InstanceState> {
        self.find_cluster(scope, cluster)?.instances.get_mut(&id)
    }

    fn cluster_mut(&mut self, scope: &Scope, cluster: Id) -> &mut ClusterState {
        let found = self.find_cluster(scope, cluster);
        found.expect("what is in a cluster is written after the cluster and deleted before it")
    }

    /// Makes one change.
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::PutCluster(scope, record) => self.put_cluster(scope, record),
            Change::DeleteCluster(scope, id) => self.delete_cluster(scope, *id),
            Change::PutFamily(scope, record) => FamilyState::put_in(&mut self.scope_mut(scope).families, record),
            Change::PutTaskDefinition(scope, record) => {
                let family = self.scope_mut(scope).families.get_mut(&record.family);
                family.expect("a family's counter is written before its revisions").put(record);
            }
            Change::DeleteTaskDefinition(scope, name, revision) => {
                if let Some(family) = self.scope_mut(scope).families.get_mut(name) {
                    family.delete(*revision);
                }
            }
            Change::PutDaemonFamily(scope, record) => {
                FamilyState::put_in(&mut self.scope_mut(scope).daemon_families, record);
            }
            Change::PutDaemonTaskDefinition(scope, record) => {
                let family = self.scope_mut(scope).daemon_families.get_mut(&record.family);
                family.expect("a family's counter is written before its revisions").put(record);
            }
            Change::DeleteDaemonTaskDefinition(scope, name, revision) => {
                if let Some(family) = self.scope_mut(scope).daemon_families.get_mut(name) {
                    family.delete(*revision);
                }
            }
            Change::PutDaemon(scope, record) => {
                self.cluster_mut(scope, record.cluster).daemons.insert(record.name.clone(), record.clone());
            }
            Change::PutGateway(scope, record) => {
                self.scope_mut(scope).gateways.insert(record.name.clone(), record.clone());
            }
            Change::DeleteGateway(scope, name) => {
                self.scope_mut(scope).gateways.remove(name);
            }
            Change::PutGatewayAssociation(scope, record) => {
                let associations = &mut self.scope_mut(scope).gateway_associations;
                associations.entry(record.gateway).or_default().insert(record.cluster, record.clone());
            }
            Change::DeleteGatewayAssociation(scope, gateway, cluster) => {
                let associations = &mut self.scope_mut(scope).gateway_associations;
                if let Some(of_gateway) = associations.get_mut(gateway) {
                    of_gateway.remove(cluster);
                    if of_gateway.is_empty() {
                        associations.remove(gateway);
                    }
                }
            }
            Change::DeleteDaemon(scope, cluster, name) => {
                self.cluster_mut(scope, *cluster).daemons.remove(name);
            }
            Change::PutContainerInstance(scope, record) => {
                let loading = self.loading;
                let cluster = self.cluster_mut(scope, record.cluster);
                let instance = match cluster.instances.entry(record.id) {
                    Entry::Occupied(known) => {
                        let instance = known.into_mut();
                        instance.set_record(record.clone());
                        instance
                    }
                    Entry::Vacant(new) => new.insert(InstanceState::new(record.clone())),
                };
                let lent = instance.is_lent();
                if !loading {
                    cluster.arrange(record.id);
                }
                let scope = self.scope_mut(scope);
                scope.homes.insert(record.id, record.cluster);
                if lent {
                    scope.lenders.insert(record.id);
                } else {
                    scope.lenders.remove(&record.id);
                }
            }
            Change::DeleteContainerInstance(scope, cluster, id) => {
                let cluster = self.cluster_mut(scope, *cluster);
                cluster.instances.remove(id);
                cluster.placement.remove(*id);
                let scope = self.scope_mut(scope);
                scope.homes.remove(id);
                scope.lenders.remove(id);
            }
            Change::AgentConnected(scope, cluster, id, connected) => {
                if let Some(cluster) = self.find_cluster(scope, *cluster) {
                    if let Some(instance) = cluster.instances.get_mut(id) {
                        instance.set_connected(*connected);
                    }
                    cluster.arrange(*id);
                }
            }
            Change::ContainerInstanceChanged(scope, cluster, id) => {
                if let Some(instance) = self.find_instance(scope, *cluster, *id) {
                    instance.count_change();
                }
            }
            Change::AgentChecks(scope, cluster, id, checks) => {
                if let Some(instance) = self.find_instance(scope, *cluster, *id) {
                    instance.checks = checks.clone();
                }
            }
            Change::PutTask(scope, record) => self.put_task(scope, record),
            Change::DeleteTask(scope, cluster, id) => self.delete_task(scope, *cluster, *id),
            Change::Closing => self.closing = true,
            Change::PutService(scope, record) => {
                self.cluster_mut(scope, record.cluster).services.insert(record.name.clone(), record.clone());
            }
            Change::DeleteService(scope, cluster, name) => {
                self.cluster_mut(scope, *cluster).services.remove(name);
            }
            Change::PutServiceDeployment(scope, record) => {
                self.cluster_mut(scope, record.cluster).put_service_deployment(record);
            }
            Change::DeleteServiceDeployment(scope, cluster, service, id) => {
                self.cluster_mut(scope, *cluster).delete_service_deployment(service, id);
            }
            Change::PutServiceRevision(scope, record) => {
                self.cluster_mut(scope, record.cluster).put_service_revision(record);
            }
            Change::DeleteServiceRevision(scope, cluster, service, number) => {
                self.cluster_mut(scope, *cluster).delete_service_revision(service, number);
            }
            Change::PutIdempotency(scope, record) => {
                let key = (record.operation.clone(), record.token.clone());
                self.scope_mut(scope).idempotency.insert(key, record.clone());
            }
            Change::DeleteIdempotency(scope, operation, token) => {
                self.scope_mut(scope).idempotency.remove(&(operation.clone(), token.clone()));
            }
            Change::PutAccountSetting(scope, record) => {
                let key = (record.name.clone(), record.principal.clone());
                self.scope_mut(scope).account_settings.insert(key, record.clone());
            }
            Change::DeleteAccountSetting(scope, name, principal) => {
                self.scope_mut(scope).account_settings.remove(&(name.clone(), principal.clone()));
            }
            Change::PutCapacityProvider(scope, record) => {
                self.scope_mut(scope).capacity_providers.insert(record.name.clone(), record.clone());
            }
            Change::DeleteCapacityProvider(scope, name) => {
                self.scope_mut(scope).capacity_providers.remove(name);
            }
            Change::PutAccount(record) => {
                self.accounts.insert(record.id.clone(), record.clone());
            }
            Change::PutAccessKey(record) => {
                self.access_keys.insert(record.id.clone(), record.clone());
            }
            Change::DeleteAccessKey(id) => {
                self.access_keys.remove(id);
            }
            Change::PutGrant(record) => {
                self.grants.insert(record.id.clone(), record.clone());
            }
            Change::DeleteGrant(id) => {
                self.grants.remove(id);
            }
            Change::PutJoinToken(record) => {
                self.join_tokens.insert(record.hash.clone(), record.clone());
            }
            Change::DeleteJoinToken(hash) => {
                self.join_tokens.remove(hash);
            }
            Change::PutEvent(record) => {
                self.last_event = self.last_event.max(record.sequence);
                self.outbox.insert(record.sequence, record.clone());
            }
            Change::DeleteEvent(sequence) => {
                self.outbox.remove(sequence);
            }
        }
    }

    fn put_cluster(&mut self, scope: &Scope, record: &Arc<ClusterRecord>) {
        let scope = self.scope_mut(scope);
        let newest = scope.names.get(&record.name).and_then(|id| scope.clusters.get(id));
        if newest.is_none_or(|newest| newest.record.created_at <= record.created_at) {
            scope.names.insert(record.name.clone(), record.id);
        }
        match scope.clusters.get_mut(&record.id) {
            Some(cluster) => cluster.record = record.clone(),
            None => {
                scope.clusters.insert(record.id, ClusterState::new(record.clone()));
            }
        }
    }

    fn delete_cluster(&mut self, scope: &Scope, id: Id) {
        let scope = self.scope_mut(scope);
        let Some(cluster) = scope.clusters.remove(&id) else { return };
        // Its name may have gone to another incarnation.
        if scope.names.get(&cluster.record.name) == Some(&id) {
            scope.names.remove(&cluster.record.name);
        }
    }

    fn put_task(&mut self, scope: &Scope, record: &Arc<TaskRecord>) {
        let cluster = self.cluster_mut(scope, record.cluster);
        let old = cluster.tasks.insert(record.id, record.clone());
        cluster.index.change(old.as_deref(), Some(record));
        self.scope_mut(scope).change_hosts(old.as_deref(), Some(record));
        let was_live = old.is_some_and(|old| old.last_status != TaskStatus::Stopped);
        self.count_use(scope, record, was_live, record.last_status != TaskStatus::Stopped);
    }

    fn delete_task(&mut self, scope: &Scope, cluster: Id, id: Id) {
        let cluster = self.cluster_mut(scope, cluster);
        let Some(old) = cluster.tasks.remove(&id) else { return };
        cluster.index.change(Some(&old), None);
        self.scope_mut(scope).change_hosts(Some(&old), None);
        self.count_use(scope, &old, old.last_status != TaskStatus::Stopped, false);
    }

    fn count_use(&mut self, scope: &Scope, task: &TaskRecord, was_live: bool, is_live: bool) {
        let Some(family) = self.scope_mut(scope).family_of(task) else { return };
        match (was_live, is_live) {
            (false, true) => family.task_began(task.revision),
            (true, false) => family.task_ended(task.revision),
            _ => {}
        }
    }
}
