//! How requests name what lives in a cluster, and ECS's words for names that cannot be right.

use longshore_api::{ServiceError, ecs};
use longshore_model::arn::InCluster;
use longshore_model::{Id, Scope};

use crate::state::ClusterState;

/// Lengths of an id: 32 digits, or the 36 characters of a UUID.
const ID_LENGTHS: [usize; 2] = [32, 36];

/// The text of a filter; clients send an empty one for what they leave out.
pub(crate) fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn invalid(message: String) -> ServiceError {
    ecs::error::invalid_parameter_exception(message)
}

/// The id or name in `named` (itself, or a short or long ARN of a `kind`), which belongs to `cluster`.
///
/// # Errors
/// `InvalidParameterException` for an ARN of something else or of another cluster.
pub(crate) fn name_in<'a>(
    kind: &str,
    cluster: &ClusterState,
    scope: &Scope,
    named: &'a str,
) -> Result<&'a str, ServiceError> {
    let own = &cluster.record.name;
    match scope.in_cluster(kind, named) {
        InCluster::Bare(name) => Ok(name),
        InCluster::Qualified(of, name) if of == own => Ok(name),
        InCluster::Qualified(of, _) => {
            Err(invalid(format!("Invalid identifier: Identifier is for cluster {of}. Your cluster is {own}")))
        }
        InCluster::Foreign => {
            let kind = kind.replace('-', " ");
            Err(invalid(format!("Invalid identifier: {named} is not a {kind} of this account and region.")))
        }
    }
}

/// The id in `named`; `None` when nothing can have it, though its length is right. `member` is ECS's name for it.
///
/// # Errors
/// As [`name_in`], and for a text that is no id by its length.
pub(crate) fn id_in(
    kind: &str,
    member: &str,
    cluster: &ClusterState,
    scope: &Scope,
    named: &str,
) -> Result<Option<Id>, ServiceError> {
    let id = name_in(kind, cluster, scope, named)?;
    if !ID_LENGTHS.contains(&id.chars().count()) {
        let [digits, uuid] = ID_LENGTHS;
        return Err(invalid(format!("{member} length should be one of [{digits},{uuid}]")));
    }
    Ok(id.parse().ok())
}
