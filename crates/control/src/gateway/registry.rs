//! Which container instances are connected, and what their connections have to look at.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longshore_model::Id;
use tokio::sync::Notify;

/// Why a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The instance connected anew.
    Replaced,
    /// The instance was deregistered.
    Deregistered,
}

/// The mailbox of one ACS connection.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    inner: Mutex<Mail>,
    wake: Notify,
}

/// What came since the connection looked last.
#[derive(Debug, Default)]
pub(super) struct Mail {
    /// Tasks that changed; true for those to be told again whatever was told before.
    pub tasks: BTreeMap<Id, bool>,
    /// The connection is to end.
    pub end: Option<End>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mailbox {
    /// A task changed.
    pub fn task(&self, id: Id, again: bool) {
        *locked(&self.inner).tasks.entry(id).or_default() |= again;
        self.wake.notify_one();
    }

    /// The connection is to end; the first reason stands.
    pub fn end(&self, why: End) {
        locked(&self.inner).end.get_or_insert(why);
        self.wake.notify_one();
    }

    /// Takes what is there, waiting until something is.
    pub async fn next(&self) -> Mail {
        loop {
            let mail = std::mem::take(&mut *locked(&self.inner));
            if !mail.tasks.is_empty() || mail.end.is_some() {
                return mail;
            }
            self.wake.notified().await;
        }
    }
}

/// The connections, by container instance.
#[derive(Debug, Default)]
pub(super) struct Registry {
    mailboxes: Mutex<BTreeMap<Id, Arc<Mailbox>>>,
}

impl Registry {
    /// A new connection of `instance`; it replaces the one before.
    pub fn connect(&self, instance: Id) -> Arc<Mailbox> {
        let mailbox = Arc::new(Mailbox::default());
        let before = locked(&self.mailboxes).insert(instance, mailbox.clone());
        if let Some(before) = before {
            before.end(End::Replaced);
        }
        mailbox
    }

    /// Whether `mailbox` is still the connection of `instance`.
    pub fn is_current(&self, instance: Id, mailbox: &Arc<Mailbox>) -> bool {
        locked(&self.mailboxes).get(&instance).is_some_and(|current| Arc::ptr_eq(current, mailbox))
    }

    /// Forgets `mailbox`, when it is still the one of `instance`.
    pub fn disconnect(&self, instance: Id, mailbox: &Arc<Mailbox>) {
        let mut mailboxes = locked(&self.mailboxes);
        if mailboxes.get(&instance).is_some_and(|current| Arc::ptr_eq(current, mailbox)) {
            mailboxes.remove(&instance);
        }
    }

    /// The connection of `instance`.
    pub fn get(&self, instance: Id) -> Option<Arc<Mailbox>> {
        locked(&self.mailboxes).get(&instance).cloned()
    }
}
