//! What was expired of a partition: removed from its front, by the age of its records (SPEC sections 11.4 and 11.10).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::id::{Digest, Hex};
use super::keys::PartitionId;
use super::states::PartitionState;
use crate::OffsetSpan;

/// What was expired of a partition, by all commits that did so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expired {
    /// The first offset that was expired. Those up to where the partition's coverage begins were, too.
    pub base_offset: i64,
    /// Number of segments.
    pub segments: u64,
    /// Number of their records.
    pub records: u64,
    /// The last snapshot that expired segments of the partition.
    pub snapshot: u64,
    /// When it was committed.
    pub at: Timestamp,
    /// What it was asked to do, such as `--older-than 90d`.
    pub policy: String,
    /// The last record that was expired; `None` where a segment with records remains.
    pub last_record: Option<LastRecord>,
}

/// What remains of a record, to find out whether a source still has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRecord {
    /// Its offset.
    pub offset: i64,
    /// What tells it from other records, and gives nothing of it away but to who guesses all of it.
    pub check: Hex<4>,
}

impl LastRecord {
    /// Creates what remains of the record at an offset of a partition, from its restore digest (SPEC section 2.6).
    #[must_use]
    pub fn new(partition: &PartitionId, offset: i64, restore_digest: u128) -> LastRecord {
        let mut hash = Sha256::new();
        hash.update(partition.topic_id.0);
        hash.update(i32::from(partition.partition).to_le_bytes());
        hash.update(offset.to_le_bytes());
        hash.update(restore_digest.to_le_bytes());
        let digest: Digest = Hex(hash.finalize().into());
        LastRecord {
            offset,
            check: digest.prefix(),
        }
    }
}

impl PartitionState {
    /// Returns the offsets that were expired; `None` where there are none.
    #[must_use]
    pub fn expired_offsets(&self) -> Option<OffsetSpan> {
        let expired = self.expired.as_ref()?;
        Some((expired.base_offset..self.base_offset).into())
    }

    /// Returns the number of records that were expired.
    #[must_use]
    pub fn expired_records(&self) -> u64 {
        self.expired.as_ref().map_or(0, |expired| expired.records)
    }

    /// Checks what it states of expiry; the error names the rule that is violated.
    pub(super) fn check_expired(&self) -> Result<(), String> {
        let Some(expired) = &self.expired else {
            return Ok(());
        };
        let offsets = expired.base_offset..self.base_offset;
        if offsets.start < 0 || offsets.is_empty() || expired.segments == 0 {
            let (segments, offsets) = (expired.segments, OffsetSpan::from(offsets));
            return Err(format!("{segments} segments of {offsets} were expired"));
        }
        let changed = self.changes.newest();
        if expired.snapshot == 0 || expired.snapshot > changed {
            let snapshot = expired.snapshot;
            return Err(format!(
                "snapshot {snapshot} expired segments, and {changed} was the last that changed any"
            ));
        }
        match expired.last_record {
            Some(last) if self.records > 0 || !offsets.contains(&last.offset) => Err(format!(
                "the last record that was expired is at offset {}, and {} records remain",
                last.offset, self.records
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> PartitionState {
        let mut state = PartitionState::empty(0.into(), 9);
        state.changes.record(7);
        state.expired = Some(Box::new(Expired {
            base_offset: 2,
            segments: 1,
            records: 5,
            snapshot: 7,
            at: Timestamp::UNIX_EPOCH,
            policy: "--older-than 90d".into(),
            last_record: Some(LastRecord {
                offset: 8,
                check: Hex([1; 4]),
            }),
        }));
        state
    }

    #[test]
    fn the_check_of_a_record_is_what_the_specification_says() {
        let id = |partition: u16| PartitionId {
            topic: "t".parse().unwrap(),
            topic_id: Hex([7; 16]),
            partition: partition.into(),
        };
        let digest = u128::from_le_bytes(std::array::from_fn(|at| at as u8));
        let last = LastRecord::new(&id(3), 8, digest);
        // Of Python's hashlib.
        assert_eq!(last.check.to_string(), "fbc07c52");
        assert_ne!(last.check, LastRecord::new(&id(2), 8, digest).check);
        assert_ne!(last.check, LastRecord::new(&id(3), 9, digest).check);
    }

    #[test]
    fn the_rules_are_checked() {
        assert_eq!(state().check(), Ok(()));
        let span = state().expired_offsets().unwrap();
        assert_eq!(span, OffsetSpan::from(2..9));
        let wrongs: [fn(&mut Expired); 7] = [
            |it| it.base_offset = -1,
            |it| it.base_offset = 9,
            |it| it.segments = 0,
            |it| it.snapshot = 0,
            |it| it.snapshot = 8,
            |it| it.last_record.as_mut().unwrap().offset = 9,
            |it| it.last_record.as_mut().unwrap().offset = 1,
        ];
        for (at, wrong) in wrongs.iter().enumerate() {
            let mut state = state();
            wrong(state.expired.as_mut().unwrap());
            assert!(state.check().is_err(), "rule {at}");
        }
    }
}
