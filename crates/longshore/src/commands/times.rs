//! Times as people type them: so long ago, so long from now, or a date.

use std::time::Duration;

use longshore_seams::{Seams, Timestamp};

use crate::output::Failure;

/// Which way a duration counts from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Back.
    Ago,
    /// Forward.
    Ahead,
}

/// Reads `text`, the value of `flag`: 30s, 10m, 2h, 3d from now in `direction`, or a time like 2026-11-22T10:00:00Z.
///
/// # Errors
/// It is neither (exit code 2).
pub fn time(flag: &str, text: &str, direction: Direction, seams: &Seams) -> Result<Timestamp, Failure> {
    let now = seams.clock.now();
    if let Some(duration) = duration(text) {
        return Ok(match direction {
            Direction::Ago => now.minus(duration),
            Direction::Ahead => now.plus(duration),
        });
    }
    longshore_api::parse_time(text).ok_or_else(|| {
        Failure::usage(format!(
            "{flag} is '{text}', which is no time: give a duration like 30s, 10m, 2h or 3d, or a time like 2026-11-22T10:00:00Z"
        ))
    })
}

fn duration(text: &str) -> Option<Duration> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let count: u64 = text.strip_suffix(char::is_alphabetic)?.parse().ok()?;
    Some(Duration::from_secs(count.checked_mul(unit)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_count_from_now_and_dates_stand() {
        let seams = Seams::system();
        let at = |text: &str, direction| time("--since", text, direction, &seams);
        let hour = Duration::from_secs(3600);
        let (ago, ahead) = (at("1h", Direction::Ago).unwrap(), at("60m", Direction::Ahead).unwrap());
        assert!(ahead.since(ago) >= hour * 2 && ahead.since(ago) < hour * 2 + Duration::from_secs(60));
        let date = at("2026-11-22T10:00:00Z", Direction::Ago).unwrap();
        assert_eq!(date, Timestamp::from_secs(1_795_341_600));
        for wrong in ["", "yesterday", "-5m", "m"] {
            let refused = at(wrong, Direction::Ago);
            assert!(refused.as_ref().is_err_and(|failure| failure.code == 2), "{wrong}: {refused:?}");
        }
    }
}
