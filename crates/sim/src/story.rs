//! Stories: what happens in a world and when, as text that can be read, kept and played again.
//!
//! A story is a file of lines. `#` begins a remark; the first one is the title. `seed N` says which world;
//! `at TIME STEP` what happens when, with the steps of [`Step`]; `expect …` what must hold in the end.

use std::time::Duration;

mod text;

pub use text::StoryError;

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
    /// A machine joins (`machine NAME cores N memory MIB [fargate|scaled]`).
    Machine {
        /// Its name.
        name: String,
        /// Its cores.
        cores: u32,
        /// Its memory in MiB.
        memory: u64,
        /// Whether it is lent to Fargate, and to nobody else.
        fargate: bool,
        /// Whether it joins for the capacity provider with managed scaling.
        scaled: bool,
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
    /// A task definition of one container (`register FAMILY image NAME cpu N memory MIB [port N] [fargate]`; port 0 is
    /// any that is free).
    Register {
        /// The family.
        family: String,
        /// Its image.
        image: String,
        /// CPU units.
        cpu: u32,
        /// MiB.
        memory: u32,
        /// The host port; none when the container has no port.
        port: Option<u16>,
        /// Whether it is for Fargate.
        fargate: bool,
    },
    /// A service is made (`service NAME of FAMILY desired N minimum P maximum P [breaker] [alarm stops|alarm rolls back]
    /// [balanced grace TIME] [fargate [spot]] [STRATEGY]`; for the strategy see [`Rollout`]).
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
        /// What becomes of a deployment when the alarm of the service's name goes off; none when nobody watches it.
        alarm: Option<OnAlarm>,
        /// How long its load balancer's health checks do not count, if it has one.
        grace: Option<Duration>,
        /// Whether its tasks run on Fargate.
        fargate: bool,
        /// Whether they are placed by FARGATE_SPOT.
        spot: bool,
        /// How it is deployed, when not by rolling updates.
        rollout: Option<Rollout>,
    },
    /// A service is made whose deployments somebody else decides about (`external NAME desired N`).
    External {
        /// Its name.
        name: String,
        /// Tasks wanted.
        desired: u32,
    },
    /// It gets another task set (`taskset NAME of FAMILY scale PERCENT`).
    TaskSet {
        /// The service.
        name: String,
        /// The task set's task definition.
        definition: String,
        /// Percent of the service's desired count.
        scale: u32,
    },
    /// Its newest task set is scaled (`scale NAME to PERCENT`).
    ScaleTaskSet {
        /// The service.
        name: String,
        /// Percent of the service's desired count.
        scale: u32,
    },
    /// Its newest task set becomes the primary one (`promote NAME`).
    Promote {
        /// The service.
        name: String,
    },
    /// Its oldest task set is deleted, when there is another one (`retire NAME`).
    Retire {
        /// The service.
        name: String,
    },
    /// A hook that holds the deployment of a service lets it go on, or sends it back (`continue NAME [back]`).
    Continue {
        /// The service.
        name: String,
        /// Whether it goes back.
        back: bool,
    },
    /// The deployment of a service that goes on is rolled back (`rollback NAME`).
    RollBack {
        /// The service.
        name: String,
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
    /// Standalone tasks are run (`run DEFINITION count N [fargate|scaled]`).
    Run {
        /// Their task definition.
        definition: String,
        /// How many.
        count: u32,
        /// Whether on Fargate.
        fargate: bool,
        /// Whether by the capacity provider with managed scaling: those that do not fit wait.
        scaled: bool,
    },
    /// One of the standalone tasks is stopped (`stop any task`).
    StopAny,
    /// Fargate takes the capacity of FARGATE_SPOT back below so many tasks (`reclaim N spot tasks`).
    Reclaim {
        /// How many, at the most.
        count: u32,
    },
    /// The alarm of a service is in the state ALARM for a while (`alarm NAME for TIME`).
    Alarm {
        /// The service.
        name: String,
        /// How long.
        lasts: Duration,
    },
    /// One of a service's tasks fails the health checks of its load balancer from now on (`sicken NAME`).
    Sicken {
        /// The service.
        name: String,
    },
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
    /// Functions of lifecycle hooks cannot be reached (`functions away for TIME`).
    FunctionsAway {
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

/// What becomes of a deployment when an alarm goes off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnAlarm {
    /// It stops (`alarm stops`).
    Stops,
    /// The one before it comes back (`alarm rolls back`).
    RollsBack,
}

/// How a service is deployed when not by rolling updates: `blue-green`, `canary PERCENT every TIME` or
/// `linear PERCENT every TIME`, then `bake TIME`, when a user holds it, `pause STAGE for TIME [then continue]`, and when a
/// function is asked, `function STAGE succeeds`, `function STAGE fails` or `function STAGE asks N`.
/// Times are whole minutes.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// How production traffic goes to the new tasks.
    pub shift: Shift,
    /// How long both old and new tasks run on then.
    pub bake: Duration,
    /// A hook that holds it.
    pub pause: Option<Pause>,
    /// A hook whose function has a say.
    pub function: Option<Asked>,
}

/// A hook whose function has a say.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// At this stage, as ECS calls it.
    pub stage: String,
    /// What it says.
    pub verdict: Verdict,
}

/// What a function says of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may go on.
    Succeeds,
    /// It has to go back.
    Fails,
    /// So many times that it wants to be asked again, then that it may go on.
    Asks(u32),
}

/// How production traffic goes to the new tasks.
#[derive(Clone, Debug, PartialEq)]
pub enum Shift {
    /// All at once.
    BlueGreen,
    /// So many percent, and all the rest after a while.
    Canary(u32, Duration),
    /// So many percent at a time, with a while between.
    Linear(u32, Duration),
}

/// A hook that holds a deployment.
#[derive(Clone, Debug, PartialEq)]
pub struct Pause {
    /// At this stage, as ECS calls it.
    pub stage: String,
    /// For so long at the most.
    pub most: Duration,
    /// Whether the deployment goes on then; else it goes back.
    pub goes_on: bool,
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
    /// So many standalone tasks of a family have been running (`expect N ran of FAMILY`).
    Ran {
        /// How many.
        count: usize,
        /// Of which.
        family: String,
    },
    /// So many standalone tasks of a family were made (`expect N tasks of FAMILY`).
    Made {
        /// How many.
        count: usize,
        /// Of which.
        family: String,
    },
    /// The service deployments of a service have come to these ends, from old to new
    /// (`expect NAME deployments STATUS STATUS…`).
    Deployments {
        /// The service.
        service: String,
        /// As ECS calls them.
        statuses: Vec<String>,
    },
    /// A service's events say something (`expect NAME says WORDS`).
    Says {
        /// The service.
        service: String,
        /// The words.
        words: String,
    },
}
