//! DescribeCapacityProviders.

use longshore_api::ServiceError;
use longshore_api::ecs::{
    CapacityProvider, CapacityProviderField, DescribeCapacityProvidersRequest, DescribeCapacityProvidersResponse,
    Failure, error,
};
use longshore_model::Scope;
use longshore_model::capacity_provider::{self, BUILT_IN};
use longshore_wire::RequestContext;

use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::pagination::PageRequest;
use crate::service::scope_of;
use crate::state::ScopeState;

/// Most capacity providers in one page, and in one call.
const MOST: usize = 10;
/// Most named in one call.
const MOST_NAMED: usize = 100;

/// What a call asks for.
struct Wishes<'a> {
    scope: &'a Scope,
    with_tags: bool,
    /// The providers of the cluster that was given; all when none was.
    of_cluster: Option<&'a [String]>,
}

impl Wishes<'_> {
    fn takes(&self, name: &str) -> bool {
        self.of_cluster.is_none_or(|names| names.iter().any(|known| known == name))
    }

    fn named(&self, state: &ScopeState, named: &str) -> Result<CapacityProvider, Failure> {
        let name = capacity_provider::name_of(self.scope, named);
        let known = name.filter(|name| self.takes(name)).and_then(|name| {
            let built_in = BUILT_IN.into_iter().find(|built_in| *built_in == name);
            let built_in = built_in.map(|name| capacity_provider::built_in(self.scope, name));
            built_in.or_else(|| Some(state.capacity_providers.get(name)?.view(self.scope, self.with_tags)))
        });
        known.ok_or_else(|| {
            let arn = name.map_or_else(|| named.to_owned(), |name| capacity_provider::arn(self.scope, name));
            Failure { arn: Some(arn), reason: Some("MISSING".to_owned()), detail: None }
        })
    }

    /// Everything that can be used, by name, after `after`.
    fn usable(&self, state: &ScopeState, after: Option<&str>) -> impl Iterator<Item = (String, CapacityProvider)> {
        let built_in =
            BUILT_IN.into_iter().map(|name| (name.to_owned(), capacity_provider::built_in(self.scope, name)));
        let made = state.capacity_providers.values().filter(|known| known.is_active());
        let made = made.map(|known| (known.name.clone(), known.view(self.scope, self.with_tags)));
        let mut all: Vec<_> = made.chain(built_in).collect();
        all.retain(|(name, _)| self.takes(name) && after.is_none_or(|after| name.as_str() > after));
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all.into_iter()
    }
}

/// Describes the named providers, or page by page all that can be used, the built-in ones included; of one cluster
/// only those that it has.
///
/// # Errors
/// `InvalidParameterException` for too many names, a page size out of range or a foreign token;
/// `ClusterNotFoundException`.
pub async fn describe(
    engine: &Engine,
    context: &RequestContext,
    input: DescribeCapacityProvidersRequest,
) -> Result<DescribeCapacityProvidersResponse, ServiceError> {
    let scope = scope_of(context);
    let with_tags = input.include.iter().flatten().any(|field| *field == CapacityProviderField::Tags);
    let list = "DescribeCapacityProviders";
    let page = PageRequest::parse(list, input.max_results.map(i64::from), input.next_token.as_deref(), MOST)?;
    let named = input.capacity_providers.unwrap_or_default();
    if named.len() > MOST_NAMED {
        let message = format!("{} capacity providers were named: at most {MOST_NAMED} can be.", named.len());
        return Err(error::invalid_parameter_exception(message));
    }
    let answer = engine.read(|state| {
        let state = state.scope(&scope);
        let cluster = input.cluster.as_deref().map(|named| resolve_cluster(state, &scope, Some(named))).transpose()?;
        let of_cluster = cluster.map(|cluster| &cluster.record.capacity_providers[..]);
        let wishes = Wishes { scope: &scope, with_tags, of_cluster };
        if named.is_empty() {
            let (providers, next_token) = page.take(wishes.usable(state, page.after.as_deref()));
            return Ok((providers, Vec::new(), next_token));
        }
        let (mut providers, mut failures) = (Vec::new(), Vec::new());
        for named in &named {
            match wishes.named(state, named) {
                Ok(provider) => providers.push(provider),
                Err(failure) => failures.push(failure),
            }
        }
        Ok::<_, ServiceError>((providers, failures, None))
    });
    let (providers, failures, next_token) = answer.await?;
    Ok(DescribeCapacityProvidersResponse { capacity_providers: Some(providers), failures: Some(failures), next_token })
}
