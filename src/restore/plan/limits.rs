//! Properties of the selected records that can run into a limit of their target.

use kbk_tools::Needs;

/// What segment statistics say about records that a target may refuse or change.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TargetLimits {
    pub(crate) max_record_bytes: u64,
    pub(crate) zero_timestamps: u64,
    pub(crate) null_keys: u64,
    pub(crate) min_timestamp: Option<i64>,
    /// An upper bound: blocks that are not read count.
    pub(crate) max_timestamp: Option<i64>,
}

impl TargetLimits {
    /// Adds one segment. Blocks that are not read do not count, as far as the segment's index can tell blocks apart.
    pub(crate) fn with(self, statistics: &kbk_format::Statistics, needs: &Needs) -> TargetLimits {
        let zero_timestamps = match needs.may_have_zero_timestamps {
            true => statistics.zero_timestamp_count,
            false => 0,
        };
        // Retention by age ignores records without a timestamp.
        let is_timed = statistics.no_timestamp_count < statistics.record_count;
        let found = needs.min_timestamp.filter(|_| is_timed);
        let timestamps = self.min_timestamp.into_iter().chain(found);
        TargetLimits {
            max_record_bytes: self.max_record_bytes.max(statistics.max_record_bytes),
            zero_timestamps: self.zero_timestamps + zero_timestamps,
            null_keys: self.null_keys + statistics.null_key_count,
            min_timestamp: timestamps.min(),
            max_timestamp: match statistics.record_count {
                0 => self.max_timestamp,
                _ => self.max_timestamp.max(Some(statistics.max_timestamp)),
            },
        }
    }
}
