//! What a partition lacks of what its source had (SPEC section 11.4).

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::origin::Origin;
use super::states::{LostRange, PartitionState, TopicState};
use crate::{OffsetSpan, counted};

/// Why a partition is not stored up to where its source ended, or has lost some of what was stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Incomplete {
    /// The cause, as a word.
    pub reason: IncompleteReason,
    /// The cause, in the words of the writer.
    pub detail: String,
}

/// The cause, as a word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum IncompleteReason {
    /// The backup was stopped before it had read everything.
    Interrupted,
    /// A transaction was open, which hid it and everything after it.
    OpenTransaction,
    /// The source refused to show it, or returned what could not be read.
    Unreadable,
    /// The partition had no leader.
    NoLeader,
    /// A copy could not take it over from its origin.
    NotCopied,
    /// Segments of it were damaged or missing, and some of their records could not be recovered.
    Damaged,
    /// Its row was built from its segments alone, since the index was damaged or gone: what else the source had is not known.
    Rebuilt,
    /// A word of a later writer.
    #[serde(untagged)]
    Other(String),
}

impl IncompleteReason {
    /// Returns the word that a snapshot has.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            IncompleteReason::Interrupted => "interrupted",
            IncompleteReason::OpenTransaction => "open_transaction",
            IncompleteReason::Unreadable => "unreadable",
            IncompleteReason::NoLeader => "no_leader",
            IncompleteReason::NotCopied => "not_copied",
            IncompleteReason::Damaged => "damaged",
            IncompleteReason::Rebuilt => "rebuilt",
            IncompleteReason::Other(word) => word,
        }
    }

    /// Returns the word as text for people.
    #[must_use]
    pub fn in_words(&self) -> String {
        self.word().replace('_', " ")
    }
}

impl Incomplete {
    /// Returns whether it makes its snapshot partial. What is missing of a deleted topic can be had only where it is in the origin of a copy.
    pub(super) fn counts(&self, topic: &TopicState, origin: Option<&Origin>) -> bool {
        !topic.deleted || (origin.is_some() && self.reason == IncompleteReason::NotCopied)
    }

    /// Checks that a reader can tell why.
    pub(super) fn check(&self) -> Result<(), String> {
        let word = self.reason.word();
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        match !word.is_empty() && word.bytes().all(is_letter) {
            true => Ok(()),
            false => Err(format!("{word:?} is not a reason for being incomplete")),
        }
    }
}

impl PartitionState {
    /// Returns how many offsets are missing of an incomplete partition: at its end, or those that are damaged; `None` where that is not known.
    #[must_use]
    pub fn missing_offsets(&self) -> Option<u64> {
        if self.is_damaged() {
            return Some(self.damaged_offsets());
        }
        let missing = self.high_watermark.checked_sub(self.end_offset)?;
        let missing = u64::try_from(missing).ok()?;
        (missing > 0 && self.incomplete.is_some()).then_some(missing)
    }

    /// Returns whether it lacks nothing but what was stored and is damaged.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        let incomplete = self.incomplete.as_ref();
        incomplete.is_some_and(|it| it.reason == IncompleteReason::Damaged)
    }

    /// Returns whether it lacks what only the index said of it, before that was rebuilt.
    #[must_use]
    pub fn is_rebuilt(&self) -> bool {
        let incomplete = self.incomplete.as_ref();
        incomplete.is_some_and(|it| it.reason == IncompleteReason::Rebuilt)
    }

    /// Returns why it lacks records, for whatever reason: it states so, or a later snapshot does.
    #[must_use]
    pub fn lacking(&self) -> Option<&Incomplete> {
        self.incomplete.as_ref().or(self.found_damaged.as_deref())
    }

    /// Returns whether it is to be asked for these offsets whether it is complete: where the selection reaches its end, or is known to lack
    /// some of them, or may, since nothing says which offsets of it a later recovery found damaged.
    #[must_use]
    pub fn is_judged_by(&self, offsets: Range<i64>, reaches_end: bool) -> bool {
        match (&self.incomplete, &self.found_damaged) {
            (_, Some(_)) => true,
            (None, None) => reaches_end,
            (Some(_), None) => self.lacks_of(offsets, reaches_end),
        }
    }

    /// Returns the ranges that were stored and are damaged, in the order of offsets.
    pub fn damaged_ranges(&self) -> impl Iterator<Item = LostRange> {
        self.lost.iter().copied().filter(LostRange::is_damaged)
    }

    /// Returns how many offsets these have.
    #[must_use]
    pub fn damaged_offsets(&self) -> u64 {
        let offsets = self.damaged_ranges().map(|lost| lost.offsets());
        offsets.fold(0, u64::saturating_add)
    }

    /// Returns whether some of these offsets are known to be missing: those that are damaged, and where they reach the end of what is stored,
    /// those that the source had after it.
    #[must_use]
    pub fn lacks_of(&self, offsets: Range<i64>, reaches_end: bool) -> bool {
        let mut damaged = self.damaged_ranges();
        let has_damage = damaged.any(|lost| lost.from < offsets.end && lost.to > offsets.start);
        let ends_early = reaches_end && self.incomplete.is_some() && !self.is_damaged();
        has_damage || ends_early
    }

    /// States that it is incomplete since some of it is damaged, unless another reason is stated; or that it no longer is.
    pub(super) fn state_damage(&mut self) {
        let found = self.damaged_ranges().next().map(|first| {
            let offsets = counted(self.damaged_offsets(), "offset");
            Incomplete {
                reason: IncompleteReason::Damaged,
                detail: format!(
                    "{offsets} were stored and are lost, since segments were damaged: first {}",
                    OffsetSpan::from(first)
                ),
            }
        });
        if self.incomplete.is_none() || self.is_damaged() {
            self.incomplete = found;
        }
    }

    /// Checks that it is incomplete where some of it is damaged, and for this reason only there.
    pub(super) fn check_damage(&self) -> Result<(), String> {
        let has_damage = self.damaged_ranges().next().is_some();
        match (has_damage, &self.incomplete) {
            (true, None) => Err("it has lost offsets, and is not incomplete".to_owned()),
            (false, Some(_)) if self.is_damaged() => {
                Err("it is incomplete since it is damaged, and has no damaged offsets".to_owned())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_json() {
        for (reason, json) in [
            (IncompleteReason::Interrupted, r#""interrupted""#),
            (IncompleteReason::OpenTransaction, r#""open_transaction""#),
            (IncompleteReason::Unreadable, r#""unreadable""#),
            (IncompleteReason::NoLeader, r#""no_leader""#),
            (IncompleteReason::NotCopied, r#""not_copied""#),
            (IncompleteReason::Damaged, r#""damaged""#),
            (IncompleteReason::Rebuilt, r#""rebuilt""#),
            (IncompleteReason::Other("later".into()), r#""later""#),
        ] {
            assert_eq!(serde_json::to_string(&reason).unwrap(), json);
            assert_eq!(
                serde_json::from_str::<IncompleteReason>(json).unwrap(),
                reason
            );
            assert_eq!(json.trim_matches('"'), reason.word());
        }
    }

    #[test]
    fn a_reason_is_a_word() {
        let check = |word: &str| {
            let incomplete = Incomplete {
                reason: IncompleteReason::Other(word.into()),
                detail: String::new(),
            };
            incomplete.check()
        };
        assert_eq!(check("some_word"), Ok(()));
        for word in ["", "Two words", "a\nb", "\u{1b}[31m"] {
            assert!(check(word).is_err(), "{word:?}");
        }
    }
}
