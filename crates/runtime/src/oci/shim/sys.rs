//! The calls that Rust cannot check. Sound because a shim has one thread.

#![expect(unsafe_code, reason = "fork and signal handlers have no safe form; a shim is single-threaded")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{ForkResult, Pid, fork, pipe2, setsid};

/// Write end of the pipe that tells the main loop of ended children.
static CHILD_ENDED: AtomicI32 = AtomicI32::new(-1);

/// Leaves the parent: goes on in a child of its own session, whose parent is init (or a subreaper).
pub(super) fn daemonize() -> io::Result<()> {
    // SAFETY: one thread, so the child may do anything the parent might.
    match unsafe { fork() }? {
        // SAFETY: ends without running destructors that belong to the child now.
        ForkResult::Parent { .. } => unsafe { libc::_exit(0) },
        ForkResult::Child => {
            setsid()?;
            Ok(())
        }
    }
}

/// Runs `work` in a child process, which ends with the code it answers.
pub(super) fn fork_child(work: impl FnOnce() -> i32) -> io::Result<Pid> {
    // SAFETY: one thread, so the child may do anything the parent might.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = work();
            // SAFETY: ends without running destructors of what the parent goes on using.
            unsafe { libc::_exit(code) }
        }
    }
}

extern "C" fn child_ended(_signal: libc::c_int) {
    // SAFETY: write is async-signal-safe; a full pipe is as good as one byte more. errno is put back, because
    // the interrupted code may be about to read it.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        libc::write(CHILD_ENDED.load(Ordering::Relaxed), [0_u8].as_ptr().cast(), 1);
        *errno = before;
    }
}

/// A descriptor that becomes readable when a child has ended. To be called once.
///
/// A handler, not a blocked signal: a mask would be inherited by every container.
pub(super) fn watch_children() -> io::Result<OwnedFd> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    CHILD_ENDED.store(write.as_raw_fd(), Ordering::Relaxed);
    // The handler has it for as long as the process lives.
    std::mem::forget(write);
    let flags = SaFlags::SA_RESTART | SaFlags::SA_NOCLDSTOP;
    let action = SigAction::new(SigHandler::Handler(child_ended), flags, SigSet::empty());
    // SAFETY: the handler does nothing that is not async-signal-safe.
    unsafe { sigaction(Signal::SIGCHLD, &action) }?;
    Ok(read)
}

/// Gives all signals their usual meaning, before another program runs: neither what Rust's start-up did to them nor
/// what the runtime was started with is a container's business.
pub(super) fn restore_signals() {
    for signal in Signal::iterator() {
        // SAFETY: the default action needs no handler. KILL and STOP refuse, and have no other meaning.
        let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) };
    }
    // No mask is more than the empty one; it cannot fail.
    let _ = SigSet::empty().thread_set_mask();
}

/// Takes over a descriptor that was just received by a message.
pub(super) fn own(descriptor: i32) -> OwnedFd {
    // SAFETY: the kernel made it for this message, and the message is dropped without using it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}
