//! What a snapshot lacks of what its cluster had, as the text of `INCOMPLETE.txt`.

use std::fmt::Write;

use kbk_format::counted;
use kbk_format::repo::{Incomplete, PartitionState, Snapshot, TopicState};

/// The partitions of topics that are not deleted which lack records.
pub(super) fn partitions(
    snapshot: &Snapshot,
) -> impl Iterator<Item = (&TopicState, &PartitionState, &Incomplete)> {
    let live = snapshot.topics.iter().filter(|topic| !topic.deleted);
    live.flat_map(|topic| {
        let states = topic.partitions.iter();
        states.filter_map(move |state| Some((topic, state, state.incomplete.as_ref()?)))
    })
}

/// A sentence, and a line for each partition.
pub(super) fn text(snapshot: &Snapshot) -> Vec<u8> {
    let all = snapshot.topics.iter().filter(|topic| !topic.deleted);
    let all: usize = all.map(|topic| topic.partitions.len()).sum();
    let mut text = format!(
        "Snapshot {} is partial: {} of {} lack records that the cluster had.\n\n",
        snapshot.sequence,
        partitions(snapshot).count(),
        counted(all, "partition"),
    );
    for (topic, state, incomplete) in partitions(snapshot) {
        let missing = match state.missing_offsets() {
            Some(missing) => {
                let missing = counted(missing, "offset");
                format!("{missing} from {} on", state.end_offset)
            }
            None => format!("what follows offset {}", state.end_offset),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}/{}: {}: {missing}: {}",
            topic.name,
            state.partition,
            incomplete.reason.in_words(),
            incomplete.detail
        );
    }
    text.into_bytes()
}
