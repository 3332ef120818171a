//! `longshore fargate`: interruptions of Fargate tasks, by the operator's hand.

use longshore_api::longshore as api;
use longshore_seams::{Seams, Timestamp};
use serde_json::json;

use crate::cli::{FargateCommand, FargateTaskArgs, OutputFormat};
use crate::commands::api::Api;
use crate::commands::times::{Direction, time};
use crate::output::{self, Failure};

/// Interrupts tasks.
///
/// # Errors
/// A time that is none; the API refuses.
pub async fn fargate(command: &FargateCommand, format: OutputFormat, seams: &Seams) -> Result<(), Failure> {
    let (tasks, interruption, at) = match command {
        FargateCommand::Reclaim { tasks } => (tasks, api::FargateInterruption::SpotInterruption, None),
        FargateCommand::Recycle { tasks } => (tasks, api::FargateInterruption::TaskRecycling, None),
        FargateCommand::Retire { tasks, at } => {
            let at = at.as_deref().map(|text| time("--at", text, Direction::Ahead, seams)).transpose()?;
            (tasks, api::FargateInterruption::TaskRetirement, at)
        }
    };
    let client = Api::new(&tasks.api, seams)?;
    // One invocation takes its tasks once, however often its call is tried.
    let request = api::InterruptFargateTasksRequest {
        client_token: Some(seams.random.uuid()),
        ..request(tasks, interruption, at)
    };
    let answer: api::InterruptFargateTasksResponse = client.longshore("InterruptFargateTasks", &request).await?;
    let arns = answer.task_arns.unwrap_or_default();
    output::print(format, &json!({ "taskArns": arns }), |_| match &arns[..] {
        [] => "No task is concerned.".to_owned(),
        arns => arns.join("\n"),
    })
}

fn request(
    tasks: &FargateTaskArgs,
    interruption: api::FargateInterruption,
    at: Option<Timestamp>,
) -> api::InterruptFargateTasksRequest {
    api::InterruptFargateTasksRequest {
        interruption: Some(interruption),
        account_id: tasks.account.clone(),
        cluster: tasks.cluster.clone(),
        tasks: (!tasks.tasks.is_empty()).then(|| tasks.tasks.clone()),
        count: tasks.count,
        at,
        client_token: None,
    }
}
