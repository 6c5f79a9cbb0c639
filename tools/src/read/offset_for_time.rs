//! The offset that Kafka would report for a timestamp, computed from a snapshot (SPEC section 5).

use kbk_format::repo::{
    PartitionId, PartitionState, RepoError, Repository, SegmentEntry, SegmentReader, Snapshot,
    Store,
};
use kbk_format::{BlockDecoder, Columns, Streams};

/// Returns the offset of the first record, in offset order, whose timestamp is at least `timestamp`, as Kafka's ListOffsets
/// does; `None` if no record has one.
///
/// Reads the index of the partition, the footer of the first segment that reaches the timestamp, and one block, of which only
/// offsets and timestamps are decoded. Of segments that are not computed (SPEC 2.11), further blocks and segments may be read.
///
/// # Errors
///
/// As [`Repository::segments_of_times`], [`SegmentReader::open`] and [`SegmentReader::read`]; [`Damage::Segment`](kbk_format::repo::Damage::Segment) if the block
/// is damaged.
pub async fn offset_for_time(
    repository: &Repository,
    snapshot: &Snapshot,
    partition: &PartitionId,
    state: &PartitionState,
    timestamp: i64,
) -> Result<Option<i64>, RepoError> {
    if state.max_timestamp.is_none_or(|max| max < timestamp) {
        return Ok(None);
    }
    let reaching = timestamp..=i64::MAX;
    let segments = repository.segments_of_times(snapshot, partition, state, &reaching);
    // The first one that reaches it has it, if its largest timestamp was computed and is no bound.
    for entry in segments.await? {
        let found = in_segment(repository.store(), partition, &entry, timestamp).await?;
        if found.is_some() || entry.is_computed() {
            return Ok(found);
        }
    }
    Ok(None)
}

async fn in_segment(
    store: &Store,
    partition: &PartitionId,
    entry: &SegmentEntry,
    timestamp: i64,
) -> Result<Option<i64>, RepoError> {
    let reader = SegmentReader::open(store, partition, entry).await?;
    let segment = reader.segment();
    let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
    for block in segment.index().blocks_of_time(timestamp) {
        let bytes = reader.read(block..block + 1).await?;
        let decoded = segment
            .block(block, &bytes)
            .and_then(|block| block.decode(&mut decoder, Streams::Meta, &mut columns));
        decoded.map_err(|error| reader.damaged(error))?;
        let mut timestamps = columns.timestamps().iter();
        let row = timestamps.position(|found| *found >= timestamp);
        if let Some(offset) = row.and_then(|row| columns.offsets().get(row)) {
            return Ok(Some(*offset));
        }
    }
    Ok(None)
}
