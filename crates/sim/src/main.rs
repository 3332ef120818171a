//! `cargo xtask sim`: plays stories, and prints the shortest ones that break a rule.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use longshore_seams::Seams;
use longshore_sim::{Outcome, Story, generate, play, shrink};

const USAGE: &str = "\
usage: cargo xtask sim [--seeds N] [--seed S] [--jobs N] [--trace] [STORY...]

  --seeds N   play the stories of N seeds [default: 100]
  --seed S    begin with this one [default: 0]; without --seeds only this one is played
  --jobs N    play so many at a time [default: as many as there are processors]
  --trace     print everything that happens
  STORY       play these files instead
";
/// Lines of a failing story's trace that are printed.
const LINES: usize = 60;

struct Arguments {
    seeds: std::ops::Range<u64>,
    jobs: u64,
    trace: bool,
    files: Vec<String>,
}

fn arguments() -> Result<Arguments, String> {
    let (mut seeds, mut first, mut jobs, mut trace, mut files) = (None, None, None, false, Vec::new());
    let mut given = std::env::args().skip(1);
    while let Some(word) = given.next() {
        let mut number = || {
            let number = given.next().and_then(|number| number.parse::<u64>().ok());
            number.ok_or_else(|| format!("{word} needs a number\n\n{USAGE}"))
        };
        match word.as_str() {
            "--seeds" => seeds = Some(number()?),
            "--seed" => first = Some(number()?),
            "--jobs" => jobs = Some(number()?.max(1)),
            "--trace" => trace = true,
            "--help" | "-h" => return Err(USAGE.to_owned()),
            option if option.starts_with('-') => return Err(format!("no option {option}\n\n{USAGE}")),
            _ => files.push(word),
        }
    }
    let count = seeds.unwrap_or(if first.is_some() { 1 } else { 100 });
    let first = first.unwrap_or(0);
    let processors = || std::thread::available_parallelism().map_or(1, |number| number.get() as u64);
    let jobs = if trace { 1 } else { jobs.unwrap_or_else(processors) };
    Ok(Arguments { seeds: first..first.saturating_add(count), jobs, trace, files })
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
    let clock = Seams::system().clock;
    let began = clock.monotonic();
    let failed = if arguments.files.is_empty() {
        play_seeds(&arguments)
    } else {
        stories.iter().filter(|story| !is_played_well(story, arguments.trace)).count()
    };
    let played = if stories.is_empty() { arguments.seeds.end - arguments.seeds.start } else { stories.len() as u64 };
    let took = clock.monotonic().saturating_sub(began);
    println!("{played} stories played in {:.0} s, {failed} broke a rule", took.as_secs_f64());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays the stories of all seeds, several at a time: worlds share nothing. Answers how many broke a rule.
fn play_seeds(arguments: &Arguments) -> usize {
    let (next, failed) = (AtomicU64::new(arguments.seeds.start), AtomicUsize::new(0));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= arguments.seeds.end {
                return;
            }
            if !is_played_well(&generate(seed), arguments.trace) {
                failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| (0..arguments.jobs).for_each(|_| drop(scope.spawn(work))));
    failed.into_inner()
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
