use serde_json::{Value, json};

use super::{and_container, base, fargate, refusal, register, registered, with, with_container};
use crate::task_definition::needs_current_fargate;

fn compatibilities(document: &Value) -> Value {
    registered(document)["compatibilities"].clone()
}

/// Fargate refuses the change when FARGATE is required, and is no compatibility when it is not.
fn not_for_fargate(change: impl Fn(Value) -> Value, message: &str) {
    let refused = refusal(&change(fargate()));
    assert!(refused.contains(message), "{refused}");
    // What a network of the task's own forbids as well is tried on a bridge.
    let undecided = |document: Value| change(with(document, json!({"requiresCompatibilities": null})));
    let mut on_ec2 = [undecided(fargate()), undecided(base())].into_iter();
    let on_ec2 = on_ec2.find(|document| register(document).is_ok()).expect(message);
    let found = compatibilities(&on_ec2);
    let found = found.as_array().unwrap();
    assert!(found.contains(&json!("EC2")) && !found.contains(&json!("FARGATE")), "{message} {found:?}");
}

// spec: 03-073, 05-152
#[test]
fn compatibilities_are_found_out() {
    let requires = |document: Value, required: Value| with(document, json!({ "requiresCompatibilities": required }));
    assert_eq!(compatibilities(&requires(base(), json!(["EC2"]))), json!(["EC2"]));
    assert_eq!(compatibilities(&requires(fargate(), json!(["EC2"]))), json!(["EC2", "FARGATE"]));
    for required in [json!(null), json!(["EXTERNAL"]), json!(["EXTERNAL", "EC2"])] {
        assert_eq!(compatibilities(&requires(base(), required)), json!(["EXTERNAL", "EC2"]));
    }
    for required in [json!(null), json!(["FARGATE"]), json!(["MANAGED_INSTANCES"]), json!(["FARGATE", "EC2"])] {
        assert_eq!(compatibilities(&requires(fargate(), required)), json!(["EC2", "MANAGED_INSTANCES", "FARGATE"]));
    }
    let on_host = with(base(), json!({"networkMode": "host"}));
    assert_eq!(compatibilities(&on_host), json!(["EXTERNAL", "EC2", "MANAGED_INSTANCES"]));
}

// spec: 31-031
#[test]
fn external_instances_have_no_awsvpc() {
    let external = with(base(), json!({"requiresCompatibilities": ["EXTERNAL"], "networkMode": "awsvpc"}));
    assert_eq!(refusal(&external), "External instances do not support network mode 'awsvpc'.");
}

#[test]
fn managed_instances_have_no_bridge() {
    let managed =
        |mode: Value| with(base(), json!({"requiresCompatibilities": ["MANAGED_INSTANCES"], "networkMode": mode}));
    for mode in ["awsvpc", "host", "none"] {
        let found = compatibilities(&managed(json!(mode)));
        assert!(found.as_array().unwrap().contains(&json!("MANAGED_INSTANCES")), "{mode} {found}");
    }
    for mode in [json!("bridge"), json!(null)] {
        assert_eq!(refusal(&managed(mode)), "Managed instances do not support network mode 'bridge'.");
    }
}

#[test]
fn neuron_devices_and_sandboxes_are_for_managed_instances_only() {
    let on_host = with(base(), json!({"networkMode": "host"}));
    let neuron = json!({"resourceRequirements": [{"type": "NeuronDevice", "value": "ALL"}]});
    let sandbox = json!({"trustedExecutionConfiguration": {"isolationMode": "ISOLATED_SANDBOX"}});
    for (own, what) in
        [(with_container(on_host.clone(), neuron.clone()), "NeuronDevice"), (with(on_host.clone(), sandbox), "SANDBOX")]
    {
        assert_eq!(compatibilities(&own), json!(["MANAGED_INSTANCES"]), "{what}");
        for launch_type in ["EC2", "EXTERNAL", "FARGATE"] {
            let refused = refusal(&with(own.clone(), json!({"requiresCompatibilities": [launch_type]})));
            assert!(refused.contains("supported on managed instances only") || launch_type == "FARGATE", "{refused}");
        }
    }
    assert!(refusal(&with_container(base(), neuron.clone())).contains("network mode 'bridge'"));
    let two = and_container(with_container(on_host.clone(), neuron.clone()), with(neuron, json!({"name": "other"})));
    assert!(refusal(&two).contains("Only one container"));
    let confidential = json!({"trustedExecutionConfiguration": {"isolationMode": "CONFIDENTIAL_SANDBOX"}});
    assert!(refusal(&with(on_host.clone(), confidential)).contains("attestationPolicy"));
    let shared = json!({"trustedExecutionConfiguration": {"isolationMode": "SHARED"}});
    assert_eq!(compatibilities(&with(on_host, shared)), json!(["EXTERNAL", "EC2", "MANAGED_INSTANCES"]));
    let sharing = json!([{"type": "GPU", "sharingStrategy": {"nvidiaMps": {"memory": 1}}}]);
    let sharing = with_container(base(), json!({ "resourceRequirements": sharing }));
    assert_eq!(compatibilities(&sharing), json!(["EC2"]));
    let external = with(sharing, json!({"requiresCompatibilities": ["EXTERNAL"]}));
    assert_eq!(refusal(&external), "External instances do not support GPU sharing.");
}

#[test]
fn managed_instances_do_not_take_every_member() {
    let managed = || with(base(), json!({"requiresCompatibilities": ["MANAGED_INSTANCES"], "networkMode": "host"}));
    let volume = |volume: Value| with(managed(), json!({"volumes": [volume]}));
    let linux = |linux: Value| with_container(managed(), json!({ "linuxParameters": linux }));
    for (document, member) in [
        (with(managed(), json!({"ipcMode": "task"})), "ipcMode"),
        (
            with(
                managed(),
                json!({"networkMode": "awsvpc", "runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}}),
            ),
            "Windows",
        ),
        (volume(json!({"name": "v", "dockerVolumeConfiguration": {"scope": "task"}})), "dockerVolumeConfiguration"),
        (with_container(managed(), json!({"dnsServers": ["10.0.0.2"]})), "dnsServers"),
        (with_container(managed(), json!({"dockerSecurityOptions": ["no-new-privileges"]})), "dockerSecurityOptions"),
        (linux(json!({"swappiness": 10})), "swappiness"),
        (linux(json!({"sharedMemorySize": 64})), "sharedMemorySize"),
        (linux(json!({"tmpfs": [{"containerPath": "/t", "size": 8}]})), "tmpfs"),
    ] {
        assert_eq!(refusal(&document), format!("Managed instances do not support {member}."));
        let anywhere = with(document, json!({"requiresCompatibilities": null}));
        if register(&anywhere).is_ok() {
            let found = compatibilities(&anywhere);
            assert!(!found.as_array().unwrap().contains(&json!("MANAGED_INSTANCES")), "{member} {found}");
        }
    }
    registered(&volume(json!({"name": "v", "host": {"sourcePath": "/var/data"}})));
    registered(&with_container(managed(), json!({"privileged": true})));
}

// spec: 02-022
#[test]
fn fargate_has_awsvpc_only() {
    for mode in [json!(null), json!("bridge"), json!("host"), json!("none")] {
        not_for_fargate(
            |document| with(document, json!({"networkMode": mode})),
            "Fargate only supports network mode ‘awsvpc’.",
        );
    }
}

// spec: 02-024, 05-152
#[test]
fn fargate_has_its_sizes_only() {
    for (change, message) in [
        (json!({"cpu": null}), "Fargate requires that 'cpu' be defined at the task level."),
        (json!({"memory": null}), "Fargate requires that 'memory' be defined at the task level."),
        (
            json!({"memory": "4096"}),
            "No Fargate configuration exists for given values: 256 CPU, 4096 memory. See the Amazon ECS documentation for the valid values.",
        ),
        (json!({"cpu": "300"}), "No Fargate configuration exists for given values: 300 CPU, 512 memory."),
    ] {
        not_for_fargate(|document| with(document, change.clone()), message);
    }
    registered(&with(fargate(), json!({"cpu": ".25 vCPU", "memory": "0.5GB"})));
    registered(&with(with_container(fargate(), json!({"memory": null})), json!({"cpu": "16384", "memory": "122880"})));
}

// spec: 24-031
#[test]
fn each_cpu_of_fargate_has_its_memory() {
    let sized = |cpu: i32, memory: i32| {
        let task = with_container(fargate(), json!({"memory": null}));
        with(task, json!({"cpu": cpu.to_string(), "memory": memory.to_string()}))
    };
    for (cpu, least, most, step) in [
        (256, 512, 2048, 512),
        (512, 1024, 4096, 1024),
        (1024, 2048, 8192, 1024),
        (2048, 4096, 16_384, 1024),
        (4096, 8192, 30_720, 1024),
        (8192, 16_384, 61_440, 4096),
        (16_384, 32_768, 122_880, 8192),
    ] {
        for memory in (512..=131_072).step_by(512) {
            let in_steps = (least..=most).contains(&memory) && memory % step == 0;
            let known = if cpu == 256 { matches!(memory, 512 | 1024 | 2048) } else { in_steps };
            assert_eq!(register(&sized(cpu, memory)).is_ok(), known, "{cpu} {memory}");
        }
    }
}

// spec: 02-004, 02-005, 02-006, 02-007, 02-008, 02-009, 02-011, 02-014, 02-017, 02-018, 02-019, 02-021
#[test]
fn fargate_containers_have_no_access_to_the_host() {
    for (change, message) in [
        (json!({"disableNetworking": true}), "disableNetworking"),
        (json!({"dnsSearchDomains": ["a.local"]}), "dnsSearchDomains"),
        (json!({"dnsServers": ["1.1.1.1"]}), "dnsServers"),
        (json!({"dockerSecurityOptions": ["no-new-privileges"]}), "dockerSecurityOptions"),
        (json!({"extraHosts": [{"hostname": "a", "ipAddress": "10.0.0.9"}]}), "extraHosts"),
        (json!({"resourceRequirements": [{"type": "GPU", "value": "1"}]}), "GPU"),
        (json!({"privileged": true}), "privileged"),
        (json!({"linuxParameters": {"devices": [{"hostPath": "/dev/null"}]}}), "do not support devices"),
        (json!({"linuxParameters": {"sharedMemorySize": 64}}), "sharedMemorySize"),
        (json!({"linuxParameters": {"tmpfs": [{"containerPath": "/t", "size": 1}]}}), "tmpfs"),
        (json!({"linuxParameters": {"maxSwap": 1}}), "maxSwap"),
        (json!({"linuxParameters": {"swappiness": 1}}), "swappiness"),
    ] {
        not_for_fargate(|document| with_container(document, change.clone()), message);
    }
    let linked = |document| and_container(with_container(document, json!({"links": ["db"]})), json!({"name": "db"}));
    not_for_fargate(linked, "Links are not supported");
}

// spec: 02-010, 02-013
#[test]
fn fargate_tasks_have_no_access_to_the_host() {
    for (change, message) in [
        (json!({"ipcMode": "task"}), "Tasks using the Fargate launch type do not support ipcMode."),
        (
            json!({"pidMode": "host"}),
            "Tasks using the Fargate launch type do not support pidMode 'host'. The supported value for pidMode is 'task'.",
        ),
        (json!({"placementConstraints": [{"type": "memberOf", "expression": "a"}]}), "placementConstraints"),
    ] {
        not_for_fargate(|document| with(document, change.clone()), message);
    }
}

// spec: 26-006, 30-017
#[test]
fn fargate_adds_only_sys_ptrace() {
    let capabilities = |change: Value| json!({"linuxParameters": {"capabilities": change}});
    registered(&with_container(fargate(), capabilities(json!({"add": ["SYS_PTRACE"]}))));
    registered(&with_container(fargate(), capabilities(json!({"drop": ["ALL"]}))));
    not_for_fargate(|document| with_container(document, capabilities(json!({"add": ["NET_ADMIN"]}))), "SYS_PTRACE");
}

// spec: 02-020, 02-036
#[test]
fn fargate_volumes_are_empty_or_efs() {
    let volume = |change: Value| json!({"volumes": [with(json!({"name": "v"}), change)]});
    registered(&with(fargate(), volume(json!({"host": {}}))));
    registered(&with(fargate(), volume(json!({"efsVolumeConfiguration": {"fileSystemId": "fs-1"}}))));
    let docker = volume(json!({"dockerVolumeConfiguration": {"scope": "task"}}));
    not_for_fargate(|document| with(document, docker.clone()), "dockerVolumeConfiguration");
    let host = volume(json!({"host": {"sourcePath": "/srv"}}));
    not_for_fargate(
        |document| with(document, host.clone()),
        "Fargate compatible task definitions do not support sourcePath",
    );
}

// spec: 02-027
#[test]
fn fargate_has_three_log_drivers() {
    let logs = |driver: &str| json!({"logConfiguration": {"logDriver": driver}});
    for driver in ["gelf", "json-file", "journald", "syslog", "fluentd"] {
        let message = format!("{driver} is not a valid log driver. Must be one of [awslogs,splunk,awsfirelens]");
        not_for_fargate(|document| with_container(document, logs(driver)), &message);
    }
    registered(&with_container(fargate(), logs("splunk")));
}

// spec: 07-053
#[test]
fn a_log_router_on_fargate_has_its_configuration_in_the_image() {
    let router = |kind: &str, value: &str| {
        let options = json!({"config-file-type": kind, "config-file-value": value});
        let router = json!({"name": "router", "firelensConfiguration": {"type": "fluentbit", "options": options}});
        let logs = json!({"logConfiguration": {"logDriver": "awsfirelens"}});
        move |document: Value| and_container(with_container(document, logs.clone()), router.clone())
    };
    registered(&router("file", "/extra.conf")(fargate()));
    not_for_fargate(router("s3", "arn:aws:s3:::bucket/extra.conf"), "config-file-type s3");
}

// spec: 07-015
#[test]
fn fargate_needs_an_execution_role_for_logs_and_ecr() {
    let options = json!({"awslogs-region": "r", "awslogs-group": "g", "awslogs-stream-prefix": "p"});
    let logs = json!({"logConfiguration": {"logDriver": "awslogs", "options": options}});
    let unprefixed =
        json!({"logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-region": "r", "awslogs-group": "g"}}});
    let ecr = json!({"image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/web:1"});
    let role = with(fargate(), json!({"executionRoleArn": "execution"}));
    registered(&with_container(role.clone(), logs.clone()));
    registered(&with_container(role.clone(), ecr.clone()));
    assert_eq!(
        refusal(&with_container(role.clone(), unprefixed.clone())),
        "Fargate requires log configuration options to include awslogs-stream-prefix to support log driver awslogs."
    );
    let on_ec2 = with(role, json!({"requiresCompatibilities": null}));
    assert_eq!(compatibilities(&with_container(on_ec2, unprefixed)), json!(["EC2", "MANAGED_INSTANCES"]));
    not_for_fargate(
        |document| with_container(document, logs.clone()),
        "Fargate requires task definition to have execution role ARN to support log driver awslogs.",
    );
    not_for_fargate(
        |document| with_container(document, ecr.clone()),
        "Fargate requires task definition to have execution role ARN to support ECR images.",
    );
}

#[test]
fn fargate_stops_within_two_minutes() {
    registered(&with_container(fargate(), json!({"stopTimeout": 120})));
    not_for_fargate(|document| with_container(document, json!({"stopTimeout": 121})), "120 seconds");
    for member in ["startTimeout", "stopTimeout"] {
        let short = |document| with_container(document, json!({ member: 1 }));
        not_for_fargate(short, "Fargate allows 2 at least");
        registered(&with_container(fargate(), json!({ member: 2 })));
    }
    not_for_fargate(|document| with_container(document, json!({"startTimeout": 121})), "startTimeout");
}

#[test]
fn what_fargate_has_since_1_4_0_is_told() {
    let needs = |document: &Value| needs_current_fargate(&register(document).unwrap());
    assert_eq!(needs(&fargate()), None);
    assert_eq!(needs(&with(fargate(), json!({"pidMode": "task"}))), Some("pidMode"));
    let files = json!({"environmentFiles": [{"value": "arn:aws:s3:::b/a.env", "type": "s3"}]});
    assert_eq!(needs(&with_container(fargate(), files)), Some("environmentFiles"));
    let controls = json!({"systemControls": [{"namespace": "net.core.somaxconn", "value": "1"}]});
    assert_eq!(needs(&with_container(fargate(), controls)), Some("systemControls"));
    let capabilities = json!({"linuxParameters": {"capabilities": {"add": ["SYS_PTRACE"]}}});
    assert_eq!(needs(&with_container(fargate(), capabilities)), Some("capabilities"));
    let secret = |from: &str| {
        let secrets = json!({"secrets": [{"name": "S", "valueFrom": from}]});
        with_container(with(fargate(), json!({"executionRoleArn": "execution"})), secrets)
    };
    let whole = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:s-AbCdEf";
    assert_eq!(needs(&secret(whole)), None);
    assert_eq!(needs(&secret(&format!("{whole}:key::"))), Some("JSON key or version of a secret"));
}

#[test]
fn the_guides_fargate_sample_registers() {
    let sample = json!({
        "family": "sample-fargate", "networkMode": "awsvpc", "cpu": "256", "memory": "512",
        "requiresCompatibilities": ["FARGATE"], "executionRoleArn": "arn:aws:iam::012345678910:role/ecsTaskExecutionRole",
        "containerDefinitions": [{
            "name": "sample-fargate-app", "image": "httpd:2.4", "entryPoint": ["sh", "-c"], "essential": true,
            "command": ["/bin/sh -c \"httpd-foreground\""],
            "portMappings": [{"containerPort": 80, "hostPort": 80, "protocol": "tcp"}],
            "logConfiguration": {"logDriver": "awslogs", "options": {
                "awslogs-group": "/ecs/fargate-task-definition", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "ecs"}},
        }],
    });
    assert_eq!(compatibilities(&sample), json!(["EC2", "MANAGED_INSTANCES", "FARGATE"]));
}
