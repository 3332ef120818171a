//! `longshore up` after `kill -9`, with a million task records.

use std::path::Path;
use std::time::Duration;

use longshore_api::ecs;

use crate::Result;
use crate::api::{Api, task_definition};
use crate::figure::{Figure, Floor};
use crate::fixture::{self, Contents};
use crate::process::{self, Bench};

const NAME: &str = "recovery";
const RUNS: usize = 2;
/// Writes that are under way when the process is killed.
const WRITERS: usize = 8;
/// For how long they write before.
const LOAD: Duration = Duration::from_secs(1);

const MIB: f64 = 1_048_576.0;

/// Measures with `tasks` task records.
///
/// # Errors
/// A server does not start as it should, or has lost a task.
#[expect(clippy::cast_precision_loss, reason = "bytes of a process and a file")]
pub async fn measure(bench: &Bench, tasks: usize) -> Result<Vec<Figure>> {
    let dir = bench.data_dir("recovery");
    bench.start(&dir, "up", &["--runtime", "oci"])?.terminate().await?;
    let began = bench.seams.clock.monotonic();
    fill_in_a_process_of_its_own(&dir.store(), tasks)?;
    let filled = bench.seams.clock.monotonic().saturating_sub(began);
    let mut slowest = Duration::ZERO;
    let mut up = bench.start(&dir, "up", &["--runtime", "oci"])?;
    let clean = up.ready_after;
    for _ in 0..RUNS {
        let api = Api::new(&up.endpoint, &bench.seams)?;
        let writers = (0..WRITERS).map(|number| write_until_killed(api.clone(), number));
        let kill = async {
            bench.seams.clock.sleep(LOAD).await;
            up.kill()
        };
        let (killed, _) = tokio::join!(kill, futures_util::future::join_all(writers));
        killed?;
        up = bench.start(&dir, "up", &["--runtime", "oci"])?;
        slowest = slowest.max(up.ready_after);
    }
    check_count(&Api::new(&up.endpoint, &bench.seams)?, tasks).await?;
    let memory = process::memory(up.pid())?;
    up.kill()?;
    let size = std::fs::metadata(dir.store())?.len();
    Ok(vec![
        Figure::new(
            NAME,
            format!("up to API ready after kill -9 under load, {tasks} tasks, slowest of {RUNS}"),
            slowest.as_secs_f64(),
            "s",
        )
        .held_to(Floor::AtMost(10.0)),
        Figure::new(NAME, "up to API ready after a clean end", clean.as_secs_f64(), "s"),
        Figure::new(NAME, "resident memory then", memory.resident as f64 / MIB, "MiB"),
        Figure::new(NAME, "size of the store", size as f64 / MIB, "MiB"),
        Figure::new(NAME, "time to write the records", filled.as_secs_f64(), "s"),
    ])
}

/// So that the memory of a million records is given back before anything is measured.
fn fill_in_a_process_of_its_own(store: &Path, tasks: usize) -> Result {
    let status = std::process::Command::new(std::env::current_exe()?)
        .arg("--fill")
        .arg(store)
        .args(["--tasks", &tasks.to_string()])
        .status()?;
    if status.success() { Ok(()) } else { Err(format!("writing the records ended with {status}").into()) }
}

/// What the process of its own does.
///
/// # Errors
/// The store's.
pub async fn fill(store: &Path, tasks: usize, seams: &longshore_seams::Seams) -> Result {
    fixture::fill(store, Contents { task_definitions: 1_000, tasks }, seams).await
}

async fn write_until_killed(api: Api, number: usize) {
    let request = task_definition(&format!("load-{number}"));
    loop {
        let answer: Result<ecs::RegisterTaskDefinitionResponse> = api.ecs("RegisterTaskDefinition", &request).await;
        if answer.is_err() {
            return;
        }
    }
}

async fn check_count(api: &Api, tasks: usize) -> Result {
    let request = ecs::DescribeClustersRequest::default();
    let answer: ecs::DescribeClustersResponse = api.ecs("DescribeClusters", &request).await?;
    let cluster = answer.clusters.unwrap_or_default().into_iter().next().unwrap_or_default();
    let running = usize::try_from(cluster.running_tasks_count.unwrap_or_default())?;
    if running == tasks { Ok(()) } else { Err(format!("{running} tasks run after kill -9, not {tasks}").into()) }
}
