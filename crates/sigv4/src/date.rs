//! Dates as signatures carry them: `20150830T123600Z`.

use longshore_seams::Timestamp;

const SECS_PER_DAY: i64 = 86_400;

/// `YYYYMMDDTHHMMSSZ`, the form of `X-Amz-Date`; fractions of a second are cut.
#[must_use]
pub fn amz_date(at: Timestamp) -> String {
    let secs = at.as_secs();
    let (year, month, day) = civil(secs.div_euclid(SECS_PER_DAY));
    let of_day = secs.rem_euclid(SECS_PER_DAY);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// Reads `YYYYMMDDTHHMMSSZ`; `None` for anything else.
#[must_use]
pub fn parse_amz_date(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let time = [digits(&bytes[9..11])?, digits(&bytes[11..13])?, digits(&bytes[13..15])?];
    timestamp([digits(&bytes[..4])?, digits(&bytes[4..6])?, digits(&bytes[6..8])?], time)
}

/// Reads the form of HTTP's `Date`, `Sun, 30 Aug 2015 12:36:00 GMT`; `None` for anything else.
pub(crate) fn parse_http_date(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let day = digits(words.next()?.as_bytes())?;
    let name = words.next()?;
    let month = (1..).zip(MONTHS).find_map(|(number, month)| (month == name).then_some(number))?;
    let year = digits(words.next()?.as_bytes())?;
    let mut clock = words.next()?.split(':').map(|part| digits(part.as_bytes()));
    let time = [clock.next()??, clock.next()??, clock.next()??];
    (words.next() == Some("GMT")).then(|| timestamp([year, month, day], time))?
}

fn digits(bytes: &[u8]) -> Option<i64> {
    if bytes.is_empty() || bytes.len() > 4 {
        return None;
    }
    bytes.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

fn timestamp([year, month, day]: [i64; 3], [hour, minute, second]: [i64; 3]) -> Option<Timestamp> {
    let days = days_since_epoch(year, month, day);
    let valid =
        (1..=12).contains(&month) && civil(days) == (year, month, day) && hour < 24 && minute < 60 && second < 60;
    valid.then(|| Timestamp::from_secs(days * SECS_PER_DAY + hour * 3600 + minute * 60 + second))
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar. Years are counted from March, so that
/// the leap day is a year's last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_the_dates_of_the_published_test_suite() {
        let at = Timestamp::from_secs(1_440_938_160);
        assert_eq!(amz_date(at), "20150830T123600Z");
        assert_eq!(parse_amz_date("20150830T123600Z"), Some(at));
        assert_eq!(parse_http_date("Sun, 30 Aug 2015 12:36:00 GMT"), Some(at));
    }

    #[test]
    fn refuses_what_is_no_date() {
        for text in [
            "",
            "20150830",
            "20150830T123600",
            "20151330T123600Z",
            "20150229T000000Z",
            "20150830T243600Z",
            "2015083éT12360Z",
        ] {
            assert_eq!(parse_amz_date(text), None, "{text}");
        }
        for text in ["", "Sun, 30 Foo 2015 12:36:00 GMT", "Sun, 30 Aug 2015 12:36 GMT", "Sun, 30 Aug 2015 12:36:00 CET"]
        {
            assert_eq!(parse_http_date(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_second_reads_back(secs in 0_i64..253_402_300_800) {
            let at = Timestamp::from_secs(secs);
            prop_assert_eq!(parse_amz_date(&amz_date(at)), Some(at));
        }
    }
}
