//! What a transaction does to the rows, and the change-log row it leaves. Pure.

use crate::{Change, Compare, Op, Revision, Txn};

/// The rows of a back end, while a transaction is applied.
pub(crate) trait Rows {
    /// What the back end can fail with.
    type Error;

    /// Revisions of creation and of the last write.
    fn find(&self, key: &[u8]) -> Result<Option<(Revision, Revision)>, Self::Error>;

    /// Writes a row.
    fn put(&mut self, key: &[u8], created: Revision, modified: Revision, value: &[u8]) -> Result<(), Self::Error>;

    /// Removes a row, or nothing.
    fn delete(&mut self, key: &[u8]) -> Result<(), Self::Error>;
}

/// A write, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write<'a> {
    Put(&'a [u8], &'a [u8]),
    Delete(&'a [u8]),
}

impl<'a> Write<'a> {
    pub(crate) fn key(self) -> &'a [u8] {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }

    fn owned(self) -> Op {
        match self {
            Self::Put(key, value) => Op::Put(key.to_vec(), value.to_vec()),
            Self::Delete(key) => Op::Delete(key.to_vec()),
        }
    }
}

impl<'a> From<&'a Op> for Write<'a> {
    fn from(op: &'a Op) -> Self {
        match op {
            Op::Put(key, value) => Self::Put(key, value),
            Op::Delete(key) => Self::Delete(key),
        }
    }
}

/// Whether all of `compares` hold, where `find` tells a key's revisions of creation and last write.
pub(crate) fn hold<E>(
    compares: &[Compare],
    find: impl Fn(&[u8]) -> Result<Option<(Revision, Revision)>, E>,
) -> Result<bool, E> {
    for compare in compares {
        let holds = match compare {
            Compare::ModRevision(key, expected) => find(key)?.map_or(0, |(_, modified)| modified) == *expected,
            Compare::CreateRevision(key, expected) => find(key)?.map_or(0, |(created, _)| created) == *expected,
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes one operation of the transaction that has `revision`.
pub(crate) fn write<R: Rows>(rows: &mut R, write: Write<'_>, revision: Revision) -> Result<(), R::Error> {
    match write {
        Write::Put(key, value) => {
            let created = rows.find(key)?.map_or(revision, |(created, _)| created);
            rows.put(key, created, revision, value)
        }
        Write::Delete(key) => rows.delete(key),
    }
}

/// Applies `txn` at `revision`; `false` when a compare did not hold and nothing was written.
pub(crate) fn apply<R: Rows>(rows: &mut R, txn: &Txn, revision: Revision) -> Result<bool, R::Error> {
    let holds = hold(&txn.compares, |key| rows.find(key))?;
    if holds {
        txn.ops.iter().try_for_each(|op| write(rows, op.into(), revision))?;
    }
    Ok(holds)
}

impl Change {
    /// The part of it below `prefix`; `None` when there is none.
    pub(crate) fn below(&self, prefix: &[u8]) -> Option<Self> {
        let ops: Vec<Op> = self.ops.iter().filter(|op| op.key().starts_with(prefix)).cloned().collect();
        (!ops.is_empty()).then_some(Self { revision: self.revision, ops })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.ops.iter().map(Op::bytes).sum()
    }
}

/// First byte of a change-log row.
const ROW_FORMAT: u8 = 1;

/// Bytes beside its keys and values that one operation takes in a change-log row, at most.
pub(crate) const OP_OVERHEAD: usize = 9;

/// Appends a change-log row: format, then for every operation a tag, the key and (for a put) the
/// value, each after its length.
pub(crate) fn encode(ops: &[Op], row: &mut Vec<u8>) {
    row.reserve(1 + ops.iter().map(|op| op.bytes() + OP_OVERHEAD).sum::<usize>());
    row.push(ROW_FORMAT);
    let mut field = |tag: Option<u8>, bytes: &[u8]| {
        row.extend(tag);
        let length = u32::try_from(bytes.len()).expect("a transaction's size was checked at submit");
        row.extend_from_slice(&length.to_le_bytes());
        row.extend_from_slice(bytes);
    };
    for op in ops {
        match op {
            Op::Put(key, value) => {
                field(Some(1), key);
                field(None, value);
            }
            Op::Delete(key) => field(Some(2), key),
        }
    }
}

/// The operations of a change-log row; `None` in place of the first that is damaged, and then no more.
pub(crate) fn writes(row: &[u8]) -> impl Iterator<Item = Option<Write<'_>>> {
    fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (bytes, tail) = split_field(rest)?;
        *rest = tail;
        Some(bytes)
    }
    let mut rest = match row.split_first() {
        Some((&ROW_FORMAT, rest)) => Some(rest),
        _ => None,
    };
    let mut ended = false;
    std::iter::from_fn(move || {
        let next = match &mut rest {
            Some(rest) => {
                let (tag, tail) = rest.split_first()?;
                *rest = tail;
                field(rest).and_then(|key| match tag {
                    1 => Some(Write::Put(key, field(rest)?)),
                    2 => Some(Write::Delete(key)),
                    _ => None,
                })
            }
            None => None,
        };
        if std::mem::replace(&mut ended, next.is_none()) { None } else { Some(next) }
    })
}

/// The bytes after their length (32 bits, little-endian), and what follows them.
pub(crate) fn split_field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, tail) = bytes.split_first_chunk::<4>()?;
    tail.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

/// Reads a change-log row; `None` when it is damaged.
pub(crate) fn decode(row: &[u8]) -> Option<Vec<Op>> {
    writes(row).map(|write| write.map(Write::owned)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..20);
        let op =
            prop_oneof![(bytes(), bytes()).prop_map(|(key, value)| Op::Put(key, value)), bytes().prop_map(Op::Delete)];
        proptest::collection::vec(op, 0..10)
    }

    proptest! {
        #[test]
        fn a_row_reads_back_as_it_was_written(ops in ops()) {
            let mut row = Vec::new();
            encode(&ops, &mut row);
            prop_assert_eq!(decode(&row), Some(ops));
        }

        #[test]
        fn a_damaged_row_never_panics(row in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&row);
        }
    }
}
