//! The tables of the file, and reading them.

use std::ops::Bound;

use redb::{
    Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, Table, TableDefinition, TableError,
    WriteTransaction,
};

use crate::change::Rows;
use crate::embedded::FORMAT;
use crate::{Entry, MAX_PAGE, MAX_PAGE_BYTES, Page, Range, Revision};

/// Key → (revision of creation, revision of the last write, value).
const DATA: TableDefinition<&[u8], (u64, u64, &[u8])> = TableDefinition::new("d");
/// Revision → its operations (`change::encode`).
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("l");
/// The [`Header`]'s members.
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// Most change-log rows, and the bytes after which no more, that one read of the log takes.
const LOG_PAGE_ROWS: usize = 512;
const LOG_PAGE_BYTES: usize = 2 << 20;

/// What the file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) format: u32,
    pub(super) revision: Revision,
    /// Oldest revision in the change log; one past `revision` when the log is empty.
    pub(super) oldest: Revision,
    /// Bytes of the change log's rows.
    pub(super) log_bytes: u64,
    /// Id of the write-ahead log that may hold later transactions; 0 when none does.
    pub(super) wal: u64,
}

impl Header {
    /// Of a new file.
    const EMPTY: Self = Self { format: FORMAT, revision: 0, oldest: 1, log_bytes: 0, wal: 0 };
}

/// The header; `None` when the file is new.
pub(super) fn header(database: &Database) -> Result<Option<Header>, redb::Error> {
    let transaction = database.begin_read()?;
    let meta = match transaction.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        other => other?,
    };
    let read = |name: &str| -> Result<u64, redb::Error> {
        let value = meta.get(name)?.map(|value| value.value());
        value.ok_or_else(|| redb::Error::Corrupted(format!("meta lacks {name}")))
    };
    let format = u32::try_from(read("format")?).unwrap_or(u32::MAX);
    if format > FORMAT {
        // The rest may have another meaning there.
        return Ok(Some(Header { format, ..Header::EMPTY }));
    }
    // Format 1 had no write-ahead log.
    let wal = if format == 1 { 0 } else { read("wal")? };
    let (revision, oldest, log_bytes) = (read("revision")?, read("oldest")?, read("log_bytes")?);
    Ok(Some(Header { format, revision, oldest, log_bytes, wal }))
}

/// A write transaction. A durable one leaves nothing to repair after a crash; the others are seen
/// by readers and become durable with the next durable one.
pub(super) fn begin(database: &Database, durability: Durability) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(durability)?;
    transaction.set_quick_repair(matches!(durability, Durability::Immediate));
    Ok(transaction)
}

/// Writes the header, and makes it and everything before it durable.
pub(super) fn save(database: &Database, header: &Header) -> Result<(), redb::Error> {
    let transaction = begin(database, Durability::Immediate)?;
    Tables::of(&transaction)?.write_header(header)?;
    Ok(transaction.commit()?)
}

/// Makes the tables of an empty file.
pub(super) fn initialize(database: &Database) -> Result<Header, redb::Error> {
    save(database, &Header::EMPTY)?;
    Ok(Header::EMPTY)
}

/// The tables, being written.
pub(super) struct Tables<'txn> {
    data: Table<'txn, &'static [u8], (u64, u64, &'static [u8])>,
    log: Table<'txn, u64, &'static [u8]>,
    meta: Table<'txn, &'static str, u64>,
}

impl<'txn> Tables<'txn> {
    pub(super) fn of(transaction: &'txn WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            data: transaction.open_table(DATA)?,
            log: transaction.open_table(LOG)?,
            meta: transaction.open_table(META)?,
        })
    }

    pub(super) fn write_header(&mut self, header: &Header) -> Result<(), redb::Error> {
        self.meta.insert("format", u64::from(header.format))?;
        self.meta.insert("revision", header.revision)?;
        self.meta.insert("oldest", header.oldest)?;
        self.meta.insert("log_bytes", header.log_bytes)?;
        self.meta.insert("wal", header.wal)?;
        Ok(())
    }

    /// Appends a change-log row.
    pub(super) fn append(&mut self, revision: Revision, row: &[u8]) -> Result<(), redb::Error> {
        self.log.insert(revision, row)?;
        Ok(())
    }

    /// Drops the oldest change-log row; its revision and bytes.
    pub(super) fn drop_oldest(&mut self) -> Result<Option<(Revision, u64)>, redb::Error> {
        Ok(self.log.pop_first()?.map(|(revision, row)| (revision.value(), row.value().len() as u64)))
    }
}

impl Rows for Tables<'_> {
    type Error = redb::Error;

    fn find(&self, key: &[u8]) -> Result<Option<(Revision, Revision)>, redb::Error> {
        Ok(self.data.get(key)?.map(|row| {
            let (created, modified, _) = row.value();
            (created, modified)
        }))
    }

    fn put(&mut self, key: &[u8], created: Revision, modified: Revision, value: &[u8]) -> Result<(), redb::Error> {
        self.data.insert(key, (created, modified, value))?;
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), redb::Error> {
        self.data.remove(key)?;
        Ok(())
    }
}

/// The last committed state, unmoved by later commits.
pub(super) struct Snapshot {
    data: ReadOnlyTable<&'static [u8], (u64, u64, &'static [u8])>,
    log: ReadOnlyTable<u64, &'static [u8]>,
    meta: ReadOnlyTable<&'static str, u64>,
}

impl Snapshot {
    pub(super) fn of(database: &Database) -> Result<Self, redb::Error> {
        let transaction = database.begin_read()?;
        Ok(Self {
            data: transaction.open_table(DATA)?,
            log: transaction.open_table(LOG)?,
            meta: transaction.open_table(META)?,
        })
    }

    fn member(&self, name: &str) -> Result<u64, redb::Error> {
        Ok(self.meta.get(name)?.map_or(0, |value| value.value()))
    }

    /// The oldest revision that can be watched.
    pub(super) fn oldest(&self) -> Result<Revision, redb::Error> {
        self.member("oldest")
    }

    /// A key's revisions of creation and last write.
    pub(super) fn find(&self, key: &[u8]) -> Result<Option<(Revision, Revision)>, redb::Error> {
        Ok(self.data.get(key)?.map(|row| {
            let (created, modified, _) = row.value();
            (created, modified)
        }))
    }

    pub(super) fn entry(&self, key: &[u8]) -> Result<Option<Entry>, redb::Error> {
        Ok(self.data.get(key)?.map(|row| entry(key, row.value())))
    }

    pub(super) fn page(&self, range: &Range) -> Result<Page, redb::Error> {
        let mut page = Page { entries: Vec::new(), more: false, revision: self.member("revision")? };
        if !range.end.is_empty() && range.end <= range.start {
            return Ok(page);
        }
        let end = if range.end.is_empty() { Bound::Unbounded } else { Bound::Excluded(range.end.as_slice()) };
        let mut bytes = 0;
        for row in self.data.range::<&[u8]>((Bound::Included(range.start.as_slice()), end))? {
            if page.entries.len() >= range.limit.min(MAX_PAGE) || bytes > MAX_PAGE_BYTES {
                page.more = true;
                break;
            }
            let (key, row) = row?;
            let entry = entry(key.value(), row.value());
            bytes += entry.key.len() + entry.value.len();
            page.entries.push(entry);
        }
        Ok(page)
    }

    /// A bounded number of change-log rows from `from` to `to` (both inclusive).
    pub(super) fn changes(&self, from: Revision, to: Revision) -> Result<LogPage, redb::Error> {
        let mut page = LogPage { oldest: self.oldest()?, rows: Vec::new() };
        let mut bytes = 0;
        for row in self.log.range(from..=to)? {
            if page.rows.len() >= LOG_PAGE_ROWS || bytes > LOG_PAGE_BYTES {
                break;
            }
            let (revision, row) = row?;
            bytes += row.value().len();
            page.rows.push((revision.value(), row.value().to_vec()));
        }
        Ok(page)
    }
}

/// Part of the change log.
pub(super) struct LogPage {
    /// The oldest revision kept.
    pub(super) oldest: Revision,
    /// Revisions and their encoded operations.
    pub(super) rows: Vec<(Revision, Vec<u8>)>,
}

fn entry(key: &[u8], (create_revision, mod_revision, value): (u64, u64, &[u8])) -> Entry {
    Entry { key: key.to_vec(), value: value.to_vec(), create_revision, mod_revision }
}
