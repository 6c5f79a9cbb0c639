//! Replaces segments by others that hold the same records, or fewer of them by keys (SPEC section 11.12).
//!
//! The commit is the last place that looks: what it takes in must cover the same offsets, with the same timestamp type, and its digests must
//! add up to those of what goes, but for records that are stated to be removed. Nothing is ever replaced by less.

use std::collections::HashMap;

use super::commit::SegmentChange;
use super::compacted::Compacted;
use super::error::{RepoError, RepoErrorKind, Result};
use super::index::RowKey;
use super::keys::PartitionId;
use super::repository::Repository;
use super::retention::Upkeep;
use super::segment_entry::SegmentEntry;
use super::states::PartitionState;
use crate::TimestampType;

/// Segments of a partition that follow each other, and those that take their place.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// The partition.
    pub id: PartitionId,
    /// What goes, in the order of offsets. Its objects are left to a prune.
    pub removed: Vec<SegmentEntry>,
    /// What takes its place: durable, and verified as the store returns it.
    pub added: Vec<SegmentEntry>,
    /// What these do not have of those.
    pub without: RemovedRecords,
}

/// Records that a replacement leaves out, since a later record has the same key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemovedRecords {
    /// Their number.
    pub records: u64,
    /// Their content digest.
    pub content_digest: u128,
}

/// What became of replacements.
#[derive(Clone, Debug, Default)]
pub struct Replaced {
    /// The snapshot that has them; `None` where none could be made.
    pub snapshot: Option<u64>,
    /// By their place in what was given: segments that went were no longer there, since another run had expired or replaced them.
    pub outdated: Vec<usize>,
}

/// How often a commit is made again since another one came first.
const TRIES: u32 = 16;

impl Replacement {
    /// Checks that what is added holds what is removed; the error names the rule that is violated.
    fn check(&self) -> std::result::Result<(), String> {
        let (removed, added) = (Sums::of(&self.removed)?, Sums::of(&self.added)?);
        let without = self.without;
        let expected = Sums {
            records: removed
                .records
                .checked_sub(without.records)
                .ok_or("more records are left out than there are")?,
            content_digest: removed.content_digest.wrapping_sub(without.content_digest),
            ..removed
        };
        let same_types = match without.records {
            0 => expected.types == added.types,
            // All records of a type may be gone. That the others have theirs is what the digest says.
            _ => is_subsequence(&added.types, &expected.types),
        };
        let expected = (expected.offsets, expected.records, expected.content_digest);
        let found = (added.offsets, added.records, added.content_digest);
        if expected != found || !same_types {
            return Err(format!(
                "the segments that replace others have offsets, records and digest {found:?}, and those that go {expected:?}"
            ));
        }
        Ok(())
    }
}

fn is_subsequence(some: &[TimestampType], all: &[TimestampType]) -> bool {
    let mut left = all.iter();
    some.iter().all(|one| left.any(|it| it == one))
}

/// What segments that follow each other hold together.
struct Sums {
    offsets: (i64, i64),
    records: u64,
    content_digest: u128,
    /// The timestamp types of their records, each once where it changes.
    types: Vec<TimestampType>,
}

impl Sums {
    fn of(segments: &[SegmentEntry]) -> std::result::Result<Sums, String> {
        let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
            return Err("no segment is replaced, or none takes its place".to_owned());
        };
        let mut at = first.base_offset;
        let (mut records, mut content_digest) = (0_u64, 0_u128);
        for segment in segments {
            segment.check()?;
            if segment.base_offset != at {
                let base = segment.base_offset;
                return Err(format!("a segment begins at offset {base}, not at {at}"));
            }
            at = segment.end_offset;
            records = records.saturating_add(segment.records);
            let digest = u128::from_be_bytes(segment.content_digest.0);
            content_digest = content_digest.wrapping_add(digest);
        }
        // The type is part of each record's digest; a segment without records has no digest to tell it.
        let with_records = segments.iter().filter(|it| it.records > 0);
        let mut types: Vec<TimestampType> = with_records.map(|it| it.timestamp_type).collect();
        types.dedup();
        Ok(Sums {
            offsets: (first.base_offset, last.end_offset),
            records,
            content_digest,
            types,
        })
    }
}

/// A partition as it was read, and as a commit makes it.
struct Planned {
    before: PartitionState,
    segments: Vec<SegmentEntry>,
    removed_records: u64,
}

impl Repository {
    /// Replaces segments by one commit. `read_after` is the sequence of the newest snapshot before any of the new ones was written.
    ///
    /// Whatever other runs have committed since stays: what they appended, and what they expired. A replacement of segments that are no longer
    /// there is left out.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Refused`] where a replacement would lose something, [`RepoErrorKind::Pruned`] where a prune has deleted what it
    /// names or is going to, [`RepoErrorKind::Contended`], or the error of the store.
    pub async fn replace(
        &self,
        replacements: &[Replacement],
        read_after: u64,
        upkeep: &Upkeep,
    ) -> Result<Replaced> {
        for replacement in replacements {
            let id = &replacement.id;
            let checked = replacement.check();
            checked.map_err(|detail| self.refused_replacement(id, &detail))?;
        }
        for _ in 0..TRIES {
            match self.replace_once(replacements, read_after, upkeep).await {
                // Another commit came between the reading and the writing.
                Err(error) if *error.kind() == RepoErrorKind::Outdated => {}
                done => return done,
            }
        }
        let contended = RepoErrorKind::Contended { tries: TRIES };
        Err(self.store().error_of_whole(contended))
    }

    async fn replace_once(
        &self,
        replacements: &[Replacement],
        read_after: u64,
        upkeep: &Upkeep,
    ) -> Result<Replaced> {
        let mut replaced = Replaced::default();
        let Some(newest) = self.latest().await? else {
            replaced.outdated = (0..replacements.len()).collect();
            return Ok(replaced);
        };
        let mut planned: HashMap<PartitionId, Planned> = HashMap::new();
        let mut change = SegmentChange {
            read_after,
            ..SegmentChange::default()
        };
        for (at, replacement) in replacements.iter().enumerate() {
            let id = &replacement.id;
            if !planned.contains_key(id) {
                let Some(state) = newest.partition(id) else {
                    replaced.outdated.push(at);
                    continue;
                };
                let partition = Planned {
                    before: state.clone(),
                    segments: self.segments(&newest, id, state).await?,
                    removed_records: 0,
                };
                planned.insert(id.clone(), partition);
            }
            let done = planned.get_mut(id).is_some_and(|it| it.apply(replacement));
            if !done {
                replaced.outdated.push(at);
                continue;
            }
            let is_kept = |entry: &SegmentEntry| {
                let mut added = replacement.added.iter();
                added.any(|it| it.base_offset == entry.base_offset)
            };
            let gone = replacement.removed.iter().filter(|entry| !is_kept(entry));
            let gone = gone.map(|entry| RowKey::segment(id.clone(), entry.base_offset));
            change.removed.extend(gone);
            let added = replacement.added.iter();
            change
                .added
                .extend(added.map(|entry| (id.clone(), entry.clone())));
        }
        if change.added.is_empty() {
            return Ok(replaced);
        }
        let committed = self.commit_states(upkeep, &change, |sequence, topics| {
            let mut left = planned.len();
            for topic in topics {
                let ids: Vec<PartitionId> = topic
                    .partitions
                    .iter()
                    .map(|state| topic.partition_id(state.partition))
                    .collect();
                for (id, state) in ids.iter().zip(&mut topic.partitions) {
                    if let Some(partition) = planned.get(id) {
                        partition.edit(state, sequence, upkeep)?;
                        left = left.saturating_sub(1);
                    }
                }
            }
            match left {
                0 => Ok(()),
                _ => Err(RepoErrorKind::Outdated),
            }
        });
        replaced.snapshot = Some(committed.await?);
        Ok(replaced)
    }

    fn refused_replacement(&self, id: &PartitionId, detail: &str) -> RepoError {
        let detail = format!("{id}: {detail}");
        self.store()
            .error_of_whole(RepoErrorKind::Refused { detail })
    }
}

impl Planned {
    /// Puts the new segments in the place of the old ones. Returns whether these are there as they were.
    fn apply(&mut self, replacement: &Replacement) -> bool {
        let Some(first) = replacement.removed.first() else {
            return false;
        };
        let start = self
            .segments
            .partition_point(|it| it.base_offset < first.base_offset);
        let end = start.saturating_add(replacement.removed.len());
        if self.segments.get(start..end) != Some(replacement.removed.as_slice()) {
            return false;
        }
        let added = replacement.added.iter().cloned();
        self.segments.splice(start..end, added);
        self.removed_records = self
            .removed_records
            .saturating_add(replacement.without.records);
        true
    }

    /// Makes of the partition's row what it states once the segments are replaced.
    fn edit(
        &self,
        state: &mut PartitionState,
        sequence: u64,
        upkeep: &Upkeep,
    ) -> std::result::Result<(), RepoErrorKind> {
        if *state != self.before {
            return Err(RepoErrorKind::Outdated);
        }
        state.replace(&self.segments, sequence);
        if self.removed_records > 0 {
            let so_far = state.compacted_records();
            state.compacted = Some(Box::new(Compacted {
                records: so_far.saturating_add(self.removed_records),
                snapshot: sequence,
                at: upkeep.now,
                policy: upkeep.detail.clone(),
            }));
        }
        Ok(())
    }
}
