//! Labels: the truth about whose container this is, from which a task is known again after
//! everything else was lost.

use std::collections::BTreeMap;

use longshore_protocol::acs::RoleCredentials;
use longshore_protocol::task::Task;

/// ARN of the task.
pub(crate) const TASK_ARN: &str = "com.amazonaws.ecs.task-arn";
/// Name of the container in the task definition.
pub(crate) const CONTAINER_NAME: &str = "com.amazonaws.ecs.container-name";
const CLUSTER: &str = "com.amazonaws.ecs.cluster";
const FAMILY: &str = "com.amazonaws.ecs.task-definition-family";
const VERSION: &str = "com.amazonaws.ecs.task-definition-version";
/// The task's payload without credentials, when it is not too long.
pub(crate) const TASK: &str = "dev.longshore.task";

/// Longest payload kept in a label; a longer one is only in the runtime root.
const LONGEST_PAYLOAD: usize = 60 << 10;

/// Longest part of a name taken into a container's or volume's name.
const LONGEST_PART: usize = 80;

/// Labels of a container of `task`.
pub(crate) fn of_container(task: &Task, index: usize, cluster: &str) -> BTreeMap<String, String> {
    let mut labels = of_volume(task);
    labels.insert(CLUSTER.to_owned(), cluster.to_owned());
    labels.insert(CONTAINER_NAME.to_owned(), task.containers[index].name.clone());
    labels.insert(FAMILY.to_owned(), task.family.clone());
    labels.insert(VERSION.to_owned(), task.version.clone());
    if let Some(payload) = payload(task).filter(|payload| payload.len() <= LONGEST_PAYLOAD) {
        labels.insert(TASK.to_owned(), payload);
    }
    labels
}

/// Labels of a volume of `task`.
pub(crate) fn of_volume(task: &Task) -> BTreeMap<String, String> {
    [(TASK_ARN.to_owned(), task.arn.clone())].into()
}

/// The task as kept: without credentials; only the id under which its containers ask for them stays, the same for
/// the task's life.
pub(crate) fn without_credentials(task: &Task) -> Task {
    let role_credentials = task
        .role_credentials
        .as_ref()
        .map(|keys| RoleCredentials { credentials_id: keys.credentials_id.clone(), ..RoleCredentials::default() });
    Task { role_credentials, execution_role_credentials: None, ..task.clone() }
}

fn payload(task: &Task) -> Option<String> {
    serde_json::to_string(&without_credentials(task)).ok()
}

/// The task in a container's labels.
pub(crate) fn task_of(labels: &BTreeMap<String, String>) -> Option<Task> {
    serde_json::from_str(labels.get(TASK)?).ok()
}

/// `ecs-<family>-<revision>-<name>-<hex>`: the same for the same task and name, so that making it
/// twice makes one.
pub(crate) fn unique_name(task: &Task, name: &str) -> String {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).take(LONGEST_PART).collect();
    let family: String = task.family.chars().take(LONGEST_PART).collect();
    let hash = fnv128(&[task.arn.as_bytes(), b"\0", name.as_bytes()]);
    format!("ecs-{family}-{}-{plain}-{:020x}", task.version, hash >> 48)
}

/// FNV-1a, 128 bits: collisions need an attacker who chooses task ids, which the control plane does.
fn fnv128(parts: &[&[u8]]) -> u128 {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in parts.iter().copied().flatten() {
        hash = (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_protocol::task::Container;

    #[test]
    fn labels_give_the_task_back_without_its_credentials() {
        let task = Task {
            arn: "arn:t".into(),
            containers: vec![Container { name: "a".into(), ..Container::default() }],
            role_credentials: Some(RoleCredentials {
                credentials_id: "cid".into(),
                secret_access_key: "hush".into(),
                ..RoleCredentials::default()
            }),
            ..Task::default()
        };
        let labels = of_container(&task, 0, "demo");
        assert!(!labels[TASK].contains("hush"));
        assert_eq!(task_of(&labels).unwrap(), without_credentials(&task));
        assert_eq!(task_of(&labels).unwrap().role_credentials.unwrap().credentials_id, "cid");
    }

    #[test]
    fn names_differ_by_task_and_container_and_repeat() {
        let task = |arn: &str| Task { arn: arn.into(), family: "f".into(), version: "1".into(), ..Task::default() };
        assert_eq!(unique_name(&task("a"), "web_1"), unique_name(&task("a"), "web_1"));
        assert_ne!(unique_name(&task("a"), "web"), unique_name(&task("b"), "web"));
        assert_ne!(unique_name(&task("a"), "web-1"), unique_name(&task("a"), "web1"));
        assert!(unique_name(&task("a"), "web_1").starts_with("ecs-f-1-web1-"));
    }

    #[test]
    fn a_long_payload_is_left_out() {
        let environment = [("A".to_owned(), "x".repeat(LONGEST_PAYLOAD))].into();
        let container = Container { name: "a".into(), environment, ..Container::default() };
        let task = Task { arn: "arn:t".into(), containers: vec![container], ..Task::default() };
        assert!(!of_container(&task, 0, "demo").contains_key(TASK));
    }
}
