//! A container's way through its life.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use longshore_net::{Attachment, PublishedPort};
use nix::sys::signal::Signal;
use tokio::sync::watch;

use super::client::{CallError, Listener, ShimClient, ShimEvent};
use super::layout::{create_dir, read_record, remove_dir, remove_file, write_record};
use super::protocol::{Call, Notice, NoticeKind, RefusalKind, Reply, StartNetwork};
use super::record::{ContainerRecord, ExitRecord, NetworkRecord, published};
use super::shim::ShimArguments;
use super::shim::config;
use super::shim::start::{cgroup_of, task_key};
use super::{Inner, failed, locked, root_cgroup};
use crate::{
    ContainerEventKind, ContainerSpec, ContainerState, LogTarget, NetworkMode, PortBinding, RuntimeError, RuntimeResult,
};

/// Host ports that are chosen when none is asked for: Docker's range.
const DYNAMIC_PORTS: std::ops::RangeInclusive<u16> = 32768..=60999;
/// Ports that are tried before giving up.
const PORT_ATTEMPTS: usize = 64;
/// How long a killed container may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// Exit code of what was killed: 128 + SIGKILL.
const KILLED: i32 = 137;

/// A container of this root.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) record: ContainerRecord,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
    /// Counts the container's ends.
    pub(super) ended: watch::Sender<u64>,
}

impl Container {
    pub(super) fn new(record: ContainerRecord) -> Arc<Self> {
        Arc::new(Self { record, changing: tokio::sync::Mutex::new(()), ended: watch::channel(0).0 })
    }
}

impl Inner {
    /// Finds the containers of this root and the shims of those that run.
    pub(super) async fn adopt(self: &Arc<Self>) -> RuntimeResult<()> {
        let records = ContainerRecord::read_all(&self.layout.containers()).map_err(failed("reading containers"))?;
        self.sweep_directories(&records.keys().cloned().collect())?;
        let containers: Vec<Arc<Container>> = records.into_values().map(Container::new).collect();
        for container in &containers {
            locked(&self.containers).insert(container.record.id.clone(), Arc::clone(container));
        }
        for container in &containers {
            self.adopt_one(container).await?;
        }
        // A shim of a task that ended while nobody looked may still hold its containers; it goes when they are removed.
        if !locked(&self.adopted).0.is_empty() {
            self.network().await?;
        }
        Ok(())
    }

    async fn adopt_one(self: &Arc<Self>, container: &Arc<Container>) -> RuntimeResult<()> {
        let record = &container.record;
        let has_shim = match self.existing_shim(&record.spec.task_id).await {
            Ok(shim) => shim.is_some(),
            // It speaks another version, or hangs: its containers go on without being controlled.
            Err(error) => {
                tracing::error!(container = record.spec.name, %error, "a container can not be controlled");
                true
            }
        };
        let known = self.known(container)?;
        if has_shim && known.exit.is_none() {
            // It runs, or is being started for a runtime that was killed meanwhile.
            let network = self.network_record(&record.id)?;
            let mut adopted = locked(&self.adopted);
            adopted.0.extend(network.iter().map(|network| network.address));
            adopted.1.extend(network.into_iter().flat_map(|network| network.ports));
            return Ok(());
        }
        if known.is_running() {
            self.bury(container, "the container's shim was gone when the runtime started").await?;
        } else if !has_shim {
            self.kill_group(record).await?;
        }
        // Nobody gave it back.
        remove_file(&self.layout.container(&record.id).network()).map_err(failed("removing the record of a network"))
    }

    /// Kills every process of a container's group and removes the group; one that is gone is no error.
    async fn kill_group(&self, record: &ContainerRecord) -> RuntimeResult<()> {
        let cgroup = cgroup_of(&root_cgroup(&self.root_id), record);
        let until = self.seams.clock.monotonic() + KILL_PATIENCE;
        loop {
            self.hierarchies.kill(&cgroup);
            if !self.hierarchies.is_populated(&cgroup) && self.hierarchies.remove(&cgroup).is_ok() {
                let task = task_key(&record.spec.task_id);
                self.hierarchies.remove_if_empty(&format!("{}/{task}", root_cgroup(&self.root_id)));
                return Ok(());
            }
            if self.seams.clock.monotonic() > until {
                let name = &record.spec.name;
                return Err(RuntimeError::Unavailable(format!("the processes of container {name} can not be killed")));
            }
            self.seams.clock.sleep(Duration::from_millis(2)).await;
        }
    }

    /// Removes directories of containers that were not made, or not removed, to the end.
    fn sweep_directories(&self, known: &BTreeSet<String>) -> RuntimeResult<()> {
        let entries = fs::read_dir(self.layout.containers()).map_err(failed("listing containers"))?;
        for entry in entries.flatten() {
            if !known.contains(entry.file_name().to_string_lossy().as_ref()) {
                remove_dir(&entry.path()).map_err(failed(format_args!("removing {}", entry.path().display())))?;
            }
        }
        Ok(())
    }

    pub(super) async fn create(&self, spec: &ContainerSpec) -> RuntimeResult<String> {
        let mut spec = spec.clone();
        if let Some(existing) = self.named(&spec)? {
            return Ok(existing);
        }
        spec.log = match spec.log {
            LogTarget::Driver(name, _) if matches!(name.as_str(), "json-file" | "local") => LogTarget::Capture,
            LogTarget::Driver(name, _) if name == "none" => LogTarget::None,
            LogTarget::Driver(name, _) => {
                return Err(RuntimeError::Unsupported { runtime: "oci", feature: format!("log driver {name:?}") });
            }
            other => other,
        };
        if let Some(port) = spec.ports.iter().find(|port| matches!(port.host_ip, Some(IpAddr::V6(_)))) {
            let feature = format!("publishing port {} on an IPv6 address", port.container_port);
            return Err(RuntimeError::Unsupported { runtime: "oci", feature });
        }
        let id = self.seams.random.hex32() + &self.seams.random.hex32();
        let dir = self.layout.container(&id);
        let created_at = self.seams.clock.now();
        let mut made = Err(RuntimeError::NoSuchImage(spec.image.clone()));
        let reference = spec.image.clone();
        self.images.with_image(&reference, |image| {
            let (image_id, layers) = (image.id.clone(), image.layers.clone());
            let record =
                ContainerRecord { id: id.clone(), spec, image_id, image: image.config.clone(), layers, created_at };
            made = config::check(&record).map_err(RuntimeError::Create);
            if made.is_err() {
                return Ok(());
            }
            create_dir(&dir.log())?;
            write_record(&dir.record(), &record)?;
            locked(&self.containers).insert(id.clone(), Container::new(record));
            Ok(())
        })?;
        made.map(|()| id)
    }

    /// The container of the same name, when it is the one that is asked for.
    fn named(&self, spec: &ContainerSpec) -> RuntimeResult<Option<String>> {
        let containers = self.all_containers()?;
        let Some(existing) = containers.iter().find(|container| container.record.spec.name == spec.name) else {
            return Ok(None);
        };
        let (name, id) = (&spec.name, &existing.record.id);
        if existing.record.spec.labels != spec.labels {
            return Err(RuntimeError::Create(format!(
                "the container name {name:?} is already in use by container {id}: remove it, or choose another name"
            )));
        }
        Ok(Some(id.clone()))
    }

    pub(super) async fn start(self: &Arc<Self>, id: &str) -> RuntimeResult<ContainerState> {
        let container = self.container(id)?;
        let _changing = container.changing.lock().await;
        let known = self.known(&container)?;
        if known.is_running() {
            return Ok(known.state(&container.record));
        }
        self.forget_last_run(id)?;
        let result = self.start_stopped(&container).await;
        if let Err(error) = &result {
            self.give_network_back(id).await?;
            let dir = self.layout.container(id);
            let finished_at = self.seams.clock.now();
            // Not started for a reason that may pass: it can be started again, and was never started.
            let exit = ExitRecord { exit_code: None, oom_killed: false, error: Some(error.to_string()), finished_at };
            write_record(&dir.exit(), &exit).map_err(failed("writing a container's end"))?;
            container.ended.send_modify(|ends| *ends += 1);
        }
        result?;
        self.state(&container)
    }

    /// Removes the records of an earlier run.
    fn forget_last_run(&self, id: &str) -> RuntimeResult<()> {
        let dir = self.layout.container(id);
        for path in [dir.health(), dir.start(), dir.exit()] {
            remove_file(&path).map_err(failed("removing a container's old records"))?;
        }
        Ok(())
    }

    async fn start_stopped(self: &Arc<Self>, container: &Arc<Container>) -> RuntimeResult<()> {
        let record = &container.record;
        let hierarchies = self.hierarchies.clone();
        drop(tokio::task::spawn_blocking(move || hierarchies.expect_move()));
        // The shim comes up while the network is made ready.
        let (shim, attached) = tokio::join!(self.shim(&record.spec.task_id), self.attach(record));
        let (shim, attached) = (shim?, attached?);
        let ports = match &attached {
            Attached::Bridge(attachment) => self.reserve(&shim, record, attachment.address).await?,
            _ => Vec::new(),
        };
        let network = self.start_network(record, &attached, &ports)?;
        let publish: Vec<PublishedPort> = match &attached {
            Attached::Bridge(attachment) => ports.iter().map(|port| published(port, attachment.address)).collect(),
            _ => Vec::new(),
        };
        let start = shim.call(Call::Start { container: record.id.clone(), network });
        let (started, forwarded) = tokio::join!(start, async {
            if publish.is_empty() { Ok(()) } else { self.network().await?.publish(&publish).await.map_err(Into::into) }
        });
        // The namespace is held by the container now.
        drop(attached);
        match (started, forwarded) {
            (Ok(_), Ok(())) => Ok(()),
            (Ok(_), Err(error)) => {
                self.delete_in_shim(&shim, &record.id).await?;
                Err(error)
            }
            (Err(error), _) => {
                self.delete_in_shim(&shim, &record.id).await?;
                if matches!(error, CallError::Gone) {
                    // Killed half-way, before its container was bound to it.
                    self.kill_group(record).await?;
                }
                Err(RuntimeError::Start(error.message()))
            }
        }
    }

    async fn attach(&self, record: &ContainerRecord) -> RuntimeResult<Attached> {
        match &record.spec.network {
            _ if record.spec.network_disabled => {}
            NetworkMode::Bridge => return Ok(Attached::Bridge(self.network().await?.attach().await?)),
            NetworkMode::Host | NetworkMode::Container(_) => return Ok(Attached::Other),
            NetworkMode::None => {}
        }
        Ok(Attached::Loopback(longshore_net::isolated_namespace().await?))
    }

    /// Writes the record of the network and answers what the shim has to know of it.
    fn start_network(
        &self,
        record: &ContainerRecord,
        attached: &Attached,
        ports: &[PortBinding],
    ) -> RuntimeResult<Option<StartNetwork>> {
        let path = |fd: &std::os::fd::OwnedFd| format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
        match attached {
            Attached::Other => Ok(None),
            Attached::Loopback(netns) => Ok(Some(StartNetwork {
                path: path(netns),
                address: Ipv4Addr::UNSPECIFIED,
                gateway: Ipv4Addr::UNSPECIFIED,
                ports: Vec::new(),
            })),
            Attached::Bridge(attachment) => {
                let (address, gateway) = (attachment.address, attachment.gateway);
                let network = NetworkRecord {
                    address,
                    gateway,
                    host_link: attachment.host_link.clone(),
                    ports: ports.iter().map(|port| published(port, address)).collect(),
                };
                write_record(&self.layout.container(&record.id).network(), &network)
                    .map_err(failed("writing the record of a network"))?;
                Ok(Some(StartNetwork { path: path(&attachment.netns), address, gateway, ports: ports.to_vec() }))
            }
        }
    }

    /// Has the shim keep the container's host ports, choosing those that are left open; releases `address` on failure.
    async fn reserve(
        &self,
        shim: &ShimClient,
        record: &ContainerRecord,
        address: Ipv4Addr,
    ) -> RuntimeResult<Vec<PortBinding>> {
        let wanted = &record.spec.ports;
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let dynamic = wanted.iter().any(|port| port.host_port == 0);
        let mut refused = None;
        for _ in 0..PORT_ATTEMPTS {
            let mut ports = wanted.clone();
            for port in ports.iter_mut().filter(|port| port.host_port == 0) {
                port.host_port = self.random_port();
            }
            let call = Call::Reserve { container: record.id.clone(), ports: ports.clone() };
            match shim.call(call).await {
                Ok(_) => return Ok(ports),
                Err(error) if error.is(RefusalKind::PortInUse) => {
                    let message = error.message();
                    let taken =
                        ports.into_iter().find(|port| format!("{}/{}", port.host_port, port.protocol) == message);
                    let fixed = taken.as_ref().is_some_and(|taken| {
                        wanted.iter().any(|port| port.host_port == taken.host_port && port.protocol == taken.protocol)
                    });
                    refused =
                        taken.map(|taken| RuntimeError::PortInUse { port: taken.host_port, protocol: taken.protocol });
                    if fixed || !dynamic {
                        break;
                    }
                }
                Err(error) => {
                    refused = Some(RuntimeError::Start(error.message()));
                    break;
                }
            }
        }
        self.network().await?.release(address);
        Err(refused.unwrap_or_else(|| RuntimeError::Start("no free host port was found".to_owned())))
    }

    fn random_port(&self) -> u16 {
        let count = u64::from(DYNAMIC_PORTS.end() - DYNAMIC_PORTS.start()) + 1;
        let offset = u16::try_from(self.seams.random.below(count)).unwrap_or(0);
        DYNAMIC_PORTS.start() + offset
    }

    /// The task's shim, started when there is none.
    async fn shim(self: &Arc<Self>, task_id: &str) -> RuntimeResult<Arc<ShimClient>> {
        let task = task_key(task_id);
        // Two starts in a new task must not start two shims; tasks wait for each other only as long as a fork takes.
        let mut shims = self.shims.lock().await;
        if let Some(shim) = shims.get(&task).filter(|shim| !shim.is_gone()) {
            return Ok(Arc::clone(shim));
        }
        let arguments = ShimArguments {
            root: self.layout.root().to_owned(),
            root_id: self.root_id.clone(),
            task: task.clone(),
            exe: self.options.shim_exe.clone(),
        };
        let started = ShimClient::spawn(&self.layout, &arguments, &self.seams, self.listener(&task)).await;
        let shim = match started {
            Ok(shim) => shim,
            Err(error) => {
                return Err(RuntimeError::Start(format!("starting the shim of task {task}: {error}")));
            }
        };
        shims.insert(task, Arc::clone(&shim));
        Ok(shim)
    }

    /// The task's shim, when it has one.
    async fn existing_shim(self: &Arc<Self>, task_id: &str) -> RuntimeResult<Option<Arc<ShimClient>>> {
        let task = task_key(task_id);
        let mut shims = self.shims.lock().await;
        if let Some(shim) = shims.get(&task).filter(|shim| !shim.is_gone()) {
            return Ok(Some(Arc::clone(shim)));
        }
        let connected = ShimClient::connect(&self.layout, &task, &self.seams, self.listener(&task)).await;
        let shim = connected.map_err(failed(format_args!("connecting to the shim of task {task}")))?;
        if let Some(shim) = &shim {
            shims.insert(task, Arc::clone(shim));
        }
        Ok(shim)
    }

    /// Connects, from now on, to every shim that another process starts: two may work on one root, one of them looking.
    pub(super) fn find_shims(self: &Arc<Self>) -> RuntimeResult<()> {
        let mut written = self.watcher.watch(&self.layout.shims()).map_err(failed("watching for shims"))?;
        let inner = Arc::downgrade(self);
        let find = async move {
            while written.changed().await.is_ok() {
                let Some(inner) = inner.upgrade() else { return };
                let Ok(entries) = fs::read_dir(inner.layout.shims()) else { continue };
                for entry in entries.flatten() {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    let Some(task) = name.strip_suffix(".sock") else { continue };
                    if let Err(error) = inner.existing_shim(task).await {
                        tracing::debug!(%error, task, "a new shim does not answer");
                    }
                }
            }
        };
        self.seams.spawner.spawn("shim finder", Box::pin(find));
        Ok(())
    }

    fn listener(self: &Arc<Self>, task: &str) -> Listener {
        let (inner, task) = (Arc::downgrade(self), task.to_owned());
        Box::new(move |event| {
            let Some(inner) = inner.upgrade() else { return };
            match event {
                ShimEvent::Notice(Notice { container, kind }) => match kind {
                    NoticeKind::Started => inner.emit(&container, ContainerEventKind::Started),
                    NoticeKind::Health(status) => inner.emit(&container, ContainerEventKind::Health(status.into())),
                    NoticeKind::Exited(_) => {
                        let work = Arc::clone(&inner).container_ended(container);
                        inner.seams.spawner.spawn("container end", Box::pin(work));
                    }
                },
                ShimEvent::Gone => {
                    let work = Arc::clone(&inner).shim_gone(task.clone());
                    inner.seams.spawner.spawn("shim end", Box::pin(work));
                }
            }
        })
    }

    async fn container_ended(self: Arc<Self>, id: String) {
        if let Err(error) = self.give_network_back(&id).await {
            tracing::warn!(container = id, %error, "could not give a container's network back");
        }
        if let Ok(container) = self.container(&id) {
            container.ended.send_modify(|ends| *ends += 1);
        }
        self.emit(&id, ContainerEventKind::Exited);
    }

    /// A shim has ended: because its last container was removed, or because it was killed.
    async fn shim_gone(self: Arc<Self>, task: String) {
        let of_task = |container: &&Arc<Container>| task_key(&container.record.spec.task_id) == task;
        let containers = match self.all_containers() {
            Ok(containers) => containers,
            Err(error) => {
                tracing::warn!(%error, task, "could not look for containers without a shim");
                return;
            }
        };
        for container in containers.iter().filter(of_task) {
            let buried = match self.known(container) {
                Ok(known) if known.is_running() => self.bury(container, "the container's shim was killed").await,
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = buried {
                tracing::warn!(container = container.record.id, %error, "could not end a container without a shim");
            }
        }
    }

    /// Ends a container that has no shim any more and writes down that it has ended.
    async fn bury(&self, container: &Container, why: &str) -> RuntimeResult<()> {
        let record = &container.record;
        let cgroup = cgroup_of(&root_cgroup(&self.root_id), record);
        let oom_killed = self.hierarchies.oom_killed(&cgroup);
        self.kill_group(record).await?;
        let finished_at = self.seams.clock.now();
        let exit = ExitRecord { exit_code: Some(KILLED), oom_killed, error: Some(why.to_owned()), finished_at };
        write_record(&self.layout.container(&record.id).exit(), &exit).map_err(failed("writing a container's end"))?;
        self.give_network_back(&record.id).await?;
        container.ended.send_modify(|ends| *ends += 1);
        self.emit(&record.id, ContainerEventKind::Exited);
        Ok(())
    }

    fn network_record(&self, id: &str) -> RuntimeResult<Option<NetworkRecord>> {
        read_record(&self.layout.container(id).network()).map_err(failed("reading the record of a network"))
    }

    /// Ends the forwarding of a container's ports and frees its address.
    async fn give_network_back(&self, id: &str) -> RuntimeResult<()> {
        let Some(record) = self.network_record(id)? else { return Ok(()) };
        let network = self.network().await?;
        network.unpublish(&record.ports).await?;
        remove_file(&self.layout.container(id).network()).map_err(failed("removing the record of a network"))?;
        network.release(record.address);
        Ok(())
    }

    pub(super) async fn kill(self: &Arc<Self>, id: &str, signal: i32) -> RuntimeResult<()> {
        let container = self.container(id)?;
        if !self.known(&container)?.is_running() {
            return Ok(());
        }
        let Some(shim) = self.existing_shim(&container.record.spec.task_id).await? else {
            return self.bury(&container, "the container's shim was killed").await;
        };
        match shim.call(Call::Kill { container: id.to_owned(), signal }).await {
            Ok(_) => Ok(()),
            Err(error) if error.is(RefusalKind::NoSuchContainer) || matches!(error, CallError::Gone) => Ok(()),
            Err(error) => Err(RuntimeError::Unavailable(format!("signalling container {id}: {}", error.message()))),
        }
    }

    pub(super) async fn stop(self: &Arc<Self>, id: &str, timeout: Duration) -> RuntimeResult<ContainerState> {
        let container = self.container(id)?;
        let spec = &container.record.spec;
        let wanted = spec.stop_signal.as_deref().or(container.record.image.stop_signal.as_deref());
        self.kill(id, stop_signal(wanted)).await?;
        if !self.wait_for_end(&container, timeout).await? {
            self.kill(id, Signal::SIGKILL as i32).await?;
            if !self.wait_for_end(&container, KILL_PATIENCE).await? {
                return Err(RuntimeError::Unavailable(format!("container {} can not be killed", spec.name)));
            }
        }
        self.state(&container)
    }

    /// Waits until the container does not run; false when it still does after `timeout`.
    async fn wait_for_end(&self, container: &Container, timeout: Duration) -> RuntimeResult<bool> {
        let mut ended = container.ended.subscribe();
        let mut over = self.seams.clock.sleep(timeout);
        loop {
            ended.mark_unchanged();
            // Its network is given back first: what follows a stop may use its ports.
            let known = self.known(container)?;
            if !known.is_running() && self.network_record(&container.record.id)?.is_none() {
                return Ok(true);
            }
            tokio::select! {
                _ = ended.changed() => {}
                () = &mut over => return Ok(!known.is_running()),
            }
        }
    }

    pub(super) async fn exec(
        self: &Arc<Self>,
        id: &str,
        command: Vec<String>,
        timeout: Duration,
    ) -> RuntimeResult<(i32, String)> {
        let container = self.container(id)?;
        let not_running = || RuntimeError::Start(format!("container {id} does not run"));
        let shim = self.existing_shim(&container.record.spec.task_id).await?.ok_or_else(not_running)?;
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        match shim.call(Call::Exec { container: id.to_owned(), command, timeout_ms }).await {
            Ok(Reply::Executed { exit_code, output }) => Ok((exit_code, output)),
            Ok(other) => Err(RuntimeError::Unavailable(format!("the shim answered {other:?} to a command"))),
            Err(error) => Err(RuntimeError::Start(error.message())),
        }
    }

    pub(super) async fn remove(self: &Arc<Self>, id: &str) -> RuntimeResult<()> {
        let Ok(container) = self.container(id) else { return Ok(()) };
        let _changing = container.changing.lock().await;
        let known = self.known(&container)?;
        match self.existing_shim(&container.record.spec.task_id).await? {
            Some(shim) => self.delete_in_shim(&shim, id).await?,
            None if known.is_running() => self.bury(&container, "removed").await?,
            None => {}
        }
        self.give_network_back(id).await?;
        let dir = self.layout.container(id);
        // The record first: a directory without one is swept, whatever else is left of it.
        remove_file(&dir.record()).map_err(failed("removing a container's record"))?;
        locked(&self.containers).remove(id);
        container.ended.send_modify(|ends| *ends += 1);
        let path = dir.path().to_owned();
        let shown = path.display().to_string();
        super::blocking(move || remove_dir(&path).map_err(failed(format!("removing {shown}")))).await
    }

    async fn delete_in_shim(&self, shim: &ShimClient, id: &str) -> RuntimeResult<()> {
        match shim.call(Call::Delete { container: id.to_owned() }).await {
            // A shim without containers ends: it may do so before it has answered.
            Ok(_) | Err(CallError::Gone) => Ok(()),
            Err(error) => Err(RuntimeError::Unavailable(format!("removing container {id}: {}", error.message()))),
        }
    }

    pub(super) async fn cleanup(self: &Arc<Self>) -> RuntimeResult<()> {
        let ids: Vec<String> = self.all_containers()?.iter().map(|container| container.record.id.clone()).collect();
        let mut first_error = None;
        for id in ids {
            if let Err(error) = self.remove(&id).await {
                tracing::warn!(container = id, %error, "could not remove a container");
                first_error.get_or_insert(error);
            }
        }
        // Made anew by the next container that needs it.
        match self.network.lock().await.take() {
            Some(network) => network.cleanup().await?,
            None => longshore_net::Network::remove_leftovers(&self.root_id).await?,
        }
        let cgroup = root_cgroup(&self.root_id);
        let until = self.seams.clock.monotonic() + KILL_PATIENCE;
        self.hierarchies.kill(&cgroup);
        while let Err(error) = self.hierarchies.remove(&cgroup) {
            if self.seams.clock.monotonic() > until {
                return Err(failed(format_args!("removing the cgroup {cgroup}"))(error));
            }
            self.hierarchies.kill(&cgroup);
            self.seams.clock.sleep(Duration::from_millis(5)).await;
        }
        let shims = || -> io::Result<()> {
            for entry in fs::read_dir(self.layout.shims())? {
                remove_file(&entry?.path())?;
            }
            Ok(())
        };
        shims().map_err(failed("removing what is left of shims"))?;
        let volumes = self.layout.volumes();
        remove_dir(&volumes).and_then(|()| create_dir(&volumes)).map_err(failed("removing volumes"))?;
        remove_file(&self.layout.network()).map_err(failed("removing the record of the network"))?;
        first_error.map_or(Ok(()), Err)
    }
}

/// What a container's network is made of.
enum Attached {
    Bridge(Attachment),
    Loopback(std::os::fd::OwnedFd),
    /// The host's, or another container's.
    Other,
}

/// The number of a signal named as Docker does: `SIGTERM`, `TERM` or `15`; SIGTERM when it is none.
fn stop_signal(name: Option<&str>) -> i32 {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Signal::SIGTERM as i32 };
    if let Ok(number) = name.parse::<i32>() {
        return number;
    }
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    format!("SIG{bare}").parse::<Signal>().map_or(Signal::SIGTERM as i32, |signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_signals_are_named_as_docker_names_them() {
        for (name, number) in [("SIGTERM", 15), ("term", 15), ("SIGQUIT", 3), ("9", 9), ("", 15), ("nonsense", 15)] {
            assert_eq!(stop_signal(Some(name)), number, "{name}");
        }
        assert_eq!(stop_signal(None), 15);
    }
}
