//! Account settings: their names, values and defaults, and whose choice counts (guide chapter 9).

use longshore_api::ServiceError;
use longshore_api::ecs::{Setting, SettingName, SettingType, error};
use serde::{Deserialize, Serialize};

use crate::record::Record;
use crate::{Arn, Scope};

/// A choice of one principal, for one account and region. The root's is the account's default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountSettingRecord {
    /// ARN of the user, role or root that it is for.
    pub principal: String,
    /// Its name.
    pub name: String,
    /// What was chosen.
    pub value: String,
}

impl Record for AccountSettingRecord {
    const KIND: &'static str = "account setting";
    const FORMAT: u8 = 1;
}

/// What there is to say about a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name.
    pub name: &'static str,
    /// What it may be set to, the default first.
    pub values: &'static [&'static str],
    /// Whether AWS sets it, not its users.
    pub aws_managed: bool,
    /// Whether it is for the whole account only.
    pub account_wide: bool,
}

const fn setting(name: &'static str, values: &'static [&'static str]) -> Definition {
    Definition { name, values, aws_managed: false, account_wide: false }
}

/// All settings of the API model, by name. Defaults are those that new AWS accounts have today.
pub const DEFINITIONS: &[Definition] = &[
    setting("awsvpcTrunking", &["disabled", "enabled"]),
    setting("containerInsights", &["disabled", "enabled", "enhanced"]),
    setting("containerInstanceLongArnFormat", &["enabled", "disabled"]),
    setting("defaultLogDriverMode", &["non-blocking", "blocking"]),
    setting("fargateEventWindows", &["disabled", "enabled"]),
    setting("fargateFIPSMode", &["disabled", "enabled"]),
    Definition { account_wide: true, ..setting("fargateTaskRetirementWaitPeriod", &["7", "0", "14"]) },
    Definition { aws_managed: true, ..setting("guardDutyActivate", &["off", "on"]) },
    setting("serviceLongArnFormat", &["enabled", "disabled"]),
    setting("tagResourceAuthorization", &["on", "off"]),
    setting("taskLongArnFormat", &["enabled", "disabled"]),
];

impl Definition {
    /// The setting called `name`.
    ///
    /// # Errors
    /// `InvalidParameterException` when there is none.
    pub fn named(name: Option<&SettingName>) -> Result<&'static Self, ServiceError> {
        let name = name.map_or("null", SettingName::as_str);
        Self::find(name).ok_or_else(|| {
            let known: Vec<_> = DEFINITIONS.iter().map(|known| known.name).collect();
            let message = format!("Invalid setting name '{name}'. The settings are {}.", known.join(", "));
            error::invalid_parameter_exception(message)
        })
    }

    /// The setting called `name`.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        DEFINITIONS.iter().find(|known| known.name == name)
    }

    /// What it is where nobody has chosen.
    #[must_use]
    pub fn default_value(&self) -> &'static str {
        self.values[0]
    }

    /// Whether its users may set it to `value`.
    ///
    /// # Errors
    /// `InvalidParameterException`.
    pub fn check_value(&self, value: &str) -> Result<(), ServiceError> {
        if self.aws_managed {
            return Err(error::invalid_parameter_exception(format!(
                "The setting {} is managed by AWS and can only be read.",
                self.name
            )));
        }
        if self.values.contains(&value) {
            return Ok(());
        }
        Err(error::invalid_parameter_exception(format!(
            "Invalid value '{value}' of the setting {}. Valid values are {}.",
            self.name,
            self.values.join(", ")
        )))
    }

    /// The setting as answers show it.
    #[must_use]
    pub fn view(&self, value: &str, principal: &str) -> Setting {
        Setting {
            name: Some(SettingName::from(self.name)),
            value: Some(value.to_owned()),
            principal_arn: Some(principal.to_owned()),
            r#type: Some(if self.aws_managed { SettingType::AwsManaged } else { SettingType::User }),
        }
    }
}

/// ARN of the account's root, whose choices are the account's defaults.
#[must_use]
pub fn root(scope: &Scope) -> String {
    format!("arn:{}:iam::{}:root", scope.partition(), scope.account)
}

/// The principal that `arn` has settings as: itself, or the role behind an assumed role's session.
///
/// # Errors
/// `InvalidParameterException` for anything but a user, a role or the root of the scope's account.
pub fn principal(scope: &Scope, arn: &str) -> Result<String, ServiceError> {
    let parsed = Arn::parse(arn).filter(|parsed| parsed.region.is_empty() && parsed.account == scope.account);
    let found = parsed.and_then(|parsed| match parsed.service {
        "iam" => {
            let named = |kind| parsed.resource_of(kind).is_some_and(|name| !name.is_empty());
            (parsed.resource == "root" || named("user") || named("role")).then(|| arn.to_owned())
        }
        "sts" => {
            let (role, _) = parsed.resource_of("assumed-role")?.split_once('/')?;
            Some(format!("arn:{}:iam::{}:role/{role}", parsed.partition, parsed.account))
        }
        _ => None,
    });
    found.ok_or_else(|| {
        error::invalid_parameter_exception(format!(
            "Invalid principalArn: {arn} is no user, role or root of the account {}.",
            scope.account
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_of_the_model_is_defined_in_order() {
        assert!(DEFINITIONS.is_sorted_by_key(|definition| definition.name));
        for definition in DEFINITIONS {
            assert!(!matches!(SettingName::from(definition.name), SettingName::UnknownVariant(_)), "{definition:?}");
        }
    }

    #[test]
    fn principals_are_users_roles_and_the_root_of_the_account() {
        let scope = Scope::new("123456789012", "eu-west-1");
        for arn in ["root", "user/ann", "user/a/path/ann", "role/r"] {
            let arn = format!("arn:aws:iam::123456789012:{arn}");
            assert_eq!(principal(&scope, &arn).unwrap(), arn);
        }
        let session = "arn:aws:sts::123456789012:assumed-role/r/session";
        assert_eq!(principal(&scope, session).unwrap(), "arn:aws:iam::123456789012:role/r");
        for arn in ["arn:aws:iam::210987654321:root", "arn:aws:iam::123456789012:user/", "ann", ""] {
            assert_eq!(principal(&scope, arn).unwrap_err().code, "InvalidParameterException", "{arn}");
        }
    }
}
