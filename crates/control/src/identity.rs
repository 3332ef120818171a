//! STS, as far as tools ask it who they are, and for keys that end.

use std::time::Duration;

use longshore_api::{Operation, ServiceError, ServiceModel, Value, sts};
use longshore_seams::BoxFuture;
use longshore_wire::{Output, Principal, RequestContext, Service};

use crate::accounts::{Accounts, SESSION_LIFE, sha256_hex};

/// The STS API: GetCallerIdentity and GetSessionToken.
#[derive(Clone, Debug)]
pub struct StsService(
    /// Whose keys they are.
    pub Accounts,
);

fn denied(message: &str) -> ServiceError {
    ServiceError::client("AccessDenied", message).with_status(403)
}

/// The id of a role, always the same for its account and name: there are no roles yet that could have one.
fn role_id(account: &str, role: &str) -> String {
    let hex = sha256_hex(&format!("{account}/{role}"));
    format!("AROA{}", hex[..17].to_ascii_uppercase())
}

impl Service for StsService {
    fn model(&self) -> &'static ServiceModel {
        &sts::MODEL
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
        Box::pin(sts::dispatch(self, context, operation.name, input))
    }
}

impl sts::Sts for StsService {
    type Context = RequestContext;

    async fn get_caller_identity(
        &self,
        context: &RequestContext,
        _input: sts::GetCallerIdentityRequest,
    ) -> Result<sts::GetCallerIdentityResponse, ServiceError> {
        let user_id = match &context.principal {
            Principal::Root { account } => account.clone(),
            Principal::ContainerInstance { grant, .. } => format!("{}:{grant}", context.access_key_id),
            Principal::AssumedRole { account, role, session } => format!("{}:{session}", role_id(account, role)),
            Principal::Anonymous => String::new(),
        };
        Ok(sts::GetCallerIdentityResponse {
            user_id: Some(user_id),
            account: Some(context.account.clone()),
            arn: Some(context.principal.arn()),
        })
    }

    /// Keys of the account's root that end. As with AWS, they cannot make others.
    async fn get_session_token(
        &self,
        context: &RequestContext,
        input: sts::GetSessionTokenRequest,
    ) -> Result<sts::GetSessionTokenResponse, ServiceError> {
        let Principal::Root { account } = &context.principal else {
            return Err(denied("Only an account's own keys can call GetSessionToken, an agent's cannot."));
        };
        if self.0.is_session(&context.access_key_id) {
            return Err(denied("Cannot call GetSessionToken with session credentials"));
        }
        if input.serial_number.is_some() || input.token_code.is_some() {
            return Err(denied(
                "MultiFactorAuthentication failed: accounts have no MFA devices here. Leave SerialNumber and TokenCode out.",
            ));
        }
        let life = input.duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
        let key = self.0.create_session(account, life.unwrap_or(SESSION_LIFE.1)).await?;
        let credentials = sts::Credentials {
            access_key_id: Some(key.id),
            secret_access_key: Some(key.secret),
            session_token: key.session_token,
            expiration: key.expires_at,
        };
        Ok(sts::GetSessionTokenResponse { credentials: Some(credentials), ..sts::GetSessionTokenResponse::default() })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use longshore_seams::Timestamp;
    use longshore_wire::CredentialStore;
    use sts::Sts;

    use super::*;
    use crate::accounts::root_keys;
    use crate::keyring::Keyring;
    use crate::operations::testing::World;

    const ACCOUNT: &str = "123456789012";

    struct Setting {
        world: World,
        accounts: Accounts,
        root_key: String,
    }

    async fn setting() -> Setting {
        let world = World::new().await;
        let keyring = Keyring::generate(&*world.engine().seams().random);
        let accounts = Accounts::new(world.engine().clone(), Arc::new(keyring));
        let (_, key) = accounts.create_account(Some(ACCOUNT.to_owned()), "mine").await.unwrap();
        Setting { world, accounts, root_key: key.id }
    }

    impl Setting {
        fn now(&self) -> Timestamp {
            self.world.engine().seams().clock.now()
        }

        async fn call(&self, key: &str, input: sts::GetSessionTokenRequest) -> Result<sts::Credentials, ServiceError> {
            let context = RequestContext {
                request_id: String::new(),
                principal: self.accounts.credential(key, None).unwrap().principal,
                access_key_id: key.to_owned(),
                account: ACCOUNT.to_owned(),
                region: "us-east-1".to_owned(),
                source_ip: std::net::Ipv4Addr::LOCALHOST.into(),
                user_agent: String::new(),
                base_url: String::new(),
                received_at: self.now(),
            };
            let answer = StsService(self.accounts.clone()).get_session_token(&context, input).await?;
            Ok(answer.credentials.unwrap())
        }

        async fn session(&self, seconds: Option<i32>) -> sts::Credentials {
            let input = sts::GetSessionTokenRequest { duration_seconds: seconds, ..Default::default() };
            self.call(&self.root_key, input).await.unwrap()
        }
    }

    #[tokio::test]
    async fn a_session_is_the_roots_for_an_hour_at_most() {
        let setting = setting().await;
        for (seconds, life) in [(None, 3600), (Some(900), 900), (Some(129_600), 3600)] {
            let session = setting.session(seconds).await;
            assert_eq!(session.expiration, Some(setting.now().plus(Duration::from_secs(life))), "{seconds:?}");
            let known = setting.accounts.credential(session.access_key_id.as_deref().unwrap(), None).unwrap();
            assert_eq!(known.principal, Principal::Root { account: ACCOUNT.to_owned() });
            assert_eq!((Some(known.secret), known.session_token), (session.secret_access_key, session.session_token));
            assert_eq!(known.expires_at, session.expiration);
        }
    }

    #[tokio::test]
    async fn session_credentials_make_no_others() {
        let setting = setting().await;
        let session = setting.session(None).await.access_key_id.unwrap();
        assert!(session.starts_with("ASIA"), "{session}");
        let refused = setting.call(&session, sts::GetSessionTokenRequest::default()).await.unwrap_err();
        assert_eq!((refused.code, refused.status), ("AccessDenied", 403));
        assert_eq!(refused.message, "Cannot call GetSessionToken with session credentials");
        let code = sts::GetSessionTokenRequest { token_code: Some("123456".to_owned()), ..Default::default() };
        let refused = setting.call(&setting.root_key, code).await.unwrap_err();
        assert!(refused.message.starts_with("MultiFactorAuthentication failed"), "{}", refused.message);
    }

    #[tokio::test]
    async fn sessions_are_no_keys_that_last_and_are_forgotten_when_they_have_ended() {
        let setting = setting().await;
        let session = setting.session(Some(900)).await.access_key_id.unwrap();
        let lasting: Vec<String> =
            setting.world.engine().read(|state| root_keys(state, ACCOUNT).map(|key| key.id.clone()).collect()).await;
        assert_eq!(lasting, std::slice::from_ref(&setting.root_key));
        assert_eq!(setting.accounts.delete_key(ACCOUNT, &session).await.unwrap_err().code, "ResourceNotFoundException");
        setting.world.clock.advance(Duration::from_secs(900));
        setting.session(None).await;
        assert!(setting.accounts.credential(&session, None).is_none());
    }
}
