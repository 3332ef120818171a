//! Attributes of container instances (guide chapter 14, "Attributes").

use longshore_api::ServiceError;
use longshore_api::ecs::{Attribute, error};

/// Most custom attributes of one instance.
pub const MAX_CUSTOM_ATTRIBUTES: usize = 10;

/// Longest name and value.
const MAX_LENGTH: usize = 128;

/// Names of what only the agent and the system set.
const RESERVED: [&str; 2] = ["ecs.", "com.amazonaws.ecs."];

/// Whether an attribute is one that the agent or the system sets.
#[must_use]
pub fn is_built_in(name: &str) -> bool {
    RESERVED.iter().any(|prefix| name.starts_with(prefix))
}

/// Checks an attribute that a user puts.
///
/// # Errors
/// `InvalidParameterException` for a bad or reserved name, or a bad value.
pub fn check_custom(attribute: &Attribute) -> Result<(), ServiceError> {
    let name = attribute.name.as_deref().unwrap_or("");
    let name_character = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/\\.".contains(&byte);
    if name.is_empty() || name.len() > MAX_LENGTH || !name.bytes().all(name_character) {
        return Err(error::invalid_parameter_exception(format!(
            "The attribute name '{name}' is not valid: it must have 1 to {MAX_LENGTH} letters, digits, hyphens, underscores, slashes, back slashes or periods."
        )));
    }
    if is_built_in(name) {
        return Err(error::invalid_parameter_exception(format!(
            "The attribute name '{name}' is reserved: names beginning with ecs. or com.amazonaws.ecs. are set by the system."
        )));
    }
    let Some(value) = attribute.value.as_deref().filter(|value| !value.is_empty()) else { return Ok(()) };
    let value_character = |byte: u8| name_character(byte) || b"@: ".contains(&byte);
    let bad_ends = value.starts_with(' ') || value.ends_with(' ');
    if value.len() > MAX_LENGTH || bad_ends || !value.bytes().all(value_character) {
        return Err(error::invalid_parameter_exception(format!(
            "The value '{value}' of the attribute '{name}' is not valid: it must have 1 to {MAX_LENGTH} letters, digits, hyphens, underscores, periods, at signs, slashes, back slashes, colons or spaces, and not begin or end with a space."
        )));
    }
    Ok(())
}

/// Sets `attribute` among `attributes`, by name; without target members.
pub fn put(attributes: &mut Vec<Attribute>, attribute: &Attribute) {
    let kept = Attribute { name: attribute.name.clone(), value: attribute.value.clone(), ..Attribute::default() };
    match attributes.iter_mut().find(|known| known.name == kept.name) {
        Some(known) => *known = kept,
        None => attributes.push(kept),
    }
}

/// The value of the attribute called `name`.
#[must_use]
pub fn value<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a str> {
    attributes.iter().find(|attribute| attribute.name.as_deref() == Some(name))?.value.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(name: &str, value: &str) -> Attribute {
        Attribute { name: Some(name.to_owned()), value: Some(value.to_owned()), ..Attribute::default() }
    }

    #[test]
    fn names_and_values_are_checked() {
        for (name, value) in [("stack", "prod"), ("a.b/c\\d-e_f", "x@y:z w"), ("flag", "")] {
            assert!(check_custom(&attribute(name, value)).is_ok(), "{name}={value}");
        }
        for (name, value) in [("", "x"), ("a b", "x"), ("ecs.os-type", "x"), ("a", " x"), ("a", "x,y"), ("é", "x")] {
            assert!(check_custom(&attribute(name, value)).is_err(), "{name}={value}");
        }
        assert!(check_custom(&attribute("a", &"x".repeat(129))).is_err());
    }

    // spec: 14-055
    #[test]
    fn putting_an_existing_name_overwrites_it() {
        let mut attributes = vec![attribute("stack", "dev")];
        put(&mut attributes, &attribute("stack", "prod"));
        put(&mut attributes, &attribute("project", "a"));
        assert_eq!(value(&attributes, "stack"), Some("prod"));
        assert_eq!(attributes.len(), 2);
    }
}
