//! Which service and operation a request means, and in which protocol. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, header};
use longshore_api::{Operation, ServiceError, ServiceModel, Value};

use crate::Service;
use crate::answer::{Envelope, Protocol};

/// The services behind the front door.
pub(crate) struct Routes {
    services: Vec<Arc<dyn Service>>,
    by_prefix: BTreeMap<&'static str, usize>,
}

/// Where a request goes.
pub(crate) struct Route<'a> {
    pub(crate) service: &'a Arc<dyn Service>,
    pub(crate) model: &'static ServiceModel,
    pub(crate) operation: &'static Operation,
}

impl Routes {
    pub(crate) fn new(services: Vec<Arc<dyn Service>>) -> Self {
        let prefixes = services.iter().enumerate();
        let by_prefix = prefixes.filter_map(|(at, service)| Some((service.model().target_prefix?, at))).collect();
        Self { services, by_prefix }
    }

    /// How to answer before it is known what the request wants. `scope` is the service named in the signature.
    pub(crate) fn envelope(&self, headers: &HeaderMap, query: &str, scope: Option<&str>) -> Envelope {
        let content_type = content_type(headers);
        let model = scope.and_then(|scope| self.in_scope(scope).next()).map(|(model, _)| model);
        let protocol = if content_type.starts_with("application/x-amz-json-1.0") {
            Protocol::Json10
        } else if content_type.starts_with("application/x-amz-json") || headers.contains_key("x-amz-target") {
            Protocol::Json11
        } else if is_form(content_type)
            || has_parameter(query, "Action")
            || model.is_some_and(|model| matches!(model.protocol, "query" | "ec2"))
        {
            Protocol::Query
        } else {
            Protocol::Json11
        };
        let query_mode = headers.get("x-amzn-query-mode").is_some_and(|value| value == "true");
        Envelope { protocol, model, query_mode }
    }

    fn in_scope<'a>(&'a self, scope: &'a str) -> impl Iterator<Item = (&'static ServiceModel, &'a Arc<dyn Service>)> {
        let models = self.services.iter().map(|service| (service.model(), service));
        models.filter(move |(model, _)| model.signing_name == scope)
    }

    fn check_served(&self, scope: Option<&str>) -> Result<(), ServiceError> {
        let Some(scope) = scope else { return Ok(()) };
        if self.in_scope(scope).next().is_some() {
            return Ok(());
        }
        let mut served: Vec<&str> = self.services.iter().map(|service| service.model().signing_name).collect();
        served.sort_unstable();
        served.dedup();
        Err(unknown_operation(format!(
            "This endpoint does not serve '{scope}', the service that the signature's credential scope names. It serves: {}.",
            served.join(", ")
        )))
    }

    /// The operation that `X-Amz-Target` names.
    pub(crate) fn by_target(&self, headers: &HeaderMap, scope: Option<&str>) -> Result<Route<'_>, ServiceError> {
        self.check_served(scope)?;
        let Some(target) = headers.get("x-amz-target") else {
            if let Some(protocol) = headers.get("smithy-protocol") {
                return Err(unknown_operation(format!(
                    "The protocol '{}' is not spoken here: configure the client for AWS JSON or AWS query.",
                    String::from_utf8_lossy(protocol.as_bytes())
                )));
            }
            return Err(unknown_operation(
                "The request names no operation: it has no X-Amz-Target header, and is no form with an Action.",
            ));
        };
        let target = target.to_str().unwrap_or_default();
        let Some((prefix, name)) = target.rsplit_once('.') else {
            return Err(unknown_operation(format!("X-Amz-Target '{target}' is not of the form PREFIX.Operation.")));
        };
        let Some(service) = self.by_prefix.get(prefix).map(|at| &self.services[*at]) else {
            return Err(unknown_operation(format!(
                "X-Amz-Target '{target}': no service here has the prefix '{prefix}'."
            )));
        };
        let model = service.model();
        if let Some(scope) = scope
            && scope != model.signing_name
        {
            return Err(ServiceError {
                query_code: "SignatureDoesNotMatch",
                ..ServiceError::client(
                    "InvalidSignatureException",
                    format!(
                        "Credential should be scoped to correct service: '{}'. X-Amz-Target is '{target}', the credential's \
                         scope names '{scope}'.",
                        model.signing_name
                    ),
                )
            });
        }
        let operation = model.operation(name).ok_or_else(|| {
            unknown_operation(format!(
                "Service '{}' ({}) has no operation '{name}'.",
                model.signing_name, model.version
            ))
        })?;
        Ok(Route { service, model, operation })
    }

    /// The operation that a form's `Action` and `Version` name.
    pub(crate) fn by_action(&self, form: &Value, scope: Option<&str>) -> Result<Route<'_>, ServiceError> {
        self.check_served(scope)?;
        let Some(action) = form.get("Action").and_then(Value::as_str).filter(|action| !action.is_empty()) else {
            return Err(ServiceError::client("MissingAction", "The request must contain the parameter Action."));
        };
        let version = form.get("Version").and_then(Value::as_str);
        // Without a version the scope has to say enough.
        let mut candidates = self.services.iter().filter(|service| {
            let model = service.model();
            scope.is_none_or(|scope| scope == model.signing_name)
                && model.xml_namespace.is_some()
                && version.map_or(scope.is_some(), |version| version == model.version)
        });
        let could_not_find = || {
            invalid_action(format!(
                "Could not find operation {action} for version {}",
                version.unwrap_or("NO_VERSION_SPECIFIED")
            ))
        };
        let Some(service) = candidates.next() else {
            if let Some(scope) = scope
                && self.in_scope(scope).all(|(model, _)| model.xml_namespace.is_none())
            {
                return Err(invalid_action(format!(
                    "Service '{scope}' speaks JSON: send the operation in X-Amz-Target, not Action '{action}' in a form."
                )));
            }
            return Err(could_not_find());
        };
        let model = service.model();
        let operation = model.operation(action).ok_or_else(could_not_find)?;
        Ok(Route { service, model, operation })
    }
}

pub(crate) fn content_type(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

pub(crate) fn is_form(content_type: &str) -> bool {
    content_type.starts_with("application/x-www-form-urlencoded")
}

/// Whether the query string has a parameter `name`.
pub(crate) fn has_parameter(query: &str, name: &str) -> bool {
    query.split('&').any(|pair| pair.split_once('=').map_or(pair, |(name, _)| name) == name)
}

fn unknown_operation(message: impl Into<String>) -> ServiceError {
    ServiceError { query_code: "InvalidAction", ..ServiceError::client("UnknownOperationException", message) }
}

fn invalid_action(message: String) -> ServiceError {
    ServiceError { code: "UnknownOperationException", ..ServiceError::client("InvalidAction", message) }
}
