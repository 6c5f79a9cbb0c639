//! A timestamp as an RFC 3339 time (SPEC section 10), written without allocating, and its length.

const MS_PER_DAY: i64 = 86_400_000;

/// The first millisecond of the year 0000.
const FIRST: i64 = -62_167_219_200_000;
/// The last millisecond of the year 9999.
const LAST: i64 = 253_402_300_799_999;

/// The length of a time with its quotes.
const LENGTH: u64 = "\"2026-11-22T10:00:00.000Z\"".len() as u64;
const NULL: &[u8] = b"null";

/// Appends the time in quotes, or `null` for a timestamp that has none.
pub(crate) fn render_time(timestamp: i64, out: &mut Vec<u8>) {
    if !has_time(timestamp) {
        out.extend_from_slice(NULL);
        return;
    }
    out.push(b'"');
    render_bare_time(timestamp, out);
    out.push(b'"');
}

/// Appends the time without quotes; nothing for a timestamp that has none.
pub(crate) fn render_bare_time(timestamp: i64, out: &mut Vec<u8>) {
    if !has_time(timestamp) {
        return;
    }
    let (day, ms) = (
        timestamp.div_euclid(MS_PER_DAY),
        timestamp.rem_euclid(MS_PER_DAY) as u32,
    );
    let (year, month, day) = date(day);
    let ([y1, y2], [y3, y4]) = (digits(year / 100), digits(year % 100));
    let ([mo1, mo2], [d1, d2]) = (digits(month), digits(day));
    let [h1, h2] = digits(ms / 3_600_000);
    let [m1, m2] = digits(ms / 60_000 % 60);
    let [s1, s2] = digits(ms / 1000 % 60);
    let (ms1, [ms2, ms3]) = (b'0' + (ms / 100 % 10) as u8, digits(ms % 100));
    out.extend_from_slice(&[
        y1, y2, y3, y4, b'-', mo1, mo2, b'-', d1, d2, b'T', h1, h2, b':', m1, m2, b':', s1, s2,
        b'.', ms1, ms2, ms3, b'Z',
    ]);
}

/// Returns the length of what [`render_time`] appends.
pub(crate) fn time_size(timestamp: i64) -> u64 {
    match has_time(timestamp) {
        true => LENGTH,
        false => NULL.len() as u64,
    }
}

/// Returns the sum of [`time_size`] over all `timestamps`.
pub(crate) fn times_size(timestamps: &[i64]) -> u64 {
    // No branch per timestamp, so that several are counted at once.
    let with_time: u64 = timestamps.iter().map(|t| u64::from(has_time(*t))).sum();
    let without = timestamps.len() as u64 - with_time;
    with_time * LENGTH + without * NULL.len() as u64
}

fn has_time(timestamp: i64) -> bool {
    (timestamp != -1) & (FIRST..=LAST).contains(&timestamp)
}

/// The last two decimal digits of a number.
fn digits(number: u32) -> [u8; 2] {
    [number / 10 % 10, number % 10].map(|digit| b'0' + digit as u8)
}

/// The year, month and day of a day between those of [`FIRST`] and [`LAST`], counted from 1970-01-01.
///
/// Years begin in March here, so that the leap day is the last of its year (H. Hinnant, "chrono-compatible low-level date algorithms").
fn date(day: i64) -> (u32, u32, u32) {
    const DAYS_PER_ERA: u32 = 146_097;
    const YEARS_PER_ERA: u32 = 400;
    // Counted from 1 March of the year -400, so that nothing below is negative.
    let day = (day + 719_468 + i64::from(DAYS_PER_ERA)) as u32;
    let (era, day) = (day / DAYS_PER_ERA, day % DAYS_PER_ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let next_year = u32::from(month >= 10);
    let month = month + 3 - 12 * next_year;
    let year = era * YEARS_PER_ERA + year + next_year - YEARS_PER_ERA;
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(timestamp: i64) -> String {
        let mut out = Vec::new();
        render_time(timestamp, &mut out);
        assert_eq!(out.len() as u64, time_size(timestamp));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_without_a_year_of_four_digits_are_null() {
        for none in [i64::MIN, FIRST - 1, -1, LAST + 1, i64::MAX] {
            assert_eq!(text(none), "null", "{none}");
        }
        assert_eq!(text(FIRST), "\"0000-01-01T00:00:00.000Z\"");
        assert_eq!(text(LAST), "\"9999-12-31T23:59:59.999Z\"");
        assert_eq!(text(-2), "\"1969-12-31T23:59:59.998Z\"");
        assert_eq!(text(0), "\"1970-01-01T00:00:00.000Z\"");
        assert_eq!(text(951_782_400_000), "\"2000-02-29T00:00:00.000Z\"");
        let all = [FIRST - 1, FIRST, -1, 0, LAST];
        assert_eq!(times_size(&all), 3 * LENGTH + 2 * 4);
    }

    /// Every day, against a calendar that counts them one by one.
    #[test]
    fn every_date_is_that_of_the_calendar() {
        let (mut year, mut month, mut day) = (0, 1, 1);
        for number in FIRST / MS_PER_DAY..=LAST.div_euclid(MS_PER_DAY) {
            assert_eq!(date(number), (year, month, day));
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let days = match month {
                2 => 28 + u32::from(is_leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day = day % days + 1;
            if day == 1 {
                month = month % 12 + 1;
                year += u32::from(month == 1);
            }
        }
        assert_eq!((year, month, day), (10_000, 1, 1));
    }

    proptest! {
        #[test]
        fn the_time_of_day_is_the_rest(timestamp in FIRST..=LAST) {
            prop_assume!(timestamp != -1);
            let text = text(timestamp);
            let part = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
            let seconds = (part(12..14) * 60 + part(15..17)) * 60 + part(18..20);
            prop_assert_eq!(seconds * 1000 + part(21..24), timestamp.rem_euclid(MS_PER_DAY));
        }
    }
}
