//! What the front door needs of the rooms behind it.

use std::fmt::Debug;
use std::net::IpAddr;

pub use longshore_api::Output;
use longshore_api::{Operation, ServiceError, ServiceModel, Value};
use longshore_seams::{BoxFuture, Timestamp};

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// The root of an account: may do everything in it.
    Root {
        /// Twelve digits.
        account: String,
    },
    /// A joined agent: may speak only for its own container instance.
    ContainerInstance {
        /// Twelve digits.
        account: String,
        /// The region it joined.
        region: String,
        /// Id of the credential grant that its keys belong to; a grant is bound to one container
        /// instance at its first registration.
        grant: String,
    },
    /// A role that was assumed, e.g. by a task.
    AssumedRole {
        /// Twelve digits.
        account: String,
        /// The role's name, without its path.
        role: String,
        /// Name of the session; of a task its id.
        session: String,
    },
    /// Nobody: an operation that needs no signature.
    Anonymous,
}

impl Principal {
    /// The account it belongs to; none for nobody.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::Root { account } | Self::ContainerInstance { account, .. } | Self::AssumedRole { account, .. } => {
                Some(account)
            }
            Self::Anonymous => None,
        }
    }

    /// ARN form for audit records and `createdBy`, e.g. `arn:aws:iam::123456789012:root`.
    #[must_use]
    pub fn arn(&self) -> String {
        match self {
            Self::Root { account } => format!("arn:aws:iam::{account}:root"),
            Self::ContainerInstance { account, grant, .. } => {
                format!("arn:aws:sts::{account}:assumed-role/ecsInstanceRole/{grant}")
            }
            Self::AssumedRole { account, role, session } => {
                format!("arn:aws:sts::{account}:assumed-role/{role}/{session}")
            }
            Self::Anonymous => "anonymous".to_owned(),
        }
    }
}

/// An access key as the verifier needs it.
#[derive(Clone)]
pub struct Credential {
    /// The secret.
    pub secret: String,
    /// The session token that must come with it, for temporary keys.
    pub session_token: Option<String>,
    /// When it ends, for temporary keys.
    pub expires_at: Option<Timestamp>,
    /// Who holds it.
    pub principal: Principal,
}

impl Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("principal", &self.principal).finish_non_exhaustive()
    }
}

/// Where access keys are looked up. Called on every request: must not block.
pub trait CredentialStore: Send + Sync {
    /// The key, when it exists and is active. Of a key that is kept nowhere the session token tells everything; of
    /// any other it is only compared with what is known, by the caller.
    fn credential(&self, access_key_id: &str, session_token: Option<&str>) -> Option<Credential>;
}

/// A verified request, as every operation sees it.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// UUID; also in `x-amzn-RequestId`.
    pub request_id: String,
    /// Who calls.
    pub principal: Principal,
    /// The caller's access key id; empty for nobody.
    pub access_key_id: String,
    /// Account whose resources are meant.
    pub account: String,
    /// Region from the signature's scope.
    pub region: String,
    /// The peer.
    pub source_ip: IpAddr,
    /// `User-Agent`, cut at 256 characters.
    pub user_agent: String,
    /// `http(s)://host[:port]` by which the client reached us: `--advertise-url`, else scheme and `Host`.
    pub base_url: String,
    /// When it arrived.
    pub received_at: Timestamp,
}

/// What authorization is asked.
#[derive(Debug)]
pub struct AuthorizationRequest<'a> {
    /// The request.
    pub context: &'a RequestContext,
    /// Action, e.g. `ecs:RunTask`.
    pub action: String,
    /// Resolved resource ARNs (long form); `*` when the action names none.
    pub resources: Vec<String>,
    /// Condition keys and values, e.g. `ecs:cluster`, `aws:RequestTag/x`.
    pub conditions: Vec<(String, Vec<String>)>,
}

/// Decides whether a call may happen. Called on every operation, after parsing.
pub trait Authorizer: Send + Sync {
    /// # Errors
    /// `AccessDeniedException` naming principal, action and resource.
    fn authorize(&self, request: &AuthorizationRequest<'_>) -> Result<(), ServiceError>;
}

/// A service behind the front door.
pub trait Service: Send + Sync {
    /// Its model.
    fn model(&self) -> &'static ServiceModel;

    /// The resources (long ARNs) and condition values that this call names, resolved.
    fn resources(
        &self,
        context: &RequestContext,
        operation: &'static Operation,
        input: &Value,
    ) -> (Vec<String>, Vec<(String, Vec<String>)>);

    /// Performs an operation of the model. Reading and constraint checks happen in here (generated
    /// dispatch), after authorization.
    fn call<'a>(
        &'a self,
        context: &'a RequestContext,
        operation: &'static Operation,
        input: &'a Value,
    ) -> BoxFuture<'a, Result<Box<dyn Output>, ServiceError>>;
}

/// A path that upgrades to a WebSocket (`/acs/ws`, `/tcs/ws`). The signature has been verified.
pub trait Upgrade: Send + Sync {
    /// The exact path.
    fn path(&self) -> &'static str;

    /// Checks the request before the upgrade. The error's body is sent as `{"<code>": "<message>"}` with 400.
    ///
    /// # Errors
    /// Why the connection is refused.
    fn accept(&self, context: &RequestContext, query: &[(String, String)]) -> Result<(), ServiceError>;

    /// Runs the connection until it ends. `socket` is past the handshake: the server's side of RFC
    /// 6455 begins at once (`WebSocketStream::from_raw_socket(socket, Role::Server, …)`).
    ///
    /// Frames that repeat signed header lines (TCS) need no verification of their own: the
    /// handshake was verified, and whoever could put a frame into the connection could as well
    /// change what follows the lines. `context.principal` is the signer of every frame.
    ///
    /// The future is dropped, and the socket with it, when the server shuts down.
    fn serve(
        &self,
        context: RequestContext,
        query: Vec<(String, String)>,
        socket: hyper_util::rt::TokioIo<hyper::upgrade::Upgraded>,
    ) -> BoxFuture<'static, ()>;
}

/// One mutating call, for the audit log.
#[derive(Clone, Debug, serde::Serialize)]
pub struct AuditRecord {
    /// When it arrived.
    pub at: Timestamp,
    /// Request id.
    pub request_id: String,
    /// Principal's ARN.
    pub principal: String,
    /// Access key id.
    pub access_key_id: String,
    /// Account.
    pub account: String,
    /// Region.
    pub region: String,
    /// Peer.
    pub source_ip: String,
    /// User agent.
    pub user_agent: String,
    /// Service's signing name.
    pub service: String,
    /// Operation.
    pub operation: String,
    /// Input with sensitive members replaced by `"***"`, cut at 16 KiB.
    pub input: serde_json::Value,
    /// Error code; absent on success.
    pub error: Option<String>,
}

/// Where audit records go. Must not block; bounded.
pub trait AuditSink: Send + Sync {
    /// Records one call.
    fn record(&self, record: AuditRecord);
}

/// Whether the process can serve, for `/ready`.
pub trait Readiness: Send + Sync {
    /// # Errors
    /// What it is still waiting for, in words for an operator.
    fn ready(&self) -> Result<(), String>;
}
