//! Versions, dates and numbers in expressions.

use std::cmp::Ordering;

/// A version such as `1.14.5`: numbers compared one after another, missing ones as 0.
#[derive(Clone, Debug)]
pub(super) struct Version(Vec<u64>);

impl Version {
    /// Reads the leading dotted numbers (a `v` before them and a `-suffix` after them are passed over).
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let numbers = text.split(['-', '+']).next()?;
        let mut parts = numbers.split('.').map(|part| part.parse().ok()).collect::<Option<Vec<u64>>>()?;
        while parts.last() == Some(&0) {
            parts.pop();
        }
        Some(Self(parts))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

/// Numbers by value, everything else as text.
pub(super) fn compare_text(left: &str, right: &str) -> Ordering {
    match (left.parse::<f64>(), right.parse::<f64>()) {
        (Ok(left), Ok(right)) => left.total_cmp(&right),
        _ => left.cmp(right),
    }
}

/// Seconds since the epoch of `2018-06-18T22:28:28+00:00`, `…Z`, without zone (UTC), or `2018-06-18`.
pub(super) fn read_date(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let [year, month, day] = numbers::<3>(date, '-')?;
    if date.len() != 10 || !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let midnight = days_from_epoch(year, month, day) * 86_400;
    let Some(time) = time else { return Some(midnight) };
    let (clock, offset) = match time.find(['Z', '+', '-']) {
        Some(at) => (&time[..at], read_offset(&time[at..])?),
        None => (time, 0),
    };
    let clock = clock.split_once('.').map_or(clock, |(whole, _)| whole);
    let [hours, minutes, seconds] = numbers::<3>(clock, ':')?;
    if clock.len() != 8 || hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    Some(midnight + hours * 3600 + minutes * 60 + seconds - offset)
}

/// `Z`, `+02:00` or `-0530` in seconds.
fn read_offset(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let (sign, rest) = (if text.starts_with('-') { -1 } else { 1 }, text.get(1..)?);
    let digits: String = rest.chars().filter(|character| *character != ':').collect();
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i64, i64) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    (hours <= 18 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

fn numbers<const N: usize>(text: &str, separator: char) -> Option<[i64; N]> {
    let parts = text
        .split(separator)
        .map(|part| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten())
        .collect::<Option<Vec<i64>>>()?;
    parts.try_into().ok()
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    // Years are counted from March, so that the leap day is the last of its year.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_date_form_of_the_guide_is_read() {
        assert_eq!(read_date("1970-01-01"), Some(0));
        assert_eq!(read_date("2018-06-18"), Some(1_529_280_000));
        for form in ["2018-06-18T22:28:28+00:00", "2018-06-18T22:28:28Z", "2018-06-18T22:28:28"] {
            assert_eq!(read_date(form), Some(1_529_360_908), "{form}");
        }
        assert_eq!(read_date("2018-06-19T00:28:28+02:00"), Some(1_529_360_908));
        assert_eq!(read_date("2020-02-29"), Some(1_582_934_400));
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in
            ["", "2018", "2018-13-01", "2019-02-29", "2018-06-18T25:00:00Z", "2018-6-18", "yesterday", "2018-06-18T"]
        {
            assert_eq!(read_date(text), None, "{text}");
        }
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(Version::read("1.9.0") < Version::read("1.14.5"));
        assert!(Version::read("1.105.1") > Version::read("1.14.5"));
        assert_eq!(Version::read("1.14"), Version::read("1.14.0"));
        assert!(Version::read("latest").is_none());
    }
}
