//! Whether a run stored everything that a partition had at its start, and why not.

use kbk_format::repo::{Incomplete, IncompleteReason};

use super::partition::StoredPartition;
use super::plan::PlannedPartition;

/// Returns why records of a partition are missing; `None` if none is.
pub(super) fn incomplete(
    planned: &PlannedPartition,
    read: &StoredPartition,
    interrupted: bool,
) -> Option<Incomplete> {
    if !planned.has_leader() {
        return Some(Incomplete {
            reason: IncompleteReason::NoLeader,
            detail: "the partition had no leader".to_owned(),
        });
    }
    if let Some(cause) = &planned.unreadable {
        return Some(Incomplete {
            reason: IncompleteReason::Unreadable,
            detail: cause.clone(),
        });
    }
    let (end, high_watermark) = (planned.read.end, planned.offsets.high_watermark);
    let reached = read
        .segments
        .last()
        .map_or(planned.read.start, |last| last.end_offset);
    if interrupted && reached < end {
        return Some(Incomplete {
            reason: IncompleteReason::Interrupted,
            detail: format!("the backup was stopped at offset {reached} of {high_watermark}"),
        });
    }
    (end < high_watermark).then(|| Incomplete {
        reason: IncompleteReason::OpenTransaction,
        detail: format!("a transaction was open at offset {end} of {high_watermark}"),
    })
}

#[cfg(test)]
mod tests {
    use kbk_format::PartitionNumber;

    use super::*;
    use crate::kafka::PartitionOffsets;

    fn planned(last_stable_offset: i64) -> PlannedPartition {
        let offsets = PartitionOffsets {
            log_start_offset: 0,
            high_watermark: 30,
            last_stable_offset,
        };
        let mut planned = PlannedPartition::new(PartitionNumber::ZERO, offsets, None);
        planned.read = 10..last_stable_offset;
        planned
    }

    fn reason(planned: &PlannedPartition, read: &StoredPartition, stopped: bool) -> Option<String> {
        let incomplete = incomplete(planned, read, stopped)?;
        Some(incomplete.reason.word().to_owned())
    }

    #[test]
    fn the_cause_that_must_be_removed_first_is_named() {
        let nothing = StoredPartition::default();
        for (planned, read, stopped, expected) in [
            (&planned(30), &nothing, true, Some("interrupted")),
            (&planned(10), &nothing, true, Some("open_transaction")),
            (&planned(10), &nothing, false, Some("open_transaction")),
        ] {
            assert_eq!(reason(planned, read, stopped).as_deref(), expected);
        }
        let mut whole = planned(30);
        whole.read = 30..30;
        assert_eq!(reason(&whole, &nothing, true), None);
        let mut unreadable = planned(10);
        unreadable.skip("a disk failed".to_owned());
        let found = reason(&unreadable, &nothing, true);
        assert_eq!(found.as_deref(), Some("unreadable"));
        let leaderless = PlannedPartition::without_leader(PartitionNumber::ZERO, None);
        let found = reason(&leaderless, &nothing, true);
        assert_eq!(found.as_deref(), Some("no_leader"));
    }
}
