//! What a snapshot lacks of what its cluster had, as the text of `INCOMPLETE.txt`.

use std::fmt::Write;

use kbk_format::counted;
use kbk_format::repo::{Incomplete, PartitionState, Snapshot, TopicState};

/// The partitions that make the snapshot partial.
pub(super) fn partitions(
    snapshot: &Snapshot,
) -> impl Iterator<Item = (&TopicState, &PartitionState, &Incomplete)> {
    let judged = snapshot.judged();
    judged.filter_map(|(topic, state)| Some((topic, state, snapshot.lacks(topic, state)?)))
}

/// A sentence, and a line for each partition.
pub(super) fn text(snapshot: &Snapshot) -> Vec<u8> {
    let lacking = partitions(snapshot).count();
    let mut text = format!(
        "Snapshot {} is partial: {lacking} of {} {} records that the cluster had.\n\n",
        snapshot.sequence,
        counted(snapshot.judged().count(), "partition"),
        if lacking == 1 { "lacks" } else { "lack" },
    );
    for (topic, state, incomplete) in partitions(snapshot) {
        let missing = match state.missing_offsets() {
            Some(missing) if state.is_damaged() => counted(missing, "offset"),
            Some(missing) => {
                let missing = counted(missing, "offset");
                format!("{missing} from {} on", state.end_offset)
            }
            // Nothing says which offsets of it are in damaged segments.
            None if state.incomplete.is_none() => "some of it".to_owned(),
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
