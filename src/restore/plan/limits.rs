//! Properties of the selected records that can run into a limit of their target.

use kbk_format::{RecordStatistics, Statistics};
use kbk_tools::Needs;

/// What segments say about records and batches that a target may refuse or change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TargetLimits {
    /// The largest record, but for those of batches that were not decoded; of blocks of records between such batches, an upper bound.
    pub(crate) record_bytes: u64,
    /// The largest batch of Kafka's.
    pub(crate) batch_bytes: u64,
    /// Whether there are segments of which nothing was decoded.
    pub(crate) is_partly_unread: bool,
    /// Records with the timestamp 0, where they were decoded.
    pub(crate) zero_timestamps: u64,
    /// Records without a key, where they were decoded.
    pub(crate) null_keys: u64,
    /// The smallest timestamp, where it is known.
    pub(crate) min_timestamp: Option<i64>,
    /// The smallest of the largest timestamps of batches that were not decoded.
    pub(crate) min_batch_time: Option<i64>,
    /// An upper bound: blocks that are not read count.
    pub(crate) max_timestamp: Option<i64>,
}

/// The time by which retention judges the oldest records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OldestTime {
    /// In milliseconds since the epoch.
    pub(crate) timestamp: i64,
    /// Whether it is the largest one of a batch that was not decoded, so that no record of the batch is newer, and some may be older.
    pub(crate) is_of_batch: bool,
}

impl TargetLimits {
    /// Adds one segment. Blocks that are not read do not count, as far as the segment's index can tell blocks apart.
    ///
    /// `computed` is what its statistics state of the records, or what decoding them tells where they do not; `None` where nothing was decoded.
    pub(crate) fn with(
        self,
        statistics: &Statistics,
        computed: Option<&RecordStatistics>,
        needs: &Needs,
    ) -> TargetLimits {
        let limits = TargetLimits {
            batch_bytes: self.batch_bytes.max(u64::from(needs.batches.largest_bytes)),
            max_timestamp: match statistics.record_count {
                0 => self.max_timestamp,
                _ => self.max_timestamp.max(Some(statistics.max_timestamp)),
            },
            ..self
        };
        match computed {
            Some(computed) => limits.with_records(statistics, computed, needs),
            None => limits.with_batches(needs),
        }
    }

    fn with_records(
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
        TargetLimits {
            record_bytes: self.record_bytes.max(computed.max_record_bytes),
            zero_timestamps: self.zero_timestamps + zero_timestamps,
            null_keys: self.null_keys + computed.null_key_count,
            min_timestamp: earlier(self.min_timestamp, found.filter(|_| is_timed)),
            ..self
        }
    }

    /// Adds a segment whose batches are written whole, so that only what their headers say matters.
    fn with_batches(self, needs: &Needs) -> TargetLimits {
        TargetLimits {
            record_bytes: self.record_bytes.max(needs.largest_records_block),
            is_partly_unread: self.is_partly_unread || needs.blocks > 0,
            min_timestamp: earlier(self.min_timestamp, needs.min_known_timestamp),
            min_batch_time: earlier(self.min_batch_time, needs.min_batch_time),
            ..self
        }
    }

    /// Returns the time by which retention judges the oldest records; `None` where none has a time.
    ///
    /// Kafka deletes a log segment by the largest timestamp in it, so a batch that is written whole counts with its largest one.
    pub(crate) fn oldest(&self) -> Option<OldestTime> {
        let of_record = self.min_timestamp.map(|timestamp| OldestTime {
            timestamp,
            is_of_batch: false,
        });
        let of_batch = self.min_batch_time.map(|timestamp| OldestTime {
            timestamp,
            is_of_batch: true,
        });
        of_record.into_iter().chain(of_batch).min()
    }

    /// Returns the size of what a target has to accept at once: the largest record or batch.
    pub(crate) fn largest(&self) -> u64 {
        self.record_bytes.max(self.batch_bytes)
    }
}

fn earlier(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    [one, other].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use kbk_format::BatchBounds;

    use super::*;

    fn statistics(max_timestamp: i64) -> Statistics {
        Statistics {
            record_count: 5,
            max_timestamp,
            computed: None,
            ..Statistics::empty(0)
        }
    }

    fn needs(min_batch_time: Option<i64>, largest_bytes: u32) -> Needs {
        Needs {
            blocks: 1,
            min_batch_time,
            batches: BatchBounds {
                largest_bytes,
                ..BatchBounds::NONE
            },
            ..Needs::default()
        }
    }

    fn decoded(min_timestamp: i64, max_record_bytes: u64) -> RecordStatistics {
        RecordStatistics {
            min_timestamp,
            max_record_bytes,
            null_key_count: 2,
            ..RecordStatistics::NONE
        }
    }

    #[test]
    fn batches_that_were_not_decoded_have_sizes_and_times_of_their_own() {
        let none = TargetLimits::default();
        assert_eq!(none.oldest(), None);
        let unread = none.with(&statistics(90), None, &needs(Some(50), 300));
        assert!(unread.is_partly_unread);
        assert_eq!((unread.record_bytes, unread.batch_bytes), (0, 300));
        assert_eq!((unread.largest(), unread.null_keys), (300, 0));
        let of_batch = |timestamp| OldestTime {
            timestamp,
            is_of_batch: true,
        };
        assert_eq!(unread.oldest(), Some(of_batch(50)));
        assert_eq!(unread.max_timestamp, Some(90));

        // A newer record does not count, an older one does, and one at the same time is named.
        let needs = |min_timestamp| Needs {
            min_timestamp: Some(min_timestamp),
            ..needs(None, 100)
        };
        let with = |time| {
            let computed = decoded(time, 700);
            let statistics = Statistics {
                computed: Some(computed.clone()),
                ..statistics(95)
            };
            unread.with(&statistics, Some(&computed), &needs(time))
        };
        assert_eq!(with(60).oldest(), Some(of_batch(50)));
        for time in [50, 40] {
            let exact = OldestTime {
                timestamp: time,
                is_of_batch: false,
            };
            assert_eq!(with(time).oldest(), Some(exact));
        }
        let both = with(60);
        assert!(both.is_partly_unread, "one of the segments is");
        assert_eq!((both.largest(), both.null_keys), (700, 2));
        assert_eq!(both.max_timestamp, Some(95));
    }

    #[test]
    fn blocks_of_records_between_batches_bound_their_records() {
        let needs = Needs {
            blocks: 2,
            min_known_timestamp: Some(7),
            min_timestamp: Some(-1),
            largest_records_block: 5_000,
            ..needs(Some(50), 300)
        };
        let limits = TargetLimits::default().with(&statistics(90), None, &needs);
        assert_eq!(limits.record_bytes, 5_000);
        let oldest = limits.oldest().unwrap();
        assert_eq!((oldest.timestamp, oldest.is_of_batch), (7, false));
    }
}
