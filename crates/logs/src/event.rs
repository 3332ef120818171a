//! Events, their ids, and the batches in which they are stored. Pure.

use longshore_seams::Timestamp;
use longshore_store::segments::Position;

/// One line of output, or whatever was put as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it happened, as its sender says.
    pub timestamp: Timestamp,
    /// The text.
    pub message: String,
}

/// An event with where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place among all events of its group.
    pub id: EventId,
    /// Its stream.
    pub stream: String,
    /// When it was put.
    pub ingested: Timestamp,
    /// The event.
    pub event: Event,
}

/// The place of an event in its group: by time, then by order of arrival.
///
/// Printed it is a number of 56 digits; larger is later. Negative times count as 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId {
    time: u64,
    segment: u64,
    offset: u32,
    index: u32,
}

impl EventId {
    /// Before every event.
    pub const FIRST: Self = Self { time: 0, segment: 0, offset: 0, index: 0 };

    /// Of the event number `index` of the batch at `position`.
    #[must_use]
    pub fn new(timestamp: Timestamp, position: Position, index: u32) -> Self {
        let time = u64::try_from(timestamp.as_millis()).unwrap_or(0);
        Self { time, segment: position.segment, offset: position.offset, index }
    }

    /// Before every event of `timestamp`.
    #[must_use]
    pub fn at(timestamp: Timestamp) -> Self {
        Self::new(timestamp, Position { segment: 0, offset: 0 }, 0)
    }

    /// The event's time.
    #[must_use]
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.time).unwrap_or(i64::MAX))
    }

    /// The smallest id above this one, as far as ids of events go.
    #[must_use]
    pub fn next(self) -> Self {
        Self { index: self.index.saturating_add(1), ..self }
    }

    /// The greatest id below this one, as far as ids of events go.
    #[must_use]
    pub fn previous(self) -> Self {
        match (self.index.checked_sub(1), self.offset.checked_sub(1)) {
            (Some(index), _) => Self { index, ..self },
            (None, Some(offset)) => Self { offset, index: u32::MAX, ..self },
            (None, None) => Self { time: self.time.saturating_sub(1), ..self },
        }
    }

    /// Most significant first; together a number below 10⁵⁶, as times and segments stay below 2⁴⁸
    /// and 2⁶⁴.
    fn limbs(self) -> [u32; 6] {
        let half = |number: u64| [(number >> 32) as u32, (number & 0xffff_ffff) as u32];
        let ([time_high, time_low], [segment_high, segment_low]) = (half(self.time), half(self.segment));
        [time_high, time_low, segment_high, segment_low, self.offset, self.index]
    }

    /// Reads what `Display` prints.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 56 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let mut limbs = [0_u32; 6];
        for digit in text.bytes() {
            let mut carry = u64::from(digit - b'0');
            for limb in limbs.iter_mut().rev() {
                let value = u64::from(*limb) * 10 + carry;
                *limb = (value & 0xffff_ffff) as u32;
                carry = value >> 32;
            }
        }
        let whole = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        let [time_high, time_low, segment_high, segment_low, offset, index] = limbs;
        Some(Self { time: whole(time_high, time_low), segment: whole(segment_high, segment_low), offset, index })
    }
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut limbs = self.limbs();
        let mut digits = [b'0'; 56];
        for digit in digits.iter_mut().rev() {
            let mut remainder = 0;
            for limb in &mut limbs {
                let value = remainder << 32 | u64::from(*limb);
                *limb = (value / 10) as u32;
                remainder = value % 10;
            }
            *digit = b'0' + remainder as u8;
        }
        digits.iter().try_for_each(|digit| write!(f, "{}", char::from(*digit)))
    }
}

/// Events of one stream that were put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) stream: String,
    pub(crate) ingested: Timestamp,
    pub(crate) events: Vec<Event>,
}

/// First byte of an encoded batch.
const BATCH_FORMAT: u8 = 1;

impl Batch {
    /// Format, time of ingestion, name of the stream; then time, length and text of each event.
    pub(crate) fn encode(stream: &str, ingested: Timestamp, events: &[Event]) -> Vec<u8> {
        let mut bytes = vec![BATCH_FORMAT];
        bytes.extend_from_slice(&ingested.as_millis().to_le_bytes());
        write_text(&mut bytes, stream);
        for event in events {
            bytes.extend_from_slice(&event.timestamp.as_millis().to_le_bytes());
            write_text(&mut bytes, &event.message);
        }
        bytes
    }

    /// `None` when the bytes are no batch of a format that we know.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (format, mut rest) = bytes.split_first()?;
        if *format != BATCH_FORMAT {
            return None;
        }
        let ingested = read_time(&mut rest)?;
        let stream = read_text(&mut rest)?;
        let mut events = Vec::new();
        while !rest.is_empty() {
            events.push(Event { timestamp: read_time(&mut rest)?, message: read_text(&mut rest)? });
        }
        Some(Self { stream, ingested, events })
    }
}

fn write_text(bytes: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).expect("messages and names are bounded when they are put");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

fn read_time(rest: &mut &[u8]) -> Option<Timestamp> {
    let (millis, tail) = rest.split_first_chunk::<8>()?;
    *rest = tail;
    Some(Timestamp::from_millis(i64::from_le_bytes(*millis)))
}

fn read_text(rest: &mut &[u8]) -> Option<String> {
    let (length, tail) = rest.split_first_chunk::<4>()?;
    let (text, tail) = tail.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    *rest = tail;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> impl Strategy<Value = EventId> {
        (0..1_u64 << 48, any::<u64>(), any::<u32>(), any::<u32>()).prop_map(|(time, segment, offset, index)| EventId {
            time,
            segment,
            offset,
            index,
        })
    }

    proptest! {
        #[test]
        fn an_id_prints_as_56_digits_and_reads_back(id in id()) {
            let text = id.to_string();
            prop_assert_eq!(text.len(), 56);
            prop_assert_eq!(EventId::parse(&text), Some(id));
        }

        #[test]
        fn printed_ids_sort_like_ids(a in id(), b in id()) {
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn next_and_previous_enclose_an_id(id in id()) {
            prop_assert!(id.index == u32::MAX || id.next() > id);
            prop_assert!(id.time == 0 || id.previous() < id);
        }

        #[test]
        fn a_batch_reads_back_as_it_was_written(
            stream in ".{0,20}", ingested in any::<i64>(), events in proptest::collection::vec((any::<i64>(), ".{0,30}"), 0..10)
        ) {
            let events = events.into_iter().map(|(time, message)| Event { timestamp: Timestamp::from_millis(time), message });
            let batch = Batch { stream, ingested: Timestamp::from_millis(ingested), events: events.collect() };
            prop_assert_eq!(Batch::decode(&Batch::encode(&batch.stream, batch.ingested, &batch.events)), Some(batch));
        }

        #[test]
        fn damaged_batches_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Batch::decode(&bytes);
        }
    }

    #[test]
    fn other_texts_are_no_ids() {
        for text in ["", "1", &"x".repeat(56), &"1".repeat(57)] {
            assert_eq!(EventId::parse(text), None);
        }
    }
}
