//! Services of real containers: 50 tasks at once beside Docker's own swarm; rolling deployments and rollbacks.

#[expect(clippy::disallowed_types, reason = "the client library takes such filters")]
use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, HostConfig, SwarmInitRequest, TaskState};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, LeaveSwarmOptionsBuilder, ListContainersOptionsBuilder, ListTasksOptionsBuilder,
    RemoveContainerOptionsBuilder, TagImageOptionsBuilder,
};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use longshore_api::ecs;

use crate::Result;
use crate::api::{Api, COMMAND, IMAGE, MEMORY_MIB, task_definition, write_image};
use crate::figure::{Figure, Floor};
use crate::process::{self, Bench, DataDir, Longshore};
use crate::samples::Samples;

const NAME: &str = "services";
/// Tasks of the large service.
const TASKS: i32 = 50;
/// Tasks of the service that is deployed.
const DEPLOYED: i32 = 10;
const ROUNDS: usize = 3;
/// The same image under a name as `docker build --tag` gives it. A swarm asks the image's registry for it before each
/// container, also when the image is there: Docker's hub for this name, which answers late or never on a machine without a
/// way out, and nobody for the other.
const PLAIN_REPOSITORY: &str = "longshore-bench";
const PLAIN_IMAGE: &str = "longshore-bench:1";
/// Containers that Docker makes at a time when it is asked directly: more are no faster.
const RAW_AT_ONCE: usize = 16;
const LOOK_EVERY: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(180);
/// Seconds between two checks of a container's health: the least that ECS takes.
const CHECK_EVERY: i32 = 5;

/// One runtime under measurement.
struct Subject {
    // In this order: the process ends before its directory goes.
    up: Longshore,
    dir: DataDir,
    api: Api,
    name: &'static str,
}

/// What a service looks like, as far as it matters here.
#[derive(Debug, Default)]
struct Seen {
    running: i32,
    pending: i32,
    deployments: usize,
    definition: String,
    completed: bool,
}

/// Measures.
///
/// # Errors
/// A task does not run, or Docker does not answer.
pub async fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let archive = bench.scratch.join("image.tar");
    write_image(&archive)?;
    let oci = Subject::start(bench, "embedded", "oci", &archive).await?;
    let docker = Subject::start(bench, "Docker", "docker", &archive).await?;
    let raw = Docker::connect_with_local_defaults()?;
    let tag = TagImageOptionsBuilder::default().repo(PLAIN_REPOSITORY).tag("1").build();
    raw.tag_image(IMAGE, Some(tag)).await?;
    let (mut command, mut swarm, mut unasked) = (Samples::default(), Samples::default(), Samples::default());
    let mut alone = Samples::default();
    let (mut of_docker, mut of_oci) = (Samples::default(), Samples::default());
    for round in 0..ROUNDS {
        process::calm(bench).await;
        let by_command = swarm_service(bench, &raw, round, PLAIN_IMAGE).await?;
        command.push(by_command.returned);
        swarm.push(by_command.running);
        process::calm(bench).await;
        unasked.push(swarm_service(bench, &raw, round, IMAGE).await?.running);
        process::calm(bench).await;
        alone.push(raw_containers(bench, &raw, round).await?);
        process::calm(bench).await;
        of_docker.push(docker.large_service(bench, round).await?);
        process::calm(bench).await;
        of_oci.push(oci.large_service(bench, round).await?);
    }
    let figure = |subject: &str, samples: &Samples, peer: &str, beside: &Samples| {
        let name = format!("{subject}: CreateService to {TASKS} RUNNING, median of {ROUNDS}");
        Figure::new(NAME, name, samples.median() / 1e3, "s").beside(peer, beside.median() / 1e3)
    };
    let subjects = [("Docker runtime", &of_docker, 0.5), ("embedded runtime", &of_oci, 0.15)];
    let mut figures: Vec<Figure> = subjects
        .iter()
        .map(|(name, samples, most)| {
            figure(name, samples, "docker service create", &command).held_to(Floor::RatioAtMost(*most))
        })
        .collect();
    let by_hand = format!("Docker alone, {RAW_AT_ONCE} at a time");
    figures.push(figure(&by_hand, &alone, "docker service create", &command));
    for (peer, samples) in [("its tasks RUNNING", &swarm), ("the same, no registry asked", &unasked)] {
        let all = [("Docker runtime", &of_docker), ("embedded runtime", &of_oci), (by_hand.as_str(), &alone)];
        figures.extend(all.map(|(name, of)| figure(name, of, peer, samples)));
    }
    for subject in [&docker, &oci] {
        process::calm(bench).await;
        figures.extend(subject.deployments(bench).await?);
    }
    oci.end().await?;
    let docker_dir = docker.end().await?;
    bench.cleanup(&docker_dir)?;
    bench.remove_docker_image(&docker_dir, PLAIN_IMAGE)?;
    bench.remove_docker_image(&docker_dir, IMAGE)?;
    Ok(figures)
}

impl Subject {
    async fn start(bench: &Bench, name: &'static str, runtime: &'static str, archive: &Path) -> Result<Self> {
        let dir = bench.data_dir(&format!("services-{runtime}"));
        let up = bench.start(&dir, "up", &["--runtime", runtime])?;
        bench.import(&dir, runtime, archive)?;
        let api = Api::new(&up.endpoint, &bench.seams)?;
        api.wait_for_instance().await?;
        api.register("bench").await?;
        Ok(Self { up, dir, api, name })
    }

    async fn end(self) -> Result<DataDir> {
        self.up.terminate().await?;
        Ok(self.dir)
    }

    async fn create(&self, name: &str, definition: &str, desired: i32) -> Result {
        let request = ecs::CreateServiceRequest {
            service_name: Some(name.to_owned()),
            task_definition: Some(definition.to_owned()),
            desired_count: Some(desired),
            ..ecs::CreateServiceRequest::default()
        };
        let _: ecs::CreateServiceResponse = self.api.ecs("CreateService", &request).await?;
        Ok(())
    }

    async fn look(&self, name: &str) -> Result<Seen> {
        let request = ecs::DescribeServicesRequest {
            services: Some(vec![name.to_owned()]),
            ..ecs::DescribeServicesRequest::default()
        };
        let answer: ecs::DescribeServicesResponse = self.api.ecs("DescribeServices", &request).await?;
        let service = answer.services.unwrap_or_default().into_iter().next().unwrap_or_default();
        let deployments = service.deployments.unwrap_or_default();
        let state = deployments.first().and_then(|it| it.rollout_state.clone());
        Ok(Seen {
            running: service.running_count.unwrap_or(0),
            pending: service.pending_count.unwrap_or(0),
            deployments: deployments.len(),
            definition: service.task_definition.unwrap_or_default(),
            completed: state == Some(ecs::DeploymentRolloutState::Completed),
        })
    }

    async fn wait(&self, bench: &Bench, name: &str, reached: impl Fn(&Seen) -> bool) -> Result {
        let began = bench.seams.clock.monotonic();
        loop {
            let seen = self.look(name).await?;
            if reached(&seen) {
                return Ok(());
            }
            if bench.seams.clock.monotonic().saturating_sub(began) > PATIENCE {
                return Err(
                    format!("{} runtime: waited {PATIENCE:?} in vain for service {name}: {seen:?}", self.name).into()
                );
            }
            bench.seams.clock.sleep(LOOK_EVERY).await;
        }
    }

    async fn delete(&self, bench: &Bench, name: &str) -> Result {
        let request = ecs::DeleteServiceRequest {
            service: Some(name.to_owned()),
            force: Some(true),
            ..ecs::DeleteServiceRequest::default()
        };
        let _: ecs::DeleteServiceResponse = self.api.ecs("DeleteService", &request).await?;
        self.wait(bench, name, |seen| seen.running + seen.pending == 0).await
    }

    /// From CreateService to all tasks RUNNING.
    async fn large_service(&self, bench: &Bench, round: usize) -> Result<Duration> {
        let name = format!("large-{round}");
        let began = bench.seams.clock.monotonic();
        self.create(&name, "bench", TASKS).await?;
        self.wait(bench, &name, |seen| seen.running == TASKS).await?;
        let took = bench.seams.clock.monotonic().saturating_sub(began);
        self.delete(bench, &name).await?;
        Ok(took)
    }

    /// Registers a definition whose container says by `check` whether it is healthy.
    async fn register_checked(&self, family: &str, check: &str) -> Result {
        let mut request = task_definition(family);
        for container in request.container_definitions.iter_mut().flatten() {
            container.health_check = Some(ecs::HealthCheck {
                command: Some(vec!["CMD".to_owned(), check.to_owned()]),
                interval: Some(CHECK_EVERY),
                retries: Some(10),
                ..ecs::HealthCheck::default()
            });
        }
        let _: ecs::RegisterTaskDefinitionResponse = self.api.ecs("RegisterTaskDefinition", &request).await?;
        Ok(())
    }

    /// From RunTask of one task to HEALTHY: what the image needs by itself.
    async fn own_start(&self, bench: &Bench) -> Result<Duration> {
        let began = bench.seams.clock.monotonic();
        let tasks = self.api.run("checked", 1).await?;
        loop {
            let request =
                ecs::DescribeTasksRequest { tasks: Some(tasks.clone()), ..ecs::DescribeTasksRequest::default() };
            let answer: ecs::DescribeTasksResponse = self.api.ecs("DescribeTasks", &request).await?;
            let healthy = |task: &ecs::Task| task.health_status == Some(ecs::HealthStatus::Healthy);
            let took = bench.seams.clock.monotonic().saturating_sub(began);
            if answer.tasks.iter().flatten().any(healthy) {
                self.api.stop(&tasks).await?;
                return Ok(took);
            }
            if took > PATIENCE {
                return Err("a task with a health check does not become HEALTHY".into());
            }
            bench.seams.clock.sleep(LOOK_EVERY).await;
        }
    }

    /// A rolling deployment of a healthy service, and the rollback of one whose tasks do not become healthy.
    async fn deployments(&self, bench: &Bench) -> Result<Vec<Figure>> {
        const SERVICE: &str = "rolling";
        self.register_checked("checked", "true").await?;
        self.register_checked("unwell", "false").await?;
        let own = self.own_start(bench).await?;
        self.create(SERVICE, "checked", DEPLOYED).await?;
        self.wait(bench, SERVICE, |seen| seen.completed && seen.running == DEPLOYED).await?;
        let rolled = |seen: &Seen| seen.completed && seen.deployments == 1 && seen.running == DEPLOYED;

        let began = bench.seams.clock.monotonic();
        self.update(SERVICE, "checked", true).await?;
        self.wait(bench, SERVICE, rolled).await?;
        let deployed = bench.seams.clock.monotonic().saturating_sub(began);

        self.update(SERVICE, "unwell", false).await?;
        self.wait(bench, SERVICE, |seen| seen.running == 2 * DEPLOYED).await?;
        let request = ecs::ListServiceDeploymentsRequest {
            service: Some(SERVICE.to_owned()),
            ..ecs::ListServiceDeploymentsRequest::default()
        };
        let listed: ecs::ListServiceDeploymentsResponse = self.api.ecs("ListServiceDeployments", &request).await?;
        let latest = listed.service_deployments.unwrap_or_default().into_iter().next().unwrap_or_default();
        let began = bench.seams.clock.monotonic();
        let request = ecs::StopServiceDeploymentRequest {
            service_deployment_arn: latest.service_deployment_arn,
            stop_type: Some(ecs::StopServiceDeploymentStopType::Rollback),
        };
        let _: ecs::StopServiceDeploymentResponse = self.api.ecs("StopServiceDeployment", &request).await?;
        self.wait(bench, SERVICE, |seen| rolled(seen) && seen.definition.contains("checked")).await?;
        let rolled_back = bench.seams.clock.monotonic().saturating_sub(began);
        self.delete(bench, SERVICE).await?;
        let name = |what: &str| format!("{} runtime: {what}", self.name);
        Ok(vec![
            Figure::new(
                NAME,
                name("rolling deployment of 10 tasks with a container health check"),
                deployed.as_secs_f64(),
                "s",
            )
            .beside("one task's own start", own.as_secs_f64())
            .held_to(Floor::ExcessAtMost(10.0)),
            Figure::new(NAME, name("rollback of one under way"), rolled_back.as_secs_f64(), "s")
                .held_to(Floor::AtMost(3.0)),
        ])
    }

    async fn update(&self, name: &str, definition: &str, force: bool) -> Result {
        let request = ecs::UpdateServiceRequest {
            service: Some(name.to_owned()),
            task_definition: Some(definition.to_owned()),
            force_new_deployment: Some(force),
            ..ecs::UpdateServiceRequest::default()
        };
        let _: ecs::UpdateServiceResponse = self.api.ecs("UpdateService", &request).await?;
        Ok(())
    }
}

/// From the first of as many containers, asked of Docker directly, to the last one that is started: what its runtime can do
/// at most.
async fn raw_containers(bench: &Bench, docker: &Docker, round: usize) -> Result<Duration> {
    let body = || ContainerCreateBody {
        image: Some(IMAGE.to_owned()),
        cmd: Some(COMMAND.map(str::to_owned).to_vec()),
        host_config: Some(HostConfig { memory: Some(i64::from(MEMORY_MIB) << 20), ..HostConfig::default() }),
        ..ContainerCreateBody::default()
    };
    let names: Vec<String> =
        (0..TASKS).map(|at| format!("longshore-bench-{}-{round}-{at}", std::process::id())).collect();
    let began = bench.seams.clock.monotonic();
    let starts = stream::iter(&names).map(async |name| {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        docker.create_container(Some(options), body()).await?;
        docker.start_container(name, None).await
    });
    let started: std::result::Result<Vec<()>, _> = starts.buffer_unordered(RAW_AT_ONCE).try_collect().await;
    let took = bench.seams.clock.monotonic().saturating_sub(began);
    let removed = stream::iter(&names).map(|name| {
        let options = RemoveContainerOptionsBuilder::default().force(true).build();
        docker.remove_container(name, Some(options))
    });
    let removed: Vec<_> = removed.buffer_unordered(RAW_AT_ONCE).collect().await;
    started?;
    removed.into_iter().collect::<std::result::Result<Vec<()>, _>>()?;
    Ok(took)
}

/// How long a swarm took.
struct Swarm {
    /// Until all of its tasks ran.
    running: Duration,
    /// Until the command came back: it looks for some seconds whether they stay.
    returned: Duration,
}

/// A service of the same containers by `docker service create`. The swarm lives for this only.
async fn swarm_service(bench: &Bench, docker: &Docker, round: usize, image: &str) -> Result<Swarm> {
    let request = SwarmInitRequest {
        advertise_addr: Some("127.0.0.1".to_owned()),
        listen_addr: Some("127.0.0.1:2377".to_owned()),
        ..SwarmInitRequest::default()
    };
    docker.init_swarm(request).await?;
    let measured = measured_swarm_service(bench, docker, round, image).await;
    docker.leave_swarm(Some(LeaveSwarmOptionsBuilder::default().force(true).build())).await?;
    measured
}

async fn measured_swarm_service(bench: &Bench, docker: &Docker, round: usize, image: &str) -> Result<Swarm> {
    let name = format!("longshore-bench-{}-{round}", std::process::id());
    let mut command = Command::new("docker");
    command.args(["service", "create", "--quiet", "--name", &name, "--replicas", &TASKS.to_string()]);
    command.args(["--limit-memory", &format!("{MEMORY_MIB}M"), image]).args(COMMAND);
    let began = bench.seams.clock.monotonic();
    let mut command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let (mut running, mut returned) = (None, None);
    loop {
        let took = bench.seams.clock.monotonic().saturating_sub(began);
        if running.is_none() && running_tasks(docker, &name).await? == usize::try_from(TASKS)? {
            running = Some(took);
        }
        if returned.is_none() && command.try_wait()?.is_some() {
            returned = Some(took);
        }
        if let (Some(running), Some(returned)) = (running, returned) {
            docker.delete_service(&name).await?;
            wait_until_gone(bench, docker, &name).await?;
            return Ok(Swarm { running, returned });
        }
        if took > PATIENCE {
            command.kill()?;
            return Err(format!("Docker's swarm does not run {TASKS} tasks after {PATIENCE:?}").into());
        }
        bench.seams.clock.sleep(LOOK_EVERY).await;
    }
}

async fn running_tasks(docker: &Docker, service: &str) -> Result<usize> {
    let filter = filters("service", service);
    let options = ListTasksOptionsBuilder::default().filters(&filter).build();
    let tasks = match docker.list_tasks(Some(options)).await {
        Ok(tasks) => tasks,
        // The service has not been made yet.
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    let states = tasks.iter().filter_map(|task| task.status.as_ref()?.state.as_ref());
    Ok(states.filter(|state| **state == TaskState::RUNNING).count())
}

#[expect(clippy::disallowed_types, reason = "the client library takes such filters")]
fn filters(name: &'static str, value: &str) -> HashMap<&'static str, Vec<String>> {
    HashMap::from([(name, vec![value.to_owned()])])
}

/// The containers of a swarm service outlive it by a while.
async fn wait_until_gone(bench: &Bench, docker: &Docker, service: &str) -> Result {
    let filter = filters("label", &format!("com.docker.swarm.service.name={service}"));
    let began = bench.seams.clock.monotonic();
    loop {
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filter).build();
        if docker.list_containers(Some(options)).await?.is_empty() {
            return Ok(());
        }
        if bench.seams.clock.monotonic().saturating_sub(began) > PATIENCE {
            return Err("the containers of a swarm service do not go".into());
        }
        bench.seams.clock.sleep(LOOK_EVERY).await;
    }
}
