//! `longshore ps` and `longshore stop`.

use std::time::Duration;

use longshore_api::ecs;
use longshore_seams::Seams;
use serde_json::{Value, json};

use crate::cli::{OutputFormat, PsArgs, StopArgs};
use crate::commands::api::Api;
use crate::output::{self, Failure, Progress};

/// Between two looks at a task that stops.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The id at the end of a task's ARN.
#[must_use]
pub fn id_of(task: &ecs::Task) -> &str {
    task.task_arn.as_deref().and_then(|arn| arn.rsplit('/').next()).unwrap_or("?")
}

/// Exit codes of a task's containers, where there are any.
#[must_use]
pub fn exit_codes(task: &ecs::Task) -> Vec<i32> {
    task.containers.iter().flatten().filter_map(|container| container.exit_code).collect()
}

/// Why a task stopped, with its containers' own reasons.
#[must_use]
pub fn why_stopped(task: &ecs::Task) -> String {
    let mut text = task.stopped_reason.clone().unwrap_or_else(|| "no reason given".to_owned());
    for container in task.containers.iter().flatten() {
        let name = container.name.as_deref().unwrap_or("?");
        if let Some(reason) = &container.reason {
            text.push_str(&format!("; container {name}: {reason}"));
        }
        if let Some(code) = container.exit_code {
            text.push_str(&format!("; container {name} exited with {code}"));
        }
    }
    text
}

fn definition_of(task: &ecs::Task) -> &str {
    task.task_definition_arn.as_deref().and_then(|arn| arn.rsplit('/').next()).unwrap_or("?")
}

fn ports_of(task: &ecs::Task) -> String {
    let bindings = task.containers.iter().flatten().flat_map(|container| container.network_bindings.iter().flatten());
    let text = |binding: &ecs::NetworkBinding| {
        let protocol = binding.protocol.as_ref().map_or("tcp", |protocol| protocol.as_str());
        format!("{}->{}/{protocol}", binding.host_port.unwrap_or(0), binding.container_port.unwrap_or(0))
    };
    bindings.map(text).collect::<Vec<_>>().join(", ")
}

/// What a task that has no container instance waits for; `None` for one that does not wait.
#[must_use]
pub fn wait_of(task: &ecs::Task) -> Option<String> {
    let placed = task.container_instance_arn.is_some() || task.launch_type == Some(ecs::LaunchType::Fargate);
    if placed || task.last_status.as_deref() != Some("PROVISIONING") {
        return None;
    }
    Some(format!("waiting for capacity of the capacity provider {}", task.capacity_provider_name.as_deref()?))
}

/// A task in a few members.
#[must_use]
pub fn summary(task: &ecs::Task) -> Value {
    json!({
        "id": id_of(task),
        "taskArn": task.task_arn,
        "taskDefinition": definition_of(task),
        "lastStatus": task.last_status,
        "desiredStatus": task.desired_status,
        "ports": ports_of(task),
        "exitCodes": exit_codes(task),
        "stoppedReason": task.stopped_reason,
    })
}

/// Tasks in lines.
#[must_use]
pub fn table(tasks: &[ecs::Task]) -> String {
    let row = |task: &ecs::Task| {
        let status = match (task.last_status.as_deref(), &exit_codes(task)[..]) {
            (Some("STOPPED"), [code, ..]) => format!("STOPPED ({code})"),
            (status, _) => status.unwrap_or("?").to_owned(),
        };
        let note = task.stopped_reason.clone().or_else(|| wait_of(task)).unwrap_or_default();
        vec![id_of(task).to_owned(), definition_of(task).to_owned(), status, ports_of(task), note]
    };
    output::table(&["TASK", "DEFINITION", "STATUS", "PORTS", "REASON"], &tasks.iter().map(row).collect::<Vec<_>>())
}

/// Describes tasks, a hundred at a time.
///
/// # Errors
/// The API refuses.
pub async fn describe(api: &Api, cluster: &str, arns: &[String]) -> Result<Vec<ecs::Task>, Failure> {
    let mut tasks = Vec::new();
    for chunk in arns.chunks(100) {
        let request = ecs::DescribeTasksRequest {
            cluster: Some(cluster.to_owned()),
            tasks: Some(chunk.to_vec()),
            ..Default::default()
        };
        let answer: ecs::DescribeTasksResponse = api.ecs("DescribeTasks", &request).await?;
        tasks.extend(answer.tasks.unwrap_or_default());
    }
    Ok(tasks)
}

async fn list(api: &Api, cluster: &str, status: &str, family: Option<&str>) -> Result<Vec<String>, Failure> {
    let mut arns = Vec::new();
    let mut next_token = None;
    loop {
        let request = ecs::ListTasksRequest {
            cluster: Some(cluster.to_owned()),
            desired_status: Some(ecs::DesiredStatus::from(status)),
            family: family.map(str::to_owned),
            next_token,
            ..Default::default()
        };
        let answer: ecs::ListTasksResponse = api.ecs("ListTasks", &request).await?;
        arns.extend(answer.task_arns.unwrap_or_default());
        next_token = answer.next_token;
        if next_token.is_none() {
            return Ok(arns);
        }
    }
}

/// Shows tasks.
///
/// # Errors
/// The API refuses.
pub async fn ps(args: &PsArgs, format: OutputFormat, seams: &Seams) -> Result<(), Failure> {
    let api = Api::new(&args.api, seams)?;
    let mut arns = list(&api, &args.cluster, "RUNNING", None).await?;
    if args.all {
        arns.extend(list(&api, &args.cluster, "STOPPED", None).await?);
    }
    let mut tasks = describe(&api, &args.cluster, &arns).await?;
    tasks.sort_by_key(|task| task.created_at);
    let answer = json!({"tasks": tasks.iter().map(summary).collect::<Vec<_>>()});
    output::print(format, &answer, |_| table(&tasks))
}

/// Finds the task that somebody means: an ARN, an id or its beginning, or a family with one task.
///
/// # Errors
/// None or several match (exit code 3).
pub async fn find(api: &Api, cluster: &str, named: &str) -> Result<String, Failure> {
    if named.starts_with("arn:") || (named.len() == 32 && named.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return Ok(named.to_owned());
    }
    let begins = |arn: &String| arn.rsplit('/').next().is_some_and(|id| id.starts_with(named));
    for status in ["RUNNING", "STOPPED"] {
        let of_family = list(api, cluster, status, Some(named)).await?;
        let found = if of_family.is_empty() {
            list(api, cluster, status, None).await?.into_iter().filter(begins).collect()
        } else {
            newest_stopped(api, cluster, status, of_family).await?
        };
        match &found[..] {
            [] => {}
            [one] => return Ok(one.clone()),
            several => {
                let ids: Vec<_> = several.iter().filter_map(|arn| arn.rsplit('/').next()).take(10).collect();
                return Err(Failure::not_found(format!(
                    "'{named}' means {} tasks: name one of {}",
                    several.len(),
                    ids.join(", ")
                )));
            }
        }
    }
    Err(Failure::not_found(format!(
        "no task of cluster {cluster} is '{named}': 'longshore ps --all' shows those there are"
    )))
}

/// Of a family's stopped tasks the newest is meant; running ones are all candidates.
async fn newest_stopped(api: &Api, cluster: &str, status: &str, arns: Vec<String>) -> Result<Vec<String>, Failure> {
    if status == "RUNNING" || arns.len() < 2 {
        return Ok(arns);
    }
    let newest = describe(api, cluster, &arns).await?.into_iter().max_by_key(|task| task.created_at);
    Ok(newest.and_then(|task| task.task_arn).into_iter().collect())
}

/// Stops tasks.
///
/// # Errors
/// A task is not found, or the API refuses.
pub async fn stop(args: &StopArgs, format: OutputFormat, seams: &Seams) -> Result<(), Failure> {
    let api = Api::new(&args.api, seams)?;
    let mut arns = Vec::new();
    for named in &args.tasks {
        arns.push(find(&api, &args.cluster, named).await?);
    }
    for task in &arns {
        let request = ecs::StopTaskRequest {
            cluster: Some(args.cluster.clone()),
            task: Some(task.clone()),
            reason: Some(args.reason.clone()),
        };
        let _: ecs::StopTaskResponse = api.ecs("StopTask", &request).await?;
    }
    let mut progress = Progress::start(format);
    let tasks = loop {
        let tasks = describe(&api, &args.cluster, &arns).await?;
        let left = tasks.iter().filter(|task| task.last_status.as_deref() != Some("STOPPED")).count();
        if left == 0 || args.no_wait {
            break tasks;
        }
        progress.show(format, &format!("{left} of {} still running", tasks.len()));
        seams.clock.sleep(LOOK_EVERY).await;
    };
    progress.finish();
    let answer = json!({"tasks": tasks.iter().map(summary).collect::<Vec<_>>()});
    output::print(format, &answer, |_| table(&tasks))
}
