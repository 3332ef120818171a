//! Gateways: the record, and what may be asked of one.
//!
//! Rules and defaults are those of the API reference (CreateGateway, 2026); where it is silent they
//! follow Application Load Balancers, which gateways are made of.

use std::collections::BTreeSet;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    AccessType, DescribeGatewayAlbConfiguration, DescribeGatewayConfiguration, Gateway, GatewayAlbDesyncMitigationMode,
    GatewayAlbProtocol, GatewayAlbTestTrafficRules, GatewayConfiguration, GatewayElbAccessLogConfiguration,
    GatewayElbIpAddressType, GatewayElbNetworkConfiguration, GatewayElbScheme, GatewayStatus, GatewaySummary,
    HostSharedAlbConfiguration, PropagateGatewayTags, UpdateGatewayAlbConfiguration, UpdateGatewayConfiguration, error,
};
use longshore_seams::Timestamp;
use serde::{Deserialize, Serialize};

use crate::record::Record;
use crate::records::Tags;
use crate::{Arn, Id, Scope, names, tags, vpc};

/// Most load balancers of a gateway (API model, `ElbGatewayResourcesList`).
const MAX_ALBS: i32 = 20;
/// Most load balancers of a gateway that does not say.
const DEFAULT_ALBS: i32 = 10;
/// The port on which load balancers listen.
const PORT: i32 = 443;
/// Fewest subnets of a load balancer: one in each of two zones.
const MIN_SUBNETS: usize = 2;

/// A gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayRecord {
    /// The incarnation: names are used again.
    pub id: Id,
    /// Its name, unique in an account and region.
    pub name: String,
    /// ACTIVE, UPDATE_COMPLETE or DELETED.
    pub status: GatewayStatus,
    /// What makes its load balancers.
    pub infrastructure_role_arn: String,
    /// Whether it can't be deleted.
    pub deletion_protection: bool,
    /// Its load balancers' settings, with defaults filled in.
    pub configuration: HostSharedAlbConfiguration,
    /// Whether its load balancers get its tags.
    pub propagate_tags: PropagateGatewayTags,
    /// Client token of the call that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

impl Record for GatewayRecord {
    const KIND: &'static str = "gateway";
    const FORMAT: u8 = 1;
}

impl GatewayRecord {
    /// Whether it can be used.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.status != GatewayStatus::Deleted
    }

    /// Whether it listens to the internet or to its VPC.
    #[must_use]
    pub fn access_type(&self) -> AccessType {
        match self.configuration.scheme {
            Some(GatewayElbScheme::Internal) => AccessType::Private,
            _ => AccessType::Public,
        }
    }

    /// `…:gateway/NAME`.
    #[must_use]
    pub fn arn(&self, scope: &Scope) -> String {
        scope.ecs_arn(format_args!("gateway/{}", self.name))
    }

    /// As DescribeGateway shows it.
    #[must_use]
    pub fn view(&self, scope: &Scope) -> Gateway {
        let kept = self.configuration.clone();
        Gateway {
            gateway_arn: Some(self.arn(scope)),
            name: Some(self.name.clone()),
            status: Some(self.status.clone()),
            status_reason: None,
            failures: Some(Vec::new()),
            infrastructure_role_arn: Some(self.infrastructure_role_arn.clone()),
            deletion_protection: Some(self.deletion_protection),
            configuration: Some(DescribeGatewayConfiguration {
                host_shared_alb: Some(DescribeGatewayAlbConfiguration {
                    network_configuration: kept.network_configuration,
                    scheme: kept.scheme,
                    access_logs: kept.access_logs,
                    web_acl_arn: kept.web_acl_arn,
                    port: kept.port,
                    protocol: kept.protocol,
                    max_alb_count: kept.max_alb_count,
                    // A load balancer is made with the first route, and nothing routes yet.
                    current_alb_count: Some(0),
                    http_desync: kept.http_desync,
                    test_traffic_rules: kept.test_traffic_rules,
                }),
            }),
            access_type: Some(self.access_type()),
            propagate_tags: Some(self.propagate_tags.clone()),
            tags: Some(tags::to_list(&self.tags)),
            created_at: Some(self.created_at),
            updated_at: Some(self.updated_at),
        }
    }

    /// As ListGateways shows it.
    #[must_use]
    pub fn summary(&self, scope: &Scope) -> GatewaySummary {
        GatewaySummary {
            gateway_arn: Some(self.arn(scope)),
            name: Some(self.name.clone()),
            status: Some(self.status.clone()),
            created_at: Some(self.created_at),
        }
    }
}

/// That services of a cluster may route through a gateway, or once could.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayAssociationRecord {
    /// The gateway's incarnation.
    pub gateway: Id,
    /// The cluster's incarnation.
    pub cluster: Id,
    /// Whether they may still.
    pub active: bool,
    /// When that last changed.
    pub updated_at: Timestamp,
}

impl Record for GatewayAssociationRecord {
    const KIND: &'static str = "gateway association";
    const FORMAT: u8 = 1;
}

fn refused<T>(message: impl Into<String>) -> Result<T, ServiceError> {
    Err(error::invalid_parameter_exception(message))
}

/// The name in `named`, which is a name or the ARN of a gateway of `scope`.
#[must_use]
pub fn name_of<'a>(scope: &Scope, named: &'a str) -> Option<&'a str> {
    if !named.starts_with("arn:") {
        return Some(named);
    }
    Arn::parse(named).filter(|arn| arn.is_ecs_in(scope))?.resource_of("gateway")
}

/// A new gateway's name.
///
/// # Errors
/// `InvalidParameterException`.
pub fn check_name(name: &str) -> Result<(), ServiceError> {
    if names::is_name(name) {
        return Ok(());
    }
    refused(format!(
        "Gateway name '{name}' is not valid: use 1 to {} letters, digits, hyphens and underscores.",
        names::MAX_NAME
    ))
}

/// The role with which ECS makes what a gateway or an Express service needs.
///
/// # Errors
/// `InvalidParameterException` for what is no role's ARN.
pub fn check_infrastructure_role(arn: &str) -> Result<(), ServiceError> {
    if arn.starts_with("arn:") && names::is_role(arn) {
        return Ok(());
    }
    refused(format!("infrastructureRoleArn '{arn}' is not the ARN of an IAM role."))
}

/// What a request gives for the load balancers, with defaults: HTTPS from the internet, by IPv4 and
/// IPv6, on the default VPC's subnets.
///
/// # Errors
/// `InvalidParameterException`, naming the first rule that is broken.
pub fn configuration(
    scope: &Scope,
    given: Option<GatewayConfiguration>,
) -> Result<HostSharedAlbConfiguration, ServiceError> {
    let Some(mut alb) = given.unwrap_or_default().host_shared_alb else {
        return refused("configuration must have exactly one member: give hostSharedAlb.");
    };
    let network = alb.network_configuration.get_or_insert_default();
    network.ip_address_type.get_or_insert(GatewayElbIpAddressType::Dualstack);
    network.subnets.get_or_insert_with(|| vpc::default_subnets(scope).into_iter().map(|subnet| subnet.id).collect());
    alb.scheme.get_or_insert(GatewayElbScheme::InternetFacing);
    alb.protocol.get_or_insert(GatewayAlbProtocol::Https);
    alb.port.get_or_insert(PORT);
    alb.max_alb_count.get_or_insert(DEFAULT_ALBS);
    alb.http_desync.get_or_insert(GatewayAlbDesyncMitigationMode::Defensive);
    check(scope, &alb)?;
    Ok(alb)
}

/// `before` with `changes` made; what they leave out stays.
///
/// # Errors
/// As [`configuration`].
pub fn updated(
    scope: &Scope,
    before: &HostSharedAlbConfiguration,
    changes: UpdateGatewayConfiguration,
) -> Result<HostSharedAlbConfiguration, ServiceError> {
    let Some(changes) = changes.host_shared_alb else {
        return refused("configuration must have exactly one member: give hostSharedAlb.");
    };
    let UpdateGatewayAlbConfiguration {
        network_configuration,
        max_alb_count,
        web_acl_arn,
        access_logs,
        http_desync,
        test_traffic_rules,
    } = changes;
    let mut after = before.clone();
    if let Some(group) = network_configuration.and_then(|network| network.inbound_security_group) {
        after.network_configuration.get_or_insert_default().inbound_security_group = Some(group);
    }
    after.max_alb_count = max_alb_count.or(after.max_alb_count);
    after.web_acl_arn = web_acl_arn.or(after.web_acl_arn);
    after.access_logs = access_logs.or(after.access_logs);
    after.http_desync = http_desync.or(after.http_desync);
    after.test_traffic_rules = test_traffic_rules.or(after.test_traffic_rules);
    check(scope, &after)?;
    Ok(after)
}

fn check(scope: &Scope, alb: &HostSharedAlbConfiguration) -> Result<(), ServiceError> {
    if let Some(network) = &alb.network_configuration {
        check_network(scope, network, alb.scheme.as_ref())?;
    }
    if let Some(port) = alb.port.filter(|port| *port != PORT) {
        return refused(format!("port is {port}; a gateway supports only HTTPS at port {PORT}."));
    }
    if let Some(protocol) = alb.protocol.as_ref().filter(|protocol| **protocol != GatewayAlbProtocol::Https) {
        return refused(format!("protocol is {}; a gateway supports only HTTPS at port {PORT}.", protocol.as_str()));
    }
    if let Some(count) = alb.max_alb_count.filter(|count| !(1..=MAX_ALBS).contains(count)) {
        return refused(format!("maxAlbCount is {count}; it must be between 1 and {MAX_ALBS}."));
    }
    if let Some(acl) = &alb.web_acl_arn {
        let is_acl = Arn::parse(acl).is_some_and(|arn| matches!(arn.service, "wafv2" | "waf-regional"));
        if !is_acl {
            return refused(format!("webACLArn '{acl}' is not the ARN of a web ACL of AWS WAF."));
        }
    }
    alb.access_logs.as_ref().map_or(Ok(()), check_logs)?;
    alb.test_traffic_rules.as_ref().map_or(Ok(()), check_test_traffic)
}

fn check_network(
    scope: &Scope,
    network: &GatewayElbNetworkConfiguration,
    scheme: Option<&GatewayElbScheme>,
) -> Result<(), ServiceError> {
    let subnets = network.subnets.as_deref().unwrap_or_default();
    if let Some(id) = subnets.iter().find(|id| vpc::subnet(scope, id).is_none()) {
        return refused(format!("The subnet ID '{id}' is not valid."));
    }
    if subnets.iter().collect::<BTreeSet<_>>().len() < MIN_SUBNETS {
        return refused(format!("A gateway needs at least {MIN_SUBNETS} different subnets; {} given.", subnets.len()));
    }
    if let Some(group) = network.inbound_security_group.as_ref().filter(|group| !vpc::is_security_group(group)) {
        return refused(format!("The security group ID '{group}' is not valid."));
    }
    let without_ipv4 = network.ip_address_type == Some(GatewayElbIpAddressType::DualstackWithoutPublicIpv4);
    if without_ipv4 && scheme == Some(&GatewayElbScheme::Internal) {
        return refused("ipAddressType dualstack-without-public-ipv4 is for internet-facing gateways only.");
    }
    Ok(())
}

fn check_logs(logs: &GatewayElbAccessLogConfiguration) -> Result<(), ServiceError> {
    let Some(destination) = &logs.destination else { return Ok(()) };
    match &destination.s3 {
        None => refused("accessLogs.destination must have exactly one member: give s3."),
        Some(s3) if s3.bucket.as_deref().unwrap_or("").is_empty() => {
            refused("accessLogs.destination.s3 needs the name of a bucket.")
        }
        Some(_) => Ok(()),
    }
}

fn check_test_traffic(rules: &GatewayAlbTestTrafficRules) -> Result<(), ServiceError> {
    let Some(header) = &rules.header else { return Ok(()) };
    if header.name.as_deref().unwrap_or("").is_empty() {
        return refused("testTrafficRules.header needs a name.");
    }
    let values = header.values.as_deref().unwrap_or_default();
    if values.is_empty() || values.iter().any(String::is_empty) {
        return refused("testTrafficRules.header needs values, none of them empty.");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope::new("123456789012", "eu-west-1")
    }

    fn made(alb: HostSharedAlbConfiguration) -> Result<HostSharedAlbConfiguration, ServiceError> {
        configuration(&scope(), Some(GatewayConfiguration { host_shared_alb: Some(alb) }))
    }

    #[test]
    fn a_gateway_listens_to_the_internet_by_https_unless_told_otherwise() {
        let alb = made(HostSharedAlbConfiguration::default()).unwrap();
        assert_eq!(
            (alb.scheme, alb.protocol),
            (Some(GatewayElbScheme::InternetFacing), Some(GatewayAlbProtocol::Https))
        );
        assert_eq!((alb.port, alb.max_alb_count), (Some(443), Some(10)));
        let network = alb.network_configuration.unwrap();
        assert_eq!(network.ip_address_type, Some(GatewayElbIpAddressType::Dualstack));
        assert_eq!(network.subnets.unwrap().len(), 3);
    }

    #[test]
    fn every_member_has_its_bounds() {
        let alb = HostSharedAlbConfiguration::default;
        let network = |subnets: &[&str]| {
            Some(GatewayElbNetworkConfiguration {
                subnets: Some(subnets.iter().map(|id| (*id).to_owned()).collect()),
                ..GatewayElbNetworkConfiguration::default()
            })
        };
        for bad in [
            HostSharedAlbConfiguration { port: Some(80), ..alb() },
            HostSharedAlbConfiguration { protocol: Some(GatewayAlbProtocol::Http), ..alb() },
            HostSharedAlbConfiguration { max_alb_count: Some(21), ..alb() },
            HostSharedAlbConfiguration { web_acl_arn: Some("acl".to_owned()), ..alb() },
            HostSharedAlbConfiguration { network_configuration: network(&["subnet-a"]), ..alb() },
            HostSharedAlbConfiguration { network_configuration: network(&["subnet-a", "subnet-a"]), ..alb() },
            HostSharedAlbConfiguration { network_configuration: network(&["subnet-a", "b"]), ..alb() },
        ] {
            assert_eq!(made(bad.clone()).unwrap_err().code, "InvalidParameterException", "{bad:?}");
        }
        let two = HostSharedAlbConfiguration { network_configuration: network(&["subnet-a", "subnet-b"]), ..alb() };
        assert!(made(two).is_ok());
        assert!(configuration(&scope(), Some(GatewayConfiguration::default())).is_err());
    }

    #[test]
    fn an_update_leaves_what_it_does_not_say() {
        let before = made(HostSharedAlbConfiguration::default()).unwrap();
        let changes =
            UpdateGatewayAlbConfiguration { max_alb_count: Some(2), ..UpdateGatewayAlbConfiguration::default() };
        let changes = UpdateGatewayConfiguration { host_shared_alb: Some(changes) };
        let after = updated(&scope(), &before, changes).unwrap();
        assert_eq!(after, HostSharedAlbConfiguration { max_alb_count: Some(2), ..before });
    }
}
