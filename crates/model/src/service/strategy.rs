//! What may be asked of the deployments of a service.

use longshore_api::ecs::{
    DeploymentConfiguration, DeploymentControllerType, DeploymentLifecycleHook, DeploymentLifecycleHookAction,
    DeploymentLifecycleHookStage as HookStage, DeploymentLifecycleHookTargetType, DeploymentStrategy,
    SchedulingStrategy, Service, ThresholdType, error,
};
use longshore_api::{ServiceError, Value};

use super::hook::{MAX_DETAILS, size_of_details};

/// Most minutes of a bake time: a day.
const MAX_MINUTES: i32 = 1440;
/// Most minutes that a PAUSE hook may be waited for.
const PAUSE_MINUTES: i32 = 20160;
/// Most minutes that a Lambda function may be waited for.
const FUNCTION_MINUTES: i32 = 1440;
/// Most hooks of each type.
const MAX_HOOKS: usize = 10;

fn refused<T>(message: impl Into<String>) -> Result<T, ServiceError> {
    Err(error::invalid_parameter_exception(message))
}

/// The configuration after an update: members that are given replace those that were. What belongs to
/// another strategy goes with it.
pub(super) fn merged(before: &DeploymentConfiguration, given: &DeploymentConfiguration) -> DeploymentConfiguration {
    let strategy = given.strategy.clone().or_else(|| before.strategy.clone());
    let same = strategy == before.strategy;
    let mut after = DeploymentConfiguration {
        maximum_percent: given.maximum_percent.or(before.maximum_percent),
        minimum_healthy_percent: given.minimum_healthy_percent.or(before.minimum_healthy_percent),
        bake_time_in_minutes: given.bake_time_in_minutes.or(before.bake_time_in_minutes),
        strategy,
        ..given.clone()
    };
    macro_rules! keep {
        ($($member:ident),*) => { $(if after.$member.is_none() { after.$member.clone_from(&before.$member); })* };
    }
    keep!(deployment_circuit_breaker, alarms);
    if same {
        keep!(lifecycle_hooks, canary_configuration, linear_configuration, early_success_criteria);
    }
    after
}

/// Checks the deployment configuration of a service beyond its percentages.
///
/// # Errors
/// `InvalidParameterException`.
pub(super) fn check_strategy(settings: &Service) -> Result<(), ServiceError> {
    let Some(configuration) = &settings.deployment_configuration else { return Ok(()) };
    let strategy = configuration.strategy.clone().unwrap_or(DeploymentStrategy::Rolling);
    if let DeploymentStrategy::UnknownVariant(other) = &strategy {
        return refused(format!(
            "The deployment strategy '{other}' is not valid: use ROLLING, BLUE_GREEN, LINEAR or CANARY."
        ));
    }
    let name = strategy.as_str();
    if strategy != DeploymentStrategy::Rolling {
        let controller = settings.deployment_controller.as_ref().and_then(|it| it.r#type.as_ref());
        if controller.is_some_and(|it| *it != DeploymentControllerType::Ecs) {
            return refused(format!("The deployment strategy {name} needs the ECS deployment controller."));
        }
        if settings.scheduling_strategy == Some(SchedulingStrategy::Daemon) {
            return refused(format!(
                "The deployment strategy {name} is not supported with the DAEMON scheduling strategy."
            ));
        }
        if settings.load_balancers.iter().flatten().any(|it| it.load_balancer_name.is_some()) {
            return refused(format!("The deployment strategy {name} does not support Classic Load Balancers."));
        }
    }
    check_minutes("bakeTimeInMinutes", configuration.bake_time_in_minutes)?;
    check_steps(configuration, &strategy)?;
    check_hooks(configuration, &strategy)?;
    check_early_success(configuration, &strategy)?;
    check_monitors(configuration)
}

fn check_minutes(member: &str, given: Option<i32>) -> Result<(), ServiceError> {
    match given.filter(|minutes| !(0..=MAX_MINUTES).contains(minutes)) {
        Some(minutes) => refused(format!("{member} is {minutes}; it must be between 0 and {MAX_MINUTES}.")),
        None => Ok(()),
    }
}

/// A percentage in tenths, from `least` on.
fn check_percent(member: &str, given: Option<f64>, least: f64) -> Result<(), ServiceError> {
    let Some(percent) = given else { return Ok(()) };
    let tenths = percent * 10.0;
    if !(least..=100.0).contains(&percent) || (tenths - tenths.round()).abs() > 1e-6 {
        return refused(format!("{member} is {percent}; it must be a multiple of 0.1 between {least:.1} and 100.0."));
    }
    Ok(())
}

fn check_steps(configuration: &DeploymentConfiguration, strategy: &DeploymentStrategy) -> Result<(), ServiceError> {
    if let Some(canary) = &configuration.canary_configuration {
        if *strategy != DeploymentStrategy::Canary {
            return refused("canaryConfiguration is only valid with the deployment strategy CANARY.");
        }
        check_percent("canaryPercent", canary.canary_percent, 0.1)?;
        check_minutes("canaryBakeTimeInMinutes", canary.canary_bake_time_in_minutes)?;
    }
    if let Some(linear) = &configuration.linear_configuration {
        if *strategy != DeploymentStrategy::Linear {
            return refused("linearConfiguration is only valid with the deployment strategy LINEAR.");
        }
        check_percent("stepPercent", linear.step_percent, 3.0)?;
        check_minutes("stepBakeTimeInMinutes", linear.step_bake_time_in_minutes)?;
    }
    Ok(())
}

fn check_hooks(configuration: &DeploymentConfiguration, strategy: &DeploymentStrategy) -> Result<(), ServiceError> {
    let hooks = configuration.lifecycle_hooks.as_deref().unwrap_or_default();
    if !hooks.is_empty() && *strategy == DeploymentStrategy::Rolling {
        return refused("lifecycleHooks are only valid with the deployment strategies BLUE_GREEN, LINEAR and CANARY.");
    }
    let pauses = hooks.iter().filter(|hook| hook.target_type == Some(DeploymentLifecycleHookTargetType::Pause)).count();
    if pauses > MAX_HOOKS || hooks.len() - pauses > MAX_HOOKS {
        return refused(format!("A service can have at most {MAX_HOOKS} lifecycle hooks of each type."));
    }
    hooks.iter().try_for_each(check_hook)
}

fn check_hook(hook: &DeploymentLifecycleHook) -> Result<(), ServiceError> {
    let stages = hook.lifecycle_stages.as_deref().unwrap_or_default();
    if stages.is_empty() {
        return refused("A lifecycle hook needs lifecycleStages.");
    }
    if let Some(HookStage::UnknownVariant(other)) = stages.iter().find(|it| matches!(it, HookStage::UnknownVariant(_)))
    {
        return refused(format!("The lifecycle stage '{other}' is not one that a hook can have."));
    }
    let most_minutes = match hook.target_type.clone().unwrap_or(DeploymentLifecycleHookTargetType::AwsLambda) {
        DeploymentLifecycleHookTargetType::Pause => {
            check_pause(hook, stages)?;
            PAUSE_MINUTES
        }
        DeploymentLifecycleHookTargetType::AwsLambda => {
            check_function(hook)?;
            FUNCTION_MINUTES
        }
        DeploymentLifecycleHookTargetType::UnknownVariant(other) => {
            return refused(format!("The lifecycle hook type '{other}' is not valid: use AWS_LAMBDA or PAUSE."));
        }
    };
    let timeout = hook.timeout_configuration.clone().unwrap_or_default();
    if let Some(minutes) = timeout.timeout_in_minutes.filter(|minutes| !(1..=most_minutes).contains(minutes)) {
        return refused(format!("timeoutInMinutes is {minutes}; it must be between 1 and {most_minutes}."));
    }
    if let Some(DeploymentLifecycleHookAction::UnknownVariant(other)) = timeout.action {
        return refused(format!("The time-out action '{other}' is not valid: use ROLLBACK or CONTINUE."));
    }
    Ok(())
}

fn check_pause(hook: &DeploymentLifecycleHook, stages: &[HookStage]) -> Result<(), ServiceError> {
    let moving = [HookStage::TestTrafficShift, HookStage::ProductionTrafficShift];
    if let Some(stage) = stages.iter().find(|stage| moving.contains(stage)) {
        return refused(format!("A PAUSE hook cannot be at the stage {}.", stage.as_str()));
    }
    if hook.hook_target_arn.is_some() {
        return refused("hookTargetArn is not valid for a PAUSE hook.");
    }
    Ok(())
}

fn check_function(hook: &DeploymentLifecycleHook) -> Result<(), ServiceError> {
    let function = hook.hook_target_arn.as_deref().unwrap_or_default();
    if function.is_empty() {
        return refused("A lifecycle hook of the type AWS_LAMBDA needs a hookTargetArn.");
    }
    if !is_function(function) {
        return refused(format!(
            "hookTargetArn '{function}' is not the ARN of a Lambda function: use arn:aws:lambda:REGION:ACCOUNT:function:NAME."
        ));
    }
    let role = hook.role_arn.as_deref().unwrap_or_default();
    if role.is_empty() {
        return refused("A lifecycle hook of the type AWS_LAMBDA needs a roleArn.");
    }
    if !is_role(role) {
        return refused(format!("roleArn '{role}' is not the ARN of an IAM role: use arn:aws:iam::ACCOUNT:role/NAME."));
    }
    match &hook.hook_details {
        None | Some(Value::Null) => Ok(()),
        Some(details) if details.as_map().is_none() => {
            refused(format!("hookDetails is {}; it must be a JSON object.", details.kind()))
        }
        Some(details) if size_of_details(details) > MAX_DETAILS => {
            refused(format!("hookDetails can have at most {MAX_DETAILS} bytes of JSON."))
        }
        Some(_) => Ok(()),
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `arn:PARTITION:lambda:REGION:ACCOUNT:function:NAME[:VERSION or ALIAS]`
fn is_function(arn: &str) -> bool {
    let named = |text: &str, most: usize| {
        !text.is_empty()
            && text.len() <= most
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let parts: Vec<&str> = arn.split(':').collect();
    let ["arn", partition, "lambda", region, account, "function", name, qualifier @ ..] = parts.as_slice() else {
        return false;
    };
    let qualified = match qualifier {
        [] => true,
        [qualifier] => *qualifier == "$LATEST" || named(qualifier, 128),
        _ => false,
    };
    partition.starts_with("aws") && named(region, 64) && is_account(account) && named(name, 64) && qualified
}

/// `arn:PARTITION:iam::ACCOUNT:role/PATH/NAME`
fn is_role(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts.as_slice() else { return false };
    let name = resource.strip_prefix("role/").is_some_and(|name| !name.is_empty() && !name.ends_with('/'));
    partition.starts_with("aws") && is_account(account) && name
}

fn check_early_success(
    configuration: &DeploymentConfiguration,
    strategy: &DeploymentStrategy,
) -> Result<(), ServiceError> {
    let Some(criteria) = configuration.early_success_criteria.as_ref().filter(|it| it.enable == Some(true)) else {
        return Ok(());
    };
    if *strategy != DeploymentStrategy::Rolling {
        return refused("earlySuccessCriteria are only valid with the deployment strategy ROLLING.");
    }
    let (Some(healthy), Some(_)) = (criteria.healthy_percent, &criteria.source_service_revision_cleanup) else {
        return refused(
            "earlySuccessCriteria need a healthyPercent and a sourceServiceRevisionCleanup when they are enabled.",
        );
    };
    let least = configuration.minimum_healthy_percent.unwrap_or(0);
    if healthy < least || healthy > 100 {
        return refused(format!(
            "healthyPercent is {healthy}; it must be between minimumHealthyPercent, which is {least}, and 100."
        ));
    }
    Ok(())
}

fn check_monitors(configuration: &DeploymentConfiguration) -> Result<(), ServiceError> {
    let breaker = configuration.deployment_circuit_breaker.as_ref();
    if let Some(threshold) = breaker.and_then(|it| it.threshold_configuration.as_ref()) {
        if let Some(ThresholdType::UnknownVariant(other)) = &threshold.r#type {
            return refused(format!(
                "The threshold type '{other}' is not valid: use COUNT, BOUNDED_PERCENT or UNBOUNDED_PERCENT."
            ));
        }
        if let Some(value) = threshold.value.filter(|value| *value < 1) {
            return refused(format!("The threshold value is {value}; it must be at least 1."));
        }
    }
    let alarms = configuration.alarms.as_ref().filter(|alarms| alarms.enable == Some(true));
    if alarms.is_some_and(|alarms| alarms.alarm_names.as_deref().unwrap_or_default().is_empty()) {
        return refused("alarmNames cannot be empty when deployment alarms are enabled.");
    }
    Ok(())
}
