//! `longshore up`, `server` and `agent`: the long-running processes.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use longshore_agent::{Agent, AgentConfig, CredentialSource, HttpControlPlane, host_capacity};
use longshore_control::admin::ShutdownRequested;
use longshore_control::engine::Engine;
use longshore_control::operations::tasks::stop_every_task;
use longshore_model::capacity_provider::CAPACITY_PROVIDER;
use longshore_model::fargate::{LENDING, LENDS_ALSO, LENDS_ONLY};
use longshore_runtime::ContainerRuntime;
use longshore_runtime::memory::release_code;
use longshore_seams::{Clock, Seams};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::cli::{AgentArgs, OutputFormat, RuntimeArgs, ServerArgs, UpArgs};
use crate::datadir::DataDir;
use crate::first_start::{Greeting, make_profile};
use crate::output::{Failure, print_line};
use crate::runtimes::{self, CredentialListener};
use crate::server::{ControlPlane, Prepared};

/// How long tasks may take to stop when `longshore down` asks.
const DOWN_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the token lives with which `up` joins its own agent.
const OWN_TOKEN_LIFE: Duration = Duration::from_secs(300);
/// How often an agent lets go of the code that it does not use: loading again what it does use takes less than a
/// millisecond.
const STAY_SMALL: Duration = Duration::from_secs(30);

/// Why a process ends.
enum End {
    /// Asked to, leaving the tasks running.
    LeaveTasks,
    /// Asked to, stopping the tasks first.
    StopTasks(Duration),
}

/// Runs everything.
///
/// # Errors
/// Something needed can't be had; the message says what to do.
pub async fn up(args: &UpArgs, format: OutputFormat, seams: &Seams) -> Result<(), Failure> {
    let dir = DataDir::open(&args.server.data_dir.path(), &*seams.random)?;
    let subnet = args.runtime.subnet.as_deref();
    let runtime = runtimes::open_for_agent(args.runtime.runtime, &dir, subnet, seams);
    let ((runtime, listener), plane) = tokio::try_join!(runtime, Prepared::open(&args.server, &dir, seams))?;
    let plane = plane.begin().await?;
    let token = plane.accounts.create_join_token(&plane.scope, "default", Some(OWN_TOKEN_LIFE)).await;
    let (token, _) = token.map_err(|error| Failure::failed(error.to_string()))?;
    let mut config = agent_config(&dir, &args.runtime, seams)?;
    config.credentials = CredentialSource::JoinToken(token);
    config.region = Some(args.server.region.clone());
    if !args.no_fargate {
        config.attributes.insert(LENDING.to_owned(), LENDS_ALSO.to_owned());
    }
    let (url, ca_file) = (plane.local_url.clone(), args.server.tls_cert.clone());
    let network = HttpControlPlane::new(&url, &args.server.region, ca_file, seams)?;
    let agent = new_agent(config, runtime, listener, network, seams);
    serve(&args.server, plane, &dir, format, seams, Some(agent)).await
}

fn new_agent(
    config: AgentConfig,
    runtime: Arc<dyn ContainerRuntime>,
    listener: Option<CredentialListener>,
    network: HttpControlPlane,
    seams: &Seams,
) -> Agent {
    let agent = Agent::new(config, runtime, Arc::new(network), seams.clone());
    match listener {
        Some(listener) => agent.with_credential_listener(listener),
        None => agent,
    }
}

/// Runs the control plane alone.
///
/// # Errors
/// As [`up`].
pub async fn server(args: &ServerArgs, format: OutputFormat, seams: &Seams) -> Result<(), Failure> {
    allow_open_files();
    let dir = DataDir::open(&args.data_dir.path(), &*seams.random)?;
    let plane = Prepared::open(args, &dir, seams).await?.begin().await?;
    serve(args, plane, &dir, format, seams, None).await
}

/// Thousands of agents have connections of their own, so as many files may be open as the machine allows. Not in [`up`]:
/// containers would inherit it.
fn allow_open_files() {
    let limits = getrlimit(Resource::RLIMIT_NOFILE);
    let raised = limits.and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is: few agents can connect");
    }
}

async fn serve(
    args: &ServerArgs,
    plane: ControlPlane,
    dir: &DataDir,
    format: OutputFormat,
    seams: &Seams,
    agent: Option<Agent>,
) -> Result<(), Failure> {
    let (stop, stopping) = watch::channel(false);
    let stopped = |mut stopping: watch::Receiver<bool>| async move {
        // A sender that is gone means the end, too.
        let _ = stopping.wait_for(|stop| *stop).await.map(|_| ());
    };
    let (done, mut all_done) = mpsc::channel::<()>(1);
    let ready = Ready::of(&plane, args, dir);
    let scope = plane.scope.clone();
    let (serving, engine, _accounts, mut shutdown) = plane.into_parts();
    let (serving_stop, serving_done) = (stopped(stopping.clone()), done.clone());
    seams.spawner.spawn(
        "front door",
        Box::pin(async move {
            serving.run(serving_stop).await;
            drop(serving_done);
        }),
    );
    if let Some(agent) = agent {
        let (agent_stop, agent_done) = (stopping.clone(), done.clone());
        seams.spawner.spawn("agent", Box::pin(async move {
            if let Err(error) = agent.run(agent_stop).await {
                tracing::error!(%error, "the agent has ended: no further tasks run on this machine until a restart");
            }
            drop(agent_done);
        }));
    }
    drop(done);
    let mut signals = Signals::listen()?;
    ready.tell(args, format, &scope.account)?;
    let end = signals.wait_for_end(&mut shutdown).await;
    if let End::StopTasks(timeout) = end {
        stop_tasks(&engine, timeout, seams).await;
    }
    stop.send_replace(true);
    // Nothing is ever sent: the channel closes when the last part has ended.
    let _ = all_done.recv().await;
    Ok(())
}

/// The signals that end a process. Listened to before anybody is told that it is ready: from then
/// on one may come.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    down: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            down: signal(SignalKind::user_defined1())?,
        })
    }

    async fn wait_for_end(&mut self, shutdown: &mut mpsc::Receiver<ShutdownRequested>) -> End {
        tokio::select! {
            _ = self.terminate.recv() => End::LeaveTasks,
            _ = self.interrupt.recv() => End::LeaveTasks,
            _ = self.down.recv() => End::StopTasks(DOWN_TIMEOUT),
            Some(request) = shutdown.recv() => End::StopTasks(request.timeout),
        }
    }
}

async fn stop_tasks(engine: &Engine, timeout: Duration, seams: &Seams) {
    let all_stopped = stop_every_task(engine, "Stopped by 'longshore down'");
    tokio::select! {
        result = all_stopped => {
            if let Err(error) = result {
                tracing::error!(%error, "tasks could not be stopped; they go on running");
            }
        }
        () = seams.clock.sleep(timeout) => {
            tracing::error!("tasks have not stopped in time; 'longshore cleanup' removes what is left of them");
        }
    }
}

fn agent_config(dir: &DataDir, runtime: &RuntimeArgs, seams: &Seams) -> Result<AgentConfig, Failure> {
    let (cores, memory_mib) = host_capacity(&*seams.disk)?;
    let mut config = AgentConfig::new(dir.path().to_owned(), cores, memory_mib);
    config.reserved_memory_mib = runtime.reserved_memory;
    config.cleanup_wait = Duration::from_secs(runtime.task_cleanup_wait);
    Ok(config)
}

/// Runs a container instance of a control plane elsewhere.
///
/// # Errors
/// As [`up`]; no token and never joined before.
pub async fn agent(args: &AgentArgs, format: OutputFormat, seams: &Seams) -> Result<(), Failure> {
    let dir = DataDir::open(&args.data_dir.path(), &*seams.random)?;
    let joined = dir.agent().join("join.json");
    let url = match &args.join {
        Some(url) => url.clone(),
        None => std::fs::read_to_string(&joined).map(|url| url.trim().to_owned()).map_err(|_| {
            Failure::usage("this machine has not joined a control plane yet: give --join URL and --token TOKEN ('longshore token create' makes one)")
        })?,
    };
    let subnet = args.runtime.subnet.as_deref();
    let (runtime, listener) = runtimes::open_for_agent(args.runtime.runtime, &dir, subnet, seams).await?;
    let mut config = agent_config(&dir, &args.runtime, seams)?;
    config.attributes = attributes(&args.attributes)?;
    config.tags = args.tags.as_deref().map(tags).transpose()?.unwrap_or_default();
    if args.fargate {
        config.attributes.insert(LENDING.to_owned(), LENDS_ONLY.to_owned());
    }
    if let Some(provider) = &args.capacity_provider {
        config.attributes.insert(CAPACITY_PROVIDER.to_owned(), provider.clone());
    }
    if let Some(token) = &args.token {
        config.credentials = CredentialSource::JoinToken(token.clone());
    }
    // The region comes with the join; until then nothing is signed.
    let network = HttpControlPlane::new(&url, "us-east-1", args.ca_file.clone(), seams)?;
    std::fs::write(&joined, format!("{url}\n"))?;
    let agent = new_agent(config, runtime, listener, network, seams);
    seams.spawner.spawn("memory", Box::pin(stay_small(seams.clock.clone())));
    let mut registered = agent.registered();
    let announce = async move {
        let registered = registered.wait_for(Option::is_some).await.is_ok();
        if registered {
            say_connected(args, &url, format)?;
        }
        std::future::pending::<Result<(), Failure>>().await
    };
    let (stop, stopping) = watch::channel(false);
    let (_keep, mut no_requests) = mpsc::channel(1);
    let mut signals = Signals::listen()?;
    let end = async {
        signals.wait_for_end(&mut no_requests).await;
        stop.send_replace(true);
        std::future::pending::<Result<(), Failure>>().await
    };
    tokio::select! {
        ended = agent.run(stopping) => ended.map_err(|error| Failure::failed(error.to_string())),
        failed = announce => failed,
        failed = end => failed,
    }
}

/// Every machine has an agent: it keeps nothing resident that it does not use.
async fn stay_small(clock: Arc<dyn Clock>) {
    loop {
        clock.sleep(STAY_SMALL).await;
        if let Err(error) = release_code() {
            tracing::debug!(%error, "the agent stays as large as it is");
            return;
        }
    }
}

fn say_connected(args: &AgentArgs, url: &str, format: OutputFormat) -> Result<(), Failure> {
    let text = json!({"endpoint": url}).to_string();
    match format {
        OutputFormat::Json => print_line(&text)?,
        OutputFormat::Table => print_line(&format!("This machine is a container instance of {url}."))?,
    }
    match &args.ready_file {
        Some(path) => write_ready(path, &text),
        None => Ok(()),
    }
}

fn attributes(given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Failure::usage(format!("'{text}' is no attribute: give NAME=VALUE"))),
    };
    given.iter().map(pair).collect()
}

fn tags(given: &str) -> Result<BTreeMap<String, String>, Failure> {
    serde_json::from_str(given)
        .map_err(|error| Failure::usage(format!("'{given}' are no tags: give a JSON object of texts ({error})")))
}

/// What there is to tell once the API answers.
struct Ready {
    url: String,
    path: String,
    first: Option<(Greeting, String, String)>,
}

impl Ready {
    fn of(plane: &ControlPlane, args: &ServerArgs, dir: &DataDir) -> Self {
        let url = plane.local_url.clone();
        let first = plane.first_key.as_ref().map(|key| {
            let greeting = if args.no_profile {
                Greeting::Failed("--no-profile was given".to_owned())
            } else {
                make_profile(dir, &url, &args.region, &key.id, &key.secret)
            };
            (greeting, key.id.clone(), key.secret.clone())
        });
        Self { url, path: dir.path().display().to_string(), first }
    }

    fn tell(&self, args: &ServerArgs, format: OutputFormat, account: &str) -> Result<(), Failure> {
        let mut answer = json!({"endpoint": self.url, "account": account, "region": args.region, "dataDir": self.path});
        let mut lines = vec![format!("Longshore is ready at {} (data in {}).", self.url, self.path)];
        match &self.first {
            Some((Greeting::Made(profile), _, _)) => {
                answer["profile"] = json!(profile);
                lines.push(format!("  The key of account {account} is in the aws CLI's profile '{profile}'. Try:"));
                lines.push(format!("  aws --profile {profile} ecs list-clusters"));
            }
            Some((Greeting::Failed(why), key, secret)) => {
                answer["accessKeyId"] = json!(key);
                // A key that the user brought along is not printed back.
                if std::env::var_os("LONGSHORE_ROOT_SECRET_ACCESS_KEY").is_none() {
                    answer["secretAccessKey"] = json!(secret);
                    lines.push(format!(
                        "  No profile was made ({why}). The root key of account {account}, shown only now:"
                    ));
                    lines.push(format!(
                        "  AWS_ACCESS_KEY_ID={key} AWS_SECRET_ACCESS_KEY={secret} AWS_ENDPOINT_URL={}",
                        self.url
                    ));
                }
            }
            None => {}
        }
        match format {
            OutputFormat::Json => print_line(&answer.to_string())?,
            OutputFormat::Table => print_line(&lines.join("\n"))?,
        }
        // Files and descriptors outlive the terminal: no secret goes there.
        let text = json!({"endpoint": self.url, "account": account, "region": args.region}).to_string();
        if let Some(path) = &args.ready_file {
            write_ready(path, &text)?;
        }
        if let Some(fd) = args.ready_fd {
            tell_fd(fd, &text)?;
        }
        Ok(())
    }
}

fn write_ready(path: &Path, text: &str) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::failed(format!("--ready-file {} can't be written: {error}", path.display()));
    let new = path.with_extension("new");
    std::fs::write(&new, format!("{text}\n")).map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)
}

fn tell_fd(fd: i32, text: &str) -> Result<(), Failure> {
    if fd < 3 && fd != 1 {
        return Err(Failure::usage(format!("--ready-fd {fd}: give a descriptor that was opened for it")));
    }
    let path = format!("/proc/self/fd/{fd}");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .map_err(|error| Failure::usage(format!("--ready-fd {fd} can't be written: {error}")))?;
    writeln!(file, "{text}")?;
    Ok(())
}
