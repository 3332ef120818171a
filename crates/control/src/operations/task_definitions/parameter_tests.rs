//! Parameters of task definitions through the API: what comes back, what is refused, what it does to placement.

use serde_json::{Value, json};

use crate::operations::testing::World;

/// Fails unless everything that was given is in what came back; more may have been filled in.
fn comes_back(given: &Value, answered: &Value, at: &str) {
    match (given, answered) {
        (Value::Object(given), Value::Object(answered)) => {
            for (name, value) in given {
                let found = answered.get(name).unwrap_or_else(|| panic!("{at}.{name} is lost"));
                comes_back(value, found, &format!("{at}.{name}"));
            }
        }
        (Value::Array(given), Value::Array(answered)) => {
            assert_eq!(given.len(), answered.len(), "{at}");
            for (index, value) in given.iter().enumerate() {
                comes_back(value, &answered[index], &format!("{at}[{index}]"));
            }
        }
        _ => assert_eq!(given, answered, "{at}"),
    }
}

async fn registered(world: &World, given: Value) -> Value {
    let answer = world.ok("RegisterTaskDefinition", given.clone()).await;
    let arn = answer["taskDefinition"]["taskDefinitionArn"].clone();
    let described = world.ok("DescribeTaskDefinition", json!({"taskDefinition": arn, "include": ["TAGS"]})).await;
    assert_eq!(described["taskDefinition"], answer["taskDefinition"]);
    let mut definition = described["taskDefinition"].clone();
    definition["tags"] = described["tags"].clone();
    comes_back(&given, &definition, "");
    definition
}

async fn refused(world: &World, given: Value) -> String {
    let (code, message) = world.refused("RegisterTaskDefinition", given).await;
    assert_eq!(code, "ClientException", "{message}");
    message
}

/// A task definition of one container with `own` members.
fn container(own: Value) -> Value {
    let mut main = json!({"name": "main", "image": "busybox", "memory": 64});
    main.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    json!({"family": "web", "containerDefinitions": [main]})
}

fn with(mut definition: Value, own: Value) -> Value {
    definition.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    definition
}

fn fargate(cpu: &str, memory: &str) -> Value {
    let own = json!({"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": cpu, "memory": memory});
    with(container(json!({})), own)
}

// spec: 04-022
#[tokio::test]
async fn every_member_of_a_task_definition_comes_back() {
    let world = World::new().await;
    let proxy = json!({
        "type": "APPMESH", "containerName": "main",
        "properties": [
            {"name": "IgnoredUID", "value": "1337"}, {"name": "AppPorts", "value": "9080"},
            {"name": "ProxyIngressPort", "value": "15000"}, {"name": "ProxyEgressPort", "value": "15001"},
            {"name": "EgressIgnoredIPs", "value": "169.254.170.2,169.254.169.254"},
        ],
    });
    let whole = json!({
        "taskRoleArn": "arn:aws:iam::123456789012:role/task",
        "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
        "networkMode": "awsvpc",
        "volumes": [{"name": "data", "host": {"sourcePath": "/srv"}}],
        "placementConstraints": [{"type": "memberOf", "expression": "attribute:ecs.os-type == linux"}],
        "requiresCompatibilities": ["EC2"], "cpu": "512", "memory": "1024",
        "tags": [{"key": "team", "value": "web"}],
        "pidMode": "host", "ipcMode": "task", "proxyConfiguration": proxy,
        "inferenceAccelerators": [{"deviceName": "device1", "deviceType": "eia1.medium"}],
        "runtimePlatform": {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
        "enableFaultInjection": true,
    });
    registered(&world, with(container(json!({})), whole)).await;
}

// spec: 04-023, 08-041
#[tokio::test]
async fn every_member_of_a_container_comes_back() {
    let world = World::new().await;
    let first = json!({
        "name": "main", "image": "busybox", "repositoryCredentials": {
            "credentialsParameter": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:registry",
        },
        "cpu": 10, "memory": 128, "memoryReservation": 64, "links": ["other:alias"],
        "portMappings": [{"containerPort": 80, "hostPort": 8080, "protocol": "udp"}, {"containerPort": 81}],
        "essential": true, "restartPolicy": {"enabled": true, "ignoredExitCodes": [0], "restartAttemptPeriod": 60},
        "entryPoint": ["sh", "-c"], "command": ["date"],
        "environment": [{"name": "WHO", "value": "me"}],
        "environmentFiles": [{"value": "arn:aws:s3:::bucket/a.env", "type": "s3"}],
        "mountPoints": [{"sourceVolume": "data", "containerPath": "/data", "readOnly": true}],
        "volumesFrom": [{"sourceContainer": "other", "readOnly": true}],
        "linuxParameters": {
            "capabilities": {"add": ["SYS_PTRACE"], "drop": ["MKNOD"]}, "initProcessEnabled": true,
            "devices": [{"hostPath": "/dev/fuse", "containerPath": "/dev/fuse", "permissions": ["read", "write"]}],
            "sharedMemorySize": 64, "tmpfs": [{"containerPath": "/tmp", "size": 16, "mountOptions": ["rw"]}],
            "maxSwap": 128, "swappiness": 10,
        },
    });
    let rest = json!({
        "secrets": [{"name": "KEY", "valueFrom": "arn:aws:ssm:eu-west-1:123456789012:parameter/key"}],
        "dependsOn": [{"containerName": "other", "condition": "START"}],
        "startTimeout": 30, "stopTimeout": 40, "hostname": "web", "user": "1000:1000", "workingDirectory": "/srv",
        "disableNetworking": false, "privileged": true, "readonlyRootFilesystem": true,
        "dnsServers": ["10.0.0.2"], "dnsSearchDomains": ["a.local"],
        "extraHosts": [{"hostname": "db", "ipAddress": "10.0.0.3"}],
        "dockerSecurityOptions": ["no-new-privileges"], "interactive": true, "pseudoTerminal": true,
        "dockerLabels": {"team": "web"}, "ulimits": [{"name": "nofile", "softLimit": 1024, "hardLimit": 2048}],
        "logConfiguration": {"logDriver": "awsfirelens", "options": {"Name": "stdout"}},
        "healthCheck": {"command": ["CMD", "true"], "interval": 5, "timeout": 2, "retries": 1, "startPeriod": 60},
        "systemControls": [{"namespace": "net.core.somaxconn", "value": "1024"}],
        "resourceRequirements": [{"type": "GPU", "value": "1"}],
    });
    let main = with(first, rest);
    let other = json!({
        "name": "other", "image": "fluent/fluent-bit", "memory": 32,
        "firelensConfiguration": {"type": "fluentbit", "options": {"enable-ecs-log-metadata": "true"}},
    });
    let definition = json!({
        "family": "web", "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
        "containerDefinitions": [main, other], "volumes": [{"name": "data"}],
    });
    registered(&world, definition).await;
}

// spec: 04-013
#[tokio::test]
async fn containers_keep_their_order() {
    let world = World::new().await;
    let containers = json!([{"name": "b", "image": "b", "memory": 4}, {"name": "a", "image": "a", "memory": 4}]);
    registered(&world, json!({"family": "web", "containerDefinitions": containers})).await;
}

// spec: 04-025
#[tokio::test]
async fn inference_accelerators_are_kept_and_tasks_always_list_their_overrides() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    let accelerators = json!({"inferenceAccelerators": [{"deviceName": "device1", "deviceType": "eia1.medium"}]});
    registered(&world, with(container(json!({})), accelerators)).await;
    world.family("plain", 1, 4, json!({})).await;
    assert_eq!(world.run("plain").await["overrides"]["inferenceAcceleratorOverrides"], json!([]));
}

// spec: 05-026
#[tokio::test]
async fn memory_is_not_below_its_reservation() {
    let world = World::new().await;
    refused(&world, container(json!({"memory": 128, "memoryReservation": 256}))).await;
    registered(&world, container(json!({"memory": 256, "memoryReservation": 128}))).await;
}

// spec: 05-056
#[tokio::test]
async fn a_start_period_has_up_to_300_seconds() {
    let world = World::new().await;
    let check = |period: i64| container(json!({"healthCheck": {"command": ["CMD", "true"], "startPeriod": period}}));
    for period in [0, 60, 300] {
        registered(&world, check(period)).await;
    }
    for period in [-1, 301] {
        refused(&world, check(period)).await;
    }
    let plain = registered(&world, container(json!({"healthCheck": {"command": ["CMD", "true"]}}))).await;
    assert_eq!(plain["containerDefinitions"][0]["healthCheck"].get("startPeriod"), None);
}

// spec: 05-103
#[tokio::test]
async fn there_are_fifteen_ulimits() {
    let world = World::new().await;
    let ulimit = |name: &str| container(json!({"ulimits": [{"name": name, "softLimit": 1, "hardLimit": 2}]}));
    for name in [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ] {
        registered(&world, ulimit(name)).await;
    }
    refused(&world, ulimit("foo")).await;
}

// spec: 05-162
#[tokio::test]
async fn sizes_of_ec2_tasks_decide_where_they_fit() {
    let world = World::with_default_cluster().await;
    let instance = world.instance(2048, 2048, &[]).await;
    for cpu in ["127", "196609", "one"] {
        refused(&world, with(container(json!({})), json!({"cpu": cpu}))).await;
    }
    let large = with(container(json!({})), json!({"cpu": "10240"}));
    registered(&world, large).await;
    let reasons = async || world.ok("RunTask", json!({"taskDefinition": "web"})).await["failures"].clone();
    // Agents say whether they know task limits of this size.
    assert_eq!(reasons().await, json!([{"arn": instance, "reason": "RESOURCE:CPU"}]));
    let core = with(container(json!({})), json!({"cpu": "1 vCPU"}));
    let answer = world.ok("RegisterTaskDefinition", core).await;
    assert_eq!(answer["taskDefinition"]["cpu"], "1024");
    // With a size of the task's own its containers need none.
    let odd = json!({
        "family": "web", "memory": "777", "containerDefinitions": [{"name": "main", "image": "busybox"}],
    });
    registered(&world, odd).await;
    assert_eq!(world.run("web").await["memory"], "777");
    registered(&world, with(container(json!({})), json!({"memory": "4096"}))).await;
    assert_eq!(reasons().await, json!([{"arn": instance, "reason": "RESOURCE:MEMORY"}]));
}

#[tokio::test]
async fn fargate_has_no_other_sizes() {
    let world = World::new().await;
    for (cpu, memory) in [("300", "512"), ("256", "4096"), ("1024", "1024"), ("4096", "32768"), ("8192", "1024")] {
        let message = refused(&world, fargate(cpu, memory)).await;
        assert!(message.starts_with("No Fargate configuration exists for given values"), "{message}");
    }
    registered(&world, fargate("256", "512")).await;
}

// spec: 10-074, 31-016
#[tokio::test]
async fn fargate_has_no_swap() {
    let world = World::new().await;
    let mut definition = fargate("256", "512");
    definition["containerDefinitions"][0]["linuxParameters"] = json!({"maxSwap": 128});
    refused(&world, definition).await;
    registered(&world, container(json!({"linuxParameters": {"maxSwap": 128}}))).await;
}

// spec: 07-034
#[tokio::test]
async fn a_log_router_is_fluentd_or_fluentbit() {
    let world = World::new().await;
    let router = |kind: &str| {
        let app = json!({
            "name": "app", "image": "busybox", "memory": 4, "logConfiguration": {"logDriver": "awsfirelens"},
        });
        let router = json!({"name": "r", "image": "r", "memory": 4, "firelensConfiguration": {"type": kind}});
        json!({"family": "web", "containerDefinitions": [app, router]})
    };
    for kind in ["fluentd", "fluentbit"] {
        registered(&world, router(kind)).await;
    }
    refused(&world, router("logstash")).await;
}
