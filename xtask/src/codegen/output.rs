//! Formatting, writing and comparing generated files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::File;
use crate::{Result, root};

/// Formats the files as `cargo fmt` would.
pub(crate) fn format(files: &[File]) -> Result<Vec<File>> {
    let scratch = std::env::temp_dir().join(format!("xtask-codegen-{}", std::process::id()));
    let result = format_in(&scratch, files);
    std::fs::remove_dir_all(&scratch).ok();
    result
}

fn format_in(scratch: &Path, files: &[File]) -> Result<Vec<File>> {
    write(scratch, files)?;
    let status = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(root())
        .arg(scratch.join("mod.rs"))
        .status()
        .map_err(|error| format!("rustfmt: {error}: install it with `rustup component add rustfmt`"))?;
    if !status.success() {
        return Err(format!("rustfmt: {status}").into());
    }
    files.iter().map(|(path, _)| Ok((path.clone(), std::fs::read_to_string(scratch.join(path))?))).collect()
}

/// Makes `out` hold exactly `files`.
pub(crate) fn write(out: &Path, files: &[File]) -> Result {
    for (path, text) in files {
        let path = out.join(path);
        if std::fs::read_to_string(&path).is_ok_and(|present| present == *text) {
            continue;
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    for stale in stale(out, files)? {
        std::fs::remove_file(out.join(&stale))?;
    }
    Ok(())
}

/// Fails unless `out` holds exactly `files`.
pub(crate) fn compare(out: &Path, files: &[File]) -> Result {
    let mut differing: BTreeSet<PathBuf> = stale(out, files)?;
    for (path, text) in files {
        if !std::fs::read_to_string(out.join(path)).is_ok_and(|present| present == *text) {
            differing.insert(path.clone());
        }
    }
    if differing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = differing.iter().map(|path| format!("  {}", path.display())).collect();
    Err(format!("{} does not match the models; run `cargo xtask codegen`:\n{}", out.display(), names.join("\n")).into())
}

/// Files below `out` that are no longer generated.
fn stale(out: &Path, files: &[File]) -> Result<BTreeSet<PathBuf>> {
    let wanted: BTreeSet<&Path> = files.iter().map(|(path, _)| path.as_path()).collect();
    let mut found = BTreeSet::new();
    let mut pending = vec![out.to_path_buf()];
    while let Some(directory) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                pending.push(path);
            } else if let Ok(relative) = path.strip_prefix(out)
                && !wanted.contains(relative)
            {
                found.insert(relative.to_path_buf());
            }
        }
    }
    Ok(found)
}
