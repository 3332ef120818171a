use std::time::Duration;

use serde_json::{Value, json};

use crate::operations::testing::World;
use crate::reconcilers::{GatewayExpiry, run_once};

const ROLE: &str = "arn:aws:iam::123456789012:role/infrastructure";

/// What CreateGateway is called with, and `own` besides or instead.
fn input(own: Value) -> Value {
    let mut input = json!({"name": "edge", "infrastructureRoleArn": ROLE, "configuration": {"hostSharedAlb": {}},
        "deletionProtection": false});
    input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    input
}

async fn create(world: &World, own: Value) -> Value {
    world.ok("CreateGateway", input(own)).await
}

async fn describe(world: &World) -> Value {
    world.ok("DescribeGateway", json!({"gateway": "edge"})).await["gateway"].clone()
}

async fn listed(world: &World, input: Value) -> Vec<String> {
    let answer = world.ok("ListGateways", input).await;
    answer["gateways"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
}

async fn associations(world: &World, input: Value) -> Value {
    world.ok("ListGatewayClusterAssociations", input).await["gatewayClusterAssociations"].clone()
}

#[tokio::test]
async fn a_gateway_is_described_with_its_defaults() {
    let world = World::new().await;
    let arn = world.arn("gateway/edge");
    let mut given = input(json!({"tags": [{"key": "a", "value": "b"}]}));
    given.as_object_mut().unwrap().remove("deletionProtection");
    let made = world.ok("CreateGateway", given).await;
    assert_eq!(made, json!({"gatewayArn": arn, "name": "edge", "status": "ACTIVE"}));
    let gateway = describe(&world).await;
    assert_eq!((&gateway["gatewayArn"], &gateway["accessType"]), (&json!(arn), &json!("PUBLIC")));
    assert_eq!((&gateway["deletionProtection"], &gateway["propagateTags"]), (&json!(true), &json!("GATEWAY")));
    assert_eq!(gateway["tags"], json!([{"key": "a", "value": "b"}]));
    let alb = &gateway["configuration"]["hostSharedAlb"];
    assert_eq!((&alb["protocol"], &alb["port"]), (&json!("HTTPS"), &json!(443)));
    assert_eq!((&alb["maxAlbCount"], &alb["networkConfiguration"]["ipAddressType"]), (&json!(10), &json!("dualstack")));
    assert_eq!((&alb["currentAlbCount"], &alb["httpDesync"]), (&json!(0), &json!("defensive")));
    assert_eq!(world.ok("DescribeGateway", json!({"gateway": arn})).await["gateway"], gateway);
    let resources = world.ok("DescribeGatewayResources", json!({"gateway": "edge"})).await;
    assert_eq!(resources["gatewayResources"], json!({"gatewayArn": arn, "resources": {"hostSharedAlb": []}}));
    let world = world.restarted().await;
    assert_eq!(describe(&world).await, gateway);
}

#[tokio::test]
async fn a_gateway_out_of_its_rules_is_refused() {
    let world = World::new().await;
    let alb = |alb: Value| json!({"configuration": {"hostSharedAlb": alb}});
    for own in [
        json!({"name": "a b"}),
        json!({"infrastructureRoleArn": "role"}),
        json!({"configuration": {}}),
        json!({"clientToken": "x".repeat(65)}),
        json!({"tags": [{"key": "aws:x", "value": ""}]}),
        alb(json!({"scheme": "public"})),
        alb(json!({"port": 80})),
        alb(json!({"protocol": "HTTP"})),
        alb(json!({"maxAlbCount": 0})),
        alb(json!({"networkConfiguration": {"subnets": ["subnet-a"]}})),
        alb(json!({"networkConfiguration": {"inboundSecurityGroup": "group"}})),
        alb(json!({"scheme": "internal", "networkConfiguration": {"ipAddressType": "dualstack-without-public-ipv4"}})),
        alb(json!({"accessLogs": {"destination": {}}})),
        alb(json!({"accessLogs": {"destination": {"s3": {"bucket": ""}}}})),
        alb(json!({"testTrafficRules": {"header": {"name": "x", "values": []}}})),
    ] {
        let refused = world.refused("CreateGateway", input(own.clone())).await;
        assert_eq!(refused.0, "InvalidParameterException", "{own}");
    }
    assert_eq!(listed(&world, json!({})).await, [] as [&str; 0]);
}

#[tokio::test]
async fn the_same_call_with_the_same_token_makes_one_gateway() {
    let world = World::new().await;
    let first = create(&world, json!({"clientToken": "t"})).await;
    // The token decides: what else a call with it asks for is ignored.
    for own in [json!({}), json!({"deletionProtection": true}), json!({"name": "other"})] {
        let mut own = own;
        own["clientToken"] = json!("t");
        assert_eq!(create(&world, own.clone()).await, first, "{own}");
    }
    assert_eq!(listed(&world, json!({})).await, ["edge"]);
    assert_eq!(describe(&world).await["deletionProtection"], false);
    for own in [json!({}), json!({"clientToken": "u"})] {
        assert_eq!(world.refused("CreateGateway", input(own.clone())).await.0, "ClientException", "{own}");
    }
}

#[tokio::test]
async fn an_update_changes_what_it_says_and_nothing_else() {
    let world = World::new().await;
    create(&world, json!({})).await;
    let before = describe(&world).await;
    world.clock.advance(Duration::from_secs(1));
    let changes = json!({"gateway": "edge", "deletionProtection": true, "propagateTags": "NONE",
        "configuration": {"hostSharedAlb": {"maxAlbCount": 2, "networkConfiguration": {"inboundSecurityGroup": "sg-1"}}}});
    let updated = world.ok("UpdateGateway", changes).await;
    assert_eq!(updated["status"], "UPDATE_IN_PROGRESS");
    let mut expected = before;
    expected["status"] = json!("UPDATE_COMPLETE");
    expected["deletionProtection"] = json!(true);
    expected["propagateTags"] = json!("NONE");
    expected["updatedAt"] = json!(1_700_000_001);
    expected["configuration"]["hostSharedAlb"]["maxAlbCount"] = json!(2);
    expected["configuration"]["hostSharedAlb"]["networkConfiguration"]["inboundSecurityGroup"] = json!("sg-1");
    assert_eq!(describe(&world).await, expected);
    for own in [json!({"configuration": {"hostSharedAlb": {"maxAlbCount": 21}}}), json!({"configuration": {}})] {
        let mut input = json!({"gateway": "edge"});
        input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        assert_eq!(world.refused("UpdateGateway", input).await.0, "InvalidParameterException", "{own}");
    }
}

#[tokio::test]
async fn a_protected_or_associated_gateway_is_not_deleted() {
    let world = World::with_default_cluster().await;
    create(&world, json!({"deletionProtection": true})).await;
    let named = json!({"gateway": "edge"});
    let (code, message) = world.refused("DeleteGateway", named.clone()).await;
    assert_eq!(code, "ClientException");
    assert!(message.contains("deletion protection"), "{message}");
    world.ok("UpdateGateway", json!({"gateway": "edge", "deletionProtection": false})).await;
    world.ok("AssociateGatewayWithCluster", json!({"gateway": "edge", "cluster": "default"})).await;
    let (code, message) = world.refused("DeleteGateway", named.clone()).await;
    assert_eq!(code, "ClientException");
    assert!(message.contains("cluster default"), "{message}");
    // An association ends with its cluster.
    world.ok("DeleteCluster", json!({"cluster": "default"})).await;
    assert_eq!(world.ok("DeleteGateway", named).await["status"], "DELETED");
}

#[tokio::test]
async fn a_deleted_gateway_is_not_found_and_its_name_is_free() {
    let world = World::new().await;
    create(&world, json!({})).await;
    let named = json!({"gateway": "edge"});
    world.ok("DeleteGateway", named.clone()).await;
    assert_eq!(listed(&world, json!({})).await, [] as [&str; 0]);
    assert_eq!(listed(&world, json!({"status": ["DELETED"]})).await, ["edge"]);
    for operation in
        ["DescribeGateway", "DeleteGateway", "UpdateGateway", "DescribeGatewayResources", "ListGatewayRoutes"]
    {
        assert_eq!(world.refused(operation, named.clone()).await.0, "GatewayNotFoundException", "{operation}");
    }
    let tag = json!({"resourceArn": world.arn("gateway/edge"), "tags": [{"key": "a"}]});
    assert_eq!(world.refused("TagResource", tag).await.0, "ResourceNotFoundException");
    world.clock.advance(Duration::from_secs(3601));
    run_once(&GatewayExpiry(world.engine().clone())).await.unwrap();
    assert_eq!(listed(&world, json!({"status": ["DELETED"]})).await, [] as [&str; 0]);
    create(&world, json!({})).await;
    assert_eq!(describe(&world).await["status"], "ACTIVE");
}

#[tokio::test]
async fn gateways_are_listed_by_name_and_status_in_pages() {
    let world = World::new().await;
    for name in ["c", "a", "b"] {
        create(&world, json!({"name": name})).await;
    }
    world.ok("UpdateGateway", json!({"gateway": "b", "deletionProtection": true})).await;
    assert_eq!(listed(&world, json!({})).await, ["a", "b", "c"]);
    assert_eq!(listed(&world, json!({"names": ["c", "no"]})).await, ["c"]);
    assert_eq!(listed(&world, json!({"status": ["UPDATE_COMPLETE"]})).await, ["b"]);
    let first = world.ok("ListGateways", json!({"maxResults": 2})).await;
    assert_eq!(listed(&world, json!({"maxResults": 2, "nextToken": first["nextToken"]})).await, ["c"]);
    for input in [
        json!({"maxResults": 101}),
        json!({"nextToken": "x"}),
        json!({"names": [world.arn("cluster/a")]}),
        json!({"names": vec!["a"; 11]}),
    ] {
        assert_eq!(world.refused("ListGateways", input.clone()).await.0, "InvalidParameterException", "{input}");
    }
}

#[tokio::test]
async fn a_gateway_and_a_cluster_are_associated_and_disassociated() {
    let world = World::with_default_cluster().await;
    create(&world, json!({})).await;
    let pair = json!({"gateway": "edge", "cluster": "default"});
    let both = json!({"gatewayArn": world.arn("gateway/edge"), "clusterArn": world.arn("cluster/default")});
    let with = |status: &str| {
        let mut answer = both.clone();
        answer["status"] = json!(status);
        answer
    };
    for _ in 0..2 {
        assert_eq!(world.ok("AssociateGatewayWithCluster", pair.clone()).await, with("ACTIVE"));
    }
    assert_eq!(associations(&world, json!({})).await, json!([with("ACTIVE")]));
    for filter in [json!({"gateway": "edge"}), json!({"cluster": "default"}), json!({"status": ["ACTIVE"]})] {
        assert_eq!(associations(&world, filter.clone()).await, json!([with("ACTIVE")]), "{filter}");
    }
    for filter in [json!({"gateway": "no"}), json!({"cluster": "no"}), json!({"status": ["INACTIVE"]})] {
        assert_eq!(associations(&world, filter.clone()).await, json!([]), "{filter}");
    }
    let world = world.restarted().await;
    assert_eq!(world.ok("DisassociateGatewayFromCluster", pair.clone()).await, with("INACTIVE"));
    assert_eq!(associations(&world, json!({})).await, json!([]));
    assert_eq!(associations(&world, json!({"status": ["INACTIVE"]})).await, json!([with("INACTIVE")]));
    let refused = world.refused("DisassociateGatewayFromCluster", pair).await;
    assert_eq!(refused.0, "ResourceNotFoundException");
    world.clock.advance(Duration::from_secs(3601));
    run_once(&GatewayExpiry(world.engine().clone())).await.unwrap();
    assert_eq!(associations(&world, json!({"status": ["INACTIVE"]})).await, json!([]));
}

#[tokio::test]
async fn a_cluster_has_five_gateways_at_most() {
    let world = World::with_default_cluster().await;
    let pair = |name: &str| json!({"gateway": name, "cluster": "default"});
    for name in ["a", "b", "c", "d", "e", "f"] {
        create(&world, json!({"name": name})).await;
    }
    for name in ["a", "b", "c", "d", "e", "a"] {
        world.ok("AssociateGatewayWithCluster", pair(name)).await;
    }
    assert_eq!(world.refused("AssociateGatewayWithCluster", pair("f")).await.0, "ClientException");
    world.ok("DisassociateGatewayFromCluster", pair("a")).await;
    world.ok("AssociateGatewayWithCluster", pair("f")).await;
}

#[tokio::test]
async fn what_a_gateway_is_made_of_comes_in_pages_of_twenty_at_most() {
    let world = World::new().await;
    create(&world, json!({})).await;
    world.ok("DescribeGatewayResources", json!({"gateway": "edge", "maxResults": 20})).await;
    for size in [0, 21] {
        let refused = world.refused("DescribeGatewayResources", json!({"gateway": "edge", "maxResults": size})).await;
        assert_eq!(refused.0, "InvalidParameterException", "{size}");
    }
}

#[tokio::test]
async fn only_what_exists_is_associated() {
    let world = World::with_default_cluster().await;
    create(&world, json!({})).await;
    for operation in ["AssociateGatewayWithCluster", "DisassociateGatewayFromCluster"] {
        for (gateway, cluster, code) in [
            ("no", "default", "GatewayNotFoundException"),
            ("edge", "no", "ClusterNotFoundException"),
            ("arn:aws:ecs:eu-west-1:123456789012:cluster/edge", "default", "InvalidParameterException"),
        ] {
            let refused = world.refused(operation, json!({"gateway": gateway, "cluster": cluster})).await;
            assert_eq!(refused.0, code, "{operation} {gateway} {cluster}");
        }
    }
}

#[tokio::test]
async fn there_are_no_routes_as_long_as_nothing_routes() {
    let world = World::new().await;
    create(&world, json!({})).await;
    assert_eq!(world.ok("ListGatewayRoutes", json!({"gateway": "edge"})).await, json!({"gatewayRoutes": []}));
    assert_eq!(world.refused("ListGatewayRoutes", json!({"gateway": "no"})).await.0, "GatewayNotFoundException");
    let route = world.arn("gateway-route/edge/1");
    let (code, message) = world.refused("DescribeGatewayRoute", json!({"gatewayRouteArn": route})).await;
    assert_eq!((code, message.contains(&route)), ("ResourceNotFoundException", true));
    let refused = world.refused("DescribeGatewayRoute", json!({"gatewayRouteArn": "route"})).await;
    assert_eq!(refused.0, "InvalidParameterException");
}
