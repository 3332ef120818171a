//! A runtime root of its own for each test, gone when the test ends, however it ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use longshore_runtime::oci::{ImageConfig, ImageFile, OciOptions, OciRuntime};
use longshore_runtime::{ContainerRuntime, ContainerSpec, ContainerState, ContainerStatus, LogCursor, LogLine};
use longshore_seams::{Random, Seams, SystemRandom};

/// Longest time that anything here may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const IMAGE: &str = "busybox";

/// The file that images here are made of.
const BUSYBOX: &str = "/bin/busybox";

/// The shim of this build, or another to be measured.
pub fn shim_exe() -> PathBuf {
    std::env::var_os("LONGSHORE_SHIM").unwrap_or_else(|| env!("CARGO_BIN_EXE_longshore-shim").into()).into()
}

/// A runtime in a directory of its own.
pub struct World {
    pub runtime: OciRuntime,
    pub id: String,
    pub dir: tempfile::TempDir,
}

impl World {
    /// None, with a message, where containers cannot be run.
    pub async fn open() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: running containers needs root");
            return None;
        }
        if !Path::new(BUSYBOX).exists() {
            eprintln!("skipped: {BUSYBOX} (package busybox-static) is what the image is made of");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("longshore-oci-").tempdir().unwrap();
        let id = SystemRandom.hex32()[..8].to_owned();
        let runtime = open(dir.path(), &id).await;
        let world = Self { runtime, id, dir };
        world.build_busybox().await;
        Some(world)
    }

    /// A second runtime on the same root, as after a restart.
    pub async fn reopen(&self) -> OciRuntime {
        open(self.dir.path(), &self.id).await
    }

    /// The same root for its images alone, as another command sees it.
    pub fn visit(&self) -> OciRuntime {
        let root = self.dir.path().join("runtime");
        OciRuntime::visit(root, &self.id, OciOptions::new(shim_exe()), Seams::system()).unwrap()
    }

    async fn build_busybox(&self) {
        let busybox = std::fs::read(BUSYBOX).unwrap();
        let mut files = vec![
            ImageFile::file("/bin/busybox", 0o755, busybox),
            ImageFile::directory("/tmp", 0o1777),
            ImageFile::file(
                "/etc/passwd",
                0o644,
                b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n".to_vec(),
            ),
            ImageFile::file("/etc/group", 0o644, b"root:x:0:\nweb:x:34:\nlogs:x:50:web\n".to_vec()),
        ];
        for tool in [
            "sh", "cat", "echo", "sleep", "id", "ls", "mount", "nc", "httpd", "wget", "env", "kill", "head", "dd",
            "mknod", "hostname", "true", "false", "touch", "ping", "ps", "grep", "stat", "test", "seq", "yes",
            "unshare", "chroot", "ip", "tty", "df", "mkdir", "pwd", "chmod", "tail", "wc", "printf", "readlink",
            "setsid", "nproc",
        ] {
            files.push(ImageFile::symlink(&format!("/bin/{tool}"), "busybox"));
        }
        let config = ImageConfig { cmd: Some(words("sh")), ..ImageConfig::default() };
        self.runtime.build_image(IMAGE, files, config).await.unwrap();
    }

    /// Makes and starts a container.
    pub async fn start(&self, spec: &ContainerSpec) -> ContainerState {
        let id = self.runtime.create(spec).await.unwrap();
        self.runtime.start(&id).await.unwrap()
    }

    /// Makes, starts and waits for the end of a container.
    pub async fn run(&self, spec: &ContainerSpec) -> ContainerState {
        let state = self.start(spec).await;
        self.ended(&state.id).await
    }

    pub async fn ended(&self, id: &str) -> ContainerState {
        wait_for_end(&self.runtime, id).await
    }

    /// Runs a shell line in a container that is otherwise as `spec` says; answers its exit code and what it wrote.
    pub async fn shell_in(&self, mut spec: ContainerSpec, line: &str) -> (i32, String) {
        spec.name = format!("{}-{}", spec.name, SystemRandom.hex32());
        spec.command = Some(vec!["sh".to_owned(), "-c".to_owned(), line.to_owned()]);
        let state = self.run(&spec).await;
        let output = self.output(&state.id).await;
        (state.exit_code.unwrap(), output)
    }

    /// Everything a container has written, to its end.
    pub async fn output(&self, id: &str) -> String {
        let lines = self.lines(id, LogCursor::default()).await;
        lines.iter().map(|line| String::from_utf8_lossy(&line.line).into_owned() + "\n").collect()
    }

    pub async fn lines(&self, id: &str, from: LogCursor) -> Vec<LogLine> {
        let stream = self.runtime.logs(id, from).await.unwrap();
        let lines = tokio::time::timeout(PATIENCE, stream.collect::<Vec<_>>()).await.expect("the output ends");
        lines.into_iter().map(Result::unwrap).collect()
    }
}

async fn open(dir: &Path, id: &str) -> OciRuntime {
    OciRuntime::open(dir.join("runtime"), id, OciOptions::new(shim_exe()), Seams::system()).await.unwrap()
}

pub async fn wait_for_end(runtime: &OciRuntime, id: &str) -> ContainerState {
    let wait = async {
        let mut events = runtime.events();
        loop {
            let state = runtime.inspect(id).await.unwrap();
            if state.status == ContainerStatus::Exited {
                return state;
            }
            events.next().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the container ends")
}

impl Drop for World {
    fn drop(&mut self) {
        // On a runtime of its own: the test's may be unwinding.
        let (dir, id) = (self.dir.path().to_owned(), self.id.clone());
        let cleaned = std::thread::spawn(move || {
            let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tokio.block_on(async { open(&dir, &id).await.cleanup().await })
        });
        if let Err(error) = cleaned.join().expect("cleaning up does not panic") {
            eprintln!("cleaning up after the test: {error}");
        }
    }
}

pub fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// A container of the busybox image that is a task of its own and has no network.
pub fn spec(name: &str) -> ContainerSpec {
    ContainerSpec {
        name: name.to_owned(),
        task_id: SystemRandom.hex32(),
        image: IMAGE.to_owned(),
        labels: BTreeMap::from([("test".to_owned(), name.to_owned())]),
        network: longshore_runtime::NetworkMode::None,
        ..ContainerSpec::default()
    }
}

/// The same with a command.
pub fn running(name: &str, command: &str) -> ContainerSpec {
    ContainerSpec { command: Some(words(command)), ..spec(name) }
}
