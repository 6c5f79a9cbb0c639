//! Kafka's own offset for a time, of a partition in a snapshot (SPEC section 5).

use kbk_format::repo::{
    PartitionId, PartitionState, RepoError, Repository, SegmentEntry, SegmentReader, Store,
};
use kbk_format::{BlockDecoder, Columns, Streams};

/// The offset of the first record, in offset order, whose timestamp is `timestamp` or later: what Kafka answers to
/// ListOffsets. `None` if no record reaches it.
///
/// Reads pages up to the first segment that reaches the time, that segment's footer, and one block, of which offsets and
/// timestamps are decoded.
///
/// # Errors
///
/// As [`Repository::page`], [`SegmentReader::open`] and [`SegmentReader::read`]; [`RepoError::DamagedSegment`] where the block
/// is damaged.
pub async fn offset_for_time(
    repository: &Repository,
    place: &PartitionId,
    state: &PartitionState,
    timestamp: i64,
) -> Result<Option<i64>, RepoError> {
    for page in &state.pages {
        let page = repository.page(place, page).await?;
        let reaches = |entry: &&SegmentEntry| entry.records > 0 && entry.max_timestamp >= timestamp;
        if let Some(entry) = page.segments.iter().find(reaches) {
            return in_segment(repository.store(), place, entry, timestamp).await;
        }
    }
    Ok(None)
}

async fn in_segment(
    store: &Store,
    place: &PartitionId,
    entry: &SegmentEntry,
    timestamp: i64,
) -> Result<Option<i64>, RepoError> {
    let reader = SegmentReader::open(store, place, entry).await?;
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
    let mut times = columns.timestamps().iter();
    let row = times.position(|time| *time >= timestamp);
    Ok(row.and_then(|row| columns.offsets().get(row).copied()))
}
