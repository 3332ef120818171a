//! The settings file: TOML below the environment and the flags.
//!
//! Its keys are the flags' names without dashes in front (`listen = "0.0.0.0:4747"`); the values
//! become the flags' defaults, so one table of settings serves file, environment and flags.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, FromArgMatches};

use crate::cli::Cli;
use crate::output::Failure;

/// Parses the command line, over the environment, over the settings file if one is named.
///
/// # Errors
/// Wrong usage, or a settings file that can't be used. Help and version print and end the process.
pub fn parse(arguments: Vec<OsString>) -> Result<Cli, Failure> {
    let mut command = Cli::command();
    if let Some(path) = named_file(&arguments) {
        let text = std::fs::read_to_string(&path)
            .map_err(|error| Failure::usage(format!("the settings file {} can't be read: {error}", path.display())))?;
        for name in ["up", "server"] {
            command = with_defaults(command, name, &path, &text)?;
        }
    }
    let matches = command.get_matches_from(arguments);
    Cli::from_arg_matches(&matches).map_err(|error| error.exit())
}

fn named_file(arguments: &[OsString]) -> Option<PathBuf> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--config" {
            return rest.next().map(PathBuf::from);
        }
        if let Some(path) = argument.to_str().and_then(|argument| argument.strip_prefix("--config=")) {
            return Some(PathBuf::from(path));
        }
    }
    std::env::var_os("LONGSHORE_CONFIG").map(PathBuf::from)
}

fn with_defaults(
    command: clap::Command,
    name: &'static str,
    path: &Path,
    text: &str,
) -> Result<clap::Command, Failure> {
    let bad = |what: String| Failure::usage(format!("the settings file {}: {what}", path.display()));
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| bad(error.to_string()))?;
    let mut defaults = Vec::new();
    for (key, value) in table {
        let value = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            _ => return Err(bad(format!("'{key}' must be a string, a number or a boolean"))),
        };
        defaults.push((key, value));
    }
    let known: Vec<String> = command
        .find_subcommand("up")
        .map(|up| up.get_arguments().filter_map(|argument| argument.get_long().map(str::to_owned)).collect())
        .unwrap_or_default();
    if let Some((key, _)) = defaults.iter().find(|(key, _)| !known.contains(key)) {
        return Err(bad(format!("there is no setting '{key}'; settings are: {}", known.join(", "))));
    }
    Ok(command.mut_subcommand(name, |subcommand| {
        subcommand.mut_args(|argument| {
            let default = defaults.iter().find(|(key, _)| argument.get_long() == Some(key));
            match default {
                Some((_, value)) => argument.default_value(clap::builder::OsStr::from(value.clone())),
                None => argument,
            }
        })
    }))
}
