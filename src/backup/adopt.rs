//! Segments that an interrupted run left: durable, whole, and named by no snapshot.
//!
//! They are taken over where they continue a partition's coverage without a hole, so that a first backup of days is not begun
//! again when it is killed near its end. Before that every byte of them is read and checked: nobody has vouched for them yet.

use std::ops::Range;

use bytes::Bytes;
use kbk_format::layout::TAIL_LENGTH;
use kbk_format::repo::{
    FoundSegment, Hex, Key, LostRange, Operation, PartitionId, RepoError, Repository, SegmentEntry,
    Uploaded,
};
use kbk_format::{FormatError, GapReason, IsolationLevel, Open, Segment};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use sha2::{Digest, Sha256};

use super::plan::Plan;

/// Segments taken over, and the ranges that they say were lost.
#[derive(Clone, Debug, Default)]
pub(super) struct Adopted {
    pub(super) segments: Vec<SegmentEntry>,
    pub(super) lost: Vec<LostRange>,
}

/// Looks for segments to take over in front of everything that is still to be read.
pub(super) async fn adopt(repository: &Repository, plan: &mut Plan) -> Result<(), RepoError> {
    for topic in &mut plan.topics {
        for partition in topic
            .partitions
            .iter_mut()
            .filter(|partition| !partition.read.is_empty())
        {
            let place = PartitionId {
                topic: topic.name.clone(),
                topic_id: topic.topic_id,
                partition: partition.partition,
            };
            let adopted = chain(repository, &place, partition.read.clone()).await?;
            if let Some(last) = adopted.segments.last() {
                let segments = adopted.segments.len();
                tracing::info!(
                    "{place}: taking over {segments} segments that an interrupted run left"
                );
                partition.read.start = last.end_offset;
            }
            partition.adopted = adopted;
        }
    }
    Ok(())
}

/// The longest chain of sound segments from `read.start` that does not reach beyond `read.end`.
async fn chain(
    repository: &Repository,
    place: &PartitionId,
    read: Range<i64>,
) -> Result<Adopted, RepoError> {
    let found = repository.unnamed_segments(place, read.start).await?;
    let mut adopted = Adopted::default();
    let mut at = read.start;
    // In the order of their offsets, so one pass is enough; of two that begin alike the first sound one is taken.
    for candidate in found {
        if candidate.base_offset != at {
            continue;
        }
        match check(repository, place, &candidate).await {
            Ok((entry, lost)) if entry.end_offset <= read.end => {
                at = entry.end_offset;
                adopted.segments.push(entry);
                adopted.lost.extend(lost);
            }
            Ok(_) => {}
            Err(Unfit::Repo(error)) => return Err(error),
            Err(unfit) => tracing::debug!("{} is not taken over: {unfit}", candidate.key),
        }
    }
    Ok(adopted)
}

/// Why a segment is not taken over.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    /// The store did not give bytes that it has: no verdict on the segment.
    #[error(transparent)]
    Repo(#[from] RepoError),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("it is of another partition, or was read otherwise")]
    OtherSource,
}

/// Checks every byte of a segment, and makes the entry that a page would have had for it.
async fn check(
    repository: &Repository,
    place: &PartitionId,
    found: &FoundSegment,
) -> Result<(SegmentEntry, Vec<LostRange>), Unfit> {
    let object = Object { repository, found };
    let segment = object.open().await?;
    let header = segment.header();
    let same = header.topic == *place.topic
        && header.topic_id == place.topic_id.0
        && header.partition == place.partition
        && header.isolation_level == IsolationLevel::ReadCommitted
        && Key::segment(place, header.base_offset, &Hex(header.segment_id)) == found.key;
    if !same || segment.coverage().is_empty() {
        return Err(Unfit::OtherSource);
    }
    let sha256 = object.check_all(&segment).await?;
    let uploaded = Uploaded {
        sha256: Hex(sha256),
        size: found.size,
    };
    let entry = SegmentEntry::found(place, &segment, uploaded);
    let lost = segment
        .gaps()
        .entries
        .iter()
        .filter(|gap| gap.reason == GapReason::Lost);
    let lost = lost
        .map(|gap| LostRange {
            from: gap.from_offset,
            to: gap.to_offset,
        })
        .collect();
    Ok((entry, lost))
}

/// The bytes of a segment that only its name is known of.
struct Object<'a> {
    repository: &'a Repository,
    found: &'a FoundSegment,
}

impl Object<'_> {
    async fn read(&self, range: Range<u64>) -> Result<Bytes, RepoError> {
        let store = self.repository.store();
        let key = self.found.key.to_string();
        let read = store
            .objects()
            .get_range(&Path::from(key.as_str()), range)
            .await;
        let url = store.url().to_owned();
        read.map_err(|error| RepoError::Store {
            operation: Operation::Read,
            url,
            key,
            source: Box::new(error),
        })
    }

    async fn open(&self) -> Result<Segment, Unfit> {
        let size = self.found.size;
        let tail = self.read(size.saturating_sub(TAIL_LENGTH)..size).await?;
        let footer = match Segment::open(&tail, size)? {
            Open::Ready(segment) => return Ok(*segment),
            Open::Need(range) => self.read(range).await?,
        };
        match Segment::open(&footer, size)? {
            Open::Ready(segment) => Ok(*segment),
            Open::Need(_) => Err(Unfit::OtherSource),
        }
    }

    /// Reads everything from front to back; returns the SHA-256 of it.
    async fn check_all(&self, segment: &Segment) -> Result<[u8; 32], Unfit> {
        let mut sha256 = Sha256::new();
        let header = self.read(0..segment.file_header_length()).await?;
        segment.check_file_header(&header)?;
        sha256.update(&header);
        let entries = segment.index().entries();
        let range_bytes = self.repository.store().profile().range_bytes;
        let mut next = 0;
        while next < entries.len() {
            let first = entries[next].position;
            let fits = |entry: &kbk_format::IndexEntry| entry.end() - first <= range_bytes;
            let blocks = next..next
                + entries[next..]
                    .iter()
                    .take_while(|entry| fits(entry))
                    .count()
                    .max(1);
            let range = segment.index().range(blocks.clone()).unwrap_or_default();
            let bytes = self.read(range).await?;
            for block in segment.blocks(blocks.clone(), &bytes) {
                block?.check()?;
            }
            sha256.update(&bytes);
            next = blocks.end;
        }
        sha256.update(
            self.read(segment.footer_position()..segment.file_length())
                .await?,
        );
        Ok(sha256.finalize().into())
    }
}
