//! What a transaction does: typed changes, made to memory and to the store alike.

use std::sync::Arc;

use longshore_api::ecs::InstanceHealthCheckResult;
use longshore_model::account_setting::AccountSettingRecord;
use longshore_model::capacity_provider::CapacityProviderRecord;
use longshore_model::daemon::DaemonRecord;
use longshore_model::gateway::{GatewayAssociationRecord, GatewayRecord};
use longshore_model::record::encode;
use longshore_model::records::{
    AccessKeyRecord, AccountRecord, ClusterRecord, ContainerInstanceRecord, FamilyRecord, GrantRecord,
    IdempotencyRecord, JoinTokenRecord, OutboxRecord, TaskDefinitionRecord, TaskRecord,
};
use longshore_model::service::{ServiceDeploymentRecord, ServiceRecord, ServiceRevisionRecord};
use longshore_model::{Id, Scope};
use longshore_store::Op;

use crate::keys;

/// One change of the working set.
#[derive(Clone, Debug)]
pub enum Change {
    /// A cluster was made or changed.
    PutCluster(Scope, Arc<ClusterRecord>),
    /// An INACTIVE cluster was forgotten, when nothing was in it any more.
    DeleteCluster(Scope, Id),
    /// A family's counter moved. Comes before the revision it counts.
    PutFamily(Scope, Arc<FamilyRecord>),
    /// A task definition was registered or changed.
    PutTaskDefinition(Scope, Arc<TaskDefinitionRecord>),
    /// A task definition was deleted for good.
    DeleteTaskDefinition(Scope, String, u32),
    /// A daemon task definition family's counter moved. Comes before the revision it counts.
    PutDaemonFamily(Scope, Arc<FamilyRecord>),
    /// A daemon task definition was registered or changed.
    PutDaemonTaskDefinition(Scope, Arc<TaskDefinitionRecord>),
    /// A daemon task definition was forgotten.
    DeleteDaemonTaskDefinition(Scope, String, u32),
    /// A daemon was made or changed.
    PutDaemon(Scope, Arc<DaemonRecord>),
    /// A daemon was forgotten: cluster, name.
    DeleteDaemon(Scope, Id, String),
    /// A gateway was made or changed.
    PutGateway(Scope, Arc<GatewayRecord>),
    /// A gateway was forgotten: name.
    DeleteGateway(Scope, String),
    /// A gateway and a cluster were associated or disassociated.
    PutGatewayAssociation(Scope, Arc<GatewayAssociationRecord>),
    /// An association was forgotten: gateway, cluster.
    DeleteGatewayAssociation(Scope, Id, Id),
    /// A container instance was registered or changed.
    PutContainerInstance(Scope, Arc<ContainerInstanceRecord>),
    /// A container instance was forgotten: cluster, id.
    DeleteContainerInstance(Scope, Id, Id),
    /// An agent's connection came or went: cluster, id, whether it stands. In memory only.
    AgentConnected(Scope, Id, Id, bool),
    /// An event told of a container instance, by whose version it is told apart: cluster, id. In memory only.
    ContainerInstanceChanged(Scope, Id, Id),
    /// An agent told the state of its instance's checks: cluster, id. In memory only.
    AgentChecks(Scope, Id, Id, Arc<Vec<InstanceHealthCheckResult>>),
    /// A task was made or changed.
    PutTask(Scope, Arc<TaskRecord>),
    /// A stopped task went to history: cluster, id.
    DeleteTask(Scope, Id, Id),
    /// A service was made or changed.
    PutService(Scope, Arc<ServiceRecord>),
    /// An INACTIVE service was forgotten: cluster, name.
    DeleteService(Scope, Id, String),
    /// A service deployment began or went on.
    PutServiceDeployment(Scope, Arc<ServiceDeploymentRecord>),
    /// A service deployment was forgotten: cluster, service, id.
    DeleteServiceDeployment(Scope, Id, String, String),
    /// A service revision was made, or its images were found.
    PutServiceRevision(Scope, Arc<ServiceRevisionRecord>),
    /// A service revision was forgotten: cluster, service, number.
    DeleteServiceRevision(Scope, Id, String, String),
    /// Everything is being stopped: services start nothing any more. In memory only.
    Closing,
    /// A client token was used.
    PutIdempotency(Scope, Arc<IdempotencyRecord>),
    /// A client token was forgotten: operation, token.
    DeleteIdempotency(Scope, String, String),
    /// A principal chose the value of a setting.
    PutAccountSetting(Scope, Arc<AccountSettingRecord>),
    /// A principal took its choice back: name, principal.
    DeleteAccountSetting(Scope, String, String),
    /// A capacity provider was made or changed.
    PutCapacityProvider(Scope, Arc<CapacityProviderRecord>),
    /// An INACTIVE capacity provider was forgotten: its name.
    DeleteCapacityProvider(Scope, String),
    /// An account was made.
    PutAccount(Arc<AccountRecord>),
    /// An access key was made.
    PutAccessKey(Arc<AccessKeyRecord>),
    /// An access key was deleted.
    DeleteAccessKey(String),
    /// An agent joined, or was bound to its container instance.
    PutGrant(Arc<GrantRecord>),
    /// An agent's grant ended.
    DeleteGrant(String),
    /// A join token was made.
    PutJoinToken(Arc<JoinTokenRecord>),
    /// A join token was used or has expired.
    DeleteJoinToken(String),
    /// Something happened.
    PutEvent(Arc<OutboxRecord>),
    /// An event was delivered.
    DeleteEvent(u64),
}

impl Change {
    /// The write that makes this change durable; `None` for what lives in memory only.
    pub(crate) fn op(&self) -> Option<Op> {
        Some(match self {
            Self::PutCluster(scope, record) => Op::Put(keys::cluster(scope, record.id), encode(&**record)),
            Self::DeleteCluster(scope, id) => Op::Delete(keys::cluster(scope, *id)),
            Self::PutFamily(scope, record) => Op::Put(keys::family(scope, &record.family), encode(&**record)),
            Self::PutTaskDefinition(scope, record) => {
                Op::Put(keys::task_definition(scope, &record.family, record.revision), encode(&**record))
            }
            Self::DeleteTaskDefinition(scope, family, revision) => {
                Op::Delete(keys::task_definition(scope, family, *revision))
            }
            Self::PutDaemonFamily(scope, record) => {
                Op::Put(keys::daemon_family(scope, &record.family), encode(&**record))
            }
            Self::PutDaemonTaskDefinition(scope, record) => {
                Op::Put(keys::daemon_task_definition(scope, &record.family, record.revision), encode(&**record))
            }
            Self::DeleteDaemonTaskDefinition(scope, family, revision) => {
                Op::Delete(keys::daemon_task_definition(scope, family, *revision))
            }
            Self::PutDaemon(scope, record) => {
                Op::Put(keys::daemon(scope, record.cluster, &record.name), encode(&**record))
            }
            Self::PutGateway(scope, record) => Op::Put(keys::gateway(scope, &record.name), encode(&**record)),
            Self::DeleteGateway(scope, name) => Op::Delete(keys::gateway(scope, name)),
            Self::PutGatewayAssociation(scope, record) => {
                Op::Put(keys::gateway_association(scope, record.gateway, record.cluster), encode(&**record))
            }
            Self::DeleteGatewayAssociation(scope, gateway, cluster) => {
                Op::Delete(keys::gateway_association(scope, *gateway, *cluster))
            }
            Self::DeleteDaemon(scope, cluster, name) => Op::Delete(keys::daemon(scope, *cluster, name)),
            Self::PutContainerInstance(scope, record) => {
                Op::Put(keys::container_instance(scope, record.cluster, record.id), encode(&**record))
            }
            Self::DeleteContainerInstance(scope, cluster, id) => {
                Op::Delete(keys::container_instance(scope, *cluster, *id))
            }
            Self::AgentConnected(..) | Self::ContainerInstanceChanged(..) | Self::AgentChecks(..) | Self::Closing => {
                return None;
            }
            Self::PutTask(scope, record) => Op::Put(keys::task(scope, record.cluster, record.id), encode(&**record)),
            Self::DeleteTask(scope, cluster, id) => Op::Delete(keys::task(scope, *cluster, *id)),
            Self::PutService(scope, record) => {
                Op::Put(keys::service(scope, record.cluster, &record.name), encode(&**record))
            }
            Self::DeleteService(scope, cluster, name) => Op::Delete(keys::service(scope, *cluster, name)),
            Self::PutServiceDeployment(scope, record) => {
                let key = keys::service_deployment(scope, record.cluster, &record.service, &record.id);
                Op::Put(key, encode(&**record))
            }
            Self::DeleteServiceDeployment(scope, cluster, service, id) => {
                Op::Delete(keys::service_deployment(scope, *cluster, service, id))
            }
            Self::PutServiceRevision(scope, record) => {
                let key = keys::service_revision(scope, record.cluster, &record.service, &record.number);
                Op::Put(key, encode(&**record))
            }
            Self::DeleteServiceRevision(scope, cluster, service, number) => {
                Op::Delete(keys::service_revision(scope, *cluster, service, number))
            }
            Self::PutIdempotency(scope, record) => {
                Op::Put(keys::idempotency(scope, &record.operation, &record.token), encode(&**record))
            }
            Self::DeleteIdempotency(scope, operation, token) => Op::Delete(keys::idempotency(scope, operation, token)),
            Self::PutAccountSetting(scope, record) => {
                Op::Put(keys::account_setting(scope, &record.name, &record.principal), encode(&**record))
            }
            Self::DeleteAccountSetting(scope, name, principal) => {
                Op::Delete(keys::account_setting(scope, name, principal))
            }
            Self::PutCapacityProvider(scope, record) => {
                Op::Put(keys::capacity_provider(scope, &record.name), encode(&**record))
            }
            Self::DeleteCapacityProvider(scope, name) => Op::Delete(keys::capacity_provider(scope, name)),
            Self::PutAccount(record) => Op::Put(keys::account(&record.id), encode(&**record)),
            Self::PutAccessKey(record) => Op::Put(keys::access_key(&record.id), encode(&**record)),
            Self::DeleteAccessKey(id) => Op::Delete(keys::access_key(id)),
            Self::PutGrant(record) => Op::Put(keys::grant(&record.id), encode(&**record)),
            Self::DeleteGrant(id) => Op::Delete(keys::grant(id)),
            Self::PutJoinToken(record) => Op::Put(keys::join_token(&record.hash), encode(&**record)),
            Self::DeleteJoinToken(hash) => Op::Delete(keys::join_token(hash)),
            Self::PutEvent(record) => Op::Put(keys::outbox(record.sequence), encode(&**record)),
            Self::DeleteEvent(sequence) => Op::Delete(keys::outbox(*sequence)),
        })
    }
}

/// The changes of one transaction, in order. The state does not change while they are collected.
#[derive(Debug, Default)]
pub struct Changes {
    pub(crate) list: Vec<Change>,
}

impl Changes {
    /// Adds a change.
    pub fn push(&mut self, change: Change) {
        self.list.push(change);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none: nothing is written then.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
