//! The agent as a whole: who am I, take over what runs, register, connect.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longshore_runtime::{ContainerRuntime, RuntimeInfo};
use longshore_seams::{BoxFuture, Seams};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

use crate::backoff::Backoff;
use crate::config::{AgentConfig, CredentialSource};
use crate::context::{self, Context};
use crate::endpoint;
use crate::engine::Engine;
use crate::identity::Identity;
use crate::journal::Journal;
use crate::plane::{AgentCredentials, CallError, ControlPlane};
use crate::registration;
use crate::reports::Reporter;
use crate::session::{AcsSession, EndpointCache, Sampler, TcsSession};
use crate::view::Registry;

/// How long the agent waits for its connections to close when it ends.
const CLOSING: Duration = Duration::from_secs(2);
/// Between tries of a rotation that fails.
const ROTATION_RETRY: Duration = Duration::from_secs(30);
/// Keys are replaced at the latest after so long, however long they would last: that ends the old ones.
const ROTATION: Duration = Duration::from_secs(12 * 3600);
/// The wall clock is looked at so often: the monotonic one stands still while the machine sleeps.
const LOOK: Duration = Duration::from_secs(600);

/// Why an agent could not run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Its directory can't be used.
    #[error("the agent's directory {path} can not be used: {source}")]
    Directory {
        /// The data directory.
        path: String,
        /// What the file system answered.
        #[source]
        source: io::Error,
    },
    /// There are no keys to sign with.
    #[error("the agent has no credentials: give it a token from `longshore token create` with --token")]
    NoCredentials,
    /// The join token was refused.
    #[error("joining was refused: {0}; make a new token with `longshore token create`")]
    Join(#[source] CallError),
    /// The registration was refused.
    #[error("registering in cluster {cluster} was refused: {source}")]
    Registration {
        /// The cluster.
        cluster: String,
        /// The service's words.
        #[source]
        source: CallError,
    },
    /// An attribute did not come back as it was registered.
    #[error("the control plane did not take the attribute {name} with the value {value}")]
    AttributeMismatch {
        /// Its name.
        name: String,
        /// The value sent.
        value: String,
    },
    /// The configured cluster is not the one the instance is registered in.
    #[error(
        "this data directory belongs to a container instance of cluster {saved}; it can not move to {configured}: \
         use another --data-dir"
    )]
    ClusterChanged {
        /// The cluster it is registered in.
        saved: String,
        /// The one asked for.
        configured: String,
    },
}

impl AgentError {
    /// Exit status of a process that ends with this error: 5 asks not to be restarted.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Directory { .. } => 1,
            _ => 5,
        }
    }
}

/// What makes the listener on which containers ask for keys.
struct Bind(Mutex<Option<BoxFuture<'static, io::Result<TcpListener>>>>);

impl std::fmt::Debug for Bind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bind")
    }
}

/// A container instance's agent.
#[derive(Debug)]
pub struct Agent {
    config: AgentConfig,
    runtime: Arc<dyn ContainerRuntime>,
    plane: Arc<dyn ControlPlane>,
    seams: Seams,
    registry: Arc<Registry>,
    registered: watch::Sender<Option<String>>,
    bind: Bind,
}

impl Agent {
    /// An agent that runs tasks on `runtime` for `plane`.
    #[must_use]
    pub fn new(
        config: AgentConfig,
        runtime: Arc<dyn ContainerRuntime>,
        plane: Arc<dyn ControlPlane>,
        seams: Seams,
    ) -> Self {
        let registered = watch::channel(None).0;
        let bind = Bind(Mutex::default());
        Self { config, runtime, plane, seams, registry: Arc::default(), registered, bind }
    }

    /// Serves the keys of tasks' roles on the listener that `bind` makes: it must be reached as `http://169.254.170.2`
    /// by the containers of this agent, and by no other machine. Without one the agent offers no task roles.
    #[must_use]
    pub fn with_credential_listener(mut self, bind: BoxFuture<'static, io::Result<TcpListener>>) -> Self {
        self.bind = Bind(Mutex::new(Some(bind)));
        self
    }

    async fn credential_listener(&self) -> Option<TcpListener> {
        let bind = self.bind.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let bound = bind.await.inspect_err(|error| {
            tracing::warn!(%error, "containers cannot ask for credentials: tasks with a task role are not placed here");
        });
        bound.ok()
    }

    /// What runs here.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.clone()
    }

    /// The ARN of the container instance, once it is registered.
    #[must_use]
    pub fn registered(&self) -> watch::Receiver<Option<String>> {
        self.registered.subscribe()
    }

    /// Runs until `shutdown` is true. What runs goes on running.
    ///
    /// # Errors
    /// When it can't begin, or the control plane refuses it for good. What cannot be reached is tried again.
    pub async fn run(self, shutdown: watch::Receiver<bool>) -> Result<(), AgentError> {
        let unusable = |source| AgentError::Directory { path: self.config.data_dir.display().to_string(), source };
        let journal = Journal::open(&self.config.data_dir, &self.seams).map_err(unusable)?;
        let mut identity = Identity::load(&*self.seams.disk, &self.config.data_dir).map_err(unusable)?;
        self.check_cluster(&identity)?;
        let Some(own) = self.credentials(&mut identity, &shutdown).await? else { return Ok(()) };
        let listener = self.credential_listener().await;
        let reporter = Reporter::new(self.plane.clone(), self.seams.clone(), shutdown.clone());
        let context = Arc::new(Context {
            cluster: identity.cluster.clone(),
            runtime: self.runtime.clone(),
            plane: self.plane.clone(),
            seams: self.seams.clone(),
            journal,
            reporter,
            registry: self.registry.clone(),
            back: tokio::sync::Notify::new(),
            check: Default::default(),
            credentials: Default::default(),
            task_roles: listener.is_some(),
            shutdown: shutdown.clone(),
            config: self.config.clone(),
        });
        let (cpu, memory) = (registration::cpu_units(&self.config), registration::memory_mib(&self.config));
        let (engine, tell) = Engine::new(context.clone(), cpu.into(), memory.into());
        let (ready, adopted) = oneshot::channel();
        self.seams.spawner.spawn("agent engine", Box::pin(engine.run(ready)));
        if let Some(listener) = listener {
            self.seams.spawner.spawn("credential endpoint", Box::pin(endpoint::serve(listener, context.clone())));
        }
        let registered = self.register(&mut identity, context.task_roles, &shutdown).await?;
        let Some((instance, runtime)) = registered else { return Ok(()) };
        // The engine ends only with the agent.
        let _ = adopted.await;
        tracing::info!(instance = %instance, cluster = %identity.cluster, "container instance registered");
        // Nobody watches: fine.
        let _ = self.registered.send(Some(instance.clone()));
        let endpoints = Arc::new(EndpointCache::default());
        let sampler = Arc::new(Sampler::default());
        let acs = AcsSession::new(
            context.clone(),
            tell,
            endpoints.clone(),
            instance.clone(),
            runtime.version.clone(),
            shutdown.clone(),
        );
        let tcs =
            TcsSession::new(context.clone(), endpoints, sampler.clone(), instance, runtime.version, shutdown.clone());
        let (open, mut closed) = mpsc::channel::<()>(1);
        self.spawn("acs", &open, Box::pin(acs.run()));
        self.spawn("tcs", &open, Box::pin(tcs.run()));
        self.spawn("stats", &open, Box::pin(sampler.run(context.clone(), shutdown.clone())));
        let checking = context.clone();
        let checks = async move {
            tokio::select! {
                biased;
                () = checking.check.run(&*checking.runtime, &*checking.seams.clock) => {}
                () = checking.ended() => {}
            }
        };
        self.spawn("runtime check", &open, Box::pin(checks));
        if own {
            self.rotate(identity, &shutdown).await;
        }
        context::ended(shutdown).await;
        drop(open);
        tokio::select! {
            biased;
            _ = closed.recv() => {}
            () = self.seams.clock.sleep(CLOSING) => {}
        }
        context.journal.flushed().await;
        Ok(())
    }

    fn spawn(&self, name: &'static str, open: &mpsc::Sender<()>, work: BoxFuture<'static, ()>) {
        let open = open.clone();
        let work = async move {
            work.await;
            drop(open);
        };
        self.seams.spawner.spawn(name, Box::pin(work));
    }

    fn check_cluster(&self, identity: &Identity) -> Result<(), AgentError> {
        let short = |cluster: &str| cluster.rsplit('/').next().unwrap_or_default().to_owned();
        match &self.config.cluster {
            Some(configured)
                if identity.container_instance_arn.is_some() && short(configured) != short(&identity.cluster) =>
            {
                Err(AgentError::ClusterChanged { saved: identity.cluster.clone(), configured: configured.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Finds keys to sign with and fills the identity's cluster and region. Answers whether they are the agent's
    /// own, to be rotated; `None` when it was asked to end meanwhile.
    async fn credentials(
        &self,
        identity: &mut Identity,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<Option<bool>, AgentError> {
        let now = self.seams.clock.now();
        let usable = |keys: &AgentCredentials| keys.expiration.is_none_or(|end| end > now);
        let saved = identity.credentials.clone().filter(usable);
        let (keys, own) = match (&self.config.credentials, saved) {
            (CredentialSource::Given(keys), _) => (keys.clone(), false),
            (_, Some(keys)) => (keys, true),
            (CredentialSource::Saved, None) => return Err(AgentError::NoCredentials),
            (CredentialSource::JoinToken(token), None) => {
                let Some(joined) = self.join(token, shutdown).await? else { return Ok(None) };
                if identity.container_instance_arn.is_none() {
                    identity.cluster = joined.cluster;
                }
                identity.region = joined.region;
                identity.credentials = Some(joined.credentials.clone());
                identity.credentials_since = Some(now);
                self.save(identity)?;
                (joined.credentials, true)
            }
        };
        if let Some(cluster) = &self.config.cluster {
            identity.cluster.clone_from(cluster);
        } else if identity.cluster.is_empty() {
            "default".clone_into(&mut identity.cluster);
        }
        if let Some(region) = &self.config.region {
            identity.region.clone_from(region);
        }
        self.plane.use_credentials(&keys, &identity.region);
        Ok(Some(own))
    }

    async fn join(
        &self,
        token: &str,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<Option<crate::plane::Joined>, AgentError> {
        let mut backoff = Backoff::acs();
        loop {
            match self.plane.join_agent(token).await {
                Ok(joined) => return Ok(Some(joined)),
                Err(error) if error.is_refused() => return Err(AgentError::Join(error)),
                Err(error) => tracing::warn!(%error, "joining will be tried again"),
            }
            if self.pause(backoff.next(&*self.seams.random), shutdown).await {
                return Ok(None);
            }
        }
    }

    fn save(&self, identity: &mut Identity) -> Result<(), AgentError> {
        let path = self.config.data_dir.display().to_string();
        let saved = identity.save(&*self.seams.disk, &self.config.data_dir);
        saved.map_err(|source| AgentError::Directory { path, source })
    }

    /// Registers, anew or again; `None` when it was asked to end meanwhile.
    async fn register(
        &self,
        identity: &mut Identity,
        task_roles: bool,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<Option<(String, RuntimeInfo)>, AgentError> {
        let mut backoff = Backoff::acs();
        let mut made_cluster = false;
        loop {
            let runtime = match self.runtime.info().await {
                Ok(runtime) => runtime,
                Err(error) => {
                    tracing::error!(%error, "the container runtime does not answer; asking again");
                    if self.pause(backoff.next(&*self.seams.random), shutdown).await {
                        return Ok(None);
                    }
                    continue;
                }
            };
            let before = identity.container_instance_arn.clone();
            let sent =
                registration::registration(&self.config, &identity.cluster, before.as_deref(), &runtime, task_roles);
            let attributes = sent.attributes.clone();
            let error = match self.plane.register_container_instance(sent).await {
                Ok(instance) => {
                    if let Some(lost) = registration::mismatch(&attributes, &instance.attributes) {
                        let value = lost.value.clone().unwrap_or_default();
                        return Err(AgentError::AttributeMismatch { name: lost.name.clone(), value });
                    }
                    if before.as_ref() != Some(&instance.container_instance_arn) {
                        identity.container_instance_arn = Some(instance.container_instance_arn.clone());
                        self.save(identity)?;
                    }
                    return Ok(Some((instance.container_instance_arn, runtime)));
                }
                Err(error) => error,
            };
            let no_cluster =
                error.code() == "ClusterNotFoundException" || error.to_string().contains("Cluster not found");
            if error.is_refused() && no_cluster && self.config.cluster.is_none() && !made_cluster {
                made_cluster = true;
                match self.plane.create_cluster(&identity.cluster).await {
                    Ok(()) => continue,
                    Err(error) => tracing::warn!(%error, cluster = %identity.cluster, "cluster not made"),
                }
            }
            if error.is_refused() && !no_cluster && before.is_some() {
                tracing::warn!(instance = ?before, %error, "the container instance is not known any more; registering anew");
                identity.container_instance_arn = None;
                continue;
            }
            if error.is_refused() {
                return Err(AgentError::Registration { cluster: identity.cluster.clone(), source: error });
            }
            tracing::warn!(%error, "registering will be tried again");
            if self.pause(backoff.next(&*self.seams.random), shutdown).await {
                return Ok(None);
            }
        }
    }

    /// Replaces the agent's keys when two thirds of their time, or [`ROTATION`], are over, until the agent ends.
    async fn rotate(&self, mut identity: Identity, shutdown: &watch::Receiver<bool>) {
        while let Some(end) = identity.credentials.as_ref().and_then(|keys| keys.expiration) {
            let now = self.seams.clock.now();
            let since = *identity.credentials_since.get_or_insert(now);
            let due = since.plus((end.since(since) * 2 / 3).min(ROTATION));
            if due > now {
                if self.pause(due.since(now).min(LOOK), shutdown).await {
                    return;
                }
                continue;
            }
            match self.plane.rotate_agent_credentials().await {
                Ok(keys) => {
                    identity.credentials = Some(keys.clone());
                    identity.credentials_since = Some(now);
                    // The old keys are good for a while: use the new ones only once they can't be lost.
                    match self.save(&mut identity) {
                        Ok(()) => self.plane.use_credentials(&keys, &identity.region),
                        Err(error) => tracing::error!(%error, "new credentials not saved"),
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "credentials not rotated; trying again");
                    if self.pause(ROTATION_RETRY, shutdown).await {
                        return;
                    }
                }
            }
        }
    }

    /// Waits; answers whether the agent was asked to end meanwhile.
    async fn pause(&self, wait: Duration, shutdown: &watch::Receiver<bool>) -> bool {
        tokio::select! {
            biased;
            () = self.seams.clock.sleep(wait) => false,
            () = context::ended(shutdown.clone()) => true,
        }
    }
}
