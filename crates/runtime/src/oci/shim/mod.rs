//! The shim: one small process a task that has the task's containers as its children.
//!
//! It reaps them, keeps how they ended on disk, copies their output to their logs, checks their health, and answers
//! the runtime on a socket. It has one thread and one loop. Whatever kills the runtime does not touch it; when it is
//! killed itself, its containers die with it and the kernel takes their mounts (which are in a namespace of the shim's
//! own), network namespaces and links away.
//!
//! Only this module links libcontainer.

mod capabilities;
pub(crate) mod config;
mod exec;
mod health;
mod output;
pub(crate) mod rootfs;
mod seccomp;
mod serve;
pub(crate) mod start;
mod sys;
mod user;

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use nix::sched::{CloneFlags, unshare};

use super::layout::{Layout, remove_file};

/// What a shim is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShimArguments {
    pub(crate) root: PathBuf,
    pub(crate) root_id: String,
    /// [`start::task_key`] of its task.
    pub(crate) task: String,
    /// The executable itself, for init processes.
    pub(crate) exe: PathBuf,
}

impl ShimArguments {
    pub(crate) fn to_arguments(&self) -> Vec<OsString> {
        vec![
            "shim".into(),
            self.root.clone().into(),
            self.root_id.clone().into(),
            self.task.clone().into(),
            self.exe.clone().into(),
        ]
    }

    /// From what comes after `shim`.
    fn parse(arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        let mut arguments = arguments;
        let mut next = || arguments.next();
        let (root, root_id, task, exe) = (next()?, next()?, next()?, next()?);
        let text = |value: OsString| value.into_string().ok();
        Some(Self { root: root.into(), root_id: text(root_id)?, task: text(task)?, exe: exe.into() })
    }
}

/// Runs as a task's shim. `arguments` are those after `shim`; must be called before any thread exists.
///
/// Its standard input is a socket to the runtime that started it.
pub fn shim_main(arguments: impl Iterator<Item = OsString>) -> ! {
    let Some(arguments) = ShimArguments::parse(arguments) else {
        eprintln!("usage: longshore shim ROOT ROOT-ID TASK EXECUTABLE (started by the embedded runtime only)");
        std::process::exit(2);
    };
    match run(arguments) {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("longshore shim: {error}");
            std::process::exit(1);
        }
    }
}

fn run(arguments: ShimArguments) -> io::Result<()> {
    let layout = Layout::new(&arguments.root);
    let first = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    first.set_nonblocking(true)?;
    sys::daemonize()?;
    std::env::set_current_dir("/")?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(layout.shims().join(format!("{}.lock", arguments.task)))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(io::Error::other("the task has a shim already")),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    private_mounts()?;
    nix::sys::prctl::set_child_subreaper(true)?;
    let _ = nix::sys::prctl::set_name(c"longshore-shim");
    let children = sys::watch_children()?;
    let socket = layout.shims().join(format!("{}.sock", arguments.task));
    remove_file(&socket)?;
    let directory = File::open(layout.shims())?;
    let short = format!("{}/{}.sock", super::short_path(&directory), arguments.task);
    let listener = UnixListener::bind(short)?;
    listener.set_nonblocking(true)?;
    // Told to those who watch the directory, now that the socket can be connected to.
    writeln!(&lock, "{}", std::process::id())?;
    let result = serve::Shim::new(arguments, layout, listener, children, first)?.serve();
    // A cleanup may have been faster.
    remove_file(&socket)?;
    drop(lock);
    result
}

/// A mount namespace of its own: what the host mounts still arrives, what is mounted here stays here.
fn private_mounts() -> io::Result<()> {
    use rustix::mount::{MountPropagationFlags, mount_change};
    unshare(CloneFlags::CLONE_NEWNS)?;
    Ok(mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?)
}
