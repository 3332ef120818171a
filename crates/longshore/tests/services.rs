//! Services through boto3, with real containers: stable, rolled, killed at, scaled and deleted.

mod support;

use support::agent::Agent;
use support::{IMAGE, Longshore, require_root};

fn step(server: &Longshore, step: &str) {
    server.python("services.py", &[step, IMAGE]);
}

// spec: 15-089, 08-060, 24-003
#[test]
fn a_service_is_created_rolled_scaled_and_deleted_with_boto3_s_waiters() {
    require_root();
    let server = Longshore::server();
    let agent = Agent::join(&server);
    agent.import_busybox();
    server.wait_instance();
    step(&server, "create");
    step(&server, "roll");
    step(&server, "finish");
    step(&server, "scale");
    step(&server, "delete");
}

#[test]
fn a_rolling_update_survives_kill_9_of_server_and_agent() {
    require_root();
    let mut server = Longshore::server();
    let mut agent = Agent::join(&server);
    agent.import_busybox();
    server.wait_instance();
    step(&server, "create");

    step(&server, "roll");
    server.kill();
    server.spawn();
    agent.kill();
    agent.spawn(&[]);
    step(&server, "finish");

    step(&server, "roll");
    server.kill();
    agent.kill();
    server.spawn();
    agent.spawn(&[]);
    step(&server, "finish");

    step(&server, "scale");
    step(&server, "delete");
}
