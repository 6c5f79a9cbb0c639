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
/// offsets and timestamps are decoded.
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
    match segments.await?.first() {
        Some(entry) => in_segment(repository.store(), partition, entry, timestamp).await,
        None => Ok(None),
    }
}

async fn in_segment(
    store: &Store,
    partition: &PartitionId,
    entry: &SegmentEntry,
    timestamp: i64,
) -> Result<Option<i64>, RepoError> {
    let reader = SegmentReader::open(store, partition, entry).await?;
    let segment = reader.segment();
    let Some(block) = segment.index().block_of_time(timestamp) else {
        return Ok(None);
    };
    let bytes = reader.read(block..block + 1).await?;
    let mut columns = Columns::new();
    let decoded = segment
        .block(block, &bytes)
        .and_then(|block| block.decode(&mut BlockDecoder::new(), Streams::Meta, &mut columns));
    decoded.map_err(|error| reader.damaged(error))?;
    let mut timestamps = columns.timestamps().iter();
    let row = timestamps.position(|found| *found >= timestamp);
    Ok(row.and_then(|row| columns.offsets().get(row).copied()))
}
