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

/// Says where tasks would be placed.
///
/// # Errors
/// The API refuses.
pub async fn plan(args: &PlanArgs, format: OutputFormat, seams: &Seams) -> Result<(), Failure> {
    let client = Api::new(&args.api, seams)?;
    let run_task = args.request.clone().unwrap_or_else(|| request(args));
    let request = api::PlanRunTaskRequest { run_task: Some(run_task) };
    let answer: api::PlanRunTaskResponse = client.longshore("PlanRunTask", &request).await?;
    let mut lines = vec![answer.summary.clone().unwrap_or_default()];
    lines.extend(answer.placements.iter().flatten().map(|task| {
        let id = task.container_instance_arn.as_deref().and_then(|arn| arn.rsplit('/').next());
        let place = id.map_or_else(|| "a machine lent to Fargate".to_owned(), |id| format!("container instance {id}"));
        let provider = task.capacity_provider.as_deref().map(|name| format!(", capacity provider {name}"));
        let zone = task.availability_zone.as_deref().unwrap_or("no zone");
        format!("  on {place} in {zone}{}", provider.unwrap_or_default())
    }));
    lines.extend(refusals(answer.refusals.as_deref().unwrap_or_default()));
    lines.extend(answer.smallest_change.iter().map(|change| format!("What would help: {change}")));
    output::print(format, &json!(answer), |_| lines.join("\n"))
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
