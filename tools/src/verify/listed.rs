//! Verifies what listings show of a snapshot, for the depth `list`: no table of segments need be read, and no segment is.

use std::collections::{HashMap, HashSet};

use kbk_format::repo::{
    Id, PartitionId, PartitionState, RepoError, Repository, Snapshot, TopicName,
};

use super::finding::{Finding, FindingKind};
use super::sizes::check_sizes;

/// What was counted and reported so far.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Of each partition, the largest counts that any of the snapshots states: what they share is not known without rows.
    counts: HashMap<PartitionId, Counts>,
    /// Snapshots share most objects, and a finding is reported with the first of them.
    reported: HashSet<(FindingKind, Option<String>, Option<PartitionId>)>,
}

/// Segments, records and bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) segments: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

impl Listed {
    /// Counts what the snapshot states of a partition.
    pub(super) fn count(&mut self, partition: PartitionId, state: &PartitionState) {
        let counts = self.counts.entry(partition).or_default();
        counts.segments = counts.segments.max(state.segments);
        counts.records = counts.records.max(state.records);
        counts.bytes = counts.bytes.max(state.stored_bytes);
    }

    /// Returns the sums over all partitions. Rows of damaged snapshots may state anything.
    pub(super) fn sum(&self) -> Counts {
        self.counts
            .values()
            .fold(Counts::default(), |sum, counts| Counts {
                segments: sum.segments.saturating_add(counts.segments),
                records: sum.records.saturating_add(counts.records),
                bytes: sum.bytes.saturating_add(counts.bytes),
            })
    }

    /// Compares the sizes of the selected topics' objects, and returns what was not reported before.
    pub(super) async fn check(
        &mut self,
        repository: &Repository,
        snapshot: &Snapshot,
        selects: impl Fn(&TopicName, Id) -> bool,
    ) -> Result<Vec<Finding>, RepoError> {
        let check = check_sizes(repository, snapshot, |topic| {
            selects(&topic.name, topic.topic_id)
        });
        let mut findings = check.await?.findings;
        findings.retain(|finding| {
            let topic = snapshot.topics.iter().find(|topic| is_of(finding, topic));
            let partition = topic.zip(finding.partition);
            let partition = partition.map(|(topic, partition)| topic.partition_id(partition));
            self.reported
                .insert((finding.kind, finding.key.clone(), partition))
        });
        Ok(findings)
    }
}

/// Returns whether a finding is about a topic.
pub(super) fn is_of(finding: &Finding, topic: &kbk_format::repo::TopicState) -> bool {
    finding.topic.as_deref() == Some(&*topic.name)
        && finding.topic_id.as_deref() == Some(&*topic.topic_id.to_string())
}
