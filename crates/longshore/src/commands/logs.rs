//! `longshore logs`: what a task's containers print, wherever it was sent.

use std::time::Duration;

use longshore_api::{ecs, logs};
use longshore_seams::Seams;
use serde_json::json;

use crate::cli::{LogsArgs, OutputFormat};
use crate::commands::api::Api;
use crate::commands::tasks;
use crate::output::{Failure, print_line};

/// Between two looks for more.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// After a task has stopped its last lines may still be on their way for so long.
const LAST_LINES: Duration = Duration::from_secs(2);

struct Source {
    container: String,
    group: String,
    stream: String,
    token: Option<String>,
}

/// Shows the output of one task.
///
/// # Errors
/// The task is not found, or the API refuses.
pub async fn logs(args: &LogsArgs, format: OutputFormat, seams: &Seams) -> Result<(), Failure> {
    let api = Api::new(&args.api, seams)?;
    let arn = tasks::find(&api, &args.cluster, &args.task).await?;
    let task = describe(&api, args, &arn).await?;
    let mut sources = sources(&api, args, &task).await?;
    if sources.is_empty() {
        let wanted = args.container.as_deref().unwrap_or("?");
        return Err(Failure::not_found(format!("task {} has no container '{wanted}'", tasks::id_of(&task))));
    }
    let several = sources.len() > 1;
    let mut stopped_at = None;
    loop {
        let now = seams.clock.monotonic();
        let stopped = !args.follow || is_stopped(&describe(&api, args, &arn).await?);
        let mut read = 0;
        for source in &mut sources {
            read += drain(&api, source, several, format).await?;
        }
        if !args.follow {
            return Ok(());
        }
        if stopped {
            let since = *stopped_at.get_or_insert(now);
            if read == 0 && now.saturating_sub(since) >= LAST_LINES {
                return Ok(());
            }
        }
        seams.clock.sleep(LOOK_EVERY).await;
    }
}

fn is_stopped(task: &ecs::Task) -> bool {
    task.last_status.as_deref() == Some("STOPPED")
}

async fn describe(api: &Api, args: &LogsArgs, arn: &str) -> Result<ecs::Task, Failure> {
    let found = tasks::describe(api, &args.cluster, &[arn.to_owned()]).await?;
    found.into_iter().next().ok_or_else(|| Failure::not_found(format!("there is no task {arn}")))
}

/// Where the agent sends each container's output: the definition's awslogs options, else our own group.
async fn sources(api: &Api, args: &LogsArgs, task: &ecs::Task) -> Result<Vec<Source>, Failure> {
    let request =
        ecs::DescribeTaskDefinitionRequest { task_definition: task.task_definition_arn.clone(), ..Default::default() };
    let answer: ecs::DescribeTaskDefinitionResponse = api.ecs("DescribeTaskDefinition", &request).await?;
    let definition = answer.task_definition.unwrap_or_default();
    let family = definition.family.unwrap_or_default();
    let cluster = task.cluster_arn.as_deref().and_then(|arn| arn.rsplit('/').next()).unwrap_or("default");
    let id = tasks::id_of(task);
    let mut sources = Vec::new();
    for container in definition.container_definitions.unwrap_or_default() {
        let name = container.name.unwrap_or_default();
        if args.container.as_ref().is_some_and(|wanted| *wanted != name) {
            continue;
        }
        let configuration = container.log_configuration.unwrap_or_default();
        let awslogs = configuration.log_driver == Some(ecs::LogDriver::Awslogs);
        let options = configuration.options.filter(|_| awslogs).unwrap_or_default();
        let (group, stream) = match options.get("awslogs-group") {
            Some(group) => {
                let prefix = options.get("awslogs-stream-prefix").map_or("ecs", String::as_str);
                (group.clone(), format!("{prefix}/{name}/{id}"))
            }
            None => (format!("/longshore/{cluster}"), format!("{family}/{name}/{id}")),
        };
        sources.push(Source { container: name, group, stream, token: None });
    }
    Ok(sources)
}

/// Prints what is new; answers how many lines.
async fn drain(api: &Api, source: &mut Source, several: bool, format: OutputFormat) -> Result<usize, Failure> {
    let mut read = 0;
    loop {
        let request = logs::GetLogEventsRequest {
            log_group_name: Some(source.group.clone()),
            log_stream_name: Some(source.stream.clone()),
            start_from_head: Some(true),
            next_token: source.token.clone(),
            ..Default::default()
        };
        let answer: logs::GetLogEventsResponse = match api.logs("GetLogEvents", &request).await {
            Ok(answer) => answer,
            // Nothing has been printed yet, or not arrived.
            Err(failure) if failure.api_code.as_deref() == Some("ResourceNotFoundException") => return Ok(read),
            Err(failure) => return Err(failure),
        };
        let events = answer.events.unwrap_or_default();
        for event in &events {
            let message = event.message.as_deref().unwrap_or("");
            match format {
                OutputFormat::Json => {
                    let at = event.timestamp;
                    print_line(
                        &json!({"container": source.container, "timestamp": at, "message": message}).to_string(),
                    )?;
                }
                OutputFormat::Table if several => print_line(&format!("{} | {message}", source.container))?,
                OutputFormat::Table => print_line(message)?,
            }
        }
        read += events.len();
        let token = answer.next_forward_token;
        if token == source.token || events.is_empty() {
            source.token = token;
            return Ok(read);
        }
        source.token = token;
    }
}
