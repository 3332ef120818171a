//! Sessions of task roles: temporary keys that nobody keeps.
//!
//! A million tasks have a million sessions, each renewed every few hours, so none is written down: the session token
//! is the session, sealed by the key ring under the name of its access key. Whoever brings the token brings what is
//! to be known of the key; without the key ring nobody can make one, change one, or use one with another key.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore_api::iso8601;
use longshore_model::{Id, Scope};
use longshore_protocol::acs::RoleCredentials;
use longshore_seams::{Random, Timestamp};

use crate::accounts::{KEY_ALPHABET, SECRET_ALPHABET, random_text};
use crate::keyring::Keyring;

/// How long the keys of a session last.
pub(crate) const LIFE: Duration = Duration::from_secs(6 * 3600);
/// A session token is shorter than this.
const MAX_TOKEN: usize = 8 << 10;

/// Which task uses which role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoleSession {
    pub scope: Scope,
    /// The task's cluster.
    pub cluster: Id,
    pub task: Id,
    /// As in the task definition or the overrides: an ARN, or a name in the task's account.
    pub role: String,
}

impl RoleSession {
    /// The role's name without its path.
    pub fn role_name(&self) -> &str {
        self.role.rsplit('/').next().unwrap_or(&self.role)
    }

    fn role_arn(&self) -> String {
        if self.role.starts_with("arn:") {
            return self.role.clone();
        }
        format!("arn:aws:iam::{}:role/{}", self.scope.account, self.role)
    }

    /// The key under which containers ask for the keys: always the same for the task, known to nobody else.
    fn credentials_id(&self, keyring: &Keyring) -> String {
        let hex: String = keyring
            .derive(&format!("role-session/{}/{}/{}", self.scope.account, self.scope.region, self.task))
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32]].join("-")
    }

    /// New keys.
    pub fn issue(&self, keyring: &Keyring, random: &dyn Random, now: Timestamp) -> RoleCredentials {
        // Whole seconds: that is how its end is told.
        let expires_at = Timestamp::from_secs(now.plus(LIFE).as_secs());
        let access_key_id = format!("ASIA{}", random_text(random, KEY_ALPHABET, 16));
        let secret_access_key = random_text(random, SECRET_ALPHABET, 40);
        let Self { scope: Scope { account, region }, cluster, task, role } = self;
        let seconds = expires_at.as_secs();
        let session = format!("{account}\n{region}\n{cluster}\n{task}\n{seconds}\n{secret_access_key}\n{role}");
        RoleCredentials {
            credentials_id: self.credentials_id(keyring),
            role_arn: self.role_arn(),
            session_token: STANDARD.encode(keyring.seal(&name(&access_key_id), session.as_bytes(), random)),
            access_key_id,
            secret_access_key,
            expiration: iso8601(expires_at),
            ..RoleCredentials::default()
        }
    }
}

/// A session as its token tells it.
pub(crate) struct Opened {
    pub session: RoleSession,
    pub secret: String,
    pub expires_at: Timestamp,
}

/// The session of `token`, when it is one of `access_key_id` made by this key ring.
pub(crate) fn open(keyring: &Keyring, access_key_id: &str, token: &str) -> Option<Opened> {
    if token.len() > MAX_TOKEN {
        return None;
    }
    let opened = keyring.unseal(&name(access_key_id), &STANDARD.decode(token).ok()?).ok()?;
    let mut parts = std::str::from_utf8(&opened).ok()?.splitn(7, '\n');
    let mut next = || parts.next();
    let scope = Scope::new(next()?, next()?);
    let (cluster, task) = (next()?.parse().ok()?, next()?.parse().ok()?);
    let expires_at = Timestamp::from_secs(next()?.parse().ok()?);
    let secret = next()?.to_owned();
    let session = RoleSession { scope, cluster, task, role: next()?.to_owned() };
    Some(Opened { session, secret, expires_at })
}

fn name(access_key_id: &str) -> String {
    format!("role-session/{access_key_id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_seams::SeededRandom;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn session(role: &str) -> RoleSession {
        let random = SeededRandom::new(7);
        let scope = Scope::new("123456789012", "eu-west-1");
        RoleSession { scope, cluster: Id::random(&random), task: Id::random(&random), role: role.to_owned() }
    }

    #[test]
    fn a_token_tells_its_session_to_the_key_ring_that_sealed_it_and_for_its_own_key_only() {
        let random = SeededRandom::new(1);
        let ring = Keyring::generate(&random);
        let session = session("arn:aws:iam::123456789012:role/team/app");
        let keys = session.issue(&ring, &random, NOW);
        assert!(keys.access_key_id.starts_with("ASIA") && keys.access_key_id.len() == 20, "{}", keys.access_key_id);
        assert_eq!((keys.role_arn.as_str(), session.role_name()), (session.role.as_str(), "app"));
        assert_eq!(keys.expiration, "2023-11-15T04:13:20Z");
        let opened = open(&ring, &keys.access_key_id, &keys.session_token).unwrap();
        assert_eq!((opened.session, &opened.secret), (session, &keys.secret_access_key));
        assert_eq!(opened.expires_at, NOW.plus(LIFE));
        assert!(open(&ring, "ASIAANOTHERKEY000000", &keys.session_token).is_none());
        assert!(open(&Keyring::generate(&random), &keys.access_key_id, &keys.session_token).is_none());
        let mut tampered = STANDARD.decode(&keys.session_token).unwrap();
        for at in 0..tampered.len() {
            tampered[at] ^= 1;
            assert!(open(&ring, &keys.access_key_id, &STANDARD.encode(&tampered)).is_none(), "byte {at}");
            tampered[at] ^= 1;
        }
        for bad in ["", "not base64", &"A".repeat(MAX_TOKEN + 4)] {
            assert!(open(&ring, &keys.access_key_id, bad).is_none());
        }
    }

    #[test]
    fn the_credentials_id_stays_the_tasks_and_tells_nothing() {
        let random = SeededRandom::new(1);
        let ring = Keyring::generate(&random);
        let (first, again) = (session("app").issue(&ring, &random, NOW), session("app").issue(&ring, &random, NOW));
        assert_eq!(first.credentials_id, again.credentials_id);
        assert_ne!(first.access_key_id, again.access_key_id);
        assert_eq!(first.role_arn, "arn:aws:iam::123456789012:role/app");
        let other = session("app").issue(&Keyring::generate(&random), &random, NOW);
        assert_ne!(first.credentials_id, other.credentials_id);
        assert!(!first.credentials_id.contains(&session("app").task.to_string()[..8]));
    }
}
