//! The directory of a log. Everything here may wait for the disk; all writing comes from one task.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use longshore_seams::{Clock, Disk, DiskFile, Seams, Timestamp};

use super::format::{self, ENTRY_BYTES, FORMAT, FRAME_BYTES, HEADER_BYTES, Header, TRAILER_BYTES, Trailer};
use super::{
    Order, Position, Record, Reference, Retention, SegmentError, SegmentOptions, SegmentSummary, Selection, failed,
    segment_path,
};
use crate::locked;

/// Payload bytes after which a page ends.
const PAGE_BYTES: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Files {
    pub(super) directory: PathBuf,
    pub(super) options: SegmentOptions,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    segments: Mutex<BTreeMap<u64, Segment>>,
    /// Lowest number for the next segment: numbers of deleted ones are not used again, so that
    /// positions stay unique.
    next_number: AtomicU64,
}

#[derive(Debug)]
struct Segment {
    first: Timestamp,
    last: Timestamp,
    /// Length of what is durable.
    bytes: u64,
    created: Timestamp,
    index: Index,
}

#[derive(Debug)]
enum Index {
    /// Of the segment being written.
    Memory(Vec<Reference>),
    /// Of a sealed segment: in the file.
    Sealed(Trailer),
}

impl Segment {
    fn new(created: Timestamp) -> Self {
        let (first, last) = format::bounds(&[]);
        Self { first, last, bytes: HEADER_BYTES as u64, created, index: Index::Memory(Vec::new()) }
    }

    fn references(&self) -> Option<&[Reference]> {
        match &self.index {
            Index::Memory(references) => Some(references),
            Index::Sealed(_) => None,
        }
    }
}

impl Files {
    pub(super) fn open(directory: &Path, options: SegmentOptions, seams: &Seams) -> Result<Self, SegmentError> {
        let files = Self {
            directory: directory.to_owned(),
            options,
            disk: seams.disk.clone(),
            clock: seams.clock.clone(),
            segments: Mutex::default(),
            next_number: AtomicU64::new(u64::try_from(seams.clock.now().as_millis()).unwrap_or(0)),
        };
        files.disk.create_dir_all(directory).map_err(|error| failed(directory, error))?;
        let names = files.disk.list(directory).map_err(|error| failed(directory, error))?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| name.strip_suffix(".seg")?.parse().ok()).collect();
        numbers.sort_unstable();
        if numbers.is_empty() {
            // The directory may be new: its name must outlive the power, and so must its parent's.
            let parents = directory.ancestors().skip(1).take(2).filter(|path| !path.as_os_str().is_empty());
            for parent in parents {
                files.disk.sync_dir(parent).map_err(|error| failed(parent, error))?;
            }
        }
        let newest = numbers.last().copied();
        files.next_number.fetch_max(newest.map_or(0, |newest| newest + 1), Ordering::Relaxed);
        for number in numbers {
            if let Some(segment) = files.open_existing(number)? {
                let unsealed = segment.references().is_some();
                locked(&files.segments).insert(number, segment);
                if unsealed && Some(number) != newest {
                    // The sealing was interrupted.
                    files.seal(number)?;
                }
            }
        }
        Ok(files)
    }

    /// Reads a segment's ends; all of it, when it is not sealed. `None`: nothing was in it.
    fn open_existing(&self, number: u64) -> Result<Option<Segment>, SegmentError> {
        let path = segment_path(&self.directory, number);
        let io = |error: io::Error| failed(&path, error);
        let mut file = self.disk.open(&path).map_err(io)?;
        let length = file.len().map_err(io)?;
        let created = match format::read_header(&read_up_to(&mut *file, 0, HEADER_BYTES).map_err(io)?) {
            Header::Segment { created } => created,
            Header::Newer(found) => {
                return Err(SegmentError::NewerFormat { path: path.display().to_string(), found, known: FORMAT });
            }
            Header::Unfinished => {
                // Its name was made durable before its content, and then the power went.
                self.disk.remove(&path).map_err(io)?;
                return Ok(None);
            }
        };
        if let Some(trailer) = read_trailer(&mut *file, length).map_err(io)? {
            let (first, last) = (trailer.first, trailer.last);
            return Ok(Some(Segment { first, last, bytes: length, created, index: Index::Sealed(trailer) }));
        }
        let scanned = scan(&mut *file, number).map_err(io)?;
        if scanned.end < length {
            tracing::warn!(path = %path.display(), bytes = length - scanned.end, "cut off what was not written whole");
            file.truncate(scanned.end).map_err(io)?;
            file.sync().map_err(io)?;
        }
        let (first, last) = format::bounds(&scanned.references);
        Ok(Some(Segment { first, last, bytes: scanned.end, created, index: Index::Memory(scanned.references) }))
    }

    pub(super) fn summaries(&self) -> Vec<SegmentSummary> {
        let segments = locked(&self.segments);
        let summary = |(number, segment): (&u64, &Segment)| SegmentSummary {
            segment: *number,
            first: segment.first,
            last: segment.last,
            bytes: segment.bytes,
        };
        segments.iter().map(summary).collect()
    }

    /// Writes records and makes them durable, in as many segments as it takes.
    pub(super) fn append(&self, records: &[Record]) -> Result<Vec<Position>, SegmentError> {
        let mut positions = Vec::with_capacity(records.len());
        let mut rest = records;
        while !rest.is_empty() {
            let number = self.writable()?;
            let written = self.append_to(number, rest)?;
            rest = &rest[written.len()..];
            positions.extend(written);
        }
        Ok(positions)
    }

    /// The segment to write to: sealed and followed by a new one when it is full or old.
    fn writable(&self) -> Result<u64, SegmentError> {
        let now = self.clock.now();
        let newest = {
            let segments = locked(&self.segments);
            segments.last_key_value().map(|(number, segment)| {
                let full = segment.references().is_none_or(|references| {
                    segment.bytes >= self.options.segment_bytes
                        || references.len() >= self.options.segment_records
                        || (!references.is_empty() && now.since(segment.created) >= self.options.segment_age)
                });
                (*number, segment.references().is_some(), full)
            })
        };
        match newest {
            Some((number, _, false)) => return Ok(number),
            Some((number, true, true)) => self.seal(number)?,
            Some((_, false, true)) | None => {}
        }
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let path = segment_path(&self.directory, number);
        let io = |error: io::Error| failed(&path, error);
        let mut file = self.disk.open(&path).map_err(io)?;
        file.append(&format::header(now)).map_err(io)?;
        file.sync().map_err(io)?;
        self.disk.sync_dir(&self.directory).map_err(io)?;
        locked(&self.segments).insert(number, Segment::new(now));
        self.expire(self.options.retention)?;
        Ok(number)
    }

    /// Writes the first of `records` that the segment takes (one at least).
    fn append_to(&self, number: u64, records: &[Record]) -> Result<Vec<Position>, SegmentError> {
        let path = segment_path(&self.directory, number);
        let (start, room) = {
            let segments = locked(&self.segments);
            let segment = segments.get(&number).expect("only the writing task deletes segments");
            let taken = segment.references().map_or(0, <[Reference]>::len);
            (segment.bytes, self.options.segment_records.saturating_sub(taken).max(1))
        };
        let mut bytes = Vec::new();
        let mut references = Vec::new();
        for record in records.iter().take(room) {
            let offset = start + bytes.len() as u64;
            if !references.is_empty() && offset >= self.options.segment_bytes {
                break;
            }
            let offset = u32::try_from(offset).map_err(|_| failed(&path, "the segment is over 4 GiB"))?;
            format::write_frame(record, &mut bytes);
            let position = Position { segment: number, offset };
            references.push(Reference { key: record.key, first: record.first, last: record.last, position });
        }
        let io = |error: io::Error| failed(&path, error);
        let mut file = self.disk.open(&path).map_err(io)?;
        file.append(&bytes).map_err(io)?;
        if self.options.sync_after.is_none() {
            file.sync().map_err(io)?;
        }
        let positions = references.iter().map(|reference| reference.position).collect();
        let mut segments = locked(&self.segments);
        let segment = segments.get_mut(&number).expect("only the writing task deletes segments");
        let (first, last) = format::bounds(&references);
        segment.first = segment.first.min(first);
        segment.last = segment.last.max(last);
        segment.bytes += bytes.len() as u64;
        if let Index::Memory(index) = &mut segment.index {
            index.extend(references);
        }
        Ok(positions)
    }

    /// Makes durable what was appended without it; sealed segments are.
    pub(super) fn sync(&self) -> Result<(), SegmentError> {
        if self.options.sync_after.is_none() {
            return Ok(());
        }
        let newest = locked(&self.segments)
            .last_key_value()
            .and_then(|(number, segment)| segment.references().is_some().then_some(*number));
        let Some(number) = newest else { return Ok(()) };
        let path = segment_path(&self.directory, number);
        let io = |error: io::Error| failed(&path, error);
        self.disk.open(&path).map_err(io)?.sync().map_err(io)
    }

    /// Writes the footer.
    fn seal(&self, number: u64) -> Result<(), SegmentError> {
        let path = segment_path(&self.directory, number);
        let io = |error: io::Error| failed(&path, error);
        let (footer, trailer) = {
            let segments = locked(&self.segments);
            let segment = segments.get(&number).expect("only the writing task deletes segments");
            let Some(references) = segment.references() else { return Ok(()) };
            let end = u32::try_from(segment.bytes).map_err(|_| failed(&path, "the segment is over 4 GiB"))?;
            format::footer(references, end)
        };
        let mut file = self.disk.open(&path).map_err(io)?;
        file.append(&footer).map_err(io)?;
        file.sync().map_err(io)?;
        let mut segments = locked(&self.segments);
        let segment = segments.get_mut(&number).expect("only the writing task deletes segments");
        segment.bytes += footer.len() as u64;
        segment.index = Index::Sealed(trailer);
        Ok(())
    }

    pub(super) fn expire(&self, retention: Retention) -> Result<(), SegmentError> {
        let oldest_kept = retention.age.map(|age| self.clock.now().minus(age));
        let too_old: Vec<u64> = {
            let segments = locked(&self.segments);
            let old = |segment: &Segment| {
                segment.last > Timestamp::from_millis(i64::MIN) && oldest_kept.is_some_and(|kept| segment.last < kept)
            };
            segments.iter().filter(|(_, segment)| old(segment)).map(|(number, _)| *number).collect()
        };
        too_old.into_iter().try_for_each(|number| self.delete(number))?;
        while self.summaries().iter().map(|segment| segment.bytes).sum::<u64>() > retention.bytes {
            let before = locked(&self.segments).len();
            self.drop_oldest()?;
            if locked(&self.segments).len() == before {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn drop_oldest(&self) -> Result<(), SegmentError> {
        let oldest = {
            let segments = locked(&self.segments);
            let sealed = segments.iter().find(|(_, segment)| segment.references().is_none());
            sealed.map(|(number, _)| *number)
        };
        oldest.map_or(Ok(()), |number| self.delete(number))
    }

    fn delete(&self, number: u64) -> Result<(), SegmentError> {
        // First out of the map: whoever opens a segment looks there, under the same lock.
        locked(&self.segments).remove(&number);
        let path = segment_path(&self.directory, number);
        self.disk.remove(&path).map_err(|error| failed(&path, error))
    }

    pub(super) fn open_segment(&self, number: u64) -> Result<Option<OpenSegment>, SegmentError> {
        let path = segment_path(&self.directory, number);
        let segments = locked(&self.segments);
        let Some(segment) = segments.get(&number) else { return Ok(None) };
        let file = self.disk.open(&path).map_err(|error| failed(&path, error))?;
        let index = match &segment.index {
            Index::Memory(references) => Index::Memory(references.clone()),
            Index::Sealed(trailer) => Index::Sealed(*trailer),
        };
        Ok(Some(OpenSegment { number, path, file, index }))
    }

    pub(super) fn page(
        &self,
        selection: &Selection,
        order: Order,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<(Position, Record)>, SegmentError> {
        let mut summaries = self.summaries();
        if order == Order::Backward {
            summaries.reverse();
        }
        let follows = |position: Position| match (after, order) {
            (None, _) => true,
            (Some(after), Order::Forward) => position > after,
            (Some(after), Order::Backward) => position < after,
        };
        let (mut page, mut bytes) = (Vec::new(), 0);
        for summary in summaries.iter().filter(|summary| selection.overlaps(summary.first, summary.last)) {
            let farthest = if order == Order::Forward { u32::MAX } else { 0 };
            if !follows(Position { segment: summary.segment, offset: farthest }) {
                continue;
            }
            let Some(mut segment) = self.open_segment(summary.segment)? else { continue };
            let mut references = warned(segment.references(selection))?.unwrap_or_default();
            if order == Order::Backward {
                references.reverse();
            }
            for reference in references.iter().filter(|reference| follows(reference.position)) {
                if page.len() >= limit || bytes > PAGE_BYTES {
                    return Ok(page);
                }
                if let Some(record) = warned(segment.read(reference.position))? {
                    bytes += record.payload.len();
                    page.push((reference.position, record));
                }
            }
        }
        Ok(page)
    }
}

/// Turns damage into nothing and a warning.
fn warned<T>(result: Result<T, SegmentError>) -> Result<Option<T>, SegmentError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error @ SegmentError::Damaged { .. }) => {
            tracing::warn!(%error, "left out");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A segment opened for reading.
#[derive(Debug)]
pub struct OpenSegment {
    number: u64,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    index: Index,
}

impl OpenSegment {
    /// The selected records' index entries, in order of appending.
    ///
    /// # Errors
    /// [`SegmentError::Damaged`], [`SegmentError::Failed`].
    pub fn references(&mut self, selection: &Selection) -> Result<Vec<Reference>, SegmentError> {
        let mut references = match &self.index {
            Index::Memory(references) => references.clone(),
            Index::Sealed(trailer) => {
                let length = usize::try_from(trailer.records).unwrap_or(usize::MAX).saturating_mul(ENTRY_BYTES);
                let offset = u64::from(trailer.index_offset);
                let bytes = read_up_to(&mut *self.file, offset, length).map_err(|error| failed(&self.path, error))?;
                format::read_index(&bytes, trailer, self.number).ok_or_else(|| self.damaged(offset))?
            }
        };
        references.retain(|reference| selection.matches(reference));
        Ok(references)
    }

    /// The record at `position`, which one of this segment's references gave.
    ///
    /// # Errors
    /// [`SegmentError::Damaged`], [`SegmentError::Failed`].
    pub fn read(&mut self, position: Position) -> Result<Record, SegmentError> {
        let offset = u64::from(position.offset);
        let io = |error: io::Error| failed(&self.path, error);
        let start = read_up_to(&mut *self.file, offset, FRAME_BYTES).map_err(io)?;
        let length = format::frame_length(&start).filter(|length| *length as u64 <= u64::from(u32::MAX));
        let length = length.ok_or_else(|| self.damaged(offset))?;
        let io = |error: io::Error| failed(&self.path, error);
        let frame = read_up_to(&mut *self.file, offset, length).map_err(io)?;
        format::read_frame(&frame).ok_or_else(|| self.damaged(offset))
    }

    fn damaged(&self, offset: u64) -> SegmentError {
        SegmentError::Damaged { path: self.path.display().to_string(), offset }
    }
}

/// `length` bytes from `offset`, or as many as there are.
fn read_up_to(file: &mut dyn DiskFile, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    // A length from a damaged file must not become an allocation.
    let there = usize::try_from(file.len()?.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length.min(there)];
    let mut filled = 0;
    while filled < bytes.len() {
        let count = file.read_at(offset + filled as u64, &mut bytes[filled..])?;
        if count == 0 {
            break;
        }
        filled += count;
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn read_trailer(file: &mut dyn DiskFile, length: u64) -> io::Result<Option<Trailer>> {
    let Some(start) = length.checked_sub(TRAILER_BYTES as u64).filter(|start| *start >= HEADER_BYTES as u64) else {
        return Ok(None);
    };
    let bytes = read_up_to(file, start, TRAILER_BYTES)?;
    Ok(bytes.first_chunk().and_then(format::read_trailer))
}

/// What an unsealed segment holds.
struct Scanned {
    references: Vec<Reference>,
    /// End of the last whole frame.
    end: u64,
}

fn scan(file: &mut dyn DiskFile, segment: u64) -> io::Result<Scanned> {
    // Read in large steps: `window` holds the file from `window_start` on.
    const WINDOW_BYTES: usize = 256 << 10;
    let mut scanned = Scanned { references: Vec::new(), end: HEADER_BYTES as u64 };
    let (mut window, mut window_start) = (Vec::new(), scanned.end);
    loop {
        let at = usize::try_from(scanned.end - window_start).unwrap_or(usize::MAX).min(window.len());
        let length = format::frame_length(&window[at..]);
        if length.is_none_or(|length| window.len() - at < length) {
            // The frame is not whole in the window: let the window begin at it.
            window_start = scanned.end;
            window = read_up_to(file, window_start, WINDOW_BYTES.max(length.unwrap_or(0)))?;
            match format::frame_length(&window) {
                Some(length) if length <= window.len() => {}
                Some(length) if window.len() == WINDOW_BYTES && length > window.len() => {
                    window = read_up_to(file, window_start, length)?;
                }
                _ => return Ok(scanned),
            }
        }
        let at = usize::try_from(scanned.end - window_start).unwrap_or(usize::MAX).min(window.len());
        let Some(record) = format::read_frame(&window[at..]) else { return Ok(scanned) };
        let Ok(offset) = u32::try_from(scanned.end) else { return Ok(scanned) };
        let position = Position { segment, offset };
        scanned.references.push(Reference { key: record.key, first: record.first, last: record.last, position });
        scanned.end += (FRAME_BYTES + record.payload.len()) as u64;
    }
}
