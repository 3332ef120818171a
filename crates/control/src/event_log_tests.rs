//! ListEvents over the history of a control plane.

use std::path::Path;
use std::time::Duration;

use longshore_api::longshore as api;
use longshore_seams::{MemoryDisk, Seams};
use serde_json::{Value, json};

use super::{Place, list_events};
use crate::history::History;
use crate::operations::testing::World;
use crate::reconcilers::{EventDelivery, run_once};

const TASK: &str = "ECS Task State Change";

impl World {
    fn history(&self) -> History {
        let seams = Seams { disk: std::sync::Arc::new(MemoryDisk::default()), ..self.engine().seams().clone() };
        History::open(Path::new("/history"), &seams).unwrap()
    }

    async fn deliver(&self, history: &History) {
        run_once(&EventDelivery::new(self.engine().clone(), history.events().clone())).await.unwrap();
    }

    async fn list(&self, history: &History, input: &api::ListEventsRequest) -> (Vec<Value>, api::ListEventsResponse) {
        let answer = list_events(history.events(), &self.scope(), input).await.unwrap();
        let events = answer.events.as_ref().unwrap().iter().map(|event| serde_json::from_str(event).unwrap()).collect();
        (events, answer)
    }
}

fn of_tasks() -> api::ListEventsRequest {
    api::ListEventsRequest { detail_types: Some(vec![TASK.to_owned()]), ..Default::default() }
}

fn statuses(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["detail"]["lastStatus"].as_str().unwrap()).collect()
}

/// A control plane on which one task has ended.
async fn world() -> (World, History, Value) {
    let world = World::with_default_cluster().await;
    world.instance(1000, 1000, &[]).await;
    world.family("web", 1, 4, json!({})).await;
    let task = world.run("web").await["taskArn"].clone();
    world.report(&task, "RUNNING", None).await;
    world.clock.advance(Duration::from_secs(60));
    world.report(&task, "STOPPED", Some(0)).await;
    let history = world.history();
    world.deliver(&history).await;
    (world, history, task)
}

#[tokio::test]
async fn events_are_listed_as_a_bus_carries_them_oldest_first() {
    let (world, history, task) = world().await;
    let (events, answer) = world.list(&history, &of_tasks()).await;
    assert_eq!(statuses(&events), ["PENDING", "RUNNING", "STOPPED"]);
    assert!(events.iter().all(|event| event["resources"] == json!([task]) && event["source"] == "aws.ecs"));
    assert_eq!(answer.next_token, None);
}

#[tokio::test]
async fn pages_join_to_the_whole_even_within_one_transaction() {
    let (world, history, _) = world().await;
    let whole = world.list(&history, &api::ListEventsRequest::default()).await.1.events.unwrap();
    assert!(whole.len() > 4, "{whole:?}");
    let mut joined = Vec::new();
    let mut token = None;
    loop {
        let input = api::ListEventsRequest { max_results: Some(1), next_token: token, ..Default::default() };
        let answer = world.list(&history, &input).await.1;
        joined.extend(answer.events.unwrap());
        token = answer.next_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(joined, whole);
}

#[tokio::test]
async fn the_follow_token_goes_on_with_what_happens_later() {
    let (world, history, _) = world().await;
    let (_, answer) = world.list(&history, &of_tasks()).await;
    let later = api::ListEventsRequest { next_token: answer.follow_token.clone(), ..of_tasks() };
    let (events, again) = world.list(&history, &later).await;
    assert_eq!((events.len(), &again.follow_token), (0, &answer.follow_token));
    world.run("web").await;
    world.deliver(&history).await;
    assert_eq!(statuses(&world.list(&history, &later).await.0), ["PENDING"]);
}

#[tokio::test]
async fn events_can_be_asked_for_by_cluster_type_and_time() {
    let (world, history, _) = world().await;
    let with = async |input: api::ListEventsRequest| world.list(&history, &input).await;
    let since = Some(world.engine().seams().clock.now());
    assert_eq!(statuses(&with(api::ListEventsRequest { since, ..of_tasks() }).await.0), ["STOPPED"]);
    let in_cluster = |cluster: &str| api::ListEventsRequest { cluster: Some(cluster.to_owned()), ..of_tasks() };
    assert_eq!(with(in_cluster("default")).await.0.len(), 3);
    assert_eq!(with(in_cluster(&world.arn("cluster/default"))).await.0.len(), 3);
    assert_eq!(with(in_cluster("other")).await.0.len(), 0);
    let types = Some(vec!["ECS Container Instance State Change".to_owned()]);
    let (of_instances, _) = with(api::ListEventsRequest { detail_types: types, ..Default::default() }).await;
    assert!(!of_instances.is_empty() && of_instances.iter().all(|it| it["detail"]["containerInstanceArn"].is_string()));
}

#[tokio::test]
async fn another_account_or_region_sees_nothing_of_it() {
    let (world, history, _) = world().await;
    let elsewhere = world.in_region("us-east-2");
    assert_eq!(elsewhere.list(&history, &api::ListEventsRequest::default()).await.0, Vec::<Value>::new());
}

#[tokio::test]
async fn what_can_t_be_asked_for_is_refused_with_what_can() {
    let (world, history, _) = world().await;
    let refused =
        async |input: api::ListEventsRequest| list_events(history.events(), &world.scope(), &input).await.unwrap_err();
    let types = Some(vec!["ECS Weather".to_owned()]);
    let error = refused(api::ListEventsRequest { detail_types: types, ..Default::default() }).await;
    assert_eq!(error.code, "InvalidParameterException");
    assert!(error.message.contains("'ECS Weather'") && error.message.contains(TASK), "{error}");
    let cluster = Some("arn:aws:ecs:eu-west-1:999999999999:cluster/default".to_owned());
    assert_eq!(
        refused(api::ListEventsRequest { cluster, ..Default::default() }).await.code,
        "InvalidParameterException"
    );
    let next_token = Some("x".to_owned());
    assert_eq!(
        refused(api::ListEventsRequest { next_token, ..Default::default() }).await.code,
        "InvalidParameterException"
    );
}

#[test]
fn a_place_is_read_as_it_was_written() {
    for text in ["0", "3", "7:4096:0", "7:4096:12"] {
        assert_eq!(Place::parse(text).unwrap().text(), text);
    }
    for text in ["", "x", "7:1", "7:4096:", "a:b:c"] {
        assert_eq!(Place::parse(text), None, "{text}");
    }
}
