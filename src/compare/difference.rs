//! How a partition of a cluster differs from the backup.

use kbk_format::{PartitionNumber, Record, counted};
use kbk_tools::diff::differing_parts;
use serde::Serialize;

use crate::select::DropHeaders;

/// How one partition of a cluster compares with the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionComparison {
    /// The topic in the cluster.
    pub topic: String,
    /// Its partition.
    pub partition: PartitionNumber,
    /// What pairs the records of the two.
    pub paired_by: PairedBy,
    /// Records that the backup has and the cluster should have.
    pub expected: u64,
    /// Records of the cluster that were compared.
    pub found: u64,
    /// Records of the backup, beyond `expected`, that are below the start of the cluster's log.
    pub trimmed: u64,
    /// Records of `expected` that the cluster no longer has because its topic is compacted.
    pub compacted: u64,
    /// Records of the cluster, beyond `found`, that `kbk compact` has removed from the backup since it was made.
    pub removed_records: u64,
    /// Records of the cluster, beyond `found`, that the backup had and lost since segments were damaged.
    pub damaged_records: u64,
    /// Offsets of the cluster beyond those that the backup covers.
    pub newer_offsets: u64,
    /// Positions in the sequence of records at which the two differ.
    pub differences: u64,
    /// The first difference.
    pub first: Option<Difference>,
}

/// What pairs a record of the backup with one of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PairedBy {
    /// Their places in the order of the partition.
    Order,
    /// The offset, which is the same.
    Offset,
    /// The offset map of the restore that wrote the records.
    OffsetMap,
}

/// A record that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its partition in the backup, where its partition in the cluster does not imply it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_partition: Option<PartitionNumber>,
    /// Its offset in the backup; `None` for an extra record.
    pub source_offset: Option<i64>,
    /// Its offset in the cluster; `None` for a missing record.
    pub target_offset: Option<i64>,
    /// What differs: `key`, `value`, `headers`, `timestamp`; in a repartitioned topic also its `partition` and its `order`. Empty for a
    /// missing or an extra record.
    pub what: Vec<&'static str>,
}

impl PartitionComparison {
    /// Returns whether the partition holds exactly the expected records.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.differences == 0
    }

    pub(crate) fn empty(topic: String, partition: PartitionNumber) -> PartitionComparison {
        PartitionComparison {
            topic,
            partition,
            paired_by: PairedBy::Order,
            expected: 0,
            found: 0,
            trimmed: 0,
            compacted: 0,
            removed_records: 0,
            damaged_records: 0,
            newer_offsets: 0,
            differences: 0,
            first: None,
        }
    }

    /// Compares two records that are paired; headers in `drop_headers` are not expected in the cluster.
    pub(super) fn compare(
        &mut self,
        expected: &Record<'_>,
        found: &Record<'_>,
        drop_headers: &DropHeaders,
    ) {
        self.expected += 1;
        let what = drop_headers.apply(expected, |expected, _| differing_parts(expected, found));
        if !what.is_empty() {
            self.differ(Difference::at(expected.offset, found.offset, what));
        }
    }

    pub(crate) fn differ(&mut self, difference: Difference) {
        self.differences += 1;
        self.first.get_or_insert(difference);
    }
}

impl Difference {
    pub(crate) fn at(source: i64, target: i64, what: Vec<&'static str>) -> Difference {
        Difference {
            source_partition: None,
            source_offset: Some(source),
            target_offset: Some(target),
            what,
        }
    }

    pub(crate) fn missing(source_offset: i64) -> Difference {
        Difference {
            source_partition: None,
            source_offset: Some(source_offset),
            target_offset: None,
            what: Vec::new(),
        }
    }

    pub(crate) fn extra(target_offset: i64) -> Difference {
        Difference {
            source_partition: None,
            source_offset: None,
            target_offset: Some(target_offset),
            what: Vec::new(),
        }
    }
}

impl std::fmt::Display for PartitionComparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let PartitionComparison {
            topic, partition, ..
        } = self;
        let Some(first) = &self.first else {
            let found = counted(self.found, "record");
            return write!(f, "{topic}/{partition}: {found}, equal");
        };
        write!(
            f,
            "{topic}/{partition}: {} expected, {} found, {}; the first: {first}",
            counted(self.expected, "record"),
            self.found,
            counted(self.differences, "difference")
        )
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(partition) = self.source_partition {
            write!(f, "of source partition {partition}, ")?;
        }
        match (self.source_offset, self.target_offset) {
            (Some(source), Some(target)) => write!(
                f,
                "source offset {source} has a different {} at target offset {target}",
                self.what.join(", ")
            ),
            (Some(source), None) => write!(f, "source offset {source} is missing"),
            (None, Some(target)) => {
                write!(f, "target offset {target} is an extra record")
            }
            (None, None) => write!(f, "it holds records that were not restored"),
        }
    }
}
