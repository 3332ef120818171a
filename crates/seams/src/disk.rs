//! Files, as far as our append-only logs and caches need them.
//!
//! A file written through [`Disk`] is durable only after [`DiskFile::sync`]; a new name only after
//! [`Disk::sync_dir`]. [`MemoryDisk::crash`] takes those words literally: it throws away whatever
//! was not synced, which is how power loss is tested.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An open file: appended to at its end, read anywhere.
pub trait DiskFile: Send + Debug {
    /// Appends `bytes` at the end.
    ///
    /// # Errors
    /// Whatever the file system answers; the file may then end in a part of `bytes`.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Reads up to `bytes.len()` bytes from `offset`; 0 at the end.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;

    /// Length in bytes.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn len(&mut self) -> io::Result<u64>;

    /// Whether the file holds nothing.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn is_empty(&mut self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file to `length` bytes.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// Returns once everything written is on stable storage.
    ///
    /// # Errors
    /// Whatever the file system answers; the data must then be taken as lost.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file system.
pub trait Disk: Send + Sync + Debug {
    /// Opens `path` for reading and appending, making it (mode 0600) when it is not there.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Names in the directory `path`, sorted; empty when there is no such directory.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Makes `path` and its parents (mode 0700).
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Replaces the file at `to` by the one at `from`, atomically.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the file at `path`; a missing one is no error.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes the empty directory `path`; a missing one is no error.
    ///
    /// # Errors
    /// Whatever the file system answers, as when it is not empty.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in the directory `path` durable.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// The whole file at `path`; `None` when it is not there.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;

    /// Whether calls may wait for hardware, and so belong off the async workers.
    fn waits(&self) -> bool {
        true
    }

    /// Replaces the file at `path` by `bytes`, atomically and durably.
    ///
    /// # Errors
    /// Whatever the file system answers; the old content is then still there.
    fn write_atomically(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".new");
        let new = path.with_file_name(name);
        self.remove(&new)?;
        let mut file = self.open(&new)?;
        file.append(bytes)?;
        file.sync()?;
        self.rename(&new, path)?;
        self.sync_dir(path.parent().unwrap_or(Path::new("/")))
    }
}

/// The machine's file system.
#[derive(Clone, Copy, Debug)]
pub struct SystemDisk;

#[derive(Debug)]
struct SystemFile(fs::File);

impl DiskFile for SystemFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        // The file is in append mode, so moving the cursor does not move the writes.
        self.0.seek(SeekFrom::Start(offset))?;
        self.0.read(bytes)
    }

    fn len(&mut self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

impl Disk for SystemDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = fs::OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        Ok(Box::new(SystemFile(file)))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        match fs::remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct MemoryContent {
    written: Vec<u8>,
    synced: usize,
}

type MemoryFiles = Arc<Mutex<BTreeMap<PathBuf, Arc<Mutex<MemoryContent>>>>>;

/// A file system in memory that can lose power.
///
/// Names are durable at once (a simplification: only content can be lost).
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    files: MemoryFiles,
}

#[derive(Debug)]
struct MemoryFile(Arc<Mutex<MemoryContent>>);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryDisk {
    /// What the disk holds after power was lost now: every file cut to its last sync.
    #[must_use]
    pub fn crash(&self) -> Self {
        let files = locked(&self.files)
            .iter()
            .map(|(path, content)| {
                let mut content = locked(content).clone();
                content.written.truncate(content.synced);
                (path.clone(), Arc::new(Mutex::new(content)))
            })
            .collect();
        Self { files: Arc::new(Mutex::new(files)) }
    }
}

impl DiskFile for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        locked(&self.0).written.extend_from_slice(bytes);
        Ok(())
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let content = locked(&self.0);
        let rest = usize::try_from(offset).ok().and_then(|offset| content.written.get(offset..)).unwrap_or(&[]);
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn len(&mut self) -> io::Result<u64> {
        Ok(locked(&self.0).written.len() as u64)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut content = locked(&self.0);
        content.written.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        content.synced = content.synced.min(content.written.len());
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut content = locked(&self.0);
        content.synced = content.written.len();
        Ok(())
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let content = locked(&self.files).entry(path.to_owned()).or_default().clone();
        Ok(Box::new(MemoryFile(content)))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let files = locked(&self.files);
        let names = files.keys().filter(|file| file.parent() == Some(path));
        Ok(names.filter_map(|file| Some(file.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn create_dir_all(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = locked(&self.files);
        let content = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        locked(&self.files).remove(path);
        Ok(())
    }

    fn remove_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn waits(&self) -> bool {
        false
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok(locked(&self.files).get(path).map(|content| locked(content).written.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_loses_what_was_not_synced() {
        let disk = MemoryDisk::default();
        let path = Path::new("/a");
        let mut file = disk.open(path).unwrap();
        file.append(b"kept").unwrap();
        file.sync().unwrap();
        file.append(b"lost").unwrap();
        assert_eq!(disk.crash().read(path).unwrap().unwrap(), b"kept");
        assert_eq!(disk.read(path).unwrap().unwrap(), b"keptlost");
    }
}
