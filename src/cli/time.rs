//! Times on the command line: RFC 3339, epoch numbers, and spans back from now.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use jiff::civil::{Date, Time};
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp, ZonedDateTime};

use super::error::CliError;

const FORMS: &str = "give RFC 3339 (`2026-11-22T10:00:00Z`; local time without a zone), \
                     `@1763800000` (seconds), `@1763800000123ms`, or a span back from now (`2h30m`, `7d`)";

/// A moment to compare record timestamps with.
///
/// Kafka has whole milliseconds. A moment between two of them is rounded differently for a lower and an
/// upper bound, so that both are exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeArg {
    floor_ms: i64,
    has_fraction: bool,
    note: Option<String>,
}

impl TimeArg {
    /// Returns the last timestamp in whole milliseconds for which `timestamp <= T` holds.
    pub fn at_or_before_ms(&self) -> i64 {
        self.floor_ms
    }

    /// Returns the first timestamp in whole milliseconds for which `timestamp >= T` holds.
    pub fn at_or_after_ms(&self) -> i64 {
        self.floor_ms.saturating_add(self.has_fraction.into())
    }

    /// Returns what was assumed about the text, for stderr.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    fn parse(text: &str, now: &ZonedDateTime) -> Result<Self, TimeError> {
        if let Some(number) = text.strip_prefix('@') {
            parse_epoch(number)
        } else if starts_with_date(text) {
            parse_date_time(text, now.time_zone())
        } else {
            parse_span_back(text, now)
        }
        .map_err(|reason| TimeError {
            text: text.to_owned(),
            reason,
        })
    }

    fn from_ms(floor_ms: i64) -> Self {
        Self {
            floor_ms,
            has_fraction: false,
            note: None,
        }
    }

    fn noted(mut self, note: String) -> Self {
        self.note = Some(note);
        self
    }
}

/// Returns the timestamps from `since` to `until`, both inclusive; unbounded on a side that is not given.
pub fn time_range(
    since: Option<&TimeArg>,
    until: Option<&TimeArg>,
) -> Result<RangeInclusive<i64>, CliError> {
    let since = since.map_or(i64::MIN, TimeArg::at_or_after_ms);
    let until = until.map_or(i64::MAX, TimeArg::at_or_before_ms);
    if since > until {
        let error = CliError::usage("--since is later than --until, so no record can match");
        return Err(error.hint("swap them"));
    }
    Ok(since..=until)
}

/// Returns the smallest timestamps at or after two moments, of which the first must not be later.
pub fn offset_times(
    since: Option<&TimeArg>,
    until: Option<&TimeArg>,
) -> Result<[Option<i64>; 2], CliError> {
    let times = [since, until].map(|time| time.map(TimeArg::at_or_after_ms));
    if let [Some(since), Some(until)] = times
        && since > until
    {
        let message = "--since-offset-of is later than --until-offset-of, so no record can match";
        return Err(CliError::usage(message).hint("swap them"));
    }
    Ok(times)
}

impl From<Timestamp> for TimeArg {
    fn from(timestamp: Timestamp) -> Self {
        // Rounded down, before 1970 too, where dividing would round towards zero.
        let nanoseconds = timestamp.as_nanosecond();
        let floor_ms = nanoseconds.div_euclid(1_000_000);
        Self {
            floor_ms: i64::try_from(floor_ms).expect("a timestamp's milliseconds fit in 64 bits"),
            has_fraction: nanoseconds.rem_euclid(1_000_000) != 0,
            note: None,
        }
    }
}

impl FromStr for TimeArg {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let now = now().map_err(|reason| TimeError {
            text: text.to_owned(),
            reason,
        })?;
        Self::parse(text, &now)
    }
}

/// Returns the time in the zone of the system. Where `TZ` names none, a local time must not be taken for another one.
fn now() -> Result<ZonedDateTime, String> {
    let zone = match TimeZone::try_system() {
        Ok(zone) => zone,
        Err(error) => match std::env::var_os("TZ").filter(|name| !name.is_empty()) {
            Some(name) => {
                let name = name.display();
                tracing::debug!("TZ: {error}");
                return Err(format!(
                    "TZ is `{name}`, which is not a time zone of this machine"
                ));
            }
            None => TimeZone::UTC,
        },
    };
    Ok(Timestamp::now().to_zoned_datetime(zone))
}

/// Text that is not a time.
#[derive(Debug)]
pub struct TimeError {
    text: String,
    reason: String,
}

impl std::error::Error for TimeError {}

impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, reason } = self;
        write!(f, "`{text}` is not a time: {reason}; {FORMS}")
    }
}

fn starts_with_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() > 4 && bytes[..4].iter().all(u8::is_ascii_digit) && bytes[4] == b'-'
}

/// Parses what follows the `@`.
fn parse_epoch(number: &str) -> Result<TimeArg, String> {
    if let Some(ms) = number.strip_suffix("ms") {
        // Any 64-bit number: a record's timestamp may be beyond the calendar.
        let ms = ms
            .parse()
            .map_err(|_| "the milliseconds are not a whole number".to_owned())?;
        return Ok(TimeArg::from_ms(ms));
    }
    let seconds: i64 = number
        .parse()
        .map_err(|_| "the seconds are not a whole number".to_owned())?;
    let timestamp = Timestamp::from_second(seconds).map_err(|_| {
        format!("that many seconds are after the year 9999 (for milliseconds give `@{seconds}ms`)")
    })?;
    Ok(timestamp.into())
}

fn parse_date_time(text: &str, local: &TimeZone) -> Result<TimeArg, String> {
    let pieces = Pieces::parse(text).map_err(|_| why_no_moment(text))?;
    let date_time = pieces
        .date()
        .to_datetime(pieces.time().unwrap_or(Time::midnight()));
    if pieces.time_zone_annotation().is_some() {
        let zoned: Result<ZonedDateTime, _> = text.parse();
        let zoned = zoned.map_err(|_| why_no_zone(text))?;
        return Ok(zoned.timestamp().into());
    }
    let beyond = |_| "that is beyond the calendar, which ends with the year 9999".to_owned();
    if let Some(offset) = pieces.to_numeric_offset() {
        let timestamp = offset.to_timestamp(date_time).map_err(beyond)?;
        return Ok(timestamp.into());
    }
    let zoned = date_time.to_zoned_datetime(local.clone());
    let zoned = zoned.map_err(beyond)?;
    let assumed = match pieces.time() {
        Some(_) => "local time",
        None => "the start of that day in local time",
    };
    let note = format!("`{text}` is taken as {assumed}: {zoned}");
    Ok(TimeArg::from(zoned.timestamp()).noted(note))
}

/// Says which part of a date and time is out of its range.
fn why_no_moment(text: &str) -> String {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u32>().ok();
    let (month, day) = (number(5..7), number(8..10));
    let (hour, minute, second) = (number(11..13), number(14..16), number(17..19));
    match (month, day) {
        (Some(0 | 13..), _) => "a month is 01 to 12".to_owned(),
        (Some(_), Some(_))
            if text
                .get(..10)
                .is_none_or(|date| date.parse::<Date>().is_err()) =>
        {
            "that month has no such day".to_owned()
        }
        (Some(_), Some(_)) if hour.is_some_and(|hour| hour > 23) => {
            "an hour is 00 to 23".to_owned()
        }
        (Some(_), Some(_)) if minute.is_some_and(|minute| minute > 59) => {
            "a minute is 00 to 59".to_owned()
        }
        (Some(_), Some(_)) if second.is_some_and(|second| second > 60) => {
            "a second is 00 to 59".to_owned()
        }
        (Some(_), Some(_)) if text.get(10..).is_some_and(|rest| rest.contains(['+', '-'])) => {
            "its offset from UTC is not one such as +02:00".to_owned()
        }
        _ => "it is not a date and a time".to_owned(),
    }
}

/// Says what is wrong with a time that names a zone in brackets.
fn why_no_zone(text: &str) -> String {
    let zone = text.split(['[', ']']).nth(1).unwrap_or_default();
    match TimeZone::get(zone) {
        Ok(_) => format!("{zone} has another offset from UTC at that time"),
        Err(_) => format!("`{zone}` is not a time zone of this machine"),
    }
}

/// Days and longer are calendar units in local time: `1d` back is the same time of day yesterday.
fn parse_span_back(text: &str, now: &ZonedDateTime) -> Result<TimeArg, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "a bare number has no unit (for seconds since 1970 give `@{text}`)"
        ));
    }
    if text.contains(':') {
        return Err("the date is missing".to_owned());
    }
    let span: Span = text
        .parse()
        .map_err(|_| "neither a date nor a span".to_owned())?;
    if span.is_negative() {
        return Err("give a span back from now without a sign".to_owned());
    }
    let then = now
        .checked_sub(span)
        .map_err(|_| "that is before the calendar begins".to_owned())?;
    // Nobody typed the clock's fraction of a millisecond, so it is dropped.
    let arg = TimeArg::from(then.timestamp());
    Ok(TimeArg::from_ms(arg.floor_ms))
}

/// Parses a length of time, as in `--open-transactions-wait 30s`. It belongs to no moment, so a day has 24 hours, and months are refused.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let fail = || DurationError(text.to_owned());
    let span: Span = text.parse().map_err(|_| fail())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours());
    duration.map_err(|_| fail())?.try_into().map_err(|_| fail())
}

/// Parses a length of time in units of the calendar, as in `--keep-within 30d`.
pub fn parse_span(text: &str) -> Result<Span, SpanError> {
    let fail = || SpanError(text.to_owned());
    let span: Span = text.parse().map_err(|_| fail())?;
    match span.is_positive() {
        true => Ok(span),
        false => Err(fail()),
    }
}

/// Text that is not a length of time in days or the like.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a length of time; give it as in `24h`, `30d` or `1y6mo`")]
pub struct SpanError(String);

/// Parses the name of a time zone, as in `Europe/Berlin`.
pub fn parse_zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| {
        format!("`{name}` is not a time zone of this machine; give a name such as `Europe/Berlin` or `UTC`")
    })
}

/// Returns the time zone of the system.
pub fn system_zone() -> Result<TimeZone, CliError> {
    let now = now().map_err(CliError::usage)?;
    Ok(now.time_zone().clone())
}

/// Text that is not a length of time.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not a length of time; give weeks, days, hours, minutes and seconds as in `30s`, `1h30m` or `7d`"
)]
pub struct DurationError(String);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-22T12:00:00.000400[Europe/Berlin]";

    fn parse(text: &str) -> Result<TimeArg, TimeError> {
        TimeArg::parse(text, &NOW.parse().unwrap())
    }

    fn ms(text: &str) -> i64 {
        parse(text).unwrap().at_or_before_ms()
    }

    fn utc_ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn rfc_3339_with_a_zone_needs_no_note() {
        for text in [
            "2026-11-22T10:00:00Z",
            "2026-11-22t10:00:00z",
            "2026-11-22 10:00:00Z",
            "2026-11-22T11:00:00+01:00",
            "2026-11-22T11:00[Europe/Berlin]",
        ] {
            let time = parse(text).unwrap();
            assert_eq!(
                time.at_or_before_ms(),
                utc_ms("2026-11-22T10:00:00Z"),
                "{text}"
            );
            assert_eq!(time.note(), None, "{text}");
        }
    }

    #[test]
    fn local_time_is_assumed_and_noted() {
        let time = parse("2026-11-22T11:00:00").unwrap();
        assert_eq!(time.at_or_before_ms(), utc_ms("2026-11-22T10:00:00Z"));
        let note = time.note().unwrap();
        assert!(
            note.contains("local time: 2026-11-22T11:00:00+01:00[Europe/Berlin]"),
            "{note}"
        );

        let day = parse("2026-07-01").unwrap();
        assert_eq!(day.at_or_before_ms(), utc_ms("2026-06-30T22:00:00Z"));
        assert!(day.note().unwrap().contains("start of that day"));
    }

    #[test]
    fn epoch_numbers() {
        assert_eq!(ms("@1763800000"), 1_763_800_000_000);
        assert_eq!(ms("@1763800000123ms"), 1_763_800_000_123);
        assert_eq!(ms("@0"), 0);
        assert_eq!(ms("@-1ms"), -1);
        assert_eq!(ms("@9223372036854775807ms"), i64::MAX);
        assert_eq!(
            parse("@9223372036854775807ms").unwrap().at_or_after_ms(),
            i64::MAX
        );
    }

    #[test]
    fn spans_go_back_from_now_in_whole_milliseconds() {
        let two_hours = parse("2h30m").unwrap();
        assert_eq!(two_hours.at_or_before_ms(), utc_ms("2026-11-22T08:30:00Z"));
        assert_eq!(two_hours.at_or_after_ms(), two_hours.at_or_before_ms());
        assert_eq!(ms("0s"), utc_ms("2026-11-22T11:00:00Z"));
        assert_eq!(ms("7d"), utc_ms("2026-11-15T11:00:00Z"));
        // The clocks went back on 25 October: the same time of day, one hour more.
        assert_eq!(ms("30d"), utc_ms("2026-10-23T10:00:00Z"));
    }

    #[test]
    fn fractions_of_a_millisecond_are_exact_for_both_bounds() {
        for (text, before, after) in [
            ("1970-01-01T00:00:00.0015Z", 1, 2),
            ("1970-01-01T00:00:00.001Z", 1, 1),
            ("1969-12-31T23:59:59.9985Z", -2, -1),
        ] {
            let time = parse(text).unwrap();
            assert_eq!(
                (time.at_or_before_ms(), time.at_or_after_ms()),
                (before, after),
                "{text}"
            );
        }
    }

    #[test]
    fn invalid_times_are_refused_with_the_reason_and_the_valid_forms() {
        for (text, reason) in [
            ("2026-02-30", "day"),
            ("2026-13-01T00:00:00Z", "month"),
            ("2026-11-22T25:00:00Z", "hour"),
            ("2026-11-22T10:00:00+99:00", "offset"),
            ("2026-11-22T10:00-05:00[Europe/Berlin]", "another offset"),
            (
                "2026-11-22T10:00[Europe/Berlni]",
                "`Europe/Berlni` is not a time zone",
            ),
            ("2026-11-22Tten", "not a date and a time"),
            ("25:00", "the date is missing"),
            ("10:00:00", "the date is missing"),
            ("1763800000", "`@1763800000`"),
            ("@1763800000123", "`@1763800000123ms`"),
            ("@", "whole number"),
            ("@1.5", "whole number"),
            ("@1h", "whole number"),
            ("@99999999999999999999ms", "whole number"),
            ("-2h", "without a sign"),
            ("99999y", "span"),
            ("yesterday", "neither"),
            ("", "neither"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(error.contains("RFC 3339"), "{text}: {error}");
        }
    }

    #[test]
    fn spans_of_the_calendar() {
        assert_eq!(
            parse_span("1y6mo").unwrap().fieldwise(),
            Span::new().years(1).months(6)
        );
        for text in ["", "30", "-1d", "soon"] {
            assert!(parse_span(text).is_err(), "{text:?}");
        }
        assert!(parse_span("0d").is_err(), "keeps nothing");
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("30s").unwrap(), Duration::from_secs(30));
        assert_eq!(parse_duration("1h30m").unwrap(), Duration::from_secs(5_400));
        assert_eq!(parse_duration("0s").unwrap(), Duration::ZERO);
        assert_eq!(
            parse_duration("1d2h").unwrap(),
            Duration::from_hours(26),
            "as the times of --since"
        );
        assert_eq!(parse_duration("1w").unwrap(), Duration::from_hours(168));
        for text in ["", "30", "-5s", "soon", "1mo", "1y"] {
            let error = parse_duration(text).unwrap_err().to_string();
            assert!(error.contains("`30s`"), "{error}");
        }
    }
}
