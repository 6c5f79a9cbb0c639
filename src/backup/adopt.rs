//! Adopts segments that an interrupted run left behind: durable and complete, but named by no snapshot.
//!
//! They are adopted if they continue a partition's coverage without a hole, so that a first backup that takes days does not start
//! over when it is killed near its end. Nothing vouches for such a segment, so every byte of it is checked first
//! ([`UnindexedSegment`]).

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use futures_util::{StreamExt, TryStreamExt, stream};
use kbk_format::repo::{
    FoundSegment, Hex, Key, LostRange, PartitionId, RepoError, Repository, SegmentEntry, Snapshot,
};
use kbk_format::{FormatError, GapReason, Gaps, IsolationLevel, Segment, counted};
use kbk_tools::verify::{UnindexedSegment, UnindexedSegmentError};

use super::plan::{BackupPlan, PlannedPartition, PlannedTopic};

/// Adopted segments, and the offset ranges that were lost according to them.
#[derive(Clone, Debug, Default)]
pub(super) struct Adopted {
    pub(super) segments: Vec<SegmentEntry>,
    pub(super) lost: Vec<LostRange>,
}

/// Adopts segments for every partition that has offsets to read, and moves the start of what is read past them. `ignored` are the damaged
/// snapshots that the run passes over.
pub(super) async fn adopt(
    repository: &Repository,
    newest: Option<&Snapshot>,
    ignored: &BTreeSet<u64>,
    plan: &mut BackupPlan,
) -> Result<(), RepoError> {
    let adoptable = repository
        .adoptable(newest.map(|newest| &newest.manifest), ignored)
        .await?;
    let parallel = repository.store().profile().parallel_requests;
    let starts = plan.topics.iter_mut().flat_map(to_read);
    let starts: HashMap<PartitionId, i64> = starts
        .map(|(partition, planned)| (partition, planned.read.start))
        .collect();
    let newest = newest.map(|newest| &newest.manifest);
    let all = repository.all_unnamed_segments(newest, &starts, &adoptable);
    let all = all.await?;
    let listings: Vec<_> = plan
        .topics
        .iter_mut()
        .flat_map(to_read)
        .map(async |(partition, planned)| {
            let found = match &all {
                Some(all) => all.get(&partition).cloned().unwrap_or_default(),
                None => {
                    let start = planned.read.start;
                    let found = repository.unnamed_segments(&partition, start, &adoptable);
                    found.await?
                }
            };
            Ok((found, partition, planned))
        })
        .collect();
    let mut listings = stream::iter(listings).buffered(parallel);
    while let Some((found, partition, planned)) = listings.try_next().await? {
        // A check uses all cores, and memory for what it reads ahead: one at a time.
        let adopted = chain(repository, found, &partition, planned.read.clone()).await?;
        if let Some(last) = adopted.segments.last() {
            let segments = adopted.segments.len();
            tracing::info!(
                "{partition}: adopting {} that an interrupted run left behind",
                counted(segments, "segment")
            );
            planned.read.start = last.end_offset;
        }
        planned.adopted = adopted;
    }
    Ok(())
}

/// Returns the partitions of a topic that have offsets to read.
fn to_read(topic: &mut PlannedTopic) -> impl Iterator<Item = (PartitionId, &mut PlannedPartition)> {
    let PlannedTopic {
        name,
        topic_id,
        partitions,
        ..
    } = topic;
    let reading = partitions.iter_mut().filter(|it| !it.read.is_empty());
    reading.map(|planned| {
        let partition = PartitionId {
            topic: name.clone(),
            topic_id: *topic_id,
            partition: planned.partition,
        };
        (partition, planned)
    })
}

/// Finds, among these segments, the longest chain of intact ones that starts at `read.start` and ends at or before `read.end`.
async fn chain(
    repository: &Repository,
    found: Vec<FoundSegment>,
    partition: &PartitionId,
    read: Range<i64>,
) -> Result<Adopted, RepoError> {
    let mut adopted = Adopted::default();
    let mut next = read.start;
    // Keys sort by base offset, so one pass finds the chain; of two segments with the same base offset, the first intact one is
    // adopted.
    for candidate in found {
        if candidate.base_offset != next {
            continue;
        }
        match check(repository, partition, &candidate).await {
            Ok((entry, lost)) if entry.end_offset <= read.end => {
                next = entry.end_offset;
                adopted.segments.push(entry);
                adopted.lost.extend(lost);
            }
            // It reaches beyond the offsets that this run reads.
            Ok(_) => {}
            Err(AdoptError::Repo(error)) => return Err(error),
            Err(error) => tracing::debug!("{} is not adopted: {error}", candidate.key),
        }
    }
    Ok(adopted)
}

/// Why a segment is not adopted.
#[derive(Debug, thiserror::Error)]
enum AdoptError {
    /// The store did not return the segment's bytes, so nothing is known about it.
    #[error(transparent)]
    Repo(RepoError),
    #[error(transparent)]
    Damaged(FormatError),
    #[error("the object changed while it was being read")]
    Changed,
    #[error("it is a segment of another partition, or was read at another isolation level")]
    OtherSource,
    /// It lacks offsets for a reason that no backup gives, so that the source may still have their records: an interrupted `kbk compact` or
    /// `kbk import` wrote it, or it was recovered from a damaged one.
    #[error("it has gaps that a backup does not leave ({}): the source may still have their records", reason.words())]
    ForeignGap { reason: GapReason },
}

impl From<UnindexedSegmentError> for AdoptError {
    fn from(error: UnindexedSegmentError) -> AdoptError {
        match error {
            UnindexedSegmentError::Repo(error) => AdoptError::Repo(error),
            UnindexedSegmentError::Damaged(error) => AdoptError::Damaged(error),
            UnindexedSegmentError::Changed => AdoptError::Changed,
        }
    }
}

/// Checks every byte of a segment, and returns its index entry and the ranges that were lost according to it.
async fn check(
    repository: &Repository,
    partition: &PartitionId,
    found: &FoundSegment,
) -> Result<(SegmentEntry, Vec<LostRange>), AdoptError> {
    let candidate = UnindexedSegment::open(repository.store(), found).await?;
    let segment = candidate.segment();
    if !has_same_source(segment, partition, found) || segment.coverage().is_empty() {
        return Err(AdoptError::OtherSource);
    }
    let lost = lost_ranges(segment.gaps())?;
    let entry = candidate.check(partition.clone()).await?;
    Ok((entry, lost))
}

/// Reports whether this program would have written the segment for this partition, under this key.
fn has_same_source(segment: &Segment, partition: &PartitionId, found: &FoundSegment) -> bool {
    let header = segment.header();
    header.topic == *partition.topic
        && header.topic_id == partition.topic_id.0
        && header.partition == partition.partition
        && header.isolation_level == IsolationLevel::ReadCommitted
        && Key::segment(partition, header.base_offset, &Hex(header.segment_id)) == found.key
}

/// Returns the ranges that were lost according to the gaps of a segment, if a backup would have left all of these.
fn lost_ranges(gaps: &Gaps) -> Result<Vec<LostRange>, AdoptError> {
    let mut lost = Vec::new();
    for gap in &gaps.entries {
        match gap.reason {
            GapReason::NotDelivered | GapReason::Transaction => {}
            GapReason::Lost => {
                lost.push(LostRange::deleted(gap.from_offset, gap.to_offset));
            }
            // A reason that a later version defines is read as unknown: it may be a loss.
            reason @ (GapReason::Compacted | GapReason::Unknown | GapReason::Damaged) => {
                return Err(AdoptError::ForeignGap { reason });
            }
        }
    }
    match gaps.default_reason {
        GapReason::NotDelivered | GapReason::Transaction => Ok(lost),
        // Losses have to be named: which of the other gaps are any, only a look at every record would tell.
        reason => Err(AdoptError::ForeignGap { reason }),
    }
}
