//! Layers: from a tar stream to a directory that overlayfs can use.
//!
//! An archive is hostile until proven otherwise. Every write is made relative to a descriptor of its parent,
//! and parents are resolved by the kernel inside the layer's directory (`RESOLVE_IN_ROOT`): neither `..` nor a
//! symbolic link, wherever it points, leads out. The last component is never followed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
    fchmod, linkat, makedev, mkdirat, mknodat, openat, openat2, symlinkat, unlinkat, utimensat,
};
use tar::{Entry, EntryType};

/// Most bytes that the files of one layer may have.
pub(crate) const MAX_LAYER_BYTES: u64 = 64 << 30;
/// Most entries of one layer.
const MAX_ENTRIES: u64 = 4 << 20;

/// Writes the layer in `stream` (a plain tar) into the empty directory `root`; answers the bytes of its files.
///
/// # Errors
/// When the stream is no tar, an entry cannot be written, or a bound is exceeded. The directory is then in a state
/// that is good for nothing but removal.
pub(crate) fn unpack(stream: impl Read, root: &Path) -> io::Result<u64> {
    let root = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut layer = Layer { root, directories: Vec::new(), bytes: 0 };
    let mut archive = tar::Archive::new(stream);
    let mut entries: u64 = 0;
    for entry in archive.entries()? {
        let mut entry = entry?;
        entries += 1;
        if entries > MAX_ENTRIES {
            return Err(io::Error::other(format!("the layer has more than {MAX_ENTRIES} entries")));
        }
        let path = relative(&entry.path_bytes())?;
        layer
            .write(&mut entry, &path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    }
    layer.finish()?;
    Ok(layer.bytes)
}

struct Layer {
    root: OwnedFd,
    /// Directories and their times, set last because writing into them changes those.
    directories: Vec<(PathBuf, i64)>,
    bytes: u64,
}

/// The path of an entry inside the layer; empty for the root.
fn relative(path: &[u8]) -> io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(path)).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                let path = String::from_utf8_lossy(path);
                return Err(io::Error::other(format!("the layer has an entry that leads out of it: {path:?}")));
            }
        }
    }
    Ok(clean)
}

impl Layer {
    fn write<R: Read>(&mut self, entry: &mut Entry<'_, R>, path: &Path) -> io::Result<()> {
        let Some(name) = path.file_name() else {
            return self.attributes(entry, self.root_dir()?.as_fd(), OsStr::new("."), path);
        };
        let parent = self.directory(path.parent().unwrap_or(Path::new("")))?;
        let parent = parent.as_fd();
        if let Some(hidden) = name.as_bytes().strip_prefix(b".wh.") {
            return whiteout(parent, OsStr::from_bytes(hidden));
        }
        let kind = entry.header().entry_type();
        if !(kind == EntryType::Directory && is_directory(parent, name)) {
            remove(parent, name)?;
        }
        match kind {
            EntryType::Directory => {
                match mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
                    Err(rustix::io::Errno::EXIST) | Ok(()) => {}
                    Err(error) => return Err(error.into()),
                }
                self.directories.push((path.to_owned(), mtime(entry)));
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(entry, parent, name)?;
            }
            EntryType::Symlink => {
                let target = link_name(entry)?;
                symlinkat(target.as_path(), parent, name)?;
            }
            EntryType::Link => return self.hard_link(entry, parent, name),
            EntryType::Fifo => mknodat(parent, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?,
            EntryType::Char | EntryType::Block => return self.device(entry, parent, name, path),
            // Metadata for the whole archive, or extensions that no image carries.
            _ => return Ok(()),
        }
        self.attributes(entry, parent, name, path)
    }

    /// Descriptor of the directory `path` inside the layer, made with its parents when it is not there.
    fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        if path.as_os_str().is_empty() {
            return self.root_dir();
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        match openat2(&self.root, path, flags, Mode::empty(), resolve) {
            Ok(directory) => Ok(directory),
            Err(rustix::io::Errno::NOENT) => {
                let name = path.file_name().unwrap_or_default();
                let parent = self.directory(path.parent().unwrap_or(Path::new("")))?;
                mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
                Ok(openat(&parent, name, flags | OFlags::NOFOLLOW, Mode::empty())?)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn root_dir(&self) -> io::Result<OwnedFd> {
        self.root.try_clone()
    }

    fn file<R: Read>(&mut self, entry: &mut Entry<'_, R>, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(parent, name, flags, Mode::from_raw_mode(0o600))?);
        let left = MAX_LAYER_BYTES.saturating_sub(self.bytes);
        let written = io::copy(&mut entry.take(left.saturating_add(1)), &mut file)?;
        if written > left {
            return Err(io::Error::other(format!("the layer has more than {MAX_LAYER_BYTES} bytes")));
        }
        self.bytes += written;
        Ok(())
    }

    fn hard_link<R: Read>(&self, entry: &Entry<'_, R>, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        let target = relative(link_name(entry)?.as_os_str().as_bytes())?;
        let target_name = target.file_name().ok_or_else(|| io::Error::other("a hard link to the root"))?;
        let target_parent = self.directory(target.parent().unwrap_or(Path::new("")))?;
        Ok(linkat(&target_parent, target_name, parent, name, AtFlags::empty())?)
    }

    /// Device nodes are kept: what a container may open is decided by its device cgroup, not by the file.
    fn device<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
    ) -> io::Result<()> {
        let header = entry.header();
        let number = |field: io::Result<Option<u32>>| field.ok().flatten().unwrap_or(0);
        let (major, minor) = (number(header.device_major()), number(header.device_minor()));
        let kind =
            if header.entry_type() == EntryType::Char { FileType::CharacterDevice } else { FileType::BlockDevice };
        // A character device 0:0 means "deleted" to overlayfs: only whiteouts may make one.
        if kind == FileType::CharacterDevice && (major, minor) == (0, 0) {
            return Ok(());
        }
        mknodat(parent, name, kind, Mode::from_raw_mode(0o600), makedev(major, minor))?;
        self.attributes(entry, parent, name, path)
    }

    /// Owner, mode, extended attributes and time of what was just written.
    fn attributes<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
    ) -> io::Result<()> {
        let header = entry.header();
        // Blank fields, which tar writers of old leave, are zeros.
        let (uid, gid) = (id(header.uid().unwrap_or(0))?, id(header.gid().unwrap_or(0))?);
        let (mode, symlink) = (header.mode()?, header.entry_type() == EntryType::Symlink);
        chownat(parent, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::SYMLINK_NOFOLLOW)?;
        // After the owner, whose change takes the set-user-ID bit away.
        if !symlink {
            set_mode(parent, name, mode)?;
        }
        let time = mtime(entry);
        extended_attributes(entry, parent, name, path)?;
        set_time(parent, name, time)
    }

    fn finish(&mut self) -> io::Result<()> {
        for (path, time) in std::mem::take(&mut self.directories) {
            let parent = self.directory(path.parent().unwrap_or(Path::new("")))?;
            if let Some(name) = path.file_name()
                && is_directory(parent.as_fd(), name)
            {
                set_time(parent.as_fd(), name, time)?;
            }
        }
        Ok(())
    }
}

fn id(number: u64) -> io::Result<u32> {
    u32::try_from(number).map_err(|_| io::Error::other(format!("the owner {number} is no user or group id")))
}

fn mtime<R: Read>(entry: &Entry<'_, R>) -> i64 {
    i64::try_from(entry.header().mtime().unwrap_or(0)).unwrap_or(0)
}

fn link_name<R: Read>(entry: &Entry<'_, R>) -> io::Result<PathBuf> {
    let name = entry.link_name_bytes().ok_or_else(|| io::Error::other("a link without a target"))?;
    Ok(PathBuf::from(OsStr::from_bytes(&name)))
}

fn set_mode(parent: BorrowedFd<'_>, name: &OsStr, mode: u32) -> io::Result<()> {
    let mode = Mode::from_raw_mode(mode & 0o7777);
    // Opening may block (a fifo) or do things (a device); its name in the parent was just made and is no link.
    if name == "." {
        let root = openat(parent, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        return Ok(fchmod(&root, mode)?);
    }
    Ok(chmodat(parent, name, mode, AtFlags::empty())?)
}

fn set_time(parent: BorrowedFd<'_>, name: &OsStr, seconds: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn extended_attributes<R: Read>(
    entry: &mut Entry<'_, R>,
    parent: BorrowedFd<'_>,
    name: &OsStr,
    path: &Path,
) -> io::Result<()> {
    const PREFIX: &str = "SCHILY.xattr.";
    let Some(extensions) = entry.pax_extensions()? else { return Ok(()) };
    for extension in extensions {
        let extension = extension?;
        let Some(key) = extension.key().ok().and_then(|key| key.strip_prefix(PREFIX)) else { continue };
        // They steer overlayfs: an image must not.
        if key.starts_with("trusted.") {
            tracing::debug!(path = %path.display(), key, "left out an attribute that only overlayfs may have");
            continue;
        }
        set_attribute(parent, name, key, extension.value_bytes())?;
    }
    Ok(())
}

fn set_attribute(parent: BorrowedFd<'_>, name: &OsStr, key: &str, value: &[u8]) -> io::Result<()> {
    let path = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name);
    Ok(rustix::fs::lsetxattr(&path, key, value, XattrFlags::empty())?)
}

fn is_directory(parent: BorrowedFd<'_>, name: &OsStr) -> bool {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Removes what an earlier entry of the same layer put there.
fn remove(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(rustix::io::Errno::ISDIR) => {
            let path = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name);
            std::fs::remove_dir_all(path)
        }
        Err(error) => Err(error.into()),
    }
}

/// `.wh.<hidden>`: deletes `hidden` of the layers below; `.wh..wh..opq` deletes all of the directory.
fn whiteout(parent: BorrowedFd<'_>, hidden: &OsStr) -> io::Result<()> {
    if hidden == ".wh..opq" {
        return set_attribute(parent, OsStr::new("."), "trusted.overlay.opaque", b"y");
    }
    // Other names of this form are bookkeeping of a file system that images were once made with.
    if hidden.as_bytes().starts_with(b".wh.") || hidden.is_empty() || hidden == "." || hidden == ".." {
        return Ok(());
    }
    remove(parent, hidden)?;
    Ok(mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

    use super::*;

    fn header(kind: EntryType, size: usize) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size as u64);
        header.set_mode(0o644);
        header.set_mtime(1_000_000);
        header
    }

    /// An archive whose names are written as they are, also when they lead out.
    #[derive(Default)]
    struct Archive(Vec<u8>);

    impl Archive {
        fn entry(mut self, kind: EntryType, name: &str, link: &str, content: &[u8]) -> Self {
            let mut header = header(kind, content.len());
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_cksum();
            self.0.extend_from_slice(header.as_bytes());
            self.0.extend_from_slice(content);
            self.0.resize(self.0.len().next_multiple_of(512), 0);
            self
        }

        fn file(self, name: &str, content: &str) -> Self {
            self.entry(EntryType::Regular, name, "", content.as_bytes())
        }

        fn unpack(mut self) -> (tempfile::TempDir, io::Result<u64>) {
            self.0.extend_from_slice(&[0; 1024]);
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().join("root");
            fs::create_dir(&root).unwrap();
            let result = unpack(&self.0[..], &root);
            (dir, result)
        }
    }

    fn is_root() -> bool {
        let root = nix::unistd::geteuid().is_root();
        if !root {
            eprintln!("skipped: owners and device nodes need root");
        }
        root
    }

    #[test]
    fn entries_that_lead_out_by_their_names_are_refused() {
        for name in ["../evil", "a/../../evil"] {
            let (_dir, result) = Archive::default().file(name, "x").unpack();
            assert!(result.unwrap_err().to_string().contains("leads out"), "{name}");
        }
    }

    #[test]
    fn entries_below_symbolic_links_stay_inside() {
        if !is_root() {
            return;
        }
        for target in ["/", "/tmp", "../..", "../../../../../tmp"] {
            let (dir, result) =
                Archive::default().entry(EntryType::Symlink, "link", target, b"").file("link/evil", "x").unpack();
            // Written somewhere inside, or refused; never outside.
            drop(result);
            assert!(!dir.path().join("evil").exists() && !Path::new("/evil").exists(), "{target}");
            assert!(!Path::new("/tmp/evil").exists(), "{target}");
        }
    }

    #[test]
    fn a_file_replaces_a_link_instead_of_writing_through_it() {
        if !is_root() {
            return;
        }
        let (dir, result) =
            Archive::default().entry(EntryType::Symlink, "a", "/tmp/longshore-evil", b"").file("a", "x").unpack();
        result.unwrap();
        assert!(!Path::new("/tmp/longshore-evil").exists());
        assert_eq!(fs::read(dir.path().join("root/a")).unwrap(), b"x");
    }

    #[test]
    fn a_hard_link_can_not_name_a_file_outside() {
        if !is_root() {
            return;
        }
        let (_dir, result) = Archive::default().entry(EntryType::Link, "a", "../../../etc/passwd", b"").unpack();
        assert!(result.is_err());
        let (_dir, result) = Archive::default().entry(EntryType::Link, "a", "/etc/passwd", b"").unpack();
        assert!(result.is_err());
    }

    #[test]
    fn whiteouts_become_what_overlayfs_understands() {
        if !is_root() {
            return;
        }
        let (dir, result) = Archive::default().file("a/.wh.gone", "").file("b/.wh..wh..opq", "").unpack();
        result.unwrap();
        let gone = fs::symlink_metadata(dir.path().join("root/a/gone")).unwrap();
        assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
        let mut value = [0; 8];
        let length = rustix::fs::getxattr(dir.path().join("root/b"), "trusted.overlay.opaque", &mut value).unwrap();
        assert_eq!(&value[..length], b"y");
    }

    #[test]
    fn an_archive_can_not_forge_a_whiteout() {
        if !is_root() {
            return;
        }
        let (dir, result) = Archive::default().entry(EntryType::Char, "forged", "", b"").unpack();
        result.unwrap();
        assert!(!dir.path().join("root/forged").exists());
    }

    #[test]
    fn owner_mode_and_time_are_kept() {
        if !is_root() {
            return;
        }
        let mut archive = Archive::default();
        let mut header = header(EntryType::Regular, 1);
        header.as_old_mut().name[..4].copy_from_slice(b"tool");
        header.set_mode(0o4755);
        header.set_uid(7);
        header.set_gid(8);
        header.set_cksum();
        archive.0.extend_from_slice(header.as_bytes());
        archive.0.extend_from_slice(b"x");
        archive.0.resize(archive.0.len().next_multiple_of(512), 0);
        let (dir, result) = archive.unpack();
        assert_eq!(result.unwrap(), 1);
        let metadata = fs::metadata(dir.path().join("root/tool")).unwrap();
        assert_eq!((metadata.permissions().mode() & 0o7777, metadata.uid(), metadata.gid()), (0o4755, 7, 8));
        assert_eq!(metadata.mtime(), 1_000_000);
    }
}
