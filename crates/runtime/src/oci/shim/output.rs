//! From a container's pipes to its log.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use longshore_seams::Timestamp;

use crate::OutputStream;
use crate::oci::log::{LogWriter, PIECE_BYTES};

/// One output of a container.
#[derive(Debug)]
pub(super) struct Output {
    pipe: File,
    stream: OutputStream,
    /// What came after the last newline: shorter than a piece.
    rest: Vec<u8>,
    ended: bool,
}

impl Output {
    /// `pipe` must not block.
    pub(super) fn new(pipe: OwnedFd, stream: OutputStream) -> Self {
        Self { pipe: File::from(pipe), stream, rest: Vec::new(), ended: false }
    }

    /// Whether nothing comes any more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Reads what is there into `log` (nowhere when absent); true when the pipe has ended.
    ///
    /// One call reads at most a few pieces, so that one container cannot starve the others.
    pub(super) fn copy(&mut self, log: Option<&mut LogWriter>, now: Timestamp) -> io::Result<bool> {
        const ROUNDS: usize = 16;
        let mut log = log;
        let mut buffer = [0; PIECE_BYTES];
        for _ in 0..ROUNDS {
            match self.pipe.read(&mut buffer) {
                Ok(0) => {
                    self.ended = true;
                    self.flush(log, now)?;
                    return Ok(true);
                }
                Ok(count) => self.split(&buffer[..count], &mut log, now)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The other end of a terminal is gone.
                Err(error) if error.raw_os_error() == Some(nix::libc::EIO) => {
                    self.ended = true;
                    self.flush(log, now)?;
                    return Ok(true);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Ends a line that was begun.
    pub(super) fn flush(&mut self, log: Option<&mut LogWriter>, now: Timestamp) -> io::Result<()> {
        let rest = std::mem::take(&mut self.rest);
        match log {
            Some(log) if !rest.is_empty() => log.append(self.stream, now, &rest, true),
            _ => Ok(()),
        }
    }

    fn split(&mut self, bytes: &[u8], log: &mut Option<&mut LogWriter>, now: Timestamp) -> io::Result<()> {
        let Some(log) = log else { return Ok(()) };
        for chunk in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (piece, ends) = match chunk.strip_suffix(b"\n") {
                Some(piece) => (piece, true),
                None => (chunk, false),
            };
            if ends && self.rest.is_empty() {
                log.append(self.stream, now, piece, true)?;
                continue;
            }
            self.rest.extend_from_slice(piece);
            while self.rest.len() >= PIECE_BYTES {
                let left = self.rest.split_off(PIECE_BYTES);
                log.append(self.stream, now, &self.rest, false)?;
                self.rest = left;
            }
            if ends {
                log.append(self.stream, now, &self.rest, true)?;
                self.rest = Vec::new();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use nix::fcntl::OFlag;

    use super::*;
    use crate::LogCursor;
    use crate::oci::log::{FILE_BYTES, LogReader};

    fn written(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(dir.path(), FILE_BYTES).unwrap();
        let (read, write) = nix::unistd::pipe2(OFlag::O_NONBLOCK).unwrap();
        let mut output = Output::new(read, OutputStream::Stdout);
        let mut write = File::from(write);
        let now = Timestamp::default();
        for chunk in chunks {
            write.write_all(chunk).unwrap();
            assert!(!output.copy(Some(&mut log), now).unwrap());
        }
        drop(write);
        assert!(output.copy(Some(&mut log), now).unwrap());
        let mut reader = LogReader::new(dir.path().to_owned(), LogCursor(0));
        std::iter::from_fn(|| reader.next().unwrap()).map(|line| line.line).collect()
    }

    #[test]
    fn lines_are_cut_at_newlines_wherever_reads_end() {
        assert_eq!(written(&[b"a\nb", b"c\n\nd"]), [&b"a"[..], b"bc", b"", b"d"]);
    }

    #[test]
    fn a_long_line_stays_whole() {
        let long = vec![b'x'; 3 * PIECE_BYTES + 5];
        assert_eq!(written(&[&long[..PIECE_BYTES + 1], &long[PIECE_BYTES + 1..], b"\nend\n"]), [&long[..], b"end"]);
    }
}
