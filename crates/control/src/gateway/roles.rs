//! Keys of task roles on one ACS connection: which are due, and which its agent has acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use longshore_model::Id;
use longshore_model::records::{TaskDefinitionRecord, TaskRecord};
use longshore_protocol::acs::{IamRoleCredentialsAckRequest, RoleCredentials};
use longshore_seams::Timestamp;

use super::address::Address;
use super::{Inner, locked};
use crate::role_sessions::{LIFE, RoleSession};

/// Keys that were sent are sent anew after so long, unless they were acknowledged.
const RETRY: Duration = Duration::from_secs(120);
/// Acknowledged keys are renewed after so long: half their life is left then.
const RENEWAL: Duration = LIFE.checked_div(2).expect("two is not zero");

struct Sent {
    task: Id,
    /// End of the keys that were sent last.
    expiration: String,
    /// When other keys are to be sent.
    due: Timestamp,
}

/// By credentials id. Tasks come as they are told and go when they are due and not there any more.
#[derive(Default)]
pub(super) struct Roles {
    sent: BTreeMap<String, Sent>,
}

/// The role of a task: the one it was run with, else its definition's.
fn role<'a>(task: &'a TaskRecord, definition: &'a TaskDefinitionRecord) -> Option<&'a str> {
    let overridden = task.overrides.as_ref().and_then(|overrides| overrides.task_role_arn.as_deref());
    let own = definition.definition.task_role_arn.as_deref();
    overridden.filter(|role| !role.is_empty()).or(own).filter(|role| !role.is_empty())
}

impl Roles {
    /// New keys for a task that has a role, to be sent now.
    pub fn issue(
        &mut self,
        inner: &Inner,
        address: &Address,
        cluster: Id,
        task: &TaskRecord,
        definition: &TaskDefinitionRecord,
    ) -> Option<RoleCredentials> {
        let keyring = inner.keyring.get()?;
        let role = role(task, definition)?.to_owned();
        let seams = inner.engine.seams();
        let now = seams.clock.now();
        let session = RoleSession { scope: address.scope.clone(), cluster, task: task.id, role };
        let keys = session.issue(keyring, &*seams.random, now);
        let sent = Sent { task: task.id, expiration: keys.expiration.clone(), due: now.plus(RETRY) };
        self.sent.insert(keys.credentials_id.clone(), sent);
        Some(keys)
    }

    /// Notes that the agent has the keys that it was sent last.
    pub fn acknowledged(&mut self, inner: &Inner, ack: &IamRoleCredentialsAckRequest) {
        let Some(sent) = self.sent.get_mut(&ack.credentials_id) else { return };
        if sent.expiration == ack.expiration {
            sent.due = inner.engine.seams().clock.now().plus(RENEWAL);
            locked(&inner.renewals).insert(sent.task, sent.due);
        }
    }

    /// Of an agent that has connected anew: those of its tasks that need keys now. An earlier connection may have
    /// learned when others are due.
    pub fn resume(&mut self, inner: &Inner, tasks: impl Iterator<Item = Id>, all: bool) -> Vec<Id> {
        let now = inner.engine.seams().clock.now();
        let told: BTreeSet<Id> = self.sent.values().map(|sent| sent.task).collect();
        let renewals = locked(&inner.renewals);
        let mut needed = Vec::new();
        for task in tasks.filter(|task| !told.contains(task)) {
            match renewals.get(&task).filter(|due| !all && **due > now) {
                // Its credentials id does not matter until it is due.
                Some(due) => {
                    let sent = Sent { task, expiration: String::new(), due: *due };
                    self.sent.insert(task.to_string(), sent);
                }
                None => needed.push(task),
            }
        }
        needed
    }

    /// Takes the tasks whose keys are due.
    pub fn due(&mut self, now: Timestamp) -> Vec<Id> {
        self.sent.extract_if(.., |_, sent| sent.due <= now).map(|(_, sent)| sent.task).collect()
    }
}
