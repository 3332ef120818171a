//! Calls that several scenarios make.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use longshore_api::{Shape, ecs, longshore};
use longshore_client::{Client, Credentials, Options};
use longshore_runtime::conformance::image::TestImage;
use longshore_seams::Seams;

use crate::Result;
use crate::process::{KEY, SECRET};

/// Region of all calls.
pub const REGION: &str = "us-east-1";
/// The image of all tasks: busybox.
pub const IMAGE: &str = "localhost/longshore-bench:1";
/// What its containers do: nothing, without using a processor.
pub const COMMAND: [&str; 2] = ["sleep", "86400"];
/// Memory limit of its containers, MiB.
pub const MEMORY_MIB: i32 = 16;

/// How long tasks may take to get where they are going.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client of one server.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    seams: Seams,
}

/// Writes the image as an archive to `path`. SIGKILL stops its containers: stopping is not measured.
///
/// # Errors
/// This machine has no static busybox.
pub fn write_image(path: &Path) -> Result {
    let image = TestImage { stop_signal: Some("SIGKILL".to_owned()), ..TestImage::named(IMAGE) };
    Ok(image.write_docker_archive(path)?)
}

impl Api {
    /// A client of the server at `endpoint`.
    ///
    /// # Errors
    /// The endpoint is no URL.
    pub fn new(endpoint: &str, seams: &Seams) -> Result<Self> {
        let credentials =
            Credentials { access_key_id: KEY.to_owned(), secret_access_key: SECRET.to_owned(), session_token: None };
        let client = Client::new(Options::new(endpoint, REGION), Arc::new(credentials), seams.clone())?;
        Ok(Self { client, seams: seams.clone() })
    }

    /// Calls ECS.
    ///
    /// # Errors
    /// The API refuses or does not answer.
    pub async fn ecs<I: Shape, O: Shape>(&self, operation: &str, input: &I) -> Result<O> {
        Ok(self.client.call(&ecs::MODEL, operation, input).await?)
    }

    /// A token with which an agent may join cluster `default`.
    ///
    /// # Errors
    /// As [`Self::ecs`].
    pub async fn join_token(&self) -> Result<String> {
        let request = longshore::CreateJoinTokenRequest::default();
        let answer: longshore::CreateJoinTokenResponse =
            self.client.call(&longshore::MODEL, "CreateJoinToken", &request).await?;
        Ok(answer.token.ok_or("CreateJoinToken answered without a token")?)
    }

    /// Registers a task definition with one container of [`IMAGE`]; answers `family:revision`.
    ///
    /// # Errors
    /// As [`Self::ecs`].
    pub async fn register(&self, family: &str) -> Result<String> {
        let answer: ecs::RegisterTaskDefinitionResponse =
            self.ecs("RegisterTaskDefinition", &task_definition(family)).await?;
        let definition = answer.task_definition.unwrap_or_default();
        Ok(format!("{family}:{}", definition.revision.unwrap_or_default()))
    }

    /// Waits until cluster `default` has a connected container instance.
    ///
    /// # Errors
    /// There is none after a while.
    pub async fn wait_for_instance(&self) -> Result {
        let began = self.seams.clock.monotonic();
        loop {
            let listed: ecs::ListContainerInstancesResponse =
                self.ecs("ListContainerInstances", &ecs::ListContainerInstancesRequest::default()).await?;
            let arns = listed.container_instance_arns.unwrap_or_default();
            if !arns.is_empty() {
                let request =
                    ecs::DescribeContainerInstancesRequest { container_instances: Some(arns), ..Default::default() };
                let described: ecs::DescribeContainerInstancesResponse =
                    self.ecs("DescribeContainerInstances", &request).await?;
                let instances = described.container_instances.unwrap_or_default();
                if instances.iter().any(|instance| instance.agent_connected == Some(true)) {
                    return Ok(());
                }
            }
            self.check_patience(began, "a container instance to connect")?;
            self.seams.clock.sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs `count` tasks; answers their ARNs once the API has accepted them.
    ///
    /// # Errors
    /// As [`Self::ecs`]; not all could be placed.
    pub async fn run(&self, task_definition: &str, count: i32) -> Result<Vec<String>> {
        let request = ecs::RunTaskRequest {
            task_definition: Some(task_definition.to_owned()),
            count: Some(count),
            ..Default::default()
        };
        let answer: ecs::RunTaskResponse = self.ecs("RunTask", &request).await?;
        if let Some(failure) = answer.failures.unwrap_or_default().first() {
            return Err(format!("a task could not be placed: {failure:?}").into());
        }
        Ok(answer.tasks.unwrap_or_default().into_iter().filter_map(|task| task.task_arn).collect())
    }

    /// Asks every `pause` until all `tasks` (any number) have been seen with `status`.
    ///
    /// # Errors
    /// One of them stopped instead, or they take too long.
    pub async fn wait(&self, tasks: &[String], status: &str, pause: Duration) -> Result {
        let began = self.seams.clock.monotonic();
        let mut missing: BTreeSet<&String> = tasks.iter().collect();
        while !missing.is_empty() {
            let batch: Vec<String> = missing.iter().take(100).map(|arn| (*arn).clone()).collect();
            let request = ecs::DescribeTasksRequest { tasks: Some(batch), ..Default::default() };
            let answer: ecs::DescribeTasksResponse = self.ecs("DescribeTasks", &request).await?;
            let mut is_progress = false;
            for task in answer.tasks.unwrap_or_default() {
                let (Some(arn), Some(last)) = (&task.task_arn, &task.last_status) else { continue };
                if last == status {
                    is_progress |= missing.remove(arn);
                } else if last == "STOPPED" {
                    return Err(format!("{arn} stopped: {:?} {:?}", task.stopped_reason, task.containers).into());
                }
            }
            if !missing.is_empty() && !is_progress {
                self.check_patience(began, &format!("{} of {} tasks to be {status}", missing.len(), tasks.len()))?;
                self.seams.clock.sleep(pause).await;
            }
        }
        Ok(())
    }

    /// Stops `tasks` and waits until they have stopped.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub async fn stop(&self, tasks: &[String]) -> Result {
        for task in tasks {
            let request = ecs::StopTaskRequest { task: Some(task.clone()), ..Default::default() };
            let _: ecs::StopTaskResponse = self.ecs("StopTask", &request).await?;
        }
        self.wait(tasks, "STOPPED", Duration::from_millis(20)).await
    }

    fn check_patience(&self, began: Duration, what: &str) -> Result {
        if self.seams.clock.monotonic().saturating_sub(began) > PATIENCE {
            return Err(format!("waited {PATIENCE:?} in vain for {what}").into());
        }
        Ok(())
    }
}

/// A task definition with one container of [`IMAGE`] and no ports.
#[must_use]
pub fn task_definition(family: &str) -> ecs::RegisterTaskDefinitionRequest {
    let container = ecs::ContainerDefinition {
        name: Some("main".to_owned()),
        image: Some(IMAGE.to_owned()),
        memory: Some(MEMORY_MIB),
        command: Some(COMMAND.map(str::to_owned).to_vec()),
        ..Default::default()
    };
    ecs::RegisterTaskDefinitionRequest {
        family: Some(family.to_owned()),
        container_definitions: Some(vec![container]),
        ..Default::default()
    }
}
