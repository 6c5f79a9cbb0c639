//! What decoding the records of a segment tells, for one whose writer did not compute it (SPEC 2.11).

use kbk_format::repo::{Operation, PartitionId, RepoError, SegmentEntry, SegmentReader, Store};
use kbk_format::{BlockDecoder, Columns, FormatError, RecordStatistics, Statistics, Streams};

use crate::compact::runs;
use crate::task::joined;

/// Reads all blocks of a segment, and computes the statistics of its records. Memory: one range of blocks.
///
/// # Errors
///
/// As [`SegmentReader::open`] and [`SegmentReader::read`]; [`Damage::Segment`](kbk_format::repo::Damage::Segment) where a block is damaged.
pub async fn compute(
    store: &Store,
    partition: &PartitionId,
    entry: &SegmentEntry,
) -> Result<RecordStatistics, RepoError> {
    let reader = SegmentReader::open(store, partition, entry).await?;
    let mut sums = Statistics::empty(entry.base_offset);
    for range in runs(&reader, store.profile().range_bytes) {
        let bytes = reader.read(range.clone()).await?;
        let of_range = reader.clone();
        let added = tokio::task::spawn_blocking(move || -> Result<Statistics, FormatError> {
            let segment = of_range.segment();
            let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
            for block in segment.blocks(range, &bytes) {
                let block = block?;
                block.decode(&mut decoder, Streams::All, &mut columns)?;
                let header = block.header();
                sums.append(&Statistics::of_block(
                    &columns,
                    segment.header().timestamp_type,
                    header.base_offset,
                    header.end_offset,
                    u64::from(header.raw_length()),
                ));
            }
            Ok(sums)
        });
        let failed = |error| RepoError::of_store(Operation::Read, store.url(), &entry.key, error);
        let added = joined(added.await).map_err(failed)?;
        sums = added.map_err(|error| reader.damaged(error))?;
    }
    // Blocks that were decoded have all numbers.
    Ok(sums.computed.unwrap_or(RecordStatistics::NONE))
}
