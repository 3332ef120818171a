//! Keys of task roles on the way to an agent, and what they open.

use std::sync::Arc;

use longshore_protocol::acs::{IamRoleCredentialsAckRequest, ROLE_TASK_APPLICATION, RoleCredentials};
use longshore_seams::Clock;
use longshore_wire::{CredentialStore, Principal};

use super::*;
use crate::accounts::Accounts;
use crate::keyring::Keyring;
use crate::role_sessions::LIFE;

const ROLE: &str = "arn:aws:iam::123456789012:role/team/app";

/// A control plane that gives out keys, an instance of it, and who checks keys.
async fn setting() -> (World, Value, Accounts) {
    let (world, instance) = world_with_instance().await;
    let keyring = Arc::new(Keyring::generate(&*world.engine().seams().random));
    world.service.gateway.issue_role_credentials(keyring.clone());
    world.family("web", 64, 32, json!({})).await;
    let accounts = Accounts::new(world.engine().clone(), keyring);
    (world, instance, accounts)
}

async fn run_with_role(world: &World) -> Value {
    let input = json!({"taskDefinition": "web", "overrides": {"taskRoleArn": ROLE}});
    world.ok("RunTask", input).await["tasks"][0]["taskArn"].clone()
}

fn ack(keys: &RoleCredentials) -> FromAgent {
    FromAgent::IamRoleCredentialsAck(IamRoleCredentialsAckRequest {
        credentials_id: keys.credentials_id.clone(),
        expiration: keys.expiration.clone(),
        message_id: "m".to_owned(),
    })
}

impl Agent {
    async fn keys(&mut self) -> RoleCredentials {
        match self.hear().await {
            FromServer::IamRoleCredentials(message) => {
                assert_eq!(message.role_type, ROLE_TASK_APPLICATION);
                message.role_credentials.unwrap()
            }
            other => panic!("expected credentials, found {other:?}"),
        }
    }

    async fn beat(&mut self) {
        match self.hear().await {
            FromServer::Heartbeat(HeartbeatMessage { message_id, .. }) => {
                self.say(FromAgent::HeartbeatAck(HeartbeatAckRequest { message_id })).await;
            }
            other => panic!("expected a heartbeat, found {other:?}"),
        }
    }

    /// What was said before has been heard once another task is told.
    async fn heard_out(&mut self, world: &World) {
        world.run("web").await;
        self.payload().await;
    }
}

// spec: 14-013
#[tokio::test]
async fn a_task_with_a_role_gets_keys_that_open_as_long_as_it_runs() {
    let (world, instance, accounts) = setting().await;
    let mut agent = Agent::connect(&world, &instance).await;
    agent.manifest().await;
    let arn = run_with_role(&world).await;
    let keys = tasks(&agent.payload().await)[0].role_credentials.clone().unwrap();
    assert_eq!(keys.role_arn, ROLE);
    let look = |key: &str, token: Option<&str>| accounts.credential(key, token);
    let (key, token) = (keys.access_key_id.as_str(), Some(keys.session_token.as_str()));
    let known = look(key, token).unwrap();
    assert_eq!((known.secret.as_str(), known.session_token.as_deref()), (keys.secret_access_key.as_str(), token));
    assert_eq!(known.expires_at, Some(world.clock.now().plus(LIFE)));
    let id = arn.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let expected = Principal::AssumedRole { account: "123456789012".to_owned(), role: "app".to_owned(), session: id };
    assert_eq!(known.principal, expected);
    assert!(look(key, None).is_none() && look("ASIAOTHER", token).is_none() && look(key, Some("AAAA")).is_none());
    assert!(!format!("{keys:?}{known:?}").contains(&keys.secret_access_key));
    world.report(&arn, "RUNNING", None).await;
    assert_eq!(look(key, token).unwrap().expires_at, known.expires_at);
    world.report(&arn, "STOPPED", Some(0)).await;
    assert!(look(key, token).unwrap().expires_at.unwrap() < world.clock.now());
    // A task without a role gets none.
    world.run("web").await;
    assert!(tasks(&agent.payload().await)[0].role_credentials.is_none());
}

#[tokio::test]
async fn keys_are_renewed_under_the_same_id_until_they_are_acknowledged() {
    let (world, instance, _) = setting().await;
    let mut agent = Agent::connect(&world, &instance).await;
    agent.manifest().await;
    let arn = run_with_role(&world).await;
    let first = tasks(&agent.payload().await)[0].role_credentials.clone().unwrap();
    agent.say(ack(&first)).await;
    world.report(&arn, "RUNNING", None).await;
    agent.heard_out(&world).await;
    world.clock.advance(LIFE / 4);
    agent.beat().await;
    agent.heard_out(&world).await;
    world.clock.advance(LIFE / 4);
    agent.beat().await;
    let mut last = agent.keys().await;
    for _ in 0..2 {
        // Not acknowledged, or only older ones: sent anew.
        agent.say(ack(&first)).await;
        agent.heard_out(&world).await;
        world.clock.advance(Duration::from_secs(120));
        agent.beat().await;
        let next = agent.keys().await;
        assert_eq!((&next.credentials_id, &next.role_arn), (&first.credentials_id, &first.role_arn));
        assert_ne!(next.access_key_id, last.access_key_id);
        last = next;
    }
    agent.say(ack(&last)).await;
    agent.heard_out(&world).await;
    world.clock.advance(Duration::from_secs(120));
    agent.beat().await;
    agent.heard_out(&world).await;
}

#[tokio::test]
async fn an_agent_that_has_lost_its_keys_gets_them_when_it_connects_and_any_other_when_they_are_due() {
    let (world, instance, _) = setting().await;
    let mut agent = Agent::connect(&world, &instance).await;
    agent.manifest().await;
    let arn = run_with_role(&world).await;
    let first = tasks(&agent.payload().await)[0].role_credentials.clone().unwrap();
    agent.say(ack(&first)).await;
    world.report(&arn, "RUNNING", None).await;
    agent.heard_out(&world).await;

    let mut restarted = Agent::connect(&world, &instance).await;
    restarted.manifest().await;
    // The other task has not begun.
    restarted.payload().await;
    let second = restarted.keys().await;
    assert_eq!(second.credentials_id, first.credentials_id);
    restarted.say(ack(&second)).await;
    restarted.heard_out(&world).await;

    let query = || AcsQuery { send_credentials: false, ..query(&instance) };
    let mut kept = Agent::connect_with(&world, &instance, query()).await;
    kept.manifest().await;
    kept.payload().await;
    kept.heard_out(&world).await;
    world.clock.advance(LIFE / 2);
    kept.beat().await;
    assert_eq!(kept.keys().await.credentials_id, first.credentials_id);

    // After a restart of the control plane nobody knows what the agent has.
    let world = world.restarted().await;
    world.service.gateway.issue_role_credentials(Arc::new(Keyring::generate(&*world.engine().seams().random)));
    let mut after = Agent::connect_with(&world, &instance, query()).await;
    after.manifest().await;
    after.payload().await;
    after.keys().await;
}
