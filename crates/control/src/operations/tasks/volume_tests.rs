//! Volumes that are configured at launch: of tasks, and of the tasks of services.

use serde_json::{Value, json};

use crate::operations::testing::World;
use crate::reconcilers::{ServiceScheduler, ServiceSchedulerLimits, run_once};

const REFUSED: &str = "InvalidParameterException";
const ROLE: &str = "arn:aws:iam::123456789012:role/ecsInfrastructureRole";
const CAPABILITY: (&str, &str) = ("ecs.capability.storage.ebs-task-volume-attach", "");

/// A world with a container instance, the family `data`, whose volume is configured at launch, and `plain` without.
async fn world() -> World {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[CAPABILITY]).await;
    let mounts = json!([{"sourceVolume": "data", "containerPath": "/data"}]);
    let main = json!({"name": "main", "image": "busybox", "memory": 4, "mountPoints": mounts});
    let volumes = json!([{"name": "data", "configuredAtLaunch": true}]);
    let input = json!({"family": "data", "containerDefinitions": [main], "volumes": volumes});
    world.ok("RegisterTaskDefinition", input).await;
    world.family("plain", 1, 4, json!({})).await;
    world
}

/// The configuration of the volume `data`: a role, 10 GiB, and `own` besides or instead.
fn volume(own: Value) -> Value {
    let mut ebs = json!({"roleArn": ROLE, "sizeInGiB": 10});
    ebs.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    ebs.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    json!([{"name": "data", "managedEBSVolume": ebs}])
}

fn run(volumes: Value) -> Value {
    json!({"taskDefinition": "data", "volumeConfigurations": volumes})
}

fn service(volumes: Value) -> Value {
    json!({
        "serviceName": "db", "taskDefinition": "data", "desiredCount": 2, "volumeConfigurations": volumes,
    })
}

/// The one attachment of a task: its status, and its details by name.
fn attachment(task: &Value) -> (Value, Value) {
    let all = task["attachments"].as_array().unwrap();
    assert_eq!(all.len(), 1, "{task}");
    assert_eq!(all[0]["type"], "AmazonElasticBlockStorage");
    let pair = |it: &Value| (it["name"].as_str().unwrap().to_owned(), it["value"].clone());
    (all[0]["status"].clone(), Value::Object(all[0]["details"].as_array().unwrap().iter().map(pair).collect()))
}

async fn schedule(world: &World) -> Vec<Value> {
    let scheduler = ServiceScheduler::new(world.engine().clone(), ServiceSchedulerLimits::default());
    run_once(&scheduler).await.unwrap();
    let listed = world.ok("ListTasks", json!({"serviceName": "db"})).await["taskArns"].clone();
    let mut tasks = Vec::new();
    for arn in listed.as_array().unwrap() {
        tasks.push(world.task(arn).await);
    }
    tasks
}

#[tokio::test]
async fn a_task_shows_its_volume_as_an_attachment_as_long_as_it_lives() {
    let world = world().await;
    let given = volume(json!({
        "volumeType": "io2", "iops": 500, "encrypted": true, "filesystemType": "ext4", "snapshotId": "snap-1",
        "volumeInitializationRate": 200, "kmsKeyId": "k", "terminationPolicy": {"deleteOnTermination": true},
        "tagSpecifications": [{"resourceType": "volume", "tags": [{"key": "a", "value": "b"}]}],
    }));
    let task = world.ok("RunTask", run(given)).await["tasks"][0].clone();
    let (status, mut details) = attachment(&task);
    assert_eq!(status, "ATTACHING");
    let id = details["volumeId"].take();
    assert_eq!((id.as_str().unwrap().starts_with("vol-"), id.as_str().unwrap().len()), (true, 21));
    let expected = json!({
        "volumeId": null, "volumeName": "data", "roleArn": ROLE, "volumeType": "io2", "sizeInGiB": "10",
        "snapshotId": "snap-1", "volumeInitializationRate": "200", "iops": "500", "encrypted": "true",
        "kmsKeyId": "k", "filesystemType": "ext4", "deleteOnTermination": "true",
    });
    assert_eq!(details, expected);
    let arn = task["taskArn"].clone();
    world.report(&arn, "RUNNING", None).await;
    assert_eq!(attachment(&world.task(&arn).await).0, "ATTACHED");
    let world = world.restarted().await;
    world.report(&arn, "STOPPED", Some(0)).await;
    let (status, details) = attachment(&world.task(&arn).await);
    assert_eq!((status, &details["volumeId"]), (json!("DELETED"), &id));
}

#[tokio::test]
async fn a_volume_without_a_type_is_of_gp3_and_xfs_and_each_task_has_its_own() {
    let world = world().await;
    let mut input = run(volume(json!({})));
    input["count"] = json!(2);
    let tasks = world.ok("RunTask", input).await["tasks"].clone();
    let (_, first) = attachment(&tasks[0]);
    assert_eq!((&first["volumeType"], &first["filesystemType"]), (&json!("gp3"), &json!("xfs")));
    assert_ne!(attachment(&tasks[1]).1["volumeId"], first["volumeId"]);
}

#[tokio::test]
async fn configuration_and_task_definition_must_name_the_same_volume() {
    let world = world().await;
    let unknown = "Volume configuration provided but no matching configuredAtLaunch volume found in task definition.";
    let instance = world.ok("ListContainerInstances", json!({})).await["containerInstanceArns"].clone();
    for operation in ["RunTask", "StartTask", "CreateService"] {
        let call = |definition: &str, volumes: Value| {
            let mut input = json!({"taskDefinition": definition, "volumeConfigurations": volumes});
            match operation {
                "StartTask" => input["containerInstances"] = instance.clone(),
                "CreateService" => (input["serviceName"], input["desiredCount"]) = (json!("db"), json!(1)),
                _ => {}
            }
            input
        };
        let (code, message) = world.refused(operation, call("plain", volume(json!({})))).await;
        assert_eq!((code, message.as_str()), (REFUSED, unknown), "{operation}");
        let mut other = volume(json!({}));
        other[0]["name"] = json!("other");
        let (code, message) = world.refused(operation, call("data", other)).await;
        assert_eq!((code, message.as_str()), (REFUSED, unknown), "{operation}");
        let (code, message) = world.refused(operation, call("data", json!([]))).await;
        assert_eq!(code, REFUSED, "{operation}");
        assert!(message.contains("'data', which is configured at launch"), "{message}");
        let two = json!([volume(json!({}))[0], volume(json!({}))[0]]);
        assert_eq!(world.refused(operation, call("data", two)).await.0, REFUSED, "{operation}");
        let (_, message) = world.refused(operation, call("data", json!([{"name": "data"}]))).await;
        assert!(message.contains("needs a managedEBSVolume"), "{message}");
        world.ok(operation, call("data", volume(json!({})))).await;
        if operation != "CreateService" {
            world.ok(operation, call("plain", json!([]))).await;
        }
    }
}

#[tokio::test]
async fn a_volume_out_of_its_bounds_is_refused() {
    let world = world().await;
    for (own, why) in [
        (json!({"roleArn": "role"}), "roleArn 'role'"),
        (json!({"sizeInGiB": null}), "needs a sizeInGiB or a snapshotId"),
        (json!({"snapshotId": "s-1"}), "snapshotId 's-1'"),
        (json!({"sizeInGiB": 0}), "sizeInGiB of the volume 'data' is 0; it must be between 1 and 16384"),
        (json!({"volumeType": "io1", "iops": 100, "sizeInGiB": 3}), "must be between 4 and 16384"),
        (json!({"volumeType": "st1"}), "must be between 125 and 16384"),
        (json!({"volumeType": "standard", "sizeInGiB": 1025}), "must be between 1 and 1024"),
        (json!({"volumeType": "gp4"}), "volumeType 'gp4'"),
        (json!({"volumeType": "io1"}), "of the type io1, which needs iops"),
        (json!({"volumeType": "gp2", "iops": 3000}), "of the type gp2, which takes no iops"),
        (json!({"iops": 2999}), "must be between 3000 and 16000"),
        (json!({"volumeType": "io2", "iops": 256_001}), "must be between 100 and 256000"),
        (json!({"volumeType": "gp2", "throughput": 125}), "only gp3 takes a throughput"),
        (json!({"throughput": 1001}), "must be between 125 and 1000"),
        (json!({"volumeInitializationRate": 100}), "no snapshotId to be filled from"),
        (json!({"snapshotId": "snap-1", "volumeInitializationRate": 99}), "must be between 100 and 300"),
        (json!({"kmsKeyId": "k", "encrypted": false}), "not to be encrypted"),
        (json!({"tagSpecifications": [{"resourceType": "volume", "tags": [{"key": "aws:a"}]}]}), "aws:"),
    ] {
        for (operation, input) in
            [("RunTask", run(volume(own.clone()))), ("CreateService", service(volume(own.clone())))]
        {
            let (code, message) = world.refused(operation, input).await;
            assert_eq!(code, REFUSED, "{own}: {message}");
            assert!(message.contains(why), "{own}: {message}");
        }
    }
    let of_service = json!({"tagSpecifications": [{"resourceType": "volume", "propagateTags": "SERVICE"}]});
    let (code, _) = world.refused("RunTask", run(volume(of_service.clone()))).await;
    assert_eq!(code, REFUSED);
    world.ok("CreateService", service(volume(of_service))).await;
    world.ok("RunTask", run(volume(json!({"sizeInGiB": null, "snapshotId": "snap-1"})))).await;
    world.ok("RunTask", run(volume(json!({"iops": 3000, "throughput": 125})))).await;
}

#[tokio::test]
async fn the_tasks_of_a_service_have_the_volume_that_its_deployment_shows() {
    let world = world().await;
    let given = volume(json!({"filesystemType": "ext4"}));
    let made = world.ok("CreateService", service(given.clone())).await["service"].clone();
    assert_eq!(made["deployments"][0]["volumeConfigurations"], given);
    assert_eq!(made.get("volumeConfigurations"), None);
    let revisions = json!({"serviceRevisionArns": [made["currentServiceRevisions"][0]["arn"]]});
    let revision = world.ok("DescribeServiceRevisions", revisions).await["serviceRevisions"][0].clone();
    assert_eq!(revision["volumeConfigurations"], given);
    let tasks = schedule(&world).await;
    assert_eq!(tasks.len(), 2);
    let (_, details) = attachment(&tasks[0]);
    assert_eq!((&details["filesystemType"], &details["deleteOnTermination"]), (&json!("ext4"), &json!("true")));
    // Another size is for new tasks: a deployment brings them.
    let larger = volume(json!({"sizeInGiB": 20}));
    let input = json!({"service": "db", "volumeConfigurations": larger});
    let updated = world.ok("UpdateService", input).await["service"].clone();
    assert_ne!(updated["deployments"][0]["id"], made["deployments"][0]["id"]);
    let tasks = schedule(&world).await;
    let sizes: Vec<Value> = tasks.iter().map(|task| attachment(task).1["sizeInGiB"].clone()).collect();
    assert_eq!(sizes.iter().filter(|size| **size == "20").count(), 2, "{sizes:?}");
    let details = world.explained(&json!("db")).await.details.unwrap();
    assert!(details.iter().any(|it| it.contains("its size, type and encryption are not enforced")), "{details:?}");
}

#[tokio::test]
async fn a_service_takes_its_volumes_off_with_a_task_definition_that_has_none() {
    let world = world().await;
    world.ok("CreateService", service(volume(json!({})))).await;
    let left = json!({"service": "db", "taskDefinition": "plain"});
    assert_eq!(world.refused("UpdateService", left.clone()).await.0, REFUSED);
    let kept = json!({"service": "db", "volumeConfigurations": []});
    assert_eq!(world.refused("UpdateService", kept).await.0, REFUSED);
    let mut off = left;
    off["volumeConfigurations"] = json!([]);
    let updated = world.ok("UpdateService", off).await["service"].clone();
    assert_eq!(updated["deployments"][0].get("volumeConfigurations"), None);
}

#[tokio::test]
async fn volumes_are_for_replicas_of_ecs_own_deployments() {
    let world = world().await;
    let mut daemon = service(volume(json!({})));
    daemon["schedulingStrategy"] = json!("DAEMON");
    daemon.as_object_mut().unwrap().remove("desiredCount");
    let (code, message) = world.refused("CreateService", daemon).await;
    assert_eq!((code, message.contains("DAEMON scheduling strategy")), (REFUSED, true), "{message}");
    let external = json!({"serviceName": "own", "deploymentController": {"type": "EXTERNAL"}});
    world.ok("CreateService", external).await;
    // A task set has no way to say what its volumes are like.
    let set = json!({"service": "own", "cluster": "default", "taskDefinition": "data"});
    let (code, message) = world.refused("CreateTaskSet", set).await;
    assert_eq!((code, message.contains("configured at launch")), (REFUSED, true), "{message}");
}

#[tokio::test]
async fn a_container_instance_whose_agent_knows_no_such_volumes_takes_no_task_with_one() {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    let main = json!({"name": "main", "image": "busybox", "memory": 4});
    let volumes = json!([{"name": "data", "configuredAtLaunch": true}]);
    let input = json!({"family": "data", "containerDefinitions": [main], "volumes": volumes});
    world.ok("RegisterTaskDefinition", input).await;
    let answer = world.ok("RunTask", run(volume(json!({})))).await;
    assert_eq!(answer["failures"][0]["reason"], "ATTRIBUTE");
}
