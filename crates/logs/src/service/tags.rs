//! Tags of log groups.

use std::collections::BTreeMap;

use longshore_api::ServiceError;
use longshore_api::logs::error;

use super::{group_of_identifier, required};
use crate::store::LogError;
use crate::{LogStore, Scope};

/// How an operation says that there are too many tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OverLimit {
    Invalid,
    TooManyTags,
}

/// The group that an ARN names.
pub(super) fn group_of_arn(scope: &Scope, arn: Option<String>) -> Result<String, ServiceError> {
    let arn = required(arn, "resourceArn")?;
    let group = group_of_identifier(scope, &arn).filter(|_| arn.starts_with("arn:")).map(str::to_owned);
    group.ok_or_else(|| {
        error::invalid_parameter_exception(format!(
            "resourceArn '{arn}' is not the ARN of a log group in account {} and region {}.",
            scope.account, scope.region
        ))
    })
}

pub(super) async fn add(
    store: &LogStore,
    scope: &Scope,
    group: &str,
    tags: BTreeMap<String, String>,
    over_limit: OverLimit,
) -> Result<(), ServiceError> {
    match store.tag_group(scope, group, tags).await {
        Err(error @ LogError::TooManyTags { .. }) if over_limit == OverLimit::Invalid => {
            Err(error::invalid_parameter_exception(error.to_string()))
        }
        other => Ok(other?),
    }
}
