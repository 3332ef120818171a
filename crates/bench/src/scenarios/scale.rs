//! Thousands of tasks on simulated agents: scaling a service out, tasks a second, a million tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use longshore_api::ecs;
use tokio::task::JoinSet;

use crate::Result;
use crate::agents::{Fleet, Load};
use crate::api::Api;
use crate::figure::{Figure, Floor};
use crate::process::{self, Bench, DataDir, Longshore};

/// Most tasks of one RunTask.
const CALL: i32 = 10;
/// Callers of RunTask, each waiting for its answer.
const CALLERS: usize = 16;
/// Between two looks at counts.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Without a task more that runs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most tasks that a service may have.
const SERVICE_TASKS: i32 = 5_000;

const MIB: f64 = 1_048_576.0;

/// A server with agents.
struct World {
    // In this order: agents end before their server, and that before its directory goes.
    fleet: Fleet,
    server: Longshore,
    api: Api,
    definition: String,
    _dir: DataDir,
}

impl World {
    async fn start(bench: &Bench, name: &str, load: Load) -> Result<Self> {
        let dir = bench.data_dir(name);
        let server = bench.start(&dir, "server", &[])?;
        let api = Api::new(&server.endpoint, &bench.seams)?;
        let definition = api.register("bench").await?;
        let fleet = Fleet::start(load, &server.endpoint)?;
        Ok(Self { fleet, server, api, definition, _dir: dir })
    }

    async fn cluster(&self) -> Result<ecs::Cluster> {
        let answer: ecs::DescribeClustersResponse =
            self.api.ecs("DescribeClusters", &ecs::DescribeClustersRequest::default()).await?;
        Ok(answer.clusters.unwrap_or_default().into_iter().next().ok_or("there is no cluster 'default'")?)
    }

    /// Waits until `count` says `wanted` of the cluster.
    async fn wait(&mut self, bench: &Bench, wanted: i32, count: impl Fn(&ecs::Cluster) -> i32) -> Result {
        let (mut best, mut since) = (0, bench.seams.clock.monotonic());
        loop {
            let there = count(&self.cluster().await?);
            let now = bench.seams.clock.monotonic();
            if there >= wanted {
                return Ok(());
            }
            if there > best {
                (best, since) = (there, now);
            } else if now.saturating_sub(since) > PATIENCE {
                return Err(format!("{there} of {wanted} tasks, and for {PATIENCE:?} none more").into());
            }
            self.fleet.check()?;
            bench.seams.clock.sleep(LOOK_EVERY).await;
        }
    }

    async fn create_service(&self, name: &str, desired: i32) -> Result {
        let request = ecs::CreateServiceRequest {
            service_name: Some(name.to_owned()),
            task_definition: Some(self.definition.clone()),
            desired_count: Some(desired),
            ..ecs::CreateServiceRequest::default()
        };
        let _: ecs::CreateServiceResponse = self.api.ecs("CreateService", &request).await?;
        Ok(())
    }

    async fn update_service(&self, name: &str, desired: i32) -> Result {
        let request = ecs::UpdateServiceRequest {
            service: Some(name.to_owned()),
            desired_count: Some(desired),
            ..ecs::UpdateServiceRequest::default()
        };
        let _: ecs::UpdateServiceResponse = self.api.ecs("UpdateService", &request).await?;
        Ok(())
    }

    /// Runs tasks from several callers while `more` (told how many there are) wants more; answers how many there are.
    async fn run_tasks(&self, more: impl Fn(usize) -> bool + Send + Sync + 'static) -> Result<usize> {
        let (more, asked) = (Arc::new(more), Arc::new(AtomicUsize::new(0)));
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (api, definition, more, asked) =
                (self.api.clone(), self.definition.clone(), more.clone(), asked.clone());
            callers.spawn(async move {
                let mut placed = 0;
                while more(asked.fetch_add(10, Ordering::Relaxed)) {
                    placed += api.run(&definition, CALL).await?.len();
                }
                Ok::<usize, Box<dyn std::error::Error + Send + Sync>>(placed)
            });
        }
        let mut placed = 0;
        while let Some(done) = callers.join_next().await {
            placed += done??;
        }
        Ok(placed)
    }
}

fn running(cluster: &ecs::Cluster) -> i32 {
    cluster.running_tasks_count.unwrap_or(0)
}

fn placed(cluster: &ecs::Cluster) -> i32 {
    cluster.running_tasks_count.unwrap_or(0) + cluster.pending_tasks_count.unwrap_or(0)
}

/// A service from 0 to 3,500 tasks on 500 agents.
///
/// # Errors
/// A task does not run.
pub async fn out(bench: &Bench) -> Result<Vec<Figure>> {
    const NAME: &str = "scaleout";
    const TASKS: i32 = 3_500;
    let mut world = World::start(bench, NAME, Load { agents: 500, hold: false }).await?;
    world.create_service("web", 0).await?;
    let began = bench.seams.clock.monotonic();
    world.update_service("web", TASKS).await?;
    world.wait(bench, TASKS, running).await?;
    let took = bench.seams.clock.monotonic().saturating_sub(began);
    Ok(vec![
        Figure::new(NAME, "a service from 0 to 3,500 RUNNING on 500 agents", took.as_secs_f64(), "s")
            .held_to(Floor::AtMost(5.0)),
    ])
}

/// Tasks a second from the API to their durable assignment, by RunTask and by services.
///
/// # Errors
/// A task can't be placed.
#[expect(clippy::cast_precision_loss, reason = "some ten thousand tasks")]
pub async fn throughput(bench: &Bench) -> Result<Vec<Figure>> {
    const NAME: &str = "throughput";
    const LENGTH: Duration = Duration::from_secs(8);
    const SERVICES: i32 = 6;
    let mut world = World::start(bench, NAME, Load { agents: 500, hold: true }).await?;
    let clock = bench.seams.clock.clone();
    let began = clock.monotonic();
    let before = process::processor_time(world.server.pid())?;
    let until = began + LENGTH;
    let ticking = clock.clone();
    let tasks = world.run_tasks(move |_| ticking.monotonic() < until).await?;
    let took = clock.monotonic().saturating_sub(began);
    let used = process::processor_time(world.server.pid())?.saturating_sub(before);
    let by_calls = tasks as f64 / took.as_secs_f64();
    let a_task = used.as_secs_f64() * 1e6 / tasks as f64;

    let there = placed(&world.cluster().await?);
    for service in 0..SERVICES {
        world.create_service(&format!("s{service}"), 0).await?;
    }
    let began = clock.monotonic();
    for service in 0..SERVICES {
        world.update_service(&format!("s{service}"), SERVICE_TASKS).await?;
    }
    world.wait(bench, there + SERVICES * SERVICE_TASKS, placed).await?;
    let took = clock.monotonic().saturating_sub(began);
    let by_services = f64::from(SERVICES * SERVICE_TASKS) / took.as_secs_f64();
    Ok(vec![
        Figure::new(NAME, "tasks durably assigned a second, RunTask with count 10", by_calls, "tasks/s")
            .held_to(Floor::AtLeast(5_000.0)),
        Figure::new(NAME, "processor time of the server for one of these", a_task, "µs"),
        Figure::new(NAME, "tasks durably assigned a second, 6 services of 5,000", by_services, "tasks/s")
            .held_to(Floor::AtLeast(5_000.0)),
    ])
}

/// `tasks` tasks (a million) through API, store and gateway to RUNNING, on 5,000 agents.
///
/// # Errors
/// A task does not run.
#[expect(clippy::cast_precision_loss, reason = "a million tasks, bytes of a process")]
pub async fn million(bench: &Bench, tasks: usize) -> Result<Vec<Figure>> {
    const NAME: &str = "million";
    let mut world = World::start(bench, NAME, Load { agents: 5_000, hold: false }).await?;
    let clock = bench.seams.clock.clone();
    let before = process::processor_time(world.server.pid())?;
    let agents_before = process::processor_time(world.fleet.pid())?;
    let began = clock.monotonic();
    let placed = world.run_tasks(move |asked| asked < tasks).await?;
    let accepted = clock.monotonic().saturating_sub(began);
    world.wait(bench, i32::try_from(placed)?, running).await?;
    let took = clock.monotonic().saturating_sub(began);
    let used = process::processor_time(world.server.pid())?.saturating_sub(before);
    let agents = process::processor_time(world.fleet.pid())?.saturating_sub(agents_before);
    let peak = process::peak_memory(world.server.pid())?;
    let seconds = |name: String, value: Duration| Figure::new(NAME, name, value.as_secs_f64(), "s");
    Ok(vec![
        seconds(format!("{placed} tasks from the first RunTask to all RUNNING, 5,000 agents"), took)
            .held_to(Floor::AtMost(600.0)),
        seconds("to the last answer of RunTask".to_owned(), accepted),
        seconds("processor time of the server".to_owned(), used),
        seconds("processor time of the agents' process".to_owned(), agents),
        Figure::new(NAME, "most resident memory of the server", peak as f64 / MIB, "MiB")
            .held_to(Floor::AtMost(4_096.0)),
    ])
}
