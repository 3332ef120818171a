//! Stories as text: reading and writing.

use std::fmt::{self, Display};
use std::time::Duration;

use super::{Asked, Expectation, OnAlarm, Pause, Program, Rollout, Shift, Step, Story, Verdict};

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
            let memory = words.after("memory", Words::number)?.unwrap_or(2048);
            Step::Machine { name, cores, memory, fargate: words.has("fargate"), scaled: words.has("scaled") }
        }
        "image" => image(words)?,
        "register" => {
            let family = words.name()?;
            let image = words.after("image", Words::name)?.unwrap_or_else(|| family.clone());
            let cpu = words.after("cpu", Words::number)?.unwrap_or(64);
            let memory = words.after("memory", Words::number)?.unwrap_or(64);
            let port = words.after("port", Words::number)?;
            Step::Register { family, image, cpu, memory, port, fargate: words.has("fargate") }
        }
        "service" => {
            let name = words.name()?;
            words.word("of")?;
            let definition = words.name()?;
            let desired = words.after("desired", Words::number)?.unwrap_or(1);
            let minimum = words.after("minimum", Words::number)?.unwrap_or(100);
            let maximum = words.after("maximum", Words::number)?.unwrap_or(200);
            let breaker = words.has("breaker");
            let alarm = words.after("alarm", on_alarm)?;
            let grace = words.after("balanced", |words| {
                words.word("grace")?;
                words.time()
            })?;
            let fargate = words.has("fargate");
            let spot = fargate && words.has("spot");
            let rollout = rollout(words)?;
            Step::Service { name, definition, desired, minimum, maximum, breaker, alarm, grace, fargate, spot, rollout }
        }
        "external" => {
            let name = words.name()?;
            Step::External { name, desired: words.after("desired", Words::number)?.unwrap_or(1) }
        }
        "taskset" => {
            let name = words.name()?;
            words.word("of")?;
            let definition = words.name()?;
            Step::TaskSet { name, definition, scale: words.after("scale", Words::number)?.unwrap_or(100) }
        }
        "scale" => {
            let name = words.name()?;
            words.word("to")?;
            Step::ScaleTaskSet { name, scale: words.number()? }
        }
        "promote" => Step::Promote { name: words.name()? },
        "retire" => Step::Retire { name: words.name()? },
        "continue" => {
            let name = words.name()?;
            Step::Continue { name, back: words.has("back") }
        }
        "rollback" => Step::RollBack { name: words.name()? },
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
            let count = words.after("count", Words::number)?.unwrap_or(1);
            Step::Run { definition, count, fargate: words.has("fargate"), scaled: words.has("scaled") }
        }
        "stop" => {
            words.word("any")?;
            words.word("task")?;
            Step::StopAny
        }
        "reclaim" => {
            let count = words.number()?;
            words.word("spot")?;
            words.word("tasks")?;
            Step::Reclaim { count }
        }
        "alarm" => Step::Alarm { name: words.name()?, lasts: away(words)? },
        "sicken" => Step::Sicken { name: words.name()? },
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
        "functions" => {
            words.word("away")?;
            Step::FunctionsAway { away: away(words)? }
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

fn on_alarm(words: &mut Words<'_>) -> Result<OnAlarm, String> {
    match words.next()? {
        "stops" => Ok(OnAlarm::Stops),
        "rolls" => words.word("back").map(|()| OnAlarm::RollsBack),
        other => Err(format!("'{other}' is nothing that an alarm does to a deployment")),
    }
}

fn rollout(words: &mut Words<'_>) -> Result<Option<Rollout>, String> {
    let steps = |words: &mut Words<'_>| {
        let percent = words.number()?;
        words.word("every")?;
        Ok::<_, String>((percent, words.time()?))
    };
    let shift = if words.has("blue-green") {
        Shift::BlueGreen
    } else if words.has("canary") {
        let (percent, every) = steps(words)?;
        Shift::Canary(percent, every)
    } else if words.has("linear") {
        let (percent, every) = steps(words)?;
        Shift::Linear(percent, every)
    } else {
        return Ok(None);
    };
    let bake = words.after("bake", Words::time)?.unwrap_or_default();
    let pause = words.after("pause", |words| {
        let stage = words.name()?;
        words.word("for")?;
        let most = words.time()?;
        let goes_on = words.has("then");
        if goes_on {
            words.word("continue")?;
        }
        Ok(Pause { stage, most, goes_on })
    })?;
    let function = words.after("function", asked)?;
    Ok(Some(Rollout { shift, bake, pause, function }))
}

fn asked(words: &mut Words<'_>) -> Result<Asked, String> {
    let stage = words.name()?;
    let verdict = match words.next()? {
        "succeeds" => Verdict::Succeeds,
        "fails" => Verdict::Fails,
        "asks" => Verdict::Asks(words.number()?),
        other => return Err(format!("'{other}' is nothing that a function says")),
    };
    Ok(Asked { stage, verdict })
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
        "ran" => {
            words.word("of")?;
            let count = first.parse().map_err(|_| format!("'{first}' is no number"))?;
            Ok(Expectation::Ran { count, family: words.name()? })
        }
        "tasks" => {
            words.word("of")?;
            let count = first.parse().map_err(|_| format!("'{first}' is no number"))?;
            Ok(Expectation::Made { count, family: words.name()? })
        }
        "deployments" => {
            let statuses = words.0.drain(..).map(str::to_owned).collect();
            Ok(Expectation::Deployments { service: first, statuses })
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

fn if_set(set: bool, words: &'static str) -> &'static str {
    if set { words } else { "" }
}

impl Display for Rollout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shift {
            Shift::BlueGreen => f.write_str("blue-green")?,
            Shift::Canary(percent, every) => write!(f, "canary {percent} every {}", Time(*every))?,
            Shift::Linear(percent, every) => write!(f, "linear {percent} every {}", Time(*every))?,
        }
        write!(f, " bake {}", Time(self.bake))?;
        if let Some(Pause { stage, most, goes_on }) = &self.pause {
            write!(f, " pause {stage} for {}{}", Time(*most), if_set(*goes_on, " then continue"))?;
        }
        let Some(Asked { stage, verdict }) = &self.function else { return Ok(()) };
        match verdict {
            Verdict::Succeeds => write!(f, " function {stage} succeeds"),
            Verdict::Fails => write!(f, " function {stage} fails"),
            Verdict::Asks(times) => write!(f, " function {stage} asks {times}"),
        }
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine { name, cores, memory, fargate, scaled } => {
                let kind = if *scaled { " scaled" } else { if_set(*fargate, " fargate") };
                write!(f, "machine {name} cores {cores} memory {memory}{kind}")
            }
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
            Self::Register { family, image, cpu, memory, port, fargate } => {
                write!(f, "register {family} image {image} cpu {cpu} memory {memory}")?;
                if let Some(port) = port {
                    write!(f, " port {port}")?;
                }
                f.write_str(if_set(*fargate, " fargate"))
            }
            Self::Service {
                name,
                definition,
                desired,
                minimum,
                maximum,
                breaker,
                alarm,
                grace,
                fargate,
                spot,
                rollout,
            } => {
                write!(f, "service {name} of {definition} desired {desired} minimum {minimum} maximum {maximum}")?;
                f.write_str(if_set(*breaker, " breaker"))?;
                f.write_str(match alarm {
                    Some(OnAlarm::Stops) => " alarm stops",
                    Some(OnAlarm::RollsBack) => " alarm rolls back",
                    None => "",
                })?;
                if let Some(grace) = grace {
                    write!(f, " balanced grace {}", Time(*grace))?;
                }
                write!(f, "{}{}", if_set(*fargate, " fargate"), if_set(*spot, " spot"))?;
                rollout.as_ref().map_or(Ok(()), |rollout| write!(f, " {rollout}"))
            }
            Self::External { name, desired } => write!(f, "external {name} desired {desired}"),
            Self::TaskSet { name, definition, scale } => write!(f, "taskset {name} of {definition} scale {scale}"),
            Self::ScaleTaskSet { name, scale } => write!(f, "scale {name} to {scale}"),
            Self::Promote { name } => write!(f, "promote {name}"),
            Self::Retire { name } => write!(f, "retire {name}"),
            Self::Continue { name, back } => write!(f, "continue {name}{}", if_set(*back, " back")),
            Self::RollBack { name } => write!(f, "rollback {name}"),
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
            Self::Run { definition, count, fargate, scaled } => {
                let kind = if *scaled { " scaled" } else { if_set(*fargate, " fargate") };
                write!(f, "run {definition} count {count}{kind}")
            }
            Self::StopAny => f.write_str("stop any task"),
            Self::Reclaim { count } => write!(f, "reclaim {count} spot tasks"),
            Self::Alarm { name, lasts } => write!(f, "alarm {name} for {}", Time(*lasts)),
            Self::Sicken { name } => write!(f, "sicken {name}"),
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
            Self::FunctionsAway { away } => write!(f, "functions away for {}", Time(*away)),
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
            Self::Ran { count, family } => write!(f, "{count} ran of {family}"),
            Self::Made { count, family } => write!(f, "{count} tasks of {family}"),
            Self::Deployments { service, statuses } => write!(f, "{service} deployments {}", statuses.join(" ")),
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
at 0s machine f cores 2 memory 1024 fargate
at 0s machine b cores 2 memory 1024 scaled
at 0s image web runs
at 0s image job exits 3 after 1500ms pull 5s fails 2
at 0s image deaf ignores stops pull 1s
at 1s register web image web cpu 128 memory 64 port 8080
at 1s register job image job cpu 64 memory 64
at 1s register page image web cpu 64 memory 64 port 0
at 1s register lent image job cpu 256 memory 512 fargate
at 2s service web of web desired 4 minimum 50 maximum 150 breaker
at 2s service shop of web desired 2 minimum 100 maximum 200 fargate blue-green bake 60s pause POST_SCALE_UP for 120s
at 2s service till of web desired 2 minimum 0 maximum 100 canary 20 every 60s bake 0s pause PRE_SCALE_UP for 60s then continue
at 2s service back of web desired 2 minimum 0 maximum 100 breaker linear 40 every 120s bake 0s
at 2s service asks of web desired 2 minimum 0 maximum 100 blue-green bake 0s function POST_SCALE_UP asks 2
at 2s service no of web desired 2 minimum 0 maximum 100 blue-green bake 0s pause PRE_SCALE_UP for 60s function PRE_SCALE_UP fails
at 2s service yes of web desired 2 minimum 0 maximum 100 blue-green bake 0s function TEST_TRAFFIC_SHIFT succeeds
at 2s service page of page desired 2 minimum 50 maximum 200 alarm rolls back balanced grace 20s
at 2s service spare of lent desired 2 minimum 50 maximum 200 breaker alarm stops fargate spot
at 2s external free desired 4
at 2s taskset free of web scale 50
at 2s daemon log of job
at 3s run job count 3
at 3s run lent count 2 fargate
at 3s run job count 2 scaled
at 4s continue shop
at 4s continue till back
at 4s rollback back
at 4s scale free to 100
at 4s promote free
at 4s retire free
at 4s update web to web:2 desired 6
at 4s update web desired 2
at 5s stop any task
at 5s reclaim 2 spot tasks
at 5s alarm page for 30s
at 5s sicken page
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
at 9s functions away for 30s
at 9s network loses 30 repeats 20 delay 300ms
at 10s delete web
expect web runs 4 of web:1
expect 3 tasks of job
expect 2 ran of job
expect web deployments SUCCESSFUL STOPPED
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
