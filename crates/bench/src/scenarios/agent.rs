//! Memory of an agent with 20 tasks, and of their shims.

use std::time::Duration;

use crate::Result;
use crate::api::{Api, write_image};
use crate::figure::{Figure, Floor};
use crate::process::{self, Bench};

const NAME: &str = "agent";
const TASKS: usize = 20;
/// An agent lets go of the code that it does not use every half minute.
const SETTLE: Duration = Duration::from_secs(35);

const MIB: f64 = 1_048_576.0;

/// Measures.
///
/// # Errors
/// A task does not run.
#[expect(clippy::cast_precision_loss, reason = "bytes of processes")]
pub async fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let archive = bench.scratch.join("image.tar");
    write_image(&archive)?;
    let server_dir = bench.data_dir("agent-server");
    let agent_dir = bench.data_dir("agent");
    let server = bench.start(&server_dir, "server", &[])?;
    let api = Api::new(&server.endpoint, &bench.seams)?;
    let agent = bench.start_agent(&agent_dir, &server.endpoint, &api.join_token().await?)?;
    bench.import(&agent_dir, "oci", &archive)?;
    api.wait_for_instance().await?;
    let without = process::memory(agent.pid())?;
    let definition = api.register("bench").await?;
    let mut tasks = Vec::new();
    while tasks.len() < TASKS {
        tasks.extend(api.run(&definition, 10).await?);
    }
    api.wait(&tasks, "RUNNING", Duration::from_millis(20)).await?;
    let most = process::memory(agent.pid())?;
    bench.seams.clock.sleep(SETTLE).await;
    let with = process::memory(agent.pid())?;
    let shims = agent_dir.shims()?;
    if shims.len() < TASKS {
        return Err(format!("{TASKS} tasks run, but only {} shims", shims.len()).into());
    }
    let mut largest = process::Memory::default();
    let mut private = 0;
    for shim in &shims {
        let memory = process::memory(*shim)?;
        private += memory.private;
        largest.private = largest.private.max(memory.private);
        largest.resident = largest.resident.max(memory.resident);
    }
    api.stop(&tasks).await?;
    agent.terminate().await?;
    server.terminate().await?;
    let figure = |name: &str, bytes: u64| Figure::new(NAME, name, bytes as f64 / MIB, "MiB");
    Ok(vec![
        figure("resident memory of an agent with 20 tasks", with.resident).held_to(Floor::AtMost(20.0)),
        figure("of it private", with.private),
        figure("the same when the last one has just started", most.resident),
        figure("resident memory of an agent without tasks", without.resident),
        figure("private memory of a shim, the largest of 20", largest.private).held_to(Floor::AtMost(1.0)),
        figure("private memory of all shims together", private),
        figure("resident memory of a shim, the largest of 20", largest.resident),
    ])
}
