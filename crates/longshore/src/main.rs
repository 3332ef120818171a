//! Longshore: Amazon ECS on your own machines, in one binary.

mod cli;
mod commands;
mod config;
mod datadir;
mod demo;
mod first_start;
mod functions;
mod output;
mod runtimes;
mod server;
mod up;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::CommandFactory;
use longshore_seams::Seams;

use cli::{Cli, Command, OutputFormat};
use output::{Failure, print_line};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // What runs inside or beside containers comes first, before any thread is started.
    match arguments.get(1).and_then(|argument| argument.to_str()) {
        Some("shim") => longshore_runtime::oci::shim_main(arguments.into_iter().skip(2)),
        Some("init") => longshore_runtime::oci::init_main(arguments.into_iter().skip(2)),
        Some("demo-web") => return finish(OutputFormat::Table, block_on(1, demo::serve())),
        _ => {}
    }
    let cli = match config::parse(arguments) {
        Ok(cli) => cli,
        Err(failure) => return failure.report(OutputFormat::Table),
    };
    // One TLS provider for the process, chosen before anything could need one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    trace(&cli);
    let workers = match cli.command {
        Command::Up(_) | Command::Server(_) | Command::Agent(_) => {
            std::thread::available_parallelism().map_or(2, usize::from)
        }
        _ => 1,
    };
    finish(cli.output, block_on(workers, run(&cli)))
}

fn finish(format: OutputFormat, result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(format),
    }
}

fn block_on(workers: usize, work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    let result = runtime.block_on(work);
    // Background work that still waits for something must not keep the process.
    runtime.shutdown_background();
    result
}

/// Events of long-running commands go to the error output: `LONGSHORE_LOG` chooses which, `LONGSHORE_LOG_FORMAT=json` how.
fn trace(cli: &Cli) {
    let quiet = !matches!(cli.command, Command::Up(_) | Command::Server(_) | Command::Agent(_));
    let default = if quiet { "error" } else { "warn,longshore=info" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("LONGSHORE_LOG").unwrap_or_else(|_| default.into());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    if std::env::var("LONGSHORE_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().init();
    } else {
        builder.init();
    }
}

async fn run(cli: &Cli) -> Result<(), Failure> {
    let seams = Seams::system();
    let format = cli.output;
    match &cli.command {
        Command::Up(args) => up::up(args, format, &seams).await,
        Command::Server(args) => up::server(args, format, &seams).await,
        Command::Agent(args) => up::agent(args, format, &seams).await,
        Command::Run(args) => commands::run::run(args, format, &seams).await,
        Command::Ps(args) => commands::tasks::ps(args, format, &seams).await,
        Command::Logs(args) => commands::logs::logs(args, format, &seams).await,
        Command::Events(args) => commands::events::events(args, format, &seams).await,
        Command::Stop(args) => commands::tasks::stop(args, format, &seams).await,
        Command::Explain(args) => commands::explain::explain(args, format, &seams).await,
        Command::Plan(args) => commands::explain::plan(args, format, &seams).await,
        Command::Fargate(command) => commands::fargate::fargate(command, format, &seams).await,
        Command::Image(command) => commands::image::image(command, format, &seams).await,
        Command::Account(command) => commands::admin::account(command, format, &seams).await,
        Command::Key(command) => commands::admin::key(command, format, &seams).await,
        Command::Token(command) => commands::admin::token(command, format, &seams).await,
        Command::Down(args) => commands::host::down(args, format, &seams).await,
        Command::Cleanup(args) => commands::host::cleanup(args, format, &seams).await,
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "longshore", &mut std::io::stdout());
            Ok(())
        }
        Command::Version => match format {
            OutputFormat::Table => print_line(concat!("longshore ", env!("CARGO_PKG_VERSION"))),
            OutputFormat::Json => print_line(&serde_json::json!({"version": env!("CARGO_PKG_VERSION")}).to_string()),
        },
    }
}
