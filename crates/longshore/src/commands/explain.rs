//! `longshore explain` and `longshore plan`.

use longshore_api::longshore as api;
use longshore_seams::Seams;
use serde_json::json;

use crate::cli::{ExplainArgs, OutputFormat, PlanArgs};
use crate::commands::api::Api;
use crate::output::{self, Failure};

/// Says why a task or service is as it is.
///
/// # Errors
/// The API refuses.
pub async fn explain(args: &ExplainArgs, format: OutputFormat, seams: &Seams) -> Result<(), Failure> {
    let client = Api::new(&args.api, seams)?;
    let request = api::ExplainRequest { cluster: Some(args.cluster.clone()), resource: Some(args.resource.clone()) };
    let answer: api::ExplainResponse = client.longshore("Explain", &request).await?;
    let mut lines = vec![answer.summary.clone().unwrap_or_default()];
    lines.extend(answer.details.iter().flatten().map(|line| format!("  {line}")));
    lines.extend(refusals(answer.refusals.as_deref().unwrap_or_default()));
    lines.extend(answer.smallest_change.iter().map(|change| format!("What would help: {change}")));
    output::print(format, &json!(answer), |_| lines.join("\n"))
}

/// Says where tasks would be placed, or how a service would get where it is to be.
///
/// # Errors
/// The API refuses.
pub async fn plan(args: &PlanArgs, format: OutputFormat, seams: &Seams) -> Result<(), Failure> {
    let client = Api::new(&args.api, seams)?;
    if let Some(create_service) = args.create_service.clone() {
        let request = api::PlanCreateServiceRequest { create_service: Some(create_service) };
        return print_service(format, &client.longshore("PlanCreateService", &request).await?);
    }
    if let Some(update_service) = args.update_service.clone().or_else(|| update(args)) {
        let request = api::PlanUpdateServiceRequest { update_service: Some(update_service) };
        return print_service(format, &client.longshore("PlanUpdateService", &request).await?);
    }
    let run_task = args.request.clone().unwrap_or_else(|| request(args));
    let request = api::PlanRunTaskRequest { run_task: Some(run_task) };
    let answer: api::PlanRunTaskResponse = client.longshore("PlanRunTask", &request).await?;
    let mut lines = vec![answer.summary.clone().unwrap_or_default()];
    lines.extend(answer.placements.iter().flatten().map(|task| format!("  {}", place(task))));
    lines.extend(refusals(answer.refusals.as_deref().unwrap_or_default()));
    lines.extend(answer.smallest_change.iter().map(|change| format!("What would help: {change}")));
    output::print(format, &json!(answer), |_| lines.join("\n"))
}

fn place(task: &api::PlannedTask) -> String {
    let id = task.container_instance_arn.as_deref().and_then(|arn| arn.rsplit('/').next());
    let place = id.map_or_else(|| "a machine lent to Fargate".to_owned(), |id| format!("container instance {id}"));
    let provider = task.capacity_provider.as_deref().map(|name| format!(", capacity provider {name}"));
    let zone = task.availability_zone.as_deref().unwrap_or("no zone");
    format!("on {place} in {zone}{}", provider.unwrap_or_default())
}

fn print_service(format: OutputFormat, answer: &api::PlanServiceResponse) -> Result<(), Failure> {
    let number = |given: Option<i64>| given.unwrap_or(0);
    let mut lines = vec![answer.summary.clone().unwrap_or_default()];
    lines.push(format!(
        "At most {} tasks at once; at least {} healthy.",
        number(answer.maximum_tasks),
        number(answer.minimum_healthy_tasks)
    ));
    for (at, step) in answer.steps.iter().flatten().enumerate() {
        lines.push(format!(
            "{}. after {} s: start {}, stop {}; then {} new and {} old",
            at + 1,
            number(step.seconds),
            number(step.started),
            number(step.stopped),
            number(step.new_tasks),
            number(step.old_tasks)
        ));
        lines.extend(step.placements.iter().flatten().map(|task| format!("     {}", place(task))));
    }
    lines.extend(answer.cause.iter().map(|cause| format!("Why it stops there: {cause}")));
    lines.extend(refusals(answer.refusals.as_deref().unwrap_or_default()));
    lines.extend(answer.smallest_change.iter().map(|change| format!("What would help: {change}")));
    output::print(format, &json!(answer), |_| lines.join("\n"))
}

/// The UpdateService request that the arguments stand for, if they name a service.
fn update(args: &PlanArgs) -> Option<String> {
    let service = args.service.as_ref()?;
    let mut request = json!({"cluster": args.cluster, "service": service});
    if let Some(definition) = &args.task_definition {
        request["taskDefinition"] = json!(definition);
    }
    if let Some(desired) = args.desired_count {
        request["desiredCount"] = json!(desired);
    }
    if args.force_new_deployment {
        request["forceNewDeployment"] = json!(true);
    }
    Some(request.to_string())
}

/// The RunTask request that the arguments stand for.
fn request(args: &PlanArgs) -> String {
    let mut request = json!({"cluster": args.cluster, "taskDefinition": args.task_definition, "count": args.count});
    if let Some(launch_type) = &args.launch_type {
        request["launchType"] = json!(launch_type);
    }
    if !args.subnets.is_empty() {
        request["networkConfiguration"] = json!({"awsvpcConfiguration": {"subnets": args.subnets}});
    }
    request.to_string()
}

fn refusals(refusals: &[api::InstanceRefusal]) -> Vec<String> {
    let mut lines = Vec::new();
    for refusal in refusals {
        let id = refusal.container_instance_arn.as_deref().and_then(|arn| arn.rsplit('/').next());
        let name = id.map_or_else(|| "A machine lent to Fargate".to_owned(), |id| format!("Container instance {id}"));
        lines.push(format!("{name} refused:"));
        lines.extend(refusal.reasons.iter().flatten().map(|reason| {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            format!("  {}: {}", text(&reason.reason), text(&reason.detail))
        }));
    }
    lines
}
