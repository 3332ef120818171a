//! The bytes of a segment file. Pure.
//!
//! ```text
//! header   magic, format, time of creation
//! frame*   length of payload, CRC-32C of the rest, key, first, last, payload
//! footer   (sealed segments) index: one entry a frame; trailer: where the index is, its CRC, times
//! ```
//! Integers are little-endian. The footer's first word is no valid length, so a scan stops there.

use longshore_seams::Timestamp;

use super::{Record, Reference};
use crate::crc::crc32c;

/// Newest format that this version knows.
pub(super) const FORMAT: u16 = 1;
pub(super) const HEADER_BYTES: usize = 16;
pub(super) const FRAME_BYTES: usize = 32;
pub(super) const ENTRY_BYTES: usize = 28;
pub(super) const TRAILER_BYTES: usize = 40;

const MAGIC: [u8; 6] = *b"LSHSEG";
const SEAL: [u8; 8] = *b"LSHSEAL1";
const NO_LENGTH: u32 = u32::MAX;

/// Takes integers off the front of a slice that is known to be long enough.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (bytes, rest) = self.0.split_first_chunk::<N>().expect("the caller checked the length");
        self.0 = rest;
        *bytes
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn time(&mut self) -> Timestamp {
        Timestamp::from_millis(i64::from_le_bytes(self.take()))
    }
}

/// What the first bytes of a file say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// A segment made at this time.
    Segment { created: Timestamp },
    /// A segment of a newer version.
    Newer(u16),
    /// Not a segment, or its making was interrupted.
    Unfinished,
}

pub(super) fn header(created: Timestamp) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&created.as_millis().to_le_bytes());
    bytes
}

pub(super) fn read_header(bytes: &[u8]) -> Header {
    let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>().filter(|bytes| bytes.starts_with(&MAGIC)) else {
        return Header::Unfinished;
    };
    let mut fields = Fields(&bytes[MAGIC.len()..]);
    match u16::from_le_bytes(fields.take()) {
        0 => Header::Unfinished,
        format if format > FORMAT => Header::Newer(format),
        _ => Header::Segment { created: fields.time() },
    }
}

/// Appends the frame of `record` to `bytes`.
pub(super) fn write_frame(record: &Record, bytes: &mut Vec<u8>) {
    let length = u32::try_from(record.payload.len()).expect("the payload's size was checked at append");
    bytes.extend_from_slice(&length.to_le_bytes());
    let checksum = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&record.key.to_le_bytes());
    bytes.extend_from_slice(&record.first.as_millis().to_le_bytes());
    bytes.extend_from_slice(&record.last.as_millis().to_le_bytes());
    bytes.extend_from_slice(&record.payload);
    let crc = crc32c(&bytes[checksum + 4..]);
    bytes[checksum..checksum + 4].copy_from_slice(&crc.to_le_bytes());
}

/// A frame's length in the file, from its first bytes; `None` when there is no frame.
pub(super) fn frame_length(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(*bytes.first_chunk::<4>()?);
    (length != NO_LENGTH).then(|| FRAME_BYTES.checked_add(usize::try_from(length).ok()?)).flatten()
}

/// The record of the frame that `bytes` begin with; `None` when it is cut off or damaged.
pub(super) fn read_frame(bytes: &[u8]) -> Option<Record> {
    let frame = bytes.get(..frame_length(bytes)?)?;
    let mut fields = Fields(&frame[4..]);
    let crc = fields.u32();
    if crc32c(fields.0) != crc {
        return None;
    }
    Some(Record { key: fields.u64(), first: fields.time(), last: fields.time(), payload: fields.0.to_vec() })
}

/// What a sealed segment's last bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) index_offset: u32,
    pub(super) records: u32,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) index_crc: u32,
}

/// Index and trailer of a segment whose frames end at `end`.
pub(super) fn footer(references: &[Reference], end: u32) -> (Vec<u8>, Trailer) {
    let mut bytes = NO_LENGTH.to_le_bytes().to_vec();
    for reference in references {
        bytes.extend_from_slice(&reference.key.to_le_bytes());
        bytes.extend_from_slice(&reference.first.as_millis().to_le_bytes());
        bytes.extend_from_slice(&reference.last.as_millis().to_le_bytes());
        bytes.extend_from_slice(&reference.position.offset.to_le_bytes());
    }
    let (first, last) = bounds(references);
    let trailer = Trailer {
        index_offset: end + 4,
        records: u32::try_from(references.len()).expect("a segment's records are bounded"),
        first,
        last,
        index_crc: crc32c(&bytes[4..]),
    };
    let start = bytes.len();
    bytes.extend_from_slice(&trailer.index_offset.to_le_bytes());
    bytes.extend_from_slice(&trailer.records.to_le_bytes());
    bytes.extend_from_slice(&first.as_millis().to_le_bytes());
    bytes.extend_from_slice(&last.as_millis().to_le_bytes());
    bytes.extend_from_slice(&trailer.index_crc.to_le_bytes());
    let crc = crc32c(&bytes[start..]);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&SEAL);
    (bytes, trailer)
}

pub(super) fn read_trailer(bytes: &[u8; TRAILER_BYTES]) -> Option<Trailer> {
    let (content, rest) = bytes.split_at(TRAILER_BYTES - 12);
    if rest[4..] != SEAL || Fields(rest).u32() != crc32c(content) {
        return None;
    }
    let mut fields = Fields(content);
    Some(Trailer {
        index_offset: fields.u32(),
        records: fields.u32(),
        first: fields.time(),
        last: fields.time(),
        index_crc: fields.u32(),
    })
}

/// The references of an index block; `None` when it is damaged.
pub(super) fn read_index(bytes: &[u8], trailer: &Trailer, segment: u64) -> Option<Vec<Reference>> {
    if crc32c(bytes) != trailer.index_crc {
        return None;
    }
    let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
    Some(
        entries
            .iter()
            .map(|entry| {
                let mut fields = Fields(entry);
                let (key, first, last) = (fields.u64(), fields.time(), fields.time());
                Reference { key, first, last, position: super::Position { segment, offset: fields.u32() } }
            })
            .collect(),
    )
}

/// Earliest and latest time in `references`; the end of time and its beginning when there is none.
pub(super) fn bounds(references: &[Reference]) -> (Timestamp, Timestamp) {
    references.iter().fold((Timestamp::from_millis(i64::MAX), Timestamp::from_millis(i64::MIN)), |(first, last), it| {
        (first.min(it.first), last.max(it.last))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::segments::Position;

    fn record() -> impl Strategy<Value = Record> {
        (any::<u64>(), any::<i64>(), any::<i64>(), proptest::collection::vec(any::<u8>(), 0..200)).prop_map(
            |(key, first, last, payload)| Record {
                key,
                first: Timestamp::from_millis(first),
                last: Timestamp::from_millis(last),
                payload,
            },
        )
    }

    proptest! {
        #[test]
        fn a_frame_reads_back_as_it_was_written(record in record()) {
            let mut bytes = Vec::new();
            write_frame(&record, &mut bytes);
            prop_assert_eq!(frame_length(&bytes), Some(bytes.len()));
            prop_assert_eq!(read_frame(&bytes), Some(record));
        }

        #[test]
        fn a_frame_with_a_flipped_bit_is_refused(record in record(), at in any::<prop::sample::Index>(), bit in 0..8) {
            let mut bytes = Vec::new();
            write_frame(&record, &mut bytes);
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert_eq!(read_frame(&bytes), None);
        }

        #[test]
        fn an_index_reads_back_as_it_was_written(records in proptest::collection::vec(record(), 0..20)) {
            let references: Vec<_> = records.iter().zip(0..).map(|(record, offset)| Reference {
                key: record.key, first: record.first, last: record.last, position: Position { segment: 7, offset },
            }).collect();
            let (bytes, trailer) = footer(&references, 100);
            let (index, end) = bytes.split_last_chunk::<TRAILER_BYTES>().unwrap();
            prop_assert_eq!(read_trailer(end), Some(trailer));
            prop_assert_eq!(trailer.index_offset, 104);
            prop_assert_eq!(read_index(&index[4..], &trailer, 7), Some(references));
        }
    }

    #[test]
    fn a_header_tells_its_format() {
        let bytes = header(Timestamp::from_millis(5));
        assert_eq!(read_header(&bytes), Header::Segment { created: Timestamp::from_millis(5) });
        let mut newer = bytes.clone();
        newer[6] = 2;
        assert_eq!(read_header(&newer), Header::Newer(2));
        assert_eq!(read_header(&bytes[..15]), Header::Unfinished);
    }
}
