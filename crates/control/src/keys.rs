//! Keys of the store: account and region first, then the kind, then ids.
//!
//! What belongs to no account begins with `_`. Every kind is one letter, so that a range over one
//! scope reads one kind.

use longshore_model::{Id, Scope};

fn scoped(scope: &Scope, rest: std::fmt::Arguments<'_>) -> Vec<u8> {
    format!("{}/{}/{rest}", scope.account, scope.region).into_bytes()
}

pub(crate) fn cluster(scope: &Scope, id: Id) -> Vec<u8> {
    scoped(scope, format_args!("c/{id}"))
}

pub(crate) fn family(scope: &Scope, family: &str) -> Vec<u8> {
    scoped(scope, format_args!("f/{family}"))
}

pub(crate) fn task_definition(scope: &Scope, family: &str, revision: u32) -> Vec<u8> {
    scoped(scope, format_args!("d/{family}/{revision:08x}"))
}

pub(crate) fn daemon_family(scope: &Scope, family: &str) -> Vec<u8> {
    scoped(scope, format_args!("F/{family}"))
}

pub(crate) fn daemon_task_definition(scope: &Scope, family: &str, revision: u32) -> Vec<u8> {
    scoped(scope, format_args!("D/{family}/{revision:08x}"))
}

pub(crate) fn daemon(scope: &Scope, cluster: Id, name: &str) -> Vec<u8> {
    scoped(scope, format_args!("N/{cluster}/{name}"))
}

pub(crate) fn gateway(scope: &Scope, name: &str) -> Vec<u8> {
    scoped(scope, format_args!("g/{name}"))
}

pub(crate) fn gateway_association(scope: &Scope, gateway: Id, cluster: Id) -> Vec<u8> {
    scoped(scope, format_args!("G/{gateway}/{cluster}"))
}

pub(crate) fn container_instance(scope: &Scope, cluster: Id, id: Id) -> Vec<u8> {
    scoped(scope, format_args!("i/{cluster}/{id}"))
}

pub(crate) fn task(scope: &Scope, cluster: Id, id: Id) -> Vec<u8> {
    scoped(scope, format_args!("t/{cluster}/{id}"))
}

pub(crate) fn service(scope: &Scope, cluster: Id, name: &str) -> Vec<u8> {
    scoped(scope, format_args!("s/{cluster}/{name}"))
}

pub(crate) fn service_deployment(scope: &Scope, cluster: Id, service: &str, id: &str) -> Vec<u8> {
    scoped(scope, format_args!("e/{cluster}/{service}/{id}"))
}

pub(crate) fn service_revision(scope: &Scope, cluster: Id, service: &str, number: &str) -> Vec<u8> {
    scoped(scope, format_args!("r/{cluster}/{service}/{number}"))
}

pub(crate) fn account_setting(scope: &Scope, name: &str, principal: &str) -> Vec<u8> {
    scoped(scope, format_args!("a/{name}/{principal}"))
}

pub(crate) fn capacity_provider(scope: &Scope, name: &str) -> Vec<u8> {
    scoped(scope, format_args!("p/{name}"))
}

pub(crate) fn idempotency(scope: &Scope, operation: &str, token: &str) -> Vec<u8> {
    scoped(scope, format_args!("y/{operation}/{token}"))
}

pub(crate) fn account(id: &str) -> Vec<u8> {
    format!("_/a/{id}").into_bytes()
}

pub(crate) fn access_key(id: &str) -> Vec<u8> {
    format!("_/k/{id}").into_bytes()
}

pub(crate) fn grant(id: &str) -> Vec<u8> {
    format!("_/g/{id}").into_bytes()
}

pub(crate) fn join_token(hash: &str) -> Vec<u8> {
    format!("_/j/{hash}").into_bytes()
}

pub(crate) fn outbox(sequence: u64) -> Vec<u8> {
    format!("_/o/{sequence:016x}").into_bytes()
}

/// What a key names, for loading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Cluster,
    Family,
    TaskDefinition,
    DaemonFamily,
    DaemonTaskDefinition,
    Daemon,
    Gateway,
    GatewayAssociation,
    ContainerInstance,
    Task,
    Service,
    ServiceDeployment,
    ServiceRevision,
    Idempotency,
    AccountSetting,
    CapacityProvider,
    Account,
    AccessKey,
    Grant,
    JoinToken,
    Outbox,
    /// Another room's (e.g. log groups).
    Foreign,
}

/// Scope (none for `_`) and kind of `key`.
pub(crate) fn parse(key: &[u8]) -> Option<(Option<Scope>, Kind)> {
    let text = std::str::from_utf8(key).ok()?;
    let mut parts = text.splitn(4, '/');
    let first = parts.next()?;
    if first == "_" {
        let kind = match parts.next()? {
            "a" => Kind::Account,
            "k" => Kind::AccessKey,
            "g" => Kind::Grant,
            "j" => Kind::JoinToken,
            "o" => Kind::Outbox,
            _ => Kind::Foreign,
        };
        return Some((None, kind));
    }
    let region = parts.next()?;
    let kind = match parts.next()? {
        "c" => Kind::Cluster,
        "f" => Kind::Family,
        "d" => Kind::TaskDefinition,
        "F" => Kind::DaemonFamily,
        "D" => Kind::DaemonTaskDefinition,
        "N" => Kind::Daemon,
        "g" => Kind::Gateway,
        "G" => Kind::GatewayAssociation,
        "i" => Kind::ContainerInstance,
        "t" => Kind::Task,
        "s" => Kind::Service,
        "e" => Kind::ServiceDeployment,
        "r" => Kind::ServiceRevision,
        "y" => Kind::Idempotency,
        "a" => Kind::AccountSetting,
        "p" => Kind::CapacityProvider,
        _ => Kind::Foreign,
    };
    Some((Some(Scope::new(first, region)), kind))
}
