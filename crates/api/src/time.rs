//! Timestamps in documents: seconds in JSON, ISO 8601 in query and XML.

use longshore_seams::Timestamp;

/// From seconds since the epoch, rounded to milliseconds.
pub(crate) fn from_float(secs: f64) -> Option<Timestamp> {
    const LIMIT: f64 = 253_402_300_800.0; // the year 10000
    #[expect(clippy::cast_possible_truncation, reason = "within range")]
    (secs.abs() < LIMIT).then(|| Timestamp::from_millis((secs * 1000.0).round() as i64))
}

/// From `2024-01-01T00:00:00.123Z`, or seconds since the epoch as text.
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(Timestamp::from_millis(time.as_millisecond()));
    }
    text.parse::<f64>().ok().and_then(from_float)
}

/// `2024-01-01T00:00:00Z`, with milliseconds where there are any.
#[must_use]
pub fn iso8601(time: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(time.as_millis()) {
        Ok(time) => time.to_string(),
        // Only outside the years -9999 to 9999, which no operation can produce.
        Err(_) => seconds(time),
    }
}

/// `2024-01-01T00:00:00.120Z`, always with milliseconds: as events carry times.
#[must_use]
pub fn iso8601_millis(time: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(time.as_millis()) {
        Ok(time) => format!("{time:.3}"),
        // Only outside the years -9999 to 9999, which no operation can produce.
        Err(_) => seconds(time),
    }
}

/// Seconds since the epoch: exact milliseconds, no fraction when whole.
pub(crate) fn seconds(time: Timestamp) -> String {
    let millis = time.as_millis();
    let (sign, magnitude) = (if millis < 0 { "-" } else { "" }, millis.unsigned_abs());
    match (magnitude / 1000, magnitude % 1000) {
        (secs, 0) => format!("{sign}{secs}"),
        (secs, fraction) => format!("{sign}{secs}.{fraction:03}"),
    }
}
