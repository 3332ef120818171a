//! The real agent as a process of its own.

use std::fs;
use std::process::{Child, Command, Stdio};

use longshore_runtime::conformance::image::TestImage;

use super::{BIN, Longshore, wait_for};

/// An agent process with a data directory of its own; what it started is removed on drop.
pub struct Agent {
    dir: tempfile::TempDir,
    child: Option<Child>,
}

impl Agent {
    /// An agent that was never started.
    pub fn new() -> Self {
        Self { dir: tempfile::Builder::new().prefix("longshore-agent-").tempdir().unwrap(), child: None }
    }

    /// Joins `server` with a token made for it.
    pub fn join(server: &Longshore) -> Self {
        Self::join_with(server, &[])
    }

    /// As [`Self::join`], with further arguments.
    pub fn join_with(server: &Longshore, extra: &[&str]) -> Self {
        let made = server.longshore_ok(&["--output", "json", "token", "create"]);
        let made: serde_json::Value = serde_json::from_str(&made).unwrap();
        let mut agent = Self::new();
        let mut arguments = vec!["--join", &server.endpoint, "--token", made["token"].as_str().unwrap()];
        arguments.extend(extra);
        agent.spawn(&arguments);
        agent
    }

    /// The data directory.
    pub fn data_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    /// Starts the process with further arguments and waits until it is connected.
    pub fn spawn(&mut self, extra: &[&str]) {
        self.launch(extra);
        self.wait_ready();
    }

    /// Starts the process with further arguments; its server may not be there yet.
    pub fn launch(&mut self, extra: &[&str]) {
        let ready = self.dir.path().join("ready");
        let _ = fs::remove_file(&ready);
        let log = fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = Command::new(BIN);
        command.args(["agent", "--runtime", "oci", "--data-dir"]).arg(self.data_dir()).arg("--ready-file").arg(&ready);
        command.args(extra).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// Waits until the process is connected.
    pub fn wait_ready(&mut self) {
        let ready = self.dir.path().join("ready");
        let child = self.child.as_mut().expect("it was launched");
        wait_for("the agent to connect", || {
            let ended = child.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "the agent has ended: {}",
                fs::read_to_string(self.dir.path().join("log")).unwrap()
            );
            ready.exists().then_some(())
        });
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Imports a busybox image as `busybox:test` into the runtime of this data directory.
    pub fn import_busybox(&self) {
        let archive = self.dir.path().join("busybox.tar");
        TestImage::named(super::IMAGE).write_docker_archive(&archive).unwrap();
        let mut command = Command::new(BIN);
        command.args(["image", "import", "--runtime", "oci"]).arg(&archive).arg("--data-dir").arg(self.data_dir());
        let imported = command.output().unwrap();
        assert!(imported.status.success(), "{imported:?}");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let cleaned = Command::new(BIN).args(["cleanup", "--data-dir"]).arg(self.data_dir()).output().unwrap();
        if std::thread::panicking() {
            eprintln!(
                "--- what the agent printed ---\n{}",
                fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
            );
        } else {
            assert!(cleaned.status.success(), "{cleaned:?}");
        }
    }
}
