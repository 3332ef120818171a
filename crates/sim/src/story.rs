//! Stories: what happens in a world and when, as text that can be read, kept and played again.
//!
//! A story is a file of lines. `#` begins a remark; the first one is the title. `seed N` says which world;
//! `at TIME STEP` what happens when, with the steps of [`Step`]; `expect …` what must hold in the end.

use std::fmt::{self, Display};
use std::time::Duration;

/// What happens in a world, and what must come of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Story {
    /// What it is about.
    pub title: String,
    /// What chance is made from.
    pub seed: u64,
    /// What happens, in order of time.
    pub steps: Vec<(Duration, Step)>,
    /// What must hold in the end, besides what always must.
    pub expectations: Vec<Expectation>,
}

/// Something that happens. The words in brackets are how it is written.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A machine joins (`machine NAME cores N memory MIB`).
    Machine {
        /// Its name.
        name: String,
        /// Its cores.
        cores: u32,
        /// Its memory in MiB.
        memory: u64,
    },
    /// There is an image (`image NAME runs`, `image NAME exits CODE after TIME`, `image NAME ignores stops`,
    /// each with `pull TIME` and `fails N` when it has to be pulled).
    Image {
        /// Its reference.
        name: String,
        /// What its containers do.
        program: Program,
        /// How long a pull takes; on every machine from the beginning when absent.
        pull: Option<Duration>,
        /// So many pulls fail first.
        fails: u32,
    },
    /// A task definition of one container (`register FAMILY image NAME cpu N memory MIB port N`).
    Register {
        /// The family.
        family: String,
        /// Its image.
        image: String,
        /// CPU units.
        cpu: u32,
        /// MiB.
        memory: u32,
        /// A fixed host port; 0 for none.
        port: u16,
    },
    /// A service is made (`service NAME of FAMILY desired N minimum P maximum P [breaker]`).
    Service {
        /// Its name.
        name: String,
        /// Its task definition.
        definition: String,
        /// Tasks wanted.
        desired: u32,
        /// minimumHealthyPercent.
        minimum: u32,
        /// maximumPercent.
        maximum: u32,
        /// Whether it has a circuit breaker that rolls back.
        breaker: bool,
    },
    /// A DAEMON service is made (`daemon NAME of FAMILY`).
    Daemon {
        /// Its name.
        name: String,
        /// Its task definition.
        definition: String,
    },
    /// A service is changed (`update NAME to DEFINITION desired N`).
    Update {
        /// Its name.
        name: String,
        /// Its new task definition.
        definition: Option<String>,
        /// How many tasks are wanted from now on.
        desired: Option<u32>,
    },
    /// A service is deleted (`delete NAME`).
    Delete {
        /// Its name.
        name: String,
    },
    /// Standalone tasks are run (`run DEFINITION count N`).
    Run {
        /// Their task definition.
        definition: String,
        /// How many.
        count: u32,
    },
    /// One of the standalone tasks is stopped (`stop any task`).
    StopAny,
    /// A machine takes no more tasks and gives its service tasks away (`drain NAME`).
    Drain {
        /// The machine.
        name: String,
    },
    /// A machine takes tasks again (`activate NAME`).
    Activate {
        /// The machine.
        name: String,
    },
    /// The server is killed and comes back (`kill server for TIME`).
    KillServer {
        /// How long it is away.
        away: Duration,
    },
    /// An agent is killed and comes back (`kill agent NAME for TIME [without cache]`).
    KillAgent {
        /// The machine.
        name: String,
        /// How long it is away.
        away: Duration,
        /// Its cache is deleted meanwhile.
        cache_lost: bool,
    },
    /// A machine loses its power and comes back (`lose NAME for TIME`).
    Lose {
        /// The machine.
        name: String,
        /// How long it is away.
        away: Duration,
    },
    /// Nothing gets through between a machine and the server (`cut NAME for TIME`).
    Cut {
        /// The machine.
        name: String,
        /// How long.
        away: Duration,
    },
    /// All connections of a machine break (`break NAME`).
    Break {
        /// The machine.
        name: String,
    },
    /// A running container ends by itself (`crash any container`).
    Crash,
    /// A wall clock is set wrong (`clock NAME off MILLISECONDS`); `server` is a name too.
    Clock {
        /// Whose clock.
        name: String,
        /// By how much it is off from now on; negative when it is behind.
        off_millis: i64,
    },
    /// A disk is full (`disk NAME full for TIME`); `server` is a name too.
    DiskFull {
        /// Whose disk.
        name: String,
        /// How long.
        away: Duration,
    },
    /// A container runtime does not answer (`runtime NAME down for TIME`).
    RuntimeDown {
        /// The machine.
        name: String,
        /// How long.
        away: Duration,
    },
    /// The network gets worse, or better (`network loses N repeats N delay TIME`; calls of a thousand).
    Network {
        /// Calls of a thousand that get lost.
        loses: u64,
        /// Calls of a thousand that arrive twice.
        repeats: u64,
        /// The longest way.
        delay: Duration,
    },
}

/// What the containers of an image do.
#[derive(Clone, Debug, PartialEq)]
pub enum Program {
    /// They run until they are told to stop.
    Runs,
    /// They end by themselves.
    Exits {
        /// With this code.
        code: i32,
        /// After so long.
        after: Duration,
    },
    /// They run until they are killed.
    IgnoresStops,
}

/// What must hold in the end.
#[derive(Clone, Debug, PartialEq)]
pub enum Expectation {
    /// A service runs so many tasks of a task definition (`expect NAME runs N of FAMILY:REVISION`).
    Runs {
        /// The service.
        service: String,
        /// How many.
        count: usize,
        /// Of which.
        definition: String,
    },
    /// So many standalone tasks of a family were made (`expect N tasks of FAMILY`).
    Made {
        /// How many.
        count: usize,
        /// Of which.
        family: String,
    },
    /// A service's events say something (`expect NAME says WORDS`).
    Says {
        /// The service.
        service: String,
        /// The words.
        words: String,
    },
}

/// A line of a story that can't be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}: {text}")]
pub struct StoryError {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
    /// The line.
    pub text: String,
}

impl Story {
    /// Reads a story.
    ///
    /// # Errors
    /// The first line that can't be understood.
    pub fn parse(text: &str) -> Result<Self, StoryError> {
        let mut story = Self { title: String::new(), seed: 0, steps: Vec::new(), expectations: Vec::new() };
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if let Some(remark) = line.strip_prefix('#') {
                if story.title.is_empty() {
                    remark.trim().clone_into(&mut story.title);
                }
                continue;
            }
            if line.is_empty() {
                continue;
            }
            let mut words = Words(line.split_whitespace().collect());
            story.take(&mut words).map_err(|problem| StoryError {
                line: number + 1,
                problem,
                text: line.to_owned(),
            })?;
        }
        story.steps.sort_by_key(|(at, _)| *at);
        Ok(story)
    }

    fn take(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        match words.next()? {
            "seed" => self.seed = words.number()?,
            "at" => {
                let at = words.time()?;
                self.steps.push((at, step(words)?));
            }
            "expect" => self.expectations.push(expectation(words)?),
            other => return Err(format!("'{other}' is none of seed, at, expect")),
        }
        words.end()
    }
}

struct Words<'a>(std::collections::VecDeque<&'a str>);

impl<'a> Words<'a> {
    fn next(&mut self) -> Result<&'a str, String> {
        self.0.pop_front().ok_or_else(|| "a word is missing at the end".to_owned())
    }

    fn name(&mut self) -> Result<String, String> {
        self.next().map(str::to_owned)
    }

    fn number<T: std::str::FromStr>(&mut self) -> Result<T, String> {
        let word = self.next()?;
        word.parse().map_err(|_| format!("'{word}' is not such a number"))
    }

    /// `250ms` or `1.5s`
    fn time(&mut self) -> Result<Duration, String> {
        let word = self.next()?;
        let parsed = match word.strip_suffix("ms") {
            Some(millis) => millis.parse::<u64>().ok().map(Duration::from_millis),
            None => word
                .strip_suffix('s')
                .and_then(|seconds| seconds.parse::<f64>().ok())
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        };
        parsed.ok_or_else(|| format!("'{word}' is no time: write 250ms or 1.5s"))
    }

    fn word(&mut self, expected: &str) -> Result<(), String> {
        let word = self.next()?;
        if word == expected { Ok(()) } else { Err(format!("'{word}' stands where '{expected}' belongs")) }
    }

    /// Whether the next word is this one, which is then taken.
    fn has(&mut self, word: &str) -> bool {
        let found = self.0.front() == Some(&word);
        if found {
            self.0.pop_front();
        }
        found
    }

    fn after<T>(&mut self, word: &str, read: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<Option<T>, String> {
        if self.has(word) { read(self).map(Some) } else { Ok(None) }
    }

    fn end(&mut self) -> Result<(), String> {
        match self.0.front() {
            Some(word) => Err(format!("'{word}' is one word too many")),
            None => Ok(()),
        }
    }
}

fn step(words: &mut Words<'_>) -> Result<Step, String> {
    let away = |words: &mut Words<'_>| {
        words.word("for")?;
        words.time()
    };
    Ok(match words.next()? {
        "machine" => {
            let name = words.name()?;
            let cores = words.after("cores", Words::number)?.unwrap_or(2);
            Step::Machine { name, cores, memory: words.after("memory", Words::number)?.unwrap_or(2048) }
        }
        "image" => image(words)?,
        "register" => {
            let family = words.name()?;
            let image = words.after("image", Words::name)?.unwrap_or_else(|| family.clone());
            let cpu = words.after("cpu", Words::number)?.unwrap_or(64);
            let memory = words.after("memory", Words::number)?.unwrap_or(64);
            Step::Register { family, image, cpu, memory, port: words.after("port", Words::number)?.unwrap_or(0) }
        }
        "service" => {
            let name = words.name()?;
            words.word("of")?;
            let definition = words.name()?;
            let desired = words.after("desired", Words::number)?.unwrap_or(1);
            let minimum = words.after("minimum", Words::number)?.unwrap_or(100);
            let maximum = words.after("maximum", Words::number)?.unwrap_or(200);
            Step::Service { name, definition, desired, minimum, maximum, breaker: words.has("breaker") }
        }
        "daemon" => {
            let name = words.name()?;
            words.word("of")?;
            Step::Daemon { name, definition: words.name()? }
        }
        "update" => {
            let name = words.name()?;
            let definition = words.after("to", Words::name)?;
            Step::Update { name, definition, desired: words.after("desired", Words::number)? }
        }
        "delete" => Step::Delete { name: words.name()? },
        "run" => {
            let definition = words.name()?;
            Step::Run { definition, count: words.after("count", Words::number)?.unwrap_or(1) }
        }
        "stop" => {
            words.word("any")?;
            words.word("task")?;
            Step::StopAny
        }
        "drain" => Step::Drain { name: words.name()? },
        "activate" => Step::Activate { name: words.name()? },
        "kill" if words.has("server") => Step::KillServer { away: away(words)? },
        "kill" => {
            words.word("agent")?;
            let (name, away) = (words.name()?, away(words)?);
            let cache_lost = words.has("without");
            if cache_lost {
                words.word("cache")?;
            }
            Step::KillAgent { name, away, cache_lost }
        }
        "lose" => Step::Lose { name: words.name()?, away: away(words)? },
        "cut" => Step::Cut { name: words.name()?, away: away(words)? },
        "break" => Step::Break { name: words.name()? },
        "crash" => {
            words.word("any")?;
            words.word("container")?;
            Step::Crash
        }
        "clock" => {
            let name = words.name()?;
            words.word("off")?;
            Step::Clock { name, off_millis: words.number()? }
        }
        "disk" => {
            let name = words.name()?;
            words.word("full")?;
            Step::DiskFull { name, away: away(words)? }
        }
        "runtime" => {
            let name = words.name()?;
            words.word("down")?;
            Step::RuntimeDown { name, away: away(words)? }
        }
        "network" => {
            let loses = words.after("loses", Words::number)?.unwrap_or(0);
            let repeats = words.after("repeats", Words::number)?.unwrap_or(0);
            let delay = words.after("delay", Words::time)?.unwrap_or(Duration::from_millis(1));
            Step::Network { loses, repeats, delay }
        }
        other => return Err(format!("'{other}' is nothing that can happen")),
    })
}

fn image(words: &mut Words<'_>) -> Result<Step, String> {
    let name = words.name()?;
    let program = match words.next()? {
        "runs" => Program::Runs,
        "ignores" => {
            words.word("stops")?;
            Program::IgnoresStops
        }
        "exits" => {
            let code = words.number()?;
            words.word("after")?;
            Program::Exits { code, after: words.time()? }
        }
        other => return Err(format!("'{other}' is nothing that a container does")),
    };
    let pull = words.after("pull", Words::time)?;
    Ok(Step::Image { name, program, pull, fails: words.after("fails", Words::number)?.unwrap_or(0) })
}

fn expectation(words: &mut Words<'_>) -> Result<Expectation, String> {
    let first = words.name()?;
    match words.next()? {
        "runs" => {
            let count = words.number()?;
            words.word("of")?;
            Ok(Expectation::Runs { service: first, count, definition: words.name()? })
        }
        "tasks" => {
            words.word("of")?;
            let count = first.parse().map_err(|_| format!("'{first}' is no number"))?;
            Ok(Expectation::Made { count, family: words.name()? })
        }
        "says" => {
            let said: Vec<&str> = words.0.drain(..).collect();
            Ok(Expectation::Says { service: first, words: said.join(" ") })
        }
        other => Err(format!("'{other}' is nothing that can be expected")),
    }
}

struct Time(Duration);

impl Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        match millis % 1000 {
            0 => write!(f, "{}s", millis / 1000),
            _ => write!(f, "{millis}ms"),
        }
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine { name, cores, memory } => write!(f, "machine {name} cores {cores} memory {memory}"),
            Self::Image { name, program, pull, fails } => {
                write!(f, "image {name} ")?;
                match program {
                    Program::Runs => f.write_str("runs")?,
                    Program::IgnoresStops => f.write_str("ignores stops")?,
                    Program::Exits { code, after } => write!(f, "exits {code} after {}", Time(*after))?,
                }
                if let Some(pull) = pull {
                    write!(f, " pull {}", Time(*pull))?;
                }
                if *fails > 0 { write!(f, " fails {fails}") } else { Ok(()) }
            }
            Self::Register { family, image, cpu, memory, port } => {
                write!(f, "register {family} image {image} cpu {cpu} memory {memory}")?;
                if *port > 0 { write!(f, " port {port}") } else { Ok(()) }
            }
            Self::Service { name, definition, desired, minimum, maximum, breaker } => {
                write!(
                    f,
                    "service {name} of {definition} desired {desired} minimum {minimum} maximum {maximum}{}",
                    if *breaker { " breaker" } else { "" }
                )
            }
            Self::Daemon { name, definition } => write!(f, "daemon {name} of {definition}"),
            Self::Update { name, definition, desired } => {
                write!(f, "update {name}")?;
                if let Some(definition) = definition {
                    write!(f, " to {definition}")?;
                }
                match desired {
                    Some(desired) => write!(f, " desired {desired}"),
                    None => Ok(()),
                }
            }
            Self::Delete { name } => write!(f, "delete {name}"),
            Self::Run { definition, count } => write!(f, "run {definition} count {count}"),
            Self::StopAny => f.write_str("stop any task"),
            Self::Drain { name } => write!(f, "drain {name}"),
            Self::Activate { name } => write!(f, "activate {name}"),
            Self::KillServer { away } => write!(f, "kill server for {}", Time(*away)),
            Self::KillAgent { name, away, cache_lost } => {
                let cache = if *cache_lost { " without cache" } else { "" };
                write!(f, "kill agent {name} for {}{cache}", Time(*away))
            }
            Self::Lose { name, away } => write!(f, "lose {name} for {}", Time(*away)),
            Self::Cut { name, away } => write!(f, "cut {name} for {}", Time(*away)),
            Self::Break { name } => write!(f, "break {name}"),
            Self::Crash => f.write_str("crash any container"),
            Self::Clock { name, off_millis } => write!(f, "clock {name} off {off_millis}"),
            Self::DiskFull { name, away } => write!(f, "disk {name} full for {}", Time(*away)),
            Self::RuntimeDown { name, away } => write!(f, "runtime {name} down for {}", Time(*away)),
            Self::Network { loses, repeats, delay } => {
                write!(f, "network loses {loses} repeats {repeats} delay {}", Time(*delay))
            }
        }
    }
}

impl Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runs { service, count, definition } => write!(f, "{service} runs {count} of {definition}"),
            Self::Made { count, family } => write!(f, "{count} tasks of {family}"),
            Self::Says { service, words } => write!(f, "{service} says {words}"),
        }
    }
}

impl Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.title.is_empty() {
            writeln!(f, "# {}", self.title)?;
        }
        writeln!(f, "seed {}", self.seed)?;
        for (at, step) in &self.steps {
            writeln!(f, "at {} {step}", Time(*at))?;
        }
        for expectation in &self.expectations {
            writeln!(f, "expect {expectation}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYTHING: &str = "\
# Everything that can be written
seed 7
at 0s machine a cores 2 memory 1024
at 0s image web runs
at 0s image job exits 3 after 1500ms pull 5s fails 2
at 0s image deaf ignores stops pull 1s
at 1s register web image web cpu 128 memory 64 port 8080
at 1s register job image job cpu 64 memory 64
at 2s service web of web desired 4 minimum 50 maximum 150 breaker
at 2s daemon log of job
at 3s run job count 3
at 4s update web to web:2 desired 6
at 4s update web desired 2
at 5s stop any task
at 5s drain a
at 6s activate a
at 6s kill server for 3s
at 7s kill agent a for 2s without cache
at 7s kill agent a for 2s
at 8s lose a for 60s
at 8s cut a for 60s
at 8s break a
at 9s crash any container
at 9s clock server off -30000
at 9s disk a full for 10s
at 9s runtime a down for 10s
at 9s network loses 30 repeats 20 delay 300ms
at 10s delete web
expect web runs 4 of web:1
expect 3 tasks of job
expect web says has reached a steady state.
";

    #[test]
    fn a_story_is_written_as_it_is_read() {
        assert_eq!(Story::parse(EVERYTHING).unwrap().to_string(), EVERYTHING);
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        let error = Story::parse("seed 1\nat 3s lose a for ever\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2: 'ever' is no time: write 250ms or 1.5s: at 3s lose a for ever");
    }
}
