//! A disk that loses power: what was not synced may be gone, there, or half there. It may also be
//! full, slow, or fail.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use longshore_seams::{Random, Seams, SeededRandom};
use redb::StorageBackend;

use crate::embedded::{Embedded, EmbeddedOptions};
use crate::{StoreError, locked};

/// Unit in which a torn write survives, in bytes.
const SECTOR: usize = 512;

/// A disk in memory that holds one store's files.
#[derive(Clone, Debug, Default)]
pub struct FaultDisk {
    disk: Arc<Disk>,
}

/// One of a store's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultFile {
    /// `store.redb`.
    Database,
    /// `store.wal`.
    Log,
}

#[derive(Debug, Default)]
struct Disk {
    state: Mutex<State>,
    /// Something may go on.
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    files: [File; 2],
    /// Writes, cuts and syncs until the power goes.
    operations_left: Option<u64>,
    /// No power.
    off: bool,
}

#[derive(Debug, Default)]
struct File {
    /// What the file system shows.
    current: Vec<u8>,
    /// What is on the platter for certain.
    durable: Vec<u8>,
    /// What happened since the last sync, in order.
    unsynced: Vec<Unsynced>,
    syncs: u64,
    /// Syncs fail from this one on.
    failing_from: Option<u64>,
    /// Nothing more can be written.
    full: bool,
    /// Syncs wait.
    held: bool,
}

#[derive(Clone, Debug)]
enum Unsynced {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

impl FaultDisk {
    /// Opens the store on it, making it when the disk is empty.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn open(&self, options: EmbeddedOptions, seams: &Seams) -> Result<Embedded, StoreError> {
        let backend = |file| Backend { disk: self.disk.clone(), file };
        let log = |_| Ok(Some(Box::new(backend(FaultFile::Log)) as Box<dyn StorageBackend>));
        Embedded::open_on(backend(FaultFile::Database), &log, "fault disk".to_owned(), options, seams)
    }

    /// Cuts the power. Whoever has the disk open gets errors from now on; the disk that is returned
    /// holds what was synced, and of the rest what `seed` lets survive, in each file for itself: any
    /// of the writes, in any part, in whole sectors.
    #[must_use]
    pub fn lose_power(&self, seed: u64) -> Self {
        let mut state = locked(&self.disk.state);
        state.off = true;
        let random = SeededRandom::new(seed);
        let images = [0, 1].map(|file: usize| state.files[file].survivor(&random));
        drop(state);
        self.disk.released.notify_all();
        Self::of(images)
    }

    /// A disk that holds what is certain to survive now, while this one goes on.
    #[must_use]
    pub fn copy(&self) -> Self {
        let state = locked(&self.disk.state);
        Self::of([0, 1].map(|file: usize| state.files[file].durable.clone()))
    }

    fn of(images: [Vec<u8>; 2]) -> Self {
        let files = images.map(|image| File { current: image.clone(), durable: image, ..File::default() });
        let state = State { files, ..State::default() };
        Self { disk: Arc::new(Disk { state: Mutex::new(state), released: Condvar::new() }) }
    }

    /// Makes every sync of a file fail after `more` further ones.
    pub fn fail_syncs_after(&self, file: FaultFile, more: u64) {
        let mut state = locked(&self.disk.state);
        let file = &mut state.files[file as usize];
        file.failing_from = Some(file.syncs + more);
    }

    /// Makes the disk full for a file, what it has already included.
    pub fn fill_up(&self, file: FaultFile) {
        locked(&self.disk.state).files[file as usize].full = true;
    }

    /// Makes syncs of a file wait until [`Self::release_syncs`].
    pub fn hold_syncs(&self, file: FaultFile) {
        locked(&self.disk.state).files[file as usize].held = true;
    }

    /// Lets the syncs of a file go on.
    pub fn release_syncs(&self, file: FaultFile) {
        locked(&self.disk.state).files[file as usize].held = false;
        self.disk.released.notify_all();
    }

    /// Removes a file.
    pub fn remove(&self, file: FaultFile) {
        locked(&self.disk.state).files[file as usize] = File::default();
    }

    /// Makes the power go before the write, cut or sync that follows `more` further ones.
    pub fn lose_power_after(&self, more: u64) {
        locked(&self.disk.state).operations_left = Some(more);
    }

    /// Syncs so far, of both files.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        locked(&self.disk.state).files.iter().map(|file| file.syncs).sum()
    }
}

impl File {
    fn survivor(&self, random: &SeededRandom) -> Vec<u8> {
        let mut image = self.durable.clone();
        // Sometimes nothing survives, sometimes all, mostly something.
        let (keep, of) = [(0, 1), (1, 1), (1, 2), (1, 8), (7, 8)][random.below(5) as usize];
        for unsynced in &self.unsynced {
            match unsynced {
                Unsynced::SetLen(length) if random.below(of) < keep => image.resize(*length, 0),
                Unsynced::SetLen(_) => {}
                Unsynced::Write { offset, bytes } => {
                    let mut at = *offset;
                    let mut rest = bytes.as_slice();
                    while !rest.is_empty() {
                        let (sector, tail) = rest.split_at(rest.len().min(SECTOR - at % SECTOR));
                        if random.below(of) < keep {
                            overwrite(&mut image, at, sector);
                        }
                        at += sector.len();
                        rest = tail;
                    }
                }
            }
        }
        image
    }

    fn room(&self) -> io::Result<()> {
        if self.full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

fn overwrite(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(bytes);
}

fn position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl State {
    fn powered(&self) -> io::Result<()> {
        if self.off { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    /// Counts an operation that changes something.
    fn changing(&mut self) -> io::Result<()> {
        match &mut self.operations_left {
            Some(0) => self.off = true,
            Some(left) => *left -= 1,
            None => {}
        }
        self.powered()
    }
}

/// One file of the disk, opened.
#[derive(Debug)]
struct Backend {
    disk: Arc<Disk>,
    file: FaultFile,
}

impl Backend {
    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.disk.state)
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        let state = self.state();
        state.powered()?;
        Ok(state.files[self.file as usize].current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        state.powered()?;
        let current = &state.files[self.file as usize].current;
        let bytes = current.get(position(offset)?..).and_then(|rest| rest.get(..out.len()));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.state();
        state.changing()?;
        let file = &mut state.files[self.file as usize];
        let length = position(length)?;
        if length > file.current.len() {
            file.room()?;
        }
        file.current.resize(length, 0);
        file.unsynced.push(Unsynced::SetLen(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let held = |state: &mut State| !state.off && state.files[self.file as usize].held;
        let state = self.disk.released.wait_while(self.state(), held);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.changing()?;
        let file = &mut state.files[self.file as usize];
        if file.failing_from.is_some_and(|from| file.syncs >= from) {
            return Err(io::Error::other("injected: the sync failed"));
        }
        file.syncs += 1;
        for unsynced in file.unsynced.drain(..) {
            match unsynced {
                Unsynced::Write { offset, bytes } => overwrite(&mut file.durable, offset, &bytes),
                Unsynced::SetLen(length) => file.durable.resize(length, 0),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.changing()?;
        let file = &mut state.files[self.file as usize];
        file.room()?;
        let offset = position(offset)?;
        overwrite(&mut file.current, offset, data);
        file.unsynced.push(Unsynced::Write { offset, bytes: data.to_vec() });
        Ok(())
    }
}
