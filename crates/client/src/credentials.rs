//! Where a client's keys come from.

use std::fmt::Debug;
use std::sync::{PoisonError, RwLock};

use longshore_sigv4::Credentials;

/// Keys to sign with. Asked before every request, so that keys can change under a running client.
pub trait CredentialsProvider: Send + Sync + Debug {
    /// The current keys; `None` when there are none (yet).
    fn credentials(&self) -> Option<Credentials>;
}

impl CredentialsProvider for Credentials {
    fn credentials(&self) -> Option<Credentials> {
        Some(self.clone())
    }
}

/// Keys that are exchanged while the client lives, as an agent's are.
#[derive(Debug, Default)]
pub struct RotatingCredentials {
    current: RwLock<Option<Credentials>>,
}

impl RotatingCredentials {
    /// Signs with `credentials` from now on.
    pub fn set(&self, credentials: Credentials) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(credentials);
    }
}

impl CredentialsProvider for RotatingCredentials {
    fn credentials(&self) -> Option<Credentials> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
