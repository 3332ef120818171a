//! A machine's disk: in memory, and sometimes full.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use longshore_seams::{Disk, DiskFile, MemoryDisk};

/// The disk. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimDisk {
    content: MemoryDisk,
    full: Arc<AtomicBool>,
}

impl SimDisk {
    /// Makes every write fail, or work again.
    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// What is left after power was lost now.
    pub fn lose_power(&mut self) {
        self.content = self.content.crash();
    }

    fn room(&self) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

#[derive(Debug)]
struct SimFile {
    file: Box<dyn DiskFile>,
    disk: SimDisk,
}

impl DiskFile for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk.room()?;
        self.file.append(bytes)
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, bytes)
    }

    fn len(&mut self) -> io::Result<u64> {
        self.file.len()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(SimFile { file: self.content.open(path)?, disk: self.clone() }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.content.list(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.content.create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.content.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.content.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.content.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.content.sync_dir(path)
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.content.read(path)
    }

    fn waits(&self) -> bool {
        false
    }
}
