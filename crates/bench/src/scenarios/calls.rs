//! Calls by the clock, four reads to one durable write: a thousand a second on a small server, two thousand on a full one.

use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longshore_api::ecs;
use tokio::sync::mpsc;

use crate::Result;
use crate::api::{Api, task_definition};
use crate::figure::{Figure, Floor};
use crate::fixture::{self, Contents};
use crate::process::{self, Bench};
use crate::samples::Samples;

const NAME: &str = "calls";
const WARM_UP: Duration = Duration::from_secs(3);
const LENGTH: Duration = Duration::from_secs(20);
/// Calls of a second, and what the server holds meanwhile.
struct Load {
    title: &'static str,
    /// Calls a second.
    rate: u32,
    contents: Contents,
    services: usize,
}
const LOADS: [Load; 2] = [
    Load {
        title: "1,000 calls a second for 20 s",
        rate: 1_000,
        contents: Contents { task_definitions: 1_000, tasks: 1_000 },
        services: 10,
    },
    Load {
        title: "2,000 calls a second for 20 s, 100,000 tasks, 1,000 services",
        rate: 2_000,
        contents: Contents { task_definitions: 1_000, tasks: 100_000 },
        services: 1_000,
    },
];
/// How often the disk alone is asked to sync, as often as the smaller load has it do, and for how long.
const SYNCS_A_SECOND: u32 = 200;
const SYNCS: u32 = 1_000;
/// Families that the load registers into.
const FAMILIES: usize = 50;
/// A hundred task ARNs for DescribeTasks, ten a call.
const TASKS_A_CALL: usize = 10;

/// What the calls are about.
struct Material {
    tasks: Vec<String>,
    cluster_arn: String,
    services: usize,
}

#[derive(Default)]
struct Outcome {
    reads: Samples,
    writes: Samples,
    failures: Vec<String>,
}

/// Measures.
///
/// # Errors
/// A server does not start, or a call is refused.
pub async fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let mut figures = disk(bench)?;
    for load in &LOADS {
        figures.extend(serve(bench, load).await?);
    }
    Ok(figures)
}

/// Small synced writes over a file that is there, at the pace of the load's commits: nothing can answer sooner.
fn disk(bench: &Bench) -> Result<Vec<Figure>> {
    let file = std::fs::File::create(bench.scratch.join("disk-alone"))?;
    let block = [0; 4_096];
    for number in 0..SYNCS {
        file.write_all_at(&block, u64::from(number) * 4_096)?;
    }
    file.sync_all()?;
    let clock = &bench.seams.clock;
    let mut samples = Samples::default();
    let began = clock.monotonic();
    for number in 0..SYNCS {
        let due = began + Duration::from_secs(1) * number / SYNCS_A_SECOND;
        while let Some(left) = due.checked_sub(clock.monotonic()).filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
        }
        file.write_all_at(&block, u64::from(number) * 4_096)?;
        file.sync_data()?;
        samples.push(clock.monotonic().saturating_sub(due));
    }
    let figure = |name: &str, value: f64| Figure::new(NAME, name, value, "ms");
    Ok(vec![
        figure("the disk alone, 200 synced writes a second, p99", samples.quantile(0.99)),
        figure("the disk alone, p99.9", samples.quantile(0.999)),
    ])
}

async fn serve(bench: &Bench, load: &Load) -> Result<Vec<Figure>> {
    let dir = bench.data_dir(&format!("calls-{}", load.rate));
    bench.start(&dir, "server", &[])?.terminate().await?;
    fixture::fill(&dir.store(), load.contents, &bench.seams).await?;
    let server = bench.start(&dir, "server", &[])?;
    let api = Api::new(&server.endpoint, &bench.seams)?;
    let material = Arc::new(material(&api, load.services).await?);
    call_for(bench, &api, &material, load.rate, WARM_UP, 0).await?;
    let before = process::processor_time(server.pid())?;
    let outcome = call_for(bench, &api, &material, load.rate, LENGTH, 1_000_000).await?;
    let used = process::processor_time(server.pid())?.saturating_sub(before);
    server.terminate().await?;
    if let Some(first) = outcome.failures.first() {
        return Err(format!("{} of {} calls failed, the first: {first}", outcome.failures.len(), load.rate * 20).into());
    }
    let all = &outcome;
    let both = Samples::joined(&[&all.reads, &all.writes]);
    let figure = |name: &str, value: f64| Figure::new(NAME, format!("{}{name}", load.title), value, "ms");
    let share = 100.0 * used.as_secs_f64() / LENGTH.as_secs_f64();
    Ok(vec![
        figure(", p99", both.quantile(0.99)).held_to(Floor::AtMost(10.0)),
        figure(": p50", both.median()),
        figure(": p99.9", both.quantile(0.999)),
        figure(": reads (80 %), p50", all.reads.median()),
        figure(": reads, p99", all.reads.quantile(0.99)),
        figure(": durable writes (20 %), p50", all.writes.median()),
        figure(": durable writes, p99", all.writes.quantile(0.99)),
        Figure::new(NAME, format!("{}: processor use of the server", load.title), share, "% of a core"),
    ])
}

async fn material(api: &Api, services: usize) -> Result<Material> {
    let listed: ecs::ListTasksResponse = api.ecs("ListTasks", &ecs::ListTasksRequest::default()).await?;
    let described: ecs::DescribeClustersResponse =
        api.ecs("DescribeClusters", &ecs::DescribeClustersRequest::default()).await?;
    let cluster = described.clusters.unwrap_or_default().into_iter().next().unwrap_or_default();
    for number in 0..services {
        let request = ecs::CreateServiceRequest {
            service_name: Some(service(number)),
            task_definition: Some("bench-0".to_owned()),
            desired_count: Some(0),
            ..Default::default()
        };
        discard::<ecs::CreateServiceResponse>(api.ecs("CreateService", &request).await)?;
    }
    Ok(Material {
        tasks: listed.task_arns.unwrap_or_default(),
        cluster_arn: cluster.cluster_arn.ok_or("there is no cluster 'default'")?,
        services,
    })
}

fn service(number: usize) -> String {
    format!("bench-{number}")
}

/// Makes calls by the clock, whatever becomes of earlier ones, for `length`. Each is timed from when
/// it was due, so that a server that stalls is charged for every call that it held up.
async fn call_for(
    bench: &Bench,
    api: &Api,
    material: &Arc<Material>,
    rate: u32,
    length: Duration,
    first: usize,
) -> Result<Outcome> {
    let outcome = Arc::new(Mutex::new(Outcome::default()));
    let mut calls = tokio::task::JoinSet::new();
    let mut due = pace(bench, rate, length)?;
    let mut number = first;
    while let Some(at) = due.recv().await {
        let (api, material, outcome, clock) =
            (api.clone(), material.clone(), outcome.clone(), bench.seams.clock.clone());
        calls.spawn(async move {
            let (is_write, result) = call(&api, &material, number).await;
            let took = clock.monotonic().saturating_sub(at);
            let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(()) if is_write => outcome.writes.push(took),
                Ok(()) => outcome.reads.push(took),
                Err(error) => outcome.failures.push(error.to_string()),
            }
        });
        number += 1;
    }
    while let Some(done) = calls.join_next().await {
        done?;
    }
    let outcome = std::mem::take(&mut *outcome.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(outcome)
}

/// Sends the time of each call when it is due. A thread of its own: the runtime's timer is too coarse.
fn pace(bench: &Bench, rate: u32, length: Duration) -> Result<mpsc::UnboundedReceiver<Duration>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let clock = bench.seams.clock.clone();
    std::thread::Builder::new().name("pace".to_owned()).spawn(move || {
        let began = clock.monotonic();
        for number in 0.. {
            let after = Duration::from_secs(1) * number / rate;
            if after >= length {
                return;
            }
            let at = began + after;
            loop {
                let now = clock.monotonic();
                if now >= at {
                    break;
                }
                std::thread::park_timeout(at - now);
            }
            if sender.send(at).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// One call of the mix, and whether it writes.
async fn call(api: &Api, material: &Material, number: usize) -> (bool, Result) {
    match number % 10 {
        0 => (
            true,
            discard::<ecs::RegisterTaskDefinitionResponse>(
                api.ecs("RegisterTaskDefinition", &task_definition(&format!("load-{}", number / 10 % FAMILIES))).await,
            ),
        ),
        5 => (true, write(api, material, number).await),
        slot => (false, read(api, material, number, slot).await),
    }
}

fn discard<T>(answer: Result<T>) -> Result {
    answer.map(|_| ())
}

async fn write(api: &Api, material: &Material, number: usize) -> Result {
    let tag = |value: usize| ecs::Tag { key: Some("load".to_owned()), value: Some(value.to_string()) };
    if (number / 10).is_multiple_of(4) {
        let request = ecs::UpdateServiceRequest {
            service: Some(service(number / 40 % material.services)),
            enable_ecs_managed_tags: Some((number / 80).is_multiple_of(2)),
            ..Default::default()
        };
        discard::<ecs::UpdateServiceResponse>(api.ecs("UpdateService", &request).await)
    } else if (number / 10).is_multiple_of(2) {
        let request =
            ecs::TagResourceRequest { resource_arn: Some(material.cluster_arn.clone()), tags: Some(vec![tag(number)]) };
        discard::<ecs::TagResourceResponse>(api.ecs("TagResource", &request).await)
    } else {
        let request = ecs::CreateClusterRequest { cluster_name: Some(format!("load-{number}")), ..Default::default() };
        discard::<ecs::CreateClusterResponse>(api.ecs("CreateCluster", &request).await)
    }
}

async fn read(api: &Api, material: &Material, number: usize, slot: usize) -> Result {
    match slot {
        8 => {
            let services =
                (0..TASKS_A_CALL.min(material.services)).map(|at| service((number + at) % material.services));
            let request = ecs::DescribeServicesRequest { services: Some(services.collect()), ..Default::default() };
            discard::<ecs::DescribeServicesResponse>(api.ecs("DescribeServices", &request).await)
        }
        4 => discard::<ecs::ListServicesResponse>(api.ecs("ListServices", &ecs::ListServicesRequest::default()).await),
        slot => read_more(api, material, number, slot).await,
    }
}

async fn read_more(api: &Api, material: &Material, number: usize, slot: usize) -> Result {
    match slot % 4 {
        1 => {
            let from = number % material.tasks.len().saturating_sub(TASKS_A_CALL).max(1);
            let tasks = material.tasks.iter().skip(from).take(TASKS_A_CALL).cloned().collect();
            let request = ecs::DescribeTasksRequest { tasks: Some(tasks), ..Default::default() };
            discard::<ecs::DescribeTasksResponse>(api.ecs("DescribeTasks", &request).await)
        }
        2 => {
            let request =
                ecs::DescribeClustersRequest { clusters: Some(vec!["default".to_owned()]), ..Default::default() };
            discard::<ecs::DescribeClustersResponse>(api.ecs("DescribeClusters", &request).await)
        }
        3 => discard::<ecs::ListTasksResponse>(api.ecs("ListTasks", &ecs::ListTasksRequest::default()).await),
        _ => {
            let family = format!("bench-{}", number % 100);
            let request = ecs::DescribeTaskDefinitionRequest { task_definition: Some(family), ..Default::default() };
            discard::<ecs::DescribeTaskDefinitionResponse>(api.ecs("DescribeTaskDefinition", &request).await)
        }
    }
}
