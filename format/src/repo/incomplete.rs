//! What a partition lacks of what its source had (SPEC section 11.4).

use serde::{Deserialize, Serialize};

use super::origin::Origin;
use super::states::{PartitionState, TopicState};

/// Why a partition is not stored up to where its source ended.
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
    /// Returns how many offsets are missing at the end of an incomplete partition; `None` where that is not known.
    #[must_use]
    pub fn missing_offsets(&self) -> Option<u64> {
        let missing = self.high_watermark.checked_sub(self.end_offset)?;
        let missing = u64::try_from(missing).ok()?;
        (missing > 0 && self.incomplete.is_some()).then_some(missing)
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
