//! DescribeDaemon and ListDaemons.

use std::ops::Bound;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    DaemonCapacityProvider, DaemonDetail, DaemonRevisionDetail, DaemonSummary, DescribeDaemonRequest,
    DescribeDaemonResponse, ListDaemonsRequest, ListDaemonsResponse,
};
use longshore_model::daemon::DaemonRecord;
use longshore_model::records::TaskStatus;
use longshore_model::{Id, Scope, capacity_provider};
use longshore_wire::RequestContext;

use super::{api_status, current_deployment_arn, invalid, live_revisions, live_tasks, number, resolve};
use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::operations::tasks::capacity::candidates;
use crate::pagination::PageRequest;
use crate::service::scope_of;
use crate::state::ClusterState;

/// Most daemons of one page.
const MOST: usize = 100;

/// Describes a daemon with the revisions that run.
///
/// # Errors
/// `ClusterNotFoundException`, `DaemonNotFoundException`, `InvalidParameterException`.
pub async fn describe(
    engine: &Engine,
    context: &RequestContext,
    input: DescribeDaemonRequest,
) -> Result<DescribeDaemonResponse, ServiceError> {
    let scope = scope_of(context);
    let arn = input.daemon_arn.unwrap_or_default();
    engine
        .read(|state| {
            let (cluster, record) = resolve(state.scope(&scope), &scope, &arn)?;
            let daemon = DaemonDetail {
                daemon_arn: Some(arn.clone()),
                cluster_arn: Some(scope.cluster_arn(&cluster.record.name)),
                status: api_status(record),
                current_revisions: Some(revisions(&scope, cluster, record)),
                deployment_arn: current_deployment_arn(&scope, cluster, record),
                created_at: Some(record.created_at),
                updated_at: Some(record.updated_at),
            };
            Ok(DescribeDaemonResponse { daemon: Some(daemon) })
        })
        .await
}

/// The revision that is wanted, then the others that run.
fn revisions(scope: &Scope, cluster: &ClusterState, record: &DaemonRecord) -> Vec<DaemonRevisionDetail> {
    let Some(target) = record.current().map(|it| it.target()) else { return Vec::new() };
    let live = live_revisions(cluster, record);
    let others = live.iter().filter(|id| **id != target.revision);
    let running = |revision: &str| -> Vec<Option<Id>> {
        let started_by = record.revision(revision).map(|it| it.started_by());
        let tasks = live_tasks(cluster, &record.name).filter(|task| task.last_status == TaskStatus::Running);
        tasks.filter(|task| task.started_by == started_by).map(|task| task.container_instance).collect()
    };
    let all = std::iter::once(&target.revision).chain(others).map(|id| {
        let running = running(id);
        let count = |provider: &str| {
            let instances: Vec<Id> = candidates(cluster, Some(provider)).iter().map(|it| it.record.id).collect();
            let with = instances.iter().filter(|id| running.contains(&Some(**id))).count();
            // An instance is without the daemon as long as it has not the one that is wanted.
            let without = if *id == target.revision { instances.len() - with } else { 0 };
            (with, without)
        };
        let counts: Vec<_> = target.capacity_providers.iter().map(|name| (name, count(name))).collect();
        DaemonRevisionDetail {
            arn: Some(record.revision_arn(scope, &cluster.record.name, id)),
            total_running_count: number(running.len()),
            total_without_daemon_count: number(counts.iter().map(|(_, (_, without))| without).sum()),
            capacity_providers: Some(
                counts
                    .into_iter()
                    .map(|(name, (with, without))| DaemonCapacityProvider {
                        arn: Some(capacity_provider::arn(scope, name)),
                        running_count: number(with),
                        without_daemon_count: number(without),
                    })
                    .collect(),
            ),
        }
    });
    all.collect()
}

/// Lists the daemons of a cluster that are on any of the given capacity providers, by name.
///
/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`.
pub async fn list(
    engine: &Engine,
    context: &RequestContext,
    input: ListDaemonsRequest,
) -> Result<ListDaemonsResponse, ServiceError> {
    let scope = scope_of(context);
    let max_results = input.max_results.map(i64::from);
    let page = PageRequest::parse("ListDaemons", max_results, input.next_token.as_deref(), MOST)?;
    let mut providers = Vec::new();
    for named in input.capacity_provider_arns.iter().flatten() {
        let name = capacity_provider::name_of(&scope, named);
        providers.push(name.ok_or_else(|| {
            invalid(format!("Invalid identifier: {named} is no capacity provider of this account and region."))
        })?);
    }
    engine
        .read(|state| {
            let cluster = resolve_cluster(state.scope(&scope), &scope, input.cluster_arn.as_deref())?;
            let start = page.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let rest = cluster.daemons.range::<str, _>((start, Bound::Unbounded));
            let matching = rest
                .filter(|(_, record)| providers.is_empty() || providers.iter().any(|provider| record.is_on(provider)))
                .map(|(name, record)| (name.clone(), summary(&scope, cluster, record)));
            let (daemons, next_token) = page.take(matching);
            Ok(ListDaemonsResponse { daemon_summaries_list: Some(daemons), next_token })
        })
        .await
}

fn summary(scope: &Scope, cluster: &ClusterState, record: &DaemonRecord) -> DaemonSummary {
    DaemonSummary {
        daemon_arn: Some(record.arn(scope, &cluster.record.name)),
        status: api_status(record),
        created_at: Some(record.created_at),
        updated_at: Some(record.updated_at),
    }
}
