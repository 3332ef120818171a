//! What the first start makes and says, and what later ones leave alone.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::{BIN, wait_for};

struct Started(Child, String);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server with nothing brought along; answers it with what it printed until it was ready.
fn start(home: &Path, data: &Path, extra: &[&str]) -> Started {
    let ready = home.join("ready");
    let _ = fs::remove_file(&ready);
    let log = home.join("log");
    let mut command = Command::new(BIN);
    command
        .args(["server", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data)
        .arg("--ready-file")
        .arg(&ready)
        .args(extra);
    command.env("HOME", home).stdin(Stdio::null()).stdout(fs::File::create(&log).unwrap());
    for name in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE"] {
        command.env_remove(name);
    }
    let mut child = command.spawn().unwrap();
    wait_for("the API to answer", || {
        assert!(child.try_wait().unwrap().is_none(), "longshore has ended");
        ready.exists().then_some(())
    });
    Started(child, fs::read_to_string(&log).unwrap())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_first_start_that_fails_leaves_the_key_to_the_one_that_does_not() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let failed = |arguments: &[&str]| {
        let mut command = Command::new(BIN);
        command.args(arguments).arg("--data-dir").arg(&data).env("HOME", home.path());
        // Nobody is there.
        command.env("DOCKER_HOST", format!("unix://{}/docker.sock", home.path().display()));
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let listen = taken.local_addr().unwrap().to_string();
    assert!(failed(&["server", "--listen", &listen]).contains("choose another address with --listen"));
    let without_docker = failed(&["up", "--listen", "127.0.0.1:0", "--runtime", "docker"]);
    assert!(without_docker.contains("--runtime oci"), "{without_docker}");
    let first = start(home.path(), &data, &[]);
    assert!(first.1.contains("'longshore'"), "{}", first.1);
    assert!(home.path().join(".aws/credentials").exists());
}

#[test]
fn the_first_start_makes_a_profile_that_the_aws_cli_can_use_and_later_ones_reuse_it() {
    let home = tempfile::tempdir().unwrap();
    let aws = home.path().join(".aws");
    fs::create_dir(&aws).unwrap();
    let (config, credentials) = (aws.join("config"), aws.join("credentials"));
    fs::write(&config, "[profile work]\nregion = eu-west-1\n").unwrap();
    fs::write(&credentials, "[work]\naws_access_key_id = A\naws_secret_access_key = B\n").unwrap();
    let data = home.path().join("data");

    let first = start(home.path(), &data, &["--region", "eu-central-1"]);
    assert!(first.1.contains("'longshore'"), "{}", first.1);
    let secrets = fs::read_to_string(&credentials).unwrap();
    assert!(secrets.starts_with("[work]\naws_access_key_id = A\naws_secret_access_key = B\n"), "{secrets}");
    let secret =
        secrets.lines().rfind(|line| line.starts_with("aws_secret_access_key")).unwrap().split(" = ").nth(1).unwrap();
    assert_eq!(secret.len(), 40);
    assert!(!first.1.contains(secret), "the secret is in the profile and is not printed");
    assert_eq!((mode(&config), mode(&credentials)), (0o600, 0o600));
    let private = ["server/keyring", "server/store.redb", "server/store.wal", "id"];
    for path in private.map(|name| data.join(name)) {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let listed = Command::new("aws")
        .args(["--profile", "longshore", "ecs", "list-clusters", "--output", "json"])
        .env("HOME", home.path())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(text.contains(":ecs:eu-central-1:") && text.contains(":cluster/default"), "{text}");
    for file in ["server/store.redb", "server/store.wal"] {
        let stored = fs::read(data.join(file)).unwrap();
        assert!(!stored.windows(secret.len()).any(|window| window == secret.as_bytes()), "the stored secret is sealed");
    }
    drop(first);

    let before = (fs::read(&config).unwrap(), fs::read(&credentials).unwrap());
    let second = start(home.path(), &data, &["--region", "eu-central-1"]);
    assert!(!second.1.contains(secret));
    assert_eq!((fs::read(&config).unwrap(), fs::read(&credentials).unwrap()), before);
    drop(second);

    let other = start(home.path(), &home.path().join("other"), &[]);
    let files = (fs::read_to_string(&config).unwrap(), fs::read_to_string(&credentials).unwrap());
    assert!(files.1.as_bytes().starts_with(&before.1), "what was there is still there");
    assert!(other.1.contains("longshore-"), "a second Longshore has a profile of its own: {}", other.1);
}

#[test]
fn without_a_profile_the_key_is_shown_once() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let first = start(home.path(), &data, &["--no-profile"]);
    assert!(first.1.contains("AWS_SECRET_ACCESS_KEY="), "{}", first.1);
    drop(first);
    let second = start(home.path(), &data, &["--no-profile"]);
    assert!(!second.1.contains("AWS_SECRET_ACCESS_KEY"), "{}", second.1);
    assert!(!home.path().join(".aws").exists());
}

#[test]
fn a_data_directory_has_one_owner_at_a_time() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let _first = start(home.path(), &data, &["--no-profile"]);
    let second =
        Command::new(BIN).args(["server", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data).output().unwrap();
    assert_eq!(second.status.code(), Some(7));
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use by process"));
}

// spec: 01-014
#[test]
fn a_docker_daemon_that_is_not_reachable_is_said() {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(BIN);
    command.args(["up", "--runtime", "docker", "--no-profile", "--listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(home.path().join("data")).env("HOME", home.path());
    command.env("DOCKER_HOST", format!("unix://{}", home.path().join("none.sock").display()));
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Cannot connect to the Docker daemon. Is the docker daemon running on this host?"), "{said}");
}

#[test]
fn settings_come_from_a_file_below_the_environment_and_the_flags() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("longshore.toml");
    fs::write(&config, "account = \"111122223333\"\nregion = \"ap-south-1\"\n").unwrap();
    let config = config.to_str().unwrap();
    let data = home.path().join("data");
    let started = start(home.path(), &data, &["--no-profile", "--config", config, "--region", "eu-north-1"]);
    let ready = fs::read_to_string(home.path().join("ready")).unwrap();
    assert!(ready.contains("111122223333") && ready.contains("eu-north-1"), "{ready}");
    drop(started);
    fs::write(home.path().join("bad.toml"), "colour = 1\n").unwrap();
    let bad = Command::new(BIN).args(["server", "--config"]).arg(home.path().join("bad.toml")).output().unwrap();
    assert_eq!(bad.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("colour"));
}
