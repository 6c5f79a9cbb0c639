//! The check of the result: the newest snapshot of the destination has what its origin has.

use std::cmp::Ordering;

use kbk_format::repo::{PartitionId, PartitionState, Snapshot};

use super::super::plan::found_in;
use super::super::report::{Accounted, CopyFinding, CopyFindingKind, FoundIn};
use super::Run;

impl Run<'_> {
    /// Compares the newest snapshot of the destination, as it is stored, with its origin.
    pub(super) fn account(&mut self, origin: &Snapshot, stored: &Snapshot) {
        let topics = (self.options.topics)(origin);
        let of_partitions = self.report.findings.iter().filter(|it| !it.replaced_later);
        let known: Vec<(CopyFindingKind, FoundIn)> = of_partitions
            .filter_map(|it| Some((it.kind, it.partition.clone()?)))
            .collect();
        let is_known = |id: &PartitionId, only: fn(CopyFindingKind) -> bool| {
            known
                .iter()
                .any(|(kind, found)| only(*kind) && found.is_of(id))
        };
        let mut accounted = Accounted {
            snapshot: stored.sequence,
            origin: origin.sequence,
            partitions: 0,
            whole_partitions: 0,
            records: 0,
            origin_records: 0,
            expired_in_origin: 0,
            expired_in_copy: 0,
        };
        let mut differing = Vec::new();
        let selected = origin.topics.iter();
        let selected = selected.filter(|it| topics.contains(&(it.name.clone(), it.topic_id)));
        for (topic, state) in
            selected.flat_map(|topic| topic.partitions.iter().map(move |state| (topic, state)))
        {
            let id = topic.partition_id(state.partition);
            let copy = stored.partition(&id);
            accounted.add(state, copy);
            let difference = difference(state, copy);
            if difference.is_none() && !is_known(&id, |_| true) {
                accounted.whole_partitions += 1;
            }
            if let Some(difference) = difference
                && !is_known(&id, |kind| kind != CopyFindingKind::DamagedCopy)
            {
                let (kind, message) = (CopyFindingKind::Differs, format!("{id}: {difference}"));
                let end = copy.map_or(0, |copy| copy.end_offset);
                differing.push(CopyFinding {
                    partition: Some(found_in(&id, end)),
                    ..CopyFinding::new(kind, self.destination, origin.sequence, message)
                });
            }
        }
        let differing = self.judged(origin, differing);
        self.report.findings.extend(differing);
        self.report.accounted = Some(accounted);
    }
}

impl Accounted {
    /// Counts a partition of the origin, and its copy.
    fn add(&mut self, origin: &PartitionState, copy: Option<&PartitionState>) {
        self.partitions += 1;
        self.origin_records += origin.records;
        let Some(copy) = copy else {
            return;
        };
        self.records += copy.records;
        match copy.base_offset.cmp(&origin.base_offset) {
            Ordering::Less => self.expired_in_origin += 1,
            Ordering::Greater => self.expired_in_copy += 1,
            Ordering::Equal => {}
        }
    }
}

/// Returns what the copy of a partition lacks, or has too much.
fn difference(origin: &PartitionState, copy: Option<&PartitionState>) -> Option<String> {
    let Some(copy) = copy else {
        return Some("the copy does not have it".to_owned());
    };
    if copy.end_offset != origin.end_offset {
        let (expected, found) = (origin.end_offset, copy.end_offset);
        return Some(format!(
            "the copy ends at offset {found}, and its origin at {expected}"
        ));
    }
    // Either may have expired what the other still has.
    let (expected, found) = (origin.records, copy.records);
    // What the origin has removed by key since, the copy keeps.
    let compacted = origin.compacted_records() > copy.compacted_records();
    let plausible = match copy.base_offset.cmp(&origin.base_offset) {
        Ordering::Equal => found == expected || compacted && found > expected,
        Ordering::Less => found >= expected,
        Ordering::Greater => found <= expected,
    };
    (!plausible).then(|| {
        format!("the copy has {found} records, and its origin {expected} of the same offsets")
    })
}
