//! The init process of containers that ask for one: reaps orphans, forwards signals, ends with its child's code.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, execvp, fork, setpgid};

/// Exit codes of shells for programs that are not found, or not executable.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;

/// Runs as a container's first process. `arguments` are those after `init`: `-- PROGRAM ARGUMENT…`. Must be called
/// before any thread exists.
pub fn init_main(arguments: impl Iterator<Item = OsString>) -> ! {
    let words: Result<Vec<CString>, _> =
        arguments.skip_while(|word| word == "--").map(|word| CString::new(word.into_vec())).collect();
    let code = match words {
        Ok(words) if !words.is_empty() => run(&words).unwrap_or_else(|error| {
            eprintln!("init: {error}");
            1
        }),
        _ => {
            eprintln!("usage: longshore init -- PROGRAM ARGUMENT… (first process of a container)");
            2
        }
    };
    std::process::exit(code)
}

fn run(words: &[CString]) -> nix::Result<i32> {
    let all = SigSet::all();
    // They are already, when the shim has started it.
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&all), None)?;
    let child = spawn(words)?;
    loop {
        match all.wait()? {
            Signal::SIGCHLD => {
                if let Some(code) = reap(child) {
                    return Ok(code);
                }
            }
            // Of init's own making, or meant for it alone.
            Signal::SIGTTIN | Signal::SIGTTOU => {}
            // A child that has just ended needs no signal; its end comes next.
            signal => drop(kill(child, signal)),
        }
    }
}

#[expect(unsafe_code, reason = "fork has no safe form; init has one thread")]
fn spawn(words: &[CString]) -> nix::Result<Pid> {
    // SAFETY: one thread, so the child may do anything the parent might.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            // A group of its own, as a shell would give it; without a terminal nothing depends on it.
            let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
            // SAFETY: the default action needs no handler.
            unsafe { nix::sys::signal::signal(Signal::SIGPIPE, nix::sys::signal::SigHandler::SigDfl) }?;
            let Err(error) = execvp(&words[0], words);
            eprintln!("init: {}: {}", words[0].to_string_lossy(), error.desc());
            let code = if error == nix::errno::Errno::ENOENT { NOT_FOUND } else { NOT_EXECUTABLE };
            std::process::exit(code)
        }
    }
}

/// Reaps all ended processes; answers the code of `child` when it is among them.
fn reap(child: Pid) -> Option<i32> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => code = Some(status),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => code = Some(128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(_) => return code,
            Ok(_) => {}
        }
    }
}
