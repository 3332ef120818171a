use serde_json::{Value, json};

use super::{base, refuses_container, refuses_task, registered, with, with_container};

fn volume(change: Value) -> Value {
    json!({"volumes": [with(json!({"name": "data"}), change)]})
}

fn answered(change: Value) -> Value {
    registered(&with(base(), volume(change)))["volumes"][0].clone()
}

// spec: 04-017
#[test]
fn volumes_have_unique_names() {
    refuses_task(
        &base(),
        &[
            (volume(json!({"name": null})), "Volume.name should not be null or empty."),
            (volume(json!({"name": "a b"})), "'a b' is not made of"),
            (json!({"volumes": [{"name": "a"}, {"name": "a"}]}), "'a' is used more than once"),
        ],
    );
}

// spec: 02-036
#[test]
fn a_volume_without_configuration_is_an_empty_host_volume() {
    assert_eq!(answered(json!({})), json!({"name": "data", "host": {}}));
    assert_eq!(answered(json!({"host": {"sourcePath": "/srv"}}))["host"]["sourcePath"], "/srv");
    refuses_task(&base(), &[(volume(json!({"host": {"sourcePath": ""}})), "host.sourcePath should not be blank.")]);
}

// spec: 05-136
#[test]
fn a_volume_is_of_one_kind() {
    let both = volume(json!({"host": {"sourcePath": "/a"}, "dockerVolumeConfiguration": {"scope": "task"}}));
    let message = "When the volume parameter is specified, only one volume configuration type should be used.";
    refuses_task(&base(), &[(both, message)]);
    let beside = answered(json!({"host": {}, "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}));
    assert!(beside.get("host").is_none());
}

// spec: 05-138
#[test]
fn only_shared_docker_volumes_are_provisioned_automatically() {
    let docker = |configuration: Value| volume(json!({"dockerVolumeConfiguration": configuration}));
    refuses_task(&base(), &[(docker(json!({"scope": "task", "autoprovision": true})), "has scope task")]);
    registered(&with(base(), docker(json!({"scope": "shared", "autoprovision": true, "driver": "local"}))));
    for (provisioned, scope) in [(false, "task"), (true, "shared")] {
        let default = registered(&with(base(), docker(json!({"autoprovision": provisioned}))));
        assert_eq!(default["volumes"][0]["dockerVolumeConfiguration"]["scope"], scope);
    }
}

#[test]
fn s3_files_are_named_by_arn() {
    let arn = "arn:aws:s3files:eu-west-1:123456789012:file-system/fs-1";
    let point = "arn:aws:s3files:eu-west-1:123456789012:file-system/fs-1/access-point/fsap-1";
    let s3files = |change| json!({"s3filesVolumeConfiguration": with(json!({"fileSystemArn": arn}), change)});
    answered(s3files(json!({"rootDirectory": "/srv"})));
    answered(s3files(json!({"accessPointArn": point, "rootDirectory": "/"})));
    refuses_task(
        &base(),
        &[
            (volume(s3files(json!({"fileSystemArn": "fs-1"}))), "full ARN of a file system"),
            (volume(s3files(json!({"accessPointArn": "fsap-1"}))), "full ARN of its access point"),
            (volume(s3files(json!({"accessPointArn": point, "rootDirectory": "/srv"}))), "not '/srv'"),
        ],
    );
}

// spec: 05-145
#[test]
fn efs_authorization_needs_transit_encryption() {
    let efs = |change| json!({"efsVolumeConfiguration": with(json!({"fileSystemId": "fs-1"}), change)});
    assert_eq!(answered(efs(json!({})))["efsVolumeConfiguration"]["rootDirectory"], "/");
    let access_point = json!({"authorizationConfig": {"accessPointId": "fsap-1"}});
    let iam = json!({"authorizationConfig": {"iam": "ENABLED"}});
    refuses_task(
        &base(),
        &[
            (volume(efs(access_point.clone())), "transitEncryption must be ENABLED"),
            (volume(efs(with(iam, json!({"transitEncryption": "DISABLED"})))), "transitEncryption must be ENABLED"),
            (volume(efs(json!({"fileSystemId": ""}))), "needs a fileSystemId"),
        ],
    );
    let encrypted = with(access_point, json!({"transitEncryption": "ENABLED"}));
    answered(efs(encrypted.clone()));
    answered(efs(with(encrypted.clone(), json!({"rootDirectory": "/"}))));
    let rooted = volume(efs(with(encrypted, json!({"rootDirectory": "/srv"}))));
    refuses_task(&base(), &[(rooted, "must be left out or '/', not '/srv'")]);
    answered(efs(json!({"authorizationConfig": {"iam": "DISABLED"}})));
}

// spec: 05-088
#[test]
fn mount_points_name_a_declared_volume() {
    let mounts = |mounts: Value| json!({"mountPoints": mounts});
    let declared = with(base(), volume(json!({})));
    let once = json!({"sourceVolume": "data", "containerPath": "/data"});
    registered(&with_container(declared.clone(), mounts(json!([once]))));
    refuses_container(
        &declared,
        &[
            (mounts(json!([{"sourceVolume": "other", "containerPath": "/data"}])), "Unknown volume 'other'."),
            (mounts(json!([{"containerPath": "/data"}])), "Unknown volume 'null'."),
            (mounts(json!([{"sourceVolume": "data"}])), "has no containerPath"),
            (mounts(json!([once, once])), "'/data' is mounted more than once"),
        ],
    );
}

#[test]
fn one_volume_is_configured_at_launch() {
    let at_launch = |name: &str| json!({"name": name, "configuredAtLaunch": true});
    let one = registered(&with(base(), json!({"volumes": [at_launch("a")]})));
    assert_eq!(one["volumes"][0], at_launch("a"));
    refuses_task(&base(), &[(json!({"volumes": [at_launch("a"), at_launch("b")]}), "Only one volume")]);
}
