//! `cargo xtask sim`: builds the simulator and plays stories.

use std::process::Command;

use crate::{Result, bench};

/// Builds `longshore-sim` and runs it with `arguments`.
pub(crate) fn task(arguments: &[String]) -> Result {
    let status = Command::new(bench::build("longshore-sim")?).args(arguments).status()?;
    match status.code() {
        Some(0) => Ok(()),
        Some(1) => Err("a story breaks a rule".into()),
        _ => Err(format!("the simulator ended with {status}").into()),
    }
}
