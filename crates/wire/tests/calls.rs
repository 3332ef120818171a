//! Calls over a real socket: protocols, routing, refusals, authorization, audit.

mod house;

use std::sync::Arc;

use house::{ACCOUNT, Answer, House, SECRET, TEMPORARY_KEY, TOKEN, ecs_call, post, request, root};
use longshore_api::{ecs, sts};
use longshore_client::{ClientError, Credentials};
use longshore_wire::{Config, Metrics, Server, StartError, Tls};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const JSON: (&str, &str) = ("content-type", "application/x-amz-json-1.1");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");

async fn sent(request: house::Unsent) -> Answer {
    House::open().await.send(request, |_| {}).await
}

#[tokio::test]
async fn a_signed_call_is_answered_in_its_protocol() {
    let answer = sent(ecs_call("ListClusters", "{}")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"clusterArns":["arn"]}"#));
    assert_eq!(answer.header("content-type"), Some("application/x-amz-json-1.1"));
    assert_eq!(answer.header("x-amzn-requestid").unwrap().len(), 36);
}

#[tokio::test]
async fn the_client_calls_and_understands_answers_and_errors() {
    let house = House::open().await;
    let client = house.client();
    let clusters: ecs::ListClustersResponse =
        client.call(&ecs::MODEL, "ListClusters", &ecs::ListClustersRequest::default()).await.unwrap();
    assert_eq!(clusters.cluster_arns.unwrap(), ["arn"]);
    let input = ecs::CreateClusterRequest { cluster_name: Some("refused".into()), ..Default::default() };
    let error = client.call::<_, ecs::CreateClusterResponse>(&ecs::MODEL, "CreateCluster", &input).await.unwrap_err();
    assert_eq!(error.to_string(), "CreateCluster: InvalidParameterException: Invalid name");
}

#[tokio::test]
async fn a_request_says_who_called_from_where() {
    let house = House::open().await;
    let token = Some(TOKEN.to_owned());
    let keys =
        Credentials { access_key_id: TEMPORARY_KEY.into(), secret_access_key: SECRET.into(), session_token: token };
    let client = house.client_with(&keys).in_region("mars-north-1");
    let _: ecs::ListClustersResponse =
        client.call(&ecs::MODEL, "ListClusters", &ecs::ListClustersRequest::default()).await.unwrap();
    let context = house.seen.contexts.lock().unwrap()[0].clone();
    assert_eq!((context.account.as_str(), context.region.as_str()), (ACCOUNT, "mars-north-1"));
    assert_eq!(context.access_key_id, TEMPORARY_KEY);
    assert!(context.source_ip.is_loopback());
    assert_eq!(context.base_url, house.url());
    assert!(context.user_agent.starts_with("longshore/"));
}

#[tokio::test]
async fn the_advertised_url_is_what_clients_are_told() {
    let house = House::with(|config| config.advertise_url = Some("https://ecs.example.com/".into()), Vec::new()).await;
    house.send(ecs_call("ListClusters", "{}"), |_| {}).await;
    assert_eq!(house.seen.contexts.lock().unwrap()[0].base_url, "https://ecs.example.com");
}

#[tokio::test]
async fn json_1_0_is_answered_in_json_1_0() {
    let target = ("x-amz-target", "AmazonEC2ContainerServiceV20141113.ListClusters");
    let answer = sent(post("ecs", &[("content-type", "application/x-amz-json-1.0"), target], "{}")).await;
    assert_eq!(answer.header("content-type"), Some("application/x-amz-json-1.0"));
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn an_empty_body_is_an_empty_input() {
    assert_eq!(sent(ecs_call("ListClusters", "")).await.status, 200);
}

#[tokio::test]
async fn a_form_is_answered_in_xml() {
    let answer = sent(post("sts", &[FORM], "Action=GetCallerIdentity&Version=2011-06-15")).await;
    assert_eq!(answer.status, 200);
    let request_id = answer.header("x-amzn-requestid").unwrap();
    let expected = format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <UserId>&lt;root&gt;</UserId><Account>{ACCOUNT}</Account><Arn>arn:aws:iam::{ACCOUNT}:root</Arn>\
         </GetCallerIdentityResult><ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>\
         </GetCallerIdentityResponse>"
    );
    assert_eq!(answer.body, expected);
}

#[tokio::test]
async fn a_query_string_is_as_good_as_a_form() {
    let answer = sent(request("GET", "/?Action=GetCallerIdentity&Version=2011-06-15", "sts", &[], "")).await;
    assert!(answer.status == 200 && answer.body.contains(ACCOUNT), "{answer:?}");
}

#[tokio::test]
async fn a_presigned_request_is_as_good_as_a_signed_one() {
    let house = House::open().await;
    let url = format!("{}/?Action=GetCallerIdentity&Version=2011-06-15", house.url());
    let (mut parts, ()) = http::Request::get(url).body(()).unwrap().into_parts();
    let minute = std::time::Duration::from_secs(60);
    longshore_sigv4::presign(&mut parts, minute, &root(), "r", "sts", house.seams.clock.now()).unwrap();
    let path = parts.uri.path_and_query().unwrap().to_string();
    let answer = house.send(request("GET", &path, None, &[], ""), |_| {}).await;
    assert!(answer.status == 200 && answer.body.contains(ACCOUNT), "{answer:?}");
    let answer = house.send(request("GET", &format!("{path}0"), None, &[], ""), |_| {}).await;
    assert!(answer.status == 403 && answer.body.contains("<Code>SignatureDoesNotMatch</Code>"), "{answer:?}");
}

#[tokio::test]
async fn an_operation_that_needs_no_signature_is_called_by_nobody() {
    let house = House::open().await;
    let body = "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn:aws:iam::1:role/role-of-mine\
                &RoleSessionName=me&WebIdentityToken=secret";
    let answer = house.send(post(None, &[FORM], body), |_| {}).await;
    assert!(answer.status == 200 && answer.body.contains("role-of-mine"), "{answer:?}");
    let context = house.seen.contexts.lock().unwrap()[0].clone();
    assert_eq!(context.principal, longshore_wire::Principal::Anonymous);
    assert_eq!((context.region.as_str(), context.account.as_str()), ("home-1", ""));
    let record = house.seen.audit.lock().unwrap()[0].clone();
    assert_eq!(record.input["WebIdentityToken"], "***");
}

#[tokio::test]
async fn other_operations_miss_their_signature() {
    let answer = sent(post(None, &[FORM], "Action=GetCallerIdentity&Version=2011-06-15")).await;
    assert!(answer.status == 403 && answer.body.contains("<Code>MissingAuthenticationToken</Code>"), "{answer:?}");
    let target = ("x-amz-target", "AmazonEC2ContainerServiceV20141113.ListClusters");
    let answer = sent(post(None, &[JSON, target], "{}")).await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "MissingAuthenticationTokenException"));
    let answer = sent(request("GET", "/", None, &[], "")).await;
    assert_eq!(answer.error(), "MissingAuthenticationTokenException");
}

// spec: 20-001
#[tokio::test]
async fn wrong_signatures_are_refused_in_the_request_s_protocol() {
    let house = House::open().await;
    let answer = house.send(ecs_call("ListClusters", "{}"), |parts| {
        parts.headers.insert("x-amz-target", "AmazonEC2ContainerServiceV20141113.DeleteCluster".parse().unwrap());
    });
    assert_eq!(answer.await.error(), "InvalidSignatureException");
    let stale = |parts: &mut http::request::Parts| {
        parts.headers.insert("x-amz-date", "20200101T000000Z".parse().unwrap());
    };
    assert_eq!(house.send(ecs_call("ListClusters", "{}"), stale).await.error(), "InvalidSignatureException");
    let other_key = |parts: &mut http::request::Parts| {
        let authorization = parts.headers["authorization"].to_str().unwrap().replace("AKIAROOT", "AKIANOBODY");
        parts.headers.insert("authorization", authorization.parse().unwrap());
    };
    assert_eq!(house.send(ecs_call("ListClusters", "{}"), other_key).await.error(), "UnrecognizedClientException");
    let form = post("sts", &[FORM], "Action=GetCallerIdentity&Version=2011-06-15");
    let answer = house.send(form, other_key).await;
    assert!(answer.status == 403 && answer.body.contains("<Code>InvalidClientTokenId</Code>"), "{answer:?}");
    let ended = |parts: &mut http::request::Parts| {
        let authorization = parts.headers["authorization"].to_str().unwrap().replace("AKIAROOT", "AKIAENDED");
        parts.headers.insert("authorization", authorization.parse().unwrap());
    };
    assert_eq!(house.send(ecs_call("ListClusters", "{}"), ended).await.error(), "ExpiredTokenException");
    let unreadable = |parts: &mut http::request::Parts| {
        parts.headers.insert("authorization", "AWS4-HMAC-SHA256 what".parse().unwrap());
    };
    assert_eq!(house.send(ecs_call("ListClusters", "{}"), unreadable).await.error(), "IncompleteSignatureException");
    assert!(house.seen.authorized.lock().unwrap().is_empty(), "nobody asks about requests that are not verified");
}

#[tokio::test]
async fn what_cannot_be_routed_says_why() {
    let target = |target: &'static str| [JSON, ("x-amz-target", target)];
    type Case<'a> = (&'static str, &'a [(&'static str, &'a str)], &'a str, &'a str);
    let table: &[Case<'_>] = &[
        ("ecs", &[JSON], "UnknownOperationException", "no X-Amz-Target"),
        ("ecs", &[("smithy-protocol", "rpc-v2-cbor")], "UnknownOperationException", "'rpc-v2-cbor' is not spoken"),
        ("ecs", &target("nothing"), "UnknownOperationException", "PREFIX.Operation"),
        ("ecs", &target("Nobody.ListClusters"), "UnknownOperationException", "'Nobody'"),
        ("ecs", &target("AmazonEC2ContainerServiceV20141113.Sing"), "UnknownOperationException", "'Sing'"),
        ("logs", &target("Logs_20140328.CreateLogGroup"), "UnknownOperationException", "It serves: ecs, sts"),
        (
            "sts",
            &target("AmazonEC2ContainerServiceV20141113.ListClusters"),
            "InvalidSignatureException",
            "correct service: 'ecs'",
        ),
    ];
    let house = House::open().await;
    for (service, headers, code, words) in table {
        let answer = house.send(post(*service, headers, "{}"), |_| {}).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, *code), "{headers:?}");
        assert!(answer.body.contains(words), "{headers:?}: {}", answer.body);
    }
}

#[tokio::test]
async fn forms_that_cannot_be_routed_say_why() {
    let table = [
        ("sts", "Version=2011-06-15", "MissingAction", "Action"),
        (
            "sts",
            "Action=Sing&Version=2011-06-15",
            "InvalidAction",
            "Could not find operation Sing for version 2011-06-15",
        ),
        ("sts", "Action=GetCallerIdentity&Version=1999-01-01", "InvalidAction", "for version 1999-01-01"),
        ("ecs", "Action=ListClusters&Version=2014-11-13", "InvalidAction", "speaks JSON"),
        ("iam", "Action=ListUsers&Version=2010-05-08", "InvalidAction", "It serves: ecs, sts"),
        ("sts", "Action=GetCallerIdentity&Action.x=1&Version=2011-06-15", "MalformedInput", "Action"),
    ];
    let house = House::open().await;
    for (service, body, code, words) in table {
        let answer = house.send(post(service, &[FORM], body), |_| {}).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(answer.body.contains(&format!("<Code>{code}</Code>")), "{body}: {}", answer.body);
        assert!(answer.body.contains(words), "{body}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_cannot_be_deserialized() {
    let house = House::open().await;
    for body in ["{", "{\"cluster\":}", "\u{0}", "{}x", "[1]", "{\"clusterName\":5}"] {
        let answer = house.send(ecs_call("CreateCluster", body), |_| {}).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "SerializationException"), "{body}");
    }
}

#[tokio::test]
async fn query_mode_gets_the_query_code_too() {
    let mut call = ecs_call("Sing", "{}");
    call.parts.headers.insert("x-amzn-query-mode", "true".parse().unwrap());
    let answer = sent(call).await;
    assert_eq!(answer.header("x-amzn-query-error"), Some("invalidaction;sender"));
}

#[tokio::test]
async fn every_call_is_authorized_with_its_resources() {
    let house = House::open().await;
    house.send(ecs_call("ListClusters", "{}"), |_| {}).await;
    let answer = house.send(ecs_call("DeleteCluster", r#"{"cluster":"c"}"#), |_| {}).await;
    assert_eq!(answer.error(), "AccessDeniedException");
    let authorized = house.seen.authorized.lock().unwrap().clone();
    assert_eq!(
        authorized,
        ["ecs:ListClusters on resource-of-ListClusters", "ecs:DeleteCluster on resource-of-DeleteCluster"]
    );
}

#[tokio::test]
async fn mutating_calls_are_recorded_whether_they_succeed_or_not() {
    let house = House::open().await;
    for (operation, body) in [
        ("ListClusters", "{}"),
        ("CreateCluster", r#"{"clusterName":"a"}"#),
        ("CreateCluster", r#"{"clusterName":"refused"}"#),
        ("CreateCluster", r#"{"clusterName":"broken"}"#),
        ("DeleteCluster", r#"{"cluster":"a"}"#),
        ("DeleteCluster", "{"),
        (
            "RegisterTaskDefinition",
            r#"{"containerDefinitions":[{"name":"m","environment":[{"name":"A","value":"secret"}]}]}"#,
        ),
    ] {
        house.send(ecs_call(operation, body), |_| {}).await;
    }
    let audit = house.seen.audit.lock().unwrap().clone();
    let outcomes: Vec<_> = audit.iter().map(|record| (record.operation.as_str(), record.error.as_deref())).collect();
    assert_eq!(
        outcomes[..5],
        [
            ("CreateCluster", None),
            ("CreateCluster", Some("InvalidParameterException")),
            ("CreateCluster", Some("InternalFailure")),
            ("DeleteCluster", Some("AccessDeniedException")),
            ("DeleteCluster", Some("SerializationException")),
        ]
    );
    assert_eq!(audit[0].input, serde_json::json!({"clusterName": "a"}));
    assert_eq!((audit[0].account.as_str(), audit[0].access_key_id.as_str()), (ACCOUNT, "AKIAROOT"));
    assert!(!audit[5].input.to_string().contains("secret"), "{}", audit[5].input);
}

#[tokio::test]
async fn a_panic_is_one_failed_request_and_the_server_goes_on() {
    let house = House::open().await;
    let answer = house.send(ecs_call("CreateCluster", r#"{"clusterName":"broken"}"#), |_| {}).await;
    assert_eq!((answer.status, answer.error().as_str()), (500, "InternalFailure"));
    assert!(!answer.body.contains("fell in"), "what the panic said is for the log");
    assert_eq!(house.send(ecs_call("ListClusters", "{}"), |_| {}).await.status, 200);
}

#[tokio::test]
async fn health_readiness_and_metrics_need_no_signature() {
    let house = House::open().await;
    let get = |path: &'static str| house.send(request("GET", path, None, &[], ""), |_| {});
    assert_eq!(get("/health").await.status, 200);
    let answer = get("/ready").await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "nothing happened yet\n"));
    house.send(ecs_call("CreateCluster", "{}"), |_| {}).await;
    assert_eq!(get("/ready").await.status, 200);
    house.send(ecs_call("Sing", "{}"), |_| {}).await;
    let metrics = get("/metrics").await.body;
    for line in [
        r#"longshore_http_requests_total{service="ecs",operation="CreateCluster",code="OK"} 1"#,
        r#"longshore_http_requests_total{service="-",operation="-",code="UnknownOperationException"} 1"#,
        r#"longshore_http_request_duration_seconds_count{service="ecs",operation="CreateCluster"} 1"#,
        "longshore_http_connections 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn plain_http_for_other_machines_needs_to_be_asked_for() {
    let house = House::open().await;
    let bind = |config: Config| {
        let seen = house.seen.clone();
        let rooms = longshore_wire::Rooms {
            services: Vec::new(),
            upgrades: Vec::new(),
            credentials: Arc::new(seen.clone()),
            authorizer: Arc::new(seen.clone()),
            audit: Arc::new(seen.clone()),
            readiness: Arc::new(seen),
        };
        Server::bind(config, rooms, house.seams.clone(), Arc::new(Metrics::new()))
    };
    let open = Config::new("0.0.0.0:0".parse().unwrap(), "r");
    let error = bind(open.clone()).err().unwrap();
    assert!(error.to_string().contains("--insecure-http") && error.to_string().contains("0.0.0.0:0"), "{error}");
    assert!(bind(Config { insecure_http: true, ..open.clone() }).is_ok());
    let no_url = Config { advertise_url: Some("ecs.example.com".into()), insecure_http: true, ..open.clone() };
    assert!(matches!(bind(no_url).err(), Some(StartError::AdvertiseUrl { .. })));
    let taken = bind(Config::new(house.address, "r")).err().unwrap();
    assert!(taken.to_string().contains("--listen"), "{taken}");
    let missing = Tls { cert: "/nowhere/cert.pem".into(), key: "/nowhere/key.pem".into() };
    let error = bind(Config { tls: Some(missing), ..open }).err().unwrap();
    assert!(error.to_string().contains("/nowhere/cert.pem"), "{error}");
}

/// A house that serves HTTPS as `localhost`, and the path of its certificate.
async fn secured(directory: &std::path::Path) -> (House, std::path::PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = Tls { cert: cert.clone(), key };
    (House::with(|config| config.tls = Some(tls), Vec::new()).await, cert)
}

#[tokio::test]
async fn https_is_served_to_clients_that_trust_the_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let (house, cert) = secured(directory.path()).await;
    let endpoint = format!("https://localhost:{}", house.address.port());
    let client = |ca_file| {
        let options = longshore_client::Options { ca_file, ..longshore_client::Options::new(&endpoint, "us-east-1") };
        longshore_client::Client::new(options, Arc::new(root()), house.seams.clone())
    };
    let input = ecs::ListClustersRequest::default();
    let trusting = client(Some(cert)).unwrap();
    let clusters: ecs::ListClustersResponse = trusting.call(&ecs::MODEL, "ListClusters", &input).await.unwrap();
    assert_eq!(clusters.cluster_arns.unwrap(), ["arn"]);
    assert_eq!(house.seen.contexts.lock().unwrap()[0].base_url, endpoint);
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other_path = directory.path().join("other.pem");
    std::fs::write(&other_path, other.cert.pem()).unwrap();
    let wary = client(Some(other_path)).unwrap();
    let error = wary.call::<_, ecs::ListClustersResponse>(&ecs::MODEL, "ListClusters", &input).await.unwrap_err();
    assert!(matches!(&error, ClientError::Connect { reason, .. } if reason.contains("certificate")), "{error}");
    assert!(client(Some("/nowhere/ca.pem".into())).unwrap_err().to_string().contains("/nowhere/ca.pem"));
}

// spec: 20-105
#[tokio::test]
async fn https_is_tls_1_2_or_1_3_with_forward_secrecy() {
    let directory = tempfile::tempdir().unwrap();
    let (house, cert) = secured(directory.path()).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&cert).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let plain = tokio::net::TcpStream::connect(house.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector.connect("localhost".try_into().unwrap(), plain).await.unwrap();
        let (_, session) = stream.get_ref();
        assert_eq!(session.protocol_version(), Some(version.version));
        // Every suite of 1.3 has an ephemeral key exchange; those of 1.2 say so in their name.
        let suite = format!("{:?}", session.negotiated_cipher_suite().unwrap().suite());
        assert!(suite.starts_with("TLS13_") || suite.starts_with("TLS_ECDHE_"), "{suite}");
        assert!(session.negotiated_key_exchange_group().is_some());
    }
    // What is not TLS gets no answer in plain.
    let mut plain = tokio::net::TcpStream::connect(house.address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
}

#[tokio::test]
async fn the_client_says_what_to_do_when_nobody_answers() {
    let mut house = House::open().await;
    let client = house.client();
    house.shut_down().await.unwrap();
    let input = ecs::ListClustersRequest::default();
    let error = client.call::<_, ecs::ListClustersResponse>(&ecs::MODEL, "ListClusters", &input).await.unwrap_err();
    assert!(error.to_string().contains("longshore up") && error.to_string().contains("refused"), "{error}");
    assert!(error.is_transient());
}

#[test]
fn sts_is_a_query_service_and_ecs_a_json_one() {
    assert_eq!((sts::MODEL.protocol, ecs::MODEL.protocol), ("query", "json"));
    assert!(ecs::MODEL.xml_namespace.is_none(), "forms are told from JSON services by their XML namespace");
}
