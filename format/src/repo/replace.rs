//! Replaces segments by others that hold the same records, or fewer of them by keys (SPEC section 11.12), or what is left of damaged ones
//! (SPEC section 11.13).
//!
//! The commit is the last place that looks: what it takes in must cover the same offsets, with the same timestamp type, and its digests must
//! add up to those of what goes, but for records that are stated to be removed. Nothing is ever replaced by less without saying so: what a
//! recovery lost is stated by rows of the partition.

use std::collections::HashMap;

use super::commit::SegmentChange;
use super::compacted::Compacted;
use super::error::{RepoError, RepoErrorKind, Result};
use super::index::RowKey;
use super::keys::PartitionId;
use super::partition_edit::PartitionEdit;
use super::repository::Repository;
use super::retention::Upkeep;
use super::segment_entry::SegmentEntry;
use super::states::{LostRange, PartitionState};
use crate::{OffsetSpan, TimestampType};

/// Segments of a partition that follow each other, and those that take their place.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// The partition.
    pub id: PartitionId,
    /// What goes, in the order of offsets. Its objects are left to a prune.
    pub removed: Vec<SegmentEntry>,
    /// What takes its place: durable, and verified as the store returns it.
    pub added: Vec<SegmentEntry>,
    /// The content digest over the records of what goes and does not stay, where somebody computed it from these: needed where a row does not
    /// state its own.
    pub removed_digest: Option<u128>,
    /// What these do not have of those.
    pub without: RemovedRecords,
    /// What is lost of damaged ones; `None` where none was damaged.
    pub recovered: Option<Recovered>,
}

/// What a recovery found of the offsets of a replacement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The offsets whose records are lost, in order and disjoint; none where all were recovered. What earlier recoveries had lost and this one
    /// did not is no longer stated as lost.
    pub lost: Vec<OffsetSpan>,
    /// The first snapshot that is there and names what goes, or another damaged segment of the partition; `None` where what goes is intact, and
    /// something was found that it lacked.
    pub named_since: Option<u64>,
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
        if let Some(recovered) = &self.recovered {
            return recovered.check(&removed, &added);
        }
        // What is on both sides need not state a digest.
        let stays = |entry: &&SegmentEntry, other: &[SegmentEntry]| other.contains(entry);
        let gone = self.removed.iter().filter(|it| !stays(it, &self.added));
        let new = self.added.iter().filter(|it| !stays(it, &self.removed));
        let removed_digest = match (content_of(gone), self.removed_digest) {
            (Some(stated), Some(found)) if stated != found => {
                return Err(format!(
                    "the records of what goes have the digest {found:032x}, and its rows state {stated:032x}"
                ));
            }
            (stated, found) => stated.or(found),
        };
        let without = self.without;
        let found = content_of(new);
        let expected = removed_digest.map(|it| it.wrapping_sub(without.content_digest));
        if found.is_none() || found != expected {
            return Err(format!(
                "the segments that replace others have the digest {found:032x?}, and those that go {expected:032x?}"
            ));
        }
        let expected = Sums {
            records: removed
                .records
                .checked_sub(without.records)
                .ok_or("more records are left out than there are")?,
            ..removed
        };
        let same_types = match without.records {
            0 => expected.types == added.types,
            // All records of a type may be gone. That the others have theirs is what the digest says.
            _ => is_subsequence(&added.types, &expected.types),
        };
        let expected = (expected.offsets, expected.records);
        let found = (added.offsets, added.records);
        if expected != found || !same_types {
            return Err(format!(
                "the segments that replace others have offsets and records {found:?}, and those that go {expected:?}"
            ));
        }
        Ok(())
    }
}

impl Recovered {
    fn check(&self, removed: &Sums, added: &Sums) -> std::result::Result<(), String> {
        let (base, end) = removed.offsets;
        if added.offsets != removed.offsets {
            let (found, expected) = (added.offsets, removed.offsets);
            return Err(format!(
                "what was recovered covers {}, not {}",
                OffsetSpan::from(found.0..found.1),
                OffsetSpan::from(expected.0..expected.1)
            ));
        }
        let mut at = base;
        for lost in &self.lost {
            if lost.base_offset < at || lost.base_offset >= lost.end_offset || lost.end_offset > end
            {
                return Err(format!("the lost {lost} are out of order, or not covered"));
            }
            at = lost.end_offset;
        }
        // A segment that was itself recovered may have fewer records than are found now.
        let is_whole = added.records > removed.records
            || added.records == removed.records
                // Where there was no digest, every batch that was kept has proved itself.
                && removed.content_digest.is_none_or(|it| added.content_digest == Some(it));
        if self.lost.is_empty() && !is_whole {
            return Err("records are lost, and no offset is stated as lost".to_owned());
        }
        match is_subsequence(&added.types, &removed.types) || added.records > removed.records {
            true => Ok(()),
            false => Err("what was recovered has other timestamp types".to_owned()),
        }
    }

    /// Makes of the lost ranges of a partition what they are once this is known of the offsets of a replacement.
    fn apply(&self, offsets: (i64, i64), lost: &mut Vec<LostRange>) {
        let (base, end) = offsets;
        let mut stated: Vec<LostRange> = Vec::with_capacity(lost.len());
        for range in lost.drain(..) {
            if !range.is_damaged() {
                stated.push(range);
                continue;
            }
            let (before, after) = (range.to.min(base), range.from.max(end));
            let parts = [(range.from, before), (after, range.to)];
            let left = parts.into_iter().filter(|(from, to)| from < to);
            stated.extend(left.map(|(from, to)| LostRange::damaged(from, to)));
        }
        // What the source had deleted was never stored.
        let deleted: Vec<LostRange> = stated
            .iter()
            .filter(|it| !it.is_damaged())
            .copied()
            .collect();
        for found in &self.lost {
            let mut from = found.base_offset;
            let within = deleted
                .iter()
                .filter(|it| it.from < found.end_offset && it.to > found.base_offset);
            for gap in within {
                if from < gap.from {
                    stated.push(LostRange::damaged(from, gap.from));
                }
                from = from.max(gap.to);
            }
            if from < found.end_offset {
                stated.push(LostRange::damaged(from, found.end_offset));
            }
        }
        stated.sort_by_key(|range| range.from);
        *lost = stated;
    }
}

/// Returns the sum of the content digests; `None` where one was not computed.
fn content_of<'a>(segments: impl IntoIterator<Item = &'a SegmentEntry>) -> Option<u128> {
    let mut segments = segments.into_iter();
    segments.try_fold(0, |sum: u128, it| Some(sum.wrapping_add(it.content()?)))
}

fn is_subsequence(some: &[TimestampType], all: &[TimestampType]) -> bool {
    let mut left = all.iter();
    some.iter().all(|one| left.any(|it| it == one))
}

/// What segments that follow each other hold together.
struct Sums {
    offsets: (i64, i64),
    records: u64,
    /// `None` where that of one was not computed.
    content_digest: Option<u128>,
    /// The timestamp types of their records, each once where it changes.
    types: Vec<TimestampType>,
}

impl Sums {
    fn of(segments: &[SegmentEntry]) -> std::result::Result<Sums, String> {
        let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
            return Err("no segment is replaced, or none takes its place".to_owned());
        };
        let mut at = first.base_offset;
        let mut records = 0_u64;
        for segment in segments {
            segment.check()?;
            if segment.base_offset != at {
                let base = segment.base_offset;
                return Err(format!("a segment begins at offset {base}, not at {at}"));
            }
            at = segment.end_offset;
            records = records.saturating_add(segment.records);
        }
        // The type is part of each record's digest; a segment without records has no digest to tell it.
        let with_records = segments.iter().filter(|it| it.records > 0);
        let mut types: Vec<TimestampType> = with_records.map(|it| it.timestamp_type).collect();
        types.dedup();
        Ok(Sums {
            offsets: (first.base_offset, last.end_offset),
            records,
            content_digest: content_of(segments),
            types,
        })
    }
}

/// A partition as it was read, and as a commit makes it.
struct Planned {
    before: PartitionState,
    segments: Vec<SegmentEntry>,
    is_changed: bool,
    removed_records: u64,
    /// The offsets of what was recovered, and what is lost of them.
    recovered: Vec<((i64, i64), Recovered)>,
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
                    is_changed: false,
                    removed_records: 0,
                    recovered: Vec::new(),
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
        // A partition of which nothing is replaced is as it was.
        planned.retain(|_, partition| partition.is_changed);
        let committed = self.commit_states(upkeep, &change, &planned);
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
        self.is_changed = true;
        if let (Some(recovered), Some(last)) = (&replacement.recovered, replacement.removed.last())
        {
            let offsets = (first.base_offset, last.end_offset);
            self.recovered.push((offsets, recovered.clone()));
        }
        self.removed_records = self
            .removed_records
            .saturating_add(replacement.without.records);
        true
    }
}

impl PartitionEdit for Planned {
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
        for (offsets, recovered) in &self.recovered {
            recovered.apply(*offsets, &mut state.lost);
            if let Some(first) = recovered.named_since {
                // All that name it are older than this commit.
                let last = sequence.saturating_sub(1);
                state
                    .damaged_in
                    .record(first.clamp(1, last.max(1)), last.max(1));
            }
        }
        state.state_damage();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(ranges: &[(i64, i64)]) -> Vec<OffsetSpan> {
        let spans = ranges.iter().map(|(from, to)| (*from..*to).into());
        spans.collect()
    }

    #[test]
    fn damaged_ranges_become_those_that_were_found_and_deleted_ones_stay() {
        let deleted = |from, to| LostRange::deleted(from, to);
        let damaged = |from, to| LostRange::damaged(from, to);
        for (before, found, expected) in [
            (vec![], &[(12, 15)][..], vec![damaged(12, 15)]),
            (
                vec![deleted(0, 3), damaged(4, 5), damaged(21, 22)],
                &[(10, 11), (19, 20)],
                vec![
                    deleted(0, 3),
                    damaged(4, 5),
                    damaged(10, 11),
                    damaged(19, 20),
                    damaged(21, 22),
                ],
            ),
            // What was filled is no longer lost.
            (
                vec![damaged(12, 15), damaged(17, 20)],
                &[(18, 19)],
                vec![damaged(18, 19)],
            ),
            (
                vec![damaged(8, 12), damaged(18, 25)],
                &[],
                vec![damaged(8, 10), damaged(20, 25)],
            ),
            // What the source had deleted was never stored.
            (
                vec![deleted(11, 13), deleted(15, 16)],
                &[(10, 18)],
                vec![
                    damaged(10, 11),
                    deleted(11, 13),
                    damaged(13, 15),
                    deleted(15, 16),
                    damaged(16, 18),
                ],
            ),
        ] {
            let mut lost = before.clone();
            let recovered = Recovered {
                lost: spans(found),
                named_since: None,
            };
            recovered.apply((10, 20), &mut lost);
            assert_eq!(lost, expected, "{before:?} {found:?}");
        }
    }

    #[test]
    fn less_is_taken_only_where_it_is_stated_as_lost() {
        let sums = |records, content_digest| Sums {
            offsets: (10, 20),
            records,
            content_digest: Some(content_digest),
            types: vec![TimestampType::CreateTime],
        };
        let check = |lost: &[(i64, i64)], added: Sums| {
            let recovered = Recovered {
                lost: spans(lost),
                named_since: None,
            };
            recovered.check(&sums(5, 7), &added)
        };
        assert_eq!(check(&[], sums(5, 7)), Ok(()));
        assert_eq!(check(&[(12, 13)], sums(4, 3)), Ok(()));
        // An earlier recovery had lost some of it.
        assert_eq!(check(&[], sums(6, 9)), Ok(()));
        assert!(check(&[], sums(4, 3)).is_err());
        assert!(check(&[], sums(5, 8)).is_err());
        for lost in [
            &[(9, 12)][..],
            &[(12, 21)],
            &[(13, 13)],
            &[(14, 16), (15, 17)],
        ] {
            assert!(check(lost, sums(4, 3)).is_err(), "{lost:?}");
        }
        let other = Sums {
            offsets: (10, 19),
            ..sums(5, 7)
        };
        assert!(check(&[], other).is_err());
    }
}
