//! What was removed of a partition since a later record has the same key (SPEC sections 11.4 and 11.12).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::states::PartitionState;

/// What was removed of a partition by keys, by all commits that did so. The offsets are gaps of the reason *compacted* in its segments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compacted {
    /// Number of records.
    pub records: u64,
    /// The last snapshot that removed records; of a copy, in the repository that it is a copy of.
    pub snapshot: u64,
    /// When it was committed.
    pub at: Timestamp,
    /// What it was asked to do, such as `--keep latest-per-key`.
    pub policy: String,
}

impl Compacted {
    /// Checks the rules; the error names the one that is violated.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.records == 0 || self.snapshot == 0 {
            let (records, snapshot) = (self.records, self.snapshot);
            return Err(format!("snapshot {snapshot} compacted {records} records"));
        }
        Ok(())
    }
}

impl PartitionState {
    /// Returns the number of records that were removed since a later one has the same key.
    #[must_use]
    pub fn compacted_records(&self) -> u64 {
        self.compacted.as_ref().map_or(0, |it| it.records)
    }
}
