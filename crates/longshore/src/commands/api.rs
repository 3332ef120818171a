//! A client of the API that a command means.

use std::sync::Arc;

use longshore_api::{ServiceModel, Shape, ecs, logs, longshore};
use longshore_client::{Client, ClientError, Options, Retry, profile};
use longshore_seams::Seams;

use crate::cli::ApiArgs;
use crate::output::Failure;

/// A client with the profile's endpoint, region and keys.
#[derive(Debug)]
pub struct Api {
    client: Client,
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match &error {
            ClientError::Service { .. } => 4,
            ClientError::Connect { .. } | ClientError::Timeout { .. } | ClientError::Handshake { .. } => 5,
            ClientError::NoCredentials { .. } | ClientError::Endpoint { .. } => 2,
            _ => 1,
        };
        let api_code = error.code().map(str::to_owned);
        Self { api_code, ..Self::with_code(code, error.to_string()) }
    }
}

impl Api {
    /// The API of `args`, over the profile, over the environment.
    ///
    /// # Errors
    /// A profile that isn't there, an endpoint that is no URL.
    pub fn new(args: &ApiArgs, seams: &Seams) -> Result<Self, Failure> {
        let environment = profile::Environment::of_process();
        let settings =
            profile::load(&environment, args.profile.as_deref()).map_err(|error| Failure::usage(error.to_string()))?;
        let endpoint = args.endpoint_url.clone().unwrap_or(settings.endpoint);
        let region = args.region.clone().unwrap_or(settings.region);
        let mut options = Options::new(endpoint, region);
        options.ca_file = args.ca_file.clone().or(settings.ca_file);
        options.retry = Retry::standard();
        let credentials: Arc<dyn longshore_client::CredentialsProvider> = match settings.credentials {
            Some(credentials) => Arc::new(credentials),
            None => Arc::new(longshore_client::RotatingCredentials::default()),
        };
        Ok(Self { client: Client::new(options, credentials, seams.clone())? })
    }

    /// The endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.client.endpoint()
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> &str {
        self.client.region()
    }

    async fn call<I: Shape, O: Shape>(&self, model: &ServiceModel, operation: &str, input: &I) -> Result<O, Failure> {
        Ok(self.client.call(model, operation, input).await?)
    }

    /// Calls ECS.
    ///
    /// # Errors
    /// No answer (exit code 5), or a refusal (4).
    pub async fn ecs<I: Shape, O: Shape>(&self, operation: &str, input: &I) -> Result<O, Failure> {
        self.call(&ecs::MODEL, operation, input).await
    }

    /// Calls CloudWatch Logs.
    ///
    /// # Errors
    /// As [`Self::ecs`].
    pub async fn logs<I: Shape, O: Shape>(&self, operation: &str, input: &I) -> Result<O, Failure> {
        self.call(&logs::MODEL, operation, input).await
    }

    /// Calls Longshore's own API.
    ///
    /// # Errors
    /// As [`Self::ecs`].
    pub async fn longshore<I: Shape, O: Shape>(&self, operation: &str, input: &I) -> Result<O, Failure> {
        self.call(&longshore::MODEL, operation, input).await
    }
}
