//! What expires in a repository: the first segments of partitions whose records are all older than a moment.

use futures_util::{StreamExt, stream};
use kbk_format::repo::{
    LastRecord, PartitionExpiry, PartitionId, PartitionState, RepoError, Repository, SegmentEntry,
    SegmentReader, Snapshot, TopicState,
};
use kbk_format::{
    BlockDecoder, Columns, Digests, FormatError, OffsetSpan, PartitionNumber, Record, Streams,
    TimestampType,
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
    /// Whether this history does not count any more: the cluster no longer has the topic, or another history replaced it.
    pub deleted: bool,
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
    /// The smallest timestamp of these records in milliseconds; null where there are none.
    pub min_timestamp: Option<i64>,
    /// The largest one.
    pub max_timestamp: Option<i64>,
    /// Number of records that remain.
    pub remaining_records: u64,
    /// The segment for which records remain that are older; null where none remain.
    pub kept: Option<KeptSegment>,
}

/// The first segment that stays, where there are older records in it or after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeptSegment {
    /// Why it stays, and what follows it: `younger_records`, which it has; `future_records`, with timestamps more than a day ahead of this
    /// machine's clock; `no_timestamps`, so that its age is not known; `unreadable`, since its last record is needed to continue the
    /// partition.
    pub because: KeptBecause,
    /// The offsets of the segment.
    pub offsets: OffsetSpan,
    /// Its largest timestamp in milliseconds; -1 where it has none.
    pub max_timestamp: i64,
}

/// Why a segment stays that has older records, or is before some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptBecause {
    /// It has younger records.
    YoungerRecords,
    /// It has records from the future, by this machine's clock.
    FutureRecords,
    /// None of its records has a timestamp.
    NoTimestamps,
    /// It has the last record of the partition, which cannot be read.
    Unreadable,
}

impl KeptBecause {
    /// Returns whether the segment stays without being young: a later expiry will find the same.
    #[must_use]
    pub fn is_lasting(self) -> bool {
        self != KeptBecause::YoungerRecords
    }
}

/// What is old, by the clock of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Ages {
    /// Records with earlier timestamps are old, in milliseconds.
    pub older_than: i64,
    /// The present time in milliseconds.
    pub now: i64,
}

/// Timestamps that are further ahead are from the future: clocks of machines differ by less.
const CLOCK_TOLERANCE_MS: i64 = 86_400_000;

/// Plans what of these topics is old. Compacted topics are left out unless `compacted`: the last record of a key counts, however old it is.
///
/// # Errors
///
/// Where the index cannot be read, or the store does not answer.
pub async fn plan_expiry<'a>(
    repository: &Repository,
    snapshot: &Snapshot,
    topics: impl IntoIterator<Item = &'a TopicState>,
    ages: Ages,
    compacted: bool,
) -> Result<ExpiryPlan, RepoError> {
    let (left_out, topics): (Vec<_>, Vec<_>) = topics
        .into_iter()
        .partition(|topic| !compacted && topic.is_compacted());
    let partitions = topics
        .into_iter()
        .flat_map(|topic| topic.partitions.iter().map(move |state| (topic, state)))
        .map(|(topic, state)| plan_partition(repository, snapshot, (topic, state), ages));
    let partitions: Vec<_> = partitions.collect();
    let parallel = repository.store().profile().parallel_requests;
    let mut planned = stream::iter(partitions).buffered(parallel);
    let mut plan = ExpiryPlan {
        compacted: left_out
            .iter()
            .map(|topic| topic.name.to_string())
            .collect(),
        ..ExpiryPlan::default()
    };
    while let Some(planned) = planned.next().await {
        let (expiry, row) = planned?;
        plan.rows.extend(row);
        if !expiry.is_empty() {
            plan.partitions.push(expiry);
        }
    }
    Ok(plan)
}

async fn plan_partition(
    repository: &Repository,
    snapshot: &Snapshot,
    (topic, state): (&TopicState, &PartitionState),
    ages: Ages,
) -> Result<(PartitionExpiry, Option<ExpiryRow>), RepoError> {
    let id = topic.partition_id(state.partition);
    let planned = repository.plan_expiry(snapshot, id, state, ages.older_than);
    let mut planned = planned.await?;
    let mut unreadable = false;
    if let Some(last) = planned.last().cloned() {
        match last_record(repository, &planned.id, &last).await {
            Ok(record) => planned.last_record = record,
            Err(error) if error.kind().is_about_content() => {
                unreadable = true;
                planned.keep_last();
            }
            Err(error) => return Err(error),
        }
    }
    let kept = kept(&planned, ages, unreadable);
    let row = row(topic, &planned, kept);
    Ok((planned, row))
}

/// Returns the segment that keeps older records; `None` where none remain.
fn kept(planned: &PartitionExpiry, ages: Ages, unreadable: bool) -> Option<KeptSegment> {
    // Where the oldest timestamp is not known, there may be older records.
    let (oldest, _) = planned.after.time_bounds()?;
    let next = planned.next.as_ref().filter(|_| oldest < ages.older_than)?;
    let future = ages.now.saturating_add(CLOCK_TOLERANCE_MS);
    let because = match next.min_known_timestamp {
        _ if unreadable => KeptBecause::Unreadable,
        None if next.is_computed() || next.max_timestamp == -1 => KeptBecause::NoTimestamps,
        _ if next.max_timestamp > future => KeptBecause::FutureRecords,
        _ => KeptBecause::YoungerRecords,
    };
    Some(KeptSegment {
        because,
        offsets: (next.base_offset..next.end_offset).into(),
        max_timestamp: next.max_timestamp,
    })
}

/// Returns the row of a partition; `None` where nothing of it is older.
fn row(
    topic: &TopicState,
    planned: &PartitionExpiry,
    kept: Option<KeptSegment>,
) -> Option<ExpiryRow> {
    let PartitionExpiry { before, after, .. } = planned;
    if planned.is_empty() && kept.is_none() {
        return None;
    }
    let (min_timestamp, max_timestamp) = planned.times().unzip();
    let min_timestamp = min_timestamp.flatten();
    let offsets = before.base_offset..after.base_offset;
    Some(ExpiryRow {
        topic: topic.name.to_string(),
        topic_id: topic.topic_id.to_string(),
        deleted: topic.deleted,
        partition: before.partition,
        offsets: (!offsets.is_empty()).then(|| offsets.into()),
        segments: planned.segments(),
        records: planned.records(),
        bytes: planned.bytes(),
        min_timestamp,
        max_timestamp,
        remaining_records: after.records,
        kept,
    })
}

/// Reads what a later backup compares with its source: the last record of a segment.
async fn last_record(
    repository: &Repository,
    id: &PartitionId,
    entry: &SegmentEntry,
) -> Result<Option<LastRecord>, RepoError> {
    let reader = SegmentReader::open(repository.store(), id, entry).await?;
    let blocks = reader.segment().index().entries();
    let Some(last) = blocks.iter().rposition(|block| block.record_count > 0) else {
        return Ok(None);
    };
    let bytes = reader.read(last..last.saturating_add(1)).await?;
    let found = last_of_block(&reader, last, &bytes);
    let found = found.map_err(|error| reader.damaged(error))?;
    Ok(found.map(|(offset, digest)| LastRecord::new(id, offset, digest)))
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
