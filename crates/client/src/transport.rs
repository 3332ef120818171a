//! Connections: TCP, TLS, and the pool of them.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use longshore_seams::{Seams, Spawner};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::ClientError;
use crate::resolve::Resolver;

pub(crate) type Connector = HttpsConnector<HttpConnector<Resolver>>;
pub(crate) type Pool = legacy::Client<Connector, Full<Bytes>>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Below the server's own idle time, so that a pooled connection is seldom a dead one.
const POOL_IDLE: Duration = Duration::from_secs(60);

const POOL_SIZE: usize = 32;

/// A connector. Certificates are read only for `https`, because that takes a while.
pub(crate) fn connector(
    endpoint: &str,
    is_https: bool,
    ca_file: Option<&Path>,
    seams: &Seams,
) -> Result<Connector, ClientError> {
    let mut tcp = HttpConnector::new_with_resolver(Resolver::new(seams.disk.clone()));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let error = |path: Option<PathBuf>, reason: String| ClientError::Certificates {
        endpoint: endpoint.to_owned(),
        path,
        reason,
    };
    // Given explicitly, so that no process-wide default has to be installed first.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| error(None, source.to_string()))?;
    let config = match ca_file {
        _ if !is_https => builder.with_root_certificates(RootCertStore::empty()),
        Some(path) => builder.with_root_certificates(
            roots(path, seams).map_err(|reason| error(Some(path.to_owned()), reason))?,
        ),
        None => builder.with_native_roots().map_err(|source| {
            error(None, format!("this machine has no certificate authorities installed ({source}): name a file of them with --ca-file"))
        })?,
    };
    let config = config.with_no_client_auth();
    Ok(HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().wrap_connector(tcp))
}

fn roots(path: &Path, seams: &Seams) -> Result<RootCertStore, String> {
    let describe = |reason: String| format!("{}: {reason}", path.display());
    let pem = seams.disk.read(path).map_err(|error| describe(error.to_string()))?;
    let pem = pem.ok_or_else(|| describe("no such file".to_owned()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| describe(error.to_string()))?;
        roots.add(certificate).map_err(|error| describe(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(describe("it holds no certificate in PEM form".to_owned()));
    }
    Ok(roots)
}

pub(crate) fn pool(connector: Connector, seams: &Seams) -> Pool {
    legacy::Client::builder(Executor(seams.spawner.clone()))
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_SIZE)
        .build(connector)
}

#[derive(Clone, Debug)]
struct Executor(Arc<dyn Spawner>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, work: F) {
        self.0.spawn("http client", Box::pin(work));
    }
}

/// An error with all its causes: the outermost of hyper's says little.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
