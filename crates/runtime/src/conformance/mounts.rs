//! Host directories, volumes, memory.

use std::collections::BTreeMap;
use std::path::Path;

use super::World;
use crate::{ContainerSpec, Mount, MountSource, VolumeSpec};

fn mount(source: MountSource, target: &str) -> Mount {
    Mount { source, target: target.to_owned(), read_only: false }
}

fn read_only(mount: Mount) -> Mount {
    Mount { read_only: true, ..mount }
}

async fn volume(world: &World) -> VolumeSpec {
    let volume = VolumeSpec { name: world.unique("volume"), ..VolumeSpec::default() };
    world.runtime.create_volume(&volume).await.unwrap();
    volume
}

/// A directory of the host is the same inside and outside; a missing one is made.
// spec: 05-088
pub async fn a_host_directory_is_shared_and_made(world: &World) {
    let directory = world.scratch.path().join("made/here");
    let host = mount(MountSource::Host(directory.clone()), "/host");
    let spec = ContainerSpec { mounts: vec![host], ..world.shell("echo inside > /host/file") };
    world.output(&spec).await;
    assert_eq!(std::fs::read_to_string(directory.join("file")).unwrap(), "inside\n");
}

/// A single file can be mounted too.
pub async fn a_host_file_is_mounted(world: &World) {
    let file = world.scratch.path().join("file");
    std::fs::write(&file, "outside\n").unwrap();
    let host = read_only(mount(MountSource::Host(file), "/etc/made/for/it"));
    let spec = ContainerSpec { mounts: vec![host], ..world.shell("cat /etc/made/for/it") };
    assert_eq!(world.output(&spec).await, "outside");
}

/// A read-only mount can be read only.
// spec: 05-088
pub async fn a_read_only_mount_is_not_written(world: &World) {
    let directory = world.scratch.path().to_owned();
    std::fs::write(directory.join("file"), "outside\n").unwrap();
    let named = volume(world).await;
    let mounts = vec![
        read_only(mount(MountSource::Host(directory), "/host")),
        read_only(mount(MountSource::Volume(named.name), "/volume")),
    ];
    let script = "cat /host/file; for d in /host /volume; do touch $d/x 2>&1 | grep -o 'Read-only file system'; done";
    let spec = ContainerSpec { mounts, ..world.shell(script) };
    assert_eq!(world.output(&spec).await, "outside\nRead-only file system\nRead-only file system");
}

/// A volume outlives the containers that use it.
pub async fn a_volume_outlives_its_containers(world: &World) {
    let volume = volume(world).await;
    let using = |script: &str| {
        let mounts = vec![mount(MountSource::Volume(volume.name.clone()), "/volume")];
        ContainerSpec { mounts, ..world.shell(script) }
    };
    let first = world.run(&using("echo kept > /volume/file")).await;
    world.runtime.remove(&first.state.id).await.unwrap();
    assert_eq!(world.output(&using("cat /volume/file")).await, "kept");
}

/// A volume's directory on the host holds its files; making it again answers the same.
pub async fn a_volume_is_a_directory_on_the_host(world: &World) {
    let volume = volume(world).await;
    let directory = world.runtime.create_volume(&volume).await.unwrap();
    std::fs::write(Path::new(&directory).join("file"), "outside\n").unwrap();
    let mounts = vec![mount(MountSource::Volume(volume.name.clone()), "/volume")];
    let finished = world.run(&ContainerSpec { mounts, ..world.shell("cat /volume/file") }).await;
    assert_eq!(finished.stdout, "outside\n");
    world.runtime.remove(&finished.state.id).await.unwrap();
    world.runtime.remove_volume(&volume.name).await.unwrap();
    assert!(!Path::new(&directory).exists());
    world.runtime.remove_volume(&volume.name).await.unwrap();
}

/// An empty volume gets what the image has in its place, with its owner.
pub async fn an_empty_volume_gets_the_image_s_files(world: &World) {
    let volume = volume(world).await;
    let script = "cat /data/greeting; stat -c %u:%g /data /data/greeting; echo changed > /data/greeting";
    let mounts = vec![mount(MountSource::Volume(volume.name), "/data")];
    let spec = ContainerSpec { mounts, ..world.shell(script) };
    assert_eq!(world.output(&spec).await, "hello\n1000:50\n1000:50");
    let again =
        ContainerSpec { name: world.unique("container"), command: world.shell("cat /data/greeting").command, ..spec };
    assert_eq!(world.output(&again).await, "changed");
}

/// Another container's mounts are taken over, writable or not.
// spec: 05-089
pub async fn another_container_s_mounts_are_taken_over(world: &World) {
    let volume = volume(world).await;
    let mounts = vec![
        mount(MountSource::Volume(volume.name), "/volume"),
        mount(MountSource::Host(world.scratch.path().to_owned()), "/host"),
    ];
    let first = world.run(&ContainerSpec { mounts, ..world.shell("echo a > /volume/a; echo b > /host/b") }).await;
    let taking = |read_only: bool, script: &str| ContainerSpec {
        volumes_from: vec![(first.state.id.clone(), read_only)],
        ..world.shell(script)
    };
    let written = world.output(&taking(false, "cat /volume/a /host/b; echo c > /volume/c; cat /volume/c")).await;
    assert_eq!(written, "a\nb\nc");
    let refused = world.output(&taking(true, "cat /volume/c; touch /volume/d /host/d 2>&1 | grep -c Read-only")).await;
    assert_eq!(refused, "c\n2");
}

/// Memory of a size, with mount options.
pub async fn memory_is_mounted_with_size_and_options(world: &World) {
    let options = vec!["noexec".to_owned(), "mode=700".to_owned()];
    let mounts = vec![mount(MountSource::Tmpfs(4 << 20, options), "/memory")];
    let script = "df -k /memory | tail -1 | awk '{print $2}'; stat -c %a /memory; \
        cp /bin/busybox /memory/sh; /memory/sh true 2>/dev/null || echo not executed";
    let spec = ContainerSpec { mounts, ..world.shell(script) };
    assert_eq!(world.output(&spec).await, "4096\n700\nnot executed");
}

/// What is mounted inside another mount is seen, in whatever order they come.
pub async fn inner_mounts_are_on_top(world: &World) {
    let (outer, inner) = (world.scratch.path().join("outer"), world.scratch.path().join("inner"));
    for (directory, text) in [(&outer, "outer"), (&inner, "inner")] {
        std::fs::create_dir(directory).unwrap();
        std::fs::write(directory.join("file"), text).unwrap();
    }
    let mounts = vec![mount(MountSource::Host(inner), "/a/b"), mount(MountSource::Host(outer), "/a")];
    let spec = ContainerSpec { mounts, ..world.shell("cat /a/file; echo; cat /a/b/file") };
    assert_eq!(world.output(&spec).await, "outer\ninner");
}

/// What a container writes into its root is its own, and gone with it.
pub async fn each_container_has_its_own_root(world: &World) {
    let first = world.run(&world.shell("echo mine > /etc/mine; rm /etc/group")).await;
    assert_eq!(first.state.exit_code, Some(0));
    assert_eq!(world.output(&world.shell("ls /etc/mine 2>/dev/null; ls /etc/group")).await, "/etc/group");
}

/// Volumes carry labels and options without harm.
pub async fn a_volume_takes_driver_and_labels(world: &World) {
    let labels: BTreeMap<String, String> = [("purpose".to_owned(), "test".to_owned())].into();
    let options = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m")];
    let driver_opts = options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let volume = VolumeSpec { name: world.unique("volume"), driver: "local".to_owned(), driver_opts, labels };
    world.runtime.create_volume(&volume).await.unwrap();
    let mounts = vec![mount(MountSource::Volume(volume.name.clone()), "/volume")];
    let script = "df -k /volume | tail -1 | awk '{print $2}'";
    let finished = world.run(&ContainerSpec { mounts, ..world.shell(script) }).await;
    assert_eq!(finished.stdout, "1024\n");
}
