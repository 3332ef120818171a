//! Accounts, access keys, join tokens and agent grants.

use std::sync::Arc;
use std::time::Duration;

use longshore_api::ServiceError;
use longshore_model::Scope;
use longshore_model::records::{AccessKeyRecord, AccountRecord, GrantRecord, JoinTokenRecord, TaskStatus};
use longshore_seams::{Random, Timestamp};
use longshore_wire::{Credential, CredentialStore, Principal};

use crate::changes::Change;
use crate::engine::Engine;
use crate::keyring::Keyring;
use crate::role_sessions::{self, Opened};
use crate::state::State;

/// How long an agent's keys last. It renews them twice a day, which ends the old ones; so long may a machine be
/// switched off or asleep and still come back as the same container instance.
pub const AGENT_KEY_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a replaced agent key stays usable, so that requests under way don't fail.
pub const AGENT_KEY_OVERLAP: Duration = Duration::from_secs(300);
/// Most access keys of one account's root.
pub const MAX_ROOT_KEYS: usize = 10;
/// How long the keys of a session of an account's root last: the least, and the default and most (API reference of
/// STS, `GetSessionToken`).
pub const SESSION_LIFE: (Duration, Duration) = (Duration::from_secs(900), Duration::from_secs(3600));
/// Most sessions of one account's root at once.
pub const MAX_SESSIONS: usize = 1_000;
/// Most join tokens that may wait to be used.
pub const MAX_JOIN_TOKENS: usize = 1_000;
/// Default and longest life of a join token.
pub const JOIN_TOKEN_LIFE: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(30 * 24 * 3600));

/// A key with its secret in the clear: shown to its owner once, never kept.
#[derive(Clone)]
pub struct IssuedKey {
    /// `AKIA…` or `ASIA…`.
    pub id: String,
    /// The secret.
    pub secret: String,
    /// Session token of a temporary key.
    pub session_token: Option<String>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

impl std::fmt::Debug for IssuedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Whose a new key is.
#[derive(Clone, Copy)]
enum Holder<'a> {
    /// The account's root, for good.
    Root,
    /// The account's root, for so long.
    Session(Duration),
    /// The agent with this grant.
    Agent(&'a str),
}

impl Holder<'_> {
    /// How long the key lasts, if it ends by itself.
    fn life(self) -> Option<Duration> {
        match self {
            Self::Root => None,
            Self::Session(life) => Some(life),
            Self::Agent(_) => Some(AGENT_KEY_LIFE),
        }
    }
}

/// Accounts and keys over an [`Engine`] and a [`Keyring`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Accounts {
    engine: Engine,
    keyring: Arc<Keyring>,
}

pub(crate) const KEY_ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
pub(crate) const SECRET_ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(crate) fn random_text(random: &dyn Random, alphabet: &[u8], length: usize) -> String {
    let pick = |_| char::from(alphabet[usize::try_from(random.below(alphabet.len() as u64)).unwrap_or(0)]);
    (0..length).map(pick).collect()
}

pub(crate) fn sha256_hex(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn secret_name(key: &str) -> String {
    format!("access-key/{key}/secret")
}

fn token_name(key: &str) -> String {
    format!("access-key/{key}/session-token")
}

fn denied(message: &str) -> ServiceError {
    ServiceError::client("AccessDeniedException", message)
}

impl Accounts {
    /// Accounts kept by `engine`, secrets sealed by `keyring`.
    #[must_use]
    pub fn new(engine: Engine, keyring: Arc<Keyring>) -> Self {
        Self { engine, keyring }
    }

    fn random(&self) -> &dyn Random {
        &*self.engine.seams().random
    }

    fn now(&self) -> Timestamp {
        self.engine.seams().clock.now()
    }

    /// Makes the operator's account with a root key, unless there is an account already.
    ///
    /// `given` is a key that the operator brought along. Answers the key only when it was made now.
    ///
    /// # Errors
    /// The store's.
    pub async fn bootstrap(
        &self,
        account: &str,
        given: Option<(String, String)>,
    ) -> Result<Option<IssuedKey>, ServiceError> {
        let (key, record) = self.issue(account, Holder::Root, given);
        let now = self.now();
        let made = self
            .engine
            .write(|state, changes| -> Result<bool, ServiceError> {
                if !state.accounts.is_empty() {
                    return Ok(false);
                }
                let account = AccountRecord {
                    id: account.to_owned(),
                    name: "default".to_owned(),
                    operator: true,
                    created_at: now,
                };
                changes.push(Change::PutAccount(Arc::new(account)));
                changes.push(Change::PutAccessKey(Arc::new(record)));
                Ok(true)
            })
            .await?;
        Ok(made.then_some(key))
    }

    fn issue(
        &self,
        account: &str,
        holder: Holder<'_>,
        given: Option<(String, String)>,
    ) -> (IssuedKey, AccessKeyRecord) {
        let life = holder.life();
        let prefix = if life.is_some() { "ASIA" } else { "AKIA" };
        let random = self.random();
        let (id, secret) = given.unwrap_or_else(|| {
            let id = format!("{prefix}{}", random_text(random, KEY_ALPHABET, 16));
            (id, random_text(random, SECRET_ALPHABET, 40))
        });
        let session_token = life.map(|_| random_text(random, SECRET_ALPHABET, 64));
        let now = self.now();
        let expires_at = life.map(|life| now.plus(life));
        let seal = |name: String, secret: &str| self.keyring.seal(&name, secret.as_bytes(), random);
        let record = AccessKeyRecord {
            id: id.clone(),
            account: account.to_owned(),
            sealed_secret: seal(secret_name(&id), &secret),
            sealed_session_token: session_token.as_ref().map(|token| seal(token_name(&id), token)),
            grant: match holder {
                Holder::Agent(grant) => Some(grant.to_owned()),
                Holder::Root | Holder::Session(_) => None,
            },
            created_at: now,
            expires_at,
        };
        (IssuedKey { id, secret, session_token, expires_at }, record)
    }

    /// Makes an account with a root key.
    ///
    /// # Errors
    /// `ConflictException` for an id that is taken, `InvalidParameterException` for one that is not twelve digits.
    pub async fn create_account(
        &self,
        id: Option<String>,
        name: &str,
    ) -> Result<(AccountRecord, IssuedKey), ServiceError> {
        let id = id.unwrap_or_else(|| format!("{:012}", self.random().below(1_000_000_000_000)));
        if id.len() != 12 || !id.bytes().all(|byte| byte.is_ascii_digit()) {
            let message = format!("The account id '{id}' is not valid: it must have 12 digits.");
            return Err(ServiceError::client("InvalidParameterException", message));
        }
        let (key, key_record) = self.issue(&id, Holder::Root, None);
        let account = AccountRecord { id, name: name.to_owned(), operator: false, created_at: self.now() };
        let record = account.clone();
        self.engine
            .write(|state, changes| {
                if state.accounts.contains_key(&record.id) {
                    let message = format!("The account {} exists already.", record.id);
                    return Err(ServiceError::client("ConflictException", message));
                }
                changes.push(Change::PutAccount(Arc::new(record)));
                changes.push(Change::PutAccessKey(Arc::new(key_record)));
                Ok(())
            })
            .await?;
        Ok((account, key))
    }

    /// Makes another root key for an account.
    ///
    /// # Errors
    /// `ResourceNotFoundException`, `LimitExceededException`.
    pub async fn create_key(&self, account: &str) -> Result<IssuedKey, ServiceError> {
        let (key, record) = self.issue(account, Holder::Root, None);
        self.engine
            .write(|state, changes| {
                require_account(state, account)?;
                if root_keys(state, account).count() >= MAX_ROOT_KEYS {
                    let message =
                        format!("Account {account} has {MAX_ROOT_KEYS} access keys already: delete one first.");
                    return Err(ServiceError::client("LimitExceededException", message));
                }
                changes.push(Change::PutAccessKey(Arc::new(record)));
                Ok(())
            })
            .await?;
        Ok(key)
    }

    /// Deletes a root key of `account`.
    ///
    /// # Errors
    /// `ResourceNotFoundException`; `ConflictException` for the account's last key.
    pub async fn delete_key(&self, account: &str, key: &str) -> Result<(), ServiceError> {
        self.engine
            .write(|state, changes| {
                if !root_keys(state, account).any(|record| record.id == key) {
                    let message = format!("Account {account} has no access key {key}.");
                    return Err(ServiceError::client("ResourceNotFoundException", message));
                }
                if root_keys(state, account).count() == 1 {
                    let message =
                        format!("{key} is the last access key of account {account}: create another one first.");
                    return Err(ServiceError::client("ConflictException", message));
                }
                changes.push(Change::DeleteAccessKey(key.to_owned()));
                Ok(())
            })
            .await
    }

    /// Makes a key of an account's root that ends by itself, after [`SESSION_LIFE`] at latest. Keys that have ended are
    /// forgotten with it.
    ///
    /// # Errors
    /// `LimitExceededException`, `ResourceNotFoundException`.
    pub async fn create_session(&self, account: &str, life: Duration) -> Result<IssuedKey, ServiceError> {
        let (key, record) = self.issue(account, Holder::Session(life.clamp(SESSION_LIFE.0, SESSION_LIFE.1)), None);
        let now = self.now();
        self.engine
            .write(|state, changes| {
                require_account(state, account)?;
                let sessions = || state.access_keys.values().filter(|key| key.account == account && is_session(key));
                let ended: Vec<_> =
                    sessions().filter(|key| key.expires_at.is_some_and(|end| end <= now)).take(50).collect();
                if sessions().count() - ended.len() >= MAX_SESSIONS {
                    let message = format!(
                        "Account {account} has {MAX_SESSIONS} sessions already: use one of them, or wait until some have ended."
                    );
                    return Err(ServiceError::client("LimitExceededException", message));
                }
                ended.iter().for_each(|key| changes.push(Change::DeleteAccessKey(key.id.clone())));
                changes.push(Change::PutAccessKey(Arc::new(record)));
                Ok(())
            })
            .await?;
        Ok(key)
    }

    /// Whether `key` is of a session of an account's root.
    #[must_use]
    pub fn is_session(&self, key: &str) -> bool {
        self.engine.peek(|state| state.access_keys.get(key).is_some_and(|key| is_session(key)))
    }

    /// Makes a one-time token for an agent to join `cluster`.
    ///
    /// # Errors
    /// `LimitExceededException`, `InvalidParameterException`.
    pub async fn create_join_token(
        &self,
        scope: &Scope,
        cluster: &str,
        life: Option<Duration>,
    ) -> Result<(String, Timestamp), ServiceError> {
        let life = life.unwrap_or(JOIN_TOKEN_LIFE.0);
        if life.is_zero() || life > JOIN_TOKEN_LIFE.1 {
            let message = format!("A join token lives between 1 and {} seconds.", JOIN_TOKEN_LIFE.1.as_secs());
            return Err(ServiceError::client("InvalidParameterException", message));
        }
        let token = format!("lsj-{}{}", self.random().hex32(), self.random().hex32());
        let now = self.now();
        let record = JoinTokenRecord {
            hash: sha256_hex(&token),
            scope: scope.clone(),
            cluster: cluster.to_owned(),
            expires_at: now.plus(life),
        };
        let expires_at = record.expires_at;
        self.engine
            .write(|state, changes| {
                let expired: Vec<_> =
                    state.join_tokens.values().filter(|token| token.expires_at <= now).take(50).collect();
                if state.join_tokens.len() - expired.len() >= MAX_JOIN_TOKENS {
                    let message = format!("{MAX_JOIN_TOKENS} join tokens wait to be used already.");
                    return Err(ServiceError::client("LimitExceededException", message));
                }
                expired.iter().for_each(|token| changes.push(Change::DeleteJoinToken(token.hash.clone())));
                changes.push(Change::PutJoinToken(Arc::new(record)));
                Ok(())
            })
            .await?;
        Ok((token, expires_at))
    }

    /// Takes a join token: it is used up, and the agent gets a grant with a first key.
    ///
    /// # Errors
    /// `AccessDeniedException` for a token that is unknown, used or expired: the three look the same.
    pub async fn join(&self, token: &str) -> Result<(GrantRecord, IssuedKey), ServiceError> {
        let hash = sha256_hex(token);
        let (now, id) = (self.now(), self.random().hex32());
        let scope = self.engine.peek(|state| state.join_tokens.get(&hash).map(|token| token.scope.clone()));
        let unknown = || {
            denied(
                "The join token is not valid: it is unknown, was used, or has expired. Make a new one with 'longshore token create'.",
            )
        };
        let scope = scope.ok_or_else(unknown)?;
        let (key, key_record) = self.issue(&scope.account, Holder::Agent(&id), None);
        let grant = self
            .engine
            .write(|state, changes| {
                let token = state.join_tokens.get(&hash).filter(|token| token.expires_at > now).ok_or_else(unknown)?;
                let grant = GrantRecord {
                    id,
                    scope: token.scope.clone(),
                    cluster: token.cluster.clone(),
                    container_instance: None,
                    created_at: now,
                };
                changes.push(Change::DeleteJoinToken(hash.clone()));
                changes.push(Change::PutGrant(Arc::new(grant.clone())));
                changes.push(Change::PutAccessKey(Arc::new(key_record)));
                Ok::<_, ServiceError>(grant)
            })
            .await?;
        Ok((grant, key))
    }

    /// Gives an agent's grant a new key. Keys before the one in use end now; that one ends after [`AGENT_KEY_OVERLAP`].
    ///
    /// # Errors
    /// `AccessDeniedException` when the grant has ended.
    pub async fn rotate(&self, grant: &str, key_in_use: &str) -> Result<IssuedKey, ServiceError> {
        let now = self.now();
        let account = self.engine.peek(|state| state.grants.get(grant).map(|grant| grant.scope.account.clone()));
        let ended = || denied("This agent's grant has ended: join again with a new token.");
        let account = account.ok_or_else(ended)?;
        let (key, record) = self.issue(&account, Holder::Agent(grant), None);
        self.engine
            .write(|state, changes| {
                if !state.grants.contains_key(grant) {
                    return Err(ended());
                }
                for old in state.access_keys.values().filter(|key| key.grant.as_deref() == Some(grant)).take(50) {
                    if old.id == key_in_use {
                        let end = now.plus(AGENT_KEY_OVERLAP);
                        let expires_at = Some(old.expires_at.map_or(end, |expires| expires.min(end)));
                        changes.push(Change::PutAccessKey(Arc::new(AccessKeyRecord { expires_at, ..(**old).clone() })));
                    } else {
                        changes.push(Change::DeleteAccessKey(old.id.clone()));
                    }
                }
                changes.push(Change::PutAccessKey(Arc::new(record)));
                Ok(())
            })
            .await?;
        Ok(key)
    }
}

fn require_account(state: &State, account: &str) -> Result<(), ServiceError> {
    if state.accounts.contains_key(account) {
        return Ok(());
    }
    let message = format!("There is no account {account}. 'longshore account list' shows those there are.");
    Err(ServiceError::client("ResourceNotFoundException", message))
}

fn is_session(key: &AccessKeyRecord) -> bool {
    key.grant.is_none() && key.sealed_session_token.is_some()
}

/// Root keys of an account that last, by id.
pub fn root_keys<'a>(state: &'a State, account: &'a str) -> impl Iterator<Item = &'a Arc<AccessKeyRecord>> {
    state.access_keys.values().filter(move |key| key.account == account && key.grant.is_none() && !is_session(key))
}

impl Accounts {
    /// The key ring that seals their secrets.
    #[must_use]
    pub fn keyring(&self) -> Arc<Keyring> {
        self.keyring.clone()
    }

    /// The keys of a task's role: they end with the task.
    fn role_session(&self, access_key_id: &str, token: &str) -> Option<Credential> {
        let Opened { session, secret, expires_at } = role_sessions::open(&self.keyring, access_key_id, token)?;
        let runs = self.engine.peek(|state| {
            let cluster = state.scope(&session.scope).clusters.get(&session.cluster);
            let task = cluster.and_then(|cluster| cluster.tasks.get(&session.task));
            task.is_some_and(|task| task.last_status != TaskStatus::Stopped)
        });
        let principal = Principal::AssumedRole {
            account: session.scope.account.clone(),
            role: session.role_name().to_owned(),
            session: session.task.to_string(),
        };
        let expires_at = Some(if runs { expires_at } else { Timestamp::default() });
        Some(Credential { secret, session_token: Some(token.to_owned()), expires_at, principal })
    }
}

impl CredentialStore for Accounts {
    fn credential(&self, access_key_id: &str, session_token: Option<&str>) -> Option<Credential> {
        let known = self.engine.peek(|state| {
            let record = state.access_keys.get(access_key_id)?.clone();
            let grant = record.grant.as_ref().map(|grant| state.grants.get(grant).cloned());
            Some((record, grant))
        });
        let Some((record, grant)) = known else { return self.role_session(access_key_id, session_token?) };
        let principal = match grant {
            None => Principal::Root { account: record.account.clone() },
            Some(grant) => {
                let grant = grant?;
                let region = grant.scope.region.clone();
                Principal::ContainerInstance { account: record.account.clone(), region, grant: grant.id.clone() }
            }
        };
        let unseal = |name: String, sealed: &[u8]| {
            let opened = self.keyring.unseal(&name, sealed).ok()?;
            String::from_utf8(opened.to_vec()).ok()
        };
        let session_token = match &record.sealed_session_token {
            None => None,
            Some(sealed) => Some(unseal(token_name(&record.id), sealed)?),
        };
        let secret = unseal(secret_name(&record.id), &record.sealed_secret)?;
        Some(Credential { secret, session_token, expires_at: record.expires_at, principal })
    }
}
