//! Operations on log groups.

use longshore_api::ServiceError;
use longshore_api::logs::{self, LogGroupClass, error};

use super::{group_of_identifier, page_size, required, token};
use crate::{LogStore, Scope};

/// Groups in a page when the caller names no number.
const DEFAULT_PAGE: usize = 50;

pub(super) async fn create(
    store: &LogStore,
    scope: &Scope,
    input: logs::CreateLogGroupRequest,
) -> Result<(), ServiceError> {
    let name = required(input.log_group_name, "logGroupName")?;
    let refuse = |member: &str, why: &str| Err(error::invalid_parameter_exception(format!("{member}: {why}")));
    if input.kms_key_id.is_some() {
        return refuse("kmsKeyId", "log groups encrypted with a KMS key are not supported; leave it out.");
    }
    if input.deletion_protection_enabled == Some(true) {
        return refuse("deletionProtectionEnabled", "deletion protection is not supported; leave it out.");
    }
    match input.log_group_class {
        None | Some(LogGroupClass::Standard) => {}
        Some(other) => {
            return refuse("logGroupClass", &format!("{} is not supported; the class is STANDARD.", other.as_str()));
        }
    }
    Ok(store.create_group(scope, &name, input.tags.unwrap_or_default()).await?)
}

pub(super) async fn describe(
    store: &LogStore,
    scope: &Scope,
    input: logs::DescribeLogGroupsRequest,
) -> Result<logs::DescribeLogGroupsResponse, ServiceError> {
    if input.log_group_name_prefix.is_some() && input.log_group_name_pattern.is_some() {
        return Err(error::invalid_parameter_exception(
            "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
        ));
    }
    let other_accounts = input.account_identifiers.unwrap_or_default();
    if let Some(other) = other_accounts.iter().find(|account| **account != scope.account) {
        return Err(error::invalid_parameter_exception(format!(
            "accountIdentifiers: account {other} is not linked to account {}.",
            scope.account
        )));
    }
    let identifiers = input.log_group_identifiers;
    let pattern = input.log_group_name_pattern;
    let class = input.log_group_class;
    let wanted = |name: &str| {
        input.log_group_name_prefix.as_ref().is_none_or(|prefix| name.starts_with(prefix))
            && pattern.as_ref().is_none_or(|pattern| name.contains(pattern))
            && class.as_ref().is_none_or(|class| *class == LogGroupClass::Standard)
            && identifiers.as_ref().is_none_or(|identifiers| {
                identifiers.iter().any(|identifier| group_of_identifier(scope, identifier) == Some(name))
            })
    };
    let limit = page_size(input.limit, DEFAULT_PAGE);
    let mut groups = store.groups(scope, input.next_token.as_deref().map(token::parse_group).transpose()?);
    groups.retain(|(name, _)| wanted(name));
    let more = groups.len() > limit;
    groups.truncate(limit);
    let next_token = groups.last().filter(|_| more).map(|(name, _)| token::group(name));
    let mut described = Vec::new();
    for (name, record) in groups {
        // One that was deleted meanwhile is not there any more.
        let Ok(bytes) = store.stored_bytes(scope, &name).await else { continue };
        let arn = scope.group_arn(&name);
        described.push(logs::LogGroup {
            log_group_name: Some(name),
            creation_time: Some(record.created_at.as_millis()),
            retention_in_days: record.retention_in_days.and_then(|days| i32::try_from(days).ok()),
            metric_filter_count: Some(0),
            arn: Some(format!("{arn}:*")),
            stored_bytes: Some(i64::try_from(bytes).unwrap_or(i64::MAX)),
            log_group_class: Some(LogGroupClass::Standard),
            log_group_arn: Some(arn),
            deletion_protection_enabled: Some(false),
            ..logs::LogGroup::default()
        });
    }
    Ok(logs::DescribeLogGroupsResponse { log_groups: Some(described), next_token })
}
