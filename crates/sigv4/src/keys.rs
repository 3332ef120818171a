//! Credential scopes and the signing keys derived for them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};

use aws_lc_rs::hmac;
use subtle::ConstantTimeEq;

/// What a signature is good for: one day, one region, one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// `YYYYMMDD`.
    pub date: String,
    /// Region's name; any is allowed.
    pub region: String,
    /// Service's signing name, e.g. `ecs`.
    pub service: String,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/aws4_request", self.date, self.region, self.service)
    }
}

fn hmac_key(bytes: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, bytes)
}

/// The key that signs for `scope`.
pub(crate) fn signing_key(secret: &str, scope: &Scope) -> hmac::Key {
    let mut key = hmac_key(format!("AWS4{secret}").as_bytes());
    for part in [&scope.date, &scope.region, &scope.service] {
        key = hmac_key(hmac::sign(&key, part.as_bytes()).as_ref());
    }
    hmac_key(hmac::sign(&key, b"aws4_request").as_ref())
}

/// Derived signing keys of recently verified requests.
///
/// Only a signature that was right puts a key in, so nobody without a secret can fill it.
pub struct KeyCache {
    limit: usize,
    keys: RwLock<BTreeMap<String, Entry>>,
}

struct Entry {
    /// The secret it was derived from: a key id whose secret changed must not find the old key.
    secret: String,
    key: hmac::Key,
}

impl KeyCache {
    /// A cache of at most `limit` keys; when full it starts anew.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), keys: RwLock::new(BTreeMap::new()) }
    }

    /// How many keys it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn get(&self, credential: &str, secret: &str) -> Option<hmac::Key> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let entry = keys.get(credential)?;
        bool::from(entry.secret.as_bytes().ct_eq(secret.as_bytes())).then(|| entry.key.clone())
    }

    pub(crate) fn put(&self, credential: &str, secret: &str, key: hmac::Key) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= self.limit {
            keys.clear();
        }
        keys.insert(credential.to_owned(), Entry { secret: secret.to_owned(), key });
    }
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCache").field("limit", &self.limit).field("len", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope { date: "20150830".into(), region: "us-east-1".into(), service: "iam".into() }
    }

    #[test]
    fn a_full_cache_stays_within_its_limit() {
        let cache = KeyCache::new(2);
        for number in 0..10 {
            cache.put(&format!("AKID{number}"), "secret", signing_key("secret", &scope()));
        }
        assert!((1..=2).contains(&cache.len()));
    }

    #[test]
    fn a_changed_secret_does_not_find_the_old_key() {
        let cache = KeyCache::new(2);
        cache.put("AKID/x", "old", signing_key("old", &scope()));
        assert!(cache.get("AKID/x", "old").is_some());
        assert!(cache.get("AKID/x", "new").is_none());
    }
}
