//! The embedded OCI runtime: containers without Docker.
//!
//! Everything that must be remembered is on disk in the runtime root, written by the one who knows it: a container's
//! record by this runtime when it is made, its start, health and end by its task's shim ([`shim`]). This process can be
//! killed at any moment: [`OciRuntime::open`] finds the shims again and goes on.
//!
//! Invariants: only a shim runs libcontainer; a container without a living shim does not run; names of groups, links
//! and tables derive from the root id.

mod cgroups;
mod client;
mod follow;
mod image;
mod init;
mod layout;
mod lifecycle;
mod log;
mod protocol;
mod record;
mod shim;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use longshore_net::{Network, NetworkConfig, PublishedPort, Subnet, choose_subnet, host_routes, link_counters};
use longshore_seams::{BoxFuture, Seams};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::{
    ContainerEvent, ContainerEventKind, ContainerRuntime, ContainerSpec, ContainerState, ContainerStats, ImageInfo,
    LogCursor, LogLine, LogTarget, PullProgress, RegistryAuth, RuntimeError, RuntimeInfo, RuntimeResult, VolumeSpec,
};
use cgroups::Hierarchies;
use client::ShimClient;
use follow::Watcher;
use image::{ImageError, ImageStore};
use layout::{Layout, create_dir, read_record, remove_dir, write_record};
use lifecycle::Container;
use log::LogReader;
use record::{ContainerRecord, Known, NetworkRecord};

pub use image::{ImageConfig, ImageFile, ImageFileKind};
pub use init::init_main;
pub use shim::shim_main;

/// Events that a slow listener may be behind before it has to look at everything again.
const EVENT_BACKLOG: usize = 1024;

/// Settings of an [`OciRuntime`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciOptions {
    /// The executable that answers `shim` and `init`: this very program.
    pub shim_exe: PathBuf,
    /// The bridge's subnet; chosen from 10.128.0.0/9 when absent.
    pub subnet: Option<Subnet>,
    /// Network namespaces kept ready, so that starting a container does not wait for one.
    pub spare_namespaces: usize,
}

impl OciOptions {
    /// The usual settings with this executable.
    #[must_use]
    pub fn new(shim_exe: PathBuf) -> Self {
        Self { shim_exe, subnet: None, spare_namespaces: 4 }
    }
}

/// The embedded runtime. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OciRuntime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    root_id: String,
    options: OciOptions,
    seams: Seams,
    images: ImageStore,
    hierarchies: Hierarchies,
    containers: Mutex<BTreeMap<String, Arc<Container>>>,
    shims: tokio::sync::Mutex<BTreeMap<String, Arc<ShimClient>>>,
    network: tokio::sync::Mutex<Option<Arc<Network>>>,
    /// What ran when the root was opened: the network must keep it.
    adopted: Mutex<(BTreeSet<Ipv4Addr>, Vec<PublishedPort>)>,
    events: broadcast::Sender<ContainerEvent>,
    watcher: Watcher,
}

/// The subnet that was chosen for a root.
#[derive(Debug, Serialize, Deserialize)]
struct SubnetRecord {
    subnet: Subnet,
}

/// Group of everything of a runtime root, from the root of every hierarchy.
fn root_cgroup(root_id: &str) -> String {
    format!("/longshore-{root_id}")
}

/// A path of an open directory that is short enough for a socket's address.
fn short_path(directory: &File) -> String {
    format!("/proc/self/fd/{}", directory.as_raw_fd())
}

fn failed(doing: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> RuntimeError {
    move |error| RuntimeError::Unavailable(format!("{doing}: {error}"))
}

impl From<ImageError> for RuntimeError {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::BadReference { reference, .. } => Self::NoSuchImage(reference),
            ImageError::BadArchive(_) => Self::Import(error.to_string()),
            ImageError::Io { .. } => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<longshore_net::NetError> for RuntimeError {
    fn from(error: longshore_net::NetError) -> Self {
        Self::Unavailable(format!("the network of containers: {error}"))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl OciRuntime {
    /// Opens the runtime root in `root`, finds the containers that run, and removes what was left half done.
    ///
    /// `root_id` is the data directory's id, 8 hexadecimal digits.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`] when the directory or the machine's cgroups cannot be used.
    pub async fn open(root: PathBuf, root_id: &str, options: OciOptions, seams: Seams) -> RuntimeResult<Self> {
        let runtime = Self::visit(root, root_id, options, seams)?;
        runtime.inner.adopt().await?;
        runtime.inner.find_shims()?;
        let images = runtime.inner.images.clone();
        let sweep = tokio::task::spawn_blocking(move || {
            if let Err(error) = images.sweep() {
                tracing::warn!(%error, "could not sweep the image store");
            }
        });
        drop(sweep);
        Ok(runtime)
    }

    /// The runtime root in `root` for a look at its images, or a change of them, beside the process that runs
    /// containers in it: nothing is taken over and nothing swept, for all that belongs to the other one.
    ///
    /// # Errors
    /// As [`OciRuntime::open`].
    pub fn visit(root: PathBuf, root_id: &str, options: OciOptions, seams: Seams) -> RuntimeResult<Self> {
        if !nix::unistd::geteuid().is_root() {
            return Err(RuntimeError::Unavailable("the embedded runtime must run as root".to_owned()));
        }
        if root_id.len() != 8 || !root_id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(RuntimeError::Unavailable(format!("the root id {root_id:?} is not 8 hexadecimal digits")));
        }
        let root = std::path::absolute(&root).map_err(failed(root.display()))?;
        let layout = Layout::new(&root);
        layout.create().map_err(failed(format_args!("making the runtime root {}", root.display())))?;
        let hierarchies = Hierarchies::discover().map_err(failed("reading /proc/self/mountinfo"))?;
        let watcher = Watcher::new(&seams).map_err(failed("making an inotify instance"))?;
        let inner = Inner {
            images: ImageStore::new(layout.clone(), Arc::clone(&seams.random)),
            layout,
            root_id: root_id.to_ascii_lowercase(),
            options,
            hierarchies,
            containers: Mutex::default(),
            shims: tokio::sync::Mutex::default(),
            network: tokio::sync::Mutex::default(),
            adopted: Mutex::default(),
            events: broadcast::channel(EVENT_BACKLOG).0,
            watcher,
            seams,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Makes the bridge and the spare namespaces now instead of with the first container; answers the bridge's address.
    ///
    /// # Errors
    /// When the host uses the configured subnet, or the kernel refuses.
    pub async fn prepare_network(&self) -> RuntimeResult<std::net::Ipv4Addr> {
        let network = self.inner.network().await?;
        network.refill();
        Ok(network.subnet().gateway())
    }

    /// Makes an image named `name` of one layer from `files`.
    ///
    /// # Errors
    /// When the name is no image reference or the image cannot be written.
    pub async fn build_image(
        &self,
        name: &str,
        files: Vec<ImageFile>,
        config: ImageConfig,
    ) -> RuntimeResult<ImageInfo> {
        let (images, name) = (self.inner.images.clone(), name.to_owned());
        blocking(move || images.build(&name, &files, &config).map_err(not_imported)).await
    }

    /// Runs `command` in a running container, with its user and confinement; answers the exit code and the end of what
    /// it wrote.
    ///
    /// # Errors
    /// When the container does not run or cannot be entered.
    pub async fn exec(&self, id: &str, command: Vec<String>, timeout: Duration) -> RuntimeResult<(i32, String)> {
        self.inner.exec(id, command, timeout).await
    }
}

/// Makes an image in the runtime root at `root` from `files`, without opening the runtime.
///
/// # Errors
/// As [`OciRuntime::build_image`].
pub fn build_image(
    root: &Path,
    name: &str,
    files: &[ImageFile],
    config: &ImageConfig,
    seams: &Seams,
) -> RuntimeResult<ImageInfo> {
    store_at(root, seams)?.build(name, files, config).map_err(not_imported)
}

/// Imports an archive into the runtime root at `root`, also while another process runs containers from it.
///
/// # Errors
/// As [`ContainerRuntime::import`].
pub fn import_image(
    root: &Path,
    archive: &Path,
    name: Option<&str>,
    seams: &Seams,
    progress: &dyn Fn(PullProgress),
) -> RuntimeResult<Vec<ImageInfo>> {
    store_at(root, seams)?.import(archive, name, progress).map_err(not_imported)
}

/// Whatever goes wrong while an image is brought in.
fn not_imported(error: ImageError) -> RuntimeError {
    RuntimeError::Import(error.to_string())
}

fn store_at(root: &Path, seams: &Seams) -> RuntimeResult<ImageStore> {
    let layout = Layout::new(root);
    layout.create().map_err(failed(format_args!("making the runtime root {}", root.display())))?;
    Ok(ImageStore::new(layout, Arc::clone(&seams.random)))
}

/// Runs file work on a thread that may block.
async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> RuntimeResult<T>
where
    T: Send + 'static,
    E: Into<RuntimeError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Into::into),
        Err(error) => Err(RuntimeError::Unavailable(error.to_string())),
    }
}

impl Inner {
    /// The container `id`. Another process may have made or removed it: what counts is its record on disk.
    fn container(&self, id: &str) -> RuntimeResult<Arc<Container>> {
        let missing = || RuntimeError::NoSuchContainer(id.to_owned());
        if id.contains('/') {
            return Err(missing());
        }
        let path = self.layout.container(id).record();
        let mut containers = locked(&self.containers);
        if !path.exists() {
            containers.remove(id);
            return Err(missing());
        }
        if let Some(known) = containers.get(id) {
            return Ok(Arc::clone(known));
        }
        let record = read_record(&path).map_err(failed("reading a container's record"))?.ok_or_else(missing)?;
        let container = Container::new(record);
        containers.insert(id.to_owned(), Arc::clone(&container));
        Ok(container)
    }

    /// All containers of this root.
    fn all_containers(&self) -> RuntimeResult<Vec<Arc<Container>>> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(self.layout.containers()).map_err(failed("listing containers"))? {
            let id = entry.map_err(failed("listing containers"))?.file_name();
            match self.container(&id.to_string_lossy()) {
                Ok(container) => all.push(container),
                // Being made or removed.
                Err(RuntimeError::NoSuchContainer(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    fn emit(&self, id: &str, kind: ContainerEventKind) {
        // Nobody listens: nobody misses it.
        let _ = self.events.send(ContainerEvent { id: id.to_owned(), kind });
    }

    /// The network, made when first needed.
    async fn network(&self) -> RuntimeResult<Arc<Network>> {
        let mut network = self.network.lock().await;
        if let Some(network) = &*network {
            return Ok(Arc::clone(network));
        }
        let bridge = NetworkConfig::bridge_of(&self.root_id);
        let recorded: Option<SubnetRecord> =
            read_record(&self.layout.network()).map_err(failed("reading the record of the network"))?;
        let routes = host_routes()?;
        let (leases, ports) = std::mem::take(&mut *locked(&self.adopted));
        let free = |subnet: &Subnet| longshore_net::overlapping_route(*subnet, &routes, &bridge).is_none();
        let recorded = recorded.map(|record| record.subnet).filter(|subnet| !leases.is_empty() || free(subnet));
        let subnet = match self.options.subnet.or(recorded) {
            Some(subnet) => subnet,
            None => choose_subnet(&self.root_id, &routes, &bridge)?,
        };
        write_record(&self.layout.network(), &SubnetRecord { subnet })
            .map_err(failed("writing the record of the network"))?;
        let spares = self.options.spare_namespaces;
        let config = NetworkConfig { root_id: self.root_id.clone(), subnet, spares };
        let opened = Network::open(config, &leases, &ports, self.seams.clone()).await?;
        Ok(Arc::clone(network.insert(opened)))
    }

    async fn logs(
        self: &Arc<Self>,
        id: &str,
        from: LogCursor,
    ) -> RuntimeResult<BoxStream<'static, RuntimeResult<LogLine>>> {
        let container = self.container(id)?;
        if container.record.spec.log != LogTarget::Capture {
            return Ok(stream::empty().boxed());
        }
        let directory = self.layout.container(id).log();
        create_dir(&directory).map_err(failed("making the log directory"))?;
        let written = self.watcher.watch(&directory).map_err(failed("watching the log"))?;
        let following = Following {
            ended: container.ended.subscribe(),
            reader: LogReader::new(directory, from),
            written,
            last_look: false,
            inner: Arc::clone(self),
            id: id.to_owned(),
        };
        Ok(stream::unfold(following, Following::next).boxed())
    }

    fn stats(&self, id: &str) -> RuntimeResult<ContainerStats> {
        let container = self.container(id)?;
        let known = self.known(&container)?;
        let Some(start) = known.start.as_ref().filter(|_| known.is_running()) else {
            return Ok(ContainerStats::default());
        };
        let usage = self.hierarchies.usage(&start.cgroup);
        let network: Option<NetworkRecord> =
            read_record(&self.layout.container(id).network()).map_err(failed("reading the record of a network"))?;
        let link = network.map(|network| link_counters(&network.host_link)).unwrap_or_default();
        Ok(ContainerStats {
            cpu_nanos: usage.cpu_nanos,
            memory_bytes: usage.memory_bytes,
            rx: link.rx,
            tx: link.tx,
            read_bytes: usage.read_bytes,
            write_bytes: usage.write_bytes,
        })
    }

    fn known(&self, container: &Container) -> RuntimeResult<Known> {
        Known::read(&self.layout.container(&container.record.id)).map_err(failed("reading a container's records"))
    }

    fn state(&self, container: &Container) -> RuntimeResult<ContainerState> {
        Ok(self.known(container)?.state(&container.record))
    }

    fn list(&self, labels: &BTreeMap<String, String>) -> RuntimeResult<Vec<ContainerState>> {
        let fits =
            |record: &ContainerRecord| labels.iter().all(|(name, value)| record.spec.labels.get(name) == Some(value));
        let mut containers = self.all_containers()?;
        containers.retain(|container| fits(&container.record));
        let mut states = containers.iter().map(|container| self.state(container)).collect::<RuntimeResult<Vec<_>>>()?;
        states.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(states)
    }

    fn create_volume(&self, volume: &VolumeSpec) -> RuntimeResult<String> {
        if !shim::config::is_volume_name(&volume.name) {
            let name = &volume.name;
            return Err(RuntimeError::Create(format!(
                "{name:?} is no volume name: letters, digits, '_', '.' and '-', beginning with a letter or digit"
            )));
        }
        if !matches!(volume.driver.as_str(), "" | "local") {
            let feature = format!("volume driver {:?}", volume.driver);
            return Err(RuntimeError::Unsupported { runtime: "oci", feature });
        }
        let data = shim::rootfs::volume_data(&self.layout, &volume.name);
        let make = || {
            shim::rootfs::create_volume_dir(&data)?;
            write_record(&self.layout.volumes().join(&volume.name).join("volume.json"), volume)
        };
        make().map_err(failed(format_args!("making volume {}", volume.name)))?;
        Ok(data.display().to_string())
    }

    fn remove_volume(&self, name: &str) -> RuntimeResult<()> {
        if !shim::config::is_volume_name(name) {
            return Ok(());
        }
        let uses = |container: &Arc<Container>| {
            let source = crate::MountSource::Volume(name.to_owned());
            container.record.spec.mounts.iter().any(|mount| mount.source == source)
        };
        if let Some(user) = self.all_containers()?.iter().find(|container| uses(container)) {
            let user = &user.record.spec.name;
            return Err(RuntimeError::Unavailable(format!(
                "volume {name} is in use by container {user}: remove it first"
            )));
        }
        remove_dir(&self.layout.volumes().join(name)).map_err(failed(format_args!("removing volume {name}")))
    }
}

/// Somebody who follows a log.
struct Following {
    reader: LogReader,
    written: tokio::sync::watch::Receiver<u64>,
    ended: tokio::sync::watch::Receiver<u64>,
    /// The container has ended: what can be read now is all there will be.
    last_look: bool,
    inner: Arc<Inner>,
    id: String,
}

impl Following {
    async fn next(mut self) -> Option<(RuntimeResult<LogLine>, Self)> {
        loop {
            self.written.mark_unchanged();
            self.ended.mark_unchanged();
            match self.reader.next() {
                Ok(Some(line)) => return Some((Ok(line), self)),
                Ok(None) => {}
                Err(error) => return Some((Err(failed("reading a container's log")(error)), self)),
            }
            if self.last_look {
                return None;
            }
            let running = self.inner.container(&self.id).and_then(|container| self.inner.known(&container));
            if !running.is_ok_and(|known| known.exit.is_none()) {
                self.last_look = true;
                continue;
            }
            tokio::select! {
                // An error means that its sender is gone, with the container: the next look sees it.
                _ = self.written.changed() => {}
                _ = self.ended.changed() => {}
            }
        }
    }
}

impl ContainerRuntime for OciRuntime {
    fn info(&self) -> BoxFuture<'_, RuntimeResult<RuntimeInfo>> {
        let info = RuntimeInfo {
            name: "oci",
            version: env!("CARGO_PKG_VERSION").to_owned(),
            docker_api_versions: (17..=41).map(|minor| format!("1.{minor}")).collect(),
            log_drivers: ["json-file", "awslogs", "none"].map(str::to_owned).to_vec(),
        };
        Box::pin(std::future::ready(Ok(info)))
    }

    fn image<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, RuntimeResult<Option<ImageInfo>>> {
        let found = self.inner.images.find(reference).map(|found| found.map(|(info, _)| info));
        Box::pin(std::future::ready(found.map_err(Into::into)))
    }

    fn pull<'a>(
        &'a self,
        reference: &'a str,
        _auth: Option<RegistryAuth>,
        _progress: &'a (dyn Fn(PullProgress) + Send + Sync),
    ) -> BoxFuture<'a, RuntimeResult<ImageInfo>> {
        let message = format!(
            "image {reference} is not present, and pulling from registries comes with a later version of the embedded \
             runtime: import it with `longshore image import`"
        );
        Box::pin(std::future::ready(Err(RuntimeError::Pull(message))))
    }

    fn import<'a>(
        &'a self,
        archive: &'a Path,
        name: Option<&'a str>,
        progress: &'a (dyn Fn(PullProgress) + Send + Sync),
    ) -> BoxFuture<'a, RuntimeResult<Vec<ImageInfo>>> {
        let images = self.inner.images.clone();
        let (archive, name) = (archive.to_owned(), name.map(str::to_owned));
        Box::pin(async move {
            let (send, mut steps) = tokio::sync::mpsc::unbounded_channel();
            let work = move || {
                let tell = |step: PullProgress| {
                    // Nobody waits for the import any more; it goes on to its end.
                    let _ = send.send(step);
                };
                images.import(&archive, name.as_deref(), &tell).map_err(not_imported)
            };
            let mut import = std::pin::pin!(blocking(work));
            loop {
                tokio::select! {
                    Some(step) = steps.recv() => progress(step),
                    result = &mut import => {
                        while let Ok(step) = steps.try_recv() {
                            progress(step);
                        }
                        return result;
                    }
                }
            }
        })
    }

    fn images(&self) -> BoxFuture<'_, RuntimeResult<Vec<ImageInfo>>> {
        Box::pin(std::future::ready(self.inner.images.list().map_err(Into::into)))
    }

    fn remove_image<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, RuntimeResult<()>> {
        let (images, reference) = (self.inner.images.clone(), reference.to_owned());
        Box::pin(blocking(move || images.remove(&reference)))
    }

    fn create<'a>(&'a self, spec: &'a ContainerSpec) -> BoxFuture<'a, RuntimeResult<String>> {
        Box::pin(self.inner.create(spec))
    }

    fn start<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<ContainerState>> {
        Box::pin(self.inner.start(id))
    }

    fn stop<'a>(&'a self, id: &'a str, timeout: Duration) -> BoxFuture<'a, RuntimeResult<ContainerState>> {
        Box::pin(self.inner.stop(id, timeout))
    }

    fn kill<'a>(&'a self, id: &'a str, signal: i32) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(self.inner.kill(id, signal))
    }

    fn remove<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(self.inner.remove(id))
    }

    fn inspect<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<ContainerState>> {
        let state = self.inner.container(id).and_then(|container| self.inner.state(&container));
        Box::pin(std::future::ready(state))
    }

    fn list<'a>(&'a self, labels: &'a BTreeMap<String, String>) -> BoxFuture<'a, RuntimeResult<Vec<ContainerState>>> {
        Box::pin(std::future::ready(self.inner.list(labels)))
    }

    fn events(&self) -> BoxStream<'static, ContainerEvent> {
        let resync = || ContainerEvent { id: String::new(), kind: ContainerEventKind::Resync };
        let receiver = self.inner.events.subscribe();
        let later = stream::unfold(receiver, move |mut receiver| async move {
            match receiver.recv().await {
                Ok(event) => Some((event, receiver)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((resync(), receiver)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        });
        stream::once(std::future::ready(resync())).chain(later).boxed()
    }

    fn logs<'a>(
        &'a self,
        id: &'a str,
        from: LogCursor,
    ) -> BoxFuture<'a, RuntimeResult<BoxStream<'static, RuntimeResult<LogLine>>>> {
        Box::pin(self.inner.logs(id, from))
    }

    fn stats<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<ContainerStats>> {
        Box::pin(std::future::ready(self.inner.stats(id)))
    }

    fn create_volume<'a>(&'a self, volume: &'a VolumeSpec) -> BoxFuture<'a, RuntimeResult<String>> {
        Box::pin(std::future::ready(self.inner.create_volume(volume)))
    }

    fn remove_volume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(std::future::ready(self.inner.remove_volume(name)))
    }

    fn cleanup(&self) -> BoxFuture<'_, RuntimeResult<()>> {
        Box::pin(self.inner.cleanup())
    }
}
