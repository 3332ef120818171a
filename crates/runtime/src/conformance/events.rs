//! What happens, as it happens; and health.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

use super::World;
use super::image::TestImage;
use crate::{ContainerEvent, ContainerEventKind, ContainerSpec, Health, HealthCheck};

const EVENT_TIMEOUT: Duration = Duration::from_secs(20);

async fn next(events: &mut BoxStream<'static, ContainerEvent>) -> ContainerEvent {
    tokio::time::timeout(EVENT_TIMEOUT, events.next()).await.expect("an event").expect("events go on")
}

fn event(id: &str, kind: ContainerEventKind) -> ContainerEvent {
    ContainerEvent { id: id.to_owned(), kind }
}

fn check(test: &[&str]) -> HealthCheck {
    HealthCheck {
        test: test.iter().map(|&word| word.to_owned()).collect(),
        interval: Duration::from_millis(100),
        timeout: Duration::from_secs(5),
        retries: 2,
        start_period: Duration::ZERO,
    }
}

/// Begins with a resync; then says when a container starts and ends.
pub async fn start_and_end_are_told(world: &World) {
    let mut events = world.runtime.events();
    assert_eq!(next(&mut events).await.kind, ContainerEventKind::Resync);
    let id = world.runtime.create(&world.spec(&["true"])).await.unwrap();
    world.runtime.start(&id).await.unwrap();
    assert_eq!(next(&mut events).await, event(&id, ContainerEventKind::Started));
    assert_eq!(next(&mut events).await, event(&id, ContainerEventKind::Exited));
    assert_eq!(world.ended(&id).await.exit_code, Some(0));
}

/// Every listener is told; one that comes back is told of what happens from then on.
pub async fn every_listener_is_told(world: &World) {
    let reopened = world.reopen().await;
    let mut listeners = [world.runtime.events(), world.runtime.events(), reopened.events()];
    for events in &mut listeners {
        assert_eq!(next(events).await.kind, ContainerEventKind::Resync);
    }
    let started = world.start(&world.service()).await;
    world.runtime.kill(&started.id, 9).await.unwrap();
    for events in &mut listeners {
        assert_eq!(next(events).await, event(&started.id, ContainerEventKind::Started));
        assert_eq!(next(events).await, event(&started.id, ContainerEventKind::Exited));
    }
}

/// No result, then healthy; the state says so too.
// spec: 05-044
pub async fn a_passing_check_makes_healthy(world: &World) {
    let mut events = world.runtime.events();
    let passing = HealthCheck { start_period: Duration::from_secs(60), ..check(&["CMD-SHELL", "test -e /tmp/ok"]) };
    let script = "sleep 0.3; touch /tmp/ok; sleep 3600";
    let started = world.start(&ContainerSpec { health_check: Some(passing), ..world.shell(script) }).await;
    assert_eq!(started.health.map(|(health, _)| health), Some(Health::Starting));
    let healthy = event(&started.id, ContainerEventKind::Health(Health::Healthy));
    while next(&mut events).await != healthy {}
    let (health, since) = world.runtime.inspect(&started.id).await.unwrap().health.unwrap();
    assert_eq!(health, Health::Healthy);
    assert!(since >= started.started_at.unwrap());
}

/// Enough failures in a row make unhealthy; the container runs on.
// spec: 05-051
pub async fn failing_checks_make_unhealthy(world: &World) {
    let mut events = world.runtime.events();
    let spec = ContainerSpec { health_check: Some(check(&["CMD", "false"])), ..world.service() };
    let started = world.start(&spec).await;
    let unhealthy = event(&started.id, ContainerEventKind::Health(Health::Unhealthy));
    while next(&mut events).await != unhealthy {}
    let state = world.runtime.inspect(&started.id).await.unwrap();
    assert_eq!(state.health.map(|(health, _)| health), Some(Health::Unhealthy));
    assert_eq!(state.pid, started.pid);
}

/// A check that takes too long has failed.
pub async fn a_slow_check_fails(world: &World) {
    let slow = HealthCheck { timeout: Duration::from_millis(200), retries: 1, ..check(&["CMD", "sleep", "3600"]) };
    let started = world.start(&ContainerSpec { health_check: Some(slow), ..world.service() }).await;
    world
        .until("the slow check counts as failed", || async {
            let health = world.runtime.inspect(&started.id).await.unwrap().health;
            health.filter(|(health, _)| *health == Health::Unhealthy)
        })
        .await;
}

/// An image's own check does not count.
// spec: 05-045
pub async fn the_image_s_check_does_not_count(world: &World) {
    let reference = format!("localhost/{}:1", world.unique("image"));
    let health_check = Some(vec!["CMD".to_owned(), "false".to_owned()]);
    world.import(&TestImage { health_check, ..TestImage::named(&reference) }).await;
    let started = world.start(&ContainerSpec { image: reference.clone(), ..world.service() }).await;
    assert_eq!(started.health, None);
    world.runtime.cleanup().await.unwrap();
    assert!(world.runtime.list(&BTreeMap::new()).await.unwrap().is_empty());
    world.runtime.remove_image(&reference).await.unwrap();
}
