use serde_json::{Value, json};

use super::{and_container, base, refusal, registered, with, with_container};

/// `app` depends on `db` with `condition`; `db` is as given.
fn app_on_db(condition: &str, db: Value) -> Value {
    let dependent = with_container(base(), json!({"dependsOn": [{"containerName": "db", "condition": condition}]}));
    and_container(dependent, with(json!({"name": "db"}), db))
}

#[test]
fn dependencies_have_what_their_condition_needs() {
    registered(&app_on_db("START", json!({})));
    for condition in ["COMPLETE", "SUCCESS"] {
        registered(&app_on_db(condition, json!({"essential": false})));
        assert_eq!(
            refusal(&app_on_db(condition, json!({"essential": true}))),
            "A dependency container with SUCCESS or COMPLETE condition cannot be an essential container"
        );
    }
    registered(&app_on_db("HEALTHY", json!({"healthCheck": {"command": ["CMD", "true"]}})));
    assert!(refusal(&app_on_db("HEALTHY", json!({}))).contains("'db' has no health check"));
}

#[test]
fn dependencies_exist_and_have_no_cycle() {
    let dangling = with_container(base(), json!({"dependsOn": [{"containerName": "db", "condition": "START"}]}));
    assert_eq!(refusal(&dangling), "Cannot depend on container + 'db' because it does not exist");
    let cycle = app_on_db("START", json!({"dependsOn": [{"containerName": "app", "condition": "START"}]}));
    assert_eq!(refusal(&cycle), "Container dependencies should not have a cycle.");
    let own = with_container(base(), json!({"dependsOn": [{"containerName": "app", "condition": "START"}]}));
    assert_eq!(refusal(&own), "Container dependencies should not have a cycle.");
}

// spec: 05-081
#[test]
fn links_are_for_bridge_mode_and_name_a_container() {
    let linked = |link: &str| and_container(with_container(base(), json!({"links": [link]})), json!({"name": "db"}));
    registered(&linked("db"));
    registered(&linked("db:database"));
    for mode in ["awsvpc", "host", "none"] {
        let refused = refusal(&with(linked("db"), json!({"networkMode": mode})));
        assert_eq!(refused, format!("Links are not supported when networkMode={mode}."));
    }
    assert!(refusal(&linked("cache")).contains("there is no container 'cache'"));
    assert!(refusal(&linked("db:a b")).contains("name:internalName"));
    let cycle =
        and_container(with_container(base(), json!({"links": ["db"]})), json!({"name": "db", "links": ["app"]}));
    assert_eq!(refusal(&cycle), "Container links should not have a cycle.");
}

#[test]
fn volumes_come_from_a_container_of_the_task() {
    let from = |source: &str| {
        let web = with_container(base(), json!({"volumesFrom": [{"sourceContainer": source, "readOnly": true}]}));
        and_container(web, json!({"name": "data"}))
    };
    registered(&from("data"));
    assert!(refusal(&from("other")).contains("there is no container 'other'"));
    assert!(refusal(&from("app")).contains("cycle"));
}
