//! `longshore events`: what happened, as an event bus would carry it.

use std::time::Duration;

use longshore_api::longshore as api;
use longshore_seams::Seams;
use serde_json::Value;

use crate::cli::{EventType, EventsArgs, OutputFormat};
use crate::commands::api::Api;
use crate::commands::times::{Direction, time};
use crate::output::{Failure, print_line};

/// Between two looks for more.
const LOOK_EVERY: Duration = Duration::from_millis(500);

fn detail_type(kind: EventType) -> String {
    let name = match kind {
        EventType::Task => "ECS Task State Change",
        EventType::ContainerInstance => "ECS Container Instance State Change",
        EventType::Service => "ECS Service Action",
        EventType::Deployment => "ECS Deployment State Change",
        EventType::Hook => "ECS Hook State Change",
    };
    name.to_owned()
}

/// Shows the events that are kept, the oldest first; goes on when asked to.
///
/// # Errors
/// A time that is none; the API refuses or does not answer.
pub async fn events(args: &EventsArgs, format: OutputFormat, seams: &Seams) -> Result<(), Failure> {
    let client = Api::new(&args.api, seams)?;
    let since = args.since.as_deref().map(|text| time("--since", text, Direction::Ago, seams)).transpose()?;
    let mut request = api::ListEventsRequest {
        cluster: args.cluster.clone(),
        detail_types: (!args.types.is_empty()).then(|| args.types.iter().map(|kind| detail_type(*kind)).collect()),
        since,
        ..Default::default()
    };
    loop {
        let answer: api::ListEventsResponse = client.longshore("ListEvents", &request).await?;
        for event in answer.events.unwrap_or_default() {
            match format {
                OutputFormat::Json => print_line(&event)?,
                OutputFormat::Table => print_line(&line(&event))?,
            }
        }
        request.next_token = answer.follow_token;
        match (answer.next_token, args.follow) {
            (Some(_), _) => {}
            (None, true) => seams.clock.sleep(LOOK_EVERY).await,
            (None, false) => return Ok(()),
        }
    }
}

/// One event in one line: when, what about, what. Takes members that it does not know.
fn line(event: &str) -> String {
    let event: Value = serde_json::from_str(event).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let resource = text(&event["resources"][0]);
    let resource = resource.splitn(6, ':').nth(5).unwrap_or("");
    let detail = &event["detail"];
    let what = match detail["eventName"].as_str() {
        Some(name) => format!("{name} {}", text(&detail["reason"])),
        None if detail["lastStatus"].is_string() => {
            let (last, desired) = (text(&detail["lastStatus"]), text(&detail["desiredStatus"]));
            let wanted = if desired == "STOPPED" && last != desired { " (to stop)" } else { "" };
            format!("{last}{wanted} {}", text(&detail["stoppedReason"]))
        }
        None => {
            let connected = if detail["agentConnected"] == true { "agent connected" } else { "agent not connected" };
            format!("{}, {connected}", text(&detail["status"]))
        }
    };
    format!("{} {resource} {}", text(&event["time"]), what.trim_end())
}

#[cfg(test)]
mod tests {
    use super::line;

    // spec: 19-037
    #[test]
    fn an_event_is_one_line_whatever_else_it_holds() {
        let event = r#"{"time": "2020-01-23T17:57:58Z", "resources": ["arn:aws:ecs:us-west-2:111122223333:task/a/c13b"],
            "new": {"member": [1]},
            "detail": {"lastStatus": "STOPPED", "desiredStatus": "STOPPED", "weather": "fine", "stoppedReason": "Task stopped by user"}}"#;
        assert_eq!(line(event), "2020-01-23T17:57:58Z task/a/c13b STOPPED Task stopped by user");
    }

    #[test]
    fn a_task_that_is_to_stop_says_so() {
        let event = r#"{"time": "T", "resources": ["arn:aws:ecs:r:1:task/a/b"],
            "detail": {"lastStatus": "RUNNING", "desiredStatus": "STOPPED", "stoppedReason": "Your Spot Task was interrupted."}}"#;
        assert_eq!(line(event), "T task/a/b RUNNING (to stop) Your Spot Task was interrupted.");
    }

    #[test]
    fn services_deployments_and_instances_say_what_is_theirs() {
        let service = r#"{"time": "T", "resources": ["arn:aws:ecs:r:1:service/a/web"],
            "detail": {"eventName": "SERVICE_TASK_PLACEMENT_FAILURE", "reason": "RESOURCE:CPU"}}"#;
        assert_eq!(line(service), "T service/a/web SERVICE_TASK_PLACEMENT_FAILURE RESOURCE:CPU");
        let instance = r#"{"time": "T", "resources": ["arn:aws:ecs:r:1:container-instance/a/b"],
            "detail": {"status": "ACTIVE", "agentConnected": false}}"#;
        assert_eq!(line(instance), "T container-instance/a/b ACTIVE, agent not connected");
    }
}
