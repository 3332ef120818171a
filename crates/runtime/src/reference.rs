//! Image references, as Docker reads them.
//!
//! Read by hand: the regular expression of the usual parser takes 11 MiB for as long as the process
//! lives, and 20 ms of the first task's start.

use std::fmt;

/// Longest repository, in bytes.
const MAX_REPOSITORY: usize = 255;
/// Longest tag, in bytes.
const MAX_TAG: usize = 128;
const DOCKER_HUB: &str = "docker.io";

/// An image reference with everything that its short form leaves out: `busybox` is
/// `docker.io/library/busybox:latest`, which is how it is written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Host, with its port if it has one.
    pub(crate) registry: String,
    /// Path below the registry.
    pub(crate) repository: String,
    /// The tag; `latest` when there is neither tag nor digest.
    pub(crate) tag: Option<String>,
    /// The manifest's digest.
    pub(crate) digest: Option<String>,
}

/// Why a text is no image reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidReference {
    #[error("the repository name must not be empty")]
    Empty,
    #[error("the repository name must not have more than {MAX_REPOSITORY} characters")]
    TooLong,
    #[error("the repository name must be in lower case")]
    UpperCase,
    #[error("the repository name may hold lower-case letters and digits, separated by '.', '_', '__' or dashes")]
    Repository,
    #[error("the registry must be a host name, with a port if need be")]
    Registry,
    #[error("a tag has up to {MAX_TAG} letters, digits, '_', '.' and '-', and begins with none of the last two")]
    Tag,
    #[error("a digest is sha256, sha384 or sha512, a colon, and as many hexadecimal digits as that hash has")]
    Digest,
}

impl Reference {
    /// Reads a reference, short or full.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidReference> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash is that of the registry's port.
        let name_end = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[name_end..].split_once(':') {
            Some((last, tag)) => (&rest[..name_end + last.len()], Some(tag)),
            None => (rest, None),
        };
        let (registry, repository) = split_registry(name)?;
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(InvalidReference::Tag);
        }
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return Err(InvalidReference::Digest);
        }
        let tag = tag.or(if digest.is_none() { Some("latest") } else { None });
        Ok(Self { registry, repository, tag: tag.map(str::to_owned), digest: digest.map(str::to_owned) })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The registry is what could be no repository's first part: it has a dot or a port, or is `localhost`.
fn split_registry(name: &str) -> Result<(String, String), InvalidReference> {
    let named = name.split_once('/').filter(|(first, _)| first.contains(['.', ':']) || *first == "localhost");
    let (registry, path) = match named {
        Some((registry, path)) if is_registry(registry) => (registry, path),
        Some(_) => return Err(InvalidReference::Registry),
        None => (DOCKER_HUB, name),
    };
    // The hub's old name.
    let registry = if registry == "index.docker.io" { DOCKER_HUB } else { registry };
    if path.is_empty() {
        return Err(InvalidReference::Empty);
    }
    if !path.split('/').all(is_component) {
        let is_upper = path.bytes().any(|byte| byte.is_ascii_uppercase());
        return Err(if is_upper { InvalidReference::UpperCase } else { InvalidReference::Repository });
    }
    let is_official = registry == DOCKER_HUB && !path.contains('/');
    let repository = if is_official { format!("library/{path}") } else { path.to_owned() };
    if repository.len() > MAX_REPOSITORY {
        return Err(InvalidReference::TooLong);
    }
    Ok((registry.to_owned(), repository))
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.bytes().all(inner)
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

/// Lower-case letters and digits; between them one `.`, one or two `_`, or any number of dashes.
fn is_component(component: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separators = component.split(|c: char| c.is_ascii() && is_word(c as u8)).filter(|text| !text.is_empty());
    let mut ends = component.bytes().next().into_iter().chain(component.bytes().last());
    !component.is_empty()
        && ends.all(is_word)
        && separators.into_iter().all(|text| matches!(text, "." | "_" | "__") || text.bytes().all(|byte| byte == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else { return false };
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    hex.len() == length && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(text: &str) -> Result<String, InvalidReference> {
        Reference::parse(text).map(|reference| reference.to_string())
    }

    #[test]
    fn short_forms_are_filled_in() {
        for (short, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("team/web", "docker.io/team/web:latest"),
            ("index.docker.io/busybox:1", "docker.io/library/busybox:1"),
            ("localhost/web", "localhost/web:latest"),
            ("host:5000", "docker.io/library/host:5000"),
            ("host:5000/web", "host:5000/web:latest"),
            ("Host.Example/web:V_1.2-3", "Host.Example/web:V_1.2-3"),
            ("a__b/c.d---e", "docker.io/a__b/c.d---e:latest"),
        ] {
            assert_eq!(whole(short).as_deref(), Ok(full));
        }
    }

    #[test]
    fn a_digest_takes_the_place_of_the_tag() {
        let digest = format!("sha256:{}", "0f".repeat(32));
        assert_eq!(whole(&format!("web@{digest}")), Ok(format!("docker.io/library/web@{digest}")));
        assert_eq!(whole(&format!("web:1@{digest}")), Ok(format!("docker.io/library/web:1@{digest}")));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, error) in [
            ("", InvalidReference::Empty),
            ("localhost/", InvalidReference::Empty),
            ("team/UPPER", InvalidReference::UpperCase),
            ("a//b", InvalidReference::Repository),
            ("a___b", InvalidReference::Repository),
            ("-a", InvalidReference::Repository),
            ("a.", InvalidReference::Repository),
            ("a b", InvalidReference::Repository),
            ("-h.example/web", InvalidReference::Registry),
            ("h:x/web", InvalidReference::Registry),
            ("web:", InvalidReference::Tag),
            ("web:.1", InvalidReference::Tag),
            ("web@sha256:00", InvalidReference::Digest),
            ("web@md5:00000000000000000000000000000000", InvalidReference::Digest),
        ] {
            assert_eq!(Reference::parse(text), Err(error), "{text}");
        }
        assert_eq!(Reference::parse(&"a".repeat(256)), Err(InvalidReference::TooLong));
        assert_eq!(Reference::parse(&format!("web:{}", "a".repeat(129))), Err(InvalidReference::Tag));
    }

    proptest! {
        #[test]
        fn references_are_read_as_the_distribution_specification_s_own_parser_reads_them(
            text in "(([a-zA-Z.-]{1,4}|localhost)(:[0-9]{1,2})?/)?[a-z0-9._-]{0,5}(/[a-z0-9._-]{0,5})?(:[a-zA-Z._-]{0,4})?"
        ) {
            let theirs: Option<oci_spec::distribution::Reference> = text.parse().ok();
            // It takes a first part in upper case, which Docker refuses.
            let theirs = theirs.filter(|reference| !reference.repository().contains(|c: char| c.is_ascii_uppercase()));
            prop_assert_eq!(whole(&text).ok(), theirs.map(|reference| reference.whole()));
        }
    }
}
