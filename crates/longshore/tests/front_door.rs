//! Bad requests get the service's own error, and the server stays up.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use support::{KEY, Longshore, SECRET};

fn code_of(longshore: &Longshore, environment: &[(&str, &str)]) -> String {
    let mut command = Command::new("aws");
    longshore.client_env(&mut command).args(["ecs", "list-clusters"]).envs(environment.iter().copied());
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.split_once("An error occurred (")
        .and_then(|(_, rest)| rest.split_once(')'))
        .map_or(text.clone(), |(code, _)| code.to_owned())
}

/// Sends bytes; answers what comes back.
fn raw(longshore: &Longshore, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(longshore.endpoint.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
    // The server may answer and close before it has read all of a body that is too large.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn wrong_keys_and_signatures_are_refused_by_name() {
    let longshore = Longshore::server();
    assert_eq!(code_of(&longshore, &[("AWS_ACCESS_KEY_ID", "AKIAXXXXXXXXXXXXXXXX")]), "UnrecognizedClientException");
    let wrong = SECRET.replace('K', "k");
    assert_eq!(code_of(&longshore, &[("AWS_SECRET_ACCESS_KEY", &wrong)]), "InvalidSignatureException");
    assert_eq!(longshore.ecs(&["list-clusters"])["clusterArns"].as_array().unwrap().len(), 1);
}

#[test]
fn requests_that_are_none_are_refused_and_the_server_stays_up() {
    let longshore = Longshore::server();
    let printed = longshore.python("bad_requests.py", &[KEY, SECRET]);
    assert!(printed.contains("all refused"), "{printed}");
    let plain = raw(&longshore, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: AmazonEC2ContainerServiceV20141113.ListClusters\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
    assert!(plain.contains("MissingAuthenticationTokenException"), "{plain}");
    let nonsense = raw(&longshore, b"\x16\x03\x01 this is not http\r\n\r\n");
    assert!(nonsense.is_empty() || nonsense.starts_with("HTTP/1.1 400"), "{nonsense}");
    assert_eq!(longshore.ecs(&["list-clusters"])["clusterArns"].as_array().unwrap().len(), 1);
}

#[test]
fn health_and_metrics_need_no_signature() {
    let longshore = Longshore::server();
    for path in ["health", "ready"] {
        assert!(support::http_get(&format!("{}/{path}", longshore.endpoint)).is_some(), "{path}");
    }
    longshore.ecs(&["list-clusters"]);
    let metrics = support::http_get(&format!("{}/metrics", longshore.endpoint)).unwrap();
    assert!(metrics.contains("ListClusters"), "{metrics}");
}

#[test]
fn accounts_and_regions_do_not_see_each_other() {
    let longshore = Longshore::server();
    longshore.ecs(&["create-cluster", "--cluster-name", "mine"]);
    let elsewhere = longshore.ecs(&["list-clusters", "--region", "eu-west-1"]);
    assert_eq!(elsewhere["clusterArns"], serde_json::json!([]));
    let made = longshore.longshore_ok(&["--output", "json", "account", "create", "other", "--id", "210987654321"]);
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let mut command = Command::new("aws");
    longshore.client_env(&mut command).args(["ecs", "list-clusters", "--output", "json"]);
    command.env("AWS_ACCESS_KEY_ID", made["accessKeyId"].as_str().unwrap());
    command.env("AWS_SECRET_ACCESS_KEY", made["secretAccessKey"].as_str().unwrap());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(listed["clusterArns"], serde_json::json!([]));
    let identity = longshore.aws(&["sts", "get-caller-identity"]);
    assert_eq!(identity["Account"], support::ACCOUNT);
    assert_eq!(identity["Arn"], format!("arn:aws:iam::{}:root", support::ACCOUNT));
}

#[test]
fn session_credentials_are_as_good_as_the_key_that_made_them() {
    let longshore = Longshore::server();
    let session = longshore.aws(&["sts", "get-session-token", "--duration-seconds", "900"])["Credentials"].clone();
    let with_session = |token: &str, arguments: &[&str]| {
        let mut command = Command::new("aws");
        longshore.client_env(&mut command).args(arguments);
        command.env("AWS_ACCESS_KEY_ID", session["AccessKeyId"].as_str().unwrap());
        command.env("AWS_SECRET_ACCESS_KEY", session["SecretAccessKey"].as_str().unwrap());
        command.env("AWS_SESSION_TOKEN", token);
        command.output().unwrap()
    };
    let token = session["SessionToken"].as_str().unwrap();
    let output = with_session(token, &["ecs", "create-cluster"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = with_session("another", &["ecs", "list-clusters"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("security token"), "{output:?}");
    let output = with_session(token, &["sts", "get-session-token"]);
    let refused = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(refused.contains("AccessDenied") && refused.contains("Cannot call GetSessionToken"), "{refused}");
}

#[test]
fn a_plain_listener_that_others_can_reach_must_be_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(support::BIN)
        .args(["server", "--listen", "0.0.0.0:0", "--no-profile", "--data-dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("--insecure-http"));
}
