//! Measures Longshore against the figures it is held to. `benches/README.md` says how.
//!
//! Invariants: everything it starts it stops, and removes from the host; times come from the
//! injected clock; no figure is judged that was not measured in this run.

mod agents;
mod api;
mod figure;
mod fixture;
mod process;
mod samples;
mod scenarios;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use longshore_seams::Seams;

use figure::{Figure, Verdict};
use process::Bench;
use scenarios::{agent, calls, placement, recovery, run_task, scale, services, startup, store};

/// An error's text is for the developer who ran it.
type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures Longshore against the figures it is held to.
#[derive(Debug, Parser)]
#[command(name = "longshore-bench")]
struct Arguments {
    /// What to measure [default: everything].
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
    /// The executable under measurement: a release build.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["fill", "agents"])]
    binary: Option<PathBuf>,
    /// How figures are printed.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
    /// Where data directories are made [default: the directory for temporary files].
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Starts of each kind in `runtask`.
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// Task records in `recovery`, tasks in `million`.
    #[arg(long, default_value_t = 1_000_000)]
    tasks: usize,
    /// Fail for absolute floors, too: for a quiet machine with two cores.
    #[arg(long)]
    strict: bool,
    /// Write the records of `recovery` into this store, and end.
    #[arg(long, value_name = "FILE", hide = true)]
    fill: Option<PathBuf>,
    /// Be so many agents of the server at `--join`, and end with the input.
    #[arg(long, value_name = "NUMBER", hide = true, requires = "join")]
    agents: Option<usize>,
    /// Their server.
    #[arg(long, value_name = "URL", hide = true)]
    join: Option<String>,
    /// They report no task.
    #[arg(long, hide = true)]
    hold: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Time to API ready, the idle process, the executable.
    Startup,
    /// Time to API ready after kill -9, with a million tasks.
    Recovery,
    /// RunTask to RUNNING, on both runtimes.
    Runtask,
    /// A thousand calls a second.
    Calls,
    /// Memory of an agent and of shims.
    Agent,
    /// Durable transactions a second.
    Store,
    /// Tasks placed a second by the placement engine alone.
    Placement,
    /// A service from 0 to 3,500 tasks on 500 simulated agents.
    Scaleout,
    /// Tasks a second from the API to their durable assignment.
    Throughput,
    /// Services of real containers, beside Docker's swarm; deployments and rollbacks.
    Services,
    /// A million tasks on 5,000 simulated agents.
    Million,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("longshore-bench: {error}");
            ExitCode::from(2)
        }
    }
}

/// Measures and prints; answers whether the floors were kept.
fn run(arguments: &Arguments) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let seams = Seams::system();
    if let Some(store) = &arguments.fill {
        runtime.block_on(recovery::fill(store, arguments.tasks, &seams))?;
        return Ok(true);
    }
    if let (Some(agents), Some(endpoint)) = (arguments.agents, &arguments.join) {
        runtime.block_on(agents::run(agents::Load { agents, hold: arguments.hold }, endpoint, &seams))?;
        return Ok(true);
    }
    let binary = arguments.binary.as_ref().ok_or("--binary is missing")?.canonicalize()?;
    let scratch = match &arguments.scratch {
        Some(dir) => tempfile::Builder::new().prefix("longshore-bench-").tempdir_in(dir)?,
        None => tempfile::Builder::new().prefix("longshore-bench-").tempdir()?,
    };
    let bench = Bench { binary, scratch: scratch.path().canonicalize()?, seams };
    let chosen = if arguments.scenarios.is_empty() { Scenario::value_variants() } else { &arguments.scenarios };
    let mut figures = Vec::new();
    let mut is_broken = false;
    for scenario in chosen {
        eprintln!("measuring {scenario:?} ...");
        match runtime.block_on(measure(*scenario, &bench, arguments)) {
            Ok(measured) => figures.extend(measured),
            Err(error) => {
                is_broken = true;
                eprintln!("{scenario:?} could not be measured: {error}");
            }
        }
    }
    match arguments.output {
        Output::Table => print!("{}", figure::table(&figures)),
        Output::Json => println!("{}", serde_json::to_string_pretty(&figure::document(&figures))?),
    }
    let counts = |figure: &&Figure| arguments.strict || figure.floor.is_some_and(figure::Floor::is_relative);
    let misses = figures.iter().filter(|figure| figure.verdict() == Verdict::Miss).filter(counts).count();
    Ok(misses == 0 && !is_broken)
}

async fn measure(scenario: Scenario, bench: &Bench, arguments: &Arguments) -> Result<Vec<Figure>> {
    match scenario {
        Scenario::Startup => startup::measure(bench).await,
        Scenario::Recovery => recovery::measure(bench, arguments.tasks).await,
        Scenario::Runtask => run_task::measure(bench, arguments.rounds).await,
        Scenario::Calls => calls::measure(bench).await,
        Scenario::Agent => agent::measure(bench).await,
        Scenario::Store => store::measure(bench).await,
        Scenario::Placement => placement::measure(bench),
        Scenario::Scaleout => scale::out(bench).await,
        Scenario::Throughput => scale::throughput(bench).await,
        Scenario::Services => services::measure(bench).await,
        Scenario::Million => scale::million(bench, arguments.tasks).await,
    }
}
