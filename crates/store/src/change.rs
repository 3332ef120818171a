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

/// Applies `txn` at `revision`; `false` when a compare did not hold and nothing was written.
pub(crate) fn apply<R: Rows>(rows: &mut R, txn: &Txn, revision: Revision) -> Result<bool, R::Error> {
    for compare in &txn.compares {
        let holds = match compare {
            Compare::ModRevision(key, expected) => rows.find(key)?.map_or(0, |(_, modified)| modified) == *expected,
            Compare::CreateRevision(key, expected) => rows.find(key)?.map_or(0, |(created, _)| created) == *expected,
        };
        if !holds {
            return Ok(false);
        }
    }
    for op in &txn.ops {
        match op {
            Op::Put(key, value) => {
                let created = rows.find(key)?.map_or(revision, |(created, _)| created);
                rows.put(key, created, revision, value)?;
            }
            Op::Delete(key) => rows.delete(key)?,
        }
    }
    Ok(true)
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

/// A change-log row: format, then for every operation a tag, the key and (for a put) the value,
/// each after its length.
pub(crate) fn encode(ops: &[Op]) -> Vec<u8> {
    let mut row = Vec::with_capacity(1 + ops.iter().map(|op| op.bytes() + 9).sum::<usize>());
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
    row
}

/// Reads a change-log row; `None` when it is damaged.
pub(crate) fn decode(row: &[u8]) -> Option<Vec<Op>> {
    fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let (bytes, tail) = tail.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        *rest = tail;
        Some(bytes)
    }
    let (format, mut rest) = row.split_first()?;
    if *format != ROW_FORMAT {
        return None;
    }
    let mut ops = Vec::new();
    while let Some((tag, tail)) = rest.split_first() {
        rest = tail;
        let key = field(&mut rest)?.to_vec();
        ops.push(match tag {
            1 => Op::Put(key, field(&mut rest)?.to_vec()),
            2 => Op::Delete(key),
            _ => return None,
        });
    }
    Some(ops)
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
            prop_assert_eq!(decode(&encode(&ops)), Some(ops));
        }

        #[test]
        fn a_damaged_row_never_panics(row in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&row);
        }
    }
}
