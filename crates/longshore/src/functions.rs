//! The Lambda functions of deployment lifecycle hooks, at the endpoint that the operator names.

use std::sync::Arc;
use std::time::Duration;

use longshore_client::{Answer, Client, ClientError, Credentials, CredentialsProvider, Options};
use longshore_control::reconcilers::{HookFunctions, InvocationError, NoFunctions};
use longshore_seams::{BoxFuture, Seams};

use crate::cli::ServerArgs;
use crate::output::Failure;

/// Environment variables with the keys that invocations are signed with.
const KEY: (&str, &str, &str) =
    ("LONGSHORE_LAMBDA_ACCESS_KEY_ID", "LONGSHORE_LAMBDA_SECRET_ACCESS_KEY", "LONGSHORE_LAMBDA_SESSION_TOKEN");
/// How long an invocation may take: longer than Lambda lets a function run, so that its own answer comes first.
const LONGEST: Duration = Duration::from_secs(905);
/// How an endpoint ends that is the whole path of an invocation already.
const INVOCATIONS: &str = "/invocations";
/// Longest part of an error's text that a reason quotes, in characters.
const QUOTED: usize = 300;

/// The functions at the endpoint of the settings; none without one.
///
/// # Errors
/// The endpoint is no URL, the certificate authority can't be read, or half a key is given.
pub fn open(args: &ServerArgs, seams: &Seams) -> Result<Arc<dyn HookFunctions>, Failure> {
    let Some(url) = args.lambda_endpoint.as_deref().filter(|url| !url.is_empty()) else {
        return Ok(Arc::new(NoFunctions));
    };
    let (base, path) = split(url);
    let mut options = Options::new(base, args.region.clone());
    options.ca_file.clone_from(&args.lambda_ca_file);
    options.timeout = LONGEST;
    let keys = Keys(keys()?);
    let client = Client::new(options, Arc::new(keys), seams.clone())
        .map_err(|error| Failure::usage(format!("--lambda-endpoint: {error}")))?;
    Ok(Arc::new(LambdaApi { client, path }))
}

/// An endpoint, and the path to which every invocation goes when it names one.
fn split(url: &str) -> (&str, Option<String>) {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    match url[after_scheme..].find('/').map(|at| after_scheme + at) {
        Some(at) if url.ends_with(INVOCATIONS) => (&url[..at], Some(url[at..].to_owned())),
        _ => (url.trim_end_matches('/'), None),
    }
}

fn keys() -> Result<Option<Credentials>, Failure> {
    let read = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    match (read(KEY.0), read(KEY.1)) {
        (Some(access_key_id), Some(secret_access_key)) => {
            Ok(Some(Credentials { access_key_id, secret_access_key, session_token: read(KEY.2) }))
        }
        (None, None) => Ok(None),
        _ => Err(Failure::usage(format!("{} and {} must both be set, or none of them", KEY.0, KEY.1))),
    }
}

/// Keys, or none.
#[derive(Debug)]
struct Keys(Option<Credentials>);

impl CredentialsProvider for Keys {
    fn credentials(&self) -> Option<Credentials> {
        self.0.clone()
    }
}

/// A Lambda API.
#[derive(Debug)]
struct LambdaApi {
    client: Client,
    path: Option<String>,
}

impl HookFunctions for LambdaApi {
    fn are_there(&self) -> bool {
        true
    }

    fn invoke<'a>(&'a self, function: &'a str, event: Vec<u8>) -> BoxFuture<'a, Result<Vec<u8>, InvocationError>> {
        Box::pin(async move {
            let path = self.path.clone().unwrap_or_else(|| path_of(function));
            let region = function.split(':').nth(3).unwrap_or_default();
            match self.client.post(&path, "lambda", region, event).await {
                Ok(answer) => returned(&answer),
                Err(error @ (ClientError::Connect { .. } | ClientError::Broken { .. })) => {
                    // The second line is a hint for whoever typed a command.
                    let text = error.to_string();
                    Err(InvocationError::Unreachable(text.lines().next().unwrap_or_default().to_owned()))
                }
                Err(error) => Err(InvocationError::Failed(error.to_string())),
            }
        })
    }
}

/// The path of Invoke for a function.
fn path_of(function: &str) -> String {
    let mut path = "/2015-03-31/functions/".to_owned();
    for byte in function.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => path.push(char::from(byte)),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path + INVOCATIONS
}

/// What the function returned, or why it did not.
fn returned(answer: &Answer) -> Result<Vec<u8>, InvocationError> {
    let quoted: String = String::from_utf8_lossy(&answer.body).trim().chars().take(QUOTED).collect();
    let status = answer.status.as_u16();
    if status == 429 || status >= 500 {
        return Err(InvocationError::Unreachable(format!("the Lambda API answered {status}: {quoted}")));
    }
    if !answer.status.is_success() {
        return Err(InvocationError::Failed(format!("the Lambda API refused to invoke it with {status}: {quoted}")));
    }
    if let Some(kind) = answer.headers.get("x-amz-function-error") {
        let kind = String::from_utf8_lossy(kind.as_bytes()).into_owned();
        return Err(InvocationError::Failed(format!("the function failed ({kind}): {quoted}")));
    }
    Ok(answer.body.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_s_arn_is_one_part_of_the_path() {
        let path = path_of("arn:aws:lambda:eu-west-1:123456789012:function:check:live");
        let arn = "arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Acheck%3Alive";
        assert_eq!(path, format!("/2015-03-31/functions/{arn}/invocations"));
    }

    #[test]
    fn an_endpoint_may_be_the_whole_path_of_one_function() {
        assert_eq!(split("http://127.0.0.1:9000/"), ("http://127.0.0.1:9000", None));
        assert_eq!(split("https://lambda.test"), ("https://lambda.test", None));
        let (base, path) = split("http://h:9000/2015-03-31/functions/function/invocations");
        assert_eq!((base, path.as_deref()), ("http://h:9000", Some("/2015-03-31/functions/function/invocations")));
    }
}
