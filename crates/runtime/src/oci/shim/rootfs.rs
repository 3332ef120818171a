//! A container's root file system, its volumes and its small files.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, mount, move_mount, unmount,
};

use super::config::BindMount;
use super::user::Rootfs;
use crate::oci::layout::{ContainerDir, Layout, create_dir, read_record};
use crate::oci::record::ContainerRecord;
use crate::{MountSource, NetworkMode, VolumeSpec};

/// Mounts the layers with a writable directory of the container's own above them.
pub(super) fn mount_overlay(layout: &Layout, dir: &ContainerDir, layers: &[String]) -> io::Result<()> {
    let (target, upper, work) = (dir.rootfs(), dir.upper(), dir.work());
    for path in [&target, &upper, &work] {
        create_dir(path)?;
    }
    fs::set_permissions(&upper, fs::Permissions::from_mode(0o755))?;
    if layers.is_empty() {
        return Ok(rustix::mount::mount_bind(&upper, &target)?);
    }
    let lowers: Vec<PathBuf> = layers.iter().rev().map(|chain_id| layout.layer(chain_id)).collect();
    if let Some(missing) = lowers.iter().find(|lower| !lower.is_dir()) {
        let message = format!("layer {} of the image is missing: import it again", missing.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, message));
    }
    match mount_by_descriptor(&lowers, &upper, &work, &target) {
        // Kernels before 6.5 have no `lowerdir+`; the old call takes a page of options.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            let paths: Vec<String> = lowers.iter().map(|lower| escape(lower)).collect();
            let options = format!("lowerdir={},upperdir={},workdir={}", paths.join(":"), escape(&upper), escape(&work));
            let options = std::ffi::CString::new(options)?;
            let describe = |error: rustix::io::Errno| {
                let message = format!(
                    "mounting an overlay in {} failed ({error}): the data directory must be on a file system that \
                     overlayfs can write to (ext4, xfs, btrfs, tmpfs), not on an overlay itself",
                    target.display()
                );
                io::Error::new(io::Error::from(error).kind(), message)
            };
            mount("overlay", &target, "overlay", MountFlags::empty(), Some(options.as_c_str())).map_err(describe)
        }
        other => Ok(other?),
    }
}

fn mount_by_descriptor(lowers: &[PathBuf], upper: &Path, work: &Path, target: &Path) -> rustix::io::Result<()> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for lower in lowers {
        fsconfig_set_string(context.as_fd(), "lowerdir+", lower)?;
    }
    fsconfig_set_string(context.as_fd(), "upperdir", upper)?;
    fsconfig_set_string(context.as_fd(), "workdir", work)?;
    fsconfig_create(context.as_fd())?;
    let mounted = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    move_mount(mounted.as_fd(), "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// A path in overlayfs' option syntax.
fn escape(path: &Path) -> String {
    let text = path.display().to_string();
    ['\\', ':', ','].iter().fold(text, |text, special| text.replace(*special, &format!("\\{special}")))
}

/// Mounts a container's shared memory, so that other containers of the task can have it too.
pub(super) fn mount_shm(dir: &ContainerDir, bytes: u64) -> io::Result<()> {
    create_dir(&dir.shm())?;
    let options = std::ffi::CString::new(format!("mode=1777,size={bytes}"))?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    Ok(mount("shm", dir.shm(), "tmpfs", flags, Some(options.as_c_str()))?)
}

/// Ends all mounts of a container; they may be ended already.
pub(super) fn unmount_all(dir: &ContainerDir) {
    for path in [dir.rootfs(), dir.shm()] {
        // Not mounted is what is wanted.
        let _ = unmount(&path, UnmountFlags::DETACH);
    }
}

/// Everything that is mounted over the image's files.
#[derive(Debug, Default)]
pub(super) struct Overmounts {
    pub(super) binds: Vec<BindMount>,
    pub(super) tmpfs: Vec<(String, u64, Vec<String>)>,
}

/// The mounts of a container's specification, of its image's volumes and of the containers it takes volumes from.
///
/// # Errors
/// A sentence about what cannot be mounted.
pub(super) fn overmounts(layout: &Layout, record: &ContainerRecord, rootfs: &Rootfs) -> Result<Overmounts, String> {
    let mut mounts: BTreeMap<String, (MountSource, bool)> = BTreeMap::new();
    for (other, read_only) in &record.spec.volumes_from {
        let dir = layout.container(other);
        let other: ContainerRecord = read_record(&dir.record())
            .map_err(|error| error.to_string())?
            .ok_or_else(|| format!("volumesFrom names container {other}, which does not exist"))?;
        for (target, (source, own_read_only)) in own_mounts(&other) {
            mounts.insert(target, (source, own_read_only || *read_only));
        }
    }
    mounts.extend(own_mounts(record));
    let mut overmounts = Overmounts::default();
    for (target, (source, read_only)) in mounts {
        match source {
            MountSource::Tmpfs(bytes, options) => overmounts.tmpfs.push((target, bytes, options)),
            MountSource::Host(path) => {
                make_source(&path)
                    .map_err(|error| format!("error while creating mount source path {}: {error}", path.display()))?;
                overmounts.binds.push(BindMount { source: path.display().to_string(), target, read_only });
            }
            MountSource::Volume(name) => {
                let data = volume_data(layout, &name);
                create_volume_dir(&data).map_err(|error| format!("making volume {name}: {error}"))?;
                mount_volume(layout, &name, &data).map_err(|error| format!("mounting volume {name}: {error}"))?;
                fill(&data, rootfs, &target)
                    .map_err(|error| format!("filling volume {name} from {target}: {error}"))?;
                overmounts.binds.push(BindMount { source: data.display().to_string(), target, read_only });
            }
        }
    }
    Ok(overmounts)
}

/// Mounts of a container itself: an image's volume becomes a directory of the container's own.
fn own_mounts(record: &ContainerRecord) -> BTreeMap<String, (MountSource, bool)> {
    let clean = |target: &str| {
        let trimmed = target.trim_end_matches('/');
        if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() }
    };
    let mut mounts = BTreeMap::new();
    for (index, target) in record.image.volumes.iter().flat_map(BTreeMap::keys).enumerate() {
        let name = format!("{ANONYMOUS}{}/{index}", record.id);
        mounts.insert(clean(target), (MountSource::Volume(name), false));
    }
    for mount in &record.spec.mounts {
        mounts.insert(clean(&mount.target), (mount.source.clone(), mount.read_only));
    }
    mounts
}

/// Begins the names of volumes that belong to one container; no named volume can have it.
const ANONYMOUS: &str = "/container/";

/// The directory whose content a volume shows.
pub(crate) fn volume_data(layout: &Layout, name: &str) -> PathBuf {
    match name.strip_prefix(ANONYMOUS).and_then(|rest| rest.split_once('/')) {
        Some((id, index)) => layout.container(id).volumes().join(index),
        None => layout.volumes().join(name).join("_data"),
    }
}

/// Makes a volume's directory, as it looks in a container; one that is there stays as it is.
pub(crate) fn create_volume_dir(data: &Path) -> io::Result<()> {
    if data.is_dir() {
        return Ok(());
    }
    create_dir(data)?;
    fs::set_permissions(data, fs::Permissions::from_mode(0o755))
}

/// Mounts a volume that is a file system of its own (`type`, `device` and `o` of the local driver), once in a task.
fn mount_volume(layout: &Layout, name: &str, data: &Path) -> io::Result<()> {
    if name.starts_with(ANONYMOUS) {
        return Ok(());
    }
    let volume: Option<VolumeSpec> = read_record(&layout.volumes().join(name).join("volume.json"))?;
    let options = volume.map(|volume| volume.driver_opts).unwrap_or_default();
    let Some(kind) = options.get("type") else { return Ok(()) };
    let own = fs::metadata(data)?.dev();
    if data.parent().is_some_and(|parent| fs::metadata(parent).is_ok_and(|parent| parent.dev() != own)) {
        return Ok(());
    }
    let mut flags = MountFlags::empty();
    let mut rest = Vec::new();
    for option in options.get("o").map(String::as_str).unwrap_or_default().split(',') {
        match option {
            "ro" => flags |= MountFlags::RDONLY,
            "nosuid" => flags |= MountFlags::NOSUID,
            "nodev" => flags |= MountFlags::NODEV,
            "noexec" => flags |= MountFlags::NOEXEC,
            "bind" | "rbind" => flags |= MountFlags::BIND | MountFlags::REC,
            "" | "rw" => {}
            other => rest.push(other),
        }
    }
    let device = options.get("device").unwrap_or(kind).as_str();
    let rest = std::ffi::CString::new(rest.join(","))?;
    Ok(mount(device, data, kind.as_str(), flags, Some(rest.as_c_str()))?)
}

fn make_source(path: &Path) -> io::Result<()> {
    if path.exists() { Ok(()) } else { fs::create_dir_all(path) }
}

/// Gives an empty volume the files that the image has at `target`.
fn fill(data: &Path, rootfs: &Rootfs, target: &str) -> io::Result<()> {
    if fs::read_dir(data)?.next().is_some() {
        return Ok(());
    }
    let source = match rootfs.resolve(target, OFlags::PATH | OFlags::DIRECTORY) {
        Ok(source) => source,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        Err(error) => return Err(error),
    };
    let source = Path::new("/proc/self/fd").join(source.as_raw_fd().to_string());
    let metadata = fs::metadata(&source)?;
    copy_children(&source, data)?;
    chown(data, Some(metadata.uid()), Some(metadata.gid()))?;
    fs::set_permissions(data, metadata.permissions())
}

fn copy_children(source: &Path, target: &Path) -> io::Result<()> {
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let (from, to, metadata) = (entry.path(), target.join(entry.file_name()), entry.metadata()?);
        let kind = metadata.file_type();
        if kind.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
            lchown(&to, Some(metadata.uid()), Some(metadata.gid()))?;
            continue;
        }
        if kind.is_dir() {
            fs::create_dir(&to)?;
            copy_children(&from, &to)?;
        } else if kind.is_file() {
            fs::copy(&from, &to)?;
        } else {
            // Sockets, pipes and devices are no data.
            continue;
        }
        chown(&to, Some(metadata.uid()), Some(metadata.gid()))?;
        fs::set_permissions(&to, metadata.permissions())?;
    }
    Ok(())
}

/// Names of the files that a container gets in /etc.
const FILES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// Writes a container's hosts, hostname and resolv.conf and answers their mounts.
pub(super) fn write_files(
    layout: &Layout,
    record: &ContainerRecord,
    hostname: &str,
    address: Option<Ipv4Addr>,
    link_addresses: &[(String, Ipv4Addr)],
) -> io::Result<Vec<BindMount>> {
    let spec = &record.spec;
    let mount = |dir: &ContainerDir, name: &str| BindMount {
        source: dir.etc(name).display().to_string(),
        target: format!("/etc/{name}"),
        read_only: false,
    };
    // Who shares a network shares these too.
    if let NetworkMode::Container(other) = &spec.network
        && layout.container(other).etc("hosts").exists()
    {
        return Ok(FILES.iter().map(|name| mount(&layout.container(other), name)).collect());
    }
    let dir = layout.container(&record.id);
    create_dir(&dir.etc(""))?;
    fs::set_permissions(dir.etc(""), fs::Permissions::from_mode(0o755))?;
    let host_network = spec.network == NetworkMode::Host && !spec.network_disabled;
    let host = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut hosts = if host_network { host("/etc/hosts") } else { HOSTS.to_owned() };
    for (name, address) in link_addresses {
        hosts.push_str(&format!("{address}\t{name}\n"));
    }
    for (name, address) in &spec.extra_hosts {
        hosts.push_str(&format!("{address}\t{name}\n"));
    }
    if let Some(address) = address {
        hosts.push_str(&format!("{address}\t{hostname}\n"));
    }
    let mut resolv = host("/etc/resolv.conf");
    if resolv.contains("127.0.0.53") && !host_network {
        // The stub resolver of systemd is not reachable from a container; its real servers are listed here.
        let real = host("/run/systemd/resolve/resolv.conf");
        resolv = if real.is_empty() { resolv } else { real };
    }
    let resolv = resolv_conf(&resolv, host_network, &spec.dns, &spec.dns_search);
    for (name, text) in FILES.iter().zip([hosts, format!("{hostname}\n"), resolv]) {
        fs::write(dir.etc(name), text)?;
        fs::set_permissions(dir.etc(name), fs::Permissions::from_mode(0o644))?;
    }
    Ok(FILES.iter().map(|name| mount(&dir, name)).collect())
}

const HOSTS: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::0\tip6-localnet\n\
    ff00::0\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// The host's settings, as far as they work in a container, with the container's own over them.
fn resolv_conf(host: &str, host_network: bool, dns: &[String], search: &[String]) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut servers = 0;
    for line in host.lines() {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next()) {
            (Some("nameserver"), Some(server)) => {
                let local = server.starts_with("127.") || server == "::1";
                if dns.is_empty() && (host_network || !local) {
                    servers += 1;
                    lines.push(line.to_owned());
                }
            }
            (Some("search" | "domain"), _) if !search.is_empty() => {}
            (Some(word), _) if !word.starts_with(['#', ';']) => lines.push(line.to_owned()),
            _ => {}
        }
    }
    lines.extend(dns.iter().map(|server| format!("nameserver {server}")));
    if servers == 0 && dns.is_empty() && !host_network {
        lines.extend(["nameserver 8.8.8.8", "nameserver 8.8.4.4"].map(str::to_owned));
    }
    if !search.is_empty() {
        lines.push(format!("search {}", search.join(" ")));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_on_the_hosts_loopback_are_left_out() {
        let host = "# made by hand\nsearch example.com\nnameserver 127.0.0.1\nnameserver 192.0.2.1\noptions ndots:2\n";
        let expected = "search example.com\nnameserver 192.0.2.1\noptions ndots:2\n";
        assert_eq!(resolv_conf(host, false, &[], &[]), expected);
        assert!(resolv_conf(host, true, &[], &[]).contains("127.0.0.1"));
        assert!(resolv_conf("nameserver 127.0.0.1\n", false, &[], &[]).contains("8.8.8.8"));
    }

    #[test]
    fn name_servers_and_search_domains_of_ones_own_replace_the_hosts() {
        let host = "search example.com\nnameserver 192.0.2.1\n";
        let own = resolv_conf(host, false, &["192.0.2.9".to_owned()], &["test".to_owned()]);
        assert_eq!(own, "nameserver 192.0.2.9\nsearch test\n");
    }

    #[test]
    fn an_empty_volume_gets_the_images_files_and_a_full_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let (image, volume) = (dir.path().join("image"), dir.path().join("volume"));
        fs::create_dir_all(image.join("srv/sub")).unwrap();
        fs::create_dir(&volume).unwrap();
        fs::write(image.join("srv/sub/file"), "first").unwrap();
        let rootfs = Rootfs::open(&image).unwrap();
        fill(&volume, &rootfs, "/srv").unwrap();
        assert_eq!(fs::read_to_string(volume.join("sub/file")).unwrap(), "first");
        fs::write(image.join("srv/sub/file"), "second").unwrap();
        fill(&volume, &rootfs, "/srv").unwrap();
        assert_eq!(fs::read_to_string(volume.join("sub/file")).unwrap(), "first");
        fill(&volume, &rootfs, "/missing").unwrap();
    }
}
