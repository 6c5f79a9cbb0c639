//! Which segments of a partition are merged.

use std::ops::Range;

use kbk_format::repo::SegmentEntry;

/// A segment of a partition, and what may become of it.
#[derive(Clone, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) entry: &'a SegmentEntry,
    /// Whether it may be merged at all: it is old enough, and intact as far as that is known.
    pub(super) eligible: bool,
    /// Whether nothing but its size speaks for writing it anew.
    pub(super) done: bool,
    /// About how many of its bytes remain.
    pub(super) bytes: u64,
}

/// Returns the groups of segments that are merged into one each, of about `target` bytes at most, in order. Each segment is in one or none.
///
/// A segment of at least half the target stays as it is, if it is done; so does one at either end of a group that is larger than all others
/// of it together: a run per day would otherwise write the same large segment every day. So each record is written anew about as many times as
/// segments double until they are large.
pub(super) fn groups(candidates: &[Candidate<'_>], target: u64) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut group = 0..0;
    let mut bytes = 0_u64;
    for (at, candidate) in candidates.iter().enumerate() {
        let stays = !candidate.eligible || candidate.done && candidate.bytes >= target / 2;
        let joins = group.end == at
            && !group.is_empty()
            && is_same_type(candidates, at)
            && bytes.saturating_add(candidate.bytes) <= target;
        if stays || !joins {
            groups.push(std::mem::replace(&mut group, at..at));
            bytes = 0;
        }
        if !stays {
            group.end = at.saturating_add(1);
            bytes = bytes.saturating_add(candidate.bytes);
        }
    }
    groups.push(group);
    let trimmed = groups.into_iter().map(|group| trim(candidates, group));
    trimmed.filter(|group| !group.is_empty()).collect()
}

/// Returns the groups of the candidates in a range.
pub(super) fn within(
    candidates: &[Candidate<'_>],
    range: Range<usize>,
    target: u64,
) -> Vec<Range<usize>> {
    let start = range.start;
    let found = groups(candidates.get(range).unwrap_or_default(), target);
    let moved =
        |group: Range<usize>| group.start.saturating_add(start)..group.end.saturating_add(start);
    found.into_iter().map(moved).collect()
}

fn is_same_type(candidates: &[Candidate<'_>], at: usize) -> bool {
    let of = |at: usize| candidates.get(at).map(|it| it.entry.timestamp_type);
    at.checked_sub(1).is_some_and(|before| of(before) == of(at))
}

/// Leaves out segments that are not worth it.
fn trim(candidates: &[Candidate<'_>], mut group: Range<usize>) -> Range<usize> {
    let of = |group: &Range<usize>| candidates.get(group.clone()).unwrap_or_default();
    let outweighs = |one: &Candidate<'_>, group: &Range<usize>| {
        let all: u64 = of(group).iter().map(|it| it.bytes).sum();
        one.done && one.bytes > all.saturating_sub(one.bytes)
    };
    while of(&group).first().is_some_and(|it| outweighs(it, &group)) {
        group.start = group.start.saturating_add(1);
    }
    while of(&group).last().is_some_and(|it| outweighs(it, &group)) {
        group.end = group.end.saturating_sub(1);
    }
    let alone = group.len() == 1 && of(&group).iter().all(|it| it.done);
    if alone || group.is_empty() {
        return 0..0;
    }
    group
}

#[cfg(test)]
mod tests {
    use kbk_format::TimestampType;
    use kbk_format::repo::{Hex, Id, SegmentHash};

    use super::*;

    fn entry(size: u64, timestamp_type: TimestampType) -> SegmentEntry {
        SegmentEntry {
            key: String::new(),
            segment_id: Id::random(),
            size,
            footer_position: 1,
            blake3: SegmentHash(Hex([0; 32])),
            base_offset: 0,
            end_offset: 1,
            min_timestamp: Some(0),
            max_timestamp: 0,
            min_known_timestamp: Some(0),
            records: 1,
            raw_bytes: 1,
            timestamp_type,
            content_digest: Some(Hex([0; 16])),
            rendered: None,
            whole_lines: None,
            key_filter: false,
            batches: false,
        }
    }

    /// Sizes; below 0 for one that is not done, and 0 for one that may not be merged.
    fn found(sizes: &[i64]) -> Vec<(usize, usize)> {
        let entries: Vec<SegmentEntry> = sizes
            .iter()
            .map(|size| entry(size.unsigned_abs(), TimestampType::CreateTime))
            .collect();
        let candidates: Vec<Candidate<'_>> = entries
            .iter()
            .zip(sizes)
            .map(|(entry, size)| Candidate {
                entry,
                eligible: *size != 0,
                done: *size > 0,
                bytes: entry.size,
            })
            .collect();
        let groups = groups(&candidates, 100).into_iter();
        groups.map(|group| (group.start, group.end)).collect()
    }

    #[test]
    fn small_segments_are_merged_up_to_the_target() {
        for (sizes, expected) in [
            (&[][..], &[][..]),
            (&[10], &[]),
            (&[10, 10], &[(0, 2)]),
            (&[50, 10, 10], &[(1, 3)]),
            (&[10, 10, 50], &[(0, 2)]),
            (&[10, 10, 60, 5, 5], &[(0, 2), (3, 5)]),
            (&[40, 40, 40, 40], &[(0, 2), (2, 4)]),
            (&[10, 0, 10, 10], &[(2, 4)]),
            // Not worth it: a large one would be written anew for a small one.
            (&[40, 10], &[]),
            (&[40, 10, 10], &[(1, 3)]),
            (&[40, 20, 20], &[(0, 3)]),
            (&[10, 10, 45], &[(0, 2)]),
            // These are written anew in any case.
            (&[-10], &[(0, 1)]),
            (&[-90, -90], &[(0, 1), (1, 2)]),
            (&[-120, 60, -10], &[(0, 1), (2, 3)]),
            (&[-40, 40], &[(0, 2)]),
        ] {
            assert_eq!(found(sizes), expected, "{sizes:?}");
        }
    }

    #[test]
    fn timestamp_types_are_not_mixed() {
        let types = [0, 0, 1, 1, 0];
        let entries = types.map(|kind| {
            let kind = match kind {
                0 => TimestampType::CreateTime,
                _ => TimestampType::LogAppendTime,
            };
            entry(10, kind)
        });
        let candidates: Vec<Candidate<'_>> = entries
            .iter()
            .map(|entry| Candidate {
                entry,
                eligible: true,
                done: true,
                bytes: 10,
            })
            .collect();
        assert_eq!(groups(&candidates, 100), [0..2, 2..4]);
    }
}
