//! The project's own tools: `cargo xtask <task>`.

mod bench;
mod built;
mod codegen;
mod compatibility;
mod coverage;
mod errors;
mod sim;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What a task answers: an error's text is for the developer who ran it.
type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const USAGE: &str = "\
usage: cargo xtask <task>

  codegen [--check] [--models DIR] [--out DIR]
                    write the API types from the service models; --check fails when they differ
  coverage [--output json|text]
                    count the requirement rows that tests prove; fails on an unknown row
  compatibility [--check]
                    write docs/compatibility.md; --check fails when it is stale
  errors [--check]  write docs/errors.md, the catalogue of errors; --check fails when it is stale
  bench [SCENARIO...] [--output table|json] [--strict]
                    measure a release build; fails when a relative floor is missed (benches/README.md)
  sim [--seeds N] [--seed S] [--trace] [STORY...]
                    play the control plane and agents in worlds made from seeds; prints the shortest
                    story that breaks a rule (crates/sim)
  ci                everything that must hold before a change lands: .ci/run
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (task, rest) = match arguments.split_first() {
        Some((task, rest)) => (task.as_str(), rest),
        None => ("help", [].as_slice()),
    };
    let result = match task {
        "codegen" => codegen::task(rest),
        "coverage" => coverage::task(rest),
        "compatibility" => compatibility::task(rest),
        "errors" => errors::task(rest),
        "bench" => bench::task(rest),
        "sim" => sim::task(rest),
        "ci" => ci(),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        other => Err(format!("no task `{other}`\n\n{USAGE}").into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {task}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs `.ci/run`.
fn ci() -> Result {
    let status = std::process::Command::new(root().join(".ci/run")).status()?;
    if status.success() { Ok(()) } else { Err(format!(".ci/run ended with {status}").into()) }
}

/// The repository's root: of the clone it runs in, which need not be the one it was compiled in, for clones may share
/// their target directory.
fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&manifest).parent().map(Path::to_path_buf).unwrap_or_default()
}
