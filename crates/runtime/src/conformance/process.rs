//! What the first process is and what it sees of itself.

use std::time::Duration;

use super::World;
use super::image::TestImage;
use crate::{ContainerSpec, ContainerStatus};

fn words(words: &[&str]) -> Option<Vec<String>> {
    Some(words.iter().map(|&word| word.to_owned()).collect())
}

/// An image whose every default differs from the runtime's; the test removes it.
async fn image_with_defaults(world: &World) -> String {
    let reference = format!("localhost/{}:1", world.unique("image"));
    let image = TestImage {
        entrypoint: vec!["echo".to_owned(), "entry".to_owned()],
        command: vec!["default".to_owned()],
        environment: [("FROM".to_owned(), "image".to_owned()), ("KEPT".to_owned(), "image".to_owned())].into(),
        working_dir: "/data".to_owned(),
        user: "app".to_owned(),
        labels: [("from".to_owned(), "image".to_owned())].into(),
        ..TestImage::named(&reference)
    };
    world.import(&image).await;
    reference
}

async fn remove_image(world: &World, reference: &str) {
    world.runtime.cleanup().await.unwrap();
    world.runtime.remove_image(reference).await.unwrap();
}

/// Entry point and command come from the image, and either can be replaced; a replaced entry point
/// leaves the image's command out.
// spec: 05-068, 05-069
pub async fn entry_point_and_command_replace_the_image_s(world: &World) {
    let image = image_with_defaults(world).await;
    let cases = [
        (None, None, "entry default"),
        (None, words(&["given", "two words"]), "entry given two words"),
        (words(&["echo", "own"]), None, "own"),
        (words(&["echo", "own"]), words(&["given"]), "own given"),
    ];
    for (entrypoint, command, expected) in cases {
        let spec = ContainerSpec { image: image.clone(), entrypoint, command, ..world.spec(&[]) };
        assert_eq!(world.output(&spec).await, expected);
    }
    remove_image(world, &image).await;
}

/// Environment, working directory and user come from the image.
pub async fn the_image_s_defaults_apply(world: &World) {
    let image = image_with_defaults(world).await;
    let spec = ContainerSpec {
        image: image.clone(),
        entrypoint: words(&["sh", "-c"]),
        ..world.spec(&["echo $FROM $KEPT; pwd; id -un; echo $HOME"])
    };
    assert_eq!(world.output(&spec).await, "image image\n/data\napp\n/home");
    remove_image(world, &image).await;
}

/// The environment is laid over the image's; values are taken as they are.
// spec: 05-077
pub async fn environment_is_laid_over_the_image_s(world: &World) {
    let image = image_with_defaults(world).await;
    let environment = [("FROM", "task"), ("ODD", "a=b $HOME \"c\" é"), ("EMPTY", "")];
    let spec = ContainerSpec {
        image: image.clone(),
        entrypoint: words(&["sh", "-c"]),
        environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..world.spec(&["echo $FROM $KEPT; echo \"$ODD\"; echo ${EMPTY-unset}; echo $PATH"])
    };
    let output = world.output(&spec).await;
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[..3], ["task image", "a=b $HOME \"c\" é", ""]);
    assert!(lines[3].contains("/bin"), "{output}");
    remove_image(world, &image).await;
}

/// The working directory can be replaced, and is made.
// spec: 05-070
pub async fn the_working_directory_is_made(world: &World) {
    let spec = ContainerSpec { working_dir: Some("/made/for/it".to_owned()), ..world.spec(&["pwd"]) };
    assert_eq!(world.output(&spec).await, "/made/for/it");
}

/// Every form of a user; names come from the image's own files.
// spec: 05-099
pub async fn every_form_of_user_is_understood(world: &World) {
    let cases = [
        ("app", "1000 50 50 51"),
        ("app:wheel", "1000 51 51"),
        ("1000", "1000 50 50 51"),
        ("1000:50", "1000 50 50"),
        ("app:7", "1000 7 7"),
        ("1234:wheel", "1234 51 51"),
        ("1234", "1234 0 0"),
    ];
    for (user, expected) in cases {
        let spec = ContainerSpec { user: Some(user.to_owned()), ..world.shell("echo $(id -u) $(id -g) $(id -G)") };
        assert_eq!(world.output(&spec).await, expected, "user {user}");
    }
}

/// A user that the image does not have fails the start.
pub async fn an_unknown_user_fails_the_start(world: &World) {
    let spec = ContainerSpec { user: Some("nobody-here".to_owned()), ..world.spec(&["true"]) };
    let id = world.runtime.create(&spec).await.unwrap();
    let error = world.runtime.start(&id).await.unwrap_err();
    assert!(error.to_string().contains("nobody-here"), "{error}");
    assert_eq!(world.runtime.inspect(&id).await.unwrap().status, ContainerStatus::Exited);
}

/// The host name is the given one, else the beginning of the container's id.
// spec: 05-083
pub async fn the_host_name_is_as_given(world: &World) {
    let named = ContainerSpec { hostname: Some("web-1".to_owned()), ..world.shell("hostname; cat /etc/hostname") };
    assert_eq!(world.output(&named).await, "web-1\nweb-1");
    let unnamed = world.run(&world.spec(&["hostname"])).await;
    assert_eq!(unnamed.stdout.trim_end(), &unnamed.state.id[..12]);
}

/// A terminal only when asked for.
pub async fn a_terminal_is_allocated_when_asked_for(world: &World) {
    let script = "if [ -t 1 ]; then echo terminal; else echo pipe; fi";
    assert_eq!(world.output(&world.shell(script)).await, "pipe");
    assert_eq!(world.output(&ContainerSpec { tty: true, ..world.shell(script) }).await, "terminal");
}

/// Standard input is at its end unless kept open.
pub async fn standard_input_is_empty_unless_kept_open(world: &World) {
    let script = "echo reading; read line; echo ended";
    assert_eq!(world.output(&world.shell(script)).await, "reading\nended");
    let open = world.start(&ContainerSpec { open_stdin: true, ..world.shell(script) }).await;
    world.written(&open.id, "reading").await;
    assert_eq!(world.runtime.inspect(&open.id).await.unwrap().status, ContainerStatus::Running);
}

/// With an init the command is not process 1, is forwarded signals, and orphans are reaped.
pub async fn init_reaps_and_forwards(world: &World) {
    let script = "trap 'exit 5' TERM; (sleep 0.01 & exit 0); \
        while ps -o stat | grep -q Z; do :; done; echo $$; while :; do sleep 3600 & wait $!; done";
    let started = world.start(&ContainerSpec { init: true, ..world.shell(script) }).await;
    let line =
        world.until("the script has told its process id", || async { Some(world.written(&started.id, "").await) });
    let pid = String::from_utf8(line.await.line).unwrap();
    assert_ne!(pid, "1");
    let stopped = world.runtime.stop(&started.id, Duration::from_secs(15)).await.unwrap();
    assert_eq!(stopped.exit_code, Some(5));
}

/// Without one the command is process 1 in a process namespace of its own.
pub async fn the_command_is_process_1(world: &World) {
    let output = world.output(&world.shell("echo $$; ls -d /proc/[0-9]* | wc -l")).await;
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[0], "1");
    // The shell, and the two of the pipeline.
    assert!(lines[1].parse::<u32>().unwrap() <= 3, "{output}");
}

/// The host's processes, or another container's, can be seen when asked for.
pub async fn a_process_namespace_can_be_shared(world: &World) {
    let host = ContainerSpec { pid_mode: Some("host".to_owned()), ..world.spec(&["readlink", "/proc/self/ns/pid"]) };
    let own = std::fs::read_link("/proc/self/ns/pid").unwrap();
    assert_eq!(world.output(&host).await, own.to_string_lossy());
    let first = world.start(&world.spec(&["sleep", "3599"])).await;
    let shared =
        ContainerSpec { pid_mode: Some(format!("container:{}", first.id)), ..world.spec(&["ps", "-o", "args"]) };
    assert!(world.output(&shared).await.contains("sleep 3599"));
}

/// So can shared memory.
pub async fn an_ipc_namespace_can_be_shared(world: &World) {
    let script = "readlink /proc/self/ns/ipc; sleep 3600";
    let first = ContainerSpec { ipc_mode: Some("shareable".to_owned()), ..world.shell(script) };
    let first = world.start(&first).await;
    let namespace = world.written(&first.id, "ipc").await.line;
    let own = world.spec(&["readlink", "/proc/self/ns/ipc"]);
    let shared = ContainerSpec { ipc_mode: Some(format!("container:{}", first.id)), ..own.clone() };
    let namespace = String::from_utf8(namespace).unwrap();
    assert_eq!(world.output(&shared).await, namespace);
    let separate = ContainerSpec { name: world.unique("container"), ..own };
    assert_ne!(world.output(&separate).await, namespace);
}
