//! The damage that was found so far, for `errors.jsonl` and `meta.json`.

use std::sync::{Arc, Mutex};

use kbk_format::PartitionNumber;
use kbk_format::repo::{Id, PartitionId};
use serde::Serialize;

use crate::cache::locked;
use crate::error::{Location, ViewError};

/// At most this many findings are kept; further ones are only counted.
const MAX_FINDINGS: usize = 10_000;

/// One range that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct DamageRow {
    pub(crate) snapshot: u64,
    pub(crate) topic: Option<Box<str>>,
    /// Distinguishes a topic from a deleted one of the same name; the format of the documents does not have it.
    #[serde(skip)]
    pub(crate) topic_id: Option<Id>,
    pub(crate) partition: Option<PartitionNumber>,
    pub(crate) from_offset: Option<i64>,
    /// Inclusive.
    pub(crate) to_offset: Option<i64>,
    pub(crate) error: String,
}

/// The damage that was found, across all snapshots.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    found: Vec<Arc<DamageRow>>,
    /// Findings that were not kept.
    left_out: u64,
}

impl Damage {
    /// Records an error that a retry would not fix, once.
    pub(crate) fn note(&self, error: &ViewError) {
        let (ViewError::Damaged { location, source }
        | ViewError::Missing { location, source }
        | ViewError::Changed { location, source }) = error
        else {
            return;
        };
        let Some(snapshot) = location.snapshot else {
            return;
        };
        let offsets = location.offsets.as_ref();
        let row = DamageRow {
            snapshot,
            topic: location.topic.clone(),
            topic_id: location.topic_id,
            partition: location.partition,
            from_offset: offsets.map(|offsets| offsets.start),
            to_offset: offsets.map(|offsets| offsets.end.saturating_sub(1)),
            error: source.to_string(),
        };
        let mut rows = locked(&self.rows);
        if rows.found.iter().any(|found| **found == row) {
            return;
        }
        if rows.found.len() < MAX_FINDINGS {
            rows.found.push(Arc::new(row));
        } else {
            rows.left_out += 1;
        }
    }

    /// Whether damage was found in the partition of a location.
    pub(crate) fn is_known(&self, location: &Location) -> bool {
        let rows = locked(&self.rows);
        let in_partition = |row: &Arc<DamageRow>| {
            Some(row.snapshot) == location.snapshot
                && (&row.topic, row.topic_id) == (&location.topic, location.topic_id)
                && row.partition == location.partition
        };
        rows.found.iter().any(in_partition)
    }

    /// The damage that was found in a partition of a snapshot.
    pub(crate) fn of_partition(
        &self,
        snapshot: u64,
        partition: &PartitionId,
    ) -> Vec<Arc<DamageRow>> {
        let rows = locked(&self.rows);
        let of_partition = |row: &&Arc<DamageRow>| {
            row.snapshot == snapshot
                && row.topic.as_deref() == Some(&*partition.topic)
                && row.topic_id == Some(partition.topic_id)
                && row.partition == Some(partition.partition)
        };
        rows.found.iter().filter(of_partition).cloned().collect()
    }

    /// `errors.jsonl` of a snapshot.
    pub(crate) fn lines(&self, snapshot: u64) -> Vec<u8> {
        let rows = locked(&self.rows);
        let mut out = Vec::new();
        for row in rows.found.iter().filter(|row| row.snapshot == snapshot) {
            out.extend(serde_json::to_vec(&**row).unwrap_or_default());
            out.push(b'\n');
        }
        if rows.left_out > 0 {
            let line = format!("{{\"left_out\":{}}}\n", rows.left_out);
            out.extend_from_slice(line.as_bytes());
        }
        out
    }
}
