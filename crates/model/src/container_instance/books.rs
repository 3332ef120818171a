//! What a container instance has and what its tasks have taken.

use std::collections::BTreeSet;

use crate::records::Reservation;

/// Most ports that may be reserved on one instance and protocol together, default ones included
/// (guide chapter 5). Ports that the agent picks itself don't count.
pub const MAX_RESERVED_PORTS: usize = 100;

/// An amount of every resource: what an instance registered, or what it has left.
///
/// Ports are the ones *taken*, as ECS shows them in `remainingResources`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// CPU units (1024 a core). May be negative after an instance came back smaller.
    pub cpu: i64,
    /// Memory in MiB. May be negative after an instance came back smaller.
    pub memory: i64,
    /// TCP ports taken on the host.
    pub tcp_ports: BTreeSet<u16>,
    /// UDP ports taken on the host.
    pub udp_ports: BTreeSet<u16>,
    /// Ids of GPUs: all of them in the registered books, the free ones in the remaining books.
    pub gpus: BTreeSet<String>,
    /// Elastic network interfaces for awsvpc tasks; none when nothing limits them.
    pub interfaces: Option<i64>,
}

/// A resource that a task asks for and an instance lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shortage {
    /// Too few CPU units.
    Cpu,
    /// Too little memory.
    Memory,
    /// A host port is taken, or the instance may reserve no more ports.
    Ports,
    /// Too few free GPUs.
    Gpu,
    /// No free elastic network interface.
    Interface,
}

impl Shortage {
    /// ECS's failure reason, e.g. `RESOURCE:CPU`.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Cpu => "RESOURCE:CPU",
            Self::Memory => "RESOURCE:MEMORY",
            Self::Ports => "RESOURCE:PORTS",
            Self::Gpu => "RESOURCE:GPU",
            Self::Interface => "RESOURCE:ENI",
        }
    }
}

impl Books {
    /// Every resource that `demand` needs and these (remaining) books lack.
    #[must_use]
    pub fn shortages(&self, demand: &Reservation) -> Vec<Shortage> {
        let mut shortages = Vec::new();
        // A demand of nothing fits an instance that has less than nothing left.
        if demand.cpu > 0 && demand.cpu > self.cpu {
            shortages.push(Shortage::Cpu);
        }
        if demand.memory_mib > 0 && demand.memory_mib > self.memory {
            shortages.push(Shortage::Memory);
        }
        if !self.ports_fit(demand) {
            shortages.push(Shortage::Ports);
        }
        if demand.gpus > self.gpu_count() {
            shortages.push(Shortage::Gpu);
        }
        if !self.interfaces_fit(demand) {
            shortages.push(Shortage::Interface);
        }
        shortages
    }

    /// Whether `demand` fits. The same as no [`Books::shortages`], without the list.
    #[must_use]
    pub fn fits(&self, demand: &Reservation) -> bool {
        (demand.cpu <= 0 || demand.cpu <= self.cpu)
            && (demand.memory_mib <= 0 || demand.memory_mib <= self.memory)
            && demand.gpus <= self.gpu_count()
            && self.interfaces_fit(demand)
            && self.ports_fit(demand)
    }

    fn gpu_count(&self) -> i64 {
        i64::try_from(self.gpus.len()).unwrap_or(i64::MAX)
    }

    fn interfaces_fit(&self, demand: &Reservation) -> bool {
        demand.interfaces == 0 || self.interfaces.is_none_or(|left| demand.interfaces <= left)
    }

    fn ports_fit(&self, demand: &Reservation) -> bool {
        let wanted = demand.tcp_ports.len() + demand.udp_ports.len();
        wanted == 0
            || (demand.tcp_ports.iter().all(|port| !self.tcp_ports.contains(port))
                && demand.udp_ports.iter().all(|port| !self.udp_ports.contains(port))
                && self.tcp_ports.len() + self.udp_ports.len() + wanted <= MAX_RESERVED_PORTS)
    }

    /// Takes `demand` out of these remaining books, and answers the GPUs given to it (the lowest ids).
    ///
    /// The caller has checked that it fits, or takes what was given before (re-registration).
    pub fn take(&mut self, demand: &Reservation) -> Vec<String> {
        let wanted = usize::try_from(demand.gpus).unwrap_or(0);
        let gpus: Vec<String> = self.gpus.iter().take(wanted).cloned().collect();
        self.take_with(demand, &gpus);
        gpus
    }

    /// Takes `demand` with exactly the GPUs in `gpus`.
    pub fn take_with(&mut self, demand: &Reservation, gpus: &[String]) {
        self.cpu -= demand.cpu;
        self.memory -= demand.memory_mib;
        self.interfaces = self.interfaces.map(|left| left - demand.interfaces);
        self.tcp_ports.extend(&demand.tcp_ports);
        self.udp_ports.extend(&demand.udp_ports);
        for gpu in gpus {
            self.gpus.remove(gpu);
        }
    }

    /// Gives back what [`Books::take_with`] took; `registered` says which ports and GPUs are the
    /// instance's own, so that a port the host itself reserves stays taken.
    pub fn give_back(&mut self, demand: &Reservation, gpus: &[String], registered: &Self) {
        self.cpu += demand.cpu;
        self.memory += demand.memory_mib;
        self.interfaces = self.interfaces.map(|left| left + demand.interfaces);
        for port in demand.tcp_ports.iter().filter(|port| !registered.tcp_ports.contains(port)) {
            self.tcp_ports.remove(port);
        }
        for port in demand.udp_ports.iter().filter(|port| !registered.udp_ports.contains(port)) {
            self.udp_ports.remove(port);
        }
        self.gpus.extend(gpus.iter().filter(|gpu| registered.gpus.contains(*gpu)).cloned());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn books() -> Books {
        Books { cpu: 2048, memory: 4096, tcp_ports: [22, 2375, 2376, 51678, 51679].into(), ..Books::default() }
    }

    fn demand(cpu: i64, memory: i64, port: Option<u16>) -> Reservation {
        Reservation { cpu, memory_mib: memory, tcp_ports: port.into_iter().collect(), ..Reservation::default() }
    }

    // spec: 05-039
    #[test]
    fn a_port_that_the_host_reserves_is_not_given_to_a_task() {
        assert_eq!(books().shortages(&demand(0, 0, Some(22))), [Shortage::Ports]);
        assert_eq!(books().shortages(&demand(0, 0, Some(80))), []);
    }

    // spec: 05-040
    #[test]
    fn a_host_port_is_taken_until_given_back() {
        let (registered, mut remaining, web) = (books(), books(), demand(10, 10, Some(80)));
        remaining.take(&web);
        assert_eq!(remaining.shortages(&web), [Shortage::Ports]);
        remaining.give_back(&web, &[], &registered);
        assert_eq!(remaining, registered);
    }

    // spec: 05-041, 24-019
    #[test]
    fn no_more_than_a_hundred_ports_are_reserved_on_one_instance() {
        let mut remaining = books();
        remaining.take(&Reservation { tcp_ports: (1000..1095).collect(), ..Reservation::default() });
        assert_eq!(remaining.shortages(&demand(0, 0, Some(80))), [Shortage::Ports]);
    }

    #[test]
    fn the_same_port_number_is_free_on_the_other_protocol() {
        let mut remaining = books();
        remaining.take(&demand(0, 0, Some(53)));
        assert!(remaining.fits(&Reservation { udp_ports: vec![53], ..Reservation::default() }));
    }

    #[test]
    fn gpus_are_given_by_id_and_come_back() {
        let registered = Books { gpus: ["a".into(), "b".into(), "c".into()].into(), ..books() };
        let mut remaining = registered.clone();
        let two = Reservation { gpus: 2, ..Reservation::default() };
        let given = remaining.take(&two);
        assert_eq!(given, ["a", "b"]);
        assert_eq!(remaining.shortages(&two), [Shortage::Gpu]);
        remaining.give_back(&two, &given, &registered);
        assert_eq!(remaining, registered);
    }

    // spec: 24-022
    #[test]
    fn an_awsvpc_task_takes_an_interface_where_they_are_few() {
        let registered = Books { interfaces: Some(2), ..books() };
        let mut remaining = registered.clone();
        let one = Reservation { interfaces: 1, ..Reservation::default() };
        remaining.take(&one);
        remaining.take(&one);
        assert_eq!(remaining.shortages(&one), [Shortage::Interface]);
        assert_eq!(Shortage::Interface.reason(), "RESOURCE:ENI");
        assert!(!remaining.fits(&one) && remaining.fits(&demand(1, 1, None)));
        remaining.give_back(&one, &[], &registered);
        assert!(remaining.fits(&one) && books().fits(&one));
    }

    proptest! {
        #[test]
        fn what_was_taken_and_given_back_leaves_the_books_as_they_were(
            demands in proptest::collection::vec((0..3000i64, 0..5000i64, proptest::option::of(1..60u16)), 0..20),
        ) {
            let registered = books();
            let mut remaining = registered.clone();
            let mut taken = Vec::new();
            for (cpu, memory, port) in demands {
                let demand = demand(cpu, memory, port);
                prop_assert_eq!(remaining.fits(&demand), remaining.shortages(&demand).is_empty());
                if remaining.fits(&demand) {
                    remaining.take(&demand);
                    prop_assert!(remaining.cpu >= 0 && remaining.memory >= 0);
                    taken.push(demand);
                }
            }
            for demand in taken.iter().rev() {
                remaining.give_back(demand, &[], &registered);
            }
            prop_assert_eq!(remaining, registered);
        }
    }
}
