//! Where things are in a runtime root, and how records are written.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Paths of one runtime root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// A layer's files.
    pub(crate) fn layer(&self, chain_id: &str) -> PathBuf {
        self.layers().join(chain_id).join("diff")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub(crate) fn container(&self, id: &str) -> ContainerDir {
        ContainerDir(self.containers().join(id))
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    pub(crate) fn shims(&self) -> PathBuf {
        self.root.join("shims")
    }

    pub(crate) fn network(&self) -> PathBuf {
        self.root.join("network.json")
    }

    /// Makes the directories.
    pub(crate) fn create(&self) -> io::Result<()> {
        for dir in [self.images(), self.layers(), self.containers(), self.volumes(), self.shims()] {
            create_dir(&dir)?;
        }
        Ok(())
    }
}

/// Paths of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerDir(PathBuf);

impl ContainerDir {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// What it is to be: written once.
    pub(crate) fn record(&self) -> PathBuf {
        self.0.join("container.json")
    }

    /// Its network, while it has one.
    pub(crate) fn network(&self) -> PathBuf {
        self.0.join("network.json")
    }

    /// That it was started.
    pub(crate) fn start(&self) -> PathBuf {
        self.0.join("start.json")
    }

    /// How it ended.
    pub(crate) fn exit(&self) -> PathBuf {
        self.0.join("exit.json")
    }

    /// Its health.
    pub(crate) fn health(&self) -> PathBuf {
        self.0.join("health.json")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    pub(crate) fn bundle(&self) -> PathBuf {
        self.0.join("bundle")
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.0.join("bundle/rootfs")
    }

    pub(crate) fn upper(&self) -> PathBuf {
        self.0.join("upper")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    /// Where libcontainer keeps its state.
    pub(crate) fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    pub(crate) fn shm(&self) -> PathBuf {
        self.0.join("shm")
    }

    /// Anonymous volumes.
    pub(crate) fn volumes(&self) -> PathBuf {
        self.0.join("volumes")
    }

    /// A file that is mounted into the container: `hosts`, `hostname`, `resolv.conf`.
    pub(crate) fn etc(&self, name: &str) -> PathBuf {
        self.0.join("etc").join(name)
    }
}

/// Makes a directory and its parents, for root only.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Format version of every record; a record of a later version is refused.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    record: T,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

static WRITES: AtomicU64 = AtomicU64::new(0);

/// Replaces the record at `path` atomically: a reader sees the old or the new one.
///
/// Not synced: a record describes processes, and power loss ends those too. A torn file is then read as missing.
pub(crate) fn write_record<T: Serialize>(path: &Path, record: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(&Versioned { version: VERSION, record })?;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    // Its own for every writer: the last one to rename wins, and no two write into one file.
    name.push(format!(".{}.{}.new", std::process::id(), WRITES.fetch_add(1, Ordering::Relaxed)));
    let new = path.with_file_name(name);
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&bytes)?;
    fs::rename(&new, path)
}

/// The record at `path`; `None` when there is none, or only a torn one.
///
/// # Errors
/// When it cannot be read, or is of a later version than this program's.
pub(crate) fn read_record<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if bytes.is_empty() {
        return Ok(None);
    }
    let invalid =
        |error: serde_json::Error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()));
    let VersionOnly { version } = serde_json::from_slice(&bytes).map_err(invalid)?;
    if version > VERSION {
        let message = format!("{} has version {version}; this program knows {VERSION}: upgrade it", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let Versioned { record, .. } = serde_json::from_slice(&bytes).map_err(invalid)?;
    Ok(Some(record))
}

/// Removes a file; a missing one is no error.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes a directory with everything in it; a missing one is no error.
pub(crate) fn remove_dir(path: &Path) -> io::Result<()> {
    let mut attempts = 0;
    loop {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // Somebody who does not know yet that it goes has written into it.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && attempts < 5 => attempts += 1,
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Record {
        name: String,
    }

    #[test]
    fn a_record_is_read_back_and_a_later_version_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        assert_eq!(read_record::<Record>(&path).unwrap(), None);
        let record = Record { name: "a".to_owned() };
        write_record(&path, &record).unwrap();
        assert_eq!(read_record::<Record>(&path).unwrap(), Some(record));
        fs::write(&path, r#"{"version":2,"surname":"b"}"#).unwrap();
        assert!(read_record::<Record>(&path).unwrap_err().to_string().contains("version 2"));
    }

    #[test]
    fn a_record_that_power_loss_emptied_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        fs::write(&path, "").unwrap();
        assert_eq!(read_record::<Record>(&path).unwrap(), None);
    }
}
