//! A front door with small services behind it, on a real socket.

// Every test file uses another part of it.
#![allow(dead_code, clippy::allow_attributes, reason = "each test binary uses a part of this module")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_api::{Operation, ServiceError, ServiceModel, Value, ecs, sts};
use longshore_client::{Client, Credentials, Options};
use longshore_seams::{BoxFuture, Seams, Timestamp};
use longshore_wire::{
    AuditRecord, AuditSink, AuthorizationRequest, Authorizer, Config, Credential, CredentialStore, Metrics, Output,
    Principal, Readiness, RequestContext, Rooms, Server, Service, Upgrade,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};

pub const ACCOUNT: &str = "123456789012";
pub const KEY: &str = "AKIAROOT";
pub const TEMPORARY_KEY: &str = "ASIAAGENT";
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
pub const TOKEN: &str = "token/+=";

/// What the tests look at from outside.
#[derive(Clone, Default)]
pub struct Seen {
    pub audit: Arc<Mutex<Vec<AuditRecord>>>,
    pub authorized: Arc<Mutex<Vec<String>>>,
    pub contexts: Arc<Mutex<Vec<RequestContext>>>,
    /// Told when a call to `DescribeServices` has begun, which then waits for `release`.
    pub begun: Arc<Notify>,
    pub release: Arc<Notify>,
}

#[derive(Clone)]
struct FakeEcs(Seen);

impl ecs::Ecs for FakeEcs {
    type Context = RequestContext;

    async fn list_clusters(
        &self,
        context: &RequestContext,
        _: ecs::ListClustersRequest,
    ) -> Result<ecs::ListClustersResponse, ServiceError> {
        self.0.contexts.lock().unwrap().push(context.clone());
        Ok(ecs::ListClustersResponse { cluster_arns: Some(vec!["arn".into()]), next_token: None })
    }

    async fn create_cluster(
        &self,
        _: &RequestContext,
        input: ecs::CreateClusterRequest,
    ) -> Result<ecs::CreateClusterResponse, ServiceError> {
        match input.cluster_name.as_deref() {
            Some("refused") => Err(ecs::error::invalid_parameter_exception("Invalid name")),
            Some("broken") => panic!("the room fell in"),
            name => Ok(ecs::CreateClusterResponse {
                cluster: Some(ecs::Cluster { cluster_name: name.map(str::to_owned), ..Default::default() }),
            }),
        }
    }

    async fn describe_services(
        &self,
        _: &RequestContext,
        _: ecs::DescribeServicesRequest,
    ) -> Result<ecs::DescribeServicesResponse, ServiceError> {
        self.0.begun.notify_one();
        self.0.release.notified().await;
        Ok(ecs::DescribeServicesResponse::default())
    }
}

impl Service for FakeEcs {
    fn model(&self) -> &'static ServiceModel {
        &ecs::MODEL
    }

    fn resources(
        &self,
        _: &RequestContext,
        operation: &'static Operation,
        _: &Value,
    ) -> (Vec<String>, Vec<(String, Vec<String>)>) {
        (vec![format!("resource-of-{}", operation.name)], Vec::new())
    }

    fn call<'a>(
        &'a self,
        context: &'a RequestContext,
        operation: &'static Operation,
        input: &'a Value,
    ) -> BoxFuture<'a, Result<Box<dyn Output>, ServiceError>> {
        Box::pin(ecs::dispatch(self, context, operation.name, input))
    }
}

struct FakeSts(Seen);

impl sts::Sts for FakeSts {
    type Context = RequestContext;

    async fn get_caller_identity(
        &self,
        context: &RequestContext,
        _: sts::GetCallerIdentityRequest,
    ) -> Result<sts::GetCallerIdentityResponse, ServiceError> {
        Ok(sts::GetCallerIdentityResponse {
            account: Some(context.account.clone()),
            arn: Some(context.principal.arn()),
            user_id: Some("<root>".into()),
        })
    }

    async fn assume_role_with_web_identity(
        &self,
        context: &RequestContext,
        input: sts::AssumeRoleWithWebIdentityRequest,
    ) -> Result<sts::AssumeRoleWithWebIdentityResponse, ServiceError> {
        self.0.contexts.lock().unwrap().push(context.clone());
        Ok(sts::AssumeRoleWithWebIdentityResponse { provider: input.role_arn, ..Default::default() })
    }
}

impl Service for FakeSts {
    fn model(&self) -> &'static ServiceModel {
        &sts::MODEL
    }

    fn resources(
        &self,
        _: &RequestContext,
        _: &'static Operation,
        _: &Value,
    ) -> (Vec<String>, Vec<(String, Vec<String>)>) {
        (vec!["*".into()], Vec::new())
    }

    fn call<'a>(
        &'a self,
        context: &'a RequestContext,
        operation: &'static Operation,
        input: &'a Value,
    ) -> BoxFuture<'a, Result<Box<dyn Output>, ServiceError>> {
        Box::pin(sts::dispatch(self, context, operation.name, input))
    }
}

impl CredentialStore for Seen {
    fn credential(&self, access_key_id: &str, _session_token: Option<&str>) -> Option<Credential> {
        let credential = |session_token: Option<&str>, principal| Credential {
            secret: SECRET.into(),
            session_token: session_token.map(str::to_owned),
            expires_at: None,
            principal,
        };
        match access_key_id {
            KEY => Some(credential(None, Principal::Root { account: ACCOUNT.into() })),
            TEMPORARY_KEY => Some(credential(
                Some(TOKEN),
                Principal::ContainerInstance { account: ACCOUNT.into(), region: "r".into(), grant: "g".into() },
            )),
            "AKIAENDED" => {
                let ended = credential(None, Principal::Root { account: ACCOUNT.into() });
                Some(Credential { expires_at: Some(Timestamp::from_secs(1)), ..ended })
            }
            _ => None,
        }
    }
}

impl Authorizer for Seen {
    fn authorize(&self, request: &AuthorizationRequest<'_>) -> Result<(), ServiceError> {
        self.authorized.lock().unwrap().push(format!("{} on {}", request.action, request.resources.join(",")));
        match (&request.context.principal, request.action.as_str()) {
            (Principal::Root { .. }, "ecs:DeleteCluster") => {
                Err(ServiceError::client("AccessDeniedException", "not even root"))
            }
            _ => Ok(()),
        }
    }
}

impl AuditSink for Seen {
    fn record(&self, record: AuditRecord) {
        self.audit.lock().unwrap().push(record);
    }
}

/// Ready once the audit log is not empty: enough to see both answers.
impl Readiness for Seen {
    fn ready(&self) -> Result<(), String> {
        if self.audit.lock().unwrap().is_empty() { Err("nothing happened yet".into()) } else { Ok(()) }
    }
}

/// A running server; dropping it shuts it down.
pub struct House {
    pub address: SocketAddr,
    pub seen: Seen,
    pub seams: Seams,
    shutdown: Option<oneshot::Sender<()>>,
    ended: Option<oneshot::Receiver<()>>,
}

impl House {
    pub async fn open() -> Self {
        Self::with(|_| {}, Vec::new()).await
    }

    pub async fn with(change: impl FnOnce(&mut Config), upgrades: Vec<Arc<dyn Upgrade>>) -> Self {
        let mut config = Config::new("127.0.0.1:0".parse().unwrap(), "home-1");
        change(&mut config);
        let seen = Seen::default();
        let rooms = Rooms {
            services: vec![Arc::new(FakeEcs(seen.clone())), Arc::new(FakeSts(seen.clone()))],
            upgrades,
            credentials: Arc::new(seen.clone()),
            authorizer: Arc::new(seen.clone()),
            audit: Arc::new(seen.clone()),
            readiness: Arc::new(seen.clone()),
        };
        let seams = Seams::system();
        let server = Server::bind(config, rooms, seams.clone(), Arc::new(Metrics::new())).unwrap();
        let address = server.local_addr();
        let (shutdown, stopped) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel();
        let run = async move {
            server
                .run(async {
                    let _ = stopped.await;
                })
                .await;
            let _ = end.send(());
        };
        seams.spawner.spawn("server", Box::pin(run));
        Self { address, seen, seams, shutdown: Some(shutdown), ended: Some(ended) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn client(&self) -> Client {
        self.client_with(&root())
    }

    pub fn client_with(&self, credentials: &Credentials) -> Client {
        let options = Options { timeout: Duration::from_secs(20), ..Options::new(self.url(), "us-east-1") };
        Client::new(options, Arc::new(credentials.clone()), self.seams.clone()).unwrap()
    }

    /// Asks the server to end; the receiver tells when it has.
    pub fn shut_down(&mut self) -> oneshot::Receiver<()> {
        self.shutdown.take().unwrap().send(()).unwrap();
        self.ended.take().unwrap()
    }

    /// Sends bytes as they are and returns all that comes back until the server closes.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A reset after the answer is for the test to judge by what came before it.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Signs and sends a request; `change` may alter it after signing.
    pub async fn send(&self, request: Unsent, change: impl FnOnce(&mut http::request::Parts)) -> Answer {
        let mut parts = request.parts;
        parts.uri = format!("{}{}", self.url(), parts.uri).parse().unwrap();
        let payload = longshore_sigv4::Payload::Bytes(&request.body);
        if let Some(service) = request.service {
            let now = self.seams.clock.now();
            longshore_sigv4::sign(&mut parts, payload, &root(), "us-east-1", service, now).unwrap();
        } else {
            parts.headers.insert("host", self.address.to_string().parse().unwrap());
        }
        change(&mut parts);
        let mut bytes = format!("{} {} HTTP/1.1\r\n", parts.method, parts.uri.path_and_query().unwrap()).into_bytes();
        for (name, value) in &parts.headers {
            bytes.extend_from_slice(format!("{name}: ").as_bytes());
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(
            format!("connection: close\r\ncontent-length: {}\r\n\r\n", request.body.len()).as_bytes(),
        );
        bytes.extend_from_slice(&request.body);
        Answer::parse(&self.raw(&bytes).await)
    }
}

pub fn root() -> Credentials {
    Credentials { access_key_id: KEY.into(), secret_access_key: SECRET.into(), session_token: None }
}

/// A request before it is signed (for `service`; not at all when there is none).
pub struct Unsent {
    pub parts: http::request::Parts,
    pub body: Vec<u8>,
    pub service: Option<&'static str>,
}

pub fn post(
    service: impl Into<Option<&'static str>>,
    headers: &[(&'static str, &str)],
    body: impl Into<Vec<u8>>,
) -> Unsent {
    request("POST", "/", service, headers, body)
}

pub fn request(
    method: &str,
    path: &str,
    service: impl Into<Option<&'static str>>,
    headers: &[(&'static str, &str)],
    body: impl Into<Vec<u8>>,
) -> Unsent {
    let mut builder = http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let (parts, ()) = builder.body(()).unwrap().into_parts();
    Unsent { parts, body: body.into(), service: service.into() }
}

/// A signed JSON call of ECS.
pub fn ecs_call(operation: &str, body: &str) -> Unsent {
    let target = format!("AmazonEC2ContainerServiceV20141113.{operation}");
    post("ecs", &[("content-type", "application/x-amz-json-1.1"), ("x-amz-target", &target)], body)
}

/// An answer, taken apart.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The JSON error's type, after checking that it is a whole error answer.
    pub fn error(&self) -> String {
        let code = self.json()["__type"].as_str().unwrap_or_else(|| panic!("no __type: {self:?}")).to_owned();
        assert_eq!(self.header("x-amzn-errortype"), Some(code.to_ascii_lowercase().as_str()), "{self:?}");
        assert_eq!(self.header("x-amzn-requestid").map(str::len), Some(36), "{self:?}");
        assert!(self.json()["message"].is_string(), "{self:?}");
        code
    }
}
