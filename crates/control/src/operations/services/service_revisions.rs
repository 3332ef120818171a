//! DescribeServiceRevisions.

use longshore_api::ServiceError;
use longshore_api::ecs::{
    DescribeServiceRevisionsRequest, DescribeServiceRevisionsResponse, Failure, ServiceRevision, error,
};
use longshore_model::Scope;
use longshore_model::service::ServiceRevisionRecord;
use longshore_wire::RequestContext;

use super::service_deployments::check_arns;
use crate::engine::Engine;
use crate::service::scope_of;

/// Describes service revisions, which outlive the deployments that they were made for.
///
/// # Errors
/// `InvalidParameterException` for too many ARNs or one of something else.
pub async fn describe_service_revisions(
    engine: &Engine,
    context: &RequestContext,
    input: DescribeServiceRevisionsRequest,
) -> Result<DescribeServiceRevisionsResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.service_revision_arns.unwrap_or_default();
    check_arns("serviceRevisionArns", &named)?;
    engine
        .read(|state| {
            let (mut service_revisions, mut failures) = (Vec::new(), Vec::new());
            for arn in &named {
                let (cluster, service, number) = scope.in_service("service-revision", arn).ok_or_else(|| {
                    error::invalid_parameter_exception(format!(
                        "Invalid identifier: {arn} is not a service revision of this account and region."
                    ))
                })?;
                let found = state.scope(&scope).cluster_named(cluster);
                let history = found.and_then(|cluster| cluster.service_history.get(service));
                match history.and_then(|history| history.revisions.get(number)) {
                    Some(record) => service_revisions.push(view(&scope, cluster, record)),
                    None => failures.push(Failure {
                        arn: Some(arn.clone()),
                        reason: Some("MISSING".to_owned()),
                        detail: None,
                    }),
                }
            }
            Ok(DescribeServiceRevisionsResponse {
                service_revisions: Some(service_revisions),
                failures: Some(failures),
            })
        })
        .await
}

fn view(scope: &Scope, cluster: &str, record: &ServiceRevisionRecord) -> ServiceRevision {
    ServiceRevision {
        service_revision_arn: Some(scope.service_revision_arn(cluster, &record.service, &record.number)),
        service_arn: Some(scope.service_arn(cluster, &record.service)),
        cluster_arn: Some(scope.cluster_arn(cluster)),
        task_definition: Some(scope.task_definition_arn(&record.family, record.revision)),
        created_at: Some(record.created_at),
        ..record.settings.clone()
    }
}
