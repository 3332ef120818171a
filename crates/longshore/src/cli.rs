//! What may be typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Amazon ECS on your own machines.
#[derive(Debug, Parser)]
#[command(
    name = "longshore",
    version,
    about,
    after_help = "Begin with 'longshore up'; then 'longshore run nginx:latest -p 8080:80', or the aws CLI with the \
                  profile that the first start made.\n\nExit codes: 0 done · 1 failed · 2 wrong usage · 3 not found · \
                  4 refused by the API · 5 can't reach the API · 6 the task did not start · 7 the data directory can't be used"
)]
pub struct Cli {
    /// How answers are printed.
    #[arg(long, global = true, value_enum, default_value = "table", env = "LONGSHORE_OUTPUT")]
    pub output: OutputFormat,
    #[command(subcommand)]
    pub command: Command,
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Table,
    /// For programs: one JSON document.
    Json,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything on this machine: the API, and an agent that runs the tasks.
    Up(Box<UpArgs>),
    /// Run the control plane only; agents join it from other machines.
    Server(Box<ServerArgs>),
    /// Make this machine a container instance of a control plane.
    Agent(Box<AgentArgs>),
    /// Run a container as a task and wait until it runs.
    Run(Box<RunArgs>),
    /// Show tasks.
    Ps(PsArgs),
    /// Show what a task's containers print.
    Logs(LogsArgs),
    /// Show what happened to tasks, container instances, services and deployments.
    Events(EventsArgs),
    /// Stop tasks.
    Stop(StopArgs),
    /// Say why a task or a service is as it is, and what would help.
    Explain(ExplainArgs),
    /// Say where RunTask would place tasks, and why not, without running any.
    Plan(PlanArgs),
    /// Do to Fargate tasks what AWS does to them by itself: take Spot capacity back, retire, recycle.
    #[command(subcommand)]
    Fargate(FargateCommand),
    /// Images of this machine's embedded runtime or Docker.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Accounts.
    #[command(subcommand)]
    Account(AccountCommand),
    /// Access keys of an account's root.
    #[command(subcommand)]
    Key(KeyCommand),
    /// One-time tokens with which agents join.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Stop the 'up' or 'server' of a data directory, and its tasks.
    Down(DownArgs),
    /// Remove everything that a data directory started on this host: containers, networks, mounts.
    Cleanup(CleanupArgs),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the version.
    Version,
}

/// Which data directory.
#[derive(Args, Clone, Debug)]
pub struct DataDirArg {
    /// Directory that holds everything [default: /var/lib/longshore for root, else ~/.local/share/longshore].
    #[arg(long, value_name = "DIR", env = "LONGSHORE_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
}

impl DataDirArg {
    /// The directory asked for, or the default one.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(crate::datadir::default_path)
    }
}

/// How tasks' containers are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RuntimeChoice {
    /// The one that the data directory was used with before; else Docker when it answers, else the embedded runtime.
    Auto,
    /// The Docker Engine of this machine.
    Docker,
    /// The embedded runtime: no Docker needed.
    Oci,
}

/// Settings of an agent.
#[derive(Args, Clone, Debug)]
pub struct RuntimeArgs {
    /// What runs the containers.
    #[arg(long, value_enum, default_value = "auto", env = "LONGSHORE_RUNTIME")]
    pub runtime: RuntimeChoice,
    /// Addresses of the embedded runtime's containers [default: a private range that is free on this host].
    #[arg(long, value_name = "CIDR", env = "LONGSHORE_SUBNET")]
    pub subnet: Option<String>,
    /// MiB of this machine's memory that tasks do not get.
    #[arg(long, value_name = "MIB", default_value_t = 0, env = "LONGSHORE_RESERVED_MEMORY")]
    pub reserved_memory: u64,
    /// Seconds for which a stopped task's containers are kept.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, env = "LONGSHORE_TASK_CLEANUP_WAIT")]
    pub task_cleanup_wait: u64,
}

/// Settings of the API.
#[derive(Args, Clone, Debug)]
pub struct ServerArgs {
    #[command(flatten)]
    pub data_dir: DataDirArg,
    /// Address and port of the API.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:4747", env = "LONGSHORE_LISTEN")]
    pub listen: SocketAddr,
    /// Account that the first start makes (12 digits) [default: a random one].
    #[arg(long, value_name = "ID", env = "LONGSHORE_ACCOUNT")]
    pub account: Option<String>,
    /// Region of the profile that the first start makes. The API itself answers for any region.
    #[arg(long, value_name = "NAME", default_value = "us-east-1", env = "LONGSHORE_REGION")]
    pub region: String,
    /// Certificate chain (PEM): serve HTTPS.
    #[arg(long, value_name = "FILE", requires = "tls_key", env = "LONGSHORE_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM) of the certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert", env = "LONGSHORE_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// Serve plain HTTP on an address that other machines can reach.
    #[arg(long, env = "LONGSHORE_INSECURE_HTTP")]
    pub insecure_http: bool,
    /// URL by which agents reach the API [default: the Host that they asked].
    #[arg(long, value_name = "URL", env = "LONGSHORE_ADVERTISE_URL")]
    pub advertise_url: Option<String>,
    /// File descriptor that gets a line once the API answers.
    #[arg(long, value_name = "FD")]
    pub ready_fd: Option<i32>,
    /// File that is written once the API answers.
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Do not make a profile for the aws CLI at the first start; print the key instead.
    #[arg(long, env = "LONGSHORE_NO_PROFILE")]
    pub no_profile: bool,
    /// Quotas other than AWS's own, NAME=NUMBER: clusters-per-account, container-instances-per-cluster,
    /// services-per-cluster, tasks-per-service, fargate-tasks, fargate-spot-tasks, fargate-public-ips,
    /// fargate-launches-per-second, provisioning-tasks-per-cluster, service-task-launches-per-minute.
    #[arg(long, value_name = "NAME=NUMBER,…", value_delimiter = ',', env = "LONGSHORE_QUOTA")]
    pub quota: Vec<String>,
    /// URL of a Lambda API: the functions of deployment lifecycle hooks are invoked there, with the keys in
    /// LONGSHORE_LAMBDA_ACCESS_KEY_ID, LONGSHORE_LAMBDA_SECRET_ACCESS_KEY and LONGSHORE_LAMBDA_SESSION_TOKEN, if any.
    /// A URL that ends in /invocations is invoked as it is, whatever the function.
    #[arg(long, value_name = "URL", env = "LONGSHORE_LAMBDA_ENDPOINT")]
    pub lambda_endpoint: Option<String>,
    /// Certificate authority (PEM) of the Lambda API [default: the machine's].
    #[arg(long, value_name = "FILE", env = "LONGSHORE_LAMBDA_CA_FILE")]
    pub lambda_ca_file: Option<PathBuf>,
    /// TOML file with any of these settings; the environment and flags win over it.
    #[arg(long, value_name = "FILE", env = "LONGSHORE_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Settings of `up`.
#[derive(Args, Clone, Debug)]
pub struct UpArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// Do not lend this machine to tasks of launch type FARGATE.
    #[arg(long, env = "LONGSHORE_NO_FARGATE")]
    pub no_fargate: bool,
}

/// Settings of a joined agent.
#[derive(Args, Clone, Debug)]
pub struct AgentArgs {
    #[command(flatten)]
    pub data_dir: DataDirArg,
    /// URL of the control plane.
    #[arg(long, value_name = "URL", env = "LONGSHORE_JOIN")]
    pub join: Option<String>,
    /// Token of 'longshore token create'; needed the first time only.
    #[arg(long, value_name = "TOKEN", env = "LONGSHORE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Certificate authority (PEM) of the control plane.
    #[arg(long, value_name = "FILE", env = "LONGSHORE_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// Attributes of this container instance: NAME=VALUE.
    #[arg(long = "attribute", value_name = "NAME=VALUE")]
    pub attributes: Vec<String>,
    /// Tags that this container instance gets when it registers for the first time: a JSON object of keys and values.
    #[arg(long, value_name = "JSON", env = "ECS_CONTAINER_INSTANCE_TAGS")]
    pub tags: Option<String>,
    /// Lend this machine to tasks of launch type FARGATE, of every cluster, and to nothing else. It is never shown as
    /// a container instance.
    #[arg(long, env = "LONGSHORE_FARGATE", conflicts_with = "capacity_provider")]
    pub fargate: bool,
    /// Capacity provider that this container instance belongs to.
    #[arg(long, value_name = "NAME", env = "LONGSHORE_CAPACITY_PROVIDER")]
    pub capacity_provider: Option<String>,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// File that is written once the agent is connected.
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

/// Which API, as whom.
#[derive(Args, Clone, Debug)]
pub struct ApiArgs {
    /// Profile of the aws CLI's files [default: AWS_PROFILE, else longshore].
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// URL of the API [default: the profile's].
    #[arg(long, value_name = "URL")]
    pub endpoint_url: Option<String>,
    /// Region [default: the profile's].
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// Certificate authority (PEM) of the API [default: AWS_CA_BUNDLE].
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

/// Settings of `run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Image reference, or with --task-definition a family or ARN.
    pub image: String,
    /// Command and arguments instead of the image's.
    #[arg(trailing_var_arg = true)]
    pub command: Vec<String>,
    /// The name is a task definition: run it as it is.
    #[arg(long)]
    pub task_definition: bool,
    /// Family and container name [default: from the image's name].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Publish a port: [HOST:]CONTAINER[/udp]. Without HOST a free one is chosen.
    #[arg(short, long = "publish", value_name = "PORT")]
    pub publish: Vec<String>,
    /// Environment: NAME=VALUE.
    #[arg(short, long = "env", value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Memory limit in MiB.
    #[arg(short, long, default_value_t = 128)]
    pub memory: i32,
    /// CPU units; 1024 is a core.
    #[arg(long, default_value_t = 0)]
    pub cpu: i32,
    /// Cluster.
    #[arg(long, default_value = "default")]
    pub cluster: String,
    /// How many.
    #[arg(long, default_value_t = 1)]
    pub count: i32,
    /// Answer once the task is placed, without waiting until it runs.
    #[arg(long)]
    pub no_wait: bool,
    #[command(flatten)]
    pub api: ApiArgs,
}

/// Settings of `ps`.
#[derive(Args, Clone, Debug)]
pub struct PsArgs {
    /// Show stopped tasks, too.
    #[arg(short, long)]
    pub all: bool,
    /// Cluster.
    #[arg(long, default_value = "default")]
    pub cluster: String,
    #[command(flatten)]
    pub api: ApiArgs,
}

/// Settings of `logs`.
#[derive(Args, Clone, Debug)]
pub struct LogsArgs {
    /// Task id (or its beginning), ARN, or the name of a family with one running task.
    pub task: String,
    /// Only this container.
    #[arg(long)]
    pub container: Option<String>,
    /// Go on as more is printed, until the task has stopped.
    #[arg(short, long)]
    pub follow: bool,
    /// Cluster.
    #[arg(long, default_value = "default")]
    pub cluster: String,
    #[command(flatten)]
    pub api: ApiArgs,
}

/// Settings of `events`.
#[derive(Args, Clone, Debug)]
pub struct EventsArgs {
    /// Go on as more happens.
    #[arg(short, long)]
    pub follow: bool,
    /// Only of this cluster [default: all].
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Only of these kinds.
    #[arg(long = "type", value_enum, value_name = "TYPE,…", value_delimiter = ',')]
    pub types: Vec<EventType>,
    /// Only from this time on: 30s, 10m, 2h, 3d ago, or a time like 2026-11-22T10:00:00Z [default: all that is kept].
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    #[command(flatten)]
    pub api: ApiArgs,
}

/// Kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EventType {
    /// ECS Task State Change.
    Task,
    /// ECS Container Instance State Change.
    ContainerInstance,
    /// ECS Service Action.
    Service,
    /// ECS Deployment State Change.
    Deployment,
    /// ECS Hook State Change.
    Hook,
}

/// Interruptions of Fargate tasks.
#[derive(Debug, Subcommand)]
pub enum FargateCommand {
    /// Take capacity of FARGATE_SPOT back: its tasks get the termination notice, SIGTERM, and at most two minutes.
    Reclaim {
        #[command(flatten)]
        tasks: FargateTaskArgs,
    },
    /// Retire Fargate tasks, at once or on a date: they are stopped, and services replace theirs.
    Retire {
        #[command(flatten)]
        tasks: FargateTaskArgs,
        /// When: 10m, 2h, 3d from now, or a time like 2026-11-22T10:00:00Z [default: now].
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
    },
    /// Recycle the Fargate tasks of services, as patching does: they are stopped, and replaced by their services.
    Recycle {
        #[command(flatten)]
        tasks: FargateTaskArgs,
    },
}

/// Which Fargate tasks.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct FargateTaskArgs {
    /// Task ids or ARNs.
    #[arg(long = "task", value_name = "TASK", conflicts_with_all = ["count", "all"], required_unless_present_any = ["count", "all"])]
    pub tasks: Vec<String>,
    /// So many of them, the oldest first.
    #[arg(long, conflicts_with = "all")]
    pub count: Option<i32>,
    /// All of them.
    #[arg(long)]
    pub all: bool,
    /// Cluster [default: that of --task is 'default'; else all clusters].
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Account of the tasks; another than yours is the operator's right [default: yours].
    #[arg(long, value_name = "ID")]
    pub account: Option<String>,
    #[command(flatten)]
    pub api: ApiArgs,
}

/// Settings of `stop`.
#[derive(Args, Clone, Debug)]
pub struct StopArgs {
    /// Task ids (or their beginnings), ARNs, or names of families with one running task.
    #[arg(required = true)]
    pub tasks: Vec<String>,
    /// Why; shown as the task's stoppedReason.
    #[arg(long, default_value = "Stopped by 'longshore stop'")]
    pub reason: String,
    /// Answer at once, without waiting until the tasks have stopped.
    #[arg(long)]
    pub no_wait: bool,
    /// Cluster.
    #[arg(long, default_value = "default")]
    pub cluster: String,
    #[command(flatten)]
    pub api: ApiArgs,
}

/// Settings of `explain`.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// Task id or ARN, or service name or ARN.
    pub resource: String,
    /// Cluster.
    #[arg(long, default_value = "default")]
    pub cluster: String,
    #[command(flatten)]
    pub api: ApiArgs,
}

/// Settings of `plan`.
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    /// Family, family:revision or ARN.
    #[arg(required_unless_present_any = ["request", "service", "create_service", "update_service"])]
    pub task_definition: Option<String>,
    /// How many.
    #[arg(long, default_value_t = 1)]
    pub count: i32,
    /// Update this service instead: with the task definition if one is given.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["request", "count", "launch_type", "subnets"])]
    pub service: Option<String>,
    /// So many tasks of the service.
    #[arg(long, value_name = "COUNT", requires = "service")]
    pub desired_count: Option<i32>,
    /// Replace the service's tasks though nothing else changes.
    #[arg(long, requires = "service")]
    pub force_new_deployment: bool,
    /// A whole CreateService request as JSON, as 'aws ecs create-service --cli-input-json' takes it.
    #[arg(long, value_name = "JSON", conflicts_with_all = ["task_definition", "request", "service", "update_service"])]
    pub create_service: Option<String>,
    /// A whole UpdateService request as JSON, as 'aws ecs update-service --cli-input-json' takes it.
    #[arg(long, value_name = "JSON", conflicts_with_all = ["task_definition", "request", "service"])]
    pub update_service: Option<String>,
    /// EC2, FARGATE or EXTERNAL [default: the cluster's strategy, else EC2].
    #[arg(long, value_name = "TYPE")]
    pub launch_type: Option<String>,
    /// Subnets of awsvpc tasks.
    #[arg(long = "subnet", value_name = "ID")]
    pub subnets: Vec<String>,
    /// A whole RunTask request as JSON, as 'aws ecs run-task --cli-input-json' takes it.
    #[arg(long, value_name = "JSON", conflicts_with_all = ["task_definition", "count", "launch_type", "subnets"])]
    pub request: Option<String>,
    /// Cluster.
    #[arg(long, default_value = "default")]
    pub cluster: String,
    #[command(flatten)]
    pub api: ApiArgs,
}

/// Images.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Import a 'docker save' archive or an OCI layout (a directory, or a tar of one).
    Import {
        /// The archive or directory.
        #[arg(required_unless_present = "demo")]
        archive: Option<PathBuf>,
        /// Name for an image that carries none.
        #[arg(long)]
        name: Option<String>,
        /// Make and import longshore/demo:latest: a small web server that comes with this program.
        #[arg(long, conflicts_with_all = ["archive", "name"])]
        demo: bool,
        #[command(flatten)]
        data_dir: DataDirArg,
        #[command(flatten)]
        runtime: RuntimeOnly,
    },
    /// Show images.
    #[command(alias = "ls")]
    List {
        #[command(flatten)]
        data_dir: DataDirArg,
        #[command(flatten)]
        runtime: RuntimeOnly,
    },
    /// Remove an image.
    #[command(alias = "rm")]
    Remove {
        /// Its reference.
        reference: String,
        #[command(flatten)]
        data_dir: DataDirArg,
        #[command(flatten)]
        runtime: RuntimeOnly,
    },
}

/// Which runtime's images.
#[derive(Args, Clone, Debug)]
pub struct RuntimeOnly {
    /// Whose images.
    #[arg(long, value_enum, default_value = "auto", env = "LONGSHORE_RUNTIME")]
    pub runtime: RuntimeChoice,
}

/// Accounts.
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Make an account with a root key.
    Create {
        /// What to call it.
        name: String,
        /// Twelve digits [default: random].
        #[arg(long)]
        id: Option<String>,
        /// Profile for the aws CLI to write the key to [default: print it].
        #[arg(long)]
        write_profile: Option<String>,
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Show accounts.
    #[command(alias = "ls")]
    List {
        #[command(flatten)]
        api: ApiArgs,
    },
}

/// Access keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a root key of your account, or as the operator of another.
    Create {
        /// The account [default: yours].
        #[arg(long)]
        account: Option<String>,
        /// Profile for the aws CLI to write the key to [default: print it].
        #[arg(long)]
        write_profile: Option<String>,
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Show root keys, without their secrets.
    #[command(alias = "ls")]
    List {
        /// The account [default: yours].
        #[arg(long)]
        account: Option<String>,
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Delete a root key.
    #[command(alias = "rm")]
    Delete {
        /// The key's id.
        id: String,
        #[command(flatten)]
        api: ApiArgs,
    },
}

/// Join tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a one-time token.
    Create {
        /// Cluster that the agent will join.
        #[arg(long, default_value = "default")]
        cluster: String,
        /// Seconds until it can no longer be used.
        #[arg(long, default_value_t = 3600)]
        expires_in: i32,
        #[command(flatten)]
        api: ApiArgs,
    },
}

/// Settings of `down`.
#[derive(Args, Clone, Debug)]
pub struct DownArgs {
    #[command(flatten)]
    pub data_dir: DataDirArg,
}

/// Settings of `cleanup`.
#[derive(Args, Clone, Debug)]
pub struct CleanupArgs {
    #[command(flatten)]
    pub data_dir: DataDirArg,
    /// Delete the data directory, too.
    #[arg(long)]
    pub delete_data: bool,
}
