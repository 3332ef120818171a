//! Why a call did not succeed.

use std::path::PathBuf;

/// Why a call did not succeed, in words for whoever typed the command.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The service answered with an error.
    #[error("{operation}: {code}: {message}")]
    Service {
        /// The operation.
        operation: String,
        /// The exception, e.g. `ClusterNotFoundException`.
        code: String,
        /// Its message.
        message: String,
        /// HTTP status.
        status: u16,
        /// Request id, to be found in the server's log and audit record; empty when there is none.
        request_id: String,
    },
    /// Nobody answers at the endpoint.
    #[error("cannot reach {endpoint}: {reason}{}", hint(endpoint))]
    Connect {
        /// The endpoint.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// The answer did not come in time.
    #[error("{endpoint} did not answer {operation} within {seconds} seconds")]
    Timeout {
        /// The endpoint.
        endpoint: String,
        /// The operation.
        operation: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The answer is none of this API.
    #[error(
        "{endpoint} gave no answer that Longshore understands to {operation}: {reason}. Is it a Longshore endpoint?"
    )]
    Protocol {
        /// The endpoint.
        endpoint: String,
        /// The operation.
        operation: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No keys to sign with.
    #[error(
        "no access key to sign {operation} with: set AWS_PROFILE=longshore, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )]
    NoCredentials {
        /// The operation.
        operation: String,
    },
    /// Not a URL this client can use.
    #[error("'{url}' is no endpoint: give http://HOST[:PORT] or https://HOST[:PORT]")]
    Endpoint {
        /// What was given.
        url: String,
    },
    /// Certificates that cannot be read.
    #[error("cannot verify {endpoint}: {reason}")]
    Certificates {
        /// The endpoint.
        endpoint: String,
        /// The file, when one was given.
        path: Option<PathBuf>,
        /// Why.
        reason: String,
    },
    /// A handshake that was refused.
    #[error("{endpoint} refused the connection with status {status}: {body}")]
    Handshake {
        /// The URL.
        endpoint: String,
        /// HTTP status.
        status: u16,
        /// The body, cut at 1,024 characters.
        body: String,
    },
    /// A connection that broke, or was closed, while it was used.
    #[error("the connection to {endpoint} broke: {reason}")]
    Broken {
        /// The URL.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// A request that cannot be signed.
    #[error(transparent)]
    Signing(#[from] longshore_sigv4::SigningError),
}

fn hint(endpoint: &str) -> String {
    let is_local = ["//127.", "//localhost", "//[::1]"].iter().any(|local| endpoint.contains(local));
    if is_local {
        "\nIs Longshore running there? Start it with `longshore up`, or name another endpoint with --endpoint-url or \
         AWS_ENDPOINT_URL."
            .to_owned()
    } else {
        "\nCheck the address, and that its port can be reached from here.".to_owned()
    }
}

impl ClientError {
    /// The exception's name, when the service answered with one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Service { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether the same request may succeed a moment later: throttling, a fault of the server's,
    /// or nobody there.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Service { code, status, .. } => {
                *status >= 500
                    || *status == 429
                    || matches!(code.as_str(), "ThrottlingException" | "Throttling" | "TooManyRequestsException")
            }
            Self::Connect { .. } | Self::Broken { .. } => true,
            _ => false,
        }
    }
}
