//! How long starting takes. The promises are kept by the benchmark; here are bounds that only a mistake exceeds.

use std::time::Duration;

use longshore_runtime::{ContainerRuntime, ContainerSpec, NetworkMode};
use longshore_seams::{Clock, SystemClock};

use crate::world::{World, running};

/// Times of create, of start, and of the time from start's answer until the end is known.
async fn measure(world: &World, make: impl Fn(usize) -> ContainerSpec) -> [Vec<Duration>; 3] {
    let clock = SystemClock::new();
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for number in 0..40 {
        let spec = make(number);
        let begin = clock.monotonic();
        let id = world.runtime.create(&spec).await.unwrap();
        let created = clock.monotonic();
        world.runtime.start(&id).await.unwrap();
        let started = clock.monotonic();
        world.ended(&id).await;
        let ended = clock.monotonic();
        world.runtime.remove(&id).await.unwrap();
        for (times, time) in times.iter_mut().zip([created - begin, started - created, ended - started]) {
            times.push(time);
        }
    }
    times.iter_mut().for_each(|times| times.sort());
    times
}

fn report(what: &str, times: &[Vec<Duration>; 3]) {
    for (times, step) in times.iter().zip(["create", "start", "end known"]) {
        let at = |part: usize| times[times.len() * part / 100];
        println!("{what}: {step}: p50 {:?} p90 {:?} max {:?}", at(50), at(90), times[times.len() - 1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_takes_milliseconds() {
    let Some(world) = World::open().await else { return };
    let plain = measure(&world, |number| running(&format!("plain-{number}"), "true")).await;
    report("no network", &plain);
    world.runtime.prepare_network().await.unwrap();
    let bridged = measure(&world, |number| ContainerSpec {
        network: NetworkMode::Bridge,
        ..running(&format!("bridged-{number}"), "true")
    });
    let bridged = bridged.await;
    report("bridge", &bridged);
    for times in [plain, bridged] {
        assert!(times[1][times[1].len() / 2] < Duration::from_millis(300));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_start_at_once() {
    let Some(world) = World::open().await else { return };
    let clock = SystemClock::new();
    let begin = clock.monotonic();
    let specs: Vec<ContainerSpec> = (0..64).map(|number| running(&format!("many-{number}"), "true")).collect();
    for some in specs.chunks(8) {
        let runs = some.iter().map(|spec| world.run(spec));
        let ended = futures_util::future::join_all(runs).await;
        assert!(ended.iter().all(|state| state.exit_code == Some(0)));
    }
    let rate = 64.0 / (clock.monotonic() - begin).as_secs_f64();
    println!("{rate:.1} containers a second");
}
