//! Control groups of version 1, 2 and both at once.
//!
//! libcontainer makes a container's groups and writes its limits; here they are read, emptied and removed, and
//! limits of a task as a whole are written.
//!
//! Version 2 is covered by unit tests only: it was not run on a machine with it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The mounted hierarchies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hierarchies {
    /// Version 1: controller (or `name=…`) → mount point. Controllers mounted together share theirs.
    v1: BTreeMap<String, PathBuf>,
    /// Version 2.
    v2: Option<PathBuf>,
}

/// What a container uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) cpu_nanos: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) read_bytes: u64,
    pub(crate) write_bytes: u64,
}

impl Hierarchies {
    pub(crate) fn discover() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/mountinfo")?))
    }

    fn parse(mountinfo: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(mount_point) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut right = right.split(' ');
            match right.next() {
                Some("cgroup2") => {
                    found.v2.get_or_insert(mount_point);
                }
                Some("cgroup") => {
                    for option in right.nth(1).unwrap_or_default().split(',') {
                        if !matches!(option, "rw" | "ro" | "noprefix" | "xattr" | "clone_children") {
                            found.v1.entry(option.to_owned()).or_insert_with(|| mount_point.clone());
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// Whether limits are of version 2. A hybrid machine's unified hierarchy has no controllers.
    pub(crate) fn is_v2(&self) -> bool {
        !self.v1.contains_key("memory") && !self.v1.contains_key("cpu") && self.v2.is_some()
    }

    /// Whether memory and swap can be limited together.
    pub(crate) fn has_swap_limit(&self) -> bool {
        match self.v1.get("memory") {
            Some(memory) => memory.join("memory.memsw.limit_in_bytes").exists(),
            None => self.is_v2(),
        }
    }

    /// The directories of the group `cgroup` in all hierarchies, each once.
    pub(crate) fn directories(&self, cgroup: &str) -> Vec<PathBuf> {
        let mut roots: Vec<&PathBuf> = self.v1.values().chain(&self.v2).collect();
        roots.sort_unstable();
        roots.dedup();
        roots.into_iter().map(|root| below(root, cgroup)).collect()
    }

    /// The directories of `cgroup` in the hierarchies of version 1 that have limits, with their usual names.
    pub(crate) fn v1_directories(&self, cgroup: &str) -> BTreeMap<String, PathBuf> {
        let limiting = self.v1.iter().filter(|(controller, _)| !controller.starts_with("name="));
        let named = limiting
            .filter_map(|(_, root)| Some((root.file_name()?.to_string_lossy().into_owned(), below(root, cgroup))));
        named.collect()
    }

    fn v1_file(&self, controller: &str, cgroup: &str, file: &str) -> Option<PathBuf> {
        Some(below(self.v1.get(controller)?, cgroup).join(file))
    }

    fn v2_file(&self, cgroup: &str, file: &str) -> Option<PathBuf> {
        Some(below(self.v2.as_ref()?, cgroup).join(file))
    }

    /// Has the kernel make ready for a process that will change its group, which takes it some ten milliseconds when
    /// none has for a while: it waits for an RCU grace period. Blocks as long; meant to run beside other work.
    ///
    /// This process is "moved" to the group of one hierarchy that it is in already.
    pub(crate) fn expect_move(&self) {
        let memberships = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = memberships.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let root = match controllers {
                "" if self.is_v2() => self.v2.as_ref()?,
                "freezer" => self.v1.get(controllers)?,
                _ => return None,
            };
            Some(below(root, path).join("cgroup.procs"))
        });
        if let Some(procs) = own {
            // A group that cannot be seen from here is no loss but of time.
            let _ = fs::write(procs, std::process::id().to_string());
        }
    }

    /// Makes this process a member of `cgroup` in every hierarchy that has it.
    pub(crate) fn enter(&self, cgroup: &str) -> io::Result<()> {
        for directory in self.directories(cgroup) {
            let procs = directory.join("cgroup.procs");
            if procs.exists() {
                fs::write(procs, "0")?;
            }
        }
        Ok(())
    }

    /// Whether the kernel has killed a process of `cgroup` for memory.
    pub(crate) fn oom_killed(&self, cgroup: &str) -> bool {
        let v1 = self.v1_file("memory", cgroup, "memory.oom_control");
        let file = v1.or_else(|| self.v2_file(cgroup, "memory.events"));
        file.and_then(|file| fs::read_to_string(file).ok()).is_some_and(|text| field(&text, "oom_kill") > 0)
    }

    /// Kills every process of `cgroup` and of the groups below it.
    pub(crate) fn kill(&self, cgroup: &str) {
        for directory in self.directories(cgroup) {
            for pid in processes(&directory) {
                // Already gone is what was wanted.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }

    /// Whether `cgroup` or a group below it has a process.
    pub(crate) fn is_populated(&self, cgroup: &str) -> bool {
        self.directories(cgroup).iter().any(|directory| !processes(directory).is_empty())
    }

    /// Removes `cgroup` and the groups below it; they must have no processes.
    pub(crate) fn remove(&self, cgroup: &str) -> io::Result<()> {
        for directory in self.directories(cgroup) {
            remove_tree(&directory)?;
        }
        Ok(())
    }

    /// Removes `cgroup` if nothing is below it.
    pub(crate) fn remove_if_empty(&self, cgroup: &str) {
        for directory in self.directories(cgroup) {
            // Busy or missing are both fine.
            let _ = fs::remove_dir(directory);
        }
    }

    /// What `cgroup` uses; zeros for what is not accounted.
    pub(crate) fn usage(&self, cgroup: &str) -> Usage {
        if self.is_v2() { self.usage_v2(cgroup) } else { self.usage_v1(cgroup) }
    }

    fn usage_v1(&self, cgroup: &str) -> Usage {
        let text = |controller, file| {
            let path = self.v1_file(controller, cgroup, file);
            path.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default()
        };
        let number = |controller, file| text(controller, file).trim().parse().unwrap_or(0);
        let cache = field(&text("memory", "memory.stat"), "total_cache");
        let mut usage = Usage {
            cpu_nanos: number("cpuacct", "cpuacct.usage"),
            memory_bytes: number("memory", "memory.usage_in_bytes").saturating_sub(cache),
            ..Usage::default()
        };
        for line in text("blkio", "blkio.throttle.io_service_bytes").lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                [_, "Read", bytes] => usage.read_bytes += bytes.parse().unwrap_or(0),
                [_, "Write", bytes] => usage.write_bytes += bytes.parse().unwrap_or(0),
                _ => {}
            }
        }
        usage
    }

    fn usage_v2(&self, cgroup: &str) -> Usage {
        let text = |file| {
            let path = self.v2_file(cgroup, file);
            path.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default()
        };
        let file_cache = field(&text("memory.stat"), "file");
        let mut usage = Usage {
            cpu_nanos: field(&text("cpu.stat"), "usage_usec").saturating_mul(1000),
            memory_bytes: text("memory.current").trim().parse().unwrap_or(0_u64).saturating_sub(file_cache),
            ..Usage::default()
        };
        for word in text("io.stat").split_ascii_whitespace() {
            match word.split_once('=') {
                Some(("rbytes", bytes)) => usage.read_bytes += bytes.parse().unwrap_or(0),
                Some(("wbytes", bytes)) => usage.write_bytes += bytes.parse().unwrap_or(0),
                _ => {}
            }
        }
        usage
    }
}

fn below(root: &Path, cgroup: &str) -> PathBuf {
    root.join(cgroup.trim_start_matches('/'))
}

/// The number after `name` in a file of `name number` lines.
fn field(text: &str, name: &str) -> u64 {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(value).unwrap_or(0)
}

fn processes(directory: &Path) -> Vec<i32> {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    for child in children(directory) {
        pids.extend(processes(&child));
    }
    pids
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    match fs::remove_dir(directory) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => {}
    }
    for child in children(directory) {
        remove_tree(&child)?;
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 29 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
31 29 0:27 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
32 29 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
33 29 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn a_hybrid_machine_counts_as_version_1() {
        let found = Hierarchies::parse(HYBRID);
        assert!(!found.is_v2());
        let directories = found.directories("/longshore-1/a");
        // Controllers mounted together are one directory.
        assert_eq!(directories.len(), 4);
        assert!(directories.contains(&PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/longshore-1/a")));
    }

    #[test]
    fn a_unified_machine_counts_as_version_2() {
        let found = Hierarchies::parse("33 29 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n");
        assert!(found.is_v2() && found.has_swap_limit());
    }

    #[test]
    fn usage_and_oom_kills_of_version_2_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let found = Hierarchies { v1: BTreeMap::new(), v2: Some(dir.path().to_owned()) };
        let group = dir.path().join("a");
        fs::create_dir(&group).unwrap();
        fs::write(group.join("cpu.stat"), "usage_usec 5\nuser_usec 3\n").unwrap();
        fs::write(group.join("memory.current"), "1000\n").unwrap();
        fs::write(group.join("memory.stat"), "anon 600\nfile 400\n").unwrap();
        fs::write(group.join("memory.events"), "low 0\noom 1\noom_kill 1\n").unwrap();
        fs::write(group.join("io.stat"), "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=2\n").unwrap();
        let expected = Usage { cpu_nanos: 5000, memory_bytes: 600, read_bytes: 11, write_bytes: 22 };
        assert_eq!(found.usage("/a"), expected);
        assert!(found.oom_killed("/a") && !found.oom_killed("/b"));
    }

    #[test]
    fn usage_of_version_1_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let root = |controller: &str| (controller.to_owned(), dir.path().join(controller));
        let found = Hierarchies { v1: ["cpuacct", "memory", "blkio"].map(root).into(), v2: None };
        let write = |controller: &str, file: &str, text: &str| {
            let group = dir.path().join(controller).join("a");
            fs::create_dir_all(&group).unwrap();
            fs::write(group.join(file), text).unwrap();
        };
        write("cpuacct", "cpuacct.usage", "77\n");
        write("memory", "memory.usage_in_bytes", "1000\n");
        write("memory", "memory.stat", "cache 1\ntotal_cache 400\n");
        write("memory", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
        write("blkio", "blkio.throttle.io_service_bytes", "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n");
        let expected = Usage { cpu_nanos: 77, memory_bytes: 600, read_bytes: 10, write_bytes: 20 };
        assert_eq!(found.usage("a"), expected);
        assert!(found.oom_killed("a"));
    }
}
