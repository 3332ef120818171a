//! Service Connect: what a service may ask for, and the Cloud Map services that its endpoints have.
//!
//! Cloud Map's own API is not here: a namespace is taken as it is named.

use longshore_api::ServiceError;
use longshore_api::ecs::{
    ApplicationProtocol, DeploymentControllerType, LaunchType, LogDriver, NetworkMode, Service,
    ServiceConnectClientAlias, ServiceConnectConfiguration, ServiceConnectService, ServiceConnectServiceResource,
    ServiceConnectTlsConfiguration, TaskDefinition,
};

use super::revision_settings::{named_port, refused};
use super::rules::is_fargate;
use crate::{Arn, Scope, names, vpc};

/// Most characters of the name of a namespace.
const MAX_NAMESPACE: usize = 1024;
/// Most characters of a discovery name.
const MAX_DISCOVERY_NAME: usize = 64;
/// Most characters of the DNS name of a client alias.
const MAX_DNS_NAME: usize = 127;
/// Most client aliases of one endpoint.
const MAX_ALIASES: usize = 1;

/// An enabled configuration with its namespace; none for one that is not enabled.
///
/// # Errors
/// `InvalidParameterException` without a namespace.
pub(super) fn settled(
    given: Option<ServiceConnectConfiguration>,
    default_namespace: Option<&str>,
) -> Result<Option<ServiceConnectConfiguration>, ServiceError> {
    let Some(mut configuration) = given.filter(|it| it.enabled == Some(true)) else { return Ok(None) };
    let own = configuration.namespace.take().filter(|name| !name.is_empty());
    configuration.namespace = own.or_else(|| default_namespace.map(str::to_owned));
    if configuration.namespace.is_none() {
        return refused(
            "Service Connect needs a namespace: name one in serviceConnectConfiguration, or set the cluster's serviceConnectDefaults.",
        );
    }
    Ok(Some(configuration))
}

/// Checks the name of a Cloud Map namespace, or the ARN of one in the region of `scope`.
///
/// # Errors
/// `InvalidParameterException`.
pub fn check_namespace(scope: &Scope, name: &str) -> Result<(), ServiceError> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"<>\"/".contains(&byte);
    let is_arn = || {
        Arn::parse(name).is_some_and(|arn| {
            arn.service == "servicediscovery" && arn.region == scope.region && arn.resource_of("namespace").is_some()
        })
    };
    let valid = match name.starts_with("arn:") {
        true => is_arn(),
        false => (1..=MAX_NAMESPACE).contains(&name.len()) && name.bytes().all(allowed),
    };
    if valid {
        return Ok(());
    }
    refused(format!(
        "The namespace '{name}' is neither the ARN of a namespace in {} nor a name of 1 to {MAX_NAMESPACE} visible characters other than < > \" and /.",
        scope.region
    ))
}

/// Checks a configuration together with the service's settings and its task definition.
///
/// # Errors
/// `InvalidParameterException`, naming the first rule that is broken.
pub(super) fn check(
    configuration: Option<&ServiceConnectConfiguration>,
    settings: &Service,
    definition: Option<&TaskDefinition>,
) -> Result<(), ServiceError> {
    let Some(configuration) = configuration else { return Ok(()) };
    let controller = settings.deployment_controller.as_ref().and_then(|it| it.r#type.as_ref());
    if let Some(other) = controller.filter(|it| **it != DeploymentControllerType::Ecs) {
        return refused(format!(
            "Service Connect is not supported with the {} deployment controller: use ECS.",
            other.as_str()
        ));
    }
    if settings.launch_type == Some(LaunchType::External) {
        return refused("Service Connect is not supported with the EXTERNAL launch type.");
    }
    let Some(definition) = definition else { return Ok(()) };
    if let Some(mode @ (NetworkMode::Host | NetworkMode::None)) = &definition.network_mode {
        return refused(format!(
            "Service Connect is not supported with the network mode '{}': use awsvpc or bridge.",
            mode.as_str()
        ));
    }
    check_container(configuration)?;
    check_logs(configuration, settings)?;
    let services = configuration.services.as_deref().unwrap_or_default();
    for (at, service) in services.iter().enumerate() {
        check_service(service, definition)?;
        check_beside(service, &services[..at])?;
    }
    Ok(())
}

/// What the proxy's container is set to: one setting each, none of them twice.
fn check_container(configuration: &ServiceConnectConfiguration) -> Result<(), ServiceError> {
    let given = configuration.container_configurations.as_deref().unwrap_or_default();
    if given.iter().any(|it| it.log_level.is_none()) {
        return refused(
            "Each of the containerConfigurations of Service Connect must have exactly one member: give logLevel.",
        );
    }
    if given.len() > 1 {
        return refused("The containerConfigurations of Service Connect set logLevel more than once.");
    }
    Ok(())
}

/// Where the proxy's logs go: as those of containers.
fn check_logs(configuration: &ServiceConnectConfiguration, settings: &Service) -> Result<(), ServiceError> {
    let Some(logs) = &configuration.log_configuration else {
        if configuration.access_log_configuration.is_some() {
            return refused("The accessLogConfiguration of Service Connect needs a logConfiguration beside it.");
        }
        return Ok(());
    };
    let driver = logs.log_driver.as_ref();
    let on_fargate = matches!(driver, Some(LogDriver::Awslogs | LogDriver::Splunk | LogDriver::Awsfirelens));
    if is_fargate(settings) && !on_fargate {
        return refused(format!(
            "The log driver {} of Service Connect is not supported on Fargate: use awslogs, splunk or awsfirelens.",
            driver.map_or("null", LogDriver::as_str)
        ));
    }
    Ok(())
}

/// The name that Cloud Map has for an endpoint: that of its port unless it is given.
#[must_use]
pub fn discovery_name(service: &ServiceConnectService) -> &str {
    let given = service.discovery_name.as_deref().filter(|name| !name.is_empty());
    given.or(service.port_name.as_deref()).unwrap_or_default()
}

/// The names and ports by which clients reach an endpoint in `namespace`.
pub fn endpoints(service: &ServiceConnectService, namespace: &str) -> impl Iterator<Item = (String, i32)> {
    let aliases = service.client_aliases.iter().flatten();
    aliases.map(move |alias| {
        let own = alias.dns_name.clone().filter(|name| !name.is_empty());
        let name = own.unwrap_or_else(|| format!("{}.{namespace}", discovery_name(service)));
        (name, alias.port.unwrap_or_default())
    })
}

fn check_service(service: &ServiceConnectService, definition: &TaskDefinition) -> Result<(), ServiceError> {
    let port = named_port(definition, "A Service Connect service", service.port_name.as_deref())?;
    let name = service.port_name.as_deref().unwrap_or_default();
    if let Some(given) = service.discovery_name.as_deref().filter(|given| !is_discovery_name(given)) {
        return refused(format!(
            "The discoveryName '{given}' is not valid: use 1 to {MAX_DISCOVERY_NAME} lowercase letters, digits, underscores and hyphens, no hyphen first."
        ));
    }
    let aliases = service.client_aliases.as_deref().unwrap_or_default();
    if aliases.len() > MAX_ALIASES {
        return refused(format!(
            "The Service Connect service of the port '{name}' has {} clientAliases; it can have {MAX_ALIASES}.",
            aliases.len()
        ));
    }
    aliases.iter().try_for_each(|alias| check_alias(alias, name))?;
    if service.ingress_port_override == Some(0) {
        return refused(format!("The ingressPortOverride of the port '{name}' is 0; it must be between 1 and 65535."));
    }
    let tcp = !matches!(
        port.app_protocol,
        Some(ApplicationProtocol::Http | ApplicationProtocol::Http2 | ApplicationProtocol::Grpc)
    );
    let timeout = service.timeout.as_ref();
    if tcp && timeout.is_some_and(|it| it.per_request_timeout_seconds.is_some()) {
        return refused(format!(
            "The port '{name}' has no appProtocol that knows requests: perRequestTimeoutSeconds needs http, http2 or grpc."
        ));
    }
    service.tls.as_ref().map_or(Ok(()), |tls| check_tls(tls, name))
}

/// Whether clients may find a service by `name`.
fn is_discovery_name(name: &str) -> bool {
    (1..=MAX_DISCOVERY_NAME).contains(&name.len()) && is_dns_like(name, b"_-")
}

fn is_dns_like(name: &str, others: &[u8]) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || others.contains(&byte);
    name.bytes().all(allowed) && !name.starts_with('-')
}

fn check_alias(alias: &ServiceConnectClientAlias, port_name: &str) -> Result<(), ServiceError> {
    if alias.port.unwrap_or(0) == 0 {
        return refused(format!("A clientAlias of the port '{port_name}' needs a port between 1 and 65535."));
    }
    let named = alias.dns_name.as_deref().filter(|name| !name.is_empty());
    match named.filter(|name| name.len() > MAX_DNS_NAME || !is_dns_like(name, b"_-.")) {
        Some(name) => refused(format!(
            "The dnsName '{name}' is not valid: use up to {MAX_DNS_NAME} lowercase letters, digits, underscores, hyphens and periods, no hyphen first."
        )),
        None => Ok(()),
    }
}

fn check_tls(tls: &ServiceConnectTlsConfiguration, port_name: &str) -> Result<(), ServiceError> {
    let authority = tls.issuer_certificate_authority.as_ref().and_then(|it| it.aws_pca_authority_arn.as_deref());
    let is_of = |text: &str, service: &str| Arn::parse(text).is_some_and(|arn| arn.service == service);
    if !authority.is_some_and(|arn| is_of(arn, "acm-pca")) {
        return refused(format!(
            "The tls of the port '{port_name}' needs an awsPcaAuthorityArn: the ARN of a private certificate authority, not '{}'.",
            authority.unwrap_or_default()
        ));
    }
    if let Some(role) = tls.role_arn.as_deref().filter(|role| !(role.starts_with("arn:") && names::is_role(role))) {
        return refused(format!("The roleArn '{role}' in the tls of the port '{port_name}' is not the ARN of a role."));
    }
    Ok(())
}

/// What the endpoints of one service may not share.
fn check_beside(service: &ServiceConnectService, earlier: &[ServiceConnectService]) -> Result<(), ServiceError> {
    for other in earlier {
        if discovery_name(other) == discovery_name(service) {
            return refused(format!(
                "The discoveryName '{}' is used by two Service Connect services: each needs its own.",
                discovery_name(service)
            ));
        }
        let ingress = service.ingress_port_override;
        if ingress.is_some() && ingress == other.ingress_port_override {
            return refused(format!(
                "The ingressPortOverride {} is used by two Service Connect services: each needs its own.",
                ingress.unwrap_or_default()
            ));
        }
        // Names that differ by default differ in any namespace.
        if let Some((name, port)) = endpoints(service, "").find(|own| endpoints(other, "").any(|it| it == *own)) {
            return refused(taken(&name, port));
        }
    }
    Ok(())
}

fn taken(name: &str, port: i32) -> String {
    format!("The clientAlias '{name}' with the port {port} is used by two Service Connect services of the namespace.")
}

/// Checks that two services of a namespace can be told apart; `other` is called `name`.
///
/// # Errors
/// `InvalidParameterException`.
pub fn check_apart(
    own: &ServiceConnectConfiguration,
    name: &str,
    other: &ServiceConnectConfiguration,
) -> Result<(), ServiceError> {
    if own.namespace != other.namespace {
        return Ok(());
    }
    let namespace = own.namespace.as_deref().unwrap_or_default();
    let services = own.services.iter().flatten();
    for (service, known) in services.flat_map(|it| other.services.iter().flatten().map(move |known| (it, known))) {
        if discovery_name(service) == discovery_name(known) {
            return refused(format!(
                "The discoveryName '{}' is used by the service {name} of the namespace {namespace} already.",
                discovery_name(service)
            ));
        }
        let shared = endpoints(service, namespace).find(|it| endpoints(known, namespace).any(|other| other == *it));
        if let Some((dns_name, port)) = shared {
            return refused(taken(&dns_name, port));
        }
    }
    Ok(())
}

/// 16 lowercase letters and digits that follow from `text`, as Cloud Map's ids have.
fn cloud_map_id(text: &str) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut rest = vpc::hash(text);
    let mut next = || {
        let digit = usize::try_from(rest % 36).map_or('0', |at| char::from(DIGITS[at]));
        rest /= 36;
        digit
    };
    (0..16).map(|_| next()).collect()
}

/// The Cloud Map services of a configuration's endpoints. Their ids follow from namespace and name, so that an
/// endpoint keeps its own from deployment to deployment.
#[must_use]
pub fn resources(scope: &Scope, configuration: &ServiceConnectConfiguration) -> Vec<ServiceConnectServiceResource> {
    let namespace = configuration.namespace.as_deref().unwrap_or_default();
    let resource = |service: &ServiceConnectService| {
        let name = discovery_name(service);
        let (partition, region, account) = (scope.partition(), &scope.region, &scope.account);
        let id = cloud_map_id(&format!("{account}/{region}/{namespace}/{name}"));
        ServiceConnectServiceResource {
            discovery_name: Some(name.to_owned()),
            discovery_arn: Some(format!("arn:{partition}:servicediscovery:{region}:{account}:service/srv-{id}")),
        }
    };
    configuration.services.iter().flatten().map(resource).collect()
}
