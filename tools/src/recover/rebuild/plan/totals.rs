//! What a plan as a whole says: of which clusters segments are, and what is missing by the totals of snapshots.

use std::collections::BTreeMap;

use kbk_format::repo::{Id, TopicName};

use super::super::report::{ClusterRow, Fate, MissingTotals};
use super::{PlannedTopic, Planning};

impl Planning<'_> {
    /// States the clusters that segments are of, where they are of several.
    pub(super) fn name_clusters(&mut self) {
        if self.clusters.len() > 1 {
            let clusters = std::mem::take(&mut self.clusters).into_iter();
            let row = |(cluster_id, segments)| ClusterRow {
                cluster_id,
                segments,
            };
            self.report.clusters = clusters.map(row).collect();
        }
    }

    /// Compares what a damaged snapshot states with what the new one has.
    pub(super) fn compare_totals(&mut self, topics: &[PlannedTopic]) {
        let Some((snapshot, stated)) = &self.base.totals else {
            return;
        };
        if self.report.interrupted {
            return;
        }
        let base = self.base.snapshot.as_ref();
        let known = base.map(|base| base.totals.clone()).unwrap_or_default();
        // A topic has the partitions of its segments, of the base, and those that the newest topics state that can be read.
        let mut counts: BTreeMap<(&TopicName, Id), usize> = BTreeMap::new();
        let of_segments = topics.iter().map(|topic| {
            let last = topic.partitions.keys().next_back();
            let found = last.map_or(0, |last| last.index().saturating_add(1));
            ((&topic.name, topic.topic_id), found)
        });
        let stated_topics = self.base.topics.iter();
        let of_topics = stated_topics.map(|it| ((&it.name, it.topic_id), it.partitions.len()));
        for (topic, found) in of_segments.chain(of_topics) {
            let count = counts.entry(topic).or_default();
            *count = found.max(*count);
        }
        let added = counts.into_iter().map(|((name, topic_id), found)| {
            let in_base = base.and_then(|base| base.topic(name, topic_id));
            found.saturating_sub(in_base.map_or(0, |it| it.partitions.len())) as u64
        });
        let partitions = added.fold(known.partitions, u64::saturating_add);
        let missing = MissingTotals {
            snapshot: *snapshot,
            topics: stated
                .topics
                .saturating_sub(known.topics.saturating_add(self.report.new_topics)),
            partitions: stated.partitions.saturating_sub(partitions),
            // Each that it names is an object, whatever became of that.
            segments: stated
                .segments
                .saturating_sub(self.report.data_objects.len() as u64),
            records: stated
                .records
                .saturating_sub(known.records.saturating_add(self.report.records)),
        };
        self.report.missing_totals = (!missing.is_nothing()).then_some(missing);
    }

    /// Counts segments that the base names and that are not there.
    pub(super) fn missing_segments(&mut self) {
        let Some(base) = &self.base.snapshot else {
            return;
        };
        let kept = self.report.count(Fate::Kept);
        let named = base.totals.segments;
        self.report.missing_segments = match self.report.interrupted {
            true => 0,
            false => named.saturating_sub(kept),
        };
    }
}
