//! What is remembered of a container, and how its state follows from it.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use longshore_net::{PublishedPort, Transport};
use longshore_seams::Timestamp;
use serde::{Deserialize, Serialize};

use super::image::ImageConfig;
use super::layout::{ContainerDir, read_record};
use crate::{ContainerSpec, ContainerState, ContainerStatus, Health, PortBinding, Protocol};

/// What a container is to be. Written when it is made, never changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) id: String,
    pub(crate) spec: ContainerSpec,
    /// Configuration digest of the image.
    pub(crate) image_id: String,
    /// The image's settings.
    pub(crate) image: ImageConfig,
    /// Chain ids of the image's layers, lowest first.
    pub(crate) layers: Vec<String>,
    pub(crate) created_at: Timestamp,
}

/// A container's address and published ports. Written before it is started, removed when its network is given back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NetworkRecord {
    pub(crate) address: Ipv4Addr,
    pub(crate) gateway: Ipv4Addr,
    /// Name of the link's host end.
    pub(crate) host_link: String,
    pub(crate) ports: Vec<PublishedPort>,
}

/// That a container was started. Written by its shim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StartRecord {
    pub(crate) pid: i32,
    pub(crate) started_at: Timestamp,
    /// Its cgroup, from the root of every hierarchy.
    pub(crate) cgroup: String,
    /// Ports as published, host ports filled in; the network may be given back since.
    pub(crate) ports: Vec<PortBinding>,
    pub(crate) address: Option<Ipv4Addr>,
}

/// How a container ended. Written by its shim, or by whoever finds that its shim is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ExitRecord {
    /// Absent when it never ran.
    pub(crate) exit_code: Option<i32>,
    pub(crate) oom_killed: bool,
    pub(crate) error: Option<String>,
    pub(crate) finished_at: Timestamp,
}

/// Health of a container. Written by its shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HealthRecord {
    pub(crate) status: HealthStatus,
    pub(crate) at: Timestamp,
}

/// [`Health`], on disk and on the shim's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HealthStatus {
    Starting,
    Healthy,
    Unhealthy,
}

impl From<HealthStatus> for Health {
    fn from(status: HealthStatus) -> Self {
        match status {
            HealthStatus::Starting => Self::Starting,
            HealthStatus::Healthy => Self::Healthy,
            HealthStatus::Unhealthy => Self::Unhealthy,
        }
    }
}

/// Everything known of one container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Known {
    pub(crate) start: Option<StartRecord>,
    pub(crate) exit: Option<ExitRecord>,
    pub(crate) health: Option<HealthRecord>,
}

impl Known {
    pub(crate) fn read(dir: &ContainerDir) -> io::Result<Self> {
        // Exit last: a container that ends meanwhile is then seen as running with its start, never as never started.
        let health = read_record(&dir.health())?;
        let start = read_record(&dir.start())?;
        let exit = read_record(&dir.exit())?;
        Ok(Self { start, exit, health })
    }

    pub(crate) fn is_running(&self) -> bool {
        self.start.is_some() && self.exit.is_none()
    }

    pub(crate) fn state(&self, record: &ContainerRecord) -> ContainerState {
        let status = match (&self.start, &self.exit) {
            (_, Some(_)) => ContainerStatus::Exited,
            (Some(_), None) => ContainerStatus::Running,
            (None, None) => ContainerStatus::Created,
        };
        let running = status == ContainerStatus::Running;
        let (start, exit) = (self.start.as_ref(), self.exit.as_ref());
        let first_health = || {
            let at = start.map(|start| start.started_at)?;
            record.spec.health_check.as_ref().map(|_| (Health::Starting, at))
        };
        ContainerState {
            id: record.id.clone(),
            name: record.spec.name.clone(),
            labels: record.spec.labels.clone(),
            status,
            pid: start.filter(|_| running).and_then(|start| u32::try_from(start.pid).ok()),
            exit_code: exit.and_then(|exit| exit.exit_code),
            oom_killed: exit.is_some_and(|exit| exit.oom_killed),
            error: exit.and_then(|exit| exit.error.clone()),
            created_at: record.created_at,
            started_at: start.map(|start| start.started_at),
            finished_at: exit.map(|exit| exit.finished_at),
            health: self.health.map(|health| (health.status.into(), health.at)).or_else(first_health),
            ports: start.filter(|_| running).map(|start| start.ports.clone()).unwrap_or_default(),
            ip: start.filter(|_| running).and_then(|start| start.address).map(std::net::IpAddr::V4),
            image_id: record.image_id.clone(),
        }
    }
}

impl ContainerRecord {
    /// All containers of a root, by id. Directories without a record were not made to the end.
    pub(crate) fn read_all(containers: &Path) -> io::Result<BTreeMap<String, Self>> {
        let mut records = BTreeMap::new();
        for entry in std::fs::read_dir(containers)? {
            let path = entry?.path();
            if let Some(record) = read_record::<Self>(&path.join("container.json"))? {
                records.insert(record.id.clone(), record);
            }
        }
        Ok(records)
    }
}

/// `binding` published at `address`, which has its host port.
pub(crate) fn published(binding: &PortBinding, address: Ipv4Addr) -> PublishedPort {
    let host_address = match binding.host_ip {
        Some(std::net::IpAddr::V4(host)) if !host.is_unspecified() => Some(host),
        _ => None,
    };
    PublishedPort {
        transport: transport(binding.protocol),
        host_address,
        host_port: binding.host_port,
        address,
        port: binding.container_port,
    }
}

pub(crate) fn transport(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
    }
}
