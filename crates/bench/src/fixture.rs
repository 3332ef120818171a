//! Data directories that already hold a great many records.

use std::path::Path;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use longshore_api::ecs;
use longshore_control::changes::Change;
use longshore_control::engine::{Engine, WriteRefused};
use longshore_model::records::{
    ContainerInstanceRecord, ContainerInstanceStatus, ContainerRecord, Delivery, DesiredStatus, FamilyRecord,
    Reservation, Tags, TaskDefinitionRecord, TaskDefinitionStatus, TaskRecord, TaskStatus, TaskTimes,
};
use longshore_model::{Id, Scope};
use longshore_seams::Seams;
use longshore_store::Store;
use longshore_store::embedded::{Embedded, EmbeddedOptions};

use crate::Result;
use crate::api::{IMAGE, MEMORY_MIB, REGION};
use crate::process::ACCOUNT;

/// Changes of one transaction.
const BATCH: usize = 90;
/// Events of earlier transactions that a transaction removes besides.
const DELIVERED: usize = 8;
/// Transactions under way, so that they share commits.
const IN_FLIGHT: usize = 64;
/// Tasks of one container instance.
const TASKS_OF_INSTANCE: usize = 100;

/// What to put into a directory.
#[derive(Clone, Copy, Debug)]
pub struct Contents {
    /// Revisions of task definitions, ten a family.
    pub task_definitions: u32,
    /// RUNNING tasks, on container instances of 100 each.
    pub tasks: usize,
}

/// Adds `contents` to the store at `path`, which a first start of the server has made, and closes it cleanly.
///
/// # Errors
/// The store's; there is no cluster `default` in it.
pub async fn fill(path: &Path, contents: Contents, seams: &Seams) -> Result {
    let store: Arc<dyn Store> = Arc::new(Embedded::open(path, EmbeddedOptions::default(), seams)?);
    let on_fatal = Arc::new(|error: &longshore_store::StoreError| {
        eprintln!("the store failed: {error}");
        std::process::exit(1);
    });
    let engine = Engine::open(store.clone(), seams.clone(), on_fatal).await?;
    let scope = Scope::new(ACCOUNT, REGION);
    let cluster = engine.peek(|state| state.scope(&scope).active_cluster("default").map(|cluster| cluster.record.id));
    let cluster = cluster.ok_or("the server's first start made no cluster 'default'")?;
    let maker = Maker { scope, cluster, seams: seams.clone() };
    let definitions = (0..contents.task_definitions).flat_map(|index| maker.task_definition(index));
    write(&engine, definitions).await?;
    let instances: Vec<Id> =
        (0..contents.tasks.div_ceil(TASKS_OF_INSTANCE)).map(|_| Id::random(&*seams.random)).collect();
    write(&engine, instances.iter().map(|id| maker.container_instance(*id))).await?;
    let tasks = (0..contents.tasks).map(|index| {
        let family = u32::try_from(index).unwrap_or(0) % (contents.task_definitions / 10).max(1);
        maker.task(instances[index / TASKS_OF_INSTANCE], family)
    });
    write(&engine, tasks).await?;
    store.close().await?;
    Ok(())
}

async fn write(engine: &Engine, changes: impl Iterator<Item = Change>) -> Result {
    let batches = Batches(changes);
    let writes = stream::iter(batches).map(|batch| async {
        engine
            .write(|state, changes| {
                batch.into_iter().for_each(|change| changes.push(change));
                // Nobody delivers here, and a directory that was in use has no backlog.
                state.outbox.keys().take(DELIVERED).for_each(|event| changes.push(Change::DeleteEvent(*event)));
                Ok::<(), WriteRefused>(())
            })
            .await
    });
    writes.buffered(IN_FLIGHT).try_collect::<()>().await?;
    Ok(())
}

struct Batches<I>(I);

impl<I: Iterator<Item = Change>> Iterator for Batches<I> {
    type Item = Vec<Change>;

    fn next(&mut self) -> Option<Vec<Change>> {
        let batch: Vec<Change> = self.0.by_ref().take(BATCH).collect();
        (!batch.is_empty()).then_some(batch)
    }
}

struct Maker {
    scope: Scope,
    cluster: Id,
    seams: Seams,
}

fn family(number: u32) -> String {
    format!("bench-{number}")
}

impl Maker {
    /// The family's counter, and revision `index % 10 + 1` of it.
    fn task_definition(&self, index: u32) -> [Change; 2] {
        let (family, revision) = (family(index / 10), index % 10 + 1);
        let container = ecs::ContainerDefinition {
            name: Some("main".to_owned()),
            image: Some(IMAGE.to_owned()),
            memory: Some(MEMORY_MIB),
            essential: Some(true),
            ..Default::default()
        };
        let definition = ecs::TaskDefinition {
            family: Some(family.clone()),
            container_definitions: Some(vec![container]),
            ..Default::default()
        };
        let record = TaskDefinitionRecord {
            family: family.clone(),
            revision,
            status: TaskDefinitionStatus::Active,
            definition,
            registered_at: self.seams.clock.now(),
            registered_by: format!("arn:aws:iam::{ACCOUNT}:root"),
            deregistered_at: None,
            delete_requested_at: None,
            daemon: None,
            tags: Tags::new(),
        };
        let counter = FamilyRecord { family, last_revision: revision };
        [
            Change::PutFamily(self.scope.clone(), Arc::new(counter)),
            Change::PutTaskDefinition(self.scope.clone(), Arc::new(record)),
        ]
    }

    fn container_instance(&self, id: Id) -> Change {
        let resource = |name: &str, value: i32| ecs::Resource {
            name: Some(name.to_owned()),
            r#type: Some("INTEGER".to_owned()),
            integer_value: Some(value),
            ..Default::default()
        };
        let record = ContainerInstanceRecord {
            id,
            cluster: self.cluster,
            status: ContainerInstanceStatus::Active,
            status_reason: None,
            version: 1,
            registered_at: self.seams.clock.now(),
            deregistered_at: None,
            grant: None,
            ec2_instance_id: None,
            version_info: None,
            attributes: Vec::new(),
            registered_resources: vec![resource("CPU", 65_536), resource("MEMORY", 262_144)],
            last_sequence: 0,
            tags: Tags::new(),
        };
        Change::PutContainerInstance(self.scope.clone(), Arc::new(record))
    }

    fn task(&self, container_instance: Id, number: u32) -> Change {
        let now = self.seams.clock.now();
        let random = || Id::random(&*self.seams.random);
        let times = TaskTimes {
            connectivity: Some(now),
            pull_started: Some(now),
            pull_stopped: Some(now),
            started: Some(now),
            ..TaskTimes::default()
        };
        let container = ContainerRecord {
            id: random().to_string(),
            name: "main".to_owned(),
            image: IMAGE.to_owned(),
            image_digest: None,
            runtime_id: Some(format!("{}{}", random(), random())),
            last_status: TaskStatus::Running,
            essential: true,
            exit_code: None,
            reason: None,
            network_bindings: Vec::new(),
            health: None,
            cpu: Some("0".to_owned()),
            memory: Some(MEMORY_MIB.to_string()),
            memory_reservation: None,
            gpu_ids: Vec::new(),
        };
        let record = TaskRecord {
            id: random(),
            cluster: self.cluster,
            family: family(number),
            revision: 1,
            container_instance: Some(container_instance),
            last_status: TaskStatus::Running,
            desired_status: DesiredStatus::Running,
            version: 3,
            group: format!("family:{}", family(number)),
            daemon: None,
            started_by: None,
            launch_type: ecs::LaunchType::from("EC2"),
            capacity_provider: None,
            availability_zone: None,
            cpu_architecture: None,
            platform_version: None,
            platform_family: None,
            interface: None,
            ebs_volume: None,
            ephemeral_storage_gib: None,
            containers: vec![container],
            overrides: None,
            cpu: None,
            memory: None,
            reservation: Reservation { memory_mib: i64::from(MEMORY_MIB), ..Reservation::default() },
            enable_execute_command: false,
            protected_until: None,
            retires_at: None,
            created_at: now,
            times,
            stop_code: None,
            stopped_reason: None,
            health: None,
            delivered: Delivery::Start,
            tags: Tags::new(),
            waiting: None,
        };
        Change::PutTask(self.scope.clone(), Arc::new(record))
    }
}
