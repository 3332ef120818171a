//! A disk that loses power: what was not synced may be gone, there, or half there.

use std::io;
use std::sync::{Arc, Mutex};

use longshore_seams::{Random, Seams, SeededRandom};
use redb::StorageBackend;

use crate::embedded::{Embedded, EmbeddedOptions};
use crate::{StoreError, locked};

/// Unit in which a torn write survives, in bytes.
const SECTOR: usize = 512;

/// A disk in memory that holds one store's file.
#[derive(Clone, Debug, Default)]
pub struct FaultDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// What the file system shows.
    current: Vec<u8>,
    /// What is on the platter for certain.
    durable: Vec<u8>,
    /// What happened since the last sync, in order.
    unsynced: Vec<Unsynced>,
    syncs: u64,
    /// Syncs fail from this one on.
    failing_from: Option<u64>,
    /// Writes, cuts and syncs until the power goes.
    operations_left: Option<u64>,
    /// No power.
    off: bool,
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
        Embedded::open_on(self.clone(), "fault disk".to_owned(), options, seams)
    }

    /// Cuts the power. Whoever has the disk open gets errors from now on; the disk that is returned
    /// holds what was synced, and of the rest what `seed` lets survive: any of the writes, in any
    /// part, in whole sectors.
    #[must_use]
    pub fn lose_power(&self, seed: u64) -> Self {
        let mut state = locked(&self.state);
        state.off = true;
        let random = SeededRandom::new(seed);
        let mut image = state.durable.clone();
        // Sometimes nothing survives, sometimes all, mostly something.
        let (keep, of) = [(0, 1), (1, 1), (1, 2), (1, 8), (7, 8)][random.below(5) as usize];
        for unsynced in &state.unsynced {
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
        let state = State { current: image.clone(), durable: image, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Makes every sync fail after `more` further ones.
    pub fn fail_syncs_after(&self, more: u64) {
        let mut state = locked(&self.state);
        state.failing_from = Some(state.syncs + more);
    }

    /// Makes the power go before the write, cut or sync that follows `more` further ones.
    pub fn lose_power_after(&self, more: u64) {
        locked(&self.state).operations_left = Some(more);
    }

    /// Syncs so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        locked(&self.state).syncs
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
    fn powered(&mut self) -> io::Result<&mut Self> {
        if self.off { Err(io::Error::other("the power is off")) } else { Ok(self) }
    }

    /// Counts an operation that changes something.
    fn changing(&mut self) -> io::Result<&mut Self> {
        match &mut self.operations_left {
            Some(0) => self.off = true,
            Some(left) => *left -= 1,
            None => {}
        }
        self.powered()
    }
}

impl StorageBackend for FaultDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(locked(&self.state).powered()?.current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = locked(&self.state);
        let offset = position(offset)?;
        let bytes = state.powered()?.current.get(offset..).and_then(|rest| rest.get(..out.len()));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = locked(&self.state);
        let state = state.changing()?;
        let length = position(length)?;
        state.current.resize(length, 0);
        state.unsynced.push(Unsynced::SetLen(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = locked(&self.state);
        let state = state.changing()?;
        if state.failing_from.is_some_and(|from| state.syncs >= from) {
            return Err(io::Error::other("injected: the sync failed"));
        }
        state.syncs += 1;
        for unsynced in state.unsynced.drain(..) {
            match unsynced {
                Unsynced::Write { offset, bytes } => overwrite(&mut state.durable, offset, &bytes),
                Unsynced::SetLen(length) => state.durable.resize(length, 0),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = locked(&self.state);
        let state = state.changing()?;
        let offset = position(offset)?;
        overwrite(&mut state.current, offset, data);
        state.unsynced.push(Unsynced::Write { offset, bytes: data.to_vec() });
        Ok(())
    }
}
