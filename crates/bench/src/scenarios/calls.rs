//! A thousand calls a second: four reads to one durable write.

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
/// Calls a second.
const RATE: u32 = 1_000;
const WARM_UP: Duration = Duration::from_secs(3);
const LENGTH: Duration = Duration::from_secs(20);
/// What the server holds while it is called.
const CONTENTS: Contents = Contents { task_definitions: 1_000, tasks: 1_000 };
/// Families that the load registers into.
const FAMILIES: usize = 50;
/// A hundred task ARNs for DescribeTasks, ten a call.
const TASKS_A_CALL: usize = 10;

/// What the calls are about.
struct Material {
    tasks: Vec<String>,
    cluster_arn: String,
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
    let dir = bench.data_dir("calls");
    bench.start(&dir, "server", &[])?.terminate().await?;
    fixture::fill(&dir.store(), CONTENTS, &bench.seams).await?;
    let server = bench.start(&dir, "server", &[])?;
    let api = Api::new(&server.endpoint, &bench.seams)?;
    let material = Arc::new(material(&api).await?);
    load(bench, &api, &material, WARM_UP, 0).await?;
    let before = process::processor_time(server.pid())?;
    let outcome = load(bench, &api, &material, LENGTH, 1_000_000).await?;
    let used = process::processor_time(server.pid())?.saturating_sub(before);
    server.terminate().await?;
    if let Some(first) = outcome.failures.first() {
        return Err(format!("{} of {} calls failed, the first: {first}", outcome.failures.len(), RATE * 20).into());
    }
    let all = &outcome;
    let both = Samples::joined(&[&all.reads, &all.writes]);
    let figure = |name: &str, value: f64| Figure::new(NAME, name, value, "ms");
    let share = 100.0 * used.as_secs_f64() / LENGTH.as_secs_f64();
    Ok(vec![
        figure("1,000 calls a second for 20 s, p99", both.quantile(0.99)).held_to(Floor::AtMost(10.0)),
        figure("p50", both.median()),
        figure("p99.9", both.quantile(0.999)),
        figure("reads (80 %), p50", all.reads.median()),
        figure("reads, p99", all.reads.quantile(0.99)),
        figure("durable writes (20 %), p50", all.writes.median()),
        figure("durable writes, p99", all.writes.quantile(0.99)),
        Figure::new(NAME, "processor use of the server", share, "% of a core"),
    ])
}

async fn material(api: &Api) -> Result<Material> {
    let listed: ecs::ListTasksResponse = api.ecs("ListTasks", &ecs::ListTasksRequest::default()).await?;
    let described: ecs::DescribeClustersResponse =
        api.ecs("DescribeClusters", &ecs::DescribeClustersRequest::default()).await?;
    let cluster = described.clusters.unwrap_or_default().into_iter().next().unwrap_or_default();
    Ok(Material {
        tasks: listed.task_arns.unwrap_or_default(),
        cluster_arn: cluster.cluster_arn.ok_or("there is no cluster 'default'")?,
    })
}

/// Makes calls by the clock, whatever becomes of earlier ones, for `length`. Each is timed from when
/// it was due, so that a server that stalls is charged for every call that it held up.
async fn load(bench: &Bench, api: &Api, material: &Arc<Material>, length: Duration, first: usize) -> Result<Outcome> {
    let outcome = Arc::new(Mutex::new(Outcome::default()));
    let mut calls = tokio::task::JoinSet::new();
    let mut due = pace(bench, length)?;
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
fn pace(bench: &Bench, length: Duration) -> Result<mpsc::UnboundedReceiver<Duration>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let clock = bench.seams.clock.clone();
    std::thread::Builder::new().name("pace".to_owned()).spawn(move || {
        let began = clock.monotonic();
        for number in 0.. {
            let after = Duration::from_secs(1) * number / RATE;
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
    if (number / 10).is_multiple_of(2) {
        let request =
            ecs::TagResourceRequest { resource_arn: Some(material.cluster_arn.clone()), tags: Some(vec![tag(number)]) };
        discard::<ecs::TagResourceResponse>(api.ecs("TagResource", &request).await)
    } else {
        let request = ecs::CreateClusterRequest { cluster_name: Some(format!("load-{number}")), ..Default::default() };
        discard::<ecs::CreateClusterResponse>(api.ecs("CreateCluster", &request).await)
    }
}

async fn read(api: &Api, material: &Material, number: usize, slot: usize) -> Result {
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
