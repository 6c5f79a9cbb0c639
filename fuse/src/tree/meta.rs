//! `meta.json` of a partition.

use jiff::Timestamp;
use kbk_format::render::View;
use kbk_format::repo::{Incomplete, PartitionState};
use kbk_format::{OffsetSpan, PartitionNumber};
use serde::Serialize;

use super::document::json;
use crate::content::findings::Finding;
use crate::content::pages::{PartitionIndex, UnreadableText};
use crate::content::snapshot::Partition;

#[derive(Serialize)]
struct MetaJson<'a> {
    topic: &'a str,
    topic_id: String,
    partition: PartitionNumber,
    snapshot: u64,
    log_start_offset: i64,
    high_watermark: i64,
    last_stable_offset: i64,
    /// Why records are missing that the source had; null if none is.
    incomplete: Option<&'a Incomplete>,
    /// Removed before `base_offset` by the age of its records; null where nothing was.
    expired: Option<ExpiredJson<'a>>,
    base_offset: i64,
    end_offset: i64,
    records: u64,
    gaps: GapsJson,
    min_timestamp: Option<i64>,
    max_timestamp: Option<i64>,
    segments: u64,
    stored_bytes: u64,
    raw_bytes: u64,
    rendered_bytes: Option<RenderedJson>,
    /// Number of segments that do not state the length of their text, which this mount has computed by decoding them.
    not_computed_segments: u64,
    /// What could not be decoded to compute the length of its text: each file has a range that cannot be read in its place, as long as what is stored.
    unreadable_text: Vec<UnreadableJson>,
    /// Number of such ranges that are not listed.
    unreadable_text_left_out: u64,
    /// Whether each line of a view is one whole value or key: none is null, and none contains a line feed.
    lossless: LosslessJson,
    /// Null where a segment does not state it (SPEC 2.11), as `min_timestamp` is then, and the largest timestamp a bound.
    content_digest: Option<String>,
    damage: Vec<Finding>,
    /// What the store did not answer, which says nothing about the stored bytes.
    outages: Vec<Finding>,
}

#[derive(Serialize)]
struct ExpiredJson<'a> {
    offsets: OffsetSpan,
    segments: u64,
    records: u64,
    snapshot: u64,
    at: Timestamp,
    policy: &'a str,
}

#[derive(Serialize)]
struct GapsJson {
    /// Number of offsets without a record.
    offsets: u64,
    by_reason: ReasonsJson,
    lost: Vec<OffsetSpan>,
}

#[derive(Serialize)]
struct ReasonsJson {
    /// Deleted in the cluster before a backup read them.
    lost: u64,
    /// Stored, and lost when damaged segments were recovered.
    damaged: u64,
    /// Not delivered by the cluster: compacted, a transaction marker, or part of an aborted transaction. A segment's footer may
    /// give more detail.
    not_delivered: u64,
}

#[derive(Serialize)]
struct RenderedJson {
    #[serde(rename = "records.jsonl")]
    records: u64,
    values: u64,
    keys: u64,
}

/// Offsets, and which bytes of each file hold the place of their text.
#[derive(Serialize)]
struct UnreadableJson {
    offsets: OffsetSpan,
    #[serde(rename = "records.jsonl")]
    records: RangeJson,
    values: RangeJson,
    keys: RangeJson,
}

#[derive(Serialize)]
struct RangeJson {
    start: u64,
    /// Exclusive.
    end: u64,
}

impl UnreadableJson {
    fn of(unreadable: &UnreadableText) -> UnreadableJson {
        let range = |view: View| {
            let text = &unreadable.text[view as usize];
            RangeJson {
                start: text.start,
                end: text.end,
            }
        };
        UnreadableJson {
            offsets: unreadable.offsets.clone().into(),
            records: range(View::Records),
            values: range(View::Values),
            keys: range(View::Keys),
        }
    }
}

#[derive(Serialize)]
struct LosslessJson {
    values: Option<bool>,
    keys: Option<bool>,
}

fn expired(state: &PartitionState) -> Option<ExpiredJson<'_>> {
    let offsets = state.expired_offsets()?;
    let expired = state.expired.as_ref()?;
    Some(ExpiredJson {
        offsets,
        segments: expired.segments,
        records: expired.records,
        snapshot: expired.snapshot,
        at: expired.at,
        policy: &expired.policy,
    })
}

/// What is known of a partition without reading a segment, and what could not be read so far.
pub(super) fn meta_json(
    partition: &Partition,
    index: &PartitionIndex,
    damage: Vec<Finding>,
    outages: Vec<Finding>,
) -> Vec<u8> {
    let (topic, state) = (partition.topic(), partition.state());
    let coverage = state.end_offset.abs_diff(state.base_offset);
    let missing = coverage.saturating_sub(state.records);
    let damaged = state.damaged_offsets();
    let deleted = state.lost.iter().filter(|range| !range.is_damaged());
    let lost: u64 = deleted.map(|range| range.offsets()).sum();
    let rendered = RenderedJson {
        records: index.size(View::Records),
        values: index.size(View::Values),
        keys: index.size(View::Keys),
    };
    json(&MetaJson {
        topic: &topic.name,
        topic_id: topic.topic_id.to_string(),
        partition: state.partition,
        snapshot: partition.sequence(),
        log_start_offset: state.log_start_offset,
        high_watermark: state.high_watermark,
        last_stable_offset: state.last_stable_offset,
        incomplete: state.lacking(),
        expired: expired(state),
        base_offset: state.base_offset,
        end_offset: state.end_offset,
        records: state.records,
        gaps: GapsJson {
            offsets: missing,
            by_reason: ReasonsJson {
                lost,
                damaged,
                not_delivered: missing.saturating_sub(lost).saturating_sub(damaged),
            },
            lost: state.lost.iter().map(|lost| (*lost).into()).collect(),
        },
        min_timestamp: index.times.and_then(|(min, _)| min),
        max_timestamp: index.times.map(|(_, max)| max),
        segments: partition.segments(),
        stored_bytes: state.stored_bytes,
        raw_bytes: state.raw_bytes,
        rendered_bytes: index.sized.then_some(rendered),
        not_computed_segments: index.not_computed,
        unreadable_text: index.unreadable.iter().map(UnreadableJson::of).collect(),
        unreadable_text_left_out: index.unreadable_left_out,
        lossless: LosslessJson {
            values: index.whole_lines.map(|[values, _]| values),
            keys: index.whole_lines.map(|[_, keys]| keys),
        },
        content_digest: index.content_digest.map(|it| format!("{it:032x}")),
        damage,
        outages,
    })
}
