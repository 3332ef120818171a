//! `dockerConfig`: container settings as JSON texts in the Docker Engine API's own names.
//!
//! A control plane builds the texts from these structures; an agent reads them over what the
//! payload's own members say, so a name given here wins.

use std::collections::BTreeMap;

wire_struct! {
    /// The three strings of a container's `dockerConfig`.
    #[derive(Debug, PartialEq, Eq)]
    pub struct DockerConfig {
        /// JSON text of a [`Config`].
        "config" config: Option<String>,
        /// JSON text of a [`HostConfig`].
        "hostConfig" host_config: Option<String>,
        /// Docker API version that the container is made with; absent lets the agent choose.
        "version" version: Option<String>,
    }
}

impl DockerConfig {
    /// The texts of two structures.
    #[must_use]
    pub fn new(config: &Config, host_config: &HostConfig, version: Option<&str>) -> Self {
        let text = "the structures have string keys and finite numbers";
        Self {
            config: Some(serde_json::to_string(config).expect(text)),
            host_config: Some(serde_json::to_string(host_config).expect(text)),
            version: version.map(str::to_owned),
        }
    }

    /// The `config` text, read; the default when absent or empty.
    ///
    /// # Errors
    /// When it is not the JSON of one.
    pub fn config(&self) -> Result<Config, serde_json::Error> {
        read(self.config.as_deref())
    }

    /// The `hostConfig` text, read; the default when absent or empty.
    ///
    /// # Errors
    /// When it is not the JSON of one.
    pub fn host_config(&self) -> Result<HostConfig, serde_json::Error> {
        read(self.host_config.as_deref())
    }
}

fn read<T: Default + serde::de::DeserializeOwned>(text: Option<&str>) -> Result<T, serde_json::Error> {
    match text {
        None | Some("") => Ok(T::default()),
        Some(text) => serde_json::from_str(text),
    }
}

wire_struct! {
    /// Settings of the container itself.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Config {
        /// Host name.
        "Hostname" hostname: String,
        /// User.
        "User" user: String,
        /// Allocates a terminal.
        "Tty" tty: bool,
        /// Keeps standard input open.
        "OpenStdin" open_stdin: bool,
        /// `NAME=value`; over the payload's environment.
        "Env" env: Vec<String>,
        /// Replaces the command.
        "Cmd" cmd: Option<Vec<String>>,
        /// Replaces the entry point.
        "Entrypoint" entrypoint: Option<Vec<String>>,
        /// Working directory.
        "WorkingDir" working_dir: String,
        /// No network at all.
        "NetworkDisabled" network_disabled: bool,
        /// Labels.
        "Labels" labels: BTreeMap<String, String>,
        /// Signal that asks it to stop.
        "StopSignal" stop_signal: String,
        /// Health check.
        "Healthcheck" healthcheck: Option<Healthcheck>,
    }
}

wire_struct! {
    /// A health check; times in nanoseconds.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Healthcheck {
        /// `["CMD", …]` or `["CMD-SHELL", line]`.
        "Test" test: Vec<String>,
        /// Between checks; 30 s when 0.
        "Interval" interval: i64,
        /// A check that takes longer has failed; 30 s when 0.
        "Timeout" timeout: i64,
        /// Failures in a row that make it unhealthy; 3 when 0.
        "Retries" retries: i64,
        /// Failures in this time after the start do not count.
        "StartPeriod" start_period: i64,
    }
}

wire_struct! {
    /// Settings that tie the container to the host.
    #[derive(Debug, PartialEq, Eq)]
    pub struct HostConfig {
        /// `bridge`, `host`, `none`, `container:<id>`.
        "NetworkMode" network_mode: String,
        /// CPU weight; over the payload's `cpu`.
        "CpuShares" cpu_shares: i64,
        /// CPU time a period, microseconds.
        "CpuQuota" cpu_quota: i64,
        /// The period, microseconds.
        "CpuPeriod" cpu_period: i64,
        /// Hard limit, bytes; over the payload's `memory`.
        "Memory" memory: i64,
        /// Soft limit, bytes.
        "MemoryReservation" memory_reservation: i64,
        /// Memory and swap together, bytes; -1 unlimited.
        "MemorySwap" memory_swap: i64,
        /// 0 to 100.
        "MemorySwappiness" memory_swappiness: Option<i64>,
        /// Most processes.
        "PidsLimit" pids_limit: Option<i64>,
        /// Size of /dev/shm, bytes.
        "ShmSize" shm_size: i64,
        /// Log driver.
        "LogConfig" log_config: Option<LogConfig>,
        /// All capabilities and devices.
        "Privileged" privileged: bool,
        /// The root file system is read-only.
        "ReadonlyRootfs" readonly_rootfs: bool,
        /// Capabilities added.
        "CapAdd" cap_add: Vec<String>,
        /// Capabilities taken.
        "CapDrop" cap_drop: Vec<String>,
        /// Runs an init process.
        "Init" init: Option<bool>,
        /// Path → options.
        "Tmpfs" tmpfs: BTreeMap<String, String>,
        /// Host devices.
        "Devices" devices: Vec<DeviceMapping>,
        /// Limits of processes.
        "Ulimits" ulimits: Vec<Ulimit>,
        /// Kernel parameters.
        "Sysctls" sysctls: BTreeMap<String, String>,
        /// Name servers.
        "Dns" dns: Vec<String>,
        /// Search domains.
        "DnsSearch" dns_search: Vec<String>,
        /// `host:address`.
        "ExtraHosts" extra_hosts: Vec<String>,
        /// Security options.
        "SecurityOpt" security_opt: Vec<String>,
        /// `host`, `container:<id>`.
        "PidMode" pid_mode: String,
        /// `host`, `none`, `container:<id>`.
        "IpcMode" ipc_mode: String,
        /// `source:target[:options]`.
        "Binds" binds: Vec<String>,
    }
}

wire_struct! {
    /// A log driver and its options.
    #[derive(Debug, PartialEq, Eq)]
    pub struct LogConfig {
        /// Name of the driver.
        "Type" kind: String,
        /// Its options.
        "Config" config: BTreeMap<String, String>,
    }
}

wire_struct! {
    /// A host device.
    #[derive(Debug, PartialEq, Eq)]
    pub struct DeviceMapping {
        /// Path on the host.
        "PathOnHost" path_on_host: String,
        /// Path in the container; the same when absent.
        "PathInContainer" path_in_container: String,
        /// Of `rwm`.
        "CgroupPermissions" cgroup_permissions: String,
    }
}

wire_struct! {
    /// A limit of processes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Ulimit {
        /// Name without `RLIMIT_`, lower case.
        "Name" name: String,
        /// Soft limit.
        "Soft" [always] soft: i64,
        /// Hard limit.
        "Hard" [always] hard: i64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_read_again() {
        let config = Config {
            user: "app".into(),
            healthcheck: Some(Healthcheck {
                test: vec!["CMD".into(), "true".into()],
                interval: 5_000_000_000,
                ..Healthcheck::default()
            }),
            ..Config::default()
        };
        let host_config = HostConfig {
            network_mode: "host".into(),
            init: Some(true),
            ulimits: vec![Ulimit { name: "nofile".into(), soft: 0, hard: 4096 }],
            ..HostConfig::default()
        };
        let texts = DockerConfig::new(&config, &host_config, Some("1.25"));
        assert_eq!(texts.config().unwrap(), config);
        assert_eq!(texts.host_config().unwrap(), host_config);
        assert_eq!(
            texts.host_config.unwrap(),
            r#"{"NetworkMode":"host","Init":true,"Ulimits":[{"Name":"nofile","Soft":0,"Hard":4096}]}"#
        );
    }

    #[test]
    fn names_match_without_regard_to_case() {
        let texts = DockerConfig { host_config: Some(r#"{"networkmode":"none"}"#.into()), ..DockerConfig::default() };
        assert_eq!(texts.host_config().unwrap().network_mode, "none");
    }

    #[test]
    fn absent_texts_are_defaults_and_bad_ones_errors() {
        assert_eq!(DockerConfig::default().config().unwrap(), Config::default());
        assert!(DockerConfig { config: Some("{".into()), ..DockerConfig::default() }.config().is_err());
    }
}
