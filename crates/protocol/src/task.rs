//! The task as a control plane sends it (and as an agent keeps it in its containers' labels).

use std::collections::BTreeMap;

use crate::JsonText;
use crate::acs::RoleCredentials;
use crate::docker::DockerConfig;

wire_struct! {
    /// A task. Enough to run: `arn`, `desiredStatus` and containers; enough to stop: `arn` and `desiredStatus`.
    #[derive(Debug, PartialEq)]
    pub struct Task {
        /// ARN; the part after the last `/` is the task's id.
        "arn" arn: String,
        /// ARN of the cluster.
        "taskClusterArn" task_cluster_arn: String,
        /// `RUNNING` or `STOPPED`.
        "desiredStatus" desired_status: String,
        /// Task definition family.
        "family" family: String,
        /// Task definition revision.
        "version" version: String,
        /// The containers.
        "containers" containers: Vec<Container>,
        /// The volumes.
        "volumes" volumes: Vec<Volume>,
        /// Limit of the whole task in vCPUs: 0.25 is 256 CPU units.
        "cpu" cpu: Option<f64>,
        /// Limit of the whole task, MiB.
        "memory" memory: Option<i64>,
        /// `bridge` (also when absent), `host`, `none` or `awsvpc`.
        "networkMode" network_mode: String,
        /// `host` or `task`.
        "pidMode" pid_mode: String,
        /// `host`, `task` or `none`.
        "ipcMode" ipc_mode: String,
        /// What the containers get.
        "roleCredentials" role_credentials: Option<RoleCredentials>,
        /// What the agent uses for the task.
        "executionRoleCredentials" execution_role_credentials: Option<RoleCredentials>,
        /// Interfaces, in awsvpc mode.
        "elasticNetworkInterfaces" elastic_network_interfaces: Vec<ElasticNetworkInterface>,
        /// App Mesh proxy.
        "proxyConfiguration" proxy_configuration: Option<ProxyConfiguration>,
        /// GPUs and accelerators.
        "associations" associations: Vec<Association>,
        /// Attachments.
        "attachments" attachments: Vec<TaskAttachment>,
        /// `EC2`, `FARGATE` or `EXTERNAL`; for metadata only.
        "launchType" launch_type: String,
        /// Service name; for metadata only.
        "serviceName" service_name: String,
        /// Task group; for metadata only.
        "group" group: String,
        /// Whether fault endpoints are served for it.
        "enableFaultInjection" enable_fault_injection: bool,
        /// Not read by agents.
        "overrides" overrides: JsonText,
        /// Account of the task definition.
        "taskDefinitionAccountId" task_definition_account_id: String,
    }
}

impl Task {
    /// The task's id: what follows the last `/` of its ARN.
    #[must_use]
    pub fn id(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or(&self.arn)
    }
}

wire_struct! {
    /// A container of a task.
    #[derive(Debug, PartialEq)]
    pub struct Container {
        /// Name, unique in the task.
        "name" name: String,
        /// Image reference.
        "image" image: String,
        /// CPU units: 1024 is a core.
        "cpu" cpu: Option<i64>,
        /// Hard limit, MiB; 0 none.
        "memory" memory: Option<i64>,
        /// Whether its end is the task's. Absent means false.
        "essential" [always] essential: bool,
        /// Replaces the image's command.
        "command" command: Option<Vec<String>>,
        /// Replaces the image's entry point.
        "entryPoint" entry_point: Option<Vec<String>>,
        /// Variables.
        "environment" environment: BTreeMap<String, String>,
        /// Files of variables.
        "environmentFiles" environment_files: Vec<EnvironmentFile>,
        /// Secrets.
        "secrets" secrets: Vec<Secret>,
        /// Published ports.
        "portMappings" port_mappings: Vec<PortMapping>,
        /// Volumes and where they appear.
        "mountPoints" mount_points: Vec<MountPoint>,
        /// Containers whose mounts are taken over.
        "volumesFrom" volumes_from: Vec<VolumeFrom>,
        /// `name` or `name:alias`.
        "links" links: Vec<String>,
        /// What has to be true of other containers first.
        "dependsOn" depends_on: Vec<Dependency>,
        /// How long others wait for it, seconds.
        "startTimeout" start_timeout: Option<i64>,
        /// From TERM to KILL, seconds; 30 when absent.
        "stopTimeout" stop_timeout: Option<i64>,
        /// `docker`, when the container has a health check.
        "healthCheckType" health_check_type: String,
        /// Restarting in place.
        "restartPolicy" restart_policy: Option<RestartPolicy>,
        /// Where registry credentials come from.
        "registryAuthentication" registry_authentication: Option<RegistryAuthentication>,
        /// Log router.
        "firelensConfiguration" firelens_configuration: Option<FirelensConfiguration>,
        /// `ExecutionRole`.
        "logsAuthStrategy" logs_auth_strategy: String,
        /// Agents inside the container.
        "managedAgents" managed_agents: Vec<ManagedAgent>,
        /// gMSA.
        "credentialSpecs" credential_specs: Vec<String>,
        /// ARN; for metadata only.
        "containerArn" container_arn: String,
        /// `{"command": […]}` and nothing else.
        "overrides" overrides: Option<JsonText>,
        /// Settings in Docker's own names.
        "dockerConfig" docker_config: Option<DockerConfig>,
    }
}

wire_struct! {
    /// What a container's `overrides` may say; any other member makes an agent refuse the task.
    #[derive(Debug, PartialEq, Eq)]
    pub struct ContainerOverrides {
        /// Replaces the command.
        "command" command: Option<Vec<String>>,
    }
}

wire_struct! {
    /// A file of variables.
    #[derive(Debug, PartialEq, Eq)]
    pub struct EnvironmentFile {
        /// ARN of the object.
        "value" value: String,
        /// `s3`.
        "type" kind: String,
    }
}

wire_struct! {
    /// A secret.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Secret {
        /// Name of the variable or option.
        "name" name: String,
        /// Where the value is.
        "valueFrom" value_from: String,
        /// Region of the service that has it.
        "region" region: String,
        /// `ssm` or `asm`.
        "provider" provider: String,
        /// `ENVIRONMENT_VARIABLE`, `MOUNT_POINT` or `BOOTSTRAP`.
        "type" kind: String,
        /// Where a mounted one appears.
        "containerPath" container_path: String,
        /// `CONTAINER` or `LOG_DRIVER`.
        "target" target: String,
    }
}

wire_struct! {
    /// A published port or range of ports.
    #[derive(Debug, PartialEq, Eq)]
    pub struct PortMapping {
        /// Port in the container.
        "containerPort" container_port: u16,
        /// Port on the host; 0 lets the agent choose.
        "hostPort" host_port: u16,
        /// `from-to`, instead of a single port.
        "containerPortRange" container_port_range: String,
        /// `tcp` (also when absent) or `udp`.
        "protocol" protocol: String,
    }
}

wire_struct! {
    /// A volume and where it appears.
    #[derive(Debug, PartialEq, Eq)]
    pub struct MountPoint {
        /// Name of the volume.
        "sourceVolume" source_volume: String,
        /// Where.
        "containerPath" container_path: String,
        /// Not writable.
        "readOnly" read_only: bool,
    }
}

wire_struct! {
    /// A container whose mounts are taken over.
    #[derive(Debug, PartialEq, Eq)]
    pub struct VolumeFrom {
        /// Its name.
        "sourceContainer" source_container: String,
        /// Not writable.
        "readOnly" read_only: bool,
    }
}

wire_struct! {
    /// What has to be true of another container first.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Dependency {
        /// Its name.
        "containerName" container_name: String,
        /// `START`, `COMPLETE`, `SUCCESS`, `HEALTHY` (and `CREATE`).
        "condition" condition: String,
    }
}

wire_struct! {
    /// Restarting a container in place.
    #[derive(Debug, PartialEq, Eq)]
    pub struct RestartPolicy {
        /// Whether.
        "enabled" enabled: bool,
        /// Exit codes after which it is not restarted.
        "ignoredExitCodes" ignored_exit_codes: Vec<i64>,
        /// It has to have run so long, seconds; 300 when absent.
        "restartAttemptPeriod" restart_attempt_period: Option<i64>,
    }
}

wire_struct! {
    /// Where registry credentials come from.
    #[derive(Debug, PartialEq, Eq)]
    pub struct RegistryAuthentication {
        /// `ecr` or `asm`.
        "type" kind: String,
        /// For `ecr`.
        "ecrAuthData" ecr_auth_data: Option<EcrAuthData>,
        /// For `asm`.
        "asmAuthData" asm_auth_data: Option<AsmAuthData>,
    }
}

wire_struct! {
    /// Registry credentials from the registry service.
    #[derive(Debug, PartialEq, Eq)]
    pub struct EcrAuthData {
        /// Account of the registry.
        "registryId" registry_id: String,
        /// Its region.
        "region" region: String,
        /// Another endpoint.
        "endpointOverride" endpoint_override: String,
        /// Whether the execution role asks.
        "useExecutionRole" use_execution_role: bool,
    }
}

wire_struct! {
    /// Registry credentials from a secret.
    #[derive(Debug, PartialEq, Eq)]
    pub struct AsmAuthData {
        /// ARN of the secret.
        "credentialsParameter" credentials_parameter: String,
        /// Its region.
        "region" region: String,
    }
}

wire_struct! {
    /// Log router.
    #[derive(Debug, PartialEq, Eq)]
    pub struct FirelensConfiguration {
        /// `fluentd` or `fluentbit`.
        "type" kind: String,
        /// Options.
        "options" options: BTreeMap<String, String>,
    }
}

wire_struct! {
    /// An agent inside a container.
    #[derive(Debug, PartialEq, Eq)]
    pub struct ManagedAgent {
        /// `ExecuteCommandAgent`.
        "name" name: String,
        /// Properties.
        "properties" properties: BTreeMap<String, String>,
    }
}

wire_struct! {
    /// A volume of a task.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Volume {
        /// Name, unique in the task.
        "name" name: String,
        /// `host` (also when absent), `docker`, `efs`, `fsxWindowsFileServer`.
        "type" kind: String,
        /// For `host`; has to be there, also when empty.
        "host" host: Option<HostVolume>,
        /// For `docker`.
        "dockerVolumeConfiguration" docker_volume_configuration: Option<DockerVolumeConfiguration>,
        /// For `efs`.
        "efsVolumeConfiguration" efs_volume_configuration: Option<EfsVolumeConfiguration>,
    }
}

wire_struct! {
    /// A path of the host, or without one a volume that lives as long as the task.
    #[derive(Debug, PartialEq, Eq)]
    pub struct HostVolume {
        /// The path.
        "sourcePath" source_path: String,
    }
}

wire_struct! {
    /// A volume of the engine's.
    #[derive(Debug, PartialEq, Eq)]
    pub struct DockerVolumeConfiguration {
        /// `task` or `shared`.
        "scope" scope: String,
        /// Made when it is not there.
        "autoprovision" autoprovision: bool,
        /// Driver; `local` when absent.
        "driver" driver: String,
        /// Its options.
        "driverOpts" driver_opts: BTreeMap<String, String>,
        /// Labels.
        "labels" labels: BTreeMap<String, String>,
    }
}

wire_struct! {
    /// A volume on a shared file system.
    #[derive(Debug, PartialEq, Eq)]
    pub struct EfsVolumeConfiguration {
        /// Which.
        "fileSystemId" file_system_id: String,
        /// Directory on it.
        "rootDirectory" root_directory: String,
        /// `ENABLED` or `DISABLED`.
        "transitEncryption" transit_encryption: String,
        /// Port.
        "transitEncryptionPort" transit_encryption_port: Option<i64>,
        /// Access.
        "authorizationConfig" authorization_config: Option<EfsAuthorizationConfig>,
    }
}

wire_struct! {
    /// Access to a shared file system.
    #[derive(Debug, PartialEq, Eq)]
    pub struct EfsAuthorizationConfig {
        /// Access point.
        "accessPointId" access_point_id: String,
        /// `ENABLED` or `DISABLED`.
        "iam" iam: String,
    }
}

wire_struct! {
    /// A GPU or accelerator.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Association {
        /// Its id.
        "name" name: String,
        /// `gpu` or `elastic-inference`.
        "type" kind: String,
        /// Names of the containers that get it.
        "containers" containers: Vec<String>,
    }
}

wire_struct! {
    /// App Mesh proxy.
    #[derive(Debug, PartialEq, Eq)]
    pub struct ProxyConfiguration {
        /// `APPMESH`.
        "type" kind: String,
        /// The proxy.
        "containerName" container_name: String,
        /// Its properties.
        "properties" properties: BTreeMap<String, String>,
    }
}

wire_struct! {
    /// A name and a value.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Property {
        /// Name.
        "name" name: String,
        /// Value.
        "value" value: String,
    }
}

wire_struct! {
    /// Something attached to a task.
    #[derive(Debug, PartialEq, Eq)]
    pub struct TaskAttachment {
        /// ARN.
        "attachmentArn" attachment_arn: String,
        /// Type.
        "attachmentType" attachment_type: String,
        /// Properties.
        "attachmentProperties" attachment_properties: Vec<Property>,
    }
}

wire_struct! {
    /// An IPv4 address of an interface.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Ipv4Address {
        /// The address.
        "privateAddress" private_address: String,
        /// Whether it is the first.
        "primary" primary: bool,
    }
}

wire_struct! {
    /// An IPv6 address of an interface.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Ipv6Address {
        /// The address.
        "address" address: String,
        /// Whether it is the first.
        "primary" primary: bool,
    }
}

wire_struct! {
    /// A VLAN of a trunk interface.
    #[derive(Debug, PartialEq, Eq)]
    pub struct VlanProperties {
        /// VLAN id.
        "vlanId" vlan_id: String,
        /// MAC address of the trunk.
        "trunkInterfaceMacAddress" trunk_interface_mac_address: String,
    }
}

wire_struct! {
    /// A network interface.
    #[derive(Debug, PartialEq, Eq)]
    pub struct ElasticNetworkInterface {
        /// Name.
        "name" name: String,
        /// MAC address.
        "macAddress" mac_address: String,
        /// ARN of its attachment.
        "attachmentArn" attachment_arn: String,
        /// Its id.
        "ec2Id" ec2_id: String,
        /// Order among the task's.
        "index" index: i64,
        /// IPv4 addresses.
        "ipv4Addresses" ipv4_addresses: Vec<Ipv4Address>,
        /// IPv6 addresses.
        "ipv6Addresses" ipv6_addresses: Vec<Ipv6Address>,
        /// Gateway with prefix length, e.g. `10.0.0.1/24`.
        "subnetGatewayIpv4Address" subnet_gateway_ipv4_address: String,
        /// Gateway with prefix length.
        "subnetGatewayIpv6Address" subnet_gateway_ipv6_address: String,
        /// Search domains.
        "domainName" domain_name: Vec<String>,
        /// Name servers.
        "domainNameServers" domain_name_servers: Vec<String>,
        /// Its name in the private DNS.
        "privateDnsName" private_dns_name: String,
        /// `default` or `vlan`.
        "interfaceAssociationProtocol" interface_association_protocol: String,
        /// For `vlan`.
        "interfaceVlanProperties" interface_vlan_properties: Option<VlanProperties>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLEEPER: &str = r#"
        {"arn": "arn:aws:ecs:us-east-1:000000000000:task/demo/21f1fc998c994086bc954725551ffc9d",
         "taskClusterArn": "arn:aws:ecs:us-east-1:000000000000:cluster/demo", "family": "sleeper", "version": "1",
         "desiredStatus": "RUNNING", "networkMode": "bridge", "overrides": "{}", "launchType": "EC2", "group": "family:sleeper",
         "taskDefinitionAccountId": "000000000000", "volumes": [],
         "containers": [{"name": "main", "image": "busybox:local", "cpu": 64, "memory": 32, "essential": true,
           "entryPoint": ["sh", "-c"], "command": ["trap 'exit 7' TERM; echo up; while :; do sleep 0.2; done"],
           "environment": {"GREETING": "hello"},
           "portMappings": [{"containerPort": 8080, "hostPort": 0, "protocol": "tcp"}],
           "mountPoints": [], "volumesFrom": [], "links": [], "dependsOn": [], "overrides": "{}", "stopTimeout": 10,
           "dockerConfig": {"config": "{}", "hostConfig": "{\"NetworkMode\": \"bridge\", \"CapAdd\": [], \"CapDrop\": []}", "version": "1.25"},
           "containerArn": "arn:aws:ecs:us-east-1:000000000000:container/demo/x/c34e289f-276a-4969-85cd-dac9e84a5c8c"}]}"#;

    #[test]
    fn the_transcripts_task_is_read() {
        let task: Task = serde_json::from_str(SLEEPER).unwrap();
        assert_eq!(task.id(), "21f1fc998c994086bc954725551ffc9d");
        let container = &task.containers[0];
        assert_eq!((container.cpu, container.memory, container.essential), (Some(64), Some(32), true));
        assert_eq!(container.environment["GREETING"], "hello");
        assert_eq!(container.port_mappings[0].container_port, 8080);
        assert_eq!(container.docker_config.as_ref().unwrap().host_config().unwrap().network_mode, "bridge");
    }

    #[test]
    fn a_task_survives_being_written_and_read() {
        let task: Task = serde_json::from_str(SLEEPER).unwrap();
        let again: Task = serde_json::from_str(&serde_json::to_string(&task).unwrap()).unwrap();
        assert_eq!(again, task);
    }

    #[test]
    fn essential_is_always_written_and_false_when_absent() {
        assert!(serde_json::to_string(&Container::default()).unwrap().contains(r#""essential":false"#));
        assert!(!serde_json::from_str::<Container>("{}").unwrap().essential);
    }

    #[test]
    fn an_empty_host_volume_keeps_its_host_member() {
        let volume = Volume { name: "v".into(), host: Some(HostVolume::default()), ..Volume::default() };
        assert_eq!(serde_json::to_string(&volume).unwrap(), r#"{"name":"v","host":{}}"#);
    }

    #[test]
    fn container_overrides_may_be_an_object() {
        let container: Container = serde_json::from_str(r#"{"overrides":{"command":["a"]}}"#).unwrap();
        assert_eq!(container.overrides.unwrap().0, r#"{"command":["a"]}"#);
    }

    #[test]
    fn a_wrong_type_is_an_error() {
        assert!(
            serde_json::from_str::<Task>(r#"{"containers":[{"environment":[{"name":"A","value":"b"}]}]}"#).is_err()
        );
    }
}
