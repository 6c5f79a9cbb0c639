//! What partitions hold, as a plain model.

use std::collections::BTreeMap;

use kbk_format::{GapReason, TimestampType};

/// A record, owned, with its timestamp type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) timestamp: i64,
    pub(crate) timestamp_type: TimestampType,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// What a partition holds: each of its offsets has a record or a reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) records: BTreeMap<i64, Record>,
    pub(crate) gaps: BTreeMap<i64, GapReason>,
    pub(crate) end: i64,
}

impl Model {
    pub(crate) fn len(&self) -> u64 {
        self.records.len() as u64
    }

    pub(crate) fn get(&self, offset: i64) -> Option<&Record> {
        self.records.get(&offset)
    }

    pub(crate) fn gaps(&self) -> &BTreeMap<i64, GapReason> {
        &self.gaps
    }

    /// Removes what is superseded below an offset, and returns how many old tombstones went besides.
    pub(super) fn keep_latest(&mut self, end: i64, tombstones_from: Option<i64>) -> u64 {
        let mut latest = BTreeMap::new();
        for (offset, record) in self.records.range(..end) {
            if let Some(key) = &record.key {
                latest.insert(key.clone(), *offset);
            }
        }
        let last = self.records.range(..end).last().map(|(offset, _)| *offset);
        let all = self.records.range(..end);
        let removed = all.filter_map(|(offset, record)| {
            let is_latest = latest[record.key.as_ref()?] == *offset;
            let old = tombstones_from.is_some_and(|from| {
                record.value.is_none() && record.timestamp != -1 && record.timestamp < from
            });
            (!is_latest || old && Some(*offset) != last).then_some((*offset, is_latest))
        });
        let removed: Vec<(i64, bool)> = removed.collect();
        for (offset, _) in &removed {
            self.records.remove(offset);
            self.gaps.insert(*offset, GapReason::Compacted);
        }
        removed.iter().filter(|(_, is_latest)| *is_latest).count() as u64
    }
}
