//! What expires in a repository: the first segments of partitions whose records are all older than a moment.

use kbk_format::repo::{
    LastRecord, PartitionExpiry, PartitionState, RepoError, Repository, SegmentEntry,
    SegmentReader, Snapshot, TopicState,
};
use kbk_format::{
    BlockDecoder, Columns, Digests, FormatError, OffsetSpan, PartitionNumber, Record,
    Streams, TimestampType,
};
use serde::Serialize;

/// What expires, for [`Repository::expire`].
#[derive(Clone, Debug, Default)]
pub struct ExpiryPlan {
    /// The partitions of which something expires.
    pub partitions: Vec<PartitionExpiry>,
    /// A row for each of these, and for each partition that keeps records older than the moment.
    pub rows: Vec<ExpiryRow>,
    /// Compacted topics that were left out.
    pub compacted: Vec<String>,
}

/// What becomes of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExpiryRow {
    /// The topic's name.
    pub topic: String,
    /// Identifies the history of the topic.
    pub topic_id: String,
    /// The partition's number.
    pub partition: PartitionNumber,
    /// The offsets that expire; null where none do.
    pub offsets: Option<OffsetSpan>,
    /// Number of segments that expire.
    pub segments: u64,
    /// Number of their records.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Number of records that remain.
    pub remaining_records: u64,
    /// Why records that are older remain: `younger_records` in their segment or before them, or `no_timestamps` in a segment, so
    /// that its age is not known; null where none remain.
    pub kept: Option<KeptBecause>,
}

/// Why records remain that are older than the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptBecause {
    /// The first segment that stays has younger records.
    YoungerRecords,
    /// No record of the first segment that stays has a timestamp.
    NoTimestamps,
}

/// Plans what of these topics is older than a timestamp in milliseconds. Compacted topics are left out unless `compacted`: the last
/// record of a key counts, however old it is.
///
/// # Errors
///
/// Where the index, or the last record of a partition of which everything expires, cannot be read.
pub async fn plan_expiry<'a>(
    repository: &Repository,
    snapshot: &Snapshot,
    topics: impl IntoIterator<Item = &'a TopicState>,
    older_than: i64,
    compacted: bool,
) -> Result<ExpiryPlan, RepoError> {
    let mut plan = ExpiryPlan::default();
    for topic in topics {
        if !compacted && is_compacted(topic) {
            plan.compacted.push(topic.name.to_string());
            continue;
        }
        for state in &topic.partitions {
            let id = topic.partition_id(state.partition);
            let planned = repository.plan_expiry(snapshot, id, state, older_than);
            let mut planned = planned.await?;
            if let Some(last) = &planned.last {
                planned.last_record = last_record(repository, &planned, last).await?;
            }
            plan.rows.extend(row(topic, &planned, older_than));
            if !planned.is_empty() {
                plan.partitions.push(planned);
            }
        }
    }
    Ok(plan)
}

fn is_compacted(topic: &TopicState) -> bool {
    let config = topic.config.as_ref();
    let policy = config.and_then(|config| config.get("cleanup.policy"));
    policy.is_some_and(|policy| policy.split(',').any(|word| word.trim() == "compact"))
}

/// Returns the row of a partition; `None` where nothing of it is older.
fn row(topic: &TopicState, planned: &PartitionExpiry, older_than: i64) -> Option<ExpiryRow> {
    let PartitionExpiry { before, after, .. } = planned;
    let is_older = |state: &PartitionState| state.min_timestamp.is_some_and(|it| it < older_than);
    if planned.is_empty() && !is_older(before) {
        return None;
    }
    let kept = planned.next.as_ref().filter(|_| is_older(after));
    let kept = kept.map(|next| match next.min_known_timestamp {
        None if next.records > 0 => KeptBecause::NoTimestamps,
        _ => KeptBecause::YoungerRecords,
    });
    let offsets = before.base_offset..after.base_offset;
    Some(ExpiryRow {
        topic: topic.name.to_string(),
        topic_id: topic.topic_id.to_string(),
        partition: before.partition,
        offsets: (!offsets.is_empty()).then(|| offsets.into()),
        segments: planned.segments(),
        records: planned.records(),
        bytes: planned.bytes(),
        remaining_records: after.records,
        kept,
    })
}

/// Reads what a later backup compares with its source: the last record of a segment.
async fn last_record(
    repository: &Repository,
    planned: &PartitionExpiry,
    entry: &SegmentEntry,
) -> Result<Option<LastRecord>, RepoError> {
    let reader = SegmentReader::open(repository.store(), &planned.id, entry).await?;
    let blocks = reader.segment().index().entries();
    let Some(last) = blocks.iter().rposition(|block| block.record_count > 0) else {
        return Ok(None);
    };
    let bytes = reader.read(last..last.saturating_add(1)).await?;
    let found = last_of_block(&reader, last, &bytes);
    let found = found.map_err(|error| reader.damaged(error))?;
    Ok(found.map(|(offset, digest)| LastRecord::new(&planned.id, offset, digest)))
}

/// Returns offset and restore digest of the last record of a block.
fn last_of_block(
    reader: &SegmentReader,
    block: usize,
    bytes: &[u8],
) -> Result<Option<(i64, u128)>, FormatError> {
    let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
    let block = reader.segment().block(block, bytes)?;
    block.decode(&mut decoder, Streams::All, &mut columns)?;
    // The type is no part of this digest.
    let digest = |record: &Record<'_>| Digests::of(record, TimestampType::CreateTime).restore;
    let last = columns.iter().last();
    Ok(last.map(|record| (record.offset, digest(&record))))
}
