//! AWS profiles: which endpoint, region and keys a command uses, and the profile that the first
//! start adds to the user's files.
//!
//! Files and variables are those of the aws CLI and the SDKs: `~/.aws/config`,
//! `~/.aws/credentials`, `AWS_PROFILE`, `AWS_ENDPOINT_URL` and so on.

mod extend;
mod ini;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use longshore_sigv4::Credentials;

pub use extend::{Extended, extend};
use ini::Ini;

/// The profile that a command uses when none is named.
pub const DEFAULT_PROFILE: &str = "longshore";

/// The endpoint when neither variables nor profile name one.
pub const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:4747";

/// The region when neither variables nor profile name one.
pub const DEFAULT_REGION: &str = "us-east-1";

/// AWS files that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The file system said no.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A profile that was asked for and is in neither file.
    #[error("there is no profile '{profile}' in {} or {}", config.display(), credentials.display())]
    NoProfile {
        /// The profile.
        profile: String,
        /// The config file.
        config: PathBuf,
        /// The credentials file.
        credentials: PathBuf,
    },
    /// One half of a key.
    #[error("{place} has {has} but not {lacks}: give both or neither")]
    HalfKey {
        /// Where.
        place: String,
        /// The half that is there.
        has: &'static str,
        /// The half that is not.
        lacks: &'static str,
    },
    /// No home directory, and no variable that says where the files are.
    #[error("cannot tell where AWS's files are: set HOME, or AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE")]
    NoHome,
    /// A section that says something else.
    #[error("{} has a section [{section}] already, in which {key} is another: remove the section, or choose another profile", path.display())]
    Taken {
        /// The file.
        path: PathBuf,
        /// The section.
        section: String,
        /// The first setting that differs.
        key: String,
    },
    /// A value that would break the file.
    #[error("the value of {key} cannot stand in an AWS file: it has a line break")]
    Unwritable {
        /// The setting.
        key: String,
    },
}

/// The environment variables that matter here; taken once, so that tests can make their own.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The process's own.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars().filter(|(name, _)| name == "HOME" || name.starts_with("AWS_")).collect()
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The config file: `AWS_CONFIG_FILE`, else `~/.aws/config`.
    ///
    /// # Errors
    /// No home directory.
    pub fn config_file(&self) -> Result<PathBuf, ProfileError> {
        self.file("AWS_CONFIG_FILE", ".aws/config")
    }

    /// The credentials file: `AWS_SHARED_CREDENTIALS_FILE`, else `~/.aws/credentials`.
    ///
    /// # Errors
    /// No home directory.
    pub fn credentials_file(&self) -> Result<PathBuf, ProfileError> {
        self.file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials")
    }

    fn file(&self, variable: &str, default: &str) -> Result<PathBuf, ProfileError> {
        let home = self.get("HOME");
        match (self.get(variable), home) {
            (Some(named), Some(home)) if named.starts_with("~/") => Ok(Path::new(home).join(&named[2..])),
            (Some(named), _) => Ok(PathBuf::from(named)),
            (None, Some(home)) => Ok(Path::new(home).join(default)),
            (None, None) => Err(ProfileError::NoHome),
        }
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// What a command works with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The profile they were looked up in.
    pub profile: String,
    /// `http(s)://HOST[:PORT]`.
    pub endpoint: String,
    /// Region.
    pub region: String,
    /// Keys, if there are any.
    pub credentials: Option<Credentials>,
    /// Certificate authorities to trust instead of the machine's.
    pub ca_file: Option<PathBuf>,
}

/// Looks settings up: variables before the profile, as the aws CLI does. `profile` is the one named
/// on the command line; its keys then come before those of the variables.
///
/// Without a name it is `AWS_PROFILE`, else `longshore`; never AWS's own `default`, whose keys are
/// not meant for us.
///
/// # Errors
/// A named profile that is not there, files that cannot be read, half a key.
pub fn load(environment: &Environment, profile: Option<&str>) -> Result<Settings, ProfileError> {
    let named = profile.or_else(|| environment.get("AWS_PROFILE")).or_else(|| environment.get("AWS_DEFAULT_PROFILE"));
    let name = named.unwrap_or(DEFAULT_PROFILE);
    let files = environment.config_file().and_then(|config| Ok((config, environment.credentials_file()?)));
    let (in_config, in_credentials) = match files {
        Ok((config, credentials)) => {
            let section = if name == "default" { name.to_owned() } else { format!("profile {name}") };
            let (in_config, in_credentials) = (read(&config)?.section(&section), read(&credentials)?.section(name));
            if named.is_some() && in_config.is_none() && in_credentials.is_none() {
                return Err(ProfileError::NoProfile { profile: name.to_owned(), config, credentials });
            }
            (in_config.unwrap_or_default(), in_credentials.unwrap_or_default())
        }
        Err(ProfileError::NoHome) if named.is_none() => Default::default(),
        Err(error) => return Err(error),
    };

    let setting = |variables: &[&str], key: &str| {
        let from_environment = variables.iter().find_map(|variable| environment.get(variable));
        from_environment.map(str::to_owned).or_else(|| in_config.get(key).cloned())
    };
    let from_environment = || {
        let get = |name: &str| environment.get(name).map(str::to_owned);
        let token = get("AWS_SESSION_TOKEN").or_else(|| get("AWS_SECURITY_TOKEN"));
        key("the environment", get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY"), token)
    };
    let from_profile = || {
        for section in [&in_credentials, &in_config] {
            let get = |name: &str| section.get(name).cloned();
            let place = format!("profile '{name}'");
            let found = key(&place, get("aws_access_key_id"), get("aws_secret_access_key"), get("aws_session_token"))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    };
    let credentials = if profile.is_some() {
        from_profile()?
    } else {
        from_environment()?.map_or_else(from_profile, |found| Ok(Some(found)))?
    };
    Ok(Settings {
        profile: name.to_owned(),
        endpoint: setting(&["AWS_ENDPOINT_URL_ECS", "AWS_ENDPOINT_URL"], "endpoint_url")
            .unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()),
        region: setting(&["AWS_REGION", "AWS_DEFAULT_REGION"], "region").unwrap_or_else(|| DEFAULT_REGION.to_owned()),
        credentials,
        ca_file: setting(&["AWS_CA_BUNDLE"], "ca_bundle").map(PathBuf::from),
    })
}

fn key(
    place: &str,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    session_token: Option<String>,
) -> Result<Option<Credentials>, ProfileError> {
    let half = |has, lacks| Err(ProfileError::HalfKey { place: place.to_owned(), has, lacks });
    match (access_key_id, secret_access_key) {
        (Some(access_key_id), Some(secret_access_key)) => {
            Ok(Some(Credentials { access_key_id, secret_access_key, session_token }))
        }
        (Some(_), None) => half("an access key id", "its secret access key"),
        (None, Some(_)) => half("a secret access key", "its access key id"),
        (None, None) => Ok(None),
    }
}

fn read(path: &Path) -> Result<Ini, ProfileError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Ini::parse(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ini::default()),
        Err(source) => Err(ProfileError::Io { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn home() -> (tempfile::TempDir, String) {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        let config = "[default]\nregion = us-west-2\n[profile longshore]\nregion=local-1\nendpoint_url = http://127.0.0.1:1\n\
                      [profile other]\nregion = eu-west-1\naws_access_key_id = AKIC\naws_secret_access_key = in config\n";
        let credentials = "[default]\naws_access_key_id = AKIREAL\naws_secret_access_key = real\n[longshore]\n\
                           aws_access_key_id = AKIL\naws_secret_access_key = a/b+c=\n";
        std::fs::write(home.path().join(".aws/config"), config).unwrap();
        std::fs::write(home.path().join(".aws/credentials"), credentials).unwrap();
        let path = home.path().to_str().unwrap().to_owned();
        (home, path)
    }

    fn id(settings: &Settings) -> Option<&str> {
        settings.credentials.as_ref().map(|credentials| credentials.access_key_id.as_str())
    }

    #[test]
    fn the_longshore_profile_is_the_default() {
        let (_guard, home) = home();
        let settings = load(&environment(&[("HOME", &home)]), None).unwrap();
        assert_eq!((settings.endpoint.as_str(), settings.region.as_str()), ("http://127.0.0.1:1", "local-1"));
        assert_eq!(id(&settings), Some("AKIL"));
        assert_eq!(settings.credentials.unwrap().secret_access_key, "a/b+c=");
    }

    #[test]
    fn variables_come_before_the_profile() {
        let (_guard, home) = home();
        let variables = [
            ("HOME", home.as_str()),
            ("AWS_ENDPOINT_URL", "http://a"),
            ("AWS_ENDPOINT_URL_ECS", "http://b"),
            ("AWS_DEFAULT_REGION", "r1"),
            ("AWS_REGION", "r2"),
            ("AWS_ACCESS_KEY_ID", "AKIE"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("AWS_SESSION_TOKEN", "t"),
        ];
        let settings = load(&environment(&variables), None).unwrap();
        assert_eq!((settings.endpoint.as_str(), settings.region.as_str()), ("http://b", "r2"));
        assert_eq!(settings.credentials.unwrap().session_token.as_deref(), Some("t"));
    }

    #[test]
    fn the_keys_of_a_profile_named_in_the_command_come_before_variables() {
        let (_guard, home) = home();
        let variables = [("HOME", home.as_str()), ("AWS_ACCESS_KEY_ID", "AKIE"), ("AWS_SECRET_ACCESS_KEY", "s")];
        assert_eq!(id(&load(&environment(&variables), Some("other")).unwrap()), Some("AKIC"));
        let variables = [("HOME", home.as_str()), ("AWS_PROFILE", "other")];
        assert_eq!(load(&environment(&variables), None).unwrap().region, "eu-west-1");
    }

    #[test]
    fn a_named_profile_must_exist_but_the_default_one_need_not() {
        let (_guard, home) = home();
        let error = load(&environment(&[("HOME", &home)]), Some("nobody")).unwrap_err();
        assert!(error.to_string().contains("'nobody'"), "{error}");
        let empty = tempfile::tempdir().unwrap();
        let settings = load(&environment(&[("HOME", empty.path().to_str().unwrap())]), None).unwrap();
        assert_eq!((settings.endpoint.as_str(), settings.region.as_str()), (DEFAULT_ENDPOINT, DEFAULT_REGION));
        assert_eq!(settings.credentials, None);
        assert!(load(&Environment::default(), None).is_ok(), "no home directory is no error without a profile");
    }

    #[test]
    fn half_a_key_is_an_error() {
        let error = load(&environment(&[("AWS_ACCESS_KEY_ID", "AKIE")]), None).unwrap_err();
        assert!(error.to_string().contains("the environment has an access key id but not"), "{error}");
    }

    #[test]
    fn the_files_can_be_elsewhere() {
        let variables =
            environment(&[("HOME", "/h"), ("AWS_CONFIG_FILE", "~/c"), ("AWS_SHARED_CREDENTIALS_FILE", "/k")]);
        assert_eq!(variables.config_file().unwrap(), Path::new("/h/c"));
        assert_eq!(variables.credentials_file().unwrap(), Path::new("/k"));
    }
}
