//! The CloudWatch Logs API (2014-03-28) on the log store.

mod events;
mod groups;
mod streams;
mod tags;
mod token;

use std::collections::BTreeMap;

use longshore_api::logs::{self, Logs, error};
use longshore_api::{Operation, ServiceError, ServiceModel, Value};
use longshore_seams::BoxFuture;
use longshore_wire::{Output, RequestContext, Service};

use crate::store::LogError;
use crate::{LogStore, Scope};

/// Names, ARNs and conditions that a call is about, for authorization.
type Resources = (Vec<String>, Vec<(String, Vec<String>)>);

/// The service.
#[derive(Clone, Debug)]
pub struct LogsService {
    store: LogStore,
}

impl LogsService {
    /// The service on `store`.
    #[must_use]
    pub fn new(store: LogStore) -> Self {
        Self { store }
    }
}

impl Service for LogsService {
    fn model(&self) -> &'static ServiceModel {
        &logs::MODEL
    }

    fn resources(&self, context: &RequestContext, operation: &'static Operation, input: &Value) -> Resources {
        resources(&scope_of(context), operation.name, input)
    }

    fn call<'a>(
        &'a self,
        context: &'a RequestContext,
        operation: &'static Operation,
        input: &'a Value,
    ) -> BoxFuture<'a, Result<Box<dyn Output>, ServiceError>> {
        Box::pin(logs::dispatch(self, context, operation.name, input))
    }
}

fn scope_of(context: &RequestContext) -> Scope {
    Scope { account: context.account.clone(), region: context.region.clone() }
}

/// The group, or the stream in it, that `input` names; every group when it names none.
fn resources(scope: &Scope, operation: &str, input: &Value) -> Resources {
    let text = |member: &str| input.get(member).and_then(Value::as_str);
    let identifier = text("logGroupName").or_else(|| text("logGroupIdentifier")).or_else(|| text("resourceArn"));
    let group = identifier.map(|identifier| group_of_identifier(scope, identifier).unwrap_or(identifier));
    let arn = scope.group_arn(group.unwrap_or("*"));
    let stream = text("logStreamName").filter(|_| operation.contains("LogStream") || operation.ends_with("LogEvents"));
    let resource = match stream {
        Some(stream) => format!("{arn}:log-stream:{stream}"),
        None => format!("{arn}:*"),
    };
    let tags = |member: &str| input.get(member).and_then(Value::as_map).into_iter().flatten();
    let conditions = tags("tags")
        .filter_map(|(key, value)| Some((format!("aws:RequestTag/{key}"), vec![value.as_str()?.to_owned()])));
    (vec![resource], conditions.collect())
}

/// The group's name in a name or in an ARN of `scope`.
fn group_of_identifier<'a>(scope: &Scope, identifier: &'a str) -> Option<&'a str> {
    if !identifier.starts_with("arn:") {
        return Some(identifier);
    }
    let name = identifier.strip_prefix(&scope.group_arn(""))?;
    let name = name.strip_suffix(":*").unwrap_or(name);
    (!name.is_empty() && !name.contains(':')).then_some(name)
}

/// The group that a call names by exactly one of the two members.
fn named_group(scope: &Scope, name: Option<String>, identifier: Option<String>) -> Result<String, ServiceError> {
    match (name, identifier) {
        (Some(name), None) => Ok(name),
        (None, Some(identifier)) => group_of_identifier(scope, &identifier).map(str::to_owned).ok_or_else(|| {
            error::invalid_parameter_exception(format!(
                "logGroupIdentifier '{identifier}' is neither a log group's name nor an ARN of one in account {} and region {}.",
                scope.account, scope.region
            ))
        }),
        (Some(_), Some(_)) => Err(error::invalid_parameter_exception(
            "LogGroup name and LogGroup identifier are mutually exclusive parameters.",
        )),
        (None, None) => {
            Err(error::invalid_parameter_exception("Either logGroupName or logGroupIdentifier must be given."))
        }
    }
}

impl From<LogError> for ServiceError {
    fn from(error: LogError) -> Self {
        let message = error.to_string();
        match error {
            LogError::GroupNotFound { .. } | LogError::StreamNotFound { .. } => {
                error::resource_not_found_exception(message)
            }
            LogError::GroupExists { .. } | LogError::StreamExists { .. } => {
                error::resource_already_exists_exception(message)
            }
            LogError::TooManyGroups { .. } => error::limit_exceeded_exception(message),
            LogError::TooManyTags { .. } => error::too_many_tags_exception(message),
            LogError::Invalid(_) => error::invalid_parameter_exception(message),
            LogError::Damaged { .. } | LogError::Store(_) | LogError::Files(_) => {
                tracing::error!(error = message, "the log store failed a call");
                error::service_unavailable_exception("The service cannot complete the request.")
            }
        }
    }
}

/// A required member: the model's constraints were checked before.
fn required<T>(member: Option<T>, name: &str) -> Result<T, ServiceError> {
    member.ok_or_else(|| error::invalid_parameter_exception(format!("{name} must be given.")))
}

fn page_size(limit: Option<i32>, default: usize) -> usize {
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(default)
}

/// Generated trait, one line an operation.
impl Logs for LogsService {
    type Context = RequestContext;

    async fn create_log_group(
        &self,
        context: &RequestContext,
        input: logs::CreateLogGroupRequest,
    ) -> Result<(), ServiceError> {
        groups::create(&self.store, &scope_of(context), input).await
    }

    async fn delete_log_group(
        &self,
        context: &RequestContext,
        input: logs::DeleteLogGroupRequest,
    ) -> Result<(), ServiceError> {
        let name = required(input.log_group_name, "logGroupName")?;
        Ok(self.store.delete_group(&scope_of(context), &name).await?)
    }

    async fn describe_log_groups(
        &self,
        context: &RequestContext,
        input: logs::DescribeLogGroupsRequest,
    ) -> Result<logs::DescribeLogGroupsResponse, ServiceError> {
        groups::describe(&self.store, &scope_of(context), input).await
    }

    async fn put_retention_policy(
        &self,
        context: &RequestContext,
        input: logs::PutRetentionPolicyRequest,
    ) -> Result<(), ServiceError> {
        let name = required(input.log_group_name, "logGroupName")?;
        let days = required(input.retention_in_days, "retentionInDays")?;
        // A negative number is none of the known ones either.
        Ok(self.store.set_retention(&scope_of(context), &name, Some(u32::try_from(days).unwrap_or(0))).await?)
    }

    async fn delete_retention_policy(
        &self,
        context: &RequestContext,
        input: logs::DeleteRetentionPolicyRequest,
    ) -> Result<(), ServiceError> {
        let name = required(input.log_group_name, "logGroupName")?;
        Ok(self.store.set_retention(&scope_of(context), &name, None).await?)
    }

    async fn create_log_stream(
        &self,
        context: &RequestContext,
        input: logs::CreateLogStreamRequest,
    ) -> Result<(), ServiceError> {
        let group = required(input.log_group_name, "logGroupName")?;
        let stream = required(input.log_stream_name, "logStreamName")?;
        Ok(self.store.create_stream(&scope_of(context), &group, &stream).await?)
    }

    async fn delete_log_stream(
        &self,
        context: &RequestContext,
        input: logs::DeleteLogStreamRequest,
    ) -> Result<(), ServiceError> {
        let group = required(input.log_group_name, "logGroupName")?;
        let stream = required(input.log_stream_name, "logStreamName")?;
        Ok(self.store.delete_stream(&scope_of(context), &group, &stream).await?)
    }

    async fn describe_log_streams(
        &self,
        context: &RequestContext,
        input: logs::DescribeLogStreamsRequest,
    ) -> Result<logs::DescribeLogStreamsResponse, ServiceError> {
        streams::describe(&self.store, &scope_of(context), input).await
    }

    async fn put_log_events(
        &self,
        context: &RequestContext,
        input: logs::PutLogEventsRequest,
    ) -> Result<logs::PutLogEventsResponse, ServiceError> {
        events::put(&self.store, &scope_of(context), input).await
    }

    async fn get_log_events(
        &self,
        context: &RequestContext,
        input: logs::GetLogEventsRequest,
    ) -> Result<logs::GetLogEventsResponse, ServiceError> {
        events::get(&self.store, &scope_of(context), input).await
    }

    async fn filter_log_events(
        &self,
        context: &RequestContext,
        input: logs::FilterLogEventsRequest,
    ) -> Result<logs::FilterLogEventsResponse, ServiceError> {
        events::filter(&self.store, &scope_of(context), input).await
    }

    async fn tag_log_group(
        &self,
        context: &RequestContext,
        input: logs::TagLogGroupRequest,
    ) -> Result<(), ServiceError> {
        let name = required(input.log_group_name, "logGroupName")?;
        tags::add(&self.store, &scope_of(context), &name, input.tags.unwrap_or_default(), tags::OverLimit::Invalid)
            .await
    }

    async fn untag_log_group(
        &self,
        context: &RequestContext,
        input: logs::UntagLogGroupRequest,
    ) -> Result<(), ServiceError> {
        let name = required(input.log_group_name, "logGroupName")?;
        Ok(self.store.untag_group(&scope_of(context), &name, &input.tags.unwrap_or_default()).await?)
    }

    async fn list_tags_log_group(
        &self,
        context: &RequestContext,
        input: logs::ListTagsLogGroupRequest,
    ) -> Result<logs::ListTagsLogGroupResponse, ServiceError> {
        let name = required(input.log_group_name, "logGroupName")?;
        let tags: BTreeMap<String, String> = self.store.group_record(&scope_of(context), &name)?.tags;
        Ok(logs::ListTagsLogGroupResponse { tags: Some(tags) })
    }

    async fn tag_resource(
        &self,
        context: &RequestContext,
        input: logs::TagResourceRequest,
    ) -> Result<(), ServiceError> {
        let scope = scope_of(context);
        let name = tags::group_of_arn(&scope, input.resource_arn)?;
        tags::add(&self.store, &scope, &name, input.tags.unwrap_or_default(), tags::OverLimit::TooManyTags).await
    }

    async fn untag_resource(
        &self,
        context: &RequestContext,
        input: logs::UntagResourceRequest,
    ) -> Result<(), ServiceError> {
        let scope = scope_of(context);
        let name = tags::group_of_arn(&scope, input.resource_arn)?;
        Ok(self.store.untag_group(&scope, &name, &input.tag_keys.unwrap_or_default()).await?)
    }

    async fn list_tags_for_resource(
        &self,
        context: &RequestContext,
        input: logs::ListTagsForResourceRequest,
    ) -> Result<logs::ListTagsForResourceResponse, ServiceError> {
        let scope = scope_of(context);
        let name = tags::group_of_arn(&scope, input.resource_arn)?;
        Ok(logs::ListTagsForResourceResponse { tags: Some(self.store.group_record(&scope, &name)?.tags) })
    }
}
