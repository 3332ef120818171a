//! Containers on a Docker Engine (API 1.41, Docker 20.10, or newer), through its Unix socket.
//!
//! Everything that one data directory makes carries the label [`ROOT_LABEL`] with the directory's
//! id, and nothing else is ever touched. Nothing is kept here: Docker is the truth.

mod create;
mod error;
mod events;
mod images;
mod layout;
mod lines;
mod logs;
mod state;
mod stats;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::models::{ContainerInspectResponse, VolumeCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, ListContainersOptionsBuilder,
    ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptions, StatsOptionsBuilder,
    StopContainerOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use longshore_seams::{BoxFuture, Seams};

use self::error::{container_error, engine_error, is_missing, message, port_in_use, status};
use self::state::{container_state, port_key};
use crate::{
    ContainerEvent, ContainerRuntime, ContainerSpec, ContainerState, ContainerStats, ImageInfo, LogCursor, LogLine,
    Protocol, PullProgress, RegistryAuth, RuntimeError, RuntimeInfo, RuntimeResult, VolumeSpec,
};

/// Label that names the data directory whose container or volume this is.
pub const ROOT_LABEL: &str = "dev.longshore.root";

/// Oldest API that has all we use.
const LEAST_API: (u32, u32) = (1, 41);
/// The first API that an ECS agent names among what an instance can do.
const FIRST_ECS_API_MINOR: u32 = 17;
/// Longest wait for the answer to a call, but for those that wait for a container.
const CALL_TIMEOUT_SECS: u64 = 120;
/// Calls in flight when many containers are looked at or removed.
const PARALLEL_CALLS: usize = 8;
/// Longest wait for a removal that somebody else has begun.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(60);
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// The socket of a Docker Engine that answers on this machine: that of `DOCKER_HOST` when it is a
/// `unix://` address, else `/var/run/docker.sock`.
pub async fn detect(seams: &Seams) -> Option<PathBuf> {
    let socket = match std::env::var("DOCKER_HOST") {
        Ok(host) if !host.is_empty() => PathBuf::from(host.strip_prefix("unix://")?),
        _ => PathBuf::from(DEFAULT_SOCKET),
    };
    let docker = client(&socket).ok()?;
    tokio::select! {
        answer = docker.ping() => answer.ok().map(|_| socket),
        () = seams.clock.sleep(Duration::from_secs(1)) => None,
    }
}

fn client(socket: &Path) -> RuntimeResult<Docker> {
    let unreachable = |reason: String| {
        RuntimeError::Unavailable(format!(
            "no Docker Engine answers at {}: {reason}; start it, or choose the embedded runtime",
            socket.display()
        ))
    };
    let path = socket.to_str().ok_or_else(|| unreachable("its path is not UTF-8".to_owned()))?;
    Docker::connect_with_unix(path, CALL_TIMEOUT_SECS, API_DEFAULT_VERSION)
        .map_err(|error| unreachable(message(&error)))
}

/// A Docker Engine.
#[derive(Clone, Debug)]
pub struct DockerRuntime {
    docker: Docker,
    root_id: String,
    seams: Seams,
}

impl DockerRuntime {
    /// Connects to the engine at `socket` for the data directory `root_id`.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`] when nothing answers there or the engine is older than API 1.41.
    pub async fn connect(socket: &Path, root_id: &str, seams: Seams) -> RuntimeResult<Self> {
        let docker = client(socket)?.negotiate_version().await.map_err(|error| {
            RuntimeError::Unavailable(format!("no Docker Engine answers at {}: {}", socket.display(), message(&error)))
        })?;
        // Negotiation takes the older of the two sides' versions, whatever that is.
        let version = docker.client_version();
        let (major, minor) = (version.major_version, version.minor_version);
        if (major, minor) < (LEAST_API.0 as usize, LEAST_API.1 as usize) {
            return Err(RuntimeError::Unavailable(format!(
                "the Docker Engine at {} speaks API {major}.{minor}, and {}.{} (Docker 20.10) is the oldest that \
                 works: upgrade Docker, or choose the embedded runtime",
                socket.display(),
                LEAST_API.0,
                LEAST_API.1
            )));
        }
        Ok(Self { docker, root_id: root_id.to_owned(), seams })
    }

    async fn read_info(&self) -> RuntimeResult<RuntimeInfo> {
        let version = self.docker.version().await.map_err(engine_error)?;
        let info = self.docker.info().await.map_err(engine_error)?;
        let newest = version.api_version.as_deref().and_then(|api| api.split_once('.')?.1.parse().ok());
        let newest: u32 = newest.unwrap_or(LEAST_API.1);
        Ok(RuntimeInfo {
            name: "docker",
            version: version.version.unwrap_or_default(),
            docker_api_versions: (FIRST_ECS_API_MINOR..=newest).map(|minor| format!("1.{minor}")).collect(),
            log_drivers: info.plugins.and_then(|plugins| plugins.log).unwrap_or_default(),
        })
    }

    async fn inspected(&self, id: &str) -> RuntimeResult<ContainerInspectResponse> {
        self.docker.inspect_container(id, None).await.map_err(|error| container_error(id, error))
    }

    async fn state(&self, id: &str) -> RuntimeResult<ContainerState> {
        self.inspected(id).await.map(container_state)
    }

    async fn create_container(&self, spec: &ContainerSpec) -> RuntimeResult<String> {
        let body = create::create_body(spec, &self.root_id)?;
        let options = CreateContainerOptionsBuilder::default().name(&spec.name).build();
        let error = match self.docker.create_container(Some(options), body).await {
            Ok(made) => return Ok(made.id),
            Err(error) => error,
        };
        let text = message(&error);
        match status(&error) {
            Some(404) if text.to_ascii_lowercase().contains("no such image") => {
                Err(RuntimeError::NoSuchImage(spec.image.clone()))
            }
            Some(409) => self.existing(spec, text).await,
            Some(_) => Err(RuntimeError::Create(text)),
            None => Err(engine_error(error)),
        }
    }

    /// The container that has the name of `spec`, when it is the one that `spec` makes.
    async fn existing(&self, spec: &ContainerSpec, conflict: String) -> RuntimeResult<String> {
        let Ok(existing) = self.inspected(&spec.name).await else { return Err(RuntimeError::Create(conflict)) };
        let labels = existing.config.and_then(|config| config.labels).unwrap_or_default();
        // The image's labels may be there too.
        let same = create::all_labels(spec, &self.root_id).iter().all(|(name, value)| labels.get(name) == Some(value));
        existing.id.filter(|_| same).ok_or(RuntimeError::Create(conflict))
    }

    async fn start_container(&self, id: &str) -> RuntimeResult<ContainerState> {
        if let Err(error) = self.docker.start_container(id, None).await {
            return Err(self.start_error(id, error).await);
        }
        self.state(id).await
    }

    async fn start_error(&self, id: &str, error: bollard::errors::Error) -> RuntimeError {
        let text = message(&error);
        match status(&error) {
            None => engine_error(error),
            Some(404) if text.to_ascii_lowercase().contains("no such container") => container_error(id, error),
            Some(_) => match port_in_use(&text) {
                Some((port, Some(protocol))) => RuntimeError::PortInUse { port, protocol },
                Some((port, None)) => {
                    RuntimeError::PortInUse { port, protocol: self.protocol_of(id, port).await.unwrap_or_default() }
                }
                None => RuntimeError::Start(text),
            },
        }
    }

    /// The protocol by which `id` publishes host port `port`.
    async fn protocol_of(&self, id: &str, port: u16) -> Option<Protocol> {
        let bindings = self.inspected(id).await.ok()?.host_config?.port_bindings?;
        let port = port.to_string();
        bindings.into_iter().find_map(|(key, bindings)| {
            let publishes = bindings.iter().flatten().any(|binding| binding.host_port.as_deref() == Some(&port));
            port_key(&key).filter(|_| publishes).map(|(_, protocol)| protocol)
        })
    }

    async fn stop_container(&self, id: &str, timeout: Duration) -> RuntimeResult<ContainerState> {
        // Docker takes whole seconds.
        let secs = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
        let options = StopContainerOptionsBuilder::default().t(i32::try_from(secs).unwrap_or(i32::MAX)).build();
        let patient = self.docker.clone().with_timeout(timeout + Duration::from_secs(CALL_TIMEOUT_SECS));
        patient.stop_container(id, Some(options)).await.map_err(|error| container_error(id, error))?;
        self.state(id).await
    }

    async fn kill_container(&self, id: &str, signal: i32) -> RuntimeResult<()> {
        let options = KillContainerOptionsBuilder::default().signal(&signal.to_string()).build();
        match self.docker.kill_container(id, Some(options)).await {
            // 409: it does not run (any more).
            Err(error) if status(&error) == Some(409) => Ok(()),
            other => other.map_err(|error| container_error(id, error)),
        }
    }

    async fn remove_container(&self, id: &str) -> RuntimeResult<()> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match self.docker.remove_container(id, Some(options)).await {
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) if status(&error) == Some(409) => self.removed_by_other(id, error).await,
            other => other.map_err(engine_error),
        }
    }

    /// Waits for a removal that is under way.
    async fn removed_by_other(&self, id: &str, conflict: bollard::errors::Error) -> RuntimeResult<()> {
        let deadline = self.seams.clock.monotonic() + REMOVAL_TIMEOUT;
        loop {
            match self.docker.inspect_container(id, None).await {
                Err(error) if is_missing(&error) => return Ok(()),
                Err(error) => return Err(engine_error(error)),
                Ok(_) if self.seams.clock.monotonic() > deadline => return Err(engine_error(conflict)),
                Ok(_) => self.seams.clock.sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Ids of all our containers with `labels`.
    async fn ids(&self, labels: &BTreeMap<String, String>) -> RuntimeResult<Vec<String>> {
        let mut filter = vec![format!("{ROOT_LABEL}={}", self.root_id)];
        filter.extend(labels.iter().map(|(name, value)| format!("{name}={value}")));
        let filters = [("label".to_owned(), filter)].into();
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let found = self.docker.list_containers(Some(options)).await.map_err(engine_error)?;
        Ok(found.into_iter().filter_map(|container| container.id).collect())
    }

    async fn list_containers(&self, labels: &BTreeMap<String, String>) -> RuntimeResult<Vec<ContainerState>> {
        let inspections = self.ids(labels).await?.into_iter().map(|id| async move {
            match self.state(&id).await {
                // Removed since it was listed.
                Err(RuntimeError::NoSuchContainer(_)) => Ok(None),
                other => other.map(Some),
            }
        });
        let states = stream::iter(inspections).buffer_unordered(PARALLEL_CALLS).try_collect::<Vec<_>>().await?;
        let mut states: Vec<ContainerState> = states.into_iter().flatten().collect();
        states.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(states)
    }

    async fn open_logs(&self, id: &str, from: LogCursor) -> RuntimeResult<BoxStream<'static, RuntimeResult<LogLine>>> {
        let id = self.inspected(id).await?.id.unwrap_or_else(|| id.to_owned());
        Ok(logs::follow(self.docker.clone(), self.seams.clock.clone(), id, from))
    }

    async fn sample(&self, id: &str) -> RuntimeResult<ContainerStats> {
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        match self.docker.stats(id, Some(options)).next().await {
            Some(Ok(sample)) => Ok(stats::container_stats(sample)),
            Some(Err(error)) => Err(container_error(id, error)),
            None => Err(RuntimeError::Unavailable(format!("Docker gave no sample of container {id}"))),
        }
    }

    async fn make_volume(&self, volume: &VolumeSpec) -> RuntimeResult<String> {
        let mut labels = volume.labels.clone();
        labels.insert(ROOT_LABEL.to_owned(), self.root_id.clone());
        let request = VolumeCreateRequest {
            name: Some(volume.name.clone()),
            driver: (!volume.driver.is_empty()).then(|| volume.driver.clone()),
            driver_opts: Some(volume.driver_opts.clone().into_iter().collect()),
            labels: Some(labels.into_iter().collect()),
            ..VolumeCreateRequest::default()
        };
        match self.docker.create_volume(request).await {
            Ok(made) => Ok(made.mountpoint),
            Err(error) if status(&error).is_some() => Err(RuntimeError::Create(message(&error))),
            Err(error) => Err(engine_error(error)),
        }
    }

    async fn delete_volume(&self, name: &str) -> RuntimeResult<()> {
        match self.docker.remove_volume(name, None::<RemoveVolumeOptions>).await {
            Err(error) if is_missing(&error) => Ok(()),
            other => other.map_err(engine_error),
        }
    }

    async fn remove_everything(&self) -> RuntimeResult<()> {
        let ids = self.ids(&BTreeMap::new()).await?;
        let removals = ids.into_iter().map(|id| async move { self.remove_container(&id).await });
        stream::iter(removals).buffer_unordered(PARALLEL_CALLS).try_collect::<Vec<()>>().await?;
        let filters = [("label".to_owned(), vec![format!("{ROOT_LABEL}={}", self.root_id)])].into();
        let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
        let found = self.docker.list_volumes(Some(options)).await.map_err(engine_error)?;
        for volume in found.volumes.unwrap_or_default() {
            self.delete_volume(&volume.name).await?;
        }
        Ok(())
    }
}

impl ContainerRuntime for DockerRuntime {
    fn info(&self) -> BoxFuture<'_, RuntimeResult<RuntimeInfo>> {
        Box::pin(self.read_info())
    }

    fn image<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, RuntimeResult<Option<ImageInfo>>> {
        Box::pin(images::find(&self.docker, reference))
    }

    fn pull<'a>(
        &'a self,
        reference: &'a str,
        auth: Option<RegistryAuth>,
        progress: &'a (dyn Fn(PullProgress) + Send + Sync),
    ) -> BoxFuture<'a, RuntimeResult<ImageInfo>> {
        Box::pin(images::pull(&self.docker, reference, auth, progress))
    }

    fn import<'a>(
        &'a self,
        archive: &'a Path,
        name: Option<&'a str>,
        progress: &'a (dyn Fn(PullProgress) + Send + Sync),
    ) -> BoxFuture<'a, RuntimeResult<Vec<ImageInfo>>> {
        Box::pin(images::import(&self.docker, archive, name, progress))
    }

    fn images(&self) -> BoxFuture<'_, RuntimeResult<Vec<ImageInfo>>> {
        Box::pin(images::list(&self.docker))
    }

    fn remove_image<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(images::remove(&self.docker, reference))
    }

    fn create<'a>(&'a self, spec: &'a ContainerSpec) -> BoxFuture<'a, RuntimeResult<String>> {
        Box::pin(self.create_container(spec))
    }

    fn start<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<ContainerState>> {
        Box::pin(self.start_container(id))
    }

    fn stop<'a>(&'a self, id: &'a str, timeout: Duration) -> BoxFuture<'a, RuntimeResult<ContainerState>> {
        Box::pin(self.stop_container(id, timeout))
    }

    fn kill<'a>(&'a self, id: &'a str, signal: i32) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(self.kill_container(id, signal))
    }

    fn remove<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(self.remove_container(id))
    }

    fn inspect<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<ContainerState>> {
        Box::pin(self.state(id))
    }

    fn list<'a>(&'a self, labels: &'a BTreeMap<String, String>) -> BoxFuture<'a, RuntimeResult<Vec<ContainerState>>> {
        Box::pin(self.list_containers(labels))
    }

    fn events(&self) -> BoxStream<'static, ContainerEvent> {
        events::events(self.docker.clone(), self.seams.clock.clone(), self.root_id.clone())
    }

    fn logs<'a>(
        &'a self,
        id: &'a str,
        from: LogCursor,
    ) -> BoxFuture<'a, RuntimeResult<BoxStream<'static, RuntimeResult<LogLine>>>> {
        Box::pin(self.open_logs(id, from))
    }

    fn stats<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<ContainerStats>> {
        Box::pin(self.sample(id))
    }

    fn create_volume<'a>(&'a self, volume: &'a VolumeSpec) -> BoxFuture<'a, RuntimeResult<String>> {
        Box::pin(self.make_volume(volume))
    }

    fn remove_volume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(self.delete_volume(name))
    }

    fn cleanup(&self) -> BoxFuture<'_, RuntimeResult<()>> {
        Box::pin(self.remove_everything())
    }
}
