//! The runtime of one test, and what tests do with it over and over.

use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use longshore_seams::Seams;

use super::Subject;
use super::image::TestImage;
use crate::{
    ContainerRuntime, ContainerSpec, ContainerState, ContainerStatus, ImageInfo, LogCursor, LogLine, OutputStream,
    RuntimeError,
};

/// The image that tests run: [`TestImage`] as it is.
const IMAGE: &str = "localhost/longshore-conformance:1";
/// Longest wait for one condition.
const CONDITION_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A container that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub state: ContainerState,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// The runtime of one test.
pub struct World {
    /// The runtime.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// The real world's seams.
    pub seams: Seams,
    /// A directory of this test's own.
    pub scratch: tempfile::TempDir,
    /// Distinguishes this test's containers from those of other tests.
    pub prefix: String,
    subject: Arc<dyn Subject>,
    named: AtomicU64,
    imported: Mutex<Vec<String>>,
}

impl World {
    pub(super) async fn open(subject: Arc<dyn Subject>) -> Self {
        let seams = Seams::system();
        let runtime = subject.open().await.unwrap();
        let prefix = format!("conformance-{}", &seams.random.hex32()[..8]);
        let scratch = tempfile::tempdir().unwrap();
        let world =
            Self { runtime, seams, scratch, prefix, subject, named: AtomicU64::new(0), imported: Mutex::default() };
        if world.runtime.image(IMAGE).await.unwrap().is_none() {
            world.import(&TestImage::named(IMAGE)).await;
            // All tests share it.
            world.imported.lock().unwrap().clear();
        }
        world
    }

    /// Opens the same root again, as a restarted process would.
    pub async fn reopen(&self) -> Arc<dyn ContainerRuntime> {
        self.subject.open().await.unwrap()
    }

    /// A name that no other test uses.
    pub fn unique(&self, what: &str) -> String {
        format!("{}-{what}-{}", self.prefix, self.named.fetch_add(1, Ordering::Relaxed))
    }

    /// Imports `image`.
    pub async fn import(&self, image: &TestImage) -> ImageInfo {
        let path = self.scratch.path().join("image.tar");
        image.write_docker_archive(&path).unwrap();
        self.import_archive(&path, None).await.unwrap().remove(0)
    }

    /// Imports the archive at `path`.
    pub async fn import_archive(&self, path: &Path, name: Option<&str>) -> Result<Vec<ImageInfo>, RuntimeError> {
        let imported = self.runtime.import(path, name, &|_| ()).await?;
        self.imported.lock().unwrap().extend(imported.iter().map(|image| image.reference.clone()));
        Ok(imported)
    }

    /// Removes everything that the test has made.
    pub(super) async fn clean_up(&self) -> Result<(), RuntimeError> {
        self.runtime.cleanup().await?;
        let imported = std::mem::take(&mut *self.imported.lock().unwrap());
        for reference in imported {
            self.runtime.remove_image(&reference).await?;
        }
        Ok(())
    }

    /// A container that runs `command`.
    pub fn spec(&self, command: &[&str]) -> ContainerSpec {
        let name = self.unique("container");
        ContainerSpec {
            task_id: self.prefix.clone(),
            name,
            image: IMAGE.to_owned(),
            command: Some(command.iter().map(|&word| word.to_owned()).collect()),
            ..ContainerSpec::default()
        }
    }

    /// A container that runs a shell script.
    pub fn shell(&self, script: &str) -> ContainerSpec {
        self.spec(&["sh", "-c", script])
    }

    /// A container that runs until it is told to stop, and then at once ends with 0.
    pub fn service(&self) -> ContainerSpec {
        self.shell("trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done")
    }

    /// Makes and starts a container.
    pub async fn start(&self, spec: &ContainerSpec) -> ContainerState {
        let id = self.runtime.create(spec).await.unwrap();
        self.runtime.start(&id).await.unwrap()
    }

    /// Makes, starts and awaits a container.
    pub async fn run(&self, spec: &ContainerSpec) -> Finished {
        let started = self.start(spec).await;
        let state = self.ended(&started.id).await;
        let lines = self.lines(&state.id, LogCursor::default()).await;
        let text = |stream| {
            let lines = lines.iter().filter(|line| line.stream == stream);
            lines.map(|line| String::from_utf8_lossy(&line.line).trim_end_matches('\r').to_owned() + "\n").collect()
        };
        Finished { stdout: text(OutputStream::Stdout), stderr: text(OutputStream::Stderr), state }
    }

    /// Standard output of a shell script that must succeed, without the last newline.
    pub async fn output(&self, spec: &ContainerSpec) -> String {
        let finished = self.run(spec).await;
        assert_eq!(finished.state.exit_code, Some(0), "{finished:?}");
        finished.stdout.trim_end().to_owned()
    }

    /// Waits until the container has ended.
    pub async fn ended(&self, id: &str) -> ContainerState {
        self.until("the container has ended", || async {
            let state = self.runtime.inspect(id).await.unwrap();
            (state.status == ContainerStatus::Exited).then_some(state)
        })
        .await
    }

    /// All captured lines after `from`, until the container has ended.
    pub async fn lines(&self, id: &str, from: LogCursor) -> Vec<LogLine> {
        let lines = self.runtime.logs(id, from).await.unwrap();
        lines.map(Result::unwrap).collect().await
    }

    /// Waits until the container has written a line that holds `text`.
    pub async fn written(&self, id: &str, text: &str) -> LogLine {
        let mut lines = self.runtime.logs(id, LogCursor::default()).await.unwrap();
        let search = async {
            while let Some(line) = lines.next().await {
                let line = line.unwrap();
                if String::from_utf8_lossy(&line.line).contains(text) {
                    return line;
                }
            }
            panic!("container {id} ended without writing {text:?}");
        };
        tokio::time::timeout(CONDITION_TIMEOUT, search).await.unwrap_or_else(|_| panic!("{text:?} was not written"))
    }

    /// Waits until `condition` gives something.
    pub async fn until<T, F: Future<Output = Option<T>>>(&self, what: &str, mut condition: impl FnMut() -> F) -> T {
        let deadline = self.seams.clock.monotonic() + CONDITION_TIMEOUT;
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            assert!(self.seams.clock.monotonic() < deadline, "waited {CONDITION_TIMEOUT:?} until {what}");
            self.seams.clock.sleep(LOOK_AGAIN).await;
        }
    }
}
