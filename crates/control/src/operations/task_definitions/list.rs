//! ListTaskDefinitions and ListTaskDefinitionFamilies.

use std::ops::Bound;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    self, ListTaskDefinitionFamiliesRequest, ListTaskDefinitionFamiliesResponse, ListTaskDefinitionsRequest,
    ListTaskDefinitionsResponse, SortOrder, TaskDefinitionFamilyStatus, error,
};
use longshore_model::records::TaskDefinitionStatus;
use longshore_wire::RequestContext;

use crate::engine::Engine;
use crate::pagination::PageRequest;
use crate::service::scope_of;
use crate::state::{FamilyState, ScopeState};

/// Most items in one page.
const MOST: usize = 100;

/// Lists ARNs of revisions with one status (ACTIVE unless asked otherwise), by family and revision;
/// `familyPrefix` is the whole name of a family.
///
/// # Errors
/// `InvalidParameterException` for a page size out of range or a foreign token.
pub async fn list(
    engine: &Engine,
    context: &RequestContext,
    input: ListTaskDefinitionsRequest,
) -> Result<ListTaskDefinitionsResponse, ServiceError> {
    let max_results = input.max_results.map(i64::from);
    let page = PageRequest::parse("ListTaskDefinitions", max_results, input.next_token.as_deref(), MOST)?;
    let after = page.after.as_deref().map(position).transpose()?;
    let status = match input.status {
        Some(ecs::TaskDefinitionStatus::Inactive) => TaskDefinitionStatus::Inactive,
        Some(ecs::TaskDefinitionStatus::DeleteInProgress) => TaskDefinitionStatus::DeleteInProgress,
        _ => TaskDefinitionStatus::Active,
    };
    let selection = Selection { family: input.family_prefix.filter(|family| !family.is_empty()), status, after };
    let descending = input.sort == Some(SortOrder::Desc);
    let scope = scope_of(context);
    let (arns, next_token) = engine
        .read(|state| {
            let state = state.scope(&scope);
            let item = |(family, revision): (&str, u32)| {
                (format!("{family}:{revision}"), scope.task_definition_arn(family, revision))
            };
            if descending {
                page.take(selection.descending(state).map(item))
            } else {
                page.take(selection.ascending(state).map(item))
            }
        })
        .await;
    Ok(ListTaskDefinitionsResponse { task_definition_arns: Some(arns), next_token })
}

/// The family and revision that a page ended with.
fn position(token: &str) -> Result<(String, u32), ServiceError> {
    let position =
        token.rsplit_once(':').and_then(|(family, revision)| Some((family.to_owned(), revision.parse().ok()?)));
    position.ok_or_else(|| {
        error::invalid_parameter_exception("Invalid token: nextToken is none that ListTaskDefinitions has given.")
    })
}

struct Selection {
    family: Option<String>,
    status: TaskDefinitionStatus,
    after: Option<(String, u32)>,
}

impl Selection {
    /// The families between `after`'s, inclusive, and the end that is listed last.
    fn families<'a>(
        &'a self,
        state: &'a ScopeState,
        descending: bool,
    ) -> impl DoubleEndedIterator<Item = (&'a String, &'a FamilyState)> {
        let from = self.after.as_ref().map_or(Bound::Unbounded, |(family, _)| Bound::Included(family.as_str()));
        let bounds = match &self.family {
            Some(family) => (Bound::Included(family.as_str()), Bound::Included(family.as_str())),
            None if descending => (Bound::Unbounded, from),
            None => (from, Bound::Unbounded),
        };
        state.families.range::<str, _>(bounds)
    }

    /// The revision of `family` that the page before ended with.
    fn last_of(&self, family: &str) -> Option<u32> {
        self.after.as_ref().filter(|(last, _)| last == family).map(|(_, revision)| *revision)
    }

    fn ascending<'a>(&'a self, state: &'a ScopeState) -> impl Iterator<Item = (&'a str, u32)> {
        self.families(state, false).flat_map(|(name, family)| {
            let start = self.last_of(name).map_or(Bound::Unbounded, Bound::Excluded);
            let revisions = family.with_status(self.status).range((start, Bound::Unbounded));
            revisions.map(|revision| (name.as_str(), *revision))
        })
    }

    fn descending<'a>(&'a self, state: &'a ScopeState) -> impl Iterator<Item = (&'a str, u32)> {
        self.families(state, true).rev().flat_map(|(name, family)| {
            let end = self.last_of(name).map_or(Bound::Unbounded, Bound::Excluded);
            let revisions = family.with_status(self.status).range((Bound::Unbounded, end)).rev();
            revisions.map(|revision| (name.as_str(), *revision))
        })
    }
}

/// Lists names of families that begin with `familyPrefix`: those with an ACTIVE revision, those
/// with none, or both (which is the default).
///
/// # Errors
/// `InvalidParameterException` for a page size out of range or a foreign token.
pub async fn list_families(
    engine: &Engine,
    context: &RequestContext,
    input: ListTaskDefinitionFamiliesRequest,
) -> Result<ListTaskDefinitionFamiliesResponse, ServiceError> {
    let max_results = input.max_results.map(i64::from);
    let page = PageRequest::parse("ListTaskDefinitionFamilies", max_results, input.next_token.as_deref(), MOST)?;
    let prefix = input.family_prefix.unwrap_or_default();
    let wanted = |family: &FamilyState| {
        let active = !family.with_status(TaskDefinitionStatus::Active).is_empty();
        match input.status {
            Some(TaskDefinitionFamilyStatus::Active) => active,
            Some(TaskDefinitionFamilyStatus::Inactive) => !active && !family.revisions.is_empty(),
            _ => !family.revisions.is_empty(),
        }
    };
    let scope = scope_of(context);
    let (families, next_token) = engine
        .read(|state| {
            let start = match page.after.as_deref() {
                Some(after) if after >= prefix.as_str() => Bound::Excluded(after),
                _ => Bound::Included(prefix.as_str()),
            };
            let families = state.scope(&scope).families.range::<str, _>((start, Bound::Unbounded));
            let named = families
                .take_while(|(name, _)| name.starts_with(&prefix))
                .filter(|(_, family)| wanted(family))
                .map(|(name, _)| (name.clone(), name.clone()));
            page.take(named)
        })
        .await;
    Ok(ListTaskDefinitionFamiliesResponse { families: Some(families), next_token })
}
