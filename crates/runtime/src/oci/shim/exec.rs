//! Commands in a running container.
//!
//! libcontainer can do this too, but leaves the seccomp profile away and takes five times as long: here a child enters
//! the container's groups and namespaces, and its child gives up everything that the container's first process gave up.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::linux::LinuxSyscall;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};
use nix::sys::wait::waitpid;
use nix::unistd::{
    Gid, Pid, Uid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, execvpe, pipe2, setgroups, setresgid, setresuid, setsid,
};

use super::sys;
use crate::oci::cgroups::Hierarchies;

/// A command that runs in a container.
#[derive(Debug)]
pub(super) struct Executing {
    pub(super) pid: Pid,
    /// What it writes; does not block.
    pub(super) output: OwnedFd,
}

/// Exit code of a command that could not be run, as shells give it.
const CANNOT_RUN: i32 = 126;

/// Starts `command` in the container whose first process is `init`, with its user, environment and confinement.
pub(super) fn start(
    hierarchies: &Hierarchies,
    bundle: &Path,
    cgroup: &str,
    init: Pid,
    command: &[String],
) -> io::Result<Executing> {
    let spec = Spec::load(bundle.join("config.json")).map_err(io::Error::other)?;
    let namespaces = namespaces(init)?;
    let (pid_read, pid_write) = pipe2(OFlag::O_CLOEXEC)?;
    let (output, written) = pipe2(OFlag::O_CLOEXEC)?;
    let enter = || -> io::Result<()> {
        hierarchies.enter(cgroup)?;
        for (namespace, kind) in &namespaces {
            setns(namespace, *kind)?;
        }
        // The PID namespace takes hold of children only.
        let child = sys::fork_child(|| run(&spec, command, &written))?;
        File::from(pid_write.try_clone()?).write_all(&child.as_raw().to_ne_bytes())
    };
    let middle = sys::fork_child(|| match enter() {
        Ok(()) => 0,
        Err(error) => {
            // Nobody else is there to be told.
            let _ = writeln!(File::from(written.try_clone().unwrap_or_else(|_| std::process::exit(1))), "{error}");
            1
        }
    })?;
    drop((pid_write, written));
    let mut pid = [0; 4];
    let entered = File::from(pid_read).read_exact(&mut pid);
    waitpid(middle, None)?;
    if entered.is_err() {
        let mut message = String::new();
        File::from(output).read_to_string(&mut message)?;
        return Err(io::Error::other(format!("entering the container: {}", message.trim())));
    }
    rustix::io::ioctl_fionbio(&output, true)?;
    // The middle process has ended, so the command is this process's child: it is a subreaper.
    Ok(Executing { pid: Pid::from_raw(i32::from_ne_bytes(pid)), output })
}

fn namespaces(init: Pid) -> io::Result<Vec<(File, CloneFlags)>> {
    // The mount namespace last: the paths of the others are outside.
    let kinds = [
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("net", CloneFlags::CLONE_NEWNET),
        ("pid", CloneFlags::CLONE_NEWPID),
        ("cgroup", CloneFlags::CLONE_NEWCGROUP),
        ("mnt", CloneFlags::CLONE_NEWNS),
    ];
    kinds.into_iter().map(|(name, flag)| Ok((File::open(format!("/proc/{init}/ns/{name}"))?, flag))).collect()
}

/// The command's own process; answers only when it cannot be run.
fn run(spec: &Spec, command: &[String], written: &OwnedFd) -> i32 {
    if let Err(error) = become_command(spec, command, written) {
        eprintln!("{}: {error}", command.first().map_or("", String::as_str));
    }
    CANNOT_RUN
}

fn become_command(spec: &Spec, command: &[String], written: &OwnedFd) -> io::Result<()> {
    setsid()?;
    dup2_stdin(File::open("/dev/null")?.as_fd())?;
    dup2_stdout(written)?;
    dup2_stderr(written)?;
    let process = spec.process().as_ref().ok_or_else(|| io::Error::other("the configuration has no process"))?;
    let confine = |error: &dyn std::fmt::Display| io::Error::other(error.to_string());
    chdir(process.cwd())?;
    let user = process.user();
    let groups: Vec<Gid> = user.additional_gids().iter().flatten().map(|gid| Gid::from_raw(*gid)).collect();
    setgroups(&groups)?;
    let no_new_privileges = process.no_new_privileges().unwrap_or(false);
    if no_new_privileges {
        nix::sys::prctl::set_no_new_privs()?;
    }
    // While the capability to do so is still there.
    if let Some(profile) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) {
        libcontainer::seccomp::initialize_seccomp(profile).map_err(|error| confine(&error))?;
    }
    nix::sys::prctl::set_keepcaps(true)?;
    let (gid, uid) = (Gid::from_raw(user.gid()), Uid::from_raw(user.uid()));
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    libcontainer::capabilities::reset_effective(&LinuxSyscall).map_err(|error| confine(&error))?;
    if let Some(capabilities) = process.capabilities() {
        libcontainer::capabilities::drop_privileges(capabilities, &LinuxSyscall).map_err(|error| confine(&error))?;
    }
    let text = |text: &String| CString::new(text.as_bytes());
    let arguments = command.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let environment = process.env().iter().flatten().map(text).collect::<Result<Vec<_>, _>>()?;
    let path = process.env().iter().flatten().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or("/bin");
    let program = arguments.first().ok_or_else(|| io::Error::other("no command"))?;
    sys::restore_signals();
    let mut error = nix::errno::Errno::ENOENT;
    for program in candidates(program, path)? {
        match execvpe(&program, &arguments, &environment) {
            Err(nix::errno::Errno::ENOENT) => {}
            Err(other) => error = other,
            Ok(never) => match never {},
        }
    }
    Err(error.into())
}

/// Where a program may be: itself when it is a path, else in the directories of `path`.
fn candidates(program: &CString, path: &str) -> io::Result<Vec<CString>> {
    if program.to_bytes().contains(&b'/') {
        return Ok(vec![program.clone()]);
    }
    let name = program.to_string_lossy();
    Ok(path.split(':').map(|dir| CString::new(format!("{dir}/{name}"))).collect::<Result<_, _>>()?)
}

/// Reads what is there, keeping the end; true when the output has ended.
pub(super) fn read_tail(output: &OwnedFd, tail: &mut Vec<u8>) -> bool {
    const TAIL: usize = 4096;
    let mut buffer = [0; TAIL];
    loop {
        match rustix::io::read(output, &mut buffer) {
            Ok(0) => return true,
            Ok(count) => {
                tail.extend_from_slice(&buffer[..count]);
                let surplus = tail.len().saturating_sub(TAIL);
                tail.drain(..surplus);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return false,
            Err(error) => {
                tracing::debug!(fd = output.as_raw_fd(), %error, "reading the output of a command");
                return true;
            }
        }
    }
}
