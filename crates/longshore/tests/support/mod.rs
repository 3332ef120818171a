//! Drives the real binary as a user does: a data directory of its own, the plain aws CLI, boto3.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test harness is outside the seams: it waits in real time for a real process"
)]

pub mod agent;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The account and key that the tests bring along.
pub const ACCOUNT: &str = "123456789012";
/// Access key id.
pub const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
/// Its secret.
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// The image that [`Longshore::import_busybox`] brings.
pub const IMAGE: &str = "busybox:test";

/// The binary under test.
pub const BIN: &str = env!("CARGO_BIN_EXE_longshore");

/// A running `longshore up` or `server` with a data directory of its own. Removed, with everything it started, on drop.
pub struct Longshore {
    dir: tempfile::TempDir,
    mode: &'static str,
    runtime: &'static str,
    extra: Vec<String>,
    environment: Vec<(String, String)>,
    child: Option<Child>,
    /// `http://127.0.0.1:PORT`.
    pub endpoint: String,
}

/// An answer of the aws CLI that is an error.
#[derive(Debug, PartialEq, Eq)]
pub struct AwsError {
    /// The exception's name.
    pub code: String,
    /// The whole of what the CLI printed.
    pub text: String,
}

/// Whether this process may run containers; tests that need them fail with this message otherwise.
pub fn require_root() {
    assert!(nix::unistd::geteuid().is_root(), "tests of containers need root: run scripts/test as root");
}

impl Longshore {
    /// `longshore up` on the given runtime (`docker` or `oci`).
    pub fn up(runtime: &'static str) -> Self {
        Self::start("up", runtime, &[])
    }

    /// `longshore server`: no agent.
    pub fn server() -> Self {
        Self::start("server", "", &[])
    }

    /// `longshore up` or `server` with further arguments.
    pub fn start(mode: &'static str, runtime: &'static str, extra: &[&str]) -> Self {
        Self::start_with(mode, runtime, extra, &[])
    }

    /// The same with variables in its environment.
    pub fn start_with(mode: &'static str, runtime: &'static str, extra: &[&str], set: &[(&str, &str)]) -> Self {
        if mode == "up" {
            require_root();
        }
        let dir = tempfile::Builder::new().prefix("longshore-test-").tempdir().unwrap();
        let extra = extra.iter().map(|argument| (*argument).to_owned()).collect();
        let environment = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut longshore = Self { dir, mode, runtime, extra, environment, child: None, endpoint: String::new() };
        longshore.spawn();
        longshore
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A home directory for the aws CLI's files.
    pub fn home(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Imports a busybox image as `busybox:test` into the runtime of this data directory.
    pub fn import_busybox(&self) {
        let archive = self.dir.path().join("busybox.tar");
        longshore_runtime::conformance::image::TestImage::named(IMAGE).write_docker_archive(&archive).unwrap();
        let data_dir = self.data_dir();
        let (archive, data_dir) = (archive.to_str().unwrap(), data_dir.to_str().unwrap());
        self.longshore_ok(&["image", "import", archive, "--data-dir", data_dir, "--runtime", self.runtime]);
    }

    /// Registers a task definition of one busybox container called `main`; answers its ARN.
    pub fn register(&self, family: &str, script: &str, more: Value) -> String {
        let mut container = serde_json::json!({
            "name": "main", "image": IMAGE, "memory": 64, "essential": true, "command": ["sh", "-c", script],
        });
        for (key, value) in more.as_object().unwrap() {
            container[key] = value.clone();
        }
        let containers = serde_json::json!([container]).to_string();
        let answer =
            self.ecs(&["register-task-definition", "--family", family, "--container-definitions", &containers]);
        answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned()
    }

    /// Runs one task; answers its ARN.
    pub fn run(&self, definition: &str) -> String {
        let answer = self.ecs(&["run-task", "--task-definition", definition]);
        assert_eq!(answer["failures"], serde_json::json!([]), "{answer}");
        answer["tasks"][0]["taskArn"].as_str().unwrap().to_owned()
    }

    /// Waits until a container instance is connected: the first tasks can be placed.
    pub fn wait_instance(&self) {
        wait_for("a connected container instance", || {
            let listed = self.ecs(&["list-container-instances"]);
            let instance = listed["containerInstanceArns"][0].as_str()?.to_owned();
            let described = self.ecs(&["describe-container-instances", "--container-instances", &instance]);
            (described["containerInstances"][0]["agentConnected"] == true).then_some(())
        });
    }

    /// The process id of the running server.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Starts the process and waits until the API answers. A restart uses the same port.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let ready = self.dir.path().join("ready");
        let _ = fs::remove_file(&ready);
        let listen = self.endpoint.strip_prefix("http://").unwrap_or("127.0.0.1:0").to_owned();
        let log = fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("server.log")).unwrap();
        let mut command = Command::new(BIN);
        command.arg(self.mode).arg("--data-dir").arg(self.data_dir()).args(["--listen", &listen]);
        if self.mode == "up" {
            command.args(["--runtime", self.runtime]);
        }
        command.arg("--ready-file").arg(&ready).args(["--account", ACCOUNT]).args(&self.extra);
        command.env("HOME", self.home()).env_remove("AWS_CONFIG_FILE").env_remove("AWS_SHARED_CREDENTIALS_FILE");
        command.env("LONGSHORE_ROOT_ACCESS_KEY_ID", KEY).env("LONGSHORE_ROOT_SECRET_ACCESS_KEY", SECRET);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = command.spawn().unwrap();
        let text = wait_for("the API to answer", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("longshore ended with {status}:\n{}", self.log());
            }
            fs::read_to_string(&ready).ok().filter(|text| text.ends_with('\n'))
        });
        let answer: Value = serde_json::from_str(&text).unwrap();
        answer["endpoint"].as_str().unwrap().clone_into(&mut self.endpoint);
        self.child = Some(child);
    }

    /// What the process printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM; answers how the process ended.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        let mut child = self.child.take().expect("it runs");
        wait_for("longshore to end", || child.try_wait().unwrap())
    }

    /// `longshore down`: the process ends after its tasks.
    pub fn down(&mut self) {
        let data_dir = self.data_dir();
        // The process is our child: it has ended only once it is waited for.
        let mut child = self.child.take().expect("it runs");
        let down = Command::new(BIN).args(["down", "--data-dir"]).arg(&data_dir).spawn().unwrap();
        wait_for("longshore to end", || child.try_wait().unwrap());
        assert!(down.wait_with_output().unwrap().status.success());
    }

    /// Sends a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Puts the environment of a client into `command`.
    pub fn client_env<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("HOME", self.home());
        for name in
            ["AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE", "AWS_SESSION_TOKEN"]
        {
            command.env_remove(name);
        }
        command.env("AWS_ENDPOINT_URL", &self.endpoint).env("AWS_DEFAULT_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_PAGER", "").env("AWS_MAX_ATTEMPTS", "1")
    }

    /// Runs the plain aws CLI; answers its JSON.
    pub fn try_aws(&self, arguments: &[&str]) -> Result<Value, AwsError> {
        let mut command = Command::new("aws");
        command.args(arguments).args(["--output", "json"]);
        let output = self.client_env(&mut command).output().expect("the aws CLI is installed: run scripts/test");
        if output.status.success() {
            return Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null));
        }
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = text
            .split_once("An error occurred (")
            .and_then(|(_, rest)| rest.split_once(')'))
            .map_or("", |(code, _)| code);
        Err(AwsError { code: code.to_owned(), text })
    }

    /// Runs the plain aws CLI, which must succeed.
    pub fn aws(&self, arguments: &[&str]) -> Value {
        self.try_aws(arguments).unwrap_or_else(|error| panic!("aws {arguments:?}: {}\n{}", error.text, self.log()))
    }

    /// Runs `aws ecs …`, which must succeed.
    pub fn ecs(&self, arguments: &[&str]) -> Value {
        self.aws(&[&["ecs"], arguments].concat())
    }

    /// Runs a Python script (a path in `tests/python`) with boto3, which must succeed; answers what it printed.
    pub fn python(&self, script: &str, arguments: &[&str]) -> String {
        let python = std::env::var("LONGSHORE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let path = Path::new("tests/python").join(script);
        let mut command = Command::new(python);
        command.arg(path).args(arguments);
        let output = self.client_env(&mut command).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{script}: {}{}\n{}", text(&output.stdout), text(&output.stderr), self.log());
        text(&output.stdout)
    }

    /// Runs our own command line as a client.
    pub fn longshore(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(BIN);
        command.args(arguments);
        self.client_env(&mut command).output().unwrap()
    }

    /// Runs our own command line, which must succeed; answers its output.
    pub fn longshore_ok(&self, arguments: &[&str]) -> String {
        let output = self.longshore(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "longshore {arguments:?}: {}{}\n{}",
            text(&output.stdout),
            text(&output.stderr),
            self.log()
        );
        text(&output.stdout)
    }

    /// The task as DescribeTasks shows it.
    pub fn task(&self, task: &str) -> Value {
        self.ecs(&["describe-tasks", "--tasks", task])["tasks"][0].clone()
    }

    /// Waits until the task's `lastStatus` is `status`; answers it.
    pub fn wait_task(&self, task: &str, status: &str) -> Value {
        wait_for(&format!("task {task} to be {status}\n{}", self.log()), || {
            let found = self.task(task);
            (found["lastStatus"] == status).then_some(found)
        })
    }
}

impl Drop for Longshore {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if self.mode == "up" {
            let output = Command::new(BIN).args(["cleanup", "--data-dir"]).arg(self.data_dir()).output();
            if !output.as_ref().is_ok_and(|output| output.status.success()) && !std::thread::panicking() {
                panic!("cleanup failed: {output:?}");
            }
        }
        if std::thread::panicking() {
            eprintln!("--- what longshore printed ---\n{}", self.log());
        }
    }
}

/// Polls until `look` answers something; fails the test after [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The lines without immediate repeats. Output is shipped at least once: what a lost answer hid is sent again.
pub fn without_repeats<T: PartialEq>(lines: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut lines: Vec<T> = lines.into_iter().collect();
    lines.dedup();
    lines
}

/// One plain HTTP GET; the body, when something answers 200.
pub fn http_get(url: &str) -> Option<String> {
    let output = Command::new("curl").args(["-fsS", "-m", "5", url]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Lines of a child's output as they come.
pub fn lines(output: impl Read) -> impl Iterator<Item = String> {
    BufReader::new(output).lines().map_while(Result::ok)
}
