//! `cargo xtask sim`: builds the simulator and plays stories.

use std::process::Command;

use crate::{Result, bench};

/// What cargo builds. Features are resolved for the whole workspace and, because `--examples` could want them (there are
/// none), for its dev-dependencies: as `scripts/test` does, so that nothing it has compiled is compiled again.
const SELECTION: [&str; 4] = ["--workspace", "--bin", "longshore-sim", "--examples"];

/// Builds `longshore-sim` and runs it with `arguments`.
pub(crate) fn task(arguments: &[String]) -> Result {
    let status = Command::new(bench::build("longshore-sim", &SELECTION)?).args(arguments).status()?;
    match status.code() {
        Some(0) => Ok(()),
        Some(1) => Err("a story breaks a rule".into()),
        _ => Err(format!("the simulator ended with {status}").into()),
    }
}
