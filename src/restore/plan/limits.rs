//! Properties of the selected records that can run into a limit of their target.

use kbk_format::{RecordStatistics, Statistics};
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
    ///
    /// `computed` is what its statistics state of the records, or what decoding them tells where they do not.
    pub(crate) fn with(
        self,
        statistics: &Statistics,
        computed: &RecordStatistics,
        needs: &Needs,
    ) -> TargetLimits {
        let zero_timestamps = match needs.may_have_zero_timestamps {
            true => computed.zero_timestamp_count,
            false => 0,
        };
        // Retention by age ignores records without a timestamp.
        let is_timed = computed.no_timestamp_count < statistics.record_count;
        let found = match statistics.computed {
            Some(_) => needs.min_timestamp,
            None => (needs.blocks > 0).then_some(computed.min_timestamp),
        };
        let found = found.filter(|_| is_timed);
        let timestamps = self.min_timestamp.into_iter().chain(found);
        TargetLimits {
            max_record_bytes: self.max_record_bytes.max(computed.max_record_bytes),
            zero_timestamps: self.zero_timestamps + zero_timestamps,
            null_keys: self.null_keys + computed.null_key_count,
            min_timestamp: timestamps.min(),
            max_timestamp: match statistics.record_count {
                0 => self.max_timestamp,
                _ => self.max_timestamp.max(Some(statistics.max_timestamp)),
            },
        }
    }
}
