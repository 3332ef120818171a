//! What opting out of the long ARN format does to what is made afterwards.

use longshore_wire::Principal;
use serde_json::{Value, json};

use super::testing::{ACCOUNT, World};
use super::testing_instances::registration;
use crate::reconcilers::{ServiceScheduler, ServiceSchedulerLimits, run_once};

const FORMATS: [&str; 3] = ["containerInstanceLongArnFormat", "serviceLongArnFormat", "taskLongArnFormat"];

async fn choose(world: &World, value: &str) {
    for name in FORMATS {
        world.ok("PutAccountSetting", json!({"name": name, "value": value})).await;
    }
}

async fn world() -> World {
    let world = World::with_default_cluster().await;
    world.family("web", 1, 4, json!({})).await;
    world
}

async fn create_service(world: &World, name: &str) -> Value {
    let input = json!({"serviceName": name, "taskDefinition": "web", "desiredCount": 1});
    world.ok("CreateService", input).await["service"].clone()
}

/// The UUID after `…:KIND/`.
fn uuid<'a>(world: &World, kind: &str, arn: &'a Value) -> &'a str {
    let uuid = arn.as_str().unwrap().strip_prefix(&world.arn(&format!("{kind}/"))).unwrap();
    let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
    assert_eq!(lengths, [8, 4, 4, 4, 12], "{uuid}");
    uuid
}

// spec: 09-011, 09-012, 09-016, 09-017, 09-018, 09-019, 09-013
#[tokio::test]
async fn arns_have_the_format_that_their_maker_has_chosen_when_they_are_made() {
    let world = world().await;
    let long_instance = world.instance(100, 100, &[]).await;
    let long_task = world.run("web").await["taskArn"].clone();
    create_service(&world, "long").await;

    choose(&world, "disabled").await;
    let instance = world.instance(1000, 1000, &[]).await;
    uuid(&world, "container-instance", &instance);
    let task = world.run("web").await;
    uuid(&world, "task", &task["taskArn"]);
    uuid(&world, "container", &task["containers"][0]["containerArn"]);
    let service = create_service(&world, "short").await;
    assert_eq!(service["serviceArn"], world.arn("service/short"));
    assert_eq!(world.ok("ListServices", json!({})).await["serviceArns"][1], world.arn("service/short"));

    // What there was keeps its name, whatever is chosen later.
    let digits = long_task.as_str().unwrap().strip_prefix(&world.arn("task/default/")).unwrap();
    assert!(digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{digits}");
    choose(&world, "enabled").await;
    let world = world.restarted().await;
    assert_eq!(world.described(&long_instance).await["containerInstanceArn"], long_instance);
    assert_eq!(world.described(&instance).await["containerInstanceArn"], instance);
    assert_eq!(world.task(&long_task).await["taskArn"], long_task);
    let shown = world.task(&task["taskArn"]).await;
    assert_eq!(
        (&shown["taskArn"], &shown["containers"][0]["containerArn"]),
        (&task["taskArn"], &task["containers"][0]["containerArn"])
    );
    let named = json!({"services": ["long", world.arn("service/short")]});
    let services = world.ok("DescribeServices", named).await["services"].clone();
    assert_eq!(services[0]["serviceArn"], world.arn("service/default/long"));
    assert_eq!(services[1]["serviceArn"], world.arn("service/short"));
}

// spec: 09-020, 03-080
#[tokio::test]
async fn a_task_is_named_by_its_id_or_either_arn() {
    for format in ["enabled", "disabled"] {
        let world = world().await;
        choose(&world, format).await;
        world.instance(1000, 1000, &[]).await;
        let task = world.run("web").await["taskArn"].clone();
        let id = task.as_str().unwrap().rsplit('/').next().unwrap();
        for named in [task.clone(), json!(id), json!(world.arn(&format!("task/{id}")))] {
            let stopped = world.ok("StopTask", json!({"task": named})).await;
            assert_eq!((&stopped["task"]["taskArn"], &stopped["task"]["desiredStatus"]), (&task, &json!("STOPPED")));
        }
    }
}

// spec: 09-011
#[tokio::test]
async fn two_principals_make_resources_of_two_formats() {
    let mut world = world().await;
    choose(&world, "disabled").await;
    world.instance(1000, 1000, &[]).await;
    uuid(&world, "task", &world.run("web").await["taskArn"]);
    let root = world.context.principal.clone();
    world.context.principal = Principal::ContainerInstance {
        account: ACCOUNT.to_owned(),
        region: world.context.region.clone(),
        grant: "g".to_owned(),
    };
    world.ok("PutAccountSetting", json!({"name": "taskLongArnFormat", "value": "enabled"})).await;
    let task = world.run("web").await["taskArn"].clone();
    assert!(task.as_str().unwrap().starts_with(&world.arn("task/default/")), "{task}");
    world.context.principal = root;
    uuid(&world, "task", &world.run("web").await["taskArn"]);
}

// spec: 09-013, 09-016
#[tokio::test]
async fn an_agent_that_registers_again_keeps_the_short_arn() {
    let world = world().await;
    choose(&world, "disabled").await;
    let instance = world.registered(1000, 1000, &[]).await;
    choose(&world, "enabled").await;
    let mut again = registration(1000, 1000, &[]);
    again["containerInstanceArn"] = instance.clone();
    let answer = world.ok("RegisterContainerInstance", again).await;
    assert_eq!(answer["containerInstance"]["containerInstanceArn"], instance);
    let anew = world.registered(1000, 1000, &[]).await;
    assert!(anew.as_str().unwrap().starts_with(&world.arn("container-instance/default/")), "{anew}");
}

/// Lets a service start its tasks; answers the ARN of the first.
async fn task_of(world: &World, service: &str) -> Value {
    run_once(&ServiceScheduler::new(world.engine().clone(), ServiceSchedulerLimits::default())).await.unwrap();
    world.ok("ListTasks", json!({"serviceName": service})).await["taskArns"][0].clone()
}

// spec: 09-014
#[tokio::test]
async fn tasks_of_a_service_have_the_format_of_its_maker() {
    let mut world = world().await;
    choose(&world, "disabled").await;
    world.instance(1000, 1000, &[]).await;
    create_service(&world, "web").await;
    let root = world.context.principal.clone();
    world.context.principal = Principal::ContainerInstance {
        account: ACCOUNT.to_owned(),
        region: world.context.region.clone(),
        grant: "g".to_owned(),
    };
    choose(&world, "enabled").await;
    let task = task_of(&world, "web").await;
    uuid(&world, "task", &task);
    create_service(&world, "other").await;
    world.context.principal = root;
    let long = task_of(&world, "other").await;
    assert!(long.as_str().unwrap().starts_with(&world.arn("task/default/")), "{long}");
    world.report(&task, "RUNNING", None).await;
    assert_eq!(world.task(&task).await["lastStatus"], "RUNNING");
}

// spec: 18-002
#[tokio::test]
async fn tags_need_the_long_format() {
    let world = world().await;
    choose(&world, "disabled").await;
    world.instance(1000, 1000, &[]).await;
    let opt_in = |what: &str| {
        let message = format!(
            "The new ARN and resource ID format must be enabled to {what}. Opt in to the new format and try again."
        );
        ("InvalidParameterException", message)
    };
    let tags = json!([{"key": "a", "value": "b"}]);
    for (own, what) in [
        (json!({"tags": tags}), "add tags to the task"),
        (json!({"propagateTags": "TASK_DEFINITION"}), "propagate tags"),
        (json!({"enableECSManagedTags": true}), "work with ECS managed tags"),
    ] {
        let mut input = json!({"taskDefinition": "web"});
        input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        assert_eq!(world.refused("RunTask", input.clone()).await, opt_in(what));
        input
            .as_object_mut()
            .unwrap()
            .extend(json!({"serviceName": "s", "desiredCount": 1}).as_object().unwrap().clone());
        assert_eq!(world.refused("CreateService", input).await, opt_in(&what.replace("the task", "the service")));
    }
    let mut instance = registration(100, 100, &[]);
    instance["tags"] = tags.clone();
    let refused = world.refused("RegisterContainerInstance", instance).await;
    assert_eq!(refused, opt_in("add tags to the container instance"));

    create_service(&world, "web").await;
    let tag = |arn: String| json!({"resourceArn": arn, "tags": tags});
    let (_, message) = world.refused("TagResource", tag(world.arn("service/web"))).await;
    assert_eq!(message, "Long arn format must be used for tagging operations");
    let (_, message) = world.refused("TagResource", tag(world.arn("service/default/web"))).await;
    assert_eq!(
        message,
        "The specified service does not have the longArn format. Only services created after opting in will have the new format."
    );
    choose(&world, "enabled").await;
    world.ok("RunTask", json!({"taskDefinition": "web", "tags": tags})).await;
}
