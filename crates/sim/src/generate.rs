//! A story made from a seed: a few machines and services, some work, and much that goes wrong.

use std::time::Duration;

use longshore_seams::{Random, SeededRandom};

use crate::story::{Program, Step, Story};

/// When the last thing happens, seconds.
const END: u64 = 300;

struct Author {
    random: SeededRandom,
    steps: Vec<(Duration, Step)>,
    machines: Vec<String>,
}

/// The story that belongs to `seed`.
#[must_use]
pub fn generate(seed: u64) -> Story {
    let mut author = Author { random: SeededRandom::new(seed ^ 0x7374_6f72), steps: Vec::new(), machines: Vec::new() };
    author.machines();
    author.images();
    author.services();
    author.work();
    author.faults();
    author.steps.sort_by_key(|(at, _)| *at);
    Story { title: format!("The story of seed {seed}"), seed, steps: author.steps, expectations: Vec::new() }
}

impl Author {
    fn number(&self, least: u64, most: u64) -> u64 {
        least + self.random.below(most - least + 1)
    }

    fn small(&self, least: u32, most: u32) -> u32 {
        u32::try_from(self.number(least.into(), most.into())).unwrap_or(most)
    }

    fn chance(&self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    fn one_of<T: Clone>(&self, among: &[T]) -> T {
        among[usize::try_from(self.random.below(among.len() as u64)).unwrap_or(0)].clone()
    }

    fn time(&self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.number(least * 1000, most * 1000))
    }

    fn at(&mut self, at: Duration, step: Step) {
        self.steps.push((at, step));
    }

    fn machine(&self) -> String {
        self.one_of(&self.machines)
    }

    fn machines(&mut self) {
        for number in 0..self.number(2, 5) {
            let name = format!("m{number}");
            let late = number > 1 && self.chance(20);
            let at = if late { self.time(10, 150) } else { Duration::ZERO };
            let machine =
                Step::Machine { name: name.clone(), cores: self.small(2, 4), memory: self.number(2048, 4096) };
            self.at(at, machine);
            self.machines.push(name);
        }
    }

    fn images(&mut self) {
        let pulled = self.chance(50).then(|| self.time(1, 20));
        let fails = if pulled.is_some() { self.small(0, 2) } else { 0 };
        let after = self.time(5, 60);
        let image = |name: &str, program, pull, fails| Step::Image { name: name.to_owned(), program, pull, fails };
        self.at(Duration::ZERO, image("plain", Program::Runs, None, 0));
        self.at(Duration::ZERO, image("slow", Program::Runs, pulled, fails));
        self.at(Duration::ZERO, image("deaf", Program::IgnoresStops, None, 0));
        self.at(Duration::ZERO, image("done", Program::Exits { code: 0, after }, None, 0));
        self.at(
            Duration::ZERO,
            image("broken", Program::Exits { code: 1, after: Duration::from_millis(500) }, None, 0),
        );
    }

    fn register(&mut self, at: Duration, family: &str, image: &str, port: u16) {
        let (cpu, memory) = (self.small(1, 3) * 64, self.small(1, 3) * 64);
        self.at(at, Step::Register { family: family.to_owned(), image: image.to_owned(), cpu, memory, port });
    }

    fn services(&mut self) {
        for number in 0..self.number(1, 3) {
            let name = format!("s{number}");
            let port = if number == 0 && self.chance(40) { 8080 } else { 0 };
            let image = self.one_of(&["plain", "slow", "deaf"]);
            self.register(Duration::from_secs(1), &name, image, port);
            // A port is there once a machine, and a machine may be away.
            let most = if port > 0 { self.machines.len() as u64 - 1 } else { 6 };
            let desired = u32::try_from(self.number(1, most)).unwrap_or(1);
            let (minimum, maximum) = self.bounds(desired, port > 0);
            let breaker = self.chance(40);
            let definition = name.clone();
            let at = self.time(2, 20);
            self.at(at, Step::Service { name: name.clone(), definition, desired, minimum, maximum, breaker });
            for _ in 0..self.number(0, 2) {
                let at = self.time(40, END - 40);
                if self.chance(60) {
                    let image = self.one_of(&["plain", "slow", "deaf"]);
                    self.register(at, &name, image, port);
                    self.at(at, Step::Update { name: name.clone(), definition: Some(name.clone()), desired: None });
                } else {
                    let desired = Some(u32::try_from(self.number(0, most)).unwrap_or(1));
                    self.at(at, Step::Update { name: name.clone(), definition: None, desired });
                }
            }
            if breaker && self.chance(50) {
                let at = self.time(100, END - 40);
                // One that runs and ends would be started again and again, as in ECS: this one never runs.
                self.register(at, "bad", "missing", 0);
                self.at(at, Step::Update { name: name.clone(), definition: Some("bad".to_owned()), desired: None });
            }
            if self.chance(10) {
                let at = self.time(150, END);
                self.at(at, Step::Delete { name });
            }
        }
        if self.chance(40) {
            self.register(Duration::from_secs(1), "everywhere", "plain", 0);
            let at = self.time(2, 60);
            self.at(at, Step::Daemon { name: "d".to_owned(), definition: "everywhere".to_owned() });
        }
    }

    /// Percentages with which a rollout of `desired` tasks can go on.
    fn bounds(&self, desired: u32, must_stop_first: bool) -> (u32, u32) {
        let minimum = if must_stop_first { 0 } else { self.one_of(&[0, 50, 100]) };
        let maximum = self.one_of(&[100, 150, 200]);
        let stands_still = |count: u32| count * maximum / 100 == count && (count * minimum).div_ceil(100) == count;
        // Another number of tasks may come later.
        if (1..=6).any(stands_still) || stands_still(desired) { (minimum.min(50), 200) } else { (minimum, maximum) }
    }

    fn work(&mut self) {
        for number in 0..self.number(0, 3) {
            let (family, image) = (format!("job{number}"), self.one_of(&["plain", "done", "slow", "deaf", "broken"]));
            self.register(Duration::from_secs(1), &family, image, 0);
            let at = self.time(2, END);
            let count = self.small(1, 4);
            self.at(at, Step::Run { definition: family, count });
            if self.chance(30) {
                let at = self.time(60, END);
                self.at(at, Step::StopAny);
            }
        }
        if self.chance(25) {
            let (name, at) = (self.machine(), self.time(30, 200));
            self.at(at, Step::Drain { name: name.clone() });
            let until = at + self.time(10, 90);
            self.at(until, Step::Activate { name });
        }
    }

    fn faults(&mut self) {
        for _ in 0..self.number(1, 10) {
            let at = self.time(5, END - 10);
            let away = self.one_of(&[self.time(0, 3), self.time(3, 40), self.time(40, 200)]);
            let name = self.machine();
            let step = match self.random.below(13) {
                0 | 1 => Step::KillServer { away: away.min(Duration::from_secs(60)) },
                2 | 3 => Step::KillAgent { name, away, cache_lost: self.chance(50) },
                4 => Step::Lose { name, away },
                5 => Step::Cut { name, away },
                6 => Step::Break { name },
                7 | 8 => Step::Crash,
                9 => {
                    let name = if self.chance(50) { "server".to_owned() } else { name };
                    let seconds = i64::try_from(self.number(0, 240)).unwrap_or(0) - 120;
                    Step::Clock { name, off_millis: seconds * 1000 }
                }
                10 => {
                    let name = if self.chance(50) { "server".to_owned() } else { name };
                    Step::DiskFull { name, away: away.min(Duration::from_secs(40)) }
                }
                11 => Step::RuntimeDown { name, away: away.min(Duration::from_secs(60)) },
                _ => Step::Network {
                    loses: self.number(0, 150),
                    repeats: self.number(0, 100),
                    delay: Duration::from_millis(self.number(1, 2000)),
                },
            };
            self.at(at, step);
        }
    }
}
