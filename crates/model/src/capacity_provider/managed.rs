//! Managed instances behind capacity providers: what may be asked of them (API reference,
//! `CreateManagedInstancesProviderConfiguration`, `InstanceLaunchTemplate`, `InstanceRequirementsRequest`).

use longshore_api::ServiceError;
use longshore_api::ecs::{
    CapacityReservationRequest, CreateManagedInstancesProviderConfiguration, InstanceLaunchTemplate,
    InstanceLaunchTemplateUpdate, InstanceRequirementsRequest, ManagedInstancesNetworkConfiguration,
    ManagedInstancesProvider, UpdateManagedInstancesProviderConfiguration, error,
};

use crate::{Arn, Scope, vpc};

/// Sizes in GiB that the data volume of a managed instance can have.
const STORAGE_GIB: std::ops::RangeInclusive<i32> = 30..=16_384;
/// Seconds after which an idle instance may be taken away; -1 for never.
const SCALE_IN_AFTER: std::ops::RangeInclusive<i32> = -1..=3600;
/// Most subnets.
const MAX_SUBNETS: usize = 16;
/// Most security groups.
const MAX_SECURITY_GROUPS: usize = 5;

fn refused<T>(message: impl Into<String>) -> Result<T, ServiceError> {
    Err(error::invalid_parameter_exception(message))
}

/// The settings that a request gives for new managed instances, as they were given.
///
/// # Errors
/// `InvalidParameterException`, naming the first member that is out of its rules.
pub fn provider(
    scope: &Scope,
    given: CreateManagedInstancesProviderConfiguration,
) -> Result<ManagedInstancesProvider, ServiceError> {
    let provider = ManagedInstancesProvider {
        infrastructure_role_arn: given.infrastructure_role_arn,
        instance_launch_template: given.instance_launch_template,
        propagate_tags: given.propagate_tags,
        infrastructure_optimization: given.infrastructure_optimization,
        auto_repair_configuration: given.auto_repair_configuration,
    };
    check(scope, &provider)?;
    Ok(provider)
}

/// `known` with `changes` made: a member that is given replaces the whole member that was, of the provider and of
/// its launch template; what is left out stays.
///
/// # Errors
/// As [`provider`].
pub fn update(
    scope: &Scope,
    known: &ManagedInstancesProvider,
    changes: UpdateManagedInstancesProviderConfiguration,
) -> Result<ManagedInstancesProvider, ServiceError> {
    let known = known.clone();
    let template = known.instance_launch_template.unwrap_or_default();
    let provider = ManagedInstancesProvider {
        infrastructure_role_arn: changes.infrastructure_role_arn.or(known.infrastructure_role_arn),
        instance_launch_template: Some(match changes.instance_launch_template {
            Some(changes) => updated_template(template, changes),
            None => template,
        }),
        propagate_tags: changes.propagate_tags.or(known.propagate_tags),
        infrastructure_optimization: changes.infrastructure_optimization.or(known.infrastructure_optimization),
        auto_repair_configuration: changes.auto_repair_configuration.or(known.auto_repair_configuration),
    };
    check(scope, &provider)?;
    Ok(provider)
}

fn updated_template(known: InstanceLaunchTemplate, changes: InstanceLaunchTemplateUpdate) -> InstanceLaunchTemplate {
    InstanceLaunchTemplate {
        ec2_instance_profile_arn: changes.ec2_instance_profile_arn.or(known.ec2_instance_profile_arn),
        network_configuration: changes.network_configuration.or(known.network_configuration),
        storage_configuration: changes.storage_configuration.or(known.storage_configuration),
        local_storage_configuration: changes.local_storage_configuration.or(known.local_storage_configuration),
        monitoring: changes.monitoring.or(known.monitoring),
        instance_metadata_tags_propagation: changes
            .instance_metadata_tags_propagation
            .or(known.instance_metadata_tags_propagation),
        instance_requirements: changes.instance_requirements.or(known.instance_requirements),
        capacity_reservations: changes.capacity_reservations.or(known.capacity_reservations),
        // What an instance is bought and built as cannot be changed.
        capacity_option_type: known.capacity_option_type,
        fips_enabled: known.fips_enabled,
        nitro_enclaves_enabled: known.nitro_enclaves_enabled,
    }
}

fn check(scope: &Scope, provider: &ManagedInstancesProvider) -> Result<(), ServiceError> {
    check_iam_arn("infrastructureRoleArn", provider.infrastructure_role_arn.as_deref(), "role/")?;
    let optimization = provider.infrastructure_optimization.as_ref();
    if let Some(after) = optimization.and_then(|it| it.scale_in_after).filter(|it| !SCALE_IN_AFTER.contains(it)) {
        return refused(format!(
            "infrastructureOptimization.scaleInAfter is {after}: give 0 to {} seconds, or -1 to keep idle instances.",
            SCALE_IN_AFTER.end()
        ));
    }
    let Some(template) = &provider.instance_launch_template else {
        return refused("managedInstancesProvider needs an instanceLaunchTemplate.");
    };
    check_iam_arn("ec2InstanceProfileArn", template.ec2_instance_profile_arn.as_deref(), "instance-profile/")?;
    check_network(scope, template.network_configuration.as_ref())?;
    let storage = template.storage_configuration.as_ref().and_then(|it| it.storage_size_gi_b);
    if let Some(size) = storage.filter(|size| !STORAGE_GIB.contains(size)) {
        return refused(format!(
            "storageConfiguration.storageSizeGiB is {size}: give {} to {} GiB.",
            STORAGE_GIB.start(),
            STORAGE_GIB.end()
        ));
    }
    let on_local_disks = template.local_storage_configuration.as_ref().and_then(|it| it.use_local_storage);
    if template.nitro_enclaves_enabled == Some(true) && on_local_disks == Some(true) {
        return refused(
            "nitroEnclavesEnabled and useLocalStorage of localStorageConfiguration can't be enabled together.",
        );
    }
    template.capacity_reservations.as_ref().map_or(Ok(()), check_reservations)?;
    template.instance_requirements.as_ref().map_or(Ok(()), check_requirements)
}

/// IAM's ARNs are of no region. Which roles there are is not looked up.
fn check_iam_arn(member: &str, given: Option<&str>, kind: &str) -> Result<(), ServiceError> {
    let given = given.unwrap_or_default();
    let is_of_kind = |arn: &Arn<'_>| {
        arn.partition.starts_with("aws")
            && (arn.service, arn.region) == ("iam", "")
            && arn.account.len() == 12
            && arn.account.bytes().all(|byte| byte.is_ascii_digit())
            && arn.resource.strip_prefix(kind).is_some_and(|name| !name.is_empty())
    };
    if Arn::parse(given).as_ref().is_some_and(is_of_kind) {
        return Ok(());
    }
    refused(format!("The {member} '{given}' is invalid: give an ARN like arn:aws:iam::123456789012:{kind}NAME."))
}

fn check_network(scope: &Scope, given: Option<&ManagedInstancesNetworkConfiguration>) -> Result<(), ServiceError> {
    let subnets = given.and_then(|it| it.subnets.as_deref()).unwrap_or_default();
    let groups = given.and_then(|it| it.security_groups.as_deref()).unwrap_or_default();
    if subnets.is_empty() {
        return refused("networkConfiguration.subnets can not be empty: name the subnets of the managed instances.");
    }
    for (member, count, most) in
        [("subnets", subnets.len(), MAX_SUBNETS), ("securityGroups", groups.len(), MAX_SECURITY_GROUPS)]
    {
        if count > most {
            return refused(format!(
                "networkConfiguration.{member} can have at most {most} items; {count} were given."
            ));
        }
    }
    if let Some(id) = subnets.iter().find(|id| vpc::subnet(scope, id).is_none()) {
        return refused(format!("The subnet ID '{id}' does not exist: give ids like subnet-0123456789abcdef0."));
    }
    if let Some(id) = groups.iter().find(|id| !vpc::is_security_group(id)) {
        return refused(format!("The security group '{id}' does not exist: give ids like sg-0123456789abcdef0."));
    }
    Ok(())
}

fn check_reservations(given: &CapacityReservationRequest) -> Result<(), ServiceError> {
    let Some(group) = &given.reservation_group_arn else { return Ok(()) };
    let is_group = |arn: &Arn<'_>| arn.service == "resource-groups" && arn.resource.starts_with("group/");
    if Arn::parse(group).as_ref().is_some_and(is_group) {
        return Ok(());
    }
    refused(format!(
        "The capacityReservations.reservationGroupArn '{group}' is invalid: give the ARN of a resource group."
    ))
}

/// Least and most of an attribute; none where nothing is asked.
type Bounds = (&'static str, Option<f64>, Option<f64>);

fn bounds(given: &InstanceRequirementsRequest) -> Vec<Bounds> {
    macro_rules! bounds {
        ($($name:literal: $member:ident),* $(,)?) => { vec![$((
            $name,
            given.$member.as_ref().and_then(|it| it.min).map(f64::from),
            given.$member.as_ref().and_then(|it| it.max).map(f64::from),
        )),*] };
    }
    bounds!(
        "vCpuCount": v_cpu_count,
        "memoryMiB": memory_mi_b,
        "memoryGiBPerVCpu": memory_gi_b_per_v_cpu,
        "networkInterfaceCount": network_interface_count,
        "totalLocalStorageGB": total_local_storage_gb,
        "baselineEbsBandwidthMbps": baseline_ebs_bandwidth_mbps,
        "acceleratorCount": accelerator_count,
        "acceleratorTotalMemoryMiB": accelerator_total_memory_mi_b,
        "networkBandwidthGbps": network_bandwidth_gbps,
    )
}

fn check_requirements(given: &InstanceRequirementsRequest) -> Result<(), ServiceError> {
    for (name, least, most) in bounds(given) {
        if let Some(bound) = least.into_iter().chain(most).find(|bound| *bound < 0.0) {
            return refused(format!("instanceRequirements.{name} has the bound {bound}: it cannot be less than 0."));
        }
        if let (Some(least), Some(most)) = (least, most)
            && least > most
        {
            return refused(format!("instanceRequirements.{name} has min {least}, which is more than max {most}."));
        }
    }
    let spot = given.spot_max_price_percentage_over_lowest_price;
    let optimal = given.max_spot_price_as_percentage_of_optimal_on_demand_price;
    for (name, percentage) in [
        ("spotMaxPricePercentageOverLowestPrice", spot),
        ("onDemandMaxPricePercentageOverLowestPrice", given.on_demand_max_price_percentage_over_lowest_price),
        ("maxSpotPriceAsPercentageOfOptimalOnDemandPrice", optimal),
    ] {
        if let Some(percentage) = percentage.filter(|percentage| *percentage < 0) {
            return refused(format!("instanceRequirements.{name} is {percentage}: it cannot be less than 0."));
        }
    }
    let exclusive = |one: &str, other: &str| {
        refused(format!("instanceRequirements can have {one} or {other}, not both. Remove one and try again."))
    };
    if spot.is_some() && optimal.is_some() {
        return exclusive("spotMaxPricePercentageOverLowestPrice", "maxSpotPriceAsPercentageOfOptimalOnDemandPrice");
    }
    let is_given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    if is_given(&given.allowed_instance_types) && is_given(&given.excluded_instance_types) {
        return exclusive("allowedInstanceTypes", "excludedInstanceTypes");
    }
    Ok(())
}
