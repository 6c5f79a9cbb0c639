//! Restores of partitions that are incomplete in their snapshot.

use kbk_format::repo::{PartitionState, RestoreManifest, RestoredPartition, Snapshot, TopicState};
use kbk_tools::list::Completeness;

use super::obstacle::Obstacle;

/// Returns whether the snapshot has every record that is to be restored. A selection that ends where the stored records do may lack those
/// that would follow; any may have damaged offsets.
pub(crate) fn saved(snapshot: &Snapshot, manifest: &RestoreManifest) -> Completeness {
    let states = restored(snapshot, manifest)
        .filter(|(_, restored, state)| {
            let offsets = restored.base_offset..restored.end_offset;
            let reaches_end = reaches_end(restored, state);
            state.is_judged_by(offsets, reaches_end)
        })
        .map(|(topic, _, state)| (topic, state));
    Completeness::of_partitions(snapshot.sequence, states).in_copy(snapshot.origin.as_ref())
}

/// Returns how many of the selected offsets the cluster had deleted before they were read.
pub(crate) fn lost_offsets(snapshot: &Snapshot, manifest: &RestoreManifest) -> u64 {
    let lost = restored(snapshot, manifest).flat_map(|(_, restored, state)| {
        let (base, end) = (restored.base_offset, restored.end_offset);
        let lost = state.lost.iter().filter(|lost| !lost.is_damaged());
        lost.map(move |lost| lost.to.min(end).saturating_sub(lost.from.max(base)).max(0))
    });
    lost.fold(0, |sum, offsets| sum.saturating_add(offsets.unsigned_abs()))
}

/// Returns how many offsets had expired before the first ones of the partitions that are restored from the beginning.
pub(crate) fn expired_offsets(snapshot: &Snapshot, manifest: &RestoreManifest) -> u64 {
    let from_the_beginning = restored(snapshot, manifest)
        .filter(|(_, restored, state)| restored.base_offset <= state.base_offset);
    let expired = from_the_beginning.filter_map(|(_, _, state)| state.expired_offsets());
    expired.fold(0, |sum, offsets| {
        sum.saturating_add(offsets.end_offset.abs_diff(offsets.base_offset))
    })
}

/// Returns the partitions that are restored, with their topics and states in the snapshot.
fn restored<'a>(
    snapshot: &'a Snapshot,
    manifest: &'a RestoreManifest,
) -> impl Iterator<Item = (&'a TopicState, &'a RestoredPartition, &'a PartitionState)> {
    manifest.topics.iter().flat_map(|restored| {
        let topic = snapshot.topic(&restored.topic, restored.topic_id);
        topic.into_iter().flat_map(|topic| {
            restored.partitions.iter().filter_map(move |restored| {
                let state = topic.partitions.get(restored.partition.index())?;
                Some((topic, restored, state))
            })
        })
    })
}

fn reaches_end(restored: &RestoredPartition, state: &PartitionState) -> bool {
    restored.end_offset >= state.end_offset
}

/// Refuses to restore less than the cluster had, unless that is allowed.
pub(crate) fn check(saved: &Completeness, allow_partial: bool) -> Option<Obstacle> {
    let statement = saved.statement().filter(|_| !allow_partial)?;
    let mut next_step = saved.copy_again();
    if saved.is_damaged() {
        let recover = "take what is lost from another repository with `kbk recover --from`";
        next_step = Some(recover.to_owned());
    }
    if saved.is_replaced_later() {
        let later = "restore the newest snapshot, in which a recovery replaced what was damaged";
        next_step = Some(later.to_owned());
    }
    Some(Obstacle::Partial {
        statement,
        next_step: next_step.unwrap_or_else(|| "back up again".to_owned()),
    })
}
