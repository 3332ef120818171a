//! VPC Lattice: what a service may ask for, and where it is shown.

use serde_json::{Value, json};

use crate::operations::testing::World;

const REFUSED: &str = "InvalidParameterException";
const GROUP: &str = "arn:aws:vpc-lattice:eu-west-1:123456789012:targetgroup/tg-0123456789abcdef0";
const OTHER: &str = "arn:aws:vpc-lattice:eu-west-1:123456789012:targetgroup/tg-1123456789abcdef0";
const RULE: &str = "arn:aws:vpc-lattice:eu-west-1:123456789012:service/svc-0/listener/listener-0/rule/rule-0";

async fn world() -> World {
    let world = World::with_default_cluster().await;
    world.family("web", 1, 4, json!({"portMappings": [{"name": "http", "containerPort": 80}]})).await;
    world
}

/// A configuration with the target group [`GROUP`], and `own` besides or instead.
fn lattice(own: Value) -> Value {
    let role = "arn:aws:iam::123456789012:role/infrastructure";
    let mut given = json!({"roleArn": role, "targetGroupArn": GROUP, "portName": "http"});
    given.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    given
}

fn request(configurations: Value) -> Value {
    json!({
        "serviceName": "web", "taskDefinition": "web", "desiredCount": 0, "vpcLatticeConfigurations": configurations,
    })
}

#[tokio::test]
async fn a_deployment_and_its_revision_show_vpc_lattice_and_a_change_begins_another() {
    let world = world().await;
    let given = json!([lattice(json!({}))]);
    let made = world.ok("CreateService", request(given.clone())).await["service"].clone();
    assert_eq!(made["deployments"][0]["vpcLatticeConfigurations"], given);
    let revisions = json!({"serviceRevisionArns": [made["currentServiceRevisions"][0]["arn"]]});
    let revision = world.ok("DescribeServiceRevisions", revisions).await["serviceRevisions"][0].clone();
    assert_eq!(revision["vpcLatticeConfigurations"], given);
    let details = world.explained(&json!("web")).await.details.unwrap();
    assert!(details.iter().any(|it| it.starts_with("VPC Lattice is recorded only")), "{details:?}");
    let other = json!([lattice(json!({"targetGroupArn": OTHER}))]);
    let input = json!({"service": "web", "vpcLatticeConfigurations": other});
    let changed = world.ok("UpdateService", input).await["service"]["deployments"][0].clone();
    assert_ne!(changed["id"], made["deployments"][0]["id"]);
    assert_eq!(changed["vpcLatticeConfigurations"], other);
    let none = json!({"service": "web", "vpcLatticeConfigurations": []});
    let removed = world.ok("UpdateService", none).await["service"]["deployments"][0].clone();
    assert_ne!(removed["id"], changed["id"]);
    assert_eq!(removed.get("vpcLatticeConfigurations"), None);
}

#[tokio::test]
async fn configurations_out_of_their_rules_are_refused() {
    let world = world().await;
    let balancer = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/web/0";
    let groups: Vec<Value> = (0..6).map(|at| lattice(json!({"targetGroupArn": format!("{GROUP}{at}")}))).collect();
    for (given, why) in [
        (json!([lattice(json!({"portName": "nobody"}))]), "portName 'nobody'"),
        (json!([lattice(json!({"roleArn": "infrastructure"}))]), "roleArn 'infrastructure'"),
        (json!([lattice(json!({"targetGroupArn": balancer}))]), "targetGroupArn"),
        (json!([lattice(json!({})), lattice(json!({}))]), "is in two VPC Lattice configurations"),
        (json!(groups), "at most 5 items"),
        (json!([lattice(json!({"advancedConfiguration": {}}))]), "only valid with the deployment strategies"),
    ] {
        let (code, message) = world.refused("CreateService", request(given.clone())).await;
        assert_eq!(code, REFUSED, "{given}");
        assert!(message.contains(why), "{given}: {message}");
    }
    world.ok("CreateService", request(json!([lattice(json!({})), lattice(json!({"targetGroupArn": OTHER}))]))).await;
}

#[tokio::test]
async fn a_blue_green_service_shifts_between_two_target_groups() {
    let world = world().await;
    let shift = |own: Value| {
        let mut input = request(json!([lattice(json!({"advancedConfiguration": own}))]));
        input["deploymentConfiguration"] = json!({"strategy": "BLUE_GREEN"});
        input
    };
    for (own, why) in [
        (json!({"productionListenerRule": RULE}), "alternateTargetGroupArn"),
        (json!({"alternateTargetGroupArn": GROUP, "productionListenerRule": RULE}), "must be another than its own"),
        (json!({"alternateTargetGroupArn": OTHER}), "needs a productionListenerRule"),
        (json!({"alternateTargetGroupArn": OTHER, "productionListenerRule": "rule"}), "productionListenerRule 'rule'"),
    ] {
        let (code, message) = world.refused("CreateService", shift(own.clone())).await;
        assert_eq!(code, REFUSED, "{own}");
        assert!(message.contains(why), "{own}: {message}");
    }
    let own = json!({"alternateTargetGroupArn": OTHER, "productionListenerRule": RULE, "testListenerRule": RULE});
    let made = world.ok("CreateService", shift(own.clone())).await["service"]["deployments"][0].clone();
    assert_eq!(made["vpcLatticeConfigurations"][0]["advancedConfiguration"], own);
}
