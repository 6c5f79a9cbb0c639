//! A retention policy: which of some snapshots it keeps, as restic does it.
//!
//! An option with a number counts periods in which there is a snapshot: `daily` 7 keeps the last snapshot of each of the last 7 days
//! that have one, whether these days are in a row or not. While such a count is not used up, the oldest snapshot is kept as well, so that
//! a new repository loses no history. What any of the options keeps is kept.

use std::fmt;

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ZonedDateTime};

/// What is kept.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The last snapshots.
    pub last: u64,
    /// The last one of each of the last hours that have one.
    pub hourly: u64,
    /// The same of days.
    pub daily: u64,
    /// The same of weeks, which begin on Monday.
    pub weekly: u64,
    /// The same of months.
    pub monthly: u64,
    /// The same of years.
    pub yearly: u64,
    /// All that are not older than the newest by more than this.
    pub within: Option<Span>,
    /// Where hours, days, weeks, months and years begin.
    pub zone: TimeZone,
}

/// Why a snapshot is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is the newest, which is never forgotten.
    Newest,
    /// It is the newest one that lacks no records.
    NewestWhole,
    /// `last`.
    Last,
    /// The last one of a period: `hourly` and so on.
    Period(&'static str),
    /// The oldest one, while a count is not used up.
    Oldest(&'static str),
    /// `within`.
    Within,
    /// It cannot be read, so that its age is not known.
    Damaged,
    /// An unfinished restore reads it.
    Restore(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Newest => f.write_str("newest"),
            Reason::NewestWhole => f.write_str("newest complete"),
            Reason::Last => f.write_str("last"),
            Reason::Period(period) => f.write_str(period),
            Reason::Oldest(period) => write!(f, "oldest {period}"),
            Reason::Within => f.write_str("within"),
            Reason::Damaged => f.write_str("damaged"),
            Reason::Restore(restore) => write!(f, "restore {restore}"),
        }
    }
}

/// A backup that a policy judges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// When it was made.
    pub(super) time: Timestamp,
    /// Whether it lacks no records.
    pub(super) whole: bool,
}

/// Identifies a period: two moments are in the same one if theirs are equal.
type Period = (i64, i64);

/// A count of periods.
struct Count {
    name: &'static str,
    left: u64,
    period: fn(&ZonedDateTime) -> Period,
    last: Option<Period>,
}

impl Policy {
    /// Returns whether it keeps nothing but the newest.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Policy {
            last,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
            within,
            zone: _,
        } = self;
        let counts = [last, hourly, daily, weekly, monthly, yearly];
        within.is_none() && counts.iter().all(|count| **count == 0)
    }

    fn counts(&self) -> [Count; 5] {
        let count = |name, left, period| Count {
            name,
            left,
            period,
            last: None,
        };
        [
            count("hourly", self.hourly, hour),
            count("daily", self.daily, day),
            count("weekly", self.weekly, week),
            count("monthly", self.monthly, month),
            count("yearly", self.yearly, year),
        ]
    }

    /// Returns why each of these backups is kept; those without a reason are forgotten. They are in the order in which they were made.
    pub(super) fn reasons(&self, candidates: &[Candidate]) -> Vec<Vec<Reason>> {
        let mut reasons = vec![Vec::new(); candidates.len()];
        let mut keep = |at: usize, reason: Reason| {
            if let Some(of) = reasons.get_mut(at) {
                of.push(reason);
            }
        };
        let newest = candidates.len().checked_sub(1);
        if let Some(newest) = newest {
            keep(newest, Reason::Newest);
        }
        if let Some(whole) = candidates.iter().rposition(|it| it.whole) {
            keep(whole, Reason::NewestWhole);
        }
        let last = usize::try_from(self.last).unwrap_or(usize::MAX);
        for at in (0..candidates.len()).rev().take(last) {
            keep(at, Reason::Last);
        }
        for count in self.counts() {
            self.count(count, candidates, &mut keep);
        }
        if let Some((within, newest)) = self.within.zip(candidates.last()) {
            let newest = newest.time.to_zoned_datetime(self.zone.clone());
            // A span that goes back beyond all dates keeps everything.
            let since = newest.checked_sub(within).map(|since| since.timestamp());
            let since = since.unwrap_or(Timestamp::MIN);
            for (at, candidate) in candidates.iter().enumerate() {
                if candidate.time >= since {
                    keep(at, Reason::Within);
                }
            }
        }
        reasons
    }

    fn count(
        &self,
        mut count: Count,
        candidates: &[Candidate],
        keep: &mut impl FnMut(usize, Reason),
    ) {
        let period = |candidate: &Candidate| {
            let time = candidate.time.to_zoned_datetime(self.zone.clone());
            (count.period)(&time)
        };
        let periods: Vec<Period> = candidates.iter().map(period).collect();
        for (at, period) in periods.iter().enumerate().rev() {
            if count.left == 0 {
                return;
            }
            if count.last != Some(*period) {
                // Of one period, a backup that is whole is worth more than a later one that lacks records.
                let whole = |other: &usize| {
                    periods.get(*other) == Some(period)
                        && candidates.get(*other).is_some_and(|it| it.whole)
                };
                let kept = (0..=at).rev().find(whole).unwrap_or(at);
                keep(kept, Reason::Period(count.name));
                count.last = Some(*period);
                count.left -= 1;
            } else if at == 0 {
                keep(at, Reason::Oldest(count.name));
            }
        }
    }
}

fn year(time: &ZonedDateTime) -> Period {
    (time.year().into(), 0)
}

fn month(time: &ZonedDateTime) -> Period {
    (time.year().into(), time.month().into())
}

fn week(time: &ZonedDateTime) -> Period {
    let week = time.date().iso_week_date();
    (week.year().into(), week.week().into())
}

fn day(time: &ZonedDateTime) -> Period {
    (time.year().into(), time.day_of_year().into())
}

/// The hour that is repeated when the clocks go back is two hours.
fn hour(time: &ZonedDateTime) -> Period {
    let offset = i64::from(time.offset().seconds());
    let local = time.timestamp().as_second().saturating_add(offset);
    (local.div_euclid(3_600), offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            last: 0,
            hourly: 0,
            daily: 0,
            weekly: 0,
            monthly: 0,
            yearly: 0,
            within: None,
            zone: TimeZone::UTC,
        }
    }

    /// Returns the times of the backups that are kept; a time with `?` is of one that lacks records.
    fn kept(policy: &Policy, times: &[&str]) -> Vec<String> {
        let candidate = |time: &&str| Candidate {
            time: time.trim_end_matches('?').parse().unwrap(),
            whole: !time.ends_with('?'),
        };
        let candidates: Vec<Candidate> = times.iter().map(candidate).collect();
        let reasons = policy.reasons(&candidates);
        let kept = times.iter().zip(reasons).filter(|(_, why)| !why.is_empty());
        kept.map(|(time, _)| (*time).to_owned()).collect()
    }

    const DAYS: [&str; 6] = [
        "2026-11-01T01:00:00Z",
        "2026-11-01T23:00:00Z",
        "2026-11-02T01:00:00Z",
        "2026-11-05T01:00:00Z",
        "2026-11-05T02:00:00Z",
        "2026-11-06T01:00:00Z",
    ];

    #[test]
    fn days_without_a_backup_do_not_count() {
        let daily = |daily| kept(&Policy { daily, ..policy() }, &DAYS);
        assert_eq!(daily(0), [DAYS[5]]);
        assert_eq!(daily(1), [DAYS[5]]);
        assert_eq!(daily(2), [DAYS[4], DAYS[5]]);
        assert_eq!(daily(3), [DAYS[2], DAYS[4], DAYS[5]]);
        assert_eq!(daily(4), [DAYS[1], DAYS[2], DAYS[4], DAYS[5]]);
        // The count is not used up, so the oldest stays too.
        assert_eq!(daily(5), [DAYS[0], DAYS[1], DAYS[2], DAYS[4], DAYS[5]]);
    }

    #[test]
    fn options_are_a_union() {
        let both = Policy {
            last: 2,
            hourly: 1,
            daily: 2,
            ..policy()
        };
        assert_eq!(kept(&both, &DAYS), [DAYS[4], DAYS[5]]);
        let last = Policy {
            last: 100,
            ..policy()
        };
        assert_eq!(kept(&last, &DAYS), DAYS);
    }

    #[test]
    fn periods_begin_where_the_time_zone_says() {
        let times = [
            "2026-10-30T12:00:00Z",
            "2026-10-31T22:30:00Z",
            "2026-10-31T23:30:00Z",
        ];
        let monthly = |zone| {
            let policy = Policy {
                monthly: 2,
                zone,
                ..policy()
            };
            kept(&policy, &times)
        };
        // All in October, so the count is not used up and the oldest stays.
        assert_eq!(monthly(TimeZone::UTC), [times[0], times[2]]);
        let east = TimeZone::fixed(jiff::tz::offset(1));
        assert_eq!(monthly(east), [times[1], times[2]]);
    }

    #[test]
    fn weeks_are_those_of_the_iso() {
        let weekly = Policy {
            weekly: 1,
            ..policy()
        };
        // Sunday, and the Monday after it.
        let times = ["2026-11-22T12:00:00Z", "2026-11-23T12:00:00Z"];
        assert_eq!(kept(&weekly, &times), [times[1]]);
        // One week, although two years.
        let times = ["2026-12-31T12:00:00Z", "2027-01-01T12:00:00Z"];
        let two = Policy {
            weekly: 2,
            yearly: 0,
            ..policy()
        };
        assert_eq!(kept(&two, &times), times);
        assert_eq!(kept(&weekly, &times), [times[1]]);
    }

    #[test]
    fn within_counts_from_the_newest() {
        let within = |span: &str| {
            let policy = Policy {
                within: Some(span.parse().unwrap()),
                ..policy()
            };
            kept(&policy, &DAYS)
        };
        assert_eq!(within("1d"), DAYS[3..]);
        assert_eq!(within("23h"), [DAYS[4], DAYS[5]]);
        assert_eq!(within("1y"), DAYS);
        assert_eq!(within("9000y"), DAYS);
    }

    #[test]
    fn a_partial_backup_does_not_take_the_place_of_a_whole_one() {
        let times = [
            "2026-11-01T01:00:00Z",
            "2026-11-01T23:00:00Z?",
            "2026-11-02T01:00:00Z?",
            "2026-11-03T01:00:00Z?",
        ];
        let last = Policy {
            last: 1,
            ..policy()
        };
        assert_eq!(kept(&last, &times), [times[0], times[3]]);
        let daily = Policy {
            daily: 3,
            ..policy()
        };
        assert_eq!(kept(&daily, &times), [times[0], times[2], times[3]]);
    }

    #[test]
    fn an_hour_that_is_repeated_is_two() {
        // The clocks of this zone would go back by an hour between these; a fixed offset stands for each.
        let at = |hours| {
            let zone = TimeZone::fixed(jiff::tz::offset(hours));
            let time: Timestamp = "2026-10-25T00:30:00Z".parse().unwrap();
            let shift = jiff::SignedDuration::from_hours(2 - i64::from(hours));
            hour(&(time + shift).to_zoned_datetime(zone))
        };
        assert_ne!(at(2), at(1));
    }

    #[test]
    fn without_a_backup_nothing_is_kept() {
        let every = Policy {
            last: 1,
            hourly: 1,
            daily: 1,
            weekly: 1,
            monthly: 1,
            yearly: 1,
            within: Some(Span::new().days(1)),
            zone: TimeZone::UTC,
        };
        assert!(kept(&every, &[]).is_empty());
        assert!(!every.is_empty());
        assert!(policy().is_empty());
    }
}
