use serde_json::{Value, json};

use super::{
    accepts_container, and_container, base, refusal, refuses_container, refuses_task, registered, with, with_container,
};

fn mode(mode: &str) -> Value {
    with(base(), json!({"networkMode": mode}))
}

fn ports(mappings: Value) -> Value {
    json!({"portMappings": mappings})
}

fn first_mapping(document: &Value) -> Value {
    registered(document)["containerDefinitions"][0]["portMappings"][0].clone()
}

// spec: 05-035
#[test]
fn ports_are_numbers_of_ports() {
    refuses_container(
        &base(),
        &[
            (ports(json!([{}])), "Invalid 'containerPort' setting for container 'app'."),
            (ports(json!([{"containerPort": 0}])), "Invalid 'containerPort' setting for container 'app'."),
            (ports(json!([{"containerPort": 65_536}])), "Invalid 'containerPort' setting for container 'app'."),
            (ports(json!([{"containerPort": 80, "hostPort": -1}])), "Invalid 'hostPort' setting for container 'app'."),
            (
                ports(json!([{"containerPort": 80, "hostPort": 65_536}])),
                "Invalid 'hostPort' setting for container 'app'.",
            ),
        ],
    );
    accepts_container(&base(), &[ports(json!([{"containerPort": 65_535, "hostPort": 65_535, "protocol": "udp"}]))]);
}

#[test]
fn bridge_mode_maps_any_host_port_or_a_dynamic_one() {
    for document in [base(), mode("bridge")] {
        let dynamic = with_container(document.clone(), ports(json!([{"containerPort": 80}])));
        assert_eq!(first_mapping(&dynamic), json!({"containerPort": 80, "hostPort": 0, "protocol": "tcp"}));
        let fixed = with_container(document, ports(json!([{"containerPort": 80, "hostPort": 8080}])));
        assert_eq!(first_mapping(&fixed)["hostPort"], 8080);
    }
}

// spec: 05-011, 05-032
#[test]
fn host_and_awsvpc_modes_have_the_containers_own_ports() {
    for name in ["host", "awsvpc"] {
        for given in [
            json!([{"containerPort": 80}]),
            json!([{"containerPort": 80, "hostPort": 80}]),
            json!([{"containerPort": 80, "hostPort": 0}]),
        ] {
            let document = with_container(mode(name), ports(given));
            assert_eq!(first_mapping(&document)["hostPort"], 80, "{name}");
        }
        let refused = refusal(&with_container(mode(name), ports(json!([{"containerPort": 80, "hostPort": 8080}]))));
        let expected =
            format!("When networkMode={name}, the host ports and container ports in port mappings must match.");
        assert_eq!(refused, expected);
    }
}

// spec: 05-007
#[test]
fn mode_none_has_no_port_mappings() {
    registered(&mode("none"));
    refuses_container(&mode("none"), &[(ports(json!([{"containerPort": 80}])), "networkMode=none")]);
}

#[test]
fn a_host_port_is_mapped_once_a_protocol() {
    let one = |protocol: &str| ports(json!([{"containerPort": 3000, "hostPort": 3000, "protocol": protocol}]));
    let two = |protocol: &str| {
        and_container(with_container(base(), one("tcp")), with(json!({"name": "other"}), one(protocol)))
    };
    assert_eq!(refusal(&two("tcp")), "TCP host port '3000' is mapped multiple times in task.");
    registered(&two("udp"));
    let dynamic = ports(json!([{"containerPort": 80}, {"containerPort": 80}]));
    registered(&with_container(base(), dynamic));
    let shared = and_container(
        with_container(mode("awsvpc"), ports(json!([{"containerPort": 80}]))),
        with(json!({"name": "other"}), ports(json!([{"containerPort": 80}]))),
    );
    assert_eq!(refusal(&shared), "TCP host port '80' is mapped multiple times in task.");
}

#[test]
fn port_ranges_are_two_ports_in_order() {
    accepts_container(&base(), &[ports(json!([{"containerPortRange": "100-200"}]))]);
    refuses_container(
        &base(),
        &[
            (ports(json!([{"containerPortRange": "200-100"}])), "'200-100' is not two ports"),
            (ports(json!([{"containerPortRange": "0-1"}])), "is not two ports"),
            (ports(json!([{"containerPortRange": "1-65536"}])), "is not two ports"),
            (ports(json!([{"containerPortRange": "80"}])), "is not two ports"),
            (ports(json!([{"containerPortRange": "1-2", "containerPort": 1}])), "can't have a containerPort"),
            (ports(json!([{"containerPortRange": "1-2", "hostPort": 1}])), "can't have a containerPort"),
        ],
    );
    let overlapping = ports(json!([{"containerPortRange": "80-90"}, {"containerPort": 85}]));
    let ranges = ports(json!([{"containerPortRange": "80-90"}, {"containerPortRange": "90-95"}]));
    for document in [mode("awsvpc"), base()] {
        assert!(refusal(&with_container(document.clone(), overlapping.clone())).contains("the port 85 of a"));
        assert!(refusal(&with_container(document, ranges.clone())).contains("the port 90 of a"));
    }
    let apart = json!([{"containerPortRange": "80-90"}, {"containerPort": 85, "protocol": "udp"}]);
    accepts_container(&base(), &[ports(apart)]);
    let on_host = with_container(mode("host"), ports(json!([{"containerPortRange": "80-90"}])));
    assert!(refusal(&on_host).contains("needs network mode bridge or awsvpc"));
}

#[test]
fn port_names_are_lower_case_and_unique() {
    let named = |first: &str, second: &str| {
        ports(json!([{"containerPort": 80, "name": first}, {"containerPort": 81, "name": second}]))
    };
    accepts_container(&base(), &[named("web", "0_a-b")]);
    refuses_container(
        &base(),
        &[
            (named("web", "web"), "'web' is used more than once"),
            (named("Web", "b"), "'Web' is not made of"),
            (named("-web", "b"), "is not made of"),
            (named(&"x".repeat(65), "b"), "is not made of"),
        ],
    );
}

#[test]
fn awsvpc_containers_have_no_names_and_resolvers_of_their_own() {
    for (member, value) in [
        ("hostname", json!("h")),
        ("disableNetworking", json!(true)),
        ("dnsServers", json!(["10.0.0.2"])),
        ("dnsSearchDomains", json!(["a.local"])),
        ("extraHosts", json!([{"hostname": "a", "ipAddress": "10.0.0.9"}])),
    ] {
        let change = json!({member: value});
        registered(&with_container(base(), change.clone()));
        let refused = refusal(&with_container(mode("awsvpc"), change));
        assert_eq!(refused, format!("{member} is not supported on container when networkMode=awsvpc."));
    }
}

// spec: 05-085
#[test]
fn search_domains_and_extra_hosts_are_well_formed() {
    refuses_container(
        &base(),
        &[
            (json!({"dnsSearchDomains": ["a_b"]}), "'a_b' is no domain name"),
            (json!({"dnsSearchDomains": ["a."]}), "is no domain name"),
            (json!({"dnsSearchDomains": [""]}), "is no domain name"),
            (json!({"extraHosts": [{"hostname": "a", "ipAddress": "10.0.0"}]}), "no host name with an IP address"),
            (json!({"extraHosts": [{"ipAddress": "10.0.0.1"}]}), "no host name with an IP address"),
        ],
    );
    accepts_container(&base(), &[json!({"extraHosts": [{"hostname": "a", "ipAddress": "fd00::1"}]})]);
}

// spec: 05-167, 05-168
#[test]
fn the_proxy_is_a_container_with_its_properties() {
    let names = ["IgnoredUID", "ProxyIngressPort", "ProxyEgressPort", "AppPorts", "EgressIgnoredIPs"];
    let proxy = |container: &str, left_out: &str| {
        let properties: Vec<Value> =
            names.iter().filter(|name| **name != left_out).map(|name| json!({"name": name, "value": "1"})).collect();
        json!({"proxyConfiguration": {"type": "APPMESH", "containerName": container, "properties": properties}})
    };
    registered(&with(mode("awsvpc"), proxy("app", "EgressIgnoredIPs")));
    refuses_task(
        &mode("awsvpc"),
        &[
            (proxy("envoy", ""), "'envoy' is not a container"),
            (proxy("app", "AppPorts"), "AppPorts"),
            (proxy("app", "ProxyIngressPort"), "ProxyIngressPort"),
            (proxy("app", "ProxyEgressPort"), "ProxyEgressPort"),
            (proxy("app", "IgnoredUID"), "IgnoredUID or IgnoredGID"),
        ],
    );
    refuses_task(&base(), &[(proxy("app", ""), "networkMode=awsvpc")]);
}
