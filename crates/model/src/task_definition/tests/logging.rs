use serde_json::{Value, json};

use super::{accepts_container, and_container, base, refusal, refuses_container, registered, with, with_container};

fn awslogs(change: Value) -> Value {
    let options = with(json!({"awslogs-region": "eu-west-1", "awslogs-group": "g"}), change);
    json!({"logConfiguration": {"logDriver": "awslogs", "options": options}})
}

// spec: 07-010, 07-012
#[test]
fn awslogs_needs_a_region_and_a_group() {
    accepts_container(
        &base(),
        &[
            awslogs(json!({})),
            awslogs(
                json!({"awslogs-stream-prefix": "p", "awslogs-create-group": "true", "awslogs-endpoint": "http://logs"}),
            ),
        ],
    );
    refuses_container(
        &base(),
        &[
            (
                json!({"logConfiguration": {"logDriver": "awslogs"}}),
                "Log driver awslogs requires options: awslogs-region, awslogs-group",
            ),
            (awslogs(json!({"awslogs-group": null})), "Log driver awslogs requires options: awslogs-group"),
            (awslogs(json!({"log_key": "log"})), "Log driver awslogs disallows options: log_key"),
        ],
    );
}

#[test]
fn other_drivers_take_any_options() {
    for driver in ["json-file", "syslog", "journald", "gelf", "fluentd", "splunk"] {
        let logs = json!({"logConfiguration": {"logDriver": driver, "options": {"tag": "t"}}});
        let answer = registered(&with_container(base(), logs.clone()));
        assert_eq!(answer["containerDefinitions"][0]["logConfiguration"], logs["logConfiguration"]);
    }
}

#[test]
fn log_secrets_are_secrets() {
    let splunk = |secrets: Value| json!({"logConfiguration": {"logDriver": "splunk", "secretOptions": secrets}});
    let role = with(base(), json!({"executionRoleArn": "execution"}));
    accepts_container(&role, &[splunk(json!([{"name": "splunk-token", "valueFrom": "/splunk"}]))]);
    refuses_container(
        &role,
        &[
            (splunk(json!([{"name": "", "valueFrom": "a"}])), "a secret has no name"),
            (splunk(json!([{"name": "a", "valueFrom": "arn:aws:s3:::b"}])), "valueFrom of 'a'"),
        ],
    );
    refuses_container(&base(), &[(splunk(json!([{"name": "a", "valueFrom": "b"}])), "'executionRoleArn'")]);
}

/// `app` logs through `router`, which is as given.
fn routed(router: Value) -> Value {
    let app = with_container(
        base(),
        json!({"logConfiguration": {"logDriver": "awsfirelens", "options": {"Name": "stdout"}}}),
    );
    let plain = json!({"name": "router", "firelensConfiguration": {"type": "fluentbit"}});
    and_container(app, with(plain, router))
}

// spec: 07-032, 07-033
#[test]
fn firelens_needs_a_router_and_a_container_that_uses_it() {
    let answer = registered(&routed(json!({})));
    assert_eq!(answer["containerDefinitions"][1]["user"], "0");
    assert_eq!(
        refusal(&routed(json!({"firelensConfiguration": null}))),
        "When awsfirelens log driver is specified in log configuration, a firelens configuration object must be configured in one of the containers."
    );
    let unused = with_container(routed(json!({})), json!({"logConfiguration": null}));
    assert_eq!(
        refusal(&unused),
        "When a firelensConfiguration object is specified, at least one container has to be configured with the awsfirelens log driver."
    );
    assert!(refusal(&routed(json!({"essential": false}))).contains("the log router must be essential"));
    let second = json!({"name": "second", "firelensConfiguration": {"type": "fluentd"}});
    assert!(refusal(&and_container(routed(json!({})), second)).contains("only one container"));
}

// spec: 07-027
#[test]
fn a_dependency_on_the_router_is_start_or_healthy() {
    let on_router = |condition: &str| {
        with_container(routed(json!({})), json!({"dependsOn": [{"containerName": "router", "condition": condition}]}))
    };
    registered(&on_router("START"));
    let checked = routed(json!({"healthCheck": {"command": ["CMD", "true"]}}));
    let healthy = json!({"dependsOn": [{"containerName": "router", "condition": "HEALTHY"}]});
    registered(&with_container(checked, healthy));
    for condition in ["COMPLETE", "SUCCESS"] {
        assert!(!refusal(&on_router(condition)).is_empty(), "{condition}");
    }
}

// spec: 07-049, 07-052
#[test]
fn router_files_are_from_s3_or_the_image() {
    let options = |options: Value| routed(json!({"firelensConfiguration": {"type": "fluentbit", "options": options}}));
    registered(&options(json!({"enable-ecs-log-metadata": "false"})));
    registered(&options(json!({"config-file-type": "file", "config-file-value": "/extra.conf"})));
    registered(&options(json!({"config-file-type": "s3", "config-file-value": "arn:aws:s3:::b/c"})));
    for (given, message) in [
        (json!({"config-file-type": "http", "config-file-value": "x"}), "must be s3 or file"),
        (json!({"config-file-type": "file"}), "needs a config-file-value"),
        (json!({"config-file-value": "/x"}), "needs a config-file-type"),
        (
            json!({"config-file-type": "file", "config-file-value": "/fluent-bit/etc/fluent-bit.conf"}),
            "FireLens itself",
        ),
    ] {
        assert!(refusal(&options(given)).contains(message), "{message}");
    }
}
