//! RunTask to RUNNING on both runtimes, beside what the same Docker takes by itself.

use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder};

use crate::Result;
use crate::api::{Api, COMMAND, IMAGE, MEMORY_MIB, write_image};
use crate::figure::{Figure, Floor};
use crate::process::{Bench, DataDir, Longshore};
use crate::samples::Samples;

const NAME: &str = "runtask";
/// Rounds that are not counted: code and pages that are used for the first time.
const WARM_UP: usize = 3;
/// Between two looks at a task that starts.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Between the end of one measurement and the begin of the next.
const REST: Duration = Duration::from_millis(150);
/// Tasks, tasks a call, and the pause between looks of the throughput measurement.
const MANY: (usize, i32, Duration) = (100, 10, Duration::from_millis(20));

/// One runtime under measurement.
struct Subject {
    // In this order: the process ends before its directory goes.
    up: Longshore,
    dir: DataDir,
    api: Api,
    definition: String,
}

/// Start times of one subject: from the answer, and from the call.
#[derive(Default)]
struct Starts {
    accepted: Samples,
    called: Samples,
}

/// Measures; `rounds` of each kind, one after the other in turn.
///
/// # Errors
/// A task does not run, or Docker does not answer.
pub async fn measure(bench: &Bench, rounds: usize) -> Result<Vec<Figure>> {
    let archive = bench.scratch.join("image.tar");
    write_image(&archive)?;
    let oci = Subject::start(bench, "oci", &archive).await?;
    let docker = Subject::start(bench, "docker", &archive).await?;
    let raw = Docker::connect_with_local_defaults()?;
    let (mut raw_starts, mut docker_starts, mut oci_starts) =
        (Samples::default(), Starts::default(), Starts::default());
    for round in 0..rounds + WARM_UP {
        let counted = round >= WARM_UP;
        let took = raw_start(bench, &raw, round).await?;
        if counted {
            raw_starts.push(took);
        }
        docker.start_one(bench, counted.then_some(&mut docker_starts)).await?;
        oci.start_one(bench, counted.then_some(&mut oci_starts)).await?;
    }
    let per_second = [oci.start_many(bench).await?, docker.start_many(bench).await?];
    let docker_dir = docker.end().await?;
    oci.end().await?;
    bench.cleanup(&docker_dir)?;
    bench.remove_docker_image(&docker_dir, IMAGE)?;
    Ok(figures(rounds, &raw_starts, &docker_starts, &oci_starts, per_second))
}

fn figures(rounds: usize, raw: &Samples, docker: &Starts, oci: &Starts, per_second: [f64; 2]) -> Vec<Figure> {
    let figure = |name: &str, value: f64| Figure::new(NAME, name, value, "ms");
    let (raw_p50, docker_p50, oci_p50) = (raw.median(), docker.accepted.median(), oci.accepted.median());
    vec![
        Figure::new(NAME, format!("Docker runtime: accepted to RUNNING, median of {rounds}"), docker_p50, "ms")
            .beside("raw create + start", raw_p50)
            .held_to(Floor::ExcessAtMost(20.0)),
        Figure::new(NAME, format!("embedded runtime: accepted to RUNNING, median of {rounds}"), oci_p50, "ms")
            .held_to(Floor::AtMost(60.0)),
        figure("the same against the Docker runtime", oci_p50)
            .beside("Docker runtime", docker_p50)
            .held_to(Floor::RatioAtMost(0.25)),
        figure("Docker runtime: accepted to RUNNING, p90", docker.accepted.quantile(0.9))
            .beside("raw", raw.quantile(0.9)),
        figure("embedded runtime: accepted to RUNNING, p90", oci.accepted.quantile(0.9)),
        figure("Docker runtime: called to RUNNING, median", docker.called.median()),
        figure("embedded runtime: called to RUNNING, median", oci.called.median()),
        Figure::new(NAME, "embedded runtime: task starts a second, 100 tasks by 10", per_second[0], "/s")
            .held_to(Floor::AtLeast(25.0)),
        Figure::new(NAME, "Docker runtime: task starts a second, 100 tasks by 10", per_second[1], "/s"),
    ]
}

impl Subject {
    async fn start(bench: &Bench, runtime: &'static str, archive: &std::path::Path) -> Result<Self> {
        let dir = bench.data_dir(&format!("runtask-{runtime}"));
        let up = bench.start(&dir, "up", &["--runtime", runtime])?;
        bench.import(&dir, runtime, archive)?;
        let api = Api::new(&up.endpoint, &bench.seams)?;
        api.wait_for_instance().await?;
        let definition = api.register("bench").await?;
        Ok(Self { up, dir, api, definition })
    }

    async fn start_one(&self, bench: &Bench, starts: Option<&mut Starts>) -> Result {
        bench.seams.clock.sleep(REST).await;
        let called = bench.seams.clock.monotonic();
        let tasks = self.api.run(&self.definition, 1).await?;
        let accepted = bench.seams.clock.monotonic();
        self.api.wait(&tasks, "RUNNING", LOOK_EVERY).await?;
        let running = bench.seams.clock.monotonic();
        if let Some(starts) = starts {
            starts.accepted.push(running.saturating_sub(accepted));
            starts.called.push(running.saturating_sub(called));
        }
        self.api.stop(&tasks).await
    }

    /// Tasks started a second when many are asked for at once.
    #[expect(clippy::cast_precision_loss, reason = "a hundred tasks")]
    async fn start_many(&self, bench: &Bench) -> Result<f64> {
        let (count, at_once, pause) = MANY;
        bench.seams.clock.sleep(REST).await;
        let began = bench.seams.clock.monotonic();
        let mut tasks = Vec::new();
        while tasks.len() < count {
            tasks.extend(self.api.run(&self.definition, at_once).await?);
        }
        self.api.wait(&tasks, "RUNNING", pause).await?;
        let took = bench.seams.clock.monotonic().saturating_sub(began);
        self.api.stop(&tasks).await?;
        Ok(count as f64 / took.as_secs_f64())
    }

    async fn end(self) -> Result<DataDir> {
        self.up.terminate().await?;
        Ok(self.dir)
    }
}

/// Create and start of the same container, through the same client library, without Longshore.
async fn raw_start(bench: &Bench, docker: &Docker, round: usize) -> Result<Duration> {
    bench.seams.clock.sleep(REST).await;
    let name = format!("longshore-bench-raw-{}-{round}", std::process::id());
    let body = ContainerCreateBody {
        image: Some(IMAGE.to_owned()),
        cmd: Some(COMMAND.map(str::to_owned).to_vec()),
        labels: Some([("dev.longshore.bench".to_owned(), "raw".to_owned())].into()),
        host_config: Some(HostConfig { memory: Some(i64::from(MEMORY_MIB) << 20), ..HostConfig::default() }),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptionsBuilder::default().name(&name).build();
    let began = bench.seams.clock.monotonic();
    docker.create_container(Some(options), body).await?;
    let started = docker.start_container(&name, None).await;
    let took = bench.seams.clock.monotonic().saturating_sub(began);
    let options = RemoveContainerOptionsBuilder::default().force(true).build();
    docker.remove_container(&name, Some(options)).await?;
    started?;
    Ok(took)
}
