//! The write-ahead log: the file in which transactions become durable.
//!
//! A header block, then two halves of equal size that are written in turn. A commit is one frame:
//! its transactions' change-log rows under a checksum, in whole blocks of its own, so that a torn
//! write never touches what was acknowledged before. The file is filled with zeros when it is made;
//! from then on it is only overwritten, and `fdatasync` has no metadata to write.
//!
//! Nothing is ever erased. A half is begun anew once the database holds durably all that is in it;
//! what stays behind from its last round has revisions that the database has, and is passed over.
//! Each opening gives the log a new id, so frames from before it can't be taken for its own.

use std::io;

use redb::StorageBackend;

use crate::change;
use crate::crc::crc32c;
use crate::{MAX_TXN_BYTES, MAX_TXN_OPERATIONS, Revision};

use super::EmbeddedOptions;

/// Frames begin at multiples of it, in bytes: what disks and page caches write as a whole.
const BLOCK: usize = 4_096;
const HALVES: u64 = 2;
/// First bytes of the file; the last one is the log's format.
const MAGIC: [u8; 8] = *b"LSHRWAL\x01";
/// Magic, id, bytes of a half, checksum of the three.
const HEADER_BYTES: usize = 28;
/// Checksum of the rest, bytes of the rows, id of the log, first revision, last revision.
const FRAME_HEADER_BYTES: usize = 32;
/// Bytes that are zeroed with one write.
const ZEROS: usize = 1 << 20;

/// The log's file, open for appending.
#[derive(Debug)]
pub(super) struct Wal {
    storage: Box<dyn StorageBackend>,
    header: WalHeader,
    /// The half that is written now, and how far, in bytes.
    half: u64,
    used: u64,
}

/// What the file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WalHeader {
    /// Never 0.
    pub(super) id: u64,
    half_bytes: u64,
}

impl WalHeader {
    /// The header of a log in which everything that `options` let into one commit finds room.
    pub(super) fn new(id: u64, options: &EmbeddedOptions) -> Self {
        let per_txn = 4 + 1 + MAX_TXN_OPERATIONS * change::OP_OVERHEAD;
        let frame = FRAME_HEADER_BYTES
            .saturating_add(options.batch_bytes)
            .saturating_add(MAX_TXN_BYTES)
            .saturating_add(options.batch_transactions.saturating_mul(per_txn));
        let half_bytes = options.checkpoint_bytes.saturating_add(frame as u64).next_multiple_of(BLOCK as u64);
        Self { id, half_bytes }
    }

    fn file_bytes(self) -> u64 {
        BLOCK as u64 + HALVES * self.half_bytes
    }

    /// The header of a log that was made whole.
    pub(super) fn read(storage: &dyn StorageBackend) -> io::Result<Option<Self>> {
        let length = storage.len()?;
        if length < BLOCK as u64 {
            return Ok(None);
        }
        let mut bytes = [0; HEADER_BYTES];
        storage.read(0, &mut bytes)?;
        let header = Self { id: u64_at(&bytes, 8), half_bytes: u64_at(&bytes, 16) };
        Ok((bytes == header.encode() && header.file_bytes() == length).then_some(header))
    }

    fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.id.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.half_bytes.to_le_bytes());
        let crc = crc32c(&bytes[..24]);
        bytes[24..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn start(self, half: u64) -> u64 {
        BLOCK as u64 + half * self.half_bytes
    }

    /// The frames at the beginning of a half that are whole and continue one another.
    fn frames(self, storage: &dyn StorageBackend, half: u64) -> io::Result<Vec<Frame>> {
        let mut frames: Vec<Frame> = Vec::new();
        let mut at = 0;
        while let Some(frame) = self.frame(storage, half, at)? {
            if frames.last().is_some_and(|last| frame.first != last.last + 1) {
                break;
            }
            at += frame.bytes.len() as u64;
            frames.push(frame);
        }
        Ok(frames)
    }

    fn frame(self, storage: &dyn StorageBackend, half: u64, at: u64) -> io::Result<Option<Frame>> {
        if at + BLOCK as u64 > self.half_bytes {
            return Ok(None);
        }
        let mut bytes = vec![0; FRAME_HEADER_BYTES];
        storage.read(self.start(half) + at, &mut bytes)?;
        let length = FRAME_HEADER_BYTES as u64 + u64::from(u32_at(&bytes, 4));
        let (id, first, last) = (u64_at(&bytes, 8), u64_at(&bytes, 16), u64_at(&bytes, 24));
        if id != self.id || length > self.half_bytes - at || first == 0 || last < first {
            return Ok(None);
        }
        let Ok(length) = usize::try_from(length) else { return Ok(None) };
        bytes.resize(length, 0);
        storage.read(self.start(half) + at, &mut bytes)?;
        if crc32c(&bytes[4..]) != u32_at(&bytes, 0) {
            return Ok(None);
        }
        bytes.resize(length.next_multiple_of(BLOCK), 0);
        Ok(Some(Frame { bytes, length, first, last }))
    }

    /// What the log holds after `revision`, oldest first; an error names what is lacking in between.
    pub(super) fn after(
        self,
        storage: &dyn StorageBackend,
        revision: Revision,
    ) -> io::Result<Result<Vec<Frame>, Revision>> {
        let mut halves = [self.frames(storage, 0)?, self.frames(storage, 1)?];
        halves.sort_by_key(|frames| frames.first().map_or(0, |frame| frame.first));
        let mut next = revision + 1;
        let mut found = Vec::new();
        for frame in halves.into_iter().flatten().filter(|frame| frame.last > revision) {
            if frame.first != next {
                return Ok(Err(next));
            }
            next = frame.last + 1;
            found.push(frame);
        }
        Ok(Ok(found))
    }
}

impl Wal {
    /// Makes an empty log under a new id, in the file as it is when its size is right.
    pub(super) fn begin(storage: Box<dyn StorageBackend>, header: WalHeader) -> io::Result<Self> {
        let there = WalHeader::read(&*storage)?;
        if there.is_none_or(|there| there.half_bytes != header.half_bytes) {
            storage.set_len(0)?;
            let zeros = vec![0; ZEROS];
            let mut at = 0;
            while at < header.file_bytes() {
                let count = ZEROS.min(usize::try_from(header.file_bytes() - at).unwrap_or(ZEROS));
                storage.write(at, &zeros[..count])?;
                at += count as u64;
            }
            // Before the header, which says that all of it is there.
            storage.sync_data()?;
        }
        storage.write(0, &header.encode())?;
        storage.sync_data()?;
        Ok(Self { storage, header, half: 0, used: 0 })
    }

    /// Its id.
    pub(super) fn id(&self) -> u64 {
        self.header.id
    }

    /// Bytes written to the present half.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Whether the present half has room for `frame`.
    pub(super) fn fits(&self, frame: &Frame) -> bool {
        self.used + frame.bytes.len() as u64 <= self.header.half_bytes
    }

    /// Goes on at the beginning of the other half, all of which the database must hold durably.
    pub(super) fn turn(&mut self) {
        self.half = (self.half + 1) % HALVES;
        self.used = 0;
    }

    /// Writes `frame` and returns once it is on stable storage.
    pub(super) fn append(&mut self, frame: &Frame) -> io::Result<()> {
        if !self.fits(frame) {
            return Err(io::Error::other(format!("a commit of {} bytes does not fit into the log", frame.bytes.len())));
        }
        self.storage.write(self.header.start(self.half) + self.used, &frame.bytes)?;
        self.storage.sync_data()?;
        self.used += frame.bytes.len() as u64;
        Ok(())
    }
}

/// The transactions of one commit, as they are in the log.
#[derive(Debug)]
pub(super) struct Frame {
    /// Header, rows (each after its length), zeros up to a whole block.
    bytes: Vec<u8>,
    /// Bytes of header and rows.
    length: usize,
    /// Revision of the first transaction; the others follow it.
    pub(super) first: Revision,
    pub(super) last: Revision,
}

impl Frame {
    /// A frame without transactions yet, after revision `last`.
    pub(super) fn after(last: Revision) -> Self {
        Self { bytes: vec![0; FRAME_HEADER_BYTES], length: FRAME_HEADER_BYTES, first: last + 1, last }
    }

    /// Adds the next revision's transaction.
    pub(super) fn push(&mut self, ops: &[crate::Op]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        change::encode(ops, &mut self.bytes);
        let length = u32::try_from(self.bytes.len() - start - 4).expect("a transaction's size was checked at submit");
        self.bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
        self.last += 1;
    }

    /// Seals it for the log that has `id`.
    pub(super) fn seal(&mut self, id: u64) {
        self.length = self.bytes.len();
        let rows = u32::try_from(self.length - FRAME_HEADER_BYTES).expect("a commit's size is bounded by its options");
        self.bytes[4..8].copy_from_slice(&rows.to_le_bytes());
        self.bytes[8..16].copy_from_slice(&id.to_le_bytes());
        self.bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        self.bytes[24..32].copy_from_slice(&self.last.to_le_bytes());
        let crc = crc32c(&self.bytes[4..]);
        self.bytes[..4].copy_from_slice(&crc.to_le_bytes());
        self.bytes.resize(self.length.next_multiple_of(BLOCK), 0);
    }

    /// Whether it holds no transaction.
    pub(super) fn is_empty(&self) -> bool {
        self.last < self.first
    }

    /// Bytes of its rows.
    pub(super) fn bytes(&self) -> usize {
        self.length - FRAME_HEADER_BYTES
    }

    /// Revisions and change-log rows.
    pub(super) fn rows(&self) -> impl Iterator<Item = (Revision, &[u8])> {
        let mut rest = &self.bytes[FRAME_HEADER_BYTES..self.length];
        let rows = std::iter::from_fn(move || {
            let (row, tail) = change::split_field(rest)?;
            rest = tail;
            Some(row)
        });
        (self.first..=self.last).zip(rows)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
