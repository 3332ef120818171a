//! What a first start leaves with its user: a profile for the aws CLI.

use longshore_client::profile::{self, Environment, ProfileError};

use crate::datadir::DataDir;
use crate::output::Failure;

/// The profile that a first start makes, if no other Longshore has it.
const PROFILE: &str = "longshore";

/// Puts a key into the profile `name` of the aws CLI's files, which are extended, never overwritten.
///
/// # Errors
/// The profile is there with other values, or the files can't be written.
pub fn write_profile(name: &str, endpoint: &str, region: &str, key: &str, secret: &str) -> Result<(), Failure> {
    extend(name, endpoint, region, key, secret).map_err(|error| Failure::failed(error.to_string()))
}

fn extend(name: &str, endpoint: &str, region: &str, key: &str, secret: &str) -> Result<(), ProfileError> {
    let environment = Environment::of_process();
    let (config, credentials) = (environment.config_file()?, environment.credentials_file()?);
    // The credentials come first: a profile with an endpoint but no key would be the worse half.
    let keys = [("aws_access_key_id", key), ("aws_secret_access_key", secret)];
    profile::extend(&credentials, name, &keys, false)?;
    let section = format!("profile {name}");
    profile::extend(&config, &section, &[("region", region), ("endpoint_url", endpoint)], false)?;
    Ok(())
}

/// What to tell the user about the profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// The profile was made.
    Made(String),
    /// It couldn't be: why.
    Failed(String),
}

/// Makes a profile for a first start; with a name of its own when `longshore` is taken. The name is kept in the
/// data directory's file `profile`.
#[must_use]
pub fn make_profile(dir: &DataDir, endpoint: &str, region: &str, key: &str, secret: &str) -> Greeting {
    let own = format!("{PROFILE}-{}", dir.id());
    for name in [PROFILE, &own] {
        match extend(name, endpoint, region, key, secret) {
            Ok(()) => {
                // Only a help for scripts: the profile itself is what counts.
                let _ = std::fs::write(dir.path().join("profile"), format!("{name}\n"));
                return Greeting::Made(name.to_owned());
            }
            Err(ProfileError::Taken { .. }) => {}
            Err(error) => return Greeting::Failed(error.to_string()),
        }
    }
    Greeting::Failed(format!("the profiles {PROFILE} and {own} are both taken"))
}
