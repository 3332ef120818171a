//! Processes under measurement, and what the kernel says of them.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use longshore_seams::Seams;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::Result;

/// The account and root key of every server that is started here; they are good for nothing else.
pub const ACCOUNT: &str = "123456789012";
/// Access key id.
pub const KEY: &str = "AKIABENCHBENCHBENCH1";
/// Its secret.
pub const SECRET: &str = "only-for-measurements-on-this-machine-00";

/// How long a process may take to become ready or to end.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at a process that ends.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The binary under measurement, and the place for its data directories.
#[derive(Clone, Debug)]
pub struct Bench {
    /// The `longshore` executable.
    pub binary: PathBuf,
    /// Where data directories are made.
    pub scratch: PathBuf,
    /// Real clock, real disk.
    pub seams: Seams,
}

/// A data directory. Dropping it removes everything it started on this host, and itself.
#[derive(Debug)]
pub struct DataDir {
    binary: PathBuf,
    path: PathBuf,
}

/// A running `longshore up`, `server` or `agent`. Dropping it kills it.
#[derive(Debug)]
pub struct Longshore {
    child: Child,
    /// Kept open: a process whose output nobody takes would fail to print.
    _stdout: BufReader<ChildStdout>,
    /// `http://127.0.0.1:PORT` of the API.
    pub endpoint: String,
    /// From the start of the process to its word that the API answers.
    pub ready_after: Duration,
    seams: Seams,
}

impl Bench {
    /// A new, empty data directory.
    #[must_use]
    pub fn data_dir(&self, name: &str) -> DataDir {
        DataDir { binary: self.binary.clone(), path: self.scratch.join(name) }
    }

    /// Starts `longshore up` or `server` on a port of its own.
    ///
    /// # Errors
    /// It ended before it was ready; the message holds what it printed.
    pub fn start(&self, dir: &DataDir, mode: &str, arguments: &[&str]) -> Result<Longshore> {
        let listen = ["--listen", "127.0.0.1:0", "--account", ACCOUNT, "--no-profile"];
        self.launch(dir, mode, &[&listen[..], arguments].concat())
    }

    /// Starts `longshore agent`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_agent(&self, dir: &DataDir, url: &str, token: &str) -> Result<Longshore> {
        self.launch(dir, "agent", &["--join", url, "--token", token, "--runtime", "oci"])
    }

    fn launch(&self, dir: &DataDir, mode: &str, arguments: &[&str]) -> Result<Longshore> {
        fs::create_dir_all(&dir.path)?;
        let log_path = dir.path.with_extension("log");
        let log = File::options().create(true).append(true).open(&log_path)?;
        let mut command = self.command();
        command.args(["--output", "json", mode, "--data-dir"]).arg(&dir.path).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let began = self.seams.clock.monotonic();
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().ok_or("the process has no output")?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let ready_after = self.seams.clock.monotonic().saturating_sub(began);
        let answer: Value = serde_json::from_str(&line).unwrap_or_default();
        let Some(endpoint) = answer["endpoint"].as_str() else {
            let _ = child.kill();
            let status = child.wait()?;
            let log = fs::read_to_string(log_path).unwrap_or_default();
            return Err(format!("longshore {mode} did not become ready ({status}): {line}{log}").into());
        };
        Ok(Longshore { child, _stdout: stdout, endpoint: endpoint.to_owned(), ready_after, seams: self.seams.clone() })
    }

    /// A command of ours with a neutral environment.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        for (name, _) in std::env::vars_os() {
            // RUST_BACKTRACE, too: with it errors carry the program's debug information around.
            let is_setting = |name: &str| ["LONGSHORE_", "AWS_", "RUST_"].iter().any(|prefix| name.starts_with(prefix));
            if name.to_str().is_some_and(is_setting) {
                command.env_remove(name);
            }
        }
        command.env("HOME", &self.scratch);
        command.env("LONGSHORE_ROOT_ACCESS_KEY_ID", KEY).env("LONGSHORE_ROOT_SECRET_ACCESS_KEY", SECRET);
        command
    }

    /// Imports an image archive for `runtime` (`docker` or `oci`).
    ///
    /// # Errors
    /// The command failed; the message holds what it printed.
    pub fn import(&self, dir: &DataDir, runtime: &str, archive: &Path) -> Result {
        let mut command = self.command();
        command.args(["image", "import", "--runtime", runtime, "--data-dir"]).arg(&dir.path).arg(archive);
        run(command)
    }

    /// Removes the containers of a directory that no process has.
    ///
    /// # Errors
    /// As [`Self::import`].
    pub fn cleanup(&self, dir: &DataDir) -> Result {
        let mut command = self.command();
        command.args(["cleanup", "--data-dir"]).arg(&dir.path);
        run(command)
    }

    /// Removes an image of Docker's.
    ///
    /// # Errors
    /// As [`Self::import`].
    pub fn remove_docker_image(&self, dir: &DataDir, reference: &str) -> Result {
        let mut command = self.command();
        command.args(["image", "remove", "--runtime", "docker", "--data-dir"]).arg(&dir.path).arg(reference);
        run(command)
    }
}

fn run(mut command: Command) -> Result {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr)).into())
}

impl DataDir {
    /// The control plane's store.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.path.join("server/store.redb")
    }

    /// Process ids of the shims that this directory's tasks have.
    ///
    /// # Errors
    /// `/proc` can't be read.
    pub fn shims(&self) -> Result<Vec<u32>> {
        let root = self.path.canonicalize()?.join("runtime");
        let is_shim = |arguments: &[OsString]| {
            let position = arguments.iter().position(|argument| argument == "shim");
            position.is_some_and(|position| arguments.get(position + 1).is_some_and(|next| next == root.as_os_str()))
        };
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process that has just ended is none.
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if is_shim(&line.split(|byte| *byte == 0).map(os_string).collect::<Vec<_>>()) {
                found.push(pid);
            }
        }
        Ok(found)
    }
}

fn os_string(bytes: &[u8]) -> OsString {
    use std::os::unix::ffi::OsStrExt;
    OsStr::from_bytes(bytes).to_owned()
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if !self.path.exists() {
            return;
        }
        let cleanup =
            Command::new(&self.binary).args(["cleanup", "--delete-data", "--data-dir"]).arg(&self.path).output();
        match cleanup {
            Ok(output) if output.status.success() => {}
            other => eprintln!("{} could not be cleaned up: {other:?}", self.path.display()),
        }
    }
}

impl Longshore {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// The system's.
    pub fn kill(mut self) -> Result {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM; waits until it has ended.
    ///
    /// # Errors
    /// It does not end, or with a failure.
    pub async fn terminate(mut self) -> Result {
        kill(Pid::from_raw(i32::try_from(self.pid())?), Signal::SIGTERM)?;
        let began = self.seams.clock.monotonic();
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("longshore ended with {status} after SIGTERM").into()),
                None if self.seams.clock.monotonic().saturating_sub(began) > PATIENCE => {
                    return Err(format!("longshore has not ended {PATIENCE:?} after SIGTERM").into());
                }
                None => self.seams.clock.sleep(LOOK_EVERY).await,
            }
        }
    }
}

impl Drop for Longshore {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident, shared pages included.
    pub resident: u64,
    /// Resident and its own alone.
    pub private: u64,
}

/// Memory of process `pid`.
///
/// # Errors
/// The process has ended.
pub fn memory(pid: u32) -> Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kib = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim().split(' ').next()).and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    let private = kib("Private_Clean:") + kib("Private_Dirty:");
    Ok(Memory { resident: kib("Rss:") * 1024, private: private * 1024 })
}

/// The most memory that process `pid` has had resident, in bytes.
///
/// # Errors
/// The process has ended.
pub fn peak_memory(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("the kernel tells no VmHWM")?;
    let kib: u64 = line.trim().split(' ').next().unwrap_or_default().parse()?;
    Ok(kib * 1024)
}

/// Processor time that process `pid` has used since its start, all its threads together.
///
/// # Errors
/// The process has ended.
pub fn processor_time(pid: u32) -> Result<Duration> {
    let mut nanos: u64 = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that ends in between had next to nothing to do.
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        nanos += text.split(' ').next().and_then(|ran| ran.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}

/// Waits until the machine has little to do: what a measurement leaves behind, as containers that are torn down, is not
/// for the next one to bear. On a machine that is always busy it gives up after a while.
pub async fn calm(bench: &Bench) {
    const LOOK: Duration = Duration::from_millis(500);
    const LOOKS: usize = 120;
    let mut before = busy_and_all();
    for _ in 0..LOOKS {
        bench.seams.clock.sleep(LOOK).await;
        let now = busy_and_all();
        let (busy, all) = (now.0.saturating_sub(before.0), now.1.saturating_sub(before.1));
        if busy * 10 <= all {
            return;
        }
        before = now;
    }
}

/// Time that the processors were busy, and in all.
fn busy_and_all() -> (u64, u64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let times = text.lines().next().unwrap_or_default().split_ascii_whitespace().skip(1);
    let times: Vec<u64> = times.take(8).filter_map(|ticks| ticks.parse().ok()).collect();
    let idle = times.get(3).copied().unwrap_or(0);
    (times.iter().sum::<u64>() - idle, times.iter().sum())
}

/// Whether the ELF executable at `path` needs no loader, and its size in bytes.
///
/// # Errors
/// The file can't be read.
pub fn executable(path: &Path) -> Result<(bool, u64)> {
    let bytes = fs::read(path)?;
    Ok((is_static(&bytes).ok_or("not a 64-bit little-endian ELF executable")?, bytes.len() as u64))
}

/// Program headers have no `PT_INTERP`.
fn is_static(elf: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    if elf.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let half = |at: usize| Some(usize::from(u16::from_le_bytes(elf.get(at..at + 2)?.try_into().ok()?)));
    let table = usize::try_from(u64::from_le_bytes(elf.get(32..40)?.try_into().ok()?)).ok()?;
    let (size, count) = (half(54)?, half(56)?);
    for index in 0..count {
        let at = table + index * size;
        if u32::from_le_bytes(elf.get(at..at + 4)?.try_into().ok()?) == PT_INTERP {
            return Some(false);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_s_memory_is_read() {
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.resident >= memory.private && memory.private > 0, "{memory:?}");
    }

    #[test]
    fn only_elf_files_are_executables() {
        assert_eq!(is_static(b"#!/bin/sh"), None);
        assert_eq!(is_static(b""), None);
    }
}
