//! Numbers and names as people read them. `--json` never goes through here.

use std::borrow::Cow;
use std::time::Duration;

use indicatif::{BinaryBytes, HumanCount};

/// Formats bytes, as in `1.21 GiB`.
pub fn bytes(bytes: u64) -> String {
    BinaryBytes(bytes).to_string()
}

/// Formats a number, as in `1,234,567`.
pub fn count(count: u64) -> String {
    HumanCount(count).to_string()
}

/// Formats a count with its noun, as in `1 record` or `2,000 records`.
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// Lists up to twenty of some things, and how many more there are.
pub fn some_of<T: std::fmt::Display>(all: &[T]) -> String {
    const SHOWN: usize = 20;
    let shown: Vec<String> = all.iter().take(SHOWN).map(T::to_string).collect();
    let shown = shown.join(", ");
    match all.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {} more", count(more as u64)),
    }
}

/// Formats a rate, as in `45.20 MiB/s`.
pub fn byte_rate(bytes_per_second: f64) -> String {
    format!("{}/s", bytes(bytes_per_second as u64))
}

/// `3h 2m 5s`; below 10 seconds with tenths, `2.4s`.
pub fn duration(duration: Duration) -> String {
    if duration < Duration::from_secs(10) && duration.subsec_nanos() != 0 {
        return format!("{:.1}s", duration.as_secs_f64());
    }
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m {seconds}s"),
        _ => format!("{}h {minutes}m {seconds}s", count(hours)),
    }
}

/// An age in its two largest units, `3d 2h` or `45s`.
pub fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let units = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let largest = units.iter().position(|(number, _)| *number > 0);
    let shown = units
        .iter()
        .skip(largest.unwrap_or(units.len() - 1))
        .take(2);
    let shown: Vec<String> = shown
        .map(|(number, unit)| format!("{}{unit}", count(*number)))
        .collect();
    shown.join(" ")
}

/// How long ago something was, as [`age`]; `-` where it is in the future by this machine's clock.
pub fn age_of(at: jiff::Timestamp, now: jiff::Timestamp) -> String {
    let past = Duration::try_from(now.duration_since(at));
    past.map_or_else(|_| "-".to_owned(), age)
}

/// A moment of a run in UTC, to the second, `2026-11-22T10:00:00Z`.
pub fn moment(at: jiff::Timestamp) -> String {
    format!("{at:.0}")
}

/// A timestamp in UTC, `2026-11-22T10:00:00.123Z`; a number beyond the calendar stays a number, `@9223372036854775807ms`.
pub fn timestamp_ms(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(timestamp) => format!("{timestamp:.3}"),
        Err(_) => format!("@{ms}ms"),
    }
}

/// A name with its control characters escaped, so that it stays on its line: groups and principals may have any name.
pub fn printable(text: &str) -> String {
    let escape = |c: char| -> String {
        if c.is_control() {
            c.escape_default().collect()
        } else {
            c.into()
        }
    };
    text.chars().map(escape).collect()
}

/// The id of a group, as [`printable`]; the empty one, which consumers without a group have committed offsets of, as `""`.
pub fn group_id(id: &str) -> String {
    match id {
        "" => "\"\"".to_owned(),
        id => printable(id),
    }
}

/// Text of whole lines without any other control character, so that no name, path or message commands a terminal.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    let is_kept = |c: char| matches!(c, '\n' | '\t') || !c.is_control();
    if text.chars().all(is_kept) {
        return text.into();
    }
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        match is_kept(c) {
            true => printable.push(c),
            false => printable.extend(c.escape_default()),
        }
    }
    printable.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(
            printable("a\nb\u{1b}[31m größe \"x\""),
            "a\\nb\\u{1b}[31m größe \"x\""
        );
        let lines = "größe\t1\n\u{1b}]0;x\u{7}\u{9b}2J\r\n";
        assert_eq!(
            printable_lines(lines),
            "größe\t1\n\\u{1b}]0;x\\u{7}\\u{9b}2J\\r\n"
        );
    }

    #[test]
    fn sizes_and_counts() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1_300_000_000), "1.21 GiB");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "record"), "1 record");
        assert_eq!(counted(0, "record"), "0 records");
    }

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(some_of(&[1, 2]), "1, 2");
        let all: Vec<u32> = (0..22).collect();
        assert!(some_of(&all[..20]).ends_with("18, 19"));
        assert!(some_of(&all).ends_with("18, 19 and 2 more"));
    }

    #[test]
    fn durations() {
        assert_eq!(duration(Duration::from_millis(2_440)), "2.4s");
        assert_eq!(duration(Duration::from_secs(2)), "2s");
        assert_eq!(duration(Duration::from_secs(59)), "59s");
        assert_eq!(duration(Duration::from_secs(125)), "2m 5s");
        assert_eq!(duration(Duration::from_secs(3_600 * 30)), "30h 0m 0s");
    }

    #[test]
    fn ages_have_their_two_largest_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m 0s"),
            (3_600 + 125, "1h 2m"),
            (86_400 * 3 + 7_200, "3d 2h"),
            (86_400 * 1_234, "1,234d 0h"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn the_future_has_no_age() {
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        assert_eq!(age_of(at(100), at(160)), "1m 0s");
        assert_eq!(age_of(at(100), at(99)), "-");
    }

    #[test]
    fn times() {
        assert_eq!(timestamp_ms(1_763_800_000_123), "2025-11-22T08:26:40.123Z");
        let half = jiff::Timestamp::from_millisecond(1_763_800_000_500).unwrap();
        assert_eq!(moment(half), "2025-11-22T08:26:40Z");
        assert_eq!(timestamp_ms(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(timestamp_ms(i64::MAX), "@9223372036854775807ms");
    }
}
