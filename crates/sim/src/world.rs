//! A world: plays a story from its beginning to where everything must be as it should.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_model::Id;
use longshore_model::records::{DesiredStatus, TaskStatus};
use longshore_seams::{Random, SeededRandom};

use crate::checks::{Checks, Model, Violation};
use crate::executor::{Executor, locked};
use crate::machine::{Ended, Machine, task_of};
use crate::network::{Network, Weather};
use crate::operator::{Desk, Operator};
use crate::server::Server;
use crate::settled::{
    a_standalone_task_ended, machine_runs_what_it_should, meets, service_is_settled, task_is_settled,
};
use crate::signals;
use crate::speaker::Speaker;
use crate::story::{Step, Story};
use crate::trace::Trace;

/// The name of the server among machines.
const SERVER: &str = "server";
/// Between two looks at what runs on the machines.
const LOOK: Duration = Duration::from_millis(250);
/// How long the world may take to be as it should, once nothing more goes wrong: longer than an agent keeps a
/// connection, and than the longest pause between starts of a task that fails.
const CALM: Duration = Duration::from_secs(3600);
/// How long it must then stay so.
const STEADY: Duration = Duration::from_secs(150);
/// What a supervisor waits before it starts an agent or a server again that ended.
const SUPERVISOR: Duration = Duration::from_secs(5);

/// How a story went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The first thing that must never be and was.
    pub violation: Option<Violation>,
    /// What happened, the last lines.
    pub trace: Vec<String>,
    /// The same for two plays that went the same way.
    pub fingerprint: u64,
    /// When it ended.
    pub ended: Duration,
    /// When everything was as it should be, counted from the last thing that went wrong.
    pub calm_after: Duration,
}

/// Plays a story.
#[must_use]
pub fn play(story: &Story) -> Outcome {
    let mut world = World::new(story);
    let calm_after = world.play(story);
    // Whatever still runs holds parts of the world, and the world holds it.
    world.executor.clear();
    let polls = world.executor.polls();
    Outcome {
        violation: world.checks.violation(),
        trace: world.trace.lines(),
        fingerprint: world.trace.fingerprint() ^ polls,
        ended: world.executor.now(),
        calm_after,
    }
}

#[derive(Clone, Debug)]
enum Happening {
    Step(Step),
    StartServer,
    StartAgent(String),
    PowerOn(String),
    Hear(String),
    DiskFree(String),
    RuntimeUp(String),
    AlarmOver(String),
    FunctionsBack,
}

struct World {
    executor: Executor,
    trace: Trace,
    checks: Checks,
    server: Server,
    /// Since when the server has been up.
    up_since: Option<Duration>,
    speaker: Speaker,
    network: Network,
    machines: BTreeMap<String, Machine>,
    images: Vec<Step>,
    desk: Desk,
    random: SeededRandom,
    agenda: BTreeMap<(Duration, u64), Happening>,
    planned: u64,
    ended: Ended,
    joined: Ended,
    looked: Duration,
}

impl World {
    fn new(story: &Story) -> Self {
        let seed = story.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let executor = Executor::new(seed);
        let trace = Trace::default();
        let speaker = Speaker::new(executor.clone(), seed);
        let checks = Checks::new(executor.clone(), trace.clone(), speaker.clone());
        let server = Server::new(executor.clone(), speaker.clone(), seed);
        let network = Network::new(executor.clone(), server.clone(), seed);
        let joined: Ended = Arc::default();
        let operator = Operator {
            executor: executor.clone(),
            network: network.clone(),
            server: server.clone(),
            checks: checks.clone(),
            trace: trace.clone(),
            random: Arc::new(SeededRandom::new(seed ^ 0x6f70_6572)),
            joined: joined.clone(),
            revisions: BTreeMap::new(),
            tasks: Vec::new(),
        };
        let mut world = Self {
            desk: operator.begin(),
            random: SeededRandom::new(seed ^ 0x776f_726c),
            executor,
            trace,
            checks,
            server,
            up_since: None,
            speaker,
            network,
            machines: BTreeMap::new(),
            images: Vec::new(),
            agenda: BTreeMap::new(),
            planned: 0,
            ended: Arc::new(Mutex::default()),
            joined,
            looked: Duration::ZERO,
        };
        world.plan(Duration::ZERO, Happening::StartServer);
        for (at, step) in &story.steps {
            world.plan(*at, Happening::Step(step.clone()));
        }
        world
    }

    fn plan(&mut self, at: Duration, what: Happening) {
        self.planned += 1;
        self.agenda.insert((at, self.planned), what);
    }

    fn plan_in(&mut self, wait: Duration, what: Happening) {
        self.plan(self.executor.now() + wait, what);
    }

    fn say(&self, line: impl std::fmt::Display) {
        self.trace.say(&self.executor, line);
    }

    /// Plays it; answers how long it took to become calm.
    fn play(&mut self, story: &Story) -> Duration {
        while let Some(((at, _), _)) = self.agenda.first_key_value() {
            let at = *at;
            if self.run_until(at) {
                return Duration::ZERO;
            }
            while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= at) {
                let what = entry.remove();
                self.happen(what);
            }
        }
        self.network.set_weather(Weather::FINE);
        let began = self.executor.now();
        self.say("nothing more goes wrong");
        if !self.becomes_calm(began + CALM) {
            return Duration::ZERO;
        }
        let mut calm = self.executor.now();
        self.say("everything is as it should be");
        while self.executor.now() < calm + STEADY {
            let now = self.executor.now();
            if self.run_until(now + Duration::from_secs(5)) {
                break;
            }
            self.late_happenings();
            let Err(why) = self.is_as_it_should() else { continue };
            // Tasks move to another zone only when the service has long been whole: that may begin now, and must end. The
            // tasks it stops may end after it. A task that waits for capacity is placed when another one ends. A standalone task may end, and the report of it may wait for one before it,
            // whose answer was lost.
            let moves = |model: &Model| {
                model.rebalanced.max(model.placed).is_some_and(|at| at >= calm)
                    || model.services.values().any(|it| it.rebalancing)
                    || self.machines.values().any(|machine| a_standalone_task_ended(model, machine))
            };
            if !self.checks.look(moves) {
                self.checks.violate("does-not-stay", why);
                break;
            }
            if !self.becomes_calm(began + CALM) {
                return Duration::ZERO;
            }
            calm = self.executor.now();
        }
        self.checks.check_promises();
        for expectation in &story.expectations {
            if let Err(why) = self.checks.look(|model| meets(model, expectation)) {
                self.checks.violate("expectation", format!("{expectation}: {why}"));
            }
        }
        calm - began
    }

    /// Goes on until everything is as it should be; answers false when something was violated.
    fn becomes_calm(&mut self, until: Duration) -> bool {
        loop {
            let now = self.executor.now();
            if self.run_until(now + Duration::from_secs(1)) {
                return false;
            }
            self.late_happenings();
            let Err(why) = self.is_as_it_should() else { return true };
            if now > until {
                self.checks.violate("does-not-converge", why);
                return false;
            }
        }
    }

    /// Agents and servers that ended by themselves are started again, also when the story is over.
    fn late_happenings(&mut self) {
        let now = self.executor.now();
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= now) {
            let what = entry.remove();
            self.happen(what);
        }
    }

    /// Lets the world go on until `end`; answers whether something was violated.
    fn run_until(&mut self, end: Duration) -> bool {
        loop {
            if let Err(name) = self.executor.settle() {
                self.checks.violate("never-rests", format!("'{name}' runs in circles while time stands still"));
                return true;
            }
            self.supervise();
            if self.executor.now() >= self.looked + LOOK {
                self.looked = self.executor.now();
                self.look_at_machines();
                self.look_at_alarms();
            }
            if self.checks.violation().is_some() {
                return true;
            }
            if self.executor.advance(end) {
                return false;
            }
        }
    }

    /// Starts what may start, and what ended by itself.
    fn supervise(&mut self) {
        let joined = std::mem::take(&mut *locked(&self.joined));
        for (name, _) in joined {
            self.start_agent(&name);
        }
        let ended = std::mem::take(&mut *locked(&self.ended));
        for (name, words) in ended {
            self.say(format!("the agent of {name} ended: {words}"));
            if let Some(machine) = self.machines.get_mut(&name) {
                machine.kill_agent();
            }
            self.plan_in(SUPERVISOR, Happening::StartAgent(name));
        }
        if self.server.has_failed() {
            self.say("the server ended: its store failed");
            self.server.kill();
            self.plan_in(SUPERVISOR, Happening::StartServer);
        }
    }

    fn start_agent(&mut self, name: &str) {
        if let Some(machine) = self.machines.get_mut(name) {
            machine.start_agent(&self.network, &self.ended);
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Step(step) => {
                self.say(format!("-> {step}"));
                self.step(step);
            }
            Happening::StartServer => {
                let (checks, trace, executor) = (self.checks.clone(), self.trace.clone(), self.executor.clone());
                self.server.start(move |service| {
                    trace.say(&executor, "the server has loaded its state");
                    service.engine.peek(|state| checks.reload(state));
                    Arc::new(checks)
                });
            }
            Happening::StartAgent(name) => self.start_agent(&name),
            Happening::PowerOn(name) => {
                if let Some(machine) = self.machines.get_mut(&name) {
                    machine.powered = true;
                }
                self.hear(&name);
                self.start_agent(&name);
            }
            Happening::Hear(name) => self.hear(&name),
            Happening::DiskFree(name) => self.set_full(&name, false),
            Happening::AlarmOver(name) => self.speaker.calm_down(&name),
            Happening::FunctionsBack => self.speaker.functions().set_away(false),
            Happening::RuntimeUp(name) => {
                if let Some(machine) = self.machines.get(&name) {
                    machine.runtime.set_down(false);
                }
            }
        }
    }

    fn hear(&mut self, name: &str) {
        let Some(machine) = self.machines.get_mut(name) else { return };
        machine.silences = machine.silences.saturating_sub(1);
        if machine.silences == 0 {
            self.network.set_silent(name, false);
        }
    }

    fn silence(&mut self, name: &str) {
        if let Some(machine) = self.machines.get_mut(name) {
            machine.silences += 1;
            self.network.set_silent(name, true);
        }
    }

    fn set_full(&self, name: &str, full: bool) {
        if name == SERVER {
            self.server.set_full(full);
        } else if let Some(machine) = self.machines.get(name) {
            machine.disk.set_full(full);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Machine { ref name, cores, memory, fargate, scaled } => {
                if self.machines.contains_key(name) {
                    return;
                }
                let mut machine = Machine::new(name, cores, memory, fargate, &self.executor, self.random.next_u64());
                machine.scaled = scaled;
                machine.zone = format!("{}{}", crate::network::REGION, ['a', 'b', 'c'][self.machines.len() % 3]);
                self.images.iter().for_each(|image| machine.add_image(image));
                self.machines.insert(name.clone(), machine);
                self.desk.put(step);
            }
            Step::Image { .. } => {
                self.machines.values().for_each(|machine| machine.add_image(&step));
                self.images.push(step);
            }
            Step::KillServer { away } => {
                if self.server.kill() {
                    self.plan_in(away, Happening::StartServer);
                }
            }
            Step::KillAgent { name, away, cache_lost } => {
                let Some(machine) = self.machines.get_mut(&name) else { return };
                if machine.kill_agent() {
                    if cache_lost {
                        machine.lose_cache();
                    }
                    self.plan_in(away, Happening::StartAgent(name));
                }
            }
            Step::Lose { name, away } => {
                let Some(machine) = self.machines.get_mut(&name).filter(|machine| machine.powered) else { return };
                machine.lose_power();
                self.silence(&name);
                self.plan_in(away, Happening::PowerOn(name));
            }
            Step::Cut { name, away } => {
                self.silence(&name);
                self.plan_in(away, Happening::Hear(name));
            }
            Step::Break { name } => self.network.break_connections(&name),
            Step::Crash => self.crash(),
            Step::Clock { name, off_millis } if name == SERVER => {
                self.checks.note_server_clock();
                self.server.clock().set_off(off_millis);
            }
            Step::Clock { name, off_millis } => {
                if let Some(machine) = self.machines.get(&name) {
                    machine.clock.set_off(off_millis);
                }
            }
            Step::DiskFull { name, away } => {
                self.set_full(&name, true);
                self.plan_in(away, Happening::DiskFree(name));
            }
            Step::RuntimeDown { name, away } => {
                if let Some(machine) = self.machines.get(&name) {
                    machine.runtime.set_down(true);
                    self.plan_in(away, Happening::RuntimeUp(name));
                }
            }
            Step::Alarm { name, lasts } => {
                self.speaker.go_off(&name);
                self.plan_in(lasts, Happening::AlarmOver(name));
            }
            Step::Sicken { name } => self.sicken(&name),
            Step::FunctionsAway { away } => {
                self.speaker.functions().set_away(true);
                self.plan_in(away, Happening::FunctionsBack);
            }
            Step::Network { loses, repeats, delay } => {
                self.network.set_weather(Weather { loss_per_mille: loses, twice_per_mille: repeats, delay });
            }
            step => self.desk.put(step),
        }
    }

    /// Ends one of the running containers.
    fn crash(&self) {
        let running: Vec<(&Machine, String)> =
            self.machines.values().flat_map(|it| it.running().into_iter().map(move |found| (it, found.id))).collect();
        if running.is_empty() {
            return;
        }
        let chosen = usize::try_from(self.random.below(running.len() as u64)).unwrap_or(0);
        let (machine, id) = &running[chosen];
        self.say(format!("container {} on {} crashes", &id[60..], machine.name));
        machine.runtime.exit(id, 1);
    }

    /// Lets one of a service's tasks fail the health checks of its load balancer.
    fn sicken(&self, service: &str) {
        let group = format!("service:{service}");
        let well: Vec<Id> = self.checks.look(|model| {
            let mine = model.tasks.values().filter(|task| task.group == group);
            let runs = mine.filter(|task| {
                task.last_status == TaskStatus::Running && task.desired_status == DesiredStatus::Running
            });
            runs.map(|task| task.id).filter(|id| !self.speaker.is_sick(*id)).collect()
        });
        if well.is_empty() {
            return;
        }
        let id = well[usize::try_from(self.random.below(well.len() as u64)).unwrap_or(0)];
        if self.speaker.sicken(id) {
            self.say(format!("task {} fails the health checks of its load balancer", &id.to_string()[..6]));
        }
    }

    /// No deployment goes on in spite of its alarm.
    fn look_at_alarms(&mut self) {
        let now = self.executor.now();
        if self.server.open().is_none() {
            self.up_since = None;
            return;
        }
        let up_since = *self.up_since.get_or_insert(now);
        if let Some(what) = self.checks.look(|model| signals::unheard_alarm(model, &self.speaker, up_since, now)) {
            self.checks.violate("alarm-not-heard", what);
        }
    }

    /// What runs on a machine fits on it, and nothing was started twice.
    fn look_at_machines(&self) {
        for machine in self.machines.values() {
            let twice = machine.runtime.starts().into_iter().find(|(_, starts)| *starts > 1);
            if let Some((name, starts)) = twice {
                self.checks.violate("started-twice", format!("container {name} on {}: {starts} times", machine.name));
            }
            let running = machine.running();
            let mut names = BTreeSet::new();
            let mut ports = BTreeSet::new();
            for container in &running {
                let key = (task_of(container), container.labels.get("com.amazonaws.ecs.container-name").cloned());
                if !names.insert(key) {
                    let what = format!("two containers for one on {}: {}", machine.name, container.name);
                    self.checks.violate("container-doubled", what);
                }
                if let Some(port) = container.ports.iter().find(|it| !ports.insert((it.host_port, it.protocol))) {
                    let what = format!("port {} of {} is bound twice", port.host_port, machine.name);
                    self.checks.violate("port-taken-twice", what);
                }
            }
            let tasks: BTreeSet<String> = running.iter().map(task_of).collect();
            let (cpu, memory) = self.checks.look(|model| {
                let known = tasks.iter().filter_map(|id| model.tasks.get(&id.parse().ok()?));
                known.fold((0, 0), |(cpu, memory), task| {
                    (cpu + task.reservation.cpu, memory + task.reservation.memory_mib)
                })
            });
            let offered = (i64::from(machine.cores) * 1024, i64::try_from(machine.memory).unwrap_or(i64::MAX));
            if cpu > offered.0 || memory > offered.1 {
                let what = format!("{} runs tasks of {cpu} CPU units and {memory} MiB", machine.name);
                self.checks.violate("oversubscribed", what);
            }
        }
    }

    /// Whether the control plane has what is wanted, and the machines run exactly that; or what is missing.
    fn is_as_it_should(&self) -> Result<(), String> {
        if self.server.open().is_none() {
            return Err("the server is not up".to_owned());
        }
        if !self.desk.is_empty() {
            return Err("the operator waits for an answer".to_owned());
        }
        if let Some(machine) = self.machines.values().find(|machine| !machine.has_agent()) {
            return Err(format!("the agent of {} does not run", machine.name));
        }
        self.checks.look(|model| {
            for task in model.tasks.values() {
                task_is_settled(model, task)?;
            }
            for service in model.services.values() {
                service_is_settled(model, service)?;
            }
            if let Some(id) = signals::kept_sick(model, &self.speaker) {
                return Err(format!("task {id} fails the health checks of its load balancer, and runs on"));
            }
            for machine in self.machines.values() {
                machine_runs_what_it_should(model, machine)?;
            }
            Ok(())
        })
    }
}
