//! The control plane's half of the process: store, working set, services, front door.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use longshore_control::accounts::{Accounts, IssuedKey};
use longshore_control::admin::{AdminService, ServerInfo, ShutdownRequested};
use longshore_control::authorizer::RootAuthorizer;
use longshore_control::engine::Engine;
use longshore_control::identity::StsService;
use longshore_control::keyring::Keyring;
use longshore_control::quotas::Quotas;
use longshore_control::reconcilers::NoSignals;
use longshore_control::service::EcsService;
use longshore_control::{bootstrap, history};
use longshore_logs::{LogOptions, LogStore, LogsService};
use longshore_model::Scope;
use longshore_seams::Seams;
use longshore_store::Store;
use longshore_store::embedded::{Embedded, EmbeddedOptions};
use longshore_wire::{Config, Metrics, Readiness, Rooms, Server, Tls};
use tokio::sync::mpsc;

use crate::cli::ServerArgs;
use crate::datadir::DataDir;
use crate::functions;
use crate::output::Failure;

/// Environment variables that bring a root key along at the first start.
const GIVEN_KEY: (&str, &str) = ("LONGSHORE_ROOT_ACCESS_KEY_ID", "LONGSHORE_ROOT_SECRET_ACCESS_KEY");

/// Bytes of transactions that may wait for the disk. The front door's own limits keep the queue
/// far below; beyond it the process would end rather than lose an acknowledged write.
const QUEUE_BYTES: usize = 1 << 30;

/// A control plane whose port is bound and that is ready to serve.
pub struct ControlPlane {
    server: Server,
    store: Arc<dyn Store>,
    logs: LogStore,
    history: history::History,
    /// The working set.
    pub engine: Engine,
    /// Accounts and keys.
    pub accounts: Accounts,
    /// Account and region of the operator's profile.
    pub scope: Scope,
    /// `http(s)://127.0.0.1:PORT`, for this machine's own use.
    pub local_url: String,
    /// The root key, when this start made it.
    pub first_key: Option<IssuedKey>,
    /// Requests to shut down.
    pub shutdown: mpsc::Receiver<ShutdownRequested>,
}

/// A control plane with everything that could be refused to it: what only a first start makes is not made yet.
pub struct Prepared {
    server: Server,
    store: Arc<dyn Store>,
    logs: LogStore,
    history: history::History,
    engine: Engine,
    accounts: Accounts,
    account: String,
    region: String,
    given_key: Option<(String, String)>,
    shutdown: mpsc::Receiver<ShutdownRequested>,
}

struct AlwaysReady;

impl Readiness for AlwaysReady {
    // The port is bound only after everything is loaded.
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

fn broken(error: &dyn std::fmt::Display) -> Failure {
    Failure::with_code(7, error.to_string())
}

fn given_key() -> Result<Option<(String, String)>, Failure> {
    match (std::env::var(GIVEN_KEY.0), std::env::var(GIVEN_KEY.1)) {
        (Ok(id), Ok(secret)) if !id.is_empty() && !secret.is_empty() => Ok(Some((id, secret))),
        (Err(_), Err(_)) => Ok(None),
        _ => Err(Failure::usage(format!("{} and {} must both be set and not be empty", GIVEN_KEY.0, GIVEN_KEY.1))),
    }
}

impl Prepared {
    /// Opens the data directory's store and binds the port.
    ///
    /// # Errors
    /// The store, the key ring, the certificate or the port can't be used.
    pub async fn open(args: &ServerArgs, dir: &DataDir, seams: &Seams) -> Result<Self, Failure> {
        let started_at = seams.clock.now();
        let path = dir.server().join("store.redb");
        let options = EmbeddedOptions { queue_bytes: QUEUE_BYTES, ..EmbeddedOptions::default() };
        let store: Arc<dyn Store> = Arc::new(Embedded::open(&path, options, seams).map_err(|error| broken(&error))?);
        let keyring = Keyring::open(&dir.server().join("keyring"), seams).map_err(|error| broken(&error))?;
        let on_fatal = Arc::new(|error: &longshore_store::StoreError| {
            tracing::error!(%error, "the store failed: nothing more can be acknowledged, the process ends");
            std::process::exit(7);
        });
        let quotas = Quotas::with(args.quota.iter().map(String::as_str));
        let quotas = quotas.map_err(|error| Failure::usage(error.to_string()))?;
        let engine = Engine::open(store.clone(), seams.clone(), on_fatal).await.map_err(|error| broken(&error))?;
        let engine = engine.with_quotas(quotas);
        let accounts = Accounts::new(engine.clone(), Arc::new(keyring));
        let account = args.account.clone().unwrap_or_else(|| format!("{:012}", seams.random.below(1_000_000_000_000)));
        if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Failure::usage(format!("--account is '{account}'; an account id has 12 digits")));
        }
        let given_key = given_key()?;
        let logs = LogStore::open(&dir.server().join("logs"), store.clone(), LogOptions::default(), seams).await;
        let logs = logs.map_err(|error| broken(&error))?;
        let history = history::History::open(&dir.server().join("history"), seams).map_err(|error| broken(&error))?;
        let functions = functions::open(args, seams)?;
        let ecs = EcsService::open_with(engine.clone(), history.clone(), Arc::new(NoSignals), functions);
        ecs.gateway.issue_role_credentials(accounts.keyring());
        let (shutdown_sender, shutdown) = mpsc::channel(1);
        let admin = AdminService {
            engine: engine.clone(),
            accounts: accounts.clone(),
            info: ServerInfo {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                data_directory_id: dir.id().to_owned(),
                region: args.region.clone(),
                started_at,
            },
            reconcilers: ecs.reconcilers(),
            events: history.events().clone(),
            shutdown: shutdown_sender,
        };
        let rooms = Rooms {
            upgrades: ecs.upgrades(),
            services: vec![
                Arc::new(ecs),
                Arc::new(LogsService::new(logs.clone())),
                Arc::new(StsService(accounts.clone())),
                Arc::new(admin),
            ],
            credentials: Arc::new(accounts.clone()),
            authorizer: Arc::new(RootAuthorizer),
            audit: Arc::new(history.audit()),
            readiness: Arc::new(AlwaysReady),
        };
        let server = Server::bind(config(args), rooms, seams.clone(), Arc::new(Metrics::new()))
            .map_err(|error| Failure::failed(error.to_string()))?;
        let region = args.region.clone();
        Ok(Self { server, store, logs, history, engine, accounts, account, region, given_key, shutdown })
    }

    /// Makes what a first start makes. Comes last: the root key is told once, so nothing may stand in the way any more.
    ///
    /// # Errors
    /// The store can't be written.
    pub async fn begin(self) -> Result<ControlPlane, Failure> {
        let Self { server, store, logs, history, engine, accounts, account, region, given_key, shutdown } = self;
        let first_key = accounts.bootstrap(&account, given_key).await.map_err(|error| broken(&error))?;
        let operator =
            engine.peek(|state| state.accounts.values().find(|account| account.operator).map(|found| found.id.clone()));
        let scope = Scope::new(operator.unwrap_or(account), &region);
        if first_key.is_some() {
            bootstrap::default_cluster(&engine, &scope).await.map_err(|error| broken(&error))?;
        }
        let local_url = local_url(&server);
        Ok(ControlPlane { server, store, logs, history, engine, accounts, scope, local_url, first_key, shutdown })
    }
}

impl ControlPlane {
    /// Splits off the serving half.
    #[must_use]
    pub fn into_parts(self) -> (Serving, Engine, Accounts, mpsc::Receiver<ShutdownRequested>) {
        let serving = Serving { server: self.server, store: self.store, logs: self.logs, history: self.history };
        (serving, self.engine, self.accounts, self.shutdown)
    }
}

/// The running front door, and what is closed after it.
pub struct Serving {
    server: Server,
    store: Arc<dyn Store>,
    logs: LogStore,
    history: history::History,
}

impl Serving {
    /// Serves until `stop` resolves, then closes everything cleanly.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        self.server.run(stop).await;
        if let Err(error) = self.logs.close().await {
            tracing::error!(%error, "the log store could not be closed cleanly");
        }
        self.history.close().await;
        if let Err(error) = self.store.close().await {
            tracing::error!(%error, "the store could not be closed cleanly; it is checked at the next start");
        }
    }
}

fn config(args: &ServerArgs) -> Config {
    let tls = |(cert, key): (PathBuf, PathBuf)| Tls { cert, key };
    Config {
        tls: args.tls_cert.clone().zip(args.tls_key.clone()).map(tls),
        advertise_url: args.advertise_url.clone(),
        insecure_http: args.insecure_http,
        ..Config::new(args.listen, &args.region)
    }
}

fn local_url(server: &Server) -> String {
    let scheme = if server.is_tls() { "https" } else { "http" };
    let address = server.local_addr();
    let host = match address.ip() {
        ip if ip.is_unspecified() && ip.is_ipv4() => "127.0.0.1".to_owned(),
        ip if ip.is_unspecified() => "[::1]".to_owned(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        ip => ip.to_string(),
    };
    format!("{scheme}://{host}:{}", address.port())
}
