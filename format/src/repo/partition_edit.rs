//! What a commit makes of partitions that were planned for, such as an expiry or a replacement.

use std::collections::HashMap;

use super::error::RepoErrorKind;
use super::keys::PartitionId;
use super::retention::Upkeep;
use super::states::{PartitionState, TopicState};

/// What a commit makes of a partition.
pub(super) trait PartitionEdit {
    /// Makes of the state in the newest snapshot that in the snapshot of this sequence.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Outdated`] where it is not as it was planned for.
    fn edit(
        &self,
        state: &mut PartitionState,
        sequence: u64,
        upkeep: &Upkeep,
    ) -> std::result::Result<(), RepoErrorKind>;
}

/// Edits all of the planned partitions.
///
/// # Errors
///
/// [`RepoErrorKind::Outdated`] where one of them is not there, or what an edit returns.
pub(super) fn edit_partitions(
    planned: &HashMap<PartitionId, impl PartitionEdit>,
    topics: &mut [TopicState],
    sequence: u64,
    upkeep: &Upkeep,
) -> std::result::Result<(), RepoErrorKind> {
    let mut left = planned.len();
    for topic in topics {
        let ids: Vec<PartitionId> = topic
            .partitions
            .iter()
            .map(|state| topic.partition_id(state.partition))
            .collect();
        for (id, state) in ids.iter().zip(&mut topic.partitions) {
            if let Some(edit) = planned.get(id) {
                edit.edit(state, sequence, upkeep)?;
                left = left.saturating_sub(1);
            }
        }
    }
    match left {
        0 => Ok(()),
        _ => Err(RepoErrorKind::Outdated),
    }
}
