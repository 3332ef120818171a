//! The shim's loop.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use longshore_seams::{Clock, SystemClock};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::exec::{self, Executing};
use super::health::Monitor;
use super::output::Output;
use super::start::{Reservation, Starter, reserve};
use super::{ShimArguments, rootfs};
use crate::oci::cgroups::Hierarchies;
use crate::oci::layout::{Layout, read_record, write_record};
use crate::oci::log::LogWriter;
use crate::oci::protocol::{
    Answer, Call, Hello, Line, MAX_LINE, Notice, NoticeKind, Refusal, RefusalKind, Reply, Request, StartNetwork,
    VERSION, encode,
};
use crate::oci::record::{ContainerRecord, ExitRecord, HealthRecord};

/// Most clients at once: the runtime, and somebody who looks.
const MAX_CLIENTS: usize = 16;
/// How long a group's last processes may take to be gone.
const GROUP_PATIENCE: Duration = Duration::from_secs(2);

type ClientId = u64;

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
}

/// A container of the task.
#[derive(Debug)]
struct Container {
    /// While it runs.
    pid: Option<Pid>,
    cgroup: String,
    outputs: Vec<Output>,
    log: Option<LogWriter>,
    /// Stays open by being held.
    stdin: Option<OwnedFd>,
    health: Option<Monitor>,
    /// How it ended.
    exit: Option<ExitRecord>,
    /// Who waits for its deletion.
    deleting: Vec<(ClientId, u64)>,
}

#[derive(Debug)]
enum Requester {
    HealthCheck,
    Client(ClientId, u64),
}

#[derive(Debug)]
struct Command {
    container: String,
    executing: Executing,
    tail: Vec<u8>,
    /// Whether its output goes on.
    open: bool,
    deadline: Duration,
    requester: Requester,
}

/// What a polled descriptor is.
#[derive(Clone, Debug)]
enum Source {
    Children,
    Listener,
    Client(ClientId),
    Output(String, usize),
    Command(usize),
}

#[derive(Debug)]
pub(super) struct Shim {
    arguments: ShimArguments,
    layout: Layout,
    hierarchies: Hierarchies,
    clock: SystemClock,
    listener: UnixListener,
    children: OwnedFd,
    clients: BTreeMap<ClientId, Client>,
    next_client: ClientId,
    containers: BTreeMap<String, Container>,
    reserved: BTreeMap<String, Vec<Reservation>>,
    commands: Vec<Command>,
    /// Groups that still had a dying process when they were to be removed, and when to give up.
    dying_groups: Vec<(String, Duration)>,
    /// Had a container at some time.
    used: bool,
}

impl Shim {
    pub(super) fn new(
        arguments: ShimArguments,
        layout: Layout,
        listener: UnixListener,
        children: OwnedFd,
        first: UnixStream,
    ) -> io::Result<Self> {
        let mut shim = Self {
            arguments,
            layout,
            hierarchies: Hierarchies::discover()?,
            clock: SystemClock::new(),
            listener,
            children,
            clients: BTreeMap::new(),
            next_client: 0,
            containers: BTreeMap::new(),
            reserved: BTreeMap::new(),
            commands: Vec::new(),
            dying_groups: Vec::new(),
            used: false,
        };
        shim.welcome(first);
        Ok(shim)
    }

    /// Serves until the task has no container left.
    pub(super) fn serve(mut self) -> io::Result<()> {
        while !self.is_done() {
            let ready = self.wait()?;
            for source in ready {
                self.handle(source);
            }
            self.due();
        }
        self.hierarchies.remove_if_empty(&format!("{}/{}", self.root_cgroup(), self.arguments.task));
        Ok(())
    }

    fn is_done(&self) -> bool {
        let unanswered = self.clients.values().any(|client| !client.output.is_empty());
        let idle = self.containers.is_empty() && self.dying_groups.is_empty() && !unanswered;
        idle && (self.clients.is_empty() || (self.used && self.reserved.is_empty()))
    }

    fn root_cgroup(&self) -> String {
        crate::oci::root_cgroup(&self.arguments.root_id)
    }

    /// Waits for something to happen.
    fn wait(&self) -> io::Result<Vec<Source>> {
        let (mut sources, mut polled) = (Vec::new(), Vec::new());
        // Outputs first: what a container wrote is in its log before its end is known.
        for (id, container) in &self.containers {
            for (index, output) in container.outputs.iter().enumerate().filter(|(_, output)| !output.has_ended()) {
                sources.push(Source::Output(id.clone(), index));
                polled.push(PollFd::from_borrowed_fd(output.fd(), PollFlags::IN));
            }
        }
        for (id, client) in &self.clients {
            let writing = if client.output.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            sources.push(Source::Client(*id));
            polled.push(PollFd::new(&client.stream, PollFlags::IN | writing));
        }
        for (index, command) in self.commands.iter().enumerate() {
            let output: BorrowedFd<'_> = command.executing.output.as_fd();
            if command.open {
                sources.push(Source::Command(index));
                polled.push(PollFd::from_borrowed_fd(output, PollFlags::IN));
            }
        }
        sources.extend([Source::Listener, Source::Children]);
        polled.push(PollFd::new(&self.listener, PollFlags::IN));
        polled.push(PollFd::new(&self.children, PollFlags::IN));
        let timeout = self.next_deadline().map(|deadline| deadline.saturating_sub(self.clock.monotonic()));
        // A millisecond more than due, or the loop would turn idly.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout + Duration::from_millis(1)).ok());
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = polled.iter().map(|fd| !fd.revents().is_empty());
        let ready = sources.into_iter().zip(ready).filter(|(_, ready)| *ready);
        Ok(ready.map(|(source, _)| source).collect())
    }

    fn next_deadline(&self) -> Option<Duration> {
        let checks = self.containers.values().filter(|container| container.pid.is_some());
        let checks = checks.filter_map(|container| container.health.as_ref()?.due());
        let commands = self.commands.iter().map(|command| command.deadline);
        let groups = (!self.dying_groups.is_empty()).then(|| self.clock.monotonic() + Duration::from_millis(5));
        checks.chain(commands).chain(groups).min()
    }

    fn handle(&mut self, source: Source) {
        match source {
            Source::Children => self.reap(),
            Source::Listener => {
                while let Ok((stream, _)) = self.listener.accept() {
                    if stream.set_nonblocking(true).is_ok() && self.clients.len() < MAX_CLIENTS {
                        self.welcome(stream);
                    }
                }
            }
            Source::Client(id) => self.converse(id),
            Source::Output(id, index) => self.copy_output(&id, index),
            Source::Command(index) => {
                if let Some(command) = self.commands.get_mut(index)
                    && exec::read_tail(&command.executing.output, &mut command.tail)
                {
                    command.open = false;
                }
            }
        }
    }

    fn welcome(&mut self, stream: UnixStream) {
        let hello = Hello { version: VERSION, pid: std::process::id(), task: self.arguments.task.clone() };
        let mut output = encode(&hello);
        // What happened before somebody looked.
        for (id, container) in &self.containers {
            let notice = |kind| encode(&Line::Notice(Notice { container: id.clone(), kind }));
            output.extend(notice(NoticeKind::Started));
            output.extend(container.exit.clone().map(|exit| notice(NoticeKind::Exited(exit))).unwrap_or_default());
        }
        let client = Client { stream, input: Vec::new(), output };
        self.next_client += 1;
        let id = self.next_client;
        self.clients.insert(id, client);
        self.send(id);
    }

    /// Reads requests and writes what is left of answers.
    fn converse(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let mut buffer = [0; 8192];
        loop {
            match client.stream.read(&mut buffer) {
                Ok(0) => {
                    self.clients.remove(&id);
                    return;
                }
                Ok(count) => client.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.clients.remove(&id);
                    return;
                }
            }
        }
        if client.input.len() > MAX_LINE {
            self.clients.remove(&id);
            return;
        }
        while let Some(line) = self.clients.get_mut(&id).and_then(Client::line) {
            self.request(id, &line);
        }
        self.send(id);
    }

    fn request(&mut self, client: ClientId, line: &[u8]) {
        let bad = |message: String| Refusal { kind: RefusalKind::BadRequest, message };
        match serde_json::from_slice::<Request>(line) {
            Ok(request) if request.version != VERSION => {
                let message = format!("this shim speaks version {VERSION}, not {}", request.version);
                self.answer(client, request.id, Err(bad(message)));
            }
            Ok(request) => {
                if let Some(result) = self.call(client, request.id, request.call) {
                    self.answer(client, request.id, result);
                }
            }
            Err(error) => {
                // The id and the version may still be readable.
                let id = serde_json::from_slice::<serde_json::Value>(line).ok().and_then(|value| value["id"].as_u64());
                self.answer(client, id.unwrap_or(0), Err(bad(error.to_string())));
            }
        }
    }

    /// Does what is asked; none when the answer comes later.
    fn call(&mut self, client: ClientId, request: u64, call: Call) -> Option<Result<Reply, Refusal>> {
        let result = match call {
            Call::Ping => Ok(Reply::Done),
            Call::List => {
                let running = self.containers.iter().filter(|(_, container)| container.pid.is_some());
                Ok(Reply::Containers(running.map(|(id, _)| id.clone()).collect()))
            }
            Call::Reserve { container, ports } => match reserve(&ports) {
                Ok(reserved) => {
                    self.reserved.insert(container, reserved);
                    Ok(Reply::Done)
                }
                Err((port, _)) => {
                    let message = format!("{}/{}", port.host_port, port.protocol);
                    Err(Refusal { kind: RefusalKind::PortInUse, message })
                }
            },
            Call::Start { container, network } => self.start(&container, network.as_ref()),
            Call::Kill { container, signal } => self.kill(&container, signal),
            Call::Exec { container, command, timeout_ms } => {
                let requester = Requester::Client(client, request);
                match self.exec(&container, &command, Duration::from_millis(timeout_ms), requester) {
                    Ok(()) => return None,
                    Err(refusal) => Err(refusal),
                }
            }
            Call::Delete { container } => {
                self.reserved.remove(&container);
                self.used = true;
                let Some(found) = self.containers.get_mut(&container) else { return Some(Ok(Reply::Done)) };
                if let Some(pid) = found.pid {
                    // It may be ending by itself.
                    let _ = kill(pid, Signal::SIGKILL);
                    found.deleting.push((client, request));
                    return None;
                }
                self.containers.remove(&container);
                Ok(Reply::Done)
            }
        };
        Some(result)
    }

    fn start(&mut self, id: &str, network: Option<&StartNetwork>) -> Result<Reply, Refusal> {
        let refuse = |message: String| Refusal { kind: RefusalKind::Start, message };
        if self.containers.get(id).is_some_and(|container| container.pid.is_some()) {
            return Ok(Reply::Done);
        }
        let dir = self.layout.container(id);
        let record: ContainerRecord = read_record(&dir.record())
            .map_err(|error| refuse(error.to_string()))?
            .ok_or_else(|| refuse(format!("container {id} has no record")))?;
        let root_cgroup = self.root_cgroup();
        let running = self.containers.iter().filter_map(|(id, container)| Some((id.clone(), container.pid?))).collect();
        let starter = Starter {
            layout: &self.layout,
            hierarchies: &self.hierarchies,
            exe: &self.arguments.exe,
            root_cgroup: &root_cgroup,
            running,
        };
        let started = starter.start(&record, network, self.clock.now());
        let started = started.map_err(|message| {
            self.reserved.remove(id);
            refuse(message)
        })?;
        let health = record.spec.health_check.as_ref();
        let container = Container {
            pid: Some(started.pid),
            cgroup: started.record.cgroup,
            outputs: started.outputs,
            log: started.log,
            stdin: started.stdin,
            health: health.and_then(|check| Monitor::new(check, self.clock.monotonic())),
            exit: None,
            deleting: Vec::new(),
        };
        self.containers.insert(id.to_owned(), container);
        self.used = true;
        self.notify(id, NoticeKind::Started);
        Ok(Reply::Done)
    }

    fn kill(&mut self, id: &str, signal: i32) -> Result<Reply, Refusal> {
        let refusal = |kind, message: String| Refusal { kind, message };
        let Some(container) = self.containers.get(id) else {
            return Err(refusal(RefusalKind::NoSuchContainer, format!("no such container: {id}")));
        };
        let signal = Signal::try_from(signal)
            .map_err(|_| refusal(RefusalKind::BadRequest, format!("there is no signal {signal}")))?;
        match container.pid.map(|pid| kill(pid, signal)) {
            // Ended already: nothing is left to be signalled.
            None | Some(Ok(()) | Err(Errno::ESRCH)) => Ok(Reply::Done),
            Some(Err(error)) => Err(refusal(RefusalKind::Failed, error.desc().to_owned())),
        }
    }

    fn exec(&mut self, id: &str, command: &[String], timeout: Duration, requester: Requester) -> Result<(), Refusal> {
        let refusal = |kind, message: String| Refusal { kind, message };
        let Some((pid, container)) = self.containers.get(id).and_then(|container| Some((container.pid?, container)))
        else {
            return Err(refusal(RefusalKind::NoSuchContainer, format!("container {id} does not run")));
        };
        let bundle = self.layout.container(id).bundle();
        let executing = exec::start(&self.hierarchies, &bundle, &container.cgroup, pid, command)
            .map_err(|error| refusal(RefusalKind::Failed, error.to_string()))?;
        let deadline = self.clock.monotonic() + timeout;
        self.commands.push(Command {
            container: id.to_owned(),
            executing,
            tail: Vec::new(),
            open: true,
            deadline,
            requester,
        });
        Ok(())
    }

    fn answer(&mut self, client: ClientId, id: u64, result: Result<Reply, Refusal>) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.output.extend(encode(&Line::Answer(Answer { id, result })));
        }
        self.send(client);
    }

    fn notify(&mut self, container: &str, kind: NoticeKind) {
        let line = encode(&Line::Notice(Notice { container: container.to_owned(), kind }));
        let clients: Vec<ClientId> = self.clients.keys().copied().collect();
        for id in clients {
            if let Some(client) = self.clients.get_mut(&id) {
                client.output.extend_from_slice(&line);
            }
            self.send(id);
        }
    }

    /// Writes what the client takes. One that takes nothing for long is left.
    fn send(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        while !client.output.is_empty() {
            match client.stream.write(&client.output) {
                Ok(count) => drop(client.output.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && client.output.len() <= MAX_LINE => return,
                Err(_) => {
                    self.clients.remove(&id);
                    return;
                }
            }
        }
    }

    fn copy_output(&mut self, id: &str, index: usize) {
        let now = self.clock.now();
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(output) = container.outputs.get_mut(index) else { return };
        match output.copy(container.log.as_mut(), now) {
            Ok(_) => {}
            Err(error) => {
                // A full disk must not stop the container: what it writes from now on is lost.
                eprintln!("longshore shim: container {id}: its output is lost from now on: {error}");
                container.log = None;
            }
        }
    }

    fn reap(&mut self) {
        let mut drain = [0; 64];
        while rustix::io::read(&self.children, &mut drain).is_ok_and(|count| count == drain.len()) {}
        loop {
            let (pid, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            let ended = self.containers.iter().find(|(_, container)| container.pid == Some(pid));
            if let Some(id) = ended.map(|(id, _)| id.clone()) {
                self.container_ended(&id, code);
            } else if let Some(index) = self.commands.iter().position(|command| command.executing.pid == pid) {
                let command = self.commands.remove(index);
                self.command_ended(command, code);
            }
        }
    }

    fn container_ended(&mut self, id: &str, code: i32) {
        let now = self.clock.now();
        let dir = self.layout.container(id);
        let Some(container) = self.containers.get_mut(id) else { return };
        container.pid = None;
        container.health = None;
        let oom_killed = self.hierarchies.oom_killed(&container.cgroup);
        // A container in the host's PID namespace may leave processes behind.
        self.hierarchies.kill(&container.cgroup);
        for mut output in std::mem::take(&mut container.outputs) {
            // Until the pipe is empty; its other end is closed, or held by one who was just killed.
            for _ in 0..64 {
                match output.copy(container.log.as_mut(), now) {
                    Ok(false) => {}
                    Ok(true) | Err(_) => break,
                }
            }
            if let Err(error) = output.flush(container.log.as_mut(), now) {
                eprintln!("longshore shim: container {id}: the end of its output is lost: {error}");
            }
        }
        container.log = None;
        container.stdin = None;
        let (cgroup, deleting) = (container.cgroup.clone(), std::mem::take(&mut container.deleting));
        self.reserved.remove(id);
        let exit = ExitRecord { exit_code: Some(code), oom_killed, error: None, finished_at: now };
        container.exit = Some(exit.clone());
        if let Err(error) = write_record(&dir.exit(), &exit) {
            eprintln!("longshore shim: container {id}: its exit code {code} could not be written: {error}");
        }
        self.notify(id, NoticeKind::Exited(exit));
        rootfs::unmount_all(&dir);
        self.dying_groups.push((cgroup, self.clock.monotonic() + GROUP_PATIENCE));
        self.bury_groups();
        if !deleting.is_empty() {
            self.containers.remove(id);
        }
        for (client, request) in deleting {
            self.answer(client, request, Ok(Reply::Done));
        }
    }

    /// Removes the groups whose last process is gone.
    fn bury_groups(&mut self) {
        let now = self.clock.monotonic();
        for (cgroup, until) in std::mem::take(&mut self.dying_groups) {
            if self.hierarchies.remove(&cgroup).is_err() && now < until {
                self.hierarchies.kill(&cgroup);
                self.dying_groups.push((cgroup, until));
            }
        }
    }

    fn command_ended(&mut self, mut command: Command, code: i32) {
        exec::read_tail(&command.executing.output, &mut command.tail);
        match command.requester {
            Requester::HealthCheck => self.check_ended(&command.container, code == 0),
            Requester::Client(client, request) => {
                let output = String::from_utf8_lossy(&command.tail).into_owned();
                self.answer(client, request, Ok(Reply::Executed { exit_code: code, output }));
            }
        }
    }

    fn check_ended(&mut self, id: &str, passed: bool) {
        let now = self.clock.monotonic();
        let container = self.containers.get_mut(id);
        let Some(status) = container.and_then(|container| container.health.as_mut()?.ended(passed, now)) else {
            return;
        };
        let health = HealthRecord { status, at: self.clock.now() };
        if let Err(error) = write_record(&self.layout.container(id).health(), &health) {
            eprintln!("longshore shim: container {id}: its health could not be written: {error}");
        }
        self.notify(id, NoticeKind::Health(status));
    }

    /// Does what is due: begins health checks, ends commands that take too long, removes groups.
    fn due(&mut self) {
        let now = self.clock.monotonic();
        let due = |container: &Container| {
            container.pid.is_some() && container.health.as_ref().and_then(Monitor::due).is_some_and(|due| due <= now)
        };
        let checks: Vec<String> =
            self.containers.iter().filter(|(_, container)| due(container)).map(|(id, _)| id.clone()).collect();
        for id in checks {
            let Some(monitor) = self.containers.get_mut(&id).and_then(|container| container.health.as_mut()) else {
                continue;
            };
            monitor.begun();
            let (command, timeout) = (monitor.command().to_vec(), monitor.timeout());
            if self.exec(&id, &command, timeout, Requester::HealthCheck).is_err() {
                self.check_ended(&id, false);
            }
        }
        for command in self.commands.iter_mut().filter(|command| command.deadline <= now) {
            // Reaped like any other; 137 is no success.
            let _ = kill(command.executing.pid, Signal::SIGKILL);
            command.deadline = now + Duration::from_secs(1);
        }
        self.bury_groups();
    }
}

impl Client {
    /// The next whole line of its input.
    fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.input.iter().position(|byte| *byte == b'\n')?;
        let mut line: Vec<u8> = self.input.drain(..=end).collect();
        line.pop();
        Some(line)
    }
}
