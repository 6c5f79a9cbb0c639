//! Divides the offsets that two snapshots cover into spans that can be compared by the digests of whole segments. No I/O.

use std::ops::Range;

use kbk_format::TimestampType;
use kbk_format::repo::SegmentEntry;

/// Offsets that both snapshots cover, and what their rows say of the records there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) offsets: Range<i64>,
    pub(super) rows: Rows,
}

/// How the rows of both snapshots compare over a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    /// They name objects with the same hash.
    SameObjects { records: u64 },
    /// Other objects, whose records have the same digest.
    SameDigest { records: u64 },
    /// Their digests differ.
    OtherDigest,
    /// One of them does not state its digest.
    NotComputed,
    /// A segment of one of them reaches beyond the span, so its digest says nothing.
    Cut,
}

/// Divides `common`, the offsets that both `a` and `b` cover. The segments of each are in offset order and cover it without holes.
pub(super) fn spans(a: &[SegmentEntry], b: &[SegmentEntry], common: Range<i64>) -> Vec<Span> {
    let mut points = shared_bounds(a, b, &common);
    points.retain(|point| common.contains(point) || *point == common.end);
    let cut_at_start = points.first() != Some(&common.start);
    let cut_at_end = points.last() != Some(&common.end);
    let mut bounds = points;
    if cut_at_start {
        bounds.insert(0, common.start);
    }
    if cut_at_end && bounds.last() != Some(&common.end) {
        bounds.push(common.end);
    }
    let last = bounds.len().saturating_sub(2);
    let windows = bounds.windows(2).enumerate();
    let spans = windows.filter_map(|(number, bounds)| {
        let offsets = *bounds.first()?..*bounds.last()?;
        let is_cut = (number == 0 && cut_at_start) || (number == last && cut_at_end);
        let rows = match is_cut {
            true => Rows::Cut,
            false => compare(within(a, &offsets), within(b, &offsets)),
        };
        Some(Span { offsets, rows })
    });
    spans.collect()
}

/// Returns the type of the timestamp of the record at an offset.
pub(super) fn timestamp_type_at(segments: &[SegmentEntry], offset: i64) -> Option<TimestampType> {
    let after = segments.partition_point(|segment| segment.base_offset <= offset);
    let segment = after.checked_sub(1).and_then(|at| segments.get(at));
    segment.map(|segment| segment.timestamp_type)
}

/// Returns the offsets at which segments of both begin or end.
fn shared_bounds(a: &[SegmentEntry], b: &[SegmentEntry], common: &Range<i64>) -> Vec<i64> {
    let of = |segments: &[SegmentEntry]| -> Vec<i64> {
        let first = segments.first().map(|segment| segment.base_offset);
        let ends = segments.iter().map(|segment| segment.end_offset);
        first.into_iter().chain(ends).collect()
    };
    let of_b = of(b);
    let mut shared = of(a);
    shared.retain(|bound| of_b.binary_search(bound).is_ok());
    shared.retain(|bound| *bound >= common.start && *bound <= common.end);
    shared
}

/// Returns the segments within a span.
fn within<'a>(segments: &'a [SegmentEntry], offsets: &Range<i64>) -> &'a [SegmentEntry] {
    let from = segments.partition_point(|segment| segment.base_offset < offsets.start);
    let to = segments.partition_point(|segment| segment.end_offset <= offsets.end);
    segments.get(from..to).unwrap_or_default()
}

fn compare(a: &[SegmentEntry], b: &[SegmentEntry]) -> Rows {
    let records = |segments: &[SegmentEntry]| {
        let counts = segments.iter().map(|segment| segment.records);
        counts.fold(0, u64::saturating_add)
    };
    let digest = |segments: &[SegmentEntry]| {
        let mut segments = segments.iter();
        segments.try_fold(0, |sum: u128, it| Some(sum.wrapping_add(it.content()?)))
    };
    let objects = |segments: &'_ [SegmentEntry]| -> Vec<_> {
        segments.iter().map(|segment| segment.blake3).collect()
    };
    if objects(a) == objects(b) {
        let records = records(a);
        return Rows::SameObjects { records };
    }
    match (digest(a), digest(b)) {
        (Some(of_a), Some(of_b)) if of_a == of_b && records(a) == records(b) => Rows::SameDigest {
            records: records(a),
        },
        (Some(_), Some(_)) => Rows::OtherDigest,
        _ => Rows::NotComputed,
    }
}
