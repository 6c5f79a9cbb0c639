//! Whether a topic gets its saved retention once its records are restored, or whether that would delete them.
//!
//! Old records are what a backup is for, and Kafka deletes what exceeds its retention within minutes. So retention stays off unless it is
//! certain to keep every restored record for a while.

use std::collections::BTreeMap;

use super::reading::PartitionReading;

/// What becomes of the retention of a topic that a restore fills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetentionChoice {
    /// It is as saved where that keeps every restored record, and stays off otherwise.
    #[default]
    IfRecordsStay,
    /// It stays off.
    Off,
    /// It is as saved, whatever that deletes.
    AsSaved,
}

/// What retention would judge restored records by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RestoredRecords {
    /// The smallest timestamp, or the largest one of the oldest batch that is written whole; `None` where there are no records.
    pub(crate) oldest_timestamp: Option<i64>,
    /// An upper bound of the bytes in the largest partition.
    pub(crate) partition_bytes: u64,
}

impl RestoredRecords {
    /// Sums up the partitions of a topic; `is_spread` where one target may get the records of all of them. Records older than
    /// `min_timestamp` are not selected.
    pub(crate) fn of<'a>(
        readings: impl Iterator<Item = &'a PartitionReading> + Clone,
        is_spread: bool,
        min_timestamp: i64,
    ) -> RestoredRecords {
        /// More than a record takes in a batch besides its payload.
        const RECORD_OVERHEAD_BYTES: u64 = 100;
        let bytes = readings.clone().map(|reading| {
            let overhead = reading.records.saturating_mul(RECORD_OVERHEAD_BYTES);
            reading.raw_bytes.saturating_add(overhead)
        });
        let oldest = readings.filter_map(|reading| reading.limits.oldest());
        let oldest = oldest.map(|oldest| oldest.timestamp);
        RestoredRecords {
            oldest_timestamp: oldest.min().map(|oldest| oldest.max(min_timestamp)),
            partition_bytes: match is_spread {
                true => bytes.fold(0, u64::saturating_add),
                false => bytes.max().unwrap_or(0),
            },
        }
    }
}

/// Returns whether retention stays off in a topic with the configuration `saved`, in a cluster with these `defaults`, as far as they are
/// known.
pub(crate) fn stays_off(
    choice: RetentionChoice,
    saved: &BTreeMap<String, String>,
    defaults: &BTreeMap<String, String>,
    records: RestoredRecords,
    now_ms: i64,
) -> bool {
    match choice {
        RetentionChoice::Off => true,
        RetentionChoice::AsSaved => false,
        RetentionChoice::IfRecordsStay => {
            let value = |key: &str| saved.get(key).or_else(|| defaults.get(key));
            let policy = value("cleanup.policy").map_or("delete", String::as_str);
            // What is unknown could be anything.
            let number = |key: &str| value(key).and_then(|value| value.parse().ok());
            let deletes = policy.contains("delete") && records.oldest_timestamp.is_some();
            deletes
                && !(keeps_age(number("retention.ms"), records, now_ms)
                    && keeps_size(number("retention.bytes"), records))
        }
    }
}

/// Returns whether the oldest record stays for at least an hour and a tenth of the retention.
fn keeps_age(retention_ms: Option<i64>, records: RestoredRecords, now_ms: i64) -> bool {
    const HOUR_MS: i64 = 3_600_000;
    let oldest = records.oldest_timestamp.unwrap_or(i64::MAX);
    match retention_ms {
        None => false,
        Some(..0) => true,
        Some(retention_ms) => {
            let margin = (retention_ms / 10).max(HOUR_MS);
            oldest >= now_ms.saturating_sub(retention_ms).saturating_add(margin)
        }
    }
}

/// Returns whether the largest partition is a tenth below the bound. Kafka deletes whole segments, and only those that exceed it.
fn keeps_size(retention_bytes: Option<i64>, records: RestoredRecords) -> bool {
    match retention_bytes {
        None => false,
        Some(bytes) => match u64::try_from(bytes) {
            Ok(bytes) => records.partition_bytes <= bytes - bytes / 10,
            Err(_) => true,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;
    const NOW_MS: i64 = 1_795_895_619_098;

    fn config(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        let entries = entries.iter();
        entries
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// Records of this age, with a megabyte in the largest partition.
    fn aged(age_ms: i64) -> RestoredRecords {
        RestoredRecords {
            oldest_timestamp: Some(NOW_MS - age_ms),
            partition_bytes: 1 << 20,
        }
    }

    fn off(saved: &[(&str, &str)], records: RestoredRecords) -> bool {
        let defaults = config(&[("retention.ms", "604800000"), ("retention.bytes", "-1")]);
        let choice = RetentionChoice::IfRecordsStay;
        stays_off(choice, &config(saved), &defaults, records, NOW_MS)
    }

    #[test]
    fn retention_is_set_only_where_every_record_stays_for_a_while() {
        let day = [("retention.ms", "86400000")];
        assert!(!off(&day, aged(0)));
        assert!(!off(&day, aged(DAY_MS / 2)));
        assert!(off(&day, aged(DAY_MS - 60_000)), "for a minute more");
        assert!(off(&day, aged(2 * DAY_MS)));
        assert!(!off(&[("retention.ms", "-1")], aged(20_000 * DAY_MS)));
        assert!(!off(&[], aged(DAY_MS)), "the cluster's, a week");
        assert!(off(&[], aged(8 * DAY_MS)));
        assert!(!off(&day, RestoredRecords::default()), "nothing to lose");
    }

    #[test]
    fn size_counts_as_age_does() {
        assert!(off(&[("retention.bytes", "1048576")], aged(0)));
        assert!(!off(&[("retention.bytes", "2097152")], aged(0)));
    }

    #[test]
    fn a_compacted_topic_keeps_old_records_unless_it_deletes_too() {
        let compacted = ("cleanup.policy", "compact");
        assert!(!off(&[compacted, ("retention.ms", "1000")], aged(DAY_MS)));
        let both = ("cleanup.policy", "compact,delete");
        assert!(off(&[both, ("retention.ms", "1000")], aged(DAY_MS)));
    }

    #[test]
    fn what_is_not_known_may_delete_everything() {
        let nothing = BTreeMap::new();
        let choice = RetentionChoice::IfRecordsStay;
        assert!(stays_off(choice, &nothing, &nothing, aged(0), NOW_MS));
        let choice = RetentionChoice::AsSaved;
        assert!(!stays_off(choice, &nothing, &nothing, aged(0), NOW_MS));
        let week = config(&[("retention.ms", "604800000")]);
        assert!(stays_off(
            RetentionChoice::Off,
            &week,
            &nothing,
            aged(0),
            NOW_MS
        ));
    }
}
