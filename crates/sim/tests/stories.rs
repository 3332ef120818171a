//! Stories, and worlds made from seeds.

use longshore_sim::{Story, generate, play};

/// Seeds that are played in every run of the tests; `cargo xtask sim` plays more.
const SEEDS: u64 = 24;

fn tell(name: &str) {
    let path = format!("stories/{name}.story");
    let story =
        Story::parse(&std::fs::read_to_string(&path).unwrap()).unwrap_or_else(|error| panic!("{path}: {error}"));
    check(&story);
}

fn check(story: &Story) {
    let outcome = play(story);
    if let Some(violation) = outcome.violation {
        let trace = outcome.trace.join("\n");
        panic!("{}: {}\n\n{story}\n{trace}", violation.rule, violation.what);
    }
}

#[test]
fn a_container_instance_is_lost_during_a_rolling_update() {
    tell("instance-lost-during-rolling-update");
}

// spec: 03-076
#[test]
fn tasks_wait_for_machines_of_their_capacity_provider() {
    tell("tasks-wait-for-machines");
}

#[test]
fn the_server_is_killed_during_run_task() {
    tell("server-killed-during-run-task");
}

#[test]
fn an_agent_is_restarted_without_its_cache() {
    tell("agent-restarted-without-cache");
}

#[test]
fn a_task_moves_to_a_zone_with_room_for_one() {
    tell("task-moves-to-a-zone-with-room-for-one");
}

#[test]
fn tasks_move_after_everything_was_calm() {
    tell("tasks-move-after-everything-was-calm");
}

#[test]
fn a_daemon_follows_the_machines() {
    tell("daemon-follows-machines");
}

#[test]
fn a_hook_holds_a_blue_green_deployment() {
    tell("blue-green-held-by-a-hook");
}

#[test]
fn a_function_is_asked_about_a_blue_green_deployment() {
    tell("blue-green-asks-a-function");
}

#[test]
fn a_function_that_cannot_be_reached_sends_a_deployment_back() {
    tell("function-sends-a-deployment-back");
}

#[test]
fn a_canary_is_rolled_back() {
    tell("canary-rolled-back");
}

#[test]
fn task_sets_take_turns() {
    tell("task-sets-take-turns");
}

#[test]
fn fargate_tasks_run_on_lent_machines() {
    tell("fargate-on-lent-machines");
}

#[test]
fn spot_capacity_is_taken_back() {
    tell("spot-capacity-taken-back");
}

#[test]
fn an_alarm_rolls_back() {
    tell("alarm-rolls-back");
}

#[test]
fn an_alarm_s_rollback_is_overtaken_by_another_deployment() {
    tell("alarm-rollback-overtaken");
}

#[test]
fn an_alarm_stops_a_deployment() {
    tell("alarm-stops-a-deployment");
}

#[test]
fn a_failed_deployment_replaces_nothing() {
    tell("failed-deployment-replaces-nothing");
}

#[test]
fn an_alarm_is_heard_though_the_clock_is_set_back() {
    tell("alarm-heard-though-the-clock-is-set-back");
}

#[test]
fn sick_targets_are_replaced() {
    tell("sick-targets-are-replaced");
}

#[test]
fn a_circuit_breaker_rolls_back() {
    tell("circuit-breaker-rolls-back");
}

#[test]
fn nothing_is_lost_or_done_twice_by_a_bad_network_and_full_disks() {
    tell("bad-network-and-full-disks");
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in [3, 11] {
        let story = generate(seed);
        let (first, second) = (play(&story), play(&story));
        assert_eq!(first.trace, second.trace);
        assert_eq!(first.fingerprint, second.fingerprint);
        assert_ne!(first.fingerprint, play(&Story { seed: seed + 1, ..story }).fingerprint);
    }
}

#[test]
fn no_seed_breaks_a_rule() {
    for seed in 0..SEEDS {
        check(&generate(seed));
    }
}
