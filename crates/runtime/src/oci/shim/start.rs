//! Starting a container.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use longshore_seams::Timestamp;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, execvp, pipe2};

use super::config::{self, Circumstances};
use super::output::Output;
use super::rootfs;
use super::user::{self, Rootfs};
use crate::oci::cgroups::Hierarchies;
use crate::oci::layout::{ContainerDir, Layout, create_dir, read_record, remove_dir, write_record};
use crate::oci::log::{FILE_BYTES, LogWriter};
use crate::oci::protocol::StartNetwork;
use crate::oci::record::{ContainerRecord, NetworkRecord, StartRecord};
use crate::{LogTarget, NetworkMode, OutputStream, PortBinding, Protocol};

/// Host ports that a container keeps from other processes.
#[derive(Debug)]
#[expect(dead_code, reason = "a socket reserves its port by being open")]
pub(super) enum Reservation {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// Takes the host ports, all or none.
///
/// # Errors
/// The port that is taken, and why.
pub(super) fn reserve(ports: &[PortBinding]) -> Result<Vec<Reservation>, (PortBinding, io::Error)> {
    let one = |port: &PortBinding| {
        let address = SocketAddr::new(port.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), port.host_port);
        let socket = match port.protocol {
            // Listening, so that nobody else can: what arrives was forwarded before it comes here.
            Protocol::Tcp => TcpListener::bind(address).map(Reservation::Tcp),
            Protocol::Udp => UdpSocket::bind(address).map(Reservation::Udp),
        };
        socket.map_err(|error| (port.clone(), error))
    };
    ports.iter().map(one).collect()
}

/// A started container.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) pid: Pid,
    pub(super) outputs: Vec<Output>,
    /// Kept open for a container that wants its input open.
    pub(super) stdin: Option<OwnedFd>,
    pub(super) log: Option<LogWriter>,
    pub(super) record: StartRecord,
}

/// What starting needs of the shim.
pub(super) struct Starter<'a> {
    pub(super) layout: &'a Layout,
    pub(super) hierarchies: &'a Hierarchies,
    pub(super) exe: &'a Path,
    /// Name of the group of everything of this runtime root.
    pub(super) root_cgroup: &'a str,
    /// Host processes of the task's running containers.
    pub(super) running: BTreeMap<String, Pid>,
}

impl Starter<'_> {
    /// Makes and starts the container; on failure nothing of it is left but its directory.
    ///
    /// # Errors
    /// A sentence about what went wrong.
    pub(super) fn start(
        &self,
        record: &ContainerRecord,
        network: Option<&StartNetwork>,
        now: Timestamp,
    ) -> Result<Started, String> {
        let dir = self.layout.container(&record.id);
        let cgroup = cgroup_of(self.root_cgroup, record);
        let started = self.try_start(&dir, record, network, &cgroup, now);
        if started.is_err() {
            self.hierarchies.kill(&cgroup);
            rootfs::unmount_all(&dir);
            if let Err(error) = self.hierarchies.remove(&cgroup).and_then(|()| remove_dir(&dir.state())) {
                tracing::warn!(%error, container = record.id, "could not clean up after a failed start");
            }
        }
        started
    }

    fn try_start(
        &self,
        dir: &ContainerDir,
        record: &ContainerRecord,
        network: Option<&StartNetwork>,
        cgroup: &str,
        now: Timestamp,
    ) -> Result<Started, String> {
        let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
        // Left over from an earlier run of the same container.
        remove_dir(&dir.state()).map_err(failed("removing old state"))?;
        rootfs::mount_overlay(self.layout, dir, &record.layers).map_err(failed("mounting the root file system"))?;
        let configuration = self.configuration(dir, record, network, cgroup)?;
        std::fs::write(dir.bundle().join("config.json"), configuration.to_string())
            .map_err(failed("writing the configuration"))?;
        let log = match &record.spec.log {
            LogTarget::Capture => {
                Some(LogWriter::open(&dir.log(), FILE_BYTES).map_err(failed("opening the container's log"))?)
            }
            LogTarget::None => None,
            LogTarget::Driver(name, _) => {
                return Err(format!("log driver {name:?} is not supported by the embedded runtime"));
            }
        };
        let (pid, outputs, stdin) = run(dir, record)?;
        let record = StartRecord {
            pid: pid.as_raw(),
            started_at: now,
            cgroup: cgroup.to_owned(),
            ports: network.map(|network| network.ports.clone()).unwrap_or_default(),
            address: network.filter(|network| !network.address.is_unspecified()).map(|network| network.address),
        };
        write_record(&dir.start(), &record).map_err(failed("writing the record of the start"))?;
        Ok(Started { pid, outputs, stdin, log, record })
    }

    fn configuration(
        &self,
        dir: &ContainerDir,
        record: &ContainerRecord,
        network: Option<&StartNetwork>,
        cgroup: &str,
    ) -> Result<serde_json::Value, String> {
        let spec = &record.spec;
        let inside = Rootfs::open(&dir.rootfs()).map_err(|error| format!("opening the root file system: {error}"))?;
        let wanted = spec.user.as_deref().or(record.image.user.as_deref()).unwrap_or_default();
        let user = user::resolve(wanted, &inside.text("/etc/passwd"), &inside.text("/etc/group"))?;
        let cwd = config::working_dir(record);
        inside.create_dir_all(&cwd).map_err(|error| format!("making the working directory {cwd}: {error}"))?;
        let hostname = self.hostname(record);
        let overmounts = rootfs::overmounts(self.layout, record, &inside)?;
        let address = network.map(|network| network.address).filter(|address| !address.is_unspecified());
        let mut mounts = rootfs::write_files(self.layout, record, &hostname, address, &self.links(record)?)
            .map_err(|error| format!("writing /etc/hosts and the like: {error}"))?;
        mounts.retain(|usual| !overmounts.binds.iter().any(|own| own.target == usual.target));
        mounts.extend(overmounts.binds);
        mounts.extend(self.shared_memory(dir, record)?);
        let on = Circumstances {
            user,
            hostname,
            cgroup: cgroup.to_owned(),
            mounts,
            joined: self.joined_namespaces(record, network)?,
            hierarchies: self.hierarchies,
            exe: self.exe,
            tmpfs: overmounts.tmpfs,
        };
        config::build(record, &on)
    }

    fn hostname(&self, record: &ContainerRecord) -> String {
        let spec = &record.spec;
        let of_host = || nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
        let shared = |other: &str| {
            std::fs::read_to_string(self.layout.container(other).etc("hostname")).map(|name| name.trim().to_owned())
        };
        let name = match (&spec.hostname, &spec.network) {
            (Some(name), _) => return name.clone(),
            (None, NetworkMode::Host) if !spec.network_disabled => of_host().ok(),
            (None, NetworkMode::Container(other)) => shared(other).ok(),
            _ => None,
        };
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| record.id[..12].to_owned())
    }

    /// Names and addresses of linked containers.
    fn links(&self, record: &ContainerRecord) -> Result<Vec<(String, Ipv4Addr)>, String> {
        let mut found = Vec::new();
        for (other, alias) in &record.spec.links {
            let dir = self.layout.container(other);
            let network: Option<NetworkRecord> = read_record(&dir.network()).map_err(|error| error.to_string())?;
            let address = network
                .map(|network| network.address)
                .ok_or_else(|| format!("cannot link to a non running container: {other} as {alias}"))?;
            found.push((alias.clone(), address));
            let other: Option<ContainerRecord> = read_record(&dir.record()).map_err(|error| error.to_string())?;
            found.extend(other.map(|other| (other.spec.name, address)));
        }
        Ok(found)
    }

    fn shared_memory(&self, dir: &ContainerDir, record: &ContainerRecord) -> Result<Option<config::BindMount>, String> {
        let mount = |source: String| config::BindMount { source, target: "/dev/shm".to_owned(), read_only: false };
        match record.spec.ipc_mode.as_deref() {
            Some("none") => Ok(None),
            Some("host") => Ok(Some(mount("/dev/shm".to_owned()))),
            Some(mode) if mode.starts_with("container:") => {
                let other = mode.trim_start_matches("container:");
                Ok(Some(mount(self.layout.container(other).shm().display().to_string())))
            }
            _ => {
                rootfs::mount_shm(dir, config::shm_bytes(&record.spec.resources))
                    .map_err(|error| format!("mounting /dev/shm: {error}"))?;
                Ok(Some(mount(dir.shm().display().to_string())))
            }
        }
    }

    fn joined_namespaces(
        &self,
        record: &ContainerRecord,
        network: Option<&StartNetwork>,
    ) -> Result<BTreeMap<&'static str, String>, String> {
        let spec = &record.spec;
        let mut joined = BTreeMap::new();
        if let Some(network) = network {
            joined.insert("network", network.path.clone());
        }
        let modes = [("pid", "pid", &spec.pid_mode), ("ipc", "ipc", &spec.ipc_mode)];
        for (kind, file, mode) in modes {
            if let Some(other) = mode.as_deref().and_then(|mode| mode.strip_prefix("container:")) {
                joined.insert(kind, self.namespace_of(other, file)?);
            }
        }
        if let NetworkMode::Container(other) = &spec.network
            && !spec.network_disabled
        {
            joined.insert("network", self.namespace_of(other, "net")?);
        }
        Ok(joined)
    }

    fn namespace_of(&self, other: &str, file: &str) -> Result<String, String> {
        let pid = self.running.get(other).ok_or_else(|| {
            format!("cannot join the {file} namespace of container {other}: it does not run in the same task")
        })?;
        Ok(format!("/proc/{pid}/ns/{file}"))
    }
}

/// Group of a container: below its task's, or below the one it asks for.
pub(crate) fn cgroup_of(root_cgroup: &str, record: &ContainerRecord) -> String {
    match &record.spec.cgroup_parent {
        Some(parent) => format!("/{}/{}", parent.trim_matches('/'), record.id),
        None => format!("{root_cgroup}/{}/{}", task_key(&record.spec.task_id), record.id),
    }
}

/// A task's name in file names and group names: at most 64 harmless characters.
pub(crate) fn task_key(task_id: &str) -> String {
    let harmless = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
    let last = task_id.rsplit('/').next().unwrap_or(task_id);
    let key: String = last.chars().map(harmless).take(64).collect();
    if key.is_empty() { "_".to_owned() } else { key }
}

/// Has libcontainer make and start the container from its bundle.
fn run(dir: &ContainerDir, record: &ContainerRecord) -> Result<(Pid, Vec<Output>, Option<OwnedFd>), String> {
    let spec = &record.spec;
    let failed = |error: io::Error| format!("preparing the container's input and output: {error}");
    let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(|error| failed(error.into()));
    create_dir(&dir.state()).map_err(failed)?;
    let (error_read, error_write) = pipe()?;
    let builder = ContainerBuilder::new(record.id.clone(), SyscallType::Linux)
        .with_root_path(dir.state())
        .map_err(describe)?
        .with_executor(Command { errors: error_write.as_raw_fd() });
    let mut outputs = Vec::new();
    let mut stdin = None;
    let (builder, console) = if spec.tty {
        let console = Console::listen(dir).map_err(failed)?;
        (builder.with_console_socket(Some(console.path.clone())), Some(console))
    } else {
        let input: OwnedFd = if spec.open_stdin {
            let (read, write) = pipe()?;
            stdin = Some(write);
            read
        } else {
            File::open("/dev/null").map_err(failed)?.into()
        };
        let (out_read, out_write) = pipe()?;
        let (err_read, err_write) = pipe()?;
        for (pipe, stream) in [(out_read, OutputStream::Stdout), (err_read, OutputStream::Stderr)] {
            rustix::io::ioctl_fionbio(&pipe, true).map_err(|error| failed(error.into()))?;
            outputs.push(Output::new(pipe, stream));
        }
        (builder.with_stdin(input).with_stdout(out_write).with_stderr(err_write), None)
    };
    let mut container =
        builder.as_init(dir.bundle()).with_systemd(false).with_detach(true).build().map_err(describe)?;
    let pid = container.pid().map(|pid| Pid::from_raw(pid.as_raw())).ok_or("the container has no process")?;
    drop(error_write);
    if let Some(console) = console {
        let terminal = console.receive().map_err(failed)?;
        rustix::io::ioctl_fionbio(&terminal, true).map_err(|error| failed(error.into()))?;
        outputs.push(Output::new(terminal, OutputStream::Stdout));
    }
    container.start().map_err(describe)?;
    let mut error = String::new();
    // Ends when the program runs: the pipe is closed by its execution.
    File::from(error_read).read_to_string(&mut error).map_err(failed)?;
    if error.is_empty() { Ok((pid, outputs, stdin)) } else { Err(error) }
}

/// An error with all its causes.
fn describe(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Becomes the container's program, as the last act of its first process.
#[derive(Clone)]
struct Command {
    /// Where to write why the program cannot be run; closed by running it.
    errors: i32,
}

impl Executor for Command {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        // A shim that is killed takes its containers along: nobody would reap them or read their output.
        let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
        let args = spec.process().as_ref().and_then(|process| process.args().clone()).unwrap_or_default();
        let text = |text: &String| CString::new(text.as_bytes());
        let args: Vec<CString> =
            args.iter().map(text).collect::<Result<_, _>>().map_err(|_| ExecutorError::InvalidArg)?;
        let program = args.first().ok_or(ExecutorError::InvalidArg)?;
        super::sys::restore_signals();
        if program.as_bytes() == config::INIT_PATH.as_bytes() {
            // What is sent before our init is ready to take it waits: a container's first process never gets the others.
            let _ = SigSet::all().thread_block();
        }
        let Err(error) = execvp(program, &args);
        let name = program.to_string_lossy();
        let message = match error {
            nix::errno::Errno::ENOENT if !name.contains('/') => {
                format!("exec: {name:?}: executable file not found in $PATH")
            }
            nix::errno::Errno::ENOENT => format!("exec: {name:?}: no such file or directory"),
            nix::errno::Errno::EACCES => format!("exec: {name:?}: permission denied"),
            nix::errno::Errno::ENOEXEC => format!("exec: {name:?}: exec format error"),
            other => format!("exec: {name:?}: {}", other.desc()),
        };
        // The parent learns it from here: the process has no other way to speak.
        if let Ok(mut errors) = File::options().write(true).open(format!("/proc/self/fd/{}", self.errors)) {
            let _ = errors.write_all(message.as_bytes());
        }
        Err(ExecutorError::Other(message))
    }

    fn validate(&self, _spec: &Spec) -> Result<(), ExecutorValidationError> {
        Ok(())
    }
}

/// The socket on which libcontainer hands over a terminal.
struct Console {
    listener: UnixListener,
    path: std::path::PathBuf,
}

impl Console {
    fn listen(dir: &ContainerDir) -> io::Result<Self> {
        let path = dir.path().join("console.sock");
        crate::oci::layout::remove_file(&path)?;
        // By way of its directory's descriptor, because a socket's path must be short.
        let directory = File::open(dir.path())?;
        let short = format!("/proc/self/fd/{}/console.sock", directory.as_raw_fd());
        Ok(Self { listener: UnixListener::bind(short)?, path })
    }

    fn receive(self) -> io::Result<OwnedFd> {
        use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
        let (stream, _) = self.listener.accept()?;
        let mut byte = [0; 64];
        let mut space = nix::cmsg_space!([i32; 1]);
        let mut vectors = [IoSliceMut::new(&mut byte)];
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut vectors, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(descriptors) = control
                && let Some(descriptor) = descriptors.first()
            {
                return Ok(super::sys::own(*descriptor));
            }
        }
        Err(io::Error::other("no terminal was handed over"))
    }
}
