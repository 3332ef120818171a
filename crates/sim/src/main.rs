//! `cargo xtask sim`: plays stories, and prints the shortest ones that break a rule.

use std::process::ExitCode;

use longshore_sim::{Outcome, Story, generate, play, shrink};

const USAGE: &str = "\
usage: cargo xtask sim [--seeds N] [--seed S] [--trace] [STORY...]

  --seeds N   play the stories of N seeds [default: 100]
  --seed S    begin with this one [default: 0]; without --seeds only this one is played
  --trace     print everything that happens
  STORY       play these files instead
";
/// Lines of a failing story's trace that are printed.
const LINES: usize = 60;

struct Arguments {
    seeds: std::ops::Range<u64>,
    trace: bool,
    files: Vec<String>,
}

fn arguments() -> Result<Arguments, String> {
    let (mut seeds, mut first, mut trace, mut files) = (None, None, false, Vec::new());
    let mut given = std::env::args().skip(1);
    while let Some(word) = given.next() {
        let mut number = || {
            let number = given.next().and_then(|number| number.parse::<u64>().ok());
            number.ok_or_else(|| format!("{word} needs a number\n\n{USAGE}"))
        };
        match word.as_str() {
            "--seeds" => seeds = Some(number()?),
            "--seed" => first = Some(number()?),
            "--trace" => trace = true,
            "--help" | "-h" => return Err(USAGE.to_owned()),
            option if option.starts_with('-') => return Err(format!("no option {option}\n\n{USAGE}")),
            _ => files.push(word),
        }
    }
    let count = seeds.unwrap_or(if first.is_some() { 1 } else { 100 });
    let first = first.unwrap_or(0);
    Ok(Arguments { seeds: first..first.saturating_add(count), trace, files })
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(words) => {
            eprint!("{words}");
            return ExitCode::from(2);
        }
    };
    let mut stories = Vec::new();
    for file in &arguments.files {
        let read = std::fs::read_to_string(file).map_err(|error| error.to_string());
        match read.and_then(|text| Story::parse(&text).map_err(|error| error.to_string())) {
            Ok(story) => stories.push(story),
            Err(error) => {
                eprintln!("{file}: {error}");
                return ExitCode::from(2);
            }
        }
    }
    let failed = if arguments.files.is_empty() {
        arguments.seeds.clone().map(generate).filter(|story| !is_played_well(story, arguments.trace)).count()
    } else {
        stories.iter().filter(|story| !is_played_well(story, arguments.trace)).count()
    };
    let played = if stories.is_empty() { arguments.seeds.end - arguments.seeds.start } else { stories.len() as u64 };
    println!("{played} stories played, {failed} broke a rule");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn is_played_well(story: &Story, trace: bool) -> bool {
    let outcome = play(story);
    if trace {
        outcome.trace.iter().for_each(|line| println!("{line}"));
    }
    let Some(violation) = &outcome.violation else { return true };
    println!("seed {} breaks {} at {:?}; looking for a shorter story", story.seed, violation.rule, violation.at);
    let (shortest, outcome) = shrink(story, outcome);
    tell(&shortest, &outcome);
    false
}

fn tell(story: &Story, outcome: &Outcome) {
    let Some(violation) = &outcome.violation else { return };
    println!("\nseed {} breaks {}: {}", story.seed, violation.rule, violation.what);
    println!("\nThe shortest story that does (play it with `cargo xtask sim FILE`):\n\n{story}");
    println!("What happens:\n");
    let skipped = outcome.trace.len().saturating_sub(LINES);
    outcome.trace.iter().skip(skipped).for_each(|line| println!("{line}"));
    println!();
}
