//! ListDaemonTaskDefinitions.

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    DaemonTaskDefinitionRevisionFilter, DaemonTaskDefinitionStatus, DaemonTaskDefinitionStatusFilter,
    DaemonTaskDefinitionSummary, ListDaemonTaskDefinitionsRequest, ListDaemonTaskDefinitionsResponse, SortOrder, error,
};
use longshore_model::records::TaskDefinitionRecord;
use longshore_model::{Scope, daemon};
use longshore_wire::RequestContext;

use crate::engine::Engine;
use crate::pagination::PageRequest;
use crate::service::scope_of;
use crate::state::ScopeState;

/// Most items in one page.
const MOST: usize = 100;

/// Lists revisions with one status (ACTIVE unless asked otherwise), by family and revision.
///
/// # Errors
/// `InvalidParameterException` for a page size out of range, a foreign token, or both `family` and `familyPrefix`.
pub async fn list(
    engine: &Engine,
    context: &RequestContext,
    input: ListDaemonTaskDefinitionsRequest,
) -> Result<ListDaemonTaskDefinitionsResponse, ServiceError> {
    let max_results = input.max_results.map(i64::from);
    let page = PageRequest::parse("ListDaemonTaskDefinitions", max_results, input.next_token.as_deref(), MOST)?;
    let after = page.after.as_deref().map(position).transpose()?;
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (family, prefix) = (given(&input.family), given(&input.family_prefix));
    if family.is_some() && prefix.is_some() {
        let message = "Both family and familyPrefix were given: give one of them.";
        return Err(error::invalid_parameter_exception(message));
    }
    let descending = input.sort == Some(SortOrder::Desc);
    let scope = scope_of(context);
    let (summaries, next_token) = engine
        .read(|state| {
            let mut found = matching(state.scope(&scope), &input, family.as_deref(), prefix.as_deref());
            if descending {
                found.reverse();
            }
            let beyond = |record: &&Arc<TaskDefinitionRecord>| {
                let place = (record.family.as_str(), record.revision);
                after.as_ref().is_none_or(|(family, revision)| {
                    let last = (family.as_str(), *revision);
                    if descending { place < last } else { place > last }
                })
            };
            let rest = found.into_iter().filter(beyond);
            page.take(rest.map(|it| (format!("{}:{}", it.family, it.revision), summary(&scope, it))))
        })
        .await;
    Ok(ListDaemonTaskDefinitionsResponse { daemon_task_definitions: Some(summaries), next_token })
}

/// The family and revision that a page ended with.
fn position(token: &str) -> Result<(String, u32), ServiceError> {
    let position =
        token.rsplit_once(':').and_then(|(family, revision)| Some((family.to_owned(), revision.parse().ok()?)));
    position.ok_or_else(|| {
        error::invalid_parameter_exception("Invalid token: nextToken is none that ListDaemonTaskDefinitions has given.")
    })
}

/// What passes the filters, by family and revision.
fn matching<'a>(
    state: &'a ScopeState,
    input: &ListDaemonTaskDefinitionsRequest,
    family: Option<&str>,
    prefix: Option<&str>,
) -> Vec<&'a Arc<TaskDefinitionRecord>> {
    let wanted = match &input.status {
        Some(DaemonTaskDefinitionStatusFilter::All) => None,
        Some(DaemonTaskDefinitionStatusFilter::DeleteInProgress) => Some(DaemonTaskDefinitionStatus::DeleteInProgress),
        _ => Some(DaemonTaskDefinitionStatus::Active),
    };
    let last_only = input.revision == Some(DaemonTaskDefinitionRevisionFilter::LastRegistered);
    let families = state.daemon_families.iter().filter(|(name, _)| {
        family.is_none_or(|family| *name == family) && prefix.is_none_or(|prefix| name.starts_with(prefix))
    });
    let revisions = families.flat_map(|(_, family)| {
        let last = family.record.last_revision;
        family.revisions.values().filter(move |record| !last_only || record.revision == last)
    });
    revisions.filter(|record| wanted.as_ref().is_none_or(|status| daemon::status(record) == *status)).collect()
}

fn summary(scope: &Scope, record: &TaskDefinitionRecord) -> DaemonTaskDefinitionSummary {
    DaemonTaskDefinitionSummary {
        arn: Some(daemon::task_definition_arn(scope, &record.family, record.revision)),
        registered_at: Some(record.registered_at),
        registered_by: Some(record.registered_by.clone()),
        delete_requested_at: record.delete_requested_at,
        status: Some(daemon::status(record)),
    }
}
