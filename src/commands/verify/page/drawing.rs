//! Partitions as SVG: a row for each, its offsets or its times from left to right.

use std::ops::Range;

use kbk_tools::verify::{Mark, PartitionPicture, Span, TopicPicture, cells};

use super::push;
use super::text::Escaped;
use crate::human;

/// The width of a picture, and of the numbers at its left, in pixels.
const WIDTH: usize = 530;
const LABELS: usize = 36;

/// How pictures are drawn.
pub(super) struct Drawing {
    /// How many cells a row has.
    cells: usize,
}

/// Returns the class of a mark in the style sheet.
pub(super) fn class(mark: Mark) -> &'static str {
    match mark {
        Mark::Covered => "m0",
        Mark::Unread => "m5",
        Mark::Expired => "m1",
        Mark::Lost => "m2",
        Mark::Missing => "m3",
        Mark::Damaged => "m4",
    }
}

/// Says what a mark means.
pub(super) fn words(mark: Mark) -> &'static str {
    match mark {
        Mark::Covered => "stored, nothing found at this depth",
        Mark::Unread => "stored, not read",
        Mark::Expired => "expired by age",
        Mark::Lost => "deleted before it was read",
        Mark::Missing => "not backed up yet",
        Mark::Damaged => "damaged, gone, or lost to damage",
    }
}

impl Drawing {
    /// Bounds the picture of this many partitions: fewer cells for many of them.
    pub(super) fn of(partitions: usize) -> Drawing {
        Drawing {
            cells: (200_000 / partitions.max(1)).clamp(100, 400),
        }
    }

    /// Draws the offsets of a topic.
    pub(super) fn offsets(&self, topic: &TopicPicture, out: &mut String) {
        let offsets = |partition: &PartitionPicture| partition.offsets.clone();
        let offset = |offset: i64| match u64::try_from(offset) {
            Ok(offset) => human::count(offset),
            Err(_) => offset.to_string(),
        };
        self.figure("by offset", topic, offsets, offset, out);
    }

    /// Draws the times of a topic's records.
    pub(super) fn times(&self, topic: &TopicPicture, out: &mut String) {
        let times = |partition: &PartitionPicture| partition.times.clone();
        self.figure("by time", topic, times, human::timestamp_ms, out);
    }

    fn figure(
        &self,
        what: &str,
        topic: &TopicPicture,
        spans: impl Fn(&PartitionPicture) -> Vec<Span>,
        label: impl Fn(i64) -> String,
        out: &mut String,
    ) {
        let rows: Vec<Vec<Span>> = topic.partitions.iter().map(spans).collect();
        let Some(within) = extent(&rows) else {
            push(
                out,
                format_args!("<figure><figcaption>{what}: nothing to draw</figcaption></figure>\n"),
            );
            return;
        };
        let pitch = pitch(rows.len());
        let height = rows.len() * pitch + 18;
        push(
            out,
            format_args!(
                "<figure><figcaption>{what}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {height}\" role=img aria-label=\"{} {what}\">\n",
                Escaped(&topic.name),
            ),
        );
        // A number for each row, as far as there is room.
        let step = 12usize.div_ceil(pitch);
        for (at, (spans, partition)) in rows.iter().zip(&topic.partitions).enumerate() {
            let y = at * pitch;
            if at % step == 0 {
                let (x, baseline) = (LABELS - 6, y + pitch.min(12) - 2);
                let number = partition.partition;
                push(
                    out,
                    format_args!("<text x={x} y={baseline} text-anchor=end>{number}</text>\n"),
                );
            }
            self.row(spans, partition, &within, (y, pitch), out);
        }
        let (first, last) = (label(within.start), label(within.end.saturating_sub(1)));
        let baseline = height - 4;
        push(
            out,
            format_args!(
                "<text x={LABELS} y={baseline}>{}</text><text x={WIDTH} y={baseline} text-anchor=end>{}</text>\n</svg></figure>\n",
                Escaped(&first),
                Escaped(&last),
            ),
        );
    }

    /// Draws one row: a path for each mark.
    fn row(
        &self,
        spans: &[Span],
        partition: &PartitionPicture,
        within: &Range<i64>,
        (y, pitch): (usize, usize),
        out: &mut String,
    ) {
        let height = if pitch > 4 { pitch - 2 } else { pitch };
        let width = WIDTH - LABELS;
        let joined = cells(spans, within, self.cells);
        push(
            out,
            format_args!(
                "<g><title>partition {}: {}",
                partition.partition,
                human::counted(partition.records, "record")
            ),
        );
        if partition.findings > 0 {
            push(
                out,
                format_args!(", {}", human::counted(partition.findings as u64, "finding")),
            );
        }
        push(
            out,
            format_args!(
                "</title><rect class=row x={LABELS} y={y} width={width} height={height} />"
            ),
        );
        for mark in Mark::ALL {
            let of_mark = || joined.iter().filter(|(_, _, it)| *it == mark);
            if of_mark().next().is_none() {
                continue;
            }
            push(out, format_args!("<path class={} d=\"", class(mark)));
            for (first, length, _) in of_mark() {
                let from = LABELS + first * width / self.cells;
                let to = LABELS + ((first + length) * width).div_ceil(self.cells);
                let length = (to - from).max(1);
                push(
                    out,
                    format_args!("M{from} {y}h{length}v{height}h-{length}z"),
                );
            }
            out.push_str("\" />");
        }
        out.push_str("</g>\n");
    }
}

/// Returns the height of a row with the gap below it: many rows are thin.
fn pitch(rows: usize) -> usize {
    match rows {
        0..=24 => 14,
        25..=100 => 8,
        101..=400 => 4,
        _ => 2,
    }
}

fn extent(rows: &[Vec<Span>]) -> Option<Range<i64>> {
    let all = || rows.iter().flatten();
    let start = all().map(|span| span.range.start).min()?;
    let end = all().map(|span| span.range.end).max()?;
    (start < end).then_some(start..end)
}
