use serde_json::{Value, json};

use super::{accepts_container, and_container, base, refusal, refuses_container, registered, with, with_container};

// spec: 05-001, 05-019, 05-020, 08-010
#[test]
fn a_container_has_a_name_and_an_image() {
    let long = "x".repeat(256);
    refuses_container(
        &base(),
        &[
            (json!({"name": null}), "Container.name should not be null or empty."),
            (json!({"name": ""}), "Container.name should not be null or empty."),
            (json!({"name": "a b"}), "Container.name contains invalid characters."),
            (json!({"name": "a.b"}), "Container.name contains invalid characters."),
            (json!({"name": long}), "at most 255"),
            (json!({"image": null}), "Container.image should not be null or empty."),
            (json!({"image": "a b"}), "Container.image contains invalid characters."),
            (json!({"image": ":latest"}), "Container.image repository should not be null or empty."),
            (json!({"image": long}), "at most 255"),
        ],
    );
    accepts_container(
        &base(),
        &[
            json!({"name": "A-1_b"}),
            json!({"image": "quay.io/assemblyline/ubuntu"}),
            json!({"image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/web@sha256:0000000000000000000000000000000000000000000000000000000000000000"}),
        ],
    );
}

#[test]
fn container_names_are_unique() {
    let twice = and_container(base(), json!({"name": "app"}));
    assert!(refusal(&twice).contains("'app' is used more than once"));
}

// spec: 05-025, 05-028
#[test]
fn a_container_has_a_memory_size_unless_the_task_has_one() {
    refuses_container(
        &base(),
        &[
            (
                json!({"memory": null}),
                "Invalid setting for container 'app'. At least one of 'memory' or 'memoryReservation' must be specified.",
            ),
            (json!({"memory": 3}), "Invalid 'memory' setting for container 'app'"),
            (json!({"memory": 0}), "Invalid 'memory' setting for container 'app'"),
            (
                json!({"memory": null, "memoryReservation": 3}),
                "Invalid 'memoryReservation' setting for container 'app'",
            ),
            (json!({"memory": 128, "memoryReservation": 256}), "Invalid 'memory' setting for container 'app'"),
            (json!({"cpu": -1}), "Invalid 'cpu' setting for container 'app'"),
        ],
    );
    accepts_container(
        &base(),
        &[
            json!({"memory": 4}),
            json!({"memory": null, "memoryReservation": 128}),
            json!({"memory": 300, "memoryReservation": 128}),
            json!({"memory": 128, "memoryReservation": 128}),
        ],
    );
    registered(&with(with_container(base(), json!({"memory": null})), json!({"memory": "512"})));
}

// spec: 05-053, 05-054, 05-055
#[test]
fn health_checks_have_bounds() {
    let check = |change| json!({"healthCheck": with(json!({"command": ["CMD-SHELL", "true"]}), change)});
    refuses_container(
        &base(),
        &[
            (check(json!({"interval": 4})), "healthCheck.interval"),
            (check(json!({"interval": 301})), "healthCheck.interval"),
            (check(json!({"timeout": 1})), "healthCheck.timeout"),
            (check(json!({"timeout": 61})), "healthCheck.timeout"),
            (check(json!({"retries": 0})), "healthCheck.retries"),
            (check(json!({"retries": 11})), "healthCheck.retries"),
            (check(json!({"startPeriod": -1})), "healthCheck.startPeriod"),
            (check(json!({"startPeriod": 301})), "healthCheck.startPeriod"),
            (check(json!({"command": []})), "the command must not be empty"),
            (check(json!({"command": ["CMD"]})), "followed by no command"),
        ],
    );
    accepts_container(
        &base(),
        &[
            check(json!({"interval": 5, "timeout": 2, "retries": 1, "startPeriod": 0})),
            check(json!({"interval": 300, "timeout": 60, "retries": 10, "startPeriod": 300})),
            check(json!({"command": ["/bin/true"]})),
        ],
    );
}

// spec: 05-053, 05-054, 05-055
#[test]
fn health_checks_get_their_defaults() {
    let answer = registered(&with_container(base(), json!({"healthCheck": {"command": ["CMD", "true"]}})));
    let expected = json!({"command": ["CMD", "true"], "interval": 30, "timeout": 5, "retries": 3});
    assert_eq!(answer["containerDefinitions"][0]["healthCheck"], expected);
    let bare = registered(&with_container(base(), json!({"healthCheck": {"command": ["true"]}})));
    assert_eq!(bare["containerDefinitions"][0]["healthCheck"], expected);
}

// spec: 05-099
#[test]
fn users_have_six_forms() {
    let users = ["nobody", "nobody:users", "1000", "1000:1000", "nobody:1000", "1000:users", "0"];
    for user in users {
        registered(&with_container(base(), json!({"user": user})));
    }
    for user in ["-1", "1:-1", "a:b:c", ":users", "a b", ""] {
        assert!(refusal(&with_container(base(), json!({"user": user}))).contains("'user' setting"), "{user}");
    }
}

#[test]
fn variables_have_names_and_values() {
    refuses_container(
        &base(),
        &[
            (json!({"environment": [{"value": "v"}]}), "a variable has no name"),
            (json!({"environment": [{"name": "N"}]}), "the variable 'N' has no value"),
        ],
    );
    accepts_container(&base(), &[json!({"environment": [{"name": "N", "value": ""}]})]);
}

// spec: 05-071, 05-076, 08-043, 08-044
#[test]
fn environment_files_are_at_most_ten_env_objects() {
    let file = |value: &str| json!({"value": value, "type": "s3"});
    let files = |count| json!({"environmentFiles": vec![file("arn:aws:s3:::bucket/a.env"); count]});
    refuses_container(
        &base(),
        &[
            (files(11), "11 files are more than 10"),
            (json!({"environmentFiles": [file("arn:aws:s3:::bucket/a.txt")]}), "ends with .env"),
            (json!({"environmentFiles": [file("s3://bucket/a.env")]}), "ends with .env"),
            (json!({"environmentFiles": [file("arn:aws:s3:::a.env")]}), "ends with .env"),
        ],
    );
    accepts_container(&base(), &[files(10)]);
    let side = json!({"name": "side", "image": "busybox", "memory": 10, "environmentFiles": vec![file("arn:aws:s3:::bucket/b.env"); 5]});
    let both = |count| and_container(with_container(base(), files(count)), side.clone());
    registered(&both(5));
    assert!(refusal(&both(6)).contains("11 files are more than 10"));
}

#[test]
fn secrets_come_from_secrets_manager_or_parameter_store() {
    let role = with(base(), json!({"executionRoleArn": "execution"}));
    let secret = |value_from: &str| json!({"secrets": [{"name": "S", "valueFrom": value_from}]});
    accepts_container(
        &role,
        &[
            secret("arn:aws:secretsmanager:eu-west-1:123456789012:secret:s-abcdef"),
            secret("arn:aws:secretsmanager:eu-west-1:123456789012:secret:s-abcdef:key::"),
            secret("arn:aws:ssm:eu-west-1:123456789012:parameter/a/b"),
            secret("/a/b"),
        ],
    );
    refuses_container(
        &role,
        &[
            (secret(""), "valueFrom of 'S'"),
            (secret("arn:aws:s3:::bucket/a"), "valueFrom of 'S'"),
            (secret("arn:aws:ssm:eu-west-1:123456789012:document/a"), "valueFrom of 'S'"),
            (
                json!({"secrets": [{"name": "A", "valueFrom": "a"}, {"name": "A", "valueFrom": "b"}]}),
                "Duplicate secret names found: A. Each secret name must be unique.",
            ),
            (
                json!({"secrets": [{"name": "A", "valueFrom": "a"}], "environment": [{"name": "A", "value": ""}]}),
                "The secret name must be unique and not shared with any new or existing environment variables set on the container, such as 'A'.",
            ),
        ],
    );
    let refused = refusal(&with_container(base(), secret("a")));
    assert_eq!(
        refused,
        "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'."
    );
}

#[test]
fn registry_credentials_are_a_secrets_manager_secret() {
    let credentials = |parameter: &str| json!({"repositoryCredentials": {"credentialsParameter": parameter}});
    let role = with(base(), json!({"executionRoleArn": "execution"}));
    let secret = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:s-abcdef";
    accepts_container(&role, &[credentials(secret), credentials("my-secret")]);
    refuses_container(&role, &[(credentials("arn:aws:ssm:eu-west-1:123456789012:parameter/a"), "Secrets Manager")]);
    refuses_container(&base(), &[(credentials(secret), "'executionRoleArn'")]);
}

// spec: 05-106, 05-107
#[test]
fn capabilities_are_those_of_the_kernel() {
    let add = |name: &str| json!({"linuxParameters": {"capabilities": {"add": [name]}}});
    let drop = |name: &str| json!({"linuxParameters": {"capabilities": {"drop": [name]}}});
    accepts_container(&base(), &[add("ALL"), add("NET_ADMIN"), add("AUDIT_READ"), drop("ALL"), drop("MKNOD")]);
    refuses_container(
        &base(),
        &[
            (add("FOO"), "'FOO' can't be added"),
            (add("net_admin"), "can't be added"),
            (drop("FOO"), "'FOO' can't be dropped"),
            (drop("AUDIT_READ"), "'AUDIT_READ' can't be dropped"),
        ],
    );
}

// spec: 05-114, 10-073, 31-016
#[test]
fn linux_parameters_have_bounds() {
    let linux = |parameters| json!({"linuxParameters": parameters});
    let tmpfs = |change| linux(json!({"tmpfs": [with(json!({"containerPath": "/t", "size": 64}), change)]}));
    refuses_container(
        &base(),
        &[
            (linux(json!({"maxSwap": -1})), "'maxSwap' setting"),
            (linux(json!({"swappiness": -1})), "'swappiness' setting"),
            (linux(json!({"swappiness": 101})), "'swappiness' setting"),
            (linux(json!({"sharedMemorySize": 0})), "'sharedMemorySize' setting"),
            (linux(json!({"devices": [{"containerPath": "/dev/x"}]})), "no hostPath"),
            (tmpfs(json!({"containerPath": "t"})), "not absolute"),
            (tmpfs(json!({"size": 0})), "at least 1 MiB"),
            (tmpfs(json!({"mountOptions": ["fast"]})), "'fast' is no mount option"),
        ],
    );
    accepts_container(
        &base(),
        &[
            linux(json!({"maxSwap": 0, "swappiness": 100, "sharedMemorySize": 64, "initProcessEnabled": true})),
            linux(json!({"devices": [{"hostPath": "/dev/null", "permissions": ["read"]}]})),
            tmpfs(json!({"mountOptions": ["noexec", "mode=1777"]})),
        ],
    );
}

#[test]
fn ulimits_have_a_soft_limit_within_the_hard_one() {
    let ulimit = |soft: i32, hard: i32| json!({"ulimits": [{"name": "nofile", "softLimit": soft, "hardLimit": hard}]});
    accepts_container(&base(), &[ulimit(1024, 4096), ulimit(-1, -1), ulimit(1, -1)]);
    refuses_container(
        &base(),
        &[
            (ulimit(2, 1), "softLimit 2 of nofile is above hardLimit 1"),
            (ulimit(-1, 1), "above hardLimit"),
            (json!({"ulimits": [{"name": "nofile", "softLimit": 1}]}), "needs a softLimit and a hardLimit"),
            (
                json!({"ulimits": [{"name": "core", "softLimit": 0, "hardLimit": 0}, {"name": "core", "softLimit": 1, "hardLimit": 1}]}),
                "core is given more than once",
            ),
        ],
    );
}

// spec: 05-127, 05-129
#[test]
fn system_controls_are_those_of_the_containers_namespaces() {
    let control = |namespace: &str| json!({"systemControls": [{"namespace": namespace, "value": "1"}]});
    let all = [
        "net.core.somaxconn",
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "fs.mqueue.msg_max",
    ]
    .map(control);
    accepts_container(&base(), &all);
    refuses_container(
        &base(),
        &[(control("kernel.hostname"), "'kernel.hostname' is not"), (control("vm.swappiness"), "is not")],
    );
    let host = with(base(), json!({"networkMode": "host"}));
    refuses_container(&host, &[(control("net.core.somaxconn"), "networkMode=host")]);
    accepts_container(&host, &[control("kernel.shmmax")]);
    let host_ipc = with(base(), json!({"ipcMode": "host"}));
    refuses_container(&host_ipc, &[(control("kernel.shmmax"), "ipcMode=host")]);
    accepts_container(&host_ipc, &[control("net.core.somaxconn")]);
}

#[test]
fn timeouts_are_not_negative() {
    refuses_container(
        &base(),
        &[
            (json!({"startTimeout": -1}), "'startTimeout' setting"),
            (json!({"stopTimeout": -1}), "'stopTimeout' setting"),
        ],
    );
    accepts_container(&base(), &[json!({"startTimeout": 0, "stopTimeout": 600})]);
}

#[test]
fn restart_policies_have_bounds_and_a_default_period() {
    refuses_container(
        &base(),
        &[
            (json!({"restartPolicy": {"enabled": true, "restartAttemptPeriod": 59}}), "not between 60 and 1800"),
            (json!({"restartPolicy": {"enabled": true, "restartAttemptPeriod": 1801}}), "not between 60 and 1800"),
            (json!({"restartPolicy": {"enabled": true, "ignoredExitCodes": vec![0; 51]}}), "more than 50"),
        ],
    );
    let answer = registered(&with_container(base(), json!({"restartPolicy": {"enabled": true}})));
    assert_eq!(answer["containerDefinitions"][0]["restartPolicy"]["restartAttemptPeriod"], 300);
}

#[test]
fn a_gpu_requirement_is_a_number_of_gpus() {
    let gpus = |value: &str| json!({"resourceRequirements": [{"type": "GPU", "value": value}]});
    accepts_container(&base(), &[gpus("2")]);
    refuses_container(
        &base(),
        &[(gpus("0"), "'0' is no number of GPUs"), (gpus("all"), "no number of GPUs"), (gpus("-1"), "no number")],
    );
}

#[test]
fn gpus_are_counted_shared_or_all() {
    let requires = |requirement: Value| json!({"resourceRequirements": [requirement]});
    let share = json!({"nvidiaMps": {"memory": 512}});
    accepts_container(
        &base(),
        &[requires(json!({"type": "GPU", "value": "ALL"})), requires(json!({"type": "GPU", "sharingStrategy": share}))],
    );
    refuses_container(
        &base(),
        &[
            (requires(json!({"type": "GPU", "value": "1", "sharingStrategy": share})), "not both"),
            (requires(json!({"type": "GPU", "sharingStrategy": {}})), "exactly one member"),
            (requires(json!({"type": "NeuronDevice", "sharingStrategy": share})), "for GPUs only"),
            (requires(json!({"type": "NeuronDevice", "value": "1"})), "use ALL"),
        ],
    );
    let shared = with_container(base(), requires(json!({"type": "GPU", "sharingStrategy": share})));
    let mut counted = requires(json!({"type": "GPU", "value": "1"}));
    counted["name"] = json!("other");
    assert!(refusal(&and_container(shared, counted)).contains("must all give a value, or all a sharingStrategy"));
}

#[test]
fn a_container_has_one_credential_specification() {
    let specs = |specs: Value| json!({ "credentialSpecs": specs });
    let (arn, domainless) = ("credentialspec:arn:aws:s3:::b/k", "credentialspecdomainless:arn:aws:s3:::b/k");
    accepts_container(&base(), &[specs(json!([arn])), specs(json!([domainless])), specs(json!([]))]);
    refuses_container(
        &base(),
        &[(specs(json!([arn, domainless])), "2 specifications"), (specs(json!(["k"])), "'k' is neither")],
    );
}

#[test]
fn an_accelerator_requirement_names_a_declared_accelerator() {
    let required = json!({"resourceRequirements": [{"type": "InferenceAccelerator", "value": "d1"}]});
    refuses_container(&base(), &[(required.clone(), "declares no inference accelerator 'd1'")]);
    let declared = with(base(), json!({"inferenceAccelerators": [{"deviceName": "d1", "deviceType": "eia2.medium"}]}));
    let answer = registered(&with_container(declared, required));
    assert_eq!(answer["inferenceAccelerators"][0]["deviceName"], "d1");
}
