//! Offsets that cannot be read, and why: neighbours with the same cause are one range.

use std::mem::{self, Discriminant};
use std::ops::Range;

use kbk_format::ErrorClass;
use kbk_format::repo::{Damage, RepoError, RepoErrorKind};

/// Offsets of one partition, or of one file, that cannot be read.
#[derive(Clone, Debug)]
pub struct UnreadRange {
    offsets: Range<i64>,
    /// Of the part with the lowest offsets.
    message: String,
    cause: Cause,
    is_about_content: bool,
    parts: u64,
}

/// What errors of several blocks have in common: the object, and what is wrong with it but for the place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cause {
    key: Option<String>,
    kind: Discriminant<RepoErrorKind>,
    damage: Option<(ErrorClass, &'static str)>,
}

impl UnreadRange {
    /// Creates the range of what one error is about.
    #[must_use]
    pub fn new(offsets: Range<i64>, error: &RepoError) -> UnreadRange {
        UnreadRange {
            offsets,
            message: error.to_string(),
            cause: Cause::of(error),
            is_about_content: error.kind().is_about_content(),
            parts: 1,
        }
    }

    /// Adds a range that is beside this one and has the same cause; returns any other one.
    pub fn join(&mut self, other: UnreadRange) -> Option<UnreadRange> {
        if self.cause != other.cause {
            return Some(other);
        }
        if other.offsets.start == self.offsets.end {
            self.offsets.end = other.offsets.end;
        } else if other.offsets.end == self.offsets.start {
            self.offsets.start = other.offsets.start;
            self.message = other.message;
        } else {
            return Some(other);
        }
        self.parts = self.parts.saturating_add(other.parts);
        None
    }

    /// Returns the offsets; the end is exclusive.
    #[must_use]
    pub fn offsets(&self) -> Range<i64> {
        self.offsets.clone()
    }

    /// Returns whether the bytes are known to be wrong or gone. Otherwise they cannot be read, and may be whole.
    #[must_use]
    pub fn is_about_content(&self) -> bool {
        self.is_about_content
    }

    /// Returns why, for people: the error of the first part, and how many parts there are.
    #[must_use]
    pub fn reason(&self) -> String {
        match self.parts {
            1 => self.message.clone(),
            parts => format!("{parts} parts, of which the first: {}", self.message),
        }
    }
}

impl Cause {
    fn of(error: &RepoError) -> Cause {
        let damage = match error.kind() {
            RepoErrorKind::Damaged(Damage::Segment(error)) => Some((error.class, error.what)),
            _ => None,
        };
        Cause {
            key: error.key().map(str::to_owned),
            kind: mem::discriminant(error.kind()),
            damage,
        }
    }
}

#[cfg(test)]
mod tests {
    use kbk_format::FormatError;

    use super::*;

    fn damaged(key: &str, class: ErrorClass, position: u64) -> RepoError {
        let error = FormatError::new(class, "block", position, "wrong");
        let kind = RepoErrorKind::Damaged(Damage::Segment(error));
        RepoError::of_object("test://repository", key, kind)
    }

    fn range(offsets: Range<i64>, position: u64) -> UnreadRange {
        UnreadRange::new(offsets, &damaged("a", ErrorClass::Checksum, position))
    }

    #[test]
    fn neighbours_with_the_same_cause_are_one_range_in_either_order() {
        for order in [[0, 1, 2], [2, 1, 0]] {
            let mut parts = order.map(|at| range(at * 10..at * 10 + 10, 64)).into_iter();
            let mut joined = parts.next().unwrap();
            for part in parts {
                assert!(joined.join(part).is_none());
            }
            assert_eq!(joined.offsets(), 0..30);
            assert!(joined.reason().starts_with("3 parts, of which the first: "));
        }
    }

    #[test]
    fn the_message_is_that_of_the_lowest_offsets() {
        for (first, second) in [(0, 1), (1, 0)] {
            let place = |at: i64| range(at * 10..at * 10 + 10, at.unsigned_abs() * 64);
            let mut joined = place(first);
            assert!(joined.join(place(second)).is_none());
            assert!(
                joined.reason().contains("position 0"),
                "{}",
                joined.reason()
            );
        }
    }

    #[test]
    fn other_causes_and_other_places_stay_apart() {
        let others = [
            ("another object", damaged("b", ErrorClass::Checksum, 64), 10),
            ("another class", damaged("a", ErrorClass::Truncated, 64), 10),
            ("a gap between", damaged("a", ErrorClass::Checksum, 64), 11),
        ];
        for (what, error, start) in others {
            let mut first = range(0..10, 0);
            let other = first.join(UnreadRange::new(start..20, &error));
            assert_eq!(other.map(|it| it.offsets()), Some(start..20), "{what}");
            assert_eq!(first.offsets(), 0..10, "{what}");
            assert!(!first.reason().contains("parts"), "{what}");
        }
    }
}
