//! How records are put into bytes: one byte of format version, then JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Something that is kept in the store.
pub trait Record: Serialize + DeserializeOwned {
    /// What it is, for messages.
    const KIND: &'static str;
    /// The format that this version writes.
    const FORMAT: u8;

    /// Reads the format before [`Self::FORMAT`]. Every version reads its predecessor's records.
    ///
    /// # Errors
    /// The format is none that this version knows.
    fn migrate(format: u8, _json: &[u8]) -> Result<Self, RecordError> {
        Err(RecordError::Format { kind: Self::KIND, found: format, known: Self::FORMAT })
    }
}

/// A stored record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Another format.
    #[error(
        "a stored {kind} has format {found}; this version knows up to {known}: use the Longshore version that wrote it"
    )]
    Format {
        /// What it is.
        kind: &'static str,
        /// Its format.
        found: u8,
        /// Our newest.
        known: u8,
    },
    /// Not what its format says.
    #[error("a stored {kind} is damaged")]
    Damaged {
        /// What it is.
        kind: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// No bytes at all.
    #[error("a stored {kind} is empty")]
    Empty {
        /// What it is.
        kind: &'static str,
    },
}

/// The bytes of `record`.
#[must_use]
pub fn encode<R: Record>(record: &R) -> Vec<u8> {
    let mut bytes = vec![R::FORMAT];
    serde_json::to_writer(&mut bytes, record).expect("records have string keys and no failing serializers");
    bytes
}

/// The record in `bytes`.
///
/// # Errors
/// Damaged bytes, or a format that this version does not know.
pub fn decode<R: Record>(bytes: &[u8]) -> Result<R, RecordError> {
    let (format, json) = bytes.split_first().ok_or(RecordError::Empty { kind: R::KIND })?;
    if *format == R::FORMAT {
        serde_json::from_slice(json).map_err(|source| RecordError::Damaged { kind: R::KIND, source })
    } else {
        R::migrate(*format, json)
    }
}
