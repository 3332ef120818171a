//! From Docker's log records to lines and back to a place among them. Pure.
//!
//! Docker gives records (a line, or a piece of one longer than 16 KiB) in the order of its file,
//! each with the time it was written, and offers only that time to resume by. Times are neither
//! unique (the pieces of a line share one) nor ordered (two copiers, a clock that is set back). A
//! [`Position`] is therefore the highest time seen and how many records were read since it was
//! first reached; finding it again means reading the retained log from its start, which is small.

use bollard::container::LogOutput;
use bytes::Bytes;
use longshore_seams::Timestamp;

use super::state::nanoseconds;
use crate::{LogCursor, LogLine, OutputStream};

/// A line longer than this is split.
const MOST_LINE_BYTES: usize = 256 * 1024;
/// Docker's pieces of a long line have this size.
const PIECE_BYTES: usize = 16 * 1024;
/// The times of records that follow each other differ by less, unless the clock is set back.
const MOST_DISORDER_MICROS: u64 = 1_000_000;
/// Bits of a cursor that count records; the others hold microseconds, enough until 2041.
const COUNT_BITS: u32 = 13;
const MOST_COUNT: u64 = (1 << COUNT_BITS) - 1;

/// One record of Docker's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    stream: OutputStream,
    micros: u64,
    /// Ends in a newline unless the line goes on in the next record of its stream.
    text: Bytes,
}

impl Record {
    /// Whether it is so much older than `before` that two copiers' taking turns can't be why.
    pub(super) fn steps_back_from(&self, before: &Self) -> bool {
        self.micros + MOST_DISORDER_MICROS < before.micros
    }
}

/// The records in one of Docker's messages; none in one that is not of our making.
pub(super) fn records(output: LogOutput) -> Vec<Record> {
    let (stream, text) = match output {
        LogOutput::StdErr { message } => (OutputStream::Stderr, message),
        LogOutput::StdOut { message } => (OutputStream::Stdout, message),
        LogOutput::Console { message } => return console_records(message),
        LogOutput::StdIn { .. } => return Vec::new(),
    };
    record(stream, text).into_iter().collect()
}

fn record(stream: OutputStream, text: Bytes) -> Option<Record> {
    let (micros, start) = time_prefix(&text)?;
    Some(Record { stream, micros, text: text.slice(start..) })
}

/// A terminal's output has no framing: the pieces of a long line follow each other, each with its time.
fn console_records(mut text: Bytes) -> Vec<Record> {
    let mut records = Vec::new();
    while let Some((micros, start)) = time_prefix(&text) {
        let rest = text.slice(start..);
        let goes_on = rest.get(PIECE_BYTES..).is_some_and(|next| time_prefix(next).is_some());
        let end = if goes_on { PIECE_BYTES } else { rest.len() };
        records.push(Record { stream: OutputStream::Stdout, micros, text: rest.slice(..end) });
        text = rest.slice(end..);
    }
    records
}

/// The time at the start of a record in microseconds, and where its text starts.
fn time_prefix(text: &[u8]) -> Option<(u64, usize)> {
    // RFC 3339 with nanoseconds is 30 bytes; an offset instead of Z makes it 35.
    let space = text.iter().take(36).position(|byte| *byte == b' ')?;
    let nanos = nanoseconds(std::str::from_utf8(&text[..space]).ok()?)?;
    Some((u64::try_from(nanos / 1000).ok()?, space + 1))
}

/// A place between two records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    highest_micros: u64,
    /// Records since the first that reached the highest time, itself included; stops at
    /// [`MOST_COUNT`], so that after a clock was set back records may repeat but are never lost.
    count: u64,
}

impl Position {
    /// The place that a cursor stands for.
    pub(super) fn of(cursor: LogCursor) -> Self {
        Self { highest_micros: cursor.0 >> COUNT_BITS, count: cursor.0 & MOST_COUNT }
    }

    /// The cursor that stands for this place.
    pub(super) fn cursor(self) -> LogCursor {
        LogCursor(self.highest_micros << COUNT_BITS | self.count)
    }

    fn pass(&mut self, record: &Record) {
        if record.micros > self.highest_micros {
            *self = Self { highest_micros: record.micros, count: 1 };
        } else {
            self.count = (self.count + 1).min(MOST_COUNT);
        }
    }
}

/// Leaves out the records before a [`Position`] when the log is read from its start again.
#[derive(Debug)]
pub(super) struct Skip {
    position: Position,
    opened_micros: u64,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The highest time has not come up.
    Before,
    /// This many records are still known.
    Known(u64),
    /// All that follows is new.
    Done,
}

impl Skip {
    /// Finds `position` in a log opened at `opened`.
    pub(super) fn to(position: Position, opened: Timestamp) -> Self {
        let opened_micros = u64::try_from(opened.as_millis()).unwrap_or(0).saturating_mul(1000);
        let stage = if position == Position::default() { Stage::Done } else { Stage::Before };
        Self { position, opened_micros, stage }
    }

    /// Whether `record` is before the position.
    pub(super) fn is_known(&mut self, record: &Record) -> bool {
        if matches!(self.stage, Stage::Before) {
            let highest = self.position.highest_micros;
            if record.micros == highest {
                self.stage = Stage::Known(self.position.count);
            } else if record.micros > highest || record.micros >= self.opened_micros {
                // The ring has dropped the position (or the clock was set back since): what is new now stays new.
                self.stage = Stage::Done;
            }
        }
        match &mut self.stage {
            Stage::Before => true,
            Stage::Known(0) | Stage::Done => {
                self.stage = Stage::Done;
                false
            }
            Stage::Known(left) => {
                *left -= 1;
                true
            }
        }
    }
}

/// Joins records into lines.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    position: Position,
    delivered: Position,
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    stream: OutputStream,
    micros: u64,
    line: Vec<u8>,
}

impl Assembler {
    /// Goes on at `position`.
    pub(super) fn at(position: Position) -> Self {
        Self { position, delivered: position, partial: None }
    }

    /// Where the lines delivered so far end: a part of a line that was not delivered is after it.
    pub(super) fn delivered(&self) -> Position {
        self.delivered
    }

    /// Takes a record; appends the lines that it completes to `lines`.
    ///
    /// A line can't be joined across a record of the other output, since then no single place
    /// would be between the two lines: what there is of it is delivered on its own.
    pub(super) fn push(&mut self, record: &Record, lines: &mut impl Extend<LogLine>) {
        let joins = self.partial.as_ref().is_some_and(|partial| {
            partial.stream == record.stream && partial.line.len() + record.text.len() <= MOST_LINE_BYTES
        });
        if !joins {
            self.finish(lines);
        }
        self.position.pass(record);
        let partial = self.partial.get_or_insert_with(|| Partial {
            stream: record.stream,
            micros: record.micros,
            line: Vec::new(),
        });
        match record.text.strip_suffix(b"\n") {
            Some(end) => {
                partial.line.extend_from_slice(end);
                self.finish(lines);
            }
            None => partial.line.extend_from_slice(&record.text),
        }
    }

    /// Delivers what there is of an unfinished line: none of it will follow.
    pub(super) fn finish(&mut self, lines: &mut impl Extend<LogLine>) {
        let Some(Partial { stream, micros, line }) = self.partial.take() else { return };
        let at = Timestamp::from_millis(i64::try_from(micros / 1000).unwrap_or(i64::MAX));
        // Only a log driver other than ours has records so large that one holds several pieces.
        let mut rest = line.as_slice();
        while rest.len() > MOST_LINE_BYTES {
            let (piece, after) = rest.split_at(MOST_LINE_BYTES);
            lines.extend([LogLine { next: self.delivered.cursor(), stream, at, line: piece.to_vec() }]);
            rest = after;
        }
        self.delivered = self.position;
        lines.extend([LogLine { next: self.delivered.cursor(), stream, at, line: rest.to_vec() }]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(stream: OutputStream, micros: u64, text: &str) -> Record {
        Record { stream, micros, text: Bytes::copy_from_slice(text.as_bytes()) }
    }

    fn out(micros: u64, text: &str) -> Record {
        record(OutputStream::Stdout, micros, text)
    }

    fn read(log: &[Record], from: LogCursor) -> Vec<LogLine> {
        let position = Position::of(from);
        let mut skip = Skip::to(position, Timestamp::from_millis(i64::MAX));
        let mut assembler = Assembler::at(position);
        let mut lines = Vec::new();
        for record in log {
            if !skip.is_known(record) {
                assembler.push(record, &mut lines);
            }
        }
        assembler.finish(&mut lines);
        lines
    }

    fn texts(lines: &[LogLine]) -> Vec<String> {
        lines.iter().map(|line| String::from_utf8(line.line.clone()).unwrap()).collect()
    }

    #[test]
    fn a_message_carries_its_time_before_its_text() {
        let message = Bytes::from_static(b"2026-11-22T04:00:00.123456789Z hello world\n");
        let [record] = records(LogOutput::StdErr { message }).try_into().unwrap();
        assert_eq!(record.stream, OutputStream::Stderr);
        assert_eq!(record.micros, 1_795_320_000_123_456);
        assert_eq!(&record.text[..], b"hello world\n");
    }

    #[test]
    fn the_pieces_of_a_terminal_s_long_line_are_taken_apart() {
        let time = "2026-11-22T04:00:00.123456789Z ";
        let long = "x".repeat(PIECE_BYTES);
        let message = Bytes::from(format!("{time}{long}{time}end\n"));
        let records = records(LogOutput::Console { message });
        assert_eq!(records.iter().map(|record| record.text.len()).collect::<Vec<_>>(), [PIECE_BYTES, 4]);
    }

    #[test]
    fn pieces_join_into_one_line() {
        let lines = read(&[out(1, "a"), out(1, "b"), out(1, "c\n"), out(2, "d\n")], LogCursor::default());
        assert_eq!(texts(&lines), ["abc", "d"]);
    }

    #[test]
    fn a_line_over_256_kib_is_split() {
        let piece = "x".repeat(PIECE_BYTES);
        let mut log: Vec<Record> = (0..17).map(|_| out(1, &piece)).collect();
        log.push(out(1, "end\n"));
        let lengths: Vec<usize> = read(&log, LogCursor::default()).iter().map(|line| line.line.len()).collect();
        assert_eq!(lengths, [MOST_LINE_BYTES, PIECE_BYTES + 3]);
    }

    #[test]
    fn a_position_that_the_ring_dropped_resumes_with_what_is_left() {
        let log: Vec<Record> = (1..=9).map(|n| out(n, &format!("{n}\n"))).collect();
        let third = read(&log, LogCursor::default())[2].next;
        assert_eq!(texts(&read(&log[5..], third)), ["6", "7", "8", "9"]);
    }

    #[test]
    fn output_after_the_clock_was_set_back_is_new_when_written_after_opening() {
        let mut skip = Skip::to(Position { highest_micros: 9_000_000, count: 1 }, Timestamp::from_millis(5_000));
        assert!(skip.is_known(&out(4_000_000, "old\n")));
        assert!(!skip.is_known(&out(5_000_001, "new\n")));
    }

    prop_compose! {
        /// A log with ties, times out of order, pieces and both outputs.
        fn any_log()(steps in prop::collection::vec((any::<bool>(), -2_i64..4, any::<bool>()), 1..60)) -> Vec<Record> {
            let mut micros = 1_000_i64;
            steps.into_iter().enumerate().map(|(index, (error, step, ends))| {
                micros += step;
                let stream = if error { OutputStream::Stderr } else { OutputStream::Stdout };
                let text = if ends { format!("{index};\n") } else { format!("{index};") };
                record(stream, u64::try_from(micros).unwrap(), &text)
            }).collect()
        }
    }

    proptest! {
        #[test]
        fn resuming_after_any_line_neither_loses_nor_doubles(log in any_log()) {
            let all = read(&log, LogCursor::default());
            for (index, line) in all.iter().enumerate() {
                prop_assert_eq!(read(&log, line.next), &all[index + 1..]);
            }
        }

        #[test]
        fn every_byte_is_in_exactly_one_line(log in any_log()) {
            let joined: String = texts(&read(&log, LogCursor::default())).concat();
            let written: String = log.iter().map(|r| String::from_utf8_lossy(&r.text).replace('\n', "")).collect();
            prop_assert_eq!(joined, written);
        }
    }
}
