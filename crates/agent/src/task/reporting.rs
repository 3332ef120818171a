//! What the control plane is told of a task, and what it has taken.

use std::collections::VecDeque;

use longshore_runtime::PortBinding;
use longshore_seams::Timestamp;

use super::graph::AWSVPC;
use super::machine::{Known, Machine, Unit};
use super::spec;
use crate::plane::{ContainerStateChange, NetworkBinding, ReportedStatus, TaskStateChange};

/// Longest reason on the wire, characters.
const LONGEST_REASON: usize = 1024;

impl Machine {
    /// The reports due, oldest first.
    pub fn take_reports(&mut self) -> VecDeque<TaskStateChange> {
        std::mem::take(&mut self.reports)
    }

    /// A report was taken.
    pub fn accept(&mut self, change: &TaskStateChange) {
        self.accepted = self.accepted.max(change.status);
        for news in &change.containers {
            if let Some(index) = self.index(&news.container_name) {
                let unit = &mut self.units[index];
                unit.accepted = unit.accepted.max(news.status);
            }
        }
    }

    /// The task's status, as reported.
    pub fn status(&self) -> ReportedStatus {
        if self.is_stopped() {
            return ReportedStatus::Stopped;
        }
        let runs = |unit: &Unit| match unit.known {
            Known::Running => true,
            Known::Stopped => unit.ever_ran || !self.stopping,
            _ => false,
        };
        match self.reported == ReportedStatus::Running || self.units.iter().all(runs) {
            true => ReportedStatus::Running,
            false => self.reported.min(ReportedStatus::Pending),
        }
    }

    /// Puts what is new into a report.
    pub(super) fn report(&mut self, now: Timestamp) {
        let mut news = Vec::new();
        for index in 0..self.units.len() {
            let unit = &self.units[index];
            let digest = unit.image_digest.is_some() && !unit.digest_reported && unit.pulled;
            let status = match unit.known {
                Known::Running => ReportedStatus::Running,
                Known::Stopped => ReportedStatus::Stopped,
                _ if digest => ReportedStatus::Pending,
                _ => continue,
            };
            if status <= unit.reported.max(unit.accepted) {
                continue;
            }
            news.push(self.news(index, status));
            let unit = &mut self.units[index];
            unit.reported = status;
            unit.digest_reported = unit.image_digest.is_some();
        }
        let status = match self.status() {
            ReportedStatus::None if !news.is_empty() => ReportedStatus::Pending,
            status => status,
        };
        if news.is_empty() && status <= self.reported {
            return;
        }
        if status > self.reported {
            tracing::info!(task = %self.task.arn, status = status.as_str(), at = now.as_millis(), "task status");
        }
        self.reported = self.reported.max(status);
        self.reports.push_back(TaskStateChange {
            cluster: self.cluster.clone(),
            task: self.task.arn.clone(),
            status,
            reason: shorten(&self.reason),
            pull_started_at: self.pull_started_at,
            pull_stopped_at: self.pull_stopped_at,
            execution_stopped_at: self.execution_stopped_at.filter(|_| status == ReportedStatus::Stopped),
            containers: news,
        });
    }

    fn news(&self, index: usize, status: ReportedStatus) -> ContainerStateChange {
        let (container, unit) = (&self.task.containers[index], &self.units[index]);
        // IPv6 bindings are left out, as the real agent does unless told otherwise.
        let ipv4 = |binding: &&PortBinding| binding.host_ip.is_none_or(|ip| ip.is_ipv4());
        let binding = |binding: &PortBinding| NetworkBinding {
            bind_ip: spec::bind_ip(binding),
            container_port: binding.container_port,
            host_port: binding.host_port,
            protocol: binding.protocol.to_string(),
        };
        // The address of a task's own network is told as a binding that publishes nothing.
        let address =
            (self.task.network_mode == AWSVPC).then(|| self.units[self.joined_network(index).unwrap_or(index)].address);
        let address = address.flatten().map(|address| NetworkBinding {
            bind_ip: address.to_string(),
            container_port: 0,
            host_port: 0,
            protocol: "tcp".to_owned(),
        });
        ContainerStateChange {
            container_name: container.name.clone(),
            status,
            runtime_id: unit.runtime_id.clone(),
            exit_code: unit.exit_code,
            image_digest: unit.image_digest.clone(),
            reason: unit.reason.clone(),
            network_bindings: unit
                .ports
                .iter()
                .filter(ipv4)
                .chain(&unit.host_ports)
                .map(binding)
                .chain(address)
                .collect(),
        }
    }
}

/// Cut to what the wire takes.
pub(super) fn shorten(words: &str) -> String {
    match words.char_indices().nth(LONGEST_REASON) {
        Some((end, _)) => words[..end].to_owned(),
        None => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use longshore_protocol::task::{Container, Task};

    use super::*;
    use crate::task::machine::Defaults;

    #[test]
    fn ipv6_bindings_are_left_out_and_reasons_cut() {
        let defaults = Defaults {
            start_timeout: Duration::ZERO,
            stop_timeout: Duration::ZERO,
            pull_first: false,
            fall_back: false,
        };
        let container = Container { name: "web".into(), ..Container::default() };
        let task = Task { arn: "arn/a".into(), containers: vec![container], ..Task::default() };
        let mut machine = Machine::new(task, "demo", defaults);
        let binding =
            |ip| PortBinding { container_port: 80, host_port: 8080, host_ip: Some(ip), ..PortBinding::default() };
        machine.units[0].ports =
            vec![binding(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), binding(IpAddr::V6(Ipv6Addr::UNSPECIFIED))];
        machine.units[0].known = Known::Running;
        machine.units[0].reason = Some(shorten(&"é".repeat(2000)));
        machine.report(Timestamp::from_secs(0));
        let report = machine.take_reports().pop_front().unwrap();
        assert_eq!(report.containers[0].network_bindings.len(), 1);
        assert_eq!(report.containers[0].network_bindings[0].bind_ip, "0.0.0.0");
        assert_eq!(report.containers[0].reason.as_ref().unwrap().chars().count(), 1024);
    }
}
