use longshore_model::records::{ContainerInstanceStatus, TaskStatus};
use serde_json::{Value, json};

use crate::operations::testing::World;

async fn described(world: &World, name: &str, include: Value) -> Value {
    let answer = world.ok("DescribeClusters", json!({"clusters": [name], "include": include})).await;
    assert_eq!(answer["failures"], json!([]));
    answer["clusters"][0].clone()
}

// spec: 03-061, 19-089, 23-011
#[tokio::test]
async fn a_new_cluster_is_active_and_empty() {
    let world = World::new().await;
    let answer = world.ok("CreateCluster", json!({"clusterName": "web"})).await;
    let expected = json!({
        "clusterArn": world.arn("cluster/web"), "clusterName": "web", "status": "ACTIVE",
        "registeredContainerInstancesCount": 0, "runningTasksCount": 0, "pendingTasksCount": 0,
        "activeServicesCount": 0, "statistics": [], "tags": [],
        "settings": [{"name": "containerInsights", "value": "disabled"}],
        "capacityProviders": [], "defaultCapacityProviderStrategy": [],
    });
    assert_eq!(answer, json!({"cluster": expected}));
}

// spec: 23-010
#[tokio::test]
async fn a_cluster_without_a_name_is_called_default() {
    let world = World::new().await;
    let answer = world.ok("CreateCluster", json!({})).await;
    assert_eq!(answer["cluster"]["clusterName"], "default");
    assert_eq!(world.ok("DescribeClusters", json!({})).await["clusters"][0]["clusterName"], "default");
}

// spec: 03-016
#[tokio::test]
async fn names_have_up_to_255_letters_digits_hyphens_and_underscores() {
    let world = World::new().await;
    world.ok("CreateCluster", json!({"clusterName": "x".repeat(255)})).await;
    world.ok("CreateCluster", json!({"clusterName": "A-1_b"})).await;
    for name in ["", "a b", "a.b", &"x".repeat(256)] {
        let (code, _) = world.refused("CreateCluster", json!({"clusterName": name})).await;
        assert_eq!(code, "InvalidParameterException", "{name}");
    }
    let (_, message) = world.refused("CreateCluster", json!({"clusterName": "a b"})).await;
    assert_eq!(message, "Cluster name must match ^[a-zA-Z0-9\\-_]{1,255}$, but was a b");
}

#[tokio::test]
async fn creating_a_cluster_again_answers_the_existing_one_unless_it_differs() {
    let world = World::new().await;
    let tagged = json!({"clusterName": "web", "tags": [{"key": "a", "value": "b"}]});
    let first = world.ok("CreateCluster", tagged.clone()).await;
    assert_eq!(world.ok("CreateCluster", tagged).await, first);
    assert_eq!(world.ok("CreateCluster", json!({"clusterName": "web"})).await, first);
    let other = json!({"clusterName": "web", "settings": [{"name": "containerInsights", "value": "enabled"}]});
    let message = "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).";
    assert_eq!(world.refused("CreateCluster", other).await, ("InvalidParameterException", message.to_owned()));
    assert_eq!(world.ok("ListClusters", json!({})).await["clusterArns"], json!([world.arn("cluster/web")]));
}

// spec: 01-001, 03-003
#[tokio::test]
async fn a_cluster_of_one_region_is_not_seen_in_another() {
    let world = World::new().await;
    world.ok("CreateCluster", json!({"clusterName": "web"})).await;
    let world = world.in_region("us-east-1");
    assert_eq!(world.ok("ListClusters", json!({})).await, json!({"clusterArns": []}));
    let answer = world.ok("DescribeClusters", json!({"clusters": ["web"]})).await;
    assert_eq!(answer["failures"], json!([{"arn": world.arn("cluster/web"), "reason": "MISSING"}]));
}

// spec: 03-104, 24-056
#[tokio::test]
async fn a_missing_cluster_is_a_failure_beside_the_others() {
    let world = World::new().await;
    world.ok("CreateCluster", json!({"clusterName": "web"})).await;
    let answer = world.ok("DescribeClusters", json!({"clusters": ["web", "no", world.arn("cluster/nor")]})).await;
    assert_eq!(answer["clusters"][0]["clusterName"], "web");
    assert_eq!(
        answer["failures"],
        json!([
            {"arn": world.arn("cluster/no"), "reason": "MISSING"},
            {"arn": world.arn("cluster/nor"), "reason": "MISSING"},
        ])
    );
    let (code, message) = world.refused("DescribeClusters", json!({"clusters": [""]})).await;
    assert_eq!((code, message.as_str()), ("InvalidParameterException", "Clusters can not be blank."));
    world.refused("DescribeClusters", json!({"clusters": vec!["c"; 101]})).await;
}

// spec: 03-019
#[tokio::test]
async fn a_description_shows_what_was_asked_for() {
    let world = World::new().await;
    let configuration = json!({"executeCommandConfiguration": {"logging": "DEFAULT"}});
    let settings = json!([{"name": "containerInsights", "value": "enabled"}]);
    let tags = json!([{"key": "team", "value": "web"}]);
    world
        .ok(
            "CreateCluster",
            json!({"clusterName": "web", "configuration": configuration, "settings": settings, "tags": tags}),
        )
        .await;
    let bare = described(&world, "web", json!([])).await;
    assert_eq!((&bare["settings"], &bare["tags"], bare.get("configuration")), (&json!([]), &json!([]), None));
    let full =
        described(&world, "web", json!(["TAGS", "SETTINGS", "CONFIGURATIONS", "ATTACHMENTS", "STATISTICS"])).await;
    assert_eq!((&full["settings"], &full["tags"], &full["configuration"]), (&settings, &tags, &configuration));
    assert_eq!(full["attachments"], json!([]));
    assert!(full["statistics"].as_array().unwrap().contains(&json!({"name": "runningEC2TasksCount", "value": "0"})));
}

#[tokio::test]
async fn counts_follow_instances_and_tasks() {
    let world = World::new().await;
    world.ok("CreateCluster", json!({"clusterName": "web"})).await;
    for status in
        [ContainerInstanceStatus::Active, ContainerInstanceStatus::Draining, ContainerInstanceStatus::Inactive]
    {
        world.put_instance("web", status).await;
    }
    world.put_task("web", "f", 1, TaskStatus::Running).await;
    let pending = world.put_task("web", "f", 1, TaskStatus::Pending).await;
    let counts = |cluster: Value| {
        ["registeredContainerInstancesCount", "runningTasksCount", "pendingTasksCount"]
            .map(|name| cluster[name].as_i64().unwrap())
    };
    assert_eq!(counts(described(&world, "web", json!([])).await), [2, 1, 1]);
    world.move_task(&pending, TaskStatus::Running).await;
    let cluster = described(&world, "web", json!(["STATISTICS"])).await;
    let statistic = |name: &str, value: &str| {
        let wanted = json!({"name": name, "value": value});
        cluster["statistics"].as_array().unwrap().contains(&wanted)
    };
    assert!(statistic("runningEC2TasksCount", "2") && statistic("pendingEC2TasksCount", "0"));
    assert!(statistic("runningFargateTasksCount", "0"));
    assert_eq!(counts(cluster), [2, 2, 0]);
}

#[tokio::test]
async fn active_clusters_are_listed_by_name_in_pages() {
    let world = World::new().await;
    for name in ["b", "c", "a", "gone"] {
        world.ok("CreateCluster", json!({"clusterName": name})).await;
    }
    world.ok("DeleteCluster", json!({"cluster": "gone"})).await;
    let first = world.ok("ListClusters", json!({"maxResults": 2})).await;
    assert_eq!(first["clusterArns"], json!([world.arn("cluster/a"), world.arn("cluster/b")]));
    let rest = world.ok("ListClusters", json!({"maxResults": 2, "nextToken": first["nextToken"]})).await;
    assert_eq!(rest, json!({"clusterArns": [world.arn("cluster/c")]}));
    for bad in [json!({"maxResults": 0}), json!({"maxResults": 101}), json!({"nextToken": "x"})] {
        assert_eq!(world.refused("ListClusters", bad).await.0, "InvalidParameterException");
    }
}

// spec: 03-097, 19-084, 31-013
#[tokio::test]
async fn container_insights_is_the_only_setting() {
    let world = World::new().await;
    world.ok("CreateCluster", json!({"clusterName": "web"})).await;
    let change = |name: &str, value: &str| json!({"cluster": "web", "settings": [{"name": name, "value": value}]});
    for value in ["enabled", "enhanced", "disabled"] {
        let answer = world.ok("UpdateClusterSettings", change("containerInsights", value)).await;
        assert_eq!(answer["cluster"]["settings"], json!([{"name": "containerInsights", "value": value}]));
    }
    for (name, value) in [("containerInsights", "on"), ("other", "enabled")] {
        assert_eq!(world.refused("UpdateClusterSettings", change(name, value)).await.0, "InvalidParameterException");
    }
}

// spec: 31-013
#[tokio::test]
async fn an_update_keeps_what_it_does_not_name() {
    let world = World::new().await;
    let settings = json!([{"name": "containerInsights", "value": "enabled"}]);
    let namespace = json!({"namespace": "arn:aws:servicediscovery:eu-west-1:123456789012:namespace/ns-1"});
    world
        .ok("CreateCluster", json!({"clusterName": "web", "settings": settings, "serviceConnectDefaults": namespace}))
        .await;
    let configuration = json!({"executeCommandConfiguration": {"kmsKeyId": "key"}});
    let answer =
        world.ok("UpdateCluster", json!({"cluster": "web", "configuration": configuration})).await["cluster"].clone();
    assert_eq!((&answer["settings"], &answer["configuration"]), (&settings, &configuration));
    assert_eq!(answer["serviceConnectDefaults"], namespace);
    let cleared =
        world.ok("UpdateCluster", json!({"cluster": "web", "serviceConnectDefaults": {"namespace": ""}})).await;
    assert_eq!(cleared["cluster"].get("serviceConnectDefaults"), None);
    assert_eq!(world.refused("UpdateCluster", json!({"cluster": "no"})).await.0, "ClusterNotFoundException");
}

#[tokio::test]
async fn an_overridden_exec_log_needs_its_configuration() {
    let world = World::new().await;
    let create =
        |execute: Value| json!({"clusterName": "web", "configuration": {"executeCommandConfiguration": execute}});
    for execute in
        [json!({"logging": "OVERRIDE"}), json!({"logging": "DEFAULT", "logConfiguration": {"s3BucketName": "b"}})]
    {
        assert_eq!(world.refused("CreateCluster", create(execute)).await.0, "InvalidParameterException");
    }
    world.ok("CreateCluster", create(json!({"logging": "OVERRIDE", "logConfiguration": {"s3BucketName": "b"}}))).await;
}

// spec: 03-008, 03-082
#[tokio::test]
async fn a_deleted_cluster_is_inactive_and_describable_and_its_name_is_free() {
    let world = World::new().await;
    world.ok("CreateCluster", json!({"clusterName": "web", "tags": [{"key": "a", "value": "b"}]})).await;
    let old = world.cluster_id("web");
    let deleted = world.ok("DeleteCluster", json!({"cluster": world.arn("cluster/web")})).await;
    assert_eq!(deleted["cluster"]["status"], "INACTIVE");
    assert_eq!(described(&world, "web", json!([])).await["status"], "INACTIVE");
    assert_eq!(
        world.refused("DeleteCluster", json!({"cluster": "web"})).await,
        ("ClusterNotFoundException", "Cluster not found.".to_owned())
    );
    let again = world.ok("CreateCluster", json!({"clusterName": "web"})).await;
    assert_eq!((&again["cluster"]["status"], &again["cluster"]["tags"]), (&json!("ACTIVE"), &json!([])));
    assert_ne!(world.cluster_id("web"), old);
}

#[tokio::test]
async fn the_newest_incarnation_is_found_after_a_restart_also_when_the_clock_stood_still() {
    let mut world = World::new().await;
    for _ in 0..8 {
        world.ok("CreateCluster", json!({"clusterName": "web"})).await;
        world = world.restarted().await;
        assert_eq!(described(&world, "web", json!([])).await["status"], "ACTIVE");
        world.ok("DeleteCluster", json!({"cluster": "web"})).await;
    }
}

// spec: 03-099
#[tokio::test]
async fn a_cluster_with_instances_or_tasks_is_not_deleted() {
    let world = World::new().await;
    for name in ["busy", "tasks", "gone"] {
        world.ok("CreateCluster", json!({"clusterName": name})).await;
    }
    world.put_instance("busy", ContainerInstanceStatus::Draining).await;
    let (code, message) = world.refused("DeleteCluster", json!({"cluster": "busy"})).await;
    assert_eq!(code, "ClusterContainsContainerInstancesException");
    assert_eq!(message, "The Cluster cannot be deleted while Container Instances are active or draining.");
    let task = world.put_task("tasks", "f", 1, TaskStatus::Pending).await;
    let (code, message) = world.refused("DeleteCluster", json!({"cluster": "tasks"})).await;
    assert_eq!(code, "ClusterContainsTasksException");
    assert_eq!(message, "The Cluster cannot be deleted while Tasks are active.");
    world.move_task(&task, TaskStatus::Stopped).await;
    world.put_instance("tasks", ContainerInstanceStatus::Inactive).await;
    world.ok("DeleteCluster", json!({"cluster": "tasks"})).await;
}

// spec: 03-030, 03-058, 03-059, 03-083, 03-091, 03-092, 03-094
#[tokio::test]
async fn providers_and_strategy_are_replaced_together() {
    let world = World::new().await;
    let item = |provider: &str, base: i64| json!({"capacityProvider": provider, "weight": 1, "base": base});
    let created = world
        .ok(
            "CreateCluster",
            json!({
                "clusterName": "web", "capacityProviders": ["FARGATE", "FARGATE_SPOT"],
                "defaultCapacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1}],
            }),
        )
        .await;
    assert_eq!(created["cluster"]["capacityProviders"], json!(["FARGATE", "FARGATE_SPOT"]));
    assert_eq!(created["cluster"]["defaultCapacityProviderStrategy"], json!([item("FARGATE", 0)]));
    let put = |providers: Value, strategy: Value| json!({"cluster": "web", "capacityProviders": providers, "defaultCapacityProviderStrategy": strategy});
    for (providers, strategy) in [
        (json!(["mine"]), json!([])),
        (json!(["FARGATE", "FARGATE"]), json!([])),
        (json!(["FARGATE"]), json!([item("FARGATE_SPOT", 0)])),
        (json!(["FARGATE"]), json!([item("FARGATE", 0), item("FARGATE", 0)])),
        (json!(["FARGATE", "FARGATE_SPOT"]), json!([item("FARGATE", 1), item("FARGATE_SPOT", 1)])),
    ] {
        let refused = world.refused("PutClusterCapacityProviders", put(providers, strategy)).await;
        assert_eq!(refused.0, "InvalidParameterException");
    }
    let answer = world.ok("PutClusterCapacityProviders", put(json!(["FARGATE_SPOT"]), json!([]))).await;
    assert_eq!(answer["cluster"]["capacityProviders"], json!(["FARGATE_SPOT"]));
    let later = put(json!(["FARGATE_SPOT", "FARGATE"]), json!([]));
    world.ok("PutClusterCapacityProviders", later).await;
    let shown = world.ok("DescribeClusters", json!({"clusters": ["web"]})).await["clusters"][0].clone();
    assert_eq!(shown["capacityProviders"], json!(["FARGATE_SPOT", "FARGATE"]));
    assert_eq!(answer["cluster"]["defaultCapacityProviderStrategy"], json!([]));
}

// spec: 03-001, 03-004
#[tokio::test]
async fn an_active_cluster_takes_instances_tasks_and_services_and_counts_them() {
    let world = World::with_default_cluster().await;
    world
        .ok(
            "PutClusterCapacityProviders",
            json!({
                "cluster": "default", "capacityProviders": ["FARGATE"], "defaultCapacityProviderStrategy": [],
            }),
        )
        .await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    world.ok("RunTask", json!({"taskDefinition": "web", "launchType": "EC2", "count": 2})).await;
    let service = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1});
    world.ok("CreateService", service).await;
    let cluster = described(&world, "default", json!([])).await;
    for (member, value) in [
        ("status", json!("ACTIVE")),
        ("registeredContainerInstancesCount", json!(1)),
        ("pendingTasksCount", json!(2)),
        ("runningTasksCount", json!(0)),
        ("activeServicesCount", json!(1)),
        ("capacityProviders", json!(["FARGATE"])),
    ] {
        assert_eq!(cluster[member], value, "{member}");
    }
}

#[tokio::test]
async fn a_name_that_no_cluster_can_have_is_said() {
    let world = World::new().await;
    let (code, message) = world.refused("ListTasks", json!({"cluster": "a b"})).await;
    assert_eq!(code, "InvalidParameterException");
    assert_eq!(message, "Cluster must match ^[a-zA-Z0-9\\-_]{1,255}$, but was a b");
    assert_eq!(world.refused("ListTasks", json!({"cluster": "ab"})).await.0, "ClusterNotFoundException");
}

#[tokio::test]
async fn a_deleted_cluster_is_told_from_one_that_never_was() {
    let world = World::new().await;
    world.ok("CreateCluster", json!({"clusterName": "gone"})).await;
    world.ok("DeleteCluster", json!({"cluster": "gone"})).await;
    let refused = world.refused("ListServices", json!({"cluster": "gone"})).await;
    assert_eq!(refused, ("ClusterNotFoundException", "The referenced cluster was inactive.".to_owned()));
    let refused = world.refused("ListServices", json!({"cluster": "never"})).await;
    assert_eq!(refused, ("ClusterNotFoundException", "Cluster not found.".to_owned()));
}
