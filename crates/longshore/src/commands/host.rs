//! `longshore down` and `longshore cleanup`: what concerns this host, not the API.

use std::time::Duration;

use longshore_runtime::ContainerRuntime;
use longshore_runtime::docker;
use longshore_seams::Seams;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::cli::{CleanupArgs, DownArgs, OutputFormat, RuntimeChoice};
use crate::datadir::DataDir;
use crate::output::{self, Failure, Progress};
use crate::runtimes;

/// Between two looks at a process that ends.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long `down` waits in all: longer than tasks may take to stop.
const PATIENCE: Duration = Duration::from_secs(150);

/// Asks the process that has the data directory to stop its tasks and to end; waits until it has.
///
/// # Errors
/// There is no such directory, or the process does not end.
pub async fn down(args: &DownArgs, format: OutputFormat, seams: &Seams) -> Result<(), Failure> {
    let path = args.data_dir.path();
    if DataDir::look(&path)?.is_none() {
        return Err(Failure::not_found(format!("{} is no data directory of Longshore", path.display())));
    }
    let Some(pid) = DataDir::owner(&path) else {
        let text =
            format!("Nothing runs from {}. 'longshore cleanup' removes tasks that were left behind.", path.display());
        return output::print(format, &json!({"stopped": false}), |_| text);
    };
    kill(Pid::from_raw(pid), Signal::SIGUSR1)
        .map_err(|error| Failure::failed(format!("process {pid} can't be asked to stop: {error}")))?;
    let mut progress = Progress::start(format);
    let started = seams.clock.monotonic();
    while DataDir::owner(&path) == Some(pid) {
        if seams.clock.monotonic().saturating_sub(started) > PATIENCE {
            return Err(Failure::failed(format!(
                "process {pid} has not ended after {} s: see its log",
                PATIENCE.as_secs()
            )));
        }
        progress.show(format, "stopping tasks");
        seams.clock.sleep(LOOK_EVERY).await;
    }
    progress.finish();
    output::print(format, &json!({"stopped": true, "pid": pid}), |_| format!("Stopped (process {pid})."))
}

/// Removes everything that a data directory started on this host.
///
/// # Errors
/// The directory is in use, or something can't be removed.
pub async fn cleanup(args: &CleanupArgs, format: OutputFormat, seams: &Seams) -> Result<(), Failure> {
    let path = args.data_dir.path();
    if DataDir::look(&path)?.is_none() {
        let text = format!("{} is no data directory of Longshore: nothing to remove.", path.display());
        return output::print(format, &json!({"removed": false}), |_| text);
    }
    let dir = DataDir::open(&path, &*seams.random)?;
    if docker::detect(seams).await.is_some() {
        let runtime = runtimes::open(RuntimeChoice::Docker, &dir, None, seams).await?;
        runtime.cleanup().await.map_err(|error| Failure::failed(error.to_string()))?;
    }
    if nix::unistd::geteuid().is_root() {
        let runtime = runtimes::oci(&dir, None, seams).await?;
        runtime.cleanup().await.map_err(|error| Failure::failed(error.to_string()))?;
    }
    if args.delete_data {
        std::fs::remove_dir_all(dir.path())?;
    }
    output::print(format, &json!({"removed": true, "dataDeleted": args.delete_data}), |_| {
        format!("Removed everything that {} started on this host.", path.display())
    })
}
