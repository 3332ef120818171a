use longshore_model::records::GrantRecord;
use longshore_wire::Principal;
use serde_json::{Value, json};

use crate::changes::Change;
use crate::operations::testing::{ACCOUNT, REGION, World};
use crate::operations::testing_instances::{id_of, registration};
use crate::reconcilers::{ServiceScheduler, ServiceSchedulerLimits, run_once};

fn attribute<'a>(instance: &'a Value, name: &str) -> Option<&'a Value> {
    let attributes = instance["attributes"].as_array().unwrap();
    attributes.iter().find(|attribute| attribute["name"] == name).map(|attribute| &attribute["value"])
}

// spec: 10-008, 14-046, 14-047, 14-045, 14-054
#[tokio::test]
async fn a_registration_is_answered_with_every_attribute_that_came() {
    let world = World::with_default_cluster().await;
    let input = registration(2048, 4096, &[("stack", "prod")]);
    let answer = world.ok("RegisterContainerInstance", input.clone()).await;
    let instance = &answer["containerInstance"];
    for sent in input["attributes"].as_array().unwrap() {
        let known = attribute(instance, sent["name"].as_str().unwrap());
        assert_eq!(known, Some(&sent["value"]), "{sent}");
    }
    assert_eq!(instance["status"], "ACTIVE");
    assert_eq!(attribute(instance, "ecs.availability-zone").unwrap(), &format!("{REGION}a"));
    assert!(attribute(instance, "ecs.ami-id").unwrap().as_str().unwrap().starts_with("ami-"));
    assert!(attribute(instance, "ecs.instance-type").is_some());
    let arn = instance["containerInstanceArn"].as_str().unwrap();
    assert!(arn.starts_with(&world.arn("container-instance/default/")), "{arn}");
    assert!(instance["ec2InstanceId"].as_str().unwrap().starts_with("i-"));
    world.connect(&instance["containerInstanceArn"], true).await;
    assert_eq!(world.described(&instance["containerInstanceArn"]).await["agentConnected"], json!(true));
}

// spec: 12-047
#[tokio::test]
async fn an_unacceptable_attribute_is_left_out() {
    let world = World::with_default_cluster().await;
    let instance = world.registered(100, 100, &[("stack", &"x".repeat(200)), ("fine", "y")]).await;
    let described = world.described(&instance).await;
    assert_eq!(attribute(&described, "stack"), None);
    assert_eq!(attribute(&described, "fine"), Some(&json!("y")));
}

// spec: 10-006
#[tokio::test]
async fn an_identity_document_says_what_the_machine_is() {
    let world = World::with_default_cluster().await;
    let mut input = registration(100, 100, &[]);
    let document = |kind: &str| json!({"instanceId": "i-0123", "instanceType": kind, "imageId": "ami-77", "availabilityZone": "eu-west-1c"});
    input["instanceIdentityDocument"] = json!(document("m5.large").to_string());
    let instance = world.ok("RegisterContainerInstance", input.clone()).await["containerInstance"].clone();
    input["containerInstanceArn"] = instance["containerInstanceArn"].clone();
    world.ok("RegisterContainerInstance", input.clone()).await;
    input["instanceIdentityDocument"] = json!(document("m5.xlarge").to_string());
    let refused = world.refused("RegisterContainerInstance", input).await;
    assert_eq!(refused, ("ClientException", "Container instance type changes are not supported.".to_owned()));
    assert_eq!(instance["ec2InstanceId"], "i-0123");
    assert_eq!(attribute(&instance, "ecs.instance-type"), Some(&json!("m5.large")));
    assert_eq!(attribute(&instance, "ecs.availability-zone"), Some(&json!("eu-west-1c")));
}

// spec: 12-005
#[tokio::test]
async fn a_cluster_that_does_not_exist_is_not_made() {
    let world = World::with_default_cluster().await;
    let mut input = registration(100, 100, &[]);
    input["cluster"] = json!("other");
    let refused = world.refused("RegisterContainerInstance", input).await;
    assert_eq!(refused, ("ClusterNotFoundException", "Cluster not found.".to_owned()));
}

// spec: 10-010, 12-045
#[tokio::test]
async fn an_instance_that_comes_back_keeps_its_identity_tags_and_custom_attributes() {
    let world = World::with_default_cluster().await;
    let mut first = registration(1000, 1000, &[("stack", "prod")]);
    first["tags"] = json!([{"key": "k", "value": "v"}]);
    let arn = world.ok("RegisterContainerInstance", first).await["containerInstance"]["containerInstanceArn"].clone();
    world.connect(&arn, true).await;
    world.family("web", 300, 100, json!({})).await;
    world.run("web").await;
    let mut again = registration(2000, 500, &[("stack", "dev"), ("new", "x")]);
    again["containerInstanceArn"] = arn.clone();
    let answer = world.ok("RegisterContainerInstance", again).await;
    let instance = &answer["containerInstance"];
    assert_eq!(instance["containerInstanceArn"], arn);
    assert_eq!(attribute(instance, "stack"), Some(&json!("prod")));
    assert_eq!(attribute(instance, "new"), None);
    assert_eq!(instance["tags"], json!([{"key": "k", "value": "v"}]));
    assert_eq!(instance["remainingResources"][0]["integerValue"], 1700);
    assert_eq!(instance["remainingResources"][1]["integerValue"], 400);
    let listed = world.ok("ListContainerInstances", json!({})).await;
    assert_eq!(listed["containerInstanceArns"], json!([arn]));
}

#[tokio::test]
async fn a_forgotten_instance_is_made_anew_under_its_arn() {
    let world = World::with_default_cluster().await;
    let arn = world.arn("container-instance/default/0123456789abcdef0123456789abcdef");
    let mut input = registration(100, 100, &[]);
    input["containerInstanceArn"] = json!(arn);
    let answer = world.ok("RegisterContainerInstance", input).await;
    assert_eq!(answer["containerInstance"]["containerInstanceArn"], json!(arn));
}

// spec: 10-007
#[tokio::test]
async fn an_instance_changes_neither_its_cluster_nor_its_kind() {
    let world = World::with_default_cluster().await;
    world.ok("CreateCluster", json!({"clusterName": "other"})).await;
    let arn = world.registered(100, 100, &[]).await;
    let mut moved = registration(100, 100, &[]);
    moved["containerInstanceArn"] = arn.clone();
    moved["cluster"] = json!("other");
    assert_eq!(world.refused("RegisterContainerInstance", moved).await.0, "ClientException");
    let mut changed = registration(100, 100, &[]);
    changed["containerInstanceArn"] = arn;
    let last = changed["attributes"].as_array().unwrap().len() - 1;
    changed["attributes"][last]["value"] = json!("arm64");
    let refused = world.refused("RegisterContainerInstance", changed).await;
    assert_eq!(refused, ("ClientException", "Container instance type changes are not supported.".to_owned()));
}

// spec: 10-013, 10-079, 24-005
#[tokio::test]
async fn deregistration_needs_force_when_tasks_are_there() {
    let world = World::with_default_cluster().await;
    let arn = world.instance(2000, 2000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    let task = world.run("web").await["taskArn"].clone();
    let refused = world.refused("DeregisterContainerInstance", json!({"containerInstance": arn})).await;
    assert_eq!(refused, ("InvalidParameterException", "Found running tasks on the instance.".to_owned()));
    let forced = json!({"containerInstance": arn, "force": true});
    let answer = world.ok("DeregisterContainerInstance", forced.clone()).await;
    assert_eq!(answer["containerInstance"]["status"], "INACTIVE");
    let stopped = world.task(&task).await;
    assert_eq!(stopped["lastStatus"], "STOPPED");
    assert_eq!(stopped["stoppedReason"], "Container instance deregistration forced by user.");
    assert_eq!(world.ok("ListContainerInstances", json!({})).await["containerInstanceArns"], json!([]));
    assert_eq!(world.ok("ListTasks", json!({})).await["taskArns"], json!([]));
    let nowhere = world.refused("RunTask", json!({"taskDefinition": "web"})).await;
    assert_eq!(nowhere.1, "No Container Instances were found in your cluster.");
    assert_eq!(world.refused("DeregisterContainerInstance", forced).await.0, "InvalidParameterException");
}

#[tokio::test]
async fn deregistration_gives_up_any_number_of_tasks() {
    let world = World::with_default_cluster().await;
    let arn = world.instance(20000, 20000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    for _ in 0..20 {
        world.ok("RunTask", json!({"taskDefinition": "web", "count": 10})).await;
    }
    world.ok("DeregisterContainerInstance", json!({"containerInstance": arn, "force": true})).await;
    assert_eq!(world.ok("ListTasks", json!({})).await["taskArns"], json!([]));
    let described = world.described(&arn).await;
    assert_eq!(described["remainingResources"], described["registeredResources"]);
}

#[tokio::test]
async fn a_deregistered_instance_does_not_come_back_by_itself() {
    let world = World::with_default_cluster().await;
    let arn = world.registered(100, 100, &[]).await;
    world.ok("DeregisterContainerInstance", json!({"containerInstance": arn})).await;
    let mut again = registration(100, 100, &[]);
    again["containerInstanceArn"] = arn;
    assert_eq!(world.refused("RegisterContainerInstance", again).await.0, "ClientException");
}

// spec: 10-012, 10-059, 10-065, 10-067
#[tokio::test]
async fn a_draining_instance_gets_no_tasks_and_keeps_those_it_has() {
    let world = World::with_default_cluster().await;
    let arn = world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    let task = world.run("web").await["taskArn"].clone();
    let set = |status: &str| json!({"containerInstances": [arn], "status": status});
    let answer = world.ok("UpdateContainerInstancesState", set("DRAINING")).await;
    assert_eq!(answer["containerInstances"][0]["status"], "DRAINING");
    assert_eq!(world.refused("RunTask", json!({"taskDefinition": "web"})).await.0, "InvalidParameterException");
    assert_eq!(world.task(&task).await["desiredStatus"], "RUNNING");
    let draining = world.ok("ListContainerInstances", json!({"status": "DRAINING"})).await;
    assert_eq!(draining["containerInstanceArns"], json!([arn]));
    world.ok("UpdateContainerInstancesState", set("ACTIVE")).await;
    world.run("web").await;
    assert_eq!(world.refused("UpdateContainerInstancesState", set("REGISTERING")).await.0, "InvalidParameterException");
}

// spec: 24-057
#[tokio::test]
async fn instances_that_are_not_there_are_failures() {
    let world = World::with_default_cluster().await;
    let id = "00000000000000000000000000000000";
    let answer = world.ok("DescribeContainerInstances", json!({"containerInstances": [id]})).await;
    let missing = json!([{"arn": world.arn(&format!("container-instance/default/{id}")), "reason": "MISSING"}]);
    assert_eq!(answer, json!({"containerInstances": [], "failures": missing}));
    let update = json!({"containerInstances": [id], "status": "DRAINING"});
    assert_eq!(world.ok("UpdateContainerInstancesState", update).await["failures"], missing);
}

// spec: 14-044, 14-055, 14-057, 14-058
#[tokio::test]
async fn attributes_are_put_listed_filtered_and_deleted() {
    let world = World::with_default_cluster().await;
    let mut instances = Vec::new();
    for _ in 0..3 {
        instances.push(world.registered(100, 100, &[]).await);
    }
    let put = |instance: &Value, name: &str, value: Value| json!({"attributes": [{"name": name, "value": value, "targetId": instance}]});
    world.ok("PutAttributes", put(&instances[0], "stack", json!("dev"))).await;
    world.ok("PutAttributes", put(&instances[0], "stack", json!("prod"))).await;
    world.ok("PutAttributes", put(&instances[1], "stack", json!("dev"))).await;
    world.ok("PutAttributes", put(&instances[2], "gpu", json!(null))).await;
    let filtered = async |filter: &str| {
        world.ok("ListContainerInstances", json!({"filter": filter})).await["containerInstanceArns"].clone()
    };
    assert_eq!(filtered("attribute:stack == prod").await, json!([instances[0]]));
    assert_eq!(filtered("attribute:stack != prod").await, json!([instances[1]]));
    assert_eq!(filtered("attribute:gpu exists").await, json!([instances[2]]));
    assert_eq!(world.refused("ListContainerInstances", json!({"filter": "x"})).await.0, "InvalidParameterException");
    let listed =
        world.ok("ListAttributes", json!({"targetType": "container-instance", "attributeName": "stack"})).await;
    assert_eq!(listed["attributes"].as_array().unwrap().len(), 2);
    let prod = json!({"targetType": "container-instance", "attributeName": "stack", "attributeValue": "prod"});
    let expected = json!([
        {"name": "stack", "value": "prod", "targetType": "container-instance", "targetId": instances[0]},
    ]);
    assert_eq!(world.ok("ListAttributes", prod.clone()).await["attributes"], expected);
    let delete = json!({"attributes": [{"name": "stack", "targetId": instances[0]}]});
    world.ok("DeleteAttributes", delete).await;
    assert_eq!(world.ok("ListAttributes", prod).await["attributes"], json!([]));
    let two = json!([
        {"name": "stack", "value": "test", "targetId": instances[0]},
        {"name": "project", "value": "a", "targetId": instances[0]},
    ]);
    world.ok("PutAttributes", json!({"attributes": two})).await;
    assert_eq!(filtered("attribute:stack == test and attribute:project == a").await, json!([instances[0]]));
    let unnamed = json!({"targetType": "container-instance", "attributeName": "", "attributeValue": ""});
    let all = world.ok("ListAttributes", json!({"targetType": "container-instance"})).await;
    assert_eq!(world.ok("ListAttributes", unnamed).await, all);
}

#[tokio::test]
async fn attributes_have_limits_and_known_targets() {
    let world = World::with_default_cluster().await;
    let instance = world.registered(100, 100, &[]).await;
    let many: Vec<Value> = (0..10).map(|n| json!({"name": format!("a{n}"), "targetId": instance})).collect();
    world.ok("PutAttributes", json!({ "attributes": many })).await;
    let more = json!({"attributes": [{"name": "b", "targetId": instance}]});
    assert_eq!(world.refused("PutAttributes", more).await.0, "AttributeLimitExceededException");
    let unknown = world.arn("container-instance/default/00000000000000000000000000000000");
    let elsewhere = json!({"attributes": [{"name": "b", "targetId": unknown}]});
    assert_eq!(world.refused("PutAttributes", elsewhere).await.0, "TargetNotFoundException");
    let reserved = json!({"attributes": [{"name": "ecs.os-type", "value": "x", "targetId": instance}]});
    assert_eq!(world.refused("PutAttributes", reserved).await.0, "InvalidParameterException");
}

#[tokio::test]
async fn the_target_of_an_attribute_that_is_named_by_id_needs_its_type() {
    let world = World::with_default_cluster().await;
    let arn = world.registered(100, 100, &[]).await;
    let id = arn.as_str().unwrap().rsplit('/').next().unwrap();
    for operation in ["PutAttributes", "DeleteAttributes"] {
        let short = json!({"attributes": [{"name": "stack", "targetId": id}]});
        assert_eq!(world.refused(operation, short).await.0, "InvalidParameterException", "{operation}");
        let typed = json!({"attributes": [{"name": "stack", "targetType": "container-instance", "targetId": id}]});
        assert_eq!(world.ok(operation, typed).await["attributes"][0]["targetId"], arn, "{operation}");
    }
}

#[tokio::test]
async fn attribute_pages_join_to_the_whole() {
    let world = World::with_default_cluster().await;
    for _ in 0..3 {
        world.registered(100, 100, &[]).await;
    }
    let list = async |input: Value| world.ok("ListAttributes", input).await;
    let mut all = Vec::new();
    let mut token = Value::Null;
    loop {
        let page = list(json!({"targetType": "container-instance", "maxResults": 7, "nextToken": token})).await;
        all.extend(page["attributes"].as_array().unwrap().clone());
        token = page["nextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    let whole = list(json!({"targetType": "container-instance"})).await;
    assert_eq!(json!(all), whole["attributes"]);
}

fn as_agent(mut world: World, grant: &str) -> World {
    let (account, region) = (ACCOUNT.to_owned(), REGION.to_owned());
    world.context.principal = Principal::ContainerInstance { account, region, grant: grant.to_owned() };
    world
}

async fn joined(grant: &str) -> World {
    let world = World::with_default_cluster().await;
    let record = GrantRecord {
        id: grant.to_owned(),
        scope: world.scope(),
        cluster: "default".to_owned(),
        container_instance: None,
        created_at: longshore_seams::Timestamp::from_secs(1),
    };
    world.change(|changes| changes.push(Change::PutGrant(record.into()))).await;
    world
}

#[tokio::test]
async fn a_grant_is_bound_to_its_first_instance_and_finds_it_again() {
    let world = as_agent(joined("g").await, "g");
    let first = world.registered(100, 100, &[]).await;
    assert_eq!(world.registered(100, 100, &[]).await, first);
    let bound = world.engine().peek(|state| state.grants["g"].container_instance);
    assert_eq!(bound, Some(id_of(&first)));
}

#[tokio::test]
async fn a_grant_whose_instance_was_deregistered_is_bound_to_a_new_one() {
    let world = as_agent(joined("g").await, "g");
    let first = world.registered(100, 100, &[]).await;
    let mut world = world;
    let agent = std::mem::replace(&mut world.context.principal, Principal::Root { account: ACCOUNT.to_owned() });
    world.ok("DeregisterContainerInstance", json!({"containerInstance": first})).await;
    world.context.principal = agent;
    let second = world.registered(100, 100, &[]).await;
    assert_ne!(second, first);
    assert_eq!(world.registered(100, 100, &[]).await, second);
}

#[tokio::test]
async fn an_agent_speaks_for_its_own_instance_only() {
    let world = joined("g").await;
    let other = world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    let task = world.run("web").await["taskArn"].clone();
    let world = as_agent(world, "g");
    let mut foreign = registration(100, 100, &[]);
    foreign["containerInstanceArn"] = other.clone();
    assert_eq!(world.refused("RegisterContainerInstance", foreign).await.0, "AccessDeniedException");
    let report = json!({"task": task, "status": "STOPPED"});
    assert_eq!(world.refused("SubmitTaskStateChange", report).await.0, "AccessDeniedException");
    let drain = json!({"containerInstances": [other], "status": "DRAINING"});
    assert_eq!(world.refused("UpdateContainerInstancesState", drain).await.0, "AccessDeniedException");
    let poll = json!({"containerInstance": other});
    assert_eq!(world.refused("DiscoverPollEndpoint", poll).await.0, "AccessDeniedException");
}

#[tokio::test]
async fn an_agent_that_joined_another_cluster_is_refused() {
    let world = joined("g").await;
    world.ok("CreateCluster", json!({"clusterName": "other"})).await;
    let world = as_agent(world, "g");
    let mut input = registration(100, 100, &[]);
    input["cluster"] = json!("other");
    assert_eq!(world.refused("RegisterContainerInstance", input).await.0, "AccessDeniedException");
}

#[tokio::test]
async fn endpoints_are_under_the_url_by_which_the_agent_came() {
    let world = World::with_default_cluster().await;
    let instance = world.registered(100, 100, &[]).await;
    let answer = world.ok("DiscoverPollEndpoint", json!({"containerInstance": instance, "cluster": "default"})).await;
    let expected = json!({"endpoint": "http://127.0.0.1:4747/acs", "telemetryEndpoint": "http://127.0.0.1:4747/tcs"});
    assert_eq!(answer, expected);
}

// spec: 03-011
#[tokio::test]
async fn an_instance_belongs_to_one_cluster() {
    let world = World::with_default_cluster().await;
    world.ok("CreateCluster", json!({"clusterName": "other"})).await;
    let mut input = registration(100, 100, &[]);
    let arn =
        world.ok("RegisterContainerInstance", input.clone()).await["containerInstance"]["containerInstanceArn"].clone();
    input["cluster"] = json!("other");
    input["containerInstanceArn"] = arn.clone();
    assert_eq!(world.refused("RegisterContainerInstance", input).await.0, "ClientException");
    let of = async |cluster: &str| {
        world.ok("ListContainerInstances", json!({"cluster": cluster})).await["containerInstanceArns"].clone()
    };
    assert_eq!((of("default").await, of("other").await), (json!([arn]), json!([])));
}

// spec: 10-011
#[tokio::test]
async fn a_stale_registration_is_deregistered_without_force() {
    let world = World::with_default_cluster().await;
    let stale = world.registered(100, 100, &[]).await;
    let fresh = world.instance(100, 100, &[]).await;
    let shown = world.described(&stale).await;
    assert_eq!((&shown["status"], &shown["agentConnected"]), (&json!("ACTIVE"), &json!(false)));
    let answer = world.ok("DeregisterContainerInstance", json!({"containerInstance": stale})).await;
    assert_eq!(answer["containerInstance"]["status"], "INACTIVE");
    assert_eq!(world.ok("ListContainerInstances", json!({})).await["containerInstanceArns"], json!([fresh]));
}

#[tokio::test]
async fn identifiers_that_cannot_be_right_are_said() {
    let world = World::with_default_cluster().await;
    let refused = async |named: Vec<String>| {
        let (code, message) = world.refused("DescribeContainerInstances", json!({"containerInstances": named})).await;
        assert_eq!(code, "InvalidParameterException");
        message
    };
    let id = "0".repeat(32);
    assert_eq!(refused(vec!["short".to_owned()]).await, "containerInstanceId length should be one of [32,36]");
    assert_eq!(refused(vec![id.clone(); 101]).await, "instanceIds can have at most 100 items.");
    let elsewhere = world.arn(&format!("container-instance/other/{id}"));
    let message = "Invalid identifier: Identifier is for cluster other. Your cluster is default";
    assert_eq!(refused(vec![elsewhere]).await, message);
}

#[tokio::test]
async fn a_machine_with_less_than_nothing_is_refused() {
    let world = World::with_default_cluster().await;
    let (code, message) = world.refused("RegisterContainerInstance", registration(-1, 1000, &[])).await;
    assert_eq!(code, "InvalidParameterException");
    assert_eq!(message, "The resource CPU of the container instance is less than 0.");
}

// spec: 14-116
#[tokio::test]
async fn of_a_retired_instance_only_service_tasks_get_successors() {
    let world = World::with_default_cluster().await;
    world.family("web", 1, 4, json!({})).await;
    let retired = world.instance(1000, 1000, &[]).await;
    let scheduler = || ServiceScheduler::new(world.engine().clone(), ServiceSchedulerLimits::default());
    world.ok("CreateService", json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1})).await;
    run_once(&scheduler()).await.unwrap();
    let alone = world.run("web").await["taskArn"].clone();
    let other = world.instance(1000, 1000, &[]).await;
    world.ok("DeregisterContainerInstance", json!({"containerInstance": retired, "force": true})).await;
    run_once(&scheduler()).await.unwrap();
    let running = world.ok("ListTasks", json!({})).await["taskArns"].clone();
    let [successor] = running.as_array().unwrap().as_slice() else { panic!("{running}") };
    let successor = world.task(successor).await;
    assert_eq!((&successor["group"], &successor["containerInstanceArn"]), (&json!("service:web"), &other));
    assert_eq!(world.task(&alone).await["desiredStatus"], "STOPPED");
}
