//! What a task's containers died of, and what helps (guide chapter 24).

use longshore_model::records::{ContainerRecord, TaskRecord};

/// What is known of one kind of failure.
struct Cause {
    /// With what the container's reason begins.
    prefix: &'static str,
    /// One of these is in it, whatever the case; any reason will do when there are none.
    contains: &'static [&'static str],
    /// What would help; `{C}` stands for the container, `{I}` for its image.
    remedy: &'static str,
}

const fn cause(prefix: &'static str, contains: &'static [&'static str], remedy: &'static str) -> Cause {
    Cause { prefix, contains, remedy }
}

const PULL: &str = "CannotPull";
const CREATE: &str = "CannotCreateContainerError";
const START: &str = "CannotStartContainerError";

/// From the special to the general: the first that fits is the one.
const CAUSES: [Cause; 18] = [
    cause(
        PULL,
        &["toomanyrequests", "too many requests", "429", "rate limit"],
        "Wait until the registry's limit is over, or give the container {C} repositoryCredentials.",
    ),
    cause(PULL, &["no space left"], "Free disk space on the container instance: the image {I} does not fit on it."),
    cause(
        PULL,
        &["no matching manifest", "platform", "is for linux/", "not for linux/", "architecture"],
        "Use an image {I} for the container instance's platform, or set runtimePlatform so that the task goes to one that has it.",
    ),
    cause(
        PULL,
        &["longshore image import"],
        "Import the image {I} into the container instance with 'longshore image import'.",
    ),
    cause(
        PULL,
        &["denied", "unauthorized", "authentication", "401", "403"],
        "Correct the image name {I}, or give the container {C} repositoryCredentials with which it may be pulled.",
    ),
    cause(
        PULL,
        &["not found", "404", "manifest unknown", "does not exist", "no such image", "unknown"],
        "Correct the image name {I} of the container {C}, or push the image to its registry.",
    ),
    cause(
        PULL,
        &["timeout", "timed out", "canceled", "no such host", "refused", "unreachable", "no route", "lookup", "dial"],
        "Give the container instance a way to the registry of {I}: its network, name servers and proxy.",
    ),
    cause(PULL, &[], "See whether the container instance can pull the image {I}."),
    cause(
        CREATE,
        &["secrets"],
        "Take the secrets out of the container {C}, or use a container instance that provides them.",
    ),
    cause(CREATE, &["are not provided"], "Take what the container instance does not provide out of the container {C}."),
    cause(CREATE, &["no space left", "thin pool"], "Free disk space on the container instance."),
    cause(
        START,
        &["exec format error"],
        "Use an image {I} for the container instance's platform, or set runtimePlatform so that the task goes to one that has it.",
    ),
    cause(
        START,
        &["not found", "no such file", "permission denied"],
        "Correct entryPoint and command of the container {C}: the image {I} has no such program.",
    ),
    cause(
        START,
        &["already in use"],
        "Use another host port for the container {C}, or free it on the container instance.",
    ),
    cause(START, &["logging driver"], "Correct the logConfiguration of the container {C}."),
    cause("OutOfMemoryError", &[], "Give the container {C} more memory."),
    cause(
        "ResourceInitializationError",
        &[],
        "Correct what the task needs before it starts: secrets, registry credentials, roles, volumes.",
    ),
    cause("CannotCreateVolumeError", &[], "Correct the volumes of the task definition."),
];

/// The container whose failure ended the task, or would.
pub(super) fn culprit(task: &TaskRecord) -> Option<&ContainerRecord> {
    let failed =
        || task.containers.iter().filter(|it| it.reason.is_some() || it.exit_code.is_some_and(|code| code != 0));
    let cannot = |it: &&ContainerRecord| it.reason.as_deref().is_some_and(|reason| find(reason).is_some());
    let essential = failed().find(|it| it.essential && cannot(it));
    let first = essential.or_else(|| failed().find(cannot));
    first
        .or_else(|| failed().find(|it| it.essential))
        .or_else(|| task.containers.iter().find(|it| it.exit_code.is_some()))
}

fn find(reason: &str) -> Option<&'static Cause> {
    let text = reason.to_ascii_lowercase();
    CAUSES.iter().find(|cause| {
        reason.starts_with(cause.prefix)
            && (cause.contains.is_empty() || cause.contains.iter().any(|part| text.contains(part)))
    })
}

/// Why a container is not as it should be, and what would help. None of one that runs or ended well.
pub(super) fn of_container(container: &ContainerRecord) -> Option<(String, Option<String>)> {
    let name = &container.name;
    let spelled = |text: &str| text.replace("{C}", name).replace("{I}", &format!("'{}'", container.image));
    if let Some(reason) = &container.reason {
        let remedy = find(reason).map(|cause| spelled(cause.remedy));
        return Some((
            format!("Container {name}: {reason}"),
            remedy.or_else(|| of_exit(container).and_then(|it| it.1)),
        ));
    }
    of_exit(container)
}

/// What an exit code tells.
fn of_exit(container: &ContainerRecord) -> Option<(String, Option<String>)> {
    let name = &container.name;
    let code = container.exit_code?;
    let (what, remedy) = match code {
        0 => (
            "ended by itself with exit code 0".to_owned(),
            format!("Give the container {name} a program that does not end, or make it not essential."),
        ),
        126 | 127 => (
            format!("ended with exit code {code}: its shell found no such program, or may not run it"),
            format!("Correct entryPoint and command of the container {name}."),
        ),
        137 => (
            "was killed by SIGKILL (exit code 137)".to_owned(),
            format!("See whether the container {name} ends on SIGTERM within its stopTimeout, and has memory enough."),
        ),
        139 => ("crashed (exit code 139, SIGSEGV)".to_owned(), format!("See the logs of the container {name}.")),
        143 => ("was ended by SIGTERM (exit code 143)".to_owned(), format!("See who stopped the container {name}.")),
        code => (
            format!("ended by itself with exit code {code}"),
            format!("See the logs of the container {name} ('longshore logs')."),
        ),
    };
    Some((format!("Container {name} {what}"), Some(remedy)))
}
