//! STS, as far as tools ask it who they are.

use longshore_api::{Operation, ServiceError, ServiceModel, Value, sts};
use longshore_seams::BoxFuture;
use longshore_wire::{Output, Principal, RequestContext, Service};

/// The STS API: GetCallerIdentity.
#[derive(Clone, Copy, Debug, Default)]
pub struct StsService;

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
            Principal::Anonymous => String::new(),
        };
        Ok(sts::GetCallerIdentityResponse {
            user_id: Some(user_id),
            account: Some(context.account.clone()),
            arn: Some(context.principal.arn()),
        })
    }
}
