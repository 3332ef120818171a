//! Capacity providers with managed instances.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::operations::testing::World;
use crate::reconcilers::{CapacityProviderExpiry, ServiceScheduler, ServiceSchedulerLimits, run_once};

/// Built-in attribute with which a machine says whose it is.
const OF_PROVIDER: &str = "ecs.longshore.capacity-provider";

fn settings() -> Json {
    json!({
        "infrastructureRoleArn": "arn:aws:iam::123456789012:role/ecsInfrastructureRole",
        "instanceLaunchTemplate": {
            "ec2InstanceProfileArn": "arn:aws:iam::123456789012:instance-profile/ecsInstanceRole",
            "networkConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"]},
        },
    })
}

/// `settings` with `value` at `path`, whose steps are separated by dots.
fn with(mut settings: Json, path: &str, value: Json) -> Json {
    let mut at = &mut settings;
    for step in path.split('.') {
        at = &mut at[step];
    }
    *at = value;
    settings
}

fn creation(name: &str, cluster: &str, settings: Json) -> Json {
    json!({"name": name, "cluster": cluster, "managedInstancesProvider": settings})
}

async fn made(world: &World, name: &str) -> Json {
    world.ok("CreateCapacityProvider", creation(name, "default", settings())).await["capacityProvider"].clone()
}

async fn refused(world: &World, settings: Json) -> String {
    let (code, message) = world.refused("CreateCapacityProvider", creation("p", "default", settings)).await;
    assert_eq!(code, "InvalidParameterException", "{message}");
    message
}

async fn providers_of(world: &World, cluster: &str) -> (Json, Json) {
    let cluster = world.ok("DescribeClusters", json!({"clusters": [cluster]})).await["clusters"][0].clone();
    (cluster["capacityProviders"].clone(), cluster["defaultCapacityProviderStrategy"].clone())
}

fn put(providers: Json, strategy: Json) -> Json {
    json!({"cluster": "default", "capacityProviders": providers, "defaultCapacityProviderStrategy": strategy})
}

fn item(name: &str) -> Json {
    json!({"capacityProvider": name, "weight": 1, "base": 0})
}

#[tokio::test]
async fn managed_instances_belong_to_the_cluster_with_which_they_are_made() {
    let world = World::with_default_cluster().await;
    world.ok("CreateCluster", json!({"clusterName": "other"})).await;
    let mut input = creation("mine", &world.arn("cluster/other"), settings());
    input["tags"] = json!([{"key": "a", "value": "b"}]);
    let made = world.ok("CreateCapacityProvider", input).await["capacityProvider"].clone();
    let expected = json!({
        "capacityProviderArn": world.arn("capacity-provider/mine"), "name": "mine", "cluster": "other",
        "status": "ACTIVE", "updateStatus": "CREATE_COMPLETE", "type": "MANAGED_INSTANCES",
        "managedInstancesProvider": settings(), "tags": [{"key": "a", "value": "b"}],
    });
    assert_eq!(made, expected);
    let world = world.restarted().await;
    assert_eq!(providers_of(&world, "other").await.0, json!(["mine"]));
    assert_eq!(providers_of(&world, "default").await.0, json!([]));
    let named = |include: Json| json!({"capacityProviders": ["mine"], "include": include});
    let described = world.ok("DescribeCapacityProviders", named(json!(["TAGS"]))).await;
    assert_eq!(described["capacityProviders"], json!([made]));
    let described = world.ok("DescribeCapacityProviders", named(json!([]))).await;
    assert_eq!(described["capacityProviders"][0]["tags"], json!([]));
}

#[tokio::test]
async fn managed_instances_and_their_cluster_come_together() {
    let world = World::with_default_cluster().await;
    let refused = async |input: Json| world.refused("CreateCapacityProvider", input).await;
    let (code, message) = refused(json!({"name": "p", "managedInstancesProvider": settings()})).await;
    assert_eq!(code, "InvalidParameterException");
    assert!(message.contains("give the cluster's name"), "{message}");
    assert_eq!(refused(creation("p", "nothing", settings())).await.0, "ClusterNotFoundException");
    let group = json!({"autoScalingGroupArn": "workers"});
    let mut both = creation("p", "default", settings());
    both["autoScalingGroupProvider"] = group.clone();
    assert_eq!(refused(both).await.0, "InvalidParameterException");
    let of_group = json!({"name": "p", "cluster": "default", "autoScalingGroupProvider": group});
    assert_eq!(refused(of_group).await.0, "InvalidParameterException");
    made(&world, "p").await;
    let (code, message) = refused(creation("p", "default", settings())).await;
    assert_eq!(code, "ClientException");
    assert!(message.starts_with("The specified capacity provider already exists."), "{message}");
    for number in 1..20 {
        made(&world, &format!("p{number}")).await;
    }
    let (code, message) = refused(creation("over", "default", settings())).await;
    assert_eq!(code, "InvalidParameterException");
    assert!(message.contains("at most 20"), "{message}");
}

#[tokio::test]
async fn every_setting_of_managed_instances_comes_back() {
    let world = World::with_default_cluster().await;
    let range = |least: i32, most: i32| json!({"min": least, "max": most});
    let given = json!({
        "infrastructureRoleArn": "arn:aws:iam::123456789012:role/ecs/infrastructure",
        "propagateTags": "CAPACITY_PROVIDER",
        "infrastructureOptimization": {"scaleInAfter": -1},
        "autoRepairConfiguration": {"actionsStatus": "ENABLED"},
        "instanceLaunchTemplate": {
            "ec2InstanceProfileArn": "arn:aws:iam::123456789012:instance-profile/ecsInstanceRole",
            "networkConfiguration": {"subnets": ["subnet-1", "subnet-2"], "securityGroups": ["sg-1"]},
            "storageConfiguration": {"storageSizeGiB": 100},
            "localStorageConfiguration": {"useLocalStorage": true},
            "monitoring": "DETAILED", "capacityOptionType": "RESERVED", "instanceMetadataTagsPropagation": false,
            "fipsEnabled": true, "nitroEnclavesEnabled": false,
            "capacityReservations": {
                "reservationGroupArn": "arn:aws:resource-groups:eu-west-1:123456789012:group/reserved",
                "reservationPreference": "RESERVATIONS_FIRST",
            },
            "instanceRequirements": {
                "vCpuCount": range(2, 8), "memoryMiB": range(4096, 16384), "cpuManufacturers": ["intel", "amd"],
                "memoryGiBPerVCpu": {"min": 1.5, "max": 4.0}, "excludedInstanceTypes": ["t3.*"],
                "instanceGenerations": ["current"], "spotMaxPricePercentageOverLowestPrice": 50,
                "onDemandMaxPricePercentageOverLowestPrice": 20, "bareMetal": "excluded",
                "burstablePerformance": "included", "requireHibernateSupport": false,
                "networkInterfaceCount": {"min": 1}, "localStorage": "required", "localStorageTypes": ["ssd"],
                "totalLocalStorageGB": {"min": 50.5}, "baselineEbsBandwidthMbps": range(100, 1000),
                "acceleratorTypes": ["gpu"], "acceleratorCount": {"max": 4}, "acceleratorManufacturers": ["nvidia"],
                "acceleratorNames": ["a10g"], "acceleratorTotalMemoryMiB": range(1024, 65536),
                "networkBandwidthGbps": {"min": 0.5, "max": 25.0},
            },
        },
    });
    let made = world.ok("CreateCapacityProvider", creation("mine", "default", given.clone())).await;
    assert_eq!(made["capacityProvider"]["managedInstancesProvider"], given);
    let world = world.restarted().await;
    let described = world.ok("DescribeCapacityProviders", json!({"capacityProviders": ["mine"]})).await;
    assert_eq!(described["capacityProviders"][0]["managedInstancesProvider"], given);
}

/// As the samples of AWS's developer guide have it.
#[tokio::test]
async fn monitoring_is_read_in_any_case() {
    let world = World::with_default_cluster().await;
    let basic = with(settings(), "instanceLaunchTemplate.monitoring", json!("basic"));
    let made = world.ok("CreateCapacityProvider", creation("mine", "default", basic)).await;
    let template = &made["capacityProvider"]["managedInstancesProvider"]["instanceLaunchTemplate"];
    assert_eq!(template["monitoring"], "BASIC");
}

#[tokio::test]
async fn settings_of_managed_instances_out_of_their_rules_are_refused() {
    let world = World::with_default_cluster().await;
    let template = |member: &str| format!("instanceLaunchTemplate.{member}");
    let requirements = |more: Json| {
        let mut requirements = json!({"vCpuCount": {"min": 1}, "memoryMiB": {"min": 512}});
        requirements.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        (template("instanceRequirements"), requirements)
    };
    let many: Vec<String> = (0..17).map(|number| format!("subnet-{number}")).collect();
    for (path, value) in [
        ("infrastructureRoleArn".to_owned(), json!("ecsInfrastructureRole")),
        ("infrastructureRoleArn".to_owned(), json!("arn:aws:iam::123456789012:user/somebody")),
        ("infrastructureRoleArn".to_owned(), json!("arn:aws:iam::12:role/r")),
        ("infrastructureOptimization".to_owned(), json!({"scaleInAfter": -2})),
        ("infrastructureOptimization".to_owned(), json!({"scaleInAfter": 3601})),
        ("propagateTags".to_owned(), json!("SERVICE")),
        ("autoRepairConfiguration".to_owned(), json!({"actionsStatus": "ON"})),
        (template("ec2InstanceProfileArn"), json!("arn:aws:iam::123456789012:role/ecsInstanceRole")),
        (template("networkConfiguration"), json!({})),
        (template("networkConfiguration"), json!({"subnets": []})),
        (template("networkConfiguration"), json!({ "subnets": many })),
        (template("networkConfiguration"), json!({"subnets": ["vpc-1"]})),
        (template("networkConfiguration"), json!({"subnets": ["subnet-1"], "securityGroups": ["group"]})),
        (template("storageConfiguration"), json!({"storageSizeGiB": 29})),
        (template("storageConfiguration"), json!({"storageSizeGiB": 16385})),
        (
            "instanceLaunchTemplate".to_owned(),
            json!({
                "ec2InstanceProfileArn": "arn:aws:iam::123456789012:instance-profile/p",
                "networkConfiguration": {"subnets": ["subnet-1"]},
                "nitroEnclavesEnabled": true, "localStorageConfiguration": {"useLocalStorage": true},
            }),
        ),
        (template("monitoring"), json!("FULL")),
        (template("capacityOptionType"), json!("BORROWED")),
        (template("capacityReservations"), json!({"reservationGroupArn": "reserved"})),
        (template("instanceRequirements"), json!({"vCpuCount": {"min": 1}})),
        (template("instanceRequirements"), json!({"memoryMiB": {"min": 512}})),
        (template("instanceRequirements"), json!({"vCpuCount": {"max": 1}, "memoryMiB": {"min": 512}})),
        requirements(json!({"vCpuCount": {"min": 4, "max": 2}})),
        requirements(json!({"memoryMiB": {"min": -1}})),
        requirements(json!({"memoryGiBPerVCpu": {"min": 2.5, "max": 2.0}})),
        requirements(json!({"acceleratorCount": {"max": -1}})),
        requirements(json!({"onDemandMaxPricePercentageOverLowestPrice": -1})),
        requirements(json!({"allowedInstanceTypes": ["m5.*"], "excludedInstanceTypes": ["m4.*"]})),
        requirements(json!({
            "spotMaxPricePercentageOverLowestPrice": 50, "maxSpotPriceAsPercentageOfOptimalOnDemandPrice": 60,
        })),
        requirements(json!({"bareMetal": "maybe"})),
    ] {
        refused(&world, with(settings(), &path, value)).await;
    }
    let path = template("instanceRequirements.vCpuCount");
    let crossed = with(settings(), &template("instanceRequirements"), json!({"memoryMiB": {"min": 1}}));
    let message = refused(&world, with(crossed, &path, json!({"min": 4, "max": 2}))).await;
    assert_eq!(message, "instanceRequirements.vCpuCount has min 4, which is more than max 2.");
    assert_eq!(providers_of(&world, "default").await.0, json!([]));
}

#[tokio::test]
async fn an_update_replaces_the_members_that_it_gives() {
    let world = World::with_default_cluster().await;
    let template = |member: &str| format!("instanceLaunchTemplate.{member}");
    let requirements = json!({"vCpuCount": {"min": 2, "max": 4}, "memoryMiB": {"min": 1024}, "bareMetal": "included"});
    let given = with(settings(), &template("instanceRequirements"), requirements);
    let given = with(given, &template("capacityOptionType"), json!("SPOT"));
    let given = with(given, "propagateTags", json!("CAPACITY_PROVIDER"));
    world.ok("CreateCapacityProvider", creation("mine", "default", given.clone())).await;
    let role = "arn:aws:iam::123456789012:role/another";
    let narrower = json!({"vCpuCount": {"min": 2}, "memoryMiB": {"min": 2048}});
    let changes = |template: Json| {
        json!({
            "name": "mine", "cluster": "default",
            "managedInstancesProvider": {"infrastructureRoleArn": role, "instanceLaunchTemplate": template},
        })
    };
    let update = changes(json!({"instanceRequirements": narrower, "storageConfiguration": {"storageSizeGiB": 50}}));
    let updated = world.ok("UpdateCapacityProvider", update).await["capacityProvider"].clone();
    assert_eq!((&updated["status"], &updated["updateStatus"]), (&json!("ACTIVE"), &json!("UPDATE_COMPLETE")));
    let expected = with(given, "infrastructureRoleArn", json!(role));
    let expected = with(expected, &template("instanceRequirements"), narrower.clone());
    let expected = with(expected, &template("storageConfiguration"), json!({"storageSizeGiB": 50}));
    assert_eq!(updated["managedInstancesProvider"], expected);
    let update = changes(json!({"networkConfiguration": {"subnets": []}}));
    assert_eq!(world.refused("UpdateCapacityProvider", update).await.0, "InvalidParameterException");
    let described = world.ok("DescribeCapacityProviders", json!({"capacityProviders": ["mine"]})).await;
    assert_eq!(described["capacityProviders"][0]["managedInstancesProvider"], expected);
}

#[tokio::test]
async fn an_update_is_of_the_providers_own_kind_and_cluster() {
    let world = World::with_default_cluster().await;
    world.ok("CreateCluster", json!({"clusterName": "other"})).await;
    made(&world, "mine").await;
    let group = json!({"name": "group", "autoScalingGroupProvider": {"autoScalingGroupArn": "workers"}});
    world.ok("CreateCapacityProvider", group).await;
    let managed =
        || json!({"infrastructureRoleArn": settings()["infrastructureRoleArn"], "instanceLaunchTemplate": {}});
    for input in [
        json!({"name": "mine", "cluster": "other", "managedInstancesProvider": managed()}),
        json!({"name": "mine", "autoScalingGroupProvider": {}}),
        json!({"name": "mine"}),
        json!({"name": "group", "managedInstancesProvider": managed()}),
        json!({"name": "group", "cluster": "default", "autoScalingGroupProvider": {}}),
    ] {
        let (code, message) = world.refused("UpdateCapacityProvider", input).await;
        assert_eq!(code, "InvalidParameterException", "{message}");
    }
    let nowhere = json!({"name": "mine", "cluster": "nothing", "managedInstancesProvider": managed()});
    assert_eq!(world.refused("UpdateCapacityProvider", nowhere).await.0, "ClusterNotFoundException");
    world.ok("UpdateCapacityProvider", json!({"name": "mine", "managedInstancesProvider": managed()})).await;
}

#[tokio::test]
async fn the_providers_of_one_cluster_can_be_described() {
    let world = World::with_default_cluster().await;
    world.ok("CreateCluster", json!({"clusterName": "other"})).await;
    made(&world, "mine").await;
    world.ok("CreateCapacityProvider", creation("theirs", "other", settings())).await;
    world.ok("PutClusterCapacityProviders", put(json!(["FARGATE"]), json!([]))).await;
    let names = async |input: Json| {
        let answer = world.ok("DescribeCapacityProviders", input).await;
        let names: Vec<_> =
            answer["capacityProviders"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect();
        (json!(names), answer["failures"].clone())
    };
    assert_eq!(names(json!({"cluster": "default"})).await, (json!(["FARGATE", "mine"]), json!([])));
    let missing = json!([{"arn": world.arn("capacity-provider/theirs"), "reason": "MISSING"}]);
    let both = json!({"cluster": "default", "capacityProviders": ["mine", "theirs"]});
    assert_eq!(names(both).await, (json!(["mine"]), missing));
    assert_eq!(names(json!({})).await.0, json!(["FARGATE", "FARGATE_SPOT", "mine", "theirs"]));
    let nowhere = json!({"cluster": "nothing"});
    assert_eq!(world.refused("DescribeCapacityProviders", nowhere).await.0, "ClusterNotFoundException");
}

#[tokio::test]
async fn a_cluster_keeps_its_managed_instances_and_takes_no_others() {
    let world = World::with_default_cluster().await;
    world.ok("CreateCluster", json!({"clusterName": "other"})).await;
    made(&world, "mine").await;
    world.ok("CreateCapacityProvider", creation("theirs", "other", settings())).await;
    let cluster = world.ok("PutClusterCapacityProviders", put(json!(["mine"]), json!([item("mine")]))).await;
    assert_eq!(cluster["cluster"]["defaultCapacityProviderStrategy"], json!([item("mine")]));
    world.ok("PutClusterCapacityProviders", put(json!(["FARGATE"]), json!([item("FARGATE")]))).await;
    assert_eq!(providers_of(&world, "default").await, (json!(["FARGATE", "mine"]), json!([item("FARGATE")])));
    let (code, message) = world.refused("PutClusterCapacityProviders", put(json!(["theirs"]), json!([]))).await;
    assert_eq!(code, "InvalidParameterException");
    assert!(message.starts_with("Cannot associate Managed Instances capacity provider to clusters"), "{message}");
    let new = json!({"clusterName": "new", "capacityProviders": ["theirs"]});
    assert_eq!(world.refused("CreateCluster", new).await.0, "InvalidParameterException");
    let mixed = put(json!(["FARGATE", "mine"]), json!([item("FARGATE"), item("mine")]));
    let (code, message) = world.refused("PutClusterCapacityProviders", mixed).await;
    assert_eq!(code, "InvalidParameterException");
    assert!(message.starts_with("A capacity provider strategy cannot contain a mix"), "{message}");
}

#[tokio::test]
async fn deleted_managed_instances_leave_their_cluster() {
    let world = World::with_default_cluster().await;
    world.ok("CreateCluster", json!({"clusterName": "other"})).await;
    made(&world, "mine").await;
    world.ok("PutClusterCapacityProviders", put(json!(["FARGATE"]), json!([item("mine")]))).await;
    let (code, message) = world.refused("DeleteCluster", json!({"cluster": "default"})).await;
    assert_eq!(code, "ClusterContainsCapacityProviderException");
    assert!(message.contains("delete the capacity provider mine first"), "{message}");
    let elsewhere = json!({"capacityProvider": "mine", "cluster": "other"});
    assert_eq!(world.refused("DeleteCapacityProvider", elsewhere).await.0, "InvalidParameterException");
    let delete = json!({"capacityProvider": "mine", "cluster": "default"});
    let deleted = world.ok("DeleteCapacityProvider", delete).await["capacityProvider"].clone();
    assert_eq!((&deleted["status"], &deleted["updateStatus"]), (&json!("INACTIVE"), &json!("DELETE_COMPLETE")));
    assert_eq!((&deleted["cluster"], &deleted["type"]), (&json!("default"), &json!("MANAGED_INSTANCES")));
    assert_eq!(providers_of(&world, "default").await, (json!(["FARGATE"]), json!([])));
    world.ok("CreateCapacityProvider", creation("mine", "other", settings())).await;
    world.ok("DeleteCapacityProvider", json!({"capacityProvider": "mine"})).await;
    for cluster in ["default", "other"] {
        world.ok("DeleteCluster", json!({ "cluster": cluster })).await;
    }
}

#[tokio::test]
async fn an_inactive_provider_is_forgotten_after_an_hour() {
    let world = World::with_default_cluster().await;
    for name in ["mine", "kept"] {
        made(&world, name).await;
    }
    world.ok("DeleteCapacityProvider", json!({"capacityProvider": "mine"})).await;
    let expiry = CapacityProviderExpiry(world.engine().clone());
    let described = async |world: &World| {
        let named = json!({"capacityProviders": ["kept", "mine"]});
        let answer = world.ok("DescribeCapacityProviders", named).await;
        let providers = answer["capacityProviders"].as_array().unwrap();
        json!(providers.iter().map(|it| it["status"].clone()).collect::<Vec<_>>())
    };
    world.clock.advance(Duration::from_secs(3600));
    run_once(&expiry).await.unwrap();
    assert_eq!(described(&world).await, json!(["ACTIVE", "INACTIVE"]));
    world.clock.advance(Duration::from_secs(1));
    run_once(&expiry).await.unwrap();
    assert_eq!(described(&world).await, json!(["ACTIVE"]));
    let world = world.restarted().await;
    assert_eq!(described(&world).await, json!(["ACTIVE"]));
}

/// A cluster with managed instances `mine` and a definition that they take, `web`.
async fn with_managed_instances() -> World {
    let world = World::with_default_cluster().await;
    made(&world, "mine").await;
    world.ok("RegisterTaskDefinition", definition("web", json!({"networkMode": "host"}))).await;
    world
}

fn definition(family: &str, more: Json) -> Json {
    let mut definition = json!({
        "family": family, "containerDefinitions": [{"name": "main", "image": "busybox", "cpu": 10, "memory": 16}],
    });
    definition.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    definition
}

fn run(family: &str) -> Json {
    json!({"taskDefinition": family, "capacityProviderStrategy": [item("mine")]})
}

#[tokio::test]
async fn tasks_run_on_the_instances_that_joined_for_their_provider() {
    let world = with_managed_instances().await;
    world.instance(1000, 1000, &[]).await;
    world.instance(1000, 1000, &[(OF_PROVIDER, "another")]).await;
    // It waits for an instance of its own.
    let waiting = world.ok("RunTask", run("web")).await["tasks"][0].clone();
    assert_eq!(waiting["lastStatus"], "PROVISIONING");
    world.ok("StopTask", json!({"task": waiting["taskArn"]})).await;
    let own = world.instance(1000, 1000, &[(OF_PROVIDER, "mine")]).await;
    let task = world.ok("RunTask", run("web")).await["tasks"][0].clone();
    for (member, value) in [
        ("launchType", json!("MANAGED_INSTANCES")),
        ("capacityProviderName", json!("mine")),
        ("containerInstanceArn", own.clone()),
    ] {
        assert_eq!(task[member], value, "{member}");
    }
    let listed = world.ok("ListTasks", json!({"launchType": "MANAGED_INSTANCES"})).await;
    assert_eq!(listed["taskArns"], json!([task["taskArn"]]));
    let (code, message) = world.refused("DeleteCapacityProvider", json!({"capacityProvider": "mine"})).await;
    assert_eq!(code, "ClientException");
    assert!(message.starts_with("The specified capacity provider is in use and cannot be removed"), "{message}");
    let instance = world.ok("DescribeContainerInstances", json!({"containerInstances": [own]})).await;
    assert_eq!(instance["containerInstances"][0]["capacityProviderName"], "mine");
}

#[tokio::test]
async fn managed_instances_choose_places_themselves_and_spread_over_the_zones() {
    let world = with_managed_instances().await;
    for zone in ["eu-west-1a", "eu-west-1b", "eu-west-1c"] {
        let own = [(OF_PROVIDER, "mine"), ("ecs.availability-zone", zone)];
        for _ in 0..2 {
            world.instance(1000, 1000, &own).await;
        }
    }
    let mut input = run("web");
    input["count"] = json!(3);
    let tasks = world.ok("RunTask", input.clone()).await["tasks"].clone();
    let mut zones: Vec<_> =
        tasks.as_array().unwrap().iter().map(|task| task["availabilityZone"].as_str().unwrap()).collect();
    zones.sort_unstable();
    assert_eq!(zones, ["eu-west-1a", "eu-west-1b", "eu-west-1c"]);
    input["placementStrategy"] = json!([{"type": "binpack", "field": "memory"}]);
    let (code, message) = world.refused("RunTask", input.clone()).await;
    assert_eq!(code, "InvalidParameterException");
    assert_eq!(message, "Placement strategies are not supported with MANAGED_INSTANCES launch type.");
    let service = input.as_object_mut().unwrap();
    service.remove("count");
    service.extend([("serviceName".to_owned(), json!("s")), ("desiredCount".to_owned(), json!(1))]);
    assert_eq!(world.refused("CreateService", input.clone()).await.1, message);
    let by_zone = json!({"type": "memberOf", "expression": "attribute:ecs.availability-zone == eu-west-1b"});
    let mut placed = run("web");
    placed["placementConstraints"] = json!([by_zone]);
    assert_eq!(world.ok("RunTask", placed).await["tasks"][0]["availabilityZone"], "eu-west-1b");
}

#[tokio::test]
async fn a_service_runs_on_managed_instances() {
    let world = with_managed_instances().await;
    world.instance(1000, 1000, &[(OF_PROVIDER, "mine")]).await;
    world.ok("PutClusterCapacityProviders", put(json!(["mine"]), json!([item("mine")]))).await;
    let input = json!({"serviceName": "site", "taskDefinition": "web", "desiredCount": 2});
    let service = world.ok("CreateService", input).await["service"].clone();
    assert_eq!(service["capacityProviderStrategy"], json!([item("mine")]));
    let scheduler = ServiceScheduler::new(world.engine().clone(), ServiceSchedulerLimits::default());
    run_once(&scheduler).await.unwrap();
    let arns = world.ok("ListTasks", json!({"serviceName": "site"})).await["taskArns"].clone();
    let tasks = world.ok("DescribeTasks", json!({ "tasks": arns })).await["tasks"].clone();
    let tasks = tasks.as_array().unwrap();
    assert_eq!(tasks.len(), 2);
    for task in tasks {
        assert_eq!((&task["launchType"], &task["capacityProviderName"]), (&json!("MANAGED_INSTANCES"), &json!("mine")));
    }
    let (code, _) = world.refused("DeleteCapacityProvider", json!({"capacityProvider": "mine"})).await;
    assert_eq!(code, "ClientException");
}

#[tokio::test]
async fn managed_instances_take_the_definitions_that_fit_them() {
    let world = with_managed_instances().await;
    world.instance(1000, 1000, &[(OF_PROVIDER, "mine")]).await;
    world.ok("RegisterTaskDefinition", definition("bridged", json!({}))).await;
    let (code, message) = world.refused("RunTask", run("bridged")).await;
    assert_eq!(code, "InvalidParameterException");
    assert_eq!(message, "Task definition does not support launch_type MANAGED_INSTANCES.");
    let mut service = run("bridged");
    service["serviceName"] = json!("s");
    service["desiredCount"] = json!(1);
    assert_eq!(world.refused("CreateService", service).await.1, message);
    let managed =
        definition("managed", json!({"networkMode": "host", "requiresCompatibilities": ["MANAGED_INSTANCES"]}));
    world.ok("RegisterTaskDefinition", managed).await;
    world.ok("RunTask", run("managed")).await;
    let (_, message) = world.refused("RunTask", json!({"taskDefinition": "managed", "launchType": "EC2"})).await;
    assert_eq!(message, "Task definition does not support launch_type EC2.");
}

#[tokio::test]
async fn managed_instances_are_named_by_a_strategy_never_by_launch_type() {
    let world = with_managed_instances().await;
    let by_type = |more: Json| {
        let mut input = json!({"taskDefinition": "web", "launchType": "MANAGED_INSTANCES"});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    for (operation, more) in [("RunTask", json!({})), ("CreateService", json!({"serviceName": "s", "desiredCount": 1}))]
    {
        let (code, message) = world.refused(operation, by_type(more)).await;
        assert_eq!(code, "InvalidParameterException", "{operation}");
        assert!(message.contains("name a capacity provider in a capacityProviderStrategy"), "{message}");
    }
    let group = json!({"name": "group", "autoScalingGroupProvider": {"autoScalingGroupArn": "workers"}});
    world.ok("CreateCapacityProvider", group).await;
    world.ok("PutClusterCapacityProviders", put(json!(["FARGATE", "group"]), json!([]))).await;
    for other in ["FARGATE", "group"] {
        let mixed = json!({"taskDefinition": "web", "capacityProviderStrategy": [item("mine"), item(other)]});
        let (code, message) = world.refused("RunTask", mixed).await;
        assert_eq!(code, "InvalidParameterException", "{other}");
        assert!(message.contains("cannot contain a mix of Managed Instances capacity providers"), "{message}");
    }
}
