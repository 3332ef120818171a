//! Environment variables, environment files, secrets and registry credentials.

use longshore_api::ecs::{ContainerDefinition, Secret, TaskDefinition};

use super::container::setting;
use super::{Check, Limits, list, refuse, text};
use crate::Arn;

/// Where a secret's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecretSource {
    /// AWS Secrets Manager.
    SecretsManager,
    /// Systems Manager Parameter Store.
    ParameterStore,
}

/// The source that `value_from` names: an ARN of either service, or a parameter's name (guide chapter 5).
pub(super) fn secret_source(value_from: &str) -> Option<SecretSource> {
    if !value_from.starts_with("arn:") {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-/:".contains(&byte);
        let named = !value_from.is_empty() && value_from.bytes().all(allowed);
        return named.then_some(SecretSource::ParameterStore);
    }
    let arn = Arn::parse(value_from)?;
    match arn.service {
        "secretsmanager" if arn.resource.starts_with("secret:") => Some(SecretSource::SecretsManager),
        "ssm" if arn.resource.starts_with("parameter/") => Some(SecretSource::ParameterStore),
        _ => None,
    }
}

pub(super) fn check(container: &ContainerDefinition, definition: &TaskDefinition, limits: &Limits) -> Check {
    for variable in list(&container.environment) {
        if text(&variable.name).is_empty() {
            return Err(setting("environment", container, "a variable has no name"));
        }
        if variable.value.is_none() {
            let why = format!("the variable '{}' has no value", text(&variable.name));
            return Err(setting("environment", container, why));
        }
    }
    environment_files(container, definition, limits)?;
    let secrets = list(&container.secrets);
    secret_list("secrets", secrets, container)?;
    for secret in secrets {
        let shared = list(&container.environment).iter().any(|variable| variable.name == secret.name);
        if shared {
            return Err(refuse(format!(
                "The secret name must be unique and not shared with any new or existing environment variables set on the container, such as '{}'.",
                text(&secret.name)
            )));
        }
    }
    if !secrets.is_empty() && definition.execution_role_arn.is_none() {
        return Err(needs_execution_role("container secrets"));
    }
    if let Some(credentials) = &container.repository_credentials {
        let parameter = text(&credentials.credentials_parameter);
        if secret_source(parameter).is_none()
            || parameter.starts_with("arn:") && !parameter.contains(":secretsmanager:")
        {
            let why = "credentialsParameter must name a Secrets Manager secret";
            return Err(setting("repositoryCredentials", container, why));
        }
        if definition.execution_role_arn.is_none() {
            return Err(needs_execution_role("private registry credentials"));
        }
    }
    Ok(())
}

pub(super) fn needs_execution_role(what: &str) -> longshore_api::ServiceError {
    refuse(format!("When you are specifying {what}, you must also specify a value for 'executionRoleArn'."))
}

/// Names and sources of a container's or log driver's secrets.
pub(super) fn secret_list(member: &str, secrets: &[Secret], container: &ContainerDefinition) -> Check {
    let mut duplicates: Vec<&str> = Vec::new();
    for (at, secret) in secrets.iter().enumerate() {
        let name = text(&secret.name);
        if name.is_empty() {
            return Err(setting(member, container, "a secret has no name"));
        }
        if secret_source(text(&secret.value_from)).is_none() {
            let why = format!(
                "valueFrom of '{name}' must be the ARN of a Secrets Manager secret, the ARN of a Systems Manager parameter, or a parameter's name"
            );
            return Err(setting(member, container, why));
        }
        if secrets[..at].iter().any(|earlier| earlier.name == secret.name) && !duplicates.contains(&name) {
            duplicates.push(name);
        }
    }
    if duplicates.is_empty() {
        return Ok(());
    }
    Err(refuse(format!("Duplicate secret names found: {}. Each secret name must be unique.", duplicates.join(", "))))
}

/// The containers of a task definition share the limit (guide chapter 8).
fn environment_files(container: &ContainerDefinition, definition: &TaskDefinition, limits: &Limits) -> Check {
    let files = list(&container.environment_files);
    let all = list(&definition.container_definitions).iter().map(|each| list(&each.environment_files).len());
    let all: usize = all.sum();
    if all > limits.environment_files {
        let why = format!("{all} files are more than {} of a task definition", limits.environment_files);
        return Err(setting("environmentFiles", container, why));
    }
    for file in files {
        let value = text(&file.value);
        let object = Arn::parse(value).filter(|arn| arn.service == "s3").and_then(|arn| arn.resource.split_once('/'));
        if !object.is_some_and(|(bucket, key)| !bucket.is_empty() && key.ends_with(".env")) {
            let why = format!("'{value}' is not the ARN of an S3 object whose name ends with .env");
            return Err(setting("environmentFiles", container, why));
        }
    }
    Ok(())
}
