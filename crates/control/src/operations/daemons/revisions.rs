//! DescribeDaemonRevisions.

use longshore_api::ServiceError;
use longshore_api::ecs::{
    DaemonContainerImage, DaemonRevision, DescribeDaemonRevisionsRequest, DescribeDaemonRevisionsResponse,
};
use longshore_model::Scope;
use longshore_model::daemon::{self, DaemonRecord, DaemonRevisionRecord};
use longshore_wire::RequestContext;

use super::deployments::{all_named, missing};
use super::live_tasks;
use crate::engine::Engine;
use crate::service::scope_of;
use crate::state::{ClusterState, ScopeState};

/// Describes revisions of any daemons.
///
/// # Errors
/// `InvalidParameterException` for none, too many, or what is no ARN of one. One that is not there
/// is among the failures.
pub async fn describe_revisions(
    engine: &Engine,
    context: &RequestContext,
    input: DescribeDaemonRevisionsRequest,
) -> Result<DescribeDaemonRevisionsResponse, ServiceError> {
    let scope = scope_of(context);
    let arns = input.daemon_revision_arns.unwrap_or_default();
    let named = all_named(&scope, "daemon-revision", "daemonRevisionArns", &arns)?;
    Ok(engine
        .read(|state| {
            let records = state.scope(&scope);
            let (mut found, mut failures) = (Vec::new(), Vec::new());
            for (arn, named) in arns.iter().zip(&named) {
                let known = records.active_cluster(named.cluster).and_then(|cluster| {
                    let record = cluster.daemons.get(named.name)?;
                    let revision = record.revision(named.id?)?;
                    Some(view(&scope, records, cluster, record, revision))
                });
                match known {
                    Some(revision) => found.push(revision),
                    None => failures.push(missing(arn)),
                }
            }
            DescribeDaemonRevisionsResponse { daemon_revisions: Some(found), failures: Some(failures) }
        })
        .await)
}

fn view(
    scope: &Scope,
    records: &ScopeState,
    cluster: &ClusterState,
    record: &DaemonRecord,
    revision: &DaemonRevisionRecord,
) -> DaemonRevision {
    let name = &cluster.record.name;
    DaemonRevision {
        daemon_revision_arn: Some(record.revision_arn(scope, name, &revision.id)),
        cluster_arn: Some(scope.cluster_arn(name)),
        daemon_arn: Some(record.arn(scope, name)),
        daemon_task_definition_arn: Some(daemon::task_definition_arn(scope, &revision.family, revision.revision)),
        created_at: Some(revision.created_at),
        container_images: Some(images(records, cluster, record, revision)),
        propagate_tags: Some(revision.propagate_tags.clone()),
        enable_ecs_managed_tags: Some(revision.enable_ecs_managed_tags),
        enable_execute_command: Some(revision.enable_execute_command),
        critical: Some(revision.critical),
    }
}

/// The images of its containers, with the digests that its tasks have run.
fn images(
    records: &ScopeState,
    cluster: &ClusterState,
    record: &DaemonRecord,
    revision: &DaemonRevisionRecord,
) -> Vec<DaemonContainerImage> {
    let family = records.daemon_families.get(&revision.family);
    let Some(definition) = family.and_then(|family| family.revisions.get(&revision.revision)) else {
        return Vec::new();
    };
    let started_by = Some(revision.started_by());
    let digest = |container: Option<&String>| {
        let tasks = live_tasks(cluster, &record.name).filter(|task| task.started_by == started_by);
        let mut containers = tasks.flat_map(|task| &task.containers);
        containers.find_map(|it| it.image_digest.clone().filter(|_| Some(&it.name) == container))
    };
    let containers = definition.definition.container_definitions.iter().flatten();
    containers
        .map(|container| DaemonContainerImage {
            container_name: container.name.clone(),
            image_digest: digest(container.name.as_ref()),
            image: container.image.clone(),
        })
        .collect()
}
