//! Making and opening the two files, and bringing them together after a crash.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use longshore_seams::Seams;
use redb::backends::FileBackend;
use redb::{Builder, Database, Durability, StorageBackend};
use rustix::fs::Advice;

use super::tables::{self, Header};
use super::wal::{Wal, WalHeader};
use super::{EmbeddedOptions, FORMAT, applier, failed};
use crate::StoreError;

/// Which log file is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFile {
    /// The one that is there, if it is.
    Existing,
    /// The same, or a new one.
    ExistingOrNew,
}

pub(super) fn open_database(
    backend: impl StorageBackend,
    path: &str,
    options: EmbeddedOptions,
) -> Result<Database, StoreError> {
    Builder::new().set_cache_size(options.cache_bytes).create_with_backend(backend).map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => {
            failed(path, "another process has it open; stop that one, or choose another data directory")
        }
        error => failed(path, error),
    })
}

pub(super) fn file(path: &Path) -> Result<FileBackend, redb::Error> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    Ok(FileBackend::new(file)?)
}

/// Has the system read the file into its cache, in large pieces and in the background: who loads a large store reads it in
/// the order of its keys, which is none on the disk.
pub(super) fn read_ahead(path: &Path, seams: &Seams) {
    let path = path.to_owned();
    let read = move || {
        let done = File::open(&path).and_then(|file| Ok(rustix::fs::fadvise(&file, 0, None, Advice::WillNeed)?));
        if let Err(error) = done {
            tracing::debug!(%error, path = %path.display(), "the store is read without reading ahead");
        }
    };
    seams.spawner.spawn_blocking("store-read-ahead", Box::new(read));
}

/// Opens the log's file. The lock of the database's file is enough for both.
pub(super) fn log_file(path: &Path, wanted: LogFile) -> io::Result<Option<Box<dyn StorageBackend>>> {
    if !path.try_exists()? && wanted == LogFile::Existing {
        return Ok(None);
    }
    let file = file(path).map_err(io::Error::other)?;
    if wanted == LogFile::ExistingOrNew {
        sync_directory(path)?;
    }
    Ok(Some(Box::new(file)))
}

/// Makes a new file whole before it gets its name: a crash in between leaves no half-made store.
pub(super) fn create(path: &Path, name: &str, options: EmbeddedOptions) -> Result<(), StoreError> {
    let mut unfinished: PathBuf = path.to_owned();
    unfinished.as_mut_os_string().push(".new");
    let io = |error: io::Error| failed(name, error);
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let backend = file(&unfinished).map_err(|error| failed(name, error))?;
    let database = open_database(backend, name, options)?;
    tables::initialize(&database).map_err(|error| failed(name, error))?;
    database.close().map_err(|error| failed(name, error))?;
    std::fs::rename(&unfinished, path).map_err(io)?;
    sync_directory(path).map_err(io)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// Takes over what a log holds that was not closed, and begins a log anew.
///
/// The database names its log only after the log is there whole, and forgets it before the log is
/// begun anew: a crash anywhere in here is recovered from like the first.
pub(super) fn recover(
    database: &Database,
    mut header: Header,
    log: &dyn Fn(LogFile) -> io::Result<Option<Box<dyn StorageBackend>>>,
    path: &str,
    options: &EmbeddedOptions,
    seams: &Seams,
) -> Result<(Header, Wal), StoreError> {
    let io = |error: io::Error| failed(path, format_args!("its write-ahead log: {error}"));
    let redb = |error: redb::Error| failed(path, error);
    if header.wal != 0 {
        let there = log(LogFile::Existing).map_err(io)?;
        replay(database, &mut header, there.as_deref(), path, options)?;
    }
    let storage = log(LogFile::ExistingOrNew).map_err(io)?;
    let storage = storage.ok_or_else(|| failed(path, "its write-ahead log could not be made"))?;
    let id = seams.random.next_u64().max(1);
    let wal = Wal::begin(storage, WalHeader::new(id, options)).map_err(io)?;
    header = Header { format: FORMAT, wal: id, ..header };
    tables::save(database, &header).map_err(redb)?;
    Ok((header, wal))
}

/// Applies what the log holds after the database's last durable revision, and lets go of the log.
fn replay(
    database: &Database,
    header: &mut Header,
    log: Option<&dyn StorageBackend>,
    path: &str,
    options: &EmbeddedOptions,
) -> Result<(), StoreError> {
    let io = |error: io::Error| failed(path, format_args!("its write-ahead log: {error}"));
    let found = log.map(WalHeader::read).transpose().map_err(io)?.flatten();
    let (Some(log), Some(found)) = (log, found.filter(|found| found.id == header.wal)) else {
        let reason = "its write-ahead log (the file beside it whose name ends in .wal) is missing, damaged or of \
                      another store, and may hold acknowledged transactions: restore both files from the same copy";
        return Err(failed(path, format_args!("after revision {} {reason}", header.revision)));
    };
    let frames = found.after(log, header.revision).map_err(io)?.map_err(|lacking| {
        let reason = "restore both files from the same copy";
        failed(path, format_args!("its write-ahead log lacks revision {lacking}, but holds later ones: {reason}"))
    })?;
    let replayed = frames.last().map_or(header.revision, |frame| frame.last);
    header.wal = 0;
    if replayed > header.revision {
        tracing::info!(path, from = header.revision + 1, to = replayed, "replaying the write-ahead log");
    }
    applier::apply(database, header, options, &frames, Durability::Immediate).map_err(|error| failed(path, error))
}
