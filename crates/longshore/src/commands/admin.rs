//! `longshore account`, `key` and `token`.

use longshore_api::longshore as api;
use longshore_seams::Seams;
use serde_json::json;

use crate::cli::{AccountCommand, KeyCommand, OutputFormat, TokenCommand};
use crate::commands::api::Api;
use crate::output::{self, Failure};

/// Accounts.
///
/// # Errors
/// The API refuses.
pub async fn account(command: &AccountCommand, format: OutputFormat, seams: &Seams) -> Result<(), Failure> {
    match command {
        AccountCommand::Create { name, id, write_profile, api: args } => {
            let client = Api::new(args, seams)?;
            let request = api::CreateAccountRequest { name: Some(name.clone()), account_id: id.clone() };
            let answer: api::CreateAccountResponse = client.longshore("CreateAccount", &request).await?;
            let account = answer.account.and_then(|account| account.account_id).unwrap_or_default();
            show_key(&client, &account, answer.access_key, write_profile.as_deref(), format)
        }
        AccountCommand::List { api: args } => {
            let client = Api::new(args, seams)?;
            let mut accounts = Vec::new();
            let mut next_token = None;
            loop {
                let request = api::ListAccountsRequest { next_token, ..Default::default() };
                let answer: api::ListAccountsResponse = client.longshore("ListAccounts", &request).await?;
                accounts.extend(answer.accounts.unwrap_or_default());
                next_token = answer.next_token;
                if next_token.is_none() {
                    break;
                }
            }
            let rows: Vec<_> = accounts
                .iter()
                .map(|account| {
                    let operator = if account.operator == Some(true) { "operator" } else { "" };
                    let text = |text: &Option<String>| text.clone().unwrap_or_default();
                    vec![text(&account.account_id), text(&account.name), operator.to_owned()]
                })
                .collect();
            output::print(format, &json!({"accounts": accounts}), |_| output::table(&["ACCOUNT", "NAME", ""], &rows))
        }
    }
}

/// Access keys.
///
/// # Errors
/// The API refuses.
pub async fn key(command: &KeyCommand, format: OutputFormat, seams: &Seams) -> Result<(), Failure> {
    match command {
        KeyCommand::Create { account, write_profile, api: args } => {
            let client = Api::new(args, seams)?;
            let request = api::CreateAccessKeyRequest { account_id: account.clone() };
            let answer: api::CreateAccessKeyResponse = client.longshore("CreateAccessKey", &request).await?;
            let account = answer.access_key.as_ref().and_then(|key| key.account_id.clone()).unwrap_or_default();
            show_key(&client, &account, answer.access_key, write_profile.as_deref(), format)
        }
        KeyCommand::List { account, api: args } => {
            let client = Api::new(args, seams)?;
            let request = api::ListAccessKeysRequest { account_id: account.clone(), ..Default::default() };
            let answer: api::ListAccessKeysResponse = client.longshore("ListAccessKeys", &request).await?;
            let keys = answer.access_keys.unwrap_or_default();
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let rows: Vec<_> = keys.iter().map(|key| vec![text(&key.access_key_id), text(&key.account_id)]).collect();
            output::print(format, &json!({"accessKeys": keys}), |_| output::table(&["KEY", "ACCOUNT"], &rows))
        }
        KeyCommand::Delete { id, api: args } => {
            let client = Api::new(args, seams)?;
            let request = api::DeleteAccessKeyRequest { access_key_id: Some(id.clone()) };
            let _: api::DeleteAccessKeyResponse = client.longshore("DeleteAccessKey", &request).await?;
            output::print(format, &json!({"deleted": id}), |_| format!("Deleted {id}."))
        }
    }
}

/// Join tokens.
///
/// # Errors
/// The API refuses.
pub async fn token(command: &TokenCommand, format: OutputFormat, seams: &Seams) -> Result<(), Failure> {
    let TokenCommand::Create { cluster, expires_in, api: args } = command;
    let client = Api::new(args, seams)?;
    let request = api::CreateJoinTokenRequest {
        cluster: Some(cluster.clone()),
        lifetime_seconds: Some(*expires_in),
        ..Default::default()
    };
    let answer: api::CreateJoinTokenResponse = client.longshore("CreateJoinToken", &request).await?;
    let token = answer.token.unwrap_or_default();
    let endpoint = client.endpoint().to_owned();
    let json = json!({"token": token, "cluster": cluster, "endpoint": endpoint, "expiresAt": answer.expires_at});
    output::print(format, &json, |_| format!("longshore agent --join {endpoint} --token {token}"))
}

/// Shows a new key once, or puts it into a profile and shows nothing of its secret.
fn show_key(
    client: &Api,
    account: &str,
    key: Option<api::AccessKeyCredentials>,
    profile: Option<&str>,
    format: OutputFormat,
) -> Result<(), Failure> {
    let key = key.unwrap_or_default();
    let (id, secret) = (key.access_key_id.unwrap_or_default(), key.secret_access_key.unwrap_or_default());
    if let Some(profile) = profile {
        crate::first_start::write_profile(profile, client.endpoint(), client.region(), &id, &secret)?;
        let json = json!({"account": account, "accessKeyId": id, "profile": profile});
        return output::print(format, &json, |_| format!("Account {account}: key {id} is in profile {profile}."));
    }
    let json = json!({"account": account, "accessKeyId": id, "secretAccessKey": secret});
    output::print(format, &json, |_| {
        format!(
            "Account {account}. This secret is shown once and can't be shown again:\nAWS_ACCESS_KEY_ID={id}\nAWS_SECRET_ACCESS_KEY={secret}"
        )
    })
}
