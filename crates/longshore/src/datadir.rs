//! The data directory: what is where in it, who has it, and how it is told from others.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use longshore_seams::Random;

/// The newest layout that this version writes and reads.
const FORMAT: u32 = 1;

/// A data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The file system said no.
    #[error("the data directory {path} can't be used: {source}. Choose another one with --data-dir.")]
    Io {
        /// The directory or a file in it.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process has it.
    #[error(
        "the data directory {path} is in use by process {pid}. Stop that one with 'longshore down --data-dir {path}', or choose another directory with --data-dir."
    )]
    InUse {
        /// The directory.
        path: String,
        /// Who has it.
        pid: String,
    },
    /// Written by a newer version.
    #[error(
        "the data directory {path} has layout {found}; this version knows up to {FORMAT}: use the newer Longshore that wrote it."
    )]
    Newer {
        /// The directory.
        path: String,
        /// Its layout.
        found: u32,
    },
    /// The `id` file is not one of ours.
    #[error("{path} is damaged: it should hold a layout number and 8 hexadecimal digits. Restore it from a backup.")]
    Damaged {
        /// The file.
        path: String,
    },
}

fn io_at(path: &Path) -> impl FnOnce(std::io::Error) -> DataDirError + '_ {
    move |source| DataDirError::Io { path: path.display().to_string(), source }
}

/// An opened data directory.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    id: String,
    /// Held until the process ends; absent for a look that changes nothing.
    _lock: Option<nix::fcntl::Flock<fs::File>>,
}

/// Where data goes when nothing is said: `/var/lib/longshore` for root, else below the home directory.
#[must_use]
pub fn default_path() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return PathBuf::from("/var/lib/longshore");
    }
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
    std::env::var_os("XDG_DATA_HOME").map_or_else(|| home.join(".local/share"), PathBuf::from).join("longshore")
}

impl DataDir {
    /// Opens `path` for this process alone, making it when it is not there.
    ///
    /// # Errors
    /// It is in use, unwritable, damaged, or newer than this version.
    pub fn open(path: &Path, random: &dyn Random) -> Result<Self, DataDirError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_at(path))?;
        let path = path.canonicalize().map_err(io_at(path))?;
        let lock = lock(&path)?;
        let id = match read_id(&path)? {
            Some(id) => id,
            None => {
                let id = random.hex32()[..8].to_owned();
                write_id(&path, &id)?;
                id
            }
        };
        for part in ["server", "agent", "runtime"] {
            let part = path.join(part);
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&part).map_err(io_at(&part))?;
        }
        Ok(Self { path, id, _lock: Some(lock) })
    }

    /// Looks at an existing directory without taking it; `None` when there is none.
    ///
    /// # Errors
    /// It is unreadable, damaged or newer than this version.
    pub fn look(path: &Path) -> Result<Option<Self>, DataDirError> {
        let Ok(path) = path.canonicalize() else { return Ok(None) };
        Ok(read_id(&path)?.map(|id| Self { path, id, _lock: None }))
    }

    /// The process that has the directory at `path`, if one has.
    #[must_use]
    pub fn owner(path: &Path) -> Option<i32> {
        let file = fs::File::open(path.join("lock")).ok()?;
        match nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockSharedNonblock) {
            Ok(_) => None,
            Err((mut file, _)) => {
                let mut text = String::new();
                file.read_to_string(&mut text).ok()?;
                text.trim().parse().ok()
            }
        }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Eight hexadecimal digits that name everything this directory owns on the host: bridge, NAT
    /// table, cgroups, labels.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The control plane's part.
    #[must_use]
    pub fn server(&self) -> PathBuf {
        self.path.join("server")
    }

    /// The agent's part: identity and a cache that may be deleted.
    #[must_use]
    pub fn agent(&self) -> PathBuf {
        self.path.join("agent")
    }

    /// The runtime root: images, layers, containers, volumes, shims.
    #[must_use]
    pub fn runtime(&self) -> PathBuf {
        self.path.join("runtime")
    }
}

fn lock(path: &Path) -> Result<nix::fcntl::Flock<fs::File>, DataDirError> {
    let file_path = path.join("lock");
    let options =
        fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&file_path);
    let file = options.map_err(io_at(&file_path))?;
    match nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock) {
        Ok(mut file) => {
            file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(io_at(&file_path))?;
            file.write_all(std::process::id().to_string().as_bytes()).map_err(io_at(&file_path))?;
            Ok(file)
        }
        Err((mut file, _)) => {
            let mut pid = String::new();
            file.read_to_string(&mut pid).map_err(io_at(&file_path))?;
            Err(DataDirError::InUse { path: path.display().to_string(), pid: pid.trim().to_owned() })
        }
    }
}

fn read_id(path: &Path) -> Result<Option<String>, DataDirError> {
    let file = path.join("id");
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_at(&file)(error)),
    };
    let damaged = || DataDirError::Damaged { path: file.display().to_string() };
    let (format, id) = text.trim().split_once(' ').ok_or_else(damaged)?;
    let found: u32 = format.parse().map_err(|_| damaged())?;
    if found > FORMAT {
        return Err(DataDirError::Newer { path: path.display().to_string(), found });
    }
    let valid = id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if valid { Ok(Some(id.to_owned())) } else { Err(damaged()) }
}

fn write_id(path: &Path, id: &str) -> Result<(), DataDirError> {
    let file = path.join("id");
    let write = || {
        let new = path.join("id.new");
        let mut handle = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        handle.write_all(format!("{FORMAT} {id}\n").as_bytes())?;
        handle.sync_all()?;
        fs::rename(&new, &file)?;
        fs::File::open(path)?.sync_all()
    };
    write().map_err(io_at(&file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_seams::SystemRandom;

    #[test]
    fn a_directory_keeps_its_id_and_has_one_owner() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let first = DataDir::open(&path, &SystemRandom).unwrap();
        let id = first.id().to_owned();
        assert!(matches!(DataDir::open(&path, &SystemRandom), Err(DataDirError::InUse { .. })));
        assert_eq!(DataDir::owner(&path), i32::try_from(std::process::id()).ok());
        drop(first);
        assert_eq!(DataDir::owner(&path), None);
        assert_eq!(DataDir::open(&path, &SystemRandom).unwrap().id(), id);
    }

    #[test]
    fn a_newer_layout_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("id"), "2 01234567\n").unwrap();
        assert!(matches!(DataDir::open(parent.path(), &SystemRandom), Err(DataDirError::Newer { found: 2, .. })));
    }

    #[test]
    fn a_damaged_id_is_not_replaced() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("id"), "1 xyz\n").unwrap();
        assert!(matches!(DataDir::open(parent.path(), &SystemRandom), Err(DataDirError::Damaged { .. })));
    }
}
