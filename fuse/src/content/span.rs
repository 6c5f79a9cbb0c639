//! Ranges of time and their names in `by-time`: days, hours and minutes of UTC.

use jiff::Timestamp;
use kbk_format::Hour;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Times before 1970 count as one hour.
const BEFORE: Hour = Hour(-1);
const BEFORE_NAME: &str = "1969-and-before";
/// 9999-01-01T00. Times from the year 9999 on count as one hour.
const LATER: Hour = Hour(70_380_768);
const LATER_NAME: &str = "9999-and-later";
const AND_LATER: &str = "-and-later";

/// A range of timestamps, in milliseconds; both ends are inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    first: i64,
    last: i64,
}

impl Span {
    /// Parses `2026-11-22`, `2026-11-22T14`, `2026-11-22T14:05`, and the names of hours that stand for all times before or after.
    pub(crate) fn parse(name: &str) -> Option<Span> {
        match name {
            BEFORE_NAME => return Some(Span::of_hour(BEFORE)),
            LATER_NAME => return Some(Span::of_hour(LATER)),
            _ => {}
        }
        if let Some(hour) = name.strip_suffix(AND_LATER) {
            let first = parse(hour, ":00:00Z", HOUR_MS)?.first;
            return Some(Span {
                first,
                last: i64::MAX,
            });
        }
        parse(name, "T00:00:00Z", DAY_MS)
            .or_else(|| parse(name, ":00:00Z", HOUR_MS))
            .or_else(|| parse(name, ":00Z", MINUTE_MS))
    }

    /// The times of an hour as [`listed`] counts it.
    pub(crate) fn of_hour(hour: Hour) -> Span {
        let start = hour.start_ms();
        Span {
            first: if hour <= BEFORE { i64::MIN } else { start },
            last: if hour >= LATER {
                i64::MAX
            } else {
                start + HOUR_MS - 1
            },
        }
    }

    /// All times from an hour on.
    pub(crate) fn from_hour(hour: Hour) -> Span {
        Span {
            last: i64::MAX,
            ..Span::of_hour(hour)
        }
    }

    pub(crate) fn contains(self, timestamp: i64) -> bool {
        (self.first..=self.last).contains(&timestamp)
    }

    /// Whether it contains every time from `min` through `max`.
    pub(crate) fn covers(self, min: i64, max: i64) -> bool {
        self.first <= min && max <= self.last
    }

    /// Its first millisecond.
    pub(crate) fn first(self) -> i64 {
        self.first
    }

    /// Its last millisecond.
    pub(crate) fn last(self) -> i64 {
        self.last
    }

    /// Its first and its last hour, if it contains all of both.
    pub(crate) fn whole_hours(self) -> Option<(Hour, Hour)> {
        let starts = self.first == i64::MIN || self.first.rem_euclid(HOUR_MS) == 0;
        let ends = self.last == i64::MAX || (self.last + 1).rem_euclid(HOUR_MS) == 0;
        (starts && ends).then(|| (Hour::of(self.first), Hour::of(self.last)))
    }

    /// The name of an hour, or of all times from an hour on. Names sort in the order of the times.
    pub(crate) fn name(self) -> String {
        let hour = listed(Hour::of(self.first));
        if hour == BEFORE {
            return BEFORE_NAME.to_owned();
        }
        match Timestamp::from_millisecond(self.first) {
            Ok(start) if hour < LATER => {
                let name = start.strftime("%Y-%m-%dT%H").to_string();
                if self.last == i64::MAX {
                    name + AND_LATER
                } else {
                    name
                }
            }
            _ => LATER_NAME.to_owned(),
        }
    }
}

/// The hour under which a time is listed.
pub(crate) fn listed(hour: Hour) -> Hour {
    hour.clamp(BEFORE, LATER)
}

/// Parses the name of a range of `length` milliseconds, which `rest` completes to its first moment.
fn parse(name: &str, rest: &str, length: i64) -> Option<Span> {
    let start: Timestamp = format!("{name}{rest}").parse().ok()?;
    // In the one spelling of these names, and not in another one of ISO 8601.
    let spelled = start.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let first = start.as_millisecond();
    let is_listed = first >= 0 && first < LATER.start_ms();
    (is_listed && spelled.strip_suffix(rest) == Some(name)).then(|| Span {
        first,
        last: first + length - 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(timestamp: i64) -> Span {
        Span::of_hour(listed(Hour::of(timestamp)))
    }

    #[test]
    fn names_sort_in_the_order_of_the_hours_and_lead_back_to_them() {
        let times = [
            i64::MIN,
            -1,
            0,
            HOUR_MS - 1,
            HOUR_MS,
            1_795_341_599_999,
            250_000_000_000_000,
            253_370_764_799_999,
            253_370_764_800_000,
            i64::MAX,
        ];
        let names: Vec<_> = times.map(|time| hour(time).name()).into();
        let expected = [
            "1969-and-before",
            "1969-and-before",
            "1970-01-01T00",
            "1970-01-01T00",
            "1970-01-01T01",
            "2026-11-22T09",
            "9892-03-08T12",
            "9998-12-31T23",
            "9999-and-later",
            "9999-and-later",
        ];
        assert_eq!(names, expected);
        assert!(names.is_sorted());
        for (name, time) in names.iter().zip(times) {
            let span = Span::parse(name).unwrap();
            assert_eq!(span, hour(time));
            assert!(span.contains(time) && span.whole_hours().is_some());
        }
        let rest = Span::from_hour(Hour::of(1_795_341_599_999));
        assert_eq!(rest.name(), "2026-11-22T09-and-later");
        assert_eq!(Span::parse(&rest.name()), Some(rest));
    }

    #[test]
    fn days_and_minutes_have_names_and_nothing_else_has() {
        let day = Span::parse("2026-11-22").unwrap();
        let minute = Span::parse("2026-11-22T14:05").unwrap();
        assert_eq!(
            (day.first, day.last),
            (1_795_305_600_000, 1_795_391_999_999)
        );
        assert_eq!(
            (minute.first, minute.last),
            (1_795_356_300_000, 1_795_356_359_999)
        );
        assert!(day.whole_hours().is_some() && minute.whole_hours().is_none());
        for other in [
            "",
            "2026",
            "2026-11",
            "20261122",
            "2026-11-22T1",
            "2026-11-22T24",
            "2026-11-22t10",
            "2026-11-22T10Z",
            "2026-11-22T10:60",
            "2026-11-22T10:00:00",
            "2026-11-22 10",
            "+002026-11-22",
            "1969-12-31T23",
            "9999-12-31",
            "-and-later",
        ] {
            assert_eq!(Span::parse(other), None, "{other}");
        }
    }
}
