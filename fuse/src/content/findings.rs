//! What could not be read so far, for `errors.jsonl` and `meta.json`: damage, and outages of the store, which are no damage.
//!
//! Damage stays listed. An outage, or an object that was missing, is listed until the same object has been read again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use jiff::Timestamp;
use kbk_format::PartitionNumber;
use kbk_format::repo::{Id, PartitionId};
use serde::Serialize;

use crate::cache::locked;
use crate::error::{Location, ViewError};

/// At most this much damage, and as many outages, are kept; further findings are only counted.
const MAX_FINDINGS: usize = 10_000;

/// Why a range could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FindingKind {
    /// The stored bytes are not those that were written.
    Damaged,
    /// The repository is there, and the object is not.
    Missing,
    /// The object was replaced while it was being read.
    Changed,
    /// The store did not permit this user to read.
    Forbidden,
    /// The store failed or did not answer: nothing is known about the object.
    Unavailable,
}

impl FindingKind {
    fn of(error: &ViewError) -> Option<FindingKind> {
        match error {
            ViewError::Damaged { .. } => Some(FindingKind::Damaged),
            ViewError::Missing { .. } => Some(FindingKind::Missing),
            ViewError::Changed { .. } => Some(FindingKind::Changed),
            ViewError::Forbidden { .. } => Some(FindingKind::Forbidden),
            ViewError::Deadline { .. } | ViewError::Store { .. } => Some(FindingKind::Unavailable),
            _ => None,
        }
    }

    /// Whether the object is at fault, as opposed to the store.
    fn is_damage(self) -> bool {
        match self {
            FindingKind::Damaged | FindingKind::Missing | FindingKind::Changed => true,
            FindingKind::Forbidden | FindingKind::Unavailable => false,
        }
    }

    /// Whether one successful read of the object refutes it.
    fn ends_with_a_read(self) -> bool {
        match self {
            FindingKind::Missing | FindingKind::Forbidden | FindingKind::Unavailable => true,
            FindingKind::Damaged | FindingKind::Changed => false,
        }
    }
}

/// One range that could not be read.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    snapshot: u64,
    kind: FindingKind,
    topic: Option<Box<str>>,
    /// Distinguishes a topic from a deleted one of the same name; the format of the documents does not have it.
    #[serde(skip)]
    topic_id: Option<Id>,
    partition: Option<PartitionNumber>,
    base_offset: Option<i64>,
    /// Exclusive.
    end_offset: Option<i64>,
    error: String,
    /// When it was found last.
    seen: String,
    /// The name of the object.
    #[serde(skip)]
    key: Option<Box<str>>,
}

impl Finding {
    fn of(error: &ViewError) -> Option<Finding> {
        let kind = FindingKind::of(error)?;
        let location = error.location()?;
        let offsets = location.offsets.as_ref();
        Some(Finding {
            snapshot: location.snapshot?,
            kind,
            topic: location.topic.clone(),
            topic_id: location.topic_id,
            partition: location.partition,
            base_offset: offsets.map(|offsets| offsets.start),
            end_offset: offsets.map(|offsets| offsets.end),
            error: error.cause(),
            seen: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            key: error.key().map(Into::into),
        })
    }

    /// Whether both state the same, whenever they were seen.
    fn is_same(&self, other: &Finding) -> bool {
        let place = |of: &Finding| {
            (
                of.snapshot,
                of.topic_id,
                of.partition,
                of.base_offset,
                of.end_offset,
            )
        };
        (place(self), self.kind) == (place(other), other.kind)
            && self.topic == other.topic
            && self.error == other.error
    }

    fn is_in(&self, location: &Location) -> bool {
        Some(self.snapshot) == location.snapshot
            && (&self.topic, self.topic_id) == (&location.topic, location.topic_id)
            && self.partition == location.partition
    }
}

/// The findings of all snapshots.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    rows: Mutex<Rows>,
    /// How many a successful read would refute: most reads find that there are none.
    refutable: AtomicUsize,
}

#[derive(Debug, Default)]
struct Rows {
    damage: Vec<Finding>,
    outages: Vec<Finding>,
    /// Damage that was not kept.
    left_out: u64,
}

impl Findings {
    /// Records an error that concerns a snapshot, once.
    pub(crate) fn note(&self, error: &ViewError) {
        let Some(finding) = Finding::of(error) else {
            return;
        };
        let mut rows = locked(&self.rows);
        let is_damage = finding.kind.is_damage();
        let list = if is_damage {
            &mut rows.damage
        } else {
            &mut rows.outages
        };
        let has_room = list.len() < MAX_FINDINGS;
        match list.iter_mut().find(|known| known.is_same(&finding)) {
            Some(known) => known.seen = finding.seen,
            None if has_room => list.push(finding),
            None => rows.left_out += u64::from(is_damage),
        }
        self.count(&rows);
    }

    /// An object was read, so it is neither missing nor out of reach.
    pub(crate) fn was_read(&self, key: &str) {
        if self.refutable.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut rows = locked(&self.rows);
        let stays = |row: &Finding| !row.kind.ends_with_a_read() || row.key.as_deref() != Some(key);
        rows.damage.retain(stays);
        rows.outages.retain(stays);
        self.count(&rows);
    }

    fn count(&self, rows: &MutexGuard<'_, Rows>) {
        let all = rows.damage.iter().chain(&rows.outages);
        let refutable = all.filter(|row| row.kind.ends_with_a_read()).count();
        self.refutable.store(refutable, Ordering::Relaxed);
    }

    /// Whether damage was found in the partition of a location.
    pub(crate) fn has_damage(&self, location: &Location) -> bool {
        let rows = locked(&self.rows);
        rows.damage.iter().any(|row| row.is_in(location))
    }

    /// The damage that was found in a partition of a snapshot, and the outages.
    pub(crate) fn of_partition(
        &self,
        snapshot: u64,
        partition: &PartitionId,
    ) -> (Vec<Finding>, Vec<Finding>) {
        let location = Location {
            snapshot: Some(snapshot),
            topic: Some((*partition.topic).into()),
            topic_id: Some(partition.topic_id),
            partition: Some(partition.partition),
            offsets: None,
        };
        let rows = locked(&self.rows);
        let here = |list: &[Finding]| {
            let here = list.iter().filter(|row| row.is_in(&location));
            here.cloned().collect()
        };
        (here(&rows.damage), here(&rows.outages))
    }

    /// `errors.jsonl` of a snapshot.
    pub(crate) fn lines(&self, snapshot: u64) -> Vec<u8> {
        let rows = locked(&self.rows);
        let mut out = Vec::new();
        let all = rows.damage.iter().chain(&rows.outages);
        for row in all.filter(|row| row.snapshot == snapshot) {
            out.extend(serde_json::to_vec(row).unwrap_or_default());
            out.push(b'\n');
        }
        if rows.left_out > 0 {
            let line = format!("{{\"left_out\":{}}}\n", rows.left_out);
            out.extend_from_slice(line.as_bytes());
        }
        out
    }
}
