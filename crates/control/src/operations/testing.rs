//! A control plane on a store in memory, for tests of operations.

use std::sync::Arc;

use longshore_api::{JsonWriter, ServiceError, Value, ecs};
use longshore_model::records::{ContainerInstanceRecord, ContainerInstanceStatus, OutboxEvent, TaskRecord, TaskStatus};
use longshore_model::{Id, Scope};
use longshore_seams::{Clock, ManualClock, Seams, SeededRandom, SystemDisk, Timestamp, TokioSpawner};
use longshore_store::Store;
use longshore_store::memory::{Memory, MemoryOptions};
use longshore_wire::{Principal, RequestContext, Service};
use serde_json::{Value as Json, json};

use crate::changes::{Change, Changes};
use crate::engine::Engine;
use crate::operations::answers::{check_answer, check_error};
use crate::quotas::Quotas;
use crate::service::{EcsService, scope_of};

/// A control plane and a caller.
pub(crate) struct World {
    pub(crate) service: EcsService,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) context: RequestContext,
    store: Arc<Memory>,
}

pub(crate) const ACCOUNT: &str = "123456789012";
pub(crate) const REGION: &str = "eu-west-1";

impl World {
    /// A new, empty control plane; the caller is the root of [`ACCOUNT`].
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_700_000_000)));
        Self::on(Arc::new(Memory::new(MemoryOptions::default())), clock).await
    }

    async fn on(store: Arc<Memory>, clock: Arc<ManualClock>) -> Self {
        let seams = Seams {
            clock: clock.clone(),
            random: Arc::new(SeededRandom::new(1)),
            spawner: Arc::new(TokioSpawner),
            disk: Arc::new(SystemDisk),
        };
        let engine = Engine::open(store.clone(), seams, Arc::new(|error| panic!("{error}"))).await.unwrap();
        let context = RequestContext {
            request_id: "00000000-0000-4000-8000-000000000000".to_owned(),
            principal: Principal::Root { account: ACCOUNT.to_owned() },
            access_key_id: "AKIATEST".to_owned(),
            account: ACCOUNT.to_owned(),
            region: REGION.to_owned(),
            source_ip: std::net::Ipv4Addr::LOCALHOST.into(),
            user_agent: String::new(),
            base_url: "http://127.0.0.1:4747".to_owned(),
            received_at: clock.now(),
        };
        Self { service: EcsService::new(engine), clock, context, store }
    }

    /// The same store, loaded by a new control plane.
    pub(crate) async fn restarted(self) -> Self {
        self.store.barrier().await.unwrap();
        let store = Arc::new(self.store.reopen());
        Self { context: self.context, ..Self::on(store, self.clock).await }
    }

    /// Another control plane on the store as it is now: what this one does from here on is lost to it, as in a crash.
    pub(crate) async fn crashed(&self) -> Self {
        self.store.barrier().await.unwrap();
        let store = Arc::new(self.store.reopen());
        Self { context: self.context.clone(), ..Self::on(store, self.clock.clone()).await }
    }

    /// The same control plane with other quotas.
    pub(crate) fn with_quotas(mut self, quotas: Quotas) -> Self {
        self.service.engine = self.service.engine.with_quotas(quotas);
        self
    }

    /// The same control plane, called in another region.
    pub(crate) fn in_region(mut self, region: &str) -> Self {
        self.context.region = region.to_owned();
        self
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.service.engine
    }

    pub(crate) fn scope(&self) -> Scope {
        scope_of(&self.context)
    }

    /// `arn:aws:ecs:REGION:ACCOUNT:RESOURCE`
    pub(crate) fn arn(&self, resource: &str) -> String {
        self.scope().ecs_arn(resource)
    }

    /// Calls an operation as the front door would; the answer is one that the model allows.
    pub(crate) async fn call(&self, operation: &str, input: Json) -> Result<Json, ServiceError> {
        let input = Value::from_json(input.to_string().as_bytes()).unwrap();
        let operation = ecs::MODEL.operation(operation).unwrap();
        let output = Service::call(&self.service, &self.context, operation, &input).await;
        let output = output.inspect_err(|error| check_error(operation.name, error))?;
        let mut writer = JsonWriter::new();
        output.write(&mut writer);
        let answer = serde_json::from_slice(&writer.into_bytes()).unwrap();
        check_answer(operation.name, &answer);
        Ok(answer)
    }

    /// The answer of a call that must succeed.
    pub(crate) async fn ok(&self, operation: &str, input: Json) -> Json {
        let answer = self.call(operation, input.clone()).await;
        answer.unwrap_or_else(|refused| panic!("{operation} {input}: {refused}"))
    }

    /// Code and message of a call that must fail.
    pub(crate) async fn refused(&self, operation: &str, input: Json) -> (&'static str, String) {
        let answer = self.call(operation, input.clone()).await;
        let refused = answer.expect_err(&format!("{operation} {input}"));
        (refused.code, refused.message)
    }

    /// Makes changes as another room would.
    pub(crate) async fn change(&self, fill: impl FnOnce(&mut Changes)) {
        let write = |_: &_, changes: &mut Changes| {
            fill(changes);
            Ok::<_, ServiceError>(())
        };
        self.engine().write(write).await.unwrap();
    }

    /// The incarnation of the cluster called `name`.
    pub(crate) fn cluster_id(&self, name: &str) -> Id {
        self.engine().peek(|state| state.scope(&self.scope()).cluster_named(name).unwrap().record.id)
    }

    /// Puts a container instance into the cluster.
    pub(crate) async fn put_instance(&self, cluster: &str, status: ContainerInstanceStatus) -> ContainerInstanceRecord {
        // Members that may be left out are left out, so that new ones need no change here.
        let record: ContainerInstanceRecord = serde_json::from_value(json!({
            "id": Id::random(&*self.engine().seams().random), "cluster": self.cluster_id(cluster), "status": status,
            "version": 1, "registered_at": self.clock.now(), "attributes": [], "registered_resources": [],
        }))
        .unwrap();
        self.change(|changes| changes.push(Change::PutContainerInstance(self.scope(), Arc::new(record.clone())))).await;
        record
    }

    /// Puts a task of `FAMILY:REVISION` into the cluster.
    pub(crate) async fn put_task(&self, cluster: &str, family: &str, revision: u32, status: TaskStatus) -> TaskRecord {
        let record: TaskRecord = serde_json::from_value(json!({
            "id": Id::random(&*self.engine().seams().random), "cluster": self.cluster_id(cluster),
            "family": family, "revision": revision, "last_status": status, "desired_status": "RUNNING", "version": 1,
            "group": format!("family:{family}"), "launch_type": "EC2", "containers": [],
            "reservation": {"cpu": 0, "memory_mib": 0}, "created_at": self.clock.now(),
        }))
        .unwrap();
        self.change(|changes| changes.push(Change::PutTask(self.scope(), Arc::new(record.clone())))).await;
        record
    }

    /// Moves a task to another status.
    pub(crate) async fn move_task(&self, task: &TaskRecord, status: TaskStatus) {
        let record = TaskRecord { last_status: status, ..task.clone() };
        self.change(|changes| changes.push(Change::PutTask(self.scope(), Arc::new(record)))).await;
    }
}

/// The event's own part.
pub(crate) fn detail(event: &OutboxEvent) -> Json {
    serde_json::from_str(event.detail.text()).unwrap()
}
