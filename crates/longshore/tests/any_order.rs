//! A service of real containers: whatever is killed, in whatever order, it has exactly its tasks again, and no
//! container runs that is not one of them.

mod support;

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use support::agent::Agent;
use support::{Longshore, require_root, wait_for};

const DESIRED: usize = 3;

/// What may be killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Server,
    Agent,
    /// The process that watches over the containers of one task.
    Shim,
    /// The first process of one container.
    Container,
}

const VICTIMS: [Victim; 4] = [Victim::Server, Victim::Agent, Victim::Shim, Victim::Container];

/// Every order of the victims.
fn orders() -> Vec<Vec<Victim>> {
    let mut orders: Vec<Vec<Victim>> = vec![Vec::new()];
    for _ in VICTIMS {
        orders = orders
            .into_iter()
            .flat_map(|order| {
                let left: Vec<Victim> = VICTIMS.into_iter().filter(|victim| !order.contains(victim)).collect();
                left.into_iter().map(move |victim| [order.clone(), vec![victim]].concat())
            })
            .collect();
    }
    orders
}

/// Processes whose arguments begin with `first` and hold all of `parts`. A child has those of its parent until it runs
/// its own program: it does not count.
fn processes(first: &str, parts: &[&str]) -> Vec<i32> {
    let mut ids = alike(first, parts);
    let found = ids.clone();
    ids.retain(|id| parent(*id).is_some_and(|parent| !found.contains(&parent)));
    ids
}

/// None when the process has ended meanwhile.
fn parent(id: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn alike(first: &str, parts: &[&str]) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let found = entries.filter_map(|entry| {
        let id: i32 = entry.file_name().to_str()?.parse().ok()?;
        let line = String::from_utf8_lossy(&fs::read(entry.path().join("cmdline")).ok()?).replace('\0', " ");
        let fits = line.split(' ').next()?.ends_with(first) && parts.iter().all(|part| line.contains(part));
        fits.then_some(id)
    });
    let mut ids: Vec<i32> = found.collect();
    ids.sort_unstable();
    ids
}

fn kill_one(of: &[i32], turn: usize) {
    // It may have ended by itself meanwhile, for what was killed before it.
    if let Some(id) = of.get(turn % of.len().max(1)) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*id), nix::sys::signal::Signal::SIGKILL);
    }
}

/// Makes the service `web`, whose containers are known by `mark`.
fn make_service(longshore: &Longshore, mark: &str) {
    let script = format!(": {mark}; trap 'exit 0' TERM; while :; do sleep 0.1; done");
    longshore.register("web", &script, json!({"memory": 16}));
    let count = DESIRED.to_string();
    longshore.ecs(&["create-service", "--service-name", "web", "--task-definition", "web", "--desired-count", &count]);
}

fn containers(mark: &str) -> Vec<i32> {
    processes("sh", &["-c", mark])
}

fn described(longshore: &Longshore, status: &str) -> Vec<Value> {
    let listed = longshore.ecs(&["list-tasks", "--service-name", "web", "--desired-status", status]);
    let arns: Vec<String> =
        listed["taskArns"].as_array().unwrap().iter().map(|arn| arn.as_str().unwrap().to_owned()).collect();
    if arns.is_empty() {
        return Vec::new();
    }
    let mut command = vec!["describe-tasks", "--tasks"];
    command.extend(arns.iter().map(String::as_str));
    longshore.ecs(&command)["tasks"].as_array().unwrap().clone()
}

/// Waits until the service has exactly its tasks, each with a container of its own and no other.
fn converges(longshore: &Longshore, mark: &str, when: &str) {
    let text = wait_for(&format!("exactly {DESIRED} tasks {when}"), || {
        let wanted = described(longshore, "RUNNING");
        let running = wanted.len() == DESIRED && wanted.iter().all(|task| task["lastStatus"] == "RUNNING");
        let ended = described(longshore, "STOPPED").iter().all(|task| task["lastStatus"] == "STOPPED");
        let ids: BTreeSet<String> = wanted.iter().map(|task| task["containers"][0]["runtimeId"].to_string()).collect();
        let real = containers(mark).len();
        (running && ended && ids.len() == DESIRED && real == DESIRED).then(|| format!("{wanted:?}"))
    });
    let service = longshore.ecs(&["describe-services", "--services", "web"])["services"][0].clone();
    let counts = (&service["desiredCount"], &service["runningCount"], &service["pendingCount"]);
    assert_eq!(counts, (&json!(DESIRED), &json!(DESIRED), &json!(0)), "{when}: {text}");
}

#[test]
fn a_service_has_exactly_its_tasks_after_kill_9_of_everything_in_every_order() {
    require_root();
    let mark = format!("any-order-{}", std::process::id());
    let mut server = Longshore::server();
    let mut agent = Agent::join(&server);
    agent.import_busybox();
    server.wait_instance();
    make_service(&server, &mark);
    converges(&server, &mark, "at first");
    let shims = |agent: &Agent| processes("longshore", &[" shim ", agent.data_dir().to_str().unwrap()]);
    assert_eq!(shims(&agent).len(), DESIRED, "each task has one");
    for (turn, order) in orders().into_iter().enumerate() {
        for victim in &order {
            match victim {
                Victim::Server => server.kill(),
                Victim::Agent => agent.kill(),
                Victim::Shim => kill_one(&shims(&agent), turn),
                Victim::Container => kill_one(&containers(&mark), turn),
            }
        }
        // They come back in either order.
        if turn % 2 == 0 {
            server.spawn();
            agent.launch(&[]);
        } else {
            agent.launch(&[]);
            server.spawn();
        }
        agent.wait_ready();
        converges(&server, &mark, &format!("after {order:?}"));
    }
    server.ecs(&["delete-service", "--service", "web", "--force"]);
    wait_for("the last container to end", || containers(&mark).is_empty().then_some(()));
}

#[test]
fn a_rollout_that_is_killed_again_and_again_ends_with_exactly_the_new_tasks() {
    let mut longshore = Longshore::up("oci");
    let mark = format!("rollout-{}", std::process::id());
    longshore.import_busybox();
    longshore.wait_instance();
    make_service(&longshore, &mark);
    converges(&longshore, &mark, "at first");
    for turn in 0..6 {
        let new = format!("{mark}-{turn}");
        let script = format!(": {new}; trap 'exit 0' TERM; while :; do sleep 0.1; done");
        let check = json!({"command": ["CMD-SHELL", "true"], "interval": 5});
        longshore.register("web", &script, json!({"memory": 16, "healthCheck": check}));
        longshore.ecs(&["update-service", "--service", "web", "--task-definition", "web"]);
        // Somewhere on the way: after so many of the new containers.
        wait_for("some of the new containers", || (containers(&new).len() >= turn % (DESIRED + 1)).then_some(()));
        longshore.kill();
        kill_one(&processes("longshore", &[" shim ", longshore.data_dir().to_str().unwrap()]), turn);
        if turn % 2 == 0 {
            fs::remove_dir_all(longshore.data_dir().join("agent")).unwrap();
        }
        longshore.spawn();
        converges(&longshore, &new, &format!("after rollout {turn}"));
        assert_eq!(containers(&mark).len(), DESIRED, "none of the old containers is left");
    }
}
