//! The host's books: which tasks it has room for.
//!
//! Unlike the real agent's, a task that waits holds up only those that want what it waits for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use longshore_protocol::task::Task;
use longshore_seams::Timestamp;

use crate::task::spec;

/// A task that has waited so long for CPU or memory is not overtaken any more.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a task takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// CPU units.
    pub cpu: i64,
    /// MiB.
    pub memory: i64,
    /// (`udp`, host port) of ports that were asked for by number.
    pub ports: BTreeSet<(bool, u16)>,
}

impl Needs {
    /// What `task` takes: its own limits, else those of its containers.
    pub fn of(task: &Task) -> Self {
        let containers = || task.containers.iter();
        // At most a few thousand cores: far inside the type.
        #[expect(clippy::cast_possible_truncation, reason = "bounded by min")]
        let limit = task.cpu.filter(|cpu| *cpu > 0.0).map(|cpu| (cpu.min(1e6) * 1024.0) as i64);
        let ports = containers().flat_map(|container| &container.port_mappings);
        let ports = ports.filter(|mapping| mapping.host_port != 0 && task.network_mode != "awsvpc");
        Self {
            cpu: limit.unwrap_or_else(|| containers().map(|container| container.cpu.unwrap_or(0)).sum()),
            memory: task
                .memory
                .filter(|memory| *memory > 0)
                .unwrap_or_else(|| containers().map(spec::booked_memory).sum()),
            ports: ports.map(|mapping| (mapping.protocol == "udp", mapping.host_port)).collect(),
        }
    }
}

#[derive(Debug)]
struct Waiting {
    arn: String,
    needs: Needs,
    since: Timestamp,
}

/// The books of one host.
#[derive(Debug)]
pub(crate) struct Books {
    cpu: i64,
    memory: i64,
    taken: BTreeMap<String, Needs>,
    waiting: VecDeque<Waiting>,
}

impl Books {
    /// Books of a host that has registered so much.
    pub fn new(cpu: i64, memory: i64) -> Self {
        Self { cpu, memory, taken: BTreeMap::new(), waiting: VecDeque::new() }
    }

    /// Notes a task that runs already.
    pub fn take(&mut self, arn: &str, needs: Needs) {
        self.taken.insert(arn.to_owned(), needs);
    }

    /// Queues a task. [`Self::admit`] tells when it may begin.
    ///
    /// # Errors
    /// The reason, when the host is too small for it even when empty.
    pub fn ask(&mut self, arn: &str, needs: Needs, now: Timestamp) -> Result<(), String> {
        for (what, needed, has) in [("CPU units", needs.cpu, self.cpu), ("MiB of memory", needs.memory, self.memory)] {
            if needed > has {
                return Err(format!("the task needs {needed} {what}; this container instance has {has}"));
            }
        }
        self.waiting.push_back(Waiting { arn: arn.to_owned(), needs, since: now });
        Ok(())
    }

    /// Gives back what a task had, or its place in the queue.
    pub fn free(&mut self, arn: &str) {
        self.taken.remove(arn);
        self.waiting.retain(|waiting| waiting.arn != arn);
    }

    /// The tasks that may begin now, longest-waiting first; they are noted as begun.
    pub fn admit(&mut self, now: Timestamp) -> Vec<String> {
        let sum = |pick: fn(&Needs) -> i64| -> i64 { self.taken.values().map(pick).sum() };
        let (mut cpu, mut memory) = (self.cpu - sum(|needs| needs.cpu), self.memory - sum(|needs| needs.memory));
        let mut ports: BTreeSet<(bool, u16)> = self.taken.values().flat_map(|needs| &needs.ports).copied().collect();
        let mut admitted = Vec::new();
        let mut still = VecDeque::new();
        for waiting in std::mem::take(&mut self.waiting) {
            let room = waiting.needs.cpu <= cpu && waiting.needs.memory <= memory;
            let free = waiting.needs.ports.is_disjoint(&ports);
            // What it waits for is kept for it: its ports always, the rest when it has waited long.
            ports.extend(&waiting.needs.ports);
            if room && free {
                cpu -= waiting.needs.cpu;
                memory -= waiting.needs.memory;
                admitted.push(waiting.arn.clone());
                self.taken.insert(waiting.arn, waiting.needs);
                continue;
            }
            if free && now.since(waiting.since) >= PATIENCE {
                cpu -= waiting.needs.cpu;
                memory -= waiting.needs.memory;
            }
            still.push_back(waiting);
        }
        self.waiting = still;
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_protocol::task::{Container, PortMapping};

    fn needs(cpu: i64, memory: i64, port: u16) -> Needs {
        let ports = (port != 0).then_some((false, port)).into_iter().collect();
        Needs { cpu, memory, ports }
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn a_task_that_waits_for_a_port_holds_up_only_those_that_want_it() {
        let mut books = Books::new(1024, 1024);
        books.take("running", needs(100, 100, 80));
        for (arn, port) in [("same", 80), ("other", 81), ("none", 0), ("same again", 80)] {
            books.ask(arn, needs(100, 100, port), at(0)).unwrap();
        }
        assert_eq!(books.admit(at(0)), ["other", "none"]);
        books.free("running");
        assert_eq!(books.admit(at(1)), ["same"]);
        books.free("same");
        assert_eq!(books.admit(at(2)), ["same again"]);
    }

    #[test]
    fn a_large_task_is_overtaken_for_a_while_only() {
        let mut books = Books::new(1000, 1000);
        books.take("running", needs(600, 0, 0));
        books.ask("large", needs(800, 0, 0), at(0)).unwrap();
        books.ask("small", needs(100, 0, 0), at(0)).unwrap();
        assert_eq!(books.admit(at(0)), ["small"]);
        books.ask("late", needs(100, 0, 0), at(11)).unwrap();
        assert!(books.admit(at(11)).is_empty());
        books.free("running");
        books.free("small");
        assert_eq!(books.admit(at(12)), ["large", "late"]);
    }

    #[test]
    fn a_task_larger_than_the_host_is_refused_with_the_numbers() {
        let words = Books::new(1024, 1024).ask("t", needs(2048, 0, 0), at(0)).unwrap_err();
        assert_eq!(words, "the task needs 2048 CPU units; this container instance has 1024");
    }

    #[test]
    fn needs_are_the_tasks_own_or_the_sum_of_its_containers() {
        let port =
            |host_port, protocol: &str| PortMapping { host_port, protocol: protocol.into(), ..Default::default() };
        let container = Container {
            cpu: Some(100),
            memory: Some(64),
            port_mappings: vec![port(80, "tcp"), port(0, "tcp"), port(53, "udp")],
            ..Container::default()
        };
        let mut task = Task { containers: vec![container.clone(), container], ..Task::default() };
        let sum = Needs::of(&task);
        assert_eq!((sum.cpu, sum.memory, sum.ports.len()), (200, 128, 2));
        (task.cpu, task.memory) = (Some(0.25), Some(512));
        assert_eq!((Needs::of(&task).cpu, Needs::of(&task).memory), (256, 512));
    }
}
