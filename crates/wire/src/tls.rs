//! Certificates.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::{StartError, Tls};

pub(crate) fn acceptor(tls: &Tls) -> Result<TlsAcceptor, StartError> {
    let error = |path: &Path, reason: String| StartError::Tls { path: path.to_owned(), reason };
    let chain = CertificateDer::pem_file_iter(&tls.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| error(&tls.cert, format!("no certificate in PEM form can be read: {source}")))?;
    if chain.is_empty() {
        return Err(error(&tls.cert, "it holds no certificate in PEM form".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .map_err(|source| error(&tls.key, format!("no private key in PEM form can be read: {source}")))?;
    // Given explicitly, so that no process-wide default has to be installed first.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| error(&tls.cert, source.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|source| error(&tls.key, format!("certificate and key do not go together: {source}")))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
