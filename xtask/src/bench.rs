//! `cargo xtask bench`: builds a release and measures it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{Result, root};

/// Builds `longshore` and `longshore-bench`, one after the other: built together, the measured
/// binary would get the features that only the other one asks for.
pub(crate) fn task(arguments: &[String]) -> Result {
    let binary = build("longshore", &["--package", "longshore"])?;
    let bench = build("longshore-bench", &["--package", "longshore-bench"])?;
    let status = Command::new(bench).arg("--binary").arg(binary).args(arguments).status()?;
    match status.code() {
        Some(0) => Ok(()),
        Some(1) => Err("a floor is missed, or a scenario could not be measured".into()),
        _ => Err(format!("the measurement ended with {status}").into()),
    }
}

/// Builds in release mode what `selection` tells cargo; answers where the executable called `name` is.
pub(crate) fn build(name: &str, selection: &[&str]) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--release", "--message-format", "json-render-diagnostics"])
        .args(selection)
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{name} does not build").into());
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    executable(&messages, name).ok_or_else(|| format!("cargo made no executable {name}").into())
}

/// The executable called `name` among cargo's messages.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let mut messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_target = |message: &Value| message["target"]["name"] == name && message["executable"].is_string();
    messages.rfind(of_target).and_then(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_cargo_s_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"longshore"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"longshore"},"executable":"/t/release/longshore"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "longshore"), Some(PathBuf::from("/t/release/longshore")));
        assert_eq!(executable(messages, "longshore-bench"), None);
    }
}
