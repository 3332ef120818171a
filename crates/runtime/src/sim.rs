//! A simulated runtime: containers are entries in a table, their programs are scripts, time is the
//! injected clock's. For tests of everything above a runtime; nothing here touches the host.
//!
//! It outlives the agent that uses it, as a real one does: drop the agent, make another on the same
//! [`SimRuntime`], and every container is still there.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use longshore_seams::{BoxFuture, Clock, Spawner, Timestamp};
use tokio::sync::{mpsc, watch};

use crate::{
    ContainerEvent, ContainerEventKind, ContainerRuntime, ContainerSpec, ContainerState, ContainerStats,
    ContainerStatus, Health, ImageInfo, LogCursor, LogLine, OutputStream, PortBinding, PullProgress, RegistryAuth,
    RuntimeError, RuntimeInfo, RuntimeResult, VolumeSpec,
};

/// What the containers of an image do.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Ends by itself after so long with this exit code; runs for ever when absent.
    pub ends: Option<(Duration, i32)>,
    /// Ends so long after the stop signal with this exit code; ignores it when absent.
    pub on_stop: Option<(Duration, i32)>,
    /// Lines written at the start.
    pub output: Vec<String>,
    /// Health from so long after the start.
    pub health: Vec<(Duration, Health)>,
    /// Ended by the kernel for memory.
    pub out_of_memory: bool,
    /// Making a container fails with these words.
    pub create_error: Option<String>,
    /// Starting a container fails with these words.
    pub start_error: Option<String>,
    /// How long making takes.
    pub create_takes: Duration,
    /// How long starting takes.
    pub start_takes: Duration,
}

impl Program {
    /// Runs until told to stop, then ends at once with 0.
    #[must_use]
    pub fn obeys() -> Self {
        Self { on_stop: Some((Duration::ZERO, 0)), ..Self::default() }
    }

    /// Ends by itself.
    #[must_use]
    pub fn exits(after: Duration, code: i32) -> Self {
        Self { ends: Some((after, code)), on_stop: Some((Duration::ZERO, 0)), ..Self::default() }
    }
}

/// How the simulated registry answers.
#[derive(Clone, Debug)]
pub enum Registry {
    /// The image arrives after so long.
    Has(Duration),
    /// Pulling fails so often with these words, then succeeds.
    Fails(u32, String),
}

#[derive(Debug)]
struct SimContainer {
    spec: ContainerSpec,
    state: ContainerState,
    /// Counts starts: timers of an earlier run do nothing.
    run: u64,
    lines: Vec<LogLine>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct World {
    programs: BTreeMap<String, Program>,
    present: BTreeMap<String, ImageInfo>,
    registry: BTreeMap<String, Registry>,
    containers: BTreeMap<String, SimContainer>,
    volumes: BTreeMap<String, VolumeSpec>,
    listeners: Vec<mpsc::UnboundedSender<ContainerEvent>>,
    calls: Vec<String>,
    starts: BTreeMap<String, u64>,
    made: u64,
    next_port: u16,
    down: bool,
}

/// The simulated runtime. Clones share one world.
#[derive(Clone, Debug)]
pub struct SimRuntime {
    clock: Arc<dyn Clock>,
    spawner: Arc<dyn Spawner>,
    world: Arc<Mutex<World>>,
}

impl SimRuntime {
    /// An empty host.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, spawner: Arc<dyn Spawner>) -> Self {
        let world = World { next_port: 32768, ..World::default() };
        Self { clock, spawner, world: Arc::new(Mutex::new(world)) }
    }

    /// Puts an image on the host whose containers follow `program`.
    pub fn add_image(&self, reference: &str, program: Program) {
        let mut world = self.world();
        world.programs.insert(reference.to_owned(), program);
        world.present.insert(reference.to_owned(), image(reference, false));
    }

    /// Puts an image into the registry only.
    pub fn add_remote_image(&self, reference: &str, program: Program, registry: Registry) {
        let mut world = self.world();
        world.programs.insert(reference.to_owned(), program);
        world.registry.insert(reference.to_owned(), registry);
    }

    /// The calls that changed something, in order: `create web`, `start web`, `stop web`, `remove web`, `pull image`.
    /// Containers are named by their ECS container name when they have one.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.world().calls.clone()
    }

    /// Makes every call fail with [`RuntimeError::Unavailable`], or work again.
    pub fn set_down(&self, down: bool) {
        self.world().down = down;
    }

    /// Ends a running container from outside, as a crash of its process would.
    pub fn exit(&self, id: &str, code: i32) {
        let run = self.world().containers.get(id).map(|container| container.run);
        if let Some(run) = run {
            self.end(id, run, code, false);
        }
    }

    /// Writes a line to a container's output.
    pub fn write_line(&self, id: &str, line: &str) {
        let at = self.clock.now();
        if let Some(container) = self.world().containers.get_mut(id) {
            container.write(at, line);
        }
    }

    /// The containers that exist, by name.
    #[must_use]
    pub fn containers(&self) -> Vec<ContainerState> {
        self.world().containers.values().map(|container| container.state.clone()).collect()
    }

    /// The specification a container was made from.
    #[must_use]
    pub fn spec_of(&self, id: &str) -> Option<ContainerSpec> {
        self.world().containers.get(id).map(|container| container.spec.clone())
    }

    /// How often containers of this name were started, removed ones included.
    #[must_use]
    pub fn starts(&self) -> BTreeMap<String, u64> {
        self.world().starts.clone()
    }

    /// Ends every container at once and forgets what was under way, as a host that loses its power does.
    pub fn lose_power(&self) {
        let now = self.clock.now();
        let mut world = self.world();
        world.listeners.clear();
        for container in world.containers.values_mut() {
            container.run += 1;
            if container.state.status == ContainerStatus::Running {
                container.exited(now, 255, false);
            }
        }
    }

    /// Named volumes that exist.
    #[must_use]
    pub fn volumes(&self) -> Vec<String> {
        self.world().volumes.keys().cloned().collect()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn up(&self) -> RuntimeResult<MutexGuard<'_, World>> {
        let world = self.world();
        if world.down {
            return Err(RuntimeError::Unavailable("the simulated runtime is down".to_owned()));
        }
        Ok(world)
    }

    fn end(&self, id: &str, run: u64, code: i32, out_of_memory: bool) {
        let now = self.clock.now();
        let mut world = self.world();
        let Some(container) = world.containers.get_mut(id) else { return };
        if container.run != run || container.state.status != ContainerStatus::Running {
            return;
        }
        container.exited(now, code, out_of_memory);
        world.tell(id, ContainerEventKind::Exited);
    }

    fn after(&self, delay: Duration, work: impl FnOnce(&Self) + Send + 'static) {
        let (sim, sleep) = (self.clone(), self.clock.sleep(delay));
        self.spawner.spawn(
            "simulated container",
            Box::pin(async move {
                sleep.await;
                work(&sim);
            }),
        );
    }

    fn set_health(&self, id: &str, run: u64, health: Health) {
        let now = self.clock.now();
        let mut world = self.world();
        let Some(container) = world.containers.get_mut(id) else { return };
        if container.run == run && container.state.status == ContainerStatus::Running {
            container.state.health = Some((health, now));
            world.tell(id, ContainerEventKind::Health(health));
        }
    }

    fn begin(&self, id: &str) -> RuntimeResult<ContainerState> {
        let now = self.clock.now();
        let mut world = self.up()?;
        let named = name_of(&world, id);
        let Some(spec) = world.containers.get(id).map(|container| container.spec.clone()) else {
            return Err(RuntimeError::NoSuchContainer(id.to_owned()));
        };
        let program = world.programs.get(&spec.image).cloned().unwrap_or_default();
        if world.containers.get(id).is_some_and(|container| container.state.status == ContainerStatus::Running) {
            return Ok(world.containers[id].state.clone());
        }
        world.calls.push(format!("start {named}"));
        if let Some(error) = program.start_error {
            return Err(RuntimeError::Start(error));
        }
        let mut ports = Vec::new();
        for binding in &spec.ports {
            let mut binding = PortBinding { host_ip: Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), ..binding.clone() };
            if binding.host_port == 0 {
                binding.host_port = world.next_port;
                world.next_port += 1;
            } else if world.holds_port(binding.host_port) {
                return Err(RuntimeError::PortInUse { port: binding.host_port, protocol: binding.protocol });
            }
            ports.push(binding);
        }
        *world.starts.entry(spec.name.clone()).or_default() += 1;
        let container = world.containers.get_mut(id).expect("looked up under the same lock");
        container.run += 1;
        container.state.status = ContainerStatus::Running;
        container.state.pid = Some(1000);
        container.state.exit_code = None;
        container.state.started_at = Some(now);
        container.state.finished_at = None;
        container.state.ports = ports;
        container.state.health = spec.health_check.as_ref().map(|_| (Health::Starting, now));
        for line in &program.output {
            container.write(now, line);
        }
        let (run, state) = (container.run, container.state.clone());
        world.tell(id, ContainerEventKind::Started);
        drop(world);
        if let Some((after, code)) = program.ends {
            let (id, out_of_memory) = (id.to_owned(), program.out_of_memory);
            if after.is_zero() {
                self.end(&id, run, code, out_of_memory);
            } else {
                self.after(after, move |sim| sim.end(&id, run, code, out_of_memory));
            }
        }
        for (after, health) in program.health {
            let id = id.to_owned();
            self.after(after, move |sim| sim.set_health(&id, run, health));
        }
        Ok(state)
    }
}

impl World {
    fn tell(&mut self, id: &str, kind: ContainerEventKind) {
        self.listeners.retain(|listener| listener.send(ContainerEvent { id: id.to_owned(), kind }).is_ok());
    }

    fn holds_port(&self, port: u16) -> bool {
        self.containers.values().any(|container| {
            container.state.status == ContainerStatus::Running
                && container.state.ports.iter().any(|binding| binding.host_port == port)
        })
    }
}

impl SimContainer {
    fn write(&mut self, at: Timestamp, line: &str) {
        let next = LogCursor(self.lines.len() as u64 + 1);
        self.lines.push(LogLine { next, stream: OutputStream::Stdout, at, line: line.as_bytes().to_vec() });
        self.notify();
    }

    fn exited(&mut self, now: Timestamp, code: i32, out_of_memory: bool) {
        self.state.status = ContainerStatus::Exited;
        self.state.exit_code = Some(code);
        self.state.oom_killed = out_of_memory;
        self.state.finished_at = Some(now);
        self.state.pid = None;
        self.state.health = None;
        self.notify();
    }

    fn notify(&self) {
        self.changed.send_modify(|version| *version += 1);
    }
}

fn image(reference: &str, pulled: bool) -> ImageInfo {
    ImageInfo {
        reference: reference.to_owned(),
        id: format!("sha256:{reference}"),
        digest: pulled.then(|| format!("sha256:digest-of-{reference}")),
        size_bytes: 1,
    }
}

fn name_of(world: &World, id: &str) -> String {
    let container = world.containers.get(id);
    let labelled = container.and_then(|container| container.spec.labels.get("com.amazonaws.ecs.container-name"));
    labelled
        .cloned()
        .or_else(|| container.map(|container| container.spec.name.clone()))
        .unwrap_or_else(|| id.to_owned())
}

impl ContainerRuntime for SimRuntime {
    fn info(&self) -> BoxFuture<'_, RuntimeResult<RuntimeInfo>> {
        Box::pin(async {
            drop(self.up()?);
            Ok(RuntimeInfo {
                name: "simulated",
                version: "1".to_owned(),
                docker_api_versions: (17..=41).map(|minor| format!("1.{minor}")).collect(),
                log_drivers: vec!["json-file".to_owned(), "none".to_owned()],
            })
        })
    }

    fn image<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, RuntimeResult<Option<ImageInfo>>> {
        Box::pin(async move { Ok(self.up()?.present.get(reference).cloned()) })
    }

    fn pull<'a>(
        &'a self,
        reference: &'a str,
        _auth: Option<RegistryAuth>,
        _progress: &'a (dyn Fn(PullProgress) + Send + Sync),
    ) -> BoxFuture<'a, RuntimeResult<ImageInfo>> {
        Box::pin(async move {
            let wait = {
                let mut world = self.up()?;
                world.calls.push(format!("pull {reference}"));
                match world.registry.get_mut(reference) {
                    None => return Err(RuntimeError::Pull(format!("{reference}: not found"))),
                    Some(Registry::Fails(left, words)) if *left > 0 => {
                        *left -= 1;
                        return Err(RuntimeError::Pull(words.clone()));
                    }
                    Some(Registry::Fails(..)) => Duration::ZERO,
                    Some(Registry::Has(wait)) => *wait,
                }
            };
            if !wait.is_zero() {
                self.clock.sleep(wait).await;
            }
            let pulled = image(reference, true);
            self.up()?.present.insert(reference.to_owned(), pulled.clone());
            Ok(pulled)
        })
    }

    fn import<'a>(
        &'a self,
        archive: &'a Path,
        _name: Option<&'a str>,
        _progress: &'a (dyn Fn(PullProgress) + Send + Sync),
    ) -> BoxFuture<'a, RuntimeResult<Vec<ImageInfo>>> {
        Box::pin(async move {
            Err(RuntimeError::Unsupported { runtime: "simulated", feature: format!("importing {}", archive.display()) })
        })
    }

    fn images(&self) -> BoxFuture<'_, RuntimeResult<Vec<ImageInfo>>> {
        Box::pin(async { Ok(self.up()?.present.values().cloned().collect()) })
    }

    fn remove_image<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(async move {
            self.up()?.present.remove(reference);
            Ok(())
        })
    }

    fn create<'a>(&'a self, spec: &'a ContainerSpec) -> BoxFuture<'a, RuntimeResult<String>> {
        Box::pin(async move {
            let program = {
                let world = self.up()?;
                let existing = world.containers.iter().find(|(_, container)| container.spec.name == spec.name);
                if let Some((id, container)) = existing {
                    if container.spec.labels == spec.labels {
                        return Ok(id.clone());
                    }
                    return Err(RuntimeError::Create(format!("the name {} is taken", spec.name)));
                }
                if !world.present.contains_key(&spec.image) {
                    return Err(RuntimeError::NoSuchImage(spec.image.clone()));
                }
                world.programs.get(&spec.image).cloned().unwrap_or_default()
            };
            if !program.create_takes.is_zero() {
                self.clock.sleep(program.create_takes).await;
            }
            let mut world = self.up()?;
            world.made += 1;
            let id = format!("{:064x}", world.made);
            let state = ContainerState {
                id: id.clone(),
                name: spec.name.clone(),
                labels: spec.labels.clone(),
                status: ContainerStatus::Created,
                pid: None,
                exit_code: None,
                oom_killed: false,
                error: None,
                created_at: self.clock.now(),
                started_at: None,
                finished_at: None,
                health: None,
                ports: Vec::new(),
                ip: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                image_id: format!("sha256:{}", spec.image),
            };
            if let Some(error) = program.create_error {
                return Err(RuntimeError::Create(error));
            }
            let container =
                SimContainer { spec: spec.clone(), state, run: 0, lines: Vec::new(), changed: watch::channel(0).0 };
            world.containers.insert(id.clone(), container);
            let named = name_of(&world, &id);
            world.calls.push(format!("create {named}"));
            Ok(id)
        })
    }

    fn start<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<ContainerState>> {
        Box::pin(async move {
            let wait = {
                let world = self.up()?;
                let program = world.containers.get(id).and_then(|container| world.programs.get(&container.spec.image));
                program.map_or(Duration::ZERO, |program| program.start_takes)
            };
            if !wait.is_zero() {
                self.clock.sleep(wait).await;
            }
            self.begin(id)
        })
    }

    fn stop<'a>(&'a self, id: &'a str, timeout: Duration) -> BoxFuture<'a, RuntimeResult<ContainerState>> {
        Box::pin(async move {
            let (program, run, mut changed) = {
                let mut world = self.up()?;
                let named = name_of(&world, id);
                world.calls.push(format!("stop {named}"));
                let Some(container) = world.containers.get(id) else {
                    return Err(RuntimeError::NoSuchContainer(id.to_owned()));
                };
                let program = world.programs.get(&container.spec.image).cloned().unwrap_or_default();
                (program, container.run, container.changed.subscribe())
            };
            let owned = id.to_owned();
            match program.on_stop {
                Some((after, code)) if after.is_zero() => self.end(id, run, code, false),
                Some((after, code)) if after < timeout => {
                    self.after(after, move |sim| sim.end(&owned, run, code, false))
                }
                _ => self.after(timeout, move |sim| sim.end(&owned, run, 137, false)),
            }
            loop {
                let state = self.inspect(id).await?;
                if state.status != ContainerStatus::Running {
                    return Ok(state);
                }
                if changed.changed().await.is_err() {
                    return Err(RuntimeError::NoSuchContainer(id.to_owned()));
                }
            }
        })
    }

    fn kill<'a>(&'a self, id: &'a str, signal: i32) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(async move {
            drop(self.up()?);
            self.exit(id, 128 + signal);
            Ok(())
        })
    }

    fn remove<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(async move {
            let mut world = self.up()?;
            let named = name_of(&world, id);
            if world.containers.remove(id).is_some() {
                world.calls.push(format!("remove {named}"));
            }
            Ok(())
        })
    }

    fn inspect<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<ContainerState>> {
        Box::pin(async move {
            let world = self.up()?;
            let container = world.containers.get(id);
            container
                .map(|container| container.state.clone())
                .ok_or_else(|| RuntimeError::NoSuchContainer(id.to_owned()))
        })
    }

    fn list<'a>(&'a self, labels: &'a BTreeMap<String, String>) -> BoxFuture<'a, RuntimeResult<Vec<ContainerState>>> {
        Box::pin(async move {
            let world = self.up()?;
            let states = world.containers.values().map(|container| &container.state);
            let mut found: Vec<ContainerState> = states
                .filter(|state| labels.iter().all(|(name, value)| state.labels.get(name) == Some(value)))
                .cloned()
                .collect();
            found.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(found)
        })
    }

    fn events(&self) -> BoxStream<'static, ContainerEvent> {
        let (tell, heard) = mpsc::unbounded_channel();
        // A listener that was dropped no longer cares.
        let _ = tell.send(ContainerEvent { id: String::new(), kind: ContainerEventKind::Resync });
        self.world().listeners.push(tell);
        stream::unfold(heard, |mut heard| async move { heard.recv().await.map(|event| (event, heard)) }).boxed()
    }

    fn logs<'a>(
        &'a self,
        id: &'a str,
        from: LogCursor,
    ) -> BoxFuture<'a, RuntimeResult<BoxStream<'static, RuntimeResult<LogLine>>>> {
        Box::pin(async move {
            let changed = {
                let world = self.up()?;
                let container = world.containers.get(id);
                container.ok_or_else(|| RuntimeError::NoSuchContainer(id.to_owned()))?.changed.subscribe()
            };
            let reader = LogReader { sim: self.clone(), id: id.to_owned(), from, changed, read: VecDeque::new() };
            Ok(stream::unfold(reader, LogReader::next).boxed())
        })
    }

    fn stats<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<ContainerStats>> {
        Box::pin(async move {
            let state = self.inspect(id).await?;
            let ran = state.started_at.map_or(Duration::ZERO, |started| self.clock.now().since(started));
            Ok(ContainerStats {
                // Half a core.
                cpu_nanos: u64::try_from(ran.as_nanos() / 2).unwrap_or(u64::MAX),
                memory_bytes: 16 << 20,
                ..ContainerStats::default()
            })
        })
    }

    fn create_volume<'a>(&'a self, volume: &'a VolumeSpec) -> BoxFuture<'a, RuntimeResult<String>> {
        Box::pin(async move {
            self.up()?.volumes.entry(volume.name.clone()).or_insert_with(|| volume.clone());
            Ok(format!("/simulated/volumes/{}", volume.name))
        })
    }

    fn remove_volume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(async move {
            self.up()?.volumes.remove(name);
            Ok(())
        })
    }

    fn cleanup(&self) -> BoxFuture<'_, RuntimeResult<()>> {
        Box::pin(async {
            let mut world = self.up()?;
            world.containers.clear();
            world.volumes.clear();
            Ok(())
        })
    }
}

struct LogReader {
    sim: SimRuntime,
    id: String,
    from: LogCursor,
    changed: watch::Receiver<u64>,
    read: VecDeque<LogLine>,
}

impl LogReader {
    async fn next(mut self) -> Option<(RuntimeResult<LogLine>, Self)> {
        loop {
            if let Some(line) = self.read.pop_front() {
                self.from = line.next;
                return Some((Ok(line), self));
            }
            self.changed.mark_unchanged();
            let over = {
                let world = self.sim.world();
                let container = world.containers.get(&self.id)?;
                let from = usize::try_from(self.from.0).unwrap_or(usize::MAX);
                self.read.extend(container.lines.iter().skip(from).cloned());
                container.state.status == ContainerStatus::Exited
            };
            if self.read.is_empty() && (over || self.changed.changed().await.is_err()) {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_seams::{ManualClock, TokioSpawner};

    #[tokio::test]
    async fn a_container_that_ignores_the_stop_signal_is_killed_after_the_timeout() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(0)));
        let sim = SimRuntime::new(clock.clone(), Arc::new(TokioSpawner));
        sim.add_image("deaf", Program::default());
        let spec = ContainerSpec { name: "a".into(), image: "deaf".into(), ..ContainerSpec::default() };
        let id = sim.create(&spec).await.unwrap();
        assert_eq!(sim.create(&spec).await.unwrap(), id);
        sim.start(&id).await.unwrap();
        let mut stop = sim.stop(&id, Duration::from_secs(7));
        assert!(futures_util::poll!(&mut stop).is_pending());
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(7));
        assert_eq!(stop.await.unwrap().exit_code, Some(137));
    }
}
