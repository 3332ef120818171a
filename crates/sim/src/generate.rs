//! A story made from a seed: a few machines and services, some work, and much that goes wrong.

use std::time::Duration;

use longshore_seams::{Random, SeededRandom};

use crate::story::{Asked, OnAlarm, Pause, Program, Rollout, Shift, Step, Story, Verdict};

/// When the last thing happens, seconds.
const END: u64 = 300;

struct Author {
    random: SeededRandom,
    /// Machines have room for old and new tasks side by side.
    roomy: bool,
    steps: Vec<(Duration, Step)>,
    machines: Vec<String>,
}

/// The story that belongs to `seed`.
#[must_use]
pub fn generate(seed: u64) -> Story {
    let random = SeededRandom::new(seed ^ 0x7374_6f72);
    let roomy = random.below(2) == 0;
    let mut author = Author { random, roomy, steps: Vec::new(), machines: Vec::new() };
    author.machines();
    author.images();
    author.services();
    author.work();
    author.faults();
    author.scaled(seed);
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
            let (cores, memory) =
                if self.roomy { (8, self.number(8192, 9000)) } else { (self.small(2, 4), self.number(2048, 4096)) };
            self.at(at, Step::Machine { name: name.clone(), cores, memory, fargate: false, scaled: false });
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

    fn register(&mut self, at: Duration, family: &str, image: &str, port: Option<u16>) {
        let (cpu, memory) = (self.small(1, 3) * 64, self.small(1, 3) * 64);
        let (family, image) = (family.to_owned(), image.to_owned());
        self.at(at, Step::Register { family, image, cpu, memory, port, fargate: false });
    }

    fn services(&mut self) {
        for number in 0..self.number(1, 3) {
            let name = format!("s{number}");
            let fixed = number == 0 && self.chance(40);
            // A port is there once: old and new tasks with it can't stand side by side.
            let rollout = if self.roomy && !fixed && self.chance(50) { Some(self.rollout()) } else { None };
            let staged = rollout.is_some();
            let grace = (!fixed && !staged && self.chance(35)).then(|| Duration::from_secs(self.number(0, 60)));
            let port = if fixed { Some(8080) } else { grace.map(|_| 0) };
            let image = self.one_of(&["plain", "slow", "deaf"]);
            self.register(Duration::from_secs(1), &name, image, port);
            // A port is there once a machine, and a machine may be away.
            let most = if fixed { self.machines.len() as u64 - 1 } else { 6 };
            let desired = u32::try_from(self.number(1, most)).unwrap_or(1);
            let (minimum, maximum) = self.bounds(desired, fixed);
            let breaker = self.chance(40);
            let alarm = self.alarm();
            let (definition, fargate, spot) = (name.clone(), false, false);
            let at = self.time(2, 20);
            let service = Step::Service {
                name: name.clone(),
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
            };
            self.at(at, service);
            if staged {
                self.interventions(&name);
            }
            if alarm.is_some() {
                self.alarms(&name);
            }
            for _ in 0..grace.map_or(0, |_| self.number(0, 3)) {
                let at = self.time(30, END);
                self.at(at, Step::Sicken { name: name.clone() });
            }
            for _ in 0..self.number(0, 2) {
                let at = self.time(40, END - 40);
                if self.chance(60) {
                    let image = self.one_of(&["plain", "slow", "deaf"]);
                    self.register(at, &name, image, port);
                    self.at(at, Step::Update { name: name.clone(), definition: Some(name.clone()), desired: None });
                } else {
                    // Where nothing is wanted a task definition that never runs is deployed well, and no breaker goes back
                    // from it when tasks are wanted again.
                    let desired = Some(u32::try_from(self.number(u64::from(breaker), most)).unwrap_or(1));
                    self.at(at, Step::Update { name: name.clone(), definition: None, desired });
                }
            }
            if breaker && self.chance(50) {
                let at = self.time(100, END - 40);
                // One that runs and ends would be started again and again, as in ECS: this one never runs.
                self.register(at, "bad", "missing", Some(0));
                self.at(at, Step::Update { name: name.clone(), definition: Some("bad".to_owned()), desired: None });
            }
            if self.chance(10) {
                let at = self.time(150, END);
                self.at(at, Step::Delete { name });
            }
        }
        if self.roomy && self.chance(35) {
            self.external();
        }
        if self.roomy && self.chance(35) {
            self.fargate();
        }
        if self.chance(40) {
            self.register(Duration::from_secs(1), "everywhere", "plain", None);
            let at = self.time(2, 60);
            self.at(at, Step::Daemon { name: "d".to_owned(), definition: "everywhere".to_owned() });
        }
    }

    fn minutes(&self, least: u64, most: u64) -> Duration {
        Duration::from_secs(self.number(least, most) * 60)
    }

    fn rollout(&self) -> Rollout {
        let shift = match self.random.below(3) {
            0 => Shift::BlueGreen,
            1 => Shift::Canary(self.small(1, 50), self.minutes(0, 2)),
            _ => Shift::Linear(self.small(20, 70), self.minutes(0, 1)),
        };
        let stages = [
            "PRE_SCALE_UP",
            "POST_SCALE_UP",
            "POST_TEST_TRAFFIC_SHIFT",
            "PRE_PRODUCTION_TRAFFIC_SHIFT",
            "POST_PRODUCTION_TRAFFIC_SHIFT",
        ];
        let pause = self.chance(40).then(|| Pause {
            stage: self.one_of(&stages).to_owned(),
            most: self.minutes(1, 4),
            goes_on: self.chance(60),
        });
        let moving = ["RECONCILE_SERVICE", "TEST_TRAFFIC_SHIFT", "PRODUCTION_TRAFFIC_SHIFT"];
        let function = self.chance(40).then(|| Asked {
            stage: if self.chance(70) { self.one_of(&stages) } else { self.one_of(&moving) }.to_owned(),
            verdict: match self.random.below(10) {
                0..=4 => Verdict::Succeeds,
                5..=7 => Verdict::Asks(self.small(1, 3)),
                _ => Verdict::Fails,
            },
        });
        Rollout { shift, bake: self.minutes(0, 3), pause, function }
    }

    fn alarm(&self) -> Option<OnAlarm> {
        self.chance(30).then(|| self.one_of(&[OnAlarm::Stops, OnAlarm::RollsBack, OnAlarm::RollsBack]))
    }

    /// The alarm of a service goes off, whether it is deployed just then or not.
    fn alarms(&mut self, name: &str) {
        for _ in 0..self.number(0, 2) {
            let (at, lasts) = (self.time(20, END), self.one_of(&[self.time(1, 10), self.time(10, 120)]));
            self.at(at, Step::Alarm { name: name.to_owned(), lasts });
        }
    }

    /// Somebody steps in while a deployment with stages goes on.
    fn interventions(&mut self, name: &str) {
        for _ in 0..self.number(0, 2) {
            let (at, name) = (self.time(40, END), name.to_owned());
            let step = match self.random.below(4) {
                0 => Step::RollBack { name },
                1 => Step::Continue { name, back: true },
                _ => Step::Continue { name, back: false },
            };
            self.at(at, step);
        }
    }

    /// A service whose deployments somebody else decides about.
    fn external(&mut self) {
        let (name, family) = ("x".to_owned(), "x");
        self.register(Duration::from_secs(1), family, "plain", None);
        let desired = self.small(1, 5);
        self.at(Duration::from_secs(2), Step::External { name: name.clone(), desired });
        let first = Step::TaskSet { name: name.clone(), definition: family.to_owned(), scale: 100 };
        self.at(Duration::from_secs(3), first);
        self.at(Duration::from_secs(4), Step::Promote { name: name.clone() });
        for _ in 0..self.number(1, 2) {
            let mut at = self.time(30, END - 60);
            let image = self.one_of(&["plain", "slow", "deaf"]);
            self.register(at, family, image, None);
            let scale = self.one_of(&[10, 50, 100]);
            self.at(at, Step::TaskSet { name: name.clone(), definition: family.to_owned(), scale });
            at += self.time(1, 30);
            self.at(at, Step::ScaleTaskSet { name: name.clone(), scale: 100 });
            at += self.time(0, 20);
            self.at(at, Step::Promote { name: name.clone() });
            self.at(at, Step::Retire { name: name.clone() });
        }
        if self.chance(30) {
            let (at, desired) = (self.time(40, END), Some(self.small(0, 5)));
            self.at(at, Step::Update { name, definition: None, desired });
        }
    }

    /// Machines that are lent to Fargate, a service on them, and a few tasks.
    fn fargate(&mut self) {
        for number in 0..self.number(1, 2) {
            let name = format!("f{number}");
            let (cores, memory) = (self.small(3, 4), self.number(6144, 8192));
            self.at(Duration::ZERO, Step::Machine { name: name.clone(), cores, memory, fargate: true, scaled: false });
            self.machines.push(name);
        }
        let image = self.one_of(&["plain", "slow", "deaf"]);
        let register = |image: &str| Step::Register {
            family: "lent".to_owned(),
            image: image.to_owned(),
            cpu: 256,
            memory: 512,
            port: None,
            fargate: true,
        };
        self.at(Duration::from_secs(1), register(image));
        let (minimum, maximum) = self.bounds(2, false);
        let (alarm, spot) = (self.alarm(), self.chance(50));
        let service = Step::Service {
            name: "lent".to_owned(),
            definition: "lent".to_owned(),
            desired: self.small(1, 3),
            minimum,
            maximum,
            breaker: self.chance(40),
            alarm,
            grace: None,
            fargate: true,
            spot,
            rollout: self.chance(35).then(|| self.rollout()),
        };
        let at = self.time(2, 20);
        self.at(at, service);
        if alarm.is_some() {
            self.alarms("lent");
        }
        let reclaims = if spot { self.number(0, 3) } else { 0 };
        for _ in 0..reclaims {
            let (at, count) = (self.time(20, END), self.small(1, 3));
            self.at(at, Step::Reclaim { count });
        }
        if self.chance(60) {
            let (at, image) = (self.time(40, END - 40), self.one_of(&["plain", "slow", "deaf"]));
            self.at(at, register(image));
            let update = Step::Update { name: "lent".to_owned(), definition: Some("lent".to_owned()), desired: None };
            self.at(at, update);
        }
        if self.chance(40) {
            let (at, count) = (self.time(10, END), self.small(1, 2));
            self.at(at, Step::Run { definition: "lent".to_owned(), count, fargate: true, scaled: false });
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
            self.register(Duration::from_secs(1), &family, image, None);
            let at = self.time(2, END);
            let count = self.small(1, 4);
            self.at(at, Step::Run { definition: family, count, fargate: false, scaled: false });
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

    /// Tasks that wait for the machines of a capacity provider with managed scaling. Chance is one of its own: the rest
    /// of a seed's story is the same with and without them.
    fn scaled(&mut self, seed: u64) {
        let own = SeededRandom::new(seed ^ 0x7761_6974);
        let random = std::mem::replace(&mut self.random, own);
        // A daemon has a right to a place on each machine, which others may have taken before.
        let daemons = self.steps.iter().any(|(_, step)| matches!(step, Step::Daemon { .. }));
        if !daemons && self.chance(30) {
            for number in 0..self.number(1, 2) {
                let (family, image) = (format!("queued{number}"), self.one_of(&["plain", "done", "slow", "deaf"]));
                let cpu = self.one_of(&[400, 1000, 2500]);
                let register = Step::Register {
                    family: family.clone(),
                    image: image.to_owned(),
                    cpu,
                    memory: 64,
                    port: None,
                    fargate: false,
                };
                self.at(Duration::from_secs(1), register);
                for _ in 0..self.number(1, 3) {
                    let (at, count) = (self.time(2, END), self.small(1, 5));
                    self.at(at, Step::Run { definition: family.clone(), count, fargate: false, scaled: true });
                }
            }
            for number in 0..self.number(0, 2) {
                let (name, at) = (format!("q{number}"), self.time(2, END - 20));
                let machine =
                    Step::Machine { name: name.clone(), cores: 8, memory: 8192, fargate: false, scaled: true };
                self.at(at, machine);
                let at = at + self.time(1, 60);
                match self.random.below(4) {
                    0 => self.at(at, Step::Lose { name, away: Duration::from_secs(20) }),
                    1 => self
                        .at(at, Step::KillAgent { name, away: Duration::from_secs(10), cache_lost: self.chance(50) }),
                    2 => self.at(at, Step::Cut { name, away: Duration::from_secs(30) }),
                    _ => {}
                }
            }
            if self.chance(50) {
                let at = self.time(10, END);
                self.at(at, Step::StopAny);
            }
        }
        self.random = random;
    }

    fn faults(&mut self) {
        for _ in 0..self.number(1, 10) {
            let at = self.time(5, END - 10);
            let away = self.one_of(&[self.time(0, 3), self.time(3, 40), self.time(40, 200)]);
            let name = self.machine();
            let step = match self.random.below(14) {
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
                12 => Step::FunctionsAway { away },
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
