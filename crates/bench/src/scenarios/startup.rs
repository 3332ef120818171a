//! `longshore up` on a directory with 10,000 records; the idle process; the executable.

use std::time::Duration;

use crate::Result;
use crate::api::Api;
use crate::figure::{Figure, Floor};
use crate::fixture::{self, Contents};
use crate::process::{self, Bench, DataDir};
use crate::samples::Samples;

const NAME: &str = "startup";
/// Counted with the first start's own records: 10,000.
const CONTENTS: Contents = Contents { task_definitions: 1_000, tasks: 8_700 };
const RUNS: usize = 7;
const SETTLE: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(20);

const MIB: f64 = 1_048_576.0;

/// Measures.
///
/// # Errors
/// A server does not start or end as it should.
pub async fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let mut figures = executable(bench)?;
    let dir = bench.data_dir("startup");
    bench.start(&dir, "up", &["--runtime", "oci"])?.terminate().await?;
    idle(bench, &dir, &mut figures).await?;
    fixture::fill(&dir.store(), CONTENTS, &bench.seams).await?;
    for runtime in ["oci", "docker"] {
        let ready = starts(bench, &dir, runtime).await?;
        let name = format!("up --runtime {runtime} to API ready, 10,000 records, median of {}", ready.len());
        figures.push(Figure::new(NAME, name, ready.median(), "ms").held_to(Floor::AtMost(100.0)));
        figures.push(Figure::new(NAME, format!("the slowest of these ({runtime})"), ready.quantile(1.0), "ms"));
    }
    Ok(figures)
}

#[expect(clippy::cast_precision_loss, reason = "bytes of one executable")]
fn executable(bench: &Bench) -> Result<Vec<Figure>> {
    let (is_static, size) = process::executable(&bench.binary)?;
    let interpreters = if is_static { 0.0 } else { 1.0 };
    Ok(vec![
        Figure::new(NAME, "size of the executable", size as f64 / MIB, "MiB").held_to(Floor::AtMost(40.0)),
        Figure::new(NAME, "loaders that the executable needs (0: it is static)", interpreters, "")
            .held_to(Floor::AtMost(0.0)),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "bytes of one process")]
async fn idle(bench: &Bench, dir: &DataDir, figures: &mut Vec<Figure>) -> Result {
    let up = bench.start(dir, "up", &["--runtime", "oci"])?;
    Api::new(&up.endpoint, &bench.seams)?.wait_for_instance().await?;
    bench.seams.clock.sleep(SETTLE).await;
    let before = process::processor_time(up.pid())?;
    let began = bench.seams.clock.monotonic();
    bench.seams.clock.sleep(IDLE).await;
    let used = process::processor_time(up.pid())?.saturating_sub(before);
    let passed = bench.seams.clock.monotonic().saturating_sub(began);
    let memory = process::memory(up.pid())?;
    let share = 100.0 * used.as_secs_f64() / passed.as_secs_f64();
    figures.push(
        Figure::new(NAME, "resident memory of an idle up", memory.resident as f64 / MIB, "MiB")
            .held_to(Floor::AtMost(50.0)),
    );
    figures.push(Figure::new(NAME, "of it private", memory.private as f64 / MIB, "MiB"));
    figures.push(
        Figure::new(NAME, "processor use of an idle up, over 20 s", share, "% of a core").held_to(Floor::AtMost(1.0)),
    );
    up.terminate().await
}

/// Starts and stops `up` several times; the first start warms the page cache and is not counted.
async fn starts(bench: &Bench, dir: &DataDir, runtime: &str) -> Result<Samples> {
    let mut ready = Samples::default();
    for run in 0..=RUNS {
        let up = bench.start(dir, "up", &["--runtime", runtime])?;
        if run > 0 {
            ready.push(up.ready_after);
        }
        // The word that it is ready is taken at its word only when a call succeeds at once.
        let _: longshore_api::ecs::ListClustersResponse = Api::new(&up.endpoint, &bench.seams)?
            .ecs("ListClusters", &longshore_api::ecs::ListClustersRequest::default())
            .await?;
        up.terminate().await?;
    }
    Ok(ready)
}
