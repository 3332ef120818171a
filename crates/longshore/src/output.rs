//! How answers and errors are printed.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::cli::OutputFormat;

/// What went wrong, with the exit code that says which kind it was (listed in `longshore --help`).
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What happened and what to do next.
    pub message: String,
    /// The API's own error code, when it refused.
    pub api_code: Option<String>,
}

impl Failure {
    /// Something failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::with_code(1, message)
    }

    /// Wrong usage.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::with_code(2, message)
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::with_code(3, message)
    }

    /// A failure with an exit code of its own.
    pub fn with_code(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), api_code: None }
    }

    /// Prints the failure and answers its exit code.
    #[must_use]
    pub fn report(&self, format: OutputFormat) -> ExitCode {
        // There is nobody left to tell when the error output is gone, too.
        let _ = match format {
            OutputFormat::Table => writeln!(std::io::stderr(), "longshore: {}", self.message),
            OutputFormat::Json => {
                let code = self.api_code.as_deref();
                let error =
                    serde_json::json!({"error": {"message": self.message, "code": code, "exitCode": self.code}});
                writeln!(std::io::stderr(), "{error}")
            }
        };
        ExitCode::from(self.code)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<crate::datadir::DataDirError> for Failure {
    fn from(error: crate::datadir::DataDirError) -> Self {
        Self::with_code(7, error.to_string())
    }
}

/// Prints one answer: as a JSON document, or what `table` makes for people.
///
/// # Errors
/// The output can't be written; a closed pipe is no error.
pub fn print<T: Serialize>(format: OutputFormat, answer: &T, table: impl FnOnce(&T) -> String) -> Result<(), Failure> {
    let text = match format {
        OutputFormat::Json => {
            serde_json::to_string_pretty(answer).map_err(|error| Failure::failed(error.to_string()))?
        }
        OutputFormat::Table => table(answer),
    };
    print_line(&text)
}

/// Prints a line; a closed pipe is no error.
///
/// # Errors
/// The output can't be written.
pub fn print_line(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// A table in plain text: a header line and aligned columns, readable without colour.
#[must_use]
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// A line of progress on the error output: on a terminal it replaces itself, elsewhere each new text is a line.
#[derive(Debug)]
pub struct Progress {
    bar: Option<indicatif::ProgressBar>,
    last: String,
}

impl Progress {
    /// Starts a line; silent for JSON output.
    #[must_use]
    pub fn start(format: OutputFormat) -> Self {
        let wanted = format == OutputFormat::Table && std::io::stderr().is_terminal();
        let bar = wanted.then(|| {
            let bar = indicatif::ProgressBar::new_spinner();
            bar.enable_steady_tick(std::time::Duration::from_millis(100));
            bar
        });
        Self { bar, last: String::new() }
    }

    /// Shows `text`.
    pub fn show(&mut self, format: OutputFormat, text: &str) {
        if text == self.last {
            return;
        }
        text.clone_into(&mut self.last);
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None if format == OutputFormat::Table => {
                let _ = writeln!(std::io::stderr(), "{text}");
            }
            None => {}
        }
    }

    /// Ends the line.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
