//! Captured output on disk: written by shims, read by the runtime.
//!
//! A container's output is one endless sequence of records, cut into files named by the offset of their first byte.
//! The oldest file goes when there are too many, so a container has a bounded share of the disk. A cursor is an offset
//! in the sequence: it stays good over restarts and rotation.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use longshore_seams::Timestamp;

use super::layout::create_dir;
use crate::{LogCursor, LogLine, OutputStream};

/// A file is closed when it has this many bytes.
pub(crate) const FILE_BYTES: u64 = 4 << 20;
/// Files kept.
pub(crate) const FILES: usize = 5;
/// Longest piece of a line in one record, bytes: what a writer has to hold in memory.
pub(crate) const PIECE_BYTES: usize = 16 << 10;
/// Longest line, bytes: a longer one is split.
pub(crate) const LINE_BYTES: usize = 256 << 10;

/// Length (4), flags (1), milliseconds since the epoch (8).
const HEADER: usize = 13;
const STDERR: u8 = 1;
/// The line goes on in the next record of the same stream.
const CONTINUES: u8 = 2;

/// Files of a log directory: offset of the first byte, and path; by offset.
fn files(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let start = path.file_stem().and_then(|stem| u64::from_str_radix(&stem.to_string_lossy(), 16).ok());
        files.extend(start.map(|start| (start, path)));
    }
    files.sort();
    Ok(files)
}

/// The writing end.
#[derive(Debug)]
pub(crate) struct LogWriter {
    directory: PathBuf,
    file: File,
    start: u64,
    length: u64,
    file_bytes: u64,
}

impl LogWriter {
    /// Opens the sequence in `directory` at its end.
    pub(crate) fn open(directory: &Path, file_bytes: u64) -> io::Result<Self> {
        create_dir(directory)?;
        let (start, length) = match files(directory)?.last() {
            Some((start, path)) => (*start, fs::metadata(path)?.len()),
            None => (0, 0),
        };
        // A new file after whatever was there, so that a torn record at the end of it stays its last.
        let start = start + length;
        Ok(Self { directory: directory.to_owned(), file: create(directory, start)?, start, length: 0, file_bytes })
    }

    /// Appends a piece of a line.
    pub(crate) fn append(&mut self, stream: OutputStream, at: Timestamp, piece: &[u8], ends: bool) -> io::Result<()> {
        let mut record = Vec::with_capacity(HEADER + piece.len());
        let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        record.extend_from_slice(&length.to_le_bytes());
        record.push(if stream == OutputStream::Stderr { STDERR } else { 0 } | if ends { 0 } else { CONTINUES });
        record.extend_from_slice(&at.as_millis().to_le_bytes());
        record.extend_from_slice(piece);
        self.file.write_all(&record)?;
        self.length += record.len() as u64;
        if self.length >= self.file_bytes { self.rotate() } else { Ok(()) }
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.start += self.length;
        self.file = create(&self.directory, self.start)?;
        self.length = 0;
        let files = files(&self.directory)?;
        for (_, path) in files.iter().take(files.len().saturating_sub(FILES)) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

fn create(directory: &Path, start: u64) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = directory.join(format!("{start:016x}.log"));
    File::options().append(true).create(true).mode(0o600).open(path)
}

/// The pieces of a line that is not complete yet.
#[derive(Debug, Default)]
struct Pending {
    /// Offset of its first record.
    start: u64,
    bytes: Vec<u8>,
}

/// A record, as it was read.
struct Record {
    start: u64,
    flags: u8,
    at: Timestamp,
    piece: Vec<u8>,
}

/// The reading end: never waits.
#[derive(Debug)]
pub(crate) struct LogReader {
    directory: PathBuf,
    offset: u64,
    file: Option<(u64, File)>,
    /// By stream.
    pending: [Option<Pending>; 2],
}

impl LogReader {
    pub(crate) fn new(directory: PathBuf, from: LogCursor) -> Self {
        Self { directory, offset: from.0, file: None, pending: [None, None] }
    }

    /// The next line; `None` when there is none yet.
    pub(crate) fn next(&mut self) -> io::Result<Option<LogLine>> {
        while let Some(Record { start, flags, at, piece }) = self.record()? {
            let stream = if flags & STDERR == 0 { OutputStream::Stdout } else { OutputStream::Stderr };
            let slot = stream as usize;
            let mut line = self.pending[slot].take().unwrap_or(Pending { start, bytes: Vec::new() });
            line.bytes.extend_from_slice(&piece);
            if flags & CONTINUES != 0 && line.bytes.len() + PIECE_BYTES <= LINE_BYTES {
                self.pending[slot] = Some(line);
                continue;
            }
            // A reader that goes on from here must also see what the other stream has begun.
            let other = self.pending[1 - slot].as_ref().map(|pending| pending.start);
            let next = LogCursor(other.unwrap_or(self.offset).min(self.offset));
            return Ok(Some(LogLine { next, stream, at, line: line.bytes }));
        }
        Ok(None)
    }

    /// Reads the record at the offset; `None` when it is not (wholly) there.
    fn record(&mut self) -> io::Result<Option<Record>> {
        // The end of a file counts only if it is still the end when there is a later file: until then it may grow.
        let mut closed = false;
        loop {
            if self.file.is_none() && !self.open()? {
                return Ok(None);
            }
            let Some((file_start, file)) = &mut self.file else { return Ok(None) };
            let start = self.offset;
            file.seek(SeekFrom::Start(start - *file_start))?;
            let mut header = [0; HEADER];
            if read_full(file, &mut header)? == HEADER {
                let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
                let mut millis = [0; 8];
                millis.copy_from_slice(&header[5..]);
                let mut piece = vec![0; length.min(LINE_BYTES)];
                if length <= LINE_BYTES && read_full(file, &mut piece)? == length {
                    self.offset += (HEADER + length) as u64;
                    let at = Timestamp::from_millis(i64::from_le_bytes(millis));
                    return Ok(Some(Record { start, flags: header[4], at, piece }));
                }
            }
            let Some(after) = self.file_after()? else { return Ok(None) };
            if closed {
                self.offset = after;
                self.file = None;
            }
            closed = !closed;
        }
    }

    /// Opens the file that has the offset, or the oldest one after it.
    fn open(&mut self) -> io::Result<bool> {
        let files = files(&self.directory)?;
        let within = files.iter().rev().find(|(start, _)| *start <= self.offset);
        let Some((start, path)) = within.or(files.first()) else { return Ok(false) };
        let file = match File::open(path) {
            Ok(file) => file,
            // Rotated away meanwhile: the next look finds the oldest that is left.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        self.offset = self.offset.max(*start);
        self.file = Some((*start, file));
        Ok(true)
    }

    /// Offset of the file after the open one.
    fn file_after(&self) -> io::Result<Option<u64>> {
        let Some((open, _)) = self.file else { return Ok(None) };
        Ok(files(&self.directory)?.into_iter().map(|(start, _)| start).find(|start| *start > open))
    }
}

fn read_full(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match file.read(&mut buffer[count..])? {
            0 => break,
            more => count += more,
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(5);

    fn lines(reader: &mut LogReader) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = reader.next().unwrap() {
            lines.push(String::from_utf8(line.line).unwrap());
        }
        lines
    }

    #[test]
    fn reading_goes_on_at_a_cursor() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(dir.path(), FILE_BYTES).unwrap();
        writer.append(OutputStream::Stdout, NOW, b"one", true).unwrap();
        writer.append(OutputStream::Stderr, NOW, b"two", true).unwrap();
        let mut reader = LogReader::new(dir.path().to_owned(), LogCursor(0));
        let first = reader.next().unwrap().unwrap();
        assert_eq!((first.stream, first.at, &first.line[..]), (OutputStream::Stdout, NOW, &b"one"[..]));
        let mut again = LogReader::new(dir.path().to_owned(), first.next);
        assert_eq!(lines(&mut again), ["two"]);
        writer.append(OutputStream::Stdout, NOW, b"three", true).unwrap();
        assert_eq!(lines(&mut again), ["three"]);
    }

    #[test]
    fn files_rotate_and_a_cursor_into_a_lost_one_goes_on_at_the_oldest() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(dir.path(), 64).unwrap();
        for number in 0..100 {
            writer.append(OutputStream::Stdout, NOW, format!("line {number}").as_bytes(), true).unwrap();
        }
        assert_eq!(files(dir.path()).unwrap().len(), FILES);
        let all = lines(&mut LogReader::new(dir.path().to_owned(), LogCursor(0)));
        assert_eq!(all.last().unwrap(), "line 99");
        assert!(all.len() > 5 && all.len() < 40);
    }

    #[test]
    fn a_reader_that_follows_sees_every_line_over_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(dir.path(), 64).unwrap();
        let mut reader = LogReader::new(dir.path().to_owned(), LogCursor(0));
        for number in 0..100 {
            let line = format!("line {number}");
            writer.append(OutputStream::Stdout, NOW, line.as_bytes(), true).unwrap();
            assert_eq!(lines(&mut reader), [line]);
        }
    }

    #[test]
    fn pieces_become_one_line_and_no_cursor_skips_a_line_half_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(dir.path(), FILE_BYTES).unwrap();
        writer.append(OutputStream::Stdout, NOW, b"be", false).unwrap();
        writer.append(OutputStream::Stderr, NOW, b"err", true).unwrap();
        writer.append(OutputStream::Stdout, NOW, b"gun", true).unwrap();
        let mut reader = LogReader::new(dir.path().to_owned(), LogCursor(0));
        let first = reader.next().unwrap().unwrap();
        assert_eq!(first.line, b"err");
        assert_eq!(lines(&mut reader), ["begun"]);
        assert_eq!(lines(&mut LogReader::new(dir.path().to_owned(), first.next)), ["err", "begun"]);
    }

    #[test]
    fn a_line_longer_than_the_limit_is_split() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(dir.path(), FILE_BYTES).unwrap();
        let piece = [b'x'; PIECE_BYTES];
        for _ in 0..20 {
            writer.append(OutputStream::Stdout, NOW, &piece, false).unwrap();
        }
        writer.append(OutputStream::Stdout, NOW, b"end", true).unwrap();
        let lengths: Vec<usize> =
            lines(&mut LogReader::new(dir.path().to_owned(), LogCursor(0))).iter().map(String::len).collect();
        assert_eq!(lengths, [LINE_BYTES, 4 * PIECE_BYTES + 3]);
    }

    #[test]
    fn a_torn_record_is_passed_over_once_writing_goes_on_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(dir.path(), FILE_BYTES).unwrap();
        writer.append(OutputStream::Stdout, NOW, b"whole", true).unwrap();
        writer.file.write_all(&[9, 0, 0, 0, 0]).unwrap();
        drop(writer);
        let mut reader = LogReader::new(dir.path().to_owned(), LogCursor(0));
        assert_eq!(lines(&mut reader), ["whole"]);
        let mut writer = LogWriter::open(dir.path(), FILE_BYTES).unwrap();
        writer.append(OutputStream::Stdout, NOW, b"after", true).unwrap();
        assert_eq!(lines(&mut reader), ["after"]);
    }
}
