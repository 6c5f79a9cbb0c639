//! What a verified snapshot has, as ranges to draw: of each partition the offsets and the times that are covered, unread, expired, lost, missing or
//! damaged.
//!
//! Ranges are sampled as cells, each of which shows the worst of what it holds, so that a picture has a bounded size and damage of one offset is seen.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use kbk_format::PartitionNumber;
use kbk_format::repo::{
    LostRange, PartitionId, PartitionState, RepoError, Repository, SegmentEntry, Snapshot,
    TopicState,
};

use super::finding::{Finding, FindingKind, Severity};
use super::{VerifyDepth, VerifyOptions, VerifyReport};

/// What a range is. The greater covers the others in a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// Stored, and nothing was found wrong at the depth of the verification.
    Covered,
    /// Stored according to the index, and not read by the verification.
    Unread,
    /// Removed by its age.
    Expired,
    /// Deleted in the cluster before it was read.
    Lost,
    /// The cluster had it, and the snapshot states that it lacks it.
    Missing,
    /// Damaged, or gone from the repository.
    Damaged,
}

impl Mark {
    /// All marks.
    pub const ALL: [Mark; 6] = [
        Mark::Covered,
        Mark::Unread,
        Mark::Expired,
        Mark::Lost,
        Mark::Missing,
        Mark::Damaged,
    ];

    /// Returns what a finding makes of the offsets that it is about.
    fn of(kind: FindingKind) -> Mark {
        match kind {
            FindingKind::DeletedBeforeRead => Mark::Lost,
            FindingKind::Incomplete => Mark::Missing,
            _ => Mark::Damaged,
        }
    }
}

/// A range with a mark: offsets, or milliseconds since 1970, with an exclusive end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The range.
    pub range: Range<i64>,
    /// What it is.
    pub mark: Mark,
}

/// A topic of the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPicture {
    /// Its name.
    pub name: String,
    /// The id of its history.
    pub topic_id: String,
    /// Whether another history of the same name counts now.
    pub replaced: bool,
    /// Whether the cluster has deleted it.
    pub deleted: bool,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionPicture>,
}

/// A partition of the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionPicture {
    /// Its number.
    pub partition: PartitionNumber,
    /// The number of its records.
    pub records: u64,
    /// The length of its segments.
    pub stored_bytes: u64,
    /// Its offsets.
    pub offsets: Vec<Span>,
    /// The times of its records, by segment. Lost records between two segments are drawn between the times of these.
    pub times: Vec<Span>,
    /// The number of records that were removed since later ones have the same keys, or as old tombstones.
    pub compacted_records: u64,
    /// The number of findings about it.
    pub findings: usize,
}

/// Draws the newest of the verified snapshots that can be read.
///
/// # Errors
///
/// If none of them can be read.
pub async fn pictures(
    repository: &Repository,
    options: &VerifyOptions,
    report: &VerifyReport,
) -> Result<Vec<TopicPicture>, RepoError> {
    let sequence = options.snapshots.last().copied().unwrap_or_default();
    let snapshot = repository.snapshot(sequence).await?;
    let mut findings: HashMap<(&str, &str, PartitionNumber), Vec<&Finding>> = HashMap::new();
    for finding in &report.findings {
        if let (Some(topic), Some(id), Some(partition)) =
            (&finding.topic, &finding.topic_id, finding.partition)
        {
            findings
                .entry((topic, id, partition))
                .or_default()
                .push(finding);
        }
    }
    let reads_segments = options.depth > VerifyDepth::Index;
    let mut topics = Vec::new();
    for topic in &snapshot.topics {
        let selected = options.topics.as_ref();
        if selected.is_some_and(|it| !it.contains(&(topic.name.clone(), topic.topic_id))) {
            continue;
        }
        let topic_id = topic.topic_id.to_string();
        let mut partitions = Vec::new();
        for state in &topic.partitions {
            let of_it = findings.get(&(&*topic.name, &*topic_id, state.partition));
            let of_it = of_it.map_or(&[][..], Vec::as_slice);
            let is_read =
                |entry: &SegmentEntry| reads_segments && report.read.contains(entry.segment_id);
            let picture = partition(repository, &snapshot, topic, state, of_it, is_read).await;
            partitions.push(picture);
        }
        topics.push(TopicPicture {
            name: topic.name.to_string(),
            replaced: snapshot.replaced_in(topic).is_some(),
            deleted: topic.deleted,
            topic_id,
            partitions,
        });
    }
    Ok(topics)
}

async fn partition(
    repository: &Repository,
    snapshot: &Snapshot,
    topic: &TopicState,
    state: &PartitionState,
    findings: &[&Finding],
    is_read: impl Fn(&SegmentEntry) -> bool,
) -> PartitionPicture {
    let id: PartitionId = topic.partition_id(state.partition);
    let all = state.base_offset..state.end_offset;
    let entries = repository.segments(snapshot, &id, state).await;
    let (mut offsets, mut times) = match &entries {
        Ok(entries) => segments(entries, findings, &state.lost, is_read),
        // Which segments there are is not known: the finding about it says why.
        Err(_) => (vec![span(all.clone(), Mark::Damaged)], Vec::new()),
    };
    if let Some(expired) = state.expired_offsets() {
        offsets.push(span(expired.base_offset..expired.end_offset, Mark::Expired));
    }
    offsets.extend(state.lost.iter().map(lost_span));
    if state.incomplete.is_some() && !state.is_damaged() {
        offsets.push(span(state.end_offset..state.high_watermark, Mark::Missing));
    }
    for finding in findings {
        let range = match finding.offsets {
            Some(offsets) => offsets.base_offset..offsets.end_offset,
            None if finding.kind == FindingKind::Incomplete => continue,
            None => all.clone(),
        };
        offsets.push(span(range, Mark::of(finding.kind)));
    }
    offsets.retain(|span| !span.range.is_empty());
    times.extend(between(&entries.unwrap_or_default(), &offsets));
    PartitionPicture {
        partition: state.partition,
        records: state.records,
        stored_bytes: state.stored_bytes,
        offsets,
        times,
        compacted_records: state.compacted_records(),
        findings: findings
            .iter()
            .filter(|finding| finding.severity != Severity::Accepted)
            .count(),
    }
}

fn span(range: Range<i64>, mark: Mark) -> Span {
    Span { range, mark }
}

fn lost_span(lost: &LostRange) -> Span {
    let mark = match lost.is_damaged() {
        true => Mark::Damaged,
        false => Mark::Lost,
    };
    span(lost.from..lost.to, mark)
}

/// Returns the offsets and the times of segments. A segment that a finding names, or within which offsets are lost, has its times marked as a whole:
/// which of them are affected is not known.
fn segments(
    entries: &[SegmentEntry],
    findings: &[&Finding],
    lost: &[LostRange],
    is_read: impl Fn(&SegmentEntry) -> bool,
) -> (Vec<Span>, Vec<Span>) {
    let mut marks: BTreeMap<&str, Mark> = BTreeMap::new();
    for finding in findings {
        if let Some(key) = finding.key.as_deref() {
            let mark = marks.entry(key).or_insert(Mark::Covered);
            *mark = (*mark).max(Mark::of(finding.kind));
        }
    }
    let (mut offsets, mut times) = (Vec::new(), Vec::new());
    for entry in entries {
        let covered = entry.base_offset..entry.end_offset;
        let stored = match is_read(entry) {
            true => Mark::Covered,
            false => Mark::Unread,
        };
        let lost = lost.iter().map(lost_span);
        let lost = lost.filter(|lost| overlap(&lost.range, &covered));
        let found = marks.get(&*entry.key).copied();
        let worst = lost.map(|lost| lost.mark).chain(found).max();
        offsets.push(span(covered.clone(), stored));
        if let Some(first) = first_drawn(entry)
            && first <= entry.max_timestamp
        {
            let mark = worst.map_or(stored, |worst| worst.max(stored));
            times.push(span(first..entry.max_timestamp.saturating_add(1), mark));
        }
    }
    (offsets, times)
}

/// Returns the time that a segment is drawn from: of one that is not computed, only its largest one is known.
fn first_drawn(entry: &SegmentEntry) -> Option<i64> {
    match entry.is_computed() {
        true => entry.min_known_timestamp,
        false => (entry.records > 0 && entry.max_timestamp != -1).then_some(entry.max_timestamp),
    }
}

/// Returns where the times of lost records were: between those of the segments that have the records before and after them. Within one segment, they
/// are among its times; and where there is no record on one side, nothing is known of them.
fn between(entries: &[SegmentEntry], offsets: &[Span]) -> Vec<Span> {
    // A segment without records, which a recovery leaves of one that is gone, has no times either.
    let dated = entries.iter().filter(|entry| first_drawn(entry).is_some());
    let dated: Vec<&SegmentEntry> = dated.collect();
    let lost = offsets
        .iter()
        .filter(|it| matches!(it.mark, Mark::Lost | Mark::Damaged));
    let times = lost.filter_map(|lost| {
        let before = dated.partition_point(|entry| entry.base_offset < lost.range.start);
        let after = dated.partition_point(|entry| entry.end_offset <= lost.range.end);
        let before = before.checked_sub(1).filter(|before| *before != after)?;
        let start = dated.get(before)?.max_timestamp;
        let end = first_drawn(dated.get(after)?)?;
        Some(span(start..end.max(start.saturating_add(1)), lost.mark))
    });
    times.collect()
}

fn overlap(one: &Range<i64>, other: &Range<i64>) -> bool {
    one.start < other.end && other.start < one.end
}

/// Samples spans as this many cells of `within`, and joins equal neighbours: (first cell, number of cells, mark), in order.
#[must_use]
pub fn cells(spans: &[Span], within: &Range<i64>, cells: usize) -> Vec<(usize, usize, Mark)> {
    let length = i128::from(within.end) - i128::from(within.start);
    if length <= 0 || cells == 0 {
        return Vec::new();
    }
    let mut row: Vec<Option<Mark>> = vec![None; cells];
    let count = cells as i128;
    let at = |value: i64| (i128::from(value) - i128::from(within.start)) * count;
    for Span { range, mark } in spans {
        let first = at(range.start).div_euclid(length).clamp(0, count - 1);
        // Rounded up, so that the smallest range has a cell.
        let end = (at(range.end) + length - 1)
            .div_euclid(length)
            .clamp(first + 1, count);
        let first = usize::try_from(first).unwrap_or_default();
        let end = usize::try_from(end).unwrap_or_default();
        for cell in row.get_mut(first..end).unwrap_or_default() {
            *cell = (*cell).max(Some(*mark));
        }
    }
    let mut joined: Vec<(usize, usize, Mark)> = Vec::new();
    for (at, mark) in row.into_iter().enumerate() {
        let Some(mark) = mark else { continue };
        match joined.last_mut() {
            Some((first, length, last)) if *last == mark && *first + *length == at => *length += 1,
            _ => joined.push((at, 1, mark)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use kbk_format::TimestampType;
    use kbk_format::repo::{Hex, SegmentHash};

    use super::*;

    #[test]
    fn the_worst_of_a_cell_is_shown_and_nothing_is_too_small() {
        let spans = [
            span(0..1_000_000, Mark::Covered),
            span(500_000..500_001, Mark::Damaged),
            span(999_999..1_000_000, Mark::Lost),
        ];
        let cells = cells(&spans, &(0..1_000_000), 10);
        assert_eq!(
            cells,
            [
                (0, 5, Mark::Covered),
                (5, 1, Mark::Damaged),
                (6, 3, Mark::Covered),
                (9, 1, Mark::Lost),
            ]
        );
    }

    #[test]
    fn any_range_is_within_its_cells() {
        // A range from damaged rows may be reversed.
        let reversed = |start, end| Range { start, end };
        for within in [0..1, -5..5, i64::MIN..i64::MAX, 7..7, reversed(9, 3)] {
            for range in [
                0..0,
                i64::MIN..i64::MAX,
                -3..2,
                i64::MAX - 1..i64::MAX,
                reversed(5, 1),
            ] {
                for count in [0, 1, 3, 200] {
                    let found = cells(&[span(range.clone(), Mark::Lost)], &within, count);
                    let mut last = 0;
                    for (first, length, _) in found {
                        assert!(first >= last && length > 0 && first + length <= count);
                        last = first + length;
                    }
                }
            }
        }
    }

    /// Returns the row of a segment; without records where it has no times.
    fn entry(offsets: Range<i64>, times: Option<Range<i64>>) -> SegmentEntry {
        SegmentEntry {
            key: format!("data/{}", offsets.start),
            segment_id: Hex([0; 16]),
            size: 1,
            footer_position: 1,
            blake3: SegmentHash(Hex([0; 32])),
            base_offset: offsets.start,
            end_offset: offsets.end,
            min_timestamp: Some(times.as_ref().map_or(i64::MAX, |times| times.start)),
            max_timestamp: times.as_ref().map_or(i64::MIN, |times| times.end - 1),
            min_known_timestamp: times.map(|times| times.start),
            records: 1,
            raw_bytes: 1,
            timestamp_type: TimestampType::CreateTime,
            content_digest: Some(Hex([0; 16])),
            rendered: None,
            whole_lines: None,
            key_filter: false,
            batches: false,
        }
    }

    #[test]
    fn times_of_lost_records_are_drawn_where_they_were() {
        let entries = [
            entry(0..10, Some(1_000..2_000)),
            entry(10..15, None),
            entry(20..30, Some(3_000..4_000)),
            // Late records: it begins before the one before it ends.
            entry(40..50, Some(3_500..5_000)),
        ];
        let lost = [
            span(12..20, Mark::Damaged),
            span(30..40, Mark::Lost),
            // Where a segment begins, and where one ends.
            span(20..22, Mark::Damaged),
            span(28..30, Mark::Damaged),
            // Within a segment, before all, and after all.
            span(22..23, Mark::Damaged),
            span(-5..0, Mark::Lost),
            span(50..60, Mark::Damaged),
            span(12..20, Mark::Expired),
        ];
        let expected = [
            span(1_999..3_000, Mark::Damaged),
            span(3_999..4_000, Mark::Lost),
            span(1_999..3_000, Mark::Damaged),
            span(3_999..4_000, Mark::Damaged),
        ];
        assert_eq!(between(&entries, &lost), expected);

        let within = [LostRange::deleted(22, 23)];
        let (offsets, times) = segments(&entries, &[], &within, |entry| entry.base_offset < 40);
        let marks = |spans: &[Span]| spans.iter().map(|span| span.mark).collect::<Vec<_>>();
        let (covered, unread) = (Mark::Covered, Mark::Unread);
        assert_eq!(marks(&offsets), [covered, covered, covered, unread]);
        assert_eq!(marks(&times), [covered, Mark::Lost, unread]);
    }
}
