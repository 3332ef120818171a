//! `longshore run`: a container as a task, in one command.

use std::time::Duration;

use longshore_api::ecs;
use longshore_seams::Seams;
use serde_json::json;

use crate::cli::{OutputFormat, RunArgs};
use crate::commands::api::Api;
use crate::commands::tasks::{self, id_of};
use crate::output::{self, Failure, Progress};

/// Between two looks at a task that starts or stops.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Runs it.
///
/// # Errors
/// The API refuses, no container instance can take the task, or it stops before it runs (exit code 6).
pub async fn run(args: &RunArgs, format: OutputFormat, seams: &Seams) -> Result<(), Failure> {
    let api = Api::new(&args.api, seams)?;
    let task_definition = if args.task_definition { args.image.clone() } else { register(&api, args).await? };
    let overrides =
        (args.task_definition && !args.command.is_empty()).then(|| command_override(&api, args, &task_definition));
    let overrides = match overrides {
        Some(overrides) => Some(overrides.await?),
        None => None,
    };
    let request = ecs::RunTaskRequest {
        cluster: Some(args.cluster.clone()),
        task_definition: Some(task_definition.clone()),
        count: Some(args.count),
        started_by: Some("longshore run".to_owned()),
        overrides,
        ..Default::default()
    };
    let answer: ecs::RunTaskResponse = api.ecs("RunTask", &request).await?;
    let failures = answer.failures.unwrap_or_default();
    let started = answer.tasks.unwrap_or_default();
    if let Some(failure) = failures.first() {
        return Err(Failure::with_code(
            6,
            format!("{} task(s) could not be placed: {}", failures.len(), describe(failure)),
        ));
    }
    let arns: Vec<String> = started.iter().filter_map(|task| task.task_arn.clone()).collect();
    let tasks = if args.no_wait { started } else { wait_running(&api, args, &arns, format, seams).await? };
    let answer = json!({"tasks": tasks.iter().map(tasks::summary).collect::<Vec<_>>()});
    output::print(format, &answer, |_| tasks::table(&tasks))
}

fn describe(failure: &ecs::Failure) -> String {
    let reason = failure.reason.as_deref().unwrap_or("no reason given");
    match (&failure.arn, &failure.detail) {
        (_, Some(detail)) => format!("{reason}: {detail}"),
        (Some(arn), None) => format!("{reason} on {arn}"),
        (None, None) => match reason {
            "AGENT" => "AGENT: no agent is connected".to_owned(),
            reason => reason.to_owned(),
        },
    }
}

/// `registry:5000/team/web-app:1.2` → `web-app`.
fn family_of(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let name = last.split(['@', ':']).next().unwrap_or(last);
    let clean: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' }).collect();
    if clean.is_empty() { "task".to_owned() } else { clean }
}

fn port_mapping(text: &str) -> Result<ecs::PortMapping, Failure> {
    let wrong = || Failure::usage(format!("'{text}' is no port to publish: give [HOST:]CONTAINER[/udp]"));
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    if protocol != "tcp" && protocol != "udp" {
        return Err(wrong());
    }
    let (host, container) = ports.split_once(':').map_or(("0", ports), |(host, container)| (host, container));
    let port = |text: &str| text.parse::<u16>().map(i32::from).map_err(|_| wrong());
    Ok(ecs::PortMapping {
        container_port: Some(port(container)?),
        host_port: Some(port(host)?),
        protocol: Some(ecs::TransportProtocol::from(protocol)),
        ..Default::default()
    })
}

async fn register(api: &Api, args: &RunArgs) -> Result<String, Failure> {
    let name = args.name.clone().unwrap_or_else(|| family_of(&args.image));
    let mut environment = Vec::new();
    for pair in &args.env {
        let (key, value) = pair.split_once('=').ok_or_else(|| Failure::usage(format!("'{pair}' is no NAME=VALUE")))?;
        environment.push(ecs::KeyValuePair { name: Some(key.to_owned()), value: Some(value.to_owned()) });
    }
    let container = ecs::ContainerDefinition {
        name: Some(name.clone()),
        image: Some(args.image.clone()),
        cpu: Some(args.cpu),
        memory: Some(args.memory),
        essential: Some(true),
        command: (!args.command.is_empty()).then(|| args.command.clone()),
        environment: Some(environment),
        port_mappings: Some(args.publish.iter().map(|text| port_mapping(text)).collect::<Result<_, _>>()?),
        ..Default::default()
    };
    let request = ecs::RegisterTaskDefinitionRequest {
        family: Some(name),
        container_definitions: Some(vec![container]),
        ..Default::default()
    };
    let answer: ecs::RegisterTaskDefinitionResponse = api.ecs("RegisterTaskDefinition", &request).await?;
    let arn = answer.task_definition.and_then(|definition| definition.task_definition_arn);
    arn.ok_or_else(|| Failure::failed("RegisterTaskDefinition answered without an ARN"))
}

async fn command_override(api: &Api, args: &RunArgs, definition: &str) -> Result<ecs::TaskOverride, Failure> {
    let request =
        ecs::DescribeTaskDefinitionRequest { task_definition: Some(definition.to_owned()), ..Default::default() };
    let answer: ecs::DescribeTaskDefinitionResponse = api.ecs("DescribeTaskDefinition", &request).await?;
    let containers = answer.task_definition.and_then(|definition| definition.container_definitions).unwrap_or_default();
    let [container] = &containers[..] else {
        return Err(Failure::usage(format!(
            "{definition} has {} containers: a command can be given for one only",
            containers.len()
        )));
    };
    let container = ecs::ContainerOverride {
        name: container.name.clone(),
        command: Some(args.command.clone()),
        ..Default::default()
    };
    Ok(ecs::TaskOverride { container_overrides: Some(vec![container]), ..Default::default() })
}

async fn wait_running(
    api: &Api,
    args: &RunArgs,
    arns: &[String],
    format: OutputFormat,
    seams: &Seams,
) -> Result<Vec<ecs::Task>, Failure> {
    let mut progress = Progress::start(format);
    loop {
        let tasks = tasks::describe(api, &args.cluster, arns).await?;
        let running = tasks.iter().filter(|task| task.last_status.as_deref() == Some("RUNNING")).count();
        if let Some(stopped) = tasks.iter().find(|task| task.last_status.as_deref() == Some("STOPPED")) {
            progress.finish();
            // A task that ran and has ended well did what it was asked to.
            if stopped.started_at.is_some() && tasks::exit_codes(stopped).iter().all(|code| *code == 0) && running == 0
            {
                return Ok(tasks);
            }
            return Err(Failure::with_code(
                6,
                format!("task {} stopped: {}", id_of(stopped), tasks::why_stopped(stopped)),
            ));
        }
        if running == tasks.len() {
            progress.finish();
            return Ok(tasks);
        }
        progress.show(format, &format!("{running} of {} running{}", tasks.len(), waiting_for(&tasks)));
        seams.clock.sleep(LOOK_EVERY).await;
    }
}

fn waiting_for(tasks: &[ecs::Task]) -> String {
    let waiting = tasks.iter().find(|task| task.last_status.as_deref() != Some("RUNNING"));
    match waiting {
        Some(task) if task.pull_started_at.is_some() && task.pull_stopped_at.is_none() => {
            ": pulling the image".to_owned()
        }
        Some(task) => match tasks::wait_of(task) {
            Some(wait) => format!(": {wait}"),
            None => format!(": {}", task.last_status.as_deref().unwrap_or("PENDING")),
        },
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_named_after_the_image() {
        assert_eq!(family_of("busybox"), "busybox");
        assert_eq!(family_of("localhost:5000/team/web.app:1.2@sha256:00"), "web-app");
        assert_eq!(family_of(""), "task");
    }

    #[test]
    fn ports_are_read_as_docker_reads_them() {
        let read = |text| port_mapping(text).map(|mapping| (mapping.host_port, mapping.container_port)).ok();
        assert_eq!(read("80"), Some((Some(0), Some(80))));
        assert_eq!(read("8080:80"), Some((Some(8080), Some(80))));
        assert_eq!(read("53:53/udp"), Some((Some(53), Some(53))));
        assert_eq!(read("80/sctp"), None);
        assert_eq!(read("a:80"), None);
    }
}
