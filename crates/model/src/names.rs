//! What names may look like.

/// Most characters of most ECS names.
pub const MAX_NAME: usize = 255;

/// Whether `name` has only letters, digits, hyphens and underscores (it may be empty).
#[must_use]
pub fn has_name_characters(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// Whether `name` may name a cluster, service, task definition family, container or volume: 1 to 255
/// letters, digits, hyphens and underscores (guide chapters 3 to 5).
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && has_name_characters(name)
}

/// Whether `role` may name an IAM role: its ARN, or its name alone (guide chapter 24).
#[must_use]
pub fn is_role(role: &str) -> bool {
    let name_like = |name: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
        (1..=64).contains(&name.len()) && name.bytes().all(allowed)
    };
    if !role.starts_with("arn:") {
        return name_like(role);
    }
    let Some(arn) = crate::Arn::parse(role) else { return false };
    let account = arn.account.len() == 12 && arn.account.bytes().all(|byte| byte.is_ascii_digit());
    let name = arn.resource_of("role").and_then(|path| path.rsplit('/').next());
    arn.service == "iam" && arn.region.is_empty() && account && name.is_some_and(name_like)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_letters_digits_hyphens_and_underscores() {
        for name in ["a", "A-1_b", "-", &"x".repeat(255)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "a b", "a.b", "ä", "a/b", &"x".repeat(256)] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn roles_are_names_or_arns() {
        for role in ["task-role", "arn:aws:iam::123456789012:role/r", "arn:aws-cn:iam::123456789012:role/a/path/r"] {
            assert!(is_role(role), "{role}");
        }
        for role in [
            "",
            "a b",
            "arn:aws:iam::1:role/r",
            "arn:aws:iam::123456789012:user/r",
            "arn:aws:iam::123456789012:role/",
            "arn:",
        ] {
            assert!(!is_role(role), "{role}");
        }
    }
}
