//! Placement constraints and strategies of a request, read and checked.

use longshore_api::ServiceError;
use longshore_api::ecs::{
    Attribute as ApiAttribute, PlacementConstraint, PlacementConstraintType, PlacementStrategy, TaskDefinition, error,
};
use longshore_scheduler::{Attribute, Constraint, Query, Strategy};

/// Most constraints of a task, those of its definition included.
const MAX_CONSTRAINTS: usize = 10;
/// Most strategies of a call.
const MAX_STRATEGIES: usize = 5;

/// The constraints of the task definition and of the request.
///
/// # Errors
/// `InvalidParameterException`.
pub(crate) fn constraints(
    definition: &TaskDefinition,
    given: Option<&[PlacementConstraint]>,
) -> Result<Vec<Constraint>, ServiceError> {
    let own = definition.placement_constraints.as_deref().unwrap_or_default();
    let given = given.unwrap_or_default();
    let count = own.len() + given.len();
    if count > MAX_CONSTRAINTS {
        let message = format!(
            "{count} placement constraints are too many: the task definition's and the request's together can be {MAX_CONSTRAINTS}."
        );
        return Err(error::invalid_parameter_exception(message));
    }
    let mut constraints = Vec::with_capacity(count);
    for constraint in own {
        constraints.push(member_of(constraint.expression.as_deref())?);
    }
    for constraint in given {
        constraints.push(match &constraint.r#type {
            Some(PlacementConstraintType::DistinctInstance)
                if constraint.expression.as_deref().unwrap_or_default().is_empty() =>
            {
                Constraint::DistinctInstance
            }
            Some(PlacementConstraintType::DistinctInstance) => {
                let message = "The placement constraint distinctInstance takes no expression.";
                return Err(error::invalid_parameter_exception(message));
            }
            Some(PlacementConstraintType::MemberOf) => member_of(constraint.expression.as_deref())?,
            other => {
                let other = other.as_ref().map_or("", |kind| kind.as_str());
                let message =
                    format!("The placement constraint type '{other}' is not valid: use distinctInstance or memberOf.");
                return Err(error::invalid_parameter_exception(message));
            }
        });
    }
    Ok(constraints)
}

fn member_of(expression: Option<&str>) -> Result<Constraint, ServiceError> {
    let expression = expression.unwrap_or("");
    Query::parse(expression)
        .map(Constraint::MemberOf)
        .map_err(|error| error::invalid_parameter_exception(error.to_string()))
}

/// The strategies of the request, in order.
///
/// # Errors
/// `InvalidParameterException`.
pub(crate) fn strategies(given: Option<&[PlacementStrategy]>) -> Result<Vec<Strategy>, ServiceError> {
    let given = given.unwrap_or_default();
    if given.len() > MAX_STRATEGIES {
        let message = format!("{} placement strategies are too many: give at most {MAX_STRATEGIES}.", given.len());
        return Err(error::invalid_parameter_exception(message));
    }
    let read = |strategy: &PlacementStrategy| {
        let kind = strategy.r#type.as_ref().map_or("", |kind| kind.as_str());
        Strategy::read(kind, strategy.field.as_deref())
            .map_err(|error| error::invalid_parameter_exception(error.to_string()))
    };
    given.iter().map(read).collect()
}

/// The attributes that a container instance needs for the task.
pub(super) fn required_attributes(definition: &TaskDefinition) -> Vec<Attribute> {
    let required: &[ApiAttribute] = definition.requires_attributes.as_deref().unwrap_or_default();
    let required = required
        .iter()
        .filter_map(|attribute| Some(Attribute { name: attribute.name.clone()?, value: attribute.value.clone() }));
    required.collect()
}
