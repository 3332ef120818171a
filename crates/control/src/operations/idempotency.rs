//! Client tokens: the same request with the same token is done once.

use std::sync::Arc;
use std::time::Duration;

use longshore_api::{ServiceError, Value, ecs};
use longshore_model::records::IdempotencyRecord;
use longshore_model::{Id, Scope};
use longshore_seams::Timestamp;

use crate::changes::{Change, Changes};
use crate::state::ScopeState;

/// How long ECS remembers a token.
pub const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Most characters of a token.
const MAX_TOKEN: usize = 64;

/// The client token of a request, if it has one, with the request's hash.
#[derive(Debug)]
pub(crate) struct Token {
    operation: &'static str,
    given: Option<(String, String)>,
}

/// Whether a request was done before.
#[derive(Debug)]
pub(crate) enum Used {
    /// It has no token, or a new one.
    No,
    /// It was, and made these.
    Before(Vec<Id>),
}

impl Token {
    /// The token `given` in `request`.
    ///
    /// # Errors
    /// `InvalidParameterException` for one that is too long or not printable ASCII.
    pub(crate) fn of<R: serde::Serialize>(
        operation: &'static str,
        given: Option<&str>,
        request: &R,
    ) -> Result<Self, ServiceError> {
        let Some(token) = given.filter(|token| !token.is_empty()) else { return Ok(Self { operation, given: None }) };
        if token.len() > MAX_TOKEN || !token.bytes().all(|byte| (33..=126).contains(&byte)) {
            return Err(ecs::error::invalid_parameter_exception(format!(
                "clientToken is not valid: it must have 1 to {MAX_TOKEN} characters in the range of 33 to 126."
            )));
        }
        let text = serde_json::to_vec(request).unwrap_or_default();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text);
        let hash = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { operation, given: Some((token.to_owned(), hash)) })
    }

    /// What the token made before; `arn` names it, by its cluster's id
    /// and its own, for a client that uses the token for another request.
    ///
    /// # Errors
    /// `ConflictException` when it was used with another request.
    pub(crate) fn look_up(
        &self,
        state: &ScopeState,
        now: Timestamp,
        arn: impl Fn(Option<Id>, Id) -> String,
    ) -> Result<Used, ServiceError> {
        let Some((token, hash)) = &self.given else { return Ok(Used::No) };
        let known = state.idempotency.get(&(self.operation.to_owned(), token.clone()));
        match known.filter(|known| known.expires_at > now) {
            None => Ok(Used::No),
            Some(known) if known.request_hash == *hash => Ok(Used::Before(known.made.clone())),
            Some(known) => {
                let made = known.made.iter().map(|id| Value::String(arn(known.cluster, *id))).collect();
                let mut error = ecs::error::conflict_exception(format!(
                    "The {} request could not be processed due to conflicts. The provided clientToken is already in use with a different request.",
                    self.operation
                ));
                error.details.push(("resourceIds", Value::List(made)));
                Err(error)
            }
        }
    }

    /// Remembers what the request made. A request that made nothing may be tried again.
    pub(crate) fn remember(&self, scope: &Scope, cluster: Id, made: Vec<Id>, now: Timestamp, changes: &mut Changes) {
        if !made.is_empty() {
            self.put(scope, Some(cluster), made, now, changes);
        }
    }

    /// Remembers what the request was about, be it nothing, in whatever clusters.
    pub(crate) fn remember_in_any_cluster(&self, scope: &Scope, made: Vec<Id>, now: Timestamp, changes: &mut Changes) {
        self.put(scope, None, made, now, changes);
    }

    fn put(&self, scope: &Scope, cluster: Option<Id>, made: Vec<Id>, now: Timestamp, changes: &mut Changes) {
        let Some((token, hash)) = &self.given else { return };
        let record = IdempotencyRecord {
            operation: self.operation.to_owned(),
            token: token.clone(),
            request_hash: hash.clone(),
            made,
            cluster,
            expires_at: now.plus(TOKEN_LIFE),
        };
        changes.push(Change::PutIdempotency(scope.clone(), Arc::new(record)));
    }
}
