//! Longshore's own API: accounts, keys, agents joining, the server itself.

use std::sync::Arc;
use std::time::Duration;

use longshore_api::longshore as api;
use longshore_api::{Operation, ServiceError, ServiceModel, Value};
use longshore_model::Scope;
use longshore_model::records::AccessKeyRecord;
use longshore_seams::{BoxFuture, Timestamp};
use longshore_store::segments::SegmentLog;
use longshore_wire::{Output, Principal, RequestContext, Service};

use crate::accounts::{Accounts, IssuedKey, root_keys};
use crate::engine::Engine;
use crate::event_log;
use crate::explain;
use crate::operations::tasks::interrupt_fargate_tasks;
use crate::pagination::PageRequest;
use crate::service::scope_of;

/// What the server is asked to do with itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownRequested {
    /// How long its tasks may take to stop.
    pub timeout: Duration,
}

/// What the admin API tells about the server.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    /// The product's version.
    pub version: String,
    /// The data directory's eight digits.
    pub data_directory_id: String,
    /// The first account's profile region.
    pub region: String,
    /// When the process started.
    pub started_at: Timestamp,
}

/// Where reconcilers say how they are doing.
pub trait ReconcilerStatus: Send + Sync {
    /// All reconcilers, by name.
    fn reconcilers(&self) -> Vec<api::Reconciler>;
}

/// The admin API.
pub struct AdminService {
    /// The working set.
    pub engine: Engine,
    /// Accounts and keys.
    pub accounts: Accounts,
    /// What the server is.
    pub info: ServerInfo,
    /// Its loops.
    pub reconcilers: Arc<dyn ReconcilerStatus>,
    /// Events that were delivered.
    pub events: SegmentLog,
    /// Where a request to shut down goes.
    pub shutdown: tokio::sync::mpsc::Sender<ShutdownRequested>,
}

/// Longest time that tasks may take to stop at a shutdown, and the default.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(60);

impl std::fmt::Debug for AdminService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminService").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Service for AdminService {
    fn model(&self) -> &'static ServiceModel {
        &api::MODEL
    }

    fn resources(
        &self,
        _context: &RequestContext,
        _operation: &'static Operation,
        _input: &Value,
    ) -> (Vec<String>, Vec<(String, Vec<String>)>) {
        (vec!["*".to_owned()], Vec::new())
    }

    fn call<'a>(
        &'a self,
        context: &'a RequestContext,
        operation: &'static Operation,
        input: &'a Value,
    ) -> BoxFuture<'a, Result<Box<dyn Output>, ServiceError>> {
        Box::pin(api::dispatch(self, context, operation.name, input))
    }
}

fn credentials(account: &str, key: &IssuedKey, created_at: Timestamp) -> api::AccessKeyCredentials {
    api::AccessKeyCredentials {
        access_key_id: Some(key.id.clone()),
        secret_access_key: Some(key.secret.clone()),
        account_id: Some(account.to_owned()),
        created_at: Some(created_at),
    }
}

fn agent_credentials(key: IssuedKey) -> api::AgentCredentials {
    api::AgentCredentials {
        access_key_id: Some(key.id),
        secret_access_key: Some(key.secret),
        session_token: key.session_token,
        expiration: key.expires_at,
    }
}

fn account_shape(record: &longshore_model::records::AccountRecord) -> api::Account {
    api::Account {
        account_id: Some(record.id.clone()),
        name: Some(record.name.clone()),
        operator: Some(record.operator),
        created_at: Some(record.created_at),
    }
}

fn key_shape(record: &AccessKeyRecord) -> api::AccessKey {
    api::AccessKey {
        access_key_id: Some(record.id.clone()),
        account_id: Some(record.account.clone()),
        created_at: Some(record.created_at),
    }
}

impl AdminService {
    fn is_operator(&self, context: &RequestContext) -> bool {
        let root = matches!(context.principal, Principal::Root { .. });
        root && self.engine.peek(|state| state.accounts.get(&context.account).is_some_and(|account| account.operator))
    }

    fn require_operator(&self, context: &RequestContext, what: &str) -> Result<(), ServiceError> {
        if self.is_operator(context) {
            return Ok(());
        }
        Err(ServiceError::client(
            "AccessDeniedException",
            format!(
                "{} may not {what}: only the root of the operator's account (the first one) may.",
                context.principal.arn()
            ),
        ))
    }

    /// What ends cannot make, or end, what lasts.
    fn require_lasting_key(&self, context: &RequestContext, what: &str) -> Result<(), ServiceError> {
        if self.accounts.is_session(&context.access_key_id) {
            let message = format!("Session credentials may not {what}: use an access key of the account.");
            return Err(ServiceError::client("AccessDeniedException", message));
        }
        Ok(())
    }

    /// The account that a call is about: the caller's own, or as the operator any.
    fn account(&self, context: &RequestContext, asked: Option<String>, what: &str) -> Result<String, ServiceError> {
        match asked {
            Some(asked) if asked != context.account => {
                self.require_operator(context, &format!("{what} account {asked}"))?;
                Ok(asked)
            }
            _ => Ok(context.account.clone()),
        }
    }
}

impl api::Longshore for AdminService {
    type Context = RequestContext;

    async fn create_account(
        &self,
        context: &RequestContext,
        input: api::CreateAccountRequest,
    ) -> Result<api::CreateAccountResponse, ServiceError> {
        self.require_operator(context, "create accounts")?;
        self.require_lasting_key(context, "create accounts")?;
        let name = input.name.unwrap_or_default();
        let (account, key) = self.accounts.create_account(input.account_id, &name).await?;
        Ok(api::CreateAccountResponse {
            access_key: Some(credentials(&account.id, &key, account.created_at)),
            account: Some(account_shape(&account)),
        })
    }

    async fn list_accounts(
        &self,
        context: &RequestContext,
        input: api::ListAccountsRequest,
    ) -> Result<api::ListAccountsResponse, ServiceError> {
        self.require_operator(context, "list accounts")?;
        let page =
            PageRequest::parse("ListAccounts", input.max_results.map(i64::from), input.next_token.as_deref(), 100)?;
        let (accounts, next_token) = self
            .engine
            .read(|state| {
                let rest = state.accounts.iter().filter(|(id, _)| page.after.as_ref().is_none_or(|after| *id > after));
                page.take(rest.map(|(id, account)| (id.clone(), account_shape(account))))
            })
            .await;
        Ok(api::ListAccountsResponse { accounts: Some(accounts), next_token })
    }

    async fn create_access_key(
        &self,
        context: &RequestContext,
        input: api::CreateAccessKeyRequest,
    ) -> Result<api::CreateAccessKeyResponse, ServiceError> {
        let account = self.account(context, input.account_id, "manage the keys of")?;
        self.require_lasting_key(context, "create access keys")?;
        let key = self.accounts.create_key(&account).await?;
        Ok(api::CreateAccessKeyResponse { access_key: Some(credentials(&account, &key, context.received_at)) })
    }

    async fn list_access_keys(
        &self,
        context: &RequestContext,
        input: api::ListAccessKeysRequest,
    ) -> Result<api::ListAccessKeysResponse, ServiceError> {
        let account = self.account(context, input.account_id, "manage the keys of")?;
        let page =
            PageRequest::parse("ListAccessKeys", input.max_results.map(i64::from), input.next_token.as_deref(), 100)?;
        let (keys, next_token) = self
            .engine
            .read(|state| {
                let rest =
                    root_keys(state, &account).filter(|key| page.after.as_ref().is_none_or(|after| key.id > *after));
                page.take(rest.map(|key| (key.id.clone(), key_shape(key))))
            })
            .await;
        Ok(api::ListAccessKeysResponse { access_keys: Some(keys), next_token })
    }

    async fn delete_access_key(
        &self,
        context: &RequestContext,
        input: api::DeleteAccessKeyRequest,
    ) -> Result<api::DeleteAccessKeyResponse, ServiceError> {
        self.require_lasting_key(context, "delete access keys")?;
        let id = input.access_key_id.unwrap_or_default();
        let owner = self.engine.peek(|state| state.access_keys.get(&id).map(|key| key.account.clone()));
        let account = match owner {
            Some(owner) if owner != context.account && self.is_operator(context) => owner,
            // A key of another account looks like none at all to who may not manage it.
            _ => context.account.clone(),
        };
        self.accounts.delete_key(&account, &id).await?;
        Ok(api::DeleteAccessKeyResponse {})
    }

    async fn create_join_token(
        &self,
        context: &RequestContext,
        input: api::CreateJoinTokenRequest,
    ) -> Result<api::CreateJoinTokenResponse, ServiceError> {
        let region = input.region.unwrap_or_else(|| context.region.clone());
        let cluster = input.cluster.unwrap_or_else(|| crate::operations::DEFAULT_CLUSTER.to_owned());
        let scope = Scope::new(&context.account, &region);
        let life = input.lifetime_seconds.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
        let (token, expires_at) = self.accounts.create_join_token(&scope, &cluster, life).await?;
        let (token, cluster, region) = (Some(token), Some(cluster), Some(region));
        Ok(api::CreateJoinTokenResponse { token, cluster, region, expires_at: Some(expires_at) })
    }

    async fn join_agent(
        &self,
        _context: &RequestContext,
        input: api::JoinAgentRequest,
    ) -> Result<api::JoinAgentResponse, ServiceError> {
        let (grant, key) = self.accounts.join(&input.token.unwrap_or_default()).await?;
        Ok(api::JoinAgentResponse {
            credentials: Some(agent_credentials(key)),
            account_id: Some(grant.scope.account),
            cluster: Some(grant.cluster),
            region: Some(grant.scope.region),
        })
    }

    async fn rotate_agent_credentials(
        &self,
        context: &RequestContext,
        _input: api::RotateAgentCredentialsRequest,
    ) -> Result<api::RotateAgentCredentialsResponse, ServiceError> {
        let Principal::ContainerInstance { grant, .. } = &context.principal else {
            let message = format!("{} has no agent credentials to rotate.", context.principal.arn());
            return Err(ServiceError::client("InvalidParameterException", message));
        };
        let key = self.accounts.rotate(grant, &context.access_key_id).await?;
        Ok(api::RotateAgentCredentialsResponse { credentials: Some(agent_credentials(key)) })
    }

    async fn explain(
        &self,
        context: &RequestContext,
        input: api::ExplainRequest,
    ) -> Result<api::ExplainResponse, ServiceError> {
        explain::explain(&self.engine, context, &input).await
    }

    async fn plan_create_service(
        &self,
        context: &RequestContext,
        input: api::PlanCreateServiceRequest,
    ) -> Result<api::PlanServiceResponse, ServiceError> {
        explain::plan_create_service(&self.engine, context, &input).await
    }

    async fn plan_update_service(
        &self,
        context: &RequestContext,
        input: api::PlanUpdateServiceRequest,
    ) -> Result<api::PlanServiceResponse, ServiceError> {
        explain::plan_update_service(&self.engine, context, &input).await
    }

    async fn plan_run_task(
        &self,
        context: &RequestContext,
        input: api::PlanRunTaskRequest,
    ) -> Result<api::PlanRunTaskResponse, ServiceError> {
        explain::plan_run_task(&self.engine, context, &input).await
    }

    async fn describe_server(
        &self,
        _context: &RequestContext,
        _input: api::DescribeServerRequest,
    ) -> Result<api::DescribeServerResponse, ServiceError> {
        let now = self.engine.seams().clock.now();
        Ok(api::DescribeServerResponse {
            version: Some(self.info.version.clone()),
            data_directory_id: Some(self.info.data_directory_id.clone()),
            region: Some(self.info.region.clone()),
            started_at: Some(self.info.started_at),
            uptime_seconds: i64::try_from(now.since(self.info.started_at).as_secs()).ok(),
        })
    }

    async fn list_reconcilers(
        &self,
        context: &RequestContext,
        _input: api::ListReconcilersRequest,
    ) -> Result<api::ListReconcilersResponse, ServiceError> {
        self.require_operator(context, "see the reconcilers")?;
        Ok(api::ListReconcilersResponse { reconcilers: Some(self.reconcilers.reconcilers()) })
    }

    async fn list_events(
        &self,
        context: &RequestContext,
        input: api::ListEventsRequest,
    ) -> Result<api::ListEventsResponse, ServiceError> {
        event_log::list_events(&self.events, &scope_of(context), &input).await
    }

    async fn interrupt_fargate_tasks(
        &self,
        context: &RequestContext,
        input: api::InterruptFargateTasksRequest,
    ) -> Result<api::InterruptFargateTasksResponse, ServiceError> {
        let what = "interrupt the Fargate tasks of";
        let account = self.account(context, input.account_id.clone(), what)?;
        interrupt_fargate_tasks(&self.engine, &Scope::new(account, &context.region), &input).await
    }

    async fn shutdown(
        &self,
        context: &RequestContext,
        input: api::ShutdownRequest,
    ) -> Result<api::ShutdownResponse, ServiceError> {
        self.require_operator(context, "shut the server down")?;
        let timeout = input.timeout_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let timeout = timeout.map_or(SHUTDOWN_TIMEOUT, Duration::from_secs);
        // A full queue means that a shutdown is under way already.
        let _ = self.shutdown.try_send(ShutdownRequested { timeout });
        Ok(api::ShutdownResponse {})
    }
}
