//! ListAccountSettings, PutAccountSetting, PutAccountSettingDefault and DeleteAccountSetting.

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    DeleteAccountSettingRequest, DeleteAccountSettingResponse, ListAccountSettingsRequest, ListAccountSettingsResponse,
    PutAccountSettingDefaultRequest, PutAccountSettingDefaultResponse, PutAccountSettingRequest,
    PutAccountSettingResponse, Setting, error,
};
use longshore_model::Scope;
use longshore_model::account_setting::{self, AccountSettingRecord, DEFINITIONS, Definition};
use longshore_wire::RequestContext;

use crate::changes::Change;
use crate::engine::Engine;
use crate::pagination::PageRequest;
use crate::service::scope_of;
use crate::state::ScopeState;

/// Most settings in one page.
const MOST: usize = 10;

/// What `principal` chose of a setting; `None` when it made no choice.
fn chosen<'a>(state: &'a ScopeState, definition: &Definition, principal: &str) -> Option<&'a str> {
    let key = (definition.name.to_owned(), principal.to_owned());
    state.account_settings.get(&key).map(|record| record.value.as_str())
}

/// The value of a setting that holds for `principal`: its own choice, else the account's, else the default.
fn effective<'a>(state: &'a ScopeState, scope: &Scope, definition: &Definition, principal: &str) -> &'a str {
    chosen(state, definition, principal)
        .or_else(|| chosen(state, definition, &account_setting::root(scope)))
        .unwrap_or_else(|| definition.default_value())
}

/// The value of the setting called `name` that holds for the caller.
pub(crate) fn effective_for<'a>(state: &'a ScopeState, context: &RequestContext, name: &str) -> Option<&'a str> {
    let scope = scope_of(context);
    let principal = account_setting::principal(&scope, &context.principal.arn()).ok()?;
    Definition::find(name).map(|definition| effective(state, &scope, definition, &principal))
}

/// Whether what `principal` (an ARN) makes has ids and ARNs in the short format; `setting` is one of the
/// `…LongArnFormat`.
pub(crate) fn wants_short_arns(state: &ScopeState, scope: &Scope, principal: &str, setting: &str) -> bool {
    let Ok(principal) = account_setting::principal(scope, principal) else { return false };
    Definition::find(setting).is_some_and(|setting| effective(state, scope, setting, &principal) == "disabled")
}

/// Tags belong to resources with long ARNs only: refuses the first of `asked` that was asked for.
///
/// # Errors
/// `InvalidParameterException`.
pub(crate) fn check_taggable(short_arn: bool, asked: &[(&str, bool)]) -> Result<(), ServiceError> {
    match asked.iter().find(|(_, asked)| *asked && short_arn) {
        Some((what, _)) => Err(error::invalid_parameter_exception(format!(
            "The new ARN and resource ID format must be enabled to {what}. Opt in to the new format and try again."
        ))),
        None => Ok(()),
    }
}

/// The principal that a request is about: the one that it names, else the caller.
fn principal(scope: &Scope, context: &RequestContext, named: Option<&str>) -> Result<String, ServiceError> {
    match named.filter(|named| !named.is_empty()) {
        Some(named) => account_setting::principal(scope, named),
        None => account_setting::principal(scope, &context.principal.arn()),
    }
}

/// Lists a principal's own choices, or with `effectiveSettings` what holds for it; by name.
///
/// # Errors
/// `InvalidParameterException` for an unknown name, a value without a name, a principal of another
/// account, a page size out of range or a foreign token.
pub async fn list(
    engine: &Engine,
    context: &RequestContext,
    input: ListAccountSettingsRequest,
) -> Result<ListAccountSettingsResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.name.as_ref().map(|name| Definition::named(Some(name))).transpose()?;
    if input.value.is_some() && named.is_none() {
        let message = "A value was given without a name: give the name of the setting as well.";
        return Err(error::invalid_parameter_exception(message));
    }
    let principal = principal(&scope, context, input.principal_arn.as_deref())?;
    let size = input.max_results.filter(|size| *size != 0).map(i64::from);
    let page = PageRequest::parse("ListAccountSettings", size, input.next_token.as_deref(), MOST)?;
    let everything = input.effective_settings.unwrap_or(false);
    let (settings, next_token) = engine
        .read(|state| {
            let state = state.scope(&scope);
            let settings = DEFINITIONS.iter().filter_map(|definition| {
                let chosen = chosen(state, definition, &principal);
                let value = if everything { Some(effective(state, &scope, definition, &principal)) } else { chosen }?;
                let wanted = named.is_none_or(|named| named == definition)
                    && input.value.as_deref().is_none_or(|wanted| wanted == value)
                    && page.after.as_deref().is_none_or(|after| definition.name > after);
                wanted.then(|| (definition.name.to_owned(), definition.view(value, &principal)))
            });
            page.take(settings)
        })
        .await;
    Ok(ListAccountSettingsResponse { settings: Some(settings), next_token })
}

/// Sets a setting for the caller, or for the principal that it names. The root's choice is the account's default.
///
/// # Errors
/// `InvalidParameterException` for an unknown name, a value that the setting has not, or a principal
/// that can't have it.
pub async fn put(
    engine: &Engine,
    context: &RequestContext,
    input: PutAccountSettingRequest,
) -> Result<PutAccountSettingResponse, ServiceError> {
    let scope = scope_of(context);
    let definition = Definition::named(input.name.as_ref())?;
    let value = input.value.unwrap_or_default();
    definition.check_value(&value)?;
    let principal = principal(&scope, context, input.principal_arn.as_deref())?;
    if definition.account_wide && principal != account_setting::root(&scope) {
        return Err(error::invalid_parameter_exception(format!(
            "The setting {} is for the whole account: only the root user can have it, not {principal}.",
            definition.name
        )));
    }
    let setting = choose(engine, scope, definition, value, principal).await?;
    Ok(PutAccountSettingResponse { setting: Some(setting) })
}

/// Sets a setting for all principals of the account that have made no choice of their own.
///
/// # Errors
/// `InvalidParameterException` for an unknown name or a value that the setting has not.
pub async fn put_default(
    engine: &Engine,
    context: &RequestContext,
    input: PutAccountSettingDefaultRequest,
) -> Result<PutAccountSettingDefaultResponse, ServiceError> {
    let scope = scope_of(context);
    let definition = Definition::named(input.name.as_ref())?;
    let value = input.value.unwrap_or_default();
    definition.check_value(&value)?;
    let root = account_setting::root(&scope);
    let setting = choose(engine, scope, definition, value, root).await?;
    Ok(PutAccountSettingDefaultResponse { setting: Some(setting) })
}

async fn choose(
    engine: &Engine,
    scope: Scope,
    definition: &'static Definition,
    value: String,
    principal: String,
) -> Result<Setting, ServiceError> {
    engine
        .write(|state, changes| {
            let setting = definition.view(&value, &principal);
            if chosen(state.scope(&scope), definition, &principal) != Some(value.as_str()) {
                let record = AccountSettingRecord { principal, name: definition.name.to_owned(), value };
                changes.push(Change::PutAccountSetting(scope, Arc::new(record)));
            }
            Ok(setting)
        })
        .await
}

/// Takes a principal's choice back; answers what was chosen, or what holds when nothing was.
///
/// # Errors
/// `InvalidParameterException` for an unknown name or a principal of another account.
pub async fn delete(
    engine: &Engine,
    context: &RequestContext,
    input: DeleteAccountSettingRequest,
) -> Result<DeleteAccountSettingResponse, ServiceError> {
    let scope = scope_of(context);
    let definition = Definition::named(input.name.as_ref())?;
    let principal = principal(&scope, context, input.principal_arn.as_deref())?;
    let setting = engine
        .write(|state, changes| {
            let setting = definition.view(effective(state.scope(&scope), &scope, definition, &principal), &principal);
            if chosen(state.scope(&scope), definition, &principal).is_some() {
                changes.push(Change::DeleteAccountSetting(scope, definition.name.to_owned(), principal));
            }
            Ok::<_, ServiceError>(setting)
        })
        .await?;
    Ok(DeleteAccountSettingResponse { setting: Some(setting) })
}

#[cfg(test)]
mod tests {
    use longshore_wire::Principal;
    use serde_json::{Value, json};

    use crate::operations::testing::{ACCOUNT, World};

    const ROOT: &str = "arn:aws:iam::123456789012:root";
    const ANN: &str = "arn:aws:iam::123456789012:user/ann";
    const ROLE: &str = "arn:aws:iam::123456789012:role/ecsInstanceRole";

    async fn effective(world: &World, name: &str, principal: Option<&str>) -> Value {
        let input = json!({"name": name, "effectiveSettings": true, "principalArn": principal});
        let settings = world.ok("ListAccountSettings", input).await["settings"].clone();
        assert_eq!(settings.as_array().unwrap().len(), 1, "{settings}");
        settings[0]["value"].clone()
    }

    // spec: 09-001, 09-021
    #[tokio::test]
    async fn effective_settings_are_all_settings_with_their_defaults() {
        let world = World::new().await;
        let first = world.ok("ListAccountSettings", json!({"effectiveSettings": true})).await;
        let rest = json!({"effectiveSettings": true, "nextToken": first["nextToken"]});
        let rest = world.ok("ListAccountSettings", rest).await;
        assert_eq!(rest.get("nextToken"), None);
        let mut all = first["settings"].as_array().unwrap().clone();
        assert_eq!(all.len(), 10);
        all.extend(rest["settings"].as_array().unwrap().clone());
        assert!(all.iter().all(|setting| setting["principalArn"] == ROOT));
        let pairs: Vec<_> =
            all.iter().map(|it| (it["name"].as_str().unwrap(), it["value"].as_str().unwrap())).collect();
        for pair in [
            ("serviceLongArnFormat", "enabled"),
            ("taskLongArnFormat", "enabled"),
            ("containerInstanceLongArnFormat", "enabled"),
            ("awsvpcTrunking", "disabled"),
            ("containerInsights", "disabled"),
            ("fargateTaskRetirementWaitPeriod", "7"),
            ("tagResourceAuthorization", "on"),
        ] {
            assert!(pairs.contains(&pair), "{pair:?} in {pairs:?}");
        }
        let managed = all.iter().find(|setting| setting["name"] == "guardDutyActivate").unwrap();
        assert_eq!(managed["type"], "aws_managed");
        assert_eq!(world.ok("ListAccountSettings", json!({})).await, json!({"settings": []}));
    }

    // spec: 09-008, 09-009, 09-010, 09-022, 09-023, 09-024, 09-025
    #[tokio::test]
    async fn a_principals_own_choice_wins_over_the_accounts() {
        let world = World::new().await;
        let put = |value: &str, principal: Option<&str>| json!({"name": "awsvpcTrunking", "value": value, "principalArn": principal});
        let default = json!({"name": "awsvpcTrunking", "value": "enabled"});
        let answer = world.ok("PutAccountSettingDefault", default).await;
        let expected = |value: &str, principal: &str| json!({"setting": {"name": "awsvpcTrunking", "value": value, "principalArn": principal, "type": "user"}});
        assert_eq!(answer, expected("enabled", ROOT));
        assert_eq!(effective(&world, "awsvpcTrunking", Some(ANN)).await, "enabled");
        assert_eq!(world.ok("PutAccountSetting", put("disabled", Some(ANN))).await, expected("disabled", ANN));
        assert_eq!(effective(&world, "awsvpcTrunking", Some(ANN)).await, "disabled");
        assert_eq!(effective(&world, "awsvpcTrunking", Some(ROLE)).await, "enabled");
        // The root's own choice is the account's default.
        assert_eq!(world.ok("PutAccountSetting", put("disabled", None)).await, expected("disabled", ROOT));
        assert_eq!(effective(&world, "awsvpcTrunking", Some(ROLE)).await, "disabled");
        let world = world.restarted().await;
        let delete = json!({"name": "awsvpcTrunking", "principalArn": ANN});
        assert_eq!(world.ok("DeleteAccountSetting", delete.clone()).await, expected("disabled", ANN));
        world.ok("PutAccountSetting", put("enabled", Some(ROOT))).await;
        assert_eq!(effective(&world, "awsvpcTrunking", Some(ANN)).await, "enabled");
        assert_eq!(world.ok("DeleteAccountSetting", delete).await, expected("enabled", ANN));
    }

    // spec: 09-007, 09-008
    #[tokio::test]
    async fn a_caller_that_is_not_the_root_chooses_for_itself() {
        let mut world = World::new().await;
        world.context.principal = Principal::ContainerInstance {
            account: ACCOUNT.to_owned(),
            region: world.context.region.clone(),
            grant: "g".to_owned(),
        };
        let put = json!({"name": "containerInsights", "value": "enhanced"});
        assert_eq!(world.ok("PutAccountSetting", put).await["setting"]["principalArn"], ROLE);
        assert_eq!(effective(&world, "containerInsights", None).await, "enhanced");
        assert_eq!(effective(&world, "containerInsights", Some(ROOT)).await, "disabled");
        // It may set what holds for all others, too.
        world.ok("PutAccountSettingDefault", json!({"name": "awsvpcTrunking", "value": "enabled"})).await;
        assert_eq!(effective(&world, "awsvpcTrunking", Some(ROOT)).await, "enabled");
    }

    // spec: 09-006
    #[tokio::test]
    async fn regions_have_settings_of_their_own() {
        let world = World::new().await;
        world.ok("PutAccountSetting", json!({"name": "awsvpcTrunking", "value": "enabled"})).await;
        let world = world.in_region("us-west-2");
        assert_eq!(effective(&world, "awsvpcTrunking", None).await, "disabled");
    }

    // spec: 09-004
    #[tokio::test]
    async fn new_clusters_have_the_callers_container_insights_unless_given_their_own() {
        let world = World::new().await;
        world.ok("CreateCluster", json!({"clusterName": "old"})).await;
        world.ok("PutAccountSetting", json!({"name": "containerInsights", "value": "enabled"})).await;
        world.ok("CreateCluster", json!({"clusterName": "new"})).await;
        let off = json!([{"name": "containerInsights", "value": "disabled"}]);
        world.ok("CreateCluster", json!({"clusterName": "off", "settings": off})).await;
        let input = json!({"clusters": ["old", "new", "off"], "include": ["SETTINGS"]});
        let clusters = world.ok("DescribeClusters", input).await["clusters"].clone();
        let values = [0, 1, 2].map(|at| clusters[at]["settings"][0]["value"].clone());
        assert_eq!(values, ["disabled", "enabled", "disabled"]);
    }

    #[tokio::test]
    async fn a_page_and_a_filter_take_what_they_say() {
        let world = World::new().await;
        let names = ["taskLongArnFormat", "awsvpcTrunking", "serviceLongArnFormat"];
        for name in names {
            world.ok("PutAccountSetting", json!({"name": name, "value": "disabled"})).await;
        }
        let first = world.ok("ListAccountSettings", json!({"maxResults": 2})).await;
        let name = |page: &Value, at: usize| page["settings"][at]["name"].clone();
        assert_eq!((name(&first, 0), name(&first, 1)), (json!("awsvpcTrunking"), json!("serviceLongArnFormat")));
        let rest = world.ok("ListAccountSettings", json!({"nextToken": first["nextToken"]})).await;
        assert_eq!((name(&rest, 0), rest.get("nextToken")), (json!("taskLongArnFormat"), None));
        let filtered = json!({"name": "taskLongArnFormat", "value": "enabled"});
        assert_eq!(world.ok("ListAccountSettings", filtered).await, json!({"settings": []}));
    }

    // spec: 09-001
    #[tokio::test]
    async fn unknown_names_values_and_principals_are_refused() {
        let world = World::new().await;
        let put = |name: &str, value: &str| json!({"name": name, "value": value});
        for input in [
            put("colour", "enabled"),
            put("taskLongArnFormat", "on"),
            put("taskLongArnFormat", ""),
            put("tagResourceAuthorization", "enabled"),
            put("fargateTaskRetirementWaitPeriod", "8"),
            put("guardDutyActivate", "on"),
        ] {
            for operation in ["PutAccountSetting", "PutAccountSettingDefault"] {
                assert_eq!(world.refused(operation, input.clone()).await.0, "InvalidParameterException", "{input}");
            }
        }
        let of = |arn: &str| json!({"name": "taskLongArnFormat", "value": "enabled", "principalArn": arn});
        for arn in ["ann", "arn:aws:iam::210987654321:root", "arn:aws:ecs:eu-west-1:123456789012:cluster/c"] {
            assert_eq!(world.refused("PutAccountSetting", of(arn)).await.0, "InvalidParameterException", "{arn}");
        }
        let wait = json!({"name": "fargateTaskRetirementWaitPeriod", "value": "14", "principalArn": ANN});
        assert_eq!(world.refused("PutAccountSetting", wait).await.0, "InvalidParameterException");
        let value_alone = json!({"value": "enabled"});
        assert_eq!(world.refused("ListAccountSettings", value_alone).await.0, "InvalidParameterException");
    }
}
