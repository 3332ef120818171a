//! The ECS service: one line an operation, each handing over to the file of its resource.

use longshore_api::{Operation, ServiceError, ServiceModel, Value, ecs};
use longshore_model::Scope;
use longshore_seams::BoxFuture;
use longshore_wire::{Output, RequestContext, Service};

use crate::engine::Engine;

/// The ECS API (2014-11-13) over an [`Engine`].
#[derive(Clone, Debug)]
pub struct EcsService {
    /// The working set.
    pub engine: Engine,
}

impl EcsService {
    /// The service over `engine`.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

/// Account and region of a request.
#[must_use]
pub fn scope_of(context: &RequestContext) -> Scope {
    Scope::new(&context.account, &context.region)
}
