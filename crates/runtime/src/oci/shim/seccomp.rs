//! The system calls a container may make: what Docker's default profile allows.
//!
//! Everything not named here fails with EPERM. Groups are allowed along with the capability that their calls
//! need anyway. Names that the machine's libseccomp or architecture does not have are skipped.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// Allowed to everybody.
const ALLOWED: &str = "
    accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32
    clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
    eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate
    fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr
    flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
    ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat getcpu getcwd
    getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer
    getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid
    getresuid32 getrlimit get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid
    gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1
    inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents io_pgetevents_time64 ioprio_get
    ioprio_set io_setup io_submit ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self
    lchown lchown32 lgetxattr link linkat listen listmount listxattr listxattrat llistxattr _llseek
    lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret
    mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify
    mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal
    msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat
    _newselect open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free
    pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6
    pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg
    recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2
    restart_syscall riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo
    rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity
    sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
    sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send
    sendfile sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
    setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid
    setresuid32 setreuid setreuid32 setrlimit set_robust_list setsid setsockopt set_thread_area
    set_tid_address setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack
    signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64
    statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create
    timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
    timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate
    truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork
    vmsplice wait4 waitid waitpid write writev
    process_vm_readv process_vm_writev ptrace";

/// Allowed on one architecture only.
const ALLOWED_HERE: &str = if cfg!(target_arch = "x86_64") {
    "arch_prctl modify_ldt"
} else {
    "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2"
};

/// Allowed with a capability.
const WITH_CAPABILITY: [(&str, &str); 12] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr \
         move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount \
         umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_BPF", "bpf"),
];

/// Flags of `clone` that make a namespace: all but time, which shares its bit with the exit signal.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
/// Address family of virtual machine sockets, which no namespace confines.
const AF_VSOCK: u64 = 40;

fn names(list: &str) -> Vec<&str> {
    list.split_ascii_whitespace().collect()
}

/// The profile for a container with `capabilities`, as `linux.seccomp` of the runtime specification.
pub(super) fn profile(capabilities: &BTreeSet<String>) -> Value {
    let has = |capability: &str| capabilities.contains(capability);
    let allow = |names: Vec<&str>| json!({ "names": names, "action": "SCMP_ACT_ALLOW" });
    let when = |name: &str, index: u32, value: u64, op: &str| json!({ "names": [name], "action": "SCMP_ACT_ALLOW", "args": [{ "index": index, "value": value, "op": op }] });
    let mut rules = vec![allow(names(ALLOWED)), allow(names(ALLOWED_HERE)), when("socket", 0, AF_VSOCK, "SCMP_CMP_NE")];
    // Linux, Linux 32 bit, their variants without address randomization, and asking.
    for persona in [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        rules.push(when("personality", 0, persona, "SCMP_CMP_EQ"));
    }
    for (capability, calls) in WITH_CAPABILITY {
        if has(capability) {
            rules.push(allow(names(calls)));
        }
    }
    if has("CAP_PERFMON") && !has("CAP_SYS_ADMIN") {
        rules.push(allow(vec!["perf_event_open"]));
    }
    if has("CAP_SYSLOG") && !has("CAP_SYS_ADMIN") {
        rules.push(allow(vec!["syslog"]));
    }
    if !has("CAP_SYS_ADMIN") {
        rules.push(json!({
            "names": ["clone"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{ "index": 0, "value": CLONE_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }],
        }));
        // Its flags are behind a pointer, out of a filter's sight: ENOSYS makes libraries fall back to clone.
        rules.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": nix::libc::ENOSYS }));
    }
    let architecture = if cfg!(target_arch = "x86_64") { "SCMP_ARCH_X86_64" } else { "SCMP_ARCH_AARCH64" };
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": nix::libc::EPERM,
        "architectures": [architecture],
        "syscalls": rules,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(profile: &Value, name: &str) -> bool {
        profile["syscalls"].as_array().unwrap().iter().any(|rule| {
            rule["action"] == "SCMP_ACT_ALLOW"
                && rule["args"].is_null()
                && rule["names"].as_array().unwrap().iter().any(|known| known == name)
        })
    }

    #[test]
    fn what_leads_out_of_a_container_needs_its_capability() {
        let plain = profile(&BTreeSet::new());
        for name in
            ["mount", "unshare", "setns", "bpf", "reboot", "init_module", "open_by_handle_at", "keyctl", "kexec_load"]
        {
            assert!(!allowed(&plain, name), "{name}");
        }
        assert!(allowed(&plain, "openat") && allowed(&plain, "futex"));
        let admin = profile(&BTreeSet::from(["CAP_SYS_ADMIN".to_owned()]));
        assert!(allowed(&admin, "mount") && allowed(&admin, "clone") && !allowed(&admin, "reboot"));
    }

    #[test]
    fn new_namespaces_are_masked_out_of_clone_and_clone3_does_not_exist() {
        let plain = profile(&BTreeSet::new());
        let rule = |name: &str| {
            let rules = plain["syscalls"].as_array().unwrap();
            rules.iter().find(|rule| rule["names"] == json!([name])).cloned().unwrap()
        };
        assert_eq!(rule("clone")["args"][0]["value"], 0x7e02_0000);
        assert_eq!(rule("clone3")["errnoRet"], nix::libc::ENOSYS);
    }

    #[test]
    fn the_profile_is_read_by_the_runtime_specification() {
        let parsed: oci_spec::runtime::LinuxSeccomp = serde_json::from_value(profile(&BTreeSet::new())).unwrap();
        assert!(parsed.syscalls().as_ref().unwrap().len() > 5);
    }
}
