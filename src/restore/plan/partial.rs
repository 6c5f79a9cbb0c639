//! Restores of partitions that are incomplete in their snapshot.

use kbk_format::repo::{PartitionState, RestoreManifest, RestoredPartition, Snapshot};
use kbk_tools::list::Completeness;

use super::obstacle::Obstacle;

/// Returns whether the snapshot has every record that is to be restored. A selection that ends where the stored records do may lack those
/// that would follow.
pub(crate) fn saved(snapshot: &Snapshot, manifest: &RestoreManifest) -> Completeness {
    let topics = manifest.topics.iter();
    let topics = topics.filter_map(|restored| {
        let topic = snapshot.topic(&restored.topic, restored.topic_id)?;
        Some((topic, &restored.partitions))
    });
    let states = topics.flat_map(|(topic, restored)| {
        restored.iter().filter_map(move |restored| {
            let state = topic.partitions.get(restored.partition.index())?;
            reaches_end(restored, state).then_some((topic, state))
        })
    });
    Completeness::of_partitions(snapshot.sequence, states)
}

fn reaches_end(restored: &RestoredPartition, state: &PartitionState) -> bool {
    restored.end_offset >= state.end_offset
}

/// Refuses to restore less than the cluster had, unless that is allowed.
pub(crate) fn check(saved: &Completeness, allow_partial: bool) -> Option<Obstacle> {
    let statement = saved.statement().filter(|_| !allow_partial)?;
    Some(Obstacle::Partial { statement })
}
