//! Lifecycle hooks that invoke functions of a Lambda API over HTTP.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use serde_json::{Value, json};
use support::{ACCOUNT, Longshore, wait_for};

/// A request that a Lambda API got.
struct Invoked {
    line: String,
    authorization: String,
    event: Value,
}

/// A Lambda API that answers each request with the next of these texts; none: never.
fn lambda(answers: Vec<Option<&'static str>>) -> (String, Receiver<Invoked>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (told, invoked) = channel();
    std::thread::spawn(move || {
        let mut answers = answers.into_iter();
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            serve(&stream, &mut answers, &told);
            open.push(stream);
        }
    });
    (url, invoked)
}

fn serve(stream: &TcpStream, answers: &mut impl Iterator<Item = Option<&'static str>>, told: &Sender<Invoked>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let header = |name: &str| {
        let found = head.iter().filter_map(|line| line.split_once(": ")).find(|(it, _)| it.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    let mut body = vec![0; header("content-length").parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let event = serde_json::from_slice(&body).unwrap();
    let _ = told.send(Invoked { line: head[0].clone(), authorization: header("authorization"), event });
    if let Some(Some(text)) = answers.next() {
        let length = text.len();
        let mut stream = stream;
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}").unwrap();
    }
}

fn deployment(server: &Longshore) -> Value {
    let described = server.ecs(&["describe-services", "--services", "web"]);
    let arn = described["services"][0]["currentServiceDeployment"].as_str().unwrap().to_owned();
    server.ecs(&["describe-service-deployments", "--service-deployment-arns", &arn])["serviceDeployments"][0].clone()
}

fn create(server: &Longshore, stage: &str) {
    server.register("web", "sleep 60", json!({}));
    let hook = json!({
        "hookTargetArn": format!("arn:aws:lambda:eu-west-1:{ACCOUNT}:function:check"),
        "roleArn": format!("arn:aws:iam::{ACCOUNT}:role/hooks"), "lifecycleStages": [stage], "hookDetails": {"bucket": "b"},
    });
    let configuration = json!({"strategy": "BLUE_GREEN", "lifecycleHooks": [hook]}).to_string();
    server.ecs(&[
        "create-service",
        "--service-name",
        "web",
        "--task-definition",
        "web",
        "--desired-count",
        "0",
        "--deployment-configuration",
        &configuration,
    ]);
}

#[test]
fn a_function_is_invoked_over_http_and_again_after_kill_9() {
    let again = r#"{"hookStatus": "IN_PROGRESS", "callBackDelay": 1, "hookDetails": {"asked": true}}"#;
    let (url, invoked) = lambda(vec![None, Some(again), Some(r#"{"hookStatus": "SUCCEEDED"}"#)]);
    let keys = [("LONGSHORE_LAMBDA_ACCESS_KEY_ID", "AKIALAMBDA"), ("LONGSHORE_LAMBDA_SECRET_ACCESS_KEY", "secret")];
    let mut server = Longshore::start_with("server", "", &["--lambda-endpoint", &url], &keys);
    create(&server, "PRE_SCALE_UP");
    let first = invoked.recv_timeout(support::PATIENCE).unwrap();
    let function = format!("arn%3Aaws%3Alambda%3Aeu-west-1%3A{ACCOUNT}%3Afunction%3Acheck");
    assert_eq!(first.line, format!("POST /2015-03-31/functions/{function}/invocations HTTP/1.1"));
    assert!(first.authorization.contains("Credential=AKIALAMBDA/"), "{}", first.authorization);
    assert!(first.authorization.contains("/eu-west-1/lambda/aws4_request"), "{}", first.authorization);
    let waiting = deployment(&server);
    let hook = &waiting["lifecycleHookDetails"][0];
    assert_eq!((&hook["status"], &hook["hookId"]), (&json!("IN_PROGRESS"), &first.event["executionId"]));
    assert_eq!(first.event["resourceArn"], waiting["serviceDeploymentArn"]);
    server.kill();
    server.spawn();
    let second = invoked.recv_timeout(support::PATIENCE).unwrap();
    assert_eq!(second.event, first.event);
    let third = invoked.recv_timeout(support::PATIENCE).unwrap();
    assert_eq!(third.event["hookDetails"], json!({"asked": true, "bucket": "b"}));
    let done =
        wait_for("the deployment to succeed", || Some(deployment(&server)).filter(|it| it["status"] == "SUCCESSFUL"));
    assert_eq!(done["lifecycleHookDetails"][0]["status"], "SUCCEEDED");
}

#[test]
fn a_function_that_raises_and_a_server_without_an_endpoint_fail_the_hook_with_a_reason() {
    let (url, _invoked) = lambda(vec![Some(r#"{"errorMessage": "boom"}"#)]);
    for (extra, why) in
        [(vec!["--lambda-endpoint", &url], "it did not return a hookStatus"), (vec![], "--lambda-endpoint")]
    {
        let server = Longshore::start("server", "", &extra);
        create(&server, "POST_SCALE_UP");
        let failed = wait_for("the deployment to fail", || {
            Some(deployment(&server)).filter(|it| it["status"] == "ROLLBACK_FAILED")
        });
        let reason = failed["statusReason"].as_str().unwrap();
        assert!(
            reason.contains(why) && reason.contains("function:check") && reason.contains("POST_SCALE_UP"),
            "{reason}"
        );
    }
}
